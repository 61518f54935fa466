//! The bus as a tenant's user sees it: questions with answers, and the events as they come.

use std::path::Path;
use std::time::Duration;

use async_nats::{Request, RequestErrorKind};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use journal::port::News;
use journal_nats::connect::{self, Connection};
use journal_nats::log;
use model::{TenantId, subject};

use crate::error::Error;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Nobody listens there now: the question reached nobody.
    #[error("nobody listens on `{0}`")]
    NobodyListens(String),
    /// It took too long. What was asked may have been done.
    #[error("no answer on `{0}` in time")]
    TimedOut(String),
    /// Something else.
    #[error("{0}")]
    Other(String),
}

/// What a session asks of the bus.
///
/// - `request` sends one message and waits for one answer, at most `patience`.
/// - `events` gives the tenant's events from now on, at most once each, and says when the connection was away: whoever
///   listens fills gaps from the history.
pub trait Bus: Send + Sync {
    /// Asks.
    fn request(&self, subject: String, payload: Bytes, patience: Duration) -> BoxFuture<'_, Result<Bytes, NoAnswer>>;

    /// Listens.
    fn events(&self) -> BoxFuture<'_, Result<BoxStream<'static, News>, NoAnswer>>;
}

/// The bus on NATS.
pub struct NatsBus {
    connection: Connection,
    tenant: TenantId,
}

impl NatsBus {
    /// Connects as a user of this tenant.
    pub async fn connect(url: &str, credentials: &Path, tenant: TenantId) -> Result<Self, Error> {
        let connection = connect::watched(url, credentials, "keylatch").await.map_err(|error| match error {
            connect::Error::Credentials(error) => {
                Error::usage(error, "name the tenant's credentials in the context: keylatch context show")
            }
            error => Error::unreachable(error, "see with `keylatch context show` where the context points"),
        })?;
        Ok(Self { connection, tenant })
    }
}

impl Bus for NatsBus {
    fn request(&self, subject: String, payload: Bytes, patience: Duration) -> BoxFuture<'_, Result<Bytes, NoAnswer>> {
        Box::pin(async move {
            let request = Request::new().payload(payload).timeout(Some(patience));
            match self.connection.client.send_request(subject.clone(), request).await {
                Ok(answer) => Ok(answer.payload),
                Err(error) => Err(match error.kind() {
                    RequestErrorKind::NoResponders => NoAnswer::NobodyListens(subject),
                    RequestErrorKind::TimedOut => NoAnswer::TimedOut(subject),
                    _ => NoAnswer::Other(error.to_string()),
                }),
            }
        })
    }

    fn events(&self) -> BoxFuture<'_, Result<BoxStream<'static, News>, NoAnswer>> {
        Box::pin(async move {
            let other = |error: &dyn std::fmt::Display| NoAnswer::Other(error.to_string());
            let client = &self.connection.client;
            let events = client.subscribe(subject::tenant::EVENTS).await.map_err(|error| other(&error))?;
            // On its way before whatever is asked next: the server takes both in order.
            client.flush().await.map_err(|error| other(&error))?;
            let tenant = self.tenant;
            let arrived =
                events.filter_map(move |message| std::future::ready(log::arrived(tenant, message).map(News::Event)));
            let reconnects = stream::unfold(self.connection.reconnects.clone(), |mut reconnects| async move {
                reconnects.changed().await.ok()?;
                Some((News::Reconnected, reconnects))
            });
            Ok(stream::select(arrived, reconnects).boxed())
        })
    }
}
