//! The survey: what the server has, against what the index says it should have.

use std::collections::{BTreeMap, BTreeSet};

use keystore::Found;
use model::evidence::Drift;
use model::{KeyId, KeyState, TenantId};

use crate::client::Client;
use crate::index::{Id, Record};
use crate::protocol::{self, Attributes, Operation, ServerState, tag};
use crate::ttlv::Item;
use crate::{Error, KmipStore, naming};

/// Identifiers asked for at a time.
const PAGE: u32 = 1000;

/// The most objects that are looked at; beyond it a server pages without end.
const OBJECTS_MAX: usize = 1 << 20;

/// What a survey found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Objects that the server showed.
    pub seen: usize,
    /// Keys of the index that are on the server as they should be, or rightly gone.
    pub matched: usize,
    /// The rest.
    pub findings: Vec<Finding>,
}

/// A key of the index, and its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub key_id: KeyId,
    /// The server's identifier; empty where Create was never answered.
    pub object: String,
}

/// What is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An object that no key of this index is. It may be somebody else's; nothing is done to it.
    Unknown {
        /// The server's identifier.
        object: String,
        /// Its names.
        names: Vec<String>,
        /// Its state, where it has one.
        state: Option<ServerState>,
    },
    /// An object that this store made for a key and has no record of: a birth that was cut short, or an index that was
    /// put back from a backup. Nobody can use it through here; [`KmipStore::discard`] removes it while it is pre-active.
    Orphan {
        /// The key that it was made for, and the orphan's identifier.
        subject: Subject,
        /// Its state.
        state: Option<ServerState>,
    },
    /// The server does not have the key, or does not show it to this client any more.
    Missing {
        /// The key.
        subject: Subject,
        /// The state that the chain has brought it to.
        recorded: KeyState,
    },
    /// The server has it in another state than this store brought it to. See [`Finding::is_shadow_activation`].
    StateDiffers {
        /// The key.
        subject: Subject,
        /// The state that the chain has brought it to.
        recorded: KeyState,
        /// The server's state; `None` where it says none.
        found: Option<ServerState>,
    },
    /// An attribute is not what it was after this store's last change: a date, a usage mask, a name.
    AttributeDiffers {
        /// The key.
        subject: Subject,
        /// Its name, such as `Activation Date`.
        attribute: String,
        /// What it was; nothing where there was none.
        recorded: Vec<String>,
        /// What it is.
        found: Vec<String>,
    },
    /// A change that was begun here and not completed: apply (or generate) it again.
    Unfinished {
        /// The key.
        subject: Subject,
        /// Where it was to go.
        to: KeyState,
    },
}

impl Finding {
    /// Whether a key can be used on the server that nobody activated here.
    pub fn is_shadow_activation(&self) -> bool {
        matches!(
            self,
            Self::StateDiffers { recorded: KeyState::PreActive, found: Some(ServerState::Active), .. }
                | Self::Orphan { state: Some(ServerState::Active), .. }
        )
    }

    /// What it says of a tenant's key; nothing where it is of no key of this tenant, or of a change of our own.
    pub(crate) fn drift(&self, of: TenantId) -> Option<Found> {
        let (subject, drift, what) = match self {
            Self::Missing { subject, .. } => (subject, Drift::Missing, "the server does not have it".to_owned()),
            Self::StateDiffers { subject, recorded, found } => {
                // Active there, and not here: whatever it was left as.
                let shadow = *found == Some(ServerState::Active);
                let drift = if shadow { Drift::ShadowActivation } else { Drift::State };
                let found = found.map_or_else(|| "in no state".to_owned(), |found| format!("{found:?}"));
                (subject, drift, format!("the server has it {found}; it was left {recorded}"))
            }
            Self::AttributeDiffers { subject, attribute, recorded, found } => {
                let drift = if attribute.contains("Date") { Drift::Dates } else { Drift::Attributes };
                (subject, drift, format!("{attribute} is [{}]; it was [{}]", found.join(", "), recorded.join(", ")))
            }
            Self::Orphan { subject, state: Some(ServerState::Active) } => (
                subject,
                Drift::ShadowActivation,
                format!("another object, {}, is active under its name", subject.object),
            ),
            Self::Orphan { .. } | Self::Unknown { .. } | Self::Unfinished { .. } => return None,
        };
        (subject.tenant == of).then_some(Found { key_id: subject.key_id, drift, what })
    }
}

/// The identifiers of everything that the server shows to this client.
pub(crate) fn locate(client: &Client) -> Result<BTreeSet<String>, Error> {
    let garbage = |what| Error::Garbage { operation: Operation::Locate, what };
    let mut shown = BTreeSet::new();
    let mut offset = 0;
    loop {
        let answer = client.call(Operation::Locate, protocol::locate(offset, PAGE))?;
        let page: Vec<&str> = answer.all(tag::UNIQUE_IDENTIFIER).filter_map(Item::as_text).collect();
        let (found, before) = (u32::try_from(page.len()).unwrap_or(u32::MAX), shown.len());
        shown.extend(page.into_iter().map(str::to_owned));
        // A server that does not page shows everything at once, and again.
        if found < PAGE || shown.len() == before {
            return Ok(shown);
        }
        if shown.len() > OBJECTS_MAX {
            return Err(garbage("more objects than a survey takes"));
        }
        offset = offset.saturating_add(found);
    }
}

impl KmipStore {
    /// Looks at everything that the server shows to this client, and at every key of the index.
    ///
    /// Each key is compared under its lock, so a change that is under way here is not taken for somebody else's.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Broken`], [`Error::Garbage`], [`Error::Refused`]; [`Error::Index`].
    pub fn survey(&self) -> Result<Survey, Error> {
        self.survey_of(|_| true)
    }

