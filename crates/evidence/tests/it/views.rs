//! The views (OSCAL, OCSF, CAIQ), of a history with everything in it and of the smallest one, under the eyes of tools
//! from outside (`tests/judges.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use ed25519_dalek::SigningKey;
use evidence::controls::{self, Controls};
use evidence::history::History;
use evidence::{Replay, bundle, caiq, ocsf, oscal};
use journal::{Record, ServiceKey};
use lifecycle::scenario::Scenario;
use model::{Digest, EventType, Fingerprint, Sequence, ServiceRole, TenantId};
use serde_json::Value;

use crate::lives;
use crate::stage::{self, Files};

/// A history as evidence is made of it.
struct Replayed {
    history: History,
    controls: Controls,
    lines: Vec<String>,
}

fn replay(tenant: TenantId, root: Fingerprint, records: &[Record]) -> (Replay, Vec<String>) {
    let (mut replay, mut lines) = (Replay::new(tenant, root, Sequence(1)), Vec::new());
    replay.take_each(records.to_vec(), &mut |state, (sequence, prepared, judgement)| {
        lines.extend(ocsf::line(state, *sequence, prepared, judgement));
    });
    (replay, lines)
}

fn replayed(scenario: &Scenario) -> Replayed {
    let (replay, lines) = replay(scenario.tenant.chain.tenant(), scenario.tenant.root, &scenario.records);
    Replayed { history: replay.history().clone(), controls: replay.controls(), lines }
}

fn made(scenario: &Scenario) -> Files {
    stage::bundle(scenario, 1, 64)
}

/// The five documents of a bundle.
fn documents(files: &Files) -> Vec<Value> {
    oscal::NAMES.map(|name| serde_json::from_slice(&files[&oscal::path(name)]).unwrap()).into()
}

fn write(folder: &Path, files: &Files) {
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// A key that is nobody's, in the form of an exporter's.
fn other_key() -> Vec<u8> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let key = ServiceKey::new(key, ServiceRole::EvidenceExporter, &"other".parse().unwrap());
    oscal::sidecars(&BTreeMap::new(), &key).remove(0).1
}

/// What the judges said, of all bundles at once; or why they could not be asked.
static JUDGED: LazyLock<Result<Value, String>> = LazyLock::new(judge);

