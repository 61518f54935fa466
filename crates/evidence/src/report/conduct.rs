//! What the tenant does about the control itself: documents, probes, evaluations, bundles.

use super::html::{Html, html};
use super::words::{self, Counted, Number};
use super::{ROWS_MAX, View, end_table, left_out, table, time};
use crate::controls::Outcome;
use crate::history::{AdoptedDocument, Evaluation, RecordedProbe};

/// How many probes, evaluations and bundles are listed.
const NEWEST: usize = 20;

/// The section.
pub(super) fn section(out: &mut Html, view: &View<'_>) {
    super::section(out, "conduct");
    documents(out, view);
    probes(out, view);
    evaluations(out, view);
    exports(out, view);
    html! { out, "</section>\n" }
}

fn documents(out: &mut Html, view: &View<'_>) {
    let documents: Vec<&AdoptedDocument> = view.history().documents_in_force().collect();
    html! { out, "<h3>Procedures and other documents</h3>\n" }
    if documents.is_empty() {
        html! { out, "<p>None was adopted.</p>\n" }
        return;
    }
    let columns = ["Document", "Covers", "Owner", "Adopted", "To be looked at by"];
    table(out, "documents", &"Adopted documents, the newest version of each", &columns);
    for document in documents.iter().take(ROWS_MAX) {
        html! { out, "<tr><th scope='row'><bdi>" (document.title) "</bdi><br><span class='note'>"
        (words::named(&document.kind)) " " (document.name) ", version " (document.version)
        "</span><br><code class='note break'>" (document.document) "</code></th><td>points "
        (words::list(&document.covers)) "</td><td>" { view.who(out, document.owner) } "</td><td>"
        { view.moment(out, document.at) } "</td><td>" { time(out, document.review_by) } "</td></tr>\n" }
    }
    end_table(out);
    left_out(out, ROWS_MAX, documents.len(), "documents", "the first by name", "governance.csv");
}

fn probes(out: &mut Html, view: &View<'_>) {
    let probes = &view.history().probes;
    html! { out, "<h3>Probes</h3>\n" }
    if probes.is_empty() {
        html! { out, "<p>None was made.</p>\n" }
        return;
    }
    let columns = ["What was tried", "On the key", "Outcome", "Recorded"];
    table(out, "probes", &"Probes: what must be refused was tried, the newest first", &columns);
    for RecordedProbe { at, probe, key_id, outcome, problem } in probes.iter().rev().take(NEWEST) {
        html! { out, "<tr><th scope='row'>" (words::named(probe)) "</th><td>" { view.key(out, *key_id) } "</td><td>"
        (words::named(outcome)) }
        if let Some(problem) = problem {
            html! { out, " <span class='note'>" (problem) "</span>" }
        }
        html! { out, "</td><td>" { view.moment(out, *at) } "</td></tr>\n" }
    }
    end_table(out);
    left_out(out, NEWEST, probes.len(), "probes", "the newest", "events.jsonl");
}

fn evaluations(out: &mut Html, view: &View<'_>) {
    let evaluations = &view.history().evaluations;
    html! { out, "<h3>Evaluations</h3>\n" }
    if evaluations.is_empty() {
        html! { out, "<p>The control's results were not evaluated and signed.</p>\n" }
        return;
    }
    let columns = ["Signed", "By", "What was looked at", "Next by"];
    table(out, "evaluations", &"Evaluations of the control, the newest first", &columns);
    for evaluation in evaluations.iter().rev().take(NEWEST) {
        html! { out, "<tr><th scope='row'>" { view.moment(out, evaluation.at) } "</th><td>" { view.who(out, evaluation.by) }
        "</td><td>" { looked_at(out, evaluation) } "</td><td>" { time(out, evaluation.next_by) } "</td></tr>\n" }
    }
    end_table(out);
    left_out(out, NEWEST, evaluations.len(), "evaluations", "the newest", "governance.csv");
}

fn looked_at(out: &mut Html, evaluation: &Evaluation) {
    let excepted = evaluation.results.iter().filter(|result| result.outcome == Outcome::Exceptions).count() as u64;
    html! { out, (Counted(evaluation.size, "event", "events")) "; " (Counted(excepted, "test", "tests"))
    " with exceptions; " (Counted(evaluation.dispositions.len() as u64, "disposition", "dispositions"))
    "<br><code class='note break'>" (evaluation.controls) "</code>" }
}

fn exports(out: &mut Html, view: &View<'_>) {
    let exports = &view.history().exports;
    if exports.is_empty() {
        return;
    }
    html! { out, "<h3>Earlier bundles</h3>\n" }
    table(out, "exports", &"Bundles that were made, the newest first", &["Made", "#Over events", "Manifest"]);
    for export in exports.iter().rev().take(NEWEST) {
        html! { out, "<tr><th scope='row'>" { view.moment(out, export.at) } "</th><td class='count'>" (Number(export.from))
        " to " (Number(export.size)) "</td><td><code class='break'>" (export.manifest) "</code></td></tr>\n" }
    }
    end_table(out);
    left_out(out, NEWEST, exports.len(), "bundles", "the newest", "governance.csv");
}
