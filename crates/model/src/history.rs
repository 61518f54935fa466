//! The history service's questions and answers (`keylatch.hist.*`): events, checkpoints, proofs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Digest, EventHash};
use crate::text::Base64;

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
