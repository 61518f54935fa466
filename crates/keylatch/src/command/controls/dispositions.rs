//! What is decided about exceptions: a file to be filled in, and reading it.

use std::collections::BTreeMap;
use std::path::Path;

use evidence::controls::{ControlTest, Controls, Exception};
use lifecycle::Tenant;
use model::command::{DISPOSITION_NOTE_BYTES_MAX, DISPOSITIONS_MAX};
use model::evidence::{Disposition, DispositionKind};
use model::{Name, Text, Timestamp};
use serde::Deserialize;
use serde_json::json;
use toml::Spanned;

use super::{Tested, at_checkpoint};
use crate::error::{Error, Exit};
use crate::layout::time;
use crate::lookup;
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::toml_text::{explain, line_at};
use crate::words::{When, name_of};

/// The words for what is done about an exception.
pub(super) const KINDS: [DispositionKind; 4] = [
    DispositionKind::Accepted,
    DispositionKind::Remediate,
    DispositionKind::NotAnException,
    DispositionKind::Transferred,
];

/// An exception that somebody still has to decide about, with its test.
pub(super) struct Open<'a> {
    pub(super) test: &'a ControlTest,
    pub(super) exception: &'a Exception,
}

/// The exceptions that are open: nobody has decided about them, or the date of what was decided has passed.
pub(super) fn open<'a>(tested: &'a Tested, now: Timestamp) -> Vec<Open<'a>> {
    let decided = tested.back.replay.history().dispositions();
    let lasts = |one: &Disposition| one.due > now || one.disposition == DispositionKind::NotAnException;
    let all = tested.controls.controls.iter();
    let all = all.flat_map(|test| test.exceptions.iter().map(move |exception| Open { test, exception }));
    all.filter(|open| !decided.get(&open.exception.id).is_some_and(|(one, _)| lasts(one))).collect()
}

/// Prints the file.
pub(super) async fn print(session: &mut Session, screen: &mut Screen) -> Result<Exit, Error> {
    let tested = at_checkpoint(session, screen).await?;
    let (open, controls) = (open(&tested, session.now()), &tested.controls);
    let exceptions: Vec<&Exception> = open.iter().map(|open| open.exception).collect();
    let json = json!({ "ok": true, "tenant": controls.tenant, "size": controls.period.to.0, "open": exceptions });
    let people = template(controls, &open);
    screen.show(&Shown { json, people })?;
    Ok(Exit::Ok)
}

fn template(controls: &Controls, open: &[Open<'_>]) -> String {
    let kinds: Vec<String> = KINDS.iter().map(name_of).collect();
    let mut text = format!(
        "# What is decided about the open exceptions of tenant {},\n# over events 1 to {} (until {}).\n#\n# disposition: \
         {}\n# owner: who answers for it, label or fingerprint of an enrolled person\n# due: by when, such as 2027-03-31 \
         or +90d\n# note: why, one line of at most {DISPOSITION_NOTE_BYTES_MAX} bytes; it is recorded for good: no personal \
         data\n#\n# What is left empty stays open. At most {DISPOSITIONS_MAX} are signed in one evaluation.\n",
        controls.tenant,
        controls.period.to.0,
        time(controls.period.until),
        kinds.join(" | "),
    );
    if open.is_empty() {
        text.push_str("\n# no exception is open\n");
    }
    for Open { test, exception } in open {
        let key = exception.key.as_ref().map_or_else(String::new, |key| format!("`{key}`: "));
        let events: Vec<String> = exception.events.iter().take(8).map(|at| at.sequence.0.to_string()).collect();
        let about = format!("{} {}\n{key}{}\nevents {}", test.id, test.title, exception.what, events.join(", "));
        text.push_str("\n[[disposition]]\n");
        about.lines().for_each(|line| text.push_str(&format!("# {}\n", crate::layout::safe(line))));
        text.push_str(&format!(
            "exception = \"{}\"\ndisposition = \"\"\nowner = \"{}\"\ndue = \"\"\nnote = \"\"\n",
            exception.id,
            exception.owner.as_deref().filter(|owner| owner.parse::<Name>().is_ok()).unwrap_or_default()
        ));
    }
    text
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    disposition: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    exception: Name,
    #[serde(default)]
    disposition: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    due: String,
    #[serde(default)]
    note: String,
}

/// What was decided about one exception, in words.
pub(super) struct Said<'a> {
    pub(super) disposition: &'a str,
    pub(super) owner: &'a str,
    pub(super) due: &'a str,
    pub(super) note: &'a str,
}

