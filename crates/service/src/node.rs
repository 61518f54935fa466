//! A process's share of the system: its replica of every tenant, and its lanes into the log.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use journal::{Journal, Record, ServiceKey};
use journal_sled::{Alarm, Archive, Replica};
use lifecycle::{Input, Rejection, View};
use model::{EventHash, Fingerprint, ProblemType, Sequence, ServiceRole, TenantId};
use tokio::sync::{oneshot, watch};
use tracing::{error, info};

use crate::Error;
use crate::clock::Clock;
use crate::lane::{Job, Lane};
use crate::replay::{Replay, replay};

/// How many records are read from the log at once while catching up.
const PAGE: usize = 512;

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
    Input(Input),
    /// A checkpoint over everything before it.
    Checkpoint,
}

impl From<Input> for Wanted {
    fn from(input: Input) -> Self {
        Self::Input(input)
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

struct Inner<J> {
    journal: J,
    replica: Arc<Replica>,
    archive: Option<Arc<Archive>>,
    keys: BTreeMap<ServiceRole, ServiceKey>,
    root: Fingerprint,
    clock: Clock,
    lanes: Mutex<HashMap<TenantId, Arc<Lane>>>,
    /// Counts commits: whoever waits for something to change waits for this.
    commits: watch::Sender<u64>,
}

impl<J: Journal> Node<J> {
    /// A node over these parts. It knows what its replica knows; [`Node::catch_up`] brings it on.
    pub fn new(config: NodeConfig<J>) -> Self {
        let keys = config.keys.into_iter().map(|key| (key.role(), key)).collect();
        Self(Arc::new(Inner {
            journal: config.journal,
            replica: Arc::new(config.replica),
            archive: config.archive.map(Arc::new),
            keys,
            root: config.root,
            clock: config.clock,
            lanes: Mutex::new(HashMap::new()),
            commits: watch::Sender::new(0),
        }))
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
        self.0.archive.as_ref()
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
        let behind = self.0.journal.last(tenant).await.is_ok_and(|last| last > view.chain.head().sequence);
        if !behind {
            return Err(refused);
        }
        self.catch_up(tenant).await.map_err(unavailable)?;
        check(&look()?)
    }

    /// Decides, signs as this role, appends, applies. The answer comes when the log has acknowledged and the replica has
    /// it: then it is durable. The same command gives the same answer again.
    pub async fn record(&self, tenant: TenantId, role: ServiceRole, wanted: impl Into<Wanted>) -> Result<Recorded, Rejection> {
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
            let head = self.0.replica.head(tenant)?.sequence;
            let from = self.first_missing(tenant, head)?;
            let records = self.0.journal.read(tenant, from, PAGE).await?;
            if records.is_empty() {
                return Ok(());
            }
            let read = records.len();
            self.absorb(tenant, from, records).await?;
            let moved = self.0.replica.head(tenant)?.sequence;
            if moved == head && read < PAGE {
                return Ok(());
            }
        }
    }

    /// The first sequence that replica or archive lack.
    fn first_missing(&self, tenant: TenantId, head: Sequence) -> Result<Sequence, Error> {
        match &self.0.archive {
            Some(archive) => Ok(archive.last(tenant)?.min(head).next()),
            None => Ok(head.next()),
        }
    }

    /// Takes records from `from` on into archive and replica, where the caller holds the tenant's lock. Those that the
    /// replica has already are passed over; those beyond a gap are left for [`Node::catch_up`].
    pub(crate) async fn absorb(&self, tenant: TenantId, from: Sequence, records: Vec<Record>) -> Result<(), Error> {
        let head = self.0.replica.head(tenant)?.sequence;
        let (first_missing, inner) = (self.first_missing(tenant, head)?, self.0.clone());
        if from > first_missing || self.0.replica.alarm(tenant)?.is_some() {
            return Ok(());
        }
        let committed = tokio::task::spawn_blocking(move || inner.absorb(tenant, from, head, records));
        committed.await.map_err(|error| Error::Internal(error.to_string()))??;
        self.0.commits.send_modify(|commits| *commits += 1);
        Ok(())
    }

    /// Commits changes that this process made itself, where the caller holds the tenant's lock.
    pub(crate) async fn commit(&self, tenant: TenantId, changes: Vec<journal_sled::Change>) -> Result<(), Error> {
        let inner = self.0.clone();
        let committed = tokio::task::spawn_blocking(move || inner.commit(tenant, &changes));
        committed.await.map_err(|error| Error::Internal(error.to_string()))??;
        self.0.commits.send_modify(|commits| *commits += 1);
        Ok(())
    }

    /// Raises an alarm: nothing more is written for this tenant until somebody has looked.
    pub fn raise(&self, tenant: TenantId, alarm: Alarm) {
        error!(%tenant, %alarm, "ALARM: writing is stopped for this tenant");
        if let Err(error) = self.0.replica.raise(tenant, alarm, self.0.clock.now()) {
            error!(%tenant, %error, "the alarm could not be kept");
        }
    }

    /// Refuses where an alarm stands.
    pub fn check_alarm(&self, tenant: TenantId) -> Result<(), Rejection> {
        match self.0.replica.alarm(tenant) {
            Ok(None) => Ok(()),
            Ok(Some(raised)) => Rejection::new(ProblemType::Stopped, raised.alarm).err(),
            Err(error) => unavailable(error).err(),
        }
    }
}

impl<J> Inner<J> {
    fn absorb(&self, tenant: TenantId, from: Sequence, head: Sequence, records: Vec<Record>) -> Result<(), Error> {
        if let Some(archive) = &self.archive {
            let entry = |(place, record): (usize, &Record)| (tenant, Sequence(from.0 + place as u64), record.clone());
            let entries: Vec<_> = records.iter().enumerate().map(entry).collect();
            archive.append(&entries)?;
        }
        let known = usize::try_from(head.next().0.saturating_sub(from.0)).unwrap_or(usize::MAX);
        let new: Vec<Record> = records.into_iter().skip(known).collect();
        let Replay { changes, fork, stopped } = replay(&self.replica, self.root, tenant, new)?;
        self.replica.commit(&changes)?;
        let now = self.clock.now();
        if let Some((sequence, hash)) = fork {
            let alarm = Alarm::Fork { sequence, hash };
            error!(%tenant, %alarm, "ALARM: writing is stopped for this tenant");
            self.replica.raise(tenant, alarm, now)?;
        }
        if let Some(unknown) = stopped {
            error!(%tenant, %unknown, "ALARM: writing is stopped for this tenant");
            self.replica.raise(tenant, Alarm::UnknownRules { rules: unknown.0 }, now)?;
        }
        Ok(())
    }

    fn commit(&self, tenant: TenantId, changes: &[journal_sled::Change]) -> Result<(), Error> {
        if let Some(archive) = &self.archive {
            let entry = |change: &journal_sled::Change| (tenant, change.after.chain.head().sequence, change.record.clone());
            archive.append(&changes.iter().map(entry).collect::<Vec<_>>())?;
        }
        self.replica.commit(changes)?;
        Ok(())
    }
}

impl<J: Journal> Node<J> {
    /// Says once, at start, what the replica found of itself.
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
