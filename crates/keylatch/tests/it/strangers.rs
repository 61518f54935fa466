//! Somebody with credentials for the bus, and no signing key: of one tenant, or of one service. Whatever they put onto
//! the bus, the services go on, for every tenant.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Client, HeaderMap, HeaderName, Subscriber};
use futures_util::StreamExt as _;
use journal::Journal as _;
use journal_nats::connect;
use journal_nats::permission::{PlatformUser, TenantUser};
use model::command::{self, Action};
use model::{Algorithm, KeyId, ServiceRole, TenantId};
use serde_json::json;
use service::clock;

use crate::world::{Member, World, spec};

/// A header block that is none: a client that reads it takes it for the end of the connection.
fn unreadable() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("n\u{f6} header"), "x");
    headers
}

fn connects(world: &World) -> u64 {
    world.platform.ports().client.statistics().connects.load(Ordering::SeqCst)
}

/// The bus credentials of a service that signs little.
async fn expirer(world: &World) -> Client {
    let user = PlatformUser::Service(ServiceRole::Expirer);
    let credentials = world.platform.deployment().operator.credentials_path(user);
    connect::connect(&world.platform.url(), &credentials, "stranger").await.unwrap()
}

/// What arrives for a tenant, from now on.
async fn events(client: &Client, tenant: TenantId) -> Subscriber {
    let events = client.subscribe(format!("kl.{tenant}.evt.>")).await.unwrap();
    connect::round_trip(client).await.unwrap();
    events
}

/// Waits until something has arrived that holds these bytes.
async fn until(events: &mut Subscriber, payload: &[u8]) {
    let arrives = async { while events.next().await.expect("a subscription").payload != payload {} };
    tokio::time::timeout(Duration::from_secs(30), arrives).await.expect("what was sent arrives");
}

/// A tenant with a key, and everything that follows from it recorded.
async fn settled(world: &World, name: &str) -> (Member, KeyId) {
    let mut tenant = world.tenant(name).await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    (tenant, key)
}

/// The tenant is served, its log and the replica are the same, and nobody raises an alarm.
async fn goes_on(world: &World, tenant: &Member) {
    let action = Action::KeyGenerate(command::KeyGenerate { spec: spec(Algorithm::Aes256Gcm) });
    let answer = tenant.command(action, Some(clock::key_id()), "rae").await;
    assert_eq!(answer["ok"], true, "{answer:#}");
    let node = &world.platform.ports().node;
    node.synchronise().await.unwrap();
    assert_eq!(node.replica().alarm(tenant.tenant), None);
    let head = node.replica().head(tenant.tenant).unwrap();
    assert!(head.sequence.0 >= answer["sequence"].as_u64().unwrap());
    let record = node.journal().read(tenant.tenant, head.sequence, 1).await.unwrap().remove(0);
    assert_eq!(record.hash(), head.hash);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_messages_do_not_cut_the_services_off() {
    let world = World::start().await;
    let (mut good, key) = settled(&world, "good").await;
    good.activate(key).await;
    let bad = world.tenant("bad").await;
    let user = world.platform.deployment().operator.tenant(bad.tenant).unwrap();
    let credentials = user.user(TenantUser::Member, &"stranger".parse().unwrap()).unwrap();
    let stranger = connect::connect_as(&world.platform.url(), &credentials, "stranger").await.unwrap();
    for _ in 0..50 {
        for subject in ["keylatch.cmd.key.prove", "keylatch.cmd.use.wrap", "keylatch.hist.get"] {
            stranger.publish_with_headers(subject, unreadable(), "".into()).await.unwrap();
        }
        stranger.flush().await.unwrap();
        assert!(good.wrap(key).await.is_ok());
    }
    assert_eq!(connects(&world), 1);
    goes_on(&world, &bad).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_one_log_does_not_cut_the_services_off() {
    let world = World::start().await;
    let (mut good, key) = settled(&world, "good").await;
    good.activate(key).await;
    let (bad, _) = settled(&world, "bad").await;
    let stranger = expirer(&world).await;
    let subject = format!("kl.{}.log.key.expired", bad.tenant);
    stranger.publish_with_headers(subject, unreadable(), "what stays".into()).await.unwrap();
    connect::round_trip(&stranger).await.unwrap();
    goes_on(&world, &bad).await;
    assert!(good.wrap(key).await.is_ok());
    assert_eq!(connects(&world), 1);
    // Nor for who reads the log anew.
    let world = world.restart().await;
    let deployment = world.platform.deployment();
    let bad = Member::connect(deployment, bad.tenant, &world.platform.url()).await;
    goes_on(&world, &bad).await;
    let records = world.platform.ports().node.journal().read(bad.tenant, model::Sequence(1), 1000).await.unwrap();
    assert!(records.iter().any(|record| record.signature.is_empty() && record.payload == "what stays"));
    assert!(Member::connect(deployment, good.tenant, &world.platform.url()).await.wrap(key).await.is_ok());
    assert_eq!(connects(&world), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_tenant_that_is_delivered_as_ones_own_is_none() {
    let world = World::start().await;
    let (tenant, _) = settled(&world, "one").await;
    let (mut other, _) = settled(&world, "two").await;
    let node = &world.platform.ports().node;
    let next = node.replica().head(tenant.tenant).unwrap().sequence.0 + 1;
    while other.history(1, 1).await.last < next + 3 {
        other.generate(Algorithm::Aes256Gcm).await;
    }
    let stranger = expirer(&world).await;
    let mut arrived = events(&stranger, tenant.tenant).await;
    for sequence in next..next + 3 {
        let call = format!("$JS.API.DIRECT.GET.{}", other.tenant);
        let reply = format!("kl.{}.evt.key.generated", tenant.tenant);
        stranger.publish_with_reply(call, reply, json!({ "seq": sequence }).to_string().into()).await.unwrap();
        let event = other.history(sequence, 1).await.events.remove(0);
        until(&mut arrived, &event.payload.0).await;
    }
    goes_on(&world, &tenant).await;
}

/// By an answer of the server, or as whoever may publish an event of some type: nobody has forked the history.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_event_in_the_log_again_stops_nobody() {
    let world = World::start().await;
    let (tenant, _) = settled(&world, "one").await;
    let id = tenant.tenant;
    let stranger = expirer(&world).await;
    let mut arrived = events(&stranger, id).await;
    let old = tenant.history(3, 1).await.events.remove(0);
    let (call, reply) = (format!("$JS.API.DIRECT.GET.{id}"), format!("kl.{id}.log.key.generated"));
    let third = json!({ "seq": 3 }).to_string();
    stranger.publish_with_reply(call.clone(), reply, third.clone().into()).await.unwrap();
    // The answer brings the event's own headers along, by which the log refuses it as out of place. Answers come in turn.
    assert_eq!(stranger.request(call, third.into()).await.unwrap().payload, old.payload.0);
    goes_on(&world, &tenant).await;

    let mut headers = HeaderMap::new();
    headers.insert(journal_nats::log::SIGNATURE, old.signature.as_str());
    let subject = format!("kl.{id}.log.key.expired");
    stranger.publish_with_headers(subject, headers, old.payload.0.clone().into()).await.unwrap();
    until(&mut arrived, &old.payload.0).await;
    goes_on(&world, &tenant).await;
}
