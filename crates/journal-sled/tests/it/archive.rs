//! The archive: what was acknowledged is there byte for byte, or there is an error that says where it is not.

use std::fs;
use std::path::{Path, PathBuf};

use journal::Record;
use journal_sled::Error;
use journal_sled::archive::{Archive, Opened, Options};
use lifecycle::scenario::Scenario;
use model::{Sequence, TenantId};
use proptest::prelude::*;

use crate::child::{acknowledge, child_dir, killed};
use crate::support::{full, tenant_id};

type Event = (TenantId, Sequence, Record);

fn open(dir: &Path) -> Opened {
    // Small, so that there are some.
    Archive::open(dir, Options { segment_bytes: 64 * 1024 }, |_| ()).unwrap()
}

/// Opens an archive that must be as it was left.
#[track_caller]
fn reopen(dir: &Path) -> Archive {
    let Opened { archive, cut, reindexed } = open(dir);
    assert_eq!((cut, reindexed), (None, None));
    archive
}

fn error(dir: &Path) -> Error {
    match Archive::open(dir, Options::default(), |_| ()) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

/// Real events of three tenants, in groups of one to seven.
fn groups() -> Vec<Vec<Event>> {
    groups_of(&full())
}

fn groups_of(scenario: &Scenario) -> Vec<Vec<Event>> {
    let mut groups = Vec::new();
    let mut rest = scenario.records.as_slice();
    let mut next = Sequence(1);
    for size in [1, 4, 7, 2].into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(size.min(rest.len()));
        let mut group = Vec::new();
        for record in now {
            group.extend([1, 2, 3].map(|tenant| (tenant_id(tenant), next, record.clone())));
            next = next.next();
        }
        groups.push(group);
        rest = later;
    }
    groups
}

#[track_caller]
fn assert_holds(archive: &Archive, groups: &[Vec<Event>]) {
    let expected: Vec<&Event> = groups.iter().flatten().collect();
    for tenant in [1, 2, 3].map(tenant_id) {
        let ours = expected.iter().filter(|event| event.0 == tenant);
        let ours: Vec<(Sequence, Record)> = ours.map(|(_, sequence, record)| (*sequence, record.clone())).collect();
        let there: Vec<_> = archive.events(tenant, Sequence(1)).collect::<Result<_, _>>().unwrap();
        assert_eq!(there, ours);
        assert_eq!(archive.last(tenant).unwrap(), Sequence(ours.len() as u64));
    }
}

/// An archive of all groups, closed; and its segments.
fn written(dir: &Path) -> Vec<PathBuf> {
    let archive = open(dir).archive;
    for group in groups() {
        assert_eq!(archive.append(&group).unwrap(), group.len());
    }
    segments(dir)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut segments: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.sort();
    segments
}

fn flip(file: &Path, offset: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn what_was_appended_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    assert!(written(dir.path()).len() > 2, "several segments");
    let (archive, groups) = (reopen(dir.path()), groups());
    assert_holds(&archive, &groups);
    archive.verify(|_| ()).unwrap();
    assert_eq!(archive.append(&groups.concat()).unwrap(), 0, "all of it again changes nothing");
    assert_holds(&archive, &groups);
    let all = [1, 2, 3].map(|tenant| (tenant_id(tenant), archive.last(tenant_id(1)).unwrap()));
    assert_eq!(archive.tenants(None, 9).unwrap(), all);
    assert_eq!(archive.tenants(Some(tenant_id(1)), 1).unwrap(), all[1..2]);
    assert_eq!(archive.last(tenant_id(9)).unwrap(), Sequence::NONE);
    assert_eq!(
        archive.bytes().unwrap(),
        segments(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum::<u64>()
    );
}

#[test]
fn reading_is_bounded_in_events_and_bytes() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let (archive, tenant) = (reopen(dir.path()), tenant_id(2));
    let last = archive.last(tenant).unwrap().0 as usize;
    assert_eq!(archive.read(tenant, Sequence(0), usize::MAX, usize::MAX).unwrap().len(), last);
    assert_eq!(archive.read(tenant, Sequence(3), 2, usize::MAX).unwrap().len(), 2);
    assert_eq!(archive.read(tenant, Sequence(1), usize::MAX, 0).unwrap().len(), 1, "at least one");
    let records = archive.read(tenant, Sequence(1), usize::MAX, 20_000).unwrap();
    let bytes: usize = records.iter().map(|record| record.payload.len() + record.signature.len()).sum();
    assert!(records.len() > 1 && bytes <= 20_000, "{bytes}");
    assert_eq!(archive.read(tenant, Sequence(last as u64 + 1), 9, usize::MAX).unwrap(), []);
    assert_eq!(archive.read(tenant_id(9), Sequence(1), 9, usize::MAX).unwrap(), []);
}

