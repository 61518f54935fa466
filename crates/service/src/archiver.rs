//! The way into the archive: behind the answers, gathered over all tenants, one sync a group.
//!
//! What is on its way here stands in the log already, so a crash loses nothing: what the archive lacks is read from the
//! log again. Only a checkpoint waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use journal::Record;
use journal_sled::Archive;
use model::{Sequence, TenantId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::error;

use crate::Error;
use crate::node::lock;

/// How many events may be on their way.
const QUEUE: usize = 16 * 1024;
/// How many go in at once.
const GROUP: usize = 1024;
/// How long to wait before trying again, where the disk refuses.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The archive, and the queue into it.
pub(crate) struct Archiver {
    archive: Arc<Archive>,
    queue: mpsc::Sender<Item>,
    writing: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    /// The last sequence that was taken in or is on its way, of each tenant that something came for.
    taken: Mutex<HashMap<TenantId, Sequence>>,
}

enum Item {
    Entry(TenantId, Sequence, Record),
    Flush(oneshot::Sender<()>),
    Close,
}

impl Archiver {
    /// Starts the task that writes.
    pub(crate) fn start(archive: Archive) -> Self {
        let archive = Arc::new(archive);
        let (queue, items) = mpsc::channel(QUEUE);
        let writing = tokio::sync::Mutex::new(Some(tokio::spawn(write(archive.clone(), items))));
        Self { archive, queue, writing, taken: Mutex::new(HashMap::new()) }
    }

    /// Writes what is on its way and ends the task.
    pub(crate) async fn close(&self) {
        if let Some(writing) = self.writing.lock().await.take() {
            // An error means that it has ended already.
            let _ = self.queue.send(Item::Close).await;
            let _ = writing.await;
        }
    }

    /// The archive itself.
    pub(crate) fn archive(&self) -> &Arc<Archive> {
        &self.archive
    }

    /// The last sequence that is in it or on its way.
    pub(crate) fn last(&self, tenant: TenantId) -> Result<Sequence, Error> {
        if let Some(last) = lock(&self.taken).get(&tenant) {
            return Ok(*last);
        }
        let last = self.archive.last(tenant)?;
        lock(&self.taken).insert(tenant, last);
        Ok(last)
    }

    /// Takes the records that follow; those that it has are passed over.
    pub(crate) async fn take(&self, tenant: TenantId, from: Sequence, records: &[Record]) -> Result<(), Error> {
        let mut last = self.last(tenant)?;
        for (sequence, record) in (from.0..).map(Sequence).zip(records) {
            if sequence == last.next() {
                let item = Item::Entry(tenant, sequence, record.clone());
                self.queue.send(item).await.map_err(|_| Error::Internal("the archiver is gone".into()))?;
                last = sequence;
            }
        }
        lock(&self.taken).insert(tenant, last);
        Ok(())
    }

    /// Waits until everything taken so far is on the disk.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        let (flushed, waits) = oneshot::channel();
        let gone = |()| Error::Internal("the archiver is gone".into());
        self.queue.send(Item::Flush(flushed)).await.map_err(|_| gone(()))?;
        waits.await.map_err(|_| gone(()))
    }
}

async fn write(archive: Arc<Archive>, mut items: mpsc::Receiver<Item>) {
    let mut gathered = Vec::with_capacity(GROUP);
    while items.recv_many(&mut gathered, GROUP).await > 0 {
        let (mut entries, mut flushes, mut closes) = (Vec::new(), Vec::new(), false);
        for item in gathered.drain(..) {
            match item {
                Item::Entry(tenant, sequence, record) => entries.push((tenant, sequence, record)),
                Item::Flush(flushed) => flushes.push(flushed),
                Item::Close => closes = true,
            }
        }
        let entries = Arc::new(entries);
        loop {
            let (archive, entries) = (archive.clone(), entries.clone());
            match tokio::task::spawn_blocking(move || archive.append(&entries)).await {
                Ok(Ok(_)) => break,
                Ok(Err(error)) => error!(%error, "the archive refuses; trying again"),
                Err(error) => error!(%error, "the archive failed; trying again"),
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
        // Whoever waited may have gone.
        for flushed in flushes {
            let _ = flushed.send(());
        }
        if closes {
            return;
        }
    }
}
