//! SIGKILL, for every backend alike: what a store has acknowledged is there when it is opened again, and what it had begun is
//! completed by asking again.
//!
//! A child process works on a store and says on standard output what it begins and what was acknowledged. The parent kills it
//! at a random moment, reads what was still said, and looks. What was said stands for the log: a custodian that comes back
//! brings each key to the last state that was begun.
//!
//! Each backend's tests say how to make a store and how to start a child.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: they panic where a store fails them"
)]

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use model::{Algorithm, Digest, KeyId, KeyState, TenantId};
use rand_core::RngCore as _;

use crate::conformance::TestRng;
use crate::{Error, KeyStore, Output, Permit, Use, transition};

/// Names a seed that is to be run again.
const SEED: &str = "KEYLATCH_TEST_SEED";
/// How a child's line begins; the harness's own words may stand before it.
const SAID: &str = "ACK ";
const KILL: i32 = 9;
/// States that a key goes through after its birth, at most.
const STEPS_MAX: usize = 7;

/// A new seed each time, or the one that the environment names; printed, so that a failure can be run again.
pub fn seed() -> u64 {
    let given = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("{SEED}={seed}");
    seed
}

/// Whose keys they are.
pub fn tenant() -> TenantId {
    TenantId::from_bytes([7; 32])
}

// === The child ===

/// What a child does with its store.
pub struct Work {
    /// What is random comes of it.
    pub seed: u64,
    /// Each child's keys are others.
    pub round: u64,
    /// How many work at once.
    pub threads: u64,
    /// How many keys each thread has, one after the other.
    pub lives: u64,
    /// The states that this store has.
    pub states: Vec<KeyState>,
}

impl Work {
    /// Does it; a child that is to be killed has more of it than there is time.
    pub fn run(&self, store: &dyn KeyStore) {
        std::thread::scope(|scope| {
            for thread in 0..self.threads {
                scope.spawn(move || {
                    let mut rng = TestRng::new(self.seed ^ self.round << 8 ^ thread);
                    (0..self.lives).for_each(|n| self.live(store, key(self.round << 32 | n << 8 | thread), &mut rng));
                });
            }
        });
    }

    /// A key's life.
    fn live(&self, store: &dyn KeyStore, key_id: KeyId, rng: &mut TestRng) {
        say(key_id, "begins", KeyState::PreActive);
        let generated = store.generate(tenant(), key_id, algorithm(store, key_id), command()).unwrap();
        say(key_id, "is", &generated.identity);
        say(key_id, "reached", KeyState::PreActive);
        let mut state = KeyState::PreActive;
        for _ in 0..below(rng, STEPS_MAX) {
            let next = |to: &KeyState| *to != state && transition::step(state, *to).is_some();
            let ways: Vec<KeyState> = self.states.iter().copied().filter(next).collect();
            // To be active is what most of a life is: what can be, is every other time.
            let to_active = ways.contains(&KeyState::Active) && below(rng, 2) == 0;
            let any = ways.get(below(rng, ways.len()));
            let Some(to) = (if to_active { Some(KeyState::Active) } else { any.copied() }) else { return };
            say(key_id, "begins", to);
            store.apply(tenant(), key_id, to).unwrap();
            say(key_id, "reached", to);
            if to == KeyState::Active && algorithm(store, key_id) == Algorithm::Aes256Gcm {
                say(key_id, "encrypted", data_encoding::HEXLOWER.encode(&encrypt(store, key_id)));
            }
            state = to;
        }
    }
}

/// A number from 0 that is less than this, and 0 where there is none.
fn below(rng: &mut TestRng, end: usize) -> usize {
    usize::try_from(rng.next_u32()).unwrap().checked_rem(end).unwrap_or(0)
}

