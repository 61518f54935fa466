//! Commands that several people sign: at once, and one after the other over a file.

use std::path::Path;

use keylatch::command::principal::enroll;
use keylatch::command::sign::sign;
use keylatch::command::submit::submit;
use keylatch::command::{approve, policy};
use keylatch::error::Exit;
use keylatch::{Error, Outcome, Screen, Signing};
use model::people::PrincipalKind;
use model::{Principal, ProblemType, PublicKey};

use crate::memory::{Platform, key_of};
use crate::requests::yes;

/// Writes one of the people's keys as OpenSSH would, its owner's alone.
pub(crate) fn key_file(folder: &Path, who: &str) -> std::path::PathBuf {
    let pair = ssh_key::private::Ed25519Keypair::from_seed(key_of(who).as_bytes());
    let key = ssh_key::PrivateKey::new(pair.into(), who).unwrap();
    let path = folder.join(who);
    key.write_openssh_file(&path, ssh_key::LineEnding::LF).unwrap();
    path
}

fn newcomer(label: &str) -> Principal {
    let key = PublicKey::ed25519(key_of(label).verifying_key().as_bytes());
    let name: model::Name = label.parse().unwrap();
    Principal::new(key, name.clone(), PrincipalKind::Person, name, ["security".parse().unwrap()].into())
}

#[tokio::test]
async fn two_admins_sign_at_once() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let mut ann = platform.ready("ann").await;
    let signing = Signing { cosign: vec![key_file(folder.path(), "bob")], ..yes() };
    let outcome = enroll(&mut ann, &mut Screen::silent(), newcomer("zoe"), &signing).await.unwrap();
    assert!(matches!(outcome, Outcome::Recorded(_)));
    assert!(keylatch::lookup::principal(ann.state(), "zoe").is_ok());
}

#[tokio::test]
async fn one_admin_alone_sends_nothing() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let mut ann = platform.ready("ann").await;
    let before = platform.with(|inside| inside.asked);
    let error = enroll(&mut ann, &mut Screen::silent(), newcomer("zoe"), &yes()).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
    assert!(error.advice().contains("--cosign") && error.advice().contains("--out"));
    let twice = Signing { cosign: vec![key_file(folder.path(), "ann")], ..yes() };
    let error = enroll(&mut ann, &mut Screen::silent(), newcomer("zoe"), &twice).await.unwrap_err();
    assert!(error.to_string().contains("has signed it already"), "{error}");
    assert_eq!(platform.with(|inside| inside.asked), before);
}

#[tokio::test]
async fn admins_apart_sign_over_a_file() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("enroll.json");
    let mut ann = platform.ready("ann").await;
    let out = Signing { out: Some(path.clone()), ..yes() };
    let saved = enroll(&mut ann, &mut Screen::silent(), newcomer("zoe"), &out).await.unwrap();
    let Outcome::Saved(saved) = saved else { panic!("{saved:?}") };
    assert_eq!(saved.signatures, 1);
    // A week, for a quorum.
    assert_eq!((saved.expires_at - platform.clock.now()).to_string(), "7d");
    let again = enroll(&mut ann, &mut Screen::silent(), newcomer("zoe"), &out).await.unwrap_err();
    assert!(again.to_string().contains("there is such a file"), "{again}");

    platform.wait("20h");
    let bob = platform.ready("bob").await;
    let (mut screen, _, review) = Screen::captured(false, [true]);
    sign(&path, &*bob.hand().unwrap(), Some(bob.known()), false, &mut screen, bob.now()).unwrap();
    let review = review.text();
    for shown in
        ["principal.enroll", "signed by", "ann", "principal.label", "zoe", "governance", "things still stand so"]
    {
        assert!(review.contains(shown), "{shown} is not in\n{review}");
    }
    let mut app = platform.ready("app").await;
    let recorded = submit(&mut app, &mut Screen::silent(), &path).await.unwrap();
    let again = submit(&mut app, &mut Screen::silent(), &path).await.unwrap();
    assert_eq!(recorded, again, "the same bytes get the same answer");
}

