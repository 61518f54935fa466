//! Backups, and whether a store is whole.
//!
//! A backup is one file:
//!
//! ```text
//! "keylatch custody backup v1\n"
//! length (4, big-endian) and bytes of the keyring
//! for each record: 1 pre-active, 2 active (1); tenant and key id (48); length (4) and bytes of the record
//! 0 (1); how many records there were of each inventory (8, 8)
//! HMAC-SHA-256 of all before, under a key derived from the keyring's content key
//! ```
//!
//! So it is of no use without the master key that the keyring is under, and nothing of it can be changed or left out.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::{Arc, PoisonError};

use hmac::{Hmac, Mac as _};
use keystore::Material;
use model::Name;
use model::event::Inventory;
use sha2::Sha256;

use crate::files;
use crate::keyring::{self, ContentKey, KEYRING_BYTES_MAX, Keyring, Sealed};
use crate::master::MasterKeys;
use crate::record::{self, Id, Record, Secret};
use crate::shelf::{Shelf, Snapshot};
use crate::wrapping::Ring;
use crate::{Error, SoftwareStore, listing};

const TITLE: &[u8] = b"keylatch custody backup v1\n";

/// A record is shorter than this.
const RECORD_BYTES_MAX: usize = 4096;

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

impl Checked {
    /// Looks at a record, and counts it. `path` is the file that it is in, for errors.
    fn look(
        &mut self,
        path: &Path,
        inventory: Inventory,
        id: &Id,
        (record, secret): (Record, Option<record::Secret>),
    ) -> Result<(), Error> {
        let Some(secret) = secret else {
            self.destroyed += 1;
            return Ok(());
        };
        let is_itself = match &secret {
            Secret::Open(secret) => Material::from_secret(record.algorithm, secret)
                .is_some_and(|material| material.identity() == record.identity),
            // Which key it is shows when it is opened.
            Secret::Sealed(_) => true,
        };
        if !is_itself {
            return Err(record::damaged(path, id, "a key is not the one it was recorded as"));
        }
        match inventory {
            Inventory::PreActive => self.pre_active += 1,
            Inventory::Active => self.active += 1,
        }
        Ok(())
    }
}

impl SoftwareStore {
    /// Goes through the whole store, the keyring's checksum included. Uses and changes go on meanwhile.
    ///
    /// # Errors
    /// [`Error::Damaged`], naming the first record found wrong.
    pub fn check(&self) -> Result<Checked, Error> {
        Sealed::read(&self.directory)?;
        let mut checked = Checked::default();
        let (pre_active, active) = self.snapshots()?;
        for (shelf, snapshot) in [(&self.pre_active, &pre_active), (&self.active, &active)] {
            let mut records = 0;
            listing::walk(shelf, snapshot, |id, record, secret| {
                records += 1;
                checked.look(shelf.path(), shelf.inventory, id, (record, secret))
            })?;
            if records != shelf.count(snapshot)? {
                return Err(Error::damaged(shelf.path(), "it has not as many records as it says"));
            }
        }
        Ok(checked)
    }

    /// Writes a backup of the store, as it is at one moment, to a new file, and checks it by reading it back: every record
    /// is authenticated, every key unwrapped. It is under the store's master key, which has to be at hand.
    ///
    /// What was destroyed before is not in it. Uses and changes go on meanwhile; those made after that moment are not in it.
    ///
    /// # Errors
    /// [`Error::Exists`] where there is something already; whatever keeps the backup from being whole. Then there is none.
    pub fn backup(&self, to: &Path, masters: &MasterKeys) -> Result<Checked, Error> {
        let upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let sealed = Sealed::read(&self.directory)?;
        let (_, content) = sealed.open(&*masters.find(&keyring::path(&self.directory), &sealed.master)?)?;
        let (pre_active, active) = self.snapshots()?;
        drop(upkeep);
        files::build_file(to, |partial, file| {
            let shelves = [(&self.pre_active, &pre_active), (&self.active, &active)];
            let failed = |error| Error::io("write", partial)(error);
            let mut backup = Tee::new(BufWriter::new(file), &content);
            backup.put(&[TITLE, &length(sealed.text.len()), &sealed.text]).map_err(failed)?;
            let mut counts = Vec::new();
            for (shelf, snapshot) in shelves {
                let count = write_records(&mut backup, partial, shelf, snapshot)?;
                if count != shelf.count(snapshot)? {
                    return Err(Error::damaged(shelf.path(), "it has not as many records as it says"));
                }
                counts.extend(count.to_be_bytes());
            }
            backup.put(&[&[0], &counts]).map_err(failed)?;
            backup.finish().and_then(|file| file.sync_all()).map_err(failed)?;
            check_backup(partial, masters)
        })
    }

