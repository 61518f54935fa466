//! The survey: what is really on the tokens, against what the index says. For whoever reconciles; it changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use keystore::Found;
use keystore::attestation::{Dates, Protection, Usage};
use model::event::Inventory;
use model::evidence::Drift;
use model::{KeyId, TenantId};

use crate::Error;
use crate::attest;
use crate::index::{self, Row};
use crate::lock::Mode;
use crate::object::{self, Object, ObjectId};
use crate::store::Pkcs11Store;
use crate::token::Work;

/// Something on a token that is not as the index says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A key that the store did not make, or does not know any more. It is left alone.
    Unknown {
        /// On which token.
        inventory: Inventory,
        /// Its `CKA_ID`, in hex.
        object: String,
        /// Its `CKA_LABEL`.
        label: String,
        /// The key of ours that it says it is: a copy that somebody else made, or a key that the index has lost.
        says_it_is: Option<KeyId>,
        /// What it may be used for. With `says_it_is`: a shadow activation.
        usages: BTreeSet<Usage>,
    },
    /// A key is not where it should be, or is there more than once.
    Missing {
        /// Whose.
        tenant: TenantId,
        /// Which.
        key_id: KeyId,
        /// On which token it should be.
        inventory: Inventory,
        /// How many objects of its name there are.
        found: usize,
    },
    /// A key may be used otherwise than its state allows: flags were changed.
    Usages {
        /// Whose.
        tenant: TenantId,
        /// Which.
        key_id: KeyId,
        /// What it should be for.
        wanted: BTreeSet<Usage>,
        /// What it is for.
        found: BTreeSet<Usage>,
    },
    /// A key is not kept as it should be.
    Protection {
        /// Whose.
        tenant: TenantId,
        /// Which.
        key_id: KeyId,
        /// How it is kept.
        found: Protection,
    },
    /// A key's dates are not those that it was given.
    Dates {
        /// Whose.
        tenant: TenantId,
        /// Which.
        key_id: KeyId,
        /// What it was given.
        wanted: Dates,
        /// What the token says.
        found: Dates,
    },
    /// Under a key's name there is another key.
    Exchanged {
        /// Whose.
        tenant: TenantId,
        /// Which.
        key_id: KeyId,
    },
}

impl Finding {
    /// What it says of a tenant's key, as the port has it; nothing where it is of no key of a tenant.
    fn of_key(&self) -> Option<Found> {
        let found = |key_id: &KeyId, drift, what: String| Some(Found { key_id: *key_id, drift, what });
        match self {
            Self::Unknown { says_it_is: None, .. } => None,
            Self::Unknown { says_it_is: Some(key_id), usages, inventory, .. } => {
                let drift = if usages.is_empty() { Drift::Attributes } else { Drift::ShadowActivation };
                let what = format!("a copy of it is on the {} token, for {}", words(inventory), list(usages));
                found(key_id, drift, what)
            }
            Self::Missing { key_id, inventory, found: count, .. } => {
                let what = format!("the {} token has {count} objects of its name", words(inventory));
                found(key_id, Drift::Missing, what)
            }
            Self::Usages { key_id, wanted, found: usages, .. } => {
                let drift = if wanted.is_empty() { Drift::ShadowActivation } else { Drift::Attributes };
                let what = format!("it may be used for {}; it was left for {}", list(usages), list(wanted));
                found(key_id, drift, what)
            }
            Self::Protection { key_id, .. } => {
                found(key_id, Drift::Attributes, "it is not protected as it was".to_owned())
            }
            Self::Dates { key_id, .. } => {
                found(key_id, Drift::Dates, "its dates are not those that it was given".to_owned())
            }
            Self::Exchanged { key_id, .. } => found(key_id, Drift::Missing, "another key is under its name".to_owned()),
        }
    }
}

fn words(inventory: &Inventory) -> &'static str {
    match inventory {
        Inventory::PreActive => "pre-active",
        Inventory::Active => "active",
    }
}

fn list(usages: &BTreeSet<Usage>) -> String {
    let names: Vec<String> = usages.iter().map(|usage| format!("{usage:?}").to_lowercase()).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// What a survey has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Keys on both tokens, those of the store's own aside.
    pub seen: usize,
    /// Keys that are as the index says.
    pub matched: usize,
    /// Keys whose dates the token does not show, so that they could not be compared.
    pub dates_not_shown: usize,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
}

