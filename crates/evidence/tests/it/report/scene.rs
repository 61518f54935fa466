//! A tenant with a past: enough of everything that a report tells of.

use std::collections::BTreeMap;

use evidence::controls::{Comparison, ControlTest, Controls, Disposed, Exception, FORMAT, Outcome, Period, Population};
use evidence::history::{At, History, KeyLife};
use evidence::report::{self, Checkpoint, Events, Input};
use evidence::{Trust, Verifier, export};
use journal::Record;
use lifecycle::Input as Decided;
use lifecycle::scenario::{Scenario, key_id};
use model::event::{CustodyRefused, CustodyUsed};
use model::key::Operation;
use model::{CommandId, EventHash, KeyState, ServiceRole, Timestamp};

const POLICY: &str = r#"{"name":"production","admin_quorum":2,"packs":["gdpr"],
    "keys":{"creators":["owner"],"pre_active_for":"20d","warn_before":"2d","revalidation":{"roles":["security"],"every":"15d"}},
    "algorithm":[{"name":"aes-256-gcm","crypto_period":"60d"},{"name":"ed25519","crypto_period":"60d"}],
    "people":{"delegation_max":"10d","access_review":{"by":{"roles":["privacy"],"quorum":1},"every":"30d","warn_before":"5d"}},
    "holds":{"place":{"roles":["security","operator"]},"lift":{"roles":["privacy"],"quorum":1}},
    "fact":[{"name":"residency","roles":["privacy"],"valid_max":"60d"}],
    "rule":[
    {"name":"everyday","when":{"responsibility":["application","model"]},"requesters":["owner"],"request_valid_for":"5d",
     "approval_valid_for":"4d","stage":[{"role":"security","quorum":1},{"role":"privacy","quorum":1}],"users":["app"],
     "process_when_deactivated":true},
    {"name":"emergency","when":{"responsibility":["application"]},"requesters":["operator"],"request_valid_for":"4h",
     "approval_valid_for":"4h","requires":{"reasons":["incident"]},"stage":[{"role":"security","quorum":1}],"users":["app"],
     "break_glass":{"life":"8h","review_within":"2h","reviewers":{"roles":["privacy","security"],"quorum":1}}}]}"#;

const PACK: &str = r#"do pack.declare {"against":"$head","pack":{"schema":1,"name":"gdpr","version":1,
    "title":"Transfers of personal data","about":["test"],"effective_from":"2025-01-01T00:00:00.000Z","reviewer":"privacy",
    "review_due":"2027-01-01T00:00:00.000Z","evidence":["fact.residency"],"source":[{"citation":"GDPR art. 44"}],
    "fact":[{"name":"residency","kind":"text","scope":"tenant","about":"where the data is"}],
    "gate":[{"name":"in-the-union","clause":"GDPR art. 44","says":"the data stays in the Union","needs":["residency"],
    "require":"context.facts[\"residency\"] == \"EU\""}]},"applicability":{"applied":"counsel said so"},
    "review_by":"$now+60d"} by ann,bob"#;

/// Text that would be markup, end a script or turn what follows it, where somebody wrote it into a reason.
pub(crate) const EVIL: &str = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)> \"quoted\" 'quoted' & \u{202e}drawkcab";

/// Three months of a tenant.
pub(crate) fn scenario() -> Scenario {
    let mut s = Scenario::new();
    s.run("checkpoint => checkpoint.signed\nwait 1h\nenroll tok1 security,privacy by ann,bob => principal.enrolled");
    s.run(&format!("adopt {} by ann,bob => policy.adopted\nwait 2h", POLICY.replace('\n', " ")));
    s.run(&format!("{} => pack.declared", PACK.replace('\n', " ")));
    s.run(
        r#"do fact.assert {"fact":"residency","value":{"text":"EU"},"valid_until":"$now+50d","evidence":"DPA-2026-001"} by lou => fact.asserted"#,
    );
    weights(&mut s);
    s.run("wait 1d\ncheckpoint => checkpoint.signed");
    prompts(&mut s);
    emergency(&mut s);
    abandoned(&mut s);
    s.run("checkpoint => checkpoint.signed");
    s
}

