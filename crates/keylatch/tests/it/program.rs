//! The program as people run it, on the real platform: from a context to an export, each as themselves.

use std::path::Path;

use serde_json::Value;

use crate::quorums::key_file;
use crate::world::World;
use crate::{json, keylatch};

/// Somebody at a machine with a context.
pub(crate) struct People<'a> {
    pub(crate) home: &'a Path,
}

impl People<'_> {
    /// Runs a command as somebody, who must be let: the JSON that comes of it.
    #[track_caller]
    pub(crate) fn done(&self, who: &str, command: &str) -> Value {
        let output = self.run(who, command);
        assert!(output.status.success(), "{command}: {output:?}");
        json(&output)
    }

    /// Runs a command as somebody, who must not be let: the exit code and the problem.
    #[track_caller]
    pub(crate) fn refused(&self, who: &str, command: &str, problem: &str) {
        let output = self.run(who, command);
        assert_eq!(output.status.code(), Some(1), "{command}: {output:?}");
        assert_eq!(json(&output)["type"], format!("urn:keylatch:problem:{problem}"), "{command}");
    }

    pub(crate) fn run(&self, who: &str, command: &str) -> std::process::Output {
        let identity = self.home.join(who).display().to_string();
        let mut arguments = vec!["--json", "--identity", &identity];
        arguments.extend(command.split_whitespace());
        keylatch(self.home, &arguments)
    }
}

/// Two admins adopt a policy that asks for evidence and a procedure, and register the store; then the tests are signed.
fn stands_by(people: &People<'_>, file: &str) {
    let evidence = serde_json::json!({
        "export": { "roles": ["privacy"] },
        "evaluation": { "by": { "roles": ["security"], "quorum": 1 }, "every": "90d" },
    });
    let policy = lifecycle::scenario::patched_policy(&serde_json::json!({ "schema": 3, "evidence": evidence }));
    std::fs::write(format!("{file}.toml"), toml::to_string(&policy).unwrap()).unwrap();
    std::fs::write(file, "Ask, have two people look at it, wait.").unwrap();
    let two = format!("--yes --out {file}.json");
    for command in [
        format!("policy adopt {file}.toml {two}"),
        format!(
            "procedure adopt {file} --name generating --title Generating --kind procedure --covers 11 --owner lou --review-by +365d {two}"
        ),
        format!("store register --name software --kind software --server kms-1 --database files {two}"),
    ] {
        people.done("ann", &command);
        people.done("bob", &format!("sign {file}.json --yes"));
        people.done("bob", &format!("submit {file}.json"));
        std::fs::remove_file(format!("{file}.json")).unwrap();
    }
    assert_eq!(people.done("sam", "procedure list")["documents"][0]["in_log"], true);
    assert_eq!(people.done("sam", "store list")["not_registered"], serde_json::json!([]));
    assert_eq!(people.done("sam", "controls evaluate --yes")["action"], "control.evaluate");
}

/// What an auditor finds who has a bundle and no account.
fn looked_back_at(people: &People<'_>, bundle: &str, export: &str, sample: &str) {
    let tests = people.run("nobody", &format!("controls {export}"));
    let controls = json(&tests);
    let bundled = std::fs::read_to_string(format!("{bundle}/controls.json")).unwrap();
    assert_eq!(crate::stdout(&tests), bundled, "byte for byte what the exporter made");
    let test = |id: &str| controls["controls"].as_array().unwrap().iter().find(|test| test["id"] == id).unwrap();
    for id in ["CEK-15.01", "CEK-15.03", "CEK-15.11", "CEK-15.13"] {
        assert_eq!(test(id)["outcome"], "no-exceptions", "{id}: {}", test(id));
    }
    assert_eq!(tests.status.code(), Some(1), "one process is all roles: an exception");
    assert_eq!(test("separation")["outcome"], "exceptions");
    let never = people.run("nobody", &format!("never-active weights --between 2020-01-01 +1d {export}"));
    assert_eq!((never.status.code(), &json(&never)["verdict"]), (Some(1), &"fails".into()));
    let never = people.done("nobody", &format!("never-active weights --between 2020-01-01 2020-02-01 {export}"));
    assert_eq!(never["verdict"], "holds");
    let drawn = people.done("nobody", &format!("evidence sample --of activations --out {sample} {export}"));
    assert_eq!(drawn["sample"]["population"]["count"], 1);
    assert_eq!(drawn["sample"]["checkpoint"]["size"].to_string(), bundled_events(&controls), "the bundle's own");
    assert_eq!(
        people.done("nobody", &format!("evidence sample check {sample} {export}"))["faults"],
        serde_json::json!([])
    );
}

