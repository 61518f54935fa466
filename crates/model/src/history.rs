//! The history service's questions and answers (`keylatch.hist.*`): events, checkpoints, proofs, how things stood, bundles of
//! evidence, who probes.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Digest, EventHash, Fingerprint, KeyId};
use crate::key::{KeyState, Party};
use crate::people::{PublicKey, Role};
use crate::text::{Base64, Name};
use crate::time::Timestamp;

/// The largest answer in bytes; fewer events are sent where `max` would not fit.
pub const ANSWER_BYTES_MAX: usize = 512 * 1024;

/// Asks for events in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryRequest {
    /// The first sequence wanted, from 1.
    pub from: u64,
    /// At most so many.
    pub max: u32,
}

/// Events in order, as many as fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryAnswer {
    /// The events from the one asked for on. Empty where there are none yet.
    pub events: Vec<HistoryEvent>,
    /// The newest sequence that the service has.
    pub last: u64,
    /// The newest checkpoint (C2SP signed note), where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// One event as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryEvent {
    /// Its place.
    pub sequence: u64,
    /// The exact signed bytes.
    pub payload: Base64,
    /// The `Keylatch-Signature` header.
    pub signature: String,
    /// Its hash.
    pub hash: EventHash,
}

/// Asks for a checkpoint (`keylatch.hist.checkpoint`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckpointRequest {
    /// The one that commits to so many events; left out, the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// A checkpoint, and which others to ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckpointAnswer {
    /// The one asked for.
    pub checkpoint: HistoryCheckpoint,
    /// The size of the newest that a witness has cosigned, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosigned: Option<u64>,
    /// The size of the newest that has a time stamp, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamped: Option<u64>,
}

/// A checkpoint with what there is beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryCheckpoint {
    /// How many events it commits to. It is recorded in the event right behind them.
    pub size: u64,
    /// The hash of that event.
    pub event: EventHash,
    /// The C2SP signed note, with the cosignatures of witnesses below the exporter's own signature.
    pub note: String,
    /// RFC 3161 answers (DER) over the SHA-256 of the note's text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timestamps: Vec<Base64>,
}

/// Asks for the proof that an event is in the history (`keylatch.hist.prove`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProofRequest {
    /// The event.
    pub sequence: u64,
    /// By the checkpoint that commits to so many events; left out, by the newest that a witness has cosigned, or, where none
    /// covers the event, by the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// The proof that an event is in the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProofAnswer {
    /// How many events its checkpoint commits to.
    pub size: u64,
    /// The proof, as C2SP tlog-proof.
    pub proof: String,
}

/// Asks for the proof that one checkpoint continues another (`keylatch.hist.consistency`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyRequest {
    /// How many events the older one commits to.
    pub from: u64,
    /// How many the newer one does; left out, the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// The proof that one checkpoint continues another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyAnswer {
    /// The older checkpoint.
    pub from: HistoryCheckpoint,
    /// The newer one.
    pub to: HistoryCheckpoint,
    /// The RFC 6962 consistency proof between them.
    pub hashes: Vec<Digest>,
}

// === How things stood ===

/// Asks how things stood (`keylatch.hist.at`): after an event, or at a time; neither means now. Not both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AsOfRequest {
    /// After the event at this place, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// After the last event that is not later than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// This key as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
}

/// How things stood: what a replay up to one event adds up to. Who needs certainty replays the events (`keylatch history
/// --at`): an answer is the service's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AsOf {
    /// The last event that was taken in; 0 where there was none yet.
    pub sequence: u64,
    /// Its hash.
    pub hash: EventHash,
    /// The chain's time then.
    pub time: Timestamp,
    /// How many keys were in which state.
    pub keys: BTreeMap<KeyState, u64>,
    /// The policy in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyAsOf>,
    /// The policy's rules, and who could have approved under each.
    pub rules: Vec<RuleAsOf>,
    /// The legal packs as declared.
    pub packs: Vec<PackAsOf>,
    /// The holds on all activations: hashes of their `activation.held`.
    pub holds: Vec<EventHash>,
    /// How many requests were open.
    pub open_requests: u64,
    /// The key that was asked for, where it was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyAsOf>,
}

