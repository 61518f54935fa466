//! Rotation: of the master key, by writing the keyring anew; of the wrapping keys, by wrapping every key anew. Uses and
//! changes go on meanwhile.
//!
//! A rotation of the wrapping keys has these steps, and where it is cut short between any two, the store opens and works,
//! and calling [`SoftwareStore::rewrap`] again goes on from there:
//!
//! 1. The keyring gets a new wrapping key for each inventory, beside the old one. From here on whatever is written is
//!    under the new one.
//! 2. Every record is wrapped anew, a page in a commit.
//! 3. Each database notes that all its records are under the new key.
//! 4. The keyring lets go of the old ones.

use std::sync::PoisonError;

use crate::keyring::{self, Keyring, Sealed};
use crate::listing::Page;
use crate::master::{MasterKey, MasterKeyId, MasterKeys};
use crate::record::{self, Id, Record};
use crate::shelf::Shelf;
use crate::writer::Change;
use crate::{Error, SoftwareStore, files, listing};
use model::event::Inventory;

/// Records that are wrapped anew in one commit. Changes of keys wait for it, uses do not.
const PAGE: usize = 256;

/// What a rotation of the master key has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rekeyed {
    /// The master key before; the same as after, where the store was under it already.
    pub before: MasterKeyId,
    /// The master key that the store is under now.
    pub after: MasterKeyId,
}

/// What a rotation of the wrapping keys has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrapped {
    /// How many records were wrapped anew; those that a call before had done are not among them.
    pub records: u64,
    /// The pre-active inventory's wrapping key now, as events name it.
    pub pre_active: String,
    /// The active inventory's.
    pub active: String,
}

impl SoftwareStore {
    /// The master key that the store is under.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Damaged`]: the keyring on the disk is not what it was.
    pub fn master_key(&self) -> Result<MasterKeyId, Error> {
        Ok(Sealed::read(&self.directory)?.master)
    }

    /// Puts the store under another master key: the one given, or else the successor of the platform's own. Keys and
    /// wrapping keys stay as they are. Done again, it changes nothing.
    ///
    /// # Errors
    /// [`Error::NoMasterKey`] where the present one is not among `masters`; [`Error::MasterKey`]. Then nothing has changed.
    /// Of [`Error::Io`], whether it has shows when it is done again.
    pub fn rekey(&self, masters: &MasterKeys, to: Option<&dyn MasterKey>) -> Result<Rekeyed, Error> {
        let _alone = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let path = keyring::path(&self.directory);
        let sealed = Sealed::read(&self.directory)?;
        let successor = if to.is_none() { Some(masters.next()?) } else { None };
        let to = to.or(successor.as_deref()).ok_or(Error::Wrapping)?;
        let rekeyed = Rekeyed { before: sealed.master.clone(), after: to.id().clone() };
        if rekeyed.before != rekeyed.after {
            let (keyring, _) = sealed.open(&*masters.find(&path, &sealed.master)?)?;
            let text = keyring.seal(&self.id, to)?;
            // A master key that can't open what it has wrapped must not get the keys.
            Sealed::parse(&path, text.clone())?.open(to)?;
            files::replace(&path, &text)?; // COMMIT POINT: the store is under the other master key
        }
        masters.settle(to.id())?;
        Ok(rekeyed)
    }

    /// Whether a rotation of the wrapping keys was begun and is not done.
    pub fn is_rewrapping(&self) -> bool {
        [&self.pre_active, &self.active].iter().any(|shelf| !shelf.ring().retiring.is_empty())
    }

    /// Wraps every key under new wrapping keys, or goes on with doing so where that was cut short.
    ///
    /// # Errors
    /// As of [`SoftwareStore::rekey`]; [`Error::Damaged`], naming a record that does not open, which has to be put back from
    /// a backup first. The store works on, under old and new wrapping keys.
    pub fn rewrap(&self, masters: &MasterKeys) -> Result<Rewrapped, Error> {
        let _alone = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let sealed = Sealed::read(&self.directory)?;
        let master = masters.find(&keyring::path(&self.directory), &sealed.master)?;
        let (mut keyring, _) = sealed.open(&*master)?;
        if !keyring.is_rewrapping() {
            keyring.add_keys()?;
            self.write_keyring(&keyring, &*master)?;
        }
        self.use_keys(&keyring)?;
        let records = self.rewrap_shelf(&self.pre_active)? + self.rewrap_shelf(&self.active)?;
        keyring.drop_retiring();
        self.write_keyring(&keyring, &*master)?;
        self.use_keys(&keyring)?;
        let key = |shelf: &Shelf| shelf.key_id().text(shelf.inventory);
        Ok(Rewrapped { records, pre_active: key(&self.pre_active), active: key(&self.active) })
    }

    fn write_keyring(&self, keyring: &Keyring, master: &dyn MasterKey) -> Result<(), Error> {
        files::replace(&keyring::path(&self.directory), &keyring.seal(&self.id, master)?)
    }

    /// Works with these wrapping keys from now on. They are on the disk already.
    fn use_keys(&self, keyring: &Keyring) -> Result<(), Error> {
        // A change that has sealed its record with an older key, and not written it yet, comes first.
        let _changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        self.pre_active.set_ring(keyring.ring(Inventory::PreActive)?);
        self.active.set_ring(keyring.ring(Inventory::Active)?);
        Ok(())
    }

    /// Wraps anew what is under an older key, from the first record to the last. What is written meanwhile is under the new
    /// one, wherever it stands.
    fn rewrap_shelf(&self, shelf: &Shelf) -> Result<u64, Error> {
        let (mut after, mut records) = (None, 0);
        loop {
            let _changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
            let Page { snapshot, records: page } = listing::page(shelf, after.as_ref(), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            let anew = |(id, bytes): &(Id, Vec<u8>)| {
                if record::under(bytes) == Some(snapshot.ring.current.id) {
                    return None;
                }
                let wrap = || {
                    let (record, secret): (Record, _) = shelf.unseal(&snapshot.ring, id, bytes)?;
                    Ok(Change::Put(*id, record.seal(&snapshot.ring.current, shelf.inventory, id, secret.as_ref())?))
                };
                Some(wrap())
            };
            let changes: Vec<Change> = page.iter().filter_map(anew).collect::<Result<_, Error>>()?;
            if !changes.is_empty() {
                records += changes.len() as u64;
                shelf.writer.write(changes)?;
            }
        }
        shelf.name_key()?;
        Ok(records)
    }
}
