//! How things look to people: styles, tables, lists of fields, times. Styles are ANSI sequences that the screen takes
//! out again where nobody could see them.

use anstyle::{AnsiColor, Style};
use model::{KeyState, Timestamp};

/// For what matters.
pub const BOLD: Style = Style::new().bold();
/// For what can be passed over.
pub const DIM: Style = Style::new().dimmed();
/// For what is wrong.
pub const RED: Style = AnsiColor::Red.on_default().bold();
/// For what is well.
pub const GREEN: Style = AnsiColor::Green.on_default();
/// For what is waited for.
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
/// For names.
pub const CYAN: Style = AnsiColor::Cyan.on_default();

/// Text that somebody else chose, with everything that a terminal would obey or hide written out: control characters,
/// invisible ones, and those that turn the direction of reading.
pub fn safe(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_hidden(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn is_hidden(c: char) -> bool {
    let formats = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    c.is_control() || formats
}

/// The colour of a state.
pub fn state_style(state: KeyState) -> Style {
    match state {
        KeyState::Active => GREEN,
        KeyState::PreActive | KeyState::Suspended => YELLOW,
        KeyState::Compromised | KeyState::DestroyedCompromised => RED,
        KeyState::Deactivated | KeyState::Destroyed => DIM,
    }
}

/// Text in a style.
pub fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// A cell: text, and how it is shown.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text: safe(&text), style: Style::new() }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Cell {
    /// A cell in a style.
    pub fn styled(style: Style, text: impl Into<String>) -> Self {
        Self { text: safe(&text.into()), style }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Rows under a heading, in columns as wide as they need to be.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| Cell::styled(DIM, *heading)).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines, or `otherwise` where there is no row.
    pub fn to_people(&self, otherwise: &str) -> String {
        if self.rows.len() < 2 {
            return format!("{DIM}{otherwise}{DIM:#}\n");
        }
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(Cell::width).max();
        let widths: Vec<usize> = (0..columns).filter_map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            for (place, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let padding = if place + 1 == row.len() { 0 } else { width - cell.width() + 2 };
                text.push_str(&styled(cell.style, &cell.text));
                text.push_str(&" ".repeat(padding));
            }
            text.push('\n');
        }
        text
    }
}

/// Names and what they are, one a line, aligned. Values of several lines are indented under their name.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    rows: Vec<(String, String)>,
}

impl Fields {
    /// Adds a field whose value may carry styles: what others chose must have gone through [`safe`].
    pub fn add(&mut self, name: &str, value: impl Into<String>) {
        self.rows.push((safe(name), value.into()));
    }

    /// Adds a field with a value that others chose.
    pub fn text(&mut self, name: &str, value: impl AsRef<str>) {
        self.add(name, safe(value.as_ref()));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, indented.
    pub fn to_people(&self, indent: usize) -> String {
        let width = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        let mut text = String::new();
        for (name, value) in &self.rows {
            let mut lines = value.lines();
            let first = lines.next().unwrap_or_default();
            let gap = width - name.chars().count() + 2;
            text.push_str(&format!("{}{DIM}{name}{DIM:#}{}{first}\n", " ".repeat(indent), " ".repeat(gap)));
            for line in lines {
                text.push_str(&format!("{}{line}\n", " ".repeat(indent + width + 2)));
            }
        }
        text
    }
}

/// A time as people read it, to the second.
pub fn time(time: Timestamp) -> String {
    let text = time.to_string();
    match text.split_once('T').zip(text.split_once('.')) {
        Some(((date, rest), _)) => format!("{date} {}Z", rest.split('.').next().unwrap_or_default()),
        None => text,
    }
}

/// A time with how far it is from now.
pub fn time_from(time_then: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", time(time_then), relative(time_then, now))
}

/// How far a time is from now: `in 3h 20m`, `5m ago`.
pub fn relative(time: Timestamp, now: Timestamp) -> String {
    let seconds = (time.unix_millis() - now.unix_millis()) / 1000;
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {}", length(seconds)),
        _ => format!("{} ago", length(-seconds)),
    }
}

/// A length of time in its two largest units.
fn length(seconds: i64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let largest = units.iter().position(|(_, size)| seconds >= *size).unwrap_or(units.len());
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (name, size) in units.iter().skip(largest).take(2) {
        if rest / size > 0 {
            parts.push(format!("{}{name}", rest / size));
        }
        rest %= size;
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn what_others_wrote_cannot_command_the_terminal_or_hide() {
        assert_eq!(safe("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        assert_eq!(safe("abc\u{202e}fed"), "abc\\u{202e}fed");
        assert_eq!(safe("a\u{200b}b\rc"), "a\\u{200b}b\\u{d}c");
        assert_eq!(safe("für é 鍵"), "für é 鍵");
    }

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let mut table = Table::new(&["KEY", "STATE"]);
        table.row(["alpha".into(), Cell::styled(GREEN, "active")]);
        table.row(["b".into(), "pre-active".into()]);
        assert_eq!(plain(&table.to_people("")), "KEY    STATE\nalpha  active\nb      pre-active\n");
        assert_eq!(plain(&Table::new(&["KEY"]).to_people("no keys")), "no keys\n");
    }

    #[test]
    fn fields_line_up_and_long_values_stay_under_their_name() {
        let mut fields = Fields::default();
        fields.text("key", "k1");
        fields.text("legal basis", "one\ntwo");
        assert_eq!(plain(&fields.to_people(2)), "  key          k1\n  legal basis  one\n               two\n");
    }

    #[track_caller]
    fn apart(seconds: i64, words: &str) {
        let now = Timestamp::from_unix_millis(1_000_000_000_000);
        let then = Timestamp::from_unix_millis(now.unix_millis() + seconds * 1000);
        assert_eq!(relative(then, now), words);
    }

    #[test]
    fn times_are_said_in_two_units() {
        apart(0, "now");
        apart(59, "in 59s");
        apart(-60, "1m ago");
        apart(3_661, "in 1h 1m");
        apart(-90_000, "1d 1h ago");
        apart(86_400, "in 1d");
        assert_eq!(time("2026-11-23T17:00:01.234Z".parse().unwrap()), "2026-11-23 17:00:01Z");
    }
}
