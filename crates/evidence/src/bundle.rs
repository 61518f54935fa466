//! The evidence bundle: a folder that an auditor opens, believes, and checks without us. Byte for byte the same from the same
//! events, cosignatures and period.
//!
//! A [`Bundle`] takes events and writes them out again as `events.jsonl`; [`Bundle::finish`] has the other files. Each of
//! those is a pure function of what was read ([`Source`]), and stands in one table ([`FILES`]): whoever verifies a bundle
//! makes them anew and compares.

pub(crate) mod checkpoints;
mod csv;
mod manifest;
mod readme;
mod responsibility;
mod tables;

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IntoInnerError, Write};

use journal::note::{self, Note};
use journal::{Record, ServiceKey};
use model::{Digest, Envelope, Fingerprint, Sequence, TenantId};
use sha2::{Digest as _, Sha256};

pub use checkpoints::notes;
pub use manifest::{IN_TOTO, PREDICATE, Predicate, Statement, Subject};

use crate::controls::Controls;
use crate::history::History;
use crate::replay::Replay;
use crate::report::{self, Lines};
use crate::verify::Report;
use crate::{Trust, caiq, export, ocsf, oscal};

/// What the files beside the events are made from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The state after the last event.
    pub state: &'a lifecycle::Tenant,
    /// What the events add up to.
    pub history: &'a History,
    /// The control tests.
    pub controls: &'a Controls,
    /// What the verification came to.
    pub report: &'a Report,
    /// The authority statements, in order.
    pub authority: &'a [Envelope],
    /// `checkpoints.txt`.
    pub checkpoints: &'a str,
    /// The digests of the files that come before in the table, and of the events.
    pub files: &'a BTreeMap<String, Digest>,
    /// The events, for the report to carry.
    pub lines: &'a Lines,
}

/// A file beside the events.
#[derive(Clone, Copy)]
pub struct File {
    /// Its name in the folder.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// Writes it.
    pub write: fn(&Source<'_>, &mut dyn Write) -> io::Result<()>,
}

/// How much of a file is written at a time.
const PIECE: usize = 64 * 1024;

/// The events.
pub const EVENTS: &str = "events.jsonl";
/// What the exporter signs.
pub const MANIFEST: &str = "manifest.json";
/// The checkpoints.
pub const CHECKPOINTS: &str = "checkpoints.txt";
/// The events in OCSF.
pub const LINES: &str = "ocsf.jsonl";

/// Every file but what is written event by event, the manifest, and what else is signed, in the order in which they are
/// written.
pub const FILES: &[File] = &[
    File { name: "README.txt", about: "this page", write: readme::write },
    File {
        name: CHECKPOINTS,
        about: "every checkpoint: the exporter's signed word on the tree, with witnesses' cosignatures",
        write: |source, out| out.write_all(source.checkpoints.as_bytes()),
    },
    File {
        name: "trust.json",
        about: "the root's statements and everybody's public keys, as the events have them",
        write: |source, out| json(out, &Trust::of(source.state, source.authority.to_vec())),
    },
    File {
        name: "controls.json",
        about: "the control tests: what is claimed, what was looked at, the exceptions and the events behind them",
        write: |source, out| json(out, source.controls),
    },
    File {
        name: "responsibility.json",
        about: "whose duty each key is (CSP, MP, shared, AP), and who did it",
        write: responsibility::write,
    },
    File { name: "keys.csv", about: "every key", write: tables::keys },
    File { name: "activations.csv", about: "every activation", write: tables::activations },
    File { name: "stores.csv", about: "every key store", write: tables::stores },
    File { name: "people.csv", about: "everybody who can sign: people, workloads, services", write: tables::people },
    File {
        name: "governance.csv",
        about: "what was done about the control itself: policies, packs, documents, reviews, probes, evaluations",
        write: tables::governance,
    },
    File { name: "exceptions.csv", about: "the exceptions of all control tests", write: tables::exceptions },
    File {
        name: caiq::NAME,
        about: "drafts of answers to CSA's questionnaire, for a person to sign",
        write: |source, out| out.write_all(&caiq::document(source.history, source.controls)),
    },
    File {
        name: "oscal/catalog.json",
        about: "OSCAL: the control and its sixteen points",
        write: |source, out| source.oscal("catalog.json", out),
    },
    File {
        name: "oscal/profile.json",
        about: "OSCAL: what is asked of this tenant",
        write: |source, out| source.oscal("profile.json", out),
    },
    File {
        name: "oscal/system-security-plan.json",
        about: "OSCAL: what is there to meet it",
        write: |source, out| source.oscal("system-security-plan.json", out),
    },
    File {
        name: "oscal/assessment-plan.json",
        about: "OSCAL: how it is tested",
        write: |source, out| source.oscal("assessment-plan.json", out),
    },
    File {
        name: "oscal/assessment-results.json",
        about: "OSCAL: what came of it",
        write: |source, out| source.oscal("assessment-results.json", out),
    },
    File {
        name: "report.html",
        about: "the report: open it in a browser, where it checks itself, or print it",
        write: report::write,
    },
];

fn json(out: &mut dyn Write, document: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    out.write_all(b"\n")
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The period begins behind the last event.
    #[error("the period begins at event {from}, and there are {events} events")]
    Empty {
        /// The first event of the period.
        from: u64,
        /// How many there are.
        events: u64,
    },
    /// The chain brought rules that this program does not know.
    #[error("{0}")]
    Stopped(String),
    /// No exporter's checkpoint is over exactly these events.
    #[error(
        "no checkpoint by an exporter in force is over exactly these {0} events: end with the events that one covers"
    )]
    Checkpoint(u64),
    /// A note that was given is none.
    #[error("a checkpoint does not read: {0}")]
    Note(#[from] note::Error),
}

