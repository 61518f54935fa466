//! The inventory of a token: every key that its user's PIN shows, whoever made it. Read only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use keystore::inventory::{Inventory, Item};
use model::key::KeyIdentity;
use model::text::Base64;
use model::{Algorithm, Digest};

use crate::config::{TokenConfig, auth_pin};
use crate::module::Module;
use crate::object::{self, FLAGS};
use crate::{Error, spki};

/// How the labels of this program's own objects begin.
const OURS: &str = "keylatch ";

/// A token that is only looked at.
pub struct Onlooker {
    path: PathBuf,
    module: Arc<Module>,
    token: TokenConfig,
}

impl Onlooker {
    /// Loads the module; the token is looked for when it is looked at.
    ///
    /// # Errors
    /// Where the module can't be loaded.
    pub fn new(module: &Path, token: TokenConfig) -> Result<Self, Error> {
        Ok(Self { path: module.to_owned(), module: Module::load(module)?, token })
    }

    /// What the token says that it is: manufacturer, model, serial number, firmware; and the mechanisms that it has.
    ///
    /// # Errors
    /// Where the token does not answer.
    pub fn describe(&self) -> Result<(String, usize), Error> {
        let (context, _inside) = self.module.enter();
        let (slot, info) = self.find(context)?;
        let mechanisms = context.get_mechanism_list(slot).map_err(self.failed("listing mechanisms"))?;
        let (maker, model, serial) = (info.manufacturer_id(), info.model(), info.serial_number());
        Ok((format!("{maker} {model}, serial {serial}, firmware {}", info.firmware_version()), mechanisms.len()))
    }

    /// The one token of its label.
    fn find(&self, context: &Pkcs11) -> Result<(Slot, TokenInfo), Error> {
        let slots = context.get_slots_with_token().map_err(self.failed("listing slots"))?;
        let tokens = slots.into_iter().filter_map(|slot| Some((slot, context.get_token_info(slot).ok()?)));
        let mut found: Vec<_> =
            tokens.filter(|(_, info)| info.token_initialized() && info.label() == self.token.label).collect();
        match (found.pop(), found.len()) {
            (Some(token), 0) => Ok(token),
            (last, others) => Err(Error::NoToken {
                label: self.token.label.clone(),
                serial: None,
                found: others + usize::from(last.is_some()),
                advice: "Put it in, or look at the module's configuration",
            }),
        }
    }

    /// Goes through every key. The session can't change anything: it is read only.
    ///
    /// # Errors
    /// Where the token does not answer, or refuses the PIN, which is tried once.
    pub fn look(&self, visit: &mut dyn FnMut(Item)) -> Result<(), Error> {
        let (context, _inside) = self.module.enter();
        let (slot, _) = self.find(context)?;
        let session = context.open_ro_session(slot).map_err(self.failed("opening a session"))?;
        let pin = self.token.pin.read()?;
        match session.login(UserType::User, Some(&auth_pin(&pin))) {
            Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(Pkcs11Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                let (label, place) = (self.token.label.clone(), self.token.pin.to_string());
                return Err(Error::PinRefused { label, place });
            }
            Err(error) => return Err(self.failed("logging in")(error)),
        }
        for class in [ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY] {
            let template = [Attribute::Token(true), Attribute::Class(class)];
            let found = session.find_objects(&template).map_err(self.failed("looking for keys"))?;
            for handle in found {
                // One that is gone by now is nobody's business.
                self.item(&session, class, handle).into_iter().for_each(&mut *visit);
            }
        }
        Ok(())
    }

    fn item(&self, session: &Session, class: ObjectClass, handle: ObjectHandle) -> Option<Item> {
        let named =
            session.get_attributes(handle, &[AttributeType::Id, AttributeType::Label, AttributeType::KeyType]).ok()?;
        let (mut id, mut label, mut kind) = (Vec::new(), String::new(), None);
        for attribute in named {
            match attribute {
                Attribute::Id(bytes) => id = bytes,
                Attribute::Label(bytes) => label = String::from_utf8_lossy(&bytes).into_owned(),
                Attribute::KeyType(key_type) => kind = Some(key_type),
                _ => {}
            }
        }
        let flags = session.get_attributes(handle, &FLAGS).unwrap_or_default();
        let usages = flags.iter().filter_map(object::usage_on).map(|usage| format!("{usage:?}").to_lowercase());
        let ours = label.starts_with(OURS);
        let public = if class == ObjectClass::PRIVATE_KEY { public_of(session, handle, kind, &id) } else { None };
        Some(Item {
            place: format!("token {}", self.token.label),
            object: data_encoding::HEXLOWER.encode(&id),
            label,
            algorithm: algorithm(session, handle, kind, public.as_ref()),
            state: None,
            usages: usages.collect::<BTreeSet<String>>(),
            extractable: one(session, handle, AttributeType::Extractable, |attribute| match attribute {
                Attribute::Extractable(is) => Some(is),
                _ => None,
            }),
            identity: match public {
                Some(public) => KeyIdentity::PublicKeyDigest(Digest::of(&public.der)),
                None => check_value(session, handle),
            },
            made_at: None,
            ours,
        })
    }

