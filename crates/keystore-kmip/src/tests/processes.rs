//! Two custodians on one server, processes that are killed, and how long a placed key outlives its deactivation.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use KeyState::{Active, Compromised, Deactivated, Destroyed, Suspended};
use keystore::KeyStore as _;
use keystore::conformance::TestRng;
use keystore::kill::{self, Log, Work};

use super::*;
use crate::client::Client;
use crate::index::Id;
use crate::protocol::{self, Operation};
use crate::{Error, Finding, ServerState};

/// Tells a child what to do: in which mode, on which server (its folder and port) and store, from which seed and number on its
/// keys are, and how many they are.
const TASK: &str = "KEYLATCH_TEST_TASK";
const THREADS: u64 = 2;
/// More than a child has time for.
const WITHOUT_END: u64 = 1 << 20;

/// The child's part. As a test of its own it does nothing.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let words: Vec<&str> = task.split(' ').collect();
    let [mode, server, port, store, seed, round, lives] = words[..] else { panic!("{task}") };
    let number = |word: &str| word.parse().unwrap();
    let settings = server::settings(Path::new(server), port.parse().unwrap());
    let is_placed = mode == "placed";
    let settings = if is_placed { placed_settings(settings) } else { settings };
    let store = KmipStore::open(Path::new(store), name(), &settings).unwrap_or_else(|error| panic!("{error}"));
    let mut states = vec![Active, Deactivated, Compromised, Destroyed];
    states.extend((!is_placed).then_some(Suspended));
    Work { seed: number(seed), round: number(round), threads: THREADS, lives: number(lives), states }.run(&store);
}

fn command(mode: &str, server: &Server, store: &Path, seed: u64, round: u64, lives: u64) -> Command {
    let (folder, store) = (server.folder.path().display(), store.display());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["tests::processes::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(TASK, format!("{mode} {folder} {} {store} {seed} {round} {lives}", server.port));
    command
}

#[test]
fn a_second_process_on_one_store_is_refused() {
    let server = shared();
    let bench = Bench::with(server.settings());
    let output = command("mediated", &server, &bench.path(), 0, 0, 1).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("is in use: one process at a time"), "{said}");
    bench.bring(1, &[Active]);
}

