//! From what is known, what is wanted and the time, to the one event that records it. Or to a refusal.

mod activation;
mod adopt;
mod chain_of_keys;
mod checkpoint;
mod custody;
mod deadline;
mod evidence;
mod facts;
mod generate;
mod hold;
mod operate;
mod people;
mod tenant;
pub mod usage;

use std::sync::Arc;

use journal::command::SignedCommand;
use journal::statement::Stated;
use model::command::REVALIDATED_MAX;
use model::dsse::Envelope;
use model::event::{CustodyDrifted, CustodyReconciled, CustodyRefused, CustodyUsed, Membership, Place};
use model::evidence::{Probe, ProbeOutcome};
use model::statement::Generated;
use model::text::Base64;
use model::{Action, CommandId, Digest, Event, EventHash, KeyId, KeyState, Name, ProblemType, Timestamp, authority};

pub(crate) use activation::may_approve;
pub use chain_of_keys::check_parent;
pub use deadline::next_passed;
pub use evidence::may_export;
pub use generate::may_generate;

use crate::state::{Footprint, View};
use crate::{Rejection, baseline, epoch};

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A person's or workload's command.
    Command(Arc<SignedCommand>),
    /// The founding command of a tenant, and the root's word on who serves it.
    Founding {
        /// `tenant.create`, signed by every first admin.
        command: Arc<SignedCommand>,
        /// The statement in force.
        authority: Authorised,
    },
    /// A newer word of the root.
    Authority(Authorised),
    /// A key that the custodian generated on a person's command.
    Generated {
        /// `key.generate`.
        command: Arc<SignedCommand>,
        /// The custodian's statement.
        statement: Stated<Generated>,
    },
    /// One key of those that a request over a list was for, with the proof that it is one of them.
    Member {
        /// The key.
        key_id: KeyId,
        /// The request.
        request: EventHash,
        /// The proof.
        membership: Membership,
    },
    /// One key of a store's baseline, with the proof that it is one.
    Adopted(Adopting),
    /// What is due: time has passed, or an earlier event calls for it.
    Due(Duty),
    /// The custodian brought a store to a state.
    Applied(Applied),
    /// The custodian's count of uses.
    Used(CustodyUsed),
    /// The custodian's count of refusals.
    Refused(CustodyRefused),
    /// The custodian compared a store with the chain.
    Reconciled(CustodyReconciled),
    /// The custodian found that a store has a key otherwise than the chain says.
    Drifted(CustodyDrifted),
    /// The exporter's signed note over everything so far.
    Checkpoint(String),
    /// The exporter made a bundle.
    Exported {
        /// `evidence.export`, where somebody asked for it.
        command: Option<Arc<SignedCommand>>,
        /// What it made.
        exported: Exported,
    },
    /// The exporter tried something that must be refused.
    Probed {
        /// The command that it tried.
        command: Arc<SignedCommand>,
        /// What came of it.
        probed: Probed,
    },
}

/// A key that is taken into the inventory, as its store's baseline lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopting {
    /// The `baseline.adopted`.
    pub baseline: EventHash,
    /// Its line.
    pub line: baseline::Line,
    /// The line's place in the list.
    pub membership: Membership,
}

/// An authority statement, opened, with the envelope it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorised {
    /// What it says.
    pub statement: authority::Statement,
    /// The envelope, to be carried on.
    pub envelope: Envelope,
}

/// What a custodian reports of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The key.
    pub key_id: KeyId,
    /// The state that the store now has.
    pub state: KeyState,
    /// The store.
    pub store: Name,
    /// Where the key was before.
    pub before: Option<Place>,
    /// Where it is now.
    pub after: Option<Place>,
    /// The transition that was applied.
    pub cause: EventHash,
}

/// What an exporter reports of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The first event of the period under test.
    pub from: u64,
    /// How many events it holds.
    pub size: u64,
    /// The checkpoint over them.
    pub checkpoint: EventHash,
    /// The root over them.
    pub root: Base64,
    /// The SHA-256 of what its manifest says.
    pub manifest: Digest,
    /// The SHA-256 of its `checkpoints.txt`.
    pub checkpoints: Digest,
}

