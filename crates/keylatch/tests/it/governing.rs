//! The whole program's words for governing, on the platform in memory: what people type, what they read, what is recorded.

use std::path::Path;
use std::sync::Arc;

use clap::Parser as _;
use keylatch::cli::{Cli, Command, EvidenceCommand};
use keylatch::command::{
    access, controls, delegation, fact, history, hold, inbox, key, never_active, pack, policy, principal, procedure,
    sample, store,
};
use keylatch::error::Exit;
use keylatch::{Error, Screen};
use serde_json::{Value, json};

use crate::memory::Platform;
use crate::quorums::key_file;

/// What a command came to.
pub(crate) struct Came {
    pub(crate) done: Result<Exit, Error>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Came {
    /// What it says, where it was done.
    #[track_caller]
    pub(crate) fn said(self) -> String {
        assert!(matches!(self.done, Ok(Exit::Ok)), "{:?}\n{}\n{}", self.done, self.out, self.err);
        self.out
    }

    /// What it says in JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {} {:?}", self.out, self.done))
    }

    /// Why it was not done, with the advice.
    #[track_caller]
    pub(crate) fn refusal(self) -> String {
        let error = self.done.err().unwrap_or_else(|| panic!("it was done: {}", self.out));
        format!("{error} -> {}", error.advice())
    }
}

/// Runs a command line as one of the scenario's people, who says yes.
pub(crate) async fn run(platform: &Arc<Platform>, who: &str, line: &str) -> Came {
    run_words(platform, who, &words(line)).await
}

pub(crate) async fn run_words(platform: &Arc<Platform>, who: &str, words: &[String]) -> Came {
    run_answering(platform, who, words, &["y", "y"]).await
}

/// The same, where questions are answered in turn by these lines.
pub(crate) async fn run_answering(platform: &Arc<Platform>, who: &str, words: &[String], answers: &[&str]) -> Came {
    let cli =
        Cli::try_parse_from(["keylatch".to_owned()].iter().chain(words)).unwrap_or_else(|error| panic!("{error}"));
    let mut session = platform.session(who);
    let (mut screen, out, err) = Screen::scripted(cli.global.json, answers.iter().map(ToString::to_string));
    let (session, screen) = (&mut session, &mut screen);
    let done = match cli.command {
        Command::Access(command) => access::run(command, session, screen).await.map(|()| Exit::Ok),
        Command::Controls(args) if args.offline().is_some() => controls::run_offline(&args, screen).await,
        Command::Controls(args) => controls::run(*args, session, screen).await,
        Command::Delegation(command) => delegation::run(command, session, screen).await.map(|()| Exit::Ok),
        Command::Fact(command) => fact::run(command, session, screen).await.map(|()| Exit::Ok),
        Command::History(args) => history::run(args, session, screen).await.map(|()| Exit::Ok),
        Command::Hold(command) => hold::run(command, session, screen).await.map(|()| Exit::Ok),
        Command::Inbox(args) => inbox::run(args, session, screen).await.map(|()| Exit::Ok),
        Command::Key(command) => key::run(command, session, screen).await.map(|()| Exit::Ok),
        Command::NeverActive(args) if args.offline().is_some() => never_active::run_offline(&args, screen).await,
        Command::NeverActive(args) => never_active::run(args, session, screen).await,
        Command::Pack(command) => pack::run(command, session, screen).await,
        Command::Policy(command) => policy::run(command, session, screen).await,
        Command::Principal(command) => principal::run(command, session, screen).await.map(|()| Exit::Ok),
        Command::Procedure(command) => procedure::run(command, session, screen).await,
        Command::Evidence(EvidenceCommand::Sample(args)) if args.offline().is_some() => {
            sample::run_offline(&args, screen).await
        }
        Command::Evidence(EvidenceCommand::Sample(args)) => sample::run(&args, session, screen).await,
        Command::Store(command) => store::run(command, session, screen).await.map(|()| Exit::Ok),
        other => panic!("not here: {other:?}"),
    };
    // What people read can be looked at.
    if std::env::var_os("SHOW").is_some() {
        println!(
            "$ keylatch {}\n{}{}{}",
            words.join(" "),
            err.text(),
            out.text(),
            match &done {
                Ok(exit) => format!("[{exit:?}]"),
                Err(error) => error.to_people(),
            }
        );
    }
    Came { done, out: out.text(), err: err.text() }
}

/// Words with blanks between them, those in single quotes together.
pub(crate) fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(place, part)| match place % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

