//! What leaves the platform as proof, and how anybody checks it.
//!
//! [`export`] writes a tenant's history as lines of DSSE envelopes; [`verify`] checks such a history from its first event
//! on, form and law, under a pinned root and with nothing else to go by. Neither opens a file: bytes come and go as
//! arguments.

pub mod as_of;
pub mod bundle;
pub mod caiq;
pub mod certificate;
pub mod controls;
pub mod deployment;
pub mod export;
pub mod history;
pub mod ocsf;
pub mod oscal;
pub mod point;
pub mod replay;
pub mod report;
pub mod sample;
pub mod trust;
pub mod verdict;
pub mod verify;
mod words;

pub use as_of::as_of;
pub use bundle::Bundle;
pub use point::{Point, take_until};
pub use replay::Replay;
pub use trust::Trust;
pub use verdict::Verdict;
pub use verify::{Report, Verifier};
