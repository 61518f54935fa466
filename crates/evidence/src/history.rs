//! What a replay adds up to, for those who look back: every key's life with the events behind it, requests, people,
//! policies, packs, stores, and who signed.
//!
//! Fed by a [`Verifier`](crate::Verifier) with every event and the state right after it. Memory grows with the number of
//! keys and of events about them (some hundred bytes each), not with the size of events.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lifecycle::state::Member;
use lifecycle::{Judgement, Prepared, Tenant, Void};
use model::command::HoldKind;
use model::event::{
    ActivationHeld, ActivationMode, ActivationRequested, ConditionHeld, CustodyApplied, CustodyRefused, CustodyUsed,
    DeadlineMissed, Inventory, KeyActivated, KeyGenerated, PackDeclared,
};
use model::key::{KeyIdentity, Operation, Reason, TenantClass};
use model::people::PrincipalKind;
use model::statement::Generated;
use model::text::Text;
use model::{
    Action, Digest, Event, EventHash, EventType, Fingerprint, KeyId, KeySpec, KeyState, Name, Principal, Role,
    Sequence, ServiceRole, Span, Timestamp,
};
use serde::Serialize;

mod adopted;
mod stands;

pub use adopted::{AdoptedKey, Baseline, Standing};
pub use stands::{
    AdoptedDocument, Evaluation, RecordedComparison, RecordedDrift, RecordedExport, RecordedProbe, RegisteredStore,
};

/// An event, by its place, its hash and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct At {
    /// Its place in the chain.
    pub sequence: Sequence,
    /// Its hash.
    pub hash: EventHash,
    /// Its time.
    pub time: Timestamp,
}

/// What has happened to a tenant.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The tenant's name for people.
    pub name: Option<Name>,
    /// Which party of the AI supply chain it is.
    pub class: Option<TenantClass>,
    /// How many events of each type stand.
    pub counts: BTreeMap<EventType, u64>,
    /// Every key that was generated here, in the order of their ids.
    pub keys: BTreeMap<KeyId, KeyLife>,
    /// The baselines, in the order of their adoption.
    pub baselines: Vec<Baseline>,
    /// Every key that was adopted. It is not among `keys`.
    pub adopted: BTreeMap<KeyId, AdoptedKey>,
    /// Every request.
    pub requests: HashMap<EventHash, RequestLife>,
    /// Everyone who is or was enrolled.
    pub people: BTreeMap<Fingerprint, Person>,
    /// The policies, in the order of their adoption.
    pub policies: Vec<AdoptedPolicy>,
    /// The declarations of legal packs, in order.
    pub packs: Vec<DeclaredPack>,
    /// The holds that were placed, in order.
    pub holds: Vec<Hold>,
    /// The documents that were adopted, in order, every version.
    pub documents: Vec<AdoptedDocument>,
    /// The stores that were registered, in order.
    pub stores: Vec<RegisteredStore>,
    /// The probes that were made, in order.
    pub probes: Vec<RecordedProbe>,
    /// Every comparison of a store with the chain.
    pub comparisons: Vec<RecordedComparison>,
    /// Every time that a store had a key otherwise than the chain says.
    pub drifts: Vec<RecordedDrift>,
    /// The evaluations of the control, in order.
    pub evaluations: Vec<Evaluation>,
    /// The bundles that were made, in order.
    pub exports: Vec<RecordedExport>,
    /// The access reviews that were signed.
    pub access_reviews: Vec<At>,
    /// The deadlines of the tenant or of a key that were missed.
    pub missed: Vec<Missed>,
    /// Events that do not stand: somebody tried, or something is broken. At most [`ATTEMPTS_MAX`].
    pub attempts: Vec<Attempt>,
    /// How many more there are.
    pub attempts_more: u64,
    /// The service keys that signed, with what they signed as.
    pub signers: BTreeMap<Fingerprint, Signer>,
    /// The checkpoints in the chain, in order.
    pub checkpoints: Vec<RecordedCheckpoint>,
    /// The commands that events carry, and how many of their signatures were checked.
    pub commands: u64,
    /// Signatures of people and workloads under those.
    pub signatures: u64,
    /// The time of the first event.
    pub begun: Option<Timestamp>,
}

