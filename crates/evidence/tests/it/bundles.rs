//! Bundles: the same bytes from the same events, whole populations, and a way to check them without this program.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use journal::note::Note;
use lifecycle::scenario::Scenario;
use model::{KeyState, ServiceRole};

use super::stage::{Files, bundle, bundle_with, checkpoint, run, tests};

/// A tenant in which much has happened: keys in every state, an emergency aside.
pub(crate) fn busy() -> Scenario {
    let mut scenario = Scenario::new();
    run(
        &mut scenario,
        r#"adopt {"people":{"access_review":{"by":{"roles":["admin"],"quorum":2},"every":"30d"}}} by ann,bob => policy.adopted
        generate k1 {"asset":"=weights","owner":"team-a"} by kim => key.generated
        place k1
        generate k2 {"workload":"general"} by rae => key.generated
        place k2
        generate k3 {"asset":"w"} by kim => key.generated
        request k1 by rae => activation.requested
        approve k1 by sam => activation.approved
        approve k1 by lou => activation.approved
        due => activation.authorized, key.activated
        place k1
        checkpoint => checkpoint.signed
        wait 1m
        request k2 until 1h by rae => activation.requested
        reject k2 by sam => activation.rejected
        request k2 by rae => activation.requested
        approve k2 by sue => activation.approved
        approve k2 by lou => activation.approved
        due => activation.authorized, key.activated
        place k2
        suspend k2 by opa => key.suspended
        enroll zoe security by ann,bob => principal.enrolled
        revoke zoe by ann,bob => principal.revoked
        checkpoint => checkpoint.signed
        wait 2h
        due => key.expired, key.destroyed
        place k3
        place k2"#,
    );
    scenario
}

#[test]
fn the_same_events_give_the_same_bytes() {
    let scenario = busy();
    let files = bundle(&scenario, 1, 64);
    for at_once in [1, 3, 1_000] {
        for (name, bytes) in bundle(&scenario, 1, at_once) {
            assert!(bytes == files[&name], "{name}, {at_once} events at a time");
        }
    }
    assert!(files.values().all(|bytes| !bytes.is_empty()));
    let other = bundle(&scenario, 30, 64);
    assert_eq!(other["events.jsonl"], files["events.jsonl"], "the period changes what is tested, not what there is");
    assert_ne!(other["controls.json"], files["controls.json"]);
}

/// The rows of a table, by their headings.
fn rows(files: &Files, name: &str) -> Vec<BTreeMap<String, String>> {
    let text = String::from_utf8(files[name].clone()).unwrap();
    let mut lines = text.split("\r\n");
    let headings = cells(lines.next().unwrap());
    let row = |line: &str| headings.iter().cloned().zip(cells(line)).collect();
    lines.filter(|line| !line.is_empty()).map(row).collect()
}

fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            c => cells.last_mut().unwrap().push(c),
        }
    }
    cells
}

/// `<file> where <column> is <value> and …`: how many rows there are.
fn listed(files: &Files, listed_in: &str) -> usize {
    let (file, conditions) = listed_in.split_once(" where ").unwrap();
    let conditions: Vec<(&str, &str)> = conditions.split(" and ").map(|one| one.split_once(" is ").unwrap()).collect();
    let fits = |row: &&BTreeMap<String, String>| conditions.iter().all(|(column, value)| row[*column] == *value);
    rows(files, file).iter().filter(fits).count()
}

/// What a test says it looked at can be counted in the table that it names.
#[test]
fn every_population_is_listed() {
    let scenario = busy();
    for from in [1, 12, 30, scenario.records.len() as u64] {
        let files = bundle(&scenario, from, 64);
        for test in tests(&scenario, from).controls {
            let (listed_in, count) = (test.population.listed_in, test.population.count);
            assert_eq!(listed(&files, listed_in) as u64, count, "{} from {from}: {listed_in}", test.id);
        }
    }
}

#[test]
fn tables_hold_whole_populations() {
    let scenario = busy();
    let files = bundle(&scenario, 1, 64);
    let keys = rows(&files, "keys.csv");
    assert_eq!(keys.len(), 3);
    for (key, states) in keys.iter().zip([KeyState::Active, KeyState::Suspended, KeyState::Destroyed]) {
        assert_eq!(key["state"], states.name());
    }
    assert_eq!(keys[0]["asset"], "'=weights", "no formula");
    assert_eq!(rows(&files, "activations.csv").len(), 2);
    assert_eq!(rows(&files, "stores.csv").len(), 1);
    let people = rows(&files, "people.csv");
    assert_eq!(people.iter().filter(|row| row["kind"] == "person").count(), 13);
    assert_eq!(people.iter().filter(|row| row["kind"] == "workload").count(), 2);
    assert_eq!(people.iter().filter(|row| row["kind"] == "service").count(), 7);
    assert_eq!(people.iter().filter(|row| !row["revoked_at"].is_empty()).count(), 1);
    let exceptions: usize = tests(&scenario, 1).controls.iter().map(|test| test.exceptions.len()).sum();
    assert_eq!(rows(&files, "exceptions.csv").len(), exceptions);
}

