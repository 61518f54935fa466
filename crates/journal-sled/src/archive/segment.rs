//! Segment files: made whole, written at the end, read in order.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::frame::{self, Entry, GROUP_HEADER, GROUP_MAGIC, HEADER, Placed};
use crate::{Error, place};

/// `segment-00000001.log`.
pub(super) fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("segment-{number:08}.log"))
}

/// The number of the last segment; zero where there is none.
///
/// # Errors
/// [`Error::Damaged`] where one before it is missing, [`Error::Format`] where one is not what it should be.
pub(super) fn last(dir: &Path) -> Result<u32, Error> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix("segment-").and_then(|rest| rest.strip_suffix(".log")?.parse::<u32>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    for (number, expected) in numbers.iter().zip(1..) {
        if *number != expected {
            return Err(Error::Damaged { file: path(dir, expected), offset: 0, why: "it is missing".to_owned() });
        }
        check_header(dir, *number)?;
    }
    Ok(numbers.last().copied().unwrap_or_default())
}

fn check_header(dir: &Path, number: u32) -> Result<(), Error> {
    let path = path(dir, number);
    let mut header = [0; HEADER as usize];
    let file = File::open(&path).map_err(Error::io(&path))?;
    let found = match file.read_exact_at(&mut header, 0) {
        Ok(()) => frame::check_segment_header(&header, number),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err("it is too short".to_owned()),
        Err(source) => return Err(Error::Io { path, source }),
    };
    found.map_err(|found| Error::Format { file: path, found })
}

/// Makes a segment: under its name it is never without its header.
pub(super) fn create(dir: &Path, number: u32) -> Result<File, Error> {
    let path = path(dir, number);
    place::put_file(&path, &frame::segment_header(number))?;
    open_to_write(dir, number)
}

pub(super) fn open_to_write(dir: &Path, number: u32) -> Result<File, Error> {
    let path = path(dir, number);
    OpenOptions::new().read(true).write(true).open(&path).map_err(Error::io(&path))
}

/// The entry at a place that the index names.
pub(super) fn read_at(dir: &Path, number: u32, offset: u64, length: u32) -> Result<Entry, Error> {
    let path = path(dir, number);
    let file = File::open(&path).map_err(Error::io(&path))?;
    let mut bytes = vec![0; length as usize];
    let damaged = |why: String| Error::Damaged { file: path.clone(), offset, why };
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => frame::read_entry(&bytes).map(|(entry, _)| entry).map_err(damaged),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(damaged("it ends before".to_owned())),
        Err(source) => Err(Error::Io { path: path.clone(), source }),
    }
}

/// A group that was read: its entries with their offsets in the file and lengths.
pub(super) struct Read {
    pub(super) entries: Vec<(u64, u32, Entry)>,
}

/// Bytes that are no group.
pub(super) struct Bad {
    /// Where the group begins.
    pub(super) group: u64,
    /// Where it is wrong.
    pub(super) at: u64,
    /// How.
    pub(super) why: String,
}

/// Goes through a segment group by group.
pub(super) struct Scan {
    pub(super) path: PathBuf,
    file: File,
    /// Where the next group begins.
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Scan {
    pub(super) fn open(dir: &Path, number: u32, offset: u64) -> Result<Self, Error> {
        let path = path(dir, number);
        let file = File::open(&path).map_err(Error::io(&path))?;
        let length = file.metadata().map_err(Error::io(&path))?.len();
        Ok(Self { path, file, offset, length })
    }

    /// The next group; nothing at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Result<Read, Bad>>, Error> {
        if self.offset == self.length {
            return Ok(None);
        }
        let group = self.read_group(self.offset)?;
        if let Ok((_, end)) = &group {
            self.offset = *end;
        }
        Ok(Some(group.map(|(read, _)| read)))
    }

    /// The group at an offset, and where it ends.
    fn read_group(&self, group: u64) -> Result<Result<(Read, u64), Bad>, Error> {
        let bad = |at: u64, why: &str| Ok(Err(Bad { group, at, why: why.to_owned() }));
        let begin = group + GROUP_HEADER as u64;
        if begin > self.length {
            return bad(group, "a group's header is cut short");
        }
        let mut header = [0; GROUP_HEADER];
        self.read(&mut header, group)?;
        let Some((length, entries)) = frame::read_group_header(&header) else {
            return bad(group, "a group's header is wrong");
        };
        let end = begin + length as u64;
        if end > self.length {
            return bad(group, "a group is cut short");
        }
        let mut body = vec![0; length];
        self.read(&mut body, begin)?;
        Ok(match frame::read_body(&body, entries) {
            Ok(placed) => {
                let place = |placed: Placed| (begin + placed.at as u64, placed.length as u32, placed.entry);
                Ok((Read { entries: placed.into_iter().map(place).collect() }, end))
            }
            Err(wrong) => Err(Bad { group, at: begin + wrong.at as u64, why: wrong.why }),
        })
    }

    /// Whether a whole group lies anywhere behind an offset. Groups are written one after the other, each only when the
    /// one before is synced: so what lies before a whole one was acknowledged.
    pub(super) fn whole_group_behind(&self, offset: u64) -> Result<bool, Error> {
        const WINDOW: usize = 1024 * 1024;
        let mut begin = offset + 1;
        while begin < self.length {
            let length = usize::try_from(self.length - begin).unwrap_or(WINDOW).min(WINDOW);
            let mut window = vec![0; length];
            self.read(&mut window, begin)?;
            for (place, _) in window.windows(GROUP_MAGIC.len()).enumerate().filter(|(_, bytes)| bytes == GROUP_MAGIC) {
                if self.read_group(begin + place as u64)?.is_ok() {
                    return Ok(true);
                }
            }
            if length < WINDOW {
                break;
            }
            begin += (WINDOW - (GROUP_MAGIC.len() - 1)) as u64;
        }
        Ok(false)
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), Error> {
        self.file.read_exact_at(bytes, offset).map_err(Error::io(&self.path))
    }
}
