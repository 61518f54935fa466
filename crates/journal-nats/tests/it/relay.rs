//! Messages whose headers do not read: they end no connection, and in a log they have one meaning whichever way they come.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::{Message, ServerAddr, Subscriber};
use futures_util::StreamExt as _;
use journal::port::News;
use journal::{Journal as _, Record};
use journal_nats::connect::{self, Connection};
use journal_nats::header::Plain;
use journal_nats::relay::{self, Relay};
use journal_nats::server::{Server, Settings, SyncInterval};
use journal_nats::{Credentials, NatsJournal, Operator, PlatformUser, Provisioner, TenantUser};
use model::{EventType, Sequence, ServiceRole, TenantId, subject};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::bus::{Bus, settings};
use crate::raw::{self, Fake, Raw};

/// How long anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Header blocks that are not plain, of every kind.
const NOT_PLAIN: [&[u8]; 26] = [
    b"x",
    b"xx",
    b"xxx",
    b"\r\n",
    b"\r\n\r\n",
    b"no header\r\n\r\n",
    b"NATS/1.1\r\nA: b\r\n\r\n",
    b"NATS/1.0",
    b"NATS/1.0\r\n",
    b"NATS/1.0\r\nA: b",
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\nA: b\r\nno colon\r\nC: d\r\n\r\n",
    b"NATS/1.0\r\n: no name\r\n\r\n",
    b"NATS/1.0\r\nA name: b\r\n\r\n",
    b"NATS/1.0\r\nA : b\r\n\r\n",
    b"NATS/1.0\r\n\xc3\xa4: b\r\n\r\n",
    b"NATS/1.0\r\n\xff: b\r\n\r\n",
    b"NATS/1.0\r\nA: \xff\r\n\r\n",
    b"NATS/1.0\r\nA: \xc3\xa4\r\n\r\n",
    b"NATS/1.0\r\nA: b\0\r\n\r\n",
    b"NATS/1.0\r\nA: b\r\n folded\r\n\r\n",
    b"NATS/1.0\r\nA: b\r\n\r\nC: d\r\n\r\n",
    b"NATS/1.0\nA: b\n\n",
    b"NATS/1.0 x\r\n\r\n",
    b"NATS/1.0 1000\r\n\r\n",
    b"\xffNATS/1.0\r\nA: b\r\n\r\n",
];

async fn through_the_relay(bus: &Bus) -> Connection {
    let credentials: PathBuf = bus.operator.credentials_path(PlatformUser::AllInOne);
    connect::watched(&bus.server.url(), &credentials, "test").await.unwrap()
}

fn connects(connection: &Connection) -> u64 {
    connection.client.statistics().connects.load(Ordering::SeqCst)
}

async fn next(messages: &mut Subscriber) -> Message {
    tokio::time::timeout(PATIENCE, messages.next()).await.expect("a message comes").expect("the client is there")
}

