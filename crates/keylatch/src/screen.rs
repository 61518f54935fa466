//! The terminal: results on stdout, everything else (progress, notes, questions) on stderr.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::Error;
use crate::layout::{DIM, YELLOW};

/// A result, for programs and for people.
pub trait Show {
    /// One JSON document.
    fn to_json(&self) -> Value;

    /// Text with styles, ending in a line feed. What others chose has gone through [`crate::layout::safe`].
    fn to_people(&self) -> String;
}

/// A result that was put into both forms when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// For programs.
    pub json: Value,
    /// For people, with styles, ending in a line feed.
    pub people: String,
}

impl Show for Shown {
    fn to_json(&self) -> Value {
        self.json.clone()
    }

    fn to_people(&self) -> String {
        self.people.clone()
    }
}

/// Where output goes and questions are asked.
pub struct Screen {
    json: bool,
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    asking: Asking,
    /// Whether somebody watches stderr.
    watched: bool,
    /// Whether stdout takes colours.
    colour: bool,
}

/// Whom a question goes to.
enum Asking {
    /// Somebody at a terminal.
    Terminal,
    /// Nobody.
    Nobody,
    /// A test, that said before what it will answer.
    Scripted(VecDeque<String>),
}

/// What was written to a screen that no terminal is behind.
#[derive(Clone, Debug, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// The text so far, without styles.
    pub fn text(&self) -> String {
        plain(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The text so far, which is taken away.
    pub fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        plain(&bytes)
    }
}

fn plain(bytes: &[u8]) -> String {
    anstream::adapter::strip_str(&String::from_utf8_lossy(bytes)).to_string()
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Screen {
    /// The process's own stdout and stderr. Styles are left out where no terminal is, or `NO_COLOR` is set.
    pub fn terminal(json: bool) -> Self {
        let (stdin, stderr) = (io::stdin().is_terminal(), io::stderr().is_terminal());
        Self {
            json,
            out: Box::new(anstream::AutoStream::auto(io::stdout())),
            err: Box::new(anstream::AutoStream::auto(io::stderr())),
            asking: if stdin && stderr { Asking::Terminal } else { Asking::Nobody },
            watched: stderr,
            colour: anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never,
        }
    }

    /// A screen in memory: stdout and stderr, without styles. Questions are answered in turn by `answers`.
    pub fn captured(json: bool, answers: impl IntoIterator<Item = bool>) -> (Self, Captured, Captured) {
        Self::scripted(json, answers.into_iter().map(|yes| if yes { "y" } else { "n" }.to_owned()))
    }

    /// The same, where questions are answered in turn by these lines.
    pub fn scripted(json: bool, answers: impl IntoIterator<Item = String>) -> (Self, Captured, Captured) {
        let (out, err) = (Captured::default(), Captured::default());
        let answers: VecDeque<String> = answers.into_iter().collect();
        let screen = Self {
            json,
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            asking: if answers.is_empty() { Asking::Nobody } else { Asking::Scripted(answers) },
            watched: false,
            colour: false,
        };
        (screen, out, err)
    }

    /// A screen that shows nothing and is asked nothing: for a library's callers.
    pub fn silent() -> Self {
        Self {
            json: true,
            out: Box::new(io::sink()),
            err: Box::new(io::sink()),
            asking: Asking::Nobody,
            watched: false,
            colour: false,
        }
    }

    /// Whether results are for programs.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Shows a result.
    pub fn show(&mut self, result: &dyn Show) -> Result<(), Error> {
        if self.json {
            writeln!(self.out, "{}", result.to_json())?;
        } else {
            self.out.write_all(result.to_people().as_bytes())?;
        }
        Ok(self.out.flush()?)
    }

    /// Puts a document out as it is, byte for byte.
    pub fn document(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes)?;
        Ok(self.out.flush()?)
    }

    /// Tells a part of a story that is the result itself: to people on stdout, beside a result for programs on stderr.
    pub fn tell(&mut self, text: &str) -> Result<(), Error> {
        let to = if self.json { &mut self.err } else { &mut self.out };
        to.write_all(text.as_bytes())?;
        Ok(to.flush()?)
    }

    /// Whether people see colours.
    pub fn has_colour(&self) -> bool {
        self.colour
    }

    /// Says something beside the result, on stderr; to people only.
    pub fn note(&mut self, text: &str) {
        if !self.json {
            // A note that nobody can read is no reason to stop.
            let _ = writeln!(self.err, "{text}");
        }
    }

    /// Warns, on stderr, programs' people too.
    pub fn warn(&mut self, text: &str) {
        let _ = writeln!(self.err, "{YELLOW}warning:{YELLOW:#} {text}");
    }

    /// Shows what is about to be decided, on stderr.
    pub fn review(&mut self, text: &str) {
        let _ = self.err.write_all(text.as_bytes());
    }

    /// Asks for a yes. `yes` stands for one that was given beforehand.
    ///
    /// # Errors
    /// [`Error::Declined`]; [`Error::Usage`] where there is nobody to ask.
    pub fn confirm(&mut self, question: &str, yes: bool) -> Result<(), Error> {
        if yes {
            return Ok(());
        }
        if !self.can_ask() {
            let advice = "run it in a terminal, or give --yes once you know what it signs";
            return Err(Error::usage("there is no terminal to ask for a confirmation", advice));
        }
        let answer = self.ask(&format!("{question} [y/N]"))?;
        if matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes") { Ok(()) } else { Err(Error::Declined) }
    }

    /// Whether there is somebody to ask.
    pub fn can_ask(&self) -> bool {
        !matches!(self.asking, Asking::Nobody)
    }

    /// Asks for a line, and gives it without blanks around it; empty where nobody answers.
    pub fn ask(&mut self, question: &str) -> Result<String, Error> {
        let mut answer = String::new();
        match &mut self.asking {
            Asking::Nobody => {}
            Asking::Scripted(answers) => answer = answers.pop_front().unwrap_or_default(),
            Asking::Terminal => {
                write!(self.err, "{question} ")?;
                self.err.flush()?;
                io::stdin().lock().read_line(&mut answer)?;
            }
        }
        Ok(answer.trim().to_owned())
    }

    /// Shows how far something long is, where somebody watches.
    pub fn progress(&mut self, what: &str, done: u64, total: u64, state: &mut Progress) {
        if !self.watched || self.json || !state.is_time(done >= total) {
            return;
        }
        state.shown = true;
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100).min(100);
        let _ = write!(self.err, "\r\u{1b}[K{DIM}{what} {percent}% ({done} of {total}){DIM:#}");
        let _ = self.err.flush();
    }

    /// Takes the progress line away.
    pub fn progress_done(&mut self, state: &Progress) {
        if state.shown {
            let _ = write!(self.err, "\r\u{1b}[K");
            let _ = self.err.flush();
        }
    }
}

/// When progress was last shown. Nothing is shown of what takes less than half a second.
#[derive(Debug)]
pub struct Progress {
    next: Instant,
    shown: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self { next: Instant::now() + Duration::from_millis(500), shown: false }
    }
}

impl Progress {
    fn is_time(&mut self, last: bool) -> bool {
        let now = Instant::now();
        let due = now >= self.next || (last && self.shown);
        if due {
            self.next = now + Duration::from_millis(100);
        }
        due
    }
}
