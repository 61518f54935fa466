//! What would come of an activation, without anything being done: the deciding code itself ([`clear`], the gates, the
//! quorum), on a copy of the state, or on one with a draft put in force.

use std::sync::Arc;

use model::command::{ActivationRequest, Applicability, Sealed};
use model::event::{Assurance, Deadline, Membership};
use model::key::{Reason, ReasonKind};
use model::pack::Pack;
use model::people::{KeyType, PrincipalKind};
use model::policy::{Rule, Stage};
use model::text::Base64;
use model::{EventHash, Fingerprint, KeyId, KeyState, Name, Policy, Principal, ProblemType, Timestamp};
use serde::Serialize;

use crate::clearance::{self, Clearance, Way, clear};
use crate::conditions::{self, Moment, PackFindings, Ready};
use crate::quorum::{self, Assessment};
use crate::state::{Approval, DeclaredPack, Footprint, Governance, InForce, Key, Mark, Request, View};
use crate::{Rejection, Tenant, decide, sealing, standing};

/// What an activation comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulation {
    /// The key, where it is about one.
    pub key: Option<KeyId>,
    /// The request; none where it was simulated as if somebody asked now.
    pub request: Option<EventHash>,
    /// The rule that it is under.
    pub rule: Option<Name>,
    /// What the votes come to.
    pub quorum: Option<Assessment>,
    /// A smallest set of people whose approvals would complete the quorum, by their keys; none where there are not enough
    /// people.
    pub enough: Option<Vec<Fingerprint>>,
    /// Everything that stands in the way now.
    pub blocked: Vec<Rejection>,
    /// What would stand in the way still if enough people had approved, at the time at which it could be activated.
    pub besides: Vec<Rejection>,
    /// That time.
    pub at: Timestamp,
    /// When the key's use would end, where nothing stands in the way then.
    pub ends: Option<Timestamp>,
    /// What the legal packs come to then, gate by gate.
    pub gates: Vec<PackFindings>,
    /// What runs out, soonest first.
    pub lapses: Vec<Lapse>,
}

impl Simulation {
    /// Whether approvals are all that is missing, or nothing is.
    pub fn is_clear_but_for_approvals(&self) -> bool {
        self.besides.is_empty() && self.enough.is_some()
    }
}

/// Something that runs out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Lapse {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Lapsing,
}

/// What can run out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lapsing {
    /// The request.
    Request,
    /// Somebody's approval.
    Approval(Fingerprint),
    /// A deadline of the key.
    Key(Deadline),
    /// A fact that gates rely on.
    Fact(Name),
    /// The key's parent: its use, or the proof of it.
    Parent(KeyId),
    /// The algorithm.
    Algorithm,
}

/// What a draft, or time, would make of a key that is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The key.
    pub key: KeyId,
    /// The rule that it would be under.
    pub rule: Option<Name>,
    /// What would stand in the way if it were activated now, with enough approvals.
    pub blocked: Vec<Rejection>,
    /// When its use ends, as it was activated.
    pub ends: Timestamp,
    /// When its use would end, had it been activated under these rules; or why it could not have been.
    pub would_end: Result<Timestamp, Rejection>,
    /// Who may use it, by their keys.
    pub users: Vec<Fingerprint>,
}

// === Drafts ===

/// The tenant, with this policy in force.
pub fn with_policy(tenant: &Tenant, policy: Policy) -> Result<Tenant, Rejection> {
    changed(tenant, |governance| {
        let version = governance.policy.as_ref().map_or(1, |held| held.version.saturating_add(1));
        governance.policy = Some(InForce { hash: EventHash::ZERO, version, policy });
    })
}

/// The tenant, with this pack applied.
pub fn with_pack(tenant: &Tenant, pack: Pack) -> Result<Tenant, Rejection> {
    let draft = "a draft".parse().map_err(|error| Rejection::new(ProblemType::Malformed, error))?;
    changed(tenant, |governance| {
        let (name, review_by) = (pack.name.clone(), pack.review_due);
        let (applicability, compiled) = (Applicability::Applied(draft), Ready::default());
        let declared = DeclaredPack { pack, applicability, hash: EventHash::ZERO, review_by, compiled };
        governance.packs.insert(name, declared);
    })
}

