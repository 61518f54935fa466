//! Whose turn it is: tenants that somebody outside is to be asked for, in order of time.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use model::TenantId;
use tokio::time::Instant;

/// How long a question that failed waits at first; the wait doubles each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest such wait.
const RETRY_MOST: Duration = Duration::from_secs(600);

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered, and the answer kept.
    Kept,
    /// There was nothing to ask.
    Nothing,
    /// It is too early.
    Later(Duration),
    /// It failed.
    Failed,
}

/// The tenants, each at most once. What is remembered of a tenant is small and does not grow.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    due: BTreeSet<(Instant, TenantId)>,
    tenants: HashMap<TenantId, Standing>,
}

#[derive(Debug)]
struct Standing {
    /// When it is due, where it waits.
    due: Option<Instant>,
    /// Not before this.
    earliest: Instant,
    /// How often it has failed since it last went well.
    failures: u32,
    at_work: bool,
    /// Whether it was added while it was at work.
    again: bool,
}

impl Queue {
    /// A tenant has something to ask for.
    pub(crate) fn add(&mut self, tenant: TenantId, now: Instant) {
        let standing = self.tenants.entry(tenant).or_insert(Standing {
            due: None,
            earliest: now,
            failures: 0,
            at_work: false,
            again: false,
        });
        if standing.at_work {
            standing.again = true;
        } else if standing.due.is_none() {
            let at = standing.earliest.max(now);
            standing.due = Some(at);
            self.due.insert((at, tenant));
        }
    }

    /// The next tenant whose time has come; it is at work from now on.
    pub(crate) fn take(&mut self, now: Instant) -> Option<TenantId> {
        let (at, tenant) = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, tenant));
        if let Some(standing) = self.tenants.get_mut(&tenant) {
            (standing.due, standing.at_work) = (None, true);
        }
        Some(tenant)
    }

    /// A tenant's question is over; the next is not asked before `every` has passed.
    pub(crate) fn done(&mut self, tenant: TenantId, outcome: Outcome, every: Duration, now: Instant) {
        let Some(standing) = self.tenants.get_mut(&tenant) else { return };
        standing.at_work = false;
        let again = std::mem::take(&mut standing.again);
        let wait = match outcome {
            Outcome::Kept => {
                (standing.failures, standing.earliest) = (0, now + every);
                again.then_some(every)
            }
            Outcome::Nothing => {
                standing.failures = 0;
                again.then_some(Duration::ZERO)
            }
            Outcome::Later(wait) => Some(wait),
            Outcome::Failed => {
                standing.failures = standing.failures.saturating_add(1);
                let doubled = RETRY_FIRST.saturating_mul(1 << (standing.failures - 1).min(16));
                standing.earliest = now + doubled.min(RETRY_MOST);
                Some(doubled.min(RETRY_MOST))
            }
        };
        if let Some(wait) = wait {
            let at = now + wait;
            standing.due = Some(at);
            self.due.insert((at, tenant));
        }
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(60);

    fn tenant(number: u8) -> TenantId {
        TenantId::from_bytes([number; 32])
    }

    #[test]
    fn a_tenant_is_asked_for_at_once_and_then_no_more_often_than_it_may_be() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        queue.add(tenant(1), start);
        queue.add(tenant(1), start);
        queue.add(tenant(2), start);
        assert_eq!(queue.len(), 2);
        assert_eq!((queue.take(start), queue.take(start), queue.take(start)), (Some(tenant(1)), Some(tenant(2)), None));
        // Something new while it is at work, and twice after.
        queue.add(tenant(1), start);
        queue.done(tenant(1), Outcome::Kept, EVERY, start);
        queue.done(tenant(2), Outcome::Kept, EVERY, start);
        queue.add(tenant(1), start);
        queue.add(tenant(2), start + EVERY / 2);
        assert_eq!(queue.take(start + EVERY / 2), None);
        assert_eq!(queue.next(), Some(start + EVERY));
        assert_eq!(queue.take(start + EVERY), Some(tenant(1)));
        assert_eq!(queue.take(start + EVERY), Some(tenant(2)));
        queue.done(tenant(1), Outcome::Nothing, EVERY, start + EVERY);
        queue.done(tenant(2), Outcome::Later(EVERY), EVERY, start + EVERY);
        assert_eq!((queue.len(), queue.next()), (1, Some(start + 2 * EVERY)));
    }

    #[test]
    fn what_fails_is_asked_for_less_and_less_often_and_for_ever() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.add(tenant(1), now);
        let mut waits = Vec::new();
        for _ in 0..20 {
            assert_eq!(queue.take(now), Some(tenant(1)));
            queue.done(tenant(1), Outcome::Failed, EVERY, now);
            // A new checkpoint does not shorten the wait.
            queue.add(tenant(1), now);
            let next = queue.next().unwrap();
            waits.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(&waits[..4], &[1, 2, 4, 8]);
        assert_eq!(waits.last(), Some(&600));
        queue.take(now);
        queue.done(tenant(1), Outcome::Kept, EVERY, now);
        queue.add(tenant(1), now + EVERY);
        assert_eq!(queue.take(now + EVERY), Some(tenant(1)), "and as often as before once it went well");
    }
}
