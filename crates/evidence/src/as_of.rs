//! What a verified state says of itself: states, the policy in force, who could have approved.

use lifecycle::Tenant;
use lifecycle::simulate::eligible;
use lifecycle::state::{Governance, Key, Request};
use model::history::{AsOf, KeyAsOf, PackAsOf, PersonAsOf, PolicyAsOf, RuleAsOf, StageAsOf};
use model::policy::{Rule, Stage};
use model::{Fingerprint, KeyId, Timestamp};

/// The state as it stands, and this key, at a time.
pub fn as_of(state: &Tenant, key: Option<KeyId>, now: Timestamp) -> AsOf {
    let chain = &state.chain;
    let governance = state.governance.as_deref();
    let policy = governance.and_then(|governance| governance.policy.as_ref());
    let mut keys = std::collections::BTreeMap::new();
    state.keys.values().for_each(|key| *keys.entry(key.state).or_default() += 1);
    let rules = governance.zip(policy).map(|(governance, policy)| {
        policy.policy.rules.iter().map(|rule| rule_as_of(governance, rule, None, now)).collect()
    });
    let packs = governance.into_iter().flat_map(|governance| &governance.packs);
    let pack = |(name, declared): (&model::Name, &lifecycle::state::DeclaredPack)| PackAsOf {
        name: name.clone(),
        version: declared.pack.version,
        applied: declared.is_applied(),
        review_by: declared.review_by,
    };
    AsOf {
        sequence: chain.head().sequence.0,
        hash: chain.head().hash,
        time: chain.time(),
        keys,
        policy: policy.map(|policy| PolicyAsOf {
            event: policy.hash,
            name: policy.policy.name.clone(),
            version: policy.version,
        }),
        rules: rules.unwrap_or_default(),
        packs: packs.map(pack).collect(),
        holds: governance.into_iter().flat_map(|governance| governance.holds.keys().copied()).collect(),
        open_requests: state.requests.values().filter(|request| request.closed.is_none()).count() as u64,
        key: key.and_then(|key| state.keys.get(&key)).map(|key| key_as_of(state, key, now)),
    }
}

fn key_as_of(state: &Tenant, key: &Key, now: Timestamp) -> KeyAsOf {
    let governance = state.governance.as_deref();
    let policy = governance.and_then(|governance| governance.policy.as_ref());
    let request = key.open_request.and_then(|request| state.requests.get(&request));
    let rule = policy.and_then(|policy| match request {
        Some(request) => request.rule(&policy.policy, Some(key)),
        None => policy.policy.rule_for(&key.spec.traits()),
    });
    KeyAsOf {
        key_id: key.id,
        label: key.spec.label.clone(),
        state: key.state,
        transition: key.transition,
        activation: key.activation.map(|activation| activation.hash),
        deactivate_at: key.activation.map(|activation| activation.deactivate_at),
        request: request.map(|request| request.hash),
        approved_by: request.into_iter().flat_map(|request| &request.approvals).map(|approval| approval.by).collect(),
        rule: governance.zip(rule).map(|(governance, rule)| rule_as_of(governance, rule, request, now)),
    }
}

fn rule_as_of(governance: &Governance, rule: &Rule, request: Option<&Request>, now: Timestamp) -> RuleAsOf {
    let person = |fingerprint: Fingerprint| {
        let member = governance.people.get(&fingerprint)?;
        Some(PersonAsOf { fingerprint, label: member.principal.label.clone() })
    };
    let stage = |(stage, people): (Stage, Vec<Fingerprint>)| {
        let mut people: Vec<PersonAsOf> = people.into_iter().filter_map(person).collect();
        people.sort_by(|a, b| a.label.cmp(&b.label));
        StageAsOf { roles: stage.roles().cloned().collect(), party: stage.party, quorum: stage.quorum, people }
    };
    let stages = eligible(governance, rule, request, now).into_iter().map(stage).collect();
    RuleAsOf { name: rule.name.clone(), stages }
}
