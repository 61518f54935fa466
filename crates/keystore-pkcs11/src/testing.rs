//! Tokens for tests. SoftHSM reads where its tokens are once a process, from the environment, which a test can't set for
//! itself: so each test runs in a process of its own, on tokens of its own.
//!
//! Taken in by the unit tests, by `tests/it` and by the examples: it knows nothing of the crate.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where a test's process finds its folder.
const FOLDER: &str = "KEYLATCH_TEST_TOKENS";
/// The module, for whoever has it elsewhere; `cargo xtask test` sets it.
const MODULE: &str = "KEYLATCH_SOFTHSM2";
/// Where distributions put it.
const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

pub(crate) const PRE_ACTIVE: &str = "keylatch pre-active";
pub(crate) const ACTIVE: &str = "keylatch active";
pub(crate) const APPLICATION: &str = "an application's own";
pub(crate) const PRE_ACTIVE_PIN: &str = "pin of the pre-active token";
pub(crate) const ACTIVE_PIN: &str = "pin of the active token";
pub(crate) const APPLICATION_PIN: &str = "pin of the application";
pub(crate) const OFFICER_PIN: &str = "pin of the security officer";

/// A folder with tokens of its own.
pub(crate) struct Tokens {
    pub(crate) folder: PathBuf,
}

/// Runs a test, named as the harness names it, in a process of its own.
pub(crate) fn isolated(test: &str, body: impl FnOnce(Tokens)) {
    if let Some(tokens) = Tokens::given() {
        let passed = tokens.path("passed");
        body(tokens);
        fs::write(passed, "").unwrap();
        return;
    }
    // In memory where there is such a place: thousands of commits are waited for, and nothing here outlives the machine.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let output = Tokens::give(folder.path(), &[test, "--exact", "--nocapture", "--test-threads=1"]);
    let said = || String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}", said());
    // A name that no test has is no failure to the harness.
    assert!(folder.path().join("passed").exists(), "no test is called {test}: {}", said());
}

impl Tokens {
    /// Those that this process was given.
    pub(crate) fn given() -> Option<Self> {
        std::env::var_os(FOLDER).map(|folder| Self { folder: PathBuf::from(folder) })
    }

    /// Runs this program anew, with a folder for tokens, and waits for its end.
    pub(crate) fn give(folder: &Path, arguments: &[&str]) -> Output {
        let configuration = folder.join("softhsm2.conf");
        let tokens = folder.join("tokens");
        fs::create_dir(&tokens).unwrap();
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            tokens.display()
        );
        fs::write(&configuration, text).unwrap();
        Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .env(FOLDER, folder)
            .env("SOFTHSM2_CONF", &configuration)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The module.
    pub(crate) fn module() -> PathBuf {
        let named = std::env::var_os(MODULE).map(PathBuf::from);
        let known = MODULES.into_iter().map(PathBuf::from).find(|path| path.exists());
        named.or(known).unwrap_or_else(|| {
            panic!("there is no SoftHSM: install it (on Debian: softhsm2), or name its module in {MODULE}")
        })
    }

    /// Removes all tokens, and makes the two. No store may be open.
    pub(crate) fn renew(&self) {
        let tokens = self.folder.join("tokens");
        fs::remove_dir_all(&tokens).unwrap();
        fs::create_dir(&tokens).unwrap();
        self.add(PRE_ACTIVE, PRE_ACTIVE_PIN, "pre-active.pin");
        self.add(ACTIVE, ACTIVE_PIN, "active.pin");
    }

    /// Makes a token, and a file with its PIN.
    pub(crate) fn add(&self, label: &str, pin: &str, file: &str) {
        let output = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", OFFICER_PIN])
            .output()
            .unwrap_or_else(|error| panic!("can't run softhsm2-util ({error}); on Debian, install softhsm2"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.write_pin(file, pin);
    }

    /// A file with a PIN.
    pub(crate) fn write_pin(&self, name: &str, pin: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, format!("{pin}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }
}
