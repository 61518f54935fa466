//! Every change, cut short at every step, before it and after it: what then holds is the state before or the state after,
//! nothing is lost, nothing is left on a token, and doing it again gives the answer of an undisturbed run.

use std::collections::BTreeSet;

use cryptoki::object::Attribute;
use keystore::{Error as PortError, KeyStore, Output, Permit, Use};
use model::event::Inventory;
use model::{Algorithm, Digest, KeyId, KeyState, TenantId};

use crate::index;
use crate::lock::Mode;
use crate::object::Object;
use crate::steps::tests::Fault;
use crate::testing::{ACTIVE, APPLICATION, APPLICATION_PIN, OFFICER_PIN, PRE_ACTIVE, Tokens, isolated};
use crate::token::Work;
use crate::{Config, Error, Finding, Pin, Pkcs11Store, TokenConfig, offered};

/// A change that the matrix goes through: the key's way up to it, and the change.
#[derive(Clone, Copy, Debug)]
struct Case {
    way: &'static [KeyState],
    change: Change,
    /// How many steps it takes: announce, make, commit; destroy, clear.
    steps: u64,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Generate,
    Apply(KeyState),
    Encrypt,
    /// Of what somebody else has done to it just before.
    SetBack(Intrusion),
}

/// What somebody else does to a key's object on the active token.
#[derive(Clone, Copy, Debug)]
enum Intrusion {
    /// Turns its flags on.
    Flags,
    /// Copies it, with its flags on, under another name.
    Copy,
    /// Copies it under its own name, where flags turned on make it another than its copy.
    CopyUnderItsName,
    /// All of that.
    All,
}

const fn case(way: &'static [KeyState], to: KeyState, steps: u64) -> Case {
    Case { way, change: Change::Apply(to), steps }
}

const CASES: [Case; 23] = {
    use KeyState::{Active, Compromised, Deactivated, Destroyed, DestroyedCompromised, PreActive, Suspended};
    [
        Case { way: &[], change: Change::Generate, steps: 3 },
        Case { way: &[Active], change: Change::Encrypt, steps: 1 },
        case(&[], PreActive, 0),
        case(&[], Active, 5),
        case(&[], Compromised, 1),
        case(&[], Destroyed, 3),
        case(&[Compromised], DestroyedCompromised, 3),
        case(&[Destroyed], DestroyedCompromised, 1),
        case(&[Active], Suspended, 5),
        case(&[Active], Deactivated, 5),
        case(&[Active], Compromised, 5),
        case(&[Active], Destroyed, 3),
        case(&[Active, Suspended], Active, 5),
        case(&[Active, Suspended], Compromised, 1),
        case(&[Active, Suspended], Deactivated, 5),
        case(&[Active, Suspended], Destroyed, 3),
        case(&[Active, Deactivated], Destroyed, 3),
        case(&[Active, Compromised], DestroyedCompromised, 3),
        // A copy that is destroyed is one step each.
        Case { way: &[Active, Suspended], change: Change::SetBack(Intrusion::Flags), steps: 5 },
        Case { way: &[Active, Suspended], change: Change::SetBack(Intrusion::Copy), steps: 1 },
        Case { way: &[Active, Suspended], change: Change::SetBack(Intrusion::CopyUnderItsName), steps: 1 },
        Case { way: &[Active, Suspended], change: Change::SetBack(Intrusion::All), steps: 7 },
        Case { way: &[Active, Deactivated], change: Change::SetBack(Intrusion::All), steps: 7 },
    ]
};

struct Bench {
    tokens: Tokens,
    config: Config,
    store: Option<Pkcs11Store>,
    keys: u64,
}

impl Bench {
    fn new(tokens: Tokens) -> Self {
        Self::make(tokens, false)
    }

    /// In placed mode, or not.
    fn make(tokens: Tokens, is_placed: bool) -> Self {
        tokens.renew();
        tokens.add(APPLICATION, APPLICATION_PIN, "application.pin");
        let token = |label: &str, pin| TokenConfig { label: label.to_owned(), pin: Pin::File(tokens.path(pin)) };
        let config = Config {
            module: Tokens::module(),
            locks: tokens.path("locks"),
            pre_active: token(PRE_ACTIVE, "pre-active.pin"),
            active: token(ACTIVE, "active.pin"),
            placed: is_placed.then(|| token(APPLICATION, "application.pin")),
        };
        let (folder, name) = (tokens.path("store"), "tokens".parse().unwrap());
        let store = if is_placed {
            Pkcs11Store::create_placed(&folder, name, &config, OFFICER_PIN, OFFICER_PIN).unwrap()
        } else {
            Pkcs11Store::create(&folder, name, &config, OFFICER_PIN).unwrap()
        };
        Self { tokens, config, store: Some(store), keys: 0 }
    }

