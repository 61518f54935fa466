//! Cut short: every change is interrupted at each of its steps, of the index and of the server alike, before it is done and
//! after, with and without a restart; then it is made again.

use std::sync::Arc;

use KeyState::{Active, Compromised, Deactivated, Destroyed, DestroyedCompromised, Suspended};
use keystore::KeyStore as _;

use super::*;
use crate::faults::{Fault, Faults};
use crate::index::{BLOCKS_MAX, Id};
use crate::{Finding, ServerState};

/// A change, to a key that was brought along a way; `None` is its birth.
#[derive(Clone, Copy, Debug)]
struct Case {
    way: &'static [KeyState],
    to: Option<KeyState>,
    /// How many steps it takes: commits of the index, and exchanges with the server.
    steps: u64,
}

const CASES: [Case; 12] = [
    Case { way: &[], to: None, steps: 6 },
    Case { way: &[], to: Some(Active), steps: 5 },
    Case { way: &[], to: Some(Compromised), steps: 5 },
    Case { way: &[], to: Some(Destroyed), steps: 5 },
    Case { way: &[Active], to: Some(Suspended), steps: 1 },
    Case { way: &[Active, Suspended], to: Some(Active), steps: 3 },
    Case { way: &[Active], to: Some(Deactivated), steps: 5 },
    Case { way: &[Active], to: Some(Compromised), steps: 5 },
    Case { way: &[Active], to: Some(Destroyed), steps: 7 },
    Case { way: &[Active, Deactivated], to: Some(Destroyed), steps: 5 },
    Case { way: &[Active, Compromised], to: Some(DestroyedCompromised), steps: 5 },
    Case { way: &[Destroyed], to: Some(DestroyedCompromised), steps: 1 },
];

struct CrashBench {
    bench: Bench,
    server: Server,
    faults: Arc<Faults>,
    keys: u64,
}

impl CrashBench {
    fn new() -> Self {
        let server = Server::start();
        let bench = Bench::with(server.settings());
        let mut bench = Self { bench, server, faults: Arc::default(), keys: 0 };
        bench.wire();
        bench
    }

    /// Index and server share one count of steps.
    fn wire(&mut self) {
        let store = self.bench.store.as_mut().unwrap();
        store.index.faults = Arc::clone(&self.faults);
        store.client.faults = Arc::clone(&self.faults);
    }

    fn restart(&mut self) {
        self.bench.restart();
        self.wire();
    }

    fn prepare(&mut self, case: Case) -> KeyId {
        self.keys += 1;
        if case.to.is_some() { self.bench.bring(self.keys, case.way) } else { key(self.keys) }
    }

    /// What a survey says of the key. Only births leave objects of their own, and to look for them takes long.
    fn findings(&self, key_id: KeyId, case: Case) -> Vec<Finding> {
        let (store, id) = (self.bench.store(), Id { tenant: tenant(), key_id });
        match store.index.get(id).unwrap() {
            Some(record) if case.to.is_some() => store.compare(id, &record).unwrap(),
            _ => self.bench.findings(key_id),
        }
    }

    /// Makes the change; what it answers, as far as it does not depend on the key.
    fn run(&self, key_id: KeyId, case: Case) -> Result<String, PortError> {
        let store = self.bench.store();
        match case.to {
            None => store
                .generate(tenant(), key_id, Algorithm::Aes256Gcm, command())
                .map(|generated| generated.wrapping_key.to_string()),
            Some(state) => store.apply(tenant(), key_id, state).map(|applied| format!("{applied:?}")),
        }
    }
}

