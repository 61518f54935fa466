//! The history service's questions and answers (`keylatch.hist.get`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::EventHash;
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
