//! `keylatch use`: what active keys are for. Files stay here; the custodian sees data keys and digests only, and its
//! results come sealed to a key that is made for each command.

mod file;
mod signature;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use journal::command::SignedCommand;
use keystore::seal::{self, Purpose, SecretKey};
use model::command::{LIFETIME_MAX_USE, Sealed};
use model::text::Base64;
use model::{Action, KeyId, ProblemType};
use rand_core::OsRng;
use zeroize::Zeroizing;

pub use file::{Opened, Stored, decrypt, encrypt};
pub use signature::{Checked, Made, sign, verify};

use crate::error::{Error, Exit};
use crate::screen::Screen;
use crate::session::Session;
use crate::submit::{Retry, open};

/// How long is waited before a key whose store is a moment behind is asked for again.
const AGAIN_AFTER: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// What to use a key for.
#[derive(Subcommand, Debug)]
pub enum UseCommand {
    /// Encrypt a file. It stays here: the key wraps a data key that is made for this file.
    #[command(after_long_help = "Example:\n  keylatch use encrypt weights.bin -o weights.bin.kl --key weights-2026")]
    Encrypt(EncryptArgs),
    /// Decrypt a file that `use encrypt` wrote. The file says which key it takes.
    ///
    /// The output appears only once the whole file was checked: one that was changed or cut off leaves none.
    #[command(after_long_help = "Example:\n  keylatch use decrypt weights.bin.kl -o weights.bin")]
    Decrypt(DecryptArgs),
    /// Sign a file: its SHA-256 with an `ecdsa-p256` key, its SHA-512 with an `ed25519` key (Ed25519ph, RFC 8032).
    #[command(
        after_long_help = "Example:\n  keylatch use sign release.tar --key release-signing\n  keylatch use verify release.tar release.tar.sig --key release-signing"
    )]
    Sign(SignArgs),
    /// Verify a signature that `use sign` made: by the custodian, and here under the public key in the verified history.
    ///
    /// Exit code 1 where it does not verify.
    Verify(VerifyArgs),
}

/// What to encrypt, and where to.
#[derive(Args, Clone, Debug)]
pub struct EncryptArgs {
    /// The file.
    pub file: PathBuf,
    /// Where the encrypted file goes.
    #[arg(long, short = 'o', value_name = "OUT")]
    pub output: PathBuf,
    /// The key: label, id, or the beginning of an id.
    #[arg(long)]
    pub key: String,
    /// Replace the output where it is there.
    #[arg(long)]
    pub force: bool,
}

/// What to decrypt, and where to.
#[derive(Args, Clone, Debug)]
pub struct DecryptArgs {
    /// The file.
    pub file: PathBuf,
    /// Where the plaintext goes. It is its owner's alone.
    #[arg(long, short = 'o', value_name = "OUT")]
    pub output: PathBuf,
    /// Refuse a file of another key than this one.
    #[arg(long)]
    pub key: Option<String>,
    /// Replace the output where it is there.
    #[arg(long)]
    pub force: bool,
}

/// What to sign.
#[derive(Args, Clone, Debug)]
pub struct SignArgs {
    /// The file.
    pub file: PathBuf,
    /// Where the signature goes; left out, beside the file, with `.sig`.
    #[arg(long, short = 'o', value_name = "OUT")]
    pub output: Option<PathBuf>,
    /// The key: label, id, or the beginning of an id.
    #[arg(long)]
    pub key: String,
    /// Replace the output where it is there.
    #[arg(long)]
    pub force: bool,
}

/// What to verify.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// The file.
    pub file: PathBuf,
    /// The signature, as `use sign` wrote it.
    pub signature: PathBuf,
    /// The key: label, id, or the beginning of an id.
    #[arg(long)]
    pub key: String,
    /// Do not ask the custodian: check under the public key in the verified history alone.
    #[arg(long)]
    pub local: bool,
}

/// Runs `keylatch use`.
pub async fn run(command: UseCommand, session: &mut Session, screen: &mut Screen) -> Result<Exit, Error> {
    session.refresh(screen).await?;
    match command {
        UseCommand::Encrypt(args) => {
            let stored = encrypt(session, screen, &args).await?;
            screen.show(&stored)?;
        }
        UseCommand::Decrypt(args) => {
            let opened = decrypt(session, screen, &args).await?;
            screen.show(&opened)?;
        }
        UseCommand::Sign(args) => {
            let made = sign(session, screen, &args).await?;
            screen.show(&made)?;
        }
        UseCommand::Verify(args) => {
            let checked = verify(session, screen, &args).await?;
            screen.show(&checked)?;
            return Ok(if checked.valid { Exit::Ok } else { Exit::Refused });
        }
    }
    Ok(Exit::Ok)
}

/// Has the custodian use a key, and opens the result: JSON, as the custodian sealed it.
///
/// Each try is a new command with a one-time key of its own: a use is refused a second time. Where the key's store is a
/// moment behind, it is asked again, as long as signing takes nobody's effort.
pub async fn perform(
    session: &Session,
    key_id: KeyId,
    action: impl Fn(Base64) -> Action,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let hand = session.hand()?;
    let mut waits = AGAIN_AFTER.iter().filter(|_| session.signs_effortlessly());
    loop {
        let secret = SecretKey::generate(&mut OsRng);
        let reply_to = Base64(secret.public().to_vec());
        let command = session.command(action(reply_to), Some(key_id), LIFETIME_MAX_USE);
        let envelope = SignedCommand::sign(&command, &[&*hand])
            .map_err(|error| Error::usage(format!("not signed: {error}"), "see that the key is at hand"))?;
        let answer = match session.ask(&open(envelope)?, Retry::OnlyIfUnheard).await {
            Err(Error::Refused(problem)) if is_passing(problem.kind()) => match waits.next() {
                Some(wait) => {
                    tokio::time::sleep(*wait).await;
                    continue;
                }
                None => return Err(Error::Refused(problem)),
            },
            answer => answer?,
        };
        let result = answer.get("result").cloned().unwrap_or_default();
        let sealed: Sealed = serde_json::from_value(result).map_err(|error| unreadable(&error))?;
        let info = seal::info(Purpose::Result, session.tenant(), key_id, command.id);
        return seal::open(&secret, &info, b"", &sealed).map_err(|error| unreadable(&error));
    }
}

/// Whether another use may be carried out in a moment: also where the key store, or its word on the chain, is behind.
fn is_passing(problem: Option<ProblemType>) -> bool {
    let behind = matches!(problem, Some(ProblemType::CustodyPending | ProblemType::CustodyStale));
    behind || problem.is_some_and(ProblemType::is_passing)
}

fn unreadable(error: &dyn std::fmt::Display) -> Error {
    Error::failed(
        format!("the custodian's result does not read: {error}"),
        "take it for false, and tell who runs the platform",
    )
}