#[test]
fn rejects_other_bytes_gaps_and_what_is_too_large() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, tenant) = (open(dir.path()).archive, tenant_id(1));
    let records = Scenario::bare().records;
    let event = |sequence: u64, record: &Record| (tenant, Sequence(sequence), record.clone());
    let one = records[0].clone();
    let other = Record { signature: one.signature.clone(), payload: b"other".as_slice().into() };
    let large = Record { signature: String::new(), payload: vec![0; 2_000_000].into() };
    let refused = |events: &[Event]| archive.append(events).unwrap_err();
    assert!(matches!(refused(&[event(2, &one)]), Error::Gap { last: Sequence(0), given: Sequence(2), .. }));
    assert!(matches!(refused(&[event(1, &one), event(3, &one)]), Error::Gap { .. }));
    assert!(matches!(refused(&[event(0, &one)]), Error::Gap { .. }));
    assert!(matches!(refused(&[event(1, &large)]), Error::TooLarge { .. }));
    assert!(matches!(refused(&[event(1, &one), event(1, &other)]), Error::Differs { sequence: Sequence(1), .. }));
    assert_eq!(archive.last(tenant).unwrap(), Sequence::NONE, "nothing of a refused batch is written");
    assert_eq!(archive.append(&[event(1, &one), event(1, &one), event(2, &other)]).unwrap(), 2);
    assert!(matches!(refused(&[event(3, &one), event(2, &one)]), Error::Differs { sequence: Sequence(2), .. }));
    assert_eq!(archive.append(&[event(2, &other), event(3, &one)]).unwrap(), 1);
    assert_eq!(archive.read(tenant, Sequence(1), 9, usize::MAX).unwrap(), [one.clone(), other, one]);
}

#[test]
fn anything_that_a_log_can_hold_is_archived() {
    let dir = tempfile::tempdir().unwrap();
    let archive = open(dir.path()).archive;
    let record =
        |signature: &str, payload: Vec<u8>| Record { signature: signature.to_owned(), payload: payload.into() };
    let odd = [
        record("", Vec::new()),
        record("not a signature \u{1f511}", vec![0; 60_000]),
        record("x", b"KLgr".repeat(1_000)),
        record("y", (0..=255).cycle().take(1_000_000).collect()),
    ];
    let events: Vec<Event> =
        odd.iter().zip(1..).map(|(record, sequence)| (tenant_id(1), Sequence(sequence), record.clone())).collect();
    assert_eq!(archive.append(&events).unwrap(), 4);
    // More than a group holds, in one append.
    let many: Vec<Event> = (1..=9).map(|sequence| (tenant_id(2), Sequence(sequence), odd[3].clone())).collect();
    assert_eq!(archive.append(&many).unwrap(), 9);
    drop(archive);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let archive = open(dir.path()).archive;
    assert_eq!(archive.read(tenant_id(1), Sequence(1), 9, usize::MAX).unwrap(), odd);
    assert_eq!(archive.read(tenant_id(2), Sequence(1), 99, usize::MAX).unwrap().len(), 9);
}

// === Crashes ===

#[test]
fn appends_until_it_is_killed() {
    let Some(dir) = child_dir() else { return };
    let archive = open(&dir).archive;
    for (number, group) in groups().iter().enumerate() {
        archive.append(group).unwrap();
        acknowledge(number + 1);
    }
    std::thread::park();
}

#[test]
fn a_killed_process_leaves_everything_it_acknowledged() {
    let groups = groups();
    for until in (1..=groups.len()).step_by(2) {
        let dir = tempfile::tempdir().unwrap();
        let acknowledged = killed("archive::appends_until_it_is_killed", dir.path(), until);
        let archive = open(dir.path()).archive;
        let there = archive.last(tenant_id(1)).unwrap().0 as usize;
        let after = |count: usize| groups[..count].iter().map(|group| group.len() / 3).sum::<usize>();
        let at = (0..=groups.len()).find(|count| after(*count) == there).expect("the end of a group");
        assert!(at >= acknowledged, "{acknowledged} groups were acknowledged, {at} are there");
        assert_holds(&archive, &groups[..at]);
        groups[at..].iter().for_each(|group| assert_eq!(archive.append(group).unwrap(), group.len()));
        archive.verify(|_| ()).unwrap();
        assert_holds(&archive, &groups);
    }
}

