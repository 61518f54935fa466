//! Documents in the log: put there part by part, and found there again by their digest.

use model::command::{DOCUMENT_PART_BYTES_MAX, DOCUMENT_PARTS_MAX, DocumentStore};
use model::{Action, Digest, ProblemType};

use crate::bulk::{self, Wanted};
use crate::error::Error;
use crate::screen::Screen;
use crate::session::Session;

/// Puts a text into the log, part by part, and reads it there. Parts that are there are passed over, and so is a text that
/// is there whole, in whatever parts.
pub async fn store(session: &mut Session, screen: &mut Screen, text: &str, parts: Vec<String>) -> Result<(), Error> {
    let document = Digest::of(text.as_bytes());
    if session.known().document(document).is_some() {
        return Ok(());
    }
    let count = u16::try_from(parts.len()).unwrap_or(u16::MAX);
    let stored = session.state().documents.get(&document).map(|known| known.stored.clone()).unwrap_or_default();
    let missing = (0..count).zip(parts).filter(|(part, _)| !stored.contains_key(part));
    let wanted = missing.map(|(part, text)| Wanted {
        action: Action::DocumentStore(DocumentStore { document, part, parts: count, text }),
        key_id: None,
    });
    let wanted: Vec<Wanted> = wanted.collect();
    for result in bulk::send_all(session, screen, "storing the text", wanted).await? {
        match result {
            // Somebody, or an earlier try, was first.
            Err(Error::Refused(problem)) if problem.kind() == Some(ProblemType::NothingDue) => {}
            result => {
                result?;
            }
        }
    }
    session.refresh(screen).await?;
    match session.known().document(document) {
        Some(stored) if stored == text => Ok(()),
        _ => Err(Error::failed(
            format!("the log has another text under this digest ({document})"),
            "see with `keylatch history` who stored it; a text with one letter more or less has another digest",
        )),
    }
}

/// A text in parts, each small enough for one command however it is written in JSON; `None` where they would be too many.
pub fn parts(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut room = DOCUMENT_PART_BYTES_MAX;
    for c in text.chars() {
        let size = size_in_json(c);
        if size > room {
            parts.push(String::new());
            room = DOCUMENT_PART_BYTES_MAX;
        }
        room -= size;
        parts.last_mut().into_iter().for_each(|part| part.push(c));
    }
    (parts.len() <= usize::from(DOCUMENT_PARTS_MAX)).then_some(parts)
}

/// How many bytes a character takes in a JSON string, at most.
fn size_in_json(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, count: Option<usize>) {
        let parts = parts(text);
        assert_eq!(parts.as_ref().map(Vec::len), count);
        for part in parts.iter().flatten() {
            assert!(part.len() <= DOCUMENT_PART_BYTES_MAX);
            assert!(serde_json::to_string(part).unwrap().len() <= DOCUMENT_PART_BYTES_MAX + 2);
        }
        if let Some(parts) = parts {
            assert_eq!(parts.concat(), text);
        }
    }

    #[test]
    fn a_text_is_cut_where_its_parts_fit_a_command() {
        check("", Some(1));
        check("one line\n", Some(1));
        check(&"a".repeat(16 * 1024), Some(1));
        check(&"a".repeat(16 * 1024 + 1), Some(2));
        check(&"\n".repeat(16 * 1024), Some(2));
        check(&"\u{1}".repeat(16 * 1024), Some(7));
        check(&"鍵".repeat(16 * 1024), Some(4));
        check(&"a".repeat(128 * 16 * 1024), Some(128));
        check(&"a".repeat(128 * 16 * 1024 + 1), None);
    }
}
