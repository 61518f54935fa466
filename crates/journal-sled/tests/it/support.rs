//! Histories, and the comparison of a replica with the state that the rules keep in memory.

use std::collections::BTreeSet;
use std::path::Path;

use journal::Chain;
use journal_sled::Replica;
use journal_sled::replica::{Change, Opened, Start};
use lifecycle::scenario::Scenario;
use lifecycle::{Due, Footprint, Tenant, View, due, judge, prepare};
use model::{Fingerprint, ServiceRole, TenantId, Timestamp};

/// A tenant's events as changes, and its state after each: `states[n]` after `n` events.
pub(crate) struct History {
    pub(crate) changes: Vec<Change>,
    pub(crate) states: Vec<Tenant>,
}

impl History {
    pub(crate) fn of(scenario: &Scenario) -> Self {
        let mut state = Tenant::new(scenario.tenant.chain.tenant(), scenario.tenant.root);
        let mut history = Self { changes: Vec::new(), states: vec![state.clone()] };
        for record in &scenario.records {
            let prepared = prepare(record.clone(), &state.ring(), state.root);
            let before = state.view(prepared.footprint());
            let mut after = before.clone();
            judge(&mut after, &prepared).unwrap();
            state.put(after.clone());
            history.changes.push(Change { before, after, record: record.clone() });
            history.states.push(state.clone());
        }
        history
    }

    pub(crate) fn root(&self) -> Fingerprint {
        self.states[0].root
    }

    pub(crate) fn last(&self) -> &Tenant {
        self.states.last().unwrap()
    }

    /// The same history as another tenant's: what a store makes of it does not depend on signatures.
    pub(crate) fn as_tenant(&self, number: u8) -> Self {
        let id = tenant_id(number);
        let view = |view: &View| View { chain: chain_of(&view.chain, id), ..view.clone() };
        let change = |change: &Change| Change {
            before: view(&change.before),
            after: view(&change.after),
            record: change.record.clone(),
        };
        let state = |state: &Tenant| Tenant { chain: chain_of(&state.chain, id), ..state.clone() };
        Self { changes: self.changes.iter().map(change).collect(), states: self.states.iter().map(state).collect() }
    }

    pub(crate) fn id(&self) -> TenantId {
        self.states[0].chain.tenant()
    }
}

pub(crate) fn tenant_id(number: u8) -> TenantId {
    TenantId::from_bytes([number; 32])
}

fn chain_of(chain: &Chain, tenant: TenantId) -> Chain {
    let mut json = serde_json::to_value(chain).unwrap();
    json["tenant"] = tenant.to_string().into();
    serde_json::from_value(json).unwrap()
}

/// Keys in every state, requests that ended in every way, checkpoints, custody, a void event.
pub(crate) fn full() -> Scenario {
    let mut scenario = Scenario::new();
    scenario.run(
        "generate k1 by kim => key.generated
         generate k2 by rae => key.generated
         generate k3 by kim => key.generated
         generate k4 by kim => key.generated
         apply k1 => custody.applied
         request k1 by rae => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved
         due => activation.authorized, key.activated
         apply k1 => custody.applied
         checkpoint => checkpoint.signed
         request k2 by kim => activation.requested
         reject k2 by sam => activation.rejected
         request k2 by kim => activation.requested
         approve k2 by sam => activation.approved
         cancel k2 by kim => activation.cancelled
         request k3 after 10m by rae => activation.requested
         approve k3 by dee => activation.approved
         suspend k1 by opa => key.suspended
         adopt two-security by ann,bob => policy.adopted
         resume k1 by opa => key.resumed
         wait 25m
         due => activation.lapsed
         compromise k4 by opa => key.compromised
         wait 61m",
    );
    let checkpoint = scenario.records.iter().find(|record| record.signature.contains("SHA256")).unwrap().clone();
    scenario.inject(checkpoint);
    scenario.perform("due");
    scenario.run("wait 24h");
    scenario.perform("due");
    scenario.run("checkpoint => checkpoint.signed");
    scenario
}

