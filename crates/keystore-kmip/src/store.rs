//! The store: the port over a server and an index.
//!
//! INVARIANT (intent first): before the server is asked to change a key, the index has what is intended; after it has
//! answered, the index has what is. So a crash between any two steps leaves the key as it was or as it was to be, repeating
//! the call completes it, and a state on the server that nobody here intended is somebody else's doing.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keystore::attestation::Device;
use keystore::ciphertext::{Header, Purpose};
use keystore::transition::{self, Step};
use keystore::{
    Applied, Attestation, Entry, Found, Generated, Held, KeyStore, Material, Output, Permit, Proof, Refused, Use,
    material, seal,
};
use model::command::{Sealed, USE_BYTES_MAX};
use model::event::{Inventory, Place};
use model::{Algorithm, Digest, KeyId, KeyState, Name, TenantId};
use rand_core::{OsRng, RngCore as _};
use zeroize::Zeroizing;

use crate::client::Client;
use crate::error::Found as Has;
use crate::files::{self, Lock};
use crate::index::{Id, Index, Record};
use crate::protocol::{self, Attributes, MAY_DECRYPT, MAY_ENCRYPT, Operation, Reason, Revocation, ServerState, tag};
use crate::settings::{Mode, Settings};
use crate::ttlv::Item;
use crate::{Error, naming};

/// Of which algorithms a KMIP server makes keys that do what the port promises. Of pairs PyKMIP has RSA alone, signs over
/// messages only and with a salt of another length, and decrypts with none: a test shows it (docs/kmip-store.md).
const ALGORITHMS: [Algorithm; 1] = [Algorithm::Aes256Gcm];

/// Locks among which keys are spread: changes of one key follow each other.
const STRIPES: usize = 64;

/// The most steps that bring an object on a server to a state: Revoke, Destroy, and one more where somebody else is at it.
const STEPS_MAX: usize = 3;

/// What a key may do once it is active. Not DeriveKey: that would be a use before activation where the server does not
/// look (see [`crate::Door::DeriveBeforeActivation`]).
pub(crate) const USAGE_MASK: i32 = MAY_ENCRYPT | MAY_DECRYPT;

/// A KMIP store, open. See the crate's documentation.
pub struct KmipStore {
    name: Name,
    pub(crate) instance: String,
    mode: Mode,
    operation_policy: Option<Name>,
    seal: seal::SecretKey,
    pub(crate) client: Client,
    pub(crate) index: Index,
    stripes: [Mutex<()>; STRIPES],
    /// Last, so that it is let go when everything else is closed.
    _lock: Lock,
}

impl std::fmt::Debug for KmipStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KmipStore({}, {})", self.name, self.mode)
    }
}

/// What the server itself says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnTheServer {
    /// What the server calls itself.
    pub server: String,
    /// Its identifier of the key.
    pub object: String,
    /// Every attribute that it gives, the state among them.
    pub attributes: Attributes,
}

impl KmipStore {
    /// Makes the folder of an empty store. The server is not asked.
    ///
    /// # Errors
    /// [`Error::Exists`] where there is something; [`Error::Io`].
    pub fn create(directory: &Path, name: &Name) -> Result<(), Error> {
        files::create(directory)?;
        let mut instance = [0; 8];
        OsRng.try_fill_bytes(&mut instance).map_err(Error::Random)?;
        let instance = format!("{:016x}", u64::from_be_bytes(instance));
        let index = directory.join(files::INDEX);
        files::create_file(&index)?;
        Index::create(&index, name, &instance)?;
        files::sync_directory(directory)
    }

