//! The filter of the server's bytes: it takes and gives bytes, however they are cut, and leaves out what would crash the
//! client's parser.

use std::io::Write as _;

use crate::header::Plain;
use crate::stream::MESSAGE_BYTES_MAX;

/// The longest line. The server's own are shorter (what a client sends may have 4 KiB), but for the list of a large
/// cluster's addresses.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;
/// The longest header block that is looked at. Longer ones are not plain.
const BLOCK_BYTES_MAX: usize = 128 * 1024;
/// The largest message; the server can't be configured to take larger ones.
const SIZE_MAX: usize = 64 * 1024 * 1024;

const _: () = assert!(BLOCK_BYTES_MAX >= MESSAGE_BYTES_MAX as usize + 4096, "what stands in a log passes");

const CR_LF: &[u8] = b"\r\n";

/// Why a connection can't go on: this is no NATS server, or some of what it said is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("a line from the server is too long")]
    Long,
    #[error("a line from the server does not end as it must")]
    End,
    #[error("the server announces a message whose size does not read")]
    Size,
}

/// Passes on what the server says, byte for byte, with two exceptions:
///
/// - a message whose header block is not [plain](crate::header) is passed on without headers;
/// - a message whose subject or reply subject is not of visible ASCII is left out.
///
/// Holds a line and a header block at most; payloads pass through.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    state: State,
    /// The line, or line and header block, that is not complete.
    held: Vec<u8>,
    /// How many messages lost their headers.
    pub(super) stripped: u64,
    /// How many messages were left out.
    pub(super) left_out: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// In a line.
    #[default]
    Line,
    /// In a header block, of which so many bytes are missing.
    Block { line: usize, missing: usize, payload: usize },
    /// In what is left out; then so many bytes pass.
    Skip { missing: usize, then: usize },
    /// In what passes.
    Pass { missing: usize },
}

impl Filter {
    /// Takes what came in and appends what goes out.
    pub(crate) fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
        let mut rest = input;
        while !rest.is_empty() {
            rest = match self.state {
                State::Line => self.line(rest, out)?,
                State::Block { line, missing, payload } => {
                    let (block, rest) = rest.split_at(missing.min(rest.len()));
                    self.held.extend_from_slice(block);
                    self.state = State::Block { line, missing: missing - block.len(), payload };
                    rest
                }
                State::Skip { missing, then } => {
                    let (skipped, rest) = rest.split_at(missing.min(rest.len()));
                    self.state = State::Skip { missing: missing - skipped.len(), then };
                    rest
                }
                State::Pass { missing } => {
                    let (passed, rest) = rest.split_at(missing.min(rest.len()));
                    out.extend_from_slice(passed);
                    self.state = State::Pass { missing: missing - passed.len() };
                    rest
                }
            };
            self.state = match self.state {
                State::Block { line, missing: 0, payload } => self.judge(line, payload, out),
                State::Skip { missing: 0, then } => State::Pass { missing: then },
                state => state,
            };
            if let State::Pass { missing: 0 } = self.state {
                self.state = State::Line;
            }
        }
        Ok(())
    }

    fn line<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Broken> {
        let end = rest.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
        let (line, rest) = rest.split_at(end.unwrap_or(rest.len()));
        if self.held.len() + line.len() > LINE_BYTES_MAX {
            return Err(Broken::Long);
        }
        self.held.extend_from_slice(line);
        if end.is_some() {
            self.state = self.begin(out)?;
        }
        Ok(rest)
    }

    /// A line is complete.
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<State, Broken> {
        let line = self.held.strip_suffix(CR_LF).ok_or(Broken::End)?;
        let state = if let Some(arguments) = line.strip_prefix(b"MSG ") {
            let (names, size) = last(arguments)?;
            if are_plain(names) {
                out.extend_from_slice(&self.held);
                State::Pass { missing: size + CR_LF.len() }
            } else {
                self.left_out += 1;
                State::Skip { missing: size + CR_LF.len(), then: 0 }
            }
        } else if let Some(arguments) = line.strip_prefix(b"HMSG ") {
            let (arguments, total) = last(arguments)?;
            let (names, block) = last(arguments)?;
            let payload = total.checked_sub(block).ok_or(Broken::Size)?;
            if !are_plain(names) {
                self.left_out += 1;
                State::Skip { missing: total + CR_LF.len(), then: 0 }
            } else if block > BLOCK_BYTES_MAX {
                self.stripped += 1;
                without_headers(names, payload, out);
                State::Skip { missing: block, then: payload + CR_LF.len() }
            } else {
                return Ok(State::Block { line: self.held.len(), missing: block, payload });
            }
        } else {
            out.extend_from_slice(&self.held);
            State::Line
        };
        self.held.clear();
        Ok(state)
    }

    /// A header block is complete.
    fn judge(&mut self, line: usize, payload: usize, out: &mut Vec<u8>) -> State {
        let (line, block) = self.held.split_at(line.min(self.held.len()));
        if Plain::parse(block).is_some() {
            out.extend_from_slice(&self.held);
        } else {
            self.stripped += 1;
            without_headers(names(line), payload, out);
        }
        self.held.clear();
        State::Pass { missing: payload + CR_LF.len() }
    }
}

