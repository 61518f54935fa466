//! Judges a file of form vectors (`schemas/vectors/chain-v1.json` and files of that form): each case a chain, with the
//! verdict, hash, head and Merkle root that every implementation must reach, and a signed command.
//!
//! A vector's `void` says only *that* an event is void; the words of the reason are free.

use std::collections::BTreeMap;

use model::dsse::{self, Envelope, Signature};
use model::text::Base64;
use model::{EventHash, Fingerprint, PublicKey, ServiceRole, TenantId};
use serde::Deserialize;

use crate::command::SignedCommand;
use crate::{Authentic, Chain, Record, Ring, Void};

#[derive(Deserialize)]
struct File {
    event_payload_type: String,
    tenant: TenantId,
    /// As OpenSSH writes them, comments and all.
    keys: BTreeMap<String, String>,
    cases: Vec<Case>,
    command: Option<CommandCase>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    events: Vec<EventCase>,
    head: EventHash,
    root: EventHash,
}

#[derive(Deserialize)]
struct EventCase {
    payload: Base64,
    #[serde(default)]
    signature: Option<String>,
    hash: EventHash,
    void: Option<String>,
}

#[derive(Deserialize)]
struct CommandCase {
    payload_type: String,
    fingerprint: Fingerprint,
    payload: Base64,
    sshsig: Base64,
}

/// How one case came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The case's name.
    pub name: String,
    /// Every difference from what the vector says; empty where there is none.
    pub differences: Vec<String>,
}

/// Judges every case of a file. An error where the text is not such a file.
pub fn judge(text: &str) -> Result<Vec<Outcome>, String> {
    let file: File = serde_json::from_str(text).map_err(|error| format!("not a file of form vectors: {error}"))?;
    if file.event_payload_type != dsse::EVENT {
        return Err(format!("the vectors are for `{}`; this program knows `{}`", file.event_payload_type, dsse::EVENT));
    }
    let ring = ring(&file.keys)?;
    let mut outcomes: Vec<Outcome> = file.cases.iter().map(|case| judge_chain(case, file.tenant, &ring)).collect();
    outcomes.extend(file.command.map(judge_command));
    Ok(outcomes)
}

/// The keys of a file. One that nobody can sign with (a point of small order, another kind of key) stands there to be
/// refused: its events are by a stranger.
fn ring(keys: &BTreeMap<String, String>) -> Result<Ring, String> {
    let mut usable = BTreeMap::new();
    for (name, text) in keys {
        // The root stands among the keys and signs like a registrar there. Roles are the law's business.
        let role = name.parse().unwrap_or(ServiceRole::Registrar);
        let Ok(key) = text.parse::<PublicKey>() else { continue };
        if Ring::of_keys([(role, key.clone())]).is_ok() {
            usable.insert(key.fingerprint(), (role, key));
        }
    }
    Ring::of_keys(usable.into_values()).map_err(|error| error.to_string())
}

fn judge_chain(case: &Case, tenant: TenantId, ring: &Ring) -> Outcome {
    let mut chain = Chain::new(tenant);
    let mut differences = Vec::new();
    for (place, event) in case.events.iter().enumerate() {
        let record =
            Record { signature: event.signature.clone().unwrap_or_default(), payload: event.payload.0.clone().into() };
        let opened = Authentic::open(&record, ring);
        let verdict = chain.admit(&record, opened.as_ref());
        let place = place + 1;
        if record.hash() != event.hash {
            differences.push(format!("event {place}: its hash is {}, the vector says {}", record.hash(), event.hash));
        }
        differences.extend(differs(&verdict, event.void.as_deref()).map(|text| format!("event {place}: {text}")));
    }
    let root = EventHash::new(chain.tree().root());
    if chain.head().hash != case.head {
        differences.push(format!("the head is {}, the vector says {}", chain.head().hash, case.head));
    }
    if root != case.root {
        differences.push(format!("the root is {root}, the vector says {}", case.root));
    }
    Outcome { name: case.name.clone(), differences }
}

fn differs(verdict: &Result<(), Void>, wanted: Option<&str>) -> Option<String> {
    match (verdict, wanted) {
        (Ok(()), None) | (Err(_), Some(_)) => None,
        (Ok(()), Some(reason)) => Some(format!("it stands, the vector says void ({reason})")),
        (Err(reason), None) => Some(format!("it is void ({reason}), the vector says it stands")),
    }
}

fn judge_command(case: CommandCase) -> Outcome {
    let sig = Signature { keyid: case.fingerprint.to_string(), sig: case.sshsig };
    let envelope = Envelope { payload: case.payload, payload_type: case.payload_type, signatures: vec![sig] };
    let differences = match SignedCommand::open(envelope) {
        Ok(_) => Vec::new(),
        Err(error) => vec![format!("the command is refused: {error}")],
    };
    Outcome { name: "command signed with OpenSSH".to_owned(), differences }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN_V1: &str = include_str!("../../../schemas/vectors/chain-v1.json");

    #[test]
    fn every_case_of_the_published_vectors_comes_out_as_it_says() {
        let outcomes = judge(CHAIN_V1).unwrap();
        assert_eq!(outcomes.len(), 40, "vectors are only ever added");
        let wrong: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.differences.is_empty()).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// A key of small order verifies what nobody signed: its events are void, and the rest of the file is judged.
    #[test]
    fn keys_that_nobody_can_sign_with_are_strangers() {
        let weak = PublicKey::ed25519(&[0; 32]).to_string();
        let more = CHAIN_V1.replacen(
            "\"keys\": {",
            &format!("\"keys\": {{\"weak\": \"{weak}\", \"other\": \"ssh-rsa AAAA\","),
            1,
        );
        assert_ne!(more, CHAIN_V1);
        assert!(judge(&more).unwrap().iter().all(|outcome| outcome.differences.is_empty()));
    }

    /// The judge itself can fail: each verdict turned round is a difference.
    #[test]
    fn a_vector_that_says_otherwise_is_a_difference() {
        let turned = CHAIN_V1.replace("\"void\": null", "\"void\": \"no\"").replace("\"void\":null", "\"void\":\"no\"");
        assert_ne!(turned, CHAIN_V1);
        assert!(judge(&turned).unwrap().iter().filter(|outcome| !outcome.differences.is_empty()).count() > 30);
        assert!(judge("{}").is_err());
    }
}