    /// Opens a store. The server is asked when it is first needed, so a store opens while its server is away.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::LooseMode`], [`Error::InUse`], [`Error::Tls`]: each names the file and what to do.
    pub fn open(directory: &Path, name: Name, settings: &Settings) -> Result<Self, Error> {
        files::check_store(directory)?;
        let lock = files::lock(directory)?;
        let (index, instance) = Index::open(&directory.join(files::INDEX), &name)?;
        Ok(Self {
            name,
            instance,
            mode: settings.mode,
            operation_policy: settings.operation_policy.clone(),
            seal: files::read_seal_key(directory)?,
            client: Client::new(settings)?,
            index,
            stripes: std::array::from_fn(|_| Mutex::new(())),
            _lock: lock,
        })
    }

    /// What the server itself says of a key, now: every attribute, in its own words.
    ///
    /// # Errors
    /// [`keystore::Error::NotFound`] where the index or the server does not have it; [`keystore::Error::Storage`].
    pub fn on_the_server(&self, tenant: TenantId, key_id: KeyId) -> Result<OnTheServer, keystore::Error> {
        let object = self.known(Id { tenant, key_id })?.object.ok_or(keystore::Error::NotFound(key_id))?;
        let attributes = self.attributes(&object)?.ok_or(keystore::Error::NotFound(key_id))?;
        Ok(OnTheServer { server: self.server()?, object, attributes })
    }

    /// What the server calls itself.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Broken`], [`Error::Garbage`], [`Error::Refused`].
    pub fn server(&self) -> Result<String, Error> {
        let answer = self.client.call(Operation::Query, protocol::query())?;
        Ok(answer.get(tag::VENDOR_IDENTIFICATION).and_then(Item::as_text).unwrap_or("unnamed").to_owned())
    }

    /// The lock under which one key is changed. What it guards is on the disk, so a panic leaves nothing half done here.
    pub(crate) fn key_lock(&self, id: Id) -> MutexGuard<'_, ()> {
        // The last bytes of a UUIDv7 are random.
        let stripe = id.key_id.as_bytes().last().map_or(0, |byte| usize::from(*byte)) % STRIPES;
        let stripe = self.stripes.get(stripe).unwrap_or(&self.stripes[0]);
        stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A key whose birth is complete.
    fn known(&self, id: Id) -> Result<Record, keystore::Error> {
        let record = self.index.get(id)?.filter(|record| record.identity.is_some());
        record.ok_or(keystore::Error::NotFound(id.key_id))
    }

    fn place(&self, inventory: Inventory) -> Place {
        // Names of the state that guards the key on the server: KMIP shows no wrapping keys.
        let name = match inventory {
            Inventory::PreActive => naming::pre_active(),
            Inventory::Active => naming::active(),
        };
        Place { inventory, wrapping_key: name }
    }

    fn held(&self, record: &Record) -> Option<Held> {
        let identity = record.identity.clone()?;
        let place = inventory(record).map(|inventory| self.place(inventory));
        Some(Held { algorithm: record.algorithm, identity, state: record.state, place })
    }
}

/// Where a key is; `None` once it is destroyed.
fn inventory(record: &Record) -> Option<Inventory> {
    match record.state {
        state if transition::is_destroyed(state) => None,
        KeyState::PreActive => Some(Inventory::PreActive),
        // A key that was compromised before it was activated never left.
        KeyState::Compromised if record.before == Some(Inventory::PreActive) => Some(Inventory::PreActive),
        _ => Some(Inventory::Active),
    }
}

// === The server ===

