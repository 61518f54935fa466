//! Judging what somebody recorded: form first, then law, by deciding again.
//!
//! Judging has two steps, because the first is slow and needs no order. [`prepare`] checks signatures and reads bytes,
//! event by event, in parallel where one likes. [`judge`] then goes through them in order.

use std::sync::Arc;

use journal::command::SignedCommand;
use journal::statement::{self, Stated};
use journal::{Authentic, Body, Record, Ring};
use model::dsse::{self, Envelope};
use model::event::{CustodyApplied, DeadlineWarned, EvidenceExported, KeyActivated, KeyAdopted, KeyGenerated};
use model::statement::Generated;
use model::{Action, Event, EventHash, EventType, Fingerprint, ServiceRole, Timestamp};

use crate::baseline::Line;
use crate::decide::{Adopting, Applied, Authorised, Duty, Exported, Input, Probed, decide};
use crate::evolve::{Fact, evolve};
use crate::state::{Footprint, Receipt, View};
use crate::{RULES, Rejection};

/// Why an event is void. It changes nothing, is reported, and the chain goes on over its hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Void {
    /// Its form.
    #[error("{0}")]
    Form(#[from] journal::Void),
    /// There is no such event under these rules.
    #[error("unknown-type: there is no `{0}` in rules epoch {RULES}")]
    UnknownType(String),
    /// Its data, or something it carries, is not what the schema says.
    #[error("data: {0}")]
    Data(String),
    /// Its signer may not sign it.
    #[error("role: {0}")]
    Role(String),
    /// The rules refuse it.
    #[error("refused: {0}")]
    Refused(Rejection),
    /// The rules allow something, but not this.
    #[error("differs: deciding again gives other data than what was recorded")]
    Differs,
}

/// A record with everything checked that needs no order.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Its hash.
    pub hash: EventHash,
    /// The bytes.
    pub record: Record,
    opened: Result<Authentic, journal::Void>,
    /// The rules epoch that it brings into force, where it is one that this program does not know.
    unknown_rules: Option<UnknownRules>,
    content: Result<Content, Void>,
}

/// What an event says, read.
#[derive(Clone, Debug)]
struct Content {
    event: Event,
    input: Input,
    /// The ring that its signer's role is looked up in, where it is not the governance's: a registrar's, whose authority
    /// the event brings along.
    ring: Option<Ring>,
}

/// The authority that an event brings along: newer than the one in force, on the root's word.
struct Brought {
    registrars: Ring,
    rules: u32,
}

/// Checks and reads one record. `ring` holds the service keys in force; it is not asked about events that bring their own
/// authority (`tenant.created`, `authority.changed`), which the pinned `root` must have signed for, and later than for
/// the ring.
pub fn prepare(record: Record, ring: &Ring, root: Fingerprint) -> Prepared {
    prepare_knowing(RULES, record, ring, root)
}

/// The same as a reader does who knows no later rules epoch than this one.
pub(crate) fn prepare_knowing(rules: u32, record: Record, ring: &Ring, root: Fingerprint) -> Prepared {
    let hash = record.hash();
    let (brought, opened) = match Authentic::open(&record, ring) {
        Ok(event) if !brings_authority(&event.body) => (None, Ok(event)),
        Ok(_) | Err(journal::Void::UnknownSigner(_)) => match brought(&record, ring, root) {
            Ok(brought) => {
                let opened = Authentic::open(&record, &brought.registrars);
                (Some(brought), opened)
            }
            Err(void) => (None, Err(void)),
        },
        Err(void) => (None, Err(void)),
    };
    let unknown_rules = brought.as_ref().map(|brought| brought.rules).filter(|brought| *brought > rules);
    let unknown_rules = unknown_rules.map(UnknownRules);
    let content = match &opened {
        Ok(event) => read(&event.body, ring, brought.map(|brought| brought.registrars), root),
        Err(void) => Err(Void::Form(void.clone())),
    };
    Prepared { hash, record, opened, unknown_rules, content }
}

fn brings_authority(body: &Body) -> bool {
    matches!(body.event_type.parse(), Ok(EventType::TenantCreated | EventType::AuthorityChanged))
}

