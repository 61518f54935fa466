//! Doing what is due. A role's loop over the replica's index of deadlines: an index, not a sweep.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use journal::Journal;
use lifecycle::{Due, Duty, Rejection};
use model::{ProblemType, ServiceRole, Span, TenantId};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::Error;
use crate::node::{Node, Recorded};

/// How many duties are done at once.
const AT_ONCE: usize = 256;
/// How long a duty waits that was refused, the first time; then twice as long each time.
const RETRY_FIRST: Span = Span::from_secs(1);
/// The longest such wait.
const RETRY_MOST: Span = Span::from_secs(60);
/// The longest sleep: a clock that was set forward is noticed after at most this.
const SLEEP_MOST: Duration = Duration::from_secs(5);

/// A tenant's duty.
type Task = (TenantId, Duty);

/// Does what is due to `role`, with `perform`, until `shutdown`. What is under way then is finished.
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
    loop {
        commits.mark_unchanged();
        let now = node.clock().now();
        for (tenant, Due { duty, .. }) in node.replica().due(role, now, AT_ONCE + refused.len())? {
            let task = (tenant, duty);
            let waits = refused.get(&task).is_some_and(|retry| now < retry.at);
            if waits || at_work.len() >= AT_ONCE || !busy.insert(task) {
                continue;
            }
            let performed = perform(tenant, duty);
            at_work.spawn(async move { (task, performed.await) });
        }
        let sleep = until_next(&node, role, &refused)?;
        tokio::select! {
            () = &mut shutdown => break,
            _ = commits.changed() => {}
            Some(done) = at_work.join_next() => {
                if let Ok((task, outcome)) = done {
                    busy.remove(&task);
                    note(task, outcome, &mut refused, node.clock().now());
                }
            }
            () = tokio::time::sleep(sleep) => {}
        }
    }
    while at_work.join_next().await.is_some() {}
    Ok(())
}

/// When a refused duty is tried again, and how long it waited.
struct Retry {
    at: model::Timestamp,
    waited: Span,
}

fn note(task: Task, outcome: Result<Recorded, Rejection>, refused: &mut HashMap<Task, Retry>, now: model::Timestamp) {
    let (tenant, duty) = task;
    match outcome {
        Ok(Recorded { sequence, .. }) => {
            refused.remove(&task);
            info!(%tenant, ?duty, sequence = sequence.0, "done");
        }
        Err(rejection) => {
            let waited = refused.get(&task).map_or(RETRY_FIRST, |retry| RETRY_MOST.min(retry.waited + retry.waited));
            refused.insert(task, Retry { at: now + waited, waited });
            // Somebody else did it, or things have changed: that is how several instances work side by side.
            match rejection.problem {
                ProblemType::NothingDue | ProblemType::NotYetDue | ProblemType::Contended => {
                    debug!(%tenant, ?duty, %rejection, "not done");
                }
                _ => warn!(%tenant, ?duty, %rejection, "not done"),
            }
        }
    }
    if refused.len() > 4 * AT_ONCE {
        refused.retain(|_, retry| now < retry.at);
    }
}

/// How long there is nothing to do, as far as is known.
fn until_next<J: Journal>(
    node: &Node<J>,
    role: ServiceRole,
    refused: &HashMap<Task, Retry>,
) -> Result<Duration, Error> {
    let now = node.clock().now();
    let due = node.replica().next_due(role)?.filter(|at| *at > now);
    let retry = refused.values().map(|retry| retry.at).filter(|at| *at > now).min();
    let next = due.into_iter().chain(retry).min();
    Ok(next.map_or(SLEEP_MOST, |at| (at - now).to_std().clamp(Duration::from_millis(1), SLEEP_MOST)))
}
