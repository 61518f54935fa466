//! Somebody who has a PIN, or all of them, and what is set back of what they did.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use keystore::KeyStore;
use keystore::conformance::Subject as _;
use keystore_pkcs11::{Finding, Survey};
use model::evidence::Drift;
use model::{Algorithm, KeyId, KeyState};

use crate::bench::{self, Bench, decrypts, encrypt, object_of, tenant};
use crate::outside::{KINDS, said, tool};
use crate::testing::{ACTIVE, ACTIVE_PIN, OFFICER_PIN, PRE_ACTIVE, PRE_ACTIVE_PIN, Tokens, isolated};

/// What the port says of a key, by kind.
fn drifts(bench: &Bench, key_id: KeyId) -> Vec<Drift> {
    let mut found = Vec::new();
    KeyStore::survey(bench.store(), tenant(), Some(key_id), &mut |one| found.push(one.drift)).unwrap();
    found
}

fn survey(bench: &Bench) -> Survey {
    bench.store().survey().unwrap()
}

/// Sets a key back, twice, and once more after a restart; it is as it should be each time.
#[track_caller]
fn check_set_back(bench: &mut Bench, key_id: KeyId) {
    assert_ne!(drifts(bench, key_id), [], "nothing was done to it");
    assert!(bench.store().set_back(tenant(), key_id).unwrap());
    assert_eq!(drifts(bench, key_id), []);
    assert!(bench.store().set_back(tenant(), key_id).unwrap());
    bench.reopen();
    assert!(bench.store().set_back(tenant(), key_id).unwrap());
    assert_eq!(drifts(bench, key_id), []);
}

/// What can't be set back is left as it is, and found again.
#[track_caller]
fn check_left(bench: &mut Bench, key_id: KeyId, drift: Drift) {
    let before = survey(bench);
    for _ in 0..2 {
        assert_eq!(drifts(bench, key_id), [drift]);
        assert!(!bench.store().set_back(tenant(), key_id).unwrap());
        assert_eq!(survey(bench), before);
        bench.reopen();
    }
}

/// Does something as somebody who has the active token's PIN.
fn intrude<T>(work: impl FnOnce(&Session) -> T) -> T {
    let context = bench::module();
    work(&bench::intruder(&context, ACTIVE, ACTIVE_PIN))
}

/// Every flag that is off, turned on.
fn everything(algorithm: Algorithm) -> Vec<Attribute> {
    let mut on =
        vec![Attribute::Decrypt(true), Attribute::Sign(true), Attribute::Unwrap(true), Attribute::Derive(true)];
    if algorithm == Algorithm::Aes256Gcm {
        on.extend([Attribute::Encrypt(true), Attribute::Verify(true), Attribute::Wrap(true)]);
    }
    on
}

/// What `pkcs11-tool` sees on the active token.
fn listed_by_tool(tokens: &Tokens) -> String {
    said(&tool(tokens, ACTIVE, ACTIVE_PIN, &["--list-objects"]))
}

/// A secret key that is not ours, with these attributes besides.
fn generate_stranger(session: &Session, with: &[Attribute]) -> ObjectHandle {
    let mut template = vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::ValueLen(32.into()),
        Attribute::Encrypt(true),
    ];
    template.extend_from_slice(with);
    session.generate_key(&Mechanism::AesKeyGen, &template).unwrap()
}

fn named(session: &Session, object: ObjectHandle, of: AttributeType) -> Attribute {
    session.get_attributes(object, &[of]).unwrap().remove(0)
}

#[test]
fn flags_that_were_turned_on_in_place_are_turned_off() {
    isolated("set_back::flags_that_were_turned_on_in_place_are_turned_off", |tokens| {
        use KeyState::{Active, Compromised, Deactivated, Suspended};
        let mut bench = Bench::new(&tokens);
        let ways: [&[KeyState]; 4] = [&[Active], &[Active, Suspended], &[Active, Deactivated], &[Active, Compromised]];
        let mut number = 0;
        for algorithm in KINDS {
            for way in ways {
                number += 1;
                let key_id = bench.bring(number, algorithm, way);
                let wanted = bench.store().attest(tenant(), key_id).unwrap();
                intrude(|session| {
                    session.update_attributes(object_of(session, key_id), &everything(algorithm)).unwrap()
                });
                assert_ne!(bench.store().attest(tenant(), key_id).unwrap(), wanted);
                check_set_back(&mut bench, key_id);
                assert_eq!(bench.store().attest(tenant(), key_id).unwrap(), wanted, "{algorithm} {way:?}");
            }
        }
        assert_eq!(survey(&bench).findings, []);
    });
}