/// How many events that do not stand are kept.
pub const ATTEMPTS_MAX: usize = 1_000;

/// An event that does not stand.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The event. Where its bytes can't be trusted, its time is that of the event before.
    pub at: At,
    /// Its type, where a service key in force signed it and there is such a type.
    pub event_type: Option<EventType>,
    /// The key that it is about, by its own word.
    pub key_id: Option<KeyId>,
    /// The service key that signed it, where one in force did.
    pub signer: Option<Fingerprint>,
    /// Why it does not stand.
    pub reason: String,
}

/// A key's life.
#[derive(Clone, Debug)]
pub struct KeyLife {
    /// Its id.
    pub id: KeyId,
    /// What it is for.
    pub spec: KeySpec,
    /// By what it is recognised.
    pub identity: KeyIdentity,
    /// The key store that has it.
    pub store: Name,
    /// The SHA-256 of the store's key to which input is sealed: it tells one store from another of the same name.
    pub seal_key: Digest,
    /// The wrapping key under which the custodian says that it was generated.
    pub born_under: Option<Name>,
    /// Its `key.generated`.
    pub created: At,
    /// Who had it generated.
    pub created_by: Fingerprint,
    /// Whether that was somebody enrolled in a role that the policy lets create keys, at that time.
    pub creator_role: Option<Role>,
    /// The policy in force then.
    pub policy: EventHash,
    /// When it was to expire unless it was activated before.
    pub pre_active_until: Timestamp,
    /// By when it was to be revalidated, the last time that was set.
    pub revalidate_by: Option<Timestamp>,
    /// Its `key.expired`.
    pub expired: Option<Expiry>,
    /// Its changes of state, in order, the first one its generation.
    pub steps: Vec<Step>,
    /// Its activations. At most one under today's rules.
    pub activations: Vec<Activation>,
    /// What the custodian said of its place, in order.
    pub custody: Vec<Custody>,
    /// Its uses, added up by the activation they were under.
    pub uses: BTreeMap<EventHash, Uses>,
    /// Uses that the custodian reports outside the time in which it was active.
    pub doubts: Vec<Doubt>,
    /// How often a use was refused, by reason.
    pub refused: BTreeMap<Name, u64>,
    /// When somebody said that it was still wanted.
    pub revalidated: Vec<At>,
    /// Everything that was recorded about it, in order; counts of uses once for each run of them.
    pub timeline: Vec<Entry>,
    /// How many events are about it.
    pub events: u64,
    /// The last of them.
    pub last: At,
}

/// The end of a wait.
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    /// Its `key.expired`.
    pub at: At,
    /// When it was due.
    pub due: Timestamp,
    /// Whether it was for want of a revalidation.
    pub unreviewed: bool,
}

/// A use at a time at which the key was not active.
#[derive(Clone, Copy, Debug)]
pub struct Doubt {
    /// Its `custody.used`.
    pub at: At,
    /// What is doubtful.
    pub what: Doubtful,
    /// When it was used, by the custodian's clock.
    pub used: Timestamp,
}

/// What can be doubtful about a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubtful {
    /// It was before the activation.
    Early,
    /// It was after use had ended or was halted.
    Late,
}

/// A change of state.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The event.
    pub at: At,
    /// The state it brought.
    pub state: KeyState,
    /// Who had it done: the first signer of its command; `None` where it came by itself.
    pub by: Option<Fingerprint>,
}

/// An event about a key.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The event.
    pub at: At,
    /// Its type.
    pub event_type: EventType,
    /// The first signer of its command; `None` where a service recorded it by itself.
    pub by: Option<Fingerprint>,
}

