//! Two processes on one pair of tokens, and processes that are killed.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use keystore::conformance::Subject as _;
use keystore::{Error as PortError, KeyStore as _, Output, Permit, Use};
use keystore_pkcs11::{Finding, Pkcs11Store};
use model::{Algorithm, KeyId, KeyState};

use crate::bench::{Bench, command, config, encrypt, key, name, tenant};
use crate::testing::{OFFICER_PIN, Tokens, isolated};

/// Tells a child what to do: which store, and from which number on its keys are.
const TASK: &str = "KEYLATCH_TEST_TASK";
const THREADS: u64 = 2;

/// The child's part. As a test of its own it does nothing.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let folder = std::env::var_os("KEYLATCH_TEST_TOKENS").unwrap();
    let tokens = Tokens { folder: folder.into() };
    let words: Vec<&str> = task.split(' ').collect();
    let [store, round, lives] = words[..] else { panic!("{task}") };
    let (round, lives): (u64, u64) = (round.parse().unwrap(), lives.parse().unwrap());
    let store = Pkcs11Store::open(&tokens.path(store), name(), &config(&tokens)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || (0..lives).for_each(|n| live(store, key(round << 32 | n << 8 | thread), n)));
        }
    });
}

fn start(store: &str, round: u64, lives: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["processes::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(TASK, format!("{store} {round} {lives}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A key's life, each step told when it was acknowledged.
fn live(store: &Pkcs11Store, key_id: KeyId, number: u64) {
    let say = |what: &str| {
        let line = format!("ACK {key_id} {what}\n");
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    };
    let generated = store.generate(tenant(), key_id, Algorithm::Aes256Gcm, command()).unwrap();
    say(&format!("pre-active {}", generated.identity));
    let mut states = vec![KeyState::Active];
    match number % 4 {
        0 | 3 => states.extend([KeyState::Suspended, KeyState::Active].repeat(4)),
        1 => states.push(KeyState::Destroyed),
        _ => states = vec![KeyState::Destroyed],
    }
    for state in states {
        // Said before, too: what is on its way when the kill comes may be done or not.
        say(&format!("begins {state}"));
        store.apply(tenant(), key_id, state).unwrap();
        say(&format!("reached {state}"));
        if state == KeyState::Active {
            say(&format!("encrypted {}", data_encoding::HEXLOWER.encode(&encrypt(store, key_id).unwrap())));
        }
    }
}

/// What was said of a key.
#[derive(Default)]
struct Said {
    identity: String,
    reached: String,
    begun: Option<String>,
    ciphertexts: Vec<Vec<u8>>,
}

#[test]
fn what_was_acknowledged_survives_sigkill() {
    isolated("processes::what_was_acknowledged_survives_sigkill", |tokens| {
        let mut bench = Bench::new(&tokens);
        bench.close();
        let mut said = BTreeMap::new();
        // The counts differ so that the kill falls at different points of the work.
        let counts = (0..40).map(|round| 1 + round * 7 % 23);
        for (round, lines) in counts.enumerate() {
            for line in run_and_kill(u64::try_from(round).unwrap(), lines) {
                note(&mut said, &line);
            }
            bench.reopen();
            for (key_id, said) in &said {
                look(bench.store(), *key_id, said);
            }
            let survey = bench.store().survey().unwrap();
            // SoftHSM writes objects in several steps: one that was cut short has neither name nor value.
            let (cut_short, others): (Vec<_>, Vec<_>) = survey.findings.into_iter().partition(is_cut_short);
            assert_eq!(others, [], "round {round}");
            assert_eq!(survey.seen, survey.matched + cut_short.len(), "round {round}");
            bench.close();
        }
        assert!(said.len() > 40, "{} keys", said.len());
    });
}

fn is_cut_short(finding: &Finding) -> bool {
    matches!(finding, Finding::Unknown { object, label, .. } if object.is_empty() && label.is_empty())
}

/// Starts a child, kills it when it has said so many lines, and gives all lines it managed to say.
fn run_and_kill(round: u64, lines: usize) -> Vec<String> {
    let mut child = start("store", round, u64::from(u32::MAX) >> 8);
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut acknowledged: Vec<String> = Vec::new();
    while acknowledged.len() < lines {
        let line = output.next().expect("the child ended by itself");
        acknowledged.extend(only_said(&line));
    }
    child.kill().unwrap();
    acknowledged.extend(output.filter_map(|line| only_said(&line)));
    child.wait().unwrap();
    acknowledged
}

/// What follows `ACK ` (the harness's own words may stand before it); nothing where the kill has cut the line.
fn only_said(line: &str) -> Option<String> {
    line.split_once("ACK ").map(|(_, said)| said.to_owned())
}

fn note(said: &mut BTreeMap<KeyId, Said>, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let [key_id, what, value] = words[..] else { return };
    let Ok(key_id) = key_id.parse() else { return };
    let entry = said.entry(key_id).or_default();
    match what {
        "pre-active" => (entry.identity, entry.reached) = (value.to_owned(), what.to_owned()),
        "begins" => entry.begun = Some(value.to_owned()),
        "reached" => (entry.reached, entry.begun) = (value.to_owned(), None),
        "encrypted" => entry.ciphertexts.extend(data_encoding::HEXLOWER.decode(value.as_bytes())),
        _ => panic!("{line}"),
    }
}

fn look(store: &Pkcs11Store, key_id: KeyId, said: &Said) {
    let held = store.get(tenant(), key_id).unwrap().unwrap_or_else(|| panic!("key {key_id} is lost"));
    assert_eq!(held.identity.to_string(), said.identity, "{key_id}");
    let state = held.state.to_string();
    assert!(state == said.reached || Some(&state) == said.begun.as_ref(), "{key_id}: {state}, said {}", said.reached);
    for ciphertext in &said.ciphertexts {
        let asked = Use::Decrypt { ciphertext, aad: b"" };
        match store.perform(tenant(), key_id, &asked, Permit::WhileActive) {
            Ok(Output::Plaintext(plaintext)) => assert_eq!(plaintext[..], key_id.as_bytes()[..]),
            Err(PortError::State { .. }) if held.state != KeyState::Active => {}
            other => panic!("{key_id}: {other:?}"),
        }
    }
}

/// Two stores on the same two tokens, at work at the same time, each from two threads: no step fails.
#[test]
fn two_processes_on_the_same_tokens_do_not_disturb_each_other() {
    isolated("processes::two_processes_on_the_same_tokens_do_not_disturb_each_other", |tokens| {
        let mut bench = Bench::new(&tokens);
        bench.close();
        let second = Pkcs11Store::create(&tokens.path("second"), name(), &bench.config, OFFICER_PIN).unwrap();
        drop(second);
        let children = [start("store", 1, 12), start("second", 2, 12)];
        for child in children {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(said.matches(" pre-active ").count(), 24, "{said}");
        }
        bench.reopen();
        let survey = bench.store().survey().unwrap();
        let is_the_others = |finding: &Finding| matches!(finding, Finding::Unknown { says_it_is: None, .. });
        assert!(survey.findings.iter().all(is_the_others), "{:?}", survey.findings);
        assert!(survey.matched > 10, "{survey:?}");
    });
}
