//! The command line of Keylatch.
//!
//! What the commands do are functions here ([`command`]), so that tests and the demo call what people call. A
//! [`Session`] is one tenant's connection: a [`bus::Bus`], a [`Reader`] that has verified the tenant's history, and the
//! hand that signs. Results are values that know how to [`Show`] themselves to people and to programs; what can go wrong
//! is one [`Error`], which knows its exit code.
//!
//! Nothing that a service answers is believed: answers point at events, and events are verified here, form and law,
//! under the root that the context pins.

pub mod bulk;
pub mod bus;
pub mod cli;
pub mod command;
pub mod context;
pub mod demo;
pub mod documents;
pub mod error;
pub mod explain;
pub mod folder;
pub mod identity;
pub mod layout;
pub mod look_back;
pub mod lookup;
pub mod platform;
pub mod reader;
pub mod review;
pub mod screen;
pub mod sealed_file;
pub mod sealing;
pub mod session;
pub mod submit;
pub mod toml_text;
pub mod words;

pub use context::{Context, Contexts};
pub use error::Error;
pub use identity::Identity;
pub use reader::{Known, Reader};
pub use screen::{Screen, Show};
pub use service::Clock;
pub use session::Session;
pub use submit::{Outcome, Recorded, Signing};