/// A step of the scenario's script, which must lead to this event.
#[track_caller]
pub(crate) fn step(platform: &Platform, step: &str, came: &str) {
    assert_eq!(platform.with(|inside| inside.scenario.perform(step)), came, "{step}");
}

/// A key that waits, and says what it protects.
#[track_caller]
pub(crate) fn born(platform: &Platform, key: &str) {
    step(platform, &format!("generate {key} {{\"asset\":\"weights\"}} by rae"), "key.generated");
}

/// The scenario's policy in version 2, for keys of the application, changed by a merge patch.
#[track_caller]
pub(crate) fn adopt(platform: &Platform, change: Value) {
    step(platform, &format!("adopt {} by ann,bob", of_application(change)), "policy.adopted");
}

/// A change of a policy whose rules are for keys of one party alone.
fn of_application(mut change: Value) -> Value {
    let layers = json!(["application"]);
    match &mut change["rule"] {
        Value::Array(rules) => rules.iter_mut().for_each(|rule| rule["when"]["responsibility"] = layers.clone()),
        rule => rule["when"]["responsibility"] = layers,
    }
    change
}

fn role(name: &str) -> Value {
    json!({ "roles": [name] })
}

#[track_caller]
pub(crate) fn shows(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "`{wanted}` is not in\n{text}");
    }
}

pub(crate) fn cosigned(folder: &Path, who: &str) -> String {
    format!("--cosign {}", key_file(folder, who).display())
}

// === Policy ===

fn policy_file(folder: &Path, change: Value) -> String {
    let policy = lifecycle::scenario::patched_policy(&of_application(change));
    let path = folder.join("next.toml");
    std::fs::write(&path, toml::to_string(&policy).unwrap()).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn a_policy_is_held_against_the_tenants_people_and_keys() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    born(&platform, "k1");
    let change = json!({ "rule": { "when": { "workload": ["other"] }, "stage": [
        { "role": "security", "quorum": 2 }, { "role": "auditor", "quorum": 1 }, { "role": "privacy", "quorum": 3 } ] },
        "algorithm": [{ "name": "ed25519", "crypto_period": "1d" }] });
    let file = policy_file(folder.path(), change);
    let came = run(&platform, "ann", &format!("policy check {file}")).await;
    assert!(matches!(came.done, Ok(Exit::Refused)));
    shows(
        &came.out,
        &[
            "rule.every-key.stage.2: nobody here for 1 of `auditor`; enrol somebody with that role first",
            "rule.every-key.stage.3: 3 people are asked for, and 2 could be among them (3 of `privacy`)",
            "rule: no rule for workload `model-storage`",
            "`k1` (pre-active)",
            "algorithm: `aes-256-gcm` is not listed, and there are keys of it: `k1` (pre-active)",
            "(it can be adopted all the same)",
        ],
    );
    let text = std::fs::read_to_string(&file).unwrap();
    let line = text.lines().position(|line| line == "role = \"auditor\"").unwrap();
    shows(&came.out, &[&format!("next.toml:{line}: rule.every-key.stage.2")]);
    let json = run(&platform, "ann", &format!("--json policy check {file}")).await.json();
    assert_eq!(json["findings"].as_array().unwrap().len(), 4);
    assert_eq!(
        (&json["findings"][0]["blocks_adoption"], &json["findings"][3]["blocks_adoption"]),
        (&true.into(), &false.into())
    );
}

