//! One AES key on a token, for whoever has something to keep under it.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use keystore_pkcs11::{Error, Pin, TokenConfig, TokenKey};

use crate::bench::{intruder, module};
use crate::testing::{ACTIVE, ACTIVE_PIN, Tokens, isolated};

fn find(tokens: &Tokens, label: &str) -> Result<TokenKey, Error> {
    let token = TokenConfig { label: ACTIVE.to_owned(), pin: Pin::File(tokens.path("active.pin")) };
    TokenKey::find(&Tokens::module(), &tokens.path("locks"), &token, label)
}

/// Makes an AES key of this label, with these attributes beside.
fn make(label: &str, id: &[u8], length: u64, sensitive: bool, extractable: bool) {
    let template = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
        Attribute::ValueLen(length.into()),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Sensitive(sensitive),
        Attribute::Extractable(extractable),
    ];
    intruder(&module(), ACTIVE, ACTIVE_PIN).generate_key(&Mechanism::AesKeyGen, &template).unwrap();
}

#[test]
fn a_key_on_a_token_encrypts_and_decrypts_there() {
    isolated("token_key::a_key_on_a_token_encrypts_and_decrypts_there", |tokens| {
        tokens.renew();
        make("one", b"1", 32, true, false);
        make("two", b"2", 32, true, false);
        let (one, two) = (find(&tokens, "one").unwrap(), find(&tokens, "two").unwrap());
        assert_eq!(one.id(), find(&tokens, "one").unwrap().id());
        assert_ne!(one.id(), two.id());
        let encrypted = one.encrypt(b"aad", b"hush").unwrap();
        assert_ne!(encrypted, one.encrypt(b"aad", b"hush").unwrap(), "no nonce twice");
        assert_eq!(**one.decrypt(b"aad", &encrypted).unwrap().unwrap(), *b"hush");
        assert!(one.decrypt(b"other", &encrypted).unwrap().is_none());
        assert!(two.decrypt(b"aad", &encrypted).unwrap().is_none());
        for at in 0..encrypted.len() {
            let mut changed = encrypted.clone();
            changed[at] ^= 1;
            assert!(one.decrypt(b"aad", &changed).unwrap().is_none(), "byte {at}");
        }
        for cut in [0, 5, 12, 20] {
            assert!(one.decrypt(b"aad", &encrypted[..cut]).unwrap().is_none(), "cut at {cut}");
        }
    });
}

#[test]
fn rejects_keys_that_are_not_there_or_could_leave() {
    isolated("token_key::rejects_keys_that_are_not_there_or_could_leave", |tokens| {
        tokens.renew();
        make("short", b"1", 16, true, false);
        make("leaves", b"2", 32, true, true);
        make("shown", b"3", 32, false, false);
        make("nameless", b"", 32, true, false);
        make("twice", b"4", 32, true, false);
        make("twice", b"5", 32, true, false);
        for label in ["short", "leaves", "shown", "nameless"] {
            let refused = find(&tokens, label).map(|_| ()).unwrap_err();
            assert!(matches!(refused, Error::Unfit { .. }), "{label}: {refused}");
        }
        for (label, there) in [("none", 0), ("twice", 2)] {
            let refused = find(&tokens, label).map(|_| ()).unwrap_err();
            assert!(matches!(refused, Error::Missing { found, .. } if found == there), "{label}: {refused}");
        }
    });
}
