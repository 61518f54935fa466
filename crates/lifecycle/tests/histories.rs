//! Random histories: whatever people and services try, in whatever order, the invariants hold.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use journal::Body;
use lifecycle::scenario::Scenario;
use lifecycle::{Tenant, prepare};
use model::event::*;
use model::{Event, EventHash, Fingerprint, KeyState, Name};
use proptest::prelude::*;

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
