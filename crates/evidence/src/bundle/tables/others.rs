//! `stores.csv`, `people.csv`, `governance.csv`, `exceptions.csv`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use model::event::Inventory;
use model::people::PrincipalKind;
use model::{EventType, Fingerprint, KeyState, Name, Timestamp};

use super::super::Source;
use super::super::csv::{self, Column};
use super::{cell, list, place, set, time};
use crate::controls::{ControlTest, Exception, Scope, is_about_generation, wrapping_keys, yes_no};
use crate::history::{At, History, KeyLife, Person, RegisteredStore, Signer};

// === Stores ===

/// A store and its keys.
struct Store<'a> {
    name: &'a Name,
    keys: Vec<&'a KeyLife>,
    registered: Option<&'a RegisteredStore>,
}

impl<'a> Store<'a> {
    /// What is registered of it.
    fn known(&self) -> Option<&'a model::evidence::Store> {
        self.registered.map(|registered| &registered.store)
    }

    fn count(&self, state: KeyState) -> String {
        self.keys.iter().filter(|key| key.state() == state).count().to_string()
    }

    /// The changes of state in the period, each with how long it took to be confirmed, where it was.
    fn changes<'b>(&'b self, scope: &'b Scope<'_>) -> impl Iterator<Item = Option<model::Span>> + 'b {
        let of_key = |key: &'b &KeyLife| key.steps.iter().map(move |step| (*key, &step.at));
        let changes = self.keys.iter().flat_map(of_key).filter(|(_, at)| scope.has(at));
        changes.map(|(key, at)| key.custody_after(at).map(|custody| custody.at.time - at.time))
    }
}

pub(in super::super) fn stores(source: &Source<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut stores: BTreeMap<&Name, Vec<&KeyLife>> = BTreeMap::new();
    source.history.keys.values().for_each(|key| stores.entry(&key.store).or_default().push(key));
    source.history.stores.iter().for_each(|registered| {
        stores.entry(&registered.store.name).or_default();
    });
    let store = |(name, keys)| Store { name, keys, registered: source.history.registered(name) };
    let stores = stores.into_iter().map(store);
    csv::write(out, &of_store(), &Scope::of(source), stores)
}

fn of_store<'a>() -> Vec<Column<Scope<'a>, Store<'a>>> {
    vec![
        ("store", |_, store| store.name.to_string()),
        ("backends", |_, store| set(store.keys.iter().map(|key| &key.spec.backend))),
        ("keys", |_, store| store.keys.len().to_string()),
        ("pre_active", |_, store| store.count(KeyState::PreActive)),
        ("active", |_, store| store.count(KeyState::Active)),
        ("suspended", |_, store| store.count(KeyState::Suspended)),
        ("destroyed", |_, store| store.count(KeyState::Destroyed)),
        ("waiting_under", |_, store| set(wrapping_keys(&store.keys, Inventory::PreActive))),
        ("active_under", |_, store| set(wrapping_keys(&store.keys, Inventory::Active))),
        ("seal_keys", |_, store| set(store.keys.iter().map(|key| key.seal_key))),
        ("changes_in_period", |scope, store| store.changes(scope).count().to_string()),
        ("unconfirmed", |scope, store| store.changes(scope).filter(Option::is_none).count().to_string()),
        ("slowest_confirmation_ms", |scope, store| {
            cell(store.changes(scope).flatten().map(model::Span::as_millis).max())
        }),
        ("registered_at", |_, store| time(store.registered.map(|registered| &registered.at))),
        ("registered_sequence", |_, store| place(store.registered.map(|registered| &registered.at))),
        ("kind", |_, store| cell(store.known().map(|known| &known.kind))),
        ("server", |_, store| cell(store.known().map(|known| &known.server))),
        ("database", |_, store| cell(store.known().map(|known| &known.database))),
        ("serial", |_, store| cell(store.known().and_then(|known| known.serial.as_ref()))),
        ("firmware", |_, store| cell(store.known().and_then(|known| known.firmware.as_ref()))),
        ("module_certificate", |_, store| cell(store.known().and_then(|known| known.module_certificate.as_ref()))),
        ("region", |_, store| cell(store.known().and_then(|known| known.region.as_ref()))),
        ("operator", |_, store| cell(store.known().and_then(|known| known.operator.as_ref()))),
        ("privileged_accounts", |_, store| list(store.known().iter().flat_map(|known| &known.privileged_accounts))),
        ("used_in_period", |scope, store| yes_no(store.keys.iter().any(|key| scope.has_existed(key))).into()),
    ]
}

