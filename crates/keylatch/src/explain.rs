//! What stands in the way of an activation, in words: every block on a line of its own, with who could help and how.
//!
//! The blocks come from `lifecycle::clear`, from the platform's refusal or from a simulation; people are looked up in the
//! verified history.

use std::collections::{BTreeMap, BTreeSet};

use lifecycle::simulate::{Lapse, Lapsing, Simulation};
use lifecycle::{Key, Rejection, Tenant};
use model::policy::Policy;
use model::{Fingerprint, KeyId, Name, Problem, ProblemType, Role, Timestamp};
use serde_json::{Map, Value, json};

use crate::layout::{BOLD, DIM, Fields, GREEN, RED, YELLOW, relative, safe, time_from};
use crate::lookup;
use crate::words::name_of;

/// One thing in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its type.
    pub kind: ProblemType,
    /// What is wrong this time.
    pub detail: String,
    /// What is missing or in the way, by name.
    pub members: Map<String, Value>,
    /// Who could help, by their labels.
    pub who: Vec<String>,
    /// What they would do.
    pub how: String,
}

impl Block {
    /// With who could help, as far as the state knows.
    pub fn new(block: &Rejection, state: &Tenant, about: Option<&Key>) -> Self {
        let Rejection { problem, detail, members } = block;
        let who = helpers(state, *problem, members);
        let how = how(state, *problem, members, about);
        Self { kind: *problem, detail: detail.clone(), members: members.clone(), who, how }
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({
            "type": self.kind.urn(), "title": self.kind.title(), "detail": self.detail, "members": self.members,
            "who": self.who, "how": self.how,
        })
    }

    /// The line, without indentation and line feed.
    pub fn line(&self) -> String {
        line(title_of(self.kind), &self.detail, &self.who, &self.how)
    }
}

fn line(title: &str, detail: &str, who: &[String], how: &str) -> String {
    let title = title.trim_end_matches('.');
    // A gate's own words may end in a full stop.
    let detail = detail.replace(".: ", ": ");
    format!("{RED}✗{RED:#} {}: {}  {}", safe(title), safe(&detail), help(who, how))
}

/// Who could help, and what they would do.
fn help(who: &[String], how: &str) -> String {
    let who = if who.is_empty() { String::new() } else { format!("{BOLD}{}{BOLD:#}: ", safe(&who.join(" or "))) };
    format!("{DIM}→{DIM:#} {who}{}", safe(how))
}

/// What kind of thing it is, in a few words: a line has to hold the rest too.
fn title_of(kind: ProblemType) -> &'static str {
    match kind {
        ProblemType::GateUnknown => "A gate is unknown",
        ProblemType::GateNotSatisfied => "A gate is not satisfied",
        other => other.title(),
    }
}

/// The blocks of a simulation: those that stay when enough people have approved.
pub fn besides(simulation: &Simulation, state: &Tenant) -> Vec<Block> {
    let key = simulation.key.and_then(|key| state.keys.get(&key));
    simulation.besides.iter().map(|block| Block::new(block, state, key)).collect()
}

// === Who could help ===

