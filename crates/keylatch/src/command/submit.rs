//! `keylatch submit`: sending a command from a file.

use std::path::{Path, PathBuf};

use clap::Args;
use model::Action;

use crate::error::Error;
use crate::screen::Screen;
use crate::session::Session;
use crate::submit::{self, Recorded};

/// Which file.
#[derive(Args, Clone, Debug)]
pub struct SubmitArgs {
    /// The file with the signed command.
    pub file: PathBuf,
}

/// Runs `keylatch submit`.
pub async fn run(args: SubmitArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    session.refresh(screen).await?;
    let recorded = submit(session, screen, &args.file).await?;
    screen.show(&recorded)
}

/// Sends the command in a file. One that was recorded before gets the same answer.
pub async fn submit(session: &mut Session, screen: &mut Screen, path: &Path) -> Result<Recorded, Error> {
    let signed = submit::open(submit::read_envelope(path)?)?;
    let command = &signed.command;
    if command.tenant != session.tenant() {
        let what = format!("the command is for tenant {}, and the context for {}", command.tenant, session.tenant());
        return Err(Error::file(path, what, "take the tenant's own context with --context"));
    }
    if command.action.operation().is_some() || matches!(command.action, Action::KeyProve(_)) {
        let what = format!("`{}` is not recorded, and not sent from a file", command.action.name());
        return Err(Error::file(path, what, "use `keylatch use` or `keylatch key prove`"));
    }
    session.send(screen, signed.envelope).await
}
