//! What a recorded event changes. Total: what is recorded is a fact, and every event has its own arm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use journal::Ring;
use model::command::{ActivationApprove, PackDeclare};
use model::event::{
    AccessReviewed, ActivationApproved, ActivationHeld, ActivationLapsed, ActivationReleased, ActivationRequested,
    AuthorityChanged, BaselineAdopted, CheckpointSigned, ControlEvaluated, CustodyDrifted, Deadline, DeadlineMissed,
    DeadlineWarned, DelegationEnded, DelegationGranted, DocumentAdopted, DocumentStored, FactAsserted, FactWithdrawn,
    KeyActivated, KeyAdopted, KeyGenerated, KeyRevalidated, PackDeclared, ParentAttested, PolicyAdopted,
    PrincipalChanged, PrincipalEnrolled, PrincipalEquipped, PrincipalRevoked, PrincipalRotated, TenantCreated,
};
use model::evidence::Probe;
use model::policy::{Children, Drifted};
use model::text::Base64;
use model::{
    Action, Algorithm, Digest, Event, EventHash, Fingerprint, KeyId, KeySpec, KeyState, Name, Policy, Principal, Span,
    Timestamp, authority,
};

use crate::baseline::{Line, name_of};
use crate::conditions::Ready;
use crate::state::{
    Acknowledged, Activation, Adopted, AdoptedDocument, Approval, Authority, Baseline, Checkpointed, Closed, Custody,
    DeadlineOf, DeclaredPack, Delegation, Document, Governance, HeldFact, Hold, InForce, Key, LastDrift, Mark, Member,
    Outcome, ParentProof, Progress, RegisteredStore, Request, STORES_MAX, Schedule, TenantDeadline, View,
};
use crate::{quorum, transition};

/// A lawful event, and what came with it.
#[derive(Clone, Copy, Debug)]
pub struct Fact<'a> {
    /// Its hash.
    pub hash: EventHash,
    /// Its time.
    pub time: Timestamp,
    /// What happened.
    pub event: &'a Event,
    /// The command it carries, read.
    pub action: Option<&'a Action>,
    /// The authority statement it carries, opened.
    pub authority: Option<&'a authority::Statement>,
}

/// Takes a lawful event into the view. (The receipt of its command, and the chain's form, are the caller's.)
pub fn evolve(view: &mut View, fact: &Fact<'_>) {
    let waits = |view: &View| u64::from(view.key.as_ref().is_some_and(Key::is_waiting));
    let before = waits(view);
    take(view, fact);
    view.progress.waiting = (view.progress.waiting + waits(view)).saturating_sub(before);
}

