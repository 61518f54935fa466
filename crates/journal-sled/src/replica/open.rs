//! Opening a replica: the one that is there, if every row of it adds up; a new one otherwise.

use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, RwLock};

use model::{Fingerprint, TenantId};

use super::commit::{FORGETTING, TOTAL};
use super::rows::{Sum, Table, Total};
use super::{Hot, Replica, Trees};
use crate::alarm::Alarms;
use crate::store::Store;
use crate::{Error, place};

/// What the rows look like. Another version is not read: the replica is made anew.
const FORMAT: u32 = 4;
/// The key in `meta` of format and root.
const KIND: &[u8] = b"kind";
/// In a store's directory: it was made in full. What is not was never used.
const COMPLETE: &str = "complete";
/// How many stores that were set aside are kept.
const ASIDE_KEPT: usize = 3;

/// What a replica may take.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Memory for sled's pages, in bytes.
    pub cache_bytes: u64,
    /// How many tenants' heads and governance are kept ready.
    pub hot_tenants: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 64 * 1024 * 1024, hot_tenants: 1_024 }
    }
}

/// An open replica, and how it began.
pub struct Opened {
    /// The replica.
    pub replica: Replica,
    /// With what it starts.
    pub start: Start,
}

/// With what a replica starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// There was none.
    New,
    /// With the state that it had: of some moment, from which the log is followed on.
    Kept,
    /// With nothing: what was there can't be used. To be logged loudly; the log is to be read again.
    SetAside {
        /// Where it is now, for people to look at.
        to: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Replica {
    /// Opens the replica in a directory, or makes one, for tenants under this root.
    ///
    /// Every row is read and checked against the digest that the last commit left: sled's recovery leaves out what it
    /// can't read and goes on, and a state with a row missing is worse than none. A store that does not open, does not add
    /// up, is of another format or for another root is set aside, never deleted (but the newest three are kept only).
    ///
    /// # Errors
    /// [`Error::Locked`] where the directory is in use, [`Error::Io`] where the system refuses, or an alarm can't be read.
    pub fn open_with(dir: &Path, root: Fingerprint, options: Options) -> Result<Opened, Error> {
        place::private_dir(dir)?;
        let lock = place::lock(dir)?;
        let alarms = Alarms::open(&dir.join("alarms"))?;
        let path = dir.join("store");
        let mut start = Start::New;
        let mut found = None;
        if path.join(COMPLETE).exists() {
            match load(&path, root, options) {
                Ok(loaded) => (found, start) = (Some(loaded), Start::Kept),
                Err(Error::Broken { why, .. }) => start = Start::SetAside { to: set_aside(dir, &path)?, why },
                Err(error) => return Err(error),
            }
        } else if path.exists() {
            fs::remove_dir_all(&path).map_err(Error::io(&path))?;
        }
        let (store, trees, total) = match found {
            Some(loaded) => loaded,
            None => make(&path, root, options)?,
        };
        let hot = Mutex::new(Hot::new(options.hot_tenants));
        place::sync_dir(dir)?;
        let replica = Self { store, trees, alarms, total: RwLock::new(total), hot, _lock: lock };
        replica.forget_on()?;
        Ok(Opened { replica, start })
    }

    /// Says that this state is not to be believed: it answers nothing from here on, and is set aside when it is next
    /// opened. For whoever sees that it contradicts the log.
    pub fn condemn(&self, why: &str) {
        self.store.condemn(why);
    }

    /// Finishes what a crash interrupted.
    fn forget_on(&self) -> Result<(), Error> {
        let page = self.store.page(&self.trees.meta, Bound::Included(FORGETTING), Bound::Unbounded, usize::MAX)?;
        let unfinished = page.iter().filter_map(|(key, _)| key.strip_prefix(FORGETTING)?.try_into().ok());
        unfinished.map(TenantId::from_bytes).try_for_each(|tenant| self.forget(tenant))
    }
}

type Loaded = (Store, Trees, Total);

/// Opens a store that was made in full, and checks it.
fn load(path: &Path, root: Fingerprint, options: Options) -> Result<Loaded, Error> {
    let broken = |why: String| Error::Broken { path: path.to_owned(), why };
    let store = Store::open(path, options.cache_bytes)?;
    let trees = Trees::open(&store)?;
    match store.get(&trees.meta, KIND)? {
        Some(row) if *row == *kind(root) => {}
        Some(row) if row.starts_with(&FORMAT.to_be_bytes()) => {
            return Err(broken(format!("it is for another root than {root}")));
        }
        Some(_) => return Err(broken(format!("it is of another format than {FORMAT}"))),
        None => return Err(broken("it does not say what it is".to_owned())),
    }
    let row = store.get(&trees.meta, TOTAL)?;
    let total = row.and_then(|row| Total::read(&row)).ok_or_else(|| broken("its digest is missing".to_owned()))?;
    let mut sum = Sum::default();
    for table in Table::ALL.into_iter().filter(|table| table.is_state()) {
        store.each(trees.of(table), |key, value| sum.toggle(table, key, value))?;
    }
    if sum != total.sum {
        return Err(broken(format!("after {} groups its rows are not what was written", total.groups)));
    }
    Ok((store, trees, total))
}

/// Makes a store, in full or not at all.
fn make(path: &Path, root: Fingerprint, options: Options) -> Result<Loaded, Error> {
    let store = Store::open(path, options.cache_bytes)?;
    let trees = Trees::open(&store)?;
    let total = Total::default();
    let mut batch = sled::Batch::default();
    batch.insert(KIND, kind(root));
    batch.insert(TOTAL, total.to_row());
    store.write(&[(&trees.meta, batch)])?;
    store.sync()?;
    place::put_file(&path.join(COMPLETE), &[])?;
    Ok((store, trees, total))
}

fn kind(root: Fingerprint) -> Vec<u8> {
    [FORMAT.to_be_bytes().as_slice(), root.as_bytes()].concat()
}

/// Moves a store out of the way. The oldest go where there are more than a few.
fn set_aside(dir: &Path, path: &Path) -> Result<PathBuf, Error> {
    const ASIDE: &str = "store.set-aside-";
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let name = entry.map_err(Error::io(dir))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(ASIDE)?.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    let to = dir.join(format!("{ASIDE}{}", numbers.last().map_or(1, |last| last + 1)));
    fs::rename(path, &to).map_err(Error::io(path))?;
    for number in numbers.iter().rev().skip(ASIDE_KEPT - 1) {
        let old = dir.join(format!("{ASIDE}{number}"));
        fs::remove_dir_all(&old).map_err(Error::io(&old))?;
    }
    place::sync_dir(dir)?;
    Ok(to)
}
