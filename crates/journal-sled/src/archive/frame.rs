//! The bytes of a segment: groups of entries, each group written and synced as one.
//!
//! ```text
//! segment  "keylatch-archive"  version:u32  number:u32  zero:u32  crc:u32        32 bytes
//! group    "KLgr"  body:u32 (its length)  entries:u32  crc:u32                  16 bytes, then the body
//! entry    length:u32 (of what follows the crc)  crc:u32  tenant:32  sequence:u64  signature:u32 (its length)
//!          signature  payload
//! ```
//! Numbers are little-endian; each crc is CRC-32 (IEEE): of the header before it, or of what follows it in an entry.

use journal::Record;
use model::{Sequence, TenantId};

/// What every segment begins with.
pub(super) const HEADER: u64 = 32;
/// What every group begins with.
pub(super) const GROUP_HEADER: usize = 16;
/// The longest body of a group, in bytes.
pub(super) const GROUP_MAX: usize = 4 * 1024 * 1024;
/// The largest record, in bytes: well above what a log takes.
pub(super) const RECORD_MAX: usize = 1024 * 1024;

const MAGIC: &[u8; 16] = b"keylatch-archive";
pub(super) const GROUP_MAGIC: &[u8; 4] = b"KLgr";
const VERSION: u32 = 1;
/// Length, crc, tenant, sequence, length of the signature.
const ENTRY_HEADER: usize = 4 + 4 + 32 + 8 + 4;

const _: () = assert!(ENTRY_HEADER + RECORD_MAX <= GROUP_MAX, "a group holds at least any one record");

/// One event, as archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) tenant: TenantId,
    pub(super) sequence: Sequence,
    pub(super) record: Record,
}

// === Segments ===

pub(super) fn segment_header(number: u32) -> [u8; HEADER as usize] {
    let mut header = Vec::with_capacity(HEADER as usize);
    header.extend_from_slice(MAGIC);
    header.extend([VERSION, number, 0].iter().flat_map(|number| number.to_le_bytes()));
    header.extend(crc32fast::hash(&header).to_le_bytes());
    header.try_into().unwrap_or([0; HEADER as usize])
}

/// Whether these are the first bytes of the segment with this number; otherwise, what they are.
pub(super) fn check_segment_header(bytes: &[u8], number: u32) -> Result<(), String> {
    if bytes == segment_header(number) {
        return Ok(());
    }
    let mut rest = bytes;
    let (Some(magic), Some(version), Some(says)) = (take::<16>(&mut rest), number_of(&mut rest), number_of(&mut rest))
    else {
        return Err("it is too short".to_owned());
    };
    if magic != *MAGIC {
        return Err("it does not begin as one".to_owned());
    }
    if version != VERSION {
        return Err(format!("it is of version {version}, and this program reads {VERSION}"));
    }
    Err(format!("it says that it is number {says}, or its header is damaged"))
}

// === Groups ===

/// A group on its way to disk: its bytes, and where in them each entry is.
pub(super) struct Group {
    pub(super) bytes: Vec<u8>,
    pub(super) places: Vec<(usize, usize)>,
}

