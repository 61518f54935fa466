//! Where master keys come from, and what happens where it is not the right one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use keystore_software::{Error, MasterKeys, SoftwareStore, Source};

use crate::{Bench, list, name};

/// In these a child process finds a store, and where its master key is.
const STORE: &str = "KEYLATCH_TEST_MASTERS_STORE";
const SOURCE: &str = "KEYLATCH_TEST_MASTERS_SOURCE";

const KEY: &str = "mO7m7P0h8X5eN6sWm3b0M9vM1xkQzvO8eXo2g0oY1kE=";

/// Writes a master key as an administrator does.
fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Opens the store that the environment names, or makes it. As a test of its own it does nothing.
#[test]
fn child() {
    let Some(store) = std::env::var_os(STORE) else { return };
    let masters = MasterKeys::new(vec![std::env::var(SOURCE).unwrap().parse().unwrap()]);
    let path = Path::new(&store);
    let opened = if path.exists() {
        SoftwareStore::open(path, name(), &masters)
    } else {
        SoftwareStore::create(path, name(), &masters)
    };
    match opened {
        Ok(store) => println!("MASTER {}", store.master_key().unwrap()),
        Err(error) => println!("REFUSED {error}"),
    }
}

/// What such a child says.
fn say(store: &Path, source: &str, environment: &[(&str, &str)]) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["masters::child", "--exact", "--nocapture", "--test-threads=1"]).env(STORE, store).env(SOURCE, source);
    child.env_remove("CREDENTIALS_DIRECTORY").envs(environment.iter().copied());
    let output = child.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains(KEY), "{said}");
    // The harness's own words may stand before it.
    let from = |line: &str, word| line.split_once(word).map(|(_, rest)| format!("{word}{rest}"));
    let line = said.lines().find_map(|line| from(line, "MASTER ").or_else(|| from(line, "REFUSED ")));
    line.unwrap_or_else(|| panic!("the child said nothing: {said}"))
}

/// One key, by three ways.
#[test]
fn a_master_key_comes_from_a_file_the_environment_or_a_credential() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = (folder.path().join("store"), folder.path().join("key"));
    write(&file, KEY, 0o600);
    let from_file = say(&store, &format!("file:{}", file.display()), &[]);
    assert!(from_file.starts_with("MASTER master-"), "{from_file}");
    assert_eq!(say(&store, "env:KEYLATCH_MASTER", &[("KEYLATCH_MASTER", KEY)]), from_file);
    let credentials = folder.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    let environment = [("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap())];
    // As systemd leaves it: with the service's user in an access list, which shows as the group's right to read.
    for mode in [0o400, 0o440, 0o600] {
        write(&credentials.join("keylatch"), KEY, 0o600);
        fs::set_permissions(credentials.join("keylatch"), Permissions::from_mode(mode)).unwrap();
        assert_eq!(say(&store, "credential:keylatch", &environment), from_file, "{mode:o}");
    }
    for mode in [0o444, 0o460] {
        fs::set_permissions(credentials.join("keylatch"), Permissions::from_mode(mode)).unwrap();
        let said = say(&store, "credential:keylatch", &environment);
        assert!(said.starts_with("REFUSED") && said.contains("chmod 640"), "{said}");
    }
    for (source, wanted) in [
        ("env:KEYLATCH_MASTER", "the variable is not set"),
        ("credential:keylatch", "LoadCredential="),
        ("file:/nowhere/key", "/nowhere/key"),
    ] {
        let said = say(&store, source, &[]);
        assert!(said.starts_with("REFUSED") && said.contains(wanted), "{said}");
    }
    let said = say(&store, "credential:other", &environment);
    assert!(said.starts_with("REFUSED") && said.contains("credentials/other"), "{said}");
}

/// A wrong, missing, open or changed master key: said, and nothing is touched.
#[test]
fn rejects_any_other_master_key_and_changes_nothing() {
    let mut bench = Bench::with_keys();
    let wanted = bench.store().master_key().unwrap();
    bench.close();
    let whole = fs::read(bench.master()).unwrap();
    let contents = || {
        ["keyring", "pre-active/keys.redb", "active/keys.redb"].map(|part| fs::read(bench.path().join(part)).unwrap())
    };
    let before = contents();
    let refused = |what: &str| {
        let error = bench.open().expect_err(what);
        let Error::NoMasterKey { wanted: named, .. } = &error else { panic!("{what}: {error}") };
        assert_eq!(named, &wanted);
        assert!(error.to_string().contains("Nothing was changed"), "{error}");
        assert!(contents() == before, "{what}");
        error.to_string()
    };
    fs::remove_file(bench.master()).unwrap();
    assert!(refused("missing").contains("No such file"));
    assert!(!bench.master().exists(), "it is never made anew for a store that has one");
    write(&bench.master(), KEY, 0o600);
    assert!(refused("another").contains("is master-"));
    write(&bench.master(), "nonsense", 0o600);
    refused("none");
    for at in (0..whole.len()).step_by(5) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(bench.master(), changed).unwrap();
        refused("changed");
    }
    fs::write(bench.master(), &whole).unwrap();
    fs::set_permissions(bench.master(), Permissions::from_mode(0o644)).unwrap();
    assert!(refused("open").contains("chmod 600"));
    fs::set_permissions(bench.master(), Permissions::from_mode(0o400)).unwrap();
    assert_eq!(list(&bench.open().unwrap()).len(), 3);
}

/// Several are named, so that one can take the place of another at leisure: the store knows which it is under.
#[test]
fn any_of_several_sources_may_be_the_one() {
    let mut bench = Bench::with_keys();
    bench.close();
    let other = bench.directory.path().join("other");
    write(&other, KEY, 0o600);
    let gone = Source::File("/nowhere/key".into());
    for sources in [[Source::File(other), Source::File(bench.master())], [Source::File(bench.master()), gone]] {
        SoftwareStore::open(&bench.path(), name(), &MasterKeys::new(sources.to_vec())).unwrap();
    }
}

#[test]
fn the_platforms_own_is_made_once_and_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (store, path) = (folder.path().join(number.to_string()).join("store"), path.clone());
            fs::create_dir(store.parent().unwrap()).unwrap();
            scope.spawn(move || SoftwareStore::create(&store, name(), &MasterKeys::own(path)).unwrap());
        }
    });
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    for number in 0..8 {
        let store = folder.path().join(number.to_string()).join("store");
        SoftwareStore::open(&store, name(), &MasterKeys::own(path.clone())).unwrap();
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 9, "nothing is left lying about");
}
