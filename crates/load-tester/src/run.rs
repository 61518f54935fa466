//! The run: connects, prepares, drives, waits for what is under way, checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{join_all, try_join_all};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep_until};

use crate::cast::Tenant;
use crate::check::{Checked, check};
use crate::client::Client;
use crate::measure::Measurement;
use crate::plan::{Pace, Plan, Schedule};
use crate::report::Report;
use crate::scenario::Stage;
use crate::witness::{Witness, follow};
use crate::{Cast, Error};

/// How long what is under way at the end may take.
const LAST: Duration = Duration::from_secs(45);
/// How often progress is told of.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How a run goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// How much of the plan is over.
    pub elapsed: Duration,
    /// How long it takes.
    pub lasts: Duration,
    /// Things done so far, the warm-up left out.
    pub done: u64,
    /// Refusals and failures so far.
    pub refused: u64,
    /// Rounds that are under way.
    pub under_way: usize,
    /// Events that came from the tenants so far.
    pub events: u64,
}

/// Runs a plan, telling of its progress every second.
///
/// # Errors
/// [`Error`] where it can't begin, or the log can't be read afterwards. What is refused on the way is in the report.
pub async fn run(cast: &Cast, plan: &Plan, mut tell: impl FnMut(Progress)) -> Result<Report, Error> {
    let stages = Arc::new(try_join_all(cast.tenants.iter().map(|tenant| stage(cast, tenant, plan))).await?);
    let subscribers = subscribe(cast, plan).await?;
    let begins = join_all(stages.iter().map(|stage| stage.client.history(u64::MAX >> 12, 1))).await;
    let begins: Vec<u64> = begins
        .into_iter()
        .map(|answer| {
            answer.map(|answer| answer.last + 1).map_err(|problem| Error::Bus(format!("the history: {problem}")))
        })
        .collect::<Result<_, _>>()?;
    stages.iter().for_each(|stage| drop(stage.take_acknowledged()));
    let begin = Instant::now();
    let measurement = Arc::new(Measurement::new(begin + plan.warm_up));
    let under_way = Arc::new(AtomicUsize::new(0));
    let seen = |stages: &[Stage]| stages.iter().map(|stage| stage.witness.seen()).sum::<u64>();
    let before = seen(&stages);
    let mut driven = tokio::spawn(drive(stages.clone(), plan.clone(), measurement.clone(), under_way.clone(), begin));
    let mut ticks = interval_at(begin + TELL_EVERY, TELL_EVERY);
    loop {
        tokio::select! {
            ended = &mut driven => {
                ended.map_err(|error| Error::Bus(error.to_string()))?;
                break;
            }
            _ = ticks.tick() => {
                let (done, refused) = measurement.glance();
                let (elapsed, events) = (begin.elapsed(), seen(&stages) - before);
                let under_way = under_way.load(Ordering::Relaxed);
                tell(Progress { elapsed, lasts: plan.lasts, done, refused, under_way, events });
            }
        }
    }
    let took = begin.elapsed();
    let checked = match plan.check {
        false => None,
        true => {
            let mut all = Checked::default();
            for (stage, from) in stages.iter().zip(begins) {
                let checked = check(&stage.client, from, stage.take_acknowledged()).await;
                all.add(checked.map_err(|problem| Error::Bus(format!("the log can't be read back: {problem}")))?);
            }
            Some(all)
        }
    };
    let delivered = subscribers.iter().map(|subscriber| subscriber.seen()).sum();
    Ok(Report::new(cast, plan, took, measurement.snapshot(), seen(&stages) - before, delivered, checked))
}

async fn stage(cast: &Cast, tenant: &Tenant, plan: &Plan) -> Result<Stage, Error> {
    let client = Client::connect(&cast.url, tenant).await?;
    let witness = Witness::start(&client).await?;
    let stage = Stage::new(client, witness);
    stage.prepare(&plan.mix).await?;
    Ok(stage)
}

/// Drives rounds until the plan is over, then waits for those that are under way.
async fn drive(
    stages: Arc<Vec<Stage>>,
    plan: Plan,
    measurement: Arc<Measurement>,
    under_way: Arc<AtomicUsize>,
    begin: Instant,
) {
    let mut rounds = JoinSet::new();
    match &plan.pace {
        Pace::Closed { at_once } => {
            let next = Arc::new(AtomicU64::new(0));
            let until = begin + plan.lasts;
            for _ in 0..*at_once {
                let (stages, plan, measurement) = (stages.clone(), plan.clone(), measurement.clone());
                let (next, under_way) = (next.clone(), under_way.clone());
                rounds.spawn(async move {
                    under_way.fetch_add(1, Ordering::Relaxed);
                    while Instant::now() < until {
                        let round = next.fetch_add(1, Ordering::Relaxed);
                        one(&stages, &plan, round, Instant::now(), &measurement).await;
                    }
                    under_way.fetch_sub(1, Ordering::Relaxed);
                });
            }
        }
        Pace::Open { steps } => {
            let places = Arc::new(Semaphore::new(plan.under_way_max));
            let schedule = Schedule(steps);
            let mut round = 0;
            while let Some(due) = schedule.due_at(round) {
                let due = begin + due;
                sleep_until(due).await;
                let Ok(place) = places.clone().acquire_owned().await else { break };
                let (stages, plan, measurement) = (stages.clone(), plan.clone(), measurement.clone());
                let under_way = under_way.clone();
                rounds.spawn(async move {
                    under_way.fetch_add(1, Ordering::Relaxed);
                    one(&stages, &plan, round, due, &measurement).await;
                    under_way.fetch_sub(1, Ordering::Relaxed);
                    drop(place);
                });
                while rounds.try_join_next().is_some() {}
                round += 1;
            }
        }
    }
    let rest = async { while rounds.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(plan.lasts.saturating_sub(begin.elapsed()) + LAST, rest).await;
}

async fn one(stages: &[Stage], plan: &Plan, round: u64, due: Instant, measurement: &Measurement) {
    let count = stages.len() as u64;
    let place = usize::try_from(round % count.max(1)).unwrap_or_default();
    if let Some(stage) = stages.get(place) {
        // The mix is dealt within each tenant, not over them: all of them do the same.
        stage.round(plan.mix.of_round(round / count.max(1)), due, measurement).await;
    }
}

/// A further user of a tenant that follows its events.
struct Subscriber {
    seen: Arc<AtomicU64>,
    task: tokio::task::AbortHandle,
    _client: Client,
}

impl Subscriber {
    fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn subscribe(cast: &Cast, plan: &Plan) -> Result<Vec<Subscriber>, Error> {
    let tenants = cast.tenants.iter().cycle().take(plan.subscribers);
    try_join_all(tenants.map(async |tenant| {
        let client = Client::connect(&cast.url, tenant).await?;
        let (mut events, seen) = (follow(&client).await?, Arc::new(AtomicU64::new(0)));
        let counted = seen.clone();
        let counting = async move {
            while events.next().await.is_some() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        };
        Ok(Subscriber { seen, task: tokio::spawn(counting).abort_handle(), _client: client })
    }))
    .await
}
