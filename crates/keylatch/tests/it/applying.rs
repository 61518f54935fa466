//! A file of keys and requests: planned, done, done again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keylatch::command::apply::{ApplyArgs, apply, run};
use keylatch::command::approve::{Word, say};
use keylatch::error::Exit;
use keylatch::{Error, Screen, Session};
use model::{KeyState, ProblemType};
use serde_json::{Value, json};

use crate::many::wide;
use crate::memory::Platform;
use crate::requests::yes;

const FILE: &str = r#"
schema = 1

[defaults.key]
workload = "model-storage"
responsibility = "application"
jurisdiction = "EU"
classification = "secret"
environment = "production"
asset = "the weights"

[[key]]
label = "weights"
count = 5

[[key]]
label = "signer"
algorithm = "ed25519"
owner = "platform-team"

[[request]]
groups = ["weights"]
keys = ["signer"]
reason_kind = "new-service"
reason = "release 4 goes live"
systems = ["inference endpoint"]
until = "+2h"
"#;

fn written(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("keys.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn args(file: PathBuf) -> ApplyArgs {
    ApplyArgs { file, dry_run: false, yes: true }
}

/// Rae may create keys and ask for them.
async fn applied(session: &mut Session, text: &str) -> (Value, bool) {
    let folder = tempfile::tempdir().unwrap();
    session.refresh(&mut Screen::silent()).await.unwrap();
    let (shown, good) = apply(session, &mut Screen::silent(), &args(written(folder.path(), text))).await.unwrap();
    (shown.json, good)
}

fn keys(platform: &Platform) -> usize {
    platform.with(|inside| inside.scenario.tenant.keys.len())
}

fn events(platform: &Platform) -> usize {
    platform.with(|inside| inside.scenario.records.len())
}

#[tokio::test]
async fn a_file_is_planned_done_and_done_again_without_effect() {
    let (platform, folder) = (wide(), tempfile::tempdir().unwrap());
    let mut rae = platform.ready("rae").await;
    let file = written(folder.path(), FILE);
    let (before, mut screen) = (events(&platform), Screen::captured(false, [false]));
    let dry = ApplyArgs { dry_run: true, ..args(file.clone()) };
    assert_eq!(run(dry, &mut rae, &mut screen.0).await.unwrap(), Exit::Ok);
    let plan = screen.1.take();
    for shown in ["generate 6 keys: weights-1, weights-2", "ask for 6 keys in 2 requests: release 4 goes live"] {
        assert!(plan.contains(shown), "{shown} is not in\n{plan}");
    }
    let no = ApplyArgs { yes: false, ..args(file) };
    assert!(matches!(run(no, &mut rae, &mut screen.0).await, Err(Error::Declined)));
    assert_eq!(events(&platform), before, "nothing is done without a yes");

    let (done, good) = applied(&mut rae, FILE).await;
    assert!(good, "{done:#}");
    assert_eq!((&done["created"], keys(&platform)), (&json!(6), 6));
    assert_eq!(done["requests"].as_array().unwrap().len(), 2);
    let after = events(&platform);
    let (again, good) = applied(&mut rae, FILE).await;
    assert!(good && again["plan"]["requests"][0]["do"]["step"] == "unchanged", "{again:#}");
    assert_eq!(events(&platform), after);

    // Once they are active there is nothing to do either.
    let hashes: Vec<String> = rae.state().requests.keys().map(ToString::to_string).collect();
    for who in ["sam", "lou"] {
        for hash in &hashes {
            let mut session = platform.ready(who).await;
            say(&mut session, &mut Screen::silent(), hash, Word::Approve(None), &yes()).await.unwrap();
        }
    }
    platform.with(|inside| assert!(inside.scenario.tenant.keys.values().all(|key| key.state == KeyState::Active)));
    let after = events(&platform);
    applied(&mut rae, FILE).await;
    assert_eq!(events(&platform), after);
}

/// Stopped in the middle, with an answer lost, and behind a platform that is full: each key is there once in the end.
#[tokio::test(start_paused = true)]
async fn a_run_that_ended_in_the_middle_is_gone_on_with() {
    let platform = wide();
    let mut rae = platform.ready("rae").await;
    platform.with(|inside| inside.faults.refusals = vec![ProblemType::Busy; 30]);
    applied(&mut rae, &FILE.replace("count = 5", "count = 2")).await;
    platform.with(|inside| inside.faults.lost_answers = 4);
    let (done, good) = applied(&mut rae, FILE).await;
    assert!(good, "{done:#}");
    assert_eq!((keys(&platform), &done["created"]), (6, &json!(3)));
    platform.with(|inside| inside.faults.nobody = 1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let more = written(folder.path(), &FILE.replace("count = 5", "count = 7"));
    let error = apply(&mut rae, &mut Screen::silent(), &args(more.clone())).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    platform.with(|inside| inside.faults.nobody = 0);
    rae.refresh(&mut Screen::silent()).await.unwrap();
    apply(&mut rae, &mut Screen::silent(), &args(more)).await.unwrap();
    let labels = platform.with(|inside| {
        let mut labels: Vec<String> =
            inside.scenario.tenant.keys.values().map(|key| key.spec.label.to_string()).collect();
        labels.sort();
        labels
    });
    let numbered = (1..=7).map(|number| format!("weights-{number}"));
    assert_eq!(labels, std::iter::once("signer".to_owned()).chain(numbered).collect::<Vec<String>>());
}

/// Two people run the same file at once, neither seeing what the other does: no key is made twice.
#[tokio::test]
async fn two_who_apply_at_once_make_each_key_once() {
    let (platform, folder) = (wide(), tempfile::tempdir().unwrap());
    let file = written(folder.path(), FILE);
    let (mut rae, mut kim): (Session, Session) = (platform.ready("rae").await, platform.ready("kim").await);
    let (first, good) = apply(&mut rae, &mut Screen::silent(), &args(file.clone())).await.unwrap();
    assert!(good, "{:#}", first.json);
    let (second, good) = apply(&mut kim, &mut Screen::silent(), &args(file)).await.unwrap();
    assert!(good, "{:#}", second.json);
    assert_eq!((&second.json["created"], &second.json["there"]), (&json!(0), &json!(6)));
    assert_eq!(keys(&platform), 6);
}

async fn conflict(platform: &Arc<Platform>, text: &str) -> String {
    let (mut rae, folder) = (platform.ready("rae").await, tempfile::tempdir().unwrap());
    let before = events(platform);
    let (shown, good) = apply(&mut rae, &mut Screen::silent(), &args(written(folder.path(), text))).await.unwrap();
    assert!(!good, "{}", shown.people);
    assert_eq!(events(platform), before, "nothing is done beside a conflict");
    anstream::adapter::strip_str(&shown.people).to_string()
}

#[tokio::test]
async fn what_cannot_be_as_the_file_says_is_named_and_nothing_is_done() {
    let platform = wide();
    let without_requests = FILE.split("[[request]]").next().unwrap().to_owned();
    applied(&mut platform.ready("rae").await, &without_requests).await;
    let other = conflict(&platform, &FILE.replace("\"secret\"", "\"public\"").replace("count = 5", "count = 9")).await;
    assert!(other.contains("weights-1: a key with this label exists with another classification"), "{other}");
    platform.wait("2h");
    let gone = conflict(&platform, FILE).await;
    assert!(gone.contains("signer: a key with this label is gone"), "{gone}");
}

#[tokio::test]
async fn a_rejected_request_is_not_made_again_by_itself_and_a_lapsed_one_is() {
    let platform = wide();
    let one = FILE.replace("count = 5\n", "").replace("keys = [\"signer\"]\n", "");
    applied(&mut platform.ready("rae").await, &one).await;
    platform.wait("31m");
    let (again, _) = applied(&mut platform.ready("rae").await, &one).await;
    assert_eq!(again["requests"].as_array().unwrap().len(), 1, "{again:#}");
    let mut sam = platform.ready("sam").await;
    let no =
        Word::Reject(model::key::Reason { kind: model::key::ReasonKind::Unjustified, text: "no".parse().unwrap() });
    say(&mut sam, &mut Screen::silent(), "weights", no, &yes()).await.unwrap();
    let rejected = conflict(&platform, &one).await;
    assert!(rejected.contains("the last request for `weights` was rejected"), "{rejected}");
}

#[tokio::test]
async fn a_key_that_wraps_others_of_the_file_is_made_before_them() {
    let platform = wide();
    let text = FILE.split("[[key]]").next().unwrap().to_owned()
        + "[[key]]\nlabel = \"child\"\nwrapped_by = \"root\"\n\n[[key]]\nlabel = \"root\"\n";
    let (done, good) = applied(&mut platform.ready("rae").await, &text).await;
    assert!(good, "{done:#}");
    let (again, good) = applied(&mut platform.ready("rae").await, &text).await;
    assert!(good && again["plan"]["keys"][0]["do"]["step"] == "unchanged", "{again:#}");
}

#[track_caller]
fn refuses(session: &Session, text: &str, says: &str) {
    let folder = tempfile::tempdir().unwrap();
    let error = keylatch::command::apply::file::read(&written(folder.path(), text), session.state()).unwrap_err();
    assert!(error.to_string().contains(says), "{error}");
    assert_eq!(error.exit(), Exit::Usage, "{error}");
}

#[tokio::test]
async fn a_file_that_won_t_do_says_where() {
    let platform = wide();
    let rae = platform.ready("rae").await;
    refuses(&rae, "schema = 2", "schema 2");
    refuses(&rae, "schema = 1\n[[keys]]\n", "line 2: ");
    refuses(&rae, &FILE.replace("owner =", "owners ="), "[[key]] 2: unknown field `owners`");
    refuses(&rae, &FILE.replace("workload = \"model-storage\"\n", ""), "[[key]] 1: missing field `workload`");
    refuses(&rae, &FILE.replace("groups = [\"weights\"]", "groups = [\"w\"]"), "`w` is no key or group");
    refuses(&rae, &FILE.replace("\"+2h\"", "\"soon\""), "`soon` is not a time");
    refuses(&rae, &FILE.replace("\"signer\"\nalg", "\"weights-1\"\nalg"), "stands for two keys");
}

/// The reference in the documentation is a file that can be applied.
#[tokio::test]
async fn the_documented_file_is_good() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/apply.md")).unwrap();
    let example = page.split("```toml").nth(1).unwrap().split("```").next().unwrap();
    let platform = wide();
    let rae = platform.ready("rae").await;
    let folder = tempfile::tempdir().unwrap();
    let wanted = keylatch::command::apply::file::read(&written(folder.path(), example), rae.state()).unwrap();
    assert!(wanted.keys.len() > 3 && wanted.requests.len() == 2);
}
