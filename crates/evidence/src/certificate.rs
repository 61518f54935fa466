//! The activation certificate: one small file that proves a key's activation on its own, under the pinned root.
//!
//! It holds the events that the activation rests on, as they stand in the history, each with its RFC 6962 path to one
//! checkpoint that the exporter signed (and witnesses cosigned): who serves the tenant, the policy, who the people were, the
//! key's birth, the request, every approval with its own signature, the authorisation, the activation, and the custodian's
//! word that the store has it. [`check`] says what follows from that, and what does not.

mod check;

use std::collections::{BTreeMap, BTreeSet};

use journal::merkle::{self, Hash};
use journal::{Record, note};
use lifecycle::{Judgement, Prepared, Tenant};
use model::text::Base64;
use model::{Event, EventHash, Fingerprint, KeyId, Name, Sequence, TenantId};
use serde::{Deserialize, Serialize};

pub use check::{Approved, Check, Report, check};

use crate::export::{Line, line_of};

/// The value of [`Certificate::format`].
pub const FORMAT: &str = "keylatch.dev/certificate/v1";
/// The largest certificate that is read, in bytes.
pub const BYTES_MAX: usize = 8 * 1024 * 1024;

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// [`FORMAT`].
    pub format: String,
    /// Whose history.
    pub tenant: TenantId,
    /// The root that it was made under. Nobody believes it for that: whoever checks pins theirs.
    pub root: Fingerprint,
    /// The key.
    pub key_id: KeyId,
    /// What the key is called.
    pub label: Name,
    /// The checkpoint (C2SP signed note), with the cosignatures that there are.
    pub checkpoint: String,
    /// The events, in order.
    pub events: Vec<Proved>,
}

/// An event, and the proof that the checkpoint commits to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proved {
    /// Its place, from 0: its sequence less one.
    pub index: u64,
    /// The event, as a line of `events.jsonl`.
    pub event: Line,
    /// The hashes from its sibling up to the root's.
    pub path: Vec<Base64>,
}

impl Certificate {
    /// The file's bytes.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCertificate {
    /// The key was never activated.
    #[error("the key was never activated")]
    NeverActivated,
    /// No checkpoint covers the activation yet.
    #[error("no checkpoint covers the activation yet")]
    NotCovered,
    /// The history that was read is not the one that the state is of.
    #[error("the activation is not in the history that was read")]
    NotThere,
}

/// Gathers what a certificate holds while the history is read once more, from its first event on. Memory: 32 bytes an
/// event, and the few events that the certificate is of.
pub struct Collector {
    tenant: TenantId,
    root: Fingerprint,
    key: KeyId,
    label: Name,
    activation: EventHash,
    request: EventHash,
    people: BTreeSet<Fingerprint>,
    leaves: Vec<Hash>,
    kept: BTreeMap<Sequence, Record>,
    policy: Option<(Sequence, Record)>,
    activated: bool,
    checkpoint: Option<note::Note>,
}

impl Collector {
    /// For this key's activation, in a tenant's verified state.
    pub fn new(state: &Tenant, key: KeyId) -> Result<Self, NoCertificate> {
        let found = state.keys.get(&key).and_then(|key| Some((key, key.activation?)));
        let (key, activation) = found.ok_or(NoCertificate::NeverActivated)?;
        let request = state.requests.get(&activation.request);
        let approvals = request.into_iter().flat_map(|request| request.approvals.iter().chain(&request.lapsed));
        let votes = approvals.flat_map(|approval| [Some(approval.by), approval.on_behalf_of]).flatten();
        let asked = request.map(|request| request.requested_by);
        Ok(Self {
            tenant: state.chain.tenant(),
            root: state.root,
            key: key.id,
            label: key.spec.label.clone(),
            activation: activation.hash,
            request: activation.request,
            people: votes.chain(asked).chain([key.created_by]).collect(),
            leaves: Vec::new(),
            kept: BTreeMap::new(),
            policy: None,
            activated: false,
            checkpoint: None,
        })
    }