#[test]
fn a_suspended_key_that_was_turned_on_is_refused_again_from_outside_and_works_when_it_is_resumed() {
    let name =
        "set_back::a_suspended_key_that_was_turned_on_is_refused_again_from_outside_and_works_when_it_is_resumed";
    isolated(name, |tokens| {
        let mut bench = Bench::new(&tokens);
        let key_id = bench.bring(1, Algorithm::Aes256Gcm, &[KeyState::Active]);
        let ciphertext = encrypt(bench.store(), key_id).unwrap();
        bench.store().apply(tenant(), key_id, KeyState::Suspended).unwrap();
        let uses =
            || intrude(|session| session.encrypt(&Mechanism::AesEcb, object_of(session, key_id), &[0; 16]).map(drop));
        uses().unwrap_err();
        intrude(|session| session.update_attributes(object_of(session, key_id), &[Attribute::Encrypt(true)]).unwrap());
        uses().unwrap();
        assert_eq!(drifts(&bench, key_id), [Drift::ShadowActivation]);
        check_set_back(&mut bench, key_id);
        uses().unwrap_err();
        bench.store().apply(tenant(), key_id, KeyState::Active).unwrap();
        assert!(decrypts(bench.store(), key_id, &ciphertext).unwrap());
    });
}

#[test]
fn copies_under_other_names_and_under_the_keys_own_are_destroyed() {
    isolated("set_back::copies_under_other_names_and_under_the_keys_own_are_destroyed", |tokens| {
        let mut bench = Bench::new(&tokens);
        for (number, algorithm) in (1..).zip(KINDS) {
            let other = bench.bring(number + 10, algorithm, &[KeyState::Active]);
            let key_id = bench.bring(number, algorithm, &[KeyState::Active, KeyState::Suspended]);
            intrude(|session| {
                let own = object_of(session, key_id);
                let copy = |with: &[Attribute]| {
                    session.copy_object(own, with).unwrap();
                };
                copy(&[&everything(algorithm)[..], &[Attribute::Id(vec![1, 2, 3])]].concat());
                copy(&[Attribute::Id(Vec::new())]);
                copy(&everything(algorithm));
                copy(&[]);
            });
            check_set_back(&mut bench, key_id);
            assert_eq!(survey(&bench).findings, []);
            assert_eq!(survey(&bench).seen, 2 * usize::try_from(number).unwrap(), "{other} is there");
            for state in [KeyState::Active, KeyState::Deactivated] {
                bench.store().apply(tenant(), key_id, state).unwrap();
            }
        }
    });
}

/// Under a label and a name of its own a copy says nothing. It is known by what it answers, and shown as what it is.
#[test]
fn copies_under_another_label_are_known_by_their_material_and_destroyed() {
    isolated("set_back::copies_under_another_label_are_known_by_their_material_and_destroyed", |tokens| {
        let mut bench = Bench::new(&tokens);
        intrude(|session| generate_stranger(session, &[Attribute::Label(b"a stranger".to_vec())]));
        for (number, algorithm) in (1..).zip(KINDS) {
            let key_id = bench.bring(number, algorithm, &[KeyState::Active, KeyState::Suspended]);
            let relabelled = || vec![Attribute::Label(b"mine".to_vec()), Attribute::Id(vec![9; 16])];
            intrude(|session| {
                let with = [relabelled(), everything(algorithm)].concat();
                session.copy_object(object_of(session, key_id), &with).unwrap();
            });
            assert!(listed_by_tool(&tokens).contains("mine"), "{algorithm}");
            assert_eq!(drifts(&bench, key_id), [Drift::ShadowActivation], "{algorithm}");
            let is_it =
                |finding: &Finding| matches!(finding, Finding::Unknown { is: Some((_, id)), .. } if *id == key_id);
            assert!(survey(&bench).findings.iter().any(is_it), "{algorithm}");
            check_set_back(&mut bench, key_id);
            assert!(!listed_by_tool(&tokens).contains("mine"), "{algorithm}");
        }
        let left = survey(&bench).findings;
        let stranger = |finding: &Finding| matches!(finding, Finding::Unknown { is: None, says_it_is: None, .. });
        assert!(left.len() == 1 && left.iter().all(stranger), "what is not ours is left: {left:?}");
        assert!(listed_by_tool(&tokens).contains("a stranger"));
    });
}