fn take(view: &mut View, fact: &Fact<'_>) {
    match fact.event {
        Event::TenantCreated(event) => found(view, fact, event),
        Event::AuthorityChanged(event) => change_authority(view, fact, event),
        Event::PrincipalEnrolled(event) => govern(view, fact, |governance| enroll(governance, event)),
        Event::PrincipalChanged(event) => govern(view, fact, |governance| change_roles(governance, event)),
        Event::PrincipalRevoked(event) => govern(view, fact, |governance| revoke(governance, fact.hash, event)),
        Event::PrincipalRotated(event) => govern(view, fact, |governance| rotate(governance, fact.hash, event)),
        Event::PrincipalEquipped(event) => amend(view, |governance| equip(governance, event)),
        Event::DelegationGranted(event) => amend(view, |governance| delegate(governance, fact.hash, event)),
        Event::DelegationEnded(event) => amend(view, |governance| end_delegation(governance, fact.hash, event)),
        Event::AccessReviewed(event) => amend(view, |governance| access_reviewed(governance, fact, event)),
        Event::PolicyAdopted(event) => govern(view, fact, |governance| adopt(governance, fact, event)),
        Event::PackDeclared(event) => govern(view, fact, |governance| declare(governance, fact, event)),
        Event::FactAsserted(event) => asserted(view, fact, event),
        Event::FactWithdrawn(event) => withdrawn(view, fact, event),
        Event::DocumentStored(event) => stored(view, event),
        Event::DocumentAdopted(event) => govern(view, fact, |governance| adopt_document(governance, fact, event)),
        Event::StoreRegistered(event) => govern(view, fact, |governance| {
            let (store, hash) = (event.store.clone(), fact.hash);
            know_store(governance, fact, &store.name);
            governance.stores.insert(store.name.clone(), RegisteredStore { store, hash });
        }),
        Event::DeadlineWarned(event) => warned(view, event),
        Event::BaselineAdopted(event) => baseline(view, fact, event),
        Event::DeadlineMissed(event) if event.key_id.is_some() => view.key.iter_mut().for_each(|key| {
            key.adopted.iter_mut().for_each(|adopted| adopted.missed = true);
        }),
        Event::DeadlineMissed(event) => {
            let DeadlineMissed { deadline, ref pack, ref document, .. } = *event;
            let (pack, document) = (pack.as_ref(), document.as_ref());
            amend(view, |governance| missed(governance, DeadlineOf { deadline, pack, algorithm: None, document }));
        }
        Event::AlgorithmEnded(event) => {
            let (deadline, algorithm) = (Deadline::AlgorithmEnd, Some(event.algorithm));
            amend(view, |governance| {
                missed(governance, DeadlineOf { deadline, pack: None, algorithm, document: None });
            });
        }
        Event::KeyGenerated(event) => {
            view.key = Some(generated(fact, event));
            let knows = |governance: &Arc<Governance>| governance.schedule.stores.contains_key(&event.store);
            if !view.governance.as_ref().is_some_and(knows) {
                amend(view, |governance| know_store(governance, fact, &event.store));
            }
        }
        Event::KeyAdopted(event) => {
            view.key = adopted(view, fact, event);
            view.progress.to_adopt = view.progress.to_adopt.saturating_sub(1);
        }
        Event::KeyRevalidated(event) => revalidated(view, fact, event),
        Event::KeyActivated(event) => activated(view, fact, event),
        Event::KeySuspended(event) => {
            transit(view, fact, |_| KeyState::Suspended);
            halt_children(view, |policy| policy.parents.when_suspended, &event.affected);
        }
        Event::KeyResumed(_) => {
            transit(view, fact, |_| KeyState::Active);
            // Its trouble is over, and calls for nothing any more.
            view.key.iter_mut().for_each(|key| key.to_suspend.clear());
        }
        Event::KeyDeactivated(_) => transit(view, fact, |_| KeyState::Deactivated),
        Event::KeyCompromised(event) => {
            close(view, fact.hash, Outcome::KeyGone);
            transit(view, fact, transition::compromised_from);
            halt_children(view, |policy| policy.parents.when_compromised, &event.affected);
        }
        Event::KeyDestroyed(_) => {
            close(view, fact.hash, Outcome::KeyGone);
            transit(view, fact, transition::destroyed_from);
        }
        Event::KeyExpired(_) => {
            close(view, fact.hash, Outcome::KeyGone);
            touch(view, fact, |key| key.expired = Some(fact.hash));
        }
        Event::ActivationRequested(event) => {
            view.request = requested(view, fact, event);
            touch(view, fact, |key| key.open_request = Some(fact.hash));
        }
        Event::ActivationApproved(event) => {
            approve(view, fact, event);
            touch(view, fact, |_| ());
        }
        Event::ActivationRejected(_) => close_and_touch(view, fact, Outcome::Rejected),
        Event::ActivationCancelled(_) => close_and_touch(view, fact, Outcome::Cancelled),
        Event::ActivationAuthorized(_) => {
            if let Some(request) = &mut view.request {
                request.authorized = Some(Mark { hash: fact.hash, at: fact.time });
            }
            touch(view, fact, |_| ());
        }
        Event::ActivationLapsed(event) => lapse(view, fact, event),
        Event::ActivationHeld(event) => held(view, fact, event),
        Event::ActivationReleased(event) => released(view, event),
        Event::ActivationReviewed(_) => touch(view, fact, |key| key.review_by = None),
        // Anybody enrolled can say so: what operators sign against stays as it is.
        Event::ConsumerAcknowledged(event) => view.key.iter_mut().for_each(|key| {
            let acknowledged = Acknowledged { readiness: event.readiness, hash: fact.hash };
            key.acknowledged.extend([(event.acknowledged_by, acknowledged)]);
        }),
        Event::ParentAttested(event) => touch(view, fact, |key| {
            let (at, hash) = (fact.time, fact.hash);
            let ParentAttested { activation, root, deactivate_at, size, .. } = event.clone();
            key.parent_proof = Some(ParentProof { activation, root, at, deactivate_at, size, hash });
        }),
        Event::CustodyApplied(event) => {
            if let Some(key) = &mut view.key {
                key.custody = Some(Custody { state: event.state, cause: event.cause });
            }
        }
        Event::CustodyUsed(_) | Event::CustodyRefused(_) => {}
        Event::CustodyReconciled(event) => amend(view, |governance| {
            governance.schedule.stores.entry(event.store.clone()).and_modify(|last| *last = fact.time);
        }),
        Event::CustodyDrifted(event) => drifted(view, fact, event),
        Event::CheckpointSigned(event) => checkpoint(view, fact, event),
        // What somebody asked for does not put off what is made by itself.
        Event::EvidenceExported(event) if event.command.is_some() => {}
        Event::EvidenceExported(_) => amend(view, |governance| governance.schedule.export = Some(fact.time)),
        Event::ProbeRecorded(event) => amend(view, |governance| {
            governance.schedule.probes.insert(event.probe, fact.time);
        }),
        Event::ControlEvaluated(event) => amend(view, |governance| control_evaluated(governance, fact, event)),
    }
}

