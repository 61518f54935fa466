//! Which event is what in OCSF. Every type stands in the tables here, so that a new one can't be forgotten.

use model::event::{Deadline, KeyActivated};
use model::evidence::Probe;
use model::key::Reason;
use model::text::Text;
use model::{Event, EventHash, EventType};
use serde_json::{Map, Value};

use super::entity::Entity;
use super::{Context, ENTITY_MANAGEMENT, HIGH, Line, MEDIUM, SECURITY_CONTROL, json_of};

// The activities of Entity Management. Those from ACTIVATE on are about keys only: who counts them counts keys.
const CREATE: u32 = 1;
const READ: u32 = 2;
const UPDATE: u32 = 3;
const DELETE: u32 = 4;
const ENROLL: u32 = 6;
const UNENROLL: u32 = 7;
const ENABLE: u32 = 8;
const DISABLE: u32 = 9;
const ACTIVATE: u32 = 10;
const DEACTIVATE: u32 = 11;
const SUSPEND: u32 = 12;
const RESUME: u32 = 13;

/// The activity of Entity Management that an event is, and what it says of its entity. `None` for what is bookkeeping, or
/// of another class.
fn activity(event: EventType) -> Option<(u32, &'static str)> {
    Some(match event {
        EventType::TenantCreated => (CREATE, "begins"),
        EventType::AuthorityChanged => (UPDATE, "is served under a newer authority statement"),
        EventType::PrincipalEnrolled => (ENROLL, "is enrolled"),
        EventType::PrincipalChanged => (UPDATE, "has other roles"),
        EventType::PrincipalRevoked => (UNENROLL, "is revoked"),
        EventType::PrincipalRotated => (UPDATE, "has another key"),
        EventType::PrincipalEquipped => (UPDATE, "has another sealing key"),
        EventType::DelegationGranted => (UPDATE, "delegates a vote"),
        EventType::DelegationEnded => (UPDATE, "has a delegation ended"),
        EventType::AccessReviewed => (READ, "had its access reviewed"),
        EventType::PolicyAdopted => (ENABLE, "is the policy in force"),
        // Or DISABLE, where it is declared as not applicable.
        EventType::PackDeclared => (ENABLE, "is declared"),
        EventType::FactAsserted => (UPDATE, "has a fact asserted"),
        EventType::FactWithdrawn => (UPDATE, "has a fact withdrawn"),
        EventType::DocumentAdopted => (ENABLE, "is adopted"),
        EventType::StoreRegistered => (ENROLL, "is registered"),
        EventType::BaselineAdopted => (ENROLL, "has its keys adopted by a baseline"),
        EventType::KeyAdopted => (ENROLL, "was there before and is adopted, its activation not evidenced"),
        EventType::ControlEvaluated => (READ, "had the control's tests evaluated"),
        EventType::EvidenceExported => (CREATE, "is exported"),
        EventType::AlgorithmEnded => (DISABLE, "is no longer allowed"),
        EventType::KeyRevalidated => (UPDATE, "has waiting keys revalidated"),
        EventType::KeyGenerated => (CREATE, "is generated, pre-active"),
        EventType::KeyActivated => (ACTIVATE, "is activated"),
        EventType::KeySuspended => (SUSPEND, "is suspended"),
        EventType::KeyResumed => (RESUME, "is resumed"),
        EventType::KeyDeactivated => (DEACTIVATE, "is deactivated"),
        EventType::KeyCompromised => (UPDATE, "is declared compromised"),
        EventType::KeyDestroyed => (DELETE, "is to be destroyed"),
        EventType::KeyExpired => (DEACTIVATE, "was never activated and has expired"),
        EventType::ActivationRequested => (UPDATE, "is asked to be activated"),
        EventType::ActivationApproved => (UPDATE, "has an approval"),
        EventType::ActivationRejected => (UPDATE, "has its activation rejected"),
        EventType::ActivationCancelled => (UPDATE, "has its request taken back"),
        EventType::ActivationAuthorized => (UPDATE, "may be activated: the quorum is complete"),
        EventType::ActivationHeld => (UPDATE, "has activation put on hold"),
        EventType::ActivationReleased => (UPDATE, "has a hold lifted"),
        EventType::ActivationReviewed => (READ, "had its emergency activation reviewed"),
        EventType::ConsumerAcknowledged => (UPDATE, "is acknowledged by a consumer"),
        EventType::ParentAttested => (UPDATE, "has its parent key proved active"),
        EventType::ActivationLapsed => (UPDATE, "has a request or an approval run out"),
        EventType::CustodyApplied => (UPDATE, "has its state applied in the store"),
        EventType::CheckpointSigned | EventType::DocumentStored => return None,
        EventType::CustodyReconciled => (READ, "has its keys in a store compared with the chain"),
        EventType::CustodyUsed | EventType::CustodyRefused | EventType::CustodyDrifted => return None,
        EventType::DeadlineWarned | EventType::DeadlineMissed | EventType::ProbeRecorded => return None,
    })
}

