//! Sealed keys: who gets a share of one, and whose approval must bring it.
//!
//! INVARIANT (sealed until approved): a sealed key becomes active only under a request of which as many people as its
//! threshold have brought their shares ([`crate::quorum::of_request`]). What the shares open is the key store's business:
//! nothing in the chain is enough without a sealing key, and nothing here sees one.

use std::collections::BTreeMap;

use model::command::{ActivationApprove, Sealed};
use model::people::{PrincipalKind, SealingKey};
use model::policy::{Need, Rule};
use model::statement::{SHARES_MAX, SealedShare, Sealing};
use model::{Fingerprint, Name, Principal, ProblemType};

use crate::Rejection;
use crate::quorum::Vote;
use crate::state::{Governance, Key, Request};

/// A share's bytes.
pub const SHARE_BYTES: usize = 32;
/// What HPKE adds: an encapsulated key, and a tag behind the ciphertext.
const ENC_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

/// To whom a key's shares go, and how many open it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many.
    pub threshold: u8,
    /// Whom, each human being once, with the key that their share is sealed to.
    pub to: Vec<(Fingerprint, SealingKey)>,
}

/// What a key under this rule is sealed to, where the rule asks for that: everybody who could approve under it and has a
/// sealing key, whoever had the key generated aside.
pub fn plan(governance: &Governance, rule: &Rule, creator: &Name) -> Result<Option<Plan>, Rejection> {
    let Some(threshold) = rule.sealed else { return Ok(None) };
    let (holders, lacking) = holders(governance, rule, Some(creator));
    if holders.len() < usize::from(threshold) {
        let detail = format!(
            "rule `{}` takes {threshold} shares to open a key, and {} of those who could approve have a sealing key; {}",
            rule.name,
            holders.len(),
            if lacking.is_empty() { "nobody else could approve".to_owned() } else { lacks(&lacking) },
        );
        let lacking: Vec<String> = lacking.iter().map(ToString::to_string).collect();
        return Rejection::new(ProblemType::SealingKeysMissing, detail).with("lacking", lacking).err();
    }
    if holders.len() > SHARES_MAX {
        let detail = format!(
            "{} people could approve under rule `{}` and have a sealing key; a key has at most {SHARES_MAX} shares: \
             narrow the roles of its stages",
            holders.len(),
            rule.name
        );
        return Rejection::new(ProblemType::TooMany, detail).with("most", SHARES_MAX).err();
    }
    Ok(Some(Plan { threshold, to: holders.into_values().collect() }))
}

fn lacks(lacking: &[Name]) -> String {
    let names: Vec<String> = lacking.iter().map(|name| format!("`{name}`")).collect();
    format!("without one: {}", names.join(", "))
}

/// Of the people who could take a place in one of the rule's stages: who has a sealing key, with the first that they have,
/// by their keys; and who has none.
pub(crate) fn holders(
    governance: &Governance,
    rule: &Rule,
    without: Option<&Name>,
) -> (BTreeMap<Name, (Fingerprint, SealingKey)>, Vec<Name>) {
    let (mut holders, mut lacking) = (BTreeMap::new(), Vec::new());
    let standing = governance.people.iter().filter(|(_, member)| member.revoked.is_none());
    for (fingerprint, member) in standing {
        let principal = &member.principal;
        if without == Some(&principal.person) || !could_approve(rule, principal) {
            continue;
        }
        match member.sealing_key {
            Some(key) => drop(holders.entry(principal.person.clone()).or_insert((*fingerprint, key))),
            None => lacking.push(principal.person.clone()),
        }
    }
    lacking.sort();
    lacking.dedup();
    lacking.retain(|person| !holders.contains_key(person));
    (holders, lacking)
}

fn could_approve(rule: &Rule, principal: &Principal) -> bool {
    let vote = Vote::by(principal);
    principal.kind == PrincipalKind::Person && rule.stages.iter().any(|stage| vote.fits(stage))
}

/// How many people a rule's stages take together, at least.
pub(crate) fn approvals(rule: &Rule) -> u32 {
    let quorums = rule.stages.iter().map(|stage| u32::from(stage.quorum)).filter(|quorum| *quorum > 0);
    match rule.need {
        Need::All => quorums.sum(),
        Need::Any => quorums.min().unwrap_or_default(),
    }
}

