//! The hold on a server's directory: one server at a time, and what to do about one that an earlier run left behind.
//!
//! The hold is a lock on a file. The supervisor and the server inherit it (it is their standard output, to which
//! neither writes), so it is free exactly when both have ended, whoever started them.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Error;

/// How long a server that was told to end may take, before it is told more firmly or given up on.
const END_TIME_MAX: Duration = Duration::from_secs(10);

/// Who holds a directory.
enum Holder {
    /// A process that is alive and runs its server there.
    Owner(u32),
    /// A server whose owner has gone.
    Orphan(u32),
    /// It can't be told; mostly somebody who is just ending.
    Unknown,
}

/// Takes the hold on a directory. A server that was left behind is ended; one that somebody runs is an error.
pub(super) async fn take(dir: &Path, config: &Path) -> Result<File, Error> {
    let lock = dir.join("lock");
    match open(&lock)?.try_lock_owned() {
        Ok(hold) => return Ok(hold),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(source)) => return Err(Error::io("lock", &lock)(source)),
    }
    for signal in ["TERM", "KILL"] {
        match holder(dir, config) {
            Holder::Owner(owner) if owner != std::process::id() => return Err(Error::InUse { dir: dir.into(), owner }),
            Holder::Orphan(server) => {
                tracing::warn!(server, signal, "ending a nats-server that an earlier run left behind");
                end(server, signal);
            }
            Holder::Owner(_) | Holder::Unknown => {}
        }
        if let Some(hold) = wait(open(&lock)?).await {
            return Ok(hold);
        }
    }
    Err(Error::Held { lock })
}

trait TryLockOwned: Sized {
    fn try_lock_owned(self) -> Result<Self, TryLockError>;
}

impl TryLockOwned for File {
    fn try_lock_owned(self) -> Result<Self, TryLockError> {
        self.try_lock().map(|()| self)
    }
}

fn open(lock: &Path) -> Result<File, Error> {
    OpenOptions::new().create(true).truncate(false).write(true).open(lock).map_err(Error::io("open", lock))
}

/// Waits until the hold is free, and takes it; `None` where it takes too long.
async fn wait(file: File) -> Option<File> {
    let (taken, hold) = oneshot::channel();
    // A thread of its own: the runtime would wait for a blocking task when it ends. If nobody waits any more, the
    // file that the thread gets is dropped, and the hold with it.
    std::thread::spawn(move || {
        if file.lock().is_ok() {
            let _ = taken.send(file);
        }
    });
    tokio::time::timeout(END_TIME_MAX, hold).await.ok()?.ok()
}

/// Asks the pid file and the system who runs the server. The answer is unknown unless it is certain: a pid may by now be
/// somebody else's, so the server must show our configuration, and the supervisor its owner, on their command lines.
fn holder(dir: &Path, config: &Path) -> Holder {
    let pids = std::fs::read_to_string(pid_file(dir)).unwrap_or_default();
    let mut pids = pids.split_ascii_whitespace().map(|pid| pid.parse::<u32>().ok());
    let (Some(Some(server)), Some(Some(supervisor)), Some(Some(owner))) = (pids.next(), pids.next(), pids.next())
    else {
        return Holder::Unknown;
    };
    let config = config.as_os_str().as_encoded_bytes();
    let ours = |pid| command_line(pid).is_some_and(|words| words.iter().any(|word| word == config));
    if ours(supervisor) && parent(supervisor) == Some(owner) {
        return Holder::Owner(owner);
    }
    if ours(server) { Holder::Orphan(server) } else { Holder::Unknown }
}

/// Where the supervisor writes the pids of server, supervisor and owner.
pub(super) fn pid_file(dir: &Path) -> PathBuf {
    dir.join("nats.pid")
}

fn command_line(pid: u32) -> Option<Vec<Vec<u8>>> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(line.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect())
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second member is the program's name in brackets, which may itself hold blanks and brackets.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn end(pid: u32, signal: &str) {
    if let Err(error) = std::process::Command::new("kill").args(["-s", signal, &pid.to_string()]).status() {
        tracing::warn!(%error, "can't run `kill`");
    }
}
