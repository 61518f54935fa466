//! Header blocks: which of them count, and what those say.
//!
//! A header block is whatever its sender made it: the server passes on bytes that are no headers, and each client reads
//! those in its own way, or gives up the connection. So one notion, *plain*, says which blocks count. A block that is not
//! plain counts as no headers, whichever way the message came: past the [relay](crate::relay), or out of the log as JSON.
//!
//! Plain is ASCII: the line `NATS/1.0`, with a status of three digits and a description behind it or not; lines
//! `Name: value`, the name of visible characters without a colon and at least one of them, the value of visible
//! characters, spaces and tabs; an empty line, and nothing after it. Every line ends with CR LF. The server and every
//! client that we know write what we use in this form; async-nats reads more (`tests/it/relay.rs` holds
//! it to that). Other implementations trim values, fold lines and compare names in ways of their own; of a plain block
//! they all read the same.

/// A header block that is plain.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    /// The lines behind the first, without the end of the last.
    lines: Option<&'a str>,
}

impl<'a> Plain<'a> {
    /// Reads a block. `None` where it is not plain.
    pub fn parse(block: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(block).ok()?.strip_suffix("\r\n\r\n")?;
        let (first, lines) = match text.split_once("\r\n") {
            Some((first, lines)) => (first, Some(lines)),
            None => (text, None),
        };
        let plain = Self { lines };
        (is_first(first) && plain.lines().all(is_header)).then_some(plain)
    }

    /// The values of a header, in order, without spaces and tabs around them. Names are compared letter by letter.
    pub fn values(self, name: &str) -> impl Iterator<Item = &'a str> {
        self.lines()
            .filter_map(|line| line.split_once(':'))
            .filter(move |(found, _)| *found == name)
            .map(|(_, value)| value.trim_matches([' ', '\t']))
    }

    fn lines(self) -> impl Iterator<Item = &'a str> {
        self.lines.into_iter().flat_map(|lines| lines.split("\r\n"))
    }
}

/// `NATS/1.0`, `NATS/1.0 503`, `NATS/1.0 404 Not Found`.
fn is_first(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("NATS/1.0") else { return false };
    if rest.is_empty() {
        return true;
    }
    let Some([b' ', b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', description @ ..]) = Some(rest.as_bytes()) else {
        return false;
    };
    matches!(description, [] | [b' ', ..]) && is_text(rest)
}

fn is_header(line: &str) -> bool {
    let Some((name, value)) = line.split_once(':') else { return false };
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) && is_text(value)
}

fn is_text(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_servers_and_clients_write() {
        for block in [
            "NATS/1.0\r\n\r\n",
            "NATS/1.0 503\r\n\r\n",
            "NATS/1.0 404 Message Not Found\r\n\r\n",
            "NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\nNats-Last-Sequence: 3\r\n\r\n",
            "NATS/1.0 409 Message Size Exceeds MaxBytes\r\nNats-Pending-Messages: 1\r\n\r\n",
            "NATS/1.0\r\nA:b\r\nA: \r\nA:\r\nx-!#$%&'*+^|~./: green, a:b \t\r\n\r\n",
        ] {
            assert!(Plain::parse(block.as_bytes()).is_some(), "{block:?}");
        }
    }

    #[test]
    fn rejects_everything_else() {
        for block in [
            "",
            "\r\n",
            "\r\n\r\n",
            "no header\r\n\r\n",
            "NATS/1.0",
            "NATS/1.0\r\n",
            "NATS/1.0\n\n",
            "nats/1.0\r\n\r\n",
            "NATS/1.1\r\n\r\n",
            "NATS/1.0 \r\n\r\n",
            "NATS/1.0 20\r\n\r\n",
            "NATS/1.0 020\r\n\r\n",
            "NATS/1.0 2000\r\n\r\n",
            "NATS/1.0  200\r\n\r\n",
            "NATS/1.0 200\tOK\r\n\r\n",
            "NATS/1.0 200 O\rK\r\n\r\n",
            " NATS/1.0\r\n\r\n",
            "NATS/1.0\r\nA: b\r\n",
            "NATS/1.0\r\nA: b",
            "NATS/1.0\r\nA b\r\n\r\n",
            "NATS/1.0\r\n: b\r\n\r\n",
            "NATS/1.0\r\nA : b\r\n\r\n",
            "NATS/1.0\r\n A: b\r\n\r\n",
            "NATS/1.0\r\nÄ: b\r\n\r\n",
            "NATS/1.0\r\nA: ä\r\n\r\n",
            "NATS/1.0\r\nA: b\u{a0}\r\n\r\n",
            "NATS/1.0\r\nA: b\u{b}\r\n\r\n",
            "NATS/1.0\r\nA: b\u{1c}\r\n\r\n",
            "NATS/1.0\r\nA: b\0\r\n\r\n",
            "NATS/1.0\r\nA: b\u{7f}\r\n\r\n",
            "NATS/1.0 200 ä\r\n\r\n",
            "NATS/1.0\r\nA: b\r\n c\r\n\r\n",
            "NATS/1.0\r\nA: b\r\n c: d\r\n\r\n",
            "NATS/1.0\r\nA: b\nC: d\r\n\r\n",
            "NATS/1.0\r\nA: b\rC\r\n\r\n",
            "NATS/1.0\r\nA: b\r\r\n\r\n",
            "NATS/1.0\r\n\r\nA: b\r\n\r\n",
            "NATS/1.0\r\n\r\n\r\n",
            "NATS/1.0\r\nA: b\r\n\r\n\r\n",
        ] {
            assert!(Plain::parse(block.as_bytes()).is_none(), "{block:?}");
        }
        assert!(Plain::parse(b"NATS/1.0\r\nA: \xff\r\n\r\n").is_none());
    }

    #[test]
    fn values_are_those_of_one_name_in_order() {
        let block = "NATS/1.0 100\r\nA: b \r\na: c\r\nAA: d\r\nA:\te:f\r\n\r\n";
        let plain = Plain::parse(block.as_bytes()).unwrap();
        assert_eq!(plain.values("A").collect::<Vec<_>>(), ["b", "e:f"]);
        assert_eq!(plain.values("B").next(), None);
    }
}
