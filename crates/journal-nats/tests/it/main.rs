//! The bus on a real nats-server. Where there is none, every test fails with the finder's advice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]

mod bus;
mod docs;
mod log;
mod operator;
mod raw;
mod relay;
mod server;
mod services;
mod tenants;
