//! What services keep on disk. Synchronous; no rules, no clock.
//!
//! - [`Replica`]: the verified state of every tenant that a service follows, in sled. A *cache* of the chain: it is set
//!   aside and made anew from the log when anything is wrong with it.
//! - [`Archive`]: the exact bytes of every event of every tenant, in append-only segment files that are synced before
//!   anything is acknowledged. The second place, besides the log, where history lives.
//!
//! Both hold a lock on their directory, which belongs to them alone (mode 0700). Both block: call them off the async
//! threads. `docs/decisions/0004-replicas-in-sled.md` says why they are made as they are, and what was measured.

mod error;
mod place;
mod store;

pub mod alarm;
pub mod archive;
pub mod replica;

pub use alarm::{Alarm, AlarmKind};
pub use archive::Archive;
pub use error::Error;
pub use replica::{Change, Replica};
