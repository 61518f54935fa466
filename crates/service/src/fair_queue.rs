//! Whose request is next: each tenant in turn, so that nobody's flood is anybody else's wait.
//!
//! Pure: requests go in, requests come out. Bounds: how many are worked on at once, in all and of one tenant; how many
//! wait, and in how many bytes.

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
pub(crate) struct Turns<T> {
    bounds: Bounds,
    lines: HashMap<TenantId, Line<T>>,
    /// Tenants with somebody waiting and a place free, each once.
    turn: VecDeque<TenantId>,
    at_work: usize,
    bytes: usize,
}

struct Line<T> {
    waiting: VecDeque<(usize, T)>,
    bytes: usize,
    at_work: usize,
    in_turn: bool,
}

impl<T> Turns<T> {
    /// Nobody waits.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, lines: HashMap::new(), turn: VecDeque::new(), at_work: 0, bytes: 0 }
    }

    /// Lets a request of this size wait, or gives it back where too much waits already.
    pub(crate) fn push(&mut self, tenant: TenantId, size: usize, request: T) -> Result<(), T> {
        let Bounds { tenant_waiting, tenant_bytes, bytes, .. } = self.bounds;
        let line = self.lines.entry(tenant).or_default();
        let full =
            line.waiting.len() >= tenant_waiting || line.bytes + size > tenant_bytes || self.bytes + size > bytes;
        if full {
            return Err(request);
        }
        line.waiting.push_back((size, request));
        line.bytes += size;
        self.bytes += size;
        self.queue_up(tenant);
        Ok(())
    }

    /// The next request to work on, if there is a place.
    pub(crate) fn next(&mut self) -> Option<(TenantId, T)> {
        if self.at_work >= self.bounds.at_work {
            return None;
        }
        let tenant = self.turn.pop_front()?;
        let line = self.lines.get_mut(&tenant)?;
        line.in_turn = false;
        let (size, request) = line.waiting.pop_front()?;
        line.bytes -= size;
        line.at_work += 1;
        self.bytes -= size;
        self.at_work += 1;
        self.queue_up(tenant);
        Some((tenant, request))
    }

    /// A request of this tenant is done.
    pub(crate) fn done(&mut self, tenant: TenantId) {
        let Some(line) = self.lines.get_mut(&tenant) else { return };
        line.at_work -= 1;
        self.at_work -= 1;
        if line.at_work == 0 && line.waiting.is_empty() {
            self.lines.remove(&tenant);
        } else {
            self.queue_up(tenant);
        }
    }

    /// Puts the tenant at the end of the round where somebody waits and a place is free.
    fn queue_up(&mut self, tenant: TenantId) {
        let Some(line) = self.lines.get_mut(&tenant) else { return };
        if !line.in_turn && !line.waiting.is_empty() && line.at_work < self.bounds.tenant_at_work {
            line.in_turn = true;
            self.turn.push_back(tenant);
        }
    }
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, at_work: 0, in_turn: false }
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

    fn given(turns: &mut Turns<u32>) -> Vec<u32> {
        std::iter::from_fn(|| turns.next()).map(|(_, request)| request).collect()
    }

    #[test]
    fn tenants_take_turns_and_a_flood_waits_for_its_own() {
        let mut turns = Turns::new(BOUNDS);
        for request in [10, 11, 12] {
            turns.push(tenant(1), 1, request).unwrap();
        }
        assert_eq!(turns.push(tenant(1), 1, 13), Err(13), "one tenant's line is full");
        turns.push(tenant(2), 1, 20).unwrap();
        assert_eq!(given(&mut turns), [10, 20, 11], "two of one tenant at most");
        turns.push(tenant(1), 1, 13).unwrap();
        turns.done(tenant(2));
        assert_eq!(given(&mut turns), [] as [u32; 0]);
        turns.done(tenant(1));
        assert_eq!(given(&mut turns), [12]);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut turns = Turns::new(BOUNDS);
        turns.push(tenant(1), 100, 10).unwrap();
        assert_eq!(turns.push(tenant(1), 1, 11), Err(11), "of one tenant");
        assert_eq!(turns.push(tenant(2), 51, 20), Err(20), "of all");
        turns.push(tenant(2), 50, 20).unwrap();
        assert_eq!(given(&mut turns), [10, 20]);
        turns.push(tenant(1), 100, 11).unwrap();
    }

    proptest! {
        /// Whatever comes and goes: bounds hold, nothing is lost or doubled, and each tenant's stay in order.
        #[test]
        fn nothing_is_lost_and_bounds_hold(steps in proptest::collection::vec((0_u8..3, 0_u8..3), 1..200)) {
            let mut turns = Turns::new(BOUNDS);
            let (mut waiting, mut at_work) = (VecDeque::new(), Vec::new());
            for (number, (who, what)) in (0_u32..).zip(steps) {
                let who = tenant(who);
                match what {
                    0 => {
                        if turns.push(who, 10, (who, number)).is_ok() {
                            waiting.push_back((who, number));
                        }
                    }
                    1 => {
                        if let Some((tenant, request)) = turns.next() {
                            let first = waiting.iter().position(|(other, _)| *other == tenant);
                            prop_assert_eq!(first.and_then(|place| waiting.remove(place)), Some(request));
                            at_work.push(tenant);
                        }
                    }
                    _ => {
                        if let Some(tenant) = at_work.pop() {
                            turns.done(tenant);
                        }
                    }
                }
                prop_assert!(at_work.len() <= 4);
                let of = |tenant| at_work.iter().filter(|other| **other == tenant).count();
                prop_assert!((0..3).all(|number| of(self::tenant(number)) <= 2));
            }
            for tenant in at_work.drain(..) {
                turns.done(tenant);
            }
            while let Some((tenant, request)) = turns.next() {
                let first = waiting.iter().position(|(other, _)| *other == tenant);
                prop_assert_eq!(first.and_then(|place| waiting.remove(place)), Some(request));
                turns.done(tenant);
            }
            prop_assert!(waiting.is_empty());
        }
    }
}
