//! From an action to a recorded event: sign, collect signatures, send, and verify what was answered.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use journal::command::{Hand, SignedCommand, cosign};
use journal::strict;
use model::command::{LIFETIME_MAX_QUORUM, PAYLOAD_BYTES_MAX};
use model::{Command, CommandId, Digest, Envelope, EventHash, KeyId, Problem, ProblemType, Sequence, Span, subject};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bus::NoAnswer;
use crate::context::write_whole;
use crate::error::Error;
use crate::identity::Identity;
use crate::layout::{BOLD, CYAN, DIM, GREEN};
use crate::review::review;
use crate::screen::{Screen, Show};
use crate::session::Session;

/// How long a service has for an answer. A key that is generated on a device takes its time.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long is waited before the same bytes are sent again.
const AGAIN_AFTER: [Duration; 3] = [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(3)];
/// How long the history has to show what was answered.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// How often it is asked.
const ASKED_EVERY: Duration = Duration::from_millis(200);

/// How a command is signed.
#[derive(Clone, Debug, Default)]
pub struct Signing {
    /// Further keys that sign the same bytes now.
    pub cosign: Vec<PathBuf>,
    /// Write the signed command here, for others to sign, and send nothing.
    pub out: Option<PathBuf>,
    /// A yes that was given beforehand.
    pub yes: bool,
    /// How long others have to sign it; left out, as long as may be.
    pub good_for: Option<Span>,
}

/// What a command takes.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// How many people must sign.
    pub signatures: u8,
    /// Whether it is shown and asked for before it is signed.
    pub review: bool,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was recorded.
    Recorded(Recorded),
    /// It was written to a file, for others to sign.
    Saved(Saved),
}

/// A command that was recorded, as the verified history shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The command.
    pub command: CommandId,
    /// Its action.
    pub action: &'static str,
    /// Its key.
    pub key_id: Option<KeyId>,
    /// The event's place.
    pub sequence: Sequence,
    /// The event.
    pub hash: EventHash,
}

/// A command in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The command.
    pub command: CommandId,
    /// Its action.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// How many have signed.
    pub signatures: usize,
    /// Until when it can be sent.
    pub expires_at: model::Timestamp,
}

impl Show for Outcome {
    fn to_json(&self) -> Value {
        match self {
            Self::Recorded(recorded) => recorded.to_json(),
            Self::Saved(saved) => json!({
                "ok": true, "saved": saved.path, "command": saved.command, "action": saved.action,
                "signatures": saved.signatures, "expires_at": saved.expires_at,
            }),
        }
    }

    fn to_people(&self) -> String {
        match self {
            Self::Recorded(recorded) => recorded.to_people(),
            Self::Saved(saved) => saved.to_people(),
        }
    }
}

impl Saved {
    fn to_people(&self) -> String {
        let (action, path) = (self.action, self.path.display());
        // A tenant is founded by whoever runs the platform, and not over the bus; until then nobody has a context.
        let (offline, send) = match action {
            "tenant.create" => (" --offline --identity KEYFILE", format!("keylatch tenant create {path} --dir DIR")),
            _ => ("", format!("keylatch submit {path}")),
        };
        format!(
            "{CYAN}{action}{CYAN:#} signed by {} and kept in {BOLD}{path}{BOLD:#}\n  others sign it with `keylatch sign \
             {path}{offline}`; then `{send}`, before {}\n",
            self.signatures,
            crate::layout::time(self.expires_at),
        )
    }
}

impl Show for Recorded {
    fn to_json(&self) -> Value {
        let mut json = json!({
            "ok": true, "command": self.command, "action": self.action, "sequence": self.sequence.0, "hash": self.hash,
        });
        if let (Some(key_id), Some(members)) = (self.key_id, json.as_object_mut()) {
            members.insert("key_id".to_owned(), json!(key_id));
        }
        json
    }

    fn to_people(&self) -> String {
        format!(
            "{GREEN}recorded{GREEN:#} {CYAN}{}{CYAN:#} as event {} {DIM}{}{DIM:#}\n",
            self.action, self.sequence.0, self.hash
        )
    }
}

impl Session {
    /// Signs a command, and sends it or writes it to a file. What was answered is looked up in the verified history.
    pub async fn carry_out(
        &mut self,
        screen: &mut Screen,
        command: &Command,
        signing: &Signing,
        needs: Needs,
    ) -> Result<Outcome, Error> {
        let payload = command.to_json();
        if payload.len() > PAYLOAD_BYTES_MAX {
            let what = format!("the command has {} bytes; at most {PAYLOAD_BYTES_MAX} can be signed", payload.len());
            return Err(Error::usage(what, "say less: shorten texts, or the policy"));
        }
        if needs.review {
            // A program that said yes beforehand knows what it signs.
            if !(signing.yes && screen.is_json()) {
                screen.review(&review(command, &payload, &[], Some(self.known()), self.now()));
            }
            screen.confirm(&question(command), signing.yes)?;
        }
        let envelope = self.sign(command, signing)?;
        match &signing.out {
            Some(path) => save(command, &envelope, path).map(Outcome::Saved),
            None => {
                enough(envelope.signatures.len(), needs.signatures)?;
                self.send(screen, envelope).await.map(Outcome::Recorded)
            }
        }
    }

