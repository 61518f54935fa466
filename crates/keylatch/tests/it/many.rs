//! Many keys at once: lists in the log, standing authorisations, emergencies, delegated votes, attributes.

use std::sync::Arc;

use clap::Parser as _;
use keylatch::cli::{Cli, Command};
use keylatch::command::approve::{Word, say};
use keylatch::command::key::KeyCommand;
use keylatch::command::key::generate::generate;
use keylatch::command::key::operate::activate;
use keylatch::command::request::{self, ManyArgs, RequestArgs, SaidArgs, StandingArgs, request};
use keylatch::command::requests;
use keylatch::documents;
use keylatch::error::Exit;
use keylatch::{Error, Screen, Session};
use model::key::Operation;
use model::{Algorithm, EventType, KeyState, ProblemType};

use crate::memory::Platform;
use crate::requests::{asked, born, spec, yes};

/// A policy under which many keys can be asked for, and more is said of them.
const WIDE: &str = r#"adopt {
    "rule": {"when": {"responsibility": ["application"]}, "manifest_max": 500, "standing": {"count_max": 3, "window_max": "8h", "users": ["app"]}},
    "holds": {"place": {"roles": ["security"], "quorum": 1}, "lift": {"roles": ["privacy"], "quorum": 1}},
    "people": {"delegation_max": "7d"},
    "keys": {"allow": {"exportable": true, "undeletable": true, "successor": true, "instance": true}}
} by ann,bob"#;

pub(crate) fn wide() -> Arc<Platform> {
    let platform = Platform::new();
    platform.with(|inside| assert_eq!(inside.scenario.perform(WIDE), "policy.adopted"));
    platform
}

fn many(many: ManyArgs) -> RequestArgs {
    RequestArgs { key: None, many, ..asked("") }
}

pub(crate) fn matching(pattern: &str) -> RequestArgs {
    many(ManyArgs { all_matching: Some(pattern.to_owned()), ..ManyArgs::default() })
}

async fn approve(session: &mut Session, named: &str) -> Result<String, Error> {
    session.refresh(&mut Screen::silent()).await?;
    let (mut screen, _, review) = Screen::captured(false, [true]);
    say(session, &mut screen, named, Word::Approve(None), &keylatch::Signing::default()).await?;
    Ok(review.text())
}

fn count(platform: &Platform, wanted: EventType) -> usize {
    let name = format!("\"{}\"", wanted.full_name());
    platform.with(|inside| {
        let records = inside.scenario.records.iter();
        records.filter(|record| String::from_utf8_lossy(&record.payload).contains(&name)).count()
    })
}

#[tokio::test]
async fn a_list_of_keys_is_asked_for_at_once_and_one_signature_a_person_does() {
    let platform = wide();
    for number in 0..12 {
        born(&platform, &format!("weights-{number}"), Algorithm::Aes256Gcm).await;
    }
    born(&platform, "other", Algorithm::Aes256Gcm).await;
    let mut rae = platform.ready("rae").await;
    let recorded = request(&mut rae, &mut Screen::silent(), matching("weights-*")).await.unwrap();
    let hash = recorded.hash.to_string();

    let mut sam = platform.ready("sam").await;
    let review = approve(&mut sam, &hash[..12]).await.unwrap();
    for shown in ["12 keys, in the log with this digest and root", "weights-0", "and 7 more", "nothing beside the sign"]
    {
        assert!(review.contains(shown), "{shown} is not in\n{review}");
    }
    let open = requests::list(sam.known(), sam.now());
    assert!(open.people.contains("12 × model-storage"), "{}", open.people);
    approve(&mut platform.session("lou"), &hash).await.unwrap();
    rae.refresh(&mut Screen::silent()).await.unwrap();
    let active = |label: &str| rae.state().keys.values().find(|key| key.spec.label.as_str() == label).unwrap().state;
    assert!((0..12).all(|number| active(&format!("weights-{number}")) == KeyState::Active));
    assert_eq!(active("other"), KeyState::PreActive);
    assert_eq!(count(&platform, EventType::ActivationApproved), 2);
    let ended = request::wait_for(&mut rae, &mut Screen::silent(), recorded.hash).await.unwrap();
    assert_eq!(ended.how, lifecycle::state::Outcome::Activated);
}

