//! Random histories: whatever people and services try, in whatever order, the invariants hold.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use journal::Body;
use lifecycle::scenario::{Scenario, key_id};
use lifecycle::{Due, Fact, Tenant, View, due, evolve, judge, prepare};
use model::event::*;
use model::{
    Action, Command, Event, EventHash, Fingerprint, KeyId, KeyState, Name, Principal, Span, Timestamp, command,
};
use proptest::prelude::*;
use serde_json::Value;

const WHO: [&str; 12] = ["rae", "ray", "kim", "sam", "sue", "lou", "dee", "opa", "bot", "app", "ann", "zoe"];
const VERBS: [&str; 9] =
    ["request", "approve", "reject", "cancel", "activate", "suspend", "resume", "deactivate", "compromise"];

fn step() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["k1", "k2"]);
    let who = prop::sample::select(WHO.to_vec());
    let verb = prop::sample::select(VERBS.to_vec());
    prop_oneof![
        6 => (key.clone(), who.clone()).prop_map(|(key, who)| format!("approve {key} by {who}")),
        3 => key.clone().prop_map(|key| format!("request {key} by rae")),
        1 => key.clone().prop_map(|key| format!("request {key} after 10m by kim")),
        4 => Just("due".to_owned()),
        3 => (verb, key.clone(), who.clone()).prop_map(|(verb, key, who)| format!("{verb} {key} by {who}")),
        1 => key.clone().prop_map(|key| format!("apply {key}")),
        1 => key.clone().prop_map(|key| format!("destroy {key} by opa,oto")),
        1 => (prop::sample::select(vec!["authorize", "activate", "lapse", "expire", "deactivate", "destroy"]), key)
            .prop_map(|(duty, key)| format!("duty {duty} {key}")),
        1 => prop::sample::select(vec!["1s", "5m", "12m", "25m", "61m", "24h"]).prop_map(|span| format!("wait {span}")),
        1 => who.clone().prop_map(|who| format!("revoke {who} by ann,bob")),
        1 => who.prop_map(|who| format!("roles {who} privacy by ann,bob")),
        1 => prop::sample::select(vec!["adopt by ann,bob", "adopt two-security by ann,bob", "checkpoint"])
            .prop_map(str::to_owned),
    ]
}