/// What nobody here could do, and which keys nobody could have: the one is to be mended, the other may be meant.
#[tokio::test]
async fn a_policy_that_leaves_something_to_nobody_says_so() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let change = json!({
        "admin_quorum": 4,
        "keys": { "revalidation": { "roles": ["counsel"], "every": "20m" } },
        "fact": [{ "name": "residency", "roles": ["counsel"], "valid_max": "1d" }],
    });
    let came = run(&platform, "ann", &format!("policy check {}", policy_file(folder.path(), change))).await;
    assert!(matches!(came.done, Ok(Exit::Refused)));
    shows(
        &came.out,
        &[
            "admin_quorum: 4 people are asked for, and 3 could be among them (`admin`)",
            "keys.revalidation.roles: nobody here for `counsel`",
            "fact.residency.roles: nobody here for `counsel`; enrol somebody with that role first (it can be adopted",
            "note: there are `model` keys that no rule is for",
        ],
    );
    let good = run(&platform, "ann", &format!("--json policy check {}", policy_file(folder.path(), json!({})))).await;
    assert!(matches!(good.done, Ok(Exit::Ok)), "a note is nothing to mend: {}", good.out);
    assert_eq!(good.json()["notes"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn every_policy_that_was_adopted_is_listed_shown_and_compared() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    adopt(&platform, json!({ "name": "second", "keys": { "pre_active_for": "30m" } }));
    let history = run(&platform, "sam", "policy history").await.said();
    shows(&history, &["VERSION", "scenario", "second", "ann, bob", "in force"]);
    let first = run(&platform, "sam", "policy show --version 1").await.said();
    shows(&first, &["# version 1, adopted", "pre_active_for = \"1h\""]);
    assert!(run(&platform, "sam", "policy show --version 7").await.refusal().contains("there are 2"));
    let diff = run(&platform, "sam", "policy diff --from 1 --to 2").await.said();
    shows(
        &diff,
        &["version 2 against version 1", "stricter  keys.pre_active_for: 1h → 30m", "How long a key may wait"],
    );
    let file = policy_file(
        folder.path(),
        json!({ "name": "third", "rule": { "stage": [{ "role": "security", "quorum": 2 }] } }),
    );
    let diff = run(&platform, "sam", &format!("policy diff {file}")).await.said();
    shows(
        &diff,
        &[
            "version 2, in force",
            "laxer     keys.pre_active_for: 30m → 1h",
            "stricter  rule.every-key.stage.security.quorum: 1 → 2",
            "laxer     rule.every-key.stage.privacy: gone: role privacy; quorum 1",
            "1 stricter, 2 laxer, 1 neither or both",
        ],
    );
    let came = run(&platform, "ann", &format!("policy adopt {file} {}", cosigned(folder.path(), "bob"))).await;
    shows(&came.err, &["what is meant", "rule.every-key.stage.privacy: gone", "things still stand so"]);
    came.said();
    let again = run(&platform, "ann", &format!("policy adopt {file}")).await.said();
    shows(&again, &["it is in force already, as version 3"]);
    assert!(run(&platform, "ann", &format!("policy diff {file}")).await.said().contains("say the same"));
}

// === People ===

#[tokio::test]
async fn one_human_is_not_enrolled_under_two_names() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let made = run(&platform, "ann", &format!("principal subject-key {}", at("subject.key"))).await.said();
    let secret = std::fs::read_to_string(at("subject.key")).unwrap();
    assert!(!made.contains(secret.trim()), "the key is never shown");
    assert!(
        run(&platform, "ann", &format!("principal subject-key {}", at("subject.key")))
            .await
            .refusal()
            .contains("take another name")
    );
    for who in ["zoe", "zed"] {
        std::fs::write(at(who), lifecycle::scenario::public_key(who).to_string()).unwrap();
    }
    let enroll = |who: &str, subject: &str| {
        format!(
            "principal enroll {who} --key {} --role security --party mp --subject-issuer https://id.example --subject {subject} \
             --subject-key {} {}",
            at(who),
            at("subject.key"),
            cosigned(folder.path(), "bob")
        )
    };
    run(&platform, "ann", &enroll("zoe", "u-1")).await.said();
    let shown = run(&platform, "ann", "principal show zoe").await.said();
    shows(&shown, &["acts for", "mp", "bound by a keyed hash"]);
    let refused = run(&platform, "ann", &enroll("zed", "u-1")).await.refusal();
    assert!(refused.contains("`zoe`"), "{refused}");
    run(&platform, "ann", &enroll("zed", "u-2")).await.said();
    std::fs::set_permissions(at("subject.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(run(&platform, "ann", &enroll("zed", "u-2")).await.refusal().contains("chmod 600"));
}

#[tokio::test]
async fn a_key_is_rotated_by_the_old_one_or_by_admins() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let (new, newer) = (key_file(folder.path(), "sam-2"), key_file(folder.path(), "sam-3"));
    let why = "--reason-kind rotation --reason 'a new token'";
    let came = run(&platform, "sam", &format!("principal rotate --key {} {why}", new.display())).await;
    shows(&came.err, &["principal.rotate", "who", "sam (security)", "from now on the new key signs for you"]);
    came.said();
    let other = run(&platform, "lou", &format!("principal rotate sam --key {} {why}", newer.display())).await.refusal();
    shows(&other, &["and you sign as", "--by-admins"]);
    let line =
        format!("principal rotate sam --by-admins --key {} {why} {}", newer.display(), cosigned(folder.path(), "bob"));
    run(&platform, "ann", &line).await.said();
    // Apart: an admin begins, another one and whoever has the new key sign the file.
    let (out, newest) = (folder.path().join("rotate.json"), folder.path().join("sam-4.pub"));
    std::fs::write(&newest, lifecycle::scenario::public_key("sam-4").to_string()).unwrap();
    let line = format!("principal rotate sam --by-admins --key {} {why} --out {}", newest.display(), out.display());
    shows(&run(&platform, "ann", &line).await.said(), &["principal.rotate signed by 1"]);
    for who in ["bob", "sam-4"] {
        let session = platform.ready(who).await;
        let hand = session.hand().unwrap();
        let (mut screen, _, err) = Screen::captured(false, [true]);
        keylatch::command::sign::sign(&out, &*hand, Some(session.known()), false, &mut screen, session.now()).unwrap();
        shows(&err.text(), &["what is meant", "sam (security)", "signed by", "ann", "things still stand so"]);
    }
    keylatch::command::submit::submit(&mut platform.session("app"), &mut Screen::silent(), &out).await.unwrap();
    let list = run(&platform, "ann", "--json principal list").await.json();
    let of_sam = list["principals"].as_array().unwrap().iter().filter(|one| one["principal"]["label"] == "sam");
    let standing: Vec<bool> = of_sam.map(|one| one["revoked"].is_null()).collect();
    assert_eq!((standing.len(), standing.iter().filter(|stands| **stands).count()), (4, 1));
}

#[tokio::test]
async fn votes_are_delegated_seen_and_ended() {
    let platform = Platform::new();
    adopt(&platform, json!({ "people": { "delegation_max": "14d" } }));
    let why = "--reason-kind maintenance --reason 'on leave'";
    let grant = format!("delegation grant sue --role security --until 2026-01-10 {why}");
    let came = run(&platform, "sam", &grant).await;
    shows(&came.err, &["to", "sue (security)", "things still stand so"]);
    came.said();
    shows(&run(&platform, "sam", &grant).await.said(), &["it stands already"]);
    let list = run(&platform, "lou", "--json delegation list").await.json();
    let delegation = &list["delegations"][0];
    assert_eq!((&delegation["from"]["label"], &delegation["stands"]), (&"sam".into(), &true.into()));
    let end = format!("delegation end {} {why}", &delegation["delegation"].as_str().unwrap()[..12]);
    run(&platform, "sue", &end).await.said();
    shows(&run(&platform, "sue", &end).await.said(), &["it has ended already"]);
    run(&platform, "lou", &format!("delegation grant dee --role privacy --until +3d {why}")).await.said();
    step(&platform, "revoke dee by ann,bob", "principal.revoked");
    shows(&run(&platform, "ann", "delegation list").await.said(), &["void: dee is no longer enrolled with this key"]);
    shows(&run(&platform, "ann", "access show").await.said(), &["the policy asks for no review of this"]);
    let line = format!("delegation end {} {why}", first_delegation(&platform).await);
    run(&platform, "ann", &line).await.said();
    shows(&run(&platform, "sue", "delegation list").await.said(), &["nobody has delegated anything"]);
    shows(&run(&platform, "sue", "delegation list --all").await.said(), &["was ended"]);
    assert!(
        run(&platform, "sue", &end.replace("delegation end ", "delegation end x"))
            .await
            .refusal()
            .contains("beginning of a hash")
    );
}

async fn first_delegation(platform: &Arc<Platform>) -> String {
    let list = run(platform, "ann", "--json delegation list").await.json();
    list["delegations"][0]["delegation"].as_str().unwrap()[..12].to_owned()
}

#[tokio::test]
async fn who_may_create_and_approve_is_looked_at_and_signed() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let review = "access review --findings 'all as it should be'";
    assert!(run(&platform, "ann", review).await.refusal().contains("the policy asks for no access review"));
    let asks = json!({ "by": { "roles": ["admin"], "quorum": 2 }, "every": "90d" });
    adopt(&platform, json!({ "people": { "access_review": asks } }));
    let shown = run(&platform, "ann", "access show").await.said();
    shows(
        &shown,
        &[
            "May create keys (owner)",
            "May approve under rule every-key",
            "1 of `security`",
            "a key file",
            "2026-01-01 00:00:00Z",
            "the next review is due 2026-04-01",
        ],
    );
    assert!(!shown.contains("bot"), "a program never approves\n{shown}");
    let came = run(&platform, "ann", &format!("{review} {}", cosigned(folder.path(), "bob"))).await;
    shows(
        &came.err,
        &["May create keys", "access.review", "1 of `privacy`: dee, lou", "ray (rae)", "things still stand so"],
    );
    came.said();
    let json = run(&platform, "ann", "--json access show").await.json();
    assert_eq!(json["rules"][0]["stages"][0]["able"].as_array().unwrap().len(), 5, "{json:#}");
    assert_eq!(json["review_missed"], false);
    platform.wait("91d");
    shows(&run(&platform, "ann", "access show").await.said(), &["the review was due 2026-04-01", "an exception"]);
}

