//! `keylatch proof event`: the proof that an event is in the history, checked against the history that is verified here.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ed25519_dalek::VerifyingKey;
use journal::authority;
use journal::merkle::{Frontier, Hash};
use journal::note::{NoteKey, origin};
use journal::tlog_proof::TlogProof;
use model::history::{ProofAnswer, ProofRequest};
use model::people::ServiceRole;
use model::{Event, EventHash, Problem, ProblemType, Sequence, subject};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Error;
use crate::layout::{BOLD, DIM, Fields, GREEN};
use crate::screen::{Screen, Show};
use crate::session::Session;

/// How long the history service has for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which event, and where to.
#[derive(Args, Clone, Debug)]
pub struct EventArgs {
    /// The event: its sequence, or its hash (64 hex digits).
    pub event: String,
    /// The file to write, which must not be there yet; left out, `<sequence>.tlog-proof`.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// The proof, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The event.
    pub sequence: Sequence,
    /// Its hash, which is what is proved.
    pub hash: EventHash,
    /// How many events the checkpoint commits to.
    pub size: u64,
    /// The file.
    pub file: PathBuf,
    /// The key of the log.
    pub key: NoteKey,
    /// The names under which the checkpoint is signed besides. Whether they are whose they say is for who knows their keys.
    pub others: Vec<String>,
}

impl Show for Proved {
    fn to_json(&self) -> Value {
        json!({
            "ok": true, "sequence": self.sequence.0, "hash": self.hash, "size": self.size, "file": self.file,
            "vkey": self.key.to_string(), "also_signed_as": self.others,
        })
    }

    fn to_people(&self) -> String {
        let mut fields = Fields::default();
        fields.text("event", format!("{} {}", self.sequence.0, self.hash));
        fields.text("checkpoint", format!("over {} events", self.size));
        if !self.others.is_empty() {
            fields.text("cosigned as", self.others.join(", "));
        }
        let file = self.file.display();
        let witnesses = if self.others.is_empty() { "" } else { " --vkey WITNESS" };
        format!(
            "{GREEN}proved{GREEN:#}, in {BOLD}{file}{BOLD:#}\n{}{DIM}anybody checks it with:{DIM:#} keylatch proof check \
             {file} --event {} --vkey {}{witnesses}\n",
            fields.to_people(2),
            self.hash,
            self.key
        )
    }
}

pub(super) async fn run(args: &EventArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let proved = prove(args, session, screen).await?;
    screen.show(&proved)
}

/// Has an event proved, and writes the proof to a file.
pub async fn prove(args: &EventArgs, session: &mut Session, screen: &mut Screen) -> Result<Proved, Error> {
    let mut found = Found::new(wanted(&args.event)?);
    session.replay(screen, &mut |_, seen| seen.iter().for_each(|seen| found.see(seen))).await?;
    let (sequence, hash) = found.event.ok_or_else(|| {
        let advice = "take a sequence or hash from `keylatch history`";
        Error::usage(format!("there is no event `{}`", args.event), advice)
    })?;
    let (answer, root) = ask(session, sequence, &found).await?;
    let contradicts = |what: &dyn std::fmt::Display| {
        let advice = "tell who runs the platform; nothing was written";
        Error::failed(format!("the history service's proof does not fit the verified history: {what}"), advice)
    };
    let proof = TlogProof::parse(&answer.proof).map_err(|error| contradicts(&error))?;
    let keys = log_keys(session);
    let opened = proof.verify(hash.as_bytes(), &origin(session.tenant()), &keys, &[]);
    let checkpoint = opened.map_err(|error| contradicts(&error))?.checkpoint;
    if proof.index + 1 != sequence.0 || checkpoint.size != answer.size || checkpoint.root != root {
        return Err(contradicts(&"it is of another event or tree"));
    }
    let signatures = proof.note.signatures();
    let key = keys.iter().find(|key| signatures.iter().any(|signature| signature.is_of(key)));
    let key = key.ok_or_else(|| contradicts(&"no exporter signed it"))?.clone();
    let others = signatures.iter().filter(|signature| !signature.is_of(&key));
    let others = others.map(|signature| signature.name().to_owned()).collect();
    let file = args.out.clone().unwrap_or_else(|| format!("{}.tlog-proof", sequence.0).into());
    write(&file, &answer.proof)?;
    Ok(Proved { sequence, hash, size: checkpoint.size, file, key, others })
}