fn helpers(state: &Tenant, kind: ProblemType, members: &Map<String, Value>) -> Vec<String> {
    let named = |member: &str| -> Vec<&str> {
        members.get(member).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let policy = policy(state);
    match kind {
        ProblemType::GateUnknown | ProblemType::GateNotSatisfied => {
            let facts = named("facts").into_iter().filter_map(|fact| fact.parse::<Name>().ok());
            let roles = facts.filter_map(|fact| Some(policy?.fact(&fact)?.roles.clone())).flatten().collect();
            holders(state, &roles)
        }
        // Of the people who sign a command together, where it is not approvals that are missing.
        ProblemType::RoleMissing | ProblemType::QuorumNotMet => {
            holders(state, &named("roles").iter().filter_map(|role| role.parse().ok()).collect())
        }
        ProblemType::Held => {
            let lift = policy.and_then(|policy| policy.holds.as_ref()).map(|holds| holds.lift.roles.clone());
            holders(state, &lift.unwrap_or_default())
        }
        ProblemType::ConsumersMissing => {
            let prints = named("missing").into_iter().filter_map(|print| print.parse::<Fingerprint>().ok());
            prints.map(|print| lookup::name(state, print)).collect()
        }
        ProblemType::PackUndeclared
        | ProblemType::NoPolicy
        | ProblemType::NoRule
        | ProblemType::AlgorithmNotAllowed
        | ProblemType::AttributeNotAllowed => holders(state, &Role::ADMIN.parse().into_iter().collect()),
        _ => Vec::new(),
    }
}

fn policy(state: &Tenant) -> Option<&Policy> {
    Some(&state.governance.as_deref()?.policy.as_ref()?.policy)
}

/// The labels of those who hold one of the roles, each once.
pub fn holders(state: &Tenant, roles: &BTreeSet<Role>) -> Vec<String> {
    let members = state.governance.as_deref().into_iter().flat_map(lifecycle::Governance::members);
    let holding = members.filter(|principal| !principal.roles.is_disjoint(roles));
    holding.map(|principal| principal.label.to_string()).collect::<BTreeSet<String>>().into_iter().collect()
}

fn how(state: &Tenant, kind: ProblemType, members: &Map<String, Value>, about: Option<&Key>) -> String {
    let key = about.map_or("KEY", |key| key.spec.label.as_str());
    let text = |member: &str| members.get(member).and_then(Value::as_str).unwrap_or("…").to_owned();
    match kind {
        ProblemType::GateUnknown => {
            let facts = members.get("facts").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            let facts: Vec<String> = facts.map(|fact| of_fact(state, fact, key)).collect();
            if facts.is_empty() { "see `keylatch pack show`".to_owned() } else { facts.join("; ") }
        }
        ProblemType::PackUndeclared => format!("keylatch pack declare {} …", text("pack")),
        ProblemType::QuorumNotMet if is_of_approvals(members) => format!("keylatch approve {key}"),
        ProblemType::QuorumNotMet => {
            "sign it along: --cosign KEYFILE, or --out FILE and `keylatch sign FILE`".to_owned()
        }
        ProblemType::RoleMissing => "can do it".to_owned(),
        ProblemType::Held => format!("keylatch hold lift {} …", text("hold").chars().take(12).collect::<String>()),
        ProblemType::ConsumersMissing => format!("keylatch key acknowledge {key} --key-identity …"),
        ProblemType::ParentNotActive => match about.and_then(|key| key.spec.wrapped_by) {
            Some(parent) if parent.tenant.is_some() => format!("keylatch key attest-parent {key} --export FOLDER"),
            _ => format!("keylatch simulate {}", text("parent")),
        },
        other => other.advice().to_owned(),
    }
}

/// Whether a quorum that is not met is one of approvals, and not of the people who sign a command together.
fn is_of_approvals(members: &Map<String, Value>) -> bool {
    members.contains_key("missing")
}

/// What to do for want of a fact.
fn of_fact(state: &Tenant, fact: &str, key: &str) -> String {
    let listed = fact.parse().ok().zip(policy(state)).is_some_and(|(fact, policy)| policy.fact(&fact).is_some());
    match listed {
        true => format!("keylatch fact assert {fact} --key {key} …"),
        false => format!("the policy lets nobody assert {fact}: add a [[fact]]"),
    }
}

// === Refusals ===

/// A refusal, with who could help added to each of its blocks.
pub fn refusal(mut problem: Problem, state: &Tenant, key: Option<KeyId>, now: Timestamp) -> Problem {
    let about = key.and_then(|key| state.keys.get(&key));
    let alone = Value::Array(vec![json!({
        "type": problem.problem_type, "detail": problem.detail, "members": problem.members,
    })]);
    let is_block = problem.kind().is_some_and(|kind| {
        let approvals = kind == ProblemType::QuorumNotMet && is_of_approvals(&problem.members);
        approvals && about.is_some() || !helpers(state, kind, &problem.members).is_empty()
    });
    let Some(Value::Array(blocks)) = problem.members.remove("blocks").or(is_block.then_some(alone)) else {
        return problem;
    };
    let is = |block: &Value, kind: ProblemType| block.get("type").and_then(Value::as_str) == Some(kind.urn().as_str());
    let says_who = blocks.iter().any(|block| is(block, ProblemType::QuorumNotMet));
    // That approvals are not complete is said once, with whose.
    let telling = blocks.into_iter().filter(|block| !(says_who && is(block, ProblemType::NotAuthorized)));
    let blocks: Vec<Value> = telling.map(|block| helped(block, state, about, now)).collect();
    problem.with("blocks", blocks)
}

fn helped(mut block: Value, state: &Tenant, about: Option<&Key>, now: Timestamp) -> Value {
    let kind = block.get("type").and_then(Value::as_str).and_then(ProblemType::from_urn);
    let members = block.get("members").and_then(Value::as_object).cloned().unwrap_or_default();
    let Some(kind) = kind else { return block };
    let who = match (kind, about) {
        (ProblemType::QuorumNotMet, Some(key)) if is_of_approvals(&members) => {
            let simulated = lifecycle::simulate::of_key(state, key.id, key.created_by, now);
            simulated
                .ok()
                .and_then(|simulation| simulation.enough)
                .map(|enough| names(state, &enough))
                .unwrap_or_default()
        }
        _ => helpers(state, kind, &members),
    };
    if let Some(block) = block.as_object_mut() {
        block.insert("who".to_owned(), json!(who));
        block.insert("how".to_owned(), json!(how(state, kind, &members, about)));
    }
    block
}

/// The blocks that a refusal names, each on a line. Of one that is the refusal itself, who could help is left to be said.
pub fn blocks_of(problem: &Problem) -> String {
    let blocks = problem.members.get("blocks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |block: &Value, member: &str| block.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
    let line_of = |block: &Value| {
        let kind = ProblemType::from_urn(&text(block, "type"));
        let who = block.get("who").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let who: Vec<String> = who.map(str::to_owned).collect();
        let how = block.get("how").and_then(Value::as_str).or(kind.map(ProblemType::advice)).unwrap_or_default();
        let title = kind.map_or("It is not cleared.", title_of);
        let detail = text(block, "detail");
        match blocks.len() == 1 && detail == problem.detail {
            true => format!("  {}\n", help(&who, how)),
            false => format!("  {}\n", line(title, &detail, &who, how)),
        }
    };
    blocks.iter().map(line_of).collect()
}

// === Simulations ===

/// The labels of these people.
pub fn names(state: &Tenant, who: &[Fingerprint]) -> Vec<String> {
    who.iter().map(|who| lookup::name(state, *who)).collect()
}

/// Who must still sign, with a smallest set of people that would do.
pub fn still_to_sign(simulation: &Simulation, state: &Tenant) -> String {
    let missing = simulation.quorum.as_ref().map(lifecycle::quorum::Assessment::missing_text).unwrap_or_default();
    match (&simulation.quorum, &simulation.enough) {
        (None, _) => format!("{RED}no rule of the policy is for it{RED:#}"),
        (Some(quorum), _) if quorum.is_met() => format!("{GREEN}nobody: the quorum is complete{GREEN:#}"),
        (_, Some(enough)) => {
            let enough = names(state, enough).join(" and ");
            format!("{YELLOW}{}{YELLOW:#}  {DIM}→{DIM:#} enough: {BOLD}{}{BOLD:#}", safe(&missing), safe(&enough))
        }
        (_, None) => format!("{RED}{}; not enough people are enrolled who may{RED:#}", safe(&missing)),
    }
}

/// A simulation in fields: who must sign, what is in the way, what the law says, what lapses.
pub fn fields(simulation: &Simulation, state: &Tenant, now: Timestamp) -> Fields {
    let mut fields = Fields::default();
    if let Some(rule) = &simulation.rule {
        fields.text("rule", rule.as_str());
    }
    fields.add("still to sign", still_to_sign(simulation, state));
    fields.add("in the way", in_the_way(simulation, state));
    if simulation.at > now {
        fields.add("at the earliest", time_from(simulation.at, now));
    }
    if let Some(ends) = simulation.ends {
        fields.add("use would end", time_from(ends, now));
    }
    for pack in &simulation.gates {
        fields.text(&format!("pack {}", pack.pack), gates(pack));
    }
    if !simulation.lapses.is_empty() {
        let lines: Vec<String> = simulation.lapses.iter().map(|lapse| lapse_line(lapse, state, now)).collect();
        fields.text("lapses", lines.join("\n"));
    }
    fields
}

/// What is in the way beside approvals, a line each.
pub fn in_the_way(simulation: &Simulation, state: &Tenant) -> String {
    let lines: Vec<String> = besides(simulation, state).iter().map(Block::line).collect();
    match (lines.is_empty(), &simulation.quorum) {
        (true, Some(quorum)) if quorum.is_met() => format!("{GREEN}nothing{GREEN:#}"),
        (true, _) => format!("{GREEN}nothing beside the signatures{GREEN:#}"),
        _ => lines.join("\n"),
    }
}

fn gates(pack: &lifecycle::conditions::PackFindings) -> String {
    let mut counts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for finding in &pack.findings {
        counts.entry(finding.outcome.name()).or_default().push(finding.gate.as_str());
    }
    let parts = counts.into_iter().map(|(outcome, gates)| format!("{} {outcome} ({})", gates.len(), gates.join(", ")));
    parts.collect::<Vec<_>>().join("; ")
}

/// What runs out and when, in words.
pub fn lapse_line(lapse: &Lapse, state: &Tenant, now: Timestamp) -> String {
    let what = match &lapse.what {
        Lapsing::Request => "the request".to_owned(),
        Lapsing::Approval(by) => format!("the approval of {}", lookup::name(state, *by)),
        Lapsing::Key(deadline) => format!("the key: {}", name_of(deadline)),
        Lapsing::Fact(name) => format!("the fact {name}"),
        Lapsing::Parent(parent) => {
            let label = state.keys.get(parent).map_or_else(|| parent.to_string(), |key| key.spec.label.to_string());
            format!("the key that wraps it, {label}")
        }
        Lapsing::Algorithm => "the algorithm".to_owned(),
    };
    format!("{} {what}", relative(lapse.at, now))
}

/// A simulation for programs.
pub fn to_json(simulation: &Simulation, state: &Tenant) -> Value {
    let key = simulation.key.and_then(|key| state.keys.get(&key));
    let blocks = |blocks: &[Rejection]| -> Vec<Value> {
        blocks.iter().map(|block| Block::new(block, state, key).to_json()).collect()
    };
    let missing = simulation.quorum.as_ref().map(lifecycle::quorum::Assessment::missing_lines);
    let who = |print: &Fingerprint| json!({ "fingerprint": print, "label": lookup::name(state, *print) });
    let gates: Vec<Value> = simulation
        .gates
        .iter()
        .map(|pack| json!({ "pack": pack.pack, "declared": pack.declared, "gates": pack.findings }))
        .collect();
    json!({
        "key_id": simulation.key,
        "label": key.map(|key| &key.spec.label),
        "request": simulation.request,
        "rule": simulation.rule,
        "missing": missing,
        "enough": simulation.enough.as_ref().map(|enough| enough.iter().map(who).collect::<Vec<Value>>()),
        "blocked_now": blocks(&simulation.blocked),
        "blocked": blocks(&simulation.besides),
        "clear_but_for_approvals": simulation.is_clear_but_for_approvals(),
        "at": simulation.at,
        "ends": simulation.ends,
        "gates": gates,
        "lapses": simulation.lapses,
    })
}
