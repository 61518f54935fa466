//! The control tests, those with exceptions first.

use super::html::{Html, html};
use super::words::{self, Number};
use super::{EXCEPTIONS_MAX, View, end_table, left_out, opening, table, time};
use crate::controls::{ControlTest, Disposed, Exception};

/// Every test.
pub(super) fn section(out: &mut Html, view: &View<'_>) {
    super::section(out, "controls");
    html! { out, "<p>Each point is a statement that can be false, tested over the whole population. Those with exceptions \
    come first, then those that the evidence can't answer. An exception is a finding, not a verdict: beside it stands \
    what its owner has signed about it, where somebody has.</p>\n" }
    let mut tests: Vec<&ControlTest> = view.input.controls.controls.iter().collect();
    tests.sort_by_key(|test| test.outcome);
    for test in tests {
        control(out, view, test);
    }
    html! { out, "</section>\n" }
}

fn control(out: &mut Html, view: &View<'_>, test: &ControlTest) {
    html! { out, "<article class='control' id='c-" (test.id) "' aria-labelledby='c-" (test.id) "-title'>\n<h3 id='c-"
    (test.id) "-title'><span class='id'>" (test.id) "</span> " (test.title) "</h3>\n<p class='result'>"
    { opening::outcome(out, test.outcome) } " <span class='population'>" { population(out, test) } "</span></p>\n\
    <p class='statement'>" (test.statement) "</p>\n" }
    if !test.exceptions.is_empty() {
        exceptions(out, view, test);
    }
    if !test.remarks.is_empty() {
        html! { out, "<ul class='remarks'>\n" }
        for remark in &test.remarks {
            html! { out, "<li><bdi>" (remark) "</bdi></li>\n" }
        }
        html! { out, "</ul>\n" }
    }
    html! { out, "<p class='note'>How it was tested: " (test.method) " Source: " (test.source) "</p>\n</article>\n" }
}

fn population(out: &mut Html, test: &ControlTest) {
    let population = &test.population;
    match population.count {
        0 => html! { out, "population: no " (population.of) },
        _ => html! { out, { opening::ratio(out, test) } " " (population.of) " had nothing against them" },
    }
    html! { out, " <span class='note'>(listed in <code>" (population.listed_in) "</code>)</span>" }
}

fn exceptions(out: &mut Html, view: &View<'_>, test: &ControlTest) {
    let caption = format!("Exceptions to {}: {}", test.id, Number(test.exceptions.len() as u64));
    table(out, "exceptions", &caption, &["What is wrong", "Key", "Events", "Owner", "Disposition"]);
    for exception in test.exceptions.iter().take(EXCEPTIONS_MAX) {
        row(out, view, exception);
    }
    end_table(out);
    left_out(out, EXCEPTIONS_MAX, test.exceptions.len(), "exceptions", "the first", "exceptions.csv");
}

fn row(out: &mut Html, view: &View<'_>, exception: &Exception) {
    html! { out, "<tr><th scope='row'><bdi>" (exception.what) "</bdi><br><code class='note'>" (exception.id)
    "</code></th><td>" }
    match (exception.key_id, &exception.key) {
        (Some(id), _) => view.key(out, id),
        (None, Some(label)) => html! { out, (label) },
        (None, None) => html! { out, "\u{2013}" },
    }
    html! { out, "</td><td>" }
    for (place, at) in exception.events.iter().enumerate() {
        out.markup(if place > 0 { ", " } else { "" });
        view.event(out, *at);
    }
    html! { out, "</td><td>" }
    match &exception.owner {
        Some(owner) => html! { out, "<bdi>" (owner) "</bdi>" },
        None => html! { out, "nobody named" },
    }
    html! { out, "</td><td>" }
    match &exception.disposition {
        Some(disposed) => disposition(out, view, disposed),
        None => html! { out, "none signed" },
    }
    html! { out, "</td></tr>\n" }
}

fn disposition(out: &mut Html, view: &View<'_>, disposed: &Disposed) {
    html! { out, "<strong>" (words::named(&disposed.disposition)) "</strong>, due " { time(out, disposed.due) } "<br><bdi>" (disposed.note)
    "</bdi><br>signed " { view.moment(out, disposed.event) } }
}