// === Tenant ===

fn found(view: &mut View, fact: &Fact<'_>, event: &TenantCreated) {
    let member = |principal: &model::Principal| (principal.fingerprint(), Member::new(principal.clone()));
    view.governance = fact.authority.map(|statement| {
        Arc::new(Governance {
            tenant: view.chain.tenant(),
            name: event.name.clone(),
            class: event.class,
            head: fact.hash,
            authority: authority_of(statement),
            admin_quorum: event.admin_quorum,
            people: event.admins.iter().map(member).collect(),
            policy: None,
            delegations: BTreeMap::new(),
            facts: BTreeMap::new(),
            packs: BTreeMap::new(),
            holds: BTreeMap::new(),
            deadlines: Vec::new(),
            documents: BTreeMap::new(),
            stores: BTreeMap::new(),
            schedule: Schedule::default(),
            baselines: BTreeMap::new(),
        })
    });
}

/// The statement was opened, so its ring can be made.
fn authority_of(statement: &authority::Statement) -> Authority {
    let ring = Ring::new(statement).unwrap_or_default();
    Authority { root: statement.root, rules: statement.rules, ring }
}

fn change_authority(view: &mut View, fact: &Fact<'_>, _: &AuthorityChanged) {
    govern(view, fact, |governance| {
        if let Some(statement) = fact.authority {
            governance.authority = authority_of(statement);
        }
        let Schedule { export, probes, stores } = &mut governance.schedule;
        set_back(export.iter_mut().chain(probes.values_mut()).chain(stores.values_mut()), fact.time);
    });
    let Progress { uncovered_since, signed_at, .. } = &mut view.progress;
    set_back(uncovered_since.iter_mut().chain(signed_at), fact.time);
}

/// The root may set the time back: what is done every so often does not wait for a time that was wrong.
fn set_back<'a>(times: impl Iterator<Item = &'a mut Timestamp>, now: Timestamp) {
    times.for_each(|time| *time = now.min(*time));
}

/// The governance changes, and with it what administrative commands are signed against.
fn govern(view: &mut View, fact: &Fact<'_>, change: impl FnOnce(&mut Governance)) {
    amend(view, |governance| {
        governance.head = fact.hash;
        change(governance);
    });
}

/// What goes on day by day is taken in, and no command that admins are signing is in vain for it.
fn amend(view: &mut View, change: impl FnOnce(&mut Governance)) {
    if let Some(governance) = &mut view.governance {
        change(Arc::make_mut(governance));
    }
}

fn enroll(governance: &mut Governance, event: &PrincipalEnrolled) {
    governance.people.insert(event.fingerprint, Member::new(event.principal.clone()));
}

fn change_roles(governance: &mut Governance, event: &PrincipalChanged) {
    if let Some(member) = governance.people.get_mut(&event.principal) {
        member.principal.roles = event.roles.clone();
    }
}

fn revoke(governance: &mut Governance, hash: EventHash, event: &PrincipalRevoked) {
    if let Some(member) = governance.people.get_mut(&event.principal) {
        member.revoked = Some(hash);
    }
}

/// The old key is revoked, and the new one is all that it was, with the sealing key: that is another key, which whoever
/// brings a new signing key does not have for it. What the old one approved and nobody has activated yet must be approved
/// again.
fn rotate(governance: &mut Governance, hash: EventHash, event: &PrincipalRotated) {
    let Some(member) = governance.people.get_mut(&event.principal) else { return };
    member.revoked = Some(hash);
    let principal = Principal { key: event.key.clone(), ..member.principal.clone() };
    let sealing_key = member.sealing_key;
    governance.people.insert(event.fingerprint, Member { sealing_key, ..Member::new(principal) });
}