// === Law ===

async fn declared(platform: &Arc<Platform>, folder: &Path, pack: &str) {
    let line =
        format!("pack declare {pack} --applied 'the contract says so' --review-by +180d {}", cosigned(folder, "bob"));
    let came = run(platform, "ann", &line).await;
    shows(&came.err, &["pack.declare", "so far", "not declared", "[[gate]]", "the contract says so"]);
    came.said();
}

#[tokio::test]
async fn packs_are_listed_shown_declared_and_asked_about_a_key() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    step(&platform, "generate k1 {\"owner\":\"payments\",\"asset\":\"weights\"} by rae", "key.generated");
    let fact = |name: &str| json!({ "name": name, "roles": ["privacy"], "valid_max": "90d" });
    let facts = ["period-max-days", "cryptography-policy-review-due"].map(fact);
    adopt(&platform, json!({ "packs": ["nis2-2024-2690"], "fact": facts }));
    let list = run(&platform, "ann", "pack list").await.said();
    shows(
        &list,
        &["fips-140-3", "undeclared: an exception", "undeclared: holds up every activation", "no key can be activated"],
    );
    shows(
        &run(&platform, "ann", "pack show nis2-2024-2690").await.said(),
        &["Gates", "policy-in-date", "Sources", "eur-lex"],
    );
    declared(&platform, folder.path(), "nis2-2024-2690").await;
    let list = run(&platform, "ann", "--json pack list").await.json();
    let nis2 = list["packs"].as_array().unwrap().iter().find(|pack| pack["pack"] == "nis2-2024-2690").unwrap();
    assert_eq!((&nis2["declared"]["applied"], &nis2["exception"]), (&true.into(), &false.into()), "{nis2:#}");

    let check = "pack check nis2-2024-2690 --key k1";
    let came = run(&platform, "ann", check).await;
    assert!(matches!(came.done, Ok(Exit::Refused)), "{:?}", came.done);
    shows(
        &came.out,
        &[
            "declared applied",
            "nobody has asked for its activation",
            "unknown        dates: ",
            "wants period-max-days",
            "satisfied      owner",
            "NOT satisfied  intended-entities",
        ],
    );
    let facts = run(&platform, "lou", "fact list --key k1").await.said();
    shows(
        &facts,
        &["period-max-days", "missing", "nis2-2024-2690", "privacy, for 90d", "nobody: the policy does not list it"],
    );
    let wrong =
        run(&platform, "lou", "fact assert period-max-days --text many --until +30d --evidence R-1").await.refusal();
    shows(&wrong, &["`period-max-days` is a number in nis2-2024-2690", "--number"]);
    let long =
        run(&platform, "lou", "fact assert period-max-days --number 365 --until +91d --evidence R-1").await.refusal();
    shows(&long, &["may hold for 90d at most", "--until +90d or less"]);
    let none = run(&platform, "lou", "fact assert residency --names EU --until +30d --evidence R-1").await.refusal();
    shows(&none, &["the policy lists no fact `residency`; it lists period-max-days"]);
    std::fs::write(folder.path().join("rules.pdf"), "the rules").unwrap();
    let file = folder.path().join("rules.pdf").display().to_string();
    let line = format!("fact assert period-max-days --number 365 --until +5d --evidence R-1 --evidence-file {file}");
    let came = run(&platform, "lou", &line).await;
    shows(&came.err, &["a fact of", "nobody has said it", &model::Digest::of(b"the rules").to_string()]);
    came.said();
    shows(&run(&platform, "lou", "fact list").await.said(), &["ends soon", "365", "lou"]);
    let came = run(&platform, "ann", check).await;
    shows(&came.out, &["satisfied      dates"]);
    assert!(!format!("{}{list}{facts}", came.out).to_lowercase().contains("compliant"));
    let why = "--reason-kind unjustified --reason 'another edition'";
    run(&platform, "lou", &format!("fact withdraw period-max-days {why}")).await.said();
    shows(&run(&platform, "ann", check).await.out, &["wants period-max-days"]);
    platform.wait("181d");
    shows(&run(&platform, "ann", "pack list").await.said(), &["2026-06-30: overdue since 1d"]);
    let list = run(&platform, "ann", "--json pack list").await.json();
    let nis2 = list["packs"].as_array().unwrap().iter().find(|pack| pack["pack"] == "nis2-2024-2690").unwrap();
    assert_eq!((&nis2["declared"]["review_overdue"], &nis2["review_late"]), (&true.into(), &false.into()));
}

