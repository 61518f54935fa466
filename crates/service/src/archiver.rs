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
use tokio::time::Instant;
use tracing::error;

use crate::Error;
use crate::lock;

/// How many events wait for the disk at most, and as many again in the queue. Then whoever brings more waits: a replica's
/// follower, and with it its tenants.
const QUEUE: usize = 16 * 1024;
/// How many go in at once.
const GROUP: usize = 1024;
/// How long to wait before trying again, where the disk refuses.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The archive, and the queue into it.
pub(crate) struct Archiver {
    archive: Arc<Archive>,
    queue: mpsc::Sender<Item>,
    writing: tokio::sync::Mutex<Option<Writing>>,
    /// The last sequence that was taken in or is on its way, of each tenant that something came for.
    taken: Mutex<HashMap<TenantId, Sequence>>,
}

enum Item {
    Entry(TenantId, Sequence, Record),
    Flush(oneshot::Sender<Result<(), String>>),
}

/// The task that writes, and what ends it.
struct Writing {
    task: JoinHandle<()>,
    close: oneshot::Sender<()>,
}

impl Archiver {
    /// Starts the task that writes.
    pub(crate) fn start(archive: Archive) -> Self {
        let archive = Arc::new(archive);
        let (queue, items) = mpsc::channel(QUEUE);
        let (close, closes) = oneshot::channel();
        let task = tokio::spawn(write(archive.clone(), items, closes));
        Self {
            archive,
            queue,
            writing: tokio::sync::Mutex::new(Some(Writing { task, close })),
            taken: Mutex::new(HashMap::new()),
        }
    }

    /// Writes what is on its way and ends the task.
    pub(crate) async fn close(&self) {
        if let Some(Writing { task, close }) = self.writing.lock().await.take() {
            // An error means that it has ended already.
            let _ = close.send(());
            let _ = task.await;
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

type Entry = (TenantId, Sequence, Record);

/// Writes what comes, group by group. What the disk refuses is kept and tried again, every second and where somebody waits
/// for it; while as much waits as may, nothing more is taken.
async fn write(archive: Arc<Archive>, mut items: mpsc::Receiver<Item>, mut close: oneshot::Receiver<()>) {
    let mut pending: Vec<Entry> = Vec::new();
    let mut gathered = Vec::with_capacity(GROUP);
    // When to try again what was refused.
    let mut retry: Option<Instant> = None;
    loop {
        let room = GROUP.min(QUEUE.saturating_sub(pending.len()));
        let closes = tokio::select! {
            count = items.recv_many(&mut gathered, room), if room > 0 => count == 0,
            () = tokio::time::sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => false,
            _ = &mut close => true,
        };
        if closes {
            items.close();
            while let Ok(item) = items.try_recv() {
                gathered.push(item);
            }
        }
        let mut flushes = Vec::new();
        for item in gathered.drain(..) {
            match item {
                Item::Entry(tenant, sequence, record) => pending.push((tenant, sequence, record)),
                Item::Flush(flushed) => flushes.push(flushed),
            }
        }
        if retry.is_some_and(|at| Instant::now() < at) && flushes.is_empty() && !closes {
            continue;
        }
        let written = append(&archive, &mut pending).await;
        retry = written.is_err().then(|| Instant::now() + RETRY_AFTER);
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

/// Appends what waits. Where that fails, however it fails, it goes on waiting.
async fn append(archive: &Arc<Archive>, pending: &mut Vec<Entry>) -> Result<(), String> {
    if pending.is_empty() {
        return Ok(());
    }
    let (archive, entries) = (archive.clone(), Arc::new(std::mem::take(pending)));
    let appending = entries.clone();
    let appended = tokio::task::spawn_blocking(move || archive.append(&appending).map_err(|error| error.to_string()));
    let outcome = match appended.await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error,
        Err(error) => error.to_string(),
    };
    *pending = Arc::unwrap_or_clone(entries);
    Err(outcome)
}