    fn store(&self) -> &Pkcs11Store {
        self.store.as_ref().unwrap()
    }

    fn restart(&mut self) {
        self.store = None;
        let name = "tokens".parse().unwrap();
        self.store = Some(Pkcs11Store::open(&self.tokens.path("store"), name, &self.config).unwrap());
    }

    /// A key that stands before the case's change.
    fn prepare(&mut self, case: Case) -> KeyId {
        self.keys += 1;
        let key_id = format!("01930000-0000-7000-8000-{:012x}", self.keys).parse().unwrap();
        if !matches!(case.change, Change::Generate) {
            self.run(key_id, Change::Generate).unwrap();
        }
        for state in case.way {
            self.run(key_id, Change::Apply(*state)).unwrap();
        }
        if let Change::SetBack(intrusion) = case.change {
            self.intrude(key_id, intrusion);
        }
        key_id
    }

    fn intrude(&self, key_id: KeyId, intrusion: Intrusion) {
        let row = self.store().find(&index::id(tenant(), key_id)).unwrap().unwrap();
        let on = || Attribute::Encrypt(true);
        let copy = |work: &Work<'_>, handle, with: &[Attribute]| {
            work.session.copy_object(handle, with).unwrap();
        };
        let flip = |work: &Work<'_>, handle| work.session.update_attributes(handle, &[on()]).unwrap();
        let intrude = |work: &Work<'_>| {
            let handle = work.handle_of(row.object.unwrap().id)?;
            match intrusion {
                Intrusion::Flags => flip(work, handle),
                Intrusion::Copy => copy(work, handle, &[Attribute::Id(vec![1, 2, 3]), on()]),
                Intrusion::CopyUnderItsName => copy(work, handle, &[on()]),
                Intrusion::All => {
                    flip(work, handle);
                    copy(work, handle, &[Attribute::Id(vec![1, 2, 3])]);
                    copy(work, handle, &[]);
                }
            }
            Ok(())
        };
        self.store().active.work(Mode::Alone, intrude).unwrap();
        let found = self.store().survey().unwrap().findings;
        assert_ne!(found, [], "{intrusion:?} is found");
    }

    /// Makes the change; what it answers, as far as it does not depend on the key.
    fn run(&self, key_id: KeyId, change: Change) -> Result<String, PortError> {
        let store = self.store();
        match change {
            Change::Generate => store
                .generate(tenant(), key_id, Algorithm::Aes256Gcm, Digest::of(b"command"))
                .map(|generated| format!("{:?}", generated.wrapping_key)),
            Change::Apply(state) => store.apply(tenant(), key_id, state).map(|applied| format!("{applied:?}")),
            Change::Encrypt => {
                let asked = Use::Encrypt { plaintext: b"hush", aad: b"" };
                let output = store.perform(tenant(), key_id, &asked, Permit::WhileActive)?;
                let Output::Ciphertext(ciphertext) = output else { panic!("no ciphertext") };
                Ok(format!("{} bytes", ciphertext.len()))
            }
            Change::SetBack(_) => store.set_back(tenant(), key_id).map(|done| format!("set back: {done}")),
        }
    }

    /// State and place.
    fn standing(&self, key_id: KeyId) -> Option<String> {
        let held = self.store().get(tenant(), key_id).unwrap()?;
        Some(format!("{} {:?}", held.state, held.place))
    }

    /// Whether the application finds it.
    fn is_placed(&self, key_id: KeyId) -> bool {
        let label = Attribute::Label(self.store().label(key_id).into_bytes());
        let Some(token) = &self.store().placed else { return false };
        let find = |work: &Work<'_>| Ok(work.find(std::slice::from_ref(&label))?.len());
        match token.work(Mode::Shared, find).unwrap() {
            0 => false,
            1 => true,
            more => panic!("{more} of one key"),
        }
    }

    /// Destroys the key, so that the tokens do not fill up.
    fn finish(&self, key_id: KeyId) {
        let state = self.store().get(tenant(), key_id).unwrap().unwrap().state;
        let end = match state {
            KeyState::Compromised | KeyState::DestroyedCompromised => KeyState::DestroyedCompromised,
            _ => KeyState::Destroyed,
        };
        self.run(key_id, Change::Apply(end)).unwrap();
    }
}

