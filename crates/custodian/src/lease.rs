//! Leases keep a custodian fresh: one that hears nothing must not go on for ever.
//!
//! The custodian asks the exporter with a nonce, and the exporter signs where the chain stands. The age of that word
//! counts from the moment of asking, by two clocks: one that nobody can turn, and one that goes on while the machine
//! sleeps. The older age counts. Words are kept for tenants in use only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use journal::{Journal, statement};
use lifecycle::Footprint;
use model::statement::{Lease, LeaseRequest};
use model::{Digest, Envelope, Sequence, ServiceRole, Span, TenantId, Timestamp, dsse, subject};
use rand_core::{OsRng, RngCore as _};
use serde::Deserialize;
use service::{Ports, lock};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;
use tracing::warn;

/// How long the exporter has to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// A word that is younger is used as it is, and an older one is renewed first; at half of what policy allows, where that
/// is less.
const RENEW_AFTER: Duration = Duration::from_secs(5);
/// Words that nobody asked for in this time are forgotten.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// When each tenant's chain was last known to stand where we have it.
#[derive(Default)]
pub(crate) struct Leases(Mutex<HashMap<TenantId, Arc<Word>>>);

/// What is known of one tenant.
struct Word {
    /// Held by whoever asks: one at a time is enough. When the last one asked.
    asking: AsyncMutex<Option<Instant>>,
    /// When the question was asked that was last answered well.
    known: Mutex<Option<(Instant, Timestamp)>>,
    used: Mutex<Instant>,
}

impl Leases {
    /// How old our knowledge of this chain is, renewed where it would soon be older than `at_most`; `None` where there is
    /// no word on it.
    pub(crate) async fn age<J: Journal>(&self, ports: &Ports<J>, tenant: TenantId, at_most: Span) -> Option<Span> {
        let (word, clock) = (self.word(tenant), ports.node.clock());
        let renew_after = RENEW_AFTER.min(at_most.to_std() / 2);
        if word.age(clock.now()).is_none_or(|age| age >= renew_after) {
            let wanted = Instant::now();
            let mut asked = word.asking.lock().await;
            // Another task may have asked after we wanted to: then its answer is ours too.
            if asked.is_none_or(|asked| asked < wanted) {
                let now = (Instant::now(), clock.now());
                *asked = Some(now.0);
                match renew(ports, tenant).await {
                    Ok(()) => *lock(&word.known) = Some(now),
                    Err(error) => warn!(%tenant, error, "no fresh word on the chain"),
                }
            }
        }
        let age = word.age(clock.now())?.as_millis();
        Some(Span::from_millis(u32::try_from(age).unwrap_or(u32::MAX)))
    }

    fn word(&self, tenant: TenantId) -> Arc<Word> {
        let mut words = lock(&self.0);
        let now = Instant::now();
        if let Some(word) = words.get(&tenant) {
            *lock(&word.used) = now;
            return word.clone();
        }
        words.retain(|_, word| lock(&word.used).elapsed() < KEPT_FOR);
        let word = Arc::new(Word { asking: AsyncMutex::default(), known: Mutex::default(), used: Mutex::new(now) });
        words.insert(tenant, word.clone());
        word
    }
}

impl Word {
    fn age(&self, now: Timestamp) -> Option<Duration> {
        let (instant, time) = (*lock(&self.known))?;
        let by_clock = if now > time { (now - time).to_std() } else { Duration::ZERO };
        Some(instant.elapsed().max(by_clock))
    }
}

/// Asks, checks the answer, and makes sure that our replica is as far as it says.
async fn renew<J: Journal>(ports: &Ports<J>, tenant: TenantId) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Answer {
        lease: Envelope,
    }
    let mut random = [0; 32];
    OsRng.fill_bytes(&mut random);
    let nonce = Digest::new(random);
    let request = serde_json::to_vec(&LeaseRequest { nonce }).map_err(|error| error.to_string())?;
    let asked = ports.client.request(subject::lease(tenant), request.into());
    let answer = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| "the exporter does not answer".to_owned())?;
    let answer = answer.map_err(|error| format!("the exporter does not answer: {error}"))?;
    let answer: Answer = serde_json::from_slice(&answer.payload)
        .map_err(|_| format!("the exporter gives no lease: {}", String::from_utf8_lossy(&answer.payload)))?;
    let node = &ports.node;
    let view = node.view(tenant, Footprint::default()).map_err(|error| error.to_string())?;
    let ring = &view.governance().map_err(|rejection| rejection.to_string())?.authority.ring;
    let (role, now) = (ServiceRole::EvidenceExporter, node.clock().now());
    let stated = statement::open::<Lease>(&answer.lease, dsse::LEASE, role, ring, tenant, now);
    let lease = stated.map_err(|error| error.to_string())?.statement;
    if lease.tenant != tenant || lease.nonce != nonce {
        return Err("the lease answers another question".to_owned());
    }
    agree(ports, tenant, &lease).await
}

/// Our replica must have what the lease says, and be as far.
async fn agree<J: Journal>(ports: &Ports<J>, tenant: TenantId, lease: &Lease) -> Result<(), String> {
    let node = &ports.node;
    let said = Sequence(lease.sequence);
    let mut head = node.replica().head(tenant).map_err(|error| error.to_string())?;
    if head.sequence < said {
        node.catch_up(tenant).await.map_err(|error| error.to_string())?;
        head = node.replica().head(tenant).map_err(|error| error.to_string())?;
    }
    if head.sequence < said {
        return Err(format!("the exporter is at {}, we at {}", said.0, head.sequence.0));
    }
    let ours = if head.sequence == said {
        Some(head.hash)
    } else {
        let tail = node.replica().tail(tenant, said, 1).map_err(|error| error.to_string())?;
        tail.into_iter().next().filter(|(sequence, _)| *sequence == said).map(|(_, record)| record.hash())
    };
    match ours {
        // Further back than our tail: we have gone on from there, over links that we checked.
        None => Ok(()),
        Some(hash) if hash == lease.head => Ok(()),
        Some(hash) => Err(format!("the exporter has {} at {}, we have {}", lease.head.short(), said.0, hash.short())),
    }
}
