//! The bundles on disk.
//!
//! ```text
//! <tenant>/lock                      held by whoever makes or removes a bundle of the tenant
//! <tenant>/.new-<…>/                 a bundle that is being made
//! <tenant>/<manifest>/export.json    what it is, and its files
//! <tenant>/<manifest>/recorded.json  the event that names it
//! <tenant>/<manifest>/files/         the bundle
//! ```
//!
//! A bundle is known by the SHA-256 of what its manifest says. It comes into being in these steps; what a crash after each
//! means:
//!
//! 1. *Build* under `.new-…`, every file and folder synced. A crash: what is there is removed when the tenant's folder is
//!    held the next time.
//! 2. *Put* it under its name. A crash: nobody has heard of it. Whoever holds the folder next looks in the log whether an
//!    event names it, and removes it where none does.
//! 3. *Record* `evidence.exported`, which names it. **This is the commit point**: the bundle of an event is on the disk, as
//!    long as it is kept. A crash: whoever holds the folder next finds the event in the log and goes on with step 4.
//! 4. *Mark* it as recorded. Only now it is listed; old ones are removed, where only so many are kept.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use model::history::{BundleFile, RecordedBundle};
use model::{Digest, TenantId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use service::Recorded;

const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// What the names of bundles under way begin with.
const NEW: &str = ".new-";

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub(crate) struct Trouble {
    path: PathBuf,
    error: io::Error,
}

impl Trouble {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |error| Self { path: path.to_owned(), error }
    }

    /// Whether the disk, or what may be used of it, is full.
    pub(crate) fn is_for_want_of_room(&self) -> bool {
        matches!(
            self.error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

impl From<Trouble> for io::Error {
    fn from(trouble: Trouble) -> Self {
        trouble.error
    }
}

/// What a bundle is, and its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Export {
    /// The SHA-256 of what its manifest says.
    pub(crate) manifest: Digest,
    /// The first event of the period under test.
    pub(crate) from: u64,
    /// How many events it holds.
    pub(crate) size: u64,
    /// Every file.
    pub(crate) files: Vec<BundleFile>,
}

/// The event that names a bundle.
#[derive(Serialize, Deserialize)]
struct Marked {
    sequence: u64,
    hash: model::EventHash,
}

/// The folder of all bundles.
pub(crate) struct Shelf {
    dir: PathBuf,
}

impl Shelf {
    pub(crate) fn open(dir: &Path) -> Result<Self, Trouble> {
        make_dir(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The tenants that have bundles, or had.
    pub(crate) fn tenants(&self) -> Result<Vec<TenantId>, Trouble> {
        Ok(names(&self.dir)?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Holds a tenant's folder: one bundle at a time is made or removed in it. `None` where another process has it.
    pub(crate) fn hold(&self, tenant: TenantId) -> Result<Option<Held>, Trouble> {
        let dir = self.of(tenant);
        make_dir(&dir)?;
        let path = dir.join("lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(PRIVATE_FILE);
        let lock = options.open(&path).map_err(Trouble::at(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Held { dir, lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Trouble { path, error }),
        }
    }

    /// The bundles that are recorded, the newest first.
    pub(crate) fn recorded(&self, tenant: TenantId) -> Result<Vec<RecordedBundle>, Trouble> {
        recorded(&self.of(tenant))
    }

    /// What a bundle is; `None` where there is none.
    pub(crate) fn export(&self, tenant: TenantId, manifest: Digest) -> Result<Option<Export>, Trouble> {
        read_json(&self.of(tenant).join(manifest.to_string()).join("export.json"))
    }

    /// At most `most` bytes of a file from `offset` on; `None` where there is no such bundle, or no such file in it.
    pub(crate) fn chunk(
        &self,
        tenant: TenantId,
        manifest: Digest,
        name: &str,
        offset: u64,
        most: usize,
    ) -> Result<Option<Vec<u8>>, Trouble> {
        // Only a name that the bundle lists is taken for one: whoever asks names no path.
        let listed = self.export(tenant, manifest)?.is_some_and(|export| has(&export, name));
        let path = self.of(tenant).join(manifest.to_string()).join("files").join(name);
        if !listed {
            return Ok(None);
        }
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(Trouble::at(&path))?,
        };
        let mut bytes = Vec::new();
        let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.take(most as u64).read_to_end(&mut bytes));
        read.map_err(Trouble::at(&path))?;
        Ok(Some(bytes))
    }

    fn of(&self, tenant: TenantId) -> PathBuf {
        self.dir.join(tenant.to_string())
    }
}

fn has(export: &Export, name: &str) -> bool {
    export.files.iter().any(|file| file.name == name)
}

fn recorded(dir: &Path) -> Result<Vec<RecordedBundle>, Trouble> {
    let mut all = Vec::new();
    for manifest in bundles(dir)? {
        let folder = dir.join(manifest.to_string());
        let marked: Option<Marked> = read_json(&folder.join("recorded.json"))?;
        let export: Option<Export> = read_json(&folder.join("export.json"))?;
        if let Some((Marked { sequence, hash }, Export { from, size, files, .. })) = marked.zip(export) {
            let bytes = files.iter().map(|file| file.bytes).sum();
            all.push(RecordedBundle { manifest, sequence, hash, from, size, bytes });
        }
    }
    all.sort_by_key(|bundle| std::cmp::Reverse(bundle.sequence));
    Ok(all)
}

/// The bundles in a tenant's folder, recorded or not.
fn bundles(dir: &Path) -> Result<Vec<Digest>, Trouble> {
    Ok(names(dir)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// A tenant's folder, held until this is dropped.
pub(crate) struct Held {
    dir: PathBuf,
    lock: File,
}

impl Drop for Held {
    /// Closing the file is not enough: a process that this one has forked keeps it open until it execs, and with it the
    /// lock. Where unlocking fails, closing is what is left.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

impl Held {
    /// Removes bundles that were begun and never put under their names.
    pub(crate) fn clean(&self) -> Result<(), Trouble> {
        for name in names(&self.dir)?.iter().filter(|name| name.starts_with(NEW)) {
            let path = self.dir.join(name);
            fs::remove_dir_all(&path).map_err(Trouble::at(&path))?;
        }
        Ok(())
    }

    /// The bundles that are not marked as recorded.
    pub(crate) fn unmarked(&self) -> Result<Vec<Export>, Trouble> {
        let mut found = Vec::new();
        for manifest in bundles(&self.dir)? {
            let folder = self.dir.join(manifest.to_string());
            if !folder.join("recorded.json").exists() {
                found.extend(read_json::<Export>(&folder.join("export.json"))?);
            }
        }
        Ok(found)
    }

    /// Begins a bundle. Dropped before it is put under its name, it is gone.
    pub(crate) fn begin(&self) -> Result<New, Trouble> {
        let mut folder = tempfile::Builder::new();
        let folder = folder.prefix(NEW).permissions(fs::Permissions::from_mode(PRIVATE_DIR));
        let folder = folder.tempdir_in(&self.dir).map_err(Trouble::at(&self.dir))?;
        let new = New { folder };
        make_dir(&new.files())?;
        Ok(new)
    }

    /// Puts a bundle under its name.
    pub(crate) fn put(&self, new: New, export: &Export) -> Result<(), Trouble> {
        new.seal(export)?;
        let place = self.dir.join(export.manifest.to_string());
        if place.join("export.json").exists() {
            // The same bytes are there: of another command, for the same period.
            return Ok(());
        }
        fs::rename(new.folder.path(), &place).map_err(Trouble::at(&place))?;
        // It is no longer temporary, nor where it was.
        let _ = new.folder.keep();
        sync_dir(&self.dir)
    }

    /// Marks a bundle as recorded by this event.
    pub(crate) fn mark(&self, manifest: Digest, event: Recorded) -> Result<(), Trouble> {
        let folder = self.dir.join(manifest.to_string());
        write_json(&folder, "recorded.json", &Marked { sequence: event.sequence.0, hash: event.hash })
    }

    /// Removes a bundle. What is not whole any more is not listed any more.
    pub(crate) fn remove(&self, manifest: Digest) -> Result<(), Trouble> {
        let (place, away) = (self.dir.join(manifest.to_string()), self.dir.join(format!("{NEW}{manifest}")));
        fs::rename(&place, &away).map_err(Trouble::at(&place))?;
        fs::remove_dir_all(&away).map_err(Trouble::at(&away))
    }

    /// Removes the oldest of those that are recorded, where there are more than are kept. Answers with how many went.
    pub(crate) fn prune(&self, keep: NonZeroUsize) -> Result<usize, Trouble> {
        let mut removed = 0;
        for old in recorded(&self.dir)?.into_iter().skip(keep.get()) {
            self.remove(old.manifest)?;
            removed += 1;
        }
        Ok(removed)
    }
}

/// A bundle under way.
pub(crate) struct New {
    folder: tempfile::TempDir,
}

impl New {
    fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// A file of it. Flushed, its bytes are on the disk.
    pub(crate) fn create(&self, name: &str) -> Result<Synced, Trouble> {
        let path = self.files().join(name);
        path.parent().map_or(Ok(()), make_dir)?;
        let mut options = OpenOptions::new();
        let file = options.create_new(true).write(true).mode(PRIVATE_FILE).open(&path).map_err(Trouble::at(&path))?;
        Ok(Synced(BufWriter::new(file)))
    }

    /// How long a file is.
    pub(crate) fn length(&self, name: &str) -> Result<u64, Trouble> {
        let path = self.files().join(name);
        path.metadata().map(|metadata| metadata.len()).map_err(Trouble::at(&path))
    }

    /// An error of a file of it, with where it was.
    pub(crate) fn trouble(&self, error: io::Error) -> Trouble {
        Trouble { path: self.folder.path().to_owned(), error }
    }

    /// Says what it is, and makes every name in it durable.
    fn seal(&self, export: &Export) -> Result<(), Trouble> {
        let files = self.files();
        let folders = export.files.iter().filter_map(|file| files.join(&file.name).parent().map(Path::to_owned));
        folders.collect::<std::collections::BTreeSet<PathBuf>>().iter().try_for_each(|folder| sync_dir(folder))?;
        sync_dir(&files)?;
        write_json(self.folder.path(), "export.json", export)
    }
}

/// A file whose bytes are on the disk when it is flushed.
pub(crate) struct Synced(BufWriter<File>);

impl Write for Synced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        self.0.get_ref().sync_all()
    }
}

// === Files ===

/// The names in a folder; none where there is no such folder.
fn names(dir: &Path) -> Result<Vec<String>, Trouble> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Trouble::at(dir))?,
    };
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry.map_err(Trouble::at(dir))?.file_name().into_string().ok());
    entries.filter_map(|entry| name(entry).transpose()).collect()
}

/// Makes a folder for its owner alone, and those above it, durably.
fn make_dir(dir: &Path) -> Result<(), Trouble> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(dir).map_err(Trouble::at(dir))?;
    dir.parent().map_or(Ok(()), sync_dir)
}

fn sync_dir(dir: &Path) -> Result<(), Trouble> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Trouble::at(dir))
}

