//! Programs that people check with, and that tests run: OpenSSH's for approvals, OpenSSL for time stamps. Taken from Debian
//! where they are not installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::debian;

/// The programs, each with the Debian package that has it.
const PROGRAMS: [(&str, &str); 2] = [("ssh-keygen", "openssh-client"), ("openssl", "openssl")];

/// The search path on which all of them are, where the one that is set does not do.
pub fn path_with_programs(cache: &Path) -> Result<Option<OsString>, String> {
    let mut folders: Vec<PathBuf> = Vec::new();
    for (program, package) in PROGRAMS {
        if !runs(program) {
            let unpacked = debian::unpack(package, cache);
            let unpacked = unpacked.map_err(|error| format!("there is no {program}; install {package} ({error})"))?;
            folders.push(unpacked.join("usr/bin"));
        }
    }
    if folders.is_empty() {
        return Ok(None);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path)));
    path.map(Some).map_err(|error| error.to_string())
}

/// Whether the program is there. Asked for something that it does not do, it says so; that it can say it is enough.
fn runs(program: &str) -> bool {
    Command::new(program).arg("-?").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
