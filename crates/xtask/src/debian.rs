//! Programs from Debian's packages: without root, downloaded and unpacked in the cache; or, as root, installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// Installs packages, as root; for programs that need many libraries, or whose files must lie in their places. An error says
/// why not.
pub fn install(packages: &[&str]) -> Result<(), String> {
    let id = Command::new("id").arg("-u").output().map_err(|error| error.to_string())?;
    if id.stdout.trim_ascii() != b"0" {
        return Err("and only root can install it".into());
    }
    eprintln!("installing {}", packages.join(" and "));
    apt_get(&["update", "-q"])?;
    let install = ["install", "-y", "-q", "--no-install-recommends"];
    apt_get(&[install.as_slice(), packages].concat())
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("can't run apt-get: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("apt-get failed: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("can't run {name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
