//! From birth to use: generate, request, approve, wait, look, suspend.

use keylatch::command::approve::{Word, say};
use keylatch::command::key::generate::generate;
use keylatch::command::key::operate::{Operation, operate};
use keylatch::command::key::{list, prove, show};
use keylatch::command::request::{self, ManyArgs, RequestArgs, SaidArgs, StandingArgs, request};
use keylatch::command::{ReasonArgs, requests};
use keylatch::error::Exit;
use keylatch::{Error, Outcome, Screen, Session, Show, Signing};
use lifecycle::state::Outcome as End;
use model::key::{Reason, ReasonKind, Template};
use model::{Algorithm, KeySpec, KeyState, ProblemType};

use crate::memory::Platform;

pub(crate) fn spec(label: &str, algorithm: Algorithm) -> KeySpec {
    let of = Template {
        algorithm,
        workload: "model-storage".parse().unwrap(),
        responsibility: model::key::Responsibility::Application,
        jurisdiction: "EU".parse().unwrap(),
        classification: "secret".parse().unwrap(),
        environment: "production".parse().unwrap(),
        backend: "software".parse().unwrap(),
    };
    KeySpec { asset: Some("the weights".parse().unwrap()), ..KeySpec::new(label.parse().unwrap(), of) }
}

pub(crate) fn reason(text: &str) -> ReasonArgs {
    ReasonArgs { reason_kind: ReasonKind::Test, reason: text.parse().unwrap() }
}

pub(crate) fn asked(key: &str) -> RequestArgs {
    RequestArgs {
        key: Some(key.to_owned()),
        reason: reason("the release goes live"),
        said: SaidArgs {
            change_ref: Some("CHG-7".parse().unwrap()),
            legal_basis: vec!["GDPR art. 32(1)(a)".parse().unwrap()],
            systems: vec!["inference endpoint".parse().unwrap()],
            ..SaidArgs::default()
        },
        many: ManyArgs::default(),
        standing: StandingArgs::default(),
        wait: false,
    }
}

pub(crate) fn yes() -> Signing {
    Signing { yes: true, ..Signing::default() }
}

async fn approve(session: &mut Session, key: &str) -> Result<Outcome, Error> {
    session.refresh(&mut Screen::silent()).await?;
    say(session, &mut Screen::silent(), key, Word::Approve(None), &yes()).await
}

/// A key of this label, pre-active.
pub(crate) async fn born(platform: &std::sync::Arc<Platform>, label: &str, algorithm: Algorithm) {
    let mut kim = platform.ready("kim").await;
    generate(&mut kim, &mut Screen::silent(), spec(label, algorithm)).await.unwrap();
}

/// A key of this label, active.
pub(crate) async fn active(platform: &std::sync::Arc<Platform>, label: &str, algorithm: Algorithm) {
    born(platform, label, algorithm).await;
    let mut rae = platform.ready("rae").await;
    request(&mut rae, &mut Screen::silent(), asked(label)).await.unwrap();
    approve(&mut platform.session("sam"), label).await.unwrap();
    approve(&mut platform.session("lou"), label).await.unwrap();
}

#[tokio::test]
async fn a_key_is_born_pre_active_and_active_when_two_have_signed() {
    let platform = Platform::new();
    let mut kim = platform.ready("kim").await;
    let generated = generate(&mut kim, &mut Screen::silent(), spec("weights", Algorithm::Aes256Gcm)).await.unwrap();
    assert_eq!(generated.key.state, KeyState::PreActive);
    assert!(generated.to_people().contains("nobody can use it yet"));
    let mut rae = platform.ready("rae").await;
    request(&mut rae, &mut Screen::silent(), asked("weights")).await.unwrap();

    let mut sam = platform.ready("sam").await;
    let (mut screen, _, review) = Screen::captured(false, [true]);
    say(&mut sam, &mut screen, "weights", Word::Approve(Some("seen".parse().unwrap())), &Signing::default())
        .await
        .unwrap();
    let review = review.text();
    for shown in [
        "activation.approve",
        "weights",
        &generated.key.id.to_string(),
        &generated.key.identity.to_string(),
        "the release goes live (test)",
        "CHG-7",
        "GDPR art. 32(1)(a)",
        "inference endpoint",
        "rae",
        "1 of `security`, 1 of `privacy`",
        r#""note":"seen""#,
        r#""action":"activation.approve""#,
    ] {
        assert!(review.contains(shown), "{shown} is not in\n{review}");
    }

    let mut lou = platform.ready("lou").await;
    let open = requests::list(lou.known(), lou.now());
    assert!(open.people.contains("1 of `privacy`"), "{}", open.people);
    approve(&mut lou, "weights").await.unwrap();
    lou.refresh(&mut Screen::silent()).await.unwrap();
    let shown = show::show(lou.known(), "weights", lou.now()).unwrap();
    assert_eq!(shown.json["key"]["state"], "active");
    assert_eq!(shown.json["key"]["custody"]["applied"], true);
    assert!(shown.people.contains("earlier requests"), "{}", shown.people);
    assert_eq!(requests::list(lou.known(), lou.now()).json["requests"], serde_json::json!([]));
}

