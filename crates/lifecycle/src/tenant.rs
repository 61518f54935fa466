//! A tenant's whole state in memory: for verifying offline, for simulation, for tests. Services keep theirs in a store.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use journal::{Chain, Record, Ring};
use model::{CommandId, EventHash, Fingerprint, KeyId, TenantId};

use crate::judge::UnknownRules;
use crate::state::{Footprint, Governance, Key, Progress, Receipt, Request, View};
use crate::{Judgement, Prepared, judge, prepare};

/// The state.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The root that its authority must come from.
    pub root: Fingerprint,
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
}

impl Tenant {
    /// Without history.
    pub fn new(tenant: TenantId, root: Fingerprint) -> Self {
        Self {
            root,
            chain: Chain::new(tenant),
            progress: Progress::default(),
            governance: None,
            keys: BTreeMap::new(),
            requests: HashMap::new(),
            receipts: HashMap::new(),
        }
    }

    /// The keys in force.
    pub fn ring(&self) -> Ring {
        self.governance.as_ref().map(|governance| governance.authority.ring.clone()).unwrap_or_default()
    }

    /// What a decision with this footprint sees.
    pub fn view(&self, footprint: Footprint) -> View {
        let key = footprint.key.and_then(|key| self.keys.get(&key)).cloned();
        let request = footprint.request.or(key.as_ref().and_then(|key| key.open_request));
        View {
            chain: self.chain.clone(),
            progress: self.progress,
            governance: self.governance.clone(),
            key,
            request: request.and_then(|request| self.requests.get(&request)).cloned(),
            receipt: footprint.command.and_then(|command| Some((command, *self.receipts.get(&command)?))),
        }
    }

    /// Takes a view back.
    pub fn put(&mut self, view: View) {
        self.chain = view.chain;
        self.progress = view.progress;
        self.governance = view.governance;
        self.keys.extend(view.key.map(|key| (key.id, key)));
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
            Some(ring) => prepare(record, ring, self.root),
            None => prepare(record, &Ring::default(), self.root),
        };
        self.take(&prepared)
    }
}