#[tokio::test]
async fn a_packs_faults_are_named_with_their_line() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let text = include_str!("../../../../deploy/packs/nis2-2024-2690.toml");
    let path = folder.path().join("ours.toml");
    let line = |text: &str, wanted: &str| text.lines().position(|line| line.contains(wanted)).unwrap() + 1;
    let broken = text.replace("require = \"context.key has owner\"", "require = \"context.key has oner\"");
    std::fs::write(&path, &broken).unwrap();
    let came = run(&platform, "ann", &format!("pack check {}", path.display())).await;
    assert!(matches!(came.done, Ok(Exit::Refused)));
    shows(&came.out, &[&format!("ours.toml:{}: gate.owner.require", line(&broken, "has oner"))]);
    let broken = text.replace("schema = 1", "schema = 1\nkind = 2");
    std::fs::write(&path, &broken).unwrap();
    let came = run(&platform, "ann", &format!("pack check {}", path.display())).await;
    shows(&came.out, &["ours.toml:2: unknown field `kind`"]);
    std::fs::write(&path, text).unwrap();
    shows(
        &run(&platform, "ann", &format!("pack check {}", path.display())).await.said(),
        &["good:", "5 gates, 3 facts"],
    );
    assert!(run(&platform, "ann", "pack check nothing").await.refusal().contains("fips-140-3"));
}

