//! What the page finds out in a browser, on good histories and on touched ones.

use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use evidence::report::Events;
use evidence::{Verifier, export};
use journal::Record;
use lifecycle::scenario::{Scenario, key_id};
use model::event::CheckpointSigned;
use model::text::Base64;
use model::{Envelope, Event, EventType, ServiceRole, dsse};
use serde_json::{Value, json};

use super::browser::Browser;
use super::scene::{Scene, hash_at, scenario};

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

fn events(lines: &[String]) -> Events {
    let mut events = Events::default();
    lines.iter().for_each(|line| events.push(line));
    events
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
    let page = page(&Scene::new(&scenario()).html());
    let mut browser = Browser::start();
    browser.scripts(false);
    browser.open(&page.file);
    assert_eq!(browser.eval("document.documentElement.dataset.check"), "unchecked");
    assert_eq!(browser.text("#verdict-headline"), "Nothing has been checked");
    assert!(browser.text("#controls").contains("an emergency was not reviewed in time"));
    assert_eq!(browser.eval("document.getElementById('check-tools').checkVisibility()"), false);
}

/// Changes a history that a good report is about, and says what the page must find first.
fn touched(change: impl FnOnce(&mut Scenario, &mut Vec<Record>)) -> (String, Option<u64>) {
    let mut scenario = scenario();
    let scene = Scene::new(&scenario);
    let mut records = scenario.records.clone();
    change(&mut scenario, &mut records);
    let lines: Vec<String> = records.iter().map(export::to_line).collect();
    // What the program says of the same bytes. (Where only what is left out shows, it needs a head to compare with.)
    let mut verifier = Verifier::new(scenario.tenant.chain.tenant(), scenario.tenant.root);
    verifier.take(records);
    let bad = verifier.report().first_bad().map(|bad| bad.sequence);
    (scene.html_with(&events(&lines)), bad)
}

fn flip(record: &mut Record, at: usize) {
    let mut bytes = record.payload.to_vec();
    bytes[at] ^= 1;
    record.payload = bytes.into();
}

/// Signs an event of the history anew, changed: what somebody could do who has that role's key.
fn forged(scenario: &Scenario, record: &Record, role: ServiceRole, change: impl FnOnce(&mut Value)) -> Record {
    let mut body = journal::Body::parse(&record.payload).unwrap();
    let mut data: Value = serde_json::from_str(&body.data).unwrap();
    change(&mut data);
    body.data = data.to_string();
    body.signer = scenario.service(role).fingerprint();
    scenario.service(role).sign_body(&body)
}

/// The place of the first event of a type, from 0.
fn place(records: &[Record], event_type: EventType) -> usize {
    let name = format!("\"{}\"", event_type.full_name());
    records.iter().position(|record| String::from_utf8_lossy(&record.payload).contains(&name)).unwrap()
}

