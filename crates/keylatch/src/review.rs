//! What is about to be signed, shown whole: what it means here, every parameter, and the exact bytes.
//!
//! The parameters are read from the payload itself, one by one, so that nothing can be signed that is not shown. What
//! they refer to (a key, a request, the governance) comes from the verified history.

mod meant;

use journal::sshsig::Signed;
use lifecycle::state::Request;
use lifecycle::{Key, Tenant};
use model::evidence::{ControlResult, Disposition};
use model::key::Template;
use model::{Action, Command, Digest, EventHash, Timestamp};
use serde_json::Value;

use crate::explain;
use crate::layout::{BOLD, CYAN, DIM, Fields, GREEN, RED, YELLOW, relative, safe, styled, time_from};
use crate::lookup;
use crate::reader::{Asked, Known};
use crate::words::name_of;

/// The text of a review. `known` is left out where the history could not be read.
pub fn review(command: &Command, payload: &[u8], signers: &[Signed], known: Option<&Known>, now: Timestamp) -> String {
    let mut text = format!("\n{BOLD}To be signed:{BOLD:#} {CYAN}{}{CYAN:#}\n", command.action.name());
    text.push_str(&envelope(command, signers, known, now).to_people(2));
    let state = known.map(Known::state);
    if let Some(key) = command.key_id.zip(state).and_then(|(id, state)| state.keys.get(&id)) {
        text.push_str(&section("the key", &of_key(key)));
    }
    if let Some(request) = request_named(&command.action).zip(known) {
        text.push_str(&of_request(request.0, request.1, now));
    }
    if let (Action::ActivationApprove(params), Some(state)) = (&command.action, state)
        && let Some(whose) = params.on_behalf_of
    {
        let whose = safe(&lookup::name(state, whose));
        text.push_str(&format!(
            "  {YELLOW}this is the vote of {BOLD}{whose}{BOLD:#}{YELLOW}, not your own{YELLOW:#}\n"
        ));
    }
    if let Some(meant) = state.and_then(|state| meant::meant(command, state, now)) {
        text.push_str(&section("what is meant", &meant));
    }
    text.push_str(&section("what it says", &parameters(command, payload)));
    text.push_str(&bound(command, state));
    let shown = safe(&String::from_utf8_lossy(payload));
    let digest = Digest::of(payload);
    text.push_str(&format!("  {DIM}the exact bytes ({} bytes, SHA-256 {digest}){DIM:#}\n", payload.len()));
    text.push_str(&format!("    {shown}\n\n"));
    text
}

fn section(heading: &str, fields: &Fields) -> String {
    format!("  {DIM}{heading}{DIM:#}\n{}", fields.to_people(4))
}

fn envelope(command: &Command, signers: &[Signed], known: Option<&Known>, now: Timestamp) -> Fields {
    let state = known.map(Known::state);
    let governance = state.and_then(|state| state.governance.as_ref());
    let tenant = governance.map_or(String::new(), |governance| format!("{} ", governance.name));
    let mut fields = Fields::default();
    fields.text("tenant", format!("{tenant}{}", command.tenant));
    fields.text("command", command.id.to_string());
    fields.add("issued", time_from(command.issued_at, now));
    let expires = time_from(command.expires_at, now);
    fields.add("good until", if command.expires_at <= now { styled(RED, &expires) } else { expires });
    if !signers.is_empty() {
        let name = |signed: &Signed| {
            let who = signed.key.fingerprint();
            state.map_or_else(|| who.to_string(), |state| format!("{} ({who})", lookup::name(state, who)))
        };
        fields.text("signed by", signers.iter().map(name).collect::<Vec<_>>().join("\n"));
    }
    fields
}

