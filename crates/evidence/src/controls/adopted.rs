//! Keys that were there before: that their activation is not evidenced is said, and comes to an end.

use std::collections::BTreeMap;

use super::{About, ControlTest, Fault, Scope, Test, counted};
use crate::history::{AdoptedKey, Standing};

/// What was adopted is replaced or authorised in time.
pub(super) fn settled(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "adopted",
        About {
            title: "Keys that were there before are rotated or authorised anew",
            statement: "Every adopted key, whose activation is not evidenced, was authorised anew, replaced, or ended by the \
                        date of its baseline; and every key that a baseline lists is in the inventory.",
            source: "CEK-15, implementation over what was in use before",
            method: "Each key.adopted is followed to the key.activated that authorises it anew, to that of the key that \
                     replaces it, or to the end of its use. One that has none of these by its date is an exception, and so \
                     is one that had it later. Nothing of this says that its use before was authorised.",
            of: "adopted keys",
            listed_in: "governance.csv where type is key.adopted",
        },
    );
    let mut standings: BTreeMap<Standing, usize> = BTreeMap::new();
    for key in scope.history.adopted.values().filter(|key| scope.has_existed(&key.life)) {
        *standings.entry(key.standing(scope.period.until).0).or_default() += 1;
        test.item(late(scope, key));
    }
    for baseline in &scope.history.baselines {
        let taken = scope.history.adopted.values().filter(|key| key.baseline == baseline.at.hash).count();
        let missing = usize::try_from(baseline.count).unwrap_or(usize::MAX).saturating_sub(taken);
        if missing > 0 && scope.is_over(baseline.at.time) {
            let what = format!(
                "{} of the baseline of `{}` not in the inventory",
                counted(missing, "key is", "keys are"),
                baseline.store
            );
            test.against([Fault::of_name("not-taken-in", &baseline.store, vec![baseline.at], what)]);
        }
    }
    if !standings.is_empty() {
        let each = standings.iter().map(|(standing, count)| format!("{}: {count}", standing.name()));
        let each: Vec<String> = each.collect();
        test.remark(format!("Activation not evidenced when they were adopted; since then {}.", each.join(", ")));
    }
    test.done("No key was adopted.")
}

fn late<'a>(scope: Scope<'a>, key: &'a AdoptedKey) -> Option<Fault<'a>> {
    let (standing, settled) = key.standing(scope.period.until);
    let baseline = scope.history.baselines.iter().find(|baseline| baseline.at.hash == key.baseline);
    let date = key.rotate_by;
    let (reason, what) = match (standing, settled) {
        (Standing::Open, _) => return None,
        (Standing::Overdue, _) => {
            ("overdue", format!("its activation is not evidenced; it was to be rotated by {date}"))
        }
        (_, Some(at)) if at.time > date => ("late", format!("{}, after {date}", standing.name())),
        _ => return None,
    };
    let events =
        baseline.map(|baseline| baseline.at).into_iter().chain([key.life.created]).chain(key.missed).chain(settled);
    let mut events: Vec<_> = events.collect();
    events.dedup();
    Some(Fault::of_key(reason, &key.life, events, what))
}

/// What other tests say of adopted keys beside.
pub(super) fn remark(scope: Scope<'_>) -> Option<String> {
    let open = scope
        .history
        .adopted
        .values()
        .filter(|key| matches!(key.standing(scope.period.until).0, Standing::Open | Standing::Overdue));
    let keys = match open.count() {
        0 => return None,
        count => counted(count, "adopted key is", "adopted keys are"),
    };
    Some(format!("{keys} in use by baseline, activation not evidenced: see the test `adopted`."))
}
