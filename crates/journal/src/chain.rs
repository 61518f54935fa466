//! A tenant's chain, event by event: who comes next, and who is void.

use model::{EventHash, Sequence, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::event::{Authentic, Record};
use crate::merkle::Frontier;

/// The only event type whose time may go back: the root resets the floor, so one bad clock can't poison a chain for good.
const RESETS_TIME: &str = "dev.keylatch.authority.changed.v1";

/// Where a chain stands: the last event's place and hash, void or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The last event's place; [`Sequence::NONE`] before the first.
    pub sequence: Sequence,
    /// The last event's hash; [`EventHash::ZERO`] before the first.
    pub hash: EventHash,
}

impl Head {
    /// Before the first event.
    pub const EMPTY: Self = Self { sequence: Sequence::NONE, hash: EventHash::ZERO };
}

/// Why an event's form is void. It changes nothing; the chain goes on over its hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Void {
    /// The signature header is not a fingerprint, one space and 64 bytes in canonical base64.
    #[error("signature-header: it is not `<fingerprint> <base64>`")]
    Header,
    /// The signer is not among the keys that may sign in this tenant at the event's time.
    #[error("unknown-signer: {0} is not a key that may sign in this tenant at this time")]
    UnknownSigner(model::Fingerprint),
    /// The signature does not verify.
    #[error("bad-signature: it does not verify over these bytes")]
    Signature,
    /// Too large, or not strict JSON.
    #[error("malformed: {0}")]
    Malformed(String),
    /// Not exactly the members of an event, each of its form.
    #[error("members: {0}")]
    Members(String),
    /// Not a versioned Keylatch event type.
    #[error("type: `{0}` is not dev.keylatch.<noun>.<verb>.v1")]
    Type(String),
    /// Not a time.
    #[error("time-format: `{0}` is not a time in the calendar with milliseconds")]
    Time(String),
    /// Signed by one key, named as another.
    #[error("signer-mismatch: the body names another signer than the header")]
    Signer,
    /// Another tenant's.
    #[error("wrong-tenant: it is not this chain's tenant")]
    Tenant,
    /// Not this place.
    #[error("wrong-sequence: it does not name this place in the chain")]
    Sequence,
    /// Not after the event before.
    #[error("broken-link: it does not name the hash of the event before")]
    Link,
    /// Before its time.
    #[error("time-backwards: it is older than the event before")]
    TimeBackwards,
}

impl Void {
    /// Whether an authentic event stands where it does not belong: somebody who may sign wrote two histories, or an event
    /// of this one was copied, which takes no key. Who has the history can tell.
    pub fn is_fork(&self) -> bool {
        matches!(self, Self::Sequence | Self::Link)
    }
}

/// The form of a chain so far. Its size does not grow with the number of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    tenant: TenantId,
    head: Head,
    /// The time of the last event that passed form.
    time: Timestamp,
    tree: Frontier,
}

impl Chain {
    /// Before the first event.
    pub fn new(tenant: TenantId) -> Self {
        Self { tenant, head: Head::EMPTY, time: Timestamp::MIN, tree: Frontier::default() }
    }

    /// Whose it is.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Where it stands.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The time of the last event that passed form: the earliest that the next may have.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The RFC 6962 tree over the hashes of all events so far.
    pub fn tree(&self) -> &Frontier {
        &self.tree
    }

    /// Whether a record would stand as the next event. `opened` is what [`Authentic::open`] said of it (done apart,
    /// because signatures can be checked in parallel).
    pub fn check(&self, opened: Result<&Authentic, &Void>) -> Result<(), Void> {
        let body = &opened.map_err(Clone::clone)?.body;
        if body.tenant != self.tenant {
            return Err(Void::Tenant);
        }
        if body.sequence != self.head.sequence.next() {
            return Err(Void::Sequence);
        }
        if body.previous != self.head.hash {
            return Err(Void::Link);
        }
        if body.time < self.time && body.event_type != RESETS_TIME {
            return Err(Void::TimeBackwards);
        }
        Ok(())
    }

    /// Takes the next event into the chain, whatever it is, and says whether it passes form.
    pub fn admit(&mut self, record: &Record, opened: Result<&Authentic, &Void>) -> Result<(), Void> {
        let verdict = self.check(opened);
        let hash = opened.map_or_else(|_| record.hash(), |event| event.hash);
        self.head = Head { sequence: self.head.sequence.next(), hash };
        self.tree.push(hash.as_bytes());
        if let (Ok(event), Ok(())) = (opened, &verdict) {
            self.time = event.body.time;
        }
        verdict
    }
}
