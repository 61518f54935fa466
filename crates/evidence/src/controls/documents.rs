//! Define and evaluate: what the tenant stands by in writing, what it tries, what it signs about the tests (point 11, and the
//! control's other verbs).

use std::collections::{BTreeMap, BTreeSet};

use model::event::Deadline;
use model::evidence::{ControlPoint, DispositionKind, DocumentKind, Probe, ProbeOutcome};
use model::{KeyState, Name, Timestamp};

use super::{About, ControlTest, FOLLOWS_WITHIN, Fault, Scope, Test, counted};
use crate::history::{AdoptedDocument, At};

/// The point of the control that procedures for generating keys are about.
const GENERATION: u8 = 11;

/// Whether a document says how keys are generated.
pub(crate) fn is_about_generation(document: &AdoptedDocument) -> bool {
    let covers = document.covers.iter().any(|point| point.get() == GENERATION);
    covers && matches!(document.kind, DocumentKind::Procedure | DocumentKind::Process)
}

/// Point 11.
pub(super) fn procedures(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "CEK-15.11",
        About {
            title: "Processes and procedures to generate keys exist",
            statement: "A process or procedure for generating keys is adopted, with its text's digest and an owner who is \
                        enrolled, and neither its review nor that of any other document of the control is overdue.",
            source: "CCM CEK-15, processes and procedures to generate keys exist",
            method: "The newest version of each document that an admin quorum adopted (document.adopted) is looked at: \
                     those that are processes or procedures and cover this point are the population. Whether its owner is \
                     still enrolled, and whether its review is overdue or was missed, is read from the events. Where there \
                     is none, there is no evidence.",
            of: "processes and procedures in force for generating keys",
            listed_in: "governance.csv where generation is yes",
        },
    );
    let (about, others): (Vec<&AdoptedDocument>, Vec<&AdoptedDocument>) =
        scope.history.documents_in_force().partition(|document| is_about_generation(document));
    for document in &about {
        test.item(unkept(scope, document));
    }
    test.against(others.iter().flat_map(|document| unkept(scope, document)));
    let elsewhere = about.iter().filter(|document| !document.in_log).count();
    if elsewhere > 0 {
        let texts = counted(elsewhere, "text is", "texts are");
        test.remark(format!("{texts} not in the log: what it says is to be compared by its digest."));
    }
    let covered: BTreeSet<ControlPoint> =
        about.iter().chain(&others).flat_map(|document| document.covers.iter().copied()).collect();
    let open: Vec<String> = (1..=ControlPoint::LAST)
        .filter(|point| !covered.iter().any(|covered| covered.get() == *point))
        .map(|point| point.to_string())
        .collect();
    if !open.is_empty() {
        test.remark(format!("No document covers the points {}.", open.join(", ")));
    }
    match about.is_empty() {
        true => test.insufficient("No process or procedure for generating keys was adopted."),
        false => test.done("No process or procedure for generating keys was adopted."),
    }
}

fn unkept<'a>(scope: Scope<'a>, document: &'a AdoptedDocument) -> Vec<Fault<'a>> {
    let (name, owner) = (&document.name, scope.history.label(document.owner));
    let against = |reason, events, what| Fault {
        owner: Some(owner.clone()),
        ..Fault::of_name(reason, format!("{name} {}", document.version), events, what)
    };
    let mut faults = Vec::new();
    if scope.history.people.get(&document.owner).is_none_or(|person| person.revoked.is_some()) {
        faults.push(against(
            "owner-left",
            vec![document.at],
            format!("`{owner}`, who answers for `{name}`, is enrolled no longer"),
        ));
    }
    let missed = scope.history.missed.iter().find(|missed| missed.what.cause == document.at.hash);
    if missed.is_some() || scope.is_over(document.review_by) {
        let events = std::iter::once(document.at).chain(missed.map(|missed| missed.at)).collect();
        let what = format!("`{name}` was to be looked at again by {}", document.review_by);
        faults.push(against("review-overdue", events, what));
    }
    faults
}

/// What must be refused is tried, and is refused.
pub(super) fn probes(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "probes",
        About {
            title: "Live probes are refused",
            statement: "Every attempt in the period to activate a key that nobody had approved, and to use one that was \
                        pre-active, was refused; and such attempts were made as often as the policy asks.",
            source: "CEK-15, technical measures are implemented and evaluated",
            method: "The probes that the exporter records (probe.recorded) are read for their outcome; that a refusal is \
                     right is decided again. One that was accepted or not answered is an exception, and so is one that is \
                     overdue while a key waits that it could be tried on.",
            of: "probes in the period",
            listed_in: "governance.csv where type is probe.recorded and in_period is yes",
        },
    );
    for probe in scope.history.probes.iter().filter(|probe| scope.has(&probe.at)) {
        let key = scope.history.keys.get(&probe.key_id);
        test.item(match probe.outcome {
            ProbeOutcome::Refused => None,
            ProbeOutcome::Accepted => {
                Some(Fault::of_event("accepted", key, probe.at, format!("`{}` was not refused", probe.probe)))
            }
            ProbeOutcome::Unanswered => {
                Some(Fault::of_event("unanswered", key, probe.at, format!("`{}` was not answered", probe.probe)))
            }
        });
    }
    test.against(overdue_probes(scope));
    let asked = scope.history.policies.last().is_some_and(|policy| policy.probes_every.is_some());
    if test.test.population.count == 0 && !asked {
        return test.insufficient("The policy asks for no probes, and none was made.");
    }
    test.done("No probe was due in the period: no key waited that it could be tried on, or the time had not come.")
}

