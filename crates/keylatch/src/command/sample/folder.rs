//! A sample in a folder: `sample.json`, `population.txt`, each item's event and proof.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use evidence::export;
use evidence::sample::{Item, Sample, text};
use journal::Record;
use journal::tlog_proof::TlogProof;
use model::EventHash;

use crate::error::Error;

const SAMPLE: &str = "sample.json";
const POPULATION: &str = "population.txt";
const README: &str = include_str!("README.txt");
const ADVICE: &str = "name a folder that `keylatch evidence sample --out` made";

/// The file with an item's event, by its place in the sample from 0.
pub(super) fn event_of(folder: &Path, place: usize) -> PathBuf {
    folder.join(format!("items/{:04}.json", place + 1))
}

/// The file with an item's proof.
pub(super) fn proof_of(folder: &Path, place: usize) -> PathBuf {
    folder.join(format!("items/{:04}.tlog-proof", place + 1))
}

/// Writes a sample. The folder comes into being whole or not at all.
pub(super) fn write(
    folder: &Path,
    sample: &Sample,
    population: &[Item],
    proofs: &[TlogProof],
    records: &[Record],
) -> Result<(), Error> {
    let wrong = |error: io::Error| Error::file(folder, format!("can't be written: {error}"), "see its permissions");
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let new = tempfile::Builder::new().prefix(".keylatch-sample-").tempdir_in(parent).map_err(wrong)?;
    let by_hash: BTreeMap<EventHash, &Record> = records.iter().map(|record| (record.hash(), record)).collect();
    fill(new.path(), sample, population, proofs, &by_hash).map_err(wrong)?;
    put_in_place(new, folder, parent).map_err(wrong)
}

fn fill(
    folder: &Path,
    sample: &Sample,
    population: &[Item],
    proofs: &[TlogProof],
    records: &BTreeMap<EventHash, &Record>,
) -> io::Result<()> {
    fs::create_dir(folder.join("items"))?;
    file(&folder.join("README.txt"), README)?;
    file(&folder.join(SAMPLE), &(serde_json::to_string_pretty(sample)? + "\n"))?;
    file(&folder.join(POPULATION), &text(population))?;
    for (place, (drawn, proof)) in sample.items.iter().zip(proofs).enumerate() {
        let record = records.get(&drawn.item.hash).ok_or(io::ErrorKind::NotFound)?;
        file(&event_of(folder, place), &(export::to_line(record) + "\n"))?;
        file(&proof_of(folder, place), &proof.to_string())?;
    }
    Ok(())
}

fn file(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn put_in_place(new: tempfile::TempDir, folder: &Path, parent: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    // A temporary folder is its owner's alone; what is handed to an auditor need not be.
    fs::set_permissions(new.path(), fs::Permissions::from_mode(0o755))?;
    fs::rename(new.path(), folder)?;
    // It is no longer temporary, nor where it was.
    let _ = new.keep();
    File::open(parent)?.sync_all()
}

/// Reads what a sample says of itself, and the population that it says it was drawn from.
pub(super) fn read(folder: &Path) -> Result<(Sample, String), Error> {
    let path = folder.join(SAMPLE);
    let bytes = fs::read(&path).map_err(|error| Error::file(&path, error, ADVICE))?;
    let sample = model::json::read(&bytes).map_err(|error| Error::file(&path, error, ADVICE))?;
    let path = folder.join(POPULATION);
    let population = fs::read_to_string(&path).map_err(|error| Error::file(&path, error, ADVICE))?;
    Ok((sample, population))
}