#[tokio::test]
async fn nothing_is_signed_without_a_yes() {
    let platform = Platform::new();
    born(&platform, "weights", Algorithm::Aes256Gcm).await;
    request(&mut platform.ready("rae").await, &mut Screen::silent(), asked("weights")).await.unwrap();
    let mut sam = platform.ready("sam").await;
    let (mut no, _, _) = Screen::captured(false, [false]);
    let word = || Word::Approve(None);
    assert!(matches!(say(&mut sam, &mut no, "weights", word(), &Signing::default()).await, Err(Error::Declined)));
    let nobody = say(&mut sam, &mut Screen::silent(), "weights", word(), &Signing::default()).await.unwrap_err();
    assert_eq!(nobody.exit(), Exit::Usage);
    assert!(platform.with(|inside| inside.scenario.tenant.requests.values().all(|asked| asked.approvals.is_empty())));
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, wanted: ProblemType) {
    match result {
        Err(Error::Refused(problem)) => assert_eq!(problem.kind(), Some(wanted), "{problem}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refusal_says_what_was_wrong_and_what_would_be_right() {
    let platform = Platform::new();
    born(&platform, "weights", Algorithm::Aes256Gcm).await;
    let mut rae = platform.ready("rae").await;
    request(&mut rae, &mut Screen::silent(), asked("weights")).await.unwrap();
    let error = approve(&mut rae, "weights").await.unwrap_err();
    assert_eq!(error.exit(), Exit::Refused);
    assert_eq!(error.to_problem().problem_type, "urn:keylatch:problem:self-approval");
    assert!(error.to_people().contains("Have somebody else approve"));
    refused(approve(&mut platform.session("app"), "weights").await, ProblemType::NotAPerson);
    refused(approve(&mut platform.session("stranger"), "weights").await, ProblemType::UnknownPrincipal);
    refused(approve(&mut platform.session("sam"), "nothing").await, ProblemType::UnknownKey);
    let mut opa = platform.ready("opa").await;
    refused(operated(&mut opa, Operation::Suspend, &mut Screen::silent()).await, ProblemType::ForbiddenTransition);
}

#[tokio::test(start_paused = true)]
async fn waiting_shows_each_step_until_the_key_is_active() {
    let platform = Platform::new();
    born(&platform, "weights", Algorithm::Aes256Gcm).await;
    let mut rae = platform.session("rae");
    let others = async {
        // The request must stand before anybody can approve it.
        while platform.with(|inside| inside.scenario.tenant.requests.is_empty()) {
            tokio::task::yield_now().await;
        }
        approve(&mut platform.session("sam"), "weights").await.unwrap();
        tokio::task::yield_now().await;
        approve(&mut platform.session("lou"), "weights").await.unwrap();
    };
    let (mut screen, out, err) = Screen::captured(false, []);
    let args = RequestArgs { wait: true, ..asked("weights") };
    let (ended, ()) = tokio::join!(request::run(args, &mut rae, &mut screen), others);
    assert_eq!(ended.unwrap(), Exit::Ok);
    let (out, err) = (out.text(), err.text());
    assert!(
        out.contains("key.activated") && out.ends_with("activated weights until 2026-01-02 00:00:00Z (in 1d)\n"),
        "{out}"
    );
    assert!(err.contains("1 of `security`, 1 of `privacy`"), "{err}");
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_a_no_a_lapse_or_an_expiry() {
    for (how, end) in [("reject", "rejected"), ("lapse", "lapsed"), ("expire", "expired")] {
        let platform = Platform::new();
        born(&platform, "weights", Algorithm::Aes256Gcm).await;
        if how == "expire" {
            // Little is left of the hour that the key may wait.
            platform.wait("40m");
        }
        let mut rae = platform.session("rae");
        let others = async {
            while platform.with(|inside| inside.scenario.tenant.requests.is_empty()) {
                tokio::task::yield_now().await;
            }
            match how {
                "reject" => {
                    let mut sam = platform.ready("sam").await;
                    let no = Word::Reject(Reason { kind: ReasonKind::Unjustified, text: "no ticket".parse().unwrap() });
                    say(&mut sam, &mut Screen::silent(), "weights", no, &yes()).await.unwrap();
                }
                _ => platform.wait("30m"),
            }
        };
        let (mut screen, out, _) = Screen::captured(true, []);
        let args = RequestArgs { wait: true, ..asked("weights") };
        let (ended, ()) = tokio::join!(request::run(args, &mut rae, &mut screen), others);
        assert_eq!(ended.unwrap(), Exit::Refused);
        let lines: Vec<serde_json::Value> =
            out.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.last().unwrap()["outcome"], end);
    }
}

#[tokio::test]
async fn waiting_knows_its_end() {
    let platform = Platform::new();
    active(&platform, "weights", Algorithm::Aes256Gcm).await;
    let mut rae = platform.ready("rae").await;
    let request = *rae.state().requests.keys().next().unwrap();
    let ended = request::wait_for(&mut rae, &mut Screen::silent(), request).await.unwrap();
    assert_eq!(ended.how, End::Activated);
}

#[tokio::test]
async fn proofs_are_checked_here() {
    let platform = Platform::new();
    born(&platform, "pair", Algorithm::Ed25519).await;
    born(&platform, "secret", Algorithm::Aes256Gcm).await;
    let mut kim = platform.ready("kim").await;
    assert!(prove::prove(&mut kim, "pair").await.unwrap().verified);
    assert!(!prove::prove(&mut kim, "secret").await.unwrap().verified);
    platform.with(|inside| inside.faults.lies = true);
    assert!(matches!(prove::prove(&mut kim, "pair").await, Err(Error::Failed { .. })));
}

#[tokio::test]
async fn keys_are_listed_with_what_comes_next_and_found_by_label_and_id() {
    let platform = Platform::new();
    born(&platform, "alpha", Algorithm::Aes256Gcm).await;
    born(&platform, "twin", Algorithm::Ed25519).await;
    born(&platform, "twin", Algorithm::Ed25519).await;
    active(&platform, "beta", Algorithm::EcdsaP256).await;
    let session = platform.ready("rae").await;
    let all = list::list(session.known(), &list::ListArgs::default(), session.now());
    assert_eq!(all.json["keys"].as_array().unwrap().len(), 4);
    assert!(all.people.contains("expires in 1h") && all.people.contains("ends in 1d"), "{}", all.people);
    let only = list::ListArgs { state: vec![KeyState::Active], label: None };
    assert_eq!(list::list(session.known(), &only, session.now()).json["keys"][0]["spec"]["label"], "beta");

    let id = all.json["keys"][0]["key_id"].as_str().unwrap().to_owned();
    assert!(show::show(session.known(), &id, session.now()).is_ok());
    let twins = show::show(session.known(), "twin", session.now()).unwrap_err();
    assert!(twins.advice().contains(all.json["keys"][1]["key_id"].as_str().unwrap()), "{twins:?}");
}

/// Does it to `weights`, asking where it is asked for.
async fn operated(session: &mut Session, operation: Operation, screen: &mut Screen) -> Result<Outcome, Error> {
    operate(session, screen, operation, "weights", reason("a test").into(), &Signing::default()).await
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_asked_for_and_a_halt_is_not() {
    let platform = Platform::new();
    active(&platform, "weights", Algorithm::Aes256Gcm).await;
    let mut opa = platform.ready("opa").await;
    let halted = operated(&mut opa, Operation::Suspend, &mut Screen::silent()).await;
    assert!(matches!(halted, Ok(Outcome::Recorded(_))));
    opa.refresh(&mut Screen::silent()).await.unwrap();
    let (mut screen, _, review) = Screen::captured(false, [false]);
    assert!(matches!(operated(&mut opa, Operation::Deactivate, &mut screen).await, Err(Error::Declined)));
    assert!(review.text().contains("things still stand so"), "{}", review.text());
}
