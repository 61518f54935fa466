//! Making a store, and opening its seal key.

use std::path::Path;

use cryptoki::mechanism::{Mechanism, MechanismType};
use keystore::seal;
use model::Name;
use model::text::Base64;
use rand_core::{OsRng, RngCore as _};
use zeroize::Zeroizing;

use crate::index::{Index, Meta, PlacedMeta, TokenMeta};
use crate::lock::{self, Mode};
use crate::object::{self, ObjectId};
use crate::store::gcm;
use crate::token::Token;
use crate::{Config, Error, TokenConfig};

/// Additional data of the seal key, as it is kept.
const SEAL_KEY: &[u8] = b"keylatch seal key v1";
const NONCE_BYTES: usize = 12;

/// What the store needs of its tokens.
const MECHANISMS_BOTH: [MechanismType; 1] = [MechanismType::AES_KEY_WRAP_PAD];
const MECHANISMS_PRE_ACTIVE: [MechanismType; 2] = [MechanismType::AES_KEY_GEN, MechanismType::ECC_KEY_PAIR_GEN];
const MECHANISMS_ACTIVE: [MechanismType; 5] = [
    MechanismType::AES_GCM,
    MechanismType::AES_ECB,
    MechanismType::AES_CBC_ENCRYPT_DATA,
    MechanismType::SHA256_HMAC,
    MechanismType::ECDSA,
];

/// Makes the keys of the store's own, and the index last: without it there is no store. `active_officer_pin` where there is
/// an application's token.
pub(crate) fn create(
    folder: &Path,
    config: &Config,
    officer_pin: &str,
    active_officer_pin: Option<&str>,
) -> Result<(), Error> {
    let labels = [Some(&config.pre_active), Some(&config.active), config.placed.as_ref()];
    let mut labels = labels.into_iter().flatten().map(|token| &token.label);
    while let Some(label) = labels.next() {
        if labels.clone().any(|other| other == label) {
            return Err(Error::SameToken(label.clone()));
        }
    }
    let placed = match (&config.placed, active_officer_pin) {
        (Some(placed), Some(pin)) => Some((placed, pin)),
        (None, None) => None,
        _ => return Err(Error::Placed { what: "an application's token and an officer's PIN for it go together" }),
    };
    lock::create_folder(folder)?;
    let mut id = [0; 8];
    OsRng.try_fill_bytes(&mut id).map_err(Error::Random)?;
    let id = data_encoding::HEXLOWER.encode(&id);
    let label_of = |what: &str| label(&id, what);
    let (transport_out, transport_in) =
        create_transport(config, (&config.pre_active, officer_pin), &config.active, &label_of("transport"))?;
    let onward = placed
        .map(|(placed, pin)| create_transport(config, (&config.active, pin), placed, &label_of("transport onward")))
        .transpose()?;

    let (pre_active, active) =
        (Token::new(config, &config.pre_active, None)?, Token::new(config, &config.active, None)?);
    check(&pre_active, &MECHANISMS_PRE_ACTIVE)?;
    check(&active, &MECHANISMS_ACTIVE)?;
    let sealing = ObjectId::random()?;
    let sealed = create_seal_key(&active, sealing, &label(&id, "seal key"))?;
    let placed = match (placed, onward) {
        (Some((placed, _)), Some((transport_out, transport_in))) => {
            let token = Token::new(config, placed, None)?;
            check(&token, &[])?;
            Some(PlacedMeta { token: describe(&token, "placed")?, transport_out, transport_in })
        }
        _ => None,
    };
    let meta = Meta {
        format: 1,
        id,
        pre_active: describe(&pre_active, "pre-active")?,
        active: describe(&active, "active")?,
        transport_out,
        transport_in,
        sealing,
        sealed,
        placed,
    };
    Index::create(folder, &meta)
}

/// Puts a transport key on two tokens. First on the one where somebody else has to be logged in.
fn create_transport(
    config: &Config,
    (from, officer_pin): (&TokenConfig, &str),
    to: &TokenConfig,
    label: &str,
) -> Result<(ObjectId, ObjectId), Error> {
    let (out, into) = (ObjectId::random()?, ObjectId::random()?);
    let mut value = Zeroizing::new([0; 32]);
    OsRng.try_fill_bytes(value.as_mut()).map_err(Error::Random)?;
    let template = object::transport_out(out, label, value.as_ref());
    Token::new(config, from, None)?.as_officer(officer_pin, |session| session.create_object(&template).map(drop))?;
    let template = object::transport_in(into, label, value.as_ref());
    Token::new(config, to, None)?.work(Mode::Alone, |work| {
        work.session.create_object(&template).map(drop).map_err(work.failed("making the transport key"))
    })?;
    Ok((out, into))
}

fn label(store: &str, what: &str) -> String {
    format!("keylatch {store} {what}")
}

fn check(token: &Token, wanted: &[MechanismType]) -> Result<(), Error> {
    if token.has(&MECHANISMS_BOTH)? && token.has(wanted)? {
        return Ok(());
    }
    let what = "lacks a mechanism that the store needs (see docs/pkcs11-store.md)";
    Err(Error::Unfit { label: token.label().to_owned(), what })
}

fn describe(token: &Token, inventory: &str) -> Result<TokenMeta, Error> {
    let (info, _) = token.info()?;
    let serial = info.serial_number().to_owned();
    // What a serial number may have that a name may not.
    let tame: String = serial.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name: Name = format!("{inventory}-{tame}").parse().map_err(|_| Error::Unfit {
        label: token.label().to_owned(),
        what: "has a serial number that no name can be made of",
    })?;
    Ok(TokenMeta { label: token.label().to_owned(), serial, name })
}

// === The seal key ===

/// Generates the seal key and gives it as it is kept: encrypted under a key of the active token.
fn create_seal_key(active: &Token, sealing: ObjectId, label: &str) -> Result<Base64, Error> {
    let secret = seal::SecretKey::generate(&mut OsRng);
    let mut nonce = [0; NONCE_BYTES];
    OsRng.try_fill_bytes(&mut nonce).map_err(Error::Random)?;
    let bytes = secret.to_bytes();
    active.work(Mode::Alone, |work| {
        let made = work.session.generate_key(&Mechanism::AesKeyGen, &object::sealing(sealing, label));
        work.remember(sealing, made.map_err(work.failed("making the key of the seal key"))?);
        work.on(sealing, "encrypting the seal key", |key| {
            let mut used = nonce;
            let sealed = work.session.encrypt(&gcm(&mut used, SEAL_KEY)?, key, bytes.as_ref())?;
            Ok(Base64([&nonce[..], &sealed].concat()))
        })
    })
}

/// The seal key.
pub(crate) fn unseal(active: &Token, index: &Index) -> Result<seal::SecretKey, Error> {
    let damaged = || Error::damaged(index.path(), "the seal key does not read");
    let (nonce, sealed) = index.meta.sealed.0.split_first_chunk::<NONCE_BYTES>().ok_or_else(damaged)?;
    let bytes = active.work(Mode::Shared, |work| {
        work.on(index.meta.sealing, "decrypting the seal key", |key| {
            let mut nonce = *nonce;
            work.session.decrypt(&gcm(&mut nonce, SEAL_KEY)?, key, sealed).map(Zeroizing::new)
        })
    })?;
    let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map(Zeroizing::new).map_err(|_| damaged())?;
    seal::SecretKey::from_bytes(&bytes).ok_or_else(damaged)
}
