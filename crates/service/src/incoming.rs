//! The messages on a role's subjects, shared with the other instances of the role, to the last one.
//!
//! Leaving is the delicate part. While a service unsubscribes, more messages are on their way to it, and the client throws
//! away those that come on a subscription that has ended. So the service first tells the server how many more it will
//! take; server and client count alike, and every message up to that number is answered. If fewer come in
//! time, the service drains its subscriptions.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use futures_util::stream::SelectAll;
use futures_util::{Stream, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use crate::Error;

/// How many more messages of a subject are taken at the end. More than are on their way at any moment.
const LAST: u64 = 512;
/// How long they have to come.
const LAST_FOR: Duration = Duration::from_secs(1);
/// How long leaving may take then.
const LEAVING_FOR: Duration = Duration::from_secs(1);

/// The messages of some subjects.
pub(crate) struct Incoming(SelectAll<Counted>);

/// A subscription, and how many messages were taken from it.
struct Counted {
    subscriber: Subscriber,
    taken: u64,
}

impl Stream for Counted {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        let next = self.subscriber.poll_next_unpin(context);
        if let Poll::Ready(Some(_)) = next {
            self.taken += 1;
        }
        next
    }
}

impl Incoming {
    /// Subscribes these subjects, each message for one of the group.
    pub(crate) async fn subscribe(client: &Client, subjects: &[String], group: &str) -> Result<Self, Error> {
        let mut all = SelectAll::new();
        for subject in subjects {
            let subscriber = client.queue_subscribe(subject.clone(), group.to_owned()).await;
            all.push(Counted { subscriber: subscriber.map_err(|error| Error::Bus(error.to_string()))?, taken: 0 });
        }
        Ok(Self(all))
    }

    /// The next message; `None` if a subscription has ended, or there is none.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        self.0.next().await
    }

    /// Tells the server to deliver at most [`LAST`] more messages per subscription.
    pub(crate) async fn leave(mut self) -> Leaving {
        for Counted { subscriber, taken } in self.0.iter_mut() {
            // An error means that the connection is gone for good, and with it everything that could come.
            let _ = subscriber.unsubscribe_after(*taken + LAST).await;
        }
        Leaving { incoming: self.0, until: Instant::now() + LAST_FOR, drains: false }
    }
}

/// The messages that still come.
pub(crate) struct Leaving {
    incoming: SelectAll<Counted>,
    until: Instant,
    drains: bool,
}

impl Leaving {
    /// The next of the last messages; `None` when no more come. It may be dropped before it is ready: nothing is lost.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            match timeout_at(self.until, self.incoming.next()).await {
                Ok(next) => return next,
                Err(_) if self.drains => return None,
                Err(_) => self.drain().await,
            }
        }
    }

    async fn drain(&mut self) {
        for Counted { subscriber, .. } in self.incoming.iter_mut() {
            let _ = subscriber.drain().await;
        }
        (self.drains, self.until) = (true, Instant::now() + LEAVING_FOR);
    }
}
