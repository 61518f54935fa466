//! OpenSSH: what people check approvals with. Taken from Debian where it is not installed.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::debian;

/// The search path on which there is an `ssh-keygen`, where the one that is set does not do.
pub fn path_with_ssh_keygen(cache: &Path) -> Result<Option<OsString>, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if runs("ssh-keygen") {
        return Ok(None);
    }
    let unpacked = debian::unpack("openssh-client", cache);
    let programs = unpacked.map_err(|error| format!("there is no ssh-keygen; install openssh-client ({error})"))?;
    let folders = std::iter::once(programs.join("usr/bin")).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(folders).map_err(|error| error.to_string())?;
    Ok(Some(path))
}

/// Whether the program is there. Asked for something that it does not do, it says so; that it can say it is enough.
fn runs(program: &str) -> bool {
    Command::new(program).arg("-?").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