    fn failed(&self, what: &'static str) -> impl Fn(Pkcs11Error) -> Error {
        move |source| Error::Token { label: self.token.label.clone(), what, source }
    }
}

impl Inventory for Onlooker {
    fn inventory(&self, visit: &mut dyn FnMut(Item)) -> Result<(), keystore::Error> {
        Ok(self.look(visit)?)
    }
}

impl std::fmt::Debug for Onlooker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Onlooker({}, {})", self.path.display(), self.token.label)
    }
}

/// One attribute; `None` where the token does not show it.
fn one<T>(
    session: &Session,
    handle: ObjectHandle,
    which: AttributeType,
    of: impl Fn(Attribute) -> Option<T>,
) -> Option<T> {
    session.get_attributes(handle, &[which]).ok()?.into_iter().find_map(of)
}

/// The public half, where the token has it beside the private one.
fn public_of(session: &Session, handle: ObjectHandle, kind: Option<KeyType>, id: &[u8]) -> Option<spki::Public> {
    let said = one(session, handle, AttributeType::PublicKeyInfo, |attribute| match attribute {
        Attribute::PublicKeyInfo(der) if !der.is_empty() => Some(der),
        _ => None,
    });
    let template = [Attribute::Token(true), Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(id.to_vec())];
    let found = session.find_objects(&template).ok().filter(|found| found.len() == 1);
    let public = found.and_then(|found| found.first().copied());
    let parts = public.map(|public| {
        let wanted =
            [AttributeType::Modulus, AttributeType::PublicExponent, AttributeType::EcParams, AttributeType::EcPoint];
        wanted.into_iter().filter_map(|one| session.get_attributes(public, &[one]).ok()).flatten().collect::<Vec<_>>()
    });
    spki::public(kind?, said, &parts.unwrap_or_default())
}

/// What it computes, in a word: as the policies have it where they do, else the family and its size.
fn algorithm(session: &Session, handle: ObjectHandle, kind: Option<KeyType>, public: Option<&spki::Public>) -> String {
    let bytes = one(session, handle, AttributeType::ValueLen, |attribute| match attribute {
        Attribute::ValueLen(bytes) => Some(u64::from(bytes)),
        _ => None,
    });
    let bits = one(session, handle, AttributeType::Modulus, |attribute| match attribute {
        Attribute::Modulus(modulus) => Some(8 * modulus.iter().skip_while(|byte| **byte == 0).count()),
        _ => None,
    });
    match (kind, bytes, bits) {
        (Some(KeyType::AES), Some(32), _) => Algorithm::Aes256Gcm.name().to_owned(),
        (Some(KeyType::AES), Some(bytes), _) => format!("aes-{}", 8 * bytes),
        (Some(KeyType::RSA), _, Some(bits)) => format!("rsa-{bits}"),
        (Some(KeyType::EC | KeyType::EC_EDWARDS), ..) => {
            public.map_or("ec".to_owned(), |public| public.algorithm.to_owned())
        }
        (Some(kind), ..) => kind.to_string().trim_start_matches("CKK_").to_lowercase().replace('_', "-"),
        (None, ..) => "unknown".to_owned(),
    }
}

/// `CKA_CHECK_VALUE`, where the token shows one: three bytes.
fn check_value(session: &Session, handle: ObjectHandle) -> KeyIdentity {
    let value = one(session, handle, AttributeType::CheckValue, |attribute| match attribute {
        Attribute::CheckValue(value) if value.len() == 3 => Some(value),
        _ => None,
    });
    value.map_or(KeyIdentity::Unknown, |value| KeyIdentity::CheckValue(Base64(value)))
}
