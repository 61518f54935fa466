//! What comes next: an index over the state, so that nobody has to go looking.
//!
//! Stores keep [`due`] of every entity in order of time. A crash loses nothing: what is due stays due until the event
//! that settles it is recorded.

use model::{KeyState, ServiceRole, Span, Timestamp};

use crate::decide::Duty;
use crate::state::{Key, Progress, Request, View};

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
            Self::Authorize(_) => ServiceRole::Approver,
            Self::Activate(_) | Self::Destroy(_) => ServiceRole::Activator,
            Self::Lapse(_) | Self::Expire(_) | Self::Deactivate(_) => ServiceRole::Expirer,
            Self::Apply(_) => ServiceRole::Custodian,
            Self::Checkpoint => ServiceRole::EvidenceExporter,
        }
    }
}

/// Everything that the entities in this view call for.
pub fn due(view: &View) -> Vec<Due> {
    let mut dues = Vec::new();
    if let Some(key) = &view.key {
        let open = view.request.as_ref().filter(|request| key.open_request == Some(request.hash));
        of_key(key, open, &mut dues);
    }
    dues.extend(of_progress(&view.progress, view.chain.tree().size()));
    dues
}

fn of_key(key: &Key, open: Option<&Request>, dues: &mut Vec<Due>) {
    let mut push = |at, duty| dues.push(Due { at, duty });
    if !key.is_applied() {
        push(Timestamp::MIN, Duty::Apply(key.id));
    }
    match (key.state, key.expired, key.activation) {
        (KeyState::PreActive, Some(_), _) => push(Timestamp::MIN, Duty::Destroy(key.id)),
        (KeyState::PreActive, None, _) => push(key.pre_active_until, Duty::Expire(key.id)),
        (KeyState::Active | KeyState::Suspended, _, Some(activation)) => {
            push(activation.deactivate_at, Duty::Deactivate(key.id));
        }
        _ => {}
    }
    let Some(request) = open else { return };
    match (request.authorized, request.complete) {
        (Some(authorized), _) => push(request.not_before.max(authorized.at), Duty::Activate(key.id)),
        (None, Some(complete)) => push(complete.at, Duty::Authorize(key.id)),
        (None, None) => {}
    }
    let request_ends = request.authorized.is_none().then_some(request.expires_at);
    let approvals_end = request.approvals.iter().map(|approval| approval.expires_at).min();
    if let Some(at) = request_ends.into_iter().chain(approvals_end).min() {
        push(at, Duty::Lapse(key.id));
    }
}

fn of_progress(progress: &Progress, size: u64) -> Option<Due> {
    let since = progress.uncovered_since?;
    let many = size.saturating_sub(progress.covered) >= CHECKPOINT_EVERY;
    Some(Due { at: if many { since } else { since + CHECKPOINT_AFTER }, duty: Duty::Checkpoint })
}
