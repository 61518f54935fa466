//! The gates of a legal pack: what its conditions come to for a key, at a time, under the facts that are known.
//!
//! A gate is satisfied, not satisfied, unknown, or not applicable. INVARIANT (unknown blocks): knowing less never opens a
//! gate. With a fact taken away, a gate's outcome stays or becomes unknown; it never becomes satisfied, nor not
//! applicable. Three things make it so:
//!
//! - A condition can read facts only, not ask whether they are there: `has` is refused on facts, and so is every use of
//!   `context.facts` as a whole. A fact that is missing, expired, too old or of the wrong kind is not in the context at
//!   all, so reading it is an error.
//! - Every error of Cedar is unknown. Cedar skips a rule whose evaluation errs; the errors of its answer are looked at.
//! - `require` counts only where all facts that the gate needs are there.
//!
//! `when` is asked first: a gate that does not apply wants no facts, and one whose `when` errs is unknown.
//!
//! # What a condition sees
//!
//! [`ATTRIBUTES`], and for each fact that the pack declares `context.facts["<name>"]` (its value) and
//! `context.ages["<name>"]` (how long ago it was asserted). Times are Cedar's `datetime` and lengths of time its
//! `duration`, so a pack says `context.now <= context.facts["screened-at"].offset(duration("24h"))` and no number of
//! milliseconds. Conditions are checked against a schema of all this when a pack is read, so that a typo is found then
//! and not when a key is waiting.
//!
//! # The same answer everywhere
//!
//! Same pack, facts and circumstances: same findings, on every machine, for ever. So the version of Cedar is pinned and
//! belongs to the rules epoch; conditions are bounded in length and depth, and evaluated on a stack of known size,
//! because Cedar takes a short stack for an error (docs/decisions/0006-cedar-legal-packs.md).

mod attributes;
mod check;
mod condition;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Entities, EntityId, EntityTypeName, EntityUid, PolicyId, PolicySet,
    Request, Response,
};
use model::pack::{Fact, Gate, Pack};
use model::{KeySpec, Name, Text, Timestamp};
use serde::{Deserialize, Serialize};

pub use self::attributes::{ATTRIBUTES, Attribute};
pub use self::check::check;
pub use self::condition::{CONDITION_BRACKETS_MAX, CONDITION_CHARS_MAX, CONDITION_DEPTH_MAX};
use crate::policy::Fault;

/// What a gate comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Its condition holds.
    Satisfied,
    /// Its condition does not hold.
    NotSatisfied,
    /// Whether it holds can't be said: a fact is missing, or the evaluation failed.
    Unknown,
    /// It is not about this key, or its pack is not in effect.
    NotApplicable,
}

impl Outcome {
    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Satisfied => "satisfied",
            Self::NotSatisfied => "not-satisfied",
            Self::Unknown => "unknown",
            Self::NotApplicable => "not-applicable",
        }
    }

    /// Whether it stands in the way of activation.
    pub fn blocks(self) -> bool {
        matches!(self, Self::NotSatisfied | Self::Unknown)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What one gate came to, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The gate.
    pub gate: Name,
    /// The provision that it comes from.
    pub clause: Text,
    /// What it came to.
    pub outcome: Outcome,
    /// Where it is unknown, the facts that it could not have: missing, expired, too old or of the wrong kind. Empty where
    /// the evaluation failed for another reason.
    pub wants: Vec<Name>,
    /// What holds when it is satisfied.
    pub says: Text,
}

/// What the gates are asked about.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The time of the decision.
    pub now: Timestamp,
    /// What the key is for.
    pub spec: &'a KeySpec,
    /// Who owns the key.
    pub owner: Option<&'a Name>,
    /// Whether it is a key pair.
    pub key_pair: bool,
    /// When it was generated.
    pub created_at: Timestamp,
    /// When use begins.
    pub activate_at: Timestamp,
    /// When use ends.
    pub deactivate_at: Timestamp,
    /// The provisions that the request names.
    pub legal_basis: &'a [Text],
    /// The systems and services that will use the key.
    pub affected_systems: &'a [Text],
    /// The change that the request belongs to.
    pub change_ref: Option<&'a Text>,
    /// How many distinct people approved.
    pub approvers: u32,
    /// What is known: the tenant's facts, with the key's own in front of them.
    pub facts: &'a BTreeMap<Name, Fact>,
}

/// A pack whose conditions were read and found in order. Cheap to clone and to share between threads.
#[derive(Clone, Debug)]
pub struct Compiled(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pack: Pack,
    authorizer: Authorizer,
    /// Each condition as a Cedar policy of its own. All are asked at once.
    conditions: PolicySet,
    gates: Vec<Plan>,
    /// Cedar asks who does what to what; here that is always the same.
    subject: [EntityUid; 3],
}

