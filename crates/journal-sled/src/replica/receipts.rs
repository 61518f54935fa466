//! What commands led to: the one thing in a replica that grows with every command and is kept for ever.
//!
//! sled keeps something in memory for each of its pages, and a page has at most sixteen rows. So receipts are put many to
//! a row: those from one command id up to the first of the next row, sorted. A tenant's first row begins at the least id
//! that there could be, so that there is always a row that an id belongs to.

use std::collections::BTreeMap;
use std::ops::Bound;

use lifecycle::Receipt;
use model::{CommandId, Digest, EventHash, Sequence, TenantId};

use super::Replica;
use super::rows::{Table, take};
use crate::Error;

/// So many receipts are in a row at most.
const ROW_MAX: usize = 32;
const LEAST: [u8; 16] = [0; 16];

/// A row: receipts by command, in order.
pub(super) type Receipts = BTreeMap<CommandId, Receipt>;

/// Rows that are being changed, by their keys.
#[derive(Default)]
pub(super) struct Changed(BTreeMap<Vec<u8>, Receipts>);

impl Replica {
    pub(super) fn find_receipt(&self, tenant: TenantId, command: CommandId) -> Result<Option<Receipt>, Error> {
        let row = self.receipts_at(tenant, command)?;
        Ok(row.and_then(|(_, receipts)| receipts.get(&command).copied()))
    }

    /// The row that a command belongs to, with its key.
    fn receipts_at(&self, tenant: TenantId, command: CommandId) -> Result<Option<(Vec<u8>, Receipts)>, Error> {
        let (first, here) = (key(tenant, LEAST), key(tenant, *command.as_bytes()));
        let row = self.store.last_in(
            &self.trees.commands,
            Bound::Included(first.as_slice()),
            Bound::Included(here.as_slice()),
        )?;
        row.map(|(key, value)| {
            let receipts = read(&value).ok_or_else(|| self.unreadable(Table::Commands))?;
            Ok((key.to_vec(), receipts))
        })
        .transpose()
    }
}

impl Changed {
    /// Adds a receipt to the row that it belongs to, in the store or among those changed already.
    pub(super) fn add(
        &mut self,
        replica: &Replica,
        tenant: TenantId,
        command: CommandId,
        receipt: Receipt,
    ) -> Result<(), Error> {
        let (first, here) = (key(tenant, LEAST), key(tenant, *command.as_bytes()));
        let stored = replica.receipts_at(tenant, command)?;
        let changed = self.0.range(first.clone()..=here).next_back().map(|(at, _)| at.clone());
        // Rows are only ever divided, so the one that begins nearer is the one.
        let at = match (stored, changed) {
            (Some((at, receipts)), changed) if changed.as_ref().is_none_or(|changed| *changed < at) => {
                self.0.insert(at.clone(), receipts);
                at
            }
            (_, Some(changed)) => changed,
            (_, None) => first,
        };
        let row = self.0.entry(at).or_default();
        row.insert(command, receipt);
        if row.len() > ROW_MAX {
            let rest = divide(row, command);
            if let Some((begin, _)) = rest.first_key_value() {
                self.0.insert(key(tenant, *begin.as_bytes()), rest);
            }
        }
        Ok(())
    }

    /// The rows as they are to be written.
    pub(super) fn into_rows(self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.0.into_iter().map(|(key, receipts)| (key, write(&receipts)))
    }
}

/// Takes the upper part out of a row that has become too long: the half, or where the last one was added (ids begin with
/// the time, so that is the rule) that one, which leaves the row full.
fn divide(row: &mut Receipts, added: CommandId) -> Receipts {
    let is_last = row.last_key_value().is_some_and(|(last, _)| *last == added);
    let begin = if is_last { Some(added) } else { row.keys().nth(row.len() / 2).copied() };
    begin.map_or_else(Receipts::new, |begin| row.split_off(&begin))
}

fn key(tenant: TenantId, begin: [u8; 16]) -> Vec<u8> {
    [tenant.as_bytes().as_slice(), &begin].concat()
}

fn write(receipts: &Receipts) -> Vec<u8> {
    let mut row = Vec::with_capacity(receipts.len() * 88);
    for (command, receipt) in receipts {
        row.extend_from_slice(command.as_bytes());
        row.extend_from_slice(receipt.digest.as_bytes());
        row.extend_from_slice(receipt.hash.as_bytes());
        row.extend_from_slice(&receipt.sequence.0.to_be_bytes());
    }
    row
}

fn read(mut row: &[u8]) -> Option<Receipts> {
    let mut receipts = Receipts::new();
    while !row.is_empty() {
        let command = CommandId::from_bytes(take(&mut row)?)?;
        let digest = Digest::new(take(&mut row)?);
        let hash = EventHash::new(take(&mut row)?);
        let sequence = Sequence(u64::from_be_bytes(take(&mut row)?));
        receipts.insert(command, Receipt { digest, hash, sequence });
    }
    Some(receipts)
}
