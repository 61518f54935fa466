//! The populations: which keys, activations and stores belong to a period. The tests count by them, and the CSV files list
//! by them.

use std::collections::{BTreeMap, BTreeSet};

use model::event::Inventory;
use model::{KeyState, Name, Timestamp};

use super::{FOLLOWS_WITHIN, Period};
use crate::bundle::Source;
use crate::history::{Activation, At, Attempt, History, KeyLife, RequestLife};

/// A history, and the part of it that is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) history: &'a History,
    pub(crate) period: Period,
}

impl<'a> Scope<'a> {
    /// The one that a bundle's files are made from.
    pub(crate) fn of(source: &Source<'a>) -> Self {
        Self { history: source.history, period: source.controls.period }
    }

    /// Whether an event is of the period.
    pub(crate) fn has(&self, at: &At) -> bool {
        at.sequence >= self.period.from
    }

    /// Whether what follows from something at this time has had its time.
    pub(crate) fn is_over(&self, time: Timestamp) -> bool {
        time + FOLLOWS_WITHIN <= self.period.until
    }

    /// The keys that were generated in the period.
    pub(crate) fn generated(&self) -> impl Iterator<Item = &'a KeyLife> {
        let scope = *self;
        self.history.keys.values().filter(move |key| scope.has(&key.created))
    }

    /// Whether a key was pre-active at some time of the period.
    pub(crate) fn has_waited(&self, key: &KeyLife) -> bool {
        key.left_pre_activation().is_none_or(|step| self.has(&step.at))
    }

    /// The keys that were pre-active at some time of the period.
    pub(crate) fn waited(&self) -> impl Iterator<Item = &'a KeyLife> {
        let scope = *self;
        self.history.keys.values().filter(move |key| scope.has_waited(key))
    }

    /// Whether there was a key at some time of the period: it was not destroyed before.
    pub(crate) fn has_existed(&self, key: &KeyLife) -> bool {
        let gone = |state| matches!(state, KeyState::Destroyed | KeyState::DestroyedCompromised);
        key.steps.iter().find(|step| gone(step.state)).is_none_or(|step| self.has(&step.at))
    }

    /// The keys that there were at some time of the period.
    pub(crate) fn existed(&self) -> impl Iterator<Item = &'a KeyLife> {
        let scope = *self;
        self.history.keys.values().filter(move |key| scope.has_existed(key))
    }

    /// Whether a use of a key was recorded in the period.
    pub(crate) fn was_used(&self, key: &KeyLife) -> bool {
        key.uses.values().any(|uses| self.has(&uses.last))
    }

    /// The activations of the period, with their keys.
    pub(crate) fn activations(&self) -> impl Iterator<Item = (&'a KeyLife, &'a Activation)> {
        let scope = *self;
        let all = self.history.lives().flat_map(|key| key.activations.iter().map(move |activation| (key, activation)));
        all.filter(move |(_, activation)| scope.has(&activation.at))
    }

    /// The request that an activation rests on.
    pub(crate) fn request(&self, activation: &Activation) -> Option<&'a RequestLife> {
        self.history.requests.get(&activation.request)
    }

    /// The stores that had keys at some time of the period, with these.
    pub(crate) fn stores(&self) -> BTreeMap<&'a Name, Vec<&'a KeyLife>> {
        let mut stores: BTreeMap<&Name, Vec<&KeyLife>> = BTreeMap::new();
        self.existed().for_each(|key| stores.entry(&key.store).or_default().push(key));
        stores
    }

    /// The events of the period that do not stand.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = &'a Attempt> {
        let scope = *self;
        self.history.attempts.iter().filter(move |attempt| scope.has(&attempt.at))
    }

    /// Whether an activation is one that others have a part in: a key that another wraps, that others consume, or whose duty
    /// several parties share.
    pub(crate) fn is_coordinated(&self, key: &KeyLife, activation: &Activation) -> bool {
        key.spec.wrapped_by.is_some()
            || key.spec.responsibility.parties().len() > 1
            || self.request(activation).is_some_and(|request| !request.consumers.is_empty())
    }
}

/// The wrapping keys under which a store's keys were in one of its inventories, by the custodian's word.
pub(crate) fn wrapping_keys<'a>(keys: &[&'a KeyLife], inventory: Inventory) -> BTreeSet<&'a Name> {
    let places = keys.iter().flat_map(|key| &key.custody).flat_map(|custody| [&custody.before, &custody.after]);
    places.flatten().filter(|(place, _)| *place == inventory).map(|(_, wrapping_key)| wrapping_key).collect()
}

/// A flag, as it stands in the CSV files.
pub(crate) fn yes_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}
