//! The JSON Schemas in `schemas/`, made from the types.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use model::command::Takes;
use model::{Action, Envelope, EventType, Policy, Problem, ProblemType, history};
use schemars::Schema;
use serde_json::{Value, json};

/// Every schema file: its path below `schemas/`, and its text.
pub fn all() -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut put = |path: String, schema: Value| files.insert(PathBuf::from(path), text(&schema));
    for event_type in EventType::ALL {
        put(format!("events/{}.v1.json", event_type.name()), event(*event_type));
    }
    for (action, takes_key, params) in Action::schemas() {
        put(format!("commands/{action}.json"), command(action, takes_key, params));
    }
    put("policy.json".into(), titled(schemars::schema_for!(Policy), "A tenant's policy"));
    put("envelope.json".into(), titled(schemars::schema_for!(Envelope), "A DSSE envelope"));
    put("problem.json".into(), titled(schemars::schema_for!(Problem), "A refusal (RFC 9457)"));
    put("authority.json".into(), titled(schemars::schema_for!(model::authority::Statement), "An authority statement"));
    put(
        "generated.json".into(),
        titled(schemars::schema_for!(model::statement::Generated), "A custodian's statement on a key"),
    );
    put("lease.json".into(), titled(schemars::schema_for!(model::statement::Lease), "An exporter's lease"));
    put(
        "history-request.json".into(),
        titled(schemars::schema_for!(model::history::HistoryRequest), "A question for history"),
    );
    put("history-answer.json".into(), titled(schemars::schema_for!(model::history::HistoryAnswer), "History"));
    put(
        "as-of-request.json".into(),
        titled(schemars::schema_for!(model::history::AsOfRequest), "A question how things stood"),
    );
    put("as-of-answer.json".into(), titled(schemars::schema_for!(model::history::AsOf), "How things stood"));
    for (name, schema, title) in [
        ("bundle-request", schemars::schema_for!(model::history::BundleRequest), "A question for bundles of evidence"),
        ("bundles-answer", schemars::schema_for!(model::history::BundlesAnswer), "Bundles of evidence"),
        ("bundle-files-answer", schemars::schema_for!(model::history::BundleFilesAnswer), "The files of a bundle"),
        ("bundle-chunk", schemars::schema_for!(model::history::BundleChunk), "A part of a file"),
        ("prober-answer", schemars::schema_for!(model::history::ProberAnswer), "The program that probes"),
    ] {
        put(format!("{name}.json"), titled(schema, title));
    }
    for (name, title, schema) in [
        ("checkpoint-request", "A question for a checkpoint", schemars::schema_for!(history::CheckpointRequest)),
        ("checkpoint-answer", "A checkpoint", schemars::schema_for!(history::CheckpointAnswer)),
        ("proof-request", "A question for the proof of an event", schemars::schema_for!(history::ProofRequest)),
        ("proof-answer", "The proof of an event", schemars::schema_for!(history::ProofAnswer)),
        (
            "consistency-request",
            "A question for the proof that a checkpoint continues another",
            schemars::schema_for!(history::ConsistencyRequest),
        ),
        (
            "consistency-answer",
            "The proof that a checkpoint continues another",
            schemars::schema_for!(history::ConsistencyAnswer),
        ),
    ] {
        put(format!("history-{name}.json"), titled(schema, title));
    }
    put("problems.json".into(), problems());
    files
}

/// `docs/problems.md`: every refusal there is, for people.
pub fn problems_page() -> String {
    let mut page = String::from(
        "# Problems\n\nEvery refusal there is (RFC 9457). The type is `urn:keylatch:problem:` and the name here; names are \
         stable. A problem document has `ok` (false), `type`, `title`, `status`, `detail` (what was wrong this time), \
         `advice` (what would be right), and members that name what is missing. Nothing was written.\n\n\
         | name | status | what | what to do |\n|---|---|---|---|\n",
    );
    for problem in ProblemType::ALL {
        let (name, status) = (problem.name(), problem.status());
        page += &format!("| {name} | {status} | {} | {} |\n", problem.title(), problem.advice());
    }
    page += "\nA tenant's people ask `keylatch doctor` in their context; it sees what the tenant may see. For `stopped`, \
             `custody-stale`, `busy` and `unavailable` that lasts, whoever runs the platform asks `keylatch doctor --dir` \
             on its folder, which names services, alarms, and what to do: see [operating.md](operating.md).\n";
    page
}

