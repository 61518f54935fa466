//! Histories to make evidence of.

use std::collections::BTreeMap;

use evidence::controls::ControlTest;
use journal::Record;
use lifecycle::scenario::{Scenario, key_id, public_key};
use lifecycle::{Input, vectors};
use model::event::{CustodyRefused, CustodyUsed};
use model::key::Operation;
use model::{CommandId, Digest, Fingerprint, ServiceRole, TenantId};

use crate::stage;

const POLICY: &str = r#"{"schema":3,"evidence":{"export":{"roles":["privacy"]},"probes":{"every":"1d"},
    "evaluation":{"by":{"roles":["security"]},"every":"90d","warn_before":"14d"}},"people":{"delegation_max":"2h","access_review":{"by":{"roles":["privacy"],"quorum":2},"every":"10d","warn_before":"1d"}},
    "holds":{"place":{"roles":["security"]},"lift":{"roles":["privacy"]}},
    "fact":[{"name":"residency","roles":["privacy"],"valid_max":"2h"}],
    "keys":{"revalidation":{"roles":["owner"],"every":"40m"},"warn_before":"5m"},
    "parents":{"when_suspended":"suspend","when_compromised":"suspend"},
    "rule":[
    {"name":"everyday","when":{"responsibility":["application"]},"requesters":["owner"],"request_valid_for":"30m",
     "approval_valid_for":"20m","stage":[{"role":"security","quorum":1}],"users":["app"]},
    {"name":"emergency","when":{"responsibility":["application"]},"requesters":["operator"],"request_valid_for":"30m",
     "approval_valid_for":"20m","stage":[{"role":"security","quorum":1}],"users":["app"],
     "break_glass":{"life":"4h","review_within":"1h","reviewers":{"roles":["privacy"],"quorum":1}}}]}"#;

const PACK: &str = r#"{"schema":1,"name":"gdpr","version":1,"title":"Residency <of> [data]","about":["test"],
    "effective_from":"2025-01-01T00:00:00.000Z","reviewer":"privacy","review_due":"2027-01-01T00:00:00.000Z",
    "evidence":["fact.residency"],"source":[{"citation":"GDPR art. 44"}],
    "fact":[{"name":"residency","kind":"text","scope":"key","about":"where the data is"}],
    "gate":[{"name":"in-the-union","clause":"GDPR art. 44","says":"the data stays in the Union","needs":["residency"],
    "require":"context.facts[\"residency\"] == \"EU\""}]}"#;

const SCRIPT: &str = r#"
    do pack.declare {"against":"$head","pack":PACK,"applicability":{"applied":"counsel said so"},"review_by":"$now+60d"} by ann,bob => pack.declared
    do delegation.grant {"against":"$head","to":"$who:opa","roles":["security"],"not_before":"$now+0s","not_after":"$now+1h","reason":$why} by sam => delegation.granted
    do delegation.end {"delegation":"$event:delegation.granted","reason":$why} by sam => delegation.ended
    do principal.rotate {"against":"$head","principal":"$who:sue","key":"$pub:sue2","reason":$why} by sue,sue2 => principal.rotated
    roles oto operator,owner by ann,bob => principal.changed
    do document.adopt {"against":"$head","name":"ceremony","kind":"procedure","title":"How keys are <made>","document":"$hash:text","covers":[11],"owner":"$who:rae","review_by":"$now+60d"} by ann,bob => document.adopted
    do store.register {"against":"$head","store":{"name":"software","kind":"software","server":"kms-1","database":"files on kms-1"}} by ann,bob => store.registered
    generate k1 {"asset":"weights of \u003cllm\u003e"} by kim => key.generated
    generate k2 {"asset":"weights","wrapped_by":{"key_id":"$key:k1"}} by kim => key.generated
    generate k3 {"asset":"prompts","workload":"prompt-handling"} by kim => key.generated
    generate k4 {"workload":"general"} by kim => key.generated
    apply k1 => custody.applied
    apply k2 => custody.applied
    apply k4 => custody.applied
    do fact.assert k4 {"fact":"residency","value":{"text":"US"},"valid_until":"$now+1h","evidence":"c"} by lou => fact.asserted
    do fact.withdraw k4 {"fact":"residency","reason":$why} by lou => fact.withdrawn
    do fact.assert k1 {"fact":"residency","value":{"text":"EU"},"valid_until":"$now+2h","evidence":"b"} by lou => fact.asserted
    do fact.assert k2 {"fact":"residency","value":{"text":"EU"},"valid_until":"$now+2h","evidence":"b"} by lou => fact.asserted
    do consumer.acknowledge k1 {"identity":$identity,"readiness":"ready"} by app => consumer.acknowledged
    request k1 by kim => activation.requested
    do activation.hold k1 {"request":"$request","kind":"incident","reference":"INC-7"} by sam => activation.held
    do activation.release k1 {"hold":"$event:activation.held","request":"$request","reason":$why} by lou => activation.released
    approve k1 by sam => activation.approved
    due => activation.authorized, key.activated
    apply k1 => custody.applied
    do activation.request k2 {"identity":$identity,"break_glass":true,"reason":$why,"legal_basis":[],"affected_systems":[]} by opa => activation.requested
    approve k2 by sam => activation.approved
    due => activation.authorized, key.activated
    apply k2 => custody.applied
    do activation.review k2 {"activation":"$event:key.activated","findings":"fine"} by lou => activation.reviewed
    request k4 by kim => activation.requested
    reject k4 by sam => activation.rejected
    request k4 by kim => activation.requested
    cancel k4 by kim => activation.cancelled
    request k4 by kim => activation.requested
    checkpoint => checkpoint.signed
    probe k4 activate by bot => probe.recorded
    probe k4 use by app => probe.recorded
    probe k4 use unanswered by app => probe.recorded
    probe k4 use accepted by app => probe.recorded
    reconcile software 4,2,1,1,0 => custody.reconciled
    drift k4 attributes => custody.drifted
    suspend k1 by opa => key.suspended
    due => key.suspended
    apply k1 => custody.applied
    resume k1 by opa => key.resumed
    resume k2 by opa => key.resumed
    wait 31m
    due => deadline.warned, activation.lapsed
    wait 5m
    due => deadline.warned, deadline.warned
    do key.revalidate {"keys":["$key:k4"]} by kim => key.revalidated
    wait 6m
    due => key.expired, key.destroyed
    apply k3 => custody.applied
    compromise k2 by opa => key.compromised
    deactivate k1 by opa => key.deactivated
    apply k1 => custody.applied
    do activation.request k1 {"identity":$identity,"reason":$why,"legal_basis":[],"affected_systems":[]} by kim => refused key-not-pre-active
    wait 9d
    do access.review {"against":"$head","findings":"none"} by lou,dee => access.reviewed