/// A key on a token.
struct Seen {
    inventory: Inventory,
    id: Vec<u8>,
    label: String,
    usages: BTreeSet<Usage>,
}

impl Pkcs11Store {
    /// Compares the tokens with the index. Goes through every key: each is asked about, and recognised by its material.
    /// Others go on working meanwhile; each key is looked at while nobody changes it.
    ///
    /// # Errors
    /// Where a token or the index fails.
    pub fn survey(&self) -> Result<Survey, Error> {
        // First what is on the tokens: what is made from now on is in the index before it is there.
        let mut seen = self.look(Inventory::PreActive)?;
        seen.extend(self.look(Inventory::Active)?);
        let mut survey = Survey { seen: seen.len(), ..Survey::default() };
        let mut keys = Vec::new();
        self.index.walk(None, |tenant, key_id, _| {
            keys.push((tenant, key_id));
            Ok(true)
        })?;
        for (tenant, key_id) in keys {
            self.examine(tenant, key_id, &mut survey)?;
        }
        self.find_unknown(seen, &mut survey)?;
        Ok(survey)
    }

    /// What is otherwise of a tenant's keys, or of one of them, as the port asks for it.
    pub(crate) fn drifts(&self, tenant: TenantId, key_id: Option<KeyId>) -> Result<Vec<Found>, Error> {
        let mut seen = self.look(Inventory::PreActive)?;
        seen.extend(self.look(Inventory::Active)?);
        let mut survey = Survey { seen: seen.len(), ..Survey::default() };
        let mut keys = Vec::new();
        self.index.walk(Some(tenant), |tenant, one, _| {
            keys.extend(key_id.is_none_or(|wanted| wanted == one).then_some((tenant, one)));
            Ok(true)
        })?;
        let mut found = Vec::new();
        for (tenant, one) in &keys {
            found.extend(self.doubles(*tenant, *one, &seen)?);
            if let Err(error) = self.examine(*tenant, *one, &mut survey) {
                // Whoever makes one key unreadable does not blind us to the others; a token that is away does.
                self.look(Inventory::PreActive)?;
                self.look(Inventory::Active)?;
                let what = format!("it can't be examined: {error}");
                found.push(Found { key_id: *one, drift: Drift::Attributes, what });
            }
        }
        self.find_unknown(seen, &mut survey)?;
        // An object that says that it is a key names no tenant: it is whose key that is.
        let of_all = survey.findings.iter().filter_map(Finding::of_key);
        found.extend(of_all.filter(|found| keys.contains(&(tenant, found.key_id))));
        Ok(found)
    }

    /// More objects than one under a key's own name (`CKA_ID`): a copy that somebody made keeps it.
    fn doubles(&self, tenant: TenantId, key_id: KeyId, seen: &[Seen]) -> Result<Option<Found>, Error> {
        let Some(Row { object: Some(object), .. }) = self.find(&index::id(tenant, key_id))? else { return Ok(None) };
        let same = || seen.iter().filter(|seen| seen.inventory == object.inventory && seen.id == object.id.0);
        let usages: BTreeSet<Usage> = same().flat_map(|seen| seen.usages.iter().copied()).collect();
        let count = same().count();
        let what =
            format!("{count} objects have its name on the {} token, for {}", words(&object.inventory), list(&usages));
        let drift = if usages.is_empty() { Drift::Attributes } else { Drift::ShadowActivation };
        Ok((count > 1).then_some(Found { key_id, drift, what }))
    }

    /// Every key on a token.
    fn look(&self, inventory: Inventory) -> Result<Vec<Seen>, Error> {
        self.token(inventory).work(Mode::Shared, |work| {
            let mut seen = Vec::new();
            for class in [ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY] {
                for handle in work.find(&[Attribute::Token(true), Attribute::Class(class)])? {
                    // One that is gone by now is nobody's business.
                    seen.extend(see(work, inventory, handle));
                }
            }
            Ok(seen)
        })
    }

