//! `keylatch verify`: checking evidence, offline, with nothing to go by but the root's fingerprint.

mod lines;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use evidence::certificate::{BYTES_MAX, Certificate};
use evidence::verdict::{self, Finding, Given, Section, Verdict};
use journal::note::{Note, NoteKey};
use model::{EventHash, Fingerprint, TenantId};
use serde_json::{Value, json};

pub(crate) use self::lines::Lines;

use crate::command::certificate;
use crate::error::{Error, Exit};
use crate::folder::Bundle;
use crate::layout::{BOLD, DIM, Fields, GREEN, RED, YELLOW, safe, time};
use crate::screen::{Progress, Screen, Show};

/// How many findings of a section are shown to people.
const SHOWN_MAX: usize = 10;

/// What the help says behind everything.
pub const HELP: &str = "\
What is checked, each reported apart:
  integrity     links, places, times, the tree, every checkpoint: nothing added, taken away or moved
  authenticity  every signature: of services, of people, of the root, of the manifest
  lawfulness    every decision, decided again under the policy and the packs that were in force
  completeness  what there is of what; every other file made anew from the events and compared
  deployment    which instances signed as what: facts to weigh, not faults
and then what was not checked.

A shorter or older history looks as good as a whole one. Keep a checkpoint of every bundle that you see (the last lines of
its checkpoints.txt), and give it the next time: then whatever was cut off or changed since shows.

Void events change nothing, but somebody wrote them who should not have: they are findings. One that you have looked into
and accounted for you name with --accounted HASH; it is shown, and no longer counts.

Exit codes:
  0  everything that was checked holds, and every void event is one that you named
  1  something does not hold; the findings say what, and where
  2  it can't be read: no such file, a damaged archive, no events in it

Examples:
  keylatch verify evidence-2026-q4 --root SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w
  keylatch verify evidence.tar.gz --root SHA256:… --tenant A… --checkpoint kept-in-july.txt
  keylatch --json verify events.jsonl --root SHA256:… | jq '.verdict.lawfulness.findings'
  keylatch verify weights.certificate.json --root SHA256:…";

/// What to check, under which root.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// What `keylatch export` made: a folder, a `.tar.gz`, or the events.jsonl in it; or a file that `keylatch certificate`
    /// made.
    pub path: PathBuf,
    /// The root's fingerprint, `SHA256:…`: from somebody you trust, not from the export.
    #[arg(long, value_name = "FINGERPRINT")]
    pub root: Fingerprint,
    /// The tenant; left out, the one that the bundle names.
    #[arg(long)]
    pub tenant: Option<TenantId>,
    /// A file with checkpoints that you kept from before, as they stand in checkpoints.txt: the history must continue them.
    /// Repeat it for further ones.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Vec<PathBuf>,
    /// The last event's hash, where you know it: it shows that nothing was cut off.
    #[arg(long, value_name = "HASH")]
    pub expect_head: Option<EventHash>,
    /// A witness whose cosignatures count for you, by its verifier key. Repeat it for further ones.
    #[arg(long, value_name = "VKEY")]
    pub witness: Vec<NoteKey>,
    /// A void event that you have accounted for, by its hash. Repeat it for further ones.
    #[arg(long, value_name = "HASH")]
    pub accounted: Vec<EventHash>,
}

/// What the check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What was found.
    pub verdict: Verdict,
    /// The void events that were accounted for beforehand.
    pub accounted: Vec<EventHash>,
}

impl Verified {
    /// Whether nothing is against it but what was accounted for.
    pub fn holds(&self) -> bool {
        self.against().next().is_none() && self.verdict.sections().iter().all(|(_, section)| section.more == 0)
    }

    /// What is against it.
    fn against(&self) -> impl Iterator<Item = &Finding> {
        self.verdict.findings().filter(|finding| !self.is_accounted(finding))
    }

    fn is_accounted(&self, finding: &Finding) -> bool {
        finding.hash.is_some_and(|hash| self.accounted.contains(&hash))
    }

    /// What is against it, where it begins.
    fn fault(&self) -> Option<String> {
        self.against().min_by_key(|finding| finding.sequence.unwrap_or(u64::MAX)).map(said)
    }

    fn section(&self, (name, section): (&str, &Section)) -> String {
        let against =
            section.findings.iter().filter(|finding| !self.is_accounted(finding)).count() as u64 + section.more;
        let mark = match (name, against) {
            ("deployment", _) => format!("{DIM}to weigh{DIM:#}"),
            (_, 0) => format!("{GREEN}holds{GREEN:#}"),
            (_, _) => format!("{RED}does not hold{RED:#}"),
        };
        let mut text = format!("{BOLD}{name:<13}{BOLD:#} {mark}\n");
        for finding in section.findings.iter().take(SHOWN_MAX) {
            let mark = if self.is_accounted(finding) {
                format!("{DIM}accounted{DIM:#}")
            } else {
                format!("{YELLOW}found{YELLOW:#}")
            };
            text.push_str(&format!("  {mark}  {}\n", safe(&said(finding))));
        }
        let more = section.findings.len().saturating_sub(SHOWN_MAX) as u64 + section.more;
        if more > 0 {
            text.push_str(&format!("  {DIM}and {more} more; --json has the first hundred{DIM:#}\n"));
        }
        let mut figures = Fields::default();
        for alike in section.figures.chunk_by(|one, other| one.what == other.what) {
            let values: Vec<&str> = alike.iter().map(|figure| figure.value.as_str()).collect();
            figures.text(alike.first().map_or("", |figure| figure.what), values.join(", "));
        }
        text + &figures.to_people(2)
    }
}

