//! A deployment's folder: keys, authority, and where everything else lives.
//!
//! ```text
//! root/key             the root key. In production: a hardware key, offline
//! root/authority.json  what it said last: an authority statement
//! registrar/key        signs the beginning of tenants
//! services/<role>/key  signs the events of a role
//! services/custodian/master-key          what the key store's keyring is under, unless another is named
//! services/evidence-exporter/probe-key   signs what the exporter tries, to see it refused
//! operator/            the NATS operator, its accounts and users
//! nats/                the server: streams, accounts, configuration, log
//! state/               replica and archive
//! keys/                the software key store
//! port                 where the server listens
//! exporter.toml        who outside vouches for checkpoints, where anybody does: put there by whoever runs it
//! ```

use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use journal::command::{Hand as _, KeyInHand};
use journal::{ServiceKey, authority};
use journal_nats::{Operator, secret_file};
use lifecycle::RULES;
use lifecycle::decide::Authorised;
use model::authority::{Service, Statement, Tenants};
use model::people::PublicKey;
use model::{Envelope, Fingerprint, Name, ServiceRole, Span, Timestamp};
use service::secret::read_or_make_key;
use service::{Clock, Error};

/// How long before now a new service key's authority begins: clocks differ.
const BEFORE: Span = Span::from_secs(3600);
/// How long service keys have authority.
const AUTHORITY_FOR: Span = Span::from_secs(10 * 365 * 24 * 3600);

/// An opened deployment.
pub struct Deployment {
    dir: PathBuf,
    /// The NATS operator.
    pub operator: Operator,
    /// The root's fingerprint: what auditors pin.
    pub root: Fingerprint,
    /// The root's word on who serves.
    pub authority: Authorised,
}

impl Deployment {
    /// Opens the folder, and makes what is missing in it. Files with secrets that others can read are refused.
    pub fn open(dir: &Path, clock: &Clock) -> Result<Self, Error> {
        service::secret::ensure_folder(dir)?;
        // Absolute, so that it means the same to child processes.
        let dir = dir.canonicalize().map_err(|error| wrong(dir, error))?;
        let operator = Operator::open(&dir.join("operator")).map_err(|error| wrong(&dir.join("operator"), error))?;
        let root = KeyInHand::new(read_or_make_key(&dir.join("root/key"), "keylatch root")?);
        let registrar = public(&read_or_make_key(&dir.join("registrar/key"), "keylatch registrar")?);
        let mut services = Vec::new();
        for role in ServiceRole::SERVICES {
            services
                .push((role, public(&read_or_make_key(&service_key_path(&dir, role), &format!("keylatch {role}"))?)));
        }
        read_or_make_key(&probe_key_path(&dir), "keylatch probes")?;
        let authority = authority_of(&dir.join("root/authority.json"), &root, &registrar, &services, clock)?;
        Ok(Self { dir, operator, root: root.public_key().fingerprint(), authority })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name of the instance that runs on this folder.
    pub fn instance(&self) -> Result<Name, Error> {
        "all-in-one".parse().map_err(|error: model::id::Malformed| Error::Internal(error.to_string()))
    }

    /// The key of a role.
    pub fn service_key(&self, role: ServiceRole) -> Result<ServiceKey, Error> {
        let path = match role {
            ServiceRole::Registrar => self.dir.join("registrar/key"),
            role => service_key_path(&self.dir, role),
        };
        Ok(ServiceKey::new(service::secret::read_key(&path)?, role, &self.instance()?))
    }

    /// The key that the exporter probes with. Tenants enrol its public half; no statement names it.
    pub fn probe_key(&self) -> Result<SigningKey, Error> {
        service::secret::read_key(&probe_key_path(&self.dir))
    }

    /// Where a role's key stands.
    pub fn service_key_path(&self, role: ServiceRole) -> PathBuf {
        service_key_path(&self.dir, role)
    }

    /// The port that the server is to listen on: chosen once, so that contexts stay good.
    pub fn port(&self) -> Result<u16, Error> {
        let path = self.dir.join("port");
        let choose = || free_port().map(|port| port.to_string()).unwrap_or_default();
        let text = secret_file::read_or_create(&path, choose).map_err(|error| wrong(&path, error))?;
        text.trim().parse().map_err(|_| wrong(&path, "not a port; remove the file to have another chosen"))
    }

    /// Where the server listens.
    pub fn url(&self) -> Result<String, Error> {
        Ok(format!("nats://127.0.0.1:{}", self.port()?))
    }
}

fn wrong(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::File { path: path.to_owned(), error: error.to_string() }
}

pub(super) fn service_key_path(dir: &Path, role: ServiceRole) -> PathBuf {
    dir.join("services").join(role.name()).join("key")
}

/// Where the key stands that the exporter probes with.
pub(crate) fn probe_key_path(dir: &Path) -> PathBuf {
    service_key_path(dir, ServiceRole::EvidenceExporter).with_file_name("probe-key")
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey::ed25519(key.verifying_key().as_bytes())
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The statement that stands, where it names these keys; else a newer one, signed by the root.
fn authority_of(
    path: &Path,
    root: &KeyInHand,
    registrar: &PublicKey,
    services: &[(ServiceRole, PublicKey)],
    clock: &Clock,
) -> Result<Authorised, Error> {
    let held = read_authority(path, root.public_key().fingerprint())?;
    let epoch = match held {
        Some(held) if names(&held.statement, registrar, services) => return Ok(held),
        Some(held) => held.statement.epoch + 1,
        None => 1,
    };
    let statement = new_statement(root, epoch, registrar, services, clock.now());
    let envelope = authority::sign(&statement, root).map_err(|error| wrong(path, error))?;
    let json = serde_json::to_string_pretty(&envelope).map_err(|error| wrong(path, error))?;
    secret_file::replace(path, &(json + "\n")).map_err(|error| wrong(path, error))?;
    Ok(Authorised { statement, envelope })
}

/// What the root said last, where it has said anything.
fn read_authority(path: &Path, root: Fingerprint) -> Result<Option<Authorised>, Error> {
    let Some(text) = secret_file::read(path).map_err(|error| wrong(path, error))? else { return Ok(None) };
    let envelope: Envelope = serde_json::from_str(&text).map_err(|error| wrong(path, error))?;
    let statement = authority::open(&envelope, root).map_err(|error| wrong(path, error))?;
    Ok(Some(Authorised { statement, envelope }))
}

/// Whether a statement names these keys and no others, under the rules of this program.
fn names(statement: &Statement, registrar: &PublicKey, services: &[(ServiceRole, PublicKey)]) -> bool {
    let named: Vec<_> = statement.services.iter().map(|service| (service.role, service.public_key.clone())).collect();
    named == services && statement.registrars == std::slice::from_ref(registrar) && statement.rules == RULES
}

fn new_statement(
    root: &KeyInHand,
    epoch: u64,
    registrar: &PublicKey,
    services: &[(ServiceRole, PublicKey)],
    now: Timestamp,
) -> Statement {
    let service = |(role, public_key): &(ServiceRole, PublicKey)| Service {
        role: *role,
        public_key: public_key.clone(),
        tenants: Tenants::ALL,
        not_before: Timestamp::from_unix_millis(now.unix_millis() - BEFORE.as_millis()),
        not_after: now + AUTHORITY_FOR,
    };
    Statement {
        root: root.public_key().fingerprint(),
        epoch,
        rules: RULES,
        registrars: vec![registrar.clone()],
        services: services.iter().map(service).collect(),
        issued_at: now,
    }
}
