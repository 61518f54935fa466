//! The operator: it vouches for accounts, and for the users of each.
//!
//! Everything lives in one directory. The keys in it are what counts; the JWTs follow from them and from the table in
//! [`crate::permission`], and are signed anew when that has changed. Private keys of accounts are thrown away as soon
//! as they have given the account its name: the operator vouches for accounts and scoped signing keys for users, so
//! there is nothing they would be needed for.
//!
//! ```text
//! operator.nk            the operator's identity; needed to change the next two, and may be kept offline
//! operator.jwt           names the signing key and the system account
//! operator-signing.nk    signs accounts
//! system/                account.id, account.jwt, system.nk, system.creds
//! platform/              account.id, account.jwt, and for each platform user <user>.nk, <user>.creds
//! tenants/<T>/           account.jwt, member.nk, reader.nk
//! ```
//!
//! `<user>.nk` signs the users of that kind. To be rid of credentials that leaked, delete it: the next start makes
//! another and credentials that go with it, and the server no longer takes what the old one signed.

use std::path::{Path, PathBuf};

use model::{Name, TenantId};
use nkeys::{KeyPair, KeyPairType};

use crate::credentials::{self, Credentials};
use crate::jwt::{self, Scope};
use crate::permission::{self, PlatformUser, TenantUser};
use crate::secret_file;
use crate::server::Accounts;

/// The operator's directory, opened.
pub struct Operator {
    dir: PathBuf,
    jwt: String,
    signing: KeyPair,
    system: Account,
    platform: Account,
}

/// An account of the platform's own.
struct Account {
    id: String,
    jwt: String,
}

/// Why the operator could not be opened, or could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or kept.
    #[error(transparent)]
    File(#[from] secret_file::Error),
    /// Credentials that stand in the directory can't be used.
    #[error("`{}`: {source}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: credentials::Error,
    },
    /// A file does not hold what its name says.
    #[error("`{}` does not hold {wanted}: bring it back from a backup", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// The operator's identity is needed and is not there.
    #[error("`{}` is needed, because what it vouched for has changed: put it back for this start", .0.display())]
    NoIdentity(PathBuf),
    /// There is no such tenant.
    #[error("there is no tenant {0} here")]
    UnknownTenant(TenantId),
    /// A JWT could not be signed.
    #[error(transparent)]
    Sign(#[from] jwt::SignError),
}

