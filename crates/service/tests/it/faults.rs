//! What goes wrong around a service, and what must hold all the same: panics, logs that refuse or go away, archives that
//! lag, disks that fail, clocks that turn. Where a test waits, it is on a clock that jumps.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use journal::memory::{Fault, MemoryJournal};
use journal::port::{Append, Arrived, Journal, News, Outgoing};
use journal::{Head, Record};
use journal_sled::{AlarmKind, Archive, Replica, archive};
use lifecycle::scenario::{Scenario, key_id};
use lifecycle::{Duty, Input};
use model::{ProblemType, Sequence, ServiceRole, Span, TenantId};
use service::{Clock, Node, NodeConfig, Wanted};

use crate::world::{World, log, node, scenario};

/// A log that misbehaves as it is told.
#[derive(Clone, Default)]
struct Odd {
    inner: Arc<MemoryJournal>,
    /// The next append panics.
    panics: Arc<AtomicBool>,
    /// No stream is listed, and none answers: as if the tenant's stream had been deleted.
    gone: Arc<AtomicBool>,
    /// Reads fail; `last` answers.
    unreadable: Arc<AtomicBool>,
    /// Appends are refused although nobody wrote, as with a full disk at the server.
    refuses: Arc<AtomicBool>,
    appends: Arc<AtomicUsize>,
    /// How many reads there were.
    reads: Arc<AtomicUsize>,
    /// How long a read takes.
    read_takes: Duration,
}

impl Odd {
    fn of(scenario: &Scenario) -> Self {
        Self { inner: log(scenario), ..Self::default() }
    }
}

impl Journal for Odd {
    async fn last(&self, tenant: TenantId) -> Result<Sequence, journal::Error> {
        if self.gone.load(Ordering::SeqCst) {
            return Err(journal::Error::NoTenant(tenant));
        }
        self.inner.last(tenant).await
    }

    async fn tails(&self) -> Result<Vec<(TenantId, Sequence)>, journal::Error> {
        if self.gone.load(Ordering::SeqCst) {
            return Ok(Vec::new());
        }
        self.inner.tails().await
    }

    async fn read(&self, tenant: TenantId, from: Sequence, max: usize) -> Result<Vec<Record>, journal::Error> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.unreadable.load(Ordering::SeqCst) {
            return Err(journal::Error::Unavailable("unreadable on demand".into()));
        }
        if !self.read_takes.is_zero() {
            tokio::time::sleep(self.read_takes).await;
        }
        tokio::task::yield_now().await;
        self.inner.read(tenant, from, max).await
    }

    async fn append(&self, tenant: TenantId, head: Head, batch: &[Outgoing]) -> Result<Append, journal::Error> {
        self.appends.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics.swap(false, Ordering::SeqCst), "a panic on demand");
        if self.refuses.load(Ordering::SeqCst) {
            return Ok(Append::HeadMoved { recorded: 0 });
        }
        self.inner.append(tenant, head, batch).await
    }
}

/// A node that keeps an archive.
fn archiving<J: Journal>(scenario: &Scenario, journal: J, dir: &std::path::Path, clock: &Clock) -> Node<J> {
    let root = scenario.tenant.root;
    let archive = Archive::open(&dir.join("archive"), archive::Options::default(), |_| ()).unwrap().archive;
    Node::new(NodeConfig {
        journal,
        replica: Replica::open(&dir.join("replica"), root).unwrap().replica,
        archive: Some(archive),
        keys: ServiceRole::SERVICES.iter().map(|role| scenario.service(*role).clone()).collect(),
        root,
        clock: clock.clone(),
    })
}

/// Lets go of a node, and waits until nothing holds its stores.
async fn shut<J: Journal>(node: Node<J>) {
    node.close().await;
    drop(node);
}

