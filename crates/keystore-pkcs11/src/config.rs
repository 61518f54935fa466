//! Where the tokens are, and where their PINs come from.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use crate::Error;

/// What a store needs to know. Holds no secret.
#[derive(Clone, Debug)]
pub struct Config {
    /// The PKCS#11 module, a shared library. It is loaded into the process: whoever can write it is the process.
    pub module: PathBuf,
    /// A folder for lock files. Every process that uses the tokens must name the same one (see [`crate`]).
    pub locks: PathBuf,
    /// The token with keys not yet authorised.
    pub pre_active: TokenConfig,
    /// The token with keys that are or were active. Another one, with a PIN of its own.
    pub active: TokenConfig,
    /// For placed mode: a third token, under an application's own PIN, on which every active key is too. Decided when the
    /// store is created.
    pub placed: Option<TokenConfig>,
}

/// A token.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// Its label.
    pub label: String,
    /// Where its user PIN is.
    pub pin: Pin,
}

/// Where a PIN is. It is read at every login, so a file may be replaced while the store is open.
#[derive(Clone, Debug)]
pub enum Pin {
    /// In a file that only its owner reads (mode 0600 or stricter); a line end behind it does not count.
    File(PathBuf),
    /// In an environment variable.
    Variable(String),
}

impl fmt::Display for Pin {
    /// Where it is, not what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
        }
    }
}

impl Pin {
    pub(crate) fn read(&self) -> Result<Zeroizing<String>, Error> {
        let text = match self {
            Self::File(path) => {
                let mode = fs::metadata(path).map_err(Error::io("read", path))?.permissions().mode() & 0o7777;
                if mode & 0o077 != 0 {
                    return Err(Error::LooseMode { path: path.clone(), mode, wanted: 0o600 });
                }
                Zeroizing::new(fs::read_to_string(path).map_err(Error::io("read", path))?)
            }
            Self::Variable(name) => Zeroizing::new(std::env::var(name).unwrap_or_default()),
        };
        let pin = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
        if pin.is_empty() {
            let advice = "put the token's user PIN there";
            return Err(Error::NoPin { place: self.to_string(), advice });
        }
        Ok(pin)
    }
}

/// A PIN, as the module takes it: wiped when dropped.
pub(crate) fn auth_pin(pin: &str) -> AuthPin {
    AuthPin::new(pin.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, Pin) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, Pin::File(path))
    }

    #[test]
    fn a_pin_is_read_without_its_line_end() {
        for text in ["1234", "1234\n", "1234\r\n"] {
            let (_folder, pin) = file(text, 0o600);
            assert_eq!(**pin.read().unwrap(), *"1234");
        }
    }

    #[test]
    fn a_pin_that_others_can_read_or_that_is_none_is_refused_and_never_shown() {
        let (_folder, pin) = file("sesame", 0o640);
        let error = pin.read().unwrap_err();
        assert!(matches!(error, Error::LooseMode { mode: 0o640, .. }));
        assert!(!format!("{error} {error:?} {pin} {pin:?}").contains("sesame"));
        let (_folder, pin) = file("\n", 0o600);
        assert!(matches!(pin.read(), Err(Error::NoPin { .. })));
        let pin = Pin::Variable("KEYLATCH_TEST_NO_SUCH_VARIABLE".into());
        assert!(matches!(pin.read(), Err(Error::NoPin { .. })));
        assert!(matches!(Pin::File("/nowhere/pin".into()).read(), Err(Error::Io { .. })));
    }
}