/// A policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyAsOf {
    /// Hash of its `policy.adopted`.
    pub event: EventHash,
    /// Its name.
    pub name: Name,
    /// Counts the tenant's policies from 1.
    pub version: u32,
}

/// A rule, and who could have approved under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleAsOf {
    /// Its name.
    pub name: Name,
    /// Its stages.
    pub stages: Vec<StageAsOf>,
}

/// A stage, and who could have taken a place in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageAsOf {
    /// Any of these roles.
    pub roles: BTreeSet<Role>,
    /// The party whose people they had to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<Party>,
    /// How many distinct people.
    pub quorum: u8,
    /// Those who held a role of it then and were not in the asker's place.
    pub people: Vec<PersonAsOf>,
}

/// Somebody, by their key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonAsOf {
    /// The key's fingerprint.
    pub fingerprint: Fingerprint,
    /// What they are called.
    pub label: Name,
}

/// A legal pack as declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackAsOf {
    /// Its name.
    pub name: Name,
    /// Its version.
    pub version: u32,
    /// Whether its gates held up activations.
    pub applied: bool,
    /// Until when the declaration had to be looked at again.
    pub review_by: Timestamp,
}

/// A key as it stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyAsOf {
    /// Its id.
    pub key_id: KeyId,
    /// What it is called.
    pub label: Name,
    /// Its state.
    pub state: KeyState,
    /// The event that brought it there.
    pub transition: EventHash,
    /// Its `key.activated`, where it was ever activated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<EventHash>,
    /// When its use ends or ended, by its activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deactivate_at: Option<Timestamp>,
    /// Its open request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<EventHash>,
    /// Who had approved that: the fingerprints, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_by: Vec<Fingerprint>,
    /// The rule that it was under, and who could have approved its activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleAsOf>,
}

// === Bundles of evidence ===

/// The bytes of a file in one answer, fewer only at its end. In base64 they fit [`ANSWER_BYTES_MAX`].
pub const CHUNK_BYTES_MAX: usize = 360 * 1024;

const _: () = assert!(CHUNK_BYTES_MAX.div_ceil(3) * 4 + 1024 <= ANSWER_BYTES_MAX, "a chunk fits an answer");

/// Asks for bundles (`keylatch.hist.bundle`). With nothing, which there are, the newest first; with `manifest`, which files
/// that one has; with `manifest` and `file`, the file's bytes from `offset` on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleRequest {
    /// The bundle, as `evidence.exported` names it: the SHA-256 of what its manifest says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// A file of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The first byte wanted, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Of the list: bundles recorded before this event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// The bundles that are there, the newest first, as many as fit: ask for those before the last one for more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BundlesAnswer {
    /// The bundles.
    pub bundles: Vec<RecordedBundle>,
}

/// A bundle that was recorded and is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordedBundle {
    /// The SHA-256 of what its manifest says.
    pub manifest: Digest,
    /// The place of its `evidence.exported`.
    pub sequence: u64,
    /// The hash of that event.
    pub hash: EventHash,
    /// The first event of the period under test.
    pub from: u64,
    /// How many events it holds.
    pub size: u64,
    /// How many bytes its files have.
    pub bytes: u64,
}

/// The files of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleFilesAnswer {
    /// The SHA-256 of what its manifest says.
    pub manifest: Digest,
    /// Every file, `manifest.json` among them.
    pub files: Vec<BundleFile>,
}

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleFile {
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of its bytes.
    pub sha256: Digest,
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleChunk {
    /// Where it begins.
    pub offset: u64,
    /// Its bytes; none at the end of the file.
    pub data: Base64,
}

// === Probes ===

/// The program that probes (`keylatch.hist.prober`, asked with `{}`). Enrolled as a workload without any role, it can be
/// refused, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProberAnswer {
    /// Its public key, in OpenSSH's format; none where the platform has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<PublicKey>,
}
