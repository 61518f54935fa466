//! SSHSIG: the signatures of people, workloads and the root, as OpenSSH makes and checks them
//! (OpenSSH `PROTOCOL.sshsig`, `PROTOCOL.u2f`).
//!
//! Read and verified here and not by `ssh-key`, which verifies Ed25519 non-strictly and drops the flags of FIDO keys.

use model::people::{KeyType, PublicKey};
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use sha2::{Digest as _, Sha256, Sha512};
use ssh_encoding::{Decode, Encode as _, Reader as _};

const MAGIC: &[u8; 6] = b"SSHSIG";
const HASH: &str = "sha512";
const WEBAUTHN: &str = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com";

/// The largest signature that is read, in bytes. The longest kind carries a browser's client data.
pub const BYTES_MAX: usize = 4096;

/// Who signed, and how surely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The key.
    pub key: PublicKey,
    /// A hardware token's flags; `None` for a plain key.
    pub token: Option<TokenFlags>,
}

/// What a FIDO token says of the moment of signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenFlags {
    /// A PIN or biometric was checked. (That somebody touched it is required.)
    pub user_verified: bool,
}

/// Why a signature is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not an SSHSIG, or of a kind that is not taken here.
    #[error("not a readable SSHSIG of a supported kind")]
    Unreadable,
    /// Made for something else.
    #[error("the signature is for namespace `{0}`")]
    Namespace(String),
    /// Made with another hash than SHA-512.
    #[error("the signature hashes with `{0}`, not sha512")]
    Hash(String),
    /// A token signed without anybody touching it.
    #[error("nobody touched the hardware token")]
    NoUserPresence,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Invalid,
}

impl From<ssh_encoding::Error> for Error {
    fn from(_: ssh_encoding::Error) -> Self {
        Self::Unreadable
    }
}

/// Checks a binary SSHSIG over `message`: namespace, hash, key, signature, and for a token that it was touched.
pub fn verify(signature: &[u8], namespace: &str, message: &[u8]) -> Result<Signed, Error> {
    if signature.len() > BYTES_MAX {
        return Err(Error::Unreadable);
    }
    let sshsig = Sshsig::read(signature)?;
    if sshsig.namespace != namespace {
        return Err(Error::Namespace(sshsig.namespace));
    }
    if sshsig.hash != HASH {
        return Err(Error::Hash(sshsig.hash));
    }
    let key = PublicKey::from_blob(&sshsig.public_key).ok_or(Error::Unreadable)?;
    let token = verify_blob(&key, &sshsig.signature, &signed_data(namespace, message))?;
    Ok(Signed { key, token })
}

/// Makes a binary SSHSIG over `message` with a plain Ed25519 key. Deterministic.
pub fn sign(key: &ed25519_dalek::SigningKey, namespace: &str, message: &[u8]) -> Vec<u8> {
    use ed25519_dalek::Signer as _;
    let public = PublicKey::ed25519(key.verifying_key().as_bytes());
    let signature = key.sign(&signed_data(namespace, message)).to_bytes();
    let mut blob = Vec::new();
    put(&mut blob, &[KeyType::Ed25519.name().as_bytes(), &signature]);
    let mut sshsig = MAGIC.to_vec();
    sshsig.extend_from_slice(&1u32.to_be_bytes());
    put(&mut sshsig, &[public.blob(), namespace.as_bytes(), b"", HASH.as_bytes(), &blob]);
    sshsig
}

/// The bytes that are signed in place of the message.
fn signed_data(namespace: &str, message: &[u8]) -> Vec<u8> {
    let mut data = MAGIC.to_vec();
    put(&mut data, &[namespace.as_bytes(), b"", HASH.as_bytes(), &Sha512::digest(message)]);
    data
}

/// Appends SSH strings: each with its length before it.
fn put(out: &mut Vec<u8>, strings: &[&[u8]]) {
    for string in strings {
        // Writing to memory can't fail, and no string here comes near 4 GiB.
        let _ = string.encode(out);
    }
}

struct Sshsig {
    public_key: Vec<u8>,
    namespace: String,
    hash: String,
    signature: Vec<u8>,
}

impl Sshsig {
    fn read(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = bytes.strip_prefix(MAGIC).ok_or(Error::Unreadable)?;
        if u32::decode(&mut reader)? != 1 {
            return Err(Error::Unreadable);
        }
        let public_key = Vec::decode(&mut reader)?;
        let namespace = String::decode(&mut reader)?;
        // It is not signed, so one form is as good as any: the empty one, which everybody writes.
        if !Vec::<u8>::decode(&mut reader)?.is_empty() {
            return Err(Error::Unreadable);
        }
        let hash = String::decode(&mut reader)?;
        let signature = Vec::decode(&mut reader)?;
        finished(reader)?;
        Ok(Self { public_key, namespace, hash, signature })
    }
}

fn finished(reader: &[u8]) -> Result<(), Error> {
    if reader.is_finished() { Ok(()) } else { Err(Error::Unreadable) }
}

