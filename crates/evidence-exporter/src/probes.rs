//! Live probes: what must be refused is tried, as anybody would try it, and what came back is recorded.
//!
//! The exporter has a key of its own for this, which a tenant enrols as a workload without any role. It holds nothing that
//! would let it through, whatever becomes of the key meanwhile; its commands count as anybody's do. A refusal for the reason
//! that the rules give is recorded as one, an answer that does what was asked is an alarm, and silence is recorded as
//! silence. Anything else, such as a service that is busy or stopped, says nothing about the control: it is tried again.
//!
//! Where no key waits for its activation there is nothing to try it on, and where the tenant has not enrolled the prober
//! there is nobody who could. Then nothing is recorded: a probe that was not made is no probe, and the control test says what
//! it lacks.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::RequestErrorKind;
use journal::Journal;
use journal::command::{Hand, KeyInHand, SignedCommand};
use keystore::seal::{self, Purpose, SecretKey};
use lifecycle::decide::Probed;
use lifecycle::state::Key;
use lifecycle::{Footprint, Governance, Input, Rejection};
use model::command::{KeyActivate, LIFETIME_MAX_USE, UseEncrypt, UseSign, UseWrap};
use model::evidence::{Probe, ProbeOutcome};
use model::key::Operation;
use model::people::PrincipalKind;
use model::text::Base64;
use model::{Action, Command, CommandId, Digest, Problem, ProblemType, TenantId, subject};
use rand_core::OsRng;
use serde_json::Value;
use service::{Node, Ports, Recorded, clock};
use tokio::time::Instant;
use tracing::{debug, error, warn};

use crate::ROLE;

/// How long the platform has for an answer. A use lives 30 s, and is recorded within them.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nobody may listen until that counts as silence: a service that is started anew is back by then.
const NOBODY_FOR: Duration = Duration::from_secs(10);
/// How often it is tried meanwhile.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How many keys are looked at, at a time.
const PAGE: usize = 512;

/// Whoever probes.
pub(crate) struct Prober<J> {
    ports: Ports<J>,
    hand: Option<KeyInHand>,
}

impl<J: Journal> Prober<J> {
    /// With this key, where there is one.
    pub(crate) fn new(ports: Ports<J>, key: Option<ed25519_dalek::SigningKey>) -> Self {
        Self { ports, hand: key.map(KeyInHand::new) }
    }

    /// The public key, to be enrolled.
    pub(crate) fn public_key(&self) -> Option<model::people::PublicKey> {
        self.hand.as_ref().map(|hand| hand.public_key().clone())
    }

    /// Makes one of the probes that are due, and records it.
    pub(crate) async fn due(&self, tenant: TenantId) -> Result<Recorded, Rejection> {
        let node = &self.ports.node;
        let hand = self.hand.as_ref().ok_or_else(|| nothing("this exporter has no key to probe with (`probe_key`)"))?;
        let view = node.view(tenant, Footprint::default()).map_err(unavailable)?;
        let governance = view.governance()?;
        enrolled(governance, hand)?;
        let now = node.check_clock(&view)?;
        let mut refused = nothing("no probe is due");
        for probe in due(governance, now) {
            match self.make(tenant, hand, probe).await {
                Ok(recorded) => return Ok(recorded),
                Err(rejection) => refused = rejection,
            }
        }
        refused.err()
    }

    async fn make(&self, tenant: TenantId, hand: &KeyInHand, probe: Probe) -> Result<Recorded, Rejection> {
        let node = &self.ports.node;
        let id = clock::command_id();
        let searched = node.clone();
        let chosen = tokio::task::spawn_blocking(move || choose(&searched, tenant, probe, id)).await;
        let key = chosen.map_err(unavailable)??;
        let key = key.ok_or_else(|| nothing("no key waits that it could be tried on"))?;
        let action = attempt(probe, &key, tenant, id)?;
        let issued_at = node.clock().now();
        let expires_at = issued_at + LIFETIME_MAX_USE;
        let command = Command { id, tenant, key_id: Some(key.id), issued_at, expires_at, action };
        let envelope = SignedCommand::sign(&command, &[hand]).map_err(unavailable)?;
        let signed = SignedCommand::open(envelope).map_err(unavailable)?;
        let probed = self.send(tenant, &signed, probe).await?;
        if probed.outcome == ProbeOutcome::Accepted {
            let action = signed.command.action.name();
            error!(%tenant, key = %key.id, %probe, "ALARM: `{action}` was accepted, and must be refused");
        }
        node.record(tenant, ROLE, Input::Probed { command: signed.into(), probed }).await
    }

