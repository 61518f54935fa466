//! Who acts: service roles, and the people and workloads known by their own SSH keys.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Digest, Fingerprint, Malformed};
use crate::key::Party;
use crate::text::{Base64, Name};

/// The part a service plays. A service key may sign only the event types of its role ([`crate::EventType::signers`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceRole {
    /// Has keys generated and records them.
    Issuer,
    /// Requests, approvals, authorisation; people and policy.
    Approver,
    /// Activates what is authorised; suspends, resumes, deactivates, destroys.
    Activator,
    /// Turns the passing of time into events.
    Expirer,
    /// Keeps the archive; checkpoints, history, evidence.
    EvidenceExporter,
    /// Holds the key material.
    Custodian,
    /// Creates tenants and brings newer authority statements into their chains.
    Registrar,
}

impl ServiceRole {
    /// Every role, in the order of the life of a key.
    pub const ALL: [Self; 7] = [
        Self::Issuer,
        Self::Approver,
        Self::Activator,
        Self::Expirer,
        Self::EvidenceExporter,
        Self::Custodian,
        Self::Registrar,
    ];

    /// The roles that run as services. The registrar is a tool's.
    pub const SERVICES: [Self; 6] =
        [Self::Issuer, Self::Approver, Self::Activator, Self::Expirer, Self::EvidenceExporter, Self::Custodian];

    /// The role as it stands in an event's `source`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Approver => "approver",
            Self::Activator => "activator",
            Self::Expirer => "expirer",
            Self::EvidenceExporter => "evidence-exporter",
            Self::Custodian => "custodian",
            Self::Registrar => "registrar",
        }
    }
}

impl fmt::Display for ServiceRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ServiceRole {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wanted = "a service role: issuer, approver, activator, expirer, evidence-exporter, custodian or registrar";
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| Malformed::new(text, wanted))
    }
}

/// A role that a tenant's policy gives to people and workloads, such as `security-officer`. `admin` is the one with a
/// meaning of its own: an admin quorum enrols people and adopts policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Role(pub Name);

impl Role {
    /// The role whose quorum governs the tenant.
    pub const ADMIN: &'static str = "admin";

    /// Whether this is the governing role.
    pub fn is_admin(&self) -> bool {
        self.0.as_str() == Self::ADMIN
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Role {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        text.parse().map(Self)
    }
}

/// The kinds of SSH public key that can sign a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// `ssh-ed25519`.
    Ed25519,
    /// `sk-ssh-ed25519@openssh.com`: Ed25519 on a FIDO token.
    SkEd25519,
    /// `ecdsa-sha2-nistp256`.
    EcdsaP256,
    /// `sk-ecdsa-sha2-nistp256@openssh.com`: P-256 on a FIDO token; also signs as a passkey in a browser.
    SkEcdsaP256,
}

impl KeyType {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Ed25519, Self::SkEd25519, Self::EcdsaP256, Self::SkEcdsaP256];

    /// The SSH algorithm name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::SkEd25519 => "sk-ssh-ed25519@openssh.com",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::SkEcdsaP256 => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }
}

/// An SSH public key, as one line of OpenSSH text (`ssh-ed25519 AAAA…`); from what people type, a comment is dropped.
///
/// Held as bytes. That they are a point on the curve is found out when a signature is checked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^(ssh-ed25519|sk-ssh-ed25519@openssh\\.com|ecdsa-sha2-nistp256|sk-ecdsa-sha2-nistp256@openssh\\.com) [A-Za-z0-9+/=]+$"))]
pub struct PublicKey {
    key_type: KeyType,
    blob: Vec<u8>,
}

impl PublicKey {
    /// The plain Ed25519 key with these 32 bytes.
    pub fn ed25519(key: &[u8; 32]) -> Self {
        let mut blob = Vec::with_capacity(51);
        for part in [KeyType::Ed25519.name().as_bytes(), key] {
            blob.extend_from_slice(&u32::try_from(part.len()).unwrap_or_default().to_be_bytes());
            blob.extend_from_slice(part);
        }
        Self { key_type: KeyType::Ed25519, blob }
    }

    /// The key with this SSH wire encoding (RFC 4253 section 6.6, RFC 5656 section 3.1, OpenSSH `PROTOCOL.u2f`); `None`
    /// where its algorithm can't sign commands, or where OpenSSH would not read it: a key has one encoding.
    pub fn from_blob(blob: &[u8]) -> Option<Self> {
        let Parts { key_type, .. } = Parts::read(blob)?;
        Some(Self { key_type, blob: blob.to_vec() })
    }

    /// Its kind.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The SSH wire encoding.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The point on the curve: 32 bytes (Ed25519), or 65 (P-256, uncompressed). The same for a plain key and for one that
    /// is said to be on a token.
    pub fn point(&self) -> &[u8] {
        Parts::read(&self.blob).map_or(&[], |parts| parts.point)
    }

