//! Where in the segments each event is. Only an index: it is never ahead of what is synced, and can be made anew.
//!
//! The places of [`ROW_MAX`] events in a row are one row: sled keeps something in memory for each of its pages, and a page
//! has at most sixteen rows, so that a row an event would make memory grow with the number of events.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::path::Path;

use model::{Sequence, TenantId};
use sled::{Batch, Tree};

use crate::Error;
use crate::store::Store;

/// Memory for sled's pages, in bytes.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// So many places are in a row.
const ROW_MAX: usize = 64;
/// The bytes of a place.
const PLACE: usize = 16;
/// The key of the one row in `mark`.
const MARK: &[u8] = b"mark";

pub(super) struct Index {
    store: Store,
    /// tenant, number of the row: segment, offset, length of each event.
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
            let (number, slot) = row_of(last);
            let row = self.row(tenant, number)?;
            if row.len() != (slot + 1) * PLACE {
                return Err(self.missing(tenant, last));
            }
            after = Some(tenant);
        }
        Ok(())
    }

    pub(super) fn missing(&self, tenant: TenantId, sequence: Sequence) -> Error {
        self.broken(&format!("event {} of tenant {tenant} is not in it", sequence.0))
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
        let (number, slot) = row_of(sequence);
        let row = self.row(tenant, number)?;
        Ok(row.chunks_exact(PLACE).nth(slot).and_then(read_place))
    }

    /// The places of a tenant's events from this one on, at most `limit`, none left out.
    pub(super) fn places(&self, tenant: TenantId, from: Sequence, limit: usize) -> Result<Vec<Place>, Error> {
        let left = self.last(tenant)?.0.saturating_sub(from.0.saturating_sub(1));
        let limit = usize::try_from(left).unwrap_or(usize::MAX).min(limit);
        let (number, slot) = row_of(from);
        let (first, end) = (key(tenant, number), key(tenant, u64::MAX));
        let rows = (slot + limit).div_ceil(ROW_MAX);
        let page = self.store.page(&self.events, Bound::Included(&first), Bound::Included(&end), rows)?;
        let mut places = Vec::with_capacity(limit);
        for ((found, row), number) in page.iter().zip(number..) {
            if **found != *key(tenant, number) {
                break;
            }
            places.extend(row.chunks_exact(PLACE).filter_map(read_place));
        }
        let places: Vec<Place> = places.into_iter().skip(slot).take(limit).collect();
        let found = Sequence(from.0.saturating_add(places.len() as u64));
        if places.len() == limit { Ok(places) } else { Err(self.missing(tenant, found)) }
    }

    /// Adds events, each tenant's behind those that it has, and moves the mark, in one transaction. Not synced: what is
    /// lost is found again in the segments.
    pub(super) fn add(&self, entries: &[(TenantId, Sequence, Place)], mark: Mark) -> Result<(), Error> {
        let (mut events, mut heads, mut marks) = (Batch::default(), Batch::default(), Batch::default());
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for (tenant, sequence, place) in entries {
            let (number, slot) = row_of(*sequence);
            let at = key(*tenant, number);
            if !rows.contains_key(&at) {
                rows.insert(at.clone(), self.row(*tenant, number)?);
            }
            let row = rows.entry(at).or_default();
            if row.len() != slot * PLACE {
                return Err(self.missing(*tenant, *sequence));
            }
            row.extend(place_row(*place));
            heads.insert(tenant.as_bytes(), &sequence.0.to_be_bytes());
        }
        rows.into_iter().for_each(|(key, row)| events.insert(key, row));
        marks.insert(MARK, [mark.segment.to_be_bytes().as_slice(), &mark.offset.to_be_bytes()].concat());
        self.store.write(&[(&self.events, events), (&self.heads, heads), (&self.mark, marks)])
    }

    fn row(&self, tenant: TenantId, number: u64) -> Result<Vec<u8>, Error> {
        let row = self.store.get(&self.events, &key(tenant, number))?;
        Ok(row.map(|row| row.to_vec()).unwrap_or_default())
    }

    fn read_last(&self, row: &[u8]) -> Result<Sequence, Error> {
        let last = row.try_into().map(u64::from_be_bytes).map_err(|_| self.broken("a sequence can't be read"))?;
        Ok(Sequence(last))
    }
}

fn key(tenant: TenantId, number: u64) -> Vec<u8> {
    [tenant.as_bytes().as_slice(), &number.to_be_bytes()].concat()
}

/// In which row an event's place is, and where in it.
fn row_of(sequence: Sequence) -> (u64, usize) {
    let before = sequence.0.saturating_sub(1);
    (before / ROW_MAX as u64, (before % ROW_MAX as u64) as usize)
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
