//! The compliance team's words: procedures, stores, control tests and their evaluation, samples, never active; what the inbox
//! and the doctor say of it.

use std::cell::RefCell;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;

use evidence::{Bundle, bundle};
use journal::note::{Checkpoint, Note};
use keylatch::Screen;
use keylatch::command::doctor::{self, Diagnosis, Verdict};
use keylatch::error::Exit;
use model::{Digest, Sequence, ServiceRole};
use serde_json::{Value, json};

use crate::governing::{Came, adopt, born, cosigned, run, run_answering, shows, step, words};
use crate::memory::Platform;

/// A policy that asks for all kinds of evidence: `sam`, `sue`, `dee` and others of `security` evaluate, two of them.
fn asks_for_evidence(platform: &Platform) {
    let evaluation = json!({ "by": { "roles": ["security"], "quorum": 2 }, "every": "90d", "warn_before": "14d" });
    adopt(platform, json!({ "schema": 3, "evidence": { "evaluation": evaluation, "probes": { "every": "1d" } } }));
}

/// A key on its whole way, and a checkpoint over it.
fn active(platform: &Platform) {
    born(platform, "k1");
    step(platform, "request k1 by rae", "activation.requested");
    step(platform, "approve k1 by sam", "activation.approved");
    step(platform, "approve k1 by lou", "activation.approved");
    platform.with(|inside| inside.scenario.perform("due"));
    checkpoint(platform);
}

fn checkpoint(platform: &Platform) {
    step(platform, "checkpoint", "checkpoint.signed");
}

#[track_caller]
fn refused(came: Came) -> String {
    assert!(matches!(came.done, Ok(Exit::Refused)), "{:?}\n{}", came.done, came.out);
    came.out
}

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// How many events of a type there are.
fn count(platform: &Platform, event_type: &str) -> usize {
    let wanted = format!("\"dev.keylatch.{event_type}.v1\"");
    let is_it = |record: &&journal::Record| String::from_utf8_lossy(&record.payload).contains(&wanted);
    platform.with(|inside| inside.scenario.records.iter().filter(is_it).count())
}

// === Procedures ===

#[tokio::test]
async fn a_procedure_is_adopted_with_its_text_in_the_log() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let text = format!("# Activating keys\n{}", "Two people look at the request.\n".repeat(1_500));
    let file = write(folder.path(), "activation.md", &text);
    let said = "--name activation --title 'Activating keys' --kind procedure --covers 1,3,11 --owner lou";
    let line = format!("procedure adopt {file} {said} --review-by 2027-01-01 {}", cosigned(folder.path(), "bob"));

    let came = run(&platform, "ann", &line).await;
    shows(&came.err, &["48018 bytes of text, to be stored in 4 parts", "document.adopt", "looked at again"]);
    shows(&came.err, &["who answers for it", "lou (privacy)", "not adopted", "things still stand so"]);
    let read = format!("in the log, whole: keylatch procedure show {}", Digest::of(text.as_bytes()));
    shows(&came.err, &[&read]);
    came.said();
    assert_eq!((count(&platform, "document.stored"), count(&platform, "document.adopted")), (4, 1));
    shows(&run(&platform, "ann", &line).await.said(), &["it is adopted so already, as version 1"]);

    let list = run(&platform, "sam", "procedure list").await.said();
    shows(&list, &["activation", "procedure", "1, 3, 11", "lou", "in the log"]);
    shows(&list, &["no document covers point 2, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16"]);
    let shown = run(&platform, "sam", &format!("procedure show activation --file {file}")).await.said();
    shows(
        &shown,
        &["Two people look at the request.", "it is the adopted one", &Digest::of(text.as_bytes()).to_string()],
    );
    let by_digest = read.trim_start_matches("in the log, whole: keylatch ");
    shows(&run(&platform, "bob", by_digest).await.said(), &["Two people look at the request."]);
    shows(&run(&platform, "bob", &format!("{by_digest} --file {file}")).await.said(), &["the file is the same text"]);
    let other = write(folder.path(), "other.md", "Nobody looks.\n");
    let shown = refused(run(&platform, "sam", &format!("procedure show activation --file {other}")).await);
    shows(&shown, &["it is another text", &Digest::of(b"Nobody looks.\n").to_string()]);
    let json = run(&platform, "sam", "--json procedure show activation").await.json();
    assert_eq!((&json["document"]["text"], &json["document"]["file_is_it"]), (&json!(text), &Value::Null));
    assert!(
        run(&platform, "sam", "procedure show nothing").await.refusal().contains("no document `nothing` is adopted")
    );

    // Its next version, and what is late.
    let line = format!("procedure adopt {other} {said} --review-by +40d {}", cosigned(folder.path(), "bob"));
    let came = run(&platform, "ann", &line).await;
    shows(&came.err, &["version 1, Activating keys"]);
    came.said();
    let inbox = run(&platform, "lou", "inbox").await.said();
    assert!(!inbox.contains("document-review"), "{inbox}");
    platform.wait("11d");
    let inbox = run(&platform, "lou", "inbox").await.said();
    shows(
        &inbox,
        &["document-review", "activation 2: Activating keys", "keylatch procedure adopt FILE --name activation"],
    );
    assert!(!run(&platform, "sam", "inbox").await.said().contains("document-review"));
    platform.wait("30d");
    shows(&run(&platform, "lou", "inbox").await.said(), &["activation 2: Activating keys, missed"]);
    shows(&run(&platform, "sam", "procedure list").await.said(), &["overdue: 1d ago"]);
}

