//! Proofs as plain hashes, such as other people's test data.

use std::str::FromStr;

use clap::Args;
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use journal::merkle::{self, Hash};
use serde_json::json;

use crate::error::{Error, Exit};
use crate::layout::{BOLD, GREEN, RED};
use crate::screen::{Screen, Shown};

/// A hash as somebody wrote it. It may have any length: one that is not of 32 bytes is read, and holds for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashText(Vec<u8>);

impl FromStr for HashText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let hex = HEXLOWER_PERMISSIVE.decode(text.as_bytes());
        let bytes = hex.or_else(|_| BASE64.decode(text.as_bytes()));
        bytes
            .map(Self)
            .map_err(|_| "a hash is written in hex (64 digits), or in padded base64 (44 characters)".to_owned())
    }
}

impl HashText {
    fn hash(&self) -> Option<Hash> {
        self.0.as_slice().try_into().ok()
    }
}

/// A leaf, and the tree that it is to be in.
#[derive(Args, Clone, Debug)]
pub struct InclusionArgs {
    /// The leaf's place, from 0. An event's is its sequence less one.
    #[arg(long, value_name = "N")]
    pub index: u64,
    /// How many leaves the tree has.
    #[arg(long, value_name = "N")]
    pub size: u64,
    /// The leaf's hash: SHA-256 over 0x00 and the data; of an event, the event hash.
    #[arg(long, value_name = "HASH", allow_hyphen_values = true)]
    pub leaf: HashText,
    /// The tree's root.
    #[arg(long, value_name = "HASH", allow_hyphen_values = true)]
    pub root: HashText,
    /// The path, from the leaf's sibling upwards: again for each hash, or with commas between. None for a tree of one leaf.
    #[arg(long, alias = "proof", value_name = "HASH", value_delimiter = ',', allow_hyphen_values = true)]
    pub path: Vec<HashText>,
}

/// Two trees.
#[derive(Args, Clone, Debug)]
pub struct ConsistencyArgs {
    /// How many leaves the older tree has.
    #[arg(long, value_name = "N")]
    pub from: u64,
    /// How many leaves the newer tree has.
    #[arg(long, value_name = "N")]
    pub to: u64,
    /// The older tree's root.
    #[arg(long, value_name = "HASH", allow_hyphen_values = true)]
    pub from_root: HashText,
    /// The newer tree's root.
    #[arg(long, value_name = "HASH", allow_hyphen_values = true)]
    pub to_root: HashText,
    /// The proof, in its order: again for each hash, or with commas between. None where both have as many leaves.
    #[arg(long, alias = "proof", value_name = "HASH", value_delimiter = ',', allow_hyphen_values = true)]
    pub path: Vec<HashText>,
}

pub(super) fn run_inclusion(args: &InclusionArgs, screen: &mut Screen) -> Result<Exit, Error> {
    let InclusionArgs { index, size, .. } = args;
    let path: Option<Vec<Hash>> = args.path.iter().map(HashText::hash).collect();
    let hashes = args.leaf.hash().zip(args.root.hash()).zip(path);
    let holds = hashes.is_some_and(|((leaf, root), path)| merkle::includes(&root, *size, *index, &leaf, &path));
    let what = format!("leaf {index} in the tree of {size} with root {}", HEXLOWER.encode(&args.root.0));
    show(holds, &what, screen)
}

pub(super) fn run_consistency(args: &ConsistencyArgs, screen: &mut Screen) -> Result<Exit, Error> {
    let ConsistencyArgs { from, to, from_root, to_root, .. } = args;
    let path: Option<Vec<Hash>> = args.path.iter().map(HashText::hash).collect();
    let hashes = from_root.hash().zip(to_root.hash()).zip(path);
    let proved = hashes.is_some_and(|((older, newer), path)| merkle::continues(*from, &older, *to, &newer, &path));
    // Of one and the same tree nothing is computed, so its root may be anything.
    let same = from == to && *from > 0 && from_root == to_root && args.path.is_empty();
    let what = format!("the tree of {to} continues the tree of {from}");
    show(proved || same, &what, screen)
}

fn show(holds: bool, what: &str, screen: &mut Screen) -> Result<Exit, Error> {
    let people = match holds {
        true => format!("{GREEN}it holds{GREEN:#}: {what}\n"),
        false => format!("{RED}it does not hold{RED:#}: {BOLD}not proved{BOLD:#}: {what}\n"),
    };
    screen.show(&Shown { json: json!({ "ok": holds, "holds": holds, "what": what }), people })?;
    Ok(if holds { Exit::Ok } else { Exit::Refused })
}