/// What a deadline is for, and the point of the control that it belongs to.
pub(super) fn deadline(deadline: Deadline) -> (&'static str, &'static str) {
    match deadline {
        Deadline::Expiry => ("Activation", "CEK-15.08"),
        Deadline::Revalidation => ("Revalidation", "CEK-15.16"),
        Deadline::Deactivation => ("The end of use", "CEK-15.14"),
        Deadline::ActivationReview => ("Review of the emergency activation", "CEK-15.03"),
        Deadline::AccessReview => ("Review of access", "CEK-15.12"),
        Deadline::PackReview => ("Review of a legal pack's declaration", "CEK-15.07"),
        Deadline::PackSource => ("Review of a legal pack's sources", "CEK-15.07"),
        Deadline::AlgorithmEnd => ("The end of an algorithm", "CEK-15.14"),
        Deadline::DocumentReview => ("Review of a document", "CEK-15.11"),
        Deadline::ControlEvaluation => ("Evaluation of the control", "CEK-15"),
        Deadline::Request => ("Authorisation of a request", "CEK-15.03"),
        Deadline::Rotation => ("Rotation of an adopted key", "CEK-15.03"),
        Deadline::Approval => ("Use of an approval", "CEK-15.03"),
    }
}

/// The point of the control that a probe tries.
pub(super) fn probe(probe: Probe) -> &'static str {
    match probe {
        Probe::ActivateUnapproved => "CEK-15.03",
        Probe::UsePreActive => "CEK-15.01",
    }
}