/// Whether what the custodian says of a new key's shares is what was to be done.
pub(crate) fn follows(plan: Option<&Plan>, stated: Option<&Sealing>) -> Result<(), Rejection> {
    let is_so = match (plan, stated) {
        (None, None) => true,
        (Some(plan), Some(stated)) => {
            let to: Vec<_> = stated.shares.iter().map(|share| (share.to, share.sealing_key)).collect();
            plan.threshold == stated.threshold && plan.to == to && stated.shares.iter().all(|one| is_share(&one.share))
        }
        _ => false,
    };
    if is_so {
        return Ok(());
    }
    let detail = "its shares are not for those who could approve now, or not as many as the rule says open it";
    Rejection::new(ProblemType::StatementInvalid, detail).err()
}

/// Whether these sealed bytes have the form of a share.
fn is_share(sealed: &Sealed) -> bool {
    sealed.enc.0.len() == ENC_BYTES && sealed.ciphertext.0.len() == SHARE_BYTES + TAG_BYTES
}

/// The share that is a principal's: its own, by whichever of the keys that its human being has or had.
pub fn share_of<'a>(governance: &Governance, sealing: &'a Sealing, who: Fingerprint) -> Option<(u8, &'a SealedShare)> {
    let person = |who: Fingerprint| governance.people.get(&who).map(|member| &member.principal.person);
    let whose = person(who)?;
    (1..).zip(&sealing.shares).find(|(_, share)| person(share.to) == Some(whose))
}

/// Whether an approval by `who` brings the share that it must bring, or none where it has none.
pub(crate) fn brings(
    governance: &Governance,
    key: Option<&Key>,
    who: Fingerprint,
    approve: &ActivationApprove,
) -> Result<(), Rejection> {
    let sealing = key.and_then(|key| key.sealing.as_ref());
    let held = sealing.filter(|_| approve.on_behalf_of.is_none()).and_then(|all| share_of(governance, all, who));
    let refused = |detail: &str| Rejection::new(ProblemType::ShareRefused, detail).err();
    match (held, &approve.share) {
        (None, None) => Ok(()),
        (Some(_), Some(share)) if is_share(share) => Ok(()),
        (Some(_), Some(_)) => refused("it is not of a share's length"),
        (Some((number, _)), None) => {
            let detail = format!("share {number} of the key is the approver's");
            Rejection::new(ProblemType::ShareMissing, detail).with("share", number).err()
        }
        (None, Some(_)) if sealing.is_none() => refused("the key is not sealed"),
        (None, Some(_)) => refused("a vote given for another, or by who holds no share, comes without one"),
    }
}

/// Whether a key is as the rule wants it: sealed, with as many shares to open it, where the rule says so.
pub(crate) fn is_sealed_enough(rule: &Rule, key: &Key) -> Result<(), Rejection> {
    let threshold = key.sealing.as_ref().map(|sealing| sealing.threshold);
    match (rule.sealed, threshold) {
        (Some(wanted), None) => {
            let detail =
                format!("rule `{}` takes keys that {wanted} shares open, and `{}` has none", rule.name, key.spec.label);
            Rejection::new(ProblemType::NotSealed, detail).err()
        }
        (Some(wanted), Some(threshold)) if threshold < wanted => {
            let detail = format!(
                "rule `{}` takes keys that {wanted} shares open; {threshold} open `{}`",
                rule.name, key.spec.label
            );
            Rejection::new(ProblemType::NotSealed, detail).err()
        }
        _ => Ok(()),
    }
}

/// The shares that a key's custodian opens it with: of the approvals that stand, whose they are and as they were brought.
pub fn brought<'a>(
    governance: &'a Governance,
    sealing: &'a Sealing,
    request: &'a Request,
) -> impl Iterator<Item = Brought<'a>> {
    request.approvals.iter().filter_map(move |approval| {
        let (number, held) = share_of(governance, sealing, approval.by)?;
        Some(Brought { by: approval.by, number, held, share: request.shares.get(&approval.hash)? })
    })
}

/// A share that an approval brought.
#[derive(Clone, Copy, Debug)]
pub struct Brought<'a> {
    /// Who approved.
    pub by: Fingerprint,
    /// Its number, from 1.
    pub number: u8,
    /// What the key's birth says of it.
    pub held: &'a SealedShare,
    /// The share, sealed to the key's store.
    pub share: &'a Sealed,
}
