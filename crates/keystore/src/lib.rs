//! The key-store port: what every key store does for the custodian, and what it refuses by itself.
//!
//! [`KeyStore`] is the interface, and its contract is the prose on it. Behind the feature `testing` are the suite that
//! every backend passes (`conformance`) and a store in memory (`memory`). Backends and their callers share the rest, and
//! must not write it twice: which steps SP 800-57 allows ([`transition`]), what a key computes when the store holds its
//! bytes ([`material`]), the format of ciphertexts ([`ciphertext`]) and the count of their nonces ([`nonces`]), proofs of
//! possession ([`possession`]), what a store attests ([`attestation`]), HPKE ([`seal`]) and sealed keys ([`sealed`]).
//!
//! Pure: no clock, no file, no random source. Randomness is an argument.

pub mod attestation;
pub mod ciphertext;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod error;
pub mod inventory;
#[cfg(any(test, feature = "testing"))]
pub mod kill;
pub mod material;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
pub mod nonces;
mod port;
pub mod possession;
pub mod seal;
pub mod sealed;
pub mod transition;

pub use attestation::Attestation;
pub use error::{Error, Refused};
pub use material::Material;
pub use port::{Applied, Entry, Found, Generated, Held, KeyStore, Output, Permit, Use};
pub use possession::Proof;
pub use sealed::{SealTo, Share};