impl KmipStore {
    /// What the server says of an object; `None` where it has none such.
    pub(crate) fn attributes(&self, object: &str) -> Result<Option<Attributes>, Error> {
        match self.client.call(Operation::GetAttributes, vec![protocol::identifier(object)]) {
            Ok(payload) => Ok(Some(Attributes::read(&payload))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a pre-active key on the server.
    pub(crate) fn create_object(&self, name: &str, mask: i32) -> Result<String, Error> {
        let policy = self.operation_policy.iter().map(protocol::policy_attribute).collect();
        let answer = self.client.call(Operation::Create, protocol::create(name, mask, policy))?;
        protocol::identifier_of(Operation::Create, &answer)
    }

    /// Brings an object to a state, from wherever the server has it; gives its attributes there.
    pub(crate) fn bring(&self, object: &str, to: KeyState) -> Result<Attributes, Error> {
        let operation = Operation::GetAttributes;
        let mut steps = 0;
        loop {
            let attributes = self.attributes(object)?;
            let state = |attributes: &Attributes| {
                attributes.state().ok_or(Error::Garbage { operation, what: "a key without a state" })
            };
            let found = attributes.as_ref().map(state).transpose()?;
            let way = route(found, to).filter(|_| steps < STEPS_MAX);
            let astray = || Error::Astray { object: object.to_owned(), found: Has(found), wanted: to };
            match way.ok_or_else(astray)? {
                Route::There => return Ok(attributes.unwrap_or_default()),
                Route::Activate => self.client.call(Operation::Activate, vec![protocol::identifier(object)])?,
                Route::Revoke(why) => self.client.call(Operation::Revoke, protocol::revoke(object, why))?,
                Route::Destroy => self.client.call(Operation::Destroy, vec![protocol::identifier(object)])?,
            };
            steps += 1;
        }
    }

    /// The key's bytes, if the server hands them out, and if they are this key's.
    fn material(&self, key_id: KeyId, record: &Record) -> Result<Material, Error> {
        let object = record.object.as_deref().unwrap_or_default();
        let refused = |source| Error::NoBytes { key_id, source: Box::new(source) };
        let answer = self.client.call(Operation::Get, vec![protocol::identifier(object)]).map_err(refused)?;
        let garbage = Error::Garbage { operation: Operation::Get, what: "no AES-256 key" };
        let key = protocol::key_of(&answer).ok_or(garbage)?;
        let material = Material::from_secret(record.algorithm, key.as_slice()).ok_or(Error::AnotherKey(key_id))?;
        let same = record.identity.as_ref().is_none_or(|identity| *identity == material.identity());
        if same { Ok(material) } else { Err(Error::AnotherKey(key_id)) }
    }
}

/// What brings an object one step nearer.
enum Route {
    There,
    Activate,
    Revoke(Revocation),
    Destroy,
}

/// The next step from where the server has an object (`None`: nowhere) to a state of the chain; `None` where there is no
/// way. KMIP does not destroy active keys: they are revoked first.
fn route(found: Option<ServerState>, to: KeyState) -> Option<Route> {
    use ServerState::{Active, Compromised, Deactivated, PreActive};
    Some(match (to, found) {
        (KeyState::Destroyed | KeyState::DestroyedCompromised, None) => Route::There,
        (KeyState::Destroyed | KeyState::DestroyedCompromised, Some(state)) => match state {
            state if state.is_gone() => Route::There,
            Active => Route::Revoke(Revocation::CessationOfOperation),
            _ => Route::Destroy,
        },
        (KeyState::PreActive, Some(PreActive))
        | (KeyState::Active, Some(Active))
        | (KeyState::Deactivated, Some(Deactivated))
        | (KeyState::Compromised, Some(Compromised)) => Route::There,
        (KeyState::Active, Some(PreActive)) => Route::Activate,
        (KeyState::Deactivated, Some(Active)) => Route::Revoke(Revocation::CessationOfOperation),
        (KeyState::Compromised, Some(PreActive | Active | Deactivated)) => Route::Revoke(Revocation::KeyCompromise),
        _ => return None,
    })
}

// === Birth and states ===

impl KmipStore {
    /// Completes a birth, from wherever it was cut short.
    fn bear(&self, id: Id, mut record: Record) -> Result<Record, Error> {
        if record.object.is_none() {
            record.attempt += 1;
            self.index.put(id, &record)?;
            let name = naming::object(&self.name, &self.instance, id, record.attempt);
            record.object = Some(self.create_object(&name, USAGE_MASK)?);
            self.index.put(id, &record)?;
        }
        // A server that makes keys active is found out here, before anybody has heard of the key.
        let attributes = self.bring(record.object.as_deref().unwrap_or_default(), KeyState::PreActive)?;
        record.identity = Some(self.material(id.key_id, &record)?.identity());
        record.attributes = attributes.lasting();
        self.index.put(id, &record)?;
        Ok(record)
    }

    fn change(&self, id: Id, record: &mut Record, to: KeyState) -> Result<(), Error> {
        let resting = match to {
            KeyState::Suspended if self.mode == Mode::Placed => return Err(Error::NoSuspension(id.key_id)),
            // KMIP has no such state: uses are refused here, whether the server can be reached or not.
            KeyState::Suspended => true,
            // The object is gone already.
            KeyState::DestroyedCompromised => record.state == KeyState::Destroyed,
            _ => false,
        };
        if !resting {
            if record.intent != Some(to) {
                record.intent = Some(to);
                self.index.put(id, record)?;
            }
            let object = record.object.as_deref().unwrap_or_default();
            record.attributes = self.bring(object, to)?.lasting();
        }
        record.before = inventory(record);
        record.state = to;
        record.intent = None;
        self.index.put(id, record)
    }
}

// === Uses ===

/// A key that is used, in its place.
struct InUse<'a> {
    store: &'a KmipStore,
    id: Id,
    record: Record,
}

impl InUse<'_> {
    fn object(&self) -> &str {
        self.record.object.as_deref().unwrap_or_default()
    }

    fn perform(&self, asked: &Use<'_>) -> Result<Output, keystore::Error> {
        match *asked {
            Use::Encrypt { plaintext, aad } => {
                check_length(plaintext)?;
                check_length(aad)?;
                self.encrypt(Purpose::Encrypt, plaintext, aad).map(Output::Ciphertext)
            }
            Use::Wrap => {
                let mut data_key = Zeroizing::new([0; 32]);
                OsRng.try_fill_bytes(data_key.as_mut()).map_err(Error::Random)?;
                let wrapped = self.encrypt(Purpose::Wrap, data_key.as_ref(), &[])?;
                Ok(Output::Wrapped { data_key, wrapped })
            }
            // KMIP servers refuse to compute with a deactivated key, though the standard would let them decrypt.
            _ if self.record.state == KeyState::Deactivated => {
                let material = self.store.material(self.id.key_id, &self.record)?;
                material.perform(self.id.tenant, self.id.key_id, asked, &mut OsRng)
            }
            Use::Decrypt { ciphertext, aad } => self.decrypt(Purpose::Encrypt, ciphertext, aad).map(Output::Plaintext),
            Use::Unwrap { wrapped } => {
                let data_key = self.decrypt(Purpose::Wrap, wrapped, &[])?;
                let data_key = <[u8; 32]>::try_from(data_key.as_slice());
                Ok(Output::DataKey(Zeroizing::new(data_key.map_err(|_| keystore::Error::CiphertextInvalid)?)))
            }
            Use::Sign { .. } | Use::Verify { .. } => {
                let (algorithm, operation) = (self.record.algorithm, asked.operation());
                Err(keystore::Error::OperationNotAllowed { algorithm, operation })
            }
        }
    }

    fn encrypt(&self, purpose: Purpose, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, keystore::Error> {
        const OPERATION: Operation = Operation::Encrypt;
        self.count()?;
        let mut nonce = [0; 12];
        OsRng.try_fill_bytes(&mut nonce).map_err(Error::Random)?;
        let header = Header { purpose, key_id: self.id.key_id, nonce };
        let aad = header.aad(self.id.tenant, aad);
        let answer = self.store.client.call(OPERATION, protocol::encrypt(self.object(), &nonce, &aad, plaintext))?;
        let garbage = |what| Error::Garbage { operation: OPERATION, what };
        let bytes = |tag| answer.get(tag).and_then(Item::as_bytes);
        // Nothing encrypted is nothing sent, with some servers.
        let body = bytes(tag::DATA).unwrap_or_default();
        let gcm_tag = bytes(tag::AUTHENTICATED_ENCRYPTION_TAG).unwrap_or_default();
        if body.len() != plaintext.len() || gcm_tag.len() != 16 {
            return Err(garbage("no ciphertext of AES-GCM with a tag of 16 bytes").into());
        }
        if bytes(tag::IV_COUNTER_NONCE).is_some_and(|used| used != nonce) {
            return Err(garbage("another nonce than was given").into());
        }
        Ok([&header.to_bytes()[..], body, gcm_tag].concat())
    }

    fn decrypt(&self, purpose: Purpose, ciphertext: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, keystore::Error> {
        const INVALID: keystore::Error = keystore::Error::CiphertextInvalid;
        let (header, rest) = Header::read(ciphertext)?;
        let (body, gcm_tag) = rest.split_last_chunk::<16>().ok_or(INVALID)?;
        if header.purpose != purpose || header.key_id != self.id.key_id {
            return Err(INVALID);
        }
        let aad = header.aad(self.id.tenant, aad);
        let payload = protocol::decrypt(self.object(), &header.nonce, &aad, body, gcm_tag);
        match self.store.client.call(Operation::Decrypt, payload) {
            Ok(answer) => {
                let plaintext = answer.get(tag::DATA).and_then(Item::as_bytes).unwrap_or_default();
                Ok(Zeroizing::new(plaintext.to_vec()))
            }
            Err(Error::Refused { reason: Reason::CryptographicFailure, .. }) => Err(INVALID),
            Err(error @ Error::Refused { reason: Reason::GeneralFailure, .. }) => Err(self.judge(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// PyKMIP has no reason for a tag that does not fit; so where a server that is otherwise well, and has the key active,
    /// fails at this ciphertext, it is the ciphertext.
    fn judge(&self, error: Error) -> keystore::Error {
        match self.store.attributes(self.object()) {
            Ok(Some(attributes)) if attributes.state() == Some(ServerState::Active) => {
                keystore::Error::CiphertextInvalid
            }
            _ => error.into(),
        }
    }

    /// Counts an encryption before it is done.
    fn count(&self) -> Result<(), keystore::Error> {
        let Self { store: KmipStore { index, .. }, id, .. } = *self;
        if index.take(id) {
            return Ok(());
        }
        let _key = self.store.key_lock(id);
        // Another thread may have reserved meanwhile, or changed the key.
        while !index.take(id) {
            let mut record = self.store.known(id)?;
            transition::check_use(id.key_id, record.state, model::key::Operation::Encrypt, Permit::WhileActive)?;
            if !index.reserve(id, &mut record)? {
                return Err(keystore::Error::Exhausted(id.key_id));
            }
        }
        Ok(())
    }
}

fn check_length(input: &[u8]) -> Result<(), keystore::Error> {
    if input.len() <= USE_BYTES_MAX { Ok(()) } else { Err(keystore::Error::TooLarge) }
}

// === The port ===

impl KeyStore for KmipStore {
    fn name(&self) -> &Name {
        &self.name
    }

    fn algorithms(&self) -> &[Algorithm] {
        &ALGORITHMS
    }

    fn seal_key(&self) -> [u8; 32] {
        self.seal.public()
    }

    /// The server can say little of how it keeps a key: that anybody who may use it may also Get it is taken as given.
    fn attest(&self, tenant: TenantId, key_id: KeyId) -> Result<Attestation, keystore::Error> {
        let record = self.known(Id { tenant, key_id })?;
        let held = self.held(&record).ok_or(keystore::Error::NotFound(key_id))?;
        let material = held.place.is_some().then(|| self.material(key_id, &record)).transpose()?;
        let attested = Attestation::of_files(self.name.clone(), held, material.as_ref());
        if attested.place.is_none() {
            return Ok(attested);
        }
        let OnTheServer { server, object, .. } = self.on_the_server(tenant, key_id)?;
        let unsaid = String::new;
        let device = Device {
            label: object,
            manufacturer: server,
            model: unsaid(),
            serial: unsaid(),
            hardware: unsaid(),
            firmware: unsaid(),
            module: "KMIP 1.2".to_owned(),
            mechanism: None,
        };
        Ok(Attestation { device: Some(device), ..attested })
    }

    fn survey(
        &self,
        tenant: TenantId,
        key_id: Option<KeyId>,
        visit: &mut dyn FnMut(Found),
    ) -> Result<(), keystore::Error> {
        let survey = self.survey_of(|id| id.tenant == tenant && key_id.is_none_or(|one| one == id.key_id))?;
        survey.findings.iter().filter_map(|finding| finding.drift(tenant)).for_each(visit);
        Ok(())
    }

    fn generate(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        algorithm: Algorithm,
        command: Digest,
    ) -> Result<Generated, keystore::Error> {
        let id = Id { tenant, key_id };
        let _key = self.key_lock(id);
        let record = match self.index.get(id)? {
            Some(record) if (record.algorithm, record.command) != (algorithm, command) => {
                return Err(keystore::Error::Exists(key_id));
            }
            Some(Record { state, .. }) if transition::is_destroyed(state) => {
                return Err(keystore::Error::State { key_id, state, refused: Refused::Generation });
            }
            Some(record) if record.identity.is_some() => record,
            _ if !ALGORITHMS.contains(&algorithm) => {
                return Err(keystore::Error::AlgorithmNotOffered { store: self.name.clone(), algorithm });
            }
            Some(record) => self.bear(id, record)?,
            None => self.bear(id, Record::new(algorithm, command))?,
        };
        let identity = record.identity.ok_or(keystore::Error::NotFound(key_id))?;
        Ok(Generated { identity, wrapping_key: naming::pre_active() })
    }

    fn get(&self, tenant: TenantId, key_id: KeyId) -> Result<Option<Held>, keystore::Error> {
        Ok(self.index.get(Id { tenant, key_id })?.and_then(|record| self.held(&record)))
    }

    fn apply(&self, tenant: TenantId, key_id: KeyId, state: KeyState) -> Result<Applied, keystore::Error> {
        let id = Id { tenant, key_id };
        let _key = self.key_lock(id);
        let mut record = self.known(id)?;
        if transition::check_step(key_id, record.state, state)? != Step::Stay {
            self.change(id, &mut record, state)?;
        }
        let [before, after] = [record.before, inventory(&record)].map(|inventory| inventory.map(|it| self.place(it)));
        Ok(Applied { before, after })
    }

    fn perform(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        asked: &Use<'_>,
        permit: Permit,
    ) -> Result<Output, keystore::Error> {
        let id = Id { tenant, key_id };
        let record = self.known(id)?;
        transition::check_use(key_id, record.state, asked.operation(), permit)?;
        material::check_operation(record.algorithm, asked.operation())?;
        InUse { store: self, id, record }.perform(asked)
    }

    fn prove(&self, tenant: TenantId, key_id: KeyId, challenge: &[u8]) -> Result<Proof, keystore::Error> {
        let record = self.known(Id { tenant, key_id })?;
        transition::check_proof(key_id, record.state)?;
        Proof::make(&self.material(key_id, &record)?, tenant, key_id, challenge)
    }

    fn open(&self, sealed: &Sealed, info: &[u8]) -> Result<Zeroizing<Vec<u8>>, keystore::Error> {
        seal::open(&self.seal, info, &[], sealed)
    }

    fn list(
        &self,
        tenant: Option<TenantId>,
        visit: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), keystore::Error> {
        self.index.each(tenant, |Id { tenant, key_id }, record| match self.held(&record) {
            Some(held) => visit(Entry { tenant, key_id, held }).is_continue(),
            None => true,
        })?;
        Ok(())
    }
}
