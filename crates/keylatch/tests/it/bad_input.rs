//! Bad input: a problem with a stable type, nothing written, and the service goes on.

use journal::Body;
use journal::command::{KeyInHand, SignedCommand};
use model::command::{self, Action};
use model::{Algorithm, Command, Envelope, EventHash, KeyId, ProblemType, Span, TenantId, dsse};
use serde_json::{Value, json};
use service::{Clock, clock};

use crate::world::{Member, World, key_of, reason, signed, spec, use_wrap};

/// Sends bytes on a subject; the answer must be this problem, complete, with nothing written.
async fn check(tenant: &Member, subject: &str, payload: Vec<u8>, problem: ProblemType) {
    let before = tenant.history(1, 1).await.last;
    let answer = tenant.ask(subject, payload).await;
    assert_eq!(answer["type"], problem.urn(), "{subject}: {answer:#}");
    assert_eq!((&answer["ok"], answer["status"].as_u64()), (&json!(false), Some(u64::from(problem.status()))));
    for member in ["title", "detail", "advice"] {
        assert!(answer[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {answer:#}");
    }
    for event in tenant.history(before + 1, 100).await.events {
        let body = Body::parse(&event.payload.0).unwrap();
        // What has no asker, such as a checkpoint over earlier events, may come at any time.
        let data: Value = serde_json::from_str(&body.data).unwrap();
        assert!(data.get("command").is_none(), "written: {}", body.event_type);
    }
}

fn suspend() -> Action {
    Action::KeySuspend(command::KeySuspend { reason: reason() })
}

/// A command whose times or tenant are changed before it is signed.
fn changed(tenant: TenantId, key: KeyId, change: impl FnOnce(&mut Command)) -> Vec<u8> {
    let now = Clock::default().now();
    let (id, expires_at) = (clock::command_id(), now + command::LIFETIME_MAX);
    let mut command = Command { id, tenant, key_id: Some(key), issued_at: now, expires_at, action: suspend() };
    change(&mut command);
    let hand = KeyInHand::new(key_of("opa"));
    serde_json::to_vec(&SignedCommand::sign(&command, &[&hand]).unwrap()).unwrap()
}

fn envelope(tenant: TenantId, key: KeyId) -> Envelope {
    signed(tenant, suspend(), Some(key), "opa").envelope.clone()
}

fn bytes(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// The envelope with its payload rewritten and not signed again.
fn unsigned(envelope: &Envelope, change: impl FnOnce(String) -> String) -> Vec<u8> {
    let mut envelope = envelope.clone();
    let payload = String::from_utf8(envelope.payload.0).unwrap();
    envelope.payload.0 = change(payload).into_bytes();
    bytes(&envelope)
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_get_a_problem_and_change_nothing() {
    let world = World::start().await;
    let mut tenant = world.tenant("one").await;
    let other = world.tenant("two").await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    tenant.activate(key).await;
    let (id, on) = (tenant.tenant, "keylatch.cmd.key.suspend");
    let good = envelope(id, key);
    let millis = Span::from_millis;

    use ProblemType as P;
    check(&tenant, on, vec![], P::Malformed).await;
    check(&tenant, on, b"{".to_vec(), P::Malformed).await;
    check(&tenant, on, b"\xff\xfe".to_vec(), P::Malformed).await;
    check(&tenant, on, b"{\"payload\":\"\",\"payload\":\"\"}".to_vec(), P::Malformed).await;
    check(&tenant, on, b"null".to_vec(), P::Malformed).await;
    check(&tenant, on, b"[".repeat(10_000), P::Malformed).await;
    check(&tenant, on, bytes(&Envelope { payload_type: dsse::EVENT.into(), ..good.clone() }), P::Malformed).await;
    check(&tenant, on, bytes(&Envelope { signatures: vec![], ..good.clone() }), P::BadSignature).await;
    check(&tenant, on, unsigned(&good, |text| text.replace("test", "tset")), P::BadSignature).await;
    check(&tenant, on, bytes(&swapped(&good, &envelope(other.tenant, key))), P::BadSignature).await;
    check(&tenant, on, bytes(&padded(&good)), P::TooLarge).await;
    check(&tenant, "keylatch.cmd.key.resume", bytes(&good), P::UnknownAction).await;
    check(&tenant, on, bytes(&envelope(other.tenant, key)), P::WrongTenant).await;
    check(&tenant, on, changed(id, key, |c| c.expires_at = c.issued_at + millis(0)), P::Expired).await;
    check(&tenant, on, changed(id, key, |c| c.expires_at = c.expires_at + millis(1)), P::LifetimeTooLong).await;
    check(
        &tenant,
        on,
        changed(id, key, |c| {
            c.issued_at = c.issued_at + Span::from_secs(120);
            c.expires_at = c.issued_at + Span::from_secs(60);
        }),
        P::NotYetIssued,
    )
    .await;
    check(&tenant, on, changed(id, clock::key_id(), |_| ()), P::UnknownKey).await;
    check(&tenant, on, bytes(&signed(id, suspend(), Some(key), "zoe").envelope), P::UnknownPrincipal).await;
    check(&tenant, on, bytes(&signed(id, suspend(), Some(key), "app").envelope), P::RoleMissing).await;
    check(&tenant, on, bytes(&signed(id, suspend(), Some(key), "opa,zoe").envelope), P::UnknownPrincipal).await;

    let generate = |key| Action::KeyGenerate(command::KeyGenerate { spec: key });
    let twice = signed(id, generate(spec(Algorithm::Ed25519)), Some(key), "rae");
    check(&tenant, "keylatch.cmd.key.generate", bytes(&twice.envelope), P::KeyExists).await;
    let mut elsewhere = spec(Algorithm::Ed25519);
    elsewhere.backend = "hsm".parse().unwrap();
    let elsewhere = signed(id, generate(elsewhere), Some(clock::key_id()), "rae");
    check(&tenant, "keylatch.cmd.key.generate", bytes(&elsewhere.envelope), P::NotSupported).await;
    let resume = Action::KeyResume(command::KeyResume { against: tenant.key(key).head, reason: reason() });
    let resume = signed(id, resume, Some(key), "opa");
    check(&tenant, "keylatch.cmd.key.resume", bytes(&resume.envelope), P::ForbiddenTransition).await;
    let stale = Action::KeyDeactivate(command::KeyDeactivate { against: EventHash::ZERO, reason: reason() });
    let stale = signed(id, stale, Some(key), "opa");
    check(&tenant, "keylatch.cmd.key.deactivate", bytes(&stale.envelope), P::StateChanged).await;
    let approve = command::ActivationApprove::new(EventHash::ZERO);
    let approve = signed(id, Action::ActivationApprove(approve), Some(key), "sam");
    check(&tenant, "keylatch.cmd.activation.approve", bytes(&approve.envelope), P::KeyNotPreActive).await;
    check(&tenant, "keylatch.hist.get", b"{}".to_vec(), P::Malformed).await;
    check(&tenant, "keylatch.hist.get", bytes(&json!({ "from": 0, "max": 1 })), P::Malformed).await;
    check(&tenant, "keylatch.hist.get", bytes(&json!({ "from": u64::MAX, "max": 1 })), P::Malformed).await;
    check(&tenant, "keylatch.hist.get", b"[1,1]".to_vec(), P::Malformed).await;

    // And the service goes on.
    let answer = tenant.ask(on, bytes(&good)).await;
    assert_eq!(answer["ok"], true, "{answer:#}");
    assert_eq!(tenant.ask(on, bytes(&good)).await, answer, "the same command, the same answer");
}

/// The signature of another command on this one.
fn swapped(good: &Envelope, other: &Envelope) -> Envelope {
    Envelope { signatures: other.signatures.clone(), ..good.clone() }
}

/// A payload over 24 KiB.
fn padded(good: &Envelope) -> Envelope {
    let mut payload = good.payload.clone();
    payload.0.resize(command::PAYLOAD_BYTES_MAX + 1, b' ');
    Envelope { payload, ..good.clone() }
}

/// A use is carried out once; asked for again it is refused, and refusals are gathered into the log.
#[tokio::test(flavor = "multi_thread")]
async fn uses_are_not_repeated_and_refusals_are_recorded_gathered() {
    let world = World::start().await;
    let mut tenant = world.tenant("one").await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    for _ in 0..20 {
        assert_eq!(tenant.wrap(key).await, Err(ProblemType::KeyNotActive.urn()));
    }
    tenant.activate(key).await;
    let once = use_wrap(tenant.tenant, key, "app");
    assert_eq!(tenant.send(&once).await["ok"], true);
    assert_eq!(tenant.send(&once).await["type"], ProblemType::UseRepeated.urn());

    let count = |name: &str, events: &[Value]| events.iter().filter(|event| event["type"] == name).count();
    let mut events: Vec<Value> = Vec::new();
    while count("dev.keylatch.custody.used.v1", &events) == 0 || count("dev.keylatch.custody.refused.v1", &events) < 2 {
        let head = tenant.state.chain.head().sequence;
        tenant.until(|state| state.chain.head().sequence > head || !events.is_empty()).await;
        let history = tenant.history(1, 1000).await;
        events = history.events.iter().map(|event| serde_json::from_slice(&event.payload.0).unwrap()).collect();
    }
    let refused = count("dev.keylatch.custody.refused.v1", &events);
    assert!(refused <= 4, "{refused} refusals were recorded one by one");
}

/// Who has no standing in a tenant leaves nothing in its log, whatever keys it names.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_leave_nothing_in_the_log() {
    let world = World::start().await;
    let mut tenant = world.tenant("one").await;
    let id = tenant.tenant;
    for _ in 0..5 {
        let key = tenant.generate(Algorithm::Aes256Gcm).await;
        let stranger = use_wrap(id, key, "nobody");
        assert_eq!(tenant.send(&stranger).await["type"], ProblemType::UnknownPrincipal.urn());
        let mut early = stranger.command.clone();
        early.issued_at = early.issued_at + Span::from_secs(3600);
        early.expires_at = early.issued_at + Span::from_secs(10);
        let envelope = SignedCommand::sign(&early, &[&KeyInHand::new(key_of("nobody"))]).unwrap();
        let early = SignedCommand::open(envelope).unwrap();
        assert_eq!(tenant.send(&early).await["type"], ProblemType::NotYetIssued.urn());
    }
    // A refusal of somebody who has standing is recorded: with it, whatever was counted before would be.
    let key = *tenant.state.keys.keys().next().unwrap();
    assert_eq!(tenant.wrap(key).await, Err(ProblemType::KeyNotActive.urn()));
    let refused = |event: &model::history::HistoryEvent| {
        let event: Value = serde_json::from_slice(&event.payload.0).unwrap();
        event["type"] == "dev.keylatch.custody.refused.v1"
    };
    loop {
        let history = tenant.whole_history().await;
        match history.iter().filter(|event| refused(event)).count() {
            0 => tenant.until(|state| state.chain.head().sequence.0 > history.len() as u64).await,
            recorded => return assert_eq!(recorded, 1),
        }
    }
}
