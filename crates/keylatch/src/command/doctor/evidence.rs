//! What is missing for evidence: documents, stores, evaluations, probes, bundles.

use lifecycle::Governance;
use lifecycle::state::TenantDeadline;
use model::event::Deadline;
use model::{Name, Policy, Timestamp};

use super::Check;
use crate::command::procedure::{points, uncovered};
use crate::command::store::unregistered;
use crate::layout::{relative, time};
use crate::session::Session;
use crate::words::counted;

/// The rules epoch since which all of this can be recorded.
const SINCE: u32 = 3;

/// Everything, in order.
pub(super) fn checks(session: &Session) -> Vec<Check> {
    let Some(governance) = session.state().governance.as_deref() else { return Vec::new() };
    if governance.authority.rules < SINCE {
        let found = format!(
            "the rules are of epoch {}: no documents, stores, probes or evaluations",
            governance.authority.rules
        );
        let advice = format!("have the root sign a statement with rules epoch {SINCE}");
        return vec![Check::doubtful("evidence", found, advice)];
    }
    let Some(policy) = governance.policy.as_ref().map(|held| &held.policy) else { return Vec::new() };
    let now = session.now();
    let checks = [procedures(governance, now), stores(session), evaluation(governance, policy, now), bundles(policy)];
    checks.into_iter().chain(probes(policy)).collect()
}

fn procedures(governance: &Governance, now: Timestamp) -> Check {
    const NAME: &str = "procedures";
    let overdue: Vec<&str> =
        governance.documents.iter().filter(|(_, held)| held.review_by <= now).map(|(name, _)| name.as_str()).collect();
    if !overdue.is_empty() {
        let found = format!("the review is overdue of {}", overdue.join(", "));
        return Check::doubtful(NAME, found, "look at them, and adopt them anew: `keylatch procedure adopt`");
    }
    let uncovered = uncovered(governance);
    if !uncovered.is_empty() {
        let found = format!("no document covers point {}", points(&uncovered));
        let advice = "adopt procedures that say how it is done: `keylatch procedure adopt --help`";
        return Check::doubtful(NAME, found, advice);
    }
    Check::good(NAME, format!("{} cover every point", counted(governance.documents.len(), "document")))
}

fn stores(session: &Session) -> Check {
    const NAME: &str = "stores";
    let missing: Vec<&str> = unregistered(session.state()).into_iter().map(Name::as_str).collect();
    if !missing.is_empty() {
        let found = format!("keys are in stores that are not registered: {}", missing.join(", "));
        return Check::doubtful(
            NAME,
            found,
            "say which server and database they are: `keylatch store register --help`",
        );
    }
    let registered = session.state().governance.as_ref().map_or(0, |governance| governance.stores.len());
    Check::good(NAME, format!("{} registered, and keys are in no other", counted(registered, "store")))
}

fn evaluation(governance: &Governance, policy: &Policy, now: Timestamp) -> Check {
    const NAME: &str = "evaluation";
    if policy.evidence.evaluation.is_none() {
        let advice = "add [evidence.evaluation] to the policy: who signs what the control tests came to, how often";
        return Check::doubtful(NAME, "the policy asks for none", advice);
    }
    let is_it = |one: &&TenantDeadline| one.deadline == Deadline::ControlEvaluation;
    match governance.deadlines.iter().find(is_it) {
        Some(due) if due.missed || due.at <= now => {
            let found = format!("it was due {}, and is not signed", time(due.at));
            Check::doubtful(NAME, found, "sign it: `keylatch controls evaluate`")
        }
        Some(due) if governance.policy.as_ref().is_some_and(|held| held.hash == due.cause) => {
            let found = format!("none is signed yet under this policy; the first is due {}", relative(due.at, now));
            Check::doubtful(NAME, found, "sign one: `keylatch controls evaluate`")
        }
        Some(due) => Check::good(NAME, format!("the next is due {}", relative(due.at, now))),
        None => Check::doubtful(NAME, "no date is set", "sign one: `keylatch controls evaluate`"),
    }
}

/// Whether any are asked for; whether they can be made is looked at where they are.
fn probes(policy: &Policy) -> Option<Check> {
    let advice = "add [evidence] probes = { every = \"1d\" } to the policy";
    policy.evidence.probes.is_none().then(|| Check::doubtful("probes", "the policy asks for none", advice))
}

fn bundles(policy: &Policy) -> Check {
    const NAME: &str = "bundles";
    match &policy.evidence.export {
        None => {
            let advice = "add [evidence] export = { roles = [\"auditor\"], every = \"30d\" } to the policy";
            Check::doubtful(NAME, "the policy lets nobody have bundles made", advice)
        }
        Some(rule) => {
            let roles: Vec<String> = rule.roles.iter().map(ToString::to_string).collect();
            let every = rule.every.map_or_else(String::new, |every| format!(", and one is made every {every}"));
            Check::good(NAME, format!("{} may have them made{every}", roles.join(", ")))
        }
    }
}