/// What the command line names.
enum Wanted {
    Sequence(Sequence),
    Hash(EventHash),
}

fn wanted(text: &str) -> Result<Wanted, Error> {
    let sequence =
        text.parse().ok().filter(|sequence| *sequence > 0).map(|sequence| Wanted::Sequence(Sequence(sequence)));
    let wanted = sequence.or_else(|| text.parse().ok().map(Wanted::Hash));
    wanted.ok_or_else(|| Error::usage(format!("`{text}` is no event"), "name its sequence (from 1), or its hash"))
}

/// What a replay finds.
struct Found {
    wanted: Wanted,
    tree: Frontier,
    event: Option<(Sequence, EventHash)>,
    /// The checkpoints that cover it: their sizes, and the roots that were computed here.
    covering: BTreeMap<u64, Hash>,
}

impl Found {
    fn new(wanted: Wanted) -> Self {
        Self { wanted, tree: Frontier::default(), event: None, covering: BTreeMap::new() }
    }

    fn see(&mut self, seen: &crate::reader::Seen) {
        // A checkpoint stands right behind what it covers.
        if let (Some(Event::CheckpointSigned(_)), Some(_)) = (seen.event(), self.event) {
            self.covering.insert(self.tree.size(), self.tree.root());
        }
        let hash = seen.prepared.hash;
        let is_it = match &self.wanted {
            Wanted::Sequence(sequence) => *sequence == seen.sequence,
            Wanted::Hash(wanted) => *wanted == hash,
        };
        if is_it {
            self.event = Some((seen.sequence, hash));
        }
        self.tree.push(hash.as_bytes());
    }
}

/// Asks for a proof by a checkpoint that was verified here: the one that the service prefers, or, where that is newer than
/// what was read, the newest.
async fn ask(session: &Session, sequence: Sequence, found: &Found) -> Result<(ProofAnswer, Hash), Error> {
    let answer = ask_once(session, ProofRequest { sequence: sequence.0, size: None }).await?;
    if let Some(root) = found.covering.get(&answer.size) {
        return Ok((answer, *root));
    }
    let newest = found.covering.last_key_value().ok_or_else(|| {
        let detail = format!("none of the checkpoints that were read covers event {}", sequence.0);
        Error::from(Problem::new(ProblemType::NotCovered, detail))
    })?;
    let answer = ask_once(session, ProofRequest { sequence: sequence.0, size: Some(*newest.0) }).await?;
    Ok((answer, *newest.1))
}

async fn ask_once(session: &Session, request: ProofRequest) -> Result<ProofAnswer, Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Answer {
        Proof(ProofAnswer),
        Problem(Problem),
    }
    let payload = serde_json::to_vec(&request).unwrap_or_default();
    let answer = session.bus().request(subject::tenant::HISTORY_PROVE.to_owned(), payload.into(), PATIENCE).await;
    let answer = answer.map_err(|no_answer| {
        let what = format!("the history service (evidence-exporter) does not answer: {no_answer}");
        Error::unreachable(what, "see that the platform runs; `keylatch doctor` says more")
    })?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::Proof(proof)) => Ok(proof),
        Ok(Answer::Problem(problem)) => Err(problem.into()),
        Err(error) => {
            let what = format!("the history service's answer does not read: {error}");
            Err(Error::failed(what, "tell who runs the platform; nothing was written"))
        }
    }
}

/// The keys under which the tenant's checkpoints were ever signed, by the authority statements in its history.
fn log_keys(session: &Session) -> Vec<NoteKey> {
    let verifier = session.known().verifier();
    let root = verifier.state().root;
    let statements = verifier.authority().iter().rev().filter_map(|envelope| authority::open(envelope, root).ok());
    let services = statements.flat_map(|statement| statement.services);
    let exporters = services.filter(|service| service.role == ServiceRole::EvidenceExporter);
    let keys = exporters.filter_map(|service| VerifyingKey::from_bytes(&service.public_key.as_ed25519()?).ok());
    let mut keys: Vec<NoteKey> = keys.map(|key| NoteKey::of_log(session.tenant(), key)).collect();
    keys.dedup();
    keys
}

fn write(path: &Path, proof: &str) -> Result<(), Error> {
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    let written = made.and_then(|mut file| file.write_all(proof.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| Error::file(path, error, "name a file that is not there yet, with --out"))
}