#[test]
fn every_way_of_touching_the_events_is_found_and_named_at_the_event() {
    type Change = Box<dyn FnOnce(&mut Scenario, &mut Vec<Record>)>;
    let change = |change: fn(&mut Scenario, &mut Vec<Record>)| -> Change { Box::new(change) };
    let mut browser = Browser::start();
    for (what, first, code, by_program, change) in [
        ("edit a byte", 30, "bad-signature", true, change(|_, records| flip(&mut records[29], 300))),
        ("edit the first event", 1, "members", true, change(|_, records| flip(&mut records[0], 300))),
        ("drop an event", 9, "wrong-sequence", true, change(|_, records| drop(records.remove(8)))),
        ("swap two", 5, "wrong-sequence", true, change(|_, records| records.swap(4, 5))),
        ("put one in twice", 3, "wrong-sequence", true, change(|_, records| records.insert(2, records[1].clone()))),
        (
            "another's signature",
            12,
            "bad-signature",
            true,
            change(|_, records| records[11].signature = records[12].signature.clone()),
        ),
        ("no signature", 12, "signature-header", true, change(|_, records| records[11].signature.clear())),
        ("cut off the end", 70, "another-history", false, change(|_, records| records.truncate(70))),
        (
            "another tenant's event",
            40,
            "unknown-signer",
            true,
            change(|_, records| {
                let payload = String::from_utf8(records[39].payload.to_vec()).unwrap();
                let other = "ADVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCZW22";
                let tenant = journal::Body::parse(payload.as_bytes()).unwrap().tenant.to_string();
                let key = journal::ServiceKey::new(
                    ed25519_dalek::SigningKey::from_bytes(&[1; 32]),
                    ServiceRole::Approver,
                    &"1".parse().unwrap(),
                );
                let mut body = journal::Body::parse(payload.replace(&tenant, other).as_bytes()).unwrap();
                body.signer = key.fingerprint();
                records[39] = key.sign_body(&body);
            }),
        ),
        (
            "a forged checkpoint",
            35,
            "checkpoint",
            true,
            change(|scenario, records| {
                let at = 34;
                records[at] = forged(scenario, &records[at], ServiceRole::EvidenceExporter, |data| {
                    let root = BASE64_STANDARD.encode([7; 32]);
                    let note = data["note"].as_str().unwrap().replace(data["root"].as_str().unwrap(), &root);
                    (data["root"], data["note"]) = (json!(root), json!(note));
                });
            }),
        ),
        (
            "a forged approval",
            24,
            "command-signature",
            true,
            change(|scenario, records| {
                let at = place(records, EventType::ActivationApproved);
                records[at] = forged(scenario, &records[at], ServiceRole::Approver, |data| {
                    let mut envelope: Envelope = serde_json::from_value(data["command"].clone()).unwrap();
                    envelope.signatures[0].sig = Base64({
                        let mut sig = envelope.signatures[0].sig.0.clone();
                        *sig.last_mut().unwrap() ^= 1;
                        sig
                    });
                    data["command"] = serde_json::to_value(envelope).unwrap();
                });
            }),
        ),
        (
            "another service's key",
            24,
            "another-event",
            true,
            change(|scenario, records| {
                let at = place(records, EventType::ActivationApproved);
                records[at] = forged(scenario, &records[at], ServiceRole::Activator, |_| ());
            }),
        ),
        (
            "a custodian's statement of somebody else",
            19,
            "statement",
            true,
            change(|scenario, records| {
                let at = place(records, EventType::KeyGenerated);
                records[at] = forged(scenario, &records[at], ServiceRole::Issuer, |data| {
                    let sig = data["statement"]["signatures"][0]["sig"].as_str().unwrap();
                    let other = format!("AAAA{}", &sig[4..]);
                    data["statement"]["signatures"][0]["sig"] = json!(other);
                });
            }),
        ),
    ] {
        let (html, bad) = touched(change);
        assert_eq!(open(&mut browser, &html), "bad", "{what}");
        let found = problems(&mut browser);
        assert_eq!(found.first(), Some(&(first, code.to_owned())), "{what}: {found:?}");
        assert_eq!(bad, by_program.then_some(first), "{what}: the program says otherwise");
        assert_eq!(browser.text("#verdict-headline"), "Does not hold");
        assert!(browser.text("#verdict-text").starts_with(&format!("Event {first}")), "{what}");
    }
}

