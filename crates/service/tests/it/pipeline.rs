//! Batches that are under way at once.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use evidence::Verifier;
use futures_util::future::join_all;
use journal::memory::{Fault, MemoryJournal};
use journal::{Append, Head, Journal, Outgoing, Record};
use model::{Digest, Sequence, ServiceRole, TenantId};
use service::Recorded;

use crate::world::{World, log, scenario};

/// A log that takes its time, and fails as told: a batch is sent while the one before it is under way.
#[derive(Clone, Default)]
struct Slow {
    inner: Arc<MemoryJournal>,
    /// What becomes of each append in turn; what comes after is recorded.
    script: Arc<Mutex<VecDeque<Option<Fault>>>>,
    /// How many appends were begun behind one that was under way.
    behind: Arc<AtomicUsize>,
}

impl Slow {
    async fn slowly(&self, said: Result<Append, journal::Error>) -> Result<Append, journal::Error> {
        // Until everything else has had its turn, several times over.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        said
    }

    fn next_fault(&self) {
        let fault = self.script.lock().unwrap().pop_front().flatten();
        self.inner.set_fault(fault);
    }
}

impl Journal for Slow {
    async fn last(&self, tenant: TenantId) -> Result<Sequence, journal::Error> {
        self.inner.last(tenant).await
    }

    async fn tails(&self) -> Result<Vec<(TenantId, Sequence)>, journal::Error> {
        self.inner.tails().await
    }

    async fn read(&self, tenant: TenantId, from: Sequence, max: usize) -> Result<Vec<Record>, journal::Error> {
        self.inner.read(tenant, from, max).await
    }

    async fn append(&self, tenant: TenantId, head: Head, batch: &[Outgoing]) -> Result<Append, journal::Error> {
        self.next_fault();
        let said = self.inner.append(tenant, head, batch).await;
        self.slowly(said).await
    }

    async fn append_behind(&self, tenant: TenantId, head: Head, batch: &[Outgoing]) -> Result<Append, journal::Error> {
        self.behind.fetch_add(1, Ordering::SeqCst);
        self.next_fault();
        let said = self.inner.append_behind(tenant, head, batch).await;
        self.slowly(said).await
    }
}

/// INVARIANT (nothing acknowledged is lost): whatever becomes of batches that are under way at once, every command is
/// answered with the one place at which it stands, and copies alike.
#[tokio::test]
async fn batches_under_way_at_once_are_answered_when_they_stand() {
    let scripts: [&[Option<Fault>]; 7] = [
        &[],
        &[None, Some(Fault::Failed)],
        &[Some(Fault::Failed), None],
        &[Some(Fault::FailedButPersisted(128)), None],
        &[Some(Fault::FailedButPersisted(5)), None],
        &[None, Some(Fault::FailedButPersisted(3)), None, Some(Fault::FailedButPersisted(128))],
        &[None, None, Some(Fault::FailedButPersisted(0)), Some(Fault::Failed)],
    ];
    for script in scripts {
        let scenario = scenario();
        let journal = Slow { inner: log(&scenario), ..Slow::default() };
        let mut world = World::new(scenario, journal.clone()).await;
        *journal.script.lock().unwrap() = script.iter().copied().collect();
        let before = journal.inner.records(world.tenant).len();
        let mut stored = |number: usize| {
            let text = format!("part {number}");
            let params =
                format!(r#"{{"document":"{}","part":0,"parts":1,"text":"{text}"}}"#, Digest::of(text.as_bytes()));
            world.scenario.command_of("document.store", None, &params, "ann")
        };
        let commands: Vec<_> = (0..600).map(&mut stored).collect();
        // Every third is sent a second time, far behind the first.
        let copies = commands.iter().step_by(3).chain(&commands);
        let answers =
            join_all(commands.iter().chain(copies).map(|signed| world.record(ServiceRole::Approver, signed))).await;
        let places: Vec<Recorded> = answers.into_iter().map(|answer| answer.unwrap()).collect();
        assert!(journal.behind.load(Ordering::SeqCst) > 0, "nothing was sent behind anything");
        let first: HashSet<u64> = places[..600].iter().map(|place| place.sequence.0).collect();
        assert_eq!(first.len(), 600, "{script:?}: each at a place of its own");
        let again = places[..600].iter().step_by(3).chain(&places[..600]);
        assert!(again.eq(&places[600..]), "{script:?}: copies are answered alike");
        let records = journal.inner.records(world.tenant);
        assert_eq!(records.len(), before + 600, "{script:?}: each stands once");
        for place in &places {
            assert_eq!(records[place.sequence.0 as usize - 1].hash(), place.hash, "{script:?}");
        }
        let mut verifier = Verifier::new(world.tenant, world.scenario.tenant.root);
        verifier.take(records);
        assert!(verifier.report().is_clean(), "{script:?}: {:?}", verifier.report().voids);
    }
}
