//! `events.jsonl`, read once: judged line by line, and what does not stand said of each.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read};

use journal::{Body, Record};
use lifecycle::{Judgement, Tenant, Void};
use model::{Digest, TenantId};
use sha2::{Digest as _, Sha256};

use super::report::{Finding, Section, Verdict};
use super::{EVENTS, Folder};
use crate::replay::Replay;
use crate::report::Lines;
use crate::verify::Seen;
use crate::{export, ocsf};

/// How many events are checked at a time: signatures are, in parallel.
const AT_ONCE: usize = 512;
/// The longest line that is read: an event of 60,000 bytes in base64, and what is around it.
const LINE_BYTES_MAX: u64 = 256 * 1024;

/// The lines of the file.
pub(super) struct Events<'a> {
    file: BufReader<Box<dyn Read + 'a>>,
    hash: Sha256,
    bytes: u64,
    /// How many lines were read.
    count: u64,
    lines: Lines,
    /// What was read ahead.
    ahead: Vec<Record>,
    /// The line that is no event, where there is one: nothing is read behind it.
    broken: Option<String>,
}

/// What reading it came to.
pub(super) struct Judged {
    /// The file's digest, where all of it was read.
    pub(super) digest: Option<Digest>,
    /// That of what it comes to in OCSF.
    pub(super) ocsf: Digest,
    /// Its lines, as far as the report carries them.
    pub(super) lines: Lines,
    integrity: Section,
    authenticity: Section,
    lawfulness: Section,
}

impl<'a> Events<'a> {
    pub(super) fn open(folder: &'a mut dyn Folder) -> io::Result<Self> {
        let file = BufReader::new(folder.open(EVENTS)?);
        Ok(Self {
            file,
            hash: Sha256::new(),
            bytes: 0,
            count: 0,
            lines: Lines::default(),
            ahead: Vec::new(),
            broken: None,
        })
    }

    /// The tenant that the first event names.
    pub(super) fn tenant(&mut self) -> Result<TenantId, String> {
        self.ahead = self.batch().map_err(|error| error.to_string())?;
        match (self.ahead.first().map(|first| Body::parse(&first.payload)), &self.broken) {
            (Some(Ok(body)), _) => Ok(body.tenant),
            (Some(Err(void)), _) => Err(format!("the first event does not read: {void}")),
            (None, Some(broken)) => Err(broken.clone()),
            (None, None) => Err("there are no events".to_owned()),
        }
    }

    /// Reads to the end, or to where it can't be read further.
    pub(super) fn read(mut self, replay: &mut Replay, progress: &mut dyn FnMut(u64)) -> io::Result<Judged> {
        let mut objections = Objections::default();
        let mut batch = std::mem::take(&mut self.ahead);
        loop {
            if batch.is_empty() {
                batch = self.batch()?;
            }
            if batch.is_empty() || replay.verifier().is_stopped() {
                break;
            }
            replay.take_each(std::mem::take(&mut batch), &mut |state, seen| objections.hear(state, seen));
            progress(self.bytes);
        }
        let Objections { mut integrity, authenticity, mut lawfulness, displaced, ocsf } = objections;
        integrity.extend(displaced.map(Displaced::finding));
        integrity.extend(self.broken.map(|what| Finding::of_file("line", EVENTS, what)));
        let stopped = replay.verifier().report().stopped;
        let whole = stopped.is_none() && integrity.findings.iter().all(|finding| finding.kind != "line");
        lawfulness.extend(stopped.map(|what| Finding::new("unknown-rules", what)));
        let digest = whole.then(|| Digest::new(self.hash.finalize().into()));
        let ocsf = Digest::new(ocsf.finalize().into());
        Ok(Judged { digest, ocsf, lines: self.lines, integrity, authenticity, lawfulness })
    }

    fn batch(&mut self) -> io::Result<Vec<Record>> {
        let (mut batch, mut line) = (Vec::with_capacity(AT_ONCE), Vec::new());
        while batch.len() < AT_ONCE && self.broken.is_none() {
            line.clear();
            let count = io::Read::take(&mut self.file, LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            if count == 0 {
                break;
            }
            self.count += 1;
            self.bytes += count as u64;
            self.hash.update(&line);
            match export::from_line(&line) {
                Ok(record) => {
                    self.lines.push(String::from_utf8_lossy(&line).trim_end_matches('\n'));
                    batch.push(record);
                }
                Err(error) => {
                    let what = format!("line {} is no event: {error}; what follows was not read", self.count);
                    self.broken = Some(what);
                }
            }
        }
        Ok(batch)
    }
}

/// What is said against events, as they come.
#[derive(Default)]
struct Objections {
    integrity: Section,
    authenticity: Section,
    lawfulness: Section,
    displaced: Option<Displaced>,
    ocsf: Sha256,
}

impl Objections {
    fn hear(&mut self, state: &Tenant, (sequence, prepared, judgement): &Seen) {
        if let Some(line) = ocsf::line(state, *sequence, prepared, judgement) {
            self.ocsf.update(line + "\n");
        }
        let Judgement::Void(void) = judgement else { return self.settle() };
        let place = sequence.0;
        let named = prepared.body().map(|body| body.sequence.0);
        if let (Void::Form(form), Some(named)) = (void, named)
            && form.is_fork()
            && named != place
        {
            return self.displace(place, named);
        }
        self.settle();
        let of = prepared.body().map(|body| short(&body.event_type)).unwrap_or("an event").to_owned();
        let what = match (void, prepared.body()) {
            (Void::Form(journal::Void::Tenant), Some(body)) => format!("{of} is of another tenant: {}", body.tenant),
            _ => format!("{of} does not stand: {void}"),
        };
        let (section, kind) = self.place_of(void);
        section.extend([Finding { sequence: Some(place), hash: Some(prepared.hash), ..Finding::new(kind, what) }]);
    }