fn of_key(key: &Key) -> Fields {
    let spec = &key.spec;
    let mut fields = Fields::default();
    fields.add("key", format!("{BOLD}{}{BOLD:#} {}", spec.label, key.id));
    fields.text("identity", key.identity.to_string());
    fields.text("algorithm", spec.algorithm.name());
    fields.text("for", format!("{}, {}, {}", spec.workload, spec.environment, spec.responsibility));
    fields.text("data", format!("{}, {}", spec.jurisdiction, spec.classification));
    fields.text("store", key.store.as_str());
    if let Some(asset) = &spec.asset {
        fields.text("protects", asset.as_str());
    }
    fields.text("state", key.state.name());
    fields
}

/// The request that an action is about.
fn request_named(action: &Action) -> Option<EventHash> {
    match action {
        Action::ActivationApprove(params) => Some(params.request),
        Action::ActivationReject(params) => Some(params.request),
        Action::ActivationCancel(params) => Some(params.request),
        Action::ActivationHold(params) => params.request,
        Action::ActivationRelease(params) => params.request,
        _ => None,
    }
}

fn of_request(hash: EventHash, known: &Known, now: Timestamp) -> String {
    let state = known.state();
    let Some(request) = state.requests.get(&hash) else {
        return format!("  {RED}there is no request {hash} in the verified history{RED:#}\n");
    };
    let heading = format!("the request {}", lookup::short(hash));
    let mut text = section(&heading, &request_fields(request, known.asked(hash), state, now));
    let many = many_fields(request, known, now);
    if !many.is_empty() {
        text.push_str(&section("what it is for", &many));
    }
    if let Ok(simulation) = lifecycle::simulate::of_request(state, hash, now) {
        text.push_str(&section("what comes of it", &explain::fields(&simulation, state, now)));
    }
    text
}

/// How many of a list's keys are shown.
const FIRST_KEYS: usize = 5;

/// What a request is for that is not for one key alone, or asks for more than signatures: the list (looked up in the log,
/// its digest, count and root computed anew), the standing authorisation, the emergency, the consumers.
pub fn many_fields(request: &Request, known: &Known, now: Timestamp) -> Fields {
    let state = known.state();
    let mut fields = Fields::default();
    if request.break_glass {
        fields.add("emergency", styled(RED, "yes: short-lived, and to be reviewed afterwards"));
    }
    if let Some(template) = &request.template {
        let Template { algorithm, workload, responsibility, jurisdiction, classification, environment, backend } =
            template;
        let kind = format!(
            "{algorithm}, {workload}, {responsibility}, {environment}, {jurisdiction}, {classification}, {backend}"
        );
        fields.text("kind of key", kind);
    }
    if let Some(standing) = request.standing {
        let active_for = standing.active_for.map_or("its crypto period".to_owned(), |span| span.to_string());
        fields.add(
            "standing",
            format!(
                "{BOLD}{} keys that are still to come{BOLD:#}, until {}, each active for {active_for}",
                standing.count,
                time_from(standing.until, now)
            ),
        );
    }
    if let Some(manifest) = request.manifest {
        fields.add("list", list_of(request, known, manifest.count));
        fields.text("its SHA-256", manifest.document.to_string());
        fields.text("its root", manifest.root.to_string());
    }
    if request.template.is_some() {
        fields.add("activated", format!("{} of {}", request.activated, request.keys()));
    }
    if !request.consumers.is_empty() {
        let key = lookup::key_of(state, request);
        let consumer = |who: &model::Fingerprint| {
            let has = key.is_some_and(|key| key.acknowledged.contains_key(who));
            format!("{}{}", lookup::name(state, *who), if has { " (has acknowledged it)" } else { "" })
        };
        fields.text("consumers", request.consumers.iter().map(consumer).collect::<Vec<_>>().join("\n"));
    }
    fields
}

