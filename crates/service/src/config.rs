//! A service's configuration: one TOML file.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use model::{Fingerprint, Name};
use serde::Deserialize;

use crate::Error;

/// What a service must be told. Paths are relative to the file's folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The pinned root's fingerprint, `SHA256:…`.
    pub root: Fingerprint,
    /// The bus, `nats://host:port`.
    pub url: String,
    /// The bus credentials of this role.
    pub credentials: PathBuf,
    /// The Ed25519 key of this role, in OpenSSH's format.
    pub key: PathBuf,
    /// A name for this instance, which its events carry.
    pub instance: Name,
    /// The folder for the replica (and, of the exporter, the archive).
    pub state: PathBuf,
    /// Of the custodian: the folder of its keys; `keys` in `state` where it is not named. A second custodian on the same
    /// folder waits until the first is gone, and takes over.
    keys: Option<PathBuf>,
    /// Of the exporter: the folder of the bundles; `exports` in `state` where it is not named. Exporters that run side by side
    /// share one, so that each hands out what any has made.
    exports: Option<PathBuf>,
    /// Of the exporter: how many bundles of a tenant are kept, the newest. Left out, all are.
    pub keep_exports: Option<NonZeroUsize>,
    /// Of the exporter: the Ed25519 key that it probes with, in OpenSSH's format; the same for all exporters. Left out, it
    /// probes nothing.
    pub probe_key: Option<PathBuf>,
}

impl Config {
    /// Reads the file. An error names the file, the line and the mend.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let wrong = |error: String| Error::File { path: path.to_owned(), error };
        let text =
            std::fs::read_to_string(path).map_err(|error| wrong(format!("{error}; name the file with --config")))?;
        let config: Self = toml::from_str(&text).map_err(|error| wrong(explain(&text, &error)))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Ok(Self {
            credentials: folder.join(config.credentials),
            key: folder.join(config.key),
            state: folder.join(config.state),
            keys: config.keys.map(|keys| folder.join(keys)),
            exports: config.exports.map(|exports| folder.join(exports)),
            probe_key: config.probe_key.map(|key| folder.join(key)),
            ..config
        })
    }

    /// The folder of the custodian's keys.
    pub fn keys(&self) -> PathBuf {
        self.keys.clone().unwrap_or_else(|| self.state.join("keys"))
    }

    /// The folder of the exporter's bundles.
    pub fn exports(&self) -> PathBuf {
        self.exports.clone().unwrap_or_else(|| self.state.join("exports"))
    }
}

/// A TOML error with its line, as `line 3: …`.
pub fn explain(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
    match line {
        Some(line) => format!("line {line}: {}", error.message()),
        None => error.message().to_owned(),
    }
}
