//! The whole life of a key under policy, law and people: one test a rule, each with what it allows and what it refuses.
//!
//! From other people's bugs, and where each is tested:
//!
//! | Bug | Test |
//! |---|---|
//! | zero or omitted approvals are a load error | `bugs::zero_or_omitted_approvals_are_a_load_error` |
//! | approver known by key and tenant, never by name | `bugs::approvers_are_known_by_key_and_tenant_never_by_name` |
//! | requester, or the requester's delegate, never counts | `bugs::requester_or_the_requesters_delegate_never_counts` |
//! | one key is one vote, in several roles too | `bugs::one_key_is_one_vote_in_several_roles_too` |
//! | deduplicate by person, not by signature | `bugs::votes_are_deduplicated_by_person_not_by_signature` |
//! | the approval binds the meaning, so any change voids it | `bugs::an_approval_binds_the_meaning_so_any_change_voids_it` |
//! | the permission to activate is its own | `bugs::the_permission_to_activate_is_its_own` |
//! | activation does not touch key bytes | `bugs::activation_does_not_touch_key_bytes` |
//! | state and attributes change in one append | `bugs::state_and_attributes_change_in_one_append` |
//! | every operation checks state, decrypt included | `bugs::every_operation_checks_state_decrypt_included` |
//! | no attribute write changes state | `bugs::no_attribute_write_changes_state` |
//! | lapsed requests stay queryable, and their lapse is an event | `bugs::lapsed_requests_stay_queryable_and_their_lapse_is_an_event` |
//! | the same command id gives the same answer | `bugs::the_same_command_id_gives_the_same_answer` |
//! | AND, OR and sequences of stages | `bugs::and_or_and_sequences_of_stages` |
//! | automation can't skip the quorum | `bugs::automation_cannot_skip_the_quorum` |
//! | an unknown legal fact blocks | `bugs::an_unknown_legal_fact_blocks` |
//! | revoking a person between approval and activation voids the approval | `bugs::revoking_a_person_between_approval_and_activation_voids_the_approval` |
//! | adopting a stricter policy between them is honoured | `bugs::adopting_a_stricter_policy_between_approval_and_activation_is_honoured` |
//! | a clock set back does not revive a lapse | `bugs::a_clock_set_back_does_not_revive_a_lapse` |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod adoption;
mod bugs;
mod chain_of_keys;
mod custody;
mod epochs;
mod evidence;
mod evidence_vectors;
mod holds;
mod law;
mod many;
mod people;
mod policy;
mod sealed;
mod sealed_vectors;
mod time;
mod vectors;
mod vectors_4;

use std::cell::Cell;

use lifecycle::scenario::Scenario;

thread_local! {
    /// The rules epoch that chains are begun under: the newest, but where the vectors of an older one are made.
    static EPOCH: Cell<u32> = const { Cell::new(lifecycle::RULES) };
}

/// What is made under a rules epoch.
fn at_epoch<T>(epoch: u32, made: impl FnOnce() -> T) -> T {
    let newest = EPOCH.replace(epoch);
    let made = made();
    EPOCH.set(newest);
    made
}

/// A tenant with people, and a policy of the first version.
fn tenant() -> Scenario {
    Scenario::under(EPOCH.get())
}

/// A tenant under this policy, with the pre-active key k1.
#[track_caller]
fn under(policy: &str) -> Scenario {
    let mut scenario = tenant();
    scenario.run(&format!("adopt {policy} by ann,bob => policy.adopted"));
    scenario.run(r#"generate k1 {"asset":"weights"} by kim => key.generated"#);
    scenario.run("apply k1 => custody.applied");
    scenario
}

/// Runs a script in a tenant under this policy, with the pre-active key k1.
#[track_caller]
fn check(policy: &str, script: &str) -> Scenario {
    let mut scenario = under(policy);
    scenario.run(script);
    scenario
}
