//! `report.html`: what an auditor reads. One file that fetches nothing, made from what was verified, the same bytes from
//! the same evidence.
//!
//! Its content is made here, and is all there without JavaScript. With it, the page checks the events that it carries or
//! is given, by what a browser brings (`verify.js`), and says in words what came of it. What it checks is form: hashes,
//! links, the tree, signatures. Decisions are decided again by [`crate::Verifier`] alone, and the page says so.

mod conduct;
mod controls;
mod governance;
mod html;
mod integrity;
mod keys;
mod lifeline;
mod opening;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use journal::note::Note;
use model::text::Base64;
use model::{Digest, Envelope, EventHash, Fingerprint, KeyId, Sequence, TenantId};
use serde::Serialize;

use crate::bundle::Source;
use crate::controls::Controls;
use crate::history::{Approval, At, History, KeyLife};
use crate::verify;
use html::{Html, html};

/// How many bytes of events stand in the page itself. Where there are more, the page takes them from a file.
pub const EMBED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How many keys the inventory lists.
pub const KEYS_MAX: usize = 1_000;
/// How many keys have a timeline of their own.
pub const TIMELINES_MAX: usize = 100;
/// How many entries a timeline has.
pub const ENTRIES_MAX: usize = 200;
/// How many requests are listed.
pub const REQUESTS_MAX: usize = 500;
/// How many exceptions of a control are listed.
pub const EXCEPTIONS_MAX: usize = 100;
/// How many people, declarations, checkpoints and so on are listed.
pub const ROWS_MAX: usize = 500;

const STYLE: &str = include_str!("report/style.css");
const VERIFY: &str = include_str!("report/verify.js");
const PAGE: &str = include_str!("report/page.js");
const SHAPES: &str = include_str!("report/shapes.svg");

/// What a report is made from.
pub struct Input<'a> {
    /// What verifying the history came to.
    pub verified: &'a verify::Report,
    /// What the history adds up to.
    pub history: &'a History,
    /// The control tests over it.
    pub controls: &'a Controls,
    /// The authority statements that are in it, in order.
    pub authority: &'a [Envelope],
    /// The checkpoint over these events, where there is one, with what others signed under it.
    pub checkpoint: Option<&'a Note>,
    /// The other files of the bundle.
    pub files: &'a BTreeMap<String, Digest>,
    /// The events, for the page to check.
    pub lines: &'a Lines,
}

/// The lines of `events.jsonl`, gathered for the page as long as they are not too many for it.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    text: String,
    bytes: u64,
}

impl Lines {
    /// Takes the next line, without its line feed. What is over the limit is counted and let go.
    pub fn push(&mut self, line: &str) {
        self.bytes += line.len() as u64 + 1;
        if self.bytes > EMBED_BYTES_MAX as u64 {
            self.text = String::new();
            return;
        }
        self.text.push_str(line);
        self.text.push('\n');
    }
}

/// Writes the report of a bundle.
pub(crate) fn write(source: &Source<'_>, out: &mut dyn Write) -> io::Result<()> {
    let checkpoint = crate::bundle::notes(source.checkpoints).pop().and_then(Result::ok);
    let input = Input {
        verified: source.report,
        history: source.history,
        controls: source.controls,
        authority: source.authority,
        checkpoint: checkpoint.as_ref(),
        files: source.files,
        lines: source.lines,
    };
    out.write_all(to_html(&input).as_bytes())
}

/// The report.
pub fn to_html(input: &Input<'_>) -> String {
    let view = View::new(input);
    let mut out = Html::default();
    html! { out, "<!doctype html>\n<html lang='en' data-check='unchecked'>\n" }
    head(&mut out, &view);
    html! { out, "<body>\n<a class='skip' href='#what'>Skip to the report</a>\n" }
    out.markup(SHAPES);
    opening::masthead(&mut out, &view);
    html! { out, "<div class='columns'>\n" }
    contents(&mut out);
    html! { out, "<main>\n" }
    opening::what(&mut out, &view);
    opening::check(&mut out);
    opening::summary(&mut out, &view);
    controls::section(&mut out, &view);
    keys::inventory(&mut out, &view);
    keys::timelines(&mut out, &view);
    governance::requests(&mut out, &view);
    governance::people(&mut out, &view);
    governance::law(&mut out, &view);
    conduct::section(&mut out, &view);
    integrity::deployment(&mut out, &view);
    integrity::checkpoints(&mut out, &view);
    integrity::limits(&mut out, &view);
    html! { out, "</main>\n</div>\n" }
    data(&mut out, &view);
    html! { out, "</body>\n</html>\n" }
    out.into_string()
}

