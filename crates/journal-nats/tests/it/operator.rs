//! The operator's directory, and what the server makes of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use journal_nats::operator::Error;
use journal_nats::server::Server;
use journal_nats::{
    CredentialsError, Operator, PlatformUser, SecretFileError, TenantUser, connect, inbox_prefix, provision,
};
use model::ServiceRole;
use nats_jwt_rs::account::Account;
use nkeys::KeyPair;

use crate::bus::Bus;

const ISSUER: PlatformUser = PlatformUser::Service(ServiceRole::Issuer);

#[test]
fn a_second_start_loads_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("operator");
    let tenant = Operator::open(&dir).unwrap().create_tenant(&"acme".parse().unwrap()).unwrap();
    let before = everything_in(&dir);
    let operator = Operator::open(&dir).unwrap();
    assert_eq!(operator.tenants().unwrap(), [tenant.id()]);
    assert_eq!(operator.tenant(tenant.id()).unwrap().jwt(), tenant.jwt());
    assert_eq!(everything_in(&dir), before);
}

#[test]
fn two_that_start_at_once_end_up_with_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("operator");
    let open = || {
        let operator = Operator::open(&dir).unwrap();
        (operator.accounts().operator, operator.platform_account().to_owned(), operator.accounts().system)
    };
    let ((_, platform, system), (_, other_platform, other_system)) = std::thread::scope(|scope| {
        let (one, two) = (scope.spawn(open), scope.spawn(open));
        (one.join().unwrap(), two.join().unwrap())
    });
    assert_eq!((platform, system), (other_platform, other_system));
}

#[test]
fn every_secret_is_its_owners_alone_and_a_looser_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("operator");
    Operator::open(&dir).unwrap().create_tenant(&"acme".parse().unwrap()).unwrap();
    for (path, (mode, _)) in everything_in(&dir) {
        let wanted = if dir.join(&path).is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, wanted, "{path}");
    }
    for (path, loose, strict) in [("platform/issuer.nk", 0o640, 0o600), ("platform", 0o750, 0o700), ("", 0o701, 0o700)]
    {
        let path = dir.join(path);
        fs::set_permissions(&path, fs::Permissions::from_mode(loose)).unwrap();
        let Err(Error::File(SecretFileError::Loose { path: named, mode, wanted })) = Operator::open(&dir) else {
            panic!("took {} with mode {loose:o}", path.display())
        };
        assert_eq!((dir.join(named), mode, wanted), (path.clone(), loose, strict));
        fs::set_permissions(&path, fs::Permissions::from_mode(strict)).unwrap();
    }
    assert!(Operator::open(&dir).is_ok());
}

#[test]
fn no_private_key_of_an_account_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let operator = Operator::open(dir.path().join("operator").as_path()).unwrap();
    let tenant = operator.create_tenant(&"acme".parse().unwrap()).unwrap();
    let accounts = [tenant.id().to_string(), operator.platform_account().to_owned(), operator.accounts().system];
    for (path, (_, content)) in everything_in(&dir.path().join("operator")) {
        if let Ok(key) = KeyPair::from_seed(&content) {
            assert!(!accounts.contains(&key.public_key()), "{path}");
        }
    }
}

#[test]
fn the_operators_identity_may_be_kept_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("operator");
    Operator::open(&dir).unwrap();
    fs::rename(dir.join("operator.nk"), dir.join("../elsewhere.nk")).unwrap();
    assert!(Operator::open(&dir).is_ok());
    fs::remove_file(dir.join("operator-signing.nk")).unwrap();
    assert!(matches!(Operator::open(&dir), Err(Error::NoIdentity(_))));
    fs::rename(dir.join("../elsewhere.nk"), dir.join("operator.nk")).unwrap();
    assert!(Operator::open(&dir).is_ok());
}

#[tokio::test]
async fn a_tenant_is_provisioned_as_often_as_one_likes() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("acme").await;
    bus.provisioner.provision(&tenant).await.unwrap();
    let again = Operator::open(&bus.dir.path().join("operator")).unwrap().tenant(tenant.id()).unwrap();
    bus.provisioner.provision(&again).await.unwrap();
}

#[tokio::test]
async fn rejects_a_stream_that_is_set_up_otherwise() {
    let bus = Bus::start().await;
    let tenant = bus.operator.create_tenant(&"acme".parse().unwrap()).unwrap();
    let id = tenant.id();
    let config = serde_json::json!({ "name": id, "subjects": [format!("kl.{id}.log.>")], "max_age": 1_000_000_000 });
    let provisioner = bus.platform(PlatformUser::PROVISIONER).await;
    provisioner.ask(&format!("$JS.API.STREAM.CREATE.{id}"), &config.to_string()).await;
    let error = bus.provisioner.provision(&tenant).await.unwrap_err();
    let provision::Error::StreamDiffers { tenant, differences } = error else { panic!("{error}") };
    assert_eq!(tenant, id);
    let members: Vec<_> = differences.iter().map(|difference| difference.member.as_str()).collect();
    for member in ["max_age", "deny_delete", "deny_purge", "allow_atomic", "republish", "max_msg_size"] {
        assert!(members.contains(&member), "{member} is not in {members:?}");
    }
    assert!(!members.contains(&"subjects"));
}

