//! The tables: the whole populations, a column a line. What a control test says it looked at stands here, row by row
//! (`listed_in` in `controls.json`).

mod activations;
mod keys;
mod others;

pub(super) use activations::activations;
pub(super) use keys::keys;
pub(super) use others::{exceptions, governance, people, stores};

use std::collections::BTreeSet;
use std::fmt::Display;

use crate::history::At;

/// A cell that may be empty.
fn cell(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// Several values in a cell.
fn list<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<String>>().join("; ")
}

/// Several names in a cell, each once, in order.
fn set<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    list(values.into_iter().map(|value| value.to_string()).collect::<BTreeSet<String>>())
}

/// An event's place, as a number.
fn place(at: Option<&At>) -> String {
    cell(at.map(|at| at.sequence.0))
}

/// An event's time.
fn time(at: Option<&At>) -> String {
    cell(at.map(|at| at.time))
}
