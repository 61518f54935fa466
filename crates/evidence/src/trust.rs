//! `trust.json`: the root's fingerprint, the authority statements, the principals' public keys. A convenience: a verifier
//! needs none of it, for the chain brings it along and the auditor pins the root.

use lifecycle::Tenant;
use model::{Envelope, Fingerprint, Principal, TenantId, command};
use serde::{Deserialize, Serialize};

/// The document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Whose chain.
    pub tenant: TenantId,
    /// The root that it is to be checked under.
    pub root: Fingerprint,
    /// Every authority statement in the chain, in order.
    pub authority: Vec<Envelope>,
    /// Everyone who is or was enrolled.
    pub principals: Vec<TrustedPrincipal>,
}

/// Somebody who is or was enrolled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedPrincipal {
    /// The key's fingerprint.
    pub fingerprint: Fingerprint,
    /// Who, with the roles held at the end.
    pub principal: Principal,
    /// Whether revoked.
    pub revoked: bool,
}

impl Trust {
    /// The document for a verified state and the authority statements on the way to it.
    pub fn of(state: &Tenant, authority: Vec<Envelope>) -> Self {
        let people = state.governance.iter().flat_map(|governance| &governance.people);
        let principal = |(fingerprint, member): (&Fingerprint, &lifecycle::state::Member)| TrustedPrincipal {
            fingerprint: *fingerprint,
            principal: member.principal.clone(),
            revoked: member.revoked.is_some(),
        };
        let principals = people.map(principal).collect();
        Self { tenant: state.chain.tenant(), root: state.root, authority, principals }
    }

    /// Those who are enrolled, as OpenSSH's `allowed_signers`, for checking a command with `ssh-keygen -Y verify`. Who was
    /// revoked is not among them: whether a command of theirs was signed before is for the chain to say.
    pub fn allowed_signers(&self) -> String {
        let line = |trusted: &TrustedPrincipal| {
            let Principal { label, key, .. } = &trusted.principal;
            format!("{label} namespaces=\"{}\" {key}\n", command::NAMESPACE)
        };
        self.principals.iter().filter(|trusted| !trusted.revoked).map(line).collect()
    }
}
