//! `keylatch export`: a bundle of evidence, made by the exporter, verified here, and put in place whole.

mod download;
pub mod plain;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use evidence::Replay;
use evidence::verdict::{self, Given, Verdict};
use journal::Body;
use journal::command::SignedCommand;
use lifecycle::Judgement;
use model::command::EvidenceExport;
use model::event::EvidenceExported;
use model::history::RecordedBundle;
use model::{Action, Digest, Event, EventHash, ProblemType, Span, Timestamp};
use serde_json::{Value, json};

use crate::error::{Error, Exit};
use crate::folder::{self, Bundle, Dir};
use crate::layout::{BOLD, Fields, GREEN, YELLOW, safe, time};
use crate::screen::{Progress, Screen, Show};
use crate::session::Session;
use crate::submit::{Recorded, Retry, not_signed, open, recorded};
use crate::words::When;

/// What the help says behind everything.
pub const HELP: &str = "\
The exporter makes the bundle: it replays the history from the first event, tests the control, and signs what came of it;
the bundle is an event of its own. Whoever may have one made stands in the policy's [evidence] export. It is fetched piece
by piece, every file is compared with the manifest and the manifest with the event, the whole is verified here under the
context's root, and only then does it come into place.

Exit codes:
  0  it is there, and everything in it holds
  1  refused, or what was fetched does not hold and was not kept; or it is there with void events in it, which are named
  2  the command line, or the place for it, won't do
  3  the platform does not answer

Examples:
  keylatch export evidence-2026-q4 --from 2026-10-01
  keylatch export evidence.tar.gz --tar
  keylatch export evidence --latest            (for who may read and not sign)
  keylatch export history --events             (the events alone: it takes no role)
  keylatch verify evidence-2026-q4 --root SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w";

/// What the names of folders under way begin with.
const NEW: &str = ".keylatch-export-";
/// How long the command is good: a long history takes its time.
const GOOD_FOR: Span = Span::from_secs(24 * 3600);
/// How long is waited before the exporter is asked again how far it is: at first, and at most.
const ASKED_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Where to, and what of.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// The folder to make; with --tar, the file. It must not be there yet.
    pub folder: PathBuf,
    /// The control tests look at what happened from here on: a sequence, or a time. The bundle holds what came before as
    /// well, because without it nobody could decide again. Left out, the whole history.
    #[arg(long, value_name = "SEQ|TIME", conflicts_with_all = ["latest", "events"])]
    pub from: Option<From>,
    /// Take the newest bundle that was made, and have none made: for who may read and not sign.
    #[arg(long, conflicts_with = "events")]
    pub latest: bool,
    /// One file, `.tar.gz`, in place of a folder.
    #[arg(long, conflicts_with = "events")]
    pub tar: bool,
    /// The events alone, read and verified here: it takes no role, and no bundle.
    #[arg(long)]
    pub events: bool,
}

/// Where the period under test begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With this event.
    Sequence(u64),
    /// With the first event that is not before this.
    Time(When),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<u64>() {
            Ok(0) => Err("events are counted from 1".to_owned()),
            Ok(sequence) => Ok(Self::Sequence(sequence)),
            Err(_) => text.parse().map(Self::Time).map_err(|error| format!("neither a sequence nor a time: {error}")),
        }
    }
}

/// A bundle that was fetched.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Where it is.
    pub path: PathBuf,
    /// What checking it came to.
    pub verdict: Verdict,
    /// The event that names it.
    pub sequence: u64,
    /// That event's hash.
    pub hash: EventHash,
    /// The SHA-256 of what its manifest says.
    pub manifest: Digest,
}

impl Exported {
    /// How it ends the program: void events are in good bundles, and whoever has one is told.
    pub fn exit(&self) -> Exit {
        if self.verdict.holds { Exit::Ok } else { Exit::Refused }
    }
}

impl Show for Exported {
    fn to_json(&self) -> Value {
        let Verdict { tenant, root, events, void, head, tree_root, period, .. } = &self.verdict;
        json!({
            "ok": self.verdict.holds, "path": self.path, "tenant": tenant, "root": root, "events": events, "void": void,
            "period": period, "head": head, "merkle_root": tree_root, "sequence": self.sequence, "hash": self.hash,
            "manifest": self.manifest, "findings": self.verdict.findings().collect::<Vec<_>>(),
        })
    }

