//! `keylatch key attest-parent`: the proof, from an export of another tenant's history, that the key which wraps this one
//! was activated there.
//!
//! The whole export is verified first, under a root that the policy trusts: what is brought is a small part of it, and the
//! rest says whether the parent still is active.

use std::path::{Path, PathBuf};

use clap::Args;
use evidence::Verifier;
use journal::{Record, merkle};
use lifecycle::Key;
use model::command::{LIFETIME_MAX, ParentAttest};
use model::text::Base64;
use model::{Action, Digest, Event, EventHash, Fingerprint, KeyId, KeyState, TenantId};

use crate::command::ConsentArgs;
use crate::command::verify::Lines;
use crate::error::Error;
use crate::lookup;
use crate::screen::{Progress, Screen};
use crate::session::Session;
use crate::submit::{Needs, Outcome};

/// Which key, and where the other history is.
#[derive(Args, Clone, Debug)]
pub struct AttestParentArgs {
    /// The key: label, id, or the beginning of an id.
    pub key: String,
    /// The folder that `keylatch export` made of the other tenant's history, or its events.
    #[arg(long, value_name = "PATH")]
    pub export: PathBuf,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: ConsentArgs,
}

/// Brings the proof.
pub async fn attest(args: AttestParentArgs, session: &mut Session, screen: &mut Screen) -> Result<Outcome, Error> {
    let key = lookup::key(session.state(), &args.key)?.clone();
    let policy = session.governance()?.policy()?.clone();
    let (tenant, parent) = parent_elsewhere(&key)?;
    let roots = &policy.policy.parents.trusted_roots;
    if roots.is_empty() || policy.policy.parents.proof_max_age.is_none() {
        let advice = "name the other platform's root in [parents] `trusted_roots`, and a `proof_max_age`";
        return Err(Error::usage("the policy takes no proof of parents elsewhere", advice));
    }
    let export = Export::read(&args.export, (tenant, parent), roots.iter().copied(), screen)?;
    let params = export.proof(|params| Ok(lifecycle::decide::check_parent(&policy, &key, params)?))?;
    let command = session.command(Action::ParentAttest(params), Some(key.id), LIFETIME_MAX);
    session.carry_out(screen, &command, &args.consent.into(), Needs { signatures: 1, review: true }).await
}

fn parent_elsewhere(key: &Key) -> Result<(TenantId, KeyId), Error> {
    let named = key.spec.wrapped_by.and_then(|parent| Some((parent.tenant?, parent.key_id)));
    named.ok_or_else(|| {
        let what = format!("key `{}` names no parent in another tenant", key.spec.label);
        Error::usage(what, "a parent is named when a key is generated; one of the same tenant needs no proof")
    })
}

/// Another tenant's history, verified.
struct Export {
    path: PathBuf,
    parent: KeyId,
    verifier: Verifier,
    hashes: Vec<EventHash>,
    /// The parent's last activation, and its place.
    activation: Option<(usize, Record)>,
    /// How many events each checkpoint commits to, and its note.
    checkpoints: Vec<(u64, String)>,
}

impl Export {
    fn read(
        path: &Path,
        parent: (TenantId, KeyId),
        mut roots: impl Iterator<Item = Fingerprint>,
        screen: &mut Screen,
    ) -> Result<Self, Error> {
        let file = if path.is_dir() { path.join("events.jsonl") } else { path.to_owned() };
        let mut fault = None;
        let read = roots.find_map(|root| match Self::read_under(&file, parent, root, screen) {
            Ok(export) => Some(export),
            Err(error) => {
                fault = Some(error);
                None
            }
        });
        read.ok_or_else(|| fault.unwrap_or_else(|| Error::usage("no root is trusted", "see the policy's [parents]")))
    }