/// An activation, with what it rests on.
#[derive(Clone, Debug)]
pub struct Activation {
    /// Its `key.activated`.
    pub at: At,
    /// How it came about.
    pub mode: ActivationMode,
    /// Who set it off.
    pub initiated_by: Fingerprint,
    /// Its `activation.requested`.
    pub request: EventHash,
    /// The approvals that count, in order.
    pub approvals: Vec<Approval>,
    /// How many approvals the rule asked for at least.
    pub needed: u32,
    /// The policy in force.
    pub policy: EventHash,
    /// The rule.
    pub rule: Option<Name>,
    /// The provisions that it rests on.
    pub legal_basis: Vec<Text>,
    /// What will use the key.
    pub affected_systems: Vec<Text>,
    /// The change that it belongs to.
    pub change_ref: Option<Text>,
    /// When its use ends.
    pub deactivate_at: Timestamp,
    /// Which declared legal conditions held.
    pub conditions: Vec<ConditionHeld>,
    /// How many packs were declared as applied then.
    pub packs_applied: usize,
    /// The activation of the key that wraps it, where it names one.
    pub parent: Option<EventHash>,
    /// How many consumers had acknowledged it.
    pub acknowledged: usize,
    /// Where it was an emergency: until when the review must be signed.
    pub review_by: Option<Timestamp>,
    /// Its `activation.reviewed`.
    pub reviewed: Option<At>,
    /// The `custody.applied` in which the custodian says that the store has it active.
    pub confirmed: Option<At>,
    /// Whether the algorithm's own rule allowed `deactivate_at`.
    pub within_crypto_period: bool,
}

/// An approval.
#[derive(Clone, Copy, Debug)]
pub struct Approval {
    /// Its `activation.approved`.
    pub at: At,
    /// Who signed it.
    pub by: Fingerprint,
    /// Whose vote it is, where it was delegated.
    pub on_behalf_of: Option<Fingerprint>,
}

/// A request.
#[derive(Clone, Debug)]
pub struct RequestLife {
    /// Its `activation.requested`.
    pub at: At,
    /// Who asked.
    pub by: Fingerprint,
    /// The key, where it is for one.
    pub key_id: Option<KeyId>,
    /// How many keys it is for.
    pub keys: u32,
    /// The policy's rule.
    pub rule: Name,
    /// Whether it is an emergency.
    pub break_glass: bool,
    /// Why it was asked for.
    pub reason: Reason,
    /// The consumers that must have acknowledged the key.
    pub consumers: BTreeSet<Fingerprint>,
    /// Whether it names the custodian's statement on where the key is kept.
    pub attested: bool,
    /// Every approval that was given, by its hash.
    pub approvals: BTreeMap<EventHash, Approval>,
    /// Its `activation.authorized`.
    pub authorized: Option<At>,
    /// The event that ended it, where that was not an activation.
    pub ended: Option<(EventType, At)>,
    /// Who ended it and why, where somebody did.
    pub ended_by: Option<(Fingerprint, Reason)>,
}

/// A hold: activations that were frozen for a while.
#[derive(Clone, Debug)]
pub struct Hold {
    /// Its `activation.held`.
    pub at: At,
    /// What kind.
    pub kind: HoldKind,
    /// Where the order or the case is kept.
    pub reference: Text,
    /// Who placed it.
    pub by: Fingerprint,
    /// The request that is held; `None` where all activations of the tenant are.
    pub request: Option<EventHash>,
    /// The key, where it is a request for one.
    pub key_id: Option<KeyId>,
    /// Its `activation.released`, and by whom.
    pub released: Option<(At, Fingerprint)>,
}

/// What the custodian said of a key's place.
#[derive(Clone, Debug)]
pub struct Custody {
    /// Its `custody.applied`.
    pub at: At,
    /// The state that the store then had.
    pub state: KeyState,
    /// The store.
    pub store: Name,
    /// The inventory and the wrapping key before.
    pub before: Option<(Inventory, Name)>,
    /// The inventory and the wrapping key since; `None` where it is destroyed.
    pub after: Option<(Inventory, Name)>,
    /// The event that was applied.
    pub cause: EventHash,
}

/// Uses of a key, added up.
#[derive(Clone, Debug)]
pub struct Uses {
    /// The first, by the custodian's clock.
    pub from: Timestamp,
    /// The last.
    pub to: Timestamp,
    /// How often, by operation.
    pub counts: BTreeMap<Operation, u64>,
    /// The event that the first count stands in.
    pub at: At,
    /// The event that the last count stands in.
    pub last: At,
}

/// Somebody who is or was enrolled.
#[derive(Clone, Debug)]
pub struct Person {
    /// Who, with the roles held last.
    pub principal: Principal,
    /// The event that enrolled them.
    pub enrolled: At,
    /// The event that revoked them.
    pub revoked: Option<At>,
}

