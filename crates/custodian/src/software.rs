//! Opening the custodian's software key store: it is waited for, and compared with the chain before it is used.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use journal::Journal;
use keystore::KeyStore as _;
use keystore_software::SoftwareStore;
use lifecycle::state::Key;
use model::{KeyState, Name};
use service::{Error, Node, Shutdown};
use tracing::{info, warn};

use crate::stores::Store;

/// The name under which policies and events know the software store.
pub const SOFTWARE: &str = "software";
/// How often a store is looked at again that another custodian has.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How many keys are read from the replica at once.
const PAGE: usize = 1024;

/// Opens the software store in a folder. If another custodian has it, waits until that one is gone, or until `shutdown`.
///
/// An empty store is made only where the chain knows of no key that it should have: a store that has gone missing is put
/// back from a backup, and never made anew.
///
/// # Errors
/// If the folder's store is not the one that holds the chain's keys, is damaged, or can't be read.
pub async fn open<J: Journal>(node: &Node<J>, folder: &Path, shutdown: Shutdown) -> Result<Store, Error> {
    let mut waiting = false;
    loop {
        let (node, path) = (node.clone(), folder.to_owned());
        let opened = tokio::task::spawn_blocking(move || try_open(&node, &path)).await;
        if let Some(store) = opened.map_err(|error| Error::Internal(error.to_string()))?? {
            return Ok(store);
        }
        if !std::mem::replace(&mut waiting, true) {
            info!(folder = %folder.display(), "another custodian has the key store; waiting to take over");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = shutdown.clone().requested() => return Err(Error::Stopped),
        }
    }
}

/// `None` where another process has it.
fn try_open<J: Journal>(node: &Node<J>, folder: &Path) -> Result<Option<Store>, Error> {
    let wrong = |error: String| Error::File { path: folder.to_owned(), error };
    let name: Name = SOFTWARE.parse().map_err(|error: model::id::Malformed| wrong(error.to_string()))?;
    let is_new = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    let known = Known::of(node, &name)?;
    if is_new && known.keys > 0 {
        return Err(wrong(format!(
            "there is no key store here, and the chain knows {} keys that it should have: put it back from a backup",
            known.keys
        )));
    }
    if let Some(parent) = folder.parent() {
        service::secret::ensure_folder(parent)?;
    }
    let opened = if is_new { SoftwareStore::create(folder, name) } else { SoftwareStore::open(folder, name) };
    let store = match opened {
        Ok(store) => store,
        // Another custodian has it, or made it a moment ago.
        Err(keystore_software::Error::InUse { .. }) => return Ok(None),
        Err(keystore_software::Error::Exists { .. }) if is_new => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let here = known.in_store(&store.seal_key());
    if known.keys > 0 && here == 0 {
        return Err(wrong(format!(
            "this is not the key store that has the {} keys which the chain knows: put that one here",
            known.keys
        )));
    }
    if here < known.keys {
        warn!(here, elsewhere = known.keys - here, "the chain knows keys that are in another store of this name");
    }
    Ok(Some(Arc::new(store)))
}

/// The keys that the chain says are in stores of one name, by the stores' own keys. Destroyed ones aside.
struct Known {
    keys: usize,
    by_store: Vec<(Vec<u8>, usize)>,
}

impl Known {
    fn of<J: Journal>(node: &Node<J>, store: &Name) -> Result<Self, Error> {
        let replica = node.replica();
        let mut known = Self { keys: 0, by_store: Vec::new() };
        let mut tenant = None;
        loop {
            let tenants = replica.tenants(tenant, PAGE)?;
            let Some((last, _)) = tenants.last() else { return Ok(known) };
            tenant = Some(*last);
            for (tenant, _) in tenants {
                let mut key = None;
                loop {
                    let keys = replica.keys(tenant, key, PAGE)?;
                    let Some(last) = keys.last() else { break };
                    key = Some(last.id);
                    keys.iter().filter(|key| key.store == *store).for_each(|key| known.count(key));
                }
            }
        }
    }

    fn count(&mut self, key: &Key) {
        if matches!(key.state, KeyState::Destroyed | KeyState::DestroyedCompromised) {
            return;
        }
        self.keys += 1;
        match self.by_store.iter_mut().find(|(seal_key, _)| *seal_key == key.seal_key.0) {
            Some((_, count)) => *count += 1,
            None => self.by_store.push((key.seal_key.0.clone(), 1)),
        }
    }

    fn in_store(&self, seal_key: &[u8]) -> usize {
        self.by_store.iter().find(|(known, _)| known == seal_key).map_or(0, |(_, count)| *count)
    }
}
