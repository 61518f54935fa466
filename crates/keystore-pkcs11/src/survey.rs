//! The survey: what is really on the tokens, against what the index says. For whoever reconciles; it changes nothing.

use std::collections::BTreeSet;

use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use keystore::Found;
use keystore::attestation::{Dates, Protection, Usage};
use model::event::Inventory;
use model::evidence::Drift;
use model::{KeyId, TenantId};

use crate::Error;
use crate::attest::{self, Said};
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
        /// The key of ours that it is, whatever it says.
        is: Option<(TenantId, KeyId)>,
        /// What it may be used for. With one of these: a shadow activation.
        usages: BTreeSet<Usage>,
    },
    /// A key is not where it should be.
    Missing {
        /// Whose.
        tenant: TenantId,
        /// Which.
        key_id: KeyId,
        /// On which token it should be.
        inventory: Inventory,
    },
    /// Several objects have a key's name: somebody has made a copy of it under its own name, or put another key there.
    Several {
        /// Whose.
        tenant: TenantId,
        /// Which.
        key_id: KeyId,
        /// How many.
        found: usize,
        /// What the key should be for.
        wanted: BTreeSet<Usage>,
        /// What any of them is for.
        usages: BTreeSet<Usage>,
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
    /// The token does not let a key show which one it is: it was made so that it can't be copied or wrapped.
    Unproven {
        /// Whose.
        tenant: TenantId,
        /// Which.
        key_id: KeyId,
        /// What the token said.
        answer: String,
    },
    /// An active key is not on the application's token as it was put there.
    NotPlaced {
        /// Whose.
        tenant: TenantId,
        /// Which.
        key_id: KeyId,
    },
    /// On the application's token there is something that says it is a key of ours and was not put there.
    StillPlaced {
        /// Its `CKA_ID`, in hex.
        object: String,
        /// What it says it is.
        says_it_is: KeyId,
        /// What it may be used for.
        usages: BTreeSet<Usage>,
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
    /// What it says of one of a tenant's keys, as the port has it; nothing where it is of none.
    fn of_key(&self, of: TenantId) -> Option<Found> {
        let found = |key_id: &KeyId, drift, what: String| Some(Found { key_id: *key_id, drift, what });
        match self {
            Self::Unknown { is: Some((tenant, _)), .. } if *tenant != of => None,
            Self::Unknown { says_it_is: None, is: None, .. } => None,
            Self::Unknown { is: Some((_, key_id)), usages, inventory, .. }
            | Self::Unknown { says_it_is: Some(key_id), usages, inventory, .. } => {
                let drift = if usages.is_empty() { Drift::Attributes } else { Drift::ShadowActivation };
                let what = format!("a copy of it is on the {} token, for {}", words(inventory), list(usages));
                found(key_id, drift, what)
            }
            Self::Missing { key_id, inventory, .. } => {
                found(key_id, Drift::Missing, format!("the {} token does not have it", words(inventory)))
            }
            Self::Several { key_id, found: count, wanted, usages, .. } => {
                let what = format!("{count} objects have its name, and may be used for {}", list(usages));
                found(key_id, usable(wanted, usages), what)
            }
            Self::Usages { key_id, wanted, found: usages, .. } => {
                let drift = usable(wanted, usages);
                let what = format!("it may be used for {}; it was left for {}", list(usages), list(wanted));
                found(key_id, drift, what)
            }
            Self::Protection { key_id, .. } => {
                found(key_id, Drift::Attributes, "it is not protected as it was".to_owned())
            }
            Self::Dates { key_id, .. } => {
                found(key_id, Drift::Dates, "its dates are not those that it was given".to_owned())
            }
            Self::NotPlaced { key_id, .. } => {
                found(key_id, Drift::Missing, "the application's token does not have it as it was put there".to_owned())
            }
            Self::StillPlaced { says_it_is, usages, .. } => {
                let what = format!("a copy of it is on the application's token, for {}", list(usages));
                found(says_it_is, usable(&BTreeSet::new(), usages), what)
            }
            Self::Unproven { key_id, answer, .. } => {
                found(key_id, Drift::Attributes, format!("it can't show any more which key it is: {answer}"))
            }
            Self::Exchanged { key_id, .. } => found(key_id, Drift::Missing, "another key is under its name".to_owned()),
        }
    }
}

/// What it is that a key is for this, and should be for that.
fn usable(wanted: &BTreeSet<Usage>, usages: &BTreeSet<Usage>) -> Drift {
    if wanted.is_empty() && !usages.is_empty() { Drift::ShadowActivation } else { Drift::Attributes }
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
pub(crate) struct Seen {
    pub(crate) inventory: Inventory,
    pub(crate) id: Vec<u8>,
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
        let placed = self.look_placed()?;
        let mut seen = self.look(Inventory::PreActive)?;
        seen.extend(self.look(Inventory::Active)?);
        let mut survey = Survey { seen: seen.len(), ..Survey::default() };
        let mut keys = Vec::new();
        self.index.walk(None, |tenant, key_id, _| {
            keys.push((tenant, key_id));
            Ok(true)
        })?;
        let doubles = doubles(&seen);
        for (tenant, key_id) in keys {
            self.examine(tenant, key_id, &doubles, &mut survey)?;
        }
        self.find_unknown(seen, &mut survey)?;
        self.find_unplaced(placed, &mut survey.findings)?;
        Ok(survey)
    }

    /// What is otherwise of a tenant's keys, or of one of them, as the port asks for it.
    pub(crate) fn drifts(&self, tenant: TenantId, key_id: Option<KeyId>) -> Result<Vec<Found>, Error> {
        let placed = self.look_placed()?;
        let mut seen = self.look(Inventory::PreActive)?;
        seen.extend(self.look(Inventory::Active)?);
        let mut survey = Survey { seen: seen.len(), ..Survey::default() };
        let mut keys = Vec::new();
        self.index.walk(Some(tenant), |tenant, one, _| {
            keys.extend(key_id.is_none_or(|wanted| wanted == one).then_some((tenant, one)));
            Ok(true)
        })?;
        let doubles = doubles(&seen);
        let mut found = Vec::new();
        for (tenant, one) in &keys {
            match self.examine(*tenant, *one, &doubles, &mut survey) {
                Ok(()) => {}
                // Whoever makes one key unreadable does not blind us to the others; a token that is away does.
                Err(error @ Error::Token { .. }) => {
                    self.look(Inventory::PreActive)?;
                    self.look(Inventory::Active)?;
                    self.look_placed()?;
                    let what = format!("it can't be examined: {error}");
                    found.push(Found { key_id: *one, drift: Drift::Attributes, what });
                }
                Err(error) => return Err(error),
            }
        }
        self.find_unknown(seen, &mut survey)?;
        self.find_unplaced(placed, &mut survey.findings)?;
        // An object that says that it is a key names no tenant: it is whose key that is.
        let of_all = survey.findings.iter().filter_map(|finding| finding.of_key(tenant));
        found.extend(of_all.filter(|found| keys.contains(&(tenant, found.key_id))));
        Ok(found)
    }

    /// Every key on a token.
    pub(crate) fn look(&self, inventory: Inventory) -> Result<Vec<Seen>, Error> {
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

    /// Looks at one key of the index. `doubles` are names that several objects had a moment ago.
    fn examine(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        doubles: &BTreeSet<Object>,
        survey: &mut Survey,
    ) -> Result<(), Error> {
        let id = index::id(tenant, key_id);
        let _key = self.key_lock(&id);
        let Some(row) = self.find(&id)? else { return Ok(()) };
        let Some(object) = row.object else { return Ok(()) };
        // Where an object is is remembered, so a second one of its name has to be looked for.
        let several = if doubles.contains(&object) { self.several(tenant, key_id, &row, object)? } else { None };
        let looked =
            several.map_or_else(|| self.recognised(tenant, key_id, &row, object), |several| Ok(Err(several)))?;
        match looked {
            Ok(said) => {
                let mut findings = self.differences(tenant, key_id, &row, object, &said);
                findings.extend(self.examine_placed(tenant, key_id, &row)?);
                survey.matched += usize::from(findings.is_empty());
                survey.dates_not_shown += usize::from(said.dates.is_none());
                survey.findings.extend(findings);
            }
            Err(finding) => survey.findings.push(finding),
        }
        Ok(())
    }

    /// What the token says of a key that it has; or why that is not to be had. Nobody changes the key meanwhile.
    pub(crate) fn recognised(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        row: &Row,
        object: Object,
    ) -> Result<Result<Said, Finding>, Error> {
        let said = self.ask(object).and_then(|said| {
            self.recognise(row.algorithm, object, &row.identity)?;
            Ok(said)
        });
        match said {
            Ok(said) => Ok(Ok(said)),
            Err(Error::Missing { .. }) => {
                let missing = Finding::Missing { tenant, key_id, inventory: object.inventory };
                Ok(Err(self.several(tenant, key_id, row, object)?.unwrap_or(missing)))
            }
            Err(Error::Exchanged { .. }) => Ok(Err(Finding::Exchanged { tenant, key_id })),
            // One key that somebody has made mute must not end the survey of all.
            Err(Error::Token { source, .. }) if is_of_the_key(&source) => {
                Ok(Err(Finding::Unproven { tenant, key_id, answer: source.to_string() }))
            }
            Err(error) => Err(error),
        }
    }

    /// In what a key is otherwise than its row says.
    pub(crate) fn differences(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        row: &Row,
        object: Object,
        said: &Said,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        let wanted = object::usages(row.algorithm, row.state);
        if said.usages != wanted {
            findings.push(Finding::Usages { tenant, key_id, wanted, found: said.usages.clone() });
        }
        if !self.is_kept(object.inventory, &said.protection) {
            findings.push(Finding::Protection { tenant, key_id, found: said.protection });
        }
        let wanted = row.dates();
        let dates = said.dates.filter(|found| *found != wanted);
        findings.extend(dates.map(|found| Finding::Dates { tenant, key_id, wanted, found }));
        findings
    }

    /// Whether a key is kept as the store has made it.
    fn is_kept(&self, inventory: Inventory, found: &Protection) -> bool {
        let kept = match inventory {
            Inventory::PreActive => found.wrap_with_trusted && !found.modifiable,
            // In placed mode they go on, under a trusted key as well.
            Inventory::Active => !found.extractable || (self.placed.is_some() && found.wrap_with_trusted),
        };
        found.sensitive && kept
    }

    /// What there is of a key's name, where that is more than one object.
    fn several(&self, tenant: TenantId, key_id: KeyId, row: &Row, object: Object) -> Result<Option<Finding>, Error> {
        self.token(object.inventory).work(Mode::Shared, |work| {
            let found = work.find(&[Attribute::Token(true), object.id.attribute()])?;
            if found.len() < 2 {
                return Ok(None);
            }
            let said = found.iter().filter_map(|handle| attest::say(work, *handle).ok());
            let usages = said.flat_map(|said| said.usages).collect();
            let wanted = object::usages(row.algorithm, row.state);
            Ok(Some(Finding::Several { tenant, key_id, found: found.len(), wanted, usages }))
        })
    }

    /// What was seen and nobody knows.
    fn find_unknown(&self, seen: Vec<Seen>, survey: &mut Survey) -> Result<(), Error> {
        let own = self.own_keys();
        let is_own = |seen: &&Seen| named(seen.inventory, &seen.id).is_some_and(|object| own.contains(&object));
        survey.seen -= seen.iter().filter(is_own).count();
        let unknown = self.unknown(seen)?;
        let kin = self.kin(&unknown)?;
        for (Seen { inventory, id, label, usages }, is) in unknown.into_iter().zip(kin) {
            let says_it_is = label.strip_prefix(&self.label_prefix()).and_then(|key_id| key_id.parse().ok());
            let object = data_encoding::HEXLOWER.encode(&id);
            survey.findings.push(Finding::Unknown { inventory, object, label, says_it_is, is, usages });
        }
        Ok(())
    }

    /// Those that nobody knows. The index is read after the tokens were, so nothing is taken for unknown that is on its way.
    pub(crate) fn unknown(&self, seen: Vec<Seen>) -> Result<Vec<Seen>, Error> {
        let mut known = self.own_keys();
        // Remainders before rows: what is made or goes meanwhile is in the one or the other.
        known.extend(self.index.remainders(None)?.into_iter().map(|(_, object)| object));
        self.index.walk(None, |_, _, row| {
            known.extend(row.object);
            Ok(true)
        })?;
        let mut unknown = Vec::new();
        for seen in seen {
            let is_known = named(seen.inventory, &seen.id).is_some_and(|object| known.contains(&object));
            if !is_known && self.is_still_there(seen.inventory, &seen.id)? {
                unknown.push(seen);
            }
        }
        Ok(unknown)
    }

    /// The keys of the store's own.
    fn own_keys(&self) -> BTreeSet<Object> {
        let meta = &self.index.meta;
        let own = [
            (Inventory::PreActive, meta.transport_out),
            (Inventory::Active, meta.transport_in),
            (Inventory::Active, meta.sealing),
        ];
        let onward = meta.placed.as_ref().map(|placed| (Inventory::Active, placed.transport_out));
        own.into_iter().chain(onward).map(|(inventory, id)| Object { inventory, id }).collect()
    }

    fn is_still_there(&self, inventory: Inventory, id: &[u8]) -> Result<bool, Error> {
        self.token(inventory).work(Mode::Shared, |work| {
            Ok(!work.find(&[Attribute::Token(true), Attribute::Id(id.to_vec())])?.is_empty())
        })
    }
}

/// Whether the token said no because of what the key is, not because of how the token is.
fn is_of_the_key(error: &Pkcs11Error) -> bool {
    matches!(
        error,
        Pkcs11Error::Pkcs11(
            RvError::ActionProhibited
                | RvError::KeyUnextractable
                | RvError::KeyNotWrappable
                | RvError::KeySizeRange
                | RvError::KeyTypeInconsistent
                | RvError::KeyFunctionNotPermitted
                | RvError::AttributeReadOnly
                | RvError::AttributeTypeInvalid
                | RvError::AttributeValueInvalid
                | RvError::TemplateInconsistent
                | RvError::WrappedKeyInvalid
                | RvError::WrappedKeyLenRange,
            _
        )
    )
}

/// An object of a name such as the store gives.
fn named(inventory: Inventory, id: &[u8]) -> Option<Object> {
    <[u8; 16]>::try_from(id).ok().map(|id| Object { inventory, id: ObjectId(id) })
}

/// Names that several objects have.
fn doubles(seen: &[Seen]) -> BTreeSet<Object> {
    let mut once = BTreeSet::new();
    seen.iter().filter_map(|seen| named(seen.inventory, &seen.id)).filter(|object| !once.insert(*object)).collect()
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
