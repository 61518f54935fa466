//! Alarms: each is raised, stops writing for its tenant alone, and outlasts a restart.

use std::sync::Arc;
use std::time::Duration;

use journal::memory::{Fault, MemoryJournal};
use journal::port::{Append, Journal, Outgoing};
use journal::{Head, Record};
use journal_sled::AlarmKind;
use model::{ProblemType, Sequence, TenantId};

use crate::world::{World, log, node, scenario};

async fn raised<J: Journal>(world: &World<J>) -> Option<AlarmKind> {
    world.node.synchronise().await.unwrap();
    world.node.replica().alarm(world.tenant).map(|alarm| alarm.kind)
}

/// The alarm stands, nothing is written, and a restart changes nothing.
async fn check<J: Journal + Clone>(mut world: World<J>, journal: J, kind: AlarmKind) {
    assert_eq!(raised(&world).await, Some(kind));
    let (role, request) = world.signed("request", &["k1"], "rae");
    assert_eq!(world.record(role, &request).await.unwrap_err().problem, ProblemType::Stopped);
    let World { node: old, scenario, clock, tenant, dir } = world;
    drop(old);
    let again = node(&scenario, journal, &dir.path().join("replica"), &clock);
    let refused = again.record(tenant, role, lifecycle::Input::Command(request)).await;
    assert_eq!(refused.unwrap_err().problem, ProblemType::Stopped);
}

#[tokio::test]
async fn nothing_is_raised_where_all_is_well() {
    let scenario = scenario();
    let journal = log(&scenario);
    let world = World::new(scenario, journal).await;
    assert_eq!(raised(&world).await, None);
}

#[tokio::test]
async fn behind_where_the_log_has_less_than_the_replica() {
    let scenario = scenario();
    let journal = log(&scenario);
    let world = World::new(scenario, journal.clone()).await;
    journal.tamper(world.tenant, |records| records.truncate(5));
    check(world, journal, AlarmKind::Behind).await;
}

#[tokio::test]
async fn differs_where_the_log_has_other_bytes() {
    let scenario = scenario();
    let journal = log(&scenario);
    let world = World::new(scenario, journal.clone()).await;
    journal.tamper(world.tenant, |records| {
        let last = records.last_mut().unwrap();
        last.signature = last.signature.replace("SHA256", "sha256");
    });
    check(world, journal, AlarmKind::Differs).await;
}

#[tokio::test]
async fn fork_where_an_authentic_event_has_the_wrong_link() {
    let scenario = scenario();
    let journal = log(&scenario);
    let world = World::new(scenario, journal.clone()).await;
    // Some service wrote an event on an older head, past the compare-and-swap.
    let mut elsewhere = crate::world::scenario();
    elsewhere.run("request k1 by rae => activation.requested\ncancel k1 by rae => activation.cancelled");
    let authentic = elsewhere.records.last().unwrap().clone();
    journal.tamper(world.tenant, |records| records.push(authentic));
    check(world, journal, AlarmKind::Fork).await;
}

/// Nothing takes the alarm back but people: once its file is moved away, a start compares anew, and raises it again where
/// nothing was mended. As docs/operating.md says.
#[tokio::test]
async fn an_alarm_whose_file_was_moved_away_comes_back_unless_the_log_was_mended() {
    for mended in [false, true] {
        let scenario = scenario();
        let journal = log(&scenario);
        let world = World::new(scenario, journal.clone()).await;
        let whole = journal.records(world.tenant);
        journal.tamper(world.tenant, |records| records.truncate(5));
        assert_eq!(raised(&world).await, Some(AlarmKind::Behind));
        let World { node: old, scenario, clock, tenant, dir } = world;
        drop(old);
        if mended {
            journal.tamper(tenant, |records| *records = whole);
        }
        let replica = dir.path().join("replica");
        let restart = || node(&scenario, journal.clone(), &replica, &clock);
        let again = restart();
        again.synchronise().await.unwrap();
        assert!(again.replica().alarm(tenant).is_some(), "a restart alone takes nothing back");
        drop(again);
        std::fs::rename(replica.join(format!("alarms/{tenant}.json")), dir.path().join("looked-into.json")).unwrap();
        let again = restart();
        again.synchronise().await.unwrap();
        assert_eq!(again.replica().alarm(tenant).is_none(), mended);
    }
}

/// A stranger's bytes in the log are void, and no alarm: anybody with a reply subject can put junk there.
#[tokio::test]
async fn junk_in_the_log_is_void_and_writing_goes_on() {
    let scenario = scenario();
    let journal = log(&scenario);
    let mut world = World::new(scenario, journal.clone()).await;
    journal.tamper(world.tenant, |records| {
        records.push(Record { signature: String::new(), payload: "{\"type\":\"junk\"}".into() });
    });
    assert_eq!(raised(&world).await, None);
    let (role, request) = world.signed("request", &["k1"], "rae");
    assert!(world.record(role, &request).await.is_ok());
}

/// A log that has lost one event in the middle.
#[derive(Clone)]
struct Holed(Arc<MemoryJournal>, u64);

impl Journal for Holed {
    async fn last(&self, tenant: TenantId) -> Result<Sequence, journal::Error> {
        self.0.last(tenant).await
    }

    async fn tails(&self) -> Result<Vec<(TenantId, Sequence)>, journal::Error> {
        self.0.tails().await
    }

    async fn read(&self, tenant: TenantId, from: Sequence, max: usize) -> Result<Vec<Record>, journal::Error> {
        let until = self.1.saturating_sub(from.0);
        if from.0 == self.1 {
            return Err(journal::Error::Hole(from));
        }
        self.0.read(tenant, from, max.min(until as usize)).await
    }

    async fn append(&self, tenant: TenantId, head: Head, batch: &[Outgoing]) -> Result<Append, journal::Error> {
        self.0.append(tenant, head, batch).await
    }
}

#[tokio::test]
async fn hole_where_a_sequence_is_missing() {
    let scenario = scenario();
    let clock = service::Clock::set_at(scenario.now);
    let journal = Holed(log(&scenario), 7);
    let dir = tempfile::tempdir().unwrap();
    let tenant = scenario.tenant.chain.tenant();
    let node = node(&scenario, journal.clone(), &dir.path().join("replica"), &clock);
    let world = World { node, clock, scenario, tenant, dir };
    check(world, journal, AlarmKind::Hole).await;
}

#[tokio::test(start_paused = true)]
async fn stale_where_nothing_was_heard_and_it_passes_by_itself() {
    let scenario = scenario();
    let journal = log(&scenario);
    let mut world = World::new(scenario, journal.clone()).await;
    let (role, request) = world.signed("request", &["k1"], "rae");
    journal.set_fault(Some(Fault::Unreadable));
    assert!(world.node.synchronise().await.is_err());
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(world.node.stale().is_some());
    assert_eq!(world.record(role, &request).await.unwrap_err().problem, ProblemType::Stopped);
    journal.set_fault(None);
    world.node.synchronise().await.unwrap();
    assert!(world.record(role, &request).await.is_ok());
}
