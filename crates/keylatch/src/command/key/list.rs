//! The keys, one a line.

use clap::Args;
use lifecycle::Key;
use model::{KeyState, Timestamp};
use serde_json::json;

use super::show::{self, custody_word};
use crate::layout::{BOLD, Cell, Table, relative, state_style};
use crate::lookup;
use crate::reader::Known;
use crate::screen::Shown;

/// Which keys.
#[derive(Args, Clone, Debug, Default)]
pub struct ListArgs {
    /// Only keys in this state. Repeat it for further ones.
    #[arg(long, value_name = "STATE", value_parser = parse_state)]
    pub state: Vec<KeyState>,
    /// Only keys whose label begins so.
    #[arg(long, value_name = "BEGINNING")]
    pub label: Option<String>,
}

fn parse_state(text: &str) -> Result<KeyState, String> {
    let names: Vec<&str> = KeyState::ALL.iter().map(|state| state.name()).collect();
    KeyState::ALL
        .into_iter()
        .find(|state| state.name() == text)
        .ok_or_else(|| format!("there is no state `{text}`; the states are {}", names.join(", ")))
}

/// The keys that are asked for.
pub fn list(known: &Known, args: &ListArgs, now: Timestamp) -> Shown {
    let wanted = |key: &&Key| {
        let begins = args.label.as_ref().is_none_or(|label| key.spec.label.as_str().starts_with(label));
        begins && (args.state.is_empty() || args.state.contains(&key.state))
    };
    let keys: Vec<&Key> = known.state().keys.values().filter(wanted).collect();
    let mut table = Table::new(&["LABEL", "STATE", "ALGORITHM", "WORKLOAD", "IDENTITY", "KEY", "NEXT"]);
    for key in &keys {
        table.row([
            Cell::styled(BOLD, key.spec.label.as_str()),
            Cell::styled(state_style(key.state), key.state.name()),
            show::algorithm(key).to_owned().into(),
            key.spec.workload.as_str().into(),
            short_identity(key).into(),
            key.id.to_string().into(),
            next(known, key, now).into(),
        ]);
    }
    let people = table.to_people("no such keys");
    let json: Vec<_> = keys.iter().map(|key| show::to_json(known, key, now)).collect();
    Shown { json: json!({ "ok": true, "keys": json }), people }
}

fn short_identity(key: &Key) -> String {
    key.identity.to_string().chars().take(21).collect()
}

/// What is to come for a key, in a few words.
fn next(known: &Known, key: &Key, now: Timestamp) -> String {
    let state = known.state();
    if key.open_request.is_none()
        && let Some(by) = key.rotation().map(|(at, _)| at)
    {
        return format!("adopted, activation not evidenced, due {}", relative(by, now));
    }
    if !key.is_applied() {
        return custody_word(key).to_owned();
    }
    let request = key.open_request.and_then(|request| state.requests.get(&request));
    match (key.state, request, key.activation) {
        (KeyState::PreActive | KeyState::Active, Some(request), None) => {
            let missing = lookup::missing(state, request, now);
            match (request.authorized, missing.is_empty()) {
                (Some(_), true) if request.not_before > now => {
                    format!("activates {}", relative(request.not_before, now))
                }
                (Some(_), true) => format!("authorised, and waits: keylatch simulate {}", key.spec.label),
                (None, true) => "authorisation".to_owned(),
                _ => format!("missing {}", missing.join(", ")),
            }
        }
        (KeyState::PreActive, None, _) => format!("expires {}", relative(key.pre_active_until, now)),
        (KeyState::Active | KeyState::Suspended, _, Some(activation)) => {
            format!("ends {}", relative(activation.deactivate_at, now))
        }
        _ => "-".to_owned(),
    }
}
