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
use crate::lock;

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
    Flush(oneshot::Sender<Result<(), String>>),
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

    /// The first of these records (from `from` on) that the archive has otherwise: two histories of one tenant.
    pub(crate) fn differs(
        &self,
        tenant: TenantId,
        from: Sequence,
        records: &[Record],
    ) -> Result<Option<Sequence>, Error> {
        let last = self.archive.last(tenant)?;
        let known = usize::try_from((last.0 + 1).saturating_sub(from.0)).unwrap_or(usize::MAX).min(records.len());
        if known == 0 {
            return Ok(None);
        }
        let archived = self.archive.read(tenant, from, known, usize::MAX)?;
        let differs = archived.iter().zip(records).position(|(ours, log)| ours != log);
        Ok(differs.map(|place| Sequence(from.0 + place as u64)))
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

    /// Waits until everything taken so far is on the disk. Fails at once where the disk refuses it.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        let (flushed, waits) = oneshot::channel();
        let gone = || Error::Internal("the archiver is gone".into());
        self.queue.send(Item::Flush(flushed)).await.map_err(|_| gone())?;
        waits.await.map_err(|_| gone())?.map_err(Error::Archive)
    }
}

/// Writes what comes, group by group. What the disk refuses is kept and tried again, now and then and with the next.
async fn write(archive: Arc<Archive>, mut items: mpsc::Receiver<Item>) {
    let mut pending: Vec<(TenantId, Sequence, Record)> = Vec::new();
    let mut gathered = Vec::with_capacity(GROUP);
    loop {
        let retry = tokio::time::sleep(RETRY_AFTER);
        let closes = tokio::select! {
            count = items.recv_many(&mut gathered, GROUP) => count == 0,
            () = retry, if !pending.is_empty() => false,
        };
        let (mut flushes, mut closes) = (Vec::new(), closes);
        for item in gathered.drain(..) {
            match item {
                Item::Entry(tenant, sequence, record) => pending.push((tenant, sequence, record)),
                Item::Flush(flushed) => flushes.push(flushed),
                Item::Close => closes = true,
            }
        }
        let written = append(&archive, &mut pending).await;
        if let Err(error) = &written {
            error!(error, waiting = pending.len(), "the archive refuses; it is tried again");
        }
        for flushed in flushes {
            // Whoever waited may have gone.
            let _ = flushed.send(written.clone());
        }
        if closes {
            return;
        }
    }
}

/// Appends what waits. Where that fails, it goes on waiting.
async fn append(archive: &Arc<Archive>, pending: &mut Vec<(TenantId, Sequence, Record)>) -> Result<(), String> {
    if pending.is_empty() {
        return Ok(());
    }
    let (archive, entries) = (archive.clone(), std::mem::take(pending));
    let appended = tokio::task::spawn_blocking(move || {
        let appended = archive.append(&entries).map(|_| ()).map_err(|error| error.to_string());
        (entries, appended)
    });
    match appended.await {
        Ok((_, Ok(()))) => Ok(()),
        Ok((entries, Err(error))) => {
            *pending = entries;
            Err(error)
        }
        Err(error) => Err(error.to_string()),
    }
}
