//! Master keys: what a store's keyring is wrapped under, and where one comes from.
//!
//! A store knows its master key by an id (see [`MasterKeyId`]), so that another one is told apart from the right one before
//! anything is opened with it. Master keys are read when they are needed, and let go: a store that is open has none.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use zeroize::Zeroizing;

use crate::Error;
use crate::files::{self, KeyFile, Kind};
use crate::wrapping::{Key, Wrap, derive, random_key};

/// What is read of a source, at most.
const SOURCE_BYTES_MAX: usize = 512;

/// By what a master key is known: `master-` and 64 hex digits for keys whose bytes are at hand, computed from the key with
/// HKDF-SHA-256, of which it tells nothing. No two keys have one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterKeyId(String);

impl MasterKeyId {
    /// Takes an id: letters, digits and hyphens, 100 at most.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let whole = !text.is_empty() && text.len() <= 100 && text.bytes().all(fits);
        whole.then(|| Self(text.to_owned()))
    }

    fn of(key: &[u8; 32]) -> Self {
        let id: Zeroizing<[u8; 32]> = derive(key, b"keylatch master key id v1");
        Self(format!("master-{}", data_encoding::HEXLOWER.encode(&id[..])))
    }

    /// The whole of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MasterKeyId {
    /// The beginning, which is enough for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get(..23).unwrap_or(&self.0))
    }
}

/// A master key, at hand. One in hardware does the same there.
pub trait MasterKey: Send + Sync {
    /// By what it is known. Two master keys have different ids.
    fn id(&self) -> &MasterKeyId;

    /// Wraps a key, bound to `aad`.
    ///
    /// # Errors
    /// What keeps it from doing so.
    fn wrap(&self, aad: &[u8], key: &[u8; 32]) -> Result<Vec<u8>, Error>;

    /// Unwraps a key; `None` unless it was wrapped with this master key and this `aad`.
    ///
    /// # Errors
    /// What keeps it from trying.
    fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Result<Option<Zeroizing<[u8; 32]>>, Error>;
}

/// Where a master key comes from. Shows its place, never the key.
pub trait Provide: fmt::Display + Send + Sync {
    /// Reads the key, or reaches for it.
    ///
    /// # Errors
    /// Why it can't be had.
    fn load(&self) -> Result<Box<dyn MasterKey>, Error>;
}

/// A master key of 32 bytes.
struct Software {
    id: MasterKeyId,
    wrap: Wrap,
}

impl Software {
    fn new(key: &[u8; 32]) -> Self {
        let wrap: Key = derive(key, b"keylatch master key wrap v1");
        Self { id: MasterKeyId::of(key), wrap: Wrap::new(&wrap) }
    }
}

impl MasterKey for Software {
    fn id(&self) -> &MasterKeyId {
        &self.id
    }

    fn wrap(&self, aad: &[u8], key: &[u8; 32]) -> Result<Vec<u8>, Error> {
        self.wrap.wrap(aad, key)
    }

    fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Result<Option<Key>, Error> {
        let key = self.wrap.unwrap(aad, wrapped);
        Ok(key.and_then(|key| Some(Zeroizing::new(<[u8; 32]>::try_from(key.as_slice()).ok()?))))
    }
}

/// The places that a master key's bytes are read from. What is there is a key file (as [`MasterKeys::own`] makes it), or one
/// line: 32 random bytes in base64 or in hex. A passphrase is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file that only its owner can reach: `file:PATH`.
    File(PathBuf),
    /// An environment variable, whose name begins with `KEYLATCH_`: `env:NAME`.
    Environment(String),
    /// A credential of the service manager, `$CREDENTIALS_DIRECTORY/NAME` (systemd's `LoadCredential`): `credential:NAME`.
    Credential(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = "a master key is file:PATH, env:KEYLATCH_NAME or credential:NAME";
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            // Whatever begins so is kept from child processes.
            Some(("env", name)) if name.starts_with("KEYLATCH_") => Ok(Self::Environment(name.to_owned())),
            Some(("credential", name)) if !name.is_empty() && !name.contains('/') && !name.starts_with('.') => {
                Ok(Self::Credential(name.to_owned()))
            }
            // What was typed may be the key itself: it is not repeated.
            _ => Err(wrong.to_owned()),
        }
    }
}

