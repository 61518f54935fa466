//! One inventory on the disk: a database, and the wrapping keys that its records are under.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use model::event::{Inventory, Place};
use redb::{Builder, Database, ReadTransaction, ReadableDatabase as _, ReadableTableMetadata as _, TableDefinition};

use crate::Error;
use crate::files::{self, DATABASE};
use crate::record::{self, Id, Record, Secret};
use crate::wrapping::{Ring, WrappingKeyId, inventory_name};
use crate::writer::{Change, KEYS, Writer};

/// What the database is, so that it can't be taken for another.
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(crate) const WRAPPING_KEY: &str = "wrapping_key";
const FORMAT: &[u8] = b"1";

/// Memory for pages of one database. A key takes some 300 bytes of disk; what is used often stays in here.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// An inventory.
pub(crate) struct Shelf {
    pub(crate) inventory: Inventory,
    pub(crate) writer: Writer,
    /// INVARIANT (every record opens): whatever a snapshot shows is under a key of the ring that was taken with it. A key is
    /// added before anything is under it, and let go when nothing is any more; both wait for whoever takes a snapshot.
    ring: RwLock<Arc<Ring>>,
    database: Arc<Database>,
    path: PathBuf,
}

/// The store that a database belongs to: random, the same in both of its inventories.
pub(crate) type StoreId = [u8; 16];

/// What an inventory has at one moment, whatever is written from then on.
pub(crate) struct Snapshot {
    pub(crate) transaction: ReadTransaction,
    pub(crate) ring: Arc<Ring>,
}

impl Shelf {
    /// Makes an empty one in a new directory.
    pub(crate) fn create(store: &Path, inventory: Inventory, ring: &Ring, store_id: &StoreId) -> Result<(), Error> {
        Self::create_with(store, inventory, ring.current.id, store_id, std::iter::empty())
    }

    /// Makes one with these records in a new directory. `under` is the wrapping key that they are under, or one of them.
    pub(crate) fn create_with(
        store: &Path,
        inventory: Inventory,
        under: WrappingKeyId,
        store_id: &StoreId,
        records: impl Iterator<Item = Result<(Id, Vec<u8>), Error>>,
    ) -> Result<(), Error> {
        let directory = directory(store, inventory);
        files::create_directory(&directory)?;
        let path = directory.join(DATABASE);
        let database = create_database(&path, inventory, under, store_id)?;
        write_records(&database, &path, records)?;
        close(database, &path)?;
        files::sync_directory(&directory)
    }

    /// Opens it. Makes nothing.
    pub(crate) fn open(store: &Path, inventory: Inventory, ring: Arc<Ring>) -> Result<(Self, StoreId), Error> {
        let directory = directory(store, inventory);
        let path = directory.join(DATABASE);
        let restore = "restore the store from a backup";
        files::check_directory(&directory, restore)?;
        files::check_file(&path, restore)?;
        let database = builder().open(&path).map_err(redb::Error::from).map_err(Error::database(&path))?;
        let store_id = check_meta(&database, &path, inventory, &ring)?;
        let database = Arc::new(database);
        let writer = Writer::start(Arc::clone(&database), path.clone())?;
        Ok((Self { inventory, ring: RwLock::new(ring), writer, database, path }, store_id))
    }

    /// The file, for errors.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its wrapping keys.
    pub(crate) fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has it use these wrapping keys from now on.
    pub(crate) fn set_ring(&self, ring: Arc<Ring>) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
    }

    /// The id of the wrapping key for whatever is written.
    pub(crate) fn key_id(&self) -> WrappingKeyId {
        self.ring().current.id
    }

    /// Where a key on this shelf is.
    pub(crate) fn place(&self) -> Option<Place> {
        self.key_id().place(self.inventory)
    }

    /// What is there under an id, as of the last commit.
    pub(crate) fn read(&self, id: &Id) -> Result<Option<(Record, Option<Secret>)>, Error> {
        let Snapshot { transaction, ring } = self.snapshot()?;
        let look = || Ok(transaction.open_table(KEYS)?.get(&id[..])?.map(|bytes| bytes.value().to_vec()));
        let bytes: Option<Vec<u8>> = look().map_err(Error::database(&self.path))?;
        bytes.map(|bytes| self.unseal(&ring, id, &bytes)).transpose()
    }

    /// Opens a record of this shelf.
    pub(crate) fn unseal(&self, ring: &Ring, id: &Id, bytes: &[u8]) -> Result<(Record, Option<Secret>), Error> {
        Record::open(ring, self.inventory, id, bytes).map_err(|what| self.damaged(id, what))
    }

    /// The error for a record that is not as it should be.
    pub(crate) fn damaged(&self, id: &Id, what: &str) -> Error {
        record::damaged(&self.path, id, what)
    }

    /// Whether there is anything under an id, whatever it be.
    pub(crate) fn has(&self, id: &Id) -> Result<bool, Error> {
        let look = || Ok(self.database.begin_read()?.open_table(KEYS)?.get(&id[..])?.is_some());
        look().map_err(Error::database(&self.path))
    }

    /// Writes a record, with its material under this shelf's wrapping key.
    pub(crate) fn put(&self, id: &Id, record: &Record, secret: Option<&Secret>) -> Result<(), Error> {
        let bytes = record.seal(&self.ring().current, self.inventory, id, secret)?;
        self.writer.write(vec![Change::Put(*id, bytes)])
    }

    /// Removes a record, if it is there.
    pub(crate) fn remove(&self, id: &Id) -> Result<(), Error> {
        self.writer.write(vec![Change::Remove(*id)])
    }

    /// Writes down which wrapping key all records are under.
    pub(crate) fn name_key(&self) -> Result<(), Error> {
        self.writer.write(vec![Change::NameKey(self.key_id().text(self.inventory))])
    }

    /// A view that stays as it is, whatever is written from now on.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Error> {
        // Held until the transaction has begun: see the ring.
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let transaction = self.database.begin_read().map_err(redb::Error::from).map_err(Error::database(&self.path))?;
        Ok(Snapshot { transaction, ring: Arc::clone(&ring) })
    }

    /// How many records a snapshot has, by the database's own count.
    pub(crate) fn count(&self, snapshot: &Snapshot) -> Result<u64, Error> {
        let count = || Ok(snapshot.transaction.open_table(KEYS)?.len()?);
        count().map_err(Error::database(&self.path))
    }
}

