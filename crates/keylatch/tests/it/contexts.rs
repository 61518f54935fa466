//! Contexts, in files and through the program.

use std::fs;

use keylatch::{Context, Contexts};
use model::Name;

use crate::{json, keylatch, stderr, stdout};

const TENANT: &str = "ADVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCZW22";
const ROOT: &str = "SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w";

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn context() -> Context {
    Context {
        url: "nats://127.0.0.1:4222".into(),
        credentials: "me.creds".into(),
        tenant: TENANT.parse().unwrap(),
        root: ROOT.parse().unwrap(),
        identity: Some("keys/me".into()),
    }
}

#[test]
fn a_context_is_kept_chosen_and_removed() {
    let home = tempfile::tempdir().unwrap();
    let contexts = Contexts::at(home.path());
    assert!(contexts.choose(None).unwrap_err().advice().contains("keylatch context add"));
    contexts.add(&name("one"), &context(), false).unwrap();
    assert_eq!(contexts.choose(None).unwrap(), name("one"), "the only one is in use");
    contexts.add(&name("two"), &context(), false).unwrap();
    assert!(contexts.choose(None).unwrap_err().advice().contains("one, two"));
    contexts.use_from_now_on(&name("two")).unwrap();
    assert_eq!(contexts.choose(None).unwrap(), name("two"));
    assert_eq!(contexts.choose(Some(&name("one"))).unwrap(), name("one"));
    assert!(contexts.add(&name("two"), &context(), false).is_err());
    contexts.add(&name("two"), &context(), true).unwrap();
    let loaded = contexts.load(&name("two")).unwrap();
    assert_eq!(loaded.credentials, home.path().join("contexts/me.creds"), "relative to the file's folder");
    assert_eq!(loaded.identity, Some(home.path().join("contexts/keys/me")));
    contexts.remove(&name("two")).unwrap();
    assert_eq!(contexts.choose(None).unwrap(), name("one"));
    assert!(contexts.load(&name("two")).unwrap_err().to_string().contains("there is no context `two`"));
}

#[track_caller]
fn broken(text: &str, says: &str) {
    let home = tempfile::tempdir().unwrap();
    let contexts = Contexts::at(home.path());
    fs::create_dir_all(home.path().join("contexts")).unwrap();
    fs::write(contexts.path(&name("bad")), text).unwrap();
    let output = keylatch(home.path(), &["key", "list"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("bad.toml") && said.contains(says) && said.contains("→"), "{said}");
}

#[test]
fn a_broken_context_names_the_file_the_line_and_the_mend() {
    broken("url = 1\n", "line 1: ");
    broken("url = \"nats://h\"\ncredentials = \"c\"\ntenant = \"A1\"\n", "line 3: `A1` is not a tenant id");
    broken("url = \"nats://h\"\nurls = \"x\"\n", "line 2: unknown field `urls`");
    broken("url = \"nats://h\"\n", "missing field `credentials`");
    broken("url = \n", "line 1: ");
}

#[test]
fn the_program_lists_shows_and_uses_contexts() {
    let home = tempfile::tempdir().unwrap();
    let contexts = Contexts::at(home.path());
    contexts.add(&name("one"), &context(), false).unwrap();
    contexts.add(&name("two"), &context(), false).unwrap();
    let used = keylatch(home.path(), &["context", "use", "two"]);
    assert!(used.status.success());
    let listed = json(&keylatch(home.path(), &["--json", "context", "list"]));
    assert_eq!(listed["contexts"][1]["current"], true);
    let shown = stdout(&keylatch(home.path(), &["context", "show"]));
    assert!(shown.contains("two") && shown.contains(ROOT) && !shown.contains('\u{1b}'), "no colour in a pipe: {shown}");
    let named = json(&keylatch(home.path(), &["--json", "--context", "one", "context", "show"]));
    assert_eq!(named["name"], "one");
    let missing = keylatch(home.path(), &["--json", "context", "use", "three"]);
    assert_eq!((missing.status.code(), &json(&missing)["ok"]), (Some(2), &false.into()));
}

#[test]
fn adding_wants_credentials_that_read_and_an_address() {
    let home = tempfile::tempdir().unwrap();
    let add = |url: &str| {
        let creds = home.path().join("me.creds").display().to_string();
        keylatch(home.path(), &["context", "add", "x", "--url", url, "--credentials", &creds, "--root", ROOT])
    };
    assert!(stderr(&add("http://h")).contains("not the address of a bus"));
    let missing = add("nats://h");
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("there are no credentials at"), "{}", stderr(&missing));
}

#[test]
fn a_platform_that_is_not_there_ends_with_3() {
    let home = tempfile::tempdir().unwrap();
    let account = some_credentials(home.path());
    let contexts = Contexts::at(home.path());
    let unreachable = Context {
        url: "nats://127.0.0.1:9".into(),
        credentials: home.path().join("me.creds"),
        tenant: account.parse().unwrap(),
        ..context()
    };
    contexts.add(&name("gone"), &unreachable, false).unwrap();
    let output = keylatch(home.path(), &["--json", "key", "list"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(json(&output)["detail"].as_str().unwrap().contains("no NATS server at nats://127.0.0.1:9"));
    let doctor = keylatch(home.path(), &["doctor"]);
    assert_eq!(doctor.status.code(), Some(3));
    assert!(stdout(&doctor).contains("bad") && stdout(&doctor).contains("connection"), "{}", stdout(&doctor));
}

/// Writes credentials of an account that no server knows; gives the account.
fn some_credentials(folder: &std::path::Path) -> String {
    let operator = journal_nats::Operator::open(&folder.join("operator")).unwrap();
    let tenant = operator.create_tenant(&name("t")).unwrap();
    let credentials = tenant.user(journal_nats::TenantUser::Member, &name("me")).unwrap();
    credentials.save(&folder.join("me.creds")).unwrap();
    credentials.account().to_owned()
}