#[tokio::test]
async fn a_command_bound_to_an_older_governance_is_shown_as_such_and_refused() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("enroll.json");
    let mut ann = platform.ready("ann").await;
    let out = Signing { out: Some(path.clone()), cosign: vec![key_file(folder.path(), "cid")], ..yes() };
    enroll(&mut ann, &mut Screen::silent(), newcomer("zoe"), &out).await.unwrap();
    platform.with(|inside| inside.scenario.perform("enroll mia privacy by ann,bob"));
    let mut bob = platform.ready("bob").await;
    let (mut screen, _, review) = Screen::captured(false, [true]);
    sign(&path, &*bob.hand().unwrap(), Some(bob.known()), false, &mut screen, bob.now()).unwrap();
    assert!(review.text().contains("things have changed since"), "{}", review.text());
    match submit(&mut bob, &mut Screen::silent(), &path).await {
        Err(Error::Refused(problem)) => assert_eq!(problem.kind(), Some(ProblemType::StateChanged)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_that_was_touched_is_not_signed() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("enroll.json");
    let mut ann = platform.ready("ann").await;
    let out = Signing { out: Some(path.clone()), ..yes() };
    enroll(&mut ann, &mut Screen::silent(), newcomer("zoe"), &out).await.unwrap();
    let envelope = keylatch::submit::read_envelope(&path).unwrap();
    let text = String::from_utf8(envelope.payload.0.clone()).unwrap().replace("zoe", "eve");
    let touched = model::Envelope { payload: model::text::Base64(text.into_bytes()), ..envelope };
    keylatch::submit::write_envelope(&path, &touched).unwrap();
    let bob = platform.ready("bob").await;
    let refused = sign(&path, &*bob.hand().unwrap(), None, true, &mut Screen::silent(), bob.now()).unwrap_err();
    assert_eq!(refused.exit(), Exit::Refused);
    assert!(refused.to_string().contains("does not verify"), "{refused}");
}

#[tokio::test]
async fn an_expired_command_is_not_signed() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("enroll.json");
    let mut ann = platform.ready("ann").await;
    let out = Signing { out: Some(path.clone()), good_for: Some("1h".parse().unwrap()), ..yes() };
    enroll(&mut ann, &mut Screen::silent(), newcomer("zoe"), &out).await.unwrap();
    platform.wait("1h");
    let bob = platform.ready("bob").await;
    let refused = sign(&path, &*bob.hand().unwrap(), None, true, &mut Screen::silent(), bob.now()).unwrap_err();
    assert!(refused.to_string().contains("expired at"), "{refused}");
}

#[tokio::test]
async fn a_policy_is_adopted_and_shown_as_it_can_be_adopted_again() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let mut ann = platform.ready("ann").await;
    let file = folder.path().join("policy.toml");
    let shown = policy::show(&ann).unwrap();
    std::fs::write(&file, anstream::adapter::strip_str(&shown.people).to_string()).unwrap();
    let mut next = policy::load(&file).unwrap();
    assert_eq!(next, lifecycle::scenario::policy());
    next.name = "second".parse().unwrap();
    let signing = Signing { cosign: vec![key_file(folder.path(), "bob")], ..Signing::default() };
    let (mut screen, _, review) = Screen::captured(false, [true]);
    policy::adopt(&mut ann, &mut screen, next, &signing).await.unwrap();
    assert!(review.text().contains("crypto_period = \"1d\""), "{}", review.text());
    assert_eq!(policy::show(&ann).unwrap().json["version"], 2);
}

/// The futures can go to other threads, for who wants to run several people at once.
#[test]
fn commands_can_be_spawned() {
    fn is_send<T: Send>(_: &T) {}
    let platform = Platform::new();
    let (mut session, mut screen) = (platform.session("sam"), Screen::silent());
    is_send(&approve::say(&mut session, &mut screen, "k", approve::Word::Approve(None), &yes()));
}
