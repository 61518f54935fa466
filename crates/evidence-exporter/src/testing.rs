//! A witness and a time-stamping authority on this machine, for tests: the one does what C2SP tlog-witness says, refusals
//! included; the other is OpenSSL.
#![expect(clippy::expect_used, clippy::panic, reason = "what can't be set up is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use ed25519_dalek::SigningKey;
use journal::merkle::{self, Hash};
use journal::note::{Kind, Note, NoteKey};
use model::text::Base64;
use service::lock;

/// What an HTTP request is answered with: status, content type, body.
pub type Reply = (u16, &'static str, Vec<u8>);

/// Serves HTTP on a port of its own until the process ends. One request a connection, one at a time.
fn serve(mut answer: impl FnMut(&str, &[u8]) -> Reply + Send + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever asks may hang up.
            let _ = serve_one(&stream, &mut answer);
        }
    });
    format!("http://{address}")
}

fn serve_one(mut stream: &TcpStream, answer: &mut impl FnMut(&str, &[u8]) -> Reply) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut path, mut length) = (String::new(), String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or_default();
        }
        if let Some(rest) = line.strip_prefix("POST ") {
            path = rest.split(' ').next().unwrap_or_default().to_owned();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, content_type, body) = answer(&path, &body);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} So\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

// === A witness ===

/// A witness. Logs must be made known to it.
pub struct Witness {
    /// Where it is asked.
    pub url: String,
    inside: Arc<Mutex<Inside>>,
}

struct Inside {
    name: String,
    key: SigningKey,
    /// The keys of the logs that it knows, by origin.
    logs: BTreeMap<String, Vec<NoteKey>>,
    /// What it cosigned last, by origin: size and root. In a file as well, before it is spoken of.
    stands: BTreeMap<String, (u64, Hash)>,
    file: PathBuf,
    /// What it answers whatever it is asked.
    instead: Option<(u16, String)>,
    /// What it was asked and how it answered, in order.
    asked: Vec<(String, u16)>,
    time: u64,
    _dir: tempfile::TempDir,
}

impl Witness {
    /// Starts one under a name; its key is made from that.
    pub fn start(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let inside = Arc::new(Mutex::new(Inside {
            name: name.to_owned(),
            key: SigningKey::from_bytes(model::Digest::of(name.as_bytes()).as_bytes()),
            logs: BTreeMap::new(),
            stands: BTreeMap::new(),
            file: dir.path().join("stands"),
            instead: None,
            asked: Vec::new(),
            time: 1_795_451_400,
            _dir: dir,
        }));
        let (held, url) = (inside.clone(), "/add-checkpoint");
        let answer = move |path: &str, body: &[u8]| match path == url {
            true => lock(&held).answer(&String::from_utf8_lossy(body)),
            false => (404, "text/plain", b"no such path".to_vec()),
        };
        Self { url: serve(answer), inside }
    }

    /// The key that it cosigns with.
    pub fn vkey(&self) -> NoteKey {
        let inside = lock(&self.inside);
        NoteKey::new(&inside.name, Kind::Cosignature, inside.key.verifying_key()).expect("a name")
    }

    /// Makes a log known to it.
    pub fn know(&self, key: NoteKey) {
        lock(&self.inside).logs.entry(key.name().to_owned()).or_default().push(key);
    }

    /// Has it answer this whatever it is asked, or what is right again.
    pub fn answer_instead(&self, instead: Option<(u16, &str)>) {
        lock(&self.inside).instead = instead.map(|(status, body)| (status, body.to_owned()));
    }

    /// Has it believe that it cosigned this.
    pub fn believe(&self, origin: &str, size: u64, root: Hash) {
        lock(&self.inside).stands.insert(origin.to_owned(), (size, root));
    }

    /// What it cosigned last.
    pub fn stands_at(&self, origin: &str) -> Option<u64> {
        lock(&self.inside).stands.get(origin).map(|(size, _)| *size)
    }

    /// The first line of every question so far, with the status of its answer.
    pub fn asked(&self) -> Vec<(String, u16)> {
        lock(&self.inside).asked.clone()
    }

    /// Asks it as HTTP would.
    pub fn ask(&self, question: &str) -> Reply {
        lock(&self.inside).answer(question)
    }
}

