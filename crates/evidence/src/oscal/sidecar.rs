//! A signature beside a document, as `trestle verify` of compliance-trestle takes it: a DSSE envelope over an in-toto
//! Statement (v1) that names the file and the SHA-256 of its RFC 8785 canonical form.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use journal::ServiceKey;
use model::text::Base64;
use model::{Digest, PublicKey};
use serde_json::{Value, json};

use super::{NAMES, path};
use crate::bundle::IN_TOTO;

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://oscal-compass.github.io/compliance-trestle/predicates/oscal-signing/v1";

/// What comes before an Ed25519 key in SubjectPublicKeyInfo (RFC 8410).
const SPKI_ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The file name of the key that the sidecars verify under.
const PUBLIC_KEY: &str = "exporter.pem";

/// The place in a bundle of a document's sidecar.
pub fn sidecar(name: &str) -> String {
    path(&format!("{}.dsse.json", name.trim_end_matches(".json")))
}

/// The place in a bundle of the key that the sidecars verify under, for other programs: it is nothing to go by for
/// whoever has the events.
pub fn public_key() -> String {
    path(PUBLIC_KEY)
}

/// The sidecars of all documents and the key that they verify under, each with its place in a bundle. `files` are the
/// digests of what is there.
pub fn sidecars(files: &BTreeMap<String, Digest>, key: &ServiceKey) -> Vec<(String, Vec<u8>)> {
    let signed = |name: &str| {
        let envelope = key.sign_statement(IN_TOTO, &statement(name, *files.get(&path(name))?));
        Some((sidecar(name), serde_json::to_vec(&envelope).unwrap_or_default()))
    };
    let key = (public_key(), pem(&key.public_key()).into_bytes());
    NAMES.into_iter().filter_map(signed).chain([key]).collect()
}

/// What is signed of a document of this name and digest.
pub(crate) fn statement(name: &str, digest: Digest) -> Value {
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
    statement
}

/// An Ed25519 public key in PEM, as `trestle verify --public-key` and openssl read it.
pub(crate) fn pem(key: &PublicKey) -> String {
    let der = [SPKI_ED25519.as_slice(), &key.as_ed25519().unwrap_or_default()].concat();
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    let _ = writeln!(pem, "{}", Base64(der));
    pem.push_str("-----END PUBLIC KEY-----\n");
    pem
}
