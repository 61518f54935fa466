//! The Merkle tree of RFC 6962 section 2.1 over event hashes, which are its leaf hashes.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A tree hash.
pub type Hash = [u8; 32];

/// The right edge of a tree: all that is needed to append and to know the root. At most 64 hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    size: u64,
    /// The roots of the complete subtrees, largest first: one for each bit set in `size`.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// How many leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf hash.
    pub fn push(&mut self, leaf: &Hash) {
        let mut hash = *leaf;
        for _ in 0..self.size.trailing_ones() {
            // As many peaks as trailing one bits are there to merge.
            if let Some(left) = self.peaks.pop() {
                hash = node(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root: the SHA-256 of nothing for an empty tree.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return Sha256::digest([]).into() };
        peaks.fold(*last, |right, left| node(left, &right))
    }
}

/// The hash of an inner node.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The hash of a leaf's data. Event hashes are leaf hashes already.
pub fn leaf(data: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(data).finalize().into()
}

/// The complete tree over these leaves, level by level, the leaves first: for many proofs of one tree.
pub fn levels(leaves: Vec<Hash>) -> Vec<Vec<Hash>> {
    let mut levels = vec![leaves];
    while let Some(level) = levels.last().filter(|level| level.len() > 1) {
        let pairs = level.chunks(2).map(|pair| match pair {
            [left, right] => node(left, right),
            [alone, ..] => *alone,
            [] => Hash::default(),
        });
        levels.push(pairs.collect());
    }
    levels
}

/// The inclusion proof of one leaf (RFC 6962 section 2.1.1): from its sibling up to the root's.
pub fn path_in(levels: &[Vec<Hash>], index: usize) -> Vec<Hash> {
    let at_level = |(height, level): (usize, &Vec<Hash>)| level.get((index >> height) ^ 1).copied();
    levels.iter().enumerate().filter_map(at_level).collect()
}

/// Whether a leaf stands at this place in the tree with this root (RFC 9162 section 2.1.3.2).
pub fn includes(root: &Hash, size: u64, index: u64, leaf: &Hash, path: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The eight leaves and roots that the Certificate Transparency implementations share as test data.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn roots_are_those_of_rfc_6962() {
        let mut tree = Frontier::default();
        for (size, root) in ROOTS.iter().enumerate() {
            assert_eq!(data_encoding::HEXLOWER.encode(&tree.root()), *root, "{size} leaves");
            if let Some(data) = LEAVES.get(size) {
                tree.push(&leaf(&data_encoding::HEXLOWER.decode(data.as_bytes()).unwrap()));
            }
        }
    }

    /// Every leaf of every tree up to 70 has a proof that holds, and holds for nothing else.
    #[test]
    fn proofs_hold_for_their_leaf_and_place_alone() {
        let leaves: Vec<Hash> = (0..70_u8).map(|number| leaf(&[number])).collect();
        for size in 1..=leaves.len() {
            let mut tree = Frontier::default();
            leaves[..size].iter().for_each(|leaf| tree.push(leaf));
            for at in 0..size {
                let path = path_in(&levels(leaves[..size].to_vec()), at);
                let holds = |size: usize, at: usize, leaf: &Hash, path: &[Hash]| {
                    includes(&tree.root(), size as u64, at as u64, leaf, path)
                };
                assert!(holds(size, at, &leaves[at], &path), "{at} of {size}");
                assert!(!holds(size, at, &leaf(b"other"), &path));
                assert!(!holds(size, at ^ 1, &leaves[at], &path) || size == 1);
                assert!(!holds(size, at, &leaves[at], &[path.as_slice(), &[[0; 32]]].concat()));
                assert!(path.is_empty() || !holds(size, at, &leaves[at], &path[1..]));
            }
        }
    }
}