    /// The command with the signatures of this session's hand and of everybody who signs along.
    fn sign(&self, command: &Command, signing: &Signing) -> Result<Envelope, Error> {
        let own = self.hand()?;
        let mut envelope = SignedCommand::sign(command, &[&*own]).map_err(|error| not_signed(&*own, &error))?;
        for path in &signing.cosign {
            let hand = Identity::load(path)?;
            add_signature(&mut envelope, &hand)?;
        }
        Ok(envelope)
    }

    /// Sends a signed command that leads to an event, always the same bytes, and looks the event up. The history is read
    /// on to there.
    pub async fn send(&mut self, screen: &mut Screen, envelope: Envelope) -> Result<Recorded, Error> {
        let signed = open(envelope)?;
        let answer = match self.ask(&signed, Retry::SameBytes).await {
            Err(Error::Unanswered { command, action, attempts, .. }) => {
                let saved = self.keep_unanswered(screen, &signed);
                return Err(Error::Unanswered { command, action, attempts, saved });
            }
            Err(Error::Refused(problem)) => {
                let key_id = signed.command.key_id;
                return Err(crate::explain::refusal(*problem, self.state(), key_id, self.now()).into());
            }
            answer => answer?,
        };
        let recorded = recorded(&signed, answer)?;
        self.look_up(&recorded, signed.digest).await?;
        Ok(recorded)
    }

    /// Sends a command and gives the answer's members.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`], [`Error::Unreachable`] where it is certain that nobody got it.
    pub async fn ask(&self, signed: &SignedCommand, retry: Retry) -> Result<Value, Error> {
        let payload = Bytes::from(serde_json::to_vec(&signed.envelope).unwrap_or_default());
        let action = signed.command.action.name();
        let mut waits = AGAIN_AFTER.iter();
        let mut attempts = 0;
        let mut may_be_recorded = false;
        loop {
            attempts += 1;
            let answer = self.bus().request(subject::tenant::command(action), payload.clone(), PATIENCE).await;
            let no_answer = match answer {
                Ok(answer) => match read(&answer)? {
                    Ok(members) => return Ok(members),
                    Err(problem)
                        if retry == Retry::SameBytes && problem.kind().is_some_and(ProblemType::is_passing) =>
                    {
                        match waits.next() {
                            Some(wait) => {
                                tokio::time::sleep(*wait).await;
                                continue;
                            }
                            None => return Err(problem.into()),
                        }
                    }
                    Err(problem) => return Err(problem.into()),
                },
                Err(no_answer) => no_answer,
            };
            may_be_recorded |= !matches!(no_answer, NoAnswer::NobodyListens(_));
            let again = retry == Retry::SameBytes || !may_be_recorded;
            match waits.next().filter(|_| again) {
                Some(wait) => tokio::time::sleep(*wait).await,
                None if may_be_recorded => {
                    return Err(Error::Unanswered { command: signed.command.id, action, attempts, saved: None });
                }
                None => {
                    let what = format!("the service for `{action}` does not answer: {no_answer}; nothing was recorded");
                    return Err(Error::unreachable(what, "see that the platform runs; `keylatch doctor` says more"));
                }
            }
        }
    }

