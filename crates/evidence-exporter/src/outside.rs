//! Those outside the platform who vouch for checkpoints: witnesses, who cosign them, and an authority that stamps the time.
//!
//! Each is asked in a loop of its own, which nothing else waits for: for the newest checkpoint of a tenant, when there is a
//! new one, no more often than it was set, and again and again where that fails. What they answer is checked before it is
//! kept ([`Witnessed`]).

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use journal::Journal;
use journal::note::NoteKey;
use journal::witness::{self, Answer};
use model::TenantId;
use service::config::{self, TimestampAuthority, Witness};
use service::health::{Outsider, Trouble};
use service::{Error, Node, Shutdown, lock};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::checkpoints::{self, Recorded};
use crate::http::Http;
use crate::queue::{Outcome, Queue};
use crate::timestamp::{self, Question};
use crate::witnessed::Witnessed;

/// How many questions to one of them are under way at once.
const AT_ONCE: usize = 8;
/// How often all tenants are looked at, for checkpoints that another exporter has signed.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// How many tenants are asked of the replica at once.
const TENANTS: usize = 512;
/// The longest answer of a witness.
const LINES_BYTES_MAX: u64 = 64 * 1024;
/// How often a witness may say at once that it stands elsewhere.
const SIZES_MAX: usize = 3;

/// Everybody who is asked.
pub struct Outside {
    targets: Vec<Target>,
    /// Moves with every change of how they fare.
    changes: watch::Sender<u64>,
}

/// One who is asked.
struct Target {
    who: Arc<Who>,
    every: Duration,
    /// Tenants that have something new.
    inbox: Mutex<BTreeSet<TenantId>>,
    wake: Notify,
    status: Mutex<Status>,
}

enum Who {
    Witness(Box<Witness>),
    Authority(TimestampAuthority),
}

#[derive(Default)]
struct Status {
    kept: u64,
    last: Option<model::Timestamp>,
    waiting: usize,
    trouble: Option<Trouble>,
}

/// What questions are asked with.
struct Desk<J> {
    node: Node<J>,
    witnessed: Arc<Witnessed>,
    http: Http,
}

impl Outside {
    /// Those who are configured.
    pub fn new(config: &config::Outside) -> Arc<Self> {
        let witnesses = config.witness.iter().cloned().map(|witness| Who::Witness(Box::new(witness)));
        let all = witnesses.chain(config.timestamp.iter().cloned().map(Who::Authority));
        Arc::new(Self { targets: all.map(Target::new).collect(), changes: watch::Sender::new(0) })
    }

    /// A tenant has a new checkpoint.
    pub fn notify(&self, tenant: TenantId) {
        for target in &self.targets {
            lock(&target.inbox).insert(tenant);
            target.wake.notify_one();
        }
    }

    /// Moves when they fare otherwise than before.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How they fare.
    pub fn health(&self) -> Vec<Outsider> {
        self.targets.iter().map(Target::health).collect()
    }

    /// Asks them until `shutdown`, and waits for the answers that are under way then.
    pub async fn run<J: Journal>(self: Arc<Self>, node: Node<J>, witnessed: Arc<Witnessed>, shutdown: Shutdown) {
        if self.targets.is_empty() {
            return shutdown.requested().await;
        }
        let desk = Arc::new(Desk { node, witnessed, http: Http::new() });
        let mut loops = JoinSet::new();
        for place in 0..self.targets.len() {
            let (outside, desk, shutdown) = (self.clone(), desk.clone(), shutdown.clone());
            loops.spawn(async move {
                if let Some(target) = outside.targets.get(place) {
                    target.attend(&desk, &outside.changes, shutdown).await;
                }
            });
        }
        let mut stop = std::pin::pin!(shutdown.requested());
        loop {
            if let Err(error) = self.notify_all(&desk.node) {
                warn!(%error, "not every tenant was looked at for new checkpoints");
            }
            tokio::select! {
                () = &mut stop => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        loops.join_all().await;
    }

    fn notify_all<J: Journal>(&self, node: &Node<J>) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = node.replica().tenants(after, TENANTS)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            page.iter().for_each(|(tenant, _)| self.notify(*tenant));
        }
    }
}

