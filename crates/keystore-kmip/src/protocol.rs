//! The part of KMIP 1.4 that this store speaks: requests made, answers read. No IO.

use std::collections::BTreeMap;
use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use model::Name;
use zeroize::Zeroizing;

use crate::Error;
use crate::ttlv::{Item, Tag, Value};

/// The longest answer that is taken: 40,000 identifiers, or anything else by far.
pub(crate) const ANSWER_BYTES_MAX: usize = 1 << 20;

/// KMIP 1.4, section 9.1.3.1.
pub(crate) mod tag {
    use super::Tag;

    pub(crate) const ATTRIBUTE: Tag = Tag(0x42_0008);
    pub(crate) const ATTRIBUTE_NAME: Tag = Tag(0x42_000a);
    pub(crate) const ATTRIBUTE_VALUE: Tag = Tag(0x42_000b);
    pub(crate) const AUTHENTICATION: Tag = Tag(0x42_000c);
    pub(crate) const BATCH_COUNT: Tag = Tag(0x42_000d);
    pub(crate) const BATCH_ITEM: Tag = Tag(0x42_000f);
    pub(crate) const BLOCK_CIPHER_MODE: Tag = Tag(0x42_0011);
    pub(crate) const COMMON_TEMPLATE_ATTRIBUTE: Tag = Tag(0x42_001f);
    pub(crate) const CREDENTIAL: Tag = Tag(0x42_0023);
    pub(crate) const CREDENTIAL_TYPE: Tag = Tag(0x42_0024);
    pub(crate) const CREDENTIAL_VALUE: Tag = Tag(0x42_0025);
    pub(crate) const CRYPTOGRAPHIC_ALGORITHM: Tag = Tag(0x42_0028);
    pub(crate) const CRYPTOGRAPHIC_LENGTH: Tag = Tag(0x42_002a);
    pub(crate) const CRYPTOGRAPHIC_PARAMETERS: Tag = Tag(0x42_002b);
    pub(crate) const DERIVATION_DATA: Tag = Tag(0x42_0030);
    pub(crate) const DERIVATION_METHOD: Tag = Tag(0x42_0031);
    pub(crate) const DERIVATION_PARAMETERS: Tag = Tag(0x42_0032);
    pub(crate) const HASHING_ALGORITHM: Tag = Tag(0x42_0038);
    pub(crate) const IV_COUNTER_NONCE: Tag = Tag(0x42_003d);
    pub(crate) const INITIALIZATION_VECTOR: Tag = Tag(0x42_003a);
    pub(crate) const KEY_BLOCK: Tag = Tag(0x42_0040);
    pub(crate) const KEY_FORMAT_TYPE: Tag = Tag(0x42_0042);
    pub(crate) const KEY_MATERIAL: Tag = Tag(0x42_0043);
    pub(crate) const KEY_VALUE: Tag = Tag(0x42_0045);
    pub(crate) const MAXIMUM_ITEMS: Tag = Tag(0x42_004f);
    pub(crate) const MAXIMUM_RESPONSE_SIZE: Tag = Tag(0x42_0050);
    pub(crate) const NAME_TYPE: Tag = Tag(0x42_0054);
    pub(crate) const NAME_VALUE: Tag = Tag(0x42_0055);
    pub(crate) const OBJECT_TYPE: Tag = Tag(0x42_0057);
    pub(crate) const OFFSET_ITEMS: Tag = Tag(0x42_00d4);
    pub(crate) const OPERATION: Tag = Tag(0x42_005c);
    pub(crate) const PADDING_METHOD: Tag = Tag(0x42_005f);
    pub(crate) const PASSWORD: Tag = Tag(0x42_00a1);
    pub(crate) const PRIVATE_KEY: Tag = Tag(0x42_0064);
    pub(crate) const PRIVATE_KEY_TEMPLATE_ATTRIBUTE: Tag = Tag(0x42_0065);
    pub(crate) const PRIVATE_KEY_UNIQUE_IDENTIFIER: Tag = Tag(0x42_0066);
    pub(crate) const PROTOCOL_VERSION: Tag = Tag(0x42_0069);
    pub(crate) const PROTOCOL_VERSION_MAJOR: Tag = Tag(0x42_006a);
    pub(crate) const PROTOCOL_VERSION_MINOR: Tag = Tag(0x42_006b);
    pub(crate) const PUBLIC_KEY_TEMPLATE_ATTRIBUTE: Tag = Tag(0x42_006e);
    pub(crate) const PUBLIC_KEY_UNIQUE_IDENTIFIER: Tag = Tag(0x42_006f);
    pub(crate) const QUERY_FUNCTION: Tag = Tag(0x42_0074);
    pub(crate) const REQUEST_HEADER: Tag = Tag(0x42_0077);
    pub(crate) const REQUEST_MESSAGE: Tag = Tag(0x42_0078);
    pub(crate) const REQUEST_PAYLOAD: Tag = Tag(0x42_0079);
    pub(crate) const RESPONSE_MESSAGE: Tag = Tag(0x42_007b);
    pub(crate) const RESPONSE_PAYLOAD: Tag = Tag(0x42_007c);
    pub(crate) const RESULT_MESSAGE: Tag = Tag(0x42_007d);
    pub(crate) const RESULT_REASON: Tag = Tag(0x42_007e);
    pub(crate) const RESULT_STATUS: Tag = Tag(0x42_007f);
    pub(crate) const REVOCATION_REASON: Tag = Tag(0x42_0081);
    pub(crate) const REVOCATION_REASON_CODE: Tag = Tag(0x42_0082);
    pub(crate) const SYMMETRIC_KEY: Tag = Tag(0x42_008f);
    pub(crate) const TEMPLATE_ATTRIBUTE: Tag = Tag(0x42_0091);
    pub(crate) const UNIQUE_IDENTIFIER: Tag = Tag(0x42_0094);
    pub(crate) const USERNAME: Tag = Tag(0x42_0099);
    pub(crate) const VENDOR_IDENTIFICATION: Tag = Tag(0x42_009d);
    pub(crate) const DATA: Tag = Tag(0x42_00c2);
    pub(crate) const TAG_LENGTH: Tag = Tag(0x42_00ce);
    pub(crate) const AUTHENTICATED_ENCRYPTION_ADDITIONAL_DATA: Tag = Tag(0x42_00fe);
    pub(crate) const AUTHENTICATED_ENCRYPTION_TAG: Tag = Tag(0x42_00ff);
}

