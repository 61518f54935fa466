//! Catching up: records are read from the log, judged, and taken into replica and archive.

use std::sync::Arc;

use journal::{Journal, Record};
use journal_sled::AlarmKind;
use model::{Sequence, TenantId};
use tracing::warn;

use super::{Inner, Node};
use crate::Error;
use crate::replay::{Fork, Replay, replay};

/// How many records are read from the log at once.
const PAGE: usize = 512;

impl<J: Journal> Node<J> {
    /// Takes the tenant's lock and brings its replica to the end of the log.
    pub async fn catch_up(&self, tenant: TenantId) -> Result<(), Error> {
        let lane = self.lane(tenant);
        let _held = lane.hold().await;
        self.catch_up_held(tenant).await
    }

    /// The same, where the caller holds the tenant's lock.
    pub(crate) async fn catch_up_held(&self, tenant: TenantId) -> Result<(), Error> {
        loop {
            let from = self.first_missing(tenant)?;
            let records = self.0.journal.read(tenant, from, PAGE).await?;
            self.heard();
            if records.is_empty() {
                return Ok(());
            }
            self.absorb(tenant, from, records).await?;
            // An alarm may stop us: then we stay where we are.
            if self.first_missing(tenant)? <= from {
                return Ok(());
            }
        }
    }

    /// The first sequence that replica or archive lack.
    fn first_missing(&self, tenant: TenantId) -> Result<Sequence, Error> {
        let head = self.0.replica.head(tenant)?.sequence;
        match &self.0.archiver {
            Some(archiver) => Ok(archiver.last(tenant)?.min(head).next()),
            None => Ok(head.next()),
        }
    }

    /// The last sequence that this process knows to have been in the log.
    pub(crate) fn known(&self, tenant: TenantId) -> Result<Sequence, Error> {
        let head = self.0.replica.head(tenant)?.sequence;
        match &self.0.archiver {
            Some(archiver) => Ok(archiver.last(tenant)?.max(head)),
            None => Ok(head),
        }
    }

    /// Whether the archive lacks what the replica has.
    pub(crate) fn archive_is_behind(&self, tenant: TenantId) -> Result<bool, Error> {
        Ok(self.first_missing(tenant)? <= self.0.replica.head(tenant)?.sequence)
    }

    /// Takes records from `from` on into replica and archive, where the caller holds the tenant's lock. Those that are
    /// there already are passed over; those beyond a gap are left for [`Node::catch_up`].
    pub(crate) async fn absorb(&self, tenant: TenantId, from: Sequence, records: Vec<Record>) -> Result<(), Error> {
        if from > self.first_missing(tenant)? || self.0.replica.alarm(tenant).is_some() {
            return Ok(());
        }
        let head = self.0.replica.head(tenant)?.sequence;
        let known = usize::try_from(head.next().0.saturating_sub(from.0)).unwrap_or(usize::MAX);
        let (inner, records) = (self.0.clone(), Arc::new(records));
        let absorbed = {
            let records = records.clone();
            tokio::task::spawn_blocking(move || inner.absorb(tenant, from, known, &records))
        };
        let absorbed = absorbed.await.map_err(|error| Error::Internal(error.to_string()))??;
        let replayed = match absorbed {
            Absorbed::Replayed(replayed) => replayed,
            Absorbed::Differs(sequence) => {
                self.raise(tenant, AlarmKind::Differs, sequence, "the archive has other bytes".into());
                return Ok(());
            }
        };
        self.0.commits.send_modify(|commits| *commits += 1);
        self.note(tenant, &replayed).await;
        if let Some(archiver) = &self.0.archiver {
            archiver.take(tenant, from, &records).await?;
        }
        Ok(())
    }

    /// Raises the alarms that reading on gave cause for.
    async fn note(&self, tenant: TenantId, replayed: &Replay) {
        for fork in &replayed.forks {
            if self.is_copy(tenant, fork).await {
                warn!(%tenant, sequence = fork.at.0, "an event stands in the log a second time; anybody could put it there");
            } else {
                let seen = format!("event {} is authentic and has the wrong link", fork.hash);
                self.raise(tenant, AlarmKind::Fork, fork.at, seen);
            }
        }
        if let Some(unknown) = replayed.stopped {
            let sequence = self.0.replica.head(tenant).map_or(Sequence::NONE, |head| head.sequence.next());
            self.raise(tenant, AlarmKind::UnknownRules, sequence, unknown.to_string());
        }
    }

    /// Whether an apparent fork is the copy of an event that stands in its own place. Putting a copy into the log takes no
    /// key: an answer of the server can be led there.
    async fn is_copy(&self, tenant: TenantId, fork: &Fork) -> bool {
        let at_its_place = self.0.journal.read(tenant, fork.claims, 1).await;
        fork.claims < fork.at
            && at_its_place.is_ok_and(|records| records.first().is_some_and(|record| record.hash() == fork.hash))
    }
}

/// What became of records that were read.
enum Absorbed {
    /// They were judged, and the replica has them.
    Replayed(Replay),
    /// The archive has another history, from here on.
    Differs(Sequence),
}

impl<J> Inner<J> {
    /// Judges records and applies them to the replica; the first `known` of them it has. Blocking.
    fn absorb(&self, tenant: TenantId, from: Sequence, known: usize, records: &[Record]) -> Result<Absorbed, Error> {
        if let Some(archiver) = &self.archiver
            && let Some(sequence) = archiver.differs(tenant, from, records)?
        {
            return Ok(Absorbed::Differs(sequence));
        }
        let new: Vec<Record> = records.iter().skip(known).cloned().collect();
        let replayed = replay(&self.replica, self.root, tenant, new)?;
        self.replica.apply(&replayed.changes)?;
        Ok(Absorbed::Replayed(replayed))
    }
}
