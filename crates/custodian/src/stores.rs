//! The stores that a custodian keeps keys in, by the names under which policies and events know them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use keystore::KeyStore;
use lifecycle::Rejection;
use lifecycle::state::Key;
use model::{Name, Problem, ProblemType};

/// A store, shared.
pub type Store = Arc<dyn KeyStore>;

/// Several stores, each with a name of its own. One that is away at the start is put in when it comes.
#[derive(Clone, Default)]
pub struct Stores(Arc<RwLock<BTreeMap<Name, Store>>>);

impl Stores {
    /// One more store, under its own name. One of the same name makes room for it.
    pub fn put(&self, store: Store) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(store.name().clone(), store);
    }

    fn get(&self, name: &Name) -> Option<Store> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Whether a store of this name is here.
    pub(crate) fn has(&self, name: &Name) -> bool {
        self.get(name).is_some()
    }

    /// The store for a key to be generated.
    pub(crate) fn named(&self, name: &Name) -> Result<Store, Problem> {
        self.get(name).ok_or_else(|| {
            let here: Vec<String> =
                self.0.read().unwrap_or_else(PoisonError::into_inner).keys().map(Name::to_string).collect();
            let detail = format!("this custodian keeps keys in {}, not in `{name}`", here.join(", "));
            Problem::new(ProblemType::NotSupported, detail)
        })
    }

    /// The store that has a key. Refuses one that another store of the same name has: which it is, is on the chain.
    pub(crate) fn of(&self, key: &Key) -> Result<Store, Rejection> {
        let refused = |detail| Err(Rejection::new(ProblemType::Unavailable, detail));
        match self.get(&key.store) {
            Some(store) if key.seal_key.0 == store.seal_key() => Ok(store),
            Some(_) => refused(format!("this custodian's `{}` is not the store that has the key", key.store)),
            None => refused(format!("the store `{}`, which has the key, is not at hand", key.store)),
        }
    }
}

impl From<Store> for Stores {
    fn from(store: Store) -> Self {
        let stores = Self::default();
        stores.put(store);
        stores
    }
}
