//! Files encrypted under a data key that a Keylatch key wraps. The file itself never crosses the bus.
//!
//! ```text
//! offset  length
//!      0       8  magic, "KEYLATCH"
//!      8       1  version, 0x01
//!      9      32  tenant: the raw public key of its NATS account
//!     41      16  key id (UUIDv7)
//!     57       7  nonce prefix, random
//!     64       2  length n of the wrapped data key, big-endian
//!     66       n  wrapped data key, as `use.wrap` gave it
//!   66+n       …  chunks: 65,536 bytes of plaintext each (the last: 1 to 65,536, or none of an empty file), in
//!                 AES-256-GCM, each with its 16-byte tag
//! ```
//!
//! Chunks are those of the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015) in RustCrypto's `StreamBE32`:
//! the nonce of a chunk is the prefix, its number (32 bits, big-endian) and one byte that is 1 for the last. The additional
//! data of every chunk is the whole header. So nothing can be changed, reordered, cut off or added without being found
//! out. Memory does not grow with the file. A data key serves one file.

use std::io::{self, Read, Write};

use aes_gcm::aead::stream::{DecryptorBE32, EncryptorBE32};
use aes_gcm::aead::{Payload, generic_array::GenericArray};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use model::{KeyId, TenantId};
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"KEYLATCH";
const VERSION: u8 = 1;
/// How much plaintext a chunk has.
pub const CHUNK_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;
/// The longest wrapped data key that is read, in bytes.
const WRAPPED_BYTES_MAX: usize = 1024;

/// Why a file is not read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not begin as these files do.
    #[error("this is not a file that `keylatch use encrypt` wrote")]
    Magic,
    /// A version that this program does not know.
    #[error("the file's version is {0}, and this program reads version {VERSION}")]
    Version(u8),
    /// The header does not hold together.
    #[error("the file's header is damaged: {0}")]
    Header(&'static str),
    /// It was changed or cut off, or the data key is another.
    #[error("the file was changed or cut off, in the {CHUNK_BYTES} bytes from {0} on")]
    Damaged(u64),
    /// Longer than 2^32 chunks.
    #[error("the file is longer than 256 TiB")]
    TooLong,
}

/// What a file begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose key.
    pub tenant: TenantId,
    /// The key that wraps the data key.
    pub key_id: KeyId,
    /// The first bytes of every nonce.
    pub nonce: [u8; 7],
    /// The wrapped data key.
    pub wrapped: Vec<u8>,
}

impl Header {
    /// Its bytes, which are also the additional data of every chunk.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let length = u16::try_from(self.wrapped.len()).ok().filter(|length| usize::from(*length) <= WRAPPED_BYTES_MAX);
        let length = length.ok_or(Error::Header("the wrapped data key is too long"))?.to_be_bytes();
        let parts: [&[u8]; 7] =
            [MAGIC, &[VERSION], self.tenant.as_bytes(), self.key_id.as_bytes(), &self.nonce, &length, &self.wrapped];
        Ok(parts.concat())
    }

    /// Reads a header, and nothing behind it.
    pub fn read(input: &mut dyn Read) -> Result<Self, Error> {
        let [magic @ .., version] = take::<9>(input).map_err(|error| not_a_header(error, Error::Magic))?;
        if magic != *MAGIC {
            return Err(Error::Magic);
        }
        if version != VERSION {
            return Err(Error::Version(version));
        }
        let short = |error| not_a_header(error, Error::Header("it is cut off"));
        let tenant = TenantId::from_bytes(take::<32>(input).map_err(short)?);
        let key_id = KeyId::from_bytes(take::<16>(input).map_err(short)?).ok_or(Error::Header("the key id"))?;
        let nonce = take::<7>(input).map_err(short)?;
        let length = usize::from(u16::from_be_bytes(take::<2>(input).map_err(short)?));
        if length > WRAPPED_BYTES_MAX {
            return Err(Error::Header("the wrapped data key is too long"));
        }
        let mut wrapped = vec![0; length];
        input.read_exact(&mut wrapped).map_err(short)?;
        Ok(Self { tenant, key_id, nonce, wrapped })
    }
}

