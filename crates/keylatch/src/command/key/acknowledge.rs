//! `keylatch key acknowledge`: a consumer says that it knows a key, or that it uses it; or many keys, from a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use lifecycle::{Key, Tenant};
use model::command::{ConsumerAcknowledge, Counterpart, LIFETIME_MAX, Readiness};
use model::key::KeyIdentity;
use model::text::Base64;
use model::{Action, Digest, Fingerprint};
use serde_json::json;

use crate::bulk::{self, Wanted};
use crate::command::ConsentArgs;
use crate::error::Error;
use crate::layout::{BOLD, GREEN};
use crate::lookup;
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::submit::Needs;
use crate::words::counted;

/// The first line of a public key in PEM.
const PEM: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";

/// Which key, as you know it.
#[derive(Args, Clone, Debug)]
pub struct AcknowledgeArgs {
    /// The key: label, id, or the beginning of an id.
    #[arg(required_unless_present = "list", conflicts_with = "list")]
    pub key: Option<String>,
    /// The key's identity as you have it from elsewhere: `spki:…`, `kcv:…`, or the file of a public key (PEM or DER).
    #[arg(long, value_name = "IDENTITY", required_unless_present = "list", conflicts_with = "list")]
    pub key_identity: Option<Known>,
    /// Many keys: a file with a line for each, the key and its identity as you have it from elsewhere.
    #[arg(long, value_name = "FILE", conflicts_with = "counterpart")]
    pub list: Option<PathBuf>,
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

/// Signs that keys are known, or used. Each identity must be the key's: where one is not, nothing is signed.
pub async fn acknowledge(args: AcknowledgeArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let readiness = if args.adopted { Readiness::Adopted } else { Readiness::Ready };
    if let Some(path) = &args.list {
        return of_list(path, readiness, args.consent, session, screen).await;
    }
    let (Some(named), Some(known)) = (&args.key, &args.key_identity) else {
        return Err(Error::usage("no key is named", "name a key and its identity, or a file with --list"));
    };
    let key = lookup::key(session.state(), named)?;
    let action = action(key, known, readiness, args.counterpart)?;
    let command = session.command(action, Some(key.id), LIFETIME_MAX);
    let needs = Needs { signatures: 1, review: true };
    let outcome = session.carry_out(screen, &command, &args.consent.into(), needs).await?;
    screen.show(&outcome)
}

fn action(key: &Key, known: &Known, readiness: Readiness, counterpart: Option<Counterpart>) -> Result<Action, Error> {
    let identity = known.of(&key.identity).ok_or_else(|| {
        let what = format!("you know {known}, and key `{}` is {}", key.spec.label, key.identity);
        Error::failed(what, "do not use it: find out which of the two is false before anybody signs")
    })?;
    Ok(Action::ConsumerAcknowledge(ConsumerAcknowledge { identity, readiness, counterpart }))
}

/// The same for every key of a file: looked at first, all of them; then a command a key.
async fn of_list(
    path: &Path,
    readiness: Readiness,
    consent: ConsentArgs,
    session: &mut Session,
    screen: &mut Screen,
) -> Result<(), Error> {
    let me = session.hand()?.public_key().fingerprint();
    let wanted = listed(path, readiness, me, session.state())?;
    let keys = counted(wanted.len(), "key");
    screen.confirm(&format!("Sign that you know {keys}, each as the file says?"), consent.yes)?;
    let results = bulk::send_all(session, screen, "acknowledging keys", wanted).await?;
    let failed: Vec<&Error> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    let done = results.len() - failed.len();
    if let Some(first) = failed.first() {
        let what = format!("{done} of {keys} acknowledged; the first refusal: {first}");
        return Err(Error::failed(what, "mend that, and give the file again: what was said is not said again"));
    }
    let json = json!({ "ok": true, "keys": done, "readiness": readiness });
    screen.show(&Shown { json, people: format!("{GREEN}acknowledged:{GREEN:#} {BOLD}{keys}{BOLD:#}\n") })
}

/// The commands for a file's lines: `KEY IDENTITY`, blank lines and `#` comments aside, and what was said already.
fn listed(path: &Path, readiness: Readiness, me: Fingerprint, state: &Tenant) -> Result<Vec<Wanted>, Error> {
    const ADVICE: &str = "write a line for each key: its label or id, a space, and its identity (`spki:…` or `kcv:…`)";
    let text = std::fs::read_to_string(path).map_err(|error| Error::file(path, error, ADVICE))?;
    // Looked up by label at once: a list may be long.
    let mut labels: BTreeMap<&str, Vec<&Key>> = BTreeMap::new();
    for key in state.keys.values() {
        labels.entry(key.spec.label.as_str()).or_default().push(key);
    }
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let wanted = lines.map(|(number, line)| {
        let place = |what: &str| Error::usage(format!("{}:{}: {what}", path.display(), number + 1), ADVICE);
        let (named, identity) = line.split_once(char::is_whitespace).ok_or_else(|| place("no identity"))?;
        let known: Known = identity.trim().parse().map_err(|what: String| place(&what))?;
        let key = match labels.get(named).map(Vec::as_slice) {
            Some([key]) => key,
            _ => lookup::key(state, named)?,
        };
        let said = key.acknowledged.get(&me).is_some_and(|acknowledged| acknowledged.readiness == readiness);
        let wanted = Wanted { action: action(key, &known, readiness, None)?, key_id: Some(key.id) };
        Ok((!said).then_some(wanted))
    });
    let wanted: Vec<Option<Wanted>> = wanted.collect::<Result<_, Error>>()?;
    if wanted.is_empty() {
        return Err(Error::file(path, "it names no key", ADVICE));
    }
    Ok(wanted.into_iter().flatten().collect())
}