fn equip(governance: &mut Governance, event: &PrincipalEquipped) {
    if let Some(member) = governance.people.get_mut(&event.principal) {
        member.sealing_key = Some(event.sealing_key);
    }
}

fn delegate(governance: &mut Governance, hash: EventHash, event: &DelegationGranted) {
    let DelegationGranted { from, to, roles, not_before, not_after, .. } = event.clone();
    governance.delegations.insert(hash, Delegation { from, to, roles, not_before, not_after, ended: None });
}

fn end_delegation(governance: &mut Governance, hash: EventHash, event: &DelegationEnded) {
    if let Some(delegation) = governance.delegations.get_mut(&event.delegation) {
        delegation.ended = Some(hash);
    }
}

fn adopt(governance: &mut Governance, fact: &Fact<'_>, event: &PolicyAdopted) {
    let Some(Action::PolicyAdopt(params)) = fact.action else { return };
    governance.admin_quorum = params.policy.admin_quorum;
    governance.policy = Some(InForce { hash: fact.hash, version: event.version, policy: params.policy.clone() });
    algorithm_ends(governance, &params.policy, fact.hash);
    let review = params.policy.people.access_review.as_ref().map(|review| (review.every, review.warn_before));
    recurring(governance, fact, Deadline::AccessReview, review);
    let evaluation = params.policy.evidence.evaluation.as_ref().map(|rule| (rule.every, rule.warn_before));
    recurring(governance, fact, Deadline::ControlEvaluation, evaluation);
    schedule(governance, &params.policy, fact.time);
}

/// What is to be done every so often, with a warning so long before. The first is due a whole period after the policy that
/// asks for it; a later policy may bring it forward, and does not put it off.
fn recurring(governance: &mut Governance, fact: &Fact<'_>, deadline: Deadline, asked: Option<(Span, Option<Span>)>) {
    let stands = governance.deadlines.iter().find(|other| other.deadline == deadline).map(|stands| stands.at);
    match asked {
        Some((every, warn_before)) if stands.is_none_or(|at| fact.time + every < at) => {
            let one = DeadlineOf { deadline, pack: None, algorithm: None, document: None };
            set_deadline(governance, one, fact.time + every, fact.hash, warn_before);
        }
        Some(_) => {}
        None => governance.deadlines.retain(|other| other.deadline != deadline),
    }
}

/// The first bundle is made a whole period after the first policy that asks for it, the first probe at once: whoever asks
/// for probes sees whether they come.
fn schedule(governance: &mut Governance, policy: &Policy, now: Timestamp) {
    let (rules, held) = (&policy.evidence, &mut governance.schedule);
    let exports = rules.export.as_ref().is_some_and(|rule| rule.every.is_some());
    held.export = held.export.or(Some(now)).filter(|_| exports);
    match &rules.probes {
        Some(rule) => Probe::ALL.into_iter().for_each(|probe| {
            held.probes.entry(probe).or_insert(now.before(rule.every));
        }),
        None => held.probes.clear(),
    }
}

/// The ends of algorithms are the policy's: those of the one before are forgotten, unless they stand as they were.
fn algorithm_ends(governance: &mut Governance, policy: &Policy, cause: EventHash) {
    let until = |algorithm: Option<Algorithm>| policy.algorithm(algorithm?)?.allowed_until;
    governance.deadlines.retain(|one| one.algorithm.is_none() || until(one.algorithm) == Some(one.at));
    for rule in &policy.algorithms {
        let (algorithm, Some(at)) = (Some(rule.name), rule.allowed_until) else { continue };
        if !governance.deadlines.iter().any(|one| one.algorithm == algorithm) {
            let warn_at = policy.keys.warn_before.map(|before| at.before(before));
            let deadline = Deadline::AlgorithmEnd;
            let (pack, document, missed) = (None, None, false);
            let one = TenantDeadline { deadline, pack, algorithm, document, at, warn_at, cause, missed };
            governance.deadlines.push(one);
        }
    }
}

fn access_reviewed(governance: &mut Governance, fact: &Fact<'_>, event: &AccessReviewed) {
    let review = governance.policy.as_ref().and_then(|held| held.policy.people.access_review.as_ref());
    let warn_before = review.and_then(|review| review.warn_before);
    let one = DeadlineOf { deadline: Deadline::AccessReview, pack: None, algorithm: None, document: None };
    set_deadline(governance, one, event.next_by, fact.hash, warn_before);
}

