//! Somebody who has a PIN, and what the survey makes of what they did.

use std::collections::BTreeSet;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::types::Date;
use keystore::attestation::{Dates, Day, Protection, Usage};
use keystore::{Error as PortError, KeyStore as _, Refused};
use keystore_pkcs11::Finding;
use model::event::Inventory;
use model::{Algorithm, KeyId, KeyState};

use crate::bench::{self, Bench, decrypts, encrypt, object_of, tenant};
use crate::outside::KINDS;
use crate::testing::{ACTIVE, ACTIVE_PIN, PRE_ACTIVE, PRE_ACTIVE_PIN, isolated};

fn findings(bench: &Bench) -> Vec<Finding> {
    bench.store().survey().unwrap().findings
}

fn lifecycle(bench: &Bench) -> [KeyId; 5] {
    use KeyState::{Active, Deactivated, Suspended};
    let ways: [&[KeyState]; 5] = [&[], &[Active], &[Active, Suspended], &[Active, Deactivated], &[KeyState::Destroyed]];
    let mut number = 0;
    ways.map(|way| {
        number += 1;
        bench.bring(number, Algorithm::Aes256Gcm, way)
    })
}

#[test]
fn a_store_that_nobody_has_touched_has_no_findings() {
    isolated("side_doors::a_store_that_nobody_has_touched_has_no_findings", |tokens| {
        let bench = Bench::new(&tokens);
        assert_eq!(bench.store().survey().unwrap().seen, 0, "the store's own keys are not counted");
        lifecycle(&bench);
        bench.bring(9, Algorithm::EcdsaP256, &[KeyState::Active]);
        let survey = bench.store().survey().unwrap();
        assert_eq!(survey.findings, []);
        assert_eq!((survey.seen, survey.matched, survey.dates_not_shown), (5, 5, 0));
        assert_eq!(bench.store().survey().unwrap(), survey, "looking changes nothing");
    });
}

#[test]
fn a_flag_that_was_turned_on_in_place_is_found() {
    isolated("side_doors::a_flag_that_was_turned_on_in_place_is_found", |tokens| {
        let bench = Bench::new(&tokens);
        let [_, active, suspended, deactivated, _] = lifecycle(&bench);
        let context = bench::module();
        let session = bench::intruder(&context, ACTIVE, ACTIVE_PIN);
        let on = [Attribute::Encrypt(true), Attribute::Decrypt(true)];
        session.update_attributes(object_of(&session, suspended), &on).unwrap();
        session.update_attributes(object_of(&session, deactivated), &[Attribute::Encrypt(true)]).unwrap();
        session.update_attributes(object_of(&session, active), &[Attribute::Wrap(true)]).unwrap();
        let (encrypts, decrypts) = (Usage::Encrypt, Usage::Decrypt);
        let usages = |key_id, wanted: &[Usage], found: &[Usage]| Finding::Usages {
            tenant: tenant(),
            key_id,
            wanted: wanted.iter().copied().collect(),
            found: found.iter().copied().collect(),
        };
        let wanted = [
            usages(active, &[encrypts, decrypts], &[encrypts, decrypts, Usage::Wrap]),
            usages(suspended, &[], &[encrypts, decrypts]),
            usages(deactivated, &[decrypts], &[encrypts, decrypts]),
        ];
        assert_eq!(findings(&bench), wanted);
        let attested = bench.store().attest(tenant(), suspended).unwrap();
        assert_eq!(attested.usages, BTreeSet::from([encrypts, decrypts]), "what is, not what should be");
        // Nobody is let through by it: the store goes by its index.
        let refused = encrypt(bench.store(), suspended);
        assert!(matches!(refused, Err(PortError::State { refused: Refused::Use(_), .. })), "{refused:?}");
    });
}

