//! The command line on files, on real ssh-keygen and ssh-agent, on exports, and on a platform in memory whose rules,
//! records and key store are the real ones. Then the platform as a whole: a real server, real tenants, real keys.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]
#![allow(unreachable_pub, reason = "one binary of modules")]

mod adoption;
mod applying;
mod bad_input;
mod bundles;
mod certificates;
mod compliance;
mod contexts;
mod custody;
mod exports;
mod files;
mod governed;
mod governing;
mod identities;
mod inboxes;
mod life;
mod load;
mod many;
mod memory;
mod policies;
mod probes;
mod processes;
mod program;
mod proofs;
mod quorums;
mod replaying;
mod requests;
mod sealed;
mod sending;
mod simulating;
mod stores;
mod strangers;
mod subscriber;
mod up;
mod watching;
mod webhook;
mod world;

use std::path::Path;
use std::process::{Command, Output};

/// The program, in a configuration folder of its own.
fn keylatch(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keylatch"));
    command.args(arguments).env("KEYLATCH_CONFIG_HOME", home).env_remove("KEYLATCH_CONTEXT");
    command.env_remove("KEYLATCH_IDENTITY").env_remove("KEYLATCH_LOG").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}