#[test]
fn a_bundle_ends_where_a_checkpoint_does() {
    let mut scenario = busy();
    let note = checkpoint(&scenario);
    scenario.run("resume k2 by opa => key.resumed");
    let tenant = scenario.tenant.chain.tenant();
    let mut bundle = evidence::Bundle::new(tenant, scenario.tenant.root, model::Sequence(1));
    bundle.take(scenario.records.clone(), &mut std::io::sink(), &mut std::io::sink()).unwrap();
    assert!(matches!(bundle.finish(&[note]), Err(evidence::bundle::Error::Checkpoint(_))));
}

/// Cosignatures go to the checkpoints that they are of, also to those in the events, in whatever order they come.
#[test]
fn cosignatures_stand_with_their_checkpoints() {
    let scenario = busy();
    let plain = bundle(&scenario, 1, 64);
    let of_file = evidence::bundle::notes(std::str::from_utf8(&plain["checkpoints.txt"]).unwrap());
    let of_file: Vec<Note> = of_file.into_iter().map(Result::unwrap).collect();
    assert_eq!(of_file.len(), 3);
    let witness = |seed: u8| ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    let mut notes = Vec::new();
    for (time, note) in of_file.iter().enumerate() {
        for seed in [7, 8] {
            let mut cosigned = note.clone();
            let name = format!("witness.example/{seed}");
            cosigned.add(&note.cosignature(&name, time as u64, &witness(seed)).to_string()).unwrap();
            notes.push(cosigned);
        }
    }
    let cosigned = bundle_with(&scenario, 1, 64, &notes);
    let lines = |files: &Files| String::from_utf8_lossy(&files["checkpoints.txt"]).matches("\u{2014} ").count();
    assert_eq!((lines(&plain), lines(&cosigned)), (3, 9));
    notes.reverse();
    assert_eq!(bundle_with(&scenario, 1, 64, &notes), cosigned);
    let changed: Vec<&String> = cosigned.keys().filter(|name| cosigned[*name] != plain[*name]).collect();
    // The results name the checkpoints' digest, and are signed by themselves; the report shows who cosigned.
    let results = ["oscal/assessment-results.dsse.json", "oscal/assessment-results.json"];
    assert_eq!(changed, ["checkpoints.txt", "manifest.json", results[0], results[1], "report.html"]);
}

// === Without this program ===

/// Puts a bundle into a folder.
pub(crate) fn put(files: &Files, folder: &Path) {
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// Checks a bundle as its README says, with python3 and openssl.
fn by_hand(files: &Files, root: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    put(files, folder.path());
    let command = String::from_utf8(files["README.txt"].clone()).unwrap();
    let command = command.lines().find(|line| line.trim_start().starts_with("sed -n")).unwrap();
    let command = command.replace("SHA256:...", root);
    Command::new("sh").arg("-c").arg(command).current_dir(folder.path()).output().unwrap()
}

#[test]
fn a_bundle_is_checked_with_python3_and_openssl_as_its_readme_says() {
    let scenario = busy();
    let root = scenario.tenant.root.to_string();
    let good = by_hand(&bundle(&scenario, 1, 64), &root);
    let said = String::from_utf8_lossy(&good.stdout);
    assert!(good.status.success(), "{said}{}", String::from_utf8_lossy(&good.stderr));
    assert!(said.contains(&scenario.tenant.chain.head().hash.to_string()), "{said}");
    // It starts openssl for each signature: a short history will do for what is wrong.
    let scenario = Scenario::bare();
    let files = bundle(&scenario, 1, 64);
    let exporter = scenario.service(ServiceRole::EvidenceExporter).fingerprint().to_string();
    for (name, from, to, found) in [
        ("keys.csv", "label", "Label", "keys.csv is not what the manifest says"),
        ("events.jsonl", "eyJzcGVjdmVyc2lvbiI6IjEuMCIs", "eyJzcGVjdmVyc2lvbiI6IjEuMSIs", "does not hold"),
        ("checkpoints.txt", "\n\n", "\n", "does not open"),
        ("manifest.json", exporter.as_str(), "SHA256:x", "not signed by an exporter"),
        ("trust.json", "}", "} ", "trust.json is not what"),
    ] {
        let mut touched = files.clone();
        let text = String::from_utf8(files[name].clone()).unwrap();
        touched.insert(name.into(), text.replacen(from, to, 1).into_bytes());
        assert_ne!(touched[name], files[name], "{name}");
        let bad = by_hand(&touched, &root);
        assert!(!bad.status.success(), "{name}");
        let said = format!("{}{}", String::from_utf8_lossy(&bad.stdout), String::from_utf8_lossy(&bad.stderr));
        assert!(said.contains(found) || name == "checkpoints.txt", "{name}: {said}");
    }
    let other = by_hand(&files, "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert!(!other.status.success(), "another root");
}

/// The page says what every file, every test and every outcome is.
#[test]
fn the_page_knows_every_file_and_every_test() {
    let page = include_str!("../../../../docs/evidence.md");
    let names = evidence::bundle::FILES.iter().map(|file| file.name).chain(["manifest.json", "events.jsonl"]);
    for name in names {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
    for test in tests(&busy(), 1).controls {
        assert!(
            page.contains(&format!("| {} |", test.id)) || page.contains(&format!("| `{}` |", test.id)),
            "{}",
            test.id
        );
        for exception in &test.exceptions {
            assert!(page.contains(&format!("`{}`", exception.reason)), "{} {}", test.id, exception.reason);
        }
    }
}
