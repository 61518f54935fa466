//! Fetching a bundle from the exporter, file by file, piece by piece. Nothing is believed but the manifest's digest, which
//! an event names: the manifest must be the one with that digest, and every file the one that it names.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::time::Duration;

use evidence::bundle::{MANIFEST, Statement};
use futures_util::stream::{self, StreamExt as _};
use model::history::{
    BundleChunk, BundleFile, BundleFilesAnswer, BundleRequest, BundlesAnswer, CHUNK_BYTES_MAX, RecordedBundle,
};
use model::{Digest, Envelope, Problem, subject};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::not_written;
use crate::bus::NoAnswer;
use crate::error::Error;
use crate::screen::{Progress, Screen};
use crate::session::Session;

/// How many pieces are on their way at once.
const AT_ONCE: usize = 4;
/// How long the exporter has for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long is waited before each further try.
const AGAIN_AFTER: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];
/// The most files of a bundle.
const FILES_MAX: usize = 1_000;
/// The most folders in one another, the file among them.
const PARTS_MAX: usize = 8;
/// The longest manifest, in bytes.
const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The newest bundles.
pub(super) async fn list(session: &Session) -> Result<Vec<RecordedBundle>, Error> {
    Ok(ask::<BundlesAnswer>(session, &BundleRequest::default()).await?.bundles)
}

/// Fetches a bundle into a folder.
pub(super) async fn fetch(
    session: &Session,
    screen: &mut Screen,
    manifest: Digest,
    folder: &Path,
) -> Result<(), Error> {
    let request = BundleRequest { manifest: Some(manifest), ..BundleRequest::default() };
    let files = ask::<BundleFilesAnswer>(session, &request).await?.files;
    let total = files.iter().fold(0_u64, |total, file| total.saturating_add(file.bytes));
    let mut fetching = Fetching { session, screen, manifest, folder, done: 0, total, progress: Progress::default() };
    let fetched = fetching.all(files).await;
    fetching.screen.progress_done(&fetching.progress);
    fetched
}

struct Fetching<'a> {
    session: &'a Session,
    screen: &'a mut Screen,
    manifest: Digest,
    folder: &'a Path,
    done: u64,
    total: u64,
    progress: Progress,
}

impl Fetching<'_> {
    async fn all(&mut self, files: Vec<BundleFile>) -> Result<(), Error> {
        let (first, others): (Vec<BundleFile>, Vec<BundleFile>) =
            files.into_iter().partition(|file| file.name == MANIFEST);
        let [first] = first.as_slice() else { return Err(contradiction("it has no manifest")) };
        if others.len() > FILES_MAX || first.bytes > MANIFEST_BYTES_MAX {
            return Err(contradiction("it is larger than a bundle is"));
        }
        self.one(first).await?;
        let mut named = self.named()?;
        for file in &others {
            let fetched = self.one(file).await?;
            if named.remove(&file.name) != Some(fetched) {
                return Err(contradiction(&format!("`{}` is not what the manifest says", file.name)));
            }
        }
        match named.keys().next() {
            Some(missing) => Err(contradiction(&format!("`{missing}`, which the manifest names, is missing"))),
            None => Ok(()),
        }
    }

    /// What the manifest names, where it is the one that the event names.
    fn named(&self) -> Result<BTreeMap<String, Digest>, Error> {
        let path = self.folder.join(MANIFEST);
        let bytes = fs::read(&path).map_err(|error| not_written(&path, &error))?;
        let envelope = serde_json::from_slice::<Envelope>(&bytes).ok();
        let payload =
            envelope.map(|envelope| envelope.payload.0).filter(|payload| Digest::of(payload) == self.manifest);
        let statement = payload.and_then(|payload| serde_json::from_slice::<Statement>(&payload).ok());
        let statement = statement.ok_or_else(|| contradiction("the manifest is not the one that the event names"))?;
        Ok(statement.subject.into_iter().map(|subject| (subject.name, subject.digest.sha256)).collect())
    }

    /// Fetches a file; its digest.
    async fn one(&mut self, file: &BundleFile) -> Result<Digest, Error> {
        if !is_plain(&file.name) {
            return Err(contradiction(&format!("`{}` is no name of a bundle's file", file.name)));
        }
        let path = self.folder.join(&file.name);
        let wrong = |error: io::Error| not_written(&path, &error);
        fs::create_dir_all(super::parent(&path)).map_err(wrong)?;
        let mut out = BufWriter::new(File::create_new(&path).map_err(wrong)?);
        let (mut hash, mut length) = (Sha256::new(), 0_u64);
        let (session, manifest) = (self.session, self.manifest);
        let offsets = (0..file.bytes).step_by(CHUNK_BYTES_MAX);
        let ask = |offset| chunk(session, manifest, &file.name, offset);
        let mut pieces = stream::iter(offsets).map(ask).buffered(AT_ONCE);
        while let Some(piece) = pieces.next().await {
            let BundleChunk { offset, data } = piece?;
            if offset != length || data.0.is_empty() {
                return Err(contradiction(&format!("`{}` ends before it should", file.name)));
            }
            hash.update(&data.0);
            out.write_all(&data.0).map_err(wrong)?;
            length += data.0.len() as u64;
            self.screen.progress("downloading", self.done + length, self.total, &mut self.progress);
        }
        let out = out.into_inner().map_err(|error| wrong(error.into_error()))?;
        out.sync_all().map_err(wrong)?;
        self.done += length;
        Ok(Digest::new(hash.finalize().into()))
    }
}

