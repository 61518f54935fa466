//! Keys: what they are, what state they are in, whose duty they are.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Digest, KeyId, TenantId};
use crate::text::{Base64, Name, Text};

/// What a key computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// AES-256 in GCM (SP 800-38D): encrypt, decrypt, wrap and unwrap data keys.
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
    /// Ed25519 (RFC 8032), signing SHA-512 digests as Ed25519ph.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// ECDSA on P-256 (FIPS 186-5), signing SHA-256 digests.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// ECDSA on P-384 (FIPS 186-5), signing SHA-384 digests.
    #[serde(rename = "ecdsa-p384")]
    EcdsaP384,
    /// RSA of 3,072 bits, signing SHA-256 digests as RSASSA-PSS with a salt of 32 bytes (RFC 8017, 8.1).
    #[serde(rename = "rsa-3072-pss")]
    RsaPss3072,
    /// The same of 4,096 bits.
    #[serde(rename = "rsa-4096-pss")]
    RsaPss4096,
    /// RSA of 3,072 bits, wrapping and unwrapping data keys with RSAES-OAEP on SHA-256, its label empty (RFC 8017, 7.1). A
    /// key either signs or unwraps (SP 800-57 part 1, 5.2): so these are algorithms of their own.
    #[serde(rename = "rsa-3072-oaep")]
    RsaOaep3072,
    /// The same of 4,096 bits.
    #[serde(rename = "rsa-4096-oaep")]
    RsaOaep4096,
    /// ML-DSA-65 (FIPS 204), signing SHA-512 digests: the digest is the message, the context is empty.
    #[serde(rename = "ml-dsa-65")]
    MlDsa65,
    /// ML-KEM-768 (FIPS 203): wraps a data key by encapsulation, and unwraps it by decapsulation.
    #[serde(rename = "ml-kem-768")]
    MlKem768,
    /// Another one, which no policy allows and no store of Keylatch computes: of adopted keys alone.
    #[serde(rename = "other")]
    #[schemars(skip)]
    Other,
}

/// The form in which a public key of an algorithm stands in SubjectPublicKeyInfo (RFC 5280), in DER: what comes before its
/// bytes, how many these are, what comes after. Each algorithm has one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spki {
    /// What comes before.
    pub prefix: &'static [u8],
    /// How many bytes the key has: a point's coordinates, a modulus, a lattice key.
    pub bytes: usize,
    /// What comes after.
    pub suffix: &'static [u8],
}

impl Spki {
    /// The key's bytes in the DER; `None` where it is not of this form.
    pub fn strip<'a>(&self, der: &'a [u8]) -> Option<&'a [u8]> {
        let key = der.strip_prefix(self.prefix)?.strip_suffix(self.suffix)?;
        (key.len() == self.bytes).then_some(key)
    }

    /// The DER of a key of these bytes.
    pub fn around(&self, key: &[u8]) -> Vec<u8> {
        [self.prefix, key, self.suffix].concat()
    }
}

/// How many bytes of a block of zeros encrypted a check value has (PKCS #11 `CKA_CHECK_VALUE`).
pub const CHECK_VALUE_BYTES: usize = 3;

