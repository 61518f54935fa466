//! A replica says what the rules say, event by event, and after a restart.

use journal::Record;
use journal_sled::replica::{Change, Opened, Options, Start, TAIL_KEPT};
use journal_sled::{Error, Replica};
use lifecycle::scenario::Scenario;
use lifecycle::{Duty, Footprint, Receipt, View};
use model::{CommandId, Digest, Sequence, ServiceRole, Timestamp};
use proptest::prelude::*;

use crate::support::{History, assert_same, dues, dues_of, evidenced, full, reopen, tenant_id};

fn new(dir: &tempfile::TempDir, history: &History) -> Replica {
    let Opened { replica, start } = Replica::open(dir.path(), history.root()).unwrap();
    assert_eq!(start, Start::New);
    replica
}

#[test]
fn it_is_the_state_of_the_rules_event_by_event() {
    let (dir, history) = (tempfile::tempdir().unwrap(), History::of(&full()));
    let replica = new(&dir, &history);
    assert_same(&replica, &history.states[0]);
    for (change, state) in history.changes.iter().zip(&history.states[1..]) {
        replica.apply(std::slice::from_ref(change)).unwrap();
        assert_same(&replica, state);
    }
    replica.sync().unwrap();
    drop(replica);
    assert_same(&reopen(dir.path(), history.root()), history.last());
}

#[test]
fn evidence_is_the_state_of_the_rules_event_by_event() {
    let (dir, history) = (tempfile::tempdir().unwrap(), History::of(&evidenced()));
    let replica = new(&dir, &history);
    let mut due = std::collections::BTreeSet::new();
    for (change, state) in history.changes.iter().zip(&history.states[1..]) {
        replica.apply(std::slice::from_ref(change)).unwrap();
        assert_same(&replica, state);
        due.extend(dues(&replica, history.id()).into_iter().map(|due| due.duty));
    }
    assert!([Duty::Checkpoint, Duty::Probe, Duty::Export, Duty::Deadlines].iter().all(|duty| due.contains(duty)));
    replica.sync().unwrap();
    drop(replica);
    let replica = reopen(dir.path(), history.root());
    assert_same(&replica, history.last());
    replica.forget(history.id()).unwrap();
    assert_same(&replica, &history.states[0]);
    let size = *history.last().checkpoints.keys().next().unwrap();
    assert_eq!(replica.checkpoint(history.id(), size).unwrap(), None);
}

#[test]
fn groups_of_many_tenants_end_where_single_events_end() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::of(&full());
    let tenants: Vec<History> = (0..5).map(|number| history.as_tenant(number * 60)).collect();
    let replica = new(&dir, &history);
    for step in 0..history.changes.len().div_ceil(7) {
        let events = |tenant: &History| tenant.changes.iter().skip(step * 7).take(7).cloned().collect::<Vec<Change>>();
        replica.commit(&tenants.iter().flat_map(events).collect::<Vec<_>>()).unwrap();
    }
    drop(replica);
    let replica = reopen(dir.path(), history.root());
    tenants.iter().for_each(|tenant| assert_same(&replica, tenant.last()));
    assert_eq!(replica.tenants(None, 2).unwrap().len(), 2);
    let heads: Vec<_> = tenants.iter().map(|tenant| (tenant.id(), tenant.last().chain.head())).collect();
    assert_eq!(replica.tenants(None, 100).unwrap(), heads);
    assert_eq!(replica.tenants(Some(tenant_id(60)), 100).unwrap(), heads[2..]);
}

#[test]
fn pages_of_keys_end_with_their_tenant() {
    let (dir, history) = (tempfile::tempdir().unwrap(), History::of(&full()));
    let replica = new(&dir, &history);
    // The last tenant that there can be has no bytes behind it.
    let tenants = [history.as_tenant(254), history.as_tenant(255)];
    tenants.iter().for_each(|tenant| replica.apply(&tenant.changes).unwrap());
    for tenant in &tenants {
        let all: Vec<_> = tenant.last().keys.values().cloned().collect();
        let first = replica.keys(tenant.id(), None, 3).unwrap();
        assert_eq!(first, all[..3]);
        assert_eq!(replica.keys(tenant.id(), Some(first[2].id), 3).unwrap(), all[3..]);
        assert_eq!(replica.keys(tenant.id(), Some(all[3].id), 3).unwrap(), []);
    }
}

