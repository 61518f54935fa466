//! A refusal: data for whoever asked, never an error of the program.

use std::fmt;

use model::{Problem, ProblemType};
use serde_json::{Map, Value};

/// Why something is not done. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The kind: what programs and tests compare.
    pub problem: ProblemType,
    /// What was wrong this time, for people.
    pub detail: String,
    /// What is missing or in the way, by name.
    pub members: Map<String, Value>,
}

impl Rejection {
    /// A refusal of this kind.
    pub fn new(problem: ProblemType, detail: impl fmt::Display) -> Self {
        Self { problem, detail: detail.to_string(), members: Map::new() }
    }

    /// Names what is missing or in the way.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.members.insert(member.to_owned(), value.into());
        self
    }

    /// For use as the end of a check.
    pub fn err<T>(self) -> Result<T, Self> {
        Err(self)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem, self.detail)
    }
}

impl std::error::Error for Rejection {}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let mut problem = Problem::new(rejection.problem, rejection.detail);
        problem.members = rejection.members;
        problem
    }
}
