//! The stores that a custodian keeps keys in, by the names under which policies and events know them.

use std::collections::BTreeMap;
use std::sync::Arc;

use keystore::KeyStore;
use lifecycle::Rejection;
use lifecycle::state::Key;
use model::{Name, Problem, ProblemType};

/// A store, shared.
pub type Store = Arc<dyn KeyStore>;

/// Several stores, each with a name of its own.
#[derive(Clone, Default)]
pub struct Stores(BTreeMap<Name, Store>);

impl Stores {
    /// One more store, under its own name. One of the same name makes room for it.
    #[must_use]
    pub fn with(mut self, store: Store) -> Self {
        self.0.insert(store.name().clone(), store);
        self
    }

    /// Whether a store of this name is here.
    pub(crate) fn has(&self, name: &Name) -> bool {
        self.0.contains_key(name)
    }

    /// The store for a key to be generated.
    pub(crate) fn named(&self, name: &Name) -> Result<&Store, Problem> {
        self.0.get(name).ok_or_else(|| {
            let here: Vec<_> = self.0.keys().map(Name::to_string).collect();
            let detail = format!("this custodian keeps keys in {}, not in `{name}`", here.join(", "));
            Problem::new(ProblemType::NotSupported, detail)
        })
    }

    /// The store that has a key. Refuses one that another store of the same name has: which it is, is on the chain.
    pub(crate) fn of(&self, key: &Key) -> Result<&Store, Rejection> {
        match self.0.get(&key.store) {
            Some(store) if key.seal_key.0 == store.seal_key() => Ok(store),
            _ => {
                let detail = format!("this custodian's `{}` is not the store that has the key", key.store);
                Err(Rejection::new(ProblemType::Unavailable, detail))
            }
        }
    }
}

impl From<Store> for Stores {
    fn from(store: Store) -> Self {
        Self::default().with(store)
    }
}
