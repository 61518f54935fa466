//! The issuer: has the custodian generate a key on a person's command, and records it.
//!
//! It forwards the command as the person signed it, and gets a statement that the custodian signed. It can make neither,
//! so it can't slip in a key of its own.

use std::sync::Arc;
use std::time::Duration;

use journal::command::SignedCommand;
use journal::{Journal, statement};
use lifecycle::{Input, Rejection, decide};
use model::statement::Generated;
use model::{Action, Envelope, Problem, ProblemType, ServiceRole, TenantId, dsse, subject};
use serde::Deserialize;
use service::command::Answer;
use service::{Error, Node, Ports, Recorded, Shutdown, process};
use tracing::debug;

/// How long the custodian has to generate a key.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs until `shutdown`.
pub async fn run<J: Journal>(ports: Ports<J>, shutdown: Shutdown) -> Result<(), Error> {
    let with = ports.clone();
    let handle = move |tenant, signed| generate(with.clone(), tenant, signed);
    // Nothing is due to an issuer.
    let perform = |_, duty| async move { Rejection::new(ProblemType::NothingDue, format!("{duty:?}")).err() };
    process::run(ports, ServiceRole::Issuer, handle, perform, shutdown).await
}

async fn generate<J: Journal>(ports: Ports<J>, tenant: TenantId, signed: Arc<SignedCommand>) -> Answer {
    process::answered(match generated(&ports, tenant, signed).await {
        Ok(recorded) => Ok(recorded),
        Err(Refusal::Rejected(rejection)) => Err(rejection),
        Err(Refusal::Problem(problem)) => return Err(problem),
    })
}

/// A refusal of our own, or one that the custodian gave.
enum Refusal {
    Rejected(Rejection),
    Problem(Problem),
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

async fn generated<J: Journal>(
    ports: &Ports<J>,
    tenant: TenantId,
    signed: Arc<SignedCommand>,
) -> Result<Recorded, Refusal> {
    let node = &ports.node;
    let input = Input::Command(signed.clone());
    let footprint = input.footprint();
    let recorded = node
        .check(tenant, footprint, |view| match Recorded::before(view, &input) {
            None => decide::may_generate(view, &signed, node.clock().now()).map(|()| None),
            recorded => Ok(recorded),
        })
        .await?;
    if let Some(recorded) = recorded {
        return Ok(recorded);
    }
    let envelope = match ask_custodian(ports, tenant, &signed).await {
        Ok(envelope) => envelope,
        // Sent twice, the command may have led to a key meanwhile, which the custodian has seen before us.
        Err(refusal) => return recorded_meanwhile(node, tenant, &input).await?.ok_or(refusal),
    };
    let view = node.view(tenant, footprint).map_err(|error| Rejection::new(ProblemType::Unavailable, error))?;
    let (ring, role) = (&view.governance()?.authority.ring, ServiceRole::Custodian);
    let statement = statement::open::<Generated>(&envelope, dsse::GENERATED, role, ring, tenant, node.clock().now())
        .map_err(|error| Rejection::new(ProblemType::StatementInvalid, error))?;
    Ok(node.record(tenant, ServiceRole::Issuer, Input::Generated { command: signed, statement }).await?)
}

/// The record of this very command, by the log as it stands now.
async fn recorded_meanwhile<J: Journal>(
    node: &Node<J>,
    tenant: TenantId,
    input: &Input,
) -> Result<Option<Recorded>, Rejection> {
    let caught_up = node.catch_up(tenant).await;
    caught_up.map_err(|error| Rejection::new(ProblemType::Unavailable, error))?;
    node.check(tenant, input.footprint(), |view| Ok(Recorded::before(view, input))).await
}

/// What the custodian answers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Custody {
    Generated { statement: Envelope },
    Refused(Problem),
}

async fn ask_custodian<J>(ports: &Ports<J>, tenant: TenantId, signed: &SignedCommand) -> Result<Envelope, Refusal> {
    let unavailable = |what: &dyn std::fmt::Display| {
        Rejection::new(ProblemType::Unavailable, format!("the custodian does not answer: {what}"))
    };
    debug_assert!(matches!(signed.command.action, Action::KeyGenerate(_)));
    let payload = serde_json::to_vec(&signed.envelope).map_err(|error| unavailable(&error))?;
    let asked = ports.client.request(subject::custody_generate(tenant), payload.into());
    let answer = tokio::time::timeout(PATIENCE, asked).await.map_err(|error| unavailable(&error))?;
    let answer = answer.map_err(|error| unavailable(&error))?;
    match serde_json::from_slice(&answer.payload) {
        Ok(Custody::Generated { statement }) => Ok(statement),
        Ok(Custody::Refused(problem)) => {
            debug!(%tenant, %problem, "the custodian refuses");
            Err(Refusal::Problem(problem))
        }
        Err(error) => Err(unavailable(&error).into()),
    }
}
