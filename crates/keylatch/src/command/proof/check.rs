//! `keylatch proof check`: a proof of an event, or a checkpoint, from a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use journal::note::{self, Kind, NOTE_BYTES_MAX, Note, NoteKey, Opened};
use journal::tlog_proof::{self, TlogProof};
use model::{EventHash, Timestamp};
use serde_json::{Value, json};

use crate::error::{Error, Exit};
use crate::layout::{BOLD, DIM, Fields, GREEN, RED, safe, time};
use crate::screen::{Screen, Show};

/// What to check, and under whose keys.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The proof, or the checkpoint; `-` for standard input.
    pub file: PathBuf,
    /// The hash of the event (or leaf) that a proof is to prove, in hex.
    #[arg(long, value_name = "HASH")]
    pub event: Option<EventHash>,
    /// A key that is known: of the log, or of a witness. Again for each.
    #[arg(long, value_name = "KEY", required = true)]
    pub vkey: Vec<NoteKey>,
    /// The log that it must be of; left out, the one that its key is named after.
    #[arg(long, value_name = "ORIGIN")]
    pub origin: Option<String>,
    /// How many of the witnesses that are given must have cosigned.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub cosignatures: usize,
}

/// What the check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Why it does not hold.
    pub fault: Option<String>,
    /// The log.
    origin: String,
    /// The event's place, from 0, where it was to be proved.
    index: Option<u64>,
    /// How many events the checkpoint commits to.
    size: Option<u64>,
    /// Their root.
    root: Option<EventHash>,
    /// Who has cosigned, and when.
    cosigned: Vec<(String, Timestamp)>,
    not_checked: Vec<&'static str>,
}

impl Show for Checked {
    fn to_json(&self) -> Value {
        let cosigned = |(name, at): &(String, Timestamp)| json!({ "witness": name, "time": at });
        let cosigned: Vec<Value> = self.cosigned.iter().map(cosigned).collect();
        json!({
            "ok": self.fault.is_none(), "fault": self.fault, "origin": self.origin, "index": self.index,
            "size": self.size, "root": self.root, "cosigned": cosigned, "not_checked": self.not_checked,
        })
    }

    fn to_people(&self) -> String {
        let mut fields = Fields::default();
        fields.text("log", &self.origin);
        if let Some(index) = self.index {
            fields.text("event", format!("number {} (place {index} from 0)", index.saturating_add(1)));
        }
        if let Some((size, root)) = self.size.zip(self.root) {
            fields.text("checkpoint", format!("over {size} events, root {root}"));
        }
        for (name, at) in &self.cosigned {
            fields.text("cosigned", format!("{name}, {}", time(*at)));
        }
        let verdict = match &self.fault {
            None => format!("{GREEN}it holds{GREEN:#}\n"),
            Some(fault) => format!("{RED}it does not hold{RED:#}: {BOLD}{}{BOLD:#}\n", safe(fault)),
        };
        let mut text = format!("{verdict}{}{DIM}not checked:{DIM:#}\n", fields.to_people(2));
        for item in &self.not_checked {
            text.push_str(&format!("  {DIM}- {item}{DIM:#}\n"));
        }
        text
    }
}

pub(super) fn run(args: &CheckArgs, screen: &mut Screen) -> Result<Exit, Error> {
    let checked = check(args)?;
    screen.show(&checked)?;
    Ok(if checked.fault.is_none() { Exit::Ok } else { Exit::Refused })
}

/// Checks a file.
///
/// # Errors
/// Where it, or what it is to be checked under, can't be read.
pub fn check(args: &CheckArgs) -> Result<Checked, Error> {
    let text = read(&args.file)?;
    let (log, witnesses): (Vec<NoteKey>, Vec<NoteKey>) =
        args.vkey.iter().cloned().partition(|key| key.kind() == Kind::Ed25519);
    let origin = origin(args, &log)?;
    let unread = |what: &dyn std::fmt::Display| {
        Error::file(&args.file, what, "name a file of `keylatch proof event`, or a checkpoint with its signatures")
    };
    let mut checked = Checked {
        fault: None,
        origin: origin.clone(),
        index: None,
        size: None,
        root: None,
        cosigned: Vec::new(),
        not_checked: not_checked(args, &witnesses),
    };
    let opened = match (text.starts_with("c2sp.org/tlog-proof"), args.event) {
        (true, None) => {
            let advice = "name the hash of the event with --event; `keylatch history --json` has it";
            return Err(Error::usage("it is a proof, and of what is not said", advice));
        }
        (false, Some(_)) => {
            let what = "it is a checkpoint, which proves no event";
            return Err(unread(&what));
        }
        (true, Some(event)) => {
            let proof = TlogProof::parse(&text).map_err(|error| unread(&error))?;
            checked.index = Some(proof.index);
            proof.verify(event.as_bytes(), &origin, &log, &witnesses)
        }
        (false, None) => {
            let note = Note::parse(&text).map_err(|error| unread(&error))?;
            Opened::read(&note, &origin, &log, &witnesses).map_err(Into::into)
        }
    };
    match opened {
        Ok(opened) => checked.take(&opened, args.cosignatures),
        Err(error @ (tlog_proof::Error::Malformed(_) | tlog_proof::Error::Note(note::Error::Malformed(_)))) => {
            return Err(unread(&error));
        }
        Err(error) => checked.fault = Some(error.to_string()),
    }
    Ok(checked)
}

impl Checked {
    fn take(&mut self, opened: &Opened<'_>, wanted: usize) {
        self.size = Some(opened.checkpoint.size);
        self.root = Some(EventHash::new(opened.checkpoint.root));
        let at = |seconds: u64| {
            Timestamp::from_unix_millis(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000))
        };
        self.cosigned = opened.cosignatures.iter().map(|(key, time)| (key.name().to_owned(), at(*time))).collect();
        if self.cosigned.len() < wanted {
            self.fault =
                Some(format!("{} of the witnesses have cosigned it, and {wanted} must have", self.cosigned.len()));
        }
    }
}

/// The log that is meant.
fn origin(args: &CheckArgs, log: &[NoteKey]) -> Result<String, Error> {
    let first = log.first().ok_or_else(|| {
        Error::usage("no key of a log is given", "name it with --vkey; `keylatch proof event` says which it is")
    })?;
    if let Some(origin) = &args.origin {
        return Ok(origin.clone());
    }
    if log.iter().any(|key| key.name() != first.name()) {
        return Err(Error::usage("keys of several logs are given", "say which log is meant with --origin"));
    }
    Ok(first.name().to_owned())
}

fn not_checked(args: &CheckArgs, witnesses: &[NoteKey]) -> Vec<&'static str> {
    let mut list = Vec::new();
    if args.event.is_some() {
        list.push("what the event says, and that it is lawful: `keylatch verify` does, on an export");
    }
    if witnesses.is_empty() {
        list.push("that everybody is shown the same history: no witness's key was given (--vkey)");
    }
    list.push("that the keys are those of the log and the witnesses you mean");
    list
}

fn read(path: &Path) -> Result<String, Error> {
    let wrong = |error: io::Error| Error::file(path, error, "name the file, or `-` for standard input");
    let from: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(path).map_err(wrong)?),
    };
    let mut text = String::new();
    from.take(NOTE_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(wrong)?;
    Ok(text)
}
