//! `checkpoints.txt`: every checkpoint as a signed note, in order, with an empty line between two.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::VerifyingKey;
use journal::note::{self, Note, NoteKey};
use model::{EventHash, ServiceRole};

use super::Error;
use crate::replay::Replay;

/// The notes of a file, each as far as it reads.
pub fn notes(file: &str) -> Vec<Result<Note, note::Error>> {
    let parts: Vec<&str> = file.trim_end_matches('\n').split("\n\n").collect();
    let pair = |pair: &[&str]| Note::parse(&(pair.join("\n\n") + "\n"));
    parts.chunks(2).map(pair).collect()
}

/// The file: the checkpoints that stand in the events, each with the cosignatures that `notes` have of it, and the one over
/// all events.
pub(super) fn file(replay: &Replay, notes: &[Note]) -> Result<String, Error> {
    let mut cosigned: BTreeMap<&str, Vec<&Note>> = BTreeMap::new();
    notes.iter().for_each(|note| cosigned.entry(note.text()).or_default().push(note));
    let mut all = Vec::new();
    for recorded in &replay.history().checkpoints {
        let own = Note::parse(&recorded.note)?;
        let more = cosigned.get(own.text()).cloned().unwrap_or_default();
        all.push(joined(own, &more)?);
    }
    let last = last(replay, notes).ok_or(Error::Checkpoint(replay.period().to.0))?;
    let more = cosigned.get(last.text()).cloned().unwrap_or_default();
    all.push(joined(last, &more)?);
    Ok(all.iter().map(ToString::to_string).collect::<Vec<String>>().join("\n"))
}

/// A note with the signatures that others have beside it, each once, in an order of their own.
fn joined(mut note: Note, others: &[&Note]) -> Result<Note, Error> {
    let lines: BTreeSet<String> = others.iter().flat_map(|other| other.signatures()).map(ToString::to_string).collect();
    lines.iter().try_for_each(|line| note.add(line))?;
    Ok(note)
}

/// The checkpoint over all events, with its exporter's signature alone.
pub(crate) fn last(replay: &Replay, notes: &[Note]) -> Option<Note> {
    let keys = exporters(replay);
    let origin = note::origin(replay.state().chain.tenant());
    let alone = notes.iter().filter_map(|note| {
        let checkpoint = note.checkpoint().ok()?;
        let (size, root) = (replay.period().to.0, EventHash::new(checkpoint.root));
        let tree = EventHash::new(replay.state().chain.tree().root());
        let is_of_all = checkpoint.origin == origin && checkpoint.size == size && root == tree;
        let own = note.signatures().iter().find(|signature| keys.iter().any(|key| signature.is_of(key)));
        let mut alone = Note::new(note.text()).ok()?;
        alone.add(&own.filter(|_| is_of_all)?.to_string()).ok()?;
        alone.verify(&keys).is_ok_and(|signed| !signed.is_empty()).then_some(alone)
    });
    // Where several exporters have signed, the same one is taken in whatever order they come.
    alone.min_by_key(ToString::to_string)
}

/// The exporters' keys in force after the last event, as they sign checkpoints.
pub(crate) fn exporters(replay: &Replay) -> Vec<NoteKey> {
    let (state, time) = (replay.state(), replay.period().until);
    let (ring, tenant) = (state.ring(), state.chain.tenant());
    let role = ServiceRole::EvidenceExporter;
    let key = |service: &model::authority::Service| -> Option<VerifyingKey> {
        let signer = service.public_key.fingerprint();
        ring.key(signer).filter(|_| ring.role(signer, tenant, time) == Some(role)).copied()
    };
    ring.of_role(role).filter_map(key).map(|key| NoteKey::of_log(tenant, key)).collect()
}
