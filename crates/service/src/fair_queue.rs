//! A queue that serves tenants in turn, so that one tenant's flood delays nobody else.
//!
//! It is pure: requests go in, requests come out. It bounds how many requests are worked on at once, in all and of one
//! tenant, how many of a tenant's wait, and the bytes that wait, of one tenant and in all.

use std::collections::{HashMap, VecDeque};

use model::TenantId;

/// How much of everything there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Worked on at once, of all tenants.
    pub(crate) at_work: usize,
    /// Worked on at once, of one tenant.
    pub(crate) tenant_at_work: usize,
    /// Waiting, of one tenant.
    pub(crate) tenant_waiting: usize,
    /// Bytes waiting, of one tenant.
    pub(crate) tenant_bytes: usize,
    /// Bytes waiting, of all tenants.
    pub(crate) bytes: usize,
}

/// Requests that wait, and how many are at work.
pub(crate) struct FairQueue<T> {
    bounds: Bounds,
    tenants: HashMap<TenantId, TenantQueue<T>>,
    /// Tenants with somebody waiting and a place free, each once.
    round: VecDeque<TenantId>,
    at_work: usize,
    bytes: usize,
}

struct TenantQueue<T> {
    waiting: VecDeque<(usize, T)>,
    bytes: usize,
    at_work: usize,
    in_round: bool,
}

impl<T> FairQueue<T> {
    /// Nobody waits.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, tenants: HashMap::new(), round: VecDeque::new(), at_work: 0, bytes: 0 }
    }

    /// Lets a request of this size wait, or gives it back where too much waits already.
    pub(crate) fn push(&mut self, tenant: TenantId, size: usize, request: T) -> Result<(), T> {
        let Bounds { tenant_waiting, tenant_bytes, bytes, .. } = self.bounds;
        let (others, their_bytes) =
            self.tenants.get(&tenant).map_or((0, 0), |queue| (queue.waiting.len(), queue.bytes));
        if others >= tenant_waiting || their_bytes + size > tenant_bytes || self.bytes + size > bytes {
            return Err(request);
        }
        let queue = self.tenants.entry(tenant).or_default();
        queue.waiting.push_back((size, request));
        queue.bytes += size;
        self.bytes += size;
        self.queue_up(tenant);
        Ok(())
    }

    /// The next request to work on, if there is a place.
    pub(crate) fn next(&mut self) -> Option<(TenantId, T)> {
        if self.at_work >= self.bounds.at_work {
            return None;
        }
        let tenant = self.round.pop_front()?;
        let queue = self.tenants.get_mut(&tenant)?;
        queue.in_round = false;
        let (size, request) = queue.waiting.pop_front()?;
        queue.bytes -= size;
        queue.at_work += 1;
        self.bytes -= size;
        self.at_work += 1;
        self.queue_up(tenant);
        Some((tenant, request))
    }

    /// A request of this tenant is done.
    pub(crate) fn done(&mut self, tenant: TenantId) {
        let Some(queue) = self.tenants.get_mut(&tenant) else { return };
        queue.at_work -= 1;
        self.at_work -= 1;
        if queue.at_work == 0 && queue.waiting.is_empty() {
            self.tenants.remove(&tenant);
        } else {
            self.queue_up(tenant);
        }
    }

    /// Puts the tenant at the end of the round where somebody waits and a place is free.
    fn queue_up(&mut self, tenant: TenantId) {
        let Some(queue) = self.tenants.get_mut(&tenant) else { return };
        if !queue.in_round && !queue.waiting.is_empty() && queue.at_work < self.bounds.tenant_at_work {
            queue.in_round = true;
            self.round.push_back(tenant);
        }
    }
}

impl<T> Default for TenantQueue<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, at_work: 0, in_round: false }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { at_work: 4, tenant_at_work: 2, tenant_waiting: 3, tenant_bytes: 100, bytes: 150 };

    fn tenant(number: u8) -> TenantId {
        TenantId::from_bytes([number; 32])
    }

    fn given(queue: &mut FairQueue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.next()).map(|(_, request)| request).collect()
    }

    #[test]
    fn tenants_take_turns_and_a_flood_waits_for_its_own() {
        let mut queue = FairQueue::new(BOUNDS);
        for request in [10, 11, 12] {
            queue.push(tenant(1), 1, request).unwrap();
        }
        assert_eq!(queue.push(tenant(1), 1, 13), Err(13), "one tenant's queue is full");
        queue.push(tenant(2), 1, 20).unwrap();
        assert_eq!(given(&mut queue), [10, 20, 11], "two of one tenant at most");
        queue.push(tenant(1), 1, 13).unwrap();
        queue.done(tenant(2));
        assert_eq!(given(&mut queue), [] as [u32; 0]);
        queue.done(tenant(1));
        assert_eq!(given(&mut queue), [12]);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut queue = FairQueue::new(BOUNDS);
        queue.push(tenant(1), 100, 10).unwrap();
        assert_eq!(queue.push(tenant(1), 1, 11), Err(11), "of one tenant");
        assert_eq!(queue.push(tenant(2), 51, 20), Err(20), "of all");
        queue.push(tenant(2), 50, 20).unwrap();
        assert_eq!(given(&mut queue), [10, 20]);
        queue.push(tenant(1), 100, 11).unwrap();
    }

    proptest! {
        /// Whatever comes and goes: bounds hold, nothing is lost or doubled, and each tenant's stay in order.
        #[test]
        fn nothing_is_lost_and_bounds_hold(steps in proptest::collection::vec((0_u8..3, 0_u8..3), 1..200)) {
            let mut queue = FairQueue::new(BOUNDS);
            let (mut waiting, mut at_work) = (VecDeque::new(), Vec::new());
            for (number, (who, what)) in (0_u32..).zip(steps) {
                let who = tenant(who);
                match what {
                    0 => {
                        if queue.push(who, 10, (who, number)).is_ok() {
                            waiting.push_back((who, number));
                        }
                    }
                    1 => {
                        if let Some((tenant, request)) = queue.next() {
                            let first = waiting.iter().position(|(other, _)| *other == tenant);
                            prop_assert_eq!(first.and_then(|place| waiting.remove(place)), Some(request));
                            at_work.push(tenant);
                        }
                    }
                    _ => {
                        if let Some(tenant) = at_work.pop() {
                            queue.done(tenant);
                        }
                    }
                }
                prop_assert!(at_work.len() <= 4);
                let of = |tenant| at_work.iter().filter(|other| **other == tenant).count();
                prop_assert!((0..3).all(|number| of(self::tenant(number)) <= 2));
            }
            for tenant in at_work.drain(..) {
                queue.done(tenant);
            }
            while let Some((tenant, request)) = queue.next() {
                let first = waiting.iter().position(|(other, _)| *other == tenant);
                prop_assert_eq!(first.and_then(|place| waiting.remove(place)), Some(request));
                queue.done(tenant);
            }
            prop_assert!(waiting.is_empty());
            prop_assert!(queue.tenants.is_empty() && queue.round.is_empty());
            prop_assert_eq!((queue.at_work, queue.bytes), (0, 0));
        }
    }
}
