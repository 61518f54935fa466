//! Whether a policy holds together: a document under which a key could be activated with no approval does not load.

use std::collections::BTreeSet;
use std::fmt;

use journal::command::SIGNATURES_MAX;
use model::key::{Party, Responsibility};
use model::people::PrincipalKind;
use model::policy::{MANIFEST_MAX, Match, Need, Operations, Permission, Policy, Rule};
use model::statement::SHARES_MAX;
use model::{Principal, Role, Span};

use crate::quorum::{self, Missing, Vote};
use crate::sealing;
use crate::state::Governance;

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
    if !(1..=Policy::SCHEMA).contains(&policy.schema) {
        faults.add("schema", format!("version {} is not known", policy.schema), "write `schema = 4`");
    }
    let unknown = format!("it says what version {} does not know", policy.schema);
    if (1..4).contains(&policy.schema) && policy.is_beyond_v3() {
        faults.add("schema", unknown, "write `schema = 4`");
    } else if (1..3).contains(&policy.schema) && policy.is_beyond_v2() {
        faults.add("schema", unknown, "write `schema = 3`");
    } else if policy.schema == 1 && policy.is_beyond_v1() {
        faults.add("schema", unknown, "write `schema = 2`");
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
    waiting(policy, &mut faults);
    people(policy, &mut faults);
    stores(policy, &mut faults);
    evidence(policy, &mut faults);
    facts(policy, &mut faults);
    rules(policy, &mut faults);
    faults.0
}

/// What people a policy asks for that the tenant does not have: a role that nobody holds, a quorum larger than those who
/// could make it up. Such a policy holds together and can't be lived with, so it is not adopted either.
pub fn holes(policy: &Policy, governance: &Governance) -> Vec<Fault> {
    let mut faults = Faults::default();
    let people: Vec<&Principal> = governance.members().collect();
    let admins = distinct(&people, |principal| principal.roles.iter().any(Role::is_admin));
    faults.able("admin_quorum", admins, usize::from(policy.admin_quorum), "`admin`");
    for (at, permission) in permissions(policy) {
        let able = distinct(&people, |principal| !principal.roles.is_disjoint(&permission.roles));
        faults.able(&at, able, usize::from(permission.quorum), &names(&permission.roles));
    }
    let voters: Vec<&Principal> =
        people.iter().copied().filter(|principal| principal.kind == PrincipalKind::Person).collect();
    for rule in &policy.rules {
        let at = format!("rule.{}", rule.name);
        for (what, roles) in [("requesters", &rule.requesters), ("users", &rule.users)] {
            let able = people.iter().filter(|principal| !principal.roles.is_disjoint(roles)).count();
            faults.able(&format!("{at}.{what}"), able, 1, &names(roles));
        }
        for (place, stage) in rule.stages.iter().enumerate() {
            let able = distinct(&voters, |principal| Vote::by(principal).fits(stage));
            let wanted = Missing { stage: stage.clone(), count: usize::from(stage.quorum) };
            faults.able(&format!("{at}.stage.{}", place + 1), able, usize::from(stage.quorum), &wanted.to_string());
        }
        if let Some(threshold) = rule.sealed {
            let wanted = usize::from(threshold);
            let (holders, _) = sealing::holders(governance, rule, None);
            let others = |asker: &Principal| holders.keys().filter(|person| **person != asker.person).count();
            let able = people.iter().filter(|asker| may_ask(rule, asker)).map(|asker| others(asker)).max();
            if able.is_some_and(|able| able < wanted) {
                let what = format!(
                    "{wanted} shares open a key, and {} who approve what others ask for have a sealing key",
                    able.unwrap_or_default()
                );
                faults.add(
                    &format!("{at}.sealed"),
                    what,
                    "have more of them run `keylatch principal sealing-key` first",
                );
            }
        }
        if faults.0.iter().any(|fault| fault.at.starts_with(&format!("{at}."))) {
            continue;
        }
        if quorum::smallest(rule, &[], &voters).is_none() {
            let what = "its stages can't all be filled: each person has one vote, in one of them";
            faults.add(&format!("{at}.stage"), what, "enrol more people, or ask for fewer");
        } else if !people.iter().filter(|asker| may_ask(rule, asker)).any(|asker| can_pass(rule, asker, &voters)) {
            let what = "whoever could ask is needed among those who approve, and nobody approves what they asked for";
            faults.add(&format!("{at}.stage"), what, "enrol somebody who asks, or who approves, and not both");
        }
    }
    let creators = people.iter().filter(|principal| !principal.roles.is_disjoint(&policy.keys.creators)).count();
    faults.able("keys.creators", creators, 1, &names(&policy.keys.creators));
    if let Some(export) = &policy.evidence.export {
        let able = people.iter().filter(|principal| !principal.roles.is_disjoint(&export.roles)).count();
        faults.able("evidence.export.roles", able, 1, &names(&export.roles));
    }
    faults.0
}

