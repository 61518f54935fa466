//! The chain: which bytes an event is, who signed them, what they link to.
//!
//! Two layers judge an event. **Form** is here: signature, envelope, tenant, sequence, link, time ([`Chain::admit`]).
//! **Law** (role, transition, quorum, policy) is in `lifecycle`. An event that fails either is *void*: it changes
//! nothing, and the chain goes on over its hash. The verdict depends on hashed bytes and on nothing else.
//!
//! Also here: the port to a log ([`Journal`]) and, behind the feature `testing`, a log in memory and the suite that every
//! log must pass.
#![doc = include_str!("../SPEC.md")]

pub mod authority;
pub mod chain;
pub mod command;
#[cfg(feature = "testing")]
pub mod conformance;
pub mod event;
#[cfg(feature = "testing")]
pub mod memory;
pub mod merkle;
pub mod note;
pub mod port;
pub mod signer;
pub mod sshsig;
pub mod statement;
pub mod strict;
pub mod tlog_proof;
pub mod vectors;
pub mod witness;

pub use authority::Ring;
pub use chain::{Chain, Head, Void};
pub use event::{Authentic, Body, Record};
pub use port::{Append, Error, Journal, Outgoing};
pub use signer::ServiceKey;
