//! Whether a key may become active now, and everything that stands in the way: the one place that knows.
//!
//! The activator's decision, the refusal that people read, and the simulation are this same function, so that no answer can
//! differ from the decision.

use std::collections::BTreeSet;

use model::event::{ConditionHeld, Membership};
use model::key::{Attributes, KeyIdentity, Operation, Template};
use model::people::Principal;
use model::policy::{AlgorithmRule, Requires, Rule};
use model::{Algorithm, EventHash, Fingerprint, KeySpec, KeyState, Policy, ProblemType, Timestamp};
use serde_json::json;

use crate::conditions::{self, Moment};
use crate::quorum;
use crate::state::{Governance, InForce, Key, Request, View};
use crate::{Rejection, manifest, sealing, standing, transition};

/// How a key comes under a request.
#[derive(Clone, Copy, Debug)]
pub enum Way<'a> {
    /// The request is for this key.
    Own,
    /// The request is for a list, and this is the proof that the key is in it.
    Member(&'a Membership),
    /// The request is a standing authorisation that the key is an instance of.
    Standing,
}

/// What an activation rests on, where nothing stands in its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clearance {
    /// The policy in force.
    pub policy: EventHash,
    /// The approvals that count.
    pub approvals: Vec<EventHash>,
    /// When the key's use ends.
    pub deactivate_at: Timestamp,
    /// Which declared legal conditions hold.
    pub conditions: Vec<ConditionHeld>,
    /// The facts that they rest on.
    pub facts: Vec<EventHash>,
    /// The consumers' acknowledgements.
    pub acknowledgements: Vec<EventHash>,
    /// The activation of the key that wraps it.
    pub parent: Option<EventHash>,
    /// Where it is an emergency: until when the review must be signed.
    pub review_by: Option<Timestamp>,
}

/// Everything that stands in the way, in the order in which it was looked at. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked(pub Vec<Rejection>);

impl From<Rejection> for Blocked {
    fn from(rejection: Rejection) -> Self {
        Self(vec![rejection])
    }
}

impl From<Blocked> for Rejection {
    /// The first, with all of them named.
    fn from(Blocked(all): Blocked) -> Self {
        let list: Vec<serde_json::Value> = all.iter().map(named).collect();
        let mut all = all.into_iter();
        let first = all.next().unwrap_or_else(|| Rejection::new(ProblemType::NotAuthorized, "it is not cleared"));
        let others = all.count();
        match others {
            0 => first,
            _ => Rejection { detail: format!("{} (and {others} more)", first.detail), ..first }.with("blocks", list),
        }
    }
}

fn named(rejection: &Rejection) -> serde_json::Value {
    json!({ "type": rejection.problem.urn(), "detail": rejection.detail, "members": rejection.members })
}

/// Collects what stands in the way, and goes on.
#[derive(Default)]
struct Blocks(Vec<Rejection>);

impl Blocks {
    fn take<T>(&mut self, checked: Result<T, Rejection>) -> Option<T> {
        checked.map_err(|rejection| self.0.push(rejection)).ok()
    }
}

