//! The approver: records what people ask and approve, and authorises when the quorum is complete.
//!
//! It can't forge an approval, for each carries its person's signature; nor activate, for that is another role's event.

use journal::Journal;
use model::ServiceRole;
use service::{Error, Ports, Shutdown, process};

/// Runs until `shutdown`.
pub async fn run<J: Journal>(ports: Ports<J>, shutdown: Shutdown) -> Result<(), Error> {
    process::run_recording(ports, ServiceRole::Approver, shutdown).await
}