impl Source {
    /// The same, with a relative path taken from `folder`.
    #[must_use]
    pub fn below(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path)),
            other => other,
        }
    }

    fn refused(&self, what: impl fmt::Display) -> Error {
        Error::MasterKey { from: self.to_string(), what: what.to_string() }
    }

    fn text(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        match self {
            Self::File(path) => {
                let text = self.read(path, 0o600)?;
                // Keys will be under it, and whoever made it a moment ago may not have waited until it was on the disk. What
                // can't be synced, such as a read-only medium, was not written a moment ago.
                let _ = File::open(path).and_then(|file| file.sync_all());
                let _ = files::sync_beside(path);
                Ok(text)
            }
            Self::Environment(name) => {
                let value = std::env::var_os(name).ok_or_else(|| self.refused("the variable is not set"))?;
                Ok(Zeroizing::new(value.into_encoded_bytes()))
            }
            Self::Credential(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    self.refused("CREDENTIALS_DIRECTORY is not set: have the service manager load it (LoadCredential=)")
                })?;
                // systemd lets the service's user in by an access list, which shows as the group's right to read.
                self.read(&Path::new(&folder).join(name), 0o640)
            }
        }
    }

    fn read(&self, path: &Path, wanted: u32) -> Result<Zeroizing<Vec<u8>>, Error> {
        let wrong = |error: std::io::Error| self.refused(format!("{}: {error}", path.display()));
        // Looked at first: opening a pipe would wait.
        if !std::fs::metadata(path).map_err(wrong)?.is_file() {
            return Err(self.refused("it is no file"));
        }
        let file = File::open(path).map_err(wrong)?;
        let mode = file.metadata().map_err(wrong)?.permissions().mode() & 0o7777;
        if mode & !wanted != 0 {
            return Err(Error::LooseMode { path: path.to_owned(), mode, wanted });
        }
        // All the room at once: a buffer that grows leaves copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(SOURCE_BYTES_MAX));
        file.take(SOURCE_BYTES_MAX as u64).read_to_end(&mut text).map_err(wrong)?;
        Ok(text)
    }
}

impl Provide for Source {
    fn load(&self) -> Result<Box<dyn MasterKey>, Error> {
        let key = parse(&self.text()?).map_err(|what| self.refused(what))?;
        Ok(Box::new(Software::new(&key)))
    }
}

/// A key file, or a line of base64 or hex.
fn parse(text: &[u8]) -> Result<Key, &'static str> {
    if text.starts_with(b"keylatch ") {
        let file = KeyFile::parse(Kind::Master, text).ok_or("it is no whole master key file")?;
        let whole = file.id == MasterKeyId::of(&file.key).as_str();
        return if whole { Ok(file.key) } else { Err("it is damaged: the key does not go with its id") };
    }
    let line = text.trim_ascii();
    let mut bytes = Zeroizing::new([0; 33]);
    let length = match line.len() {
        64 => data_encoding::HEXLOWER_PERMISSIVE.decode_mut(line, bytes.get_mut(..32).unwrap_or_default()).ok(),
        _ => BASE64_STANDARD.decode_slice(line, bytes.as_mut()).ok(),
    };
    let key = bytes.first_chunk::<32>().filter(|_| length == Some(32));
    let key = key.ok_or("it is no master key: one is 32 random bytes, in base64 (`openssl rand -base64 32`) or hex")?;
    if key.windows(2).all(|pair| pair.first() == pair.last()) {
        return Err("every byte of it is the same: that is no random key");
    }
    Ok(Zeroizing::new(*key))
}

/// The master keys that a store may be under. Its keyring says which of them it is.
#[derive(Clone)]
pub struct MasterKeys {
    sources: Vec<Arc<dyn Provide>>,
    /// The file that is made where there is none, and takes part in rotation.
    own: Option<PathBuf>,
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKeys({})", self.names())
    }
}

