//! Answering commands: a message comes in, is read strictly, and goes to whoever handles its action.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::service::{Request, Service, ServiceExt as _};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use journal::Journal;
use journal::command::{Error as CommandError, SignedCommand};
use journal::strict;
use journal_nats::connect;
use model::{Envelope, Problem, ProblemType, ServiceRole, TenantId, subject};
use serde_json::{Value, json};
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, info, warn};

use crate::node::{Node, Recorded};
use crate::turns::{Bounds, Turns};
use crate::{Error, Ports};

/// The largest message that is read: a command of 24 KiB in base64, with its signatures.
const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// How many requests are handled at once, and how many wait. One tenant's are enough to fill its lane twice over.
const BOUNDS: Bounds = Bounds {
    at_work: 1024,
    tenant_at_work: 256,
    tenant_waiting: 4096,
    tenant_bytes: 16 * 1024 * 1024,
    bytes: 256 * 1024 * 1024,
};
/// How long the last requests may be on their way when a role stops.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// What a command is answered with.
pub type Answer = Result<Value, Problem>;

/// The answer to a command that was recorded.
pub fn recorded(recorded: Recorded) -> Value {
    json!({ "ok": true, "sequence": recorded.sequence.0, "hash": recorded.hash })
}

/// A role as a NATS service: it answers `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`, the last with the node's alarms.
pub async fn announce<J: Journal>(
    node: &Node<J>,
    client: &async_nats::Client,
    role: ServiceRole,
) -> Result<Service, Error> {
    // Weakly held: the library lets go of the handler some time after the service has stopped.
    let root = node.root().to_string();
    let node = node.downgrade();
    client
        .service_builder()
        .description(format!("the {role} of Keylatch"))
        .queue_group(role.name())
        .metadata(HashMap::from([("root".to_owned(), root)]))
        .stats_handler(move |_, _| node.upgrade().map_or(Value::Null, |node| alarms(&node)))
        .start(format!("keylatch-{role}"), env!("CARGO_PKG_VERSION"))
        .await
        .map_err(|error| Error::Bus(error.to_string()))
}

fn alarms<J: Journal>(node: &Node<J>) -> Value {
    let one = |(tenant, alarm): (TenantId, journal_sled::Alarm)| json!({ "tenant": tenant, "alarm": alarm });
    let stale = node.stale().map(|age| age.as_secs());
    json!({ "alarms": node.replica().alarms().into_iter().map(one).collect::<Vec<Value>>(), "stale_seconds": stale })
}

/// Handles the requests on these subjects with `handle`, each in a task of its own, tenants in turn, until `shutdown`.
/// What has arrived by then is answered. Requests are shared among the instances of a role.
pub async fn serve<J, H, F>(
    ports: &Ports<J>,
    service: Service,
    role: ServiceRole,
    subjects: &[String],
    handle: H,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error>
where
    H: Fn(TenantId, String, Bytes) -> F,
    F: Future<Output = Bytes> + Send + 'static,
{
    let mut endpoints = Vec::with_capacity(subjects.len());
    for (number, subject) in subjects.iter().enumerate() {
        let builder = service.endpoint_builder().name(format!("{role}-{number}")).queue_group(role.name());
        endpoints.push(builder.add(subject.clone()).await.map_err(|error| Error::Bus(error.to_string()))?);
    }
    // The subscriptions are with the server before anybody is told that this role answers.
    connect::round_trip(&ports.client).await.map_err(|error| Error::Bus(error.to_string()))?;
    ports.ready.send_modify(|ready| *ready += 1);
    info!(%role, "answering");
    let mut requests = futures_util::stream::select_all(endpoints);
    let mut shutdown = std::pin::pin!(shutdown);
    let mut desk = Desk { handle, turns: Turns::new(BOUNDS), tasks: JoinSet::new() };
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(done) = desk.tasks.join_next() => desk.done(done),
            request = requests.next() => match request {
                Some(request) => desk.take(request).await,
                None => break,
            },
        }
    }
    // No more is sent to us from here on; what has come is answered. Where the bus is away, nothing more comes.
    service.stop().await.map_err(|error| Error::Bus(error.to_string()))?;
    while let Ok(Some(request)) = tokio::time::timeout(LAST_REQUESTS, requests.next()).await {
        desk.take(request).await;
    }
    while let Some(done) = desk.tasks.join_next().await {
        desk.done(done);
    }
    // The last answers are with the server before the process may end.
    let _ = tokio::time::timeout(LAST_REQUESTS, connect::round_trip(&ports.client)).await;
    Ok(())
}

/// Where requests wait and are handed out.
struct Desk<H> {
    handle: H,
    turns: Turns<Work>,
    tasks: JoinSet<TenantId>,
}

/// A request, and the words of its subject after the tenant.
struct Work {
    request: Request,
    rest: String,
}

impl<H, F> Desk<H>
where
    H: Fn(TenantId, String, Bytes) -> F,
    F: Future<Output = Bytes> + Send + 'static,
{
    async fn take(&mut self, request: Request) {
        let Some((tenant, rest)) = subject::tenant_of(&request.message.subject) else {
            warn!(subject = %request.message.subject, "a request that names no tenant");
            return;
        };
        let (rest, size) = (rest.to_owned(), request.message.length);
        if let Err(Work { request, .. }) = self.turns.push(tenant, size, Work { request, rest }) {
            let busy = Problem::new(ProblemType::Busy, "what waits already is answered first");
            respond(&request, to_bytes(Err(busy))).await;
        }
        self.hand_out();
    }

    /// A panic is one request's misfortune: `answered` has caught it, so every task says whose it was.
    fn done(&mut self, done: Result<TenantId, JoinError>) {
        if let Ok(tenant) = done {
            self.turns.done(tenant);
        }
        self.hand_out();
    }

    fn hand_out(&mut self) {
        while let Some((tenant, Work { request, rest })) = self.turns.next() {
            let answer = (self.handle)(tenant, rest, request.message.payload.clone());
            self.tasks.spawn(async move {
                let answer = AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
                    to_bytes(Err(Problem::new(ProblemType::Unavailable, "the work panicked; see the service's log")))
                });
                respond(&request, answer).await;
                tenant
            });
        }
    }
}

async fn respond(request: &Request, answer: Bytes) {
    if let Err(error) = request.respond(Ok(answer)).await {
        debug!(%error, "an answer was not sent");
    }
}

/// Handles a command: reads it, checks that it is for this tenant and this subject, hands it on, and puts the answer into
/// bytes.
pub async fn command<F>(
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
