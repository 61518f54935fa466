//! Following: one subscription for every tenant, gaps filled from the log, the tail compared now and then.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use journal::Journal;
use journal::port::{Arrived, News};
use journal_sled::AlarmKind;
use model::{Sequence, TenantId};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use crate::Error;
use crate::node::Node;

/// How often every tenant's tail is compared with the log, beside each reconnect.
const COMPARE_EVERY: Duration = Duration::from_secs(20);
/// How often replica and archive are synced.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How many messages that have arrived are taken at once.
const GATHER: usize = 512;

impl<J: Journal> Node<J> {
    /// Brings every tenant's replica to the end of its log, and compares what both have.
    pub async fn synchronise(&self) -> Result<(), Error> {
        let tails = self.journal().tails().await?;
        self.heard();
        debug!(tenants = tails.len(), "comparing with the log");
        for (tenant, last) in tails {
            if let Err(error) = self.compare(tenant, last).await {
                warn!(%tenant, %error, "could not compare with the log");
            }
        }
        Ok(())
    }

    /// Compares one tenant's replica with its log. What does not fit raises an alarm.
    async fn compare(&self, tenant: TenantId, last: Sequence) -> Result<(), Error> {
        if self.replica().alarm(tenant).is_some() {
            return Ok(());
        }
        let head = self.replica().head(tenant)?;
        if last > head.sequence {
            return match self.catch_up(tenant).await {
                Err(Error::Journal(journal::Error::Hole(sequence))) => {
                    self.raise(tenant, AlarmKind::Hole, sequence, "the log goes on behind it".into());
                    Ok(())
                }
                other => other,
            };
        }
        if last < head.sequence {
            // The list of tails may be older than our head: only the log's own word counts.
            let now = self.journal().last(tenant).await?;
            if now < head.sequence {
                self.raise(tenant, AlarmKind::Behind, head.sequence, format!("the log ends at {}", now.0));
            }
            return Ok(());
        }
        if head.sequence == Sequence::NONE {
            return Ok(());
        }
        match self.journal().read(tenant, head.sequence, 1).await?.first() {
            Some(record) if record.hash() == head.hash => Ok(()),
            Some(record) => {
                let seen = format!("the log has {}, we have {}", record.hash(), head.hash);
                self.raise(tenant, AlarmKind::Differs, head.sequence, seen);
                Ok(())
            }
            None => {
                self.raise(tenant, AlarmKind::Hole, head.sequence, "the log's last event is not there".into());
                Ok(())
            }
        }
    }

    /// Follows until `shutdown`. The subscription must have been made before [`Node::synchronise`] was first called, so
    /// that nothing falls between.
    pub async fn follow(&self, news: impl Stream<Item = News> + Send, shutdown: impl Future<Output = ()> + Send) {
        let mut news = std::pin::pin!(news.ready_chunks(GATHER));
        let mut shutdown = std::pin::pin!(shutdown);
        let mut compare = tokio::time::interval_at(tokio::time::Instant::now() + COMPARE_EVERY, COMPARE_EVERY);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sync = tokio::time::interval(SYNC_EVERY);
        sync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let compare_now = tokio::select! {
                () = &mut shutdown => break,
                _ = sync.tick() => {
                    self.sync().await;
                    false
                }
                gathered = news.next() => match gathered {
                    Some(gathered) => self.arrived(gathered).await,
                    None => break,
                },
                _ = compare.tick() => true,
            };
            if compare_now && let Err(error) = self.synchronise().await {
                warn!(%error, "the log can't be compared; trying again later");
            }
        }
        self.sync().await;
    }

    /// Takes what has arrived. Whether everything is to be compared: the connection was away.
    async fn arrived(&self, gathered: Vec<News>) -> bool {
        let mut reconnected = false;
        let mut tenants: HashMap<TenantId, Vec<Arrived>> = HashMap::new();
        for news in gathered {
            match news {
                News::Event(arrived) => tenants.entry(arrived.tenant).or_default().push(arrived),
                News::Reconnected => reconnected = true,
            }
        }
        let each = tenants.into_iter().map(|(tenant, events)| async move {
            if let Err(error) = self.take(tenant, events).await {
                warn!(%tenant, %error, "could not take events; they are read from the log later");
            }
        });
        futures_util::future::join_all(each).await;
        if reconnected {
            info!("the bus is back");
        }
        reconnected
    }

    /// Takes one tenant's events. A gap is filled from the log.
    async fn take(&self, tenant: TenantId, events: Vec<Arrived>) -> Result<(), Error> {
        let lane = self.lane(tenant);
        let _held = lane.hold().await;
        let next = self.replica().head(tenant)?.sequence.next();
        let mut wanted = next;
        let mut records = Vec::with_capacity(events.len());
        let mut gap = false;
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
