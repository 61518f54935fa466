//! Backups, and whether a store is whole.

use std::path::Path;
use std::sync::PoisonError;

use keystore::{KeyStore as _, Material};

use crate::files::{self, SEAL_KEY};
use crate::shelf::Shelf;
use crate::{Error, SoftwareStore, listing};

/// What a check went through: every record authenticated, every key unwrapped, its public key or check value computed
/// anew and found to be the recorded one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Keys in the pre-active inventory.
    pub pre_active: u64,
    /// Keys in the active inventory.
    pub active: u64,
    /// Tombstones, in either.
    pub destroyed: u64,
}

impl SoftwareStore {
    /// Goes through the whole store. Uses and changes go on meanwhile.
    ///
    /// # Errors
    /// [`Error::Damaged`], naming the first record found wrong.
    pub fn check(&self) -> Result<Checked, Error> {
        let mut checked = Checked::default();
        let (pre_active, active) = self.snapshots()?;
        checked.pre_active = check_shelf(&self.pre_active, &pre_active, &mut checked.destroyed)?;
        checked.active = check_shelf(&self.active, &active, &mut checked.destroyed)?;
        Ok(checked)
    }

    /// Writes a copy of the store, as it is at one moment, to a directory that is empty or not there, and checks it.
    ///
    /// The copy is a store: to restore it, open it, or put it where the store was. It holds the wrapping keys, so it is to
    /// be guarded like the store. What was destroyed before the copy is not in it, not even in free pages.
    ///
    /// Uses and changes go on meanwhile; those made after the moment of the copy are not in it.
    ///
    /// # Errors
    /// [`Error::Exists`] where there is something already; whatever keeps the copy from being whole. Then there is no
    /// copy.
    pub fn backup(&self, to: &Path) -> Result<Checked, Error> {
        files::build_directory(to, |partial| {
            let (pre_active, active) = self.snapshots()?;
            files::copy_key_file(&self.directory.join(SEAL_KEY), &partial.join(SEAL_KEY))?;
            self.pre_active.copy(&pre_active, &self.directory, partial, &self.id)?;
            self.active.copy(&active, &self.directory, partial, &self.id)?;
            // By the way that a restored store is opened.
            Self::open(partial, self.name().clone())?.check()
        })
    }

    /// Both inventories at one moment: no key is on its way between them.
    fn snapshots(&self) -> Result<(redb::ReadTransaction, redb::ReadTransaction), Error> {
        let _alone = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        Ok((self.pre_active.snapshot()?, self.active.snapshot()?))
    }
}

/// Counts the shelf's keys, and adds its tombstones.
fn check_shelf(shelf: &Shelf, snapshot: &redb::ReadTransaction, destroyed: &mut u64) -> Result<u64, Error> {
    let mut keys = 0;
    listing::walk(shelf, snapshot, |id, record, secret| {
        let Some(secret) = secret else {
            *destroyed += 1;
            return Ok(());
        };
        let identity = Material::from_secret(record.algorithm, &secret).map(|material| material.identity());
        if identity.as_ref() != Some(&record.identity) {
            return Err(shelf.damaged(id, "a key is not the one it was recorded as"));
        }
        keys += 1;
        Ok(())
    })?;
    Ok(keys)
}
