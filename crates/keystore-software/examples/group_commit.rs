//! How far commits are shared: generates and activates keys from more and more threads, and prints for each number of
//! threads how many changes went into a commit and how many keys a second that makes; then how long it takes to open the
//! store again, for which both databases are read from end to end.
//!
//! `cargo run --release -p keystore-software --example group_commit [directory [keys]]`: the directory says which disk is
//! measured (the current one without), keys how many in each row (2000 without).

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use keystore::KeyStore as _;
use keystore_software::{MasterKeys, SoftwareStore};
use model::{Algorithm, Digest, KeyId, KeyState, TenantId};

/// What a key's birth and activation write: born, entered into the active inventory, removed from the pre-active one.
const CHANGES_PER_KEY: u64 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = arguments.next().map_or_else(|| PathBuf::from("."), PathBuf::from);
    let keys: u64 = arguments.next().and_then(|keys| keys.into_string().ok()).map_or(Ok(2000), |keys| keys.parse())?;
    println!("threads  changes  commits  changes/commit     keys/s  ratio  open ms");
    let mut alone = None;
    for threads in [1, 4, 16, 64] {
        let place = tempfile::tempdir_in(&directory)?;
        let masters = MasterKeys::own(place.path().join("master"));
        let store = SoftwareStore::create(&place.path().join("store"), "software".parse()?, &masters)?;
        let begun = Instant::now();
        run(&store, threads, keys)?;
        let rate = keys as f64 / begun.elapsed().as_secs_f64();
        let (changes, commits) = (keys * CHANGES_PER_KEY, store.commits());
        let ratio = rate / *alone.get_or_insert(rate);
        let shared = changes as f64 / commits as f64;
        drop(store);
        let begun = Instant::now();
        let store = SoftwareStore::open(&place.path().join("store"), "software".parse()?, &masters)?;
        let open = begun.elapsed().as_millis();
        println!("{threads:>7} {changes:>8} {commits:>8} {shared:>15.1} {rate:>10.0} {ratio:>6.1} {open:>8}");
        let checked = store.check()?;
        if checked.active != keys {
            return Err(format!("{} keys of {keys}", checked.active).into());
        }
    }
    Ok(())
}

fn run(store: &SoftwareStore, threads: u64, keys: u64) -> Result<(), keystore::Error> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || (thread..keys).step_by(threads as usize).try_for_each(|n| live(store, n)))
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(keystore::Error::Storage("a thread panicked".into())))
        })
    })
}

fn live(store: &SoftwareStore, number: u64) -> Result<(), keystore::Error> {
    let wanted = || keystore::Error::InvalidInput("a key id");
    let key_id: KeyId = format!("01930000-0000-7000-8000-{number:012x}").parse().map_err(|_| wanted())?;
    let tenant = TenantId::from_bytes([7; 32]);
    store.generate(tenant, key_id, Algorithm::Aes256Gcm, Digest::of(key_id.as_bytes()))?;
    store.apply(tenant, key_id, KeyState::Active)?;
    Ok(())
}
