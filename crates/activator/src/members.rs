//! Activating the keys of a list, each by an event of its own with the proof that it is one of them.
//!
//! The list stands in the log, in parts. It is read and checked against the digest and the root that people signed, before
//! anything is proved by it.

use journal::Journal;
use lifecycle::manifest::List;
use lifecycle::{Document, Footprint, Input, Rejection};
use model::event::Membership;
use model::{Action, Digest, EventHash, KeyId, ProblemType, Sequence, ServiceRole, TenantId};
use service::{Node, Recorded};
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
    let list = read(node, tenant, manifest.document).await?;
    if list.manifest() != manifest {
        let detail = "the list in the log is not the one whose root was asked for";
        return Rejection::new(ProblemType::NotInManifest, detail).err();
    }
    let mut waiting: Vec<(KeyId, Membership)> = Vec::new();
    for (key, membership) in list.memberships() {
        if node.replica().key(tenant, key).map_err(unavailable)?.is_some_and(|key| key.is_waiting()) {
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
        last = last_of(futures_util::future::join_all(activated).await);
    }
    last
}

/// The last that was recorded, where all were; else the first refusal.
pub(crate) fn last_of(all: Vec<Result<Recorded, Rejection>>) -> Result<Recorded, Rejection> {
    let nothing = Rejection::new(ProblemType::NothingDue, "there was nothing to do").err();
    all.into_iter().fold(nothing, |so_far, one| match (so_far, one) {
        (Err(first), Err(_)) if first.problem != ProblemType::NothingDue => Err(first),
        (_, Err(refused)) => Err(refused),
        (Err(first), Ok(_)) if first.problem != ProblemType::NothingDue => Err(first),
        (_, Ok(recorded)) => Ok(recorded),
    })
}

/// The list, from the events that carry its parts.
async fn read<J: Journal>(node: &Node<J>, tenant: TenantId, digest: Digest) -> Result<List, Rejection> {
    let footprint = Footprint { document: Some(digest), ..Footprint::default() };
    let document = node.view(tenant, footprint).map_err(unavailable)?.document.filter(Document::is_complete);
    let missing = || Rejection::new(ProblemType::NotInManifest, "the list is not in the log, or not whole");
    let mut text = String::new();
    for sequence in document.ok_or_else(missing)?.stored.into_values() {
        text.push_str(&part(node, tenant, sequence, digest).await?);
    }
    if Digest::of(text.as_bytes()) != digest {
        return Rejection::new(ProblemType::NotInManifest, "the parts in the log do not have the list's digest").err();
    }
    List::parse(&text).map_err(|malformed| Rejection::new(ProblemType::NotInManifest, malformed))
}

async fn part<J: Journal>(
    node: &Node<J>,
    tenant: TenantId,
    sequence: Sequence,
    digest: Digest,
) -> Result<String, Rejection> {
    let record = node.journal().read(tenant, sequence, 1).await.map_err(unavailable)?.into_iter().next();
    let gone = || Rejection::new(ProblemType::Unavailable, format!("the log does not give event {}", sequence.0));
    match lifecycle::judge::action_in(&record.ok_or_else(gone)?) {
        Some(Action::DocumentStore(stored)) if stored.document == digest => Ok(stored.text),
        _ => Rejection::new(ProblemType::NotInManifest, format!("event {} has no part of it", sequence.0)).err(),
    }
}

fn unavailable(error: impl std::fmt::Display) -> Rejection {
    Rejection::new(ProblemType::Unavailable, error)
}
