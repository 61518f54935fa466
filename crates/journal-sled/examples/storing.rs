//! What a commit and an append cost on this machine, beside what the disk and sled cost alone, in one run.
//!
//! `cargo run --release -p journal-sled --example storing [directory]`. The directory should be on the disk that
//! counts; a temporary one is made below it and removed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "an example that measures")]

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use journal::{Chain, Record};
use journal_sled::archive::{self, Archive};
use journal_sled::replica::{Change, Replica, Start};
use lifecycle::scenario::Scenario;
use lifecycle::{Tenant, View, judge, prepare};
use model::{Fingerprint, Sequence, TenantId};

const GROUPS: [usize; 3] = [1, 16, 128];

fn main() {
    let place = std::env::args().nth(1).unwrap_or_else(|| std::env::temp_dir().display().to_string());
    let dir = tempfile::tempdir_in(&place).unwrap();
    let (changes, root) = history(150);
    let bytes: usize = changes.iter().map(|change| change.record.payload.len()).sum();
    println!("{} events of {} bytes on average", changes.len(), bytes / changes.len());

    println!("\nthe disk alone: one record written at the end of a file, then synced");
    let fsync = raw_fsync(dir.path(), &changes);
    let baseline = report("fdatasync a record", 1, fsync, fsync);
    for group in GROUPS {
        let rate = raw_sled(&dir.path().join(format!("sled-{group}")), &changes, group, true);
        report("sled, raw inserts, flush and fdatasync", group, rate, baseline);
    }
    let rate = raw_sled(&dir.path().join("sled-flush"), &changes, 1, false);
    report("sled, raw inserts, its flush only (not durable)", 1, rate, baseline);

    println!("\nreplica: state, receipts, what is due, raw tail");
    for group in GROUPS {
        replica(&dir.path().join(format!("replica-{group}")), &changes, root, group, baseline);
    }
    unsynced(&dir.path().join("replica-unsynced"), &changes, root, baseline);

    println!("\narchive");
    for group in GROUPS {
        append(&dir.path().join(format!("archive-{group}")), &changes, group, baseline);
    }
}

/// So many events a second; its ratio to the baseline.
fn report(what: &str, group: usize, rate: f64, baseline: f64) -> f64 {
    println!("{what:<50} groups of {group:>3}: {rate:>8.0} events/s, {:>6.2} of a synced record", rate / baseline);
    rate
}

fn rate(events: usize, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64()
}

/// Fewer events where each waits for the disk.
fn part(changes: &[Change], group: usize) -> &[Change] {
    &changes[..changes.len().min(group * 500)]
}

// === Alone ===

fn raw_fsync(dir: &Path, changes: &[Change]) -> f64 {
    let mut file = File::create(dir.join("raw")).unwrap();
    let changes = part(changes, 1);
    let start = Instant::now();
    for change in changes {
        file.write_all(&change.record.payload).unwrap();
        file.sync_data().unwrap();
    }
    rate(changes.len(), start.elapsed())
}

fn raw_sled(dir: &Path, changes: &[Change], group: usize, sync: bool) -> f64 {
    let db = sled::open(dir).unwrap();
    let file = OpenOptions::new().read(true).open(dir.join("db")).unwrap();
    let changes = part(changes, group);
    let start = Instant::now();
    for (number, group) in changes.chunks(group).enumerate() {
        let mut batch = sled::Batch::default();
        for (place, change) in group.iter().enumerate() {
            batch.insert(&[number.to_be_bytes(), place.to_be_bytes()].concat()[..], &*change.record.payload);
        }
        db.apply_batch(batch).unwrap();
        db.flush().unwrap();
        if sync {
            file.sync_data().unwrap();
        }
    }
    rate(changes.len(), start.elapsed())
}

// === Ours ===

fn replica(dir: &Path, changes: &[Change], root: Fingerprint, group: usize, baseline: f64) {
    let replica = Replica::open(dir, root).unwrap().replica;
    let changes = part(changes, group);
    let start = Instant::now();
    changes.chunks(group).for_each(|group| replica.commit(group).unwrap());
    report("commit", group, rate(changes.len(), start.elapsed()), baseline);
    drop(replica);
    println!("{:<50} {:>6} bytes on disk an event", "", size(dir) / changes.len() as u64);
}

