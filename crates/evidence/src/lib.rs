//! What leaves the platform as proof, and how anybody checks it.
//!
//! [`export`] writes a tenant's history as lines of DSSE envelopes; [`verify`] checks such a history from its first event
//! on, form and law, under a pinned root and with nothing else to go by. Neither opens a file: bytes come and go as
//! arguments.

pub mod controls;
pub mod export;
pub mod history;
pub mod report;
pub mod trust;
pub mod verify;

pub use trust::Trust;
pub use verify::{Report, Verifier};
