//! What services that break the rules get: void events. Each case is also a published vector.
//!
//! `KEYLATCH_UPDATE_VECTORS=1 cargo test -p lifecycle --test voids` adds new cases to `schemas/vectors/law-v1.json`. A
//! case that stands there is never changed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use lifecycle::scenario::{Scenario, key_id};
use lifecycle::vectors::{Case, File};
use lifecycle::{Judgement, vectors};
use model::event::*;
use model::key::{Reason, ReasonKind};
use model::{Action, Event, EventHash, ServiceRole, Span, command};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/vectors/law-v1.json");

/// A tenant with k1, pre-active in its store.
fn with_key() -> Scenario {
    let mut scenario = Scenario::under(EPOCH);
    scenario.run("generate k1 by kim => key.generated\napply k1 => custody.applied");
    scenario
}

fn after(script: &str) -> Scenario {
    let mut scenario = with_key();
    scenario.run(script);
    scenario
}

const ASKED: &str = "request k1 by rae => activation.requested";
const APPROVED: &str = "request k1 by rae => activation.requested
    approve k1 by sam => activation.approved
    approve k1 by lou => activation.approved";

/// Everything a case needs to forge an event: a command that somebody signed, and the event that would carry it.
fn command(scenario: &mut Scenario, verb: &str, who: &str) -> model::Envelope {
    let (_, key, action) = scenario.action(verb, &["k1"]);
    let life = if verb == "destroy" { command::LIFETIME_MAX_QUORUM } else { command::LIFETIME_MAX };
    scenario.signed(action, key, who, life).envelope.clone()
}

/// The rules epoch that these chains are under, and that their reader knows.
const EPOCH: u32 = 1;

fn request(scenario: &Scenario) -> EventHash {
    scenario.tenant.keys[&key_id("k1")].open_request.unwrap()
}

fn head(scenario: &Scenario) -> EventHash {
    scenario.tenant.chain.head().hash
}

fn approved(scenario: &mut Scenario, who: &str) -> Event {
    let command = command(scenario, "approve", who);
    let approved_by = scenario.principal(who, "security").fingerprint();
    let expires_at = scenario.now + Span::from_secs(20 * 60);
    let request = request(scenario);
    Event::ActivationApproved(ActivationApproved {
        key_id: Some(key_id("k1")),
        request,
        approved_by,
        on_behalf_of: None,
        assurance: None,
        expires_at,
        command,
    })
}

fn authorized(scenario: &Scenario, approvals: Vec<EventHash>) -> Event {
    Event::ActivationAuthorized(ActivationAuthorized {
        key_id: Some(key_id("k1")),
        request: request(scenario),
        approvals,
        policy: scenario.tenant.governance.as_ref().unwrap().policy.as_ref().unwrap().hash,
        not_before: scenario.now,
        cause: head(scenario),
    })
}

fn activated(scenario: &Scenario, approvals: Vec<EventHash>) -> Event {
    Event::KeyActivated(KeyActivated {
        key_id: key_id("k1"),
        activated_at: scenario.now,
        mode: ActivationMode::Scheduled,
        initiated_by: scenario.principal("rae", "owner").fingerprint(),
        request: scenario.tenant.keys[&key_id("k1")].open_request.unwrap_or(EventHash::ZERO),
        approvals,
        policy: scenario.tenant.governance.as_ref().unwrap().policy.as_ref().unwrap().hash,
        legal_basis: vec!["GDPR art. 32(1)(a)".parse().unwrap()],
        affected_systems: vec!["inference endpoint".parse().unwrap()],
        change_ref: Some("CHG-1".parse().unwrap()),
        deactivate_at: scenario.now + Span::from_secs(24 * 3600),
        conditions: Vec::new(),
        facts: Vec::new(),
        acknowledgements: Vec::new(),
        parent: None,
        membership: None,
        review_by: None,
        command: None,
        cause: Some(head(scenario)),
    })
}

fn suspended(scenario: &mut Scenario, who: &str) -> KeySuspended {
    let command = command(scenario, "suspend", who);
    let reason = Some(Reason { kind: ReasonKind::Test, text: "because the script says so".parse().unwrap() });
    KeySuspended { key_id: key_id("k1"), reason, affected: Vec::new(), command: Some(command), cause: None }
}

fn last_two(scenario: &Scenario) -> Vec<EventHash> {
    scenario.records.iter().rev().take(2).rev().map(journal::Record::hash).collect()
}

/// What one service does that breaks the rules.
type Misdeed = fn() -> Scenario;

