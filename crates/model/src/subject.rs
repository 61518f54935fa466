//! The one place where NATS subjects are made and read.
//!
//! Ids and names can't contain `.`, `*`, `>` or blanks, so what is joined here can't mean more than it says.

use crate::event::EventType;
use crate::id::TenantId;

/// Every tenant's committed events, as followers subscribe them.
pub const ALL_EVENTS: &str = "kl.*.evt.>";

/// The subject that an event is published to: its tenant's log.
pub fn log(tenant: TenantId, event: EventType) -> String {
    format!("kl.{tenant}.log.{}", event.name())
}

/// The subjects of a tenant's stream.
pub fn log_all(tenant: TenantId) -> String {
    format!("kl.{tenant}.log.>")
}

/// Where the server republishes a tenant's events after commit.
pub fn events_all(tenant: TenantId) -> String {
    format!("kl.{tenant}.evt.>")
}

/// A tenant's commands, as the platform sees them.
pub fn commands_all(tenant: TenantId) -> String {
    format!("kl.{tenant}.cmd.>")
}

/// One of them.
pub fn command(tenant: TenantId, action: &str) -> String {
    format!("kl.{tenant}.cmd.{action}")
}

/// A tenant's questions for its history, as the platform sees them.
pub fn history_all(tenant: TenantId) -> String {
    format!("kl.{tenant}.hist.>")
}

/// Where an issuer asks the custodian for a key.
pub fn custody_generate(tenant: TenantId) -> String {
    format!("kl.{tenant}.custody.generate")
}

/// Where a custodian asks the exporter for a lease.
pub fn lease(tenant: TenantId) -> String {
    format!("kl.{tenant}.lease.get")
}

/// A pattern over every tenant: `kl.*.<channel>.<rest>`.
pub fn every_tenant(channel: &str, rest: &str) -> String {
    format!("kl.*.{channel}.{rest}")
}

/// The tenant of a platform subject (`kl.<T>.…`), and what follows it.
pub fn tenant_of(subject: &str) -> Option<(TenantId, &str)> {
    let (tenant, rest) = subject.strip_prefix("kl.")?.split_once('.')?;
    Some((tenant.parse().ok()?, rest))
}

/// Subjects inside a tenant's own account.
pub mod tenant {
    /// The tenant's events.
    pub const EVENTS: &str = "keylatch.evt.>";
    /// Commands.
    pub const COMMANDS: &str = "keylatch.cmd.>";
    /// History.
    pub const HISTORY: &str = "keylatch.hist.>";
    /// The history service: events.
    pub const HISTORY_GET: &str = "keylatch.hist.get";
    /// How things stood.
    pub const HISTORY_AT: &str = "keylatch.hist.at";
    /// The bundles of evidence that were made.
    pub const HISTORY_BUNDLE: &str = "keylatch.hist.bundle";
    /// The program that probes.
    pub const HISTORY_PROBER: &str = "keylatch.hist.prober";
    /// Checkpoints.
    pub const HISTORY_CHECKPOINT: &str = "keylatch.hist.checkpoint";
    /// The proof of an event.
    pub const HISTORY_PROVE: &str = "keylatch.hist.prove";
    /// The proof that a checkpoint continues another.
    pub const HISTORY_CONSISTENCY: &str = "keylatch.hist.consistency";

    /// Where a command with this action goes.
    pub fn command(action: &str) -> String {
        format!("keylatch.cmd.{action}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenant_of_a_subject_is_read_back() {
        let tenant: TenantId = "ADVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCZW22".parse().unwrap();
        let subject = log(tenant, EventType::KeyGenerated);
        assert_eq!(tenant_of(&subject), Some((tenant, "log.key.generated")));
        assert_eq!(tenant_of("kl.acme.log.key.generated"), None);
        assert_eq!(tenant_of("other"), None);
    }
}