/// A policy and when it was adopted.
#[derive(Clone, Debug)]
pub struct AdoptedPolicy {
    /// Its `policy.adopted`.
    pub at: At,
    /// Its name.
    pub name: Name,
    /// Its place among the tenant's policies, from 1.
    pub version: u32,
    /// How often keys that wait must be revalidated, where it says so.
    pub revalidates: bool,
    /// Whether it asks for access reviews.
    pub reviews_access: bool,
    /// How often it asks for probes.
    pub probes_every: Option<Span>,
    /// How often it has stores compared with the chain.
    pub reconciles_every: Option<Span>,
    /// Whether it asks for evaluations of the control.
    pub evaluates: bool,
    /// The smallest number of approvals that any of its rules is content with, emergencies aside.
    pub fewest_approvals: u32,
    /// The layers for which there are keys that no rule is for, in words.
    pub gaps: Vec<String>,
}

/// A declaration of a legal pack.
#[derive(Clone, Debug)]
pub struct DeclaredPack {
    /// Its `pack.declared`.
    pub at: At,
    /// The pack.
    pub pack: Name,
    /// Its version.
    pub version: u32,
    /// Whether its gates hold up activations.
    pub applied: bool,
    /// Until when the declaration must be looked at again.
    pub review_by: Timestamp,
    /// Its title.
    pub title: Option<Text>,
    /// Where it comes from.
    pub sources: Vec<Text>,
}

/// A deadline that passed without what was due.
#[derive(Clone, Debug)]
pub struct Missed {
    /// Its `deadline.missed`.
    pub at: At,
    /// What was missed.
    pub what: DeadlineMissed,
}

/// A service key that signed events.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The first of them.
    pub first: At,
    /// The roles that its events name as their source.
    pub roles: BTreeSet<ServiceRole>,
    /// The instances that its events name.
    pub instances: BTreeSet<String>,
    /// How many events it signed.
    pub events: u64,
}

/// A checkpoint in the chain.
#[derive(Clone, Debug)]
pub struct RecordedCheckpoint {
    /// Its `checkpoint.signed`.
    pub at: At,
    /// How many events it commits to.
    pub size: u64,
    /// The signed note.
    pub note: String,
}

impl KeyLife {
    /// Its state at the end.
    pub fn state(&self) -> KeyState {
        self.steps.last().map_or(KeyState::PreActive, |step| step.state)
    }

    /// The stretches of time in which it was active, in order; the last one without an end where it still is.
    pub fn active(&self) -> Vec<(At, Option<At>)> {
        let mut stretches: Vec<(At, Option<At>)> = Vec::new();
        for step in &self.steps {
            match (step.state, stretches.last_mut()) {
                (KeyState::Active, Some((_, None))) => {}
                (KeyState::Active, _) => stretches.push((step.at, None)),
                (_, Some((_, end @ None))) => *end = Some(step.at),
                _ => {}
            }
        }
        stretches
    }

    /// When it left pre-activation, and by what.
    pub fn left_pre_activation(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.state != KeyState::PreActive)
    }

    /// Until when it may wait for its activation, as things stand.
    pub fn waits_until(&self) -> Timestamp {
        self.revalidate_by.map_or(self.pre_active_until, |by| by.min(self.pre_active_until))
    }

    /// What the custodian first said of it after an event.
    pub fn custody_after(&self, event: &At) -> Option<&Custody> {
        self.custody.iter().find(|custody| custody.at.sequence > event.sequence)
    }
}

/// By how much clocks may differ: what a service that appends tolerates of the chain's.
pub const CLOCKS: Span = Span::from_secs(5);

