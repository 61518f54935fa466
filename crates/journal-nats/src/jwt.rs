//! The JWTs of NATS operator mode: the claims of an operator, an account and a user.
//!
//! Every signing key of an account is *scoped*: the account's JWT holds the permissions of whoever the key signs, and
//! the server takes them from there. A user's own JWT can't ask for more, and a stolen signing key
//! of readers makes readers, not members. A change of the table reaches every user with the account's JWT.

use std::time::Duration;

use model::{TenantId, subject};
use nats_jwt_rs::account::{Account, AccountLimits, JetStreamLimits, OperatorLimits};
use nats_jwt_rs::types::{
    Export, ExportType, Import, NatsLimits, Permission, Permissions, ResponsePermission, ScopeType, SigningKey,
    UserScope,
};
use nats_jwt_rs::user::{User, UserPermissionLimits};
use nats_jwt_rs::{Claim, Claims, operator};
use nkeys::KeyPair;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::credentials;
use crate::permission;

/// No limit, to the server.
const UNLIMITED: i64 = -1;
/// The largest message that a tenant's user may send, in bytes: a command's envelope with room for its signatures.
const TENANT_MESSAGE_BYTES_MAX: i64 = 64 * 1024;
/// How many subscriptions a connection of a tenant's user may hold.
const TENANT_SUBSCRIPTIONS_MAX: i64 = 1024;
/// How long a service may take to answer a request that reached it.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);
/// Where the tenant stands in `kl.<T>.…`, counted from 1. The server compares it with the importing account.
const TENANT_POSITION: u64 = 2;

/// A signing key of an account, by its public key, and what whoever it signs may do.
pub(crate) struct Scope {
    pub(crate) key: String,
    pub(crate) name: &'static str,
    pub(crate) permissions: permission::Permissions,
}

/// The operator's claims. Accounts must be signed by the signing key, and users by their account's.
pub(crate) fn operator(operator: &KeyPair, signing: &KeyPair, system: &str) -> Claims<operator::Operator> {
    let mut claims = operator::Operator::new_claims("keylatch".to_owned(), operator.public_key());
    claims.nats.signing_keys = Some(vec![signing.public_key()]);
    claims.nats.system_account = Some(system.to_owned());
    claims.nats.strict_signing_key_usage = Some(true);
    claims
}

/// The system account: only the server's own subjects.
pub(crate) fn system_account(id: &str, scope: Scope) -> Claims<Account> {
    account("SYS", id, [scope], no_limits(), None)
}

/// The platform's account: where the streams live, and what tenants may import of it. The server holds each import to
/// the importing account's own name.
pub(crate) fn platform_account(id: &str, scopes: impl IntoIterator<Item = Scope>) -> Claims<Account> {
    let jetstream = JetStreamLimits {
        disk_storage: Some(UNLIMITED),
        streams: Some(UNLIMITED),
        consumer: Some(UNLIMITED),
        ..JetStreamLimits::default()
    };
    let mut claims = account("platform", id, scopes, no_limits(), Some(jetstream));
    claims.nats.exports = Some(vec![
        export("commands", subject::every_tenant("cmd", ">"), ExportType::Service),
        export("history", subject::every_tenant("hist", ">"), ExportType::Service),
        export("events", subject::ALL_EVENTS.to_owned(), ExportType::Stream),
    ]);
    claims
}

/// A tenant's account: no streams of its own, and three imports that lead to its own subjects.
pub(crate) fn tenant_account(
    name: &str,
    tenant: TenantId,
    platform: &str,
    scopes: impl IntoIterator<Item = Scope>,
) -> Claims<Account> {
    let limits = NatsLimits {
        payload: Some(TENANT_MESSAGE_BYTES_MAX),
        subs: Some(TENANT_SUBSCRIPTIONS_MAX),
        data: Some(UNLIMITED),
    };
    let mut claims = account(name, &tenant.to_string(), scopes, limits, None);
    let import = |name: &str, theirs: String, ours: &str, kind| Import {
        name: name.to_owned(),
        account: platform.to_owned(),
        subject: theirs,
        local_subject: ours.to_owned(),
        export_type: Some(kind),
        ..Import::default()
    };
    claims.nats.imports = Some(vec![
        import("commands", subject::commands_all(tenant), subject::tenant::COMMANDS, ExportType::Service),
        import("history", subject::history_all(tenant), subject::tenant::HISTORY, ExportType::Service),
        import("events", subject::events_all(tenant), subject::tenant::EVENTS, ExportType::Stream),
    ]);
    claims
}