    /// Makes a store of a backup, in a directory that is empty or not there. The backup is under one of `backups`; the store
    /// will be under the first of `masters`.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::NoMasterKey`]; [`Error::Damaged`] where the backup is not whole. Then there is no store.
    pub fn restore(
        from: &Path,
        directory: &Path,
        backups: &MasterKeys,
        masters: &MasterKeys,
    ) -> Result<Checked, Error> {
        files::build_directory(directory, |partial| {
            let mut backup = Backup::open(from, backups)?;
            let master = masters.first()?;
            let text = backup.keyring.seal(&backup.sealed.store, &*master)?;
            files::create_whole(&keyring::path(partial), &text)?;
            for inventory in [Inventory::PreActive, Inventory::Active] {
                let (under, id) = (backup.keyring.ring(inventory)?.current.id, backup.sealed.store);
                Shelf::create_with(partial, inventory, under, &id, std::iter::from_fn(|| backup.next(inventory)))?;
            }
            backup.finish()?;
            // By the way that the store will be opened.
            let name: Name = "restored".parse().map_err(|_| Error::damaged(from, "it has no name"))?;
            Self::open(partial, name, masters)?.check()
        })
    }

    /// Both inventories at one moment: no key is on its way between them.
    fn snapshots(&self) -> Result<(Snapshot, Snapshot), Error> {
        let _alone = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        Ok((self.pre_active.snapshot()?, self.active.snapshot()?))
    }
}

fn write_records<W: Write>(to: &mut Tee<W>, path: &Path, shelf: &Shelf, snapshot: &Snapshot) -> Result<u64, Error> {
    let mut count = 0;
    for stored in listing::stored(snapshot, shelf)? {
        let (id, bytes) = stored?;
        to.put(&[&[code(shelf.inventory)], &id, &length(bytes.len()), &bytes]).map_err(Error::io("write", path))?;
        count += 1;
    }
    Ok(count)
}

fn code(inventory: Inventory) -> u8 {
    match inventory {
        Inventory::PreActive => 1,
        Inventory::Active => 2,
    }
}

fn length(bytes: usize) -> [u8; 4] {
    // Longer than that is nothing here, and reading refuses it.
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

/// Reads a backup to its end, and looks at every key in it.
fn check_backup(path: &Path, masters: &MasterKeys) -> Result<Checked, Error> {
    let mut backup = Backup::open(path, masters)?;
    let mut checked = Checked::default();
    for inventory in [Inventory::PreActive, Inventory::Active] {
        let ring: Arc<Ring> = backup.keyring.ring(inventory)?;
        while let Some(record) = backup.next(inventory) {
            let (id, bytes) = record?;
            let opened = Record::open(&ring, inventory, &id, &bytes);
            let opened = opened.map_err(|what| record::damaged(path, &id, what))?;
            checked.look(path, inventory, &id, opened)?;
        }
    }
    backup.finish()?;
    Ok(checked)
}

/// A backup that is read, record by record. What it says counts once [`Backup::finish`] has found it whole.
struct Backup<'a> {
    path: &'a Path,
    file: Tee<BufReader<File>>,
    sealed: Sealed,
    keyring: Keyring,
    /// The code of the record, or the end, that comes next.
    code: u8,
    counts: [u64; 2],
}

