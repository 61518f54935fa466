//! Evidence, from the outside.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod lives;
mod tampering;
mod views;
