//! "Never active between", over scripted lives of a key.

use evidence::history::At;
use evidence::never_active::{Verdict, Whole, never_active};
use lifecycle::scenario::{Scenario, key_id};
use model::Timestamp;

use super::stage::{replay, run};

/// A key that waits for ten minutes, is active for ten, suspended for ten, active for ten, and deactivated.
const LIFE: &str = "generate k1 by rae => key.generated
    wait 10m
    request k1 by rae => activation.requested
    approve k1 by sam => activation.approved
    approve k1 by lou => activation.approved
    due => activation.authorized, key.activated
    wait 10m
    suspend k1 by opa => key.suspended
    wait 10m
    resume k1 by opa => key.resumed
    wait 10m
    deactivate k1 by opa => key.deactivated
    wait 10m
    checkpoint => checkpoint.signed";

/// Minutes and seconds after the beginning, such as `12:30`.
fn at(clock: &str) -> Timestamp {
    format!("2026-01-01T00:{clock}.000Z").parse().unwrap()
}

#[track_caller]
fn check(script: &str, from: &str, to: &str, verdict: Verdict, because: &str) {
    let mut scenario = Scenario::new();
    run(&mut scenario, script);
    let replay = replay(&scenario, &scenario.records, 1, 64);
    let chain = &scenario.tenant.chain;
    let last = At { sequence: chain.head().sequence, hash: chain.head().hash, time: chain.time() };
    let of = Whole { tenant: chain.tenant(), root: scenario.tenant.root, last };
    let said = never_active(of, &replay.history().keys[&key_id("k1")], at(from), at(to));
    assert_eq!(said.verdict, verdict, "{from} to {to}: {}", said.because);
    assert!(said.because.contains(because), "{from} to {to}: {}", said.because);
}

#[test]
fn what_a_key_was_between_two_times() {
    use Verdict::{False, NotKnown, True};
    check(LIFE, "00:00", "09:59", True, "not there at first; then pre-active by event");
    check(LIFE, "05:00", "09:59", True, "it was pre-active since event");
    check(LIFE, "05:00", "10:00", False, "active from");
    check(LIFE, "05:00", "45:00", False, "active from");
    check(LIFE, "12:00", "13:00", False, "active from");
    check(LIFE, "20:00", "29:00", False, "active from");
    check(LIFE, "20:01", "29:59", True, "it was suspended since event");
    check(LIFE, "41:00", "50:00", True, "it was deactivated since event");
    check(LIFE, "41:00", "51:00", NotKnown, "the history ends with event");
    check(LIFE, "05:00", "51:00", False, "active from");
}

#[test]
fn a_key_that_is_still_active_has_no_end() {
    let active = LIFE.lines().take(6).collect::<Vec<_>>().join("\n");
    check(&active, "30:00", "31:00", Verdict::False, "and still is");
    check(&active, "00:00", "09:00", Verdict::True, "then pre-active");
}

#[test]
fn a_life_across_a_clock_that_was_set_back_is_taken_at_its_longest() {
    let back = "generate k1 by rae => key.generated
        wait 30m
        request k1 by rae => activation.requested
        approve k1 by sam => activation.approved
        approve k1 by lou => activation.approved
        due => activation.authorized, key.activated
        back 20m
        deactivate k1 by opa => key.deactivated
        wait 50m
        checkpoint => checkpoint.signed";
    check(back, "15:00", "20:00", Verdict::False, "active from");
    check(back, "31:00", "59:00", Verdict::True, "deactivated");
}