    /// Reads on until the history shows what was answered, and compares.
    pub(crate) async fn look_up(&mut self, recorded: &Recorded, digest: Digest) -> Result<(), Error> {
        let asked = tokio::time::Instant::now();
        loop {
            self.reader_mut().read_to(recorded.sequence.0, &mut |_, _, _| Ok(())).await?;
            if self.reader().head() >= recorded.sequence {
                break;
            }
            if asked.elapsed() >= SHOWN_WITHIN {
                let what = format!(
                    "command {} was answered as event {}, which the history does not show yet",
                    recorded.command, recorded.sequence.0
                );
                return Err(Error::unreachable(what, "see `keylatch history` in a moment; do not sign it again"));
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
        match self.state().receipts.get(&recorded.command) {
            Some(receipt) if receipt.digest == digest && receipt.hash == recorded.hash => Ok(()),
            _ => {
                let what = format!(
                    "command {} was answered as event {}, and the verified history has it not there",
                    recorded.command, recorded.sequence.0
                );
                Err(Error::failed(what, "take the answer for false, and tell who runs the platform"))
            }
        }
    }

    fn keep_unanswered(&self, screen: &mut Screen, signed: &SignedCommand) -> Option<PathBuf> {
        let path = self.unanswered_folder()?.join(format!("{}.json", signed.command.id));
        match write_envelope(&path, &signed.envelope) {
            Ok(()) => Some(path),
            Err(error) => {
                screen.warn(&format!("the command could not be kept: {error}"));
                None
            }
        }
    }
}

/// What an answer says was recorded.
pub(crate) fn recorded(signed: &SignedCommand, answer: Value) -> Result<Recorded, Error> {
    #[derive(Deserialize)]
    struct Answered {
        sequence: u64,
        hash: EventHash,
    }
    let Answered { sequence, hash } = serde_json::from_value(answer).map_err(|error| unreadable(&error))?;
    Ok(Recorded {
        command: signed.command.id,
        action: signed.command.action.name(),
        key_id: signed.command.key_id,
        sequence: Sequence(sequence),
        hash,
    })
}

/// What is done where no answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same bytes again: the same answer, once they were recorded.
    SameBytes,
    /// Nothing, unless nobody can have got it: a use is refused a second time.
    OnlyIfUnheard,
}

/// Adds a signature to a command, once for each key.
pub fn add_signature(envelope: &mut Envelope, hand: &dyn Hand) -> Result<(), Error> {
    let who = hand.public_key().fingerprint().to_string();
    if envelope.signatures.iter().any(|signature| signature.keyid == who) {
        return Err(Error::usage(
            format!("{who} has signed it already"),
            "let somebody else sign: one key counts once",
        ));
    }
    cosign(envelope, hand).map_err(|error| not_signed(hand, &error))
}

/// Opens a signed command: every signature verifies, the payload is one.
pub fn open(envelope: Envelope) -> Result<SignedCommand, Error> {
    SignedCommand::open(envelope).map_err(not_a_command)
}

/// The same for a command that nobody may have signed yet.
pub fn open_draft(envelope: Envelope) -> Result<SignedCommand, Error> {
    SignedCommand::open_draft(envelope).map_err(not_a_command)
}

fn not_a_command(error: journal::command::Error) -> Error {
    Error::failed(format!("not a signed command: {error}"), "have it made and signed anew")
}

/// Reads a signed command from a file.
pub fn read_envelope(path: &Path) -> Result<Envelope, Error> {
    let advice = "name a file that `--out` or `keylatch sign` wrote";
    let text = std::fs::read(path).map_err(|error| Error::file(path, error, advice))?;
    strict::check(&text).map_err(|error| Error::file(path, error, advice))?;
    serde_json::from_slice(&text).map_err(|error| Error::file(path, error, advice))
}

/// Writes a signed command to a file, whole or not at all.
pub fn write_envelope(path: &Path, envelope: &Envelope) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(envelope).map_err(|error| Error::file(path, error, "have it made anew"))?;
    write_whole(path, &format!("{text}\n"))
}

fn save(command: &Command, envelope: &Envelope, path: &Path) -> Result<Saved, Error> {
    if path.exists() {
        return Err(Error::file(path, "there is such a file", "take another name for --out"));
    }
    write_envelope(path, envelope)?;
    let (action, signatures) = (command.action.name(), envelope.signatures.len());
    Ok(Saved { command: command.id, action, path: path.to_owned(), signatures, expires_at: command.expires_at })
}

/// How long a command may live that is signed like this.
pub fn lifetime(signing: &Signing, signatures: u8) -> Span {
    let at_once = lifecycle::standing::lifetime(1);
    match &signing.out {
        Some(_) if signatures > 1 => signing.good_for.unwrap_or(LIFETIME_MAX_QUORUM).min(LIFETIME_MAX_QUORUM),
        _ => signing.good_for.unwrap_or(at_once).min(at_once),
    }
}

fn enough(signatures: usize, needed: u8) -> Result<(), Error> {
    if signatures >= usize::from(needed) {
        return Ok(());
    }
    Err(Error::usage(
        format!("{signatures} of {needed} signatures: nothing was sent"),
        "sign along with --cosign KEYFILE, or write it with --out FILE for others to sign (`keylatch sign FILE`)",
    ))
}

fn question(command: &Command) -> String {
    format!("Sign `{}`?", command.action.name())
}

pub(crate) fn not_signed(hand: &dyn Hand, error: &std::io::Error) -> Error {
    Error::usage(
        format!("{} did not sign: {error}", hand.public_key().fingerprint()),
        "see that the key, its agent or its token is at hand",
    )
}

/// An answer: its members, or the problem that it is.
fn read(answer: &[u8]) -> Result<Result<Value, Problem>, Error> {
    let members: Value = serde_json::from_slice(answer).map_err(|error| unreadable(&error))?;
    match members.get("ok") {
        Some(Value::Bool(true)) => Ok(Ok(members)),
        _ => serde_json::from_value(members).map(Err).map_err(|error| unreadable(&error)),
    }
}

fn unreadable(error: &serde_json::Error) -> Error {
    Error::failed(
        format!("the answer does not read: {error}"),
        "see with `keylatch history` whether it was recorded, and tell who runs the platform",
    )
}
