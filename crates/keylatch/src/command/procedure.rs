//! `keylatch procedure`: the procedures, processes and statements that a tenant stands by in writing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use lifecycle::state::AdoptedDocument;
use lifecycle::{Governance, Tenant};
use model::command::DocumentAdopt;
use model::evidence::{ControlPoint, DocumentKind};
use model::{Action, Digest, Name, Text, Timestamp};
use serde_json::{Value, json};

use crate::command::delegation::already;
use crate::command::{SigningArgs, principal};
use crate::documents;
use crate::error::{Error, Exit};
use crate::layout::{BOLD, Cell, DIM, Fields, GREEN, RED, Table, YELLOW, relative, safe, styled, time, time_from};
use crate::lookup;
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::words::{self, When, counted, name_of};

/// What to do with procedures.
#[derive(Subcommand, Debug)]
pub enum ProcedureCommand {
    /// Adopt a document: a procedure, a process or a statement, for points of the control. Takes a quorum of admins.
    ///
    /// What is signed is the SHA-256 of its text, who answers for it, the points that it covers, and until when it must be
    /// looked at again; a missed date is an exception. The text is put into the log first, in parts, so that whoever reads
    /// the history has it: it stays there for good, so no personal data. A text that must not be there, or is no text, is
    /// adopted with --not-in-log: then keep the file. Adopted again under the same name, it is that document's next version.
    #[command(
        after_long_help = "Example:\n  keylatch procedure adopt activation.md --name activation --title 'Activating keys' \\\n    --kind procedure --covers 1,3,4,15 --owner sec-1 --review-by +365d --out adopt.json\n  keylatch sign adopt.json         (another admin)\n  keylatch submit adopt.json"
    )]
    Adopt(AdoptArgs),
    /// List the documents adopted: what each covers, who answers for it, when it is due; and the points that none covers.
    List,
    /// Show a document, with its text where the log has it; with --file, say whether a file is the adopted one.
    ///
    /// A text that is in the log and not adopted yet is shown by its SHA-256: for who is asked to sign its adoption.
    #[command(
        after_long_help = "Exit code 1 where the file is not the adopted one.\n\nExamples:\n  keylatch procedure show activation\n  keylatch procedure show activation --file activation.md"
    )]
    Show(ShowArgs),
}

/// Which document, and who signs.
#[derive(Args, Clone, Debug)]
pub struct AdoptArgs {
    /// The file with its text.
    pub file: PathBuf,
    /// Its name, the same in all of its versions.
    #[arg(long)]
    pub name: Name,
    /// Its title, one line.
    #[arg(long, value_name = "TEXT")]
    pub title: Text,
    /// What it is.
    #[arg(long, value_parser = words::document_kind())]
    pub kind: DocumentKind,
    /// The points of the control that it is about, such as 1,3,11 (`keylatch controls` has them).
    #[arg(long, value_name = "POINTS", required = true, value_delimiter = ',', value_parser = words::control_point)]
    pub covers: Vec<ControlPoint>,
    /// Who answers for it: label or fingerprint of an enrolled person.
    #[arg(long, value_name = "WHO")]
    pub owner: String,
    /// Until when it must be looked at again, such as 2027-06-01 or +365d. A missed date is an exception.
    #[arg(long, value_name = "WHEN")]
    pub review_by: When,
    /// Keep its text out of the log; only its SHA-256 is recorded.
    #[arg(long)]
    pub not_in_log: bool,
    #[command(flatten)]
    /// Who signs.
    pub signing: SigningArgs,
}

/// Which document.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Its name, or the SHA-256 of its text.
    pub name: Name,
    /// A file that is compared with it.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Runs `keylatch procedure`.
pub async fn run(command: ProcedureCommand, session: &mut Session, screen: &mut Screen) -> Result<Exit, Error> {
    session.refresh(screen).await?;
    match command {
        ProcedureCommand::Adopt(args) => adopt(args, session, screen).await?,
        ProcedureCommand::List => screen.show(&list(session)?)?,
        ProcedureCommand::Show(args) => {
            let (shown, is_it) = show(session, &args)?;
            screen.show(&shown)?;
            return Ok(if is_it { Exit::Ok } else { Exit::Refused });
        }
    }
    Ok(Exit::Ok)
}

