//! The software key store: keys wrapped with AES-256-GCM in two inventories, each a redb database under a wrapping key of
//! its own. Layout, guarantees and limits: `docs/software-store.md`.
//!
//! ```text
//! store.lock              held while the store is open: one process at a time
//! seal.key                X25519, to which inputs for uses are sealed
//! pre-active/keys.redb    keys not yet authorised
//! pre-active/wrapping.key
//! active/keys.redb        keys that are or were active
//! active/wrapping.key
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
mod listing;
mod record;
mod shelf;
mod store;
mod wrapping;
mod writer;

pub use backup::Checked;
pub use error::Error;
pub use store::SoftwareStore;
