//! The store: the port over two shelves.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use keystore::nonces::{BLOCKS_MAX, Nonces};
use keystore::sealed::{self, Subject};
use keystore::transition::{self, Step};
use keystore::{
    Applied, Attestation, Entry, Generated, Held, KeyStore, Material, Output, Permit, Proof, Refused, SealTo, Share,
    Use, material, seal,
};
use model::command;
use model::event::{Inventory, Place};
use model::key::Operation;
use model::statement::Sealing;
use model::{Algorithm, Digest, KeyId, KeyState, Name, TenantId};
use rand_core::{OsRng, RngCore as _};
use zeroize::Zeroizing;

use crate::files::{self, Lock};
use crate::keyring::{self, Keyring};
use crate::master::MasterKeys;
use crate::record::{self, Id, Record, Sealed, Secret};
use crate::shelf::{Shelf, StoreId};
use crate::{Error, listing, wrapping};

/// Locks among which keys are spread: changes of one key follow each other, those of different keys gather in commits.
const STRIPES: usize = 256;

/// A software key store, open. See the crate's documentation.
pub struct SoftwareStore {
    name: Name,
    pub(crate) directory: PathBuf,
    pub(crate) id: StoreId,
    seal: seal::SecretKey,
    pub(crate) pre_active: Shelf,
    pub(crate) active: Shelf,
    nonces: Nonces,
    stripes: [Mutex<()>; STRIPES],
    /// Held shared by every change, alone by whoever wants both inventories at one moment.
    pub(crate) changes: RwLock<()>,
    /// Held by whoever reads the keyring to write it anew, or to back it up.
    pub(crate) upkeep: Mutex<()>,
    /// Last, so that it is let go when everything else is closed.
    _lock: Lock,
}

impl std::fmt::Debug for SoftwareStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SoftwareStore({}, {})", self.name, self.directory.display())
    }
}

/// A key that was found.
struct Found<'a> {
    shelf: &'a Shelf,
    record: Record,
    /// `None` once it is destroyed.
    secret: Option<Secret>,
    /// Whether the pre-active inventory has a remainder of it.
    remainder: bool,
}

impl Found<'_> {
    fn place(&self) -> Option<Place> {
        self.secret.as_ref().and_then(|_| self.shelf.place())
    }

    fn held(&self) -> Held {
        let Record { algorithm, state, ref identity, .. } = self.record;
        Held { algorithm, identity: identity.clone(), state, place: self.place() }
    }

    /// The key, ready for use.
    fn material(&self, key_id: KeyId, id: &Id) -> Result<Material, keystore::Error> {
        let material = match &self.secret {
            Some(Secret::Open(secret)) => Material::from_secret(self.record.algorithm, secret),
            Some(Secret::Sealed(_)) => return Err(keystore::Error::Sealed(key_id)),
            None => None,
        };
        Ok(material.ok_or_else(|| self.shelf.damaged(id, "a key is none of its algorithm"))?)
    }
}

impl SoftwareStore {
    /// Makes an empty store in a directory that is empty or not there, under the first of these master keys, and opens it.
    ///
    /// # Errors
    /// [`Error::Exists`] where the directory has anything in it; [`Error::MasterKey`].
    pub fn create(directory: &Path, name: Name, masters: &MasterKeys) -> Result<Self, Error> {
        files::build_directory(directory, |partial| {
            let master = masters.first()?;
            let mut id = StoreId::default();
            OsRng.try_fill_bytes(&mut id).map_err(Error::Random)?;
            let keyring = Keyring::generate()?;
            files::create_whole(&keyring::path(partial), &keyring.seal(&id, &*master)?)?;
            Shelf::create(partial, Inventory::PreActive, &*keyring.ring(Inventory::PreActive)?, &id)?;
            Shelf::create(partial, Inventory::Active, &*keyring.ring(Inventory::Active)?, &id)
        })?;
        Self::open(directory, name, masters)
    }