const SYMMETRIC_KEY: u32 = 2;
const PRIVATE_KEY: u32 = 4;
const AES: u32 = 3;
const RSA: u32 = 4;
const SHA_256: u32 = 6;
const KEY_FORMAT_RAW: u32 = 1;
const KEY_FORMAT_PKCS8: u32 = 4;
const PKCS5_PADDING: u32 = 3;
const PSS_PADDING: u32 = 10;
const NAME_UNINTERPRETED: u32 = 1;
const DERIVE_BY_HMAC: u32 = 3;
const DERIVE_BY_ENCRYPTION: u32 = 4;

/// Bits of the Cryptographic Usage Mask (KMIP 1.4, section 9.1.3.3.1).
pub(crate) const MAY_ENCRYPT: i32 = 0x4;
/// See [`MAY_ENCRYPT`].
pub(crate) const MAY_SIGN: i32 = 0x1;
/// See [`MAY_ENCRYPT`].
const MAY_VERIFY: i32 = 0x2;
/// See [`MAY_ENCRYPT`].
pub(crate) const MAY_DECRYPT: i32 = 0x8;
/// See [`MAY_ENCRYPT`].
pub(crate) const MAY_DERIVE: i32 = 0x200;

/// The operations (KMIP 1.4, section 9.1.3.2.27).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Make a secret key.
    Create = 0x01,
    /// Make a key pair.
    CreateKeyPair = 0x02,
    /// Take a key from outside.
    Register = 0x03,
    /// Make a key from another.
    DeriveKey = 0x05,
    /// List objects.
    Locate = 0x08,
    /// Hand out an object with its key.
    Get = 0x0a,
    /// Say what an object is.
    GetAttributes = 0x0b,
    /// Add to that.
    AddAttribute = 0x0d,
    /// Change that.
    ModifyAttribute = 0x0e,
    /// Make a key usable.
    Activate = 0x12,
    /// End its use.
    Revoke = 0x13,
    /// Remove its material.
    Destroy = 0x14,
    /// Say what server it is.
    Query = 0x18,
    /// Encrypt with a key.
    Encrypt = 0x1f,
    /// Decrypt with a key.
    Decrypt = 0x20,
    /// Sign with a private key.
    Sign = 0x21,
}