fn may_ask(rule: &Rule, asker: &Principal) -> bool {
    asker.kind == PrincipalKind::Person && !asker.roles.is_disjoint(&rule.requesters)
}

/// Whether what somebody asks for can be approved by the others.
fn can_pass(rule: &Rule, asker: &Principal, voters: &[&Principal]) -> bool {
    let others: Vec<&Principal> = voters.iter().copied().filter(|voter| voter.person != asker.person).collect();
    quorum::smallest(rule, &[], &others).is_some()
}

/// What nobody here could do that a policy leaves to somebody: say a fact, look at the keys that wait, draw on a standing
/// authorisation; and the facts that packs in force need and the policy lists for nobody. Such a policy is taken, and what
/// hangs on it never comes to be; so it is shown.
pub fn idle(policy: &Policy, governance: &Governance) -> Vec<Fault> {
    let mut faults = Faults::default();
    let people: Vec<&Principal> = governance.members().collect();
    let mut held = |at: String, roles: &BTreeSet<Role>, by_people: bool| {
        let may = |principal: &&&Principal| {
            (!by_people || principal.kind == PrincipalKind::Person) && !principal.roles.is_disjoint(roles)
        };
        faults.able(&at, people.iter().filter(may).count(), 1, &names(roles));
    };
    for fact in &policy.facts {
        held(format!("fact.{}.roles", fact.name), &fact.roles, true);
    }
    if let Some(revalidation) = &policy.keys.revalidation {
        held("keys.revalidation.roles".to_owned(), &revalidation.roles, true);
    }
    for rule in &policy.rules {
        if let Some(standing) = &rule.standing {
            held(format!("rule.{}.standing.users", rule.name), &standing.users, false);
        }
    }
    for declared in governance.packs.values().filter(|declared| declared.is_applied()) {
        for fact in declared.pack.facts.iter().filter(|fact| policy.fact(&fact.name).is_none()) {
            let what = format!(
                "`{}` is applied and needs the fact `{}`, which nobody may assert",
                declared.pack.name, fact.name
            );
            faults.add("fact", what, "add a [[fact]] with its name, roles and valid_max");
        }
    }
    faults.0
}

/// The keys that no rule is for, layer by layer: nobody can have them made. That is safe, and may be meant; so it is shown,
/// and refused key by key.
pub fn gaps(policy: &Policy) -> Vec<Fault> {
    let mut faults = Faults::default();
    let covers = |rule: &Rule, layer: Responsibility| {
        let elsewhere = Match { responsibility: BTreeSet::new(), ..rule.when.clone() };
        let layers = &rule.when.responsibility;
        rule.break_glass.is_none() && elsewhere == Match::default() && (layers.is_empty() || layers.contains(&layer))
    };
    for layer in Responsibility::ALL {
        // Names are without number: only a rule that leaves a member open is for all of them.
        if !policy.rules.iter().any(|rule| covers(rule, layer)) {
            let what = format!("there are `{layer}` keys that no rule is for");
            faults.add("rule", what, "add a last [[rule]] for them, unless nobody is to have such keys");
        }
    }
    faults.0
}

/// Each place in the document that asks for a quorum of people who hold a role, stages aside.
fn permissions(policy: &Policy) -> Vec<(String, &Permission)> {
    let mut all: Vec<(String, &Permission)> = named_operations(&policy.operations)
        .into_iter()
        .map(|(name, permission)| (format!("operations.{name}"), permission))
        .collect();
    if let Some(review) = &policy.people.access_review {
        all.push(("people.access_review.by".to_owned(), &review.by));
    }
    if let Some(evaluation) = &policy.evidence.evaluation {
        all.push(("evidence.evaluation.by".to_owned(), &evaluation.by));
    }
    if let Some(holds) = &policy.holds {
        all.extend([("holds.place".to_owned(), &holds.place), ("holds.lift".to_owned(), &holds.lift)]);
    }
    for rule in &policy.rules {
        if let Some(break_glass) = &rule.break_glass {
            all.push((format!("rule.{}.break_glass.reviewers", rule.name), &break_glass.reviewers));
        }
    }
    all
}