/// A bundle under way.
pub struct Bundle {
    replay: Replay,
    events: Sha256,
    ocsf: Sha256,
    lines: Lines,
}

impl Bundle {
    /// Before the first event. `from` is the first event of the period under test; the bundle holds all events before as
    /// well, because without them nobody could decide again.
    pub fn new(tenant: TenantId, root: Fingerprint, from: Sequence) -> Self {
        let replay = Replay::new(tenant, root, from);
        Self { replay, events: Sha256::new(), ocsf: Sha256::new(), lines: Lines::default() }
    }

    /// Takes the records that follow, and writes their lines of `events.jsonl` and of `ocsf.jsonl`. Many at once are faster;
    /// the bytes are the same.
    ///
    /// # Errors
    /// What `events` and `ocsf` fail with.
    pub fn take(&mut self, records: Vec<Record>, events: &mut dyn Write, ocsf: &mut dyn Write) -> io::Result<()> {
        for record in &records {
            let line = export::to_line(record);
            self.lines.push(&line);
            let line = line + "\n";
            self.events.update(&line);
            events.write_all(line.as_bytes())?;
        }
        let (hash, mut written) = (&mut self.ocsf, Ok(()));
        self.replay.take_each(records, &mut |state, (sequence, prepared, judgement)| {
            if let Some(line) = ocsf::line(state, *sequence, prepared, judgement)
                && written.is_ok()
            {
                let line = line + "\n";
                hash.update(&line);
                written = ocsf.write_all(line.as_bytes());
            }
        });
        written
    }

    /// After the last event: `notes` are checkpoints with what cosignatures there are, among them one over exactly these
    /// events. Of the others, those that stand in the events have their cosignatures added; the rest are passed over.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn finish(self, notes: &[Note]) -> Result<Made, Error> {
        let Self { replay, events, ocsf, lines } = self;
        let report = replay.verifier().report();
        if let Some(stopped) = report.stopped {
            return Err(Error::Stopped(stopped));
        }
        let period = replay.period();
        if period.from > period.to {
            return Err(Error::Empty { from: period.from.0, events: report.events });
        }
        let checkpoints = checkpoints::file(&replay, notes)?;
        let controls = replay.controls();
        let [events, ocsf] = [events, ocsf].map(|hash| Digest::new(hash.finalize().into()));
        Ok(Made { replay, controls, report, checkpoints, events, ocsf, lines })
    }
}

/// A bundle whose events are all there.
pub struct Made {
    replay: Replay,
    controls: Controls,
    report: Report,
    checkpoints: String,
    events: Digest,
    ocsf: Digest,
    lines: Lines,
}

impl Made {
    /// What the files are made from, where these come before.
    pub fn source<'a>(&'a self, files: &'a BTreeMap<String, Digest>) -> Source<'a> {
        let Self { replay, controls, report, checkpoints, lines, .. } = self;
        Source::of(replay, controls, report, checkpoints, files, lines)
    }

    /// Writes every file of [`FILES`], in order, each to what `open` gives for it. Answers with the manifest's words, for the
    /// exporter to sign ([`Statement::sign`]). `signer` is the exporter's key: it signs the OSCAL documents for those who have
    /// other programs ([`oscal::sidecars`]).
    ///
    /// # Errors
    /// What `open` and what it gave fail with.
    pub fn write<W: Write>(
        &self,
        signer: &ServiceKey,
        mut open: impl FnMut(&str) -> io::Result<W>,
    ) -> io::Result<Statement> {
        let mut digests = BTreeMap::from([(EVENTS.to_owned(), self.events), (LINES.to_owned(), self.ocsf)]);
        for file in FILES {
            let hashed = Hashed { out: open(file.name)?, hash: Sha256::new() };
            let mut out = BufWriter::with_capacity(PIECE, hashed);
            (file.write)(&self.source(&digests), &mut out)?;
            let mut hashed = out.into_inner().map_err(IntoInnerError::into_error)?;
            hashed.flush()?;
            digests.insert(file.name.to_owned(), Digest::new(hashed.hash.finalize().into()));
        }
        let predicate = Predicate::of(&self.source(&digests));
        for (name, bytes) in oscal::sidecars(&digests, signer) {
            let mut out = open(&name)?;
            out.write_all(&bytes)?;
            out.flush()?;
            digests.insert(name, Digest::of(&bytes));
        }
        Ok(Statement::new(&digests, predicate))
    }
}

impl<'a> Source<'a> {
    pub(crate) fn of(
        replay: &'a Replay,
        controls: &'a Controls,
        report: &'a Report,
        checkpoints: &'a str,
        files: &'a BTreeMap<String, Digest>,
        lines: &'a Lines,
    ) -> Self {
        let (state, history, authority) = (replay.state(), replay.history(), replay.verifier().authority());
        Self { state, history, controls, report, authority, checkpoints, files, lines }
    }

    fn oscal(&self, name: &str, out: &mut dyn Write) -> io::Result<()> {
        let Self { history, controls, files, .. } = *self;
        out.write_all(&oscal::document(oscal::Sources { history, controls, files }, name))
    }
}

/// Writes on, and hashes what it writes.
struct Hashed<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
