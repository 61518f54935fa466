//! The files beside the events: as the manifest says, and as the events come to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Read, Write};

use journal::statement::{self, Stated};
use journal::strict;
use model::{Digest, Envelope, ServiceRole};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::checkpoints::Notes;
use super::events::Judged;
use super::report::{Finding, Section, Verdict};
use super::{Error, Folder};
use crate::bundle::{CHECKPOINTS, EVENTS, FILES, File, IN_TOTO, LINES, MANIFEST, Predicate, Source, Statement};
use crate::oscal;
use crate::replay::Replay;
use crate::report::Lines;

/// The longest manifest that is read.
const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The longest file that is read whole beside it.
const SHORT_BYTES_MAX: u64 = 64 * 1024;
/// How much of a file is made and compared at a time.
const PIECE: usize = 64 * 1024;
/// The files of a plain export, which nobody has signed.
const OF_EXPORT: [&str; 4] = ["README.txt", EVENTS, "allowed_signers", "trust.json"];

/// The manifest as it reads. Nothing of it is believed before its signature was checked under the keys in force.
pub(super) struct Manifest {
    envelope: Envelope,
    pub(super) statement: Statement,
}

/// A manifest, or why what stands there is none.
pub(super) type Parsed = Result<Manifest, String>;

impl Manifest {
    pub(super) fn read(folder: &mut dyn Folder, names: &[String]) -> io::Result<Option<Parsed>> {
        if !names.iter().any(|name| name == MANIFEST) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        folder.open(MANIFEST)?.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(Some(Self::parse(&bytes)))
    }

    fn parse(bytes: &[u8]) -> Parsed {
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err("it is too long".to_owned());
        }
        strict::check_object(bytes).map_err(|error| error.to_string())?;
        let envelope: Envelope = model::json::read(bytes).map_err(|error| error.to_string())?;
        strict::check_object(&envelope.payload.0).map_err(|error| error.to_string())?;
        let statement: Statement = model::json::read(&envelope.payload.0).map_err(|error| error.to_string())?;
        if !statement.is_known() || envelope.payload_type != IN_TOTO {
            return Err("it is no statement of this kind".to_owned());
        }
        Ok(Self { envelope, statement })
    }
}

/// Checks every file that is there or should be.
pub(super) fn check(
    folder: &mut dyn Folder,
    names: &[String],
    manifest: Option<Parsed>,
    notes: &Notes,
    read: &Judged,
    replay: &Replay,
    verdict: &mut Verdict,
) -> Result<(), Error> {
    let Manifest { envelope, statement } = match manifest {
        Some(Ok(manifest)) => manifest,
        Some(Err(why)) => {
            let what = format!("the manifest does not read, so nothing says which files belong here: {why}");
            verdict.completeness.extend([Finding::of_file("manifest", MANIFEST, what)]);
            return Ok(());
        }
        None => {
            unsigned(names, verdict);
            return Ok(());
        }
    };
    signature(&envelope, replay, &mut verdict.authenticity);
    let predicate = &statement.predicate;
    let by_us = predicate.is_by_this_program();
    let named: BTreeMap<&str, Digest> =
        statement.subject.iter().map(|subject| (subject.name.as_str(), subject.digest.sha256)).collect();
    let completeness = &mut verdict.completeness;
    listed(names, &named, completeness);
    let of_these = read.digest.is_some() && named.get(EVENTS).copied() == read.digest;
    if !of_these {
        completeness.extend([Finding::of_file("digest", EVENTS, "the events are not those of the manifest")]);
    }
    let there = names.iter().map(String::as_str).collect();
    let mut files = Files { folder, replay, lines: &read.lines, named, there, completeness };
    let mut digests = BTreeMap::from([(LINES.to_owned(), read.ocsf)]);
    digests.extend(read.digest.map(|digest| (EVENTS.to_owned(), digest)));
    files.ocsf((by_us && of_these).then_some(read.ocsf))?;
    let own = files.made_anew(by_us && of_these, notes, digests, predicate)?;
    files.completeness.extend(own);
    files.sidecars()?;
    let others = files.others()?;
    if !others.is_empty() {
        let what = format!("what stands in {}, beyond that it is what the manifest says", others.join(", "));
        verdict.not_checked.push(what);
    }
    if !of_these {
        let what =
            "that the files beside the events are what the events came to that the manifest is of: they are not here";
        verdict.not_checked.push(what.to_owned());
    } else if !by_us {
        verdict.not_checked.push(format!(
            "that the files beside the events are what the events come to: `{}` made them, and only it makes the same. Their \
             digests were compared with the manifest",
            predicate.program
        ));
    }
    Ok(())
}