impl Operator {
    /// Opens the operator's directory; makes what is missing in it. Two that start at once end up with the same.
    ///
    /// Refuses a file or directory that others than its owner can get at.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        for part in ["", "system", "platform", "tenants"] {
            secret_file::ensure_dir(&dir.join(part))?;
        }
        let signing = key(&dir.join("operator-signing.nk"), KeyPairType::Operator)?;
        let system = system_account(&dir.join("system"), &signing)?;
        let platform = platform_account(&dir.join("platform"), &signing)?;
        let jwt = operator_jwt(dir, &signing, &system.id)?;
        Ok(Self { dir: dir.to_owned(), jwt, signing, system, platform })
    }

    /// The JWTs and accounts that a server needs to work for this operator.
    pub fn accounts(&self) -> Accounts {
        Accounts {
            operator: self.jwt.clone(),
            system: self.system.id.clone(),
            preload: [&self.system, &self.platform]
                .map(|account| (account.id.clone(), account.jwt.clone()))
                .into_iter()
                .collect(),
        }
    }

    /// The platform's account, `A…`.
    pub fn platform_account(&self) -> &str {
        &self.platform.id
    }

    /// Where a platform user's credentials stand.
    pub fn credentials_path(&self, user: PlatformUser) -> PathBuf {
        self.dir.join("platform").join(format!("{}.creds", user.name()))
    }

    /// A platform user's credentials.
    pub fn credentials(&self, user: PlatformUser) -> Result<Credentials, Error> {
        load_credentials(&self.credentials_path(user))
    }

    /// The credentials of the system account's user, which brings accounts to the server.
    pub fn system_credentials(&self) -> Result<Credentials, Error> {
        load_credentials(&self.dir.join("system/system.creds"))
    }

    /// Makes a tenant: an account, whose public key is the tenant's id, and the keys that sign its users. The server
    /// learns of it by [`crate::Provisioner::provision`].
    pub fn create_tenant(&self, name: &Name) -> Result<Tenant, Error> {
        let account = KeyPair::new_account().public_key();
        let dir = self.dir.join("tenants").join(&account);
        let id = account.parse().map_err(|_| Error::Malformed { path: dir.clone(), wanted: "an account's name" })?;
        secret_file::ensure_dir(&dir)?;
        // The JWT comes last: a directory without it is no tenant.
        self.write_tenant(&dir, name.as_str(), id)
    }

    /// A tenant of this operator's.
    pub fn tenant(&self, id: TenantId) -> Result<Tenant, Error> {
        let dir = self.dir.join("tenants").join(id.to_string());
        let path = dir.join("account.jwt");
        let jwt = secret_file::read(&path)?.ok_or(Error::UnknownTenant(id))?;
        let claims: NamedClaims =
            credentials::claims(&jwt).ok_or(Error::Malformed { path, wanted: "an account's JWT" })?;
        self.write_tenant(&dir, &claims.name, id)
    }

    /// The tenants of this operator's, by id.
    pub fn tenants(&self) -> Result<Vec<TenantId>, Error> {
        let dir = self.dir.join("tenants");
        let unreadable = |source| secret_file::Error::Io { action: "list", path: dir.clone(), source };
        let mut tenants = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let id: Option<TenantId> = entry.file_name().to_str().and_then(|name| name.parse().ok());
            tenants.extend(id.filter(|_| entry.path().join("account.jwt").exists()));
        }
        tenants.sort();
        Ok(tenants)
    }

    fn write_tenant(&self, dir: &Path, name: &str, id: TenantId) -> Result<Tenant, Error> {
        let mut scopes = Vec::new();
        for user in TenantUser::ALL {
            scopes.push(scope(dir, user.name(), user.permissions())?.1);
        }
        let claims = jwt::tenant_account(name, id, &self.platform.id, scopes);
        let jwt = account_jwt(dir, &claims, &self.signing)?;
        Ok(Tenant { id, name: name.to_owned(), jwt, dir: dir.to_owned() })
    }
}

/// A tenant's account and the keys that sign its users.
pub struct Tenant {
    id: TenantId,
    name: String,
    jwt: String,
    dir: PathBuf,
}

impl Tenant {
    /// The tenant: its account's public key.
    pub fn id(&self) -> TenantId {
        self.id
    }

    /// The name that it was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The account's JWT.
    pub fn jwt(&self) -> &str {
        &self.jwt
    }

    /// Makes a user. It is known by its key; the name is what the server's log and lists of connections show. Its
    /// private key is in what is returned and nowhere else.
    pub fn user(&self, kind: TenantUser, name: &Name) -> Result<Credentials, Error> {
        let signing = key(&self.dir.join(format!("{}.nk", kind.name())), KeyPairType::Account)?;
        let path = self.dir.join(name.as_str());
        new_credentials(name.as_str(), &self.id.to_string(), &signing, &path)
    }
}

#[derive(serde::Deserialize)]
struct NamedClaims {
    name: String,
}

fn system_account(dir: &Path, operator: &KeyPair) -> Result<Account, Error> {
    let id = account_id(dir)?;
    let (signing, scope) = scope(dir, "system", permission::system())?;
    let jwt = account_jwt(dir, &jwt::system_account(&id, scope), operator)?;
    keep_credentials(dir, "system", &id, &signing)?;
    Ok(Account { id, jwt })
}

fn platform_account(dir: &Path, operator: &KeyPair) -> Result<Account, Error> {
    let id = account_id(dir)?;
    let mut scopes = Vec::new();
    for user in PlatformUser::ALL {
        let (signing, scope) = scope(dir, user.name(), user.permissions())?;
        keep_credentials(dir, user.name(), &id, &signing)?;
        scopes.push(scope);
    }
    let jwt = account_jwt(dir, &jwt::platform_account(&id, scopes), operator)?;
    Ok(Account { id, jwt })
}