fn take<const N: usize>(input: &mut dyn Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn not_a_header(error: io::Error, otherwise: Error) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { otherwise } else { error.into() }
}

/// Writes header and chunks. `on_chunk` hears how many bytes of plaintext were taken so far.
pub fn encrypt(
    header: &Header,
    data_key: &[u8; 32],
    input: &mut dyn Read,
    output: &mut dyn Write,
    on_chunk: &mut dyn FnMut(u64),
) -> Result<u64, Error> {
    let aad = header.to_bytes()?;
    output.write_all(&aad)?;
    let cipher = Aes256Gcm::new(GenericArray::from_slice(data_key));
    let mut stream = EncryptorBE32::from_aead(cipher, GenericArray::from_slice(&header.nonce));
    let mut chunks = Chunks::new(CHUNK_BYTES);
    let mut done = 0;
    while let Some(chunk) = chunks.next(input)? {
        let payload = Payload { msg: &chunk.bytes, aad: &aad };
        done += chunk.bytes.len() as u64;
        if chunk.last {
            output.write_all(&stream.encrypt_last(payload).map_err(|_| Error::TooLong)?)?;
            on_chunk(done);
            return Ok(done);
        }
        output.write_all(&stream.encrypt_next(payload).map_err(|_| Error::TooLong)?)?;
        on_chunk(done);
    }
    Ok(done)
}

/// Writes the plaintext of the chunks behind a header. What is written counts only once this has returned: write to a
/// place that nobody takes for the file before.
pub fn decrypt(
    header: &Header,
    data_key: &[u8; 32],
    input: &mut dyn Read,
    output: &mut dyn Write,
    on_chunk: &mut dyn FnMut(u64),
) -> Result<u64, Error> {
    let aad = header.to_bytes()?;
    let cipher = Aes256Gcm::new(GenericArray::from_slice(data_key));
    let mut stream = DecryptorBE32::from_aead(cipher, GenericArray::from_slice(&header.nonce));
    let mut chunks = Chunks::new(CHUNK_BYTES + TAG_BYTES);
    let mut done = 0;
    while let Some(chunk) = chunks.next(input)? {
        let payload = Payload { msg: &chunk.bytes, aad: &aad };
        let damaged = |_| Error::Damaged(done);
        if chunk.last {
            let plain = Zeroizing::new(stream.decrypt_last(payload).map_err(damaged)?);
            // There is one way to write a file: an empty chunk is that of an empty file.
            if plain.is_empty() && done > 0 {
                return Err(Error::Damaged(done));
            }
            output.write_all(&plain)?;
            done += plain.len() as u64;
            on_chunk(done);
            return Ok(done);
        }
        let plain = Zeroizing::new(stream.decrypt_next(payload).map_err(damaged)?);
        output.write_all(&plain)?;
        done += plain.len() as u64;
        on_chunk(done);
    }
    Err(Error::Damaged(done))
}

/// An input in pieces of one size, the last of which is known to be the last.
struct Chunks {
    size: usize,
    /// What was read ahead; `None` before the first read.
    ahead: Option<Zeroizing<Vec<u8>>>,
    ended: bool,
}

struct Chunk {
    bytes: Zeroizing<Vec<u8>>,
    last: bool,
}

impl Chunks {
    fn new(size: usize) -> Self {
        Self { size, ahead: None, ended: false }
    }

    /// The next piece; one that is empty only where the input is. `None` after the last.
    fn next(&mut self, input: &mut dyn Read) -> io::Result<Option<Chunk>> {
        if self.ended {
            return Ok(None);
        }
        let bytes = match self.ahead.take() {
            Some(bytes) => bytes,
            None => self.fill(input)?,
        };
        let next = if bytes.len() < self.size { None } else { Some(self.fill(input)?) };
        let next = next.filter(|next| !next.is_empty());
        self.ended = next.is_none();
        self.ahead = next;
        Ok(Some(Chunk { bytes, last: self.ended }))
    }

