//! TOML that people wrote: where in it something is wrong.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The line (from 1) of a place in a text.
pub fn line_at(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or(text).matches('\n').count() + 1
}

/// A TOML error on one line, with the line that it is on, as `line 3: …`.
pub fn explain(text: &str, error: &toml::de::Error) -> String {
    service::config::explain(text, error).replace('\n', ", ")
}

/// The line of the value that a path such as `rule.model-storage.stage.2` names, or of the innermost part of it that is
/// there. In a list, the path's word is the item's `name`, or its place from 1.
pub fn line_of(text: &str, path: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut place: Option<Range<usize>> = None;
    let mut table = document.get_ref();
    let mut rest = path;
    while !rest.is_empty() {
        let (word, after) = rest.split_once('.').unwrap_or((rest, ""));
        let (key, value) = table.iter().find(|(key, _)| key.get_ref() == word)?;
        place = Some(key.span());
        rest = after;
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            DeValue::Array(items) => match named(items.iter(), rest).or_else(|| numbered(items.iter(), rest)) {
                Some((item, span, after)) => {
                    place = item_place(item).or(Some(span));
                    rest = after;
                    table = item;
                }
                None => break,
            },
            _ => break,
        }
        if !rest.is_empty() && !table.iter().any(|(key, _)| key.get_ref() == rest.split('.').next().unwrap_or(rest)) {
            break;
        }
    }
    place.map(|span| line_at(text, span.start))
}

/// The item whose `name` begins the path, and what of the path is left. Names may hold dots themselves.
fn named<'a, 'i, 'p>(items: impl Iterator<Item = &'a Spanned<DeValue<'i>>>, path: &'p str) -> Option<Item<'a, 'i, 'p>>
where
    'i: 'a,
{
    items.filter_map(|item| Some((item.get_ref().as_table()?, item.span()))).find_map(|(table, span)| {
        let (_, name) = table.iter().find(|(key, _)| key.get_ref() == "name")?;
        let rest = path.strip_prefix(name.get_ref().as_str()?)?;
        (rest.is_empty() || rest.starts_with('.')).then(|| (table, span, rest.trim_start_matches('.')))
    })
}

/// The item whose place begins the path, and what of the path is left.
fn numbered<'a, 'i, 'p>(
    mut items: impl Iterator<Item = &'a Spanned<DeValue<'i>>>,
    path: &'p str,
) -> Option<Item<'a, 'i, 'p>>
where
    'i: 'a,
{
    let (word, rest) = path.split_once('.').unwrap_or((path, ""));
    let item = items.nth(word.parse::<usize>().ok()?.checked_sub(1)?)?;
    Some((item.get_ref().as_table()?, item.span(), rest))
}

/// An item of a list, where it begins, and what of the path is left.
type Item<'a, 'i, 'p> = (&'a DeTable<'i>, Range<usize>, &'p str);

/// Where an item begins: at its `name`.
fn item_place(item: &DeTable<'_>) -> Option<Range<usize>> {
    item.iter().find(|(key, _)| key.get_ref() == "name").map(|(key, _)| key.span())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "schema = 1\nadmin_quorum = 1\n\n[keys]\ncreators = []\n\n[[algorithm]]\nname = \"ed25519\"\ncrypto_period = \"0s\"\n\n[operations]\ndestroy = { roles = [], quorum = 0 }\n\n[[rule]]\nname = \"v1.2\"\nusers = []\n\n[[rule.stage]]\nrole = \"a\"\nquorum = 0\n\n[[rule.stage]]\nrole = \"b\"\n";

    #[track_caller]
    fn at(path: &str, line: Option<usize>) {
        assert_eq!(line_of(TEXT, path), line, "{path}");
    }

    #[test]
    fn a_path_leads_to_its_line() {
        at("admin_quorum", Some(2));
        at("keys.creators", Some(5));
        at("keys.pre_active_for", Some(4));
        at("algorithm.ed25519.crypto_period", Some(9));
        at("operations.destroy.roles", Some(12));
        at("rule.v1.2", Some(15));
        at("rule.v1.2.users", Some(16));
        at("rule.v1.2.requesters", Some(15));
        at("rule.v1.2.stage", Some(18));
        at("rule.v1.2.stage.1.quorum", Some(20));
        at("rule.v1.2.stage.2", Some(22));
        at("rule.v1.2.stage.3", Some(18));
        at("nothing", None);
    }

    #[test]
    fn an_error_names_its_line() {
        let error = toml::from_str::<toml::Table>("a = 1\nb = \n").unwrap_err();
        assert!(explain("a = 1\nb = \n", &error).starts_with("line 2: "));
    }
}
