//! Sending: the same bytes again, the same answer, and no answer believed.

use keylatch::command::key::generate::generate;
use keylatch::command::submit::submit;
use keylatch::error::Exit;
use keylatch::{Error, Screen};
use model::{Algorithm, ProblemType};

use crate::memory::{Faults, Platform};
use crate::requests::{active, spec};

fn label(text: &str) -> model::KeySpec {
    spec(text, Algorithm::Aes256Gcm)
}

fn keys(platform: &Platform) -> usize {
    platform.with(|inside| inside.scenario.tenant.keys.len())
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_with_the_same_bytes() {
    let platform = Platform::new();
    let mut kim = platform.ready("kim").await;
    for faults in [
        Faults { lost_answers: 1, ..Faults::default() },
        Faults { lost_answers: 3, ..Faults::default() },
        Faults { nobody: 2, ..Faults::default() },
        Faults { refusals: vec![ProblemType::Contended, ProblemType::Unavailable], ..Faults::default() },
    ] {
        let before = keys(&platform);
        platform.with(|inside| inside.faults = faults);
        generate(&mut kim, &mut Screen::silent(), label("k")).await.unwrap();
        assert_eq!(keys(&platform), before + 1, "one command, one event");
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_the_command_is_kept_and_can_be_sent_again() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let mut kim = platform.ready("kim").await.keeping_unanswered_in(folder.path().join("unanswered"));
    platform.with(|inside| inside.faults.lost_answers = 4);
    let error = generate(&mut kim, &mut Screen::silent(), label("k")).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    assert!(error.to_string().contains("may have been recorded"), "{error}");
    assert!(error.advice().contains("keylatch submit"), "{}", error.advice());
    let Error::Unanswered { command, saved: Some(path), attempts: 4, .. } = error else { panic!("{error:?}") };
    let recorded = submit(&mut kim, &mut Screen::silent(), &path).await.unwrap();
    assert_eq!(recorded.command, command);
    assert_eq!(keys(&platform), 1);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_listens_nothing_was_recorded_and_that_is_said() {
    let platform = Platform::new();
    let mut kim = platform.ready("kim").await;
    platform.with(|inside| inside.faults.nobody = 99);
    let error = generate(&mut kim, &mut Screen::silent(), label("k")).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    assert!(error.to_string().contains("nothing was recorded"), "{error}");
}

#[tokio::test]
async fn an_answer_that_the_history_does_not_bear_out_is_not_believed() {
    let platform = Platform::new();
    let mut kim = platform.ready("kim").await;
    platform.with(|inside| inside.faults.lies = true);
    let error = generate(&mut kim, &mut Screen::silent(), label("k")).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Refused);
    assert!(error.advice().contains("take the answer for false"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_use_is_not_sent_twice_where_it_may_have_been_carried_out() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    active(&platform, "weights", Algorithm::Aes256Gcm).await;
    let (file, output) = (folder.path().join("in"), folder.path().join("out"));
    std::fs::write(&file, "x").unwrap();
    let app = platform.ready("app").await;
    let args = keylatch::command::usage::EncryptArgs { file, output, key: "weights".into(), force: false };
    platform.with(|inside| {
        inside.asked = 0;
        inside.faults.lost_answers = 1;
    });
    let error = keylatch::command::usage::encrypt(&app, &mut Screen::silent(), &args).await.unwrap_err();
    assert_eq!((error.exit(), platform.with(|inside| inside.asked)), (Exit::Unreachable, 1));
    assert!(!args.output.exists());
    platform.with(|inside| inside.faults.nobody = 2);
    keylatch::command::usage::encrypt(&app, &mut Screen::silent(), &args).await.unwrap();
}
