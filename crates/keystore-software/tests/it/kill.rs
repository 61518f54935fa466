//! SIGKILL: what the store has acknowledged is there when it is opened again.
//!
//! A child process (this test binary, told by an environment variable) works on a store from several threads and says on
//! standard output what was acknowledged to it. The parent reads a fixed number of lines, kills it in the midst of its
//! work, reads what was still said, and looks.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keystore::{Error as PortError, KeyStore as _, Output, Permit, Use};
use keystore_software::{Error, MasterKeys, SoftwareStore};
use model::{Algorithm, KeyId, KeyState};

use crate::{Bench, command, key, name, tenant};

const STORE: &str = "KEYLATCH_TEST_KILL_STORE";
const ROUND: &str = "KEYLATCH_TEST_KILL_ROUND";
const THREADS: u64 = 4;

/// The child's part. As a test of its own it does nothing.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(STORE).map(PathBuf::from) else { return };
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let masters = masters_beside(&directory);
    let store = SoftwareStore::open(&directory, name(), &masters).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            // Until it is killed: there is no end to reach.
            scope.spawn(move || (0..u64::MAX).for_each(|n| live(store, key(round << 32 | n << 8 | thread), n)));
        }
        scope.spawn(|| {
            loop {
                store.rewrap(&masters).unwrap();
                store.rekey(&masters, None).unwrap();
            }
        });
    });
}

/// The master key where a [`Bench`] has it.
fn masters_beside(store: &Path) -> MasterKeys {
    MasterKeys::own(store.with_file_name("master"))
}

/// A key's life, each step told when it was acknowledged.
fn live(store: &SoftwareStore, key_id: KeyId, number: u64) {
    let say = |what: &str| {
        let line = format!("ACK {key_id} {what}\n");
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    };
    let generated = store.generate(tenant(), key_id, Algorithm::Aes256Gcm, command()).unwrap();
    say(&format!("pre-active {}", generated.identity));
    let mut states = vec![KeyState::Active];
    match number % 4 {
        0 => states.extend([KeyState::Suspended, KeyState::Active]),
        1 => states.push(KeyState::Destroyed),
        2 => states = vec![KeyState::Destroyed],
        _ => {}
    }
    for state in states {
        // Said before, too: what is on its way when the kill comes may be done or not.
        say(&format!("begins {state}"));
        store.apply(tenant(), key_id, state).unwrap();
        say(&format!("reached {state}"));
        if state == KeyState::Active {
            let asked = Use::Encrypt { plaintext: key_id.as_bytes(), aad: b"" };
            let output = store.perform(tenant(), key_id, &asked, Permit::WhileActive).unwrap();
            let Output::Ciphertext(ciphertext) = output else { panic!("no ciphertext") };
            say(&format!("encrypted {}", data_encoding::HEXLOWER.encode(&ciphertext)));
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
    let mut bench = Bench::new();
    bench.close();
    let mut said = BTreeMap::new();
    // The counts differ so that the kill falls at different points of the work.
    for (round, lines) in [1, 2, 5, 9, 14, 23, 37, 61, 98, 160].into_iter().enumerate() {
        for line in run_and_kill(&bench.path(), round, lines) {
            note(&mut said, &line);
        }
        let store = bench.open().unwrap();
        store.check().unwrap();
        let names =
            |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        for name in [names(&bench.path()), names(bench.directory.path())].concat() {
            assert!(!name.to_string_lossy().contains("partial"), "{name:?} is left, and may have a key in it");
        }
        for (key_id, said) in &said {
            look(&store, *key_id, said);
        }
    }
    assert!(said.len() > 30, "{} keys", said.len());
}

/// Starts a child, kills it when it has said so many lines, and gives all lines it managed to say.
fn run_and_kill(store: &Path, round: usize, lines: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["kill::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(STORE, store)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut acknowledged: Vec<String> = Vec::new();
    while acknowledged.len() < lines {
        let line = output.next().expect("the child ended by itself");
        acknowledged.extend(only_said(&line));
    }
    let refused = SoftwareStore::open(store, name(), &masters_beside(store));
    assert!(matches!(refused, Err(Error::InUse { .. })), "one process at a time: {refused:?}");
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

fn look(store: &SoftwareStore, key_id: KeyId, said: &Said) {
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
