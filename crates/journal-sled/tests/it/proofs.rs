//! Proofs from the archive: those of RFC 6962, whatever has become of the hashes that they are made from.

use std::fs;
use std::path::{Path, PathBuf};

use journal::Record;
use journal::merkle::{self, Frontier, Hash};
use journal_sled::Error;
use journal_sled::archive::{Archive, Options};
use model::{Sequence, TenantId};

use crate::support::tenant_id;

const EVENTS: usize = 75;

fn open(dir: &Path) -> Archive {
    Archive::open(dir, Options::default(), |_| ()).unwrap().archive
}

fn record(tenant: u8, number: usize) -> Record {
    Record { signature: format!("{tenant} {number}"), payload: vec![tenant; number].into() }
}

/// The tenants' events, in appends of one to nine, the tenants mixed.
fn append(archive: &Archive, from: usize, to: usize) {
    let mut next = from;
    for size in [1, 2, 9, 3].into_iter().cycle() {
        let end = to.min(next + size);
        let event =
            |number| [1, 2].map(|tenant| (tenant_id(tenant), Sequence(number as u64 + 1), record(tenant, number)));
        let events: Vec<_> = (next..end).flat_map(event).collect();
        assert_eq!(archive.append(&events).unwrap(), events.len());
        next = end;
        if next == to {
            return;
        }
    }
}

fn written(dir: &Path) -> Archive {
    let archive = open(dir);
    append(&archive, 0, EVENTS);
    archive
}

fn leaves(tenant: u8) -> Vec<Hash> {
    (0..EVENTS).map(|number| *record(tenant, number).hash().as_bytes()).collect()
}

fn root(leaves: &[Hash]) -> Hash {
    let mut tree = Frontier::default();
    leaves.iter().for_each(|leaf| tree.push(leaf));
    tree.root()
}

fn tree_file(dir: &Path, tenant: u8) -> PathBuf {
    dir.join("tree").join(tenant_id(tenant).to_string())
}

fn consistency(archive: &Archive, tenant: u8, from: usize, to: usize) -> Result<Vec<Hash>, Error> {
    archive.consistency(tenant_id(tenant), from as u64, to as u64, &root(&leaves(tenant)[..to]))
}

/// Proofs of some events and sizes hold, and are those of the whole tree.
#[track_caller]
fn assert_proves(archive: &Archive) {
    for tenant in [1, 2] {
        let all = leaves(tenant);
        for size in [1, 2, 7, 8, 33, 64, EVENTS] {
            let (leaves, root) = (&all[..size], root(&all[..size]));
            for index in [0, 1, 6, 31, 63, size - 1].into_iter().filter(|index| *index < size) {
                let event = Sequence(index as u64 + 1);
                let path = archive.inclusion(tenant_id(tenant), event, size as u64, &root).unwrap();
                assert_eq!(path, merkle::path_in(&merkle::levels(leaves.to_vec()), index));
            }
            for from in [0, 1, 3, 6, 32, size].into_iter().filter(|from| *from <= size) {
                let path = consistency(archive, tenant, from, size).unwrap();
                let older = self::root(&all[..from]);
                assert_eq!(merkle::continues(from as u64, &older, size as u64, &root, &path), from > 0);
            }
        }
    }
}

#[test]
fn proofs_of_any_size_are_made_from_what_was_kept() {
    let dir = tempfile::tempdir().unwrap();
    let archive = written(dir.path());
    for tenant in [1, 2] {
        let length = fs::metadata(tree_file(dir.path(), tenant)).unwrap().len();
        assert_eq!(length, merkle::places(EVENTS as u64) * 32, "64 bytes an event, and nothing had to be asked for it");
    }
    assert_proves(&archive);
    drop(archive);
    assert_proves(&open(dir.path()));
}

type Spoil = fn(&Path);

/// A folder of before there was such a thing, a file cut at any place, one that a crash left longer, other bytes anywhere.
#[test]
fn hashes_that_are_missing_short_or_wrong_are_made_anew() {
    let spoils: [(&str, Spoil); 7] = [
        ("no folder", |file| fs::remove_dir_all(file.parent().unwrap()).unwrap()),
        ("no file", |file| fs::remove_file(file).unwrap()),
        ("an empty file", |file| fs::write(file, b"").unwrap()),
        ("cut within a hash", |file| {
            let bytes = fs::read(file).unwrap();
            fs::write(file, &bytes[..bytes.len() / 2 + 5]).unwrap();
        }),
        ("longer", |file| fs::write(file, [fs::read(file).unwrap(), vec![0; 999]].concat()).unwrap()),
        ("another first leaf", |file| flip(file, 0)),
        ("nothing but zeros", |file| fs::write(file, vec![0; fs::metadata(file).unwrap().len() as usize]).unwrap()),
    ];
    for (what, spoil) in spoils {
        let dir = tempfile::tempdir().unwrap();
        drop(written(dir.path()));
        spoil(&tree_file(dir.path(), 1));
        eprintln!("{what}");
        assert_proves(&open(dir.path()));
        // And it goes on from there.
        let archive = open(dir.path());
        let more = (tenant_id(1), Sequence(EVENTS as u64 + 1), record(1, EVENTS));
        archive.append(&[more]).unwrap();
        let all = [leaves(1), vec![*record(1, EVENTS).hash().as_bytes()]].concat();
        let (size, root) = (all.len() as u64, root(&all));
        let path = archive.inclusion(tenant_id(1), Sequence(size), size, &root).unwrap();
        assert_eq!(path, merkle::path_in(&merkle::levels(all), EVENTS));
    }
}