fn overdue_probes<'a>(scope: Scope<'a>) -> Vec<Fault<'a>> {
    let Some(policy) = scope.history.policies.last() else { return Vec::new() };
    let Some(every) = policy.probes_every else { return Vec::new() };
    let waits = scope.history.keys.values().filter(|key| key.state() == KeyState::PreActive && key.expired.is_none());
    let Some(since) = waits.map(|key| key.created.time).min() else { return Vec::new() };
    // Since the policy has asked for probes without a break.
    let mut asking = scope.history.policies.iter().rev().take_while(|policy| policy.probes_every.is_some());
    let asked = asking.by_ref().last().map_or(policy.at, |policy| policy.at);
    let overdue = |probe: Probe| {
        let last = scope.history.probes.iter().rev().find(|made| made.probe == probe).map(|made| made.at);
        let last = last.filter(|last| last.sequence > asked.sequence).unwrap_or(asked);
        let due = (last.time + every).max(since);
        let what = format!("`{probe}` was to be tried again by {due}");
        scope.is_over(due).then(|| Fault::of_name("overdue", format!("{probe} {due}"), vec![last], what))
    };
    Probe::ALL.into_iter().filter_map(overdue).collect()
}

/// Whoever answers for the control has evaluated it. `others` are the tests that were made.
pub(super) fn evaluation(scope: Scope<'_>, others: &[ControlTest]) -> ControlTest {
    let mut test = Test::new(
        "evaluation",
        About {
            title: "The control is evaluated, and what was decided is done",
            statement: "The control tests were evaluated by those whom the policy names as often as it asks, and what was \
                        decided about exceptions was done by its date.",
            source: "CEK-15, define, implement and evaluate",
            method: "The evaluations that were signed (control.evaluated) are followed. One that was missed or is overdue \
                     is an exception. So is an exception that still stands after the date of what was decided about it. \
                     Whether the results that were signed are those of the events replayed then is not tested here.",
            of: "evaluations in the period",
            listed_in: "governance.csv where type is control.evaluated and in_period is yes",
        },
    );
    for _ in scope.history.evaluations.iter().filter(|evaluation| scope.has(&evaluation.at)) {
        test.item(None);
    }
    let missed = scope.history.missed.iter().filter(|missed| missed.what.deadline == Deadline::ControlEvaluation);
    test.against(missed.filter(|missed| scope.has(&missed.at)).map(|missed| {
        let what = format!("the evaluation due by {} was missed", missed.what.at);
        Fault::of_event("missed", None, missed.at, what)
    }));
    let recorded = |at: &At| scope.history.missed.iter().any(|missed| missed.what.cause == at.hash);
    let last = scope.history.evaluations.last();
    test.against(last.filter(|last| scope.is_over(last.next_by) && !recorded(&last.at)).map(|last| {
        let what = format!("the next evaluation was due by {}", last.next_by);
        Fault::of_event("overdue", None, last.at, what)
    }));
    test.against(undone(scope, others));
    let standing = others.iter().map(|other| other.exceptions.len()).sum::<usize>();
    let disposed = decided(scope, others).count();
    test.remark(format!("Of {}, {disposed} have a disposition.", counted(standing, "exception", "exceptions")));
    let asked = scope.history.policies.last().is_some_and(|policy| policy.evaluates);
    if scope.history.evaluations.is_empty() && !asked {
        return test.insufficient("The policy asks for no evaluation of the control, and none was signed.");
    }
    test.done("No evaluation fell into the period.")
}

/// The exceptions that stand and were disposed of: by what, by when, by whom, in which event.
fn decided<'a>(
    scope: Scope<'a>,
    others: &'a [ControlTest],
) -> impl Iterator<Item = (&'a Name, &'a str, DispositionKind, Timestamp, String, At)> {
    let dispositions: BTreeMap<_, _> = scope.history.dispositions();
    let exceptions = others.iter().flat_map(|other| &other.exceptions);
    exceptions.filter_map(move |exception| {
        let (decided, at) = dispositions.get(&exception.id)?;
        let owner = scope.history.label(decided.owner);
        Some((&exception.id, exception.what.as_str(), decided.disposition, decided.due, owner, *at))
    })
}

fn undone<'a>(scope: Scope<'a>, others: &'a [ControlTest]) -> impl Iterator<Item = Fault<'a>> {
    let late = move |due: Timestamp| due + FOLLOWS_WITHIN <= scope.period.until;
    let is_done = |disposition| disposition == DispositionKind::NotAnException;
    decided(scope, others).filter(move |(_, _, disposition, due, ..)| !is_done(*disposition) && late(*due)).map(
        |(id, what, _, due, owner, at)| {
            let what = format!("what was decided about `{id}` was due by {due}, and it still stands: {what}");
            Fault { owner: Some(owner), ..Fault::of_name("disposition-overdue", id, vec![at], what) }
        },
    )
}