impl MasterKeys {
    /// Of these sources, new keyrings are under the first. None of them is ever written to.
    pub fn new(sources: Vec<Source>) -> Self {
        let provide = |source| Arc::new(source) as Arc<dyn Provide>;
        Self::of(sources.into_iter().map(provide).collect())
    }

    /// The same of whatever provides one.
    pub fn of(sources: Vec<Arc<dyn Provide>>) -> Self {
        Self { sources, own: None }
    }

    /// A file of the platform's own: made for a new store, replaced at rotation by the one that stands beside it
    /// (`….next`), and then kept (`….retired-…`), for older backups are under it.
    pub fn own(path: PathBuf) -> Self {
        let next = Source::File(successor(&path));
        let mut keys = Self::new(vec![Source::File(path.clone()), next]);
        keys.own = Some(path);
        keys
    }

    /// One more place to look.
    #[must_use]
    pub fn with(mut self, source: Arc<dyn Provide>) -> Self {
        self.sources.push(source);
        self
    }

    /// Those of others, too.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.sources.extend(others.sources.iter().cloned());
        self
    }

    /// The file of the platform's own, where there is one.
    pub fn own_file(&self) -> Option<&Path> {
        self.own.as_deref()
    }

    fn names(&self) -> String {
        self.sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The one for new keyrings. A file of our own is made where it is missing.
    pub(crate) fn first(&self) -> Result<Box<dyn MasterKey>, Error> {
        if let Some(own) = &self.own {
            make(own)?;
        }
        let first = self.sources.first().ok_or_else(|| Error::MasterKey {
            from: "no source".to_owned(),
            what: "name one: file:PATH, env:KEYLATCH_NAME or credential:NAME".to_owned(),
        })?;
        first.load()
    }

    /// The one with this id; `keyring` is what is under it.
    pub(crate) fn find(&self, keyring: &Path, wanted: &MasterKeyId) -> Result<Box<dyn MasterKey>, Error> {
        let mut tried = Vec::new();
        for source in &self.sources {
            match source.load() {
                Ok(key) if key.id() == wanted => return Ok(key),
                Ok(key) => tried.push(format!("{source} is {}", key.id())),
                Err(error) => tried.push(error.to_string()),
            }
        }
        Err(Error::NoMasterKey { keyring: keyring.to_owned(), wanted: wanted.clone(), tried: tried.join("; ") })
    }

    /// The one that takes the present one's place: of our own file, the one beside it, made where it is not there yet.
    pub(crate) fn next(&self) -> Result<Box<dyn MasterKey>, Error> {
        let own = self.own.as_ref().ok_or_else(|| Error::MasterKey {
            from: self.names(),
            what: "it is not the platform's own to replace: make the new key, and name it (--to)".to_owned(),
        })?;
        let next = successor(own);
        make(&next)?;
        Source::File(next).load()
    }

    /// Brings the names of our own files in order, once the keyring is under the next one. Repeatable.
    pub(crate) fn settle(&self, under: &MasterKeyId) -> Result<(), Error> {
        let Some(own) = &self.own else { return Ok(()) };
        let next = successor(own);
        // A copy of a key that outlived it would be one too many.
        files::remove_partials(own)?;
        files::remove_partials(&next)?;
        match Source::File(next.clone()).load() {
            Ok(key) if key.id() == under => {}
            _ => return Ok(()),
        }
        // Missing it is where this was cut short after the first renaming.
        if own.exists() {
            let old = Source::File(own.clone()).load()?;
            if old.id() == under {
                return files::remove(&next);
            }
            files::rename(own, &with_suffix(own, &format!(".retired-{}", old.id())))?;
        }
        files::rename(&next, own)
    }
}

