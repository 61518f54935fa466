//! The log on JetStream. Each tenant has one stream, which is appended to by compare-and-swap and read by sequence; one
//! subscription follows all of them.

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{Context, PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{Client, HeaderMap, Message, Subscriber, jetstream};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use journal::port::{Arrived, News};
use journal::{Append, Error, Head, Journal, Outgoing, Record};
use model::{EventHash, Sequence, TenantId, subject};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tracing::debug;

use crate::connect::{self, Connection};
use crate::header::Plain;

/// The header that carries an event's signature.
pub const SIGNATURE: &str = "Keylatch-Signature";
const CONTENT_TYPE: &str = "application/cloudevents+json";

/// The server's own headers on what it reads from a stream or republishes: of which stream, its subject there, its place.
const STREAM: &str = "Nats-Stream";
const SUBJECT: &str = "Nats-Subject";
const SEQUENCE: &str = "Nats-Sequence";

/// How long the server has for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes that one read asks for.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The statuses that a message can be answered with in place of a message.
const END_OF_BATCH: u16 = 204;
const NOT_FOUND: u16 = 404;
const NO_RESPONDERS: u16 = 503;

/// JetStream's error codes that are compared.
const STREAM_NOT_FOUND: u64 = 10059;
const NO_MESSAGE_FOUND: u64 = 10037;
/// Those that say that somebody else wrote first: another message is the last, another sequence, another is under way.
const HEAD_MOVED: [u64; 3] = [10070, 10071, 10164];

/// The log.
#[derive(Clone)]
pub struct NatsJournal {
    client: Client,
    context: Context,
    reconnects: watch::Receiver<u64>,
    /// Held while a batch is sent: what is begun first is sent first.
    sending: Arc<Mutex<()>>,
}

impl NatsJournal {
    /// The log behind this connection.
    pub fn new(connection: &Connection) -> Self {
        let client = connection.client.clone();
        let mut context = jetstream::new(client.clone());
        context.set_timeout(PATIENCE);
        Self { client, context, reconnects: connection.reconnects.clone(), sending: Arc::default() }
    }

    /// Follows every tenant's events from now on, by the server's republish after commit: at most once, so whoever
    /// follows fills gaps from the log. (A subscription of the log's own subjects would also see what the stream
    /// refused.)
    pub async fn follow(&self) -> Result<impl Stream<Item = News> + Send + use<>, Error> {
        let events = self.client.subscribe(subject::ALL_EVENTS).await.map_err(unavailable)?;
        // The subscription must be with the server before anybody relies on it.
        connect::round_trip(&self.client).await.map_err(unavailable)?;
        Ok(stream::select(arrivals(events), reconnects(self.reconnects.clone())))
    }

    /// A request to the JetStream API, answered with JSON.
    async fn api<T: for<'de> Deserialize<'de>>(
        &self,
        call: &str,
        request: &serde_json::Value,
    ) -> Result<Result<T, ApiError>, Error> {
        #[derive(Deserialize)]
        struct Failed {
            error: ApiError,
        }
        let payload = Bytes::from(request.to_string());
        let asked = self.client.request(format!("$JS.API.{call}"), payload);
        let answer = tokio::time::timeout(PATIENCE, asked).await.map_err(unavailable)?.map_err(unavailable)?;
        if let Ok(failed) = serde_json::from_slice::<Failed>(&answer.payload) {
            return Ok(Err(failed.error));
        }
        serde_json::from_slice(&answer.payload).map(Ok).map_err(unavailable)
    }

    /// The record at a sequence, on the word of the stream's leader. `None` where there is none.
    pub async fn stored(&self, tenant: TenantId, sequence: Sequence) -> Result<Option<Record>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            message: Stored,
        }
        #[derive(Deserialize)]
        struct Stored {
            #[serde(default)]
            hdrs: String,
            #[serde(default)]
            data: String,
        }
        let call = format!("STREAM.MSG.GET.{tenant}");
        match self.api::<Answer>(&call, &json!({ "seq": sequence.0 })).await? {
            Ok(Answer { message }) => {
                let headers = BASE64_STANDARD.decode(message.hdrs).map_err(unavailable)?;
                let payload = BASE64_STANDARD.decode(message.data).map_err(unavailable)?;
                Ok(Some(Record { signature: raw_signature(tenant, &headers), payload: payload.into() }))
            }
            Err(error) if error.err_code == NO_MESSAGE_FOUND => Ok(None),
            Err(error) => Err(error.for_tenant(tenant)),
        }
    }

    /// Sends a batch without waiting: each record guarded by its sequence and, behind the first or where the batch before is
    /// still under way, by the message that must stand before it. A sequence alone does not say whose record took the place
    /// before.
    async fn send(
        &self,
        tenant: TenantId,
        head: Head,
        batch: &[Outgoing],
        mut before: Option<EventHash>,
    ) -> Vec<Option<PublishAckFuture>> {
        let _sending = self.sending.lock().await;
        let mut acks = Vec::with_capacity(batch.len());
        for (place, Outgoing { event_type, record }) in batch.iter().enumerate() {
            let hash = record.hash();
            let mut message = PublishMessage::build()
                .payload(record.payload.clone())
                .header("Content-Type", CONTENT_TYPE)
                .header(SIGNATURE, record.signature.as_str())
                .message_id(hash.to_string())
                .expected_last_sequence(head.sequence.0 + place as u64);
            if let Some(before) = before.replace(hash) {
                message = message.expected_last_message_id(before.to_string());
            }
            acks.push(self.context.send_publish(subject::log(tenant, *event_type), message).await.ok());
        }
        acks
    }

    /// Whether a record stands where it was sent to. An acknowledgement is not enough where it says `duplicate`; and a
    /// refusal or silence may hide that it was stored.
    async fn stands(
        &self,
        tenant: TenantId,
        sequence: Sequence,
        record: &Record,
        heard: Heard,
    ) -> Result<Stands, Error> {
        if heard == Heard::At(sequence) {
            return Ok(Stands::Here);
        }
        match self.stored(tenant, sequence).await? {
            Some(stored) if stored == *record => Ok(Stands::Here),
            Some(_) => Ok(Stands::Not),
            None => match heard {
                // Somebody else was first, and it will never stand.
                Heard::HeadMoved => Ok(Stands::Not),
                Heard::Refused(error) => Err(error),
                // It may still arrive.
                Heard::At(_) | Heard::Nothing => Err(unavailable("no word on a record that was sent")),
            },
        }
    }
}

