//! `assessment-results.json`: for each test an observation with its population, for each exception an observation and a
//! risk with its disposition, and for each point a finding where there was something to find.

use model::evidence::DispositionKind;
use model::{Digest, Timestamp};
use serde_json::{Value, json};

use super::plan::{reviewed, tool_uuid};
use super::security_plan::figures;
use super::{FOLDER, NAMESPACE, PLAN, Sources, markup, objective_id, prop, resource};
use crate::controls::{ControlTest, Disposed, Exception, Outcome, Period};
use crate::history::At;

/// At most so many exceptions of a test are told one by one here. All of them stand in `controls.json`.
pub(super) const EXCEPTIONS_MAX: usize = 1000;

pub(super) fn content(sources: Sources<'_>) -> Value {
    let title = format!("What became of the test of {}'s keys", sources.name());
    let more = json!({ "parties": [sources.party()] });
    let mut resources = vec![sources.resource(PLAN, "The assessment plan")];
    let others = sources.files.iter().filter(|(name, _)| !name.starts_with(FOLDER));
    resources.extend(others.map(|(name, digest)| evidence(sources, name, *digest)));
    json!({
        "uuid": sources.document_uuid("assessment-results"),
        "metadata": sources.metadata(&title, "assessment-results", PLAN, more),
        "import-ap": { "href": PLAN },
        "results": [result(sources)],
        "back-matter": { "resources": resources },
    })
}

/// A file of the bundle, seen from the documents' folder.
fn evidence(sources: Sources<'_>, name: &str, digest: Digest) -> Value {
    resource(&file_uuid(sources, name), name, &format!("../{name}"), Some(digest))
}

fn file_uuid(sources: Sources<'_>, name: &str) -> String {
    sources.uuid(&format!("file {name}"))
}

fn result(sources: Sources<'_>) -> Value {
    let (history, period) = (sources.history, sources.controls.period);
    let tests = &sources.controls.controls;
    let exceptions = || tests.iter().flat_map(|test| told(test).iter().map(move |exception| (test, exception)));
    let observations = tests.iter().map(|test| observation(sources, test));
    let of_exceptions = exceptions().map(|(test, exception)| observation_of(sources, test, exception));
    json!({
        "uuid": sources.document_uuid("result"),
        "title": format!("Replay of events 1 to {}", period.to),
        "description": about(period),
        "start": history.begun.unwrap_or(period.until),
        "end": period.until,
        "props": [prop("from", period.from), prop("to", period.to)],
        "reviewed-controls": reviewed(sources),
        "observations": observations.chain(of_exceptions).collect::<Vec<_>>(),
        "risks": exceptions().map(|(test, exception)| risk(sources, test, exception)).collect::<Vec<_>>(),
        "findings": tests.iter().filter_map(|test| finding(sources, test)).collect::<Vec<_>>(),
    })
}

fn about(Period { from, to, .. }: Period) -> String {
    format!(
        "Every event up to {to} was checked and decided again; what was tested are the populations of events {from} to \
         {to}. A finding says what the history shows, under the limits in the plan; whether the control is met is for \
         people to judge."
    )
}

/// The exceptions that are told one by one.
fn told(test: &ControlTest) -> &[Exception] {
    test.exceptions.get(..EXCEPTIONS_MAX).unwrap_or(&test.exceptions)
}

fn observation_uuid(sources: Sources<'_>, test: &ControlTest) -> String {
    sources.uuid(&format!("observation {}", test.id))
}

fn exception_uuid(sources: Sources<'_>, exception: &Exception) -> String {
    sources.uuid(&format!("observation {}", exception.id))
}

fn risk_uuid(sources: Sources<'_>, exception: &Exception) -> String {
    sources.uuid(&format!("risk {}", exception.id))
}

fn by_tool(sources: Sources<'_>) -> Value {
    json!([{ "actors": [{ "type": "tool", "actor-uuid": tool_uuid(sources) }] }])
}

/// The whole population of a test.
fn observation(sources: Sources<'_>, test: &ControlTest) -> Value {
    let left_out = test.exceptions.len() - told(test).len();
    let beyond = (left_out > 0).then(|| format!("{left_out} more exceptions stand in controls.json alone."));
    json!({
        "uuid": observation_uuid(sources, test),
        "title": markup(test.title),
        "description": format!("Claimed: {} {}", markup(test.statement), figures(test)),
        "methods": ["TEST"],
        "types": ["control-objective"],
        "props": [
            prop("test", &test.id),
            prop("outcome", word(test.outcome)),
            prop("population", test.population.count),
            prop("passed", test.passed),
            prop("exceptions", test.exceptions.len()),
            prop("listed-in", test.population.listed_in),
        ],
        "origins": by_tool(sources),
        "relevant-evidence": evidence_of(sources, &["controls.json", "events.jsonl"]),
        "collected": sources.controls.period.until,
        "remarks": beyond,
    })
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Exceptions => "exceptions",
        Outcome::InsufficientEvidence => "insufficient-evidence",
        Outcome::NoExceptions => "no-exceptions",
        Outcome::NotApplicable => "not-applicable",
    }
}

/// References to those of these files that there are.
fn evidence_of(sources: Sources<'_>, names: &[&str]) -> Vec<Value> {
    let there = names.iter().filter(|name| sources.files.contains_key(**name));
    there.map(|name| json!({ "href": format!("#{}", file_uuid(sources, name)), "description": *name })).collect()
}

