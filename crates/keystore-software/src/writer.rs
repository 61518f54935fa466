//! Group commit: one thread writes a database, and whatever has gathered while one commit was on its way to the disk goes
//! into the next.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use redb::{Database, Durability, TableDefinition};

use crate::Error;
use crate::record::Id;
use crate::shelf::{META, WRAPPING_KEY};

/// The records, by tenant and key id.
pub(crate) const KEYS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("keys");

/// Jobs in one commit, at most.
const BATCH_MAX: usize = 1024;

/// A change of a database. Whether it is allowed was decided before, under the key's lock.
pub(crate) enum Change {
    /// Write the record, whatever was there.
    Put(Id, Vec<u8>),
    /// Remove it, if it is there.
    Remove(Id),
    /// Write down which wrapping key the records are under.
    NameKey(String),
}

/// Changes that are made together, or not at all.
struct Job {
    changes: Vec<Change>,
    done: SyncSender<Result<(), String>>,
}

/// The writing side of a database.
pub(crate) struct Writer {
    path: PathBuf,
    /// `None` only while being dropped.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    commits: Arc<AtomicU64>,
    #[cfg(test)]
    pub(crate) faults: Arc<tests::Faults>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(database: Arc<Database>, path: PathBuf) -> Result<Self, Error> {
        let (sender, receiver) = channel();
        let commits = Arc::new(AtomicU64::new(0));
        #[cfg(test)]
        let faults = Arc::new(tests::Faults::default());
        let worker = Worker {
            database,
            jobs: receiver,
            commits: Arc::clone(&commits),
            #[cfg(test)]
            faults: Arc::clone(&faults),
        };
        let thread = std::thread::Builder::new()
            .name("keystore-writer".to_owned())
            .spawn(move || worker.run())
            .map_err(Error::io("start the writing thread of", &path))?;
        Ok(Self {
            path,
            jobs: Some(sender),
            thread: Some(thread),
            commits,
            #[cfg(test)]
            faults,
        })
    }

    /// Makes changes in one commit; returns when they are on the disk.
    pub(crate) fn write(&self, changes: Vec<Change>) -> Result<(), Error> {
        let failed = |what: &str| Error::Database { path: self.path.clone(), what: what.to_owned() };
        let (done, answer) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or_else(|| failed("it is closed"))?;
        jobs.send(Job { changes, done }).map_err(|_| failed("its writing thread has ended"))?;
        answer.recv().map_err(|_| failed("its writing thread has ended"))?.map_err(|what| failed(&what))
    }

    /// How many commits were made.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    /// Waits for the thread, and so for the database to be let go.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    database: Arc<Database>,
    jobs: Receiver<Job>,
    commits: Arc<AtomicU64>,
    #[cfg(test)]
    faults: Arc<tests::Faults>,
}

impl Worker {
    fn run(self) {
        while let Ok(first) = self.jobs.recv() {
            let mut batch = vec![first];
            batch.extend(self.jobs.try_iter().take(BATCH_MAX - 1));
            let outcome = self.commit(&batch);
            for job in batch {
                // Who asked may be gone.
                let _ = job.done.send(outcome.clone());
            }
        }
    }

    fn commit(&self, batch: &[Job]) -> Result<(), String> {
        #[cfg(test)]
        self.faults.before()?;
        self.try_commit(batch).map_err(|error| error.to_string())?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        #[cfg(test)]
        self.faults.after()?;
        Ok(())
    }

    fn try_commit(&self, batch: &[Job]) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut keys = transaction.open_table(KEYS)?;
            for change in batch.iter().flat_map(|job| &job.changes) {
                match change {
                    Change::Put(id, record) => drop(keys.insert(&id[..], &record[..])?),
                    Change::Remove(id) => drop(keys.remove(&id[..])?),
                    Change::NameKey(name) => {
                        drop(transaction.open_table(META)?.insert(WRAPPING_KEY, name.as_bytes())?);
                    }
                }
            }
        }
        transaction.commit()?; // COMMIT POINT: on the disk when this returns
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    /// Where a commit is to be cut short.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// Nothing was written.
        Failed,
        /// It was written, and nobody was told.
        FailedButPersisted,
    }

    /// The fault that is waiting for a commit, and how many commits pass before.
    #[derive(Default)]
    pub(crate) struct Faults(Mutex<Option<(u32, Fault)>>);

    impl Faults {
        /// For the next commit.
        pub(crate) fn set(&self, fault: Option<Fault>) {
            self.set_after(0, fault);
        }

        /// For the one after so many.
        pub(crate) fn set_after(&self, commits: u32, fault: Option<Fault>) {
            *self.0.lock().unwrap() = fault.map(|fault| (commits, fault));
        }

        /// Whether one is still waiting.
        pub(crate) fn waiting(&self) -> bool {
            self.0.lock().unwrap().is_some()
        }

        fn strike(&self, now: Fault) -> Result<(), String> {
            let mut waiting = self.0.lock().unwrap();
            match &mut *waiting {
                Some((0, fault)) if *fault == now => {
                    *waiting = None;
                    Err("fault injected".to_owned())
                }
                // A commit is over with what comes after it.
                Some((left, _)) if *left > 0 && now == Fault::FailedButPersisted => {
                    *left -= 1;
                    Ok(())
                }
                _ => Ok(()),
            }
        }

        pub(crate) fn before(&self) -> Result<(), String> {
            self.strike(Fault::Failed)
        }

        pub(crate) fn after(&self) -> Result<(), String> {
            self.strike(Fault::FailedButPersisted)
        }
    }
}
