//! What a command's ids and hashes stand for, from the verified history: names, and what stands now.

use std::collections::BTreeSet;

use lifecycle::{Governance, Tenant};
use model::command::{BaselineAdopt, ControlEvaluate, DocumentAdopt};
use model::evidence::{Disposition, Store};
use model::{Action, Command, EventHash, Fingerprint, Name, Timestamp};

use crate::command::access;
use crate::command::fact::list::in_words;
use crate::command::policy::diff::Diff;
use crate::layout::{Fields, RED, safe, styled, time_from};
use crate::lookup;
use crate::screen::Show as _;
use crate::words::{counted, name_of};

/// What is meant, for the actions that name people, keys, holds and declarations by hash or id; empty for the others.
pub(super) fn meant(command: &Command, state: &Tenant, now: Timestamp) -> Option<Fields> {
    let governance = state.governance.as_deref()?;
    let mut fields = Fields::default();
    match &command.action {
        Action::PrincipalChange(params) => person(&mut fields, "who", state, params.principal),
        Action::PrincipalRevoke(params) => person(&mut fields, "who", state, params.principal),
        Action::PrincipalRotate(params) => person(&mut fields, "who", state, params.principal),
        Action::DelegationGrant(params) => person(&mut fields, "to", state, params.to),
        Action::DelegationEnd(params) => delegation(&mut fields, state, params.delegation, now),
        Action::AccessReview(_) => {
            access::in_short(governance).iter().for_each(|(name, text)| fields.text(name, text));
        }
        Action::PolicyAdopt(params) => policy(&mut fields, governance, &params.policy),
        Action::PackDeclare(params) => pack(&mut fields, governance, &params.pack.name),
        Action::DocumentAdopt(params) => document(&mut fields, state, params, now),
        Action::StoreRegister(params) => store(&mut fields, state, governance, &params.store),
        Action::BaselineAdopt(params) => baseline(&mut fields, state, params, now),
        Action::EvidenceExport(params) => {
            let (from, covered) = (params.from, state.progress.covered);
            fields
                .text("the period", format!("from event {from} on; the newest checkpoint commits to {covered} events"));
        }
        Action::ControlEvaluate(params) => evaluation(&mut fields, state, params),
        Action::FactAssert(params) => fact(&mut fields, command, state, &params.fact, now),
        Action::FactWithdraw(params) => fact(&mut fields, command, state, &params.fact, now),
        Action::KeyRevalidate(params) => {
            let line = |id: &model::KeyId| {
                let label = state.keys.get(id).map_or("not known here", |key| key.spec.label.as_str());
                format!("{label} {id}")
            };
            fields.text("keys", params.keys.iter().map(line).collect::<Vec<_>>().join("\n"));
        }
        Action::ActivationHold(params) => {
            let what = if params.request.is_some() { "the request above" } else { "every activation of the tenant" };
            fields.text("freezes", what);
        }
        Action::ActivationRelease(params) => hold(&mut fields, state, params.request, params.hold, now),
        Action::ActivationReview(params) => emergency(&mut fields, state, params.activation, now),
        Action::ParentAttest(params) => {
            fields.text("the parent's activation", String::from_utf8_lossy(&params.event.0))
        }
        _ => return None,
    }
    Some(fields)
}

fn person(fields: &mut Fields, name: &str, state: &Tenant, who: Fingerprint) {
    match lookup::principal_of(state, who) {
        Some(principal) => {
            let roles: Vec<String> = principal.roles.iter().map(ToString::to_string).collect();
            fields.text(name, format!("{} ({})", principal.label, roles.join(", ")));
        }
        None => fields.add(name, styled(RED, &format!("nobody here is {who}"))),
    }
}

fn delegation(fields: &mut Fields, state: &Tenant, hash: EventHash, now: Timestamp) {
    let held = state.governance.as_ref().and_then(|governance| governance.delegations.get(&hash));
    let Some(held) = held else {
        return fields.add("delegation", styled(RED, "there is none of this hash"));
    };
    person(fields, "from", state, held.from);
    person(fields, "to", state, held.to);
    fields.add("until", time_from(held.not_after, now));
}

fn policy(fields: &mut Fields, governance: &Governance, policy: &model::Policy) {
    match &governance.policy {
        Some(held) => {
            let names = (format!("version {}, in force", held.version), format!("`{}`", policy.name));
            fields.add("changes", Diff::between(names, &held.policy, policy).to_people());
        }
        None => fields.text("changes", "it is the first policy"),
    }
}

fn pack(fields: &mut Fields, governance: &Governance, name: &Name) {
    let now = match governance.packs.get(name) {
        Some(held) if held.is_applied() => format!("version {}, applied", held.pack.version),
        Some(held) => format!("version {}, not applicable", held.pack.version),
        None => "not declared".to_owned(),
    };
    fields.text("so far", now);
}

