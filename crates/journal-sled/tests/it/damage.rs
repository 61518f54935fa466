//! Whatever happens to a replica's files: the state that was written, an earlier one, or none and a word about it.

use std::fs;
use std::path::{Path, PathBuf};

use journal_sled::Replica;
use journal_sled::replica::{Opened, Start};

use crate::support::{History, assert_same, full};

/// Two tenants, committed in groups, opened and closed in between, so that there is a snapshot as well as a log.
fn written(dir: &Path) -> Vec<History> {
    let history = History::of(&full());
    let tenants = vec![history.as_tenant(1), history.as_tenant(2)];
    for part in 0..3 {
        let replica = Replica::open(dir, history.root()).unwrap().replica;
        for tenant in &tenants {
            let third = tenant.changes.len().div_ceil(3);
            for group in tenant.changes.iter().skip(part * third).take(third).cloned().collect::<Vec<_>>().chunks(4) {
                replica.commit(group).unwrap();
            }
        }
    }
    tenants
}

/// Many tenants, committed in groups in one go, so that the log is long and there is no snapshot of most of it.
fn written_long(dir: &Path) -> Vec<History> {
    let history = History::of(&full());
    let tenants: Vec<History> = (0..24).map(|number| history.as_tenant(number)).collect();
    let replica = Replica::open(dir, history.root()).unwrap().replica;
    for tenant in &tenants {
        tenant.changes.chunks(8).for_each(|group| replica.apply(group).unwrap());
    }
    replica.sync().unwrap();
    tenants
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &to) } else { fs::copy(entry.path(), to).map(drop).unwrap() }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

/// Opens what is left. What it then says must be true; and it must be good for going on with.
fn check(dir: &Path, tenants: &[History], what: &str) -> Start {
    let Opened { replica, start } =
        Replica::open(dir, tenants[0].root()).unwrap_or_else(|error| panic!("{what}: {error}"));
    for tenant in tenants {
        let head = replica.head(tenant.id()).unwrap().sequence.0 as usize;
        if matches!(start, Start::SetAside { .. } | Start::New) {
            assert_eq!(head, 0, "{what}");
        }
        assert_same(&replica, &tenant.states[head]);
        replica.commit(&tenant.changes[head..]).unwrap();
        assert_same(&replica, tenant.last());
    }
    start
}

/// Damages copies of a replica in many places, one at a time; counts how each was noticed.
fn damaged(
    write: impl Fn(&Path) -> Vec<History>,
    change: impl Fn(&mut Vec<u8>, usize),
    only: impl Fn(&Path) -> bool,
    places: usize,
) -> [usize; 3] {
    let whole = tempfile::tempdir().unwrap();
    let tenants = write(whole.path());
    let (mut kept, mut aside, mut by_digest) = (0, 0, 0);
    for file in files(&whole.path().join("store")).iter().filter(|file| only(file)) {
        let length = fs::metadata(file).unwrap().len() as usize;
        for place in (0..places).map(|place| place * length / places).take(length.max(1)) {
            let dir = tempfile::tempdir().unwrap();
            copy(whole.path(), dir.path());
            let path = dir.path().join(file.strip_prefix(whole.path()).unwrap());
            let mut bytes = fs::read(&path).unwrap();
            change(&mut bytes, place);
            fs::write(&path, bytes).unwrap();
            match check(dir.path(), &tenants, &format!("{} at {place}", path.display())) {
                Start::SetAside { why, .. } if why.contains("rows are not") => by_digest += 1,
                Start::SetAside { .. } => aside += 1,
                Start::Kept | Start::New => kept += 1,
            }
        }
    }
    println!("kept {kept}, set aside {aside}, and {by_digest} more that sled alone would have taken for whole");
    [kept, aside, by_digest]
}

fn flip(bytes: &mut [u8], place: usize) {
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= 0x41;
    }
}

/// sled takes a message that it can't read for the end of a segment, and goes on behind it. This is what the digest is for.
#[test]
fn what_recovery_leaves_out_in_silence_is_noticed() {
    let [_, aside, by_digest] =
        damaged(written_long, |bytes, place| flip(bytes, place), |file| file.ends_with("db"), 40);
    assert!(aside + by_digest > 0);
}

#[test]
fn a_flipped_byte_is_noticed_or_harmless() {
    let [kept, aside, by_digest] = damaged(written, |bytes, place| flip(bytes, place), |_| true, 120);
    assert!(kept > 0 && aside + by_digest > 0);
}

#[test]
fn a_file_cut_short_is_noticed_or_harmless() {
    let [kept, aside, by_digest] = damaged(written, |bytes, place| bytes.truncate(place), |_| true, 40);
    assert!(kept > 0 && aside + by_digest > 0);
}

#[test]
fn a_block_of_zeros_is_noticed_or_harmless() {
    let zero = |bytes: &mut Vec<u8>, place: usize| bytes.iter_mut().skip(place).take(4096).for_each(|byte| *byte = 0);
    let [.., aside, by_digest] = damaged(written, zero, |file| file.ends_with("db"), 60);
    assert!(aside + by_digest > 0);
}

#[test]
fn a_missing_file_is_noticed_or_harmless() {
    let whole = tempfile::tempdir().unwrap();
    let tenants = written(whole.path());
    for file in files(&whole.path().join("store")) {
        let dir = tempfile::tempdir().unwrap();
        copy(whole.path(), dir.path());
        let path = dir.path().join(file.strip_prefix(whole.path()).unwrap());
        fs::remove_file(&path).unwrap();
        check(dir.path(), &tenants, &format!("{} missing", path.display()));
    }
}