/// A gate's conditions.
#[derive(Debug)]
struct Plan {
    when: Option<Asked>,
    require: Asked,
}

/// A condition and the facts that it reads.
#[derive(Debug)]
struct Asked {
    id: PolicyId,
    reads: BTreeSet<Name>,
}

impl Compiled {
    /// Reads a pack's conditions, once. A pack with faults is not read.
    pub fn new(pack: &Pack) -> Result<Self, Vec<Fault>> {
        condition::reading(|| check::read(pack)).map(|inner| Self(Arc::new(inner)))
    }

    /// The pack.
    pub fn pack(&self) -> &Pack {
        &self.0.pack
    }

    /// What each gate comes to, in the pack's order.
    pub fn evaluate(&self, circumstances: &Circumstances<'_>) -> Vec<Finding> {
        let Inner { pack, gates, .. } = &*self.0;
        if !pack.is_effective(circumstances.now) {
            return pack.gates.iter().map(|gate| finding(gate, Outcome::NotApplicable, Vec::new())).collect();
        }
        let facts = attributes::usable(pack, circumstances);
        let answer = condition::evaluating(|| self.0.ask(circumstances, &facts));
        let judged = pack.gates.iter().zip(gates);
        judged.map(|(gate, plan)| plan.judge(gate, &facts, answer.as_ref())).collect()
    }
}

impl Inner {
    /// Asks all conditions. `None` where Cedar could not even be asked.
    fn ask(&self, circumstances: &Circumstances<'_>, facts: &BTreeMap<&Name, &Fact>) -> Option<Answer<'_>> {
        let context: Context = attributes::context(circumstances, facts)?;
        let [principal, action, resource] = self.subject.clone();
        let request = Request::new(principal, action, resource, context, None).ok()?;
        Some(Answer::of(self, &self.authorizer.is_authorized(&request, &self.conditions, &Entities::empty())))
    }
}

/// What Cedar said: which conditions hold, and which could not be evaluated. The rest do not hold.
struct Answer<'a> {
    hold: HashSet<&'a PolicyId>,
    failed: HashSet<&'a PolicyId>,
}

impl<'a> Answer<'a> {
    fn of(inner: &'a Inner, response: &Response) -> Self {
        let held: HashSet<&PolicyId> = response.diagnostics().reason().collect();
        let erred: HashSet<&PolicyId> = response
            .diagnostics()
            .errors()
            .map(|AuthorizationError::PolicyEvaluationError(error)| error.policy_id())
            .collect();
        let asked = inner.gates.iter().flat_map(|plan| plan.when.iter().chain([&plan.require])).map(|asked| &asked.id);
        Self {
            hold: asked.clone().filter(|id| held.contains(id)).collect(),
            failed: asked.filter(|id| erred.contains(id)).collect(),
        }
    }

    /// Whether a condition holds. `None` where that can't be said.
    fn holds(&self, asked: &Asked) -> Option<bool> {
        (!self.failed.contains(&asked.id)).then(|| self.hold.contains(&asked.id))
    }
}

impl Plan {
    fn judge(&self, gate: &Gate, facts: &BTreeMap<&Name, &Fact>, answer: Option<&Answer<'_>>) -> Finding {
        let missing = |names: &BTreeSet<Name>| -> Vec<Name> {
            names.iter().filter(|name| !facts.contains_key(name)).cloned().collect()
        };
        let Some(answer) = answer else { return finding(gate, Outcome::Unknown, missing(&gate.needs)) };
        match self.when.as_ref().map(|when| (answer.holds(when), when)) {
            Some((None, when)) => return finding(gate, Outcome::Unknown, missing(&when.reads)),
            Some((Some(false), _)) => return finding(gate, Outcome::NotApplicable, Vec::new()),
            Some((Some(true), _)) | None => {}
        }
        let wants = missing(&gate.needs);
        let outcome = match answer.holds(&self.require) {
            _ if !wants.is_empty() => Outcome::Unknown,
            None => Outcome::Unknown,
            Some(true) => Outcome::Satisfied,
            Some(false) => Outcome::NotSatisfied,
        };
        finding(gate, outcome, wants)
    }
}

fn finding(gate: &Gate, outcome: Outcome, wants: Vec<Name>) -> Finding {
    Finding { gate: gate.name.clone(), clause: gate.clause.clone(), outcome, wants, says: gate.says.clone() }
}

/// `Person::"it"` activates `Key::"it"`: the types that the schema names.
fn subject() -> Option<[EntityUid; 3]> {
    let one = |kind: &str, id: &str| {
        let kind: EntityTypeName = kind.parse().ok()?;
        Some(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
    };
    Some([one("Person", "it")?, one("Action", "activate")?, one("Key", "it")?])
}
