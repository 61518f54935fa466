//! Authority statements: what the root key says about who may sign what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Fingerprint, TenantId};
use crate::people::{PublicKey, ServiceRole};
use crate::time::Timestamp;

/// The SSHSIG namespace of a root's signature.
pub const NAMESPACE: &str = "keylatch-authority";

/// The payload of an authority statement. It travels in a DSSE envelope signed by the root key (SSHSIG), inside
/// `tenant.created` and `authority.changed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The root's fingerprint: what an auditor pins.
    pub root: Fingerprint,
    /// Rises by one with each statement.
    pub epoch: u64,
    /// The rules epoch in force: which event types and rules a reader must know.
    pub rules: u32,
    /// Keys that may create tenants and bring newer statements.
    pub registrars: Vec<PublicKey>,
    /// Service keys with their role, tenants and time.
    pub services: Vec<Service>,
    /// When it was made.
    pub issued_at: Timestamp,
}

/// One service key's authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The role whose event types it may sign.
    pub role: ServiceRole,
    /// Its Ed25519 key, as OpenSSH text.
    pub public_key: PublicKey,
    /// In which tenants.
    pub tenants: Tenants,
    /// Not before this time (of the event).
    pub not_before: Timestamp,
    /// Nor at or after this one; the last time that can be written stands for no end.
    pub not_after: Timestamp,
}

/// All tenants (`"all"`), or the ones listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Tenants {
    /// The word `all`.
    All(AllTenants),
    /// These tenants.
    Listed(Vec<TenantId>),
}

/// The word `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AllTenants {
    /// Every tenant, also those made later.
    All,
}

impl Tenants {
    /// Every tenant.
    pub const ALL: Self = Self::All(AllTenants::All);

    /// Whether `tenant` is among them.
    pub fn covers(&self, tenant: TenantId) -> bool {
        match self {
            Self::All(AllTenants::All) => true,
            Self::Listed(tenants) => tenants.contains(&tenant),
        }
    }
}