#[test]
fn the_blocks_are_not_plain() {
    assert!(NOT_PLAIN.iter().all(|block| Plain::parse(block).is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_headers_end_no_connection() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("one").await;
    let service = through_the_relay(&bus).await;
    let mut commands = service.client.subscribe("kl.*.cmd.key.generate").await.unwrap();
    connect::round_trip(&service.client).await.unwrap();
    let member = tenant.user(TenantUser::Member, &"someone".parse().unwrap()).unwrap();
    let mut raw = Raw::connect(&bus.server.url(), &member).await;
    for (number, block) in NOT_PLAIN.iter().enumerate() {
        raw.publish(b"keylatch.cmd.key.generate", block, &number.to_string()).await;
        raw.publish(b"keylatch.cmd.key.generate", b"NATS/1.0\r\nA: b\r\n\r\n", "plain").await;
    }
    raw.flush().await;
    for (number, block) in NOT_PLAIN.iter().enumerate() {
        // What the server makes of it, which may put a header of its own before it, is its own affair.
        assert!(next(&mut commands).await.payload.ends_with(number.to_string().as_bytes()), "{block:?}");
        let plain = next(&mut commands).await;
        assert_eq!(plain.headers.unwrap().get("A").unwrap().as_str(), "b");
    }
    assert_eq!(connects(&service), 1);
}

/// The server lets other bytes stand in subjects than the client reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_does_not_read_ends_no_connection() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("one").await;
    let service = through_the_relay(&bus).await;
    let mut questions = service.client.subscribe("kl.*.hist.>").await.unwrap();
    connect::round_trip(&service.client).await.unwrap();
    let member = tenant.user(TenantUser::Member, &"someone".parse().unwrap()).unwrap();
    let mut raw = Raw::connect(&bus.server.url(), &member).await;
    for odd in [b"\xff".as_slice(), b"\xc3\xa4", b"\xe2\x80\xa8", b"\x0b", b"\x1c", b"\0", b"\x7f", b"a\rb"] {
        raw.publish(&[b"keylatch.hist.", odd].concat(), b"NATS/1.0\r\n\r\n", "odd").await;
    }
    raw.publish(b"keylatch.hist.get", b"NATS/1.0\r\n\r\n", "the last").await;
    raw.flush().await;
    let mut seen = Vec::new();
    while seen.last() != Some(&bytes::Bytes::from("the last")) {
        seen.push(next(&mut questions).await.payload);
    }
    assert_eq!(connects(&service), 1);
}

/// What the relay is for. Where this fails, the client has learned to live with it, and the relay may go.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_alone_does_not_survive_such_headers() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("one").await;
    let mut service = bus.platform(PlatformUser::AllInOne).await;
    let _commands = service.client.subscribe("kl.*.cmd.key.generate").await.unwrap();
    assert!(service.refused().await.is_empty(), "it is subscribed by now");
    let member = tenant.user(TenantUser::Member, &"someone".parse().unwrap()).unwrap();
    let mut raw = Raw::connect(&bus.server.url(), &member).await;
    raw.publish(b"keylatch.cmd.key.generate", b"NATS/1.0\r\nno colon\r\n\r\n", "").await;
    raw.flush().await;
    let connects = || service.client.statistics().connects.load(Ordering::SeqCst);
    let began = Instant::now();
    while connects() == 1 && began.elapsed() < PATIENCE {
        tokio::task::yield_now().await;
    }
    assert!(connects() > 1);
}

/// Blocks, each with the signature that it says, or nothing where it only must be the same everywhere: what becomes of
/// a block whose end is missing is up to the server, which puts headers of its own before its last two bytes.
fn signature_blocks(tenant: TenantId, other: TenantId) -> Vec<(Vec<u8>, Option<String>)> {
    let others = format!(
        "Nats-Stream: {other}\r\nNats-Subject: kl.{other}.log.key.generated\r\nNats-Sequence: 1\r\n\
         Nats-Last-Sequence: 0\r\nKeylatch-Signature: s\r\n"
    );
    let absorbed = format!("sNats-Stream: {tenant}");
    let said = [
        ("NATS/1.0\r\n\r\n", ""),
        ("NATS/1.0\r\nKeylatch-Signature: s\r\n\r\n", "s"),
        ("NATS/1.0\r\nKeylatch-Signature:\t s s\t \r\n\r\n", "s s"),
        ("NATS/1.0\r\nKeylatch-Signature: s\r\nKeylatch-Signature: s\r\n\r\n", ""),
        ("NATS/1.0\r\nkeylatch-signature: s\r\n\r\n", ""),
        ("NATS/1.0\r\nKeylatch-Signature: s\r\nkeylatch-signature: t\r\n\r\n", "s"),
        ("NATS/1.0\r\nKeylatch-Signature: s\r\nA: \u{e4}\r\n\r\n", ""),
        ("NATS/1.0\r\nKeylatch-Signature: s\u{b}\r\n\r\n", ""),
        ("NATS/1.0 404 Not Found\r\nKeylatch-Signature: s\r\n\r\n", "s"),
        ("NATS/1.0 204\r\n\r\n", ""),
        ("NATS/1.0 503\r\nA: b\r\n\r\n", ""),
        (&format!("NATS/1.0\r\n{others}\r\n"), "s"),
        // Ends that are missing.
        (&format!("NATS/1.0\r\n{others}"), &absorbed),
        ("NATS/1.0\r\nKeylatch-Signature: s\r\nA:\r\n", "s"),
        ("NATS/1.0\r\nKeylatch-Signature: s\r\nNats-Sequence: 1\r\n", "s"),
        ("NATS/1.0\r\nKeylatch-Signature: s\r\nxx", "s"),
    ];
    let said = said.map(|(block, signature)| (block.as_bytes().to_vec(), Some(signature.to_owned())));
    // A block of one byte ends nats-server 2.15.1 where it republishes it.
    let not_plain = NOT_PLAIN.iter().filter(|block| block.len() > 1);
    let behind = |start: &'static [u8]| not_plain.clone().map(move |block| ([start, *block].concat(), None));
    said.into_iter().chain(behind(b"")).chain(behind(b"NATS/1.0\r\nKeylatch-Signature: s\r\n")).collect()
}