impl Algorithm {
    /// Every algorithm that a policy can allow.
    pub const ALL: [Self; 10] = [
        Self::Aes256Gcm,
        Self::Ed25519,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::RsaPss3072,
        Self::RsaPss4096,
        Self::RsaOaep3072,
        Self::RsaOaep4096,
        Self::MlDsa65,
        Self::MlKem768,
    ];
    /// Those that the first rules epochs have; the others came with epoch 4.
    pub const FIRST: [Self; 3] = [Self::Aes256Gcm, Self::Ed25519, Self::EcdsaP256];

    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::RsaPss3072 => "rsa-3072-pss",
            Self::RsaPss4096 => "rsa-4096-pss",
            Self::RsaOaep3072 => "rsa-3072-oaep",
            Self::RsaOaep4096 => "rsa-4096-oaep",
            Self::MlDsa65 => "ml-dsa-65",
            Self::MlKem768 => "ml-kem-768",
            Self::Other => "other",
        }
    }

    /// The algorithm of this name, or [`Self::Other`].
    pub fn of_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|known| known.name() == name).unwrap_or(Self::Other)
    }

    /// What its keys can do.
    pub fn operations(self) -> BTreeSet<Operation> {
        use Operation::{Decrypt, Encrypt, Sign, Unwrap, Verify, Wrap};
        match self {
            Self::Aes256Gcm => BTreeSet::from([Encrypt, Decrypt, Wrap, Unwrap]),
            Self::Ed25519 | Self::EcdsaP256 | Self::EcdsaP384 | Self::RsaPss3072 | Self::RsaPss4096 | Self::MlDsa65 => {
                BTreeSet::from([Sign, Verify])
            }
            Self::RsaOaep3072 | Self::RsaOaep4096 | Self::MlKem768 => BTreeSet::from([Wrap, Unwrap]),
            Self::Other => BTreeSet::new(),
        }
    }

    /// How many bytes the digest has that its keys sign; `None` where they sign nothing.
    pub fn digest_bytes(self) -> Option<usize> {
        match self {
            Self::EcdsaP256 | Self::RsaPss3072 | Self::RsaPss4096 => Some(32),
            Self::EcdsaP384 => Some(48),
            Self::Ed25519 | Self::MlDsa65 => Some(64),
            Self::Aes256Gcm | Self::RsaOaep3072 | Self::RsaOaep4096 | Self::MlKem768 | Self::Other => None,
        }
    }

    /// Whether rules epoch 3 does not know it.
    pub fn is_beyond_v3(self) -> bool {
        !Self::FIRST.contains(&self)
    }

    /// The form of its public keys: RFC 8410 (Ed25519), RFC 5480 (uncompressed points), RFC 3279 (RSA, exponent 65537),
    /// RFC 9881 (ML-DSA), RFC 9935 (ML-KEM). `None` where keys are secret keys.
    pub fn spki(self) -> Option<Spki> {
        let (prefix, bytes, suffix): (&[u8], usize, &[u8]) = match self {
            Self::Aes256Gcm | Self::Other => return None,
            Self::Ed25519 => (b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", 32, b""),
            Self::EcdsaP256 => (
                b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\
                  \x03\x42\x00\x04",
                64,
                b"",
            ),
            Self::EcdsaP384 => (
                b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00\x04",
                96,
                b"",
            ),
            Self::RsaPss3072 | Self::RsaOaep3072 => (
                b"\x30\x82\x01\xa2\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x8f\x00\
                  \x30\x82\x01\x8a\x02\x82\x01\x81\x00",
                384,
                EXPONENT_65537,
            ),
            Self::RsaPss4096 | Self::RsaOaep4096 => (
                b"\x30\x82\x02\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x02\x0f\x00\
                  \x30\x82\x02\x0a\x02\x82\x02\x01\x00",
                512,
                EXPONENT_65537,
            ),
            Self::MlDsa65 => {
                (b"\x30\x82\x07\xb2\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x12\x03\x82\x07\xa1\x00", 1952, b"")
            }
            Self::MlKem768 => {
                (b"\x30\x82\x04\xb2\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x04\x02\x03\x82\x04\xa1\x00", 1184, b"")
            }
        };
        Some(Spki { prefix, bytes, suffix })
    }
}

/// The end of an RSA public key in DER: the exponent.
const EXPONENT_65537: &[u8] = b"\x02\x03\x01\x00\x01";

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a key can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Encrypt up to 4 KiB.
    Encrypt,
    /// Decrypt what `encrypt` gave.
    Decrypt,
    /// Sign a digest.
    Sign,
    /// Verify a digest's signature.
    Verify,
    /// Wrap a new data key.
    Wrap,
    /// Unwrap a data key.
    Unwrap,
}

impl Operation {
    /// Its name in documents and subjects.
    pub fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::Wrap => "wrap",
            Self::Unwrap => "unwrap",
        }
    }

    /// Whether it only undoes or checks what was done while the key was active. A deactivated key may still do these
    /// where policy says so (SP 800-57 part 1, 7.4), never the others.
    pub fn processes_only(self) -> bool {
        matches!(self, Self::Decrypt | Self::Verify | Self::Unwrap)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The states of NIST SP 800-57 part 1, section 7, and KMIP's destroyed-compromised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Generated, not authorised for use.
    PreActive,
    /// Usable.
    Active,
    /// Use halted for the time being.
    Suspended,
    /// Use has ended; may still process old data where policy says so.
    Deactivated,
    /// Known or suspected by others.
    Compromised,
    /// Gone.
    Destroyed,
    /// Gone, and found to have been compromised.
    DestroyedCompromised,
}

