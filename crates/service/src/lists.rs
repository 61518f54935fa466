//! Lists of keys that stand in the log, and what follows from them key by key.
//!
//! A list is read and checked against the digest and the root that people signed, before anything is proved by it.

use journal::Journal;
use lifecycle::manifest::List;
use lifecycle::{Document, Footprint, Rejection};
use model::command::Manifest;
use model::{Action, Digest, ProblemType, Sequence, TenantId};

use crate::{Node, Recorded};

/// The last that was recorded, where all were; else the first refusal.
pub fn last_of(all: Vec<Result<Recorded, Rejection>>) -> Result<Recorded, Rejection> {
    let nothing = Rejection::new(ProblemType::NothingDue, "there was nothing to do").err();
    all.into_iter().fold(nothing, |so_far, one| match (so_far, one) {
        (Err(first), Err(_)) if first.problem != ProblemType::NothingDue => Err(first),
        (_, Err(refused)) => Err(refused),
        (Err(first), Ok(_)) if first.problem != ProblemType::NothingDue => Err(first),
        (_, Ok(recorded)) => Ok(recorded),
    })
}

/// The list that this stands for, from the events that carry its parts.
///
/// # Errors
/// Where it is not in the log, not whole, or not the one whose root was signed.
pub async fn read<J: Journal>(node: &Node<J>, tenant: TenantId, manifest: &Manifest) -> Result<List, Rejection> {
    let digest = manifest.document;
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
    let list = List::parse(&text).map_err(|malformed| Rejection::new(ProblemType::NotInManifest, malformed))?;
    if list.manifest() != *manifest {
        let detail = "the list in the log is not the one whose root was asked for";
        return Rejection::new(ProblemType::NotInManifest, detail).err();
    }
    Ok(list)
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
