//! The expirer: turns the passing of time into events. Approvals and requests lapse, keys that nobody activated or
//! revalidated expire, crypto periods and algorithms end; and each deadline is warned of ahead.
//!
//! What is due stands in the replica's index, in order of time: nothing is swept, and nothing is forgotten over a restart.
//! Only the end of an algorithm, which is the policy's and may be brought forward, is looked for among the keys, once.

use journal::Journal;
use lifecycle::{Duty, Footprint, Input, Rejection, decide};
use model::{Algorithm, KeyState, ProblemType, ServiceRole, TenantId};
use service::{Error, Node, Ports, Recorded, Shutdown, process};
use tracing::info;

/// How many keys are looked at, or ended, at once.
const AT_ONCE: usize = 256;

/// Runs until `shutdown`.
pub async fn run<J: Journal>(ports: Ports<J>, shutdown: Shutdown) -> Result<(), Error> {
    let node = ports.node.clone();
    // Nobody commands an expirer.
    let handle = |_, _| async { process::answered(Rejection::new(ProblemType::UnknownAction, "it takes none").err()) };
    let perform = move |tenant, duty| perform(node.clone(), tenant, duty);
    process::run(ports, ServiceRole::Expirer, handle, perform, shutdown).await
}

async fn perform<J: Journal>(node: Node<J>, tenant: TenantId, duty: Duty) -> Result<Recorded, Rejection> {
    if duty == Duty::Deadlines
        && let Some(algorithm) = ended_algorithm(&node, tenant)?
    {
        end_keys(&node, tenant, algorithm).await?;
    }
    node.record(tenant, ServiceRole::Expirer, Input::Due(duty)).await
}

/// The algorithm whose end is what is to be recorded next.
fn ended_algorithm<J: Journal>(node: &Node<J>, tenant: TenantId) -> Result<Option<Algorithm>, Rejection> {
    let view = node.view(tenant, Footprint::default()).map_err(unavailable)?;
    Ok(decide::next_passed(view.governance()?, node.clock().now()).and_then(|deadline| deadline.algorithm))
}

/// Deactivates every key of an algorithm that has ended. It can be cut short anywhere: the end stays due until it is
/// recorded, which is done last; and meanwhile custodians refuse the keys by the policy alone.
async fn end_keys<J: Journal>(node: &Node<J>, tenant: TenantId, algorithm: Algorithm) -> Result<(), Rejection> {
    let (mut after, mut ended) = (None, 0_usize);
    loop {
        let page = node.replica().keys(tenant, after, AT_ONCE).map_err(unavailable)?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        let in_use = page.iter().filter(|key| {
            key.spec.algorithm == algorithm && matches!(key.state, KeyState::Active | KeyState::Suspended)
        });
        let recorded =
            in_use.map(|key| node.record(tenant, ServiceRole::Expirer, Input::Due(Duty::Deactivate(key.id))));
        for outcome in futures_util::future::join_all(recorded).await {
            match outcome {
                Ok(_) => ended += 1,
                // Somebody else was first.
                Err(rejection) if rejection.problem == ProblemType::NothingDue => {}
                Err(rejection) => return Err(rejection),
            }
        }
    }
    info!(%tenant, %algorithm, keys = ended, "the algorithm has ended");
    Ok(())
}

fn unavailable(error: impl std::fmt::Display) -> Rejection {
    Rejection::new(ProblemType::Unavailable, error)
}