impl Target {
    fn new(who: Who) -> Self {
        let every = match &who {
            Who::Witness(witness) => witness.every,
            Who::Authority(authority) => authority.every,
        };
        let every = Duration::from_millis(every.as_millis().unsigned_abs());
        Self { who: Arc::new(who), every, inbox: Mutex::default(), wake: Notify::new(), status: Mutex::default() }
    }

    fn name(&self) -> String {
        match &*self.who {
            Who::Witness(witness) => witness.vkey.name().to_owned(),
            Who::Authority(authority) => authority.url.clone(),
        }
    }

    fn health(&self) -> Outsider {
        let Status { kept, last, waiting, trouble } = &*lock(&self.status);
        Outsider { name: self.name(), kept: *kept, last: *last, waiting: *waiting, trouble: trouble.clone() }
    }

    /// Asks, tenant by tenant.
    async fn attend<J: Journal>(&self, desk: &Arc<Desk<J>>, changes: &watch::Sender<u64>, shutdown: Shutdown) {
        let mut stop = std::pin::pin!(shutdown.requested());
        let mut queue = Queue::default();
        let mut at_work: JoinSet<(TenantId, Result<Outcome, String>)> = JoinSet::new();
        loop {
            let now = Instant::now();
            for tenant in std::mem::take(&mut *lock(&self.inbox)) {
                queue.add(tenant, now);
            }
            while at_work.len() < AT_ONCE
                && let Some(tenant) = queue.take(now)
            {
                let (desk, who) = (desk.clone(), self.who.clone());
                at_work.spawn_blocking(move || {
                    // A panic is one question's misfortune: it is asked again like one that failed.
                    let asked = catch_unwind(AssertUnwindSafe(|| desk.ask(&who, tenant)));
                    (tenant, asked.unwrap_or_else(|_| Err("the question panicked; see the log".to_owned())))
                });
            }
            let waiting = queue.len() + at_work.len();
            lock(&self.status).waiting = waiting;
            changes.send_modify(|changes| *changes += 1);
            let next = queue.next().filter(|_| at_work.len() < AT_ONCE);
            tokio::select! {
                () = &mut stop => break,
                () = self.wake.notified() => {}
                Some(done) = at_work.join_next() => {
                    if let Ok((tenant, outcome)) = done {
                        self.done(&mut queue, desk, tenant, outcome);
                    }
                }
                () = tokio::time::sleep_until(next.unwrap_or(now)), if next.is_some() => {}
            }
        }
        while at_work.join_next().await.is_some() {}
    }

    fn done<J: Journal>(&self, queue: &mut Queue, desk: &Desk<J>, tenant: TenantId, outcome: Result<Outcome, String>) {
        let (now, name) = (desk.node.clock().now(), self.name());
        let mut status = lock(&self.status);
        let is_its = |trouble: &Trouble| trouble.tenant == tenant;
        if let Err(what) = &outcome {
            match status.trouble.as_ref().is_some_and(|trouble| is_its(trouble) && trouble.what == *what) {
                true => debug!(%tenant, name, what, "not vouched for"),
                false => warn!(%tenant, name, what, "not vouched for; it is asked again"),
            }
            status.trouble = Some(Trouble { tenant, at: now, what: what.clone() });
        } else {
            status.trouble = status.trouble.take().filter(|trouble| !is_its(trouble));
        }
        let outcome = outcome.unwrap_or(Outcome::Failed);
        if outcome == Outcome::Kept {
            (status.kept, status.last) = (status.kept + 1, Some(now));
            info!(%tenant, name, "vouched for the newest checkpoint");
        }
        queue.done(tenant, outcome, self.every, Instant::now());
    }
}

// === Questions ===

impl<J: Journal> Desk<J> {
    /// Asks one question about a tenant's newest checkpoint. Blocks. An error says what went wrong, and what to do.
    fn ask(&self, who: &Who, tenant: TenantId) -> Result<Outcome, String> {
        let newest = checkpoints::newest(&self.node, tenant).map_err(|error| error.to_string())?;
        let Some(newest) = newest else { return Ok(Outcome::Nothing) };
        match who {
            Who::Witness(witness) => self.have_cosigned(witness, tenant, &newest),
            Who::Authority(authority) => self.have_stamped(authority, tenant, &newest),
        }
    }