/// Two custodians, each with a folder of its own, with keys of the same tenant and ids: at work at the same time, no step fails,
/// and neither sees the other's keys as its own or can destroy them.
#[test]
fn two_custodians_on_one_server_do_not_disturb_each_other() {
    let server = Server::start();
    let mut benches = [0, 1].map(|_| Bench::with(server.settings()));
    let seed = kill::seed();
    let children = [0, 1].map(|at| {
        benches[at].store = None;
        let mut child = command("mediated", &server, &benches[at].path(), seed ^ at as u64, 1, 5);
        child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    let logs = children.map(|child| {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let mut log = Log::default();
        said.lines().for_each(|line| log.note(line));
        log
    });
    for (bench, log) in benches.iter_mut().zip(&logs) {
        bench.restart();
        log.check(bench.store());
        let survey = bench.store().survey().unwrap();
        assert_eq!(survey.matched, log.keys().count());
        let strangers: Vec<&String> = survey.findings.iter().map(unknown).collect();
        assert!(!strangers.is_empty());
        for object in strangers {
            let refused = bench.store().discard(object);
            assert!(matches!(refused, Err(Error::NoOrphan(_))), "{refused:?}");
        }
        let mut drifts = Vec::new();
        KeyStore::survey(bench.store(), tenant(), None, &mut |found| drifts.push(found)).unwrap();
        assert_eq!(drifts, [], "what the other has is no drift of ours");
    }
    // Nor does one that is destroyed take the other's of the same id with it.
    let [first, second] = &benches;
    let key_id = first.bring(9, &[Active]);
    second.bring(9, &[Active]);
    first.store().apply(tenant(), key_id, Destroyed).unwrap();
    second.encrypt(key_id).unwrap();
}

fn unknown(finding: &Finding) -> &String {
    let Finding::Unknown { object, .. } = finding else { panic!("{finding:?}") };
    object
}

#[test]
fn what_was_acknowledged_survives_sigkill() {
    kill_again_and_again("mediated", 8);
}

/// The same looked at by the application too: before anything is completed, and after its keys were brought to where the log has
/// them.
#[test]
fn in_placed_mode_no_kill_leaves_a_key_usable_that_was_not_brought_to_active() {
    kill_again_and_again("placed", 12);
}

fn kill_again_and_again(mode: &str, rounds: u64) {
    let is_placed = mode == "placed";
    let server = Server::start();
    let mut bench = if is_placed { placed(&server) } else { Bench::with(server.settings()) };
    let application = application(&server);
    let (seed, mut log) = (kill::seed(), Log::default());
    let mut rng = TestRng::new(seed);
    for round in 0..rounds {
        bench.store = None;
        let child = command(mode, &server, &bench.path(), seed, round, WITHOUT_END);
        log.kill(child, Duration::from_millis(400), &mut rng);
        bench.restart();
        for (key_id, said) in log.keys().filter(|(key_id, _)| uses(&application, &bench, *key_id)) {
            assert!(is_placed && said.may_be_usable(), "round {round}: {key_id}");
        }
        let survey = bench.store().survey().unwrap();
        assert!(!survey.findings.iter().any(Finding::is_shadow_activation), "round {round}: {survey:?}");
        log.check(bench.store());
        log.catch_up(bench.store());
        for finding in bench.store().survey().unwrap().findings {
            // A birth that was cut short has left one, which nobody can use.
            let Finding::Orphan { subject, state: Some(ServerState::PreActive) } = finding else {
                panic!("round {round}: {finding:?}")
            };
            bench.store().discard(&subject.object).unwrap();
        }
        assert_eq!(bench.store().survey().unwrap().findings, [], "round {round}: no orphan is left");
        for (key_id, _) in log.keys() {
            let is_active = bench.state(key_id) == Some(Active);
            assert_eq!(uses(&application, &bench, key_id), is_placed && is_active, "round {round}: {key_id}");
        }
    }
    assert!(log.keys().count() as u64 >= rounds, "{} keys", log.keys().count());
}

/// An application's line to the server.
fn application(server: &Server) -> Client {
    let [certificate, key] = ["application.pem", "application.key"].map(|file| server.path(file));
    Client::new(&Settings { certificate, key, ..server.settings() }).unwrap()
}

/// Whether an application can use the object of a key.
fn uses(application: &Client, bench: &Bench, key_id: KeyId) -> bool {
    let record = bench.store().index.get(Id { tenant: tenant(), key_id }).unwrap();
    let Some(object) = record.and_then(|record| record.object) else { return false };
    match application.call(Operation::Encrypt, protocol::encrypt(&object, &[7; 12], b"", b"x")) {
        Ok(_) => true,
        Err(Error::Refused { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

/// An application that is at it without a pause, over a connection of its own. Suspension is refused in placed mode, so it is a
/// deactivation that halts it.
#[test]
fn an_application_at_work_is_halted_by_a_deactivation() {
    let server = shared();
    let bench = placed(&server);
    for number in 1..=5 {
        let key_id = bench.bring(number, &[Active]);
        let application = application(&server);
        let (at_work, seen) = mpsc::channel();
        let (start, answered, last) = std::thread::scope(|scope| {
            let hammering = scope.spawn(|| {
                let mut last = Instant::now();
                loop {
                    let begun = Instant::now();
                    if !uses(&application, &bench, key_id) {
                        return last;
                    }
                    last = begun;
                    let _ = at_work.send(());
                }
            });
            seen.iter().take(5).for_each(drop);
            let start = Instant::now();
            bench.store().apply(tenant(), key_id, Deactivated).unwrap();
            let answered = Instant::now();
            (start, answered, hammering.join().unwrap())
        });
        println!(
            "deactivation: answered after {:?}, last use begun {:?} after",
            answered - start,
            last.saturating_duration_since(start)
        );
        assert!(last <= answered, "a use began after the answer");
    }
}
