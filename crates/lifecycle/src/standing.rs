//! Standing: who signed a command, whether they may, and whether they are enough.

use std::collections::BTreeSet;

use journal::Ring;
use journal::command::SignedCommand;
use model::people::{PrincipalKind, PublicKey, Role};
use model::policy::Permission;
use model::{Fingerprint, Name, Principal, ProblemType, Span, Timestamp, command};

use crate::Rejection;
use crate::state::Governance;

/// How far a signer's clock may be ahead.
pub const SIGNER_CLOCK_AHEAD_MAX: Span = Span::from_secs(60);

/// Whether the command's times hold at `now`. `most` is how long such a command may live.
pub fn times(signed: &SignedCommand, now: Timestamp, most: Span) -> Result<(), Rejection> {
    let command = &signed.command;
    if command.expires_at <= now {
        let detail = format!("it expired at {}, and it is {now}", command.expires_at);
        return Rejection::new(ProblemType::Expired, detail).err();
    }
    if command.issued_at > now + SIGNER_CLOCK_AHEAD_MAX {
        let detail = format!("it says it was signed at {}, and it is {now}", command.issued_at);
        return Rejection::new(ProblemType::NotYetIssued, detail).err();
    }
    let life = command.expires_at - command.issued_at;
    if life > most {
        let detail = format!("it lives for {life}; such a command may live for {most}");
        return Rejection::new(ProblemType::LifetimeTooLong, detail).err();
    }
    Ok(())
}

/// How long a command may live that this many people must sign.
pub fn lifetime(quorum: u8) -> Span {
    if quorum > 1 { command::LIFETIME_MAX_QUORUM } else { command::LIFETIME_MAX }
}

/// The one who signed, where one signature is what the command takes: enrolled, and a person where that is asked for.
pub fn sole<'a>(governance: &'a Governance, signed: &SignedCommand) -> Result<(Fingerprint, &'a Principal), Rejection> {
    let [signer] = signed.signers.as_slice() else {
        let detail = format!("{} people signed; this takes one signature", signed.signers.len());
        return Rejection::new(ProblemType::QuorumNotMet, detail).err();
    };
    let fingerprint = signer.key.fingerprint();
    Ok((fingerprint, governance.member(fingerprint)?))
}

/// Refuses a principal's key that serves the platform. INVARIANT (one key, one part): who approves is not who records.
pub fn own_key(key: &PublicKey, ring: &Ring, root: Fingerprint) -> Result<(), Rejection> {
    if !ring.has(key) && key.fingerprint() != root {
        return Ok(());
    }
    let detail = format!("{} is a key of a service, a registrar or the root", key.fingerprint());
    Rejection::new(ProblemType::PrincipalExists, detail).err()
}

/// Refuses a workload.
pub fn person(principal: &Principal) -> Result<(), Rejection> {
    match principal.kind {
        PrincipalKind::Person => Ok(()),
        PrincipalKind::Workload => {
            Rejection::new(ProblemType::NotAPerson, format!("`{}` is a workload", principal.label)).err()
        }
    }
}

/// Refuses a principal who holds none of the roles.
pub fn role(principal: &Principal, roles: &BTreeSet<Role>) -> Result<(), Rejection> {
    if principal.roles.iter().any(|role| roles.contains(role)) {
        return Ok(());
    }
    let wanted = names(roles);
    let detail = format!("`{}` holds none of: {}", principal.label, wanted.join(", "));
    Rejection::new(ProblemType::RoleMissing, detail).with("roles", wanted).err()
}

/// Refuses unless enough distinct people who hold one of the roles have signed. Everyone who signed must be enrolled.
/// Answers with the first of those that count.
pub fn quorum(governance: &Governance, signed: &SignedCommand, needed: &Permission) -> Result<Fingerprint, Rejection> {
    let mut people: BTreeSet<&Name> = BTreeSet::new();
    let mut first = None;
    for signer in &signed.signers {
        let fingerprint = signer.key.fingerprint();
        let principal = governance.member(fingerprint)?;
        let holds = principal.roles.iter().any(|role| needed.roles.contains(role));
        if holds && principal.kind == PrincipalKind::Person && people.insert(&principal.person) {
            first.get_or_insert(fingerprint);
        }
    }
    let wanted = names(&needed.roles);
    match first {
        Some(first) if people.len() >= usize::from(needed.quorum) => Ok(first),
        Some(_) => {
            let detail = format!(
                "{} of {} people with one of these roles signed: {}",
                people.len(),
                needed.quorum,
                wanted.join(", ")
            );
            Rejection::new(ProblemType::QuorumNotMet, detail)
                .with("signed", people.len())
                .with("quorum", needed.quorum)
                .with("roles", wanted)
                .err()
        }
        None => {
            let detail = format!("nobody who signed is a person with one of these roles: {}", wanted.join(", "));
            Rejection::new(ProblemType::RoleMissing, detail).with("roles", wanted).err()
        }
    }
}

/// What governing takes: the admins' quorum.
pub fn admins(quorum: u8) -> Result<Permission, Rejection> {
    let admin = Role::ADMIN.parse().map_err(|error| Rejection::new(ProblemType::Malformed, error))?;
    Ok(Permission { roles: BTreeSet::from([admin]), quorum })
}

fn names(roles: &BTreeSet<Role>) -> Vec<String> {
    roles.iter().map(Role::to_string).collect()
}
