//! Signed notes (C2SP signed-note), and what are notes here: checkpoints (C2SP tlog-checkpoint) by the evidence-exporter's
//! Ed25519 key, and witnesses' cosignatures of them (C2SP tlog-cosignature).
//!
//! ```text
//! Note::parse(&str)                  reads a note and its signature lines, of whatever kind
//!     .verify(&[NoteKey])            the signatures of keys that are known: who, and when; a false one voids the note
//!     .checkpoint()                  the checkpoint that its text is
//!     .add(lines)  .to_string()      cosignature lines beside the log's own; the note again
//!     .cosignature(name, time, key)  what a witness answers
//! NoteKey: FromStr, Display          `name+hex+base64`
//! NoteKey::of_log(tenant, key)       the key under which an exporter signs a tenant's checkpoints
//! Opened::read(&note, origin, log, witnesses)   all of it at once
//! ```

mod key;
mod signed;

use data_encoding::BASE64;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use model::TenantId;

pub use key::{KeyId, Kind, NoteKey};
pub use signed::{NOTE_BYTES_MAX, Note, NoteSignature, SIGNATURES_MAX, Verified};

use crate::merkle::{Frontier, Hash};

/// Why a note says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no note.
    #[error("it is no signed note: {0}")]
    Malformed(&'static str),
    /// A signature in the name of a key that is known, and not by it.
    #[error("the signature of `{0}` does not hold")]
    False(String),
    /// None of the keys that must have signed it has.
    #[error("it is not signed by {0}")]
    Unsigned(String),
    /// It is another log's.
    #[error("it is of the log `{found}`, not of `{wanted}`")]
    Origin {
        /// What it says.
        found: String,
        /// Whose was wanted.
        wanted: String,
    },
    /// No name that a note's signer may have.
    #[error("`{0}` is no name of a key: it has no space and no plus")]
    Name(String),
    /// No verifier key.
    #[error("`{key}` is no key of a note: {why}")]
    Key {
        /// The text.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

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
        let text = self.text();
        format!("{text}\n{}", NoteSignature::of_log(&self.origin, &text, key))
    }

    /// Reads a note that `key` signed. `None` where the text is not a checkpoint, or the signature is missing or false.
    pub fn open(note: &str, key: &VerifyingKey) -> Option<Self> {
        let (text, signatures) = note.split_once("\n\n").map(|(text, rest)| (format!("{text}\n"), rest))?;
        let checkpoint = Self::parse(&text)?;
        let wanted = key::id(&checkpoint.origin, Kind::Ed25519, key);
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

/// A checkpoint that its log signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// What it commits to.
    pub checkpoint: Checkpoint,
    /// The witnesses who cosigned it, each with its time in seconds since 1970.
    pub cosignatures: Vec<(&'a NoteKey, u64)>,
}

impl<'a> Opened<'a> {
    /// Reads a checkpoint of the log with this origin, which one of `log` must have signed. Cosignatures of `witnesses` are
    /// counted, those of others passed over.
    ///
    /// The origin is compared because nothing but the text is signed: one key may sign for several logs.
    pub fn read(note: &Note, origin: &str, log: &[NoteKey], witnesses: &'a [NoteKey]) -> Result<Self, Error> {
        let checkpoint = note.checkpoint()?;
        if checkpoint.origin != origin {
            return Err(Error::Origin { found: checkpoint.origin, wanted: origin.to_owned() });
        }
        if note.verify(log)?.is_empty() {
            let names: Vec<String> = log.iter().map(ToString::to_string).collect();
            return Err(Error::Unsigned(if names.is_empty() {
                "any key: none is known".into()
            } else {
                names.join(", ")
            }));
        }
        let cosigned = note.verify(witnesses)?.into_iter().filter_map(|verified| Some((verified.key, verified.time?)));
        Ok(Self { checkpoint, cosignatures: cosigned.collect() })
    }
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