fn changed(tenant: &Tenant, change: impl FnOnce(&mut Governance)) -> Result<Tenant, Rejection> {
    let view = tenant.view(Footprint::default());
    let mut governance = view.governance()?.clone();
    change(&mut governance);
    Ok(Tenant { governance: Some(Arc::new(governance)), ..tenant.clone() })
}

// === Keys and requests ===

/// What the activation of a key comes to: under its open request, or as if `asker` asked for it now.
pub fn of_key(tenant: &Tenant, key: KeyId, asker: Fingerprint, now: Timestamp) -> Result<Simulation, Rejection> {
    let mut view = tenant.view(Footprint::of_key(key));
    let request = view.request.as_ref().map(|request| request.hash);
    if request.is_none() {
        view.request = Some(asked_now(&view, asker, now)?);
    }
    simulated(view, Way::Own, request, now)
}

/// The same under a request for many: for one key of its list.
pub fn of_member(
    tenant: &Tenant,
    request: EventHash,
    key: KeyId,
    membership: &Membership,
    now: Timestamp,
) -> Result<Simulation, Rejection> {
    let view = tenant.view(Footprint { request: Some(request), ..Footprint::of_key(key) });
    simulated(view, Way::Member(membership), Some(request), now)
}

/// The same for a key that draws on a standing authorisation.
pub fn of_instance(tenant: &Tenant, request: EventHash, key: KeyId, now: Timestamp) -> Result<Simulation, Rejection> {
    let view = tenant.view(Footprint { request: Some(request), ..Footprint::of_key(key) });
    simulated(view, Way::Standing, Some(request), now)
}

/// What a request comes to by itself: who must sign, what holds it up, when it lapses. What stands in the way of its keys is
/// asked key by key.
pub fn of_request(tenant: &Tenant, request: EventHash, now: Timestamp) -> Result<Simulation, Rejection> {
    let key = tenant.requests.get(&request).and_then(|request| request.key_id);
    let view = tenant.view(Footprint { key, request: Some(request), ..Footprint::default() });
    if view.key.is_some() {
        return simulated(view, Way::Own, Some(request), now);
    }
    let (governance, open) = (view.governance()?, view.open_request()?);
    let rule = governance.policy()?.rule_of(open, None)?;
    let checks = [clearance::says(&rule.requires, open), clearance::not_held(governance, open)];
    let besides: Vec<Rejection> = checks.into_iter().filter_map(Result::err).collect();
    let missing = clearance::quorum_met(governance, rule, open, now).err();
    Ok(Simulation {
        key: None,
        request: Some(request),
        rule: Some(rule.name.clone()),
        quorum: Some(quorum::of_request(governance, rule, open, now)),
        enough: enough(governance, rule, None, open, now).map(prints),
        blocked: missing.into_iter().chain(besides.iter().cloned()).collect(),
        besides,
        at: now.max(open.not_before),
        ends: None,
        gates: Vec::new(),
        lapses: lapses(governance, None, Some((open, rule)), None, now),
    })
}

/// What becomes of a key that is active, by the rules that are in force in this tenant.
pub fn of_active(tenant: &Tenant, key: KeyId, now: Timestamp) -> Result<Standing, Rejection> {
    let mut view = tenant.view(Footprint { activation: true, ..Footprint::of_key(key) });
    let key = view.key()?.clone();
    let Some(activation) = key.activation else {
        return Rejection::new(ProblemType::KeyNotActive, format!("`{}` was never activated", key.spec.label)).err();
    };
    let asker = view.request.as_ref().map_or(key.created_by, |request| request.requested_by);
    let before = view.request.take();
    let again = Key { state: KeyState::PreActive, pre_active_until: Timestamp::MAX, ..key.clone() };
    view.key = Some(Key { expired: None, revalidate_by: None, activation: None, open_request: None, ..again });
    let request = match before {
        Some(before) => anew(before, key.id, now),
        None => asked_now(&view, asker, now)?,
    };
    let wanted = request.deactivate_at;
    view.request = Some(request);
    let governance = view.governance()?;
    let policy = governance.policy()?;
    let rule = view.request.as_ref().and_then(|request| request.rule(&policy.policy, Some(&key)));
    let operations = key.spec.operations();
    let ends = |rule| clearance::ends(&policy.policy, rule, key.spec.algorithm, &operations, wanted, activation.at);
    let would_end = match rule {
        Some(rule) => ends(rule),
        None => policy.rule_for(&key.spec.traits()).and_then(ends),
    };
    let in_use = policy.rule_in_use(&key, view.request.as_ref()).ok();
    let may_use = |principal: &&Principal| in_use.is_some_and(|rule| standing::role(principal, &rule.users).is_ok());
    Ok(Standing {
        key: key.id,
        rule: rule.map(|rule| rule.name.clone()),
        blocked: beside_approvals(&approved(&view, now), Way::Own, now).err().unwrap_or_default(),
        ends: activation.deactivate_at,
        would_end,
        users: prints(governance.members().filter(may_use).collect()),
    })
}

