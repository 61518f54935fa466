//! The activator: activates what is authorised when its time comes; suspends, resumes, deactivates, destroys on command,
//! and suspends what follows from a parent's trouble or a review that was missed.
//!
//! It can't invent an approval: those are another role's events, and carry their people's signatures.

mod members;

use journal::Journal;
use lifecycle::{Duty, Footprint, Input, Rejection};
use model::{KeyId, ProblemType, ServiceRole, TenantId};
use service::{Error, Node, Ports, Recorded, Shutdown, lists, process};

/// Runs until `shutdown`.
pub async fn run<J: Journal>(ports: Ports<J>, shutdown: Shutdown) -> Result<(), Error> {
    let role = ServiceRole::Activator;
    let node = ports.node.clone();
    let handle = move |tenant, signed| {
        let node = node.clone();
        async move { process::answered(node.record(tenant, role, Input::Command(signed)).await) }
    };
    let node = ports.node.clone();
    let perform = move |tenant, duty| perform(node.clone(), tenant, duty);
    process::run(ports, role, handle, perform, shutdown).await
}

async fn perform<J: Journal>(node: Node<J>, tenant: TenantId, duty: Duty) -> Result<Recorded, Rejection> {
    match duty {
        Duty::ActivateMembers(request) => members::activate(&node, tenant, request).await,
        Duty::SuspendChildren(parent) => suspend_children(&node, tenant, parent).await,
        duty => node.record(tenant, ServiceRole::Activator, Input::Due(duty)).await,
    }
}

/// Suspends the active keys that a key in trouble wraps, one event each. It can be cut short anywhere: who is left stays due.
async fn suspend_children<J: Journal>(node: &Node<J>, tenant: TenantId, parent: KeyId) -> Result<Recorded, Rejection> {
    let view = node.view(tenant, Footprint::of_key(parent));
    let view = view.map_err(|error| Rejection::new(ProblemType::Unavailable, error))?;
    let children = view.key()?.to_suspend.clone();
    let suspended = children.into_iter().map(|child| {
        let input = Input::Due(Duty::Suspend(child));
        node.record(tenant, ServiceRole::Activator, input)
    });
    lists::last_of(futures_util::future::join_all(suspended).await)
}
