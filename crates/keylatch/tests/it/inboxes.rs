//! What waits for whom, and approving it from an agent.

use std::sync::Arc;

use keylatch::command::approve::{Word, say};
use keylatch::command::inbox::{self, Item, ShowArgs, Task, items};
use keylatch::command::request::{RequestArgs, SaidArgs, request};
use keylatch::command::sign::sign;
use keylatch::command::submit::submit;
use keylatch::{Identity, Screen, Session, Signing};
use model::{Algorithm, KeyState};

use crate::identities::Agent;
use crate::many::{matching, wide};
use crate::memory::Platform;
use crate::quorums::key_file;
use crate::requests::{asked, born};

async fn inbox(platform: &Arc<Platform>, who: &str) -> Vec<Item> {
    let session = platform.ready(who).await;
    let me = session.hand().unwrap().public_key().fingerprint();
    items(session.known(), me, session.now())
}

fn perform(platform: &Platform, step: &str, event: &str) {
    platform.with(|inside| assert_eq!(inside.scenario.perform(step), event, "{step}"));
}

async fn asked_for(platform: &Arc<Platform>, label: &str) {
    born(platform, label, Algorithm::Aes256Gcm).await;
    request(&mut platform.ready("rae").await, &mut Screen::silent(), asked(label)).await.unwrap();
}

#[tokio::test]
async fn a_vote_waits_for_those_whose_vote_would_count_and_for_nobody_else() {
    let platform = wide();
    asked_for(&platform, "weights").await;
    for (who, waits) in
        [("sam", true), ("lou", true), ("dee", true), ("rae", false), ("ray", false), ("opa", false), ("bot", false)]
    {
        assert_eq!(!inbox(&platform, who).await.is_empty(), waits, "{who}");
    }
    let item = inbox(&platform, "sam").await.remove(0);
    assert_eq!((item.task, item.command.as_str()), (Task::Vote, "keylatch approve weights"));
    say(
        &mut platform.ready("sam").await,
        &mut Screen::silent(),
        "weights",
        Word::Approve(None),
        &crate::requests::yes(),
    )
    .await
    .unwrap();
    // The place is taken: a second vote for it would not count.
    for (who, waits) in [("sam", false), ("sue", false), ("lou", true), ("dee", true)] {
        assert_eq!(!inbox(&platform, who).await.is_empty(), waits, "{who}");
    }
}

#[tokio::test]
async fn a_delegated_vote_waits_for_the_delegate_and_says_whose_it_is() {
    let platform = wide();
    let grant = r#"do delegation.grant {"against": "$head", "to": "$who:opa", "roles": ["privacy"],
        "not_before": "$now+0s", "not_after": "$now+1d", "reason": $why} by lou"#;
    perform(&platform, grant, "delegation.granted");
    asked_for(&platform, "weights").await;
    let item = inbox(&platform, "opa").await.remove(0);
    assert_eq!(item.command, "keylatch approve weights --on-behalf-of lou");
    assert!(inbox(&platform, "kim").await.is_empty());
}

