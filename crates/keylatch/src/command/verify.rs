//! `keylatch verify`: checking an export, offline, with nothing to go by but the root's fingerprint.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use evidence::certificate::{BYTES_MAX, Certificate};
use evidence::{Report, Verifier, export};
use journal::{Body, Record};
use model::{EventHash, Fingerprint, TenantId};
use serde_json::{Value, json};

use crate::command::certificate;
use crate::error::{Error, Exit};
use crate::layout::{BOLD, DIM, Fields, GREEN, RED, safe, time};
use crate::screen::{Progress, Screen, Show};

/// How many events are checked at a time: signatures are, in parallel.
const AT_ONCE: usize = 512;
/// The longest line that is read, in bytes: an event of 60,000 bytes in base64, and what is around it.
const LINE_BYTES_MAX: u64 = 256 * 1024;

/// What was not checked, and can't be from these bytes alone.
const NOT_CHECKED: [&str; 4] = [
    "that this is the whole history: an end that was cut off leaves a good shorter one; compare the head with one that \
     somebody else has seen (--expect-head)",
    "that the root's fingerprint is the right one: that you must know from somebody you trust",
    "what key stores really hold: custody events are the custodian's word",
    "the other files of the folder, which are for convenience",
];

/// What to check, under which root.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// The folder that `keylatch export` made, its events.jsonl, or a file that `keylatch certificate` made.
    pub path: PathBuf,
    /// The root's fingerprint, `SHA256:…`: from somebody you trust, not from the export.
    #[arg(long, value_name = "FINGERPRINT")]
    pub root: Fingerprint,
    /// The tenant; left out, the one that the first event names.
    #[arg(long)]
    pub tenant: Option<TenantId>,
    /// The last event's hash, where you know it: it shows that nothing was cut off.
    #[arg(long, value_name = "HASH")]
    pub expect_head: Option<EventHash>,
}

/// What the check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What was found.
    pub report: Report,
    /// Whether the tenant was given, and not taken from the first event.
    pub tenant_given: bool,
    /// The head that was expected, where one was.
    pub expected_head: Option<EventHash>,
}

impl Verified {
    /// Whether there is nothing to object to.
    pub fn holds(&self) -> bool {
        self.report.is_clean() && self.expected_head.is_none_or(|head| head == self.report.head)
    }

    fn not_checked(&self) -> Vec<&'static str> {
        let whole = usize::from(self.expected_head.is_some());
        let mut list: Vec<&'static str> = NOT_CHECKED.iter().skip(whole).copied().collect();
        if !self.tenant_given {
            list.push("that it is the tenant you mean: it was taken from the first event (--tenant)");
        }
        list
    }

    fn fault(&self) -> Option<String> {
        let report = &self.report;
        if let Some(bad) = report.first_bad() {
            let name = bad.event_type.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            return Some(format!("event {}{name} does not stand: {} {}", bad.sequence, bad.reason, bad.hash));
        }
        match (&report.stopped, self.expected_head) {
            (Some(stopped), _) => Some(stopped.clone()),
            (None, Some(head)) if head != report.head => {
                Some(format!("the head is {}, and {head} was expected: events are missing or were added", report.head))
            }
            _ if report.events == 0 => Some("there are no events".to_owned()),
            _ => None,
        }
    }
}

impl Show for Verified {
    fn to_json(&self) -> Value {
        json!({
            "ok": self.holds(), "report": self.report, "fault": self.fault(), "not_checked": self.not_checked(),
        })
    }

