//! Evidence, from the outside.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod bundles;
mod certificates;
mod controls;
mod lives;
mod report;
mod samples;
mod stage;
mod tampering;
mod verdicts;
mod views;
