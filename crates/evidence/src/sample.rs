//! Samples that nobody picks: which items of a population are looked at follows from the root of a checkpoint in the log.
//!
//! The population is the events of one kind, in their order ([`population`]). Numbers are drawn from HMAC-SHA-256 under the
//! checkpoint's root ([`Drawing::draw`]), without replacement; a larger sample begins with the smaller one. Everything is
//! said so that it can be done by hand in `docs/evidence-sampling.md`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, Mac as _};
use journal::merkle::{self, Hash};
use journal::note::Note;
use journal::tlog_proof::{self, TlogProof};
use model::text::Base64;
use model::{Digest, EventHash, Fingerprint, Sequence, TenantId, Text};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::bundle::checkpoints::last;
use crate::history::{At, History};
use crate::replay::Replay;

/// The value of [`Sample::format`], and the first line of what is drawn from.
pub const FORMAT: &str = "keylatch.dev/sample/v1";
/// The largest sample.
pub const SAMPLE_MAX: u64 = 1_000;

/// What is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Of {
    /// Keys, by their `key.generated`.
    Keys,
    /// Activations, by their `key.activated`.
    Activations,
    /// Approvals, by their `activation.approved`, whatever became of the request.
    Approvals,
    /// Everyone who was enrolled, workloads too, by the event that enrolled them.
    People,
}

impl Of {
    /// Every population.
    pub const ALL: [Self; 4] = [Self::Keys, Self::Activations, Self::Approvals, Self::People];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Activations => "activations",
            Self::Approvals => "approvals",
            Self::People => "people",
        }
    }
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An item of a population: an event, and whom or what it is about. As text, `<sequence> <event hash> <id>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The event's place.
    pub sequence: Sequence,
    /// The key's id; of approvals the fingerprint of who signed, of people that of who was enrolled.
    pub id: String,
    /// The event's hash.
    pub hash: EventHash,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.sequence.0, self.hash, self.id)
    }
}

/// No line of a population.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not `<sequence> <event hash> <id>`")]
pub struct NoItem;

impl FromStr for Item {
    type Err = NoItem;

    fn from_str(line: &str) -> Result<Self, NoItem> {
        let (sequence, rest) = line.split_once(' ').ok_or(NoItem)?;
        let (hash, id) = rest.split_once(' ').ok_or(NoItem)?;
        let (number, hash) = (sequence.parse().map_err(|_| NoItem)?, hash.parse().map_err(|_| NoItem)?);
        let item = Self { sequence: Sequence(number), id: id.to_owned(), hash };
        if item.to_string() == line { Ok(item) } else { Err(NoItem) }
    }
}

/// The events of a kind from event `from` to event `to`, in their order; those of one event by their ids. What does not
/// stand is not among them.
pub fn population(history: &History, of: Of, from: Sequence, to: Sequence) -> Vec<Item> {
    let item = |at: At, id: String| Item { sequence: at.sequence, id, hash: at.hash };
    let keys = history.keys.values();
    let mut items: Vec<Item> = match of {
        Of::Keys => keys.map(|key| item(key.created, key.id.to_string())).collect(),
        Of::Activations => {
            let of_key = |key: &crate::history::KeyLife| {
                key.activations.iter().map(|activation| item(activation.at, key.id.to_string())).collect::<Vec<_>>()
            };
            history.lives().flat_map(of_key).collect()
        }
        Of::Approvals => {
            let approvals = history.requests.values().flat_map(|request| request.approvals.values());
            approvals.map(|approval| item(approval.at, approval.by.to_string())).collect()
        }
        Of::People => history.people.iter().map(|(who, person)| item(person.enrolled, who.to_string())).collect(),
    };
    items.retain(|item| (from..=to).contains(&item.sequence));
    items.sort_unstable();
    items
}

/// A population as text: a line an item, each ended by a line feed.
pub fn text(items: &[Item]) -> String {
    items.iter().map(|item| format!("{item}\n")).collect()
}

/// What numbers are drawn from.
#[derive(Clone, Copy, Debug)]
pub struct Drawing<'a> {
    /// Whose history.
    pub tenant: TenantId,
    /// How many events the checkpoint commits to.
    pub size: u64,
    /// Its root.
    pub root: &'a Hash,
    /// What is sampled.
    pub of: Of,
    /// From which event on.
    pub from: Sequence,
    /// What whoever samples put to it.
    pub nonce: Option<&'a Text>,
}

impl Drawing<'_> {
    /// Draws so many different numbers below `population`, in the order in which they come; all of them, in order, where
    /// there are no more.
    pub fn draw(&self, population: u64, count: u64) -> Vec<u64> {
        if count >= population {
            return (0..population).collect();
        }
        // Numbers from here on would make the small ones likelier.
        let fair = u64::MAX - (u64::MAX % population + 1) % population;
        let (mut drawn, mut seen) = (Vec::new(), BTreeSet::new());
        let mut counter = 0;
        while (drawn.len() as u64) < count {
            let number = self.number(population, counter);
            counter += 1;
            let index = number % population;
            if number <= fair && seen.insert(index) {
                drawn.push(index);
            }
        }
        drawn
    }

    /// The first eight bytes of HMAC-SHA-256 under the root, over eight lines.
    fn number(&self, population: u64, counter: u64) -> u64 {
        let Self { tenant, size, root, of, from, nonce } = self;
        let nonce = nonce.map_or("", Text::as_str);
        let lines = format!("{FORMAT}\n{tenant}\n{size}\n{of}\n{}\n{population}\n{nonce}\n{counter}\n", from.0);
        // A key of any length will do.
        let mac = Hmac::<Sha256>::new_from_slice(root.as_slice()).map(|mac| mac.chain_update(lines).finalize());
        let bytes: [u8; 32] = mac.map_or([0; 32], |mac| mac.into_bytes().into());
        bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

/// A sample: `sample.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// [`FORMAT`].
    pub format: String,
    /// Whose history.
    pub tenant: TenantId,
    /// The root under which the history was verified.
    pub trust_root: Fingerprint,
    /// The checkpoint that it was drawn from.
    pub checkpoint: Seed,
    /// What was drawn from.
    pub population: Whole,
    /// What whoever samples put to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Text>,
    /// How many items were asked for.
    pub asked: u64,
    /// The items, in the order in which they were drawn.
    pub items: Vec<Drawn>,
}

