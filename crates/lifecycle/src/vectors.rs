//! Judges a file of law vectors (`schemas/vectors/law-v1.json` and files of that form): each case a chain from its first
//! event under a pinned root, with the verdict on every event, the head, the Merkle root and the state of every key that
//! each implementation must reach.
//!
//! A vector's `void` says only *that* an event is void; the words of the reason are free. `stops_at` is the place of an
//! event that brings rules this epoch does not know: a reader goes no further.

use std::collections::BTreeMap;

use journal::Record;
use journal::vectors::Outcome;
use model::text::Base64;
use model::{EventHash, Fingerprint, KeyId, KeyState, TenantId};
use serde::{Deserialize, Serialize};

use crate::{Judgement, RULES, Tenant};

/// A file of law vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// What this is, for people.
    pub about: String,
    /// The rules epoch that it is for.
    pub rules: u32,
    /// The cases.
    pub cases: Vec<Case>,
}

/// One chain and what it comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The pinned root.
    pub root: Fingerprint,
    /// Whose chain.
    pub tenant: TenantId,
    /// The events.
    pub events: Vec<EventCase>,
    /// Where an event brings unknown rules: its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stops_at: Option<u64>,
    /// The last event's hash.
    pub head: EventHash,
    /// The RFC 6962 root over all hashes.
    pub merkle_root: EventHash,
    /// The state of every key.
    pub keys: BTreeMap<KeyId, KeyState>,
}

/// One event and the verdict on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventCase {
    /// The exact bytes.
    pub payload: Base64,
    /// The signature header.
    pub signature: String,
    /// The event hash.
    pub hash: EventHash,
    /// Why it is void, or null.
    pub void: Option<String>,
}

impl Case {
    /// The case that this program makes of a chain, as a reader does who knows these rules and no later ones.
    pub fn of(name: &str, rules: u32, root: Fingerprint, tenant: TenantId, records: &[Record]) -> Self {
        let mut state = Tenant { knows: rules, ..Tenant::new(tenant, root) };
        let (mut events, mut stops_at) = (Vec::new(), None);
        for record in records {
            let void = match state.take_record(record.clone()) {
                Ok(Judgement::Lawful) => None,
                Ok(Judgement::Void(void)) => Some(void.to_string()),
                Err(unknown) => {
                    stops_at = Some(events.len() as u64 + 1);
                    Some(unknown.to_string())
                }
            };
            let (payload, signature) = (Base64(record.payload.to_vec()), record.signature.clone());
            events.push(EventCase { payload, signature, hash: record.hash(), void });
            if stops_at.is_some() {
                break;
            }
        }
        Self {
            name: name.to_owned(),
            root,
            tenant,
            events,
            stops_at,
            head: state.chain.head().hash,
            merkle_root: EventHash::new(state.chain.tree().root()),
            keys: state.keys.iter().map(|(id, key)| (*id, key.state)).collect(),
        }
    }
}

/// Judges every case of a file. An error where the text is not such a file, or is for other rules.
pub fn judge(text: &str) -> Result<Vec<Outcome>, String> {
    let file: File = serde_json::from_str(text).map_err(|error| format!("not a file of law vectors: {error}"))?;
    if file.rules > RULES {
        return Err(format!("the vectors are for rules epoch {}; this program knows up to {RULES}", file.rules));
    }
    Ok(file.cases.iter().map(|case| judge_case(case, file.rules)).collect())
}

fn judge_case(case: &Case, rules: u32) -> Outcome {
    let record =
        |event: &EventCase| Record { signature: event.signature.clone(), payload: event.payload.0.clone().into() };
    let records: Vec<Record> = case.events.iter().map(record).collect();
    let made = Case::of(&case.name, rules, case.root, case.tenant, &records);
    let mut differences = Vec::new();
    for (place, (wanted, made)) in case.events.iter().zip(&made.events).enumerate() {
        differences.extend(event_differs(wanted, made).map(|text| format!("event {}: {text}", place + 1)));
    }
    for (what, differs) in [
        ("the place where a reader stops", made.stops_at != case.stops_at),
        ("the head", made.head != case.head),
        ("the Merkle root", made.merkle_root != case.merkle_root),
        ("the state of the keys", made.keys != case.keys),
    ] {
        if differs {
            differences.push(format!("{what} is another than the vector says"));
        }
    }
    Outcome { name: case.name.clone(), differences }
}

fn event_differs(wanted: &EventCase, made: &EventCase) -> Option<String> {
    if wanted.hash != made.hash {
        return Some(format!("its hash is {}, the vector says {}", made.hash, wanted.hash));
    }
    match (&made.void, &wanted.void) {
        (None, None) | (Some(_), Some(_)) => None,
        (None, Some(reason)) => Some(format!("it stands, the vector says void ({reason})")),
        (Some(reason), None) => Some(format!("it is void ({reason}), the vector says it stands")),
    }
}