/// The authority that an event brings. An event of any other kind by a signer whom nobody knows is void for that, and so
/// is one that brings what is not newer: else a registrar whom the root has dropped could go on with an old statement.
fn brought(record: &Record, ring: &Ring, root: Fingerprint) -> Result<Brought, journal::Void> {
    let body = Body::parse(&record.payload)?;
    if !brings_authority(&body) {
        return Err(journal::Void::UnknownSigner(body.signer));
    }
    let members = |error: &dyn std::fmt::Display| journal::Void::Members(format!("the authority: {error}"));
    #[derive(serde::Deserialize)]
    struct Carries {
        authority: Envelope,
    }
    let carries: Carries = serde_json::from_str(&body.data).map_err(|error| members(&error))?;
    let core = journal::authority::open_core(&carries.authority, root).map_err(|error| members(&error))?;
    if core.epoch <= ring.epoch() {
        return Err(journal::Void::UnknownSigner(body.signer));
    }
    let registrars = Ring::of_registrars(&core).map_err(|error| members(&error))?;
    Ok(Brought { registrars, rules: core.rules })
}

/// Reads an event's data and everything it carries, into the input that it answers.
fn read(body: &Body, ring: &Ring, own_ring: Option<Ring>, root: Fingerprint) -> Result<Content, Void> {
    let event_type: EventType = body.event_type.parse().map_err(|_| Void::UnknownType(body.event_type.clone()))?;
    let event = Event::parse(event_type, &body.data).map_err(|error| Void::Data(error.to_string()))?;
    let subject = event.key_id().map_or(journal::event::Subject::Tenant, journal::event::Subject::Key);
    if subject != body.subject {
        return Err(Void::Data("the subject is not what the data is about".into()));
    }
    let command = event.command().cloned().map(SignedCommand::open).transpose();
    let command = command.map_err(|error| Void::Data(format!("the command: {error}")))?.map(Arc::new);
    let input = input(&event, command, body, ring, root)?;
    Ok(Content { event, input, ring: own_ring })
}

/// The input that an event answers.
fn input(
    event: &Event,
    command: Option<Arc<SignedCommand>>,
    body: &Body,
    ring: &Ring,
    root: Fingerprint,
) -> Result<Input, Void> {
    let authority = || match event.authority() {
        Some(envelope) => journal::authority::open(envelope, root)
            .map(|statement| Authorised { statement, envelope: envelope.clone() })
            .map_err(|error| Void::Data(format!("the authority: {error}"))),
        None => Err(Void::Data("it brings no authority".into())),
    };
    Ok(match (event, command) {
        (Event::TenantCreated(_), Some(command)) => Input::Founding { command, authority: authority()? },
        (Event::KeyGenerated(event), Some(command)) => {
            Input::Generated { command, statement: generated(event, body, ring)? }
        }
        (Event::ProbeRecorded(event), Some(command)) => {
            let (probe, outcome, problem) = (event.probe, event.outcome, event.problem.clone());
            Input::Probed { command, probed: Probed { probe, outcome, problem } }
        }
        (Event::EvidenceExported(event), command) => Input::Exported { command, exported: exported(event) },
        (_, Some(command)) => Input::Command(command),
        (Event::AuthorityChanged(_), None) => Input::Authority(authority()?),
        (Event::CustodyApplied(event), None) => Input::Applied(applied(event)),
        (Event::CustodyUsed(event), None) => Input::Used(event.clone()),
        (Event::CustodyRefused(event), None) => Input::Refused(event.clone()),
        (Event::CustodyReconciled(event), None) => Input::Reconciled(event.clone()),
        (Event::CustodyDrifted(event), None) => Input::Drifted(event.clone()),
        (Event::CheckpointSigned(event), None) => Input::Checkpoint(event.note.clone()),
        (Event::KeyAdopted(event), None) => Input::Adopted(adopting(event)),
        (Event::KeyActivated(event), None) if event.membership.is_some() => member(event)?,
        (event, None) => Input::Due(duty(event)?),
    })
}

fn generated(event: &KeyGenerated, body: &Body, ring: &Ring) -> Result<Stated<Generated>, Void> {
    let role = ServiceRole::Custodian;
    statement::open(&event.statement, dsse::GENERATED, role, ring, body.tenant, body.time)
        .map_err(|error| Void::Data(format!("the custodian's statement: {error}")))
}