/// The checkpoint that a sample was drawn from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// How many events it commits to.
    pub size: u64,
    /// Its root, in base64.
    pub root: Base64,
}

/// A checkpoint that samples can be drawn from, with its exporter's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// How many events it commits to.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// The signed note.
    pub note: Note,
}

impl Signed {
    fn of(note: Note) -> Option<Self> {
        let checkpoint = note.checkpoint().ok()?;
        Some(Self { size: checkpoint.size, root: checkpoint.root, note })
    }
}

/// The checkpoints in the log, in order; and the one over all events that were read, where it is among `notes` and an
/// exporter in force has signed it: its own event comes after them.
pub fn checkpoints(replay: &Replay, notes: &[Note]) -> Vec<Signed> {
    let recorded = replay.history().checkpoints.iter().filter_map(|recorded| Note::parse(&recorded.note).ok());
    let mut all: Vec<Signed> = recorded.filter_map(Signed::of).collect();
    let last = last(replay, notes).and_then(Signed::of);
    all.extend(last.filter(|last| all.iter().all(|known| known.size < last.size)));
    all
}

/// The population that a sample was drawn from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whole {
    /// What.
    pub of: Of,
    /// From which event on. It ends with the checkpoint.
    pub from: Sequence,
    /// How many items it has.
    pub count: u64,
    /// The SHA-256 of its text.
    pub sha256: Digest,
}

/// An item that was drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drawn {
    /// Its place in the population, from 0.
    pub index: u64,
    /// The item.
    pub item: Item,
}

/// What a sample is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What is sampled.
    pub of: Of,
    /// From which event on.
    pub from: Sequence,
    /// The size of the checkpoint that it is drawn from; left out, the newest that is known.
    pub size: Option<u64>,
    /// How many items.
    pub count: u64,
    /// What whoever samples puts to it.
    pub nonce: Option<Text>,
}