    /// Opens a store whose keyring is under one of these master keys. Makes nothing that is missing; finishes activations
    /// and rotations of the master key that were cut short. (Rotations of wrapping keys go on with
    /// [`SoftwareStore::rewrap`].)
    ///
    /// A store from before there were keyrings gets one, under the first of the master keys; the files in which its keys lay
    /// in the clear are then removed.
    ///
    /// Reads both databases once from end to end, to look at their checksums.
    ///
    /// # Errors
    /// Every variant of [`Error`]: each names the file and what to do.
    pub fn open(directory: &Path, name: Name, masters: &MasterKeys) -> Result<Self, Error> {
        files::check_directory(directory, "create the store first, or restore it from a backup")?;
        let lock = files::lock(directory)?;
        files::remove_partials(&keyring::path(directory))?;
        let old = keyring::is_missing_but_keys_are_there(directory);
        let (keyring, of_keyring) =
            if old { (keyring::read_old(directory)?, None) } else { open_keyring(directory, masters)? };
        let seal = seal::SecretKey::from_bytes(&keyring.seal)
            .ok_or_else(|| Error::damaged(&keyring::path(directory), "its seal key is none"))?;
        let ring = |inventory| keyring.ring(inventory);
        let (pre_active, id) = Shelf::open(directory, Inventory::PreActive, ring(Inventory::PreActive)?)?;
        let (active, other) = Shelf::open(directory, Inventory::Active, ring(Inventory::Active)?)?;
        if id != other {
            return Err(Error::misplaced(active.path(), "the two inventories are of different stores"));
        }
        if of_keyring.is_some_and(|store| store != id) {
            return Err(Error::misplaced(&keyring::path(directory), "it is another store's"));
        }
        if old {
            let sealed = keyring.seal(&id, &*masters.first()?)?;
            files::replace(&keyring::path(directory), &sealed)?; // COMMIT POINT: from here on the keys are in the keyring
        }
        keyring::remove_old(directory, &keyring)?;
        let store = Self {
            name,
            directory: directory.to_owned(),
            id,
            seal,
            pre_active,
            active,
            nonces: Nonces::default(),
            stripes: std::array::from_fn(|_| Mutex::new(())),
            changes: RwLock::new(()),
            upkeep: Mutex::new(()),
            _lock: lock,
        };
        store.finish_moves()?;
        Ok(store)
    }

    /// Whether a store in this directory is from before there were keyrings: its keys lie beside what they wrap.
    pub fn is_old(directory: &Path) -> bool {
        keyring::is_missing_but_keys_are_there(directory)
    }

    /// How many commits both databases have made since the store was opened.
    pub fn commits(&self) -> u64 {
        self.pre_active.writer.commits() + self.active.writer.commits()
    }

    /// Removes what activations that were cut short have left in the pre-active inventory.
    fn finish_moves(&self) -> Result<(), Error> {
        let mut remainders = Vec::new();
        listing::ids(&self.pre_active, |id| {
            if self.active.has(id)? {
                remainders.push(*id);
            }
            Ok(())
        })?;
        remainders.iter().try_for_each(|id| self.pre_active.remove(id))
    }

