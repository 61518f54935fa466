//! The yardstick: the same bytes, published to plain streams of a server of the same build and settings, as fast as the
//! client can, with so many acknowledgements outstanding.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream::context::Context;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, StorageType};
use futures_util::StreamExt as _;
use futures_util::stream::{self, FuturesUnordered};
use journal::Record;
use load_tester::Cast;
use model::history::{HistoryAnswer, HistoryRequest};
use model::subject;

use crate::Mode;

/// How many acknowledgements may be outstanding on a stream.
const WINDOW: usize = 256;
/// How long is measured.
const LASTS: Duration = Duration::from_secs(6);

/// A server without accounts.
struct Plain {
    _dir: tempfile::TempDir,
    process: Child,
    url: String,
}

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Plain {
    async fn start(mode: Mode) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let sync = match mode {
            Mode::Always => "always",
            Mode::Default => "2m",
        };
        let config = dir.path().join("nats.conf");
        let store = dir.path().join("streams");
        let text = format!(
            "host: 127.0.0.1\nport: {port}\njetstream {{ store_dir: \"{}\", sync_interval: {sync} }}\n",
            store.display()
        );
        std::fs::write(&config, text).unwrap();
        let cache = crate::cache();
        let found = journal_nats::server::find(Some(&cache)).unwrap();
        let mut server = Command::new(found.path);
        let process = server.arg("-c").arg(&config).stderr(Stdio::null()).spawn().unwrap();
        let url = format!("nats://127.0.0.1:{port}");
        while async_nats::connect(&url).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { _dir: dir, process, url }
    }
}

/// How many messages a second of these bytes go to so many streams, all told.
pub(crate) async fn rate(mode: Mode, records: &[Record], streams: usize) -> f64 {
    let server = Plain::start(mode).await;
    let client = async_nats::connect(&server.url).await.unwrap();
    let context = async_nats::jetstream::new(client);
    for number in 0..streams {
        let config = Config {
            name: format!("raw-{number}"),
            subjects: vec![format!("raw.{number}.>")],
            storage: StorageType::File,
            ..Config::default()
        };
        context.create_stream(config).await.unwrap();
    }
    let begin = Instant::now();
    let all = stream::iter(0..streams).map(|number| publish(context.clone(), number, records, begin));
    let counts: Vec<u64> = all.buffer_unordered(streams).collect().await;
    counts.iter().sum::<u64>() as f64 / begin.elapsed().as_secs_f64()
}

async fn publish(context: Context, number: usize, records: &[Record], begin: Instant) -> u64 {
    let (mut acks, mut done) = (FuturesUnordered::new(), 0);
    for record in records.iter().cycle() {
        if begin.elapsed() >= LASTS {
            break;
        }
        let message = PublishMessage::build()
            .payload(record.payload.clone())
            .header(journal_nats::log::SIGNATURE, record.signature.as_str());
        let ack = context.send_publish(format!("raw.{number}.event"), message).await.unwrap();
        acks.push(ack.into_future());
        if acks.len() >= WINDOW {
            acks.next().await.unwrap().unwrap();
            done += 1;
        }
    }
    while let Some(ack) = acks.next().await {
        ack.unwrap();
        done += 1;
    }
    done
}

/// The newest events of a cast's first tenant, to be published raw.
pub(crate) async fn events(cast: &Cast) -> Vec<Record> {
    let tenant = &cast.tenants[0];
    let client = journal_nats::connect::connect(&cast.url, &tenant.credentials, "bars").await.unwrap();
    let mut records = Vec::new();
    let mut from = 1;
    loop {
        let request = serde_json::to_vec(&HistoryRequest { from, max: 1000 }).unwrap();
        let answer = client.request(subject::tenant::HISTORY_GET, request.into()).await.unwrap();
        let answer: HistoryAnswer = serde_json::from_slice(&answer.payload).unwrap();
        from += answer.events.len() as u64;
        let end = answer.events.is_empty() || from > answer.last || records.len() > 4000;
        records.extend(
            answer
                .events
                .into_iter()
                .map(|event| Record { signature: event.signature, payload: event.payload.0.into() }),
        );
        if end {
            return records;
        }
    }
}