// === Holds ===

#[tokio::test]
async fn what_is_held_is_not_activated_until_it_is_lifted() {
    let platform = Platform::new();
    let place = "hold place --all --kind incident --reference INC-7";
    assert!(run(&platform, "opa", place).await.refusal().contains("names nobody who may place or lift holds"));
    adopt(&platform, json!({ "holds": { "place": role("operator"), "lift": role("privacy") } }));
    born(&platform, "k1");
    step(&platform, "request k1 by rae", "activation.requested");
    run(&platform, "opa", place).await.said();
    shows(&run(&platform, "opa", place).await.said(), &["it is held already"]);
    let order = "hold place --request k1 --kind court-order --reference 'Az. 4 O 12'";
    shows(&run(&platform, "opa", order).await.err, &["activation.hold", "the request", "Az. 4 O 12"]);
    let list = run(&platform, "sam", "hold list").await.said();
    shows(&list, &["every activation", "INC-7", "k1 (", "court-order"]);
    shows(&run(&platform, "sam", "key show k1").await.said(), &["its activation is frozen"]);
    step(&platform, "approve k1 by sam", "refused held");
    let holds = run(&platform, "sam", "--json hold list").await.json();
    let why = "--reason-kind legal-order --reason 'it was revoked'";
    for hold in holds["holds"].as_array().unwrap() {
        let lift = format!("hold lift {} {why}", hold["hold"].as_str().unwrap());
        assert!(run(&platform, "opa", &lift).await.refusal().contains("privacy"));
        let came = run(&platform, "lou", &lift).await;
        shows(&came.err, &["what is meant", "placed by", "opa"]);
        came.said();
    }
    shows(&run(&platform, "sam", "hold list").await.said(), &["nothing is held"]);
    step(&platform, "approve k1 by sam", "activation.approved");
    step(&platform, "approve k1 by lou", "activation.approved");
    platform.with(|inside| inside.scenario.perform("due"));
    shows(&run(&platform, "sam", "key show k1").await.said(), &["active"]);
}

// === Keys ===

