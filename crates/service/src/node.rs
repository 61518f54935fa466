//! A process's share of the system: its replica of every tenant, and its lanes into the log.

mod alarms;
mod catch_up;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, Weak};

use journal::{Journal, ServiceKey};
use journal_sled::{Archive, Change, Replica};
use lifecycle::{Input, Rejection, View};
use model::{EventHash, Fingerprint, ProblemType, Sequence, ServiceRole, Span, TenantId, Timestamp};
use tokio::sync::{Mutex as AsyncMutex, oneshot, watch};
use tracing::{info, warn};

use crate::Error;
use crate::archiver::Archiver;
use crate::clock::Clock;
use crate::lane::{Job, Lane};
use crate::lock;

/// How many tenants are asked of the replica at once.
const TENANTS: usize = 512;
/// How far the log may be ahead of our clock. Beyond, either clock is wrong, and we stop.
const AHEAD_MAX: Span = Span::from_secs(5);

/// What a node is made of.
pub struct NodeConfig<J> {
    /// The log.
    pub journal: J,
    /// The verified state.
    pub replica: Replica,
    /// The bytes of every event, where this process keeps them.
    pub archive: Option<Archive>,
    /// The keys of the roles that this process plays.
    pub keys: Vec<ServiceKey>,
    /// The pinned root.
    pub root: Fingerprint,
    /// What time it is.
    pub clock: Clock,
}

/// What is to be recorded.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// The answer to this input.
    Input(Box<Input>),
    /// A checkpoint over everything before it.
    Checkpoint,
}

impl From<Input> for Wanted {
    fn from(input: Input) -> Self {
        Self::Input(Box::new(input))
    }
}

/// Where something was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its place.
    pub sequence: Sequence,
    /// Its hash.
    pub hash: EventHash,
}

impl Recorded {
    /// The record of this very command, byte for byte, where there is one: a command is answered alike however often it
    /// comes.
    pub fn before(view: &View, input: &Input) -> Option<Self> {
        let ((known, receipt), (id, digest)) = (view.receipt?, input.identity()?);
        let same = known == id && receipt.digest == digest;
        same.then_some(Self { sequence: receipt.sequence, hash: receipt.hash })
    }
}

/// A process's share of the system. Cheap to clone.
pub struct Node<J>(Arc<Inner<J>>);

impl<J> Clone for Node<J> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A node that is held for as long as others hold it.
pub struct WeakNode<J>(Weak<Inner<J>>);

impl<J> WeakNode<J> {
    /// The node, where it is still there.
    pub fn upgrade(&self) -> Option<Node<J>> {
        self.0.upgrade().map(Node)
    }
}

struct Inner<J> {
    journal: J,
    replica: Arc<Replica>,
    archiver: Option<Archiver>,
    keys: BTreeMap<ServiceRole, ServiceKey>,
    root: Fingerprint,
    clock: Clock,
    lanes: Mutex<HashMap<TenantId, Arc<Lane>>>,
    /// When the log was last compared with our replicas.
    heard: Mutex<tokio::time::Instant>,
    /// Held by whoever compares with the log, and by whoever syncs: one at a time is enough.
    comparing: AsyncMutex<()>,
    syncing: AsyncMutex<()>,
    /// Counts commits: whoever waits for something to change waits for this.
    commits: watch::Sender<u64>,
}

impl<J: Journal> Node<J> {
    /// A node over these parts. It knows what its replica knows; [`Node::catch_up`] brings it on. To be called in a
    /// runtime.
    pub fn new(config: NodeConfig<J>) -> Self {
        let keys = config.keys.into_iter().map(|key| (key.role(), key)).collect();
        Self(Arc::new(Inner {
            journal: config.journal,
            replica: Arc::new(config.replica),
            archiver: config.archive.map(Archiver::start),
            keys,
            root: config.root,
            clock: config.clock,
            lanes: Mutex::new(HashMap::new()),
            heard: Mutex::new(tokio::time::Instant::now()),
            comparing: AsyncMutex::default(),
            syncing: AsyncMutex::default(),
            commits: watch::Sender::new(0),
        }))
    }

    /// A reference that keeps nothing open.
    pub fn downgrade(&self) -> WeakNode<J> {
        WeakNode(Arc::downgrade(&self.0))
    }

    /// The log.
    pub fn journal(&self) -> &J {
        &self.0.journal
    }

    /// The verified state.
    pub fn replica(&self) -> &Arc<Replica> {
        &self.0.replica
    }

    /// How many tenants it knows of.
    pub fn tenants(&self) -> Result<usize, Error> {
        let (mut count, mut after) = (0, None);
        loop {
            let page = self.0.replica.tenants(after, TENANTS)?;
            let Some((last, _)) = page.last() else { return Ok(count) };
            (count, after) = (count + page.len(), Some(*last));
        }
    }

    /// The archive, where this process keeps one.
    pub fn archive(&self) -> Option<&Arc<Archive>> {
        self.0.archiver.as_ref().map(Archiver::archive)
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The pinned root.
    pub fn root(&self) -> Fingerprint {
        self.0.root
    }

    /// The key of a role, where this process plays it.
    pub fn key(&self, role: ServiceRole) -> Result<&ServiceKey, Error> {
        self.0.keys.get(&role).ok_or_else(|| Error::Internal(format!("this process has no key of the {role}")))
    }

    /// Moves with every commit.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.0.commits.subscribe()
    }

    /// The view that a decision starts from now, without anything that is still on its way.
    pub fn view(&self, tenant: TenantId, footprint: lifecycle::Footprint) -> Result<View, Error> {
        Ok(self.0.replica.view(tenant, footprint)?)
    }

