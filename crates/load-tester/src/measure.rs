//! What took how long.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::client::Outcome;
use crate::witness::lock;

/// Of microseconds, to three digits, as large as need be.
#[expect(clippy::expect_used, reason = "1 to 5 digits are what there can be")]
fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits")
}

/// What was measured of one kind of thing.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// From the moment it was due on, in microseconds.
    pub(crate) from_due: Histogram<u64>,
    /// From the moment it was sent on.
    pub(crate) from_sent: Histogram<u64>,
    /// Refusals and failures, by name.
    pub(crate) refused: BTreeMap<String, u64>,
    /// What was done in each second from the beginning of the measurement on.
    pub(crate) seconds: Vec<Histogram<u64>>,
}

impl Default for Measured {
    fn default() -> Self {
        Self { from_due: histogram(), from_sent: histogram(), refused: BTreeMap::new(), seconds: Vec::new() }
    }
}

/// Everything that was measured so far, by the name of what was done.
pub(crate) struct Measurement {
    /// What is due before this is not counted.
    from: Instant,
    measured: Mutex<BTreeMap<&'static str, Measured>>,
}

/// When something was due, and when it was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) due: Instant,
    pub(crate) sent: Instant,
}

impl Begun {
    /// Something that is due now.
    pub(crate) fn now() -> Self {
        Self::due(Instant::now())
    }

    /// Something that was due then, and is sent now.
    pub(crate) fn due(due: Instant) -> Self {
        Self { due, sent: Instant::now() }
    }
}

impl Measurement {
    pub(crate) fn new(from: Instant) -> Self {
        Self { from, measured: Mutex::default() }
    }

    /// Counts something that is done now.
    pub(crate) fn done<T>(&self, what: &'static str, begun: Begun, outcome: &Outcome<T>) {
        let now = Instant::now();
        if begun.due < self.from {
            return;
        }
        let mut measured = lock(&self.measured);
        let of = measured.entry(what).or_default();
        if let Err(problem) = outcome {
            *of.refused.entry(problem.clone()).or_default() += 1;
            return;
        }
        let second = usize::try_from(now.saturating_duration_since(self.from).as_secs()).unwrap_or(usize::MAX);
        // An hour of seconds is kept; what comes after is in the sums alone.
        if second < 3600 {
            if of.seconds.len() <= second {
                of.seconds.resize_with(second + 1, histogram);
            }
            if let Some(in_second) = of.seconds.get_mut(second) {
                count(in_second, now - begun.due);
            }
        }
        count(&mut of.from_due, now - begun.due);
        count(&mut of.from_sent, now - begun.sent);
    }

    /// What there is now.
    pub(crate) fn snapshot(&self) -> BTreeMap<&'static str, Measured> {
        lock(&self.measured).clone()
    }

    /// How many were done and how many were not.
    pub(crate) fn glance(&self) -> (u64, u64) {
        let measured = lock(&self.measured);
        let done = measured.values().map(|of| of.from_due.len()).sum();
        let refused = measured.values().flat_map(|of| of.refused.values()).sum();
        (done, refused)
    }
}

/// Counts it; a histogram grows as it must.
fn count(histogram: &mut Histogram<u64>, took: Duration) {
    let _ = histogram.record(micros(took));
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_waits_to_be_sent_is_late_from_when_it_was_due() {
        let begin = Instant::now();
        let measurement = Measurement::new(begin);
        tokio::time::advance(Duration::from_millis(300)).await;
        let begun = Begun::due(begin);
        tokio::time::advance(Duration::from_millis(100)).await;
        measurement.done("key.generate", begun, &Ok(()));
        let measured = measurement.snapshot().remove("key.generate").unwrap();
        assert!(measured.from_due.max().abs_diff(400_000) < 1_000, "{}", measured.from_due.max());
        assert!(measured.from_sent.max().abs_diff(100_000) < 1_000, "{}", measured.from_sent.max());
    }

    #[tokio::test(start_paused = true)]
    async fn the_warm_up_and_refusals_are_no_latencies() {
        let begin = Instant::now();
        let measurement = Measurement::new(begin + Duration::from_secs(1));
        measurement.done("a", Begun::due(begin), &Ok(()));
        tokio::time::advance(Duration::from_secs(2)).await;
        measurement.done::<()>("a", Begun::now(), &Err("busy".to_owned()));
        assert_eq!(measurement.glance(), (0, 1));
    }
}