    /// Takes the next event, and what became of it.
    pub fn take(&mut self, sequence: Sequence, prepared: &Prepared, judgement: &Judgement) {
        self.leaves.push(*prepared.hash.as_bytes());
        let (Judgement::Lawful, Some(event)) = (judgement, prepared.event()) else { return };
        let hash = prepared.hash;
        match event {
            Event::PolicyAdopted(_) if !self.activated => {
                self.policy = Some((sequence, prepared.record.clone()));
            }
            Event::CheckpointSigned(signed) if self.activated => {
                self.checkpoint = note::Note::parse(&signed.note).ok().or(self.checkpoint.take());
            }
            event if self.is_of_it(hash, event) => {
                self.kept.insert(sequence, prepared.record.clone());
            }
            _ => {}
        }
        self.activated |= hash == self.activation;
    }

    fn is_of_it(&self, hash: EventHash, event: &Event) -> bool {
        match event {
            Event::TenantCreated(_) | Event::AuthorityChanged(_) => true,
            Event::PrincipalEnrolled(event) => !self.activated && self.people.contains(&event.fingerprint),
            Event::PrincipalChanged(event) => !self.activated && self.people.contains(&event.principal),
            Event::PrincipalRevoked(event) => !self.activated && self.people.contains(&event.principal),
            Event::PrincipalRotated(event) => {
                let about = [event.principal, event.fingerprint];
                !self.activated && about.iter().any(|who| self.people.contains(who))
            }
            Event::KeyGenerated(event) => event.key_id == self.key,
            Event::ActivationRequested(_) => hash == self.request,
            Event::ActivationApproved(event) => !self.activated && event.request == self.request,
            Event::ActivationAuthorized(event) => !self.activated && event.request == self.request,
            Event::KeyActivated(_) => hash == self.activation,
            Event::CustodyApplied(event) => event.key_id == self.key && event.cause == self.activation,
            _ => false,
        }
    }

    /// The certificate: under this note with cosignatures, where it is one of the tree and covers the activation, else under
    /// the newest checkpoint in the history.
    pub fn finish(mut self, cosigned: Option<note::Note>) -> Result<Certificate, NoCertificate> {
        if !self.activated {
            return Err(NoCertificate::NotThere);
        }
        self.kept.extend(self.policy.take());
        let notes = cosigned.into_iter().chain(self.checkpoint.take());
        let found = notes.filter_map(|note| Some((self.levels(&note)?, note))).next();
        let (levels, note) = found.ok_or(NoCertificate::NotCovered)?;
        let events = self.kept.into_iter().filter_map(|(sequence, record)| {
            let index = sequence.0.saturating_sub(1);
            let place =
                usize::try_from(index).ok().filter(|place| levels.first().is_some_and(|all| *place < all.len()))?;
            let path = merkle::path_in(&levels, place).into_iter().map(|hash| Base64(hash.to_vec())).collect();
            Some(Proved { index, event: line_of(&record), path })
        });
        Ok(Certificate {
            format: FORMAT.to_owned(),
            tenant: self.tenant,
            root: self.root,
            key_id: self.key,
            label: self.label,
            checkpoint: note.to_string(),
            events: events.collect(),
        })
    }

    /// The tree that a note is of, where it is ours and the activation is in it.
    fn levels(&self, note: &note::Note) -> Option<Vec<Vec<Hash>>> {
        let checkpoint = note.checkpoint().ok().filter(|one| one.origin == note::origin(self.tenant))?;
        let leaves = self.leaves.get(..usize::try_from(checkpoint.size).ok()?)?;
        leaves.contains(self.activation.as_bytes()).then_some(())?;
        let levels = merkle::levels(leaves.to_vec());
        let root = levels.last().and_then(|top| top.first());
        (root == Some(&checkpoint.root)).then_some(levels)
    }
}
