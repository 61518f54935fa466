//! What a tenant's verified history adds up to, entity by entity, and the part of it that one decision sees.
//!
//! Nothing here is authority by itself: it is a cache of the chain, and can be made anew from it at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use journal::{Chain, Ring};
use model::command::{ActivationRequest, Applicability, Counterpart, HoldKind, Manifest, Readiness, Sealed, Standing};
use model::event::{Assurance, Deadline};
use model::evidence::{ControlPoint, DocumentKind, Drift, Probe, Store};
use model::key::{Common, KeyIdentity, ReasonKind, Template, TenantClass, Traits};
use model::pack::{Fact, Pack};
use model::people::SealingKey;
use model::policy::Rule;
use model::statement::Sealing;
use model::text::{Base64, Text};
use model::{
    Algorithm, CommandId, Digest, EventHash, Fingerprint, KeyId, KeySpec, KeyState, Name, Policy, Principal, Role,
    Sequence, Span, TenantId, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::Rejection;
use crate::conditions::Ready;
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
    /// Every delegation that there was, by its `delegation.granted`.
    #[serde(default)]
    pub delegations: BTreeMap<EventHash, Delegation>,
    /// The facts of the tenant that stand.
    #[serde(default)]
    pub facts: BTreeMap<Name, HeldFact>,
    /// The legal packs declared.
    #[serde(default)]
    pub packs: BTreeMap<Name, DeclaredPack>,
    /// The holds on all activations, by their `activation.held`.
    #[serde(default)]
    pub holds: BTreeMap<EventHash, Hold>,
    /// What is to be done by when.
    #[serde(default)]
    pub deadlines: Vec<TenantDeadline>,
    /// The documents adopted: the newest version of each.
    #[serde(default)]
    pub documents: BTreeMap<Name, AdoptedDocument>,
    /// The key stores registered.
    #[serde(default)]
    pub stores: BTreeMap<Name, RegisteredStore>,
    /// When the evidence that is made by itself was last made.
    #[serde(default)]
    pub schedule: Schedule,
    /// What stores had before: one baseline each, for ever.
    #[serde(default)]
    pub baselines: BTreeMap<Name, Baseline>,
}

/// The keys that a store had before, as admins signed for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// Its `baseline.adopted`.
    pub hash: EventHash,
    /// When the inventory was taken.
    pub taken_at: Timestamp,
    /// What all of the keys have in common.
    pub common: Common,
    /// What stands for their list.
    pub manifest: Manifest,
    /// By when each of them is to be rotated or authorised anew.
    pub rotate_by: Timestamp,
    /// Who adopted it, or the first of them.
    pub adopted_by: Fingerprint,
}

/// A document as adopted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedDocument {
    /// Counts the versions of this name from 1.
    pub version: u32,
    /// What it is.
    pub kind: DocumentKind,
    /// Its title.
    pub title: Text,
    /// The SHA-256 of its text.
    pub document: Digest,
    /// The points of the control that it is about.
    pub covers: BTreeSet<ControlPoint>,
    /// Who answers for it.
    pub owner: Fingerprint,
    /// Until when it must be looked at again.
    pub review_by: Timestamp,
    /// Whether its whole text was in the log when it was adopted.
    pub in_log: bool,
    /// Its `document.adopted`.
    pub hash: EventHash,
}

/// The most stores that a tenant has registered, and that are compared with its chain.
pub const STORES_MAX: usize = 64;

/// A key store as registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredStore {
    /// The store.
    pub store: Store,
    /// Its `store.registered`.
    pub hash: EventHash,
}

/// When the evidence that is made by itself was last made. Where it was not yet: the moment from which its period counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// A bundle; `None` where the policy asks for none.
    pub export: Option<Timestamp>,
    /// Each probe; none where the policy asks for none.
    pub probes: BTreeMap<Probe, Timestamp>,
    /// The comparison of each store with the chain: of those that keys were generated in or that are registered, at most
    /// [`STORES_MAX`].
    pub stores: BTreeMap<Name, Timestamp>,
}

