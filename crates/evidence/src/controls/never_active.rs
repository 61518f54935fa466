//! "This key was never active between then and then": a statement that anybody can check, with the events that bound it.

use model::{KeyId, KeyState, Timestamp};
use serde::Serialize;

use crate::history::{At, History, KeyLife, Step};

/// Whether it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It was not active at any moment.
    Holds,
    /// It was.
    Fails,
    /// The history ends before the time does, so far nothing is against it.
    Open,
}

/// The statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeverActive {
    /// The key.
    pub key_id: KeyId,
    /// From when on.
    pub from: Timestamp,
    /// Until when, this moment not included.
    pub to: Timestamp,
    /// Whether it holds.
    pub verdict: Verdict,
    /// The event that left it in the state in which it was at the beginning; none where there was no such key yet.
    pub before: Option<Bound>,
    /// The changes of its state in between.
    pub within: Vec<Bound>,
    /// The first change afterwards.
    pub after: Option<Bound>,
    /// When its store is known to have followed the state at the beginning; none where no custodian has said so before the
    /// time began.
    pub store_followed: Option<At>,
    /// The last event of the history: between those named here and this one, nothing else changed its state.
    pub read_until: Timestamp,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// The event.
    pub event: At,
    /// The state that it brought.
    pub state: KeyState,
}

impl From<&Step> for Bound {
    fn from(step: &Step) -> Self {
        Self { event: step.at, state: step.state }
    }
}

/// Puts the statement to a history that was read until this time. `None` where it knows no such key: then nothing was ever
/// active under this id.
///
/// Times are those of events. Where the root has set a chain's time back in between, a stretch of activity reaches from the
/// earlier to the later of the times at its ends.
pub fn never_active(
    history: &History,
    read_until: Timestamp,
    key: KeyId,
    from: Timestamp,
    to: Timestamp,
) -> Option<NeverActive> {
    let key = history.keys.get(&key)?;
    let (before, rest): (Vec<&Step>, Vec<&Step>) = key.steps.iter().partition(|step| step.at.time <= from);
    let (within, after): (Vec<&Step>, Vec<&Step>) = rest.into_iter().partition(|step| step.at.time < to);
    let first = before.last().copied();
    let was_active = key.active().iter().any(|(begin, end)| {
        let end = end.map_or(Timestamp::MAX, |end| end.time);
        let (begin, end) = (begin.time.min(end).min(read_until), begin.time.max(end));
        begin < to && end > from
    });
    let verdict = match (was_active, read_until >= to) {
        (true, _) => Verdict::Fails,
        (false, true) => Verdict::Holds,
        (false, false) => Verdict::Open,
    };
    Some(NeverActive {
        key_id: key.id,
        from,
        to,
        verdict,
        before: first.map(Bound::from),
        within: within.into_iter().map(Bound::from).collect(),
        after: after.first().map(|step| Bound::from(*step)),
        store_followed: first.and_then(|step| followed(key, step)).filter(|at| at.time <= from),
        read_until,
    })
}

fn followed(key: &KeyLife, step: &Step) -> Option<At> {
    key.custody_after(&step.at).map(|custody| custody.at)
}