/// A refusal that rests on a command of the same batch must not be given before that command stands. Here the request
/// is never recorded, its sender is told so, and yet somebody else hears "a request is open".
#[tokio::test]
async fn a_refusal_does_not_rest_on_what_was_never_recorded() {
    let scenario = scenario();
    let journal = log(&scenario);
    let mut world = World::new(scenario, journal.clone()).await;
    let (role, first) = world.signed("request", &["k1"], "rae");
    let (_, second) = world.signed("request", &["k1"], "kim");
    journal.set_fault(Some(Fault::FailedAndUnreadable));
    let (first, second) = tokio::join!(world.record(role, &first), world.record(role, &second));
    assert_eq!(first.unwrap_err().problem, ProblemType::Unavailable);
    journal.set_fault(None);
    world.node.catch_up(world.tenant).await.unwrap();
    let key = world.node.replica().key(world.tenant, key_id("k1")).unwrap().unwrap();
    assert_eq!(key.open_request, None, "no request stands");
    assert_eq!(second.unwrap_err().problem, ProblemType::Unavailable, "told of a request that does not exist");
}

/// A panic while a batch is under way must not stop the lane for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_lane_goes_on_after_a_panic() {
    let scenario = scenario();
    let journal = Odd::of(&scenario);
    let mut world = World::new(scenario, journal.clone()).await;
    let (role, request) = world.signed("request", &["k1"], "rae");
    journal.panics.store(true, Ordering::SeqCst);
    assert_eq!(world.record(role, &request).await.unwrap_err().problem, ProblemType::Unavailable);
    let again = tokio::time::timeout(Duration::from_secs(5), world.record(role, &request)).await;
    assert!(again.expect("the lane is stuck: `driven` is still true and nobody drives").is_ok());
}

/// A reader that may not go on (an alarm stands, or rules that it does not know) must stop reading, not read the same
/// page for ever with the tenant's lock held.
#[tokio::test(flavor = "multi_thread")]
async fn catching_up_ends_where_an_alarm_stops_it() {
    let scenario = scenario();
    let journal = Odd::of(&scenario);
    let world = World::new(scenario, journal.clone()).await;
    let mut elsewhere = crate::world::scenario();
    elsewhere.run("request k1 by rae => activation.requested\ncancel k1 by rae => activation.cancelled");
    let authentic = elsewhere.records.last().unwrap().clone();
    journal.inner.tamper(world.tenant, |records| {
        records.push(authentic);
        let junk = |n: usize| Record { signature: String::new(), payload: format!("junk {n}").into_bytes().into() };
        records.extend((0..1100).map(junk));
    });
    let (node, reads) = (world.node.clone(), journal.reads.clone());
    // As the follower does: every tenant's events wait for this.
    let synchronised = tokio::time::timeout(Duration::from_secs(5), node.synchronise()).await;
    assert!(synchronised.is_ok(), "still reading after {} reads of the same page", reads.load(Ordering::SeqCst));
}

/// The same with a rules epoch that this program does not know: an old binary beside a new one during an upgrade.
#[tokio::test(flavor = "multi_thread")]
async fn catching_up_ends_at_rules_that_are_unknown() {
    let scenario = scenario();
    let (epoch, rules) = (2, lifecycle::RULES + 1);
    let authority = scenario.authority(epoch, rules).envelope;
    let event = model::Event::AuthorityChanged(model::event::AuthorityChanged { epoch, rules, authority });
    let key = scenario.service(ServiceRole::Registrar).clone();
    let (record, _) = key.sign_event(&scenario.tenant.chain, service::clock::event_id(), scenario.now, &event);
    let journal = Odd::of(&scenario);
    let world = World::new(scenario, journal.clone()).await;
    journal.inner.tamper(world.tenant, |records| {
        records.push(record);
        let junk = |n: usize| Record { signature: String::new(), payload: format!("junk {n}").into_bytes().into() };
        records.extend((0..1100).map(junk));
    });
    let synchronised = tokio::time::timeout(Duration::from_secs(5), world.node.synchronise()).await;
    let alarm = world.node.replica().alarm(world.tenant).map(|alarm| alarm.kind);
    assert_eq!(alarm, Some(AlarmKind::UnknownRules), "the test itself");
    assert!(synchronised.is_ok(), "still reading the same page: {}", journal.reads.load(Ordering::SeqCst));
}

