//! The index: which key is which object on the server, and the state that the chain has brought it to. On the disk when a
//! call returns.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
#[cfg(test)]
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use keystore::ciphertext::ENCRYPTIONS_MAX;
use model::event::Inventory;
use model::key::KeyIdentity;
use model::{Algorithm, Digest, KeyId, KeyState, Name, TenantId};
use redb::{Database, Durability, ReadableDatabase as _, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::Error;

const KEYS: TableDefinition<'_, &[u8; ID_BYTES], &[u8]> = TableDefinition::new("keys");
const STORE: TableDefinition<'_, &str, &str> = TableDefinition::new("store");

const ID_BYTES: usize = 48;

/// Encryptions are counted on the disk in blocks of this many; a restart gives up what is left of one.
const BLOCK: u64 = 1 << 16;
pub(crate) const BLOCKS_MAX: u64 = ENCRYPTIONS_MAX / BLOCK;

/// Keys whose blocks are remembered. Beyond it all are forgotten at once: that costs each a block, and bounds the memory.
const ALLOWANCES_MAX: usize = 1 << 16;

/// A key of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id {
    pub(crate) tenant: TenantId,
    pub(crate) key_id: KeyId,
}

impl Id {
    fn to_bytes(self) -> [u8; ID_BYTES] {
        let mut bytes = [0; ID_BYTES];
        let (tenant, key_id) = bytes.split_at_mut(32);
        tenant.copy_from_slice(self.tenant.as_bytes());
        key_id.copy_from_slice(self.key_id.as_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; ID_BYTES]) -> Option<Self> {
        let (tenant, key_id) = bytes.split_first_chunk::<32>()?;
        let key_id = KeyId::from_bytes(key_id.try_into().ok()?)?;
        Some(Self { tenant: TenantId::from_bytes(*tenant), key_id })
    }
}

/// What the index has of a key. JSON; it holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) algorithm: Algorithm,
    /// The hash of the command that asked for it.
    pub(crate) command: Digest,
    /// How often Create was tried: part of the object's name, so that what an attempt that was cut short has left is never
    /// taken for the key.
    pub(crate) attempt: u32,
    /// The server's identifier; `None` until Create has answered.
    pub(crate) object: Option<String>,
    /// `None` until the birth is complete.
    pub(crate) identity: Option<KeyIdentity>,
    pub(crate) state: KeyState,
    /// Written before the server is asked to change the key, taken away with the change of `state`: so a state on the
    /// server that we were about to make is told from one that somebody else has made.
    pub(crate) intent: Option<KeyState>,
    /// Where it was before it came to this state.
    pub(crate) before: Option<Inventory>,
    /// The server's attributes after our last change, as far as they should stay.
    pub(crate) attributes: BTreeMap<String, Vec<String>>,
    pub(crate) blocks_reserved: u64,
}

impl Record {
    pub(crate) fn new(algorithm: Algorithm, command: Digest) -> Self {
        Self {
            algorithm,
            command,
            attempt: 0,
            object: None,
            identity: None,
            state: KeyState::PreActive,
            intent: None,
            before: None,
            attributes: BTreeMap::new(),
            blocks_reserved: 0,
        }
    }
}

pub(crate) struct Index {
    path: PathBuf,
    database: Database,
    /// Encryptions that may still be done out of the reserved blocks.
    allowance: Mutex<HashMap<Id, u64>>,
    #[cfg(test)]
    pub(crate) faults: Arc<crate::faults::Faults>,
}

impl Index {
    /// Makes an empty index for a store of this name. `instance` tells it from others of the same name.
    pub(crate) fn create(path: &Path, name: &Name, instance: &str) -> Result<(), Error> {
        let make = || -> Result<(), redb::Error> {
            let database = Database::create(path)?;
            let transaction = database.begin_write()?;
            transaction.open_table(KEYS)?;
            let mut store = transaction.open_table(STORE)?;
            store.insert("name", name.as_str())?;
            store.insert("instance", instance)?;
            drop(store);
            transaction.commit()?;
            Ok(())
        };
        make().map_err(|error| failed(path, error))
    }

