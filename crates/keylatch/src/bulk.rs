//! Many commands at once, within bounds: signed one by one, sent side by side, and each answer found in the verified
//! history. What is full for the moment is asked again.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use journal::command::SignedCommand;
use model::command::LIFETIME_MAX;
use model::{Action, KeyId, ProblemType};

use crate::error::Error;
use crate::screen::{Progress, Screen};
use crate::session::{Session, SharedHand};
use crate::submit::{Recorded, Retry, not_signed, open, recorded};

/// How many commands are on their way at once.
const AT_ONCE: usize = 8;
/// How often a command is sent again that was refused because too many were waiting.
const PATIENT_TRIES: u32 = 12;
/// How long is waited before that, at first; at most eight times as long.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// A command to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What is asked.
    pub action: Action,
    /// The key it is about.
    pub key_id: Option<KeyId>,
}

/// What became of one: the answer and the bytes that it is to.
type Sent = Result<(Recorded, SignedCommand), Error>;

/// Signs and sends all of them. Gives what became of each, in order; a refusal of one stops none of the others.
///
/// # Errors
/// Where nobody can sign, or the platform does not answer: what was recorded until then stays recorded, and is not sent
/// again by who looks at the history first.
pub async fn send_all(
    session: &mut Session,
    screen: &mut Screen,
    what: &str,
    wanted: Vec<Wanted>,
) -> Result<Vec<Result<Recorded, Error>>, Error> {
    let (hand, total) = (session.hand()?, u64::try_from(wanted.len()).unwrap_or(u64::MAX));
    let mut results: Vec<(usize, Sent)> = Vec::with_capacity(wanted.len());
    let mut progress = Progress::default();
    let mut stopped = None;
    {
        let session = &*session;
        let sends = wanted.into_iter().enumerate().map(|(at, wanted)| send_one(session, hand.clone(), at, wanted));
        let mut sending = stream::iter(sends).buffer_unordered(AT_ONCE);
        while let Some((at, result)) = sending.next().await {
            match result {
                Err(error @ (Error::Unreachable { .. } | Error::Unanswered { .. } | Error::Usage { .. })) => {
                    stopped = Some(error);
                    break;
                }
                result => results.push((at, result)),
            }
            screen.progress(what, u64::try_from(results.len()).unwrap_or(total), total, &mut progress);
        }
    }
    screen.progress_done(&progress);
    if let Some(error) = stopped {
        return Err(error);
    }
    results.sort_by_key(|(at, _)| *at);
    let mut shown = Vec::with_capacity(results.len());
    for (_, result) in results {
        shown.push(match result {
            Ok((recorded, signed)) => session.look_up(&recorded, signed.digest).await.map(|()| recorded),
            Err(error) => Err(error),
        });
    }
    Ok(shown)
}

async fn send_one(session: &Session, hand: SharedHand, at: usize, wanted: Wanted) -> (usize, Sent) {
    (at, send(session, &hand, wanted).await)
}

async fn send(session: &Session, hand: &SharedHand, wanted: Wanted) -> Sent {
    let command = session.command(wanted.action, wanted.key_id, LIFETIME_MAX);
    let envelope = SignedCommand::sign(&command, &[&**hand]).map_err(|error| not_signed(&**hand, &error))?;
    let signed = open(envelope)?;
    let mut tries = 0;
    loop {
        match session.ask(&signed, Retry::SameBytes).await {
            Err(Error::Refused(problem))
                if problem.kind().is_some_and(ProblemType::is_passing) && tries < PATIENT_TRIES =>
            {
                tries += 1;
                tokio::time::sleep(BUSY_PAUSE * 2_u32.pow(tries.min(3))).await;
            }
            answer => {
                let recorded = recorded(&signed, answer?)?;
                return Ok((recorded, signed));
            }
        }
    }
}
