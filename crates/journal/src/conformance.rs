//! What every [`Journal`] must do, as one suite. A test of the implementation calls [`suite`] with an empty log.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite of assertions, called by tests alone"
)]

use model::{EventType, Sequence, TenantId};

use crate::chain::Head;
use crate::event::Record;
use crate::port::{Append, Journal, Outgoing};

/// Runs the suite in a tenant whose log is empty (and, for a server, made).
///
/// # Panics
/// Where the implementation does not keep the contract; the message says which part.
pub async fn suite<J: Journal>(journal: &J, tenant: TenantId) {
    starts_empty(journal, tenant).await;
    let head = records_a_batch_in_order(journal, tenant).await;
    let head = refuses_a_moved_head(journal, tenant, head).await;
    let head = lets_one_of_two_writers_win(journal, tenant, head).await;
    let head = takes_what_is_sent_behind_a_batch_under_way(journal, tenant, head).await;
    let head = refuses_what_was_sent_behind_a_loser(journal, tenant, head).await;
    reads_in_pages(journal, tenant, head).await;
}

fn batch(label: &str, count: usize) -> Vec<Outgoing> {
    let record =
        |i: usize| Record { signature: format!("{label} {i}"), payload: format!("{{\"{label}\":{i}}}").into() };
    (0..count).map(|i| Outgoing { event_type: EventType::KeyGenerated, record: record(i) }).collect()
}

fn behind(head: Head, batch: &[Outgoing]) -> Head {
    let last = batch.last().expect("a batch");
    Head { sequence: Sequence(head.sequence.0 + batch.len() as u64), hash: last.record.hash() }
}

async fn starts_empty<J: Journal>(journal: &J, tenant: TenantId) {
    assert_eq!(journal.last(tenant).await, Ok(Sequence::NONE));
    assert_eq!(journal.read(tenant, Sequence(1), 10).await, Ok(vec![]));
}

async fn records_a_batch_in_order<J: Journal>(journal: &J, tenant: TenantId) -> Head {
    let batch = batch("first", 20);
    assert_eq!(journal.append(tenant, Head::EMPTY, &batch).await, Ok(Append::Recorded));
    assert_eq!(journal.last(tenant).await, Ok(Sequence(20)));
    assert_eq!(all(journal, tenant).await, batch.iter().map(|out| out.record.clone()).collect::<Vec<_>>());
    behind(Head::EMPTY, &batch)
}

async fn refuses_a_moved_head<J: Journal>(journal: &J, tenant: TenantId, head: Head) -> Head {
    let late = batch("late", 3);
    for stale in [Head::EMPTY, Head { sequence: Sequence(head.sequence.0 - 1), ..head }] {
        assert_eq!(journal.append(tenant, stale, &late).await, Ok(Append::HeadMoved { recorded: 0 }));
    }
    let ahead = Head { sequence: head.sequence.next(), ..head };
    assert_eq!(journal.append(tenant, ahead, &late).await, Ok(Append::HeadMoved { recorded: 0 }));
    assert_eq!(journal.last(tenant).await, Ok(head.sequence), "a refused batch left something behind");
    let next = batch("next", 1);
    assert_eq!(journal.append(tenant, head, &next).await, Ok(Append::Recorded));
    behind(head, &next)
}

async fn lets_one_of_two_writers_win<J: Journal>(journal: &J, tenant: TenantId, head: Head) -> Head {
    let (ours, theirs) = (batch("ours", 5), batch("theirs", 5));
    let (one, two) = join(journal.append(tenant, head, &ours), journal.append(tenant, head, &theirs)).await;
    let (winner, loser) = match (one.expect("an answer"), two.expect("an answer")) {
        (Append::Recorded, other) => (ours, other),
        (other, Append::Recorded) => (theirs, other),
        both => panic!("neither writer recorded its batch: {both:?}"),
    };
    assert_eq!(loser, Append::HeadMoved { recorded: 0 });
    let written = journal.read(tenant, head.sequence.next(), 10).await.expect("a read");
    assert_eq!(written, winner.iter().map(|out| out.record.clone()).collect::<Vec<_>>(), "the batches mixed");
    behind(head, &winner)
}

async fn takes_what_is_sent_behind_a_batch_under_way<J: Journal>(journal: &J, tenant: TenantId, head: Head) -> Head {
    let (one, two) = (batch("one", 40), batch("two", 40));
    let middle = behind(head, &one);
    let said = join(journal.append(tenant, head, &one), journal.append_behind(tenant, middle, &two)).await;
    assert_eq!(said, (Ok(Append::Recorded), Ok(Append::Recorded)));
    behind(middle, &two)
}

/// Somebody else's batch of the same length takes the place of the first: by its sequence alone, the second would fit.
async fn refuses_what_was_sent_behind_a_loser<J: Journal>(journal: &J, tenant: TenantId, head: Head) -> Head {
    let (theirs, one, two) = (batch("before us", 3), batch("loser", 3), batch("behind the loser", 2));
    assert_eq!(journal.append(tenant, head, &theirs).await, Ok(Append::Recorded));
    let middle = behind(head, &one);
    let said = join(journal.append(tenant, head, &one), journal.append_behind(tenant, middle, &two)).await;
    assert_eq!(said, (Ok(Append::HeadMoved { recorded: 0 }), Ok(Append::HeadMoved { recorded: 0 })));
    let head = behind(head, &theirs);
    assert_eq!(journal.last(tenant).await, Ok(head.sequence), "something was recorded behind what does not stand");
    head
}

async fn reads_in_pages<J: Journal>(journal: &J, tenant: TenantId, head: Head) {
    let everything = all(journal, tenant).await;
    assert_eq!(everything.len() as u64, head.sequence.0);
    assert_eq!(everything[everything.len() - 1].hash(), head.hash);
    let page = journal.read(tenant, Sequence(5), 7).await.expect("a read");
    assert!(!page.is_empty() && page.len() <= 7);
    assert_eq!(page[..], everything[4..4 + page.len()]);
    assert_eq!(journal.read(tenant, head.sequence.next(), 7).await, Ok(vec![]));
}

async fn all<J: Journal>(journal: &J, tenant: TenantId) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let page = journal.read(tenant, Sequence(records.len() as u64 + 1), 6).await.expect("a read");
        if page.is_empty() {
            return records;
        }
        records.extend(page);
    }
}

/// Both at once, without a runtime: whichever is ready makes progress.
async fn join<A, B>(one: impl Future<Output = A>, two: impl Future<Output = B>) -> (A, B) {
    let (mut one, mut two) = (std::pin::pin!(one), std::pin::pin!(two));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(move |cx| {
        if first.is_none()
            && let std::task::Poll::Ready(value) = one.as_mut().poll(cx)
        {
            first = Some(value);
        }
        if second.is_none()
            && let std::task::Poll::Ready(value) = two.as_mut().poll(cx)
        {
            second = Some(value);
        }
        match (first.take(), second.take()) {
            (Some(a), Some(b)) => std::task::Poll::Ready((a, b)),
            (a, b) => {
                (first, second) = (a, b);
                std::task::Poll::Pending
            }
        }
    })
    .await
}
