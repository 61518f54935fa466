//! Alarms: what stops writing for a tenant until somebody has looked, or until it has passed.
//!
//! An alarm can't be made anew from the log (that the log once had more than it has now, for one), so alarms don't live in
//! the replica's store: each alarmed tenant has a small file that is written, synced and renamed into place.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{Sequence, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Error, place};

/// What is wrong with a tenant's log, or with hearing of it. The graver comes later in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmKind {
    /// Nothing was heard for too long.
    Stale,
    /// The chain is under rules that this program does not know.
    UnknownRules,
    /// The log has less than the replica.
    Behind,
    /// A sequence is missing in the log.
    Hole,
    /// The log has other bytes at a sequence than were seen before.
    Differs,
    /// An authentic event has the wrong link: somebody who may sign wrote two histories.
    Fork,
}

/// One alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// What is wrong.
    pub kind: AlarmKind,
    /// Where in the chain.
    pub sequence: Sequence,
    /// What was seen, for people.
    pub seen: String,
    /// Since when.
    pub since: Timestamp,
}

/// The alarms of all tenants: in memory, and each on disk before anybody is told that it was raised.
pub(crate) struct Alarms {
    dir: PathBuf,
    standing: Mutex<BTreeMap<TenantId, Vec<Alarm>>>,
}

impl Alarms {
    /// Reads what stands. A file that can't be read is an error, not an alarm less.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        place::private_dir(dir)?;
        let mut standing = BTreeMap::new();
        for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
            let path = entry.map_err(Error::io(dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
            // Anything else is what a crash left of a file on its way into place.
            let Some(tenant) = name.and_then(|name| name.parse().ok()) else { continue };
            let bytes = fs::read(&path).map_err(Error::io(&path))?;
            let alarms = serde_json::from_slice(&bytes).map_err(|error| Error::io(&path)(error.into()))?;
            standing.insert(tenant, alarms);
        }
        Ok(Self { dir: dir.to_owned(), standing: Mutex::new(standing) })
    }

    /// The gravest alarm of a tenant.
    pub(crate) fn of(&self, tenant: TenantId) -> Option<Alarm> {
        self.lock().get(&tenant)?.iter().max_by_key(|alarm| alarm.kind).cloned()
    }

    /// Every alarm of every tenant.
    pub(crate) fn all(&self) -> Vec<(TenantId, Alarm)> {
        let standing = self.lock();
        let each = standing.iter().flat_map(|(tenant, alarms)| alarms.iter().map(move |alarm| (*tenant, alarm)));
        each.map(|(tenant, alarm)| (tenant, alarm.clone())).collect()
    }

    /// Raises one, durably. One of its kind that stands already stays as it is. Whether it is new.
    pub(crate) fn raise(&self, tenant: TenantId, alarm: Alarm) -> Result<bool, Error> {
        let mut standing = self.lock();
        let mut alarms = standing.get(&tenant).cloned().unwrap_or_default();
        if alarms.iter().any(|stands| stands.kind == alarm.kind) {
            return Ok(false);
        }
        alarms.push(alarm);
        // It stands from now on, also where the disk refuses it: then it is gone with the process, and the error says so.
        let stored = self.store(tenant, &alarms);
        standing.insert(tenant, alarms);
        stored.map(|()| true)
    }

    /// Takes the alarm of a kind back, durably. Whether there was one.
    pub(crate) fn clear(&self, tenant: TenantId, kind: AlarmKind) -> Result<bool, Error> {
        let mut standing = self.lock();
        let mut alarms = standing.get(&tenant).cloned().unwrap_or_default();
        let before = alarms.len();
        alarms.retain(|alarm| alarm.kind != kind);
        if alarms.len() == before {
            return Ok(false);
        }
        self.store(tenant, &alarms)?;
        if alarms.is_empty() {
            standing.remove(&tenant)
        } else {
            standing.insert(tenant, alarms)
        };
        Ok(true)
    }

    fn store(&self, tenant: TenantId, alarms: &[Alarm]) -> Result<(), Error> {
        let path = self.dir.join(format!("{tenant}.json"));
        if alarms.is_empty() {
            fs::remove_file(&path).map_err(Error::io(&path))?;
            return place::sync_dir(&self.dir);
        }
        let json = serde_json::to_vec(alarms).map_err(|error| Error::io(&path)(error.into()))?;
        place::put_file(&path, &json)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TenantId, Vec<Alarm>>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