/// The batch read, the single stored record, and where it is taken for an event the live message agree. And it is no
/// event of another tenant's, nor at another place, whatever headers of the server's its sender wrote.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_has_one_signature_whichever_way_it_is_read() {
    let bus = Bus::start().await;
    let (tenant, other) = (bus.tenant("one").await.id(), bus.tenant("two").await.id());
    let service = through_the_relay(&bus).await;
    let journal = NatsJournal::new(&service);
    let mut news = Box::pin(journal.follow().await.unwrap());
    let issuer = bus.operator.credentials(PlatformUser::Service(ServiceRole::Issuer)).unwrap();
    let mut raw = Raw::connect(&bus.server.url(), &issuer).await;
    let log = subject::log(tenant, EventType::KeyGenerated);

    let blocks = signature_blocks(tenant, other);
    for (number, (block, _)) in blocks.iter().enumerate() {
        raw.publish(log.as_bytes(), block, &number.to_string()).await;
    }
    raw.publish(log.as_bytes(), b"NATS/1.0\r\nKeylatch-Signature: the last\r\n\r\n", "").await;
    raw.flush().await;

    let mut live = HashMap::new();
    while !live.contains_key(&(blocks.len() as u64 + 1)) {
        let news = tokio::time::timeout(PATIENCE, news.next()).await.expect("the last arrives").unwrap();
        let News::Event(arrived) = news else { panic!("the connection was lost") };
        assert_eq!(arrived.tenant, tenant);
        live.insert(arrived.sequence.0, arrived.record);
    }
    let all = journal.read(tenant, Sequence(1), 1000).await.unwrap();
    assert_eq!(all.len(), blocks.len() + 1);
    for (number, (block, signature)) in blocks.iter().enumerate() {
        let sequence = Sequence(number as u64 + 1);
        let shown = String::from_utf8_lossy(block);
        let record = Record { signature: all[number].signature.clone(), payload: number.to_string().into() };
        assert_eq!(all[number], record, "{shown:?}");
        if let Some(signature) = signature {
            assert_eq!(record.signature, *signature, "{shown:?}");
        }
        assert_eq!(journal.stored(tenant, sequence).await.unwrap().as_ref(), Some(&record), "stored: {shown:?}");
        assert_eq!(journal.read(tenant, sequence, 1).await.unwrap(), std::slice::from_ref(&record), "alone: {shown:?}");
        if let Some(live) = live.get(&sequence.0) {
            assert_eq!(*live, record, "live: {shown:?}");
        }
        assert!(live.contains_key(&sequence.0) || Plain::parse(block).is_none(), "{shown:?}");
    }
    assert_eq!(journal.last(other).await.unwrap(), Sequence(0));
    assert_eq!(connects(&service), 1);
}

/// Blocks that are plain, and as odd as that allows.
fn plain_block() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        3 => Just(String::new()),
        1 => "[ ][1-9][0-9]{2}",
        1 => "[ ][1-9][0-9]{2}[ ][ -~\t]{0,12}",
    ];
    let name = prop_oneof![
        Just("Keylatch-Signature".to_owned()),
        Just("Nats-Sequence".to_owned()),
        Just("nats-Sequence".to_owned()),
        Just("status".to_owned()),
        "[!-9;-~]{1,6}",
    ];
    (first, vec((name, "[ -~\t]{0,12}"), 0..6)).prop_map(|(first, headers)| {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
        format!("NATS/1.0{first}\r\n{lines}\r\n").into_bytes()
    })
}