fn control_evaluated(governance: &mut Governance, fact: &Fact<'_>, event: &ControlEvaluated) {
    let rule = governance.policy.as_ref().and_then(|held| held.policy.evidence.evaluation.as_ref());
    let warn_before = rule.and_then(|rule| rule.warn_before);
    let one = DeadlineOf { deadline: Deadline::ControlEvaluation, pack: None, algorithm: None, document: None };
    set_deadline(governance, one, event.next_by, fact.hash, warn_before);
}

/// How long before a review is due that the policy sets no time for (of a pack, of its declaration, of a document) a
/// warning is recorded.
const REVIEW_WARNED_BEFORE: Span = Span::from_secs(30 * 24 * 3600);

fn declare(governance: &mut Governance, fact: &Fact<'_>, event: &PackDeclared) {
    let Some(Action::PackDeclare(params)) = fact.action else { return };
    let PackDeclare { pack, applicability, .. } = params.clone();
    let name = event.pack.clone();
    for (deadline, at) in [(Deadline::PackReview, event.review_by), (Deadline::PackSource, pack.review_due)] {
        let one = DeadlineOf { deadline, pack: Some(&name), algorithm: None, document: None };
        set_deadline(governance, one, at, fact.hash, Some(REVIEW_WARNED_BEFORE));
    }
    let (hash, review_by, compiled) = (fact.hash, event.review_by, Ready::default());
    governance.packs.insert(name, DeclaredPack { pack, applicability, hash, review_by, compiled });
}

fn adopt_document(governance: &mut Governance, fact: &Fact<'_>, event: &DocumentAdopted) {
    let DocumentAdopted { name, version, kind, title, document, covers, owner, review_by, in_log, .. } = event.clone();
    let deadline = Deadline::DocumentReview;
    let one = DeadlineOf { deadline, pack: None, algorithm: None, document: Some(&name) };
    set_deadline(governance, one, review_by, fact.hash, Some(REVIEW_WARNED_BEFORE));
    let hash = fact.hash;
    let adopted = AdoptedDocument { version, kind, title, document, covers, owner, review_by, in_log, hash };
    governance.documents.insert(name, adopted);
}

/// Sets a deadline in the place of the same one that stands.
fn set_deadline(
    governance: &mut Governance,
    one: DeadlineOf<'_>,
    at: Timestamp,
    cause: EventHash,
    warn_before: Option<Span>,
) {
    governance.deadlines.retain(|other| other.subject() != one);
    let (warn_at, missed) = (warn_before.map(|before| at.before(before)), false);
    let DeadlineOf { deadline, algorithm, .. } = one;
    let (pack, document) = (one.pack.cloned(), one.document.cloned());
    governance.deadlines.push(TenantDeadline { deadline, pack, algorithm, document, at, warn_at, cause, missed });
}

fn asserted(view: &mut View, fact: &Fact<'_>, event: &FactAsserted) {
    let Some(Action::FactAssert(params)) = fact.action else { return };
    let (asserted_at, valid_until) = (fact.time, event.valid_until);
    let said = model::pack::Fact { value: params.value.clone(), asserted_at, valid_until };
    let held = HeldFact { fact: said, asserted_by: event.asserted_by, hash: fact.hash };
    match event.key_id {
        Some(_) => touch(view, fact, |key| drop(key.facts.insert(event.fact.clone(), held))),
        None => amend(view, |governance| drop(governance.facts.insert(event.fact.clone(), held))),
    }
}

fn withdrawn(view: &mut View, fact: &Fact<'_>, event: &FactWithdrawn) {
    match event.key_id {
        Some(_) => touch(view, fact, |key| drop(key.facts.remove(&event.fact))),
        None => amend(view, |governance| drop(governance.facts.remove(&event.fact))),
    }
}

fn stored(view: &mut View, event: &DocumentStored) {
    let sequence = view.chain.head().sequence;
    let new = || Document { digest: event.document, parts: event.parts, stored: BTreeMap::new() };
    view.document.get_or_insert_with(new).stored.insert(event.part, sequence);
}

fn warned(view: &mut View, event: &DeadlineWarned) {
    if event.request.is_some() {
        return view.request.iter_mut().for_each(|request| request.warned.extend([(event.cause, event.at)]));
    }
    match event.key_id {
        // A warning changes nothing that people sign against.
        Some(_) => view.key.iter_mut().for_each(|key| key.warned.extend([(event.deadline, event.at)])),
        None => amend(view, |governance| {
            let (pack, document) = (event.pack.as_ref(), event.document.as_ref());
            let one = DeadlineOf { deadline: event.deadline, pack, algorithm: event.algorithm, document };
            let warned = governance.deadlines.iter_mut().filter(|other| other.subject() == one);
            warned.for_each(|deadline| deadline.warn_at = None);
        }),
    }
}

