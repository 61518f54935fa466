//! `responsibility.json`: whose duty each key is along the AI supply chain, and who did what of it here.

use std::collections::BTreeSet;
use std::io::{self, Write};

use model::key::{Party, Responsibility, TenantClass};
use model::{KeyId, KeyState, Name};
use serde::Serialize;

use super::{Source, json};
use crate::history::{History, KeyLife};

/// The document's form.
const FORMAT: &str = "keylatch.dev/responsibility/v1";

#[derive(Serialize)]
struct Matrix<'a> {
    format: &'static str,
    tenant: String,
    /// Which party of the AI supply chain the tenant is.
    class: Option<TenantClass>,
    layers: [Layer; Responsibility::ALL.len()],
    keys: Vec<Duty<'a>>,
}

/// A layer, whose duty its keys are, and how many there are.
#[derive(Serialize)]
struct Layer {
    layer: Responsibility,
    owned_by: &'static [Party],
    part_of_this_tenant: Part,
    keys: usize,
}

/// What part a tenant has in a duty.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Part {
    /// It is all its own.
    Owner,
    /// It is its own and others'.
    Shared,
    /// It is another's: the keys are kept for them.
    ForOthers,
}

/// Who did what about a key.
#[derive(Serialize)]
struct Duty<'a> {
    key_id: KeyId,
    key: &'a Name,
    layer: Responsibility,
    owned_by: &'static [Party],
    part_of_this_tenant: Part,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a Name>,
    state: KeyState,
    /// Who had it generated.
    generated_by: String,
    /// Who approved its activation, and the parties that they act for.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    approved_by: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    approved_for: BTreeSet<Party>,
    /// Who must have acknowledged it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    consumers: BTreeSet<String>,
    /// The store that keeps it.
    store: &'a Name,
}

pub(super) fn write(source: &Source<'_>, out: &mut dyn Write) -> io::Result<()> {
    let history = source.history;
    let of_layer = |layer: Responsibility| Layer {
        layer,
        owned_by: layer.parties(),
        part_of_this_tenant: part(history.class, layer),
        keys: history.keys.values().filter(|key| key.spec.responsibility == layer).count(),
    };
    let matrix = Matrix {
        format: FORMAT,
        tenant: source.report.tenant.to_string(),
        class: history.class,
        layers: Responsibility::ALL.map(of_layer),
        keys: history.keys.values().map(|key| duty(history, key)).collect(),
    };
    json(out, &matrix)
}

fn duty<'a>(history: &'a History, key: &'a KeyLife) -> Duty<'a> {
    let layer = key.spec.responsibility;
    let approvals = || key.activations.iter().flat_map(|activation| &activation.approvals);
    let whose = approvals().map(|approval| approval.on_behalf_of.unwrap_or(approval.by));
    let requests = key.activations.iter().filter_map(|activation| history.requests.get(&activation.request));
    Duty {
        key_id: key.id,
        key: &key.spec.label,
        layer,
        owned_by: layer.parties(),
        part_of_this_tenant: part(history.class, layer),
        owner: key.spec.owner.as_ref(),
        state: key.state(),
        generated_by: history.label(key.created_by),
        approved_by: approvals().map(|approval| history.label(approval.by)).collect(),
        approved_for: whose.filter_map(|who| history.people.get(&who)?.principal.party).collect(),
        consumers: requests.flat_map(|request| &request.consumers).map(|who| history.label(*who)).collect(),
        store: &key.store,
    }
}

fn part(class: Option<TenantClass>, layer: Responsibility) -> Part {
    let own: &[Party] = match class {
        Some(TenantClass::Csp) => &[Party::Csp],
        Some(TenantClass::Mp) => &[Party::Mp],
        Some(TenantClass::Ap) => &[Party::Ap],
        Some(TenantClass::SharedCspMp) => &[Party::Csp, Party::Mp],
        None => &[],
    };
    let parties = layer.parties();
    match parties.iter().filter(|party| own.contains(party)).count() {
        0 => Part::ForOthers,
        count if count == parties.len() => Part::Owner,
        _ => Part::Shared,
    }
}