#[tokio::test]
async fn keys_that_wait_are_said_to_be_wanted_500_at_a_time() {
    let platform = Platform::new();
    assert!(run(&platform, "rae", "key revalidate --all").await.refusal().contains("asks for no revalidation"));
    adopt(&platform, json!({ "keys": { "revalidation": { "roles": ["owner"], "every": "20m" } } }));
    shows(&run(&platform, "rae", "key revalidate --all").await.said(), &["no key waits"]);
    for number in 1..=501 {
        born(&platform, &format!("k{number}"));
    }
    shows(&run(&platform, "rae", "key show k7").await.said(), &["revalidate by", "or it expires"]);
    platform.wait("10m");
    let came = run(&platform, "kim", "key revalidate k1 k2 k1 --note 'the list of today'").await;
    shows(&came.err, &["Keys that wait for their activation", "key.revalidate", "the list of today"]);
    shows(&came.said(), &["2 keys are still wanted; again by 2026-01-01 00:30:00Z"]);
    let json = run(&platform, "kim", "--json key revalidate --all -y").await.json();
    assert_eq!((&json["keys"], json["events"].as_array().unwrap().len()), (&501.into(), 2));
    assert!(run(&platform, "kim", "key revalidate nothing").await.refusal().contains("there is no key `nothing`"));
    step(&platform, "compromise k3 by opa", "key.compromised");
    assert!(
        run(&platform, "kim", "key revalidate k3").await.refusal().contains("`k3` is compromised, and does not wait")
    );
}

#[tokio::test]
async fn an_emergency_is_reviewed_by_others_than_those_who_made_it() {
    let platform = Platform::new();
    let rule = lifecycle::scenario::policy().rules.remove(0);
    let mut urgent = serde_json::to_value(&rule).unwrap();
    urgent["name"] = "urgent".into();
    urgent["stage"] = json!([{ "role": "security", "quorum": 1 }]);
    urgent["break_glass"] = json!({ "life": "4h", "review_within": "2h", "reviewers": role("privacy") });
    adopt(&platform, json!({ "rule": [rule, urgent] }));
    born(&platform, "k1");
    let review = "key review k1 --findings 'justified: INC-7'";
    assert!(
        run(&platform, "lou", review).await.refusal().contains("no emergency activation that waits for its review")
    );
    let request =
        "{\"identity\":$identity,\"break_glass\":true,\"reason\":$why,\"legal_basis\":[],\"affected_systems\":[]}";
    step(&platform, &format!("do activation.request k1 {request} by rae"), "activation.requested");
    step(&platform, "approve k1 by sam", "activation.approved");
    platform.with(|inside| inside.scenario.perform("due"));
    shows(&run(&platform, "lou", "key show k1").await.said(), &["review due", "else it is suspended"]);
    let came = run(&platform, "lou", review).await;
    shows(&came.err, &["activation.review", "asked by", "rae", "approved by", "sam"]);
    came.said();
    assert!(!run(&platform, "lou", "key show k1").await.said().contains("review due"));
}

#[tokio::test]
async fn a_consumer_acknowledges_the_key_that_it_knows() {
    let platform = Platform::new();
    born(&platform, "k1");
    let wrong = run(&platform, "app", "key acknowledge k1 --key-identity kcv:ffffff").await.refusal();
    shows(&wrong, &["you know kcv:ffffff, and key `k1` is kcv:010203", "do not use it"]);
    let spki = format!("key acknowledge k1 --key-identity spki:{}", "0".repeat(64));
    assert!(run(&platform, "app", &spki).await.refusal().contains("you know spki:0000"));
    run(&platform, "app", "key acknowledge k1 --key-identity kcv:010203").await.said();
    shows(&run(&platform, "rae", "key show k1").await.said(), &["consumers", "app: ready"]);
    let (tenant, hash) = platform.with(|inside| {
        let chain = &inside.scenario.tenant.chain;
        (chain.tenant(), chain.head().hash)
    });
    let line = format!("key acknowledge k1 --key-identity kcv:010203 --adopted --counterpart {tenant}:{hash}");
    run(&platform, "app", &line).await.said();
    let shown = run(&platform, "rae", "--json key show k1").await.json();
    assert_eq!(shown["key"]["consumers"][0]["readiness"], "adopted");
}

/// A request is shown with its stages in full, and what was approved as it stands now.
#[tokio::test]
async fn an_approval_that_does_not_count_any_more_is_shown_so() {
    let platform = Platform::new();
    let stages = json!([{ "role": "security", "quorum": 1 }, { "role": "privacy", "or": ["operator"], "quorum": 1 }]);
    adopt(&platform, json!({ "rule": { "in_order": true, "stage": stages } }));
    born(&platform, "k1");
    step(&platform, "request k1 by rae", "activation.requested");
    step(&platform, "approve k1 by sam", "activation.approved");
    let shown = run(&platform, "kim", "key show k1").await.said();
    shows(&shown, &["1 of `security`, then 1 of `privacy` or `operator`", "sam (security)", "good for 20m"]);
    step(&platform, "revoke sam by ann,bob", "principal.revoked");
    let shown = run(&platform, "kim", "key show k1").await.said();
    shows(&shown, &["which does not count any more"]);
}