    /// The key, by the rule that active wins.
    fn find(&self, id: &Id) -> Result<Option<Found<'_>>, Error> {
        self.find_with(id, || {})
    }

    /// With what others do between the two looks, for tests.
    fn find_with(&self, id: &Id, between: impl FnOnce()) -> Result<Option<Found<'_>>, Error> {
        // In this order: see the crate's documentation.
        let pre_active = self.pre_active.read(id)?;
        between();
        let remainder = pre_active.is_some();
        if let Some((record, secret)) = self.active.read(id)? {
            return Ok(Some(Found { shelf: &self.active, record, secret, remainder }));
        }
        let found = |(record, secret)| Found { shelf: &self.pre_active, record, secret, remainder: false };
        Ok(pre_active.map(found))
    }

    fn known(&self, tenant: TenantId, key_id: KeyId) -> Result<Found<'_>, keystore::Error> {
        self.find(&record::id(tenant, key_id))?.ok_or(keystore::Error::NotFound(key_id))
    }

    /// The key, sealed as `to` says or not at all: one that is there, or a new one.
    fn born(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        algorithm: Algorithm,
        command: Digest,
        to: Option<&SealTo>,
    ) -> Result<(Generated, Option<Sealing>), keystore::Error> {
        let id = record::id(tenant, key_id);
        let _changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        let _key = self.key_lock(&id);
        let asked = (algorithm, command, to.is_some());
        let record = match self.find(&id)? {
            Some(Found { record, .. }) if (record.algorithm, record.command, record.sealed.is_some()) != asked => {
                return Err(keystore::Error::Exists(key_id));
            }
            Some(Found { record, secret: None, .. }) => {
                return Err(keystore::Error::State { key_id, state: record.state, refused: Refused::Generation });
            }
            Some(Found { record, .. }) => record,
            None => {
                let material = Material::generate(algorithm, &mut OsRng)?;
                let subject = Subject { tenant, key_id, command };
                let close = |to| sealed::close(&subject, &material.secret(), to, &mut OsRng);
                let (secret, sealed) = match to.map(close).transpose()? {
                    Some((closed, sealing)) => (Secret::Sealed(closed), Some(Sealed { opened: false, sealing })),
                    None => (Secret::Open(material.secret()), None),
                };
                let record = Record {
                    algorithm,
                    state: KeyState::PreActive,
                    before: None,
                    born: self.pre_active.key_id(),
                    command,
                    blocks_reserved: 0,
                    identity: material.identity(),
                    sealed,
                };
                self.pre_active.put(&id, &record, Some(&secret))?;
                record
            }
        };
        let wrapping_key = wrapping_key_name(record.born)?;
        let sealing = record.sealed.map(|sealed| sealed.sealing);
        Ok((Generated { identity: record.identity, wrapping_key }, sealing))
    }

    /// The lock under which one key is changed. What it guards is on the disk, so a panic leaves nothing half done here.
    fn key_lock(&self, id: &Id) -> MutexGuard<'_, ()> {
        // The last bytes of a UUIDv7 are random.
        let stripe = id.last().map_or(0, |byte| usize::from(*byte)) % STRIPES;
        let stripe = self.stripes.get(stripe).unwrap_or(&self.stripes[0]);
        stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an encryption before it is done.
    fn count_encryption(&self, tenant: TenantId, key_id: KeyId) -> Result<(), keystore::Error> {
        let id = record::id(tenant, key_id);
        if self.nonces.take((tenant, key_id)) {
            return Ok(());
        }
        let _changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        let _key = self.key_lock(&id);
        // Another thread may have reserved meanwhile.
        if self.nonces.take((tenant, key_id)) {
            return Ok(());
        }
        let Found { shelf, mut record, secret, .. } = self.known(tenant, key_id)?;
        transition::check_use(key_id, record.state, Operation::Encrypt, Permit::WhileActive)?;
        if record.blocks_reserved >= BLOCKS_MAX {
            return Err(keystore::Error::Exhausted(key_id));
        }
        record.blocks_reserved += 1;
        shelf.put(&id, &record, secret.as_ref())?;
        self.nonces.add((tenant, key_id));
        if self.nonces.take((tenant, key_id)) { Ok(()) } else { Err(keystore::Error::Exhausted(key_id)) }
    }
}

/// The keys of a store, and its id, by its keyring.
fn open_keyring(directory: &Path, masters: &MasterKeys) -> Result<(Keyring, Option<StoreId>), Error> {
    let sealed = keyring::Sealed::read(directory)?;
    let master = masters.find(&keyring::path(directory), &sealed.master)?;
    let (keyring, _) = sealed.open(&*master)?;
    masters.settle(&sealed.master)?;
    Ok((keyring, Some(sealed.store)))
}

impl KeyStore for SoftwareStore {
    fn name(&self) -> &Name {
        &self.name
    }

    fn seal_key(&self) -> [u8; 32] {
        self.seal.public()
    }

    fn generate(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        algorithm: Algorithm,
        command: Digest,
    ) -> Result<Generated, keystore::Error> {
        self.born(tenant, key_id, algorithm, command, None).map(|(generated, _)| generated)
    }

    fn generate_sealed(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        algorithm: Algorithm,
        command: Digest,
        to: &SealTo,
    ) -> Result<(Generated, Sealing), keystore::Error> {
        let (generated, sealing) = self.born(tenant, key_id, algorithm, command, Some(to))?;
        Ok((generated, sealing.ok_or(keystore::Error::Exists(key_id))?))
    }

    fn unseal(&self, tenant: TenantId, key_id: KeyId, shares: &[Share]) -> Result<(), keystore::Error> {
        let id = record::id(tenant, key_id);
        let _changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        let _key = self.key_lock(&id);
        let Found { shelf, mut record, secret, .. } = self.known(tenant, key_id)?;
        transition::check_unsealing(key_id, record.state)?;
        let (Some(Secret::Sealed(closed)), Some(sealed)) = (&secret, &mut record.sealed) else { return Ok(()) };
        let subject = Subject { tenant, key_id, command: record.command };
        let secret = sealed::open(&subject, &sealed.sealing, closed, shares)?;
        let material = Material::from_secret(record.algorithm, &secret);
        if material.is_none_or(|material| material.identity() != record.identity) {
            return Err(shelf.damaged(&id, "what was sealed is another key").into());
        }
        sealed.opened = true;
        shelf.put(&id, &record, Some(&Secret::Open(secret)))?;
        Ok(())
    }