    /// The same of some keys, and of what is no key of the index.
    pub(crate) fn survey_of(&self, wanted: impl Fn(Id) -> bool) -> Result<Survey, Error> {
        let shown = locate(&self.client)?;
        let mut survey = Survey { seen: shown.len(), ..Survey::default() };
        let mut ids = Vec::new();
        self.index.each(None, |id, _| {
            ids.push(id);
            true
        })?;
        let mut ours = BTreeSet::new();
        for id in ids {
            let _key = self.key_lock(id);
            let Some(record) = self.index.get(id)? else { continue };
            if wanted(id) {
                let findings = self.compare(id, &record)?;
                survey.matched += usize::from(findings.is_empty());
                survey.findings.extend(findings);
            }
            ours.extend(record.object);
        }
        for object in shown.difference(&ours) {
            survey.findings.extend(self.stranger(object)?);
        }
        Ok(survey)
    }

    /// Destroys an orphan.
    ///
    /// # Errors
    /// [`Error::NoOrphan`] for anything but a pre-active object that this store made and that no key of it is.
    pub fn discard(&self, object: &str) -> Result<(), Error> {
        let no_orphan = || Error::NoOrphan(object.to_owned());
        let attributes = self.attributes(object)?.ok_or_else(no_orphan)?;
        let id = attributes.names().find_map(|name| naming::read(name, &self.instance)).ok_or_else(no_orphan)?;
        let _key = self.key_lock(id);
        let recorded = self.index.get(id)?.and_then(|record| record.object);
        if recorded.as_deref() == Some(object) || attributes.state() != Some(ServerState::PreActive) {
            return Err(no_orphan());
        }
        self.bring(object, KeyState::Destroyed).map(drop)
    }

    pub(crate) fn compare(&self, id: Id, record: &Record) -> Result<Vec<Finding>, Error> {
        let object = record.object.clone().unwrap_or_default();
        let subject = Subject { tenant: id.tenant, key_id: id.key_id, object };
        if record.identity.is_none() {
            return Ok(vec![Finding::Unfinished { subject, to: KeyState::PreActive }]);
        }
        let attributes = self.attributes(&subject.object)?;
        let found = attributes.as_ref().map(Attributes::state);
        Ok(match (record.intent, found) {
            (Some(to), Some(Some(state))) if is_on_the_way(record.state, to, state) => {
                vec![Finding::Unfinished { subject, to }]
            }
            (Some(to), None) if is_gone(to) => vec![Finding::Unfinished { subject, to }],
            (_, Some(Some(state))) if is_gone(record.state) && state.is_gone() => Vec::new(),
            (_, None) if is_gone(record.state) => Vec::new(),
            (_, None) => vec![Finding::Missing { subject, recorded: record.state }],
            (_, Some(state)) if state.is_some() && state == on_the_server(record.state) => {
                differences(&subject, &record.attributes, &attributes.unwrap_or_default().lasting())
            }
            (_, Some(found)) => vec![Finding::StateDiffers { subject, recorded: record.state, found }],
        })
    }

    /// An object that is no key of the index, as of a moment ago.
    fn stranger(&self, object: &str) -> Result<Option<Finding>, Error> {
        let Some(attributes) = self.attributes(object)? else { return Ok(None) };
        let (state, object) = (attributes.state(), object.to_owned());
        let Some(id) = attributes.names().find_map(|name| naming::read(name, &self.instance)) else {
            let names = attributes.names().map(str::to_owned).collect();
            return Ok(Some(Finding::Unknown { object, names, state }));
        };
        // It may have been born, or destroyed, since the index was read.
        let _key = self.key_lock(id);
        let recorded = self.index.get(id)?.and_then(|record| record.object);
        let subject = Subject { tenant: id.tenant, key_id: id.key_id, object };
        let orphan = recorded.as_deref() != Some(&subject.object) && !state.is_some_and(ServerState::is_gone);
        Ok(orphan.then_some(Finding::Orphan { subject, state }))
    }
}

fn is_gone(state: KeyState) -> bool {
    keystore::transition::is_destroyed(state)
}

/// What the server has for a state of the chain; `None` where it has nothing.
fn on_the_server(state: KeyState) -> Option<ServerState> {
    match state {
        KeyState::PreActive => Some(ServerState::PreActive),
        KeyState::Active | KeyState::Suspended => Some(ServerState::Active),
        KeyState::Deactivated => Some(ServerState::Deactivated),
        KeyState::Compromised => Some(ServerState::Compromised),
        KeyState::Destroyed | KeyState::DestroyedCompromised => None,
    }
}

/// Whether a change that was begun here explains what the server has: its start, its end, or the revocation that comes
/// before an active key's destruction.
fn is_on_the_way(from: KeyState, to: KeyState, found: ServerState) -> bool {
    let revoked = is_gone(to) && on_the_server(from) == Some(ServerState::Active);
    [on_the_server(from), on_the_server(to)].contains(&Some(found))
        || (revoked && found == ServerState::Deactivated)
        || (is_gone(to) && found.is_gone())
}

fn differences(
    subject: &Subject,
    recorded: &BTreeMap<String, Vec<String>>,
    found: &BTreeMap<String, Vec<String>>,
) -> Vec<Finding> {
    let names: BTreeSet<&String> = recorded.keys().chain(found.keys()).collect();
    let changed = names.into_iter().filter(|name| recorded.get(*name) != found.get(*name));
    let values = |of: &BTreeMap<String, Vec<String>>, name| of.get(name).cloned().unwrap_or_default();
    changed
        .map(|name| Finding::AttributeDiffers {
            subject: subject.clone(),
            attribute: name.clone(),
            recorded: values(recorded, name),
            found: values(found, name),
        })
        .collect()
}
