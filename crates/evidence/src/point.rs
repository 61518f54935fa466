//! A history as it stood: replay from the first event up to a point, and no further.

use journal::{Body, Record};
use lifecycle::{Judgement, Prepared};
use model::{Sequence, Timestamp};

use crate::Verifier;

/// A point in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// After the event at this place.
    Sequence(Sequence),
    /// After the last event that is not later than this: before the first that is.
    Time(Timestamp),
}

/// Takes the records that follow into the verifier, none beyond the point. Answers with what became of each, and whether
/// the point was reached: then nothing more is to be read.
///
/// What fails form sets no clock: an event that nobody was entitled to write does not end a replay by the time it claims.
pub fn take_until(
    verifier: &mut Verifier,
    mut records: Vec<Record>,
    until: Point,
) -> (Vec<(Sequence, Prepared, Judgement)>, bool) {
    match until {
        Point::Sequence(last) => {
            let room = last.0.saturating_sub(verifier.state().chain.head().sequence.0);
            records.truncate(usize::try_from(room).unwrap_or(usize::MAX));
            let judged = verifier.take(records);
            (judged, verifier.state().chain.head().sequence >= last)
        }
        Point::Time(at) => before(verifier, records, at),
    }
}

fn before(
    verifier: &mut Verifier,
    mut records: Vec<Record>,
    at: Timestamp,
) -> (Vec<(Sequence, Prepared, Judgement)>, bool) {
    let mut judged = Vec::with_capacity(records.len());
    while !records.is_empty() {
        let later = records.iter().position(|record| claims_later(record, at));
        let rest = records.split_off(later.unwrap_or(records.len()));
        let count = records.len();
        let taken = verifier.take(records);
        let stopped = taken.len() < count;
        judged.extend(taken);
        if stopped {
            return (judged, false);
        }
        records = rest;
        let Some(first) = records.first() else { break };
        let state = verifier.state();
        if lifecycle::prepare(first.clone(), &state.ring(), state.root).passes_form(&state.chain) {
            return (judged, true);
        }
        // Its claim counts for nothing, and it is void.
        let rest = records.split_off(1);
        judged.extend(verifier.take(records));
        records = rest;
    }
    (judged, false)
}

fn claims_later(record: &Record, at: Timestamp) -> bool {
    Body::parse(&record.payload).is_ok_and(|body| body.time > at)
}
