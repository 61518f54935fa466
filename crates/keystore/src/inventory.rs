//! The inventory: what is in a place before, or beside, Keylatch. For first contact, which only observes.

use std::collections::BTreeSet;

use model::Timestamp;
use model::key::KeyIdentity;
use serde::Serialize;

use crate::Error;

/// A key that somebody sees who only looks. Nothing of it is a secret, and everything is the place's own word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Where it is: a token, a server, a folder.
    pub place: String,
    /// By what the place knows it: a `CKA_ID` in hex, a KMIP identifier, a key id.
    pub object: String,
    /// What it is called there; empty where it has no name.
    pub label: String,
    /// What it computes, such as `aes-256-gcm` or `rsa-3072`.
    pub algorithm: String,
    /// Its state, where the place knows states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// What it may be used for, in the place's own words.
    pub usages: BTreeSet<String>,
    /// Whether its bytes can leave the place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extractable: Option<bool>,
    /// By what it can be recognised, as far as that shows without a use.
    #[serde(serialize_with = "as_text")]
    pub identity: KeyIdentity,
    /// When it was made, where the place says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_at: Option<Timestamp>,
    /// Whether it is a key of Keylatch, or of a store of Keylatch's own, by the name that it bears.
    pub ours: bool,
}

fn as_text<S: serde::Serializer>(identity: &KeyIdentity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(identity)
}

/// A place whose keys can be looked at.
///
/// INVARIANT (first contact observes): nothing is made, changed, used or destroyed by it.
pub trait Inventory {
    /// Shows every key there is, ours among them.
    ///
    /// # Errors
    /// Where the place does not answer, or does not let us look.
    fn inventory(&self, visit: &mut dyn FnMut(Item)) -> Result<(), Error>;
}