/// Steps around sealed keys.
fn sealed_step() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["k1", "k2", "k3"]);
    let who = prop::sample::select(WHO.to_vec());
    let equip = |who: &str, n: u8| format!(r#"do principal.equip {{"sealing_key":"$seal:{who}{n}"}} by {who}"#);
    prop_oneof![
        6 => (key.clone(), who.clone()).prop_map(|(key, who)| format!("approve {key} share by {who}")),
        1 => (who.clone(), 0..3_u8).prop_map(move |(who, n)| equip(who, n)),
        1 => (key, prop::sample::select(vec!["kim", "rae"]))
            .prop_map(|(key, who)| format!(r#"generate {key} {{"asset":"w"}} by {who}"#)),
        1 => prop::sample::select(vec![r#""sealed":2"#, r#""sealed":2,"in_order":true"#, ""])
            .prop_map(|rule| format!(r#"adopt {{"schema":4,"rule":{{{rule}}}}} by ann,bob"#)),
        6 => step(),
    ]
}

/// A second opinion on shares, written apart from the rules and simpler: who was given one, and who has brought one.
#[derive(Default)]
struct Shares {
    people: BTreeMap<Fingerprint, Name>,
    revoked: BTreeSet<Fingerprint>,
    requests: BTreeMap<EventHash, Fingerprint>,
    sealed: BTreeMap<KeyId, (usize, BTreeSet<Name>)>,
    brought: BTreeMap<EventHash, Vec<Fingerprint>>,
    activated: usize,
}

impl Shares {
    fn see(&mut self, hash: EventHash, event: &Event) {
        let of = |principal: &Principal| (principal.fingerprint(), principal.person.clone());
        match event {
            Event::TenantCreated(event) => self.people.extend(event.admins.iter().map(of)),
            Event::PrincipalEnrolled(event) => self.people.extend([of(&event.principal)]),
            Event::PrincipalRevoked(event) => self.revoked.extend([event.principal]),
            Event::KeyGenerated(event) => {
                let Some(sealing) = &event.sealing else { return };
                let holders: BTreeSet<Name> = sealing.shares.iter().map(|one| self.people[&one.to].clone()).collect();
                assert_eq!(holders.len(), sealing.shares.len(), "one person has two shares");
                assert!(!holders.contains(&self.people[&event.created_by]), "whoever had it generated has a share");
                assert!(holders.len() >= usize::from(sealing.threshold));
                self.sealed.insert(event.key_id, (sealing.threshold.into(), holders));
            }
            Event::ActivationRequested(event) => self.requests.extend([(hash, event.requested_by)]),
            Event::ActivationApproved(event) => {
                let payload = String::from_utf8(event.command.payload.0.clone()).unwrap();
                if payload.contains(r#""share""#) {
                    self.brought.entry(event.request).or_default().push(event.approved_by);
                }
            }
            Event::KeyActivated(event) => {
                let Some((threshold, holders)) = self.sealed.get(&event.key_id) else { return };
                let asker = &self.people[&self.requests[&event.request]];
                let standing = self.brought[&event.request].iter().filter(|who| !self.revoked.contains(who));
                let people: BTreeSet<&Name> = standing.map(|who| &self.people[who]).collect();
                let own = people.iter().filter(|person| holders.contains(**person) && *person != &asker).count();
                assert!(own >= *threshold, "activated with {own} shares");
                self.activated += 1;
            }
            _ => {}
        }
    }
}

/// A second opinion on quorum, written apart from the rules and simpler: it knows the scenario's two policies only.
#[derive(Default)]
struct Oracle {
    people: BTreeMap<Fingerprint, (Name, BTreeSet<String>)>,
    revoked: BTreeSet<Fingerprint>,
    two_security: bool,
    approvals: BTreeMap<EventHash, (EventHash, Fingerprint)>,
    requests: BTreeMap<EventHash, Fingerprint>,
}

impl Oracle {
    fn see(&mut self, hash: EventHash, event: &Event) {
        let roles = |roles: &BTreeSet<model::Role>| roles.iter().map(ToString::to_string).collect();
        match event {
            Event::TenantCreated(event) => {
                let admin =
                    |admin: &model::Principal| (admin.fingerprint(), (admin.person.clone(), roles(&admin.roles)));
                self.people.extend(event.admins.iter().map(admin));
            }
            Event::PrincipalEnrolled(PrincipalEnrolled { principal, fingerprint, .. }) => {
                self.people.insert(*fingerprint, (principal.person.clone(), roles(&principal.roles)));
            }
            Event::PrincipalChanged(event) => self.people.get_mut(&event.principal).unwrap().1 = roles(&event.roles),
            Event::PrincipalRevoked(event) => self.revoked.extend([event.principal]),
            Event::PolicyAdopted(event) => {
                let payload = String::from_utf8(event.command.payload.0.clone()).unwrap();
                self.two_security = payload.contains(r#""role":"security","quorum":2"#);
            }
            Event::ActivationRequested(event) => self.requests.extend([(hash, event.requested_by)]),
            Event::ActivationApproved(event) => {
                self.approvals.extend([(hash, (event.request, event.approved_by))]);
            }
            Event::KeyActivated(event) => self.check(event),
            _ => {}
        }
    }

    fn check(&self, activated: &KeyActivated) {
        let requester = &self.people[&self.requests[&activated.request]].0;
        let mut people = BTreeSet::new();
        let (mut security, mut privacy, mut either) = (0, 0, 0);
        for approval in &activated.approvals {
            let (request, who) = self.approvals[approval];
            let (person, roles) = &self.people[&who];
            assert_eq!(request, activated.request, "an approval of another request counts");
            assert!(!self.revoked.contains(&who), "a revoked person's approval counts");
            assert_ne!(person, requester, "the one who asked counts");
            assert!(people.insert(person), "one person counts twice");
            match (roles.contains("security"), roles.contains("privacy")) {
                (true, true) => either += 1,
                (true, false) => security += 1,
                (false, true) => privacy += 1,
                (false, false) => panic!("somebody without a role counts"),
            }
        }
        let wanted = if self.two_security { 2 } else { 1 };
        let short = usize::max(wanted, security) - security + usize::max(1, privacy) - privacy;
        assert!(short <= either, "activated with {security} security, {privacy} privacy, {either} of both");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// No key is ever active without a valid quorum; every reader of the bytes agrees at every step (asserted by the
    /// scenario itself); replaying a prefix and then the rest equals replaying all.
    #[test]
    fn no_history_activates_a_key_without_its_quorum(steps in prop::collection::vec(step(), 1..60), cut in 0.0..1.0f64) {
        let mut scenario = Scenario::new();
        scenario.run("generate k1 by kim => key.generated\ngenerate k2 by kim => key.generated");
        for step in &steps {
            scenario.perform(step);
        }
        let mut oracle = Oracle::default();
        for record in &scenario.records {
            let body = Body::parse(&record.payload).unwrap();
            let event_type = body.event_type.parse().unwrap();
            oracle.see(record.hash(), &Event::parse(event_type, &body.data).unwrap());
        }
        for key in scenario.tenant.keys.values() {
            let was_activated = key.activation.is_some();
            let needs_it = matches!(key.state, KeyState::Active | KeyState::Suspended | KeyState::Deactivated);
            prop_assert!(was_activated || !needs_it);
        }

        let cut = (cut * scenario.records.len() as f64) as usize;
        let mut replay = Tenant::new(scenario.tenant.chain.tenant(), scenario.tenant.root);
        for record in &scenario.records[..cut] {
            replay.take_record(record.clone()).unwrap();
        }
        let mut replay = replay.clone();
        for record in &scenario.records[cut..] {
            let prepared = prepare(record.clone(), &replay.ring(), replay.root);
            replay.take(&prepared).unwrap();
        }
        prop_assert_eq!(&replay.chain, &scenario.tenant.chain);
        prop_assert_eq!(&replay.keys, &scenario.tenant.keys);
        prop_assert_eq!(&replay.requests, &scenario.tenant.requests);
    }
}

// === Governed histories ===

/// A policy in which everything can happen; how the everyday stages go together, and what it lists beside.
fn policy(stages: &str, more: &str) -> String {
    let policy = r#"adopt {MORE"schema":3,"evidence":{"heartbeat":"10m","export":{"roles":["privacy"],"every":"1h"},"probes":{"every":"1h"},
        "evaluation":{"by":{"roles":["security"],"quorum":1},"every":"1d","warn_before":"1h"}},"people":{"delegation_max":"1h"},"holds":{"place":{"roles":["security"]},"lift":{"roles":["privacy"]}},
        "parents":{"when_suspended":"suspend","when_compromised":"suspend"},
        "fact":[{"name":"residency","roles":["privacy"],"valid_max":"2h"}],
        "keys":{"revalidation":{"roles":["owner"],"every":"40m"},"warn_before":"5m"},
        "rule":[{"name":"everyday","when":{"responsibility":["application"]},"requesters":["owner"],"request_valid_for":"30m",
        "approval_valid_for":"20m",STAGES,"users":["app"],"manifest_max":3,
        "standing":{"count_max":2,"window_max":"50m","users":["app"]}},
        {"name":"emergency","when":{"responsibility":["application"]},"requesters":["owner","operator"],"request_valid_for":"30m",
        "approval_valid_for":"20m","stage":[{"role":"security","quorum":1}],"users":["app"],
        "break_glass":{"life":"4h","review_within":"1h","reviewers":{"roles":["privacy","operator"],"quorum":1}}}]} by ann,bob"#;
    policy.replace('\n', " ").replace("STAGES", stages).replace("MORE", more)
}

const BOTH: &str = r#""stage":[{"role":"security","quorum":1},{"role":"privacy","quorum":1}]"#;

fn policies() -> Vec<String> {
    vec![
        policy(BOTH, ""),
        policy(BOTH, r#""packs":["gdpr"],"#),
        policy(r#""stage":[{"role":"security","quorum":2}]"#, ""),
        policy(r#""in_order":true,"stage":[{"role":"privacy","quorum":1},{"role":"security","quorum":1}]"#, ""),
        policy(
            r#""need":"any","stage":[{"role":"security","quorum":2},{"role":"privacy","or":["operator"],"quorum":1}]"#,
            "",
        ),
        policy(BOTH, "").replace(r#""approval_valid_for":"20m""#, r#""approval_valid_for":"2m""#),
        policy(BOTH, "")
            .replace(r#""count_max":2"#, r#""count_max":1"#)
            .replace(r#""manifest_max":3"#, r#""manifest_max":1"#),
        policy(BOTH, "").replace(r#""every":"1h"}"#, r#""every":"2h"}"#).replace(r#""probes":{"every":"2h"},"#, ""),
    ]
}

/// The store `hsm` had k7.
const BASELINE: &str = r#"do baseline.adopt {"against":"$head","store":"hsm","taken_at":"$now+0s","common":{"workload":"model-storage","responsibility":"application","jurisdiction":"EU","classification":"secret","environment":"production","asset":"a"},"manifest":$inventory:k7,"rotate_by":"$now+2h","reason":$why} by ann,bob"#;

const PACK: &str = r#"{"schema":1,"name":"gdpr","version":1,"title":"Residency","about":["test"],"effective_from":"2025-01-01T00:00:00.000Z","reviewer":"privacy","review_due":"2027-01-01T00:00:00.000Z","evidence":["fact.residency"],"source":[{"citation":"GDPR art. 44"}],"fact":[{"name":"residency","kind":"text","scope":"key","about":"where the data is"}],"gate":[{"name":"in-the-union","clause":"GDPR art. 44","says":"the data stays in the Union","needs":["residency"],"require":"context.facts[\"residency\"] == \"EU\""}]}"#;

/// What people do together, a line a step.
fn ceremony() -> impl Strategy<Value = String> {
    let key = || prop::sample::select(vec!["k1", "k2", "k3", "k4", "k5", "k6", "k7"]);
    let voter = || prop::sample::select(vec!["sam", "sue", "lou", "dee", "opa"]);
    let role = || prop::sample::select(vec!["security", "privacy"]);
    let many = |voters: [&str; 2]| {
        let [one, two] = voters;
        format!(
            r#"do activation.approve {{"request":"$many"}} by {one}
            do activation.approve {{"request":"$many"}} by {two}
            due"#
        )
    };
    prop_oneof![
        4 => (key(), voter(), voter()).prop_map(|(key, one, two)| {
            format!("request {key} by kim\napprove {key} by {one}\napprove {key} by {two}\ndue")
        }),
        2 => (key(), voter(), voter()).prop_map(|(key, one, two)| {
            format!("request {key} after 10m by kim\napprove {key} by {one}\napprove {key} by {two}\ndue\nwait 9m")
        }),
        2 => (key(), voter(), voter(), voter(), role()).prop_map(|(key, from, to, other, role)| format!(
            r#"do delegation.grant {{"against":"$head","to":"$who:{to}","roles":["{role}"],"not_before":"$now+0s","not_after":"$now+20m","reason":$why}} by {from}
            request {key} by kim
            do activation.approve {key} {{"request":"$request","on_behalf_of":"$who:{from}"}} by {to}
            approve {key} by {to}
            approve {key} by {other}
            due"#
        )),
        3 => (key(), key(), voter(), voter()).prop_map(move |(key, next, one, two)| format!(
            r#"do activation.request {{"template":$template,"standing":{{"count":2,"until":"$now+50m"}},"reason":$why,"legal_basis":[],"affected_systems":[]}} by kim
            {}
            do key.activate {key} {{"against":"$at","standing":"$many"}} by app
            do key.activate {next} {{"against":"$at","standing":"$many"}} by app
            do key.activate k6 {{"against":"$at","standing":"$many"}} by app"#,
            many([one, two])
        )),
        2 => (voter(), voter()).prop_map(move |(one, two)| format!(
            r#"do activation.request {{"template":$template,"manifest":$list:k1+k2,"reason":$why,"legal_basis":[],"affected_systems":[]}} by kim
            {}"#,
            many([one, two])
        )),
        1 => key().prop_map(|key| format!(
            r#"do pack.declare {{"against":"$head","pack":{PACK},"applicability":{{"applied":"a"}},"review_by":"$now+60d"}} by ann,bob
            do fact.assert {key} {{"fact":"residency","value":{{"text":"EU"}},"valid_until":"$now+10m","evidence":"a"}} by lou"#
        )),
    ]
}

fn governed_step() -> impl Strategy<Value = String> {
    let key = || prop::sample::select(vec!["k1", "k2", "k3", "k4", "k7"]);
    let who = || prop::sample::select(WHO.to_vec());
    let voter = || prop::sample::select(vec!["sam", "sue", "lou", "dee", "rae", "opa"]);
    let many = || {
        prop::sample::select(vec![
            r#"do activation.request {"template":$template,"standing":{"count":2,"until":"$now+50m"},"reason":$why,"legal_basis":[],"affected_systems":[]} by kim"#,
            r#"do activation.request {"template":$template,"manifest":$list:k1+k2,"reason":$why,"legal_basis":[],"affected_systems":[]} by kim"#,
        ])
    };
    prop_oneof![
        3 => step(),
        16 => ceremony(),
        8 => (key(), voter()).prop_map(|(key, who)| format!("approve {key} by {who}")),
        4 => key().prop_map(|key| format!("request {key} by kim")),
        4 => Just("due".to_owned()),
        3 => many().prop_map(str::to_owned),
        5 => voter().prop_map(|who| format!(r#"do activation.approve {{"request":"$many"}} by {who}"#)),
        3 => key().prop_map(|key| format!(r#"do key.activate {key} {{"against":"$at","standing":"$many"}} by app"#)),
        2 => key().prop_map(|key| format!("member {key} of k1,k2")),
        1 => Just("store k1,k2 by kim".to_owned()),
        1 => Just(r#"do activation.cancel {"request":"$many","reason":$why} by kim"#.to_owned()),
        3 => (voter(), voter(), prop::sample::select(vec!["security", "privacy", "operator"])).prop_map(|(from, to, role)| {
            format!(r#"do delegation.grant {{"against":"$head","to":"$who:{to}","roles":["{role}"],"not_before":"$now+0s","not_after":"$now+20m","reason":$why}} by {from}"#)
        }),
        5 => (key(), voter(), voter()).prop_map(|(key, of, by)| {
            format!(r#"do activation.approve {key} {{"request":"$request","on_behalf_of":"$who:{of}"}} by {by}"#)
        }),
        1 => who().prop_map(|who| format!(r#"do delegation.end {{"delegation":"$event:delegation.granted","reason":$why}} by {who}"#)),
        1 => prop::sample::select(vec!["sam", "lou", "kim", "app"]).prop_map(|who| {
            format!(r#"do principal.rotate {{"against":"$head","principal":"$who:{who}","key":"$pub:{who}-new","reason":$why}} by {who},{who}-new"#)
        }),
        2 => (key(), voter()).prop_map(|(key, who)| format!("approve {key} by {who}-new")),
        1 => key().prop_map(|key| format!(r#"do activation.hold {key} {{"request":"$request","kind":"incident","reference":"a"}} by sam"#)),
        1 => key().prop_map(|key| format!(r#"do activation.release {key} {{"hold":"$event:activation.held","request":"$request","reason":$why}} by lou"#)),
        1 => Just(r#"do activation.hold {"kind":"incident","reference":"a"} by sue"#.to_owned()),
        2 => Just(r#"do activation.release {"hold":"$event:activation.held","reason":$why} by lou"#.to_owned()),
        2 => (key(), prop::sample::select(vec!["EU", "US"])).prop_map(|(key, at)| {
            format!(r#"do fact.assert {key} {{"fact":"residency","value":{{"text":"{at}"}},"valid_until":"$now+10m","evidence":"a"}} by lou"#)
        }),
        1 => key().prop_map(|key| format!(r#"do fact.withdraw {key} {{"fact":"residency","reason":$why}} by lou"#)),
        1 => prop::sample::select(vec!["applied", "not_applicable"]).prop_map(|how| {
            format!(r#"do pack.declare {{"against":"$head","pack":{PACK},"applicability":{{"{how}":"a"}},"review_by":"$now+60d"}} by ann,bob"#)
        }),
        2 => prop::sample::select(policies()),
        2 => key().prop_map(|key| format!(r#"do activation.request {key} {{"identity":$identity,"break_glass":true,"reason":$why,"legal_basis":[],"affected_systems":[]}} by opa"#)),
        1 => (key(), who()).prop_map(|(key, who)| format!(r#"do activation.review {key} {{"activation":"$event:key.activated","findings":"a"}} by {who}"#)),
        1 => key().prop_map(|key| format!(r#"do key.revalidate {{"keys":["$key:{key}"]}} by kim"#)),
        1 => key().prop_map(|key| format!(r#"do consumer.acknowledge {key} {{"identity":$identity,"readiness":"ready"}} by app"#)),
        2 => prop::sample::select(vec!["checkpoint\nexport by lou", "wait 25m\ncheckpoint\nexport", "export 9 by sam"])
            .prop_map(str::to_owned),
        3 => (key(), prop::sample::select(vec!["activate", "use"]), prop::sample::select(vec!["app", "bot", "sam"]))
            .prop_map(|(key, what, who)| format!("probe {key} {what} by {who}")),
        1 => prop::sample::select(vec!["sam", "lou"]).prop_map(|who| {
            let result = r#"{"id":"CEK-15.01","outcome":"exceptions","population":1,"exceptions":1}"#;
            format!(r#"do control.evaluate {{"controls":"$hash:a","size":9,"results":[{result}]}} by {who}"#)
        }),
        1 => prop::sample::select(vec!["ann,bob", "sam,sue"]).prop_map(|who| {
            format!(r#"do document.adopt {{"against":"$head","name":"a","kind":"process","title":"a","document":"$hash:a","covers":[1],"owner":"$who:kim","review_by":"$now+10m"}} by {who}"#)
        }),
        2 => prop::sample::select(vec!["1m", "6m", "19m"]).prop_map(|span| format!("wait {span}")),
        1 => prop::sample::select(vec!["back 5m", "back 30m"]).prop_map(str::to_owned),
    ]
}

/// A vote as the second opinion sees it.
struct Said {
    request: EventHash,
    by: Fingerprint,
    for_whom: Option<Fingerprint>,
    at: Timestamp,
}

/// A second opinion on everything that an activation rests on. It reads policies as JSON and tries all seatings.
#[derive(Default)]
struct Governed {
    people: BTreeMap<Fingerprint, Principal>,
    revoked: BTreeSet<Fingerprint>,
    policy: Value,
    delegations: BTreeMap<EventHash, (Fingerprint, command::DelegationGrant, Timestamp, bool)>,
    requests: BTreeMap<EventHash, (Fingerprint, command::ActivationRequest, Timestamp)>,
    votes: BTreeMap<EventHash, Said>,
    holds: BTreeMap<EventHash, Option<EventHash>>,
    applied: Option<bool>,
    residency: BTreeMap<KeyId, (bool, Timestamp, Timestamp)>,
    lists: BTreeMap<model::Digest, String>,
    activated: BTreeMap<EventHash, u64>,
    states: BTreeMap<KeyId, &'static str>,
}

impl Governed {
    fn see(&mut self, hash: EventHash, at: Timestamp, event: &Event) {
        let action = event.command().map(|command| Command::parse(&command.payload.0).unwrap().action);
        match (event, action) {
            (Event::TenantCreated(event), _) => {
                self.people.extend(event.admins.iter().map(|admin| (admin.fingerprint(), admin.clone())));
            }
            (Event::PrincipalEnrolled(event), _) => {
                drop(self.people.insert(event.fingerprint, event.principal.clone()))
            }
            (Event::PrincipalChanged(event), _) => {
                self.people.get_mut(&event.principal).unwrap().roles = event.roles.clone()
            }
            (Event::PrincipalRevoked(event), _) => self.revoked.extend([event.principal]),
            (Event::PrincipalRotated(event), _) => {
                self.revoked.extend([event.principal]);
                let principal = Principal { key: event.key.clone(), ..self.people[&event.principal].clone() };
                self.people.insert(event.fingerprint, principal);
            }
            (Event::PolicyAdopted(_), Some(Action::PolicyAdopt(params))) => {
                self.policy = serde_json::to_value(params.policy).unwrap()
            }
            (Event::DelegationGranted(event), Some(Action::DelegationGrant(params))) => {
                self.delegations.insert(hash, (event.from, params, at, false));
            }
            (Event::DelegationEnded(event), _) => self.delegations.get_mut(&event.delegation).unwrap().3 = true,
            (Event::ActivationRequested(event), Some(Action::ActivationRequest(params))) => {
                self.requests.insert(hash, (event.requested_by, params, at));
            }
            (Event::ActivationApproved(event), _) => {
                let ActivationApproved { request, approved_by: by, on_behalf_of: for_whom, .. } = event.clone();
                self.votes.insert(hash, Said { request, by, for_whom, at });
            }
            (Event::ActivationHeld(event), _) => drop(self.holds.insert(hash, event.request)),
            (Event::ActivationReleased(event), _) => assert!(self.holds.remove(&event.hold).is_some()),
            (Event::PackDeclared(event), _) => self.applied = Some(event.applied),
            (Event::FactAsserted(event), Some(Action::FactAssert(params))) => {
                let eu = params.value == model::pack::FactValue::Text("EU".parse().unwrap());
                self.residency.insert(event.key_id.unwrap(), (eu, at, event.valid_until));
            }
            (Event::FactWithdrawn(event), _) => drop(self.residency.remove(&event.key_id.unwrap())),
            (Event::DocumentStored(event), Some(Action::DocumentStore(params))) => {
                self.lists.entry(event.document).or_default().push_str(&params.text);
            }
            (Event::KeyGenerated(event), _) => drop(self.states.insert(event.key_id, "waits")),
            (Event::KeyAdopted(event), _) => assert_eq!(self.states.insert(event.key_id, "adopted"), None),
            (Event::KeyExpired(event), _) => drop(self.states.insert(event.key_id, "expired")),
            (Event::KeyDestroyed(event), _) => drop(self.states.insert(event.key_id, "gone")),
            (Event::KeyCompromised(event), _) => drop(self.states.insert(event.key_id, "gone")),
            (Event::CustodyApplied(event), _) => assert_ne!(self.states.get(&event.key_id), Some(&"adopted")),
            (Event::KeyActivated(event), _) => self.check(event, at),
            (Event::ProbeRecorded(event), _) => assert_eq!(self.states[&event.key_id], "waits"),
            _ => {}
        }
    }

    fn is_member(&self, who: &Fingerprint) -> bool {
        self.people.contains_key(who) && !self.revoked.contains(who)
    }

    /// The roles that a vote is for now; none where it is none.
    fn roles(&self, vote: &Said, now: Timestamp) -> BTreeSet<String> {
        let of = |who: &Fingerprint| -> BTreeSet<String> {
            self.people[who].roles.iter().filter(|_| self.is_member(who)).map(ToString::to_string).collect()
        };
        match vote.for_whom {
            None => of(&vote.by),
            Some(from) if self.is_member(&vote.by) => {
                let stands = |at: Timestamp, grant: &command::DelegationGrant, since: Timestamp| {
                    since.max(grant.not_before) <= at && at < grant.not_after
                };
                let granted = self.delegations.values().filter(|(whose, grant, since, ended)| {
                    !ended
                        && *whose == from
                        && grant.to == vote.by
                        && stands(vote.at, grant, *since)
                        && stands(now, grant, *since)
                });
                let roles: BTreeSet<String> =
                    granted.flat_map(|(_, grant, ..)| &grant.roles).map(ToString::to_string).collect();
                roles.intersection(&of(&from)).cloned().collect()
            }
            Some(_) => BTreeSet::new(),
        }
    }

    fn check(&mut self, event: &KeyActivated, now: Timestamp) {
        let was = self.states.insert(event.key_id, "active");
        assert!(matches!(was, Some("waits" | "adopted")), "a key that neither waits nor was adopted");
        assert!(!self.holds.values().any(|held| held.is_none() || *held == Some(event.request)), "under a hold");
        let (asker, params, asked_at) = &self.requests[&event.request];
        let rules = self.policy["rule"].as_array().unwrap();
        let rule = rules.iter().find(|rule| rule["break_glass"].is_object() == params.break_glass).unwrap();
        let span = |value: &Value| value.as_str().unwrap().parse::<Span>().unwrap();
        let text = |role: &Value| role.as_str().unwrap().to_owned();
        let asks: BTreeSet<String> = rule["requesters"].as_array().unwrap().iter().map(text).collect();
        let asker_roles: BTreeSet<String> = self.people[asker].roles.iter().map(ToString::to_string).collect();
        assert!(self.is_member(asker) && !asks.is_disjoint(&asker_roles), "asked for by somebody who may not");

        // The law
        let lists: Vec<String> =
            self.policy["packs"].as_array().map(|packs| packs.iter().map(text).collect()).unwrap_or_default();
        assert!(lists.is_empty() || self.applied.is_some(), "a pack is not declared");
        if self.applied == Some(true) {
            let (eu, since, until) = self.residency[&event.key_id];
            assert!(eu && since <= now && now < until, "a gate is not satisfied");
        }

        // For many
        let before = self.activated.entry(event.request).or_default();
        if let Some(standing) = params.standing {
            assert!(*before < u64::from(standing.count) && now < standing.until, "more than it stands for");
            assert!(*before < rule["standing"]["count_max"].as_u64().unwrap(), "more than the policy allows");
        }
        if let Some(manifest) = params.manifest {
            assert!(
                self.lists[&manifest.document].contains(&event.key_id.to_string()),
                "a key that is not in the list"
            );
            assert!(u64::from(manifest.count) <= rule["manifest_max"].as_u64().unwrap(), "more than the policy allows");
        }
        *before += 1;

        // The votes
        let person = |who: &Fingerprint| self.people[who].person.clone();
        let mut seen = BTreeSet::new();
        let mut seats: Vec<BTreeSet<String>> = Vec::new();
        for hash in &event.approvals {
            let vote = &self.votes[hash];
            assert_eq!(vote.request, event.request, "an approval of another request counts");
            let involved: BTreeSet<Name> =
                std::iter::once(vote.by).chain(vote.for_whom).map(|who| person(&who)).collect();
            assert!(involved.iter().all(|who| seen.insert(who.clone())), "one person counts twice");
            assert!(!involved.contains(&person(asker)), "whoever asked counts");
            let of_asker = self.delegations.values().any(|(from, grant, since, ended)| {
                !ended
                    && person(from) == person(asker)
                    && involved.contains(&person(&grant.to))
                    && since.max(&grant.not_before) <= &now
                    && now < grant.not_after
            });
            assert!(!of_asker, "a delegate of whoever asked counts");
            let good_for = if params.standing.is_some() {
                span(&rule["standing"]["window_max"])
            } else {
                span(&rule["approval_valid_for"])
            };
            assert!(now < vote.at + good_for, "an approval of long ago counts");
            seats.push(self.roles(vote, now));
        }
        assert!(asked_at <= &now || !event.approvals.is_empty());
        let stages: Vec<(BTreeSet<String>, usize)> = rule["stage"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stage| {
                let or = stage["or"].as_array().into_iter().flatten();
                let roles = std::iter::once(&stage["role"]).chain(or).map(text).collect();
                (roles, usize::try_from(stage["quorum"].as_u64().unwrap()).unwrap())
            })
            .collect();
        let places = |stages: &[(BTreeSet<String>, usize)]| -> Vec<BTreeSet<String>> {
            stages.iter().flat_map(|(roles, quorum)| std::iter::repeat_n(roles.clone(), *quorum)).collect()
        };
        let filled = match (rule["need"].as_str(), rule["in_order"].as_bool()) {
            (Some("any"), _) => stages.iter().any(|stage| fills(&places(std::slice::from_ref(stage)), &seats)),
            (_, Some(true)) => {
                let places = places(&stages);
                places.len() <= seats.len() && places.iter().zip(&seats).all(|(place, seat)| !place.is_disjoint(seat))
            }
            _ => fills(&places(&stages), &seats),
        };
        assert!(filled, "activated by {seats:?} under {stages:?}");
    }
}

/// Whether each place can have a vote of its own: by trying all.
fn fills(places: &[BTreeSet<String>], votes: &[BTreeSet<String>]) -> bool {
    let Some((place, others)) = places.split_first() else { return true };
    (0..votes.len()).any(|at| {
        let rest: Vec<BTreeSet<String>> =
            votes.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, v)| v.clone()).collect();
        !votes[at].is_disjoint(place) && fills(others, &rest)
    })
}

/// Everything due, kept up event by event as stores keep it.
fn kept_index(scenario: &Scenario) -> BTreeSet<Due> {
    let mut tenant = Tenant::new(scenario.tenant.chain.tenant(), scenario.tenant.root);
    let mut index = BTreeSet::new();
    for record in &scenario.records {
        let prepared = prepare(record.clone(), &tenant.ring(), tenant.root);
        let mut view = tenant.view(prepared.footprint());
        for due in due(&view) {
            index.remove(&due);
        }
        judge(&mut view, &prepared).unwrap();
        index.extend(due(&view));
        tenant.put(view);
    }
    index
}

/// Any event, in any view: what is recorded is a fact, and nothing panics.
fn evolves(scenario: &Scenario) {
    let tenant = &scenario.tenant;
    let mut views = vec![View::empty(tenant.chain.tenant())];
    for key in ["k1", "k3", "k9"] {
        let mut footprint = lifecycle::Footprint::of_key(key_id(key));
        footprint.others = vec![key_id("k2")];
        footprint.request = tenant.requests.keys().next().copied();
        let whole = tenant.view(footprint);
        views.extend([View { governance: None, ..whole.clone() }, View { request: None, ..whole.clone() }]);
        views.extend([View { key: None, ..whole.clone() }, View { others: BTreeMap::new(), ..whole.clone() }, whole]);
    }
    for (at, record) in scenario.records.iter().enumerate() {
        let body = Body::parse(&record.payload).unwrap();
        let event = Event::parse(body.event_type.parse().unwrap(), &body.data).unwrap();
        let action = event.command().map(|command| Command::parse(&command.payload.0).unwrap().action);
        let view = &mut views[at % 16];
        for action in [None, action.as_ref()] {
            evolve(view, &Fact { hash: record.hash(), time: body.time, event: &event, action, authority: None });
        }
        due(view);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever people do under policy and law: what is active was rightly activated, everything due is found without
    /// looking for it, and a replay comes to the same.
    #[test]
    fn no_governed_history_activates_a_key_against_policy_law_or_holds(
        steps in prop::collection::vec(governed_step(), 1..40),
        cut in 0.0..1.0f64,
    ) {
        let mut scenario = Scenario::new();
        scenario.run(&format!("{} => policy.adopted", policies()[0]));
        scenario.run(r#"generate k1 {"asset":"a"} by kim => key.generated
            generate k2 {"asset":"a"} by kim => key.generated
            generate k3 {"asset":"a","wrapped_by":{"key_id":"$key:k1"}} by kim => key.generated
            generate k4 {"asset":"a"} by kim => key.generated
            generate k5 {"asset":"a"} by kim => key.generated
            generate k6 {"asset":"a"} by kim => key.generated
            store k1,k2 by kim => document.stored
            inventory k7 by ann => document.stored"#);
        scenario.run(&format!("{BASELINE} => baseline.adopted\ndue => key.adopted"));
        for step in steps.iter().flat_map(|steps| steps.lines()) {
            scenario.perform(step.trim());
        }
        let mut second = Governed::default();
        for record in &scenario.records {
            let body = Body::parse(&record.payload).unwrap();
            let event = Event::parse(body.event_type.parse().unwrap(), &body.data).unwrap();
            second.see(record.hash(), body.time, &event);
        }
        prop_assert_eq!(kept_index(&scenario), scenario.dues());
        let mut adopted = scenario.tenant.keys.values().filter(|key| key.adopted.is_some());
        prop_assert!(adopted.all(|key| key.custody.is_none() && key.state != KeyState::PreActive));
        let waiting = scenario.tenant.keys.values().filter(|key| key.is_waiting()).count();
        prop_assert_eq!(scenario.tenant.progress.waiting, waiting as u64);
        evolves(&scenario);

        let cut = (cut * scenario.records.len() as f64) as usize;
        let mut replay = Tenant::new(scenario.tenant.chain.tenant(), scenario.tenant.root);
        for (at, record) in scenario.records.iter().enumerate() {
            if at == cut {
                replay = replay.clone();
            }
            replay.take_record(record.clone()).unwrap();
        }
        prop_assert_eq!(&replay.chain, &scenario.tenant.chain);
        prop_assert_eq!(&replay.governance, &scenario.tenant.governance);
        prop_assert_eq!(&replay.keys, &scenario.tenant.keys);
        prop_assert_eq!(&replay.requests, &scenario.tenant.requests);
        prop_assert_eq!(&replay.documents, &scenario.tenant.documents);
        prop_assert_eq!(&replay.checkpoints, &scenario.tenant.checkpoints);
        prop_assert_eq!(&replay.progress, &scenario.tenant.progress);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// No sealed key is ever active before as many people as its threshold have brought shares that they were given.
    #[test]
    fn no_history_activates_a_sealed_key_without_its_shares(steps in prop::collection::vec(sealed_step(), 1..60)) {
        let mut scenario = Scenario::new();
        scenario.run(
            r#"do principal.equip {"sealing_key":"$seal:sam"} by sam => principal.equipped
            do principal.equip {"sealing_key":"$seal:sue"} by sue => principal.equipped
            do principal.equip {"sealing_key":"$seal:lou"} by lou => principal.equipped
            adopt {"schema":4,"rule":{"sealed":2}} by ann,bob => policy.adopted
            generate k1 {"asset":"w"} by kim => key.generated
            generate k2 {"asset":"w"} by kim => key.generated
            request k1 by kim => activation.requested"#,
        );
        for step in &steps {
            scenario.perform(step);
        }
        let mut shares = Shares::default();
        for record in &scenario.records {
            let body = Body::parse(&record.payload).unwrap();
            let event_type = body.event_type.parse().unwrap();
            shares.see(record.hash(), &Event::parse(event_type, &body.data).unwrap());
        }
    }
}

/// What the property above looks for does happen.
#[test]
fn a_sealed_history_activates_a_key_with_its_shares() {
    let mut scenario = Scenario::new();
    scenario.run(
        r#"do principal.equip {"sealing_key":"$seal:sam"} by sam => principal.equipped
        do principal.equip {"sealing_key":"$seal:lou"} by lou => principal.equipped
        adopt {"schema":4,"rule":{"sealed":2}} by ann,bob => policy.adopted
        generate k1 {"asset":"w"} by kim => key.generated
        request k1 by kim => activation.requested
        approve k1 share by sam => activation.approved
        approve k1 share by lou => activation.approved
        due => activation.authorized, key.activated"#,
    );
    let mut shares = Shares::default();
    for record in &scenario.records {
        let body = Body::parse(&record.payload).unwrap();
        let event_type = body.event_type.parse().unwrap();
        shares.see(record.hash(), &Event::parse(event_type, &body.data).unwrap());
    }
    assert_eq!(shares.activated, 1);
}
