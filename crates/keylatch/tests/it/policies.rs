//! Checking policy files: the line, what is wrong, what would be right, the exit code.

use std::fs;

use crate::{json, keylatch, stderr, stdout};

fn good() -> String {
    toml::to_string(&lifecycle::scenario::policy()).unwrap()
}

fn check(text: &str) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    fs::write(&file, text).unwrap();
    keylatch(folder.path(), &["policy", "check", &file.display().to_string()])
}

#[track_caller]
fn finds(text: &str, line_with: &str, says: &str) {
    let output = check(text);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let line = text.lines().position(|line| line.contains(line_with)).unwrap() + 1;
    let wanted = format!("policy.toml:{line}: ");
    let said = stdout(&output);
    let found = said.lines().find(|said| said.contains(&wanted)).unwrap_or_else(|| panic!("no {wanted} in {said}"));
    assert!(found.contains(says), "{found}");
}

#[test]
fn a_good_policy_passes() {
    let output = check(&good());
    assert!(output.status.success(), "{}", stdout(&output));
    assert!(stdout(&output).contains("(`scenario`) holds together"));
}

#[test]
fn faults_are_named_with_their_line() {
    let policy = good();
    finds(&policy.replace("admin_quorum = 2", "admin_quorum = 1"), "admin_quorum", "let at least 2 admins govern");
    let nobody = policy.replacen("role = \"security\"\nquorum = 1", "role = \"security\"\nquorum = 0", 1);
    finds(&nobody, "[[rule.stage]]", "rule.every-key.stage.1: a quorum of nobody for `security`");
    let short = policy.replace("pre_active_for = \"1h\"", "pre_active_for = \"0s\"");
    finds(&short, "pre_active_for", "keys.pre_active_for: no time at all");
    let twice = policy.replace("name = \"ed25519\"", "name = \"aes-256-gcm\"");
    finds(&twice, "name = \"aes-256-gcm\"", "algorithm.aes-256-gcm: it stands twice");
}

#[test]
fn faults_of_the_evidence_section_are_named_with_their_line() {
    let section = "
[evidence]
heartbeat = \"10s\"
export = { roles = [], every = \"30d\" }
probes = { every = \"1m\" }

[evidence.evaluation]
by = { roles = [\"owner\"], quorum = 0 }
every = \"1h\"
warn_before = \"1h\"
";
    let policy = good().replace("schema = 1", "schema = 3") + section;
    finds(&policy, "heartbeat", "evidence.heartbeat: 10s is too short; allow at least 1m");
    finds(&policy, "export = ", "evidence.export.roles: no role is named");
    finds(&policy, "probes = ", "evidence.probes.every: 1m is too short; allow at least 1h");
    finds(&policy, "by = ", "evidence.evaluation.by.quorum: a quorum of nobody");
    finds(&policy, "every = \"1h\"", "evidence.evaluation.every: 1h is too short; allow at least 1d");
    finds(&policy, "warn_before", "evidence.evaluation.warn_before: 1h is no shorter than 1h; warn later");
    finds(&policy.replace("schema = 3", "schema = 2"), "schema", "it says what version 2 does not know");
}

#[test]
fn a_file_that_does_not_read_is_named_with_the_line() {
    finds(&good().replace("schema = 1", "schema = 1\nschemas = 1"), "schemas", "unknown field `schemas`");
    finds(&good().replace("admin_quorum = 2", "admin_quorum = two"), "admin_quorum", "");
    finds(&good().replace("\"1h\"", "\"1 hour\""), "1 hour", "is not a length of time");
}

#[test]
fn programs_get_the_findings_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    fs::write(&file, good().replace("admin_quorum = 2", "admin_quorum = 0")).unwrap();
    let output = keylatch(folder.path(), &["--json", "policy", "check", &file.display().to_string()]);
    let found = json(&output);
    assert_eq!((output.status.code(), &found["ok"]), (Some(1), &false.into()));
    assert_eq!(found["findings"][0]["at"], "admin_quorum");
    let missing = keylatch(folder.path(), &["policy", "check", "nothing.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("nothing.toml"));
}

#[test]
fn what_needs_no_platform_needs_no_context() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let run = |arguments: &[&str]| keylatch(folder.path(), arguments);
    fs::write(at("policy.toml"), good()).unwrap();
    let checked = run(&["policy", "check", &at("policy.toml")]);
    assert!(checked.status.success());
    assert!(stdout(&checked).contains("not checked: whether people hold the roles"), "{}", stdout(&checked));
    assert!(stdout(&checked).contains("there is no context"), "{}", stdout(&checked));
    let checked = run(&["--json", "policy", "check", "--offline", &at("policy.toml")]);
    assert!(json(&checked)["not_checked"].as_str().unwrap().contains("--offline"));
    let elsewhere = run(&["--context", "nowhere", "policy", "check", &at("policy.toml")]);
    assert!(stdout(&elsewhere).contains("there is no context `nowhere`"), "{}", stdout(&elsewhere));

    for (name, shows) in [("fips-140-3", "module-certificate"), ("ear-740-17", "screening-clear")] {
        assert!(stdout(&run(&["pack", "show", name])).contains(shows));
        let checked = run(&["--json", "pack", "check", name]);
        assert_eq!((checked.status.code(), &json(&checked)["ok"]), (Some(0), &true.into()));
    }
    assert_eq!(json(&run(&["--json", "pack", "show", "fips-140-3"]))["pack"]["version"], 1);
    fs::write(at("ours.toml"), "schema = 1\nname = 7\n").unwrap();
    let broken = run(&["pack", "check", &at("ours.toml")]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(stdout(&broken).contains("ours.toml:2: "), "{}", stdout(&broken));

    let made = run(&["principal", "subject-key", &at("subject.key")]);
    assert!(made.status.success(), "{}", stderr(&made));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(at("subject.key")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(run(&["pack", "declare", "fips-140-3", "--review-by", "+1d"]).status.code(), Some(2));
}
