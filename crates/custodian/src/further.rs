//! Stores beside the software one, as `stores.toml` lists them: tokens and KMIP servers.
//!
//! Each is opened as the software store is: a folder that is new is made only where the chain knows of no key that the store
//! should have, and a store that another custodian has is waited for. One that is away (a token that was taken out) holds up
//! nothing else: it is tried again, and its keys are refused meanwhile.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use journal::Journal;
use keystore_kmip::KmipStore;
use keystore_pkcs11::Pkcs11Store;
use model::{Name, Span};
use serde::Deserialize;
use service::{Error, Node, Shutdown};
use tokio::sync::oneshot;
use tracing::{error, info};
use zeroize::Zeroizing;

use crate::software::{self, Known, SOFTWARE};
use crate::stores::{Store, Stores};

/// What `stores.toml` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FurtherStores {
    #[serde(default)]
    pub(crate) store: Vec<Further>,
    /// The file.
    #[serde(skip)]
    pub(crate) path: PathBuf,
    /// Where the file is: what it names stands beside it.
    #[serde(skip)]
    pub(crate) beside: PathBuf,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Further {
    Pkcs11(Pkcs11),
    Kmip(Kmip),
}

/// Two tokens behind one module.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pkcs11 {
    name: Name,
    folder: Option<PathBuf>,
    pub(crate) module: PathBuf,
    locks: Option<PathBuf>,
    pub(crate) pre_active: Token,
    pub(crate) active: Token,
    /// An application's own token, on which every active key is too: placed mode.
    pub(crate) placed: Option<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    label: String,
    pin_file: Option<PathBuf>,
    pin_env: Option<String>,
    /// The security officer's PIN: to make the store, and not needed again. Of the pre-active token; in placed mode of the
    /// active one as well.
    pub(crate) officer_pin_file: Option<PathBuf>,
}

/// A KMIP server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kmip {
    name: Name,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) address: String,
    server_name: String,
    authorities: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    login: Option<Login>,
    #[serde(default)]
    pub(crate) mode: Mode,
    operation_policy: Option<Name>,
    #[serde(default = "ten_seconds")]
    patience: Span,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    username: String,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    #[default]
    Mediated,
    Placed,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mediated => "mediated",
            Self::Placed => "placed",
        }
    }
}

fn ten_seconds() -> Span {
    Span::from_secs(10)
}

impl Further {
    pub(crate) fn name(&self) -> &Name {
        match self {
            Self::Pkcs11(store) => &store.name,
            Self::Kmip(store) => &store.name,
        }
    }

    fn folder(&self) -> Option<&PathBuf> {
        match self {
            Self::Pkcs11(store) => store.folder.as_ref(),
            Self::Kmip(store) => store.folder.as_ref(),
        }
    }
}

impl FurtherStores {
    /// Reads the file, where there is one.
    ///
    /// # Errors
    /// If it can't be read, or says what makes no sense; names the line.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let wrong = |error: String| Error::File { path: path.to_owned(), error };
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read.map_err(|error| wrong(error.to_string()))?,
        };
        let read: Self = toml::from_str(&text).map_err(|error| wrong(service::config::explain(&text, &error)))?;
        let mut names: Vec<&str> = read.store.iter().map(|store| store.name().as_str()).chain([SOFTWARE]).collect();
        names.sort_unstable();
        if let Some((twice, _)) = names.iter().zip(names.iter().skip(1)).find(|(one, other)| one == other) {
            return Err(wrong(format!("two stores have the name `{twice}`: give each its own")));
        }
        let beside = path.parent().unwrap_or(Path::new(".")).to_owned();
        Ok(Self { beside, path: path.to_owned(), ..read })
    }

    /// Opens all of them, in `folder` where they name none, and puts them beside those that are open. One that can't be
    /// opened now, or not in 10 s, is tried again until it can, or until `shutdown`: nothing else waits for it.
    pub async fn open<J: Journal>(self, stores: &Stores, node: &Node<J>, folder: &Path, shutdown: &Shutdown) {
        let mut tried = Vec::new();
        for store in self.store {
            let place = store.folder().map_or_else(|| folder.join(store.name().as_str()), |own| self.beside.join(own));
            let opening = Opening { store, place, beside: self.beside.clone() };
            let (first, done) = oneshot::channel();
            tokio::spawn(keep_trying(node.clone(), opening, stores.clone(), first, shutdown.clone()));
            tried.push(done);
        }
        // A device that does not answer keeps nobody from starting.
        let _ = tokio::time::timeout(TRY_AGAIN, futures_util::future::join_all(tried)).await;
    }
}

