//! The store: the port over two tokens and an index.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use keystore::attestation::Dates;
use keystore::ciphertext::{Header, Purpose};
use keystore::material::{self, PublicKey};
use keystore::nonces::{BLOCKS_MAX, Nonces};
use keystore::transition::{self, Step};
use keystore::{
    Applied, Attestation, Entry, Error as PortError, Found, Generated, Held, KeyStore, Output, Permit, Proof, Refused,
    Use, possession, seal,
};
use model::command::Sealed;
use model::event::Inventory;
use model::key::{KeyIdentity, Operation};
use model::{Algorithm, Digest, KeyId, KeyState, Name, TenantId};
use rand_core::{OsRng, RngCore as _};
use zeroize::Zeroizing;

use crate::index::{self, Id, Index, Row};
use crate::lock::Mode;
use crate::object::{self, Object, ObjectId};
use crate::token::Token;
use crate::{Config, Error, attest, offered, pair, proof, setup};

/// Locks among which keys are spread: changes of one key follow each other.
const STRIPES: usize = 256;
/// How often a use looks again where the key is, when that has changed under its feet.
const LOOKS_MAX: u32 = 4;
/// The tag of GCM.
const TAG_BYTES: usize = 16;

/// A PKCS#11 key store, open. See the crate's documentation.
pub struct Pkcs11Store {
    name: Name,
    pub(crate) index: Index,
    pub(crate) pre_active: Token,
    pub(crate) active: Token,
    /// The application's, in placed mode.
    pub(crate) placed: Option<Token>,
    /// Of which algorithms the tokens make keys.
    offered: Vec<Algorithm>,
    seal: seal::SecretKey,
    nonces: Nonces,
    stripes: [Mutex<()>; STRIPES],
}

impl std::fmt::Debug for Pkcs11Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pkcs11Store({}, {})", self.name, self.index.path().display())
    }
}

impl Pkcs11Store {
    /// Makes an empty store: the index in `folder`, which is empty or not there, the transport key on both tokens, and the
    /// key for the seal key. The tokens are initialised, with user PINs. `officer_pin` is the security officer's PIN of
    /// the *pre-active* token; the store never needs it again.
    ///
    /// The transport key's value is in this process's memory while it is put on the tokens, and nowhere afterwards.
    ///
    /// # Errors
    /// Every variant of [`Error`]: each says what to do. What was cut short leaves keys on the tokens that the survey of
    /// the next store shows as unknown; they are of no use.
    pub fn create(folder: &Path, name: Name, config: &Config, officer_pin: &str) -> Result<Self, Error> {
        setup::create(folder, config, officer_pin, None)?;
        Self::open(folder, name, config)
    }

    /// The same in placed mode: with an application's token, on which every active key is too, and the security officer's
    /// PIN of the *active* token besides.
    ///
    /// # Errors
    /// As of [`Pkcs11Store::create`].
    pub fn create_placed(
        folder: &Path,
        name: Name,
        config: &Config,
        officer_pin: &str,
        active_officer_pin: &str,
    ) -> Result<Self, Error> {
        setup::create(folder, config, officer_pin, Some(active_officer_pin))?;
        Self::open(folder, name, config)
    }

    /// Opens a store. Makes nothing that is missing; removes the remainders of changes that were cut short.
    ///
    /// # Errors
    /// Every variant of [`Error`]: each says what to do.
    pub fn open(folder: &Path, name: Name, config: &Config) -> Result<Self, Error> {
        let index = Index::open(folder)?;
        let meta = &index.meta;
        let pre_active = Token::new(config, &config.pre_active, Some((&meta.pre_active, meta.transport_out)))?;
        let active = Token::new(config, &config.active, Some((&meta.active, meta.transport_in)))?;
        let placed = match (&meta.placed, &config.placed) {
            (Some(meta), Some(token)) => Some(Token::new(config, token, Some((&meta.token, meta.transport_in)))?),
            (None, None) => None,
            (Some(_), None) => return Err(Error::Placed { what: "the store has an application's token" }),
            (None, Some(_)) => return Err(Error::Placed { what: "the store has no application's token" }),
        };
        let seal = setup::unseal(&active, &index)?;
        let offered = match index.offered()? {
            Some(offered) => offered,
            None => {
                let offered = offered::ask(&pre_active, &active, &index.meta)?;
                index.note_offered(&offered)?;
                offered
            }
        };
        let stripes = std::array::from_fn(|_| Mutex::new(()));
        let store = Self { name, index, pre_active, active, placed, offered, seal, nonces: Nonces::default(), stripes };
        store.settle(None)?;
        match store.settle_placed() {
            // An application that takes its token away must not stop the others. The survey says what is left to do.
            Err(Error::Token { .. } | Error::NoToken { .. } | Error::PinRefused { .. } | Error::Missing { .. })
            | Ok(()) => {}
            Err(error) => return Err(error),
        }
        Ok(store)
    }