/// A folder without manifest: a plain export, or a bundle from which it was taken.
fn unsigned(names: &[String], verdict: &mut Verdict) {
    let others: Vec<&String> = names.iter().filter(|name| !OF_EXPORT.contains(&name.as_str())).collect();
    if let Some(first) = others.first() {
        let what = format!("there is no manifest: nobody has signed {first} and what stands beside it");
        verdict.completeness.extend([Finding::of_file("manifest", MANIFEST, what)]);
    }
    if names.len() > 1 {
        verdict
            .not_checked
            .push("the other files of the folder: without a manifest they are for convenience".to_owned());
    }
}

fn signature(envelope: &Envelope, replay: &Replay, authenticity: &mut Section) {
    let (state, until) = (replay.state(), replay.period().until);
    let (ring, tenant, role) = (state.ring(), state.chain.tenant(), ServiceRole::EvidenceExporter);
    match statement::open::<Statement>(envelope, IN_TOTO, role, &ring, tenant, until) {
        Ok(stated) => {
            authenticity.figure("signature of the manifest", format!("by the evidence-exporter {}", stated.signer))
        }
        Err(error) => authenticity.extend([Finding::of_file("manifest", MANIFEST, format!("the manifest: {error}"))]),
    }
}

/// Whether the files that are there are those that the manifest names.
fn listed(names: &[String], named: &BTreeMap<&str, Digest>, completeness: &mut Section) {
    for name in names.iter().filter(|name| *name != MANIFEST && !named.contains_key(name.as_str())) {
        completeness.extend([Finding::of_file("unknown-file", name, "the manifest does not name this file")]);
    }
    for name in named.keys().filter(|name| !names.iter().any(|there| there == *name)) {
        completeness.extend([Finding::of_file(
            "missing-file",
            name,
            "the manifest names this file, and it is not there",
        )]);
    }
    let all = FILES.iter().map(|file| file.name).chain([LINES]);
    for name in all.filter(|name| !named.contains_key(name)) {
        completeness.extend([Finding::of_file("missing-file", name, "the manifest does not name this file")]);
    }
}

/// The files, one after the other.
struct Files<'a> {
    folder: &'a mut dyn Folder,
    replay: &'a Replay,
    lines: &'a Lines,
    named: BTreeMap<&'a str, Digest>,
    there: BTreeSet<&'a str>,
    completeness: &'a mut Section,
}