/// Writes them, and the page of problems.
pub fn write(checkout: &Path) -> std::io::Result<()> {
    let folder = checkout.join("schemas");
    std::fs::write(checkout.join("docs/problems.md"), problems_page())?;
    for (path, text) in all() {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        std::fs::write(path, text)?;
    }
    Ok(())
}

fn text(schema: &Value) -> String {
    let mut schema = schema.clone();
    without_null(&mut schema);
    // Else the order depends on a feature of serde_json that some dependency or other turns on.
    schema.sort_all_objects();
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

/// What may be missing is left out: nothing is ever null.
fn without_null(schema: &mut Value) {
    let is_null = |schema: &Value| *schema == json!({ "type": "null" });
    match schema {
        Value::Object(members) => {
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    members.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
                choices.retain(|choice| !is_null(choice));
                if let [only] = choices.as_slice() {
                    let only = only.clone();
                    members.remove("anyOf");
                    members.extend(only.as_object().cloned().unwrap_or_default());
                }
            }
            members.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

fn titled(schema: Schema, title: &str) -> Value {
    let mut schema = schema.to_value();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("title".into(), title.into());
    }
    schema
}

/// The whole CloudEvents object of an event.
fn event(event_type: EventType) -> Value {
    let mut data = event_type.schema().to_value();
    let defs = data.as_object_mut().and_then(|data| data.remove("$defs")).unwrap_or_else(|| json!({}));
    if let Some(data) = data.as_object_mut() {
        data.remove("$schema");
    }
    let signers: Vec<&str> = event_type.signers().iter().map(|role| role.name()).collect();
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    let properties = json!({
        "specversion": { "const": "1.0" },
        "id": { "type": "string", "format": "uuid" },
        "source": text(&format!("^//keylatch/({})/[A-Za-z0-9][A-Za-z0-9._-]{{0,63}}$", signers.join("|"))),
        "type": { "const": event_type.full_name() },
        "subject": { "type": "string" },
        "time": text(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"),
        "datacontenttype": { "const": "application/json" },
        "tenant": text("^A[A-Z2-7]{55}$"),
        "sequence": text("^[0-9]{20}$"),
        "previous": text("^[0-9a-f]{64}$"),
        "signer": text("^SHA256:[A-Za-z0-9+/]{43}$"),
        "data": data,
    });
    let required: BTreeSet<&String> =
        properties.as_object().map(|members| members.keys().collect()).unwrap_or_default();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": event_type.full_name(),
        "description": format!("Signed by: {}.", signers.join(", ")),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
        "$defs": defs,
    })
}

/// The payload of a command.
fn command(action: &str, takes_key: Takes, params: Schema) -> Value {
    let mut params = params.to_value();
    let defs = params.as_object_mut().and_then(|params| params.remove("$defs")).unwrap_or_else(|| json!({}));
    if let Some(params) = params.as_object_mut() {
        params.remove("$schema");
    }
    let time = json!({ "type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$" });
    let mut properties = json!({
        "id": { "type": "string", "format": "uuid" },
        "tenant": { "type": "string", "pattern": "^A[A-Z2-7]{55}$" },
        "action": { "const": action },
        "params": params,
        "issued_at": time,
        "expires_at": time,
    });
    let names = |properties: &Value| -> BTreeSet<String> {
        properties.as_object().map(|members| members.keys().cloned().collect()).unwrap_or_default()
    };
    let without_key = names(&properties);
    if let (Takes::Key | Takes::KeyOrNot, Some(properties)) = (takes_key, properties.as_object_mut()) {
        properties.insert("key_id".into(), json!({ "type": "string", "format": "uuid" }));
    }
    let required = if takes_key == Takes::KeyOrNot { without_key } else { names(&properties) };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("The payload of the command {action}"),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
        "$defs": defs,
    })
}

/// Every problem there is: a list for programs.
fn problems() -> Value {
    let one = |problem: &ProblemType| json!({ "type": problem.urn(), "status": problem.status(), "title": problem.title(), "advice": problem.advice() });
    ProblemType::ALL.iter().map(one).collect()
}