#[test]
fn a_torn_append_is_cut_off_wherever_it_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let groups = groups();
    let (torn, whole) = groups.split_last().unwrap();
    let archive = Archive::open(dir.path(), Options::default(), |_| ()).unwrap().archive;
    whole.iter().for_each(|group| assert_eq!(archive.append(group).unwrap(), group.len()));
    let good = archive.bytes().unwrap() as usize;
    drop(archive);
    // Its bytes, as another archive wrote them.
    let other = tempfile::tempdir().unwrap();
    let archive = Archive::open(other.path(), Options::default(), |_| ()).unwrap().archive;
    groups.iter().for_each(|group| assert_eq!(archive.append(group).unwrap(), group.len()));
    drop(archive);
    let bytes = fs::read(&segments(other.path())[0]).unwrap();
    let file = &segments(dir.path())[0];
    for cut in (good + 1..bytes.len()).step_by((bytes.len() - good) / 23) {
        for zeros in [false, true] {
            let mut left = bytes[..cut].to_vec();
            if zeros {
                // The length reached the disk, and the bytes did not.
                left.resize(bytes.len(), 0);
            }
            fs::write(file, &left).unwrap();
            let Opened { archive, cut: Some(cut), reindexed: None } = open(dir.path()) else { panic!("not cut") };
            assert_eq!((cut.offset, cut.bytes), (good as u64, (left.len() - good) as u64));
            assert_eq!(&cut.file, file);
            assert_holds(&archive, whole);
        }
    }
    let archive = reopen(dir.path());
    assert_eq!(archive.append(torn).unwrap(), torn.len());
    drop(archive);
    assert_holds(&reopen(dir.path()), &groups);
}

#[test]
fn a_segment_that_was_just_begun_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let segments = written(dir.path());
    let last = segments.last().unwrap();
    let number = segments.len() as u32 + 1;
    let next = dir.path().join(format!("segment-{number:08}.log"));
    // What a crash leaves before the new segment has its name, and after.
    fs::write(next.with_extension("new"), b"keylatch").unwrap();
    assert_holds(&reopen(dir.path()), &groups());
    let archive = open(dir.path()).archive;
    let mut sequence = archive.last(tenant_id(1)).unwrap();
    while !next.exists() {
        sequence = sequence.next();
        archive.append(&[(tenant_id(1), sequence, groups()[0][0].2.clone())]).unwrap();
    }
    drop(archive);
    fs::write(&next, &fs::read(&next).unwrap()[..32]).unwrap();
    match error(dir.path()) {
        // The index knows that there was more.
        Error::Damaged { file, offset: 32, .. } => assert_eq!(file, next),
        other => panic!("{other}"),
    }
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let archive = open(dir.path()).archive;
    assert_eq!(archive.last(tenant_id(1)).unwrap().next(), sequence);
    assert!(last.exists());
    assert_eq!(archive.append(&[(tenant_id(1), sequence, groups()[0][0].2.clone())]).unwrap(), 1);
}

// === Damage ===

#[test]
fn a_flipped_byte_in_the_middle_is_an_error_that_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let segments = written(dir.path());
    let (last, earlier) = segments.split_last().unwrap();
    for (file, part) in [(&earlier[0], 0.1), (&earlier[0], 0.9), (&earlier[1], 0.5), (last, 0.1), (last, 0.4)] {
        let offset = (fs::metadata(file).unwrap().len() as f64 * part) as usize;
        flip(file, offset);
        let check = |error: Error| match error {
            Error::Damaged { file: named, offset: at, .. } => {
                assert_eq!(&named, file);
                assert!(at <= offset as u64 && at + 60_000 > offset as u64, "{at} for {offset}");
            }
            other => panic!("{other}"),
        };
        // When everything is checked; when it is read; when the index is made anew.
        let archive = reopen(dir.path());
        check(archive.verify(|_| ()).unwrap_err());
        let read = [1, 2, 3].map(|tenant| archive.events(tenant_id(tenant), Sequence(1)).find_map(Result::err));
        let read: Vec<Error> = read.into_iter().flatten().collect();
        assert_eq!(read.len(), 1, "one event of one tenant");
        read.into_iter().for_each(check);
        drop(archive);
        fs::rename(dir.path().join("index"), dir.path().join("aside")).unwrap();
        check(error(dir.path()));
        let _ = fs::remove_dir_all(dir.path().join("index"));
        fs::rename(dir.path().join("aside"), dir.path().join("index")).unwrap();
        flip(file, offset);
    }
    assert_holds(&reopen(dir.path()), &groups());
}

