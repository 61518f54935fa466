//! Looking back: a whole history replayed from its first event on, and added up. From the platform, or from an export that
//! somebody has: the same events, and the same comes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use evidence::bundle::{CHECKPOINTS, EVENTS, notes};
use evidence::history::At;
use evidence::verdict::Folder as _;
use evidence::{Point, Replay, Verifier, take_until};
use journal::note::Note;
use journal::{Body, Record};
use model::{EventHash, Fingerprint, Sequence, TenantId};

use crate::command::verify::Lines;
use crate::error::Error;
use crate::folder::Bundle;
use crate::screen::{Progress, Screen};
use crate::session::Session;

/// Where the history comes from.
#[derive(Args, Clone, Debug, Default)]
pub struct SourceArgs {
    /// Read this export (the folder, the `.tar.gz`, or its events.jsonl) and not the platform: needs no context.
    #[arg(long, value_name = "EXPORT", requires = "root", help_heading = "Offline")]
    pub export: Option<PathBuf>,
    /// Of an export: the root's fingerprint, from somebody you trust.
    #[arg(long, value_name = "FINGERPRINT", requires = "export", help_heading = "Offline")]
    pub root: Option<Fingerprint>,
}

impl SourceArgs {
    /// The export that is meant; `None` where the platform is asked.
    pub fn offline(&self) -> Option<Source<'_>> {
        Some(Source::Export { path: self.export.as_deref()?, root: self.root? })
    }
}

/// What is said where an export is wanted and none is named.
pub(crate) fn no_export() -> Error {
    Error::usage("no export is named", "name it with --export EXPORT --root SHA256:…")
}

/// A history to be read.
pub enum Source<'a> {
    /// The platform's, under the root that the context pins.
    Platform(&'a mut Session),
    /// An export's.
    Export {
        /// The folder, or its events.
        path: &'a Path,
        /// The root that it is checked under.
        root: Fingerprint,
    },
}

/// How much is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// The first event of the period under test; everything before is read all the same.
    pub from: Sequence,
    /// The last event; left out, all there are.
    pub until: Option<Sequence>,
    /// Whether the events' hashes are kept, for proofs.
    pub leaves: bool,
}

/// A history that was read and added up.
pub struct LookBack {
    /// The replay.
    pub replay: Replay,
    /// Every event's hash, in order, where they were to be kept.
    pub leaves: Vec<[u8; 32]>,
    /// The checkpoints that stand beside the events: nothing vouches for them.
    pub notes: Vec<Note>,
}

impl LookBack {
    fn new(tenant: TenantId, root: Fingerprint, from: Sequence) -> Self {
        Self { replay: Replay::new(tenant, root, from), leaves: Vec::new(), notes: Vec::new() }
    }

    /// Takes the records that follow, none beyond what is wanted. Whether that was reached.
    fn take(&mut self, mut records: Vec<Record>, wanted: Wanted) -> Result<bool, Error> {
        let until = wanted.until.unwrap_or(Sequence(u64::MAX));
        let room = until.0.saturating_sub(self.head().0);
        records.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        if wanted.leaves {
            self.leaves.extend(records.iter().map(|record| *record.hash().as_bytes()));
        }
        self.replay.take(records);
        match self.replay.verifier().report().stopped {
            Some(stopped) => Err(Error::failed(stopped, "install a newer keylatch")),
            None => Ok(self.head() >= until),
        }
    }

    /// Reads on to the end of what the platform has.
    pub async fn go_on(&mut self, session: &Session, screen: &mut Screen) -> Result<(), Error> {
        let mut progress = Progress::default();
        let read = self.read_on(session, Wanted::default(), screen, &mut progress).await;
        screen.progress_done(&progress);
        read
    }

    async fn read_on(
        &mut self,
        session: &Session,
        wanted: Wanted,
        screen: &mut Screen,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        loop {
            let (records, last) = session.reader().records_and_last(self.head().next()).await?;
            let reached = self.take(records, wanted)?;
            screen.progress(WHAT, self.head().0, last.0, progress);
            if reached || self.head() >= last {
                return Ok(());
            }
        }
    }

    fn head(&self) -> Sequence {
        self.replay.state().chain.head().sequence
    }

    /// The last event.
    pub fn last(&self) -> At {
        let chain = &self.replay.state().chain;
        At { sequence: chain.head().sequence, hash: chain.head().hash, time: chain.time() }
    }

    /// Warns of events that do not stand.
    pub fn warn_of_voids(&self, screen: &mut Screen) {
        let report = self.replay.verifier().report();
        if report.void > 0 {
            screen.warn(&format!("{} of {} events are void", report.void, report.events));
        }
    }
}

const WHAT: &str = "replaying the history";

