//! Upstream and downstream: the key that wraps this one where it is another tenant's, and the consumers of this one.

use journal::command::SignedCommand;
use journal::note::{Checkpoint, origin};
use journal::{Authentic, Record, Ring, authority, merkle};
use model::command::{ConsumerAcknowledge, Counterpart, ParentAttest};
use model::event::{ConsumerAcknowledged, ParentAttested};
use model::{Event, EventType, ProblemType, ServiceRole, Timestamp, command};

use crate::state::{InForce, Key, View};
use crate::{Rejection, standing};

/// A consumer knows the key's identity, or uses the key. It speaks with its own key, so nobody speaks for it.
pub(super) fn acknowledge(
    view: &View,
    signed: &SignedCommand,
    params: &ConsumerAcknowledge,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let (governance, key) = (view.governance()?, view.key()?);
    standing::times(signed, now, command::LIFETIME_MAX)?;
    let (acknowledged_by, _) = standing::sole(governance, signed)?;
    if params.identity != key.identity {
        let detail = format!("the consumer knows {}, the key is {}", params.identity, key.identity);
        return Rejection::new(ProblemType::IdentityMismatch, detail).err();
    }
    Ok(Event::ConsumerAcknowledged(ConsumerAcknowledged {
        key_id: key.id,
        acknowledged_by,
        readiness: params.readiness,
        counterpart: params.counterpart,
        command: signed.envelope.clone(),
    }))
}

/// The proof that a parent elsewhere was activated: its event, authentic under an authority that a trusted root signed, and
/// included in a checkpoint that the other platform's exporter signed.
///
/// The proof shows that the parent was activated and until when, not that it still is active: hence the policy's
/// `proof_max_age`, and the parent's own `deactivate_at`.
pub(super) fn attest(
    view: &View,
    signed: &SignedCommand,
    params: &ParentAttest,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let (governance, key) = (view.governance()?, view.key()?);
    standing::times(signed, now, command::LIFETIME_MAX)?;
    let (attested_by, principal) = standing::sole(governance, signed)?;
    let policy = governance.policy()?;
    let rule = policy.rule_for(&key.spec.traits())?;
    standing::role(principal, &rule.requesters)?;
    let proved = proved(policy, key, params)?;
    // The same proof brought again says nothing new of the parent.
    if let Some(held) = key.parent_proof.filter(|held| proved.size <= held.size) {
        let detail = format!("a proof of {} events is held; this one is of {}", held.size, proved.size);
        return Rejection::new(ProblemType::ProofInvalid, detail).err();
    }
    Ok(Event::ParentAttested(ParentAttested {
        key_id: key.id,
        root: proved.root,
        activation: proved.activation,
        deactivate_at: proved.deactivate_at,
        size: proved.size,
        attested_by,
        command: signed.envelope.clone(),
    }))
}

/// Whether a proof that the key's parent elsewhere was activated holds under this policy.
pub fn check_parent(policy: &InForce, key: &Key, params: &ParentAttest) -> Result<(), Rejection> {
    proved(policy, key, params).map(drop)
}

/// What a proof shows.
struct Proved {
    root: model::Fingerprint,
    activation: Counterpart,
    deactivate_at: Timestamp,
    size: u64,
}

fn proved(policy: &InForce, key: &Key, params: &ParentAttest) -> Result<Proved, Rejection> {
    let invalid = |what: &dyn std::fmt::Display| Rejection::new(ProblemType::ProofInvalid, what);
    let Some((tenant, parent)) = key.spec.wrapped_by.and_then(|named| Some((named.tenant?, named.key_id))) else {
        return invalid(&"the key names no parent in another tenant").err();
    };
    let mut roots = policy.policy.parents.trusted_roots.iter();
    let opened = roots.find_map(|root| authority::open(&params.authority, *root).ok().map(|opened| (*root, opened)));
    let (root, statement) = opened.ok_or_else(|| invalid(&"no root that the policy trusts signed its authority"))?;
    let ring = Ring::new(&statement).map_err(|error| invalid(&error))?;
    let record = Record { signature: params.signature.clone(), payload: params.event.0.clone().into() };
    let authentic = Authentic::open(&record, &ring).map_err(|void| invalid(&void))?;
    let body = &authentic.body;
    let is_by_activator = ring.role(body.signer, body.tenant, body.time) == Some(ServiceRole::Activator);
    if body.tenant != tenant || !is_by_activator || body.event_type != EventType::KeyActivated.full_name() {
        return invalid(&"it is not a `key.activated` of that tenant, signed by its activator").err();
    }
    let Ok(Event::KeyActivated(activated)) = Event::parse(EventType::KeyActivated, &body.data) else {
        return invalid(&"its data are not those of `key.activated`").err();
    };
    if activated.key_id != parent {
        return invalid(&format!("it is about {}, the parent is {parent}", activated.key_id)).err();
    }
    let exporters = ring.of_role(ServiceRole::EvidenceExporter).map(|service| service.public_key.fingerprint());
    let keys = exporters.filter_map(|fingerprint| ring.key(fingerprint));
    let checkpoint =
        keys.filter_map(|key| Checkpoint::open(&params.checkpoint, key)).find(|point| point.origin == origin(tenant));
    let checkpoint = checkpoint.ok_or_else(|| invalid(&"no exporter of that tenant signed the checkpoint"))?;
    let path: Vec<merkle::Hash> = params.path.iter().map(|hash| *hash.as_bytes()).collect();
    if !merkle::includes(&checkpoint.root, checkpoint.size, params.index, authentic.hash.as_bytes(), &path) {
        return invalid(&"the path does not lead from the event to the checkpoint's root").err();
    }
    let activation = Counterpart { tenant, event: authentic.hash };
    Ok(Proved { root, activation, deactivate_at: activated.deactivate_at, size: checkpoint.size })
}
