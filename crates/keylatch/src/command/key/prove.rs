//! Proof of possession, checked here.

use keystore::Proof;
use model::command::{KeyProve, LIFETIME_MAX_USE};
use model::key::KeyIdentity;
use model::text::Base64;
use model::{Action, KeyId, Name};
use rand_core::{OsRng, RngCore as _};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Error;
use crate::layout::{BOLD, GREEN, YELLOW};
use crate::lookup;
use crate::screen::Show;
use crate::session::Session;
use crate::submit::{Retry, open};
use journal::command::SignedCommand;

/// What was proved, and how surely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The key.
    pub key_id: KeyId,
    /// Its label.
    pub label: Name,
    /// By what it is recognised.
    pub identity: KeyIdentity,
    /// Whether the answer was verified against the key's public half. Else its check value was compared.
    pub verified: bool,
}

impl Show for Proved {
    fn to_json(&self) -> Value {
        json!({
            "ok": true,
            "key_id": self.key_id,
            "identity": self.identity,
            "verified": self.verified,
            "checked": if self.verified { "signature" } else { "check-value" },
        })
    }

    fn to_people(&self) -> String {
        let (label, identity) = (&self.label, &self.identity);
        if self.verified {
            return format!(
                "{GREEN}proved:{GREEN:#} the custodian has {BOLD}{label}{BOLD:#}: it signed a new challenge, and that \
                 verifies under {identity}\n"
            );
        }
        format!(
            "{YELLOW}answered:{YELLOW:#} the custodian gives {identity} for {BOLD}{label}{BOLD:#}, as the history does; a \
             secret key's proof can be verified by its holder only\n"
        )
    }
}

/// What the custodian answers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answered {
    Signature { signature: Base64 },
    Mac { mac: Base64, check_value: Base64 },
}

/// Asks for a proof over a random challenge, and checks it against the verified history.
pub async fn prove(session: &mut Session, named: &str) -> Result<Proved, Error> {
    let key = lookup::key(session.state(), named)?.clone();
    let mut challenge = vec![0; 32];
    OsRng.fill_bytes(&mut challenge);
    let action = Action::KeyProve(KeyProve { challenge: Base64(challenge.clone()) });
    let command = session.command(action, Some(key.id), LIFETIME_MAX_USE);
    let hand = session.hand()?;
    let envelope = SignedCommand::sign(&command, &[&*hand])
        .map_err(|error| Error::usage(format!("not signed: {error}"), "see that the key is at hand"))?;
    // Nothing is recorded, so asking again does no harm.
    let answer = session.ask(&open(envelope)?, Retry::SameBytes).await?;
    let proof = answer.get("proof").cloned().unwrap_or_default();
    let answered: Answered = serde_json::from_value(proof).map_err(|error| false_proof(&error))?;
    let verified = match answered {
        Answered::Signature { signature } => {
            let holds = Proof::Signature(signature.0).verify(&key.identity, session.tenant(), key.id, &challenge);
            if !holds.map_err(|error| false_proof(&error))? {
                return Err(false_proof(&"the signature does not verify under the key's public half"));
            }
            true
        }
        Answered::Mac { mac, check_value } => {
            if mac.0.len() != 32 || check_value.0 != key.identity.check_value() {
                return Err(false_proof(&"the check value is not the key's"));
            }
            false
        }
    };
    Ok(Proved { key_id: key.id, label: key.spec.label, identity: key.identity, verified })
}

fn false_proof(error: &dyn std::fmt::Display) -> Error {
    Error::failed(
        format!("possession is not proved: {error}"),
        "suspend the key if it is active, and find out what its store has",
    )
}
