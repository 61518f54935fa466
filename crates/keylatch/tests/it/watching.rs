//! Reading: live, from history, past void events, past lies.

use journal::port::{Arrived, News};
use keylatch::command::doctor::{self, Diagnosis, Verdict};
use keylatch::command::history::{self, HistoryArgs};
use keylatch::command::watch::{WatchArgs, watch};
use keylatch::error::Exit;
use keylatch::{Error, Screen};
use lifecycle::Judgement;
use model::{Algorithm, Event, Sequence, ServiceRole};

use crate::memory::Platform;
use crate::requests::born;

/// Puts an event into the log that breaks the rules.
fn forge(platform: &Platform) {
    platform.with(|inside| {
        let scenario = &mut inside.scenario;
        let key = scenario.tenant.keys.values().next().unwrap();
        let event = Event::KeyExpired(model::event::KeyExpired {
            key_id: key.id,
            pre_active_until: key.pre_active_until,
            revalidate_by: None,
            cause: key.generated,
        });
        assert!(matches!(scenario.forge(ServiceRole::Expirer, &event), Judgement::Void(_)));
        inside.settle();
    });
}

#[tokio::test(start_paused = true)]
async fn events_are_shown_as_they_come_and_void_ones_with_the_reason() {
    let platform = Platform::new();
    born(&platform, "weights", Algorithm::Aes256Gcm).await;
    for (newcomer, deaf, json) in [("one", false, false), ("two", false, true), ("three", true, false)] {
        platform.with(|inside| inside.faults.deaf = deaf);
        let mut session = platform.reader();
        let happens = async {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            forge(&platform);
            platform.with(|inside| {
                inside.scenario.perform(&format!("enroll {newcomer} security by ann,bob"));
                inside.settle();
            });
        };
        let (mut screen, out, _) = Screen::captured(json, []);
        let args = WatchArgs { count: Some(2), ..WatchArgs::default() };
        let (watched, ()) = tokio::join!(watch(&mut session, &mut screen, &args), happens);
        watched.unwrap();
        let out = out.text();
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 2, "{out}");
        if json {
            let void: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
            assert_eq!((&void["type"], &void["key"]), (&"key.expired".into(), &"weights".into()));
            assert!(void["void"].as_str().unwrap().starts_with("refused: not-yet-due"), "{void}");
        } else {
            assert!(lines[0].contains("VOID key.expired  weights  by the expirer  refused: not-yet-due"), "{out}");
        }
        assert!(lines[1].contains("principal.enrolled") && lines[1].contains(newcomer), "{out}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_did_not_come_live_is_read_from_the_history() {
    let platform = Platform::new();
    let mut session = platform.reader();
    let (mut screen, out, _) = Screen::captured(false, []);
    let happens = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        platform.with(|inside| {
            inside.faults.deaf = true;
            inside.scenario.perform("enroll one security by ann,bob");
            inside.settle();
            // One event is lost; junk comes in its place; then the next one comes.
            let tenant = inside.scenario.tenant.chain.tenant();
            let junk = journal::Record { signature: "junk".into(), payload: "{}".into() };
            let sequence = Sequence(inside.scenario.records.len() as u64);
            inside.tell(&News::Event(Arrived { tenant, sequence, record: junk }));
            inside.faults.deaf = false;
            inside.scenario.perform("enroll two security by ann,bob");
            inside.settle();
        });
    };
    let args = WatchArgs { count: Some(2), ..WatchArgs::default() };
    let (watched, ()) = tokio::join!(watch(&mut session, &mut screen, &args), happens);
    watched.unwrap();
    let out = out.text();
    assert!(out.contains("one: security") && out.contains("two: security") && !out.contains("VOID"), "{out}");
}

#[tokio::test]
async fn history_is_shown_from_a_place_on_or_the_newest_or_of_one_key() {
    let platform = Platform::new();
    born(&platform, "weights", Algorithm::Aes256Gcm).await;
    let shown = async |args: HistoryArgs| {
        let (mut screen, out, _) = Screen::captured(false, []);
        history::run(args, &mut platform.reader(), &mut screen).await.unwrap();
        out.text().lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let none = HistoryArgs::default;
    assert_eq!(shown(HistoryArgs { max: Some(3), ..none() }).await, "13 14 15");
    assert_eq!(shown(HistoryArgs { from: Some(2), max: Some(3), ..none() }).await, "2 3 4");
    assert_eq!(shown(HistoryArgs { key: Some("weights".into()), ..none() }).await, "14 15");
    assert_eq!(shown(HistoryArgs { from: Some(99), ..none() }).await, "");
}

#[tokio::test]
async fn a_history_that_contradicts_itself_is_not_taken() {
    let platform = Platform::new();
    platform.with(|inside| inside.faults.history_lies = true);
    let mut session = platform.reader();
    let error = session.refresh(&mut Screen::silent()).await.unwrap_err();
    assert!(matches!(error, Error::Failed { .. }));
    assert_eq!(session.reader().head(), Sequence::NONE);
}

#[tokio::test(start_paused = true)]
async fn a_history_under_another_root_is_nothing() {
    let platform = Platform::new();
    let root = "SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w".parse().unwrap();
    let tenant = platform.reader().tenant();
    let mut session = keylatch::Session::new(platform.clone(), tenant, root);
    session.refresh(&mut Screen::silent()).await.unwrap();
    assert!(session.governance().unwrap_err().to_string().contains("no history that stands under root"));
    platform.with(|inside| inside.faults.history_gone = true);
    assert_eq!(session.refresh(&mut Screen::silent()).await.unwrap_err().exit(), Exit::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn the_doctor_says_what_is_well_and_what_is_not() {
    let platform = Platform::new();
    let examined = async |mut session: keylatch::Session| {
        let mut diagnosis = Diagnosis::default();
        doctor::examine(&mut session, &mut Screen::silent(), &mut diagnosis).await;
        diagnosis
    };
    let well = examined(platform.session("sam")).await;
    let connection = ["history", "head", "clock", "policy", "identity"];
    let of_connection = well.checks.iter().filter(|check| connection.contains(&check.name));
    assert!(of_connection.clone().all(|check| check.verdict == Verdict::Good), "{well:#?}");
    assert_eq!((of_connection.count(), well.exit()), (5, Exit::Ok));

    let stranger = examined(platform.session("stranger")).await;
    let identity = stranger.checks.iter().find(|check| check.name == "identity").unwrap();
    assert_eq!(identity.verdict, Verdict::Doubtful);
    born(&platform, "weights", Algorithm::Aes256Gcm).await;
    forge(&platform);
    let voids = examined(platform.session("sam")).await;
    assert!(voids.checks.iter().any(|check| check.name == "history" && check.verdict == Verdict::Doubtful));

    platform.with(|inside| inside.faults.history_gone = true);
    assert_eq!(examined(platform.session("sam")).await.exit(), Exit::Unreachable);
}