// === People ===

/// Somebody or something that signs.
enum Actor<'a> {
    Principal(Fingerprint, &'a Person, Acts),
    Service(Fingerprint, &'a Signer),
}

/// What somebody did in the period.
#[derive(Clone, Copy, Default)]
struct Acts {
    generated: u64,
    requested: u64,
    approved: u64,
}

fn acts(scope: &Scope<'_>) -> BTreeMap<Fingerprint, Acts> {
    let mut acts: BTreeMap<Fingerprint, Acts> = BTreeMap::new();
    scope.generated().for_each(|key| acts.entry(key.created_by).or_default().generated += 1);
    for request in scope.history.requests.values() {
        if scope.has(&request.at) {
            acts.entry(request.by).or_default().requested += 1;
        }
        let approvals = request.approvals.values().filter(|approval| scope.has(&approval.at));
        approvals.for_each(|approval| acts.entry(approval.by).or_default().approved += 1);
    }
    acts
}

pub(in super::super) fn people(source: &Source<'_>, out: &mut dyn Write) -> io::Result<()> {
    let scope = Scope::of(source);
    let acts = acts(&scope);
    let History { people, signers, .. } = source.history;
    let did = |who: &Fingerprint| acts.get(who).copied().unwrap_or_default();
    let principals = people.iter().map(|(who, person)| Actor::Principal(*who, person, did(who)));
    let services = signers.iter().map(|(who, signer)| Actor::Service(*who, signer));
    csv::write(out, &of_actor(), &scope, principals.chain(services))
}

impl<'a> Actor<'a> {
    fn person(&self) -> Option<&'a Person> {
        match self {
            Self::Principal(_, person, _) => Some(person),
            Self::Service(..) => None,
        }
    }

    fn service(&self) -> Option<&'a Signer> {
        match self {
            Self::Principal(..) => None,
            Self::Service(_, signer) => Some(signer),
        }
    }

    fn did(&self, what: fn(&Acts) -> u64) -> String {
        match self {
            Self::Principal(_, _, acts) => what(acts).to_string(),
            Self::Service(..) => String::new(),
        }
    }
}

fn of_actor<'a>() -> Vec<Column<Scope<'a>, Actor<'a>>> {
    vec![
        ("kind", |_, actor| {
            let kind = actor.person().map(|person| person.principal.kind);
            match kind {
                Some(PrincipalKind::Person) => "person",
                Some(PrincipalKind::Workload) => "workload",
                None => "service",
            }
            .into()
        }),
        ("fingerprint", |_, actor| match actor {
            Actor::Principal(who, ..) | Actor::Service(who, _) => who.to_string(),
        }),
        ("label", |_, actor| cell(actor.person().map(|person| &person.principal.label))),
        ("person", |_, actor| cell(actor.person().map(|person| &person.principal.person))),
        ("party", |_, actor| cell(actor.person().and_then(|person| person.principal.party))),
        ("roles", |_, actor| match actor {
            Actor::Principal(_, person, _) => list(&person.principal.roles),
            Actor::Service(_, signer) => list(&signer.roles),
        }),
        ("key_type", |_, actor| cell(actor.person().map(|person| person.principal.key.key_type().name()))),
        ("bound_to_subject", |_, actor| cell(actor.person().map(|person| yes_no(person.principal.subject.is_some())))),
        ("since", |_, actor| {
            time(actor.person().map(|person| &person.enrolled).or(actor.service().map(|signer| &signer.first)))
        }),
        ("since_sequence", |_, actor| {
            place(actor.person().map(|person| &person.enrolled).or(actor.service().map(|signer| &signer.first)))
        }),
        ("revoked_at", |_, actor| time(actor.person().and_then(|person| person.revoked.as_ref()))),
        ("revoked_sequence", |_, actor| place(actor.person().and_then(|person| person.revoked.as_ref()))),
        ("instances", |_, actor| list(actor.service().iter().flat_map(|signer| &signer.instances))),
        ("events_signed", |_, actor| cell(actor.service().map(|signer| signer.events))),
        ("keys_generated_in_period", |_, actor| actor.did(|acts| acts.generated)),
        ("requests_in_period", |_, actor| actor.did(|acts| acts.requested)),
        ("approvals_in_period", |_, actor| actor.did(|acts| acts.approved)),
    ]
}