/// What an exporter reports of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// What was tried.
    pub probe: Probe,
    /// What was answered.
    pub outcome: ProbeOutcome,
    /// Where it was refused, why: the end of the problem's type.
    pub problem: Option<Name>,
}

/// What can be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Duty {
    /// The approver: the quorum is complete.
    Authorize(KeyId),
    /// The activator: it is authorised, and its time has come.
    Activate(KeyId),
    /// The expirer: a request or an approval has run out.
    Lapse(KeyId),
    /// The expirer: never activated in time.
    Expire(KeyId),
    /// The expirer: its crypto period has ended.
    Deactivate(KeyId),
    /// The activator: it expired.
    Destroy(KeyId),
    /// The custodian: the store does not have the chain's state.
    Apply(KeyId),
    /// The custodian: a store is to be compared with the chain.
    Reconcile,
    /// The exporter: events without a checkpoint, or none for as long as the heartbeat.
    Checkpoint,
    /// The exporter: what must be refused is to be tried again.
    Probe,
    /// The exporter: a bundle is to be made.
    Export,
    /// The approver: the quorum of a request for many keys is complete.
    AuthorizeRequest(EventHash),
    /// The expirer: a request for many keys, or one of its approvals, has run out.
    LapseRequest(EventHash),
    /// The activator: a request over a list is authorised, and its time has come.
    ActivateMembers(EventHash),
    /// The activator: an emergency activation was not reviewed, the key's parent is in trouble, or its store has it otherwise
    /// than the chain says.
    Suspend(KeyId),
    /// The activator: the parent of these keys is in trouble.
    SuspendChildren(KeyId),
    /// The expirer: a key's deadline comes near.
    Warn(KeyId),
    /// The expirer: a request for one key, or one of its approvals, comes near to its end.
    WarnLapse(KeyId),
    /// The expirer: a request for many keys, or one of its approvals, comes near to its end.
    WarnLapseRequest(EventHash),
    /// The expirer: a deadline of the tenant comes near, or was missed.
    Deadlines,
    /// The issuer: keys of a baseline are to be taken in.
    Adopt,
    /// The expirer: an adopted key was neither rotated nor authorised anew in time.
    Miss(KeyId),
}

impl Duty {
    /// The key it is about.
    pub fn key(self) -> Option<KeyId> {
        match self {
            Self::Authorize(key)
            | Self::Activate(key)
            | Self::Lapse(key)
            | Self::Expire(key)
            | Self::Deactivate(key)
            | Self::Destroy(key)
            | Self::Apply(key)
            | Self::Suspend(key)
            | Self::SuspendChildren(key)
            | Self::Warn(key)
            | Self::WarnLapse(key)
            | Self::Miss(key) => Some(key),
            Self::Reconcile
            | Self::Checkpoint
            | Self::Probe
            | Self::Export
            | Self::AuthorizeRequest(_)
            | Self::LapseRequest(_)
            | Self::ActivateMembers(_)
            | Self::WarnLapseRequest(_)
            | Self::Deadlines
            | Self::Adopt => None,
        }
    }

    /// The request it is about, where that is for many keys.
    pub fn request(self) -> Option<EventHash> {
        match self {
            Self::AuthorizeRequest(request)
            | Self::LapseRequest(request)
            | Self::ActivateMembers(request)
            | Self::WarnLapseRequest(request) => Some(request),
            _ => None,
        }
    }
}

impl Input {
    /// The command in it: the one that it answers, or the one that a probe tried.
    pub fn command(&self) -> Option<&SignedCommand> {
        match self {
            Self::Command(signed)
            | Self::Founding { command: signed, .. }
            | Self::Generated { command: signed, .. }
            | Self::Probed { command: signed, .. } => Some(signed),
            Self::Exported { command, .. } => command.as_deref(),
            _ => None,
        }
    }