#[tokio::test]
async fn what_is_no_text_is_adopted_by_its_digest_alone() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let bytes = [0xff, 0xfe, 0x00, 0x01];
    let file = write(folder.path(), "scan.pdf", bytes);
    let bob = cosigned(folder.path(), "bob");
    let line = |more: &str| {
        format!("procedure adopt {file} --name scan --title Scan --kind statement --covers 11 {more} {bob}")
    };
    let good = "--owner lou --review-by +1d";
    shows(
        &run(&platform, "ann", &line(good)).await.refusal(),
        &["it is no text that the log can hold", "--not-in-log"],
    );
    let came = run(&platform, "ann", &line(&format!("{good} --not-in-log"))).await;
    shows(&came.err, &["not in the log: kept elsewhere"]);
    came.said();
    assert_eq!(count(&platform, "document.stored"), 0);
    shows(&run(&platform, "ann", "procedure show scan").await.said(), &["its text is not in the log"]);
    shows(
        &run(&platform, "ann", &format!("procedure show scan --file {file}")).await.said(),
        &["it is the adopted one"],
    );

    let wrong = run(&platform, "ann", &line("--owner zoe --review-by +1d --not-in-log")).await.refusal();
    shows(&wrong, &["nobody here is `zoe`"]);
    let late = run(&platform, "ann", &line("--owner lou --review-by 2020-01-01")).await.refusal();
    shows(&late, &["which has passed", "--review-by +365d"]);
    let program = run(&platform, "ann", &line("--owner app --review-by +1d --not-in-log")).await.refusal();
    shows(&program, &["`app` is a workload"]);
    let missing = line(good).replace("scan.pdf", "nothing.pdf");
    assert!(run(&platform, "ann", &missing).await.refusal().contains("nothing.pdf"));
    // Who says no has stored nothing.
    let text = write(folder.path(), "text.md", "text");
    let words = words(&line(good).replace(&file, &text));
    let came = run_answering(&platform, "ann", &words, &["n"]).await;
    assert!(matches!(came.done, Err(keylatch::Error::Declined)), "{:?}", came.done);
    assert_eq!(count(&platform, "document.stored"), 0);
}

// === Stores ===

