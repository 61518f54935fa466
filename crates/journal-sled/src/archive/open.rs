//! Opening an archive: cutting off what a crash tore, and indexing what the index does not have.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use model::{Sequence, TenantId};

use super::frame::{Entry, HEADER};
use super::index::{Index, Mark, Place};
use super::segment::{self, Bad, Scan};
use super::tree::Trees;
use super::{Archive, Writer};
use crate::{Error, place};

/// How an archive is written.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A new segment is begun before one grows beyond this, in bytes.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 * 1024 * 1024 }
    }
}

/// An open archive, and what opening it took.
pub struct Opened {
    /// The archive.
    pub archive: Archive,
    /// What was cut off the end: an append that was never acknowledged. (Or, if at the same time the index was made anew,
    /// the last one that was, damaged: what is then missing is in the log.)
    pub cut: Option<Cut>,
    /// Why the index was made anew, where it was.
    pub reindexed: Option<String>,
}

/// The end of a segment that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub file: PathBuf,
    /// Where it ends now, in bytes.
    pub offset: u64,
    /// How many bytes went.
    pub bytes: u64,
    /// What was wrong with them.
    pub why: String,
}

/// How far reading the segments has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// In which segment.
    pub segment: u32,
    /// Of how many.
    pub of: u32,
    /// Events read so far.
    pub events: u64,
}

impl Archive {
    /// Opens the archive in a directory, or makes one.
    ///
    /// Only what the index does not have is read, which is everything where there is none: `progress` says how far it is.
    /// An append that a crash tore is cut off: the end of the last segment, with nothing whole behind it, and nothing that
    /// the index knows to have been synced.
    ///
    /// # Errors
    /// [`Error::Damaged`] names file and offset of anything else that isn't what was written, [`Error::Format`] a file of
    /// another version. Nothing is thrown away then.
    pub fn open(dir: &Path, options: Options, mut progress: impl FnMut(Progress)) -> Result<Opened, Error> {
        place::private_dir(dir)?;
        let lock = place::lock(dir)?;
        let last = match segment::last(dir)? {
            0 => segment::create(dir, 1).map(|_| 1)?,
            last => last,
        };
        // What a killed process has written and not synced must not be taken for archived before it is.
        let file = segment::open_to_write(dir, last)?;
        file.sync_all().map_err(Error::io(dir))?;

        let path = dir.join("index");
        let (index, mut reindexed) = match Index::open(&path) {
            Ok(index) => (index, None),
            Err(Error::Broken { why, .. }) => (remake(&path)?, Some(why)),
            Err(error) => return Err(error),
        };
        let (index, cut) = match CatchUp::run(dir, index, last, &mut progress)? {
            Caught::Up(index, cut) => (index, cut),
            Caught::Behind(index, gap) => {
                drop(index);
                reindexed = Some(gap.why);
                match CatchUp::run(dir, remake(&path)?, last, &mut progress)? {
                    Caught::Up(index, cut) => (index, cut),
                    Caught::Behind(_, gap) => return Err(damaged(&gap.file, gap.offset, gap.why)),
                }
            }
        };
        let length = file.metadata().map_err(Error::io(dir))?.len();
        let writer = Mutex::new(Writer { number: last, file, length, failed: false });
        let segment_bytes = options.segment_bytes;
        let trees = Trees::open(dir)?;
        let archive = Self { dir: dir.to_owned(), index, trees, writer, segment_bytes, _lock: lock };
        Ok(Opened { archive, cut, reindexed })
    }
}

fn remake(path: &Path) -> Result<Index, Error> {
    Index::remove(path)?;
    Index::open(path)
}

pub(super) fn damaged(file: &Path, offset: u64, why: String) -> Error {
    Error::Damaged { file: file.to_owned(), offset, why }
}

enum Caught {
    /// The index has everything; what was cut off.
    Up(Index, Option<Cut>),
    /// The index can't be right: an event before those that it lacks is missing in it.
    Behind(Index, Gap),
}

/// An event that follows none that is known.
struct Gap {
    file: PathBuf,
    offset: u64,
    why: String,
}

/// Indexing what is behind the mark.
struct CatchUp<'a> {
    dir: &'a Path,
    index: Index,
    last: u32,
    /// Of tenants seen here: the last event, in the index or about to be.
    heads: HashMap<TenantId, Sequence>,
    found: Vec<(TenantId, Sequence, Place)>,
    events: u64,
}

