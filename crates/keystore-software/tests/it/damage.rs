//! What is missing, changed, exchanged or open to others is refused, by name, and never made anew.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use keystore::{Error as PortError, KeyStore as _};
use keystore_software::{Error, MasterKeys, SoftwareStore};
use redb::{Database, ReadableDatabase as _, TableDefinition};

use crate::{Bench, key, list, name, tenant};

const KEYS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("keys");

/// Something done to a file.
type Harm<'a> = &'a dyn Fn(&Path);

/// Something done to the records of an inventory.
type Edit<'a> = &'a dyn Fn(&mut redb::Table<'_, &[u8], &[u8]>);

/// Closes a store with keys, does something to its directory, and gives what opening it says.
#[track_caller]
fn refused(harm: impl FnOnce(&Path)) -> Error {
    let mut bench = Bench::with_keys();
    bench.close();
    harm(&bench.path());
    let before = tree(&bench.path());
    let error = bench.open().expect_err("opened");
    let lock_aside =
        |tree: Vec<String>| tree.into_iter().filter(|path| !path.contains("store.lock")).collect::<Vec<_>>();
    assert_eq!(lock_aside(tree(&bench.path())), lock_aside(before), "a store that does not open is left as it is");
    error
}

/// Every path below, in order, with whether it is empty.
fn tree(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(path) else { return found };
    for entry in entries {
        let entry = entry.unwrap().path();
        found.push(format!("{} {}", entry.display(), entry.is_file() && fs::metadata(&entry).unwrap().len() == 0));
        found.extend(tree(&entry));
    }
    found.sort();
    found
}

/// Never silently made anew: with the wrapping key gone, the keys are; and whoever knows that can still put it back.
#[test]
fn rejects_a_store_with_a_part_missing() {
    for part in ["keyring", "pre-active/keys.redb", "active/keys.redb"] {
        let error = refused(|store| fs::remove_file(store.join(part)).unwrap());
        assert!(matches!(&error, Error::Missing { path, .. } if path.ends_with(part)), "{part}: {error}");
    }
    for part in ["pre-active", "active"] {
        let error = refused(|store| fs::remove_dir_all(store.join(part)).unwrap());
        assert!(matches!(&error, Error::Missing { path, .. } if path.ends_with(part)), "{part}: {error}");
    }
    let nowhere = tempfile::tempdir().unwrap().path().join("nothing");
    assert!(matches!(SoftwareStore::open(&nowhere, name(), &MasterKeys::new(Vec::new())), Err(Error::Missing { .. })));
    assert!(!nowhere.exists(), "opening makes nothing");
}

#[test]
fn rejects_a_keyring_with_any_byte_changed() {
    let mut bench = Bench::with_keys();
    bench.close();
    let path = bench.path().join("keyring");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        for harmed in [&changed[..], &whole[..at]] {
            fs::write(&path, harmed).unwrap();
            let error = bench.open().expect_err("opened");
            assert!(matches!(&error, Error::Damaged { path, .. } if path.ends_with("keyring")), "byte {at}: {error}");
        }
    }
    fs::write(&path, &whole).unwrap();
    bench.open().unwrap();
}

/// What happens to the keyring's file behind the store's back shows in a check, and at the latest at the next opening.
#[test]
fn a_check_looks_at_the_keyring_too() {
    let bench = Bench::with_keys();
    let path = bench.path().join("keyring");
    let mut whole = fs::read(&path).unwrap();
    bench.store().check().unwrap();
    whole[100] ^= 1;
    fs::write(&path, &whole).unwrap();
    assert!(matches!(bench.store().check(), Err(Error::Damaged { path, .. }) if path.ends_with("keyring")));
}

#[test]
fn rejects_parts_put_in_each_others_place() {
    let swap = |store: &Path, one: &str, other: &str| {
        fs::rename(store.join(one), store.join("aside")).unwrap();
        fs::rename(store.join(other), store.join(one)).unwrap();
        fs::rename(store.join("aside"), store.join(other)).unwrap();
    };
    for (one, other) in [("pre-active", "active"), ("pre-active/keys.redb", "active/keys.redb")] {
        let error = refused(|store| swap(store, one, other));
        assert!(matches!(error, Error::Misplaced { .. }), "{one}: {error}");
    }
    let mut stranger = Bench::with_keys();
    stranger.close();
    for part in ["pre-active/keys.redb", "active/keys.redb"] {
        let error = refused(|store| {
            fs::copy(stranger.path().join(part), store.join(part)).unwrap();
        });
        assert!(matches!(error, Error::Misplaced { .. }), "{part}: {error}");
    }
    // Under another master key: the store is not even looked into.
    let error = refused(|store| {
        fs::copy(stranger.path().join("keyring"), store.join("keyring")).unwrap();
    });
    assert!(matches!(error, Error::NoMasterKey { .. }), "another store's keyring: {error}");
    // Under the same one, it is another store's all the same.
    let error = refused(|store| {
        let (other, masters) = (store.with_file_name("other"), MasterKeys::own(store.with_file_name("master")));
        drop(SoftwareStore::create(&other, name(), &masters).unwrap());
        fs::copy(other.join("keyring"), store.join("keyring")).unwrap();
    });
    assert!(matches!(error, Error::Misplaced { .. }), "a keyring under the same master key: {error}");
}

