//! What was used and refused, gathered, so that nobody can flood the log: the first of a kind is recorded at once, those
//! that follow once in a while, with their number. What was counted and not yet recorded is lost if the process is
//! killed; that is why a missing report is no evidence.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use journal::Journal;
use journal::command::SignedCommand;
use keystore::KeyStore;
use lifecycle::{Footprint, Input, Rejection};
use model::event::{CustodyRefused, CustodyUsed};
use model::key::Operation;
use model::{Digest, EventHash, Fingerprint, KeyId, ProblemType, TenantId, Timestamp};
use service::Node;
use tokio::sync::Notify;
use tracing::warn;

use crate::usage::Allowed;
use crate::{Custodian, ROLE};

/// How long uses of a kind are gathered.
const GATHER_FOR: Duration = Duration::from_secs(10);
/// How many principals one report names.
const NAMED_MAX: usize = 32;
/// How many kinds are counted at once. Beyond, new kinds are not reported.
const KINDS_MAX: usize = 50_000;

/// What is counted together.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Kind {
    /// Uses of a key under one activation.
    Used { activation: EventHash },
    /// Refusals of one sort.
    Refused { reason: ProblemType },
}

/// A count that is not recorded yet.
struct Count {
    operations: BTreeMap<Operation, u64>,
    who: BTreeSet<Fingerprint>,
    first_command: Option<Digest>,
    from: Timestamp,
    to: Timestamp,
}

/// The counts of one kind.
struct Entry {
    /// Nothing of this kind was recorded lately: its first is recorded at once.
    fresh: bool,
    /// What was counted since it was last recorded.
    count: Option<Count>,
}

/// The counts.
#[derive(Default)]
pub(crate) struct Tally {
    open: Mutex<HashMap<Subject, Entry>>,
    /// Something of a new kind was counted.
    news: Notify,
}

/// What a count is of.
type Subject = (TenantId, KeyId, Kind);

impl Tally {
    /// Counts a use.
    pub(crate) fn used(&self, tenant: TenantId, permit: &Allowed, activation: EventHash, now: Timestamp) {
        self.count((tenant, permit.key, Kind::Used { activation }), permit.operation, [permit.by], None, now);
    }

    /// Counts a refusal, where the command names a key. (Whether there is such a key shows when it is recorded.)
    pub(crate) fn refused(&self, tenant: TenantId, signed: &SignedCommand, rejection: &Rejection, now: Timestamp) {
        let (Some(key), Some(operation)) = (signed.command.key_id, signed.command.action.operation()) else { return };
        if rejection.problem == ProblemType::UnknownKey {
            return;
        }
        let who = signed.signers.iter().map(|signer| signer.key.fingerprint());
        let subject = (tenant, key, Kind::Refused { reason: rejection.problem });
        self.count(subject, operation, who, Some(signed.digest), now);
    }

    fn count(
        &self,
        subject: Subject,
        operation: Operation,
        who: impl IntoIterator<Item = Fingerprint>,
        command: Option<Digest>,
        now: Timestamp,
    ) {
        let mut open = self.lock();
        if open.len() >= KINDS_MAX && !open.contains_key(&subject) {
            return;
        }
        let entry = open.entry(subject).or_insert(Entry { fresh: true, count: None });
        let count = entry.count.get_or_insert_with(|| Count {
            operations: BTreeMap::new(),
            who: BTreeSet::new(),
            first_command: command,
            from: now,
            to: now,
        });
        *count.operations.entry(operation).or_default() += 1;
        count.to = count.to.max(now);
        count.who.extend(who.into_iter().take(NAMED_MAX.saturating_sub(count.who.len())));
        if entry.fresh {
            self.news.notify_one();
        }
    }

    /// The first counts of their kinds.
    fn first(&self) -> Vec<(Subject, Count)> {
        let mut open = self.lock();
        let take = |(subject, entry): (&Subject, &mut Entry)| {
            let fresh = std::mem::take(&mut entry.fresh);
            fresh.then(|| Some((subject.clone(), entry.count.take()?))).flatten()
        };
        open.iter_mut().filter_map(take).collect()
    }

    /// Every count. Kinds of which nothing came since the last time are forgotten: their next is a first again.
    fn all(&self) -> Vec<(Subject, Count)> {
        let mut open = self.lock();
        open.retain(|_, entry| entry.count.is_some());
        open.iter_mut().filter_map(|(subject, entry)| Some((subject.clone(), entry.count.take()?))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Subject, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records counts until `shutdown`, and then what is left.
pub(crate) async fn report<J, S>(custodian: &Custodian<J, S>, shutdown: impl Future<Output = ()>)
where
    J: Journal,
    S: KeyStore + 'static,
{
    let (node, tally) = (&custodian.ports.node, &custodian.tally);
    let mut shutdown = std::pin::pin!(shutdown);
    let mut window = tokio::time::interval(GATHER_FOR);
    loop {
        let (counts, last) = tokio::select! {
            () = &mut shutdown => (tally.all(), true),
            () = tally.news.notified() => (tally.first(), false),
            _ = window.tick() => (tally.all(), false),
        };
        let reports = counts.into_iter().map(|(subject, count)| record(node, subject, count));
        futures_util::future::join_all(reports).await;
        if last {
            return;
        }
    }
}

async fn record<J: Journal>(node: &Node<J>, (tenant, key_id, kind): Subject, count: Count) {
    let footprint = Footprint { key: Some(key_id), ..Footprint::default() };
    let Ok(view) = node.view(tenant, footprint) else { return };
    // A refusal of a key that does not exist concerns nobody's key.
    let Some(key) = view.key else { return };
    let Count { operations, who, first_command, from, to } = count;
    let who = who.into_iter().collect();
    let input = match kind {
        Kind::Used { activation } => {
            let cause = key.transition;
            Input::Used(CustodyUsed { key_id, activation, uses: operations, used_by: who, from, to, cause })
        }
        Kind::Refused { reason } => {
            let Ok(reason) = reason.name().parse() else { return };
            let (state, cause) = (key.state, key.head);
            let first_command = first_command.unwrap_or(Digest::new([0; 32]));
            let refusals = operations;
            Input::Refused(CustodyRefused {
                key_id,
                reason,
                state,
                refusals,
                asked_by: who,
                first_command,
                from,
                to,
                cause,
            })
        }
    };
    if let Err(rejection) = node.record(tenant, ROLE, input).await {
        warn!(%tenant, %key_id, %rejection, "a count of uses or refusals was not recorded");
    }
}
