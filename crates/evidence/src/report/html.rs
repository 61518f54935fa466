//! HTML, written so that text can't become markup: what is markup stands in the source, all else is escaped.

use std::fmt::{self, Display, Write as _};

/// A page in the making.
#[derive(Default)]
pub(super) struct Html(String);

/// Writes to a page: literals are markup, what stands in parentheses is text, and what stands in braces writes itself.
macro_rules! html {
    (@ $out:expr, $markup:literal) => { $out.markup($markup) };
    (@ $out:expr, ($text:expr)) => { $out.text(&$text) };
    (@ $out:expr, $code:block) => { $code };
    ($out:expr, $($part:tt)+) => {{ $( html!(@ $out, $part); )+ }};
}
pub(super) use html;

impl Html {
    /// Markup that stands in this program.
    pub(super) fn markup(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Text that anybody may have chosen. The same for elements and for quoted attributes.
    pub(super) fn text(&mut self, text: &dyn Display) {
        // Writing to memory can't fail.
        let _ = write!(Escaped(&mut self.0), "{text}");
    }

    /// JSON in a data block: it reads the same, and nothing in it ends the block. In JSON, `<` stands in texts alone.
    pub(super) fn json(&mut self, json: &str) {
        for (place, part) in json.split('<').enumerate() {
            if place > 0 {
                self.0.push_str("\\u003c");
            }
            self.0.push_str(part);
        }
    }

    /// The page.
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' => self.0.push(' '),
                c if is_hidden(c) => self.0.extend(c.escape_unicode()),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// What a reader would not see, or would see the rest of the line turned by: control characters, invisible ones, and
/// those that set the direction of reading. They are written out.
fn is_hidden(c: char) -> bool {
    let formats = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    c.is_control() || formats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, written: &str) {
        let mut out = Html::default();
        html! { out, "<i>" (text) "</i>" }
        assert_eq!(out.into_string(), format!("<i>{written}</i>"));
    }

    #[test]
    fn text_does_not_become_markup() {
        check("</i><script>alert(1)</script>", "&lt;/i&gt;&lt;script&gt;alert(1)&lt;/script&gt;");
        check("' onclick='x' \"", "&#39; onclick=&#39;x&#39; &quot;");
        check("&lt;", "&amp;lt;");
        check("für é 鍵", "für é 鍵");
    }

    #[test]
    fn what_turns_or_hides_text_is_written_out() {
        check("a\u{202e}b\u{2066}c\u{200b}", "a\\u{202e}b\\u{2066}c\\u{200b}");
        check("a\nb\0", "a b\\u{0}");
    }

    #[test]
    fn data_does_not_end_its_block() {
        let mut out = Html::default();
        out.json(r#"{"a":"</script><!--"}"#);
        let written = out.into_string();
        assert!(!written.contains('<'), "{written}");
        let read: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read["a"], "</script><!--");
    }
}
