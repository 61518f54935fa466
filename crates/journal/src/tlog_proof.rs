//! The proof that one event is in a tenant's history, as one text that anybody checks offline (C2SP tlog-proof).
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! index <place of the event, from 0>
//! <the inclusion path, a base64 hash a line>
//!
//! <the checkpoint, with the signatures that there are>
//! ```
//! What it proves is that an event with a certain hash stands at that place; whoever has the event computes its hash.

use std::fmt;

use data_encoding::BASE64;

use crate::merkle::{self, Hash};
use crate::note::{self, Note, NoteKey, Opened};

/// The first line.
const FIRST: &str = "c2sp.org/tlog-proof@v1";
/// The longest path: a tree has at most 2^64 leaves.
const PATH_MAX: usize = 64;

/// A proof that was read. Whether it holds is not known before [`TlogProof::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// What somebody put beside it. Nothing vouches for it.
    pub extra: Option<Vec<u8>>,
    /// The event's place, from 0: its sequence less one.
    pub index: u64,
    /// The hashes from its sibling up to the root's.
    pub path: Vec<Hash>,
    /// The checkpoint.
    pub note: Note,
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is none.
    #[error("it is no tlog-proof: {0}")]
    Malformed(&'static str),
    /// Its checkpoint is not to be believed.
    #[error("the checkpoint: {0}")]
    Note(#[from] note::Error),
    /// The hash is not in the tree, or at another place.
    #[error("the path does not lead from this hash at place {index} to the root over {size} events")]
    NotIncluded {
        /// Where it was said to be.
        index: u64,
        /// In a tree of this size.
        size: u64,
    },
}

impl TlogProof {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut rest = text;
        if line(&mut rest)? != FIRST {
            return Err(Error::Malformed("its first line is not `c2sp.org/tlog-proof@v1`"));
        }
        let mut next = line(&mut rest)?;
        let mut extra = None;
        if let Some(base64) = next.strip_prefix("extra ") {
            let decoded = BASE64.decode(base64.as_bytes());
            extra = Some(decoded.map_err(|_| Error::Malformed("what follows `extra` is not base64"))?);
            next = line(&mut rest)?;
        }
        let index = next.strip_prefix("index ").and_then(number);
        let index = index.ok_or(Error::Malformed("a line `index` with a number is missing"))?;
        let mut path = Vec::new();
        loop {
            let next = line(&mut rest)?;
            if next.is_empty() {
                break;
            }
            if path.len() == PATH_MAX {
                return Err(Error::Malformed("its path is longer than any tree is high"));
            }
            path.push(hash(next).ok_or(Error::Malformed("a line of its path is no base64 hash"))?);
        }
        Ok(Self { extra, index, path, note: Note::parse(rest)? })
    }

    /// Whether an event with this hash is in the log with this origin, by a checkpoint that one of `log` signed; and which
    /// `witnesses` cosigned that.
    pub fn verify<'a>(
        &self,
        leaf: &Hash,
        origin: &str,
        log: &[NoteKey],
        witnesses: &'a [NoteKey],
    ) -> Result<Opened<'a>, Error> {
        let opened = Opened::read(&self.note, origin, log, witnesses)?;
        let (index, size) = (self.index, opened.checkpoint.size);
        if !merkle::includes(&opened.checkpoint.root, size, index, leaf, &self.path) {
            return Err(Error::NotIncluded { index, size });
        }
        Ok(opened)
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", BASE64.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{}", BASE64.encode(hash)))?;
        write!(f, "\n{}", self.note)
    }
}

/// The next line, without its line feed.
fn line<'a>(rest: &mut &'a str) -> Result<&'a str, Error> {
    let (line, after) = rest.split_once('\n').ok_or(Error::Malformed("it ends too early"))?;
    *rest = after;
    Ok(line)
}

/// A number without sign and needless zeros.
pub(crate) fn number(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|number| number.to_string() == text)
}