fn list_of(request: &Request, known: &Known, count: u32) -> String {
    let Some(list) = known.list(request) else {
        return styled(
            RED,
            "NOT in the log as the request says it is: digest, count or root differ. Do not approve it",
        );
    };
    let label = |key: model::KeyId| match known.state().keys.get(&key) {
        Some(key) => format!("{} {} {}", key.spec.label, key.id, key.identity),
        None => format!("{key}, which is not known here"),
    };
    let unknown = list.keys().filter(|key| !known.state().keys.contains_key(key)).count();
    let mut lines = vec![styled(GREEN, &format!("{count} keys, in the log with this digest and root"))];
    if unknown > 0 {
        lines.push(styled(RED, &format!("{unknown} of them are not known here")));
    }
    lines.extend(list.keys().take(FIRST_KEYS).map(|key| safe(&label(key))));
    if list.len() > FIRST_KEYS {
        lines.push(format!("and {} more", list.len() - FIRST_KEYS));
    }
    lines.join("\n")
}

/// A request in fields: who asks for what and why, what was approved, what is missing.
pub fn request_fields(request: &Request, asked: Option<&Asked>, state: &Tenant, now: Timestamp) -> Fields {
    let mut fields = Fields::default();
    fields.text("asked by", lookup::name(state, request.requested_by));
    fields.add("asked", time_from(request.requested_at, now));
    if let Some(asked) = asked {
        fields.text("reason", format!("{} ({})", asked.reason.text, name_of(&asked.reason.kind)));
    }
    fields.text("change", request.change_ref.as_ref().map_or("none given", |change| change.as_str()));
    fields.text("legal basis", lines(&request.legal_basis));
    fields.text("systems", lines(&request.affected_systems));
    let start = if request.not_before <= request.requested_at {
        "as soon as it is authorised".to_owned()
    } else {
        time_from(request.not_before, now)
    };
    fields.add("active from", start);
    let end = request.deactivate_at.map(|end| time_from(end, now));
    fields.add("active until", end.unwrap_or_else(|| "the end of the crypto period".to_owned()));
    if request.authorized.is_none() {
        fields.add("lapses", time_from(request.expires_at, now));
    }
    if let Some((governance, rule)) = lookup::rule_of(state, request) {
        let version = governance.policy.as_ref().map_or(0, |policy| policy.version);
        fields.text("policy", format!("version {version}, rule {}", rule.name));
        let stage = |stage: &model::policy::Stage| format!("{} of `{}`", stage.quorum, stage.role);
        fields.text("takes", rule.stages.iter().map(stage).collect::<Vec<_>>().join(", "));
    }
    fields.add("approved by", approvals(request, asked, state, now));
    fields.add("missing", missing(request, state, now));
    fields
}

fn lines(texts: &[model::Text]) -> String {
    if texts.is_empty() {
        return "none given".to_owned();
    }
    texts.iter().map(model::Text::as_str).collect::<Vec<_>>().join("\n")
}

