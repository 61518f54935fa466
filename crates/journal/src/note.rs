//! Checkpoints: C2SP tlog-checkpoint texts as C2SP signed notes, by the evidence-exporter's Ed25519 key.

use data_encoding::BASE64;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use model::TenantId;
use sha2::{Digest as _, Sha256};

use crate::merkle::{Frontier, Hash};

/// The signature type of a plain Ed25519 note signature.
const ED25519: u8 = 0x01;

/// What a checkpoint commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log: `keylatch.dev/<T>`.
    pub origin: String,
    /// How many events.
    pub size: u64,
    /// The RFC 6962 root over their hashes.
    pub root: Hash,
}

impl Checkpoint {
    /// The checkpoint of a tenant's tree as it stands.
    pub fn of(tenant: TenantId, tree: &Frontier) -> Self {
        Self { origin: origin(tenant), size: tree.size(), root: tree.root() }
    }

    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(&self.root))
    }

    /// The signed note.
    pub fn sign(&self, key: &SigningKey) -> String {
        use ed25519_dalek::Signer as _;
        let text = self.text();
        let mut blob = key_hash(&self.origin, &key.verifying_key()).to_vec();
        blob.extend_from_slice(&key.sign(text.as_bytes()).to_bytes());
        format!("{text}\n\u{2014} {} {}\n", self.origin, BASE64.encode(&blob))
    }

    /// Reads a note that `key` signed. `None` where the text is not a checkpoint, or the signature is missing or false.
    pub fn open(note: &str, key: &VerifyingKey) -> Option<Self> {
        let (text, signatures) = note.split_once("\n\n").map(|(text, rest)| (format!("{text}\n"), rest))?;
        let checkpoint = Self::parse(&text)?;
        let wanted = key_hash(&checkpoint.origin, key);
        let blob = signatures.lines().find_map(|line| {
            let (name, base64) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
            let blob = BASE64.decode(base64.as_bytes()).ok()?;
            (name == checkpoint.origin && blob.starts_with(&wanted)).then_some(blob)
        })?;
        let signature = Signature::from_slice(blob.get(4..)?).ok()?;
        key.verify_strict(text.as_bytes(), &signature).ok()?;
        Some(checkpoint)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let canonical_size = size.parse::<u64>().ok().filter(|number| number.to_string() == size)?;
        let root = BASE64.decode(root.as_bytes()).ok()?.try_into().ok()?;
        (!origin.is_empty()).then(|| Self { origin: origin.to_owned(), size: canonical_size, root })
    }
}

/// The origin of a tenant's log, which is also its key's name.
pub fn origin(tenant: TenantId) -> String {
    format!("keylatch.dev/{tenant}")
}

/// The first four bytes of SHA-256 over name, line feed, type and key.
fn key_hash(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let hash = Sha256::new().chain_update(name).chain_update([b'\n', ED25519]).chain_update(key.as_bytes()).finalize();
    std::array::from_fn(|i| hash.get(i).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with the test seed 00..1f and checked against an independent implementation.
    const NOTE: &str = "keylatch.example/tenant/acme\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n\n\u{2014} keylatch.example/tenant/acme xhGB0QRz2KxVO1R4GukanAC5FaezbZeKT4qGBZuC1lCZxm3l6Mc4yHO5+8gUZ8E81Gurj/bSu6mG+mi3snhgoJE4aww=\n";

    fn key() -> SigningKey {
        SigningKey::from_bytes(&std::array::from_fn(|i| i as u8))
    }

    #[test]
    fn a_note_is_signed_as_c2sp_says() {
        let checkpoint = Checkpoint::open(NOTE, &key().verifying_key()).unwrap();
        assert_eq!(checkpoint.size, 8);
        assert_eq!(checkpoint.sign(&key()), NOTE);
    }

    #[test]
    fn rejects_a_note_that_was_touched() {
        for touched in [
            NOTE.replace("\n8\n", "\n9\n"),
            NOTE.replace("\n8\n", "\n08\n"),
            NOTE.replace("acme", "acmf"),
            NOTE.replace("xhGB", "xhGC"),
            NOTE.replace("aww=", "awx="),
            NOTE.replace("\n\n", "\n"),
        ] {
            assert_eq!(Checkpoint::open(&touched, &key().verifying_key()), None, "{touched}");
        }
        let other = SigningKey::from_bytes(&[9; 32]);
        assert_eq!(Checkpoint::open(NOTE, &other.verifying_key()), None);
    }
}