// === Governance ===

/// Something that was done about the control itself.
struct Act {
    at: At,
    event: EventType,
    name: String,
    version: String,
    outcome: String,
    due: String,
    /// Whether it is a procedure in force for generating keys.
    generation: bool,
}

impl Act {
    fn of(at: &At, event: EventType) -> Self {
        let nothing = String::new;
        let (name, version, outcome, due) = (nothing(), nothing(), nothing(), nothing());
        Self { at: *at, event, name, version, outcome, due, generation: false }
    }
}

pub(in super::super) fn governance(source: &Source<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut acts = governed(source.history);
    acts.extend(adopted(source.history, source.controls.period.until));
    acts.sort_by_key(|act| act.at.sequence);
    csv::write(out, &of_act(), &Scope::of(source), acts)
}

fn governed(history: &History) -> Vec<Act> {
    let policies = history.policies.iter().map(|policy| Act {
        name: policy.name.to_string(),
        version: policy.version.to_string(),
        ..Act::of(&policy.at, EventType::PolicyAdopted)
    });
    let packs = history.packs.iter().map(|pack| Act {
        name: pack.pack.to_string(),
        version: pack.version.to_string(),
        outcome: if pack.applied { "applied" } else { "not applicable" }.into(),
        due: pack.review_by.to_string(),
        ..Act::of(&pack.at, EventType::PackDeclared)
    });
    let reviews = history.access_reviews.iter().map(|at| Act::of(at, EventType::AccessReviewed));
    let missed = history.missed.iter().map(|missed| Act {
        name: match missed.what.key_id {
            Some(key) => key.to_string(),
            None => cell(missed.what.pack.as_ref().or(missed.what.document.as_ref())),
        },
        outcome: word(&missed.what.deadline),
        due: missed.what.at.to_string(),
        ..Act::of(&missed.at, EventType::DeadlineMissed)
    });
    let in_force: BTreeSet<At> =
        history.documents_in_force().filter(|one| is_about_generation(one)).map(|one| one.at).collect();
    let documents = history.documents.iter().map(|document| Act {
        name: document.name.to_string(),
        version: document.version.to_string(),
        outcome: word(&document.kind),
        due: document.review_by.to_string(),
        generation: in_force.contains(&document.at),
        ..Act::of(&document.at, EventType::DocumentAdopted)
    });
    policies.chain(packs).chain(reviews).chain(missed).chain(documents).chain(looked_after(history)).collect()
}

/// What was registered, tried, evaluated and handed out.
fn looked_after(history: &History) -> impl Iterator<Item = Act> + '_ {
    let stores = history.stores.iter().map(|registered| Act {
        name: registered.store.name.to_string(),
        ..Act::of(&registered.at, EventType::StoreRegistered)
    });
    let probes = history.probes.iter().map(|probe| Act {
        name: probe.probe.to_string(),
        outcome: list([word(&probe.outcome)].into_iter().chain(probe.problem.as_ref().map(ToString::to_string))),
        ..Act::of(&probe.at, EventType::ProbeRecorded)
    });
    let evaluations = history.evaluations.iter().map(|evaluation| Act {
        name: history.label(evaluation.by),
        outcome: format!("{} dispositions", evaluation.dispositions.len()),
        due: evaluation.next_by.to_string(),
        ..Act::of(&evaluation.at, EventType::ControlEvaluated)
    });
    let exports = history.exports.iter().map(|export| Act {
        name: export.manifest.to_string(),
        outcome: format!("events {} to {}", export.from, export.size),
        ..Act::of(&export.at, EventType::EvidenceExported)
    });
    let compared = history.comparisons.iter().map(|compared| Act {
        name: compared.store.to_string(),
        outcome: format!(
            "{} seen, {} matched, {} drifted, {} unknown, {} missing",
            compared.seen, compared.matched, compared.drifted, compared.unknown, compared.missing
        ),
        ..Act::of(&compared.at, EventType::CustodyReconciled)
    });
    let drifted = history.drifts.iter().map(|drifted| Act {
        name: format!("{} {}", drifted.store, drifted.key_id),
        outcome: format!("{}{}", drifted.drift, if drifted.set_back { ", set back" } else { "" }),
        ..Act::of(&drifted.at, EventType::CustodyDrifted)
    });
    stores.chain(compared).chain(drifted).chain(probes).chain(evaluations).chain(exports)
}

