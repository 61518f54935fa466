//! The subscriber in Python, against the real server.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_nats::HeaderMap;
use journal_nats::connect;
use journal_nats::log::SIGNATURE;
use journal_nats::permission::{PlatformUser, TenantUser};
use model::command::{self, Action};
use model::{Algorithm, ServiceRole, TenantId};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::world::{World, reason};

/// Where its packages are. Without them the test fails, and says what to do.
fn packages() -> PathBuf {
    let named = std::env::var_os("KEYLATCH_TEST_PYTHONPATH").map(PathBuf::from);
    named.expect("the subscriber needs nats-py and PyNaCl: run `cargo xtask test`, or set KEYLATCH_TEST_PYTHONPATH")
}

async fn until(lines: &mut Lines<BufReader<ChildStdout>>, wanted: &str) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("no `{wanted}` in {seen:#?}")).unwrap();
        seen.push(line.unwrap_or_else(|| panic!("it ended: {seen:#?}")));
        if seen.last().unwrap().contains(wanted) {
            return seen;
        }
    }
}

/// Puts into the log what nats-py takes for a signature, and nobody else does. Whoever hashes it finds no event good
/// that comes behind.
async fn misread(world: &World, tenant: TenantId) {
    let user = PlatformUser::Service(ServiceRole::Expirer);
    let credentials = world.platform.deployment().operator.credentials_path(user);
    let service = connect::connect(&world.platform.url(), &credentials, "expirer").await.unwrap();
    let (mut repeated, mut not_plain) = (HeaderMap::new(), HeaderMap::new());
    repeated.append(SIGNATURE, "one");
    repeated.append(SIGNATURE, "two");
    not_plain.insert(SIGNATURE, "one");
    not_plain.insert("A", "\u{e4}");
    for headers in [repeated, not_plain] {
        let subject = format!("kl.{tenant}.log.key.expired");
        service.publish_with_headers(subject, headers, "{}".into()).await.unwrap();
    }
    connect::round_trip(&service).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subscriber_in_python_follows_verifies_and_acts() {
    let world = World::start().await;
    let mut tenant = world.tenant("one").await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    let deployment = world.platform.deployment();
    let user = deployment.operator.tenant(tenant.tenant).unwrap();
    let credentials = user.user(TenantUser::Reader, &"subscriber".parse().unwrap()).unwrap();
    let path = world.dir.path().join("reader.creds");
    credentials.save(&path).unwrap();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/subscribe/subscribe.py");
    assert!(std::fs::read_to_string(&script).unwrap().lines().count() < 100);
    let mut child: Child = Command::new("python3")
        .arg(script)
        .args([&world.platform.url(), path.to_str().unwrap(), &deployment.root.to_string()])
        .env("PYTHONPATH", packages())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();

    let from_history = until(&mut lines, &format!("key {key} is pre-active")).await;
    assert!(from_history[0].starts_with("1 ") && from_history[0].ends_with("tenant.created"), "{from_history:#?}");
    tenant.activate(key).await;
    let live = until(&mut lines, &format!("key {key} is active")).await;
    misread(&world, tenant.tenant).await;
    let suspend = Action::KeySuspend(command::KeySuspend { reason: reason() });
    assert_eq!(tenant.command(suspend, Some(key), "opa").await["ok"], true);
    let more = until(&mut lines, &format!("key {key} is suspended")).await;
    assert_eq!(more.iter().filter(|line| line.contains("VOID")).count(), 2, "{more:#?}");
    let all = [from_history, live, more].concat();
    assert_eq!(all.iter().filter(|line| line.contains("VOID")).count(), 2, "{all:#?}");
    let numbered: Vec<u64> = all.iter().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
    assert!(numbered.iter().copied().eq(1..=numbered.len() as u64), "a gap in {numbered:?}");
}
