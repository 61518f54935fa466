//! Key pairs in a token: how those of each algorithm are made, by what they are known, and how they sign.

use cryptoki::error::Error as Pkcs11Error;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use keystore::material::PublicKey;
use model::Algorithm;
use model::key::KeyIdentity;
use sha2::{Digest as _, Sha256, Sha384};

/// Curves as `CKA_EC_PARAMS` has them: object identifiers in DER (RFC 5480).
const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// See [`P256`].
const P384: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x22];
/// The one public exponent of RSA keys, big-endian.
const EXPONENT: &[u8] = &[1, 0, 1];
/// What a token does to make a pair, and to have it sign.
pub(crate) struct Way {
    pub(crate) generate: Mechanism<'static>,
    pub(crate) sign: Mechanism<'static>,
    /// How long the key is, as the token counts.
    pub(crate) bits: usize,
    /// What says so when it is made.
    kind: Vec<Attribute>,
}

impl Way {
    /// `None` where this store makes no such pairs.
    pub(crate) fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::EcdsaP256 => Some(Self::ec(256, P256)),
            Algorithm::EcdsaP384 => Some(Self::ec(384, P384)),
            Algorithm::RsaPss3072 => Some(Self::rsa(3072, 3072)),
            Algorithm::RsaPss4096 => Some(Self::rsa(4096, 4096)),
            _ => None,
        }
    }

    fn ec(bits: usize, curve: &[u8]) -> Self {
        let kind = vec![Attribute::EcParams(curve.to_vec())];
        Self { generate: Mechanism::EccKeyPairGen, sign: Mechanism::Ecdsa, bits, kind }
    }

    fn rsa(bits: usize, modulus: u64) -> Self {
        let kind = vec![Attribute::ModulusBits(modulus.into()), Attribute::PublicExponent(EXPONENT.to_vec())];
        // RSASSA-PSS over a SHA-256 digest, with a salt as long.
        let hash_alg = MechanismType::SHA256;
        let pss = PkcsPssParams { hash_alg, mgf: PkcsMgfType::MGF1_SHA256, s_len: 32_u64.into() };
        Self { generate: Mechanism::RsaPkcsKeyPairGen, sign: Mechanism::RsaPkcsPss(pss), bits, kind }
    }
}

/// Generates a pair with this private half. The public half is in the session for a moment only: it is kept elsewhere, and
/// nothing of it is wanted on the token.
pub(crate) fn generate(
    session: &Session,
    algorithm: Algorithm,
    private: &[Attribute],
) -> Result<(KeyIdentity, ObjectHandle), Pkcs11Error> {
    let way = Way::of(algorithm).ok_or(Pkcs11Error::NotSupported)?;
    let mut public = vec![
        Attribute::Token(false),
        Attribute::Private(false),
        Attribute::Verify(false),
        Attribute::VerifyRecover(false),
        Attribute::Encrypt(false),
        Attribute::Wrap(false),
    ];
    public.extend(way.kind);
    let (public, private) = session.generate_key_pair(&way.generate, &public, private)?;
    let shown = match way.generate {
        Mechanism::EccKeyPairGen => session.get_attributes(public, &[AttributeType::EcPoint]),
        _ => session.get_attributes(public, &[AttributeType::Modulus, AttributeType::PublicExponent]),
    };
    session.destroy_object(public)?;
    Ok((identity(algorithm, &shown?).ok_or(Pkcs11Error::InvalidValue)?, private))
}

/// By what a pair is known, from the attributes of its public half; `None` where that is none of this algorithm.
fn identity(algorithm: Algorithm, shown: &[Attribute]) -> Option<KeyIdentity> {
    let spki = algorithm.spki()?;
    let key = match shown {
        [Attribute::EcPoint(point)] => uncompressed(point, spki.bytes)?,
        [Attribute::Modulus(modulus), Attribute::PublicExponent(exponent)] => {
            let is_whole =
                unsigned(exponent) == EXPONENT && unsigned(modulus).first().is_some_and(|byte| byte >> 7 == 1);
            is_whole.then(|| unsigned(modulus))?
        }
        _ => return None,
    };
    if key.len() != spki.bytes {
        return None;
    }
    Some(PublicKey::from_spki(&spki.around(key))?.identity())
}

