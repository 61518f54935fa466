//! `keylatch principal rotate`: a new SSH key in the place of an old one.

use std::path::{Path, PathBuf};

use clap::Args;
use model::command::PrincipalRotate;
use model::key::Reason;
use model::{Action, Fingerprint};

use crate::command::{ReasonArgs, SigningArgs};
use crate::error::Error;
use crate::identity::read_public_key;
use crate::layout::safe;
use crate::lookup;
use crate::screen::Screen;
use crate::session::Session;
use crate::submit::{Needs, Outcome, Signing, lifetime};

/// Whose key, and which.
#[derive(Args, Debug)]
pub struct RotateArgs {
    /// Label or fingerprint of the principal; left out, yourself.
    #[arg(required_if_eq("by_admins", "true"))]
    pub who: Option<String>,
    /// The new SSH key, which signs along: its private file, or the public one where an agent or token has the rest. With
    /// --out a public file will do, and its holder signs later.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// A quorum of admins vouches in the old key's place: where it is lost.
    #[arg(long)]
    pub by_admins: bool,
    #[command(flatten)]
    /// Why.
    pub reason: ReasonArgs,
    #[command(flatten)]
    /// Who signs.
    pub signing: SigningArgs,
}

/// Puts the new key in the place of the old one.
pub async fn rotate(session: &mut Session, screen: &mut Screen, args: RotateArgs) -> Result<Outcome, Error> {
    let RotateArgs { who, key, by_admins, reason, signing } = args;
    let old = old_key(session, who.as_deref(), by_admins)?;
    let reason: Reason = reason.into();
    let governance = session.governance()?;
    let params = PrincipalRotate { against: governance.head, principal: old, key: read_public_key(&key)?, reason };
    let signatures = if by_admins { governance.admin_quorum.saturating_add(1) } else { 2 };
    let mut signing: Signing = signing.into();
    if signing.out.is_none() || is_private(&key)? {
        signing.cosign.push(key);
    }
    let command = session.command(Action::PrincipalRotate(params), None, lifetime(&signing, signatures));
    let outcome = session.carry_out(screen, &command, &signing, Needs { signatures, review: true }).await?;
    if matches!(outcome, Outcome::Recorded(_)) {
        let whose = if by_admins { lookup::name(session.state(), old) } else { "you".to_owned() };
        let whose = safe(&whose);
        screen.note(&format!(
            "from now on the new key signs for {whose}: name it in the context (`identity`), or with --identity"
        ));
    }
    Ok(outcome)
}

/// The key that goes. Where it is to vouch, it must be the one that signs.
fn old_key(session: &Session, who: Option<&str>, by_admins: bool) -> Result<Fingerprint, Error> {
    let own = || Ok::<_, Error>(session.hand()?.public_key().fingerprint());
    let old = match who {
        Some(who) => lookup::principal(session.state(), who)?.principal.fingerprint(),
        None => own()?,
    };
    session.governance()?.member(old)?;
    if by_admins || own()? == old {
        return Ok(old);
    }
    Err(Error::usage(
        format!("`{}` is {old}, and you sign as {}", lookup::name(session.state(), old), own()?),
        "sign with the old key (--identity FILE), or have admins vouch with --by-admins where it is lost",
    ))
}

/// Whether a file holds a private key.
fn is_private(path: &Path) -> Result<bool, Error> {
    let text = std::fs::read(path).map_err(|error| Error::file(path, error, "name the new SSH key"))?;
    Ok(text.starts_with(b"-----BEGIN "))
}