fn tenant() -> TenantId {
    TenantId::from_bytes([7; 32])
}

#[track_caller]
fn check_fault(bench: &mut Bench, case: Case, skip: u64, fault: Fault, restart: bool) {
    let (control, key_id) = (bench.prepare(case), bench.prepare(case));
    let was = bench.standing(key_id);
    let identity = bench.store().get(tenant(), key_id).unwrap().map(|held| held.identity);
    let answer = bench.run(control, case.change).unwrap();
    assert_ne!(answer, "set back: false", "{case:?}");
    let becomes = bench.standing(control);
    let context = format!("{case:?}, step {skip}, {fault:?}, restart: {restart}");

    bench.store().index.steps.faults.set(skip, fault);
    let outcome = bench.run(key_id, case.change);
    let injected = matches!(&outcome, Err(PortError::Storage(error))
        if matches!(error.downcast_ref::<Error>(), Some(Error::Fault)));
    assert!(injected, "{context}: {outcome:?}");
    if restart {
        bench.restart();
    }
    let between = bench.standing(key_id);
    assert!(between == was || between == becomes, "{context}: {between:?}");

    assert_eq!(bench.run(key_id, case.change).unwrap(), answer, "{context}: the same answer");
    assert_eq!(bench.standing(key_id), becomes, "{context}");
    let held = bench.store().get(tenant(), key_id).unwrap().unwrap();
    assert!(identity.is_none_or(|identity| identity == held.identity), "{context}: the same key");
    assert_eq!(bench.store().index.remainders(None).unwrap(), [], "{context}");
    let survey = bench.store().survey().unwrap();
    assert_eq!(survey.findings, [], "{context}: the tokens are as the index says");
    assert_eq!(survey.seen, survey.matched, "{context}");
    let is_active = held.state == KeyState::Active;
    assert_eq!(bench.is_placed(key_id), bench.config.placed.is_some() && is_active, "{context}");
    bench.finish(control);
    bench.finish(key_id);
}

#[test]
fn every_change_survives_a_crash_at_every_step() {
    isolated("crash_tests::every_change_survives_a_crash_at_every_step", |tokens| {
        try_every_fault(&mut Bench::new(tokens));
    });
}

#[test]
fn every_change_survives_a_crash_at_every_step_in_placed_mode() {
    isolated("crash_tests::every_change_survives_a_crash_at_every_step_in_placed_mode", |tokens| {
        try_every_fault(&mut Bench::make(tokens, true));
    });
}

fn try_every_fault(bench: &mut Bench) {
    for case in CASES {
        let steps = case.steps + if bench.config.placed.is_some() { placing(case) } else { 0 };
        // How many steps it takes is part of what is tested: a fault that nothing strikes would prove nothing.
        let key_id = bench.prepare(case);
        let before = bench.store().index.steps.faults.count();
        bench.run(key_id, case.change).unwrap();
        assert_eq!(bench.store().index.steps.faults.count() - before, steps, "{case:?}");
        bench.finish(key_id);
        for skip in 0..steps {
            for fault in [Fault::Failed, Fault::FailedButPersisted] {
                for restart in [false, true] {
                    check_fault(bench, case, skip, fault, restart);
                }
            }
        }
    }
}

/// How many steps more it takes in placed mode: announce, place, note; destroy, clear.
fn placing(case: Case) -> u64 {
    match (case.way.last(), case.change) {
        (_, Change::Apply(KeyState::Active)) => 3,
        (Some(KeyState::Active), Change::Apply(_)) => 2,
        _ => 0,
    }
}

#[test]
fn what_the_tokens_do_not_do_is_not_offered() {
    isolated("crash_tests::what_the_tokens_do_not_do_is_not_offered", |tokens| {
        use Algorithm::{Aes256Gcm, EcdsaP256, EcdsaP384, Ed25519, RsaPss3072, RsaPss4096};
        let bench = &mut Bench::new(tokens);
        let offered = [Aes256Gcm, EcdsaP256, EcdsaP384, RsaPss3072, RsaPss4096];
        assert_eq!(bench.store().algorithms(), offered, "of SoftHSM");
        let Pkcs11Store { pre_active, active, index, .. } = bench.store();
        let asked = offered::Tokens { pre_active, active, meta: &index.meta };
        assert!(asked.try_out(EcdsaP384).unwrap());
        assert!(!asked.try_out(Ed25519).unwrap(), "a refusal is an answer, not a failure");
        // What they said is remembered.
        bench.store().index.note_offered(&[Aes256Gcm]).unwrap();
        bench.restart();
        assert_eq!(bench.store().algorithms(), [Aes256Gcm]);
    });
}

