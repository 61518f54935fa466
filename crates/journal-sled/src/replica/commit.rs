//! Taking judged events in.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};

use journal::Record;
use lifecycle::{Due, Governance, View, due};
use model::TenantId;
use serde::Serialize;
use sled::{Batch, IVec};

use super::Replica;
use super::receipts;
use super::rows::{self, Standing, Sum, Table, Total};
use crate::Error;

/// How many raw events a tenant's tail always has, covered by a checkpoint or not.
pub const TAIL_KEPT: u64 = 16;
/// Raw events are trimmed when so many have become superfluous …
const TRIM_FROM: u64 = 16;
/// … and at most so many with one event.
const TRIM_MAX: u64 = 256;

const _: () = assert!(TRIM_FROM <= TRIM_MAX, "a tail that is trimmed slower than it grows would grow for ever");

/// One event and what it did: the view that it was judged in, before and after. (A void event's differ in the chain only.)
#[derive(Clone, Debug)]
pub struct Change {
    /// What its footprint saw before.
    pub before: View,
    /// And after.
    pub after: View,
    /// Its bytes.
    pub record: Record,
}

impl Change {
    /// Whose.
    pub fn tenant(&self) -> TenantId {
        self.after.chain.tenant()
    }
}

impl Replica {
    /// Takes a group of events in, in order, durably: any number of tenants, each tenant's in the order of its chain.
    ///
    /// COMMIT POINT: one transaction over all trees. After a crash before it, nothing of the group is there; after it and
    /// before the sync, all of it or nothing; once this has returned, all of it. What a crash takes away is read from the
    /// log again. A failure after the transaction leaves the group visible and not known to be durable.
    ///
    /// It costs about what two synced writes cost, whatever is in the group: gather what is there.
    ///
    /// # Errors
    /// [`Error::Moved`] where a change does not begin at the head that stands: nothing of the group is taken in.
    pub fn commit(&self, changes: &[Change]) -> Result<(), Error> {
        self.apply(changes)?;
        self.sync()
    }

    /// The same without waiting for the disk: for reading a long log again. Whole groups may be lost in a crash, the last
    /// ones first.
    pub fn apply(&self, changes: &[Change]) -> Result<(), Error> {
        let mut total = self.total.write().unwrap_or_else(PoisonError::into_inner);
        let mut group = Group {
            replica: self,
            standings: HashMap::new(),
            receipts: receipts::Changed::default(),
            rows: BTreeMap::new(),
        };
        changes.iter().try_for_each(|change| group.take(change))?;
        let Group { standings, receipts, mut rows, .. } = group;
        rows.extend(receipts.into_rows().map(|(key, row)| ((Table::Commands, key), Some(row))));
        for (tenant, (standing, _)) in &standings {
            rows.insert((Table::Tenants, tenant.as_bytes().to_vec()), Some(self.json(Table::Tenants, standing)?));
        }
        *total = self.write(*total, rows)?;
        let mut hot = self.hot();
        standings.into_iter().for_each(|(tenant, (standing, governance))| hot.put(tenant, standing, governance));
        Ok(())
    }

    /// Makes everything applied so far durable.
    pub fn sync(&self) -> Result<(), Error> {
        self.store.sync()
    }

    /// Drops everything known of a tenant, for its log to be read again from the beginning. Alarms stay. Durable when it
    /// returns; after a crash in the middle the next open finishes it.
    pub fn forget(&self, tenant: TenantId) -> Result<(), Error> {
        let mut total = self.total.write().unwrap_or_else(PoisonError::into_inner);
        self.hot().forget(tenant);
        *total = self.write(*total, BTreeMap::from([((Table::Meta, forgetting(tenant)), Some(Vec::new()))]))?;
        self.sync()?;
        *total = self.finish_forgetting(*total, tenant)?;
        self.hot().forget(tenant);
        self.sync()
    }

    /// Forgets a tenant in steps, and that it is being forgotten with the last one.
    pub(super) fn finish_forgetting(&self, mut total: Total, tenant: TenantId) -> Result<Total, Error> {
        const STEP: usize = 1_000;
        let end = rows::end_of(tenant);
        for table in [
            Table::Tail,
            Table::Commands,
            Table::Checkpoints,
            Table::Documents,
            Table::Requests,
            Table::Keys,
            Table::Governance,
            Table::Tenants,
        ] {
            loop {
                let from = std::ops::Bound::Included(tenant.as_bytes().as_slice());
                let page = self.store.page(self.trees.of(table), from, super::below(end.as_deref()), STEP)?;
                if page.is_empty() {
                    break;
                }
                let gone = page.into_iter().map(|(key, _)| ((table, key.to_vec()), None)).collect();
                total = self.write(total, gone)?;
            }
        }
        // The one tree that isn't in the order of tenants is looked through: forgetting is rare, and must be thorough.
        let mut dues = Rows::new();
        self.store.each(&self.trees.due, |key, _| {
            if rows::read_due(key).is_none_or(|(owner, _)| owner == tenant) {
                dues.insert((Table::Due, key.to_vec()), None);
            }
        })?;
        dues.insert((Table::Meta, forgetting(tenant)), None);
        self.write(total, dues)
    }