#[tokio::test]
async fn parts_of_a_list_that_are_in_the_log_are_not_stored_again() {
    let platform = wide();
    born(&platform, "a", Algorithm::Aes256Gcm).await;
    born(&platform, "b", Algorithm::Aes256Gcm).await;
    let mut rae = platform.ready("rae").await;
    let keys: Vec<model::KeyId> = rae.state().keys.keys().copied().collect();
    let (_, list) = request::list_of(rae.state(), &keys).unwrap();
    // The first answer gets lost: the same bytes get the same answer. Then nothing is left to do.
    platform.with(|inside| inside.faults.lost_answers = 1);
    documents::store(&mut rae, &mut Screen::silent(), &list.text(), list.parts()).await.unwrap();
    documents::store(&mut rae, &mut Screen::silent(), &list.text(), list.parts()).await.unwrap();
    assert_eq!(count(&platform, EventType::DocumentStored), 1);
    let named = ManyArgs { keys: vec!["a".to_owned(), "b".to_owned()], ..ManyArgs::default() };
    request(&mut rae, &mut Screen::silent(), many(named)).await.unwrap();
    assert_eq!(count(&platform, EventType::DocumentStored), 1);
}

#[tokio::test]
async fn keys_of_different_kinds_are_not_asked_for_at_once() {
    let platform = wide();
    born(&platform, "aes", Algorithm::Aes256Gcm).await;
    born(&platform, "pair", Algorithm::Ed25519).await;
    let mut rae = platform.ready("rae").await;
    let error = request(&mut rae, &mut Screen::silent(), matching("*")).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
    assert!(error.to_string().contains("different kinds"), "{error}");
    let nothing = request(&mut rae, &mut Screen::silent(), matching("none-*")).await.unwrap_err();
    assert_eq!(nothing.exit(), Exit::Refused);
}

#[tokio::test]
async fn a_list_is_read_from_a_file_and_an_approver_is_told_when_it_is_not_in_the_log() {
    let (platform, folder) = (wide(), tempfile::tempdir().unwrap());
    born(&platform, "a", Algorithm::Aes256Gcm).await;
    born(&platform, "b", Algorithm::Aes256Gcm).await;
    let file = folder.path().join("keys.txt");
    std::fs::write(&file, "# ours\na\n\nb\n").unwrap();
    let mut rae = platform.ready("rae").await;
    let named = ManyArgs { manifest: Some(file), ..ManyArgs::default() };
    let recorded = request(&mut rae, &mut Screen::silent(), many(named)).await.unwrap();
    let request = rae.state().requests[&recorded.hash].clone();
    assert_eq!(rae.known().list(&request).unwrap().len(), 2);
    let mut forged = request;
    let manifest = forged.manifest.as_mut().unwrap();
    manifest.count = 3;
    assert!(rae.known().list(&forged).is_none(), "the count differs");
    let shown = keylatch::review::many_fields(&forged, rae.known(), rae.now()).to_people(0);
    assert!(shown.contains("Do not approve it"), "{shown}");
}

