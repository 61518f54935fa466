//! Where a change is cut short, for tests: at the n-th step of index and server together, before or after it is done.

use std::io;
use std::sync::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing was done.
    Failed,
    /// It was done, and nobody was told.
    FailedButPersisted,
}

#[derive(Default)]
pub(crate) struct Faults(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    steps: u64,
    strike: Option<(u64, Fault)>,
}

impl Faults {
    /// Counts anew; the step of this number, from 0, is cut short.
    pub(crate) fn set(&self, strike: Option<(u64, Fault)>) {
        *self.0.lock().unwrap() = Inside { steps: 0, strike };
    }

    /// How many steps were begun since.
    pub(crate) fn steps(&self) -> u64 {
        self.0.lock().unwrap().steps
    }

    /// Whether it has not struck yet.
    pub(crate) fn waiting(&self) -> bool {
        self.0.lock().unwrap().strike.is_some()
    }

    pub(crate) fn before(&self) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        inside.steps += 1;
        inside.strike(Fault::Failed)
    }

    pub(crate) fn after(&self) -> io::Result<()> {
        self.0.lock().unwrap().strike(Fault::FailedButPersisted)
    }
}

impl Inside {
    fn strike(&mut self, now: Fault) -> io::Result<()> {
        if self.strike == Some((self.steps - 1, now)) {
            self.strike = None;
            return Err(io::Error::other("fault injected"));
        }
        Ok(())
    }
}