    fn get(&self, tenant: TenantId, key_id: KeyId) -> Result<Option<Held>, keystore::Error> {
        Ok(self.find(&record::id(tenant, key_id))?.map(|found| found.held()))
    }

    fn apply(&self, tenant: TenantId, key_id: KeyId, state: KeyState) -> Result<Applied, keystore::Error> {
        let id = record::id(tenant, key_id);
        let _changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        let _key = self.key_lock(&id);
        let mut found = self.known(tenant, key_id)?;
        let step = transition::check_step(key_id, found.record.state, state)?;
        if step == Step::Move && matches!(found.secret, Some(Secret::Sealed(_))) {
            return Err(keystore::Error::Sealed(key_id));
        }
        if step != Step::Stay {
            found.record.state = state;
            found.record.before = found.secret.as_ref().map(|_| (found.shelf.inventory, found.shelf.key_id()));
        }
        match step {
            Step::Stay => {}
            Step::Mark => found.shelf.put(&id, &found.record, found.secret.as_ref())?,
            Step::Move => {
                self.active.put(&id, &found.record, found.secret.as_ref())?;
                // From here on the key is active, whatever happens; what the pre-active inventory has is a remainder.
                found.shelf = &self.active;
                found.remainder = true;
            }
            Step::Erase => {
                found.secret = None;
                found.shelf.put(&id, &found.record, None)?;
            }
        }
        if found.remainder {
            self.pre_active.remove(&id)?;
        }
        Ok(Applied { before: found.record.place_before(), after: found.place() })
    }

    fn perform(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        asked: &Use<'_>,
        permit: Permit,
    ) -> Result<Output, keystore::Error> {
        let found = self.known(tenant, key_id)?;
        transition::check_use(key_id, found.record.state, asked.operation(), permit)?;
        material::check_operation(found.record.algorithm, asked.operation())?;
        if matches!(asked, Use::Encrypt { .. } | Use::Wrap) {
            self.count_encryption(tenant, key_id)?;
        }
        found.material(key_id, &record::id(tenant, key_id))?.perform(tenant, key_id, asked, &mut OsRng)
    }

    fn prove(&self, tenant: TenantId, key_id: KeyId, challenge: &[u8]) -> Result<Proof, keystore::Error> {
        let found = self.known(tenant, key_id)?;
        transition::check_proof(key_id, found.record.state)?;
        Proof::make(&found.material(key_id, &record::id(tenant, key_id))?, tenant, key_id, challenge)
    }

    fn attest(&self, tenant: TenantId, key_id: KeyId) -> Result<Attestation, keystore::Error> {
        let found = self.known(tenant, key_id)?;
        let id = record::id(tenant, key_id);
        // Of what is sealed there is the record alone.
        let is_open = matches!(found.secret, Some(Secret::Open(_)));
        let material = is_open.then(|| found.material(key_id, &id)).transpose()?;
        Ok(Attestation::of_files(self.name.clone(), found.held(), material.as_ref()))
    }

    fn open(&self, sealed: &command::Sealed, info: &[u8]) -> Result<Zeroizing<Vec<u8>>, keystore::Error> {
        seal::open(&self.seal, info, &[], sealed)
    }

    fn list(
        &self,
        tenant: Option<TenantId>,
        visit: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), keystore::Error> {
        listing::list(self, tenant, visit)?;
        Ok(())
    }
}

fn wrapping_key_name(born: wrapping::WrappingKeyId) -> Result<Name, keystore::Error> {
    born.name(Inventory::PreActive).ok_or_else(|| keystore::Error::Storage("a wrapping key has no name".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// INVARIANT (active wins): whenever the move falls, before, between or after the looks, the key is found.
    #[test]
    fn a_key_that_moves_between_the_two_looks_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let store = SoftwareStore::create(
            &directory.path().join("store"),
            "software".parse().unwrap(),
            &crate::master::tests::masters_of(directory.path(), "master"),
        )
        .unwrap();
        let (tenant, key_id) = (TenantId::from_bytes([7; 32]), "01930000-0000-7000-8000-000000000001".parse().unwrap());
        store.generate(tenant, key_id, Algorithm::Ed25519, Digest::of(b"command")).unwrap();
        let id = record::id(tenant, key_id);
        let between = || drop(store.apply(tenant, key_id, KeyState::Active).unwrap());
        let found = store.find_with(&id, between).unwrap().expect("out of sight");
        assert_eq!((found.record.state, found.shelf.inventory), (KeyState::Active, Inventory::Active));
    }
}
