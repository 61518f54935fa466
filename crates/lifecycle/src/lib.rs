//! The rules. Whether a key may be created, approved, activated, used, suspended, destroyed is decided here and nowhere
//! else.
//!
//! - [`decide()`] takes what is known ([`View`]), what is wanted ([`Input`]) and the time, and answers with the one event
//!   that records it, or with a [`Rejection`]. It reads no clock, no file, no network and no dice.
//! - [`evolve()`] takes a recorded event into the view. It is total: what is recorded is a fact.
//! - [`judge()`] is how anybody checks what somebody else recorded: it decides again at the event's time, and compares.
//!   Services, the command line and the offline verifier run these three.
//! - [`simulate`] runs the same on a copy, for whoever wants to know beforehand, and under rules that are a draft.
//! - [`due()`] says what the passing of time, or an earlier event, calls for next.

pub mod baseline;
pub mod clearance;
pub mod conditions;
pub mod decide;
pub mod due;
mod epoch;
pub mod evolve;
pub mod gate;
pub mod judge;
pub mod manifest;
pub mod policy;
pub mod quorum;
pub mod rejection;
#[cfg(feature = "testing")]
pub mod scenario;
pub mod sealing;
pub mod simulate;
pub mod standing;
pub mod state;
pub mod tenant;
pub mod transition;
pub mod vectors;

pub use clearance::{Blocked, Clearance, clear};
pub use decide::{Duty, Input, decide};
pub use due::{Due, due};
pub use evolve::{Fact, evolve};
pub use judge::{Judgement, Prepared, Void, judge, prepare};
pub use rejection::Rejection;
pub use state::{Document, Entities, Footprint, Governance, Key, Receipt, Request, View};
pub use tenant::Tenant;

/// The newest rules epoch that this program knows. A chain under a later one is not judged: its reader stops and says so.
pub const RULES: u32 = 4;
