//! The index: what the store knows of its keys, and which object on which token is the one that counts. A redb database.
//!
//! INVARIANT (the index decides): a key is what its row says, and is in the object that its row names. Every object that the
//! store makes is noted before it is made, and one that is to go is noted together with what takes its place. So after a
//! crash at any point, what the notes name and no row does is a remainder, and is destroyed; what neither names was not
//! made by this store, and is never touched, unless setting back has seen that it is a copy of a key that is there.

use std::path::{Path, PathBuf};

use keystore::attestation::{Dates, Day};
use keystore::{Held, transition};
use model::event::{Inventory, Place};
use model::key::KeyIdentity;
use model::text::Base64;
use model::{Algorithm, Digest, KeyId, KeyState, Name, TenantId};
use redb::{
    Builder, Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::object::{Object, ObjectId};
use crate::steps::Steps;

const FILE: &str = "index.redb";
/// The store, under `store`; and what its tokens offer.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const OFFERED: &str = "offered";
/// Rows, by tenant and key id.
const KEYS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("keys");
/// Objects that may be on a token and count for nothing, with the key they are or were of.
const REMAINDERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("remainders");

/// Where keys are on the application's token, by tenant and key id.
const PLACED: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("placed");

/// Tenant and key id: the key of a row.
pub(crate) type Id = [u8; 48];

/// Memory for pages.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// The row key of a key.
pub(crate) fn id(tenant: TenantId, key_id: KeyId) -> Id {
    let mut id = [0; 48];
    let (first, second) = id.split_at_mut(32);
    first.copy_from_slice(tenant.as_bytes());
    second.copy_from_slice(key_id.as_bytes());
    id
}

fn parse_id(id: &[u8]) -> Option<(TenantId, KeyId)> {
    let (tenant, key_id) = id.split_first_chunk::<32>()?;
    Some((TenantId::from_bytes(*tenant), KeyId::from_bytes(key_id.try_into().ok()?)?))
}

/// What never changes while the store lives.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Meta {
    pub(crate) format: u32,
    /// Of the store: in the labels of its objects.
    pub(crate) id: String,
    pub(crate) pre_active: TokenMeta,
    pub(crate) active: TokenMeta,
    /// The transport key, on the pre-active and on the active token.
    pub(crate) transport_out: ObjectId,
    pub(crate) transport_in: ObjectId,
    /// The key on the active token under which the seal key is kept, and what is kept.
    pub(crate) sealing: ObjectId,
    pub(crate) sealed: Base64,
    /// In placed mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) placed: Option<PlacedMeta>,
}

/// The application's token, and the transport key that leads to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlacedMeta {
    pub(crate) token: TokenMeta,
    /// On the active token, and on the application's.
    pub(crate) transport_out: ObjectId,
    pub(crate) transport_in: ObjectId,
}

/// A key's object on the application's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Placed {
    pub(crate) object: ObjectId,
    /// Whether it was made. INVARIANT (no object without a note): it is noted before it is made, and the note goes after it.
    pub(crate) made: bool,
}

/// A token of the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenMeta {
    pub(crate) label: String,
    pub(crate) serial: String,
    /// What events call it.
    pub(crate) name: Name,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) algorithm: Algorithm,
    pub(crate) state: KeyState,
    /// Where the key was before it came to this state. INVARIANT (same answer): written with the state, so that a repeated
    /// `apply` can answer what the first did.
    pub(crate) before: Option<Place>,
    pub(crate) command: Digest,
    pub(crate) identity: KeyIdentity,
    pub(crate) blocks_reserved: u32,
    /// `None` once it is destroyed.
    pub(crate) object: Option<Object>,
    /// What the token was told, year, month and day: written with the object that was told.
    pub(crate) start: Option<(u16, u8, u8)>,
    pub(crate) end: Option<(u16, u8, u8)>,
}

impl Row {
    pub(crate) fn dates(&self) -> Dates {
        dates(self.start, self.end)
    }

    pub(crate) fn set_dates(&mut self, dates: Dates) {
        let parts = |day: Day| (day.year, day.month, day.day);
        (self.start, self.end) = (dates.start.map(parts), dates.end.map(parts));
    }
}

/// Dates, as a row has them.
pub(crate) fn dates(start: Option<(u16, u8, u8)>, end: Option<(u16, u8, u8)>) -> Dates {
    let day = |(year, month, day)| Day { year, month, day };
    Dates { start: start.map(day), end: end.map(day) }
}

/// The index, open.
pub(crate) struct Index {
    path: PathBuf,
    database: Database,
    pub(crate) meta: Meta,
    pub(crate) steps: Steps,
}