/// So many events go into the index at once.
const STEP: usize = 4_096;

impl<'a> CatchUp<'a> {
    fn run(dir: &'a Path, index: Index, last: u32, progress: &mut impl FnMut(Progress)) -> Result<Caught, Error> {
        let mark = index.mark()?.unwrap_or(Mark { segment: 1, offset: HEADER });
        if mark.segment > last {
            return Err(damaged(&segment::path(dir, mark.segment), 0, "it is missing".to_owned()));
        }
        let mut catch_up = Self { dir, index, last, heads: HashMap::new(), found: Vec::new(), events: 0 };
        let mut cut = None;
        for number in mark.segment..=last {
            let offset = if number == mark.segment { mark.offset } else { HEADER };
            let mut scan = Scan::open(dir, number, offset)?;
            if scan.length < offset {
                let why = format!("it ends here, and was written up to {offset}");
                return Err(damaged(&scan.path, scan.length, why));
            }
            while let Some(group) = scan.next()? {
                match group {
                    Ok(group) => {
                        for (offset, length, entry) in group.entries {
                            let place = Place { segment: number, offset, length };
                            if let Err(why) = catch_up.take(&scan.path, entry, place)? {
                                let gap = Gap { file: scan.path, offset, why };
                                return Ok(Caught::Behind(catch_up.index, gap));
                            }
                        }
                        if catch_up.found.len() >= STEP {
                            catch_up.store(number, scan.offset)?;
                            progress(Progress { segment: number, of: last, events: catch_up.events });
                        }
                    }
                    Err(bad) => {
                        cut = Some(catch_up.cut(number, &scan, bad)?);
                        break;
                    }
                }
            }
            catch_up.store(number, scan.offset)?;
            progress(Progress { segment: number, of: last, events: catch_up.events });
        }
        Ok(Caught::Up(catch_up.index, cut))
    }

    /// Takes an event in; says why not, where the index lacks one before it.
    fn take(&mut self, path: &Path, entry: Entry, place: Place) -> Result<Result<(), String>, Error> {
        let (tenant, sequence) = (entry.tenant, entry.sequence);
        let last = match self.heads.get(&tenant) {
            Some(last) => *last,
            None => self.index.last(tenant)?,
        };
        if sequence > last.next() {
            let why = format!("event {} of tenant {tenant} follows event {}", sequence.0, last.0);
            return Ok(Err(why));
        }
        self.events += 1;
        if sequence == last.next() {
            self.heads.insert(tenant, sequence);
            self.found.push((tenant, sequence, place));
            return Ok(Ok(()));
        }
        // Archived a second time, because an index did not know of the first: the same, or something is wrong.
        let pending = self.found.iter().find(|found| (found.0, found.1) == (tenant, sequence)).map(|found| found.2);
        let Some(before) = pending.map_or_else(|| self.index.place(tenant, sequence), |place| Ok(Some(place)))? else {
            return Ok(Err(format!("event {} of tenant {tenant} is not in the index", sequence.0)));
        };
        let same = segment::read_at(self.dir, before.segment, before.offset, before.length)? == entry;
        let why = || format!("event {} of tenant {tenant} is here with other bytes than before", sequence.0);
        if same { Ok(Ok(())) } else { Err(damaged(path, place.offset, why())) }
    }

    fn store(&mut self, segment: u32, offset: u64) -> Result<(), Error> {
        let mark = Mark { segment, offset };
        if !self.found.is_empty() || self.index.mark()? != Some(mark) {
            self.index.add(&self.found, mark)?;
            self.found.clear();
        }
        Ok(())
    }

    /// Cuts a torn append off.
    fn cut(&self, number: u32, scan: &Scan, bad: Bad) -> Result<Cut, Error> {
        if number != self.last || scan.whole_group_behind(bad.group)? {
            return Err(damaged(&scan.path, bad.at, bad.why));
        }
        let file = segment::open_to_write(self.dir, number)?;
        file.set_len(bad.group).and_then(|()| file.sync_all()).map_err(Error::io(&scan.path))?;
        let bytes = scan.length - bad.group;
        Ok(Cut { file: scan.path.clone(), offset: bad.group, bytes, why: bad.why })
    }
}
