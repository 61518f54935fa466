//! sled, held at arm's length.
//!
//! Three things about sled 0.34 shape this module (all measured, see the decision record):
//! - `flush` hands the log's bytes to the disk but syncs neither the file's length nor the disk's cache, and never the
//!   blob files. [`Store::sync`] does.
//! - Its recovery can panic, and it can leave out what it can't read and go on. So every call is guarded here, and what
//!   comes back from an open is checked by its owner ([`crate::replica`] by a digest, the archive's index against the
//!   segments).
//! - Its threads may hold its file lock for a moment after it was dropped.

use std::any::Any;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sled::transaction::TransactionError;
use sled::{Batch, Db, IVec, Transactional as _, Tree};

use crate::{Error, place};

/// In a store's directory: it is not to be opened again, and why.
const CONDEMNED: &str = "condemned";
/// How long to wait for threads of a store that this process has just closed.
const CLOSING: Duration = Duration::from_secs(10);

/// One sled store.
pub(crate) struct Store {
    db: Db,
    dir: PathBuf,
    log: File,
    /// The blob files that are known to be synced.
    blobs: Mutex<HashSet<OsString>>,
    broken: AtomicBool,
}

/// One row.
pub(crate) type Row = (IVec, IVec);

impl Store {
    /// Opens it, or makes it. [`Error::Broken`] where it is there and can't be read; any other error says nothing about
    /// the store.
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, Error> {
        place::private_dir(dir)?;
        let condemned = dir.join(CONDEMNED);
        if condemned.exists() {
            let why = fs::read_to_string(&condemned).unwrap_or_default();
            return Err(Error::Broken { path: dir.to_owned(), why });
        }
        let config = sled::Config::new().path(dir).cache_capacity(cache_bytes);
        let db = guarded(dir, || open_unlocked(&config))?;
        let path = dir.join("db");
        let log = File::open(&path).map_err(Error::io(&path))?;
        place::sync_dir(dir)?;
        Ok(Self { db, dir: dir.to_owned(), log, blobs: Mutex::default(), broken: AtomicBool::new(false) })
    }

    /// A tree, made where there is none.
    pub(crate) fn tree(&self, name: &str) -> Result<Tree, Error> {
        self.guard(|| self.db.open_tree(name))
    }

    /// One value.
    pub(crate) fn get(&self, tree: &Tree, key: &[u8]) -> Result<Option<IVec>, Error> {
        self.guard(|| tree.get(key))
    }

    /// At most `limit` rows from `from` on, with keys below `until` where there is one, in order.
    pub(crate) fn page(
        &self,
        tree: &Tree,
        from: Bound<&[u8]>,
        until: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        self.guard(|| tree.range::<&[u8], _>((from, until)).take(limit).collect())
    }

    /// The last row between.
    pub(crate) fn last_in(&self, tree: &Tree, from: Bound<&[u8]>, until: Bound<&[u8]>) -> Result<Option<Row>, Error> {
        self.guard(|| tree.range::<&[u8], _>((from, until)).next_back().transpose())
    }

    /// Every row of a tree, one after the other.
    pub(crate) fn each(&self, tree: &Tree, mut see: impl FnMut(&[u8], &[u8])) -> Result<(), Error> {
        self.guard(|| {
            tree.iter().try_for_each(|row| {
                let (key, value) = row?;
                see(&key, &value);
                Ok(())
            })
        })
    }

    /// Writes to several trees at once: after a crash all of it is there or nothing. Not durable before [`Store::sync`].
    ///
    /// Where it fails, memory may hold a part: the store answers nothing from then on.
    pub(crate) fn write(&self, batches: &[(&Tree, Batch)]) -> Result<(), Error> {
        let trees: Vec<&Tree> = batches.iter().map(|(tree, _)| *tree).collect();
        let written = self.guard(|| {
            let outcome = trees.as_slice().transaction(|views| {
                views.iter().zip(batches).try_for_each(|(view, (_, batch))| Ok(view.apply_batch(batch)?))
            });
            outcome.map_err(|error: TransactionError<()>| match error {
                TransactionError::Storage(error) => error,
                TransactionError::Abort(()) => sled::Error::ReportableBug("nothing aborts".to_owned()),
            })
        });
        if written.is_err() {
            self.broken.store(true, Ordering::Release);
        }
        written
    }

