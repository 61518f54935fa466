//! The PKCS#11 store from outside, on SoftHSM: the conformance suite, `pkcs11-tool`, side doors and their findings, tokens
//! that go away, two processes, and SIGKILL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../../src/testing.rs"]
mod testing;

mod away;
mod bench;
mod outside;
mod placed;
mod processes;
mod set_back;
mod side_doors;
mod token_key;

use keystore::conformance::conformance;

use crate::bench::Bench;
use crate::testing::isolated;

#[test]
fn passes_the_conformance_suite() {
    isolated("passes_the_conformance_suite", |tokens| conformance(|| Bench::new(&tokens)));
}

#[test]
fn passes_the_conformance_suite_in_placed_mode() {
    isolated("passes_the_conformance_suite_in_placed_mode", |tokens| conformance(|| Bench::new_placed(&tokens)));
}