impl KeyState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::PreActive,
        Self::Active,
        Self::Suspended,
        Self::Deactivated,
        Self::Compromised,
        Self::Destroyed,
        Self::DestroyedCompromised,
    ];

    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::PreActive => "pre-active",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deactivated => "deactivated",
            Self::Compromised => "compromised",
            Self::Destroyed => "destroyed",
            Self::DestroyedCompromised => "destroyed-compromised",
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// By what a key is recognised without being seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyIdentity {
    /// A key pair: its public half, as SubjectPublicKeyInfo in DER (RFC 5280).
    PublicKey(Base64),
    /// A secret key: its check value, the first three bytes of a block of zeros encrypted (PKCS #11 `CKA_CHECK_VALUE`).
    CheckValue(Base64),
    /// An adopted key pair: the SHA-256 of its public half, as SubjectPublicKeyInfo in DER.
    PublicKeyDigest(Digest),
    /// An adopted key that shows nothing by which it could be recognised.
    Unknown,
}

impl KeyIdentity {
    /// Three bytes that stand for it: the check value, or the first of the fingerprint of the public key.
    pub fn check_value(&self) -> [u8; CHECK_VALUE_BYTES] {
        let digest;
        let bytes = match self {
            Self::CheckValue(value) => value.0.as_slice(),
            Self::PublicKey(der) => {
                digest = crate::Digest::of(&der.0);
                digest.as_bytes()
            }
            Self::PublicKeyDigest(digest) => digest.as_bytes(),
            Self::Unknown => &[],
        };
        bytes.first_chunk().copied().unwrap_or_default()
    }

    /// Whether it has the form that keys of this algorithm have.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        match (self, algorithm.spki()) {
            (Self::CheckValue(value), None) if algorithm != Algorithm::Other => value.0.len() == CHECK_VALUE_BYTES,
            (Self::PublicKey(der), Some(spki)) => spki.strip(&der.0).is_some(),
            _ => false,
        }
    }
}

impl fmt::Display for KeyIdentity {
    /// `spki:` and the SHA-256 of the public key, or `kcv:` and six hex digits, or `-`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PublicKey(der) => write!(f, "spki:{}", crate::Digest::of(&der.0)),
            Self::CheckValue(value) => write!(f, "kcv:{}", data_encoding::HEXLOWER.encode(&value.0)),
            Self::PublicKeyDigest(digest) => write!(f, "spki:{digest}"),
            Self::Unknown => f.write_str("-"),
        }
    }
}

/// The layer a key belongs to, which says whose duty it is along the AI supply chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Responsibility {
    /// Physical infrastructure and its platform: the cloud service provider's.
    Infrastructure,
    /// The model: the model provider's.
    Model,
    /// Orchestration: shared by cloud and model provider.
    Orchestrated,
    /// The application: the application provider's.
    Application,
}

impl Responsibility {
    /// Every layer.
    pub const ALL: [Self; 4] = [Self::Infrastructure, Self::Model, Self::Orchestrated, Self::Application];

    /// The layer's name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Infrastructure => "infrastructure",
            Self::Model => "model",
            Self::Orchestrated => "orchestrated",
            Self::Application => "application",
        }
    }
}

/// A party of the AI supply chain, as one that people act for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Party {
    /// The cloud service provider.
    Csp,
    /// The model provider.
    Mp,
    /// The application provider.
    Ap,
}

impl Party {
    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csp => "csp",
            Self::Mp => "mp",
            Self::Ap => "ap",
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Responsibility {
    /// The parties whose duty a key of this layer is.
    pub fn parties(self) -> &'static [Party] {
        match self {
            Self::Infrastructure => &[Party::Csp],
            Self::Model => &[Party::Mp],
            Self::Orchestrated => &[Party::Csp, Party::Mp],
            Self::Application => &[Party::Ap],
        }
    }
}

impl fmt::Display for Responsibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which party of the AI supply chain a tenant is (AICM control ownership).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TenantClass {
    /// Cloud service provider.
    Csp,
    /// Model provider.
    Mp,
    /// Application provider.
    Ap,
    /// Cloud service and model provider in one.
    SharedCspMp,
}