    fn to_people(&self) -> String {
        let Verdict { root, events, void, head, period, .. } = &self.verdict;
        let mut fields = Fields::default();
        fields.text("events", format!("{events} ({void} void), until {}", time(self.verdict.time)));
        fields.text("period", format!("events {} to {}", period.from.0, period.to.0));
        fields.text("head", head.to_string());
        fields.text("manifest", self.manifest.to_string());
        fields.text("recorded", format!("as event {} {}", self.sequence, self.hash));
        let path = self.path.display();
        let mut text = format!("{GREEN}exported{GREEN:#} to {BOLD}{path}{BOLD:#}\n{}", fields.to_people(2));
        for finding in self.verdict.findings().take(9) {
            let place = finding.sequence.map(|place| format!("event {place}: ")).unwrap_or_default();
            text.push_str(&format!("  {YELLOW}mind{YELLOW:#}  {place}{}\n", safe(&finding.what)));
        }
        text + &format!("check it with: keylatch verify {path} --root {root}\n")
    }
}

/// Runs `keylatch export`.
pub async fn run(args: ExportArgs, session: &mut Session, screen: &mut Screen) -> Result<Exit, Error> {
    if args.events {
        let exported = plain::export(session, screen, &args.folder).await?;
        screen.show(&exported)?;
        return Ok(Exit::Ok);
    }
    let exported = export(&args, session, screen).await?;
    screen.show(&exported)?;
    Ok(exported.exit())
}

/// Has a bundle made, or takes the newest; fetches and verifies it. What is at the path then came there whole.
pub async fn export(args: &ExportArgs, session: &mut Session, screen: &mut Screen) -> Result<Exported, Error> {
    if args.folder.exists() {
        return Err(Error::file(&args.folder, "there is such a file or folder", "name one that is not there yet"));
    }
    let (sequence, hash, manifest) = if args.latest {
        let newest = newest(session).await?;
        (newest.sequence, newest.hash, newest.manifest)
    } else {
        let made = make(args.from, session, screen).await?;
        (made.sequence.0, made.hash, named_by(session, &made).await?)
    };
    let wrong = |error: io::Error| not_written(&args.folder, &error);
    let new = tempfile::Builder::new().prefix(NEW).tempdir_in(parent(&args.folder)).map_err(wrong)?;
    download::fetch(session, screen, manifest, new.path()).await?;
    let (verdict, replay) = verify(session, screen, new.path()).await?;
    is_named(session, replay, manifest, (sequence, hash)).await?;
    if args.tar {
        put_packed(&new, &args.folder, screen)?;
    } else {
        put_in_place(new, &args.folder).map_err(wrong)?;
    }
    Ok(Exported { path: args.folder.clone(), verdict, sequence, hash, manifest })
}

fn not_written(path: &Path, error: &io::Error) -> Error {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room, or name a place on another disk",
        _ => "see its permissions",
    };
    Error::file(path, format!("can't be written: {error}"), advice)
}

// === Having it made ===

/// Signs the command and repeats it until it is recorded, which is when the bundle is there.
async fn make(from: Option<From>, session: &mut Session, screen: &mut Screen) -> Result<Recorded, Error> {
    let from = match from {
        None => 1,
        Some(From::Sequence(sequence)) => sequence,
        Some(From::Time(when)) => first_not_before(when.from(session.now()), session, screen).await?,
    };
    let hand = session.hand()?;
    let command = session.command(Action::EvidenceExport(EvidenceExport { from }), None, GOOD_FOR);
    let envelope = SignedCommand::sign(&command, &[&*hand]).map_err(|error| not_signed(&*hand, &error))?;
    let signed = open(envelope)?;
    let (mut progress, (mut wait, most)) = (Progress::default(), ASKED_AGAIN);
    let answer = loop {
        match session.ask(&signed, Retry::SameBytes).await {
            Err(Error::Refused(problem)) if problem.kind() == Some(ProblemType::InProgress) => {
                let member = |name: &str| problem.members.get(name).and_then(Value::as_u64).unwrap_or_default();
                screen.progress("the exporter makes the bundle", member("done"), member("of"), &mut progress);
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(most);
            }
            answer => break answer,
        }
    };
    screen.progress_done(&progress);
    recorded(&signed, answer?)
}

/// The first event that stands and is not before a time.
async fn first_not_before(at: Timestamp, session: &mut Session, screen: &mut Screen) -> Result<u64, Error> {
    let mut found = None;
    session
        .replay(screen, &mut |_, seen| {
            let fits =
                |seen: &&crate::reader::Seen| seen.event().is_some() && seen.time().is_some_and(|time| time >= at);
            found = found.or(seen.iter().find(fits).map(|seen| seen.sequence.0));
        })
        .await?;
    found.ok_or_else(|| Error::usage(format!("nothing happened since {}", time(at)), "take an earlier time"))
}

