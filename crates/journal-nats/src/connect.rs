//! Connecting to the bus.
//!
//! Every connection goes through a [relay], so that no message of somebody else's can end it. Connections that only ask
//! go through it too: whoever is asked learns the inbox, and the server delivers answers, such as a stored message, to
//! whatever reply subject it is given.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, RequestError, RequestErrorKind, ServerAddr,
    ServerError,
};

use crate::credentials::{self, Credentials};
use crate::relay::{self, Relay};

/// How often the server is asked whether it is still there. After two that go unanswered the connection is made anew.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long it takes to try again at first; each time twice as long.
const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(50);
/// How long it takes to try again at most.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(4);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The credentials can't be used.
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    /// The server refused the credentials.
    #[error(
        "the server at {url} refused the user {user} of account {account}: it does not know the account, or no longer \
         takes what signed the user; provision the account again or have new credentials issued"
    )]
    Refused {
        /// The server.
        url: String,
        /// The user's public key.
        user: String,
        /// The account's public key.
        account: String,
    },
    /// Nobody answers there.
    #[error("there is no NATS server at {url}: see that it runs, and that the address is right ({source})")]
    Unreachable {
        /// Where.
        url: String,
        /// What the client says.
        source: ConnectError,
    },
    /// The peer does not speak as a NATS server must.
    #[error("can't connect to {url}: {source}")]
    Other {
        /// Where.
        url: String,
        /// What the client says.
        source: ConnectError,
    },
    /// There is no port on 127.0.0.1 for the relay between client and server.
    #[error("no port on 127.0.0.1 to connect through: {0}")]
    NoRelay(io::Error),
}

/// A connection, and word of each time it was lost and made anew.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// Counts the times that it was connected.
    pub reconnects: watch::Receiver<u64>,
}

/// Connects with a credentials file, which must be its owner's alone. See [`watched_as`].
pub async fn connect(url: &str, credentials: &Path, name: &str) -> Result<Client, Error> {
    Ok(watched(url, credentials, name).await?.client)
}

/// Connects. See [`watched_as`].
pub async fn connect_as(url: &str, credentials: &Credentials, name: &str) -> Result<Client, Error> {
    Ok(watched_as(url, credentials, name).await?.client)
}

/// Connects like [`connect`], for callers that must know when something may have been missed.
pub async fn watched(url: &str, credentials: &Path, name: &str) -> Result<Connection, Error> {
    watched_as(url, &Credentials::load(credentials)?, name).await
}

/// Connects, through a [relay] that lives as long as the client. A connection that is lost is made anew,
/// for as long as the client lives; `name` is what the server shows people.
///
/// The first connection is not retried: a wrong address should show at the start.
///
/// With TLS there is no relay: then a message that the client does not read ends the connection, and it is made anew.
pub async fn watched_as(url: &str, credentials: &Credentials, name: &str) -> Result<Connection, Error> {
    let failed = |source| Error::from_connect(url, credentials, source);
    let relay = open_relay(url, name).await.map_err(|error| match error {
        NoRelay::Port(error) => Error::NoRelay(error),
        NoRelay::Server(source) => failed(source),
    })?;
    let mut options = options(credentials, name)?;
    let mut address = url.to_owned();
    if let Some(relay) = &relay {
        // Nothing may lead past the relay, which finds the cluster's other servers by itself.
        options = options.ignore_discovered_servers().connection_timeout(relay::CLIENT_PATIENCE);
        address = relay.url();
    }
    let (connected, mut reconnects) = watch::channel(0);
    let shown = name.to_owned();
    let options = options.event_callback(move |event| {
        // The client lets go of this when it ends, and so of the relay.
        let _kept = &relay;
        report(&shown, &event);
        if matches!(event, Event::Connected) {
            connected.send_modify(|count| *count += 1);
        }
        std::future::ready(())
    });
    let client = options.connect(address).await.map_err(failed)?;
    // Word of the first comes by another task, and is none of a loss.
    let _ = reconnects.wait_for(|count| *count > 0).await;
    Ok(Connection { client, reconnects })
}

enum NoRelay {
    Port(io::Error),
    Server(ConnectError),
}

/// The relay to a server. `None` where the connection is encrypted.
async fn open_relay(url: &str, name: &str) -> Result<Option<Relay>, NoRelay> {
    let server = |kind, error: io::Error| NoRelay::Server(ConnectError::with_source(kind, error));
    let address: ServerAddr = url.parse().map_err(|error| server(ConnectErrorKind::ServerParse, error))?;
    match Relay::open(&address).await {
        Ok(relay) => Ok(Some(relay)),
        Err(relay::Error::Encrypted) => {
            tracing::warn!(
                name,
                "with TLS there is no relay before the bus: a message with headers that do not read ends the connection"
            );
            Ok(None)
        }
        Err(relay::Error::Unreachable(error)) => Err(server(ConnectErrorKind::Io, error)),
        Err(relay::Error::Listen(error)) => Err(NoRelay::Port(error)),
    }
}

/// Returns once the server has taken all that a client of the platform's account has said so far. (A flush is over when
/// the client has written it, to the relay.)
pub async fn round_trip(client: &Client) -> Result<(), RequestError> {
    match client.request("$JS.API.INFO", "".into()).await {
        Err(error) if error.kind() != RequestErrorKind::NoResponders => Err(error),
        // "Nobody answers" is an answer of the server's, too.
        _ => Ok(()),
    }
}

/// The options that [`connect_as`] connects with, for callers that add some.
pub fn options(credentials: &Credentials, name: &str) -> Result<ConnectOptions, credentials::Error> {
    let options = ConnectOptions::with_credentials(&credentials.to_text())
        .map_err(|_| credentials::Error::Malformed("the client does not read them"))?;
    let shown = name.to_owned();
    Ok(options
        .name(name)
        .custom_inbox_prefix(credentials.inbox_prefix())
        .ping_interval(PING_INTERVAL)
        .max_reconnects(None)
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(move |event| {
            report(&shown, &event);
            std::future::ready(())
        }))
}

impl Error {
    fn from_connect(url: &str, credentials: &Credentials, source: ConnectError) -> Self {
        let url = url.to_owned();
        match source.kind() {
            ConnectErrorKind::AuthorizationViolation => {
                Self::Refused { url, user: credentials.user().to_owned(), account: credentials.account().to_owned() }
            }
            ConnectErrorKind::Io | ConnectErrorKind::Dns | ConnectErrorKind::TimedOut => {
                Self::Unreachable { url, source }
            }
            _ => Self::Other { url, source },
        }
    }
}

fn reconnect_delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    RECONNECT_DELAY_MIN.saturating_mul(2_u32.saturating_pow(doublings)).min(RECONNECT_DELAY_MAX)
}

fn report(name: &str, event: &Event) {
    match event {
        Event::Connected | Event::Draining | Event::Closed => tracing::debug!(name, %event, "bus connection"),
        Event::ServerError(ServerError::Other(error)) => tracing::warn!(name, error, "the bus refused something"),
        _ => tracing::warn!(name, %event, "bus connection"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnects_at_once_and_then_less_and_less_often() {
        assert_eq!(reconnect_delay(0), Duration::from_millis(50));
        assert_eq!(reconnect_delay(1), Duration::from_millis(50));
        assert_eq!(reconnect_delay(3), Duration::from_millis(200));
        assert_eq!(reconnect_delay(7), Duration::from_millis(3200));
        assert_eq!(reconnect_delay(usize::MAX), RECONNECT_DELAY_MAX);
    }
}