/// A hash in base64.
pub(crate) fn hash(text: &str) -> Option<Hash> {
    BASE64.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::merkle::{Frontier, leaf, levels, path_in};
    use crate::note::{Checkpoint, Kind};

    const ORIGIN: &str = "keylatch.example/tenant/acme";

    fn seed(first: u8) -> SigningKey {
        SigningKey::from_bytes(&std::array::from_fn(|place| first + place as u8))
    }

    fn key(name: &str, kind: Kind, first: u8) -> NoteKey {
        NoteKey::new(name, kind, seed(first).verifying_key()).unwrap()
    }

    fn witness() -> NoteKey {
        key("witness.example/w1", Kind::Cosignature, 0x20)
    }

    /// A tree of eleven events, and the proof of one.
    fn proof(index: usize) -> (Hash, TlogProof) {
        let leaves: Vec<Hash> = (0..11_u8).map(|number| leaf(&[number])).collect();
        let mut tree = Frontier::default();
        leaves.iter().for_each(|leaf| tree.push(leaf));
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size: 11, root: tree.root() };
        let mut note = Note::parse(&checkpoint.sign(&seed(0))).unwrap();
        note.add(&note.cosignature("witness.example/w1", 1_795_451_400, &seed(0x20)).to_string()).unwrap();
        let path = path_in(&levels(leaves.clone()), index);
        (leaves[index], TlogProof { extra: None, index: index as u64, path, note })
    }

    fn verified(text: &str, leaf: &Hash) -> Result<usize, Error> {
        let (log, witnesses) = ([key(ORIGIN, Kind::Ed25519, 0)], [witness()]);
        TlogProof::parse(text)?.verify(leaf, ORIGIN, &log, &witnesses).map(|opened| opened.cosignatures.len())
    }

    #[test]
    fn a_proof_is_read_as_it_is_written_and_holds() {
        for index in 0..11 {
            let (leaf, proof) = proof(index);
            let text = proof.to_string();
            assert!(text.starts_with(&format!("c2sp.org/tlog-proof@v1\nindex {index}\n")), "{text}");
            assert_eq!(TlogProof::parse(&text), Ok(proof.clone()));
            assert_eq!(verified(&text, &leaf), Ok(1));
            let extra = TlogProof { extra: Some(b"agev1.2.1".to_vec()), ..proof };
            assert_eq!(TlogProof::parse(&extra.to_string()), Ok(extra.clone()));
            assert_eq!(verified(&extra.to_string(), &leaf), Ok(1), "nothing vouches for what stands beside it");
        }
    }

    #[test]
    fn what_was_touched_does_not_hold() {
        let (leaf, proof) = proof(5);
        let text = proof.to_string();
        let last = BASE64.encode(proof.path.last().unwrap());
        let not_included = Error::NotIncluded { index: 5, size: 11 };
        assert_eq!(verified(&text, &crate::merkle::leaf(b"other")), Err(not_included.clone()));
        assert_eq!(verified(&text.replace(&format!("{last}\n"), ""), &leaf), Err(not_included));
        for (from, to) in [
            ("index 5", "index 4"),
            ("index 5", "index 11"),
            ("index 5", "index 05"),
            ("index 5", "index +5"),
            ("index 5", "index"),
            ("index 5\n", ""),
            ("index 5", "extra !\nindex 5"),
            ("@v1", "@v2"),
            ("\n11\n", "\n12\n"),
            ("tenant/acme\n11", "tenant/acmf\n11"),
            (&last, "AAAA"),
            (&last, &format!("{last} ")),
            (&last, &format!("{last}\n{last}")),
            (&last, &vec![last.as_str(); PATH_MAX + 1].join("\n")),
            ("\n\n", "\n"),
        ] {
            let touched = text.replacen(from, to, 1);
            assert_ne!(touched, text);
            assert!(verified(&touched, &leaf).is_err(), "{from} -> {to}");
        }
        for end in 0..text.len() {
            assert!(text.get(..end).is_none_or(|cut| verified(cut, &leaf) != Ok(1)), "cut at {end}");
        }
    }

    /// Nothing but the text is signed: one exporter's key signs for many tenants, and a checkpoint of one must not pass as
    /// another's because its signature line was given another name.
    #[test]
    fn a_checkpoint_of_another_log_of_the_same_key_does_not_pass() {
        let (leaf, proof) = proof(5);
        let other = [key("keylatch.example/tenant/beta", Kind::Ed25519, 0)];
        let line = |key: &NoteKey| BASE64.encode(&key.id());
        let acme = key(ORIGIN, Kind::Ed25519, 0);
        assert_ne!(line(&acme), line(&other[0]));
        let note = proof.note.to_string();
        let blob = BASE64.decode(note.lines().nth(4).unwrap().rsplit(' ').next().unwrap().as_bytes()).unwrap();
        let renamed = [&other[0].id(), &blob[4..]].concat();
        let renamed = format!("\u{2014} {} {}\n", other[0].name(), BASE64.encode(&renamed));
        let forged = TlogProof { note: Note::parse(&format!("{}\n{renamed}", proof.note.text())).unwrap(), ..proof };
        assert_eq!(forged.note.verify(&other).unwrap().len(), 1, "the signature itself is good");
        let wanted = other[0].name().to_owned();
        let refused = forged.verify(&leaf, &wanted, &other, &[]);
        assert_eq!(refused, Err(note::Error::Origin { found: ORIGIN.into(), wanted }.into()));
        let unsigned = forged.verify(&leaf, ORIGIN, &[acme], &[]);
        assert!(matches!(unsigned, Err(Error::Note(note::Error::Unsigned(_)))));
    }
}
