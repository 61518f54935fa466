//! Attacks on the law by somebody who holds one key or one right, and what each comes to: nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use journal::command::{Hand, KeyInHand, SignedCommand};
use journal::{Body, Record, ServiceKey, authority, statement};
use lifecycle::decide::{Authorised, usage};
use lifecycle::judge::UnknownRules;
use lifecycle::scenario::{Scenario, key_id, policy};
use lifecycle::{Footprint, Input, Judgement, Prepared, RULES, Tenant, decide, judge, prepare};
use model::authority::{Service, Statement, Tenants};
use model::event::*;
use model::policy::{Match, Stage};
use model::text::Base64;
use model::{
    Action, Digest, Envelope, Event, EventHash, EventId, KeyState, Policy, Role, ServiceRole, Span, TenantId,
    Timestamp, command, dsse,
};

/// A rules epoch that nobody knows yet.
const LATER: u32 = RULES + 1;

// === Hands ===

fn key_of(name: &str) -> SigningKey {
    SigningKey::from_bytes(Digest::of(name.as_bytes()).as_bytes())
}

fn root() -> KeyInHand {
    KeyInHand::new(key_of("root"))
}

/// The statement of the scenario, changed, signed by the root.
fn statement_of(s: &Scenario, epoch: u64, change: impl FnOnce(&mut Statement)) -> Authorised {
    let mut statement = s.authority(epoch, RULES).statement;
    change(&mut statement);
    let envelope = authority::sign(&statement, &root()).unwrap();
    Authorised { statement, envelope }
}

fn raw_statement(json: &str) -> Envelope {
    let payload = json.as_bytes().to_vec();
    let sig = Base64(root().sign(model::authority::NAMESPACE, &dsse::pae(dsse::AUTHORITY, &payload)).unwrap());
    let keyid = root().public_key().fingerprint().to_string();
    Envelope {
        payload: Base64(payload),
        payload_type: dsse::AUTHORITY.into(),
        signatures: vec![dsse::Signature { keyid, sig }],
    }
}

fn changed(authority: &Authorised) -> Event {
    Event::AuthorityChanged(AuthorityChanged {
        epoch: authority.statement.epoch,
        rules: authority.statement.rules,
        authority: authority.envelope.clone(),
    })
}

fn service(role: ServiceRole, name: &str) -> ServiceKey {
    ServiceKey::new(key_of(name), role, &"1".parse().unwrap())
}

/// An event signed by any key, as the next of the chain, envelope changed before.
fn signed_by(s: &Scenario, key: &ServiceKey, at: Timestamp, event: &Event, change: impl FnOnce(&mut Body)) -> Record {
    let mut id = [0; 16];
    (id[0], id[6], id[8], id[15]) = (1, 0x70, 0x80, u8::try_from(s.records.len() % 200).unwrap());
    let (_, authentic) = key.sign_event(&s.tenant.chain, EventId::from_bytes(id).unwrap(), at, event);
    let mut body = authentic.body;
    change(&mut body);
    key.sign_body(&body)
}

fn footprint(label: &str) -> Footprint {
    Footprint::of_key(key_id(label))
}

fn with_key() -> Scenario {
    let mut s = Scenario::new();
    s.run("generate k1 by kim => key.generated\napply k1 => custody.applied");
    s
}

fn active() -> Scenario {
    let mut s = with_key();
    s.run(
        "request k1 by rae => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved
         due => activation.authorized, key.activated
         apply k1 => custody.applied",
    );
    s
}

fn adopt(s: &mut Scenario, policy: Policy, who: &str) -> Result<model::EventType, lifecycle::Rejection> {
    let against = s.tenant.governance.as_ref().unwrap().head;
    let action = Action::PolicyAdopt(command::PolicyAdopt { against, policy });
    let signed = s.signed(action, None, who, Span::from_secs(600));
    s.submit(ServiceRole::Approver, Input::Command(signed))
}