/// What the server said of a record that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    /// It stands here.
    At(Sequence),
    /// It does not, as another was first; or stands already.
    HeadMoved,
    /// It does not, for a reason that is no business of another writer's.
    Refused(Error),
    /// Nothing.
    Nothing,
}

/// Waits for the server's word on a record, but not past the deadline, nor once the connection on which it was sent is
/// gone: then no word will come.
async fn hear(ack: Option<PublishAckFuture>, lost: &mut watch::Receiver<u64>, deadline: Instant) -> Heard {
    let Some(ack) = ack else { return Heard::Nothing };
    let answer = tokio::select! {
        // Answers that have come are taken before anything else.
        biased;
        answer = ack.into_future() => answer,
        _ = lost.changed() => {
            lost.mark_changed();
            return Heard::Nothing;
        }
        () = tokio::time::sleep_until(deadline) => return Heard::Nothing,
    };
    match answer {
        Ok(ack) if ack.duplicate => Heard::HeadMoved,
        Ok(ack) => Heard::At(Sequence(ack.sequence)),
        Err(error) => refusal(&error),
    }
}

enum Stands {
    Here,
    Not,
}

/// Reads from an error what became of the record: only the server's own error codes say anything.
fn refusal(error: &PublishError) -> Heard {
    if error.kind() == PublishErrorKind::StreamNotFound {
        return Heard::Refused(unavailable("nobody takes records: there is no log, or its server is away"));
    }
    let named = std::error::Error::source(error).and_then(|source| source.downcast_ref::<jetstream::Error>());
    let Some(named) = named else { return Heard::Nothing };
    match named.error_code().0 {
        code if HEAD_MOVED.contains(&code) => Heard::HeadMoved,
        // Of the server, and passing: no leader, no space, a disk that fails.
        _ if named.code() >= 500 => Heard::Refused(unavailable(named)),
        _ => Heard::Refused(Error::Refused(named.to_string())),
    }
}