impl<'a> Context<'a> {
    pub(super) fn entity_management(self, event: &'a Event) -> Option<Line<'a>> {
        let (mut activity, says) = activity(event.event_type())?;
        if matches!(event, Event::PackDeclared(declared) if !declared.applied) {
            activity = DISABLE;
        }
        let entity = self.entity(event);
        let mut line = self.line_of(event, ENTITY_MANAGEMENT, activity, format!("{} {says}", entity.label()));
        line.entity = Some(entity);
        line.severity_id = severity(event).unwrap_or(line.severity_id);
        line.comment = comment(event);
        line.metadata.correlation_uid = request(event, self.prepared.hash);
        line.unmapped = details(event);
        let further = self.further_signers();
        if !further.is_empty() {
            line.unmapped.insert("further_signers".into(), json_of(&further));
        }
        // The log of activations has who initiated each, also where it came by itself later.
        if let (Event::KeyActivated(activated), Some(actor)) = (event, &mut line.actor) {
            actor.user = Some(self.person(activated.initiated_by));
        }
        line.policy = match event {
            Event::KeyActivated(activated) => Some(self.in_force(activated.policy)),
            Event::ActivationRequested(requested) => Some(self.in_force(requested.policy)),
            Event::ActivationAuthorized(authorized) => Some(self.in_force(authorized.policy)),
            _ => None,
        };
        if line.policy.is_some() {
            line.metadata.profiles = SECURITY_CONTROL;
        }
        Some(line)
    }

    /// What an event is about: its key where it names one, else what else it names, else the tenant.
    fn entity(self, event: &'a Event) -> Entity<'a> {
        if let Some(key) = event.key_id() {
            return self.key(key);
        }
        match event {
            Event::PrincipalEnrolled(enrolled) => self.principal(enrolled.fingerprint),
            Event::PrincipalChanged(changed) => self.principal(changed.principal),
            Event::PrincipalRevoked(revoked) => self.principal(revoked.principal),
            Event::PrincipalRotated(rotated) => self.principal(rotated.principal),
            Event::PrincipalEquipped(equipped) => self.principal(equipped.principal),
            Event::DelegationGranted(granted) => self.principal(granted.from),
            Event::PolicyAdopted(adopted) => {
                Entity::policy("Policy", self.prepared.hash, &adopted.name, adopted.version)
            }
            Event::PackDeclared(declared) => {
                Entity::policy("Legal Pack", self.prepared.hash, &declared.pack, declared.version)
            }
            Event::DocumentAdopted(adopted) => {
                Entity::policy("Document", self.prepared.hash, &adopted.name, adopted.version)
            }
            Event::StoreRegistered(registered) => {
                let name = registered.store.name.as_str();
                Entity::other("Key Store", name.to_owned(), Some(name))
            }
            Event::BaselineAdopted(adopted) => {
                let name = adopted.store.as_str();
                Entity::other("Key Store", name.to_owned(), Some(name))
            }
            Event::EvidenceExported(exported) => Entity::other("Evidence Bundle", exported.manifest.to_string(), None),
            Event::AlgorithmEnded(ended) => {
                let name = ended.algorithm.name();
                Entity::other("Algorithm", name.to_owned(), Some(name))
            }
            event => match request(event, self.prepared.hash) {
                Some(request) => Entity::other("Activation Request", request.to_string(), None),
                None => self.tenant(),
            },
        }
    }
}

/// What a person should look at, more than at others.
fn severity(event: &Event) -> Option<u8> {
    match event {
        Event::KeyCompromised(_) => Some(HIGH),
        Event::KeyActivated(KeyActivated { review_by: Some(_), .. }) => Some(MEDIUM),
        Event::ActivationRequested(requested) if requested.break_glass => Some(MEDIUM),
        _ => None,
    }
}

/// Why, in the words of whoever asked.
fn comment(event: &Event) -> Option<&Text> {
    fn text(reason: &Option<Reason>) -> Option<&Text> {
        reason.as_ref().map(|reason| &reason.text)
    }
    match event {
        Event::KeySuspended(suspended) => text(&suspended.reason),
        Event::KeyDeactivated(deactivated) => text(&deactivated.reason),
        Event::KeyDestroyed(destroyed) => text(&destroyed.reason),
        Event::KeyResumed(resumed) => Some(&resumed.reason.text),
        Event::KeyCompromised(compromised) => Some(&compromised.reason.text),
        Event::ActivationRequested(requested) => Some(&requested.reason.text),
        Event::ActivationRejected(rejected) => Some(&rejected.reason.text),
        Event::ActivationCancelled(cancelled) => Some(&cancelled.reason.text),
        Event::PrincipalRevoked(revoked) => Some(&revoked.reason.text),
        Event::ActivationHeld(held) => Some(&held.reference),
        Event::ActivationReviewed(reviewed) => Some(&reviewed.findings),
        _ => None,
    }
}

/// The request that an event belongs to, which may be the event itself.
fn request(event: &Event, this: EventHash) -> Option<EventHash> {
    match event {
        Event::ActivationRequested(_) => Some(this),
        Event::ActivationApproved(approved) => Some(approved.request),
        Event::ActivationRejected(rejected) => Some(rejected.request),
        Event::ActivationCancelled(cancelled) => Some(cancelled.request),
        Event::ActivationAuthorized(authorized) => Some(authorized.request),
        Event::ActivationLapsed(lapsed) => Some(lapsed.request),
        Event::ActivationHeld(held) => held.request,
        Event::ActivationReleased(released) => released.request,
        Event::KeyActivated(activated) => Some(activated.request),
        _ => None,
    }
}

/// What there is no place for in OCSF and somebody who watches wants to see all the same.
fn details(event: &Event) -> Map<String, Value> {
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| drop(map.insert(name.to_owned(), value));
    match event {
        Event::KeyGenerated(generated) => {
            put("identity", generated.identity.to_string().into());
            put("pre_active_until", json_of(&generated.pre_active_until));
        }
        // What the sixth auditing guideline asks to find in one record.
        Event::KeyActivated(activated) => {
            put("mode", json_of(&activated.mode));
            put("request", json_of(&activated.request));
            put("approvals", json_of(&activated.approvals));
            put("legal_basis", json_of(&activated.legal_basis));
            put("affected_systems", json_of(&activated.affected_systems));
            put("change_ref", json_of(&activated.change_ref));
            put("deactivate_at", json_of(&activated.deactivate_at));
            put("emergency", activated.review_by.is_some().into());
        }
        Event::BaselineAdopted(adopted) => {
            put("keys", adopted.manifest.count.into());
            put("taken_at", json_of(&adopted.taken_at));
            put("rotate_by", json_of(&adopted.rotate_by));
        }
        Event::KeyAdopted(adopted) => {
            put("identity", adopted.identity.to_string().into());
            put("algorithm", json_of(&adopted.algorithm));
            put("label", json_of(&adopted.label));
            put("baseline", json_of(&adopted.cause));
            put("rotate_by", json_of(&adopted.rotate_by));
        }
        Event::KeySuspended(suspended) => put("affected", json_of(&suspended.affected)),
        Event::KeyCompromised(compromised) => put("affected", json_of(&compromised.affected)),
        Event::KeyRevalidated(revalidated) => put("keys", json_of(&revalidated.keys)),
        Event::ActivationRequested(requested) => put("emergency", requested.break_glass.into()),
        Event::ActivationApproved(approved) => put("on_behalf_of", json_of(&approved.on_behalf_of)),
        Event::ActivationHeld(held) => put("kind", json_of(&held.kind)),
        Event::DelegationGranted(granted) => put("to", json_of(&granted.to)),
        Event::DelegationEnded(ended) => put("delegation", json_of(&ended.delegation)),
        Event::PrincipalEnrolled(enrolled) => put("roles", json_of(&enrolled.principal.roles)),
        Event::PrincipalChanged(changed) => put("roles", json_of(&changed.roles)),
        Event::PrincipalRotated(rotated) => put("new_key", json_of(&rotated.fingerprint)),
        Event::PrincipalEquipped(equipped) => put("sealing_key", json_of(&equipped.sealing_key)),
        Event::FactAsserted(asserted) => put("fact", json_of(&asserted.fact)),
        Event::FactWithdrawn(withdrawn) => put("fact", json_of(&withdrawn.fact)),
        Event::ConsumerAcknowledged(acknowledged) => put("readiness", json_of(&acknowledged.readiness)),
        Event::DocumentAdopted(adopted) => {
            put("kind", json_of(&adopted.kind));
            put("document", json_of(&adopted.document));
            put("covers", json_of(&adopted.covers));
        }
        Event::StoreRegistered(registered) => put("store", json_of(&registered.store)),
        Event::ControlEvaluated(evaluated) => {
            put("controls", json_of(&evaluated.controls));
            put("next_by", json_of(&evaluated.next_by));
        }
        Event::EvidenceExported(exported) => {
            put("from", exported.from.into());
            put("size", exported.size.into());
        }
        Event::CustodyApplied(applied) => {
            put("applied", json_of(&applied.state));
            put("before", json_of(&applied.before));
            put("after", json_of(&applied.after));
        }
        _ => {}
    }
    map.retain(|_, value| !value.is_null());
    map
}
