//! A key's life as a line: one stretch for each state, told apart by pattern as well as by colour.

use std::fmt;

use model::{KeyState, Timestamp};

use super::html::{Html, html};
use super::{shape, words};
use crate::history::KeyLife;

/// The time that a line covers.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Axis {
    /// Where a time lies.
    fn place(self, time: Timestamp) -> Percent {
        let whole = (self.to - self.from).as_millis().max(1);
        let part = (time - self.from).as_millis().min(whole);
        // Wide, because milliseconds of centuries times ten thousand are many; what comes out is at most that.
        Percent(u32::try_from(i128::from(part) * 10_000 / i128::from(whole)).unwrap_or(WHOLE))
    }
}

/// A percentage, in hundredths.
#[derive(Clone, Copy)]
struct Percent(u32);

const WHOLE: u32 = 10_000;
/// The narrowest stretch that is drawn: even a moment is seen.
const NARROWEST: u32 = 40;

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}%", self.0 / 100, self.0 % 100)
    }
}

/// The stretches of a key's life: state, beginning, end.
pub(super) fn stretches(key: &KeyLife, until: Timestamp) -> Vec<(KeyState, Timestamp, Timestamp)> {
    let ends = key.steps.iter().skip(1).map(|step| step.at.time).chain([until]);
    key.steps.iter().zip(ends).map(|(step, end)| (step.state, step.at.time, end)).collect()
}

/// Draws a key's life. What it shows is in its label, in words.
pub(super) fn draw(out: &mut Html, key: &KeyLife, axis: Axis) {
    let stretches = stretches(key, axis.to);
    let told = stretches.iter().map(|(state, from, to)| {
        format!("{} for {}", words::state(*state), words::duration((*to - *from).as_millis()))
    });
    html! { out, "<svg class='life' role='img' aria-label='" (words::list(told)) "'><rect class='track' x='0' y='0' \
    width='100%' height='100%'/>" }
    for (state, from, to) in stretches {
        let (start, end) = (axis.place(from).0.min(WHOLE - NARROWEST), axis.place(to).0);
        let width = end.saturating_sub(start).max(NARROWEST);
        html! { out, "<rect fill='url(#p-" (state.name()) ")' x='" (Percent(start)) "' y='0' width='" (Percent(width))
        "' height='100%'/>" }
    }
    html! { out, "</svg>" }
}

/// A state, by shape and word.
pub(super) fn state(out: &mut Html, state: KeyState) {
    let name = state.name();
    html! { out, "<span class='state s-" (name) "'>" { shape(out, name) } (words::state(state)) "</span>" }
}

/// What the patterns stand for.
pub(super) fn legend(out: &mut Html) {
    html! { out, "<ul class='legend' aria-label='Patterns'>\n" }
    for state in KeyState::ALL {
        html! { out, "<li><svg class='swatch' aria-hidden='true'><rect fill='url(#p-" (state.name()) ")' x='0' y='0' \
        width='100%' height='100%'/></svg> " (words::state(state)) "</li>\n" }
    }
    html! { out, "</ul>\n" }
}
