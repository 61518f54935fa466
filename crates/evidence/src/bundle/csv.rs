//! CSV (RFC 4180) that a spreadsheet may open: nothing in a cell is taken for a formula.

use std::io::{self, Write};

/// A column: its heading, and what stands in it.
pub(super) type Column<S, R> = (&'static str, fn(&S, &R) -> String);

/// Writes a table.
pub(super) fn write<S, R>(
    out: &mut dyn Write,
    columns: &[Column<S, R>],
    scope: &S,
    rows: impl IntoIterator<Item = R>,
) -> io::Result<()> {
    line(out, columns.iter().map(|(heading, _)| (*heading).to_owned()))?;
    rows.into_iter().try_for_each(|row| line(out, columns.iter().map(|(_, cell)| cell(scope, &row))))
}

fn line(out: &mut dyn Write, cells: impl Iterator<Item = String>) -> io::Result<()> {
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            out.write_all(b",")?;
        }
        out.write_all(escaped(&cell).as_bytes())?;
    }
    out.write_all(b"\r\n")
}

/// What spreadsheets take for the beginning of a formula, in the wide forms as well, and what they pass over before it.
const FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
/// What separates cells or lines, here or where other separators are the custom.
const SEPARATORS: [char; 6] = [',', ';', '\t', '"', '\r', '\n'];

fn escaped(cell: &str) -> String {
    let formula = cell.trim_start_matches([' ', '\u{a0}', '\u{3000}']).starts_with(FORMULA);
    let text = if formula { format!("'{cell}") } else { cell.to_owned() };
    if formula || text.contains(SEPARATORS) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cell: &str, written: &str) {
        assert_eq!(escaped(cell), written);
    }

    #[test]
    fn cells_are_quoted_where_they_must_be_and_are_never_formulas() {
        check("plain words", "plain words");
        check("", "");
        check("a,b", "\"a,b\"");
        check("a;b", "\"a;b\"");
        check("he said \"no\"", "\"he said \"\"no\"\"\"");
        check("=1+1", "\"'=1+1\"");
        check("+1", "\"'+1\"");
        check("-1", "\"'-1\"");
        check("@SUM(A1)", "\"'@SUM(A1)\"");
        check(" =1", "\"' =1\"");
        check("\u{ff1d}1", "\"'\u{ff1d}1\"");
        check("a=b", "a=b");
    }
}
