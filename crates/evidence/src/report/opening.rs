//! What the report is, what checking it came to, and the summary.

use std::collections::BTreeMap;

use model::{EventType, KeyState, Timestamp};

use super::html::{Html, html};
use super::words::{self, Clock, Counted, Number};
use super::{View, end_table, lifeline, section, shape, table, time};
use crate::controls::{ControlTest, Outcome};

/// How many keys the figure in the summary has.
const FIGURE_MAX: usize = 30;

const CHECK: &str = include_str!("check.html");

/// The title.
pub(super) fn masthead(out: &mut Html, view: &View<'_>) {
    html! { out, "<header class='masthead'>\n<p class='eyebrow'>Keylatch evidence report</p>\n<h1>Key activation evidence" }
    if let Some(name) = &view.history().name {
        html! { out, " <span class='of'>of <bdi>" (name) "</bdi></span>" }
    }
    html! { out, "</h1>\n<p class='lead'>Control CEK-15, Key Activation, of the CSA AI Controls Matrix and Cloud Controls \
    Matrix: which keys there were, when each could first be used, and who had authorised it. As of "
    { time(out, view.until()) } " UTC.</p>\n</header>\n" }
}

/// Whose history, under which root, and by which hashes it is recognised.
pub(super) fn what(out: &mut Html, view: &View<'_>) {
    let verified = view.input.verified;
    section(out, "what");
    html! { out, "<p>This report was made from a tenant's signed, hash-chained history by a program that checked every \
    signature and every link and <em>decided every decision again</em>. It says nothing that the events in the same \
    bundle do not show. All times are UTC, to the second, by the clocks of the services that signed.</p>\n\
    <dl class='facts'>\n" }
    fact(out, "Tenant", |out| tenant(out, view));
    fact(out, "Root", |out| {
        html! { out, "<code class='fingerprint'>" (verified.root) "</code><br><span class='note'>Everything rests on this \
        fingerprint. Compare it, letter by letter, with the one that you have from somebody you trust.</span>" }
    });
    fact(out, "Period under test", |out| period(out, view));
    fact(out, "Events", |out| {
        html! { out, (Number(verified.events)) ", of which " (Number(verified.void)) " do not stand" }
        if let Some(stopped) = &verified.stopped {
            html! { out, "<br><strong>Reading stopped early:</strong> <bdi>" (stopped) "</bdi>" }
        }
    });
    fact(out, "Head", |out| {
        html! { out, "<code>" (verified.head) "</code><br><span class='note'>The hash of the last event.</span>" }
    });
    fact(out, "Tree root", |out| {
        html! { out, "<code>" (verified.merkle_root) "</code><br><span class='note'>RFC 6962, over the hashes of all \
        events.</span>" }
    });
    fact(out, "Checkpoint", |out| checkpoint(out, view));
    html! { out, "</dl>\n</section>\n" }
}

/// A term and what is said of it.
pub(super) fn fact(out: &mut Html, term: &'static str, said: impl FnOnce(&mut Html)) {
    html! { out, "<dt>" (term) "</dt><dd>" { said(out) } "</dd>\n" }
}

fn tenant(out: &mut Html, view: &View<'_>) {
    if let Some(name) = &view.history().name {
        html! { out, "<bdi>" (name) "</bdi>" }
    }
    if let Some(class) = view.history().class {
        html! { out, ", " (words::class(class)) }
    }
    html! { out, "<br><code>" (view.tenant()) "</code>" }
}

fn period(out: &mut Html, view: &View<'_>) {
    let period = view.input.controls.period;
    html! { out, "events " (Number(period.from.0)) " to " (Number(period.to.0)) ", until " { time(out, period.until) } }
    if let Some(begun) = view.history().begun {
        html! { out, "<br><span class='note'>The history begins at " { time(out, begun) } ". All of it was replayed, \
        whatever the period.</span>" }
    }
}

/// The checkpoint over all events, and whose names stand under it. Whether those signed is for who knows their keys.
fn checkpoint(out: &mut Html, view: &View<'_>) {
    let Some(note) = view.input.checkpoint else {
        html! { out, "none" }
        return;
    };
    let size = note.checkpoint().map_or(0, |checkpoint| checkpoint.size);
    html! { out, "over the first " (Counted(size, "event", "events")) }
    let cosigners = words::cosigners(view.tenant(), note);
    if cosigners.is_empty() {
        html! { out, "; no witness has signed it" }
        return;
    }
    html! { out, "; signed also in the name of:<ul class='plain'>" }
    for (name, at) in cosigners {
        html! { out, "<li><bdi>" (name) "</bdi>" { cosigned(out, at) } "</li>" }
    }
    html! { out, "</ul><span class='note'>Give the key of a witness below to have its signature checked.</span>" }
}

fn cosigned(out: &mut Html, at: Option<Timestamp>) {
    if let Some(at) = at {
        html! { out, ", " { time(out, at) } }
    }
}

/// What the page's own check came to. As it is made, nothing was checked: the scripts change that.
pub(super) fn check(out: &mut Html) {
    section(out, "check");
    out.markup(CHECK);
    html! { out, "</section>\n" }
}

