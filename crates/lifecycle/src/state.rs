//! What a tenant's verified history adds up to, entity by entity, and the part of it that one decision sees.
//!
//! Nothing here is authority by itself: it is a cache of the chain, and can be made anew from it at any time.

use std::collections::BTreeMap;
use std::sync::Arc;

use journal::{Chain, Ring};
use model::key::{KeyIdentity, TenantClass};
use model::policy::Rule;
use model::text::{Base64, Text};
use model::{
    CommandId, Digest, EventHash, Fingerprint, KeyId, KeySpec, KeyState, Name, Policy, Principal, Sequence, TenantId,
    Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::Rejection;
use model::ProblemType;

/// The tenant's people, policy and authority: what holds for all of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Governance {
    /// Whose.
    pub tenant: TenantId,
    /// A name for people.
    pub name: Name,
    /// Which party of the AI supply chain it is.
    pub class: TenantClass,
    /// The last event that changed any of this: what administrative commands are signed against.
    pub head: EventHash,
    /// The authority statement in force.
    pub authority: Authority,
    /// How many admins govern together.
    pub admin_quorum: u8,
    /// Everyone who is or was enrolled.
    pub people: BTreeMap<Fingerprint, Member>,
    /// The policy in force.
    pub policy: Option<InForce>,
}

/// The authority statement in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Whose word it is.
    pub root: Fingerprint,
    /// Its rules epoch.
    pub rules: u32,
    /// Its epoch and its keys.
    pub ring: Ring,
}

/// Somebody who is or was enrolled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who, with the roles held now.
    pub principal: Principal,
    /// The event that revoked it. For good.
    pub revoked: Option<EventHash>,
}

/// A policy and the event that adopted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Hash of its `policy.adopted`.
    pub hash: EventHash,
    /// Counts the tenant's policies from 1.
    pub version: u32,
    /// The document.
    pub policy: Policy,
}

impl InForce {
    /// The rule for this key.
    pub fn rule_for(&self, spec: &KeySpec) -> Result<&Rule, Rejection> {
        let detail =
            || format!("workload `{}`, layer `{}`, backend `{}`", spec.workload, spec.responsibility, spec.backend);
        self.policy.rule_for(spec).ok_or_else(|| Rejection::new(ProblemType::NoRule, detail()))
    }
}

impl Governance {
    /// The policy in force.
    pub fn policy(&self) -> Result<&InForce, Rejection> {
        let missing = || Rejection::new(ProblemType::NoPolicy, "no policy was adopted yet");
        self.policy.as_ref().ok_or_else(missing)
    }

    /// Somebody who is enrolled and not revoked.
    pub fn member(&self, who: Fingerprint) -> Result<&Principal, Rejection> {
        match self.people.get(&who) {
            None => Rejection::new(ProblemType::UnknownPrincipal, format!("{who} is not enrolled")).err(),
            Some(Member { revoked: Some(_), principal }) => {
                let detail = format!("`{}` ({who}) was revoked", principal.label);
                Rejection::new(ProblemType::PrincipalRevoked, detail).err()
            }
            Some(member) => Ok(&member.principal),
        }
    }

    /// Those who are enrolled and not revoked.
    pub fn members(&self) -> impl Iterator<Item = &Principal> {
        self.people.values().filter(|member| member.revoked.is_none()).map(|member| &member.principal)
    }
}

/// A key and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// What it is for.
    pub spec: KeySpec,
    /// By what it is recognised.
    pub identity: KeyIdentity,
    /// The key store that has it.
    pub store: Name,
    /// The store's X25519 key, to which input for uses is sealed: it also tells one store from another of the same name.
    pub seal_key: Base64,
    /// Who had it generated.
    pub created_by: Fingerprint,
    /// When.
    pub created_at: Timestamp,
    /// Its `key.generated`.
    pub generated: EventHash,
    /// Its state.
    pub state: KeyState,
    /// The event that brought it there.
    pub transition: EventHash,
    /// Its last event of any kind but custody's: what commands on it are signed against.
    pub head: EventHash,
    /// When it expires unless it was activated before.
    pub pre_active_until: Timestamp,
    /// Its `key.expired`.
    pub expired: Option<EventHash>,
    /// The `activation.requested` that is open.
    pub open_request: Option<EventHash>,
    /// Its activation.
    pub activation: Option<Activation>,
    /// What the store was last known to have: a state, and the event it was applied for.
    pub custody: Option<Custody>,
}

/// A key's activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// Its `key.activated`.
    pub hash: EventHash,
    /// When.
    pub at: Timestamp,
    /// When use ends.
    pub deactivate_at: Timestamp,
    /// Its request.
    pub request: EventHash,
}

