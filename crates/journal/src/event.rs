//! One event: its bytes, its hash, its envelope, its signature.

use std::borrow::Cow;

use bytes::Bytes;
use data_encoding::BASE64;
use ed25519_dalek::Signature;
use model::dsse;
use model::event::PAYLOAD_BYTES_MAX;
use model::{EventHash, EventId, Fingerprint, KeyId, Sequence, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::authority::Ring;
use crate::chain::Void;
use crate::strict;

/// An event as it stands in a log: the value of its `Keylatch-Signature` header and its payload. Nothing is known of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The header's value; empty where it is missing or repeated.
    pub signature: String,
    /// The exact bytes.
    pub payload: Bytes,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.hash().short(), String::from_utf8_lossy(&self.payload))
    }
}

impl Record {
    /// The event hash: SHA-256 over 0x00, the signature header's value, a line feed and the payload. The RFC 6962 leaf
    /// hash, and the link of the next event.
    pub fn hash(&self) -> EventHash {
        let hash = Sha256::new().chain_update([0]).chain_update(&self.signature).chain_update([b'\n']);
        EventHash::new(hash.chain_update(&self.payload).finalize().into())
    }
}

/// An event's envelope, every member read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// CloudEvents `id`.
    pub id: EventId,
    /// Who made it: `//keylatch/<role>/<instance>`.
    pub source: String,
    /// CloudEvents `type`: of the right form; whether there is such a type is the law's question.
    pub event_type: String,
    /// What it is about.
    pub subject: Subject,
    /// When.
    pub time: Timestamp,
    /// Whose chain.
    pub tenant: TenantId,
    /// Its place.
    pub sequence: Sequence,
    /// The hash of the event before.
    pub previous: EventHash,
    /// The key that signed it.
    pub signer: Fingerprint,
    /// The event's own members, as written.
    pub data: String,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The tenant itself.
    Tenant,
    /// One key.
    Key(KeyId),
}

/// The members of the CloudEvents object, exactly these.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    datacontenttype: Cow<'a, str>,
    #[serde(borrow)]
    tenant: Cow<'a, str>,
    #[serde(borrow)]
    sequence: Cow<'a, str>,
    #[serde(borrow)]
    previous: Cow<'a, str>,
    #[serde(borrow)]
    signer: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

const SPEC_VERSION: &str = "1.0";
const CONTENT_TYPE: &str = "application/json";

