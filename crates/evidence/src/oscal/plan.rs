//! `assessment-plan.json`: how each point is tested, by what, over which part of the history, and what no replay can see.

use serde_json::{Value, json};

use super::points::CONTROL;
use super::{SECURITY_PLAN, Sources, control_id, markup, objective_id, prop};
use crate::controls::{ControlTest, Period};

pub(super) fn content(sources: Sources<'_>) -> Value {
    let title = format!("How the activation of keys of {} is tested", sources.name());
    let more = json!({ "parties": [sources.party()] });
    let limits = sources
        .controls
        .limits
        .iter()
        .map(|limit| json!({ "name": "limit", "ns": super::NAMESPACE, "prose": markup(limit) }));
    json!({
        "uuid": sources.document_uuid("assessment-plan"),
        "metadata": sources.metadata(&title, "assessment-plan", SECURITY_PLAN, more),
        "import-ssp": { "href": SECURITY_PLAN },
        "local-definitions": {
            "objectives-and-methods": beyond(sources).into_iter().map(objective).collect::<Vec<_>>(),
            "activities": sources.controls.controls.iter().map(|test| activity(sources, test)).collect::<Vec<_>>(),
        },
        "terms-and-conditions": { "parts": limits.collect::<Vec<_>>() },
        "reviewed-controls": reviewed(sources),
        "assessment-subjects": [{
            "type": "component",
            "description": "All of the system's components, by what the events say that they did.",
            "include-all": {},
        }],
        "assessment-assets": assets(sources),
        "tasks": [task(sources)],
        "back-matter": { "resources": [sources.resource(SECURITY_PLAN, "The system security plan")] },
    })
}

/// What is tested beyond the sixteen points: objectives that the catalog does not have.
fn beyond<'a>(sources: Sources<'a>) -> Vec<&'a ControlTest> {
    sources.controls.controls.iter().filter(|test| control_id(test) == CONTROL).collect()
}

fn objective(test: &ControlTest) -> Value {
    json!({
        "control-id": CONTROL,
        "description": markup(test.title),
        "parts": [{
            "id": objective_id(test),
            "name": "assessment-objective",
            "title": markup(test.title),
            "prose": format!("Determine whether the following holds. {}", markup(test.statement)),
        }],
    })
}

fn activity(sources: Sources<'_>, test: &ControlTest) -> Value {
    json!({
        "uuid": sources.uuid(&format!("activity {}", test.id)),
        "title": markup(test.title),
        "description": format!("{} Claimed: {}", markup(test.method), markup(test.statement)),
        "props": [{ "name": "method", "value": "TEST" }, prop("test", &test.id), prop("source", test.source)],
        "related-controls": {
            "control-selections": [{ "include-controls": [{ "control-id": control_id(test) }] }],
            "control-objective-selections": [{ "include-objectives": [{ "objective-id": objective_id(test) }] }],
        },
    })
}

/// The controls and objectives that there are tests for.
pub(super) fn reviewed(sources: Sources<'_>) -> Value {
    let mut controls: Vec<String> = sources.controls.controls.iter().map(control_id).collect();
    controls.sort();
    controls.dedup();
    let controls: Vec<Value> = controls.into_iter().map(|id| json!({ "control-id": id })).collect();
    let objectives = sources.controls.controls.iter().map(|test| json!({ "objective-id": objective_id(test) }));
    json!({
        "control-selections": [{ "include-controls": controls }],
        "control-objective-selections": [{ "include-objectives": objectives.collect::<Vec<_>>() }],
    })
}

pub(super) fn tool_uuid(sources: Sources<'_>) -> String {
    sources.uuid("tool replay")
}

fn assets(sources: Sources<'_>) -> Value {
    let tool = tool_uuid(sources);
    json!({
        "components": [{
            "uuid": tool,
            "type": "software",
            "title": "keylatch",
            "description": "Reads the signed events from the first one on, checks every signature and link under the \
                            pinned root, decides every decision again, and tests what that adds up to. Anybody can do \
                            the same offline with `keylatch verify`.",
            "status": { "state": "operational" },
        }],
        "assessment-platforms": [{
            "uuid": sources.uuid("platform replay"),
            "title": "Offline replay",
            "uses-components": [{ "component-uuid": tool }],
        }],
    })
}

fn task(sources: Sources<'_>) -> Value {
    let activities = sources.controls.controls.iter().map(|test| {
        json!({
            "activity-uuid": sources.uuid(&format!("activity {}", test.id)),
            "subjects": [{ "type": "component", "include-all": {} }],
        })
    });
    let Period { from, to, .. } = sources.controls.period;
    json!({
        "uuid": sources.uuid("task replay"),
        "type": "action",
        "title": "Replay the history and test it",
        "description": format!("Events 1 to {to} are replayed; the populations are those of events {from} to {to}."),
        "associated-activities": activities.collect::<Vec<_>>(),
    })
}