    /// Tells the token from and until when a key may be used, both days included. Most tokens do not hold to it (SoftHSM
    /// does not); it is for those who look at the token. Not of a key that was never activated: a date on it would be a
    /// way to have it turn active by itself.
    ///
    /// # Errors
    /// [`keystore::Error::NotFound`]; [`keystore::Error::State`] for a key that is not active.
    pub fn set_dates(&self, tenant: TenantId, key_id: KeyId, dates: Dates) -> Result<(), PortError> {
        let id = index::id(tenant, key_id);
        let _key = self.key_lock(&id);
        self.settle(Some(&id))?;
        let mut row = self.known(tenant, key_id)?;
        if row.state != KeyState::Active {
            let refused = Refused::Transition(KeyState::Active);
            return Err(PortError::State { key_id, state: row.state, refused });
        }
        row.set_dates(dates);
        let with = object::copied(row.algorithm, &object::usages(row.algorithm, row.state), dates);
        self.replace(&id, &mut row, with)?;
        self.settle(Some(&id))?;
        // What is placed can't be changed: it is placed anew.
        self.withdraw(&id)?;
        Ok(self.place(&id, key_id, &row)?)
    }

    /// Destroys the remainders of changes that were cut short, of one key or of all.
    pub(crate) fn settle(&self, of: Option<&Id>) -> Result<(), Error> {
        for (id, object) in self.index.remainders(of)? {
            let token = self.token(object.inventory);
            self.index.steps.run(|| token.work(Mode::Alone, |work| work.destroy(object.id)))?;
            if let Some(row) = self.find(&id)? {
                self.thin_out(&row)?;
            }
            self.index.cleared(object)?;
        }
        Ok(())
    }

    /// Leaves one object of those that have the name of a key's own. SoftHSM makes a copy under the name of its original,
    /// and gives it its own name after that: one that was cut short in between goes by the wrong name. Only where the index
    /// has a note of a change that was cut short; others of that name are somebody else's doing, and found by the survey.
    fn thin_out(&self, row: &Row) -> Result<(), Error> {
        let Some(Object { inventory: Inventory::Active, id }) = row.object else { return Ok(()) };
        let usages = object::usages(row.algorithm, row.state);
        self.active.work(Mode::Alone, |work| {
            let found = work.find(&[Attribute::Token(true), id.attribute()])?;
            if found.len() < 2 {
                return Ok(());
            }
            let ours = |handle: &ObjectHandle| proof::is_of(work, row.algorithm, *handle, &row.identity);
            let is_whole = |handle: &ObjectHandle| {
                attest::say(work, *handle).is_ok_and(|said| said.usages == usages) && ours(handle)
            };
            // One whose flags somebody else has changed is set back later. Where none is ours, all stay: that is for people
            // to look at.
            let mut handles = found.iter().copied();
            let keep = handles.clone().find(is_whole).or_else(|| handles.find(ours));
            let Some(keep) = keep else { return Ok(()) };
            for handle in found.into_iter().filter(|handle| *handle != keep) {
                work.session.destroy_object(handle).map_err(work.failed("destroying a copy that was cut short"))?;
            }
            work.remember(id, keep);
            Ok(())
        })
    }

    pub(crate) fn token(&self, inventory: Inventory) -> &Token {
        match inventory {
            Inventory::PreActive => &self.pre_active,
            Inventory::Active => &self.active,
        }
    }

    pub(crate) fn find(&self, id: &Id) -> Result<Option<Row>, Error> {
        let row = self.index.get(id)?;
        row.iter().try_for_each(|row| self.index.check(row))?;
        Ok(row)
    }

