//! The archive: every event of every tenant, byte for byte, on a second medium beside the log.
//!
//! Segment files shared by all tenants are the archive; a sled index says where in them each event is, and is made anew
//! from them whenever it is missing, broken or behind.
//!
//! ```text
//! lock                     held while open
//! segment-<number>.log     numbered from 1 without gaps; the last one is written to (layout: archive/frame.rs)
//! index/                   sled: trees events heads mark
//! tree/<tenant>            the hashes of its Merkle tree, a cache (archive/tree.rs)
//! ```

mod frame;
mod index;
mod open;
mod segment;
mod tree;

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use journal::Record;
use journal::merkle::{self, Hash};
use model::{Sequence, TenantId};

pub use open::{Cut, Opened, Options, Progress};

use crate::Error;
use frame::{Group, HEADER, RECORD_MAX};
use index::{Index, Mark, Place};
use tree::{Tree, Trees};

/// The bytes of all tenants' events, on disk. Shared by threads; one process at a time.
pub struct Archive {
    dir: PathBuf,
    index: Index,
    trees: Trees,
    writer: Mutex<Writer>,
    segment_bytes: u64,
    /// Last, so that it is let go of after the index.
    _lock: crate::place::Lock,
}

/// The end of the last segment.
struct Writer {
    number: u32,
    file: File,
    length: u64,
    failed: bool,
}

impl Archive {
    /// Appends events, in order, of any number of tenants, each tenant's without a gap. Those that are there already, byte
    /// for byte, are passed over. Answers with how many are new.
    ///
    /// COMMIT POINT: the sync of the group that an event is in (one sync an append, where it isn't larger than a few MiB).
    /// After a crash before it, the torn group is cut off when the archive is opened; after it, the event is there, in the
    /// index or found again. What this has returned for is on disk.
    ///
    /// # Errors
    /// [`Error::Differs`], [`Error::Gap`] and [`Error::TooLarge`] say that nothing was written. After [`Error::Failed`] and
    /// an IO error a part may stand; open the archive anew and append the same again.
    pub fn append(&self, events: &[(TenantId, Sequence, Record)]) -> Result<usize, Error> {
        let mut writer = self.writer();
        if writer.failed {
            return Err(Error::Failed(segment::path(&self.dir, writer.number)));
        }
        let new = self.new_ones(events)?;
        let mut rest = new.as_slice();
        while !rest.is_empty() {
            let mut group = Group::new();
            let taken = rest.iter().take_while(|(tenant, sequence, record)| {
                let fits = group.fits(record);
                if fits {
                    group.push(*tenant, *sequence, record);
                }
                fits
            });
            let (now, later) = rest.split_at(taken.count());
            self.write(&mut writer, &group.seal(), now)?;
            rest = later;
        }
        Ok(new.len())
    }

