//! Checkpoints: the exporter's signed note over every event so far. Also where nothing happened, now and then: so silence
//! is told from suppression.

use journal::note::Checkpoint;
use model::event::CheckpointSigned;
use model::text::Base64;
use model::{Event, ProblemType, ServiceRole, Timestamp};

use super::{not_yet, nothing_due};
use crate::Rejection;
use crate::state::View;

pub(super) fn sign(view: &View, note: &str, now: Timestamp) -> Result<Event, Rejection> {
    let governance = view.governance()?;
    let (ring, tenant) = (&governance.authority.ring, view.chain.tenant());
    if view.progress.uncovered_since.is_none() {
        match view.progress.next_heartbeat(governance) {
            Some(at) if at <= now => {}
            Some(at) => return not_yet(at).err(),
            None => return nothing_due("every event is covered").err(),
        }
    }
    let wanted = Checkpoint::of(tenant, view.chain.tree());
    let exporter = Some(ServiceRole::EvidenceExporter);
    let mut keys = ring.of_role(ServiceRole::EvidenceExporter).filter_map(|service| {
        let fingerprint = service.public_key.fingerprint();
        ring.key(fingerprint).filter(|_| ring.role(fingerprint, tenant, now) == exporter)
    });
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