#[test]
fn rejects_databases_that_are_none() {
    for part in ["pre-active/keys.redb", "active/keys.redb"] {
        let harms: [(&str, Harm<'_>); 4] = [
            ("empty", &|path| fs::write(path, b"").unwrap()),
            ("text", &|path| fs::write(path, b"these are no keys").unwrap()),
            ("zeros", &|path| fs::write(path, vec![0; 100_000]).unwrap()),
            ("cut", &|path| {
                let file = OpenOptions::new().write(true).open(path).unwrap();
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
            }),
        ];
        for (what, harm) in harms {
            let error = refused(|store| harm(&store.join(part)));
            assert!(matches!(&error, Error::Damaged { path, .. } if path.ends_with(part)), "{part} {what}: {error}");
        }
        let error = refused(|store| {
            fs::remove_file(store.join(part)).unwrap();
            fs::write(store.join(part), b"").unwrap();
            fs::set_permissions(store.join(part), Permissions::from_mode(0o600)).unwrap();
            let foreign = Database::create(store.join(part)).unwrap();
            let transaction = foreign.begin_write().unwrap();
            transaction.open_table(TableDefinition::<u64, u64>::new("other")).unwrap();
            transaction.commit().unwrap();
        });
        assert!(matches!(&error, Error::Damaged { path, .. } if path.ends_with(part)), "foreign {part}: {error}");
    }
}

/// A byte changed anywhere in a database shows, when it is opened or at the latest in a check, and the file is named; or it
/// was a byte that nothing rests on. It never shows as a panic, nor as a key less.
#[test]
fn a_changed_byte_in_a_database_costs_no_key_silently() {
    for part in ["pre-active/keys.redb", "active/keys.redb"] {
        flip_everywhere(part);
    }
}

fn flip_everywhere(part: &str) {
    // One that is written anew has no record twice: of a copy in a page that is free, no byte would count.
    let bench = Bench::with_keys().restored();
    let path = bench.path().join(part);
    let wanted = list(&bench.open().unwrap());
    let used = used_bytes(&path);
    let whole = fs::read(&path).unwrap();
    let mut refusals = 0;
    // The header, then the bytes of records, then every page at a stride that meets each offset class.
    for at in (0..1024).step_by(3).chain(used.iter().copied().step_by(11)).chain((1024..whole.len()).step_by(997)) {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        fs::write(&path, &changed).unwrap();
        match bench.open() {
            Err(error) => {
                assert!(error.to_string().contains(part), "byte {at}: {error}");
                refusals += 1;
            }
            Ok(store) => match store.check() {
                Err(error) => assert!(error.to_string().contains(part), "byte {at}: {error}"),
                Ok(_) => {
                    assert_eq!(list(&store), wanted, "byte {at}");
                    assert!(!used.contains(&at), "byte {at} of a record was changed unnoticed");
                }
            },
        }
    }
    assert!(refusals > 0, "no byte of it counts?");
    fs::write(&path, &whole).unwrap();
    assert_eq!(list(&bench.open().unwrap()), wanted);
}

/// Where in the file the bytes of its records are.
fn used_bytes(path: &Path) -> Vec<usize> {
    use redb::ReadableTable as _;
    let records: Vec<Vec<u8>> = {
        let database = Database::open(path).unwrap();
        let table = database.begin_read().unwrap().open_table(KEYS).unwrap();
        table.iter().unwrap().map(|entry| entry.unwrap().1.value().to_vec()).collect()
    };
    let file = fs::read(path).unwrap();
    let mut used = Vec::new();
    for record in records {
        let places: Vec<_> = (0..file.len() - record.len()).filter(|at| file[*at..].starts_with(&record)).collect();
        let [at] = places[..] else { panic!("a record is {} times in {}", places.len(), path.display()) };
        used.extend(at..at + record.len());
    }
    assert!(!used.is_empty());
    used
}

/// Who can write the database and has no wrapping key can't make one key pass for another, nor change a state.
#[test]
fn rejects_records_that_were_moved_or_changed() {
    let record_key = |number: u64| [&tenant().as_bytes()[..], key(number).as_bytes()].concat();
    let harm = |inventory: &str, change: Edit<'_>| {
        let mut bench = Bench::with_keys();
        bench.close();
        let database = Database::open(bench.path().join(inventory).join("keys.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        change(&mut transaction.open_table(KEYS).unwrap());
        transaction.commit().unwrap();
        drop(database);
        bench.reopen_for_harm();
        bench
    };
    let read = |table: &redb::Table<'_, &[u8], &[u8]>, number| {
        use redb::ReadableTable as _;
        table.get(&record_key(number)[..]).unwrap().unwrap().value().to_vec()
    };

    let moved = harm("pre-active", &|table| {
        let record = read(table, 1);
        table.insert(&record_key(9)[..], &record[..]).unwrap();
    });
    let refused = moved.store().get(tenant(), key(9));
    assert!(matches!(refused, Err(PortError::Storage(_))), "another key's record: {refused:?}");
    assert!(matches!(moved.store().check(), Err(Error::Damaged { .. })));
    moved.store().get(tenant(), key(1)).unwrap();

    // A suspended key can't be resumed by changing its state byte, nor a pre-active one be activated.
    for (inventory, number, state) in
        [("active", 2, 2), ("pre-active", 1, 1), ("pre-active", 1, 4), ("pre-active", 3, 0)]
    {
        let changed = harm(inventory, &|table| {
            let mut record = read(table, number);
            record[2] = state;
            table.insert(&record_key(number)[..], &record[..]).unwrap();
        });
        let refused = changed.store().get(tenant(), key(number));
        assert!(matches!(refused, Err(PortError::Storage(_))), "{inventory} {state}: {refused:?}");
    }

    // A pre-active key's record put into the active inventory, as it is.
    let mut bench = Bench::with_keys();
    bench.close();
    let from = Database::open(bench.path().join("pre-active/keys.redb")).unwrap();
    let record = {
        let table = from.begin_read().unwrap().open_table(KEYS).unwrap();
        table.get(&record_key(1)[..]).unwrap().unwrap().value().to_vec()
    };
    drop(from);
    let to = Database::open(bench.path().join("active/keys.redb")).unwrap();
    let transaction = to.begin_write().unwrap();
    transaction.open_table(KEYS).unwrap().insert(&record_key(1)[..], &record[..]).unwrap();
    transaction.commit().unwrap();
    drop(to);
    bench.reopen_for_harm();
    let refused = bench.store().get(tenant(), key(1));
    assert!(matches!(refused, Err(PortError::Storage(_))), "not activated by copying: {refused:?}");
}

impl Bench {
    fn reopen_for_harm(&mut self) {
        self.store = Some(self.open().unwrap());
    }
}

// === Modes, links, the lock ===

#[test]
fn files_and_directories_are_the_owners_alone() {
    let bench = Bench::with_keys();
    let mode = |part: &str| fs::metadata(bench.path().join(part)).unwrap().permissions().mode() & 0o7777;
    for directory in ["", "pre-active", "active"] {
        assert_eq!(mode(directory), 0o700, "{directory}");
    }
    for file in PARTS {
        assert_eq!(mode(file), 0o600, "{file}");
    }
}

const PARTS: [&str; 4] = ["store.lock", "keyring", "pre-active/keys.redb", "active/keys.redb"];

#[test]
fn rejects_what_others_can_reach() {
    let loose = |part: &str, mode| {
        let error = refused(|store| fs::set_permissions(store.join(part), Permissions::from_mode(mode)).unwrap());
        let Error::LooseMode { path, mode: found, wanted } = &error else { panic!("{part}: {error}") };
        assert_eq!(*found, mode);
        let says = format!("chmod {wanted:o} {}", path.display());
        assert!(error.to_string().ends_with(&says), "{error}");
    };
    for part in PARTS {
        for mode in [0o640, 0o604, 0o660, 0o644] {
            loose(part, mode);
        }
    }
    for part in ["", "pre-active", "active"] {
        for mode in [0o750, 0o705, 0o770, 0o755] {
            loose(part, mode);
        }
    }
    // Stricter than asked for is fine.
    let mut bench = Bench::with_keys();
    bench.close();
    fs::set_permissions(bench.path().join("keyring"), Permissions::from_mode(0o400)).unwrap();
    bench.open().unwrap();
}

#[test]
fn rejects_links_and_other_things_in_the_place_of_files() {
    for part in PARTS {
        let error = refused(|store| {
            fs::rename(store.join(part), store.join("aside")).unwrap();
            std::os::unix::fs::symlink(store.join("aside"), store.join(part)).unwrap();
        });
        assert!(matches!(&error, Error::NotPlain { path, .. } if path.ends_with(part)), "{part}: {error}");
    }
    let error = refused(|store| {
        fs::remove_file(store.join("keyring")).unwrap();
        fs::create_dir(store.join("keyring")).unwrap();
    });
    assert!(matches!(error, Error::NotPlain { .. }), "{error}");
}

#[test]
fn rejects_a_second_opening() {
    let mut bench = Bench::with_keys();
    assert!(matches!(bench.open(), Err(Error::InUse { .. })));
    bench.close();
    bench.open().unwrap();
}

#[test]
fn rejects_making_a_store_where_there_is_something() {
    let mut bench = Bench::with_keys();
    bench.close();
    assert!(matches!(SoftwareStore::create(&bench.path(), name(), &bench.masters()), Err(Error::Exists { .. })));
    assert_eq!(list(&bench.open().unwrap()).len(), 3, "and what is there stays");

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    fs::create_dir(&path).unwrap();
    let masters = MasterKeys::own(directory.path().join("master"));
    drop(SoftwareStore::create(&path, name(), &masters).expect("an empty directory will do"));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left lying about");
    let unreachable = directory.path().join("no/such/place");
    assert!(matches!(SoftwareStore::create(&unreachable, name(), &masters), Err(Error::Io { .. })));
}
