//! What others have said of checkpoints: cosignatures and time stamps. They can't be had again, so they are kept in a
//! database of their own, and each is on the disk before anything is said of it.

use std::path::{Path, PathBuf};

use journal::note::NoteKey;
use model::{TenantId, Timestamp};
use redb::{Builder, Database, ReadableDatabase as _, TableDefinition};
use service::Error;

/// Tenant, size of the checkpoint, the witness's key: the lines below the checkpoint.
const COSIGNATURES: TableDefinition<'_, (&[u8], u64, &str), &str> = TableDefinition::new("cosignatures");
/// Tenant, size of the checkpoint: the authority's answer.
const TIMESTAMPS: TableDefinition<'_, (&[u8], u64), &[u8]> = TableDefinition::new("timestamps");
/// Tenant, who: the last checkpoint that they vouched for, and when.
const LAST: TableDefinition<'_, (&[u8], &str), (u64, i64)> = TableDefinition::new("last");

/// Memory for pages.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// The database. Blocks: to be called off the async threads.
pub struct Witnessed {
    database: Database,
    path: PathBuf,
}

/// What somebody vouched for last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// The checkpoint's size.
    pub size: u64,
    /// When, by the clock here.
    pub at: Timestamp,
}

impl Witnessed {
    /// Opens it, or makes it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let opened = (|| {
            let database = Builder::new().set_cache_size(CACHE_BYTES).create(path)?;
            // All tables are there from the beginning, so that reading need not ask.
            let write = database.begin_write()?;
            write.open_table(COSIGNATURES)?;
            write.open_table(TIMESTAMPS)?;
            write.open_table(LAST)?;
            write.commit()?;
            Ok(database)
        })();
        let database = opened.map_err(|error: redb::Error| failed(path, &error))?;
        Ok(Self { database, path: path.to_owned() })
    }

    /// Keeps a witness's lines below the checkpoint of this size.
    pub fn cosigned(
        &self,
        tenant: TenantId,
        size: u64,
        witness: &NoteKey,
        lines: &str,
        at: Timestamp,
    ) -> Result<(), Error> {
        let (tenant, witness) = (tenant.as_bytes().as_slice(), witness.to_string());
        self.write(|write| {
            write.open_table(COSIGNATURES)?.insert((tenant, size, witness.as_str()), lines)?;
            write.open_table(LAST)?.insert((tenant, witness.as_str()), (size, at.unix_millis()))?;
            Ok(())
        })
    }

    /// Keeps an authority's answer about the checkpoint of this size.
    pub fn stamped(
        &self,
        tenant: TenantId,
        size: u64,
        authority: &str,
        answer: &[u8],
        at: Timestamp,
    ) -> Result<(), Error> {
        let tenant = tenant.as_bytes().as_slice();
        self.write(|write| {
            write.open_table(TIMESTAMPS)?.insert((tenant, size), answer)?;
            write.open_table(LAST)?.insert((tenant, authority), (size, at.unix_millis()))?;
            Ok(())
        })
    }

    /// The cosignature lines of a checkpoint, the witnesses in the order of their keys.
    pub fn cosignatures(&self, tenant: TenantId, size: u64) -> Result<Vec<String>, Error> {
        let tenant = tenant.as_bytes().as_slice();
        self.read(|read| {
            let table = read.open_table(COSIGNATURES)?;
            let rows = table.range((tenant, size, "")..(tenant, size.saturating_add(1), ""))?;
            rows.map(|row| Ok(row?.1.value().to_owned())).collect()
        })
    }

    /// The sizes of a tenant's checkpoints, up to this one, that witnesses have cosigned.
    pub fn sizes_cosigned(&self, tenant: TenantId, most: u64) -> Result<Vec<u64>, Error> {
        let tenant = tenant.as_bytes().as_slice();
        self.read(|read| {
            let table = read.open_table(COSIGNATURES)?;
            let rows = table.range((tenant, 0, "")..(tenant, most.saturating_add(1), ""))?;
            let mut sizes: Vec<u64> = Vec::new();
            for row in rows {
                let size = row?.0.value().1;
                if sizes.last() != Some(&size) {
                    sizes.push(size);
                }
            }
            Ok(sizes)
        })
    }

    /// The time stamp of a checkpoint.
    pub fn timestamp(&self, tenant: TenantId, size: u64) -> Result<Option<Vec<u8>>, Error> {
        let tenant = tenant.as_bytes().as_slice();
        self.read(|read| Ok(read.open_table(TIMESTAMPS)?.get((tenant, size))?.map(|answer| answer.value().to_vec())))
    }

    /// The size of a tenant's newest checkpoint that a witness has cosigned.
    pub fn newest_cosigned(&self, tenant: TenantId) -> Result<Option<u64>, Error> {
        let tenant = tenant.as_bytes().as_slice();
        self.read(|read| {
            let table = read.open_table(COSIGNATURES)?;
            let last = table.range((tenant, 0, "")..(tenant, u64::MAX, ""))?.next_back().transpose()?;
            Ok(last.map(|(key, _)| key.value().1))
        })
    }

    /// The size of a tenant's newest checkpoint that has a time stamp.
    pub fn newest_stamped(&self, tenant: TenantId) -> Result<Option<u64>, Error> {
        let tenant = tenant.as_bytes().as_slice();
        self.read(|read| {
            let table = read.open_table(TIMESTAMPS)?;
            let last = table.range((tenant, 0)..(tenant, u64::MAX))?.next_back().transpose()?;
            Ok(last.map(|(key, _)| key.value().1))
        })
    }

    /// What a witness (by its key) or an authority (by its address) vouched for last.
    pub fn last(&self, tenant: TenantId, who: &str) -> Result<Option<Last>, Error> {
        let tenant = tenant.as_bytes().as_slice();
        self.read(|read| {
            let row = read.open_table(LAST)?.get((tenant, who))?;
            let last = |(size, at)| Last { size, at: Timestamp::from_unix_millis(at) };
            Ok(row.map(|row| last(row.value())))
        })
    }

    fn read<T>(&self, look: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>) -> Result<T, Error> {
        let looked = self.database.begin_read().map_err(redb::Error::from).and_then(|read| look(&read));
        looked.map_err(|error| failed(&self.path, &error))
    }

    /// COMMIT POINT: what this has returned for is on the disk.
    fn write(&self, change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>) -> Result<(), Error> {
        let written = (|| {
            let write = self.database.begin_write()?;
            change(&write)?;
            Ok(write.commit()?)
        })();
        written.map_err(|error: redb::Error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &redb::Error) -> Error {
    let advice =
        "see that the disk has room and no other process has it open; where it is damaged, put its backup back";
    Error::File { path: path.to_owned(), error: format!("cosignatures and time stamps: {error}; {advice}") }
}
