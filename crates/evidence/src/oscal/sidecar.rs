//! A signature beside a document, as `trestle verify` of compliance-trestle takes it: a DSSE envelope over an in-toto
//! Statement (v1) that names the file and the SHA-256 of its RFC 8785 canonical form.

use std::fmt::Write as _;

use model::dsse::{self, Envelope, Signature};
use model::text::Base64;
use model::{Digest, Fingerprint};
use serde_json::json;

/// What is signed is an in-toto Statement.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://oscal-compass.github.io/compliance-trestle/predicates/oscal-signing/v1";

/// What comes before an Ed25519 key in SubjectPublicKeyInfo (RFC 8410).
const SPKI_ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The file name of a document's sidecar.
pub fn sidecar_name(name: &str) -> String {
    format!("{}.dsse.json", name.trim_end_matches(".json"))
}

/// What is signed of a document of this name and digest: the statement.
pub fn statement(name: &str, digest: Digest) -> Vec<u8> {
    let mut statement = json!({
        "_type": STATEMENT,
        "subject": [{ "name": name, "digest": { "sha256": digest } }],
        "predicateType": PREDICATE,
        "predicate": {
            "canonicalization": "RFC8785",
            "digestAlgorithm": "sha256",
            "digestSource": "canonical-json",
            "tool": "keylatch",
        },
    });
    statement.sort_all_objects();
    serde_json::to_vec(&statement).unwrap_or_default()
}

/// The bytes that an Ed25519 key signs for it.
pub fn to_sign(name: &str, digest: Digest) -> Vec<u8> {
    dsse::pae(PAYLOAD_TYPE, &statement(name, digest))
}

/// The sidecar: [`to_sign`] signed by this key.
pub fn sidecar(name: &str, digest: Digest, signer: Fingerprint, signature: &[u8; 64]) -> Vec<u8> {
    let envelope = Envelope {
        payload: Base64(statement(name, digest)),
        payload_type: PAYLOAD_TYPE.to_owned(),
        signatures: vec![Signature { keyid: signer.to_string(), sig: Base64(signature.to_vec()) }],
    };
    serde_json::to_vec(&envelope).unwrap_or_default()
}

/// An Ed25519 public key in PEM, as `trestle verify --public-key` and openssl read it.
pub fn public_key_pem(key: &[u8; 32]) -> String {
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    let _ = writeln!(pem, "{}", Base64([SPKI_ED25519.as_slice(), key].concat()));
    pem.push_str("-----END PUBLIC KEY-----\n");
    pem
}