    pub(crate) fn known(&self, tenant: TenantId, key_id: KeyId) -> Result<Row, PortError> {
        self.find(&index::id(tenant, key_id))?.ok_or(PortError::NotFound(key_id))
    }

    /// The lock under which one key is changed. What it guards is on the disk, so a panic leaves nothing half done here.
    pub(crate) fn key_lock(&self, id: &Id) -> MutexGuard<'_, ()> {
        // The last bytes of a UUIDv7 are random.
        let stripe = id.last().map_or(0, |byte| usize::from(*byte)) % STRIPES;
        let stripe = self.stripes.get(stripe).unwrap_or(&self.stripes[0]);
        stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What objects of a key are called, for people who look at the token.
    pub(crate) fn label(&self, key_id: KeyId) -> String {
        format!("{}{key_id}", self.label_prefix())
    }

    /// How the labels of this store's objects begin.
    pub(crate) fn label_prefix(&self) -> String {
        format!("keylatch {} ", self.index.meta.id)
    }

    // === Changes. Each announces what it is about to make, makes it, and commits a row. ===

    fn bear(&self, id: &Id, key_id: KeyId, algorithm: Algorithm, command: Digest) -> Result<Row, Error> {
        let object = Object { inventory: Inventory::PreActive, id: ObjectId::random()? };
        self.index.announce(id, object)?;
        let template = object::born(algorithm, object.id, &self.label(key_id));
        let identity = self.index.steps.run(|| self.generate_object(algorithm, object, template))?;
        let identity = match identity {
            // A pair that can't be moved, or does not sign as its public half says, is noticed before anybody counts on it.
            Some(identity) => self.recognise(algorithm, object, &identity).map(|()| identity)?,
            None => self.check_value(object)?,
        };
        let row = Row {
            algorithm,
            state: KeyState::PreActive,
            before: None,
            command,
            identity,
            blocks_reserved: 0,
            object: Some(object),
            start: None,
            end: None,
        };
        self.index.put(id, &row, None)?;
        Ok(row)
    }

    /// Generates a key on the pre-active token; gives the identity of a pair.
    fn generate_object(
        &self,
        algorithm: Algorithm,
        object: Object,
        mut template: Vec<Attribute>,
    ) -> Result<Option<KeyIdentity>, Error> {
        if algorithm == Algorithm::Aes256Gcm {
            template.push(Attribute::ValueLen(32.into()));
            return self.pre_active.work(Mode::Alone, |work| {
                let made = work.session.generate_key(&Mechanism::AesKeyGen, &template);
                work.remember(object.id, made.map_err(work.failed("generating a key"))?);
                Ok(None)
            });
        }
        self.pre_active.work(Mode::Alone, |work| {
            let made = pair::generate(&work.session, algorithm, &template);
            let (identity, private) = made.map_err(work.failed("generating a key pair"))?;
            work.remember(object.id, private);
            Ok(Some(identity))
        })
    }

    /// Moves a pre-active key to the active token, with the usages of its row's state.
    fn activate(&self, id: &Id, key_id: KeyId, row: &mut Row) -> Result<(), Error> {
        let (Some(from), algorithm) = (row.object, row.algorithm) else { return Ok(()) };
        let object = Object { inventory: Inventory::Active, id: ObjectId::random()? };
        self.index.announce(id, object)?;
        let wrapped = self.wrap(from)?;
        let usages = object::usages(algorithm, row.state);
        let template = object::arrived(algorithm, object.id, &self.label(key_id), &usages, self.placed.is_some());
        self.index.steps.run(|| {
            self.active.work(Mode::Alone, |work| {
                work.on(self.index.meta.transport_in, "unwrapping a key", |transport| {
                    let key = work.session.unwrap_key(&Mechanism::AesKeyWrapPad, transport, &wrapped, &template)?;
                    work.remember(object.id, key);
                    Ok(())
                })
            })
        })?;
        // What has arrived is what has left, or it does not count.
        self.recognise(algorithm, object, &row.identity)?;
        row.object = Some(object);
        self.index.put(id, row, Some(from))
    }

