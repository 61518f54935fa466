//! A key's birth, on a person's command.

use clap::Args;
use lifecycle::{Key, Tenant};
use model::command::{KeyGenerate, LIFETIME_MAX};
use model::key::{Attributes, Operation, Parent, Responsibility, Template};
use model::{Action, Algorithm, Digest, KeyId, KeySpec, Name, TenantId, Text};
use serde_json::{Value, json};
use service::clock;

use crate::error::Error;
use crate::layout::{BOLD, Fields, GREEN, YELLOW, time_from};
use crate::lookup;
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
    #[command(flatten)]
    /// What else there is to say of it.
    pub further: FurtherArgs,
}

/// What else there is to say of a key.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Further")]
pub struct FurtherArgs {
    /// Who answers for it: a label, no personal data.
    #[arg(long, value_name = "LABEL")]
    pub owner: Option<Name>,
    /// The SHA-256 of the model that it protects, in hex.
    #[arg(long, value_name = "SHA256")]
    pub model_digest: Option<Digest>,
    /// The endpoint that it protects.
    #[arg(long, value_name = "TEXT")]
    pub endpoint: Option<Text>,
    /// What it may be used for; left out, all that its algorithm does. Repeat it for further operations.
    #[arg(long, value_name = "OP", value_parser = words::operation(), num_args = 1..)]
    pub usage: Vec<Operation>,
    /// It may leave its store, wrapped, where the policy allows such keys.
    #[arg(long)]
    pub exportable: bool,
    /// Nobody may have it destroyed, where the policy allows such keys.
    #[arg(long)]
    pub not_deletable: bool,
    /// The key whose place it takes: label, id, or the beginning of an id.
    #[arg(long, value_name = "KEY")]
    pub replaces: Option<String>,
    /// Which of several alike it is, such as `eu-1`.
    #[arg(long, value_name = "NAME")]
    pub instance: Option<Name>,
    /// The key that wraps it, which must be active before it can be; one in another tenant as TENANT:KEYID.
    #[arg(long, value_name = "KEY|TENANT:KEYID")]
    pub wrapped_by: Option<String>,
    /// For a key that wraps: the session keys under it, in words. They inherit its authorisation.
    #[arg(long, value_name = "TEXT")]
    pub session_scope: Option<Text>,
}

impl GenerateArgs {
    /// The description that these options give, with the keys they name looked up.
    pub fn spec(self, state: &Tenant) -> Result<KeySpec, Error> {
        let Self { label, algorithm, workload, responsibility, jurisdiction, further, .. } = self;
        let Self { classification, environment, backend, asset, .. } = self;
        let kind = Template { algorithm, workload, responsibility, jurisdiction, classification, environment, backend };
        let replaces = further.replaces.as_deref().map(|named| any_key(state, named)).transpose()?;
        let wrapped_by = further.wrapped_by.as_deref().map(|named| parent(state, named)).transpose()?;
        let FurtherArgs { exportable, not_deletable, instance, .. } = further;
        let attributes = Attributes { exportable, deletable: !not_deletable, replaces, instance };
        Ok(KeySpec {
            asset,
            model_digest: further.model_digest,
            endpoint: further.endpoint,
            owner: further.owner,
            usage: further.usage.into_iter().collect(),
            attributes: Some(attributes).filter(|attributes| *attributes != Attributes::default()),
            wrapped_by,
            inherited_scope: further.session_scope,
            ..KeySpec::new(label, kind)
        })
    }
}

/// A key by its name, or by an id that is not known here.
fn any_key(state: &Tenant, named: &str) -> Result<KeyId, Error> {
    named.parse().or_else(|_| lookup::key(state, named).map(|key| key.id))
}

/// The key that wraps another: `KEY`, or `TENANT:KEYID`.
pub fn parent(state: &Tenant, named: &str) -> Result<Parent, Error> {
    match named.split_once(':') {
        None => any_key(state, named).map(|key_id| Parent { tenant: None, key_id }),
        Some((tenant, key)) => {
            let wrong = |error: &dyn std::fmt::Display| {
                Error::usage(format!("--wrapped-by {named}: {error}"), "write KEY, or TENANT:KEYID with both ids whole")
            };
            let tenant: TenantId = tenant.parse().map_err(|error| wrong(&error))?;
            let key_id = key.parse().map_err(|error| wrong(&error))?;
            Ok(Parent { tenant: Some(tenant).filter(|tenant| *tenant != state.chain.tenant()), key_id })
        }
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