    /// Sends it, and says what came back.
    async fn send(&self, tenant: TenantId, signed: &SignedCommand, probe: Probe) -> Result<Probed, Rejection> {
        let subject = subject::command(tenant, signed.command.action.name());
        let payload = bytes::Bytes::from(serde_json::to_vec(&signed.envelope).map_err(unavailable)?);
        let unanswered = Probed { probe, outcome: ProbeOutcome::Unanswered, problem: None };
        let begun = Instant::now();
        loop {
            let request = async_nats::Request::new().payload(payload.clone()).timeout(Some(PATIENCE));
            match self.ports.client.send_request(subject.clone(), request).await {
                Ok(answer) => return read(&answer.payload, probe),
                Err(error) if error.kind() == RequestErrorKind::NoResponders && begun.elapsed() < NOBODY_FOR => {
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
                Err(error) => {
                    warn!(%tenant, %probe, %error, "a probe got no answer");
                    return Ok(unanswered);
                }
            }
        }
    }
}

/// Refuses where the tenant has not enrolled this key as it must be.
fn enrolled(governance: &Governance, hand: &KeyInHand) -> Result<(), Rejection> {
    let fingerprint = hand.public_key().fingerprint();
    match governance.member(fingerprint) {
        Ok(principal) if principal.kind == PrincipalKind::Workload && principal.roles.is_empty() => Ok(()),
        Ok(principal) => {
            Err(nothing(&format!("`{}` has the prober's key, and is no workload without roles", principal.label)))
        }
        Err(_) => Err(nothing(&format!("the tenant has not enrolled {fingerprint}"))),
    }
}

/// The probes that are due, the one that waits longest first.
fn due(governance: &Governance, now: model::Timestamp) -> Vec<Probe> {
    let every = governance.policy.as_ref().and_then(|held| held.policy.evidence.probes.as_ref()).map(|rule| rule.every);
    let Some(every) = every else { return Vec::new() };
    let times = governance.schedule.probes.iter().map(|(probe, last)| (*last + every, *probe));
    let due: BTreeSet<_> = times.filter(|(at, _)| *at <= now).collect();
    due.into_iter().map(|(_, probe)| probe).collect()
}

/// One of the keys that it can be tried on, each as likely as any other: nobody knows beforehand which. One whose activation
/// is asked for comes last: it may be activated while we try, and then the probe shows nothing.
fn choose<J: Journal>(node: &Node<J>, tenant: TenantId, probe: Probe, id: CommandId) -> Result<Option<Key>, Rejection> {
    let (mut chosen, mut after) = (None, None);
    loop {
        let page = node.replica().keys(tenant, after, PAGE).map_err(unavailable)?;
        let Some(last) = page.last() else { return Ok(chosen.map(|(_, key)| key)) };
        after = Some(last.id);
        for key in page.into_iter().filter(|key| fits(key, probe)) {
            let lot = Digest::of(&[id.as_bytes().as_slice(), key.id.as_bytes()].concat());
            let lot = (key.open_request.is_some(), lot);
            if chosen.as_ref().is_none_or(|(least, _)| lot < *least) {
                chosen = Some((lot, key));
            }
        }
    }
}

/// Whether it can be tried on this key.
fn fits(key: &Key, probe: Probe) -> bool {
    key.is_waiting() && (probe == Probe::ActivateUnapproved || operation(key).is_some())
}

/// What a use of it would do.
fn operation(key: &Key) -> Option<Operation> {
    let operations = key.spec.operations();
    [Operation::Encrypt, Operation::Sign, Operation::Wrap].into_iter().find(|operation| operations.contains(operation))
}

/// What is asked for: in every respect but the activation as it would have to be.
fn attempt(probe: Probe, key: &Key, tenant: TenantId, id: CommandId) -> Result<Action, Rejection> {
    if probe == Probe::ActivateUnapproved {
        return Ok(Action::KeyActivate(KeyActivate { against: key.head, standing: None }));
    }
    // Whoever answers seals the result to a key that is forgotten here.
    let reply_to = Base64(SecretKey::generate(&mut OsRng).public().to_vec());
    match operation(key) {
        Some(Operation::Encrypt) => {
            let info = seal::info(Purpose::Input, tenant, key.id, id);
            let plaintext = seal::seal(&key.seal_key.0, &info, b"", b"a probe", &mut OsRng).map_err(unavailable)?;
            Ok(Action::UseEncrypt(UseEncrypt { reply_to, plaintext, aad: Base64(Vec::new()) }))
        }
        Some(Operation::Sign) => {
            let digest = vec![0; key.spec.algorithm.digest_bytes().unwrap_or_default()];
            Ok(Action::UseSign(UseSign { reply_to, digest: Base64(digest) }))
        }
        Some(Operation::Wrap) => Ok(Action::UseWrap(UseWrap { reply_to })),
        _ => Err(nothing("the key does nothing that could be tried")),
    }
}

/// What an answer says.
fn read(answer: &[u8], probe: Probe) -> Result<Probed, Rejection> {
    let members: Value = serde_json::from_slice(answer).map_err(unavailable)?;
    if members.get("ok") == Some(&Value::Bool(true)) {
        return Ok(Probed { probe, outcome: ProbeOutcome::Accepted, problem: None });
    }
    let problem: Problem = serde_json::from_value(members).map_err(unavailable)?;
    match problem.kind() {
        Some(kind) if !says_nothing(kind) => {
            let name = kind.name().parse().map_err(unavailable)?;
            Ok(Probed { probe, outcome: ProbeOutcome::Refused, problem: Some(name) })
        }
        _ => {
            debug!(%problem, "an answer to a probe that says nothing about the control");
            Err(Rejection::new(ProblemType::Unavailable, format!("the probe was answered with: {problem}")))
        }
    }
}

/// Whether a refusal is about the platform, and not about what was asked.
fn says_nothing(problem: ProblemType) -> bool {
    problem.is_passing() || matches!(problem, ProblemType::Stopped | ProblemType::ClockBehind)
}

fn nothing(why: &str) -> Rejection {
    Rejection::new(ProblemType::NothingDue, why)
}

fn unavailable(error: impl std::fmt::Display) -> Rejection {
    Rejection::new(ProblemType::Unavailable, error)
}