#[test]
fn an_archive_cut_short_below_what_was_synced_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let segments = written(dir.path());
    let (last, earlier) = segments.split_last().unwrap();
    let bytes = fs::read(last).unwrap();
    fs::write(last, &bytes[..bytes.len() - 10]).unwrap();
    match error(dir.path()) {
        Error::Damaged { file, offset, .. } => assert_eq!((&file, offset), (last, bytes.len() as u64 - 10)),
        other => panic!("{other}"),
    }
    fs::remove_file(last).unwrap();
    assert!(matches!(error(dir.path()), Error::Damaged { file, offset: 0, .. } if file == *last));
    fs::write(last, bytes).unwrap();
    fs::rename(&earlier[1], dir.path().join("elsewhere")).unwrap();
    assert!(matches!(error(dir.path()), Error::Damaged { file, offset: 0, .. } if file == earlier[1]));
    fs::rename(dir.path().join("elsewhere"), &earlier[1]).unwrap();
    assert_holds(&reopen(dir.path()), &groups());
}

#[test]
fn a_segment_of_another_version_or_number_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let segments = written(dir.path());
    for change in [16, 20, 0] {
        flip(&segments[1], change);
        let Error::Format { file, found } = error(dir.path()) else { panic!("another error") };
        assert_eq!(file, segments[1]);
        assert!(change != 16 || found.contains("version 0"), "{found}");
        flip(&segments[1], change);
    }
    fs::write(&segments[1], b"{}").unwrap();
    assert!(matches!(error(dir.path()), Error::Format { .. }));
}

#[test]
fn a_missing_or_broken_index_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let segments = written(dir.path()).len() as u32;
    let index = dir.path().join("index");
    fs::remove_dir_all(&index).unwrap();
    let mut seen = Vec::new();
    let options = Options { segment_bytes: 64 * 1024 };
    let archive = Archive::open(dir.path(), options, |progress| seen.push(progress)).unwrap().archive;
    assert_holds(&archive, &groups());
    archive.verify(|_| ()).unwrap();
    drop(archive);
    let events = groups().iter().map(Vec::len).sum::<usize>() as u64;
    let last = seen.last().unwrap();
    assert_eq!((last.segment, last.of, last.events), (segments, segments, events));
    assert!(seen.is_sorted_by_key(|progress| (progress.segment, progress.events)));

    for file in ["db", "conf"] {
        let path = index.join(file);
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.len() / 2;
        bytes.iter_mut().take(end).for_each(|byte| *byte ^= 0x55);
        fs::write(&path, bytes).unwrap();
        let Opened { archive, cut: None, .. } = open(dir.path()) else { panic!("cut") };
        assert_holds(&archive, &groups());
        archive.verify(|_| ()).unwrap();
    }
}

#[test]
fn an_index_of_before_catches_up() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let groups = groups();
    let (first, rest) = groups.split_at(groups.len() / 3);
    let archive = open(dir.path()).archive;
    first.iter().for_each(|group| assert_eq!(archive.append(group).unwrap(), group.len()));
    drop(archive);
    let index = dir.path().join("index");
    let files = |from: &Path, to: &Path| {
        fs::create_dir_all(to.join("blobs")).unwrap();
        for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            fs::copy(&entry, to.join(entry.file_name().unwrap())).unwrap();
        }
    };
    files(&index, copy.path());
    let archive = open(dir.path()).archive;
    rest.iter().for_each(|group| assert_eq!(archive.append(group).unwrap(), group.len()));
    drop(archive);
    fs::remove_dir_all(&index).unwrap();
    files(copy.path(), &index);
    assert_holds(&reopen(dir.path()), &groups);
}

#[test]
fn one_process_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let archive = open(dir.path()).archive;
    assert!(matches!(error(dir.path()), Error::Locked(_)));
    drop(archive);
    reopen(dir.path());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is appended in whatever groups, with repetitions and restarts and the index gone now and then: it is what
    /// a list of the records says.
    #[test]
    fn it_is_a_list_of_records(
        steps in prop::collection::vec((0..3u8, 0..4usize, 0..2_000usize, 0..8u8), 1..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut lists: [Vec<Record>; 3] = Default::default();
        let mut archive = open(dir.path()).archive;
        for (tenant, repeated, size, action) in steps {
            let list = &mut lists[usize::from(tenant)];
            let begin = list.len().saturating_sub(repeated);
            list.push(Record { signature: format!("signature {}", list.len()), payload: vec![action; size].into() });
            let event = |(place, record): (usize, &Record)| (tenant_id(tenant), Sequence(place as u64 + 1), record.clone());
            let events: Vec<Event> = list.iter().enumerate().skip(begin).map(event).collect();
            prop_assert_eq!(archive.append(&events).unwrap(), 1);
            if action < 2 {
                drop(archive);
                if action == 0 {
                    fs::remove_dir_all(dir.path().join("index")).unwrap();
                }
                archive = open(dir.path()).archive;
            }
        }
        for (tenant, list) in (0..).zip(&lists) {
            prop_assert_eq!(&archive.read(tenant_id(tenant), Sequence(1), usize::MAX, usize::MAX).unwrap(), list);
        }
        archive.verify(|_| ()).unwrap();
    }
}