fn member(event: &KeyActivated) -> Result<Input, Void> {
    let membership = event.membership.clone().ok_or_else(|| Void::Data("it proves nothing".into()))?;
    Ok(Input::Member { key_id: event.key_id, request: event.request, membership })
}

fn adopting(event: &KeyAdopted) -> Adopting {
    let KeyAdopted { key_id, algorithm, identity, label, made_at, membership, cause, .. } = event.clone();
    Adopting { baseline: cause, line: Line { key_id, algorithm, identity, label, made_at }, membership }
}

fn applied(event: &CustodyApplied) -> Applied {
    let CustodyApplied { key_id, state, store, before, after, cause } = event.clone();
    Applied { key_id, state, store, before, after, cause }
}

fn exported(event: &EvidenceExported) -> Exported {
    let EvidenceExported { from, size, checkpoint, root, manifest, checkpoints, .. } = event.clone();
    Exported { from, size, checkpoint, root, manifest, checkpoints }
}

/// The duty that an event without a command fulfils.
fn duty(event: &Event) -> Result<Duty, Void> {
    match (event, event.key_id()) {
        (Event::ActivationAuthorized(event), None) => Ok(Duty::AuthorizeRequest(event.request)),
        (Event::ActivationLapsed(event), None) => Ok(Duty::LapseRequest(event.request)),
        (Event::KeySuspended(_), Some(key)) => Ok(Duty::Suspend(key)),
        (Event::DeadlineWarned(DeadlineWarned { request: Some(_), .. }), Some(key)) => Ok(Duty::WarnLapse(key)),
        (Event::DeadlineWarned(DeadlineWarned { request: Some(request), .. }), None) => {
            Ok(Duty::WarnLapseRequest(*request))
        }
        (Event::DeadlineMissed(_), Some(key)) => Ok(Duty::Miss(key)),
        (Event::DeadlineWarned(_), Some(key)) => Ok(Duty::Warn(key)),
        (Event::DeadlineWarned(_) | Event::DeadlineMissed(_) | Event::AlgorithmEnded(_), None) => Ok(Duty::Deadlines),
        (Event::ActivationAuthorized(_), Some(key)) => Ok(Duty::Authorize(key)),
        (Event::KeyActivated(_), Some(key)) => Ok(Duty::Activate(key)),
        (Event::ActivationLapsed(_), Some(key)) => Ok(Duty::Lapse(key)),
        (Event::KeyExpired(_), Some(key)) => Ok(Duty::Expire(key)),
        (Event::KeyDeactivated(_), Some(key)) => Ok(Duty::Deactivate(key)),
        (Event::KeyDestroyed(_), Some(key)) => Ok(Duty::Destroy(key)),
        _ => Err(Void::Data("it carries no command".into())),
    }
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It stands, and changed the view.
    Lawful,
    /// It is void.
    Void(Void),
}

/// The chain is under rules that this program does not know. It is not judged further: an unknown rule can't be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chain is under rules epoch {0}; this program knows up to {RULES} and must be replaced by a newer one")]
pub struct UnknownRules(pub u32);

impl Prepared {
    /// The ready-made preparation of an event that this process decided and signed itself.
    pub fn own(record: Record, authentic: Authentic, event: Event, input: Input) -> Self {
        let statement = input.authority().map(|authority| &authority.statement);
        let ring = statement.map(|statement| Ring::new(statement).unwrap_or_default());
        let unknown_rules = statement.map(|statement| statement.rules).filter(|rules| *rules > RULES).map(UnknownRules);
        let content = Ok(Content { event, input, ring });
        Self { hash: authentic.hash, record, opened: Ok(authentic), unknown_rules, content }
    }

    /// What must be loaded to judge it.
    pub fn footprint(&self) -> Footprint {
        match &self.content {
            Ok(content) => content.input.footprint(),
            Err(_) => Footprint::default(),
        }
    }

    /// Whether the keys in force change with it where it is lawful, so that what comes after must be prepared after it.
    pub fn changes_ring(&self) -> bool {
        self.content.as_ref().is_ok_and(|content| content.input.authority().is_some())
    }