/// The operator's JWT: as it stands, or signed anew where it does not name this signing key and system account.
fn operator_jwt(dir: &Path, signing: &KeyPair, system: &str) -> Result<String, Error> {
    let (path, identity) = (dir.join("operator.jwt"), dir.join("operator.nk"));
    let found = secret_file::read(&path)?;
    if let Some(jwt) = &found {
        let subject = credentials::claims::<Subject>(jwt).and_then(|claims| KeyPair::from_public_key(&claims.sub).ok());
        if subject.is_some_and(|operator| jwt::says(jwt, &jwt::operator(&operator, signing, system), &operator)) {
            return Ok(jwt.to_string());
        }
        if secret_file::read(&identity)?.is_none() {
            return Err(Error::NoIdentity(identity));
        }
    }
    let operator = key(&identity, KeyPairType::Operator)?;
    let jwt = jwt::sign(&jwt::operator(&operator, signing, system), &operator)?;
    secret_file::replace(&path, &jwt)?;
    Ok(jwt)
}

#[derive(serde::Deserialize)]
struct Subject {
    sub: String,
}

/// The account's JWT: as it stands, or signed anew where it says something else.
fn account_jwt(
    dir: &Path,
    claims: &nats_jwt_rs::Claims<nats_jwt_rs::account::Account>,
    operator: &KeyPair,
) -> Result<String, Error> {
    let path = dir.join("account.jwt");
    if let Some(jwt) = secret_file::read(&path)?
        && jwt::says(&jwt, claims, operator)
    {
        return Ok(jwt.to_string());
    }
    let jwt = jwt::sign(claims, operator)?;
    secret_file::replace(&path, &jwt)?;
    Ok(jwt)
}

/// The account's public key. Its private key is thrown away here.
fn account_id(dir: &Path) -> Result<String, Error> {
    let path = dir.join("account.id");
    let id = secret_file::read_or_create(&path, || KeyPair::new_account().public_key())?;
    match KeyPair::from_public_key(&id).map(|key| key.key_pair_type()) {
        Ok(KeyPairType::Account) => Ok(id.to_string()),
        _ => Err(Error::Malformed { path, wanted: "an account's public key" }),
    }
}

/// A scoped signing key of the account in `dir`.
fn scope(dir: &Path, name: &'static str, permissions: permission::Permissions) -> Result<(KeyPair, Scope), Error> {
    let signing = key(&dir.join(format!("{name}.nk")), KeyPairType::Account)?;
    let scope = Scope { key: signing.public_key(), name, permissions };
    Ok((signing, scope))
}

fn key(path: &Path, kind: KeyPairType) -> Result<KeyPair, Error> {
    let make = || KeyPair::new(kind.clone()).seed().unwrap_or_default();
    let seed = secret_file::read_or_create(path, make)?;
    KeyPair::from_seed(&seed)
        .ok()
        .filter(|key| key.key_pair_type() == kind)
        .ok_or(Error::Malformed { path: path.to_owned(), wanted: "a private key of the right kind" })
}

/// Makes the user's credentials, unless there are some that go with the signing key.
fn keep_credentials(dir: &Path, name: &str, account: &str, signing: &KeyPair) -> Result<(), Error> {
    let path = dir.join(format!("{name}.creds"));
    match load_credentials(&path) {
        Ok(found) if jwt::says(found.jwt(), &jwt::user(name, found.user(), account), signing) => return Ok(()),
        Ok(_) | Err(Error::Credentials { source: credentials::Error::Missing(_), .. }) => {}
        Err(error) => return Err(error),
    }
    let credentials = new_credentials(name, account, signing, &path)?;
    Ok(secret_file::replace(&path, &credentials.to_text())?)
}

fn load_credentials(path: &Path) -> Result<Credentials, Error> {
    Credentials::load(path).map_err(|source| Error::Credentials { path: path.to_owned(), source })
}

fn new_credentials(name: &str, account: &str, signing: &KeyPair, path: &Path) -> Result<Credentials, Error> {
    let user = KeyPair::new_user();
    let jwt = jwt::sign(&jwt::user(name, &user.public_key(), account), signing)?;
    Credentials::new(&jwt, &user).map_err(|source| Error::Credentials { path: path.to_owned(), source })
}
