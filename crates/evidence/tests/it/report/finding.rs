//! What the page finds out in a browser, on good histories and on touched ones.

use std::path::PathBuf;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use evidence::Verifier;
use evidence::report::Lines;
use journal::Record;
use journal::note::{Kind, Note, NoteKey};
use lifecycle::scenario::{Scenario, key_id};
use model::event::CheckpointSigned;
use model::text::Base64;
use model::{Event, EventType, ServiceRole, dsse};
use serde_json::{Value, json};

use super::browser::Browser;
use super::scene::{Scene, embedded, lines, scenario};
use crate::bundles::put;
use crate::stage;

/// A page on the disk, in a folder of its own.
struct Page {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

fn page(html: &str) -> Page {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    std::fs::write(&file, html).unwrap();
    Page { _folder: folder, file }
}

/// Opens a page and gives the state that its check ends in.
fn open(browser: &mut Browser, html: &str) -> String {
    let page = page(html);
    browser.open(&page.file);
    let state = browser.checked();
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
    state
}

/// The places and codes of what the page found.
fn problems(browser: &mut Browser) -> Vec<(u64, String)> {
    let found = browser.eval(
        "[...document.querySelectorAll('#problem-list li')].map((item) =>
            [Number(item.querySelector('strong').textContent.replace('Event ', '')), item.dataset.problem])",
    );
    let pair = |pair: &Value| (pair[0].as_u64().unwrap(), pair[1].as_str().unwrap().to_owned());
    found.as_array().unwrap().iter().map(pair).collect()
}

/// The words in the row of what was checked that begins so.
fn row(browser: &mut Browser, name: &str) -> String {
    let script = format!(
        "[...document.querySelectorAll('#found-rows tr')].filter((row) => row.cells[0].textContent.startsWith({}))
            .map((row) => [...row.cells].slice(1).map((cell) => cell.textContent).join(': ')).join('; ')",
        json!(name)
    );
    browser.eval(&script).as_str().unwrap().to_owned()
}

#[test]
fn a_good_page_holds_and_says_under_which_root() {
    let scene = Scene::new(&scenario());
    let mut browser = Browser::start();
    assert_eq!(open(&mut browser, &scene.html()), "good");
    assert_eq!(problems(&mut browser), []);
    let count = scene.verified.events;
    assert_eq!(
        row(&mut browser, "Hashes and links"),
        format!("holds: {count} of {count} events name the hash of the one before")
    );
    assert_eq!(row(&mut browser, "Recorded checkpoints"), "holds: 3 of 3 fit the tree and the exporter's key");
    assert!(row(&mut browser, "Authority").starts_with("holds: 1 statement"));
    let signatures = format!("holds: {} signatures under", scene.history.signatures);
    assert!(row(&mut browser, "Signatures of people").starts_with(&signatures), "one of them by a hardware token");
    assert!(row(&mut browser, "Events that this report names").starts_with("holds: "));
    assert_eq!(row(&mut browser, "Other files"), "not checked: choose the bundle's folder to have them checked");
    assert!(browser.text("#verdict-text").contains("with the root that this file names"));
    // The fingerprint that the reader was given, from elsewhere.
    let root = scene.verified.root.to_string();
    let other = root.replace("SHA256:", "SHA256:AAAA").chars().take(50).collect::<String>();
    for (pinned, state, note, said) in [
        (root.as_str(), "good", "The same as in this file.", "under the root that you pinned"),
        (&other, "bad", "Another one than in this file.", "This file names another root than the one you pinned."),
        ("MD5:00", "good", "That is not a fingerprint", "with the root that this file names"),
        ("", "good", "Not given.", "with the root that this file names"),
    ] {
        browser.eval("document.getElementById('pin').focus(), document.getElementById('pin').select()");
        browser.type_text(pinned);
        if pinned.is_empty() {
            browser.eval("document.getElementById('pin').value = '', document.getElementById('pin').dispatchEvent(new Event('input'))");
        }
        assert_eq!(browser.checked(), state, "{pinned}");
        assert!(browser.text("#pin-note").starts_with(note), "{pinned}");
        assert!(browser.text("#verdict-text").contains(said), "{pinned}");
    }
}

