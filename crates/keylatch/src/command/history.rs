//! `keylatch history`: what has happened, verified from the first event on.

use std::collections::VecDeque;

use clap::Args;

use crate::command::as_of::{self, PointArgs};
use crate::command::event_line::{event_line, is_about};
use crate::error::Error;
use crate::reader::{Known, Seen};
use crate::screen::{Progress, Screen, Shown};
use crate::session::Session;

/// How many events are shown where nothing else is said.
const MAX: usize = 100;

/// Which events.
#[derive(Args, Clone, Debug, Default)]
pub struct HistoryArgs {
    /// Only events about this key: label, id, or the beginning of an id.
    #[arg(long)]
    pub key: Option<String>,
    /// Begin with this sequence; left out, the newest are shown.
    #[arg(long, value_name = "SEQUENCE")]
    pub from: Option<u64>,
    /// Show at most so many.
    #[arg(long, value_name = "N")]
    pub max: Option<usize>,
    #[command(flatten)]
    /// Not the events, but how things stood.
    pub point: PointArgs,
}

/// Runs `keylatch history`.
pub async fn run(args: HistoryArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    if let Some(point) = args.point.point(session.now())? {
        let at = as_of::read(session, point, screen).await?;
        return screen.show(&as_of::show(session, args.key.as_deref(), at)?);
    }
    let mut progress = Progress::default();
    let mut lines = Lines { args: &args, kept: VecDeque::new(), voids: 0 };
    let read = session
        .reader_mut()
        .catch_up(&mut |known, seen, last| {
            screen.progress("verifying the history", known.state().chain.head().sequence.0, last, &mut progress);
            lines.take(seen, known);
            Ok(())
        })
        .await;
    screen.progress_done(&progress);
    read?;
    for line in &lines.kept {
        screen.show(line)?;
    }
    if lines.voids > 0 {
        screen.warn(&format!("{} of {} events are void", lines.voids, session.reader().head().0));
    }
    Ok(())
}

/// The lines to show: the first so many from a place on, or the last so many of all.
struct Lines<'a> {
    args: &'a HistoryArgs,
    kept: VecDeque<Shown>,
    voids: u64,
}

impl Lines<'_> {
    fn take(&mut self, seen: &[Seen], known: &Known) {
        let max = self.args.max.unwrap_or(MAX);
        for seen in seen {
            self.voids += u64::from(seen.judgement != lifecycle::Judgement::Lawful);
            let after = self.args.from.is_none_or(|from| seen.sequence.0 >= from);
            let about = self.args.key.as_ref().is_none_or(|key| is_about(seen, known, key));
            let full = self.args.from.is_some() && self.kept.len() >= max;
            if after && about && !full && max > 0 {
                self.kept.push_back(event_line(seen, known));
                if self.kept.len() > max {
                    self.kept.pop_front();
                }
            }
        }
    }
}
