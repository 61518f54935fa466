//! `keylatch sign`: adding a signature to a command that somebody else made.

use std::path::{Path, PathBuf};

use clap::Args;
use journal::command::Hand;
use model::Timestamp;

use crate::error::Error;
use crate::reader::Known;
use crate::review::review;
use crate::screen::Screen;
use crate::session::Session;
use crate::submit::{self, Outcome, Saved};

/// Which file.
#[derive(Args, Clone, Debug)]
pub struct SignArgs {
    /// The file that --out or `keylatch sign` wrote. It is written anew, with your signature.
    pub file: PathBuf,
    /// Do not ask the platform: show the command without what it refers to.
    #[arg(long)]
    pub offline: bool,
    /// Sign without being asked.
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// Runs `keylatch sign` with the platform.
pub async fn run(args: SignArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    session.refresh(screen).await?;
    let (hand, now) = (session.hand()?, session.now());
    let outcome = sign(&args.file, &*hand, Some(session.known()), args.yes, screen, now)?;
    screen.show(&outcome)
}

/// Shows a command, asks, and adds a signature. Without `known`, what the command refers to is not shown.
pub fn sign(
    path: &Path,
    hand: &dyn Hand,
    known: Option<&Known>,
    yes: bool,
    screen: &mut Screen,
    now: Timestamp,
) -> Result<Outcome, Error> {
    let signed = submit::open_draft(submit::read_envelope(path)?)?;
    let command = &signed.command;
    if let Some(tenant) = known.map(|known| known.state().chain.tenant()).filter(|tenant| *tenant != command.tenant) {
        let what = format!("the command is for tenant {}, and the context for {tenant}", command.tenant);
        return Err(Error::file(path, what, "take the tenant's own context with --context"));
    }
    if command.expires_at <= now {
        let what = format!("the command expired at {}", crate::layout::time(command.expires_at));
        return Err(Error::file(path, what, "have it made anew"));
    }
    if !(yes && screen.is_json()) {
        screen.review(&review(command, &signed.envelope.payload.0, &signed.signers, known, now));
    }
    screen.confirm(&format!("Sign `{}`?", command.action.name()), yes)?;
    let mut envelope = signed.envelope.clone();
    submit::add_signature(&mut envelope, hand)?;
    submit::write_envelope(path, &envelope)?;
    Ok(Outcome::Saved(Saved {
        command: command.id,
        action: command.action.name(),
        path: path.to_owned(),
        signatures: envelope.signatures.len(),
        expires_at: command.expires_at,
    }))
}