    /// The application that a token's key is for; empty for a plain key.
    pub fn application(&self) -> &[u8] {
        Parts::read(&self.blob).map_or(&[], |parts| parts.application)
    }

    /// The 32 bytes, where it is a plain Ed25519 key.
    pub fn as_ed25519(&self) -> Option<[u8; 32]> {
        (self.key_type == KeyType::Ed25519).then(|| self.point().try_into().ok()).flatten()
    }

    /// Its fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_blob(&self.blob)
    }
}

/// What a blob consists of.
struct Parts<'a> {
    key_type: KeyType,
    point: &'a [u8],
    application: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(blob: &'a [u8]) -> Option<Self> {
        let (name, rest) = ssh_string(blob)?;
        let key_type = KeyType::ALL.into_iter().find(|key_type| key_type.name().as_bytes() == name)?;
        let (point, rest) = match key_type {
            KeyType::Ed25519 | KeyType::SkEd25519 => ssh_string(rest).filter(|(point, _)| point.len() == 32)?,
            KeyType::EcdsaP256 | KeyType::SkEcdsaP256 => {
                let (_, rest) = ssh_string(rest).filter(|(curve, _)| *curve == b"nistp256")?;
                ssh_string(rest).filter(|(point, _)| point.len() == 65 && point.first() == Some(&4))?
            }
        };
        let (application, rest) = match key_type {
            KeyType::Ed25519 | KeyType::EcdsaP256 => (&[][..], rest),
            KeyType::SkEd25519 | KeyType::SkEcdsaP256 => {
                ssh_string(rest).filter(|(text, _)| std::str::from_utf8(text).is_ok_and(|text| !text.contains('\0')))?
            }
        };
        rest.is_empty().then_some(Self { key_type, point, application })
    }
}

/// The first string of SSH wire encoding (RFC 4251 section 5), and the rest.
fn ssh_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

impl FromStr for PublicKey {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wanted = "an SSH public key that can sign here: ssh-ed25519, ecdsa-sha2-nistp256 or one of their sk- forms";
        let mut words = text.split_ascii_whitespace();
        let (name, base64) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        BASE64_STANDARD
            .decode(base64)
            .ok()
            .and_then(|blob| Self::from_blob(&blob))
            .filter(|key| key.key_type.name() == name)
            .ok_or_else(|| Malformed::new(text, wanted))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key_type.name(), BASE64_STANDARD.encode(&self.blob))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fingerprint())
    }
}

impl TryFrom<String> for PublicKey {
    type Error = Malformed;

    /// In JSON there is one form: two words, and no comment.
    fn try_from(text: String) -> Result<Self, Malformed> {
        let key: Self = text.parse()?;
        if key.to_string() == text { Ok(key) } else { Err(Malformed::new(&text, "an SSH public key without comment")) }
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}

/// An X25519 public key (RFC 7748) to which a principal's shares of sealed keys are sealed. 32 bytes, in the one form that
/// the number has, and none of those that every private key leads to the same secret with: what is sealed to it can be
/// opened by who has its private half, and by nobody else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("contentEncoding" = "base64"))]
pub struct SealingKey([u8; 32]);

/// The points of order 8 and less, as far as they have a canonical form (RFC 7748, section 6.1 and 7).
const LOW_ORDER: [[u8; 32]; 5] = {
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    [
        [0; 32],
        one,
        minus_one,
        [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
            0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
        ],
        [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
            0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
        ],
    ]
};

impl SealingKey {
    /// The key with these bytes; `None` where it is not reduced, or of low order.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = <[u8; 32]>::try_from(bytes).ok()?;
        let [first, middle @ .., last] = &bytes;
        // 2^255 - 19 and more, or with a bit that X25519 ignores.
        let reduced = *last < 0x7f || (*last == 0x7f && (*first < 0xed || middle.iter().any(|byte| *byte != 0xff)));
        (reduced && !LOW_ORDER.contains(&bytes)).then_some(Self(bytes))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for SealingKey {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let bytes: Base64 = text.parse()?;
        Self::from_bytes(&bytes.0).ok_or_else(|| Malformed::new(text, "an X25519 public key that can be sealed to"))
    }
}

impl fmt::Display for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl TryFrom<String> for SealingKey {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<SealingKey> for String {
    fn from(key: SealingKey) -> String {
        key.to_string()
    }
}

/// What stands behind a principal's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PrincipalKind {
    /// A human being: may hold every role, and has one vote whatever roles and keys.
    Person,
    /// A program: may use keys and follow events, never approve.
    Workload,
}

/// A person or workload of a tenant, known by its public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// The key that signs its commands.
    pub key: PublicKey,
    /// The label people see. The tenant's choice; no personal data.
    pub label: Name,
    /// Person or workload.
    pub kind: PrincipalKind,
    /// Who it is. Two keys of one human carry the same `person`, and then count as one voter.
    pub person: Name,
    /// The roles it holds.
    pub roles: BTreeSet<Role>,
    /// HMAC-SHA-256 of the identity provider's issuer and subject under a key that the tenant keeps off the log: the same
    /// for every key of one human, so that two labels can't be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
    /// The party of the AI supply chain that it acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<Party>,
}