fn missed(governance: &mut Governance, one: DeadlineOf<'_>) {
    let missed = governance.deadlines.iter_mut().filter(|other| other.subject() == one);
    missed.for_each(|deadline| (deadline.missed, deadline.warn_at) = (true, None));
}

fn checkpoint(view: &mut View, fact: &Fact<'_>, event: &CheckpointSigned) {
    let CheckpointSigned { size, ref root, .. } = *event;
    let (covered, uncovered_since, signed_at) = (size, None, Some(fact.time));
    view.progress = Progress { covered, uncovered_since, signed_at, ..view.progress };
    view.checkpoint = Some(Checkpointed { size, root: root.clone(), hash: fact.hash });
}

fn held(view: &mut View, fact: &Fact<'_>, event: &ActivationHeld) {
    let (kind, reference) = (event.kind, event.reference.clone());
    let hold = Hold { kind, reference, by: event.held_by, at: fact.time };
    match (event.request, &mut view.request) {
        (Some(_), Some(request)) => drop(request.holds.insert(fact.hash, hold)),
        _ => amend(view, |governance| drop(governance.holds.insert(fact.hash, hold))),
    }
}

fn released(view: &mut View, event: &ActivationReleased) {
    match (event.request, &mut view.request) {
        (Some(_), Some(request)) => drop(request.holds.remove(&event.hold)),
        _ => amend(view, |governance| drop(governance.holds.remove(&event.hold))),
    }
}

// === Key ===

fn generated(fact: &Fact<'_>, event: &KeyGenerated) -> Key {
    Key {
        id: event.key_id,
        spec: event.spec.clone(),
        identity: event.identity.clone(),
        store: event.store.clone(),
        seal_key: event.seal_key.clone(),
        sealing: event.sealing.clone(),
        asked: event.sealing.as_ref().map(|_| Digest::of(&event.command.payload.0)),
        created_by: event.created_by,
        created_at: fact.time,
        generated: fact.hash,
        state: KeyState::PreActive,
        transition: fact.hash,
        head: fact.hash,
        pre_active_until: event.pre_active_until,
        expired: None,
        open_request: None,
        activation: None,
        custody: None,
        attestation: Digest::of(&event.statement.payload.0),
        revalidate_by: event.revalidate_by,
        revalidated: fact.hash,
        warn_before: event.warn_before,
        warned: BTreeMap::new(),
        facts: BTreeMap::new(),
        children: BTreeSet::new(),
        to_suspend: BTreeSet::new(),
        acknowledged: BTreeMap::new(),
        parent_proof: None,
        review_by: None,
        drifted: None,
        last_drift: None,
        adopted: None,
    }
}

fn baseline(view: &mut View, fact: &Fact<'_>, event: &BaselineAdopted) {
    let BaselineAdopted { store, taken_at, common, manifest, rotate_by, adopted_by, .. } = event.clone();
    view.progress.to_adopt = view.progress.to_adopt.saturating_add(u64::from(manifest.count));
    govern(view, fact, |governance| {
        let hash = fact.hash;
        governance.baselines.insert(store, Baseline { hash, taken_at, common, manifest, rotate_by, adopted_by });
    });
}

/// A key that was there before: active, by nobody's authority that the chain knows.
fn adopted(view: &View, fact: &Fact<'_>, event: &KeyAdopted) -> Option<Key> {
    let governance = view.governance.as_ref()?;
    let (store, baseline) = governance.baselines.iter().find(|(_, baseline)| baseline.hash == event.cause)?;
    let KeyAdopted { key_id, algorithm, identity, label, made_at, rotate_by, .. } = event.clone();
    let line = Line { key_id, algorithm, identity, label, made_at };
    let template = baseline.common.template(Algorithm::of_name(line.algorithm.as_str()), store.clone());
    let name = name_of(&line.label).or_else(|| key_id.to_string().parse().ok())?;
    let warn_before = governance.policy.as_ref().and_then(|held| held.policy.keys.warn_before);
    Some(Key {
        id: key_id,
        spec: KeySpec { asset: baseline.common.asset.clone(), ..KeySpec::new(name, template) },
        attestation: line.digest(),
        identity: line.identity,
        store: store.clone(),
        seal_key: Base64(Vec::new()),
        created_by: baseline.adopted_by,
        created_at: fact.time,
        sealing: None,
        asked: None,
        generated: fact.hash,
        state: KeyState::Active,
        transition: fact.hash,
        head: fact.hash,
        pre_active_until: Timestamp::MAX,
        expired: None,
        open_request: None,
        activation: None,
        custody: None,
        revalidate_by: None,
        revalidated: fact.hash,
        warn_before,
        warned: BTreeMap::new(),
        facts: BTreeMap::new(),
        children: BTreeSet::new(),
        to_suspend: BTreeSet::new(),
        acknowledged: BTreeMap::new(),
        parent_proof: None,
        review_by: None,
        drifted: None,
        last_drift: None,
        adopted: Some(Adopted {
            baseline: event.cause,
            algorithm: line.algorithm,
            label: line.label,
            made_at,
            rotate_by,
            replaced: None,
            missed: false,
        }),
    })
}