/// What a key is for: written when it is generated and never changed. Policy rules match on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeySpec {
    /// The label people see.
    pub label: Name,
    /// What it computes.
    pub algorithm: Algorithm,
    /// The kind of work, such as `model-storage`, `inference-protection`, `prompt-handling`, `general`.
    pub workload: Name,
    /// The layer it belongs to.
    pub responsibility: Responsibility,
    /// Where its data lives in law, such as `EU`.
    pub jurisdiction: Name,
    /// How sensitive its data is, such as `secret`.
    pub classification: Name,
    /// Such as `production`.
    pub environment: Name,
    /// The key store that is to hold it, such as `software`.
    pub backend: Name,
    /// What it protects, in words: a model and its digest, an endpoint, a database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<Text>,
    /// The digest of the model that it protects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_digest: Option<Digest>,
    /// The endpoint that it protects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Text>,
    /// Who answers for it: a label, no personal data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Name>,
    /// What it may be used for (KMIP Cryptographic Usage Mask). Left out, all that its algorithm does.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub usage: BTreeSet<Operation>,
    /// Its attributes, where they are not the plain ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
    /// The key that wraps it, which must be active before it can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapped_by: Option<Parent>,
    /// For a key that wraps: the session keys under it, in words. They inherit its authorisation, and need none of their
    /// own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherited_scope: Option<Text>,
}

/// A key's attributes (CCM CEK-15: activation data, instance, deletion ability, rollover).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// Whether it may leave its store, wrapped.
    pub exportable: bool,
    /// Whether people may have it destroyed. One that expires is destroyed all the same.
    pub deletable: bool,
    /// The key whose place it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<KeyId>,
    /// Which of several alike it is, such as `eu-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Name>,
}

impl Default for Attributes {
    fn default() -> Self {
        Self { exportable: false, deletable: true, replaces: None, instance: None }
    }
}

/// The key that wraps another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// The tenant that has it, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The key.
    pub key_id: KeyId,
}

/// What rules match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits<'a> {
    /// What it computes.
    pub algorithm: Algorithm,
    /// The kind of work.
    pub workload: &'a Name,
    /// The layer it belongs to.
    pub responsibility: Responsibility,
    /// Where its data lives in law.
    pub jurisdiction: &'a Name,
    /// How sensitive its data is.
    pub classification: &'a Name,
    /// Such as `production`.
    pub environment: &'a Name,
    /// The key store.
    pub backend: &'a Name,
}

impl KeySpec {
    /// Kinds of work that are an AI model's own. Such keys name the asset that they protect.
    pub const AI_WORKLOADS: [&'static str; 3] = ["model-storage", "inference-protection", "prompt-handling"];

    /// A key of this kind that says no more of itself.
    pub fn new(label: Name, of: Template) -> Self {
        let Template { algorithm, workload, responsibility, jurisdiction, classification, environment, backend } = of;
        Self {
            label,
            algorithm,
            workload,
            responsibility,
            jurisdiction,
            classification,
            environment,
            backend,
            asset: None,
            model_digest: None,
            endpoint: None,
            owner: None,
            usage: BTreeSet::new(),
            attributes: None,
            wrapped_by: None,
            inherited_scope: None,
        }
    }

    /// What rules match on.
    pub fn traits(&self) -> Traits<'_> {
        Traits {
            algorithm: self.algorithm,
            workload: &self.workload,
            responsibility: self.responsibility,
            jurisdiction: &self.jurisdiction,
            classification: &self.classification,
            environment: &self.environment,
            backend: &self.backend,
        }
    }

    /// What it may be used for.
    pub fn operations(&self) -> BTreeSet<Operation> {
        if self.usage.is_empty() { self.algorithm.operations() } else { self.usage.clone() }
    }

    /// The key whose place it takes.
    pub fn replaces(&self) -> Option<KeyId> {
        self.attributes.as_ref().and_then(|attributes| attributes.replaces)
    }

    /// The key of the same tenant that wraps it.
    pub fn parent_here(&self) -> Option<KeyId> {
        self.wrapped_by.filter(|parent| parent.tenant.is_none()).map(|parent| parent.key_id)
    }