    /// By what it is known when it is sent again: the id and the digest of a command, or of a custodian's count. What a probe
    /// tried is spent, and not answered as if it had been done.
    pub fn identity(&self) -> Option<(CommandId, Digest)> {
        match self {
            Self::Probed { command, .. } => {
                let digest = Digest::of(&[b"probe ".as_slice(), command.digest.as_bytes()].concat());
                Some((command.command.id, digest))
            }
            Self::Used(CustodyUsed { report, .. })
            | Self::Refused(CustodyRefused { report, .. })
            | Self::Reconciled(CustodyReconciled { report, .. })
            | Self::Drifted(CustodyDrifted { report, .. }) => Some((*report, Digest::of(report.as_bytes()))),
            _ => self.command().map(|signed| (signed.command.id, signed.digest)),
        }
    }

    /// The root's word in it.
    pub fn authority(&self) -> Option<&Authorised> {
        match self {
            Self::Founding { authority, .. } | Self::Authority(authority) => Some(authority),
            _ => None,
        }
    }

    /// What must be loaded to decide it.
    pub fn footprint(&self) -> Footprint {
        match self {
            Self::Command(signed)
            | Self::Founding { command: signed, .. }
            | Self::Generated { command: signed, .. }
            | Self::Probed { command: signed, .. } => Footprint {
                key: signed.command.key_id,
                request: request_of(&signed.command.action),
                command: Some(signed.command.id),
                activation: of_activation(&signed.command.action),
                others: others_of(&signed.command.action),
                document: document_of(&signed.command.action),
                checkpoint: None,
            },
            Self::Exported { command, exported } => Footprint {
                command: command.as_ref().map(|signed| signed.command.id),
                checkpoint: Some(exported.size),
                ..Footprint::default()
            },
            Self::Member { key_id, request, .. } => Footprint { request: Some(*request), ..Footprint::of_key(*key_id) },
            Self::Adopted(adopting) => Footprint::of_key(adopting.line.key_id),
            Self::Due(duty) => Footprint { key: duty.key(), request: duty.request(), ..Footprint::default() },
            Self::Applied(Applied { key_id, .. }) => Footprint::of_key(*key_id),
            Self::Used(CustodyUsed { key_id, report, .. })
            | Self::Refused(CustodyRefused { key_id, report, .. })
            | Self::Drifted(CustodyDrifted { key_id, report, .. }) => {
                Footprint { command: Some(*report), ..Footprint::of_key(*key_id) }
            }
            Self::Reconciled(CustodyReconciled { report, .. }) => {
                Footprint { command: Some(*report), ..Footprint::default() }
            }
            Self::Authority(_) | Self::Checkpoint(_) => Footprint::default(),
        }
    }
}

/// The request that an action names.
fn request_of(action: &Action) -> Option<EventHash> {
    match action {
        Action::ActivationApprove(approve) => Some(approve.request),
        Action::ActivationReject(reject) => Some(reject.request),
        Action::ActivationCancel(cancel) => Some(cancel.request),
        Action::ActivationHold(hold) => hold.request,
        Action::ActivationRelease(release) => release.request,
        Action::KeyActivate(activate) => activate.standing,
        _ => None,
    }
}

/// Whether an action is about what a key was activated under: who may use it is that rule's to say.
fn of_activation(action: &Action) -> bool {
    matches!(action, Action::ActivationReview(_)) || action.operation().is_some()
}

/// The keys that an action names beside its own.
fn others_of(action: &Action) -> Vec<KeyId> {
    match action {
        Action::KeyGenerate(generate) => generate.spec.parent_here().into_iter().collect(),
        Action::KeyRevalidate(revalidate) => revalidate.keys.iter().copied().take(REVALIDATED_MAX).collect(),
        _ => Vec::new(),
    }
}

/// The document that an action names.
fn document_of(action: &Action) -> Option<Digest> {
    match action {
        Action::DocumentStore(store) => Some(store.document),
        Action::DocumentAdopt(adopt) => Some(adopt.document),
        Action::BaselineAdopt(adopt) => Some(adopt.manifest.document),
        Action::ActivationRequest(request) => request.manifest.map(|manifest| manifest.document),
        _ => None,
    }
}