/// An archive that is behind its replica when a process starts is brought to the end: it crashed in between, or the
/// folder was lost.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_behind_its_replica_is_filled_at_start() {
    let scenario = scenario();
    let journal = log(&scenario);
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::set_at(scenario.now));
    let tenant = scenario.tenant.chain.tenant();
    let first = archiving(&scenario, journal.clone(), dir.path(), &clock);
    first.synchronise().await.unwrap();
    shut(first).await;
    std::fs::remove_dir_all(dir.path().join("archive")).unwrap();
    let second = archiving(&scenario, journal.clone(), dir.path(), &clock);
    second.synchronise().await.unwrap();
    second.sync().await;
    let head = second.replica().head(tenant).unwrap().sequence;
    assert_eq!(second.archive().unwrap().last(tenant).unwrap(), head);
}

/// What a checkpoint covers is in the archive.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_covers_nothing_that_the_archive_lacks() {
    let scenario = scenario();
    let journal = log(&scenario);
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::set_at(scenario.now));
    let tenant = scenario.tenant.chain.tenant();
    let first = archiving(&scenario, journal.clone(), dir.path(), &clock);
    first.synchronise().await.unwrap();
    shut(first).await;
    std::fs::remove_dir_all(dir.path().join("archive")).unwrap();
    let second = archiving(&scenario, journal.clone(), dir.path(), &clock);
    second.synchronise().await.unwrap();
    let signed = second.record(tenant, ServiceRole::EvidenceExporter, Wanted::Checkpoint).await;
    second.synchronise().await.unwrap();
    second.sync().await;
    let archived = second.archive().unwrap().last(tenant).unwrap();
    let covered = second.view(tenant, lifecycle::Footprint::default()).unwrap().progress.covered;
    assert!(archived.0 >= covered, "{signed:?}: covers {covered} events, the archive has {}", archived.0);
}

/// The archive is the memory of a process whose replica was set aside: a log that has less than the archive is
/// behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_behind_the_archive_raises_behind_although_the_replica_is_new() {
    let scenario = scenario();
    let journal = log(&scenario);
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::set_at(scenario.now));
    let tenant = scenario.tenant.chain.tenant();
    let first = archiving(&scenario, journal.clone(), dir.path(), &clock);
    first.synchronise().await.unwrap();
    shut(first).await;
    std::fs::remove_dir_all(dir.path().join("replica")).unwrap();
    journal.tamper(tenant, |records| records.truncate(records.len() - 3));
    let second = archiving(&scenario, journal.clone(), dir.path(), &clock);
    second.synchronise().await.unwrap();
    assert_eq!(second.replica().alarm(tenant).map(|alarm| alarm.kind), Some(AlarmKind::Behind));
}

/// And one that goes on differently must never be archived behind the old history: an archive of two histories.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_never_holds_two_histories() {
    let scenario = scenario();
    let journal = log(&scenario);
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::set_at(scenario.now));
    let tenant = scenario.tenant.chain.tenant();
    let first = archiving(&scenario, journal.clone(), dir.path(), &clock);
    first.synchronise().await.unwrap();
    let mut world = World { node: first, clock: clock.clone(), scenario, tenant, dir: tempfile::tempdir().unwrap() };
    let (role, request) = world.signed("request", &["k1"], "rae");
    world.record(role, &request).await.unwrap();
    let World { node: first, mut scenario, .. } = world;
    shut(first).await;
    std::fs::remove_dir_all(dir.path().join("replica")).unwrap();
    // The log is put back as of one event ago, and goes on with others.
    journal.tamper(tenant, |records| {
        records.pop();
    });
    scenario.run(
        "enroll zoe security by ann,bob => principal.enrolled\nenroll zac security by ann,bob => principal.enrolled",
    );
    journal.tamper(tenant, |records| records.clone_from(&scenario.records));
    let second = archiving(&scenario, journal.clone(), dir.path(), &clock);
    second.synchronise().await.unwrap();
    second.sync().await;
    let archived: Vec<Record> =
        second.archive().unwrap().events(tenant, Sequence(1)).map(|event| event.unwrap().1).collect();
    let mut reader = lifecycle::Tenant::new(tenant, scenario.tenant.root);
    let alarm = second.replica().alarm(tenant);
    let voids: Vec<_> = archived
        .into_iter()
        .map(|record| reader.take_record(record).unwrap())
        .filter(|judgement| *judgement != lifecycle::Judgement::Lawful)
        .collect();
    assert!(alarm.is_some() || voids.is_empty(), "no alarm, and a broken history in the archive: {voids:?}");
    assert!(alarm.is_some(), "no alarm although archive and log differ");
}

