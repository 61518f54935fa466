//! Finding a `nats-server` that is new enough.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The environment variable that names the `nats-server` to run.
pub const VARIABLE: &str = "KEYLATCH_NATS_SERVER";

/// The oldest release that will do: atomic publishes came with it.
pub const OLDEST: Version = Version { major: 2, minor: 12, patch: 0 };

/// Where packages and people put it, after `PATH`.
const PLACES: &[&str] = &[
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/opt/nats-server",
    "/opt/nats-server/bin",
    "/opt/nats/bin",
    "/opt/homebrew/bin",
];

/// A release of nats-server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number.
    pub patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Version {
    /// Reads what `nats-server --version` prints, such as `nats-server: v2.12.0-RC.1`.
    fn parse(text: &str) -> Option<Self> {
        let (_, version) = text.trim().strip_prefix("nats-server")?.split_once('v')?;
        let release = version.split(['-', '+', ' ']).next()?;
        let mut numbers = release.split('.').map(|number| number.parse().ok());
        let version = Self { major: numbers.next()??, minor: numbers.next()??, patch: numbers.next()?? };
        numbers.next().is_none().then_some(version)
    }
}

/// A server that will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The program.
    pub path: PathBuf,
    /// What it says it is.
    pub version: Version,
}

/// No server was found that will do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no nats-server {OLDEST} or newer here.\n{}\
     install one (https://github.com/nats-io/nats-server/releases), \
     or set {VARIABLE} to the path of its program; in a checkout, `cargo xtask nats-server` fetches one",
    .looked.iter().map(|look| format!("  {look}\n")).collect::<String>()
)]
pub struct NotFound {
    /// Where was looked, in order, and what was found there.
    pub looked: Vec<Look>,
}

/// A place where a server might have been.
#[derive(Debug, PartialEq, Eq)]
pub struct Look {
    /// The program that would have been run.
    pub path: PathBuf,
    /// Why this one was looked at.
    pub because: &'static str,
    /// Why it will not do.
    pub refused: Refused,
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.path.display(), self.because, self.refused)
    }
}

/// Why a program will not do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is none.
    #[error("not there")]
    Absent,
    /// It can't be run.
    #[error("can't be run: {0}")]
    NotRunnable(String),
    /// It does not answer `--version` as nats-server does.
    #[error("answers `--version` with `{0}`, which is not nats-server's")]
    NotNatsServer(String),
    /// It is too old.
    #[error("is {0}, which is too old")]
    TooOld(Version),
}

/// Finds a server: the one that [`VARIABLE`] names, and then that one or none; else the first that will do of those on
/// `PATH`, in the usual places, and in `cache`, a directory where the caller keeps one that it fetched.
pub fn find(cache: Option<&Path>) -> Result<Found, NotFound> {
    search(std::env::var_os(VARIABLE), std::env::var_os("PATH"), PLACES, cache)
}

fn search(
    named: Option<OsString>,
    path: Option<OsString>,
    places: &[&str],
    cache: Option<&Path>,
) -> Result<Found, NotFound> {
    let mut looked = Vec::new();
    for (path, because) in candidates(named, path, places, cache) {
        if looked.iter().any(|look: &Look| look.path == path) {
            continue;
        }
        match check(&path) {
            Ok(version) => return Ok(Found { path, version }),
            Err(refused) => looked.push(Look { path, because, refused }),
        }
    }
    Err(NotFound { looked })
}

fn candidates(
    named: Option<OsString>,
    path: Option<OsString>,
    places: &[&str],
    cache: Option<&Path>,
) -> Vec<(PathBuf, &'static str)> {
    // A server that is named is meant: another that happens to lie around would be a surprise.
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        return vec![(PathBuf::from(named), VARIABLE)];
    }
    let path = path.unwrap_or_default();
    let on_path = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| (dir, "PATH"));
    let usual = places.iter().map(|dir| (PathBuf::from(dir), "usual place"));
    let cache = cache.map(|dir| (dir.to_owned(), "cache"));
    on_path.chain(usual).chain(cache).map(|(dir, because)| (dir.join("nats-server"), because)).collect()
}

fn check(path: &Path) -> Result<Version, Refused> {
    if !path.exists() {
        return Err(Refused::Absent);
    }
    let output =
        Command::new(path).arg("--version").output().map_err(|error| Refused::NotRunnable(error.to_string()))?;
    let answer = String::from_utf8_lossy(&output.stdout);
    let Some(version) = Version::parse(&answer) else {
        return Err(Refused::NotNatsServer(answer.trim().chars().take(80).collect()));
    };
    if version < OLDEST { Err(Refused::TooOld(version)) } else { Ok(version) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A directory with a program `nats-server` that prints this.
    fn printing(answer: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("nats-server");
        std::fs::write(&program, format!("#!/bin/sh\necho '{answer}'\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        dir
    }

    fn version(text: &str) -> Option<(u32, u32, u32)> {
        Version::parse(text).map(|version| (version.major, version.minor, version.patch))
    }

    #[test]
    fn versions_are_read_as_the_server_prints_them() {
        assert_eq!(version("nats-server: v2.15.1\n"), Some((2, 15, 1)));
        assert_eq!(version("nats-server: v2.12.0-RC.1"), Some((2, 12, 0)));
        assert_eq!(version("nats-server version 2.15"), None);
        assert_eq!(version("nats-server: v2.15"), None);
        assert_eq!(version("v2.15.1"), None);
        assert_eq!(version(""), None);
    }

    #[test]
    fn the_first_that_will_do_is_taken() {
        let (old, new, cached) =
            (printing("nats-server: v2.9.10"), printing("nats-server: v2.12.3"), printing("nats-server: v2.15.1"));
        let path = std::env::join_paths([old.path(), new.path()]).unwrap();
        let found = search(None, Some(path), &[], Some(cached.path())).unwrap();
        assert_eq!(found.path, new.path().join("nats-server"));
        let found = search(None, Some(old.path().into()), &[], Some(cached.path())).unwrap();
        assert_eq!(found.version.to_string(), "2.15.1");
    }

    #[test]
    fn a_named_one_is_that_one_or_none() {
        let (old, new) = (printing("nats-server: v2.11.9"), printing("nats-server: v2.15.1"));
        let named = old.path().join("nats-server");
        let NotFound { looked } =
            search(Some(named.clone().into()), Some(new.path().into()), &[], Some(new.path())).unwrap_err();
        let refused = Refused::TooOld(Version { major: 2, minor: 11, patch: 9 });
        assert_eq!(looked, [Look { path: named, because: VARIABLE, refused }]);
    }

    #[test]
    fn the_error_says_what_was_looked_at_and_why_it_was_refused() {
        let (other, empty, plain) = (printing("hello"), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(plain.path().join("nats-server"), "text").unwrap();
        let path = std::env::join_paths([other.path(), empty.path(), empty.path()]).unwrap();
        let error = search(None, Some(path), &[plain.path().to_str().unwrap()], None).unwrap_err();
        let refused: Vec<_> = error.looked.iter().map(|look| (look.because, &look.refused)).collect();
        assert!(
            matches!(
                refused.as_slice(),
                [
                    ("PATH", Refused::NotNatsServer(_)),
                    ("PATH", Refused::Absent),
                    ("usual place", Refused::NotRunnable(_))
                ]
            ),
            "{refused:?}"
        );
        assert!(error.to_string().contains(VARIABLE));
    }
}
