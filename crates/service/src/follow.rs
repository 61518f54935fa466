//! Following the log: one subscription covers every tenant, gaps are filled from the log, and each tenant's tail is
//! compared with it now and then.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use journal::Journal;
use journal::port::{Arrived, News};
use journal_sled::AlarmKind;
use model::{Sequence, TenantId};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, info, warn};

use crate::Error;
use crate::lane::Lane;
use crate::lock;
use crate::node::Node;

/// How often every tenant's tail is compared with the log, beside each reconnect.
const COMPARE_EVERY: Duration = Duration::from_secs(20);
/// How often replica and archive are synced.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How many messages that have arrived are taken at once.
const GATHER: usize = 512;
/// How many events of one tenant wait at most; beyond, they are read from the log.
const INBOX: usize = 4096;
/// How many tenants are asked of the replica at once.
const TENANTS: usize = 256;

/// Events of a tenant that have arrived and wait to be taken.
#[derive(Default)]
pub(crate) struct Inbox {
    events: Vec<Arrived>,
    /// Events were left out: the log has them.
    gap: bool,
    /// Somebody takes them.
    taken: bool,
}

impl Inbox {
    /// Puts events in, and says whether nobody takes them: then the caller must.
    fn put(&mut self, events: Vec<Arrived>) -> bool {
        let room = INBOX.saturating_sub(self.events.len());
        self.gap |= events.len() > room;
        self.events.extend(events.into_iter().take(room));
        !std::mem::replace(&mut self.taken, true)
    }

    /// Takes everything out, and whether there is a gap; nothing where there is nothing left to do.
    fn take(&mut self) -> Option<(Vec<Arrived>, bool)> {
        if self.events.is_empty() && !self.gap {
            self.taken = false;
            return None;
        }
        Some((std::mem::take(&mut self.events), std::mem::take(&mut self.gap)))
    }
}

impl<J: Journal> Node<J> {
    /// Brings every tenant's replica to the end of its log, and compares what both have.
    pub async fn synchronise(&self) -> Result<(), Error> {
        let tails = self.journal().tails().await?;
        self.heard();
        debug!(tenants = tails.len(), "comparing with the log");
        for (tenant, last) in &tails {
            if let Err(error) = self.compare(*tenant, *last).await {
                warn!(%tenant, %error, "could not compare with the log");
            }
        }
        self.look_for_the_missing(&tails.into_iter().map(|(tenant, _)| tenant).collect()).await
    }

