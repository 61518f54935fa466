//! What `keylatch simulate` says, and that it is what then happens.

use std::sync::Arc;

use keylatch::command::approve::{Word, say};
use keylatch::command::request::request;
use keylatch::command::requests;
use keylatch::command::simulate::{SimulateArgs, simulate};
use keylatch::submit::Needs;
use keylatch::{Screen, Session};
use model::command::{FactAssert, LIFETIME_MAX};
use model::pack::FactValue;
use model::{Action, Algorithm, KeyState};
use serde_json::{Value, json};

use crate::many::{matching, wide};
use crate::memory::Platform;
use crate::requests::{active, asked, born, yes};

fn of(session: &Session, named: &str) -> (String, Value, bool) {
    run(session, &SimulateArgs { subject: Some(named.to_owned()), ..SimulateArgs::default() })
}

fn run(session: &Session, args: &SimulateArgs) -> (String, Value, bool) {
    let (shown, clear) = simulate(session, args).unwrap();
    (anstream::adapter::strip_str(&shown.people).to_string(), shown.json, clear)
}

#[track_caller]
fn says(text: &str, all: &[&str]) {
    for shown in all {
        assert!(text.contains(shown), "{shown} is not in\n{text}");
    }
}

/// A pack with one gate that needs a fact, and one that needs two approvers.
const PACK: &str = r#"
schema = 1
name = "house"
version = 1
title = "House rules"
about = ["For tests."]
effective_from = "2020-01-01T00:00:00.000Z"
reviewer = "counsel"
review_due = "2030-01-01T00:00:00.000Z"
evidence = ["fact.screened"]

[[source]]
citation = "House rules, 1"

[[fact]]
name = "screened"
kind = "flag"
scope = "key"
about = "Whether the consumers were screened."

[[gate]]
name = "screening"
clause = "House rules 1.1"
says = "The consumers were screened"
needs = ["screened"]
require = 'context.facts["screened"]'

[[gate]]
name = "dual-control"
clause = "House rules 1.2"
says = "Two people have approved"
require = "context.request.approvers >= 2"
"#;

fn pack_file(folder: &std::path::Path) -> std::path::PathBuf {
    let path = folder.join("house.toml");
    std::fs::write(&path, PACK).unwrap();
    path
}

#[tokio::test]
async fn a_key_without_a_request_is_simulated_as_if_somebody_asked() {
    let platform = wide();
    born(&platform, "weights", Algorithm::Aes256Gcm).await;
    let sam = platform.ready("sam").await;
    let (text, json, clear) = of(&sam, "weights");
    says(&text, &["1 of `security`, 1 of `privacy`", "enough: ", "nothing beside the signatures", "as if "]);
    assert!(clear);
    assert_eq!(json["simulation"]["request"], Value::Null);
    assert_eq!(json["simulation"]["enough"].as_array().unwrap().len(), 2);
    let opa =
        SimulateArgs { subject: Some("weights".to_owned()), asker: Some("opa".to_owned()), ..SimulateArgs::default() };
    let (text, json, clear) = run(&sam, &opa);
    says(&text, &["opa", "holds none of: owner", "as if opa asked"]);
    assert!(!clear);
    assert_eq!(json["simulation"]["blocked"][0]["who"], json!(["kim", "rae"]));
}

/// Whoever it names is enough, nobody less is, and it happens when it says.
#[tokio::test]
async fn the_people_it_names_are_enough_and_the_asker_is_not_among_them() {
    let platform = wide();
    born(&platform, "weights", Algorithm::Aes256Gcm).await;
    let mut rae = platform.ready("rae").await;
    request(&mut rae, &mut Screen::silent(), asked("weights")).await.unwrap();
    let (_, json, _) = of(&rae, "weights");
    let named = |json: &Value| -> Vec<String> {
        let enough = json["simulation"]["enough"].as_array().unwrap().iter();
        enough.map(|who| who["label"].as_str().unwrap().to_owned()).collect()
    };
    let mut enough = named(&json);
    assert!(
        enough.len() == 2 && !enough.contains(&"rae".to_owned()) && !enough.contains(&"ray".to_owned()),
        "{enough:?}"
    );
    while let Some(who) = enough.first().cloned() {
        let mut session = platform.ready(&who).await;
        say(&mut session, &mut Screen::silent(), "weights", Word::Approve(None), &yes()).await.unwrap();
        session.refresh(&mut Screen::silent()).await.unwrap();
        if session.state().keys.values().next().unwrap().state == KeyState::Active {
            assert_eq!(enough.len(), 1, "fewer would have done");
            return;
        }
        let (_, json, _) = of(&session, "weights");
        let left = named(&json);
        assert_eq!(left.len(), enough.len() - 1);
        enough = left;
    }
    panic!("it named all, and the key is not active");
}

