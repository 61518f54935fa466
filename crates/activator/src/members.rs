//! Activating the keys of a list, each by an event of its own with the proof that it is one of them.

use journal::Journal;
use lifecycle::{Footprint, Input, Rejection};
use model::event::Membership;
use model::{EventHash, KeyId, ProblemType, ServiceRole, TenantId};
use service::{Node, Recorded, lists};
use tracing::info;

/// How many activations are under way at once. The lane gathers them into batches.
const AT_ONCE: usize = 256;

/// Activates every key of the request's list that waits for it. It can be cut short anywhere: who is left stays due, and is
/// tried again; who has left pre-activation another way is passed over.
pub(crate) async fn activate<J: Journal>(
    node: &Node<J>,
    tenant: TenantId,
    request: EventHash,
) -> Result<Recorded, Rejection> {
    let view = node.view(tenant, Footprint::of_request(request)).map_err(unavailable)?;
    let manifest = view.open_request()?.manifest;
    let manifest = manifest.ok_or_else(|| Rejection::new(ProblemType::NothingDue, "the request is for no list"))?;
    let list = lists::read(node, tenant, &manifest).await?;
    let mut waiting: Vec<(KeyId, Membership)> = Vec::new();
    for (key, membership) in list.memberships() {
        if node.replica().key(tenant, key).map_err(unavailable)?.is_some_and(|key| key.can_be_activated()) {
            waiting.push((key, membership));
        }
    }
    info!(%tenant, %request, keys = waiting.len(), of = manifest.count, "activating the keys of a list");
    let mut last = Rejection::new(ProblemType::NothingDue, "no key of the list waits for its activation").err();
    for some in waiting.chunks(AT_ONCE) {
        let activated = some.iter().map(|(key_id, membership)| {
            let (key_id, membership) = (*key_id, membership.clone());
            node.record(tenant, ServiceRole::Activator, Input::Member { key_id, request, membership })
        });
        last = lists::last_of(futures_util::future::join_all(activated).await);
    }
    last
}

fn unavailable(error: impl std::fmt::Display) -> Rejection {
    Rejection::new(ProblemType::Unavailable, error)
}
