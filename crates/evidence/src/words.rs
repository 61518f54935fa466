//! Words for people, shared by the views.

use model::key::{Party, TenantClass};

/// A tenant's class, as documents write it.
pub(crate) fn class(class: TenantClass) -> &'static str {
    match class {
        TenantClass::Csp => "csp",
        TenantClass::Mp => "mp",
        TenantClass::Ap => "ap",
        TenantClass::SharedCspMp => "shared-csp-mp",
    }
}

/// The parties that a tenant of this class acts for.
pub(crate) fn parties(class: TenantClass) -> &'static [Party] {
    match class {
        TenantClass::Csp => &[Party::Csp],
        TenantClass::Mp => &[Party::Mp],
        TenantClass::Ap => &[Party::Ap],
        TenantClass::SharedCspMp => &[Party::Csp, Party::Mp],
    }
}

/// A party in words.
pub(crate) fn party(party: Party) -> &'static str {
    match party {
        Party::Csp => "cloud service provider",
        Party::Mp => "model provider",
        Party::Ap => "application provider",
    }
}

/// A number of things: `1 key`, `2 keys`, `2 people`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    match (number, thing) {
        (1, thing) => format!("1 {thing}"),
        (number, "person") => format!("{number} people"),
        (number, thing) => format!("{number} {thing}s"),
    }
}
