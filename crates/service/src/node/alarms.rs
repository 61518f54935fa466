//! Alarms: nothing is written for a tenant whose alarm stands, nor for any while the log could not be compared.

use std::time::Duration;

use journal::Journal;
use journal_sled::{Alarm, AlarmKind};
use lifecycle::Rejection;
use model::{ProblemType, Sequence, TenantId};
use tracing::{error, warn};

use super::Node;
use crate::lock;

/// How long the log may go without being compared before writing stops.
const STALE_AFTER: Duration = Duration::from_secs(60);

impl<J: Journal> Node<J> {
    /// Raises an alarm: nothing more is written for this tenant until somebody has looked.
    pub fn raise(&self, tenant: TenantId, kind: AlarmKind, sequence: Sequence, seen: String) {
        error!(%tenant, ?kind, sequence = sequence.0, seen, "ALARM: writing is stopped for this tenant");
        let alarm = Alarm { kind, sequence, seen, since: self.0.clock.now() };
        if let Err(error) = self.0.replica.raise(tenant, alarm) {
            error!(%tenant, %error, "the alarm could not be kept");
        }
    }

    /// The log was compared with our replicas.
    pub(crate) fn heard(&self) {
        *lock(&self.0.heard) = tokio::time::Instant::now();
    }

    /// How long ago the log was last compared, where that is too long: the *stale* alarm, of all tenants at once. It
    /// passes by itself.
    pub fn stale(&self) -> Option<Duration> {
        Some(lock(&self.0.heard).elapsed()).filter(|age| *age > STALE_AFTER)
    }

    /// Refuses where an alarm stands.
    pub fn check_alarm(&self, tenant: TenantId) -> Result<(), Rejection> {
        if let Some(age) = self.stale() {
            let detail = format!("stale: the log could not be compared for {} s", age.as_secs());
            return Rejection::new(ProblemType::Stopped, detail).err();
        }
        match self.0.replica.alarm(tenant) {
            None => Ok(()),
            Some(alarm) => {
                let detail = format!("{:?} at {}: {}", alarm.kind, alarm.sequence.0, alarm.seen);
                Rejection::new(ProblemType::Stopped, detail).err()
            }
        }
    }

    /// Takes back, at start, the alarm of rules that an older program did not know: where this one does not know them
    /// either, it is raised again.
    pub fn forget_unknown_rules(&self) {
        for (tenant, alarm) in self.0.replica.alarms() {
            if alarm.kind == AlarmKind::UnknownRules
                && let Err(error) = self.0.replica.clear(tenant, AlarmKind::UnknownRules)
            {
                warn!(%tenant, %error, "an alarm could not be taken back");
            }
        }
    }
}