#[test]
fn every_byte_of_the_file_may_be_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let archive = written(dir.path());
    let file = tree_file(dir.path(), 1);
    let length = fs::metadata(&file).unwrap().len();
    for offset in (0..length).step_by(97) {
        flip(&file, offset as usize);
        for from in [1, 37, EVENTS - 1] {
            consistency(&archive, 1, from, EVENTS).unwrap();
        }
    }
    assert_proves(&archive);
}

/// What was begun while the cache stood still is caught up with, whatever appends come in between.
#[test]
fn what_was_appended_while_the_hashes_were_behind_is_caught_up_with() {
    let dir = tempfile::tempdir().unwrap();
    let archive = open(dir.path());
    append(&archive, 0, 20);
    fs::remove_file(tree_file(dir.path(), 1)).unwrap();
    append(&archive, 20, EVENTS);
    assert_proves(&archive);
}

/// An index that was lost, and with it the last events of the archive: they come again.
#[test]
fn hashes_of_events_that_come_again_are_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = {
        let archive = open(dir.path());
        append(&archive, 0, 50);
        tree_file(dir.path(), 1)
    };
    let longer = {
        let other = tempfile::tempdir().unwrap();
        drop(written(other.path()));
        fs::read(tree_file(other.path(), 1)).unwrap()
    };
    fs::write(&file, longer).unwrap();
    let archive = open(dir.path());
    append(&archive, 50, EVENTS);
    assert_proves(&archive);
}

#[test]
fn what_is_not_there_is_not_proved() {
    let dir = tempfile::tempdir().unwrap();
    let archive = written(dir.path());
    let (tenant, size, root) = (tenant_id(1), EVENTS as u64, root(&leaves(1)));
    let beyond = |proof: Result<Vec<Hash>, Error>| assert!(matches!(proof, Err(Error::Beyond { .. })), "{proof:?}");
    beyond(archive.inclusion(tenant, Sequence(0), size, &root));
    beyond(archive.inclusion(tenant, Sequence(size + 1), size, &root));
    beyond(archive.inclusion(tenant, Sequence(1), size + 1, &root));
    beyond(archive.inclusion(tenant, Sequence(1), u64::MAX, &root));
    beyond(archive.consistency(tenant, 1, u64::MAX, &root));
    beyond(archive.consistency(tenant, size, size - 1, &root));
    beyond(archive.consistency(TenantId::from_bytes([9; 32]), 0, 1, &root));
    let other = |proof: Result<Vec<Hash>, Error>| assert!(matches!(proof, Err(Error::OtherRoot { .. })), "{proof:?}");
    other(archive.inclusion(tenant, Sequence(1), size, &[7; 32]));
    other(archive.consistency(tenant, 7, size, &[7; 32]));
    other(archive.consistency(tenant, 0, size, &[7; 32]));
    other(archive.consistency(tenant, size, size, &[7; 32]));
}

/// Hashes that are well, and an event that is not: no proof leaves the archive for bytes that nobody signed for.
#[test]
fn an_event_that_was_changed_on_the_disk_is_not_proved() {
    let dir = tempfile::tempdir().unwrap();
    let archive = written(dir.path());
    let segment = dir.path().join("segment-00000001.log");
    let bytes = fs::read(&segment).unwrap();
    let payload = vec![1; 60];
    let at = bytes.windows(60).position(|window| window == payload).unwrap();
    flip(&segment, at);
    let (size, root) = (EVENTS as u64, root(&leaves(1)));
    let proofs = (1..=size).map(|event| archive.inclusion(tenant_id(1), Sequence(event), size, &root));
    let refused: Vec<Error> = proofs.filter_map(Result::err).collect();
    assert!(matches!(refused[..], [Error::Damaged { .. }]), "{refused:?}");
}

fn flip(file: &Path, offset: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset] ^= 1;
    fs::write(file, bytes).unwrap();
}
