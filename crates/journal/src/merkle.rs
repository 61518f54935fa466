//! The Merkle tree of RFC 6962 section 2.1 over event hashes, which are its leaf hashes.
//!
//! Proofs are made from the hashes of *complete* subtrees, which never change once they are there: whoever keeps those
//! ([`Subtree::place`] says where) makes any proof of any size with a number of reads that grows with the tree's height
//! alone ([`inclusion`], [`consistency`], [`root_of`]), and appends without looking at more than he writes
//! ([`Subtree::completed_by`]).

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

/// A complete subtree: 2^height leaves, of which the first is leaf number index * 2^height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subtree {
    /// How high; 0 is a leaf.
    pub height: u32,
    /// Which one of that height, from 0.
    pub index: u64,
}

impl Subtree {
    /// A leaf.
    pub fn leaf(index: u64) -> Self {
        Self { height: 0, index }
    }

    /// Its place, from 0, in a list to which every subtree is added when its last leaf is there, the lower ones first. The
    /// list of a tree is the beginning of the list of every later one.
    pub fn place(self) -> u64 {
        let last_leaf = ((self.index + 1) << self.height) - 1;
        places(last_leaf) + u64::from(self.height)
    }

    /// The subtrees that this leaf completes, above itself, the lowest first. Each is made of its left half, which was
    /// there before, and the one that was completed just now.
    pub fn completed_by(leaf: u64) -> impl Iterator<Item = Self> {
        (1..=leaf.trailing_ones()).map(move |height| Self { height, index: leaf >> height })
    }

    /// Its left half.
    pub fn left(self) -> Self {
        Self { height: self.height.saturating_sub(1), index: self.index * 2 }
    }

    /// The complete subtrees, from left to right, that make up the leaves from `begin` (a multiple of the largest of them)
    /// to before `end`.
    fn between(begin: u64, end: u64) -> impl DoubleEndedIterator<Item = Self> {
        let count = end - begin;
        let heights = (0..u64::BITS).rev().filter(move |height| count >> height & 1 == 1);
        heights.map(move |height| {
            // What stands to the left of it is made of larger ones.
            let before = begin + ((count >> height & !1) << height);
            Self { height, index: before >> height }
        })
    }
}

/// How many complete subtrees a tree of this size has, leaves included.
pub fn places(size: u64) -> u64 {
    2 * size - u64::from(size.count_ones())
}

/// The root of the tree over the first `size` leaves, from the hashes of complete subtrees.
pub fn root_of<E>(size: u64, mut hash: impl FnMut(Subtree) -> Result<Hash, E>) -> Result<Hash, E> {
    if size == 0 { Ok(Frontier::default().root()) } else { between(0, size, &mut hash) }
}

