//! How the control tests look to people: exceptions first.

use anstyle::Style;
use evidence::controls::{ControlTest, Controls, Disposed, Exception, Outcome};
use evidence::history::At;
use model::Digest;

use super::document;
use crate::layout::{BOLD, Cell, DIM, Fields, GREEN, RED, Table, YELLOW, safe, styled, time};
use crate::look_back::LookBack;
use crate::words::{counted, name_of};

/// How many exceptions of one test are listed; --control has them all.
const SHOWN: usize = 10;
/// How many events of an exception are named.
const EVENTS: usize = 4;

const ORDER: [Outcome; 4] =
    [Outcome::Exceptions, Outcome::InsufficientEvidence, Outcome::NoExceptions, Outcome::NotApplicable];

fn style(outcome: Outcome) -> Style {
    match outcome {
        Outcome::Exceptions => RED,
        Outcome::InsufficientEvidence => YELLOW,
        Outcome::NoExceptions => GREEN,
        Outcome::NotApplicable => DIM,
    }
}

fn heading(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Exceptions => "Exceptions",
        Outcome::InsufficientEvidence => "Insufficient evidence",
        Outcome::NoExceptions => "No exceptions",
        Outcome::NotApplicable => "Not applicable",
    }
}

/// All of them, with what they rest on.
pub(super) fn all(controls: &Controls, back: &LookBack) -> String {
    let mut text = String::new();
    for outcome in ORDER {
        let tests: Vec<&ControlTest> = controls.controls.iter().filter(|test| test.outcome == outcome).collect();
        if !tests.is_empty() {
            text.push_str(&format!("{}\n", styled(style(outcome), heading(outcome))));
            tests.iter().for_each(|test| text.push_str(&in_short(test)));
            text.push('\n');
        }
    }
    let mut table = Table::new(&["KEYS FOR AI WORKLOADS BESIDE ALL OTHERS", "AI", "GENERAL"]);
    for figure in &controls.comparison {
        table.row([figure.figure.into(), figure.ai.clone().into(), figure.general.clone().into()]);
    }
    text.push_str(&table.to_people("there are no keys"));
    text.push_str(&format!("\n{}{}", about(controls, back).to_people(0), limits(controls)));
    text
}

fn about(controls: &Controls, back: &LookBack) -> Fields {
    let mut fields = Fields::default();
    let (period, report) = (controls.period, back.replay.verifier().report());
    let replayed = format!("events 1 to {} replayed here, {} void", period.to.0, report.void);
    fields.text(
        "period",
        format!("events {} to {}, until {}; {replayed}", period.from.0, period.to.0, time(period.until)),
    );
    fields.text("root", controls.root.to_string());
    fields.text("head", controls.head.to_string());
    fields.text("controls.json", format!("SHA-256 {}", Digest::of(&document(controls))));
    fields
}

fn limits(controls: &Controls) -> String {
    let lines = controls.limits.iter().map(|limit| format!("  {DIM}- {}{DIM:#}\n", safe(limit)));
    format!("{DIM}what this rests on, and can't see:{DIM:#}\n{}", lines.collect::<String>())
}

fn count(test: &ControlTest) -> String {
    format!("nothing against {} of {} {}", test.passed, test.population.count, test.population.of)
}

/// A test in a few lines: with its exceptions, or why there is nothing to say.
pub(super) fn in_short(test: &ControlTest) -> String {
    let mut text = format!("  {BOLD}{:<10}{BOLD:#} {}", test.id, test.title);
    match test.outcome {
        Outcome::NoExceptions => return format!("{text}  {DIM}{}{DIM:#}\n", count(test)),
        Outcome::InsufficientEvidence | Outcome::NotApplicable => {
            let why = test.remarks.first().map_or("", String::as_str);
            return format!("{text}\n  {:<10} {DIM}{}{DIM:#}\n", "", safe(why));
        }
        Outcome::Exceptions => {
            let found = counted(test.exceptions.len(), "exception");
            text.push_str(&format!("  {}; {DIM}{}{DIM:#}\n", styled(RED, &found), count(test)));
        }
    }
    test.exceptions.iter().take(SHOWN).for_each(|exception| text.push_str(&line(exception)));
    let more = test.exceptions.len().saturating_sub(SHOWN);
    if more > 0 {
        text.push_str(&format!("    {DIM}and {more} more: keylatch controls --control {}{DIM:#}\n", test.id));
    }
    text
}

/// An exception: what, who answers for it, the events, what was decided.
pub(super) fn line(exception: &Exception) -> String {
    let key = exception.key.as_ref().map_or_else(String::new, |key| format!("`{key}`: "));
    let owner = exception.owner.as_deref().unwrap_or("nobody is named");
    let decided = match &exception.disposition {
        Some(disposed) => format!("\n      {}", decided(disposed)),
        None => styled(YELLOW, "  open"),
    };
    format!(
        "    {}{}\n      {DIM}{}{DIM:#}  answers: {}  {DIM}{}{DIM:#}{decided}\n",
        safe(&key),
        safe(&exception.what),
        exception.id,
        safe(owner),
        events(&exception.events),
    )
}

/// What was decided about an exception.
pub(super) fn decided(disposed: &Disposed) -> String {
    let Disposed { disposition, due, note, event } = disposed;
    let (what, by) = (name_of(disposition), format!("by {}", time(*due)));
    let note = safe(note.as_str());
    format!("{}, {by}: {note} {DIM}(event {}){DIM:#}", styled(GREEN, &what), event.sequence.0)
}

fn events(events: &[At]) -> String {
    let named: Vec<String> = events.iter().take(EVENTS).map(|at| at.sequence.0.to_string()).collect();
    let more = if events.len() > named.len() { ", …" } else { "" };
    let what = if events.len() == 1 { "event" } else { "events" };
    format!("{what} {}{more}", named.join(", "))
}

/// A test in full.
pub(super) fn in_full(test: &ControlTest) -> String {
    let mut fields = Fields::default();
    fields.text("statement", test.statement);
    fields.text("source", test.source);
    fields.text("method", test.method);
    fields.text("population", format!("{} {}", test.population.count, test.population.of));
    fields.text("listed in", test.population.listed_in);
    fields.text("passed", test.passed.to_string());
    fields.add("came to", styled(style(test.outcome), heading(test.outcome)));
    test.remarks.iter().for_each(|remark| fields.text("remark", remark));
    let mut text = format!("{BOLD}{}  {}{BOLD:#}\n{}", test.id, test.title, fields.to_people(2));
    for exception in &test.exceptions {
        text.push_str(&line(exception));
        let mut table = Table::new(&["EVENT", "TIME", "HASH"]);
        for at in &exception.events {
            let number = Cell::from(at.sequence.0.to_string());
            table.row([number, time(at.time).into(), at.hash.to_string().into()]);
        }
        table.to_people("").lines().for_each(|line| text.push_str(&format!("      {line}\n")));
    }
    text
}