impl Files<'_> {
    /// Makes every file of the table anew and compares; then what the manifest says of all of it. Answers with what the
    /// manifest says otherwise.
    fn made_anew(
        &mut self,
        by_us: bool,
        notes: &Notes,
        mut digests: BTreeMap<String, Digest>,
        said: &Predicate,
    ) -> Result<Vec<Finding>, Error> {
        let (report, controls) = (self.replay.verifier().report(), self.replay.controls());
        let checkpoints = notes.text.clone().unwrap_or_default();
        let mut compared = 0_u64;
        for file in FILES {
            let source = Source::of(self.replay, &controls, &report, &checkpoints, &digests, self.lines);
            let made = by_us.then_some(&source);
            let (found, anew) = self.one(file.name, made.map(|source| (file, source)))?;
            compared += u64::from(found.is_none());
            self.completeness.extend(found);
            digests.extend(anew.map(|anew| (file.name.to_owned(), anew)));
        }
        let what =
            if by_us { "files made anew and compared byte for byte" } else { "files compared with the manifest" };
        self.completeness.figure(what, format!("{compared} of {} are the same", FILES.len()));
        let source = Source::of(self.replay, &controls, &report, &checkpoints, &digests, self.lines);
        let findings = differences(said, &Predicate::of(&source));
        let of_manifest = |what: String| Finding::of_file("manifest", MANIFEST, what);
        Ok(findings.into_iter().map(of_manifest).collect())
    }

    /// The events in OCSF, against what they were made into while they were read.
    fn ocsf(&mut self, made: Option<Digest>) -> Result<(), Error> {
        let (found, _) = self.one(LINES, None)?;
        let other = made.filter(|made| self.named.get(LINES).is_some_and(|named| named != made));
        let false_file = || {
            let what = "it is not what the events come to, though the manifest says so: an exporter signed it";
            Finding::of_file("false-file", LINES, what)
        };
        self.completeness.extend(found.or(other.map(|_| false_file())));
        Ok(())
    }

    /// What the exporter signed for other programs: each OSCAL document by itself, and the key to check that with.
    fn sidecars(&mut self) -> Result<(), Error> {
        for name in oscal::NAMES {
            let place = oscal::sidecar(name);
            let signed = self.read(&place)?.zip(self.named.get(oscal::path(name).as_str()).copied());
            let Some((bytes, digest)) = signed else { continue };
            let what = match self.signed(&bytes) {
                Ok(stated) if stated.statement == oscal::statement(name, digest) => continue,
                Ok(_) => format!("it is not a statement on {name} as it is here"),
                Err(why) => why,
            };
            self.completeness.extend([Finding::of_file("false-file", &place, what)]);
        }
        if let Some(pem) = self.read(&oscal::public_key())? {
            let ring = self.replay.state().ring();
            let mut exporters = ring.of_role(ServiceRole::EvidenceExporter);
            if !exporters.any(|service| oscal::pem(&service.public_key).as_bytes() == pem) {
                let what = "it is not the key of an exporter in force";
                self.completeness.extend([Finding::of_file("false-file", &oscal::public_key(), what)]);
            }
        }
        Ok(())
    }

    /// A statement that an exporter in force has signed.
    fn signed(&self, bytes: &[u8]) -> Result<Stated<Value>, String> {
        let (state, until) = (self.replay.state(), self.replay.period().until);
        let (ring, tenant, role) = (state.ring(), state.chain.tenant(), ServiceRole::EvidenceExporter);
        let envelope: Envelope = model::json::read(bytes).map_err(|error| error.to_string())?;
        statement::open(&envelope, IN_TOTO, role, &ring, tenant, until).map_err(|error| error.to_string())
    }

    /// A short file that the manifest names, where it is there.
    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        if !self.there.contains(name) || !self.named.contains_key(name) {
            return Ok(None);
        }
        let wrong = |error| Error::File { name: name.to_owned(), error };
        let mut bytes = Vec::new();
        self.folder.open(name).map_err(wrong)?.take(SHORT_BYTES_MAX).read_to_end(&mut bytes).map_err(wrong)?;
        Ok(Some(bytes))
    }

    /// The files that the manifest names beyond the table, compared with it. Answers with those of which nothing else was
    /// checked.
    fn others(&mut self) -> Result<Vec<String>, Error> {
        let known: BTreeSet<&str> = FILES.iter().map(|file| file.name).chain([EVENTS, LINES]).collect();
        let others: Vec<String> =
            self.named.keys().filter(|name| !known.contains(**name)).map(|name| (*name).to_owned()).collect();
        let signed: BTreeSet<String> =
            oscal::NAMES.map(oscal::sidecar).into_iter().chain([oscal::public_key()]).collect();
        for name in &others {
            let (found, _) = self.one(name, None)?;
            self.completeness.extend(found);
        }
        Ok(others.into_iter().filter(|name| !signed.contains(name)).collect())
    }

    /// Compares one file with what it should be, where that can be made, and with the manifest. Answers with what is against
    /// it, and with the digest of what was made.
    fn one(
        &mut self,
        name: &str,
        made: Option<(&File, &Source<'_>)>,
    ) -> Result<(Option<Finding>, Option<Digest>), Error> {
        let wrong = |error| Error::File { name: name.to_owned(), error };
        if !self.there.contains(name) {
            let anew = made.map(|(file, source)| digest_of(file, source)).transpose().map_err(wrong)?;
            return Ok((None, anew));
        }
        let mut compared = Compared::new(self.folder.open(name).map_err(wrong)?);
        if let Some((file, source)) = made {
            buffered(file, source, &mut compared).map_err(wrong)?;
        }
        let Comparison { there, made: anew, differs_in } = compared.finish(made.is_some()).map_err(wrong)?;
        let as_signed = self.named.get(name).is_none_or(|digest| *digest == there);
        // What the file of checkpoints should be is not known from the events: it was checked note by note.
        let what = match (differs_in.filter(|_| name != CHECKPOINTS), as_signed) {
            (None, true) => return Ok((None, anew)),
            (Some(line), true) => {
                format!(
                    "line {line} is not what the events come to, though the manifest says so: an exporter signed it"
                )
            }
            (Some(line), false) => {
                format!("line {line} is not what the events come to, nor is the file what the manifest says")
            }
            (None, false) => "it is not what the manifest says".to_owned(),
        };
        let kind = if as_signed { "false-file" } else { "changed-file" };
        Ok((Some(Finding::of_file(kind, name, what)), anew))
    }
}

