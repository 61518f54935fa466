//! `keylatch certificate`: one small file that proves a key's activation on its own.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use evidence::certificate::{Certificate, Collector, NoCertificate, Report, check};
use journal::note::NoteKey;
use model::Fingerprint;
use serde_json::{Value, json};

use crate::error::Error;
use crate::layout::{BOLD, DIM, Fields, GREEN, RED, safe, time};
use crate::lookup;
use crate::screen::{Screen, Show};
use crate::session::Session;

/// Whose, and where to.
#[derive(Args, Clone, Debug)]
pub struct CertificateArgs {
    /// The key: label, id, or the beginning of an id.
    pub key: String,
    /// The file to make; left out, `<label>.certificate.json` here. It must not be there yet.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// A certificate that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where.
    pub file: PathBuf,
    /// How many bytes.
    pub bytes: usize,
    /// What it comes to, checked here.
    pub report: Report,
}

impl Show for Written {
    fn to_json(&self) -> Value {
        json!({ "ok": true, "file": self.file, "bytes": self.bytes, "report": self.report })
    }

    fn to_people(&self) -> String {
        let (file, root) = (self.file.display(), self.report.root);
        let how = format!(
            "check it with: keylatch verify {file} --root {root}\n  {DIM}or without this program: docs/certificate/verify_certificate.py{DIM:#}\n"
        );
        format!("{GREEN}written{GREEN:#} to {BOLD}{file}{BOLD:#} ({} bytes)\n{}{how}", self.bytes, fields(&self.report))
    }
}

/// Runs `keylatch certificate`.
pub async fn run(args: CertificateArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let written = certify(&args, session, screen).await?;
    screen.show(&written)
}

/// Makes a certificate from the verified history, and checks it as whoever gets it will.
pub async fn certify(args: &CertificateArgs, session: &mut Session, screen: &mut Screen) -> Result<Written, Error> {
    session.refresh(screen).await?;
    let key = lookup::key(session.state(), &args.key)?;
    let (id, label) = (key.id, key.spec.label.clone());
    let file = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{label}.certificate.json")));
    if file.exists() {
        return Err(Error::file(&file, "there is such a file", "name another one with --out"));
    }
    let mut collector = Collector::new(session.state(), id).map_err(|error| none(&error))?;
    session
        .replay(screen, &mut |_, seen| {
            for seen in seen {
                collector.take(seen.sequence, &seen.prepared, &seen.judgement);
            }
        })
        .await?;
    let certificate = collector.finish(None).map_err(|error| none(&error))?;
    let report = check(&certificate, session.state().root, &[]);
    if let Some(wrong) = report.first_wrong() {
        let why = wrong.wrong.clone().unwrap_or_default();
        return Err(Error::failed(
            format!("{}: {why}", wrong.claim),
            "tell who runs the platform; nothing was written",
        ));
    }
    let text = certificate.to_json();
    fs::write(&file, &text).map_err(|error| Error::file(&file, error, "name another place with --out"))?;
    Ok(Written { file, bytes: text.len(), report })
}

fn none(error: &NoCertificate) -> Error {
    let advice = match error {
        NoCertificate::NeverActivated => "`keylatch simulate` says what its activation waits for",
        NoCertificate::NotCovered => "the exporter signs a checkpoint within seconds; try again",
        NoCertificate::NotThere => "try again; if it stays so, tell who runs the platform",
    };
    Error::failed(error, advice)
}

// === Checking ===

/// What checking a certificate came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked(pub Report);

/// Reads a certificate; `None` where the file is something else.
///
/// # Errors
/// Where it says that it is one, and is not.
pub fn read(path: &Path, bytes: &[u8]) -> Result<Option<Certificate>, Error> {
    #[derive(serde::Deserialize)]
    struct Format {
        format: String,
    }
    let is_one =
        serde_json::from_slice::<Format>(bytes).is_ok_and(|it| it.format.starts_with("keylatch.dev/certificate/"));
    if !is_one {
        return Ok(None);
    }
    let unreadable = |error| Error::file(path, error, "have it made anew with this version of keylatch");
    serde_json::from_slice(bytes).map(Some).map_err(unreadable)
}

/// Checks a certificate under this root.
pub fn verify(certificate: &Certificate, root: Fingerprint, witnesses: &[NoteKey]) -> Checked {
    Checked(check(certificate, root, witnesses))
}

impl Show for Checked {
    fn to_json(&self) -> Value {
        json!({ "ok": self.0.holds(), "certificate": self.0 })
    }

    fn to_people(&self) -> String {
        let report = &self.0;
        let mut text = match report.first_wrong() {
            None => format!("{GREEN}it holds{GREEN:#}: {BOLD}{}{BOLD:#} was activated\n", safe(report.label.as_str())),
            Some(wrong) => {
                let why = safe(wrong.wrong.as_deref().unwrap_or_default());
                format!("{RED}it does not hold{RED:#}: {BOLD}{why}{BOLD:#}\n")
            }
        };
        text.push_str(&fields(report));
        for check in &report.checks {
            let verdict = match &check.wrong {
                None => format!("{GREEN}holds{GREEN:#}         "),
                Some(_) => format!("{RED}does not hold{RED:#} "),
            };
            text.push_str(&format!("  {verdict} {}\n", check.claim));
        }
        text.push_str(&format!("{DIM}not checked:{DIM:#}\n"));
        report.not_checked.iter().for_each(|item| text.push_str(&format!("  {DIM}- {item}{DIM:#}\n")));
        text
    }
}

fn fields(report: &Report) -> String {
    let mut fields = Fields::default();
    fields.text("key", format!("{} ({})", report.label, report.key_id));
    fields.text("tenant", report.tenant.to_string());
    fields.text("root", report.root.to_string());
    if let Some((from, until)) = report.activated_at.zip(report.deactivate_at) {
        fields.text("activated", format!("{}, until {}", time(from), time(until)));
    }
    for approved in &report.approvals {
        let who = approved
            .label
            .as_ref()
            .map_or_else(|| approved.by.to_string(), |label| format!("{label} ({})", approved.by));
        fields.text("approved", format!("{} by {who}", time(approved.at)));
    }
    if let Some(policy) = report.policy {
        fields.text("policy", policy.to_string());
    }
    if let Some(size) = report.size {
        let witnesses = match report.cosigned_by.as_slice() {
            [] => "no witness that was named".to_owned(),
            names => names.join(", "),
        };
        fields.text("checkpoint", format!("over {size} events, cosigned by {witnesses}"));
    }
    fields.to_people(2)
}