#[tokio::test]
async fn stores_are_registered_and_those_that_are_not_are_named() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    born(&platform, "k1");
    let bob = cosigned(folder.path(), "bob");
    let list = run(&platform, "sam", "store list").await.said();
    shows(
        &list,
        &["no store is registered", "`software` has 1 key and is not registered", "store register --name software"],
    );
    let text = "name = \"software\"\nkind = \"software\"\nserver = \"kms-1, rack 12\"\ndatabase = \"files on kms-1\"\n\
                region = \"EU\"\nprivileged_accounts = [\"root on kms-1\"]\n";
    let file = write(folder.path(), "software.toml", text);
    let came = run(&platform, "ann", &format!("store register {file} {bob}")).await;
    shows(
        &came.err,
        &["store.register", "kms-1, rack 12", "so far", "not registered", "keys generated there", "root on kms-1"],
    );
    came.said();
    shows(
        &run(&platform, "ann", &format!("store register {file} {bob}")).await.said(),
        &["it is registered so already"],
    );
    let shown = run(&platform, "sam", "store show software").await.said();
    shows(&shown, &["files on kms-1", "root on kms-1", "1 pre-active", "firmware", "not said", "the admins' word"]);
    let json = run(&platform, "sam", "--json store list").await.json();
    assert_eq!((&json["stores"][0]["keys"]["pre-active"], &json["not_registered"]), (&json!(1), &json!([])));

    let hsm = "store register --name hsm-1 --kind pkcs11 --server 'HSM 1' --database 'token 0' --serial 5712";
    let came = run(&platform, "ann", &format!("{hsm} {bob}")).await;
    shows(&came.err, &["no key is in a store `hsm-1`"]);
    came.said();
    shows(&run(&platform, "sam", "store show hsm-1").await.said(), &["5712", "none"]);
    shows(&run(&platform, "sam", "store show hsm-2").await.refusal(), &["there is no store `hsm-2`", "store list"]);

    let broken = write(folder.path(), "broken.toml", text.replace("region", "regoin"));
    let refusal = run(&platform, "ann", &format!("store register {broken} {bob}")).await.refusal();
    shows(&refusal, &["broken.toml: line 5: unknown field `regoin`", "store register --help"]);
    let many: Vec<String> = (0..33).map(|number| format!("\"account {number}\"")).collect();
    let many = text.replace("\"root on kms-1\"", &many.join(", "));
    let many = write(folder.path(), "many.toml", many);
    let refusal = run(&platform, "ann", &format!("store register {many} {bob}")).await.refusal();
    shows(&refusal, &["33 privileged accounts: at most 32"]);
}

// === Control tests ===