    /// The events that are not there yet.
    fn new_ones<'a>(&self, events: &'a [(TenantId, Sequence, Record)]) -> Result<Vec<New<'a>>, Error> {
        let mut new: Vec<New<'a>> = Vec::with_capacity(events.len());
        // Of each tenant in this batch: the last event archived, and where in `new` its first one is.
        let mut lasts: HashMap<TenantId, Sequence> = HashMap::new();
        let mut given: HashMap<(TenantId, Sequence), &'a Record> = HashMap::new();
        for (tenant, sequence, record) in events {
            let (tenant, sequence) = (*tenant, *sequence);
            let bytes = frame::size_of(record);
            if bytes > RECORD_MAX {
                return Err(Error::TooLarge { tenant, sequence, bytes });
            }
            let last = match lasts.get(&tenant) {
                Some(last) => *last,
                None => self.index.last(tenant)?,
            };
            if sequence == last.next() {
                new.push((tenant, sequence, record));
                given.insert((tenant, sequence), record);
                lasts.insert(tenant, sequence);
                continue;
            }
            if sequence > last || sequence == Sequence::NONE {
                return Err(Error::Gap { tenant, last, given: sequence });
            }
            let same = match given.get(&(tenant, sequence)) {
                Some(given) => *given == record,
                None => self.one(tenant, sequence)? == *record,
            };
            if !same {
                return Err(Error::Differs { tenant, sequence });
            }
        }
        Ok(new)
    }

    fn write(&self, writer: &mut Writer, group: &Group, events: &[New<'_>]) -> Result<(), Error> {
        let length = group.bytes.len() as u64;
        if writer.length > HEADER && writer.length + length > self.segment_bytes {
            let number = writer.number + 1;
            *writer = Writer { number, file: segment::create(&self.dir, number)?, length: HEADER, failed: false };
        }
        let path = segment::path(&self.dir, writer.number);
        if let Err(source) = writer.file.write_all_at(&group.bytes, writer.length) {
            // No space left, most likely. What was begun is taken back; where even that fails, nothing more is written.
            writer.failed = writer.file.set_len(writer.length).is_err();
            return Err(Error::Io { path, source });
        }
        if let Err(source) = writer.file.sync_data() {
            // What the system could not write once it may report as written the next time.
            writer.failed = true;
            return Err(Error::Io { path, source });
        }
        let begin = writer.length;
        writer.length += length;
        let entry = |((tenant, sequence, _), (offset, length)): (&New<'_>, &(usize, usize))| {
            let place = Place { segment: writer.number, offset: begin + *offset as u64, length: *length as u32 };
            (*tenant, *sequence, place)
        };
        let entries: Vec<_> = events.iter().zip(&group.places).map(entry).collect();
        self.index.add(&entries, Mark { segment: writer.number, offset: writer.length })?;
        let leaf = |(tenant, sequence, record): &New<'_>| (*tenant, sequence.0 - 1, *record.hash().as_bytes());
        // The events are archived. What the cache did not take it takes when a proof is asked for, or says why it can't.
        let _ = self.trees.add_all(events.iter().map(leaf));
        Ok(())
    }

    // === Reading ===

    /// The last event of a tenant; [`Sequence::NONE`] where there is none.
    pub fn last(&self, tenant: TenantId) -> Result<Sequence, Error> {
        self.index.last(tenant)
    }

    /// The tenants after this one, in the order of their bytes, at most `limit`, each with its last event.
    pub fn tenants(&self, after: Option<TenantId>, limit: usize) -> Result<Vec<(TenantId, Sequence)>, Error> {
        self.index.tenants(after, limit)
    }

    /// A tenant's events from this one on, without a gap: at most `max_events`, and not more than `max_bytes` of them, but
    /// at least one where there is one.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the file and the offset of an entry that is not what was written.
    pub fn read(
        &self,
        tenant: TenantId,
        from: Sequence,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, Error> {
        let mut sequence = from.max(Sequence(1));
        let mut left = max_bytes;
        let mut records = Vec::new();
        for place in self.index.places(tenant, sequence, max_events)? {
            // Its length on disk is a little more than the event's: known before it is read.
            let length = place.length as usize;
            if length > left && !records.is_empty() {
                break;
            }
            records.push(self.at(tenant, sequence, place)?);
            left = left.saturating_sub(length);
            sequence = sequence.next();
        }
        Ok(records)
    }

    /// All events of a tenant from this one on, a few at a time.
    pub fn events(
        &self,
        tenant: TenantId,
        from: Sequence,
    ) -> impl Iterator<Item = Result<(Sequence, Record), Error>> + '_ {
        const EVENTS: usize = 128;
        const BYTES: usize = 1024 * 1024;
        let mut next = from.max(Sequence(1));
        let mut page = Vec::new().into_iter();
        let mut over = false;
        std::iter::from_fn(move || {
            if page.len() == 0 && !over {
                match self.read(tenant, next, EVENTS, BYTES) {
                    Ok(records) => page = records.into_iter(),
                    Err(error) => {
                        over = true;
                        return Some(Err(error));
                    }
                }
            }
            let event = page.next().map(|record| (next, record))?;
            next = next.next();
            Some(Ok(event))
        })
    }

    // === Proofs ===

    /// The proof that an event is in the tree over a tenant's first `size` events (RFC 6962 section 2.1.1), which leads from
    /// the event's bytes as they are on the disk to this root.
    ///
    /// # Errors
    /// [`Error::Beyond`] where so many are not archived; [`Error::OtherRoot`] where the archived events have another root.
    pub fn inclusion(&self, tenant: TenantId, event: Sequence, size: u64, root: &Hash) -> Result<Vec<Hash>, Error> {
        let index = event.0.checked_sub(1).filter(|index| *index < size);
        let index = index.ok_or(Error::Beyond { tenant, last: Sequence(size), asked: event })?;
        self.proved(tenant, size, |tree| {
            let leaf = self.one(tenant, event)?.hash();
            let path = merkle::inclusion(index, size, |subtree| tree.hash(subtree))?;
            Ok(merkle::includes(root, size, index, leaf.as_bytes(), &path).then_some(path))
        })
    }

    /// The proof that the tree over a tenant's first `to` events, which has this root, continues the one over the first
    /// `from` (RFC 6962 section 2.1.2).
    ///
    /// # Errors
    /// As [`Archive::inclusion`].
    pub fn consistency(&self, tenant: TenantId, from: u64, to: u64, root: &Hash) -> Result<Vec<Hash>, Error> {
        if from > to {
            return Err(Error::Beyond { tenant, last: Sequence(to), asked: Sequence(from) });
        }
        self.proved(tenant, to, |tree| {
            let older = merkle::root_of(from, |subtree| tree.hash(subtree))?;
            let path = merkle::consistency(from, to, |subtree| tree.hash(subtree))?;
            // Of nothing, nothing can be proved.
            let holds = match from {
                0 => merkle::root_of(to, |subtree| tree.hash(subtree))? == *root,
                _ => merkle::continues(from, &older, to, root, &path),
            };
            Ok(holds.then_some(path))
        })
    }

    /// Makes a proof from a tenant's tree hashes. Where it does not hold, or they can't be read, they are made anew from the
    /// events, once.
    fn proved(
        &self,
        tenant: TenantId,
        size: u64,
        make: impl Fn(&Tree) -> Result<Option<Vec<Hash>>, Error>,
    ) -> Result<Vec<Hash>, Error> {
        let attempt = || make(&self.tree(tenant, size)?);
        match attempt() {
            Ok(Some(proof)) => return Ok(proof),
            Ok(None) | Err(Error::Io { .. }) => self.trees.remove(tenant)?,
            Err(error) => return Err(error),
        }
        attempt()?.ok_or(Error::OtherRoot { tenant, size })
    }

    /// A tenant's tree hashes, brought up to so many events at least.
    fn tree(&self, tenant: TenantId, size: u64) -> Result<Tree, Error> {
        const EVENTS: usize = 1_024;
        const BYTES: usize = 4 * 1024 * 1024;
        let last = self.last(tenant)?;
        if size > last.0 {
            return Err(Error::Beyond { tenant, last, asked: Sequence(size) });
        }
        loop {
            let from = self.trees.size(tenant)?;
            if from >= size {
                return self.trees.tree(tenant);
            }
            let records = self.read(tenant, Sequence(from).next(), EVENTS, BYTES)?;
            let leaves: Vec<Hash> = records.iter().map(|record| *record.hash().as_bytes()).collect();
            self.trees.add(tenant, from, &leaves)?;
        }
    }

    /// Reads everything: every checksum, and that the index says where everything is.
    pub fn verify(&self, mut progress: impl FnMut(Progress)) -> Result<(), Error> {
        let (last, length) = {
            let writer = self.writer();
            (writer.number, writer.length)
        };
        let mut events = 0;
        for number in 1..=last {
            let mut scan = segment::Scan::open(&self.dir, number, HEADER)?;
            if number == last {
                scan.length = length;
            }
            while let Some(group) = scan.next()? {
                let group = group.map_err(|bad| open::damaged(&scan.path, bad.at, bad.why))?;
                for (offset, length, entry) in &group.entries {
                    let place = Place { segment: number, offset: *offset, length: *length };
                    self.verify_entry(entry, place)?;
                }
                events += group.entries.len() as u64;
            }
            progress(Progress { segment: number, of: last, events });
        }
        Ok(())
    }

    fn verify_entry(&self, entry: &frame::Entry, place: Place) -> Result<(), Error> {
        let (tenant, sequence) = (entry.tenant, entry.sequence);
        if self.index.place(tenant, sequence)? == Some(place) || self.one(tenant, sequence)? == entry.record {
            return Ok(());
        }
        let why = format!("event {} of tenant {tenant} is here with other bytes than before", sequence.0);
        Err(open::damaged(&segment::path(&self.dir, place.segment), place.offset, why))
    }

    /// How many bytes the segments have.
    pub fn bytes(&self) -> Result<u64, Error> {
        let last = self.writer().number;
        let size = |number| {
            let path = segment::path(&self.dir, number);
            path.metadata().map(|metadata| metadata.len()).map_err(Error::io(&path))
        };
        (1..=last).map(size).sum()
    }

    /// One event that is known to be there.
    fn one(&self, tenant: TenantId, sequence: Sequence) -> Result<Record, Error> {
        let place = self.index.place(tenant, sequence)?;
        let place = place.ok_or_else(|| self.index.missing(tenant, sequence))?;
        self.at(tenant, sequence, place)
    }

    fn at(&self, tenant: TenantId, sequence: Sequence, place: Place) -> Result<Record, Error> {
        let entry = segment::read_at(&self.dir, place.segment, place.offset, place.length)?;
        if (entry.tenant, entry.sequence) == (tenant, sequence) {
            return Ok(entry.record);
        }
        Err(self.index.broken(&format!("event {} of tenant {tenant} is not where it says", sequence.0)))
    }

    /// A thread that panicked with the lock held had not begun to write, or had not got to the end: the length is right.
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event that is not archived yet.
type New<'a> = (TenantId, Sequence, &'a Record);
