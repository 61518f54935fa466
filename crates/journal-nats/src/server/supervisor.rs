//! The process that a server runs under, and the thread that reads what it says.
//!
//! A few lines of `sh` start the server and then read our pipe. A word on it is a signal to pass on. When the pipe
//! ends, because we let go of it or because we are gone, however that came about, the server is killed and reaped.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{oneshot, watch};

/// `$0` is a name for lists of processes, `$1` the pid file, `$2` the owner's pid; the rest is the server's command.
/// The shell lets go of standard error, so that its end is the server's end, and outlives a signal that was meant for
/// all of us, so that it can reap.
const SCRIPT: &str = r#"
pids=$1; owner=$2; shift 2
"$@" </dev/null &
server=$!
exec 2>/dev/null
trap '' HUP INT TERM
echo "$server $$ $owner" >"$pids"
while read -r signal; do kill -s "$signal" "$server"; done
kill -s KILL "$server"
wait "$server"
"#;

/// How many lines of the log an error shows.
const LINES_SHOWN: usize = 12;
/// A log longer than this, in bytes, is set aside as `nats.log.1`, in place of the one before.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

const LISTENING: &str = "Listening for client connections on ";
const READY: &str = "Server is ready";

/// A server that runs, or has run.
pub(super) struct Supervisor {
    pipe: Pipe,
    ended: watch::Receiver<Option<Ended>>,
}

/// Our end of the pipe. Dropped, it ends the server.
type Pipe = Arc<Mutex<Option<ChildStdin>>>;

/// How a server ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    /// Its exit status; `None` where that was not learnt.
    pub(super) status: Option<ExitStatus>,
    /// The last lines of its log.
    pub(super) lines: Vec<String>,
}

/// Reads from the first lines of the log the port that the server listens on, once it is ready.
pub(super) type Ready = oneshot::Receiver<u16>;

impl Supervisor {
    /// Starts a server. `hold` is held for as long as it or its supervisor lives.
    pub(super) fn spawn(
        binary: &Path,
        config: &Path,
        pids: &Path,
        log: &Path,
        hold: File,
    ) -> io::Result<(Self, Ready)> {
        let mut command = Command::new("sh");
        // Among them may be a master key.
        let ours = std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"KEYLATCH_"));
        for (name, _) in ours {
            command.env_remove(name);
        }
        let mut child = command
            .args(["-c", SCRIPT, "keylatch-nats"])
            .args([pids.as_os_str(), std::process::id().to_string().as_ref(), binary.as_os_str()])
            .args(["-c".as_ref(), config.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(hold)
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C at a terminal is for us, and we stop the server when we are done with it.
            .process_group(0)
            .spawn()?;
        let pipe: Pipe = Arc::new(Mutex::new(child.stdin.take()));
        let (ended, watch) = watch::channel(None);
        let (ready, port) = oneshot::channel();
        let output = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut reader = Reader { log: Log::open(log)?, lines: VecDeque::new(), listens_on: None, ready: Some(ready) };
        let theirs = Arc::clone(&pipe);
        // A thread of its own, because a pipe that nobody empties would in the end stop the server.
        std::thread::Builder::new().name("nats-server log".to_owned()).spawn(move || {
            reader.read(output);
            let status = reap(child, &theirs);
            ended.send_replace(Some(Ended { status, lines: reader.lines.into() }));
        })?;
        Ok((Self { pipe, ended: watch }, port))
    }

    /// Passes a signal on, such as `TERM`.
    pub(super) fn signal(&self, signal: &str) {
        // A pipe that is broken or gone means a server that has ended.
        if let Some(pipe) = self.pipe.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            let _ = pipe.write_all(format!("{signal}\n").as_bytes());
        }
    }

    /// Waits until the server has ended and was reaped.
    pub(super) async fn ended(&self) -> Ended {
        let mut watch = self.ended.clone();
        let ended = watch.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
        ended.unwrap_or(Ended { status: None, lines: Vec::new() })
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.pipe.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn reap(mut child: Child, pipe: &Pipe) -> Option<ExitStatus> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner).take();
    child.wait().ok()
}

/// Reads the server's log line by line, to the end.
struct Reader {
    log: Log,
    lines: VecDeque<String>,
    listens_on: Option<u16>,
    ready: Option<oneshot::Sender<u16>>,
}

impl Reader {
    fn read(&mut self, output: ChildStderr) {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            self.log.write(&line);
            self.take(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    }

    fn take(&mut self, line: String) {
        if let Some((_, address)) = line.split_once(LISTENING) {
            self.listens_on = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        } else if line.contains(READY)
            && let Some(port) = self.listens_on
            && let Some(ready) = self.ready.take()
        {
            let _ = ready.send(port);
        }
        self.lines.push_back(line);
        if self.lines.len() > LINES_SHOWN {
            self.lines.pop_front();
        }
    }
}

/// The log file. That it can't be written stops nobody: the lines must be taken from the server all the same.
struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Log {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes })
    }

    fn write(&mut self, line: &[u8]) {
        if self.bytes > LOG_BYTES_MAX
            && std::fs::rename(&self.path, self.path.with_extension("log.1")).is_ok()
            && let Ok(fresh) = Self::open(&self.path)
        {
            *self = fresh;
        }
        let _ = self.file.write_all(line);
        self.bytes = self.bytes.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
    }
}
