//! A replica with the decided commands of the batches under way on top, so that each command sees those before it.

use std::collections::HashMap;

use journal_sled::Replica;
use lifecycle::state::{Checkpointed, Key, Receipt, Request, View};
use lifecycle::{Document, Entities, Footprint};
use model::{CommandId, Digest, EventHash, KeyId, TenantId};

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
    documents: HashMap<Digest, Document>,
    checkpoints: HashMap<u64, Checkpointed>,
}

impl<'a> Overlay<'a> {
    /// Nothing on top.
    pub(crate) fn new(replica: &'a Replica, tenant: TenantId) -> Self {
        let (keys, requests, receipts) = (HashMap::new(), HashMap::new(), HashMap::new());
        let (documents, checkpoints) = (HashMap::new(), HashMap::new());
        Self { replica, tenant, newest: None, keys, requests, receipts, documents, checkpoints }
    }

    /// Whose.
    pub(crate) fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The view that a decision with this footprint sees.
    pub(crate) fn view(&self, footprint: Footprint) -> Result<View, Error> {
        match &self.newest {
            None => Ok(self.replica.view(self.tenant, footprint)?),
            Some(newest) => newest.clone().load(self, &footprint),
        }
    }

    /// Takes a view back, to be seen by what follows.
    pub(crate) fn put(&mut self, view: &View) {
        self.keys.extend(view.others.clone());
        self.keys.extend(view.key.clone().map(|key| (key.id, key)));
        self.requests.extend(view.request.clone().map(|request| (request.hash, request)));
        self.receipts.extend(view.receipt);
        self.documents.extend(view.document.clone().map(|document| (document.digest, document)));
        self.checkpoints.extend(view.checkpoint.clone().map(|checkpoint| (checkpoint.size, checkpoint)));
        self.newest = Some(View::of(view.chain.clone(), view.progress, view.governance.clone()));
    }
}

impl Entities for Overlay<'_> {
    type Error = Error;

    fn key(&self, key: KeyId) -> Result<Option<Key>, Error> {
        match self.keys.get(&key) {
            Some(changed) => Ok(Some(changed.clone())),
            None => Ok(self.replica.key(self.tenant, key)?),
        }
    }

    fn request(&self, request: EventHash) -> Result<Option<Request>, Error> {
        match self.requests.get(&request) {
            Some(changed) => Ok(Some(changed.clone())),
            None => Ok(self.replica.request(self.tenant, request)?),
        }
    }

    fn receipt(&self, command: CommandId) -> Result<Option<Receipt>, Error> {
        match self.receipts.get(&command) {
            Some(new) => Ok(Some(*new)),
            None => Ok(self.replica.receipt(self.tenant, command)?),
        }
    }

    fn document(&self, document: Digest) -> Result<Option<Document>, Error> {
        match self.documents.get(&document) {
            Some(changed) => Ok(Some(changed.clone())),
            None => Ok(self.replica.document(self.tenant, document)?),
        }
    }

    fn checkpoint(&self, size: u64) -> Result<Option<Checkpointed>, Error> {
        match self.checkpoints.get(&size) {
            Some(new) => Ok(Some(new.clone())),
            None => Ok(self.replica.checkpoint(self.tenant, size)?),
        }
    }
}
