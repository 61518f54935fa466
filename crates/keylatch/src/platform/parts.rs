//! The parts of the platform that run side by side, none of which may end before all of them are asked to.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use service::Error;
use tokio::task::{JoinError, JoinSet};

/// Tasks, each with the name that people know it by.
#[derive(Default)]
pub(super) struct Parts(JoinSet<(&'static str, Result<(), Error>)>);

impl Parts {
    /// Runs a part.
    pub(super) fn spawn(&mut self, part: &'static str, run: impl Future<Output = Result<(), Error>> + Send + 'static) {
        self.0.spawn(async move {
            let panicked = |_| Err(Error::Internal("it panicked; see the log".into()));
            let outcome = AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(panicked);
            (part, outcome)
        });
    }

    /// Waits until one of them ends, which none should by itself.
    pub(super) async fn failed(&mut self) -> Error {
        match self.0.join_next().await {
            Some(ended) => match End::of(ended) {
                End::Failed(error) => error,
                End::ByItself(part) => of_part(part, Error::Internal("nobody asked it to".into())),
            },
            None => std::future::pending().await,
        }
    }

    /// Waits until all have ended, now that they are asked to. The first failure, where there is one.
    pub(super) async fn stopped(&mut self) -> Result<(), Error> {
        let mut outcome = Ok(());
        while let Some(ended) = self.0.join_next().await {
            if let End::Failed(error) = End::of(ended) {
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }
}

/// How a part has ended.
enum End {
    /// The part of this name has returned, and says that all is well.
    ByItself(&'static str),
    /// A part has failed.
    Failed(Error),
}

impl End {
    fn of(ended: Result<(&'static str, Result<(), Error>), JoinError>) -> Self {
        match ended {
            Ok((part, Ok(()))) => Self::ByItself(part),
            Ok((part, Err(error))) => Self::Failed(of_part(part, error)),
            Err(error) => Self::Failed(Error::Internal(error.to_string())),
        }
    }
}

fn of_part(part: &'static str, error: Error) -> Error {
    Error::Ended { part, error: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use service::{Shutdown, Stopper};

    use super::*;

    /// An approver that runs like this, beside an expirer that runs until it is asked to stop.
    fn parts(run: impl Future<Output = Result<(), Error>> + Send + 'static) -> (Parts, Stopper) {
        let (stopper, shutdown) = Shutdown::new();
        let mut parts = Parts::default();
        parts.spawn("expirer", async {
            shutdown.requested().await;
            Ok(())
        });
        parts.spawn("approver", run);
        (parts, stopper)
    }

    async fn check<F>(run: impl Fn() -> F, failed: &str, stopped: Option<&str>)
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let (mut running, _stopper) = parts(run());
        assert_eq!(running.failed().await.to_string(), failed);
        let (mut stopping, stopper) = parts(run());
        stopper.stop();
        assert_eq!(stopping.stopped().await.err().map(|error| error.to_string()).as_deref(), stopped);
    }

    #[tokio::test]
    async fn a_part_that_ends_is_noticed_and_named() {
        let ended = "the approver has ended: internal: nobody asked it to";
        check(|| async { Ok(()) }, ended, None).await;
        let failed = "the approver has ended: the bus: gone";
        check(|| async { Err(Error::Bus("gone".into())) }, failed, Some(failed)).await;
        let panicked = "the approver has ended: internal: it panicked; see the log";
        check(|| async { panic!("on demand") }, panicked, Some(panicked)).await;
    }
}
