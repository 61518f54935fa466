//! A replica with the decided commands of a batch on top, so that each command sees those before it.

use std::collections::HashMap;

use journal_sled::Replica;
use lifecycle::Footprint;
use lifecycle::state::{Key, Receipt, Request, View};
use model::{CommandId, EventHash, KeyId, TenantId};

use crate::Error;

/// The replica of one tenant, with changes on top that are not committed.
pub(crate) struct Overlay<'a> {
    replica: &'a Replica,
    tenant: TenantId,
    /// The last view taken back: its chain, progress and governance hold for all.
    newest: Option<View>,
    keys: HashMap<KeyId, Key>,
    requests: HashMap<EventHash, Request>,
    receipts: HashMap<CommandId, Receipt>,
}

impl<'a> Overlay<'a> {
    /// Nothing on top.
    pub(crate) fn new(replica: &'a Replica, tenant: TenantId) -> Self {
        let (keys, requests, receipts) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { replica, tenant, newest: None, keys, requests, receipts }
    }

    /// The view that a decision with this footprint sees.
    pub(crate) fn view(&self, footprint: Footprint) -> Result<View, Error> {
        let mut view = self.replica.view(self.tenant, footprint)?;
        let Some(newest) = &self.newest else { return Ok(view) };
        view.chain = newest.chain.clone();
        view.progress = newest.progress;
        view.governance = newest.governance.clone();
        if let Some(key) = footprint.key.and_then(|key| self.keys.get(&key)) {
            view.key = Some(key.clone());
        }
        let wanted = footprint.request.or_else(|| view.key.as_ref().and_then(|key| key.open_request));
        view.request = self.request(wanted, view.request.take())?;
        if let Some(receipt) = footprint.command.and_then(|id| Some((id, *self.receipts.get(&id)?))) {
            view.receipt = Some(receipt);
        }
        Ok(view)
    }

    fn request(&self, wanted: Option<EventHash>, loaded: Option<Request>) -> Result<Option<Request>, Error> {
        let Some(wanted) = wanted else { return Ok(None) };
        if let Some(request) = self.requests.get(&wanted) {
            return Ok(Some(request.clone()));
        }
        match loaded {
            Some(request) if request.hash == wanted => Ok(Some(request)),
            _ => Ok(self.replica.request(self.tenant, wanted)?),
        }
    }

    /// Takes a view back, to be seen by what follows.
    pub(crate) fn put(&mut self, view: &View) {
        self.keys.extend(view.key.clone().map(|key| (key.id, key)));
        self.requests.extend(view.request.clone().map(|request| (request.hash, request)));
        self.receipts.extend(view.receipt);
        self.newest = Some(View { key: None, request: None, receipt: None, ..view.clone() });
    }
}
