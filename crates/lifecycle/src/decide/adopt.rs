//! Adoption: keys that a store had before Keylatch come into the inventory, as active and not evidenced.
//!
//! INVARIANT (what the chain did not generate, it does not change): an adopted key is not in the custodian's keeping. It is
//! used, halted and destroyed in its store, by whoever runs that, and the chain says what is known of it.

use journal::command::SignedCommand;
use model::command::{BaselineAdopt, ROTATION_MAX};
use model::event::{BaselineAdopted, KeyAdopted};
use model::policy::MANIFEST_MAX;
use model::{Event, ProblemType, Timestamp};

use super::Adopting;
use super::people::governed;
use crate::state::{Key, STORES_MAX, View};
use crate::{Rejection, baseline, manifest, standing};

pub(super) fn baseline(
    view: &View,
    signed: &SignedCommand,
    params: &BaselineAdopt,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = governed(view, signed, params.against, now)?;
    let adopted_by = standing::quorum(governance, signed, &standing::admins(governance.admin_quorum)?)?;
    let BaselineAdopt { store, taken_at, common, manifest, rotate_by, .. } = params;
    if let Some(before) = governance.baselines.get(store) {
        let detail = format!("`{store}` has the baseline {} of {}", before.hash.short(), before.taken_at);
        return Rejection::new(ProblemType::BaselineExists, detail).with("baseline", before.hash.to_string()).err();
    }
    if governance.baselines.len() >= STORES_MAX {
        let detail = format!("there are {STORES_MAX} baselines; as many are kept");
        return Rejection::new(ProblemType::TooMany, detail).err();
    }
    if *taken_at > signed.command.issued_at {
        let detail = format!("the inventory of {taken_at} is later than the command, of {}", signed.command.issued_at);
        return Rejection::new(ProblemType::TimesInvalid, detail).err();
    }
    let latest = now + ROTATION_MAX;
    if *rotate_by <= now || *rotate_by > latest {
        let detail = format!("the keys are to be rotated by {rotate_by}; after now, and by {latest}");
        return Rejection::new(ProblemType::TimesInvalid, detail).with("latest", latest.to_string()).err();
    }
    if manifest.count == 0 || manifest.count > MANIFEST_MAX {
        let detail = format!("it is for {} keys; a baseline is for 1 to {MANIFEST_MAX}", manifest.count);
        return Rejection::new(ProblemType::RequestIncomplete, detail).with("most", MANIFEST_MAX).err();
    }
    let stored = view.document.as_ref().filter(|document| document.digest == manifest.document);
    if !stored.is_some_and(|document| document.is_complete()) {
        return Rejection::new(ProblemType::RequestIncomplete, "its list is not in the log, or not whole").err();
    }
    Ok(Event::BaselineAdopted(BaselineAdopted {
        store: store.clone(),
        taken_at: *taken_at,
        common: common.clone(),
        manifest: *manifest,
        rotate_by: *rotate_by,
        adopted_by,
        command: signed.envelope.clone(),
    }))
}

/// One key of a baseline: the issuer brings its line, and the proof that it is one.
pub(super) fn key(view: &View, adopting: &Adopting) -> Result<Event, Rejection> {
    let governance = view.governance()?;
    let Adopting { baseline: cause, line, membership } = adopting;
    let Some(baseline) = governance.baselines.values().find(|baseline| baseline.hash == *cause) else {
        return Rejection::new(ProblemType::NotInManifest, format!("there is no baseline {}", cause.short())).err();
    };
    if let Some(key) = &view.key {
        return Rejection::new(ProblemType::KeyExists, format!("{} is `{}`", key.id, key.spec.label)).err();
    }
    if let Some(made_at) = line.made_at.filter(|made_at| *made_at > baseline.taken_at) {
        let detail = format!("it was made at {made_at}, after the baseline of {}", baseline.taken_at);
        return Rejection::new(ProblemType::TimesInvalid, detail).err();
    }
    if !manifest::leads_to(&baseline.manifest, &line.leaf(), membership) {
        return Rejection::new(ProblemType::NotInManifest, "the proof does not lead to the list's root").err();
    }
    let baseline::Line { key_id, algorithm, identity, label, made_at } = line.clone();
    let (rotate_by, membership, cause) = (baseline.rotate_by, membership.clone(), *cause);
    Ok(Event::KeyAdopted(KeyAdopted { key_id, algorithm, identity, label, made_at, rotate_by, membership, cause }))
}

/// Refuses what only the custodian could do, with a key that it does not have.
pub(super) fn in_custody(key: &Key) -> Result<(), Rejection> {
    if key.adopted.is_none() {
        return Ok(());
    }
    let detail =
        format!("`{}` was adopted: `{}` has it, and Keylatch does not reach it there", key.spec.label, key.store);
    Rejection::new(ProblemType::NotInCustody, detail).with("store", key.store.to_string()).err()
}