fn unsynced(dir: &Path, changes: &[Change], root: Fingerprint, baseline: f64) {
    let replica = Replica::open(dir, root).unwrap().replica;
    let start = Instant::now();
    changes.chunks(128).for_each(|group| replica.apply(group).unwrap());
    replica.sync().unwrap();
    report("apply, one sync at the end", 128, rate(changes.len(), start.elapsed()), baseline);
    drop(replica);
    let start = Instant::now();
    let opened = Replica::open(dir, root).unwrap();
    assert_eq!(opened.start, Start::Kept);
    let took = start.elapsed();
    println!(
        "{:<50} {:.1} ms for {} events' state, every row checked",
        "open",
        took.as_secs_f64() * 1e3,
        changes.len()
    );
    let ids: Vec<_> = opened.replica.tenants(None, 10).unwrap().into_iter().map(|(tenant, _)| tenant).collect();
    let keys: Vec<_> = ids.iter().flat_map(|id| opened.replica.keys(*id, None, 1_000).unwrap()).collect();
    let start = Instant::now();
    for key in &keys {
        for id in &ids {
            let footprint = lifecycle::Footprint { key: Some(key.id), ..lifecycle::Footprint::default() };
            opened.replica.view(*id, footprint).unwrap();
        }
    }
    let each = start.elapsed() / u32::try_from(keys.len() * ids.len()).unwrap();
    println!("{:<50} {:.1} µs", "view of a key and its request", each.as_secs_f64() * 1e6);
}

fn append(dir: &Path, changes: &[Change], group: usize, baseline: f64) {
    let archive = Archive::open(dir, archive::Options::default(), |_| ()).unwrap().archive;
    let event = |change: &Change| (change.tenant(), change.after.chain.head().sequence, change.record.clone());
    let events: Vec<(TenantId, Sequence, Record)> = part(changes, group).iter().map(event).collect();
    let start = Instant::now();
    events.chunks(group).for_each(|group| assert_eq!(archive.append(group).unwrap(), group.len()));
    report("append", group, rate(events.len(), start.elapsed()), baseline);
    let (segments, tenant) = (archive.bytes().unwrap(), events[0].0);
    let start = Instant::now();
    let read = archive.events(tenant, Sequence(1)).map(Result::unwrap).count();
    println!(
        "{:<50} {:>6} bytes in segments an event; {:.0} events/s read",
        "",
        segments / events.len() as u64,
        rate(read, start.elapsed())
    );
    drop(archive);
    println!("{:<50} {:>6} bytes on disk an event, with the index", "", size(dir) / events.len() as u64);
    fs::remove_dir_all(dir.join("index")).unwrap();
    let start = Instant::now();
    let opened = Archive::open(dir, archive::Options::default(), |_| ()).unwrap();
    println!("{:<50} {:.0} events/s", "index made anew", rate(events.len(), start.elapsed()));
    drop(opened);
}

/// What is allocated on disk.
fn size(path: &Path) -> u64 {
    if path.is_dir() {
        return fs::read_dir(path).unwrap().map(|entry| size(&entry.unwrap().path())).sum();
    }
    fs::metadata(path).unwrap().blocks() * 512
}

// === Events ===

/// Keys of four tenants, from generation to activation, a checkpoint now and then.
fn history(keys: usize) -> (Vec<Change>, Fingerprint) {
    let mut scenario = Scenario::new();
    for key in 1..=keys {
        scenario.run(&format!(
            "generate k{key} by kim => key.generated
             apply k{key} => custody.applied
             request k{key} by rae => activation.requested
             approve k{key} by sam => activation.approved
             approve k{key} by lou => activation.approved
             due => activation.authorized, key.activated
             apply k{key} => custody.applied"
        ));
        if key % 25 == 0 {
            scenario.run("checkpoint => checkpoint.signed");
        }
    }
    let changes = changes(&scenario);
    let mut all = Vec::new();
    for change in changes {
        all.extend((1..=4).map(|number| as_tenant(&change, TenantId::from_bytes([number; 32]))));
    }
    (all, scenario.tenant.root)
}

fn changes(scenario: &Scenario) -> Vec<Change> {
    let mut state = Tenant::new(scenario.tenant.chain.tenant(), scenario.tenant.root);
    let change = |record: &Record| {
        let prepared = prepare(record.clone(), &state.ring(), state.root);
        let before = state.view(prepared.footprint());
        let mut after = before.clone();
        judge(&mut after, &prepared).unwrap();
        state.put(after.clone());
        Change { before, after, record: record.clone() }
    };
    scenario.records.iter().map(change).collect()
}

/// The same change in another tenant: a store does not look at signatures.
fn as_tenant(change: &Change, tenant: TenantId) -> Change {
    let chain = |chain: &Chain| {
        let mut json = serde_json::to_value(chain).unwrap();
        json["tenant"] = tenant.to_string().into();
        serde_json::from_value(json).unwrap()
    };
    let view = |view: &View| View { chain: chain(&view.chain), ..view.clone() };
    Change { before: view(&change.before), after: view(&change.after), record: change.record.clone() }
}
