//! Whether a policy holds together: a document under which a key could be activated with no approval does not load.

use std::collections::BTreeSet;
use std::fmt;

use journal::command::SIGNATURES_MAX;
use model::policy::{Permission, Policy, Rule};
use model::{Role, Span};

/// The most people that a quorum may take: a command carries no more signatures, so a larger one could never be met.
pub const QUORUM_MAX: u8 = SIGNATURES_MAX as u8;
/// The longest that a custodian may go by what it knows: so long does a suspension take at most to reach it.
pub const STALENESS_MAX: Span = Span::from_secs(3600);

/// What is wrong with a policy: where, what, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The place in the document, such as `rule.model-storage.stage`.
    pub at: String,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub advice: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.at, self.what, self.advice)
    }
}

/// Every fault of a policy. Only one without faults can be adopted.
pub fn check(policy: &Policy) -> Vec<Fault> {
    let mut faults = Faults::default();
    if policy.schema != Policy::SCHEMA {
        faults.add("schema", format!("version {} is not known", policy.schema), "write `schema = 1`");
    }
    if policy.admin_quorum < 2 {
        let what = format!("a quorum of {} admins", policy.admin_quorum);
        faults.add("admin_quorum", what, "let at least 2 admins govern together");
    }
    faults.quorum("admin_quorum", u32::from(policy.admin_quorum));
    if !(Span::from_secs(1)..=STALENESS_MAX).contains(&policy.max_staleness) {
        faults.add("max_staleness", policy.max_staleness.to_string(), "allow 1s to 1h");
    }
    faults.roles("keys.creators", &policy.keys.creators);
    faults.span("keys.pre_active_for", policy.keys.pre_active_for);
    algorithms(policy, &mut faults);
    operations(policy, &mut faults);
    rules(policy, &mut faults);
    faults.0
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, at: &str, what: impl Into<String>, advice: &'static str) {
        self.0.push(Fault { at: at.to_owned(), what: what.into(), advice });
    }

    fn roles(&mut self, at: &str, roles: &BTreeSet<Role>) {
        if roles.is_empty() {
            self.add(at, "no role is named", "name at least one role");
        }
    }

    fn quorum(&mut self, at: &str, quorum: u32) {
        if quorum > u32::from(QUORUM_MAX) {
            self.add(at, format!("a quorum of {quorum}"), "ask for at most 32");
        }
    }

    fn span(&mut self, at: &str, span: Span) {
        if span == Span::ZERO {
            self.add(at, "no time at all", "allow some time, such as `30d`");
        }
    }
}

fn algorithms(policy: &Policy, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    if policy.algorithms.is_empty() {
        faults.add("algorithm", "no algorithm is allowed", "add an [[algorithm]] with a name and a crypto_period");
    }
    for algorithm in &policy.algorithms {
        let at = format!("algorithm.{}", algorithm.name);
        faults.span(&format!("{at}.crypto_period"), algorithm.crypto_period);
        if !seen.insert(algorithm.name) {
            faults.add(&at, "it stands twice", "keep one");
        }
    }
}

fn operations(policy: &Policy, faults: &mut Faults) {
    let operations = &policy.operations;
    let named: [(&str, &Permission); 6] = [
        ("activate", &operations.activate),
        ("suspend", &operations.suspend),
        ("resume", &operations.resume),
        ("deactivate", &operations.deactivate),
        ("compromise", &operations.compromise),
        ("destroy", &operations.destroy),
    ];
    for (name, permission) in named {
        let at = format!("operations.{name}");
        faults.roles(&format!("{at}.roles"), &permission.roles);
        if permission.quorum == 0 {
            faults.add(&format!("{at}.quorum"), "a quorum of nobody", "ask for at least 1");
        }
        faults.quorum(&format!("{at}.quorum"), u32::from(permission.quorum));
    }
}

fn rules(policy: &Policy, faults: &mut Faults) {
    if policy.rules.is_empty() {
        faults.add("rule", "there is no rule", "add a [[rule]] that says what approval takes");
    }
    let mut seen = BTreeSet::new();
    for (place, rule) in policy.rules.iter().enumerate() {
        let at = format!("rule.{}", rule.name);
        if !seen.insert(&rule.name) {
            faults.add(&at, "two rules have this name", "give each rule a name of its own");
        }
        let before = policy.rules.iter().take(place);
        if let Some(wider) = before.into_iter().find(|before| before.when.includes(&rule.when)) {
            let what = format!("never reached: rule `{}` before it matches every key that it matches", wider.name);
            faults.add(&format!("{at}.when"), what, "put the narrower rule first");
        }
        stages(&at, rule, faults);
    }
}

fn stages(at: &str, rule: &Rule, faults: &mut Faults) {
    faults.roles(&format!("{at}.requesters"), &rule.requesters);
    faults.roles(&format!("{at}.users"), &rule.users);
    faults.span(&format!("{at}.request_valid_for"), rule.request_valid_for);
    faults.span(&format!("{at}.approval_valid_for"), rule.approval_valid_for);
    if rule.stages.is_empty() {
        let what = "keys could be activated with no approval";
        faults.add(&format!("{at}.stage"), what, "add a [[rule.stage]] with a role and a quorum of at least 1");
    }
    faults.quorum(&format!("{at}.stage"), rule.stages.iter().map(|stage| u32::from(stage.quorum)).sum());
    for stage in &rule.stages {
        if stage.quorum == 0 {
            let what = format!("a quorum of nobody for `{}`", stage.role);
            faults.add(&format!("{at}.stage"), what, "ask for at least 1, or remove the stage");
        }
    }
}
