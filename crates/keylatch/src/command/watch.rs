//! `keylatch watch`: the events as they come, verified.

use clap::Args;

use crate::command::event_line::{event_line, is_about};
use crate::error::Error;
use crate::layout::{DIM, YELLOW};
use crate::reader::{Heard, Known, Seen};
use crate::screen::Screen;
use crate::session::Session;

/// Which events.
#[derive(Args, Clone, Debug, Default)]
pub struct WatchArgs {
    /// Only events about this key: label, id, or the beginning of an id.
    #[arg(long)]
    pub key: Option<String>,
    /// Show the events from this sequence on, before the new ones.
    #[arg(long, value_name = "SEQUENCE")]
    pub from: Option<u64>,
    /// Stop after so many events.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// Runs `keylatch watch`, until it is interrupted.
pub async fn run(args: WatchArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    tokio::select! {
        watched = watch(session, screen, &args) => watched,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Shows events until as many as asked for were shown.
pub async fn watch(session: &mut Session, screen: &mut Screen, args: &WatchArgs) -> Result<(), Error> {
    session.reader_mut().listen().await?;
    let mut shown = 0;
    match args.from {
        None => session.refresh(screen).await?,
        Some(from) => {
            let reader = session.reader_mut();
            reader.catch_up(&mut |known, seen, _| show(seen, known, from, args, &mut shown, screen)).await?;
        }
    }
    screen.note(&format!("{DIM}{} events verified; waiting for more{DIM:#}", session.reader().head().0));
    let mut silent = false;
    while args.count.is_none_or(|count| shown < count) {
        match session.reader_mut().next().await? {
            Heard::Events(seen) => {
                silent = false;
                show(&seen, session.known(), 0, args, &mut shown, screen)?;
            }
            Heard::Silence(no_answer) => {
                if !std::mem::replace(&mut silent, true) {
                    screen.note(&format!("{YELLOW}waiting for the platform:{YELLOW:#} {no_answer}"));
                }
            }
        }
    }
    Ok(())
}

fn show(
    seen: &[Seen],
    known: &Known,
    from: u64,
    args: &WatchArgs,
    shown: &mut u64,
    screen: &mut Screen,
) -> Result<(), Error> {
    for seen in seen.iter().filter(|seen| seen.sequence.0 >= from) {
        let wanted = args.key.as_ref().is_none_or(|key| is_about(seen, known, key));
        if wanted && args.count.is_none_or(|count| *shown < count) {
            screen.show(&event_line(seen, known))?;
            *shown += 1;
        }
    }
    Ok(())
}
