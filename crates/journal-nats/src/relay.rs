//! A relay between the client and the server, in this process: it drops server messages that would crash the client's
//! parser.
//!
//! # Why
//!
//! async-nats takes a header block that it can't parse (no version line, a line without a colon, bytes that are not UTF-8
//! …), and some subjects, for a broken connection, and drops the connection. The server passes such messages on. So a
//! sender could cut a service off the bus, again and again; and one such message in a log would cut off everybody who
//! reads the log, for ever.
//!
//! # What
//!
//! The relay listens on 127.0.0.1, and the client connects to it in place of the server. The client's bytes are passed on
//! as they are. The server's are passed on byte for byte, but for two kinds of message: one whose header block is not
//! [plain](crate::header) loses its headers, and one whose subject or reply subject is not of visible ASCII is left out.
//!
//! The relay has no part in authentication: the client signs the server's nonce as before, and a stranger at the relay's
//! port gets as far as at the server's. A connection that ends on one side is ended on the other, so the client
//! reconnects as it would without the relay. The relay learns the addresses of a cluster's other servers, and goes to
//! those if the first is away (the client is told not to).
//!
//! # Where it ends
//!
//! The relay can't read TLS, so an encrypted connection has none: [`Error::Encrypted`]. TLS between hosts should end in
//! front of the service (a sidecar, a tunnel); else the problem above remains.
//!
//! # What it costs
//!
//! The relay costs one more copy in each direction, within the process. On a server that does not wait for the disk,
//! JetStream publishes, 256 under way at a time, take 1.0 to 1.1 times as long as without, and reads of a log 1.0 to 1.1
//! times (three runs of `cargo test -p journal-nats --release --test it -- --ignored relay_costs --nocapture`).

mod filter;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::ServerAddr;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use self::filter::{Filter, LINE_BYTES_MAX};

/// How much is read at once.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long a server has to take a connection and say who it is.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// How long it takes at most to reach one of several addresses. The client waits longer than this
/// ([`CLIENT_PATIENCE`]).
const REACH_PATIENCE: Duration = Duration::from_secs(12);
/// How long the client waits for a connection through the relay.
pub(crate) const CLIENT_PATIENCE: Duration = Duration::from_secs(15);
/// How long one side has to end its part of the connection after the other has.
const LINGER: Duration = Duration::from_secs(2);
/// How many connections there are at most. The client has one; the server ends those that do not say who they are.
const CONNECTIONS_MAX: usize = 64;
/// How many servers of a cluster are remembered.
const SERVERS_MAX: usize = 32;

const _: () = assert!(REACH_PATIENCE.as_secs() < CLIENT_PATIENCE.as_secs());

/// Why there is no relay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server, or its address, wants TLS.
    #[error("the connection is encrypted between client and server")]
    Encrypted,
    /// The server can't be reached.
    #[error(transparent)]
    Unreachable(io::Error),
    /// There is no port on 127.0.0.1 to be had.
    #[error("no port to listen on: {0}")]
    Listen(io::Error),
}

/// A relay. It takes no new connections once this is dropped; those that there are end when the client or the server
/// ends them.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    _open: oneshot::Sender<()>,
}

