//! Authority: the statement that the root signed, opened, and the ring of keys that it makes.

use std::collections::BTreeMap;

use ed25519_dalek::VerifyingKey;
use model::authority::{NAMESPACE, Service, Statement, Tenants};
use model::dsse::{self, Envelope};
use model::people::{PublicKey, ServiceRole};
use model::text::Base64;
use model::{Fingerprint, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::command::Hand;
use crate::{sshsig, strict};

/// Why a statement gives no authority.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The envelope says it is something else.
    #[error("the payload type is `{0}`, not that of an authority statement")]
    PayloadType(String),
    /// No signature of the pinned root verifies.
    #[error("it is not signed by the root {0}")]
    NotTheRoot(Fingerprint),
    /// Not strict JSON.
    #[error(transparent)]
    Strict(#[from] strict::Malformed),
    /// Not the members of a statement.
    #[error("not an authority statement: {0}")]
    Json(#[from] serde_json::Error),
    /// A key that is not plain Ed25519, stands twice, or serves as registrar and in a role.
    #[error("the key {0} is not an Ed25519 key with one role")]
    Key(Fingerprint),
}

/// What every statement says in the rules of today and of every day to come. By it, a reader who does not know the rest
/// finds out that it doesn't.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Core {
    root: Fingerprint,
    /// Which statement it is: a newer one has a higher number.
    pub epoch: u64,
    /// The rules epoch that it brings into force.
    pub rules: u32,
    /// The keys that may bring it into a chain.
    pub registrars: Vec<PublicKey>,
}

/// Opens a statement: signed by the pinned root, exactly the members of these rules, each key with one role.
pub fn open(envelope: &Envelope, root: Fingerprint) -> Result<Statement, Error> {
    open_core(envelope, root)?;
    let statement: Statement = model::json::read(&envelope.payload.0)?;
    Ring::new(&statement)?;
    Ok(statement)
}

/// Opens what every statement says: signed by the pinned root, strict JSON, an object.
pub fn open_core(envelope: &Envelope, root: Fingerprint) -> Result<Core, Error> {
    if envelope.payload_type != dsse::AUTHORITY {
        return Err(Error::PayloadType(envelope.payload_type.clone()));
    }
    let signed = dsse::pae(&envelope.payload_type, &envelope.payload.0);
    let by_root = envelope.signatures.iter().any(|signature| {
        sshsig::verify(&signature.sig.0, NAMESPACE, &signed).is_ok_and(|signed| signed.key.fingerprint() == root)
    });
    if !by_root {
        return Err(Error::NotTheRoot(root));
    }
    strict::check_object(&envelope.payload.0)?;
    let core: Core = serde_json::from_slice(&envelope.payload.0)?;
    if core.root != root {
        return Err(Error::NotTheRoot(root));
    }
    Ok(core)
}

/// Signs a statement with the root key.
pub fn sign(statement: &Statement, root: &dyn Hand) -> std::io::Result<Envelope> {
    let payload = serde_json::to_vec(statement)?;
    let sig = Base64(root.sign(NAMESPACE, &dsse::pae(dsse::AUTHORITY, &payload))?);
    let signatures = vec![dsse::Signature { keyid: statement.root.to_string(), sig }];
    Ok(Envelope { payload: Base64(payload), payload_type: dsse::AUTHORITY.to_owned(), signatures })
}

/// The keys that may sign events, by fingerprint, and the epoch of the statement that says so (0 where none does).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Keys", into = "Keys")]
pub struct Ring {
    epoch: u64,
    keys: BTreeMap<Fingerprint, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    key: VerifyingKey,
    service: Service,
}

/// A ring as it is stored: its entries. The keys are parsed anew.
#[derive(Serialize, Deserialize)]
struct Keys {
    epoch: u64,
    services: Vec<Service>,
}

impl TryFrom<Keys> for Ring {
    type Error = Error;

    fn try_from(keys: Keys) -> Result<Self, Error> {
        let mut ring = Self { epoch: keys.epoch, ..Self::default() };
        keys.services.into_iter().try_for_each(|service| ring.insert(service))?;
        Ok(ring)
    }
}

impl From<Ring> for Keys {
    fn from(ring: Ring) -> Self {
        Self { epoch: ring.epoch, services: ring.keys.into_values().map(|entry| entry.service).collect() }
    }
}

impl Ring {
    /// The keys that a statement names: its services, and its registrars for as long as the statement stands.
    ///
    /// INVARIANT (one key, one role): no key stands twice.
    pub fn new(statement: &Statement) -> Result<Self, Error> {
        let mut ring = Self { epoch: statement.epoch, ..Self::default() };
        statement.services.iter().cloned().try_for_each(|service| ring.insert(service))?;
        statement.registrars.iter().try_for_each(|key| ring.insert(registrar(key.clone())))?;
        Ok(ring)
    }

    /// The registrars that a statement names, and nobody else.
    pub fn of_registrars(core: &Core) -> Result<Self, Error> {
        let mut ring = Self { epoch: core.epoch, ..Self::default() };
        core.registrars.iter().try_for_each(|key| ring.insert(registrar(key.clone())))?;
        Ok(ring)
    }

    /// Keys with nothing known of them but themselves: for checking form alone, as the test vectors do.
    pub fn of_keys(keys: impl IntoIterator<Item = (ServiceRole, PublicKey)>) -> Result<Self, Error> {
        let mut ring = Self::default();
        for (role, public_key) in keys {
            ring.insert(Service { role, ..registrar(public_key) })?;
        }
        Ok(ring)
    }

    fn insert(&mut self, service: Service) -> Result<(), Error> {
        let fingerprint = service.public_key.fingerprint();
        let key = service.public_key.as_ed25519().and_then(|key| VerifyingKey::from_bytes(&key).ok());
        let key = key.filter(|key| !key.is_weak()).ok_or(Error::Key(fingerprint))?;
        match self.keys.insert(fingerprint, Entry { key, service }) {
            None => Ok(()),
            Some(_) => Err(Error::Key(fingerprint)),
        }
    }

    /// The epoch of the statement that names these keys.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether this is one of the keys, or the same point on the curve under another name, as on a token.
    pub fn has(&self, key: &PublicKey) -> bool {
        self.keys.values().any(|entry| entry.service.public_key.point() == key.point())
    }

    /// The key with this fingerprint.
    pub fn key(&self, signer: Fingerprint) -> Option<&VerifyingKey> {
        self.keys.get(&signer).map(|entry| &entry.key)
    }

    /// The role in which `signer` may sign in this tenant at this time.
    pub fn role(&self, signer: Fingerprint, tenant: TenantId, at: Timestamp) -> Option<ServiceRole> {
        let service = &self.keys.get(&signer)?.service;
        let ended = at >= service.not_after && service.not_after != Timestamp::MAX;
        let covered = service.tenants.covers(tenant) && service.not_before <= at && !ended;
        covered.then_some(service.role)
    }

    /// The keys of a role, whatever their tenants and times.
    pub fn of_role(&self, role: ServiceRole) -> impl Iterator<Item = &Service> {
        self.keys.values().map(|entry| &entry.service).filter(move |service| service.role == role)
    }
}

fn registrar(public_key: PublicKey) -> Service {
    Service {
        role: ServiceRole::Registrar,
        public_key,
        tenants: Tenants::ALL,
        not_before: Timestamp::MIN,
        not_after: Timestamp::MAX,
    }
}