    fn to_people(&self) -> String {
        let report = &self.report;
        let mut fields = Fields::default();
        fields.text("tenant", report.tenant.to_string());
        fields.text("root", report.root.to_string());
        fields.text("events", format!("{} ({} void)", report.events, report.void));
        fields.text("last event", time(report.time));
        fields.text("head", report.head.to_string());
        fields.text("Merkle root", report.merkle_root.to_string());
        let keys: Vec<String> = report.keys.iter().map(|(state, count)| format!("{count} {state}")).collect();
        fields.text("keys", if keys.is_empty() { "none".to_owned() } else { keys.join(", ") });
        let verdict = match self.fault() {
            None => format!("{GREEN}it holds{GREEN:#}: every signature, every link, every decision\n"),
            Some(fault) => format!("{RED}it does not hold{RED:#}: {BOLD}{}{BOLD:#}\n", safe(&fault)),
        };
        let mut text = format!("{verdict}{}", fields.to_people(2));
        for void in report.voids.iter().skip(1).take(9) {
            text.push_str(&format!("  {RED}void{RED:#} event {}: {}\n", void.sequence, safe(&void.reason)));
        }
        text.push_str(&format!("{DIM}not checked:{DIM:#}\n"));
        for item in self.not_checked() {
            text.push_str(&format!("  {DIM}- {item}{DIM:#}\n"));
        }
        text
    }
}

/// Runs `keylatch verify`.
pub fn run(args: VerifyArgs, screen: &mut Screen) -> Result<Exit, Error> {
    if let Some(certificate) = certificate_at(&args.path)? {
        let checked = certificate::verify(&certificate, args.root, &[]);
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
    let bytes = std::fs::read(path).map_err(|error| Error::file(path, error, "see that the medium reads"))?;
    certificate::read(path, &bytes)
}

/// Checks an export. Memory does not grow with the number of events.
///
/// # Errors
/// [`Error::Failed`] where a line is no event of an export.
pub fn verify(args: &VerifyArgs, screen: &mut Screen) -> Result<Verified, Error> {
    let path = if args.path.is_dir() { args.path.join("events.jsonl") } else { args.path.clone() };
    let mut lines = Lines::open(&path)?;
    let mut batch = lines.next_batch()?;
    let tenant = match args.tenant {
        Some(tenant) => tenant,
        None => first_tenant(&path, &batch)?,
    };
    let mut verifier = Verifier::new(tenant, args.root);
    let mut progress = Progress::default();
    while !batch.is_empty() && verifier.report().stopped.is_none() {
        verifier.take(batch);
        screen.progress("verifying", lines.read, lines.total, &mut progress);
        batch = lines.next_batch()?;
    }
    screen.progress_done(&progress);
    let report = verifier.report();
    Ok(Verified { report, tenant_given: args.tenant.is_some(), expected_head: args.expect_head })
}

/// The tenant that the first event names.
fn first_tenant(path: &Path, batch: &[Record]) -> Result<TenantId, Error> {
    let first = batch.first().ok_or_else(|| {
        Error::failed(format!("{}: there are no events", path.display()), "export it anew; an empty history is none")
    })?;
    match Body::parse(&first.payload) {
        Ok(body) => Ok(body.tenant),
        Err(void) => {
            let what = format!("{}: event 1 does not stand: {void}", path.display());
            Err(Error::failed(what, "give the tenant with --tenant to check what follows"))
        }
    }
}

/// The lines of a file, some at a time.
pub(crate) struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    number: u64,
    /// How many bytes were read.
    pub(crate) read: u64,
    /// How many there are.
    pub(crate) total: u64,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (total, file) = opened
            .map_err(|error| Error::file(path, error, "name the folder that `keylatch export` made, or its events"))?;
        Ok(Self { path: path.to_owned(), file: BufReader::new(file), number: 0, read: 0, total })
    }

    pub(crate) fn next_batch(&mut self) -> Result<Vec<Record>, Error> {
        let mut batch = Vec::with_capacity(AT_ONCE);
        let mut line = Vec::new();
        while batch.len() < AT_ONCE {
            line.clear();
            let mut limited = std::io::Read::take(&mut self.file, LINE_BYTES_MAX);
            let count = limited
                .read_until(b'\n', &mut line)
                .map_err(|error| Error::file(&self.path, error, "see that the medium reads"))?;
            if count == 0 {
                break;
            }
            self.number += 1;
            self.read += count as u64;
            let record = export::from_line(&line).map_err(|error| {
                let what = format!("{}: line {}: {error}", self.path.display(), self.number);
                Error::failed(what, "have it exported anew, and compare")
            })?;
            batch.push(record);
        }
        Ok(batch)
    }
}