impl Operation {
    fn code(self) -> u32 {
        self as u32
    }

    /// Whether asking twice makes two.
    pub(crate) fn makes_objects(self) -> bool {
        matches!(self, Self::Create | Self::CreateKeyPair | Self::Register | Self::DeriveKey)
    }

    /// Whether asking twice is as good as once, whatever became of the first.
    pub(crate) fn is_repeatable(self) -> bool {
        matches!(self, Self::Locate | Self::Get | Self::GetAttributes | Self::Query | Self::Encrypt | Self::Decrypt)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a server says of an object's state (KMIP 1.4, section 3.22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// Not to be used for any cryptographic purpose.
    PreActive,
    /// Usable.
    Active,
    /// Not to be used to protect anything new.
    Deactivated,
    /// Known or suspected by others.
    Compromised,
    /// Its material is gone.
    Destroyed,
    /// Its material is gone, and it was compromised.
    DestroyedCompromised,
}

impl ServerState {
    fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            1 => Self::PreActive,
            2 => Self::Active,
            3 => Self::Deactivated,
            4 => Self::Compromised,
            5 => Self::Destroyed,
            6 => Self::DestroyedCompromised,
            _ => return None,
        })
    }

    /// Whether nothing is left of the key but its record.
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Destroyed | Self::DestroyedCompromised)
    }
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::PreActive => "pre-active",
            Self::Active => "active",
            Self::Deactivated => "deactivated",
            Self::Compromised => "compromised",
            Self::Destroyed => "destroyed",
            Self::DestroyedCompromised => "destroyed-compromised",
        })
    }
}

/// Why a server refused (KMIP 1.4, section 9.1.3.2.29), as far as this store tells reasons apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no such object.
    ItemNotFound,
    /// It can't read the request.
    InvalidMessage,
    /// It does not do this operation.
    OperationNotSupported,
    /// A cryptographic operation failed, such as a tag that does not fit.
    CryptographicFailure,
    /// Whatever it has no reason for.
    GeneralFailure,
    /// Another reason, by its code; 0 where none was given.
    Other(u32),
}

impl Reason {
    fn from_code(code: u32) -> Self {
        match code {
            0x01 => Self::ItemNotFound,
            0x04 => Self::InvalidMessage,
            0x05 => Self::OperationNotSupported,
            0x0a => Self::CryptographicFailure,
            0x100 => Self::GeneralFailure,
            code => Self::Other(code),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ItemNotFound => f.write_str("item not found"),
            Self::InvalidMessage => f.write_str("invalid message"),
            Self::OperationNotSupported => f.write_str("operation not supported"),
            Self::CryptographicFailure => f.write_str("cryptographic failure"),
            Self::GeneralFailure => f.write_str("general failure"),
            Self::Other(0x03) => f.write_str("authentication not successful"),
            Self::Other(0x0c) => f.write_str("permission denied"),
            Self::Other(code) => write!(f, "reason 0x{code:02x}"),
        }
    }
}

// === Messages ===

/// User name and password, sent with every request, where the server wants them besides the certificate.
pub(crate) struct Credential<'a> {
    pub(crate) username: &'a str,
    pub(crate) password: &'a str,
}

