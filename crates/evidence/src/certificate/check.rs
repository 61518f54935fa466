//! Checking an activation certificate, under the pinned root and with nothing else to go by.

use std::collections::{BTreeMap, BTreeSet};

use journal::merkle::{self, Hash};
use journal::note::{self, Note, NoteKey, Opened};
use journal::{Body, Ring};
use lifecycle::quorum::{Vote, assess};
use lifecycle::{Prepared, manifest, prepare};
use model::event::{ActivationRequested, KeyActivated, KeyGenerated};
use model::people::{Principal, PrincipalKind};
use model::policy::{Policy, Rule};
use model::{Action, Digest, Event, EventHash, Fingerprint, KeyId, KeyState, Name, ServiceRole, TenantId, Timestamp};
use serde::Serialize;

use super::{Certificate, FORMAT};
use crate::export::record_of;

/// What a certificate comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whose key.
    pub tenant: TenantId,
    /// The root that it was checked under.
    pub root: Fingerprint,
    /// The key.
    pub key_id: KeyId,
    /// What it is called.
    pub label: Name,
    /// When it was activated, where that could be read.
    pub activated_at: Option<Timestamp>,
    /// Until when it may be used, by its activation.
    pub deactivate_at: Option<Timestamp>,
    /// The policy that was in force: hash of its `policy.adopted`.
    pub policy: Option<EventHash>,
    /// The approvals that it names.
    pub approvals: Vec<Approved>,
    /// How many events the checkpoint commits to.
    pub size: Option<u64>,
    /// The witnesses, of those that were named, who cosigned it.
    pub cosigned_by: Vec<String>,
    /// What was looked at, in order.
    pub checks: Vec<Check>,
    /// What was not, and can't be from this file alone.
    pub not_checked: Vec<&'static str>,
}

impl Report {
    /// Whether everything that was looked at holds.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.wrong.is_none())
    }

    /// The first thing that does not hold.
    pub fn first_wrong(&self) -> Option<&Check> {
        self.checks.iter().find(|check| check.wrong.is_some())
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is claimed.
    pub claim: &'static str,
    /// What is wrong with it; nothing where it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong: Option<String>,
}

/// An approval in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Approved {
    /// Who signed it.
    pub by: Fingerprint,
    /// What they are called, by their enrolment.
    pub label: Option<Name>,
    /// When.
    pub at: Timestamp,
    /// Its `activation.approved`.
    pub event: EventHash,
}

const NOT_CHECKED: [&str; 5] = [
    "that nothing came between: no event is missing from a whole history; from a certificate, a revocation, a hold or a \
     newer authority between two of its events may be",
    "what became of the key afterwards: a certificate is of its activation",
    "legal packs, facts, parents and consumers: the activation names them by hash; the evidence bundle decides them again",
    "what the key store really holds: custody events are the custodian's word",
    "that the root's fingerprint is the right one: that you must know from somebody you trust",
];

/// Checks a certificate under this root. Cosignatures of these witnesses are counted.
pub fn check(certificate: &Certificate, root: Fingerprint, witnesses: &[NoteKey]) -> Report {
    let mut checks = Checks(Vec::new());
    checks.add("it is a certificate of this form", form(certificate));
    let story = Story::read(certificate, root, &mut checks);
    let note = story.note(certificate, witnesses);
    checks
        .add("an exporter that the root names signed the checkpoint", note.as_ref().map(|_| ()).map_err(Clone::clone));
    let opened = note.ok();
    checks.add(
        "the checkpoint commits to each of the events, at its place",
        story.included(certificate, opened.as_ref()),
    );
    checks.add("the activation is this key's, by whom and of what it says", story.activation(certificate));
    checks.add("the request is of this key, or of a list that has it", story.request(certificate));
    checks.add("the policy in force is the one that it names, adopted by a quorum of admins", story.policy());
    checks.add(
        "every approval that it names is there, of this request, by a person other than who asked",
        story.approvals(),
    );
    checks.add(
        "these approvals fill the policy's stages, by the roles that the people were enrolled with",
        story.quorum(),
    );
    checks.add("the authorisation names these approvals", story.authorized());
    checks.add("the custodian said that the store has it active, if it says so here", story.custody());
    let activated = story.activated.as_ref().map(|(_, activated)| activated);
    Report {
        tenant: certificate.tenant,
        root,
        key_id: certificate.key_id,
        label: certificate.label.clone(),
        activated_at: activated.map(|activated| activated.activated_at),
        deactivate_at: activated.map(|activated| activated.deactivate_at),
        policy: activated.map(|activated| activated.policy),
        approvals: story.named(),
        size: opened.as_ref().map(|opened| opened.size),
        cosigned_by: opened.map(|opened| opened.cosigned_by).unwrap_or_default(),
        checks: checks.0,
        not_checked: NOT_CHECKED.to_vec(),
    }
}

struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, claim: &'static str, outcome: Result<(), String>) {
        self.0.push(Check { claim, wrong: outcome.err() });
    }
}

fn form(certificate: &Certificate) -> Result<(), String> {
    if certificate.format != FORMAT {
        return Err(format!("its format is `{}`, not `{FORMAT}`", certificate.format));
    }
    let ordered = certificate.events.windows(2).all(|pair| match pair {
        [before, after] => before.index < after.index,
        _ => true,
    });
    if ordered { Ok(()) } else { Err("its events are not in order".to_owned()) }
}

/// A checkpoint whose signature holds.
struct Committed {
    size: u64,
    root: Hash,
    cosigned_by: Vec<String>,
}

/// What the events tell, each read and its signatures checked.
#[derive(Default)]
struct Story {
    /// The authority in force at the end.
    ring: Ring,
    generated: Option<KeyGenerated>,
    requested: Option<(EventHash, ActivationRequested)>,
    approved: BTreeMap<EventHash, (Body, model::event::ActivationApproved, BTreeSet<Fingerprint>)>,
    authorized: Option<(EventHash, model::event::ActivationAuthorized)>,
    activated: Option<(EventHash, KeyActivated)>,
    adopted: Option<(EventHash, Policy, BTreeSet<Fingerprint>)>,
    people: BTreeMap<Fingerprint, Principal>,
    admin_quorum: u8,
    applied: Vec<(EventHash, KeyState)>,
}

impl Story {
    fn read(certificate: &Certificate, root: Fingerprint, checks: &mut Checks) -> Self {
        let mut story = Self::default();
        let mut wrong = None;
        for proved in &certificate.events {
            let taken = record_of(proved.event.clone()).map_err(|error| error.to_string()).and_then(|record| {
                let prepared = prepare(record, &story.ring, root);
                story.take(certificate, proved.index, &prepared)
            });
            if let Err(why) = taken {
                wrong.get_or_insert(format!("event {}: {why}", proved.index + 1));
            }
        }
        let begins = certificate.events.first().is_some_and(|first| first.index == 0);
        let begins = if begins { Ok(()) } else { Err("it does not begin with the tenant's first event".to_owned()) };
        checks.add("the tenant begins with a statement of the root, who serves it", begins);
        checks.add(
            "every event is signed by a service that the root named for this, and what it carries by whom it says",
            wrong.map_or(Ok(()), Err),
        );
        story
    }

    /// Takes an event in, where its signatures hold and its signer had the role.
    fn take(&mut self, certificate: &Certificate, index: u64, prepared: &Prepared) -> Result<(), String> {
        let (Some(body), Some(event)) = (prepared.body(), prepared.event()) else {
            return Err(prepared.fault().unwrap_or_else(|| "it can't be read".to_owned()));
        };
        if body.tenant != certificate.tenant {
            return Err("it is another tenant's".to_owned());
        }
        if body.sequence.0 != index + 1 {
            return Err(format!("it is the tenant's event {}", body.sequence.0));
        }
        if let Some(authority) = prepared.authority() {
            self.ring = Ring::new(authority).map_err(|error| error.to_string())?;
        }
        let role = self.ring.role(body.signer, body.tenant, body.time);
        if !role.is_some_and(|role| event.event_type().signers().contains(&role)) {
            return Err(format!("its signer may not sign {}", event.event_type()));
        }
        self.remember(prepared.hash, body, event, prepared);
        Ok(())
    }

    fn remember(&mut self, hash: EventHash, body: &Body, event: &Event, prepared: &Prepared) {
        let signers = || {
            let signers = prepared.command().map(|signed| &signed.signers);
            signers.into_iter().flatten().map(|signer| signer.key.fingerprint()).collect::<BTreeSet<_>>()
        };
        match event {
            Event::TenantCreated(event) => {
                self.admin_quorum = event.admin_quorum;
                self.people.extend(event.admins.iter().map(|admin| (admin.fingerprint(), admin.clone())));
            }
            Event::PrincipalEnrolled(event) => drop(self.people.insert(event.fingerprint, event.principal.clone())),
            Event::PrincipalChanged(event) => {
                if let Some(person) = self.people.get_mut(&event.principal) {
                    person.roles.clone_from(&event.roles);
                }
            }
            Event::PrincipalRevoked(event) => drop(self.people.remove(&event.principal)),
            Event::PrincipalRotated(event) => {
                if let Some(old) = self.people.remove(&event.principal) {
                    self.people.insert(event.fingerprint, Principal { key: event.key.clone(), ..old });
                }
            }
            Event::PolicyAdopted(_) => {
                if let Some(Action::PolicyAdopt(adopt)) = prepared.command().map(|signed| &signed.command.action) {
                    self.adopted = Some((hash, adopt.policy.clone(), signers()));
                }
            }
            Event::KeyGenerated(event) => self.generated = Some(event.clone()),
            Event::ActivationRequested(event) => self.requested = Some((hash, event.clone())),
            Event::ActivationApproved(event) => {
                self.approved.insert(hash, (body.clone(), event.clone(), signers()));
            }
            Event::ActivationAuthorized(event) => self.authorized = Some((hash, event.clone())),
            Event::KeyActivated(event) => self.activated = Some((hash, event.clone())),
            Event::CustodyApplied(event) => self.applied.push((event.cause, event.state)),
            _ => {}
        }
    }

