//! Answering commands: a message comes in, is read strictly, and goes to whoever handles its action.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::service::endpoint::Endpoint;
use async_nats::service::{Service, ServiceExt as _};
use async_nats::{Client, Message};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use journal::Journal;
use journal::command::{Error as CommandError, SignedCommand};
use journal::strict;
use journal_nats::connect;
use journal_sled::Alarm;
use model::{Envelope, Name, Problem, ProblemType, ServiceRole, TenantId, subject};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, info, warn};

use crate::incoming::Incoming;
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
/// How long the last answers may be on their way when a role stops.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// What a command is answered with.
pub type Answer = Result<Value, Problem>;

/// The answer to a command that was recorded.
pub fn recorded(recorded: Recorded) -> Value {
    json!({ "ok": true, "sequence": recorded.sequence.0, "hash": recorded.hash })
}

/// A role as a NATS service: it answers `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`, the last with how it is, at the
/// endpoint [`HEALTH`]. The same on `$SRV.HEALTH.keylatch-<role>`, of one instance.
pub async fn announce<J: Journal>(ports: &Ports<J>, role: ServiceRole) -> Result<Announced, Error> {
    // Weakly held: the library lets go of the handler some time after the service has stopped.
    let (root, instance, node) = (ports.node.root().to_string(), ports.instance.clone(), ports.node.downgrade());
    let how_it_is = move |endpoint: String, _| match node.upgrade() {
        Some(node) if endpoint == HEALTH => json!(health(&node, &instance)),
        _ => Value::Null,
    };
    let bus = |error: async_nats::Error| Error::Bus(error.to_string());
    let service = ports
        .client
        .service_builder()
        .description(format!("the {role} of Keylatch"))
        .queue_group(role.name())
        .metadata(HashMap::from([("root".to_owned(), root)]))
        .stats_handler(how_it_is)
        .start(service_name(role), env!("CARGO_PKG_VERSION"))
        .await
        .map_err(bus)?;
    let health = service.endpoint_builder().name(HEALTH).add(format!("$SRV.HEALTH.{}", service_name(role)));
    let health = health.await.map_err(bus)?;
    Ok(Announced { service, health })
}

/// A service that was announced and answers no commands yet.
pub struct Announced {
    service: Service,
    health: Endpoint,
}

/// The name of the endpoint whose statistics say how a service is.
pub const HEALTH: &str = "health";

/// The name by which a role is known to NATS.
pub fn service_name(role: ServiceRole) -> String {
    format!("keylatch-{role}")
}

/// How a service is: the data of its endpoint [`HEALTH`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Health {
    /// Which instance it is.
    pub instance: Name,
    /// How many tenants it follows; nothing where its replica can't be read.
    pub tenants: Option<usize>,
    /// The alarms that stand with it.
    pub alarms: Vec<Alarmed>,
    /// For how long it could not compare its replicas with the log, where that is too long: it writes for nobody.
    pub stale_seconds: Option<u64>,
}

/// An alarm of a tenant's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Alarmed {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub alarm: Alarm,
}

fn health<J: Journal>(node: &Node<J>, instance: &Name) -> Health {
    let alarmed = |(tenant, alarm): (TenantId, Alarm)| Alarmed { tenant, alarm };
    Health {
        instance: instance.clone(),
        tenants: node.tenants().ok(),
        alarms: node.replica().alarms().into_iter().map(alarmed).collect(),
        stale_seconds: node.stale().map(|age| age.as_secs()),
    }
}

/// Handles the requests on these subjects with `handle`, each in a task of its own, tenants in turn, until `shutdown`.
/// What has arrived by then is answered. Requests are shared among the instances of a role.
pub async fn serve<J, H, F>(
    ports: &Ports<J>,
    announced: Announced,
    role: ServiceRole,
    subjects: &[String],
    handle: H,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error>
where
    J: Journal,
    H: Fn(TenantId, String, Bytes) -> F,
    F: Future<Output = Bytes> + Send + 'static,
{
    let Announced { service, mut health } = announced;
    let mut incoming = Incoming::subscribe(&ports.client, subjects, role.name()).await?;
    // The subscriptions are with the server before anybody is told that this role answers.
    connect::round_trip(&ports.client).await.map_err(|error| Error::Bus(error.to_string()))?;
    ports.ready.send_modify(|ready| *ready += 1);
    info!(%role, "answering");
    let mut shutdown = std::pin::pin!(shutdown);
    let mut desk = Desk { handle, client: ports.client.clone(), turns: Turns::new(BOUNDS), tasks: JoinSet::new() };
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(done) = desk.tasks.join_next() => desk.done(done),
            request = incoming.next(), if !subjects.is_empty() => desk.take(request.ok_or_else(ended)?).await,
            asked = health.next() => {
                let how_it_is = self::health(&ports.node, &ports.instance);
                respond(&ports.client, &asked.ok_or_else(ended)?.message, to_bytes(Ok(json!(how_it_is)))).await;
            }
        }
    }
    service.stop().await.map_err(|error| Error::Bus(error.to_string()))?;
    let mut last = incoming.leave().await;
    while let Some(request) = last.next().await {
        desk.take(request).await;
    }
    while let Some(done) = desk.tasks.join_next().await {
        desk.done(done);
    }
    // The last answers are with the server before the process may end.
    let _ = tokio::time::timeout(LAST_ANSWERS, connect::round_trip(&ports.client)).await;
    Ok(())
}

/// Without its subscriptions a role would go on and answer nobody.
fn ended() -> Error {
    Error::Bus("the subscriptions have ended".into())
}

/// Where requests wait and are handed out.
struct Desk<H> {
    handle: H,
    client: Client,
    turns: Turns<Work>,
    tasks: JoinSet<TenantId>,
}

/// A request, and the words of its subject after the tenant.
struct Work {
    request: Message,
    rest: String,
}

impl<H, F> Desk<H>
where
    H: Fn(TenantId, String, Bytes) -> F,
    F: Future<Output = Bytes> + Send + 'static,
{
    async fn take(&mut self, request: Message) {
        let Some((tenant, rest)) = subject::tenant_of(&request.subject) else {
            warn!(subject = %request.subject, "a request that names no tenant");
            return;
        };
        let (rest, size) = (rest.to_owned(), request.length);
        if let Err(Work { request, .. }) = self.turns.push(tenant, size, Work { request, rest }) {
            let busy = Problem::new(ProblemType::Busy, "what waits already is answered first");
            respond(&self.client, &request, to_bytes(Err(busy))).await;
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
            let answer = (self.handle)(tenant, rest, request.payload.clone());
            let client = self.client.clone();
            self.tasks.spawn(async move {
                let answer = AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
                    to_bytes(Err(Problem::new(ProblemType::Unavailable, "the work panicked; see the service's log")))
                });
                respond(&client, &request, answer).await;
                tenant
            });
        }
    }
}

async fn respond(client: &Client, request: &Message, answer: Bytes) {
    let Some(reply) = &request.reply else { return };
    if let Err(error) = client.publish(reply.clone(), answer).await {
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
