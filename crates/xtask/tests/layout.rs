//! The dependency rules of the architecture, held to what cargo says.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Our crates, in rows, each in an order: a crate depends only on crates that come before it.
const PURE: [&str; 5] = ["model", "journal", "lifecycle", "evidence", "keystore"];
const IO: [&str; 4] = ["journal-nats", "journal-sled", "keystore-software", "service"];
const PROCESSES: [&str; 6] = ["issuer", "approver", "activator", "expirer", "evidence-exporter", "custodian"];
const TOOLS: [&str; 2] = ["keylatch", "xtask"];

/// What no pure crate may reach, however far down: a runtime, the bus, a store, the system's random source.
const IMPURE: [&str; 7] = ["tokio", "async-nats", "sled", "redb", "getrandom", "socket2", "mio"];

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(xtask::checkout());
    cargo
}

/// What each of our crates depends on directly (without development dependencies), ours and others'.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = cargo().args(["metadata", "--format-version", "1", "--no-deps", "--locked"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let normal = |package: &Value| -> BTreeSet<String> {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|dependency| dependency["kind"].is_null()).map(name).collect()
    };
    metadata["packages"].as_array().unwrap().iter().map(|package| (name(package), normal(package))).collect()
}

fn order() -> Vec<&'static str> {
    [PURE.as_slice(), &IO, &PROCESSES, &TOOLS].concat()
}

#[test]
fn every_crate_has_its_row_and_its_folder() {
    let crates: BTreeSet<String> = dependencies().into_keys().collect();
    let rows: BTreeSet<String> = order().iter().map(ToString::to_string).collect();
    assert_eq!(crates, rows);
    for name in rows {
        let manifest: PathBuf = xtask::checkout().join("crates").join(&name).join("Cargo.toml");
        assert!(manifest.is_file(), "{name} has another folder");
    }
}

#[test]
fn arrows_point_upwards_only_and_no_process_depends_on_a_process() {
    let (dependencies, order) = (dependencies(), order());
    let place = |name: &str| order.iter().position(|other| *other == name);
    for (name, needs) in &dependencies {
        for needed in needs.iter().filter(|needed| place(needed).is_some()) {
            assert!(place(needed) < place(name), "{name} depends on {needed}, which comes after it");
            let processes = PROCESSES.contains(&name.as_str()) && PROCESSES.contains(&needed.as_str());
            assert!(!processes, "the process {name} depends on the process {needed}");
        }
    }
}

/// Only the custodian reaches key material.
#[test]
fn only_the_custodian_depends_on_a_key_store() {
    for (name, needs) in dependencies() {
        let stores: Vec<&String> = needs.iter().filter(|needed| needed.starts_with("keystore-")).collect();
        assert!(stores.is_empty() || name == "custodian", "{name} depends on {stores:?}");
    }
}

#[test]
fn no_pure_crate_reaches_io_a_clock_or_a_random_source() {
    for name in PURE {
        let output =
            cargo().args(["tree", "-p", name, "-e", "normal", "--prefix", "none", "--locked"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout).unwrap();
        let reached: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        let impure: Vec<&&str> = IMPURE.iter().filter(|impure| reached.contains(**impure)).collect();
        assert!(impure.is_empty(), "{name} reaches {impure:?}");
        assert!(reached.contains(name), "cargo tree says nothing");
    }
}

#[test]
fn every_crate_takes_the_workspaces_lints() {
    for name in order() {
        let manifest = std::fs::read_to_string(xtask::checkout().join("crates").join(name).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} does not take the workspace's lints");
    }
}
