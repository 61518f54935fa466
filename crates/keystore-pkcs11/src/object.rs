//! Objects on tokens: their names, and the attributes that they are made with. Every attribute that matters is set, because
//! defaults are unsafe (SoftHSM turns usages on and leaves sensitivity off).

use std::collections::BTreeSet;
use std::fmt;

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use keystore::attestation::{Dates, Day, Usage};
use model::event::Inventory;
use model::{Algorithm, KeyState};
use rand_core::{OsRng, RngCore as _};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::attest::Said;
use crate::index::Row;
use crate::pair::Way;

/// The name of an object, its `CKA_ID`: random, and never given twice. A key that changes its state is a new object under a
/// new name; which one counts is in the index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ObjectId(pub(crate) [u8; 16]);

impl ObjectId {
    pub(crate) fn random() -> Result<Self, Error> {
        let mut id = [0; 16];
        OsRng.try_fill_bytes(&mut id).map_err(Error::Random)?;
        Ok(Self(id))
    }

    pub(crate) fn attribute(self) -> Attribute {
        Attribute::Id(self.0.to_vec())
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for ObjectId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| "an object's name is no hex")?;
        bytes.try_into().map(Self).map_err(|_| "an object's name has a wrong length")
    }
}

impl From<ObjectId> for String {
    fn from(id: ObjectId) -> Self {
        id.to_string()
    }
}

/// An object, and the token it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) inventory: Inventory,
    pub(crate) id: ObjectId,
}

/// What the object of a key in this state may be used for. Wrapping of data keys is encryption, and verification needs the
/// public half only; so `CKA_WRAP`, `CKA_UNWRAP` and `CKA_VERIFY` are never on.
pub(crate) fn usages(algorithm: Algorithm, state: KeyState) -> BTreeSet<Usage> {
    match (algorithm, state) {
        (Algorithm::Aes256Gcm, KeyState::Active) => BTreeSet::from([Usage::Encrypt, Usage::Decrypt]),
        (Algorithm::Aes256Gcm, KeyState::Deactivated) => BTreeSet::from([Usage::Decrypt]),
        (algorithm, KeyState::Active) if Way::of(algorithm).is_some() => BTreeSet::from([Usage::Sign]),
        _ => BTreeSet::new(),
    }
}

/// The flags that an object of the algorithm has: a secret key, or the private half of a pair.
fn flags_of(algorithm: Algorithm) -> &'static [Usage] {
    match algorithm {
        Algorithm::Aes256Gcm => {
            &[Usage::Encrypt, Usage::Decrypt, Usage::Sign, Usage::Verify, Usage::Wrap, Usage::Unwrap, Usage::Derive]
        }
        _ => &[Usage::Decrypt, Usage::Sign, Usage::SignRecover, Usage::Unwrap, Usage::Derive],
    }
}

/// Every flag of the algorithm, on or off.
pub(crate) fn flags(algorithm: Algorithm, on: &BTreeSet<Usage>) -> Vec<Attribute> {
    let flag = |usage: &Usage| {
        let is_on = on.contains(usage);
        match usage {
            Usage::Encrypt => Attribute::Encrypt(is_on),
            Usage::Decrypt => Attribute::Decrypt(is_on),
            Usage::Sign => Attribute::Sign(is_on),
            Usage::SignRecover => Attribute::SignRecover(is_on),
            Usage::Verify => Attribute::Verify(is_on),
            Usage::VerifyRecover => Attribute::VerifyRecover(is_on),
            Usage::Wrap => Attribute::Wrap(is_on),
            Usage::Unwrap => Attribute::Unwrap(is_on),
            Usage::Derive => Attribute::Derive(is_on),
        }
    };
    flags_of(algorithm).iter().map(flag).collect()
}

/// The usage that a flag allows, where it is one that is on.
pub(crate) fn usage_on(attribute: &Attribute) -> Option<Usage> {
    match attribute {
        Attribute::Encrypt(true) => Some(Usage::Encrypt),
        Attribute::Decrypt(true) => Some(Usage::Decrypt),
        Attribute::Sign(true) => Some(Usage::Sign),
        Attribute::SignRecover(true) => Some(Usage::SignRecover),
        Attribute::Verify(true) => Some(Usage::Verify),
        Attribute::VerifyRecover(true) => Some(Usage::VerifyRecover),
        Attribute::Wrap(true) => Some(Usage::Wrap),
        Attribute::Unwrap(true) => Some(Usage::Unwrap),
        Attribute::Derive(true) => Some(Usage::Derive),
        _ => None,
    }
}

/// Everything that is read to say what an object may be used for.
pub(crate) const FLAGS: [AttributeType; 9] = [
    AttributeType::Encrypt,
    AttributeType::Decrypt,
    AttributeType::Sign,
    AttributeType::SignRecover,
    AttributeType::Verify,
    AttributeType::VerifyRecover,
    AttributeType::Wrap,
    AttributeType::Unwrap,
    AttributeType::Derive,
];

