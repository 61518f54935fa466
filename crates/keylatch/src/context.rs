//! Contexts: which platform, which tenant, under which root, as whom. One TOML file each, made by hand or by
//! `keylatch context add`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use model::{Fingerprint, Name, TenantId};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::toml_text::explain;

/// The variable that names the configuration folder.
pub const HOME_VARIABLE: &str = "KEYLATCH_CONFIG_HOME";

/// What a command must know of a tenant. Relative paths in the file are relative to its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The bus: `nats://host:port` or `tls://host:port`.
    pub url: String,
    /// The NATS credentials of a user of the tenant's account.
    pub credentials: PathBuf,
    /// The tenant.
    pub tenant: TenantId,
    /// The root's fingerprint: what everything is verified under. Pinned, never fetched.
    pub root: Fingerprint,
    /// An SSH key that signs commands: a private key, or a public one whose private half an agent or a token has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
}

/// The folder with the contexts.
#[derive(Clone, Debug)]
pub struct Contexts {
    home: PathBuf,
}

impl Contexts {
    /// In the folder that the environment names: `$KEYLATCH_CONFIG_HOME`, `$XDG_CONFIG_HOME/keylatch` or
    /// `~/.config/keylatch`.
    pub fn from_environment() -> Result<Self, Error> {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = folder(HOME_VARIABLE)
            .or_else(|| Some(folder("XDG_CONFIG_HOME")?.join("keylatch")))
            .or_else(|| Some(folder("HOME")?.join(".config/keylatch")));
        let home = home.ok_or_else(|| {
            Error::usage("there is no folder for the configuration", format!("set {HOME_VARIABLE}, or HOME"))
        })?;
        Ok(Self { home })
    }

    /// In this folder.
    pub fn at(home: impl Into<PathBuf>) -> Self {
        Self { home: home.into() }
    }

    /// The folder.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The file of a context.
    pub fn path(&self, name: &Name) -> PathBuf {
        self.home.join("contexts").join(format!("{name}.toml"))
    }

    fn current_path(&self) -> PathBuf {
        self.home.join("current")
    }

    /// Every context there is, by name.
    pub fn names(&self) -> Result<Vec<Name>, Error> {
        let folder = self.home.join("contexts");
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| Error::file(&folder, error, "see the folder's permissions"))?,
        };
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.ok()?.file_name().to_str()?.strip_suffix(".toml").and_then(|name| name.parse().ok())
        };
        let mut names: Vec<Name> = entries.filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    /// The context in use, where one was chosen or there is only one.
    pub fn current(&self) -> Result<Option<Name>, Error> {
        let path = self.current_path();
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map(Some).map_err(|error| {
                Error::file(&path, format!("line 1: {error}"), "choose one with `keylatch context use NAME`")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut names = self.names()?;
                Ok(if names.len() == 1 { names.pop() } else { None })
            }
            Err(error) => Err(Error::file(&path, error, "see the file's permissions")),
        }
    }

    /// The context to work with: the one named, else the one in use.
    pub fn choose(&self, named: Option<&Name>) -> Result<Name, Error> {
        if let Some(name) = named {
            return Ok(name.clone());
        }
        let choose = || {
            Error::usage(
                "no context is in use",
                format!("choose one with `keylatch context use NAME` or --context NAME: {}", self.known()),
            )
        };
        let add = || {
            Error::usage(
                format!("there is no context in {}", self.home.display()),
                "add one: keylatch context add NAME --url nats://HOST:4222 --credentials FILE.creds --root SHA256:…",
            )
        };
        match self.current()? {
            Some(name) => Ok(name),
            None if self.names()?.is_empty() => Err(add()),
            None => Err(choose()),
        }
    }

    /// The names there are, in words.
    fn known(&self) -> String {
        let names = self.names().unwrap_or_default();
        if names.is_empty() {
            return "there is none yet".to_owned();
        }
        names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Reads a context; its paths come out absolute. An error names the file, the line and the mend.
    pub fn load(&self, name: &Name) -> Result<Context, Error> {
        let path = self.path(name);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let what = format!("there is no context `{name}` ({})", path.display());
                return Err(Error::usage(what, format!("take one of these, or add it: {}", self.known())));
            }
            text => text.map_err(|error| Error::file(&path, error, "see the file's permissions"))?,
        };
        let context: Context = toml::from_str(&text).map_err(|error| {
            let advice =
                "mend that line; a context has `url`, `credentials`, `tenant`, `root` and, where you sign, `identity`";
            Error::file(&path, explain(&text, &error), advice)
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Ok(Context {
            credentials: absolute(folder, &context.credentials),
            identity: context.identity.map(|identity| absolute(folder, &identity)),
            ..context
        })
    }

    /// Keeps a context. One of this name is replaced only where `replace` says so.
    pub fn add(&self, name: &Name, context: &Context, replace: bool) -> Result<PathBuf, Error> {
        let path = self.path(name);
        if path.exists() && !replace {
            return Err(Error::file(&path, "there is this context already", "take another name, or give --replace"));
        }
        let text = toml::to_string(context).map_err(|error| Error::usage(error, "see the paths given"))?;
        write_whole(&path, &text)?;
        Ok(path)
    }

    /// Makes a context the one in use.
    pub fn use_from_now_on(&self, name: &Name) -> Result<(), Error> {
        self.load(name)?;
        write_whole(&self.current_path(), &format!("{name}\n"))
    }

    /// Removes a context. Credentials and keys that it names stay where they are.
    pub fn remove(&self, name: &Name) -> Result<(), Error> {
        let path = self.path(name);
        let chosen = fs::read_to_string(self.current_path()).is_ok_and(|text| text.trim() == name.as_str());
        fs::remove_file(&path).map_err(|error| {
            Error::file(&path, error, format!("take one of these, or see the permissions: {}", self.known()))
        })?;
        if chosen {
            let current = self.current_path();
            fs::remove_file(&current).map_err(|error| Error::file(&current, error, "see the file's permissions"))?;
        }
        Ok(())
    }
}

/// A path as written in a file of `folder`.
fn absolute(folder: &Path, path: &Path) -> PathBuf {
    let home = path.strip_prefix("~").ok().zip(std::env::var_os("HOME"));
    match home {
        Some((rest, home)) => PathBuf::from(home).join(rest),
        None => folder.join(path),
    }
}

/// Writes a file whole or not at all.
pub fn write_whole(path: &Path, text: &str) -> Result<(), Error> {
    use io::Write as _;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        fs::File::open(folder)?.sync_all()
    };
    written().map_err(|error| Error::file(path, format!("can't be written: {error}"), "see the folder's permissions"))
}