/// Opening destroys what a crash has left; what it did not make, it leaves alone.
#[test]
fn opening_destroys_remainders_and_nothing_else() {
    isolated("crash_tests::opening_destroys_remainders_and_nothing_else", |tokens| {
        let bench = &mut Bench::new(tokens);
        let key_id = bench.prepare(CASES[3]);
        let id = index::id(tenant(), key_id);
        // After the new object was made, before it counts.
        bench.store().index.steps.faults.set(1, Fault::FailedButPersisted);
        bench.run(key_id, Change::Apply(KeyState::Active)).unwrap_err();
        let [(of, remainder)] = bench.store().index.remainders(None).unwrap()[..] else { panic!("no remainder") };
        assert_eq!((of, remainder.inventory), (id, Inventory::Active));
        assert!(bench.store().ask(remainder).is_ok(), "it is there, and usable, and counts for nothing");
        bench.restart();
        assert!(matches!(bench.store().ask(remainder), Err(Error::Missing { found: 0, .. })));
        assert_eq!(bench.store().index.remainders(None).unwrap(), []);

        // A row that is lost is no reason to destroy a key.
        let row = bench.store().find(&id).unwrap().unwrap();
        let born = row.object.unwrap();
        bench.store().index.forget(&id).unwrap();
        bench.restart();
        bench.store().ask(born).unwrap();
        let findings = bench.store().survey().unwrap().findings;
        let [Finding::Unknown { inventory: Inventory::PreActive, says_it_is, usages, .. }] = &findings[..] else {
            panic!("{findings:?}")
        };
        assert_eq!((says_it_is, usages), (&Some(key_id), &BTreeSet::new()));
    });
}

/// A use that finds its object replaced goes on with the one that counts.
#[test]
fn a_use_follows_a_key_that_is_replaced_under_its_feet() {
    isolated("crash_tests::a_use_follows_a_key_that_is_replaced_under_its_feet", |tokens| {
        let bench = &mut Bench::new(tokens);
        let key_id = bench.prepare(CASES[1]);
        bench.run(key_id, Change::Encrypt).unwrap();
        let tried_with: std::cell::RefCell<Vec<Object>> = std::cell::RefCell::default();
        let work = |_: &crate::index::Row, object: Object| {
            let first = tried_with.borrow().is_empty();
            tried_with.borrow_mut().push(object);
            if first {
                bench.run(key_id, Change::Apply(KeyState::Suspended))?;
                bench.run(key_id, Change::Apply(KeyState::Active))?;
            }
            Ok(bench.store().ask(object)?)
        };
        bench.store().with_object(tenant(), key_id, work, |_| Ok(())).unwrap();
        let tried = tried_with.into_inner();
        assert_eq!(tried.len(), 2);
        assert_ne!(tried[0], tried[1]);
    });
}

#[test]
fn a_key_whose_nonces_are_used_up_encrypts_no_more() {
    isolated("crash_tests::a_key_whose_nonces_are_used_up_encrypts_no_more", |tokens| {
        let bench = &mut Bench::new(tokens);
        let key_id = bench.prepare(CASES[1]);
        let id = index::id(tenant(), key_id);
        for blocks in 1..3 {
            bench.run(key_id, Change::Encrypt).unwrap();
            bench.run(key_id, Change::Encrypt).unwrap();
            assert_eq!(bench.store().find(&id).unwrap().unwrap().blocks_reserved, blocks, "one block for many");
            bench.restart();
        }
        let mut row = bench.store().find(&id).unwrap().unwrap();
        row.blocks_reserved = keystore::nonces::BLOCKS_MAX;
        bench.store().index.put(&id, &row, None).unwrap();
        let refused = bench.run(key_id, Change::Encrypt);
        assert!(matches!(refused, Err(PortError::Exhausted(id)) if id == key_id), "{refused:?}");
        // A key that is replaced keeps its count.
        bench.run(key_id, Change::Apply(KeyState::Suspended)).unwrap();
        bench.run(key_id, Change::Apply(KeyState::Active)).unwrap();
        let wrap = bench.store().perform(tenant(), key_id, &Use::Wrap, Permit::WhileActive);
        assert!(matches!(wrap, Err(PortError::Exhausted(_))));
    });
}