    /// Has a witness cosign, beginning from what it cosigned last: by what is known here, and else by what it says.
    fn have_cosigned(&self, witness: &Witness, tenant: TenantId, newest: &Recorded) -> Result<Outcome, String> {
        let (size, name) = (newest.checkpoint.size, witness.vkey.name());
        let last = self.witnessed.last(tenant, &witness.vkey.to_string()).map_err(|error| error.to_string())?;
        if last.is_some_and(|last| last.size == size) {
            return Ok(Outcome::Nothing);
        }
        let mut old = last.map_or(0, |last| last.size).min(size);
        for _ in 0..SIZES_MAX {
            let what = match self.add_checkpoint(witness, tenant, old, newest)? {
                Answer::Cosigned(lines) => return self.keep_lines(witness, tenant, newest, &lines),
                Answer::StandsAt(stands) if stands <= size && stands != old => {
                    old = stands;
                    continue;
                }
                Answer::StandsAt(stands) if stands > size => {
                    format!("it has cosigned {stands} events, and {size} are covered here; another exporter is ahead")
                }
                Answer::StandsAt(_) => format!(
                    "it knows the tree of {size} events with another root: two histories of one tenant, or another's \
                     origin; find out which, and compare with an export of before"
                ),
                Answer::UnknownLog | Answer::UnknownKey => self.unknown_there(tenant),
                Answer::NotConsistent => format!(
                    "it does not take the proof from {old} to {size} events: it has cosigned another history of this \
                     tenant; find out which, and compare with an export of before"
                ),
                Answer::NotRead => "it does not read the question (400); see that it speaks tlog-witness".to_owned(),
                Answer::Other(status) => {
                    format!("it answers {status}; see that it runs, and that the address is right")
                }
            };
            return Err(format!("the witness {name}: {what}"));
        }
        Err(format!("the witness {name}: it stands elsewhere each time it is asked"))
    }

    fn add_checkpoint(
        &self,
        witness: &Witness,
        tenant: TenantId,
        old: u64,
        newest: &Recorded,
    ) -> Result<Answer, String> {
        let checkpoint = &newest.checkpoint;
        let archive = self.node.archive().ok_or("this process keeps no archive")?;
        let proof = archive.consistency(tenant, old, checkpoint.size, &checkpoint.root);
        let body = witness::add_checkpoint(old, &proof.map_err(|error| error.to_string())?, &newest.note);
        let url = format!("{}/add-checkpoint", witness.url);
        let (status, answer) = self.http.post(&url, "text/plain; charset=utf-8", body.as_bytes(), LINES_BYTES_MAX)?;
        Ok(Answer::read(status, &answer))
    }

    fn keep_lines(
        &self,
        witness: &Witness,
        tenant: TenantId,
        newest: &Recorded,
        lines: &str,
    ) -> Result<Outcome, String> {
        let own = witness::cosignatures(&newest.note, lines, &witness.vkey).map_err(|error| {
            format!("the witness {}: {error}; compare its key with the one here", witness.vkey.name())
        })?;
        let own: String = own.iter().map(ToString::to_string).collect();
        let (size, now) = (newest.checkpoint.size, self.node.clock().now());
        self.witnessed.cosigned(tenant, size, &witness.vkey, &own, now).map_err(|error| error.to_string())?;
        Ok(Outcome::Kept)
    }

    /// What the witness's operator must be told.
    fn unknown_there(&self, tenant: TenantId) -> String {
        let key = self.node.key(crate::ROLE).ok().map(|key| key.signing_key().verifying_key());
        let key = key.map(|key| NoteKey::of_log(tenant, key).to_string()).unwrap_or_default();
        format!("it does not know this log, or not its key; have its operator add {key}")
    }