/// A store in which a tenant has keys, or that is registered, is compared with the chain once a policy asks for it: its time
/// counts from here.
fn know_store(governance: &mut Governance, fact: &Fact<'_>, store: &Name) {
    let known = &mut governance.schedule.stores;
    if known.len() < STORES_MAX {
        known.entry(store.clone()).or_insert(fact.time);
    }
}

/// The policy in force says whether an active key is suspended for it.
fn drifted(view: &mut View, fact: &Fact<'_>, event: &CustodyDrifted) {
    let policy = view.governance.as_ref().and_then(|governance| governance.policy.as_ref());
    let suspends = policy.is_some_and(|held| held.policy.stores.when_drifted == Drifted::Suspend);
    if let Some(key) = &mut view.key {
        key.last_drift = Some(LastDrift { drift: event.drift, found: event.found.clone() });
        key.drifted = (suspends && key.state == KeyState::Active).then_some(fact.hash);
    }
}

fn activated(view: &mut View, fact: &Fact<'_>, event: &KeyActivated) {
    match &mut view.request {
        // A request for many keys goes on until they are activated.
        Some(request) if request.key_id.is_none() => {
            request.activated = request.activated.saturating_add(1);
            if request.activated >= request.keys() {
                request.closed = Some(Closed { how: Outcome::Activated, hash: fact.hash });
            }
        }
        _ => {}
    }
    close(view, fact.hash, Outcome::Activated);
    transit(view, fact, |_| KeyState::Active);
    if let Some(key) = &mut view.key {
        key.activation = Some(activation(fact, event));
        key.review_by = event.review_by;
    }
    // An adopted key is rotated where its successor is activated.
    let replaced = view.key.as_ref().and_then(|key| view.others.get_mut(&key.spec.replaces()?));
    if let Some(adopted) = replaced.and_then(|key| key.adopted.as_mut()) {
        adopted.replaced.get_or_insert(fact.hash);
    }
}

/// The keys that somebody has looked at are wanted for another while.
fn revalidated(view: &mut View, fact: &Fact<'_>, event: &KeyRevalidated) {
    for id in &event.keys {
        if let Some(key) = view.others.get_mut(id) {
            (key.revalidate_by, key.revalidated, key.head) = (Some(event.next_by), fact.hash, fact.hash);
        }
    }
}

/// What the policy says becomes of the active keys that this one wraps.
fn halt_children(view: &mut View, rule: impl Fn(&Policy) -> Children, affected: &[KeyId]) {
    let policy = view.governance.as_ref().and_then(|governance| governance.policy.as_ref());
    let suspends = policy.is_some_and(|held| rule(&held.policy) == Children::Suspend);
    if let Some(key) = view.key.as_mut().filter(|_| suspends) {
        key.to_suspend = affected.iter().copied().collect();
    }
}

fn activation(fact: &Fact<'_>, event: &KeyActivated) -> Activation {
    Activation { hash: fact.hash, at: fact.time, deactivate_at: event.deactivate_at, request: event.request }
}

/// The key's head moves.
fn touch(view: &mut View, fact: &Fact<'_>, change: impl FnOnce(&mut Key)) {
    if let Some(key) = &mut view.key {
        key.head = fact.hash;
        change(key);
    }
}

/// The key's state moves, and the key that wraps it knows: it names its active children when it is halted.
fn transit(view: &mut View, fact: &Fact<'_>, to: impl FnOnce(KeyState) -> KeyState) {
    touch(view, fact, |key| {
        key.state = to(key.state);
        key.transition = fact.hash;
        key.drifted = None;
    });
    let Some(key) = &view.key else { return };
    let (id, state) = (key.id, key.state);
    if let Some(parent) = key.spec.parent_here().and_then(|parent| view.others.get_mut(&parent)) {
        match state {
            KeyState::Active => parent.children.insert(id),
            _ => parent.to_suspend.remove(&id) | parent.children.remove(&id),
        };
    }
}

