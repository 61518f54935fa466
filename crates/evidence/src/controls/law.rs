//! What the law asks for (point 7).

use model::Name;
use model::event::Deadline;

use super::{About, ControlTest, Fault, Scope, Test};
use crate::history::{Activation, DeclaredPack, KeyLife};

/// Point 7.
pub(super) fn considered(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "CEK-15.07",
        About {
            title: "Legal and regulatory requirements are considered and enforced",
            statement: "Every activation in the period names the provisions that it rests on, and had the gates of every \
                        legal pack that was declared as applied satisfied; and no pack or declaration is overdue for its \
                        review.",
            source: "AICM auditing guideline 7; CEK-15, provisions for legal and regulatory requirements",
            method: "Each key.activated is read for its legal basis, and for the declared conditions that held, against \
                     the packs applied at that moment. Reviews of packs and declarations that were missed or are overdue \
                     are exceptions. Where no pack is declared as applied, nothing shows that requirements were enforced.",
            of: "activations in the period",
            listed_in: "activations.csv where in_period is yes",
        },
    );
    for (key, activation) in scope.activations() {
        test.item(unconsidered(key, activation));
    }
    test.against(overdue(scope));
    let declared = in_force(scope);
    let waived: Vec<&Name> = declared.iter().filter(|pack| !pack.applied).map(|pack| &pack.pack).collect();
    if !waived.is_empty() {
        let names: Vec<String> = waived.iter().map(|name| format!("`{name}`")).collect();
        test.remark(format!("Declared as not applicable, by an admin quorum: {}.", names.join(", ")));
    }
    test.remark(
        "That a condition held means that the declared facts said so. It does not mean that anybody complies with a law.",
    );
    let enforced = scope.activations().any(|(_, activation)| activation.packs_applied > 0);
    if test.test.population.count > 0 && !enforced {
        return test.insufficient(
            "No legal pack was applied to any of them: what was considered stands in the requests; that it was enforced is \
             not in evidence.",
        );
    }
    test.done("No key was activated in the period.")
}

fn unconsidered<'a>(key: &'a KeyLife, activation: &'a Activation) -> Vec<Fault<'a>> {
    let mut faults = Vec::new();
    if activation.legal_basis.is_empty() {
        let what = "it names no provision that it rests on";
        faults.push(Fault::of_key("no-legal-basis", key, vec![activation.at], what));
    }
    if activation.conditions.len() < activation.packs_applied {
        let what = format!("{} of {} legal packs held", activation.conditions.len(), activation.packs_applied);
        faults.push(Fault::of_key("pack-not-held", key, vec![activation.at], what));
    }
    faults
}

/// The last declaration of each pack.
fn in_force<'a>(scope: Scope<'a>) -> Vec<&'a DeclaredPack> {
    let all = &scope.history.packs;
    let last = |place: usize, pack: &DeclaredPack| !all.iter().skip(place + 1).any(|later| later.pack == pack.pack);
    all.iter().enumerate().filter(|(place, pack)| last(*place, pack)).map(|(_, pack)| pack).collect()
}

/// Reviews that were missed in the period, and those that are overdue though nobody has recorded it.
fn overdue<'a>(scope: Scope<'a>) -> Vec<Fault<'a>> {
    let missed = scope.history.missed.iter().filter(|missed| scope.has(&missed.at));
    let missed = missed.filter(|missed| matches!(missed.what.deadline, Deadline::PackReview | Deadline::PackSource));
    let mut faults: Vec<Fault<'_>> = missed
        .map(|missed| {
            let pack = missed.what.pack.as_ref().map(|pack| format!(" `{pack}`")).unwrap_or_default();
            let of = if missed.what.deadline == Deadline::PackReview { "the declaration of" } else { "the text of" };
            let what = format!("the review of {of} pack{pack} was due by {} and was missed", missed.what.at);
            Fault::of_event("review-missed", None, missed.at, what)
        })
        .collect();
    let recorded = |pack: &DeclaredPack| scope.history.missed.iter().any(|missed| missed.what.cause == pack.at.hash);
    for pack in in_force(scope).into_iter().filter(|pack| scope.is_over(pack.review_by) && !recorded(pack)) {
        let what = format!("the declaration of pack `{}` was to be reviewed by {}", pack.pack, pack.review_by);
        faults.push(Fault::of_event("review-overdue", None, pack.at, what));
    }
    faults
}