/// The same without JavaScript is a document that claims nothing.
#[test]
fn without_scripts_it_reads_and_claims_nothing() {
    let scene = Scene::new(&scenario());
    let page = page(&scene.html());
    let mut browser = Browser::start();
    browser.scripts(false);
    browser.open(&page.file);
    assert_eq!(browser.eval("document.documentElement.dataset.check"), "unchecked");
    assert_eq!(browser.text("#verdict-headline"), "Nothing has been checked");
    let mut exceptions = scene.controls.controls.iter().flat_map(|test| &test.exceptions);
    assert!(browser.text("#controls").contains(&exceptions.next().unwrap().what));
    assert_eq!(browser.eval("document.getElementById('check-tools').checkVisibility()"), false);
}

/// A good report, and the history that it is about, to be touched.
struct Touched {
    browser: Browser,
    scenario: Scenario,
    scene: Scene,
}

impl Touched {
    fn new() -> Self {
        let scenario = scenario();
        Self { browser: Browser::start(), scene: Scene::new(&scenario), scenario }
    }

    /// Changes the history, and says at which event (from 1) and as what that must be found first: by the page and, where
    /// it is wrong in itself and not only another history than the report's, at the same event by the program.
    #[track_caller]
    fn check(&mut self, first: u64, code: &str, change: impl FnOnce(&Scenario, &mut Vec<Record>)) {
        let mut records = self.scenario.records.clone();
        change(&self.scenario, &mut records);
        assert_eq!(open(&mut self.browser, &self.scene.html_with(&embedded(&lines(&records)))), "bad");
        let found = problems(&mut self.browser);
        assert_eq!(found.first(), Some(&(first, code.to_owned())), "{found:?}");
        assert_eq!(self.browser.text("#verdict-headline"), "Does not hold");
        assert!(self.browser.text("#verdict-text").starts_with(&format!("Event {first}")));
        let mut verifier = Verifier::new(self.scenario.tenant.chain.tenant(), self.scenario.tenant.root);
        verifier.take(records);
        let by_program = verifier.report().first_bad().map(|bad| bad.sequence);
        assert_eq!(by_program, (code != "another-history").then_some(first), "the program says otherwise");
    }

    /// The place of the first event of a type, from 1.
    fn first(&self, event_type: EventType) -> u64 {
        let name = format!("\"{}\"", event_type.full_name());
        let is_it = |record: &Record| String::from_utf8_lossy(&record.payload).contains(&name);
        self.scenario.records.iter().position(is_it).unwrap() as u64 + 1
    }

    /// The same, where somebody who has that role's key signs the event anew with other data.
    #[track_caller]
    fn check_forged(&mut self, code: &str, event_type: EventType, role: ServiceRole, change: impl FnOnce(&mut Value)) {
        let first = self.first(event_type);
        self.check(first, code, |scenario, records| {
            let record = &mut records[usize::try_from(first).unwrap() - 1];
            let mut body = journal::Body::parse(&record.payload).unwrap();
            let mut data: Value = serde_json::from_str(&body.data).unwrap();
            change(&mut data);
            body.data = data.to_string();
            body.signer = scenario.service(role).fingerprint();
            *record = scenario.service(role).sign_body(&body);
        });
    }
}

fn flip(record: &mut Record, at: usize) {
    let mut bytes = record.payload.to_vec();
    bytes[at] ^= 1;
    record.payload = bytes.into();
}