/// Adopts one.
pub async fn adopt(args: AdoptArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let now = session.now();
    let review_by = args.review_by.from(now);
    if review_by <= now {
        let what = format!("it is to be looked at again by {}, which has passed", time(review_by));
        return Err(Error::usage(what, "give a time to come, such as --review-by +365d"));
    }
    let bytes = read(&args.file)?;
    let document = Digest::of(&bytes);
    let owner = lookup::principal(session.state(), &args.owner)?.principal.fingerprint();
    let covers: BTreeSet<ControlPoint> = args.covers.iter().copied().collect();
    let same = |held: &&AdoptedDocument| {
        (held.document, held.kind, &held.title, &held.covers, held.owner, held.review_by)
            == (document, args.kind, &args.title, &covers, owner, review_by)
            && (held.in_log || args.not_in_log)
    };
    if let Some(held) = session.governance()?.documents.get(&args.name).filter(same) {
        return screen.show(&already(&format!("it is adopted so already, as version {}", held.version), held.hash));
    }
    if !args.not_in_log {
        let text = String::from_utf8(bytes).ok().filter(|text| !text.is_empty());
        let parts = text.as_deref().and_then(documents::parts);
        let Some((text, parts)) = text.zip(parts) else {
            let what = "it is no text that the log can hold: UTF-8, not empty, at most 2 MiB";
            return Err(Error::file(&args.file, what, "adopt its SHA-256 alone with --not-in-log, and keep the file"));
        };
        to_log(&args, &text, parts, session, screen).await?;
    }
    let against = session.governance()?.head;
    let AdoptArgs { name, kind, title, .. } = args;
    let params = DocumentAdopt { against, name, kind, title, document, covers, owner, review_by };
    let outcome = principal::govern(session, screen, Action::DocumentAdopt(params), &args.signing.into()).await?;
    screen.show(&outcome)
}

/// Puts the text into the log, after a yes of its own: it stays there, whatever becomes of the adoption.
async fn to_log(
    args: &AdoptArgs,
    text: &str,
    parts: Vec<String>,
    session: &mut Session,
    screen: &mut Screen,
) -> Result<(), Error> {
    if session.known().document(Digest::of(text.as_bytes())).is_none() {
        let (file, size, count) = (args.file.display(), text.len(), counted(parts.len(), "part"));
        screen.note(&format!("{BOLD}{file}{BOLD:#}: {size} bytes of text, to be stored in {count} (document.store)"));
        screen.confirm("Put this text into the log, for good?", args.signing.yes)?;
    }
    documents::store(session, screen, text, parts).await
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::file(path, error, "name the file with the document's text"))
}

/// Those that are adopted, and what nothing is adopted for.
pub fn list(session: &Session) -> Result<Shown, Error> {
    let (state, now, governance) = (session.state(), session.now(), session.governance()?);
    let mut table = Table::new(&["NAME", "VERSION", "KIND", "TITLE", "COVERS", "OWNER", "REVIEW", "TEXT"]);
    for (name, held) in &governance.documents {
        table.row([
            Cell::styled(BOLD, name.as_str()),
            held.version.to_string().into(),
            name_of(&held.kind).into(),
            held.title.as_str().into(),
            points(&held.covers).into(),
            owner(state, held),
            due(held.review_by, now),
            if held.in_log { "in the log" } else { "kept elsewhere" }.into(),
        ]);
    }
    let uncovered = uncovered(governance);
    let mut people = table.to_people("no document is adopted");
    if !uncovered.is_empty() {
        people.push_str(&format!("{YELLOW}no document covers{YELLOW:#} point {}\n", points(&uncovered)));
    }
    let documents: Vec<Value> =
        governance.documents.iter().map(|(name, held)| to_json(state, name, held, now)).collect();
    Ok(Shown { json: json!({ "ok": true, "documents": documents, "not_covered": uncovered }), people })
}

/// The points of the control that no document covers.
pub(crate) fn uncovered(governance: &Governance) -> BTreeSet<ControlPoint> {
    let covered = |point: &ControlPoint| governance.documents.values().any(|held| held.covers.contains(point));
    (1..=ControlPoint::LAST).filter_map(|point| point.try_into().ok()).filter(|point| !covered(point)).collect()
}

