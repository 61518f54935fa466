//! The one place where the time is read and ids are made.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use model::{CommandId, EventId, KeyId, Timestamp};

/// Tells the time: the system's, or the time that a test has set.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Milliseconds since the Unix epoch, where a test has set them.
    set: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// A clock that stands where it is set.
    pub fn set_at(time: Timestamp) -> Self {
        Self { set: Some(Arc::new(AtomicI64::new(time.unix_millis()))) }
    }

    /// Turns a clock that was made with [`Clock::set_at`]. The system's clock does not turn.
    pub fn turn(&self, time: Timestamp) {
        if let Some(set) = &self.set {
            set.store(time.unix_millis(), Ordering::SeqCst);
        }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        match &self.set {
            Some(set) => Timestamp::from_unix_millis(set.load(Ordering::SeqCst)),
            None => system_time(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
fn system_time() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that makes ids")]
fn new_uuid() -> uuid::Uuid {
    uuid::Uuid::now_v7()
}

#[expect(clippy::expect_used, reason = "now_v7 makes version 7")]
fn v7<T>(wrap: impl FnOnce(uuid::Uuid) -> Option<T>) -> T {
    wrap(new_uuid()).expect("a version 7 UUID")
}

/// A new event id.
pub fn event_id() -> EventId {
    v7(EventId::from_uuid)
}

/// A new command id.
pub fn command_id() -> CommandId {
    v7(CommandId::from_uuid)
}

/// A new key id.
pub fn key_id() -> KeyId {
    v7(KeyId::from_uuid)
}