/// Everything that is plain is read by the client, with the values that we read, and so is everything in a subject that
/// the relay lets through. A real client, and a server that says these things to it.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_reads_what_is_plain_as_we_do() {
    let mut runner = TestRunner::deterministic();
    let message = ("[!-~]{1,8}", prop_oneof![Just(String::new()), "[!-~]{1,8}"], plain_block());
    let messages: Vec<_> = (0..3000).map(|_| message.new_tree(&mut runner).unwrap().current()).collect();

    let server = Fake::start(json!({ "headers": true, "max_payload": 1_000_000, "proto": 1 })).await;
    let (connected, accepted) = tokio::join!(async_nats::connect(server.url()), async {
        let mut client = server.accept().await;
        raw::heard(&mut client, "PING").await.unwrap();
        client
    });
    let (client, mut wire) = (connected.unwrap(), accepted);
    let mut heard = client.subscribe("a").await.unwrap();
    assert_eq!(raw::heard(&mut wire, "SUB").await.unwrap(), "SUB a 1\r\n");
    for (subject, reply, block) in &messages {
        let separator = if reply.is_empty() { "" } else { " " };
        let line = format!("HMSG {subject} 1 {reply}{separator}{0} {0}\r\n", block.len());
        wire.write_all(&[line.as_bytes(), block, b"\r\n"].concat()).await.unwrap();
        wire.flush().await.unwrap();
        let read = next(&mut heard).await;
        let shown = String::from_utf8_lossy(block);
        let plain = Plain::parse(block).unwrap_or_else(|| panic!("{shown:?}"));
        assert_eq!(read.subject.as_str(), subject);
        assert_eq!(read.reply.as_ref().map_or("", |reply| reply.as_str()), reply);
        let headers = read.headers.unwrap();
        for (name, values) in headers.iter() {
            let name: &str = name.as_ref();
            let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
            assert_eq!(plain.values(name).collect::<Vec<_>>(), values, "{name} of {shown:?}");
        }
        for name in ["Keylatch-Signature", "Nats-Sequence", "nats-Sequence"] {
            assert_eq!(headers.get_all(name).count(), plain.values(name).count(), "{name} of {shown:?}");
        }
    }
    assert_eq!(client.statistics().connects.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_is_found_again() {
    let mut bus = Bus::start().await;
    let tenant = bus.tenant("one").await.id();
    let mut connection = through_the_relay(&bus).await;
    let journal = NatsJournal::new(&connection);
    assert_eq!(journal.last(tenant).await, Ok(Sequence(0)));
    for times in 2..5 {
        let settings = bus.server.settings();
        bus.server.kill().await;
        bus.server = Server::start(settings).await.unwrap();
        let back = connection.reconnects.wait_for(|count| *count == times);
        tokio::time::timeout(PATIENCE, back).await.expect("it comes back").unwrap();
        assert_eq!(journal.last(tenant).await, Ok(Sequence(0)));
    }
}

fn credentials() -> Credentials {
    let dir = tempfile::tempdir().unwrap();
    Operator::open(&dir.path().join("operator")).unwrap().credentials(PlatformUser::AllInOne).unwrap()
}

/// An address where nobody listens.
async fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn tells_at_once_that_there_is_no_server() {
    let credentials = credentials();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rude = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rude_address = rude.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut client, _) = rude.accept().await.unwrap();
        client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    for address in [nobody().await, silent.local_addr().unwrap().to_string(), rude_address.to_string()] {
        let began = Instant::now();
        let error = connect::watched_as(&format!("nats://{address}"), &credentials, "test").await.unwrap_err();
        assert!(matches!(error, connect::Error::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains(&address), "{error}");
        assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
    }
    let error = connect::watched_as("no address", &credentials, "test").await.unwrap_err();
    assert!(matches!(error, connect::Error::Other { .. }), "{error}");
}

#[tokio::test]
async fn there_is_no_relay_where_the_connection_is_encrypted() {
    let server = Fake::start(json!({ "tls_required": true })).await;
    let address: ServerAddr = server.url().parse().unwrap();
    let (opened, _) = tokio::join!(Relay::open(&address), server.accept());
    assert!(matches!(opened, Err(relay::Error::Encrypted)));
    let address: ServerAddr = format!("tls://{}", nobody().await).parse().unwrap();
    assert!(matches!(Relay::open(&address).await, Err(relay::Error::Encrypted)));
}

/// With the client goes its connection to the server, and nobody tries again.
#[tokio::test(flavor = "multi_thread")]
async fn the_connection_ends_with_the_client() {
    let server = Fake::start(json!({ "headers": true, "max_payload": 1000, "nonce": "a nonce" })).await;
    let (url, credentials) = (server.url(), credentials());
    let (connected, mut wire) = tokio::join!(connect::watched_as(&url, &credentials, "test"), async {
        drop(server.accept().await);
        let mut client = server.accept().await;
        raw::heard(&mut client, "PING").await.unwrap();
        client
    });
    let connection = connected.unwrap();
    let subscription = connection.client.subscribe("a").await.unwrap();
    raw::heard(&mut wire, "SUB").await.unwrap();
    let mut reconnects = connection.reconnects.clone();
    drop((connection, subscription));
    tokio::time::timeout(PATIENCE, raw::to_the_end(&mut wire)).await.expect("the client's end is the connection's");
    tokio::time::timeout(PATIENCE, reconnects.changed()).await.expect("nobody is left to reconnect").unwrap_err();
}

#[tokio::test]
async fn a_relay_that_is_dropped_takes_no_more_connections() {
    let server = Fake::start(json!({})).await;
    let address: ServerAddr = server.url().parse().unwrap();
    let (relay, _) = tokio::join!(Relay::open(&address), server.accept());
    let url = relay.as_ref().unwrap().url();
    let address = url.strip_prefix("nats://").unwrap();
    let (client, mut wire) = tokio::join!(TcpStream::connect(address), server.accept());
    let mut client = client.unwrap();
    drop(relay);
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("the port is closed");
    // What was there goes on, until one side ends it.
    wire.write_all(b"PING\r\n").await.unwrap();
    wire.flush().await.unwrap();
    let mut said = [0; 14];
    client.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"INFO {}\r\nPING\r");
    drop(client);
    tokio::time::timeout(PATIENCE, raw::to_the_end(&mut wire)).await.expect("it ends");
}

