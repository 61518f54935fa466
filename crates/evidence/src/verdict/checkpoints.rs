//! Checkpoints against the tree as it was: those of the file, and those that the one who checks has kept.

use std::collections::BTreeMap;

use journal::note::{self, Checkpoint, Note, NoteKey, Opened};
use model::{EventHash, ServiceRole};

use super::report::{Finding, Section, Verdict};
use super::{Error, Folder, Given};
use crate::bundle::{CHECKPOINTS, checkpoints};
use crate::replay::Replay;

/// The file, where there is one.
pub(super) struct Notes {
    /// Its bytes.
    pub(super) text: Option<String>,
    notes: Vec<Result<Note, note::Error>>,
}

/// Reads the file.
pub(super) fn read(folder: &mut dyn Folder, names: &[String]) -> Result<Notes, Error> {
    if !names.iter().any(|name| name == CHECKPOINTS) {
        return Ok(Notes { text: None, notes: Vec::new() });
    }
    let wrong = |error| Error::File { name: CHECKPOINTS.to_owned(), error };
    let mut bytes = Vec::new();
    folder.open(CHECKPOINTS).map_err(wrong)?.read_to_end(&mut bytes).map_err(wrong)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let notes = crate::bundle::notes(&text);
    Ok(Notes { text: Some(text), notes })
}

impl Notes {
    /// What its notes commit to.
    pub(super) fn sizes(&self) -> impl Iterator<Item = Checkpoint> + '_ {
        self.notes.iter().flatten().filter_map(|note| note.checkpoint().ok())
    }
}

/// Every note of the file: its root is the tree's at its size, an exporter signed it, and none of those that stand in the
/// events is missing. The last is over all events.
pub(super) fn of_file(replay: &Replay, notes: &Notes, given: &Given, is_bundle: bool, verdict: &mut Verdict) {
    let integrity = &mut verdict.integrity;
    let recorded: BTreeMap<u64, &str> =
        replay.history().checkpoints.iter().map(|recorded| (recorded.size, recorded.note.as_str())).collect();
    integrity.figure("checkpoints in the events, each over the tree as it was", recorded.len().to_string());
    silence(replay, integrity);
    if notes.text.is_none() {
        return;
    }
    let (mut missing, mut cosigned, mut lines) = (recorded.clone(), 0_usize, 0_usize);
    for note in &notes.notes {
        let checkpoint = match note.as_ref().map_err(Clone::clone).and_then(Note::checkpoint) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                integrity.extend([Finding::of_file(
                    "checkpoint",
                    CHECKPOINTS,
                    format!("a checkpoint does not read: {error}"),
                )]);
                continue;
            }
        };
        let Ok(note) = note else { continue };
        let own = missing.remove(&checkpoint.size).or(recorded.get(&checkpoint.size).copied());
        integrity.extend(against(replay, note, &checkpoint, own));
        match note.verify(&given.witnesses) {
            Ok(verified) => cosigned += usize::from(!verified.is_empty()),
            Err(error) => {
                let what = format!("the checkpoint over {} events: {error}", checkpoint.size);
                verdict.authenticity.extend([Finding::of_file("cosignature", CHECKPOINTS, what)]);
            }
        }
        lines += note.signatures().len().saturating_sub(1);
    }
    for size in missing.keys() {
        let what = format!("the checkpoint over {size} events, which stands in the events, is missing");
        integrity.extend([Finding::of_file("checkpoint", CHECKPOINTS, what)]);
    }
    let last = notes.sizes().last().map(|last| last.size);
    let all = replay.period().to.0;
    if is_bundle && last != Some(all) {
        let last = last.map_or("none".to_owned(), |last| format!("over {last}"));
        let what = format!("the last checkpoint is {last}, and there are {all} events");
        integrity.extend([Finding::of_file("checkpoint", CHECKPOINTS, what)]);
    }
    integrity.figure("checkpoints in the file", notes.notes.len().to_string());
    integrity.figure("cosignature lines", lines.to_string());
    if !given.witnesses.is_empty() {
        integrity.figure("checkpoints cosigned by your witnesses", cosigned.to_string());
    }
}