/// Where the disk refuses the archive, the process still stops when it is asked to.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_stops_although_its_archive_can_not_be_written() {
    let mut scenario = scenario();
    let journal = log(&scenario);
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::set_at(scenario.now));
    let root = scenario.tenant.root;
    let tenant = scenario.tenant.chain.tenant();
    // So small that each event needs a new segment, which can't be made once the folder is gone.
    let options = archive::Options { segment_bytes: 1 };
    let node = Node::new(NodeConfig {
        journal: journal.clone(),
        replica: Replica::open(&dir.path().join("replica"), root).unwrap().replica,
        archive: Some(Archive::open(&dir.path().join("archive"), options, |_| ()).unwrap().archive),
        keys: ServiceRole::SERVICES.iter().map(|role| scenario.service(*role).clone()).collect(),
        root,
        clock,
    });
    node.synchronise().await.unwrap();
    node.sync().await;
    std::fs::rename(dir.path().join("archive"), dir.path().join("unmounted")).unwrap();
    scenario.run("enroll zoe security by ann,bob => principal.enrolled");
    journal.tamper(tenant, |records| records.clone_from(&scenario.records));
    node.synchronise().await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(10), node.close()).await;
    assert!(closed.is_ok(), "it waits for the disk for ever, and so does the follower's loop");
}

/// A tenant whose stream is gone altogether has an alarm, like one whose stream has less.
#[tokio::test]
async fn a_stream_that_is_gone_raises_an_alarm() {
    let scenario = scenario();
    let journal = Odd::of(&scenario);
    let world = World::new(scenario, journal.clone()).await;
    journal.gone.store(true, Ordering::SeqCst);
    world.node.synchronise().await.unwrap();
    assert_eq!(world.node.replica().alarm(world.tenant).map(|alarm| alarm.kind), Some(AlarmKind::Behind));
}

/// A service that knows that it lags, and can't catch up, refuses nothing: it says that it can't tell.
#[tokio::test]
async fn a_service_that_can_not_catch_up_does_not_refuse() {
    let scenario = scenario();
    let journal = Odd::of(&scenario);
    let mut world = World::new(scenario, journal.clone()).await;
    let lagging = node(&world.scenario, journal.clone(), &world.dir.path().join("lagging"), &world.clock);
    lagging.catch_up(world.tenant).await.unwrap();
    let (role, request) = world.signed("request", &["k1"], "rae");
    world.record(role, &request).await.unwrap();
    world.scenario.run("request k1 by rae => activation.requested");
    let (role, cancel) = world.signed("cancel", &["k1"], "rae");
    // The other service has a request open; this one does not know it, and the log can't be read.
    journal.unreadable.store(true, Ordering::SeqCst);
    let refused = lagging.record(world.tenant, role, Input::Command(cancel)).await;
    assert_eq!(refused.unwrap_err().problem, ProblemType::Unavailable, "refused on a state known to be old");
}