/// The figures, the sixteen points at a glance, the lives of the keys, AI workloads beside all others.
pub(super) fn summary(out: &mut Html, view: &View<'_>) {
    section(out, "summary");
    figures(out, view);
    glance(out, view);
    lives(out, view);
    comparison(out, view);
    html! { out, "</section>\n" }
}

fn figures(out: &mut Html, view: &View<'_>) {
    let (history, verified) = (view.history(), view.input.verified);
    let count = |event_type: EventType| history.counts.get(&event_type).copied().unwrap_or_default();
    let exceptions = || view.input.controls.controls.iter().flat_map(|test| &test.exceptions);
    let disposed = exceptions().filter(|found| found.disposition.is_some()).count() as u64;
    let emergencies = history.requests.values().filter(|request| request.break_glass).count() as u64;
    html! { out, "<ul class='figures'>\n" }
    figure(out, history.keys.len() as u64, "keys", &states(view));
    let beside = format!(
        "{}, {}",
        Counted(count(EventType::ActivationApproved), "approval", "approvals"),
        Counted(emergencies, "emergency", "emergencies")
    );
    figure(out, count(EventType::KeyActivated), "activations", &beside);
    figure(out, exceptions().count() as u64, "exceptions", &format!("{} with a signed disposition", Number(disposed)));
    figure(out, verified.void, "events that do not stand", &format!("of {}", Number(verified.events)));
    let beside = format!("under {}", Counted(history.commands, "command", "commands"));
    figure(out, history.signatures, "signatures of people and workloads", &beside);
    html! { out, "</ul>\n" }
}

fn figure(out: &mut Html, number: u64, of: &'static str, beside: &str) {
    html! { out, "<li><strong>" (Number(number)) "</strong> " (of) "<br><span class='note'>" (beside) "</span></li>\n" }
}

/// `3 active, 1 suspended`.
fn states(view: &View<'_>) -> String {
    let mut states: BTreeMap<KeyState, u64> = BTreeMap::new();
    view.keys.iter().for_each(|key| *states.entry(key.state()).or_default() += 1);
    words::list(states.iter().map(|(state, count)| format!("{} {}", Number(*count), words::state(*state))))
}

fn glance(out: &mut Html, view: &View<'_>) {
    let caption = "The points at a glance. A test never says \u{201c}pass\u{201d}: it says how many of how many had \
        nothing against them.";
    table(out, "glance", &caption, &["Point", "Outcome", "#Without exception", "#Exceptions"]);
    for test in &view.input.controls.controls {
        html! { out, "<tr><th scope='row'><span class='id'>" (test.id) "</span> <a href='#c-" (test.id) "'>" (test.title)
        "</a></th><td>" { outcome(out, test.outcome) } "</td><td class='count'>" { ratio(out, test) }
        "</td><td class='count'>" (Number(test.exceptions.len() as u64)) "</td></tr>\n" }
    }
    end_table(out);
}

/// An outcome, by shape and word.
pub(super) fn outcome(out: &mut Html, of: Outcome) {
    let id = words::outcome_id(of);
    html! { out, "<span class='outcome o-" (id) "'>" { shape(out, id) } (words::outcome(of)) "</span>" }
}

/// How many of how many.
pub(super) fn ratio(out: &mut Html, test: &ControlTest) {
    match test.population.count {
        0 => html! { out, "\u{2013}" },
        all => html! { out, (Number(test.passed)) " of " (Number(all)) },
    }
}

/// The lives of keys on one axis of time.
fn lives(out: &mut Html, view: &View<'_>) {
    let Some(from) = view.history().begun.filter(|_| !view.keys.is_empty()) else { return };
    let axis = lifeline::Axis { from, to: view.until() };
    html! { out, "<figure class='lives'>\n<figcaption id='lives-title'>The lives of the keys, from " (Clock(from)) " to "
    (Clock(axis.to)) ". Each is told in words in section 6." }
    if view.keys.len() > FIGURE_MAX {
        html! { out, " Shown are " (FIGURE_MAX) " of " (Number(view.keys.len() as u64)) ": those with exceptions and the \
        newest." }
    }
    html! { out, "</figcaption>\n" { lifeline::legend(out) } "<table aria-labelledby='lives-title'>\n<thead class='sr'><tr>\
    <th scope='col'>Key</th><th scope='col'>Life</th><th scope='col'>State at the end</th></tr></thead>\n<tbody>\n" }
    for key in view.keys.iter().take(FIGURE_MAX) {
        html! { out, "<tr><th scope='row'>" { view.key(out, key.id) } "</th><td class='life-cell'>"
        { lifeline::draw(out, key, axis) } "</td><td>" { lifeline::state(out, key.state()) } "</td></tr>\n" }
    }
    html! { out, "</tbody>\n</table>\n</figure>\n" }
}

fn comparison(out: &mut Html, view: &View<'_>) {
    let rows = &view.input.controls.comparison;
    if rows.is_empty() {
        return;
    }
    table(out, "comparison", &"Keys for AI workloads beside all others", &["Figure", "#AI workloads", "#All others"]);
    for row in rows {
        html! { out, "<tr><th scope='row'>" (row.figure) "</th><td class='count'>" (row.ai) "</td><td class='count'>"
        (row.general) "</td></tr>\n" }
    }
    end_table(out);
}