/// `undisturbed` is the answer and the state that the change comes to.
#[track_caller]
fn check_fault(
    bench: &mut CrashBench,
    case: Case,
    strike: (u64, Fault),
    restart: bool,
    undisturbed: &(String, Option<KeyState>),
) {
    let key_id = bench.prepare(case);
    let was = bench.bench.store().get(tenant(), key_id).unwrap();
    let (answer, becomes) = (undisturbed.0.clone(), undisturbed.1);
    let context = format!("{case:?} {strike:?}, restart: {restart}");

    bench.faults.set(Some(strike));
    let outcome = bench.run(key_id, case);
    assert!(matches!(outcome, Err(PortError::Storage(_))), "{context}: {outcome:?}");
    assert!(!bench.faults.waiting(), "{context}: it struck");
    if restart {
        bench.restart();
    }
    let between = bench.bench.state(key_id);
    assert!(between == was.as_ref().map(|held| held.state) || between == becomes, "{context}: {between:?}");
    let findings = bench.findings(key_id, case);
    let ours = |finding: &Finding| matches!(finding, Finding::Unfinished { .. } | Finding::Orphan { .. });
    assert!(findings.iter().all(ours), "{context}: nobody is accused: {findings:?}");
    assert!(!findings.iter().any(Finding::is_shadow_activation), "{context}: {findings:?}");

    assert_eq!(bench.run(key_id, case).unwrap(), answer, "{context}: the same answer");
    assert_eq!(bench.run(key_id, case).unwrap(), answer, "{context}: and again");
    assert_eq!(bench.bench.state(key_id), becomes, "{context}");
    let held = bench.bench.store().get(tenant(), key_id).unwrap().unwrap();
    assert!(was.is_none_or(|was| was.identity == held.identity), "{context}: the same key");
    for finding in bench.findings(key_id, case) {
        let Finding::Orphan { subject, state } = finding else { panic!("{context}: {finding:?}") };
        assert_eq!((case.to, state), (None, Some(ServerState::PreActive)), "{context}");
        bench.bench.store().discard(&subject.object).unwrap();
    }
    assert_eq!(bench.findings(key_id, case), [], "{context}");
}

#[test]
fn every_change_survives_a_crash_at_every_step() {
    let bench = &mut CrashBench::new();
    for case in CASES {
        // How many steps it takes is part of what is tested: a fault that nothing strikes would prove nothing.
        let key_id = bench.prepare(case);
        bench.faults.set(None);
        let answer = bench.run(key_id, case).unwrap();
        assert_eq!(bench.faults.steps(), case.steps, "{case:?}");
        let undisturbed = (answer, bench.bench.state(key_id));
        for step in 0..case.steps {
            for fault in [Fault::Failed, Fault::FailedButPersisted] {
                for restart in [false, true] {
                    check_fault(bench, case, (step, fault), restart, &undisturbed);
                }
            }
        }
    }
}

/// The chain may have gone on when the custodian comes back: what was begun is given up for what holds now.
#[test]
fn a_change_that_was_cut_short_gives_way_to_a_later_one() {
    let bench = &mut CrashBench::new();
    let activate = CASES[1];
    for later in [Compromised, Destroyed] {
        let key_id = bench.prepare(activate);
        // The server has activated it, and the index was not told.
        bench.faults.set(Some((2, Fault::FailedButPersisted)));
        bench.run(key_id, activate).unwrap_err();
        assert!(bench.bench.encrypt(key_id).is_err(), "not active here, whatever the server says");
        bench.bench.store().apply(tenant(), key_id, later).unwrap();
        assert_eq!(bench.findings(key_id, activate), [], "{later}");
    }
}

/// A server that makes keys active, or somebody who was faster than we: nobody hears of such a key.
#[test]
fn a_key_that_is_active_before_its_birth_is_complete_is_refused() {
    let bench = &mut CrashBench::new();
    let birth = CASES[0];
    let key_id = bench.prepare(birth);
    bench.faults.set(Some((2, Fault::FailedButPersisted)));
    bench.run(key_id, birth).unwrap_err();
    let [Finding::Unfinished { subject, .. }] = &bench.findings(key_id, birth)[..] else { panic!("not told") };
    bench.server.behind_our_back(&format!("with client: client.activate('{}')", subject.object));
    for _ in 0..2 {
        let Err(PortError::Storage(error)) = bench.run(key_id, birth) else { panic!("it was born") };
        assert!(matches!(error.downcast_ref(), Some(crate::Error::Astray { .. })), "{error}");
        assert_eq!(bench.bench.state(key_id), None);
    }
}

#[test]
fn a_key_whose_nonces_are_used_up_encrypts_no_more() {
    let mut bench = Bench::new();
    let key_id = bench.bring(1, &[Active]);
    let ciphertext = bench.encrypt(key_id).unwrap();
    let id = Id { tenant: tenant(), key_id };
    let mut record = bench.store().index.get(id).unwrap().unwrap();
    assert_eq!(record.blocks_reserved, 1, "one block for many encryptions");
    record.blocks_reserved = BLOCKS_MAX;
    bench.store().index.put(id, &record).unwrap();
    bench.encrypt(key_id).unwrap();
    bench.restart();
    assert!(matches!(bench.encrypt(key_id), Err(PortError::Exhausted(id)) if id == key_id));
    let asked = Use::Decrypt { ciphertext: &ciphertext, aad: b"aad" };
    bench.store().perform(tenant(), key_id, &asked, Permit::WhileActive).unwrap();
}
