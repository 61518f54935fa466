//! Where in the segments each event is. Only an index: it is never ahead of what is synced, and can be made anew.

use std::fs;
use std::ops::Bound;
use std::path::Path;

use model::{Sequence, TenantId};
use sled::{Batch, Tree};

use crate::Error;
use crate::store::Store;

/// Memory for sled's pages, in bytes.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// The key of the one row in `mark`.
const MARK: &[u8] = b"mark";

pub(super) struct Index {
    store: Store,
    /// tenant, sequence: segment, offset, length.
    events: Tree,
    /// tenant: the last sequence.
    heads: Tree,
    /// Up to where the segments are indexed.
    mark: Tree,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u64,
    pub(super) length: u32,
}

/// Up to where the segments are indexed: everything before the offset in this segment, and all segments before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) segment: u32,
    pub(super) offset: u64,
}

impl Index {
    /// Opens it, or makes it. [`Error::Broken`] where it does not agree with itself.
    pub(super) fn open(dir: &Path) -> Result<Self, Error> {
        let store = Store::open(dir, CACHE_BYTES)?;
        let (events, heads, mark) = (store.tree("events")?, store.tree("heads")?, store.tree("mark")?);
        let index = Self { store, events, heads, mark };
        index.check()?;
        Ok(index)
    }

    /// Takes away what can't be used.
    pub(super) fn remove(dir: &Path) -> Result<(), Error> {
        if dir.exists() { fs::remove_dir_all(dir).map_err(Error::io(dir)) } else { Ok(()) }
    }

    /// That the last events of all tenants are there; what is missing further back shows when it is read.
    fn check(&self) -> Result<(), Error> {
        let mut after = None;
        while let Some((tenant, last)) = self.tenants(after, 1)?.pop() {
            let found = self.store.last(&self.events, tenant.as_bytes())?;
            if found.as_deref() != Some(event(tenant, last).as_slice()) {
                return Err(self.broken(&format!("event {} of tenant {tenant} is not in it", last.0)));
            }
            after = Some(tenant);
        }
        Ok(())
    }

    pub(super) fn broken(&self, why: &str) -> Error {
        self.store.condemn(why)
    }

    pub(super) fn mark(&self) -> Result<Option<Mark>, Error> {
        let row = self.store.get(&self.mark, MARK)?;
        row.map(|row| read_mark(&row).ok_or_else(|| self.broken("its mark can't be read"))).transpose()
    }

    /// The last event of a tenant; [`Sequence::NONE`] where there is none.
    pub(super) fn last(&self, tenant: TenantId) -> Result<Sequence, Error> {
        let row = self.store.get(&self.heads, tenant.as_bytes())?;
        row.map_or(Ok(Sequence::NONE), |row| self.read_last(&row))
    }

    pub(super) fn tenants(&self, after: Option<TenantId>, limit: usize) -> Result<Vec<(TenantId, Sequence)>, Error> {
        let from = match &after {
            Some(tenant) => Bound::Excluded(tenant.as_bytes().as_slice()),
            None => Bound::Unbounded,
        };
        let page = self.store.page(&self.heads, from, Bound::Unbounded, limit)?;
        let read = |(key, value): &(sled::IVec, sled::IVec)| {
            let tenant: Option<[u8; 32]> = key.as_ref().try_into().ok();
            let tenant = tenant.ok_or_else(|| self.broken("a tenant can't be read"))?;
            Ok((TenantId::from_bytes(tenant), self.read_last(value)?))
        };
        page.iter().map(read).collect()
    }

    pub(super) fn place(&self, tenant: TenantId, sequence: Sequence) -> Result<Option<Place>, Error> {
        let row = self.store.get(&self.events, &event(tenant, sequence))?;
        row.map(|row| read_place(&row).ok_or_else(|| self.broken("a place can't be read"))).transpose()
    }

    /// The places of a tenant's events from this one on, at most `limit`, none left out.
    pub(super) fn places(&self, tenant: TenantId, from: Sequence, limit: usize) -> Result<Vec<Place>, Error> {
        let (first, end) = (event(tenant, from), event(tenant, Sequence(u64::MAX)));
        let page = self.store.page(&self.events, Bound::Included(&first), Bound::Included(&end), limit)?;
        let mut expected = from;
        let mut places = Vec::with_capacity(page.len());
        for (key, value) in &page {
            if **key != *event(tenant, expected) {
                return Err(self.broken(&format!("event {} of tenant {tenant} is not in it", expected.0)));
            }
            places.push(read_place(value).ok_or_else(|| self.broken("a place can't be read"))?);
            expected = expected.next();
        }
        Ok(places)
    }

    /// Adds events and moves the mark, in one transaction. Not synced: what is lost is found again in the segments.
    pub(super) fn add(&self, entries: &[(TenantId, Sequence, Place)], mark: Mark) -> Result<(), Error> {
        let (mut events, mut heads, mut marks) = (Batch::default(), Batch::default(), Batch::default());
        for (tenant, sequence, place) in entries {
            events.insert(event(*tenant, *sequence), place_row(*place));
            heads.insert(tenant.as_bytes(), &sequence.0.to_be_bytes());
        }
        marks.insert(MARK, [mark.segment.to_be_bytes().as_slice(), &mark.offset.to_be_bytes()].concat());
        self.store.write(&[(&self.events, events), (&self.heads, heads), (&self.mark, marks)])
    }

    fn read_last(&self, row: &[u8]) -> Result<Sequence, Error> {
        let last = row.try_into().map(u64::from_be_bytes).map_err(|_| self.broken("a sequence can't be read"))?;
        Ok(Sequence(last))
    }
}

fn event(tenant: TenantId, sequence: Sequence) -> Vec<u8> {
    [tenant.as_bytes().as_slice(), &sequence.0.to_be_bytes()].concat()
}

fn place_row(place: Place) -> Vec<u8> {
    [place.segment.to_be_bytes().as_slice(), &place.offset.to_be_bytes(), &place.length.to_be_bytes()].concat()
}

fn read_place(row: &[u8]) -> Option<Place> {
    let (segment, rest) = row.split_first_chunk()?;
    let (offset, length) = rest.split_first_chunk()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    Some(Place { segment: u32::from_be_bytes(*segment), offset: u64::from_be_bytes(*offset), length })
}

fn read_mark(row: &[u8]) -> Option<Mark> {
    let (segment, offset) = row.split_first_chunk()?;
    Some(Mark { segment: u32::from_be_bytes(*segment), offset: u64::from_be_bytes(offset.try_into().ok()?) })
}