/// What sections read beside the input.
struct View<'a> {
    input: &'a Input<'a>,
    /// Every key: those with exceptions first, then the newest.
    keys: Vec<&'a KeyLife>,
    /// How many exceptions there are against a key.
    exceptions: BTreeMap<KeyId, usize>,
    /// The keys that have a timeline of their own.
    timelines: BTreeSet<KeyId>,
    /// The events that have an entry in one.
    entries: BTreeSet<Sequence>,
}

impl<'a> View<'a> {
    fn new(input: &'a Input<'a>) -> Self {
        let mut exceptions: BTreeMap<KeyId, usize> = BTreeMap::new();
        let all = input.controls.controls.iter().flat_map(|test| &test.exceptions);
        all.filter_map(|exception| exception.key_id).for_each(|key| *exceptions.entry(key).or_default() += 1);
        let mut keys: Vec<&KeyLife> = input.history.keys.values().collect();
        keys.sort_by_key(|key| (!exceptions.contains_key(&key.id), std::cmp::Reverse(key.created.sequence), key.id));
        let shown = || keys.iter().take(TIMELINES_MAX);
        let entries = shown().flat_map(|key| keys::entries(key)).map(|entry| entry.at.sequence).collect();
        let timelines = shown().map(|key| key.id).collect();
        Self { input, keys, exceptions, timelines, entries }
    }

    fn history(&self) -> &'a History {
        self.input.history
    }

    fn tenant(&self) -> TenantId {
        self.input.verified.tenant
    }

    /// The last event's time: until when the report can say anything.
    fn until(&self) -> model::Timestamp {
        self.input.controls.period.until
    }

    /// An event: its place and the beginning of its hash, and the whole of it for the check. A link to where its timeline
    /// has it, where one has.
    fn event(&self, out: &mut Html, at: At) {
        let here = self.entries.contains(&at.sequence);
        let (place, hash) = (at.sequence.0, at.hash);
        if here {
            html! { out, "<a class='at' href='#e" (place) "' data-seq='" (place) "' data-hash='" (hash) "'>" }
        } else {
            html! { out, "<span class='at' data-seq='" (place) "' data-hash='" (hash) "'>" }
        }
        html! { out, "#" (place) " <code>" (hash.short()) "</code>" }
        out.markup(if here { "</a>" } else { "</span>" });
    }

    /// When, and by which event.
    fn moment(&self, out: &mut Html, at: At) {
        time(out, at.time);
        out.markup(" ");
        self.event(out, at);
    }

    /// What somebody is called.
    fn who(&self, out: &mut Html, who: Fingerprint) {
        let label = self.history().label(who);
        html! { out, "<bdi>" (label) "</bdi>" }
    }

    /// Who voted, and for whom.
    fn voter(&self, out: &mut Html, approval: &Approval) {
        self.who(out, approval.by);
        if let Some(absent) = approval.on_behalf_of {
            html! { out, " for " { self.who(out, absent) } }
        }
    }

    /// A key's label, with a link to its timeline where it has one.
    fn key(&self, out: &mut Html, id: KeyId) {
        let Some(key) = self.history().keys.get(&id) else {
            html! { out, "<code>" (id) "</code>" }
            return;
        };
        if self.timelines.contains(&id) {
            html! { out, "<a href='#k-" (id) "'><bdi>" (key.spec.label) "</bdi></a>" }
        } else {
            html! { out, "<bdi>" (key.spec.label) "</bdi>" }
        }
    }

    /// A policy by its `policy.adopted`.
    fn policy(&self, out: &mut Html, hash: EventHash) {
        match self.history().policies.iter().find(|policy| policy.at.hash == hash) {
            Some(policy) => html! { out, "<bdi>" (policy.name) "</bdi> version " (policy.version) },
            None => html! { out, "<code>" (hash.short()) "</code>" },
        }
    }
}

/// A time for people, and in full for programs.
fn time(out: &mut Html, time: model::Timestamp) {
    html! { out, "<time datetime='" (time) "'>" (words::Clock(time)) "</time>" }
}

/// The shape that stands beside a word.
fn shape(out: &mut Html, id: &str) {
    html! { out, "<svg class='glyph' aria-hidden='true'><use href='#g-" (id) "'/></svg>" }
}

/// Begins a table: its class, its caption, its columns. A column of numbers is marked by `#`.
fn table(out: &mut Html, class: &'static str, caption: &dyn std::fmt::Display, columns: &[&'static str]) {
    html! { out, "<div class='scroll'>\n<table class='" (class) "'>\n<caption>" (caption) "</caption>\n<thead><tr>" }
    for column in columns {
        match column.strip_prefix('#') {
            Some(numbers) => html! { out, "<th scope='col' class='count'>" (numbers) "</th>" },
            None => html! { out, "<th scope='col'>" (column) "</th>" },
        }
    }
    html! { out, "</tr></thead>\n<tbody>\n" }
}