/// The newest bundle that the exporter has.
async fn newest(session: &Session) -> Result<RecordedBundle, Error> {
    let bundles = download::list(session).await?;
    bundles.into_iter().next().ok_or_else(|| {
        let advice = "have one made by who may (`keylatch export` without --latest), or by the policy's schedule";
        Error::failed("there is no bundle yet", advice)
    })
}

/// The bundle that the event names which the command was answered with. The event is verified behind the bundle.
async fn named_by(session: &Session, made: &Recorded) -> Result<Digest, Error> {
    let records = session.reader().records(made.sequence).await?;
    let record = records.first().filter(|record| record.hash() == made.hash);
    let body = record.and_then(|record| Body::parse(&record.payload).ok());
    let event = body.and_then(|body| serde_json::from_str::<EvidenceExported>(&body.data).ok());
    event.map(|event| event.manifest).ok_or_else(|| not_named(made.sequence.0))
}

fn not_named(sequence: u64) -> Error {
    let what = format!("event {sequence}, which was answered, does not say that this bundle was made");
    Error::failed(what, "take the answer for false, and tell who runs the platform")
}

// === Checking it ===

async fn verify(session: &Session, screen: &mut Screen, folder: &Path) -> Result<(Verdict, Replay), Error> {
    let mut bundle = Bundle::open(folder).map_err(|error| Error::file(folder, error, "fetch it anew"))?;
    let (total, mut progress) = (bundle.events_bytes(), Progress::default());
    let given = Given { tenant: Some(session.tenant()), ..Given::root(session.state().root) };
    let told = &mut |read| screen.progress("verifying", read, total, &mut progress);
    let judged = verdict::judge(&mut bundle, &given, told);
    screen.progress_done(&progress);
    let (verdict, replay) = judged.map_err(|error| Error::file(folder, error, "fetch it anew"))?;
    // Void events are in the history, and so in a good bundle of it. Files that are not as they must be are not.
    if let Some((file, what)) = verdict.findings().find_map(|found| Some((found.file.as_ref()?, &found.what))) {
        let what = format!("what was fetched does not hold: {file}: {what}");
        return Err(Error::failed(what, "nothing was kept of it; fetch it again, and tell who runs the platform"));
    }
    Ok((verdict, replay))
}

/// Reads on behind the bundle's events, to the one that names it.
async fn is_named(
    session: &Session,
    mut replay: Replay,
    manifest: Digest,
    (sequence, hash): (u64, EventHash),
) -> Result<(), Error> {
    let mut stands = false;
    while replay.state().chain.head().sequence.0 < sequence {
        let next = replay.state().chain.head().sequence.next();
        let records = session.reader().records(next).await?;
        if records.is_empty() {
            return Err(not_named(sequence));
        }
        replay.take_each(records, &mut |_, (place, prepared, judgement)| {
            let names = matches!(prepared.event(), Some(Event::EvidenceExported(event)) if event.manifest == manifest);
            stands |= place.0 == sequence && prepared.hash == hash && *judgement == Judgement::Lawful && names;
        });
    }
    if stands { Ok(()) } else { Err(not_named(sequence)) }
}

// === Putting it in place ===

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Gives a folder its name.
fn put_in_place(new: tempfile::TempDir, folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    // A temporary folder is its owner's alone; what is handed to an auditor need not be.
    fs::set_permissions(new.path(), fs::Permissions::from_mode(0o755))?;
    fs::rename(new.path(), folder)?;
    // It is no longer temporary, nor where it was.
    let _ = new.keep();
    File::open(parent(folder))?.sync_all()
}

/// Packs a folder into a file.
fn put_packed(new: &tempfile::TempDir, path: &Path, screen: &mut Screen) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut progress = Progress::default();
    let mut pack = || {
        let folder = Dir::open(new.path())?;
        let mut file = tempfile::Builder::new().prefix(NEW).tempfile_in(parent(path))?;
        let total = folder.bytes()?;
        folder::pack(&folder, &mut file, &mut |done| screen.progress("packing", done, total, &mut progress))?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|refused| refused.error)?;
        File::open(parent(path))?.sync_all()
    };
    pack().map_err(|error| not_written(path, &error))
}