#[test]
fn rejects_a_change_on_another_head() {
    let (dir, history) = (tempfile::tempdir().unwrap(), History::of(&full()));
    let replica = new(&dir, &history);
    replica.commit(&history.changes[..3]).unwrap();
    let moved = |changes: &[Change]| matches!(replica.commit(changes), Err(Error::Moved { .. }));
    assert!(moved(&history.changes[..1]), "twice");
    assert!(moved(&history.changes[4..5]), "one left out");
    assert!(moved(&[history.changes[3].clone(), history.changes[5].clone()]), "one left out within a group");
    assert_same(&replica, &history.states[3]);
    let mut other = history.changes[3].clone();
    other.record = history.changes[4].record.clone();
    assert!(matches!(replica.commit(&[other]), Err(Error::Misfit { .. })));
    replica.commit(&history.changes[3..]).unwrap();
    assert_same(&replica, history.last());
}

#[test]
fn another_root_or_a_condemned_store_is_set_aside() {
    let (dir, history) = (tempfile::tempdir().unwrap(), History::of(&full()));
    let replica = new(&dir, &history);
    replica.commit(&history.changes).unwrap();
    replica.condemn("a test says so");
    assert!(matches!(replica.view(history.id(), Footprint::default()), Err(Error::Broken { .. })));
    assert!(matches!(replica.commit(&[]), Err(Error::Broken { .. })));
    drop(replica);
    let other = model::Fingerprint::of_blob(b"another root");
    for (root, number, why) in [
        (history.root(), 1, "a test says so"),
        (other, 2, "another root"),
        (history.root(), 3, "another root"),
        (other, 4, "another root"),
    ] {
        let Opened { replica, start } = Replica::open(dir.path(), root).unwrap();
        let Start::SetAside { to, why: said } = start else { panic!("{start:?}") };
        assert!(to.ends_with(format!("store.set-aside-{number}")) && to.is_dir(), "{to:?}");
        assert!(said.contains(why), "{said}");
        assert_eq!(replica.tenants(None, 10).unwrap(), []);
    }
    let aside = |number: u32| dir.path().join(format!("store.set-aside-{number}")).exists();
    assert_eq!([1, 2, 3, 4].map(aside), [false, true, true, true], "the newest three are kept");
}

#[test]
fn the_directory_is_private_and_one_process_has_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, history) = (tempfile::tempdir().unwrap(), History::of(&Scenario::bare()));
    let path = dir.path().join("a/b");
    let replica = Replica::open(&path, history.root()).unwrap().replica;
    assert!(matches!(Replica::open(&path, history.root()), Err(Error::Locked(_))));
    drop(replica);
    for dir in [path.clone(), path.join("store"), path.join("alarms")] {
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{dir:?}");
    }
    reopen(&path, history.root());
}

#[test]
fn forgetting_leaves_nothing_of_one_tenant_and_all_of_the_others() {
    let (dir, history) = (tempfile::tempdir().unwrap(), History::of(&full()));
    let tenants = [1, 2, 3].map(|number| history.as_tenant(number));
    let replica = new(&dir, &history);
    tenants.iter().for_each(|tenant| replica.commit(&tenant.changes).unwrap());
    replica.forget(tenants[1].id()).unwrap();
    let check = |replica: &Replica| {
        let [first, second, third] = &tenants;
        assert_same(replica, first.last());
        assert_same(replica, &second.states[0]);
        assert_same(replica, third.last());
        assert_eq!(replica.tail(second.id(), Sequence(0), 100).unwrap(), []);
    };
    check(&replica);
    drop(replica);
    check(&reopen(dir.path(), history.root()));
    let replica = reopen(dir.path(), history.root());
    replica.commit(&tenants[1].changes).unwrap();
    assert_same(&replica, tenants[1].last());
}

#[test]
fn the_tail_is_trimmed_behind_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let mut scenario = Scenario::new();
    for key in 1..=40 {
        scenario.run(&format!("generate k{key} by kim => key.generated"));
    }
    scenario.run("checkpoint => checkpoint.signed");
    for key in 41..=60 {
        scenario.run(&format!("generate k{key} by kim => key.generated"));
    }
    let history = History::of(&scenario);
    let replica = new(&dir, &history);
    let id = history.id();
    let covered = 40 + Scenario::new().records.len() as u64;
    for (change, state) in history.changes.iter().zip(&history.states[1..]) {
        replica.apply(std::slice::from_ref(change)).unwrap();
        let head = state.chain.head().sequence.0;
        let tail = replica.tail(id, Sequence(1), usize::MAX).unwrap();
        let (first, last) = (tail[0].0.0, tail.last().unwrap().0.0);
        assert_eq!(last, head);
        assert!(first <= head.saturating_sub(TAIL_KEPT) + 1, "the last few are always kept");
        assert!(first <= state.progress.covered + 1, "what no checkpoint covers is kept");
        if head > covered + TAIL_KEPT + 1 {
            assert!(first + 2 * TAIL_KEPT > covered, "the rest goes");
        }
        for (sequence, record) in tail {
            assert_eq!(Some(&record), scenario.record(sequence));
        }
    }
    assert_eq!(replica.tail(id, Sequence(covered + 2), 3).unwrap().len(), 3);
    assert_eq!(replica.tail(id, Sequence(1_000), 3).unwrap(), []);
}

