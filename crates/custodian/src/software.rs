//! Opening the custodian's software key store: it is waited for, and compared with the chain before it is used.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use journal::Journal;
use keystore::KeyStore as _;
use keystore_software::SoftwareStore;
use lifecycle::state::Key;
use lifecycle::{Footprint, transition};
use model::{KeyState, Name, TenantId};
use service::{Error, Node, Shutdown};
use tracing::{info, warn};

use crate::custody::{self, Open, Place};
use crate::sealed::{self, Opened};
use crate::stores::Stores;

/// The name under which policies and events know the software store.
pub const SOFTWARE: &str = "software";
/// How often a store is looked at again that another custodian has.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How many keys are read from the replica at once.
const PAGE: usize = 1024;

/// The software store, open.
pub struct Software {
    open: Arc<Open>,
    place: Place,
}

impl Software {
    /// The stores that are open here, this one the first of them.
    pub fn stores(&self) -> Stores {
        self.open.stores.clone()
    }

    /// Does what whoever runs the platform asks of it (`keylatch custody`), until `shutdown`.
    pub async fn tend(self, shutdown: Shutdown) -> Result<(), Error> {
        custody::tend(self.open, &self.place, shutdown).await
    }
}

/// Opens the software store. If another custodian has it, waits until that one is gone, or until `shutdown`.
///
/// An empty store is made only where the chain knows of no key that it should have: a store that has gone missing is put
/// back from a backup, and never made anew.
///
/// # Errors
/// If the folder's store is not the one that holds the chain's keys, is damaged, or can't be read; if its master key is not
/// at hand.
pub async fn open<J: Journal>(node: &Node<J>, place: Place, shutdown: Shutdown) -> Result<Software, Error> {
    let mut waiting = false;
    loop {
        let (reader, here) = (node.clone(), place.clone());
        let opened = tokio::task::spawn_blocking(move || try_open(&reader, &here)).await;
        if let Some(store) = opened.map_err(|error| Error::Internal(error.to_string()))?? {
            // Another may have gone on with it until a moment ago: what it has recorded must be known here.
            let unknown = Box::pin(catch_up_tenants(node)).await?;
            let store = caught_up(node.clone(), store, unknown).await?;
            return Ok(Software { open: Arc::new(Open::new(Arc::new(store), &place)), place });
        }
        if !std::mem::replace(&mut waiting, true) {
            info!(folder = %place.store().display(), "another custodian has the key store; waiting to take over");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = shutdown.clone().requested() => return Err(Error::Stopped),
        }
    }
}

async fn caught_up<J: Journal>(
    node: Node<J>,
    store: SoftwareStore,
    unknown: BTreeSet<TenantId>,
) -> Result<SoftwareStore, Error> {
    let done = tokio::task::spawn_blocking(move || catch_up(&node, &store, &unknown).map(|()| store)).await;
    done.map_err(|error| Error::Internal(error.to_string()))?
}

/// Reads every tenant's log to its end. Answers with those of which that was not possible: what the chain says of their keys
/// may be out of date here.
async fn catch_up_tenants<J: Journal>(node: &Node<J>) -> Result<BTreeSet<TenantId>, Error> {
    let (mut after, mut unknown) = (None, BTreeSet::new());
    loop {
        let tenants = node.replica().tenants(after, PAGE)?;
        let Some((last, _)) = tenants.last() else { return Ok(unknown) };
        after = Some(*last);
        for (tenant, _) in tenants {
            if let Err(error) = node.catch_up(tenant).await {
                warn!(%tenant, %error, "the log can't be read to its end: the store's keys of this tenant stay as they are");
                unknown.insert(tenant);
            }
        }
    }
}

/// `None` where another process has it.
fn try_open<J: Journal>(node: &Node<J>, place: &Place) -> Result<Option<SoftwareStore>, Error> {
    let folder = &place.store();
    let wrong = |error: String| Error::File { path: folder.to_owned(), error };
    let name: Name = SOFTWARE.parse().map_err(|error: model::id::Malformed| wrong(error.to_string()))?;
    let is_new = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    let known = Known::of(node, &name)?;
    known.check_new(is_new).map_err(wrong)?;
    service::secret::ensure_folder(place.keys())?;
    let store = match open_or_make(place, name, is_new) {
        Ok(store) => store,
        // Another custodian has it, or made it a moment ago.
        Err(keystore_software::Error::InUse { .. }) => return Ok(None),
        Err(keystore_software::Error::Exists { .. }) if is_new => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    };
    known.check_has(&store.seal_key()).map_err(wrong)?;
    Ok(Some(store))
}

/// Brings every key to the state that the chain says was applied already: a store that was put back from a backup has the
/// states of then. What the chain knows and the store has not is said; what is not applied yet will be, as is due.
fn catch_up<J: Journal>(node: &Node<J>, store: &SoftwareStore, unknown: &BTreeSet<TenantId>) -> Result<(), Error> {
    let (mut lost, mut caught_up) = (0_usize, 0_usize);
    every_key(node, |tenant, key| {
        if unknown.contains(&tenant)
            || key.store != *store.name()
            || key.seal_key.0 != store.seal_key()
            || !key.is_applied()
        {
            return Ok(());
        }
        match catch_key_up(node, store, tenant, key) {
            Ok(Caught::There) => {}
            Ok(Caught::Up) => caught_up += 1,
            Ok(Caught::Lost) => lost += 1,
            // The others are not to wait for it; its uses are refused, by the store or by the chain.
            Err(error) => warn!(%tenant, key = %key.id, %error, "the key store can't be brought to the chain's state"),
        }
        Ok(())
    })?;
    if caught_up > 0 {
        warn!(
            keys = caught_up,
            "the key store was behind the chain, as one put back from a backup is; it is not any more"
        );
    }
    if lost > 0 {
        warn!(keys = lost, "the chain knows keys that the key store has not: they were generated after its backup");
    }
    Ok(())
}