fn approvals(request: &Request, asked: Option<&Asked>, state: &Tenant, now: Timestamp) -> String {
    if request.approvals.is_empty() {
        return "nobody yet".to_owned();
    }
    let line = |approval: &lifecycle::state::Approval| {
        let said = asked.and_then(|asked| asked.approvals.iter().find(|said| said.hash == approval.hash));
        let roles = lookup::principal_of(state, approval.by).map_or(String::new(), |principal| {
            format!(" ({})", principal.roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        });
        let at = said.map_or(String::new(), |said| format!(" {}", relative(said.at, now)));
        let note =
            said.and_then(|said| said.note.as_ref()).map_or(String::new(), |note| format!(": {}", note.as_str()));
        safe(&format!(
            "{}{roles}{at}, good for {}{note}",
            lookup::name(state, approval.by),
            relative(approval.expires_at, now).trim_start_matches("in ")
        ))
    };
    request.approvals.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn missing(request: &Request, state: &Tenant, now: Timestamp) -> String {
    let missing = lookup::missing(state, request, now);
    match (request.authorized, missing.is_empty()) {
        (Some(_), true) => styled(GREEN, "nothing: it is authorised"),
        (None, true) => styled(GREEN, "nothing: the quorum is complete"),
        _ => styled(YELLOW, &safe(&missing.join(", "))),
    }
}

/// Every parameter, as it stands in the payload. A policy and a legal pack are shown as the TOML that people write.
fn parameters(command: &Command, payload: &[u8]) -> Fields {
    let mut fields = Fields::default();
    let payload: Value = serde_json::from_slice(payload).unwrap_or_default();
    let Some(Value::Object(params)) = payload.get("params") else { return fields };
    for (name, value) in params {
        match &command.action {
            Action::PolicyAdopt(adopt) if name == "policy" => {
                fields.text("policy", toml::to_string(&adopt.policy).unwrap_or_else(|_| value.to_string()));
            }
            Action::PackDeclare(declare) if name == "pack" => {
                fields.text("pack", toml::to_string(&declare.pack).unwrap_or_else(|_| value.to_string()));
            }
            Action::ControlEvaluate(evaluate) if name == "results" => {
                fields.text("results", evaluate.results.iter().map(result_line).collect::<Vec<_>>().join("\n"));
            }
            Action::ControlEvaluate(evaluate) if name == "dispositions" => {
                let lines = evaluate.dispositions.iter().map(disposition_line);
                fields.text("dispositions", lines.collect::<Vec<_>>().join("\n"));
            }
            _ => add(&mut fields, name, value),
        }
    }
    if params.is_empty() {
        fields.add("nothing", "further");
    }
    fields
}

fn result_line(result: &ControlResult) -> String {
    let ControlResult { id, outcome, population, exceptions } = result;
    let s = if *exceptions == 1 { "" } else { "s" };
    format!("{id}: {}, {population} looked at, {exceptions} exception{s}", name_of(outcome))
}

fn disposition_line(disposed: &Disposition) -> String {
    let Disposition { exception, disposition, owner, due, note } = disposed;
    format!("{exception}: {}, by {due}, {owner}: {note}", name_of(disposition))
}

/// Adds a value under its path.
fn add(fields: &mut Fields, path: &str, value: &Value) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(name, value)| add(fields, &format!("{path}.{name}"), value));
        }
        Value::Array(items) if items.iter().all(Value::is_string) && !items.is_empty() => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            fields.text(path, items.join("\n"));
        }
        Value::String(text) => fields.text(path, text),
        other => fields.text(path, other.to_string()),
    }
}

/// What state the command is bound to, and whether things still stand so.
fn bound(command: &Command, state: Option<&Tenant>) -> String {
    let governs = match &command.action {
        Action::PrincipalEnroll(params) => Some(params.against),
        Action::PrincipalChange(params) => Some(params.against),
        Action::PrincipalRevoke(params) => Some(params.against),
        Action::PrincipalRotate(params) => Some(params.against),
        Action::DelegationGrant(params) => Some(params.against),
        Action::AccessReview(params) => Some(params.against),
        Action::PolicyAdopt(params) => Some(params.against),
        Action::PackDeclare(params) => Some(params.against),
        Action::DocumentAdopt(params) => Some(params.against),
        Action::StoreRegister(params) => Some(params.against),
        _ => None,
    };
    let of_key = match &command.action {
        Action::KeyActivate(params) => Some(params.against),
        Action::KeyResume(params) => Some(params.against),
        Action::KeyDeactivate(params) => Some(params.against),
        Action::KeyDestroy(params) => Some(params.against),
        _ => None,
    };
    let Some(against) = governs.or(of_key) else { return String::new() };
    let (what, head) = match governs {
        Some(_) => ("governance", state.and_then(|state| Some(state.governance.as_ref()?.head))),
        None => ("key", state.and_then(|state| Some(state.keys.get(&command.key_id?)?.head))),
    };
    let verdict = match head {
        None => styled(YELLOW, "whether things still stand so is not known"),
        Some(head) if head == against => styled(GREEN, "things still stand so"),
        Some(head) => {
            let since = format!("things have changed since (now {}): it will be refused", lookup::short(head));
            styled(RED, &since)
        }
    };
    format!("  {DIM}bound to the {what}'s last event{DIM:#} {} {verdict}\n", lookup::short(against))
}

