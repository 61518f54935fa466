//! `caiq.json`: drafts of answers to the questions of CSA's questionnaire (CAIQ, AI-CAIQ) that a history can say something
//! about, for a person to read, to change and to sign.
//!
//! Each question asks whether something is defined, implemented and evaluated, with provisions for the law. A draft says
//! for each of these whether the history shows it, shows the opposite, or can't know; it answers `Yes` only where all is
//! shown, `No` where the opposite of something is, and else leaves the answer open. It is no statement of
//! compliance.

mod figures;
mod questions;

use model::key::{Party, Responsibility, TenantClass};
use model::{EventHash, EventType, Fingerprint, TenantId, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;

use crate::controls::Controls;
use crate::history::History;
use crate::words;

/// The document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Questionnaire {
    /// `keylatch.dev/caiq/v1`.
    pub format: &'static str,
    /// Whose.
    pub tenant: TenantId,
    /// What people call it.
    pub name: String,
    /// The root that the history was checked under.
    pub root: Fingerprint,
    /// The last event that was read.
    pub head: EventHash,
    /// Its time.
    pub as_of: Timestamp,
    /// What this is, and what it is not.
    pub about: &'static str,
    /// Whose duty the tenant's keys are.
    pub ownership: Ownership,
    /// The drafts.
    pub answers: Vec<Answer>,
    /// To be filled in by whoever answers for the answers.
    pub signature: Signature,
}

/// Whose duty keys are: by the layer that each belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ownership {
    /// Which party of the AI supply chain the tenant is.
    pub tenant_class: Option<TenantClass>,
    /// Layer by layer.
    pub layers: Vec<Layer>,
}

/// A layer and whose duty its keys are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// The layer.
    pub layer: Responsibility,
    /// The parties whose duty its keys are.
    pub owners: &'static [Party],
    /// Whether the tenant is one of them; if not, its keys there are somebody else's duty as well.
    pub tenant_is_owner: bool,
    /// How many keys of the tenant are of this layer.
    pub keys: u64,
}

/// A draft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The question's number in CAIQ and AI-CAIQ.
    pub id: &'static str,
    /// What it asks, in short.
    pub asks: &'static str,
    /// The draft; `null` where the history can't answer all of it.
    pub draft_answer: Option<Draft>,
    /// Who owns the control, for the tenant's class.
    pub owner: String,
    /// What of the question the history shows.
    pub shown: Vec<Shown>,
    /// How it is done, with figures.
    pub implementation: Vec<String>,
    /// What is left to customers.
    pub customer: Vec<&'static str>,
    /// Where to look.
    pub evidence: Vec<Pointer>,
    /// What a person has to show or to say before this is an answer.
    pub open: Vec<String>,
}

/// A draft of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Draft {
    /// Everything that is asked is shown.
    Yes,
    /// The opposite of something that is asked is shown.
    No,
}

/// What of a question a history shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// `defined`, `implemented`, `evaluated` or `legal`.
    pub what: &'static str,
    /// Whether.
    pub shown: Whether,
    /// By what.
    pub by: String,
}

/// Whether a history shows something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whether {
    /// It does.
    Yes,
    /// It shows the opposite.
    No,
    /// It can't know.
    NotInThisHistory,
}

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pointer {
    /// A file of the bundle.
    pub file: &'static str,
    /// What is there.
    pub what: String,
    /// How many events of which type it rests on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<&'static str, u64>,
}

/// To be filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// What whoever signs says.
    pub statement: &'static str,
    /// Who.
    pub name: Option<String>,
    /// As what.
    pub role: Option<String>,
    /// When.
    pub date: Option<String>,
}

/// The value of [`Questionnaire::format`].
pub const FORMAT: &str = "keylatch.dev/caiq/v1";

/// The file's name.
pub const NAME: &str = "caiq.json";

const ABOUT: &str = "Drafts, made from a replayed history of events. They say what that history shows; a person reads \
                     them, changes what is wrong, adds what is known from elsewhere, and answers for the answers. \
                     They are no statement of compliance.";
const STATEMENT: &str = "I have read these drafts, changed what was wrong in them, and answer for the answers.";

/// The drafts, as they stand in the bundle.
pub fn document(history: &History, controls: &Controls) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(&questionnaire(history, controls)).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// The drafts.
pub fn questionnaire(history: &History, controls: &Controls) -> Questionnaire {
    Questionnaire {
        format: FORMAT,
        tenant: controls.tenant,
        name: history.name.as_ref().map(ToString::to_string).unwrap_or_default(),
        root: controls.root,
        head: controls.head,
        as_of: controls.period.until,
        about: ABOUT,
        ownership: ownership(history),
        answers: questions::answers(history, controls),
        signature: Signature { statement: STATEMENT, ..Signature::default() },
    }
}

fn ownership(history: &History) -> Ownership {
    let own = history.class.map_or(&[][..], words::parties);
    let layer = |layer: Responsibility| Layer {
        layer,
        owners: layer.parties(),
        tenant_is_owner: layer.parties().iter().any(|party| own.contains(party)),
        keys: history.keys.values().filter(|key| key.spec.responsibility == layer).count() as u64,
    };
    Ownership { tenant_class: history.class, layers: Responsibility::ALL.map(layer).into() }
}

/// Who owns the control, in words: the tenant, and the parties of layers that are not the tenant's own.
fn owner(history: &History) -> String {
    let Some(class) = history.class else { return "not known: there is no tenant in this history".to_owned() };
    let own = words::parties(class);
    let tenant: Vec<&str> = own.iter().map(|party| words::party(*party)).collect();
    let mut text = format!("the tenant, as {}", tenant.join(" and "));
    for layer in ownership(history).layers.iter().filter(|layer| layer.keys > 0) {
        let others: Vec<&str> =
            layer.owners.iter().filter(|party| !own.contains(party)).map(|party| words::party(*party)).collect();
        if !others.is_empty() {
            let (keys, others) = (words::count(layer.keys, "key"), others.join(" and "));
            text.push_str(&format!("; for {keys} of the layer `{}` (also) the {others}", layer.layer));
        }
    }
    text
}

/// How many events of these types there are.
fn events(history: &History, types: &[EventType]) -> BTreeMap<&'static str, u64> {
    types.iter().filter_map(|event| Some((event.name(), *history.counts.get(event)?))).collect()
}
