//! The statement "key K was never active between t1 and t2", with the events that bound it: whoever has the history finds
//! them there and comes to the same.

use model::key::KeyIdentity;
use model::{Fingerprint, KeyId, KeyState, Name, TenantId, Timestamp};
use serde::Serialize;

use crate::history::{At, KeyLife};

/// The value of [`NeverActive::format`].
pub const FORMAT: &str = "keylatch.dev/never-active/v1";

/// What the history says of the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is so.
    True,
    /// It is not.
    False,
    /// The history ends before t2, and what follows nobody knows from it.
    NotKnown,
}

/// The statement, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeverActive {
    /// [`FORMAT`].
    pub format: &'static str,
    /// Whose history.
    pub tenant: TenantId,
    /// The root under which it was verified.
    pub root: Fingerprint,
    /// The key.
    pub key_id: KeyId,
    /// Its label.
    pub label: Name,
    /// By what it is recognised.
    pub identity: KeyIdentity,
    /// t1.
    pub from: Timestamp,
    /// t2.
    pub to: Timestamp,
    /// The statement in words.
    pub statement: String,
    /// What the history says of it.
    pub verdict: Verdict,
    /// Why, in words.
    pub because: String,
    /// The change of state that the key was in at t1; `None` where it was not there yet.
    pub before: Option<Change>,
    /// The changes of state between, in order.
    pub between: Vec<Change>,
    /// The next change after t2, where there is one.
    pub after: Option<Change>,
    /// The last event of the history: up to its time the statement can be made.
    pub last: At,
    /// Uses that the custodian reports of this time although the key was not active: its word against the chain's.
    pub doubts: Vec<At>,
}

/// A change of a key's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The event.
    pub event: At,
    /// The state that it brought.
    pub state: KeyState,
}

/// Whose history, checked under which root, up to which event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Whose.
    pub tenant: TenantId,
    /// Under which root.
    pub root: Fingerprint,
    /// The last event.
    pub last: At,
}

/// What the history says of "the key was never active between `from` and `to`", both included. An active key counts as
/// active in the very instants of its activation and of its end.
pub fn never_active(of: Whole, key: &KeyLife, from: Timestamp, to: Timestamp) -> NeverActive {
    let changes = || key.steps.iter().map(|step| Change { event: step.at, state: step.state });
    let between: Vec<Change> = changes().filter(|change| (from..=to).contains(&change.event.time)).collect();
    let before = changes().rfind(|change| change.event.time < from);
    let after = changes().find(|change| change.event.time > to);
    let active = key.active().into_iter().find(|(begin, end)| {
        // The root may have set the time back in between: then the earlier of the two is the beginning.
        let ends = end.map_or(Timestamp::MAX, |end| end.time.max(begin.time));
        let begins = end.map_or(begin.time, |end| begin.time.min(end.time));
        begins <= to && ends >= from
    });
    let (verdict, because) = match active {
        Some((begin, end)) => {
            let until = end.map_or_else(|| "and still is".to_owned(), |end| format!("until {}", in_words(&end)));
            (Verdict::False, format!("it was active from {}, {until}", in_words(&begin)))
        }
        None if of.last.time < to => {
            (Verdict::NotKnown, format!("the history ends with {}, and no event since is known", in_words(&of.last)))
        }
        None => (Verdict::True, because(before.as_ref(), &between)),
    };
    let doubts = key.doubts.iter().filter(|doubt| (from..=to).contains(&doubt.used));
    NeverActive {
        format: FORMAT,
        tenant: of.tenant,
        root: of.root,
        key_id: key.id,
        label: key.spec.label.clone(),
        identity: key.identity.clone(),
        from,
        to,
        statement: format!("key {} was never active between {from} and {to}, both included", key.id),
        verdict,
        because,
        before,
        between,
        after,
        last: of.last,
        doubts: doubts.map(|doubt| doubt.at).collect(),
    }
}

/// Why it is so.
fn because(before: Option<&Change>, between: &[Change]) -> String {
    let first = match before {
        Some(change) => format!("it was {} since {}", change.state, in_words(&change.event)),
        None => "it was not there at first".to_owned(),
    };
    let then: Vec<String> =
        between.iter().map(|change| format!("{} by {}", change.state, in_words(&change.event))).collect();
    if then.is_empty() { format!("{first}, and nothing changed that") } else { format!("{first}; then {}", then.join(", ")) }
}

fn in_words(at: &At) -> String {
    format!("event {} of {}", at.sequence.0, at.time)
}