"#;

/// Nearly everything that can happen to a tenant, with exceptions of several kinds.
pub(crate) fn rich() -> Scenario {
    let mut scenario = Scenario::new();
    scenario.run(&format!("adopt {} by ann,bob => policy.adopted", one_line(POLICY)));
    for step in SCRIPT.replace("PACK", &one_line(PACK)).lines() {
        scenario.run(step);
        if step.trim().starts_with("apply k2") && scenario.state("k2") == model::KeyState::Active {
            uses(&mut scenario);
        }
    }
    evaluate(&mut scenario);
    scenario
        .run("checkpoint => checkpoint.signed\nexport 3 by lou => evidence.exported\ncheckpoint => checkpoint.signed");
    scenario
}

/// The control's owner decides on the first exceptions, on each in another way, and leaves the others.
fn evaluate(scenario: &mut Scenario) {
    let controls = stage::tests(scenario, 1);
    let results: Vec<String> = controls.controls.iter().map(result).collect();
    let exceptions = controls.controls.iter().flat_map(|test| &test.exceptions);
    let disposed = exceptions.zip(["accepted", "remediate", "not-an-exception", "transferred"]);
    let dispositions: Vec<String> = disposed
        .map(|(exception, disposition)| {
            let id = &exception.id;
            format!(
                r#"{{"exception":"{id}","disposition":"{disposition}","owner":"$who:kim","due":"$now+30d","note":"[a](b)"}}"#
            )
        })
        .collect();
    let (results, dispositions, size) = (results.join(","), dispositions.join(","), controls.period.to);
    scenario.run(&format!(
        r#"do control.evaluate {{"controls":"$hash:controls","size":{size},"results":[{results}],"dispositions":[{dispositions}]}} by sam => control.evaluated"#,
        size = size.0
    ));
}

fn result(test: &ControlTest) -> String {
    let outcome = serde_json::to_value(test.outcome).unwrap();
    let (population, exceptions) = (test.population.count, test.exceptions.len());
    format!(r#"{{"id":"{}","outcome":{outcome},"population":{population},"exceptions":{exceptions}}}"#, test.id)
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect()
}

/// Uses of an active key, and refused ones of keys that are not.
fn uses(scenario: &mut Scenario) {
    let report =
        |number: u8| CommandId::from_bytes([1, 0, 0, 0, 0, 0, 0x70, number, 0x80, 0, 0, 0, 0, 0, 0, 9]).unwrap();
    let (from, to) = (scenario.now, scenario.now);
    let who = ["app", "bot"].map(|who| public_key(who).fingerprint());
    let key = &scenario.tenant.keys[&key_id("k1")];
    let used = CustodyUsed {
        report: report(1),
        key_id: key.id,
        activation: key.activation.as_ref().unwrap().hash,
        uses: BTreeMap::from([(Operation::Encrypt, 3), (Operation::Decrypt, 1)]),
        used_by: who.to_vec(),
        from,
        to,
        cause: key.head,
    };
    let key = &scenario.tenant.keys[&key_id("k4")];
    let refused = CustodyRefused {
        report: report(2),
        key_id: key.id,
        reason: "key-not-active".parse().unwrap(),
        state: key.state,
        refusals: BTreeMap::from([(Operation::Encrypt, 2)]),
        asked_by: who[..1].to_vec(),
        first_command: Digest::of(b"a command"),
        from,
        to,
        cause: key.head,
    };
    scenario.submit(ServiceRole::Custodian, Input::Used(used)).unwrap();
    scenario.submit(ServiceRole::Custodian, Input::Refused(refused)).unwrap();
}

/// What comes of every chain in the vector files of the law.
pub(crate) fn of_vectors<T>(mut take: impl FnMut(TenantId, Fingerprint, &[Record]) -> Vec<T>) -> Vec<T> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/vectors");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("law-"));
    paths.sort();
    let mut taken = Vec::new();
    for path in paths {
        let file: vectors::File = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for case in file.cases {
            let record =
                |event: vectors::EventCase| Record { signature: event.signature, payload: event.payload.0.into() };
            let records: Vec<Record> = case.events.into_iter().map(record).collect();
            taken.extend(take(case.tenant, case.root, &records));
        }
    }
    taken
}