/// One person's vote, given to another for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// Whose vote.
    pub from: Fingerprint,
    /// Who may give it.
    pub to: Fingerprint,
    /// In which roles.
    pub roles: BTreeSet<Role>,
    /// From when on.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// Its `delegation.ended`.
    pub ended: Option<EventHash>,
}

impl Delegation {
    /// Whether it holds at this time.
    pub fn is_standing(&self, now: Timestamp) -> bool {
        self.ended.is_none() && self.not_before <= now && now < self.not_after
    }
}

/// A fact that stands, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFact {
    /// What is so, since when, until when.
    pub fact: Fact,
    /// Who says so.
    pub asserted_by: Fingerprint,
    /// Its `fact.asserted`.
    pub hash: EventHash,
}

/// A legal pack as declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredPack {
    /// The pack.
    pub pack: Pack,
    /// Whether it applies, and why.
    pub applicability: Applicability,
    /// Its `pack.declared`.
    pub hash: EventHash,
    /// Until when the declaration must be looked at again.
    pub review_by: Timestamp,
    /// Its gates, ready to be evaluated.
    #[serde(skip)]
    pub(crate) compiled: Ready,
}

impl DeclaredPack {
    /// Whether its gates hold up activations.
    pub fn is_applied(&self) -> bool {
        matches!(self.applicability, Applicability::Applied(_))
    }
}

/// A freeze.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What kind.
    pub kind: HoldKind,
    /// Where the order or the case is kept.
    pub reference: Text,
    /// Who placed it.
    pub by: Fingerprint,
    /// When.
    pub at: Timestamp,
}

/// Something that the tenant is to do by a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantDeadline {
    /// What.
    pub deadline: Deadline,
    /// The legal pack, where it is about one.
    pub pack: Option<Name>,
    /// The algorithm, where it is about one.
    pub algorithm: Option<Algorithm>,
    /// The document, where it is about one.
    #[serde(default)]
    pub document: Option<Name>,
    /// By when.
    pub at: Timestamp,
    /// When a warning is recorded.
    pub warn_at: Option<Timestamp>,
    /// The event that set the time.
    pub cause: EventHash,
    /// Whether it has passed, and that was recorded.
    pub missed: bool,
}

impl TenantDeadline {
    /// What of, whatever its time.
    pub fn subject(&self) -> DeadlineOf<'_> {
        let (pack, document) = (self.pack.as_ref(), self.document.as_ref());
        DeadlineOf { deadline: self.deadline, pack, algorithm: self.algorithm, document }
    }

    /// When something is next to be recorded of it.
    pub fn next(&self) -> Option<Timestamp> {
        let missed = (!self.missed).then_some(self.at);
        missed.into_iter().chain(self.warn_at).min()
    }
}

/// What tells one deadline of a tenant from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlineOf<'a> {
    /// What.
    pub deadline: Deadline,
    /// The legal pack, where it is about one.
    pub pack: Option<&'a Name>,
    /// The algorithm, where it is about one.
    pub algorithm: Option<Algorithm>,
    /// The document, where it is about one.
    pub document: Option<&'a Name>,
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
    /// The key to which its shares of sealed keys are sealed.
    #[serde(default)]
    pub sealing_key: Option<SealingKey>,
}

impl Member {
    /// Enrolled just now.
    pub fn new(principal: Principal) -> Self {
        Self { principal, revoked: None, sealing_key: None }
    }
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
    /// The rule for keys of these traits.
    pub fn rule_for(&self, traits: &Traits<'_>) -> Result<&Rule, Rejection> {
        self.policy.rule_for(traits).ok_or_else(|| no_rule(traits))
    }

    /// The rule for a key in use: that for emergencies where it was activated in one and the policy still has such a rule,
    /// else the everyday one.
    pub fn rule_in_use(&self, key: &Key, request: Option<&Request>) -> Result<&Rule, Rejection> {
        let activated =
            |request: &&Request| key.activation.is_some_and(|activation| activation.request == request.hash);
        let rule = request.filter(activated).and_then(|request| request.rule(&self.policy, Some(key)));
        rule.map_or_else(|| self.rule_for(&key.spec.traits()), Ok)
    }