/// One request: KMIP 1.4, one batch item.
pub(crate) fn request(operation: Operation, payload: Vec<Item>, credential: Option<&Credential<'_>>) -> Item {
    let version = tag::PROTOCOL_VERSION
        .structure([tag::PROTOCOL_VERSION_MAJOR.integer(1), tag::PROTOCOL_VERSION_MINOR.integer(4)]);
    let size = i32::try_from(ANSWER_BYTES_MAX).unwrap_or(i32::MAX);
    let authentication = credential.map(|Credential { username, password }| {
        let value = tag::CREDENTIAL_VALUE.structure([tag::USERNAME.text(username), tag::PASSWORD.text(password)]);
        tag::AUTHENTICATION.structure([tag::CREDENTIAL.structure([tag::CREDENTIAL_TYPE.enumeration(1), value])])
    });
    let mut header = vec![version, tag::MAXIMUM_RESPONSE_SIZE.integer(size)];
    header.extend(authentication);
    header.push(tag::BATCH_COUNT.integer(1));
    let item = [tag::OPERATION.enumeration(operation.code()), tag::REQUEST_PAYLOAD.structure(payload)];
    tag::REQUEST_MESSAGE.structure([tag::REQUEST_HEADER.structure(header), tag::BATCH_ITEM.structure(item)])
}

/// What an answer gives: the payload of its one batch item.
///
/// # Errors
/// [`Error::Refused`] where the server says no; [`Error::Garbage`] where it is no answer to this operation.
pub(crate) fn answer(operation: Operation, message: Item) -> Result<Item, Error> {
    const SUCCESS: u32 = 0;
    let garbage = |what| Error::Garbage { operation, what };
    if message.tag != tag::RESPONSE_MESSAGE {
        return Err(garbage("not a response message"));
    }
    let mut items = message.all(tag::BATCH_ITEM);
    let (Some(item), None) = (items.next(), items.next()) else {
        return Err(garbage("not one batch item"));
    };
    let number = |tag| item.get(tag).and_then(Item::as_enumeration);
    let status = number(tag::RESULT_STATUS).ok_or_else(|| garbage("no result status"))?;
    if status != SUCCESS {
        let said = item.get(tag::RESULT_MESSAGE).and_then(Item::as_text).map(printable).unwrap_or_default();
        let reason = Reason::from_code(number(tag::RESULT_REASON).unwrap_or_default());
        return Err(Error::Refused { operation, reason, said });
    }
    if number(tag::OPERATION).is_some_and(|answered| answered != operation.code()) {
        return Err(garbage("an answer to another operation"));
    }
    Ok(item.get(tag::RESPONSE_PAYLOAD).cloned().unwrap_or_else(|| tag::RESPONSE_PAYLOAD.structure([])))
}

/// What a server said, fit to be shown: short, and without control characters.
fn printable(said: &str) -> String {
    said.chars().filter(|character| !character.is_control()).take(200).collect()
}

// === Payloads ===

pub(crate) fn identifier(id: &str) -> Item {
    tag::UNIQUE_IDENTIFIER.text(id)
}

/// An attribute as KMIP 1.x has them: by name.
pub(crate) fn attribute(name: &str, value: Value) -> Item {
    tag::ATTRIBUTE.structure([tag::ATTRIBUTE_NAME.text(name), tag::ATTRIBUTE_VALUE.of(value)])
}

fn name_attribute(name: &str) -> Item {
    let value = [tag::NAME_VALUE.text(name), tag::NAME_TYPE.enumeration(NAME_UNINTERPRETED)];
    attribute("Name", Value::Structure(value.into()))
}

pub(crate) fn policy_attribute(policy: &Name) -> Item {
    attribute("Operation Policy Name", Value::Text(Zeroizing::new(policy.to_string())))
}

pub(crate) fn date_attribute(name: &str, seconds: i64) -> Item {
    attribute(name, Value::DateTime(seconds))
}

fn key_attributes(name: &str, mask: i32) -> Vec<Item> {
    vec![
        attribute("Cryptographic Algorithm", Value::Enumeration(AES)),
        attribute("Cryptographic Length", Value::Integer(256)),
        attribute("Cryptographic Usage Mask", Value::Integer(mask)),
        name_attribute(name),
    ]
}