/// Class and key type; nothing for an algorithm of which this store makes no keys (see [`crate::offered`]).
pub(crate) fn kind(algorithm: Algorithm) -> Vec<Attribute> {
    let (class, key_type) = match algorithm {
        Algorithm::Aes256Gcm => (ObjectClass::SECRET_KEY, KeyType::AES),
        Algorithm::EcdsaP256 | Algorithm::EcdsaP384 => (ObjectClass::PRIVATE_KEY, KeyType::EC),
        Algorithm::RsaPss3072 | Algorithm::RsaPss4096 => (ObjectClass::PRIVATE_KEY, KeyType::RSA),
        Algorithm::Ed25519
        | Algorithm::RsaOaep3072
        | Algorithm::RsaOaep4096
        | Algorithm::MlDsa65
        | Algorithm::MlKem768
        | Algorithm::Other => return Vec::new(),
    };
    vec![Attribute::Class(class), Attribute::KeyType(key_type)]
}

/// A key as it is born, on the pre-active token: of no use, and with no way to make it of use on that token, whoever has its
/// PIN. It can be wrapped, under the transport key that the security officer trusts, and in no other way leave.
pub(crate) fn born(algorithm: Algorithm, id: ObjectId, label: &str) -> Vec<Attribute> {
    let mut template = vec![
        Attribute::Token(true),
        Attribute::Private(true),
        id.attribute(),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Sensitive(true),
        Attribute::Extractable(true),
        Attribute::WrapWithTrusted(true),
        Attribute::Modifiable(false),
        Attribute::Copyable(false),
    ];
    template.extend(flags(algorithm, &BTreeSet::new()));
    template
}

/// A key as it arrives on the active token. It must be modifiable, or no copy with other flags could be made of it. One that
/// is to go on to an application's token can be wrapped, under a key that the security officer trusts.
pub(crate) fn arrived(
    algorithm: Algorithm,
    id: ObjectId,
    label: &str,
    on: &BTreeSet<Usage>,
    goes_on: bool,
) -> Vec<Attribute> {
    let mut template = kind(algorithm);
    template.extend([
        Attribute::Token(true),
        Attribute::Private(true),
        id.attribute(),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Sensitive(true),
        Attribute::Extractable(goes_on),
        Attribute::Modifiable(true),
        Attribute::Copyable(true),
    ]);
    template.extend(goes_on.then_some(Attribute::WrapWithTrusted(true)));
    template.extend(flags(algorithm, on));
    template
}

/// An active key on an application's token: whoever has that token's PIN uses it, and can neither change nor copy it.
pub(crate) fn placed(row: &Row, id: ObjectId, label: &str) -> Vec<Attribute> {
    let mut template = kind(row.algorithm);
    template.extend([
        Attribute::Token(true),
        Attribute::Private(true),
        id.attribute(),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Copyable(false),
    ]);
    template.extend(flags(row.algorithm, &usages(row.algorithm, row.state)));
    template.extend(row.dates().start.map(|day| Attribute::StartDate(date(day))));
    template.extend(row.dates().end.map(|day| Attribute::EndDate(date(day))));
    // Last: SoftHSM takes them in their order, and nothing after this one.
    template.push(Attribute::Modifiable(false));
    template
}

/// What a copy on the active token has that its original has not; its name aside.
pub(crate) fn copied(algorithm: Algorithm, on: &BTreeSet<Usage>, dates: Dates) -> Vec<Attribute> {
    let mut template = vec![Attribute::Token(true)];
    template.extend(flags(algorithm, on));
    template.extend(dates.start.map(|day| Attribute::StartDate(date(day))));
    template.extend(dates.end.map(|day| Attribute::EndDate(date(day))));
    template
}

/// What a copy on the active token has that its original, which somebody else has changed, has not; its name aside. Only what
/// differs of what can be set once: tokens refuse to be told what is so.
pub(crate) fn restored(row: &Row, label: &str, found: &Said, goes_on: bool) -> Vec<Attribute> {
    let (was, wanted) = (found.protection, row.dates());
    let dates = found.dates.unwrap_or_default();
    let mut template = copied(row.algorithm, &usages(row.algorithm, row.state), wanted);
    template.push(Attribute::Label(label.as_bytes().to_vec()));
    template.extend((!was.sensitive).then_some(Attribute::Sensitive(true)));
    let leaks = was.extractable && !(goes_on && was.wrap_with_trusted);
    template.extend(leaks.then_some(Attribute::Extractable(false)));
    // A date that is not wanted is overwritten by the empty one.
    let empty = cryptoki::types::Date::new_empty;
    let unwanted = |wanted: Option<Day>, found: Option<Day>| wanted.is_none() && found.is_some();
    template.extend(unwanted(wanted.start, dates.start).then(|| Attribute::StartDate(empty())));
    template.extend(unwanted(wanted.end, dates.end).then(|| Attribute::EndDate(empty())));
    template
}