/// The `controls.json` of the bundle that an exporter would make now, for the period from this event on.
fn bundled(platform: &Platform, from: u64) -> String {
    #[derive(Clone, Default)]
    struct File(Rc<RefCell<Vec<u8>>>);
    impl Write for File {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    platform.with(|inside| {
        let scenario = &inside.scenario;
        let chain = &scenario.tenant.chain;
        let exporter = scenario.service(ServiceRole::EvidenceExporter).signing_key();
        let note = Note::parse(&Checkpoint::of(chain.tenant(), chain.tree()).sign(exporter)).unwrap();
        let mut bundle = Bundle::new(chain.tenant(), scenario.tenant.root, Sequence(from));
        bundle.take(scenario.records.clone(), &mut io::sink(), &mut io::sink()).unwrap();
        let (controls, rest) = (File::default(), File::default());
        let made = bundle.finish(&[note]).unwrap();
        made.write(scenario.service(ServiceRole::EvidenceExporter), |name| {
            Ok(if name == "controls.json" { controls.clone() } else { rest.clone() })
        })
        .unwrap();
        assert!(bundle::FILES.iter().any(|file| file.name == "controls.json"));
        String::from_utf8(controls.0.take()).unwrap()
    })
}

#[tokio::test]
async fn the_control_tests_are_those_of_the_bundle() {
    let platform = Platform::new();
    active(&platform);
    let came = run(&platform, "sam", "controls").await;
    let text = refused(came);
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("`{what}` is not in\n{text}"));
    assert!(at("Exceptions\n") < at("Insufficient evidence\n"), "{text}");
    assert!(at("Insufficient evidence\n") < at("No exceptions\n"), "{text}");
    shows(
        &text,
        &["CEK-15.14", "`k1`: ", "answers: nobody is named", "open", "KEYS FOR AI WORKLOADS", "what this rests on"],
    );
    let json = run(&platform, "sam", "--json controls").await;
    assert!(matches!(json.done, Ok(Exit::Refused)));
    assert_eq!(json.out, bundled(&platform, 1), "byte for byte");
    shows(&text, &[&format!("controls.json  SHA-256 {}", Digest::of(json.out.as_bytes()))]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(
        json["controls"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|test| test["id"].as_str().unwrap().starts_with("CEK-"))
            .count(),
        16
    );
    assert_eq!(run(&platform, "sam", "--json controls --from 18").await.out, bundled(&platform, 18));

    // How they stood before the last three events.
    let head = platform.with(|inside| inside.scenario.records.len());
    let before = run(&platform, "sam", &format!("--json controls --seq {head}")).await.out;
    assert_eq!(before, bundled(&platform, 1));
    let earlier = run(&platform, "sam", "--json controls --seq 15").await;
    let earlier: Value = serde_json::from_str(&earlier.out).unwrap();
    assert_eq!(earlier["period"]["to"], "00000000000000000015");
    let at = run(&platform, "sam", "--json controls --at 2026-01-01").await;
    assert_eq!(at.out, before, "everything was at this time");
    assert!(run(&platform, "sam", "controls --seq 99").await.refusal().contains("there is no event 99"));
    assert!(run(&platform, "sam", "controls --from 99").await.refusal().contains("there is no event 99"));
    assert!(run(&platform, "sam", "controls --at 2025-01-01").await.refusal().contains("had not begun"));
}

#[tokio::test]
async fn one_control_test_is_shown_in_full() {
    let platform = Platform::new();
    active(&platform);
    let full = refused(run(&platform, "sam", "controls --control 14").await);
    shows(&full, &["CEK-15.14", "statement", "method", "CCM CEK-15", "listed in", "keys.csv", "EVENT", "TIME", "HASH"]);
    shows(&run(&platform, "sam", "controls --control 3").await.said(), &["CEK-15.03", "No exceptions"]);
    shows(&run(&platform, "sam", "controls --control usage").await.said(), &["Not applicable"]);
    let json = run(&platform, "sam", "--json controls --control CEK-15.14").await.json();
    assert_eq!((&json["id"], &json["outcome"]), (&json!("CEK-15.14"), &json!("exceptions")));
    let none = run(&platform, "sam", "controls --control 17").await.refusal();
    shows(&none, &["there is no control test `17`", "1 to 16, or", "usage"]);
}

// === Evaluation ===

/// The exceptions that are open, by their ids.
async fn open(platform: &Arc<Platform>) -> Vec<String> {
    let json = run(platform, "sam", "--json controls dispositions").await.json();
    json["open"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_evaluation_is_signed_with_what_is_done_about_each_exception() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    active(&platform);
    let sue = cosigned(folder.path(), "sue");
    let line = format!("controls evaluate {sue}");
    assert!(run(&platform, "sam", &line).await.refusal().contains("the policy asks for no evaluation"));
    asks_for_evidence(&platform);
    checkpoint(&platform);

    let template = run(&platform, "sam", "controls dispositions").await.said();
    shows(&template, &["[[disposition]]", "# CEK-15.14", "# `k1`: ", "accepted | remediate", "disposition = \"\""]);
    let open_at_first = open(&platform).await;
    let path = write(folder.path(), "decided.toml", &template);
    let with_file = format!("{line} --dispositions {path}");
    let first = &open_at_first[0];
    let fill = |text: &str, kind: &str, owner: &str, due: &str| {
        let (head, rest) = text.split_once(&format!("exception = \"{first}\"")).unwrap();
        let rest = rest.replacen("disposition = \"\"", &format!("disposition = \"{kind}\""), 1);
        let after = rest.split_once("owner = \"").unwrap();
        let (_, after_owner) = after.1.split_once('"').unwrap();
        let rest = format!("{}owner = \"{owner}\"{after_owner}", after.0);
        let rest = rest.replacen("due = \"\"", &format!("due = \"{due}\""), 1);
        let rest = rest.replacen("note = \"\"", "note = \"CHG-7 gives it an owner\"", 1);
        format!("{head}exception = \"{first}\"{rest}")
    };
    let line_of = template.lines().position(|line| line == "[[disposition]]").unwrap() + 1;
    for (kind, owner, due, says) in [
        ("mended", "rae", "+30d", "`mended` is no disposition"),
        ("remediate", "zoe", "+30d", "nobody can answer for"),
        ("remediate", "rae", "soon", "`soon` is not a time"),
        ("remediate", "rae", "2020-01-01", "which has passed"),
    ] {
        fs::write(&path, fill(&template, kind, owner, due)).unwrap();
        shows(&run(&platform, "sam", &with_file).await.refusal(), &[&format!("line {line_of}: "), says]);
    }
    fs::write(&path, fill(&template, "remediate", "rae", "2026-02-01").replace(first, "cek-15-14-000000000000"))
        .unwrap();
    shows(&run(&platform, "sam", &with_file).await.refusal(), &["there is no exception `cek-15-14-000000000000`"]);

    fs::write(&path, fill(&template, "remediate", "rae", "2026-02-01")).unwrap();
    let alone = run(&platform, "sam", &format!("controls evaluate --dispositions {path}")).await.refusal();
    shows(&alone, &["1 of 2 signatures", "--cosign"]);
    let came = run(&platform, "sam", &with_file).await;
    shows(
        &came.err,
        &["the control tests over events 1 to", "control.evaluate", "CEK-15.14: exceptions", "CHG-7 gives it an owner"],
    );
    shows(&came.err, &["answers for 1 exception", "rae", "no disposition is in force for"]);
    let size = platform.with(|inside| inside.scenario.tenant.progress.covered);
    came.said();
    assert_eq!(count(&platform, "control.evaluated"), 1);
    assert!(!open(&platform).await.contains(first), "it is decided before the next checkpoint");
    shows(&run(&platform, "sam", &with_file).await.said(), &["it is evaluated already"]);
    assert_eq!(count(&platform, "control.evaluated"), 1);

    // What was signed is the controls.json over the checkpoint.
    let over = run(&platform, "sam", &format!("--json controls --seq {size}")).await.out;
    let signed =
        platform.with(|inside| String::from_utf8_lossy(&inside.scenario.records.last().unwrap().payload).into_owned());
    assert!(signed.contains(&Digest::of(over.as_bytes()).to_string()));
    checkpoint(&platform);
    let shown = refused(run(&platform, "sam", "controls --control 14").await);
    shows(&shown, &["answers: rae", "remediate, by 2026-02-01", "CHG-7 gives it an owner"]);
    assert_eq!(run(&platform, "sam", "--json controls").await.out, bundled(&platform, 1));
    // Its time comes.
    platform.wait("32d");
    checkpoint(&platform);
    assert!(open(&platform).await.contains(first));
    let shown = refused(run(&platform, "sam", "controls --control evaluation").await);
    shows(&shown, &["was due by 2026-02-01"]);
}

#[tokio::test]
async fn who_evaluates_at_a_terminal_is_asked_for_each_exception() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    active(&platform);
    asks_for_evidence(&platform);
    checkpoint(&platform);
    let all = open(&platform).await;
    let words = words(&format!("controls evaluate {}", cosigned(folder.path(), "sue")));
    // The first is mistyped at first; the others are left open.
    let mut answers = vec!["accept", "lou", "+30d", "small", "accepted", "lou", "+30d", "it is small"];
    answers.extend(all.iter().skip(1).map(|_| ""));
    answers.push("y");
    let came = run_answering(&platform, "sam", &words, &answers).await;
    shows(&came.err, &["`accept` is no disposition", "write accepted, remediate, not-an-exception, transferred"]);
    shows(&came.err, &["accepted, by 2026-01-31", "it is small"]);
    came.said();
    assert_eq!(open(&platform).await.len(), all.len() - 1);
    // Nobody to ask: the results as they are.
    platform.wait("80d");
    checkpoint(&platform);
    let inbox = run(&platform, "sam", "inbox").await.said();
    shows(&inbox, &["control-evaluation", "what the control tests came to, 2 sign", "keylatch controls evaluate"]);
    assert!(!run(&platform, "lou", "inbox").await.said().contains("control-evaluation"));
    let yes = run(&platform, "sam", &format!("controls evaluate -y {}", cosigned(folder.path(), "sue"))).await;
    shows(&yes.err, &["no disposition is in force for"]);
    yes.said();
    assert_eq!(count(&platform, "control.evaluated"), 2);
    assert!(!run(&platform, "sam", "inbox").await.said().contains("control-evaluation"));
}

#[tokio::test]
async fn there_is_nothing_to_evaluate_without_a_checkpoint() {
    let platform = Platform::new();
    asks_for_evidence(&platform);
    shows(&run(&platform, "sam", "controls evaluate").await.refusal(), &["no checkpoint is in the log yet"]);
}

// === Samples ===

/// Many keys, and two checkpoints.
fn keys(platform: &Platform) {
    (1..=30).for_each(|number| born(platform, &format!("k{number}")));
    checkpoint(platform);
    (31..=40).for_each(|number| born(platform, &format!("k{number}")));
    checkpoint(platform);
}

async fn exported(platform: &Arc<Platform>, folder: &Path) -> String {
    let export = folder.join("evidence");
    let done =
        keylatch::command::export::plain::export(&mut platform.reader(), &mut Screen::silent(), &export).await.unwrap();
    format!("--export {} --root {}", export.display(), done.root)
}

#[tokio::test]
async fn a_sample_is_drawn_and_checked_offline() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    shows(&run(&platform, "sam", "evidence sample").await.refusal(), &["no checkpoint is known"]);
    keys(&platform);
    let out = folder.path().join("sample");
    let line = format!("evidence sample --n 5 --of keys --out {}", out.display());
    let said = run(&platform, "sam", &line).await.said();
    shows(&said, &["40 keys of events 1 to", "written to", "keylatch evidence sample check"]);
    assert!(run(&platform, "sam", &line).await.refusal().contains("there is such a folder"));

    // A larger one begins with it; another checkpoint or nonce draws others.
    let ids = |json: &Value| -> Vec<String> {
        json["sample"]["items"].as_array().unwrap().iter().map(|drawn| drawn["item"]["id"].to_string()).collect()
    };
    let five = ids(&run(&platform, "sam", "--json evidence sample --n 5").await.json());
    let ten = ids(&run(&platform, "sam", "--json evidence sample --n 10").await.json());
    assert_eq!((five.len(), &ten[..5]), (5, five.as_slice()));
    let nonce = ids(&run(&platform, "sam", "--json evidence sample --n 5 --nonce 'audit 7'").await.json());
    assert_ne!(nonce, five);
    let sizes = run(&platform, "sam", "evidence sample --size 3").await.refusal();
    shows(&sizes, &["no checkpoint that is known here is over 3 events", "the newest are over"]);
    let older = platform.with(|inside| *inside.scenario.tenant.checkpoints.keys().next().unwrap());
    let older = run(&platform, "sam", &format!("--json evidence sample --n 25 --size {older}")).await.json();
    assert_eq!((&older["sample"]["population"]["count"], ids(&older).len()), (&json!(30), 25));
    for (of, all) in [("people", 14), ("keys", 40)] {
        let json = run(&platform, "sam", &format!("--json evidence sample --n 1000 --of {of}")).await.json();
        assert_eq!(ids(&json).len(), all, "{of}");
    }
    shows(
        &run(&platform, "sam", "evidence sample --of approvals").await.refusal(),
        &["there are no approvals among events 1 to"],
    );

    // The same from an export, and checked against it.
    let export = exported(&platform, folder.path()).await;
    assert_eq!(ids(&run(&platform, "sam", &format!("--json evidence sample --n 5 {export}")).await.json()), five);
    let check = format!("evidence sample check {} {export}", out.display());
    shows(&run(&platform, "nobody", &check).await.said(), &["it holds", "5 of 40 keys"]);
    shows(&run(&platform, "sam", &format!("evidence sample check {}", out.display())).await.said(), &["it holds"]);
    let wrong = "SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w";
    let other = check.rsplit_once(' ').map(|(line, _)| format!("{line} {wrong}")).unwrap();
    assert!(run(&platform, "nobody", &other).await.refusal().contains("no history that stands under root"));
}

