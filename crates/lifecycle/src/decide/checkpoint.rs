//! Checkpoints: the exporter's signed note over every event so far.

use journal::note::Checkpoint;
use model::event::CheckpointSigned;
use model::text::Base64;
use model::{Event, ProblemType, ServiceRole};

use super::nothing_due;
use crate::Rejection;
use crate::state::View;

pub(super) fn sign(view: &View, note: &str) -> Result<Event, Rejection> {
    let ring = &view.governance()?.authority.ring;
    if view.progress.uncovered_since.is_none() {
        return nothing_due("every event is covered").err();
    }
    let wanted = Checkpoint::of(view.chain.tenant(), view.chain.tree());
    let mut keys =
        ring.of_role(ServiceRole::EvidenceExporter).filter_map(|service| ring.key(service.public_key.fingerprint()));
    if !keys.any(|key| Checkpoint::open(note, key).as_ref() == Some(&wanted)) {
        let detail = format!("the note is not an exporter's over the {} events so far", wanted.size);
        return Rejection::new(ProblemType::StatementInvalid, detail).err();
    }
    Ok(Event::CheckpointSigned(CheckpointSigned {
        size: wanted.size,
        root: Base64(wanted.root.to_vec()),
        note: note.to_owned(),
        cause: view.chain.head().hash,
    }))
}
