//! What legal packs come to for one activation: the gates of every pack that is declared applied, over the key, the request
//! and the facts that stand.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::OnceLock;

use model::event::ConditionHeld;
use model::key::KeyIdentity;
use model::pack::{Fact, FactScope, Pack};
use model::{EventHash, Name, ProblemType, Timestamp};

use crate::gate::{Circumstances, Compiled, Finding, Outcome};
use crate::policy::Fault;
use crate::state::{DeclaredPack, Governance, HeldFact, Key, Request};
use crate::{Rejection, clearance, quorum};

/// A pack's gates, ready to be evaluated: made when first asked for. It is what it was made from, so any two are equal.
#[derive(Clone, Default)]
pub(crate) struct Ready(OnceLock<Option<Compiled>>);

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ready")
    }
}

impl PartialEq for Ready {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Ready {}

/// What one pack's gates came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackFindings {
    /// The pack.
    pub pack: Name,
    /// Its `pack.declared`.
    pub declared: EventHash,
    /// Gate by gate.
    pub findings: Vec<Finding>,
}

/// The times and the votes of an activation.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Now.
    pub now: Timestamp,
    /// When the key becomes active.
    pub activate_at: Timestamp,
    /// When its use ends.
    pub deactivate_at: Timestamp,
    /// How many distinct people have approved.
    pub approvers: u32,
}

/// What every applied pack comes to.
pub fn findings(governance: &Governance, key: &Key, request: &Request, moment: Moment) -> Vec<PackFindings> {
    let applied: Vec<&DeclaredPack> = governance.packs.values().filter(|pack| pack.is_applied()).collect();
    if applied.is_empty() {
        return Vec::new();
    }
    let of_pack = |declared: &DeclaredPack| of_pack(governance, key, request, moment, declared);
    applied.into_iter().map(of_pack).collect()
}

/// The times and votes that a key's gates would be asked about, were it activated now under this request.
pub fn moment(governance: &Governance, key: &Key, request: &Request, now: Timestamp) -> Moment {
    let held = governance.policy.as_ref();
    let rule = held.and_then(|held| held.rule_of(request, Some(key)).ok());
    let wanted = clearance::wanted_end(request, now);
    let (algorithm, operations) = (key.spec.algorithm, key.spec.operations());
    let ends = held
        .zip(rule)
        .and_then(|(held, rule)| clearance::ends(&held.policy, rule, algorithm, &operations, wanted, now).ok());
    let approvers = rule.map_or(0, |rule| quorum::votes(governance, rule, request, now).len());
    let approvers = u32::try_from(approvers).unwrap_or(u32::MAX);
    Moment { now, activate_at: now, deactivate_at: ends.unwrap_or(now), approvers }
}

/// What a pack's gates come to, or would come to where it is not declared; or why it is none.
pub fn asked(
    governance: &Governance,
    key: &Key,
    request: &Request,
    moment: Moment,
    pack: &Pack,
) -> Result<Vec<Finding>, Vec<Fault>> {
    let compiled = Compiled::new(pack)?;
    let standing = standing(governance, key, pack);
    Ok(compiled.evaluate(&circumstances(key, request, moment, &facts(standing))))
}

fn facts(standing: BTreeMap<&Name, &HeldFact>) -> BTreeMap<Name, Fact> {
    standing.into_iter().map(|(name, held)| (name.clone(), held.fact.clone())).collect()
}

fn circumstances<'a>(
    key: &'a Key,
    request: &'a Request,
    moment: Moment,
    facts: &'a BTreeMap<Name, Fact>,
) -> Circumstances<'a> {
    Circumstances {
        now: moment.now,
        spec: &key.spec,
        owner: key.spec.owner.as_ref(),
        key_pair: matches!(key.identity, KeyIdentity::PublicKey(_) | KeyIdentity::PublicKeyDigest(_)),
        created_at: key.created_at,
        activate_at: moment.activate_at,
        deactivate_at: moment.deactivate_at,
        legal_basis: &request.legal_basis,
        affected_systems: &request.affected_systems,
        change_ref: request.change_ref.as_ref(),
        approvers: moment.approvers,
        facts,
    }
}

