//! Public keys as tokens show them, in parts, put together as SubjectPublicKeyInfo (RFC 5280): what an identity is the
//! digest of.

use cryptoki::object::{Attribute, KeyType};

/// A public key in DER, and what its key computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Public {
    pub(crate) der: Vec<u8>,
    pub(crate) algorithm: &'static str,
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;

/// rsaEncryption, with its NULL (RFC 3279, 2.3.1).
const RSA: [u8; 13] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// id-ecPublicKey (RFC 5480).
const EC: [u8; 9] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// id-Ed25519 (RFC 8410).
const ED25519: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];

/// The curves that have a name here, by their parameters in DER.
const CURVES: [(&[u8], &str); 4] = [
    (&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], "ecdsa-p256"),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22], "ec-p384"),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23], "ec-p521"),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a], "ec-secp256k1"),
];

/// The public half: as the token says it whole, else of the parts that its public object shows.
pub(crate) fn public(kind: KeyType, whole: Option<Vec<u8>>, parts: &[Attribute]) -> Option<Public> {
    let part = |of: fn(&Attribute) -> Option<&Vec<u8>>| parts.iter().find_map(of);
    let point = part(|part| if let Attribute::EcPoint(bytes) = part { Some(bytes) } else { None });
    let params = part(|part| if let Attribute::EcParams(bytes) = part { Some(bytes) } else { None });
    let modulus = part(|part| if let Attribute::Modulus(bytes) = part { Some(bytes) } else { None });
    let exponent = part(|part| if let Attribute::PublicExponent(bytes) = part { Some(bytes) } else { None });
    let (built, algorithm) = match kind {
        KeyType::RSA => {
            let key = modulus.zip(exponent).map(|(n, e)| der(SEQUENCE, &[integer(n), integer(e)]));
            (key.map(|key| info(&RSA, &key)), "rsa")
        }
        KeyType::EC => {
            let curve = |params: &Vec<u8>| CURVES.iter().find(|(known, _)| known == params).map(|(_, name)| *name);
            let key =
                params.zip(point).map(|(params, point)| info(&[&EC, params.as_slice()].concat(), unwrapped(point)));
            (key, params.and_then(curve).unwrap_or("ec"))
        }
        // Of the Edwards curves, the one with keys of 32 bytes.
        KeyType::EC_EDWARDS => match point.map(|point| unwrapped(point)) {
            Some(point) if point.len() == 32 => (Some(info(&ED25519, point)), "ed25519"),
            _ => (None, "ec-edwards"),
        },
        _ => (None, "other"),
    };
    whole.or(built).map(|der| Public { der, algorithm })
}

/// A point, which tokens show as an OCTET STRING or as it is.
fn unwrapped(point: &[u8]) -> &[u8] {
    match point {
        [OCTET_STRING, length, rest @ ..] if usize::from(*length) == rest.len() => rest,
        [OCTET_STRING, 0x81, length, rest @ ..] if usize::from(*length) == rest.len() => rest,
        point => point,
    }
}

fn info(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let bits = [&[0], key].concat();
    der(SEQUENCE, &[der(SEQUENCE, &[algorithm.to_vec()]), der(BIT_STRING, &[bits])])
}

/// An unsigned number, big-endian.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len().saturating_sub(1));
    let digits = bytes.get(start..).unwrap_or_default();
    let sign = digits.first().is_some_and(|first| *first >= 0x80);
    der(INTEGER, &[if sign { vec![0] } else { Vec::new() }, digits.to_vec()])
}

fn der(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut bytes = vec![tag];
    match (content.len(), u8::try_from(length.len())) {
        (0..=0x7f, _) => bytes.push(length.first().copied().unwrap_or_default()),
        (_, many) => {
            bytes.push(0x80 | many.unwrap_or_default());
            bytes.extend(length);
        }
    }
    bytes.extend(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    /// The example of RFC 8410, section 10.1.
    #[test]
    fn an_edwards_key_is_as_the_rfc_has_it() {
        let key = hex("19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1");
        let wanted = hex("302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1");
        for point in [key.clone(), [vec![4, 32], key].concat()] {
            let public = public(KeyType::EC_EDWARDS, None, &[Attribute::EcPoint(point)]).unwrap();
            assert_eq!((public.der.clone(), public.algorithm), (wanted.clone(), "ed25519"));
        }
    }

    #[test]
    fn a_curve_has_its_name_and_what_the_token_says_whole_goes_first() {
        let params = Attribute::EcParams(CURVES[0].0.to_vec());
        let point = Attribute::EcPoint([vec![4, 65, 4], vec![7; 64]].concat());
        let built = public(KeyType::EC, None, &[params.clone(), point]).unwrap();
        assert_eq!((built.der.len(), built.algorithm), (91, "ecdsa-p256"));
        assert_eq!(built.der[..4], hex("30593013"));
        assert_eq!(public(KeyType::EC, Some(vec![1]), &[params]).unwrap().der, [1]);
        assert_eq!(public(KeyType::EC, None, &[]), None);
    }

    #[test]
    fn numbers_and_lengths_are_der() {
        assert_eq!(integer(&[0, 0, 1, 0, 1]), hex("0203010001"));
        assert_eq!(integer(&[0x80]), hex("02020080"));
        assert_eq!(der(4, &[vec![0; 0x80]])[..3], hex("048180"));
        assert_eq!(der(4, &[vec![0; 0x101]])[..4], hex("04820101"));
        let rsa = [Attribute::Modulus(vec![0xff; 256]), Attribute::PublicExponent(vec![1, 0, 1])];
        assert_eq!(public(KeyType::RSA, None, &rsa).unwrap().der.len(), 294);
    }
}
