//! A key's birth, on a person's command.

use clap::Args;
use lifecycle::Key;
use model::command::{KeyGenerate, LIFETIME_MAX};
use model::key::{Responsibility, Template};
use model::{Action, Algorithm, KeySpec, Name, Text};
use serde_json::{Value, json};
use service::clock;

use crate::error::Error;
use crate::layout::{BOLD, Fields, GREEN, YELLOW, time_from};
use crate::screen::{Screen, Show};
use crate::session::Session;
use crate::submit::{Needs, Outcome, Recorded, Signing};
use crate::words;

/// What the key is for. It is written when the key is generated and never changed; the policy's rules match on it.
#[derive(Args, Clone, Debug)]
pub struct GenerateArgs {
    /// The label that people see.
    pub label: Name,
    /// What it computes.
    #[arg(long, default_value = "aes-256-gcm", value_parser = words::algorithm())]
    pub algorithm: Algorithm,
    /// The kind of work, such as `model-storage`, `inference-protection`, `prompt-handling` or `general`.
    #[arg(long)]
    pub workload: Name,
    /// The layer it belongs to, which says whose duty it is.
    #[arg(long, value_parser = words::responsibility())]
    pub responsibility: Responsibility,
    /// Where its data lives in law, such as `EU`.
    #[arg(long)]
    pub jurisdiction: Name,
    /// How sensitive its data is, such as `secret`.
    #[arg(long)]
    pub classification: Name,
    /// Such as `production`.
    #[arg(long)]
    pub environment: Name,
    /// The key store that is to hold it.
    #[arg(long, default_value = "software")]
    pub backend: Name,
    /// What it protects, in words. It is recorded for good: no personal data.
    #[arg(long, value_name = "TEXT")]
    pub asset: Option<Text>,
}

impl From<GenerateArgs> for KeySpec {
    fn from(args: GenerateArgs) -> Self {
        let GenerateArgs { label, algorithm, workload, responsibility, jurisdiction, .. } = args;
        let GenerateArgs { classification, environment, backend, asset, .. } = args;
        let kind = Template { algorithm, workload, responsibility, jurisdiction, classification, environment, backend };
        Self { asset, ..Self::new(label, kind) }
    }
}

/// A key that was generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The event.
    pub recorded: Recorded,
    /// The key, as the verified history has it.
    pub key: Key,
    now: model::Timestamp,
}

impl Show for Generated {
    fn to_json(&self) -> Value {
        json!({
            "ok": true,
            "key_id": self.key.id,
            "label": self.key.spec.label,
            "identity": self.key.identity.to_string(),
            "state": self.key.state,
            "pre_active_until": self.key.pre_active_until,
            "event": self.recorded.to_json(),
        })
    }

    fn to_people(&self) -> String {
        let mut fields = Fields::default();
        fields.text("key", self.key.id.to_string());
        fields.text("identity", self.key.identity.to_string());
        fields.add("state", format!("{YELLOW}{}{YELLOW:#}: nobody can use it yet", self.key.state));
        fields.add("expires", format!("{}, unless it is activated", time_from(self.key.pre_active_until, self.now)));
        fields.text("event", self.recorded.sequence.0.to_string());
        format!(
            "{GREEN}generated{GREEN:#} {BOLD}{label}{BOLD:#}\n{}next: keylatch request {label} --reason-kind … --reason …\n",
            fields.to_people(2),
            label = self.key.spec.label
        )
    }
}

/// Has a key generated.
pub async fn generate(session: &mut Session, screen: &mut Screen, spec: KeySpec) -> Result<Generated, Error> {
    let key_id = clock::key_id();
    let command = session.command(Action::KeyGenerate(KeyGenerate { spec }), Some(key_id), LIFETIME_MAX);
    let needs = Needs { signatures: 1, review: false };
    let outcome = session.carry_out(screen, &command, &Signing::default(), needs).await?;
    let (Outcome::Recorded(recorded), Some(key)) = (outcome, session.state().keys.get(&key_id)) else {
        return Err(Error::failed("the verified history does not have the key", "see `keylatch history`"));
    };
    Ok(Generated { recorded, key: key.clone(), now: session.now() })
}
