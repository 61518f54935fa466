//! What comes next: an index over the state, so that nobody has to go looking.
//!
//! Stores keep [`due`] of every entity in order of time. A crash loses nothing: what is due stays due until the event
//! that settles it is recorded.

use model::{KeyState, ServiceRole, Span, Timestamp};

use crate::decide::Duty;
use crate::state::{Governance, Key, Progress, Request, View};

/// How long events may be without a checkpoint while there is traffic.
pub const CHECKPOINT_AFTER: Span = Span::from_secs(2);
/// How many events may be without a checkpoint.
pub const CHECKPOINT_EVERY: u64 = 1_000;

/// Something that a role is to do from a time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// From when on.
    pub at: Timestamp,
    /// What.
    pub duty: Duty,
}

impl Duty {
    /// Whose it is.
    pub fn role(self) -> ServiceRole {
        match self {
            Self::Authorize(_) | Self::AuthorizeRequest(_) => ServiceRole::Approver,
            Self::Activate(_)
            | Self::ActivateMembers(_)
            | Self::Suspend(_)
            | Self::SuspendChildren(_)
            | Self::Destroy(_) => ServiceRole::Activator,
            Self::Lapse(_)
            | Self::LapseRequest(_)
            | Self::Expire(_)
            | Self::Deactivate(_)
            | Self::Warn(_)
            | Self::WarnLapse(_)
            | Self::WarnLapseRequest(_)
            | Self::Deadlines
            | Self::Miss(_) => ServiceRole::Expirer,
            Self::Adopt => ServiceRole::Issuer,
            Self::Apply(_) | Self::Reconcile => ServiceRole::Custodian,
            Self::Checkpoint | Self::Probe | Self::Export => ServiceRole::EvidenceExporter,
        }
    }
}

/// Everything that the entities in this view call for.
pub fn due(view: &View) -> Vec<Due> {
    let mut dues = Vec::new();
    if let Some(key) = &view.key {
        of_key(key, &mut dues);
        if let Some(open) = view.request.as_ref().filter(|request| key.open_request == Some(request.hash)) {
            of_request(open, Some(key), &mut dues);
        }
    }
    if let Some(many) = view.request.as_ref().filter(|request| request.key_id.is_none()) {
        of_request(many, None, &mut dues);
    }
    let own = view.key.as_ref().map(|key| key.id);
    view.others.values().filter(|key| Some(key.id) != own).for_each(|key| of_key(key, &mut dues));
    dues.extend(of_checkpoints(view));
    if let Some(governance) = view.governance.as_deref() {
        of_tenant(governance, &view.progress, &mut dues);
    }
    dues
}

fn of_key(key: &Key, dues: &mut Vec<Due>) {
    let mut push = |at, duty| dues.push(Due { at, duty });
    if !key.is_applied() {
        push(Timestamp::MIN, Duty::Apply(key.id));
    }
    match (key.state, key.expired, key.activation) {
        (KeyState::PreActive, Some(_), _) => push(Timestamp::MIN, Duty::Destroy(key.id)),
        (KeyState::PreActive, None, _) => push(key.expires_at(), Duty::Expire(key.id)),
        (KeyState::Active | KeyState::Suspended, _, Some(activation)) => {
            push(activation.deactivate_at, Duty::Deactivate(key.id));
        }
        _ => {}
    }
    if key.drifted.is_some() && key.state == KeyState::Active {
        push(Timestamp::MIN, Duty::Suspend(key.id));
    }
    if let Some(by) = key.review_by.filter(|_| key.state == KeyState::Active) {
        push(by, Duty::Suspend(key.id));
    }
    if !key.to_suspend.is_empty() {
        push(Timestamp::MIN, Duty::SuspendChildren(key.id));
    }
    if let Some((warn_at, ..)) = key.next_warning() {
        push(warn_at, Duty::Warn(key.id));
    }
    if let Some((at, _)) = key.rotation_to_come() {
        push(at, Duty::Miss(key.id));
    }
}

/// A request that is for one key is known by its key; one for many, by itself.
fn of_request(request: &Request, key: Option<&Key>, dues: &mut Vec<Due>) {
    if request.closed.is_some() {
        return;
    }
    let mut push = |at, for_one: Option<Duty>, for_many: Option<Duty>| {
        let duty = if key.is_some() { for_one } else { for_many };
        dues.extend(duty.map(|duty| Due { at, duty }));
    };
    let (id, hash) = (key.map(|key| key.id), request.hash);
    if request.holds.is_empty() {
        match (request.authorized, request.complete) {
            (Some(authorized), _) => {
                let members = request.manifest.map(|_| Duty::ActivateMembers(hash));
                push(request.not_before.max(authorized.at), id.map(Duty::Activate), members);
            }
            (None, Some(complete)) => push(complete.at, id.map(Duty::Authorize), Some(Duty::AuthorizeRequest(hash))),
            (None, None) => {}
        }
    }
    let approvals_end = request.approvals.iter().map(|approval| request.runs_out(approval)).min();
    if let Some(at) = request.ends_at().into_iter().chain(approvals_end).min() {
        push(at, id.map(Duty::Lapse), Some(Duty::LapseRequest(hash)));
    }
    if let Some((warn_at, ..)) = request.next_warning() {
        push(warn_at, id.map(Duty::WarnLapse), Some(Duty::WarnLapseRequest(hash)));
    }
}

fn of_tenant(governance: &Governance, progress: &Progress, dues: &mut Vec<Due>) {
    let mut push = |at: Option<Timestamp>, duty| dues.extend(at.map(|at| Due { at, duty }));
    push(governance.deadlines.iter().filter_map(|deadline| deadline.next()).min(), Duty::Deadlines);
    push(governance.next_export(), Duty::Export);
    push(governance.reconciliations().map(|(at, _)| at).min(), Duty::Reconcile);
    push((progress.to_adopt > 0).then_some(Timestamp::MIN), Duty::Adopt);
    // Where no key waits, there is nothing to try it on.
    push(governance.next_probe().map(|(at, _)| at).filter(|_| progress.waiting > 0), Duty::Probe);
}

fn of_checkpoints(view: &View) -> Option<Due> {
    let progress = &view.progress;
    let at = match progress.uncovered_since {
        Some(since) => {
            let many = view.chain.tree().size().saturating_sub(progress.covered) >= CHECKPOINT_EVERY;
            if many { since } else { since + CHECKPOINT_AFTER }
        }
        None => progress.next_heartbeat(view.governance.as_deref()?)?,
    };
    Some(Due { at, duty: Duty::Checkpoint })
}
