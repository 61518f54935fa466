//! What was used and refused, gathered, so that nobody can flood the log: the first of a kind is recorded at once, those
//! that follow once in a while, with their number. A report that could not be recorded is sent again, under its own id, so
//! that it stands once. What was counted and not yet recorded is lost if the process is killed; that is why a missing
//! report is no evidence.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use journal::Journal;
use journal::command::SignedCommand;
use lifecycle::{Footprint, Input, Rejection};
use model::event::{CustodyRefused, CustodyUsed};
use model::key::Operation;
use model::{CommandId, Digest, EventHash, Fingerprint, KeyId, ProblemType, TenantId, Timestamp};
use service::{Node, clock};
use tokio::sync::Notify;
use tracing::{debug, warn};

use crate::usage::Allowed;
use crate::{Custodian, ROLE};

/// How long uses of a kind are gathered.
const GATHER_FOR: Duration = Duration::from_secs(10);
/// How long the last reports may take when the custodian stops.
const LAST_REPORTS: Duration = Duration::from_secs(10);
/// How many principals one report names.
const NAMED_MAX: usize = 32;
/// How many kinds of one tenant are counted at once. Beyond, new kinds are not reported.
const KINDS_MAX: usize = 20_000;

/// What is counted together.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Kind {
    /// Uses of a key under one activation.
    Used { activation: EventHash },
    /// Refusals of one sort.
    Refused { reason: ProblemType },
}

/// A count that is not recorded yet.
#[derive(Clone)]
struct Count {
    /// Under what it is reported.
    report: CommandId,
    operations: BTreeMap<Operation, u64>,
    who: BTreeSet<Fingerprint>,
    /// The first command that was counted.
    first_command: Digest,
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
    open: Mutex<HashMap<TenantId, HashMap<CountKey, Entry>>>,
    /// Something of a new kind was counted.
    news: Notify,
}

/// What a count is of.
type CountKey = (KeyId, Kind);

/// A count on its way into the log.
#[derive(Clone)]
struct Report {
    tenant: TenantId,
    of: CountKey,
    count: Count,
}

impl Tally {
    /// Counts a use.
    pub(crate) fn used(&self, tenant: TenantId, allowed: &Allowed, activation: EventHash, now: Timestamp) {
        let of = (allowed.key, Kind::Used { activation });
        self.count(tenant, of, allowed.operation, allowed.by, allowed.command, now);
    }

    /// Counts a refusal of somebody who is or was enrolled. Anybody on the tenant's side of the bus can be refused:
    /// strangers' attempts, and what is no sound command at all, stay out of the log.
    pub(crate) fn refused(&self, tenant: TenantId, signed: &SignedCommand, rejection: &Rejection, now: Timestamp) {
        use ProblemType::{
            Busy, ClockBehind, Contended, Expired, LifetimeTooLong, NotYetIssued, Stopped, Unavailable, UnknownAction,
            UnknownKey, UnknownPrincipal, UnknownTenant, UseRepeated, WrongTenant,
        };
        let says_nothing = matches!(
            rejection.problem,
            UnknownPrincipal
                | UnknownTenant
                | UnknownKey
                | UnknownAction
                | WrongTenant
                | Expired
                | NotYetIssued
                | LifetimeTooLong
                | UseRepeated
                | Stopped
                | Unavailable
                | Busy
                | Contended
                | ClockBehind
        );
        let [signer] = signed.signers.as_slice() else { return };
        let (Some(key), Some(operation)) = (signed.command.key_id, signed.command.action.operation()) else { return };
        if !says_nothing {
            let of = (key, Kind::Refused { reason: rejection.problem });
            self.count(tenant, of, operation, signer.key.fingerprint(), signed.digest, now);
        }
    }

    fn count(
        &self,
        tenant: TenantId,
        of: CountKey,
        operation: Operation,
        who: Fingerprint,
        command: Digest,
        now: Timestamp,
    ) {
        let mut open = service::lock(&self.open);
        let kinds = open.entry(tenant).or_default();
        if kinds.len() >= KINDS_MAX && !kinds.contains_key(&of) {
            debug!(%tenant, "too many kinds of uses at once: this one is not reported");
            return;
        }
        let entry = kinds.entry(of).or_insert(Entry { fresh: true, count: None });
        let count = entry.count.get_or_insert_with(|| Count {
            report: clock::command_id(),
            operations: BTreeMap::new(),
            who: BTreeSet::new(),
            first_command: command,
            from: now,
            to: now,
        });
        *count.operations.entry(operation).or_default() += 1;
        count.to = count.to.max(now);
        if count.who.len() < NAMED_MAX {
            count.who.insert(who);
        }
        if entry.fresh {
            self.news.notify_one();
        }
    }

