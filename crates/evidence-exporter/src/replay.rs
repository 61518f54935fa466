//! How things stood (`hist.at`): replays from the archive, verified from the first event on as anybody would do it.
//!
//! A replay costs what verifying costs, so few run at once, each is bounded, and the last few are kept: whoever goes
//! forward through a history pays for each event once.

use std::sync::{Mutex, PoisonError};

use evidence::{Point, Verifier, as_of, take_until};
use journal::Record;
use model::history::AsOfRequest;
use model::{Fingerprint, KeyId, Problem, ProblemType, Sequence, TenantId, Timestamp};
use service::command::Answer;
use tokio::sync::Semaphore;

/// How many replays run at once.
const AT_ONCE: usize = 2;
/// How many are kept.
const KEPT: usize = 4;
/// How many events one question may cost. More is for the asker's own machine.
const EVENTS_MAX: u64 = 200_000;
/// How many events are read at a time.
pub(crate) const PAGE: usize = 512;

/// The replays of a process.
pub(crate) struct Replays {
    root: Fingerprint,
    at_work: Semaphore,
    /// The newest last.
    kept: Mutex<Vec<(TenantId, Verifier)>>,
}

impl Replays {
    pub(crate) fn new(root: Fingerprint) -> Self {
        Self { root, at_work: Semaphore::new(AT_ONCE), kept: Mutex::default() }
    }

    /// A place among those that run; whoever has it may call [`Replays::answer`].
    pub(crate) async fn place(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Problem> {
        self.at_work.acquire().await.map_err(|error| Problem::new(ProblemType::Unavailable, error))
    }

    /// Answers, on a thread that may block. `read` gives the events from one on, some at a time.
    pub(crate) fn answer(
        &self,
        tenant: TenantId,
        until: Point,
        key: Option<KeyId>,
        read: impl Fn(Sequence) -> Result<Vec<Record>, Problem>,
    ) -> Answer {
        let mut verifier = self.take(tenant, until);
        let begun = verifier.state().chain.head().sequence;
        loop {
            let next = verifier.state().chain.head().sequence.next();
            if next.0 - begun.0 > EVENTS_MAX {
                return Err(too_long());
            }
            let records = read(next)?;
            let given = records.len();
            let (judged, reached) = take_until(&mut verifier, records, until);
            if reached || given == 0 || (judged.is_empty() && verifier.report().stopped.is_some()) {
                break;
            }
        }
        let at = match until {
            Point::Time(at) => at,
            Point::Sequence(_) => verifier.state().chain.time(),
        };
        let answer = serde_json::to_value(as_of(verifier.state(), key, at));
        self.keep(tenant, verifier);
        answer.map_err(|error| Problem::new(ProblemType::Unavailable, error))
    }

    /// The kept replay where it has not gone beyond the point, else a new one.
    fn take(&self, tenant: TenantId, until: Point) -> Verifier {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // By time only from the beginning: a chain's time may have gone back once, and the first event that was later ends it.
        let fits = |verifier: &Verifier| match until {
            Point::Sequence(last) => verifier.state().chain.head().sequence <= last,
            Point::Time(_) => false,
        };
        match kept.iter().position(|(of, verifier)| *of == tenant && fits(verifier)) {
            Some(at) => kept.remove(at).1,
            None => Verifier::new(tenant, self.root),
        }
    }

    fn keep(&self, tenant: TenantId, verifier: Verifier) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(of, _)| *of != tenant);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((tenant, verifier));
    }
}

/// The point that is asked for.
pub(crate) fn point(asked: &AsOfRequest, last: Sequence, now: Timestamp) -> Result<Point, Problem> {
    let malformed = |why: String| Err(Problem::new(ProblemType::Malformed, why));
    match (asked.sequence, asked.time) {
        (Some(_), Some(_)) => malformed("give `sequence` or `time`, not both".to_owned()),
        (Some(0), None) => malformed("`sequence` starts at 1".to_owned()),
        (Some(sequence), None) if sequence > last.0 => {
            malformed(format!("there is no event {sequence} yet: the history has {}", last.0))
        }
        (Some(sequence), None) => Ok(Point::Sequence(Sequence(sequence))),
        (None, Some(time)) if time > now => malformed(format!("{time} is still to come")),
        (None, Some(time)) => Ok(Point::Time(time)),
        (None, None) => Ok(Point::Sequence(last)),
    }
}

fn too_long() -> Problem {
    let why =
        format!("more than {EVENTS_MAX} events would have to be replayed; replay them with `keylatch history --at`");
    Problem::new(ProblemType::TooLarge, why)
}