/// How long after a failure it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// `first` hears when it was tried once.
async fn keep_trying<J: Journal>(
    node: Node<J>,
    opening: Opening,
    stores: Stores,
    first: oneshot::Sender<()>,
    shutdown: Shutdown,
) {
    let (mut said, mut first) = (String::new(), Some(first));
    loop {
        let (reader, this) = (node.clone(), opening.clone());
        let opened = tokio::task::spawn_blocking(move || this.open(&reader)).await;
        let (now, wait) = match opened.map_err(|error| Error::Internal(error.to_string())).flatten() {
            Ok(Some(store)) => {
                info!(store = %store.name(), "the key store is open");
                stores.put(store);
                // Dropped with this, `first` is heard as well.
                return;
            }
            Ok(None) => ("another custodian has it; waiting to take over".to_owned(), software::LOOK_AGAIN),
            Err(error) => (error.to_string(), TRY_AGAIN),
        };
        if now != said {
            error!(store = %opening.store.name(), "the key store is not open: {now}");
            said = now;
        }
        drop(first.take());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shutdown.clone().requested() => return,
        }
    }
}

/// A store to be opened.
#[derive(Clone)]
struct Opening {
    store: Further,
    place: PathBuf,
    beside: PathBuf,
}

impl Opening {
    /// `None` where another process has it.
    fn open<J: Journal>(&self, node: &Node<J>) -> Result<Option<Store>, Error> {
        let name = self.store.name();
        let wrong = |error: String| Error::File { path: self.place.clone(), error: format!("store `{name}`: {error}") };
        let is_new = std::fs::read_dir(&self.place).map_or(true, |mut entries| entries.next().is_none());
        let known = Known::of(node, name)?;
        known.check_new(is_new).map_err(wrong)?;
        if let Some(parent) = self.place.parent() {
            service::secret::ensure_folder(parent)?;
        }
        let opened = match &self.store {
            Further::Pkcs11(store) => self.pkcs11(store, is_new),
            Further::Kmip(store) => self.kmip(store, is_new),
        };
        let Some(store) = opened.map_err(wrong)? else { return Ok(None) };
        known.check_has(&store.seal_key()).map_err(wrong)?;
        Ok(Some(store))
    }