/// What Python says of a sample, and its exit code.
fn python(folder: &Path) -> (i32, String) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/check_sample.py");
    let output = Command::new("python3").arg(script).arg(folder).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.code().unwrap(), said)
}

#[tokio::test]
async fn a_sample_that_was_touched_does_not_hold_and_python_says_so_too() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    keys(&platform);
    let export = exported(&platform, folder.path()).await;
    let mut made = 0;
    let mut touched = async |file: &str, change: &dyn Fn(String) -> String| {
        made += 1;
        let out = folder.path().join(format!("sample-{made}"));
        let nonce = if made % 2 == 0 { "--nonce 'audit 7'" } else { "" };
        run(&platform, "sam", &format!("evidence sample --n 5 {nonce} --out {} {export}", out.display())).await.said();
        let path = out.join(file);
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
        let came = run(&platform, "nobody", &format!("evidence sample check {} {export}", out.display())).await;
        (matches!(came.done, Ok(Exit::Ok)), came.out, python(&out))
    };
    for _ in 0..2 {
        let (good, said, python) = touched("README.txt", &|text| text).await;
        assert!(good && python.0 == 0, "{said}{python:?}");
    }
    // Another item in the place of the first.
    let swap = |text: String| {
        let mut sample: Value = serde_json::from_str(&text).unwrap();
        let index = sample["items"][0]["index"].as_u64().unwrap();
        sample["items"][0]["index"] = json!((index + 1) % 40);
        sample.to_string()
    };
    let (good, said, python) = touched("sample.json", &swap).await;
    assert!(!good && python.0 == 1, "{said}{python:?}");
    shows(&said, &["the items are not those that are drawn from it"]);
    shows(&python.1, &["the items are not those that are drawn"]);

    let (good, said, python) =
        touched("population.txt", &|text| text.lines().skip(1).map(|line| format!("{line}\n")).collect()).await;
    assert!(!good && python.0 == 1, "{said}{python:?}");
    shows(&said, &["population.txt is not the history's population"]);

    // What nobody sees without an export: a population from which an item was left out.
    let nonce = |text: String| text.replace("\"asked\": 5", "\"asked\": 5, \"nonce\": \"again\"");
    let (good, said, _) = touched("sample.json", &nonce).await;
    assert!(!good);
    shows(&said, &["the items are not those"]);

    let (good, said, python) = touched("items/0002.json", &|text| text.replacen("eyJ", "eyK", 1)).await;
    assert!(!good && python.0 == 1, "{said}{python:?}");
    shows(&said, &["item 2: its event"]);

    let (good, said, python) = touched("items/0003.tlog-proof", &|text| text.replacen("index ", "index 1", 1)).await;
    assert!(!good && python.0 == 1, "{said}{python:?}");
    shows(&said, &["item 3: its proof: it is about event"]);
    shows(&python.1, &["item 3: its proof is of another event"]);

    let (good, said, _) =
        touched("items/0004.tlog-proof", &|text| text.replacen("\n\nkeylatch.dev/", "\n\nother.dev/", 1)).await;
    assert!(!good);
    shows(&said, &["item 4: its proof: its checkpoint is not the exporter's"]);
}