    /// Writes rows, and what the state then adds up to, in one transaction.
    pub(super) fn write(&self, mut total: Total, rows: Rows) -> Result<Total, Error> {
        let mut batches: BTreeMap<Table, Batch> = BTreeMap::new();
        for ((table, key), value) in rows {
            if table.is_state() {
                let stood = self.store.get(self.trees.of(table), &key)?;
                if stood.as_deref() == value.as_deref() {
                    continue;
                }
                replace(&mut total.sum, table, &key, stood.as_ref(), value.as_deref());
            }
            let batch = batches.entry(table).or_default();
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        total.groups += 1;
        batches.entry(Table::Meta).or_default().insert(TOTAL, total.to_row());
        let batches: Vec<_> = batches.into_iter().map(|(table, batch)| (self.trees.of(table), batch)).collect();
        self.store.write(&batches)?;
        Ok(total)
    }

    fn json<T: Serialize>(&self, table: Table, value: &T) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(value).map_err(|error| self.store.condemn(&format!("a row of `{}`: {error}", table.name())))
    }
}

/// The key in `meta` of what the state adds up to.
pub(super) const TOTAL: &[u8] = b"total";
/// How the keys in `meta` of tenants that are being forgotten begin.
pub(super) const FORGETTING: &[u8] = b"forgetting ";

fn forgetting(tenant: TenantId) -> Vec<u8> {
    [FORGETTING, tenant.as_bytes()].concat()
}

fn replace(sum: &mut Sum, table: Table, key: &[u8], stood: Option<&IVec>, value: Option<&[u8]>) {
    if let Some(stood) = stood {
        sum.toggle(table, key, stood);
    }
    if let Some(value) = value {
        sum.toggle(table, key, value);
    }
}

/// Rows to be written: a value, or that there is none any more.
pub(super) type Rows = BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>;

/// A group on its way in: what its events leave behind, row by row, each row once.
struct Group<'a> {
    replica: &'a Replica,
    standings: HashMap<TenantId, (Standing, Option<Arc<Governance>>)>,
    receipts: receipts::Changed,
    rows: Rows,
}

