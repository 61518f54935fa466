//! The log on the real server: the port's suite, reading on, following, and what survives a killed server.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use journal::port::News;
use journal::{Append, Head, Journal as _, Outgoing, Record};
use journal_nats::connect::{self, Connection};
use journal_nats::server::Server;
use journal_nats::{NatsJournal, PlatformUser};
use model::{EventType, Sequence, ServiceRole, TenantId, subject};

use crate::bus::Bus;
use crate::raw::Raw;

async fn connected(bus: &Bus) -> (Connection, NatsJournal) {
    let credentials: PathBuf = bus.operator.credentials_path(PlatformUser::AllInOne);
    let connection = connect::watched(&bus.server.url(), &credentials, "test").await.unwrap();
    let journal = NatsJournal::new(&connection);
    (connection, journal)
}

fn batch(from: u64, count: u64) -> Vec<Outgoing> {
    let record = |number| Record { signature: format!("s {number}"), payload: format!("{{\"n\":{number}}}").into() };
    (from..from + count).map(|n| Outgoing { event_type: EventType::KeyGenerated, record: record(n) }).collect()
}

fn behind(head: Head, batch: &[Outgoing]) -> Head {
    let hash = batch.last().unwrap().record.hash();
    Head { sequence: Sequence(head.sequence.0 + batch.len() as u64), hash }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_on_jetstream_keeps_the_contract() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("one").await;
    let (_connection, journal) = connected(&bus).await;
    journal::conformance::suite(&journal, tenant.id()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tails_and_long_reads_page_on() {
    let bus = Bus::start().await;
    let (one, two) = (bus.tenant("one").await, bus.tenant("two").await);
    let (_connection, journal) = connected(&bus).await;
    let mut head = Head::EMPTY;
    for _ in 0..9 {
        let batch = batch(head.sequence.0, 128);
        assert_eq!(journal.append(one.id(), head, &batch).await, Ok(Append::Recorded));
        head = behind(head, &batch);
    }
    let mut tails = journal.tails().await.unwrap();
    tails.sort_by_key(|(_, last)| *last);
    assert_eq!(tails, [(two.id(), Sequence(0)), (one.id(), Sequence(9 * 128))]);
    let mut read = Vec::new();
    loop {
        let page = journal.read(one.id(), Sequence(read.len() as u64 + 1), 500).await.unwrap();
        if page.is_empty() {
            break;
        }
        read.extend(page);
    }
    assert_eq!(read.len(), 9 * 128);
    assert!(read.iter().enumerate().all(|(n, record)| record.signature == format!("s {n}")));
    let nobody = TenantId::from_bytes([7; 32]);
    assert!(journal.last(nobody).await.is_err() && journal.read(nobody, Sequence(1), 1).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn following_brings_what_was_committed_and_nothing_else() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("one").await;
    let (_connection, journal) = connected(&bus).await;
    let mut news = Box::pin(journal.follow().await.unwrap());
    let first = batch(0, 3);
    assert_eq!(journal.append(tenant.id(), Head::EMPTY, &first).await, Ok(Append::Recorded));
    // Refused by the stream, so never republished.
    assert_eq!(journal.append(tenant.id(), Head::EMPTY, &batch(50, 3)).await, Ok(Append::HeadMoved { recorded: 0 }));
    let head = behind(Head::EMPTY, &first);
    assert_eq!(journal.append(tenant.id(), head, &batch(3, 2)).await, Ok(Append::Recorded));
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let next = tokio::time::timeout(Duration::from_secs(30), news.next()).await;
        if let Some(News::Event(arrived)) = next.expect("five events arrive") {
            assert_eq!(arrived.tenant, tenant.id());
            seen.push((arrived.sequence.0, arrived.record.signature));
        }
    }
    let wanted: Vec<(u64, String)> = (0..5).map(|n| (n + 1, format!("s {n}"))).collect();
    assert_eq!(seen, wanted);
}

/// A refusal is an error of its own: nobody else wrote, so deciding again would not help.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_refuses_is_no_moved_head() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("one").await.id();
    let (_connection, journal) = connected(&bus).await;
    let good = batch(0, 3);
    let mut large = good.clone();
    large[1].record.payload = vec![b' '; journal_nats::stream::MESSAGE_BYTES_MAX as usize].into();
    let refused = journal.append(tenant, Head::EMPTY, &large).await;
    assert!(matches!(refused, Err(journal::Error::Refused(_))), "{refused:?}");
    assert_eq!(journal.last(tenant).await, Ok(Sequence(1)), "the one before it stands, the one behind it does not");
    let head = behind(Head::EMPTY, &good[..1]);
    assert_eq!(journal.append(tenant, head, &good[1..]).await, Ok(Append::Recorded));
}

/// Who asks the server chooses where the answer goes. A stored message that is led to the subject of another tenant's
/// events is no event of theirs, whatever headers stand in it; and into a log, it is what it is there.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_led_to_a_subject_of_events_is_no_event() {
    let bus = Bus::start().await;
    let (one, two) = (bus.tenant("one").await.id(), bus.tenant("two").await.id());
    let (_connection, journal) = connected(&bus).await;
    let mut news = Box::pin(journal.follow().await.unwrap());
    let credentials = bus.operator.credentials(PlatformUser::Service(ServiceRole::Issuer)).unwrap();
    let mut raw = Raw::connect(&bus.server.url(), &credentials).await;
    let (from, to) = (subject::log(one, EventType::KeyGenerated), subject::log(two, EventType::KeyGenerated));
    let claims = format!("Nats-Stream: {two}\r\nNats-Subject: {to}\r\nNats-Sequence: 1\r\nKeylatch-Signature: x\r\n");
    // With the right end and without, so that what the server adds first is read as more of the last line; and none.
    let blocks =
        [format!("NATS/1.0\r\n{claims}\r\n"), format!("NATS/1.0\r\n{claims}A:\r\n"), "NATS/1.0\r\n\r\n".into()];
    for block in &blocks {
        raw.publish(from.as_bytes(), block.as_bytes(), "{}").await;
    }
    raw.flush().await;
    let service = bus.platform(PlatformUser::Service(ServiceRole::Issuer)).await;
    let mut seen = service.client.subscribe(subject::ALL_EVENTS).await.unwrap();
    connect::round_trip(&service.client).await.unwrap();
    let events = subject::log(two, EventType::KeyGenerated).replace(".log.", ".evt.");
    for sequence in 1..=blocks.len() {
        for reply in [&events, &to] {
            let request = format!("{{\"seq\":{sequence}}}");
            let call = format!("$JS.API.DIRECT.GET.{one}");
            service.client.publish_with_reply(call, reply.clone(), request.into()).await.unwrap();
        }
    }
    // Of each, what was led to the events, and what the log of the second made of what was led there.
    for _ in 0..2 * blocks.len() {
        tokio::time::timeout(Duration::from_secs(30), seen.next()).await.expect("it is delivered").unwrap();
    }
    let last = journal.last(two).await.unwrap();
    assert_eq!(last.0 as usize, blocks.len());
    let head = Head { sequence: last, ..Head::EMPTY };
    assert_eq!(journal.append(two, head, &batch(7, 1)).await, Ok(Append::Recorded));
    let mut next = last.0 - blocks.len() as u64 + 1;
    loop {
        let news = tokio::time::timeout(Duration::from_secs(30), news.next()).await.expect("the last arrives").unwrap();
        let News::Event(arrived) = news else { panic!("the connection was lost") };
        if arrived.tenant == one {
            continue;
        }
        assert!(arrived.sequence.0 >= next, "{arrived:?}");
        next = arrived.sequence.0 + 1;
        assert_eq!(Ok(vec![arrived.record.clone()]), journal.read(two, arrived.sequence, 1).await);
        if arrived.record.signature == "s 7" {
            assert_eq!(arrived.sequence, last.next());
            return;
        }
    }
}