fn end_table(out: &mut Html) {
    html! { out, "</tbody>\n</table>\n</div>\n" }
}

/// What was left out of a list, and where it stands.
fn left_out(out: &mut Html, most: usize, all: usize, what: &'static str, which: &'static str, file: &'static str) {
    if all > most {
        html! { out, "<p class='left-out'>Shown are " (words::Number(most as u64)) " of " (words::Number(all as u64)) " "
        (what) ": " (which) ". All of them are in <code>" (file) "</code>.</p>\n" }
    }
}

fn head(out: &mut Html, view: &View<'_>) {
    let hash = |text: &str| Base64(Digest::of(text.as_bytes()).as_bytes().to_vec());
    html! { out, "<head>\n<meta charset='utf-8'>\n<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; \
    script-src 'sha256-" (hash(VERIFY)) "' 'sha256-" (hash(PAGE)) "'; style-src 'sha256-" (hash(STYLE)) "'; \
    base-uri 'none'; form-action 'none'\">\n<meta name='referrer' content='no-referrer'>\n\
    <meta name='viewport' content='width=device-width, initial-scale=1'>\n\
    <meta name='color-scheme' content='light dark'>\n<title>Key activation evidence" }
    if let Some(name) = &view.history().name {
        html! { out, ": " (name) }
    }
    html! { out, ", events 1 to " (view.input.verified.events) "</title>\n<style>" }
    out.markup(STYLE);
    html! { out, "</style>\n</head>\n" }
}

/// The sections, in order: the place in the page, and what they are called.
const SECTIONS: [(&str, &str); 13] = [
    ("what", "What this is"),
    ("check", "Check result"),
    ("summary", "Summary"),
    ("controls", "Controls"),
    ("inventory", "Key inventory"),
    ("timelines", "Timelines"),
    ("requests", "Requests and approvals"),
    ("people", "People and workloads"),
    ("law", "Policies, packs, holds"),
    ("conduct", "Procedures, probes, evaluations"),
    ("deployment", "Services and stores"),
    ("integrity", "Checkpoints, void events, files"),
    ("limits", "What was not checked"),
];

fn contents(out: &mut Html) {
    html! { out, "<nav class='contents' aria-labelledby='contents-title'>\n<h2 id='contents-title'>Contents</h2>\n<ol>\n" }
    for (id, title) in SECTIONS {
        html! { out, "<li><a href='#" (id) "'>" (title) "</a></li>\n" }
    }
    html! { out, "</ol>\n</nav>\n" }
}

/// Begins the section with this id, numbered as in the contents.
fn section(out: &mut Html, id: &'static str) {
    let found = SECTIONS.iter().enumerate().find(|(_, (name, _))| *name == id);
    let (number, title) = found.map_or((0, id), |(place, (_, title))| (place + 1, *title));
    html! { out, "<section id='" (id) "' aria-labelledby='" (id) "-title'>\n<h2 id='" (id) "-title'><span class='number'>"
    (number) "</span> " (title) "</h2>\n" }
}

/// What the scripts read.
#[derive(Serialize)]
struct Data {
    tenant: TenantId,
    root: Fingerprint,
    events: u64,
    head: EventHash,
    tree_root: EventHash,
    void_count: u64,
    /// The hashes of void events.
    voids: Vec<EventHash>,
    checkpoint: Option<CheckpointData>,
    embedded: bool,
    bytes: u64,
}

#[derive(Serialize)]
struct CheckpointData {
    size: u64,
    note: String,
}

/// The data blocks and the scripts. Without them, the page is what it says.
fn data(out: &mut Html, view: &View<'_>) {
    let Input { verified, history, checkpoint, lines, .. } = view.input;
    let checkpoint = checkpoint.and_then(|note| {
        let size = note.checkpoint().ok()?.size;
        Some(CheckpointData { size, note: note.to_string() })
    });
    let data = Data {
        tenant: verified.tenant,
        root: verified.root,
        events: verified.events,
        head: verified.head,
        tree_root: verified.merkle_root,
        void_count: verified.void,
        voids: history.attempts.iter().map(|attempt| attempt.at.hash).collect(),
        checkpoint,
        embedded: !lines.text.is_empty(),
        bytes: lines.bytes,
    };
    html! { out, "<script type='application/json' id='report-data'>" }
    out.json(&serde_json::to_string(&data).unwrap_or_default());
    html! { out, "</script>\n<script type='application/x-ndjson' id='events'>\n" }
    out.json(&lines.text);
    html! { out, "</script>\n<script>" }
    out.markup(VERIFY);
    html! { out, "</script>\n<script>" }
    out.markup(PAGE);
    html! { out, "</script>\n" }
}
