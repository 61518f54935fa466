//! A tenant's stream: the configuration that it must have, and the differences of one that exists.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use model::{TenantId, subject};
use serde_json::{Map, Value, json};

/// The largest message, in bytes: an event and its headers.
pub const MESSAGE_BYTES_MAX: u32 = 64 * 1024;
/// How many servers keep the stream. Not three, as yet: events are sent one behind the other, each with the id of the one
/// before as its guard, and a server that has caught up with others does not remember ids (measured with 2.15.1).
const REPLICAS: u8 = 1;
/// How long the server remembers message ids.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// A member of a stream's configuration that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The member, as the server calls it.
    pub member: String,
    /// What it must be.
    pub wanted: Value,
    /// What it is.
    pub found: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is {} and must be {}", self.member, self.found, self.wanted)
    }
}

/// The configuration that a tenant's stream must have. The members that are missing here must be off, empty or zero.
pub(crate) fn config(tenant: TenantId) -> Map<String, Value> {
    let config = json!({
        "name": tenant,
        "subjects": [subject::log_all(tenant)],
        "storage": "file",
        "num_replicas": REPLICAS,
        "retention": "limits",
        "discard": "new",
        "max_msgs": -1,
        "max_bytes": -1,
        "max_msgs_per_subject": -1,
        "max_consumers": -1,
        "max_msg_size": MESSAGE_BYTES_MAX,
        "duplicate_window": u64::try_from(DUPLICATE_WINDOW.as_nanos()).unwrap_or(u64::MAX),
        "compression": "none",
        "deny_delete": true,
        "deny_purge": true,
        "allow_direct": true,
        "allow_atomic": true,
        "republish": { "src": subject::log_all(tenant), "dest": subject::events_all(tenant) },
    });
    match config {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// The differences between a stream and what it must be. Its placement and people's notes do not count.
pub(crate) fn differences(wanted: &Map<String, Value>, found: &Map<String, Value>) -> Vec<Difference> {
    const FREE: [&str; 3] = ["description", "metadata", "placement"];
    let difference = |member: &str, wanted: &Value, found: &Value| Difference {
        member: member.to_owned(),
        wanted: wanted.clone(),
        found: found.clone(),
    };
    // In the order of their names, whatever order they came in.
    let (wanted, found): (BTreeMap<_, _>, BTreeMap<_, _>) = (wanted.iter().collect(), found.iter().collect());
    let not_as_wanted = wanted.iter().filter_map(|(member, wanted)| {
        let found = found.get(member).copied().unwrap_or(&Value::Null);
        (found != *wanted).then(|| difference(member, wanted, found))
    });
    // Members of a server newer than this code count as well: what is on and not wanted is a difference.
    let more_than_wanted = found
        .iter()
        .filter(|(member, found)| !wanted.contains_key(*member) && !FREE.contains(&member.as_str()) && !is_off(found))
        .map(|(member, found)| difference(member, &Value::Null, found));
    not_as_wanted.chain(more_than_wanted).collect()
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_off),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(differences: &[Difference]) -> Vec<&str> {
        differences.iter().map(|difference| difference.member.as_str()).collect()
    }

    #[test]
    fn a_stream_differs_in_what_is_missing_other_or_more() {
        let tenant = "ADVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCZW22".parse().unwrap();
        let wanted = config(tenant);
        assert_eq!(differences(&wanted, &wanted), []);

        let mut found = wanted.clone();
        found.insert("sealed".to_owned(), false.into());
        found.insert("consumer_limits".to_owned(), json!({}));
        found.insert("metadata".to_owned(), json!({ "_nats.ver": "2.15.1" }));
        assert_eq!(differences(&wanted, &found), []);

        found.remove("deny_purge");
        found.insert("max_msgs".to_owned(), 1.into());
        found.insert("num_replicas".to_owned(), 3.into());
        found.insert("max_age".to_owned(), 1.into());
        found.insert("allow_rollup_hdrs".to_owned(), true.into());
        let found = differences(&wanted, &found);
        assert_eq!(members(&found), ["deny_purge", "max_msgs", "num_replicas", "allow_rollup_hdrs", "max_age"]);
    }
}
