//! Two processes on one pair of tokens, and processes that are killed.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use KeyState::{Active, Compromised, Deactivated, Destroyed, Suspended};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType};
use keystore::KeyStore as _;
use keystore::conformance::{Subject as _, TestRng};
use keystore::kill::{self, Log, Work};
use keystore_pkcs11::{Finding, Pkcs11Store};
use model::{KeyId, KeyState};

use crate::bench::{self, Bench, config, name, placed_config, tenant};
use crate::testing::{APPLICATION, APPLICATION_PIN, OFFICER_PIN, Tokens, isolated};

/// Tells a child what to do: in which mode, with which store, and from which seed and number on its keys are.
const TASK: &str = "KEYLATCH_TEST_TASK";
const THREADS: u64 = 2;
/// More than a child has time for.
const WITHOUT_END: u64 = 1 << 20;

/// The child's part. As a test of its own it does nothing.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let tokens = Tokens::given().unwrap();
    let words: Vec<&str> = task.split(' ').collect();
    let [mode, store, seed, round, lives] = words[..] else { panic!("{task}") };
    let number = |word: &str| word.parse().unwrap();
    let config = if mode == "placed" { placed_config(&tokens) } else { config(&tokens) };
    let store = Pkcs11Store::open(&tokens.path(store), name(), &config).unwrap();
    let states = vec![Active, Suspended, Deactivated, Compromised, Destroyed];
    let work = Work { seed: number(seed), round: number(round), threads: THREADS, lives: number(lives), states };
    work.run(&store);
}

fn command(mode: &str, store: &str, seed: u64, round: u64, lives: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["processes::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(TASK, format!("{mode} {store} {seed} {round} {lives}"));
    command
}

/// What is on the tokens is what the index says. SoftHSM writes objects in several steps: one that was cut short has neither
/// name nor value.
#[track_caller]
fn check_tokens(store: &Pkcs11Store, context: &str) {
    let survey = store.survey().unwrap();
    let (cut_short, others): (Vec<_>, Vec<_>) = survey.findings.into_iter().partition(is_cut_short);
    assert_eq!(others, [], "{context}");
    assert_eq!(survey.seen, survey.matched + cut_short.len(), "{context}");
}

fn is_cut_short(finding: &Finding) -> bool {
    matches!(finding, Finding::Unknown { object, label, .. } if object.is_empty() && label.is_empty())
}

#[test]
fn what_was_acknowledged_survives_sigkill() {
    isolated("processes::what_was_acknowledged_survives_sigkill", |tokens| {
        let mut bench = Bench::new(&tokens);
        let (seed, mut log) = (kill::seed(), Log::default());
        let mut rng = TestRng::new(seed);
        for round in 0..25 {
            bench.close();
            log.kill(command("mediated", "store", seed, round, WITHOUT_END), Duration::from_millis(250), &mut rng);
            bench.reopen();
            log.check(bench.store());
            check_tokens(bench.store(), &format!("round {round}, killed"));
            log.catch_up(bench.store());
            check_tokens(bench.store(), &format!("round {round}, caught up"));
        }
        assert!(log.keys().count() > 25, "{} keys", log.keys().count());
    });
}

/// The same in placed mode, looked at by the application too: before the store is opened again, and after its keys were brought
/// to where the log has them.
#[test]
fn in_placed_mode_no_kill_leaves_a_key_usable_that_was_not_brought_to_active() {
    isolated("processes::in_placed_mode_no_kill_leaves_a_key_usable_that_was_not_brought_to_active", |tokens| {
        let mut bench = Bench::new_placed(&tokens);
        let (seed, mut log) = (kill::seed(), Log::default());
        let mut rng = TestRng::new(seed);
        for round in 0..15 {
            bench.close();
            log.kill(command("placed", "store", seed, round, WITHOUT_END), Duration::from_millis(400), &mut rng);
            let usable = usable_by_the_application();
            for (key_id, said) in log.keys().filter(|(key_id, _)| usable.contains(key_id)) {
                assert!(said.may_be_usable(), "round {round}: {key_id}");
            }
            bench.reopen();
            log.check(bench.store());
            log.catch_up(bench.store());
            let is_active = |key_id: &KeyId| {
                let held = bench.store().get(tenant(), *key_id).unwrap();
                held.is_some_and(|held| held.state == Active)
            };
            let active: BTreeSet<KeyId> = log.keys().map(|(key_id, _)| key_id).filter(is_active).collect();
            assert_eq!(usable_by_the_application(), active, "round {round}");
            check_tokens(bench.store(), &format!("round {round}"));
        }
        assert!(log.keys().count() > 15, "{} keys", log.keys().count());
    });
}

/// The keys that an application finds on its token and can use. The transport key is none, nor is what has no label.
fn usable_by_the_application() -> BTreeSet<KeyId> {
    let context = bench::module();
    let session = bench::intruder(&context, APPLICATION, APPLICATION_PIN);
    let mut usable = BTreeSet::new();
    for object in session.find_objects(&[Attribute::Token(true)]).unwrap() {
        let named = session.get_attributes(object, &[AttributeType::Label]).unwrap_or_default();
        let [Attribute::Label(label)] = &named[..] else { continue };
        let label = String::from_utf8_lossy(label);
        let Some(key_id) = label.rsplit(' ').next().and_then(|word| word.parse().ok()) else { continue };
        let encrypts = || session.encrypt(&Mechanism::AesEcb, object, &[0; 16]).is_ok();
        if encrypts() || session.sign(&Mechanism::Ecdsa, object, &[7; 32]).is_ok() {
            assert!(usable.insert(key_id), "{key_id} is there twice");
        }
    }
    usable
}

/// Two stores on the same two tokens, at work at the same time, each from two threads: no step fails.
#[test]
fn two_processes_on_the_same_tokens_do_not_disturb_each_other() {
    isolated("processes::two_processes_on_the_same_tokens_do_not_disturb_each_other", |tokens| {
        let mut bench = Bench::new(&tokens);
        bench.close();
        let second = Pkcs11Store::create(&tokens.path("second"), name(), &bench.config, OFFICER_PIN).unwrap();
        drop(second);
        let seed = kill::seed();
        let start = |(round, store)| {
            command("mediated", store, seed, round, 12).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let logs = [(1, "store"), (2, "second")].map(start).map(|child| {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
            let mut log = Log::default();
            said.lines().for_each(|line| log.note(line));
            assert_eq!(log.keys().count(), 24, "{said}");
            log
        });
        bench.reopen();
        logs[0].check(bench.store());
        let survey = bench.store().survey().unwrap();
        let is_the_others = |finding: &Finding| matches!(finding, Finding::Unknown { says_it_is: None, .. });
        assert!(survey.findings.iter().all(is_the_others), "{:?}", survey.findings);
        assert_eq!(survey.matched, logs[0].keys().filter(|(_, said)| said.is_to_be_there()).count(), "{survey:?}");
        let is_known = |key_id| bench.store().get(tenant(), key_id).unwrap().is_some();
        assert!(!logs[1].keys().any(|(key_id, _)| is_known(key_id)), "a store has its own keys only");
    });
}