/// An alarm stands although it could not be written down.
#[tokio::test]
async fn an_alarm_stands_although_its_file_can_not_be_written() {
    let scenario = scenario();
    let journal = log(&scenario);
    let mut world = World::new(scenario, journal.clone()).await;
    let alarms = world.dir.path().join("replica/alarms");
    std::fs::remove_dir_all(&alarms).unwrap();
    std::fs::write(&alarms, "as a full or failing disk").unwrap();
    journal.tamper(world.tenant, |records| {
        let last = records.last_mut().unwrap();
        last.signature = last.signature.replace("SHA256", "sha256");
    });
    world.node.synchronise().await.unwrap();
    let (role, request) = world.signed("request", &["k1"], "rae");
    let outcome = world.record(role, &request).await;
    assert_eq!(outcome.map_err(|rejection| rejection.problem), Err(ProblemType::Stopped));
}

/// An authentic event that is in the log a second time, byte for byte, is junk, and nobody's second history: putting
/// it there takes no key at all.
#[tokio::test]
async fn an_old_event_that_is_put_into_the_log_again_stops_nobody() {
    let scenario = scenario();
    let journal = log(&scenario);
    let world = World::new(scenario, journal.clone()).await;
    journal.tamper(world.tenant, |records| {
        let copy = records[3].clone();
        records.push(copy);
    });
    world.node.synchronise().await.unwrap();
    assert_eq!(world.node.replica().alarm(world.tenant).map(|alarm| alarm.kind), None);
}

/// A log that refuses although nobody wrote is not "somebody else wrote first 64 times".
#[tokio::test]
async fn a_refusing_log_is_asked_with_patience_and_reported_as_such() {
    let scenario = scenario();
    let journal = Odd::of(&scenario);
    let mut world = World::new(scenario, journal.clone()).await;
    let (role, request) = world.signed("request", &["k1"], "rae");
    journal.refuses.store(true, Ordering::SeqCst);
    let began = tokio::time::Instant::now();
    let refused = world.record(role, &request).await.unwrap_err();
    let (appends, took) = (journal.appends.load(Ordering::SeqCst), began.elapsed());
    assert!(
        refused.problem == ProblemType::Unavailable && appends < 10,
        "{:?} ({}) after {appends} appends in {took:?}",
        refused.problem,
        refused.detail
    );
}

/// A process that reads one long log does not stop every tenant for being stale.
#[tokio::test(start_paused = true)]
async fn a_long_catch_up_of_one_tenant_makes_no_other_stale() {
    let scenario = scenario();
    let journal = Odd { read_takes: Duration::from_secs(4), ..Odd::of(&scenario) };
    let world = World::new(scenario, journal.clone()).await;
    let junk = |n: usize| Record { signature: String::new(), payload: format!("junk {n}").into_bytes().into() };
    journal.inner.tamper(world.tenant, |records| records.extend((0..20 * 512).map(junk)));
    world.node.synchronise().await.unwrap();
    assert_eq!(world.node.stale(), None, "the log was read to its end this very moment");
}

/// One tenant whose lane waits for the log does not keep every other tenant's events waiting.
#[tokio::test(start_paused = true)]
async fn a_slow_tenant_does_not_hold_up_another() {
    let scenario = scenario();
    let journal = Odd::of(&scenario);
    let world = World::new(scenario, journal.clone()).await;
    let slow = TenantId::from_bytes([7; 32]);
    // The slow tenant has a gap, so the follower reads its log, which takes long. Ours has its next event at hand.
    let slow_journal = Odd { read_takes: Duration::from_secs(3), ..journal.clone() };
    let follower = node(&world.scenario, slow_journal, &world.dir.path().join("follower"), &world.clock);
    follower.catch_up(world.tenant).await.unwrap();
    let mut ours = crate::world::scenario();
    ours.run("request k1 by rae => activation.requested");
    let event = |tenant, sequence: u64, record: &Record| {
        News::Event(Arrived { tenant, sequence: Sequence(sequence), record: record.clone() })
    };
    let next = ours.records.len() as u64;
    let gap = event(slow, 5, &ours.records[4]);
    let mine = event(world.tenant, next, &ours.records[next as usize - 1]);
    let (send, news) = futures_util::stream::iter([gap]).into_parts(mine);
    let mut commits = follower.commits();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = {
        let follower = follower.clone();
        tokio::spawn(async move {
            follower
                .follow(news, async {
                    let _ = stopped.await;
                })
                .await;
        })
    };
    send.send(()).unwrap();
    let began = tokio::time::Instant::now();
    let heard = tokio::time::timeout(Duration::from_secs(20), commits.changed()).await;
    let took = began.elapsed();
    let _ = stop.send(());
    let _ = task.await;
    assert!(heard.is_ok() && took < Duration::from_secs(1), "our event waited {took:?} for another tenant's gap");
}

