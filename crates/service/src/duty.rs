//! A role does what is due to it. Its loop reads the replica's index of deadlines; it sweeps nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use journal::Journal;
use lifecycle::{Due, Duty, Governance, Input, Key, Rejection, Request, View};
use model::{KeyId, ProblemType, ServiceRole, TenantId};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::Error;
use crate::node::{Node, Recorded};

/// How many duties are done at once.
const AT_ONCE: usize = 256;
/// How long a duty that was refused waits at first; the wait doubles each time. It is measured by a clock that nobody can
/// turn.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest such wait.
const RETRY_MOST: Duration = Duration::from_secs(60);
/// How often refused duties are looked at for what has changed.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The longest sleep: a clock that was set forward is noticed after at most this.
const SLEEP_MOST: Duration = Duration::from_secs(5);

/// A tenant's duty.
type Task = (TenantId, Duty);

/// Does what is due to `role`, with `perform`, until `shutdown`, and then finishes the duties that are under way.
pub async fn run<J, F, P>(
    node: Node<J>,
    role: ServiceRole,
    perform: P,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error>
where
    J: Journal,
    P: Fn(TenantId, Duty) -> F,
    F: Future<Output = Result<Recorded, Rejection>> + Send + 'static,
{
    let mut shutdown = std::pin::pin!(shutdown);
    let mut commits = node.commits();
    let mut at_work: JoinSet<(Task, Result<Recorded, Rejection>)> = JoinSet::new();
    let mut busy: HashSet<Task> = HashSet::new();
    let mut refused: HashMap<Task, Retry> = HashMap::new();
    // When refused duties were last looked at, and whether anything was committed since.
    let (mut looked, mut stale) = (Instant::now(), false);
    loop {
        stale |= commits.has_changed().unwrap_or(false);
        commits.mark_unchanged();
        if stale && looked.elapsed() >= LOOK_EVERY {
            (looked, stale) = (Instant::now(), false);
            retry_what_changed(&node, &mut refused);
        }
        let now = node.clock().now();
        for (tenant, Due { duty, .. }) in node.replica().due(role, now, AT_ONCE + refused.len())? {
            let task = (tenant, duty);
            let waits = refused.get(&task).is_some_and(|retry| Instant::now() < retry.at);
            if waits || at_work.len() >= AT_ONCE || !busy.insert(task) {
                continue;
            }
            // A panic is one duty's misfortune: it is tried again like one that was refused.
            let performed = AssertUnwindSafe(perform(tenant, duty)).catch_unwind();
            at_work.spawn(async move {
                let panicked = |_| Rejection::new(ProblemType::Unavailable, "the work panicked").err();
                (task, performed.await.unwrap_or_else(panicked))
            });
        }
        let sleep = until_next(&node, role, &refused)?;
        tokio::select! {
            () = &mut shutdown => break,
            _ = commits.changed() => stale = true,
            () = tokio::time::sleep_until(looked + LOOK_EVERY), if stale && !refused.is_empty() => {}
            Some(done) = at_work.join_next() => {
                if let Ok((task, outcome)) = done {
                    busy.remove(&task);
                    note(&node, task, outcome, &mut refused);
                }
            }
            () = tokio::time::sleep(sleep) => {}
        }
    }
    while at_work.join_next().await.is_some() {}
    Ok(())
}

/// When a refused duty is tried again, how long it waited, and what it was refused over.
struct Retry {
    at: Instant,
    waited: Duration,
    over: Option<Box<Over>>,
}

/// What a refusal rests on: when any of it changes, the duty is tried at once. A missing fact that is asserted, a hold that
/// is lifted and a parent that is activated are not waited out.
#[derive(PartialEq)]
struct Over {
    governance: Option<Arc<Governance>>,
    key: Option<Key>,
    request: Option<Request>,
    others: BTreeMap<KeyId, Key>,
}

fn over<J: Journal>(node: &Node<J>, (tenant, duty): Task) -> Option<Box<Over>> {
    let View { governance, key, request, others, .. } = node.view(tenant, Input::Due(duty).footprint()).ok()?;
    Some(Box::new(Over { governance, key, request, others }))
}

fn retry_what_changed<J: Journal>(node: &Node<J>, refused: &mut HashMap<Task, Retry>) {
    let now = Instant::now();
    for (task, retry) in refused.iter_mut().filter(|(_, retry)| now < retry.at).take(4 * AT_ONCE) {
        if over(node, *task) != retry.over {
            (retry.at, retry.waited) = (now, RETRY_FIRST / 2);
        }
    }
}

fn note<J: Journal>(
    node: &Node<J>,
    task: Task,
    outcome: Result<Recorded, Rejection>,
    refused: &mut HashMap<Task, Retry>,
) {
    let (tenant, duty) = task;
    match outcome {
        Ok(Recorded { sequence, .. }) => {
            refused.remove(&task);
            info!(%tenant, ?duty, sequence = sequence.0, "done");
        }
        Err(rejection) => {
            let again = refused.contains_key(&task);
            let waited = refused.get(&task).map_or(RETRY_FIRST, |retry| RETRY_MOST.min(retry.waited * 2));
            refused.insert(task, Retry { at: Instant::now() + waited, waited, over: over(node, task) });
            // Once, because another instance did it, or things have changed: that is how they work side by side. Where it
            // is still due after that, something is wrong.
            match rejection.problem {
                ProblemType::NothingDue | ProblemType::NotYetDue | ProblemType::Contended => {
                    debug!(%tenant, ?duty, %rejection, "not done");
                }
                _ if !again => debug!(%tenant, ?duty, %rejection, "not done"),
                _ => warn!(%tenant, ?duty, %rejection, "not done"),
            }
        }
    }
    if refused.len() > 4 * AT_ONCE {
        refused.retain(|_, retry| Instant::now() < retry.at);
    }
}

/// How long there is nothing to do, as far as is known.
fn until_next<J: Journal>(
    node: &Node<J>,
    role: ServiceRole,
    refused: &HashMap<Task, Retry>,
) -> Result<Duration, Error> {
    let now = node.clock().now();
    let due = node.replica().next_due(role)?.filter(|at| *at > now).map(|at| (at - now).to_std());
    let retry = refused.values().map(|retry| retry.at.saturating_duration_since(Instant::now()));
    let next = due.into_iter().chain(retry.filter(|wait| !wait.is_zero())).min();
    Ok(next.map_or(SLEEP_MOST, |wait| wait.clamp(Duration::from_millis(1), SLEEP_MOST)))
}
