//! Programs from Debian's packages, without root: downloaded and unpacked in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Unpacks a package below the cache and gives the folder. An error says what failed.
pub fn unpack(package: &str, cache: &Path) -> Result<PathBuf, String> {
    let folder = cache.join("debian").join(package);
    if folder.is_dir() {
        return Ok(folder);
    }
    let parent = cache.join("debian");
    fs::create_dir_all(&parent).map_err(|error| error.to_string())?;
    let work = tempfile::tempdir_in(&parent).map_err(|error| error.to_string())?;
    eprintln!("fetching Debian's {package}");
    run(Command::new("apt-get").args(["download", package]).current_dir(work.path()))?;
    let mut files = fs::read_dir(work.path()).map_err(|error| error.to_string())?.flatten();
    let file = files.next().ok_or("apt-get downloaded nothing")?.path();
    let unpacked = work.path().join("unpacked");
    run(Command::new("dpkg-deb").arg("-x").args([&file, &unpacked]))?;
    fs::rename(&unpacked, &folder).map_err(|error| error.to_string())?;
    Ok(folder)
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("can't run {name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