/// Points as people write them: `1, 3, 11`.
pub(crate) fn points(points: &BTreeSet<ControlPoint>) -> String {
    points.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn owner(state: &Tenant, held: &AdoptedDocument) -> Cell {
    let name = lookup::name(state, held.owner);
    let stands = state.governance.as_ref().is_some_and(|governance| governance.member(held.owner).is_ok());
    if stands { name.into() } else { Cell::styled(RED, format!("{name} (revoked)")) }
}

fn due(review_by: Timestamp, now: Timestamp) -> Cell {
    if review_by <= now {
        return Cell::styled(RED, format!("overdue: {}", relative(review_by, now)));
    }
    relative(review_by, now).into()
}

fn to_json(state: &Tenant, name: &Name, held: &AdoptedDocument, now: Timestamp) -> Value {
    json!({
        "name": name, "version": held.version, "kind": held.kind, "title": held.title, "document": held.document,
        "covers": held.covers, "owner": { "fingerprint": held.owner, "label": lookup::name(state, held.owner) },
        "review_by": held.review_by, "review_overdue": held.review_by <= now, "in_log": held.in_log, "event": held.hash,
    })
}

/// One of them, and whether the file that is compared with it, if any, is it.
pub fn show(session: &Session, args: &ShowArgs) -> Result<(Shown, bool), Error> {
    let (state, now) = (session.state(), session.now());
    let file = args.file.as_deref().map(|path| read(path).map(|bytes| Digest::of(&bytes))).transpose()?;
    let Some(held) = session.governance()?.documents.get(&args.name) else {
        return show_text(session, &args.name, file);
    };
    let text = session.known().document(held.document);
    let is_it = file.is_none_or(|digest| digest == held.document);
    let mut fields = Fields::default();
    fields.text("version", format!("{} ({})", held.version, lookup::short(held.hash)));
    fields.text("kind", name_of(&held.kind));
    fields.text("SHA-256", held.document.to_string());
    fields.text("covers", points(&held.covers));
    fields.text("owner", lookup::name(state, held.owner));
    let review = time_from(held.review_by, now);
    let overdue = held.review_by <= now;
    fields.add("review by", if overdue { styled(RED, &format!("{review}: overdue")) } else { review });
    match (file, is_it) {
        (None, _) => {}
        (Some(_), true) => fields.add("the file", styled(GREEN, "it is the adopted one")),
        (Some(digest), false) => fields.add("the file", styled(RED, &format!("it is another text: {digest}"))),
    }
    let title = safe(held.title.as_str());
    let mut people = format!("{BOLD}{}{BOLD:#}  {title}\n{}", safe(args.name.as_str()), fields.to_people(2));
    match &text {
        Some(text) => people.push_str(&format!("\n{}\n", safe(text).trim_end())),
        None => people.push_str(&format!("{DIM}its text is not in the log: compare a file with --file{DIM:#}\n")),
    }
    let mut document = to_json(state, &args.name, held, now);
    if let Some(members) = document.as_object_mut() {
        members.insert("text".to_owned(), json!(text));
        members.insert("file_is_it".to_owned(), json!(file.map(|_| is_it)));
    }
    Ok((Shown { json: json!({ "ok": is_it, "document": document }), people }, is_it))
}

/// A text in the log that is not adopted under this name: by its digest.
fn show_text(session: &Session, named: &Name, file: Option<Digest>) -> Result<(Shown, bool), Error> {
    let digest = named.as_str().parse::<Digest>().ok();
    let found = digest.and_then(|digest| Some((digest, session.known().document(digest)?)));
    let Some((digest, text)) = found else {
        let what = format!("no document `{named}` is adopted, and no text in the log has this SHA-256");
        return Err(Error::usage(what, "see `keylatch procedure list`"));
    };
    let is_it = file.is_none_or(|file| file == digest);
    let compared = match (file, is_it) {
        (None, _) => String::new(),
        (Some(_), true) => format!("{}\n", styled(GREEN, "the file is the same text")),
        (Some(other), false) => format!("{}\n", styled(RED, &format!("the file is another text: {other}"))),
    };
    let people = format!("{DIM}SHA-256 {digest}{DIM:#}\n{compared}\n{}\n", safe(&text).trim_end());
    let json = json!({ "ok": is_it, "text": text, "document": digest, "file_is_it": file.map(|_| is_it) });
    Ok((Shown { json, people }, is_it))
}
