//! Follows a tenant's events, for rounds that wait for one. Events that are republished come at most once: a round whose
//! event is lost is told so when its patience ends, and counted as failed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::Subscriber;
use futures_util::StreamExt as _;
use model::key::KeyIdentity;
use model::text::Base64;
use model::{KeyId, KeyState, subject};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::Error;
use crate::client::Client;

/// What a round waits for.
#[derive(Clone, Debug)]
pub(crate) enum Word {
    /// The key was made, and is recognised by this.
    Generated { identity: KeyIdentity },
    /// The custodian has it in this state.
    Applied(KeyState),
}

/// Follows one tenant.
pub(crate) struct Witness {
    waiting: Arc<Mutex<HashMap<KeyId, mpsc::UnboundedSender<Word>>>>,
    seen: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Witness {
    pub(crate) async fn start(client: &Client) -> Result<Self, Error> {
        let events = follow(client).await?;
        let (waiting, seen) = (Arc::<Mutex<HashMap<_, _>>>::default(), Arc::new(AtomicU64::new(0)));
        let task = tokio::spawn(hear(events, waiting.clone(), seen.clone())).abort_handle();
        Ok(Self { waiting, seen, task })
    }

    /// How many events have come.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// What is heard of a key from now on.
    pub(crate) fn watch(&self, key: KeyId) -> Watch<'_> {
        let (sender, words) = mpsc::unbounded_channel();
        lock(&self.waiting).insert(key, sender);
        Watch { witness: self, key, words }
    }
}

/// Subscribes a tenant's events: what comes after is heard.
pub(crate) async fn follow(client: &Client) -> Result<Subscriber, Error> {
    let bus = |error: &dyn std::fmt::Display| Error::Bus(error.to_string());
    let nats = &client.connection.client;
    let events = nats.subscribe(subject::tenant::EVENTS).await.map_err(|error| bus(&error))?;
    nats.flush().await.map_err(|error| bus(&error))?;
    Ok(events)
}

/// What is heard of one key.
pub(crate) struct Watch<'a> {
    witness: &'a Witness,
    key: KeyId,
    words: mpsc::UnboundedReceiver<Word>,
}

impl Watch<'_> {
    pub(crate) async fn next(&mut self) -> Option<Word> {
        self.words.recv().await
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        lock(&self.witness.waiting).remove(&self.key);
    }
}

async fn hear(
    mut events: Subscriber,
    waiting: Arc<Mutex<HashMap<KeyId, mpsc::UnboundedSender<Word>>>>,
    seen: Arc<AtomicU64>,
) {
    while let Some(event) = events.next().await {
        seen.fetch_add(1, Ordering::Relaxed);
        let heard = match event.subject.strip_prefix("keylatch.evt.") {
            Some("key.generated") => generated(&event.payload),
            Some("custody.applied") => applied(&event.payload),
            _ => None,
        };
        let Some((key, word)) = heard else { continue };
        if let Some(sender) = lock(&waiting).get(&key) {
            let _ = sender.send(word);
        }
    }
}

fn generated(payload: &[u8]) -> Option<(KeyId, Word)> {
    #[derive(Deserialize)]
    struct Event {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        key_id: KeyId,
        identity: KeyIdentity,
    }
    let Data { key_id, identity } = serde_json::from_slice::<Event>(payload).ok()?.data;
    Some((key_id, Word::Generated { identity }))
}

fn applied(payload: &[u8]) -> Option<(KeyId, Word)> {
    #[derive(Deserialize)]
    struct Event {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        key_id: KeyId,
        state: KeyState,
    }
    let Data { key_id, state } = serde_json::from_slice::<Event>(payload).ok()?.data;
    Some((key_id, Word::Applied(state)))
}

/// The one-time key to which a use's result is sealed. Nobody opens it: what counts is that there is one.
pub(crate) fn reply_to() -> Base64 {
    Base64(keystore::seal::SecretKey::generate(&mut rand_core::OsRng).public().to_vec())
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