/// One write, which a kill does not cut.
fn say(key_id: KeyId, what: &str, value: impl std::fmt::Display) {
    let line = format!("{SAID}{key_id} {what} {value}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

fn key(number: u64) -> KeyId {
    format!("01930000-0000-7000-8000-{number:012x}").parse().unwrap()
}

fn command() -> Digest {
    Digest::of(b"command")
}

/// The second thread's keys are pairs, where the store makes them.
fn algorithm(store: &dyn KeyStore, key_id: KeyId) -> Algorithm {
    let is_pair = key_id.as_bytes().last() == Some(&1) && store.algorithms().contains(&Algorithm::EcdsaP256);
    if is_pair { Algorithm::EcdsaP256 } else { Algorithm::Aes256Gcm }
}

fn encrypt(store: &dyn KeyStore, key_id: KeyId) -> Vec<u8> {
    let asked = Use::Encrypt { plaintext: key_id.as_bytes(), aad: b"" };
    match store.perform(tenant(), key_id, &asked, Permit::WhileActive).unwrap() {
        Output::Ciphertext(ciphertext) => ciphertext,
        other => panic!("no ciphertext: {other:?}"),
    }
}

// === The parent ===

/// What children have said of their keys, each line as it comes.
#[derive(Default)]
pub struct Log(BTreeMap<KeyId, Said>);

/// What was said of one key.
#[derive(Default)]
pub struct Said {
    identity: Option<String>,
    reached: Option<KeyState>,
    begun: Option<KeyState>,
    ciphertexts: Vec<Vec<u8>>,
}

impl Said {
    /// Where the key is to be.
    fn last(&self) -> KeyState {
        self.begun.or(self.reached).unwrap_or(KeyState::PreActive)
    }

    /// Whether there is to be something left of it.
    pub fn is_to_be_there(&self) -> bool {
        !transition::is_destroyed(self.last())
    }

    /// Whether it may have been usable when the child was killed.
    pub fn may_be_usable(&self) -> bool {
        [self.begun, self.reached].contains(&Some(KeyState::Active))
    }
}

impl Log {
    /// Starts a child and kills it, at most so long after it has begun.
    pub fn kill(&mut self, child: Command, within: Duration, rng: &mut TestRng) {
        let after = within * u32::try_from(below(rng, 1000)).unwrap() / 1000;
        for line in run_and_kill(child, after) {
            self.note(&line);
        }
    }

    /// Every key that was ever begun.
    pub fn keys(&self) -> impl Iterator<Item = (KeyId, &Said)> {
        self.0.iter().map(|(key_id, said)| (*key_id, said))
    }

    /// Takes in a line of a child's; what the harness says around it is passed over.
    pub fn note(&mut self, line: &str) {
        let Some((_, said)) = line.split_once(SAID) else { return };
        let words: Vec<&str> = said.split(' ').collect();
        let [key_id, what, value] = words[..] else { panic!("{line}") };
        let said = self.0.entry(key_id.parse().unwrap()).or_default();
        let state = || KeyState::ALL.into_iter().find(|state| state.name() == value);
        match what {
            "is" => said.identity = Some(value.to_owned()),
            "begins" => said.begun = state(),
            "reached" => (said.reached, said.begun) = (state(), None),
            "encrypted" => said.ciphertexts.push(data_encoding::HEXLOWER.decode(value.as_bytes()).unwrap()),
            _ => panic!("{line}"),
        }
    }

    /// What was acknowledged is there; what was begun is there or not.
    pub fn check(&self, store: &dyn KeyStore) {
        for (key_id, said) in &self.0 {
            let Some(held) = store.get(tenant(), *key_id).unwrap() else {
                assert_eq!(said.reached, None, "key {key_id} is lost");
                continue;
            };
            assert!(said.identity.as_ref().is_none_or(|known| *known == held.identity.to_string()), "{key_id}");
            let is_known = said.reached.is_none() || [said.reached, said.begun].contains(&Some(held.state));
            assert!(is_known, "{key_id} is {}; it had reached {:?}", held.state, said.reached);
            for ciphertext in &said.ciphertexts {
                let asked = Use::Decrypt { ciphertext, aad: b"" };
                match store.perform(tenant(), *key_id, &asked, Permit::WhileActive) {
                    Ok(Output::Plaintext(plaintext)) => assert_eq!(plaintext[..], key_id.as_bytes()[..]),
                    Err(Error::State { .. }) if held.state != KeyState::Active => {}
                    // What was begun may be done already where the key is, and not yet in the store's own books.
                    Err(Error::Storage(_)) if said.begun.is_some() => {}
                    other => panic!("{key_id}: {other:?}"),
                }
            }
        }
    }

    /// Does what a custodian does that comes back: brings each key to the log's last state.
    pub fn catch_up(&mut self, store: &dyn KeyStore) {
        for (key_id, said) in &mut self.0 {
            if said.reached.is_none() {
                let generated = store.generate(tenant(), *key_id, algorithm(store, *key_id), command()).unwrap();
                said.identity = Some(generated.identity.to_string());
            }
            store.apply(tenant(), *key_id, said.last()).unwrap();
            (said.reached, said.begun) = (Some(said.last()), None);
        }
        self.check(store);
    }
}

/// Starts a child, kills it so long after its first word, and gives all that it managed to say.
fn run_and_kill(mut child: Command, after: Duration) -> Vec<String> {
    let mut child = child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let (send, receive) = mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || output.lines().map(Result::unwrap).try_for_each(|line| send.send(line)));
    let mut said = Vec::new();
    while said.last().is_none_or(|line: &String| !line.contains(SAID)) {
        said.push(receive.recv().expect("the child ended by itself"));
    }
    let until = Instant::now() + after;
    while let Ok(line) = receive.recv_timeout(until.saturating_duration_since(Instant::now())) {
        said.push(line);
    }
    child.kill().unwrap();
    said.extend(receive);
    reader.join().unwrap().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(KILL), "the child ended by itself");
    said
}
