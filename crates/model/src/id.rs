//! Identifiers. Each kind is a type of its own, so that one can't be passed for another.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Text that is not what it was taken for: which kind was wanted, and what a right one looks like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not {wanted}")]
pub struct Malformed {
    /// The text as given, cut to 80 characters.
    pub given: String,
    /// The kind that was wanted, with its form.
    pub wanted: &'static str,
}

impl Malformed {
    pub(crate) fn new(given: &str, wanted: &'static str) -> Self {
        Self { given: given.chars().take(80).collect(), wanted }
    }
}

// === UUIDs ===

/// Defines an identifier that is a UUIDv7 (RFC 9562), written in lower case with hyphens.
macro_rules! uuid_v7 {
    ($(#[$doc:meta])* $name:ident, $wanted:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String", extend("format" = "uuid"))]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// Wraps a UUID; `None` unless it is a version 7 one.
            pub fn from_uuid(uuid: uuid::Uuid) -> Option<Self> {
                let rfc = uuid.get_variant() == uuid::Variant::RFC4122;
                (rfc && uuid.get_version_num() == 7).then_some(Self(uuid))
            }

            /// The sixteen bytes.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// Reads the sixteen bytes back; `None` unless they are a version 7 UUID.
            pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
                Self::from_uuid(uuid::Uuid::from_bytes(bytes))
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                let wanted = concat!($wanted, ": a UUIDv7 in lower case with hyphens");
                uuid::Uuid::try_parse(text)
                    .ok()
                    .filter(|uuid| uuid.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()) == text)
                    .and_then(Self::from_uuid)
                    .ok_or_else(|| Malformed::new(text, wanted))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Malformed;

            fn try_from(text: String) -> Result<Self, Malformed> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

uuid_v7!(
    /// A key (of either kind: a secret key, or a key pair, which moves as one).
    KeyId,
    "a key id"
);
uuid_v7!(
    /// A command. The same id with the same bytes gives the same answer; with other bytes it is refused.
    CommandId,
    "a command id"
);
uuid_v7!(
    /// An event's CloudEvents `id`. Nothing refers to it: the event hash is what links and proofs use.
    EventId,
    "an event id"
);

// === Tenant ===

/// A tenant: the public key of its NATS account, 56 characters beginning with `A` (base32 of prefix, key, checksum).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^A[A-Z2-7]{55}$"))]
pub struct TenantId([u8; 32]);

impl TenantId {
    const PREFIX_ACCOUNT: u8 = 0;

    /// The account's raw Ed25519 public key, which also serves as the tenant's prefix in stores.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The tenant with this raw public key.
    pub fn from_bytes(key: [u8; 32]) -> Self {
        Self(key)
    }
}

/// CRC-16/XMODEM, the checksum of NATS nkeys.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 },
        )
    })
}

impl FromStr for TenantId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed =
            || Malformed::new(text, "a tenant id: a NATS account public key, 56 characters beginning with `A`");
        let raw = data_encoding::BASE32_NOPAD.decode(text.as_bytes()).map_err(|_| malformed())?;
        let raw: [u8; 35] = raw.try_into().map_err(|_| malformed())?;
        let [Self::PREFIX_ACCOUNT, body @ .., low, high] = raw else { return Err(malformed()) };
        let checked: [u8; 33] = std::array::from_fn(|i| raw.get(i).copied().unwrap_or_default());
        if crc16(&checked) != u16::from_le_bytes([low, high]) {
            return Err(malformed());
        }
        Ok(Self(body))
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut raw = Vec::with_capacity(35);
        raw.push(Self::PREFIX_ACCOUNT);
        raw.extend_from_slice(&self.0);
        let checksum = crc16(&raw);
        raw.extend_from_slice(&checksum.to_le_bytes());
        f.write_str(&data_encoding::BASE32_NOPAD.encode(&raw))
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for TenantId {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> String {
        id.to_string()
    }
}

// === Digests ===