fn judge() -> Result<Value, String> {
    let packages = std::env::var_os("KEYLATCH_TEST_PYTHONPATH").ok_or(
        "the judges are Python packages: run `cargo xtask test`, or set KEYLATCH_TEST_PYTHONPATH to what `cargo xtask python-packages` prints",
    )?;
    let folder = tempfile::tempdir().unwrap();
    let mut bundles: Vec<PathBuf> = Vec::new();
    for (name, scenario) in [("rich", lives::rich()), ("smallest", Scenario::bare())] {
        let mut files = made(&scenario);
        files.insert("oscal/other.pem".to_owned(), other_key());
        bundles.push(folder.path().join(name));
        write(&folder.path().join(name), &files);
    }
    let lines = lives::of_vectors(|tenant, root, records| replay(tenant, root, records).1);
    let lines = lines.join("\n").into_bytes();
    bundles.push(folder.path().join("vectors"));
    write(&folder.path().join("vectors"), &Files::from([(bundle::LINES.to_owned(), lines)]));
    let mut python = Command::new("python3");
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges.py")).args(bundles);
    python.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = python.output().map_err(|error| format!("the judges need python3: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

#[track_caller]
fn judged(bundle: &str) -> &'static Value {
    &JUDGED.as_ref().unwrap_or_else(|error| panic!("{error}"))[bundle]
}

/// What a judge objected to, where it objected.
#[track_caller]
fn nobody_objects(judge: &str, among: usize) {
    for bundle in ["rich", "smallest"] {
        let said = judged(bundle)[judge].as_object().unwrap();
        let objections: BTreeMap<_, _> = said.iter().filter(|(_, objection)| !objection.is_null()).collect();
        assert!(objections.is_empty(), "{bundle}: {objections:#?}");
        assert_eq!(said.len(), among, "{bundle}");
    }
}

#[test]
fn the_documents_are_valid_under_the_json_schemas_of_nist() {
    nobody_objects("schemas", 5);
}

/// The manifest and the events are DSSE to a library that knows nothing of us.
#[test]
fn securesystemslib_takes_every_envelope_and_no_changed_one() {
    for (bundle, scenario) in [("rich", lives::rich()), ("smallest", Scenario::bare())] {
        let said = &judged(bundle)["envelopes"];
        assert_eq!(said["objections"], serde_json::json!({}), "{bundle}");
        assert_eq!(
            said["count"].as_u64().unwrap(),
            scenario.records.len() as u64 + 1,
            "{bundle}: every event, and the manifest"
        );
    }
}

#[test]
fn compliance_trestle_imports_and_validates_the_documents() {
    nobody_objects("workspace", 11);
}

#[test]
fn compliance_trestle_resolves_the_profile_to_the_control_and_its_sixteen_points() {
    let points: Vec<String> = (1..=16).map(|point| format!("cek-15.{point:02}")).collect();
    for bundle in ["rich", "smallest"] {
        let resolved: Vec<&str> =
            judged(bundle)["resolved"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(resolved[0], "cek-15", "{bundle}");
        assert_eq!(resolved[1..], points, "{bundle}");
    }
}

#[test]
fn trestle_verify_takes_the_sidecars_and_no_changed_document() {
    nobody_objects("signatures", 10);
}

#[test]
fn every_line_is_valid_ocsf() {
    for (bundle, classes) in
        [("rich", vec![2003, 3004, 6003]), ("smallest", vec![3004]), ("vectors", vec![2003, 2004, 3004])]
    {
        let said = &judged(bundle)["ocsf"];
        assert_eq!(said["objections"], serde_json::json!([]), "{bundle}");
        assert_eq!(said["classes"], serde_json::json!(classes), "{bundle}");
        assert!(said["lines"].as_u64().unwrap() > 0, "{bundle}");
    }
}

// === OSCAL ===

/// Every reference of the documents names something that is there.
#[test]
fn the_documents_hold_together() {
    for scenario in [lives::rich(), Scenario::bare()] {
        let files = made(&scenario);
        let documents = documents(&files);
        let others = files.keys().map(|name| format!("../{name}"));
        let mut known = Known { files: others.chain(oscal::NAMES.map(str::to_owned)).collect(), ..Known::default() };
        documents.iter().for_each(|document| known.learn(document));
        let mut named = 0;
        for (name, document) in oscal::NAMES.into_iter().zip(&documents) {
            check_references(name, document, &known, &mut named);
        }
        assert!(named > 150, "{named}");
    }
}

/// What can be named.
#[derive(Default)]
struct Known {
    files: BTreeSet<String>,
    uuids: BTreeSet<String>,
    ids: BTreeSet<String>,
}

impl Known {
    fn learn(&mut self, value: &Value) {
        match value {
            Value::Object(members) => {
                for (member, value) in members {
                    match (member.as_str(), value.as_str()) {
                        ("uuid", Some(uuid)) => drop(self.uuids.insert(uuid.to_owned())),
                        ("id", Some(id)) => drop(self.ids.insert(id.to_owned())),
                        _ => self.learn(value),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.learn(item)),
            _ => {}
        }
    }
}

fn check_references(document: &str, value: &Value, known: &Known, named: &mut usize) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                let texts: Vec<&str> = match value {
                    Value::String(text) => vec![text],
                    Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
                    _ => vec![],
                };
                for text in texts {
                    let there = match member.as_str() {
                        "href" => text
                            .strip_prefix('#')
                            .map_or_else(|| known.files.contains(text), |uuid| known.uuids.contains(uuid)),
                        "role-id" | "role-ids" | "control-id" | "statement-id" | "objective-id" | "target-id" => {
                            known.ids.contains(text)
                        }
                        member if member.ends_with("-uuid") || member.ends_with("-uuids") => known.uuids.contains(text),
                        _ => continue,
                    };
                    *named += 1;
                    assert!(there, "{document}: {member} {text}");
                }
                check_references(document, value, known, named);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| check_references(document, item, known, named)),
        _ => {}
    }
}

/// The catalog and the control tests are about the same points.
#[test]
fn points_are_called_alike_in_the_catalog_and_in_the_tests() {
    let scenario = Scenario::bare();
    let controls = replayed(&scenario).controls.controls;
    let catalog = &documents(&made(&scenario))[0];
    let points = catalog["catalog"]["groups"][0]["controls"][0]["controls"].as_array().unwrap();
    assert_eq!(points.len(), 16);
    for point in points {
        let id = point["id"].as_str().unwrap().to_uppercase();
        let test = controls.iter().find(|test| test.id == id).unwrap();
        assert_eq!(point["title"], test.title, "{id}");
    }
}

/// Each names the one before it by its digest, so that whoever has the last has all; and it names the bundle's other files,
/// but for the page that names it.
#[test]
fn each_document_has_the_digest_of_the_one_before() {
    let files = made(&lives::rich());
    let digest = |name: &str| Digest::of(&files[name]).to_string();
    let text = |name: &str| String::from_utf8(files[&oscal::path(name)].clone()).unwrap();
    for pair in oscal::NAMES.windows(2) {
        assert!(text(pair[1]).contains(&digest(&oscal::path(pair[0]))), "{} does not name {}", pair[1], pair[0]);
    }
    let results = text(oscal::NAMES[4]);
    let after = [bundle::MANIFEST, "report.html"];
    for name in files.keys().filter(|name| !name.starts_with("oscal/")) {
        assert_eq!(results.contains(&digest(name)), !after.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn the_catalog_is_the_same_for_everybody_and_nothing_else_is() {
    let (rich, smallest) = (made(&lives::rich()), made(&Scenario::bare()));
    let same: Vec<&str> =
        oscal::NAMES.into_iter().filter(|name| rich[&oscal::path(name)] == smallest[&oscal::path(name)]).collect();
    assert_eq!(same, ["catalog.json"]);
}

/// What was found is told as it was found: a finding for what was tested, a risk for each exception.
#[test]
fn results_tell_every_test_and_every_exception() {
    let scenario = lives::rich();
    let replayed = replayed(&scenario);
    let results = documents(&made(&scenario)).remove(4);
    let result = &results["assessment-results"]["results"][0];
    let tests = &replayed.controls.controls;
    let exceptions: usize = tests.iter().map(|test| test.exceptions.len()).sum();
    assert!(exceptions > 2, "a rich history has some");
    let not_applicable = tests.iter().filter(|test| test.outcome == controls::Outcome::NotApplicable).count();
    let length = |member: &str| result[member].as_array().unwrap().len();
    assert_eq!(length("observations"), tests.len() + exceptions);
    assert_eq!(length("risks"), exceptions);
    assert_eq!(length("findings"), tests.len() - not_applicable);
    let risks = result["risks"].as_array().unwrap().iter();
    let statuses: BTreeSet<&str> = risks.filter_map(|risk| risk["status"].as_str()).collect();
    assert_eq!(statuses, ["closed", "deviation-approved", "open", "remediating"].into());
    for finding in result["findings"].as_array().unwrap() {
        let target = finding["target"]["target-id"].as_str().unwrap();
        let test = tests.iter().find(|test| format!("{}_obj", test.id.to_lowercase()) == target).unwrap();
        let satisfied = finding["target"]["status"]["state"] == "satisfied";
        assert_eq!(satisfied, test.outcome == controls::Outcome::NoExceptions, "{target}");
    }
}

// === OCSF ===

/// Every type of event comes up somewhere in these histories; the lines of each are of one class, and in order.
#[test]
fn every_type_of_event_has_its_line_or_is_bookkeeping() {
    let mut codes: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut take = |tenant, root, records: &[Record]| -> Vec<()> {
        let (replay, lines) = replay(tenant, root, records);
        seen.extend(replay.history().counts.keys().copied());
        let mut last = 0;
        for line in &lines {
            let line: Value = serde_json::from_str(line).unwrap();
            let sequence = line["metadata"]["sequence"].as_u64().unwrap();
            assert!(sequence > last, "{line}");
            last = sequence;
            assert_eq!(line["metadata"]["uid"], records[usize::try_from(sequence).unwrap() - 1].hash().to_string());
            let class = line["class_uid"].as_u64().unwrap();
            assert_eq!(line["type_uid"].as_u64(), line["activity_id"].as_u64().map(|activity| class * 100 + activity));
            if class != 2004 {
                let code = line["metadata"]["event_code"].as_str().unwrap().to_owned();
                codes.entry(code).or_default().insert(line["type_uid"].as_u64().unwrap());
            }
        }
        vec![]
    };
    lives::of_vectors(&mut take);
    let rich = lives::rich();
    take(rich.tenant.chain.tenant(), rich.tenant.root, &rich.records);
    let all: BTreeSet<EventType> = EventType::ALL.iter().copied().collect();
    assert_eq!(seen, all, "histories in which everything happens");
    let bookkeeping = [EventType::CheckpointSigned, EventType::DocumentStored];
    for event in all {
        assert_eq!(codes.contains_key(event.name()), !bookkeeping.contains(&event), "{event}");
    }
    // The numbers that the wire format promises.
    for (code, number) in [
        ("key.generated", 300_401),
        ("activation.approved", 300_403),
        ("key.activated", 300_410),
        ("key.deactivated", 300_411),
        ("key.expired", 300_411),
        ("key.suspended", 300_412),
        ("key.resumed", 300_413),
    ] {
        assert_eq!(codes[code], [number].into(), "{code}");
    }
    let about_keys = |number: &u64| (300_410..=300_413).contains(number);
    for (code, numbers) in &codes {
        assert!(!numbers.iter().any(about_keys) || code.starts_with("key."), "{code} {numbers:?}");
    }
}

/// The sixth auditing guideline asks for these in the log of activations.
#[test]
fn the_line_of_an_activation_has_who_initiated_it_and_what_it_rests_on() {
    let lines = replayed(&lives::rich()).lines;
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let activated: Vec<&Value> = lines.iter().filter(|line| line["type_uid"] == 300_410).collect();
    let who: Vec<&str> = activated.iter().filter_map(|line| line["actor"]["user"]["name"].as_str()).collect();
    assert_eq!(who, ["kim", "opa"]);
    for line in activated {
        let approvals = line["unmapped"]["approvals"].as_array().unwrap();
        for approval in approvals {
            let approved = lines.iter().find(|other| other["metadata"]["uid"] == *approval).unwrap();
            assert_eq!(approved["metadata"]["correlation_uid"], line["metadata"]["correlation_uid"]);
        }
        assert!(!approvals.is_empty() && line["unmapped"]["affected_systems"].is_array());
        assert_eq!(line["entity"]["data"]["state"], "active");
    }
}

/// What does not stand is a finding, and its own time is not believed.
#[test]
fn an_event_that_does_not_stand_is_a_detection() {
    let mut scenario = lives::rich();
    let record =
        Record { signature: "SHA256:x AQI=".to_owned(), payload: "{\"time\":\"2099-01-01T00:00:00.000Z\"}".into() };
    scenario.inject(record.clone());
    let replayed = replayed(&scenario);
    let line: Value = serde_json::from_str(replayed.lines.last().unwrap()).unwrap();
    assert_eq!(line["type_uid"], 200_401);
    assert_eq!(line["metadata"]["uid"], record.hash().to_string());
    assert_eq!(line["time"], scenario.tenant.chain.time().unix_millis());
}

// === CAIQ ===

fn answers(scenario: &Scenario) -> Vec<caiq::Answer> {
    let of = replayed(scenario);
    caiq::questionnaire(&of.history, &of.controls).answers
}

#[test]
fn an_answer_says_yes_only_where_all_that_is_asked_is_shown() {
    for scenario in [lives::rich(), Scenario::new(), Scenario::bare()] {
        for answer in answers(&scenario) {
            let all = answer.shown.iter().all(|shown| shown.shown == caiq::Whether::Yes);
            assert_eq!(answer.draft_answer == Some(caiq::Draft::Yes), all, "{}", answer.id);
            assert_eq!(answer.open.is_empty(), all, "{}", answer.id);
            let verbs: Vec<&str> = answer.shown.iter().map(|shown| shown.what).collect();
            assert_eq!(verbs, ["defined", "implemented", "evaluated", "legal"]);
        }
    }
}

#[test]
fn the_answer_on_activation_is_yes_where_its_owner_has_decided_on_every_exception() {
    let mut of = replayed(&lives::rich());
    let drafted = |of: &Replayed| caiq::questionnaire(&of.history, &of.controls).answers[0].draft_answer;
    assert_eq!(drafted(&of), Some(caiq::Draft::No));
    let exceptions = || of.controls.controls.iter().flat_map(|test| &test.exceptions);
    let decided = exceptions().find_map(|exception| exception.disposition.clone()).unwrap();
    let exceptions = of.controls.controls.iter_mut().flat_map(|test| &mut test.exceptions);
    exceptions.for_each(|exception| exception.disposition = Some(decided.clone()));
    assert_eq!(drafted(&of), Some(caiq::Draft::Yes));
}

#[test]
fn without_a_policy_nothing_is_defined() {
    let drafts: Vec<Option<caiq::Draft>> =
        answers(&Scenario::bare()).iter().map(|answer| answer.draft_answer).collect();
    assert_eq!(drafts, [Some(caiq::Draft::No), Some(caiq::Draft::No), Some(caiq::Draft::No), None]);
}

#[test]
fn answers_count_what_the_history_has() {
    let rich = lives::rich();
    let of = replayed(&rich);
    let questionnaire = caiq::questionnaire(&of.history, &of.controls);
    let keys = of.history.keys.len();
    let text = |id: &str| {
        let answer = questionnaire.answers.iter().find(|answer| answer.id == id).unwrap();
        answer.implementation.join(" ")
    };
    assert!(text("CEK-15.1").starts_with(&format!("{keys} keys generated")), "{}", text("CEK-15.1"));
    let suspended = of.history.counts[&EventType::KeySuspended];
    assert!(text("CEK-16.1").starts_with(&format!("{suspended} suspension")), "{}", text("CEK-16.1"));
    let by_layer: u64 = questionnaire.ownership.layers.iter().map(|layer| layer.keys).sum();
    assert_eq!(by_layer, keys as u64);
    assert_eq!(questionnaire.signature.name, None, "a person signs");
}

/// No view says that anybody is compliant: that is for people to say.
#[test]
fn no_view_claims_compliance() {
    for (name, bytes) in made(&lives::rich()) {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        assert!(!text.contains("compliant"), "{name}");
    }
}