/// A killed server loses nothing that was acknowledged, and an append whose outcome was not known is a prefix of the
/// batch or nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_acknowledged() {
    let mut bus = Bus::start().await;
    let tenant = bus.tenant("one").await.id();
    for round in 0..3 {
        let (_connection, journal) = connected(&bus).await;
        let mut head = head_of(&journal, tenant).await;
        let enough = Arc::new(AtomicBool::new(false));
        let until = enough.clone();
        let writing = tokio::spawn(async move {
            // What is under way at the kill may fail, or go through when the server is back.
            while !until.load(Ordering::SeqCst) {
                let batch = batch(head.sequence.0, 16);
                match journal.append(tenant, head, &batch).await {
                    Ok(Append::Recorded) => head = behind(head, &batch),
                    Ok(moved) => panic!("nobody else writes: {moved:?}"),
                    Err(_) => break,
                }
            }
            head
        });
        // Killed while it writes: as soon as it is seen to have written something.
        let (_watch, watching) = connected(&bus).await;
        let mut news = Box::pin(watching.follow().await.unwrap());
        for _ in 0..(20 * (round + 1)) {
            tokio::time::timeout(Duration::from_secs(30), news.next()).await.expect("it writes");
        }
        let settings = bus.server.settings();
        bus.server.kill().await;
        bus.server = Server::start(settings).await.unwrap();
        enough.store(true, Ordering::SeqCst);
        let acknowledged = tokio::time::timeout(Duration::from_secs(60), writing).await.expect("it gives up").unwrap();

        let (_connection, journal) = connected(&bus).await;
        let now = head_of(&journal, tenant).await;
        assert!(now.sequence >= acknowledged.sequence, "{now:?} is before {acknowledged:?}");
        assert!(now.sequence.0 <= acknowledged.sequence.0 + 16);
        let all = journal.read(tenant, Sequence(1), 5000).await.unwrap();
        assert!(all.iter().enumerate().all(|(n, record)| record.signature == format!("s {n}")));
    }
}

async fn head_of(journal: &NatsJournal, tenant: TenantId) -> Head {
    let last = journal.last(tenant).await.unwrap();
    match journal.read(tenant, last, 1).await.unwrap().first() {
        Some(record) if last > Sequence::NONE => Head { sequence: last, hash: record.hash() },
        _ => Head::EMPTY,
    }
}
