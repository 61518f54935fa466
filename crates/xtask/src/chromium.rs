//! Chromium: what the report's page is tested in. The one that is there, or the distribution's.

use std::ffi::{OsStr, OsString};
use std::process::{Command, Stdio};

use crate::debian;

/// The environment variable that names the program, for whoever has it elsewhere and for the tests.
pub const VARIABLE: &str = "KEYLATCH_CHROMIUM";
/// The names that it goes by.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// The first version whose WebCrypto has Ed25519.
const OLDEST: u32 = 137;
/// What it is called in Debian, with a font to show the page in.
const PACKAGES: [&str; 2] = ["chromium", "fonts-liberation"];

/// Why there is no browser.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The one that was named does not run.
    #[error("{VARIABLE} names `{0}`, which does not say that it is a Chromium")]
    Named(String),
    /// It is too old.
    #[error(
        "`{program}` is version {found}; the report's page needs {OLDEST} or newer, for Ed25519. Install a newer one, or name \
         one in {VARIABLE}"
    )]
    Old {
        /// Which.
        program: String,
        /// Its version.
        found: u32,
    },
    /// There is none, and none could be installed.
    #[error("there is no Chromium ({0}); install it (on Debian: {packages}), or name one in {VARIABLE}", packages = PACKAGES.join(" "))]
    Missing(String),
}

/// The program of a browser that will do. As root, the distribution's is installed where there is none: it needs many
/// libraries, so it is not unpacked beside them.
pub fn ensure() -> Result<OsString, Error> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        let shown = || named.to_string_lossy().into_owned();
        let found = version(&named).ok_or_else(|| Error::Named(shown()))?;
        return new_enough(&named, found);
    }
    if let Some(found) = find() {
        return found;
    }
    debian::install(&PACKAGES).map_err(Error::Missing)?;
    find().unwrap_or_else(|| Err(Error::Missing("it was installed, and still does not run".into())))
}

/// The first that runs; `None` where none does.
fn find() -> Option<Result<OsString, Error>> {
    NAMES.iter().find_map(|name| Some(new_enough(name.as_ref(), version(name.as_ref())?)))
}

fn new_enough(program: &OsStr, found: u32) -> Result<OsString, Error> {
    match found >= OLDEST {
        true => Ok(program.to_owned()),
        false => Err(Error::Old { program: program.to_string_lossy().into_owned(), found }),
    }
}

/// The first number of what it says its version is.
fn version(program: &OsStr) -> Option<u32> {
    let said = Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    major(&String::from_utf8_lossy(&said.stdout))
}

/// `Chromium 148.0.7778.167 built on …` and `Google Chrome 148.0.…` are of version 148.
fn major(said: &str) -> Option<u32> {
    let number = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let browser = said.starts_with("Chrom") || said.starts_with("Google Chrome");
    number.split('.').next()?.parse().ok().filter(|_| browser)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_what_browsers_say() {
        for (said, version) in [
            ("Chromium 148.0.7778.167 built on Debian GNU/Linux 12 (bookworm)\n", Some(148)),
            ("Google Chrome 137.0.1 \n", Some(137)),
            ("GNU bash, version 5.2.15\n", None),
            ("", None),
        ] {
            assert_eq!(major(said), version, "{said}");
        }
    }

    #[test]
    fn an_old_browser_is_refused_with_what_to_do() {
        let error = new_enough("chromium".as_ref(), 136).unwrap_err();
        assert_eq!(error, Error::Old { program: "chromium".into(), found: 136 });
        assert!(error.to_string().contains(VARIABLE));
        assert_eq!(new_enough("chromium".as_ref(), 137), Ok("chromium".into()));
    }

    #[test]
    fn what_is_no_browser_has_no_version() {
        assert_eq!(version("no-such-browser".as_ref()), None);
        assert_eq!(version("true".as_ref()), None);
    }
}