/// Documents, stores, bundles, probes, an evaluation, and a heartbeat.
pub(crate) fn evidenced() -> Scenario {
    let mut scenario = Scenario::new();
    scenario.run(
        r#"adopt {"schema":3,"evidence":{"heartbeat":"2h","export":{"roles":["privacy"],"every":"30d"},"probes":{"every":"1d"},"evaluation":{"by":{"roles":["security"]},"every":"90d"}}} by ann,bob => policy.adopted
         generate k1 {"asset":"weights"} by kim => key.generated
         do document.adopt {"against":"$head","name":"a","kind":"process","title":"a","document":"$hash:a","covers":[1],"owner":"$who:kim","review_by":"$now+60d"} by ann,bob => document.adopted
         do store.register {"against":"$head","store":{"name":"software","kind":"software","server":"a","database":"b"}} by ann,bob => store.registered
         checkpoint => checkpoint.signed
         export by lou => evidence.exported
         probe k1 use by bot => probe.recorded
         checkpoint => checkpoint.signed
         wait 2h
         checkpoint => checkpoint.signed
         do control.evaluate {"controls":"$hash:a","size":9,"results":[{"id":"a","outcome":"not-applicable","population":0,"exceptions":0}]} by sam => control.evaluated
         wait 30d
         checkpoint => checkpoint.signed
         export => evidence.exported"#,
    );
    scenario
}

/// Opens a replica that must be as it was left.
#[track_caller]
pub(crate) fn reopen(dir: &Path, root: Fingerprint) -> Replica {
    let Opened { replica, start } = Replica::open(dir, root).unwrap();
    assert_eq!(start, Start::Kept);
    replica
}

/// Everything the replica says of a tenant is what the rules say.
#[track_caller]
pub(crate) fn assert_same(replica: &Replica, state: &Tenant) {
    let id = state.chain.tenant();
    assert_eq!(replica.head(id).unwrap(), state.chain.head());
    assert_eq!(replica.view(id, Footprint::default()).unwrap(), state.view(Footprint::default()));
    for key in state.keys.keys() {
        let footprint = Footprint::of_key(*key);
        assert_eq!(replica.view(id, footprint.clone()).unwrap(), state.view(footprint));
    }
    for (hash, request) in &state.requests {
        let footprint = Footprint { key: request.key_id, request: Some(*hash), ..Footprint::default() };
        assert_eq!(replica.view(id, footprint.clone()).unwrap(), state.view(footprint));
        assert_eq!(replica.request(id, *hash).unwrap().as_ref(), Some(request));
    }
    for (command, receipt) in &state.receipts {
        let footprint = Footprint { command: Some(*command), ..Footprint::default() };
        assert_eq!(replica.view(id, footprint.clone()).unwrap(), state.view(footprint));
        assert_eq!(replica.receipt(id, *command).unwrap(), Some(*receipt));
    }
    for (size, checkpoint) in &state.checkpoints {
        let footprint = Footprint { checkpoint: Some(*size), ..Footprint::default() };
        assert_eq!(replica.view(id, footprint.clone()).unwrap(), state.view(footprint));
        assert_eq!(replica.checkpoint(id, *size).unwrap().as_ref(), Some(checkpoint));
        assert_eq!(replica.checkpoint(id, size + 1).unwrap().as_ref(), state.checkpoints.get(&(size + 1)));
    }
    let keys = replica.keys(id, None, usize::MAX).unwrap();
    assert_eq!(keys, state.keys.values().cloned().collect::<Vec<_>>());
    assert_eq!(dues(replica, id), dues_of(state));
}

/// What the index says is due in a tenant, in any role.
pub(crate) fn dues(replica: &Replica, id: TenantId) -> BTreeSet<Due> {
    let of_role = |role| replica.due(role, Timestamp::MAX, usize::MAX).unwrap();
    let all = ServiceRole::ALL.into_iter().flat_map(of_role);
    all.filter(|(tenant, _)| *tenant == id).map(|(_, due)| due).collect()
}

/// What the rules say is due, entity by entity.
pub(crate) fn dues_of(state: &Tenant) -> BTreeSet<Due> {
    let keys = state.keys.keys().map(|key| Footprint::of_key(*key));
    keys.chain([Footprint::default()]).flat_map(|footprint| due(&state.view(footprint))).collect()
}