#[cfg(test)]
mod tests {
    use lifecycle::scenario::Scenario;

    use super::*;

    /// What is shown of a command that ann and bob are to sign, without what is the same of every command.
    fn shown(s: &mut Scenario, action: &str, params: &str) -> String {
        let signed = s.command_of(action, None, params, "ann,bob");
        let (command, payload) = (&signed.command, &signed.envelope.payload.0);
        let meant = meant::meant(command, &s.tenant, s.now).unwrap().to_people(0);
        let text = meant + &parameters(command, payload).to_people(0) + &bound(command, Some(&s.tenant));
        anstream::adapter::strip_str(&text).to_string()
    }

    #[track_caller]
    fn shows(text: &str, wanted: &[&str]) {
        let unaligned = text.split_whitespace().collect::<Vec<&str>>().join(" ");
        for wanted in wanted {
            assert!(unaligned.contains(wanted), "no `{wanted}` in:\n{text}");
        }
    }

    #[test]
    fn a_document_is_shown_beside_what_was_adopted_under_its_name() {
        let params = r#"{"against":"$head","name":"activating","kind":"procedure","title":"How keys are activated",
            "document":"$hash:text","covers":[3,4],"owner":"$who:lou","review_by":"$now+60d"}"#;
        let mut s = Scenario::new();
        let text = shown(&mut s, "document.adopt", params);
        shows(&text, &["so far not adopted", "who answers for it lou (privacy)", "not in the log", "title How keys"]);
        shows(&text, &["covers [3,4]", "bound to the governance's last event", "things still stand so"]);
        s.run(&format!("do document.adopt {} by ann,bob => document.adopted", params.replace('\n', " ")));
        shows(&shown(&mut s, "document.adopt", params), &["so far version 1, the same text"]);
        let other = params.replace("$hash:text", "$hash:other").replace("$who:lou", "$who:zoe");
        shows(&shown(&mut s, "document.adopt", &other), &["so far version 1, How keys", "nobody here is SHA256:"]);
    }

    #[test]
    fn a_store_is_shown_with_how_many_keys_are_in_it() {
        let params = r#"{"against":"$head","store":{"name":"software","kind":"software","server":"kms-1",
            "database":"files on kms-1","privileged_accounts":["root on kms-1"]}}"#;
        let mut s = Scenario::new();
        s.run("generate k1 by kim => key.generated");
        let text = shown(&mut s, "store.register", params);
        shows(&text, &["so far not registered", "keys generated there 1", "store.server kms-1", "root on kms-1"]);
    }

    #[test]
    fn a_bundle_is_shown_with_its_period() {
        let mut s = Scenario::new();
        s.run("checkpoint => checkpoint.signed");
        let covered = format!("the period from event 3 on; the newest checkpoint commits to {}", s.records.len() - 1);
        shows(&shown(&mut s, "evidence.export", r#"{"from":3}"#), &[&covered, "from 3"]);
    }

    #[test]
    fn an_evaluation_is_shown_result_by_result() {
        let params = r#"{"controls":"$hash:controls","size":5,
            "results":[{"id":"CEK-15.03","outcome":"exceptions","population":3,"exceptions":1}],
            "dispositions":[{"exception":"cek-15-03-1","disposition":"not-an-exception","owner":"$who:kim",
            "due":"$now+30d","note":"a test key"}]}"#;
        let mut s = Scenario::new();
        let text = shown(&mut s, "control.evaluate", params);
        shows(&text, &[&format!("replayed 5 of {} events", s.records.len()), "answers for 1 exception kim (owner)"]);
        shows(&text, &["CEK-15.03: exceptions, 3 looked at, 1 exception"]);
        shows(&text, &["cek-15-03-1: not-an-exception, by 2026-01-31T00:00:00.000Z, SHA256:", ": a test key"]);
    }
}