/// Decides. The same view, input and time always give the same answer, on every machine and for ever: that is what lets
/// a replay decide again and compare.
pub fn decide(view: &View, input: &Input, now: Timestamp) -> Result<Event, Rejection> {
    epoch::known(view, input)?;
    match input {
        Input::Command(signed) => command(view, signed, now),
        Input::Founding { command, authority } => {
            new_command(view, command)?;
            tenant::create(view, command, authority, now)
        }
        Input::Authority(authority) => tenant::change_authority(view, authority, now),
        Input::Generated { command, statement } => generate::record(view, command, statement, now),
        Input::Member { membership, .. } => activation::activate_member(view, membership, now),
        Input::Adopted(adopting) => adopt::key(view, adopting),
        Input::Due(duty) => due(view, *duty, now),
        Input::Applied(applied) => custody::applied(view, applied),
        Input::Used(used) => custody::used(view, used, now),
        Input::Refused(refused) => custody::refused(view, refused, now),
        Input::Reconciled(reconciled) => custody::reconciled(view, reconciled, now),
        Input::Drifted(drifted) => custody::drifted(view, drifted, now),
        Input::Checkpoint(note) => checkpoint::sign(view, note, now),
        Input::Exported { command, exported } => evidence::export(view, command.as_deref(), exported, now),
        Input::Probed { command, probed } => evidence::probe(view, command, probed, now),
    }
}

fn command(view: &View, signed: &SignedCommand, now: Timestamp) -> Result<Event, Rejection> {
    new_command(view, signed)?;
    match &signed.command.action {
        Action::PrincipalEnroll(params) => people::enroll(view, signed, params, now),
        Action::PrincipalChange(params) => people::change(view, signed, params, now),
        Action::PrincipalRevoke(params) => people::revoke(view, signed, params, now),
        Action::PrincipalRotate(params) => people::rotate(view, signed, params, now),
        Action::PrincipalEquip(params) => people::equip(view, signed, params, now),
        Action::DelegationGrant(params) => people::delegate(view, signed, params, now),
        Action::DelegationEnd(params) => people::end_delegation(view, signed, params, now),
        Action::AccessReview(params) => people::review_access(view, signed, params, now),
        Action::PolicyAdopt(params) => people::adopt_policy(view, signed, params, now),
        Action::PackDeclare(params) => people::declare_pack(view, signed, params, now),
        Action::FactAssert(params) => facts::assert(view, signed, params, now),
        Action::FactWithdraw(params) => facts::withdraw(view, signed, params, now),
        Action::DocumentStore(params) => facts::store(view, signed, params, now),
        Action::DocumentAdopt(params) => evidence::adopt_document(view, signed, params, now),
        Action::StoreRegister(params) => evidence::register_store(view, signed, params, now),
        Action::BaselineAdopt(params) => adopt::baseline(view, signed, params, now),
        Action::ControlEvaluate(params) => evidence::evaluate(view, signed, params, now),
        Action::KeyRevalidate(params) => facts::revalidate(view, signed, params, now),
        Action::ActivationHold(params) => hold::place(view, signed, params, now),
        Action::ActivationRelease(params) => hold::lift(view, signed, params, now),
        Action::ActivationReview(params) => activation::review(view, signed, params, now),
        Action::ConsumerAcknowledge(params) => chain_of_keys::acknowledge(view, signed, params, now),
        Action::ParentAttest(params) => chain_of_keys::attest(view, signed, params, now),
        Action::ActivationRequest(params) => activation::request(view, signed, params, now),
        Action::ActivationApprove(params) => activation::approve(view, signed, params, now),
        Action::ActivationReject(params) => activation::reject(view, signed, params, now),
        Action::ActivationCancel(params) => activation::cancel(view, signed, params, now),
        Action::KeyActivate(params) => activation::activate_on_command(view, signed, params, now),
        Action::KeySuspend(params) => operate::suspend(view, signed, params, now),
        Action::KeyResume(params) => operate::resume(view, signed, params, now),
        Action::KeyDeactivate(params) => operate::deactivate(view, signed, params, now),
        Action::KeyCompromise(params) => operate::compromise(view, signed, params, now),
        Action::KeyDestroy(params) => operate::destroy(view, signed, params, now),
        Action::TenantCreate(_)
        | Action::KeyGenerate(_)
        | Action::EvidenceExport(_)
        | Action::KeyProve(_)
        | Action::UseEncrypt(_)
        | Action::UseDecrypt(_)
        | Action::UseSign(_)
        | Action::UseVerify(_)
        | Action::UseWrap(_)
        | Action::UseUnwrap(_) => {
            let detail = format!("`{}` is not recorded by itself", signed.command.action.name());
            Rejection::new(ProblemType::UnknownAction, detail).err()
        }
    }
}

