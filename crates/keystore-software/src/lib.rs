//! The software key store: keys wrapped with AES-256-GCM in two inventories, each a redb database under a wrapping key of
//! its own; the wrapping keys in a keyring under a master key. Layout, guarantees and limits: `docs/software-store.md`.
//!
//! ```text
//! store.lock              held while the store is open: one process at a time
//! keyring                 the seal key (inputs for uses are sealed to it) and the wrapping keys, under the master key
//! pre-active/keys.redb    keys not yet authorised
//! active/keys.redb        keys that are or were active
//! ```
//!
//! INVARIANT (active wins): activation commits the key to the active inventory first and removes it from the pre-active
//! one second. Where both have it, the move was cut short after the first commit, and what the pre-active inventory has
//! is a remainder that goes at the next opportunity. Readers look into the pre-active inventory *first*: a key that moves
//! between the two looks is then seen in both and never in none.

mod backup;
#[cfg(test)]
mod crash_tests;
mod error;
mod files;
mod inventory;
mod keyring;
mod listing;
mod master;
mod record;
mod rotation;
#[cfg(test)]
mod sealed_tests;
mod shelf;
mod store;
mod wrapping;
mod writer;

pub use backup::Checked;
pub use error::Error;
pub use master::{MasterKey, MasterKeyId, MasterKeys, Provide, Source};
pub use rotation::{Rekeyed, Rewrapped};
pub use store::SoftwareStore;