// === Never active ===

#[tokio::test]
async fn that_a_key_was_never_active_is_a_statement_with_the_events_that_bound_it() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    born(&platform, "k1");
    platform.wait("10m");
    active_again(&platform);
    platform.wait("10m");
    step(&platform, "deactivate k1 by opa", "key.deactivated");
    platform.wait("10m");
    checkpoint(&platform);
    let ask = |from: &str, to: &str| format!("never-active k1 --between 2026-01-01T00:{from}Z 2026-01-01T00:{to}Z");
    let holds = run(&platform, "nobody", &ask("01", "10")).await.said();
    shows(
        &holds,
        &["it holds: the key was never active then", "before", "pre-active by event", "after", "active by event"],
    );
    let fails = refused(run(&platform, "nobody", &ask("05", "15")).await);
    shows(&fails, &["it does not hold", "between", "active by event"]);
    shows(&run(&platform, "nobody", &ask("21", "29")).await.said(), &["it holds", "deactivated by event"]);
    let open = refused(run(&platform, "nobody", &ask("21", "31")).await);
    shows(&open, &["it can't be said yet: the history ends", "so far nothing is against it"]);

    let export = exported(&platform, folder.path()).await;
    let packed = export.replace("evidence", "evidence.tar.gz");
    let dir = keylatch::folder::Dir::open(&folder.path().join("evidence")).unwrap();
    let mut file = fs::File::create(folder.path().join("evidence.tar.gz")).unwrap();
    keylatch::folder::pack(&dir, &mut file, &mut |_| ()).unwrap();
    for export in [&export, &packed] {
        shows(&run(&platform, "nobody", &format!("{} {export}", ask("01", "10"))).await.said(), &["it holds"]);
    }
    let json = run(&platform, "nobody", &format!("--json {} {export}", ask("21", "29"))).await.json();
    assert_eq!(json, run(&platform, "nobody", &format!("--json {}", ask("21", "29"))).await.json());
    assert_eq!((&json["ok"], &json["verdict"], &json["label"]), (&json!(true), &json!("holds"), &json!("k1")));
    assert_eq!(json["before"]["state"], "deactivated");
    assert_eq!(json["before"]["event"]["hash"].as_str().unwrap().len(), 64);
    let late = run(&platform, "nobody", &ask("10", "05")).await.refusal();
    shows(&late, &["does not come before"]);
    let none = ask("01", "05").replace("k1", "k2");
    shows(&run(&platform, "nobody", &none).await.refusal(), &["there was never a key `k2`"]);
}