#[test]
fn a_copy_and_a_stranger_are_found_and_left_alone() {
    isolated("side_doors::a_copy_and_a_stranger_are_found_and_left_alone", |tokens| {
        let mut bench = Bench::new(&tokens);
        let [_, _, suspended, ..] = lifecycle(&bench);
        let context = bench::module();
        let session = bench::intruder(&context, ACTIVE, ACTIVE_PIN);
        let shadow = [Attribute::Id(vec![1, 2, 3]), Attribute::Encrypt(true)];
        session.copy_object(object_of(&session, suspended), &shadow).unwrap();
        let stranger = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Label(b"of another application".to_vec()),
            Attribute::ValueLen(32.into()),
            Attribute::Encrypt(false),
            Attribute::Decrypt(true),
            Attribute::Sign(false),
            Attribute::Verify(false),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
        ];
        session.generate_key(&Mechanism::AesKeyGen, &stranger).unwrap();
        for _ in 0..2 {
            let found = findings(&bench);
            assert_eq!(found.len(), 2, "{found:?}");
            let is_shadow = |finding: &Finding| {
                matches!(finding, Finding::Unknown { inventory: Inventory::Active, object, says_it_is: Some(key_id), usages, .. }
                    if object == "010203" && *key_id == suspended && *usages == BTreeSet::from([Usage::Encrypt]))
            };
            let is_stranger = |finding: &Finding| {
                matches!(finding, Finding::Unknown { label, says_it_is: None, usages, .. }
                    if label == "of another application" && *usages == BTreeSet::from([Usage::Decrypt]))
            };
            assert!(found.iter().any(is_shadow) && found.iter().any(is_stranger), "{found:?}");
            keystore::conformance::Subject::reopen(&mut bench);
        }
    });
}

#[test]
fn a_key_that_is_gone_and_one_that_was_exchanged_are_found() {
    isolated("side_doors::a_key_that_is_gone_and_one_that_was_exchanged_are_found", |tokens| {
        let bench = Bench::new(&tokens);
        let [born, active, ..] = lifecycle(&bench);
        let context = bench::module();
        let (pre, session) =
            (bench::intruder(&context, PRE_ACTIVE, PRE_ACTIVE_PIN), bench::intruder(&context, ACTIVE, ACTIVE_PIN));
        pre.destroy_object(object_of(&pre, born)).unwrap();
        let object = object_of(&session, active);
        let id = session.get_attributes(object, &[AttributeType::Id]).unwrap().remove(0);
        session.destroy_object(object).unwrap();
        let others = [
            Attribute::Token(true),
            Attribute::Private(true),
            id,
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::ValueLen(32.into()),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Sign(false),
            Attribute::Verify(false),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
        ];
        session.generate_key(&Mechanism::AesKeyGen, &others).unwrap();
        let (tenant, inventory) = (tenant(), Inventory::PreActive);
        let missing = Finding::Missing { tenant, key_id: born, inventory };
        let exchanged = Finding::Exchanged { tenant, key_id: active };
        assert_eq!(findings(&bench), [missing, exchanged]);
        assert!(matches!(bench.store().attest(tenant, active), Err(PortError::Storage(_))));
        assert!(matches!(bench.store().prove(tenant, active, &[7; 16]), Err(PortError::Storage(_))));
        assert!(matches!(bench.store().apply(tenant, born, KeyState::Active), Err(PortError::Storage(_))));
    });
}

/// An exchanged pre-active key does not become active: what arrives is recognised before it counts.
#[test]
fn a_key_that_was_exchanged_before_its_activation_is_not_activated() {
    isolated("side_doors::a_key_that_was_exchanged_before_its_activation_is_not_activated", |tokens| {
        let bench = Bench::new(&tokens);
        let (first, second) = (bench.bring(1, Algorithm::EcdsaP256, &[]), bench.bring(2, Algorithm::EcdsaP256, &[]));
        let context = bench::module();
        let session = bench::intruder(&context, PRE_ACTIVE, PRE_ACTIVE_PIN);
        let id = session.get_attributes(object_of(&session, first), &[AttributeType::Id]).unwrap().remove(0);
        session.destroy_object(object_of(&session, first)).unwrap();
        let public = [Attribute::Token(false), Attribute::EcParams(vec![6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7])];
        let private = [Attribute::Token(true), Attribute::Private(true), id, Attribute::Extractable(true)];
        session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
        let refused = bench.store().apply(tenant(), first, KeyState::Active);
        assert!(matches!(refused, Err(PortError::Storage(_))), "{refused:?}");
        assert_eq!(bench.store().get(tenant(), first).unwrap().unwrap().state, KeyState::PreActive);
        bench.store().apply(tenant(), second, KeyState::Active).unwrap();
        let found = findings(&bench);
        assert!(found.contains(&Finding::Exchanged { tenant: tenant(), key_id: first }), "{found:?}");
    });
}

