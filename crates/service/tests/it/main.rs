//! The lane into the log, on a log in memory that fails on demand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod alarms;
mod faults;
mod lane;
mod pipeline;
mod world;
