//! Commands, opened: signatures checked, payload read. Whether the signers may is the law's question.

use model::command::{Malformed, NAMESPACE, PAYLOAD_BYTES_MAX};
use model::dsse::{self, Envelope};
use model::people::PublicKey;
use model::text::Base64;
use model::{Command, Digest, Fingerprint};

use crate::sshsig::{self, Signed};
use crate::strict;

/// How many signatures a command may carry.
pub const SIGNATURES_MAX: usize = 32;

/// A command whose every signature verifies over its exact bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCommand {
    /// What is asked.
    pub command: Command,
    /// The SHA-256 of the payload: with the id, the command's identity.
    pub digest: Digest,
    /// Who signed, each key once, in the order of the signatures.
    pub signers: Vec<Signed>,
    /// The envelope, as it travels inside the event.
    pub envelope: Envelope,
}

/// Why a command is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The envelope says it is something else.
    #[error("the payload type is `{0}`, not that of a command")]
    PayloadType(String),
    /// Over [`PAYLOAD_BYTES_MAX`].
    #[error("the payload has {0} bytes; at most {max} are taken", max = PAYLOAD_BYTES_MAX)]
    TooLarge(usize),
    /// None, or over [`SIGNATURES_MAX`].
    #[error("there are {0} signatures; 1 to {max} are taken", max = SIGNATURES_MAX)]
    Signatures(usize),
    /// One does not verify.
    #[error("the signature of `{keyid}` is refused: {error}")]
    Signature {
        /// Whose it claims to be.
        keyid: String,
        /// Why it is refused.
        error: sshsig::Error,
    },
    /// One names another key than the one that made it.
    #[error("the signature named `{named}` was made by {made_by}")]
    KeyId {
        /// Whose it claims to be.
        named: String,
        /// Whose it is.
        made_by: Fingerprint,
    },
    /// Not strict JSON.
    #[error(transparent)]
    Strict(#[from] strict::Malformed),
    /// Not a command.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl SignedCommand {
    /// Verifies first, parses second.
    pub fn open(envelope: Envelope) -> Result<Self, Error> {
        match envelope.signatures.is_empty() {
            true => Err(Error::Signatures(0)),
            false => Self::open_draft(envelope),
        }
    }

    /// The same for a command that others are still to sign: there may be no signature yet.
    pub fn open_draft(envelope: Envelope) -> Result<Self, Error> {
        if envelope.payload_type != dsse::COMMAND {
            return Err(Error::PayloadType(envelope.payload_type));
        }
        let payload = &envelope.payload.0;
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::TooLarge(payload.len()));
        }
        let signers = verify(&envelope)?;
        strict::check_object(payload)?;
        let command = Command::parse(payload)?;
        Ok(Self { command, digest: Digest::of(payload), signers, envelope })
    }

    /// Signs a command with each of these hands.
    pub fn sign(command: &Command, hands: &[&dyn Hand]) -> std::io::Result<Envelope> {
        let payload = Base64(command.to_json());
        let mut envelope = Envelope { payload, payload_type: dsse::COMMAND.to_owned(), signatures: Vec::new() };
        hands.iter().try_for_each(|hand| cosign(&mut envelope, *hand))?;
        Ok(envelope)
    }
}

/// Adds a signature to a command that others have signed or will sign.
pub fn cosign(envelope: &mut Envelope, hand: &dyn Hand) -> std::io::Result<()> {
    let message = dsse::pae(dsse::COMMAND, &envelope.payload.0);
    let sig = Base64(hand.sign(NAMESPACE, &message)?);
    let keyid = hand.public_key().fingerprint().to_string();
    envelope.signatures.push(dsse::Signature { keyid, sig });
    Ok(())
}

/// What can sign for a principal: a key file, an agent, a token.
pub trait Hand {
    /// The public key.
    fn public_key(&self) -> &PublicKey;

    /// A binary SSHSIG over the message. Fails where the agent or token does.
    fn sign(&self, namespace: &str, message: &[u8]) -> std::io::Result<Vec<u8>>;
}

/// A plain Ed25519 key in memory.
pub struct KeyInHand {
    key: ed25519_dalek::SigningKey,
    public: PublicKey,
}

impl KeyInHand {
    /// A hand with this key.
    pub fn new(key: ed25519_dalek::SigningKey) -> Self {
        let public = PublicKey::ed25519(key.verifying_key().as_bytes());
        Self { key, public }
    }
}

impl Hand for KeyInHand {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, namespace: &str, message: &[u8]) -> std::io::Result<Vec<u8>> {
        Ok(sshsig::sign(&self.key, namespace, message))
    }
}

/// Everyone who signed, each key once.
fn verify(envelope: &Envelope) -> Result<Vec<Signed>, Error> {
    if envelope.signatures.len() > SIGNATURES_MAX {
        return Err(Error::Signatures(envelope.signatures.len()));
    }
    let message = dsse::pae(dsse::COMMAND, &envelope.payload.0);
    let mut signers: Vec<Signed> = Vec::with_capacity(envelope.signatures.len());
    for signature in &envelope.signatures {
        let keyid = || signature.keyid.chars().take(80).collect::<String>();
        let signed = sshsig::verify(&signature.sig.0, NAMESPACE, &message)
            .map_err(|error| Error::Signature { keyid: keyid(), error })?;
        let made_by = signed.key.fingerprint();
        if signature.keyid != made_by.to_string() {
            return Err(Error::KeyId { named: keyid(), made_by });
        }
        if !signers.iter().any(|other| other.key == signed.key) {
            signers.push(signed);
        }
    }
    Ok(signers)
}