/// Whether the view's key may become active at `now` under the view's request.
///
/// INVARIANT (no unapproved activation): people, policy, facts, packs, parents and consumers are looked at as they are now,
/// whatever was authorised before.
pub fn clear(view: &View, way: Way<'_>, now: Timestamp) -> Result<Clearance, Blocked> {
    let (governance, key) = (view.governance()?, activatable(view)?);
    let request = view.open_request()?;
    let mut blocks = Blocks::default();
    blocks.take(covers(request, key, way, now));
    if request.authorized.is_none() {
        blocks.take::<()>(Rejection::new(ProblemType::NotAuthorized, "its approvals are not complete").err());
    }
    // An adopted key that is authorised anew stays active.
    if key.is_waiting() {
        blocks.take(transition::check(key.state, KeyState::Active));
    }
    blocks.take(in_time(request, key, now));
    let policy = governance.policy()?;
    let rule = policy.rule_of(request, Some(key)).map_err(|rejection| {
        blocks.0.push(rejection);
        Blocked(std::mem::take(&mut blocks.0))
    })?;
    // Whoever asked must still be one who may: people and policy are looked at as they are now.
    blocks.take(requester(governance, request).and_then(|requester| standing::role(requester, &rule.requesters)));
    let approvals = blocks.take(quorum_met(governance, rule, request, now));
    let wanted = wanted_end(request, now);
    let operations = key.spec.operations();
    let deactivate_at = blocks.take(ends(&policy.policy, rule, key.spec.algorithm, &operations, wanted, now));
    blocks.take(says(&rule.requires, request));
    blocks.take(anew(rule, key));
    blocks.take(bounded(rule, request, now));
    blocks.0.extend(holds(governance, request));
    blocks.take(attributes(&policy.policy, &key.spec));
    blocks.take(sealing::is_sealed_enough(rule, key));
    let parent = blocks.take(parent(view, policy, key, now));
    let acknowledgements = blocks.take(consumers(governance, request, key));
    let (conditions, facts) = law(governance, key, request, rule, deactivate_at, now, &mut blocks);
    match (approvals, deactivate_at, parent, acknowledgements) {
        (Some(approvals), Some(deactivate_at), Some(parent), Some(acknowledgements)) if blocks.0.is_empty() => {
            let review_by = rule.break_glass.as_ref().map(|break_glass| now + break_glass.review_within);
            let policy = policy.hash;
            Ok(Clearance { policy, approvals, deactivate_at, conditions, facts, acknowledgements, parent, review_by })
        }
        _ => Err(Blocked(blocks.0)),
    }
}

/// A key that waits for its activation.
pub(crate) fn waiting(view: &View) -> Result<&Key, Rejection> {
    let key = view.key()?;
    if key.is_waiting() {
        return Ok(key);
    }
    let state = if key.expired.is_some() { "expired" } else { key.state.name() };
    Rejection::new(ProblemType::KeyNotPreActive, format!("the key is {state}")).with("state", state).err()
}

/// A key whose activation can be asked for: one that waits, or one that was adopted and is to be authorised anew.
pub(crate) fn activatable(view: &View) -> Result<&Key, Rejection> {
    let key = view.key()?;
    if key.can_be_activated() { Ok(key) } else { waiting(view) }
}

/// Whether an adopted key can be authorised anew under this rule: it must be known which key it is, and no emergency brings
/// into use what is in use; nor has the custodian made any statement of it.
pub(crate) fn anew(rule: &Rule, key: &Key) -> Result<(), Rejection> {
    if !key.is_unevidenced() {
        return Ok(());
    }
    if key.identity == KeyIdentity::Unknown {
        let detail = "its store shows nothing by which it could be recognised: it can only be rotated";
        return Rejection::new(ProblemType::IdentityMismatch, detail).err();
    }
    if rule.requires.attestation || rule.break_glass.is_some() {
        let detail = format!(
            "rule `{}` is not for adopted keys: it is for emergencies, or asks for the custodian's statement",
            rule.name
        );
        return Rejection::new(ProblemType::NotInCustody, detail).err();
    }
    Ok(())
}

/// Refuses a key that has an open request: what became of that one comes first, and a hold on it is not gone around.
pub(crate) fn free(key: &Key) -> Result<(), Rejection> {
    let Some(open) = key.open_request else { return Ok(()) };
    let detail = format!("request {} is open", open.short());
    Rejection::new(ProblemType::RequestOpen, detail).with("request", open.to_string()).err()
}

/// Whether the request is for this key.
fn covers(request: &Request, key: &Key, way: Way<'_>, now: Timestamp) -> Result<(), Rejection> {
    let template = || match &request.template {
        // Its shares come with the approvals of a request that is for it.
        Some(_) if key.sealing.is_some() => {
            Rejection::new(ProblemType::NotInManifest, "the key is sealed: activation is asked for it alone").err()
        }
        Some(template) if *template == Template::of(&key.spec) => free(key),
        _ => Rejection::new(ProblemType::NotInManifest, "the key is not of the kind that was asked for").err(),
    };
    match way {
        Way::Own if request.key_id == Some(key.id) => Ok(()),
        Way::Own => Rejection::new(ProblemType::UnknownRequest, "the request is for another key").err(),
        Way::Member(membership) => {
            template()?;
            let listed = request.manifest.is_some_and(|manifest| manifest::includes(&manifest, key, membership));
            if listed {
                return Ok(());
            }
            Rejection::new(ProblemType::NotInManifest, "the proof does not lead to the list's root").err()
        }
        // A standing authorisation is for keys that are still to come.
        Way::Standing if key.adopted.is_some() => {
            Rejection::new(ProblemType::NotInManifest, "the key was there before: it was adopted").err()
        }
        Way::Standing => {
            template()?;
            let Some(standing) = request.standing else {
                return Rejection::new(ProblemType::UnknownRequest, "the request is no standing authorisation").err();
            };
            if request.activated < standing.count && now < standing.until {
                return Ok(());
            }
            let detail = format!("{} of {} keys, until {}", request.activated, standing.count, standing.until);
            Rejection::new(ProblemType::AuthorizationSpent, detail).err()
        }
    }
}