    fn fill(&self, input: &mut dyn Read) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.size));
        input.take(self.size as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn header() -> Header {
        Header {
            tenant: TenantId::from_bytes([9; 32]),
            key_id: "01930000-0000-7000-8000-00000000000a".parse().unwrap(),
            nonce: *b"nonce-7",
            wrapped: b"wrapped".to_vec(),
        }
    }

    fn sealed(plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encrypt(&header(), &KEY, &mut &*plain, &mut out, &mut |_| ()).unwrap();
        out
    }

    fn opened(mut sealed: &[u8], key: &[u8; 32]) -> Result<Vec<u8>, Error> {
        let header = Header::read(&mut sealed)?;
        let mut out = Vec::new();
        decrypt(&header, key, &mut sealed, &mut out, &mut |_| ())?;
        Ok(out)
    }

    fn plain(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8).collect()
    }

    /// Golden bytes: files outlive the program that wrote them.
    #[test]
    fn a_file_is_these_bytes() {
        let hex = data_encoding::HEXLOWER.encode(&sealed(b"hush"));
        let header = format!(
            "4b45594c415443480109{}01930000000070008000000000000a6e6f6e63652d370007777261707065 64",
            "09".repeat(31)
        );
        let header =
            header.replace(' ', "").replacen("01930000000070008000000000000a", "0193000000007000800000000000000a", 1);
        assert_eq!(hex.strip_prefix(header.as_str()), Some("1eca0ec4"));
    }

    #[test]
    fn files_of_every_length_come_back() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES + 17] {
            let sealed = sealed(&plain(length));
            let chunks = length.div_ceil(CHUNK_BYTES).max(1);
            assert_eq!(sealed.len(), header().to_bytes().unwrap().len() + length + chunks * TAG_BYTES);
            assert_eq!(opened(&sealed, &KEY).unwrap(), plain(length), "{length}");
            assert!(matches!(opened(&sealed, &[8; 32]), Err(Error::Damaged(0))));
        }
    }

    #[test]
    fn every_byte_counts() {
        let good = sealed(b"some words");
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            assert!(opened(&changed, &KEY).is_err(), "byte {at}");
        }
        for length in 0..good.len() {
            assert!(opened(&good[..length], &KEY).is_err(), "cut to {length}");
        }
        assert!(opened(&[&good[..], b"x"].concat(), &KEY).is_err());
    }

    #[test]
    fn chunks_cannot_be_cut_off_moved_repeated_or_added() {
        let good = sealed(&plain(3 * CHUNK_BYTES + 5));
        let (head, size) = (header().to_bytes().unwrap().len(), CHUNK_BYTES + TAG_BYTES);
        let chunk = |number: usize| good[head + number * size..(head + (number + 1) * size).min(good.len())].to_vec();
        let file = |chunks: &[Vec<u8>]| [good[..head].to_vec(), chunks.concat()].concat();
        assert!(opened(&file(&[chunk(0), chunk(1), chunk(2), chunk(3)]), &KEY).is_ok());
        for broken in [
            vec![],
            vec![chunk(0)],
            vec![chunk(0), chunk(1), chunk(2)],
            vec![chunk(1), chunk(0), chunk(2), chunk(3)],
            vec![chunk(0), chunk(0), chunk(1), chunk(2), chunk(3)],
            vec![chunk(1), chunk(2), chunk(3)],
            vec![chunk(3)],
            vec![chunk(0), chunk(1), chunk(2), chunk(3), chunk(3)],
        ] {
            assert!(opened(&file(&broken), &KEY).is_err());
        }
    }

    #[test]
    fn what_is_no_such_file_is_said_to_be_none() {
        assert!(matches!(opened(b"", &KEY), Err(Error::Magic)));
        assert!(matches!(opened(b"PK\x03\x04 something else", &KEY), Err(Error::Magic)));
        assert!(matches!(opened(b"KEYLATCH\x02", &KEY), Err(Error::Version(2))));
        assert!(matches!(opened(b"KEYLATCH\x01short", &KEY), Err(Error::Header(_))));
    }
}
