//! Attestation: what a store itself says of a key, as it is now.
//!
//! It is asked of the device or computed from what is stored, not taken from a record of ours where the store can say it.
//! It is not signed by the device: who does not trust the custodian's host learns nothing from it. (A device's own signed
//! statements, where it makes any, are for auditors to check with the vendor's tools.)

use std::collections::BTreeSet;
use std::fmt;

use model::event::Place;
use model::key::{KeyIdentity, Operation};
use model::{Algorithm, KeyState, Name};

use crate::{Held, Material};

/// What a store says of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// The store.
    pub store: Name,
    /// What the key computes.
    pub algorithm: Algorithm,
    /// The state that the store has for it.
    pub state: KeyState,
    /// Where it is; `None` once it is destroyed.
    pub place: Option<Place>,
    /// By what it is recognised: computed anew from the material, whatever a record says; of a destroyed key what it was.
    pub identity: KeyIdentity,
    /// What the medium lets be done with it, whoever asks: the usage flags that are on. Never any of a key that is not
    /// active, but for those that only undo or check of a deactivated one.
    pub usages: BTreeSet<Usage>,
    /// How its material is kept; `None` once it is destroyed.
    pub protection: Option<Protection>,
    /// From and until when the medium says that it may be used (`CKA_START_DATE`, `CKA_END_DATE`); `None` where it has no
    /// such thing, or does not show it.
    pub dates: Option<Dates>,
    /// The device that has it; `None` where files have it.
    pub device: Option<Device>,
}

impl Attestation {
    /// What a store says that keeps the bytes of its keys: whoever has its files has the key, and nothing but the store's
    /// own refusal holds a use back.
    pub fn of_files(store: Name, held: Held, material: Option<&Material>) -> Self {
        let protection = Protection {
            sensitive: false,
            extractable: true,
            wrap_with_trusted: false,
            modifiable: true,
            local: true,
            always_sensitive: false,
            never_extractable: false,
        };
        Self {
            store,
            algorithm: held.algorithm,
            state: held.state,
            identity: material.map_or(held.identity, Material::identity),
            usages: if held.place.is_some() { usages(held.algorithm, held.state) } else { BTreeSet::new() },
            protection: held.place.as_ref().map(|_| protection),
            place: held.place,
            dates: None,
            device: None,
        }
    }
}

/// The uses that a store with no flags of its own allows a key.
fn usages(algorithm: Algorithm, state: KeyState) -> BTreeSet<Usage> {
    let all = algorithm.operations().into_iter().map(|operation| match operation {
        Operation::Encrypt => Usage::Encrypt,
        Operation::Decrypt => Usage::Decrypt,
        Operation::Sign => Usage::Sign,
        Operation::Verify => Usage::Verify,
        Operation::Wrap => Usage::Wrap,
        Operation::Unwrap => Usage::Unwrap,
    });
    match state {
        KeyState::Active => all.collect(),
        KeyState::Deactivated => all.filter(|usage| usage.processes_only()).collect(),
        _ => BTreeSet::new(),
    }
}

/// A use, as media know them (the usage flags of PKCS #11, 4.7 to 4.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Usage {
    /// `CKA_ENCRYPT`.
    Encrypt,
    /// `CKA_DECRYPT`.
    Decrypt,
    /// `CKA_SIGN`.
    Sign,
    /// `CKA_SIGN_RECOVER`.
    SignRecover,
    /// `CKA_VERIFY`.
    Verify,
    /// `CKA_VERIFY_RECOVER`.
    VerifyRecover,
    /// `CKA_WRAP`.
    Wrap,
    /// `CKA_UNWRAP`.
    Unwrap,
    /// `CKA_DERIVE`.
    Derive,
}

impl Usage {
    /// Whether it only undoes or checks: what a deactivated key may still do.
    pub fn processes_only(self) -> bool {
        matches!(self, Self::Decrypt | Self::Verify | Self::VerifyRecover | Self::Unwrap)
    }
}

/// How a key's material is kept, in the words of PKCS #11 (4.9, 4.10). A store in files has nothing to enforce these with
/// and says so: not sensitive, extractable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// `CKA_SENSITIVE`: the material can't be read in the clear.
    pub sensitive: bool,
    /// `CKA_EXTRACTABLE`: it can leave, wrapped.
    pub extractable: bool,
    /// `CKA_WRAP_WITH_TRUSTED`: it can leave only under a wrapping key that the device's security officer trusts.
    pub wrap_with_trusted: bool,
    /// `CKA_MODIFIABLE`: what it may be used for can be changed in place.
    pub modifiable: bool,
    /// `CKA_LOCAL`: it was generated where it is.
    pub local: bool,
    /// `CKA_ALWAYS_SENSITIVE`.
    pub always_sensitive: bool,
    /// `CKA_NEVER_EXTRACTABLE`.
    pub never_extractable: bool,
}

/// From and until when, both included; `None` where the medium says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dates {
    /// The first day.
    pub start: Option<Day>,
    /// The last day.
    pub end: Option<Day>,
}

/// A calendar day, `YYYYMMDD`, as `CK_DATE` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    /// The year, to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// A device, as it names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The token's label.
    pub label: String,
    /// Who made it.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// The version of its hardware.
    pub hardware: String,
    /// The version of its firmware.
    pub firmware: String,
    /// The module through which it is reached: maker, description and version.
    pub module: String,
    /// The mechanism by which the key was generated, as far as the device remembers.
    pub mechanism: Option<String>,
}