/// Another last byte, in base64.
fn broken(base64: &Value) -> Value {
    let mut bytes = BASE64_STANDARD.decode(base64.as_str().unwrap()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    json!(BASE64_STANDARD.encode(bytes))
}

#[test]
fn every_way_of_touching_the_events_is_found_and_named_at_the_event() {
    let mut touched = Touched::new();
    touched.check(30, "bad-signature", |_, records| flip(&mut records[29], 300));
    touched.check(1, "members", |_, records| flip(&mut records[0], 300));
    touched.check(9, "wrong-sequence", |_, records| drop(records.remove(8)));
    touched.check(5, "wrong-sequence", |_, records| records.swap(4, 5));
    touched.check(3, "wrong-sequence", |_, records| records.insert(2, records[1].clone()));
    touched.check(12, "bad-signature", |_, records| records[11].signature = records[12].signature.clone());
    touched.check(12, "signature-header", |_, records| records[11].signature.clear());
    touched.check(70, "another-history", |_, records| records.truncate(70));
    touched.check(40, "wrong-tenant", |scenario, records| {
        let mut body = journal::Body::parse(&records[39].payload).unwrap();
        body.tenant = "ADVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCZW22".parse().unwrap();
        let signer = body.signer;
        let services = ServiceRole::ALL.map(|role| scenario.service(role));
        records[39] = services.into_iter().find(|service| service.fingerprint() == signer).unwrap().sign_body(&body);
    });
    touched.check(50, "unknown-signer", |_, records| {
        let stranger = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
        let stranger = journal::ServiceKey::new(stranger, ServiceRole::Approver, &"1".parse().unwrap());
        let mut body = journal::Body::parse(&records[49].payload).unwrap();
        body.signer = stranger.fingerprint();
        records[49] = stranger.sign_body(&body);
    });
}

/// What only somebody can do who has a service's key.
#[test]
fn what_a_services_key_forges_is_found_and_named_at_the_event() {
    let mut touched = Touched::new();
    let exporter = ServiceRole::EvidenceExporter;
    touched.check_forged("checkpoint", EventType::CheckpointSigned, exporter, |data| {
        let root = BASE64_STANDARD.encode([7; 32]);
        let note = data["note"].as_str().unwrap().replace(data["root"].as_str().unwrap(), &root);
        (data["root"], data["note"]) = (json!(root), json!(note));
    });
    touched.check_forged("command-signature", EventType::ActivationApproved, ServiceRole::Approver, |data| {
        let signature = &mut data["command"]["signatures"][0]["sig"];
        *signature = broken(signature);
    });
    touched.check_forged("command-signature", EventType::ActivationApproved, ServiceRole::Approver, |data| {
        data["command"]["signatures"][0]["keyid"] = json!(format!("SHA256:{}", "A".repeat(43)));
    });
    touched.check_forged("statement", EventType::KeyGenerated, ServiceRole::Issuer, |data| {
        let signature = &mut data["statement"]["signatures"][0]["sig"];
        *signature = broken(signature);
    });
    // That a role may not sign this is law; that it is another event than the report's, the page sees.
    touched.check_forged("another-event", EventType::ActivationApproved, ServiceRole::Activator, |_| ());
}

/// The event's place in the report is marked in words, and what was found links to it.
#[test]
fn what_does_not_stand_is_marked_where_the_report_speaks_of_it() {
    let mut touched = Touched::new();
    touched.check(30, "bad-signature", |_, records| flip(&mut records[29], 300));
    let Touched { mut browser, scene, .. } = touched;
    assert_eq!(browser.eval("document.getElementById('e30').dataset.bad"), "wrong");
    assert!(browser.text("#e30").contains("does not stand: bad-signature"));
    assert_eq!(browser.eval("document.querySelector('#verdict-text a').getAttribute('href')"), "#e30");
    assert_eq!(browser.eval("document.getElementById('e29').dataset.bad ?? null"), Value::Null);
    let marked = browser
        .eval("[...new Set([...document.querySelectorAll('[data-bad]')].map((place) => place.dataset.seq))].sort()");
    let over = scene.history.checkpoints.iter().map(|checkpoint| checkpoint.at.sequence.0).filter(|place| *place > 31);
    let mut wanted: Vec<String> = [30, 31].into_iter().chain(over).map(|place| place.to_string()).collect();
    wanted.sort();
    assert_eq!(
        marked,
        json!(wanted),
        "the event, the next, whose link is to what stood there, and the checkpoints over it"
    );
    assert_eq!(row(&mut browser, "Signatures of services").split(':').next(), Some("does not hold"));
    assert!(browser.text(".contents").contains("Check result: does not hold"));
}

/// Lines that are no lines end the reading, and what is read is never the whole file at once.
#[test]
fn a_line_that_is_not_one_of_an_export_ends_the_reading() {
    let scene = Scene::new(&scenario());
    let mut browser = Browser::start();
    let good = &scene.lines[6];
    let (head, _) = good.split_once(r#""signatures":"#).unwrap();
    let twice = good.replacen('{', r#"{"payload":"","#, 1);
    let header = format!(r#"{head}"signatures":[],"header":"SHA256:{} AAAA"}}"#, "A".repeat(43));
    for line in ["not JSON", "{}", &twice, &good.replace("==", "="), &header] {
        let mut lines = scene.lines.clone();
        lines[6] = line.to_owned();
        assert_eq!(open(&mut browser, &scene.html_with(&embedded(&lines))), "bad", "{line}");
        let first = problems(&mut browser).into_iter().next();
        assert_eq!(first, Some((7, "line".to_owned())), "{line}");
    }
}

/// A page that names another root than the one that signed: nothing rests on that root.
#[test]
fn events_under_another_root_do_not_hold() {
    let mut scene = Scene::new(&scenario());
    scene.verified.root = lifecycle::scenario::public_key("another").fingerprint();
    let mut browser = Browser::start();
    assert_eq!(open(&mut browser, &scene.html()), "bad");
    assert_eq!(problems(&mut browser)[0], (1, "members".to_owned()));
    assert!(browser.text("#verdict-text").contains("it is not signed by the root"));
}

/// Events that do not stand are no fault of the file: the page finds those whose form is wrong, takes the others from the
/// report, and says which is which.
#[test]
fn void_events_are_shown_and_are_no_fault_of_the_file() {
    let mut scenario = scenario();
    let last = scenario.records.last().unwrap().clone();
    scenario.inject(last);
    let forged = Event::CheckpointSigned(CheckpointSigned {
        size: 1,
        root: Base64(vec![0; 32]),
        note: "no checkpoint".into(),
        cause: scenario.tenant.chain.head().hash,
    });
    scenario.forge(ServiceRole::EvidenceExporter, &forged);
    let suspended = scenario.tenant.keys[&key_id("k1")].head;
    let lawless = Event::KeySuspended(model::event::KeySuspended {
        key_id: key_id("k1"),
        reason: None,
        command: None,
        cause: Some(suspended),
        affected: Vec::new(),
    });
    scenario.forge(ServiceRole::Activator, &lawless);
    scenario.run("checkpoint => checkpoint.signed");
    let scene = Scene::new(&scenario);
    assert_eq!(scene.verified.void, 3);
    let mut browser = Browser::start();
    assert_eq!(open(&mut browser, &scene.html()), "voids");
    assert_eq!(problems(&mut browser), []);
    assert!(browser.text("#verdict-text").contains("3 events do not stand"));
    let said = row(&mut browser, "Events that do not stand");
    assert!(said.contains("3 events; 2 of them found here as well"), "{said}");
    assert!(row(&mut browser, "Signatures of services").starts_with("holds, void ones aside"));
    assert!(browser.text("#integrity").contains("does not stand: wrong-sequence"));
    // The same events, and a report that does not name them.
    let mut silent = Scene::new(&scenario);
    silent.verified.void = 0;
    silent.history.attempts.clear();
    assert_eq!(open(&mut browser, &silent.html()), "bad");
    assert_eq!(problems(&mut browser)[0].1, "wrong-sequence");
}

/// A report that speaks of other events than the file has is found out, too.
#[test]
fn a_report_that_names_another_event_is_found_out() {
    let scene = Scene::new(&scenario());
    let (hash, other) = (scene.hash_at(30).to_string(), scene.hash_at(31).to_string());
    let html = scene.html().replacen(
        &format!("data-seq='30' data-hash='{hash}'"),
        &format!("data-seq='30' data-hash='{other}'"),
        1,
    );
    let mut browser = Browser::start();
    assert_eq!(open(&mut browser, &html), "bad");
    assert_eq!(problems(&mut browser), [(30, "another-event".to_owned())]);
    let mut shorter = Scene::new(&scenario());
    shorter.verified.merkle_root = shorter.verified.head;
    assert_eq!(open(&mut browser, &shorter.html()), "bad");
    assert_eq!(problems(&mut browser)[0].1, "another-history");
}

// === Files that are chosen ===

/// A folder with a page for many events, and the events beside it.
fn large(scene: &Scene) -> (Page, PathBuf) {
    let mut many = Lines::default();
    many.push(&"x".repeat(evidence::report::EMBED_BYTES_MAX + 1));
    let page = page(&scene.html_with(&many));
    let file = page.file.with_file_name("events.jsonl");
    (page, file)
}

#[test]
fn events_that_are_too_many_for_the_page_are_taken_from_a_file() {
    let scene = Scene::new(&scenario());
    let (page, file) = large(&scene);
    let mut browser = Browser::start();
    browser.open(&page.file);
    assert_eq!(browser.checked(), "waiting");
    assert!(browser.text("#verdict-text").contains("Choose the bundle's folder, or its events.jsonl."));
    std::fs::write(&file, scene.lines.join("\n") + "\n").unwrap();
    browser.choose("#pick-file", &[&file]);
    assert_eq!(browser.checked(), "good");
    assert!(browser.text("#found-what").contains("events.jsonl"));
    for (lines, wanted) in [
        (scene.lines[..20].join("\n"), (20, "another-history")),
        (scene.lines.join("\n\n"), (2, "line")),
        (String::new(), (0, "another-history")),
        (format!("{}\n\u{fffd}", scene.lines.join("\n")), (scene.verified.events + 1, "line")),
    ] {
        std::fs::write(&file, lines).unwrap();
        browser.choose("#pick-file", &[&file]);
        assert_eq!(browser.checked(), "bad", "{wanted:?}");
        assert_eq!(problems(&mut browser)[0], (wanted.0, wanted.1.to_owned()));
    }
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

/// A whole bundle, opened by its own page.
#[test]
fn a_bundles_folder_is_checked_file_by_file() {
    let scenario = scenario();
    let files = stage::bundle(&scenario, 1, 64);
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("bundle");
    std::fs::create_dir(&folder).unwrap();
    let mut browser = Browser::start();
    put(&files, &folder);
    browser.open(&folder.join("report.html"));
    assert_eq!(browser.checked(), "good");
    let mut check = |state: &str, said: &str| {
        browser.choose("#pick-folder", &[&folder]);
        assert_eq!(browser.checked(), state, "{said}");
        let found = row(&mut browser, "Other files");
        assert!(found.contains(said), "{found}");
        put(&files, &folder);
    };
    let all = format!("holds: {} files as in manifest.json, which an exporter's key signed", files.len() - 1);
    check("good", &all);
    let changed = |name: &str, from: &str, to: &str| {
        let text = std::str::from_utf8(&files[name]).unwrap();
        assert!(text.contains(from), "{name} has no {from}");
        std::fs::write(folder.join(name), text.replacen(from, to, 1)).unwrap();
    };
    for name in ["keys.csv", "report.html"] {
        changed(name, "weights-eu", "weights-us");
        check("bad", &format!("does not hold: {name} is not the file that the manifest names"));
    }
    let line = std::str::from_utf8(&files["events.jsonl"]).unwrap().lines().nth(29).unwrap();
    changed("events.jsonl", line, &line.replacen("\"sig\":\"", "\"sig\":\"AAAA", 1));
    check("bad", "does not hold: events.jsonl is not the file that the manifest names");
    std::fs::write(folder.join("more.csv"), "").unwrap();
    check("bad", "does not hold: more.csv is not in the manifest");
    std::fs::remove_file(folder.join("more.csv")).unwrap();
    std::fs::remove_file(folder.join("keys.csv")).unwrap();
    check("bad", "does not hold: keys.csv is missing");
    let key = |role| scenario.service(role).fingerprint().to_string();
    let approver = key(ServiceRole::Approver);
    for (from, to) in
        [(key(ServiceRole::EvidenceExporter), approver.as_str()), ("in-toto".into(), "in-tota"), ("{".into(), "[")]
    {
        changed("manifest.json", &from, to);
        check("bad", "manifest.json is not signed by an exporter whom the root names");
    }
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    check("good", "not checked: there is no manifest.json in the folder");
}

// === Witnesses ===

#[test]
fn what_witnesses_signed_is_checked_by_the_keys_that_the_reader_gives() {
    let mut scene = Scene::new(&scenario());
    let witness = |name: &str| {
        let key = ed25519_dalek::SigningKey::from_bytes(model::Digest::of(name.as_bytes()).as_bytes());
        (NoteKey::new(name, Kind::Cosignature, key.verifying_key()).unwrap().to_string(), key)
    };
    let ((one, one_key), (two, two_key), (three, _)) =
        (witness("example.org/w1"), witness("example.org/w2"), witness("w3"));
    let note = scene.checkpoint.clone().unwrap();
    let other = Note::new("something else\n").unwrap();
    let mut cosigned = note.clone();
    cosigned.add(&note.cosignature("example.org/w1", 1_769_648_460, &one_key).to_string()).unwrap();
    cosigned.add(&other.cosignature("example.org/w2", 1_769_648_461, &two_key).to_string()).unwrap();
    scene.checkpoint = Some(cosigned);
    let html = scene.html();
    assert!(html.contains("<bdi>example.org/w1</bdi>, <time datetime='2026-01-29T01:01:00.000Z'>"));
    let mut browser = Browser::start();
    assert_eq!(open(&mut browser, &html), "good");
    assert!(row(&mut browser, "Witness example.org/w1").starts_with("not checked: give its key"));
    let mut given = |keys: &str, wanted: &str| {
        let script = format!("document.getElementById('witness-keys').value = {}", json!(keys));
        browser.eval(&format!(
            "document.documentElement.dataset.check = 'unchecked'; {script};
             document.getElementById('witness-keys').dispatchEvent(new Event('input'))"
        ));
        assert_eq!(browser.checked(), wanted, "{keys}");
        row(&mut browser, "Witness ")
    };
    let found = given(&one, "good");
    assert!(
        found.starts_with("holds: its signature under the checkpoint, by the key that you gave; not checked: "),
        "{found}"
    );
    assert!(given(&format!("{one}\n{two}"), "bad").contains("does not hold: its signature under the checkpoint"));
    assert!(
        given(&three, "good").starts_with("not checked: the checkpoint has no signature by the key that you gave; ")
    );
    for none in ["nonsense", &one.replace("w1", "w9"), &one.replacen('A', "B", 1)] {
        assert!(given(none, "good").starts_with("not checked: that is not the key of a witness"), "{none}");
    }
    assert!(given("", "good").starts_with("not checked: give its key"));
}

/// The checkpoint that the report names is over other events than those in the file, or by nobody who may.
#[test]
fn a_checkpoint_that_does_not_fit_is_found_out() {
    let scenario = scenario();
    let mut scene = Scene::new(&scenario);
    let mut browser = Browser::start();
    let good = journal::note::Checkpoint::of(scenario.tenant.chain.tenant(), scenario.tenant.chain.tree());
    let exporter = scenario.service(ServiceRole::EvidenceExporter).signing_key();
    let approver = scenario.service(ServiceRole::Approver).signing_key();
    for (checkpoint, key) in [
        (journal::note::Checkpoint { root: [7; 32], ..good.clone() }, exporter),
        (journal::note::Checkpoint { size: good.size + 1, ..good.clone() }, exporter),
        (good, approver),
    ] {
        scene.checkpoint = Some(Note::parse(&checkpoint.sign(key)).unwrap());
        assert_eq!(open(&mut browser, &scene.html()), "bad");
        assert!(browser.text("#verdict-text").contains("The checkpoint that this report names does not fit"));
        assert!(row(&mut browser, "The checkpoint of this report").starts_with("does not hold"));
    }
}

// === The bytes, by the published vectors ===

#[test]
fn the_page_judges_form_as_the_published_vectors_do() {
    let vectors: Value = serde_json::from_str(include_str!("../../../../../schemas/vectors/chain-v1.json")).unwrap();
    let mut browser = Browser::start();
    open(&mut browser, &Scene::new(&scenario()).html());
    let script = format!("({JUDGE})({vectors})");
    let outcomes = browser.eval(&script);
    let outcomes = outcomes.as_array().unwrap();
    assert_eq!(outcomes.len(), vectors["cases"].as_array().unwrap().len());
    for outcome in outcomes {
        assert_eq!(outcome["differences"], json!([]), "{}", outcome["name"]);
    }
}

/// Judges the chains of a file of vectors, as `journal::vectors` does: with the service keys given.
const JUDGE: &str = r"async (file) => {
    const ring = new Keylatch.Ring(0);
    for (const [role, text] of Object.entries(file.keys)) {
        const key = await Keylatch.serviceKey(text.split(' ').slice(0, 2).join(' ')).catch(() => null);
        if (key && !ring.keys.has(key.fingerprint)) ring.add(key, { role, tenants: 'all', from: '', end: null });
    }
    const outcomes = [];
    for (const { name, events, head, root } of file.cases) {
        const checker = new Keylatch.Checker({ tenant: file.tenant, root: 'none' });
        checker.ring = ring;
        const differences = [];
        for (const [place, event] of events.entries()) {
            const record = { header: event.signature ?? '', payload: Keylatch.fromBase64(event.payload) };
            const prepared = await Keylatch.prepare(record, new Keylatch.Ring(0), 'none');
            try {
                prepared.body = await Keylatch.authentic(record, ring);
                prepared.wrong = null;
            } catch (error) {
                prepared.wrong = error;
            }
            const before = checker.problemCount;
            await checker.admit(prepared, { counts: {}, wrong: [] });
            const isVoid = checker.problemCount > before;
            if (isVoid !== (event.void != null)) differences.push(`event ${place + 1} is ${isVoid ? 'void' : 'good'}`);
            if (Keylatch.hex(prepared.hash) !== event.hash) differences.push(`event ${place + 1} has another hash`);
        }
        if (checker.head !== head) differences.push('the head');
        if (Keylatch.hex(await checker.tree.root()) !== root) differences.push('the root');
        outcomes.push({ name, differences });
    }
    return outcomes;
}";

/// Signatures of people, of each kind that OpenSSH makes. `None` where the page refuses it, else whether it knows the kind.
#[track_caller]
fn sshsig(browser: &mut Browser, signature: &[u8], namespace: &str, message: &[u8]) -> Option<bool> {
    let script = format!(
        "Keylatch.sshsig(Keylatch.fromBase64({}), {}, Keylatch.fromBase64({})).then((by) => by.known, () => null)",
        json!(BASE64_STANDARD.encode(signature)),
        json!(namespace),
        json!(BASE64_STANDARD.encode(message))
    );
    browser.eval(&script).as_bool()
}

#[test]
fn signatures_of_each_kind_are_taken_and_those_that_are_touched_are_not() {
    let mut browser = Browser::start();
    open(&mut browser, &Scene::new(&scenario()).html());
    let vectors: Value = serde_json::from_str(include_str!("../../../../../schemas/vectors/chain-v1.json")).unwrap();
    let command = &vectors["command"];
    let bytes = |value: &Value| BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
    let openssh = (bytes(&command["sshsig"]), dsse::pae(dsse::COMMAND, &bytes(&command["payload"])));
    let p256 = (BASE64_STANDARD.decode(P256_SSHSIG).unwrap(), b"message".to_vec());
    let token = (sk_p256(b"message", 1), b"message".to_vec());
    for (signature, message) in [&openssh, &p256, &token] {
        assert_eq!(sshsig(&mut browser, signature, "keylatch-command", message), Some(true));
        assert_eq!(sshsig(&mut browser, signature, "keylatch-authority", message), None);
        assert_eq!(sshsig(&mut browser, signature, "keylatch-command", b"another"), None);
        assert_eq!(sshsig(&mut browser, &[signature.as_slice(), &[0]].concat(), "keylatch-command", message), None);
        for at in (0..signature.len()).step_by(7) {
            let mut flipped = signature.clone();
            flipped[at] ^= 1;
            assert_eq!(sshsig(&mut browser, &flipped, "keylatch-command", message), None, "byte {at}");
        }
    }
    assert_eq!(
        sshsig(&mut browser, &sk_p256(b"message", 0), "keylatch-command", b"message"),
        None,
        "nobody touched it"
    );
}

/// Made with OpenSSH 9.2, over `message`, in the namespace of commands.
const P256_SSHSIG: &str = "U1NIU0lHAAAAAQAAAGgAAAATZWNkc2Etc2hhMi1uaXN0cDI1NgAAAAhuaXN0cDI1NgAAAEEE0VKuM0sdoo2zdbtvDjnO2iIOW19tjvVMVt1H2Lu2egzeoqmp06N9k43xba3W8Sc7E8eGUGWEwGoitkAEKq95+QAAABBrZXlsYXRjaC1jb21tYW5kAAAAAAAAAAZzaGE1MTIAAABkAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAABJAAAAIQDLd6KM1P8kH+pgdZ5r2XvEXJaQqKbuzBD/38cFDyMR5wAAACBvOYUq6MSEPKiB3DVwBi8oZqGb0C8T3TAOcppIy2QUBQ==";

/// A signature of a P-256 token (OpenSSH `PROTOCOL.u2f`), with these flags.
fn sk_p256(message: &[u8], flags: u8) -> Vec<u8> {
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;
    use sha2::{Digest as _, Sha256, Sha512};
    const KIND: &[u8] = b"sk-ecdsa-sha2-nistp256@openssh.com";
    let ssh = |parts: &[&[u8]]| -> Vec<u8> {
        parts.iter().flat_map(|part| [&u32::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat()).collect()
    };
    let key = p256::ecdsa::SigningKey::from_slice(&[5; 32]).unwrap();
    let blob = ssh(&[KIND, b"nistp256", key.verifying_key().to_encoded_point(false).as_bytes(), b"ssh:"]);
    let hashed = Sha512::digest(message);
    let data = [b"SSHSIG".to_vec(), ssh(&[b"keylatch-command", b"", b"sha512", &hashed])].concat();
    let after = [flags, 0, 0, 0, 9];
    let signed = [&Sha256::digest(b"ssh:")[..], &after, &Sha256::digest(&data)[..]].concat();
    let signature: p256::ecdsa::Signature = key.sign_prehash(&Sha256::digest(&signed)).unwrap();
    let (r, s) = signature.split_bytes();
    let number = |bytes: &[u8]| {
        let digits: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        if digits[0] & 0x80 == 0 { digits } else { [vec![0], digits].concat() }
    };
    let inner = [ssh(&[KIND, &ssh(&[&number(&r), &number(&s)])]), after.to_vec()].concat();
    let rest = ssh(&[&blob, b"keylatch-command", b"", b"sha512", &inner]);
    [b"SSHSIG".to_vec(), 1_u32.to_be_bytes().to_vec(), rest].concat()
}