/// What a store was last known to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Custody {
    /// The state.
    pub state: KeyState,
    /// The transition that was applied.
    pub cause: EventHash,
}

impl Key {
    /// Whether the store has what the chain says.
    pub fn is_applied(&self) -> bool {
        self.custody.is_some_and(|custody| custody.cause == self.transition)
    }
}

/// A request for activation and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its `activation.requested`: what approvals are bound to.
    pub hash: EventHash,
    /// The key.
    pub key_id: KeyId,
    /// Who asked.
    pub requested_by: Fingerprint,
    /// When.
    pub requested_at: Timestamp,
    /// The provisions it rests on.
    pub legal_basis: Vec<Text>,
    /// The systems and services that will use the key.
    pub affected_systems: Vec<Text>,
    /// The change it belongs to.
    pub change_ref: Option<Text>,
    /// Not to be activated before this time.
    pub not_before: Timestamp,
    /// To be deactivated at this time.
    pub deactivate_at: Option<Timestamp>,
    /// When it lapses unless it was authorised before.
    pub expires_at: Timestamp,
    /// Approvals that have not lapsed, in order.
    pub approvals: Vec<Approval>,
    /// Approvals that have.
    pub lapsed: Vec<Approval>,
    /// The approval that completed the quorum, and when.
    pub complete: Option<Mark>,
    /// Its `activation.authorized`, and when.
    pub authorized: Option<Mark>,
    /// Where it ended, if it has.
    pub closed: Option<Closed>,
}

/// An event and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The event.
    pub hash: EventHash,
    /// Its time.
    pub at: Timestamp,
}

/// An approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Its `activation.approved`.
    pub hash: EventHash,
    /// Who.
    pub by: Fingerprint,
    /// When.
    pub at: Timestamp,
    /// When it runs out, by the policy under which it was given.
    pub expires_at: Timestamp,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// In what.
    pub how: Outcome,
    /// The event.
    pub hash: EventHash,
}

/// How a request can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The key was activated.
    Activated,
    /// Somebody said no.
    Rejected,
    /// It was taken back.
    Cancelled,
    /// It ran out.
    Lapsed,
    /// The key left pre-activation another way.
    KeyGone,
}

/// What a command led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The SHA-256 of its payload.
    pub digest: Digest,
    /// The event that carries it.
    pub hash: EventHash,
    /// Its place.
    pub sequence: Sequence,
}

/// How far checkpoints are behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How many events the newest checkpoint commits to.
    pub covered: u64,
    /// The time of the first event since, checkpoints aside.
    pub uncovered_since: Option<Timestamp>,
}

/// What an input or event is about: which entities to load for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// A key.
    pub key: Option<KeyId>,
    /// A request other than the key's open one.
    pub request: Option<EventHash>,
    /// A command.
    pub command: Option<CommandId>,
}

/// The part of a tenant's state that one decision sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The chain's form: head, time, tree.
    pub chain: Chain,
    /// How far checkpoints are behind.
    pub progress: Progress,
    /// People, policy, authority; `None` before the first event.
    pub governance: Option<Arc<Governance>>,
    /// The key named, where there is one.
    pub key: Option<Key>,
    /// The request named, or the key's open one.
    pub request: Option<Request>,
    /// What the command named led to.
    pub receipt: Option<(CommandId, Receipt)>,
}

impl View {
    /// Of a tenant without history.
    pub fn empty(tenant: TenantId) -> Self {
        let chain = Chain::new(tenant);
        Self { chain, progress: Progress::default(), governance: None, key: None, request: None, receipt: None }
    }

    /// The tenant's governance.
    pub fn governance(&self) -> Result<&Governance, Rejection> {
        let unknown = || Rejection::new(ProblemType::UnknownTenant, format!("{} has no history", self.chain.tenant()));
        self.governance.as_deref().ok_or_else(unknown)
    }

    /// The key.
    pub fn key(&self) -> Result<&Key, Rejection> {
        self.key
            .as_ref()
            .ok_or_else(|| Rejection::new(ProblemType::UnknownKey, "no key with this id was generated here"))
    }

    /// The request, open.
    pub fn open_request(&self) -> Result<&Request, Rejection> {
        match &self.request {
            None => Rejection::new(ProblemType::UnknownRequest, "no request with this hash, or none open").err(),
            Some(Request { closed: Some(closed), hash, .. }) => {
                let detail = format!("request {} ended: {:?}", hash.short(), closed.how);
                Rejection::new(ProblemType::RequestClosed, detail).with("closed_by", closed.hash.to_string()).err()
            }
            Some(request) => Ok(request),
        }
    }
}
