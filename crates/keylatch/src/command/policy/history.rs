//! `keylatch policy history`: every policy that was adopted, from the events that adopted them.

use model::{Action, Event, EventHash, Fingerprint, Policy, Sequence, Timestamp};
use serde_json::{Value, json};

use crate::command::policy::to_toml;
use crate::error::Error;
use crate::layout::{Cell, DIM, GREEN, Table, time};
use crate::lookup;
use crate::reader::Seen;
use crate::screen::{Screen, Shown};
use crate::session::Session;

/// A policy that was adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Counts the tenant's policies from 1.
    pub version: u32,
    /// The event's place.
    pub sequence: Sequence,
    /// Its `policy.adopted`.
    pub hash: EventHash,
    /// When.
    pub at: Timestamp,
    /// Who signed it.
    pub by: Vec<Fingerprint>,
    /// The document.
    pub policy: Policy,
}

/// Every policy that was adopted, oldest first.
pub async fn adopted(session: &mut Session, screen: &mut Screen) -> Result<Vec<Adopted>, Error> {
    let mut all = Vec::new();
    session.replay(screen, &mut |_, seen| all.extend(seen.iter().filter_map(of_event))).await?;
    Ok(all)
}

fn of_event(seen: &Seen) -> Option<Adopted> {
    let Event::PolicyAdopted(event) = seen.event()? else { return None };
    let signed = seen.prepared.command()?;
    let Action::PolicyAdopt(params) = &signed.command.action else { return None };
    Some(Adopted {
        version: event.version,
        sequence: seen.sequence,
        hash: seen.prepared.hash,
        at: seen.time()?,
        by: signed.signers.iter().map(|signer| signer.key.fingerprint()).collect(),
        policy: params.policy.clone(),
    })
}

/// The version that is meant.
pub fn version(all: &[Adopted], version: u32) -> Result<&Adopted, Error> {
    all.iter().find(|adopted| adopted.version == version).ok_or_else(|| {
        let what = format!("there is no version {version} of the policy; there are {}", all.len());
        Error::usage(what, "see `keylatch policy history`")
    })
}

/// One of them, as the TOML that it could be adopted from again.
pub fn show(all: &[Adopted], wanted: u32) -> Result<Shown, Error> {
    let adopted = version(all, wanted)?;
    let text = to_toml(&adopted.policy)?;
    let people =
        format!("{DIM}# version {wanted}, adopted {} by event {}{DIM:#}\n{text}", time(adopted.at), adopted.hash);
    let json = json!({ "ok": true, "version": wanted, "event": adopted.hash, "policy": adopted.policy });
    Ok(Shown { json, people })
}

/// All of them, newest last.
pub fn list(all: &[Adopted], session: &Session) -> Shown {
    let state = session.state();
    let last = all.iter().map(|adopted| adopted.version).max();
    let mut table = Table::new(&["VERSION", "NAME", "ADOPTED", "SIGNED BY", "EVENT"]);
    for adopted in all {
        let by: Vec<String> = adopted.by.iter().map(|who| lookup::name(state, *who)).collect();
        let in_force = (Some(adopted.version) == last).then(|| Cell::styled(GREEN, "in force"));
        let cells = [
            Cell::from(adopted.version.to_string()),
            adopted.policy.name.as_str().into(),
            time(adopted.at).into(),
            by.join(", ").into(),
            adopted.hash.to_string().into(),
        ];
        table.row(cells.into_iter().chain(in_force));
    }
    let one = |adopted: &Adopted| -> Value {
        let by = |who: &Fingerprint| json!({ "fingerprint": who, "label": lookup::name(state, *who) });
        json!({
            "version": adopted.version, "name": adopted.policy.name, "at": adopted.at, "sequence": adopted.sequence.0,
            "event": adopted.hash, "signed_by": adopted.by.iter().map(by).collect::<Vec<_>>(),
        })
    };
    let json = json!({ "ok": true, "policies": all.iter().map(one).collect::<Vec<_>>() });
    Shown { json, people: table.to_people("no policy was adopted yet") }
}
