//! Placed mode: an application with a token and a PIN of its own, which knows nothing of Keylatch.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use cryptoki::session::Session;
use keystore::conformance::Subject as _;
use keystore::{KeyStore as _, Permit, Use};
use keystore_pkcs11::{Config, Error, Finding};
use model::{Algorithm, KeyId, KeyState};

use crate::bench::{self, Bench, command, key, object_of, tenant};
use crate::outside::{KINDS, attempt, digest, object_id};
use crate::testing::{ACTIVE, ACTIVE_PIN, APPLICATION, APPLICATION_PIN, PRE_ACTIVE, PRE_ACTIVE_PIN, Tokens, isolated};

/// Whether `pkcs11-tool` finds and uses a key with the application's PIN.
fn application_uses(tokens: &Tokens, algorithm: Algorithm, key_id: KeyId) -> bool {
    let Some(id) = object_id(tokens, APPLICATION, APPLICATION_PIN, key_id) else { return false };
    assert!(attempt(tokens, APPLICATION, APPLICATION_PIN, algorithm, &id).status.success(), "it is there, and refused");
    true
}

#[test]
fn the_application_has_a_key_while_it_is_active_and_no_longer() {
    isolated("placed::the_application_has_a_key_while_it_is_active_and_no_longer", |tokens| {
        use KeyState::{Active, Compromised, Deactivated, Destroyed, Suspended};
        let mut bench = Bench::new_placed(&tokens);
        let mut number = 0;
        for algorithm in KINDS {
            for end in [Deactivated, Compromised, Destroyed] {
                number += 1;
                let key_id = bench.bring(number, algorithm, &[]);
                assert!(!application_uses(&tokens, algorithm, key_id), "before its activation");
                for state in [Active, Suspended, Active, end] {
                    bench.store().apply(tenant(), key_id, state).unwrap();
                    assert_eq!(application_uses(&tokens, algorithm, key_id), state == Active, "{algorithm} {state}");
                    bench.reopen();
                    assert_eq!(application_uses(&tokens, algorithm, key_id), state == Active, "{algorithm} {state}");
                }
            }
        }
        assert_eq!(bench.store().survey().unwrap().findings, []);
    });
}

#[test]
fn what_the_application_signs_is_signed_by_the_key() {
    isolated("placed::what_the_application_signs_is_signed_by_the_key", |tokens| {
        let bench = Bench::new_placed(&tokens);
        for (number, algorithm) in (1..).zip(KINDS).filter(|(_, algorithm)| algorithm.digest_bytes().is_some()) {
            let key_id = bench.bring(number, algorithm, &[KeyState::Active]);
            assert!(application_uses(&tokens, algorithm, key_id));
            let signature = std::fs::read(tokens.path("result")).unwrap();
            let asked = Use::Verify { digest: &digest(algorithm), signature: &signature };
            let verified = bench.store().perform(tenant(), key_id, &asked, Permit::WhileActive).unwrap();
            assert!(matches!(verified, keystore::Output::Verified(true)), "{algorithm}");
        }
    });
}

/// It can use the key, and do nothing with it that would outlast its suspension.
#[test]
fn the_application_can_neither_copy_nor_change_nor_export_a_key() {
    isolated("placed::the_application_can_neither_copy_nor_change_nor_export_a_key", |tokens| {
        let bench = Bench::new_placed(&tokens);
        for (number, algorithm) in (1..).zip(KINDS) {
            let key_id = bench.bring(number, algorithm, &[KeyState::Active]);
            let context = bench::module();
            let session = bench::intruder(&context, APPLICATION, APPLICATION_PIN);
            let own = object_of(&session, key_id);
            session.copy_object(own, &[Attribute::Token(true)]).unwrap_err();
            session.copy_object(own, &[Attribute::Token(false)]).unwrap_err();
            for change in [Attribute::Extractable(true), Attribute::Unwrap(true), Attribute::Label(b"mine".to_vec())] {
                session.update_attributes(own, &[change]).unwrap_err();
            }
            let wrapping = [Attribute::ValueLen(32.into()), Attribute::Wrap(true)];
            let wrapping = session.generate_key(&Mechanism::AesKeyGen, &wrapping).unwrap();
            session.wrap_key(&Mechanism::AesKeyWrapPad, wrapping, own).unwrap_err();
            let value =
                if algorithm == Algorithm::Aes256Gcm { AttributeType::Value } else { AttributeType::PrivateExponent };
            assert_eq!(session.get_attributes(own, &[value]).unwrap_or_default(), []);
            drop(session);

            // On the active token it can leave under the trusted key alone.
            let session = bench::intruder(&context, ACTIVE, ACTIVE_PIN);
            let own = object_of(&session, key_id);
            let wrapping = [Attribute::ValueLen(32.into()), Attribute::Wrap(true)];
            let wrapping = session.generate_key(&Mechanism::AesKeyGen, &wrapping).unwrap();
            session.wrap_key(&Mechanism::AesKeyWrapPad, wrapping, own).unwrap_err();
            session.update_attributes(own, &[Attribute::WrapWithTrusted(false)]).unwrap_err();
            if let Ok(copy) = session.copy_object(own, &[Attribute::Token(false), Attribute::WrapWithTrusted(false)]) {
                session.wrap_key(&Mechanism::AesKeyWrapPad, wrapping, copy).unwrap_err();
            }
        }
    });
}