/// Makes a file, a good piece at a time.
fn buffered(file: &File, source: &Source<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(PIECE, out);
    (file.write)(source, &mut out)?;
    out.flush()
}

fn digest_of(file: &File, source: &Source<'_>) -> io::Result<Digest> {
    let mut compared = Compared::new(Box::new(io::empty()));
    buffered(file, source, &mut compared)?;
    Ok(Digest::new(compared.made.finalize().into()))
}

/// Where the manifest says something else of the events than they do.
fn differences(said: &Predicate, found: &Predicate) -> Vec<String> {
    let mut all = Vec::new();
    let mut compare = |what: &str, said: String, found: String| {
        if said != found {
            all.push(format!("it says of {what}: {said}; the events come to {found}"));
        }
    };
    compare("the tenant", said.tenant.to_string(), found.tenant.to_string());
    compare("the tenant's name", format!("{:?}", said.name), format!("{:?}", found.name));
    compare("the root", said.root.to_string(), found.root.to_string());
    compare("their number", said.events.to_string(), found.events.to_string());
    compare("the period", format!("{:?}", said.period), format!("{:?}", found.period));
    compare("the head", said.head.to_string(), found.head.to_string());
    compare("the tree's root", said.tree_root.to_string(), found.tree_root.to_string());
    compare("the checkpoint", said.checkpoint.clone(), found.checkpoint.clone());
    compare("the deployment", format!("{:?}", said.deployment), format!("{:?}", found.deployment));
    compare("the rules epoch", said.rules.to_string(), found.rules.to_string());
    all
}

/// Takes what a file should be, and reads what it is beside it.
struct Compared<'a> {
    file: Box<dyn Read + 'a>,
    there: Sha256,
    made: Sha256,
    /// The line in which they differ first, once they do.
    differs_in: Option<u64>,
    line: u64,
}

/// What comparing came to.
struct Comparison {
    there: Digest,
    made: Option<Digest>,
    differs_in: Option<u64>,
}

impl<'a> Compared<'a> {
    fn new(file: Box<dyn Read + 'a>) -> Self {
        Self { file, there: Sha256::new(), made: Sha256::new(), differs_in: None, line: 1 }
    }

    /// Reads the rest of the file.
    fn finish(mut self, made: bool) -> io::Result<Comparison> {
        let mut rest = vec![0; PIECE];
        loop {
            let count = self.file.read(&mut rest)?;
            if count == 0 {
                break;
            }
            self.there.update(rest.get(..count).unwrap_or_default());
            if made {
                self.differs_in.get_or_insert(self.line);
            }
        }
        let anew = made.then(|| Digest::new(self.made.finalize().into()));
        Ok(Comparison { there: Digest::new(self.there.finalize().into()), made: anew, differs_in: self.differs_in })
    }
}

impl Write for Compared<'_> {
    fn write(&mut self, made: &[u8]) -> io::Result<usize> {
        self.made.update(made);
        let mut there = Vec::with_capacity(made.len());
        self.file.by_ref().take(made.len() as u64).read_to_end(&mut there)?;
        self.there.update(&there);
        if self.differs_in.is_none() {
            let same = made.iter().zip(&there).take_while(|(made, there)| made == there).count();
            self.line += made.iter().take(same).filter(|byte| **byte == b'\n').count() as u64;
            if same < made.len() || there.len() < made.len() {
                self.differs_in = Some(self.line);
            }
        }
        Ok(made.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