/// How many human beings among these principals fit.
fn distinct(people: &[&Principal], fits: impl Fn(&Principal) -> bool) -> usize {
    let fitting = people.iter().filter(|principal| principal.kind == PrincipalKind::Person && fits(principal));
    fitting.map(|principal| &principal.person).collect::<BTreeSet<_>>().len()
}

fn names(roles: &BTreeSet<Role>) -> String {
    roles.iter().map(|role| format!("`{role}`")).collect::<Vec<_>>().join(" or ")
}

/// The parties whose duty keys of a layer are and whom a rule leaves out, where it is shared by several: each needs a
/// stage of its own (AICM: ownership of orchestrated keys).
pub fn parties_missing(policy: &Policy, rule: &Rule, layer: Responsibility) -> Vec<Party> {
    let parties = layer.parties();
    if policy.schema < 2 || parties.len() < 2 {
        return Vec::new();
    }
    let has_stage =
        |party: &Party| rule.need == Need::All && rule.stages.iter().any(|stage| stage.party == Some(*party));
    parties.iter().filter(|party| !has_stage(party)).copied().collect()
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

    fn able(&mut self, at: &str, able: usize, wanted: usize, whom: &str) {
        match able {
            0 if wanted > 0 => self.add(at, format!("nobody here for {whom}"), "enrol somebody with that role first"),
            able if able < wanted => {
                let what = format!("{wanted} people are asked for, and {able} could be among them ({whom})");
                self.add(at, what, "enrol more people with that role, or ask for fewer");
            }
            _ => {}
        }
    }

    fn at_least(&mut self, at: &str, span: Span, least: Span, advice: &'static str) {
        if span < least {
            self.add(at, format!("{span} is too short"), advice);
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
        if algorithm.name == model::Algorithm::Other {
            faults.add(&at, "it is no algorithm of Keylatch's", "name one that is");
        }
        faults.span(&format!("{at}.crypto_period"), algorithm.crypto_period);
        for (place, period) in algorithm.uses.iter().enumerate() {
            let at = format!("{at}.use.{}", place + 1);
            faults.span(&format!("{at}.crypto_period"), period.crypto_period);
            if period.operations.is_empty() || !period.operations.is_subset(&algorithm.name.operations()) {
                let what = format!("operations that `{}` keys do not do, or none", algorithm.name);
                faults.add(&format!("{at}.operations"), what, "name operations that its keys do");
            }
            if period.crypto_period > algorithm.crypto_period {
                let what =
                    format!("{} is longer than the algorithm's {}", period.crypto_period, algorithm.crypto_period);
                faults.add(&format!("{at}.crypto_period"), what, "make it shorter: the shortest period counts");
            }
        }
        if let (Some(from), Some(until)) = (algorithm.allowed_from, algorithm.allowed_until)
            && until <= from
        {
            faults.add(&format!("{at}.allowed_until"), format!("{until} is not after {from}"), "turn the dates around");
        }
        if !seen.insert(algorithm.name) {
            faults.add(&at, "it stands twice", "keep one");
        }
    }
}

/// The permissions by their names in the document.
fn named_operations(operations: &Operations) -> [(&'static str, &Permission); 6] {
    [
        ("activate", &operations.activate),
        ("suspend", &operations.suspend),
        ("resume", &operations.resume),
        ("deactivate", &operations.deactivate),
        ("compromise", &operations.compromise),
        ("destroy", &operations.destroy),
    ]
}

fn operations(policy: &Policy, faults: &mut Faults) {
    for (at, permission) in permissions(policy) {
        faults.roles(&format!("{at}.roles"), &permission.roles);
        if permission.quorum == 0 {
            faults.add(&format!("{at}.quorum"), "a quorum of nobody", "ask for at least 1");
        }
        faults.quorum(&format!("{at}.quorum"), u32::from(permission.quorum));
    }
}

fn waiting(policy: &Policy, faults: &mut Faults) {
    if let Some(revalidation) = &policy.keys.revalidation {
        faults.roles("keys.revalidation.roles", &revalidation.roles);
        faults.span("keys.revalidation.every", revalidation.every);
        if revalidation.every > policy.keys.pre_active_for {
            let what = format!("{} is longer than keys wait at all", revalidation.every);
            faults.add("keys.revalidation.every", what, "make it shorter than `keys.pre_active_for`, or leave it out");
        }
    }
    let waits = policy.keys.revalidation.as_ref().map_or(policy.keys.pre_active_for, |rule| rule.every);
    if let Some(before) = policy.keys.warn_before.filter(|before| *before >= waits) {
        let what = format!("{before} is no shorter than the time it is to warn of, {waits}");
        faults.add("keys.warn_before", what, "warn later, so that the warning says something");
    }
}

fn people(policy: &Policy, faults: &mut Faults) {
    if let Some(max) = policy.people.delegation_max {
        faults.span("people.delegation_max", max);
    }
    if let Some(review) = &policy.people.access_review {
        faults.span("people.access_review.every", review.every);
        if let Some(before) = review.warn_before.filter(|before| *before >= review.every) {
            let what = format!("{before} is no shorter than {}", review.every);
            faults.add("people.access_review.warn_before", what, "warn later");
        }
    }
    if let Some(age) = policy.parents.proof_max_age {
        faults.span("parents.proof_max_age", age);
        if policy.parents.trusted_roots.is_empty() {
            let what = "no root is trusted, so no proof can hold";
            faults.add("parents.trusted_roots", what, "name the other platform's root fingerprint");
        }
    }
}

/// The shortest heartbeat: each is an event of its own.
pub const HEARTBEAT_MIN: Span = Span::from_secs(60);
/// The shortest time between comparisons of a store with the chain.
pub const RECONCILE_EVERY_MIN: Span = Span::from_secs(60);
/// The shortest time between probes, and between bundles that are made by themselves.
pub const EVIDENCE_EVERY_MIN: Span = Span::from_secs(3600);
/// The shortest time between evaluations of the control.
pub const EVALUATION_EVERY_MIN: Span = Span::from_secs(24 * 3600);

fn stores(policy: &Policy, faults: &mut Faults) {
    if let Some(every) = policy.stores.reconcile_every {
        faults.at_least("stores.reconcile_every", every, RECONCILE_EVERY_MIN, "allow at least 1m");
    }
}

fn evidence(policy: &Policy, faults: &mut Faults) {
    let rules = &policy.evidence;
    if let Some(heartbeat) = rules.heartbeat {
        faults.at_least("evidence.heartbeat", heartbeat, HEARTBEAT_MIN, "allow at least 1m");
    }
    if let Some(export) = &rules.export {
        faults.roles("evidence.export.roles", &export.roles);
        if let Some(every) = export.every {
            faults.at_least("evidence.export.every", every, EVIDENCE_EVERY_MIN, "allow at least 1h");
        }
    }
    if let Some(probes) = &rules.probes {
        faults.at_least("evidence.probes.every", probes.every, EVIDENCE_EVERY_MIN, "allow at least 1h");
    }
    if let Some(evaluation) = &rules.evaluation {
        faults.at_least("evidence.evaluation.every", evaluation.every, EVALUATION_EVERY_MIN, "allow at least 1d");
        if let Some(before) = evaluation.warn_before.filter(|before| *before >= evaluation.every) {
            let what = format!("{before} is no shorter than {}", evaluation.every);
            faults.add("evidence.evaluation.warn_before", what, "warn later");
        }
    }
}

fn facts(policy: &Policy, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for fact in &policy.facts {
        let at = format!("fact.{}", fact.name);
        faults.roles(&format!("{at}.roles"), &fact.roles);
        faults.span(&format!("{at}.valid_max"), fact.valid_max);
        if !seen.insert(&fact.name) {
            faults.add(&at, "it stands twice", "keep one");
        }
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
        let before = before.filter(|before| before.break_glass.is_some() == rule.break_glass.is_some());
        if let Some(wider) = before.into_iter().find(|before| before.when.includes(&rule.when)) {
            let what = format!("never reached: rule `{}` before it matches every key that it matches", wider.name);
            faults.add(&format!("{at}.when"), what, "put the narrower rule first");
        }
        stages(&at, rule, faults);
        shared(policy, &at, rule, faults);
        bounds(&at, rule, faults);
        sealed(&at, rule, faults);
    }
    if policy.schema >= 2 && policy.rules.iter().all(|rule| rule.break_glass.is_some()) {
        faults.add("rule", "every rule is for emergencies", "add a rule for everyday activations");
    }
}

/// Keys whose duty is shared need a stage of each party.
fn shared(policy: &Policy, at: &str, rule: &Rule, faults: &mut Faults) {
    for layer in Responsibility::ALL {
        if !rule.when.responsibility.is_empty() && !rule.when.responsibility.contains(&layer) {
            continue;
        }
        for party in parties_missing(policy, rule, layer) {
            let what =
                format!("it matches `{layer}` keys, which are the {party}'s duty too, and has no stage of the {party}");
            let advice = "add a [[rule.stage]] with `party`, or narrow `when.responsibility`";
            faults.add(&format!("{at}.stage"), what, advice);
        }
    }
}

fn bounds(at: &str, rule: &Rule, faults: &mut Faults) {
    if let Some(break_glass) = &rule.break_glass {
        faults.span(&format!("{at}.break_glass.life"), break_glass.life);
        faults.span(&format!("{at}.break_glass.review_within"), break_glass.review_within);
        if rule.standing.is_some() || rule.manifest_max.is_some() {
            let what = "an emergency is one key's";
            faults.add(&format!("{at}.break_glass"), what, "leave `standing` and `manifest_max` to other rules");
        }
    }
    if let Some(standing) = &rule.standing {
        faults.span(&format!("{at}.standing.window_max"), standing.window_max);
        faults.roles(&format!("{at}.standing.users"), &standing.users);
        if standing.count_max == 0 {
            faults.add(&format!("{at}.standing.count_max"), "for no key at all", "allow at least 1, or leave it out");
        }
    }
    if let Some(most) = rule.manifest_max.filter(|most| !(1..=MANIFEST_MAX).contains(most)) {
        faults.add(&format!("{at}.manifest_max"), format!("{most} keys"), "allow 1 to 10000");
    }
    if rule.requires.attestation && rule.standing.is_some() {
        let what = "keys that are still to come have no attestation that people could sign for";
        faults.add(&format!("{at}.requires.attestation"), what, "leave `standing` to another rule");
    }
    if rule.in_order && rule.need == Need::Any {
        let what = "one stage will do, so there is no order";
        faults.add(&format!("{at}.in_order"), what, "leave out `in_order`, or write `need = \"all\"`");
    }
}

/// A sealed key is opened by those who approve it, one key at a time.
fn sealed(at: &str, rule: &Rule, faults: &mut Faults) {
    let Some(threshold) = rule.sealed else { return };
    let at = format!("{at}.sealed");
    let approvals = sealing::approvals(rule);
    if threshold < 2 {
        faults.add(&at, format!("{threshold} shares would open a key"), "ask for at least 2, or leave it out");
    } else if usize::from(threshold) > SHARES_MAX {
        faults.add(&at, format!("{threshold} shares"), "ask for at most 16");
    } else if u32::from(threshold) > approvals {
        let what = format!("{threshold} shares open a key, and {approvals} people approve one");
        faults.add(&at, what, "ask for no more than the stages take people together");
    }
    let others = [
        (
            rule.standing.is_some(),
            "`standing` is for keys that are still to come, and shares are of a key that is there",
        ),
        (rule.manifest_max.is_some(), "`manifest_max` is for many keys, and an approval brings a share of one"),
        (rule.break_glass.is_some(), "a key is sealed when it is generated, under the rule for every day"),
    ];
    for (_, what) in others.into_iter().filter(|(is_there, _)| *is_there) {
        faults.add(&at, what, "leave one of the two to another rule");
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
    for (place, stage) in rule.stages.iter().enumerate() {
        if stage.quorum == 0 {
            let what = format!("a quorum of nobody for `{}`", stage.role);
            faults.add(&format!("{at}.stage.{}", place + 1), what, "ask for at least 1, or remove the stage");
        }
    }
}
