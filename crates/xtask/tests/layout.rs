//! The dependency rules of the architecture, held to what cargo says and what the sources name.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Our crates, in rows, each in an order: a crate depends only on crates that come before it.
const PURE: [&str; 5] = ["model", "journal", "lifecycle", "evidence", "keystore"];
const IO: [&str; 6] =
    ["journal-nats", "journal-sled", "keystore-software", "keystore-pkcs11", "keystore-kmip", "service"];
const PROCESSES: [&str; 6] = ["issuer", "approver", "activator", "expirer", "evidence-exporter", "custodian"];
const TOOLS: [&str; 3] = ["load-tester", "keylatch", "xtask"];

/// What no pure crate may reach, however far down: a runtime, the bus, a store, the system's random source.
const IMPURE: [&str; 7] = ["tokio", "async-nats", "sled", "redb", "getrandom", "socket2", "mio"];

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(xtask::checkout());
    cargo
}

fn metadata() -> Value {
    let output = cargo().args(["metadata", "--format-version", "1", "--no-deps", "--locked"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What each of our crates depends on directly (without development dependencies), ours and others'.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
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

/// The lines of a crate's sources that reach its programs, each with its file: without comments, the tests at the end of a
/// file, and the modules behind the feature `testing`.
fn lines(name: &str) -> Vec<(PathBuf, String)> {
    let (mut folders, mut files) = (vec![xtask::checkout().join("crates").join(name).join("src")], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.clone(), std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let root = files.iter().find(|(path, _)| path.ends_with("src/lib.rs")).map_or("", |(_, text)| text);
    let gated = root.lines().zip(root.lines().skip(1)).filter(|(gate, _)| gate.contains("feature = \"testing\""));
    let testing: BTreeSet<String> = gated
        .filter_map(|(_, module)| Some(format!("src/{}.rs", module.strip_prefix("pub mod ")?.strip_suffix(';')?)))
        .collect();
    let mut lines = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| !testing.iter().any(|module| path.ends_with(module))) {
        let program = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let code = program.lines().filter(|line| !line.trim_start().starts_with("//"));
        let path = path.strip_prefix(xtask::checkout()).unwrap();
        lines.extend(code.map(|line| (path.to_owned(), line.to_owned())));
    }
    assert!(!lines.is_empty(), "{name} has no sources");
    lines
}

#[test]
fn no_pure_crate_names_files_sockets_the_environment_or_processes() {
    for name in PURE {
        for (path, line) in lines(name) {
            let words: BTreeSet<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let impure = ["fs", "net", "env", "process"].into_iter().find(|module| words.contains(module));
            assert!(!words.contains("std") || impure.is_none(), "{}: {line}", path.display());
        }
    }
}

/// The commit point is in one place; the registrar's is the first event of a chain.
#[test]
fn only_the_lane_and_the_registrar_append_to_the_log() {
    let calls = [".append(", "::append(", ".append_behind(", "::append_behind("];
    let appends = |line: &str| calls.iter().any(|call| line.contains(call));
    // Other things that are appended to: a file, the archive. And the port itself, whose one way goes by the other.
    let others = [".append(true)", "archive.append(", "Self::append(self, tenant, head, batch)"];
    let other = |line: &str| others.iter().any(|other| line.contains(other));
    let lines = order().into_iter().flat_map(lines);
    let found: BTreeSet<PathBuf> =
        lines.filter(|(_, line)| appends(line) && !other(line)).map(|(path, _)| path).collect();
    let expected = ["crates/keylatch/src/platform/registrar.rs", "crates/service/src/lane/begin.rs"];
    assert_eq!(found, expected.map(PathBuf::from).into());
}

/// What only tests need is in no program.
#[test]
fn only_development_dependencies_turn_on_what_is_for_tests() {
    for package in metadata()["packages"].as_array().unwrap() {
        for dependency in package["dependencies"].as_array().unwrap() {
            let testing = dependency["features"].as_array().unwrap().iter().any(|feature| feature == "testing");
            assert!(!testing || dependency["kind"] == "dev", "{} takes {}", package["name"], dependency["name"]);
        }
    }
}