/// Whether a request for many keys is within what the rule allows now, which may be less than when it was made.
fn bounded(rule: &Rule, request: &Request, now: Timestamp) -> Result<(), Rejection> {
    let spent = |detail: String| Rejection::new(ProblemType::AuthorizationSpent, detail).err();
    let most = rule.manifest_max.unwrap_or(1);
    if request.manifest.is_some_and(|manifest| manifest.count > most) {
        return spent(format!("rule `{}` takes requests for at most {most} keys now", rule.name));
    }
    match (request.standing, &rule.standing) {
        (Some(_), None) => spent(format!("rule `{}` has no standing authorisations any more", rule.name)),
        (Some(_), Some(rules)) if request.activated >= rules.count_max => {
            spent(format!("rule `{}` lets one be for at most {} keys now", rule.name, rules.count_max))
        }
        (Some(_), Some(rules)) if now >= request.requested_at + rules.window_max => {
            spent(format!("rule `{}` lets one last for {} now", rule.name, rules.window_max))
        }
        _ => Ok(()),
    }
}

fn in_time(request: &Request, key: &Key, now: Timestamp) -> Result<(), Rejection> {
    if now < request.not_before {
        return Rejection::new(ProblemType::NotYetDue, format!("not before {}", request.not_before))
            .with("at", request.not_before.to_string())
            .err();
    }
    if now >= key.expires_at() {
        let detail = format!("the key could be activated until {}", key.expires_at());
        return Rejection::new(ProblemType::KeyNotPreActive, detail).err();
    }
    Ok(())
}

fn requester<'a>(governance: &'a Governance, request: &Request) -> Result<&'a Principal, Rejection> {
    let requester = governance.member(request.requested_by)?;
    standing::person(requester).map(|()| requester)
}

/// The approvals that count, or what is missing.
pub(crate) fn quorum_met(
    governance: &Governance,
    rule: &Rule,
    request: &Request,
    now: Timestamp,
) -> Result<Vec<EventHash>, Rejection> {
    let assessment = quorum::of_request(governance, rule, request, now);
    if assessment.is_met() {
        return Ok(assessment.counted);
    }
    let missing = assessment.missing_lines();
    let detail = format!("still to approve: {}", assessment.missing_text());
    Rejection::new(ProblemType::QuorumNotMet, detail).with("missing", missing).err()
}

/// When the request wants the key's use to end, where it is activated now.
pub(crate) fn wanted_end(request: &Request, now: Timestamp) -> Option<Timestamp> {
    let active_for = request.standing.and_then(|standing| standing.active_for);
    request.deactivate_at.or(active_for.map(|active_for| now + active_for))
}

/// When a key that is activated at `from` ends: when it was asked to, at the latest when its crypto period is over; and
/// not after its algorithm does.
pub(crate) fn ends(
    policy: &Policy,
    rule: &Rule,
    named: Algorithm,
    operations: &BTreeSet<Operation>,
    wanted: Option<Timestamp>,
    from: Timestamp,
) -> Result<Timestamp, Rejection> {
    let Some(algorithm) = policy.algorithm(named) else {
        let detail = format!("`{named}` is not listed any more");
        return Rejection::new(ProblemType::AlgorithmNotAllowed, detail).err();
    };
    let end = within_period(algorithm, rule, operations, wanted, from)?;
    if let Some(begins) = algorithm.allowed_from.filter(|begins| from < *begins) {
        let detail = format!("`{named}` is allowed from {begins} on");
        return Rejection::new(ProblemType::AlgorithmNotAllowed, detail).err();
    }
    if let Some(until) = algorithm.allowed_until.filter(|until| end > *until) {
        let detail = format!("`{named}` is allowed until {until}, and the key's use would end at {end}");
        return Rejection::new(ProblemType::AlgorithmEnds, detail).with("latest", until.to_string()).err();
    }
    Ok(end)
}

