//! Who signs: an SSH key of a person or workload.
//!
//! A plain Ed25519 key file is signed with here. Everything else (a key with a passphrase, ECDSA, a FIDO token, a public
//! key whose private half an agent has) goes through the stock `ssh-keygen -Y sign`, so that agents, passphrases and
//! tokens work as their owners know them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use journal::command::{Hand, KeyInHand};
use journal::sshsig;
use model::{Fingerprint, PublicKey};
use zeroize::Zeroizing;

use crate::error::Error;

/// The variable that names another `ssh-keygen` than the one on the path.
pub const SSH_KEYGEN_VARIABLE: &str = "KEYLATCH_SSH_KEYGEN";
/// The longest key file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Where the private half is, in words.
const ED25519_ONLY: &str = "make one with `ssh-keygen -t ed25519 -f FILE`; ssh-ed25519, ecdsa-sha2-nistp256 and their \
                            hardware-backed sk- forms can sign";

/// A key that can sign.
pub enum Identity {
    /// A plain Ed25519 key, in memory, zeroized when dropped.
    InHand(KeyInHand),
    /// A key that `ssh-keygen` signs with.
    SshKeygen(SshKeygen),
}

/// A key that `ssh-keygen` finds: in its file, in an agent, on a token.
#[derive(Clone, Debug)]
pub struct SshKeygen {
    public: PublicKey,
    /// The file given to `ssh-keygen -f`.
    file: PathBuf,
    program: OsString,
}

impl Identity {
    /// Reads a key file: a private key that is its owner's alone, or a public one.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::load_with(path, program())
    }

    /// The same, with this `ssh-keygen`.
    pub fn load_with(path: &Path, program: OsString) -> Result<Self, Error> {
        let (text, mode) = read(path)?;
        if !text.starts_with(b"-----BEGIN ") {
            let public = public_key(path, &text)?;
            return Ok(Self::SshKeygen(SshKeygen { public, file: path.to_owned(), program }));
        }
        if mode & 0o077 != 0 {
            let what = format!("this private key is open to others than its owner (mode {:04o})", mode & 0o7777);
            return Err(Error::file(path, what, format!("run `chmod 600 {}`", path.display())));
        }
        let through_keygen = |public| Self::SshKeygen(SshKeygen { public, file: path.to_owned(), program });
        let Ok(key) = ssh_key::PrivateKey::from_openssh(&*text) else {
            return public_half_beside(path).map(through_keygen);
        };
        match key.key_data().ed25519() {
            Some(pair) => {
                let seed = Zeroizing::new(pair.private.to_bytes());
                Ok(Self::InHand(KeyInHand::new(ed25519_dalek::SigningKey::from_bytes(&seed))))
            }
            None => {
                let blob = key.public_key().to_bytes().map_err(|error| Error::file(path, error, ED25519_ONLY))?;
                let public = PublicKey::from_blob(&blob).ok_or_else(|| cannot_sign(path, &key.algorithm()))?;
                Ok(through_keygen(public))
            }
        }
    }

    /// Whether signing takes nobody's effort: no passphrase, no touch, no agent that asks.
    pub fn is_effortless(&self) -> bool {
        matches!(self, Self::InHand(_))
    }

    /// How it signs, in words.
    pub fn how(&self) -> String {
        match self {
            Self::InHand(_) => "a plain key file".to_owned(),
            Self::SshKeygen(key) => format!("ssh-keygen, with {}", key.file.display()),
        }
    }

    /// Its fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        self.public_key().fingerprint()
    }
}

impl Hand for Identity {
    fn public_key(&self) -> &PublicKey {
        match self {
            Self::InHand(key) => key.public_key(),
            Self::SshKeygen(key) => &key.public,
        }
    }

    fn sign(&self, namespace: &str, message: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::InHand(key) => key.sign(namespace, message),
            Self::SshKeygen(key) => key.sign(namespace, message),
        }
    }
}

/// Reads a public key: from a public key's file, or the public half of a private one.
pub fn read_public_key(path: &Path) -> Result<PublicKey, Error> {
    let (text, _) = read(path)?;
    if text.starts_with(b"-----BEGIN ") {
        return Ok(Identity::load(path)?.public_key().clone());
    }
    public_key(path, &text)
}

