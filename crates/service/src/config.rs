//! A service's configuration: one TOML file.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use journal::note::{Kind, NoteKey};
use model::{Fingerprint, Name, Span};
use serde::{Deserialize, Deserializer};

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
    /// Of the custodian: the master keys that its key store may be under, `file:…`, `env:…` or `credential:…`. Left out, the
    /// platform's own: `master-key` beside the custodian's key.
    #[serde(default)]
    pub master_key: Vec<String>,
    /// The file's folder.
    #[serde(skip)]
    pub folder: PathBuf,
    /// Of the custodian: the file that lists its stores beside the software one; `stores.toml` beside the configuration where it
    /// is not named, and none where there is no such file.
    stores: Option<PathBuf>,
    /// Of the exporter: the folder of the bundles; `exports` in `state` where it is not named. Exporters that run side by side
    /// share one, so that each hands out what any has made.
    exports: Option<PathBuf>,
    /// Of the exporter: how many bundles of a tenant are kept, the newest. Left out, all are.
    pub keep_exports: Option<NonZeroUsize>,
    /// Of the exporter: the Ed25519 key that it probes with, in OpenSSH's format; the same for all exporters. Left out, it
    /// probes nothing.
    pub probe_key: Option<PathBuf>,
    /// Of the exporter: witnesses, as in [`Outside`].
    #[serde(default)]
    witness: Vec<Witness>,
    /// Of the exporter: who stamps the time, as in [`Outside`].
    timestamp: Option<TimestampAuthority>,
}

/// Who outside the platform vouches for checkpoints. Left out, nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outside {
    /// The witnesses that are asked to cosign (C2SP tlog-witness).
    #[serde(default)]
    pub witness: Vec<Witness>,
    /// The authority that is asked for time stamps (RFC 3161).
    pub timestamp: Option<TimestampAuthority>,
}

/// A witness.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// Its submission prefix: checkpoints are posted to `<url>/add-checkpoint`.
    #[serde(deserialize_with = "http_url")]
    pub url: String,
    /// The key that it cosigns with, `<name>+<hex>+<base64>`.
    #[serde(deserialize_with = "cosigner")]
    pub vkey: NoteKey,
    /// For a tenant, it is asked no more often.
    #[serde(default = "every_minute")]
    pub every: Span,
}

/// A time-stamping authority.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimestampAuthority {
    /// Where questions are posted to.
    #[serde(deserialize_with = "http_url")]
    pub url: String,
    /// For a tenant, it is asked no more often.
    #[serde(default = "every_hour")]
    pub every: Span,
}

/// The most witnesses: their lines must fit below a checkpoint.
pub const WITNESSES_MAX: usize = 15;

const fn every_minute() -> Span {
    Span::from_secs(60)
}

const fn every_hour() -> Span {
    Span::from_secs(3_600)
}

fn http_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let url = String::deserialize(deserializer)?;
    let fits = url.starts_with("https://") || url.starts_with("http://");
    let wrong = || serde::de::Error::custom(format!("`{url}` is no address: it begins with https:// or http://"));
    if fits { Ok(url.trim_end_matches('/').to_owned()) } else { Err(wrong()) }
}

fn cosigner<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NoteKey, D::Error> {
    let key: NoteKey = String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)?;
    let wrong = || serde::de::Error::custom(format!("`{key}` is a log's key: a witness has one of kind 4"));
    if key.kind() == Kind::Cosignature { Ok(key) } else { Err(wrong()) }
}

impl Outside {
    /// Reads a file of its own, where there is one: with `keylatch up`, what the exporter's configuration would say.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let wrong = |error: String| Error::File { path: path.to_owned(), error };
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read.map_err(|error| wrong(error.to_string()))?,
        };
        toml::from_str::<Self>(&text).map_err(|error| wrong(explain(&text, &error)))?.checked().map_err(wrong)
    }

    fn checked(self) -> Result<Self, String> {
        if self.witness.len() > WITNESSES_MAX {
            return Err(format!("there are {} witnesses; {WITNESSES_MAX} at most", self.witness.len()));
        }
        let mut keys: Vec<String> = self.witness.iter().map(|witness| witness.vkey.to_string()).collect();
        keys.sort();
        match keys.iter().zip(keys.iter().skip(1)).find(|(one, other)| one == other) {
            Some((twice, _)) => Err(format!("the witness `{twice}` stands twice")),
            None => Ok(self),
        }
    }
}

impl Config {
    /// Reads the file. An error names the file, the line and the mend.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let wrong = |error: String| Error::File { path: path.to_owned(), error };
        let text =
            std::fs::read_to_string(path).map_err(|error| wrong(format!("{error}; name the file with --config")))?;
        let config: Self = toml::from_str(&text).map_err(|error| wrong(explain(&text, &error)))?;
        config.outside().checked().map_err(wrong)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Ok(Self {
            credentials: folder.join(config.credentials),
            key: folder.join(config.key),
            state: folder.join(config.state),
            keys: config.keys.map(|keys| folder.join(keys)),
            exports: config.exports.map(|exports| folder.join(exports)),
            probe_key: config.probe_key.map(|key| folder.join(key)),
            folder: folder.to_owned(),
            ..config
        })
    }

    /// The folder of the custodian's keys.
    pub fn keys(&self) -> PathBuf {
        self.keys.clone().unwrap_or_else(|| self.state.join("keys"))
    }

    /// The file that lists the custodian's further stores.
    pub fn stores(&self) -> PathBuf {
        self.folder.join(self.stores.as_deref().unwrap_or(Path::new("stores.toml")))
    }

    /// The folder of the exporter's bundles.
    pub fn exports(&self) -> PathBuf {
        self.exports.clone().unwrap_or_else(|| self.state.join("exports"))
    }

    /// Who outside vouches for checkpoints.
    pub fn outside(&self) -> Outside {
        Outside { witness: self.witness.clone(), timestamp: self.timestamp.clone() }
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

#[cfg(test)]
mod tests {
    use super::*;

    const VKEY: &str = "witness.example/w1+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X";

    fn load(text: &str) -> Result<Outside, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exporter.toml");
        std::fs::write(&path, text).unwrap();
        Outside::load(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn witnesses_and_an_authority_are_read() {
        let witness = format!("[[witness]]\nurl = \"https://witness.example/\"\nvkey = \"{VKEY}\"\n");
        let read = load(&format!("{witness}every = \"10s\"\n[timestamp]\nurl = \"http://tsa.example\"\n")).unwrap();
        assert_eq!(read.witness[0].url, "https://witness.example");
        assert_eq!((read.witness[0].vkey.to_string().as_str(), read.witness[0].every), (VKEY, Span::from_secs(10)));
        assert_eq!(read.timestamp.unwrap().every, Span::from_secs(3_600));
        assert_eq!(load(&witness).unwrap().witness[0].every, Span::from_secs(60));
        assert_eq!(load(""), Ok(Outside::default()));
        assert_eq!(Outside::load(Path::new("/nowhere/exporter.toml")).unwrap(), Outside::default());
        let log = "x+00000000+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        for (wrong, said) in [
            (witness.replace("https", "ftp"), "line 2: `ftp://witness.example/` is no address"),
            (witness.replace("20324abe", "20324abf"), "line 3: "),
            (witness.replace(VKEY, log), "line 3: "),
            (format!("{witness}{witness}"), "stands twice"),
            (format!("{witness}how = 1\n"), "unknown field `how`"),
            ("[timestamp]\n".to_owned(), "missing field `url`"),
        ] {
            let error = load(&wrong).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