    /// Whether it passes form as the next event of this chain.
    pub fn passes_form(&self, chain: &journal::Chain) -> bool {
        chain.check(self.opened.as_ref()).is_ok()
    }

    /// The event, where it could be read.
    pub fn event(&self) -> Option<&Event> {
        self.content.as_ref().ok().map(|content| &content.event)
    }

    /// The envelope, where its signature verified and it could be read.
    pub fn body(&self) -> Option<&Body> {
        self.opened.as_ref().ok().map(|event| &event.body)
    }

    /// The root's statement that it brings, opened.
    pub fn authority(&self) -> Option<&model::authority::Statement> {
        Some(&self.content.as_ref().ok()?.input.authority()?.statement)
    }

    /// Why it could not be read, where it could not: form, or what it carries.
    pub fn fault(&self) -> Option<String> {
        self.content.as_ref().err().map(Void::to_string)
    }

    /// The signed command it carries.
    pub fn command(&self) -> Option<&SignedCommand> {
        self.content.as_ref().ok()?.input.command()
    }
}

/// What the command in a record asks, for those who look at a record that was judged before: nothing is verified here.
pub fn action_in(record: &Record) -> Option<Action> {
    let body = Body::parse(&record.payload).ok()?;
    let event = Event::parse(body.event_type.parse().ok()?, &body.data).ok()?;
    let command = model::Command::parse(&event.command()?.payload.0).ok()?;
    Some(command.action)
}

/// Takes the next record into the view, which must hold what [`Prepared::footprint`] names. An error means that reading
/// stops here, with the view as it was before.
pub fn judge(view: &mut View, prepared: &Prepared) -> Result<Judgement, UnknownRules> {
    let opened = prepared.opened.as_ref();
    let form = view.chain.check(opened);
    // An event that is void whatever the rules are stops nobody.
    if let (Ok(()), Some(unknown)) = (&form, prepared.unknown_rules) {
        return Err(unknown);
    }
    let verdict = form.map_err(Void::Form).and_then(|()| law(view, prepared));
    // Void or not, the chain goes on over it, and the next checkpoint covers it.
    let _ = view.chain.admit(&prepared.record, opened);
    view.progress.uncovered_since.get_or_insert(view.chain.time());
    Ok(match verdict {
        Ok(content) => {
            take(view, prepared, content);
            Judgement::Lawful
        }
        Err(void) => Judgement::Void(void),
    })
}

/// Whether the signer may, and whether deciding again gives this event.
fn law<'a>(view: &View, prepared: &'a Prepared) -> Result<&'a Content, Void> {
    let content = prepared.content.as_ref().map_err(Clone::clone)?;
    let body = prepared.body().ok_or_else(|| Void::Data("it could not be read".into()))?;
    role(view, content, body)?;
    let decided = decide(view, &content.input, body.time).map_err(Void::Refused)?;
    if decided == content.event { Ok(content) } else { Err(Void::Differs) }
}

fn role(view: &View, content: &Content, body: &Body) -> Result<(), Void> {
    let event_type = content.event.event_type();
    let ring = match (&content.ring, &view.governance) {
        (Some(own), _) => own,
        (None, Some(governance)) => &governance.authority.ring,
        (None, None) => return Err(Void::Role("the tenant has not begun".into())),
    };
    let Some(role) = ring.role(body.signer, body.tenant, body.time) else {
        return Err(Void::Role(format!("{} may not sign in this tenant at this time", body.signer)));
    };
    if !event_type.signers().contains(&role) {
        return Err(Void::Role(format!("the {role} may not sign {event_type}")));
    }
    if body.source_role() != role.name() {
        return Err(Void::Role(format!("the source names `{}`, the key is the {role}'s", body.source_role())));
    }
    Ok(())
}

fn take(view: &mut View, prepared: &Prepared, content: &Content) {
    let time: Timestamp = view.chain.time();
    let authority = content.input.authority().map(|authority| &authority.statement);
    let action = prepared.command().map(|signed| &signed.command.action);
    evolve(view, &Fact { hash: prepared.hash, time, event: &content.event, action, authority });
    if let Some((id, digest)) = content.input.identity() {
        let receipt = Receipt { digest, hash: prepared.hash, sequence: view.chain.head().sequence };
        view.receipt = Some((id, receipt));
    }
}