    /// Whether it protects an AI model: by its layer or its kind of work.
    pub fn is_for_ai(&self) -> bool {
        matches!(self.responsibility, Responsibility::Model | Responsibility::Orchestrated)
            || Self::AI_WORKLOADS.contains(&self.workload.as_str())
    }

    /// Whether it says anything that rules epoch 1 does not know.
    pub fn is_beyond_v1(&self) -> bool {
        self.model_digest.is_some()
            || self.endpoint.is_some()
            || self.owner.is_some()
            || !self.usage.is_empty()
            || self.attributes.is_some()
            || self.wrapped_by.is_some()
            || self.inherited_scope.is_some()
    }
}

/// What keys must have in common that are activated under one request: by it, people know what they sign for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// What they compute.
    pub algorithm: Algorithm,
    /// The kind of work.
    pub workload: Name,
    /// The layer they belong to.
    pub responsibility: Responsibility,
    /// Where their data lives in law.
    pub jurisdiction: Name,
    /// How sensitive their data is.
    pub classification: Name,
    /// Such as `production`.
    pub environment: Name,
    /// The key store.
    pub backend: Name,
}

impl Template {
    /// What rules match on.
    pub fn traits(&self) -> Traits<'_> {
        Traits {
            algorithm: self.algorithm,
            workload: &self.workload,
            responsibility: self.responsibility,
            jurisdiction: &self.jurisdiction,
            classification: &self.classification,
            environment: &self.environment,
            backend: &self.backend,
        }
    }

    /// The template that a key is an instance of.
    pub fn of(key: &KeySpec) -> Self {
        Self {
            algorithm: key.algorithm,
            workload: key.workload.clone(),
            responsibility: key.responsibility,
            jurisdiction: key.jurisdiction.clone(),
            classification: key.classification.clone(),
            environment: key.environment.clone(),
            backend: key.backend.clone(),
        }
    }
}

/// What keys that are adopted together have in common, beside their store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Common {
    /// The kind of work.
    pub workload: Name,
    /// The layer they belong to.
    pub responsibility: Responsibility,
    /// Where their data lives in law.
    pub jurisdiction: Name,
    /// How sensitive their data is.
    pub classification: Name,
    /// Such as `production`.
    pub environment: Name,
    /// What they protect, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<Text>,
}

impl Common {
    /// With what is each key's own.
    pub fn template(&self, algorithm: Algorithm, backend: Name) -> Template {
        let Self { workload, responsibility, jurisdiction, classification, environment, asset: _ } = self.clone();
        Template { algorithm, workload, responsibility, jurisdiction, classification, environment, backend }
    }
}

/// Why something is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// The kind of reason.
    pub kind: ReasonKind,
    /// In words.
    pub text: Text,
}

/// The kinds of reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReasonKind {
    /// A new service or system.
    NewService,
    /// A planned successor of another key.
    Rotation,
    /// Moving between systems or stores.
    Migration,
    /// Bringing something back after a failure.
    Recovery,
    /// Planned work.
    Maintenance,
    /// Something is being looked into.
    Investigation,
    /// A security incident.
    Incident,
    /// The key is or may be known to others.
    KeyCompromise,
    /// Another key has taken over.
    Superseded,
    /// Nothing needs it any more.
    CessationOfOperation,
    /// A court or an authority said so.
    LegalOrder,
    /// The request is wrong or incomplete.
    Unjustified,
    /// Trying things out.
    Test,
}

impl ReasonKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::NewService,
        Self::Rotation,
        Self::Migration,
        Self::Recovery,
        Self::Maintenance,
        Self::Investigation,
        Self::Incident,
        Self::KeyCompromise,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::LegalOrder,
        Self::Unjustified,
        Self::Test,
    ];

    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::NewService => "new-service",
            Self::Rotation => "rotation",
            Self::Migration => "migration",
            Self::Recovery => "recovery",
            Self::Maintenance => "maintenance",
            Self::Investigation => "investigation",
            Self::Incident => "incident",
            Self::KeyCompromise => "key-compromise",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::LegalOrder => "legal-order",
            Self::Unjustified => "unjustified",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for ReasonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_sentences_are_those_in_documents() {
        for kind in ReasonKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
        }
        for operation in Algorithm::ALL.into_iter().flat_map(Algorithm::operations) {
            assert_eq!(serde_json::to_value(operation).unwrap(), operation.to_string());
        }
    }
}