/// How a key was found.
enum Caught {
    /// As the chain says.
    There,
    /// In another state, and brought to the chain's.
    Up,
    /// Not at all.
    Lost,
}

fn catch_key_up<J: Journal>(
    node: &Node<J>,
    store: &SoftwareStore,
    tenant: TenantId,
    key: &Key,
) -> Result<Caught, keystore::Error> {
    let Some(held) = store.get(tenant, key.id)? else {
        return Ok(if is_destroyed(key.state) { Caught::There } else { Caught::Lost });
    };
    if held.state == key.state {
        return Ok(Caught::There);
    }
    let path = transition::path(Some(held.state), key.activation.is_some(), key.state);
    if key.sealing.is_some() && sealed::is_to_open(Some(held.state), &path) {
        open_sealed(node, store, tenant, key)?;
    }
    for step in path {
        store.apply(tenant, key.id, step)?;
    }
    Ok(Caught::Up)
}

/// The shares are in the chain for as long as it is.
fn open_sealed<J: Journal>(
    node: &Node<J>,
    store: &SoftwareStore,
    tenant: TenantId,
    key: &Key,
) -> Result<(), keystore::Error> {
    let failed = |error: String| keystore::Error::Storage(error.into());
    let footprint = Footprint { activation: true, ..Footprint::of_key(key.id) };
    let view = node.view(tenant, footprint).map_err(|error| failed(error.to_string()))?;
    match sealed::brought(&view, tenant).map_err(|rejection| failed(rejection.to_string()))? {
        Some(brought) => match brought.unseal(store)? {
            Opened::Open => Ok(()),
            Opened::Shut(found) => Err(failed(found)),
        },
        None => Err(keystore::Error::Sealed(key.id)),
    }
}

/// Opens it, or makes it, and says what was made with it that people must know of.
fn open_or_make(place: &Place, name: Name, is_new: bool) -> Result<SoftwareStore, keystore_software::Error> {
    let (folder, masters) = (place.store(), place.masters());
    let own = masters.own_file().filter(|file| !file.exists());
    let is_old = SoftwareStore::is_old(&folder);
    let store = if is_new {
        SoftwareStore::create(&folder, name, masters)?
    } else {
        SoftwareStore::open(&folder, name, masters)?
    };
    if let Some(file) = own.filter(|file| file.exists()) {
        warn!(
            file = %file.display(),
            "made the key store's master key: keep a copy of it apart from the store's backups; without it no key can be \
             opened, and with it and the store every one"
        );
    }
    if is_old {
        warn!(
            "the key store's wrapping keys lay in it in the clear, and are now under its master key: older copies and \
             backups still have them so. `keylatch custody rewrap` makes them worthless for what comes"
        );
    }
    Ok(store)
}

/// Shows every key of every tenant, as the verified chain has it.
fn every_key<J: Journal>(
    node: &Node<J>,
    mut visit: impl FnMut(TenantId, &Key) -> Result<(), Error>,
) -> Result<(), Error> {
    let replica = node.replica();
    let mut tenant = None;
    loop {
        let tenants = replica.tenants(tenant, PAGE)?;
        let Some((last, _)) = tenants.last() else { return Ok(()) };
        tenant = Some(*last);
        for (tenant, _) in tenants {
            let mut key = None;
            loop {
                let keys = replica.keys(tenant, key, PAGE)?;
                let Some(last) = keys.last() else { break };
                key = Some(last.id);
                keys.iter().try_for_each(|key| visit(tenant, key))?;
            }
        }
    }
}

fn is_destroyed(state: KeyState) -> bool {
    matches!(state, KeyState::Destroyed | KeyState::DestroyedCompromised)
}

/// The keys that the chain says are in stores of one name, by the stores' own keys. Destroyed ones aside, and those that
/// were there before: they are in no store of ours.
pub(crate) struct Known {
    keys: usize,
    by_store: Vec<(Vec<u8>, usize)>,
}

impl Known {
    pub(crate) fn of<J: Journal>(node: &Node<J>, store: &Name) -> Result<Self, Error> {
        let mut known = Self { keys: 0, by_store: Vec::new() };
        every_key(node, |_, key| {
            if key.store == *store && !is_destroyed(key.state) && key.adopted.is_none() {
                known.count(key);
            }
            Ok(())
        })?;
        Ok(known)
    }

    /// Refuses to make a store anew that should have keys: one that has gone missing is put back from a backup.
    pub(crate) fn check_new(&self, is_new: bool) -> Result<(), String> {
        if is_new && self.keys > 0 {
            let keys = self.keys;
            let missing = "there is no key store here, and the chain knows";
            return Err(format!("{missing} {keys} keys that it should have: put it back from a backup"));
        }
        Ok(())
    }

    /// Refuses a store that has none of the chain's keys, where there are some.
    pub(crate) fn check_has(&self, seal_key: &[u8]) -> Result<(), String> {
        let here = self.in_store(seal_key);
        if self.keys > 0 && here == 0 {
            let keys = self.keys;
            return Err(format!(
                "this is not the key store that has the {keys} keys which the chain knows: put that one here"
            ));
        }
        if here < self.keys {
            warn!(here, elsewhere = self.keys - here, "the chain knows keys that are in another store of this name");
        }
        Ok(())
    }

    fn count(&mut self, key: &Key) {
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
