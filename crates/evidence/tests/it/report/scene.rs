//! A tenant with a past: enough of everything that a report tells of.

use std::collections::BTreeMap;

use evidence::controls::Controls;
use evidence::history::History;
use evidence::report::{self, Input, Lines};
use evidence::{bundle, export};
use journal::Record;
use journal::note::Note;
use lifecycle::Input as Decided;
use lifecycle::scenario::{Scenario, key_id};
use model::event::{CustodyRefused, CustodyUsed};
use model::key::Operation;
use model::{CommandId, Digest, Envelope, EventHash, KeyState, ServiceRole};

use crate::stage;

const POLICY: &str = r#"{"schema":3,"name":"production","admin_quorum":2,"packs":["gdpr"],
    "keys":{"creators":["owner"],"pre_active_for":"20d","warn_before":"2d","revalidation":{"roles":["security"],"every":"15d"}},
    "algorithm":[{"name":"aes-256-gcm","crypto_period":"60d"},{"name":"ed25519","crypto_period":"60d"}],
    "people":{"delegation_max":"10d","access_review":{"by":{"roles":["privacy"],"quorum":1},"every":"30d","warn_before":"5d"}},
    "holds":{"place":{"roles":["security","operator"]},"lift":{"roles":["privacy"],"quorum":1}},
    "evidence":{"probes":{"every":"10d"},"evaluation":{"by":{"roles":["privacy"],"quorum":1},"every":"30d","warn_before":"5d"}},
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

const FOUNDATIONS: &str = r#"do store.register {"against":"$head","store":{"name":"software","kind":"software","server":"kms-1","database":"files on kms-1","region":"EU","operator":"platform team","privileged_accounts":["root on kms-1"]}} by ann,bob => store.registered
    do document.adopt {"against":"$head","name":"key-procedure","kind":"procedure","title":"How keys are made","document":"$hash:text","covers":[1,11],"owner":"$who:lou","review_by":"$now+60d"} by ann,bob => document.adopted
    do fact.assert {"fact":"residency","value":{"text":"EU"},"valid_until":"$now+50d","evidence":"DPA-2026-001"} by lou => fact.asserted"#;

/// Text that would be markup, end a script or turn what follows it, where somebody wrote it into a reason.
pub(crate) const EVIL: &str = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)> \"quoted\" 'quoted' & \u{202e}drawkcab";

/// A month of a tenant.
pub(crate) fn scenario() -> Scenario {
    let mut s = Scenario::new();
    s.run("checkpoint => checkpoint.signed\nwait 1h\nenroll tok1 security,privacy by ann,bob => principal.enrolled");
    s.run(&format!("adopt {} by ann,bob => policy.adopted\nwait 2h", POLICY.replace('\n', " ")));
    s.run(&format!("{} => pack.declared", PACK.replace('\n', " ")));
    s.run(FOUNDATIONS);
    weights(&mut s);
    s.run("wait 1d\ncheckpoint => checkpoint.signed");
    prompts(&mut s);
    emergency(&mut s);
    abandoned(&mut s);
    evaluated(&mut s);
    s.run("checkpoint => checkpoint.signed");
    s
}