impl History {
    /// Takes an event that the verifier has judged, with the state after it. Void ones are noted, and change nothing.
    pub fn take(&mut self, state: &Tenant, sequence: Sequence, prepared: &Prepared, judgement: &Judgement) {
        if let Judgement::Void(void) = judgement {
            self.attempted(state, sequence, prepared, void);
            return;
        }
        let (Some(event), Some(body)) = (prepared.event(), prepared.body()) else { return };
        let at = At { sequence, hash: prepared.hash, time: body.time };
        self.begun.get_or_insert(at.time);
        *self.counts.entry(event.event_type()).or_default() += 1;
        let new = || Signer { first: at, roles: BTreeSet::new(), instances: BTreeSet::new(), events: 0 };
        let signer = self.signers.entry(body.signer).or_insert_with(new);
        signer.events += 1;
        signer.roles.extend(body.source_role().parse::<ServiceRole>());
        if let Some((_, instance)) = body.source.rsplit_once('/')
            && !signer.instances.contains(instance)
        {
            signer.instances.insert(instance.to_owned());
        }
        let mut by = None;
        if let Some(signed) = prepared.command() {
            self.commands += 1;
            self.signatures += signed.signers.len() as u64;
            by = signed.signers.first().map(|signer| signer.key.fingerprint());
        }
        let action = prepared.command().map(|signed| &signed.command.action);
        self.of_tenant(state, at, event, action);
        self.of_stands(at, event, action);
        self.of_request(at, event);
        self.of_key(state, at, event, by);
    }

    fn attempted(&mut self, state: &Tenant, sequence: Sequence, prepared: &Prepared, void: &Void) {
        if self.attempts.len() >= ATTEMPTS_MAX {
            self.attempts_more += 1;
            return;
        }
        let body = prepared.body();
        let time = body.map_or(state.chain.time(), |body| body.time);
        self.attempts.push(Attempt {
            at: At { sequence, hash: prepared.hash, time },
            event_type: body.and_then(|body| body.event_type.parse().ok()),
            key_id: prepared.event().and_then(Event::key_id),
            signer: body.map(|body| body.signer),
            reason: void.to_string(),
        });
    }

    fn of_tenant(&mut self, state: &Tenant, at: At, event: &Event, action: Option<&Action>) {
        match event {
            Event::TenantCreated(created) => {
                (self.name, self.class) = (Some(created.name.clone()), Some(created.class));
            }
            Event::PolicyAdopted(adopted) => {
                if let Some(in_force) = state.governance.as_ref().and_then(|governance| governance.policy.as_ref()) {
                    self.policies.push(adopted_policy(at, adopted.version, &in_force.policy));
                }
            }
            Event::PackDeclared(declared) => self.packs.push(declared_pack(at, declared, action)),
            Event::AccessReviewed(_) => self.access_reviews.push(at),
            Event::DeadlineMissed(missed) => {
                let adopted = missed.key_id.and_then(|key| self.adopted.get_mut(&key));
                adopted.into_iter().for_each(|key| key.missed = Some(at));
                self.missed.push(Missed { at, what: missed.clone() });
            }
            Event::BaselineAdopted(adopted) => self.baselines.push(adopted::baseline(at, adopted)),
            Event::CheckpointSigned(signed) => {
                self.checkpoints.push(RecordedCheckpoint { at, size: signed.size, note: signed.note.clone() });
            }
            _ => {}
        }
        let governance = state.governance.as_deref();
        let mut of_person = |who: Fingerprint| {
            if let Some(member) = governance.and_then(|governance| governance.people.get(&who)) {
                self.of_person(at, who, member);
            }
        };
        match event {
            Event::TenantCreated(created) => created.admins.iter().map(Principal::fingerprint).for_each(of_person),
            Event::PrincipalEnrolled(enrolled) => of_person(enrolled.fingerprint),
            Event::PrincipalChanged(changed) => of_person(changed.principal),
            Event::PrincipalRevoked(revoked) => of_person(revoked.principal),
            Event::PrincipalRotated(rotated) => {
                [rotated.principal, rotated.fingerprint].into_iter().for_each(of_person)
            }
            _ => {}
        }
    }

    fn of_person(&mut self, at: At, who: Fingerprint, member: &Member) {
        let new = || Person { principal: member.principal.clone(), enrolled: at, revoked: None };
        let person = self.people.entry(who).or_insert_with(new);
        person.principal.clone_from(&member.principal);
        if member.revoked.is_some() && person.revoked.is_none() {
            person.revoked = Some(at);
        }
    }

