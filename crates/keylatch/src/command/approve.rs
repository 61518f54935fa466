//! `keylatch approve`, `reject`, `cancel`: what people say to a request. Each shows exactly what it signs, and asks.

use std::path::{Path, PathBuf};

use clap::Args;
use model::command::{ActivationApprove, ActivationCancel, ActivationReject, LIFETIME_MAX};
use model::key::Reason;
use model::{Action, EventHash, Text};

use crate::command::{ConsentArgs, ReasonArgs};
use crate::error::Error;
use crate::lookup;
use crate::screen::Screen;
use crate::sealing;
use crate::session::Session;
use crate::submit::{Needs, Outcome, Signing};

/// Which request, and a word on it.
#[derive(Args, Clone, Debug)]
pub struct ApproveArgs {
    /// The request: the beginning of its hash, or its key's label or id.
    #[arg(value_name = "KEY|REQUEST")]
    pub request: String,
    /// What you say beyond yes. It is recorded for good: no personal data.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<Text>,
    /// Give the vote of somebody who has delegated it to you: a label or a fingerprint. Your own is then not given.
    #[arg(long, value_name = "WHO")]
    pub on_behalf_of: Option<String>,
    /// The file with your secret sealing key, where the key is sealed and it is not beside your identity.
    #[arg(long, value_name = "FILE", conflicts_with = "on_behalf_of")]
    pub sealing_key: Option<PathBuf>,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: ConsentArgs,
}

/// Which request, and why not.
#[derive(Args, Clone, Debug)]
pub struct RefuseArgs {
    /// The request: the beginning of its hash, or its key's label or id.
    #[arg(value_name = "KEY|REQUEST")]
    pub request: String,
    #[command(flatten)]
    /// Why.
    pub reason: ReasonArgs,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: ConsentArgs,
}

/// What somebody says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Yes, and what else there is to say.
    Approve(Option<Text>),
    /// The same, with one's share of a sealed key opened by the sealing key in this file.
    ApproveWith(PathBuf, Option<Text>),
    /// Yes, as the vote of somebody who delegated it: by label or fingerprint.
    ApproveFor(String, Option<Text>),
    /// No, because.
    Reject(Reason),
    /// No longer, because.
    Cancel(Reason),
}

/// Runs `keylatch approve`.
pub async fn run_approve(args: ApproveArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let word = match (args.on_behalf_of, args.sealing_key) {
        (Some(whose), _) => Word::ApproveFor(whose, args.note),
        (None, Some(file)) => Word::ApproveWith(file, args.note),
        (None, None) => Word::Approve(args.note),
    };
    run(&args.request, word, args.consent, session, screen).await
}

/// Runs `keylatch reject`.
pub async fn run_reject(args: RefuseArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    run(&args.request, Word::Reject(args.reason.into()), args.consent, session, screen).await
}

/// Runs `keylatch cancel`.
pub async fn run_cancel(args: RefuseArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    run(&args.request, Word::Cancel(args.reason.into()), args.consent, session, screen).await
}

async fn run(
    named: &str,
    word: Word,
    consent: ConsentArgs,
    session: &mut Session,
    screen: &mut Screen,
) -> Result<(), Error> {
    session.refresh(screen).await?;
    let outcome = say(session, screen, named, word, &consent.into()).await?;
    screen.show(&outcome)
}

/// Says it to the open request that is named.
pub async fn say(
    session: &mut Session,
    screen: &mut Screen,
    named: &str,
    word: Word,
    signing: &Signing,
) -> Result<Outcome, Error> {
    let (key, request) = lookup::open_request(session.state(), named)?;
    let (key_id, request) = (key.map(|key| key.id), request.hash);
    let action = action(session, request, word)?;
    let command = session.command(action, key_id, LIFETIME_MAX);
    session.carry_out(screen, &command, signing, Needs { signatures: 1, review: true }).await
}

/// One's own approval, with one's share where the request's key is sealed.
fn own(session: &Session, request: EventHash, note: Option<Text>, sealing_key: Option<&Path>) -> Result<Action, Error> {
    let state = session.state();
    let key = state.requests.get(&request).and_then(|request| lookup::key_of(state, request));
    let share = sealing::share_for(session, key, request, sealing_key)?;
    Ok(Action::ActivationApprove(ActivationApprove { note, share, ..ActivationApprove::new(request) }))
}

/// What is signed for it.
pub fn action(session: &Session, request: EventHash, word: Word) -> Result<Action, Error> {
    Ok(match word {
        Word::Approve(note) => own(session, request, note, None)?,
        Word::ApproveWith(file, note) => own(session, request, note, Some(&file))?,
        Word::ApproveFor(whose, note) => {
            let whose = lookup::principal(session.state(), &whose)?.principal.fingerprint();
            Action::ActivationApprove(ActivationApprove {
                note,
                on_behalf_of: Some(whose),
                ..ActivationApprove::new(request)
            })
        }
        Word::Reject(reason) => Action::ActivationReject(ActivationReject { request, reason }),
        Word::Cancel(reason) => Action::ActivationCancel(ActivationCancel { request, reason }),
    })
}
