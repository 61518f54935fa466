//! The PKCS#11 key store: keys that are made, kept and used on tokens, in two inventories that are two
//! tokens with two PINs. Set-up, guarantees and limits: `docs/pkcs11-store.md`.
//!
//! ```text
//! pre-active token   keys not yet authorised: every usage off, and no way to turn one on, whoever has the PIN;
//!                    the transport key, trusted by the security officer: it wraps, and does nothing else
//! active token       keys that are or were active, with the usages of their states;
//!                    the transport key: it unwraps, and does nothing else
//! application's      in placed mode only: every active key, for whoever has that token's PIN
//! index.redb         what state each key is in, and which object on which token is the one that counts
//! ```
//!
//! INVARIANT (never in place): an object's usages are never changed. A key that comes to another state is a new object,
//! wrapped and unwrapped at its activation, copied from then on; then the index names the new one; then the old one is
//! destroyed. So a crash between any two steps leaves the state before or the state after, and a remainder that the index
//! has a note of.
//!
//! Every process that uses the tokens is to take the locks in [`Config::locks`]; other software (`pkcs11-tool`) does not,
//! and may make a change fail, which is then asked for again.

mod attest;
mod config;
#[cfg(test)]
mod crash_tests;
mod error;
mod index;
mod inventory;
mod kin;
mod lock;
mod module;
mod object;
mod offered;
mod pair;
mod placed;
mod proof;
mod set_back;
mod setup;
mod spki;
mod steps;
mod store;
mod survey;
#[cfg(test)]
mod testing;
mod token;
mod token_key;

pub use config::{Config, Pin, TokenConfig};
pub use error::Error;
pub use inventory::Onlooker;
pub use store::Pkcs11Store;
pub use survey::{Finding, Survey};
pub use token_key::TokenKey;