#[tokio::test]
async fn rejects_accounts_that_the_operator_does_not_vouch_for() {
    let bus = Bus::start().await;
    let account = KeyPair::new_account().public_key();
    let claims = Account::new_claims("stranger".to_owned(), account);
    let identity = fs::read_to_string(bus.dir.path().join("operator/operator.nk")).unwrap();
    let identity = KeyPair::from_seed(&identity).unwrap();
    // The identity is not a signing key; a server that took it would not be strict.
    for jwt in ["not a JWT".to_owned(), claims.encode(&identity).unwrap()] {
        let error = bus.provisioner.push(&jwt).await.unwrap_err();
        assert!(matches!(error, provision::Error::AccountRefused(_)), "{error}");
    }
    let signing = fs::read_to_string(bus.dir.path().join("operator/operator-signing.nk")).unwrap();
    bus.provisioner.push(&claims.encode(&KeyPair::from_seed(&signing).unwrap()).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_signing_key_that_is_deleted_takes_its_users_with_it() {
    let mut bus = Bus::start().await;
    let (issuer, monitor) =
        (bus.operator.credentials(ISSUER).unwrap(), bus.operator.credentials(PlatformUser::Monitor).unwrap());
    let dir = bus.dir.path().join("operator");
    fs::remove_file(dir.join("platform/issuer.nk")).unwrap();
    bus.operator = Operator::open(&dir).unwrap();
    let settings = journal_nats::server::Settings { accounts: bus.operator.accounts(), ..bus.server.settings() };
    bus.server.stop().await;
    bus.server = Server::start(settings).await.unwrap();

    let url = bus.server.url();
    let refused = connect::connect_as(&url, &issuer, "test").await;
    assert!(matches!(refused, Err(connect::Error::Refused { .. })));
    assert!(connect::connect_as(&url, &monitor, "test").await.is_ok());
    let renewed = bus.operator.credentials(ISSUER).unwrap();
    assert_ne!(renewed.user(), issuer.user());
    assert!(connect::connect_as(&url, &renewed, "test").await.is_ok());
}

#[tokio::test]
async fn connects_with_a_credentials_file_that_is_its_owners_alone() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("acme").await;
    let path = bus.dir.path().join("someone.creds");
    let credentials = tenant.user(TenantUser::Member, &"someone".parse().unwrap()).unwrap();
    credentials.save(&path).unwrap();
    assert!(credentials.save(&path).is_err(), "overwritten");
    assert_eq!(credentials.account(), tenant.id().to_string());

    let url = bus.server.url();
    let client = connect::connect(&url, &path, "test").await.unwrap();
    assert!(client.new_inbox().starts_with(&format!("{}.", inbox_prefix(credentials.user()))));

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = connect::connect(&url, &path, "test").await.unwrap_err();
    let connect::Error::Credentials(CredentialsError::File(SecretFileError::Loose { mode: 0o644, .. })) = error else {
        panic!("{error}")
    };
    let nothing = connect::connect(&url, Path::new("nothing.creds"), "test").await.unwrap_err();
    assert!(matches!(nothing, connect::Error::Credentials(CredentialsError::Missing(_))));
}

#[tokio::test]
async fn tells_why_there_is_no_connection() {
    let bus = Bus::start().await;
    let unknown = bus.operator.create_tenant(&"acme".parse().unwrap()).unwrap();
    let unknown = unknown.user(TenantUser::Member, &"someone".parse().unwrap()).unwrap();
    let url = bus.server.url();
    let error = connect::connect_as(&url, &unknown, "test").await.unwrap_err();
    assert!(matches!(error, connect::Error::Refused { .. }), "{error}");
    bus.server.stop().await;
    let error = connect::connect_as(&url, &unknown, "test").await.unwrap_err();
    assert!(matches!(error, connect::Error::Unreachable { .. }), "{error}");
}

/// Mode and content of everything under a directory.
fn everything_in(dir: &Path) -> BTreeMap<String, (u32, String)> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let mode = fs::metadata(&path).unwrap().mode() & 0o7777;
        let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            found.insert(name, (mode, String::new()));
        } else {
            found.insert(name, (mode, fs::read_to_string(&path).unwrap()));
        }
    }
    found
}
