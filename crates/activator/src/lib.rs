//! The activator: activates what is authorised when its time comes; suspends, resumes, deactivates, destroys on command.
//!
//! It can't invent an approval: those are another role's events, and carry their people's signatures.

use journal::Journal;
use model::ServiceRole;
use service::{Error, Ports, Shutdown, process};

/// Runs until `shutdown`.
pub async fn run<J: Journal>(ports: Ports<J>, shutdown: Shutdown) -> Result<(), Error> {
    process::run_recording(ports, ServiceRole::Activator, shutdown).await
}
