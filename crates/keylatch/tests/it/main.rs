//! The platform as a whole: a real server, real tenants, real keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(unreachable_pub, reason = "one binary of modules")]

mod bad_input;
mod life;
mod processes;
mod subscriber;
mod up;
mod world;