fn active_again(platform: &Platform) {
    step(platform, "request k1 by rae", "activation.requested");
    step(platform, "approve k1 by sam", "activation.approved");
    step(platform, "approve k1 by lou", "activation.approved");
    platform.with(|inside| inside.scenario.perform("due"));
}

// === What is missing ===

#[tokio::test]
async fn the_doctor_says_what_is_missing_for_evidence() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let found = async |name: &str| {
        let mut diagnosis = Diagnosis::default();
        doctor::examine(&mut platform.session("sam"), &mut Screen::silent(), &mut diagnosis).await;
        let check = diagnosis.checks.into_iter().find(|check| check.name == name);
        check.unwrap_or_else(|| panic!("no check `{name}`"))
    };
    let doubtful = async |name: &str, says: &str| {
        let check = found(name).await;
        assert_eq!(check.verdict, Verdict::Doubtful, "{check:?}");
        assert!(check.found.contains(says) && !check.advice.is_empty(), "{check:?}");
    };
    born(&platform, "k1");
    doubtful("procedures", "no document covers point 1, 2").await;
    doubtful("stores", "software").await;
    for name in ["evaluation", "probes", "bundles"] {
        doubtful(name, "the policy").await;
    }
    asks_for_evidence(&platform);
    doubtful("evaluation", "none is signed yet").await;
    checkpoint(&platform);
    let bob = cosigned(folder.path(), "bob");
    let sue = cosigned(folder.path(), "sue");
    run(&platform, "sam", &format!("controls evaluate -y {sue}")).await.said();
    assert_eq!(found("evaluation").await.verdict, Verdict::Good);
    let store = "store register --name software --kind software --server a --database b";
    run(&platform, "ann", &format!("{store} {bob}")).await.said();
    assert_eq!(found("stores").await.verdict, Verdict::Good);
    let file = write(folder.path(), "all.md", "everything");
    let all: Vec<String> = (1..=16).map(|point| point.to_string()).collect();
    let document =
        format!("--name all --title All --kind process --covers {} --owner lou --review-by +20d", all.join(","));
    run(&platform, "ann", &format!("procedure adopt {file} {document} {bob}")).await.said();
    assert_eq!(found("procedures").await.verdict, Verdict::Good);
    platform.wait("21d");
    doubtful("procedures", "the review is overdue of all").await;
    platform.wait("80d");
    doubtful("evaluation", "is not signed").await;
}