    /// Replaces a key's object on the active token by a copy that has other attributes.
    pub(crate) fn replace(&self, id: &Id, row: &mut Row, mut with: Vec<Attribute>) -> Result<(), Error> {
        let Some(from) = row.object else { return Ok(()) };
        let object = Object { inventory: Inventory::Active, id: ObjectId::random()? };
        self.index.announce(id, object)?;
        with.push(object.id.attribute());
        self.index.steps.run(|| {
            self.active.work(Mode::Alone, |work| {
                work.on(from.id, "copying a key", |original| {
                    let key = work.session.copy_object(original, &with)?;
                    work.remember(object.id, key);
                    Ok(())
                })
            })
        })?;
        row.object = Some(object);
        self.index.put(id, row, Some(from))
    }

    // === Uses ===

    /// Counts an encryption before it is done.
    fn count_encryption(&self, tenant: TenantId, key_id: KeyId) -> Result<(), PortError> {
        if self.nonces.take((tenant, key_id)) {
            return Ok(());
        }
        let id = index::id(tenant, key_id);
        let _key = self.key_lock(&id);
        // Another thread may have reserved meanwhile.
        if self.nonces.take((tenant, key_id)) {
            return Ok(());
        }
        let mut row = self.known(tenant, key_id)?;
        transition::check_use(key_id, row.state, Operation::Encrypt, Permit::WhileActive)?;
        if row.blocks_reserved >= BLOCKS_MAX {
            return Err(PortError::Exhausted(key_id));
        }
        row.blocks_reserved += 1;
        self.index.put(&id, &row, None)?;
        self.nonces.add((tenant, key_id));
        if self.nonces.take((tenant, key_id)) { Ok(()) } else { Err(PortError::Exhausted(key_id)) }
    }

    fn use_object(&self, object: Object, row: &Row, used: Used<'_>) -> Result<Output, PortError> {
        let Used { tenant, key_id, asked } = used;
        let gcm = Gcm { store: self, object, tenant, key_id };
        match *asked {
            Use::Encrypt { plaintext, aad } => gcm.encrypt(Purpose::Encrypt, plaintext, aad).map(Output::Ciphertext),
            Use::Decrypt { ciphertext, aad } => gcm.decrypt(Purpose::Encrypt, ciphertext, aad).map(Output::Plaintext),
            Use::Wrap => {
                let mut data_key = Zeroizing::new([0; 32]);
                OsRng.try_fill_bytes(data_key.as_mut()).map_err(Error::Random)?;
                let wrapped = gcm.encrypt(Purpose::Wrap, data_key.as_ref(), &[])?;
                Ok(Output::Wrapped { data_key, wrapped })
            }
            Use::Unwrap { wrapped } => {
                let plaintext = gcm.decrypt(Purpose::Wrap, wrapped, &[])?;
                let data_key = plaintext.as_slice().try_into().map_err(|_| PortError::CiphertextInvalid)?;
                Ok(Output::DataKey(Zeroizing::new(data_key)))
            }
            Use::Sign { digest } => {
                let signature = self.active.work(Mode::Shared, |work| {
                    work.on(object.id, "signing", |key| pair::sign(&work.session, row.algorithm, key, digest))
                })?;
                Ok(Output::Signature(signature))
            }
            // That is computed with the public half, which is nobody's secret.
            Use::Verify { digest, signature } => {
                let KeyIdentity::PublicKey(der) = &row.identity else { return Err(PortError::CiphertextInvalid) };
                let verifies = PublicKey::from_spki(&der.0).is_some_and(|key| key.verifies(digest, signature));
                Ok(Output::Verified(verifies))
            }
        }
    }

    /// Does something with the object of a key, which may be replaced by another meanwhile: then with that one, if the key
    /// still does it.
    pub(crate) fn with_object<T>(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        work: impl Fn(&Row, Object) -> Result<T, PortError>,
        check: impl Fn(&Row) -> Result<(), PortError>,
    ) -> Result<T, PortError> {
        let mut looks = 0;
        loop {
            let row = self.known(tenant, key_id)?;
            check(&row)?;
            let object = row.object.ok_or(PortError::NotFound(key_id))?;
            match work(&row, object) {
                Err(error) if looks < LOOKS_MAX && self.known(tenant, key_id)?.object != Some(object) => {
                    looks += 1;
                    drop(error);
                }
                outcome => return outcome,
            }
        }
    }
}

