//! Who stands behind the services' signatures, as far as events say: which instances signed in which roles.

use std::collections::{BTreeMap, BTreeSet};

use model::{Fingerprint, ServiceRole};
use serde::{Deserialize, Serialize};

use crate::history::History;

/// The roles that no one process should hold together: between them they carry a key from birth to use.
pub const APART: [ServiceRole; 4] =
    [ServiceRole::Issuer, ServiceRole::Approver, ServiceRole::Activator, ServiceRole::Custodian];

/// An instance of services, by the name that it gives itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// The name.
    pub name: String,
    /// The roles in which events under this name were signed.
    pub roles: BTreeSet<ServiceRole>,
    /// The keys that signed them.
    pub keys: BTreeSet<Fingerprint>,
}

impl Instance {
    /// Whether it signed in roles that should be apart.
    pub fn holds_several(&self) -> bool {
        APART.iter().filter(|role| self.roles.contains(role)).count() > 1
    }
}

/// The instances of a history, by name.
pub fn instances(history: &History) -> Vec<Instance> {
    let mut instances: BTreeMap<&String, Instance> = BTreeMap::new();
    for (key, signer) in &history.signers {
        for name in &signer.instances {
            let new = || Instance { name: name.clone(), roles: BTreeSet::new(), keys: BTreeSet::new() };
            let instance = instances.entry(name).or_insert_with(new);
            instance.roles.extend(&signer.roles);
            instance.keys.insert(*key);
        }
    }
    instances.into_values().collect()
}