#[tokio::test]
async fn goes_to_another_server_of_the_cluster_where_the_first_is_away() {
    let second = Fake::start(json!({ "server_id": "second" })).await;
    let first = Fake::start(json!({ "connect_urls": [nobody().await, second.address()] })).await;
    let address: ServerAddr = first.url().parse().unwrap();
    let (relay, _) = tokio::join!(Relay::open(&address), first.accept());
    drop(first);
    let url = relay.as_ref().unwrap().url();
    let mut client = TcpStream::connect(url.strip_prefix("nats://").unwrap()).await.unwrap();
    let _wire = second.accept().await;
    let mut said = [0; 22];
    tokio::time::timeout(PATIENCE, client.read_exact(&mut said)).await.expect("it says who it is").unwrap();
    assert_eq!(&said, b"INFO {\"server_id\":\"sec");
}

/// The relay's cost, as a ratio within one run: publishing 256 at a time to a log, and reading it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn relay_costs() {
    const EVENTS: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let operator = Operator::open(&dir.path().join("operator")).unwrap();
    // Without waiting for the disk, so that the relay's part is as large as it can be.
    let sync = SyncInterval::Every(Duration::from_secs(60));
    let server = Server::start(Settings { sync, ..settings(dir.path(), &operator) }).await.unwrap();
    let tenant = operator.create_tenant(&"one".parse().unwrap()).unwrap();
    let provisioner = Provisioner::connect(&operator, &server.url()).await.unwrap();
    provisioner.provision(&tenant).await.unwrap();
    let credentials = operator.credentials(PlatformUser::AllInOne).unwrap();
    let direct = connect::options(&credentials, "direct").unwrap().connect(server.url()).await.unwrap();
    let relayed = connect::connect_as(&server.url(), &credentials, "relayed").await.unwrap();
    let (log, get) =
        (subject::log(tenant.id(), EventType::KeyGenerated), format!("$JS.API.DIRECT.GET.{}", tenant.id()));
    let (mut publishing, mut reading) = ([Duration::ZERO; 2], [Duration::ZERO; 2]);
    for round in 0..8 {
        for (which, client) in [&direct, &relayed].into_iter().enumerate() {
            let began = Instant::now();
            let publish = |_| client.request(log.clone(), vec![b'x'; 1000].into());
            let done = futures_util::stream::iter(0..EVENTS).map(publish).buffer_unordered(256).count().await;
            assert_eq!(done, EVENTS);
            let published = began.elapsed();
            let began = Instant::now();
            let inbox = client.new_inbox();
            let answers = client.subscribe(inbox.clone()).await.unwrap();
            for from in (0..EVENTS).step_by(500) {
                let request = json!({ "seq": from + 1, "batch": 500 }).to_string();
                client.publish_with_reply(get.clone(), inbox.clone(), request.into()).await.unwrap();
            }
            assert_eq!(answers.take(EVENTS + EVENTS / 500).count().await, EVENTS + EVENTS / 500);
            // The first round warms up.
            if round > 0 {
                publishing[which] += published;
                reading[which] += began.elapsed();
            }
        }
    }
    let ratio = |[direct, relayed]: [Duration; 2]| relayed.as_secs_f64() / direct.as_secs_f64();
    println!("publishing {publishing:?}: {:.2}, reading {reading:?}: {:.2}", ratio(publishing), ratio(reading));
}