impl<'a> Backup<'a> {
    fn open(path: &'a Path, masters: &MasterKeys) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let mut file = BufReader::new(file);
        let mut title = [0; TITLE.len()];
        let titled = file.read_exact(&mut title).is_ok() && title == *TITLE;
        if !titled {
            return Err(Error::damaged(path, "it is no backup of a key store"));
        }
        let text = read_bytes(&mut file, KEYRING_BYTES_MAX).ok_or_else(|| cut(path))?;
        let sealed = Sealed::parse(path, text)?;
        let (keyring, content) = sealed.open(&*masters.find(path, &sealed.master)?)?;
        let mut file = Tee::new(file, &content);
        for part in [TITLE, &length(sealed.text.len()), &sealed.text] {
            file.mac.update(part);
        }
        let mut backup = Self { path, file, sealed, keyring, code: 0, counts: [0; 2] };
        backup.code = backup.read_code()?;
        Ok(backup)
    }

    fn read_code(&mut self) -> Result<u8, Error> {
        let mut code = [0];
        self.file.read_exact(&mut code).map_err(|_| cut(self.path))?;
        Ok(code[0])
    }

    /// The next record, if it is of this inventory.
    fn next(&mut self, inventory: Inventory) -> Option<Result<(Id, Vec<u8>), Error>> {
        (self.code == code(inventory)).then(|| {
            let mut id = [0; 48];
            self.file.read_exact(&mut id).map_err(|_| cut(self.path))?;
            let bytes = read_bytes(&mut self.file, RECORD_BYTES_MAX).ok_or_else(|| cut(self.path))?;
            let [pre_active, active] = &mut self.counts;
            *(if inventory == Inventory::PreActive { pre_active } else { active }) += 1;
            self.code = self.read_code()?;
            Ok((id, bytes))
        })
    }

    /// Whether that was all, and all of it as it was written.
    fn finish(mut self) -> Result<(), Error> {
        let mut counts = [0; 16];
        let mut tag = [0; 32];
        let read = self.file.read_exact(&mut counts).and_then(|()| self.file.inner.read_exact(&mut tag));
        let read = read.and_then(|()| self.file.inner.read(&mut [0]));
        let [pre_active, active] = self.counts;
        let counted = counts == *[pre_active.to_be_bytes(), active.to_be_bytes()].as_flattened();
        let authentic = self.file.mac.verify_slice(&tag).is_ok();
        let whole = self.code == 0 && matches!(read, Ok(0)) && counted && authentic;
        if whole { Ok(()) } else { Err(Error::damaged(self.path, "it is not as it was written")) }
    }
}

fn cut(path: &Path) -> Error {
    Error::damaged(path, "it ends too early, or a length in it is wrong")
}

/// Bytes behind their length; `None` where there are more than `most`, or fewer than that.
fn read_bytes(from: &mut impl Read, most: usize) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).ok()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok().filter(|length| *length <= most)?;
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// What goes through it is authenticated.
struct Tee<I> {
    inner: I,
    mac: Hmac<Sha256>,
}

impl<I> Tee<I> {
    fn new(inner: I, content: &ContentKey) -> Self {
        let key: &[u8; 32] = &content.backup_key();
        // HMAC's block takes a key of 32 bytes as it is; the form that can't fail wants a whole block.
        let mut block = zeroize::Zeroizing::new([0; 64]);
        block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        Self { inner, mac: Hmac::new((&*block).into()) }
    }
}

impl<W: Write> Tee<W> {
    fn put(&mut self, parts: &[&[u8]]) -> std::io::Result<()> {
        parts.iter().try_for_each(|part| {
            self.mac.update(part);
            self.inner.write_all(part)
        })
    }
}

impl Tee<BufWriter<File>> {
    fn finish(mut self) -> std::io::Result<File> {
        self.inner.write_all(&self.mac.finalize().into_bytes())?;
        self.inner.into_inner().map_err(std::io::IntoInnerError::into_error)
    }
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.mac.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}