fn successor(path: &Path) -> PathBuf {
    with_suffix(path, ".next")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes a master key file where there is none. Of two that do, one is first.
fn make(path: &Path) -> Result<(), Error> {
    if path.exists() {
        // Whoever made it may have been cut short before it was sure to stay, and the store's keys will be under it.
        return files::sync_beside(path);
    }
    let key = random_key()?;
    let file = KeyFile { id: MasterKeyId::of(&key).as_str().to_owned(), key };
    match files::create_whole(path, &file.text(Kind::Master)) {
        Err(Error::Exists { .. }) => files::sync_beside(path),
        // Another one was first, and has cleared away what we had begun.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound && path.exists() => {
            files::sync_beside(path)
        }
        made => made,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    /// A master key file of one's own in a folder.
    pub(crate) fn masters_of(folder: &Path, name: &str) -> MasterKeys {
        MasterKeys::own(folder.join(name))
    }

    const BASE64: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
    const HEX: &str = "0102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F20";

    /// Computed by other means: HKDF-SHA-256 of the key, no salt, info `keylatch master key id v1`.
    const GOLDEN: &str = "master-9729338bec76facb6988b45529be173a7303533e3d4965b35f3486189a3efb07";

    fn file(folder: &Path, text: impl AsRef<[u8]>) -> Source {
        let path = folder.join("master");
        // Made with its mode: between writing and changing it, it would be open.
        let _ = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        Source::File(path)
    }

    #[test]
    fn one_key_has_one_id_however_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let id = |text: &str| file(folder.path(), text).load().unwrap().id().clone();
        let wanted = id(BASE64);
        assert_eq!(wanted.as_str(), GOLDEN, "golden");
        for same in [format!("{BASE64}\n"), HEX.to_owned(), format!("{}\r\n", HEX.to_lowercase())] {
            assert_eq!(id(&same), wanted, "{same:?}");
        }
        assert_ne!(id(&BASE64.replace("AQ", "Ag")), wanted);
    }

    #[test]
    fn rejects_what_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let zeros = "0".repeat(64);
        let long = BASE64.repeat(20);
        for wrong in [
            "",
            "hunter2",
            "AQID",
            zeros.as_str(),
            "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e",
            &HEX.replace("1F20", ""),
            long.as_str(),
            "keylatch ",
        ] {
            let source = file(folder.path(), wrong);
            let Err(error) = source.load() else { panic!("took {wrong:?}") };
            assert!(matches!(error, Error::MasterKey { .. }), "{wrong:?}: {error}");
            assert!(wrong.len() < 6 || wrong.starts_with("keylatch") || !error.to_string().contains(wrong), "{error}");
        }
    }

    #[test]
    fn rejects_a_key_file_with_any_byte_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own");
        make(&path).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        let id = Source::File(path.clone()).load().unwrap().id().clone();
        make(&path).unwrap();
        assert_eq!(Source::File(path).load().unwrap().id(), &id, "it is never made anew");
        for at in 0..whole.len() {
            let mut changed = whole.clone().into_bytes();
            changed[at] ^= 1;
            let text = String::from_utf8(changed).unwrap();
            assert!(file(folder.path(), &text).load().is_err(), "byte {at}");
            assert!(file(folder.path(), &whole.as_bytes()[..at]).load().is_err(), "cut at {at}");
        }
    }

    #[test]
    fn rejects_files_that_others_can_reach() {
        let folder = tempfile::tempdir().unwrap();
        let Source::File(path) = file(folder.path(), BASE64) else { panic!() };
        for mode in [0o640, 0o604, 0o620, 0o660] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = Source::File(path.clone()).load().err();
            assert!(matches!(&refused, Some(Error::LooseMode { mode: found, .. }) if *found == mode), "{mode:o}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        Source::File(path).load().unwrap();
        assert!(Source::File(folder.path().to_owned()).load().is_err(), "a folder");
    }

    #[test]
    fn a_source_reads_as_it_shows_and_nothing_else_does() {
        for text in ["file:/etc/keylatch/master", "env:KEYLATCH_MASTER", "credential:master"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        for wrong in ["", "file:", "env:PATH", "credential:../x", "credential:", "credential:.x", BASE64, HEX] {
            let error = wrong.parse::<Source>().unwrap_err();
            assert!(wrong.len() < 40 || !error.contains(wrong), "what may be a key is not repeated: {error}");
        }
    }
}
