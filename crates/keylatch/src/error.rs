//! What can go wrong, and with which exit code it ends the program.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use model::{CommandId, Problem};

use crate::layout::{self, BOLD, DIM, RED};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Refused, declined, or found to be false.
    Refused = 1,
    /// The command line, a file or the configuration won't do.
    Usage = 2,
    /// The platform does not answer.
    Unreachable = 3,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The platform refused.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// Something was checked and does not hold.
    #[error("{what}")]
    Failed {
        /// What does not hold.
        what: String,
        /// What to do about it.
        advice: String,
    },
    /// The person who was asked said no.
    #[error("not confirmed: nothing was signed or sent")]
    Declined,
    /// The command line, a file or the configuration won't do.
    #[error("{what}")]
    Usage {
        /// What is wrong.
        what: String,
        /// What would be right.
        advice: String,
    },
    /// The platform, or a part of it, does not answer.
    #[error("{what}")]
    Unreachable {
        /// Who does not answer.
        what: String,
        /// What to do about it.
        advice: String,
    },
    /// A command was sent, and no answer came: it may have been recorded.
    #[error("no answer to command {command} (`{action}`) after {attempts} attempts: it may have been recorded")]
    Unanswered {
        /// The command.
        command: CommandId,
        /// Its action.
        action: &'static str,
        /// How often it was sent, always the same bytes.
        attempts: usize,
        /// Where the signed command was kept, to be sent again.
        saved: Option<PathBuf>,
    },
    /// Nobody reads the output any more, or it can't be written.
    #[error("can't write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl Error {
    /// Something that does not hold.
    pub fn failed(what: impl Display, advice: impl Display) -> Self {
        Self::Failed { what: what.to_string(), advice: advice.to_string() }
    }

    /// Something wrong with the command line, a file or the configuration.
    pub fn usage(what: impl Display, advice: impl Display) -> Self {
        Self::Usage { what: what.to_string(), advice: advice.to_string() }
    }

    /// Something wrong with a file.
    pub fn file(path: &Path, what: impl Display, advice: impl Display) -> Self {
        Self::usage(format!("{}: {what}", path.display()), advice)
    }

    /// Somebody who does not answer.
    pub fn unreachable(what: impl Display, advice: impl Display) -> Self {
        Self::Unreachable { what: what.to_string(), advice: advice.to_string() }
    }

    /// How it ends the program.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) | Self::Failed { .. } | Self::Declined => Exit::Refused,
            Self::Usage { .. } | Self::Output(_) => Exit::Usage,
            Self::Unreachable { .. } | Self::Unanswered { .. } => Exit::Unreachable,
        }
    }

    /// What would be right.
    pub fn advice(&self) -> String {
        match self {
            Self::Refused(problem) => problem.advice.clone(),
            Self::Failed { advice, .. } | Self::Usage { advice, .. } | Self::Unreachable { advice, .. } => {
                advice.clone()
            }
            Self::Declined => "run the command again, and answer y, or give --yes".to_owned(),
            Self::Unanswered { saved: Some(path), .. } => {
                format!(
                    "send the same bytes again with `keylatch submit {}`: if it was recorded, the answer is the same",
                    path.display()
                )
            }
            Self::Unanswered { saved: None, .. } => {
                "see with `keylatch history` whether it was recorded before you sign another".to_owned()
            }
            Self::Output(_) => "see where the output goes".to_owned(),
        }
    }

    /// As a problem document: the platform's own where it refused, else one of type `about:blank` (RFC 9457, 4.2.1) with
    /// the exit code.
    pub fn to_problem(&self) -> Problem {
        if let Self::Refused(problem) = self {
            return (**problem).clone();
        }
        let (status, title) = match self.exit() {
            Exit::Unreachable => (503, "The platform does not answer."),
            Exit::Usage => (400, "The command line, a file or the configuration won't do."),
            Exit::Refused | Exit::Ok => (422, "It does not hold."),
        };
        let problem = Problem {
            ok: false,
            problem_type: "about:blank".to_owned(),
            title: title.to_owned(),
            status,
            detail: self.to_string(),
            advice: self.advice(),
            members: serde_json::Map::new(),
        };
        match self {
            Self::Unanswered { command, .. } => problem.with("command", command.to_string()),
            _ => problem,
        }
    }

    /// For people: what, detail, advice, and what is missing.
    pub fn to_people(&self) -> String {
        let mut text = match self {
            Self::Refused(problem) => {
                let (title, detail) = (layout::safe(&problem.title), layout::safe(&problem.detail));
                format!("{RED}refused:{RED:#} {BOLD}{}:{BOLD:#} {detail}\n", title.trim_end_matches('.'))
            }
            other => format!("{RED}error:{RED:#} {}\n", layout::safe(&other.to_string())),
        };
        let blocks = match self {
            Self::Refused(problem) => crate::explain::blocks_of(problem),
            _ => String::new(),
        };
        match blocks.is_empty() {
            true => text.push_str(&format!("  {DIM}→{DIM:#} {}\n", layout::safe(&self.advice()))),
            false => text.push_str(&blocks),
        }
        if let (Self::Refused(problem), true) = (self, blocks.is_empty()) {
            for (name, value) in &problem.members {
                text.push_str(&format!("  {DIM}{}:{DIM:#} {}\n", layout::safe(name), layout::safe(&member(value))));
            }
        }
        text
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Refused(Box::new(problem))
    }
}

impl From<lifecycle::Rejection> for Error {
    fn from(rejection: lifecycle::Rejection) -> Self {
        Problem::from(rejection).into()
    }
}

/// A problem's member in words.
fn member(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(values) => values.iter().map(member).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