// === What the recorder believes, and what everybody else does ===

/// A custodian's statement is opened before the lane decides. What counts is whether its signer still may at the event's
/// time, or the recorder's replica and every reader of the bytes would part ways. Here: the root takes the custodian out in
/// between (it was found compromised).
#[test]
fn a_custodians_statement_is_judged_at_record_time_as_at_replay() {
    let mut s = Scenario::new();
    let spec = s.spec("k1", model::Algorithm::Aes256Gcm);
    let action = Action::KeyGenerate(command::KeyGenerate { spec });
    let signed = s.signed(action, Some(key_id("k1")), "kim", command::LIFETIME_MAX);
    let envelope = s.statement(&signed, ServiceRole::Custodian);
    let (ring, tenant) = (s.tenant.ring(), s.tenant.chain.tenant());
    let opened = statement::open(&envelope, dsse::GENERATED, ServiceRole::Custodian, &ring, tenant, s.now).unwrap();
    let input = Input::Generated { command: signed, statement: opened };
    let event = decide(&s.tenant.view(input.footprint()), &input, s.now).unwrap();
    let without = statement_of(&s, 2, |statement| statement.services.retain(|svc| svc.role != ServiceRole::Custodian));
    s.submit(ServiceRole::Registrar, Input::Authority(without)).unwrap();

    let view = s.tenant.view(input.footprint());
    assert!(decide(&view, &input, s.now).is_err(), "no lane records it now");
    // Nor does it stand where one records it all the same.
    let key = s.service(ServiceRole::Issuer).clone();
    let mut id = [0; 16];
    (id[0], id[6], id[8]) = (1, 0x70, 0x80);
    let (record, authentic) = key.sign_event(&s.tenant.chain, EventId::from_bytes(id).unwrap(), s.now, &event);
    let mut own = view;
    let mine = judge(&mut own, &Prepared::own(record.clone(), authentic, event, input)).unwrap();
    let theirs = s.reader.take_record(record).unwrap();
    assert!(matches!(mine, Judgement::Void(_)), "{mine:?}");
    assert!(matches!(theirs, Judgement::Void(_)), "{theirs:?}");
    assert_eq!(own.chain, s.reader.chain);
}

/// The same by time alone: the event's time is `max(now, previous)`, later than when the statement was opened.
#[test]
fn a_custodians_statement_whose_window_ends_before_the_event() {
    let mut s = Scenario::new();
    let end = s.now + Span::from_secs(1);
    let short = statement_of(&s, 2, |statement| {
        statement
            .services
            .iter_mut()
            .filter(|svc| svc.role == ServiceRole::Custodian)
            .for_each(|svc| svc.not_after = end);
    });
    s.submit(ServiceRole::Registrar, Input::Authority(short)).unwrap();
    let spec = s.spec("k1", model::Algorithm::Aes256Gcm);
    let action = Action::KeyGenerate(command::KeyGenerate { spec });
    let signed = s.signed(action, Some(key_id("k1")), "kim", command::LIFETIME_MAX);
    let envelope = s.statement(&signed, ServiceRole::Custodian);
    let (ring, tenant) = (s.tenant.ring(), s.tenant.chain.tenant());
    let opened = statement::open(&envelope, dsse::GENERATED, ServiceRole::Custodian, &ring, tenant, s.now).unwrap();
    let input = Input::Generated { command: signed, statement: opened };
    assert!(decide(&s.tenant.view(input.footprint()), &input, end).is_err(), "every reader voids this event");
}

// === Rules epochs ===

