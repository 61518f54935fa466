//! The words of Keylatch: ids, time, keys, people, policy, commands, events, problems.
//!
//! Pure data. A value of a type here is well-formed, whatever it came from: text is parsed into it or refused
//! ("parse, don't validate"). What the data *means*, and whether it is allowed, is decided in `lifecycle`; which bytes
//! carry it is settled in `journal` (and its `SPEC.md`).

pub mod authority;
pub mod command;
pub mod dsse;
pub mod event;
pub mod evidence;
pub mod history;
pub mod id;
pub mod json;
pub mod key;
pub mod pack;
pub mod people;
pub mod policy;
pub mod problem;
pub mod statement;
pub mod subject;
pub mod text;
pub mod time;

pub use command::{Action, Command};
pub use dsse::Envelope;
pub use event::{Event, EventType};
pub use id::{CommandId, Digest, EventHash, EventId, Fingerprint, KeyId, Sequence, TenantId};
pub use key::{Algorithm, KeySpec, KeyState};
pub use people::{Principal, PublicKey, Role, ServiceRole};
pub use policy::Policy;
pub use problem::{Problem, ProblemType};
pub use text::{Name, Text};
pub use time::{Span, Timestamp};
