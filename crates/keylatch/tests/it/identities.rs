//! Signing with real OpenSSH: plain files, passphrases, agents, other kinds of key.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use journal::command::Hand as _;
use journal::sshsig;
use keylatch::Identity;
use keylatch::error::Exit;

const NAMESPACE: &str = "keylatch-command";

fn keygen(folder: &Path, name: &str, arguments: &[&str], passphrase: &str) -> PathBuf {
    let path = folder.join(name);
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-C", name, "-N", passphrase, "-f"]).arg(&path).args(arguments);
    assert!(command.status().expect("ssh-keygen is installed").success());
    path
}

#[track_caller]
fn signs(identity: &Identity) {
    for message in [&b"a message"[..], b"", &[0; 100_000]] {
        let signature = identity.sign(NAMESPACE, message).unwrap();
        let signed = sshsig::verify(&signature, NAMESPACE, message).unwrap();
        assert_eq!(&signed.key, identity.public_key());
    }
}

/// What `ssh-keygen -l` says.
fn fingerprint(path: &Path) -> String {
    let output = Command::new("ssh-keygen").arg("-lf").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn a_plain_ed25519_key_signs_in_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = keygen(folder.path(), "key", &["-t", "ed25519"], "");
    // There is no such program: nothing else may sign.
    let identity = Identity::load_with(&path, "no-such-program".into()).unwrap();
    assert!(identity.is_effortless());
    assert_eq!(identity.fingerprint().to_string(), fingerprint(&path));
    signs(&identity);
}

#[test]
fn other_plain_keys_sign_through_ssh_keygen() {
    let folder = tempfile::tempdir().unwrap();
    let ecdsa = keygen(folder.path(), "ecdsa", &["-t", "ecdsa", "-b", "256"], "");
    let identity = Identity::load(&ecdsa).unwrap();
    assert!(!identity.is_effortless());
    signs(&identity);
    // In PEM it is read by its public half beside it.
    let pem = keygen(folder.path(), "pem", &["-t", "ecdsa", "-b", "256", "-m", "PEM"], "");
    signs(&Identity::load(&pem).unwrap());
    fs::remove_file(folder.path().join("pem.pub")).unwrap();
    let error = Identity::load(&pem).err().unwrap();
    assert!(error.advice().contains("ssh-keygen -y -f"), "{error:?}");
}

#[test]
fn keys_in_an_agent_sign_by_their_public_half_and_with_a_passphrase() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    for (name, arguments) in [("ed", &["-t", "ed25519"][..]), ("ec", &["-t", "ecdsa", "-b", "256"])] {
        let path = keygen(folder.path(), name, arguments, "a passphrase");
        agent.add(&path, "a passphrase", folder.path());
        let wrapped = agent.wrapper(folder.path());
        // The private key's file, with its passphrase.
        signs(&Identity::load_with(&path, wrapped.clone().into()).unwrap());
        // The public half alone.
        let public = folder.path().join(format!("{name}.pub"));
        fs::remove_file(&path).unwrap();
        signs(&Identity::load_with(&public, wrapped.into()).unwrap());
    }
}

#[test]
fn a_key_that_is_not_at_hand_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = keygen(folder.path(), "key", &["-t", "ecdsa", "-b", "256"], "");
    let public = folder.path().join("key.pub");
    let missing = Identity::load_with(&public, "/no/such/ssh-keygen".into()).unwrap();
    let error = missing.sign(NAMESPACE, b"x").unwrap_err().to_string();
    assert!(error.contains("install OpenSSH") && error.contains("KEYLATCH_SSH_KEYGEN"), "{error}");
    // No agent, and no private half.
    fs::remove_file(&path).unwrap();
    let alone = Agent { socket: "/nowhere".into(), child: None }.wrapper(folder.path());
    let error = Identity::load_with(&public, alone.into()).unwrap().sign(NAMESPACE, b"x").unwrap_err().to_string();
    assert!(error.contains("ssh-add -l"), "{error}");
}

#[test]
fn rejects_files_that_others_can_read_and_keys_that_cannot_sign() {
    let folder = tempfile::tempdir().unwrap();
    let path = keygen(folder.path(), "key", &["-t", "ed25519"], "");
    for mode in [0o640, 0o604, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = Identity::load(&path).err().unwrap();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.advice().contains("chmod 600"), "{error:?}");
    }
    let rsa = keygen(folder.path(), "rsa", &["-t", "rsa", "-b", "2048"], "");
    assert!(Identity::load(&rsa).err().unwrap().to_string().contains("can't sign commands"));
    assert!(Identity::load(&folder.path().join("rsa.pub")).is_err());
    let p384 = keygen(folder.path(), "p384", &["-t", "ecdsa", "-b", "384"], "");
    assert!(Identity::load(&p384).is_err());
    assert!(Identity::load(&folder.path().join("nothing")).err().unwrap().advice().contains("--identity"));
    fs::write(folder.path().join("text"), "hello").unwrap();
    assert!(Identity::load(&folder.path().join("text")).is_err());
}

#[test]
fn a_signature_by_another_key_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) =
        (keygen(folder.path(), "one", &["-t", "ecdsa"], ""), keygen(folder.path(), "two", &["-t", "ecdsa"], ""));
    let script = script(folder.path(), &format!("exec ssh-keygen -q -Y sign -n {NAMESPACE} -f '{}'", two.display()));
    let error = Identity::load_with(&one, script.into()).unwrap().sign(NAMESPACE, b"x").unwrap_err().to_string();
    assert!(error.contains("ssh-keygen signed with"), "{error}");
}

/// An executable script.
fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join(format!("script-{}", fs::read_dir(folder).unwrap().count()));
    let mut file = fs::File::create(&path).unwrap();
    writeln!(file, "#!/bin/sh\n{text}").unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// An agent of its own, ended with the test.
pub(crate) struct Agent {
    socket: PathBuf,
    child: Option<Child>,
}

impl Agent {
    pub(crate) fn start(folder: &Path) -> Self {
        let socket = folder.join("agent");
        let mut command = Command::new("ssh-agent");
        let child =
            command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !socket.exists() {
            std::thread::yield_now();
        }
        Self { socket, child: Some(child) }
    }

    /// Adds a key, whose passphrase a script tells.
    pub(crate) fn add(&self, key: &Path, passphrase: &str, folder: &Path) {
        let tells = script(folder, &format!("echo '{passphrase}'"));
        let mut command = Command::new("ssh-add");
        command.arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket).stdin(Stdio::null());
        command.env("SSH_ASKPASS", tells).env("SSH_ASKPASS_REQUIRE", "force");
        assert!(command.status().unwrap().success());
    }

    /// An ssh-keygen that asks this agent, and nobody else.
    pub(crate) fn wrapper(&self, folder: &Path) -> PathBuf {
        let socket = self.socket.display();
        script(folder, &format!("SSH_ASKPASS_REQUIRE=never SSH_AUTH_SOCK='{socket}' exec setsid -w ssh-keygen \"$@\""))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