    /// The rule that a request is under.
    pub fn rule_of(&self, request: &Request, key: Option<&Key>) -> Result<&Rule, Rejection> {
        let rule = request.rule(&self.policy, key);
        rule.ok_or_else(|| match request.traits(key) {
            Some(traits) => no_rule(&traits),
            None => Rejection::new(ProblemType::UnknownKey, "the request's key is not known"),
        })
    }
}

fn no_rule(traits: &Traits<'_>) -> Rejection {
    let Traits { workload, responsibility, backend, .. } = traits;
    let detail = format!("workload `{workload}`, layer `{responsibility}`, backend `{backend}`");
    Rejection::new(ProblemType::NoRule, detail)
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
            Some(Member { revoked: Some(_), principal, .. }) => {
                let detail = format!("`{}` ({who}) was revoked", principal.label);
                Rejection::new(ProblemType::PrincipalRevoked, detail).err()
            }
            Some(member) => Ok(&member.principal),
        }
    }

    /// How often a checkpoint is signed at least; `None` where the chain's rules know no heartbeat.
    pub fn heartbeat(&self) -> Option<Span> {
        let policy = self.policy.as_ref().and_then(|held| held.policy.evidence.heartbeat);
        (self.authority.rules >= 3).then(|| policy.unwrap_or(HEARTBEAT))
    }

    /// When the next bundle is made by itself.
    pub fn next_export(&self) -> Option<Timestamp> {
        let every = self.policy.as_ref()?.policy.evidence.export.as_ref()?.every?;
        Some(self.schedule.export? + every)
    }

    /// When each store is next compared with the chain; none where the policy asks for none.
    pub fn reconciliations(&self) -> impl Iterator<Item = (Timestamp, &Name)> {
        let in_epoch = self.policy.as_ref().filter(|_| self.authority.rules >= 3);
        let every = in_epoch.and_then(|held| held.policy.stores.reconcile_every);
        let stores = self.schedule.stores.iter();
        every.into_iter().flat_map(move |every| stores.clone().map(move |(store, last)| (*last + every, store)))
    }

    /// When the next probe is made, and which.
    pub fn next_probe(&self) -> Option<(Timestamp, Probe)> {
        let every = self.policy.as_ref()?.policy.evidence.probes.as_ref()?.every;
        self.schedule.probes.iter().map(|(probe, last)| (*last + every, *probe)).min()
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
    /// Where it is sealed: how many shares open it, and each share, sealed to its holder.
    #[serde(default)]
    pub sealing: Option<Sealing>,
    /// Where it is sealed: the SHA-256 of the payload of the command that asked for it, to which its shares are bound.
    #[serde(default)]
    pub asked: Option<Digest>,
    /// Who had it generated.
    pub created_by: Fingerprint,
    /// When.
    pub created_at: Timestamp,
    /// Its `key.generated`, or `key.adopted`.
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
    /// The SHA-256 of the custodian's statement that it was generated with; of an adopted key, of its baseline's line.
    pub attestation: Digest,
    /// By when somebody must say that it is still wanted.
    pub revalidate_by: Option<Timestamp>,
    /// The `key.generated` or `key.revalidated` that set that time.
    pub revalidated: EventHash,
    /// How long before its deadlines a warning is recorded.
    pub warn_before: Option<Span>,
    /// The deadlines that were warned of.
    pub warned: BTreeMap<Deadline, Timestamp>,
    /// The facts about it that stand.
    pub facts: BTreeMap<Name, HeldFact>,
    /// The active keys that it wraps.
    pub children: BTreeSet<KeyId>,
    /// Those of them that are to be suspended with it.
    pub to_suspend: BTreeSet<KeyId>,
    /// What consumers said of it, by their keys.
    pub acknowledged: BTreeMap<Fingerprint, Acknowledged>,
    /// Where the key that wraps it is another tenant's: the proof that it was activated.
    pub parent_proof: Option<ParentProof>,
    /// The review that its emergency activation still needs: until when.
    pub review_by: Option<Timestamp>,
    /// That its store has it otherwise than the chain says, where the policy has it suspended for that: the
    /// `custody.drifted`.
    pub drifted: Option<EventHash>,
    /// In what its store was last reported to differ. What is as it was then is not reported again.
    pub last_drift: Option<LastDrift>,
    /// Where the chain did not generate it: how it came in.
    #[serde(default)]
    pub adopted: Option<Adopted>,
}