impl Journal for NatsJournal {
    async fn last(&self, tenant: TenantId) -> Result<Sequence, Error> {
        match self.api::<StreamInfo>(&format!("STREAM.INFO.{tenant}"), &json!({})).await? {
            Ok(info) => Ok(Sequence(info.state.last_seq)),
            Err(error) => Err(error.for_tenant(tenant)),
        }
    }

    async fn tails(&self) -> Result<Vec<(TenantId, Sequence)>, Error> {
        #[derive(Deserialize)]
        struct Page {
            total: usize,
            #[serde(default)]
            streams: Option<Vec<StreamInfo>>,
        }
        let (mut tails, mut offset) = (Vec::new(), 0);
        loop {
            let page = self.api::<Page>("STREAM.LIST", &json!({ "offset": offset })).await?;
            let page = page.map_err(|error| unavailable(error.description))?;
            let streams = page.streams.unwrap_or_default();
            offset += streams.len();
            let last = streams.is_empty() || offset >= page.total;
            let tail = |info: StreamInfo| Some((info.config.name.parse().ok()?, Sequence(info.state.last_seq)));
            tails.extend(streams.into_iter().filter_map(tail));
            if last {
                return Ok(tails);
            }
        }
    }

    /// One request, many answers (`DIRECT.GET` with `batch`): no consumer, hence no subject to which somebody could have
    /// messages delivered.
    async fn read(&self, tenant: TenantId, from: Sequence, max: usize) -> Result<Vec<Record>, Error> {
        let from = from.max(Sequence(1));
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(unavailable)?;
        let request = json!({ "seq": from.0, "batch": max, "max_bytes": READ_BYTES_MAX }).to_string();
        let call = format!("$JS.API.DIRECT.GET.{tenant}");
        self.client.publish_with_reply(call, inbox, request.into()).await.map_err(unavailable)?;
        let mut records = Vec::new();
        loop {
            let answer = tokio::time::timeout(PATIENCE, answers.next()).await.map_err(unavailable)?;
            let answer = answer.ok_or_else(|| unavailable("the connection closed"))?;
            let wanted = Sequence(from.0 + records.len() as u64);
            let found = header_sequence(answer.headers.as_ref());
            // An answer with a sequence is a message, whatever status its sender gave it.
            match answer.status.map(|status| status.as_u16()).filter(|_| found.is_none()) {
                None => {}
                Some(END_OF_BATCH | NOT_FOUND) => return Ok(records),
                Some(NO_RESPONDERS) => return Err(Error::NoTenant(tenant)),
                Some(status) => return Err(unavailable(format!("the server answers {status}"))),
            }
            let next = match found {
                Some(found) if found == wanted => Some(record(answer)),
                // The message is further on: there is a hole.
                Some(_) => None,
                // Its headers are not plain, so they are not here, and its sequence with them.
                None => self.stored(tenant, wanted).await?,
            };
            match next {
                Some(next) => records.push(next),
                // The messages before it are good.
                None => return if records.is_empty() { Err(Error::Hole(wanted)) } else { Ok(records) },
            }
            if records.len() >= max {
                return Ok(records);
            }
        }
    }

    async fn append(&self, tenant: TenantId, head: Head, batch: &[Outgoing]) -> Result<Append, Error> {
        self.put(tenant, head, batch, None).await
    }

    async fn append_behind(&self, tenant: TenantId, head: Head, batch: &[Outgoing]) -> Result<Append, Error> {
        self.put(tenant, head, batch, Some(head.hash)).await
    }
}

