//! `activations.csv`.

use std::io::{self, Write};

use model::event::ActivationMode;

use super::super::Source;
use super::super::csv::{self, Column};
use super::{cell, list, place, time};
use crate::controls::{Scope, yes_no};
use crate::history::{Activation, KeyLife};

pub(in super::super) fn activations(source: &Source<'_>, out: &mut dyn Write) -> io::Result<()> {
    let keys = source.history.lives();
    let mut all: Vec<(&KeyLife, &Activation)> =
        keys.flat_map(|key| key.activations.iter().map(move |activation| (key, activation))).collect();
    all.sort_by_key(|(_, activation)| activation.at.sequence);
    csv::write(out, &columns(), &Scope::of(source), all)
}

fn columns<'a>() -> Vec<Column<Scope<'a>, (&'a KeyLife, &'a Activation)>> {
    vec![
        ("key_id", |_, (key, _)| key.id.to_string()),
        ("label", |_, (key, _)| key.spec.label.to_string()),
        ("activated_at", |_, (_, activation)| activation.at.time.to_string()),
        ("sequence", |_, (_, activation)| place(Some(&activation.at))),
        ("event", |_, (_, activation)| activation.at.hash.to_string()),
        ("mode", |_, (_, activation)| mode(activation.mode).into()),
        ("emergency", |_, (_, activation)| yes_no(activation.review_by.is_some()).into()),
        ("review_by", |_, (_, activation)| cell(activation.review_by)),
        ("reviewed_at", |_, (_, activation)| time(activation.reviewed.as_ref())),
        ("initiated_by", |scope, (_, activation)| scope.history.label(activation.initiated_by)),
        ("initiated_by_key", |_, (_, activation)| activation.initiated_by.to_string()),
        ("requested_by", |scope, (_, activation)| {
            cell(scope.request(activation).map(|request| scope.history.label(request.by)))
        }),
        ("requested_at", |scope, (_, activation)| time(scope.request(activation).map(|request| &request.at))),
        ("request", |_, (_, activation)| activation.request.to_string()),
        ("keys_in_request", |scope, (_, activation)| cell(scope.request(activation).map(|request| request.keys))),
        ("authorized_at", |scope, (_, activation)| {
            time(scope.request(activation).and_then(|request| request.authorized.as_ref()))
        }),
        ("approvals", |_, (_, activation)| activation.approvals.len().to_string()),
        ("approvals_needed", |_, (_, activation)| activation.needed.to_string()),
        ("approved_by", |scope, (_, activation)| {
            list(activation.approvals.iter().map(|approval| scope.history.label(approval.by)))
        }),
        ("on_behalf_of", |scope, (_, activation)| {
            let whose = activation.approvals.iter().filter_map(|approval| approval.on_behalf_of);
            list(whose.map(|who| scope.history.label(who)))
        }),
        ("approved_at", |_, (_, activation)| list(activation.approvals.iter().map(|approval| approval.at.time))),
        ("approval_events", |_, (_, activation)| list(activation.approvals.iter().map(|approval| approval.at.hash))),
        ("policy", |_, (_, activation)| activation.policy.to_string()),
        ("policy_version", |scope, (_, activation)| {
            let policy = scope.history.policies.iter().find(|policy| policy.at.hash == activation.policy);
            cell(policy.map(|policy| policy.version))
        }),
        ("rule", |_, (_, activation)| cell(activation.rule.as_ref())),
        ("legal_basis", |_, (_, activation)| list(&activation.legal_basis)),
        ("packs_applied", |_, (_, activation)| activation.packs_applied.to_string()),
        ("packs_held", |_, (_, activation)| list(activation.conditions.iter().map(|condition| &condition.pack))),
        ("affected_systems", |_, (_, activation)| list(&activation.affected_systems)),
        ("change_ref", |_, (_, activation)| cell(activation.change_ref.as_ref())),
        ("deactivate_at", |_, (_, activation)| activation.deactivate_at.to_string()),
        ("within_crypto_period", |_, (_, activation)| yes_no(activation.within_crypto_period).into()),
        ("parent_activation", |_, (_, activation)| cell(activation.parent)),
        ("consumers", |scope, (_, activation)| cell(scope.request(activation).map(|request| request.consumers.len()))),
        ("acknowledged", |_, (_, activation)| activation.acknowledged.to_string()),
        ("store", |_, (key, _)| key.store.to_string()),
        ("confirmed_at", |_, (_, activation)| time(activation.confirmed.as_ref())),
        ("confirmed_sequence", |_, (_, activation)| place(activation.confirmed.as_ref())),
        ("ai", |_, (key, _)| yes_no(key.spec.is_for_ai()).into()),
        ("in_period", |scope, (_, activation)| yes_no(scope.has(&activation.at)).into()),
        ("coordinated", |scope, (key, activation)| yes_no(scope.is_coordinated(key, activation)).into()),
    ]
}

fn mode(mode: ActivationMode) -> &'static str {
    match mode {
        ActivationMode::Manual => "manual",
        ActivationMode::Scheduled => "scheduled",
        ActivationMode::Standing => "standing",
    }
}