/// Reads what was decided from a file. What has no disposition is passed over.
pub(super) fn read(
    path: &Path,
    controls: &Controls,
    state: &Tenant,
    now: Timestamp,
) -> Result<Vec<Disposition>, Error> {
    let advice = "`keylatch controls dispositions` prints a file to be filled in";
    let text = std::fs::read_to_string(path).map_err(|error| Error::file(path, error, advice))?;
    let file: File = toml::from_str(&text).map_err(|error| Error::file(path, explain(&text, &error), advice))?;
    let mut decided: BTreeMap<Name, Disposition> = BTreeMap::new();
    for entry in file.disposition {
        let line = line_at(&text, entry.span().start);
        let Entry { exception, disposition, owner, due, note } = entry.into_inner();
        if disposition.trim().is_empty() {
            continue;
        }
        let said = Said { disposition: &disposition, owner: &owner, due: &due, note: &note };
        let wrong = |(what, advice): (String, String)| Error::file(path, format!("line {line}: {what}"), advice);
        let one = decide(controls, state, now, &exception, &said).map_err(wrong)?;
        if decided.insert(exception.clone(), one).is_some() {
            return Err(Error::file(path, format!("line {line}: `{exception}` stands twice"), "keep one of the two"));
        }
    }
    Ok(decided.into_values().collect())
}

/// A disposition from words; else what is wrong, and what would be right.
pub(super) fn decide(
    controls: &Controls,
    state: &Tenant,
    now: Timestamp,
    exception: &Name,
    said: &Said<'_>,
) -> Result<Disposition, (String, String)> {
    let all = || controls.controls.iter().flat_map(|test| &test.exceptions);
    if !all().any(|one| one.id == *exception) {
        let what = format!("there is no exception `{exception}` over the events up to {}", controls.period.to.0);
        return Err((what, "see `keylatch controls`; one that is gone needs no disposition".to_owned()));
    }
    let kind = KINDS.into_iter().find(|kind| name_of(kind) == said.disposition.trim());
    let kinds: Vec<String> = KINDS.iter().map(name_of).collect();
    let disposition = kind.ok_or_else(|| {
        (format!("`{}` is no disposition of `{exception}`", said.disposition), format!("write {}", kinds.join(", ")))
    })?;
    let owner = lookup::principal(state, said.owner.trim()).map_err(|error| match error {
        Error::Refused(problem) => {
            let what = format!("nobody can answer for `{exception}`: {}", problem.detail);
            (what, "name an enrolled person; see `keylatch principal list`".to_owned())
        }
        other => (other.to_string(), other.advice()),
    })?;
    let due: When = said.due.trim().parse().map_err(|error| {
        (format!("when `{exception}` is due: {error}"), "say by when, such as 2027-03-31 or +90d".to_owned())
    })?;
    let due = due.from(now);
    if due <= now {
        let what = format!("`{exception}` is due {}, which has passed", time(due));
        return Err((what, "give a time to come, such as +90d".to_owned()));
    }
    let note: Text = said
        .note
        .trim()
        .parse()
        .map_err(|error| (format!("the note on `{exception}`: {error}"), "say in one line why".to_owned()))?;
    let bytes = note.as_str().len();
    if bytes > DISPOSITION_NOTE_BYTES_MAX {
        let what =
            format!("the note on `{exception}` has {bytes} bytes; at most {DISPOSITION_NOTE_BYTES_MAX} are taken");
        return Err((what, "say less, and name where the rest is kept".to_owned()));
    }
    let owner = owner.principal.fingerprint();
    Ok(Disposition { exception: exception.clone(), disposition, owner, due, note })
}