/// A stream that gives the first news at once, and the second once it is told to, a moment after the first.
trait IntoParts {
    fn into_parts(
        self,
        then: News,
    ) -> (tokio::sync::oneshot::Sender<()>, std::pin::Pin<Box<dyn futures_util::Stream<Item = News> + Send>>);
}

impl<S: futures_util::Stream<Item = News> + Send + 'static> IntoParts for S {
    fn into_parts(
        self,
        then: News,
    ) -> (tokio::sync::oneshot::Sender<()>, std::pin::Pin<Box<dyn futures_util::Stream<Item = News> + Send>>) {
        use futures_util::StreamExt as _;
        let (send, told) = tokio::sync::oneshot::channel();
        let second = futures_util::stream::once(async move {
            let _ = told.await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            then
        });
        (send, Box::pin(self.chain(second).chain(futures_util::stream::pending())))
    }
}

/// A log whose first append gets no answer, and whose records land only after whoever appended has looked for them.
#[derive(Clone)]
struct Late(Arc<MemoryJournal>, Arc<Mutex<OnItsWay>>);

#[derive(Default)]
enum OnItsWay {
    #[default]
    Nothing,
    Batch(Vec<Outgoing>),
    Landed,
}

impl Journal for Late {
    async fn last(&self, tenant: TenantId) -> Result<Sequence, journal::Error> {
        self.0.last(tenant).await
    }

    async fn tails(&self) -> Result<Vec<(TenantId, Sequence)>, journal::Error> {
        self.0.tails().await
    }

    async fn read(&self, tenant: TenantId, from: Sequence, max: usize) -> Result<Vec<Record>, journal::Error> {
        self.0.read(tenant, from, max).await
    }

    async fn append(&self, tenant: TenantId, head: Head, batch: &[Outgoing]) -> Result<Append, journal::Error> {
        let on_its_way = std::mem::replace(&mut *self.1.lock().unwrap(), OnItsWay::Landed);
        match on_its_way {
            OnItsWay::Nothing => {
                *self.1.lock().unwrap() = OnItsWay::Batch(batch.to_vec());
                return Err(journal::Error::Unavailable("no word yet".into()));
            }
            OnItsWay::Batch(late) => drop(self.0.append(tenant, head, &late).await?),
            OnItsWay::Landed => {}
        }
        self.0.append(tenant, head, batch).await
    }
}

/// A count is recorded once, also where the append's outcome was not known and its records stand a little later, as the port
/// says they may.
#[tokio::test]
async fn a_count_is_recorded_once_although_its_append_landed_late() {
    let scenario = scenario();
    let journal = Late(log(&scenario), Arc::default());
    let world = World::new(scenario, journal.clone()).await;
    let key = world.node.replica().key(world.tenant, key_id("k1")).unwrap().unwrap();
    let now = world.clock.now();
    let refused = model::event::CustodyRefused {
        report: service::clock::command_id(),
        key_id: key.id,
        reason: ProblemType::KeyNotActive.name().parse().unwrap(),
        state: key.state,
        refusals: [(model::key::Operation::Encrypt, 5)].into(),
        asked_by: Vec::new(),
        first_command: model::Digest::new([0; 32]),
        from: now,
        to: now,
        cause: key.head,
    };
    let before = journal.0.records(world.tenant).len();
    let recorded = world.node.record(world.tenant, ServiceRole::Custodian, Input::Refused(refused)).await;
    assert!(recorded.is_ok(), "{recorded:?}");
    assert_eq!(journal.0.records(world.tenant).len() - before, 1, "five refusals are told of more than once");
}

