//! What whoever runs the platform does with the software store: check it, back it up, restore it, rotate its master key and
//! its wrapping keys.
//!
//! While a custodian has the store open, it does that itself, on a word over a socket beside the store: there is no
//! downtime, and no second process that opens it. The socket is the custodian's user's alone. What goes over it is paths and
//! ids; keys do not.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use keystore_software::{Checked, MasterKeys, Provide, SoftwareStore, Source};
use model::{KeyId, Name, TenantId};
use serde::{Deserialize, Serialize};
use service::{Error, Shutdown, lock};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tracing::{info, warn};

use crate::stores::{Store, Stores};
use crate::token_master::TokenMaster;
use crate::{SOFTWARE, attestation};

/// A request or an answer is shorter than this.
const MESSAGE_BYTES_MAX: u64 = 64 * 1024;
/// How long nobody is heard after somebody could not be: it may be that there are too many.
const DEAF_FOR: std::time::Duration = std::time::Duration::from_millis(100);
/// What the kernel takes for a socket's path.
const SOCKET_PATH_MAX: usize = 100;

/// Where a software store is, and the master keys that it may be under.
#[derive(Clone, Debug)]
pub struct Place {
    keys: PathBuf,
    masters: MasterKeys,
}

impl Place {
    /// In a folder of a custodian's keys, under one of the master keys that are named (`file:…`, `env:…`, `credential:…`,
    /// relative to `base`, or `pkcs11:…`). Where none is, the platform has one of its own: `master-key`, beside the custodian's key.
    ///
    /// # Errors
    /// If a name is none.
    pub fn new(keys: PathBuf, named: &[String], base: &Path, key: &Path) -> Result<Self, Error> {
        let sources = sources(named, base, &locks(&keys))?;
        let masters = match sources[..] {
            [] => MasterKeys::own(key.with_file_name("master-key")),
            _ => MasterKeys::of(sources),
        };
        Ok(Self { keys, masters })
    }

    /// The folder of the keys.
    pub fn keys(&self) -> &Path {
        &self.keys
    }

    /// The store's own folder.
    pub fn store(&self) -> PathBuf {
        self.keys.join("store")
    }

    /// The master keys.
    pub fn masters(&self) -> &MasterKeys {
        &self.masters
    }

    fn socket(&self) -> PathBuf {
        self.keys.join("custody.sock")
    }

    fn wrong(&self, error: impl ToString) -> Error {
        Error::File { path: self.store(), error: error.to_string() }
    }
}

fn sources(named: &[String], base: &Path, locks: &Path) -> Result<Vec<Arc<dyn Provide>>, Error> {
    let wrong = |error| Error::File { path: "master key".into(), error };
    named.iter().map(|name| source(name, base, locks).map_err(wrong)).collect()
}

/// Where a master key comes from, by its name.
fn source(name: &str, base: &Path, locks: &Path) -> Result<Arc<dyn Provide>, String> {
    if let Some(token) = TokenMaster::parse(name, locks) {
        return Ok(Arc::new(token?));
    }
    let source = name.parse::<Source>().map_err(|error| format!("{error}, or pkcs11:… on a token"))?;
    Ok(Arc::new(source.below(base)))
}

/// Where the processes that use a token with a master key keep out of each other's way.
fn locks(keys: &Path) -> PathBuf {
    keys.join("master-token.locks")
}

/// The name of a master key, with a relative path taken from `base`.
///
/// # Errors
/// If it is none.
pub fn named(name: &str, base: &Path) -> Result<String, Error> {
    let source = source(name, base, Path::new("")).map_err(|error| Error::File { path: "master key".into(), error })?;
    Ok(source.to_string())
}

/// What can be asked of a store that is at work, or is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// To go through all of it.
    Check {},
    /// To write a backup.
    Backup {
        /// To this new file. An absolute path.
        to: PathBuf,
    },
    /// To be put under another master key.
    Rekey {
        /// This one; left out, the successor of the platform's own.
        to: Option<String>,
    },
    /// To wrap every key under new wrapping keys.
    Rewrap {},
    /// To have a store say what it has under a key's id: of any store that the custodian has open.
    Attest {
        /// The store.
        store: Name,
        /// Whose key.
        tenant: TenantId,
        /// Which.
        key_id: KeyId,
    },
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Keys in the pre-active inventory, where they were gone through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_active: Option<u64>,
    /// Keys in the active inventory, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<u64>,
    /// What is left of destroyed keys, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroyed: Option<u64>,
    /// The master key that the store is under.
    pub master_key: String,
    /// The one before, where it was rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_key_before: Option<String>,
    /// How many keys were wrapped anew, where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrapped: Option<u64>,
    /// Whether a rotation of the wrapping keys was begun and is not done.
    pub rewrapping: bool,
    /// What a store said of a key, line by line, where it was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<(String, String)>,
}