/// A request as it was asked for, open again, for this one key. What was sealed is open by now.
fn anew(request: Request, key: KeyId, now: Timestamp) -> Request {
    Request {
        key_id: Some(key),
        template: None,
        manifest: None,
        standing: None,
        not_before: now,
        approvals: Vec::new(),
        lapsed: Vec::new(),
        complete: None,
        authorized: None,
        closed: None,
        threshold: None,
        shares: std::collections::BTreeMap::new(),
        holds: std::collections::BTreeMap::new(),
        ..request
    }
}

/// The request that somebody would make who says no more than they must.
fn asked_now(view: &View, asker: Fingerprint, now: Timestamp) -> Result<Request, Rejection> {
    let (governance, key) = (view.governance()?, view.key()?);
    let rule = governance.policy()?.rule_for(&key.spec.traits())?;
    let kind = rule.requires.reasons.iter().next().copied().unwrap_or(ReasonKind::NewService);
    let threshold = key.sealing.as_ref().map(|sealing| sealing.threshold);
    let text = "simulated".parse().map_err(|error| Rejection::new(ProblemType::Malformed, error))?;
    let params = ActivationRequest {
        attestation: Some(key.attestation),
        ..ActivationRequest::of_key(key.identity.clone(), Reason { kind, text })
    };
    let request = Request::asked(EventHash::ZERO, Some(key.id), &params, asker, now, now);
    Ok(Request { expires_at: now + rule.request_valid_for, threshold, ..request })
}

fn simulated(view: View, way: Way<'_>, hash: Option<EventHash>, now: Timestamp) -> Result<Simulation, Rejection> {
    let (governance, request) = (view.governance()?, view.open_request()?);
    let key = clearance::activatable(&view)?;
    let rule = governance.policy()?.rule_of(request, Some(key)).ok();
    let blocked = clear(&view, way, now).err().map(|blocked| telling(blocked.0)).unwrap_or_default();
    let at = now.max(request.not_before);
    let approved = approved(&view, now);
    let (besides, ends) = match beside_approvals(&approved, way, at) {
        Ok(clearance) => (Vec::new(), clearance.map(|clearance| clearance.deactivate_at)),
        Err(besides) => (besides, None),
    };
    let with = approved.request.as_ref().unwrap_or(request);
    let approvers = rule.map_or(0, |rule| quorum::votes(governance, rule, with, now).len());
    let moment = Moment {
        now: at,
        activate_at: at,
        deactivate_at: ends.or(request.deactivate_at).unwrap_or(at),
        approvers: u32::try_from(approvers).unwrap_or(u32::MAX),
    };
    Ok(Simulation {
        key: Some(key.id),
        request: hash,
        rule: rule.map(|rule| rule.name.clone()),
        quorum: rule.map(|rule| quorum::of_request(governance, rule, request, now)),
        enough: rule.and_then(|rule| enough(governance, rule, Some(key), request, now)).map(prints),
        blocked,
        besides,
        at,
        ends,
        gates: conditions::findings(governance, key, with, moment),
        lapses: lapses(governance, Some(key), rule.map(|rule| (request, rule)), view.parent(), now),
    })
}

/// Without what only says again that approvals are missing.
fn telling(mut blocks: Vec<Rejection>) -> Vec<Rejection> {
    if blocks.iter().any(|block| block.problem == ProblemType::QuorumNotMet) {
        blocks.retain(|block| block.problem != ProblemType::NotAuthorized);
    }
    blocks
}

/// What stands in the way beside approvals; a clearance where nothing does and approvals are complete too.
fn beside_approvals(view: &View, way: Way<'_>, at: Timestamp) -> Result<Option<Clearance>, Vec<Rejection>> {
    let approvals = [ProblemType::QuorumNotMet, ProblemType::NotAuthorized];
    match clear(view, way, at) {
        Ok(clearance) => Ok(Some(clearance)),
        Err(blocked) => {
            let rest: Vec<Rejection> =
                blocked.0.into_iter().filter(|block| !approvals.contains(&block.problem)).collect();
            if rest.is_empty() { Ok(None) } else { Err(rest) }
        }
    }
}