/// The coordinates in `CKA_EC_POINT`: an uncompressed point (SEC 1, 2.3.3) in a DER octet string, or, as some tokens have it,
/// as it is.
fn uncompressed(point: &[u8], bytes: usize) -> Option<&[u8]> {
    let length = u8::try_from(1 + bytes).ok()?;
    let inner = point.strip_prefix(&[4, length]).filter(|inner| inner.len() == usize::from(length));
    inner.unwrap_or(point).strip_prefix(&[4])
}

/// Without zeros in front.
fn unsigned(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// Signs a digest of the algorithm's length, in the form that uses give: DER (RFC 3279) of ECDSA, the bytes of RSASSA-PSS.
pub(crate) fn sign(
    session: &Session,
    algorithm: Algorithm,
    key: ObjectHandle,
    digest: &[u8],
) -> Result<Vec<u8>, Pkcs11Error> {
    let way = Way::of(algorithm).ok_or(Pkcs11Error::NotSupported)?;
    let signature = session.sign(&way.sign, key, digest)?;
    let der = match algorithm {
        Algorithm::EcdsaP256 => {
            p256::ecdsa::Signature::from_slice(&signature).map(|it| it.to_der().as_bytes().to_vec())
        }
        Algorithm::EcdsaP384 => {
            p384::ecdsa::Signature::from_slice(&signature).map(|it| it.to_der().as_bytes().to_vec())
        }
        _ => Ok(signature),
    };
    der.map_err(|_| Pkcs11Error::InvalidValue)
}

/// The digest over which a proof of possession signs ([`keystore::possession`]).
pub(crate) fn digest(algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
    match algorithm {
        Algorithm::EcdsaP384 => Sha384::digest(message).to_vec(),
        _ => Sha256::digest(message).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generator of P-256, which is a point like any other.
    const POINT: &str = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                         4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

    #[test]
    fn a_public_half_is_read_in_every_form_that_tokens_have_and_in_no_other() {
        let point = data_encoding::HEXLOWER.decode(POINT.as_bytes()).unwrap();
        let bare = [&[4], &point[..]].concat();
        let wanted = KeyIdentity::PublicKey(model::text::Base64(Algorithm::EcdsaP256.spki().unwrap().around(&point)));
        let read = |point: &[u8]| identity(Algorithm::EcdsaP256, &[Attribute::EcPoint(point.to_vec())]);
        assert_eq!(read(&bare), Some(wanted.clone()));
        assert_eq!(read(&[&[4, 65], &bare[..]].concat()), Some(wanted));
        let off_the_curve = [&bare[..64], &[0]].concat();
        for bad in [&bare[1..], &bare[..64], &off_the_curve, &[], &[4, 65]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }

        let modulus = [&[0xc0], &[7; 383][..]].concat();
        let read = |modulus: &[u8], exponent: &[u8]| {
            let shown = [Attribute::Modulus(modulus.to_vec()), Attribute::PublicExponent(exponent.to_vec())];
            identity(Algorithm::RsaPss3072, &shown)
        };
        assert!(read(&modulus, EXPONENT).is_some());
        assert_eq!(read(&[&[0, 0], &modulus[..]].concat(), &[0, 1, 0, 1]), read(&modulus, EXPONENT));
        let small = [&[0x40], &modulus[1..]].concat();
        for (modulus, exponent) in
            [(&modulus[..], &[3][..]), (&modulus[1..], EXPONENT), (&small, EXPONENT), (&[], EXPONENT)]
        {
            assert_eq!(read(modulus, exponent), None);
        }
    }
}