impl Body {
    /// Reads a payload: size, strict JSON, exactly the members, each of its form.
    pub fn parse(payload: &[u8]) -> Result<Self, Void> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Void::Malformed(format!("the payload has over {PAYLOAD_BYTES_MAX} bytes")));
        }
        strict::check_object(payload).map_err(|error| Void::Malformed(error.to_string()))?;
        let wire: Wire<'_> = serde_json::from_slice(payload).map_err(|error| Void::Members(error.to_string()))?;
        Self::read(&wire)
    }

    fn read(wire: &Wire<'_>) -> Result<Self, Void> {
        let member = |name: &'static str| Void::Members(format!("`{name}` is not of its form"));
        if wire.specversion != SPEC_VERSION {
            return Err(member("specversion"));
        }
        if wire.datacontenttype != CONTENT_TYPE {
            return Err(member("datacontenttype"));
        }
        if !is_source(&wire.source) {
            return Err(member("source"));
        }
        if !is_type(&wire.r#type) {
            return Err(Void::Type(wire.r#type.clone().into_owned()));
        }
        if !wire.data.get().starts_with('{') {
            return Err(member("data"));
        }
        let tenant: TenantId = wire.tenant.parse().map_err(|_| member("tenant"))?;
        Ok(Self {
            id: wire.id.parse().map_err(|_| member("id"))?,
            source: wire.source.clone().into_owned(),
            event_type: wire.r#type.clone().into_owned(),
            subject: subject(&wire.subject, &wire.tenant).ok_or_else(|| member("subject"))?,
            time: wire.time.parse().map_err(|_| Void::Time(wire.time.clone().into_owned()))?,
            tenant,
            sequence: wire.sequence.parse().map_err(|_| Void::Sequence)?,
            previous: wire.previous.parse().map_err(|_| Void::Link)?,
            signer: wire.signer.parse().map_err(|_| Void::Signer)?,
            data: wire.data.get().to_owned(),
        })
    }

    /// The payload bytes.
    pub fn to_json(&self) -> Vec<u8> {
        let data = RawValue::from_string(self.data.clone()).unwrap_or_else(|_| RawValue::NULL.to_owned());
        let tenant = self.tenant.to_string();
        let wire = Wire {
            specversion: SPEC_VERSION.into(),
            id: self.id.to_string().into(),
            source: self.source.as_str().into(),
            r#type: self.event_type.as_str().into(),
            subject: match self.subject {
                Subject::Tenant => tenant.as_str().into(),
                Subject::Key(key) => key.to_string().into(),
            },
            time: self.time.to_string().into(),
            datacontenttype: CONTENT_TYPE.into(),
            tenant: tenant.as_str().into(),
            sequence: self.sequence.to_string().into(),
            previous: self.previous.to_string().into(),
            signer: self.signer.to_string().into(),
            data: &data,
        };
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// The role that the source names.
    pub fn source_role(&self) -> &str {
        self.source.split('/').nth(3).unwrap_or_default()
    }
}

fn subject(text: &str, tenant: &str) -> Option<Subject> {
    if text == tenant { Some(Subject::Tenant) } else { text.parse().ok().map(Subject::Key) }
}

/// `//keylatch/<role>/<instance>`.
fn is_source(text: &str) -> bool {
    let Some((role, instance)) = text.strip_prefix("//keylatch/").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let role_fits = !role.is_empty() && role.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    role_fits && instance.parse::<model::Name>().is_ok()
}

/// `dev.keylatch.<noun>.<verb>.v1`.
fn is_type(text: &str) -> bool {
    let words = text
        .strip_prefix("dev.keylatch.")
        .and_then(|rest| rest.strip_suffix(".v1"))
        .and_then(|name| name.split_once('.'));
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    words.is_some_and(|(noun, verb)| is_word(noun) && is_word(verb))
}

/// An event whose signature verifies under a key of the ring that is in force for the tenant at the event's time, and whose
/// envelope is of its form. Whether it has its place in a chain is for [`crate::Chain::admit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentic {
    /// Its hash.
    pub hash: EventHash,
    /// Its envelope.
    pub body: Body,
}

impl Authentic {
    /// Verifies first, parses second.
    pub fn open(record: &Record, ring: &Ring) -> Result<Self, Void> {
        let (signer, signature) = parse_header(&record.signature)?;
        let key = ring.key(signer).ok_or(Void::UnknownSigner(signer))?;
        let signed = dsse::pae(dsse::EVENT, &record.payload);
        key.verify_strict(&signed, &signature).map_err(|_| Void::Signature)?;
        let body = Body::parse(&record.payload)?;
        if body.signer != signer {
            return Err(Void::Signer);
        }
        // Who may sign nothing here must not set the time of this chain either.
        if ring.role(signer, body.tenant, body.time).is_none() {
            return Err(Void::UnknownSigner(signer));
        }
        Ok(Self { hash: record.hash(), body })
    }
}

/// `<fingerprint> <canonical padded standard base64 of 64 bytes>`, and nothing else.
fn parse_header(header: &str) -> Result<(Fingerprint, Signature), Void> {
    let (signer, signature) = header.split_once(' ').ok_or(Void::Header)?;
    let signer = signer.parse().map_err(|_| Void::Header)?;
    let signature = BASE64.decode(signature.as_bytes()).map_err(|_| Void::Header)?;
    let signature: [u8; 64] = signature.try_into().map_err(|_| Void::Header)?;
    Ok((signer, Signature::from_bytes(&signature)))
}

/// The header that [`parse_header`] reads.
pub(crate) fn header(signer: Fingerprint, signature: &Signature) -> String {
    format!("{signer} {}", BASE64.encode(&signature.to_bytes()))
}
