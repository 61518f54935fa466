//! The states of NIST SP 800-57 part 1, section 7, and the transitions there are. Nothing else.

use model::{KeyState, ProblemType};

use crate::Rejection;

/// Whether a key may go from one state to another.
pub fn allowed(from: KeyState, to: KeyState) -> bool {
    use KeyState::{Active, Compromised, Deactivated, Destroyed, DestroyedCompromised, PreActive, Suspended};
    match from {
        PreActive => matches!(to, Active | Destroyed | Compromised),
        Active => matches!(to, Suspended | Deactivated | Compromised | Destroyed),
        Suspended => matches!(to, Active | Deactivated | Compromised | Destroyed),
        Deactivated => matches!(to, Compromised | Destroyed),
        Compromised | Destroyed => matches!(to, DestroyedCompromised),
        DestroyedCompromised => false,
    }
}

/// Refuses what the table does not have.
pub fn check(from: KeyState, to: KeyState) -> Result<(), Rejection> {
    if allowed(from, to) {
        return Ok(());
    }
    let detail = format!("a key that is {from} can't become {to}");
    Rejection::new(ProblemType::ForbiddenTransition, detail).with("state", from.name()).err()
}

/// Where destruction leads: what was compromised stays known as such.
pub fn destroyed_from(state: KeyState) -> KeyState {
    if state == KeyState::Compromised { KeyState::DestroyedCompromised } else { KeyState::Destroyed }
}

/// Where a report of compromise leads.
pub fn compromised_from(state: KeyState) -> KeyState {
    if state == KeyState::Destroyed { KeyState::DestroyedCompromised } else { KeyState::Compromised }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row a state, a column a target, both in the order of [`KeyState::ALL`]: pre-active, active, suspended,
    /// deactivated, compromised, destroyed, destroyed-compromised.
    const TABLE: [&str; 7] = [
        ".x..xx.", //
        "..xxxx.", ".x.xxx.", "....xx.", "......x", "......x", ".......",
    ];

    #[test]
    fn there_are_these_transitions_and_no_others() {
        for (from, row) in KeyState::ALL.into_iter().zip(TABLE) {
            for (to, mark) in KeyState::ALL.into_iter().zip(row.chars()) {
                assert_eq!(allowed(from, to), mark == 'x', "{from} to {to}");
            }
        }
    }

    #[test]
    fn ends_are_always_reachable_by_the_table() {
        for state in KeyState::ALL {
            let gone = matches!(state, KeyState::Destroyed | KeyState::DestroyedCompromised);
            assert!(gone || allowed(state, destroyed_from(state)), "{state} can't be destroyed");
            let known = matches!(state, KeyState::Compromised | KeyState::DestroyedCompromised);
            assert!(known || allowed(state, compromised_from(state)), "{state} can't be reported");
        }
    }
}
