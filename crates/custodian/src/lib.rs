//! The custodian: the only process that reaches key material.
//!
//! It believes no message. It follows and verifies the log itself, and a key works exactly while the verified chain says
//! *active*. It generates keys on commands that people signed (`generate`), brings its store to the chain's state
//! (`apply`), opening what is sealed with its approvers' shares (`sealed`), and uses keys for those who may (`usage`), each command once (`replay_guard`), as long as it has fresh word
//! on the chain (`lease`). It compares its stores with the chain, and reports what differs (`reconcile`).
//! It reports, gathered, which uses it carried out and which it refused (`tally`).

mod apply;
mod attestation;
pub mod custody;
mod further;
mod generate;
mod lease;
mod memory;
pub mod onlook;
mod reconcile;
mod replay_guard;
mod sealed;
mod software;
mod stores;
mod tally;
mod token_master;
mod usage;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use journal::Journal;
use lifecycle::{Duty, Rejection};
use model::{KeyId, Problem, ProblemType, ServiceRole, TenantId, subject};
use service::{Error, Ports, Shutdown, command, duty, health, process, requests};

pub use crate::further::FurtherStores;
pub use crate::memory::{Guarded, guard_memory};
pub use crate::onlook::{PlaceSeen, StoreSeen};
pub use crate::software::{SOFTWARE, Software, open as open_software_store};
pub use crate::stores::{Store, Stores};

use crate::lease::Leases;
use crate::reconcile::Drifts;
use crate::replay_guard::ReplayGuard;
use crate::tally::Tally;

const ROLE: ServiceRole = ServiceRole::Custodian;

/// The things that every part of the custodian works with.
struct Custodian<J> {
    ports: Ports<J>,
    stores: Stores,
    leases: Leases,
    replay_guard: ReplayGuard,
    tally: Tally,
    drifts: Drifts,
    changing: Changing,
}

/// Whoever changes a key in its store, or looks whether somebody else has, does so alone. Keys share a few locks.
struct Changing(Box<[tokio::sync::Mutex<()>]>);

/// How many keys are changed at once, at most.
const CHANGING: usize = 64;

impl Changing {
    async fn key(&self, key: KeyId) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        // The last bytes of a UUIDv7 are random.
        let last = key.as_bytes().last().map_or(0, |byte| usize::from(*byte));
        Some(self.0.get(last % CHANGING)?.lock().await)
    }
}

/// Runs until `shutdown`. In `uses` it keeps which use commands it has carried out; whoever runs on the same stores later
/// must find it there.
pub async fn run<J: Journal>(ports: Ports<J>, stores: Stores, uses: &Path, shutdown: Shutdown) -> Result<(), Error> {
    let wrong = |error: std::io::Error| Error::File { path: uses.to_owned(), error: error.to_string() };
    let replay_guard = ReplayGuard::open(uses, ports.node.clock().now()).map_err(wrong)?;
    let service = health::announce(&ports, ROLE).await?;
    let (leases, tally, drifts) = (Leases::default(), Tally::default(), Drifts::default());
    let changing = Changing((0..CHANGING).map(|_| tokio::sync::Mutex::default()).collect());
    let custodian = Arc::new(Custodian { ports: ports.clone(), stores, leases, replay_guard, tally, drifts, changing });
    let answering = custodian.clone();
    let handle = move |tenant, rest: String, payload: Bytes| answer(answering.clone(), tenant, rest, payload);
    let mut subjects = process::command_subjects(ROLE);
    subjects.push(subject::every_tenant("custody", "generate"));
    // The last reports are of the last answers.
    let (answered, all_answered) = Shutdown::new();
    let asked = async {
        let outcome = requests::serve(&ports, service, ROLE, &subjects, handle, shutdown.clone().requested()).await;
        answered.stop();
        outcome
    };
    let applying = custodian.clone();
    let perform = move |tenant, duty| {
        let custodian = applying.clone();
        async move {
            match duty {
                Duty::Apply(key) => apply::apply(&custodian, tenant, key).await,
                Duty::Reconcile => reconcile::reconcile(&custodian, tenant).await,
                other => Rejection::new(ProblemType::NothingDue, format!("{other:?} is not the custodian's")).err(),
            }
        }
    };
    let due = duty::run(ports.node.clone(), ROLE, perform, shutdown.clone().requested());
    let reporting = async {
        tally::report(&custodian, all_answered.requested()).await;
        Ok(())
    };
    tokio::try_join!(asked, due, reporting)?;
    Ok(())
}

async fn answer<J: Journal>(custodian: Arc<Custodian<J>>, tenant: TenantId, rest: String, payload: Bytes) -> Bytes {
    let what = rest.clone();
    command::answer(tenant, rest, payload, move |signed| async move {
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
        Store::Sealed(_) | Store::SharesMissing { .. } => ProblemType::KeyNotActive,
        Store::SealingNotOffered(_) => ProblemType::NotSupported,
        Store::OperationNotAllowed { .. } | Store::Exhausted(_) => ProblemType::OperationNotAllowed,
        Store::AlgorithmNotOffered { .. } => ProblemType::NotSupported,
        Store::TooLarge => ProblemType::TooLarge,
        Store::InvalidInput(_) => ProblemType::Malformed,
        Store::CiphertextInvalid | Store::SealedInvalid => ProblemType::CiphertextInvalid,
        Store::Storage(_) => ProblemType::Unavailable,
    };
    Problem::new(kind, error)
}

#[cfg(test)]
mod tests {
    use model::KeyState;

    /// The rules and the key store each have their own table of SP 800-57's transitions.
    #[test]
    fn the_chain_and_the_key_store_allow_the_same_transitions() {
        for from in KeyState::ALL {
            for to in KeyState::ALL.into_iter().filter(|to| *to != from) {
                let store = keystore::transition::step(from, to).is_some();
                assert_eq!(lifecycle::transition::allowed(from, to), store, "{from} to {to}");
            }
        }
    }
}