/// Whether a name stays in the folder that it is given in, and hides nothing.
fn is_plain(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0']);
    name.split('/').all(is_part) && name.split('/').count() <= PARTS_MAX
}

async fn chunk(session: &Session, manifest: Digest, file: &str, offset: u64) -> Result<BundleChunk, Error> {
    let request =
        BundleRequest { manifest: Some(manifest), file: Some(file.to_owned()), offset: Some(offset), before: None };
    ask(session, &request).await
}

/// Asks the exporter, again where no answer comes.
async fn ask<T: DeserializeOwned>(session: &Session, request: &BundleRequest) -> Result<T, Error> {
    let payload = bytes::Bytes::from(serde_json::to_vec(request).unwrap_or_default());
    let mut waits = AGAIN_AFTER.iter();
    loop {
        let answer = session.bus().request(subject::tenant::HISTORY_BUNDLE.to_owned(), payload.clone(), PATIENCE).await;
        match (answer, waits.next()) {
            (Ok(answer), _) => return read(&answer),
            (Err(_), Some(wait)) => tokio::time::sleep(*wait).await,
            (Err(no_answer), None) => return Err(unanswered(&no_answer)),
        }
    }
}

fn unanswered(no_answer: &NoAnswer) -> Error {
    let what = format!("the evidence-exporter does not answer: {no_answer}");
    Error::unreachable(what, "see that the platform runs; `keylatch doctor` says more")
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Error> {
    let unreadable = |error: &dyn std::fmt::Display| contradiction(&format!("its answer does not read: {error}"));
    let members: Value = serde_json::from_slice(answer).map_err(|error| unreadable(&error))?;
    if members.get("ok") == Some(&Value::Bool(false)) {
        let problem: Problem = serde_json::from_value(members).map_err(|error| unreadable(&error))?;
        return Err(problem.into());
    }
    serde_json::from_value(members).map_err(|error| unreadable(&error))
}

fn contradiction(what: &str) -> Error {
    let what = format!("the exporter's bundle does not hold: {what}");
    Error::failed(what, "nothing was kept of it; fetch it again, and tell who runs the platform")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for good in ["events.jsonl", "oscal/catalog.json", "a/b/c"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in ["", ".", "..", "../x", "a/../../x", "/etc/x", "a/..", ".hidden", "a/.ssh", "a\\b"] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
