//! Commands: a message is read strictly, its signatures are checked, and the handler of its action answers it.

use std::sync::Arc;

use bytes::Bytes;
use journal::command::{Error as CommandError, SignedCommand};
use journal::strict;
use model::{Envelope, Problem, ProblemType, TenantId};
use serde_json::{Value, json};

use crate::node::Recorded;

/// The largest message that is read: a command of 24 KiB in base64, with its signatures.
const MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// What a command is answered with.
pub type Answer = Result<Value, Problem>;

/// The answer to a command that was recorded.
pub fn recorded(recorded: Recorded) -> Value {
    json!({ "ok": true, "sequence": recorded.sequence.0, "hash": recorded.hash })
}

/// Answers a command: reads it, checks that it is for this tenant and this subject, hands it on, and puts the answer into
/// bytes.
pub async fn answer<F>(
    tenant: TenantId,
    rest: String,
    payload: Bytes,
    handle: impl FnOnce(Arc<SignedCommand>) -> F,
) -> Bytes
where
    F: Future<Output = Answer>,
{
    let answer = match open(tenant, rest, payload).await {
        Ok(signed) => handle(Arc::new(signed)).await,
        Err(problem) => Err(problem),
    };
    to_bytes(answer)
}

/// An answer as it is sent.
pub fn to_bytes(answer: Answer) -> Bytes {
    let json = match &answer {
        Ok(value) => serde_json::to_vec(value),
        Err(problem) => serde_json::to_vec(problem),
    };
    json.unwrap_or_default().into()
}

/// Reads a command and checks its signatures, off the async threads.
async fn open(tenant: TenantId, rest: String, payload: Bytes) -> Result<SignedCommand, Problem> {
    let opened = tokio::task::spawn_blocking(move || open_blocking(tenant, &rest, &payload)).await;
    opened.unwrap_or_else(|error| Err(Problem::new(ProblemType::Unavailable, error)))
}

fn open_blocking(tenant: TenantId, rest: &str, payload: &[u8]) -> Result<SignedCommand, Problem> {
    if payload.len() > MESSAGE_BYTES_MAX {
        let detail = format!("{} bytes; at most {MESSAGE_BYTES_MAX} are read", payload.len());
        return Err(Problem::new(ProblemType::TooLarge, detail));
    }
    let malformed = |error: &dyn std::fmt::Display| Problem::new(ProblemType::Malformed, error);
    strict::check(payload).map_err(|error| malformed(&error))?;
    let envelope: Envelope = model::json::read(payload).map_err(|error| malformed(&error))?;
    let signed = SignedCommand::open(envelope).map_err(problem)?;
    let action = signed.command.action.name();
    if signed.command.tenant != tenant {
        let detail = format!("the command is for {}, and came from {tenant}", signed.command.tenant);
        return Err(Problem::new(ProblemType::WrongTenant, detail));
    }
    if rest.strip_prefix("cmd.").is_some_and(|subject| subject != action) {
        let detail = format!("the command is `{action}`, and came on `{rest}`");
        return Err(Problem::new(ProblemType::UnknownAction, detail));
    }
    Ok(signed)
}

fn problem(error: CommandError) -> Problem {
    let kind = match &error {
        CommandError::TooLarge(_) => ProblemType::TooLarge,
        CommandError::Signature { .. } | CommandError::KeyId { .. } | CommandError::Signatures(_) => {
            ProblemType::BadSignature
        }
        CommandError::Malformed(model::command::Malformed::Action(_)) => ProblemType::UnknownAction,
        CommandError::PayloadType(_) | CommandError::Strict(_) | CommandError::Malformed(_) => ProblemType::Malformed,
    };
    Problem::new(kind, error)
}
