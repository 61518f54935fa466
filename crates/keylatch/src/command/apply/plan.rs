//! What there is to do for a file to be so: the file against the verified history.

use std::collections::{BTreeMap, BTreeSet};

use lifecycle::state::{Outcome as End, Request};
use lifecycle::{Key, Tenant};
use model::key::Template;
use model::{KeyId, KeySpec, KeyState, Name};
use serde::Serialize;
use serde_json::Value;

use super::file::{Wanted, WantedKey, WantedRequest};
use crate::lookup;
use crate::reader::Known;

/// What is to be done about a key or a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// A key is to be made.
    Create,
    /// These keys are to be asked for; how many requests that takes.
    Request {
        /// The keys that wait and that nobody has asked for.
        keys: usize,
        /// In so many requests, as far as is known beforehand.
        requests: usize,
    },
    /// It is as the file says.
    Unchanged {
        /// How it is.
        how: String,
    },
    /// It can't be as the file says.
    Conflict {
        /// Why.
        why: String,
    },
}

/// The plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For each key of the file.
    pub keys: Vec<(WantedKey, Step)>,
    /// For each request of the file.
    pub requests: Vec<(WantedRequest, Step)>,
}

impl Plan {
    /// Whether something can't be as the file says.
    pub fn has_conflicts(&self) -> bool {
        self.steps().any(|step| matches!(step, Step::Conflict { .. }))
    }

    /// Whether there is something to do.
    pub fn has_work(&self) -> bool {
        self.steps().any(|step| matches!(step, Step::Create | Step::Request { .. }))
    }

    /// Every step.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.keys.iter().map(|(_, step)| step).chain(self.requests.iter().map(|(_, step)| step))
    }
}

/// The keys of a tenant by their labels, looked up once.
struct Labels<'a>(BTreeMap<&'a str, Vec<&'a Key>>);

impl<'a> Labels<'a> {
    fn of(state: &'a Tenant) -> Self {
        let mut labels: BTreeMap<&str, Vec<&Key>> = BTreeMap::new();
        for key in state.keys.values() {
            labels.entry(key.spec.label.as_str()).or_default().push(key);
        }
        Self(labels)
    }

    /// The one key with this label that is not gone; where there is none, why none can be made.
    fn find(&self, label: &Name) -> Result<Option<&'a Key>, String> {
        let all = self.0.get(label.as_str()).map(Vec::as_slice).unwrap_or_default();
        let living: Vec<&Key> = all.iter().copied().filter(|key| !is_gone(key)).collect();
        match (living.as_slice(), all) {
            ([key], _) => Ok(Some(key)),
            ([], []) => Ok(None),
            ([], [gone, ..]) => {
                let how = if gone.expired.is_some() { "expired" } else { gone.state.name() };
                Err(format!("a key with this label is gone ({how}): take another label"))
            }
            (several, _) => Err(format!("{} keys have this label", several.len())),
        }
    }
}

fn is_gone(key: &Key) -> bool {
    key.expired.is_some() || matches!(key.state, KeyState::Destroyed | KeyState::DestroyedCompromised)
}

/// Compares the file with the history.
pub fn plan(known: &Known, wanted: Wanted) -> Plan {
    let state = known.state();
    let labels = Labels::of(state);
    let keys: Vec<(WantedKey, Step)> = wanted
        .keys
        .into_iter()
        .map(|key| {
            let step = of_key(state, &labels, &key);
            (key, step)
        })
        .collect();
    let to_come: BTreeMap<&Name, &KeySpec> =
        keys.iter().filter(|(_, step)| *step == Step::Create).map(|(key, _)| (&key.spec.label, &key.spec)).collect();
    let asked = Asked::of(known);
    let requests = wanted.requests.into_iter().map(|request| {
        let step = of_request(state, &labels, &to_come, &asked, &request);
        (request, step)
    });
    let requests = requests.collect();
    Plan { keys, requests }
}

fn of_key(state: &Tenant, labels: &Labels<'_>, wanted: &WantedKey) -> Step {
    match labels.find(&wanted.spec.label) {
        Err(why) => Step::Conflict { why },
        Ok(None) => match state.keys.get(&wanted.id) {
            None => Step::Create,
            Some(other) => Step::Conflict { why: format!("its id belongs to `{}`", other.spec.label) },
        },
        Ok(Some(key)) => match differences(&key.spec, &wanted.spec) {
            differing if differing.is_empty() => Step::Unchanged { how: key.state.name().to_owned() },
            differing => {
                let why = format!("a key with this label exists with another {}", differing.join(", "));
                Step::Conflict { why }
            }
        },
    }
}