/// A copy that can't be copied is asked as it is, which is how it may be used. It is found; it is left, because what would be
/// compared before it is destroyed takes a copy.
#[test]
fn a_relabelled_copy_that_can_not_be_copied_is_found_by_its_use_and_left() {
    isolated("set_back::a_relabelled_copy_that_can_not_be_copied_is_found_by_its_use_and_left", |tokens| {
        let mut bench = Bench::new(&tokens);
        for (number, algorithm) in (1..).zip(KINDS) {
            let key_id = bench.bring(number, algorithm, &[]);
            let relabelled =
                vec![Attribute::Label(b"mine".to_vec()), Attribute::Id(vec![8; 16]), Attribute::Copyable(false)];
            unwrap_pre_active(key_id, |_| [relabelled, everything(algorithm)].concat());
            check_left(&mut bench, key_id, Drift::ShadowActivation);
            intrude(|session| {
                let found = session.find_objects(&[Attribute::Id(vec![8; 16])]).unwrap();
                found.into_iter().for_each(|object| session.destroy_object(object).unwrap());
            });
            assert!(bench.store().set_back(tenant(), key_id).unwrap());
        }
    });
}

/// Unwraps a pre-active key on the active token, as somebody who has both PINs: with attributes that are told its label.
fn unwrap_pre_active(key_id: KeyId, with: impl FnOnce(Attribute) -> Vec<Attribute>) {
    let context = bench::module();
    let pre = bench::intruder(&context, PRE_ACTIVE, PRE_ACTIVE_PIN);
    let transport = |session: &Session, does| {
        session.find_objects(&[Attribute::Token(true), Attribute::Modifiable(false), does]).unwrap()[0]
    };
    let out = transport(&pre, Attribute::Wrap(true));
    let own = object_of(&pre, key_id);
    let wrapped = pre.wrap_key(&Mechanism::AesKeyWrapPad, out, own).unwrap();
    let mut template = vec![Attribute::Token(true), Attribute::Private(true)];
    template.extend([AttributeType::Class, AttributeType::KeyType].map(|kept| named(&pre, own, kept)));
    template.extend(with(named(&pre, own, AttributeType::Label)));
    drop(pre);
    intrude(|session| {
        let into = transport(session, Attribute::Unwrap(true));
        session.unwrap_key(&Mechanism::AesKeyWrapPad, into, &wrapped, &template).unwrap();
    });
}

/// Both PINs make a usable key of one that nobody has activated: on the active token, under the key's label.
#[test]
fn a_pre_active_key_that_was_unwrapped_on_the_active_token_is_destroyed_there() {
    isolated("set_back::a_pre_active_key_that_was_unwrapped_on_the_active_token_is_destroyed_there", |tokens| {
        let mut bench = Bench::new(&tokens);
        for (number, algorithm) in (1..).zip(KINDS) {
            let key_id = bench.bring(number, algorithm, &[]);
            unwrap_pre_active(key_id, |label| [everything(algorithm), vec![label]].concat());
            assert_eq!(drifts(&bench, key_id), [Drift::ShadowActivation]);
            check_set_back(&mut bench, key_id);
            bench.store().apply(tenant(), key_id, KeyState::Active).unwrap();
            bench.store().prove(tenant(), key_id, &[7; 16]).unwrap();
        }
    });
}