/// A duty whose work panics is tried again, like one that is refused.
#[tokio::test(start_paused = true)]
async fn a_duty_that_panicked_is_tried_again() {
    let mut scenario = scenario();
    scenario.run(
        "request k1 by rae => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved",
    );
    let journal = log(&scenario);
    let world = World::new(scenario, journal).await;
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let (node, tenant) = (world.node.clone(), world.tenant);
    let perform = move |_, duty: Duty| {
        let (counted, node) = (counted.clone(), node.clone());
        async move {
            assert!(counted.fetch_add(1, Ordering::SeqCst) > 0, "a panic on demand");
            node.record(tenant, ServiceRole::Approver, Input::Due(duty)).await
        }
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(service::duty::run(world.node.clone(), ServiceRole::Approver, perform, async {
        let _ = stopped.await;
    }));
    let clock = world.clock.clone();
    // Time goes on, so that whatever waits for a retry is due.
    for second in 1..=12 {
        tokio::time::sleep(Duration::from_millis(1000)).await;
        clock.turn(world.scenario.now + Span::from_secs(second * 100));
        if tries.load(Ordering::SeqCst) > 1 {
            break;
        }
    }
    let _ = stop.send(());
    running.await.unwrap().unwrap();
    assert!(tries.load(Ordering::SeqCst) > 1, "it is `busy` for ever");
}

/// A clock that was set back does not keep a refused duty waiting for as long.
#[tokio::test(start_paused = true)]
async fn a_refused_duty_is_tried_again_although_the_clock_was_set_back() {
    let mut scenario = scenario();
    scenario.run(
        "request k1 by rae => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved",
    );
    let journal = log(&scenario);
    let world = World::new(scenario, journal).await;
    // An hour ahead by mistake.
    world.clock.turn(world.scenario.now + Span::from_secs(600));
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let perform = move |_, _: Duty| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { lifecycle::Rejection::new(ProblemType::Unavailable, "not now").err() }
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(service::duty::run(world.node.clone(), ServiceRole::Approver, perform, async {
        let _ = stopped.await;
    }));
    while tries.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.clock.turn(world.scenario.now);
    tokio::time::sleep(Duration::from_secs(12)).await;
    let _ = stop.send(());
    running.await.unwrap().unwrap();
    assert!(tries.load(Ordering::SeqCst) > 1, "it waits for the clock to come back to where it was");
}

/// A clock that is set forward while everybody sleeps: what it makes due is done soon, and not when the old time would
/// have come.
#[tokio::test(start_paused = true)]
async fn what_a_clock_that_was_set_forward_makes_due_is_done_soon() {
    let scenario = scenario();
    let journal = log(&scenario);
    let world = World::new(scenario, journal).await;
    assert!(world.node.replica().due(ServiceRole::Expirer, world.clock.now(), 1).unwrap().is_empty());
    let (node, tenant) = (world.node.clone(), world.tenant);
    let perform = move |_, duty: Duty| {
        let node = node.clone();
        async move { node.record(tenant, ServiceRole::Expirer, Input::Due(duty)).await }
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(service::duty::run(world.node.clone(), ServiceRole::Expirer, perform, async {
        let _ = stopped.await;
    }));
    // It has looked, and sleeps until the key expires, in an hour.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.clock.turn(world.scenario.now + Span::from_secs(2 * 3600));
    let set_forward = tokio::time::Instant::now();
    let expired = || world.node.replica().key(tenant, key_id("k1")).unwrap().is_some_and(|key| key.expired.is_some());
    while !expired() {
        assert!(set_forward.elapsed() < Duration::from_secs(10), "it sleeps until the old time comes");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let _ = stop.send(());
    running.await.unwrap().unwrap();
}
