//! Baselines: the keys that a store had before Keylatch, as a list that admins sign for.
//!
//! A line is `<key id> <algorithm> <identity> <label> <made at>`: the id that the key has here, its algorithm by its store's
//! word, its identity as [`model::key::KeyIdentity`] prints it (of a key pair the digest of its public half; `-` where the
//! store shows none), its label there with every byte but `A-Z a-z 0-9 . _ -` percent-encoded, and when it was made (`-`
//! where that is not known). The lines are sorted and rooted as those of any list: see [`crate::manifest`].

use std::fmt;

use data_encoding::HEXLOWER;
use journal::merkle;
use model::key::KeyIdentity;
use model::text::{Base64, Text};
use model::{Digest, KeyId, Name, Timestamp};

use crate::manifest::{List, Malformed};

/// A key as the inventory of its store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The id that it has here.
    pub key_id: KeyId,
    /// What it computes.
    pub algorithm: Name,
    /// By what it is recognised.
    pub identity: KeyIdentity,
    /// What its store calls it.
    pub label: Text,
    /// When it was made.
    pub made_at: Option<Timestamp>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key_id, algorithm, identity, label, made_at } = self;
        write!(f, "{key_id} {algorithm} {identity} {} ", encoded(label.as_str()))?;
        match made_at {
            Some(at) => write!(f, "{at}"),
            None => f.write_str("-"),
        }
    }
}

impl Line {
    /// Reads a line as it was written, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [key_id, algorithm, identity, label, made_at] = words.as_slice() else { return None };
        let line = Self {
            key_id: key_id.parse().ok()?,
            algorithm: algorithm.parse().ok()?,
            identity: identity_of(identity)?,
            label: decoded(label)?.parse().ok()?,
            made_at: if *made_at == "-" { None } else { Some(made_at.parse().ok()?) },
        };
        (line.to_string() == text).then_some(line)
    }

    /// What stands for the line in its list's tree.
    pub(crate) fn leaf(&self) -> merkle::Hash {
        merkle::leaf(self.to_string().as_bytes())
    }

    /// The SHA-256 of the line.
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_string().as_bytes())
    }
}

/// A list of these keys.
pub fn list(lines: impl IntoIterator<Item = Line>) -> List {
    List::of_lines(lines.into_iter().map(|line| (line.key_id, line.to_string())))
}

/// Reads a list: its text, and each of its lines.
pub fn parse(text: &str) -> Result<(List, Vec<Line>), Malformed> {
    let list = List::parse(text)?;
    let malformed =
        |at| Malformed { line: at + 1, what: "it is not `<key id> <algorithm> <identity> <label> <made at>`" };
    let lines = list.lines().enumerate().map(|(at, line)| Line::parse(line).ok_or_else(|| malformed(at)));
    let lines = lines.collect::<Result<Vec<Line>, Malformed>>()?;
    Ok((list, lines))
}

fn identity_of(text: &str) -> Option<KeyIdentity> {
    match text.split_once(':') {
        None => (text == "-").then_some(KeyIdentity::Unknown),
        Some(("spki", digest)) => Some(KeyIdentity::PublicKeyDigest(digest.parse().ok()?)),
        Some(("kcv", value)) => Some(KeyIdentity::CheckValue(Base64(HEXLOWER.decode(value.as_bytes()).ok()?))),
        Some(_) => None,
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

fn encoded(text: &str) -> String {
    let byte = |byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}

fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_first_chunk::<2>()?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The name under which people here know a key that its store calls so: what no name has is a hyphen.
pub fn name_of(label: &Text) -> Option<Name> {
    let letter = |c: char| if c.is_ascii() && is_plain(c as u8) { c } else { '-' };
    let name: String = label.as_str().chars().map(letter).collect();
    let name: String = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).chars().take(64).collect();
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(label: &str, made_at: Option<&str>) -> Line {
        Line {
            key_id: "01930000-0000-7000-8000-000000000001".parse().unwrap(),
            algorithm: "rsa-3072".parse().unwrap(),
            identity: KeyIdentity::PublicKeyDigest(Digest::of(b"spki")),
            label: label.parse().unwrap(),
            made_at: made_at.map(|at| at.parse().unwrap()),
        }
    }

    #[test]
    fn a_line_reads_back() {
        for (label, written) in [("db-key", "db-key"), ("Straße 7", "Stra%C3%9Fe%207"), ("100%", "100%25"), ("-", "-")]
        {
            for made_at in [None, Some("2024-02-29T00:00:00.000Z")] {
                let line = line(label, made_at);
                let text = line.to_string();
                assert_eq!(text.split(' ').nth(3), Some(written));
                assert_eq!(Line::parse(&text), Some(line));
            }
        }
    }

    #[test]
    fn a_line_is_written_in_one_way() {
        let text = line("a b", None).to_string();
        for (from, to) in
            [("%20", "%2"), ("%20", "%zz"), ("%20", "%61"), (" -", ""), ("spki:", "spkd:"), (" - ", " x ")]
        {
            assert_eq!(Line::parse(&text.replacen(from, to, 1)).filter(|_| text.contains(from)), None, "{from} {to}");
        }
        let lower = line("ß", None).to_string().replace("%C3", "%c3");
        assert_eq!(Line::parse(&lower), None);
    }

    #[test]
    fn a_label_gives_a_name() {
        let cases = [("db-key", Some("db-key")), ("Straße 7", Some("Stra-e-7")), ("__x", Some("x")), ("日本", None)];
        for (label, name) in cases {
            assert_eq!(name_of(&label.parse().unwrap()).map(|name| name.to_string()).as_deref(), name, "{label}");
        }
        assert_eq!(name_of(&"x".repeat(500).parse().unwrap()).map(|name| name.as_str().len()), Some(64));
    }
}
