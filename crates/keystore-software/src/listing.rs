//! Going through keys, in order, without holding them all.

use std::cmp::Ordering;
use std::ops::{Bound, ControlFlow};

use keystore::{Entry, Held, transition};
use model::TenantId;

use crate::record::{self, Id, Record, Secret};
use crate::shelf::{Shelf, Snapshot};
use crate::writer::KEYS;
use crate::{Error, SoftwareStore};

/// A record as it is stored, with its key.
type Stored = Result<(Id, Vec<u8>), Error>;

/// Shows every key of one tenant or of all, as of now.
pub(crate) fn list(
    store: &SoftwareStore,
    tenant: Option<TenantId>,
    visit: &mut dyn FnMut(Entry) -> ControlFlow<()>,
) -> Result<(), Error> {
    // In this order: see the crate's documentation.
    let (of_pre_active, of_active) = (store.pre_active.snapshot()?, store.active.snapshot()?);
    let mut pre_active = records(&of_pre_active, &store.pre_active, tenant)?.peekable();
    let mut active = records(&of_active, &store.active, tenant)?.peekable();
    loop {
        // Errors come first, wherever they are.
        let order = match (pre_active.peek(), active.peek()) {
            (None, None) => return Ok(()),
            (Some(Ok((first, _))), Some(Ok((second, _)))) => first.cmp(second),
            (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
            (_, Some(_)) => Ordering::Greater,
        };
        if order == Ordering::Equal {
            // A remainder, or a move made between the two snapshots: active wins.
            pre_active.next();
        }
        let (shelf, ring, stored) = match order {
            Ordering::Less => (&store.pre_active, &of_pre_active.ring, pre_active.next()),
            Ordering::Equal | Ordering::Greater => (&store.active, &of_active.ring, active.next()),
        };
        let Some(stored) = stored else { return Ok(()) };
        let (id, bytes) = stored?;
        let (record, _) = shelf.unseal(ring, &id, &bytes)?;
        let Some((tenant, key_id)) = record::parse_id(&id) else {
            return Err(Error::damaged(shelf.path(), "a record has no key id"));
        };
        if visit(Entry { tenant, key_id, held: held(shelf, record) }).is_break() {
            return Ok(());
        }
    }
}

fn held(shelf: &Shelf, record: Record) -> Held {
    let Record { algorithm, identity, state, .. } = record;
    let place = if transition::is_destroyed(state) { None } else { shelf.place() };
    Held { algorithm, identity, state, place }
}

/// Shows every id of a shelf.
pub(crate) fn ids(shelf: &Shelf, mut visit: impl FnMut(&Id) -> Result<(), Error>) -> Result<(), Error> {
    records(&shelf.snapshot()?, shelf, None)?.try_for_each(|stored| visit(&stored?.0))
}

/// Shows every record of a shelf, opened.
pub(crate) fn walk(
    shelf: &Shelf,
    snapshot: &Snapshot,
    mut visit: impl FnMut(&Id, Record, Option<Secret>) -> Result<(), Error>,
) -> Result<(), Error> {
    for stored in records(snapshot, shelf, None)? {
        let (id, bytes) = stored?;
        let (record, secret) = shelf.unseal(&snapshot.ring, &id, &bytes)?;
        visit(&id, record, secret)?;
    }
    Ok(())
}

/// Every record of a shelf as it is stored.
pub(crate) fn stored<'a>(
    snapshot: &Snapshot,
    shelf: &'a Shelf,
) -> Result<impl Iterator<Item = Stored> + use<'a>, Error> {
    records(snapshot, shelf, None)
}

/// Some of a shelf's records, as they are stored.
pub(crate) struct Page {
    pub(crate) snapshot: Snapshot,
    pub(crate) records: Vec<(Id, Vec<u8>)>,
}

/// Up to `most` records of a shelf that follow an id.
pub(crate) fn page(shelf: &Shelf, after: Option<&Id>, most: usize) -> Result<Page, Error> {
    let snapshot = shelf.snapshot()?;
    let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(*id));
    let records = range(&snapshot, shelf, (from, Bound::Unbounded))?.take(most).collect::<Result<_, _>>()?;
    Ok(Page { snapshot, records })
}

fn records<'a>(
    snapshot: &Snapshot,
    shelf: &'a Shelf,
    tenant: Option<TenantId>,
) -> Result<impl Iterator<Item = Stored> + use<'a>, Error> {
    let (mut from, mut to) = ([0; 48], [u8::MAX; 48]);
    if let Some(tenant) = tenant {
        for bound in [&mut from, &mut to] {
            bound.iter_mut().zip(tenant.as_bytes()).for_each(|(byte, of_tenant)| *byte = *of_tenant);
        }
    }
    range(snapshot, shelf, (Bound::Included(from), Bound::Included(to)))
}

fn range<'a>(
    snapshot: &Snapshot,
    shelf: &'a Shelf,
    (from, to): (Bound<Id>, Bound<Id>),
) -> Result<impl Iterator<Item = Stored> + use<'a>, Error> {
    let bounds = (from.as_ref().map(|id| &id[..]), to.as_ref().map(|id| &id[..]));
    let open = || Ok(snapshot.transaction.open_table(KEYS)?.range::<&[u8]>(bounds)?);
    let range = open().map_err(Error::database(shelf.path()))?;
    Ok(range.map(move |entry| {
        let (id, bytes) = entry.map_err(redb::Error::from).map_err(Error::database(shelf.path()))?;
        let id = Id::try_from(id.value()).map_err(|_| Error::damaged(shelf.path(), "a record has no key id"))?;
        Ok((id, bytes.value().to_vec()))
    }))
}