    /// A tenant that we know and that has no log any more is behind, like one whose log has less.
    async fn look_for_the_missing(&self, listed: &HashSet<TenantId>) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = self.replica().tenants(after, TENANTS)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            for (tenant, head) in page.into_iter().filter(|(tenant, _)| !listed.contains(tenant)) {
                // The list may be older than the log.
                let gone = matches!(self.journal().last(tenant).await, Err(journal::Error::NoTenant(_)));
                if gone && head.sequence > Sequence::NONE && self.replica().alarm(tenant).is_none() {
                    self.raise(tenant, AlarmKind::Behind, head.sequence, "the log is gone".into());
                }
            }
        }
    }

    /// Compares one tenant's replica (and archive) with its log. A difference raises an alarm.
    async fn compare(&self, tenant: TenantId, last: Sequence) -> Result<(), Error> {
        if self.replica().alarm(tenant).is_some() {
            return Ok(());
        }
        let known = self.known(tenant)?;
        if last < known {
            // The list of tails may be older than what we know: only the log's own word counts.
            let now = self.journal().last(tenant).await?;
            if now < known {
                self.raise(tenant, AlarmKind::Behind, known, format!("the log ends at {}", now.0));
            }
            return Ok(());
        }
        let head = self.replica().head(tenant)?;
        if last > head.sequence || self.archive_is_behind(tenant)? {
            return match self.catch_up(tenant).await {
                Err(Error::Journal(journal::Error::Hole(sequence))) => {
                    self.raise(tenant, AlarmKind::Hole, sequence, "the log goes on behind it".into());
                    Ok(())
                }
                other => other,
            };
        }
        if head.sequence == Sequence::NONE {
            return Ok(());
        }
        let found = self.journal().read(tenant, head.sequence, 1).await?;
        self.heard();
        match found.first() {
            Some(record) if record.hash() == head.hash => {}
            Some(record) => {
                let seen = format!("the log has {}, we have {}", record.hash(), head.hash);
                self.raise(tenant, AlarmKind::Differs, head.sequence, seen);
            }
            None => self.raise(tenant, AlarmKind::Hole, head.sequence, "the log's last event is not there".into()),
        }
        Ok(())
    }

    /// Follows until `shutdown`. The subscription must have been made before [`Node::synchronise`] was first called, so
    /// that nothing falls between.
    pub async fn follow(&self, news: impl Stream<Item = News> + Send, shutdown: impl Future<Output = ()> + Send) {
        let mut news = std::pin::pin!(news.ready_chunks(GATHER));
        let mut shutdown = std::pin::pin!(shutdown);
        let mut compare = tokio::time::interval_at(Instant::now() + COMPARE_EVERY, COMPARE_EVERY);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sync = tokio::time::interval(SYNC_EVERY);
        sync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = tasks.join_next() => {}
                gathered = news.next() => match gathered {
                    Some(gathered) => self.arrived(gathered, &mut tasks),
                    None => break,
                },
                _ = compare.tick() => self.spawn_compare(&mut tasks),
                _ = sync.tick() => self.spawn_sync(&mut tasks),
            }
        }
        while tasks.join_next().await.is_some() {}
        self.sync().await;
    }

    /// Compares with the log, beside whatever else goes on; one at a time.
    fn spawn_compare(&self, tasks: &mut JoinSet<()>) {
        let node = self.clone();
        tasks.spawn(async move {
            let Ok(_alone) = node.comparing().try_lock() else { return };
            if let Err(error) = node.synchronise().await {
                warn!(%error, "the log can't be compared; trying again later");
            }
        });
    }

    fn spawn_sync(&self, tasks: &mut JoinSet<()>) {
        let node = self.clone();
        tasks.spawn(async move {
            let Ok(_alone) = node.syncing().try_lock() else { return };
            node.sync().await;
        });
    }

    /// Puts events into their tenants' inboxes, so that a tenant that takes long does not hold up another.
    fn arrived(&self, gathered: Vec<News>, tasks: &mut JoinSet<()>) {
        let mut tenants: HashMap<TenantId, Vec<Arrived>> = HashMap::new();
        for news in gathered {
            match news {
                News::Event(arrived) => tenants.entry(arrived.tenant).or_default().push(arrived),
                News::Reconnected => {
                    info!("the bus is back");
                    self.spawn_compare(tasks);
                }
            }
        }
        for (tenant, events) in tenants {
            let lane = self.lane(tenant);
            if lock(&lane.inbox).put(events) {
                let node = self.clone();
                tasks.spawn(async move { node.take_inbox(tenant, &lane).await });
            }
        }
    }

    async fn take_inbox(&self, tenant: TenantId, lane: &Lane) {
        loop {
            let Some((events, gap)) = lock(&lane.inbox).take() else { return };
            if let Err(error) = self.take(tenant, lane, events, gap).await {
                warn!(%tenant, %error, "could not take events; they are read from the log later");
            }
        }
    }

    /// Takes one tenant's events. A gap is filled from the log.
    async fn take(&self, tenant: TenantId, lane: &Lane, events: Vec<Arrived>, gap: bool) -> Result<(), Error> {
        let _held = lane.hold().await;
        let next = self.replica().head(tenant)?.sequence.next();
        let (mut wanted, mut gap) = (next, gap);
        let mut records = Vec::with_capacity(events.len());
        for event in events {
            if event.sequence == wanted {
                wanted = wanted.next();
                records.push(event.record);
            } else if event.sequence > wanted {
                gap = true;
            }
        }
        if !records.is_empty() {
            self.absorb(tenant, next, records).await?;
        }
        if gap {
            self.catch_up_held(tenant).await?;
        }
        Ok(())
    }
}