#[test]
fn a_key_that_the_application_has_destroyed_or_that_came_back_is_found_and_set_back() {
    isolated("placed::a_key_that_the_application_has_destroyed_or_that_came_back_is_found_and_set_back", |tokens| {
        let mut bench = Bench::new_placed(&tokens);
        let gone = bench.bring(1, Algorithm::Aes256Gcm, &[KeyState::Active]);
        let context = bench::module();
        let session = bench::intruder(&context, APPLICATION, APPLICATION_PIN);
        session.destroy_object(object_of(&session, gone)).unwrap();
        drop(session);
        assert_eq!(bench.store().survey().unwrap().findings, [Finding::NotPlaced { tenant: tenant(), key_id: gone }]);
        assert!(bench.store().set_back(tenant(), gone).unwrap());
        assert!(application_uses(&tokens, Algorithm::Aes256Gcm, gone));

        // The token's files, put back from when the key was active.
        bench.close();
        let copy = tokens.path("copy");
        let run = |from: &std::path::Path, to: &std::path::Path| {
            assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
        };
        run(&tokens.path("tokens"), &copy);
        bench.reopen();
        let serial = bench.store().attest(tenant(), gone).unwrap().device.unwrap().serial;
        bench.store().apply(tenant(), gone, KeyState::Suspended).unwrap();
        assert!(!application_uses(&tokens, Algorithm::Aes256Gcm, gone));
        bench.close();
        restore_application(&tokens, &copy);
        bench.reopen();
        assert!(application_uses(&tokens, Algorithm::Aes256Gcm, gone), "it came back; the active token is {serial}");
        let found = bench.store().survey().unwrap().findings;
        assert!(matches!(&found[..], [Finding::StillPlaced { says_it_is, .. }] if *says_it_is == gone), "{found:?}");
        assert!(bench.store().set_back(tenant(), gone).unwrap());
        assert!(!application_uses(&tokens, Algorithm::Aes256Gcm, gone));
    });
}

/// Puts the application's token back from a copy of all tokens.
fn restore_application(tokens: &Tokens, copy: &std::path::Path) {
    let context = bench::module();
    let mut slots = context.get_slots_with_initialized_token().unwrap().into_iter();
    let info = slots.find_map(|slot| context.get_token_info(slot).ok().filter(|info| info.label() == APPLICATION));
    // SoftHSM names a token's folder after its serial number.
    let serial = info.unwrap().serial_number().to_owned();
    let is_it = |name: &str| name.replace('-', "").ends_with(&serial);
    for entry in std::fs::read_dir(copy).unwrap() {
        let entry = entry.unwrap();
        if is_it(entry.file_name().to_str().unwrap()) {
            let to = tokens.path("tokens").join(entry.file_name());
            std::fs::remove_dir_all(&to).unwrap();
            assert!(Command::new("cp").arg("-a").arg(entry.path()).arg(to).status().unwrap().success());
            return;
        }
    }
    panic!("no folder is that of {serial}");
}

/// Two PINs of neighbouring tokens make a key of whatever kind one likes of what is wrapped between them: `cryptoki` can't set
/// `CKA_UNWRAP_TEMPLATE`, which would hold it to something.
#[test]
fn who_has_two_neighbouring_pins_can_read_the_keys_that_pass_between_them() {
    isolated("placed::who_has_two_neighbouring_pins_can_read_the_keys_that_pass_between_them", |tokens| {
        let bench = Bench::new_placed(&tokens);
        let born = bench.bring(1, Algorithm::Aes256Gcm, &[]);
        let active = bench.bring(2, Algorithm::Aes256Gcm, &[KeyState::Active]);
        let context = bench::module();
        let neighbours = [
            (born, (PRE_ACTIVE, PRE_ACTIVE_PIN), (ACTIVE, ACTIVE_PIN)),
            (active, (ACTIVE, ACTIVE_PIN), (APPLICATION, APPLICATION_PIN)),
        ];
        for (key_id, from, to) in neighbours {
            let [from, to] = [from, to].map(|(label, pin)| bench::intruder(&context, label, pin));
            let transport = |session: &Session, does| {
                session.find_objects(&[Attribute::Token(true), Attribute::Modifiable(false), does]).unwrap()[0]
            };
            let out = transport(&from, Attribute::Wrap(true));
            let wrapped = from.wrap_key(&Mechanism::AesKeyWrapPad, out, object_of(&from, key_id)).unwrap();
            let template = [
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::Token(false),
                Attribute::Sensitive(false),
                Attribute::Extractable(true),
            ];
            let into = transport(&to, Attribute::Unwrap(true));
            let key = to.unwrap_key(&Mechanism::AesKeyWrapPad, into, &wrapped, &template).unwrap();
            let read = to.get_attributes(key, &[AttributeType::Value]).unwrap();
            assert!(matches!(&read[..], [Attribute::Value(value)] if value.len() == 32));
        }
    });
}

