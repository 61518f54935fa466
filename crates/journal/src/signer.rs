//! Signing as a service: the key of one role.

use ed25519_dalek::{Signer as _, SigningKey};
use model::dsse::{self, Envelope, Signature};
use model::people::{PublicKey, ServiceRole};
use model::text::Base64;
use model::{Event, EventId, Fingerprint, Name, Timestamp};

use crate::chain::Chain;
use crate::event::{Authentic, Body, Record, Subject, header};

/// The key with which one instance of a service signs, and the source that its events name.
#[derive(Clone)]
pub struct ServiceKey {
    key: SigningKey,
    fingerprint: Fingerprint,
    role: ServiceRole,
    source: String,
}

impl std::fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.source, self.fingerprint)
    }
}

impl ServiceKey {
    /// The key of one instance in one role.
    pub fn new(key: SigningKey, role: ServiceRole, instance: &Name) -> Self {
        let fingerprint = PublicKey::ed25519(key.verifying_key().as_bytes()).fingerprint();
        Self { key, fingerprint, role, source: format!("//keylatch/{role}/{instance}") }
    }

    /// The role in which it signs.
    pub fn role(&self) -> ServiceRole {
        self.role
    }

    /// The public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::ed25519(self.key.verifying_key().as_bytes())
    }

    /// Its fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The key itself, for signed notes.
    pub fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// Signs `event` as the next of `chain`. `time` must be the one for which it was decided, and not before the
    /// chain's.
    pub fn sign_event(&self, chain: &Chain, id: EventId, time: Timestamp, event: &Event) -> (Record, Authentic) {
        let body = Body {
            id,
            source: self.source.clone(),
            event_type: event.event_type().full_name(),
            subject: event.key_id().map_or(Subject::Tenant, Subject::Key),
            time,
            tenant: chain.tenant(),
            sequence: chain.head().sequence.next(),
            previous: chain.head().hash,
            signer: self.fingerprint,
            data: event.to_json(),
        };
        let record = self.sign_body(&body);
        let authentic = Authentic { hash: record.hash(), body };
        (record, authentic)
    }

    /// Signs an envelope as it is.
    pub fn sign_body(&self, body: &Body) -> Record {
        let payload = body.to_json();
        let signature = self.key.sign(&dsse::pae(dsse::EVENT, &payload));
        Record { signature: header(self.fingerprint, &signature), payload: payload.into() }
    }

    /// Signs a statement of this type: a DSSE envelope with the raw Ed25519 signature.
    pub fn sign_statement<T: serde::Serialize>(&self, payload_type: &str, statement: &T) -> Envelope {
        let payload = serde_json::to_vec(statement).unwrap_or_default();
        let sig = self.key.sign(&dsse::pae(payload_type, &payload)).to_bytes().to_vec();
        Envelope {
            payload: Base64(payload),
            payload_type: payload_type.to_owned(),
            signatures: vec![Signature { keyid: self.fingerprint.to_string(), sig: Base64(sig) }],
        }
    }
}
