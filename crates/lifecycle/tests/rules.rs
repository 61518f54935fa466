//! The rules, step by step: one `check`, many lines.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use lifecycle::scenario::Scenario;

/// Runs a script in a tenant with policy, people and the pre-active key k1.
#[track_caller]
fn check(script: &str) {
    let mut scenario = Scenario::new();
    scenario.run("generate k1 by kim => key.generated\napply k1 => custody.applied");
    scenario.run(script);
}

#[test]
fn a_key_goes_from_birth_to_use_to_its_end() {
    check(
        "use k1 encrypt by app => refused key-not-active
         request k1 by rae => activation.requested
         due => nothing
         approve k1 by sam => activation.approved
         due => nothing
         use k1 encrypt by app => refused key-not-active
         approve k1 by lou => activation.approved
         due => activation.authorized, key.activated
         use k1 encrypt by app => refused custody-pending
         apply k1 => custody.applied
         use k1 encrypt by app => allowed
         use k1 sign by app => refused operation-not-allowed
         use k1 encrypt by sam => refused role-missing
         suspend k1 by opa => key.suspended
         use k1 decrypt by app => refused key-not-active
         resume k1 by opa => key.resumed
         apply k1 => custody.applied
         use k1 decrypt by app => allowed
         wait 23h
         use k1 encrypt by app => allowed
         due => nothing
         wait 1h
         use k1 encrypt by app => refused key-not-active
         use k1 decrypt by app => allowed
         due => key.deactivated
         apply k1 => custody.applied
         use k1 decrypt by app => allowed
         use k1 encrypt by app => refused key-not-active
         destroy k1 by opa,sam => key.destroyed
         use k1 decrypt by app => refused key-not-active
         apply k1 => custody.applied
         apply k1 => refused nothing-due
         compromise k1 by opa => key.compromised",
    );
}

#[test]
fn rejects_approval_by_the_one_who_asked_whichever_key_signs() {
    check(
        "request k1 by rae => activation.requested
         approve k1 by rae => refused self-approval
         approve k1 by ray => refused self-approval",
    );
}

#[test]
fn one_person_is_one_vote_in_several_roles_too() {
    check(
        "request k1 by kim => activation.requested
         approve k1 by dee => activation.approved
         approve k1 by dee => refused already-voted
         due => nothing
         approve k1 by rae => activation.approved
         approve k1 by ray => refused already-voted
         due => activation.authorized, key.activated",
    );
}

#[test]
fn only_people_with_a_stage_role_approve() {
    check(
        "request k1 by rae => activation.requested
         approve k1 by opa => refused role-missing
         approve k1 by ann => refused role-missing
         approve k1 by bot => refused not-a-person
         approve k1 by zoe => refused unknown-principal
         reject k1 by opa => refused role-missing
         approve k1 by sam,lou => refused quorum-not-met",
    );
}

#[test]
fn a_rejection_closes_the_request_and_a_new_one_starts_from_nothing() {
    check(
        "request k1 by rae => activation.requested
         approve k1 by sam => activation.approved
         reject k1 by lou => activation.rejected
         approve k1 by lou => refused request-closed
         cancel k1 by rae => refused request-closed
         request k1 by rae => activation.requested
         approve k1 by lou => activation.approved
         due => nothing
         request k1 by kim => refused request-open
         cancel k1 by opa => refused role-missing
         cancel k1 by ray => activation.cancelled
         request k1 by rae => activation.requested
         cancel k1 by ann => activation.cancelled",
    );
}

#[test]
fn only_owners_create_and_ask() {
    check(
        "generate k2 by sam => refused role-missing
         generate k1 by kim => refused key-exists
         generate k2 by zoe => refused unknown-principal
         request k1 by sam => refused role-missing
         request k2 by rae => refused unknown-key
         request k1 other by rae => refused identity-mismatch",
    );
}

#[test]
fn times_of_a_request_fit_together() {
    check(
        "request k1 until 25h by rae => refused period-too-long
         request k1 after 10m until 5m by rae => refused times-invalid
         request k1 after 2h by rae => refused times-invalid
         request k1 after 10m until 2h by rae => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved
         due => activation.authorized
         duty activate k1 => refused not-yet-due
         activate k1 by opa => refused not-yet-due
         wait 10m
         due => key.activated
         wait 1h
         due => nothing
         wait 50m
         due => key.deactivated",
    );
}

#[test]
fn activation_on_command_is_a_permission_of_its_own() {
    check(
        "activate k1 by opa => refused unknown-request
         request k1 by rae => activation.requested
         approve k1 by sam => activation.approved
         activate k1 by opa => refused not-authorized
         duty activate k1 => refused not-authorized
         duty authorize k1 => refused nothing-due
         approve k1 by lou => activation.approved
         duty authorize k1 => activation.authorized
         duty authorize k1 => refused nothing-due
         approve k1 by sue => refused nothing-due
         activate k1 by sam => refused role-missing
         activate k1 by opa => key.activated
         activate k1 by opa => refused key-not-pre-active
         approve k1 by sue => refused key-not-pre-active
         request k1 by rae => refused key-not-pre-active",
    );
}

