//! The lane of a tenant: the only place where a decision meets the journal.
//!
//! Jobs queue here while appends are under way, and the next batch is whatever has gathered. Two batches are under way at
//! once: while the log takes the one, the next is decided on top of it and sent behind it. The steps of a batch, and what a
//! crash after each means:
//!
//! 1. *Decide and sign* each job on top of those before it. A crash: nothing happened.
//! 2. *Append* to the log, behind the head that was decided on. **This is the commit point.** A crash before the log has
//!    it: nothing happened, and whoever asked hears nothing and asks again. A crash after: it is recorded; the replica
//!    finds it in the log, and the same command asked again is answered with it.
//! 3. *Apply* to the replica, and hand on to the archive. A crash: as above; both are synced later, and read from the log
//!    what they lack.
//! 4. *Answer*: never before the batch, and so every batch before it, stands.
//!
//! An append that is refused means that somebody else wrote first: the lane catches up, and decides the rest again, with
//! everything that was sent behind it. If the outcome of an append is not known, the log is read before anything else is
//! done, once nothing of ours is on its way any more.

mod begin;
mod settle;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use journal::{Append, Head, Journal, Outgoing};
use journal_sled::Change;
use lifecycle::Rejection;
use model::{ServiceRole, TenantId};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, oneshot};
use tokio::task::JoinHandle;
use tracing::error;

use self::begin::{Begun, begin};
use self::settle::{abandon, settle};
use crate::follow::Inbox;
use crate::lock;
use crate::node::{Node, Recorded, Wanted};
use crate::overlay::Overlay;

/// How many events go into the log at once.
const BATCH: usize = 128;
/// How many batches are recorded before others have their turn at the replica.
const BATCHES_HELD: usize = 8;

/// Something to record.
pub(crate) struct Job {
    pub(crate) role: ServiceRole,
    pub(crate) wanted: Wanted,
    pub(crate) answer: oneshot::Sender<Result<Recorded, Rejection>>,
    pub(crate) attempts: u32,
}

/// One tenant's queue into the log, and the lock on its replica.
#[derive(Default)]
pub(crate) struct Lane {
    queue: Mutex<Queue>,
    /// The events that the follower has for this tenant.
    pub(crate) inbox: Mutex<Inbox>,
    replica: Arc<AsyncMutex<()>>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    driven: bool,
}

/// A job that was decided: what it waits for is the append.
struct Decided {
    job: Job,
    change: Change,
    outgoing: Outgoing,
}

/// A batch as it was decided.
struct Batch {
    head: Head,
    decided: Vec<Decided>,
    /// Jobs that ask for what one of the batch records, by its place: the same command sent twice.
    repeats: Vec<(usize, Job)>,
    /// Jobs that ask for what a batch before this one records, which is under way: good once that stands.
    before: Vec<(Recorded, Job)>,
    /// Refusals. They may rest on what this batch, or one before it, records, and are good once that stands.
    refused: Vec<(Job, Rejection)>,
}

/// A batch that is on its way into the log.
struct UnderWay {
    batch: Batch,
    /// `None` where nothing of it is to be recorded.
    append: Option<JoinHandle<Result<Append, journal::Error>>>,
}

impl Lane {
    /// Queues a job, and says whether nobody drives the lane: then the caller must.
    pub(crate) fn push(&self, job: Job) -> bool {
        let mut queue = lock(&self.queue);
        queue.jobs.push_back(job);
        !std::mem::replace(&mut queue.driven, true)
    }

    /// Takes the lock on the tenant's replica: whoever holds it is the only one to move its head.
    pub(crate) async fn hold(&self) -> OwnedMutexGuard<()> {
        self.replica.clone().lock_owned().await
    }

    /// Records batch after batch until the queue is empty.
    pub(crate) async fn drive<J: Journal>(&self, node: &Node<J>, tenant: TenantId) {
        while !self.is_done() {
            let _held = self.hold().await;
            // A panic is these batches' misfortune, not the lane's: those who asked are told that it is not known.
            if AssertUnwindSafe(self.record(node, tenant)).catch_unwind().await.is_err() {
                error!(%tenant, "a batch panicked; the lane goes on");
            }
        }
    }

    /// Whether nothing waits. Then nobody drives it any more.
    fn is_done(&self) -> bool {
        let mut queue = lock(&self.queue);
        queue.driven = !queue.jobs.is_empty();
        !queue.driven
    }

    fn next_jobs(&self) -> Vec<Job> {
        let mut queue = lock(&self.queue);
        let count = queue.jobs.len().min(BATCH);
        queue.jobs.drain(..count).collect()
    }

    fn again(&self, jobs: Vec<Job>) {
        lock(&self.queue).jobs.extend(jobs);
    }

    /// Records what waits, for so many batches: each is decided and sent while the one before it is under way.
    async fn record<J: Journal>(&self, node: &Node<J>, tenant: TenantId) {
        let mut overlay = Overlay::new(node.replica(), tenant);
        let mut under_way: Option<UnderWay> = None;
        for _ in 0..BATCHES_HELD {
            let jobs = self.next_jobs();
            // A checkpoint covers what stands: it is decided when nothing is under way.
            if jobs.iter().any(|job| matches!(job.wanted, Wanted::Checkpoint))
                && let Some(last) = under_way.take()
                && !self.settle(node, tenant, last, &mut None).await
            {
                self.again(jobs);
                return;
            }
            let mut next = None;
            if !jobs.is_empty() {
                match begin(node, &mut overlay, jobs, under_way.is_some()).await {
                    Begun::UnderWay(batch) => next = Some(*batch),
                    Begun::Done(again) => self.again(again),
                }
            }
            if let Some(last) = under_way.take()
                && !self.settle(node, tenant, last, &mut next).await
            {
                // What was decided on top of it is decided again.
                return;
            }
            match next {
                None => return,
                next => under_way = next,
            }
        }
        if let Some(last) = under_way {
            self.settle(node, tenant, last, &mut None).await;
        }
    }

    /// Sees a batch through. Where it does not stand as it was decided, what was sent behind it is given up as well; says
    /// whether it stands.
    async fn settle<J: Journal>(
        &self,
        node: &Node<J>,
        tenant: TenantId,
        last: UnderWay,
        behind: &mut Option<UnderWay>,
    ) -> bool {
        let (stands, again) = settle(node, tenant, last, behind).await;
        self.again(again);
        if !stands && let Some(behind) = behind.take() {
            self.again(abandon(node, tenant, behind.batch).await);
        }
        stands
    }
}