/// One exception, with the events behind it.
fn observation_of(sources: Sources<'_>, test: &ControlTest, exception: &Exception) -> Value {
    let events = sources.files.contains_key("events.jsonl").then(|| format!("#{}", file_uuid(sources, "events.jsonl")));
    let event = |at: &At| {
        let href = events.clone()?;
        let description = format!("event {}, on line {} of events.jsonl", at.sequence.0, at.sequence.0);
        let props = [prop("sequence", at.sequence.0), prop("event", at.hash), prop("time", at.time)];
        Some(json!({ "href": href, "description": description, "props": props }))
    };
    json!({
        "uuid": exception_uuid(sources, exception),
        "title": format!("Exception to {}", test.id),
        "description": markup(&exception.what),
        "methods": ["TEST"],
        "types": ["finding"],
        "props": props(test, exception),
        "origins": by_tool(sources),
        "relevant-evidence": exception.events.iter().filter_map(event).collect::<Vec<_>>(),
        "collected": sources.controls.period.until,
    })
}

fn props(test: &ControlTest, exception: &Exception) -> Vec<Value> {
    let mut props = vec![prop("test", &test.id), prop("exception", &exception.id)];
    props.extend(exception.key_id.map(|id| prop("key-id", id)));
    props.extend(exception.key.as_ref().map(|label| prop("key", label)));
    props.extend(exception.owner.as_ref().map(|owner| prop("owner", owner)));
    props.extend(exception.disposition.as_ref().map(|disposed| prop("disposition", disposition(disposed.disposition))));
    props
}

fn risk(sources: Sources<'_>, test: &ControlTest, exception: &Exception) -> Value {
    let disposed = exception.disposition.as_ref();
    json!({
        "uuid": risk_uuid(sources, exception),
        "title": format!("Exception to {}: {}", test.id, markup(test.title)),
        "description": markup(&exception.what),
        "statement": format!("What was claimed does not hold here: {}", markup(test.statement)),
        "props": props(test, exception),
        "status": disposed.map_or("open", |disposed| status(disposed.disposition)),
        "origins": by_tool(sources),
        "deadline": disposed.map(|disposed| disposed.due),
        "remediations": disposed.and_then(|disposed| remediation(sources, exception, disposed)),
        "risk-log": disposed.map(|disposed| log(sources, exception, disposed)),
        "related-observations": [{ "observation-uuid": exception_uuid(sources, exception) }],
    })
}

/// OSCAL's word for what an owner has decided.
fn status(disposition: DispositionKind) -> &'static str {
    match disposition {
        DispositionKind::Accepted => "deviation-approved",
        DispositionKind::Remediate => "remediating",
        DispositionKind::NotAnException => "closed",
        // Somebody else has it now; for this system it is open.
        DispositionKind::Transferred => "open",
    }
}

fn disposition(disposition: DispositionKind) -> &'static str {
    match disposition {
        DispositionKind::Accepted => "accepted",
        DispositionKind::Remediate => "remediate",
        DispositionKind::NotAnException => "not-an-exception",
        DispositionKind::Transferred => "transferred",
    }
}

fn remediation(sources: Sources<'_>, exception: &Exception, disposed: &Disposed) -> Option<Value> {
    (disposed.disposition == DispositionKind::Remediate).then(|| {
        json!([{
            "uuid": sources.uuid(&format!("remediation {}", exception.id)),
            "lifecycle": "planned",
            "title": "What the owner has undertaken",
            "description": markup(disposed.note.as_str()),
        }])
    })
}

/// The owner's decision, as an entry in the risk's log.
fn log(sources: Sources<'_>, exception: &Exception, disposed: &Disposed) -> Value {
    let time: Timestamp = disposed.event.time;
    json!({ "entries": [{
        "uuid": sources.uuid(&format!("disposed {} {}", exception.id, disposed.event.hash)),
        "title": format!("Disposed of: {}", disposition(disposed.disposition)),
        "description": markup(disposed.note.as_str()),
        "start": time,
        "props": [prop("sequence", disposed.event.sequence.0), prop("event", disposed.event.hash)],
        "status-change": status(disposed.disposition),
    }] })
}

/// What was found about a point; nothing where there was nothing to look at.
fn finding(sources: Sources<'_>, test: &ControlTest) -> Option<Value> {
    let (state, reason, remarks) = match test.outcome {
        Outcome::NotApplicable => return None,
        Outcome::NoExceptions => {
            ("satisfied", "other", "Of all items, none had anything against it, as far as a replay can see.")
        }
        Outcome::Exceptions => {
            ("not-satisfied", "fail", "There are exceptions: the risks say which, and what was decided about each.")
        }
        Outcome::InsufficientEvidence => (
            "not-satisfied",
            "other",
            "The history can't answer it. That is no exception; other evidence may answer it.",
        ),
    };
    let of = |exception: &Exception| (exception_uuid(sources, exception), risk_uuid(sources, exception));
    let (exceptions, risks): (Vec<String>, Vec<String>) = told(test).iter().map(of).unzip();
    let observations = std::iter::once(observation_uuid(sources, test)).chain(exceptions);
    Some(json!({
        "uuid": sources.uuid(&format!("finding {}", test.id)),
        "title": format!("{}: {}", test.id, markup(test.title)),
        "description": figures(test),
        "props": [prop("outcome", word(test.outcome)), { "name": "method", "ns": NAMESPACE, "value": "replay" }],
        "origins": by_tool(sources),
        "target": {
            "type": "objective-id",
            "target-id": objective_id(test),
            "status": { "state": state, "reason": reason, "remarks": remarks },
        },
        "related-observations": observations.map(|uuid| json!({ "observation-uuid": uuid })).collect::<Vec<_>>(),
        "related-risks": risks.into_iter().map(|uuid| json!({ "risk-uuid": uuid })).collect::<Vec<_>>(),
    }))
}
