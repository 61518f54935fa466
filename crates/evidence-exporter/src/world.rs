//! A node with an archive, over a log in memory, and a scenario that writes into it.

use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use journal::memory::MemoryJournal;
use journal::merkle::{Frontier, Hash};
use journal::note::NoteKey;
use journal_sled::Replica;
use journal_sled::archive::{self, Archive};
use lifecycle::scenario::Scenario;
use model::{ServiceRole, TenantId};
use service::{Clock, Node, NodeConfig};

pub(crate) struct World {
    pub(crate) node: Node<Arc<MemoryJournal>>,
    pub(crate) clock: Clock,
    pub(crate) scenario: Scenario,
    log: Arc<MemoryJournal>,
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    /// A node that has read a history of some keys and as many checkpoints.
    pub(crate) async fn new() -> Self {
        let scenario = Scenario::new();
        let dir = tempfile::tempdir().unwrap();
        let (log, clock) = (Arc::new(MemoryJournal::default()), Clock::set_at(scenario.now));
        let node = node(&scenario, log.clone(), dir.path(), &clock);
        let mut world = Self { node, clock, scenario, log, dir };
        for key in 1..4 {
            world.run(&format!("generate k{key} by kim => key.generated\ncheckpoint => checkpoint.signed")).await;
        }
        world
    }

    pub(crate) fn tenant(&self) -> TenantId {
        self.scenario.tenant.chain.tenant()
    }

    /// Runs a script; the node reads what comes of it.
    pub(crate) async fn run(&mut self, script: &str) {
        self.scenario.run(script);
        self.log.tamper(self.tenant(), |records| records.clone_from(&self.scenario.records));
        self.clock.turn(self.scenario.now);
        self.node.catch_up(self.tenant()).await.unwrap();
        self.node.sync().await;
    }

    /// The sizes of the checkpoints so far.
    pub(crate) fn sizes(&self) -> Vec<u64> {
        let is_checkpoint =
            |record: &&journal::Record| record.payload.windows(17).any(|word| word == b"checkpoint.signed");
        let places = (0_u64..).zip(&self.scenario.records);
        places.filter(|(_, record)| is_checkpoint(record)).map(|(place, _)| place).collect()
    }

    pub(crate) fn root(&self, size: u64) -> Hash {
        let mut tree = Frontier::default();
        let records = self.scenario.records.iter().take(usize::try_from(size).unwrap());
        records.for_each(|record| tree.push(record.hash().as_bytes()));
        tree.root()
    }

    /// The key that signs this tenant's checkpoints.
    pub(crate) fn log_key(&self) -> NoteKey {
        NoteKey::of_log(self.tenant(), self.exporter())
    }

    fn exporter(&self) -> VerifyingKey {
        self.scenario.service(ServiceRole::EvidenceExporter).signing_key().verifying_key()
    }
}

fn node(
    scenario: &Scenario,
    journal: Arc<MemoryJournal>,
    dir: &std::path::Path,
    clock: &Clock,
) -> Node<Arc<MemoryJournal>> {
    let root = scenario.tenant.root;
    Node::new(NodeConfig {
        journal,
        replica: Replica::open(&dir.join("replica"), root).unwrap().replica,
        archive: Some(Archive::open(&dir.join("archive"), archive::Options::default(), |_| ()).unwrap().archive),
        keys: ServiceRole::SERVICES.iter().map(|role| scenario.service(*role).clone()).collect(),
        root,
        clock: clock.clone(),
    })
}