    /// Has the time stamped, unless it was for this checkpoint, or not long ago.
    fn have_stamped(
        &self,
        authority: &TimestampAuthority,
        tenant: TenantId,
        newest: &Recorded,
    ) -> Result<Outcome, String> {
        let (size, now) = (newest.checkpoint.size, self.node.clock().now());
        let last = self.witnessed.last(tenant, &authority.url).map_err(|error| error.to_string())?;
        match last {
            Some(last) if last.size == size => return Ok(Outcome::Nothing),
            Some(last) if last.at <= now && last.at + authority.every > now => {
                let wait = (last.at + authority.every - now).as_millis();
                return Ok(Outcome::Later(Duration::from_millis(wait.unsigned_abs())));
            }
            _ => {}
        }
        let question = Question::about(newest.note.text());
        let asked =
            self.http.post(&authority.url, timestamp::CONTENT_TYPE, &question.to_der(), timestamp::ANSWER_BYTES_MAX);
        let answer = match asked? {
            (200, answer) => answer,
            (status, _) => return Err(format!("{} answers {status}; see that the address is right", authority.url)),
        };
        question.check(&answer).map_err(|error| format!("{}: {error}", authority.url))?;
        self.witnessed.stamped(tenant, size, &authority.url, &answer, now).map_err(|error| error.to_string())?;
        Ok(Outcome::Kept)
    }
}

#[cfg(test)]
mod tests {
    use journal::note::{NoteKey, Opened, origin};
    use service::Stopper;

    use super::*;
    use crate::testing::Authority;
    use crate::world::World;

    /// How long something may take that takes no time.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Those outside, being asked.
    struct Running {
        outside: Arc<Outside>,
        witnessed: Arc<Witnessed>,
        stopper: Stopper,
        task: tokio::task::JoinHandle<()>,
    }

    impl Running {
        fn start(world: &World, config: &config::Outside) -> Self {
            let witnessed = Arc::new(Witnessed::open(&world.dir.path().join("witnessed.redb")).unwrap());
            let outside = Outside::new(config);
            let (stopper, shutdown) = Shutdown::new();
            let task = tokio::spawn(outside.clone().run(world.node.clone(), witnessed.clone(), shutdown));
            Self { outside, witnessed, stopper, task }
        }

        async fn stop(self) {
            self.stopper.stop();
            self.task.await.unwrap();
        }

        /// Waits until those outside fare so.
        async fn until(&self, what: impl Fn(&[Outsider]) -> bool) -> Vec<Outsider> {
            let mut changes = self.outside.changes();
            let waits = async {
                loop {
                    changes.mark_unchanged();
                    let health = self.outside.health();
                    if what(&health) {
                        return health;
                    }
                    changes.changed().await.unwrap();
                }
            };
            let waited = tokio::time::timeout(PATIENCE, waits).await;
            waited.unwrap_or_else(|_| panic!("{:?}", self.outside.health()))
        }

        /// Waits until the witness has cosigned so often.
        async fn kept(&self, count: u64) {
            self.until(|health| health.iter().all(|outsider| outsider.kept >= count && outsider.waiting == 0)).await;
        }

        /// Waits for trouble in which these words are.
        async fn trouble(&self, words: &str) {
            self.until(|health| {
                health
                    .iter()
                    .any(|outsider| outsider.trouble.as_ref().is_some_and(|trouble| trouble.what.contains(words)))
            })
            .await;
        }
    }

    fn witness(witness: &crate::testing::Witness) -> Witness {
        Witness { url: witness.url.clone(), vkey: witness.vkey(), every: model::Span::from_millis(1) }
    }

    fn of(witnesses: &[&crate::testing::Witness]) -> config::Outside {
        config::Outside { witness: witnesses.iter().map(|one| witness(one)).collect(), timestamp: None }
    }

    /// Who has cosigned the newest checkpoint, verified.
    fn cosigners(world: &World, witnessed: &Witnessed, keys: &[NoteKey]) -> Vec<String> {
        let newest = checkpoints::newest(&world.node, world.tenant()).unwrap().unwrap();
        let mut note = newest.note;
        for lines in witnessed.cosignatures(world.tenant(), newest.checkpoint.size).unwrap() {
            note.add(&lines).unwrap();
        }
        let opened = Opened::read(&note, &origin(world.tenant()), &[world.log_key()], keys).unwrap();
        opened.cosignatures.iter().map(|(key, _)| key.name().to_owned()).collect()
    }

    async fn more(world: &mut World, key: u8) -> u64 {
        world.run(&format!("generate k{key} by kim => key.generated\ncheckpoint => checkpoint.signed")).await;
        *world.sizes().last().unwrap()
    }

