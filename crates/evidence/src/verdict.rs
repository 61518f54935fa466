//! What a bundle comes to, checked with nothing to go by but a pinned root: integrity, authenticity, lawfulness,
//! completeness, the deployment's shape, each apart, and what was not checked.
//!
//! Files come through a [`Folder`]; nothing here opens one. Events are read once, some at a time: memory grows with keys,
//! requests, commands and checkpoints, not with the size of events.

mod checkpoints;
mod events;
mod files;
mod report;

use std::io::{self, Read};

use journal::note::{Note, NoteKey};
use model::{EventHash, Fingerprint, TenantId};

pub use report::{Figure, Finding, Section, Verdict};

use crate::bundle::{EVENTS, MANIFEST};
use crate::replay::Replay;
use files::Manifest;

/// A folder of files, or what stands for one.
pub trait Folder {
    /// The names of the files in it, with `/` between folders.
    ///
    /// # Errors
    /// Where it can't be read.
    fn names(&mut self) -> io::Result<Vec<String>>;

    /// One of those, from its beginning.
    ///
    /// # Errors
    /// Where it can't be read.
    fn open<'a>(&'a mut self, name: &str) -> io::Result<Box<dyn Read + 'a>>;
}

/// What whoever checks brings along. All but the root may be left out; what is, is said.
#[derive(Clone, Debug)]
pub struct Given {
    /// The root's fingerprint, from somebody trusted.
    pub root: Fingerprint,
    /// The tenant.
    pub tenant: Option<TenantId>,
    /// The last event's hash.
    pub head: Option<EventHash>,
    /// Checkpoints that were kept from before.
    pub kept: Vec<Note>,
    /// The witnesses whose cosignatures count.
    pub witnesses: Vec<NoteKey>,
}

impl Given {
    /// A root and nothing else.
    pub fn root(root: Fingerprint) -> Self {
        Self { root, tenant: None, head: None, kept: Vec::new(), witnesses: Vec::new() }
    }
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read.
    #[error("{name} can't be read: {error}")]
    File {
        /// Which.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// There are no events to check.
    #[error("there is no {EVENTS}")]
    NoEvents,
    /// Neither the one who checks, nor the manifest, nor the first event says whose history it is.
    #[error("it does not say whose history it is: {0}")]
    Tenant(String),
}

/// Checks a bundle, or a plain export. `progress` hears how many bytes of events were read.
///
/// # Errors
/// See [`Error`]. Whatever is wrong with what could be read stands in the verdict.
pub fn check(folder: &mut dyn Folder, given: &Given, progress: &mut dyn FnMut(u64)) -> Result<Verdict, Error> {
    judge(folder, given, progress).map(|(verdict, _)| verdict)
}

/// The same, for who reads on behind the events.
///
/// # Errors
/// See [`Error`].
pub fn judge(
    folder: &mut dyn Folder,
    given: &Given,
    progress: &mut dyn FnMut(u64),
) -> Result<(Verdict, Replay), Error> {
    let wrong = |name: &str| {
        let name = name.to_owned();
        move |error| Error::File { name, error }
    };
    let names = folder.names().map_err(wrong("the folder"))?;
    if !names.iter().any(|name| name == EVENTS) {
        return Err(Error::NoEvents);
    }
    let manifest = Manifest::read(folder, &names).map_err(wrong(MANIFEST))?;
    let notes = checkpoints::read(folder, &names)?;
    let said = manifest.as_ref().and_then(|parsed| parsed.as_ref().ok()).map(|manifest| &manifest.statement.predicate);
    let mut events = events::Events::open(folder).map_err(wrong(EVENTS))?;
    let tenant = match given.tenant.or(said.map(|said| said.tenant)) {
        Some(tenant) => tenant,
        None => events.tenant().map_err(Error::Tenant)?,
    };
    let from = said.map_or(model::Sequence(1), |said| said.period.from);
    let mut replay = Replay::new(tenant, given.root, from);
    let kept = given.kept.iter().filter_map(|note| note.checkpoint().ok());
    kept.chain(notes.sizes()).for_each(|checkpoint| replay.keep_root(checkpoint.size));
    let read = events.read(&mut replay, progress).map_err(wrong(EVENTS))?;

    let mut verdict = Verdict::new(&replay);
    read.say(&replay, &mut verdict);
    checkpoints::of_file(&replay, &notes, given, manifest.is_some(), &mut verdict);
    checkpoints::kept(&replay, given, &mut verdict);
    report::head(&replay, given, &mut verdict);
    files::check(folder, &names, manifest, &notes, &read, &replay, &mut verdict)?;
    report::close(&replay, given, &mut verdict);
    Ok((verdict, replay))
}
