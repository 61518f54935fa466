//! The steps of which changes consist, each of which may be the last one before a crash. Tests cut them short.

use crate::Error;

/// Runs steps.
#[derive(Default)]
pub(crate) struct Steps {
    #[cfg(test)]
    pub(crate) faults: tests::Faults,
}

impl Steps {
    /// Runs one: something that changes a token or the index, whole or not at all.
    pub(crate) fn run<T>(&self, step: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        #[cfg(test)]
        self.faults.before()?;
        let done = step()?;
        #[cfg(test)]
        self.faults.after()?;
        Ok(done)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use crate::Error;

    /// How a step is cut short.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// It was not done.
        Failed,
        /// It was done, and nobody was told.
        FailedButPersisted,
    }

    /// The fault that is waiting, and how many steps were run.
    #[derive(Default)]
    pub(crate) struct Faults(Mutex<(u64, Option<(u64, Fault)>)>);

    impl Faults {
        /// Lets the step after `skip` others fail.
        pub(crate) fn set(&self, skip: u64, fault: Fault) {
            let mut inside = self.0.lock().unwrap();
            let at = inside.0 + skip + 1;
            inside.1 = Some((at, fault));
        }

        /// How many steps were begun.
        pub(crate) fn count(&self) -> u64 {
            self.0.lock().unwrap().0
        }

        pub(crate) fn before(&self) -> Result<(), Error> {
            self.0.lock().unwrap().0 += 1;
            self.strike(Fault::Failed)
        }

        pub(crate) fn after(&self) -> Result<(), Error> {
            self.strike(Fault::FailedButPersisted)
        }

        fn strike(&self, now: Fault) -> Result<(), Error> {
            let mut inside = self.0.lock().unwrap();
            if inside.1 == Some((inside.0, now)) {
                inside.1 = None;
                return Err(Error::Fault);
            }
            Ok(())
        }
    }
}