/// The inclusion proof of a leaf in the tree over the first `size` leaves (RFC 6962 section 2.1.1): from its sibling up to
/// the root's. Empty where there is no such leaf.
pub fn inclusion<E>(index: u64, size: u64, mut hash: impl FnMut(Subtree) -> Result<Hash, E>) -> Result<Vec<Hash>, E> {
    let (mut begin, mut end) = (0, if index < size { size } else { 0 });
    let mut path = Vec::new();
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            path.push(between(middle, end, &mut hash)?);
            end = middle;
        } else {
            path.push(between(begin, middle, &mut hash)?);
            begin = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree over the first `to` leaves continues the one over the first `from` (RFC 6962 section 2.1.2).
/// Empty where `from` is 0, of which nothing need be proved, or not below `to`.
pub fn consistency<E>(from: u64, to: u64, mut hash: impl FnMut(Subtree) -> Result<Hash, E>) -> Result<Vec<Hash>, E> {
    let (mut begin, mut end) = (0, to);
    let mut path = Vec::new();
    if from == 0 || from >= to {
        return Ok(path);
    }
    while from < end {
        let middle = begin + split(end - begin);
        if from <= middle {
            path.push(between(middle, end, &mut hash)?);
            end = middle;
        } else {
            path.push(between(begin, middle, &mut hash)?);
            begin = middle;
        }
    }
    // Where what is left is the whole of the older tree, whoever checks knows its root.
    if begin > 0 {
        path.push(between(begin, end, &mut hash)?);
    }
    path.reverse();
    Ok(path)
}

/// The root over the leaves from `begin` to before `end`.
fn between<E>(begin: u64, end: u64, hash: &mut impl FnMut(Subtree) -> Result<Hash, E>) -> Result<Hash, E> {
    let mut subtrees = Subtree::between(begin, end).rev();
    let last = subtrees.next().map_or_else(|| Ok(Hash::default()), &mut *hash)?;
    subtrees.try_fold(last, |right, left| Ok(node(&hash(left)?, &right)))
}

/// The largest power of two below `count`, which is above 1.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
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

/// Whether the tree of size `to` with this root continues the one of size `from` with that root (RFC 9162 section
/// 2.1.4.2): its first `from` leaves are the same. Of an older tree without leaves nothing can be proved, so it is never so.
pub fn continues(from: u64, from_root: &Hash, to: u64, to_root: &Hash, path: &[Hash]) -> bool {
    if from == 0 || from >= to {
        return from != 0 && from == to && from_root == to_root && path.is_empty();
    }
    // The older tree may be one that the path would begin with; then it is left out there.
    let (first, rest) = match (from.is_power_of_two(), path.split_first()) {
        (true, _) => (*from_root, path),
        (false, Some((first, rest))) => (*first, rest),
        (false, None) => return false,
    };
    let skipped = (from - 1).trailing_ones();
    let (mut at, mut last) = ((from - 1) >> skipped, (to - 1) >> skipped);
    let (mut older, mut newer) = (first, first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            (older, newer) = (node(sibling, &older), node(sibling, &newer));
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            newer = node(&newer, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && older == *from_root && newer == *to_root
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

    fn leaves(count: u8) -> Vec<Hash> {
        (0..count).map(|number| leaf(&[number])).collect()
    }

    /// RFC 6962 section 2.1, word for word.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [alone] => *alone,
            _ => {
                let (left, right) = leaves.split_at(largest_power_below(leaves.len()));
                node(&mth(left), &mth(right))
            }
        }
    }

    /// Section 2.1.1.
    fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() < 2 {
            return Vec::new();
        }
        let middle = largest_power_below(leaves.len());
        let (left, right) = leaves.split_at(middle);
        let (mut path, other) =
            if index < middle { (path(index, left), right) } else { (path(index - middle, right), left) };
        path.push(mth(other));
        path
    }

    /// Section 2.1.2.
    fn subproof(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if whole { Vec::new() } else { vec![mth(leaves)] };
        }
        let middle = largest_power_below(leaves.len());
        let (left, right) = leaves.split_at(middle);
        let (mut proof, other) = if old <= middle {
            (subproof(old, left, whole), right)
        } else {
            (subproof(old - middle, right, false), left)
        };
        proof.push(mth(other));
        proof
    }

    fn largest_power_below(count: usize) -> usize {
        let mut power = 1;
        while power * 2 < count {
            power *= 2;
        }
        power
    }

    /// A list of complete subtrees, as an archive keeps it.
    fn listed(leaves: &[Hash]) -> Vec<Hash> {
        let mut list = Vec::new();
        for (index, leaf) in (0..).zip(leaves) {
            assert_eq!(Subtree::leaf(index).place(), list.len() as u64);
            list.push(*leaf);
            for parent in Subtree::completed_by(index) {
                assert_eq!(parent.place(), list.len() as u64);
                let hash = node(&list[parent.left().place() as usize], list.last().unwrap());
                list.push(hash);
            }
        }
        assert_eq!(places(leaves.len() as u64), list.len() as u64);
        list
    }

    /// Reads the list, and counts how often.
    fn reading<'a>(
        list: &'a [Hash],
        reads: &'a mut u32,
    ) -> impl FnMut(Subtree) -> Result<Hash, std::convert::Infallible> {
        |subtree| {
            *reads += 1;
            Ok(list[subtree.place() as usize])
        }
    }

    /// What somebody could make of a proof that holds.
    fn touched(proof: &[Hash], others: &[Hash]) -> Vec<Vec<Hash>> {
        let mut all = Vec::new();
        for (place, bit) in (0..proof.len()).flat_map(|place| [(place, 0), (place, 4), (place, 255)]) {
            let mut flipped = proof.to_vec();
            flipped[place][bit / 8] ^= 1 << (bit % 8);
            all.push(flipped);
        }
        for place in 0..proof.len() {
            let mut without = proof.to_vec();
            without.remove(place);
            all.push(without);
            all.push(proof[..place].to_vec());
        }
        for place in 1..proof.len() {
            let mut swapped = proof.to_vec();
            swapped.swap(place - 1, place);
            all.push(swapped);
        }
        for other in others.iter().chain(proof.first()) {
            all.push([&[*other], proof].concat());
            all.push([proof, &[*other]].concat());
        }
        all
    }

    #[test]
    fn proofs_are_those_of_rfc_6962_for_every_leaf_and_size_up_to_70() {
        let all = leaves(70);
        for size in 1..=all.len() {
            let (leaves, list) = (&all[..size], listed(&all[..size]));
            let (n, mut reads) = (size as u64, 0);
            let root = root_of(n, reading(&list, &mut reads)).unwrap();
            assert_eq!(root, mth(leaves));
            let mut frontier = Frontier::default();
            leaves.iter().for_each(|leaf| frontier.push(leaf));
            assert_eq!((frontier.size(), frontier.root()), (n, root));
            for index in 0..size {
                let mut reads = 0;
                let proof = inclusion(index as u64, n, reading(&list, &mut reads)).unwrap();
                assert_eq!(proof, path(index, leaves), "{index} of {size}");
                assert_eq!(proof, path_in(&levels(leaves.to_vec()), index));
                assert!(reads <= 2 * n.ilog2() + 1, "{reads} reads for {index} of {size}");
                assert!(includes(&root, n, index as u64, &leaves[index], &proof));
            }
            for old in 0..=size {
                let mut reads = 0;
                let proof = consistency(old as u64, n, reading(&list, &mut reads)).unwrap();
                let expected = if old == 0 { Vec::new() } else { subproof(old, leaves, true) };
                assert_eq!(proof, expected, "{old} to {size}");
                assert!(reads <= 2 * n.ilog2() + 1, "{reads} reads for {old} to {size}");
                assert_eq!(continues(old as u64, &mth(&all[..old]), n, &root, &proof), old > 0);
            }
        }
    }

    #[test]
    fn consistency_proofs_are_those_that_implementations_share() {
        let hash = |data: &&str| leaf(&data_encoding::HEXLOWER.decode(data.as_bytes()).unwrap());
        let list = listed(&LEAVES.iter().map(hash).collect::<Vec<_>>());
        let proof = |from, to| {
            let mut reads = 0;
            let proof = consistency(from, to, reading(&list, &mut reads)).unwrap();
            proof.iter().map(|hash| data_encoding::HEXLOWER.encode(hash)).collect::<Vec<_>>()
        };
        let (second, left) = (
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        );
        assert_eq!(proof(2, 5), [second, left]);
        let (third, fourth) = (
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        );
        assert_eq!(proof(6, 8), [third, fourth, ROOTS[4]]);
        let mut reads = 0;
        let path = inclusion(5, 8, reading(&list, &mut reads)).unwrap();
        let path: Vec<String> = path.iter().map(|hash| data_encoding::HEXLOWER.encode(hash)).collect();
        assert_eq!(path, [left, fourth, ROOTS[4]]);
    }

    #[test]
    fn inclusion_holds_for_its_leaf_and_place_alone() {
        let all = leaves(40);
        for size in 1..=all.len() {
            let (leaves, root) = (&all[..size], mth(&all[..size]));
            for index in 0..size {
                let (proof, (n, at), leaf) = (path(index, leaves), (size as u64, index as u64), leaves[index]);
                let holds = |size, index, leaf: &Hash, proof: &[Hash]| includes(&root, size, index, leaf, proof);
                assert!(!holds(n, at, &root, &proof) || size == 1);
                assert!(!holds(n, at, &super::leaf(b"other"), &proof));
                for other in [at + 1, at.wrapping_sub(1), at ^ 2, n, u64::MAX] {
                    assert!(!holds(n, other, &leaf, &proof), "{other} for {index} of {size}");
                }
                assert!(!holds(0, at, &leaf, &proof));
                for touched in touched(&proof, &[root, leaf, Hash::default()]) {
                    assert!(!holds(n, at, &leaf, &touched), "{index} of {size}");
                }
                assert!(!includes(&mth(&all[..size - 1]), n, at, &leaf, &proof));
            }
        }
    }

    #[test]
    fn consistency_holds_for_its_sizes_and_roots_alone() {
        let all = leaves(40);
        for (new, old) in (1..=all.len()).flat_map(|new| (1..=new).map(move |old| (new, old))) {
            let (from, to) = (mth(&all[..old]), mth(&all[..new]));
            let (proof, (m, n)) = (subproof(old, &all[..new], true), (old as u64, new as u64));
            let what = format!("{old} to {new}");
            assert!(continues(m, &from, n, &to, &proof), "{what}");
            for touched in touched(&proof, &[from, to, Hash::default()]) {
                assert!(!continues(m, &from, n, &to, &touched), "{what}");
            }
            assert!(!continues(0, &from, n, &to, &proof), "{what}: nothing is proved of nothing");
            assert!(!continues(0, &mth(&[]), n, &to, &[]), "{what}");
            assert!(!continues(m, &leaf(b"other"), n, &to, &proof), "{what}");
            assert!(!continues(m, &from, n, &leaf(b"other"), &proof), "{what}");
            if old < new {
                assert!(!continues(m, &to, n, &from, &proof), "{what}: swapped roots");
                assert!(!continues(n, &to, m, &from, &proof), "{what}: backwards");
                assert!(!continues(m, &from, n, &to, &[]), "{what}");
                for other in [m - 1, n, n + 1, u64::MAX] {
                    assert!(!continues(other, &from, n, &to, &proof), "{what} from {other}");
                }
            } else {
                assert!(!continues(m, &from, n + 1, &to, &proof), "{what}");
            }
        }
    }
}