/// How many events a bundle holds.
fn bundled_events(controls: &Value) -> String {
    controls["period"]["to"].as_str().unwrap().trim_start_matches('0').to_owned()
}

const WHY: &str = "--reason-kind test --reason because";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_goes_from_birth_to_an_export_by_the_program_alone() {
    let world = World::start().await;
    world.tenant("acme").await;
    let (home, platform) = (tempfile::tempdir().unwrap(), world.platform.deployment().dir().display().to_string());
    for who in ["ann", "bob", "rae", "sam", "lou", "opa", "app"] {
        key_file(home.path(), who);
    }
    let made = keylatch(home.path(), &["tenant", "user", "acme", "--dir", &platform, "--context", "acme"]);
    assert!(made.status.success(), "{made:?}");
    let people = People { home: home.path() };
    let at = |name: &str| home.path().join(name).display().to_string();
    assert_eq!(people.done("ann", "doctor")["ok"], true);

    let spec = "--workload general --responsibility application --jurisdiction EU --classification secret \
                --environment production";
    let key = people.done("rae", &format!("key generate weights {spec}"));
    assert_eq!(key["state"], "pre-active");
    people.refused("sam", &format!("key generate other {spec}"), "role-missing");
    std::fs::write(at("in"), "what is to be kept").unwrap();
    let encrypt = format!("use encrypt {} -o {} --key weights", at("in"), at("sealed"));
    people.refused("app", &encrypt, "key-not-active");

    people.done("rae", &format!("request weights {WHY} --system endpoint --legal-basis law"));
    people.refused("rae", "approve weights --yes", "role-missing");
    people.done("sam", "approve weights --yes");
    let open = people.done("opa", "requests");
    assert_eq!(open["requests"][0]["missing"], serde_json::json!(["1 of `privacy`"]));
    people.done("lou", "approve weights --yes --note seen");
    // The platform activates it by itself: the eighth event of this key.
    let seen = people.run("rae", "watch --key weights --from 1 --count 8");
    let last = String::from_utf8(seen.stdout).unwrap().lines().last().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&last).unwrap()["type"], "key.activated", "{last}");

    people.done("app", &encrypt);
    people.done("app", &format!("use decrypt {} -o {}", at("sealed"), at("out")));
    assert_eq!(std::fs::read(at("out")).unwrap(), std::fs::read(at("in")).unwrap());
    people.done("opa", &format!("key suspend weights {WHY}"));
    people.refused("app", &format!("{encrypt} --force"), "key-not-active");

    // The policy asks for two: one writes it, the other signs and sends it.
    people.done("opa", &format!("key destroy weights {WHY} --yes --out {}", at("destroy.json")));
    people.done("sam", &format!("sign {} --yes", at("destroy.json")));
    let sent = people.done("sam", &format!("submit {}", at("destroy.json")));
    assert_eq!(people.done("sam", &format!("submit {}", at("destroy.json"))), sent, "the same answer");
    assert_eq!(people.done("rae", "key show weights")["key"]["state"], "destroyed");

    stands_by(&people, &at("procedure.md"));
    people.refused("rae", &format!("export {}", at("evidence")), "role-missing");
    let exported = people.done("lou", &format!("export {}", at("evidence")));
    let (root, head) = (exported["root"].as_str().unwrap(), exported["head"].as_str().unwrap());
    people.done("rae", &format!("verify {} --root {root} --expect-head {head}", at("evidence")));
    let export = format!("--export {} --root {root}", at("evidence"));
    looked_back_at(&people, &at("evidence"), &export, &at("sample"));
    // What is drawn from the platform is checked with the bundle as well, and the other way round.
    people.done("nobody", &format!("evidence sample check {}", at("sample")));
    world.platform.stop().await.unwrap();
    assert_eq!(people.run("rae", "key list").status.code(), Some(3));
}
