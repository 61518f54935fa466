//! Opening a sealed key, once the verified chain has it activated, with the shares that its approvers brought.
//!
//! The shares lie in the chain, sealed to the key's store. They are opened here and not before; as long as fewer than the
//! threshold are there, nobody can open the key. Asked again after a crash, the same shares give the same key.

use journal::Journal;
use keystore::sealed::{Subject, brought_info};
use keystore::{KeyStore, Share};
use lifecycle::state::Key;
use lifecycle::{Input, Rejection, View, sealing};
use model::command::Sealed;
use model::event::CustodyDrifted;
use model::evidence::Drift;
use model::statement::Sealing;
use model::{EventHash, Fingerprint, KeyState, Name, ProblemType, TenantId, Text};
use service::{Recorded, clock};
use tracing::{error, warn};

use crate::{Custodian, ROLE};

/// A sealed key's shares, as its approvals brought them.
pub(crate) struct Brought {
    subject: Subject,
    sealing: Sealing,
    request: EventHash,
    /// Who brought which, by number and by label.
    shares: Vec<(Fingerprint, Name, u8, Sealed)>,
}

/// What came of opening a key.
pub(crate) enum Opened {
    /// It is open.
    Open,
    /// Too few shares are its own: what there is, in words.
    Shut(String),
}

/// What the approvals brought of the view's key; `None` where it is not sealed, or was never activated.
pub(crate) fn brought(view: &View, tenant: TenantId) -> Result<Option<Brought>, Rejection> {
    let (governance, key) = (view.governance()?, view.key()?);
    let (Some(sealing), Some(command), Some(request)) = (&key.sealing, key.asked, &view.request) else {
        return Ok(None);
    };
    let label = |who: Fingerprint| Some(governance.people.get(&who)?.principal.label.clone());
    let one = |one: sealing::Brought<'_>| Some((one.by, label(one.by)?, one.number, one.share.clone()));
    let shares = sealing::brought(governance, sealing, request).filter_map(one).collect();
    let subject = Subject { tenant, key_id: key.id, command };
    Ok(Some(Brought { subject, sealing: sealing.clone(), request: request.hash, shares }))
}

/// Whether a store that has this state is on its way to activate what it has sealed.
pub(crate) fn is_to_open(held: Option<KeyState>, path: &[KeyState]) -> bool {
    held == Some(KeyState::PreActive) && path.contains(&KeyState::Active)
}

impl Brought {
    /// Opens the key in its store. What is none of its shares is named, and passed over where there are enough others.
    pub(crate) fn unseal(&self, store: &dyn KeyStore) -> Result<Opened, keystore::Error> {
        let Subject { tenant, key_id, .. } = self.subject;
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for (by, label, number, sealed) in &self.shares {
            let opened = store.open(sealed, &brought_info(tenant, key_id, self.request, *by)).ok();
            match opened.and_then(|bytes| Share::new(*number, &bytes)) {
                Some(share) if share.is_of(&self.subject, &self.sealing) => good.push(share),
                _ => bad.push(format!("`{label}`")),
            }
        }
        let bad = bad.join(", ");
        match store.unseal(tenant, key_id, &good) {
            Ok(()) => {
                if !bad.is_empty() {
                    warn!(%tenant, %key_id, by = bad, "what they brought is not their share of the key; there were enough others");
                }
                Ok(Opened::Open)
            }
            Err(keystore::Error::SharesMissing { good, threshold, .. }) => {
                let bad = if bad.is_empty() { String::new() } else { format!("; not from {bad}") };
                Ok(Opened::Shut(format!("sealed: {good} of {threshold} shares are its own{bad}")))
            }
            Err(error) => Err(error),
        }
    }
}

/// The chain has the key active and nothing opens it: said loudly, and recorded, once.
pub(crate) async fn stays_shut<J: Journal>(
    custodian: &Custodian<J>,
    tenant: TenantId,
    key: &Key,
    store: &Name,
    what: String,
) -> Result<Recorded, Rejection> {
    let (node, key_id) = (&custodian.ports.node, key.id);
    error!(%tenant, %key_id, "ALARM: an activated key stays {what}: destroy it, and have another generated");
    let found = what.parse::<Text>().map_err(|error| Rejection::new(ProblemType::Malformed, error))?;
    if key.last_drift.as_ref().is_none_or(|last| last.drift != Drift::State || last.found != found) {
        let drifted = CustodyDrifted {
            report: clock::command_id(),
            key_id,
            store: store.clone(),
            drift: Drift::State,
            found,
            set_back: false,
            seen_at: node.clock().now(),
            cause: key.transition,
        };
        node.record(tenant, ROLE, Input::Drifted(drifted)).await?;
    }
    Rejection::new(ProblemType::KeyNotActive, format!("the key stays {what}")).err()
}
