//! What is done, how much of it, for how long.

use std::str::FromStr;
use std::time::Duration;

/// What one round of a scenario does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scenario {
    /// Has a key made.
    Issue,
    /// Has a key made, asks for its activation, approves twice, waits until the custodian has it active: eight events.
    Lifecycle,
    /// Approves, twice, a request that was open before.
    Approvals,
    /// Suspends a key that was active before, tries a use until it is refused, and resumes the key.
    Suspend,
    /// Uses a key that was active before.
    Use,
    /// Reads a page of the history.
    Read,
    /// Asks how things stood at some event.
    Replay,
}

impl Scenario {
    /// Every one.
    pub const ALL: [Self; 7] =
        [Self::Issue, Self::Lifecycle, Self::Approvals, Self::Suspend, Self::Use, Self::Read, Self::Replay];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::Lifecycle => "lifecycle",
            Self::Approvals => "approvals",
            Self::Suspend => "suspend",
            Self::Use => "use",
            Self::Read => "read",
            Self::Replay => "replay",
        }
    }
}

/// Scenarios, each with its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix(pub Vec<(Scenario, u32)>);

impl Mix {
    /// The scenario of a round: shares come one after the other, so that the mix holds from the first rounds on.
    pub fn of_round(&self, round: u64) -> Scenario {
        let whole: u64 = self.0.iter().map(|(_, share)| u64::from(*share)).sum();
        // Spread, so that not all of one kind come together.
        let mut place = round.wrapping_mul(7_919) % whole.max(1);
        for (scenario, share) in &self.0 {
            match place.checked_sub(u64::from(*share)) {
                None => return *scenario,
                Some(rest) => place = rest,
            }
        }
        Scenario::Lifecycle
    }

    /// Whether it has this scenario.
    pub fn has(&self, scenario: Scenario) -> bool {
        self.0.iter().any(|(other, _)| *other == scenario)
    }
}

impl FromStr for Mix {
    type Err = String;

    /// `lifecycle`, or `lifecycle=8,suspend=1,read=1`.
    fn from_str(text: &str) -> Result<Self, String> {
        let one = |part: &str| {
            let (name, share) = part.split_once('=').unwrap_or((part, "1"));
            let scenario = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name).ok_or_else(|| {
                let names = Scenario::ALL.map(Scenario::name).join(", ");
                format!("there is no scenario `{name}`; there are {names}")
            })?;
            match share.parse() {
                Ok(share @ 1..=10_000) => Ok((scenario, share)),
                _ => Err(format!("`{share}` is no share: write a number from 1 to 10000")),
            }
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Self)
    }
}

/// How rounds begin.
#[derive(Clone, Debug, PartialEq)]
pub enum Pace {
    /// So many rounds at once, each begun when one has ended.
    Closed {
        /// How many.
        at_once: usize,
    },
    /// So many rounds a second, whether the ones before have ended or not.
    Open {
        /// The rates, one after the other.
        steps: Vec<Step>,
    },
}

/// A stretch of an open loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Rounds a second at its beginning.
    pub from: f64,
    /// Rounds a second at its end.
    pub to: f64,
    /// How long it lasts.
    pub lasts: Duration,
}

impl Step {
    /// How many rounds have become due once this much of it is over.
    fn due(&self, elapsed: Duration) -> f64 {
        let (t, whole) = (elapsed.min(self.lasts).as_secs_f64(), self.lasts.as_secs_f64());
        self.from * t + (self.to - self.from) * t * t / (2.0 * whole.max(f64::MIN_POSITIVE))
    }
}

/// When the rounds of an open loop are due.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schedule<'a>(pub(crate) &'a [Step]);

impl Schedule<'_> {
    /// When the round of this number (from 0) is due, from the beginning on; `None` where it is not in the schedule.
    pub(crate) fn due_at(&self, round: u64) -> Option<Duration> {
        let (mut before, mut rounds) = (Duration::ZERO, round as f64);
        for step in self.0 {
            let whole = step.due(step.lasts);
            if rounds < whole {
                return Some(before + within(step, rounds));
            }
            (before, rounds) = (before + step.lasts, rounds - whole);
        }
        None
    }
}

/// When so many rounds of a step are due: the smaller root of `from t + (to - from) t² / 2 lasts = rounds`.
fn within(step: &Step, rounds: f64) -> Duration {
    // The first is due at once, also where the rate begins at nothing.
    if rounds <= 0.0 {
        return Duration::ZERO;
    }
    let slope = (step.to - step.from) / step.lasts.as_secs_f64().max(f64::MIN_POSITIVE);
    let seconds = if slope.abs() < 1e-9 {
        rounds / step.from.max(f64::MIN_POSITIVE)
    } else {
        2.0 * rounds / (step.from + (step.from * step.from + 2.0 * slope * rounds).max(0.0).sqrt())
    };
    Duration::try_from_secs_f64(seconds).unwrap_or(step.lasts)
}

/// The whole plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is done.
    pub mix: Mix,
    /// How rounds begin.
    pub pace: Pace,
    /// How long; of an open loop, the sum of its steps.
    pub lasts: Duration,
    /// How much of the beginning is not counted.
    pub warm_up: Duration,
    /// How many more users follow the events of the tenants, one tenant after the other.
    pub subscribers: usize,
    /// How many rounds of an open loop may be under way at once: beyond, rounds that are due wait, and their wait counts.
    pub under_way_max: usize,
    /// Whether every acknowledged command is looked up in the log afterwards.
    pub check: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_and_keeps_its_shares() {
        let mix: Mix = "lifecycle=8,suspend=1,read=1".parse().unwrap();
        let counted = (0..1000).filter(|round| mix.of_round(*round) == Scenario::Lifecycle).count();
        assert_eq!(counted, 800);
        for bad in ["", "nothing", "issue=0", "issue=x", "issue,,read"] {
            assert!(bad.parse::<Mix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rounds_are_due_when_the_rate_says() {
        let step = |from, to, seconds| Step { from, to, lasts: Duration::from_secs(seconds) };
        let even = [step(10.0, 10.0, 2), step(20.0, 20.0, 1)];
        let schedule = Schedule(&even);
        assert_eq!(schedule.due_at(0), Some(Duration::ZERO));
        assert_eq!(schedule.due_at(10), Some(Duration::from_secs(1)));
        assert_eq!(schedule.due_at(30), Some(Duration::from_millis(2500)));
        assert_eq!(schedule.due_at(40), None);
        let ramp = [step(0.0, 100.0, 10)];
        let schedule = Schedule(&ramp);
        let times: Vec<Duration> = (0..500).map(|round| schedule.due_at(round).unwrap()).collect();
        assert!(times.is_sorted(), "a ramp goes up");
        assert!((times[125].as_secs_f64() - 5.0).abs() < 0.01, "a quarter of them in the first half");
        assert_eq!(schedule.due_at(500), None);
    }
}