fn due(view: &View, duty: Duty, now: Timestamp) -> Result<Event, Rejection> {
    match duty {
        Duty::Authorize(_) | Duty::AuthorizeRequest(_) => activation::authorize(view, now),
        Duty::Activate(_) => activation::activate_when_due(view, now),
        Duty::Lapse(_) | Duty::LapseRequest(_) => activation::lapse(view, now),
        Duty::Suspend(_) => operate::suspend_by_itself(view, now),
        Duty::Warn(_) => deadline::warn_of_key(view, now),
        Duty::WarnLapse(_) | Duty::WarnLapseRequest(_) => deadline::warn_of_request(view, now),
        Duty::Deadlines => deadline::of_tenant(view, now),
        Duty::Miss(_) => deadline::missed_of_key(view, now),
        Duty::Expire(_) => operate::expire(view, now),
        Duty::Deactivate(_) => operate::end_crypto_period(view, now),
        Duty::Destroy(_) => operate::destroy_expired(view),
        // The custodian and the exporter answer these with reports of their own.
        Duty::Apply(_) | Duty::Reconcile | Duty::Checkpoint | Duty::Probe | Duty::Export => {
            nothing_due("that is answered with a report").err()
        }
        // The activator and the issuer answer these key by key.
        Duty::Adopt | Duty::ActivateMembers(_) | Duty::SuspendChildren(_) => {
            nothing_due("that is done key by key").err()
        }
    }
}

/// Refuses a command of another tenant, and one that was recorded before: a replayed command makes no second event,
/// whoever records it.
fn new_command(view: &View, signed: &SignedCommand) -> Result<(), Rejection> {
    let command = &signed.command;
    if command.tenant != view.chain.tenant() {
        let detail = format!("it is for {}", command.tenant);
        return Rejection::new(ProblemType::WrongTenant, detail).err();
    }
    new_id(view, command.id)
}

/// Refuses an id that was recorded before: of a command, or of a custodian's count.
fn new_id(view: &View, id: CommandId) -> Result<(), Rejection> {
    match view.receipt {
        Some((known, receipt)) if known == id => {
            let detail = format!("{id} was recorded at {}", receipt.sequence.0);
            Rejection::new(ProblemType::CommandIdReused, detail).with("recorded_by", receipt.hash.to_string()).err()
        }
        _ => Ok(()),
    }
}

/// Refuses a command that was signed when things stood otherwise.
fn unchanged(signed_against: EventHash, head: EventHash) -> Result<(), Rejection> {
    if signed_against == head {
        return Ok(());
    }
    let detail = format!("it was signed against {}, and things stand at {}", signed_against.short(), head.short());
    Rejection::new(ProblemType::StateChanged, detail).with("head", head.to_string()).err()
}

fn nothing_due(why: &str) -> Rejection {
    Rejection::new(ProblemType::NothingDue, why)
}

fn not_yet(at: Timestamp) -> Rejection {
    Rejection::new(ProblemType::NotYetDue, format!("not before {at}")).with("at", at.to_string())
}
