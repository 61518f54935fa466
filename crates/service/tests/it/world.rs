//! A node over a log in memory, and a scenario that signs for its people.

use std::sync::Arc;

use journal::Journal;
use journal::command::SignedCommand;
use journal::memory::MemoryJournal;
use journal_sled::Replica;
use lifecycle::scenario::Scenario;
use lifecycle::{Input, Rejection};
use model::{ServiceRole, Span, TenantId, command};
use service::{Clock, Node, NodeConfig, Recorded};

/// A node, what it stands on, and somebody to sign.
pub(crate) struct World<J = Arc<MemoryJournal>> {
    pub(crate) node: Node<J>,
    pub(crate) clock: Clock,
    pub(crate) scenario: Scenario,
    pub(crate) tenant: TenantId,
    pub(crate) dir: tempfile::TempDir,
}

/// A log with this history in it.
pub(crate) fn log(scenario: &Scenario) -> Arc<MemoryJournal> {
    let log = Arc::new(MemoryJournal::default());
    log.tamper(scenario.tenant.chain.tenant(), |records| records.clone_from(&scenario.records));
    log
}

/// A scenario with k1, pre-active in its store.
pub(crate) fn scenario() -> Scenario {
    let mut scenario = Scenario::new();
    scenario.run("generate k1 by kim => key.generated\napply k1 => custody.applied");
    scenario
}

impl<J: Journal> World<J> {
    /// A node with a new replica that has read the whole log.
    pub(crate) async fn new(scenario: Scenario, journal: J) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::set_at(scenario.now);
        let tenant = scenario.tenant.chain.tenant();
        let node = node(&scenario, journal, &dir.path().join("replica"), &clock);
        let world = Self { node, clock, scenario, tenant, dir };
        world.node.catch_up(tenant).await.unwrap();
        world
    }

    /// A command of the script's, signed but not recorded.
    pub(crate) fn signed(&mut self, verb: &str, rest: &[&str], who: &str) -> (ServiceRole, Arc<SignedCommand>) {
        let (role, key, action) = self.scenario.action(verb, rest);
        (role, self.scenario.signed(action, key, who, command::LIFETIME_MAX))
    }

    pub(crate) async fn record(&self, role: ServiceRole, signed: &Arc<SignedCommand>) -> Result<Recorded, Rejection> {
        self.node.record(self.tenant, role, Input::Command(signed.clone())).await
    }

    pub(crate) fn wait(&mut self, span: Span) {
        self.scenario.now = self.scenario.now + span;
        self.clock.turn(self.scenario.now);
    }
}

/// A node over this log with its replica in this folder.
pub(crate) fn node<J: Journal>(scenario: &Scenario, journal: J, replica: &std::path::Path, clock: &Clock) -> Node<J> {
    let root = scenario.tenant.root;
    Node::new(NodeConfig {
        journal,
        replica: Replica::open(replica, root).unwrap().replica,
        archive: None,
        keys: ServiceRole::SERVICES.iter().map(|role| scenario.service(*role).clone()).collect(),
        root,
        clock: clock.clone(),
    })
}