/// Create an AES-256 key of this name that may, once active, do what the mask says. No date is among the attributes, so
/// it is born pre-active; `more` adds what else there is.
pub(crate) fn create(name: &str, mask: i32, more: Vec<Item>) -> Vec<Item> {
    let attributes = key_attributes(name, mask).into_iter().chain(more);
    vec![tag::OBJECT_TYPE.enumeration(SYMMETRIC_KEY), tag::TEMPLATE_ATTRIBUTE.structure(attributes)]
}

/// Register an AES-256 key.
pub(crate) fn register(name: &str, mask: i32, key: &[u8; 32], more: Vec<Item>) -> Vec<Item> {
    let block = tag::KEY_BLOCK.structure([
        tag::KEY_FORMAT_TYPE.enumeration(KEY_FORMAT_RAW),
        tag::KEY_VALUE.structure([tag::KEY_MATERIAL.bytes(key)]),
        tag::CRYPTOGRAPHIC_ALGORITHM.enumeration(AES),
        tag::CRYPTOGRAPHIC_LENGTH.integer(256),
    ]);
    let mut payload = create(name, mask, more);
    payload.push(tag::SYMMETRIC_KEY.structure([block]));
    payload
}

const RSA_BITS: i32 = 3072;

fn rsa_attributes() -> [Item; 2] {
    [
        attribute("Cryptographic Algorithm", Value::Enumeration(RSA)),
        attribute("Cryptographic Length", Value::Integer(RSA_BITS)),
    ]
}

/// Of one half of a pair.
fn half_attributes(name: &str, mask: i32) -> [Item; 2] {
    [attribute("Cryptographic Usage Mask", Value::Integer(mask)), name_attribute(name)]
}

/// Create an RSA pair of 3,072 bits, of which `mask` and `more` are the private half's.
pub(crate) fn create_pair(name: &str, mask: i32, more: Vec<Item>) -> Vec<Item> {
    vec![
        tag::COMMON_TEMPLATE_ATTRIBUTE.structure(rsa_attributes()),
        tag::PRIVATE_KEY_TEMPLATE_ATTRIBUTE.structure(half_attributes(name, mask).into_iter().chain(more)),
        tag::PUBLIC_KEY_TEMPLATE_ATTRIBUTE.structure(half_attributes(&format!("{name}-public"), MAY_VERIFY)),
    ]
}

/// Register an RSA private key of 3,072 bits, in PKCS #8.
pub(crate) fn register_private(name: &str, mask: i32, pkcs8: &[u8], more: Vec<Item>) -> Vec<Item> {
    let block = tag::KEY_BLOCK.structure([
        tag::KEY_FORMAT_TYPE.enumeration(KEY_FORMAT_PKCS8),
        tag::KEY_VALUE.structure([tag::KEY_MATERIAL.bytes(pkcs8)]),
        tag::CRYPTOGRAPHIC_ALGORITHM.enumeration(RSA),
        tag::CRYPTOGRAPHIC_LENGTH.integer(RSA_BITS),
    ]);
    let attributes = rsa_attributes().into_iter().chain(half_attributes(name, mask)).chain(more);
    vec![
        tag::OBJECT_TYPE.enumeration(PRIVATE_KEY),
        tag::TEMPLATE_ATTRIBUTE.structure(attributes),
        tag::PRIVATE_KEY.structure([block]),
    ]
}

/// Sign a message, with RSASSA-PSS on SHA-256.
pub(crate) fn sign(id: &str, message: &[u8]) -> Vec<Item> {
    let scheme = tag::CRYPTOGRAPHIC_PARAMETERS.structure([
        tag::PADDING_METHOD.enumeration(PSS_PADDING),
        tag::HASHING_ALGORITHM.enumeration(SHA_256),
        tag::CRYPTOGRAPHIC_ALGORITHM.enumeration(RSA),
    ]);
    vec![identifier(id), scheme, tag::DATA.bytes(message)]
}