impl NatsJournal {
    /// Sends a batch and waits for what becomes of it.
    async fn put(
        &self,
        tenant: TenantId,
        head: Head,
        batch: &[Outgoing],
        before: Option<EventHash>,
    ) -> Result<Append, Error> {
        let mut lost = self.reconnects.clone();
        lost.mark_unchanged();
        let acks = self.send(tenant, head, batch, before).await;
        let mut deadline = Instant::now() + PATIENCE;
        for (place, (ack, outgoing)) in acks.into_iter().zip(batch).enumerate() {
            let sequence = Sequence(head.sequence.0 + place as u64 + 1);
            let heard = hear(ack, &mut lost, deadline).await;
            if heard != Heard::Nothing {
                // A batch takes as long as its records do: what counts is that the server goes on.
                deadline = Instant::now() + PATIENCE;
            }
            match self.stands(tenant, sequence, &outgoing.record, heard).await? {
                Stands::Here => {}
                Stands::Not => return Ok(Append::HeadMoved { recorded: place }),
            }
        }
        Ok(Append::Recorded)
    }
}

#[derive(Deserialize)]
struct StreamInfo {
    config: StreamConfig,
    state: StreamState,
}

#[derive(Deserialize)]
struct StreamConfig {
    name: String,
}

#[derive(Deserialize)]
struct StreamState {
    last_seq: u64,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl ApiError {
    fn for_tenant(self, tenant: TenantId) -> Error {
        match self.err_code {
            STREAM_NOT_FOUND => Error::NoTenant(tenant),
            code => Error::Refused(format!("{} ({code})", self.description)),
        }
    }
}

fn unavailable(error: impl std::fmt::Display) -> Error {
    Error::Unavailable(error.to_string())
}

/// A message as a record: the signature header's one value, or nothing.
fn record(message: Message) -> Record {
    let signature = message.headers.as_ref().map(signature).unwrap_or_default();
    Record { signature, payload: message.payload }
}

/// The header's value; the empty string where it is missing or repeated.
fn signature(headers: &HeaderMap) -> String {
    single(headers.get_all(SIGNATURE).map(AsRef::as_ref))
}

fn single<'a>(mut values: impl Iterator<Item = &'a str>) -> String {
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_owned(),
        _ => String::new(),
    }
}

/// The same, from a header block as it is stored. It is judged as the server hands it out everywhere else, so that the
/// value is the same: with headers of the server's own put before its last two bytes, whatever those are.
fn raw_signature(tenant: TenantId, block: &[u8]) -> String {
    let stem = match block {
        [stem @ .., _, _] if !stem.is_empty() => stem,
        _ => b"NATS/1.0\r\n",
    };
    let handed_out = [stem, format!("{STREAM}: {tenant}\r\n\r\n").as_bytes()].concat();
    Plain::parse(&handed_out).map(|plain| single(plain.values(SIGNATURE))).unwrap_or_default()
}

/// The last value of a header: the server puts its own behind those of whoever sent the message.
fn last_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(name).last().map(AsRef::as_ref)
}

/// The place in its stream that a message read from it, or republished by it, names.
fn header_sequence(headers: Option<&HeaderMap>) -> Option<Sequence> {
    last_value(headers?, SEQUENCE)?.parse().ok().map(Sequence)
}

/// A message on the subject of a tenant's events as an event of its log. `None` where it is something else: an answer,
/// say, that somebody who may not publish there had the server or a service deliver. What is an event after all is read
/// from the log.
pub fn arrived(tenant: TenantId, message: Message) -> Option<Arrived> {
    let headers = message.headers.as_ref();
    let own =
        |subject: &str| subject::tenant_of(subject).is_some_and(|(of, rest)| of == tenant && rest.starts_with("log."));
    let of_the_log = headers.is_some_and(|headers| {
        last_value(headers, STREAM) == Some(tenant.to_string().as_str())
            && last_value(headers, SUBJECT).is_some_and(own)
    });
    match header_sequence(headers).filter(|_| of_the_log) {
        Some(sequence) => Some(Arrived { tenant, sequence, record: record(message) }),
        None => {
            debug!(%tenant, subject = %message.subject, "ignored: it does not come from the tenant's log");
            None
        }
    }
}