/// Checks the inner signature, whose algorithm must be that of the key (or its passkey form).
fn verify_blob(key: &PublicKey, blob: &[u8], data: &[u8]) -> Result<Option<TokenFlags>, Error> {
    let mut reader = blob;
    let algorithm = String::decode(&mut reader)?;
    let passkey = key.key_type() == KeyType::SkEcdsaP256 && algorithm == WEBAUTHN;
    if algorithm != key.key_type().name() && !passkey {
        return Err(Error::Unreadable);
    }
    let signature = Vec::decode(&mut reader)?;
    let (signed, token) = match key.key_type() {
        KeyType::Ed25519 | KeyType::EcdsaP256 => (data.to_vec(), None),
        KeyType::SkEd25519 | KeyType::SkEcdsaP256 => {
            let (signed, flags) = token_data(&mut reader, key.application(), data, passkey)?;
            (signed, Some(flags))
        }
    };
    finished(reader)?;
    match key.key_type() {
        KeyType::Ed25519 | KeyType::SkEd25519 => verify_ed25519(key.point(), &signature, &signed)?,
        KeyType::EcdsaP256 | KeyType::SkEcdsaP256 => verify_p256(key.point(), &signature, &signed)?,
    }
    Ok(token)
}

/// What a token signs: the hashed application, its flags and counter, and the hashed data or a browser's client data
/// that quotes it.
fn token_data(
    reader: &mut &[u8],
    application: &[u8],
    data: &[u8],
    passkey: bool,
) -> Result<(Vec<u8>, TokenFlags), Error> {
    const USER_PRESENT: u8 = 0x01;
    const USER_VERIFIED: u8 = 0x04;
    const ATTESTED: u8 = 0x40;
    const EXTENSIONS: u8 = 0x80;
    let flags = u8::decode(reader)?;
    let counter = u32::decode(reader)?;
    let mut signed = Sha256::digest(application).to_vec();
    signed.push(flags);
    signed.extend_from_slice(&counter.to_be_bytes());
    if passkey {
        let origin = Vec::<u8>::decode(reader)?;
        let client_data = Vec::<u8>::decode(reader)?;
        let extensions = Vec::<u8>::decode(reader)?;
        let has_extensions = flags & EXTENSIONS != 0;
        if !quotes(&client_data, data, &origin) || flags & ATTESTED != 0 || has_extensions == extensions.is_empty() {
            return Err(Error::Invalid);
        }
        signed.extend_from_slice(&extensions);
        signed.extend_from_slice(&Sha256::digest(client_data));
    } else {
        signed.extend_from_slice(&Sha256::digest(data));
    }
    if flags & USER_PRESENT == 0 {
        return Err(Error::NoUserPresence);
    }
    Ok((signed, TokenFlags { user_verified: flags & USER_VERIFIED != 0 }))
}

/// Whether a browser's client data (WebAuthn section 5.8.1) is for an assertion over exactly this challenge, from this
/// origin. By its first bytes, as OpenSSH has it and browsers write it: what follows the origin is free.
fn quotes(client_data: &[u8], challenge: &[u8], origin: &[u8]) -> bool {
    let challenge = data_encoding::BASE64URL_NOPAD.encode(challenge);
    let start = format!(r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":""#);
    let rest = client_data.strip_prefix(start.as_bytes()).and_then(|rest| rest.strip_prefix(origin));
    rest.is_some_and(|rest| rest.starts_with(b"\"")) && !origin.iter().any(|byte| matches!(byte, b'"' | 0))
}

fn verify_ed25519(key: &[u8], signature: &[u8], signed: &[u8]) -> Result<(), Error> {
    let key: &[u8; 32] = key.try_into().map_err(|_| Error::Unreadable)?;
    let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| Error::Unreadable)?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(key).map_err(|_| Error::Invalid)?;
    key.verify_strict(signed, &signature).map_err(|_| Error::Invalid)
}

fn verify_p256(point: &[u8], signature: &[u8], signed: &[u8]) -> Result<(), Error> {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| Error::Unreadable)?;
    let mut reader = signature;
    let (r, s) = (scalar(&mut reader)?, scalar(&mut reader)?);
    finished(reader)?;
    let signature = p256::ecdsa::Signature::from_scalars(r, s).map_err(|_| Error::Invalid)?;
    key.verify_prehash(&Sha256::digest(signed), &signature).map_err(|_| Error::Invalid)
}

/// An SSH mpint (RFC 4251 section 5), positive and in its one form, of at most 32 significant bytes.
fn scalar(reader: &mut &[u8]) -> Result<[u8; 32], Error> {
    let mpint = Vec::<u8>::decode(reader)?;
    let digits = match mpint.as_slice() {
        [0, digits @ ..] if digits.first().is_some_and(|first| *first >= 0x80) => digits,
        digits if digits.first().is_some_and(|first| (1..0x80).contains(first)) => digits,
        _ => return Err(Error::Unreadable),
    };
    let mut scalar = [0; 32];
    let start = scalar.len().checked_sub(digits.len()).ok_or(Error::Unreadable)?;
    scalar.get_mut(start..).ok_or(Error::Unreadable)?.copy_from_slice(digits);
    Ok(scalar)
}
