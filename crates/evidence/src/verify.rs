//! Checking a history from its first event on: every signature, every link, every decision decided again.

use journal::{Record, Ring};
use lifecycle::judge::UnknownRules;
use lifecycle::{Judgement, Prepared, Tenant, Void, prepare};
use model::{Envelope, EventHash, Fingerprint, KeyState, Sequence, TenantId, Timestamp};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;

/// A verification under way. Memory grows with the number of keys, requests and commands (a replayed command is found by its
/// id), not with that of other events.
pub struct Verifier {
    state: Tenant,
    authority: Vec<Envelope>,
    voids: Vec<VoidEvent>,
    void_count: u64,
    stopped: Option<UnknownRules>,
}

/// An event at its place, and what became of it.
pub type Seen = (Sequence, Prepared, Judgement);

/// An event that does not stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VoidEvent {
    /// Its place.
    pub sequence: u64,
    /// Its hash.
    pub hash: EventHash,
    /// Its type, where it could be read.
    pub event_type: Option<String>,
    /// Why.
    pub reason: String,
}

/// What a verification came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whose chain.
    pub tenant: TenantId,
    /// The root that it was checked under.
    pub root: Fingerprint,
    /// How many events were read.
    pub events: u64,
    /// How many of them are void.
    pub void: u64,
    /// The first of them, at most [`VOIDS_MAX`].
    pub voids: Vec<VoidEvent>,
    /// Where the chain brought rules that this program does not know: nothing after was checked.
    pub stopped: Option<String>,
    /// The last event's hash.
    pub head: EventHash,
    /// The RFC 6962 root over all hashes.
    pub merkle_root: EventHash,
    /// The last event's time.
    pub time: Timestamp,
    /// How many keys are in which state.
    pub keys: BTreeMap<KeyState, u64>,
}

/// How many void events a report names.
pub const VOIDS_MAX: usize = 100;

impl Report {
    /// Whether there is nothing to object to: at least one event, none of them void, and all of it read.
    pub fn is_clean(&self) -> bool {
        self.events > 0 && self.void == 0 && self.stopped.is_none()
    }

    /// The first event that does not stand.
    pub fn first_bad(&self) -> Option<&VoidEvent> {
        self.voids.first()
    }
}

impl Verifier {
    /// Before the first event.
    pub fn new(tenant: TenantId, root: Fingerprint) -> Self {
        let state = Tenant::new(tenant, root);
        Self { state, authority: Vec::new(), voids: Vec::new(), void_count: 0, stopped: None }
    }

    /// Takes the records that follow. Signatures are checked in parallel, so many at once are better than one at a time.
    /// Answers with what became of each; fewer than were given where reading stopped.
    pub fn take(&mut self, records: Vec<Record>) -> Vec<Seen> {
        let mut judged = Vec::with_capacity(records.len());
        self.take_each(records, &mut |_, seen| judged.push(seen));
        judged
    }

    /// The same, for who looks at the state after each of them.
    pub fn take_each(&mut self, records: Vec<Record>, look: &mut dyn FnMut(&Tenant, Seen)) {
        let mut rest = records.as_slice();
        while !rest.is_empty() && self.stopped.is_none() {
            let (ring, root): (Ring, Fingerprint) = (self.state.ring(), self.state.root);
            let prepared: Vec<Prepared> = rest.par_iter().map(|record| prepare(record.clone(), &ring, root)).collect();
            let mut taken = 0;
            for prepared in prepared {
                let Some(seen) = self.take_one(prepared) else { return };
                let (_, prepared, judgement) = &seen;
                // Where the keys in force have changed, what follows is checked again under the new ones.
                let ring_changed = prepared.changes_ring() && *judgement == Judgement::Lawful;
                look(&self.state, seen);
                taken += 1;
                if ring_changed {
                    break;
                }
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    fn take_one(&mut self, prepared: Prepared) -> Option<Seen> {
        let judgement = match self.state.take(&prepared) {
            Ok(judgement) => judgement,
            Err(unknown) => {
                self.stopped = Some(unknown);
                return None;
            }
        };
        let sequence = self.state.chain.head().sequence;
        match &judgement {
            Judgement::Lawful => self.authority.extend(prepared.event().and_then(|event| event.authority()).cloned()),
            Judgement::Void(void) => self.note(sequence, &prepared, void),
        }
        Some((sequence, prepared, judgement))
    }

    fn note(&mut self, sequence: Sequence, prepared: &Prepared, void: &Void) {
        self.void_count += 1;
        if self.voids.len() < VOIDS_MAX {
            let event_type = prepared.body().map(|body| body.event_type.clone());
            self.voids.push(VoidEvent {
                sequence: sequence.0,
                hash: prepared.hash,
                event_type,
                reason: void.to_string(),
            });
        }
    }

    /// The state so far.
    pub fn state(&self) -> &Tenant {
        &self.state
    }

    /// The authority statements so far.
    pub fn authority(&self) -> &[Envelope] {
        &self.authority
    }

    /// What it comes to so far.
    pub fn report(&self) -> Report {
        let chain = &self.state.chain;
        let mut keys = BTreeMap::new();
        self.state.keys.values().for_each(|key| *keys.entry(key.state).or_default() += 1);
        Report {
            tenant: chain.tenant(),
            root: self.state.root,
            events: chain.head().sequence.0,
            void: self.void_count,
            voids: self.voids.clone(),
            stopped: self.stopped.map(|unknown| unknown.to_string()),
            head: chain.head().hash,
            merkle_root: EventHash::new(chain.tree().root()),
            time: chain.time(),
            keys,
        }
    }
}
