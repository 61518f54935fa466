//! Lawful lives under rules epoch 2, and what services and people get who break its rules: void events. Each case is also a
//! published vector.
//!
//! `KEYLATCH_UPDATE_VECTORS=1 cargo test -p lifecycle --features testing --test governance vectors` adds new cases to
//! `schemas/vectors/law-v2.json` (and to `law-v3.json`, which `evidence_vectors` makes, and to `law-v4.json`, which
//! `vectors_4` does). A case that stands there is never changed.

use lifecycle::scenario::{Scenario, key_id};
use lifecycle::vectors::{self, Case, File};
use lifecycle::{Duty, Input, Judgement, decide};
use model::event::*;
use model::{Event, ServiceRole, Timestamp};

use super::chain_of_keys::{SUSPEND, TRUST, activate, attest, family, proof, with_child};
use super::holds::{ALARM, GLASS};
use super::many::{APPROVE, LISTS, STANDING, draw, list, with_keys};
use super::{at_epoch, check, law, under};

/// Chains under a rules epoch, and the file that they are published in.
pub(super) struct Suite {
    pub(super) epoch: u32,
    pub(super) path: &'static str,
    /// Lives in which every event stands.
    pub(super) lives: &'static [&'static [(&'static str, Made)]],
    /// Cases whose last event is void.
    pub(super) misdeeds: &'static [&'static [(&'static str, Made)]],
}

const EPOCH_2: Suite = Suite {
    epoch: 2,
    path: concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/vectors/law-v2.json"),
    lives: &[LIVES],
    misdeeds: &[MISDEEDS],
};

/// What a lawful service would record now.
pub(super) fn decided(s: &Scenario, input: &Input) -> Event {
    decided_at(s, input, s.now)
}

pub(super) fn decided_at(s: &Scenario, input: &Input, now: Timestamp) -> Event {
    decide(&s.tenant.view(input.footprint()), input, now).unwrap()
}

fn due(duty: impl Fn(model::KeyId) -> Duty, key: &str) -> Input {
    Input::Due(duty(key_id(key)))
}

pub(super) fn asks(s: &mut Scenario, action: &str, key: Option<&str>, params: &str, who: &str) -> Input {
    Input::Command(s.command_of(action, key, params, who))
}

fn approves(s: &mut Scenario, who: &str) -> Input {
    asks(s, "activation.approve", Some("k1"), r#"{"request":"$request"}"#, who)
}

const AUTHORISED: &str = "request k1 by kim => activation.requested
    approve k1 by sam => activation.approved
    approve k1 by lou => activation.approved
    due => activation.authorized";
const READY: &str = "request k1 by kim => activation.requested
    approve k1 by sam => activation.approved
    approve k1 by lou => activation.approved
    duty authorize k1 => activation.authorized";

pub(super) fn forge(s: &mut Scenario, event: &Event) {
    let _ = s.forge(event.event_type().signers()[0], event);
}

/// An event that was lawful when it was decided, recorded after things have changed.
pub(super) fn late(mut s: Scenario, input: &Input, change: &str) -> Scenario {
    let event = decided(&s, input);
    s.run(change);
    forge(&mut s, &event);
    s
}

fn glass(script: &str) -> Scenario {
    check(&GLASS.replace('\n', " "), script)
}

fn review(s: &Scenario, who: &str, signed: &Input) -> Event {
    let reviewed_by = s.principal(who, "x").fingerprint();
    let activation = s.tenant.keys[&key_id("k1")].activation.unwrap().hash;
    let (key_id, findings) = (key_id("k1"), "it was needed".parse().unwrap());
    let command = signed.command().unwrap().envelope.clone();
    Event::ActivationReviewed(ActivationReviewed { key_id, activation, reviewed_by, findings, command })
}

pub(super) type Made = fn() -> Scenario;

/// Lives in which every event stands.
const LIVES: &[(&str, Made)] = &[
    ("a life in which nearly everything happens", || super::epochs::lives().remove(0)),
    ("a list of three keys", || {
        let mut s = with_keys(LISTS, 3);
        s.run("store k1,k2,k3 by kim => document.stored");
        s.run(&format!("{} by kim => activation.requested\n{APPROVE}", list("k1+k2+k3")));
        s.run("due => activation.authorized, key.activated, key.activated, key.activated");
        s
    }),
    ("a standing authorisation drawn on twice", || {
        let mut s = with_keys(LISTS, 2);
        s.run(&format!("{STANDING} by kim => activation.requested\n{APPROVE}\ndue => activation.authorized"));
        s.run(&format!("{} by app => key.activated\nwait 40m\n{} by app => key.activated", draw("k1"), draw("k2")));
        s
    }),
    ("an emergency that nobody reviewed in time", || {
        let mut s = glass(&format!("{ALARM} by opa => activation.requested\napprove k1 by sam => activation.approved"));
        s.run("due => activation.authorized, key.activated\nwait 1h\ndue => key.suspended");
        s.run(r#"do activation.review k1 {"activation":"$event:key.activated","findings":"fine"} by lou,oto => activation.reviewed"#);
        s.run("resume k1 by oto => key.resumed");
        s
    }),
    ("children suspended with their parent", || {
        let mut s = family(SUSPEND);
        s.run(
            "suspend k1 by opa => key.suspended\ndue => key.suspended, key.suspended\nresume k1 by opa => key.resumed",
        );
        s
    }),
    ("a parent in another tenant, by proof", || {
        let mut s = with_child(TRUST);
        assert_eq!(attest(&mut s, &proof().1, "kim"), "parent.attested");
        s.run("due => key.activated");
        s
    }),
    ("stages one after the other, by hardware keys", || {
        let mut s = under("{}");
        for who in ["tokio", "toki"] {
            let step = format!(
                r#"do principal.enroll {{"against":"$head","principal":{{"key":"$pub:{who}","label":"{who}","kind":"person","person":"{who}","roles":["{who}"]}}}} by ann,bob"#
            );
            s.run(&format!("{step} => principal.enrolled"));
        }
        s.run(r#"adopt {"rule":{"in_order":true,"stage":[{"role":"tokio","quorum":1,"touch":true},{"role":"toki","quorum":1,"verified":true}]}} by ann,bob => policy.adopted"#);
        s.run("request k1 by kim => activation.requested\napprove k1 by toki! => refused not-your-turn");
        s.run("approve k1 by tokio => activation.approved\napprove k1 by toki => refused assurance-missing");
        s.run("approve k1 by toki! => activation.approved\ndue => activation.authorized, key.activated");
        s
    }),
    ("a gate that is satisfied by a fact", || {
        let mut s = law::with_pack();
        s.run(r#"do fact.assert k1 {"fact":"residency","value":{"text":"EU"},"valid_until":"$now+1h","evidence":"DOC-1"} by lou => fact.asserted"#);
        s.run(&AUTHORISED.replace("activation.authorized", "activation.authorized, key.activated"));
        s
    }),
];

/// Cases whose last event is void.
const MISDEEDS: &[(&str, Made)] = &[
    ("an approval by a delegate of whoever asked", || {
        let mut s = check(r#"{"people":{"delegation_max":"2h"}}"#, "request k1 by kim => activation.requested");
        let approval = approves(&mut s, "sam");
        let grant = r#"do delegation.grant {"against":"$head","to":"$who:sam","roles":["owner"],"not_before":"$now+0s","not_after":"$now+1h","reason":$why} by kim => delegation.granted"#;
        late(s, &approval, grant)
    }),
    ("a delegated vote recorded as one's own", || {
        let mut s = check(r#"{"people":{"delegation_max":"2h"}}"#, "request k1 by kim => activation.requested");
        s.run(r#"do delegation.grant {"against":"$head","to":"$who:sue","roles":["security"],"not_before":"$now+0s","not_after":"$now+1h","reason":$why} by sam => delegation.granted"#);
        let input = asks(
            &mut s,
            "activation.approve",
            Some("k1"),
            r#"{"request":"$request","on_behalf_of":"$who:sam"}"#,
            "sue",
        );
        let Event::ActivationApproved(event) = decided(&s, &input) else { panic!() };
        forge(&mut s, &Event::ActivationApproved(ActivationApproved { on_behalf_of: None, ..event }));
        s
    }),
    ("a vote for somebody whose delegation has ended", || {
        let mut s = check(r#"{"people":{"delegation_max":"2h"}}"#, "request k1 by kim => activation.requested");
        s.run(r#"do delegation.grant {"against":"$head","to":"$who:sue","roles":["security"],"not_before":"$now+0s","not_after":"$now+1h","reason":$why} by sam => delegation.granted"#);
        let input = asks(
            &mut s,
            "activation.approve",
            Some("k1"),
            r#"{"request":"$request","on_behalf_of":"$who:sam"}"#,
            "sue",
        );
        late(
            s,
            &input,
            r#"do delegation.end {"delegation":"$event:delegation.granted","reason":$why} by sam => delegation.ended"#,
        )
    }),
    ("an approval out of turn", || {
        let mut s = check("{}", "request k1 by kim => activation.requested");
        let approval = approves(&mut s, "lou");
        late(s, &approval, r#"adopt {"rule":{"in_order":true}} by ann,bob => policy.adopted"#)
    }),
    ("a touch recorded as a verification", || {
        let mut s = under("{}");
        s.run(r#"do principal.enroll {"against":"$head","principal":{"key":"$pub:tokio","label":"tokio","kind":"person","person":"tia","roles":["security"]}} by ann,bob => principal.enrolled"#);
        s.run("request k1 by kim => activation.requested");
        let input = approves(&mut s, "tokio");
        let Event::ActivationApproved(event) = decided(&s, &input) else { panic!() };
        let assurance = Some(Assurance::Verified);
        forge(&mut s, &Event::ActivationApproved(ActivationApproved { assurance, ..event }));
        s
    }),
    ("an activation under a hold on the request", || {
        let s = check(r#"{"holds":{"place":{"roles":["security"]},"lift":{"roles":["privacy"]}}}"#, READY);
        let hold = r#"do activation.hold k1 {"request":"$request","kind":"court-order","reference":"CASE-1"} by sam => activation.held"#;
        late(s, &due(Duty::Activate, "k1"), hold)
    }),
    ("an activation under a hold on all", || {
        let s = check(r#"{"holds":{"place":{"roles":["security"]},"lift":{"roles":["privacy"]}}}"#, READY);
        late(
            s,
            &due(Duty::Activate, "k1"),
            r#"do activation.hold {"kind":"incident","reference":"INC-1"} by sam => activation.held"#,
        )
    }),
    ("a hold lifted by those who may place one", || {
        let mut s = check(
            r#"{"holds":{"place":{"roles":["security"]},"lift":{"roles":["privacy"]}}}"#,
            AUTHORISED.rsplit_once('\n').unwrap().0,
        );
        s.run(r#"do activation.hold {"kind":"incident","reference":"INC-1"} by sam => activation.held"#);
        let signed =
            s.command_of("activation.release", None, r#"{"hold":"$event:activation.held","reason":$why}"#, "sam");
        let hold = s.tenant.chain.head().hash;
        let released_by = s.principal("sam", "x").fingerprint();
        let command = signed.envelope.clone();
        forge(
            &mut s,
            &Event::ActivationReleased(ActivationReleased { key_id: None, hold, request: None, released_by, command }),
        );
        s
    }),
    ("an activation without a satisfied gate", || {
        let mut s = law::with_pack();
        s.run(r#"do fact.assert k1 {"fact":"residency","value":{"text":"EU"},"valid_until":"$now+1h","evidence":"DOC-1"} by lou => fact.asserted"#);
        s.run(READY);
        late(
            s,
            &due(Duty::Activate, "k1"),
            r#"do fact.withdraw k1 {"fact":"residency","reason":$why} by lou => fact.withdrawn"#,
        )
    }),
    ("an activation that says nothing of its gates", || {
        let mut s = law::with_pack();
        s.run(r#"do fact.assert k1 {"fact":"residency","value":{"text":"EU"},"valid_until":"$now+1h","evidence":"DOC-1"} by lou => fact.asserted"#);
        s.run(READY);
        let Event::KeyActivated(event) = decided(&s, &due(Duty::Activate, "k1")) else { panic!() };
        forge(&mut s, &Event::KeyActivated(KeyActivated { conditions: Vec::new(), facts: Vec::new(), ..event }));
        s
    }),
    ("a forged proof that a key is in a list", || {
        let mut s = with_keys(LISTS, 3);
        s.run("store k1,k2 by kim => document.stored");
        s.run(&format!("{} by kim => activation.requested\n{APPROVE}", list("k1+k2")));
        s.run("due => activation.authorized, key.activated, key.activated");
        let data = journal::Body::parse(&s.records.last().unwrap().payload).unwrap().data;
        let Event::KeyActivated(event) = Event::parse(EventType::KeyActivated, &data).unwrap() else { panic!() };
        forge(&mut s, &Event::KeyActivated(KeyActivated { key_id: key_id("k3"), ..event }));
        s
    }),
    ("one of a list whose own request is open", || {
        let mut s = with_keys(LISTS, 2);
        s.run("store k1,k2 by kim => document.stored");
        s.run(&format!("{} by kim => activation.requested\n{APPROVE}", list("k1+k2")));
        let request = s.tenant.requests.values().next().unwrap().hash;
        assert!(s.submit(ServiceRole::Approver, Input::Due(Duty::AuthorizeRequest(request))).is_ok());
        let membership = Membership { index: 0, path: second_path(&s) };
        late(
            s,
            &Input::Member { key_id: key_id("k1"), request, membership },
            "request k1 by kim => activation.requested",
        )
    }),
    ("a standing authorisation that is used up", || {
        let mut s = with_keys(LISTS, 3);
        s.run(&format!("{STANDING} by kim => activation.requested\n{APPROVE}\ndue => activation.authorized"));
        s.run(&format!("{} by app => key.activated", draw("k1")));
        let third = asks(&mut s, "key.activate", Some("k3"), r#"{"against":"$at","standing":"$many"}"#, "app");
        late(s, &third, &format!("{} by app => key.activated", draw("k2")))
    }),
    ("a standing authorisation whose asker was revoked", || {
        let mut s = with_keys(LISTS, 1);
        s.run(&format!("{STANDING} by kim => activation.requested\n{APPROVE}\ndue => activation.authorized"));
        let input = asks(&mut s, "key.activate", Some("k1"), r#"{"against":"$at","standing":"$many"}"#, "app");
        late(s, &input, "revoke kim by ann,bob => principal.revoked")
    }),
    ("a key suspended without cause", || {
        let mut s = family(SUSPEND);
        s.run("suspend k1 by opa => key.suspended");
        late(s, &due(Duty::Suspend, "k2"), "resume k1 by opa => key.resumed")
    }),
    ("an emergency key suspended before its review is due", || {
        let mut s = glass(&format!("{ALARM} by opa => activation.requested\napprove k1 by sam => activation.approved"));
        s.run("due => activation.authorized, key.activated");
        let event = decided_at(&s, &due(Duty::Suspend, "k1"), s.now + "1h".parse().unwrap());
        forge(&mut s, &event);
        s
    }),
    ("an emergency activation that leaves out its review", || {
        let mut s = glass(&format!("{ALARM} by opa => activation.requested\napprove k1 by sam => activation.approved"));
        s.run("duty authorize k1 => activation.authorized");
        let Event::KeyActivated(event) = decided(&s, &due(Duty::Activate, "k1")) else { panic!() };
        forge(&mut s, &Event::KeyActivated(KeyActivated { review_by: None, ..event }));
        s
    }),
    ("an emergency reviewed by somebody who approved it", || {
        let mut s = glass(&format!("{ALARM} by opa => activation.requested\napprove k1 by sam => activation.approved"));
        s.run("due => activation.authorized, key.activated");
        let params = r#"{"activation":"$event:key.activated","findings":"it was needed"}"#;
        let signed = asks(&mut s, "activation.review", Some("k1"), params, "lou,sam");
        let event = review(&s, "lou", &signed);
        forge(&mut s, &event);
        s
    }),
    ("a warning too early", || {
        let mut s = under(r#"{"keys":{"warn_before":"10m"}}"#);
        let event = decided_at(&s, &due(Duty::Warn, "k1"), s.now + "50m".parse().unwrap());
        s.run("wait 49m");
        forge(&mut s, &event);
        s
    }),
    ("a warning given twice", || {
        let mut s = under(r#"{"keys":{"warn_before":"10m"}}"#);
        s.run("wait 50m");
        late(s, &due(Duty::Warn, "k1"), "due => deadline.warned")
    }),
    ("a missed review recorded twice", || {
        let mut s = super::tenant();
        s.run(r#"adopt {"people":{"access_review":{"by":{"roles":["privacy"]},"every":"90d"}}} by ann,bob => policy.adopted"#);
        s.run("wait 90d");
        late(s, &Input::Due(Duty::Deadlines), "due => deadline.missed")
    }),
    ("an expiry that a revalidation has put off", || {
        let mut s = under(r#"{"keys":{"revalidation":{"roles":["owner"],"every":"20m"}}}"#);
        let event = decided_at(&s, &due(Duty::Expire, "k1"), s.now + "20m".parse().unwrap());
        s.run(
            r#"wait 10m
            do key.revalidate {"keys":["$key:k1"]} by kim => key.revalidated
            wait 10m"#,
        );
        forge(&mut s, &event);
        s
    }),
    ("one human under two names", || {
        let principal = |who: &str| {
            format!(r#"{{"against":"$head","principal":{{"key":"$pub:{who}","label":"{who}","kind":"person","person":"{who}","roles":["security"],"subject":"$hash:issuer and subject"}}}}"#)
                .replace(' ', "-")
        };
        let mut s = under("{}");
        s.run(&format!("do principal.enroll {} by ann,bob => principal.enrolled", principal("zoe")));
        let signed = s.command_of("principal.enroll", None, &principal("zed"), "ann,bob");
        let model::Action::PrincipalEnroll(params) = &signed.command.action else { panic!() };
        let (principal, fingerprint) = (params.principal.clone(), params.principal.fingerprint());
        let command = signed.envelope.clone();
        forge(&mut s, &Event::PrincipalEnrolled(PrincipalEnrolled { principal, fingerprint, command }));
        s
    }),
    ("a key under a parent that is not active any more", || {
        let mut s = under("{}");
        s.run(r#"generate k2 {"asset":"w","wrapped_by":{"key_id":"$key:k1"}} by kim => key.generated"#);
        activate(&mut s, "k1");
        s.run(&READY.replace("k1", "k2"));
        late(s, &due(Duty::Activate, "k2"), "suspend k1 by opa => key.suspended")
    }),
    ("what came with epoch 2 in a chain under epoch 1", || {
        let mut s = Scenario::under(1);
        s.run("generate k1 by kim => key.generated");
        let params = r#"{"identity":$identity,"readiness":"ready"}"#;
        let signed = s.command_of("consumer.acknowledge", Some("k1"), params, "app");
        let acknowledged_by = s.principal("app", "app").fingerprint();
        let (readiness, counterpart, command) = (model::command::Readiness::Ready, None, signed.envelope.clone());
        let event = ConsumerAcknowledged { key_id: key_id("k1"), acknowledged_by, readiness, counterpart, command };
        forge(&mut s, &Event::ConsumerAcknowledged(event));
        s
    }),
];

/// The proof of the first of k1 and k2.
fn second_path(s: &Scenario) -> Vec<model::Digest> {
    let keys = [key_id("k1"), key_id("k2")];
    let list = lifecycle::manifest::List::of(keys.iter().map(|key| &s.tenant.keys[key]));
    list.memberships().next().unwrap().1.path
}

impl Suite {
    fn case(&self, name: &str, made: &Made) -> (Scenario, Case) {
        let s = at_epoch(self.epoch, made);
        let case = Case::of(name, self.epoch, s.tenant.root, s.tenant.chain.tenant(), &s.records);
        (s, case)
    }

    pub(super) fn lives_stand_in_every_event(&self) {
        for (name, life) in self.lives.iter().copied().flatten() {
            let events = self.case(name, life).1.events;
            let voids: Vec<String> = events.into_iter().filter_map(|event| event.void).collect();
            assert_eq!(voids, Vec::<String>::new(), "{name}");
        }
    }

    pub(super) fn misdeeds_change_nothing(&self) {
        for (name, misdeed) in self.misdeeds.iter().copied().flatten() {
            let (s, case) = self.case(name, misdeed);
            let voids: Vec<&String> = case.events.iter().filter_map(|event| event.void.as_ref()).collect();
            assert!(voids.len() == 1 && case.events.last().unwrap().void.is_some(), "{name}: {voids:?}");
            assert!(!voids[0].starts_with("data"), "{name}: refused for its form alone: {voids:?}");
            let without = Case::of(name, self.epoch, case.root, case.tenant, &s.records[..s.records.len() - 1]);
            assert!(without.keys == case.keys, "{name}: the void event changed a key");
        }
    }

    pub(super) fn the_published_vectors_come_out_as_they_say(&self) {
        let made =
            self.lives.iter().chain(self.misdeeds).copied().flatten().map(|(name, made)| self.case(name, made).1);
        let about = format!(
            "Chains and what the law of rules epoch {} makes of them. The keys are test keys: the Ed25519 seed of each is the SHA-256 of its name.",
            self.epoch
        );
        let file = File { about, rules: self.epoch, cases: made.collect() };
        if std::env::var_os("KEYLATCH_UPDATE_VECTORS").is_some() {
            std::fs::write(self.path, serde_json::to_string_pretty(&file).unwrap() + "\n").unwrap();
        }
        let published = std::fs::read_to_string(self.path).unwrap();
        assert!(wordless(serde_json::from_str(&published).unwrap()) == wordless(file), "see the top of this file");
        for outcome in vectors::judge(&published).unwrap() {
            assert_eq!(outcome.differences, Vec::<String>::new(), "{}", outcome.name);
        }
    }
}

#[test]
fn lives_under_epoch_2_stand_in_every_event() {
    EPOCH_2.lives_stand_in_every_event();
}

#[test]
fn services_and_people_that_break_the_rules_of_epoch_2_change_nothing() {
    EPOCH_2.misdeeds_change_nothing();
}

#[test]
fn the_published_law_vectors_of_epoch_2_come_out_as_they_say() {
    EPOCH_2.the_published_vectors_come_out_as_they_say();
}

/// Without the words of the reasons, which are free.
fn wordless(mut file: File) -> File {
    let voids = file.cases.iter_mut().flat_map(|case| &mut case.events).filter_map(|event| event.void.as_mut());
    voids.for_each(|void| void.clear());
    file
}

/// What is forged here is judged as everywhere.
#[test]
fn a_void_event_of_epoch_2_does_not_stop_the_chain() {
    let mut s = at_epoch(2, MISDEEDS[0].1);
    s.run("approve k1 by sue => activation.approved\napprove k1 by lou => activation.approved");
    s.run("due => activation.authorized, key.activated");
    let other = at_epoch(2, || under(r#"{"keys":{"warn_before":"10m"}}"#));
    let event = decided_at(&other, &due(Duty::Warn, "k1"), Timestamp::MAX);
    assert_ne!(s.forge(ServiceRole::Expirer, &event), Judgement::Lawful);
}