/// How a key that was there before came into the inventory, and what has become of that since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// The `baseline.adopted`.
    pub baseline: EventHash,
    /// What it computes, by its store's word.
    pub algorithm: Name,
    /// What its store calls it.
    pub label: Text,
    /// When it was made, where its store says so.
    pub made_at: Option<Timestamp>,
    /// By when it is to be rotated or authorised anew.
    pub rotate_by: Timestamp,
    /// The `key.activated` of a key that replaces it.
    pub replaced: Option<EventHash>,
    /// Whether that time has passed without either, and that was recorded.
    pub missed: bool,
}

/// How long before an adopted key is to be rotated a warning is recorded, where the policy does not say.
const ROTATION_WARNED_BEFORE: Span = Span::from_secs(30 * 24 * 3600);

/// In what a store was reported to differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDrift {
    /// In what.
    pub drift: Drift,
    /// What it had.
    pub found: Text,
}

/// What a consumer said of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// How far it is.
    pub readiness: Readiness,
    /// The `consumer.acknowledged`.
    pub hash: EventHash,
}

/// That a key of another tenant was activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentProof {
    /// Its `key.activated` there.
    pub activation: Counterpart,
    /// The root that the proof hangs on.
    pub root: Fingerprint,
    /// When it was brought.
    pub at: Timestamp,
    /// When the parent's use ends.
    pub deactivate_at: Timestamp,
    /// How many events the checkpoint committed to: a newer proof has more.
    pub size: u64,
    /// The `parent.attested`.
    pub hash: EventHash,
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
    /// Whether the store has what the chain says. Nothing is applied to an adopted key.
    pub fn is_applied(&self) -> bool {
        self.adopted.is_some() || self.custody.is_some_and(|custody| custody.cause == self.transition)
    }

    /// Whether it waits for its activation.
    pub fn is_waiting(&self) -> bool {
        self.state == KeyState::PreActive && self.expired.is_none()
    }

    /// Whether it was adopted, and nobody has authorised it since: that it may be used is not evidenced.
    pub fn is_unevidenced(&self) -> bool {
        self.adopted.is_some() && self.activation.is_none()
    }

    /// Whether its activation can be asked for: it waits for it, or is in use without evidence of one.
    pub fn can_be_activated(&self) -> bool {
        self.is_waiting() || (self.is_unevidenced() && self.state == KeyState::Active)
    }

    /// Where it is in use without evidence and nothing has replaced it: by when that must end, and the event that says so.
    pub fn rotation(&self) -> Option<(Timestamp, EventHash)> {
        let in_use = matches!(self.state, KeyState::Active | KeyState::Suspended) && self.is_unevidenced();
        let adopted = self.adopted.as_ref().filter(|adopted| in_use && adopted.replaced.is_none());
        adopted.map(|adopted| (adopted.rotate_by, adopted.baseline))
    }

    /// The same, as long as nobody has recorded that the time has passed.
    pub fn rotation_to_come(&self) -> Option<(Timestamp, EventHash)> {
        self.rotation().filter(|_| self.adopted.as_ref().is_some_and(|adopted| !adopted.missed))
    }

    /// When it expires unless it is activated or revalidated before.
    pub fn expires_at(&self) -> Timestamp {
        self.revalidate_by.map_or(self.pre_active_until, |by| by.min(self.pre_active_until))
    }

    /// The deadlines that it is under: what, when, and the event that set the time.
    pub fn deadlines(&self) -> impl Iterator<Item = (Deadline, Timestamp, EventHash)> {
        let waiting = self.is_waiting();
        let expiry = waiting.then_some((Deadline::Expiry, self.pre_active_until, self.generated));
        let revalidation = self.revalidate_by.filter(|by| waiting && *by < self.pre_active_until);
        let revalidation = revalidation.map(|by| (Deadline::Revalidation, by, self.revalidated));
        let active = matches!(self.state, KeyState::Active | KeyState::Suspended);
        let activation = self.activation.filter(|_| active);
        let end = activation.map(|activation| (Deadline::Deactivation, activation.deactivate_at, activation.hash));
        let review = activation.zip(self.review_by);
        let review = review.map(|(activation, by)| (Deadline::ActivationReview, by, activation.hash));
        let rotation = self.rotation().map(|(at, cause)| (Deadline::Rotation, at, cause));
        expiry.into_iter().chain(revalidation).chain(end).chain(review).chain(rotation)
    }

    /// The next deadline that nobody was warned of, and when the warning is due.
    pub fn next_warning(&self) -> Option<(Timestamp, Deadline, Timestamp, EventHash)> {
        // The policy may say how long ahead; a rotation is warned of in any case.
        let before = |deadline| match deadline {
            Deadline::Rotation => Some(self.warn_before.unwrap_or(ROTATION_WARNED_BEFORE)),
            _ => self.warn_before,
        };
        let unwarned = self.deadlines().filter(|(deadline, at, _)| self.warned.get(deadline) != Some(at));
        let warnings =
            unwarned.filter_map(|(deadline, at, cause)| Some((at.before(before(deadline)?), deadline, at, cause)));
        warnings.min()
    }
}