fn directory(store: &Path, inventory: Inventory) -> PathBuf {
    store.join(inventory_name(inventory))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    // Every page's checksum is looked at: without, a file changed behind redb's back may panic later instead of failing
    // here.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn create_database(
    path: &Path,
    inventory: Inventory,
    under: WrappingKeyId,
    store_id: &StoreId,
) -> Result<Database, Error> {
    // Made first, with its mode: redb would leave that to the umask.
    files::create_file(path)?;
    let make = || {
        let database = builder().create(path)?;
        let transaction = database.begin_write()?;
        {
            transaction.open_table(KEYS)?;
            let mut meta = transaction.open_table(META)?;
            meta.insert("format", FORMAT)?;
            meta.insert("inventory", inventory_name(inventory).as_bytes())?;
            meta.insert(WRAPPING_KEY, under.text(inventory).as_bytes())?;
            meta.insert("store", &store_id[..])?;
        }
        transaction.commit()?;
        Ok(database)
    };
    make().map_err(Error::database(path))
}

fn close(database: Database, path: &Path) -> Result<(), Error> {
    database.close().map_err(redb::Error::from).map_err(Error::database(path))
}

/// Compares what the database says of itself with where it was found; gives the store's id.
fn check_meta(database: &Database, path: &Path, inventory: Inventory, ring: &Ring) -> Result<StoreId, Error> {
    let read = || {
        let transaction = database.begin_read()?;
        let meta = transaction.open_table(META)?;
        let get = |name| Ok::<_, redb::Error>(meta.get(name)?.map(|value| value.value().to_vec()).unwrap_or_default());
        transaction.open_table(KEYS)?;
        Ok([get("format")?, get("inventory")?, get(WRAPPING_KEY)?, get("store")?])
    };
    let [format, found, wrapping_key, store] = read().map_err(|error| match error {
        redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. } => {
            Error::damaged(path, "it is no key store's database")
        }
        error => Error::database(path)(error),
    })?;
    if format != FORMAT {
        return Err(Error::misplaced(path, "it is of a later format: use the release that wrote it, or a newer one"));
    }
    if found != inventory_name(inventory).as_bytes() {
        return Err(Error::misplaced(path, "it is the other inventory's"));
    }
    if !ring.has(inventory, &wrapping_key) {
        let wanted = String::from_utf8_lossy(&wrapping_key);
        return Err(Error::misplaced(path, format!("its keys are under {wanted}, which the keyring has not")));
    }
    store.try_into().map_err(|_| Error::damaged(path, "it does not say which store it belongs to"))
}

/// Records in one commit of a copy.
const COPY_BATCH: usize = 4096;

/// Writes records into a new database.
fn write_records(
    database: &Database,
    path: &Path,
    records: impl Iterator<Item = Result<(Id, Vec<u8>), Error>>,
) -> Result<(), Error> {
    let mut records = records.peekable();
    while records.peek().is_some() {
        let batch: Vec<_> = records.by_ref().take(COPY_BATCH).collect::<Result<_, _>>()?;
        let write = || {
            let transaction = database.begin_write()?;
            {
                let mut keys = transaction.open_table(KEYS)?;
                for (id, bytes) in &batch {
                    keys.insert(&id[..], &bytes[..])?;
                }
            }
            transaction.commit()?;
            Ok(())
        };
        write().map_err(Error::database(path))?;
    }
    Ok(())
}
