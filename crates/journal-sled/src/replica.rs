//! A replica: the verified state of the tenants that a service follows.
//!
//! It is a cache of their chains. Nothing lives here that the log, and whoever verifies it, could not make anew; so the
//! answer to anything wrong with it is to set it aside, say so, and read the log again. What it must never do is to be
//! wrong without anybody noticing: see [`Replica::open`] and [`Replica::commit`].
//!
//! On disk (all below the directory given, which is the replica's own):
//!
//! ```text
//! lock                    held while open
//! store/                  sled: trees tenants governance keys requests documents checkpoints commands due tail meta
//! store/complete          the store was made in full
//! store/condemned         it is to be set aside when next opened, and why
//! store.set-aside-<n>/    stores that were; the newest three
//! alarms/<tenant>.json    the alarms that stand
//! ```

mod commit;
mod due;
mod open;
mod receipts;
mod rows;

use std::collections::HashMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use journal::{Head, Record};
use lifecycle::state::{Checkpointed, Progress};
use lifecycle::{Document, Entities, Footprint, Governance, Key, Receipt, Request, View};
use model::{CommandId, Digest, EventHash, Fingerprint, KeyId, Sequence, TenantId};
use serde::de::DeserializeOwned;
use sled::Tree;

pub use commit::{Change, TAIL_KEPT};
pub use open::{Opened, Options, Start};

use crate::alarm::Alarms;
use crate::store::Store;
use crate::{Alarm, AlarmKind, Error};
use rows::{Standing, Table, Total};

/// The state of all tenants, on disk. Shared by threads; one process at a time.
pub struct Replica {
    store: Store,
    trees: Trees,
    alarms: Alarms,
    /// Held for reading while a view is put together, for writing while a group goes in: no view sees half a group.
    total: RwLock<Total>,
    hot: Mutex<Hot>,
    /// Last, so that it is let go of after the store.
    _lock: crate::place::Lock,
}

struct Trees {
    tenants: Tree,
    governance: Tree,
    keys: Tree,
    requests: Tree,
    documents: Tree,
    checkpoints: Tree,
    commands: Tree,
    due: Tree,
    tail: Tree,
    meta: Tree,
}

impl Trees {
    fn open(store: &Store) -> Result<Self, Error> {
        let tree = |table: Table| store.tree(table.name());
        Ok(Self {
            tenants: tree(Table::Tenants)?,
            governance: tree(Table::Governance)?,
            keys: tree(Table::Keys)?,
            requests: tree(Table::Requests)?,
            documents: tree(Table::Documents)?,
            checkpoints: tree(Table::Checkpoints)?,
            commands: tree(Table::Commands)?,
            due: tree(Table::Due)?,
            tail: tree(Table::Tail)?,
            meta: tree(Table::Meta)?,
        })
    }

    fn of(&self, table: Table) -> &Tree {
        match table {
            Table::Tenants => &self.tenants,
            Table::Governance => &self.governance,
            Table::Keys => &self.keys,
            Table::Requests => &self.requests,
            Table::Documents => &self.documents,
            Table::Checkpoints => &self.checkpoints,
            Table::Commands => &self.commands,
            Table::Due => &self.due,
            Table::Tail => &self.tail,
            Table::Meta => &self.meta,
        }
    }
}

impl Replica {
    /// Opens the replica in a directory, or makes one, for tenants under this root. See [`Replica::open_with`].
    pub fn open(dir: &Path, root: Fingerprint) -> Result<Opened, Error> {
        Self::open_with(dir, root, Options::default())
    }

    // === One tenant ===

    /// What a decision with this footprint sees; the same as `lifecycle::Tenant::view`.
    pub fn view(&self, tenant: TenantId, footprint: Footprint) -> Result<View, Error> {
        let _steady = self.steady();
        let (standing, governance) = self.standing(tenant)?;
        let Standing { chain, progress, .. } = standing;
        View::of(chain, progress, governance).load(&Of { replica: self, tenant }, &footprint)
    }

    /// Where the tenant stands; [`Head::EMPTY`] where nothing is known of it.
    pub fn head(&self, tenant: TenantId) -> Result<Head, Error> {
        let _steady = self.steady();
        Ok(self.standing(tenant)?.0.chain.head())
    }

    /// How far checkpoints are behind.
    pub fn progress(&self, tenant: TenantId) -> Result<Progress, Error> {
        let _steady = self.steady();
        Ok(self.standing(tenant)?.0.progress)
    }