#[tokio::test]
async fn a_program_draws_on_a_standing_authorisation_until_it_is_spent() {
    let platform = wide();
    born(&platform, "first", Algorithm::Aes256Gcm).await;
    let mut rae = platform.ready("rae").await;
    let standing = StandingArgs {
        standing: Some(1),
        lasting: Some("4h".parse().unwrap()),
        like: Some("first".to_owned()),
        ..StandingArgs::default()
    };
    let args = RequestArgs { key: None, standing, ..asked("") };
    let hash = request(&mut rae, &mut Screen::silent(), args).await.unwrap().hash.to_string();
    let review = approve(&mut platform.session("sam"), &hash).await.unwrap();
    assert!(review.contains("1 keys that are still to come"), "{review}");
    approve(&mut platform.session("lou"), &hash).await.unwrap();
    born(&platform, "second", Algorithm::Aes256Gcm).await;
    let mut app = platform.ready("app").await;
    activate(&mut app, &mut Screen::silent(), "second", Some(&hash[..12]), &yes()).await.unwrap();
    assert_eq!(app.state().keys.values().filter(|key| key.state == KeyState::Active).count(), 1);
    app.refresh(&mut Screen::silent()).await.unwrap();
    let spent = activate(&mut app, &mut Screen::silent(), "first", Some(&hash[..12]), &yes()).await.unwrap_err();
    assert_eq!(spent.exit(), Exit::Refused);
}

#[tokio::test]
async fn a_standing_authorisation_says_what_kind_of_keys_it_is_for() {
    let platform = wide();
    let mut rae = platform.ready("rae").await;
    let standing = StandingArgs { standing: Some(1), lasting: Some("4h".parse().unwrap()), ..StandingArgs::default() };
    let args = RequestArgs { key: None, standing, ..asked("") };
    let error = request(&mut rae, &mut Screen::silent(), args).await.unwrap_err();
    assert!(error.advice().contains("--like"), "{error:?}");
}

/// The delegator's vote, given by another; it is one vote, and not the delegate's own.
#[tokio::test]
async fn a_vote_is_given_on_behalf_of_who_delegated_it() {
    let platform = wide();
    platform.with(|inside| {
        let grant = r#"do delegation.grant {"against": "$head", "to": "$who:opa", "roles": ["privacy"],
            "not_before": "$now+0s", "not_after": "$now+1d", "reason": $why} by lou"#;
        assert_eq!(inside.scenario.perform(grant), "delegation.granted");
    });
    born(&platform, "weights", Algorithm::Aes256Gcm).await;
    request(&mut platform.ready("rae").await, &mut Screen::silent(), asked("weights")).await.unwrap();
    let mut opa = platform.ready("opa").await;
    let (mut screen, _, review) = Screen::captured(false, [true]);
    let word = Word::ApproveFor("lou".to_owned(), None);
    say(&mut opa, &mut screen, "weights", word, &keylatch::Signing::default()).await.unwrap();
    assert!(review.text().contains("this is the vote of lou"), "{}", review.text());
    approve(&mut platform.session("sam"), "weights").await.unwrap();
    opa.refresh(&mut Screen::silent()).await.unwrap();
    assert_eq!(opa.state().keys.values().next().unwrap().state, KeyState::Active);
}

#[tokio::test]
async fn an_attestation_is_part_of_what_is_asked_unless_one_says_otherwise() {
    let platform = wide();
    for (label, no_attestation) in [("with", false), ("without", true)] {
        born(&platform, label, Algorithm::Aes256Gcm).await;
        let mut rae = platform.ready("rae").await;
        let args = RequestArgs { said: SaidArgs { no_attestation, ..asked(label).said }, ..asked(label) };
        let hash = request(&mut rae, &mut Screen::silent(), args).await.unwrap().hash;
        assert_eq!(rae.state().requests[&hash].said.attestation.is_none(), no_attestation);
    }
}

fn parsed(line: &str) -> Command {
    Cli::try_parse_from(line.split_whitespace()).unwrap().command
}