    fn of_request(&mut self, at: At, event: &Event) {
        let end = |history: &mut Self, request: &EventHash, by: Option<(Fingerprint, &Reason)>| {
            if let Some(request) = history.requests.get_mut(request) {
                request.ended = Some((event.event_type(), at));
                request.ended_by = by.map(|(by, reason)| (by, reason.clone()));
            }
        };
        match event {
            Event::ActivationRequested(requested) => {
                self.requests.insert(at.hash, request_life(at, requested));
            }
            Event::ActivationApproved(approved) => {
                let approval = Approval { at, by: approved.approved_by, on_behalf_of: approved.on_behalf_of };
                if let Some(request) = self.requests.get_mut(&approved.request) {
                    request.approvals.insert(at.hash, approval);
                }
            }
            Event::ActivationAuthorized(authorized) => {
                if let Some(request) = self.requests.get_mut(&authorized.request) {
                    request.authorized = Some(at);
                }
            }
            Event::ActivationRejected(rejected) => {
                end(self, &rejected.request, Some((rejected.rejected_by, &rejected.reason)));
            }
            Event::ActivationCancelled(cancelled) => {
                end(self, &cancelled.request, Some((cancelled.cancelled_by, &cancelled.reason)));
            }
            Event::ActivationLapsed(lapsed) if lapsed.approval.is_none() => end(self, &lapsed.request, None),
            Event::ActivationHeld(held) => self.holds.push(hold(at, held)),
            Event::ActivationReleased(released) => {
                let hold = self.holds.iter_mut().rev().find(|hold| hold.at.hash == released.hold);
                if let Some(hold) = hold {
                    hold.released = Some((at, released.released_by));
                }
            }
            _ => {}
        }
    }

    fn of_key(&mut self, state: &Tenant, at: At, event: &Event, by: Option<Fingerprint>) {
        if let Event::KeyGenerated(generated) = event {
            self.keys.insert(generated.key_id, key_life(state, at, generated));
        }
        if let Event::KeyAdopted(adopted) = event {
            self.adopted.extend(adopted::key(state, at, adopted).map(|key| (adopted.key_id, key)));
        }
        if let Event::KeyActivated(activated) = event {
            let activation = self.activation(state, at, activated);
            let key = self.life_mut(&activated.key_id);
            let replaced = key.and_then(|key| {
                key.activations.push(activation);
                key.spec.replaces()
            });
            if let Some(old) = replaced.and_then(|old| self.adopted.get_mut(&old)) {
                old.replaced.get_or_insert(at);
            }
        }
        if let Event::KeyRevalidated(revalidated) = event {
            for id in &revalidated.keys {
                if let Some(key) = self.keys.get_mut(id) {
                    key.revalidate_by = Some(revalidated.next_by);
                    key.revalidated.push(at);
                    key.timeline.push(Entry { at, event_type: EventType::KeyRevalidated, by });
                    (key.events, key.last) = (key.events + 1, at);
                }
            }
        }
        let Some(key) = event.key_id().and_then(|id| self.life_mut(&id)) else { return };
        (key.events, key.last) = (key.events + 1, at);
        let again = matches!(event, Event::CustodyUsed(_) | Event::CustodyRefused(_))
            && key.timeline.last().is_some_and(|entry| entry.event_type == event.event_type());
        if !again {
            key.timeline.push(Entry { at, event_type: event.event_type(), by });
        }
        if let Some(now) = state.keys.get(&key.id).map(|key| key.state)
            && now != key.state()
        {
            key.steps.push(Step { at, state: now, by });
        }
        match event {
            Event::KeyExpired(expired) => {
                let due = expired.revalidate_by.unwrap_or(expired.pre_active_until);
                key.expired = Some(Expiry { at, due, unreviewed: expired.revalidate_by.is_some() });
            }
            Event::CustodyApplied(applied) => applied_to(key, at, applied),
            Event::CustodyUsed(used) => used_by(key, at, used),
            Event::CustodyRefused(CustodyRefused { reason, refusals, .. }) => {
                *key.refused.entry(reason.clone()).or_default() += refusals.values().sum::<u64>();
            }
            Event::ActivationReviewed(reviewed) => {
                let activation =
                    key.activations.iter_mut().find(|activation| activation.at.hash == reviewed.activation);
                if let Some(activation) = activation {
                    activation.reviewed = Some(at);
                }
            }
            _ => {}
        }
    }