    /// People, policy, authority; `None` before the first event.
    pub fn governance(&self, tenant: TenantId) -> Result<Option<Arc<Governance>>, Error> {
        let _steady = self.steady();
        Ok(self.standing(tenant)?.1)
    }

    /// A key.
    pub fn key(&self, tenant: TenantId, key: KeyId) -> Result<Option<Key>, Error> {
        self.key_row(tenant, key)
    }

    /// The keys of a tenant after this one, by id, at most `limit`.
    pub fn keys(&self, tenant: TenantId, after: Option<KeyId>, limit: usize) -> Result<Vec<Key>, Error> {
        let from = after.map_or_else(|| tenant.as_bytes().to_vec(), |key| rows::key(tenant, key));
        let end = rows::end_of(tenant);
        let page = self.store.page(&self.trees.keys, Bound::Excluded(&from), below(end.as_deref()), limit)?;
        page.iter().map(|(_, value)| self.read_json(Table::Keys, value)).collect()
    }

    /// A request, open or not. The open ones are named by their keys.
    pub fn request(&self, tenant: TenantId, request: EventHash) -> Result<Option<Request>, Error> {
        self.request_row(tenant, request)
    }

    /// A document, and where its parts are in the log.
    pub fn document(&self, tenant: TenantId, document: Digest) -> Result<Option<Document>, Error> {
        let row = self.store.get(&self.trees.documents, &rows::document(tenant, document))?;
        row.map(|row| self.read_json(Table::Documents, &row)).transpose()
    }

    /// The checkpoint over so many events.
    pub fn checkpoint(&self, tenant: TenantId, size: u64) -> Result<Option<Checkpointed>, Error> {
        let row = self.store.get(&self.trees.checkpoints, &rows::checkpoint(tenant, size))?;
        row.map(|row| self.read_json(Table::Checkpoints, &row)).transpose()
    }

    /// What a command led to.
    pub fn receipt(&self, tenant: TenantId, command: CommandId) -> Result<Option<Receipt>, Error> {
        self.find_receipt(tenant, command)
    }

    /// The raw events that are kept, from `from` on, at most `max`: in order and without a gap between them. The first
    /// may be a later one, where earlier ones were trimmed.
    pub fn tail(&self, tenant: TenantId, from: Sequence, max: usize) -> Result<Vec<(Sequence, Record)>, Error> {
        let (from, end) = (rows::event(tenant, from.0), rows::end_of(tenant));
        let page = self.store.page(&self.trees.tail, Bound::Included(&from), below(end.as_deref()), max)?;
        let mut events: Vec<(Sequence, Record)> = Vec::with_capacity(page.len());
        for (key, value) in &page {
            let event = rows::read_sequence(key).zip(rows::read_record(value));
            let event = event.ok_or_else(|| self.unreadable(Table::Tail))?;
            if events.last().is_some_and(|(last, _)| last.next() != event.0) {
                break;
            }
            events.push(event);
        }
        Ok(events)
    }

    // === All tenants ===

    /// The tenants after this one, in the order of their bytes, at most `limit`, each with where it stands.
    pub fn tenants(&self, after: Option<TenantId>, limit: usize) -> Result<Vec<(TenantId, Head)>, Error> {
        let from = match &after {
            Some(tenant) => Bound::Excluded(tenant.as_bytes().as_slice()),
            None => Bound::Unbounded,
        };
        let page = self.store.page(&self.trees.tenants, from, Bound::Unbounded, limit)?;
        let read = |(key, value): &(sled::IVec, sled::IVec)| {
            let tenant = rows::read_tenant(key).ok_or_else(|| self.unreadable(Table::Tenants))?;
            let standing: Standing = self.read_json(Table::Tenants, value)?;
            Ok((tenant, standing.chain.head()))
        };
        page.iter().map(read).collect()
    }

    // === Alarms ===

    /// The gravest alarm that stands for a tenant. Nobody writes for a tenant that has one.
    pub fn alarm(&self, tenant: TenantId) -> Option<Alarm> {
        self.alarms.of(tenant)
    }

    /// Every alarm that stands.
    pub fn alarms(&self) -> Vec<(TenantId, Alarm)> {
        self.alarms.all()
    }

    /// Raises an alarm: on disk when this returns, and there until it is cleared, whatever becomes of the replica. One of
    /// the same kind that stands already is left as it is. Whether it is new.
    pub fn raise(&self, tenant: TenantId, alarm: Alarm) -> Result<bool, Error> {
        self.alarms.raise(tenant, alarm)
    }

    /// Takes an alarm back. Whether it stood.
    pub fn clear(&self, tenant: TenantId, kind: AlarmKind) -> Result<bool, Error> {
        self.alarms.clear(tenant, kind)
    }

