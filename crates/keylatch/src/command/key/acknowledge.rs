//! `keylatch key acknowledge`: a consumer says that it knows a key, or that it uses it.

use std::path::Path;
use std::str::FromStr;

use clap::Args;
use model::command::{ConsumerAcknowledge, Counterpart, LIFETIME_MAX, Readiness};
use model::key::KeyIdentity;
use model::text::Base64;
use model::{Action, Digest};

use crate::command::ConsentArgs;
use crate::error::Error;
use crate::lookup;
use crate::screen::Screen;
use crate::session::Session;
use crate::submit::{Needs, Outcome};

/// The first line of a public key in PEM.
const PEM: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";

/// Which key, as you know it.
#[derive(Args, Clone, Debug)]
pub struct AcknowledgeArgs {
    /// The key: label, id, or the beginning of an id.
    pub key: String,
    /// The key's identity as you have it from elsewhere: `spki:…`, `kcv:…`, or the file of a public key (PEM or DER).
    #[arg(long, value_name = "IDENTITY")]
    pub key_identity: Known,
    /// You use it. Left out: you know it, and are ready for it.
    #[arg(long)]
    pub adopted: bool,
    /// What stands for this in your own chain, where that is another tenant's.
    #[arg(long, value_name = "TENANT:EVENT", value_parser = counterpart)]
    pub counterpart: Option<Counterpart>,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: ConsentArgs,
}

/// A key's identity, as a consumer knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// The SHA-256 of the public key.
    Digest(Digest),
    /// The whole.
    Whole(KeyIdentity),
}

impl FromStr for Known {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || {
            format!(
                "`{text}` is no identity: write `spki:` with 64 hexadecimal digits, `kcv:` with 6, or name a public key's file"
            )
        };
        if let Some(hex) = text.strip_prefix("spki:") {
            return hex.parse().map(Self::Digest).map_err(|_| wanted());
        }
        if let Some(hex) = text.strip_prefix("kcv:") {
            let value = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_| wanted())?;
            return Ok(Self::Whole(KeyIdentity::CheckValue(Base64(value))));
        }
        let bytes = std::fs::read(Path::new(text)).map_err(|error| format!("{}: {error}", wanted()))?;
        let der = from_pem(&bytes).unwrap_or(bytes);
        Ok(Self::Whole(KeyIdentity::PublicKey(Base64(der))))
    }
}

/// The bytes of a public key in PEM.
fn from_pem(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let body = text.strip_prefix(PEM)?.strip_suffix(PEM_END)?;
    data_encoding::BASE64.decode(body.split_whitespace().collect::<String>().as_bytes()).ok()
}

impl Known {
    /// The whole identity, where it is that of this key.
    fn of(&self, key: &KeyIdentity) -> Option<KeyIdentity> {
        let same = match (self, key) {
            (Self::Digest(digest), KeyIdentity::PublicKey(der)) => *digest == Digest::of(&der.0),
            (Self::Whole(known), key) => known == key,
            _ => false,
        };
        same.then(|| key.clone())
    }
}

impl std::fmt::Display for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Digest(digest) => write!(f, "spki:{digest}"),
            Self::Whole(identity) => identity.fmt(f),
        }
    }
}

fn counterpart(text: &str) -> Result<Counterpart, String> {
    let wanted =
        || format!("`{text}` is no event of a tenant: write TENANT:EVENT, the tenant's id and the event's hash");
    let (tenant, event) = text.split_once(':').ok_or_else(wanted)?;
    Ok(Counterpart { tenant: tenant.parse().map_err(|_| wanted())?, event: event.parse().map_err(|_| wanted())? })
}

/// Signs that the key is known, or used. The identity must be the key's.
pub async fn acknowledge(args: AcknowledgeArgs, session: &mut Session, screen: &mut Screen) -> Result<Outcome, Error> {
    let key = lookup::key(session.state(), &args.key)?;
    let identity = args.key_identity.of(&key.identity).ok_or_else(|| {
        let what = format!("you know {}, and key `{}` is {}", args.key_identity, key.spec.label, key.identity);
        Error::failed(what, "do not use it: find out which of the two is false before anybody signs")
    })?;
    let readiness = if args.adopted { Readiness::Adopted } else { Readiness::Ready };
    let (key_id, counterpart) = (key.id, args.counterpart);
    let action = Action::ConsumerAcknowledge(ConsumerAcknowledge { identity, readiness, counterpart });
    let command = session.command(action, Some(key_id), LIFETIME_MAX);
    session.carry_out(screen, &command, &args.consent.into(), Needs { signatures: 1, review: true }).await
}