#[test]
fn a_stranger_that_says_it_is_a_key_of_ours_is_left_and_found_again() {
    isolated("set_back::a_stranger_that_says_it_is_a_key_of_ours_is_left_and_found_again", |tokens| {
        let mut bench = Bench::new(&tokens);
        let labelled = bench.bring(1, Algorithm::Aes256Gcm, &[KeyState::Active]);
        let named_alike = bench.bring(2, Algorithm::Aes256Gcm, &[KeyState::Active]);
        intrude(|session| {
            let label = named(session, object_of(session, labelled), AttributeType::Label);
            generate_stranger(session, &[label, Attribute::Id(vec![9])]);
            let id = named(session, object_of(session, named_alike), AttributeType::Id);
            generate_stranger(session, &[id]);
        });
        check_left(&mut bench, labelled, Drift::ShadowActivation);
        check_left(&mut bench, named_alike, Drift::Attributes);
        encrypt(bench.store(), labelled).unwrap();
    });
}

/// The copy may be all that is left of the key.
#[test]
fn a_missing_and_an_exchanged_key_are_not_made_up_for_and_their_copies_stay() {
    isolated("set_back::a_missing_and_an_exchanged_key_are_not_made_up_for_and_their_copies_stay", |tokens| {
        let mut bench = Bench::new(&tokens);
        let missing = bench.bring(1, Algorithm::Aes256Gcm, &[KeyState::Active]);
        let exchanged = bench.bring(2, Algorithm::Aes256Gcm, &[KeyState::Active, KeyState::Suspended]);
        intrude(|session| {
            let own = object_of(session, missing);
            session.copy_object(own, &[Attribute::Id(vec![1])]).unwrap();
            session.destroy_object(own).unwrap();
            let own = object_of(session, exchanged);
            let id = named(session, own, AttributeType::Id);
            session.destroy_object(own).unwrap();
            generate_stranger(session, &[id]);
        });
        let before = survey(&bench);
        assert_eq!(before.findings.len(), 3, "{before:?}");
        for key_id in [missing, exchanged] {
            assert!(!bench.store().set_back(tenant(), key_id).unwrap());
        }
        bench.reopen();
        assert_eq!(survey(&bench), before);
    });
}

/// Of a pair its public half is still known. Of a secret key three bytes are, which are not enough to destroy anything by.
#[test]
fn a_copy_that_outlives_its_key_is_destroyed_where_it_can_be_recognised() {
    isolated("set_back::a_copy_that_outlives_its_key_is_destroyed_where_it_can_be_recognised", |tokens| {
        let mut bench = Bench::new(&tokens);
        let secret = bench.bring(1, Algorithm::Aes256Gcm, &[KeyState::Active]);
        let pair = bench.bring(2, Algorithm::EcdsaP256, &[KeyState::Active]);
        for key_id in [secret, pair] {
            intrude(|session| session.copy_object(object_of(session, key_id), &[Attribute::Id(vec![1])]).unwrap());
            bench.store().apply(tenant(), key_id, KeyState::Destroyed).unwrap();
        }
        check_set_back(&mut bench, pair);
        check_left(&mut bench, secret, Drift::ShadowActivation);
    });
}