#[test]
fn events_of_any_size_are_kept_in_the_tail() {
    let (dir, mut scenario) = (tempfile::tempdir().unwrap(), Scenario::bare());
    for size in (0..40).map(|number| number * 1_500) {
        // Void, but in the chain. sled keeps pages with such rows in files of their own.
        scenario.inject(Record { signature: String::new(), payload: vec![b'x'; size].into() });
    }
    let history = History::of(&scenario);
    let replica = new(&dir, &history);
    history.changes.chunks(3).for_each(|group| replica.commit(group).unwrap());
    assert!(std::fs::read_dir(dir.path().join("store/blobs")).unwrap().count() > 0, "sled has changed");
    drop(replica);
    let replica = reopen(dir.path(), history.root());
    assert_same(&replica, history.last());
    let tail = replica.tail(history.id(), Sequence(1), usize::MAX).unwrap();
    assert_eq!(tail.into_iter().map(|(_, record)| record).collect::<Vec<_>>(), scenario.records);
}

#[test]
fn what_is_due_comes_in_order_of_time() {
    let (dir, history) = (tempfile::tempdir().unwrap(), History::of(&full()));
    let replica = new(&dir, &history);
    assert_eq!(replica.next_due(ServiceRole::Expirer).unwrap(), None);
    let tenants = [7, 8].map(|number| history.as_tenant(number));
    // Two tenants in the middle of their histories, when much is due.
    tenants.iter().for_each(|tenant| replica.apply(&tenant.changes[..tenant.changes.len() / 2]).unwrap());
    for role in ServiceRole::ALL {
        let all = replica.due(role, Timestamp::MAX, usize::MAX).unwrap();
        let mut sorted = all.clone();
        sorted.sort_by_key(|(tenant, due)| (due.at, *tenant));
        assert_eq!(all, sorted);
        assert!(all.iter().all(|(_, due)| due.duty.role() == role));
        assert_eq!(replica.next_due(role).unwrap(), all.first().map(|(_, due)| due.at));
        for (place, (_, due)) in all.iter().enumerate() {
            let until = replica.due(role, due.at, usize::MAX).unwrap();
            assert_eq!(until, all[..until.len()]);
            assert!(until.len() > place && all[until.len()..].iter().all(|(_, later)| later.at > due.at));
            let behind = replica.due_after(role, Some(all[place]), Timestamp::MAX, 1).unwrap();
            assert_eq!(behind, all[place + 1..].iter().take(1).copied().collect::<Vec<_>>());
        }
    }
    assert_eq!(replica.due(ServiceRole::Expirer, Timestamp::MAX, 3).unwrap().len(), 3);
    let exporter = replica.due(ServiceRole::EvidenceExporter, Timestamp::MAX, 9).unwrap();
    assert!(exporter.len() == 2 && exporter.iter().all(|(_, due)| due.duty == Duty::Checkpoint));
}

#[test]
fn memory_is_bounded_and_what_falls_out_is_read_again() {
    let (dir, history) = (tempfile::tempdir().unwrap(), History::of(&Scenario::new()));
    let options = Options { hot_tenants: 3, ..Options::default() };
    let replica = Replica::open_with(dir.path(), history.root(), options).unwrap().replica;
    let tenants: Vec<History> = (0..20).map(|number| history.as_tenant(number)).collect();
    for place in 0..history.changes.len() {
        for tenant in &tenants {
            replica.apply(std::slice::from_ref(&tenant.changes[place])).unwrap();
        }
    }
    tenants.iter().for_each(|tenant| assert_same(&replica, tenant.last()));
}

const WHO: [&str; 8] = ["rae", "kim", "sam", "sue", "lou", "dee", "opa", "zoe"];

