//! One inventory on the disk: a database and its wrapping key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::event::{Inventory, Place};
use redb::{
    Builder, Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition,
};

use crate::Error;
use crate::files::{self, DATABASE, WRAPPING_KEY};
use crate::record::{self, Id, Record, Secret};
use crate::wrapping::{WrappingKey, inventory_name};
use crate::writer::{Change, KEYS, Writer};

/// What the database is, so that it can't be taken for another.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const FORMAT: &[u8] = b"1";

/// Memory for pages of one database. A key takes some 300 bytes of disk; what is used often stays in here.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// An inventory.
pub(crate) struct Shelf {
    pub(crate) inventory: Inventory,
    pub(crate) key: WrappingKey,
    pub(crate) writer: Writer,
    database: Arc<Database>,
    path: PathBuf,
}

/// The store that a database belongs to: random, the same in both of its inventories.
pub(crate) type StoreId = [u8; 16];

impl Shelf {
    /// Makes an empty one in a new directory.
    pub(crate) fn create(store: &Path, inventory: Inventory, store_id: &StoreId) -> Result<(), Error> {
        let directory = directory(store, inventory);
        files::create_directory(&directory)?;
        let key = WrappingKey::create(inventory, &directory.join(WRAPPING_KEY))?;
        let database = create_database(&directory.join(DATABASE), inventory, &key, store_id)?;
        close(database, &directory.join(DATABASE))?;
        files::sync_directory(&directory)
    }

    /// Opens it. Makes nothing.
    pub(crate) fn open(store: &Path, inventory: Inventory) -> Result<(Self, StoreId), Error> {
        let directory = directory(store, inventory);
        let path = directory.join(DATABASE);
        let restore = "restore the store from a backup";
        files::check_directory(&directory, restore)?;
        files::check_file(&path, restore)?;
        let key = WrappingKey::read(inventory, &directory.join(WRAPPING_KEY))?;
        let database = builder().open(&path).map_err(redb::Error::from).map_err(Error::database(&path))?;
        let store_id = check_meta(&database, &path, inventory, &key)?;
        let database = Arc::new(database);
        let writer = Writer::start(Arc::clone(&database), path.clone())?;
        Ok((Self { inventory, key, writer, database, path }, store_id))
    }

    /// The file, for errors.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a key on this shelf is.
    pub(crate) fn place(&self) -> Option<Place> {
        self.key.id.place(self.inventory)
    }

    /// What is there under an id, as of the last commit.
    pub(crate) fn read(&self, id: &Id) -> Result<Option<(Record, Option<Secret>)>, Error> {
        let failed = Error::database(&self.path);
        let bytes = (|| {
            let keys = self.database.begin_read()?.open_table(KEYS)?;
            Ok(keys.get(&id[..])?.map(|bytes| bytes.value().to_vec()))
        })()
        .map_err(failed)?;
        bytes.map(|bytes| self.unseal(id, &bytes)).transpose()
    }

    /// Opens a record of this shelf.
    pub(crate) fn unseal(&self, id: &Id, bytes: &[u8]) -> Result<(Record, Option<Secret>), Error> {
        Record::open(&self.key, self.inventory, id, bytes).map_err(|what| self.damaged(id, what))
    }

    /// The error for a record that is not as it should be.
    pub(crate) fn damaged(&self, id: &Id, what: &str) -> Error {
        match record::parse_id(id) {
            Some((tenant, key_id)) => Error::damaged(&self.path, format!("{what}: key {key_id} of tenant {tenant}")),
            None => Error::damaged(&self.path, what),
        }
    }

    /// Whether there is anything under an id, whatever it be.
    pub(crate) fn has(&self, id: &Id) -> Result<bool, Error> {
        let look = || Ok(self.database.begin_read()?.open_table(KEYS)?.get(&id[..])?.is_some());
        look().map_err(Error::database(&self.path))
    }

    /// Writes a record, with its material under this shelf's wrapping key.
    pub(crate) fn put(&self, id: &Id, record: &Record, secret: Option<&Secret>) -> Result<(), Error> {
        let bytes = record.seal(&self.key, self.inventory, id, secret)?;
        self.writer.write(*id, Change::Put(bytes))
    }

    /// Removes a record, if it is there.
    pub(crate) fn remove(&self, id: &Id) -> Result<(), Error> {
        self.writer.write(*id, Change::Remove)
    }

    /// A view that stays as it is, whatever is written from now on.
    pub(crate) fn snapshot(&self) -> Result<ReadTransaction, Error> {
        self.database.begin_read().map_err(redb::Error::from).map_err(Error::database(&self.path))
    }

    /// Writes what a snapshot shows into a new shelf below `to`, under the same wrapping key.
    pub(crate) fn copy(&self, from: &ReadTransaction, store: &Path, to: &Path, id: &StoreId) -> Result<(), Error> {
        let (source, directory) = (directory(store, self.inventory), directory(to, self.inventory));
        files::create_directory(&directory)?;
        files::copy_key_file(&source.join(WRAPPING_KEY), &directory.join(WRAPPING_KEY))?;
        let path = directory.join(DATABASE);
        let database = create_database(&path, self.inventory, &self.key, id)?;
        let whole = copy_records(from, &database).map_err(Error::database(&path))?;
        close(database, &path)?;
        files::sync_directory(&directory)?;
        if !whole {
            return Err(Error::damaged(&self.path, "it has not as many records as it says"));
        }
        Ok(())
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
    key: &WrappingKey,
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
            meta.insert("wrapping_key", key.id.text(inventory).as_bytes())?;
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
fn check_meta(database: &Database, path: &Path, inventory: Inventory, key: &WrappingKey) -> Result<StoreId, Error> {
    let read = || {
        let transaction = database.begin_read()?;
        let meta = transaction.open_table(META)?;
        let get = |name| Ok::<_, redb::Error>(meta.get(name)?.map(|value| value.value().to_vec()).unwrap_or_default());
        transaction.open_table(KEYS)?;
        Ok([get("format")?, get("inventory")?, get("wrapping_key")?, get("store")?])
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
    if wrapping_key != key.id.text(inventory).as_bytes() {
        let wanted = String::from_utf8_lossy(&wrapping_key);
        return Err(Error::misplaced(
            &path.with_file_name(WRAPPING_KEY),
            format!("the keys are under {wanted}, this is {}", key.id.text(inventory)),
        ));
    }
    store.try_into().map_err(|_| Error::damaged(path, "it does not say which store it belongs to"))
}

/// Records in one commit of a copy.
const COPY_BATCH: usize = 4096;

/// Copies every record; says whether there were as many as the source says there are.
fn copy_records(from: &ReadTransaction, to: &Database) -> Result<bool, redb::Error> {
    let source = from.open_table(KEYS)?;
    let mut records = source.iter()?.peekable();
    let mut copied = 0;
    while records.peek().is_some() {
        let transaction = to.begin_write()?;
        {
            let mut keys = transaction.open_table(KEYS)?;
            for record in records.by_ref().take(COPY_BATCH) {
                let (id, bytes) = record?;
                keys.insert(id.value(), bytes.value())?;
                copied += 1;
            }
        }
        transaction.commit()?;
    }
    Ok(copied == source.len()?)
}