#[tokio::test]
async fn consumers_holders_of_holds_and_lookers_find_their_tasks() {
    let platform = wide();
    let more = r#"adopt {
        "rule": {"when": {"responsibility": ["application"]}, "manifest_max": 10},
        "holds": {"place": {"roles": ["security"], "quorum": 1}, "lift": {"roles": ["privacy"], "quorum": 1}},
        "keys": {"revalidation": {"roles": ["operator"], "every": "40m"}},
        "people": {"access_review": {"by": {"roles": ["operator"], "quorum": 1}, "every": "2h", "warn_before": "1h"}}
    } by ann,bob"#;
    perform(&platform, more, "policy.adopted");
    born(&platform, "w-1", Algorithm::Aes256Gcm).await;
    born(&platform, "w-2", Algorithm::Aes256Gcm).await;
    let said = SaidArgs { consumers: vec!["app".to_owned()], ..asked("").said };
    let many = RequestArgs { said, ..matching("w-*") };
    request(&mut platform.ready("rae").await, &mut Screen::silent(), many).await.unwrap();
    let tasks = |items: &[Item]| items.iter().map(|item| item.task).collect::<Vec<Task>>();
    let listed = inbox(&platform, "app").await.remove(0);
    assert_eq!(listed.command, "keylatch key acknowledge --list FILE", "one task, however many keys");
    assert!(listed.about.starts_with("2 keys of "), "{}", listed.about);
    perform(&platform, r#"do activation.hold {"kind": "incident", "reference": "INC-1"} by sue"#, "activation.held");
    // While all is held nobody votes.
    assert_eq!(tasks(&inbox(&platform, "lou").await), [Task::LiftHold]);
    assert_eq!(tasks(&inbox(&platform, "opa").await), []);
    platform.wait("25m");
    assert_eq!(tasks(&inbox(&platform, "opa").await), [Task::Revalidate]);
    let opa = inbox(&platform, "opa").await.remove(0);
    assert_eq!(opa.command, "keylatch key revalidate w-1 w-2");
    platform.wait("50m");
    assert_eq!(tasks(&inbox(&platform, "opa").await), [Task::AccessReview]);
}

#[tokio::test]
async fn an_emergency_waits_for_a_reviewer_who_had_no_part_in_it() {
    let platform = wide();
    let emergency = r#"adopt {"rule": {"when": {"responsibility": ["application"]},
        "break_glass": {"life": "1h", "review_within": "30m", "reviewers": {"roles": ["security", "privacy"], "quorum": 1}}}}
        by ann,bob"#;
    let mut policy = lifecycle::scenario::patched_policy(
        &serde_json::from_str(emergency.strip_prefix("adopt ").unwrap().rsplit_once(" by ").unwrap().0.trim()).unwrap(),
    );
    let mut everyday = policy.rules[0].clone();
    (everyday.name, everyday.break_glass) = ("everyday".parse().unwrap(), None);
    policy.rules.push(everyday);
    let policy = serde_json::to_string(&policy).unwrap();
    perform(
        &platform,
        &format!(r#"do policy.adopt {{"against": "$head", "policy": {policy}}} by ann,bob"#),
        "policy.adopted",
    );
    born(&platform, "weights", Algorithm::Aes256Gcm).await;
    let said = SaidArgs { break_glass: true, ..asked("").said };
    let args = RequestArgs { said, ..asked("weights") };
    request(&mut platform.ready("rae").await, &mut Screen::silent(), args).await.unwrap();
    for who in ["sam", "lou"] {
        let mut session = platform.ready(who).await;
        let (mut screen, _, review) = Screen::captured(false, [true]);
        say(&mut session, &mut screen, "weights", Word::Approve(None), &Signing::default()).await.unwrap();
        assert!(review.text().contains("emergency"), "{}", review.text());
    }
    for (who, waits) in [("sue", true), ("dee", true), ("sam", false), ("lou", false), ("rae", false), ("opa", false)] {
        let tasks: Vec<Task> = inbox(&platform, who).await.iter().map(|item| item.task).collect();
        assert_eq!(tasks == [Task::ReviewActivation], waits, "{who}: {tasks:?}");
    }
    // Missed, and the key suspended for it: it waits all the more.
    platform.wait("31m");
    let item = inbox(&platform, "sue").await.remove(0);
    assert_eq!((item.task, item.about.as_str()), (Task::ReviewActivation, "weights, suspended, missed"));
}

