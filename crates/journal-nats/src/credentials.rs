//! Credentials: a user's JWT and private key, in the `.creds` form that every NATS client reads.
//!
//! Each user has an inbox of its own, where answers come in. Its prefix follows from the user's public key (the JWT's
//! `sub`): [`inbox_prefix`]. The server lets the user subscribe no other, so a client must be told: `inbox_prefix` in
//! nats-py, `custom_inbox_prefix` in async-nats, `--inbox-prefix` at the `nats` command.

use std::fmt;
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::secret_file;

/// The inbox prefix of the user with this public key (`U…`).
pub fn inbox_prefix(user: &str) -> String {
    format!("_INBOX.{user}")
}

/// What a user connects with.
#[derive(Clone)]
pub struct Credentials {
    user: String,
    account: String,
    jwt: String,
    seed: Zeroizing<String>,
}

/// Why credentials could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read or kept.
    #[error(transparent)]
    File(#[from] secret_file::Error),
    /// There is no such file.
    #[error("there are no credentials at `{}`", .0.display())]
    Missing(std::path::PathBuf),
    /// The text is not a `.creds` file.
    #[error("not NATS credentials: {0}")]
    Malformed(&'static str),
}

/// The members of a user's JWT that matter here.
#[derive(Deserialize)]
struct UserClaims {
    sub: String,
    iss: String,
    nats: UserData,
}

#[derive(Deserialize)]
struct UserData {
    issuer_account: Option<String>,
}

impl Credentials {
    /// Reads a `.creds` file, which must be its owner's alone.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = secret_file::read(path)?.ok_or_else(|| Error::Missing(path.to_owned()))?;
        Self::parse(&text)
    }

    /// Reads the text of a `.creds` file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let jwt = block(text, "NATS USER JWT").ok_or(Error::Malformed("there is no block `NATS USER JWT`"))?;
        let seed = block(text, "USER NKEY SEED").ok_or(Error::Malformed("there is no block `USER NKEY SEED`"))?;
        let key = KeyPair::from_seed(seed).map_err(|_| Error::Malformed("the private key does not read"))?;
        Self::new(jwt, &key)
    }

    /// Puts a user's JWT and private key together.
    pub(crate) fn new(jwt: &str, key: &KeyPair) -> Result<Self, Error> {
        let claims: UserClaims =
            claims(jwt).ok_or(Error::Malformed("the JWT does not read as a user's; was the file cut short?"))?;
        if key.public_key() != claims.sub {
            return Err(Error::Malformed("the private key is not that of the JWT's user"));
        }
        let seed = key.seed().map_err(|_| Error::Malformed("there is no private key"))?;
        let account = claims.nats.issuer_account.unwrap_or(claims.iss);
        Ok(Self { user: claims.sub, account, jwt: jwt.to_owned(), seed: Zeroizing::new(seed) })
    }

    /// Keeps them in a new file, its owner's alone.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        Ok(secret_file::create(path, &self.to_text())?)
    }

    /// The text of a `.creds` file. Secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        let (jwt, seed) = (&self.jwt, self.seed.as_str());
        Zeroizing::new(format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             The key below is secret: who has it is this user. Subscribe answers under {inbox}.>\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n",
            inbox = self.inbox_prefix(),
        ))
    }

    pub(crate) fn jwt(&self) -> &str {
        &self.jwt
    }

    /// The user's public key, `U…`.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The public key of the user's account, `A…`. For a tenant's user this is the tenant.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Under what the user's answers come in: [`inbox_prefix`] of [`Self::user`].
    pub fn inbox_prefix(&self) -> String {
        inbox_prefix(&self.user)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).field("account", &self.account).finish_non_exhaustive()
    }
}

/// The claims of a JWT, unverified: whether it holds is for the server to say.
pub(crate) fn claims<T: serde::de::DeserializeOwned>(jwt: &str) -> Option<T> {
    let claims = jwt.split('.').nth(1)?;
    serde_json::from_slice(&BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?).ok()
}

/// The line between `-----BEGIN <name>-----` and the next line of hyphens.
fn block<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.trim_matches('-').strip_prefix("BEGIN ") == Some(name))?;
    lines.find(|line| !line.is_empty()).filter(|line| !line.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(key: &KeyPair) -> Credentials {
        let account = KeyPair::new_account();
        let claims = crate::jwt::user("someone", &key.public_key(), &account.public_key());
        Credentials::new(&crate::jwt::sign(&claims, &KeyPair::new_account()).unwrap(), key).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let written = some(&KeyPair::new_user());
        let read = Credentials::parse(&written.to_text()).unwrap();
        assert_eq!((read.user(), read.account(), read.jwt()), (written.user(), written.account(), written.jwt()));
        assert_eq!(*read.to_text(), *written.to_text());
        assert_eq!(read.inbox_prefix(), format!("_INBOX.{}", written.user()));
        assert!(!format!("{read:?}").contains(&*written.seed), "a secret in a log");
    }

    #[test]
    fn rejects_what_is_not_whole_or_does_not_belong_together() {
        let (mine, other) = (some(&KeyPair::new_user()), some(&KeyPair::new_user()));
        let text = mine.to_text();
        let mixed = text.replace(&*mine.seed, &other.seed);
        let short = text.replace(&mine.jwt, "eyJ0eXAiOiJKV1QifQ.eyJz");
        let half: String = text.chars().take(text.len() / 2).collect();
        for bad in ["", &half, &mixed, &short, &text.replace(&*mine.seed, "SUAnot")] {
            assert!(matches!(Credentials::parse(bad), Err(Error::Malformed(_))), "{bad}");
        }
    }
}
