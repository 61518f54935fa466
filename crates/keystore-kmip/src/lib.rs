//! The KMIP key store: keys on a KMIP server, over TLS with a client certificate. Set-up, what it prevents, what it
//! detects and what not: `docs/kmip-store.md`.
//!
//! The keys are the server's: it generates them, holds them, and computes with them. Beside it stands an index in a folder
//! here (`index.redb`), which says which key is which object and what state the chain has brought it to. KMIP knows no
//! suspension and keeps no trace of what is destroyed: that is the index's.

mod client;
mod doors;
mod error;
#[cfg(test)]
mod faults;
mod files;
mod index;
mod inventory;
mod naming;
mod protocol;
mod settings;
mod store;
mod survey;
#[cfg(test)]
mod tests;
mod ttlv;

pub use doors::{Door, DoorFinding, Kind, Verdict};
pub use error::{Error, Found};
pub use inventory::Onlooker;
pub use protocol::{Attributes, Operation, Reason, ServerState};
pub use settings::{Login, Mode, Password, Settings};
pub use store::{KmipStore, OnTheServer};
pub use survey::{Finding, Subject, Survey};