// === People ===

/// The view, with the approvals that are still missing, where there are people enough to give them.
fn approved(view: &View, now: Timestamp) -> View {
    let mut view = view.clone();
    let added = view.governance.as_deref().zip(view.request.as_ref()).and_then(|(governance, request)| {
        let rule = governance.policy().ok()?.rule_of(request, view.key.as_ref()).ok()?;
        let enough = enough(governance, rule, view.key.as_ref(), request, now)?;
        let with_share = |one: &Principal| (approval(one, now), holds_share(governance, view.key.as_ref(), one));
        Some(enough.into_iter().map(with_share).collect::<Vec<(Approval, bool)>>())
    });
    if let Some(request) = &mut view.request {
        for (approval, brings_share) in added.into_iter().flatten() {
            let share = Sealed { enc: Base64(Vec::new()), ciphertext: Base64(Vec::new()) };
            request.shares.extend(brings_share.then_some((approval.hash, share)));
            request.approvals.push(approval);
        }
        request.authorized.get_or_insert(Mark { hash: EventHash::ZERO, at: now });
    }
    view
}

/// The approval that somebody would give, with the surest kind of key that theirs is.
fn approval(principal: &Principal, now: Timestamp) -> Approval {
    let by = principal.fingerprint();
    let hash = EventHash::new(*by.as_bytes());
    Approval { hash, by, at: now, expires_at: Timestamp::MAX, on_behalf_of: None, assurance: surest(principal) }
}

fn surest(principal: &Principal) -> Option<Assurance> {
    match principal.key.key_type() {
        KeyType::Ed25519 | KeyType::EcdsaP256 => None,
        KeyType::SkEd25519 | KeyType::SkEcdsaP256 => Some(Assurance::Verified),
    }
}

/// A smallest set of people who would complete the quorum: enrolled, not who asked, and not who votes for whoever asked.
fn enough<'a>(
    governance: &'a Governance,
    rule: &Rule,
    key: Option<&Key>,
    request: &Request,
    now: Timestamp,
) -> Option<Vec<&'a Principal>> {
    let votes = quorum::votes(governance, rule, request, now);
    let free = |principal: &&Principal| {
        let approval = approval(principal, now);
        let vote = quorum::vote(governance, &approval, now);
        vote.is_some_and(|vote| !quorum::is_the_askers(governance, request, &vote, &approval, now))
    };
    let people = governance.members().filter(|principal| principal.kind == PrincipalKind::Person);
    let candidates: Vec<&Principal> = people.filter(free).collect();
    quorum::smallest_with_shares(rule, request, &votes, &candidates, |one| holds_share(governance, key, one))
}

fn holds_share(governance: &Governance, key: Option<&Key>, principal: &Principal) -> bool {
    let sealing = key.and_then(|key| key.sealing.as_ref());
    sealing.is_some_and(|sealing| sealing::share_of(governance, sealing, principal.fingerprint()).is_some())
}

/// Who could take a place in each stage of a rule at this time, by their keys: enrolled people of the stage's roles and
/// party, other than whoever asked and whoever votes for them.
pub fn eligible(
    governance: &Governance,
    rule: &Rule,
    request: Option<&Request>,
    now: Timestamp,
) -> Vec<(Stage, Vec<Fingerprint>)> {
    let people = governance.members().filter(|principal| principal.kind == PrincipalKind::Person);
    let candidates = people.filter_map(|principal| {
        let approval = approval(principal, now);
        let vote = quorum::vote(governance, &approval, now)?;
        let askers = request.is_some_and(|request| quorum::is_the_askers(governance, request, &vote, &approval, now));
        (!askers).then(|| (principal.fingerprint(), vote))
    });
    let candidates: Vec<(Fingerprint, quorum::Vote)> = candidates.collect();
    let of_stage = |stage: &Stage| {
        let fitting = candidates.iter().filter(|(_, vote)| vote.fits(stage)).map(|(by, _)| *by);
        (stage.clone(), fitting.collect())
    };
    rule.stages.iter().map(of_stage).collect()
}

