//! The port to a log: read in order, append at the head or not at all.

use std::future::Future;

use model::{EventType, Sequence, TenantId};

use crate::chain::Head;
use crate::event::Record;

/// A log of events, one stream a tenant.
///
/// The contract, which `conformance` (feature `testing`) holds every implementation to:
///
/// - A record that was reported as recorded is durable, stays at its sequence for ever, and every later read from
///   anywhere sees it. Sequences are 1, 2, 3 … without gaps.
/// - `append` is compare-and-swap on the head: of two writers with the same head, at most one records its batch's first
///   record. A batch is recorded in order, each record only behind the one before it: what stands in the log is a prefix
///   of the batch.
/// - An error from `append` means "not known": any prefix may stand, now or a little later. Whoever gets one reads the
///   log before deciding anything.
pub trait Journal: Send + Sync + 'static {
    /// The newest sequence of a tenant's log; [`Sequence::NONE`] where it is empty.
    fn last(&self, tenant: TenantId) -> impl Future<Output = Result<Sequence, Error>> + Send;

    /// Every tenant that has a log, with its newest sequence. May be a moment old.
    fn tails(&self) -> impl Future<Output = Result<Vec<(TenantId, Sequence)>, Error>> + Send;

    /// The records from `from` on, in order, at most `max` of them, fewer where the log ends or an answer is full; at
    /// least one where there is one.
    fn read(
        &self,
        tenant: TenantId,
        from: Sequence,
        max: usize,
    ) -> impl Future<Output = Result<Vec<Record>, Error>> + Send;

    /// Appends a batch behind `head`.
    fn append(
        &self,
        tenant: TenantId,
        head: Head,
        batch: &[Outgoing],
    ) -> impl Future<Output = Result<Append, Error>> + Send;

    /// The same behind a batch of the same writer's that leads to `head` and whose `append` was begun (looked at once) and
    /// is still under way. It is recorded behind that very batch or not at all.
    fn append_behind(
        &self,
        tenant: TenantId,
        head: Head,
        batch: &[Outgoing],
    ) -> impl Future<Output = Result<Append, Error>> + Send {
        Self::append(self, tenant, head, batch)
    }
}

/// A record on its way into the log.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its type, which names the subject.
    pub event_type: EventType,
    /// The bytes.
    pub record: Record,
}

/// A committed event, as whoever follows hears of it. Nothing is known of it.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Whose.
    pub tenant: TenantId,
    /// Its place in the log.
    pub sequence: Sequence,
    /// The bytes.
    pub record: Record,
}

/// Something that whoever follows hears.
#[derive(Clone, Debug)]
pub enum News {
    /// An event.
    Event(Arrived),
    /// The connection was lost and is back: events may have been missed.
    Reconnected,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// All of it stands.
    Recorded,
    /// The first so many of it stand; then somebody else wrote, and the rest will never stand.
    HeadMoved {
        /// How many of the batch stand.
        recorded: usize,
    },
}

/// Why a log gives no answer. Retryable: the log itself is as it was, or as `append` says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The tenant has no log.
    #[error("there is no log for tenant {0}")]
    NoTenant(TenantId),
    /// The log does not answer, or answered with an error.
    #[error("the log does not answer: {0}")]
    Unavailable(String),
    /// A sequence that must be there is missing.
    #[error("sequence {0} is missing in the log")]
    Hole(Sequence),
    /// The log refuses this writer.
    #[error("the log refuses: {0}")]
    Refused(String),
}