    fn pkcs11(&self, store: &Pkcs11, is_new: bool) -> Result<Option<Store>, String> {
        let token = |one: &Token| token(one, &self.beside);
        let config = keystore_pkcs11::Config {
            module: self.beside.join(&store.module),
            locks: self.beside.join(store.locks.clone().unwrap_or_else(|| self.place.with_extension("locks"))),
            pre_active: token(&store.pre_active)?,
            active: token(&store.active)?,
            placed: store.placed.as_ref().map(token).transpose()?,
        };
        service::secret::ensure_folder(&config.locks).map_err(|error| error.to_string())?;
        let name = store.name.clone();
        let opened = if !is_new {
            Pkcs11Store::open(&self.place, name, &config)
        } else if config.placed.is_some() {
            let (waiting, working) = (self.officer_pin(&store.pre_active)?, self.officer_pin(&store.active)?);
            Pkcs11Store::create_placed(&self.place, name, &config, &waiting, &working)
        } else {
            Pkcs11Store::create(&self.place, name, &config, &self.officer_pin(&store.pre_active)?)
        };
        match opened {
            Ok(store) => Ok(Some(Arc::new(store))),
            // Another custodian has it, or made it a moment ago.
            Err(keystore_pkcs11::Error::InUse { .. }) => Ok(None),
            Err(keystore_pkcs11::Error::Exists { .. }) if is_new => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A new store needs it once.
    fn officer_pin(&self, token: &Token) -> Result<Zeroizing<String>, String> {
        let advice =
            "name the file with that token's security officer's PIN in its `officer_pin_file`; it is not needed again";
        let to_make = || format!("it is to be made with the token `{}`: {advice}", token.label);
        let file = token.officer_pin_file.as_ref().ok_or_else(to_make)?;
        let path = self.beside.join(file);
        let pin = service::secret::read_text(&path).map_err(|error| error.to_string())?;
        Ok(Zeroizing::new(pin.trim_end_matches(['\r', '\n']).to_owned()))
    }

    fn kmip(&self, store: &Kmip, is_new: bool) -> Result<Option<Store>, String> {
        let settings = settings(store, &self.beside)?;
        if is_new {
            match KmipStore::create(&self.place, &store.name) {
                Ok(()) => {}
                Err(keystore_kmip::Error::Exists { .. }) => return Ok(None),
                Err(error) => return Err(error.to_string()),
            }
        }
        match KmipStore::open(&self.place, store.name.clone(), &settings) {
            Ok(store) => Ok(Some(Arc::new(store))),
            Err(keystore_kmip::Error::InUse { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A token, and where its PIN is.
pub(crate) fn token(token: &Token, beside: &Path) -> Result<keystore_pkcs11::TokenConfig, String> {
    let pin = match (&token.pin_file, &token.pin_env) {
        (Some(file), None) => keystore_pkcs11::Pin::File(beside.join(file)),
        (None, Some(variable)) => keystore_pkcs11::Pin::Variable(variable.clone()),
        _ => return Err(format!("token `{}`: say where its PIN is, in `pin_file` or `pin_env`", token.label)),
    };
    Ok(keystore_pkcs11::TokenConfig { label: token.label.clone(), pin })
}

/// How a KMIP server is reached.
pub(crate) fn settings(store: &Kmip, beside: &Path) -> Result<keystore_kmip::Settings, String> {
    let login = store.login.as_ref().map(|login| {
        let password = match (&login.password_file, &login.password_env) {
            (Some(file), None) => keystore_kmip::Password::File(beside.join(file)),
            (None, Some(variable)) => keystore_kmip::Password::Environment(variable.clone()),
            _ => return Err("login: say where the password is, in `password_file` or `password_env`".to_owned()),
        };
        Ok(keystore_kmip::Login { username: login.username.clone(), password })
    });
    Ok(keystore_kmip::Settings {
        address: store.address.clone(),
        server_name: store.server_name.clone(),
        authorities: beside.join(&store.authorities),
        certificate: beside.join(&store.certificate),
        key: beside.join(&store.key),
        login: login.transpose()?,
        mode: match store.mode {
            Mode::Mediated => keystore_kmip::Mode::Mediated,
            Mode::Placed => keystore_kmip::Mode::Placed,
        },
        operation_policy: store.operation_policy.clone(),
        patience: store.patience.to_std(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HSM: &str = r#"
        [[store]]
        name = "hsm"
        kind = "pkcs11"
        module = "/usr/lib/token.so"
        pre_active = { label = "waiting", pin_file = "waiting.pin", officer_pin_file = "officer.pin" }
        active = { label = "working", pin_env = "WORKING_PIN" }
    "#;
    const KMIP: &str = r#"
        [[store]]
        name = "kms"
        kind = "kmip"
        address = "kms.example:5696"
        server_name = "kms.example"
        authorities = "ca.pem"
        certificate = "custodian.pem"
        key = "custodian.key"
        mode = "placed"
    "#;

    fn load(text: &str) -> Result<FurtherStores, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stores.toml");
        std::fs::write(&path, text).unwrap();
        FurtherStores::load(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn stores_are_read() {
        let read = load(&format!("{HSM}{KMIP}")).unwrap();
        assert_eq!(read.store.iter().map(|store| store.name().as_str()).collect::<Vec<_>>(), ["hsm", "kms"]);
        let Further::Kmip(kms) = &read.store[1] else { panic!("another kind") };
        assert_eq!((kms.mode, kms.patience), (Mode::Placed, Span::from_secs(10)));
        assert_eq!(load("").unwrap().store, []);
        assert_eq!(FurtherStores::load(Path::new("/nowhere/stores.toml")).unwrap(), FurtherStores::default());
    }

    #[test]
    fn what_makes_no_sense_is_said_with_its_line() {
        for (text, said) in [
            (HSM.replace("pkcs11", "paper"), "line"),
            (HSM.replace("module", "modul"), "modul"),
            (format!("{HSM}{HSM}"), "two stores have the name `hsm`"),
            (KMIP.replace("\"kms\"", "\"software\""), "two stores have the name `software`"),
            (format!("{KMIP}colour = \"red\""), "colour"),
        ] {
            let error = load(&text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
