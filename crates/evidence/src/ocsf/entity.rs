//! What lines are about: keys, people, the tenant, policies.

use model::people::PrincipalKind;
use model::{EventHash, Fingerprint, KeyId, KeyState, Name, TenantId};
use serde::Serialize;

use super::Context;

/// OCSF's managed entity.
#[derive(Serialize)]
pub(super) struct Entity<'a> {
    uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'static str,
    type_id: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<KeyData<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Person<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<Organization<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Policy<'a>>,
}

/// What a key is for, and its state after the event.
#[derive(Serialize)]
struct KeyData<'a> {
    state: KeyState,
    algorithm: &'static str,
    workload: &'a Name,
    responsibility: &'static str,
    environment: &'a Name,
    store: &'a Name,
}

/// OCSF's user: a person or a workload, by its key.
#[derive(Serialize)]
pub(super) struct Person<'a> {
    uid: Fingerprint,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    type_id: Option<u8>,
}

#[derive(Serialize)]
struct Organization<'a> {
    uid: TenantId,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a Name>,
}

/// OCSF's policy: one of the tenant's, or a legal pack.
#[derive(Serialize)]
pub(super) struct Policy<'a> {
    /// The event that adopted or declared it.
    uid: EventHash,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a Name>,
}

/// OCSF's resource.
#[derive(Serialize)]
pub(super) struct Resource<'a> {
    uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a Name>,
    #[serde(rename = "type")]
    kind: &'static str,
}

const KEY: &str = "Cryptographic Key";
const TENANT: &str = "Tenant";

impl<'a> Entity<'a> {
    /// Something that OCSF has no kind of its own for.
    pub(super) fn other(kind: &'static str, uid: String, name: Option<&'a str>) -> Self {
        Self::of_kind((99, kind), uid, name)
    }

    fn of_kind((type_id, kind): (u8, &'static str), uid: String, name: Option<&'a str>) -> Self {
        Self { uid, name, kind, type_id, version: None, data: None, user: None, org: None, policy: None }
    }

    /// A policy or legal pack, by the event that adopted or declared it.
    pub(super) fn policy(kind: &'static str, uid: EventHash, name: &'a Name, version: u32) -> Self {
        let policy = Some(Policy { uid, name: Some(name) });
        let version = Some(version.to_string());
        Self { policy, version, ..Self::of_kind((5, kind), uid.to_string(), Some(name.as_str())) }
    }

    /// What people call it.
    pub(super) fn label(&self) -> &str {
        self.name.unwrap_or(&self.uid)
    }
}

impl<'a> Context<'a> {
    pub(super) fn key(self, id: KeyId) -> Entity<'a> {
        let key = self.state.keys.get(&id);
        let data = key.map(|key| KeyData {
            state: key.state,
            algorithm: key.spec.algorithm.name(),
            workload: &key.spec.workload,
            responsibility: key.spec.responsibility.name(),
            environment: &key.spec.environment,
            store: &key.store,
        });
        Entity { data, ..Entity::other(KEY, id.to_string(), key.map(|key| key.spec.label.as_str())) }
    }

    pub(super) fn tenant(self) -> Entity<'a> {
        let (uid, name) = (self.state.chain.tenant(), self.tenant_name());
        let org = Some(Organization { uid, name });
        Entity { org, ..Entity::of_kind((4, TENANT), uid.to_string(), name.map(Name::as_str)) }
    }

    pub(super) fn principal(self, who: Fingerprint) -> Entity<'a> {
        let person = self.person(who);
        let name = person.name.map(Name::as_str);
        Entity { user: Some(person), ..Entity::of_kind((2, "User"), who.to_string(), name) }
    }

    pub(super) fn person(self, uid: Fingerprint) -> Person<'a> {
        let member = self.state.governance.as_deref().and_then(|governance| governance.people.get(&uid));
        let type_id = member.map(|member| match member.principal.kind {
            PrincipalKind::Person => 1,
            PrincipalKind::Workload => 4,
        });
        Person { uid, name: member.map(|member| &member.principal.label), type_id }
    }

    /// The policy that was in force, by its `policy.adopted`.
    pub(super) fn in_force(self, policy: EventHash) -> Policy<'a> {
        let governance = self.state.governance.as_deref().and_then(|governance| governance.policy.as_ref());
        let name = governance.filter(|in_force| in_force.hash == policy).map(|in_force| &in_force.policy.name);
        Policy { uid: policy, name }
    }

    pub(super) fn key_resource(self, id: KeyId) -> Resource<'a> {
        let name = self.state.keys.get(&id).map(|key| &key.spec.label);
        Resource { uid: id.to_string(), name, kind: KEY }
    }

    pub(super) fn tenant_resource(self) -> Resource<'a> {
        Resource { uid: self.state.chain.tenant().to_string(), name: self.tenant_name(), kind: TENANT }
    }

    fn tenant_name(self) -> Option<&'a Name> {
        self.state.governance.as_deref().map(|governance| &governance.name)
    }
}