/// A request for activation and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its `activation.requested`: what approvals are bound to.
    pub hash: EventHash,
    /// The key, where it is for one.
    pub key_id: Option<KeyId>,
    /// Where it is for many: what they have in common.
    pub template: Option<Template>,
    /// What stands for their list.
    pub manifest: Option<Manifest>,
    /// How many keys that are still to come, until when.
    pub standing: Option<Standing>,
    /// How many keys were activated under it.
    pub activated: u32,
    /// Whether it is an emergency.
    pub break_glass: bool,
    /// What it says, beside what stands below: what policy can ask for.
    pub said: Said,
    /// The consumers that must have acknowledged the key.
    pub consumers: BTreeSet<Fingerprint>,
    /// The holds on it, by their `activation.held`.
    pub holds: BTreeMap<EventHash, Hold>,
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
    /// How many of its approvals must bring a share, where its key is sealed.
    #[serde(default)]
    pub threshold: Option<u8>,
    /// The shares that approvals brought, by their `activation.approved`: sealed to the key's store.
    #[serde(default)]
    pub shares: BTreeMap<EventHash, Sealed>,
    /// The approval that completed the quorum, and when.
    pub complete: Option<Mark>,
    /// Its `activation.authorized`, and when.
    pub authorized: Option<Mark>,
    /// Where it ended, if it has.
    pub closed: Option<Closed>,
    /// How long before it, or an approval of it, runs out a warning is recorded.
    #[serde(default)]
    pub warn_before: Option<Span>,
    /// What was warned of: the event that set a time, and that time.
    #[serde(default)]
    pub warned: BTreeMap<EventHash, Timestamp>,
}

impl Request {
    /// As it was asked for.
    pub(crate) fn asked(
        hash: EventHash,
        key_id: Option<KeyId>,
        params: &ActivationRequest,
        requested_by: Fingerprint,
        not_before: Timestamp,
        requested_at: Timestamp,
    ) -> Self {
        Self {
            hash,
            key_id,
            template: params.template.clone(),
            manifest: params.manifest,
            standing: params.standing,
            activated: 0,
            break_glass: params.break_glass,
            said: Said { reason: params.reason.kind, attestation: params.attestation },
            consumers: params.consumers.clone(),
            holds: BTreeMap::new(),
            requested_by,
            requested_at,
            legal_basis: params.legal_basis.clone(),
            affected_systems: params.affected_systems.clone(),
            change_ref: params.change_ref.clone(),
            not_before,
            deactivate_at: params.deactivate_at,
            expires_at: Timestamp::MAX,
            approvals: Vec::new(),
            lapsed: Vec::new(),
            threshold: None,
            shares: BTreeMap::new(),
            complete: None,
            authorized: None,
            closed: None,
            warn_before: None,
            warned: BTreeMap::new(),
        }
    }