/// k1, for weights: asked for, rejected, asked for again, approved, used, suspended and resumed.
fn weights(s: &mut Scenario) {
    s.run(r#"generate k1 {"label":"weights-eu","asset":"the weights of model seven","owner":"platform"} by kim => key.generated"#);
    s.run("apply k1 => custody.applied\nwait 1d\nrequest k1 by rae => activation.requested\nwait 3h");
    let evil = EVIL.replace('"', "\\\"");
    s.run(&format!(
        r#"do activation.reject k1 {{"request":"$request","reason":{{"kind":"unjustified","text":"{evil}"}}}} by sam => activation.rejected"#
    ));
    s.run("wait 1d\nrequest k1 by rae => activation.requested\nwait 5h\napprove k1 by tok1 => activation.approved");
    s.run("wait 1h\napprove k1 by lou => activation.approved");
    s.perform("due");
    s.run("wait 1m\napply k1 => custody.applied\nwait 3d");
    used(s, "k1", 412);
    s.run("wait 2d\nsuspend k1 by opa => key.suspended\napply k1 => custody.applied\nwait 2h");
    refused(s, "k1", 3);
    s.run("wait 1d\nresume k1 by opa => key.resumed\napply k1 => custody.applied");
}

/// k2 and k3, for prompts: one is held up by a court order, one waits.
fn prompts(s: &mut Scenario) {
    s.run(r#"generate k2 {"label":"prompts-1","workload":"prompt-handling","asset":"the prompt store","owner":"search"} by kim => key.generated"#);
    s.run("apply k2 => custody.applied\nwait 2h\nrequest k2 by rae => activation.requested\napprove k2 by sue => activation.approved");
    s.run(r#"do activation.hold k2 {"request":"$request","kind":"court-order","reference":"Case 12 & 13 <sealed>"} by sam => activation.held"#);
    s.run("wait 2d");
    s.run(r#"do activation.release k2 {"hold":"$event:activation.held","request":"$request","reason":$why} by lou => activation.released"#);
    s.run("approve k2 by lou => activation.approved");
    s.perform("due");
    s.run("apply k2 => custody.applied");
    s.run(r#"generate k3 {"label":"prompts-2","workload":"prompt-handling","asset":"the prompt store"} by kim => key.generated"#);
    s.run("apply k3 => custody.applied");
}

/// k4: an emergency that is reviewed too late.
fn emergency(s: &mut Scenario) {
    s.run(r#"generate k4 {"label":"incident-7","workload":"general","asset":"the broken queue","owner":"operations"} by kim => key.generated"#);
    s.run("apply k4 => custody.applied");
    s.run(r#"do activation.request k4 {"identity":$identity,"break_glass":true,"reason":{"kind":"incident","text":"the queue is down"},"legal_basis":[],"affected_systems":["queue"]} by opa => activation.requested"#);
    s.run("approve k4 by sam => activation.approved");
    s.perform("due");
    s.run("apply k4 => custody.applied");
    s.run("wait 3h");
    s.perform("due");
    s.run("apply k4 => custody.applied");
    s.run(r#"do activation.review k4 {"activation":"$event:key.activated","findings":"it was needed, and late to be looked at"} by lou => activation.reviewed"#);
}

/// k5 is compromised, k6 expires and is destroyed, k7 stays in use to the end.
fn abandoned(s: &mut Scenario) {
    for key in ["k5", "k6"] {
        s.run(&format!(r#"generate {key} {{"label":"{key}-batch","workload":"general","asset":"batch jobs"}} by kim => key.generated"#));
        s.run(&format!("apply {key} => custody.applied"));
    }
    s.run("wait 4d\ncompromise k5 by opa => key.compromised\napply k5 => custody.applied\nwait 12d");
    for _ in 0..6 {
        s.perform("due");
        s.run("wait 1h");
    }
    s.perform("apply k6");
    s.perform("apply k3");
}

fn used(s: &mut Scenario, key: &str, count: u64) {
    let known = &s.tenant.keys[&key_id(key)];
    let (activation, cause) = (known.activation.unwrap().hash, known.head);
    let used = CustodyUsed {
        report: report_id(count),
        key_id: key_id(key),
        activation,
        uses: BTreeMap::from([(Operation::Wrap, 1), (Operation::Unwrap, count)]),
        used_by: vec![s.principal("app", "app").fingerprint()],
        from: s.now.before("2d".parse().unwrap()),
        to: s.now,
        cause,
    };
    s.submit(ServiceRole::Custodian, Decided::Used(used)).unwrap();
}

fn refused(s: &mut Scenario, key: &str, count: u64) {
    let known = &s.tenant.keys[&key_id(key)];
    let refused = CustodyRefused {
        report: report_id(1_000 + count),
        key_id: key_id(key),
        reason: "key-not-active".parse().unwrap(),
        state: KeyState::Suspended,
        refusals: BTreeMap::from([(Operation::Unwrap, count)]),
        asked_by: vec![s.principal("app", "app").fingerprint()],
        first_command: model::Digest::of(b"a command"),
        from: s.now.before("1h".parse().unwrap()),
        to: s.now,
        cause: known.head,
    };
    s.submit(ServiceRole::Custodian, Decided::Refused(refused)).unwrap();
}

fn report_id(number: u64) -> CommandId {
    format!("01930000-0000-7000-8000-{number:012x}").parse().unwrap()
}

/// Everything that a report is made from, for a history.
pub(crate) struct Scene {
    pub(crate) verified: evidence::Report,
    pub(crate) history: History,
    pub(crate) controls: Controls,
    pub(crate) trust: Trust,
    pub(crate) lines: Vec<String>,
    pub(crate) checkpoint: Option<(u64, String, Vec<String>)>,
}

impl Scene {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self::of(scenario, &scenario.records)
    }

    /// The report on these records, whatever they are.
    pub(crate) fn of(scenario: &Scenario, records: &[Record]) -> Self {
        let mut verifier = Verifier::new(scenario.tenant.chain.tenant(), scenario.tenant.root);
        let mut history = History::default();
        // One at a time, as the history reads the state after each.
        for record in records {
            for (sequence, prepared, judgement) in verifier.take(vec![record.clone()]) {
                history.take(verifier.state(), sequence, &prepared, &judgement);
            }
        }
        let verified = verifier.report();
        let last = history.checkpoints.last().map(|found| (found.size, found.note.clone(), Vec::new()));
        Self {
            controls: controls(&history, &verified),
            trust: Trust::of(verifier.state(), verifier.authority().to_vec()),
            lines: records.iter().map(export::to_line).collect(),
            checkpoint: last,
            verified,
            history,
        }
    }

    pub(crate) fn events(&self) -> Events {
        let mut events = Events::default();
        self.lines.iter().for_each(|line| events.push(line));
        events
    }

    pub(crate) fn html(&self) -> String {
        self.html_with(&self.events())
    }

    pub(crate) fn html_with(&self, events: &Events) -> String {
        let deployment = ["As configured, all six roles ran in one process (keylatch up).".to_owned()];
        report::to_html(&Input {
            verified: &self.verified,
            history: &self.history,
            controls: &self.controls,
            trust: &self.trust,
            checkpoint: self.checkpoint.as_ref().map(|(size, note, witnesses)| Checkpoint {
                size: *size,
                note,
                witnesses,
            }),
            events,
            deployment: &deployment,
        })
    }
}

/// The control tests, filled by hand: a report shows what it is given.
fn controls(history: &History, verified: &evidence::Report) -> Controls {
    let period = Period { from: model::Sequence(1), to: model::Sequence(verified.events), until: verified.time };
    let mut controls: Vec<ControlTest> = POINTS.iter().map(|point| test(point, history)).collect();
    let mut against = |place: usize, of: Vec<Exception>, remarks: &[&str]| {
        let test = &mut controls[place];
        test.passed = test.population.count.saturating_sub(of.len() as u64);
        test.outcome = if of.is_empty() { test.outcome } else { Outcome::Exceptions };
        test.exceptions = of;
        test.remarks = remarks.iter().map(|remark| (*remark).to_owned()).collect();
    };
    if let Some(emergency) = history.keys.get(&key_id("k4")) {
        let events = vec![emergency.created, emergency.activations[0].at];
        let exception = exception(
            emergency,
            "late-review",
            "an emergency was not reviewed in time, and the key was suspended",
            events,
        );
        let due: Timestamp = "2026-03-31T00:00:00.000Z".parse().unwrap();
        let note = format!("rehearsed with operations; {EVIL}");
        let disposed = Disposed { disposition: "remediate".into(), due, note, event: emergency.created };
        let exception = Exception { disposition: Some(disposed), owner: Some("ann".into()), ..exception };
        against(3, vec![exception], &["1 of 4 activations was an emergency under a rule of its own."]);
    }
    let ownerless = history.keys.values().filter(|key| key.spec.owner.is_none());
    let ownerless =
        ownerless.map(|key| exception(key, "owner", "nobody is named who answers for the key", vec![key.created]));
    against(13, ownerless.collect(), &[]);
    controls[4].outcome = Outcome::InsufficientEvidence;
    controls[4].remarks = vec!["Only the software store is in the history: other components have none to show.".into()];
    controls[9].outcome = Outcome::NotApplicable;
    controls[9].population.count = 0;
    controls[9].remarks = vec!["No key names a parent or a consumer.".into()];
    let comparison = [("keys", "4", "3"), ("activations", "2", "1"), ("approvals for each activation", "2.0", "1.0")];
    let comparison =
        comparison.map(|(figure, ai, general)| Comparison { figure, ai: ai.into(), general: general.into() });
    Controls {
        format: FORMAT,
        tenant: verified.tenant,
        root: verified.root,
        period,
        head: verified.head,
        controls,
        comparison: comparison.into(),
        limits: vec![
            "What a key store really holds, and what was really done with a key, is the custodian's word.".into(),
        ],
    }
}

fn exception(key: &KeyLife, reason: &str, what: &str, events: Vec<At>) -> Exception {
    let owner = key.spec.owner.as_ref().map(ToString::to_string);
    let id = format!("cek-15-{reason}-{}", key.spec.label).parse().unwrap();
    let (key_id, key) = (Some(key.id), Some(key.spec.label.clone()));
    Exception { id, what: what.into(), key_id, key, events, owner, disposition: None }
}

/// Title, statement, and what the items are, of the sixteen points.
const POINTS: [(&str, &str, &str); 16] = [
    (
        "Keys begin pre-active",
        "Every key was generated pre-active and stayed so until it was activated or ended.",
        "keys",
    ),
    (
        "Pre-active keys are kept apart",
        "Every pre-active key was kept in an inventory of its own, under a wrapping key of its own.",
        "keys",
    ),
    (
        "Activation is authorised",
        "Every activation rests on the approvals that the policy in force asked for.",
        "activations",
    ),
    (
        "Privileges are restricted",
        "Whoever approved or activated held the role for it, and nobody voted twice.",
        "activations",
    ),
    ("The same everywhere", "Every component that holds keys enforces the same controls.", "stores"),
    (
        "Activations are logged",
        "Every activation's record names key, time, who set it off, approvals and affected systems.",
        "activations",
    ),
    (
        "Law is enforced",
        "Every activation was held up until each declared legal condition was known to hold.",
        "activations",
    ),
    ("Waiting keys time out", "No key stayed pre-active beyond its time.", "keys"),
    ("AI workloads follow the same", "Keys for AI workloads went the same way as all others.", "keys for AI workloads"),
    (
        "Coordinated up and down",
        "Where a key wraps or serves others, they knew before it was active.",
        "keys with parents or consumers",
    ),
    (
        "Procedures exist",
        "There is an adopted procedure for generating keys, and its review is not overdue.",
        "procedures",
    ),
    ("Creation is restricted", "Every key was generated by somebody enrolled in a role that may.", "keys"),
    ("Stores are identified", "Every key's store is registered.", "stores"),
    ("Attributes fit the key", "Every key has an owner, an end and a way to be replaced.", "keys"),
    (
        "The way of activation is confirmed",
        "Every activation says how it came about, and the store confirmed it.",
        "activations",
    ),
    ("Waiting keys are reviewed", "Somebody looked at the keys that wait as often as policy says.", "keys"),
];

fn test(point: &(&'static str, &'static str, &'static str), history: &History) -> ControlTest {
    let (title, statement, of) = *point;
    let number = POINTS.iter().position(|other| other.0 == title).unwrap() + 1;
    let activations = history.keys.values().map(|key| key.activations.len() as u64).sum();
    let (count, listed_in) = match of {
        "activations" => (activations, "activations.csv"),
        "stores" | "procedures" => (1, "stores.csv"),
        _ => (history.keys.len() as u64, "keys.csv"),
    };
    ControlTest {
        id: format!("CEK-15.{number:02}"),
        title,
        statement,
        source: "AICM auditing guidelines",
        method: "Over the replayed history, item by item.",
        outcome: Outcome::NoExceptions,
        population: Population { of, count, listed_in },
        passed: count,
        exceptions: Vec::new(),
        remarks: Vec::new(),
    }
}

/// The hash of the event at a place.
pub(crate) fn hash_at(scene: &Scene, sequence: u64) -> EventHash {
    let entries = scene.history.keys.values().flat_map(|key| &key.timeline);
    entries.map(|entry| entry.at).find(|at| at.sequence.0 == sequence).unwrap().hash
}
