//! The custodian: the only process that reaches key material.
//!
//! It believes no message. It follows and verifies the log itself, and a key works exactly while the verified chain says
//! *active*. It generates keys on commands that people signed ([`generate`]), brings its store to the chain's state
//! ([`apply`]), and uses keys for those who may ([`usage`]), as long as it has fresh word on the chain ([`lease`]).
//! What was used and what was refused it reports, gathered ([`tally`]).

mod apply;
mod generate;
mod lease;
mod tally;
mod usage;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use journal::Journal;
use keystore::KeyStore;
use keystore_software::SoftwareStore;
use lifecycle::{Duty, Rejection};
use model::{Name, Problem, ProblemType, ServiceRole, TenantId, subject};
use service::{Error, Ports, Shutdown, duty, endpoint, process};

use crate::lease::Leases;
use crate::tally::Tally;
use crate::usage::Seen;

const ROLE: ServiceRole = ServiceRole::Custodian;
/// The name under which policies and events know the software store.
pub const SOFTWARE: &str = "software";

/// What every part of the custodian works with.
struct Custodian<J, S> {
    ports: Ports<J>,
    store: Arc<S>,
    leases: Leases,
    seen: Seen,
    tally: Tally,
}

/// Opens the software store in a folder, or makes it there.
pub fn open_software_store(folder: &Path) -> Result<Arc<SoftwareStore>, Error> {
    let wrong = |error: String| Error::File { path: folder.to_owned(), error };
    let name: Name = SOFTWARE.parse().map_err(|error: model::id::Malformed| wrong(error.to_string()))?;
    let is_new = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    if let Some(parent) = folder.parent() {
        service::secret::ensure_folder(parent)?;
    }
    let store = if is_new { SoftwareStore::create(folder, name) } else { SoftwareStore::open(folder, name) };
    store.map(Arc::new).map_err(|error| wrong(error.to_string()))
}

/// Runs until `shutdown`.
pub async fn run<J, S>(ports: Ports<J>, store: Arc<S>, shutdown: Shutdown) -> Result<(), Error>
where
    J: Journal,
    S: KeyStore + 'static,
{
    let service = endpoint::announce(&ports.node, &ports.client, ROLE).await?;
    let seen = Seen::since(ports.node.clock().now());
    let custodian =
        Arc::new(Custodian { ports: ports.clone(), store, leases: Leases::default(), seen, tally: Tally::default() });
    let answering = custodian.clone();
    let handle = move |tenant, rest: String, payload: Bytes| answer(answering.clone(), tenant, rest, payload);
    let mut subjects = process::command_subjects(ROLE);
    subjects.push(subject::every_tenant("custody", "generate"));
    let asked = endpoint::serve(&ports, service, ROLE, &subjects, handle, shutdown.clone().wished());
    let applying = custodian.clone();
    let perform = move |tenant, duty| {
        let custodian = applying.clone();
        async move {
            match duty {
                Duty::Apply(key) => apply::apply(&custodian, tenant, key).await,
                other => Rejection::new(ProblemType::NothingDue, format!("{other:?} is not the custodian's")).err(),
            }
        }
    };
    let due = duty::run(ports.node.clone(), ROLE, perform, shutdown.clone().wished());
    let reporting = tally::report(&custodian, shutdown.wished());
    let reporting = async {
        reporting.await;
        Ok(())
    };
    tokio::try_join!(asked, due, reporting)?;
    Ok(())
}

async fn answer<J, S>(custodian: Arc<Custodian<J, S>>, tenant: TenantId, rest: String, payload: Bytes) -> Bytes
where
    J: Journal,
    S: KeyStore + 'static,
{
    let what = rest.clone();
    endpoint::command(tenant, rest, payload, move |signed| async move {
        match what.as_str() {
            "custody.generate" => generate::generate(&custodian, tenant, &signed).await,
            "cmd.key.prove" => usage::prove(&custodian, tenant, &signed).await,
            _ => usage::use_key(&custodian, tenant, &signed).await,
        }
    })
    .await
}

/// Runs something that blocks on the store off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, keystore::Error> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| problem(&error)),
        Err(error) => Err(Problem::new(ProblemType::Unavailable, error)),
    }
}

/// A store's refusal, as a problem.
fn problem(error: &keystore::Error) -> Problem {
    use keystore::Error as Store;
    let kind = match error {
        Store::NotFound(_) => ProblemType::UnknownKey,
        Store::Exists(_) => ProblemType::KeyExists,
        Store::State { .. } => ProblemType::KeyNotActive,
        Store::OperationNotAllowed { .. } | Store::Exhausted(_) => ProblemType::OperationNotAllowed,
        Store::InvalidInput(_) => ProblemType::Malformed,
        Store::CiphertextInvalid | Store::SealedInvalid => ProblemType::CiphertextInvalid,
        Store::Storage(_) => ProblemType::Unavailable,
    };
    Problem::new(kind, error)
}
