//! The bytes that `encrypt` and `wrap` give: versioned, self-describing, bound to what they belong to.
//!
//! ```text
//! offset  length
//!      0       1  version, 0x01
//!      1       1  purpose: 0x01 encrypted data, 0x02 wrapped data key
//!      2      16  key id (UUIDv7)
//!     18      12  nonce, random
//!     30       n  AES-256-GCM ciphertext (SP 800-38D)
//!   30+n      16  tag
//! ```
//!
//! The additional data of GCM is `"keylatch ciphertext v1"`, the first 18 bytes, the tenant's 32 bytes and the caller's
//! additional data. All but the last are of fixed length, so no two sets of them read the same. It follows that a
//! ciphertext can't be moved to another key, another tenant or another purpose, nor a wrapped data key be read out with
//! `decrypt`.
//!
//! **Nonces.** They are random, 96 bits: SP 800-38D, section 8.3, allows a key 2^32 encryptions with such nonces
//! ([`ENCRYPTIONS_MAX`]). A store counts them and then refuses ([`crate::Error::Exhausted`]).

use model::{KeyId, TenantId};

use crate::Error;

/// How often a key may encrypt or wrap under random 96-bit nonces (SP 800-38D, 8.3).
pub const ENCRYPTIONS_MAX: u64 = 1 << 32;

const VERSION: u8 = 1;
const LABEL: &[u8] = b"keylatch ciphertext v1";
const HEADER_BYTES: usize = 30;

/// What a ciphertext carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Data that a caller gave.
    Encrypt,
    /// A data key that the store made.
    Wrap,
}

impl Purpose {
    fn code(self) -> u8 {
        match self {
            Self::Encrypt => 1,
            Self::Wrap => 2,
        }
    }
}

/// The first bytes of a ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What is carried.
    pub purpose: Purpose,
    /// The key that it takes.
    pub key_id: KeyId,
    /// The nonce.
    pub nonce: [u8; 12],
}

impl Header {
    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.bound()[..], &self.nonce].concat()
    }

    /// Reads the header; gives it and what follows.
    ///
    /// # Errors
    /// [`Error::CiphertextInvalid`] for anything but version 1.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(Error::CiphertextInvalid)?;
        let [VERSION, purpose, fields @ ..] = header else { return Err(Error::CiphertextInvalid) };
        let purpose = match purpose {
            1 => Purpose::Encrypt,
            2 => Purpose::Wrap,
            _ => return Err(Error::CiphertextInvalid),
        };
        let (key_id, nonce) = fields.split_first_chunk::<16>().ok_or(Error::CiphertextInvalid)?;
        let key_id = KeyId::from_bytes(*key_id).ok_or(Error::CiphertextInvalid)?;
        let nonce = nonce.try_into().map_err(|_| Error::CiphertextInvalid)?;
        Ok((Self { purpose, key_id, nonce }, rest))
    }

    /// The additional data of GCM.
    pub fn aad(&self, tenant: TenantId, aad: &[u8]) -> Vec<u8> {
        [LABEL, &self.bound(), tenant.as_bytes(), aad].concat()
    }

    /// Version, purpose and key id: what is bound by the additional data (the nonce is by being the nonce).
    fn bound(&self) -> [u8; 18] {
        let mut bytes = [VERSION; 18];
        let [_, purpose, key_id @ ..] = &mut bytes;
        *purpose = self.purpose.code();
        key_id.copy_from_slice(self.key_id.as_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let key_id = "01930000-0000-7000-8000-00000000000a".parse().unwrap();
        Header { purpose: Purpose::Wrap, key_id, nonce: *b"abcdefghijkl" }
    }

    /// Golden bytes: ciphertexts outlive the program that wrote them.
    #[test]
    fn the_header_is_these_bytes() {
        let hex = data_encoding::HEXLOWER.encode(&header().to_bytes());
        assert_eq!(hex, "01020193000000007000800000000000000a6162636465666768696a6b6c");
        let aad = header().aad(TenantId::from_bytes([9; 32]), b"x");
        let tenant = [9; 32];
        let wanted =
            [&b"keylatch ciphertext v1\x01\x02\x01\x93\0\0\0\0\x70\0\x80\0\0\0\0\0\0\x0a"[..], &tenant, b"x"].concat();
        assert_eq!(aad, wanted);
    }

    #[test]
    fn a_header_reads_back_and_nothing_else_is_one() {
        let bytes = header().to_bytes();
        assert_eq!(Header::read(&[&bytes[..], b"rest"].concat()).unwrap(), (header(), &b"rest"[..]));
        for length in 0..bytes.len() {
            assert!(Header::read(&bytes[..length]).is_err());
        }
        // Version, purpose and the UUID's version and variant have few right values.
        for (at, values) in [(0, vec![0, 2, 255]), (1, vec![0, 3, 255]), (8, vec![0x40, 0x80]), (10, vec![0, 0xc0])] {
            for value in values {
                let mut changed = bytes.clone();
                changed[at] = value;
                assert!(Header::read(&changed).is_err(), "{at}: {value}");
            }
        }
    }
}
