//! What is told of a key beyond its state and its requests: attributes, family, consumers, facts, holds.

use lifecycle::{Key, Tenant};
use model::event::Deadline;
use model::key::Attributes;
use model::{KeyId, Timestamp};
use serde_json::{Value, json};

use crate::command::fact::list::in_words;
use crate::layout::{Fields, GREEN, RED, YELLOW, safe, state_style, styled, time, time_from};
use crate::lookup;
use crate::words::name_of;

/// For programs.
pub(super) fn to_json(state: &Tenant, key: &Key) -> Value {
    let who = |who| json!({ "fingerprint": who, "label": lookup::name(state, who) });
    let deadlines: Vec<Value> = key
        .deadlines()
        .map(|(deadline, at, cause)| json!({ "deadline": deadline, "at": at, "cause": cause }))
        .collect();
    let facts = key.facts.iter().map(|(name, held)| {
        json!({
            "fact": name, "value": held.fact.value, "asserted_at": held.fact.asserted_at,
            "valid_until": held.fact.valid_until, "asserted_by": who(held.asserted_by), "event": held.hash,
        })
    });
    let consumers = key
        .acknowledged
        .iter()
        .map(|(consumer, said)| json!({ "consumer": who(*consumer), "readiness": said.readiness, "event": said.hash }));
    json!({
        "deadlines": deadlines,
        "revalidate_by": key.revalidate_by,
        "review_by": key.review_by,
        "attestation": key.attestation,
        "parent": key.spec.wrapped_by,
        "parent_proof": key.parent_proof,
        "children": key.children,
        "facts": facts.collect::<Vec<_>>(),
        "consumers": consumers.collect::<Vec<_>>(),
        "held": is_held(state, key),
    })
}

fn is_held(state: &Tenant, key: &Key) -> bool {
    let request = key.open_request.and_then(|request| state.requests.get(&request));
    let of_tenant = state.governance.as_ref().is_some_and(|governance| !governance.holds.is_empty());
    key.is_waiting() && (of_tenant || request.is_some_and(|request| !request.holds.is_empty()))
}

/// What the key is, beyond what every key is.
pub(super) fn nature(state: &Tenant, key: &Key, fields: &mut Fields) {
    let spec = &key.spec;
    let texts = [
        ("owner", spec.owner.as_ref().map(|owner| owner.to_string())),
        ("model digest", spec.model_digest.map(|digest| digest.to_string())),
        ("endpoint", spec.endpoint.as_ref().map(|endpoint| endpoint.to_string())),
        (
            "session keys",
            spec.inherited_scope.as_ref().map(|scope| format!("{scope} (they inherit its authorisation)")),
        ),
    ];
    for (name, text) in texts {
        text.iter().for_each(|text| fields.text(name, text));
    }
    if !spec.usage.is_empty() {
        fields.text("usage", spec.usage.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    if let Some(attributes) = &spec.attributes {
        fields.text("attributes", in_short(state, attributes));
    }
}

fn in_short(state: &Tenant, attributes: &Attributes) -> String {
    let Attributes { exportable, deletable, replaces, instance } = attributes;
    let mut said = vec![
        if *exportable { "exportable" } else { "not exportable" }.to_owned(),
        if *deletable { "deletable" } else { "not deletable" }.to_owned(),
    ];
    said.extend(replaces.map(|other| format!("replaces {}", label(state, other))));
    said.extend(instance.as_ref().map(|instance| format!("instance {instance}")));
    said.join(", ")
}

fn label(state: &Tenant, key: KeyId) -> String {
    state.keys.get(&key).map_or_else(|| key.to_string(), |key| key.spec.label.to_string())
}

/// Deadlines beside expiry and the end of use, which every key has.
pub(super) fn deadlines(key: &Key, now: Timestamp, fields: &mut Fields) {
    for (deadline, at, _) in key.deadlines() {
        let (name, what) = match deadline {
            Deadline::Revalidation => ("revalidate by", "or it expires"),
            Deadline::ActivationReview => ("review due", "an emergency: else it is suspended"),
            _ => continue,
        };
        let text = format!("{}, {what}", time_from(at, now));
        fields.add(name, styled(if at <= now { RED } else { YELLOW }, &text));
    }
}

/// Its parent, its children, its consumers.
pub(super) fn family(state: &Tenant, key: &Key, now: Timestamp, fields: &mut Fields) {
    if let Some(parent) = key.spec.wrapped_by {
        fields.add("wrapped by", self::parent(state, key, parent, now));
    }
    let child = |id: &KeyId| {
        let halted =
            if key.to_suspend.contains(id) { styled(RED, " (to be suspended with it)") } else { String::new() };
        let state_of = state.keys.get(id).map(|child| styled(state_style(child.state), child.state.name()));
        format!("{} {}{halted}", safe(&label(state, *id)), state_of.unwrap_or_default())
    };
    let children: Vec<String> = key.children.iter().take(20).map(child).collect();
    if !children.is_empty() {
        let more = key.children.len() - children.len();
        let rest = if more > 0 { format!("\nand {more} more") } else { String::new() };
        fields.add("wraps", format!("{}{rest}", children.join("\n")));
    }
    let consumer = |(who, said): (&model::Fingerprint, &lifecycle::state::Acknowledged)| {
        format!("{}: {}", safe(&lookup::name(state, *who)), name_of(&said.readiness))
    };
    if !key.acknowledged.is_empty() {
        fields.add("consumers", key.acknowledged.iter().map(consumer).collect::<Vec<_>>().join("\n"));
    }
}

fn parent(state: &Tenant, key: &Key, parent: model::key::Parent, now: Timestamp) -> String {
    let Some(tenant) = parent.tenant else {
        let of = state.keys.get(&parent.key_id);
        let standing = of.map(|parent| styled(state_style(parent.state), parent.state.name()));
        return format!("{} {}", safe(&label(state, parent.key_id)), standing.unwrap_or_default());
    };
    let proof = match key.parent_proof {
        None => styled(YELLOW, "not proved yet: keylatch key attest-parent"),
        Some(proof) => {
            let good = now < proof.deactivate_at;
            let text = format!("proved {}, active there until {}", time(proof.at), time(proof.deactivate_at));
            styled(if good { GREEN } else { RED }, &text)
        }
    };
    format!("{} of tenant {tenant}\n{proof}", parent.key_id)
}

/// Facts about it, and holds on it.
pub(super) fn law(state: &Tenant, key: &Key, now: Timestamp, fields: &mut Fields) {
    let fact = |(name, held): (&model::Name, &lifecycle::state::HeldFact)| {
        let (value, until) = (in_words(&held.fact.value), time_from(held.fact.valid_until, now));
        let line = format!("{name}: {value}, until {until}");
        if held.fact.is_valid(now) { safe(&line) } else { styled(RED, &safe(&line)) }
    };
    if !key.facts.is_empty() {
        fields.add("facts", key.facts.iter().map(fact).collect::<Vec<_>>().join("\n"));
    }
    if is_held(state, key) {
        fields.add("held", styled(RED, "yes: its activation is frozen; see `keylatch hold list`"));
    }
}