#[test]
fn approvals_run_out_and_their_lapse_is_an_event() {
    check(
        "request k1 after 25m by rae => activation.requested
         approve k1 by sam => activation.approved
         wait 10m
         approve k1 by lou => activation.approved
         due => activation.authorized
         wait 10m
         due => activation.lapsed
         wait 5m
         duty activate k1 => refused not-authorized
         approve k1 by sue => activation.approved
         due => activation.authorized, key.activated",
    );
}

#[test]
fn a_request_runs_out_unless_it_was_authorised() {
    check(
        "request k1 by rae => activation.requested
         wait 29m
         approve k1 by sam => activation.approved
         due => nothing
         wait 1m
         duty authorize k1 => refused nothing-due
         due => activation.lapsed
         approve k1 by lou => refused request-closed
         request k1 by rae => activation.requested",
    );
}

#[test]
fn a_key_that_nobody_activates_expires_and_is_destroyed() {
    check(
        "wait 59m
         due => nothing
         duty expire k1 => refused not-yet-due
         request k1 by rae => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved
         wait 1m
         duty activate k1 => refused not-authorized
         duty expire k1 => key.expired
         approve k1 by sue => refused key-not-pre-active
         duty activate k1 => refused key-not-pre-active
         request k1 by rae => refused key-not-pre-active
         due => key.destroyed
         apply k1 => custody.applied
         due => nothing",
    );
}

#[test]
fn revoking_a_person_between_approval_and_activation_voids_the_approval() {
    check(
        "request k1 after 5m by rae => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved
         due => activation.authorized
         revoke sam by ann,bob => principal.revoked
         wait 5m
         duty activate k1 => refused quorum-not-met
         approve k1 by sam => refused principal-revoked
         approve k1 by sue => activation.approved
         due => key.activated",
    );
}

#[test]
fn a_stricter_policy_between_approval_and_activation_is_honoured() {
    check(
        "request k1 after 5m by rae => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved
         due => activation.authorized
         adopt two-security by ann,bob => policy.adopted
         wait 5m
         duty activate k1 => refused quorum-not-met
         activate k1 by opa => refused quorum-not-met
         approve k1 by sue => activation.approved
         due => key.activated",
    );
}

#[test]
fn an_algorithm_that_ran_out_is_refused_at_activation() {
    check(
        "request k1 after 5m by rae => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved
         due => activation.authorized
         adopt no-aes by ann,bob => policy.adopted
         wait 5m
         duty activate k1 => refused algorithm-not-allowed
         generate k2 by kim => refused algorithm-not-allowed",
    );
}

#[test]
fn losing_a_role_loses_the_vote() {
    check(
        "request k1 after 5m by rae => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved
         due => activation.authorized
         roles lou owner by ann,bob => principal.changed
         wait 5m
         duty activate k1 => refused quorum-not-met",
    );
}

#[test]
fn states_change_only_by_the_table() {
    check(
        "suspend k1 by opa => refused forbidden-transition
         resume k1 by opa => refused forbidden-transition
         deactivate k1 by opa => refused forbidden-transition
         suspend k1 by sam => refused role-missing
         destroy k1 by opa => refused quorum-not-met
         destroy k1 by opa,kim => refused quorum-not-met
         compromise k1 by opa => key.compromised
         request k1 by rae => refused key-not-pre-active
         resume k1 by opa => refused forbidden-transition
         apply k1 => custody.applied
         destroy k1 by opa,oto => key.destroyed
         destroy k1 by opa,oto => refused forbidden-transition
         compromise k1 by opa => refused forbidden-transition",
    );
}

#[test]
fn governing_takes_a_quorum_of_admins_and_keeps_one() {
    check(
        "enroll zoe security by ann => refused quorum-not-met
         enroll zoe security by ann,sam => refused quorum-not-met
         enroll zoe security by sam,lou => refused role-missing
         enroll sam security by ann,bob => refused principal-exists
         enroll zoe security by ann,bob => principal.enrolled
         revoke cid by ann,bob => principal.revoked
         revoke ann by ann,bob => refused last-admins
         roles bob owner by ann,bob => refused last-admins
         revoke zoe by cid,bob => refused principal-revoked
         revoke zoe by ann,bob => principal.revoked
         revoke zoe by ann,bob => refused principal-revoked
         enroll zoe security by ann,bob => refused principal-exists
         adopt quorum 3 by ann,bob => refused last-admins
         roles bot admin by ann,bob => refused not-a-person",
    );
}

#[test]
fn a_policy_that_could_activate_a_key_with_no_approval_is_refused() {
    check(
        "adopt no-stages by ann,bob => refused policy-refused
         adopt nobody by ann,bob => refused policy-refused
         adopt quorum 1 by ann,bob => refused policy-refused
         adopt quorum 0 by ann,bob => refused policy-refused
         adopt quorum 3 by ann,bob => policy.adopted
         adopt by ann,bob => refused quorum-not-met
         adopt by ann,bob,cid => policy.adopted",
    );
}

#[test]
fn checkpoints_cover_everything_before_them_and_are_not_repeated() {
    check(
        "checkpoint => checkpoint.signed
         checkpoint => refused not-yet-due
         request k1 by rae => activation.requested
         checkpoint => checkpoint.signed",
    );
}
