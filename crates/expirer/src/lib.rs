//! The expirer: turns the passing of time into events. Approvals and requests lapse, keys that nobody activated expire,
//! crypto periods end.
//!
//! What is due stands in the replica's index, in order of time: nothing is swept, and nothing is forgotten over a restart.

use journal::Journal;
use model::ServiceRole;
use service::{Error, Ports, Shutdown, process};

/// Runs until `shutdown`.
pub async fn run<J: Journal>(ports: Ports<J>, shutdown: Shutdown) -> Result<(), Error> {
    process::run_recording(ports, ServiceRole::Expirer, shutdown).await
}
