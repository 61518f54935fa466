//! The stores, with histories that the rules themselves make.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod alarms;
mod archive;
mod child;
mod damage;
mod proofs;
mod replica;
mod support;