fn program() -> OsString {
    std::env::var_os(SSH_KEYGEN_VARIABLE).filter(|name| !name.is_empty()).unwrap_or_else(|| "ssh-keygen".into())
}

/// A file's bytes and its permission bits, both of the same open file.
fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), Error> {
    let opened = || -> io::Result<(Zeroizing<Vec<u8>>, u32)> {
        let file = File::open(path)?;
        let mode = file.metadata()?.mode();
        let mut text = Zeroizing::new(Vec::new());
        file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
        Ok((text, mode))
    };
    opened().map_err(|error| Error::file(path, error, format!("name your SSH key with --identity; {ED25519_ONLY}")))
}

fn public_key(path: &Path, text: &[u8]) -> Result<PublicKey, Error> {
    let line = String::from_utf8_lossy(text);
    let line = line.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    line.parse().map_err(|error| Error::file(path, error, ED25519_ONLY))
}

/// The public key in the file beside a private one that can't be read here.
fn public_half_beside(path: &Path) -> Result<PublicKey, Error> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    let beside = PathBuf::from(beside);
    if !fs::exists(&beside).unwrap_or(false) {
        let advice =
            format!("write its public half beside it: ssh-keygen -y -f {} > {}", path.display(), beside.display());
        return Err(Error::file(path, "this private key is not in OpenSSH's format", advice));
    }
    let (text, _) = read(&beside)?;
    public_key(&beside, &text)
}

fn cannot_sign(path: &Path, algorithm: &ssh_key::Algorithm) -> Error {
    Error::file(path, format!("a key of type `{algorithm}` can't sign commands"), ED25519_ONLY)
}

impl SshKeygen {
    /// Has `ssh-keygen` sign, and checks what it made.
    fn sign(&self, namespace: &str, message: &[u8]) -> io::Result<Vec<u8>> {
        let armoured = self.run(namespace, message)?;
        let signature = dearmour(&armoured)
            .ok_or_else(|| io::Error::other(format!("{} gave no SSH signature", self.program.to_string_lossy())))?;
        let signed = sshsig::verify(&signature, namespace, message)
            .map_err(|error| io::Error::other(format!("the signature that ssh-keygen made is refused: {error}")))?;
        if signed.key != self.public {
            let made_by = signed.key.fingerprint();
            return Err(io::Error::other(format!(
                "ssh-keygen signed with {made_by}, not with {}",
                self.public.fingerprint()
            )));
        }
        Ok(signature)
    }

    fn run(&self, namespace: &str, message: &[u8]) -> io::Result<Vec<u8>> {
        // On a terminal its prompts (touch the token) are for the person; else what it says belongs into the error.
        let shows = io::stderr().is_terminal();
        let mut child = Command::new(&self.program)
            .args(["-q", "-Y", "sign", "-O", "hashalg=sha512", "-n", namespace, "-f"])
            .arg(&self.file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if shows { Stdio::inherit() } else { Stdio::piped() })
            .spawn()
            .map_err(|error| self.cannot_run(&error))?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(message) {
                // It gave up before it read everything: what it says comes below.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        Err(io::Error::other(format!(
            "ssh-keygen could not sign with {}{}{said}; see that its agent runs (ssh-add -l), that its token is plugged \
             in, or that it can ask for the passphrase",
            self.file.display(),
            if said.is_empty() { "" } else { ": " },
        )))
    }

    fn cannot_run(&self, error: &io::Error) -> io::Error {
        let program = self.program.to_string_lossy();
        io::Error::new(
            error.kind(),
            format!(
                "this key is signed with by `{program}`, which can't be run ({error}): install OpenSSH 8.1 or newer, or \
                 name it with {SSH_KEYGEN_VARIABLE}"
            ),
        )
    }
}

/// The bytes between the armour's two lines.
fn dearmour(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.split_once("-----BEGIN SSH SIGNATURE-----")?;
    let (body, _) = rest.split_once("-----END SSH SIGNATURE-----")?;
    let base64: String = body.split_ascii_whitespace().collect();
    data_encoding::BASE64.decode(base64.as_bytes()).ok()
}