impl Relay {
    /// Sees that the server is there and speaks without TLS, and listens.
    pub async fn open(server: &ServerAddr) -> Result<Self, Error> {
        if server.scheme() != "nats" {
            return Err(Error::Encrypted);
        }
        let servers = Arc::new(Servers::new(server));
        drop(servers.reach().await?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(Error::Listen)?;
        let address = listener.local_addr().map_err(Error::Listen)?;
        let (open, closed) = oneshot::channel();
        tokio::spawn(serve(listener, servers, closed));
        Ok(Self { address, _open: open })
    }

    /// Where the client connects to.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }
}

async fn serve(listener: TcpListener, servers: Arc<Servers>, mut closed: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut closed => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((client, _)) => {
                    connections.spawn(relay(client, servers.clone()));
                }
                Err(error) => {
                    warn!(%error, "the relay to the bus takes no connection");
                    tokio::time::sleep(LINGER).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection of the client's. If no server can be reached, the client is let go, and tries again as it sees
/// fit.
async fn relay(client: TcpStream, servers: Arc<Servers>) {
    let reached = match servers.reach().await {
        Ok(reached) => reached,
        Err(Error::Encrypted) => {
            return warn!("the server wants TLS since we started; start again to connect without relay");
        }
        Err(error) => return debug!(%error, "the relay reaches no server"),
    };
    if let Err(error) = copy(client, reached).await {
        debug!(%error, "a connection through the relay ended");
    }
}

/// A server that was reached, and what it has said so far: who it is.
struct Reached {
    stream: TcpStream,
    said: Vec<u8>,
}

/// Who ended a connection.
enum Ended {
    Client,
    Server(io::Result<()>),
}

async fn copy(mut client: TcpStream, reached: Reached) -> io::Result<()> {
    let Reached { stream: mut server, said } = reached;
    client.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let ended = {
        let mut down = std::pin::pin!(down(&mut from_server, &mut to_client, said));
        let up = std::pin::pin!(up(&mut from_client, &mut to_server));
        tokio::select! {
            ended = &mut down => Ended::Server(ended),
            ended = up => match ended {
                Ok(()) => Ended::Client,
                // The server takes nothing more. Its last words, such as why, are still to be had.
                Err(error) => Ended::Server(tokio::time::timeout(LINGER, down).await.unwrap_or(Err(error))),
            },
        }
    };
    // Bytes that the other side has sent meanwhile are read, not left: else bytes that it has not read yet could be lost.
    match ended {
        Ended::Client => {
            to_server.shutdown().await?;
            discard(&mut from_server).await
        }
        Ended::Server(result) => {
            to_client.shutdown().await?;
            discard(&mut from_client).await?;
            result
        }
    }
}

/// Passes on the client's bytes as they are.
async fn up(client: &mut ReadHalf<'_>, server: &mut WriteHalf<'_>) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    // A client that is gone has ended, however it went.
    while client.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
        server.write_all(&buffer).await?;
        buffer.clear();
    }
    Ok(())
}

/// Passes on the server's bytes through the filter. All that has come is sent on at once.
async fn down(server: &mut ReadHalf<'_>, client: &mut WriteHalf<'_>, said: Vec<u8>) -> io::Result<()> {
    let (mut filter, mut input, mut output) = (Filter::default(), said, Vec::with_capacity(BUFFER_BYTES));
    input.reserve(BUFFER_BYTES);
    loop {
        let before = (filter.stripped, filter.left_out);
        filter.push(&input, &mut output).map_err(|broken| {
            warn!(%broken, "the relay does not understand the server");
            io::Error::new(io::ErrorKind::InvalidData, broken)
        })?;
        report(before, &filter);
        client.write_all(&output).await?;
        input.clear();
        output.clear();
        if server.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// Says that something came that does not read: each time twice as many have come, as whoever sends these may go on.
fn report((stripped, left_out): (u64, u64), now: &Filter) {
    if now.stripped.checked_ilog2() != stripped.checked_ilog2() {
        warn!(so_far = now.stripped, "a message's header block does not read; it counts as no headers");
    }
    if now.left_out.checked_ilog2() != left_out.checked_ilog2() {
        warn!(so_far = now.left_out, "a message's subject or reply subject does not read; it is left out");
    }
}

async fn discard(from: &mut ReadHalf<'_>) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(4096);
    let all = async {
        while from.read_buf(&mut buffer).await? > 0 {
            buffer.clear();
        }
        Ok(())
    };
    tokio::time::timeout(LINGER, all).await.unwrap_or(Ok(()))
}

/// Where servers are: the one that was named, and those of its cluster that the last one reached has named.
struct Servers {
    named: (String, u16),
    cluster: Mutex<Vec<String>>,
}

/// The members of the server's `INFO` that are read.
#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    tls_required: bool,
    #[serde(default)]
    connect_urls: Option<Vec<String>>,
}

impl Servers {
    fn new(server: &ServerAddr) -> Self {
        Self { named: (server.host().to_owned(), server.port()), cluster: Mutex::default() }
    }

    /// Connects to the first server that answers.
    async fn reach(&self) -> Result<Reached, Error> {
        let late = || Error::Unreachable(io::ErrorKind::TimedOut.into());
        tokio::time::timeout(REACH_PATIENCE, self.try_all()).await.map_err(|_| late())?
    }

    async fn try_all(&self) -> Result<Reached, Error> {
        let (host, port) = &self.named;
        let first = match tokio::net::lookup_host((host.as_str(), *port)).await {
            Ok(addresses) => self.try_each(addresses).await,
            Err(error) => Err(Error::Unreachable(error)),
        };
        let cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if matches!(first, Ok(_) | Err(Error::Encrypted)) {
            return first;
        }
        for server in cluster {
            let Ok(addresses) = tokio::net::lookup_host(&server).await else { continue };
            if let Ok(reached) = self.try_each(addresses).await {
                return Ok(reached);
            }
        }
        first
    }

    async fn try_each(&self, addresses: impl Iterator<Item = SocketAddr>) -> Result<Reached, Error> {
        let mut outcome = Err(Error::Unreachable(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
        for address in addresses {
            let tried = tokio::time::timeout(CONNECT_PATIENCE, self.try_one(address)).await;
            outcome = tried.unwrap_or_else(|_| Err(Error::Unreachable(io::ErrorKind::TimedOut.into())));
            if matches!(outcome, Ok(_) | Err(Error::Encrypted)) {
                break;
            }
        }
        outcome
    }

    async fn try_one(&self, address: SocketAddr) -> Result<Reached, Error> {
        let mut stream = TcpStream::connect(address).await.map_err(Error::Unreachable)?;
        stream.set_nodelay(true).map_err(Error::Unreachable)?;
        let (said, info) = hear(&mut stream).await.map_err(Error::Unreachable)?;
        if info.tls_required {
            return Err(Error::Encrypted);
        }
        let mut servers = info.connect_urls.unwrap_or_default();
        servers.truncate(SERVERS_MAX);
        *self.cluster.lock().unwrap_or_else(PoisonError::into_inner) = servers;
        Ok(Reached { stream, said })
    }
}

/// Hears out the server's first line: who it is.
async fn hear(stream: &mut TcpStream) -> io::Result<(Vec<u8>, Info)> {
    let strange = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut said = Vec::with_capacity(4096);
    while !said.contains(&b'\n') {
        if said.len() > LINE_BYTES_MAX || stream.read_buf(&mut said).await? == 0 {
            return Err(strange("what answers does not say what it is"));
        }
    }
    let line = said.split(|byte| *byte == b'\n').next().and_then(|line| line.strip_prefix(b"INFO "));
    let info = line.and_then(|line| serde_json::from_slice(line).ok());
    let info = info.ok_or_else(|| strange("what answers is no NATS server"))?;
    Ok((said, info))
}
