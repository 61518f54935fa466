//! A log in memory, for tests: with the contract of the real one, and failures on demand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{Sequence, TenantId};

use crate::chain::Head;
use crate::event::Record;
use crate::port::{Append, Error, Journal, Outgoing};

/// A failure to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The next append fails, and nothing of it stands.
    Failed,
    /// The next append fails, and this many of its records stand.
    FailedButPersisted(usize),
    /// Reads fail until the next fault is set.
    Unreadable,
    /// The next append fails, nothing of it stands, and reads fail from then on until the next fault is set.
    FailedAndUnreadable,
}

/// The log. Tenants come into being with their first append.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    logs: HashMap<TenantId, Vec<Record>>,
    fault: Option<Fault>,
}

impl MemoryJournal {
    /// Sets the failure to come, or clears it.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// Everything in a tenant's log.
    pub fn records(&self, tenant: TenantId) -> Vec<Record> {
        self.lock().logs.get(&tenant).cloned().unwrap_or_default()
    }

    /// Puts a record into the log without asking, as somebody with access to the server's disk would.
    pub fn tamper(&self, tenant: TenantId, change: impl FnOnce(&mut Vec<Record>)) {
        change(self.lock().logs.entry(tenant).or_default());
    }

    /// A test that panicked while it held the lock has failed already; the others may go on.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shared: what one holder writes, the others read.
impl Journal for Arc<MemoryJournal> {
    async fn last(&self, tenant: TenantId) -> Result<Sequence, Error> {
        (**self).last(tenant).await
    }

    async fn tails(&self) -> Result<Vec<(TenantId, Sequence)>, Error> {
        (**self).tails().await
    }

    async fn read(&self, tenant: TenantId, from: Sequence, max: usize) -> Result<Vec<Record>, Error> {
        (**self).read(tenant, from, max).await
    }

    async fn append(&self, tenant: TenantId, head: Head, batch: &[Outgoing]) -> Result<Append, Error> {
        (**self).append(tenant, head, batch).await
    }

    async fn append_behind(&self, tenant: TenantId, head: Head, batch: &[Outgoing]) -> Result<Append, Error> {
        (**self).append_behind(tenant, head, batch).await
    }
}

impl Journal for MemoryJournal {
    async fn last(&self, tenant: TenantId) -> Result<Sequence, Error> {
        let inner = self.lock();
        inner.readable()?;
        Ok(Sequence(inner.logs.get(&tenant).map_or(0, |log| log.len() as u64)))
    }

    async fn tails(&self) -> Result<Vec<(TenantId, Sequence)>, Error> {
        let inner = self.lock();
        inner.readable()?;
        Ok(inner.logs.iter().map(|(tenant, log)| (*tenant, Sequence(log.len() as u64))).collect())
    }

    async fn read(&self, tenant: TenantId, from: Sequence, max: usize) -> Result<Vec<Record>, Error> {
        let inner = self.lock();
        inner.readable()?;
        let skip = usize::try_from(from.0.saturating_sub(1)).unwrap_or(usize::MAX);
        Ok(inner.logs.get(&tenant).into_iter().flatten().skip(skip).take(max).cloned().collect())
    }

    async fn append(&self, tenant: TenantId, head: Head, batch: &[Outgoing]) -> Result<Append, Error> {
        self.put(tenant, head, batch)
    }

    async fn append_behind(&self, tenant: TenantId, head: Head, batch: &[Outgoing]) -> Result<Append, Error> {
        let last = self.lock().logs.get(&tenant).and_then(|log| log.last().map(Record::hash));
        if last != Some(head.hash) {
            return Ok(Append::HeadMoved { recorded: 0 });
        }
        self.put(tenant, head, batch)
    }
}

impl MemoryJournal {
    fn put(&self, tenant: TenantId, head: Head, batch: &[Outgoing]) -> Result<Append, Error> {
        let mut inner = self.lock();
        let fault = inner.fault.take_if(|fault| *fault != Fault::Unreadable);
        if fault == Some(Fault::FailedAndUnreadable) {
            inner.fault = Some(Fault::Unreadable);
        }
        let log = inner.logs.entry(tenant).or_default();
        if log.len() as u64 != head.sequence.0 {
            return Ok(Append::HeadMoved { recorded: 0 });
        }
        let records = |count: usize| batch.iter().take(count).map(|outgoing| outgoing.record.clone());
        match fault {
            None | Some(Fault::Unreadable) => {
                log.extend(records(batch.len()));
                Ok(Append::Recorded)
            }
            Some(Fault::Failed | Fault::FailedAndUnreadable) => Err(Error::Unavailable("failed on demand".into())),
            Some(Fault::FailedButPersisted(count)) => {
                log.extend(records(count));
                Err(Error::Unavailable("failed on demand, but persisted".into()))
            }
        }
    }
}

impl Inner {
    fn readable(&self) -> Result<(), Error> {
        match self.fault {
            Some(Fault::Unreadable) => Err(Error::Unavailable("unreadable on demand".into())),
            _ => Ok(()),
        }
    }
}
