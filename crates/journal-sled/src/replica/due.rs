//! The index of what is due: read in order of time, never searched.

use std::ops::Bound;

use lifecycle::Due;
use model::{ServiceRole, TenantId, Timestamp};

use super::Replica;
use super::rows::{self, Table};
use crate::Error;

impl Replica {
    /// What this role is to do up to and including a time, the oldest first, at most `limit`.
    pub fn due(&self, role: ServiceRole, until: Timestamp, limit: usize) -> Result<Vec<(TenantId, Due)>, Error> {
        self.due_after(role, None, until, limit)
    }

    /// The same behind one that was answered before: so that what can't be done now does not stand in the way of the rest.
    pub fn due_after(
        &self,
        role: ServiceRole,
        after: Option<(TenantId, Due)>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(TenantId, Due)>, Error> {
        let begin = rows::due_at(role, Timestamp::MIN);
        let after = after.map(|(tenant, due)| rows::due(tenant, due));
        let from = after.as_deref().map_or(Bound::Included(begin.as_slice()), Bound::Excluded);
        let end = rows::due_behind(role, until);
        let page = self.store.page(&self.trees.due, from, Bound::Excluded(&end), limit)?;
        page.iter().map(|(key, _)| rows::read_due(key).ok_or_else(|| self.unreadable(Table::Due))).collect()
    }

    /// When something is next due for this role, now or later.
    pub fn next_due(&self, role: ServiceRole) -> Result<Option<Timestamp>, Error> {
        Ok(self.due(role, Timestamp::MAX, 1)?.first().map(|(_, due)| due.at))
    }
}