/// The facts that stand for a pack's gates, each from where the pack says that it is asserted: of the key, of the tenant, or
/// of either, the key's own before the tenant's.
fn standing<'a>(governance: &'a Governance, key: &'a Key, pack: &Pack) -> BTreeMap<&'a Name, &'a HeldFact> {
    let needed = |name: &Name, scope: FactScope| {
        pack.fact(name).is_some_and(|need| need.scope == scope || need.scope == FactScope::Either)
    };
    let of_tenant = governance.facts.iter().filter(|(name, _)| needed(name, FactScope::Tenant));
    of_tenant.chain(key.facts.iter().filter(|(name, _)| needed(name, FactScope::Key))).collect()
}

fn of_pack(
    governance: &Governance,
    key: &Key,
    request: &Request,
    moment: Moment,
    declared: &DeclaredPack,
) -> PackFindings {
    let facts = facts(standing(governance, key, &declared.pack));
    let circumstances = circumstances(key, request, moment, &facts);
    let compiled = declared.compiled.0.get_or_init(|| Compiled::new(&declared.pack).ok());
    let findings = match compiled {
        Some(compiled) => compiled.evaluate(&circumstances),
        // A pack that does not compile is not let in; if one came in, nobody would know what it asks.
        None => declared.pack.gates.iter().map(unknown).collect(),
    };
    PackFindings { pack: declared.pack.name.clone(), declared: declared.hash, findings }
}

fn unknown(gate: &model::pack::Gate) -> Finding {
    Finding {
        gate: gate.name.clone(),
        clause: gate.clause.clone(),
        outcome: Outcome::Unknown,
        wants: Vec::new(),
        says: gate.says.clone(),
    }
}

/// The gates that hold an activation up, each as a refusal. INVARIANT (unknown blocks).
pub fn blocks(findings: &[PackFindings]) -> Vec<Rejection> {
    let all = findings.iter().flat_map(|pack| pack.findings.iter().map(move |finding| (&pack.pack, finding)));
    all.filter(|(_, finding)| finding.outcome.blocks()).map(|(pack, finding)| block(pack, finding)).collect()
}

fn block(pack: &Name, finding: &Finding) -> Rejection {
    let Finding { gate, clause, outcome, wants, says } = finding;
    let wants: Vec<String> = wants.iter().map(Name::to_string).collect();
    let problem = match outcome {
        Outcome::Unknown => ProblemType::GateUnknown,
        _ => ProblemType::GateNotSatisfied,
    };
    let why = match (outcome, wants.is_empty()) {
        (Outcome::Unknown, false) => format!("wants {}", wants.join(", ")),
        (Outcome::Unknown, true) => "could not be evaluated".to_owned(),
        _ => "does not hold".to_owned(),
    };
    Rejection::new(problem, format!("{pack}/{gate} ({clause}): {says}: {why}"))
        .with("pack", pack.to_string())
        .with("gate", gate.to_string())
        .with("facts", wants)
}

/// What is recorded of conditions that held, and the facts that they rest on.
pub fn held(
    governance: &Governance,
    key: &Key,
    findings: &[PackFindings],
    now: Timestamp,
) -> (Vec<ConditionHeld>, Vec<EventHash>) {
    let gates = |pack: &PackFindings, wanted: Outcome| {
        let fitting = pack.findings.iter().filter(|finding| finding.outcome == wanted);
        fitting.map(|finding| finding.gate.clone()).collect::<Vec<Name>>()
    };
    let conditions: Vec<ConditionHeld> = findings
        .iter()
        .map(|pack| ConditionHeld {
            pack: pack.pack.clone(),
            declared: pack.declared,
            satisfied: gates(pack, Outcome::Satisfied),
            not_applicable: gates(pack, Outcome::NotApplicable),
        })
        .collect();
    let mut facts: BTreeSet<EventHash> = BTreeSet::new();
    for held in &conditions {
        let Some(declared) = governance.packs.get(&held.pack) else { continue };
        let satisfied = declared.pack.gates.iter().filter(|gate| held.satisfied.contains(&gate.name));
        let needed: BTreeSet<&Name> = satisfied.flat_map(|gate| &gate.needs).collect();
        let standing = standing(governance, key, &declared.pack);
        let rests_on = standing.into_iter().filter(|(name, held)| needed.contains(name) && held.fact.is_valid(now));
        facts.extend(rests_on.map(|(_, held)| held.hash));
    }
    (conditions, facts.into_iter().collect())
}

/// The packs that the policy wants declared and that are not.
pub fn undeclared(governance: &Governance) -> Vec<Name> {
    let Some(policy) = &governance.policy else { return Vec::new() };
    policy.policy.packs.iter().filter(|name| !governance.packs.contains_key(*name)).cloned().collect()
}
