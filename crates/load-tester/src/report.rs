//! What came of a run: for people, for programs, and as a page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::Cast;
use crate::check::Checked;
use crate::html;
use crate::measure::Measured;
use crate::plan::{Pace, Plan};

/// The report. Times are in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was done, in words.
    pub plan: String,
    /// How many tenants.
    pub tenants: usize,
    /// How long was measured, in seconds, the warm-up left out.
    pub seconds: f64,
    /// How many events came from the tenants meanwhile, the warm-up included.
    pub events: u64,
    /// Events a second.
    pub events_per_second: f64,
    /// How many events further subscribers were given.
    pub delivered: u64,
    /// What was done, by name.
    pub done: Vec<Done>,
    /// What the log says of what was acknowledged, where that was looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<Checked>,
}

/// One kind of thing that was done.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// Its name: a command's action, a scenario, or a wait.
    pub what: String,
    /// How often it was done.
    pub count: u64,
    /// How often a second.
    pub per_second: f64,
    /// Refusals and failures, by name.
    pub refused: BTreeMap<String, u64>,
    /// From the moment it was due on.
    pub from_due: Latency,
    /// From the moment it was sent on.
    pub from_sent: Latency,
    /// Each second: how many, and the median and 99th percentile from when they were due.
    pub timeline: Vec<Second>,
}

/// How long something took, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "percentiles")]
pub struct Latency {
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// One second.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "as its parent says")]
pub struct Second {
    pub count: u64,
    pub p50: f64,
    pub p99: f64,
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| millis(histogram.value_at_quantile(quantile));
        let min = if histogram.is_empty() { 0.0 } else { millis(histogram.min()) };
        Self { min, p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: millis(histogram.max()) }
    }
}

impl Report {
    pub(crate) fn new(
        cast: &Cast,
        plan: &Plan,
        took: Duration,
        measured: BTreeMap<&'static str, Measured>,
        events: u64,
        delivered: u64,
        checked: Option<Checked>,
    ) -> Self {
        let seconds = took.saturating_sub(plan.warm_up).as_secs_f64().max(f64::MIN_POSITIVE);
        let done = |(what, measured): (&'static str, Measured)| {
            let count = measured.from_due.len();
            let second = |of: &Histogram<u64>| Second {
                count: of.len(),
                p50: millis(of.value_at_quantile(0.5)),
                p99: millis(of.value_at_quantile(0.99)),
            };
            Done {
                what: what.to_owned(),
                count,
                per_second: count as f64 / seconds,
                refused: measured.refused,
                from_due: Latency::of(&measured.from_due),
                from_sent: Latency::of(&measured.from_sent),
                timeline: measured.seconds.iter().map(second).collect(),
            }
        };
        Self {
            plan: describe(plan),
            tenants: cast.tenants.len(),
            seconds,
            events,
            events_per_second: events as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE),
            delivered,
            done: measured.into_iter().map(done).collect(),
            checked,
        }
    }

    /// How many tenants, in words.
    pub(crate) fn of_tenants(&self) -> String {
        if self.tenants == 1 { "1 tenant".to_owned() } else { format!("{} tenants", self.tenants) }
    }

    /// What was done of this name.
    pub fn of(&self, what: &str) -> Option<&Done> {
        self.done.iter().find(|done| done.what == what)
    }

    /// Whether everything was done that was asked, and stands.
    pub fn holds(&self) -> bool {
        self.done.iter().all(|done| done.refused.is_empty()) && self.checked.as_ref().is_none_or(Checked::holds)
    }

    /// The report as a terminal shows it.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "{}, {}, {:.1} s measured", self.plan, self.of_tenants(), self.seconds);
        let _ = writeln!(text, "{} events, {:.0} a second", self.events, self.events_per_second);
        if self.delivered > 0 {
            let _ = writeln!(text, "{} events delivered to further subscribers", self.delivered);
        }
        let _ = writeln!(
            text,
            "\n{:<20} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}   {:>9}",
            "ms from when due", "count", "a second", "p50", "p90", "p99", "p99.9", "max", "p99 sent"
        );
        for done in &self.done {
            let Done { what, count, per_second, from_due, from_sent, .. } = done;
            let Latency { p50, p90, p99, p999, max, .. } = from_due;
            let _ = writeln!(
                text,
                "{what:<20} {count:>9} {per_second:>9.1} {p50:>9.2} {p90:>9.2} {p99:>9.2} {p999:>9.2} {max:>9.2}   {:>9.2}",
                from_sent.p99
            );
            for (problem, count) in &done.refused {
                let _ = writeln!(text, "  {count} times {problem}");
            }
        }
        match &self.checked {
            None => {}
            Some(checked) if checked.holds() => {
                let _ = writeln!(
                    text,
                    "\nall {} acknowledged commands stand in the log where the answers said, once ({} events read)",
                    checked.acknowledged, checked.events
                );
            }
            Some(checked) => {
                let _ = writeln!(
                    text,
                    "\n{} of {} acknowledged commands stand in the log",
                    checked.standing, checked.acknowledged
                );
                for what in checked.missing.iter().chain(&checked.twice).take(20) {
                    let _ = writeln!(text, "  {what}");
                }
            }
        }
        text
    }

    /// The report as a page that needs nothing else.
    pub fn to_html(&self) -> String {
        html::page(self)
    }
}

fn describe(plan: &Plan) -> String {
    let mix: Vec<String> = plan.mix.0.iter().map(|(scenario, share)| format!("{}={share}", scenario.name())).collect();
    let mix = match plan.mix.0.as_slice() {
        [(scenario, _)] => scenario.name().to_owned(),
        _ => mix.join(","),
    };
    let pace = match &plan.pace {
        Pace::Closed { at_once } => format!("{at_once} rounds at once"),
        Pace::Open { steps } => {
            let step = |step: &crate::plan::Step| match step.from == step.to {
                true => format!("{}/s for {:?}", step.from, step.lasts),
                false => format!("{} to {}/s in {:?}", step.from, step.to, step.lasts),
            };
            steps.iter().map(step).collect::<Vec<_>>().join(", then ")
        }
    };
    format!("{mix}, {pace}")
}