impl Done {
    fn of(store: &SoftwareStore) -> Result<Self, keystore_software::Error> {
        let (master_key, rewrapping) = (store.master_key()?.as_str().to_owned(), store.is_rewrapping());
        let (pre_active, active, destroyed) = (None, None, None);
        Ok(Self {
            pre_active,
            active,
            destroyed,
            master_key,
            master_key_before: None,
            rewrapped: None,
            rewrapping,
            said: Vec::new(),
        })
    }

    fn checked(self, checked: Checked) -> Self {
        let Checked { pre_active, active, destroyed } = checked;
        Self { pre_active: Some(pre_active), active: Some(active), destroyed: Some(destroyed), ..self }
    }
}

/// A store that is open, with those of its master keys that are known.
pub(crate) struct Open {
    pub(crate) store: Arc<SoftwareStore>,
    masters: Mutex<MasterKeys>,
    /// Every store that is open here, this one among them.
    pub(crate) stores: Stores,
    locks: PathBuf,
}

impl Open {
    pub(crate) fn new(store: Arc<SoftwareStore>, place: &Place) -> Self {
        let stores = Stores::from(store.clone() as Store);
        Self { store, masters: Mutex::new(place.masters.clone()), stores, locks: locks(&place.keys) }
    }

    /// Does what is asked. Blocks.
    fn carry_out(&self, request: Request) -> Result<Done, String> {
        match request {
            Request::Attest { store, tenant, key_id } => {
                let store = self.stores.named(&store).map_err(|problem| problem.detail)?;
                let attested = store.attest(tenant, key_id).map_err(|error| causes(&error))?;
                let said = attestation::lines(&attested);
                Ok(Done { said, ..Done::of(&self.store).map_err(|error| error.to_string())? })
            }
            request => self.work(request).map_err(|error| error.to_string()),
        }
    }

    fn work(&self, request: Request) -> Result<Done, keystore_software::Error> {
        let masters = lock(&self.masters).clone();
        let store = &*self.store;
        match request {
            // Answered by any store.
            Request::Attest { .. } => Done::of(store),
            Request::Check {} => Ok(Done::of(store)?.checked(store.check()?)),
            Request::Backup { to } => Ok(Done::of(store)?.checked(store.backup(&to, &masters)?)),
            Request::Rekey { to } => {
                // What comes over the socket is a whole path.
                let source = to.map(|to| source(&to, Path::new(""), &self.locks)).transpose().map_err(no_source)?;
                let key = source.as_ref().map(|source| source.load()).transpose()?;
                let rekeyed = store.rekey(&masters, key.as_deref())?;
                if let Some(source) = source {
                    let mut masters = lock(&self.masters);
                    *masters = masters.clone().with(source);
                }
                let master_key_before = Some(rekeyed.before.as_str().to_owned());
                Ok(Done { master_key_before, ..Done::of(store)? })
            }
            Request::Rewrap {} => {
                let rewrapped = store.rewrap(&masters)?;
                Ok(Done { rewrapped: Some(rewrapped.records), ..Done::of(store)? })
            }
        }
    }
}

/// An error, with what lies behind it.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn no_source(what: String) -> keystore_software::Error {
    keystore_software::Error::MasterKey { from: "what was named".to_owned(), what }
}

// === Asking ===

/// Has it done: by the custodian that has the store open, or here where none has.
///
/// # Errors
/// What keeps it from being done.
pub async fn ask(place: &Place, request: Request) -> Result<Done, Error> {
    match connect(&place.socket()).await {
        Ok(stream) => ask_custodian(place, stream, &request).await,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            let place = place.clone();
            let done = tokio::task::spawn_blocking(move || do_here(&place, request)).await;
            done.map_err(|error| Error::Internal(error.to_string()))?
        }
        Err(error) => Err(Error::File { path: place.socket(), error: error.to_string() }),
    }
}