fn within_period(
    algorithm: &AlgorithmRule,
    rule: &Rule,
    operations: &BTreeSet<Operation>,
    wanted: Option<Timestamp>,
    from: Timestamp,
) -> Result<Timestamp, Rejection> {
    let period = algorithm.period(operations);
    let period = rule.break_glass.as_ref().map_or(period, |break_glass| break_glass.life.min(period));
    let latest = from + period;
    match wanted {
        None => Ok(latest),
        Some(end) if end <= from => {
            let detail = format!("it is to end at {end}, and would begin at {from}");
            Rejection::new(ProblemType::TimesInvalid, detail).err()
        }
        Some(end) if end > latest => {
            let detail = format!("`{}` keys may be active for {period} here", algorithm.name);
            Rejection::new(ProblemType::PeriodTooLong, detail).with("latest", latest.to_string()).err()
        }
        Some(end) => Ok(end),
    }
}

/// Whether the request says what the rule asks it to say.
pub(crate) fn says(requires: &Requires, request: &Request) -> Result<(), Rejection> {
    if !requires.reasons.is_empty() && !requires.reasons.contains(&request.said.reason) {
        let detail = format!("`{}` is none of {}", request.said.reason, listed(&requires.reasons));
        return Rejection::new(ProblemType::ReasonNotAccepted, detail).err();
    }
    let ends =
        request.deactivate_at.is_some() || request.standing.is_some_and(|standing| standing.active_for.is_some());
    let wanted = [
        ("change_ref", requires.change_ref, request.change_ref.is_some()),
        ("legal_basis", requires.legal_basis, !request.legal_basis.is_empty()),
        ("affected_systems", requires.affected_systems, !request.affected_systems.is_empty()),
        ("deactivate_at", requires.deactivate_at, ends),
        // A list names each key's own.
        ("attestation", requires.attestation, request.said.attestation.is_some() || request.manifest.is_some()),
    ];
    let missing: Vec<&str> =
        wanted.into_iter().filter(|(_, wanted, is_said)| *wanted && !is_said).map(|(name, ..)| name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let detail = format!("it does not say: {}", missing.join(", "));
    Rejection::new(ProblemType::RequestIncomplete, detail).with("missing", missing).err()
}

/// Such as `sign, verify`.
pub(crate) fn listed<T: std::fmt::Display>(all: &BTreeSet<T>) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether nothing freezes the request.
pub(crate) fn not_held(governance: &Governance, request: &Request) -> Result<(), Rejection> {
    holds(governance, request).next().map_or(Ok(()), Rejection::err)
}

/// Each hold that freezes the request, as a refusal: one that is lifted leaves the others.
fn holds<'a>(governance: &'a Governance, request: &'a Request) -> impl Iterator<Item = Rejection> + 'a {
    let of_request = request.holds.iter().map(|(hash, hold)| (hash, hold, "the request"));
    let of_tenant = governance.holds.iter().map(|(hash, hold)| (hash, hold, "every activation of the tenant"));
    of_request.chain(of_tenant).map(|(hash, hold, what)| {
        let detail = format!("{what} is held since {}: {}, {}", hold.at, hold.kind, hold.reference);
        Rejection::new(ProblemType::Held, detail).with("hold", hash.to_string())
    })
}

/// Whether the policy allows a key like this.
pub(crate) fn attributes(policy: &Policy, spec: &KeySpec) -> Result<(), Rejection> {
    let Attributes { exportable, deletable, replaces, instance } = spec.attributes.clone().unwrap_or_default();
    let allow = &policy.keys.allow;
    let refused = [
        ("exportable", exportable && !allow.exportable),
        ("not deletable", !deletable && !allow.undeletable),
        ("a successor", replaces.is_some() && !allow.successor),
        ("of an instance", instance.is_some() && !allow.instance),
    ];
    if let Some((what, _)) = refused.into_iter().find(|(_, refused)| *refused) {
        return Rejection::new(ProblemType::AttributeNotAllowed, format!("keys that are {what}")).err();
    }
    if !spec.operations().is_subset(&spec.algorithm.operations()) {
        let detail = format!("`{}` keys do not do all of {}", spec.algorithm, listed(&spec.usage));
        return Rejection::new(ProblemType::AttributeNotAllowed, detail).err();
    }
    let names_asset = spec.asset.is_some() || spec.model_digest.is_some() || spec.endpoint.is_some();
    if policy.schema >= 2 && spec.is_for_ai() && !names_asset {
        let detail = format!("workload `{}`, layer `{}`", spec.workload, spec.responsibility);
        return Rejection::new(ProblemType::AssetMissing, detail).err();
    }
    Ok(())
}

/// The activation of the key that wraps this one, which must be active.
fn parent(view: &View, policy: &InForce, key: &Key, now: Timestamp) -> Result<Option<EventHash>, Rejection> {
    let Some(named) = key.spec.wrapped_by else { return Ok(None) };
    let refuse = |detail: String| {
        Rejection::new(ProblemType::ParentNotActive, detail).with("parent", named.key_id.to_string()).err()
    };
    if named.tenant.is_some() {
        let rules = &policy.policy.parents;
        let Some((proof, max_age)) = key.parent_proof.zip(rules.proof_max_age) else {
            return refuse(format!("nobody has proved that {} is active where it is", named.key_id));
        };
        let is_good =
            rules.trusted_roots.contains(&proof.root) && now < proof.at + max_age && now < proof.deactivate_at;
        return if is_good { Ok(Some(proof.hash)) } else { refuse(format!("the proof of {} is stale", proof.at)) };
    }
    let Some(parent) = view.parent() else { return refuse(format!("{} is not known here", named.key_id)) };
    let active =
        parent.activation.filter(|activation| parent.state == KeyState::Active && now < activation.deactivate_at);
    if active.is_none() && parent.is_unevidenced() {
        return refuse(format!("`{}` was adopted, and its activation is not evidenced", parent.spec.label));
    }
    let Some(activation) = active else { return refuse(format!("`{}` is {}", parent.spec.label, parent.state)) };
    has_room(parent)?;
    Ok(Some(activation.hash))
}

/// Whether a key may wrap one more active key.
pub(crate) fn has_room(parent: &Key) -> Result<(), Rejection> {
    if parent.children.len() < CHILDREN_MAX {
        return Ok(());
    }
    let detail = format!("`{}` wraps {CHILDREN_MAX} active keys already", parent.spec.label);
    Rejection::new(ProblemType::ParentNotActive, detail).with("parent", parent.id.to_string()).err()
}

/// The most active keys that one key wraps: their ids stand in the event that halts it.
pub const CHILDREN_MAX: usize = 1_000;

/// The acknowledgements of every consumer that the request names.
fn consumers(governance: &Governance, request: &Request, key: &Key) -> Result<Vec<EventHash>, Rejection> {
    let has = |who: &Fingerprint| key.acknowledged.contains_key(who) && governance.member(*who).is_ok();
    let missing: Vec<String> = request.consumers.iter().filter(|who| !has(who)).map(ToString::to_string).collect();
    if missing.is_empty() {
        let named = request.consumers.iter().filter_map(|name| key.acknowledged.get(name));
        return Ok(named.map(|acknowledged| acknowledged.hash).collect());
    }
    let detail = format!("not acknowledged by: {}", missing.join(", "));
    Rejection::new(ProblemType::ConsumersMissing, detail).with("missing", missing).err()
}

/// The legal conditions that hold and their facts; those that do not are taken into `blocks`.
fn law(
    governance: &Governance,
    key: &Key,
    request: &Request,
    rule: &Rule,
    deactivate_at: Option<Timestamp>,
    now: Timestamp,
    blocks: &mut Blocks,
) -> (Vec<ConditionHeld>, Vec<EventHash>) {
    for pack in conditions::undeclared(governance) {
        let detail = format!("`{pack}` is declared neither applied nor not applicable");
        blocks.0.push(Rejection::new(ProblemType::PackUndeclared, detail).with("pack", pack.to_string()));
    }
    let approvers = quorum::votes(governance, rule, request, now).len();
    let moment = Moment {
        now,
        activate_at: now,
        deactivate_at: deactivate_at.unwrap_or(now),
        approvers: u32::try_from(approvers).unwrap_or(u32::MAX),
    };
    let findings = conditions::findings(governance, key, request, moment);
    blocks.0.extend(conditions::blocks(&findings));
    conditions::held(governance, key, &findings, now)
}