    fn read_under(
        file: &Path,
        (tenant, parent): (TenantId, KeyId),
        root: Fingerprint,
        screen: &mut Screen,
    ) -> Result<Self, Error> {
        let mut export = Self {
            path: file.to_owned(),
            parent,
            verifier: Verifier::new(tenant, root),
            hashes: Vec::new(),
            activation: None,
            checkpoints: Vec::new(),
        };
        let mut lines = Lines::open(file)?;
        let mut progress = Progress::default();
        loop {
            let batch = lines.next_batch()?;
            if batch.is_empty() {
                break;
            }
            export.take(batch);
            screen.progress("verifying the export", lines.read, lines.total, &mut progress);
        }
        screen.progress_done(&progress);
        let report = export.verifier.report();
        if report.is_clean() && report.events > 0 {
            return Ok(export);
        }
        let why = match (report.first_bad(), &report.stopped) {
            (Some(bad), _) => format!("event {} does not stand: {}", bad.sequence, bad.reason),
            (None, Some(stopped)) => stopped.clone(),
            (None, None) => "there are no events".to_owned(),
        };
        let what = format!("{} does not hold for tenant {tenant} under root {root}: {why}", file.display());
        Err(Error::failed(what, "have the other tenant export it anew; see what `keylatch verify` says of it"))
    }

    fn take(&mut self, batch: Vec<Record>) {
        let first = self.hashes.len();
        self.hashes.extend(batch.iter().map(Record::hash));
        let records = batch.clone();
        for ((place, record), (_, prepared, _)) in records.into_iter().enumerate().zip(self.verifier.take(batch)) {
            match prepared.event() {
                Some(Event::KeyActivated(event)) if event.key_id == self.parent => {
                    self.activation = Some((first + place, record));
                }
                Some(Event::CheckpointSigned(event)) => self.checkpoints.push((event.size, event.note.clone())),
                _ => {}
            }
        }
    }

    /// The proof of the parent's last activation: under the newest authority statement and the smallest tree under which it
    /// passes.
    fn proof(&self, passes: impl Fn(&ParentAttest) -> Result<(), Error>) -> Result<ParentAttest, Error> {
        let (index, record) = self.active()?;
        let at = u64::try_from(*index).unwrap_or(u64::MAX);
        let covering: Vec<&(u64, String)> = self.checkpoints.iter().filter(|(size, _)| *size > at).collect();
        if covering.is_empty() {
            let what = format!("no checkpoint covers event {} yet", at + 1);
            return Err(self.wrong(&what, "have the other tenant export it anew: one is signed within minutes"));
        }
        let mut fault = self.wrong("it has no authority statement", "have it exported anew");
        for authority in self.verifier.authority().iter().rev() {
            // Whoever signed the first checkpoint may be gone from the newest statement, and the other way round.
            for (size, note) in covering.first().into_iter().chain(covering.last()).copied() {
                let params = ParentAttest {
                    event: Base64(record.payload.to_vec()),
                    signature: record.signature.clone(),
                    authority: authority.clone(),
                    checkpoint: note.clone(),
                    index: at,
                    path: self.path_of(*index, *size),
                };
                match passes(&params) {
                    Ok(()) => return Ok(params),
                    Err(error) => fault = error,
                }
            }
        }
        Err(fault)
    }

    /// The parent's activation, where it is active at the export's end.
    fn active(&self) -> Result<&(usize, Record), Error> {
        let Some(key) = self.verifier.state().keys.get(&self.parent) else {
            return Err(self.wrong(&format!("there is no key {}", self.parent), "see which key the parent is"));
        };
        match &self.activation {
            Some(activation) if key.state == KeyState::Active => Ok(activation),
            _ => {
                let what = format!("the parent `{}` is {} there", key.spec.label, key.state);
                Err(self.wrong(&what, "a key is activated under a parent that is active: ask the other tenant"))
            }
        }
    }

    fn wrong(&self, what: &str, advice: &str) -> Error {
        Error::failed(format!("{}: {what}", self.path.display()), advice)
    }

    fn path_of(&self, index: usize, size: u64) -> Vec<Digest> {
        let covered = self.hashes.iter().take(usize::try_from(size).unwrap_or(usize::MAX));
        let levels = merkle::levels(covered.map(|hash| *hash.as_bytes()).collect());
        merkle::path_in(&levels, index).into_iter().map(Digest::new).collect()
    }
}