    #[tokio::test]
    async fn witnesses_cosign_what_is_newest_and_go_on_from_what_they_cosigned_last() {
        let mut world = World::new().await;
        let (one, two) = (
            crate::testing::Witness::start("witness.example/w1"),
            crate::testing::Witness::start("witness.example/w2"),
        );
        one.know(world.log_key());
        two.know(world.log_key());
        let keys = [one.vkey(), two.vkey()];
        let running = Running::start(&world, &of(&[&one, &two]));
        running.kept(1).await;
        let first = *world.sizes().last().unwrap();
        let both = ["witness.example/w1", "witness.example/w2"];
        assert_eq!(cosigners(&world, &running.witnessed, &keys), both);
        assert_eq!(one.asked(), [("old 0".to_owned(), 200)], "nothing before is asked for");

        let second = more(&mut world, 4).await;
        running.outside.notify(world.tenant());
        running.kept(2).await;
        assert_eq!(cosigners(&world, &running.witnessed, &keys), both);
        assert_eq!(one.asked().last(), Some(&(format!("old {first}"), 200)));
        assert_eq!(one.stands_at(&origin(world.tenant())), Some(second));

        // Without anything new, nobody is asked; after a restart neither.
        running.outside.notify(world.tenant());
        running.stop().await;
        let running = Running::start(&world, &of(&[&one, &two]));
        let third = more(&mut world, 5).await;
        running.outside.notify(world.tenant());
        running.kept(1).await;
        assert_eq!(one.asked().len(), 3);
        assert_eq!(one.asked().last(), Some(&(format!("old {second}"), 200)));
        assert_eq!(one.stands_at(&origin(world.tenant())), Some(third));
        running.stop().await;
    }

    #[tokio::test]
    async fn a_witness_that_knows_more_than_is_known_here_says_where_to_go_on_from() {
        let world = World::new().await;
        let witness = crate::testing::Witness::start("witness.example/w1");
        witness.know(world.log_key());
        let (origin, sizes) = (origin(world.tenant()), world.sizes());
        let (older, newest) = (sizes[0], *sizes.last().unwrap());
        witness.believe(&origin, older, world.root(older));
        let running = Running::start(&world, &of(&[&witness]));
        running.kept(1).await;
        assert_eq!(witness.asked(), [("old 0".to_owned(), 409), (format!("old {older}"), 200)]);
        // Also where it stands at the newest already.
        running.stop().await;
        std::fs::remove_file(world.dir.path().join("witnessed.redb")).unwrap();
        let running = Running::start(&world, &of(&[&witness]));
        running.kept(1).await;
        assert_eq!(witness.asked()[2..], [("old 0".to_owned(), 409), (format!("old {newest}"), 200)]);
        running.stop().await;
    }

    #[tokio::test]
    async fn refusals_are_told_with_what_to_do_and_asked_again() {
        let mut world = World::new().await;
        let witness = crate::testing::Witness::start("witness.example/w1");
        let running = Running::start(&world, &of(&[&witness]));
        // It is told of the log while it is asked: no restart, and no new checkpoint, is needed.
        running.trouble(&format!("have its operator add {}", world.log_key())).await;
        witness.know(world.log_key());
        running.kept(1).await;
        running.until(|health| health[0].trouble.is_none()).await;
        running.stop().await;

        let running = Running::start(&world, &of(&[&witness]));
        for (key, (answer, words)) in (4..).zip([
            ((403, ""), "have its operator add"),
            ((422, ""), "has cosigned another history"),
            ((400, ""), "speaks tlog-witness"),
            ((500, ""), "it answers 500"),
            ((409, "not a size"), "it answers 409"),
            ((200, "not a line\n"), "it is no signed note"),
            ((200, ""), "it is not signed by witness.example/w1+"),
            ((409, "999999\n"), "another exporter is ahead"),
        ]) {
            witness.answer_instead(Some(answer));
            more(&mut world, key).await;
            running.outside.notify(world.tenant());
            running.trouble(words).await;
            assert_eq!(cosigners(&world, &running.witnessed, &[witness.vkey()]), Vec::<String>::new(), "{words}");
            witness.answer_instead(None);
            running.until(|health| health[0].trouble.is_none() && health[0].waiting == 0).await;
            assert_eq!(cosigners(&world, &running.witnessed, &[witness.vkey()]), ["witness.example/w1"]);
        }
        running.stop().await;
    }