/// The members in which two descriptions differ.
pub fn differences(one: &KeySpec, other: &KeySpec) -> Vec<String> {
    let members = |spec: &KeySpec| match serde_json::to_value(spec) {
        Ok(Value::Object(members)) => members,
        _ => serde_json::Map::new(),
    };
    let (one, other) = (members(one), members(other));
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    names.into_iter().filter(|name| one.get(*name) != other.get(*name)).cloned().collect()
}

/// Which keys somebody has asked for, and how the last request for each ended.
struct Asked {
    /// Under an open request for many.
    open: BTreeMap<KeyId, String>,
    /// Rejected the last time.
    rejected: BTreeSet<KeyId>,
}

impl Asked {
    fn of(known: &Known) -> Self {
        let mut requests: Vec<&Request> = known.state().requests.values().collect();
        requests.sort_by_key(|request| request.requested_at);
        let (mut open, mut rejected) = (BTreeMap::new(), BTreeSet::new());
        for request in requests {
            let listed = known.list(request).map(|list| list.keys().collect::<Vec<KeyId>>()).unwrap_or_default();
            for key in request.key_id.into_iter().chain(listed) {
                match request.closed.map(|closed| closed.how) {
                    None => drop(open.insert(key, lookup::short(request.hash))),
                    Some(End::Rejected) => drop(rejected.insert(key)),
                    Some(_) => drop(rejected.remove(&key)),
                }
            }
        }
        Self { open, rejected }
    }
}

fn of_request(
    state: &Tenant,
    labels: &Labels<'_>,
    to_come: &BTreeMap<&Name, &KeySpec>,
    asked: &Asked,
    wanted: &WantedRequest,
) -> Step {
    let mut free: Vec<&KeySpec> = Vec::new();
    let (mut open, mut beyond) = (0_usize, 0_usize);
    for label in &wanted.labels {
        match labels.find(label) {
            Ok(Some(key)) if !key.is_waiting() => beyond += 1,
            Ok(Some(key)) if asked.open.contains_key(&key.id) => open += 1,
            Ok(Some(key)) if asked.rejected.contains(&key.id) => {
                let why = format!("the last request for `{label}` was rejected: ask by hand, with what has changed");
                return Step::Conflict { why };
            }
            Ok(Some(key)) => free.push(&key.spec),
            Ok(None) => free.extend(to_come.get(label)),
            // The key itself is in conflict.
            Err(_) => {}
        }
    }
    if free.is_empty() {
        return Step::Unchanged { how: format!("{open} asked for, {beyond} activated or past it") };
    }
    let requests = batches(state, free.iter().copied().map(|spec| (Template::of(spec), ())), wanted.each).len();
    Step::Request { keys: free.len(), requests }
}

/// Keys that can be asked for at once: alike, and no more than the policy's rule takes.
pub fn batches<T>(state: &Tenant, keys: impl Iterator<Item = (Template, T)>, each: bool) -> Vec<Vec<T>> {
    let mut kinds: Vec<(Template, Vec<T>)> = Vec::new();
    for (template, key) in keys {
        match kinds.iter_mut().find(|(known, _)| *known == template) {
            Some((_, keys)) => keys.push(key),
            None => kinds.push((template, vec![key])),
        }
    }
    let policy = state.governance.as_deref().and_then(|governance| governance.policy.as_ref());
    let mut batches = Vec::new();
    for (template, keys) in kinds {
        let rule = policy.and_then(|held| held.policy.rule_for(&template.traits()));
        let most = rule.and_then(|rule| rule.manifest_max).filter(|_| !each).unwrap_or(1).max(1);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut keys = keys.into_iter().peekable();
        while keys.peek().is_some() {
            batches.push(keys.by_ref().take(most).collect());
        }
    }
    batches
}

/// The keys of a request that wait and that nobody has asked for, now.
pub fn free(known: &Known, wanted: &WantedRequest) -> Vec<(Template, KeyId)> {
    let (labels, asked) = (Labels::of(known.state()), Asked::of(known));
    let keys = wanted.labels.iter().filter_map(|label| labels.find(label).ok().flatten());
    let free = keys.filter(|key| key.is_waiting() && !asked.open.contains_key(&key.id));
    free.map(|key| (Template::of(&key.spec), key.id)).collect()
}
