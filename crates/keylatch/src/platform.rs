//! The platform on one machine: a folder with everything in it, a `nats-server` of its own, and all six roles in one
//! process. Production runs the roles as processes of their own, and keeps the root key offline.

pub mod deployment;
mod parts;
pub mod registrar;
pub mod up;

pub use deployment::Deployment;
pub use up::{Options, Platform, custody_place};