fn step() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["k1", "k2", "k3"]);
    let who = prop::sample::select(WHO.to_vec());
    let verb = prop::sample::select(vec!["reject", "cancel", "suspend", "resume", "deactivate", "compromise"]);
    prop_oneof![
        4 => (key.clone(), who.clone()).prop_map(|(key, who)| format!("approve {key} by {who}")),
        3 => key.clone().prop_map(|key| format!("request {key} by rae")),
        1 => key.clone().prop_map(|key| format!("request {key} after 10m by kim")),
        4 => Just("due".to_owned()),
        2 => (verb, key.clone(), who).prop_map(|(verb, key, who)| format!("{verb} {key} by {who}")),
        2 => key.clone().prop_map(|key| format!("apply {key}")),
        1 => key.prop_map(|key| format!("destroy {key} by opa,oto")),
        2 => prop::sample::select(vec!["1s", "5m", "12m", "25m", "61m", "24h"]).prop_map(|span| format!("wait {span}")),
        1 => Just("checkpoint".to_owned()),
        1 => Just("adopt two-security by ann,bob".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// After any history in any grouping, the index of what is due is what the rules say of every entity, and the whole
    /// state is theirs, before and after a restart.
    #[test]
    fn any_history_in_any_grouping_gives_the_state_and_its_dues(
        steps in prop::collection::vec(step(), 1..60),
        sizes in prop::collection::vec(1..9usize, 1..8),
    ) {
        let mut scenario = Scenario::new();
        scenario.run("generate k1 by kim => key.generated\ngenerate k2 by kim => key.generated\ngenerate k3 by rae => key.generated");
        for step in &steps {
            scenario.perform(step);
        }
        let (dir, history) = (tempfile::tempdir().unwrap(), History::of(&scenario));
        let replica = new(&dir, &history);
        let mut taken = 0;
        for size in sizes.iter().cycle() {
            let until = (taken + size).min(history.changes.len());
            replica.apply(&history.changes[taken..until]).unwrap();
            taken = until;
            prop_assert_eq!(dues(&replica, history.id()), dues_of(&history.states[taken]));
            if taken == history.changes.len() {
                break;
            }
        }
        replica.sync().unwrap();
        drop(replica);
        assert_same(&reopen(dir.path(), history.root()), history.last());
    }
}

/// A void event of a tenant without history, and a receipt, as if it had brought a command.
fn receive(before: &View, command: CommandId) -> Change {
    let record = Record { signature: String::new(), payload: command.as_bytes().to_vec().into() };
    let mut after = before.clone();
    after.chain.admit(&record, Err(&journal::Void::Header)).unwrap_err();
    let (digest, hash) = (Digest::of(command.as_bytes()), record.hash());
    after.receipt = Some((command, Receipt { digest, hash, sequence: after.chain.head().sequence }));
    Change { before: View { receipt: None, ..before.clone() }, after, record }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever ids commands have and in whatever order they come, each is found and no other.
    #[test]
    fn every_command_is_found_again(ids in prop::collection::vec(any::<u16>(), 1..400), order in 0..3u8, size in 1..40usize) {
        let mut ids: Vec<u16> = ids.into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        match order {
            0 => {}
            1 => ids.reverse(),
            _ => ids.sort_by_key(|id| id.wrapping_mul(40_503)),
        }
        let command = |id: u16| {
            let [high, low] = id.to_be_bytes();
            CommandId::from_bytes([high, low, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]).unwrap()
        };
        let (dir, history) = (tempfile::tempdir().unwrap(), History::of(&Scenario::bare()));
        let replica = new(&dir, &history);
        let mut expected = Vec::new();
        for tenant in [3, 4].map(tenant_id) {
            let mut view = View::empty(tenant);
            let changes: Vec<Change> = ids.iter().map(|id| {
                let change = receive(&view, command(*id));
                view = change.after.clone();
                change
            }).collect();
            expected.extend(changes.iter().map(|change| (tenant, change.after.receipt.unwrap())));
            changes.chunks(size).for_each(|group| replica.apply(group).unwrap());
        }
        replica.sync().unwrap();
        drop(replica);
        let replica = reopen(dir.path(), history.root());
        for (tenant, (id, receipt)) in &expected {
            prop_assert_eq!(replica.receipt(*tenant, *id).unwrap(), Some(*receipt));
        }
        let absent = (0..=u16::MAX).step_by(97).filter(|id| !ids.contains(id)).map(command);
        for id in absent {
            prop_assert_eq!(replica.receipt(tenant_id(3), id).unwrap(), None);
        }
        prop_assert_eq!(replica.receipt(tenant_id(2), command(ids[0])).unwrap(), None);
        prop_assert_eq!(replica.receipt(tenant_id(5), command(ids[0])).unwrap(), None);
    }
}
