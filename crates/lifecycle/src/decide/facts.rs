//! Facts that legal gates are about, documents that requests are about, and the look at the keys that wait.

use std::collections::BTreeSet;

use journal::command::SignedCommand;
use model::command::{
    DOCUMENT_PART_BYTES_MAX, DOCUMENT_PARTS_MAX, DocumentStore, FactAssert, FactWithdraw, KeyRevalidate,
    REVALIDATED_MAX,
};
use model::event::{DocumentStored, FactAsserted, FactWithdrawn, KeyRevalidated};
use model::{Event, Fingerprint, KeyId, Name, ProblemType, Role, Timestamp, command};

use crate::state::{HeldFact, View};
use crate::{Rejection, standing};

/// The one who signed, where the policy lets them say this.
fn teller(view: &View, signed: &SignedCommand, fact: &Name, now: Timestamp) -> Result<Fingerprint, Rejection> {
    let governance = view.governance()?;
    standing::times(signed, now, command::LIFETIME_MAX)?;
    let (who, principal) = standing::sole(governance, signed)?;
    let Some(rule) = governance.policy()?.policy.fact(fact) else {
        return Rejection::new(ProblemType::FactUnknown, format!("the policy lists no fact `{fact}`")).err();
    };
    standing::person(principal)?;
    standing::role(principal, &rule.roles)?;
    Ok(who)
}

pub(super) fn assert(
    view: &View,
    signed: &SignedCommand,
    params: &FactAssert,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let asserted_by = teller(view, signed, &params.fact, now)?;
    let key_id = signed.command.key_id.map(|_| view.key().map(|key| key.id)).transpose()?;
    let most = view.governance()?.policy()?.policy.fact(&params.fact).map(|rule| now + rule.valid_max);
    if params.valid_until <= now || most.is_some_and(|most| params.valid_until > most) {
        let latest = most.unwrap_or(now);
        let detail = format!("it is to hold until {}; at most until {latest}", params.valid_until);
        return Rejection::new(ProblemType::TimesInvalid, detail).with("latest", latest.to_string()).err();
    }
    Ok(Event::FactAsserted(FactAsserted {
        key_id,
        fact: params.fact.clone(),
        asserted_by,
        valid_until: params.valid_until,
        command: signed.envelope.clone(),
    }))
}

pub(super) fn withdraw(
    view: &View,
    signed: &SignedCommand,
    params: &FactWithdraw,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let withdrawn_by = teller(view, signed, &params.fact, now)?;
    let key_id = signed.command.key_id.map(|_| view.key().map(|key| key.id)).transpose()?;
    let held: Option<&HeldFact> = match key_id {
        Some(_) => view.key()?.facts.get(&params.fact),
        None => view.governance()?.facts.get(&params.fact),
    };
    let Some(held) = held else {
        return Rejection::new(ProblemType::FactUnknown, format!("nobody has asserted `{}` here", params.fact)).err();
    };
    Ok(Event::FactWithdrawn(FactWithdrawn {
        key_id,
        fact: params.fact.clone(),
        assertion: held.hash,
        withdrawn_by,
        command: signed.envelope.clone(),
    }))
}

/// A part of a document, from somebody who may ask for activations or who governs. What it says is looked at by whoever uses
/// it.
pub(super) fn store(
    view: &View,
    signed: &SignedCommand,
    params: &DocumentStore,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = view.governance()?;
    standing::times(signed, now, command::LIFETIME_MAX)?;
    let (_, principal) = standing::sole(governance, signed)?;
    standing::person(principal)?;
    let policy = &governance.policy()?.policy;
    let mut authors: BTreeSet<Role> = policy.rules.iter().flat_map(|rule| rule.requesters.iter()).cloned().collect();
    if governance.authority.rules >= 3 {
        authors.extend(standing::admins(governance.admin_quorum)?.roles);
    }
    standing::role(principal, &authors)?;
    let DocumentStore { document, part, parts, text } = params;
    let fits = (1..=DOCUMENT_PARTS_MAX).contains(parts) && part < parts && text.len() <= DOCUMENT_PART_BYTES_MAX;
    if !fits || text.is_empty() {
        let detail = format!("part {part} of {parts} with {} bytes", text.len());
        return Rejection::new(ProblemType::TooLarge, detail).err();
    }
    if let Some(known) = &view.document {
        if known.parts != *parts {
            let detail = format!("the document has {} parts, this one says {parts}", known.parts);
            return Rejection::new(ProblemType::StateChanged, detail).err();
        }
        if known.stored.contains_key(part) {
            return super::nothing_due("this part is in the log already").err();
        }
    }
    let command = signed.envelope.clone();
    Ok(Event::DocumentStored(DocumentStored { document: *document, part: *part, parts: *parts, command }))
}

/// Somebody has looked at keys that wait, and says that they are still wanted (CCM CEK-15: they are reviewed).
pub(super) fn revalidate(
    view: &View,
    signed: &SignedCommand,
    params: &KeyRevalidate,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = view.governance()?;
    standing::times(signed, now, command::LIFETIME_MAX)?;
    let (revalidated_by, principal) = standing::sole(governance, signed)?;
    standing::person(principal)?;
    let Some(rule) = &governance.policy()?.policy.keys.revalidation else {
        return super::nothing_due("the policy asks for no revalidation").err();
    };
    standing::role(principal, &rule.roles)?;
    let distinct: BTreeSet<&KeyId> = params.keys.iter().collect();
    if params.keys.is_empty() || params.keys.len() > REVALIDATED_MAX || distinct.len() != params.keys.len() {
        let detail = format!("{} keys; name 1 to {REVALIDATED_MAX}, each once", params.keys.len());
        return Rejection::new(ProblemType::Malformed, detail).err();
    }
    let waits = |id: &KeyId| view.others.get(id).is_some_and(|key| key.is_waiting() && now < key.expires_at());
    if let Some(gone) = params.keys.iter().find(|id| !waits(id)) {
        let detail = format!("{gone} does not wait for its activation");
        return Rejection::new(ProblemType::KeyNotPreActive, detail).with("key", gone.to_string()).err();
    }
    let (keys, next_by) = (params.keys.clone(), now + rule.every);
    Ok(Event::KeyRevalidated(KeyRevalidated { keys, revalidated_by, next_by, command: signed.envelope.clone() }))
}