#[tokio::test]
async fn a_blocked_gate_says_for_want_of_which_fact_and_who_could_assert_it() {
    let platform = wide();
    platform.with(|inside| {
        let pack: model::pack::Pack = toml::from_str(PACK).unwrap();
        let declare = format!(
            r#"do pack.declare {{"against": "$head", "pack": {}, "applicability": {{"applied": "it is ours"}},
                "review_by": "$now+30d"}} by ann,bob"#,
            serde_json::to_string(&pack).unwrap()
        );
        assert_eq!(inside.scenario.perform(&declare), "pack.declared");
        let fact = r#"adopt {"rule": {"when": {"responsibility": ["application"]}},
            "fact": [{"name": "screened", "roles": ["privacy"], "valid_max": "1d"}]} by ann,bob"#;
        assert_eq!(inside.scenario.perform(fact), "policy.adopted");
    });
    born(&platform, "weights", Algorithm::Aes256Gcm).await;
    let mut rae = platform.ready("rae").await;
    request(&mut rae, &mut Screen::silent(), asked("weights")).await.unwrap();
    let (text, json, clear) = of(&rae, "weights");
    says(&text, &["house/screening", "wants screened", "dee or lou", "keylatch fact assert screened --key weights"]);
    // What only the signatures lack is not in their way.
    assert!(!text.contains("house/dual-control") && !clear, "{text}");
    assert_eq!(json["simulation"]["blocked"].as_array().unwrap().len(), 1);
    let open = requests::list(rae.known(), rae.now());
    says(&anstream::adapter::strip_str(&open.people).to_string(), &["has in its way", "wants screened"]);
    let mut lou = platform.ready("lou").await;
    let screened = Action::FactAssert(FactAssert {
        fact: "screened".parse().unwrap(),
        value: FactValue::Flag(true),
        valid_until: lou.now() + "1h".parse().unwrap(),
        evidence: "SCR-1".parse().unwrap(),
        evidence_digest: None,
    });
    let command = lou.command(screened, lou.state().keys.keys().next().copied(), LIFETIME_MAX);
    lou.carry_out(&mut Screen::silent(), &command, &yes(), Needs { signatures: 1, review: false }).await.unwrap();
    let (text, _, clear) = of(&lou, "weights");
    says(&text, &["nothing beside the signatures", "2 satisfied (screening, dual-control)", "the fact screened"]);
    assert!(clear);
}

#[tokio::test]
async fn a_list_is_simulated_key_by_key_and_what_is_alike_stands_together() {
    let platform = wide();
    for label in ["w-1", "w-2", "w-3"] {
        born(&platform, label, Algorithm::Aes256Gcm).await;
    }
    let mut rae = platform.ready("rae").await;
    let hash = request(&mut rae, &mut Screen::silent(), matching("w-*")).await.unwrap().hash.to_string();
    let (text, json, clear) = of(&rae, &hash[..12]);
    says(&text, &["3 × model-storage", "3 keys (w-1, w-2, w-3): nothing beside the signatures", "lapses"]);
    assert!(clear && json["list_in_log"] == true && json["keys"].as_array().unwrap().len() == 3);
    let (text, json, _) = of(&rae, "w-2");
    says(&text, &["w-2", "request"]);
    assert_eq!(json["simulation"]["request"], json!(hash));
}

fn policy_file(folder: &std::path::Path, change: &Value) -> std::path::PathBuf {
    let path = folder.join("draft.toml");
    std::fs::write(&path, toml::to_string(&lifecycle::scenario::patched_policy(change)).unwrap()).unwrap();
    path
}

async fn two_keys() -> Arc<Platform> {
    let platform = wide();
    active(&platform, "live", Algorithm::Aes256Gcm).await;
    born(&platform, "waiting", Algorithm::Aes256Gcm).await;
    platform
}