impl Index {
    /// Makes one.
    pub(crate) fn create(folder: &Path, meta: &Meta) -> Result<(), Error> {
        let path = folder.join(FILE);
        let text = serde_json::to_vec(meta).map_err(|error| Error::damaged(&path, error))?;
        let make = || {
            let database = Builder::new().create(&path)?;
            let transaction = database.begin_write()?;
            transaction.open_table(KEYS)?;
            transaction.open_table(REMAINDERS)?;
            transaction.open_table(PLACED)?;
            transaction.open_table(META)?.insert("store", &text[..])?;
            transaction.commit()?;
            Ok(())
        };
        make().map_err(Error::index(&path))
    }

    /// Opens it. Makes nothing.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        if !crate::token::is_there(&path) {
            return Err(Error::NoIndex { path });
        }
        let open = || {
            let database = Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).open(&path)?;
            let text = database.begin_read()?.open_table(META)?.get("store")?.map(|text| text.value().to_vec());
            Ok((database, text))
        };
        let (database, text) = open().map_err(Error::index(&path))?;
        let text = text.ok_or_else(|| Error::damaged(&path, "it says of no store"))?;
        let meta: Meta = serde_json::from_slice(&text).map_err(|error| Error::damaged(&path, error))?;
        if meta.format != 1 {
            return Err(Error::damaged(
                &path,
                "it is of a later format: use the release that wrote it, or a newer one",
            ));
        }
        Ok(Self { path, database, meta, steps: Steps::default() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Of which algorithms the tokens make keys; `None` where they were not asked yet.
    pub(crate) fn offered(&self) -> Result<Option<Vec<Algorithm>>, Error> {
        let read = || {
            let meta = self.database.begin_read()?.open_table(META)?;
            Ok(meta.get(OFFERED)?.map(|offered| offered.value().to_vec()))
        };
        let offered = read().map_err(Error::index(&self.path))?;
        offered.map(|offered| self.parse(&offered)).transpose()
    }

    /// Notes it.
    pub(crate) fn note_offered(&self, offered: &[Algorithm]) -> Result<(), Error> {
        let text = serde_json::to_vec(offered).map_err(|error| Error::damaged(&self.path, error))?;
        self.write(|transaction| {
            transaction.open_table(META)?.insert(OFFERED, &text[..])?;
            Ok(())
        })
    }

    /// What is there under an id.
    pub(crate) fn get(&self, id: &Id) -> Result<Option<Row>, Error> {
        let read = || {
            let keys = self.database.begin_read()?.open_table(KEYS)?;
            Ok(keys.get(&id[..])?.map(|row| row.value().to_vec()))
        };
        let row = read().map_err(Error::index(&self.path))?;
        row.map(|row| self.parse(&row)).transpose()
    }

    /// Notes an object that is about to be made for a key.
    pub(crate) fn announce(&self, id: &Id, object: Object) -> Result<(), Error> {
        self.write(|transaction| {
            transaction.open_table(REMAINDERS)?.insert(name(object).as_str(), &id[..])?;
            Ok(())
        })
    }

    /// Writes a row. COMMIT POINT: from here on the key is what the row says, in the object `row` names, which is no
    /// remainder any more; `gone` is one.
    pub(crate) fn put(&self, id: &Id, row: &Row, gone: Option<Object>) -> Result<(), Error> {
        let text = serde_json::to_vec(row).map_err(|error| Error::damaged(&self.path, error))?;
        self.write(|transaction| {
            transaction.open_table(KEYS)?.insert(&id[..], &text[..])?;
            let mut remainders = transaction.open_table(REMAINDERS)?;
            if let Some(object) = row.object {
                remainders.remove(name(object).as_str())?;
            }
            if let Some(object) = gone {
                remainders.insert(name(object).as_str(), &id[..])?;
            }
            Ok(())
        })
    }

    /// Where a key is on the application's token. Asked in placed mode only: older stores have no such table.
    pub(crate) fn placed(&self, id: &Id) -> Result<Option<Placed>, Error> {
        let read = || {
            let placed = self.database.begin_read()?.open_table(PLACED)?;
            Ok(placed.get(&id[..])?.map(|placed| placed.value().to_vec()))
        };
        let placed = read().map_err(Error::index(&self.path))?;
        placed.map(|placed| self.parse(&placed)).transpose()
    }

    /// Notes it.
    pub(crate) fn note_placed(&self, id: &Id, placed: Option<Placed>) -> Result<(), Error> {
        let text = serde_json::to_vec(&placed).map_err(|error| Error::damaged(&self.path, error))?;
        self.write(|transaction| {
            let mut table = transaction.open_table(PLACED)?;
            match placed {
                Some(_) => table.insert(&id[..], &text[..])?,
                None => table.remove(&id[..])?,
            };
            Ok(())
        })
    }

    /// Loses a row, as an old backup does.
    #[cfg(test)]
    pub(crate) fn forget(&self, id: &Id) -> Result<(), Error> {
        self.write(|transaction| {
            transaction.open_table(KEYS)?.remove(&id[..])?;
            Ok(())
        })
    }

    /// A remainder is gone.
    pub(crate) fn cleared(&self, object: Object) -> Result<(), Error> {
        self.write(|transaction| {
            transaction.open_table(REMAINDERS)?.remove(name(object).as_str())?;
            Ok(())
        })
    }

    /// The remainders, of one key or of all. There are never many: what changes under way have not cleared yet.
    pub(crate) fn remainders(&self, of: Option<&Id>) -> Result<Vec<(Id, Object)>, Error> {
        let read = || {
            let remainders = self.database.begin_read()?.open_table(REMAINDERS)?;
            let mut found = Vec::new();
            for remainder in remainders.iter()? {
                let (name, id) = remainder?;
                found.push((name.value().to_owned(), id.value().to_vec()));
            }
            Ok(found)
        };
        let mut parsed = Vec::new();
        for (name, id) in read().map_err(Error::index(&self.path))? {
            let wrong = || Error::damaged(&self.path, "a remainder has no name or key");
            let (object, id) = (parse_name(&name).ok_or_else(wrong)?, Id::try_from(&id[..]).map_err(|_| wrong())?);
            if of.is_none_or(|wanted| *wanted == id) {
                parsed.push((id, object));
            }
        }
        Ok(parsed)
    }

    /// Rows of one tenant or of all, as of now, in order, until `visit` says that it is enough.
    pub(crate) fn walk(
        &self,
        tenant: Option<TenantId>,
        mut visit: impl FnMut(TenantId, KeyId, Row) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let (mut from, mut to) = ([0; 48], [u8::MAX; 48]);
        if let Some(tenant) = tenant {
            for bound in [&mut from, &mut to] {
                bound.iter_mut().zip(tenant.as_bytes()).for_each(|(byte, of_tenant)| *byte = *of_tenant);
            }
        }
        let open = || Ok(self.database.begin_read()?.open_table(KEYS)?.range::<&[u8]>(&from[..]..=&to[..])?);
        let rows = open().map_err(Error::index(&self.path))?;
        for entry in rows {
            let (id, row) = entry.map_err(redb::Error::from).map_err(Error::index(&self.path))?;
            let wrong = || Error::damaged(&self.path, "a row has no key id");
            let (tenant, key_id) = parse_id(id.value()).ok_or_else(wrong)?;
            if !visit(tenant, key_id, self.parse(row.value())?)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn write(&self, change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) -> Result<(), Error> {
        self.steps.run(|| {
            let commit = || {
                let mut transaction = self.database.begin_write()?;
                transaction.set_durability(Durability::Immediate)?;
                change(&transaction)?;
                transaction.commit()?; // on the disk when this returns
                Ok(())
            };
            commit().map_err(Error::index(&self.path))
        })
    }

    fn parse<T: DeserializeOwned>(&self, text: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(text).map_err(|error| Error::damaged(&self.path, error))
    }

    /// What events call the token of an inventory.
    pub(crate) fn token_name(&self, inventory: Inventory) -> &Name {
        match inventory {
            Inventory::PreActive => &self.meta.pre_active.name,
            Inventory::Active => &self.meta.active.name,
        }
    }

    pub(crate) fn place(&self, row: &Row) -> Option<Place> {
        let Object { inventory, .. } = row.object?;
        Some(Place { inventory, wrapping_key: self.token_name(inventory).clone() })
    }

    pub(crate) fn held(&self, row: &Row) -> Held {
        Held { algorithm: row.algorithm, identity: row.identity.clone(), state: row.state, place: self.place(row) }
    }

    /// A row whose state does not go with where it is was not written by this.
    pub(crate) fn check(&self, row: &Row) -> Result<(), Error> {
        let fits = match row.object {
            Some(object) => !transition::is_destroyed(row.state) && transition::fits(object.inventory, row.state),
            None => transition::is_destroyed(row.state),
        };
        fits.then_some(()).ok_or_else(|| Error::damaged(&self.path, "a row's state does not go with where it is"))
    }
}

fn name(object: Object) -> String {
    let inventory = match object.inventory {
        Inventory::PreActive => "pre-active",
        Inventory::Active => "active",
    };
    format!("{inventory}/{}", object.id)
}

fn parse_name(name: &str) -> Option<Object> {
    let (inventory, id) = name.split_once('/')?;
    let inventory = match inventory {
        "pre-active" => Inventory::PreActive,
        "active" => Inventory::Active,
        _ => return None,
    };
    Some(Object { inventory, id: ObjectId::try_from(id.to_owned()).ok()? })
}