/// Derive a key by HMAC from another one, of whatever kind.
pub(crate) fn derive_by_hmac(id: &str, name: &str, data: &[u8]) -> Vec<Item> {
    let hash = tag::CRYPTOGRAPHIC_PARAMETERS.structure([tag::HASHING_ALGORITHM.enumeration(SHA_256)]);
    derive(id, name, DERIVE_BY_HMAC, [hash, tag::DERIVATION_DATA.bytes(data)])
}

/// Derive a key by encrypting data under this one: a use by another name.
pub(crate) fn derive_by_encryption(id: &str, name: &str, data: &[u8], nonce: &[u8; 16]) -> Vec<Item> {
    let cipher = tag::CRYPTOGRAPHIC_PARAMETERS.structure([
        tag::BLOCK_CIPHER_MODE.enumeration(1),
        tag::PADDING_METHOD.enumeration(PKCS5_PADDING),
        tag::CRYPTOGRAPHIC_ALGORITHM.enumeration(AES),
    ]);
    // The nonce before the data: the order of KMIP 1.4, table 162.
    let parameters = [cipher, tag::INITIALIZATION_VECTOR.bytes(nonce), tag::DERIVATION_DATA.bytes(data)];
    derive(id, name, DERIVE_BY_ENCRYPTION, parameters)
}

fn derive<const N: usize>(id: &str, name: &str, method: u32, parameters: [Item; N]) -> Vec<Item> {
    vec![
        tag::OBJECT_TYPE.enumeration(SYMMETRIC_KEY),
        identifier(id),
        tag::DERIVATION_METHOD.enumeration(method),
        tag::DERIVATION_PARAMETERS.structure(parameters),
        tag::TEMPLATE_ATTRIBUTE.structure(key_attributes(name, MAY_ENCRYPT)),
    ]
}

/// Locate, a page at a time, what this client may see.
pub(crate) fn locate(offset: u32, at_most: u32) -> Vec<Item> {
    let integer = |tag: Tag, value| tag.integer(i32::try_from(value).unwrap_or(i32::MAX));
    vec![integer(tag::MAXIMUM_ITEMS, at_most), integer(tag::OFFSET_ITEMS, offset)]
}

/// Why a key is revoked (KMIP 1.4, section 9.1.3.2.19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revocation {
    KeyCompromise = 2,
    CessationOfOperation = 6,
}

pub(crate) fn revoke(id: &str, why: Revocation) -> Vec<Item> {
    let reason = tag::REVOCATION_REASON.structure([tag::REVOCATION_REASON_CODE.enumeration(why as u32)]);
    vec![identifier(id), reason]
}

/// AES-GCM with a tag of 16 bytes.
fn gcm() -> Item {
    tag::CRYPTOGRAPHIC_PARAMETERS.structure([
        tag::BLOCK_CIPHER_MODE.enumeration(9),
        tag::CRYPTOGRAPHIC_ALGORITHM.enumeration(AES),
        tag::TAG_LENGTH.integer(16),
    ])
}

pub(crate) fn encrypt(id: &str, nonce: &[u8; 12], aad: &[u8], plaintext: &[u8]) -> Vec<Item> {
    vec![
        identifier(id),
        gcm(),
        tag::DATA.bytes(plaintext),
        tag::IV_COUNTER_NONCE.bytes(nonce),
        tag::AUTHENTICATED_ENCRYPTION_ADDITIONAL_DATA.bytes(aad),
    ]
}

pub(crate) fn decrypt(id: &str, nonce: &[u8; 12], aad: &[u8], ciphertext: &[u8], gcm_tag: &[u8; 16]) -> Vec<Item> {
    let mut payload = encrypt(id, nonce, aad, ciphertext);
    payload.push(tag::AUTHENTICATED_ENCRYPTION_TAG.bytes(gcm_tag));
    payload
}

/// Which server it is, and what it does.
pub(crate) fn query() -> Vec<Item> {
    const SERVER_INFORMATION: u32 = 3;
    vec![tag::QUERY_FUNCTION.enumeration(SERVER_INFORMATION)]
}