/// Defines a SHA-256 value that is written as 64 lower-case hex digits.
macro_rules! hex_digest {
    ($(#[$doc:meta])* $name:ident, $wanted:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String", extend("pattern" = "^[0-9a-f]{64}$"))]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps a digest.
            pub const fn new(digest: [u8; 32]) -> Self {
                Self(digest)
            }

            /// The digest.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first eight hex digits, for people; never for comparison.
            pub fn short(&self) -> String {
                data_encoding::HEXLOWER.encode(&self.0).chars().take(8).collect()
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                data_encoding::HEXLOWER
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or_else(|| Malformed::new(text, concat!($wanted, ": 64 lower-case hex digits")))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Malformed;

            fn try_from(text: String) -> Result<Self, Malformed> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(digest: $name) -> String {
                digest.to_string()
            }
        }
    };
}

hex_digest!(
    /// The hash of an event: chain link, RFC 6962 leaf hash and message id at once.
    EventHash,
    "an event hash"
);
hex_digest!(
    /// The SHA-256 of some bytes that are not an event: a command's payload, a manifest's root, a file.
    Digest,
    "a SHA-256 digest"
);

impl EventHash {
    /// The `previous` of a tenant's first event.
    pub const ZERO: Self = Self([0; 32]);
}

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }
}

// === Fingerprint ===

/// The fingerprint of a public key: `SHA256:` and unpadded base64 of SHA-256 over the SSH key blob, as `ssh-keygen -l`
/// prints it. Root, registrar, services and principals are all known by theirs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^SHA256:[A-Za-z0-9+/]{43}$"))]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The fingerprint of the key with this SSH wire encoding.
    pub fn of_blob(blob: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(blob).into())
    }

    /// The digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        text.strip_prefix("SHA256:")
            .and_then(|digest| data_encoding::BASE64_NOPAD.decode(digest.as_bytes()).ok())
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| {
                Malformed::new(
                    text,
                    "a key fingerprint: `SHA256:` and 43 base64 characters, as ssh-keygen -l prints it",
                )
            })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", data_encoding::BASE64_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

// === Sequence ===

/// The place of an event in its tenant's chain, from 1. As text, 20 digits zero-padded (a CloudEvents integer has only
/// 32 bits). Zero stands for "before the first event".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[0-9]{20}$"))]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before the first event: the head of an empty chain.
    pub const NONE: Self = Self(0);

    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl FromStr for Sequence {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let digits = text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits
            .then(|| text.parse().ok().map(Self))
            .flatten()
            .ok_or_else(|| Malformed::new(text, "a sequence: 20 digits, zero-padded"))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}", self.0)
    }
}

impl TryFrom<String> for Sequence {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<Sequence> for String {
    fn from(sequence: Sequence) -> String {
        sequence.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "ADVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCZW22";

    #[track_caller]
    fn accepts<T: FromStr<Err = Malformed> + fmt::Display>(text: &str) {
        assert_eq!(text.parse::<T>().map(|id| id.to_string()), Ok(text.to_owned()));
    }

    #[track_caller]
    fn rejects<T: FromStr<Err = Malformed> + fmt::Display>(text: &str) {
        assert!(text.parse::<T>().is_err(), "took {text}");
    }

    #[test]
    fn ids_are_read_in_one_form_only() {
        accepts::<TenantId>(TENANT);
        rejects::<TenantId>(&TENANT.to_lowercase());
        rejects::<TenantId>(&TENANT.replace('W', "V"));
        rejects::<TenantId>(TENANT.strip_suffix("2").unwrap());
        rejects::<TenantId>(&format!("{TENANT}A"));
        rejects::<TenantId>("");

        accepts::<KeyId>("01930000-0000-7000-8000-000000000001");
        rejects::<KeyId>("01930000-0000-4000-8000-000000000001");
        rejects::<KeyId>("01930000-0000-7000-c000-000000000001");
        rejects::<KeyId>("01930000-0000-7000-8000-00000000000A");
        rejects::<KeyId>("01930000000070008000000000000001");
        rejects::<KeyId>("{01930000-0000-7000-8000-000000000001}");

        accepts::<EventHash>(&"0f".repeat(32));
        rejects::<EventHash>(&"0F".repeat(32));
        rejects::<EventHash>(&"0f".repeat(31));

        accepts::<Fingerprint>("SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w");
        rejects::<Fingerprint>("SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w=");
        rejects::<Fingerprint>("SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+x");
        rejects::<Fingerprint>("MD5:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w");

        accepts::<Sequence>("00000000000000000001");
        rejects::<Sequence>("1");
        rejects::<Sequence>("+0000000000000000001");
        rejects::<Sequence>("99999999999999999999");
    }
}