#[test]
fn what_the_token_attests_is_what_birth_and_move_have_made_of_it() {
    isolated("side_doors::what_the_token_attests_is_what_birth_and_move_have_made_of_it", |tokens| {
        let bench = Bench::new(&tokens);
        for (number, algorithm) in (1..).zip(KINDS) {
            let key_id = bench.bring(number, algorithm, &[]);
            let born = bench.store().attest(tenant(), key_id).unwrap();
            let protection = Protection {
                sensitive: true,
                extractable: true,
                wrap_with_trusted: true,
                modifiable: false,
                local: true,
                always_sensitive: true,
                never_extractable: false,
            };
            assert_eq!(born.protection, Some(protection), "{algorithm}");
            let device = born.device.unwrap();
            assert_eq!((device.label.as_str(), device.model.as_str()), (PRE_ACTIVE, "SoftHSM v2"));
            assert!(!device.serial.is_empty() && !device.firmware.is_empty() && device.module.contains("SoftHSM"));
            assert!(device.mechanism.is_some_and(|mechanism| mechanism.contains("KEY")), "{algorithm}");

            bench.store().apply(tenant(), key_id, KeyState::Active).unwrap();
            let moved = bench.store().attest(tenant(), key_id).unwrap();
            // Whoever looks at the active token alone can't tell that the key was never in the clear.
            let protection = Protection {
                extractable: false,
                wrap_with_trusted: false,
                modifiable: true,
                local: false,
                always_sensitive: false,
                ..protection
            };
            assert_eq!(moved.protection, Some(protection), "{algorithm}");
            assert_eq!(moved.identity, born.identity);
            assert_eq!(moved.device.unwrap().label, ACTIVE);
        }
    });
}

#[test]
fn dates_are_set_after_activation_only_and_stay_with_the_key() {
    isolated("side_doors::dates_are_set_after_activation_only_and_stay_with_the_key", |tokens| {
        let bench = Bench::new(&tokens);
        let [born, active, suspended, ..] = lifecycle(&bench);
        let day = |year, month, day| Some(Day { year, month, day });
        let dates = Dates { start: day(2026, 11, 27), end: day(2028, 11, 26) };
        for key_id in [born, suspended] {
            let refused = bench.store().set_dates(tenant(), key_id, dates);
            assert!(matches!(refused, Err(PortError::State { .. })), "{refused:?}");
        }
        let ciphertext = encrypt(bench.store(), active).unwrap();
        bench.store().set_dates(tenant(), active, dates).unwrap();
        assert!(decrypts(bench.store(), active, &ciphertext).unwrap());
        // SoftHSM keeps dates of private objects and does not show them; other tokens do.
        let survey = bench.store().survey().unwrap();
        assert_eq!((survey.findings, survey.dates_not_shown), (vec![], 1));
        assert_eq!(bench.store().attest(tenant(), active).unwrap().dates, None);
        for state in [KeyState::Suspended, KeyState::Active, KeyState::Deactivated, KeyState::Destroyed] {
            bench.store().apply(tenant(), active, state).unwrap();
        }
        // A date that somebody else puts on a key can't be told from ours there, but that it has one can.
        let context = bench::module();
        let session = bench::intruder(&context, ACTIVE, ACTIVE_PIN);
        let date = Attribute::EndDate(Date::new(*b"2099", *b"01", *b"01"));
        session.update_attributes(object_of(&session, suspended), &[date]).unwrap();
        assert_eq!(bench.store().survey().unwrap().dates_not_shown, 1);
    });
}

/// The index, put back to what it was, does not make a key usable that the token has halted.
#[test]
fn an_old_index_does_not_bring_back_what_the_token_has_halted() {
    isolated("side_doors::an_old_index_does_not_bring_back_what_the_token_has_halted", |tokens| {
        let mut bench = Bench::new(&tokens);
        let key_id = bench.bring(1, Algorithm::Aes256Gcm, &[KeyState::Active]);
        let file = bench.index.join("index.redb");
        bench.close();
        let old = std::fs::read(&file).unwrap();
        keystore::conformance::Subject::reopen(&mut bench);
        bench.store().apply(tenant(), key_id, KeyState::Suspended).unwrap();
        bench.close();
        std::fs::write(&file, old).unwrap();
        keystore::conformance::Subject::reopen(&mut bench);
        assert_eq!(bench.store().get(tenant(), key_id).unwrap().unwrap().state, KeyState::Active, "so it says");
        assert!(matches!(encrypt(bench.store(), key_id), Err(PortError::Storage(_))), "what it names is gone");
        let found = findings(&bench);
        assert!(
            matches!(&found[..], [Finding::Missing { .. }, Finding::Unknown { says_it_is: Some(id), .. }]
            if *id == key_id),
            "{found:?}"
        );
        let context = bench::module();
        let session = bench::intruder(&context, ACTIVE, ACTIVE_PIN);
        let class = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Encrypt(true), Attribute::Private(true)];
        assert_eq!(session.find_objects(&class).unwrap().len(), 1, "the seal key's own");
    });
}