    /// Where an objection belongs, and its kind.
    fn place_of(&mut self, void: &Void) -> (&mut Section, &'static str) {
        use journal::Void as Form;
        match void {
            Void::Form(Form::Header | Form::Signature) => (&mut self.authenticity, "signature"),
            Void::Form(Form::UnknownSigner(_) | Form::Signer) => (&mut self.authenticity, "signer"),
            Void::Role(_) => (&mut self.authenticity, "role"),
            Void::Form(Form::Tenant) => (&mut self.integrity, "tenant"),
            Void::Form(Form::Link | Form::Sequence) => (&mut self.integrity, "link"),
            Void::Form(Form::TimeBackwards) => (&mut self.integrity, "time"),
            Void::Form(Form::Malformed(_) | Form::Members(_) | Form::Type(_) | Form::Time(_)) => {
                (&mut self.integrity, "form")
            }
            Void::Data(_) => (&mut self.authenticity, "content"),
            Void::UnknownType(_) => (&mut self.lawfulness, "unknown-type"),
            Void::Refused(_) => (&mut self.lawfulness, "refused"),
            Void::Differs => (&mut self.lawfulness, "differs"),
        }
    }

    /// An event that says that it belongs elsewhere: those that are so by as much are one finding.
    fn displace(&mut self, place: u64, named: u64) {
        match &mut self.displaced {
            Some(open) if open.is_next(place, named) => {
                open.count += 1;
            }
            _ => {
                self.settle();
                self.displaced = Some(Displaced { first: place, named, count: 1 });
            }
        }
    }

    fn settle(&mut self) {
        self.integrity.extend(self.displaced.take().map(Displaced::finding));
    }
}

/// Events in a row that are all out of their places by as much.
struct Displaced {
    /// The place of the first of them.
    first: u64,
    /// The place that it names.
    named: u64,
    count: u64,
}

impl Displaced {
    fn is_next(&self, place: u64, named: u64) -> bool {
        place == self.first + self.count && named == self.named + self.count
    }

    fn finding(self) -> Finding {
        let Self { first, named, count } = self;
        let (kind, what) = match (named > first, count) {
            (true, 1) => ("out-of-place", format!("at place {first} stands the event of place {named}")),
            (true, _) => {
                let missing = named - first;
                let gap = if missing == 1 {
                    format!("event {first} is missing")
                } else {
                    format!("events {first} to {} are missing", named - 1)
                };
                ("missing", format!("{gap}: the {count} that follow stand {missing} too early"))
            }
            (false, 1) => ("out-of-place", format!("at place {first} stands the event of place {named} again")),
            (false, _) => {
                let more = first - named;
                (
                    "added",
                    format!("{more} too many before place {first}: the {count} that follow stand that much too late"),
                )
            }
        };
        Finding { sequence: Some(first), ..Finding::new(kind, what) }
    }
}

fn short(event_type: &str) -> &str {
    event_type.strip_prefix("dev.keylatch.").and_then(|rest| rest.strip_suffix(".v1")).unwrap_or(event_type)
}

impl Judged {
    /// Puts it into the verdict, with the figures of what was checked.
    pub(super) fn say(&self, replay: &Replay, verdict: &mut Verdict) {
        let (report, history) = (replay.verifier().report(), replay.history());
        let integrity = &mut verdict.integrity;
        integrity.extend(self.integrity.findings.iter().cloned());
        integrity.more += self.integrity.more;
        integrity.figure("events, each linked to the one before", report.events.to_string());
        integrity.figure("last event's hash (head)", report.head.to_string());
        integrity.figure("RFC 6962 root over all of them", report.merkle_root.to_string());

        let authenticity = &mut verdict.authenticity;
        authenticity.extend(self.authenticity.findings.iter().cloned());
        authenticity.more += self.authenticity.more;
        let mut roles: BTreeMap<model::ServiceRole, u64> = BTreeMap::new();
        for signer in history.signers.values() {
            signer.roles.iter().for_each(|role| *roles.entry(*role).or_default() += signer.events);
        }
        for (role, events) in roles {
            authenticity.figure("signatures of services over events", format!("{events} by the {role}"));
        }
        authenticity.figure("statements of the root", replay.verifier().authority().len().to_string());
        let generated = history.counts.get(&model::EventType::KeyGenerated).copied().unwrap_or_default();
        authenticity.figure("statements of custodians on keys", generated.to_string());
        authenticity.figure(
            "signatures of people and programs",
            format!("{} on {} commands", history.signatures, history.commands),
        );

        let lawfulness = &mut verdict.lawfulness;
        lawfulness.extend(self.lawfulness.findings.iter().cloned());
        lawfulness.more += self.lawfulness.more;
        lawfulness.figure("decisions decided again, with the same outcome", (report.events - report.void).to_string());
        lawfulness.figure("policies in whose time they fell", history.policies.len().to_string());
        lawfulness.figure("declarations of legal packs", history.packs.len().to_string());
    }
}