impl Group {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; GROUP_HEADER], places: Vec::new() }
    }

    /// Whether one more entry fits.
    pub(super) fn fits(&self, record: &Record) -> bool {
        let body = self.bytes.len() - GROUP_HEADER;
        body + ENTRY_HEADER + size_of(record) <= GROUP_MAX
    }

    pub(super) fn push(&mut self, tenant: TenantId, sequence: Sequence, record: &Record) {
        let begin = self.bytes.len();
        self.bytes.extend([0; 8]);
        self.bytes.extend_from_slice(tenant.as_bytes());
        self.bytes.extend(sequence.0.to_le_bytes());
        self.bytes.extend(length(record.signature.len()));
        self.bytes.extend_from_slice(record.signature.as_bytes());
        self.bytes.extend_from_slice(&record.payload);
        let content = self.bytes.get(begin + 8..).unwrap_or_default();
        let head = [length(content.len()), crc32fast::hash(content).to_le_bytes()].concat();
        if let Some(place) = self.bytes.get_mut(begin..begin + 8) {
            place.copy_from_slice(&head);
        }
        self.places.push((begin, self.bytes.len() - begin));
    }

    /// Fills the header in.
    pub(super) fn seal(mut self) -> Self {
        let mut header = GROUP_MAGIC.to_vec();
        header.extend(length(self.bytes.len() - GROUP_HEADER));
        header.extend(length(self.places.len()));
        header.extend(crc32fast::hash(&header).to_le_bytes());
        if let Some(place) = self.bytes.get_mut(..GROUP_HEADER) {
            place.copy_from_slice(&header);
        }
        self
    }
}

/// What a group's header says: the length of its body, and how many entries it has.
pub(super) fn read_group_header(header: &[u8]) -> Option<(usize, usize)> {
    let (said, mut crc) = header.split_at_checked(GROUP_HEADER - 4)?;
    let mut rest = said;
    let magic: [u8; 4] = take(&mut rest)?;
    let (body, entries) = (number_of(&mut rest)?, number_of(&mut rest)?);
    let whole = magic == *GROUP_MAGIC && crc32fast::hash(said) == number_of(&mut crc)?;
    let body = usize::try_from(body).ok().filter(|body| *body <= GROUP_MAX)?;
    whole.then_some((body, usize::try_from(entries).ok()?))
}

/// An entry that was read: where in the body of its group, and how long it is there.
pub(super) struct Placed {
    pub(super) at: usize,
    pub(super) length: usize,
    pub(super) entry: Entry,
}

/// Where in a body something is wrong, and what.
pub(super) struct Wrong {
    pub(super) at: usize,
    pub(super) why: String,
}

/// The entries of a group's body.
pub(super) fn read_body(body: &[u8], entries: usize) -> Result<Vec<Placed>, Wrong> {
    let mut read = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let at = body.len() - rest.len();
        let (entry, length) = read_entry(rest).map_err(|why| Wrong { at, why })?;
        rest = rest.get(length..).unwrap_or_default();
        read.push(Placed { at, length, entry });
    }
    let why = || format!("{} entries of {entries}", read.len());
    if read.len() == entries { Ok(read) } else { Err(Wrong { at: 0, why: why() }) }
}

/// The entry that these bytes begin with, and its length.
pub(super) fn read_entry(bytes: &[u8]) -> Result<(Entry, usize), String> {
    let cut = || "an entry is cut short".to_owned();
    let mut rest = bytes;
    let content = number_of(&mut rest).ok_or_else(cut)? as usize;
    let crc = number_of(&mut rest).ok_or_else(cut)?;
    let content = rest.get(..content).ok_or_else(cut)?;
    if crc32fast::hash(content) != crc {
        return Err("an entry's checksum is wrong".to_owned());
    }
    let entry = read_content(content).ok_or_else(|| "an entry does not say what it must".to_owned())?;
    Ok((entry, 8 + content.len()))
}

fn read_content(mut rest: &[u8]) -> Option<Entry> {
    let tenant = TenantId::from_bytes(take(&mut rest)?);
    let sequence = Sequence(u64::from_le_bytes(take(&mut rest)?));
    let signature = number_of(&mut rest)? as usize;
    let (signature, payload) = rest.split_at_checked(signature)?;
    let signature = String::from_utf8(signature.to_vec()).ok()?;
    Some(Entry { tenant, sequence, record: Record { signature, payload: payload.to_vec().into() } })
}

/// The bytes of an event, its signature included.
pub(super) fn size_of(record: &Record) -> usize {
    record.signature.len() + record.payload.len()
}

/// No length here exceeds [`GROUP_MAX`].
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

fn number_of(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_le_bytes)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}