fn prints(people: Vec<&Principal>) -> Vec<Fingerprint> {
    people.into_iter().map(Principal::fingerprint).collect()
}

/// The votes that somebody could give on a request now and that would count: their own (`None`), and those that were
/// delegated to them, by whose they are.
pub fn votes_that_count(
    tenant: &Tenant,
    request: EventHash,
    by: Fingerprint,
    now: Timestamp,
) -> Vec<Option<Fingerprint>> {
    let key = tenant.requests.get(&request).and_then(|request| request.key_id);
    let view = tenant.view(Footprint { key, request: Some(request), ..Footprint::default() });
    let Ok(governance) = view.governance() else { return Vec::new() };
    let to_me = governance.delegations.values().filter(|delegation| delegation.to == by && delegation.is_standing(now));
    let mut whose: Vec<Option<Fingerprint>> = to_me.map(|delegation| Some(delegation.from)).collect();
    whose.sort();
    whose.dedup();
    whose.insert(0, None);
    whose.retain(|whose| would_count(&view, by, *whose, now).unwrap_or(false));
    whose
}

fn would_count(view: &View, by: Fingerprint, whose: Option<Fingerprint>, now: Timestamp) -> Result<bool, Rejection> {
    let (governance, request) = (view.governance()?, view.open_request()?);
    if request.key_id.is_some() {
        clearance::activatable(view)?;
    }
    let principal = governance.member(by)?;
    standing::person(principal)?;
    let rule = governance.policy()?.rule_of(request, view.key.as_ref())?;
    let vote = decide::may_approve(view, &Approval { on_behalf_of: whose, ..approval(principal, now) }, now)?;
    let votes = quorum::votes(governance, rule, request, now);
    let is_met = quorum::assess_with_shares(rule, request, &votes).is_met();
    Ok(!is_met && quorum::would_count(rule, request, &votes, &vote))
}

// === What runs out ===

fn lapses(
    governance: &Governance,
    key: Option<&Key>,
    request: Option<(&Request, &Rule)>,
    parent: Option<&Key>,
    now: Timestamp,
) -> Vec<Lapse> {
    let mut lapses: Vec<Lapse> = Vec::new();
    let mut add = |at, what| lapses.push(Lapse { at, what });
    if let Some((request, rule)) = request {
        let is_made = request.hash != EventHash::ZERO;
        request.ends_at().filter(|_| is_made).into_iter().for_each(|at| add(at, Lapsing::Request));
        for approval in &request.approvals {
            add(quorum::good_until(rule, request, approval), Lapsing::Approval(approval.by));
        }
    }
    if let Some(key) = key {
        key.deadlines().for_each(|(deadline, at, _)| add(at, Lapsing::Key(deadline)));
        let algorithm = governance.policy.as_ref().and_then(|held| held.policy.algorithm(key.spec.algorithm));
        algorithm.and_then(|rule| rule.allowed_until).into_iter().for_each(|at| add(at, Lapsing::Algorithm));
        facts(governance, key).for_each(|(name, at)| add(at, Lapsing::Fact(name.clone())));
        let named = key.spec.wrapped_by.map(|parent| parent.key_id);
        let here = parent.and_then(|parent| parent.activation).map(|activation| activation.deactivate_at);
        let max_age = governance.policy.as_ref().and_then(|held| held.policy.parents.proof_max_age);
        let elsewhere = key.parent_proof.zip(max_age).map(|(proof, max)| proof.deactivate_at.min(proof.at + max));
        named.zip(here.or(elsewhere)).into_iter().for_each(|(parent, at)| add(at, Lapsing::Parent(parent)));
    }
    lapses.retain(|lapse| lapse.at > now);
    lapses.sort();
    lapses.dedup();
    lapses
}

/// The facts that applied packs ask for and that stand, and until when they can be relied upon.
fn facts<'a>(governance: &'a Governance, key: &'a Key) -> impl Iterator<Item = (&'a Name, Timestamp)> {
    let applied = governance.packs.values().filter(|pack| pack.is_applied());
    applied.flat_map(|declared| &declared.pack.facts).filter_map(|need| {
        let held = key.facts.get(&need.name).or(governance.facts.get(&need.name))?;
        let old = need.max_age.map_or(Timestamp::MAX, |age| held.fact.asserted_at + age);
        Some((&need.name, held.fact.valid_until.min(old)))
    })
}