/// Why there is no sample.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing to draw from.
    #[error("no checkpoint is known")]
    NoCheckpoint,
    /// There is none of this size.
    #[error("no checkpoint that is known here is over {0} events")]
    NoSuchCheckpoint(u64),
    /// There is nothing to draw.
    #[error("there are no {of} among events {from} to {to}")]
    Empty {
        /// Of what.
        of: Of,
        /// From which event on.
        from: u64,
        /// To which.
        to: u64,
    },
    /// Too much is asked for.
    #[error("{0} items are asked for; at most {SAMPLE_MAX} are drawn")]
    TooMany(u64),
}

impl Sample {
    /// Draws one from a history that was replayed, and one of these checkpoints; with the population.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn draw(replay: &Replay, checkpoints: &[Signed], asked: &Asked) -> Result<(Self, Vec<Item>), Error> {
        let Asked { of, from, count, .. } = *asked;
        if count > SAMPLE_MAX {
            return Err(Error::TooMany(count));
        }
        let seed = checkpoint(checkpoints, asked.size)?;
        let items = population(replay.history(), of, from, Sequence(seed.size));
        if items.is_empty() {
            return Err(Error::Empty { of, from: from.0, to: seed.size });
        }
        let (tenant, trust_root) = (replay.state().chain.tenant(), replay.state().root);
        let nonce = asked.nonce.clone();
        let drawing = Drawing { tenant, size: seed.size, root: &seed.root, of, from, nonce: nonce.as_ref() };
        let drawn = drawing.draw(items.len() as u64, count).into_iter();
        let drawn = drawn.filter_map(|index| {
            let item = items.get(usize::try_from(index).ok()?)?.clone();
            Some(Drawn { index, item })
        });
        let sha256 = Digest::of(text(&items).as_bytes());
        let sample = Self {
            format: FORMAT.to_owned(),
            tenant,
            trust_root,
            checkpoint: Seed { size: seed.size, root: Base64(seed.root.to_vec()) },
            population: Whole { of, from, count: items.len() as u64, sha256 },
            nonce,
            asked: count,
            items: drawn.collect(),
        };
        Ok((sample, items))
    }

    /// What it was asked for.
    pub fn asked(&self) -> Asked {
        let Whole { of, from, .. } = self.population;
        Asked { of, from, size: Some(self.checkpoint.size), count: self.asked, nonce: self.nonce.clone() }
    }
}

/// The one of this size, or the newest.
fn checkpoint(checkpoints: &[Signed], size: Option<u64>) -> Result<&Signed, Error> {
    match size {
        None => checkpoints.last().ok_or(Error::NoCheckpoint),
        Some(size) => {
            checkpoints.iter().find(|checkpoint| checkpoint.size == size).ok_or(Error::NoSuchCheckpoint(size))
        }
    }
}

/// The proofs of a sample's items, in its order, from the hashes of the events that its checkpoint commits to.
///
/// # Errors
/// Where the checkpoint is not among these.
pub fn proofs(sample: &Sample, checkpoints: &[Signed], mut leaves: Vec<Hash>) -> Result<Vec<TlogProof>, Error> {
    let Signed { size, note, .. } = checkpoint(checkpoints, Some(sample.checkpoint.size))?;
    leaves.truncate(usize::try_from(*size).unwrap_or(usize::MAX));
    let levels = merkle::levels(leaves);
    let proof = |drawn: &Drawn| {
        let index = drawn.item.sequence.0.saturating_sub(1);
        let path = merkle::path_in(&levels, usize::try_from(index).unwrap_or(usize::MAX));
        TlogProof { extra: None, index, path, note: note.clone() }
    };
    Ok(sample.items.iter().map(proof).collect())
}

/// Why a proof does not prove an item.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproved {
    /// The proof itself.
    #[error(transparent)]
    Proof(#[from] tlog_proof::Error),
    /// It is another checkpoint's.
    #[error("its checkpoint is not the exporter's over {0} events")]
    Checkpoint(u64),
    /// It is about another place.
    #[error("it is about event {found}, and event {wanted} was drawn")]
    Place {
        /// Which event it is about.
        found: u64,
        /// Which was drawn.
        wanted: u64,
    },
}