    fn note(&self, certificate: &Certificate, witnesses: &[NoteKey]) -> Result<Committed, String> {
        let note = Note::parse(&certificate.checkpoint).map_err(|error| error.to_string())?;
        let exporters = self.ring.of_role(ServiceRole::EvidenceExporter);
        let keys = exporters.filter_map(|service| self.ring.key(service.public_key.fingerprint()));
        let keys: Vec<NoteKey> = keys.map(|key| NoteKey::of_log(certificate.tenant, *key)).collect();
        let origin = note::origin(certificate.tenant);
        let opened = Opened::read(&note, &origin, &keys, witnesses).map_err(|error| error.to_string())?;
        let cosigned_by = opened.cosignatures.iter().map(|(key, _)| key.name().to_owned()).collect();
        Ok(Committed { size: opened.checkpoint.size, root: opened.checkpoint.root, cosigned_by })
    }

    fn included(&self, certificate: &Certificate, committed: Option<&Committed>) -> Result<(), String> {
        let Some(committed) = committed else { return Err("there is no checkpoint to hold them against".to_owned()) };
        for proved in &certificate.events {
            let record = record_of(proved.event.clone()).map_err(|error| error.to_string())?;
            let path: Option<Vec<Hash>> = proved.path.iter().map(|hash| hash.0.as_slice().try_into().ok()).collect();
            let (root, size, hash) = (&committed.root, committed.size, record.hash());
            let holds = path.is_some_and(|path| merkle::includes(root, size, proved.index, hash.as_bytes(), &path));
            if !holds {
                return Err(format!("event {} is not proved to be in it", proved.index + 1));
            }
        }
        Ok(())
    }

    fn activated(&self) -> Result<&KeyActivated, String> {
        let activated = self.activated.as_ref().map(|(_, activated)| activated);
        activated.ok_or_else(|| "there is no key.activated in it".to_owned())
    }

    fn activation(&self, certificate: &Certificate) -> Result<(), String> {
        let activated = self.activated()?;
        if activated.key_id != certificate.key_id {
            return Err("it activates another key".to_owned());
        }
        let generated = self.generated.as_ref().ok_or("there is no key.generated in it")?;
        if generated.key_id != certificate.key_id || generated.spec.label != certificate.label {
            return Err("the key that was generated is another one".to_owned());
        }
        Ok(())
    }

    fn request(&self, certificate: &Certificate) -> Result<(), String> {
        let activated = self.activated()?;
        let (hash, requested) = self.requested.as_ref().ok_or("there is no activation.requested in it")?;
        if *hash != activated.request {
            return Err("the activation names another request".to_owned());
        }
        let generated = self.generated.as_ref().ok_or("there is no key.generated in it")?;
        match (requested.key_id, &requested.manifest, &activated.membership) {
            (Some(key), ..) if key != certificate.key_id => Err("it is for another key".to_owned()),
            (Some(_), ..) => match &requested.identity {
                Some(identity) if *identity != generated.identity => {
                    Err("people signed for a key with another identity".to_owned())
                }
                _ => Ok(()),
            },
            (None, Some(manifest), Some(membership)) => {
                let attestation = Digest::of(&generated.statement.payload.0);
                let key = (generated.key_id, &generated.identity, attestation);
                let proved = manifest::has(manifest, key, membership);
                if proved { Ok(()) } else { Err("the key is not proved to be in its list".to_owned()) }
            }
            (None, None, _) if requested.standing.is_some() => Ok(()),
            _ => Err("it is for many keys, and nothing proves that this is one of them".to_owned()),
        }
    }

