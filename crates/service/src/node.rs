//! A process's share of the system: its replica of every tenant, and its lanes into the log.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use journal::{Journal, Record, ServiceKey};
use journal_sled::{Alarm, AlarmKind, Archive, Change, Replica};
use lifecycle::{Input, Rejection, View};
use model::{EventHash, Fingerprint, ProblemType, Sequence, ServiceRole, Span, TenantId, Timestamp};
use tokio::sync::{Mutex as AsyncMutex, oneshot, watch};
use tracing::{error, info, warn};

use crate::Error;
use crate::archiver::Archiver;
use crate::clock::Clock;
use crate::lane::{Job, Lane};
use crate::replay::{Fork, Replay, replay};

/// How many records are read from the log at once while catching up.
const PAGE: usize = 512;
/// How long the log may go without being compared before writing stops.
const STALE_AFTER: Duration = Duration::from_secs(60);
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

/// A process's share of the system. Cheap to clone.
pub struct Node<J>(Arc<Inner<J>>);

impl<J> Clone for Node<J> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// What became of records that were read.
enum Absorbed {
    /// They were judged, and the replica has them.
    Replayed(Replay),
    /// The archive has another history, from here on.
    Differs(Sequence),
}

impl<J> Inner<J> {
    /// Judges records and applies them to the replica; the first `known` of them it has. Blocking.
    fn absorb(&self, tenant: TenantId, from: Sequence, known: usize, records: &[Record]) -> Result<Absorbed, Error> {
        if let Some(archiver) = &self.archiver
            && let Some(sequence) = archiver.differs(tenant, from, records)?
        {
            return Ok(Absorbed::Differs(sequence));
        }
        let new: Vec<Record> = records.iter().skip(known).cloned().collect();
        let replayed = replay(&self.replica, self.root, tenant, new)?;
        self.replica.apply(&replayed.changes)?;
        Ok(Absorbed::Replayed(replayed))
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

    /// What a decision sees now. Nothing that is on its way is in it.
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
        let look = || self.view(tenant, footprint).map_err(unavailable);
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

    /// Takes the tenant's lock and brings its replica to the end of the log.
    pub async fn catch_up(&self, tenant: TenantId) -> Result<(), Error> {
        let lane = self.lane(tenant);
        let _held = lane.hold().await;
        self.catch_up_held(tenant).await
    }

    /// The same, where the caller holds the tenant's lock.
    pub(crate) async fn catch_up_held(&self, tenant: TenantId) -> Result<(), Error> {
        loop {
            let from = self.first_missing(tenant)?;
            let records = self.0.journal.read(tenant, from, PAGE).await?;
            self.heard();
            if records.is_empty() {
                return Ok(());
            }
            self.absorb(tenant, from, records).await?;
            // Where an alarm stops us, we stay where we are.
            if self.first_missing(tenant)? <= from {
                return Ok(());
            }
        }
    }

    /// The first sequence that replica or archive lack.
    fn first_missing(&self, tenant: TenantId) -> Result<Sequence, Error> {
        let head = self.0.replica.head(tenant)?.sequence;
        match &self.0.archiver {
            Some(archiver) => Ok(archiver.last(tenant)?.min(head).next()),
            None => Ok(head.next()),
        }
    }

    /// The last sequence that this process knows to have been in the log.
    pub(crate) fn known(&self, tenant: TenantId) -> Result<Sequence, Error> {
        let head = self.0.replica.head(tenant)?.sequence;
        match &self.0.archiver {
            Some(archiver) => Ok(archiver.last(tenant)?.max(head)),
            None => Ok(head),
        }
    }

    /// Whether the archive lacks what the replica has.
    pub(crate) fn archive_is_behind(&self, tenant: TenantId) -> Result<bool, Error> {
        Ok(self.first_missing(tenant)? <= self.0.replica.head(tenant)?.sequence)
    }

    /// Takes records from `from` on into replica and archive, where the caller holds the tenant's lock. Those that are
    /// there already are passed over; those beyond a gap are left for [`Node::catch_up`].
    pub(crate) async fn absorb(&self, tenant: TenantId, from: Sequence, records: Vec<Record>) -> Result<(), Error> {
        if from > self.first_missing(tenant)? || self.0.replica.alarm(tenant).is_some() {
            return Ok(());
        }
        let head = self.0.replica.head(tenant)?.sequence;
        let known = usize::try_from(head.next().0.saturating_sub(from.0)).unwrap_or(usize::MAX);
        let (inner, records) = (self.0.clone(), Arc::new(records));
        let absorbed = {
            let records = records.clone();
            tokio::task::spawn_blocking(move || inner.absorb(tenant, from, known, &records))
        };
        let absorbed = absorbed.await.map_err(|error| Error::Internal(error.to_string()))??;
        let replayed = match absorbed {
            Absorbed::Replayed(replayed) => replayed,
            Absorbed::Differs(sequence) => {
                self.raise(tenant, AlarmKind::Differs, sequence, "the archive has other bytes".into());
                return Ok(());
            }
        };
        self.0.commits.send_modify(|commits| *commits += 1);
        self.note(tenant, &replayed).await;
        if let Some(archiver) = &self.0.archiver {
            archiver.take(tenant, from, &records).await?;
        }
        Ok(())
    }

    /// Raises the alarms that reading on gave cause for.
    async fn note(&self, tenant: TenantId, replayed: &Replay) {
        for fork in &replayed.forks {
            if self.is_copy(tenant, fork).await {
                warn!(%tenant, sequence = fork.at.0, "an event stands in the log a second time; anybody could put it there");
            } else {
                let seen = format!("event {} is authentic and has the wrong link", fork.hash);
                self.raise(tenant, AlarmKind::Fork, fork.at, seen);
            }
        }
        if let Some(unknown) = replayed.stopped {
            let sequence = self.0.replica.head(tenant).map_or(Sequence::NONE, |head| head.sequence.next());
            self.raise(tenant, AlarmKind::UnknownRules, sequence, unknown.to_string());
        }
    }

    /// Whether what looks like a fork is the copy of an event that stands in its own place. Putting one into the log
    /// takes no key: an answer of the server can be led there.
    async fn is_copy(&self, tenant: TenantId, fork: &Fork) -> bool {
        let at_its_place = self.0.journal.read(tenant, fork.claims, 1).await;
        fork.claims < fork.at
            && at_its_place.is_ok_and(|records| records.first().is_some_and(|record| record.hash() == fork.hash))
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

    /// Raises an alarm: nothing more is written for this tenant until somebody has looked.
    pub fn raise(&self, tenant: TenantId, kind: AlarmKind, sequence: Sequence, seen: String) {
        error!(%tenant, ?kind, sequence = sequence.0, seen, "ALARM: writing is stopped for this tenant");
        let alarm = Alarm { kind, sequence, seen, since: self.0.clock.now() };
        if let Err(error) = self.0.replica.raise(tenant, alarm) {
            error!(%tenant, %error, "the alarm could not be kept");
        }
    }

    pub(crate) fn comparing(&self) -> &AsyncMutex<()> {
        &self.0.comparing
    }

    pub(crate) fn syncing(&self) -> &AsyncMutex<()> {
        &self.0.syncing
    }

    /// The log was compared with our replicas.
    pub(crate) fn heard(&self) {
        *lock(&self.0.heard) = tokio::time::Instant::now();
    }

    /// How long ago the log was last compared, where that is too long: the *stale* alarm, of all tenants at once. It
    /// passes by itself.
    pub fn stale(&self) -> Option<Duration> {
        Some(lock(&self.0.heard).elapsed()).filter(|age| *age > STALE_AFTER)
    }

    /// Refuses where an alarm stands.
    pub fn check_alarm(&self, tenant: TenantId) -> Result<(), Rejection> {
        if let Some(age) = self.stale() {
            let detail = format!("stale: the log could not be compared for {} s", age.as_secs());
            return Rejection::new(ProblemType::Stopped, detail).err();
        }
        match self.0.replica.alarm(tenant) {
            None => Ok(()),
            Some(alarm) => {
                let detail = format!("{:?} at {}: {}", alarm.kind, alarm.sequence.0, alarm.seen);
                Rejection::new(ProblemType::Stopped, detail).err()
            }
        }
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

    /// Takes back, at start, the alarm of rules that an older program did not know: where this one does not know them
    /// either, it is raised again.
    pub fn forget_unknown_rules(&self) {
        for (tenant, alarm) in self.0.replica.alarms() {
            if alarm.kind == AlarmKind::UnknownRules
                && let Err(error) = self.0.replica.clear(tenant, AlarmKind::UnknownRules)
            {
                warn!(%tenant, %error, "an alarm could not be taken back");
            }
        }
    }

    /// Says once, at start, what this process is.
    pub fn announce(&self) {
        let roles: Vec<&str> = self.0.keys.keys().map(|role| role.name()).collect();
        info!(roles = roles.join(","), root = %self.0.root, "ready");
    }
}

/// The part of the platform that does not answer, as a refusal: the same command may be sent again.
pub(crate) fn unavailable(what: impl std::fmt::Display) -> Rejection {
    Rejection::new(ProblemType::Unavailable, what)
}

/// A lock whose holder panicked guards data that is still whole: every change to it is one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