    /// Two histories under one origin: what a witness is there for.
    #[tokio::test]
    async fn a_witness_that_has_seen_another_history_is_an_alarm_and_nothing_is_kept() {
        let world = World::new().await;
        let newest = *world.sizes().last().unwrap();
        for (size, words) in [(newest, "with another root"), (newest - 1, "has cosigned another history")] {
            let witness = crate::testing::Witness::start("witness.example/w1");
            witness.know(world.log_key());
            witness.believe(&origin(world.tenant()), size, [7; 32]);
            let running = Running::start(&world, &of(&[&witness]));
            running.trouble(words).await;
            assert_eq!(cosigners(&world, &running.witnessed, &[witness.vkey()]), Vec::<String>::new());
            running.stop().await;
        }
    }

    /// A cosignature by another key under the witness's name, and one of another text.
    #[tokio::test]
    async fn a_cosignature_that_does_not_hold_is_not_kept() {
        let world = World::new().await;
        let newest = checkpoints::newest(&world.node, world.tenant()).unwrap().unwrap();
        let witness = crate::testing::Witness::start("witness.example/w1");
        let other = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
        let by_other = newest.note.cosignature("witness.example/w1", 1, &other).to_string();
        let same = ed25519_dalek::SigningKey::from_bytes(model::Digest::of(b"witness.example/w1").as_bytes());
        let of_other_text = journal::note::Note::new("x\n").unwrap().cosignature("witness.example/w1", 1, &same);
        for (line, words) in [(by_other, "is not signed by"), (of_other_text.to_string(), "does not hold")] {
            witness.answer_instead(Some((200, &line)));
            let running = Running::start(&world, &of(&[&witness]));
            running.trouble(words).await;
            assert_eq!(cosigners(&world, &running.witnessed, &[witness.vkey()]), Vec::<String>::new());
            running.stop().await;
        }
    }

    /// One that does not answer holds up neither the other nor the end.
    #[tokio::test]
    async fn a_witness_that_is_gone_is_waited_for_by_nobody() {
        let world = World::new().await;
        let (gone, there) = (
            crate::testing::Witness::start("witness.example/w1"),
            crate::testing::Witness::start("witness.example/w2"),
        );
        there.know(world.log_key());
        let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let mut config = of(&[&gone, &there]);
        config.witness[0].url = format!("http://{closed}");
        let running = Running::start(&world, &config);
        running.trouble("does not answer").await;
        running.until(|health| health[1].kept == 1).await;
        assert_eq!(cosigners(&world, &running.witnessed, &[there.vkey()]), ["witness.example/w2"]);
        running.stop().await;
    }

    #[tokio::test]
    async fn the_time_is_stamped_and_no_more_often_than_it_may_be() {
        let mut world = World::new().await;
        let authority = Authority::start();
        let hour = model::Span::from_secs(3_600);
        let timestamp = Some(TimestampAuthority { url: authority.url.clone(), every: hour });
        let config = config::Outside { witness: Vec::new(), timestamp };
        let running = Running::start(&world, &config);
        running.kept(1).await;
        let (tenant, first) = (world.tenant(), *world.sizes().last().unwrap());
        let answer = running.witnessed.timestamp(tenant, first).unwrap().unwrap();
        let newest = checkpoints::newest(&world.node, tenant).unwrap().unwrap();
        assert!(authority.verifies(newest.note.text(), &answer));
        assert!(!authority.verifies(&newest.note.to_string(), &answer), "it is over the text alone");

        // Another one within the hour waits for it, over a restart as well.
        let second = more(&mut world, 4).await;
        running.stop().await;
        let running = Running::start(&world, &config);
        running.until(|health| health[0].waiting == 1).await;
        assert_eq!(running.witnessed.newest_stamped(tenant).unwrap(), Some(first));
        running.stop().await;
        world.run("wait 61m").await;
        let running = Running::start(&world, &config);
        running.kept(1).await;
        assert_eq!(running.witnessed.newest_stamped(tenant).unwrap(), Some(second));
        running.stop().await;
    }
}