// === Answers ===

/// What a server says of an object, in a form that compares and prints: enumerations and dates as numbers, bytes in
/// base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    all: Vec<(String, String)>,
    state: Option<u32>,
}

impl Attributes {
    pub(crate) fn read(payload: &Item) -> Self {
        let mut found = Self::default();
        for item in payload.all(tag::ATTRIBUTE) {
            let (Some(name), Some(value)) = (item.get(tag::ATTRIBUTE_NAME), item.get(tag::ATTRIBUTE_VALUE)) else {
                continue;
            };
            let name = printable(name.as_text().unwrap_or_default());
            if name == "State" {
                found.state = value.as_enumeration();
            }
            found.all.push((name, show(value)));
        }
        found
    }

    /// In the server's order, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The first of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The names given to the object.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|(name, _)| *name == "Name").map(|(_, value)| value)
    }

    /// The state; `None` where the server gives none, or one that KMIP does not have.
    pub fn state(&self) -> Option<ServerState> {
        self.state.and_then(ServerState::from_code)
    }

    /// What should stay as it is until this store changes the key: everything but the state, which is judged by itself,
    /// and what changes by use or by the passing of time. Dates are among them.
    pub(crate) fn lasting(&self) -> BTreeMap<String, Vec<String>> {
        const PASSING: [&str; 5] = ["State", "Last Change Date", "Lease Time", "Fresh", "Usage Limits"];
        let mut lasting = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in self.iter().filter(|(name, _)| !PASSING.contains(name)) {
            lasting.entry(name.to_owned()).or_default().push(value.to_owned());
        }
        lasting.values_mut().for_each(|values| values.sort());
        lasting
    }
}

fn show(item: &Item) -> String {
    match &item.value {
        Value::Structure(items) => match item.get(tag::NAME_VALUE) {
            Some(name) => show(name),
            None => items.iter().map(show).collect::<Vec<_>>().join(" "),
        },
        Value::Integer(value) => value.to_string(),
        Value::LongInteger(value) | Value::DateTime(value) => value.to_string(),
        Value::Enumeration(value) | Value::Interval(value) => value.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Text(text) => printable(text),
        // Attributes hold digests, never keys.
        Value::Bytes(bytes) | Value::BigInteger(bytes) => BASE64_STANDARD.encode(bytes.as_slice()),
    }
}

/// The identifier in an answer.
pub(crate) fn identifier_of(operation: Operation, payload: &Item) -> Result<String, Error> {
    let id = payload.get(tag::UNIQUE_IDENTIFIER).and_then(Item::as_text);
    id.map(str::to_owned).ok_or(Error::Garbage { operation, what: "no unique identifier" })
}

/// The identifiers of a pair in an answer: of the private half, and of the public one.
pub(crate) fn identifiers_of_pair(payload: &Item) -> Option<[String; 2]> {
    let of = |tag| payload.get(tag).and_then(Item::as_text).map(str::to_owned);
    Some([of(tag::PRIVATE_KEY_UNIQUE_IDENTIFIER)?, of(tag::PUBLIC_KEY_UNIQUE_IDENTIFIER)?])
}

/// The bytes of an AES-256 key in the answer to Get.
pub(crate) fn key_of(payload: &Item) -> Option<Zeroizing<[u8; 32]>> {
    let key = payload.at(&key_material(tag::SYMMETRIC_KEY))?.as_bytes()?;
    <[u8; 32]>::try_from(key).ok().map(Zeroizing::new)
}

/// The bytes of a private key, in the server's form.
pub(crate) fn private_key_of(payload: &Item) -> Option<Zeroizing<Vec<u8>>> {
    payload.at(&key_material(tag::PRIVATE_KEY))?.as_bytes().map(|key| Zeroizing::new(key.to_vec()))
}

fn key_material(of: Tag) -> [Tag; 4] {
    [of, tag::KEY_BLOCK, tag::KEY_VALUE, tag::KEY_MATERIAL]
}
