//! A tenant as its own programs see it: signed commands, answers, questions for the history.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{Request, RequestErrorKind};
use bytes::Bytes;
use journal::command::{KeyInHand, SignedCommand};
use journal_nats::connect::{self, Connection};
use model::history::{HistoryAnswer, HistoryRequest};
use model::{Action, Command, CommandId, Digest, EventHash, KeyId, Name, Sequence, Span, TenantId, subject};
use serde::Deserialize;
use serde_json::Value;
use service::{Clock, clock};

use crate::cast::{self, Part, Principal};
use crate::{Error, cast::Tenant};

/// How long a service has for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an answer said was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) command: CommandId,
    pub(crate) digest: Digest,
    pub(crate) sequence: Sequence,
    pub(crate) hash: EventHash,
}

/// What became of something that was asked: what was answered, or the name of the refusal.
pub(crate) type Outcome<T> = Result<T, String>;

/// A tenant, connected, with everybody who acts in it.
pub(crate) struct Client {
    pub(crate) tenant: TenantId,
    pub(crate) name: Name,
    pub(crate) connection: Connection,
    hands: Vec<(Part, Arc<KeyInHand>)>,
    next: AtomicUsize,
    clock: Clock,
}

impl Client {
    pub(crate) async fn connect(url: &str, tenant: &Tenant) -> Result<Self, Error> {
        let connection = connect(url, &tenant.credentials).await?;
        let hand = |principal: &Principal| Ok((principal.part, cast::hand(&principal.key)?));
        let hands = tenant.principals.iter().map(hand).collect::<Result<_, Error>>()?;
        let (next, clock) = (AtomicUsize::new(0), Clock::default());
        Ok(Self { tenant: tenant.tenant, name: tenant.name.clone(), connection, hands, next, clock })
    }

    /// Somebody who has this part: everybody in turn.
    pub(crate) fn somebody(&self, part: Part) -> Result<Arc<KeyInHand>, Error> {
        let all: Vec<&Arc<KeyInHand>> =
            self.hands.iter().filter(|(other, _)| *other == part).map(|(_, hand)| hand).collect();
        let place = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(all.len());
        let nobody = || Error::Nobody { tenant: self.name.to_string(), wanted: part.name() };
        place.and_then(|place| all.get(place)).map(|hand| (*hand).clone()).ok_or_else(nobody)
    }

    /// A command of somebody's, signed; its bytes, and by what it is known.
    pub(crate) fn sign(&self, by: &KeyInHand, action: Action, key_id: Option<KeyId>, life: Span) -> Signed {
        let issued_at = self.clock.now();
        let expires_at = issued_at + life;
        let command = Command { id: clock::command_id(), tenant: self.tenant, key_id, issued_at, expires_at, action };
        let envelope = SignedCommand::sign(&command, &[by]).unwrap_or_else(|_| model::Envelope {
            payload: model::text::Base64(Vec::new()),
            payload_type: String::new(),
            signatures: Vec::new(),
        });
        let digest = Digest::of(&envelope.payload.0);
        let bytes = Bytes::from(serde_json::to_vec(&envelope).unwrap_or_default());
        Signed { id: command.id, digest, subject: subject::tenant::command(command.action.name()), bytes }
    }

    /// Sends it, and gives the answer's members. Nothing is sent again: a load test wants to know.
    pub(crate) async fn ask(&self, signed: &Signed) -> Outcome<Value> {
        #[derive(Deserialize)]
        struct Answered {
            ok: bool,
            #[serde(default)]
            problem: Option<Value>,
        }
        let answer = self.request(signed.subject.clone(), signed.bytes.clone()).await?;
        let members: Value = serde_json::from_slice(&answer).map_err(|_| "malformed-answer".to_owned())?;
        match Answered::deserialize(&members) {
            Ok(Answered { ok: true, .. }) => Ok(members),
            Ok(Answered { problem: Some(problem), .. }) => Err(kind(&problem)),
            _ => Err(kind(&members)),
        }
    }

    /// The same, for a command that leads to an event.
    pub(crate) async fn record(&self, signed: &Signed) -> Outcome<Acknowledged> {
        #[derive(Deserialize)]
        struct Recorded {
            sequence: u64,
            hash: EventHash,
        }
        let answer = self.ask(signed).await?;
        let Recorded { sequence, hash } = serde_json::from_value(answer).map_err(|_| "malformed-answer".to_owned())?;
        Ok(Acknowledged { command: signed.id, digest: signed.digest, sequence: Sequence(sequence), hash })
    }

    /// A page of the history.
    pub(crate) async fn history(&self, from: u64, max: u32) -> Outcome<HistoryAnswer> {
        let request = serde_json::to_vec(&HistoryRequest { from, max }).unwrap_or_default();
        let answer = self.request(subject::tenant::HISTORY_GET.to_owned(), request.into()).await?;
        serde_json::from_slice(&answer).map_err(|_| "malformed-answer".to_owned())
    }

    /// Asks a service.
    pub(crate) async fn request(&self, subject: String, payload: Bytes) -> Outcome<Bytes> {
        let request = Request::new().payload(payload).timeout(Some(PATIENCE));
        match self.connection.client.send_request(subject, request).await {
            Ok(answer) => Ok(answer.payload),
            Err(error) => Err(match error.kind() {
                RequestErrorKind::NoResponders => "nobody-listens".to_owned(),
                RequestErrorKind::TimedOut => "timed-out".to_owned(),
                _ => "bus-failed".to_owned(),
            }),
        }
    }
}

/// Connects as a user of a tenant.
pub(crate) async fn connect(url: &str, credentials: &Path) -> Result<Connection, Error> {
    Ok(connect::watched(url, credentials, "keylatch load").await?)
}

/// A signed command.
pub(crate) struct Signed {
    id: CommandId,
    digest: Digest,
    subject: String,
    bytes: Bytes,
}

/// The end of a problem's type.
fn kind(problem: &Value) -> String {
    let named = problem.get("type").and_then(Value::as_str);
    named.and_then(|named| named.rsplit(['/', ':']).next()).unwrap_or("malformed-answer").to_owned()
}