// === Request ===

fn requested(view: &View, fact: &Fact<'_>, event: &ActivationRequested) -> Option<Request> {
    let Some(Action::ActivationRequest(params)) = fact.action else { return None };
    let (key_id, by) = (event.key_id, event.requested_by);
    let asked = Request::asked(fact.hash, key_id, params, by, event.not_before, fact.time);
    // Epoch 2 warns of what keys and the tenant are to do, and of no request.
    let governance = view.governance.as_ref().filter(|governance| governance.authority.rules >= 3);
    let warn_before = governance.and_then(|governance| governance.policy.as_ref()?.policy.keys.warn_before);
    let sealing = view.key.as_ref().filter(|_| key_id.is_some()).and_then(|key| key.sealing.as_ref());
    let threshold = sealing.map(|sealing| sealing.threshold);
    Some(Request { expires_at: event.expires_at, warn_before, threshold, ..asked })
}

fn approve(view: &mut View, fact: &Fact<'_>, event: &ActivationApproved) {
    if let (Some(request), Some(governance)) = (&mut view.request, &view.governance) {
        // An approval given again, because the first came out of turn, takes its place.
        let person = |who: Fingerprint| governance.people.get(&who).map(|member| &member.principal.person);
        let rule = governance.policy.as_ref().and_then(|held| request.rule(&held.policy, view.key.as_ref()));
        let in_order = rule.is_some_and(|rule| rule.in_order);
        let people = |by, for_whom: Option<Fingerprint>| [person(by), person(for_whom.unwrap_or(by))];
        let new = people(event.approved_by, event.on_behalf_of);
        let is_same = |old: &Approval| in_order && people(old.by, old.on_behalf_of).iter().any(|who| new.contains(who));
        let (again, others) = std::mem::take(&mut request.approvals).into_iter().partition(is_same);
        request.approvals = others;
        request.lapsed.extend::<Vec<Approval>>(again);
        let (hash, by, at) = (fact.hash, event.approved_by, fact.time);
        let (on_behalf_of, assurance) = (event.on_behalf_of, event.assurance);
        request.approvals.push(Approval { hash, by, at, expires_at: event.expires_at, on_behalf_of, assurance });
        if let Some(Action::ActivationApprove(ActivationApprove { share: Some(share), .. })) = fact.action {
            request.shares.insert(hash, share.clone());
        }
    }
    if is_complete(view, fact.time)
        && let Some(request) = &mut view.request
    {
        request.complete = Some(Mark { hash: fact.hash, at: fact.time });
    }
}

/// Whether the request's approvals make a quorum at this time.
fn is_complete(view: &View, now: Timestamp) -> bool {
    let (Some(governance), Some(request)) = (&view.governance, &view.request) else { return false };
    let rule = governance.policy.as_ref().and_then(|held| request.rule(&held.policy, view.key.as_ref()));
    rule.is_some_and(|rule| quorum::of_request(governance, rule, request, now).is_met())
}

fn lapse(view: &mut View, fact: &Fact<'_>, event: &ActivationLapsed) {
    let Some(lapsed) = event.approval else {
        return close_and_touch(view, fact, Outcome::Lapsed);
    };
    if let Some(request) = &mut view.request {
        let (gone, standing) = request.approvals.iter().partition(|approval| approval.hash == lapsed);
        request.approvals = standing;
        request.lapsed.extend::<Vec<Approval>>(gone);
    }
    if !is_complete(view, fact.time)
        && let Some(request) = &mut view.request
    {
        request.complete = None;
        request.authorized = None;
    }
    touch(view, fact, |_| ());
}

fn close_and_touch(view: &mut View, fact: &Fact<'_>, how: Outcome) {
    close(view, fact.hash, how);
    touch(view, fact, |_| ());
}

/// Ends the key's open request, or the request for many keys that the event is about.
fn close(view: &mut View, hash: EventHash, how: Outcome) {
    let Some(request) = &mut view.request else { return };
    match &mut view.key {
        Some(key) if key.open_request == Some(request.hash) => {
            request.closed = Some(Closed { how, hash });
            key.open_request = None;
        }
        None => request.closed = Some(Closed { how, hash }),
        Some(_) => {}
    }
}
