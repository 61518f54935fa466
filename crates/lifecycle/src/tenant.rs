//! A tenant's whole state in memory: for verifying offline, for simulation, for tests. Services keep theirs in a store.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use journal::{Chain, Record, Ring};
use model::{CommandId, Digest, EventHash, Fingerprint, KeyId, TenantId};

use crate::judge::{UnknownRules, prepare_knowing};
use crate::state::{Checkpointed, Document, Entities, Footprint, Governance, Key, Progress, Receipt, Request, View};
use crate::{Judgement, Prepared, RULES, judge};

/// The state.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The root that its authority must come from.
    pub root: Fingerprint,
    /// The newest rules epoch that the reader knows: this program's, where it is not to be less.
    pub knows: u32,
    /// The chain's form.
    pub chain: Chain,
    /// How far checkpoints are behind.
    pub progress: Progress,
    /// People, policy, authority.
    pub governance: Option<Arc<Governance>>,
    /// Every key.
    pub keys: BTreeMap<KeyId, Key>,
    /// Every request.
    pub requests: HashMap<EventHash, Request>,
    /// What each command led to.
    pub receipts: HashMap<CommandId, Receipt>,
    /// Every document.
    pub documents: HashMap<Digest, Document>,
    /// Every checkpoint, by how many events it commits to.
    pub checkpoints: BTreeMap<u64, Checkpointed>,
}

impl Entities for Tenant {
    type Error = std::convert::Infallible;

    fn key(&self, key: KeyId) -> Result<Option<Key>, Self::Error> {
        Ok(self.keys.get(&key).cloned())
    }

    fn request(&self, request: EventHash) -> Result<Option<Request>, Self::Error> {
        Ok(self.requests.get(&request).cloned())
    }

    fn receipt(&self, command: CommandId) -> Result<Option<Receipt>, Self::Error> {
        Ok(self.receipts.get(&command).copied())
    }

    fn document(&self, document: Digest) -> Result<Option<Document>, Self::Error> {
        Ok(self.documents.get(&document).cloned())
    }

    fn checkpoint(&self, size: u64) -> Result<Option<Checkpointed>, Self::Error> {
        Ok(self.checkpoints.get(&size).cloned())
    }
}

impl Tenant {
    /// Without history.
    pub fn new(tenant: TenantId, root: Fingerprint) -> Self {
        Self {
            root,
            knows: RULES,
            chain: Chain::new(tenant),
            progress: Progress::default(),
            governance: None,
            keys: BTreeMap::new(),
            requests: HashMap::new(),
            receipts: HashMap::new(),
            documents: HashMap::new(),
            checkpoints: BTreeMap::new(),
        }
    }

    /// The keys in force.
    pub fn ring(&self) -> Ring {
        self.governance.as_ref().map(|governance| governance.authority.ring.clone()).unwrap_or_default()
    }

    /// What a decision with this footprint sees.
    pub fn view(&self, footprint: Footprint) -> View {
        let empty = View::of(self.chain.clone(), self.progress, self.governance.clone());
        match empty.load(self, &footprint) {
            Ok(view) => view,
            Err(never) => match never {},
        }
    }

    /// Takes a view back.
    pub fn put(&mut self, view: View) {
        self.chain = view.chain;
        self.progress = view.progress;
        self.governance = view.governance;
        self.keys.extend(view.others);
        self.keys.extend(view.key.map(|key| (key.id, key)));
        self.documents.extend(view.document.map(|document| (document.digest, document)));
        self.checkpoints.extend(view.checkpoint.map(|checkpoint| (checkpoint.size, checkpoint)));
        self.requests.extend(view.request.map(|request| (request.hash, request)));
        self.receipts.extend(view.receipt);
    }

    /// Judges the next record.
    pub fn take(&mut self, prepared: &Prepared) -> Result<Judgement, UnknownRules> {
        let mut view = self.view(prepared.footprint());
        let judgement = judge(&mut view, prepared)?;
        self.put(view);
        Ok(judgement)
    }

    /// Checks and judges the next record.
    pub fn take_record(&mut self, record: Record) -> Result<Judgement, UnknownRules> {
        let ring = self.governance.as_ref().map(|governance| &governance.authority.ring);
        let prepared = match ring {
            Some(ring) => prepare_knowing(self.knows, record, ring, self.root),
            None => prepare_knowing(self.knows, record, &Ring::default(), self.root),
        };
        self.take(&prepared)
    }
}
