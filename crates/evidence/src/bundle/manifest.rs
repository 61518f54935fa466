//! `manifest.json`: an in-toto Statement v1 over every other file, in a DSSE envelope that the exporter signs.

use std::collections::BTreeMap;

use journal::ServiceKey;
use model::{Digest, EventHash, Fingerprint, Name, TenantId};
use serde::{Deserialize, Serialize};

use super::Source;
use crate::controls::Period;
use crate::deployment::{self, Instance};

/// The payload type of the envelope.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The type of the statement.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The type of what it says of the files.
pub const PREDICATE: &str = "https://keylatch.dev/evidence/v1";
/// This program, whose words and columns the files beside the events have.
const PROGRAM: &str = concat!("keylatch ", env!("CARGO_PKG_VERSION"));

/// What the exporter signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Statement {
    /// That this is an in-toto statement.
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// The files, by name.
    pub subject: Vec<Subject>,
    /// What kind of statement it is.
    pub predicate_type: String,
    /// What it says of the files.
    pub predicate: Predicate,
}

/// A file and its digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Its name in the folder.
    pub name: String,
    /// Its digest.
    pub digest: DigestSet,
}

/// Digests by their algorithms' names: one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestSet {
    /// The SHA-256, in lower-case hex.
    pub sha256: Digest,
}

impl Subject {
    /// A file with this digest.
    fn new(name: &str, digest: Digest) -> Self {
        Self { name: name.to_owned(), digest: DigestSet { sha256: digest } }
    }
}

/// What a bundle is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predicate {
    /// Whose history.
    pub tenant: TenantId,
    /// The tenant's name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// The root that it was checked under.
    pub root: Fingerprint,
    /// How many events there are, from the first.
    pub events: u64,
    /// The part of them that the control tests are about.
    pub period: Period,
    /// The last event's hash.
    pub head: EventHash,
    /// The RFC 6962 root over all hashes.
    pub tree_root: EventHash,
    /// The checkpoint over them, as its exporter signed it.
    pub checkpoint: String,
    /// The deployment's shape: which instances signed in which roles.
    pub deployment: Vec<Instance>,
    /// The rules epoch in force.
    pub rules: u32,
    /// The program that made the files beside the events.
    pub program: String,
}

impl Predicate {
    /// What is to be said of these files.
    pub(crate) fn of(source: &Source<'_>) -> Self {
        let last = super::notes(source.checkpoints).pop().and_then(Result::ok);
        // Cosignatures come later, and to some bundles: the exporter's own line is the same in all.
        let own = last.and_then(|note| Some(format!("{}\n{}", note.text(), note.signatures().first()?)));
        let rules = source.state.governance.as_ref().map_or(0, |governance| governance.authority.rules);
        Self {
            tenant: source.report.tenant,
            name: source.history.name.clone(),
            root: source.report.root,
            events: source.report.events,
            period: source.controls.period,
            head: source.report.head,
            tree_root: source.report.merkle_root,
            checkpoint: own.unwrap_or_default(),
            deployment: deployment::instances(source.history),
            rules,
            program: PROGRAM.to_owned(),
        }
    }

    /// Whether this program would make the same files from the same events.
    pub fn is_by_this_program(&self) -> bool {
        self.program == PROGRAM
    }
}

impl Statement {
    /// What is said of files with these digests.
    pub(crate) fn new(files: &BTreeMap<String, Digest>, predicate: Predicate) -> Self {
        let subject = files.iter().map(|(name, digest)| Subject::new(name, *digest)).collect();
        let (statement_type, predicate_type) = (STATEMENT.to_owned(), PREDICATE.to_owned());
        Self { statement_type, subject, predicate_type, predicate }
    }

    /// Whether it is of the kind that this program knows.
    pub(crate) fn is_known(&self) -> bool {
        self.statement_type == STATEMENT && self.predicate_type == PREDICATE
    }

    /// The bytes that are signed. Their SHA-256 is what `evidence.exported` names.
    pub fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `manifest.json`, signed by an exporter.
    pub fn sign(&self, key: &ServiceKey) -> Vec<u8> {
        let envelope = key.sign_statement(IN_TOTO, self);
        let mut file = serde_json::to_vec(&envelope).unwrap_or_default();
        file.push(b'\n');
        file
    }
}
