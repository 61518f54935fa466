//! The lines of a file of events, for who needs more of them than a verdict.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use evidence::export;
use journal::Record;

use crate::error::Error;

/// How many events are checked at a time: signatures are, in parallel.
const AT_ONCE: usize = 512;
/// The longest line that is read, in bytes: an event of 60,000 bytes in base64, and what is around it.
const LINE_BYTES_MAX: u64 = 256 * 1024;

/// The lines of a file, some at a time.
pub(crate) struct Lines<R = File> {
    path: PathBuf,
    file: BufReader<R>,
    number: u64,
    /// How many bytes were read.
    pub(crate) read: u64,
    /// How many there are.
    pub(crate) total: u64,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (total, file) = opened
            .map_err(|error| Error::file(path, error, "name the folder that `keylatch export` made, or its events"))?;
        Ok(Self::of(path, file, total))
    }
}

impl<R: Read> Lines<R> {
    /// The lines of something of this many bytes that stands at a path.
    pub(crate) fn of(path: &Path, file: R, total: u64) -> Self {
        Self { path: path.to_owned(), file: BufReader::new(file), number: 0, read: 0, total }
    }

    pub(crate) fn next_batch(&mut self) -> Result<Vec<Record>, Error> {
        let mut batch = Vec::with_capacity(AT_ONCE);
        let mut line = Vec::new();
        while batch.len() < AT_ONCE {
            line.clear();
            let mut limited = Read::take(&mut self.file, LINE_BYTES_MAX);
            let count = limited
                .read_until(b'\n', &mut line)
                .map_err(|error| Error::file(&self.path, error, "see that the medium reads"))?;
            if count == 0 {
                break;
            }
            self.number += 1;
            self.read += count as u64;
            let record = export::from_line(&line).map_err(|error| {
                let what = format!("{}: line {}: {error}", self.path.display(), self.number);
                Error::failed(what, "have it exported anew, and compare")
            })?;
            batch.push(record);
        }
        Ok(batch)
    }
}