impl Source<'_> {
    /// Reads and verifies the history, and adds it up.
    ///
    /// # Errors
    /// Where it does not reach as far as is wanted, or is of no tenant that stands under the root.
    pub async fn look_back(&mut self, wanted: Wanted, screen: &mut Screen) -> Result<LookBack, Error> {
        let mut progress = Progress::default();
        let read = match self {
            Self::Platform(session) => of_platform(session, wanted, screen, &mut progress).await,
            Self::Export { path, root } => of_export(path, *root, wanted, screen, &mut progress),
        };
        screen.progress_done(&progress);
        let back = read?;
        let (head, first) = (back.head(), wanted.from.max(Sequence(1)));
        let far = wanted.until.unwrap_or_default().max(first);
        if head < far {
            let what = format!("there is no event {}: the history has {}", far.0, head.0);
            return Err(Error::usage(what, "give a sequence that is there; `keylatch history` lists them"));
        }
        if back.replay.state().governance.is_none() {
            let what = format!("there is no history that stands under root {}", back.replay.state().root);
            return Err(Error::failed(what, "see that it is the right tenant, and the right root"));
        }
        Ok(back)
    }

    /// The last event that is not later than this point.
    ///
    /// # Errors
    /// Where the history had not begun.
    pub async fn place_of(&mut self, point: Point, screen: &mut Screen) -> Result<Sequence, Error> {
        let Point::Time(at) = point else {
            let Point::Sequence(sequence) = point else { return Ok(Sequence::NONE) };
            return Ok(sequence);
        };
        let head = match self {
            Self::Platform(session) => {
                session.read_until(point, screen).await?;
                session.reader().head()
            }
            Self::Export { path, root } => head_at(path, *root, point)?,
        };
        if head == Sequence::NONE {
            let what = format!("the history had not begun at {at}");
            return Err(Error::usage(what, "see `keylatch history --from 1 --max 1`"));
        }
        Ok(head)
    }

    /// The events at these places, which must have these hashes.
    pub async fn records(&mut self, wanted: &BTreeMap<Sequence, EventHash>) -> Result<Vec<Record>, Error> {
        let mut found = Vec::with_capacity(wanted.len());
        match self {
            Self::Platform(session) => {
                for sequence in wanted.keys() {
                    found.extend(session.reader().record(*sequence).await?);
                }
            }
            Self::Export { path, .. } => {
                let mut bundle = opened(path)?;
                let (mut lines, mut sequence) = (lines_of(path, &mut bundle)?, Sequence::NONE);
                loop {
                    let batch = lines.next_batch()?;
                    if batch.is_empty() {
                        break;
                    }
                    for record in batch {
                        sequence = sequence.next();
                        found.extend(wanted.contains_key(&sequence).then_some(record));
                    }
                }
            }
        }
        let hashes: BTreeSet<EventHash> = found.iter().map(Record::hash).collect();
        if hashes.len() == wanted.len() && wanted.values().all(|hash| hashes.contains(hash)) {
            return Ok(found);
        }
        Err(Error::failed("the events that were drawn are not what they were a moment ago", "try again, and compare"))
    }
}

async fn of_platform(
    session: &Session,
    wanted: Wanted,
    screen: &mut Screen,
    progress: &mut Progress,
) -> Result<LookBack, Error> {
    let mut back = LookBack::new(session.tenant(), session.state().root, wanted.from);
    back.read_on(session, wanted, screen, progress).await?;
    Ok(back)
}

fn of_export(
    path: &Path,
    root: Fingerprint,
    wanted: Wanted,
    screen: &mut Screen,
    progress: &mut Progress,
) -> Result<LookBack, Error> {
    let mut bundle = opened(path)?;
    let notes = notes_of(path, &mut bundle)?;
    let mut lines = lines_of(path, &mut bundle)?;
    let mut batch = lines.next_batch()?;
    let mut back = LookBack::new(tenant_of(path, &batch)?, root, wanted.from);
    back.notes = notes;
    while !batch.is_empty() && !back.take(batch, wanted)? {
        screen.progress(WHAT, lines.read, lines.total, progress);
        batch = lines.next_batch()?;
    }
    Ok(back)
}

fn head_at(path: &Path, root: Fingerprint, point: Point) -> Result<Sequence, Error> {
    let mut bundle = opened(path)?;
    let mut lines = lines_of(path, &mut bundle)?;
    let mut batch = lines.next_batch()?;
    let mut verifier = Verifier::new(tenant_of(path, &batch)?, root);
    while !batch.is_empty() && !take_until(&mut verifier, batch, point).1 {
        batch = lines.next_batch()?;
    }
    Ok(verifier.state().chain.head().sequence)
}

const ADVICE: &str = "name what `keylatch export` made: a folder, a `.tar.gz`, or the events in it";

fn opened(path: &Path) -> Result<Bundle, Error> {
    Bundle::open(path).map_err(|error| Error::file(path, error, ADVICE))
}

fn lines_of<'a>(path: &Path, bundle: &'a mut Bundle) -> Result<Lines<Box<dyn Read + 'a>>, Error> {
    let total = bundle.events_bytes();
    let events = bundle.open(EVENTS).map_err(|error| Error::file(path, error, ADVICE))?;
    Ok(Lines::of(path, events, total))
}

/// The checkpoints that a bundle has beside its events.
fn notes_of(path: &Path, bundle: &mut Bundle) -> Result<Vec<Note>, Error> {
    let wrong = |error: io::Error| Error::file(path, error, ADVICE);
    if !bundle.names().map_err(wrong)?.iter().any(|name| name == CHECKPOINTS) {
        return Ok(Vec::new());
    }
    let mut text = String::new();
    bundle.open(CHECKPOINTS).map_err(wrong)?.read_to_string(&mut text).map_err(wrong)?;
    Ok(notes(&text).into_iter().flatten().collect())
}

/// The tenant that the first event names.
fn tenant_of(path: &Path, batch: &[Record]) -> Result<TenantId, Error> {
    let first = batch.first().and_then(|first| Body::parse(&first.payload).ok());
    first.map(|body| body.tenant).ok_or_else(|| {
        let what = format!("{}: its first event does not stand", path.display());
        Error::failed(what, "see what `keylatch verify` says of it")
    })
}