    /// Opens it, with the instance that it was made for. Reads it once from end to end, to look at its checksums.
    pub(crate) fn open(path: &Path, name: &Name) -> Result<(Self, String), Error> {
        let open = || -> Result<_, redb::Error> {
            let database = Database::builder().set_check_integrity_on_open(true).open(path)?;
            let read = database.begin_read()?.open_table(STORE)?;
            let of = |what| Ok::<_, redb::Error>(read.get(what)?.map(|value| value.value().to_owned()));
            let (known, instance) = (of("name")?, of("instance")?);
            drop(read);
            Ok((database, known, instance))
        };
        let (database, known, instance) = open().map_err(|error| failed(path, error))?;
        let damaged = |what| Error::Damaged { path: path.to_owned(), what, advice: "put the right one there" };
        let instance = instance.ok_or_else(|| damaged("is no index".to_owned()))?;
        if known.as_deref() != Some(name.as_str()) {
            return Err(damaged(format!("is the index of the store `{}`", known.unwrap_or_default())));
        }
        let index = Self {
            path: path.to_owned(),
            database,
            allowance: Mutex::default(),
            #[cfg(test)]
            faults: Arc::default(),
        };
        Ok((index, instance))
    }

    pub(crate) fn get(&self, id: Id) -> Result<Option<Record>, Error> {
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let keys = self.database.begin_read()?.open_table(KEYS)?;
            Ok(keys.get(&id.to_bytes())?.map(|value| value.value().to_vec()))
        };
        let found = read().map_err(|error| failed(&self.path, error))?;
        found.map(|bytes| self.parse(&bytes)).transpose()
    }

    /// COMMIT POINT: on the disk when this returns.
    pub(crate) fn put(&self, id: Id, record: &Record) -> Result<(), Error> {
        #[cfg(test)]
        self.faults.before().map_err(|error| failed(&self.path, error))?;
        let bytes = serde_json::to_vec(record).map_err(|error| failed(&self.path, error))?;
        let write = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            transaction.open_table(KEYS)?.insert(&id.to_bytes(), &bytes[..])?;
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| failed(&self.path, error))?;
        #[cfg(test)]
        self.faults.after().map_err(|error| failed(&self.path, error))?;
        Ok(())
    }

    /// Shows every record, in the order of tenant and key id, as they were when this began, until `visit` says no.
    pub(crate) fn each(
        &self,
        tenant: Option<TenantId>,
        mut visit: impl FnMut(Id, Record) -> bool,
    ) -> Result<(), Error> {
        let first = tenant.map_or([0; 32], |tenant| *tenant.as_bytes());
        let last = tenant.map_or([0xff; 32], |tenant| *tenant.as_bytes());
        let (first, last) = (edge(first, 0), edge(last, 0xff));
        let failed = |error: redb::Error| failed(&self.path, error);
        let transaction = self.database.begin_read().map_err(|error| failed(error.into()))?;
        let keys = transaction.open_table(KEYS).map_err(|error| failed(error.into()))?;
        for entry in keys.range::<&[u8; ID_BYTES]>(&first..=&last).map_err(|error| failed(error.into()))? {
            let (id, bytes) = entry.map_err(|error| failed(error.into()))?;
            let id = Id::from_bytes(id.value()).ok_or_else(|| self.damaged())?;
            if !visit(id, self.parse(bytes.value())?) {
                break;
            }
        }
        Ok(())
    }

    fn parse(&self, bytes: &[u8]) -> Result<Record, Error> {
        serde_json::from_slice(bytes).map_err(|_| self.damaged())
    }

    fn damaged(&self) -> Error {
        let advice = "put it back from a backup";
        Error::Damaged { path: self.path.clone(), what: "has a record that can't be read".to_owned(), advice }
    }

    /// Takes one encryption from what is reserved; says no where nothing is left.
    pub(crate) fn take(&self, id: Id) -> bool {
        let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        allowance.get_mut(&id).is_some_and(|left| left.checked_sub(1).map(|less| *left = less).is_some())
    }

    /// Reserves a block, under the key's lock; says no where the key has encrypted as often as it may.
    pub(crate) fn reserve(&self, id: Id, record: &mut Record) -> Result<bool, Error> {
        if record.blocks_reserved >= BLOCKS_MAX {
            return Ok(false);
        }
        record.blocks_reserved += 1;
        self.put(id, record)?;
        let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        if allowance.len() >= ALLOWANCES_MAX {
            allowance.clear();
        }
        allowance.insert(id, BLOCK);
        Ok(true)
    }
}

fn edge(tenant: [u8; 32], fill: u8) -> [u8; ID_BYTES] {
    let mut bytes = [fill; ID_BYTES];
    bytes.iter_mut().zip(tenant).for_each(|(byte, of)| *byte = of);
    bytes
}

fn failed(path: &Path, error: impl ToString) -> Error {
    Error::Index { path: path.to_owned(), what: error.to_string() }
}