impl Inside {
    /// Checked, persisted and answered under one lock.
    fn answer(&mut self, question: &str) -> Reply {
        let reply = match self.instead.clone() {
            Some((status, body)) => (status, "text/plain", body.into_bytes()),
            None => self.add_checkpoint(question).unwrap_or_else(|reply| reply),
        };
        self.asked.push((question.lines().next().unwrap_or_default().to_owned(), reply.0));
        reply
    }

    fn add_checkpoint(&mut self, question: &str) -> Result<Reply, Reply> {
        let refuse = |status: u16, why: &str| (status, "text/plain", why.as_bytes().to_vec());
        let (old, proof, note) = read(question).ok_or_else(|| refuse(400, "that does not read"))?;
        let checkpoint = note.checkpoint().map_err(|error| refuse(400, &error.to_string()))?;
        let keys = self.logs.get(&checkpoint.origin).ok_or_else(|| refuse(404, "unknown log"))?;
        if !note.verify(keys).is_ok_and(|verified| !verified.is_empty()) {
            return Err(refuse(403, "not signed by its log"));
        }
        if old > checkpoint.size {
            return Err(refuse(400, "the old size is above the new one"));
        }
        let (size, root) = self.stands.get(&checkpoint.origin).copied().unwrap_or_default();
        let conflict = (409, "text/x.tlog.size", format!("{size}\n").into_bytes());
        if old != size || (old == checkpoint.size && old > 0 && root != checkpoint.root) {
            return Err(conflict);
        }
        let holds = match old {
            0 => proof.is_empty(),
            _ => merkle::continues(old, &root, checkpoint.size, &checkpoint.root, &proof),
        };
        if !holds {
            return Err(refuse(422, "the proof does not hold"));
        }
        self.stands.insert(checkpoint.origin, (checkpoint.size, checkpoint.root));
        self.persist().map_err(|error| refuse(500, &error.to_string()))?;
        self.time += 1;
        let line = note.cosignature(&self.name, self.time, &self.key).to_string();
        Ok((200, "text/plain", line.into_bytes()))
    }

    fn persist(&self) -> io::Result<()> {
        let lines =
            self.stands.iter().map(|(origin, (size, root))| format!("{origin} {size} {}\n", Base64(root.to_vec())));
        let new = self.file.with_extension("new");
        fs::write(&new, lines.collect::<String>())?;
        fs::File::open(&new)?.sync_all()?;
        fs::rename(&new, &self.file)
    }
}

/// The old size, the proof and the checkpoint of a question.
fn read(question: &str) -> Option<(u64, Vec<Hash>, Note)> {
    let (head, note) = question.split_once("\n\n")?;
    let mut lines = head.split('\n');
    let old = lines.next()?.strip_prefix("old ")?;
    let old = old.parse::<u64>().ok().filter(|number| number.to_string() == old)?;
    let hash = |line: &str| line.parse::<Base64>().ok()?.0.try_into().ok();
    let proof: Vec<Hash> = lines.map(hash).collect::<Option<_>>()?;
    (proof.len() <= journal::witness::PROOF_MAX).then_some(())?;
    Some((old, proof, Note::parse(note).ok()?))
}

// === A time-stamping authority ===

/// An authority of OpenSSL's.
pub struct Authority {
    /// Where it is asked.
    pub url: String,
    dir: Arc<tempfile::TempDir>,
}

const CONFIGURATION: &str = "\
[req]
distinguished_name = dn
x509_extensions = tsa
prompt = no
[dn]
CN = a test authority
[tsa]
extendedKeyUsage = critical,timeStamping
[ts]
default_tsa = now
[now]
serial = serial
signer_cert = tsa.pem
certs = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
";

