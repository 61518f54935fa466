//! Python, pip, and packages from Python's index: without root, into the cache.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use model::Digest;

use crate::debian;

/// The packages that tests need, pinned, and all that these need.
const PACKAGES: &str = include_str!("../python-packages.txt");

/// Why something could not be had by Python.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no Python.
    #[error("can't run `{}`: {source}; install python3", python.display())]
    Python {
        /// What was run.
        python: OsString,
        /// Why it could not be.
        source: io::Error,
    },
    /// Python has no pip, and none could be had.
    #[error(
        "`python3 -m pip` does not run, and pip could not be taken from Debian ({0}); install pip (on Debian: python3-pip)"
    )]
    NoPip(String),
    /// It failed.
    #[error("`python3 … {module}` failed; is there a network? It said:\n{said}")]
    Failed {
        /// The Python module that was run.
        module: String,
        /// What it said.
        said: String,
    },
    /// The file system refused.
    #[error("can't make `{}`: {source}", path.display())]
    Io {
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A Python with pip.
#[derive(Clone, Debug)]
pub struct Pip {
    python: OsString,
    /// What stands before pip's own arguments: `-m pip`, or the path of pip in a wheel.
    pip: Vec<OsString>,
}

impl Pip {
    /// Python's own pip; where Debian's python3 comes without, the one from Debian's wheel of it, unpacked in the cache.
    pub fn find(python: &OsStr, cache: &Path) -> Result<Self, Error> {
        let own = Self { python: python.to_owned(), pip: vec!["-m".into(), "pip".into()] };
        match own.run(["--version"].map(OsStr::new)) {
            Ok(()) => return Ok(own),
            Err(Error::Failed { .. }) => {}
            Err(error) => return Err(error),
        }
        let unpacked = debian::unpack("python3-pip-whl", cache).map_err(Error::NoPip)?;
        let wheels = fs::read_dir(unpacked.join("usr/share/python-wheels")).into_iter().flatten().flatten();
        let wheel =
            wheels.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|ending| ending == "whl"));
        let wheel = wheel.ok_or_else(|| Error::NoPip("its package has no wheel".into()))?;
        Ok(Self { python: python.to_owned(), pip: vec![wheel.join("pip").into()] })
    }

    /// Runs pip.
    pub fn run<'a>(&'a self, arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<(), Error> {
        let arguments = self.pip.iter().map(OsString::as_os_str).chain(arguments).collect::<Vec<_>>();
        run(&self.python, "pip", &arguments).map(drop)
    }
}

/// Runs Python; `what` is for the error. Gives what it printed.
pub fn run(python: &OsStr, what: &str, arguments: &[&OsStr]) -> Result<String, Error> {
    let output = Command::new(python)
        .args(arguments)
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .output()
        .map_err(|source| Error::Python { python: python.to_owned(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(Error::Failed { module: what.to_owned(), said: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

/// The folder with the packages that tests need, for `PYTHONPATH`. Installs them into the cache where they are not there.
pub fn packages(cache: &Path) -> Result<PathBuf, Error> {
    let digest = Digest::of(PACKAGES.as_bytes()).to_string();
    let parent = cache.join("python");
    let python = OsStr::new("python3");
    // Some are built for one version of Python alone.
    let version = run(python, "sys", &["-c", "import sys; print(sys.implementation.cache_tag)"].map(OsStr::new))?;
    let folder = parent.join(format!("packages-{}-{version}", digest.get(..16).unwrap_or(&digest)));
    if folder.is_dir() {
        return Ok(folder);
    }
    let packages: Vec<&str> = PACKAGES.lines().filter(|line| !line.starts_with('#')).collect();
    eprintln!("fetching {} Python packages, 20 MB, for tests", packages.len());
    fs::create_dir_all(&parent).map_err(|source| Error::Io { path: parent.clone(), source })?;
    let io = |source| Error::Io { path: folder.clone(), source };
    // Beside its destination and renamed when it is whole.
    let work = tempfile::tempdir_in(&parent).map_err(io)?;
    let target = work.path().join("packages");
    let pip = Pip::find(python, cache)?;
    let fixed = ["install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target"].map(OsStr::new);
    pip.run(fixed.into_iter().chain([target.as_os_str()]).chain(packages.into_iter().map(OsStr::new)))?;
    fs::rename(&target, &folder).or_else(|error| if folder.is_dir() { Ok(()) } else { Err(io(error)) })?;
    Ok(folder)
}