/// Many keys from a file: looked at first, all of them, and what was said is not said again.
#[tokio::test]
async fn a_consumer_acknowledges_the_keys_of_a_file() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    born(&platform, "k1");
    born(&platform, "k2");
    let file = folder.path().join("keys.txt");
    let line = format!("key acknowledge --list {}", file.display());
    let events = |platform: &Platform| platform.with(|inside| inside.scenario.records.len());
    let before = events(&platform);
    for (text, says) in [
        ("k1 kcv:010203\nk2 kcv:ffffff\n", "you know kcv:ffffff, and key `k2` is kcv:010203"),
        ("k1\n", "keys.txt:1: no identity"),
        ("# none\n", "it names no key"),
        ("k1 kcv:zz\n", "keys.txt:1: `kcv:zz` is no identity"),
    ] {
        std::fs::write(&file, text).unwrap();
        let refusal = run(&platform, "app", &line).await.refusal();
        assert!(refusal.contains(says), "{refusal}");
    }
    assert_eq!(events(&platform), before, "nothing was signed");
    std::fs::write(&file, "# ours\nk1 kcv:010203\n\nk2  kcv:010203\n").unwrap();
    shows(&run(&platform, "app", &line).await.said(), &["acknowledged: 2 keys"]);
    assert_eq!(events(&platform), before + 2);
    shows(&run(&platform, "app", &line).await.said(), &["acknowledged: 0 keys"]);
    assert_eq!(events(&platform), before + 2);
    assert_eq!(run(&platform, "app", &format!("--json {line} --adopted")).await.json()["keys"], 2);
}

#[tokio::test]
async fn a_parent_elsewhere_is_proved_from_its_tenants_export() {
    // The same scripted tenant plays both parts: what is proved is a key of another chain under a root that is trusted.
    let (there, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let export = folder.path().join("theirs");
    for line in ["generate k1 by rae", "request k1 by rae", "approve k1 by sam", "approve k1 by lou", "due"] {
        there.with(|inside| inside.scenario.perform(line));
    }
    let (tenant, root) = there.with(|inside| (inside.scenario.tenant.chain.tenant(), inside.scenario.tenant.root));
    let parent = lifecycle::scenario::key_id("k1");
    let here = Platform::new();
    let trusts = json!({ "trusted_roots": [root], "proof_max_age": "1d" });
    let attest = format!("key attest-parent k2 --export {}", export.display());
    let spec = json!({ "asset": "weights", "wrapped_by": { "tenant": tenant, "key_id": parent } });
    adopt(&here, json!({}));
    step(&here, &format!("generate k2 {spec} by rae"), "key.generated");
    born(&here, "k3");
    assert!(run(&here, "kim", &attest).await.refusal().contains("takes no proof of parents elsewhere"));
    adopt(&here, json!({ "parents": trusts }));
    assert!(
        run(&here, "kim", &attest.replace("k2", "k3")).await.refusal().contains("names no parent in another tenant")
    );
    assert!(run(&here, "kim", &attest).await.refusal().contains("name the folder that `keylatch export` made"));
    keylatch::command::export::plain::export(&mut there.reader(), &mut Screen::silent(), &export).await.unwrap();
    assert!(run(&here, "kim", &attest).await.refusal().contains("no checkpoint covers event"));
    std::fs::remove_dir_all(&export).unwrap();
    there.with(|inside| inside.scenario.perform("checkpoint"));
    keylatch::command::export::plain::export(&mut there.reader(), &mut Screen::silent(), &export).await.unwrap();
    let came = run(&here, "kim", &attest).await;
    shows(&came.err, &["parent.attest", "the parent's activation", "key.activated"]);
    came.said();
    shows(&run(&here, "kim", "key show k2").await.said(), &["wrapped by", "of tenant", "proved 2026-01-01"]);
    let events = export.join("events.jsonl");
    let text = std::fs::read_to_string(&events).unwrap();
    std::fs::write(&events, text.lines().skip(1).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    assert!(run(&here, "kim", &attest).await.refusal().contains("does not hold for tenant"));
}