/// The event's place in the report is marked in words, and what was found links to it.
#[test]
fn what_does_not_stand_is_marked_where_the_report_speaks_of_it() {
    let (html, _) = touched(|_, records| flip(&mut records[29], 300));
    let mut browser = Browser::start();
    open(&mut browser, &html);
    assert_eq!(browser.eval("document.getElementById('e30').dataset.bad"), "wrong");
    assert!(browser.text("#e30").contains("does not stand: bad-signature"));
    assert_eq!(browser.eval("document.querySelector('#verdict-text a').getAttribute('href')"), "#e30");
    assert_eq!(browser.eval("document.getElementById('e29').dataset.bad ?? null"), Value::Null);
    let marked = browser
        .eval("[...new Set([...document.querySelectorAll('[data-bad]')].map((place) => place.dataset.seq))].sort()");
    let wanted = json!(["30", "31", "35", "76"]);
    assert_eq!(marked, wanted, "the event, the next, whose link is to what stood there, and the checkpoints over it");
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
    let twice = format!(r#"{{"payload":"",{}"#, &good[1..]);
    let header = format!(r#"{head}"signatures":[],"header":"SHA256:{} AAAA"}}"#, "A".repeat(43));
    for line in ["not JSON", "{}", &twice, &good.replace("==", "="), &header] {
        let mut lines = scene.lines.clone();
        lines[6] = line.to_owned();
        assert_eq!(open(&mut browser, &scene.html_with(&events(&lines))), "bad", "{line}");
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
    assert!(browser.text("#integrity").contains("does not stand: wrong-sequence"));
    // The same events, and a report that does not name them.
    let mut silent = Scene::new(&scenario);
    (silent.verified.void, silent.verified.voids) = (0, Vec::new());
    assert_eq!(open(&mut browser, &silent.html()), "bad");
    assert_eq!(problems(&mut browser)[0].1, "wrong-sequence");
}

/// A report that speaks of other events than the file has is found out, too.
#[test]
fn a_report_that_names_another_event_is_found_out() {
    let scene = Scene::new(&scenario());
    let (hash, other) = (hash_at(&scene, 30).to_string(), hash_at(&scene, 31).to_string());
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
    let mut many = Events::default();
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

/// A bundle's folder: its events, two other files, and a manifest that the exporter signed.
fn bundle(scenario: &Scenario, scene: &Scene, folder: &Path) {
    std::fs::create_dir_all(folder.join("oscal")).unwrap();
    let files = [
        ("events.jsonl", scene.lines.join("\n") + "\n"),
        ("keys.csv", "key\r\n".to_owned()),
        ("oscal/catalog.json", "{}".to_owned()),
    ];
    let subject: Vec<Value> = files
        .iter()
        .map(|(name, text)| {
            std::fs::write(folder.join(name), text).unwrap();
            json!({ "name": name, "digest": { "sha256": model::Digest::of(text.as_bytes()) } })
        })
        .collect();
    let statement = json!({ "_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": "x", "predicate": {} });
    let exporter = scenario.service(ServiceRole::EvidenceExporter);
    let envelope = exporter.sign_statement("application/vnd.in-toto+json", &statement);
    std::fs::write(folder.join("manifest.json"), serde_json::to_string(&envelope).unwrap()).unwrap();
}

#[test]
fn a_bundles_folder_is_checked_file_by_file() {
    let scenario = scenario();
    let scene = Scene::new(&scenario);
    let page = page(&scene.html());
    let folder = page.file.with_file_name("bundle");
    bundle(&scenario, &scene, &folder);
    let mut browser = Browser::start();
    browser.open(&page.file);
    assert_eq!(browser.checked(), "good");
    let mut check = |state: &str, said: &str| {
        browser.choose("#pick-folder", &[&folder]);
        assert_eq!(browser.checked(), state, "{said}");
        let found = row(&mut browser, "Other files");
        assert!(found.contains(said), "{found}");
    };
    check("good", "holds: 3 files as in manifest.json, which an exporter's key signed");
    std::fs::write(folder.join("keys.csv"), "kez\r\n").unwrap();
    check("bad", "does not hold: keys.csv is not the file that the manifest names");
    std::fs::write(folder.join("keys.csv"), "key\r\n").unwrap();
    std::fs::write(folder.join("more.csv"), "").unwrap();
    check("bad", "does not hold: more.csv is not in the manifest");
    std::fs::remove_file(folder.join("more.csv")).unwrap();
    std::fs::rename(folder.join("oscal/catalog.json"), folder.join("keys.json")).unwrap();
    check("bad", "oscal/catalog.json is missing; does not hold: keys.json is not in the manifest");
    std::fs::rename(folder.join("keys.json"), folder.join("oscal/catalog.json")).unwrap();
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    let exporter = scenario.service(ServiceRole::EvidenceExporter).fingerprint().to_string();
    let approver = scenario.service(ServiceRole::Approver).fingerprint().to_string();
    for forged in [manifest.replace(&exporter, &approver), manifest.replace("in-toto", "in-tota"), "{}".to_owned()] {
        std::fs::write(folder.join("manifest.json"), forged).unwrap();
        check("bad", "manifest.json is not signed by an exporter whom the root names");
    }
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    check("good", "not checked: there is no manifest.json in the folder");
}

// === Witnesses ===

#[test]
fn what_witnesses_signed_is_checked_by_the_keys_that_the_file_names() {
    use ed25519_dalek::Signer as _;
    let mut scene = Scene::new(&scenario());
    let witness = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let name = "witness.example/w1";
    let typed = [&[4], witness.verifying_key().as_bytes().as_slice()].concat();
    let id = model::Digest::of(&[name.as_bytes(), b"\n", &typed].concat()).as_bytes()[..4].to_vec();
    let hex = id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let vkey = format!("{name}+{hex}+{}", BASE64_STANDARD.encode(&typed));
    let (size, note, _) = scene.checkpoint.clone().unwrap();
    let text = format!("{}\n", note.split_once("\n\n").unwrap().0);
    let cosign = |text: &str| {
        let time = 1_769_648_460_u64;
        let signature = witness.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
        let blob = [id.as_slice(), &time.to_be_bytes(), &signature.to_bytes()].concat();
        format!("{note}\u{2014} {name} {}\n", BASE64_STANDARD.encode(blob))
    };
    let mut browser = Browser::start();
    scene.checkpoint = Some((size, cosign(&text), vec![vkey.clone()]));
    let html = scene.html();
    assert!(html.contains("<bdi>witness.example/w1</bdi>, <time datetime='2026-01-29T01:01:00.000Z'>"));
    assert_eq!(open(&mut browser, &html), "good");
    assert!(row(&mut browser, "Witness witness.example/w1").starts_with("holds: its signature under the checkpoint"));
    scene.checkpoint = Some((size, cosign("something else\n"), vec![vkey.clone()]));
    assert_eq!(open(&mut browser, &scene.html()), "bad");
    assert!(row(&mut browser, "Witness witness.example/w1").starts_with("does not hold: "));
    scene.checkpoint = Some((size, note.clone(), vec![format!("{name}+{hex}+{}", BASE64_STANDARD.encode([6; 40]))]));
    assert_eq!(open(&mut browser, &scene.html()), "good");
    assert!(row(&mut browser, "Witness witness.example/w1").starts_with("not checked: "));
    // A checkpoint over more than there is, or of other events.
    let other = note.replace(&format!("\n{size}\n"), &format!("\n{}\n", size - 1));
    scene.checkpoint = Some((size - 1, other, vec![]));
    assert_eq!(open(&mut browser, &scene.html()), "bad");
    assert!(browser.text("#verdict-text").contains("The checkpoint that this report names does not fit"));
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