/// A finding in a line.
fn said(finding: &Finding) -> String {
    let place = match (finding.sequence, &finding.file) {
        (Some(sequence), _) => format!("event {sequence}: "),
        (None, Some(file)) => format!("{file}: "),
        (None, None) => String::new(),
    };
    let hash = finding.hash.map(|hash| format!(" {hash}")).unwrap_or_default();
    format!("{place}{}{hash}", finding.what)
}

impl Show for Verified {
    fn to_json(&self) -> Value {
        json!({
            "ok": self.holds(), "fault": self.fault(), "verdict": self.verdict,
            "accounted": self.verdict.findings().filter(|finding| self.is_accounted(finding)).collect::<Vec<_>>(),
        })
    }

    fn to_people(&self) -> String {
        let Verdict { tenant, root, events, void, head, tree_root, period, .. } = &self.verdict;
        let mut text = match self.fault() {
            None if self.holds() => format!("{GREEN}it holds{GREEN:#}: every signature, every link, every decision\n"),
            fault => {
                let fault = fault.unwrap_or_else(|| "there are more findings than were kept".to_owned());
                format!("{RED}it does not hold{RED:#}: {BOLD}{}{BOLD:#}\n", safe(&fault))
            }
        };
        let mut fields = Fields::default();
        fields.text("tenant", tenant.to_string());
        fields.text("root", root.to_string());
        fields.text("events", format!("{events} ({void} void), until {}", time(self.verdict.time)));
        fields.text("period", format!("events {} to {}", period.from.0, period.to.0));
        fields.text("head", head.to_string());
        fields.text("Merkle root", tree_root.to_string());
        text.push_str(&fields.to_people(2));
        for section in self.verdict.sections() {
            text.push_str(&self.section(section));
        }
        text.push_str(&format!("{BOLD}not checked{BOLD:#}\n"));
        for item in &self.verdict.not_checked {
            text.push_str(&format!("  {DIM}- {}{DIM:#}\n", safe(item)));
        }
        text
    }
}

/// Runs `keylatch verify`.
pub fn run(args: VerifyArgs, screen: &mut Screen) -> Result<Exit, Error> {
    if let Some(certificate) = certificate_at(&args.path)? {
        let checked = certificate::verify(&certificate, args.root, &args.witness);
        screen.show(&checked)?;
        return Ok(if checked.0.holds() { Exit::Ok } else { Exit::Refused });
    }
    let verified = verify(&args, screen)?;
    screen.show(&verified)?;
    Ok(if verified.holds() { Exit::Ok } else { Exit::Refused })
}

/// The certificate in this file, where it is one.
fn certificate_at(path: &Path) -> Result<Option<Certificate>, Error> {
    let small = path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= BYTES_MAX as u64);
    if !small {
        return Ok(None);
    }
    let bytes = fs::read(path).map_err(|error| Error::file(path, error, "see that the medium reads"))?;
    certificate::read(path, &bytes)
}

/// Checks a bundle, or the events alone. Memory does not grow with the size of events.
///
/// # Errors
/// Where it can't be read.
pub fn verify(args: &VerifyArgs, screen: &mut Screen) -> Result<Verified, Error> {
    let advice = "name the folder or the file that `keylatch export` made, or its events.jsonl";
    let mut bundle = Bundle::open(&args.path).map_err(|error| Error::file(&args.path, error, advice))?;
    let mut kept = Vec::new();
    for path in &args.checkpoint {
        kept.extend(checkpoints(path)?);
    }
    let given =
        Given { root: args.root, tenant: args.tenant, head: args.expect_head, kept, witnesses: args.witness.clone() };
    let (total, mut progress) = (bundle.events_bytes(), Progress::default());
    let told = &mut |read| screen.progress("verifying", read, total, &mut progress);
    let checked = verdict::check(&mut bundle, &given, told);
    screen.progress_done(&progress);
    let verdict = checked.map_err(|error| match error {
        verdict::Error::Tenant(why) => {
            let advice = "have it exported anew; or give the tenant with --tenant, to check what follows";
            Error::failed(format!("{}: it does not say whose history it is: {why}", args.path.display()), advice)
        }
        error => Error::file(&args.path, error, advice),
    })?;
    Ok(Verified { verdict, accounted: args.accounted.clone() })
}

/// The checkpoints in a file: as many as stand in it, with an empty line between two.
fn checkpoints(path: &Path) -> Result<Vec<Note>, Error> {
    let advice = "name a file with checkpoints as they stand in a bundle's checkpoints.txt, signatures and all";
    let text = fs::read_to_string(path).map_err(|error| Error::file(path, error, advice))?;
    let notes: Result<Vec<Note>, _> = evidence::bundle::notes(&text).into_iter().collect();
    let notes = notes.map_err(|error| Error::file(path, error, advice))?;
    if notes.is_empty() {
        return Err(Error::file(path, "there is no checkpoint in it", advice));
    }
    Ok(notes)
}
