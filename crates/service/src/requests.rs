//! Requests are handed to their handler, tenants in turn, and answered.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_nats::{Client, Message};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use journal::Journal;
use journal_nats::connect;
use model::{Problem, ProblemType, ServiceRole, TenantId, subject};
use serde_json::json;
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, info, warn};

use crate::command::to_bytes;
use crate::fair_queue::{Bounds, FairQueue};
use crate::health::{Announced, health};
use crate::incoming::Incoming;
use crate::{Error, Ports};

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

/// Handles the requests on these subjects with `handle`, each in a task of its own, tenants in turn, until `shutdown`.
/// Requests that have arrived by then are answered. Requests are shared among the instances of a role.
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
    let Announced { service, health: mut asked_how } = announced;
    let mut incoming = Incoming::subscribe(&ports.client, subjects, role.name()).await?;
    // The subscriptions are with the server before anybody is told that this role answers.
    connect::round_trip(&ports.client).await.map_err(|error| Error::Bus(error.to_string()))?;
    ports.ready.send_modify(|ready| *ready += 1);
    info!(%role, "answering");
    let mut shutdown = std::pin::pin!(shutdown);
    let (client, queue) = (ports.client.clone(), FairQueue::new(BOUNDS));
    let mut dispatcher = Dispatcher { handle, client, queue, tasks: JoinSet::new() };
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(done) = dispatcher.tasks.join_next() => dispatcher.done(done),
            request = incoming.next(), if !subjects.is_empty() => dispatcher.take(request.ok_or_else(ended)?).await,
            asked = asked_how.next() => {
                let how_it_is = health(&ports.node, &ports.instance, &ports.outsiders);
                respond(&ports.client, &asked.ok_or_else(ended)?.message, to_bytes(Ok(json!(how_it_is)))).await;
            }
        }
    }
    service.stop().await.map_err(|error| Error::Bus(error.to_string()))?;
    let mut last = incoming.leave().await;
    loop {
        tokio::select! {
            Some(done) = dispatcher.tasks.join_next() => dispatcher.done(done),
            request = last.next() => match request {
                Some(request) => dispatcher.take(request).await,
                None => break,
            },
        }
    }
    while let Some(done) = dispatcher.tasks.join_next().await {
        dispatcher.done(done);
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
struct Dispatcher<H> {
    handle: H,
    client: Client,
    queue: FairQueue<Work>,
    tasks: JoinSet<TenantId>,
}

/// A request, and the words of its subject after the tenant.
struct Work {
    request: Message,
    rest: String,
}

impl<H, F> Dispatcher<H>
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
        if let Err(Work { request, .. }) = self.queue.push(tenant, size, Work { request, rest }) {
            let busy = Problem::new(ProblemType::Busy, "what waits already is answered first");
            respond(&self.client, &request, to_bytes(Err(busy))).await;
        }
        self.hand_out();
    }

    /// Frees the place of a task that has ended. Panics of the handler were caught in it, so every task names its tenant.
    fn done(&mut self, done: Result<TenantId, JoinError>) {
        if let Ok(tenant) = done {
            self.queue.done(tenant);
        }
        self.hand_out();
    }

    fn hand_out(&mut self) {
        while let Some((tenant, Work { request, rest })) = self.queue.next() {
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
