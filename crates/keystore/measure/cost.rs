//! The cost of the gate: what a use through a store takes beside the bare operation with the same algorithm and key. Taken in
//! by an example of each backend, so that all are measured alike. No part of the crate, which has no clock.

use std::time::{Duration, Instant};

/// How often each is done, where it takes microseconds, after a tenth as many that do not count.
const TIMES: usize = 10_000;

/// What the lines of [`compare`] say.
pub(crate) fn head() {
    head_over(TIMES);
}

/// The same for [`compare_over`].
pub(crate) fn head_over(times: usize) {
    println!("operation, bytes              bare      store   ratio   (means of {times}; medians in brackets)");
}

/// Does both in turn, so that what else the machine does falls on both alike.
pub(crate) fn compare(what: &str, bare: impl FnMut(), through_the_store: impl FnMut()) {
    compare_over(TIMES, what, bare, through_the_store);
}

/// The same for what takes longer.
pub(crate) fn compare_over(times: usize, what: &str, mut bare: impl FnMut(), mut through_the_store: impl FnMut()) {
    let (mut first, mut second) = (Vec::with_capacity(times), Vec::with_capacity(times));
    for _ in 0..times / 10 {
        bare();
        through_the_store();
    }
    for _ in 0..times {
        first.push(timed(&mut bare));
        second.push(timed(&mut through_the_store));
    }
    let (bare, store) = (Times::of(first), Times::of(second));
    println!(
        "{what:<24} {:>6.1} \u{b5}s  {:>6.1} \u{b5}s  {:>5.2}   ({:.1}, {:.1}, {:.2})",
        bare.mean,
        store.mean,
        store.mean / bare.mean,
        bare.median,
        store.median,
        store.median / bare.median,
    );
}

fn timed(work: &mut impl FnMut()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// In microseconds.
struct Times {
    mean: f64,
    median: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let sum: Duration = times.iter().sum();
        Self { mean: micros(sum) / times.len() as f64, median: micros(times[times.len() / 2]) }
    }
}
