//! The second line: which steps SP 800-57 part 1, section 7, allows a key, and what each asks of a store.
//!
//! The first line is the chain. A store that holds to this table can't be brought, by a caller gone wrong, to use a key
//! that was never activated or to bring back one that was ended.

use model::event::Inventory;
use model::key::Operation;
use model::{KeyId, KeyState};

use crate::{Error, Permit, Refused};

/// What a store does to bring a key from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is there.
    Stay,
    /// Note the new state where the key is.
    Mark,
    /// Move the key to the active inventory, under that inventory's wrapping key.
    Move,
    /// Remove the material from both inventories and leave a tombstone.
    Erase,
}

/// The step from one state to another; `None` where it is forbidden.
pub fn step(from: KeyState, to: KeyState) -> Option<Step> {
    use KeyState::{Active, Compromised, Deactivated, Destroyed, DestroyedCompromised, PreActive, Suspended};
    match (from, to) {
        _ if from == to => Some(Step::Stay),
        (PreActive, Active) => Some(Step::Move),
        (PreActive, Compromised)
        | (Active, Suspended | Deactivated | Compromised)
        | (Suspended, Active | Deactivated | Compromised)
        | (Deactivated, Compromised)
        | (Destroyed, DestroyedCompromised) => Some(Step::Mark),
        (PreActive | Active | Suspended | Deactivated, Destroyed) | (Compromised, DestroyedCompromised) => {
            Some(Step::Erase)
        }
        _ => None,
    }
}

/// The step from one state to another, or the refusal.
pub fn check_step(key_id: KeyId, from: KeyState, to: KeyState) -> Result<Step, Error> {
    step(from, to).ok_or(Error::State { key_id, state: from, refused: Refused::Transition(to) })
}

/// Refuses an operation that a key in this state does not do.
pub fn check_use(key_id: KeyId, state: KeyState, operation: Operation, permit: Permit) -> Result<(), Error> {
    let old_data = permit == Permit::OldDataToo && operation.processes_only();
    match state {
        KeyState::Active => Ok(()),
        KeyState::Deactivated if old_data => Ok(()),
        _ => Err(Error::State { key_id, state, refused: Refused::Use(operation) }),
    }
}

/// Refuses a proof of possession that a key in this state does not give.
pub fn check_proof(key_id: KeyId, state: KeyState) -> Result<(), Error> {
    match state {
        KeyState::PreActive | KeyState::Active => Ok(()),
        _ => Err(Error::State { key_id, state, refused: Refused::Proof }),
    }
}

/// Refuses to open a sealed key that does not wait for its activation.
pub fn check_unsealing(key_id: KeyId, state: KeyState) -> Result<(), Error> {
    // One that is active was opened before.
    match state {
        KeyState::PreActive | KeyState::Active | KeyState::Suspended | KeyState::Deactivated => Ok(()),
        _ => Err(Error::State { key_id, state, refused: Refused::Unsealing }),
    }
}

/// Whether a key in this state has no material any more.
pub fn is_destroyed(state: KeyState) -> bool {
    matches!(state, KeyState::Destroyed | KeyState::DestroyedCompromised)
}

/// Whether an inventory can hold a key in this state. INVARIANT (inventories apart): what is usable, was or will be so
/// again, is never in the pre-active inventory; what is pre-active is never in the active one.
pub fn fits(inventory: Inventory, state: KeyState) -> bool {
    match (inventory, state) {
        (_, KeyState::Compromised | KeyState::Destroyed | KeyState::DestroyedCompromised) => true,
        (Inventory::PreActive, state) => state == KeyState::PreActive,
        (Inventory::Active, state) => state != KeyState::PreActive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row a state: what it may become, `.` where forbidden. Columns in the order of `KeyState::ALL`.
    #[test]
    fn steps_are_those_of_sp_800_57() {
        let table = [
            ("pre-active", "stay move . . mark erase ."),
            ("active", ". stay mark mark mark erase ."),
            ("suspended", ". mark stay mark mark erase ."),
            ("deactivated", ". . . stay mark erase ."),
            ("compromised", ". . . . stay . erase"),
            ("destroyed", ". . . . . stay mark"),
            ("destroyed-compromised", ". . . . . . stay"),
        ];
        for (from, (name, row)) in KeyState::ALL.into_iter().zip(table) {
            assert_eq!(from.name(), name);
            let found: Vec<_> = KeyState::ALL
                .into_iter()
                .map(|to| step(from, to).map_or(".".to_owned(), |step| format!("{step:?}").to_lowercase()))
                .collect();
            assert_eq!(found.join(" "), row, "{name}");
        }
    }

    #[test]
    fn only_an_active_key_is_used_and_a_deactivated_one_only_looks_back() {
        let key_id = "01930000-0000-7000-8000-000000000001".parse().unwrap();
        let ops = [Operation::Encrypt, Operation::Decrypt, Operation::Sign, Operation::Verify, Operation::Unwrap];
        for state in KeyState::ALL {
            for operation in ops {
                let strict = check_use(key_id, state, operation, Permit::WhileActive).is_ok();
                assert_eq!(strict, state == KeyState::Active, "{state} {operation}");
                let lenient = check_use(key_id, state, operation, Permit::OldDataToo).is_ok();
                let looks_back = state == KeyState::Deactivated && operation.processes_only();
                assert_eq!(lenient, strict || looks_back, "{state} {operation}");
            }
        }
    }
}
