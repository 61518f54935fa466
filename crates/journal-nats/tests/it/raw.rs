//! Both ends of the wire, byte by byte: a client that says what no library would, and a server that does.

use data_encoding::BASE64URL_NOPAD;
use journal_nats::Credentials;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};

/// A client.
pub(crate) struct Raw(BufStream<TcpStream>);

impl Raw {
    pub(crate) async fn connect(url: &str, credentials: &Credentials) -> Self {
        let stream = TcpStream::connect(url.strip_prefix("nats://").unwrap()).await.unwrap();
        let mut raw = Self(BufStream::new(stream));
        let info: Value = serde_json::from_str(raw.line().await.strip_prefix("INFO ").unwrap()).unwrap();
        let text = credentials.to_text();
        let secret = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
        let key = KeyPair::from_seed(&secret("SU")).unwrap();
        let sig = BASE64URL_NOPAD.encode(&key.sign(info["nonce"].as_str().unwrap().as_bytes()).unwrap());
        let connect = json!({ "jwt": secret("ey"), "sig": sig, "headers": true, "verbose": false, "pedantic": false });
        raw.say(format!("CONNECT {connect}\r\n").as_bytes()).await;
        raw.flush().await;
        raw
    }

    pub(crate) async fn publish(&mut self, subject: &[u8], block: &[u8], payload: &str) {
        self.say(b"HPUB ").await;
        self.say(subject).await;
        self.say(format!(" {} {}\r\n", block.len(), block.len() + payload.len()).as_bytes()).await;
        self.say(block).await;
        self.say(format!("{payload}\r\n").as_bytes()).await;
    }

    /// Returns once the server has taken all of it. Panics where it refused any.
    pub(crate) async fn flush(&mut self) {
        self.say(b"PING\r\n").await;
        self.0.flush().await.unwrap();
        loop {
            match self.line().await.trim_end() {
                "PONG" => return,
                "PING" => {}
                other => assert!(other.starts_with("INFO"), "{other}"),
            }
        }
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.0.read_line(&mut line).await.unwrap(), 0, "the server has ended the connection");
        line
    }
}

/// A server that takes one connection at a time, and believes everybody.
pub(crate) struct Fake {
    listener: TcpListener,
    info: Value,
}

impl Fake {
    pub(crate) async fn start(info: Value) -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), info }
    }

    pub(crate) fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// Takes a connection and says who it is.
    pub(crate) async fn accept(&self) -> BufStream<TcpStream> {
        let mut stream = BufStream::new(self.listener.accept().await.unwrap().0);
        stream.write_all(format!("INFO {}\r\n", self.info).as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        stream
    }
}

/// Answers the client's pings until it has said a line that starts like this, which is given; nothing where it ended
/// before.
pub(crate) async fn heard(client: &mut BufStream<TcpStream>, start: &str) -> Option<String> {
    loop {
        let mut line = String::new();
        if client.read_line(&mut line).await.unwrap_or(0) == 0 {
            return None;
        }
        if line.starts_with("PING") {
            client.write_all(b"PONG\r\n").await.unwrap();
            client.flush().await.unwrap();
        }
        if line.starts_with(start) {
            return Some(line);
        }
    }
}

/// Reads whatever still comes, up to the end.
pub(crate) async fn to_the_end(client: &mut BufStream<TcpStream>) {
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await;
}