    /// Makes everything written so far durable: through sled's buffers, then new blob files and their names, then the
    /// log's data and length.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.guard(|| self.db.flush())?;
        self.sync_blobs()?;
        self.log.sync_data().map_err(Error::io(&self.dir.join("db"))).inspect_err(|_| {
            // What the system could not write once it may report as written the next time.
            self.broken.store(true, Ordering::Release);
        })
    }

    /// sled writes pages above 128 KiB to files of their own and syncs neither them nor their names.
    fn sync_blobs(&self) -> Result<(), Error> {
        let dir = self.dir.join("blobs");
        let mut synced = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut present = HashSet::new();
        for entry in fs::read_dir(&dir).map_err(Error::io(&dir))? {
            present.insert(entry.map_err(Error::io(&dir))?.file_name());
        }
        let new: Vec<&OsString> = present.difference(&synced).collect();
        for name in &new {
            let path = dir.join(name);
            match File::open(&path).and_then(|file| file.sync_data()) {
                // Superseded meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                synced => synced.map_err(Error::io(&path))?,
            }
        }
        if !new.is_empty() {
            place::sync_dir(&dir)?;
        }
        *synced = present;
        Ok(())
    }

    /// Says that the store is not to be believed, now and when it is opened again.
    pub(crate) fn condemn(&self, why: &str) -> Error {
        self.broken.store(true, Ordering::Release);
        // Where even this can't be written, the check of the next open still stands.
        let _ = place::put_file(&self.dir.join(CONDEMNED), why.as_bytes());
        Error::Broken { path: self.dir.clone(), why: why.to_owned() }
    }

    /// An error where the store has failed before.
    pub(crate) fn usable(&self) -> Result<(), Error> {
        if self.broken.load(Ordering::Acquire) {
            let why = "it failed before".to_owned();
            return Err(Error::Broken { path: self.dir.clone(), why });
        }
        Ok(())
    }

    fn guard<T>(&self, work: impl FnOnce() -> sled::Result<T>) -> Result<T, Error> {
        self.usable()?;
        guarded(&self.dir, work).map_err(|error| match error {
            Error::Broken { why, .. } => self.condemn(&why),
            other => other,
        })
    }
}

/// Opens a store whose directory this process holds the lock of, so that whoever still holds sled's own is a thread of
/// this process on its way out.
fn open_unlocked(config: &sled::Config) -> sled::Result<Db> {
    let start = Instant::now();
    loop {
        match config.open() {
            Err(sled::Error::Io(error)) if is_lock(&error) && start.elapsed() < CLOSING => std::thread::yield_now(),
            opened => return opened,
        }
    }
}

fn is_lock(error: &io::Error) -> bool {
    error.to_string().starts_with("could not acquire lock")
}

/// Turns whatever sled does, panics included, into one of: a value, an error of the system, a broken store.
fn guarded<T>(dir: &Path, work: impl FnOnce() -> sled::Result<T>) -> Result<T, Error> {
    let broken = |why: String| Error::Broken { path: dir.to_owned(), why };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(source))) if is_of_the_system(&source) => {
            Err(Error::Io { path: dir.to_owned(), source })
        }
        Ok(Err(error)) => Err(broken(error.to_string())),
        Err(panic) => Err(broken(format!("sled panicked: {}", text_of(panic.as_ref())))),
    }
}

/// Whether an error says something about the machine, and nothing about the store: a short file is also an IO error.
fn is_of_the_system(error: &io::Error) -> bool {
    use io::ErrorKind::{
        Interrupted, OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull, WouldBlock,
    };
    const TOO_MANY_FILES: [i32; 2] = [23, 24];
    let of_kind = matches!(
        error.kind(),
        Interrupted | OutOfMemory | PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull | WouldBlock
    );
    of_kind || is_lock(error) || error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code))
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
