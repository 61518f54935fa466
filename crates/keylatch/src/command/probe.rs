//! `keylatch probe`: the live probes of the controls, as a tenant sees them.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use lifecycle::Governance;
use model::evidence::Probe;
use model::history::ProberAnswer;
use model::people::{PrincipalKind, PublicKey};
use model::{Problem, Timestamp, subject};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Error;
use crate::layout::{BOLD, DIM, Fields, GREEN, YELLOW, safe, time_from};
use crate::screen::{Screen, Show};
use crate::session::Session;

/// How long the exporter has for an answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// What to do about probes.
#[derive(Subcommand, Clone, Debug)]
pub enum ProbeCommand {
    /// Show the key that the platform probes with: enrol it, and what must be refused is tried.
    #[command(
        after_long_help = "The platform's exporter tries, as often as the policy's [evidence] probes says, to activate a key\nthat nobody approved and to use a key that waits, and records what it was answered. It can do so\nonce its key is enrolled, as a workload without any role: it holds nothing that would let it through.\n\nExample:\n  keylatch probe key > prober.pub\n  keylatch principal enroll prober --kind workload --key prober.pub --cosign bob\n\nFor whoever runs the platform:\n  keylatch probe key --dir my-platform"
    )]
    Key(KeyArgs),
}

/// Whose.
#[derive(Args, Clone, Debug)]
pub struct KeyArgs {
    /// The platform's folder: reads the key there, instead of asking the platform.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// The prober, and what a tenant has it do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prober {
    /// Its key.
    pub key: PublicKey,
    /// How things stand in the tenant, where one was looked at.
    pub tenant: Option<Standing>,
}

/// How probes stand in a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What is in the way of probes; nothing where they are made.
    pub lacks: Option<&'static str>,
    /// When each is next due.
    pub next: Vec<(Probe, Timestamp)>,
    /// When it was looked at.
    pub now: Timestamp,
}

impl Standing {
    /// How probes by this key stand.
    pub fn of(governance: &Governance, key: &PublicKey, now: Timestamp) -> Self {
        let rule = governance.policy.as_ref().and_then(|held| held.policy.evidence.probes.as_ref());
        let lacks = match (rule, governance.member(key.fingerprint())) {
            (None, _) => Some("the policy asks for no probes: see `probes` in docs/policy.md"),
            (Some(_), Err(_)) => {
                Some("the key is not enrolled: `keylatch principal enroll`, as a workload, without roles")
            }
            (Some(_), Ok(principal)) if principal.kind != PrincipalKind::Workload || !principal.roles.is_empty() => {
                Some("the key is enrolled, and must be a workload without any role")
            }
            (Some(_), Ok(_)) => None,
        };
        let every = rule.map(|rule| rule.every);
        let next = governance.schedule.probes.iter().filter_map(|(probe, last)| Some((*probe, *last + every?)));
        Self { lacks, next: next.collect(), now }
    }
}

impl Show for Prober {
    fn to_json(&self) -> Value {
        let standing = self.tenant.as_ref().map(|Standing { lacks, next, .. }| {
            let next: Vec<Value> = next.iter().map(|(probe, at)| json!({ "probe": probe, "next": at })).collect();
            json!({ "lacks": lacks, "probes": next })
        });
        json!({ "ok": true, "public_key": self.key, "fingerprint": self.key.fingerprint(), "tenant": standing })
    }

    /// The key in a line of its own, so that it can go into a file as it is.
    fn to_people(&self) -> String {
        format!("{} keylatch-prober\n", self.key)
    }
}

impl Prober {
    /// What is said beside the key.
    fn note(&self) -> String {
        let mut fields = Fields::default();
        fields.text("fingerprint", self.key.fingerprint().to_string());
        let Some(Standing { lacks, next, now }) = &self.tenant else { return fields.to_people(2) };
        match lacks {
            Some(lacks) => fields.add("probes", format!("{YELLOW}none{YELLOW:#}: {}", safe(lacks))),
            None => fields.add("probes", format!("{GREEN}made{GREEN:#} while a key waits for its activation")),
        }
        for (probe, at) in next {
            fields.text(probe.name(), format!("next {}", time_from(*at, *now)));
        }
        format!(
            "{BOLD}the platform probes with this key{BOLD:#}{DIM}, in OpenSSH's form on stdout{DIM:#}\n{}",
            fields.to_people(2)
        )
    }
}

/// Runs `keylatch probe` on a platform's folder, where that is what is asked for.
pub fn run_offline(command: &ProbeCommand, screen: &mut Screen) -> Option<Result<(), Error>> {
    let ProbeCommand::Key(KeyArgs { dir }) = command;
    let dir = dir.as_ref()?;
    Some(of_folder(dir).and_then(|prober| show(&prober, screen)))
}

/// Runs `keylatch probe` in a tenant.
pub async fn run(command: ProbeCommand, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let ProbeCommand::Key(_) = command;
    session.refresh(screen).await?;
    let key = ask(session).await?.ok_or_else(|| {
        Error::failed("the platform has no key to probe with", "have whoever runs it set `probe_key` of its exporter")
    })?;
    let standing = Standing::of(session.governance()?, &key, session.now());
    show(&Prober { key, tenant: Some(standing) }, screen)
}

fn show(prober: &Prober, screen: &mut Screen) -> Result<(), Error> {
    if !screen.is_json() {
        screen.review(&prober.note());
    }
    screen.show(prober)
}

fn of_folder(dir: &Path) -> Result<Prober, Error> {
    let path = crate::platform::deployment::probe_key_path(dir);
    let key = service::secret::read_key(&path);
    let key = key.map_err(|error| Error::usage(error, "name the folder that `keylatch up --dir` runs on"))?;
    Ok(Prober { key: PublicKey::ed25519(key.verifying_key().as_bytes()), tenant: None })
}

/// The key that the platform probes with, as its exporter says. Whoever lied here would have a key enrolled that may do
/// nothing.
pub async fn ask(session: &Session) -> Result<Option<PublicKey>, Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Answer {
        Prober(ProberAnswer),
        Problem(Problem),
    }
    let subject = subject::tenant::HISTORY_PROBER.to_owned();
    let answer = session.bus().request(subject, "{}".into(), PATIENCE).await;
    let answer = answer.map_err(|no_answer| {
        let what = format!("the evidence-exporter does not answer: {no_answer}");
        Error::unreachable(what, "see that the platform runs; `keylatch doctor` says more")
    })?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::Prober(ProberAnswer { public_key })) => Ok(public_key),
        Ok(Answer::Problem(problem)) => Err(problem.into()),
        Err(error) => {
            Err(Error::failed(format!("the exporter's answer does not read: {error}"), "see that it is as new"))
        }
    }
}
