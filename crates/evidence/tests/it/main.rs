//! Evidence, from the outside.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod bundles;
mod certificates;
mod controls;
mod stage;
mod tampering;