/// A reader that does not know the rules epoch stops and says so, also where the statement has something new in it: it does
/// not void what it can't read, and every newer reader takes.
#[test]
fn a_statement_of_a_later_rules_epoch_with_something_new_in_it_stops_the_reader() {
    let s = Scenario::new();
    let plain = String::from_utf8(s.authority(2, LATER).envelope.payload.0).unwrap();
    for json in
        [plain.replacen('{', r#"{"witnesses":[],"#, 1), plain.replacen(r#""role":"issuer""#, r#""role":"sealer""#, 1)]
    {
        assert_ne!(json, plain);
        let event =
            Event::AuthorityChanged(AuthorityChanged { epoch: 2, rules: LATER, authority: raw_statement(&json) });
        let record = signed_by(&s, s.service(ServiceRole::Registrar), s.now, &event, |_| ());
        let mut reader = s.reader.clone();
        assert_eq!(reader.take_record(record), Err(UnknownRules(LATER)), "voided what it can't read");
    }
}

/// "Void, never stuck": an event that is void whatever its rules (another tenant's, a wrong place) stops nobody.
#[test]
fn a_void_event_with_later_rules_stops_nobody() {
    let s = Scenario::new();
    let event = changed(&s.authority(2, LATER));
    let other = TenantId::from_bytes([9; 32]);
    let record = signed_by(&s, s.service(ServiceRole::Registrar), s.now, &event, |body| {
        body.tenant = other; // a lawful event of another tenant, copied here by whoever can write to the stream
        body.previous = EventHash::ZERO;
    });
    let mut reader = s.reader;
    assert!(
        matches!(reader.take_record(record), Ok(Judgement::Void(_))),
        "a copied event of another tenant stops every reader"
    );
}

// === The clock ===

/// A chain whose root has dropped the registrar, and an event by it, at this time, that brings back the old statement which
/// still names it.
fn dropped_registrar_speaks(at: Timestamp) -> (Scenario, Timestamp, Judgement) {
    let mut s = Scenario::new();
    let old = s.authority(1, RULES);
    let newer = statement_of(&s, 2, |statement| {
        statement.registrars = vec![service(ServiceRole::Registrar, "the new registrar").public_key()];
    });
    let record = signed_by(&s, &service(ServiceRole::Registrar, "the new registrar"), s.now, &changed(&newer), |_| ());
    assert_eq!(s.inject(record), Judgement::Lawful);
    let (before, dropped) = (s.tenant.chain.time(), s.service(ServiceRole::Registrar).clone());
    let judgement = s.inject(signed_by(&s, &dropped, at, &changed(&old), |_| ()));
    (s, before, judgement)
}

/// Not back, so that nothing that has run out has not; nor forward, where every service would stop with `clock-behind`.
#[test]
fn a_dropped_registrar_does_not_turn_the_clock() {
    for at in [Timestamp::MIN, Timestamp::MAX] {
        let (s, before, judgement) = dropped_registrar_speaks(at);
        assert!(matches!(judgement, Judgement::Void(_)), "{judgement:?}");
        assert_eq!(s.tenant.chain.time(), before, "turned to {at}");
    }
}

/// Nor does a service key set it whose time is over, and that is for other tenants.
#[test]
fn a_service_key_without_authority_here_does_not_set_the_clock() {
    let mut s = Scenario::new();
    let elsewhere = statement_of(&s, 2, |statement| {
        let issuer = statement.services.iter_mut().find(|svc| svc.role == ServiceRole::Issuer).unwrap();
        issuer.tenants = Tenants::Listed(vec![TenantId::from_bytes([9; 32])]);
        issuer.not_after = Timestamp::MIN;
    });
    s.submit(ServiceRole::Registrar, Input::Authority(elsewhere)).unwrap();
    let before = s.tenant.chain.time();
    let event = Event::CheckpointSigned(CheckpointSigned {
        size: 0,
        root: Base64(vec![]),
        note: String::new(),
        cause: EventHash::ZERO,
    });
    let record = signed_by(&s, s.service(ServiceRole::Issuer), Timestamp::MAX, &event, |_| ());
    assert!(matches!(s.inject(record), Judgement::Void(_)));
    assert_eq!(s.tenant.chain.time(), before);
}

// === Events dated ahead ===

/// The custodian may be stricter than the chain, by its own clock, and never laxer: an activator that dates `key.activated`
/// ahead has no key used before its time.
#[test]
fn a_key_is_not_used_before_its_activation_by_the_custodians_clock() {
    let mut s = with_key();
    s.run(
        "request k1 after 10m by rae => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved
         due => activation.authorized
         duty activate k1 => refused not-yet-due",
    );
    let real = s.now;
    s.run("wait 10m\nduty activate k1 => key.activated\napply k1 => custody.applied"); // the activator alone says it is later
    s.now = real;
    let action = Action::UseWrap(command::UseWrap { reply_to: Base64(vec![0; 32]) });
    let view = |s: &Scenario| s.tenant.view(footprint("k1"));
    // Signed now, by the real time.
    let signed = s.signed(action, Some(key_id("k1")), "app", command::LIFETIME_MAX_USE);
    let permit = usage::may_use(&view(&s), &signed, real, Some(Span::ZERO)).map(|_| ());
    assert!(permit.is_err(), "used 10 minutes before `not_before` by the custodian's own clock");
}

// === One key, one part ===

fn found(authority_change: impl FnOnce(&mut Statement)) -> Result<Event, lifecycle::Rejection> {
    let mut s = Scenario::bare();
    let admins: Vec<model::Principal> = ["activator", "bob"].iter().map(|who| s.principal(who, "admin")).collect();
    let action = command::TenantCreate {
        name: "acme".parse().unwrap(),
        class: model::key::TenantClass::Ap,
        admins,
        admin_quorum: 2,
    };
    let signed = s.signed(Action::TenantCreate(action), None, "activator,bob", Span::from_secs(600));
    let authority = statement_of(&s, 1, authority_change);
    let empty = Tenant::new(s.tenant.chain.tenant(), s.tenant.root);
    let input = Input::Founding { command: signed, authority };
    decide(&empty.view(input.footprint()), &input, s.now)
}

/// Founding refuses a service's key, as enrolling does.
#[test]
fn a_services_key_is_no_first_admin() {
    assert!(found(|_| ()).is_err(), "the activator's key governs the tenant");
}

/// And a newer statement is refused that makes a principal's key a service's.
#[test]
fn a_principals_key_becomes_no_services_key() {
    let mut s = Scenario::new();
    let authority = statement_of(&s, 2, |statement| {
        statement.services.push(Service {
            role: ServiceRole::Approver,
            public_key: KeyInHand::new(key_of("sam")).public_key().clone(),
            tenants: Tenants::ALL,
            not_before: Timestamp::MIN,
            not_after: Timestamp::MAX,
        });
    });
    assert!(
        s.submit(ServiceRole::Registrar, Input::Authority(authority)).is_err(),
        "sam is an approver in both senses"
    );
}

/// The same point on the curve, said to be on a token, is the same key.
#[test]
fn a_key_that_plays_a_part_is_not_enrolled_as_a_tokens() {
    let on_token = |key: &model::PublicKey| {
        let mut blob = Vec::new();
        for part in [b"sk-ssh-ed25519@openssh.com".as_slice(), key.point(), b"ssh:"] {
            blob.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
            blob.extend(part);
        }
        model::PublicKey::from_blob(&blob).unwrap()
    };
    let mut s = Scenario::new();
    for key in [s.service(ServiceRole::Activator).public_key(), s.principal("sam", "security").key] {
        let against = s.tenant.governance.as_ref().unwrap().head;
        let principal = model::Principal { key: on_token(&key), ..s.principal("zoe", "security") };
        let action = Action::PrincipalEnroll(command::PrincipalEnroll { against, principal });
        let signed = s.signed(action, None, "ann,bob", Span::from_secs(600));
        assert!(s.submit(ServiceRole::Approver, Input::Command(signed)).is_err(), "{key:?}");
    }
}

// === Policies ===

/// INVARIANT (a tenant can be governed): a command carries at most 32 signatures, so a quorum over that is one that nobody
/// can ever meet. The brick is final.
#[test]
fn a_quorum_that_no_command_can_carry_is_refused() {
    let mut s = Scenario::new();
    for n in 0..30 {
        s.run(&format!("enroll adm{n} admin by ann,bob => principal.enrolled"));
    }
    let mut brick = policy();
    brick.admin_quorum = 33;
    assert!(
        adopt(&mut s, brick, "ann,bob").is_err(),
        "33 of 33 admins, and 32 signatures at most: never governed again"
    );
}

#[test]
fn an_operations_quorum_that_no_command_can_carry_is_refused() {
    let mut policy = policy();
    policy.operations.suspend.quorum = 33; // nobody can ever halt a key
    assert!(!lifecycle::policy::check(&policy).is_empty());
}

/// It would never be reached.
#[test]
fn a_strict_rule_behind_a_weaker_one_that_covers_it_is_refused() {
    let mut policy = policy();
    let name = |text: &str| text.parse().unwrap();
    let mut strict = policy.rules[0].clone();
    strict.name = name("top-secret-models");
    strict.when = Match {
        workload: BTreeSet::from([name("model-storage")]),
        classification: BTreeSet::from([name("top-secret")]),
        ..Match::default()
    };
    strict.stages = vec![Stage::of(name_role("security"), 3)];
    let mut weak = policy.rules[0].clone();
    weak.name = name("models");
    weak.when = Match { workload: BTreeSet::from([name("model-storage")]), ..Match::default() };
    weak.stages = vec![Stage::of(name_role("security"), 1)];
    policy.rules = vec![weak, strict];
    assert!(!lifecycle::policy::check(&policy).is_empty(), "the strict rule is dead, silently");
}

fn name_role(text: &str) -> Role {
    text.parse().unwrap()
}

/// `max_staleness` is what makes a suspension reach the custodian.
#[test]
fn freshness_that_is_none_is_refused() {
    let mut policy = policy();
    policy.max_staleness = Span::MAX;
    assert!(!lifecycle::policy::check(&policy).is_empty());
}

// === Standing at activation ===

/// Standing is checked again at the moment of activation: the requester's, too.
#[test]
fn a_requester_who_may_not_ask_any_more_has_nothing_activated() {
    let mut s = with_key();
    s.run(
        "request k1 after 5m by kim => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved
         due => activation.authorized
         roles kim app by ann,bob => principal.changed
         wait 5m",
    );
    assert_ne!(s.perform("due"), "key.activated", "kim owns keys no more, and has one activated");
    assert_eq!(s.state("k1"), KeyState::PreActive);
}

/// So is the policy: approvals that are too old for the one in force do not count, whatever stands in their events.
#[test]
fn a_policy_that_shortens_approvals_is_honoured() {
    let mut s = with_key();
    s.run(
        "request k1 after 15m by kim => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved
         due => activation.authorized",
    );
    let mut stricter = policy();
    stricter.rules[0].approval_valid_for = Span::from_secs(60);
    adopt(&mut s, stricter, "ann,bob").unwrap();
    s.run("wait 15m");
    assert_ne!(
        s.perform("due"),
        "key.activated",
        "on approvals fifteen minutes old; the policy in force says one minute"
    );
    assert_eq!(s.state("k1"), KeyState::PreActive);
}

/// Its owner, who can't carry the same `person`, would approve what he had it ask for.
#[test]
fn a_workload_does_not_ask_for_activation() {
    let mut s = with_key();
    s.run("roles bot owner by ann,bob => principal.changed");
    assert_ne!(s.perform("request k1 by bot"), "activation.requested");
}

// === Other forms of the same data ===

/// `data` is "the event's own members, by its schema". What the schema refuses must be void, or a reader who has the schema
/// and one who has this program part ways. A struct as an array:
#[test]
fn data_with_an_array_for_an_object_is_void() {
    let mut s = active();
    let (_, key, action) = s.action("suspend", &["k1"]);
    let signed = s.signed(action, key, "opa", command::LIFETIME_MAX);
    let event = decide(&s.tenant.view(footprint("k1")), &Input::Command(signed), s.now).unwrap();
    let record = signed_by(&s, s.service(ServiceRole::Activator), s.now, &event, |body| {
        let (object, array) = (
            r#""reason":{"kind":"test","text":"because the script says so"}"#,
            r#""reason":["test","because the script says so"]"#,
        );
        assert!(body.data.contains(object), "{}", body.data);
        body.data = body.data.replace(object, array);
    });
    assert_ne!(s.inject(record), Judgement::Lawful);
}

/// The key text in `principal.enrolled` with a comment and tabs (the schema's pattern has neither).
#[test]
fn a_public_key_with_a_comment_in_an_event_is_void() {
    let mut s = Scenario::new();
    let (_, key, action) = s.action("enroll", &["zoe", "security"]);
    let signed = s.signed(action, key, "ann,bob", Span::from_secs(600));
    let event = decide(&s.tenant.view(Footprint::default()), &Input::Command(signed), s.now).unwrap();
    let zoe = s.principal("zoe", "security").key.to_string();
    let record = signed_by(&s, s.service(ServiceRole::Approver), s.now, &event, |body| {
        let changed = body.data.replacen(&zoe, &format!("{zoe} the chief security officer"), 1);
        assert_ne!(changed, body.data);
        body.data = changed;
    });
    assert_ne!(s.inject(record), Judgement::Lawful);
}

/// The bytes of an event as a JSON array, signed.
#[test]
fn an_event_whose_payload_is_an_array_is_void_by_law_too() {
    let mut s = active();
    let (_, key, action) = s.action("suspend", &["k1"]);
    let signed = s.signed(action, key, "opa", command::LIFETIME_MAX);
    let event = decide(&s.tenant.view(footprint("k1")), &Input::Command(signed), s.now).unwrap();
    let record = signed_by(&s, s.service(ServiceRole::Activator), s.now, &event, |_| ());
    let object: serde_json::Value = serde_json::from_slice(&record.payload).unwrap();
    let members = [
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "datacontenttype",
        "tenant",
        "sequence",
        "previous",
        "signer",
        "data",
    ];
    let array: Vec<String> = members.iter().map(|name| object[*name].to_string()).collect();
    let payload = format!("[{}]", array.join(","));
    let sig = ed25519_dalek::Signer::sign(
        s.service(ServiceRole::Activator).signing_key(),
        &dsse::pae(dsse::EVENT, payload.as_bytes()),
    );
    let fingerprint = s.service(ServiceRole::Activator).fingerprint();
    let record =
        Record { signature: format!("{fingerprint} {}", Base64(sig.to_bytes().to_vec())), payload: payload.into() };
    assert!(matches!(s.inject(record), Judgement::Void(_)), "suspended by an array; k1 is {}", s.state("k1"));
}

// === The first event ===

/// "Void, never stuck": whoever can write to the stream first may put anything there, and the tenant begins all the same.
#[test]
fn a_void_first_event_does_not_keep_a_tenant_from_beginning() {
    let s = Scenario::bare();
    let mut tenant = Tenant::new(s.tenant.chain.tenant(), s.tenant.root);
    let junk = Record { signature: String::new(), payload: "junk".into() };
    assert!(matches!(tenant.take_record(junk), Ok(Judgement::Void(_))));
    let created = prepare(s.records[0].clone(), &tenant.ring(), tenant.root);
    let Some(Event::TenantCreated(event)) = created.event() else { panic!("event 1") };
    let (command, envelope) = (event.command.clone(), event.authority.clone());
    let statement = authority::open(&envelope, tenant.root).unwrap();
    let command = Arc::new(SignedCommand::open(command).unwrap());
    let input = Input::Founding { command, authority: Authorised { statement, envelope } };
    let decided = decide(&tenant.view(input.footprint()), &input, s.now);
    assert!(decided.is_ok(), "never: {decided:?}");
}

// === What a custodian's statement may say ===

#[test]
fn a_statement_that_does_not_fit_its_algorithm_is_refused() {
    let mut s = Scenario::new();
    let spec = s.spec("k1", model::Algorithm::Aes256Gcm);
    let signed =
        s.signed(Action::KeyGenerate(command::KeyGenerate { spec }), Some(key_id("k1")), "kim", command::LIFETIME_MAX);
    let said = model::statement::Generated {
        tenant: s.tenant.chain.tenant(),
        key_id: key_id("k1"),
        algorithm: model::Algorithm::Aes256Gcm,
        identity: model::key::KeyIdentity::PublicKey(Base64(vec![])),
        store: "software".parse().unwrap(),
        wrapping_key: "w1".parse().unwrap(),
        command: signed.digest,
        seal_key: Base64(vec![1, 2, 3]),
        sealing: None,
        generated_at: Timestamp::MAX,
    };
    let envelope = s.service(ServiceRole::Custodian).sign_statement(dsse::GENERATED, &said);
    let (ring, tenant) = (s.tenant.ring(), s.tenant.chain.tenant());
    let statement = statement::open(&envelope, dsse::GENERATED, ServiceRole::Custodian, &ring, tenant, s.now).unwrap();
    let recorded = s.submit(ServiceRole::Issuer, Input::Generated { command: signed, statement });
    assert!(recorded.is_err(), "an AES key known by an empty public key, sealed to three bytes");
}

// === Checkpoints ===

#[test]
fn a_checkpoints_note_is_by_an_exporter_who_may_speak_here() {
    let mut s = Scenario::new();
    let old = service(ServiceRole::EvidenceExporter, "an exporter of long ago");
    let authority = statement_of(&s, 2, |statement| {
        statement.services.push(Service {
            role: ServiceRole::EvidenceExporter,
            public_key: old.public_key(),
            tenants: Tenants::Listed(vec![]),
            not_before: Timestamp::MIN,
            not_after: Timestamp::MIN,
        });
    });
    s.submit(ServiceRole::Registrar, Input::Authority(authority)).unwrap();
    let checkpoint = journal::note::Checkpoint::of(s.tenant.chain.tenant(), s.tenant.chain.tree());
    let note = checkpoint.sign(old.signing_key());
    assert!(s.submit(ServiceRole::EvidenceExporter, Input::Checkpoint(note)).is_err());
}

// === Replays ===

/// Every record of a busy history, put in again at every later place of another chain's life, changes nothing.
#[test]
fn every_record_replayed_at_the_end_is_void() {
    let mut s = active();
    let records = s.records.clone();
    for record in records {
        let before = (s.tenant.keys.clone(), s.tenant.governance.clone(), s.tenant.requests.clone());
        assert!(matches!(s.inject(record), Judgement::Void(_)));
        assert_eq!(before, (s.tenant.keys.clone(), s.tenant.governance.clone(), s.tenant.requests.clone()));
    }
}

/// Every command of a busy history, carried again by a fresh event of the right service, is void.
#[test]
fn every_command_carried_again_is_void() {
    let mut s = active();
    s.run("suspend k1 by opa => key.suspended\nresume k1 by opa => key.resumed");
    let records = s.records.clone();
    for record in records {
        let body = Body::parse(&record.payload).unwrap();
        let event_type: model::EventType = body.event_type.parse().unwrap();
        let event = Event::parse(event_type, &body.data).unwrap();
        if event.command().is_none() {
            continue;
        }
        let judged = s.forge(event_type.signers()[0], &event);
        assert!(matches!(judged, Judgement::Void(_)), "{event_type}: {judged:?}");
    }
    assert_eq!(s.state("k1"), KeyState::Active);
}