fn arrivals(events: Subscriber) -> impl Stream<Item = News> + Send {
    events.filter_map(|message| {
        let tenant = subject::tenant_of(&message.subject).map(|(tenant, _)| tenant);
        std::future::ready(tenant.and_then(|tenant| arrived(tenant, message)).map(News::Event))
    })
}

fn reconnects(reconnects: watch::Receiver<u64>) -> impl Stream<Item = News> + Send {
    stream::unfold(reconnects, |mut reconnects| async move {
        reconnects.changed().await.ok()?;
        Some((News::Reconnected, reconnects))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the server's answer with this status and code says of a record.
    fn said(status: u64, code: u64) -> Heard {
        let kind = match code {
            10070 => PublishErrorKind::WrongLastMessageId,
            10071 => PublishErrorKind::WrongLastSequence,
            _ => PublishErrorKind::Other,
        };
        let named = json!({ "code": status, "err_code": code, "description": "no" });
        refusal(&PublishError::with_source(kind, serde_json::from_value::<jetstream::Error>(named).unwrap()))
    }

    #[test]
    fn only_another_writer_moves_the_head() {
        for code in [10070, 10071, 10164] {
            assert_eq!(said(400, code), Heard::HeadMoved, "{code}");
        }
        // Too large; sealed; a wrong stream expected; a header that does not read.
        for code in [10054, 10109, 10060, 10175] {
            assert!(matches!(said(400, code), Heard::Refused(Error::Refused(_))), "{code}");
        }
        // No leader; no space; a disk that fails.
        for code in [10008, 10047, 10077] {
            assert!(matches!(said(503, code), Heard::Refused(Error::Unavailable(_))), "{code}");
        }
    }

    #[test]
    fn what_is_no_word_of_the_server_says_nothing() {
        for kind in [PublishErrorKind::TimedOut, PublishErrorKind::BrokenPipe, PublishErrorKind::Other] {
            assert_eq!(refusal(&PublishError::new(kind)), Heard::Nothing);
        }
        let nobody = refusal(&PublishError::new(PublishErrorKind::StreamNotFound));
        assert!(matches!(nobody, Heard::Refused(Error::Unavailable(_))));
    }

    #[track_caller]
    fn check(block: &str, signature: &str) {
        assert_eq!(raw_signature(TenantId::from_bytes([7; 32]), block.as_bytes()), signature, "{block:?}");
    }

    #[test]
    fn the_signature_is_the_headers_one_value() {
        check("NATS/1.0\r\nKeylatch-Signature: a b\r\n\r\n", "a b");
        check("NATS/1.0\r\nA: b\r\nKeylatch-Signature:\ta b \r\n\r\n", "a b");
        check("NATS/1.0 204\r\nKeylatch-Signature: a\r\n\r\n", "a");
        check("NATS/1.0\r\nKeylatch-Signature: a\r\nKeylatch-Signature: a\r\n\r\n", "");
        check("NATS/1.0\r\nkeylatch-signature: a\r\n\r\n", "");
        check("NATS/1.0\r\n\r\n", "");
        check("", "");
    }

    #[test]
    fn a_block_that_is_not_plain_has_no_signature() {
        check("Keylatch-Signature: a\r\n\r\n", "");
        check("NATS/1.0\r\nKeylatch-Signature: a\r\n more\r\n\r\n", "");
        check("NATS/1.0\r\nKeylatch-Signature: a\r\nno colon\r\n\r\n", "");
        check("NATS/1.0\nKeylatch-Signature: a\n\n", "");
        check("NATS/1.0\r\nKeylatch-Signature: a\r\nB: \u{e4}\r\n\r\n", "");
    }

    /// What the server makes of blocks that do not end as they should, in its republished messages and direct answers.
    #[test]
    fn a_block_is_judged_as_the_server_hands_it_out() {
        check("NATS/1.0\r\nKeylatch-Signature: a\r\nxx", "a");
        let tenant = TenantId::from_bytes([7; 32]);
        check("NATS/1.0\r\nKeylatch-Signature: a\r\n", &format!("aNats-Stream: {tenant}"));
        for short in ["x", "xx", "\r\n", "xxx"] {
            check(short, "");
        }
    }
}
