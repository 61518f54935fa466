//! `keylatch principal sealing-key`: the key to which one's shares of sealed keys are sealed.

use std::path::PathBuf;

use clap::Args;
use model::Action;
use model::command::{LIFETIME_MAX, PrincipalEquip};
use serde_json::json;

use crate::command::ConsentArgs;
use crate::error::Error;
use crate::layout::{GREEN, safe};
use crate::screen::{Screen, Shown};
use crate::sealing;
use crate::session::Session;
use crate::submit::{Needs, Outcome, Signing};

/// Whether there is to be a new one.
#[derive(Args, Clone, Debug)]
pub struct SealingKeyArgs {
    /// Make a new one, although there is one whose secret half is here. Keys that are sealed already stay sealed to the old
    /// one: keep its file.
    #[arg(long)]
    pub renew: bool,
    /// The identity beside which the secret half is kept; left out, the one that signs.
    #[arg(long, value_name = "FILE")]
    pub beside: Option<PathBuf>,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: ConsentArgs,
}

/// Makes a sealing key and says that it is one's own; or says that there is one.
pub async fn run(args: SealingKeyArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let SealingKeyArgs { renew, beside, consent } = args;
    let identity = beside.or(session.identity_file().map(ToOwned::to_owned)).ok_or_else(|| {
        Error::usage("it is not known where the secret half is to be kept", "name a file beside which, with --beside")
    })?;
    let own = session.hand()?.public_key().fingerprint();
    let member = session.governance()?.people.get(&own);
    if let Some(key) = member.and_then(|member| member.sealing_key).filter(|_| !renew) {
        let file = sealing::path_beside(&identity, &key);
        sealing::read(&file, &key)?;
        let people = format!("{GREEN}there is one{GREEN:#}: {key}, in {}\n", safe(&file.display().to_string()));
        return screen.show(&Shown { json: json!({ "ok": true, "sealing_key": key, "file": file }), people });
    }
    let (sealing_key, file) = sealing::make(&identity)?;
    let command = session.command(Action::PrincipalEquip(PrincipalEquip { sealing_key }), None, LIFETIME_MAX);
    let signing = Signing::from(consent);
    let outcome = session.carry_out(screen, &command, &signing, Needs { signatures: 1, review: true }).await?;
    if matches!(outcome, Outcome::Recorded(_)) {
        screen.note(&format!(
            "keep {}, and a copy in a second safe place: without it your shares of keys that are sealed from now on \
             can't be opened, and nobody can make it anew",
            safe(&file.display().to_string())
        ));
    }
    screen.show(&outcome)
}