fn without_headers(names: &[u8], payload: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"MSG ");
    out.extend_from_slice(names);
    // Writing to a vector does not fail.
    let _ = write!(out, " {payload}\r\n");
}

/// The subject, number and reply subject of an `HMSG` line that was read before.
fn names(line: &[u8]) -> &[u8] {
    let arguments = line.strip_prefix(b"HMSG ").and_then(|line| line.strip_suffix(CR_LF));
    let names = arguments.and_then(|arguments| Some(last(last(arguments).ok()?.0).ok()?.0));
    names.unwrap_or_default()
}

/// The arguments but the last, and the last, a number of bytes.
fn last(arguments: &[u8]) -> Result<(&[u8], usize), Broken> {
    let space = arguments.iter().rposition(|byte| *byte == b' ').ok_or(Broken::Size)?;
    let (others, number) = arguments.split_at(space);
    let number = number.strip_prefix(b" ").and_then(digits).filter(|size| *size <= SIZE_MAX);
    Ok((others, number.ok_or(Broken::Size)?))
}

fn digits(text: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits?.parse().ok()
}

/// Whether `<subject> <number> [<reply subject>]` reads. The server lets clients use any bytes but white space in
/// subjects; async-nats wants UTF-8, without what Unicode calls white space. Between names there may be several spaces:
/// the server itself writes two where there is no reply subject.
fn are_plain(names: &[u8]) -> bool {
    let mut names = names.split(|byte| *byte == b' ').filter(|name| !name.is_empty());
    let is_subject = |name: &[u8]| name.iter().all(u8::is_ascii_graphic);
    names.next().is_some_and(is_subject)
        && names.next().and_then(digits).is_some()
        && names.next().is_none_or(is_subject)
        && names.next().is_none()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn filtered(input: &[u8]) -> Result<Vec<u8>, Broken> {
        let (mut filter, mut out) = (Filter::default(), Vec::new());
        filter.push(input, &mut out).map(|()| out)
    }

    #[track_caller]
    fn check(input: impl AsRef<[u8]>, wanted: impl AsRef<[u8]>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(filtered(input.as_ref()).map(|out| text(&out)), Ok(text(wanted.as_ref())));
    }

    fn hmsg(names: &str, block: &[u8], payload: &str) -> Vec<u8> {
        let line = format!("HMSG {names} {} {}\r\n", block.len(), block.len() + payload.len());
        [line.as_bytes(), block, payload.as_bytes(), CR_LF].concat()
    }

    #[test]
    fn what_reads_passes_as_it_is() {
        for input in [
            "INFO {\"a\":1}\r\n",
            "+OK\r\nPING\r\nPONG\r\n-ERR 'no'\r\n",
            "MSG a 1 0\r\n\r\n",
            "MSG a.b 12 _R_.x 5\r\nHMSG \r\nPING\r\n",
            "MSG a 0  3\r\nabc\r\nPING\r\n",
        ] {
            check(input, input);
        }
        let message = hmsg("a 1 b", b"NATS/1.0 503\r\nA: b\r\n\r\n", "x\r\ny");
        check(&message, &message);
    }

    #[test]
    fn headers_that_do_not_read_are_left_out_and_nothing_else() {
        check(hmsg("a 1", b"no header\r\n\r\n", "x"), "MSG a 1 1\r\nx\r\n");
        check(hmsg("a 1 b", b"", ""), "MSG a 1 b 0\r\n\r\n");
        check(hmsg("a 1 ", b"", ""), "MSG a 1  0\r\n\r\n");
        let good = hmsg("a 1", b"NATS/1.0\r\n\r\n", "HMSG a 1 1 1\r\n");
        let bad = hmsg("a 1", b"NATS/1.0\r\nA\r\n\r\n", "HMSG a 1 1 1\r\n");
        let message = b"MSG a 1 14\r\nHMSG a 1 1 1\r\n\r\n";
        check([good.as_slice(), &bad, &good].concat(), [good.as_slice(), message, &good].concat());
        let long = [b"NATS/1.0\r\nA: ".to_vec(), vec![b'b'; BLOCK_BYTES_MAX], b"\r\n\r\n".to_vec()].concat();
        check([hmsg("a 1", &long, "x"), b"PING\r\n".to_vec()].concat(), "MSG a 1 1\r\nx\r\nPING\r\n");
    }

    #[test]
    fn messages_whose_subject_does_not_read_are_left_out() {
        let subjects = ["ä", "a\u{a0}b", "a\u{b}b", "a\rb", "a\u{2028}"];
        for names in subjects.iter().flat_map(|bad| [format!("{bad} 1"), format!("a 1 {bad}"), format!("{bad} 1 b")]) {
            check(hmsg(&names, b"NATS/1.0\r\n\r\n", "x"), "");
            check(format!("MSG {names} 3\r\nabc\r\nPING\r\n"), "PING\r\n");
        }
        check(b"MSG \xff 1 3\r\nabc\r\nPING\r\n", "PING\r\n");
        check(b"MSG a b 3\r\nabc\r\nPING\r\n", "PING\r\n");
        check(b"MSG a 1 b c 3\r\nabc\r\nPING\r\n", "PING\r\n");
    }

    #[test]
    fn rejects_what_no_server_says() {
        for (input, broken) in [
            ("MSG a 1 x\r\n", Broken::Size),
            ("MSG a 1 -1\r\n", Broken::Size),
            ("MSG a 1 +1\r\n", Broken::Size),
            ("MSG a 1 \r\n", Broken::Size),
            ("MSG 1\r\n", Broken::Size),
            ("MSG a 1 99999999999999999999999\r\n", Broken::Size),
            ("MSG a 1 67108865\r\n", Broken::Size),
            ("HMSG a 1 2 1\r\n", Broken::Size),
            ("PING\n", Broken::End),
        ] {
            assert_eq!(filtered(input.as_bytes()), Err(broken), "{input:?}");
        }
        assert_eq!(filtered(&vec![b'a'; LINE_BYTES_MAX + 1]), Err(Broken::Long));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_are_cut(
            messages in vec(("[ -~]{0,3}", any::<bool>(), vec(any::<u8>(), 0..30), "[A\r\n:]{0,8}"), 1..8),
            cuts in vec(1..40_usize, 1..50),
        ) {
            let mut input = Vec::new();
            for (reply, good, payload, block) in messages {
                let names = format!("a 1 {reply}");
                let payload = String::from_utf8_lossy(&payload).into_owned();
                let block = if good { "NATS/1.0\r\nA: b\r\n\r\n".to_owned() } else { block };
                input.extend(hmsg(&names, block.as_bytes(), &payload));
                input.extend(format!("MSG {names} {}\r\n{payload}\r\nPING\r\n", payload.len()).bytes());
            }
            let (mut filter, mut out, mut rest) = (Filter::default(), Vec::new(), input.as_slice());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, others) = rest.split_at((*cut).min(rest.len()));
                filter.push(piece, &mut out).unwrap();
                rest = others;
            }
            prop_assert_eq!(Ok(out), filtered(&input));
        }
    }
}