/// What was there before, and what has become of it.
fn adopted(history: &History, until: Timestamp) -> impl Iterator<Item = Act> + '_ {
    let baselines = history.baselines.iter().map(|baseline| Act {
        name: baseline.store.to_string(),
        outcome: format!("{} keys, as of {}", baseline.count, baseline.taken_at),
        due: baseline.rotate_by.to_string(),
        ..Act::of(&baseline.at, EventType::BaselineAdopted)
    });
    let keys = history.adopted.values().map(move |key| Act {
        name: format!("{} {} ({}, {})", key.life.store, key.life.id, key.label, key.algorithm),
        outcome: format!("activation not evidenced; {}", key.standing(until).0.name()),
        due: key.rotate_by.to_string(),
        ..Act::of(&key.life.created, EventType::KeyAdopted)
    });
    baselines.chain(keys)
}

/// A word, as documents have it.
fn word(of: &impl serde::Serialize) -> String {
    serde_json::to_value(of).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

fn of_act<'a>() -> Vec<Column<Scope<'a>, Act>> {
    vec![
        ("time", |_, act| act.at.time.to_string()),
        ("sequence", |_, act| place(Some(&act.at))),
        ("event", |_, act| act.at.hash.to_string()),
        ("type", |_, act| act.event.to_string()),
        ("name", |_, act| act.name.clone()),
        ("version", |_, act| act.version.clone()),
        ("outcome", |_, act| act.outcome.clone()),
        ("due", |_, act| act.due.clone()),
        ("generation", |_, act| yes_no(act.generation).into()),
        ("in_period", |scope, act| yes_no(scope.has(&act.at)).into()),
    ]
}

// === Exceptions ===

pub(in super::super) fn exceptions(source: &Source<'_>, out: &mut dyn Write) -> io::Result<()> {
    let tests = source.controls.controls.iter();
    let all = tests.flat_map(|test| test.exceptions.iter().map(move |exception| (test, exception)));
    csv::write(out, &of_exception(), &(), all)
}

fn of_exception<'a>() -> Vec<Column<(), (&'a ControlTest, &'a Exception)>> {
    vec![
        ("control", |(), (test, _)| test.id.clone()),
        ("title", |(), (test, _)| test.title.to_owned()),
        ("exception", |(), (_, exception)| exception.id.to_string()),
        ("reason", |(), (_, exception)| exception.reason.to_owned()),
        ("what", |(), (_, exception)| exception.what.clone()),
        ("key_id", |(), (_, exception)| cell(exception.key_id)),
        ("label", |(), (_, exception)| cell(exception.key.as_ref())),
        ("owner", |(), (_, exception)| cell(exception.owner.as_ref())),
        ("disposition", |(), (_, exception)| {
            cell(exception.disposition.as_ref().map(|disposed| word(&disposed.disposition)))
        }),
        ("due", |(), (_, exception)| cell(exception.disposition.as_ref().map(|disposed| disposed.due))),
        ("note", |(), (_, exception)| cell(exception.disposition.as_ref().map(|disposed| &disposed.note))),
        ("first_event", |(), (_, exception)| time(exception.events.first())),
        ("sequences", |(), (_, exception)| set_of_places(&exception.events)),
        ("events", |(), (_, exception)| list(exception.events.iter().map(|at| at.hash))),
    ]
}

/// Places in order, each once.
fn set_of_places(events: &[At]) -> String {
    list(events.iter().map(|at| at.sequence.0).collect::<BTreeSet<u64>>())
}