    // === Rows ===

    /// Where the tenant stands, and its governance: from memory where it was asked for lately. To be called with
    /// [`Replica::steady`] or the write lock held.
    fn standing(&self, tenant: TenantId) -> Result<(Standing, Option<Arc<Governance>>), Error> {
        self.store.usable()?;
        if let Some(known) = self.hot().get(tenant) {
            return Ok(known);
        }
        let key = tenant.as_bytes();
        let standing = match self.store.get(&self.trees.tenants, key)? {
            Some(row) => self.read_json(Table::Tenants, &row)?,
            None => Standing::empty(tenant),
        };
        let governance = self.store.get(&self.trees.governance, key)?;
        let governance = governance.map(|row| self.read_json(Table::Governance, &row)).transpose()?.map(Arc::new);
        self.hot().put(tenant, standing.clone(), governance.clone());
        Ok((standing, governance))
    }

    fn key_row(&self, tenant: TenantId, key: KeyId) -> Result<Option<Key>, Error> {
        let row = self.store.get(&self.trees.keys, &rows::key(tenant, key))?;
        row.map(|row| self.read_json(Table::Keys, &row)).transpose()
    }

    fn request_row(&self, tenant: TenantId, request: EventHash) -> Result<Option<Request>, Error> {
        let row = self.store.get(&self.trees.requests, &rows::request(tenant, request))?;
        row.map(|row| self.read_json(Table::Requests, &row)).transpose()
    }

    fn read_json<T: DeserializeOwned>(&self, table: Table, row: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(row).map_err(|_| self.unreadable(table))
    }

    fn unreadable(&self, table: Table) -> Error {
        self.store.condemn(&format!("a row of `{}` can't be read", table.name()))
    }

    /// A thread that panicked with the lock held has left the store to sled, which is guarded.
    fn steady(&self) -> RwLockReadGuard<'_, Total> {
        self.total.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn hot(&self) -> std::sync::MutexGuard<'_, Hot> {
        self.hot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entities of one tenant, as they are in the store.
struct Of<'a> {
    replica: &'a Replica,
    tenant: TenantId,
}

impl Entities for Of<'_> {
    type Error = Error;

    fn key(&self, key: KeyId) -> Result<Option<Key>, Error> {
        self.replica.key_row(self.tenant, key)
    }

    fn request(&self, request: EventHash) -> Result<Option<Request>, Error> {
        self.replica.request_row(self.tenant, request)
    }

    fn receipt(&self, command: CommandId) -> Result<Option<Receipt>, Error> {
        self.replica.find_receipt(self.tenant, command)
    }

    fn document(&self, document: Digest) -> Result<Option<Document>, Error> {
        self.replica.document(self.tenant, document)
    }

    fn checkpoint(&self, size: u64) -> Result<Option<Checkpointed>, Error> {
        self.replica.checkpoint(self.tenant, size)
    }
}

fn below(end: Option<&[u8]>) -> Bound<&[u8]> {
    end.map_or(Bound::Unbounded, Bound::Excluded)
}

/// The tenants asked for lately: where they stand, and their governance ready to use, so that it isn't parsed for every
/// event. Bounded; the one not asked for the longest goes first.
struct Hot {
    tenants: HashMap<TenantId, Kept>,
    capacity: usize,
    uses: u64,
}

struct Kept {
    standing: Standing,
    governance: Option<Arc<Governance>>,
    used: u64,
}

impl Hot {
    fn new(capacity: usize) -> Self {
        Self { tenants: HashMap::new(), capacity: capacity.max(1), uses: 0 }
    }

    fn get(&mut self, tenant: TenantId) -> Option<(Standing, Option<Arc<Governance>>)> {
        self.uses += 1;
        let kept = self.tenants.get_mut(&tenant)?;
        kept.used = self.uses;
        Some((kept.standing.clone(), kept.governance.clone()))
    }

    fn put(&mut self, tenant: TenantId, standing: Standing, governance: Option<Arc<Governance>>) {
        self.uses += 1;
        if self.tenants.len() >= self.capacity && !self.tenants.contains_key(&tenant) {
            let oldest = self.tenants.iter().min_by_key(|(_, kept)| kept.used).map(|(tenant, _)| *tenant);
            oldest.map(|oldest| self.tenants.remove(&oldest));
        }
        self.tenants.insert(tenant, Kept { standing, governance, used: self.uses });
    }

    fn forget(&mut self, tenant: TenantId) {
        self.tenants.remove(&tenant);
    }
}
