//! What the token itself says of a key.

use std::collections::BTreeSet;

use cryptoki::error::Error as Pkcs11Error;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use keystore::attestation::{Dates, Device, Protection, Usage};
use keystore::{Attestation, KeyStore as _};
use model::event::Inventory;

use crate::Error;
use crate::index::Row;
use crate::lock::Mode;
use crate::object::{self, FLAGS, Object};
use crate::store::Pkcs11Store;
use crate::token::Work;

const PROTECTION: [AttributeType; 7] = [
    AttributeType::Sensitive,
    AttributeType::Extractable,
    AttributeType::WrapWithTrusted,
    AttributeType::Modifiable,
    AttributeType::Local,
    AttributeType::AlwaysSensitive,
    AttributeType::NeverExtractable,
];

/// What a token says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) usages: BTreeSet<Usage>,
    pub(crate) protection: Protection,
    /// `None` where the token does not show them.
    pub(crate) dates: Option<Dates>,
    pub(crate) mechanism: Option<String>,
}

impl Pkcs11Store {
    pub(crate) fn attest_destroyed(&self, row: &Row) -> Attestation {
        Attestation {
            store: self.name().clone(),
            algorithm: row.algorithm,
            state: row.state,
            place: None,
            identity: row.identity.clone(),
            usages: BTreeSet::new(),
            protection: None,
            dates: None,
            device: None,
        }
    }

    pub(crate) fn attest_object(&self, row: &Row, object: Object) -> Result<Attestation, Error> {
        self.recognise(row.algorithm, object, &row.identity)?;
        let said = self.ask(object)?;
        Ok(Attestation {
            store: self.name().clone(),
            algorithm: row.algorithm,
            state: row.state,
            place: self.index.place(row),
            identity: row.identity.clone(),
            usages: said.usages,
            protection: Some(said.protection),
            dates: said.dates,
            device: Some(self.device(object.inventory, said.mechanism)?),
        })
    }

    /// Asks the token about an object.
    pub(crate) fn ask(&self, object: Object) -> Result<Said, Error> {
        self.token(object.inventory)
            .work(Mode::Shared, |work| work.on(object.id, "asking about a key", |handle| say(work, handle)))
    }

    fn device(&self, inventory: Inventory, mechanism: Option<String>) -> Result<Device, Error> {
        let (info, module) = self.token(inventory).info()?;
        Ok(Device {
            label: info.label().to_owned(),
            manufacturer: info.manufacturer_id().to_owned(),
            model: info.model().to_owned(),
            serial: info.serial_number().to_owned(),
            hardware: info.hardware_version().to_string(),
            firmware: info.firmware_version().to_string(),
            module,
            mechanism,
        })
    }
}

/// What the token says of one object.
pub(crate) fn say(work: &Work<'_>, handle: ObjectHandle) -> Result<Said, Pkcs11Error> {
    let flags = work.session.get_attributes(handle, &FLAGS)?;
    let protection = work.session.get_attributes(handle, &PROTECTION)?;
    let is = |wanted: &Attribute| protection.contains(wanted);
    Ok(Said {
        usages: flags.iter().filter_map(object::usage_on).collect(),
        protection: Protection {
            sensitive: is(&Attribute::Sensitive(true)),
            // What a token does not say of these is taken for the worse.
            extractable: !is(&Attribute::Extractable(false)),
            wrap_with_trusted: is(&Attribute::WrapWithTrusted(true)),
            modifiable: !is(&Attribute::Modifiable(false)),
            local: is(&Attribute::Local(true)),
            always_sensitive: is(&Attribute::AlwaysSensitive(true)),
            never_extractable: is(&Attribute::NeverExtractable(true)),
        },
        dates: dates(work, handle),
        mechanism: mechanism(work, handle),
    })
}

/// SoftHSM takes dates of private objects and then fails to show them ("general error"): what is not shown is not known.
fn dates(work: &Work<'_>, handle: ObjectHandle) -> Option<Dates> {
    let shown = [AttributeType::StartDate, AttributeType::EndDate];
    let shown = work.session.get_attributes(handle, &shown).ok()?;
    let mut dates = Dates::default();
    for attribute in shown {
        match attribute {
            Attribute::StartDate(date) => dates.start = object::day(&date),
            Attribute::EndDate(date) => dates.end = object::day(&date),
            _ => {}
        }
    }
    Some(dates)
}

/// Of a key that was not generated where it is, SoftHSM says a mechanism that is none.
fn mechanism(work: &Work<'_>, handle: ObjectHandle) -> Option<String> {
    let said = work.session.get_attributes(handle, &[AttributeType::KeyGenMechanism]).ok()?;
    said.into_iter().find_map(|attribute| match attribute {
        Attribute::KeyGenMechanism(mechanism) => Some(mechanism.to_string()),
        _ => None,
    })
}