/// A copy that lives in one session of this process and has just what a proof takes.
pub(crate) fn passing(algorithm: Algorithm) -> Vec<Attribute> {
    let mut template = vec![Attribute::Token(false)];
    template.extend(flags(algorithm, &proving(algorithm)));
    template
}

/// The same for a key that arrives.
pub(crate) fn passing_through(algorithm: Algorithm) -> Vec<Attribute> {
    let mut template = kind(algorithm);
    template.extend([
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
    ]);
    template.extend(flags(algorithm, &proving(algorithm)));
    template
}

fn proving(algorithm: Algorithm) -> BTreeSet<Usage> {
    match algorithm {
        // One block, for the check value; and the key of the proof's MAC.
        Algorithm::Aes256Gcm => BTreeSet::from([Usage::Encrypt, Usage::Derive]),
        _ => BTreeSet::from([Usage::Sign]),
    }
}

// === Keys of the store's own ===

/// The transport key as the pre-active token has it. Created by the security officer, who alone can call it trusted and
/// who makes public objects only: it wraps, and does nothing else, for ever.
pub(crate) fn transport_out(id: ObjectId, label: &str, value: &[u8]) -> Vec<Attribute> {
    let mut template = own(id, label, &BTreeSet::from([Usage::Wrap]));
    template.extend([Attribute::Value(value.to_vec()), Attribute::Private(false), Attribute::Trusted(true)]);
    template
}

/// The transport key as the active token has it: it unwraps, and does nothing else, for ever.
pub(crate) fn transport_in(id: ObjectId, label: &str, value: &[u8]) -> Vec<Attribute> {
    let mut template = own(id, label, &BTreeSet::from([Usage::Unwrap]));
    template.extend([Attribute::Value(value.to_vec()), Attribute::Private(true)]);
    template
}

/// The key under which the seal key is kept.
pub(crate) fn sealing(id: ObjectId, label: &str) -> Vec<Attribute> {
    let mut template = own(id, label, &BTreeSet::from([Usage::Encrypt, Usage::Decrypt]));
    // `C_GenerateKey` knows class and type, and is told the length.
    template.retain(|attribute| !matches!(attribute, Attribute::Class(_) | Attribute::KeyType(_)));
    template.extend([Attribute::ValueLen(32.into()), Attribute::Private(true)]);
    template
}

fn own(id: ObjectId, label: &str, on: &BTreeSet<Usage>) -> Vec<Attribute> {
    let mut template = kind(Algorithm::Aes256Gcm);
    template.extend([
        Attribute::Token(true),
        id.attribute(),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Modifiable(false),
        Attribute::Copyable(false),
    ]);
    template.extend(flags(Algorithm::Aes256Gcm, on));
    template
}

// === Dates ===

fn date(day: Day) -> cryptoki::types::Date {
    let text = format!("{:04}{:02}{:02}", day.year.min(9999), day.month.min(99), day.day.min(99));
    match *text.as_bytes() {
        [a, b, c, d, e, f, g, h] => cryptoki::types::Date::new([a, b, c, d], [e, f], [g, h]),
        _ => cryptoki::types::Date::new_empty(),
    }
}

/// The day; `None` for an empty date, and for what is none.
pub(crate) fn day(date: &cryptoki::types::Date) -> Option<Day> {
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u16>().ok();
    let two = |digits: &[u8]| u8::try_from(number(digits)?).ok();
    Some(Day { year: number(&date.year)?, month: two(&date.month)?, day: two(&date.day)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_set_and_off_for_a_key_that_is_born() {
        for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| !kind(*algorithm).is_empty()) {
            let template = born(algorithm, ObjectId([1; 16]), "label");
            assert!(template.iter().all(|attribute| usage_on(attribute).is_none()), "{algorithm}");
            for state in
                KeyState::ALL.into_iter().filter(|state| !matches!(state, KeyState::Active | KeyState::Deactivated))
            {
                assert!(usages(algorithm, state).is_empty(), "{algorithm} {state}");
            }
            assert!(usages(algorithm, KeyState::Deactivated).iter().all(|usage| usage.processes_only()));
            assert!(!usages(algorithm, KeyState::Active).is_empty(), "{algorithm}");
        }
        let set = born(Algorithm::Aes256Gcm, ObjectId([1; 16]), "label");
        for flag in FLAGS {
            let recover = matches!(flag, AttributeType::SignRecover | AttributeType::VerifyRecover);
            let found = set.iter().any(|attribute| attribute.attribute_type() == flag);
            assert_eq!(found, !recover, "{flag}: AES keys have it, or it is of pairs alone");
        }
    }

    #[test]
    fn days_are_those_of_ck_date() {
        let new_year = Day { year: 2027, month: 1, day: 2 };
        assert_eq!(day(&date(new_year)), Some(new_year));
        assert_eq!(date(new_year).to_string(), "Month: 01\nDay: 02\nYear: 2027");
        assert_eq!(day(&cryptoki::types::Date::new_empty()), None);
    }
}