/// What is asked of a key.
#[derive(Clone, Copy)]
struct Used<'a> {
    tenant: TenantId,
    key_id: KeyId,
    asked: &'a Use<'a>,
}

impl KeyStore for Pkcs11Store {
    fn name(&self) -> &Name {
        &self.name
    }

    fn seal_key(&self) -> [u8; 32] {
        self.seal.public()
    }

    fn algorithms(&self) -> &[Algorithm] {
        &self.offered
    }

    fn survey(&self, tenant: TenantId, key_id: Option<KeyId>, visit: &mut dyn FnMut(Found)) -> Result<(), PortError> {
        self.drifts(tenant, key_id)?.into_iter().for_each(visit);
        Ok(())
    }

    fn set_back(&self, tenant: TenantId, key_id: KeyId) -> Result<bool, PortError> {
        self.bring_back(tenant, key_id)?;
        Ok(self.drifts(tenant, Some(key_id))?.is_empty())
    }

    fn generate(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        algorithm: Algorithm,
        command: Digest,
    ) -> Result<Generated, PortError> {
        let id = index::id(tenant, key_id);
        let _key = self.key_lock(&id);
        let row = match self.find(&id)? {
            Some(row) if (row.algorithm, row.command) != (algorithm, command) => {
                return Err(PortError::Exists(key_id));
            }
            Some(Row { object: None, state, .. }) => {
                return Err(PortError::State { key_id, state, refused: Refused::Generation });
            }
            Some(row) => row,
            None if !self.offered.contains(&algorithm) => {
                return Err(PortError::AlgorithmNotOffered { store: self.name.clone(), algorithm });
            }
            None => {
                self.settle(Some(&id))?;
                self.bear(&id, key_id, algorithm, command)?
            }
        };
        let wrapping_key = self.index.token_name(Inventory::PreActive).clone();
        Ok(Generated { identity: row.identity, wrapping_key })
    }

    fn get(&self, tenant: TenantId, key_id: KeyId) -> Result<Option<Held>, PortError> {
        Ok(self.find(&index::id(tenant, key_id))?.map(|row| self.index.held(&row)))
    }

    fn apply(&self, tenant: TenantId, key_id: KeyId, state: KeyState) -> Result<Applied, PortError> {
        let id = index::id(tenant, key_id);
        let _key = self.key_lock(&id);
        let mut row = self.known(tenant, key_id)?;
        let step = transition::check_step(key_id, row.state, state)?;
        self.settle(Some(&id))?;
        let usages_before = object::usages(row.algorithm, row.state);
        if step != Step::Stay {
            row.before = self.index.place(&row);
            row.state = state;
        }
        // First of all the application is halted, even if the rest fails; and the rest is done, even if that fails.
        let halted = if row.state == KeyState::Active { Ok(()) } else { self.withdraw(&id) };
        match step {
            Step::Stay => {}
            Step::Mark if object::usages(row.algorithm, state) == usages_before => self.index.put(&id, &row, None)?,
            Step::Mark => {
                let with = object::copied(row.algorithm, &object::usages(row.algorithm, state), row.dates());
                self.replace(&id, &mut row, with)?;
            }
            Step::Move => self.activate(&id, key_id, &mut row)?,
            Step::Erase => {
                let gone = row.object.take();
                self.index.put(&id, &row, gone)?;
            }
        }
        // What was before is gone when this returns.
        self.settle(Some(&id))?;
        halted?;
        if row.state == KeyState::Active {
            self.place(&id, key_id, &row)?;
        }
        Ok(Applied { before: row.before.clone(), after: self.index.place(&row) })
    }

    fn perform(&self, tenant: TenantId, key_id: KeyId, asked: &Use<'_>, permit: Permit) -> Result<Output, PortError> {
        let check = |row: &Row| {
            transition::check_use(key_id, row.state, asked.operation(), permit)?;
            material::check_inputs(row.algorithm, asked)
        };
        if matches!(asked, Use::Encrypt { .. } | Use::Wrap) {
            check(&self.known(tenant, key_id)?)?;
            self.count_encryption(tenant, key_id)?;
        }
        let used = Used { tenant, key_id, asked };
        self.with_object(tenant, key_id, |row, object| self.use_object(object, row, used), check)
    }