impl Sample {
    /// Whether a proof shows an item to be under the checkpoint that the sample was drawn from, as one of these.
    /// Cosignatures may stand beside the exporter's signature; they are not looked at.
    ///
    /// # Errors
    /// See [`Unproved`].
    pub fn proves(&self, checkpoints: &[Signed], drawn: &Drawn, proof: &str) -> Result<(), Unproved> {
        let (proof, size) = (TlogProof::parse(proof)?, self.checkpoint.size);
        let signed = checkpoint(checkpoints, Some(size)).map_err(|_| Unproved::Checkpoint(size))?;
        let same = signed.note.signatures().iter().all(|signature| proof.note.signatures().contains(signature));
        if proof.note.text() != signed.note.text() || !same {
            return Err(Unproved::Checkpoint(size));
        }
        let (found, wanted) = (proof.index.saturating_add(1), drawn.item.sequence.0);
        if found != wanted {
            return Err(Unproved::Place { found, wanted });
        }
        if !merkle::includes(&signed.root, size, proof.index, drawn.item.hash.as_bytes(), &proof.path) {
            return Err(tlog_proof::Error::NotIncluded { index: proof.index, size }.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawing<'a>(root: &'a Hash, nonce: Option<&'a Text>) -> Drawing<'a> {
        let tenant = TenantId::from_bytes([7; 32]);
        Drawing { tenant, size: 40, root, of: Of::Keys, from: Sequence(1), nonce }
    }

    /// Computed apart, with Python's `hmac`.
    #[test]
    fn numbers_are_drawn_as_the_page_says() {
        let root: Hash = std::array::from_fn(|place| place as u8);
        assert_eq!(drawing(&root, None).draw(10, 4), [9, 5, 7, 4]);
        assert_eq!(drawing(&root, Some(&"2026 Q4".parse().unwrap())).draw(1_000_000, 3), [610_626, 609_161, 724_630]);
    }

    #[test]
    fn a_larger_sample_begins_with_the_smaller_one_and_repeats_nothing() {
        let root = [5; 32];
        let all = drawing(&root, None).draw(100, 99);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 99);
        for count in 0..99 {
            assert_eq!(drawing(&root, None).draw(100, count as u64), all[..count]);
        }
        assert_eq!(drawing(&root, None).draw(100, 100), (0..100).collect::<Vec<u64>>());
        assert_eq!(drawing(&root, None).draw(3, 25), [0, 1, 2]);
        assert_eq!(drawing(&root, None).draw(0, 25), Vec::<u64>::new());
    }

    #[test]
    fn another_checkpoint_nonce_or_population_draws_others() {
        let (one, other) = ([1; 32], [2; 32]);
        let nonce = "n".parse().unwrap();
        let first = drawing(&one, None).draw(1_000_000, 5);
        assert_ne!(drawing(&other, None).draw(1_000_000, 5), first);
        assert_ne!(drawing(&one, Some(&nonce)).draw(1_000_000, 5), first);
        assert_ne!(Drawing { of: Of::People, ..drawing(&one, None) }.draw(1_000_000, 5), first);
        assert_ne!(Drawing { from: Sequence(2), ..drawing(&one, None) }.draw(1_000_000, 5), first);
        assert_ne!(Drawing { size: 41, ..drawing(&one, None) }.draw(1_000_000, 5), first);
    }

    /// Each of six comes up about as often: 6,000 draws, and a spread that chance does not exceed in a million tries.
    #[test]
    fn draws_are_even() {
        let mut counts = [0_u32; 6];
        for seed in 0..6_000_u32 {
            let root: Hash = std::array::from_fn(|place| seed.to_be_bytes().get(place).copied().unwrap_or_default());
            counts[drawing(&root, None).draw(6, 1)[0] as usize] += 1;
        }
        assert!(counts.iter().all(|count| (850..=1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_line_reads_as_it_is_written() {
        let item = Item { sequence: Sequence(12), id: "SHA256:abc".into(), hash: EventHash::new([3; 32]) };
        assert_eq!(item.to_string().parse(), Ok(item.clone()));
        for wrong in ["", "12", "012 00 a", &item.to_string().replace("12 ", "+12 "), &format!("x{item}")] {
            assert_eq!(wrong.parse::<Item>(), Err(NoItem), "{wrong}");
        }
    }
}