fn do_here(place: &Place, request: Request) -> Result<Done, Error> {
    let name = SOFTWARE.parse().map_err(|error: model::id::Malformed| place.wrong(error))?;
    let opened = SoftwareStore::open(&place.store(), name, &place.masters).map_err(|error| match error {
        keystore_software::Error::InUse { .. } => {
            place.wrong("a custodian has it open, and does not answer yet: try again in a moment")
        }
        error => place.wrong(error),
    })?;
    Open::new(Arc::new(opened), place).carry_out(request).map_err(|error| place.wrong(error))
}

async fn ask_custodian(place: &Place, mut stream: UnixStream, request: &Request) -> Result<Done, Error> {
    let failed = |error: &dyn std::fmt::Display| {
        let error = format!("the custodian's answer did not come ({error}); ask again, which does no harm");
        Error::File { path: place.socket(), error }
    };
    let mut line = serde_json::to_vec(request).map_err(|error| failed(&error))?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(|error| failed(&error))?;
    let mut answer = Vec::new();
    stream.take(MESSAGE_BYTES_MAX).read_to_end(&mut answer).await.map_err(|error| failed(&error))?;
    let answer: Result<Done, String> = serde_json::from_slice(&answer).map_err(|error| failed(&error))?;
    answer.map_err(|error| place.wrong(error))
}

/// Makes the store anew of a backup. The backup is under one of the master keys that are named, or of the platform's; the
/// store will be under the platform's.
///
/// # Errors
/// If there is a store, if the backup is not whole, or if its master key is not at hand. Then there is no store.
pub fn restore(place: &Place, from: &Path, named: &[String], base: &Path) -> Result<Checked, Error> {
    service::secret::ensure_folder(&place.keys)?;
    let masters = MasterKeys::of(sources(named, base, &locks(&place.keys))?).and(&place.masters);
    SoftwareStore::restore(from, &place.store(), &masters, &place.masters).map_err(|error| place.wrong(error))
}

// === Answering ===

/// Answers on the socket, and goes on with a rotation that was cut short, until `shutdown`.
pub(crate) async fn tend(open: Arc<Open>, place: &Place, shutdown: Shutdown) -> Result<(), Error> {
    let listener = listen(&place.socket()).map_err(|error| {
        warn!(socket = %place.socket().display(), %error, "`keylatch custody` can't reach this custodian while it runs");
        error
    });
    let going_on = open.clone();
    if going_on.store.is_rewrapping() {
        tokio::task::spawn_blocking(move || match going_on.carry_out(Request::Rewrap {}) {
            Ok(done) => info!(keys = done.rewrapped, "the rotation of the wrapping keys that was cut short is done"),
            Err(error) => warn!(%error, "the rotation of the wrapping keys that was cut short can't be done"),
        });
    }
    let answering = async {
        let Ok(listener) = &listener else { return std::future::pending().await };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(answer(open.clone(), stream))),
                Err(error) => {
                    warn!(%error, "somebody could not be heard");
                    tokio::time::sleep(DEAF_FOR).await;
                }
            }
        }
    };
    tokio::select! {
        () = answering => {}
        () = shutdown.requested() => {}
    }
    if listener.is_ok() {
        // The next custodian removes it otherwise.
        let _ = std::fs::remove_file(place.socket());
    }
    Ok(())
}

async fn answer(open: Arc<Open>, stream: UnixStream) {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    if BufReader::new(reading.take(MESSAGE_BYTES_MAX)).read_line(&mut line).await.is_err() {
        return;
    }
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            info!(?request, "custody");
            let carried_out = tokio::task::spawn_blocking(move || open.carry_out(request)).await;
            match carried_out {
                Ok(done) => done,
                Err(error) => Err(error.to_string()),
            }
        }
        Err(error) => Err(format!("not understood: {error}")),
    };
    if let Err(error) = &answer {
        warn!(error, "not done");
    }
    // Whoever asked may have gone.
    let _ = writing.write_all(&serde_json::to_vec(&answer).unwrap_or_default()).await;
}

/// Only whoever has the store's lock listens: a socket that is there is left over.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (_folder, short) = within_reach(path)?;
    let listener = UnixListener::bind(&short)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    let (_folder, short) = within_reach(path)?;
    UnixStream::connect(&short).await
}

/// A path that fits where a socket's must, good for as long as the folder is held.
fn within_reach(path: &Path) -> io::Result<(Option<std::fs::File>, PathBuf)> {
    use std::os::fd::AsRawFd as _;
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if path.as_os_str().len() > SOCKET_PATH_MAX => {
            let folder = std::fs::File::open(folder)?;
            let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
            Ok((Some(folder), short))
        }
        _ => Ok((None, path.to_owned())),
    }
}