    /// What runs out next that nobody was warned of, and when the warning is due: as long ahead as the policy says, and not
    /// before half of its time is over.
    pub fn next_warning(&self) -> Option<(Timestamp, Deadline, Timestamp, EventHash)> {
        let before = self.warn_before.filter(|_| self.closed.is_none())?;
        let own = self.ends_at().map(|at| (Deadline::Request, self.requested_at, at, self.hash));
        let of_approval = |one: &Approval| (Deadline::Approval, one.at, self.runs_out(one), one.hash);
        let ends = own.into_iter().chain(self.approvals.iter().map(of_approval));
        let unwarned = ends.filter(|(_, _, at, cause)| self.warned.get(cause) != Some(at));
        let warning = |(deadline, from, at, cause): (Deadline, Timestamp, Timestamp, EventHash)| {
            (at.before(before).max(from.halfway(at)), deadline, at, cause)
        };
        unwarned.map(warning).min()
    }

    /// When it runs out by itself: while nobody has authorised it, and where it stands for a while, then.
    pub fn ends_at(&self) -> Option<Timestamp> {
        match self.authorized {
            None => Some(self.expires_at),
            Some(_) => self.window(),
        }
    }

    /// When an approval of it runs out. One of what stands for a while is good for that while, once it was authorised.
    pub fn runs_out(&self, approval: &Approval) -> Timestamp {
        match (self.window(), self.authorized) {
            (Some(until), Some(authorized)) if authorized.at < approval.expires_at => until,
            _ => approval.expires_at,
        }
    }

    /// What rules match on: the common traits of its keys, or the traits of its key.
    pub fn traits<'a>(&'a self, key: Option<&'a Key>) -> Option<Traits<'a>> {
        match &self.template {
            Some(template) => Some(template.traits()),
            None => key.map(|key| key.spec.traits()),
        }
    }

    /// The rule that it is under now.
    pub fn rule<'a>(&self, policy: &'a Policy, key: Option<&Key>) -> Option<&'a Rule> {
        let traits = self.traits(key)?;
        if self.break_glass { policy.break_glass_for(&traits) } else { policy.rule_for(&traits) }
    }

    /// How many keys it is for.
    pub fn keys(&self) -> u32 {
        let many = self.manifest.map(|manifest| manifest.count).or(self.standing.map(|standing| standing.count));
        many.unwrap_or(1)
    }

    /// Until when it stands, once it is authorised, as long as its approvals do.
    pub fn window(&self) -> Option<Timestamp> {
        self.standing.map(|standing| standing.until)
    }
}

/// What a request says that a policy may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The kind of its reason.
    pub reason: ReasonKind,
    /// Whether it names the custodian's statement.
    pub attestation: Option<Digest>,
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
    /// Whose vote it is, where it was delegated.
    #[serde(default)]
    pub on_behalf_of: Option<Fingerprint>,
    /// What a hardware key said of whoever signed with it.
    #[serde(default)]
    pub assurance: Option<Assurance>,
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

/// How often a checkpoint is signed at least, where the policy does not say.
pub const HEARTBEAT: Span = Span::from_secs(24 * 3600);

/// How far checkpoints are behind, and what else is counted as the chain goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How many events the newest checkpoint commits to.
    pub covered: u64,
    /// The time of the first event since, checkpoints aside.
    pub uncovered_since: Option<Timestamp>,
    /// When the newest checkpoint was signed.
    pub signed_at: Option<Timestamp>,
    /// How many keys wait for their activation.
    pub waiting: u64,
    /// How many keys of baselines are not taken in yet.
    #[serde(default)]
    pub to_adopt: u64,
}

impl Progress {
    /// When a checkpoint is signed although nothing happened.
    pub fn next_heartbeat(&self, governance: &Governance) -> Option<Timestamp> {
        Some(self.signed_at? + governance.heartbeat()?)
    }
}

/// A checkpoint in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpointed {
    /// How many events it commits to. No two have the same.
    pub size: u64,
    /// The RFC 6962 root over their hashes.
    pub root: Base64,
    /// Its `checkpoint.signed`.
    pub hash: EventHash,
}

/// A document in the log, part by part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The SHA-256 of the whole.
    pub digest: Digest,
    /// How many parts it has.
    pub parts: u16,
    /// The places of the events that carry them.
    pub stored: BTreeMap<u16, Sequence>,
}

