//! What a recorded event changes. Total: what is recorded is a fact, and every event has its own arm.

use std::sync::Arc;

use journal::Ring;
use model::event::{
    ActivationApproved, ActivationLapsed, ActivationRequested, AuthorityChanged, KeyActivated, KeyGenerated,
    PolicyAdopted, PrincipalChanged, PrincipalEnrolled, PrincipalRevoked, TenantCreated,
};
use model::{Action, Event, EventHash, KeyState, Timestamp, authority};

use crate::state::{
    Activation, Approval, Authority, Closed, Custody, Governance, InForce, Key, Mark, Member, Outcome, Progress,
    Request, View,
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
    match fact.event {
        Event::TenantCreated(event) => found(view, fact, event),
        Event::AuthorityChanged(event) => change_authority(view, fact, event),
        Event::PrincipalEnrolled(event) => govern(view, fact, |governance| enroll(governance, event)),
        Event::PrincipalChanged(event) => govern(view, fact, |governance| change_roles(governance, event)),
        Event::PrincipalRevoked(event) => govern(view, fact, |governance| revoke(governance, fact.hash, event)),
        Event::PolicyAdopted(event) => govern(view, fact, |governance| adopt(governance, fact, event)),
        Event::KeyGenerated(event) => view.key = Some(generated(fact, event)),
        Event::KeyActivated(event) => {
            close(view, fact.hash, Outcome::Activated);
            transit(view, fact, |_| KeyState::Active);
            if let Some(key) = &mut view.key {
                key.activation = Some(activation(fact, event));
            }
        }
        Event::KeySuspended(_) => transit(view, fact, |_| KeyState::Suspended),
        Event::KeyResumed(_) => transit(view, fact, |_| KeyState::Active),
        Event::KeyDeactivated(_) => transit(view, fact, |_| KeyState::Deactivated),
        Event::KeyCompromised(_) => {
            close(view, fact.hash, Outcome::KeyGone);
            transit(view, fact, transition::compromised_from);
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
            view.request = Some(requested(fact, event));
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
        Event::CustodyApplied(event) => {
            if let Some(key) = &mut view.key {
                key.custody = Some(Custody { state: event.state, cause: event.cause });
            }
        }
        Event::CustodyUsed(_) | Event::CustodyRefused(_) => {}
        Event::CheckpointSigned(event) => view.progress = Progress { covered: event.size, uncovered_since: None },
    }
}

// === Tenant ===

fn found(view: &mut View, fact: &Fact<'_>, event: &TenantCreated) {
    let member = |principal: &model::Principal| {
        (principal.fingerprint(), Member { principal: principal.clone(), revoked: None })
    };
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
    });
}

fn govern(view: &mut View, fact: &Fact<'_>, change: impl FnOnce(&mut Governance)) {
    if let Some(governance) = &mut view.governance {
        let governance = Arc::make_mut(governance);
        governance.head = fact.hash;
        change(governance);
    }
}

fn enroll(governance: &mut Governance, event: &PrincipalEnrolled) {
    let member = Member { principal: event.principal.clone(), revoked: None };
    governance.people.insert(event.fingerprint, member);
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

fn adopt(governance: &mut Governance, fact: &Fact<'_>, event: &PolicyAdopted) {
    if let Some(Action::PolicyAdopt(params)) = fact.action {
        governance.admin_quorum = params.policy.admin_quorum;
        governance.policy = Some(InForce { hash: fact.hash, version: event.version, policy: params.policy.clone() });
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

/// The key's state moves.
fn transit(view: &mut View, fact: &Fact<'_>, to: impl FnOnce(KeyState) -> KeyState) {
    touch(view, fact, |key| {
        key.state = to(key.state);
        key.transition = fact.hash;
    });
}

// === Request ===

fn requested(fact: &Fact<'_>, event: &ActivationRequested) -> Request {
    Request {
        hash: fact.hash,
        key_id: event.key_id,
        requested_by: event.requested_by,
        requested_at: fact.time,
        legal_basis: event.legal_basis.clone(),
        affected_systems: event.affected_systems.clone(),
        change_ref: event.change_ref.clone(),
        not_before: event.not_before,
        deactivate_at: event.deactivate_at,
        expires_at: event.expires_at,
        approvals: Vec::new(),
        lapsed: Vec::new(),
        complete: None,
        authorized: None,
        closed: None,
    }
}

fn approve(view: &mut View, fact: &Fact<'_>, event: &ActivationApproved) {
    if let Some(request) = &mut view.request {
        let (hash, by, at) = (fact.hash, event.approved_by, fact.time);
        request.approvals.push(Approval { hash, by, at, expires_at: event.expires_at });
    }
    if is_complete(view, fact.time)
        && let Some(request) = &mut view.request
    {
        request.complete = Some(Mark { hash: fact.hash, at: fact.time });
    }
}

/// Whether the request's approvals make a quorum at this time.
fn is_complete(view: &View, now: Timestamp) -> bool {
    let (Some(governance), Some(key), Some(request)) = (&view.governance, &view.key, &view.request) else {
        return false;
    };
    let rule = governance.policy.as_ref().and_then(|held| held.policy.rule_for(&key.spec));
    rule.is_some_and(|rule| quorum::assess(rule, &quorum::votes(governance, rule, request, now)).is_met())
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

/// Ends the key's open request, where there is one.
fn close(view: &mut View, hash: EventHash, how: Outcome) {
    let (Some(key), Some(request)) = (&mut view.key, &mut view.request) else { return };
    if key.open_request == Some(request.hash) {
        request.closed = Some(Closed { how, hash });
        key.open_request = None;
    }
}