#[tokio::test]
async fn a_draft_of_a_policy_says_what_it_changes_for_every_key() {
    let (platform, folder) = (two_keys().await, tempfile::tempdir().unwrap());
    let sam = platform.ready("sam").await;
    let draft = |change: Value| {
        let policy = Some(policy_file(folder.path(), &change));
        run(&sam, &SimulateArgs { policy, ..SimulateArgs::default() })
    };
    let only = json!({"when": {"responsibility": ["application"]}});
    let (text, _, clear) = draft(json!({ "rule": only }));
    says(&text, &["pending: 1 key, 1 as before", "active: 1 key, 1 could be activated again"]);
    assert!(clear, "{text}");

    let mut two = only.clone();
    two["stage"] = json!([{"role": "security", "quorum": 2}, {"role": "privacy", "quorum": 1}]);
    let (text, json, _) = draft(json!({ "rule": two }));
    says(&text, &["waiting", "before", "1 of `security`, 1 of `privacy`", "after", "2 of `security`, 1 of `privacy`"]);
    assert_eq!(json["pending"][0]["after"]["enough"].as_array().unwrap().len(), 3);

    let shorter = json!([{"name": "aes-256-gcm", "crypto_period": "2h"}]);
    let (text, json, clear) = draft(json!({ "rule": only, "algorithm": shorter }));
    says(&text, &["live", "its use would end 2026-01-01 02:00:00Z", "it keeps its end"]);
    assert_eq!(json["active"][0]["would_end"], "2026-01-01T02:00:00.000Z");
    assert!(clear);

    let (text, json, clear) = draft(json!({ "rule": only, "algorithm": [{"name": "ed25519", "crypto_period": "2h"}] }));
    says(&text, &["live", "is not listed any more", "waiting"]);
    assert!(!clear && json["active"][0]["could_be_activated"] == false);

    let mut nobody = only;
    nobody["stage"] = json!([{"role": "nobody-has-it", "quorum": 1}]);
    let (text, json, clear) = draft(json!({ "rule": nobody }));
    says(&text, &["it can't be adopted", "not enough people"]);
    assert!(!clear && !json["holes"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_draft_of_a_pack_says_which_gates_would_hold_up_which_keys() {
    let (platform, folder) = (two_keys().await, tempfile::tempdir().unwrap());
    let sam = platform.ready("sam").await;
    let before = platform.with(|inside| inside.scenario.records.len());
    let args = SimulateArgs { pack: Some(pack_file(folder.path())), ..SimulateArgs::default() };
    let (text, json, clear) = run(&sam, &args);
    says(&text, &["waiting", "live", "house/screening (House rules 1.1)", "wants screened"]);
    assert!(!clear);
    assert_eq!(json["pending"][0]["before"]["blocked"], json!([]));
    assert_eq!(json["pending"][0]["after"]["blocked"][0]["members"]["facts"], json!(["screened"]));
    assert_eq!(json["active"][0]["blocked"][0]["members"]["gate"], "screening");
    assert_eq!(platform.with(|inside| inside.scenario.records.len()), before, "nothing is done");
}

#[tokio::test]
async fn the_shipped_packs_can_be_simulated() {
    let platform = two_keys().await;
    let sam = platform.ready("sam").await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/packs");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "toml") {
            let args = SimulateArgs { pack: Some(path.clone()), ..SimulateArgs::default() };
            let (text, ..) = run(&sam, &args);
            assert!(text.contains("pending: 1 key, "), "{path:?}: {text}");
        }
    }
}

#[tokio::test]
async fn what_lapses_is_said_soonest_first() {
    let platform = wide();
    born(&platform, "weights", Algorithm::Aes256Gcm).await;
    let mut rae = platform.ready("rae").await;
    request(&mut rae, &mut Screen::silent(), asked("weights")).await.unwrap();
    say(&mut platform.ready("sam").await, &mut Screen::silent(), "weights", Word::Approve(None), &yes()).await.unwrap();
    rae.refresh(&mut Screen::silent()).await.unwrap();
    let (text, ..) = of(&rae, "weights");
    let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} is not in\n{text}"));
    assert!(place("in 20m the approval of sam") < place("in 30m the request"));
    assert!(place("in 30m the request") < place("in 1h the key: expiry"));
}