impl Document {
    /// Whether every part is in the log.
    pub fn is_complete(&self) -> bool {
        self.stored.len() == usize::from(self.parts)
    }
}

/// What an input or event is about: which entities to load for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// A key.
    pub key: Option<KeyId>,
    /// A request other than the key's open one.
    pub request: Option<EventHash>,
    /// Whether the request that the key was activated under is meant, and not its open one.
    pub activation: bool,
    /// A command.
    pub command: Option<CommandId>,
    /// Other keys. The one of the tenant that wraps the key, and the one that it replaces, are loaded without being named.
    pub others: Vec<KeyId>,
    /// A document.
    pub document: Option<Digest>,
    /// The checkpoint over so many events.
    pub checkpoint: Option<u64>,
}

impl Footprint {
    /// Of a key and its open request.
    pub fn of_key(key: KeyId) -> Self {
        Self { key: Some(key), ..Self::default() }
    }

    /// Of a request that is for no one key.
    pub fn of_request(request: EventHash) -> Self {
        Self { request: Some(request), ..Self::default() }
    }
}

/// Where entities come from: a store, a map in memory, changes on top of either.
pub trait Entities {
    /// What can go wrong.
    type Error;

    /// A key.
    fn key(&self, key: KeyId) -> Result<Option<Key>, Self::Error>;

    /// A request.
    fn request(&self, request: EventHash) -> Result<Option<Request>, Self::Error>;

    /// What a command led to.
    fn receipt(&self, command: CommandId) -> Result<Option<Receipt>, Self::Error>;

    /// A document.
    fn document(&self, document: Digest) -> Result<Option<Document>, Self::Error>;

    /// The checkpoint over so many events.
    fn checkpoint(&self, size: u64) -> Result<Option<Checkpointed>, Self::Error>;
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
    /// The request named, or the key's open one, or the one that it was activated under, where that is asked for.
    pub request: Option<Request>,
    /// What the command named led to.
    pub receipt: Option<(CommandId, Receipt)>,
    /// Other keys: the one that wraps the key, the one that it replaces, and those that were named.
    pub others: BTreeMap<KeyId, Key>,
    /// The document named.
    pub document: Option<Document>,
    /// The checkpoint named, or the one that was just signed.
    pub checkpoint: Option<Checkpointed>,
}

impl View {
    /// Of a tenant without history.
    pub fn empty(tenant: TenantId) -> Self {
        Self::of(Chain::new(tenant), Progress::default(), None)
    }

    /// Of a tenant that stands there, without any of its entities.
    pub fn of(chain: Chain, progress: Progress, governance: Option<Arc<Governance>>) -> Self {
        let (others, document, checkpoint) = (BTreeMap::new(), None, None);
        Self { chain, progress, governance, key: None, request: None, receipt: None, others, document, checkpoint }
    }

    /// Loads what a decision with this footprint sees: the one place that says so.
    pub fn load<E: Entities>(mut self, from: &E, footprint: &Footprint) -> Result<Self, E::Error> {
        self.key = footprint.key.map(|key| from.key(key)).transpose()?.flatten();
        let of_key = |key: &Key| match footprint.activation {
            true => key.activation.map(|activation| activation.request),
            false => key.open_request,
        };
        let request = footprint.request.or(self.key.as_ref().and_then(of_key));
        self.request = request.map(|request| from.request(request)).transpose()?.flatten();
        if let Some(command) = footprint.command {
            self.receipt = from.receipt(command)?.map(|receipt| (command, receipt));
        }
        let named = self.key.as_ref().map(|key| [key.spec.parent_here(), key.spec.replaces()]);
        let named = named.into_iter().flatten().flatten();
        for other in footprint.others.iter().copied().chain(named) {
            if let Some(key) = from.key(other)? {
                self.others.insert(other, key);
            }
        }
        self.document = footprint.document.map(|document| from.document(document)).transpose()?.flatten();
        self.checkpoint = footprint.checkpoint.map(|size| from.checkpoint(size)).transpose()?.flatten();
        Ok(self)
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

    /// The key of this tenant that wraps the key.
    pub fn parent(&self) -> Option<&Key> {
        self.others.get(&self.key.as_ref()?.spec.parent_here()?)
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
