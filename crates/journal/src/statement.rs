//! Statements of services, opened: a custodian's on a key it generated, an exporter's on where a chain stands.

use ed25519_dalek::Signature;
use model::dsse::{self, Envelope};
use model::{Fingerprint, ServiceRole, TenantId, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::authority::Ring;
use crate::strict;

/// A statement that one service signed, and who it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated<T> {
    /// What it says.
    pub statement: T,
    /// The key that signed.
    pub signer: Fingerprint,
    /// The envelope, to be carried on.
    pub envelope: Envelope,
}

/// Why a statement is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The envelope says it is something else.
    #[error("the payload type is `{0}`")]
    PayloadType(String),
    /// Not one signature by a key that may.
    #[error("it is not signed by one {0} that may speak for this tenant at this time")]
    Signature(ServiceRole),
    /// Not strict JSON.
    #[error(transparent)]
    Strict(#[from] strict::Malformed),
    /// Not the members it should have.
    #[error("not what its type says: {0}")]
    Json(#[from] serde_json::Error),
}

/// Opens a statement of this type, signed by one key that holds `role` in the tenant at the time.
pub fn open<T: DeserializeOwned + Serialize>(
    envelope: &Envelope,
    payload_type: &'static str,
    role: ServiceRole,
    ring: &Ring,
    tenant: TenantId,
    at: Timestamp,
) -> Result<Stated<T>, Error> {
    if envelope.payload_type != payload_type {
        return Err(Error::PayloadType(envelope.payload_type.clone()));
    }
    let signer = verify(envelope, ring)
        .filter(|signer| ring.role(*signer, tenant, at) == Some(role))
        .ok_or(Error::Signature(role))?;
    strict::check_object(&envelope.payload.0)?;
    let statement = model::json::read(&envelope.payload.0)?;
    Ok(Stated { statement, signer, envelope: envelope.clone() })
}

/// The one signer, where the signature verifies.
fn verify(envelope: &Envelope, ring: &Ring) -> Option<Fingerprint> {
    let [signature] = envelope.signatures.as_slice() else { return None };
    let signer = signature.keyid.parse().ok()?;
    let raw = Signature::from_slice(&signature.sig.0).ok()?;
    let signed = dsse::pae(&envelope.payload_type, &envelope.payload.0);
    ring.key(signer)?.verify_strict(&signed, &raw).ok()?;
    Some(signer)
}
