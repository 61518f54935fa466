//! The journal on NATS JetStream: the server, its accounts and permissions, connections.
//!
//! # Who is trusted with what
//!
//! NATS runs in *operator mode*. The **operator** ([`Operator`]) vouches for **accounts**, an account's signing keys for
//! its **users**; the server believes signatures and keeps no list of users. A message never leaves its account unless
//! one account exports a subject and another imports it.
//!
//! - The **platform** account holds the streams and the services. It exports every tenant's commands, history and
//!   events, each as `kl.<T>.…`, and the server grants an import only where `<T>` is the importing account itself. So
//!   the tenant that stands in a subject is the server's word. A tenant can't claim another's, nor can an account whose
//!   JWT says otherwise.
//! - Each **tenant** is an account of its own, whose public key is the tenant's id. It has no streams, and three
//!   imports: `keylatch.cmd.>`, `keylatch.hist.>` and `keylatch.evt.>`.
//! - The **system** account's one user brings accounts to the server.
//!
//! Nobody can keep another from the bus, either: the [`relay`] drops messages that would crash the client's parser.
//!
//! Users have an inbox each, and one table holds what they may publish and subscribe ([`permission`]). All of this keeps
//! strangers apart; it does not make an event count. An event counts by its signature and its place in the chain, which
//! a follower checks for itself: with valid credentials of a service, a *reply subject* can still carry the
//! server's own answers to where its user may not publish.

pub mod connect;
mod credentials;
pub mod header;
mod jwt;
pub mod log;
pub mod operator;
pub mod permission;
pub mod provision;
pub mod relay;
pub mod secret_file;
pub mod server;
pub mod stream;

pub use credentials::{Credentials, Error as CredentialsError, inbox_prefix};
pub use jwt::SignError;
pub use log::NatsJournal;
pub use operator::{Operator, Tenant};
pub use permission::{PlatformUser, TenantUser};
pub use provision::Provisioner;
pub use secret_file::Error as SecretFileError;
pub use server::Server;
