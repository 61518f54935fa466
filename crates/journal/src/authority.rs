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

/// Opens a statement: signed by the pinned root, strict JSON, each key with one role.
pub fn open(envelope: &Envelope, root: Fingerprint) -> Result<Statement, Error> {
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
    strict::check(&envelope.payload.0)?;
    let statement: Statement = serde_json::from_slice(&envelope.payload.0)?;
    if statement.root != root {
        return Err(Error::NotTheRoot(root));
    }
    Ring::new(&statement)?;
    Ok(statement)
}

/// Signs a statement with the root key.
pub fn sign(statement: &Statement, root: &dyn Hand) -> std::io::Result<Envelope> {
    let payload = serde_json::to_vec(statement)?;
    let sig = Base64(root.sign(NAMESPACE, &dsse::pae(dsse::AUTHORITY, &payload))?);
    let signatures = vec![dsse::Signature { keyid: statement.root.to_string(), sig }];
    Ok(Envelope { payload: Base64(payload), payload_type: dsse::AUTHORITY.to_owned(), signatures })
}

/// The keys that may sign events, by fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Keys", into = "Keys")]
pub struct Ring {
    keys: BTreeMap<Fingerprint, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    key: VerifyingKey,
    service: Service,
}

/// A ring as it is stored: its entries. The keys are parsed anew.
#[derive(Serialize, Deserialize)]
struct Keys(Vec<Service>);

impl TryFrom<Keys> for Ring {
    type Error = Error;

    fn try_from(keys: Keys) -> Result<Self, Error> {
        let mut ring = Self::default();
        keys.0.into_iter().try_for_each(|service| ring.insert(service))?;
        Ok(ring)
    }
}

impl From<Ring> for Keys {
    fn from(ring: Ring) -> Self {
        Self(ring.keys.into_values().map(|entry| entry.service).collect())
    }
}

impl Ring {
    /// The keys that a statement names: its services, and its registrars for as long as the statement stands.
    ///
    /// INVARIANT (one key, one role): no key stands twice.
    pub fn new(statement: &Statement) -> Result<Self, Error> {
        let mut ring = Self::default();
        statement.services.iter().cloned().try_for_each(|service| ring.insert(service))?;
        statement.registrars.iter().try_for_each(|key| ring.insert(registrar(key.clone())))?;
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

    /// The key with this fingerprint.
    pub fn key(&self, signer: Fingerprint) -> Option<&VerifyingKey> {
        self.keys.get(&signer).map(|entry| &entry.key)
    }

    /// The role in which `signer` may sign in this tenant at this time.
    pub fn role(&self, signer: Fingerprint, tenant: TenantId, at: Timestamp) -> Option<ServiceRole> {
        let service = &self.keys.get(&signer)?.service;
        let covered = service.tenants.covers(tenant) && service.not_before <= at && at < service.not_after;
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