impl Principal {
    /// Somebody of whom no more is said.
    pub fn new(key: PublicKey, label: Name, kind: PrincipalKind, person: Name, roles: BTreeSet<Role>) -> Self {
        Self { key, label, kind, person, roles, subject: None, party: None }
    }

    /// Its key's fingerprint, by which everything else names it.
    pub fn fingerprint(&self) -> Fingerprint {
        self.key.fingerprint()
    }

    /// Whether it says anything that rules epoch 1 does not know.
    pub fn is_beyond_v1(&self) -> bool {
        self.subject.is_some() || self.party.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKf236+POLibqM5km1lPkeTQH9xX+clJPfQ7XlCpmHNn";

    #[test]
    fn a_public_key_has_the_fingerprint_that_openssh_prints() {
        let key: PublicKey = format!("{ALICE} alice").parse().unwrap();
        assert_eq!(key.to_string(), ALICE);
        assert_eq!(key.fingerprint().to_string(), "SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w");
        assert_eq!(PublicKey::ed25519(&key.as_ed25519().unwrap()), key);
    }

    #[test]
    fn in_json_a_public_key_has_one_form() {
        let read = |text: &str| serde_json::from_value::<PublicKey>(text.into()).is_ok();
        assert!(read(ALICE));
        for other in [format!("{ALICE} alice"), format!(" {ALICE}"), ALICE.replace(' ', "\t")] {
            assert!(!read(&other), "{other}");
        }
    }

    /// Each key has one blob, and so one fingerprint.
    #[test]
    fn rejects_blobs_that_openssh_would_not_read() {
        let string = |part: &[u8]| [&u32::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat();
        let blob = |parts: &[&[u8]]| parts.iter().flat_map(|part| string(part)).collect::<Vec<u8>>();
        let (p256, compressed) = ([[4].as_slice(), &[7; 64]].concat(), [[2].as_slice(), &[7; 32]].concat());
        for good in [
            blob(&[b"ssh-ed25519", &[7; 32]]),
            blob(&[b"sk-ssh-ed25519@openssh.com", &[7; 32], b"ssh:"]),
            blob(&[b"ecdsa-sha2-nistp256", b"nistp256", &p256]),
            blob(&[b"sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", &p256, b"ssh:"]),
        ] {
            assert!(PublicKey::from_blob(&good).is_some());
            assert!(PublicKey::from_blob(&[good.as_slice(), &[0]].concat()).is_none(), "something follows");
            assert!(PublicKey::from_blob(&good[..good.len() - 1]).is_none(), "something is missing");
        }
        let mut longer = blob(&[b"ssh-ed25519", &[7; 32]]);
        longer[15] = 1;
        for bad in [
            longer,
            blob(&[b"ssh-ed25519", &[7; 31]]),
            blob(&[b"sk-ssh-ed25519@openssh.com", &[7; 32]]),
            blob(&[b"sk-ssh-ed25519@openssh.com", &[7; 32], b"ssh:\xff"]),
            blob(&[b"ecdsa-sha2-nistp256", b"nistp256", &compressed]),
            blob(&[b"ecdsa-sha2-nistp256", b"nistp384", &p256]),
            blob(&[b"ssh-rsa", &[7; 32]]),
        ] {
            assert!(PublicKey::from_blob(&bad).is_none());
        }
    }

    #[test]
    fn rejects_sealing_keys_that_anybody_could_open_or_that_have_another_form() {
        let mut good = [7; 32];
        assert_eq!(SealingKey::from_bytes(&good).unwrap().as_bytes(), &good);
        good[31] |= 0x80;
        let (mut p, mut biggest) = ([0xff; 32], [0xff; 32]);
        (p[0], p[31]) = (0xed, 0x7f);
        biggest[31] = 0x7f;
        for bad in LOW_ORDER.into_iter().chain([good, p, biggest, [0xff; 32]]) {
            assert_eq!(SealingKey::from_bytes(&bad), None, "{bad:02x?}");
        }
        for short in [&[][..], &[7; 31], &[7; 33]] {
            assert_eq!(SealingKey::from_bytes(short), None);
        }
        let key = SealingKey::from_bytes(&[7; 32]).unwrap();
        assert_eq!(serde_json::from_value::<SealingKey>(serde_json::json!(key)).unwrap(), key);
    }

    #[test]
    fn rejects_keys_that_cannot_sign_commands() {
        for bad in ["", "ssh-ed25519", "ssh-rsa AAAAB3NzaC1yc2E=", &ALICE.replace("ssh-ed25519", "ecdsa-sha2-nistp256")]
        {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
        }
    }
}
