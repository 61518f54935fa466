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

/// What a key store that has one state is brought through to another, which is the last: the chain may have gone on while
/// nobody was there. INVARIANT (apart until active): a key that was activated leaves the pre-active inventory by becoming
/// active, and one that was not does not.
pub fn path(held: Option<KeyState>, activated: bool, to: KeyState) -> Vec<KeyState> {
    use KeyState::{Active, Compromised, Deactivated, Destroyed, DestroyedCompromised, PreActive, Suspended};
    match (held, to) {
        (Some(PreActive), Suspended | Deactivated | Compromised) if activated => vec![Active, to],
        (Some(Compromised | Destroyed | DestroyedCompromised), DestroyedCompromised) => vec![to],
        (_, DestroyedCompromised) => vec![Destroyed, to],
        _ => vec![to],
    }
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

    /// Whatever a store was left with, it is brought to whatever the chain can have reached since, by the table.
    #[test]
    fn paths_lead_where_the_chain_has_gone() {
        for held in KeyState::ALL {
            for to in KeyState::ALL.into_iter().filter(|to| reaches(held, *to)) {
                for activated in [true, false] {
                    let needs_activation = matches!(to, KeyState::Active | KeyState::Suspended | KeyState::Deactivated);
                    if held == KeyState::PreActive && needs_activation && !activated {
                        continue;
                    }
                    let path = path(Some(held), activated, to);
                    assert_eq!(path.last(), Some(&to));
                    let steps = std::iter::once(held).chain(path.iter().copied()).zip(&path);
                    let by_the_table = steps.into_iter().all(|(from, to)| from == *to || allowed(from, *to));
                    assert!(by_the_table, "{held} to {to}, activated {activated}: {path:?}");
                    let through_active = path.contains(&KeyState::Active);
                    assert!(activated || held != KeyState::PreActive || !through_active, "{held} to {to}: {path:?}");
                }
            }
        }
    }

    fn reaches(from: KeyState, to: KeyState) -> bool {
        from == to || KeyState::ALL.into_iter().any(|next| allowed(from, next) && reaches_further(next, to, 6))
    }

    fn reaches_further(from: KeyState, to: KeyState, steps: u8) -> bool {
        let next = |next| allowed(from, next) && reaches_further(next, to, steps - 1);
        from == to || steps > 0 && KeyState::ALL.into_iter().any(next)
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
