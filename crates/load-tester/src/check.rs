//! After the load: every command that was acknowledged stands in the log, at its place, with its hash, once.

use std::collections::HashMap;

use journal::Record;
use model::history::HistoryEvent;
use model::{CommandId, Digest, EventHash, Sequence};
use serde::{Deserialize, Serialize};

use crate::client::{Acknowledged, Client, Outcome};

/// How many events one question asks for.
const PAGE: u32 = 1_000;

/// What the log says of what was acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// How many commands were acknowledged.
    pub acknowledged: u64,
    /// How many of them stand where the answer said.
    pub standing: u64,
    /// Those that do not: the command's id, and what is there.
    pub missing: Vec<String>,
    /// Commands that stand twice.
    pub twice: Vec<String>,
    /// How many events the log has more than before.
    pub events: u64,
}

impl Checked {
    /// Whether nothing is wrong.
    pub fn holds(&self) -> bool {
        self.missing.is_empty() && self.twice.is_empty() && self.standing == self.acknowledged
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.standing += other.standing;
        self.events += other.events;
        self.missing.extend(other.missing);
        self.twice.extend(other.twice);
    }
}

/// Reads a tenant's log from an event on, and looks up what was acknowledged.
pub(crate) async fn check(client: &Client, from: u64, acknowledged: Vec<Acknowledged>) -> Outcome<Checked> {
    let mut wanted: HashMap<u64, Vec<Acknowledged>> = HashMap::new();
    let count = acknowledged.len() as u64;
    acknowledged.into_iter().for_each(|one| wanted.entry(one.sequence.0).or_default().push(one));
    let mut checked = Checked { acknowledged: count, ..Checked::default() };
    let mut commands: HashMap<CommandId, u64> = HashMap::new();
    let mut next = from;
    loop {
        let answer = client.history(next, PAGE).await?;
        for event in &answer.events {
            checked.events += 1;
            let found = Found::of(event);
            if let Some(command) = found.command {
                *commands.entry(command).or_default() += 1;
            }
            for acknowledged in wanted.remove(&event.sequence).unwrap_or_default() {
                match found.is(&acknowledged) {
                    true => checked.standing += 1,
                    false => {
                        checked.missing.push(format!("{}: another stands at {}", acknowledged.command, event.sequence))
                    }
                }
            }
        }
        next += answer.events.len() as u64;
        if answer.events.is_empty() || next > answer.last {
            break;
        }
    }
    let lost = wanted.into_values().flatten();
    checked.missing.extend(lost.map(|one| format!("{}: nothing stands at {}", one.command, one.sequence.0)));
    let twice = commands.into_iter().filter(|(_, count)| *count > 1);
    checked.twice.extend(twice.map(|(command, count)| format!("{command}: {count} times")));
    Ok(checked)
}

/// What an event in the log carries.
struct Found {
    sequence: Sequence,
    hash: EventHash,
    command: Option<CommandId>,
    digest: Option<Digest>,
}

impl Found {
    fn of(event: &HistoryEvent) -> Self {
        #[derive(Deserialize)]
        struct Event {
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            #[serde(default)]
            command: Option<model::Envelope>,
        }
        #[derive(Deserialize)]
        struct Command {
            id: CommandId,
        }
        // The hash is computed from the bytes: the service's word for it is not taken.
        let record = Record { signature: event.signature.clone(), payload: event.payload.0.clone().into() };
        let payload = serde_json::from_slice::<Event>(&event.payload.0).ok().and_then(|event| event.data.command);
        let payload = payload.map(|envelope| envelope.payload.0);
        let id = payload.as_ref().and_then(|payload| serde_json::from_slice::<Command>(payload).ok());
        Self {
            sequence: Sequence(event.sequence),
            hash: record.hash(),
            command: id.map(|command| command.id),
            digest: payload.map(|payload| Digest::of(&payload)),
        }
    }

    fn is(&self, acknowledged: &Acknowledged) -> bool {
        self.sequence == acknowledged.sequence
            && self.hash == acknowledged.hash
            && self.command == Some(acknowledged.command)
            && self.digest == Some(acknowledged.digest)
    }
}