/// Every case: a name, and the chain. All but the first end in an event that must be void.
const CASES: &[(&str, Misdeed)] = &[
    ("a key's whole life", || {
        after(
            "request k1 by rae => activation.requested
             approve k1 by sam => activation.approved
             approve k1 by lou => activation.approved
             due => activation.authorized, key.activated
             apply k1 => custody.applied
             checkpoint => checkpoint.signed
             suspend k1 by opa => key.suspended
             apply k1 => custody.applied
             resume k1 by opa => key.resumed
             wait 24h
             due => key.deactivated
             destroy k1 by opa,oto => key.destroyed
             apply k1 => custody.applied",
        )
    }),
    ("the activator signs an approval", || {
        let mut s = after(ASKED);
        let event = approved(&mut s, "sam");
        s.forge(ServiceRole::Activator, &event);
        s
    }),
    ("the approver signs an activation", || {
        let mut s = after(APPROVED);
        s.run("due => activation.authorized, key.activated");
        let mut s = after(APPROVED);
        s.run("duty authorize k1 => activation.authorized");
        let approvals = s.tenant.requests[&request(&s)].approvals.iter().map(|approval| approval.hash).collect();
        let event = activated(&s, approvals);
        s.forge(ServiceRole::Approver, &event);
        s
    }),
    ("activated with no request at all", || {
        let mut s = with_key();
        let event = activated(&s, vec![]);
        s.forge(ServiceRole::Activator, &event);
        s
    }),
    ("activated before it was authorised", || {
        let mut s = after(APPROVED);
        let event = activated(&s, last_two(&s));
        s.forge(ServiceRole::Activator, &event);
        s
    }),
    ("authorised with one approval of two", || {
        let mut s = after(ASKED);
        s.run("approve k1 by sam => activation.approved");
        let event = authorized(&s, vec![head(&s)]);
        s.forge(ServiceRole::Approver, &event);
        s
    }),
    ("activated before its time", || {
        let mut s = after(
            "request k1 after 10m by rae => activation.requested
             approve k1 by sam => activation.approved
             approve k1 by lou => activation.approved",
        );
        let approvals = last_two(&s);
        s.run("due => activation.authorized");
        let event = activated(&s, approvals);
        s.forge(ServiceRole::Activator, &event);
        s
    }),
    ("activated although an approver was revoked since", || {
        let mut s = after(APPROVED);
        let approvals = last_two(&s);
        s.run("duty authorize k1 => activation.authorized\nrevoke sam by ann,bob => principal.revoked");
        let event = activated(&s, approvals);
        s.forge(ServiceRole::Activator, &event);
        s
    }),
    ("the one who asked approves", || {
        let mut s = after(ASKED);
        let event = approved(&mut s, "rae");
        s.forge(ServiceRole::Approver, &event);
        s
    }),
    ("the one who asked approves by another key", || {
        let mut s = after(ASKED);
        let event = approved(&mut s, "ray");
        s.forge(ServiceRole::Approver, &event);
        s
    }),
    ("one person approves twice", || {
        let mut s = after(ASKED);
        s.run("approve k1 by dee => activation.approved");
        let event = approved(&mut s, "dee");
        s.forge(ServiceRole::Approver, &event);
        s
    }),
    ("a workload approves", || {
        let mut s = after(ASKED);
        let event = approved(&mut s, "bot");
        s.forge(ServiceRole::Approver, &event);
        s
    }),
    ("a stranger approves", || {
        let mut s = after(ASKED);
        let event = approved(&mut s, "zoe");
        s.forge(ServiceRole::Approver, &event);
        s
    }),
    ("an approval is recorded in another's name", || {
        let mut s = after(ASKED);
        let Event::ActivationApproved(mut event) = approved(&mut s, "sam") else { panic!() };
        event.approved_by = s.principal("lou", "privacy").fingerprint();
        s.forge(ServiceRole::Approver, &Event::ActivationApproved(event));
        s
    }),
    ("an approval's signature was swapped", || {
        let mut s = after(ASKED);
        let Event::ActivationApproved(mut event) = approved(&mut s, "sam") else { panic!() };
        let other = command(&mut s, "approve", "lou");
        event.command.signatures = other.signatures;
        s.forge(ServiceRole::Approver, &Event::ActivationApproved(event));
        s
    }),
    ("a command is recorded twice", || {
        let mut s = after(ASKED);
        let event = approved(&mut s, "sam");
        assert_eq!(s.forge(ServiceRole::Approver, &event), Judgement::Lawful);
        s.forge(ServiceRole::Approver, &event);
        s
    }),
    ("a command is recorded after it expired", || {
        let mut s = after(ASKED);
        let Event::ActivationApproved(mut event) = approved(&mut s, "sam") else { panic!() };
        s.run("wait 16m");
        event.expires_at = s.now + Span::from_secs(20 * 60);
        s.forge(ServiceRole::Approver, &Event::ActivationApproved(event));
        s
    }),
    ("an approval that was signed for another request", || {
        let mut s = after(ASKED);
        let event = approved(&mut s, "sam");
        s.run("cancel k1 by rae => activation.cancelled\nrequest k1 by rae => activation.requested");
        s.forge(ServiceRole::Approver, &event);
        s
    }),
    ("the data says other than the command", || {
        let mut s = after(APPROVED);
        s.run("due => activation.authorized, key.activated");
        let mut event = suspended(&mut s, "opa");
        event.reason.as_mut().unwrap().kind = ReasonKind::Maintenance;
        s.forge(ServiceRole::Activator, &Event::KeySuspended(event));
        s
    }),
    ("a pre-active key is suspended", || {
        let mut s = with_key();
        let event = suspended(&mut s, "opa");
        s.forge(ServiceRole::Activator, &Event::KeySuspended(event));
        s
    }),
    ("suspended by somebody without the role", || {
        let mut s = after(APPROVED);
        s.run("due => activation.authorized, key.activated");
        let event = suspended(&mut s, "lou");
        s.forge(ServiceRole::Activator, &Event::KeySuspended(event));
        s
    }),
    ("custody applied what the chain does not say", || {
        let mut s = after(ASKED);
        let event = Event::CustodyApplied(CustodyApplied {
            key_id: key_id("k1"),
            state: model::KeyState::Active,
            store: "software".parse().unwrap(),
            before: None,
            after: Some(Place { inventory: Inventory::Active, wrapping_key: "w2".parse().unwrap() }),
            cause: s.tenant.keys[&key_id("k1")].transition,
        });
        s.forge(ServiceRole::Custodian, &event);
        s
    }),
    ("a key that no custodian generated", || {
        let mut s = with_key();
        let action = Action::KeyGenerate(command::KeyGenerate { spec: s.spec("k2", model::Algorithm::Aes256Gcm) });
        let command = s.signed(action, Some(key_id("k2")), "kim", command::LIFETIME_MAX);
        let statement = s.statement(&command, ServiceRole::Issuer);
        let Event::KeyGenerated(known) = Event::parse(EventType::KeyGenerated, &data(&s, "key.generated")).unwrap()
        else {
            panic!()
        };
        let event = KeyGenerated {
            key_id: key_id("k2"),
            spec: s.spec("k2", model::Algorithm::Aes256Gcm),
            pre_active_until: s.now + Span::from_secs(3600),
            statement,
            command: command.envelope.clone(),
            ..known
        };
        s.forge(ServiceRole::Issuer, &Event::KeyGenerated(event));
        s
    }),
    ("a policy adopted by one admin", || {
        let mut s = with_key();
        let (_, key, action) = s.action("adopt", &[]);
        let command = s.signed(action, key, "ann", command::LIFETIME_MAX_QUORUM).envelope.clone();
        let event = PolicyAdopted { name: "scenario".parse().unwrap(), version: 2, command };
        s.forge(ServiceRole::Approver, &Event::PolicyAdopted(event));
        s
    }),
    ("the source names another role", || {
        let mut s = after(ASKED);
        let event = approved(&mut s, "sam");
        s.forge_with(ServiceRole::Approver, &event, |body| body.source = "//keylatch/activator/1".into());
        s
    }),
    ("an event type that there is not", || {
        let mut s = after(ASKED);
        let event = approved(&mut s, "sam");
        s.forge_with(ServiceRole::Approver, &event, |body| {
            body.event_type = "dev.keylatch.activation.blessed.v1".into()
        });
        s
    }),
    ("the subject is the tenant, the data a key's", || {
        let mut s = after(ASKED);
        let event = approved(&mut s, "sam");
        s.forge_with(ServiceRole::Approver, &event, |body| body.subject = journal::event::Subject::Tenant);
        s
    }),
    ("the data has a member too many", || {
        let mut s = after(ASKED);
        let event = approved(&mut s, "sam");
        s.forge_with(ServiceRole::Approver, &event, |body| body.data = body.data.replacen('{', "{\"also\":1,", 1));
        s
    }),
    ("an expiry before its time", || {
        let mut s = with_key();
        let key = &s.tenant.keys[&key_id("k1")];
        let event = KeyExpired {
            key_id: key.id,
            pre_active_until: key.pre_active_until,
            revalidate_by: None,
            cause: key.generated,
        };
        s.forge(ServiceRole::Expirer, &Event::KeyExpired(event));
        s
    }),
    ("a tenant begins twice", || {
        let mut s = with_key();
        let event = Event::parse(EventType::TenantCreated, &data(&s, "tenant.created")).unwrap();
        s.forge(ServiceRole::Registrar, &event);
        s
    }),
    ("authority that is not newer", || {
        let mut s = with_key();
        let authority = s.authority(1, EPOCH).envelope;
        let event = AuthorityChanged { epoch: 1, rules: EPOCH, authority };
        s.forge(ServiceRole::Registrar, &Event::AuthorityChanged(event));
        s
    }),
    ("authority that the root did not sign", || {
        let mut s = with_key();
        let mut authority = s.authority(2, EPOCH).envelope;
        let founding = s.authority(1, EPOCH).envelope;
        authority.signatures = founding.signatures;
        let event = AuthorityChanged { epoch: 2, rules: EPOCH, authority };
        s.forge(ServiceRole::Registrar, &Event::AuthorityChanged(event));
        s
    }),
    ("an old statement brought back by a registrar whom the root has dropped", || {
        let mut s = with_key();
        let (old, newer) = (s.authority(1, EPOCH).envelope, s.authority(2, EPOCH).envelope);
        let event = AuthorityChanged { epoch: 2, rules: EPOCH, authority: newer };
        assert_eq!(s.forge(ServiceRole::Registrar, &Event::AuthorityChanged(event)), Judgement::Lawful);
        let event = Event::AuthorityChanged(AuthorityChanged { epoch: 1, rules: EPOCH, authority: old });
        s.forge_with(ServiceRole::Registrar, &event, |body| body.time = model::Timestamp::MIN);
        s
    }),
    ("a reason that is an array and no object", || {
        let mut s = after(APPROVED);
        s.run("due => activation.authorized, key.activated");
        let event = suspended(&mut s, "opa");
        s.forge_with(ServiceRole::Activator, &Event::KeySuspended(event), |body| {
            let (object, array) =
                (r#"{"kind":"test","text":"because the script says so"}"#, r#"["test","because the script says so"]"#);
            assert!(body.data.contains(object));
            body.data = body.data.replace(object, array);
        });
        s
    }),
    ("newer authority signed by a service", || {
        let mut s = with_key();
        let authority = s.authority(2, EPOCH).envelope;
        let event = AuthorityChanged { epoch: 2, rules: EPOCH, authority };
        s.forge(ServiceRole::Approver, &Event::AuthorityChanged(event));
        s
    }),
    ("a checkpoint over another tree", || {
        let mut s = with_key();
        let tree = journal::merkle::Frontier::default();
        let checkpoint =
            journal::note::Checkpoint { size: 3, ..journal::note::Checkpoint::of(s.tenant.chain.tenant(), &tree) };
        let note = checkpoint.sign(s.service(ServiceRole::EvidenceExporter).signing_key());
        let root = model::text::Base64(checkpoint.root.to_vec());
        let event = CheckpointSigned { size: 3, root, note, cause: head(&s) };
        s.forge(ServiceRole::EvidenceExporter, &Event::CheckpointSigned(event));
        s
    }),
];

/// The data of the first event of this type.
fn data(scenario: &Scenario, event_type: &str) -> String {
    let bodies = scenario.records.iter().map(|record| journal::Body::parse(&record.payload).unwrap());
    let wanted = format!("dev.keylatch.{event_type}.v1");
    bodies.into_iter().find(|body| body.event_type == wanted).unwrap().data
}

fn case(name: &str, scenario: &Scenario) -> Case {
    Case::of(name, EPOCH, scenario.tenant.root, scenario.tenant.chain.tenant(), &scenario.records)
}

#[test]
fn services_that_break_the_rules_record_void_events_and_nothing_changes() {
    for (place, (name, misdeed)) in CASES.iter().enumerate() {
        let scenario = misdeed();
        let case = case(name, &scenario);
        let voids: Vec<&String> = case.events.iter().filter_map(|event| event.void.as_ref()).collect();
        let last = case.events.last().unwrap();
        assert_eq!(voids.len(), usize::from(place > 0), "{name}: {voids:?}");
        assert_eq!(last.void.is_some(), place > 0, "{name}");
        let without = Case::of(name, EPOCH, case.root, case.tenant, &scenario.records[..scenario.records.len() - 1]);
        assert!(place == 0 || without.keys == case.keys, "{name}: the void event changed a key");
    }
}

/// Time goes on over a void event, and a lawful one may follow it.
#[test]
fn the_chain_goes_on_over_a_void_event() {
    let mut scenario = after(ASKED);
    let event = approved(&mut scenario, "rae");
    assert_ne!(scenario.forge(ServiceRole::Approver, &event), Judgement::Lawful);
    scenario.run("approve k1 by sam => activation.approved\napprove k1 by lou => activation.approved");
    scenario.run("due => activation.authorized, key.activated");
}

#[test]
fn a_reader_stops_at_rules_that_it_does_not_know() {
    let mut scenario = with_key();
    let authority = scenario.authority(2, EPOCH + 1).envelope;
    let event = Event::AuthorityChanged(AuthorityChanged { epoch: 2, rules: EPOCH + 1, authority });
    let registrar = scenario.service(ServiceRole::Registrar);
    let id = model::EventId::from_bytes([1, 0, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1]).unwrap();
    let (record, _) = registrar.sign_event(&scenario.tenant.chain, id, scenario.now, &event);
    scenario.tenant.knows = EPOCH;
    let before = scenario.tenant.clone();
    assert!(scenario.tenant.take_record(record.clone()).is_err());
    assert_eq!(before.chain, scenario.tenant.chain, "a reader that stops stays where it was");
    scenario.records.push(record);
    assert_eq!(case("rules", &scenario).stops_at, Some(scenario.records.len() as u64));
}

#[test]
fn only_newer_authority_resets_the_time_and_moves_the_ring() {
    let mut scenario = with_key();
    scenario.now = "9000-01-01T00:00:00.000Z".parse().unwrap();
    scenario.run("due => key.expired, key.destroyed");
    scenario.now = "2026-01-02T00:00:00.000Z".parse().unwrap();
    let authority = scenario.authority(2, EPOCH).envelope;
    let event = Event::AuthorityChanged(AuthorityChanged { epoch: 2, rules: EPOCH, authority });
    let now = scenario.now;
    assert_eq!(scenario.forge_with(ServiceRole::Registrar, &event, |body| body.time = now), Judgement::Lawful);
    assert_eq!(scenario.tenant.chain.time(), now);
    scenario.run("generate k2 by kim => key.generated");
}

/// Nothing that was begun under another root is believed.
#[test]
fn another_root_makes_every_event_void() {
    let scenario = with_key();
    let other = scenario.principal("zoe", "x").fingerprint();
    let case = Case::of("another root", EPOCH, other, scenario.tenant.chain.tenant(), &scenario.records);
    assert!(case.events.iter().all(|event| event.void.is_some()));
    assert!(case.keys.is_empty());
}

/// Without the words of the reasons, which are free: *that* an event is void is the law.
fn wordless(mut file: File) -> File {
    let voids = file.cases.iter_mut().flat_map(|case| &mut case.events).filter_map(|event| event.void.as_mut());
    voids.for_each(|void| void.clear());
    file
}

#[test]
fn the_published_law_vectors_are_these_and_come_out_as_they_say() {
    let mut cases: Vec<Case> = CASES.iter().map(|(name, misdeed)| case(name, &misdeed())).collect();
    let whole = CASES[0].1();
    let other = whole.principal("zoe", "x").fingerprint();
    cases.push(Case::of("the same life under another root", EPOCH, other, whole.tenant.chain.tenant(), &whole.records));
    let about = "Chains and what the law of rules epoch 1 makes of them. The keys are test keys: the Ed25519 seed of each is the SHA-256 of its name.";
    let file = File { about: about.into(), rules: EPOCH, cases };
    if std::env::var_os("KEYLATCH_UPDATE_VECTORS").is_some() {
        std::fs::write(PATH, serde_json::to_string_pretty(&file).unwrap() + "\n").unwrap();
    }
    let published = std::fs::read_to_string(PATH).unwrap();
    assert!(wordless(serde_json::from_str(&published).unwrap()) == wordless(file), "see the top of this file");
    for outcome in vectors::judge(&published).unwrap() {
        assert_eq!(outcome.differences, Vec::<String>::new(), "{}", outcome.name);
    }
    let turned = published.replacen("\"pre-active\"", "\"active\"", 1);
    assert!(vectors::judge(&turned).unwrap().iter().any(|outcome| !outcome.differences.is_empty()));
}
