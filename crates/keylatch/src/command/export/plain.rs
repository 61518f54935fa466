//! The events alone: the whole history in a folder, read and verified here. It takes no bundle and no role.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use evidence::{Trust, export};
use model::{EventHash, Fingerprint, TenantId};
use serde_json::{Value, json};

use crate::error::Error;
use crate::layout::{BOLD, Fields, GREEN};
use crate::screen::{Progress, Screen, Show};
use crate::session::Session;

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The folder.
    pub folder: PathBuf,
    /// Whose history.
    pub tenant: TenantId,
    /// The root that it was verified under.
    pub root: Fingerprint,
    /// How many events.
    pub events: u64,
    /// How many of them are void.
    pub void: u64,
    /// The last event's hash.
    pub head: EventHash,
    /// The RFC 6962 root over all hashes.
    pub merkle_root: EventHash,
}

impl Show for Exported {
    fn to_json(&self) -> Value {
        json!({
            "ok": true, "folder": self.folder, "tenant": self.tenant, "root": self.root, "events": self.events,
            "void": self.void, "head": self.head, "merkle_root": self.merkle_root,
        })
    }

    fn to_people(&self) -> String {
        let mut fields = Fields::default();
        fields.text("events", format!("{} ({} void)", self.events, self.void));
        fields.text("head", self.head.to_string());
        fields.text("Merkle root", self.merkle_root.to_string());
        let folder = self.folder.display();
        format!(
            "{GREEN}exported{GREEN:#} to {BOLD}{folder}{BOLD:#}\n{}check it with: keylatch verify {folder} --root {}\n",
            fields.to_people(2),
            self.root
        )
    }
}

/// Exports everything there is. The folder comes into being whole or not at all. The session must not have read before.
pub async fn export(session: &mut Session, screen: &mut Screen, folder: &Path) -> Result<Exported, Error> {
    if folder.exists() {
        return Err(Error::file(folder, "there is such a folder", "name one that is not there yet"));
    }
    if session.reader().head().0 > 0 {
        return Err(Error::usage("the history was read before", "export with a session of its own"));
    }
    let wrong = |error: io::Error| Error::file(folder, format!("can't be written: {error}"), "see its permissions");
    let parent = super::parent(folder);
    let new = tempfile::Builder::new().prefix(super::NEW).tempdir_in(parent).map_err(wrong)?;
    let mut events = BufWriter::new(File::create(new.path().join("events.jsonl")).map_err(wrong)?);
    let mut progress = Progress::default();
    let read = session
        .reader_mut()
        .catch_up(&mut |known, seen, last| {
            for seen in seen {
                writeln!(events, "{}", export::to_line(&seen.prepared.record)).map_err(wrong)?;
            }
            screen.progress("exporting", known.state().chain.head().sequence.0, last, &mut progress);
            Ok(())
        })
        .await;
    screen.progress_done(&progress);
    read?;
    let events = events.into_inner().map_err(|error| wrong(error.into_error()))?;
    events.sync_all().map_err(wrong)?;
    let exported = exported(session, folder);
    beside(session, new.path(), &exported).map_err(wrong)?;
    super::put_in_place(new, folder).map_err(wrong)?;
    Ok(exported)
}

fn exported(session: &Session, folder: &Path) -> Exported {
    let report = session.known().verifier().report();
    Exported {
        folder: folder.to_owned(),
        tenant: report.tenant,
        root: report.root,
        events: report.events,
        void: report.void,
        head: report.head,
        merkle_root: report.merkle_root,
    }
}

/// Writes what stands beside the events.
fn beside(session: &Session, folder: &Path, exported: &Exported) -> io::Result<()> {
    let verifier = session.known().verifier();
    let trust = Trust::of(verifier.state(), verifier.authority().to_vec());
    let files = [
        ("trust.json", serde_json::to_string_pretty(&trust)? + "\n"),
        ("allowed_signers", trust.allowed_signers()),
        ("README.txt", readme(exported)),
    ];
    for (name, text) in files {
        let mut file = File::create(folder.join(name))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    Ok(())
}

fn readme(exported: &Exported) -> String {
    README
        .replace("{tenant}", &exported.tenant.to_string())
        .replace("{root}", &exported.root.to_string())
        .replace("{events}", &exported.events.to_string())
        .replace("{head}", &exported.head.to_string())
        .replace("{merkle_root}", &exported.merkle_root.to_string())
}

const README: &str = include_str!("README.txt");