    fn policy(&self) -> Result<(), String> {
        let activated = self.activated()?;
        let (hash, policy, signers) = self.adopted.as_ref().ok_or("there is no policy.adopted in it")?;
        if *hash != activated.policy {
            return Err(format!("it names {}, and {} is here", activated.policy.short(), hash.short()));
        }
        if signers.len() < usize::from(self.admin_quorum.max(2)) {
            return Err(format!("`{}` was signed by {} only", policy.name, signers.len()));
        }
        Ok(())
    }

    fn approvals(&self) -> Result<(), String> {
        let activated = self.activated()?;
        if activated.approvals.is_empty() {
            return Err("it names none".to_owned());
        }
        let asked_by = self.requested.as_ref().map(|(_, requested)| requested.requested_by);
        let asker = asked_by.map(|who| self.person(who));
        let mut people = BTreeSet::new();
        for hash in &activated.approvals {
            let named = || hash.short();
            let Some((_, approved, signers)) = self.approved.get(hash) else {
                return Err(format!("approval {} is not here", named()));
            };
            if approved.request != activated.request {
                return Err(format!("approval {} is of another request", named()));
            }
            if !signers.contains(&approved.approved_by) {
                return Err(format!("approval {} is not signed by whom it names", named()));
            }
            let whose = approved.on_behalf_of.unwrap_or(approved.approved_by);
            let (given_by, whose) = (self.person(approved.approved_by), self.person(whose));
            if Some(&given_by) == asker.as_ref() || Some(&whose) == asker.as_ref() {
                return Err(format!("approval {} is of whoever asked", named()));
            }
            if !people.insert(whose) {
                return Err(format!("approval {} is a second vote of one person", named()));
            }
        }
        Ok(())
    }

    /// Somebody by the human being's name where that is known, else by the key.
    fn person(&self, who: Fingerprint) -> String {
        self.people.get(&who).map_or_else(|| who.to_string(), |principal| principal.person.to_string())
    }

    fn rule(&self) -> Result<&Rule, String> {
        let (_, policy, _) = self.adopted.as_ref().ok_or("there is no policy.adopted in it")?;
        let (_, requested) = self.requested.as_ref().ok_or("there is no activation.requested in it")?;
        let generated = self.generated.as_ref().ok_or("there is no key.generated in it")?;
        let traits = generated.spec.traits();
        let rule = if requested.break_glass { policy.break_glass_for(&traits) } else { policy.rule_for(&traits) };
        rule.ok_or_else(|| "the policy has no rule for this key".to_owned())
    }

    fn quorum(&self) -> Result<(), String> {
        let (activated, rule) = (self.activated()?, self.rule()?);
        let votes = activated.approvals.iter().filter_map(|hash| self.vote(*hash)).collect::<Vec<_>>();
        let assessment = assess(rule, &votes);
        if assessment.is_met() {
            return Ok(());
        }
        Err(format!("under `{}`, {} is missing", rule.name, assessment.missing_text()))
    }

    fn vote(&self, hash: EventHash) -> Option<Vote> {
        let (_, approved, _) = self.approved.get(&hash)?;
        let given_by = self.people.get(&approved.approved_by).filter(|who| who.kind == PrincipalKind::Person)?;
        let whose = self.people.get(&approved.on_behalf_of.unwrap_or(approved.approved_by))?;
        Some(Vote {
            approval: hash,
            person: whose.person.clone(),
            given_by: given_by.person.clone(),
            roles: whose.roles.clone(),
            party: whose.party,
            assurance: approved.assurance,
            share: false,
        })
    }

    fn authorized(&self) -> Result<(), String> {
        let activated = self.activated()?;
        let (hash, authorized) = self.authorized.as_ref().ok_or("there is no activation.authorized in it")?;
        if authorized.request != activated.request {
            return Err("it is of another request".to_owned());
        }
        if activated.cause.is_some_and(|cause| cause != *hash) {
            return Err("the activation follows from another one".to_owned());
        }
        Ok(())
    }

    fn custody(&self) -> Result<(), String> {
        let Some((activation, _)) = self.activated.as_ref() else { return Err("there is no activation".to_owned()) };
        match self.applied.iter().any(|(cause, _)| cause != activation) {
            true => Err("it confirms something else".to_owned()),
            false => Ok(()),
        }
    }

    fn named(&self) -> Vec<Approved> {
        let approvals = self.activated.iter().flat_map(|(_, activated)| &activated.approvals);
        let named = approvals.filter_map(|hash| {
            let (body, approved, _) = self.approved.get(hash)?;
            let label = self.people.get(&approved.approved_by).map(|principal| principal.label.clone());
            Some(Approved { by: approved.approved_by, label, at: body.time, event: *hash })
        });
        named.collect()
    }
}
