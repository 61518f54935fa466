//! The hashes of the complete subtrees of every tenant's tree: a file a tenant, one hash after the other, each at the place
//! that [`Subtree::place`] says.
//!
//! A cache. It is written behind the archive, without a sync, and read from the events again wherever it is short or wrong:
//! no proof leaves the archive that does not lead to the root that it was asked for, so nothing here need be believed.
//! `docs/decisions/0008-proofs-and-witnesses.md` says why it is made like this.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use journal::merkle::{self, Hash, Subtree};
use model::TenantId;

use crate::{Error, place};

const HASH: u64 = 32;

pub(super) struct Trees {
    dir: PathBuf,
    /// Held by whoever writes.
    writing: Mutex<()>,
}

/// A tenant's file, to read.
pub(super) struct Tree {
    file: File,
    path: PathBuf,
}

impl Trees {
    /// Below the archive's folder.
    pub(super) fn open(dir: &Path) -> Result<Self, Error> {
        let dir = dir.join("tree");
        place::private_dir(&dir)?;
        Ok(Self { dir, writing: Mutex::default() })
    }

    /// Of how many leaves everything is there.
    pub(super) fn size(&self, tenant: TenantId) -> Result<u64, Error> {
        let path = self.path(tenant);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(size_of(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    /// Adds leaves that follow `from` others. Where those are not all there, nothing is done; where there are more, these
    /// take their place.
    pub(super) fn add(&self, tenant: TenantId, from: u64, leaves: &[Hash]) -> Result<(), Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(tenant);
        let wrong = Error::io(&path);
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).read(true).write(true).mode(0o600).open(&path);
        let added = file.and_then(|file| match size_of(file.metadata()?.len()) {
            size if size < from => Ok(()),
            _ => {
                file.set_len(merkle::places(from) * HASH)?;
                file.write_all_at(&behind(&file, from, leaves)?, merkle::places(from) * HASH)
            }
        });
        added.map_err(wrong)
    }

    /// Adds the leaves of an append, each tenant's in their order.
    pub(super) fn add_all(&self, leaves: impl Iterator<Item = (TenantId, u64, Hash)>) -> Result<(), Error> {
        let mut tenants: BTreeMap<TenantId, (u64, Vec<Hash>)> = BTreeMap::new();
        for (tenant, index, leaf) in leaves {
            tenants.entry(tenant).or_insert_with(|| (index, Vec::new())).1.push(leaf);
        }
        tenants.into_iter().try_for_each(|(tenant, (from, leaves))| self.add(tenant, from, &leaves))
    }

    /// Takes away what can't be used.
    pub(super) fn remove(&self, tenant: TenantId) -> Result<(), Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(tenant);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Io { path, source }),
            _ => Ok(()),
        }
    }

    pub(super) fn tree(&self, tenant: TenantId) -> Result<Tree, Error> {
        let path = self.path(tenant);
        let file = File::open(&path).map_err(Error::io(&path))?;
        Ok(Tree { file, path })
    }

    fn path(&self, tenant: TenantId) -> PathBuf {
        self.dir.join(tenant.to_string())
    }
}

impl Tree {
    pub(super) fn hash(&self, subtree: Subtree) -> Result<Hash, Error> {
        read(&self.file, subtree).map_err(Error::io(&self.path))
    }
}

fn read(file: &File, subtree: Subtree) -> io::Result<Hash> {
    let mut hash = Hash::default();
    file.read_exact_at(&mut hash, subtree.place() * HASH)?;
    Ok(hash)
}

/// What stands behind the first `from` leaves when these are added. Of what is there, only the left halves of what they
/// complete are read: less than one a leaf.
fn behind(file: &File, from: u64, leaves: &[Hash]) -> io::Result<Vec<u8>> {
    let begin = merkle::places(from);
    let mut hashes: Vec<Hash> = Vec::with_capacity(2 * leaves.len());
    for (index, leaf) in (from..).zip(leaves) {
        let mut last = *leaf;
        hashes.push(last);
        for completed in Subtree::completed_by(index) {
            let left = completed.left();
            let here = left.place().checked_sub(begin).and_then(|place| hashes.get(usize::try_from(place).ok()?));
            let left = here.copied().map_or_else(|| read(file, left), Ok)?;
            last = merkle::node(&left, &last);
            hashes.push(last);
        }
    }
    Ok(hashes.concat())
}

/// How many leaves a file of this length has everything of.
fn size_of(bytes: u64) -> u64 {
    let places = bytes / HASH;
    // A tree has twice as many places as leaves, less one for each bit that is set in its size.
    let most = places / 2 + u64::from(u64::BITS) / 2;
    (places / 2..=most).rev().find(|size| merkle::places(*size) <= places).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_length_has_everything_of_so_many_leaves() {
        let mut size = 0;
        for bytes in 0..100_000 {
            while merkle::places(size + 1) * HASH <= bytes {
                size += 1;
            }
            assert_eq!(size_of(bytes), size, "{bytes}");
        }
        for size in [1 << 20, (1 << 40) - 1, (1 << 40) + 12_345, u64::from(u32::MAX)] {
            assert_eq!(size_of(merkle::places(size) * HASH), size);
            assert_eq!(size_of(merkle::places(size) * HASH - 1), size - 1);
        }
    }
}
