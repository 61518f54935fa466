//! Lists of keys that are asked for at once: how they are written, what stands for them, and how one key is proved to be
//! among them.
//!
//! A line is `<key id> <identity> <attestation>`: the identity as [`model::key::KeyIdentity`] prints it, the SHA-256 of the
//! custodian's statement that the key was generated with. So people sign for these keys, in that store. The lines are
//! sorted, each ends with a line feed; the root is that of RFC 6962 over the lines without it.

use std::collections::BTreeMap;

use journal::merkle::{self, Hash};
use model::command::{DOCUMENT_PART_BYTES_MAX, Manifest};
use model::event::Membership;
use model::key::KeyIdentity;
use model::policy::MANIFEST_MAX;
use model::{Digest, KeyId};

use crate::state::Key;

/// A list, written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    lines: Vec<String>,
}

/// Why a text is not such a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Malformed {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

fn line(key: KeyId, identity: &KeyIdentity, attestation: Digest) -> String {
    format!("{key} {identity} {attestation}")
}

impl List {
    /// Of these keys.
    pub fn of<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Self {
        Self::new(keys.into_iter().map(|key| (key.id, &key.identity, key.attestation)))
    }

    /// Of keys with these ids, identities and attestations.
    pub fn new<'a>(keys: impl IntoIterator<Item = (KeyId, &'a KeyIdentity, Digest)>) -> Self {
        Self::of_lines(keys.into_iter().map(|(key, identity, attestation)| (key, line(key, identity, attestation))))
    }

    /// Of lines that were written elsewhere, by their keys.
    pub(crate) fn of_lines(lines: impl IntoIterator<Item = (KeyId, String)>) -> Self {
        Self { lines: lines.into_iter().collect::<BTreeMap<KeyId, String>>().into_values().collect() }
    }

    /// Reads a list as it was written, and nothing else.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut lines: Vec<String> = Vec::new();
        let mut last = None;
        for (at, line) in text.split_terminator('\n').enumerate() {
            let wrong = |what| Malformed { line: at + 1, what };
            let key: Option<KeyId> = line.split_once(' ').and_then(|(key, _)| key.parse().ok());
            let key = key.ok_or_else(|| wrong("it is not `<key id> <identity> <attestation>`"))?;
            if last.is_some_and(|last| key <= last) {
                return Err(wrong("the lines are not sorted by key id, each once"));
            }
            last = Some(key);
            lines.push(line.to_owned());
        }
        if !text.is_empty() && !text.ends_with('\n') {
            return Err(Malformed { line: lines.len(), what: "it does not end with a line feed" });
        }
        Ok(Self { lines })
    }

    /// How many keys.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = KeyId> {
        self.lines.iter().filter_map(|line| line.split_once(' ')?.0.parse().ok())
    }

    /// The lines, in order, without their line feeds.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// The whole text.
    pub fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// The text in parts, each small enough for one event.
    pub fn parts(&self) -> Vec<String> {
        let mut parts = vec![String::new()];
        for line in &self.lines {
            if parts.last().is_some_and(|part| part.len() + line.len() + 1 > DOCUMENT_PART_BYTES_MAX) {
                parts.push(String::new());
            }
            parts.last_mut().into_iter().for_each(|part| part.extend([line, "\n"]));
        }
        parts
    }

    /// What stands for it.
    pub fn manifest(&self) -> Manifest {
        let mut tree = merkle::Frontier::default();
        self.leaves().iter().for_each(|leaf| tree.push(leaf));
        let count = u32::try_from(self.lines.len()).unwrap_or(u32::MAX);
        Manifest { root: Digest::new(tree.root()), count, document: Digest::of(self.text().as_bytes()) }
    }

    /// Every key's proof, in order.
    pub fn memberships(&self) -> impl Iterator<Item = (KeyId, Membership)> {
        let levels = merkle::levels(self.leaves());
        let keys: Vec<KeyId> = self.keys().collect();
        keys.into_iter().enumerate().map(move |(at, key)| {
            let path = merkle::path_in(&levels, at).into_iter().map(Digest::new).collect();
            (key, Membership { index: u32::try_from(at).unwrap_or(u32::MAX), path })
        })
    }

    fn leaves(&self) -> Vec<Hash> {
        self.lines.iter().map(|line| merkle::leaf(line.as_bytes())).collect()
    }
}

/// Whether a key is proved to be in the list that stands behind a manifest.
pub fn includes(manifest: &Manifest, key: &Key, membership: &Membership) -> bool {
    has(manifest, (key.id, &key.identity, key.attestation), membership)
}

/// The same of a key that is known by its id, its identity and the digest of its custodian's statement.
pub fn has(
    manifest: &Manifest,
    (key, identity, attestation): (KeyId, &KeyIdentity, Digest),
    membership: &Membership,
) -> bool {
    leads_to(manifest, &merkle::leaf(line(key, identity, attestation).as_bytes()), membership)
}

/// Whether the proof leads from a line's leaf to the root.
pub(crate) fn leads_to(manifest: &Manifest, leaf: &Hash, membership: &Membership) -> bool {
    let path: Vec<Hash> = membership.path.iter().map(|hash| *hash.as_bytes()).collect();
    let (size, at) = (u64::from(manifest.count), u64::from(membership.index));
    manifest.count <= MANIFEST_MAX && merkle::includes(manifest.root.as_bytes(), size, at, leaf, &path)
}
