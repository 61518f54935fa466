//! The load tester: drives a running platform through the message bus alone, as its tenants do, with real commands that
//! principals have signed, and measures what it answers.
//!
//! A [`Cast`] is who there is: tenants with their credentials, and the people and workloads in each with their keys. A
//! [`Plan`] is what they do, how much of it, and for how long. [`run`] has them do it, and gives a [`Report`]: latencies,
//! rates, refusals, and whether every command that was acknowledged stands in the log where the answer said.
//!
//! Latencies are counted from the moment at which something was *due*, not from when it was sent: in an open loop a
//! platform that stalls makes those wait that come next, and that wait is the platform's (coordinated omission). What the
//! answer took from the sending on is kept beside it.

pub mod cast;
mod check;
mod client;
mod html;
mod measure;
pub mod plan;
pub mod report;
mod run;
mod scenario;
mod witness;

pub use cast::Cast;
pub use plan::Plan;
pub use report::Report;
pub use run::{Progress, run};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cast's file or one of its keys.
    #[error("{path}: {what}")]
    Cast {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A tenant lacks somebody whom the mix needs.
    #[error("tenant `{tenant}` has nobody to be {wanted}")]
    Nobody {
        /// The tenant's name.
        tenant: String,
        /// Which part.
        wanted: &'static str,
    },
    /// The bus.
    #[error("no connection: {0}")]
    Connect(#[from] journal_nats::connect::Error),
    /// The bus, later.
    #[error("the bus: {0}")]
    Bus(String),
}