/// An application that has destroyed what leads to its token can't be looked at. That stops nobody else from being halted.
#[test]
fn an_application_that_breaks_its_token_does_not_keep_a_key_from_being_suspended() {
    isolated("placed::an_application_that_breaks_its_token_does_not_keep_a_key_from_being_suspended", |tokens| {
        let mut bench = Bench::new_placed(&tokens);
        let key_id = bench.bring(1, Algorithm::Aes256Gcm, &[KeyState::Active]);
        let context = bench::module();
        let session = bench::intruder(&context, APPLICATION, APPLICATION_PIN);
        for object in session.find_objects(&[Attribute::Token(true)]).unwrap() {
            session.destroy_object(object).unwrap();
        }
        drop(session);
        let outcome = bench.store().apply(tenant(), key_id, KeyState::Suspended);
        assert!(matches!(outcome, Err(keystore::Error::Storage(_))), "it can't be seen to be gone: {outcome:?}");
        bench.reopen();
        assert_eq!(bench.store().get(tenant(), key_id).unwrap().unwrap().state, KeyState::Suspended);
        assert!(bench::encrypt(bench.store(), key_id).is_err());
        assert!(bench.store().attest(tenant(), key_id).unwrap().usages.is_empty(), "on the active token");
        assert!(bench.store().survey().is_err(), "it says that it can't look");
    });
}

#[test]
fn whether_there_is_an_applications_token_is_decided_once() {
    isolated("placed::whether_there_is_an_applications_token_is_decided_once", |tokens| {
        let mut bench = Bench::new_placed(&tokens);
        bench.close();
        let placed = bench.config.placed.take();
        assert!(matches!(bench.open(), Err(Error::Placed { .. })));
        let without = Bench::new(&tokens);
        let config = Config { placed, ..without.config.clone() };
        drop(without);
        bench.config = config;
        assert!(matches!(bench.open(), Err(Error::Placed { .. })));
    });
}

const TASK: &str = "KEYLATCH_TEST_APPLICATION";

/// The application's part: uses a key that it has found, in one session, until it is refused. As a test of its own it does
/// nothing.
#[test]
fn application() {
    let Ok(task) = std::env::var(TASK) else { return };
    let key_id: KeyId = task.parse().unwrap();
    let context = bench::module();
    let session = bench::intruder(&context, APPLICATION, APPLICATION_PIN);
    let own = object_of(&session, key_id);
    let (mut uses, mut last) = (0_u64, now());
    let refusal = loop {
        let begun = now();
        match session.encrypt(&Mechanism::AesEcb, own, &[0; 16]) {
            Ok(_) => last = begun,
            Err(error) => break error,
        }
        uses += 1;
        if uses.is_multiple_of(100) {
            println!("uses {last}");
            std::io::stdout().flush().unwrap();
        }
    };
    let gone = matches!(refusal, Pkcs11Error::Pkcs11(RvError::ObjectHandleInvalid | RvError::KeyHandleInvalid, _));
    assert!(gone, "{refusal:?}");
    println!("refused {last}");
}

/// In microseconds, by a clock that two processes share.
fn now() -> u128 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_micros()
}

/// An application that is at it, in a process of its own, with a handle that it keeps.
#[test]
fn an_application_at_work_is_halted_by_a_suspension() {
    isolated("placed::an_application_at_work_is_halted_by_a_suspension", |tokens| {
        let bench = Bench::new_placed(&tokens);
        for number in 1..=5 {
            let key_id = key(number);
            bench.store().generate(tenant(), key_id, Algorithm::Aes256Gcm, command()).unwrap();
            bench.store().apply(tenant(), key_id, KeyState::Active).unwrap();
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["placed::application", "--exact", "--nocapture", "--test-threads=1"])
                .env(TASK, key_id.to_string())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
            let mut said = |word: &str, after: u128| {
                let time = |line: String| line.strip_prefix(word)?.trim().parse().ok();
                lines.by_ref().filter_map(time).find(|time: &u128| *time > after).expect("it goes on")
            };
            said("uses", 0);
            // What is done with other keys does not disturb it.
            bench.bring(100 + number, Algorithm::Aes256Gcm, &[KeyState::Active, KeyState::Suspended]);
            said("uses", now());
            let start = now();
            bench.store().apply(tenant(), key_id, KeyState::Suspended).unwrap();
            let answered = now();
            let last = said("refused", 0);
            println!(
                "suspension: answered after {} µs, last use begun {} µs after",
                answered - start,
                last.saturating_sub(start)
            );
            assert!(last <= answered, "a use began after the answer");
            assert!(child.wait().unwrap().success());
        }
    });
}