    /// The first counts of their kinds.
    fn first(&self) -> Vec<Report> {
        self.take(|entry| if std::mem::take(&mut entry.fresh) { entry.count.take() } else { None })
    }

    /// Every count. Kinds of which nothing came since the last time are forgotten: their next is a first again.
    fn all(&self) -> Vec<Report> {
        let mut open = service::lock(&self.open);
        open.values_mut().for_each(|kinds| kinds.retain(|_, entry| entry.count.is_some()));
        open.retain(|_, kinds| !kinds.is_empty());
        drop(open);
        self.take(|entry| entry.count.take())
    }

    fn take(&self, count: impl Fn(&mut Entry) -> Option<Count>) -> Vec<Report> {
        let mut open = service::lock(&self.open);
        let reports = open.iter_mut().flat_map(|(tenant, kinds)| {
            let report = |(of, entry): (&CountKey, &mut Entry)| {
                count(entry).map(|count| Report { tenant: *tenant, of: of.clone(), count })
            };
            kinds.iter_mut().filter_map(report)
        });
        reports.collect()
    }
}

/// Records counts until `shutdown`, and then what is left.
pub(crate) async fn report<J: Journal>(custodian: &Custodian<J>, shutdown: impl Future<Output = ()>) {
    let (node, tally) = (&custodian.ports.node, &custodian.tally);
    let mut shutdown = std::pin::pin!(shutdown);
    let mut window = tokio::time::interval(GATHER_FOR);
    // Those that could not be recorded, unchanged: they may stand already.
    let mut again: Vec<Report> = Vec::new();
    loop {
        let reports = tokio::select! {
            () = &mut shutdown => break,
            () = tally.news.notified() => tally.first(),
            _ = window.tick() => again.drain(..).chain(tally.all()).collect(),
        };
        again.extend(record_all(node, reports).await);
    }
    let last = again.into_iter().chain(tally.all()).collect();
    match tokio::time::timeout(LAST_REPORTS, record_all(node, last)).await {
        Ok(lost) if lost.is_empty() => {}
        Ok(lost) => warn!(reports = lost.len(), "reports of uses or refusals are lost"),
        Err(_) => warn!("reports of uses or refusals are lost: the log does not answer"),
    }
}

/// Records what it can; gives back what is to be tried again.
async fn record_all<J: Journal>(node: &Node<J>, reports: Vec<Report>) -> Vec<Report> {
    let recorded = reports.into_iter().map(|report| async {
        let retry = record(node, &report).await.is_err();
        retry.then_some(report)
    });
    futures_util::future::join_all(recorded).await.into_iter().flatten().collect()
}

/// Records a report; an error where it may be recorded later.
async fn record<J: Journal>(node: &Node<J>, report: &Report) -> Result<(), Rejection> {
    let Report { tenant, of: (key_id, kind), count } = report.clone();
    let footprint = Footprint::of_key(key_id);
    let view = node.view(tenant, footprint).map_err(|error| Rejection::new(ProblemType::Unavailable, error))?;
    // A refusal of a key that does not exist concerns nobody's key.
    let Some(key) = view.key else { return Ok(()) };
    let Count { report, operations, who, first_command, from, to } = count;
    let who = who.into_iter().collect();
    let input = match kind {
        Kind::Used { activation } => {
            let cause = key.transition;
            Input::Used(CustodyUsed { report, key_id, activation, uses: operations, used_by: who, from, to, cause })
        }
        Kind::Refused { reason } => {
            let Ok(reason) = reason.name().parse() else { return Ok(()) };
            Input::Refused(CustodyRefused {
                report,
                key_id,
                reason,
                state: key.state,
                refusals: operations,
                asked_by: who,
                first_command,
                from,
                to,
                cause: key.head,
            })
        }
    };
    match node.record(tenant, ROLE, input).await {
        Ok(_) => Ok(()),
        Err(rejection) if rejection.problem.status() == 503 => Err(rejection),
        Err(rejection) => {
            warn!(%tenant, %key_id, %rejection, "a report of uses or refusals is not recorded");
            Ok(())
        }
    }
}