    fn activation(&self, state: &Tenant, at: At, activated: &KeyActivated) -> Activation {
        let request = self.requests.get(&activated.request);
        let approval = |hash: &EventHash| request.and_then(|request| request.approvals.get(hash)).copied();
        let governance = state.governance.as_deref();
        let policy = governance.and_then(|governance| governance.policy.as_ref());
        let rule = request.map(|request| request.rule.clone());
        let in_force = policy.zip(rule.as_ref());
        let rule_in_force =
            in_force.and_then(|(policy, name)| policy.policy.rules.iter().find(|rule| rule.name == *name));
        let packs = governance.map(|governance| &governance.packs);
        let life = self.keys.get(&activated.key_id);
        let life = life.or(self.adopted.get(&activated.key_id).map(|adopted| &adopted.life));
        let period = life.zip(policy).and_then(|(key, policy)| {
            Some(policy.policy.algorithm(key.spec.algorithm)?.period(&key.spec.operations()))
        });
        Activation {
            at,
            mode: activated.mode,
            initiated_by: activated.initiated_by,
            request: activated.request,
            approvals: activated.approvals.iter().filter_map(approval).collect(),
            needed: rule_in_force.map_or(0, fewest),
            policy: activated.policy,
            rule,
            legal_basis: activated.legal_basis.clone(),
            affected_systems: activated.affected_systems.clone(),
            change_ref: activated.change_ref.clone(),
            deactivate_at: activated.deactivate_at,
            conditions: activated.conditions.clone(),
            packs_applied: packs.map_or(0, |packs| packs.values().filter(|pack| pack.is_applied()).count()),
            parent: activated.parent,
            acknowledged: activated.acknowledgements.len(),
            review_by: activated.review_by,
            reviewed: None,
            confirmed: None,
            within_crypto_period: period.is_some_and(|period| activated.deactivate_at <= at.time + period),
        }
    }

    /// What somebody is called: the label of a principal, else the fingerprint.
    pub fn label(&self, who: Fingerprint) -> String {
        self.people.get(&who).map_or_else(|| who.to_string(), |person| person.principal.label.to_string())
    }

    /// Whether this is a person, and not a workload.
    pub fn is_person(&self, who: Fingerprint) -> bool {
        self.people.get(&who).is_some_and(|person| person.principal.kind == PrincipalKind::Person)
    }
}

/// The fewest approvals that fill a rule's stages.
fn fewest(rule: &model::policy::Rule) -> u32 {
    let quorums = rule.stages.iter().map(|stage| u32::from(stage.quorum));
    match rule.need {
        model::policy::Need::All => quorums.sum(),
        model::policy::Need::Any => quorums.min().unwrap_or_default(),
    }
}

fn adopted_policy(at: At, version: u32, policy: &model::Policy) -> AdoptedPolicy {
    let rules = policy.rules.iter().filter(|rule| rule.break_glass.is_none());
    AdoptedPolicy {
        at,
        name: policy.name.clone(),
        version,
        revalidates: policy.keys.revalidation.is_some(),
        reviews_access: policy.people.access_review.is_some(),
        probes_every: policy.evidence.probes.as_ref().map(|probes| probes.every),
        reconciles_every: policy.stores.reconcile_every,
        evaluates: policy.evidence.evaluation.is_some(),
        fewest_approvals: rules.map(fewest).min().unwrap_or_default(),
        gaps: lifecycle::policy::gaps(policy).into_iter().map(|fault| fault.what).collect(),
    }
}

fn declared_pack(at: At, declared: &PackDeclared, action: Option<&Action>) -> DeclaredPack {
    let document = match action {
        Some(Action::PackDeclare(declare)) => Some(&declare.pack),
        _ => None,
    };
    DeclaredPack {
        at,
        pack: declared.pack.clone(),
        version: declared.version,
        applied: declared.applied,
        review_by: declared.review_by,
        title: document.map(|pack| pack.title.clone()),
        sources: document
            .into_iter()
            .flat_map(|pack| pack.sources.iter().map(|source| source.citation.clone()))
            .collect(),
    }
}

