//! The inventory of the software store: everything in it is Keylatch's own.

use std::ops::ControlFlow;

use keystore::inventory::{Inventory, Item};
use keystore::{Entry, Held, KeyStore as _, transition};

use crate::SoftwareStore;

impl Inventory for SoftwareStore {
    fn inventory(&self, visit: &mut dyn FnMut(Item)) -> Result<(), keystore::Error> {
        self.list(None, &mut |Entry { key_id, held: Held { algorithm, identity, state, .. }, .. }| {
            if !transition::is_destroyed(state) {
                visit(Item {
                    place: format!("store {}", self.name()),
                    object: key_id.to_string(),
                    label: String::new(),
                    algorithm: algorithm.name().to_owned(),
                    state: Some(state.name().to_owned()),
                    usages: algorithm.operations().iter().map(ToString::to_string).collect(),
                    extractable: Some(true),
                    identity,
                    made_at: None,
                    ours: true,
                });
            }
            ControlFlow::Continue(())
        })
    }
}
