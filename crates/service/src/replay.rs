//! Replay turns records into changes: signatures are checked in parallel, events are judged in order. It blocks, so call
//! it off the async threads.

use journal::{Record, Ring};
use journal_sled::{Change, Replica};
use lifecycle::judge::UnknownRules;
use lifecycle::{Judgement, Prepared, Void, judge, prepare};
use model::{EventHash, Fingerprint, Sequence, TenantId};
use rayon::prelude::*;
use tracing::{debug, warn};

use crate::Error;
use crate::overlay::Overlay;

/// What reading on came to.
pub struct Replay {
    /// What to commit, in order.
    pub changes: Vec<Change>,
    /// Authentic events in the wrong place: somebody who may sign wrote two histories, or an event was copied.
    pub forks: Vec<Fork>,
    /// Why reading stopped before the end.
    pub stopped: Option<UnknownRules>,
}

/// An authentic event in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// Where it stands.
    pub at: Sequence,
    /// Where it says that it stands.
    pub claims: Sequence,
    /// Its hash.
    pub hash: EventHash,
}

/// Judges records that follow the replica's head.
pub fn replay(replica: &Replica, root: Fingerprint, tenant: TenantId, records: Vec<Record>) -> Result<Replay, Error> {
    let mut overlay = Overlay::new(replica, tenant);
    let mut replay = Replay { changes: Vec::with_capacity(records.len()), forks: Vec::new(), stopped: None };
    let mut rest = records.as_slice();
    while !rest.is_empty() {
        let ring = ring(&overlay)?;
        let prepared: Vec<Prepared> = rest.par_iter().map(|record| prepare(record.clone(), &ring, root)).collect();
        let mut taken = 0;
        for prepared in prepared {
            let changes_ring = prepared.changes_ring();
            match take(&mut overlay, tenant, prepared, &mut replay)? {
                Ok(judgement) => {
                    taken += 1;
                    // The keys in force have changed: the events that follow are checked again under the new ones.
                    if changes_ring && judgement == Judgement::Lawful {
                        break;
                    }
                }
                Err(stopped) => {
                    replay.stopped = Some(stopped);
                    return Ok(replay);
                }
            }
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(replay)
}

fn ring(overlay: &Overlay<'_>) -> Result<Ring, Error> {
    let view = overlay.view(lifecycle::Footprint::default())?;
    Ok(view.governance.map(|governance| governance.authority.ring.clone()).unwrap_or_default())
}

fn take(
    overlay: &mut Overlay<'_>,
    tenant: TenantId,
    prepared: Prepared,
    replay: &mut Replay,
) -> Result<Result<Judgement, UnknownRules>, Error> {
    let before = overlay.view(prepared.footprint())?;
    let mut after = before.clone();
    let judgement = match judge(&mut after, &prepared) {
        Ok(judgement) => judgement,
        Err(unknown) => return Ok(Err(unknown)),
    };
    let head = after.chain.head();
    match &judgement {
        Judgement::Lawful => debug!(%tenant, sequence = head.sequence.0, "event stands"),
        Judgement::Void(void) => {
            warn!(%tenant, sequence = head.sequence.0, hash = %head.hash, %void, "void event");
            if let (Void::Form(form), Some(body)) = (void, prepared.body())
                && form.is_fork()
            {
                replay.forks.push(Fork { at: head.sequence, claims: body.sequence, hash: head.hash });
            }
        }
    }
    overlay.put(&after);
    replay.changes.push(Change { before, after, record: prepared.record });
    Ok(Ok(judgement))
}