    fn prove(&self, tenant: TenantId, key_id: KeyId, challenge: &[u8]) -> Result<Proof, PortError> {
        let prove = |row: &Row, object| {
            let message = possession::message(tenant, key_id, challenge)?;
            Ok(self.prove_object(row.algorithm, object, &row.identity, &message)?)
        };
        self.with_object(tenant, key_id, prove, |row| transition::check_proof(key_id, row.state))
    }

    fn attest(&self, tenant: TenantId, key_id: KeyId) -> Result<Attestation, PortError> {
        let row = self.known(tenant, key_id)?;
        if row.object.is_none() {
            return Ok(self.attest_destroyed(&row));
        }
        self.with_object(tenant, key_id, |row, object| Ok(self.attest_object(row, object)?), |_| Ok(()))
    }

    fn open(&self, sealed: &Sealed, info: &[u8]) -> Result<Zeroizing<Vec<u8>>, PortError> {
        seal::open(&self.seal, info, &[], sealed)
    }

    fn list(&self, tenant: Option<TenantId>, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<(), PortError> {
        self.index.walk(tenant, |tenant, key_id, row| {
            self.index.check(&row)?;
            Ok(visit(Entry { tenant, key_id, held: self.index.held(&row) }).is_continue())
        })?;
        Ok(())
    }
}

/// AES-256-GCM in the token, in the format of [`keystore::ciphertext`].
struct Gcm<'a> {
    store: &'a Pkcs11Store,
    object: Object,
    tenant: TenantId,
    key_id: KeyId,
}

impl Gcm<'_> {
    fn encrypt(&self, purpose: Purpose, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, PortError> {
        let mut nonce = [0; 12];
        OsRng.try_fill_bytes(&mut nonce).map_err(Error::Random)?;
        let header = Header { purpose, key_id: self.key_id, nonce };
        let aad = header.aad(self.tenant, aad);
        let body = self.store.active.work(Mode::Shared, |work| {
            work.on(self.object.id, "encrypting", |key| {
                let mut nonce = nonce;
                let mechanism = gcm(&mut nonce, &aad)?;
                work.session.encrypt(&mechanism, key, plaintext)
            })
        })?;
        Ok([&header.to_bytes()[..], &body].concat())
    }

    fn decrypt(&self, purpose: Purpose, ciphertext: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, PortError> {
        let (header, body) = Header::read(ciphertext)?;
        if header.purpose != purpose || header.key_id != self.key_id || body.len() < TAG_BYTES {
            return Err(PortError::CiphertextInvalid);
        }
        let aad = header.aad(self.tenant, aad);
        let plaintext = self.store.active.work(Mode::Shared, |work| {
            work.on(self.object.id, "decrypting", |key| {
                let mut nonce = header.nonce;
                let mechanism = gcm(&mut nonce, &aad)?;
                match work.session.decrypt(&mechanism, key, body) {
                    Ok(plaintext) => Ok(Some(Zeroizing::new(plaintext))),
                    // SoftHSM says "general error" of what does not authenticate. Where the token still answers about the
                    // key, it was that.
                    Err(error) if may_mean_invalid(&error) => {
                        work.session.get_attributes(key, &[AttributeType::KeyType]).map(|_| None)
                    }
                    Err(error) => Err(error),
                }
            })
        })?;
        plaintext.ok_or(PortError::CiphertextInvalid)
    }
}

pub(crate) fn gcm<'a>(nonce: &'a mut [u8; 12], aad: &'a [u8]) -> Result<Mechanism<'a>, Pkcs11Error> {
    Ok(Mechanism::AesGcm(GcmParams::new(nonce, aad, 128.into())?))
}

pub(crate) fn may_mean_invalid(error: &Pkcs11Error) -> bool {
    matches!(
        error,
        Pkcs11Error::Pkcs11(
            RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::GeneralError
                | RvError::FunctionFailed
                | RvError::DataInvalid
                | RvError::SignatureInvalid,
            cryptoki::context::Function::Decrypt
        )
    )
}