fn request_life(at: At, requested: &ActivationRequested) -> RequestLife {
    let many = requested.manifest.map(|manifest| manifest.count);
    RequestLife {
        at,
        by: requested.requested_by,
        key_id: requested.key_id,
        keys: many.or(requested.standing.map(|standing| standing.count)).unwrap_or(1),
        rule: requested.rule.clone(),
        break_glass: requested.break_glass,
        reason: requested.reason.clone(),
        consumers: requested.consumers.clone(),
        attested: requested.attestation.is_some(),
        approvals: BTreeMap::new(),
        authorized: None,
        ended: None,
        ended_by: None,
    }
}

fn hold(at: At, held: &ActivationHeld) -> Hold {
    Hold {
        at,
        kind: held.kind,
        reference: held.reference.clone(),
        by: held.held_by,
        request: held.request,
        key_id: held.key_id,
        released: None,
    }
}

fn key_life(state: &Tenant, at: At, generated: &KeyGenerated) -> KeyLife {
    let governance = state.governance.as_deref();
    let creators =
        governance.and_then(|governance| governance.policy.as_ref()).map(|policy| &policy.policy.keys.creators);
    let member = governance.and_then(|governance| governance.member(generated.created_by).ok());
    let born: Result<Generated, _> = serde_json::from_slice(&generated.statement.payload.0);
    let role = creators.zip(member).and_then(|(creators, member)| member.roles.intersection(creators).next().cloned());
    KeyLife {
        id: generated.key_id,
        spec: generated.spec.clone(),
        identity: generated.identity.clone(),
        store: generated.store.clone(),
        seal_key: Digest::of(&generated.seal_key.0),
        born_under: born.ok().map(|born| born.wrapping_key),
        created: at,
        created_by: generated.created_by,
        creator_role: role,
        policy: generated.policy,
        pre_active_until: generated.pre_active_until,
        revalidate_by: generated.revalidate_by,
        expired: None,
        steps: vec![Step { at, state: KeyState::PreActive, by: Some(generated.created_by) }],
        activations: Vec::new(),
        custody: Vec::new(),
        uses: BTreeMap::new(),
        doubts: Vec::new(),
        refused: BTreeMap::new(),
        revalidated: Vec::new(),
        timeline: Vec::new(),
        events: 0,
        last: at,
    }
}

fn applied_to(key: &mut KeyLife, at: At, applied: &CustodyApplied) {
    let place = |place: &model::event::Place| (place.inventory, place.wrapping_key.clone());
    key.custody.push(Custody {
        at,
        state: applied.state,
        store: applied.store.clone(),
        before: applied.before.as_ref().map(place),
        after: applied.after.as_ref().map(place),
        cause: applied.cause,
    });
    // What the store was brought to after the activation may be a later state already: it was active on the way, or
    // never was, and either way the store has followed.
    let open = key.activations.iter_mut().filter(|activation| activation.confirmed.is_none());
    for activation in open.filter(|activation| activation.at.hash == applied.cause) {
        activation.confirmed = Some(at);
    }
}

fn used_by(key: &mut KeyLife, at: At, used: &CustodyUsed) {
    key.doubts.extend(doubtful(key, at, used));
    let new = || Uses { from: used.from, to: used.to, counts: BTreeMap::new(), at, last: at };
    let uses = key.uses.entry(used.activation).or_insert_with(new);
    (uses.from, uses.to, uses.last) = (uses.from.min(used.from), uses.to.max(used.to), at);
    for (operation, count) in &used.uses {
        *uses.counts.entry(*operation).or_default() += count;
    }
}

/// Whether a count of uses reaches out of the time in which the key was active, as far as its ends can show. One that only
/// undoes or checks what was done may go on after deactivation.
fn doubtful(key: &KeyLife, at: At, used: &CustodyUsed) -> Option<Doubt> {
    let activated = key.activations.iter().find(|activation| activation.at.hash == used.activation)?;
    if used.from + CLOCKS < activated.at.time {
        return Some(Doubt { at, what: Doubtful::Early, used: used.from });
    }
    let last = key.steps.last().filter(|step| step.state != KeyState::Active)?;
    let processes = last.state == KeyState::Deactivated && used.uses.keys().all(|operation| operation.processes_only());
    let late = used.to > last.at.time + CLOCKS && !processes;
    late.then_some(Doubt { at, what: Doubtful::Late, used: used.to })
}
