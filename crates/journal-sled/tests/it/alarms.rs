//! Alarms outlast everything else.

use journal_sled::replica::{Opened, Start};
use journal_sled::{Alarm, AlarmKind, Error, Replica};
use lifecycle::scenario::Scenario;
use model::Sequence;

use crate::support::{History, reopen, tenant_id};

fn alarm(kind: AlarmKind, since: &str) -> Alarm {
    Alarm { kind, sequence: Sequence(7), seen: format!("{kind:?}, says a test"), since: since.parse().unwrap() }
}

#[test]
fn alarms_stand_until_they_are_cleared() {
    let (dir, history) = (tempfile::tempdir().unwrap(), History::of(&Scenario::bare()));
    let [ours, other] = [tenant_id(1), tenant_id(2)];
    let first = alarm(AlarmKind::Behind, "2026-01-01T00:00:00.000Z");
    let again = alarm(AlarmKind::Behind, "2026-01-01T00:00:09.000Z");
    let graver = alarm(AlarmKind::Fork, "2026-01-01T00:00:05.000Z");
    let replica = Replica::open(dir.path(), history.root()).unwrap().replica;
    assert_eq!(replica.alarm(ours), None);
    assert!(replica.raise(ours, first.clone()).unwrap());
    assert!(!replica.raise(ours, again).unwrap(), "it stands since it was first seen");
    assert!(replica.raise(other, graver.clone()).unwrap());
    assert_eq!(replica.alarm(ours), Some(first.clone()));
    assert!(replica.raise(ours, graver.clone()).unwrap());
    assert_eq!(replica.alarm(ours), Some(graver.clone()), "the graver one");
    drop(replica);

    let replica = reopen(dir.path(), history.root());
    assert_eq!(replica.alarms(), [(ours, first.clone()), (ours, graver.clone()), (other, graver.clone())]);
    assert!(replica.clear(ours, AlarmKind::Fork).unwrap());
    assert!(!replica.clear(ours, AlarmKind::Hole).unwrap());
    assert_eq!(replica.alarm(ours), Some(first.clone()));
    replica.forget(ours).unwrap();
    replica.condemn("a test says so");
    drop(replica);

    let Opened { replica, start } = Replica::open(dir.path(), history.root()).unwrap();
    assert!(matches!(start, Start::SetAside { .. }));
    assert_eq!(replica.alarms(), [(ours, first), (other, graver)], "also when the state was set aside");
    assert!(replica.clear(ours, AlarmKind::Behind).unwrap());
    assert!(replica.clear(other, AlarmKind::Fork).unwrap());
    drop(replica);
    assert_eq!(reopen(dir.path(), history.root()).alarms(), []);
}

#[test]
fn an_alarm_that_cannot_be_read_is_not_taken_for_none() {
    let (dir, history) = (tempfile::tempdir().unwrap(), History::of(&Scenario::bare()));
    let replica = Replica::open(dir.path(), history.root()).unwrap().replica;
    replica.raise(tenant_id(1), alarm(AlarmKind::Hole, "2026-01-01T00:00:00.000Z")).unwrap();
    drop(replica);
    let file = dir.path().join(format!("alarms/{}.json", tenant_id(1)));
    std::fs::write(&file, b"[{").unwrap();
    match Replica::open(dir.path(), history.root()) {
        Err(Error::Io { path, .. }) => assert_eq!(path, file),
        other => panic!("{:?}", other.map(|opened| opened.start)),
    }
}
