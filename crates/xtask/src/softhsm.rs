//! SoftHSM, a PKCS#11 token in files, and OpenSC's `pkcs11-tool`: what the PKCS#11 key store is tested on and with. Those that
//! are there, or the distribution's.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::debian;

/// The environment variable that names the module, for whoever has it elsewhere and for the tests.
pub const VARIABLE: &str = "KEYLATCH_SOFTHSM2";
/// Where distributions put it.
const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];
/// The programs that set tokens up and look at them.
const PROGRAMS: [&str; 2] = ["softhsm2-util", "pkcs11-tool"];
/// What they are called in Debian.
const PACKAGES: [&str; 2] = ["softhsm2", "opensc"];

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no module where one was named.
    #[error("{VARIABLE} names `{0}`, which is not there")]
    Named(String),
    /// Something is missing, and could not be installed.
    #[error(
        "there is no SoftHSM with pkcs11-tool ({0}); install them (on Debian: {packages}), or name the module in {VARIABLE}",
        packages = PACKAGES.join(" ")
    )]
    Missing(String),
}

/// The module. As root, the distribution's is installed where there is none.
pub fn ensure() -> Result<PathBuf, Error> {
    if let Some(module) = find()? {
        return Ok(module);
    }
    debian::install(&PACKAGES).map_err(Error::Missing)?;
    find()?.ok_or_else(|| Error::Missing("they were installed, and are still not there".into()))
}

/// The module, where the programs are there as well.
fn find() -> Result<Option<PathBuf>, Error> {
    let named = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()).map(PathBuf::from);
    if let Some(named) = named.as_deref().filter(|named| !named.is_file()) {
        return Err(Error::Named(named.display().to_string()));
    }
    let known = || MODULES.into_iter().map(Path::new).find(|path| path.is_file()).map(Path::to_owned);
    Ok(named.or_else(known).filter(|_| PROGRAMS.iter().all(|program| runs(program))))
}

/// Whether the program is there. Asked for help, `pkcs11-tool` fails after giving it; that it can give it is enough.
fn runs(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--help").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let error = Error::Missing("and only root can install it".into()).to_string();
        assert!(PACKAGES.iter().all(|package| error.contains(package)) && error.contains(VARIABLE), "{error}");
        assert!(!runs("no-such-program"));
    }
}
