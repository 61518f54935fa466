//! The replay guard: a use command is carried out at most once, over all runs of the custodian.
//!
//! The ids of accepted commands stand in memory and, before the use is carried out, in a file beside the key store. A
//! command can be accepted for at most [`model::command::LIFETIME_MAX_USE`] and the tolerance for clocks, a minute and a
//! half together, so ids are kept in two generations of two minutes: when the newer one is full of age, the older one is
//! forgotten with its file.
//!
//! The file is written, not synced: it outlives the process, and a machine that loses its power is not back within a
//! command's life. If the file can't be written, the use is refused.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use lifecycle::Rejection;
use model::{CommandId, ProblemType, Span, Timestamp};
use service::lock;

/// How long a generation takes ids. Longer than any command can be accepted.
const GENERATION: Span = Span::from_secs(120);
/// An id in a file, as its UUID's bytes.
const ID_BYTES: usize = 16;

/// The ids of the commands that were accepted lately.
pub(crate) struct ReplayGuard(Mutex<Generations>);

struct Generations {
    newer: Generation,
    older: Generation,
    /// Since when the newer takes ids.
    since: Timestamp,
}

struct Generation {
    path: PathBuf,
    file: File,
    ids: HashSet<[u8; ID_BYTES]>,
}

impl ReplayGuard {
    /// Reads what earlier runs have accepted, from a folder that only this process writes to.
    pub(crate) fn open(folder: &Path, now: Timestamp) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let paths = [folder.join("ids.0"), folder.join("ids.1")];
        let [first, second] = &paths;
        // Which was the newer does not matter: both are kept for a whole generation from now.
        let kept: HashSet<[u8; ID_BYTES]> = read(first)?.union(&read(second)?).copied().collect();
        let whole = folder.join("ids.new");
        let mut file = create(&whole)?;
        file.write_all(&kept.iter().flatten().copied().collect::<Vec<u8>>())?;
        std::fs::rename(&whole, first)?;
        let [first, second] = paths;
        let older = Generation { path: first, file, ids: kept };
        Ok(Self(Mutex::new(Generations { newer: Generation::begin(second)?, older, since: now })))
    }

    /// Accepts a command, and never again.
    pub(crate) fn accept(&self, id: CommandId, now: Timestamp) -> Result<(), Rejection> {
        let mut generations = lock(&self.0);
        let id = *id.as_bytes();
        generations.turn(now).map_err(unnoted)?;
        if generations.newer.ids.contains(&id) || generations.older.ids.contains(&id) {
            return Rejection::new(ProblemType::UseRepeated, "this use was asked for before").err();
        }
        generations.newer.note(id).map_err(unnoted)
    }
}

fn unnoted(error: io::Error) -> Rejection {
    Rejection::new(ProblemType::Unavailable, format!("that this use was asked for could not be noted: {error}"))
}

impl Generations {
    /// ReplayGuard the newer is full of age, forgets the older and begins a new one in its place.
    fn turn(&mut self, now: Timestamp) -> io::Result<()> {
        if now < self.since + GENERATION {
            return Ok(());
        }
        let new = Generation::begin(self.older.path.clone())?;
        self.older = std::mem::replace(&mut self.newer, new);
        self.since = now;
        Ok(())
    }
}

impl Generation {
    fn begin(path: PathBuf) -> io::Result<Self> {
        Ok(Self { file: create(&path)?, path, ids: HashSet::new() })
    }

    /// At its place: what a failed attempt has left there is overwritten.
    fn note(&mut self, id: [u8; ID_BYTES]) -> io::Result<()> {
        self.file.write_all_at(&id, (self.ids.len() * ID_BYTES) as u64)?;
        self.ids.insert(id);
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Whole ids only: one that was cut short was not accepted.
fn read(path: &Path) -> io::Result<HashSet<[u8; ID_BYTES]>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(bytes.as_chunks::<ID_BYTES>().0.iter().copied().collect())
}

#[cfg(test)]
mod tests {
    use service::clock;

    use super::*;

    fn at(seconds: u32) -> Timestamp {
        let start: Timestamp = "2026-01-01T00:00:00.000Z".parse().unwrap();
        start + Span::from_secs(seconds)
    }

    #[track_caller]
    fn accepts(guard: &ReplayGuard, id: CommandId, now: Timestamp, expected: bool) {
        let outcome = guard.accept(id, now).map_err(|rejection| rejection.problem);
        assert_eq!(outcome, if expected { Ok(()) } else { Err(ProblemType::UseRepeated) });
    }

    #[test]
    fn a_command_is_accepted_once_for_as_long_as_it_can_live_and_in_any_run() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second, third] = [(); 3].map(|()| clock::command_id());
        let guard = ReplayGuard::open(dir.path(), at(0)).unwrap();
        accepts(&guard, first, at(0), true);
        accepts(&guard, first, at(0), false);
        accepts(&guard, second, at(119), true);
        accepts(&guard, third, at(121), true);
        accepts(&guard, first, at(121), false);
        accepts(&guard, second, at(209), false);
        drop(guard);
        let guard = ReplayGuard::open(dir.path(), at(210)).unwrap();
        accepts(&guard, second, at(210), false);
        accepts(&guard, third, at(300), false);
        drop(guard);
        let guard = ReplayGuard::open(dir.path(), at(301)).unwrap();
        accepts(&guard, third, at(301), false);
        // Two generations later they are forgotten; by then they have expired long ago.
        accepts(&guard, clock::command_id(), at(500), true);
        accepts(&guard, clock::command_id(), at(700), true);
        assert!({
            let generations = guard.0.lock().unwrap();
            generations.newer.ids.len() == 1 && generations.older.ids.len() == 1
        });
    }

    #[test]
    fn an_id_cut_short_is_none_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let [whole, torn] = [(); 2].map(|()| clock::command_id());
        let guard = ReplayGuard::open(dir.path(), at(0)).unwrap();
        accepts(&guard, whole, at(0), true);
        accepts(&guard, torn, at(0), true);
        drop(guard);
        let file = OpenOptions::new().write(true).open(dir.path().join("ids.1")).unwrap();
        file.set_len(20).unwrap();
        let guard = ReplayGuard::open(dir.path(), at(1)).unwrap();
        accepts(&guard, whole, at(1), false);
        accepts(&guard, torn, at(1), true);
    }

    #[test]
    fn what_can_not_be_noted_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let guard = ReplayGuard::open(&dir.path().join("uses"), at(0)).unwrap();
        guard.0.lock().unwrap().newer.file = File::open("/dev/null").unwrap();
        let id = clock::command_id();
        assert_eq!(guard.accept(id, at(0)).unwrap_err().problem, ProblemType::Unavailable);
    }
}
