//! The subscriber in Python, against the real server.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_nats::HeaderMap;
use journal_nats::connect;
use journal_nats::log::SIGNATURE;
use journal_nats::permission::{PlatformUser, TenantUser};
use lifecycle::Judgement;
use model::authority::Tenants;
use model::command::{self, Action};
use model::event::CheckpointSigned;
use model::text::Base64;
use model::{Algorithm, Event, Fingerprint, ServiceRole, TenantId, Timestamp};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::world::{World, reason};

/// Where its packages are. Without them the test fails, and says what to do.
pub(crate) fn packages() -> PathBuf {
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

/// Takes lines of `[tenant, root, null]`, which begin a chain, and of `[signature, payload]`, its events in order; says of
/// each event whether it passes form.
const JUDGE: &str = r#"
import json, sys, subscribe
for line in sys.stdin:
    one, two, *begins = json.loads(line)
    if begins:
        chain = subscribe.Chain(one, two)
        continue
    try: verdict = bool(chain.take(one, two.encode()))
    except subscribe.Void: verdict = False
    print(json.dumps([verdict, chain.head, chain.time if chain.time > "0" else None]))
"#;

/// A chain by its name.
struct Judged {
    name: String,
    tenant: TenantId,
    root: Fingerprint,
    records: Vec<journal::Record>,
}

/// The subscriber's form is ours, also where somebody breaks the rules: every case of the law's vectors, and events by
/// keys that have no authority at the time.
#[test]
fn the_subscriber_in_python_judges_form_as_we_do() {
    for law in ["law-v1.json", "law-v2.json", "law-v3.json", "law-v4.json"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/vectors").join(law);
        let file: lifecycle::vectors::File = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let record = |event: lifecycle::vectors::EventCase| journal::Record {
            signature: event.signature,
            payload: event.payload.0.into(),
        };
        let chain = |case: lifecycle::vectors::Case| Judged {
            name: format!("{law}: {}", case.name),
            tenant: case.tenant,
            root: case.root,
            records: case.events.into_iter().map(record).collect(),
        };
        compare(&file.cases.into_iter().map(chain).collect::<Vec<_>>());
    }
    let mut scenario = lifecycle::scenario::Scenario::new();
    let authority = scenario.authority_with(2, |statement| {
        for service in &mut statement.services {
            match service.role {
                ServiceRole::Issuer => service.not_after = scenario.now,
                ServiceRole::Expirer => service.tenants = Tenants::Listed(vec![TenantId::from_bytes([9; 32])]),
                _ => {}
            }
        }
    });
    scenario.submit(ServiceRole::Registrar, lifecycle::Input::Authority(authority)).unwrap();
    let cause = model::EventHash::ZERO;
    let event = Event::CheckpointSigned(CheckpointSigned { size: 0, root: Base64(vec![]), note: String::new(), cause });
    for role in [ServiceRole::Issuer, ServiceRole::Expirer, ServiceRole::Activator] {
        scenario.forge(role, &event);
    }
    let (tenant, root) = (scenario.tenant.chain.tenant(), scenario.tenant.root);
    compare(&[Judged { name: "without authority".to_owned(), tenant, root, records: scenario.records }]);
}

/// Compares verdict, head and time after every event.
#[track_caller]
fn compare(chains: &[Judged]) {
    let mut ours = Vec::new();
    let mut lines = String::new();
    for Judged { name, tenant, root, records } in chains {
        let mut state = lifecycle::Tenant::new(*tenant, *root);
        lines += &format!("{}\n", json!([tenant, root, null]));
        for record in records {
            let judged = state.take_record(record.clone()).unwrap();
            let passes = !matches!(judged, Judgement::Void(lifecycle::Void::Form(_)));
            // Before the first event of good form there is no time yet.
            let time = (state.chain.time() > Timestamp::MIN).then(|| state.chain.time());
            ours.push((name, json!([passes, state.chain.head().hash, time])));
            let payload = String::from_utf8(record.payload.to_vec()).unwrap();
            lines += &format!("{}\n", json!([record.signature, payload]));
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/subscribe");
    let path = std::env::join_paths([packages(), folder]).unwrap();
    let mut child = std::process::Command::new("python3")
        .args(["-c", JUDGE])
        .env("PYTHONPATH", path)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Written from a thread of its own: it answers while it reads.
    let mut stdin = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    let theirs: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(theirs.len(), ours.len());
    for (theirs, (name, ours)) in theirs.iter().zip(&ours) {
        assert_eq!(theirs, ours, "{name}");
    }
}
