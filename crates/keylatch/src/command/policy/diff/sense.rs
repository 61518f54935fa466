//! Which way a member of the policy is the stricter one.

use std::collections::BTreeSet;

use model::{Span, Timestamp};
use serde_json::Value;

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Less can be done, or it takes more.
    Stricter,
    /// More can be done, or it takes less.
    Laxer,
    /// Neither, or both, or it depends.
    Other,
}

impl Effect {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stricter => "stricter",
            Self::Laxer => "laxer",
            Self::Other => "other",
        }
    }

    fn turned(self) -> Self {
        match self {
            Self::Stricter => Self::Laxer,
            Self::Laxer => Self::Stricter,
            Self::Other => Self::Other,
        }
    }
}

/// Which way is the stricter one.
#[derive(Clone, Copy)]
enum Sense {
    /// More of it is stricter; where it is left out, it is this much.
    More(i64),
    /// Less of it is stricter; where it is left out, it is this much.
    Less(i64),
    /// Fewer names are stricter.
    Fewer,
    /// Fewer names are stricter, and none stands for all.
    FewerOrAll,
    /// More names are stricter.
    MoreNames,
    /// That it stands there is stricter.
    There,
    /// That it stands there is laxer.
    Absent,
    /// This word is the stricter one.
    Word(&'static str),
    /// That can't be said.
    Unclear,
}

fn sense(pattern: &str) -> Sense {
    use Sense::{Absent, Fewer, FewerOrAll, Less, More, MoreNames, There, Unclear, Word};
    match pattern {
        // To halt, to report and to freeze are safe: that more people may do so is no loss.
        "operations.suspend.roles" | "operations.compromise.roles" | "holds.place.roles" => Unclear,
        "operations.suspend.quorum" | "operations.compromise.quorum" | "holds.place.quorum" => Unclear,
        "admin_quorum" | "rule.*.stage.*.quorum" | "rule.*.break_glass.reviewers.quorum" => More(0),
        "people.access_review.by.quorum" | "holds.lift.quorum" | "evidence.evaluation.by.quorum" => More(1),
        "evidence.heartbeat" => Less(24 * 3_600_000),
        "evidence.export.every" | "evidence.probes.every" | "evidence.evaluation.every" => Less(i64::MAX),
        // That more people may have evidence made is no loss.
        "evidence.export" | "evidence.export.roles" => Unclear,
        _ if pattern.starts_with("operations.") && pattern.ends_with(".quorum") => More(1),
        "max_staleness" | "keys.pre_active_for" | "keys.revalidation.every" | "people.access_review.every" => Less(0),
        "people.delegation_max" | "parents.proof_max_age" => Less(0),
        "algorithm.*.crypto_period" | "algorithm.*.use.*.crypto_period" | "fact.*.valid_max" => Less(0),
        "rule.*.request_valid_for" | "rule.*.approval_valid_for" | "rule.*.break_glass.life" => Less(0),
        "rule.*.break_glass.review_within" | "rule.*.standing.count_max" | "rule.*.standing.window_max" => Less(0),
        "rule.*.manifest_max" => Less(1),
        "algorithm.*.allowed_until" => Less(i64::MAX),
        "algorithm.*.allowed_from" => More(i64::MIN),
        "people.subject_required" | "rule.*.in_order" | "rule.*.stage.*.touch" | "rule.*.stage.*.verified" => More(0),
        "rule.*.requires.reasons" => FewerOrAll,
        _ if pattern.starts_with("rule.*.requires.") => More(0),
        _ if pattern.starts_with("keys.allow.") => Less(0),
        "rule.*.process_when_deactivated" => Less(0),
        "rule.*.need" => Word("all"),
        "parents.when_suspended" | "parents.when_compromised" => Word("suspend"),
        "packs" => MoreNames,
        "keys.creators" | "parents.trusted_roots" | "rule.*.requesters" | "rule.*.users" => Fewer,
        "rule.*.stage.*.or" | "rule.*.standing.users" => Fewer,
        _ if pattern.ends_with(".roles") => Fewer,
        "keys.revalidation" | "people.access_review" | "algorithm.*.use.*" | "rule.*.stage.*.party" => There,
        "evidence.probes" | "evidence.evaluation" => There,
        "algorithm.*" | "rule.*.standing" => Absent,
        _ => Unclear,
    }
}

/// What it does that a member becomes another.
pub(super) fn effect(pattern: &str, old: Option<&Value>, new: Option<&Value>) -> Effect {
    match sense(pattern) {
        Sense::More(otherwise) => by_size(old, new, otherwise),
        Sense::Less(otherwise) => by_size(old, new, otherwise).turned(),
        Sense::Fewer => by_names(old, new).turned(),
        Sense::MoreNames => by_names(old, new),
        Sense::FewerOrAll => match (names(old).is_empty(), names(new).is_empty()) {
            (true, false) => Effect::Stricter,
            (false, true) => Effect::Laxer,
            _ => by_names(old, new).turned(),
        },
        Sense::There => by_presence(old, new),
        Sense::Absent => by_presence(old, new).turned(),
        Sense::Word(strict) => by_word(old, new, strict),
        Sense::Unclear => Effect::Other,
    }
}

/// Stricter where there is more of it.
fn by_size(old: Option<&Value>, new: Option<&Value>, otherwise: i64) -> Effect {
    let size = |value: Option<&Value>| value.map_or(Some(otherwise), size);
    match (size(old), size(new)) {
        (Some(old), Some(new)) if new > old => Effect::Stricter,
        (Some(old), Some(new)) if new < old => Effect::Laxer,
        _ => Effect::Other,
    }
}

fn size(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(flag) => Some((*flag).into()),
        Value::Number(number) => number.as_i64(),
        Value::String(text) => {
            let time = text.parse::<Timestamp>().map(Timestamp::unix_millis).ok();
            time.or_else(|| Some((Timestamp::from_unix_millis(0) + text.parse::<Span>().ok()?).unix_millis()))
        }
        _ => None,
    }
}

/// Stricter where there are more names.
fn by_names(old: Option<&Value>, new: Option<&Value>) -> Effect {
    let (old, new) = (names(old), names(new));
    match (old.is_subset(&new), new.is_subset(&old)) {
        (true, false) => Effect::Stricter,
        (false, true) => Effect::Laxer,
        _ => Effect::Other,
    }
}

/// The words of a set.
pub(super) fn names(value: Option<&Value>) -> BTreeSet<&str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Stricter where it stands there.
fn by_presence(old: Option<&Value>, new: Option<&Value>) -> Effect {
    match (old, new) {
        (None, Some(_)) => Effect::Stricter,
        (Some(_), None) => Effect::Laxer,
        _ => Effect::Other,
    }
}

fn by_word(old: Option<&Value>, new: Option<&Value>, strict: &str) -> Effect {
    // What is left out is the other word, but for `need`, of which the stricter is the one that goes without saying.
    let is_strict = |value: Option<&Value>| value.map_or(strict == "all", |value| value == strict);
    match (is_strict(old), is_strict(new)) {
        (false, true) => Effect::Stricter,
        (true, false) => Effect::Laxer,
        _ => Effect::Other,
    }
}
