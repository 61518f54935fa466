//! How things stood: from a replay here, and from the service's.

use journal_nats::permission::TenantUser;
use keylatch::error::Exit;
use model::history::{AsOf, AsOfRequest};
use model::{Algorithm, KeyState};
use serde_json::{Value, json};

use crate::governing::{Came, run};
use crate::memory::Platform;
use crate::requests::{active, born};
use crate::world::World;

#[track_caller]
fn shows(came: Came, wanted: &[&str]) {
    let said = came.said();
    for text in wanted {
        assert!(said.contains(text), "{text} is not in\n{said}");
    }
}

#[tokio::test]
async fn history_says_how_things_stood_at_a_point() {
    let platform = Platform::new();
    born(&platform, "first", Algorithm::Aes256Gcm).await;
    let (then, at) = platform.with(|inside| (inside.scenario.records.len(), inside.scenario.now));
    platform.wait("1h");
    active(&platform, "second", Algorithm::Ed25519).await;
    shows(run(&platform, "sam", "history --max 1").await, &["custody.applied", "second"]);
    let whole = run(&platform, "sam", "history --seq 1").await;
    shows(whole, &["last event", "1 of", "keys           none", "none: nothing could be made or activated"]);
    for point in [format!("--seq {then}"), format!("--at {at}")] {
        let came = run(&platform, "sam", &format!("history {point}")).await;
        shows(
            came,
            &[
                &format!("{then} of {}", platform.with(|inside| inside.scenario.records.len())),
                "1 pre-active",
                "scenario, version 1",
                "1 × security: dee, rae, ray, sam, sue",
                "lou",
            ],
        );
        let of_key = run(&platform, "sam", &format!("history {point} --key first")).await;
        shows(of_key, &["first  pre-active", "who could have approved it", "1 × security: dee,"]);
        assert!(
            run(&platform, "sam", &format!("history {point} --key second")).await.done.is_err(),
            "it was not there"
        );
    }
    let json = run(&platform, "sam", &format!("--json history --seq {then}")).await.json();
    assert_eq!((&json["as_of"]["sequence"], &json["as_of"]["keys"]["pre-active"]), (&json!(then), &json!(1)));
}

#[tokio::test]
async fn a_point_that_is_not_there_is_refused() {
    let platform = Platform::new();
    for (line, wanted) in [
        ("history --at 2100-01-01", "still to come"),
        ("history --at 2001-01-01", "had not begun"),
        ("history --seq 100000", "there is no event 100000 yet"),
        ("history --seq 3 --key nothing", "there is no key `nothing`"),
    ] {
        let error = run(&platform, "sam", line).await.done.unwrap_err();
        assert!(error.to_string().contains(wanted), "{line}: {error}");
    }
}

#[tokio::test]
async fn a_key_is_shown_as_it_was() {
    let platform = Platform::new();
    active(&platform, "weights", Algorithm::Aes256Gcm).await;
    let before = run(&platform, "sam", "--json history --key weights --from 1 --max 3").await;
    assert!(matches!(before.done, Ok(Exit::Ok)));
    let last = platform.with(|inside| inside.scenario.records.len());
    let states: Vec<String> = {
        let mut states = Vec::new();
        for sequence in (1..=last).rev() {
            let came = run(&platform, "sam", &format!("--json key show weights --seq {sequence}")).await;
            if came.done.is_err() {
                break;
            }
            states.push(came.json()["key"]["state"].as_str().unwrap().to_owned());
        }
        states.dedup();
        states
    };
    assert_eq!(states, ["active", "pre-active"]);
    let request = run(&platform, "sam", &format!("key show weights --seq {}", last - 4)).await;
    shows(request, &["open request", "who could have approved it"]);
}

/// Whoever may read and nothing else asks the exporter, which replays.
#[tokio::test(flavor = "multi_thread")]
async fn the_service_replays_for_readers() {
    let world = World::start().await;
    let mut tenant = world.tenant("acme").await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    let then = tenant.state.chain.head().sequence.0;
    tenant.activate(key).await;
    let last = tenant.state.chain.head().sequence.0;
    let user = world.platform.deployment().operator.tenant(tenant.tenant).unwrap();
    let credentials = user.user(TenantUser::Reader, &"auditor".parse().unwrap()).unwrap();
    tenant.client = journal_nats::connect::connect_as(&world.platform.url(), &credentials, "auditor").await.unwrap();
    let ask = |asked: AsOfRequest| {
        let (tenant, payload) = (&tenant, serde_json::to_vec(&asked).unwrap());
        async move { tenant.ask("keylatch.hist.at", payload).await }
    };
    let stood = |answer: Value| serde_json::from_value::<AsOf>(answer).unwrap();
    let at = |sequence| AsOfRequest { sequence: Some(sequence), key_id: Some(key), ..AsOfRequest::default() };
    let (earlier, later) = (stood(ask(at(then)).await), stood(ask(at(last)).await));
    assert_eq!((earlier.sequence, later.sequence), (then, last));
    let state = |stood: &AsOf| stood.key.as_ref().unwrap().state;
    assert_eq!((state(&earlier), state(&later)), (KeyState::PreActive, KeyState::Active));
    assert_eq!(earlier.rules[0].stages[0].people[0].label.as_str(), "sam");
    // Back again, and by time.
    assert_eq!(stood(ask(at(then)).await), earlier);
    let by_time = AsOfRequest { time: Some(earlier.time), key_id: Some(key), ..AsOfRequest::default() };
    assert_eq!(state(&stood(ask(by_time).await)), KeyState::PreActive);
    assert_eq!(ask(at(0)).await["type"], "urn:keylatch:problem:malformed");
    assert_eq!(ask(at(last + 1000)).await["type"], "urn:keylatch:problem:malformed");
    let both = AsOfRequest { time: Some(earlier.time), ..at(then) };
    assert_eq!(ask(both).await["type"], "urn:keylatch:problem:malformed");
}