impl Authority {
    /// Makes its key and certificate, and starts it.
    pub fn start() -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a folder"));
        fs::write(dir.path().join("tsa.cnf"), CONFIGURATION).expect("a file");
        fs::write(dir.path().join("serial"), "01\n").expect("a file");
        let authority = Self { url: String::new(), dir: dir.clone() };
        assert!(authority.openssl(
            "req -x509 -config tsa.cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout tsa.key \
             -out tsa.pem",
        ));
        let stamping = Self { url: String::new(), dir };
        let answer = move |_: &str, question: &[u8]| (200, "application/timestamp-reply", stamping.stamp(question));
        Self { url: serve(answer), ..authority }
    }

    /// The answer to a question.
    pub fn stamp(&self, question: &[u8]) -> Vec<u8> {
        fs::write(self.dir.path().join("question"), question).expect("a file");
        assert!(self.openssl("ts -reply -config tsa.cnf -section now -queryfile question -out answer"));
        fs::read(self.dir.path().join("answer")).expect("an answer")
    }

    /// Whether `openssl ts -verify` takes an answer for this text.
    pub fn verifies(&self, text: &str, answer: &[u8]) -> bool {
        fs::write(self.dir.path().join("text"), text).expect("a file");
        fs::write(self.dir.path().join("stamp"), answer).expect("a file");
        self.openssl("ts -verify -data text -in stamp -CAfile tsa.pem")
    }

    fn openssl(&self, arguments: &str) -> bool {
        let run = Command::new("openssl").current_dir(self.dir.path()).args(arguments.split_whitespace()).output();
        let output = run.unwrap_or_else(|error| panic!("openssl does not run: {error}; install it"));
        output.status.success()
    }
}

#[cfg(test)]
mod tests {
    use journal::merkle::Frontier;
    use journal::note::Checkpoint;

    use super::*;

    fn log_key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn checkpoint(size: u8) -> Note {
        let mut tree = Frontier::default();
        (0..size).for_each(|number| tree.push(&merkle::leaf(&[number])));
        let checkpoint = Checkpoint { origin: "log.example".into(), size: size.into(), root: tree.root() };
        Note::parse(&checkpoint.sign(&log_key())).unwrap()
    }

    fn proof(from: usize, to: usize) -> Vec<Hash> {
        let leaves: Vec<Hash> = (0..to as u8).map(|number| merkle::leaf(&[number])).collect();
        let hash = |subtree: merkle::Subtree| {
            let begin = (subtree.index as usize) << subtree.height;
            let mut tree = Frontier::default();
            leaves[begin..begin + (1 << subtree.height)].iter().for_each(|leaf| tree.push(leaf));
            Ok::<_, ()>(tree.root())
        };
        merkle::consistency(from as u64, to as u64, hash).unwrap()
    }

    /// The refusals in the order of the specification, and that a refusal changes nothing.
    #[test]
    fn the_witness_does_what_the_specification_says() {
        let witness = Witness::start("witness.example/w1");
        let ask = |old: u64, proof: &[Hash], note: &Note| {
            let (status, _, body) = witness.ask(&journal::witness::add_checkpoint(old, proof, note));
            (status, String::from_utf8(body).unwrap())
        };
        assert_eq!(ask(0, &[], &checkpoint(3)).0, 404);
        witness.know(
            NoteKey::new("log.example", Kind::Ed25519, SigningKey::from_bytes(&[8; 32]).verifying_key()).unwrap(),
        );
        assert_eq!(ask(0, &[], &checkpoint(3)).0, 403);
        witness.know(NoteKey::new("log.example", Kind::Ed25519, log_key().verifying_key()).unwrap());
        assert_eq!(ask(4, &[], &checkpoint(3)).0, 400);
        assert_eq!(ask(1, &proof(1, 3), &checkpoint(3)), (409, "0\n".into()));
        assert_eq!(ask(0, &proof(1, 3), &checkpoint(3)).0, 422);
        let (status, lines) = ask(0, &[], &checkpoint(3));
        assert_eq!(status, 200);
        assert!(journal::witness::cosignatures(&checkpoint(3), &lines, &witness.vkey()).is_ok());
        assert_eq!(ask(0, &[], &checkpoint(5)), (409, "3\n".into()));
        assert_eq!(ask(3, &proof(2, 5), &checkpoint(5)).0, 422);
        assert_eq!(ask(3, &proof(3, 5), &checkpoint(5)).0, 200);
        assert_eq!(ask(5, &[], &checkpoint(5)).0, 200, "the same again");
        witness.believe("log.example", 5, [1; 32]);
        assert_eq!(ask(5, &[], &checkpoint(5)), (409, "5\n".into()));
        assert_eq!(witness.ask("old 5\n").0, 400);
        assert_eq!(witness.ask(&format!("old 05\n\n{}", checkpoint(6))).0, 400);
    }
}