    /// Looks at one key of the index.
    fn examine(&self, tenant: TenantId, key_id: KeyId, survey: &mut Survey) -> Result<(), Error> {
        let id = index::id(tenant, key_id);
        let _key = self.key_lock(&id);
        let Some(Row { object: Some(object), algorithm, state, identity, start, end, .. }) = self.find(&id)? else {
            return Ok(());
        };
        let before = survey.findings.len();
        let said = match self.ask(object).and_then(|said| {
            self.recognise(algorithm, object, &identity)?;
            Ok(said)
        }) {
            Ok(said) => said,
            Err(Error::Missing { found, .. }) => {
                survey.findings.push(Finding::Missing { tenant, key_id, inventory: object.inventory, found });
                return Ok(());
            }
            Err(Error::Exchanged { .. }) => {
                survey.findings.push(Finding::Exchanged { tenant, key_id });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let wanted = object::usages(algorithm, state);
        if said.usages != wanted {
            survey.findings.push(Finding::Usages { tenant, key_id, wanted, found: said.usages });
        }
        if !is_kept(object.inventory, &said.protection) {
            survey.findings.push(Finding::Protection { tenant, key_id, found: said.protection });
        }
        let wanted = index::dates(start, end);
        match said.dates {
            Some(found) if found != wanted => {
                survey.findings.push(Finding::Dates { tenant, key_id, wanted, found });
            }
            Some(_) => {}
            None => survey.dates_not_shown += 1,
        }
        survey.matched += usize::from(survey.findings.len() == before);
        Ok(())
    }

    /// What was seen and nobody knows. The index is read after the tokens were, so nothing is taken for unknown that is on
    /// its way.
    fn find_unknown(&self, seen: Vec<Seen>, survey: &mut Survey) -> Result<(), Error> {
        let meta = &self.index.meta;
        let mut known: BTreeMap<Object, ()> = BTreeMap::new();
        let own = [
            (Inventory::PreActive, meta.transport_out),
            (Inventory::Active, meta.transport_in),
            (Inventory::Active, meta.sealing),
        ];
        for (inventory, id) in own {
            known.insert(Object { inventory, id }, ());
            let there = seen.iter().any(|seen| seen.inventory == inventory && seen.id == id.0);
            survey.seen -= usize::from(there);
        }
        // Remainders before rows: what is made or goes meanwhile is in the one or the other.
        known.extend(self.index.remainders(None)?.into_iter().map(|(_, object)| (object, ())));
        self.index.walk(None, |_, _, row| {
            known.extend(row.object.map(|object| (object, ())));
            Ok(true)
        })?;
        for Seen { inventory, id, label, usages } in seen {
            let object = <[u8; 16]>::try_from(id.as_slice()).ok().map(|id| Object { inventory, id: ObjectId(id) });
            if object.is_some_and(|object| known.contains_key(&object)) {
                continue;
            }
            if !self.is_still_there(inventory, &id)? {
                continue;
            }
            let says_it_is = label.strip_prefix(&self.label_prefix()).and_then(|key_id| key_id.parse().ok());
            let object = data_encoding::HEXLOWER.encode(&id);
            survey.findings.push(Finding::Unknown { inventory, object, label, says_it_is, usages });
        }
        Ok(())
    }

    fn is_still_there(&self, inventory: Inventory, id: &[u8]) -> Result<bool, Error> {
        self.token(inventory).work(Mode::Shared, |work| {
            Ok(!work.find(&[Attribute::Token(true), Attribute::Id(id.to_vec())])?.is_empty())
        })
    }
}

fn see(work: &Work<'_>, inventory: Inventory, handle: ObjectHandle) -> Option<Seen> {
    let named = work.session.get_attributes(handle, &[AttributeType::Id, AttributeType::Label]).ok()?;
    let usages = attest::say(work, handle).ok()?.usages;
    let mut seen = Seen { inventory, id: Vec::new(), label: String::new(), usages };
    for attribute in named {
        match attribute {
            Attribute::Id(id) => seen.id = id,
            Attribute::Label(label) => seen.label = String::from_utf8_lossy(&label).into_owned(),
            _ => {}
        }
    }
    Some(seen)
}

/// Whether a key is kept as the store has made it.
fn is_kept(inventory: Inventory, found: &Protection) -> bool {
    let kept = match inventory {
        Inventory::PreActive => found.wrap_with_trusted && !found.modifiable,
        Inventory::Active => !found.extractable,
    };
    found.sensitive && kept
}
