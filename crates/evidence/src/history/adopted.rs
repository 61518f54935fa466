//! Keys that were there before Keylatch: in baselines, each with what became of it since. They were never generated here, so
//! they are in none of the other populations; where they are authorised anew, that activation is one like any other.

use std::collections::BTreeMap;

use lifecycle::Tenant;
use model::event::{BaselineAdopted, KeyAdopted};
use model::{Digest, EventHash, Fingerprint, KeyId, KeyState, Name, Text, Timestamp};

use super::{At, History, KeyLife, Step};

/// The keys that a store had before, as admins signed for them.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// Its `baseline.adopted`.
    pub at: At,
    /// The store.
    pub store: Name,
    /// When the inventory was taken.
    pub taken_at: Timestamp,
    /// How many keys it lists.
    pub count: u32,
    /// By when each of them is to be rotated or authorised anew.
    pub rotate_by: Timestamp,
    /// Who adopted it, or the first of them.
    pub by: Fingerprint,
}

/// A key of a baseline.
#[derive(Clone, Debug)]
pub struct AdoptedKey {
    /// Its life since then. Its first step is that it was active.
    pub life: KeyLife,
    /// The `baseline.adopted`.
    pub baseline: EventHash,
    /// What it computes, by its store's word.
    pub algorithm: Name,
    /// What its store calls it.
    pub label: Text,
    /// When it was made, where its store says so.
    pub made_at: Option<Timestamp>,
    /// By when it is to be rotated or authorised anew.
    pub rotate_by: Timestamp,
    /// The `key.activated` of the key that replaces it.
    pub replaced: Option<At>,
    /// The `deadline.missed`.
    pub missed: Option<At>,
}

/// What has become of an adopted key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// In use, its activation not evidenced, and its time not over.
    Open,
    /// The same, and its time is over.
    Overdue,
    /// Authorised anew: its activation is evidenced from then on.
    AuthorisedAnew,
    /// Another key has taken its place.
    Rotated,
    /// Its use has ended, by what people recorded.
    Ended,
}

impl Standing {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Open, Self::Overdue, Self::AuthorisedAnew, Self::Rotated, Self::Ended];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Overdue => "overdue",
            Self::AuthorisedAnew => "authorised anew",
            Self::Rotated => "rotated",
            Self::Ended => "ended",
        }
    }
}

impl AdoptedKey {
    /// What has become of it by this time, and the event that settled it, where one has.
    pub fn standing(&self, until: Timestamp) -> (Standing, Option<At>) {
        let in_use = |step: &&Step| matches!(step.state, KeyState::Active | KeyState::Suspended);
        let ended = self.life.steps.last().filter(|step| !in_use(step)).map(|step| (Standing::Ended, step.at));
        let anew = self.life.activations.first().map(|activation| (Standing::AuthorisedAnew, activation.at));
        let rotated = self.replaced.map(|at| (Standing::Rotated, at));
        match anew.into_iter().chain(rotated).chain(ended).min_by_key(|(_, at)| at.sequence) {
            Some((standing, at)) => (standing, Some(at)),
            None if self.missed.is_some() || self.rotate_by <= until => (Standing::Overdue, self.missed),
            None => (Standing::Open, None),
        }
    }
}

impl History {
    /// A key's life, whether it was generated here or adopted.
    pub(super) fn life_mut(&mut self, key: &KeyId) -> Option<&mut KeyLife> {
        match self.keys.get_mut(key) {
            Some(life) => Some(life),
            None => self.adopted.get_mut(key).map(|adopted| &mut adopted.life),
        }
    }

    /// Every key that has a life here, generated or adopted.
    pub fn lives(&self) -> impl Iterator<Item = &KeyLife> {
        self.keys.values().chain(self.adopted.values().map(|adopted| &adopted.life))
    }
}

pub(super) fn baseline(at: At, adopted: &BaselineAdopted) -> Baseline {
    let BaselineAdopted { store, taken_at, manifest, rotate_by, adopted_by, .. } = adopted.clone();
    Baseline { at, store, taken_at, count: manifest.count, rotate_by, by: adopted_by }
}

/// `None` where the state does not have it, which no lawful event brings about.
pub(super) fn key(state: &Tenant, at: At, adopted: &KeyAdopted) -> Option<AdoptedKey> {
    let key = state.keys.get(&adopted.key_id)?;
    let KeyAdopted { algorithm, label, made_at, rotate_by, cause, .. } = adopted.clone();
    let life = KeyLife {
        id: key.id,
        spec: key.spec.clone(),
        identity: key.identity.clone(),
        store: key.store.clone(),
        seal_key: Digest::of(&key.seal_key.0),
        born_under: None,
        created: at,
        created_by: key.created_by,
        creator_role: None,
        policy: EventHash::ZERO,
        pre_active_until: key.pre_active_until,
        revalidate_by: None,
        expired: None,
        steps: vec![Step { at, state: KeyState::Active, by: None }],
        activations: Vec::new(),
        custody: Vec::new(),
        uses: BTreeMap::new(),
        doubts: Vec::new(),
        refused: BTreeMap::new(),
        revalidated: Vec::new(),
        timeline: Vec::new(),
        events: 0,
        last: at,
    };
    let (replaced, missed) = (None, None);
    Some(AdoptedKey { life, baseline: cause, algorithm, label, made_at, rotate_by, replaced, missed })
}