/// What is adopted, beside what was adopted under that name.
fn document(fields: &mut Fields, state: &Tenant, params: &DocumentAdopt, now: Timestamp) {
    let held = state.governance.as_ref().and_then(|governance| governance.documents.get(&params.name));
    let so_far = match held {
        Some(held) if held.document == params.document => format!("version {}, the same text", held.version),
        Some(held) => format!("version {}, {} ({})", held.version, held.title, held.document),
        None => "not adopted".to_owned(),
    };
    fields.text("so far", so_far);
    person(fields, "who answers for it", state, params.owner);
    fields.add("looked at again", time_from(params.review_by, now));
    let in_log = state.documents.get(&params.document).is_some_and(lifecycle::Document::is_complete);
    let text = match in_log {
        true => format!("in the log, whole: keylatch procedure show {}", params.document),
        false => "not in the log: kept elsewhere, bound by its SHA-256".to_owned(),
    };
    fields.text("its text", text);
}

fn store(fields: &mut Fields, state: &Tenant, governance: &Governance, store: &Store) {
    let so_far = match governance.stores.get(&store.name) {
        Some(held) => format!("{}: {}, {}", held.store.kind, held.store.server, held.store.database),
        None => "not registered".to_owned(),
    };
    fields.text("so far", so_far);
    let keys = state.keys.values().filter(|key| key.store == store.name).count();
    fields.text("keys generated there", keys.to_string());
}

/// Which keys are taken in, and what is known of them here.
fn baseline(fields: &mut Fields, state: &Tenant, params: &BaselineAdopt, now: Timestamp) {
    let held = state.governance.as_ref().and_then(|governance| governance.baselines.get(&params.store));
    if let Some(held) = held {
        fields.add("so far", styled(RED, &format!("it has a baseline, of {}", held.taken_at)));
    }
    fields.text(
        "keys",
        format!("{}, as active; that their activation was authorised is not evidenced", params.manifest.count),
    );
    fields.add("the inventory is of", time_from(params.taken_at, now));
    fields.add("rotated, or anew, by", time_from(params.rotate_by, now));
    let document = params.manifest.document;
    let list = match state.documents.get(&document).is_some_and(lifecycle::Document::is_complete) {
        true => format!("in the log, whole: keylatch procedure show {document}"),
        false => "not in the log: it can't be adopted".to_owned(),
    };
    fields.text("their list", list);
}

/// How much of the history was looked at, and who is to answer for what.
fn evaluation(fields: &mut Fields, state: &Tenant, params: &ControlEvaluate) {
    fields.text("replayed", format!("{} of {} events", params.size, state.chain.tree().size()));
    let again = format!("keylatch --json controls --seq {} | sha256sum", params.size);
    fields.text("to see them", format!("`{again}` gives the tests again, and the SHA-256 below"));
    let owners: BTreeSet<Fingerprint> = params.dispositions.iter().map(|disposed| disposed.owner).collect();
    for owner in owners {
        let of = |disposed: &&Disposition| disposed.owner == owner;
        let count = params.dispositions.iter().filter(of).count();
        person(fields, &format!("answers for {}", counted(count, "exception")), state, owner);
    }
}

fn fact(fields: &mut Fields, command: &Command, state: &Tenant, name: &Name, now: Timestamp) {
    let held = match command.key_id {
        Some(key) => state.keys.get(&key).and_then(|key| key.facts.get(name)),
        None => state.governance.as_ref().and_then(|governance| governance.facts.get(name)),
    };
    let about = if command.key_id.is_some() { "this key" } else { "the tenant, and so of every key" };
    fields.text("a fact of", about);
    let stands = held.map(|held| {
        let (value, by) = (in_words(&held.fact.value), lookup::name(state, held.asserted_by));
        format!("{}, by {}, until {}", safe(&value), safe(&by), time_from(held.fact.valid_until, now))
    });
    fields.add("so far", stands.unwrap_or_else(|| "nobody has said it".to_owned()));
}

fn hold(fields: &mut Fields, state: &Tenant, request: Option<EventHash>, hash: EventHash, now: Timestamp) {
    let holds = match request {
        Some(request) => state.requests.get(&request).map(|request| &request.holds),
        None => state.governance.as_ref().map(|governance| &governance.holds),
    };
    let Some(hold) = holds.and_then(|holds| holds.get(&hash)) else {
        return fields.add("hold", styled(RED, "there is none of this hash, or it was lifted"));
    };
    fields.text("freezes", if request.is_some() { "the request above" } else { "every activation of the tenant" });
    fields.text("kind", name_of(&hold.kind));
    fields.text("reference", hold.reference.as_str());
    fields.text("placed by", lookup::name(state, hold.by));
    fields.add("since", time_from(hold.at, now));
}

/// The activation that is reviewed: who asked, who approved, and why.
fn emergency(fields: &mut Fields, state: &Tenant, activation: EventHash, now: Timestamp) {
    let key = state.keys.values().find(|key| key.activation.is_some_and(|known| known.hash == activation));
    let Some((key, known)) = key.and_then(|key| Some((key, key.activation?))) else {
        return fields.add("activation", styled(RED, "there is none of this hash"));
    };
    fields.add("activated", time_from(known.at, now));
    fields.add("active until", time_from(known.deactivate_at, now));
    if let Some(by) = key.review_by {
        fields.add("review due", time_from(by, now));
    }
    let Some(request) = state.requests.get(&known.request) else { return };
    fields.text("asked by", lookup::name(state, request.requested_by));
    fields.text("reason", name_of(&request.said.reason));
    let approved = request.approvals.iter().chain(&request.lapsed).map(|approval| lookup::name(state, approval.by));
    fields.text("approved by", approved.collect::<Vec<_>>().join(", "));
}
