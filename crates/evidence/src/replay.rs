//! A history read from its first event on: judged, and added up.

use std::collections::BTreeMap;

use journal::Record;
use lifecycle::Tenant;
use model::{EventHash, Fingerprint, Sequence, TenantId, Timestamp};

use crate::controls::{self, Controls, Period, Tested};
use crate::history::History;
use crate::verify::{Seen, Verifier};

/// A reading under way.
pub struct Replay {
    verifier: Verifier,
    history: History,
    /// The sizes at which the tree's root is kept, and the roots that were met.
    roots: BTreeMap<u64, Option<EventHash>>,
    /// The first event of the period, from 1.
    from: Sequence,
}

impl Replay {
    /// Before the first event. The period under test begins with event `from`.
    pub fn new(tenant: TenantId, root: Fingerprint, from: Sequence) -> Self {
        let (history, roots) = (History::default(), BTreeMap::new());
        Self { verifier: Verifier::new(tenant, root), history, roots, from: from.max(Sequence(1)) }
    }

    /// Has the root of the tree over the first `size` events kept when it is met.
    pub fn keep_root(&mut self, size: u64) {
        self.roots.entry(size).or_default();
    }

    /// The root of the tree over the first `size` events, where it was to be kept and there are as many.
    pub fn root_at(&self, size: u64) -> Option<EventHash> {
        self.roots.get(&size).copied().flatten()
    }

    /// Takes the records that follow; many at once are faster.
    pub fn take(&mut self, records: Vec<Record>) {
        self.take_each(records, &mut |_, _| ());
    }

    /// The same, for who looks at each of them.
    pub fn take_each(&mut self, records: Vec<Record>, look: &mut dyn FnMut(&Tenant, &Seen)) {
        let Self { verifier, history, roots, .. } = self;
        verifier.take_each(records, &mut |state, seen| {
            let (sequence, prepared, judgement) = &seen;
            history.take(state, *sequence, prepared, judgement);
            if let Some(root) = roots.get_mut(&sequence.0) {
                *root = Some(EventHash::new(state.chain.tree().root()));
            }
            look(state, &seen);
        });
    }

    /// The verification so far.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// What it adds up to so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The state so far.
    pub fn state(&self) -> &Tenant {
        self.verifier.state()
    }

    /// What is looked at.
    pub fn period(&self) -> Period {
        let chain = &self.state().chain;
        // The last event's time is the latest that anything in the chain knows of.
        let until: Timestamp = chain.time();
        Period { from: self.from, to: chain.head().sequence, until }
    }

    /// The control tests over the period.
    pub fn controls(&self) -> Controls {
        let state = self.state();
        let (tenant, root, head) = (state.chain.tenant(), state.root, state.chain.head().hash);
        controls::test(&self.history, Tested { tenant, root, period: self.period(), head })
    }
}
