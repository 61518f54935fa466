//! Reading one condition: a Cedar expression that may read attributes of `context`, and nothing else.

use std::collections::BTreeSet;

use cedar_policy::{Policy, PolicyId};
use model::Name;
use serde_json::Value;

/// The longest that a condition may be, in characters.
pub const CONDITION_CHARS_MAX: usize = 1_500;
/// How deep a condition may go, operations within operations.
pub const CONDITION_DEPTH_MAX: usize = 32;
/// How many brackets a condition may open, those in its text included. What is within brackets is read by recursion, up to
/// 85 KB of stack a level in an unoptimised build; so they are counted before anything is read.
pub const CONDITION_BRACKETS_MAX: usize = 100;

/// A condition that was read.
#[derive(Debug)]
pub(super) struct Condition {
    /// As a Cedar policy that permits where it holds.
    pub(super) policy: Policy,
    /// The facts that it reads, or whose age it reads.
    pub(super) reads: BTreeSet<Name>,
}

/// What is wrong with a condition, and what would be right.
pub(super) type Wrong = (String, &'static str);

const READ: &str =
    "read `context.now`, or one attribute of context.key, context.request, context.facts or context.ages";

/// Reads conditions on a stack of its own. One within [`CONDITION_CHARS_MAX`] and [`CONDITION_BRACKETS_MAX`] takes up to
/// some 25 MiB of it in an unoptimised build, before it is known how deep it goes; running out ends the process.
pub(super) fn reading<T>(read: impl FnOnce() -> T) -> T {
    stacker::grow(64 << 20, read)
}

/// Evaluates conditions with so much stack that none within [`CONDITION_DEPTH_MAX`] runs out of it, whoever calls. Cedar
/// reports a short stack as an error of evaluation, and whether it is short must not decide anything. At depth 44,
/// an unoptimised build was seen to need between 2 and 4 MiB.
pub(super) fn evaluating<T>(evaluate: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(4 << 20, 8 << 20, evaluate)
}

/// Reads a condition. Whether its attributes exist and fit together is for the schema to say.
pub(super) fn read(id: PolicyId, text: &str) -> Result<Condition, Wrong> {
    let chars = text.chars().count();
    if chars > CONDITION_CHARS_MAX {
        return Err((format!("{chars} characters"), "keep a condition within 1500; make two gates of it"));
    }
    let brackets = text.chars().filter(|c| "([{".contains(*c)).count();
    if brackets > CONDITION_BRACKETS_MAX {
        return Err((format!("{brackets} brackets"), "keep a condition within 100; make two gates of it"));
    }
    // A line of its own, so that a comment at the end of the condition ends with it.
    let policy = Policy::parse(Some(id), format!("permit(principal, action, resource) when {{ {text}\n}};"))
        .map_err(|errors| (format!("Cedar can't read it: {errors}"), "write one Cedar condition"))?;
    let json = policy.to_json().map_err(|error| (error.to_string(), "write one Cedar condition"))?;
    let mut seen = Seen::default();
    match json.get("conditions").and_then(Value::as_array).map(Vec::as_slice) {
        Some([one]) if one.get("kind").is_some_and(|kind| kind == "when") => {
            one.get("body").map_or(Ok(()), |body| seen.walk(body, 0))?;
        }
        _ => return Err(("it is not one condition".to_owned(), "write one expression, without `when` and `unless`")),
    }
    if seen.attributes == 0 {
        return Err(("it reads nothing".to_owned(), READ));
    }
    Ok(Condition { policy, reads: seen.facts })
}

/// What a condition reads.
#[derive(Default)]
struct Seen {
    attributes: usize,
    facts: BTreeSet<Name>,
}

impl Seen {
    /// Walks an expression in Cedar's JSON form: an object of one member, which names the operation.
    fn walk(&mut self, node: &Value, depth: usize) -> Result<(), Wrong> {
        if depth > CONDITION_DEPTH_MAX {
            return Err(("operations within operations, 33 deep or deeper".to_owned(), "make two gates of it"));
        }
        let Some((operation, arguments)) = node.as_object().and_then(|node| node.iter().next()) else { return Ok(()) };
        match operation.as_str() {
            "Value" => Ok(()),
            "." => match path(node) {
                Some(path) => self.attribute(&path),
                None => self.arguments(arguments, depth),
            },
            "has" => self.presence(arguments),
            "Var" | "Slot" => Err((format!("it names {arguments} as a whole"), READ)),
            "Record" => Err(("it makes a record".to_owned(), READ)),
            _ => self.arguments(arguments, depth),
        }
    }

    fn arguments(&mut self, arguments: &Value, depth: usize) -> Result<(), Wrong> {
        match arguments {
            Value::Object(members) => members.values().try_for_each(|argument| self.walk(argument, depth + 1)),
            Value::Array(items) => items.iter().try_for_each(|argument| self.walk(argument, depth + 1)),
            _ => Ok(()),
        }
    }

    fn attribute(&mut self, path: &[&str]) -> Result<(), Wrong> {
        self.attributes += 1;
        match path {
            ["now"] | ["key" | "request", _] => Ok(()),
            ["facts" | "ages", name] => {
                let unknown = |_| (format!("there is no fact `{name}`"), "declare it as a [[fact]]");
                self.facts.insert(name.parse().map_err(unknown)?);
                Ok(())
            }
            _ => Err((format!("`context.{}` is no attribute to read", path.join(".")), READ)),
        }
    }

    /// What is known about the key and the request is complete, so one may ask whether something is there. Facts may be
    /// missing for any reason, and a gate that opens when one is missing would let ignorance pass.
    fn presence(&mut self, arguments: &Value) -> Result<(), Wrong> {
        self.attributes += 1;
        match arguments.get("left").and_then(path).as_deref() {
            Some(["key" | "request"]) => Ok(()),
            _ => Err((
                "`has` on something else than context.key or context.request".to_owned(),
                "name the fact in `needs`",
            )),
        }
    }
}

/// The attributes from `context` to the node, outermost first. `None` if it does not start there.
fn path(node: &Value) -> Option<Vec<&str>> {
    if let Some(variable) = node.get("Var") {
        return (variable == "context").then(Vec::new);
    }
    let access = node.get(".")?;
    let mut path = path(access.get("left")?)?;
    path.push(access.get("attr")?.as_str()?);
    Some(path)
}
