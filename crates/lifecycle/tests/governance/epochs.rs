//! Rules epochs 1 and 2 are what they were: whatever came later is refused there, and void where a service records it all
//! the same.

use std::collections::BTreeMap;

use journal::note::Checkpoint;
use lifecycle::judge::Void;
use lifecycle::scenario::Scenario;
use lifecycle::{Input, Judgement, decide};
use model::event::{AuthorityChanged, CheckpointSigned, EventType};
use model::{Action, Event, ProblemType, ServiceRole, command};

/// Under epoch 1, with the pre-active key k1 whose request is open.
fn old() -> Scenario {
    let mut s = Scenario::under(1);
    s.run(
        "generate k1 by kim => key.generated\napply k1 => custody.applied\nrequest k1 by kim => activation.requested",
    );
    s
}

#[test]
fn epoch_1_refuses_every_new_action_and_every_new_member() {
    let principal =
        r#""against":"$head","principal":{"key":"$pub:zoe","label":"zoe","kind":"person","person":"zoe","roles":["x"]"#;
    let request = r#"{"identity":$identity,"reason":$why,"legal_basis":[],"affected_systems":[]"#;
    let many = r#"{"template":$template,"reason":$why,"legal_basis":[],"affected_systems":[]"#;
    let pack = super::law::pack("gdpr", "key");
    let list = r#""manifest":{"root":"$hash:a","count":1,"document":"$hash:a"}"#;
    let new = [
        // Actions
        r#"do principal.rotate {"against":"$head","principal":"$who:sam","key":"$pub:zoe","reason":$why} by sam,zoe"#.to_owned(),
        r#"do delegation.grant {"against":"$head","to":"$who:opa","roles":["security"],"not_before":"$now+0s","not_after":"$now+1h","reason":$why} by sam"#.to_owned(),
        r#"do delegation.end {"delegation":"$head","reason":$why} by sam"#.to_owned(),
        r#"do access.review {"against":"$head","findings":"none"} by ann,bob"#.to_owned(),
        format!(r#"do pack.declare {{"against":"$head","pack":{pack},"applicability":{{"applied":"yes"}},"review_by":"$now+1h"}} by ann,bob"#),
        r#"do fact.assert k1 {"fact":"a","value":{"flag":true},"valid_until":"$now+1h","evidence":"b"} by lou"#.to_owned(),
        r#"do fact.assert {"fact":"a","value":{"flag":true},"valid_until":"$now+1h","evidence":"b"} by lou"#.to_owned(),
        r#"do fact.withdraw k1 {"fact":"a","reason":$why} by lou"#.to_owned(),
        r#"do document.store {"document":"$hash:a","part":0,"parts":1,"text":"a"} by kim"#.to_owned(),
        r#"do key.revalidate {"keys":["$key:k1"]} by kim"#.to_owned(),
        r#"do activation.hold k1 {"request":"$request","kind":"incident","reference":"a"} by sam"#.to_owned(),
        r#"do activation.hold {"kind":"incident","reference":"a"} by sam"#.to_owned(),
        r#"do activation.release k1 {"hold":"$head","request":"$request","reason":$why} by sam"#.to_owned(),
        r#"do activation.review k1 {"activation":"$head","findings":"a"} by sam"#.to_owned(),
        r#"do consumer.acknowledge k1 {"identity":$identity,"readiness":"ready"} by app"#.to_owned(),
        r#"do parent.attest k1 {"event":"YQ==","signature":"a","authority":{"payload":"YQ==","payloadType":"a","signatures":[]},"checkpoint":"a","index":0,"path":[]} by kim"#.to_owned(),
        // Members of actions that there were
        format!(r#"do principal.enroll {{{principal},"subject":"$hash:a"}}}} by ann,bob"#),
        format!(r#"do principal.enroll {{{principal},"party":"ap"}}}} by ann,bob"#),
        format!(r#"do activation.request k1 {request},"attestation":"$attestation"}} by kim"#),
        format!(r#"do activation.request k1 {request},"break_glass":true}} by kim"#),
        format!(r#"do activation.request k1 {request},"consumers":["$who:app"]}} by kim"#),
        format!(r#"do activation.request k1 {request},"template":$template}} by kim"#),
        format!(r#"do activation.request k1 {} by kim"#, r#"{"reason":$why,"legal_basis":[],"affected_systems":[]}"#),
        format!(r#"do activation.request {request}}} by kim"#),
        format!(r#"do activation.request {many},"standing":{{"count":1,"until":"$now+1h"}}}} by kim"#),
        format!(r#"do activation.request {many},{list}}} by kim"#),
        r#"do activation.approve k1 {"request":"$request","on_behalf_of":"$who:sam"} by opa"#.to_owned(),
        r#"do activation.approve {"request":"$event:activation.requested"} by sam"#.to_owned(),
        r#"do activation.reject {"request":"$event:activation.requested","reason":$why} by sam"#.to_owned(),
        r#"do activation.cancel {"request":"$event:activation.requested","reason":$why} by kim"#.to_owned(),
        r#"do key.activate k1 {"against":"$at","standing":"$request"} by app"#.to_owned(),
    ];
    let mut s = old();
    let before = s.records.len();
    for step in &new {
        assert_eq!(s.perform(step), "refused not-supported", "{step}");
    }
    for member in [
        r#""owner":"a""#,
        r#""endpoint":"a""#,
        r#""model_digest":"$hash:a""#,
        r#""usage":["encrypt"]"#,
        r#""attributes":{"exportable":false,"deletable":true}"#,
        r#""wrapped_by":{"key_id":"$key:k1"}"#,
        r#""inherited_scope":"a""#,
    ] {
        let step = format!("generate k2 {{{member}}} by kim");
        assert_eq!(s.perform(&step), "refused not-supported", "{step}");
    }
    for member in [
        r#""schema":2"#,
        r#""people":{"subject_required":true}"#,
        r#""people":{"delegation_max":"1d"}"#,
        r#""people":{"access_review":{"by":{"roles":["privacy"]},"every":"1d"}}"#,
        r#""holds":{"place":{"roles":["a"]},"lift":{"roles":["a"]}}"#,
        r#""parents":{"when_suspended":"suspend"}"#,
        r#""parents":{"when_compromised":"suspend"}"#,
        r#""parents":{"trusted_roots":["$who:ann"]}"#,
        r#""parents":{"proof_max_age":"1d"}"#,
        r#""packs":["gdpr"]"#,
        r#""fact":[{"name":"a","roles":["privacy"],"valid_max":"1d"}]"#,
        r#""keys":{"revalidation":{"roles":["owner"],"every":"10m"}}"#,
        r#""keys":{"warn_before":"1m"}"#,
        r#""keys":{"allow":{"exportable":true}}"#,
        r#""algorithm":[{"name":"aes-256-gcm","crypto_period":"1d","use":[{"operations":["wrap"],"crypto_period":"1h"}]}]"#,
        r#""algorithm":[{"name":"aes-256-gcm","crypto_period":"1d","allowed_from":"2026-01-01T00:00:00.000Z"}]"#,
        r#""algorithm":[{"name":"aes-256-gcm","crypto_period":"1d","allowed_until":"2027-01-01T00:00:00.000Z"}]"#,
        r#""rule":{"need":"any"}"#,
        r#""rule":{"in_order":true}"#,
        r#""rule":{"requires":{"change_ref":true}}"#,
        r#""rule":{"standing":{"count_max":1,"window_max":"1d","users":["app"]}}"#,
        r#""rule":{"manifest_max":2}"#,
        r#""rule":{"break_glass":{"life":"1h","review_within":"1h","reviewers":{"roles":["privacy"]}}}"#,
        r#""rule":{"stage":[{"role":"security","quorum":1,"or":["privacy"]}]}"#,
        r#""rule":{"stage":[{"role":"security","quorum":1,"party":"ap"}]}"#,
        r#""rule":{"stage":[{"role":"security","quorum":1,"touch":true}]}"#,
        r#""rule":{"stage":[{"role":"security","quorum":1,"verified":true}]}"#,
    ] {
        let schema = if member.contains("schema") { "" } else { r#""schema":1,"# };
        let step = format!("adopt {{{schema}{member}}} by ann,bob");
        assert_eq!(s.perform(&step), "refused not-supported", "{step}");
    }
    assert_eq!(s.records.len(), before);
    s.run(r#"adopt {"schema":1} by ann,bob => policy.adopted"#);
}

/// The last event of each type in these lives.
fn events(lives: &[Scenario]) -> BTreeMap<EventType, Event> {
    let mut events = BTreeMap::new();
    for record in lives.iter().flat_map(|s| &s.records) {
        let body = journal::Body::parse(&record.payload).unwrap();
        let event_type: EventType = body.event_type.parse().unwrap();
        events.insert(event_type, Event::parse(event_type, &body.data).unwrap());
    }
    events
}

/// The event types that came with epoch 3.
const THIRD: [&str; 7] = [
    "document.adopted",
    "store.registered",
    "evidence.exported",
    "probe.recorded",
    "control.evaluated",
    "custody.reconciled",
    "custody.drifted",
];

/// The event types that came with epoch 4.
const FOURTH: [&str; 3] = ["principal.equipped", "baseline.adopted", "key.adopted"];

/// Every event type that came later, as it was lawful there, put into a chain under an older epoch.
#[test]
fn every_new_event_is_void_under_the_epochs_before() {
    let since = [super::evidence::life(), super::custody::life(), super::adoption::life(), super::sealed::life()];
    let later: Vec<Scenario> = lives().into_iter().chain(since).collect();
    let new = events(&later);
    let known = [
        "tenant.created",
        "authority.changed",
        "principal.enrolled",
        "principal.changed",
        "principal.revoked",
        "policy.adopted",
        "key.generated",
        "key.activated",
        "key.suspended",
        "key.resumed",
        "key.deactivated",
        "key.compromised",
        "key.destroyed",
        "key.expired",
        "activation.requested",
        "activation.approved",
        "activation.rejected",
        "activation.cancelled",
        "activation.authorized",
        "activation.lapsed",
        "custody.applied",
        "custody.used",
        "custody.refused",
        "checkpoint.signed",
    ];
    for (mut s, epoch) in [(old(), 1), (second(), 2), (third(), 3)] {
        let is_known = |name: &str| match epoch {
            1 => known.contains(&name),
            2 => !THIRD.contains(&name) && !FOURTH.contains(&name),
            _ => !FOURTH.contains(&name),
        };
        for event_type in EventType::ALL.iter().filter(|event_type| !is_known(event_type.name())) {
            if *event_type == EventType::ParentAttested {
                continue; // its action is refused above, where every action is
            }
            let event = new.get(event_type).unwrap_or_else(|| panic!("no life has {event_type}"));
            let judged = s.forge(event_type.signers()[0], event);
            let Judgement::Void(Void::Refused(refused)) = &judged else { panic!("{event_type}: {judged:?}") };
            assert_eq!(refused.problem, ProblemType::NotSupported, "{event_type}");
        }
    }
}

#[test]
fn the_epochs_before_refuse_what_came_with_epoch_4() {
    for (mut s, epoch) in [(old(), 1), (second(), 2), (third(), 3)] {
        let baseline = super::adoption::baseline_of("k7");
        assert_eq!(s.perform(&format!("{baseline} by ann,bob")), "refused not-supported", "{epoch}");
    }
}

/// Under epoch 3, with the pre-active key k1.
fn third() -> Scenario {
    super::at_epoch(3, || super::under("{}"))
}

/// Under epoch 2, with the pre-active key k1.
fn second() -> Scenario {
    super::at_epoch(2, || super::under("{}"))
}

#[test]
fn epochs_1_and_2_refuse_what_came_with_epoch_3() {
    for (mut s, schema) in [(old(), r#""schema":1,"#), (second(), "")] {
        let before = s.records.len();
        let steps = [
            format!("{} by ann,bob", super::evidence::document("")),
            format!("{} by ann,bob", super::evidence::STORE),
            format!("{} by sam,sue", super::evidence::evaluation("", "")),
            "export by lou".to_owned(),
            "export".to_owned(),
            "probe k1 activate refused unknown-request by bot".to_owned(),
            "probe k1 use accepted by bot".to_owned(),
            "reconcile software 1,1,0,0,0".to_owned(),
            "drift k1 attributes".to_owned(),
            format!(r#"adopt {{{schema}"stores":{{"reconcile_every":"1h"}}}} by ann,bob"#),
            r#"adopt {"schema":3} by ann,bob"#.to_owned(),
            r#"adopt {"schema":4} by ann,bob"#.to_owned(),
            format!(r#"adopt {{{schema}"evidence":{{"heartbeat":"1h"}}}} by ann,bob"#),
            format!(r#"adopt {{{schema}"evidence":{{"export":{{"roles":["privacy"]}}}}}} by ann,bob"#),
            format!(r#"adopt {{{schema}"evidence":{{"probes":{{"every":"1d"}}}}}} by ann,bob"#),
            format!(
                r#"adopt {{{schema}"evidence":{{"evaluation":{{"by":{{"roles":["privacy"]}},"every":"1d"}}}}}} by ann,bob"#
            ),
        ];
        for step in steps {
            assert_eq!(s.perform(&step), "refused not-supported", "{step}");
        }
        assert_eq!(s.records.len(), before);
    }
}

/// What epoch 3 lets an event say beyond, said in one that there was before; and a checkpoint where nothing happened.
#[test]
fn what_epoch_3_says_beyond_is_void_under_epoch_2() {
    let mut s = super::at_epoch(2, || {
        super::under(r#"{"people":{"access_review":{"by":{"roles":["privacy"]},"every":"10d","warn_before":"1d"}}}"#)
    });
    for wait in ["wait 9d", "wait 1d"] {
        s.run(wait);
        let event = due(&s, lifecycle::Duty::Deadlines);
        for member in [r#""document":"a""#, r#""document":null"#] {
            let said = |body: &mut journal::Body| body.data = body.data.replacen('{', &format!("{{{member},"), 1);
            let judged = s.forge_with(ServiceRole::Expirer, &event, said);
            assert!(matches!(judged, Judgement::Void(_)), "{member}: {judged:?}");
        }
        assert_eq!(s.forge(ServiceRole::Expirer, &event), Judgement::Lawful);
    }
    s.run("checkpoint => checkpoint.signed\nwait 25h");
    let newest = Checkpoint::of(s.tenant.chain.tenant(), s.tenant.chain.tree());
    let note = newest.sign(s.service(ServiceRole::EvidenceExporter).signing_key());
    let (root, cause) = (model::text::Base64(newest.root.to_vec()), s.tenant.chain.head().hash);
    let event = Event::CheckpointSigned(CheckpointSigned { size: newest.size, root, note, cause });
    let judged = s.forge(ServiceRole::EvidenceExporter, &event);
    assert!(matches!(judged, Judgement::Void(Void::Refused(_))), "{judged:?}");
}

/// A chain under epoch 2 goes on under epoch 3: it has a heartbeat from then on, by the checkpoints that it had.
#[test]
fn a_chain_is_raised_to_epoch_3_by_the_root() {
    let mut s = second();
    s.run("checkpoint => checkpoint.signed\nwait 20h\ncheckpoint => refused nothing-due");
    let authority = s.authority(2, 3).envelope;
    let event = Event::AuthorityChanged(AuthorityChanged { epoch: 2, rules: 3, authority });
    assert_eq!(s.forge(ServiceRole::Registrar, &event), Judgement::Lawful);
    s.run("checkpoint => checkpoint.signed\nwait 23h\ncheckpoint => refused not-yet-due\nwait 1h");
    s.run(
        r#"checkpoint => checkpoint.signed
        adopt {"schema":3,"evidence":{"export":{"roles":["privacy"]}}} by ann,bob => policy.adopted
        export by lou => evidence.exported"#,
    );
    assert!(s.submit(ServiceRole::Registrar, Input::Authority(s.authority(3, 2))).is_err(), "rules never fall");
}

/// The algorithms of epoch 4, each in the one form that its public keys have, from birth to use. Before epoch 4 there are none.
#[test]
fn algorithms_of_epoch_4_live_as_the_first_do() {
    use model::Algorithm;
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.is_beyond_v3()) {
        let rules = format!(r#""algorithm":[{{"name":"{algorithm}","crypto_period":"1d"}}]"#);
        let generate = format!(r#"generate k1 {{"algorithm":"{algorithm}","asset":"weights"}} by kim"#);
        for epoch in 1..4 {
            let mut s = Scenario::under(epoch);
            assert_eq!(
                s.perform(&format!(r#"adopt {{"schema":{epoch},{rules}}} by ann,bob"#)),
                "refused not-supported"
            );
            assert_eq!(s.perform(&generate), "refused not-supported", "{algorithm} under {epoch}");
        }
        let mut s = super::tenant();
        assert_eq!(s.perform(&format!(r#"adopt {{"schema":3,{rules}}} by ann,bob"#)), "refused policy-refused");
        s.run(&format!(r#"adopt {{"schema":4,{rules}}} by ann,bob => policy.adopted"#));
        s.run(&format!("{generate} => key.generated\napply k1 => custody.applied"));
        crate::chain_of_keys::activate(&mut s, "k1");
    }
}

/// Lives under epoch 2 in which everything new happens.
pub(crate) fn lives() -> Vec<Scenario> {
    let policy = r#"{"people":{"delegation_max":"2h","access_review":{"by":{"roles":["privacy"],"quorum":2},"every":"10d","warn_before":"1d"}},
        "holds":{"place":{"roles":["security"]},"lift":{"roles":["privacy"]}},"fact":[{"name":"residency","roles":["privacy"],"valid_max":"2h"}],
        "keys":{"revalidation":{"roles":["owner"],"every":"40m"}},
        "algorithm":[{"name":"aes-256-gcm","crypto_period":"1d","allowed_until":"2026-01-05T00:00:00.000Z"}],"rule":[
        {"name":"everyday","when":{"responsibility":["application"]},"requesters":["owner"],"request_valid_for":"30m",
         "approval_valid_for":"20m","stage":[{"role":"security","quorum":1}],"users":["app"],"manifest_max":2},
        {"name":"emergency","when":{"responsibility":["application"]},"requesters":["operator"],"request_valid_for":"30m",
         "approval_valid_for":"20m","stage":[{"role":"security","quorum":1}],"users":["app"],
         "break_glass":{"life":"4h","review_within":"1h","reviewers":{"roles":["privacy"],"quorum":1}}}]}"#;
    let pack = super::law::pack("gdpr", "key");
    let script = format!(
        r#"do delegation.grant {{"against":"$head","to":"$who:opa","roles":["security"],"not_before":"$now+0s","not_after":"$now+1h","reason":$why}} by sam
        do delegation.end {{"delegation":"$event:delegation.granted","reason":$why}} by sam
        do principal.rotate {{"against":"$head","principal":"$who:sue","key":"$pub:sue2","reason":$why}} by sue,sue2
        do pack.declare {{"against":"$head","pack":{pack},"applicability":{{"not_applicable":"no"}},"review_by":"$now+60d"}} by ann,bob
        do fact.assert k1 {{"fact":"residency","value":{{"text":"EU"}},"valid_until":"$now+1h","evidence":"b"}} by lou
        do fact.withdraw k1 {{"fact":"residency","reason":$why}} by lou
        do key.revalidate {{"keys":["$key:k1"]}} by kim
        do consumer.acknowledge k1 {{"identity":$identity,"readiness":"ready"}} by app
        do activation.request k1 {{"identity":$identity,"break_glass":true,"reason":$why,"legal_basis":[],"affected_systems":[]}} by opa
        do activation.hold k1 {{"request":"$request","kind":"incident","reference":"a"}} by sam
        do activation.release k1 {{"hold":"$event:activation.held","request":"$request","reason":$why}} by lou
        approve k1 by sam
        due
        do activation.review k1 {{"activation":"$event:key.activated","findings":"fine"}} by lou
        do access.review {{"against":"$head","findings":"none"}} by lou,dee
        store k1 by kim
        wait 9d
        due
        wait 1d
        due"#
    );
    let mut s = super::under(&policy.replace('\n', " "));
    for step in script.lines().map(str::trim) {
        let outcome = s.perform(step);
        assert!(!outcome.starts_with("refused"), "{step}: {outcome}");
    }
    let ends =
        r#"{"algorithm":[{"name":"aes-256-gcm","crypto_period":"1d","allowed_until":"2026-01-03T00:00:00.000Z"}]}"#;
    let mut ended = super::under(ends);
    ended.run("wait 2d");
    let outcome = ended.perform("due");
    assert!(outcome.contains("algorithm.ended"), "{outcome}");
    ended.run("due => nothing");
    vec![s, ended]
}

/// What epoch 2 lets an event say beyond, said in one that there was before.
#[test]
fn every_new_member_of_an_event_is_void_under_epoch_1() {
    let hash = "00".repeat(32);
    let mut s = Scenario::under(1);
    let mut tried = 0;
    let mut check = |s: &mut Scenario, role: ServiceRole, event: &Event, members: &[&str]| {
        for member in members {
            let judged =
                s.forge_with(role, event, |body| body.data = body.data.replacen('{', &format!("{{{member},"), 1));
            assert!(matches!(judged, Judgement::Void(_)), "{member} in {}: {judged:?}", event.event_type());
            tried += 1;
        }
        assert_eq!(s.forge(role, event), Judgement::Lawful, "{}", event.event_type());
    };
    s.run("generate k1 by kim => key.generated\napply k1 => custody.applied");
    // A request, an approval, the authorisation, the activation
    let asked = decided(&mut s, "request", "kim");
    check(
        &mut s,
        ServiceRole::Approver,
        &asked,
        &[
            &format!(r#""attestation":"{hash}""#),
            r#""break_glass":true"#,
            r#""break_glass":false"#,
            r#""consumers":[]"#,
            r#""template":null"#,
            r#""standing":{"count":1,"until":"2027-01-01T00:00:00.000Z"}"#,
        ],
    );
    let approved = decided(&mut s, "approve", "sam");
    let members = [r#""assurance":"touched""#, r#""assurance":null"#, r#""on_behalf_of":null"#];
    check(&mut s, ServiceRole::Approver, &approved, &members);
    s.run("approve k1 by lou => activation.approved\nduty authorize k1 => activation.authorized");
    let activated = due(&s, lifecycle::Duty::Activate(lifecycle::scenario::key_id("k1")));
    check(
        &mut s,
        ServiceRole::Activator,
        &activated,
        &[
            r#""conditions":[]"#,
            r#""facts":[]"#,
            r#""acknowledgements":[]"#,
            &format!(r#""parent":"{hash}""#),
            r#""review_by":"2027-01-01T00:00:00.000Z""#,
            r#""membership":{"index":0,"path":[]}"#,
        ],
    );
    let suspended = decided(&mut s, "suspend", "opa");
    check(&mut s, ServiceRole::Activator, &suspended, &[r#""affected":[]"#, &format!(r#""cause":"{hash}""#)]);
    let compromised = decided(&mut s, "compromise", "opa");
    check(&mut s, ServiceRole::Activator, &compromised, &[r#""affected":[]"#]);
    s.run("generate k2 by kim => key.generated\nwait 1h");
    let expired = due(&s, lifecycle::Duty::Expire(lifecycle::scenario::key_id("k2")));
    check(&mut s, ServiceRole::Expirer, &expired, &[r#""revalidate_by":"2026-01-01T00:30:00.000Z""#]);
    assert_eq!(tried, 18 + 1);
    // Without its key, no request, approval or lapse is one of epoch 1's.
    let mut s = old();
    let approved = decided(&mut s, "approve", "sam");
    let judged = s.forge_with(ServiceRole::Approver, &approved, |body| {
        let key = format!(r#""key_id":"{}","#, lifecycle::scenario::key_id("k1"));
        assert!(body.data.contains(&key));
        body.data = body.data.replacen(&key, "", 1);
        body.subject = journal::event::Subject::Tenant;
    });
    assert!(matches!(judged, Judgement::Void(_)), "{judged:?}");
}

fn decided(s: &mut Scenario, verb: &str, who: &str) -> Event {
    let (_, key, action) = s.action(verb, &["k1"]);
    let signed = s.signed(action, key, who, command::LIFETIME_MAX);
    let input = Input::Command(signed);
    decide(&s.tenant.view(input.footprint()), &input, s.now).unwrap()
}

fn due(s: &Scenario, duty: lifecycle::Duty) -> Event {
    let input = Input::Due(duty);
    decide(&s.tenant.view(input.footprint()), &input, s.now).unwrap()
}

/// A chain that was begun under epoch 1 goes on under epoch 2, and what was open goes on with it.
#[test]
fn a_chain_is_raised_to_epoch_2_by_the_root() {
    let mut s = old();
    s.run("approve k1 by sam => activation.approved");
    let authority = s.authority(2, 2).envelope;
    let event = Event::AuthorityChanged(AuthorityChanged { epoch: 2, rules: 2, authority });
    assert_eq!(s.forge(ServiceRole::Registrar, &event), Judgement::Lawful);
    s.run("approve k1 by lou => activation.approved\ndue => activation.authorized, key.activated");
    s.run(r#"adopt {"people":{"delegation_max":"2h"}} by ann,bob => policy.adopted"#);
    let back = s.authority(3, 1);
    assert!(s.submit(ServiceRole::Registrar, Input::Authority(back)).is_err(), "rules never fall");
    // Every action there is was looked at above.
    let names: Vec<&str> = Action::NAMES.to_vec();
    assert_eq!(names.len(), 43, "say in which rules epoch the new action came");
}