/// k1, for weights: asked for, rejected, asked for again, approved, used, suspended and resumed.
fn weights(s: &mut Scenario) {
    s.run(r#"generate k1 {"label":"weights-eu","asset":"the weights of model seven","owner":"platform"} by kim => key.generated"#);
    stage::run(
        s,
        "place k1\nwait 1d\nprobe k1 activate by bot => probe.recorded\nprobe k1 use by bot => probe.recorded",
    );
    s.run("request k1 by rae => activation.requested\nwait 3h");
    let evil = EVIL.replace('"', "\\\"");
    s.run(&format!(
        r#"do activation.reject k1 {{"request":"$request","reason":{{"kind":"unjustified","text":"{evil}"}}}} by sam => activation.rejected"#
    ));
    s.run("wait 1d\nrequest k1 by rae => activation.requested\nwait 5h\napprove k1 by tok1 => activation.approved");
    s.run("wait 1h\napprove k1 by lou => activation.approved");
    s.perform("due");
    stage::run(s, "wait 1m\nplace k1\nwait 3d");
    used(s, "k1", 412);
    stage::run(s, "wait 2d\nsuspend k1 by opa => key.suspended\nplace k1\nwait 2h");
    refused(s, "k1", 3);
    stage::run(s, "wait 1d\nresume k1 by opa => key.resumed\nplace k1");
}

/// k2 and k3, for prompts: one is held up by a court order, one waits in vain.
fn prompts(s: &mut Scenario) {
    s.run(r#"generate k2 {"label":"prompts-1","workload":"prompt-handling","asset":"the prompt store","owner":"search"} by kim => key.generated"#);
    stage::run(
        s,
        "place k2\nwait 2h\nrequest k2 by rae => activation.requested\napprove k2 by sue => activation.approved",
    );
    s.run(r#"do activation.hold k2 {"request":"$request","kind":"court-order","reference":"Case 12 & 13 <sealed>"} by sam => activation.held"#);
    s.run("wait 2d");
    s.run(r#"do activation.release k2 {"hold":"$event:activation.held","request":"$request","reason":$why} by lou => activation.released"#);
    s.run("approve k2 by lou => activation.approved");
    s.perform("due");
    stage::place(s, "k2");
    s.run(r#"generate k3 {"label":"prompts-2","workload":"prompt-handling","asset":"the prompt store"} by kim => key.generated"#);
    stage::place(s, "k3");
}

/// k4: an emergency that is reviewed too late.
fn emergency(s: &mut Scenario) {
    s.run(r#"generate k4 {"label":"incident-7","workload":"general","asset":"the broken queue","owner":"operations"} by kim => key.generated"#);
    stage::place(s, "k4");
    s.run(r#"do activation.request k4 {"identity":$identity,"break_glass":true,"reason":{"kind":"incident","text":"the queue is down"},"legal_basis":[],"affected_systems":["queue"]} by opa => activation.requested"#);
    s.run("approve k4 by sam => activation.approved");
    s.perform("due");
    stage::run(s, "place k4\nwait 3h");
    s.perform("due");
    stage::place(s, "k4");
    s.run(r#"do activation.review k4 {"activation":"$event:key.activated","findings":"it was needed, and late to be looked at"} by lou => activation.reviewed"#);
}

/// k5 is compromised, k6 expires and is destroyed.
fn abandoned(s: &mut Scenario) {
    for key in ["k5", "k6"] {
        s.run(&format!(r#"generate {key} {{"label":"{key}-batch","workload":"general","asset":"batch jobs"}} by kim => key.generated"#));
        stage::place(s, key);
    }
    stage::run(s, "wait 4d\ncompromise k5 by opa => key.compromised\nplace k5\nwait 12d");
    while !s.perform("due").contains("nothing") {}
    for key in ["k3", "k6", "k4"] {
        stage::place(s, key);
    }
}

/// lou signs what the tests came to, and what is to be done about the first exceptions.
fn evaluated(s: &mut Scenario) {
    let controls = stage::tests(s, 1);
    let exceptions = controls.controls.iter().flat_map(|test| &test.exceptions).take(2);
    let evil = EVIL.replace('"', "\\\"");
    let dispositions: Vec<String> = exceptions
        .map(|found| format!(r#"{{"exception":"{}","disposition":"remediate","owner":"$who:ann","due":"$now+30d","note":"rehearsed; {evil}"}}"#, found.id))
        .collect();
    let results: Vec<String> = controls
        .controls
        .iter()
        .map(|test| {
            let outcome = serde_json::to_string(&test.outcome).unwrap();
            let (count, exceptions) = (test.population.count, test.exceptions.len());
            format!(r#"{{"id":"{}","outcome":{outcome},"population":{count},"exceptions":{exceptions}}}"#, test.id)
        })
        .collect();
    let params = format!(
        r#"{{"controls":"$hash:controls","size":{},"results":[{}],"dispositions":[{}]}}"#,
        s.records.len(),
        results.join(","),
        dispositions.join(",")
    );
    let command = s.command_of("control.evaluate", None, &params, "lou");
    s.submit(ServiceRole::EvidenceExporter, Decided::Command(command)).unwrap();
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
        first_command: Digest::of(b"a command"),
        from: s.now.before("1h".parse().unwrap()),
        to: s.now,
        cause: known.head,
    };
    s.submit(ServiceRole::Custodian, Decided::Refused(refused)).unwrap();
}

fn report_id(number: u64) -> CommandId {
    format!("01930000-0000-7000-8000-{number:012x}").parse().unwrap()
}

/// Everything that a report is made from.
pub(crate) struct Scene {
    pub(crate) verified: evidence::Report,
    pub(crate) history: History,
    pub(crate) controls: Controls,
    pub(crate) authority: Vec<Envelope>,
    pub(crate) checkpoint: Option<Note>,
    pub(crate) files: BTreeMap<String, Digest>,
    pub(crate) lines: Vec<String>,
}

impl Scene {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let replay = stage::replay(scenario, &scenario.records, 1, 64);
        Self {
            verified: replay.verifier().report(),
            history: replay.history().clone(),
            controls: replay.controls(),
            authority: replay.verifier().authority().to_vec(),
            checkpoint: Some(stage::checkpoint(scenario)),
            files: BTreeMap::from([(bundle::EVENTS.to_owned(), Digest::of(b"events"))]),
            lines: lines(&scenario.records),
        }
    }

    pub(crate) fn html(&self) -> String {
        self.html_with(&embedded(&self.lines))
    }

    pub(crate) fn html_with(&self, lines: &Lines) -> String {
        let Self { verified, history, controls, authority, checkpoint, files, .. } = self;
        report::to_html(&Input {
            verified,
            history,
            controls,
            authority,
            checkpoint: checkpoint.as_ref(),
            files,
            lines,
        })
    }

    /// The hash of the event at a place, which must be in a timeline.
    pub(crate) fn hash_at(&self, sequence: u64) -> EventHash {
        let entries = self.history.keys.values().flat_map(|key| &key.timeline);
        entries.map(|entry| entry.at).find(|at| at.sequence.0 == sequence).unwrap().hash
    }
}

/// Events as lines of an export.
pub(crate) fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(export::to_line).collect()
}

/// Lines as the page carries them.
pub(crate) fn embedded(all: &[String]) -> Lines {
    let mut lines = Lines::default();
    all.iter().for_each(|line| lines.push(line));
    lines
}
