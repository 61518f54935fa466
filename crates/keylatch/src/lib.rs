//! The command line.
pub mod platform;