/// The longest time between two checkpoints.
fn silence(replay: &Replay, integrity: &mut Section) {
    let times = replay.history().checkpoints.iter().map(|recorded| recorded.at.time);
    let pairs = times.clone().zip(times.skip(1));
    if let Some(longest) = pairs.map(|(before, after)| after - before).max() {
        integrity.figure("longest time between two checkpoints", longest.to_string());
    }
}

/// What there is against a note of the file. `own` is the note that stands in the events, where one of this size does.
fn against(replay: &Replay, note: &Note, checkpoint: &Checkpoint, own: Option<&str>) -> Option<Finding> {
    let finding = |what: String| Some(Finding::of_file("checkpoint", CHECKPOINTS, what));
    let (size, tenant) = (checkpoint.size, replay.state().chain.tenant());
    if let Some(different) = differs(replay, checkpoint) {
        return finding(different);
    }
    let own = own.and_then(|own| Note::parse(own).ok());
    let as_recorded = own.is_some_and(|own| {
        own.text() == note.text() && own.signatures().iter().all(|signature| note.signatures().contains(signature))
    });
    let in_force = || Opened::read(note, &note::origin(tenant), &checkpoints::exporters(replay), &[]);
    match (as_recorded, in_force()) {
        (true, _) | (false, Ok(_)) => None,
        (false, Err(error)) => finding(format!("the checkpoint over {size} events: {error}")),
    }
}

/// Whether a checkpoint commits to something else than these events.
fn differs(replay: &Replay, checkpoint: &Checkpoint) -> Option<String> {
    let (size, all) = (checkpoint.size, replay.period().to.0);
    let origin = note::origin(replay.state().chain.tenant());
    if checkpoint.origin != origin {
        return Some(format!("the checkpoint over {size} events is of another log: {}", checkpoint.origin));
    }
    if size > all {
        return Some(format!("a checkpoint is over {size} events, and there are {all}: the end is missing"));
    }
    let root = EventHash::new(checkpoint.root);
    let is_its = size == 0 || replay.root_at(size) == Some(root);
    let what = format!("the checkpoint over {size} events has another root: these are not the events it commits to");
    (!is_its).then_some(what)
}

/// The checkpoints that were kept from before: this history must continue them.
pub(super) fn kept(replay: &Replay, given: &Given, verdict: &mut Verdict) {
    for note in &given.kept {
        match continues(replay, note) {
            Ok(checkpoint) => {
                let value = format!("yes, over {} events", checkpoint.size);
                verdict.integrity.figure("continues the checkpoint that you kept", value);
            }
            Err(what) => {
                verdict.integrity.extend([Finding::new("kept-checkpoint", format!("the one that you kept: {what}"))])
            }
        }
    }
}

fn continues(replay: &Replay, note: &Note) -> Result<Checkpoint, String> {
    let checkpoint = note.checkpoint().map_err(|error| error.to_string())?;
    match differs(replay, &checkpoint) {
        Some(different) => Err(different),
        None => {
            let origin = note::origin(replay.state().chain.tenant());
            let opened = Opened::read(note, &origin, &every_exporter(replay), &[]);
            opened.map(|opened| opened.checkpoint).map_err(|error| error.to_string())
        }
    }
}

/// The exporters' keys that the root has ever named here.
fn every_exporter(replay: &Replay) -> Vec<NoteKey> {
    let (tenant, root) = (replay.state().chain.tenant(), replay.state().root);
    let statements = replay.verifier().authority().iter();
    let statements = statements.filter_map(|envelope| journal::authority::open(envelope, root).ok());
    let exporters = statements.flat_map(|statement| statement.services);
    let exporters = exporters.filter(|service| service.role == ServiceRole::EvidenceExporter);
    let keys =
        exporters.filter_map(|service| ed25519_dalek::VerifyingKey::from_bytes(&service.public_key.as_ed25519()?).ok());
    keys.map(|key| NoteKey::of_log(tenant, key)).collect()
}