    /// Checks something against the replica, as a decision would be: a refusal is only given once the replica is known to
    /// be at the end of the log.
    pub async fn check<T>(
        &self,
        tenant: TenantId,
        footprint: lifecycle::Footprint,
        check: impl Fn(&View) -> Result<T, Rejection>,
    ) -> Result<T, Rejection> {
        let look = || self.view(tenant, footprint.clone()).map_err(unavailable);
        let view = look()?;
        let refused = match check(&view) {
            Ok(passed) => return Ok(passed),
            Err(rejection) => rejection,
        };
        // A refusal that may rest on an old state is none.
        let last = self.0.journal.last(tenant).await.map_err(unavailable)?;
        if last <= view.chain.head().sequence {
            return Err(refused);
        }
        self.catch_up(tenant).await.map_err(unavailable)?;
        check(&look()?)
    }

    /// Decides, signs as this role, appends, applies. The answer comes when the log has acknowledged and the replica has
    /// it: then it is durable. The same command gives the same answer again.
    pub async fn record(
        &self,
        tenant: TenantId,
        role: ServiceRole,
        wanted: impl Into<Wanted>,
    ) -> Result<Recorded, Rejection> {
        let (answer, answered) = oneshot::channel();
        let job = Job { role, wanted: wanted.into(), answer, attempts: 0 };
        let lane = self.lane(tenant);
        if lane.push(job) {
            let (node, lane) = (self.clone(), lane.clone());
            tokio::spawn(async move { lane.drive(&node, tenant).await });
        }
        answered.await.unwrap_or_else(|_| unavailable("the lane was stopped").err())
    }

    /// The lane of a tenant.
    pub(crate) fn lane(&self, tenant: TenantId) -> Arc<Lane> {
        lock(&self.0.lanes).entry(tenant).or_default().clone()
    }

    /// Applies changes that this process made itself, where the caller holds the tenant's lock.
    pub(crate) async fn apply(&self, changes: Vec<Change>) -> Result<(), Error> {
        let replica = self.0.replica.clone();
        let applied = tokio::task::spawn_blocking(move || replica.apply(&changes).map(|()| changes));
        let changes = applied.await.map_err(|error| Error::Internal(error.to_string()))??;
        self.0.commits.send_modify(|commits| *commits += 1);
        if let Some(archiver) = &self.0.archiver {
            for change in changes {
                archiver.take(change.tenant(), change.after.chain.head().sequence, &[change.record]).await?;
            }
        }
        Ok(())
    }

    /// Waits until the archive has everything that the replica has, on the disk.
    pub(crate) async fn flush_archive(&self) -> Result<(), Error> {
        match &self.0.archiver {
            Some(archiver) => archiver.flush().await,
            None => Err(Error::Internal("this process keeps no archive".into())),
        }
    }

    /// Sees to it that the archive has everything that the replica has, on the disk, where the caller holds the tenant's
    /// lock.
    pub(crate) async fn archive_everything(&self, tenant: TenantId) -> Result<(), Error> {
        if self.archive_is_behind(tenant)? {
            self.catch_up_held(tenant).await?;
        }
        self.flush_archive().await?;
        let (head, archive) = (self.0.replica.head(tenant)?.sequence, self.archive());
        let last = archive.map(|archive| archive.last(tenant)).transpose()?.unwrap_or(Sequence::NONE);
        if last < head {
            return Err(Error::Archive(format!("it has {} events of {}", last.0, head.0)));
        }
        Ok(())
    }

    /// Waits until replica and archive are on the disk: at the end, and now and then before.
    pub async fn sync(&self) {
        // The archive first: a replica that is ahead of it after a crash costs reading the log again.
        if self.0.archiver.is_some()
            && let Err(error) = self.flush_archive().await
        {
            warn!(%error, "the archive is not on the disk yet");
        }
        let replica = self.0.replica.clone();
        match tokio::task::spawn_blocking(move || replica.sync()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the replica is not on the disk yet"),
            Err(error) => warn!(%error, "the replica is not on the disk yet"),
        }
    }

    /// Brings everything to the disk and lets go of the archive: the end.
    pub async fn close(&self) {
        self.sync().await;
        if let Some(archiver) = &self.0.archiver {
            archiver.close().await;
        }
    }

    pub(crate) fn comparing(&self) -> &AsyncMutex<()> {
        &self.0.comparing
    }

    pub(crate) fn syncing(&self) -> &AsyncMutex<()> {
        &self.0.syncing
    }

    /// The time at which something may follow the view's last event: now, or that event's time where it is later by no more
    /// than clocks may differ. Beyond, one of the clocks is wrong, and nothing follows.
    pub fn check_clock(&self, view: &View) -> Result<Timestamp, Rejection> {
        let (now, floor) = (self.0.clock.now(), view.chain.time());
        if floor > now + AHEAD_MAX {
            let detail = format!("the last event is of {floor}, and it is {now} here");
            return Rejection::new(ProblemType::ClockBehind, detail).err();
        }
        Ok(now.max(floor))
    }

    /// Logs, once at start, what this process is.
    pub fn log_start(&self) {
        let roles: Vec<&str> = self.0.keys.keys().map(|role| role.name()).collect();
        info!(roles = roles.join(","), root = %self.0.root, "ready");
    }
}

/// The part of the platform that does not answer, as a refusal: the same command may be sent again.
pub(crate) fn unavailable(what: impl std::fmt::Display) -> Rejection {
    Rejection::new(ProblemType::Unavailable, what)
}