impl Group<'_> {
    fn take(&mut self, change: &Change) -> Result<(), Error> {
        let tenant = change.tenant();
        let (before, after) = (&change.before, &change.after);
        let (mut standing, governance) = match self.standings.remove(&tenant) {
            Some(known) => known,
            None => self.replica.standing(tenant)?,
        };
        check(&standing, change)?;
        let kept_from = standing.kept_from;
        standing = Standing { chain: after.chain.clone(), progress: after.progress, kept_from };

        let same = match (&governance, &after.governance) {
            (Some(stands), Some(after)) => Arc::ptr_eq(stands, after) || stands == after,
            (stands, after) => stands.is_none() && after.is_none(),
        };
        if !same {
            let row =
                after.governance.as_deref().map(|after| self.replica.json(Table::Governance, after)).transpose()?;
            self.rows.insert((Table::Governance, tenant.as_bytes().to_vec()), row);
        }
        self.entities(tenant, before, after)?;
        self.dues(tenant, before, after);
        self.tail(tenant, &mut standing, &change.record);
        self.standings.insert(tenant, (standing, after.governance.clone()));
        Ok(())
    }

    fn entities(&mut self, tenant: TenantId, before: &View, after: &View) -> Result<(), Error> {
        if let Some(key) = after.key.as_ref().filter(|key| before.key.as_ref() != Some(key)) {
            let row = self.replica.json(Table::Keys, key)?;
            self.rows.insert((Table::Keys, rows::key(tenant, key.id)), Some(row));
        }
        if let Some(request) = after.request.as_ref().filter(|request| before.request.as_ref() != Some(request)) {
            let row = self.replica.json(Table::Requests, request)?;
            self.rows.insert((Table::Requests, rows::request(tenant, request.hash)), Some(row));
        }
        for (id, key) in after.others.iter().filter(|(id, key)| before.others.get(*id) != Some(*key)) {
            let row = self.replica.json(Table::Keys, key)?;
            self.rows.insert((Table::Keys, rows::key(tenant, *id)), Some(row));
        }
        if let Some(document) = after.document.as_ref().filter(|document| before.document.as_ref() != Some(document)) {
            let row = self.replica.json(Table::Documents, document)?;
            self.rows.insert((Table::Documents, rows::document(tenant, document.digest)), Some(row));
        }
        if let Some(signed) = after.checkpoint.as_ref().filter(|signed| before.checkpoint.as_ref() != Some(signed)) {
            let row = self.replica.json(Table::Checkpoints, signed)?;
            self.rows.insert((Table::Checkpoints, rows::checkpoint(tenant, signed.size)), Some(row));
        }
        if let Some((command, receipt)) = after.receipt.filter(|receipt| before.receipt != Some(*receipt)) {
            self.receipts.add(self.replica, tenant, command, receipt)?;
        }
        Ok(())
    }

    /// INVARIANT (the index is the state's): what `lifecycle::due` says of every entity, no more, no less.
    fn dues(&mut self, tenant: TenantId, before: &View, after: &View) {
        let (before, after): (Vec<Due>, Vec<Due>) = (due(before), due(after));
        for gone in before.iter().filter(|due| !after.contains(due)) {
            self.rows.insert((Table::Due, rows::due(tenant, *gone)), None);
        }
        for new in after.iter().filter(|due| !before.contains(due)) {
            self.rows.insert((Table::Due, rows::due(tenant, *new)), Some(Vec::new()));
        }
    }

    /// Keeps the event's bytes, and lets go of those that a checkpoint covers: by their numbers, without looking.
    fn tail(&mut self, tenant: TenantId, standing: &mut Standing, record: &Record) {
        let head = standing.chain.head().sequence.0;
        self.rows.insert((Table::Tail, rows::event(tenant, head)), Some(rows::record(record)));
        let superfluous = standing.progress.covered.min(head.saturating_sub(TAIL_KEPT)) + 1;
        if superfluous.saturating_sub(standing.kept_from) < TRIM_FROM {
            return;
        }
        let until = superfluous.min(standing.kept_from + TRIM_MAX);
        for sequence in standing.kept_from..until {
            self.rows.insert((Table::Tail, rows::event(tenant, sequence)), None);
        }
        standing.kept_from = until;
    }
}

/// Whether a change begins where the tenant stands, and ends in its event.
fn check(standing: &Standing, change: &Change) -> Result<(), Error> {
    let tenant = change.tenant();
    let (stands, given) = (standing.chain.head(), change.before.chain.head());
    if stands != given {
        return Err(Error::Moved { tenant, stands: stands.sequence, given: given.sequence });
    }
    let after = change.after.chain.head();
    let fits = change.before.chain.tenant() == tenant
        && after.sequence == given.sequence.next()
        && after.hash == change.record.hash();
    if fits { Ok(()) } else { Err(Error::Misfit { tenant, sequence: after.sequence }) }
}

#[cfg(test)]
mod tests {
    use journal::{Chain, Head};
    use lifecycle::Footprint;
    use model::Fingerprint;

    use super::*;

    #[test]
    fn a_crash_while_forgetting_is_finished_by_the_next_open() {
        let (dir, root) = (tempfile::tempdir().unwrap(), Fingerprint::of_blob(b"root"));
        let tenants = [1, 2].map(|number| TenantId::from_bytes([number; 32]));
        let replica = Replica::open(dir.path(), root).unwrap().replica;
        for tenant in tenants {
            replica.commit(&[void(&View::empty(tenant))]).unwrap();
        }
        // The first step of `forget`, and some of the rest.
        let rows = [
            ((Table::Meta, forgetting(tenants[0])), Some(Vec::new())),
            ((Table::Tail, rows::event(tenants[0], 1)), None),
        ];
        let total = *replica.total.read().unwrap();
        replica.write(total, Rows::from(rows)).unwrap();
        replica.sync().unwrap();
        drop(replica);

        let replica = Replica::open(dir.path(), root).unwrap().replica;
        assert_eq!(replica.head(tenants[0]).unwrap(), Head::EMPTY);
        assert_eq!(replica.head(tenants[1]).unwrap().sequence.0, 1);
        assert_eq!(replica.view(tenants[0], Footprint::default()).unwrap(), View::empty(tenants[0]));
        replica.commit(&[void(&View::empty(tenants[0]))]).unwrap();
    }

    /// A void event, which changes the chain and nothing else.
    fn void(before: &View) -> Change {
        let record = Record { signature: String::new(), payload: vec![1].into() };
        let mut chain: Chain = before.chain.clone();
        chain.admit(&record, Err(&journal::Void::Header)).unwrap_err();
        Change { before: before.clone(), after: View { chain, ..before.clone() }, record }
    }
}
