//! What the exporter does when it is told to: by a command, and by what falls due.

use std::sync::Arc;

use journal::Journal;
use journal::command::SignedCommand;
use lifecycle::{Duty, Input, Rejection};
use model::history::ProberAnswer;
use model::{Action, ProblemType, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use service::command::Answer;
use service::{Recorded, Wanted, process};

use crate::probes::Prober;
use crate::{Answering, ROLE};

/// Answers a command: a bundle is made first; what else there is, is recorded as it is said.
pub(crate) async fn answer<J: Journal>(
    answering: &Answering<J>,
    tenant: TenantId,
    signed: Arc<SignedCommand>,
) -> Answer {
    match &signed.command.action {
        Action::EvidenceExport(_) => answering.exports.command(tenant, signed).await,
        _ => process::answered(answering.node.record(tenant, ROLE, Input::Command(signed)).await),
    }
}

/// Does what is due.
pub(crate) async fn perform<J: Journal>(
    answering: &Answering<J>,
    tenant: TenantId,
    duty: Duty,
) -> Result<Recorded, Rejection> {
    match duty {
        Duty::Checkpoint => {
            let recorded = answering.node.record(tenant, ROLE, Wanted::Checkpoint).await;
            recorded.inspect(|_| answering.outside.notify(tenant))
        }
        Duty::Export => answering.exports.due(tenant).await,
        Duty::Probe => answering.prober.due(tenant).await,
        other => Rejection::new(ProblemType::NothingDue, format!("{other:?} is not the exporter's")).err(),
    }
}

/// Asks who probes.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProberRequest {}

/// Answers `hist.prober`.
pub(crate) fn prober<J: Journal>(prober: &Prober<J>, _: &ProberRequest) -> Answer {
    Ok(json!(ProberAnswer { public_key: prober.public_key() }))
}