/// Reads a file that one of us wrote; `None` where there is none, or it was removed meanwhile.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Trouble> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => {
            let bytes = read.map_err(Trouble::at(path))?;
            serde_json::from_slice(&bytes).map(Some).map_err(|error| Trouble::at(path)(error.into()))
        }
    }
}

/// Writes a file, whole or not at all.
fn write_json(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), Trouble> {
    let path = dir.join(name);
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer(&mut file, value)?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|refused| refused.error)
    };
    write().map_err(Trouble::at(&path))?;
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use model::{EventHash, Sequence};

    use super::*;

    fn tenant() -> TenantId {
        TenantId::from_bytes([1; 32])
    }

    /// A bundle with these files, under its name.
    fn put(held: &Held, files: &[(&str, &str)]) -> Digest {
        let new = held.begin().unwrap();
        let write = |(name, text): &(&str, &str)| {
            let mut file = new.create(name).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.flush().unwrap();
            let bytes = new.length(name).unwrap();
            BundleFile { name: (*name).to_owned(), bytes, sha256: Digest::of(text.as_bytes()) }
        };
        let files: Vec<BundleFile> = files.iter().map(write).collect();
        let manifest = Digest::of(files[0].sha256.as_bytes());
        held.put(new, &Export { manifest, from: 1, size: 9, files }).unwrap();
        manifest
    }

    fn event(sequence: u64) -> Recorded {
        Recorded { sequence: Sequence(sequence), hash: EventHash::new([sequence as u8; 32]) }
    }

    fn listed(shelf: &Shelf) -> Vec<u64> {
        shelf.recorded(tenant()).unwrap().iter().map(|bundle| bundle.sequence).collect()
    }

    #[test]
    fn a_bundle_is_listed_when_it_is_recorded_and_read_by_the_names_that_it_lists() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(&dir.path().join("exports")).unwrap();
        let held = shelf.hold(tenant()).unwrap().unwrap();
        let manifest = put(&held, &[("manifest.json", "m"), ("deep/er.json", "0123456789")]);
        assert_eq!((listed(&shelf), held.unmarked().unwrap().len()), (vec![], 1));
        held.mark(manifest, event(12)).unwrap();
        assert_eq!((listed(&shelf), held.unmarked().unwrap().len()), (vec![12], 0));
        assert_eq!(shelf.recorded(tenant()).unwrap()[0].bytes, 11);

        let chunk = |name: &str, offset| shelf.chunk(tenant(), manifest, name, offset, 4).unwrap();
        assert_eq!(chunk("deep/er.json", 0).as_deref(), Some(b"0123".as_slice()));
        assert_eq!(chunk("deep/er.json", 8).as_deref(), Some(b"89".as_slice()));
        assert_eq!(chunk("deep/er.json", 99).as_deref(), Some(b"".as_slice()));
        for other in ["../export.json", "export.json", "deep", "", "/etc/hostname", "manifest.json/"] {
            assert_eq!(chunk(other, 0), None, "{other}");
        }
        assert_eq!(shelf.chunk(tenant(), Digest::of(b"another"), "manifest.json", 0, 4).unwrap(), None);
        assert_eq!(shelf.tenants().unwrap(), [tenant()]);
    }

    #[test]
    fn one_holds_a_tenants_folder_and_what_was_begun_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(dir.path()).unwrap();
        let held = shelf.hold(tenant()).unwrap().unwrap();
        assert!(shelf.hold(tenant()).unwrap().is_none());
        assert!(shelf.hold(TenantId::from_bytes([2; 32])).unwrap().is_some());
        // As if the process were killed here.
        let _ = held.begin().unwrap().folder.keep();
        drop(held.begin().unwrap());
        let begun = || names(&dir.path().join(tenant().to_string())).unwrap().len() - 1;
        assert_eq!(begun(), 1);
        held.clean().unwrap();
        assert_eq!(begun(), 0);
        drop(held);
        assert!(shelf.hold(tenant()).unwrap().is_some());
    }

    #[test]
    fn only_so_many_are_kept_and_those_that_nothing_names_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(dir.path()).unwrap();
        let held = shelf.hold(tenant()).unwrap().unwrap();
        for sequence in [5, 3, 9, 7] {
            let manifest = put(&held, &[("manifest.json", &format!("of {sequence}"))]);
            held.mark(manifest, event(sequence)).unwrap();
        }
        let orphan = put(&held, &[("manifest.json", "an orphan")]);
        assert_eq!(held.prune(NonZeroUsize::new(2).unwrap()).unwrap(), 2);
        assert_eq!(listed(&shelf), [9, 7]);
        assert!(shelf.export(tenant(), orphan).unwrap().is_some());
        held.remove(orphan).unwrap();
        assert!(shelf.export(tenant(), orphan).unwrap().is_none());
    }

    #[test]
    fn what_others_could_read_is_nowhere() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(&dir.path().join("exports")).unwrap();
        let held = shelf.hold(tenant()).unwrap().unwrap();
        held.mark(put(&held, &[("manifest.json", "m"), ("deep/er.json", "d")]), event(1)).unwrap();
        let mut folders = vec![dir.path().join("exports")];
        while let Some(folder) = folders.pop() {
            assert_eq!(folder.metadata().unwrap().mode() & 0o077, 0, "{}", folder.display());
            for name in names(&folder).unwrap() {
                let path = folder.join(name);
                assert_eq!(path.metadata().unwrap().mode() & 0o077, 0, "{}", path.display());
                folders.extend(path.is_dir().then_some(path));
            }
        }
    }
}