#[tokio::test]
async fn packs_to_be_declared_wait_for_the_admins() {
    let platform = wide();
    perform(
        &platform,
        r#"adopt {"packs": ["nis2-2024-2690"], "rule": {"when": {"responsibility": ["application"]}}} by ann,bob"#,
        "policy.adopted",
    );
    let items = inbox(&platform, "ann").await;
    assert_eq!(items.iter().map(|item| item.task).collect::<Vec<_>>(), [Task::DeclarePack]);
    assert_eq!(items[0].about, "nis2-2024-2690: undeclared, no key can be activated");
    assert_eq!(inbox(&platform, "sam").await, []);
    let pack: model::pack::Pack = toml::from_str(include_str!("../../../../deploy/packs/nis2-2024-2690.toml")).unwrap();
    let pack = serde_json::to_string(&pack).unwrap();
    let declare = format!(
        r#"do pack.declare {{"against": "$head", "pack": {pack}, "applicability": {{"applied": "so it is"}}, "review_by": "$now+60d"}} by ann,bob"#
    );
    perform(&platform, &declare, "pack.declared");
    assert_eq!(inbox(&platform, "ann").await, []);
    platform.wait("31d");
    let about = |items: Vec<Item>| items.into_iter().map(|item| item.about).collect::<Vec<_>>();
    assert_eq!(about(inbox(&platform, "ann").await), ["nis2-2024-2690: the declaration is due"]);
    platform.wait("30d");
    assert_eq!(about(inbox(&platform, "ann").await), ["nis2-2024-2690: the declaration is due, missed"]);
}

/// From the list to the signature: shown in full, checked by hand, signed by an agent, sent.
#[tokio::test]
async fn a_vote_is_shown_in_full_checked_by_hand_and_given_from_an_agent() {
    let (platform, folder) = (wide(), tempfile::tempdir().unwrap());
    asked_for(&platform, "weights").await;
    let file = key_file(folder.path(), "sam");
    let agent = Agent::start(folder.path());
    agent.add(&file, "", folder.path());
    let public = folder.path().join("sam.pub");
    std::fs::write(&public, ssh_key::PrivateKey::read_openssh_file(&file).unwrap().public_key().to_openssh().unwrap())
        .unwrap();
    std::fs::remove_file(&file).unwrap();
    let hand = Arc::new(Identity::load_with(&public, agent.wrapper(folder.path()).into()).unwrap());
    let mut sam: Session = platform.reader().signing_with(hand.clone());
    sam.refresh(&mut Screen::silent()).await.unwrap();
    let listed = inbox::list(&sam).unwrap();
    assert!(listed.people.contains("keylatch approve weights"), "{}", listed.people);

    let out = folder.path().join("approve.json");
    let shown = inbox::show(&sam, &ShowArgs { which: "1".to_owned(), out: Some(out.clone()), list: None }).unwrap();
    let text = anstream::adapter::strip_str(&shown.people).to_string();
    for wanted in ["GDPR art. 32(1)(a)", "inference endpoint", "kcv:", "still to sign", "lapses", "xxd -r -p"] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    // By hand, as it says: the hex is on the screen, and its SHA-256 beside it.
    let bytes = &shown.json["signed_bytes"];
    let is_hex = |line: &&str| line.len() > 20 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hex: String = text.lines().map(str::trim).filter(is_hex).collect();
    assert_eq!(hex, bytes["hex"].as_str().unwrap());
    let raw = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
    assert_eq!(model::Digest::of(&raw).to_string(), bytes["sha256"].as_str().unwrap());
    assert!(text.contains(bytes["sha256"].as_str().unwrap()));

    // Exactly these bytes are signed, by the agent, and sent.
    sign(&out, &*hand, Some(sam.known()), true, &mut Screen::silent(), sam.now()).unwrap();
    let envelope = keylatch::submit::read_envelope(&out).unwrap();
    assert_eq!(model::dsse::pae(&envelope.payload_type, &envelope.payload.0), raw);
    submit(&mut sam, &mut Screen::silent(), &out).await.unwrap();
    assert!(inbox::list(&sam).unwrap().people.contains("nothing waits for you"));

    // And at once, from the agent too.
    asked_for(&platform, "others").await;
    sam.refresh(&mut Screen::silent()).await.unwrap();
    say(&mut sam, &mut Screen::silent(), "others", Word::Approve(None), &crate::requests::yes()).await.unwrap();
    let mut lou = platform.ready("lou").await;
    say(&mut lou, &mut Screen::silent(), "others", Word::Approve(None), &crate::requests::yes()).await.unwrap();
    lou.refresh(&mut Screen::silent()).await.unwrap();
    let others = lou.state().keys.values().find(|key| key.spec.label.as_str() == "others").unwrap();
    assert_eq!(others.state, KeyState::Active);
}
