//! A KMIP client: TLS connections that are kept, an end to every wait, and another connection when a server was
//! restarted.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use zeroize::Zeroizing;

use crate::Error;
use crate::protocol::{self, ANSWER_BYTES_MAX, Credential, Operation};
use crate::settings::Settings;
use crate::ttlv::{self, HEADER_BYTES, Item};

/// Connections kept for later, at most.
const IDLE_MAX: usize = 8;

pub(crate) struct Client {
    address: String,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    login: Option<(String, Zeroizing<String>)>,
    patience: Duration,
    idle: Mutex<Vec<Connection>>,
    #[cfg(test)]
    pub(crate) faults: Arc<crate::faults::Faults>,
}

type Connection = StreamOwned<ClientConnection, Timed>;

impl Client {
    /// Reads certificates, key and password; connects when first asked.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Error> {
        let login = settings.login.as_ref();
        let login = login.map(|login| Ok::<_, Error>((login.username.clone(), login.password.read()?))).transpose()?;
        Ok(Self {
            address: settings.address.clone(),
            name: settings.name()?,
            tls: settings.tls()?,
            login,
            patience: settings.patience,
            idle: Mutex::default(),
            #[cfg(test)]
            faults: Arc::default(),
        })
    }

    /// Asks, and gives the payload of the answer.
    ///
    /// What only reads or computes is asked again, once, where a kept connection turns out to be gone: the server was
    /// restarted. What makes objects goes over a new connection, so that it is not lost to such a one.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Broken`], [`Error::Garbage`], [`Error::Refused`].
    pub(crate) fn call(&self, operation: Operation, payload: Vec<Item>) -> Result<Item, Error> {
        #[cfg(test)]
        self.faults.before().map_err(|source| self.broken(operation, source))?;
        let answer = self.try_call(operation, payload);
        #[cfg(test)]
        self.faults.after().map_err(|source| self.broken(operation, source))?;
        answer
    }

    fn try_call(&self, operation: Operation, payload: Vec<Item>) -> Result<Item, Error> {
        let credential =
            self.login.as_ref().map(|(username, password)| Credential { username, password: password.as_str() });
        let request = protocol::request(operation, payload, credential.as_ref());
        let request = request.to_bytes().map_err(|malformed| Error::Garbage { operation, what: malformed.0 })?;
        // Taken by itself: the lock is not held while the server is asked.
        let kept = if operation.makes_objects() { None } else { self.idle().pop() };
        let Some(kept) = kept else { return self.exchange(self.connect()?, operation, &request) };
        match self.exchange(kept, operation, &request) {
            Err(Error::Broken { source, .. }) if source.kind() != io::ErrorKind::TimedOut => {
                self.idle().clear();
                if operation.is_repeatable() {
                    return self.exchange(self.connect()?, operation, &request);
                }
                Err(self.broken(operation, source))
            }
            outcome => outcome,
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // Connections are whole whenever they are in here.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self) -> Result<Connection, Error> {
        let unreachable = |source| Error::Unreachable { address: self.address.clone(), source };
        let until = Instant::now() + self.patience;
        let connection = ClientConnection::new(Arc::clone(&self.tls), self.name.clone());
        let connection = connection.map_err(|error| unreachable(io::Error::other(error)))?;
        let tcp = Timed::connect(&self.address, until).map_err(unreachable)?;
        let mut stream = StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(unreachable)?;
        }
        Ok(stream)
    }

    /// One request and its answer. A connection on which that went well, and only such a one, is kept.
    fn exchange(&self, mut connection: Connection, operation: Operation, request: &[u8]) -> Result<Item, Error> {
        connection.sock.until = Instant::now() + self.patience;
        let broken = |source| self.broken(operation, source);
        let garbage = |malformed: ttlv::Malformed| Error::Garbage { operation, what: malformed.0 };
        connection.write_all(request).and_then(|()| connection.flush()).map_err(broken)?;
        let mut header = [0; HEADER_BYTES];
        connection.read_exact(&mut header).map_err(broken)?;
        let length = ttlv::message_bytes(header).map_err(garbage)?;
        if length > ANSWER_BYTES_MAX {
            return Err(Error::Garbage { operation, what: "longer than was asked for" });
        }
        let mut message = Zeroizing::new(vec![0; HEADER_BYTES + length]);
        let (head, body) = message.split_at_mut(HEADER_BYTES);
        head.copy_from_slice(&header);
        connection.read_exact(body).map_err(broken)?;
        let message = Item::from_bytes(&message).map_err(garbage)?;
        let answer = protocol::answer(operation, message);
        if matches!(answer, Ok(_) | Err(Error::Refused { .. })) {
            let mut idle = self.idle();
            if idle.len() < IDLE_MAX {
                idle.push(connection);
            }
        }
        answer
    }

    fn broken(&self, operation: Operation, source: io::Error) -> Error {
        Error::Broken { address: self.address.clone(), operation, source }
    }
}

/// A TCP stream that ends every wait at a point in time, so that a server that sends a byte now and then holds nobody up.
struct Timed {
    tcp: TcpStream,
    until: Instant,
}

impl Timed {
    /// Tries every address that the name has. Looking the name up is the operating system's, and has its own time limit.
    fn connect(address: &str, until: Instant) -> io::Result<Self> {
        let mut last = io::Error::other("the name has no address");
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, remaining(until)?) {
                Ok(tcp) => {
                    tcp.set_nodelay(true)?;
                    return Ok(Self { tcp, until });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn remaining(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp.set_read_timeout(Some(remaining(self.until)?))?;
        self.tcp.read(buffer).map_err(timed_out)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(Some(remaining(self.until)?))?;
        self.tcp.write(buffer).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// A socket's time-out comes as `WouldBlock`.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::Error::from(io::ErrorKind::TimedOut) } else { error }
}