/// A key that can't be copied any more can't be recognised or changed. It is found, and the survey goes on to the others.
#[test]
fn a_key_that_was_made_mute_is_found_beside_the_others() {
    isolated("set_back::a_key_that_was_made_mute_is_found_beside_the_others", |tokens| {
        let mut bench = Bench::new(&tokens);
        let born = bench.bring(1, Algorithm::Aes256Gcm, &[]);
        let active = bench.bring(2, Algorithm::Aes256Gcm, &[KeyState::Active]);
        let other = bench.bring(3, Algorithm::Aes256Gcm, &[KeyState::Active]);
        let context = bench::module();
        let pre = bench::intruder(&context, PRE_ACTIVE, PRE_ACTIVE_PIN);
        let id = named(&pre, object_of(&pre, born), AttributeType::Id);
        pre.destroy_object(object_of(&pre, born)).unwrap();
        generate_stranger(&pre, &[id]);
        drop(pre);
        intrude(|session| {
            let own = object_of(session, active);
            let id = named(session, own, AttributeType::Id);
            session.destroy_object(own).unwrap();
            generate_stranger(session, &[id, Attribute::Copyable(false)]);
            session.update_attributes(object_of(session, other), &[Attribute::Wrap(true)]).unwrap();
        });
        let mute =
            |key_id| move |finding: &Finding| matches!(finding, Finding::Unproven { key_id: id, .. } if *id == key_id);
        let found = survey(&bench).findings;
        assert!(found.iter().any(mute(born)) && found.iter().any(mute(active)), "{found:?}");
        check_left(&mut bench, born, Drift::Attributes);
        check_left(&mut bench, active, Drift::Attributes);
        check_set_back(&mut bench, other);
    });
}

/// One that has the key's own name is not seen by whoever remembers where the key is.
#[test]
fn a_copy_under_the_keys_own_name_alone_is_found_for_what_it_is() {
    isolated("set_back::a_copy_under_the_keys_own_name_alone_is_found_for_what_it_is", |tokens| {
        let mut bench = Bench::new(&tokens);
        let cases = [
            (KeyState::Suspended, vec![], Drift::Attributes),
            (KeyState::Suspended, vec![Attribute::Encrypt(true)], Drift::ShadowActivation),
            (KeyState::Active, vec![Attribute::Wrap(true)], Drift::Attributes),
        ];
        for (number, (state, with, drift)) in (1..).zip(cases) {
            let key_id = bench.bring(number, Algorithm::Aes256Gcm, &[KeyState::Active, state]);
            intrude(|session| session.copy_object(object_of(session, key_id), &with).unwrap());
            assert_eq!(drifts(&bench, key_id), [drift]);
            check_set_back(&mut bench, key_id);
        }
    });
}

/// Who has the officer's PIN can take a pre-active key out and put it back with its flags on. That is no key to go on with: it
/// is left, and found.
#[test]
fn a_pre_active_key_that_the_officer_has_put_back_otherwise_is_left() {
    isolated("set_back::a_pre_active_key_that_the_officer_has_put_back_otherwise_is_left", |tokens| {
        let mut bench = Bench::new(&tokens);
        let key_id = bench.bring(1, Algorithm::Aes256Gcm, &[]);
        bench.close();
        let context = bench::module();
        let officer = bench::session(&context, PRE_ACTIVE);
        officer.login(UserType::So, Some(&AuthPin::new(OFFICER_PIN.into()))).unwrap();
        let trusted = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Value(vec![9; 32]),
            Attribute::Id(vec![9]),
            Attribute::Wrap(true),
            Attribute::Unwrap(true),
            Attribute::Trusted(true),
        ];
        officer.create_object(&trusted).unwrap();
        drop(officer);
        let session = bench::intruder(&context, PRE_ACTIVE, PRE_ACTIVE_PIN);
        let own = object_of(&session, key_id);
        let trusted = session.find_objects(&[Attribute::Id(vec![9])]).unwrap()[0];
        let wrapped = session.wrap_key(&Mechanism::AesKeyWrapPad, trusted, own).unwrap();
        let mut template = vec![Attribute::Token(true), Attribute::Private(true), Attribute::Extractable(true)];
        for kept in [AttributeType::Class, AttributeType::KeyType, AttributeType::Id, AttributeType::Label] {
            template.push(named(&session, own, kept));
        }
        template.extend(everything(Algorithm::Aes256Gcm));
        session.destroy_object(own).unwrap();
        session.unwrap_key(&Mechanism::AesKeyWrapPad, trusted, &wrapped, &template).unwrap();
        drop(session);
        bench.reopen();
        assert_eq!(drifts(&bench, key_id), [Drift::ShadowActivation, Drift::Attributes]);
        let before = survey(&bench);
        assert!(!bench.store().set_back(tenant(), key_id).unwrap());
        assert_eq!(survey(&bench), before);
    });
}
