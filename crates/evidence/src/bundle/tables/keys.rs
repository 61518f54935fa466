//! `keys.csv`.

use std::io::{self, Write};

use model::EventType;
use model::event::Inventory;

use super::super::Source;
use super::super::csv::{self, Column};
use super::{cell, list, place, set, time};
use crate::controls::{Scope, wrapping_keys, yes_no};
use crate::history::KeyLife;

pub(in super::super) fn keys(source: &Source<'_>, out: &mut dyn Write) -> io::Result<()> {
    csv::write(out, &columns(), &Scope::of(source), source.history.keys.values())
}

fn columns<'a>() -> Vec<Column<Scope<'a>, &'a KeyLife>> {
    vec![
        ("key_id", |_, key| key.id.to_string()),
        ("label", |_, key| key.spec.label.to_string()),
        ("state", |_, key| key.state().to_string()),
        ("algorithm", |_, key| key.spec.algorithm.to_string()),
        ("identity", |_, key| key.identity.to_string()),
        ("workload", |_, key| key.spec.workload.to_string()),
        ("ai", |_, key| yes_no(key.spec.is_for_ai()).into()),
        ("layer", |_, key| key.spec.responsibility.to_string()),
        ("owned_by", |_, key| list(key.spec.responsibility.parties())),
        ("jurisdiction", |_, key| key.spec.jurisdiction.to_string()),
        ("classification", |_, key| key.spec.classification.to_string()),
        ("environment", |_, key| key.spec.environment.to_string()),
        ("backend", |_, key| key.spec.backend.to_string()),
        ("store", |_, key| key.store.to_string()),
        ("owner", |_, key| cell(key.spec.owner.as_ref())),
        ("asset", |_, key| cell(key.spec.asset.as_ref())),
        ("model_digest", |_, key| cell(key.spec.model_digest)),
        ("endpoint", |_, key| cell(key.spec.endpoint.as_ref())),
        ("operations", |_, key| list(key.spec.operations())),
        ("exportable", |_, key| yes_no(key.spec.attributes.as_ref().is_some_and(|of| of.exportable)).into()),
        ("deletable", |_, key| yes_no(key.spec.attributes.as_ref().is_none_or(|of| of.deletable)).into()),
        ("instance", |_, key| cell(key.spec.attributes.as_ref().and_then(|of| of.instance.as_ref()))),
        ("replaces", |_, key| cell(key.spec.attributes.as_ref().and_then(|of| of.replaces))),
        ("wrapped_by", |_, key| cell(key.spec.wrapped_by.map(|parent| parent.key_id))),
        ("wrapped_by_tenant", |_, key| cell(key.spec.wrapped_by.and_then(|parent| parent.tenant))),
        ("generated_at", |_, key| key.created.time.to_string()),
        ("generated_sequence", |_, key| place(Some(&key.created))),
        ("generated_event", |_, key| key.created.hash.to_string()),
        ("generated_by", |scope, key| scope.history.label(key.created_by)),
        ("creator_role", |_, key| cell(key.creator_role.as_ref())),
        ("pre_active_until", |_, key| key.pre_active_until.to_string()),
        ("revalidate_by", |_, key| cell(key.revalidate_by)),
        ("revalidations", |_, key| key.revalidated.len().to_string()),
        ("waited_under", |_, key| set(wrapping_keys(&[key], Inventory::PreActive))),
        ("active_under", |_, key| set(wrapping_keys(&[key], Inventory::Active))),
        ("activated_at", |_, key| time(key.activations.last().map(|activation| &activation.at))),
        ("deactivate_at", |_, key| cell(key.activations.last().map(|activation| activation.deactivate_at))),
        ("state_since", |_, key| time(key.steps.last().map(|step| &step.at))),
        ("expired_at", |_, key| time(key.expired.as_ref().map(|expiry| &expiry.at))),
        ("uses", |_, key| key.uses.values().flat_map(|uses| uses.counts.values()).sum::<u64>().to_string()),
        ("first_use", |_, key| cell(key.uses.values().map(|uses| uses.from).min())),
        ("last_use", |_, key| cell(key.uses.values().map(|uses| uses.to).max())),
        ("refused_uses", |_, key| key.refused.values().sum::<u64>().to_string()),
        ("times_halted", |_, key| {
            let halts = [EventType::KeySuspended, EventType::KeyDeactivated, EventType::KeyCompromised];
            key.timeline.iter().filter(|entry| halts.contains(&entry.event_type)).count().to_string()
        }),
        ("events", |_, key| key.events.to_string()),
        ("last_sequence", |_, key| place(Some(&key.last))),
        ("last_event", |_, key| key.last.hash.to_string()),
        ("generated_in_period", |scope, key| yes_no(scope.has(&key.created)).into()),
        ("waited_in_period", |scope, key| yes_no(scope.has_waited(key)).into()),
        ("existed_in_period", |scope, key| yes_no(scope.has_existed(key)).into()),
        ("used_in_period", |scope, key| yes_no(scope.was_used(key)).into()),
    ]
}