/// A user of an account, with nothing of its own: what it may do stands at the signing key.
pub(crate) fn user(name: &str, user: &str, account: &str) -> Claims<User> {
    let mut claims = User::new_claims(name.to_owned(), user.to_owned());
    claims.nats.issuer_account = Some(account.to_owned());
    claims.nats.permissions.limits = None;
    claims
}

/// Signs.
pub(crate) fn sign<T>(claims: &Claims<T>, key: &KeyPair) -> Result<String, SignError>
where
    T: Claim + DeserializeOwned + Serialize + Clone,
{
    claims.encode(key).map_err(|error| SignError(error.to_string()))
}

/// A JWT could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("can't sign a JWT: {0}")]
pub struct SignError(String);

/// Whether a JWT says this, and is signed with this key. Two that differ only in when they were signed say the same.
pub(crate) fn says<T>(jwt: &str, claims: &Claims<T>, signer: &KeyPair) -> bool
where
    T: Claim + DeserializeOwned + Serialize + Clone,
{
    let Some(mut found) = credentials::claims::<serde_json::Map<String, serde_json::Value>>(jwt) else { return false };
    let Ok(serde_json::Value::Object(mut wanted)) = serde_json::to_value(claims) else { return false };
    wanted.insert("iss".to_owned(), signer.public_key().into());
    for moment in ["iat", "jti"] {
        found.remove(moment);
        wanted.remove(moment);
    }
    found == wanted
}

fn account(
    name: &str,
    id: &str,
    scopes: impl IntoIterator<Item = Scope>,
    nats: NatsLimits,
    jetstream: Option<JetStreamLimits>,
) -> Claims<Account> {
    let mut claims = Account::new_claims(name.to_owned(), id.to_owned());
    let template_limits = nats.clone();
    claims.nats.signing_keys =
        Some(scopes.into_iter().map(|scope| signing_key(scope, template_limits.clone())).collect());
    // No leaf nodes: a leaf's server would speak for users that this server never sees.
    let account = AccountLimits { leaf: Some(0), disallow_bearer: Some(true), ..AccountLimits::default() };
    claims.nats.limits =
        Some(OperatorLimits { nats: Some(nats), account: Some(account), jetstream, tiered_limits: None });
    // A user that no scope speaks for can do nothing.
    let nothing = || Permission { allow: Vec::new(), deny: vec![">".to_owned()] };
    claims.nats.default_permissions = Some(Permissions { publish: nothing(), subscribe: nothing(), resp: None });
    claims
}

fn signing_key(scope: Scope, limits: NatsLimits) -> SigningKey {
    let permission::Permissions { publish, mut subscribe, answers } = scope.permissions;
    // The server puts the user's public key in.
    subscribe.push(format!("{}.>", credentials::inbox_prefix("{{subject()}}")));
    let permissions = Permissions {
        publish: Permission { allow: publish, deny: Vec::new() },
        subscribe: Permission { allow: subscribe, deny: Vec::new() },
        resp: answers.then_some(ResponsePermission { max_messages: 1, ttl: ANSWER_TIME_MAX }),
    };
    let limits = nats_jwt_rs::types::Limits { nats_limits: Some(limits), user_limits: None };
    let template =
        UserPermissionLimits { permissions, limits: Some(limits), bearer_token: None, allowed_connection_types: None };
    let scope = UserScope {
        kind: ScopeType::UserScope,
        key: scope.key,
        role: Some(scope.name.to_owned()),
        template: Some(template),
        description: None,
    };
    SigningKey { key: scope.key.clone(), scope: Some(scope) }
}

fn export(name: &str, subject: String, kind: ExportType) -> Export {
    Export {
        name: name.to_owned(),
        subject,
        export_type: Some(kind),
        account_token_position: Some(TENANT_POSITION),
        ..Export::default()
    }
}

fn no_limits() -> NatsLimits {
    NatsLimits::default()
}