#[tokio::test]
async fn everything_that_can_be_said_of_a_key_is_said_on_the_command_line() {
    let platform = wide();
    born(&platform, "parent", Algorithm::Aes256Gcm).await;
    let mut kim = platform.ready("kim").await;
    let digest = "0f".repeat(32);
    let line = format!(
        "keylatch key generate child --workload general --responsibility application --jurisdiction EU \
         --classification secret --environment production --owner platform-team --model-digest {digest} --endpoint e1 \
         --usage encrypt decrypt --exportable --not-deletable --replaces parent --instance eu-1 --wrapped-by parent \
         --session-scope sessions"
    );
    let Command::Key(KeyCommand::Generate(args)) = parsed(&line) else { panic!("not a birth") };
    let spec = args.spec(kim.state()).unwrap();
    let parent = kim.state().keys.values().next().unwrap().id;
    assert_eq!(spec.usage, [Operation::Encrypt, Operation::Decrypt].into());
    assert_eq!(spec.wrapped_by.unwrap().key_id, parent);
    assert_eq!(spec.attributes.as_ref().unwrap().replaces, Some(parent));
    let made = generate(&mut kim, &mut Screen::silent(), spec.clone()).await.unwrap();
    assert_eq!(made.key.spec, spec);
    let elsewhere = format!("ADVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCZW22:{parent}");
    let named = keylatch::command::key::generate::parent(kim.state(), &elsewhere).unwrap();
    assert!(named.tenant.is_some());
    assert!(keylatch::command::key::generate::parent(kim.state(), "nowhere:nothing").is_err());
}

#[tokio::test]
async fn a_request_for_many_is_taken_back_like_any_other() {
    let platform = wide();
    born(&platform, "a", Algorithm::Aes256Gcm).await;
    born(&platform, "b", Algorithm::Aes256Gcm).await;
    let mut rae = platform.ready("rae").await;
    let hash = request(&mut rae, &mut Screen::silent(), matching("*")).await.unwrap().hash;
    let no = model::key::Reason { kind: model::key::ReasonKind::Unjustified, text: "too early".parse().unwrap() };
    say(&mut rae, &mut Screen::silent(), &hash.to_string()[..12], Word::Cancel(no), &yes()).await.unwrap();
    let closed = rae.state().requests[&hash].closed.unwrap();
    assert_eq!(closed.how, lifecycle::state::Outcome::Cancelled);
    request(&mut rae, &mut Screen::silent(), matching("*")).await.unwrap();
}

/// The child can't be activated while its parent is not: the refusal says all that is in the way, and who could help.
#[tokio::test]
async fn a_refused_activation_says_in_one_screen_what_is_missing() {
    let platform = wide();
    born(&platform, "parent", Algorithm::Aes256Gcm).await;
    let mut kim = platform.ready("kim").await;
    let parent = kim.state().keys.values().next().unwrap().id;
    let mut child = spec("child", Algorithm::Aes256Gcm);
    child.wrapped_by = Some(model::key::Parent { tenant: None, key_id: parent });
    generate(&mut kim, &mut Screen::silent(), child).await.unwrap();
    request(&mut platform.ready("rae").await, &mut Screen::silent(), asked("child")).await.unwrap();
    approve(&mut platform.session("sam"), "child").await.unwrap();
    platform.with(|inside| {
        let hold = r#"do activation.hold {"kind": "incident", "reference": "INC-1"} by sue"#;
        assert_eq!(inside.scenario.perform(hold), "activation.held");
    });
    let mut opa = platform.ready("opa").await;
    let error = activate(&mut opa, &mut Screen::silent(), "child", None, &yes()).await.unwrap_err();
    let Error::Refused(problem) = &error else { panic!("{error:?}") };
    assert_eq!(problem.kind(), Some(ProblemType::NotAuthorized));
    let screen = anstream::adapter::strip_str(&error.to_people()).to_string();
    for shown in ["still to approve: 1 of `privacy`", "lou", "keylatch simulate", "is pre-active", "INC-1", "hold lift"]
    {
        assert!(screen.contains(shown), "{shown} is not in\n{screen}");
    }
    assert_eq!(problem.members["blocks"].as_array().unwrap().len(), 3, "{screen}");
}
