//! `keylatch demo`: the main job, on a platform of its own, by the very commands that people type.

mod audited;
mod cast;
mod governed;
mod stage;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use journal_nats::server::SyncInterval;
use model::{Name, TenantId};
use serde_json::Value;

use self::cast::{Cast, KeyInput};
use self::stage::Stage;
use crate::Clock;
use crate::command::up::of_platform;
use crate::error::Error;
use crate::platform::{Options, Platform};
use crate::screen::Screen;

/// With which input, and what to leave.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// The folder with the demo's input.
    #[arg(long, default_value = "deploy/demo", value_name = "DIR")]
    pub input: PathBuf,
    /// Leave the platform running at the end, to try things, until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
    /// A folder in which a downloaded `nats-server` may stand.
    #[arg(long, env = "KEYLATCH_CACHE", value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

/// Runs the demo. An error where anything does not come out as it must.
pub async fn run(args: DemoArgs, screen: &mut Screen) -> Result<(), Error> {
    let input = args.input.canonicalize().map_err(|error| {
        Error::file(&args.input, error, "run it from the checkout, or name the folder with --input")
    })?;
    let folder = tempfile::Builder::new().prefix("keylatch-demo-").tempdir()?;
    let dir = folder.path().join("platform");
    let (cache, sync, clock) = (args.cache, SyncInterval::Always, Clock::default());
    let options = Options { dir: dir.clone(), cache, sync, keep_exports: None, master_key: Vec::new(), clock };
    let platform = Platform::start(options).await.map_err(of_platform)?;
    let mut stage = Stage::new(screen, folder.path(), &dir)?;
    let played = play(&mut stage, &platform, &input).await;
    if args.keep && played.is_ok() {
        stage.say(&format!(
            "It is still running. In another terminal:\n\n    export KEYLATCH_CONFIG_HOME={}\n    keylatch --context \
             sofia requests\n    keylatch --context kemi request customer-database --reason-kind new-service --reason \
             'trying it' --yes\n    keylatch --context sofia approve customer-database\n\nCtrl-C here ends it.",
            stage.contexts().display()
        ))?;
        service::process::stop_signal().await;
    }
    let stopped = platform.stop().await.map_err(of_platform);
    played.and(stopped)
}

async fn play(stage: &mut Stage<'_>, platform: &Platform, input: &Path) -> Result<(), Error> {
    stage.say(&format!(
        "A nats-server with an account for each tenant, and all six roles, are up at {}.\nThe root, which is all that \
         an auditor pins: {}",
        platform.url(),
        platform.deployment().root
    ))?;
    let application = Cast::read(input, "application-provider.toml")?;
    let model = Cast::read(input, "model-provider.toml")?;
    let ours = found(stage, &application).await?;
    let theirs = found(stage, &model).await?;
    issue(stage, &application, &model).await?;
    refuse_use(stage, &input.join("prompts.txt")).await?;
    sign_for_one(stage).await?;
    use_and_suspend(stage, &input.join("prompts.txt")).await?;
    sign_for_the_rest(stage, &application, &model).await?;
    let [first, second] = application.admins()?;
    governed::play(stage, [first.as_str(), second.as_str()], input).await?;
    audited::evaluate(stage, [first.as_str(), second.as_str()]).await?;
    time_out(stage, &model, input).await?;
    see_nothing(stage, platform, ours, theirs).await?;
    prove(stage, platform).await?;
    timeline(stage).await
}

/// Two tenants, with their people and policies.
async fn found(stage: &mut Stage<'_>, cast: &Cast) -> Result<TenantId, Error> {
    stage.heading(&format!("A tenant is founded: {} ({})", cast.name, cast.class))?;
    for label in cast.everybody() {
        stage.make_key(label).await?;
    }
    let [first, second] = cast.admins()?;
    let file = format!("{}.json", cast.name);
    let admin = |label: &Name| format!("{label}={label}.pub");
    let (one, two) = (admin(first), admin(second));
    let propose = ["tenant", "propose", cast.name.as_str(), "--dir", "platform", "--class", &cast.class];
    stage.done(None, &[&propose[..], &["--admin", &one, "--admin", &two, "--out", &file]].concat()).await?;
    for label in [first, second] {
        stage.done(None, &["sign", &file, "--offline", "--yes", "--identity", label.as_str()]).await?;
    }
    let created = stage.done(None, &["tenant", "create", &file, "--dir", "platform"]).await?;
    let tenant = created.get("tenant").and_then(Value::as_str).unwrap_or_default();
    let id = tenant.parse().map_err(|error| Error::failed(error, "tell the authors"))?;
    stage.contexts_for(cast, id).await?;
    let (by, with) = (first.as_str(), second.as_str());
    for (label, kind, roles) in cast.enrolments() {
        let key = format!("{label}.pub");
        let mut enroll = vec!["principal", "enroll", label.as_str(), "--key", &key, "--kind", kind];
        roles.iter().for_each(|role| enroll.extend(["--role", role.0.as_str()]));
        stage.done(Some(by), &[&enroll[..], &["--cosign", with, "--yes"]].concat()).await?;
    }
    let policy = stage.input(&cast.policy);
    stage.done(Some(by), &["policy", "adopt", &policy, "--cosign", with, "--yes"]).await?;
    Ok(id)
}

/// A dozen keys, pre-active.
async fn issue(stage: &mut Stage<'_>, application: &Cast, model: &Cast) -> Result<(), Error> {
    stage.heading("A dozen keys are issued. Each is generated by the custodian, and pre-active: nobody can use it")?;
    for cast in [application, model] {
        for key in &cast.keys {
            let words = generate(key, cast, cast.owner()?.as_str());
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            stage.done(Some(cast.owner()?.as_str()), &words).await?;
        }
        stage.shown(Some(cast.owner()?.as_str()), &["key", "list"]).await?;
    }
    Ok(())
}

fn generate(key: &KeyInput, cast: &Cast, owner: &str) -> Vec<String> {
    let layer = if cast.class == "mp" { "model" } else { "application" };
    let words = ["key", "generate", key.label.as_str(), "--algorithm", &key.algorithm, "--workload", &key.workload];
    let place = ["--responsibility", layer, "--jurisdiction", "EU", "--classification", "secret", "--environment"];
    let whose = ["production", "--asset", &key.asset, "--owner", owner];
    [&words[..], &place[..], &whose].concat().iter().map(ToString::to_string).collect()
}

async fn refuse_use(stage: &mut Stage<'_>, file: &Path) -> Result<(), Error> {
    stage.heading("A use before activation is refused, by the custodian, and the refusal is recorded")?;
    let file = stage.input(file);
    let encrypt = ["use", "encrypt", &file, "--key", "prompt-archive", "-o", "prompts.sealed"];
    stage.refused(Some("assistant"), &encrypt).await
}

const WHY: [&str; 8] = [
    "--reason-kind",
    "new-service",
    "--reason",
    "the assistant goes live",
    "--legal-basis",
    "GDPR art. 32(1)(a)",
    "--system",
    "assistant, EU",
];

async fn sign_for_one(stage: &mut Stage<'_>) -> Result<(), Error> {
    stage.heading("Activation is asked for. Whoever asks does not approve, and one approval of two is not enough")?;
    let mut request = vec!["request", "prompt-archive", "--change-ref", "CHG-2041"];
    request.extend(WHY);
    stage.done(Some("kemi"), &request).await?;
    stage.refused(Some("kemi"), &["approve", "prompt-archive", "--yes"]).await?;
    stage.shown(Some("sofia"), &["approve", "prompt-archive", "--yes"]).await?;
    stage.shown(Some("kemi"), &["key", "show", "prompt-archive"]).await?;
    stage.heading("The second approval completes the quorum: authorised, activated, and applied by the custodian")?;
    let approved = stage.done(Some("dario"), &["approve", "prompt-archive", "--yes"]).await?;
    stage.until("kemi", "prompt-archive", "active", &approved).await
}

async fn use_and_suspend(stage: &mut Stage<'_>, prompts: &Path) -> Result<(), Error> {
    stage.heading(
        "A real file is encrypted and decrypted. It never crosses the bus: its data key does, wrapped and sealed",
    )?;
    let input = stage.input(prompts);
    stage
        .shown(Some("assistant"), &["use", "encrypt", &input, "--key", "prompt-archive", "-o", "prompts.sealed"])
        .await?;
    stage.shown(Some("assistant"), &["use", "decrypt", "prompts.sealed", "-o", "prompts.opened"]).await?;
    let same = std::fs::read(prompts)? == std::fs::read(stage.path("prompts.opened"))?;
    stage.check("the opened file is the original, byte for byte", same)?;
    stage.heading("A suspension takes effect at once")?;
    let reason = ["--reason-kind", "investigation", "--reason", "an odd export of prompts", "--yes"];
    stage.done(Some("olga"), &[&["key", "suspend", "prompt-archive"][..], &reason].concat()).await?;
    stage.refused(Some("assistant"), &["use", "decrypt", "prompts.sealed", "-o", "again"]).await?;
    let reason = ["--reason-kind", "investigation", "--reason", "it was the nightly backup", "--yes"];
    let resumed = stage.done(Some("olga"), &[&["key", "resume", "prompt-archive"][..], &reason].concat()).await?;
    stage.until("olga", "prompt-archive", "active", &resumed).await
}

async fn sign_for_the_rest(stage: &mut Stage<'_>, application: &Cast, model: &Cast) -> Result<(), Error> {
    stage.heading("The other keys are signed for, each as its policy says; one is left waiting")?;
    let rest =
        application.keys.iter().filter(|key| !["prompt-archive", "customer-database"].contains(&key.label.as_str()));
    for key in rest {
        let approvers: &[&str] = if key.workload == "general" { &["sofia"] } else { &["sofia", "dario"] };
        sign_for(stage, &key.label, "kemi", approvers).await?;
    }
    for key in &model.keys {
        sign_for(stage, &key.label, "maren", &["noor", "pavel"]).await?;
    }
    stage.shown(Some("kemi"), &["key", "list"]).await?;
    stage.shown(Some("maren"), &["key", "list"]).await
}

async fn sign_for(stage: &mut Stage<'_>, key: &Name, owner: &str, approvers: &[&str]) -> Result<(), Error> {
    let mut request = vec!["request", key.as_str()];
    request.extend(WHY);
    let requested = stage.done(Some(owner), &request).await?;
    for approver in approvers {
        stage.done(Some(approver), &["approve", key.as_str(), "--yes"]).await?;
    }
    stage.until(owner, key.as_str(), "active", &requested).await
}

async fn time_out(stage: &mut Stage<'_>, model: &Cast, input: &Path) -> Result<(), Error> {
    stage.heading(
        "A key that nobody activates in time expires, and is destroyed. (This policy gives it three seconds)",
    )?;
    let [first, second] = model.admins()?;
    let policy = stage.input(&input.join("model-provider-policy-short.toml"));
    let adopt = ["policy", "adopt", &policy, "--cosign", second.as_str(), "--yes"];
    stage.done(Some(first.as_str()), &adopt).await?;
    let key = KeyInput::spare()?;
    let words = generate(&key, model, "maren");
    let generated = stage.done(Some("maren"), &words.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    stage.until("maren", key.label.as_str(), "destroyed", &generated).await?;
    stage.shown(Some("maren"), &["history", "--key", key.label.as_str()]).await
}

/// The model provider, with valid credentials, reaches nothing of the application provider.
async fn see_nothing(
    stage: &mut Stage<'_>,
    platform: &Platform,
    ours: TenantId,
    theirs: TenantId,
) -> Result<(), Error> {
    stage.heading("The other tenant sees nothing: the model provider tries, with valid credentials")?;
    let credentials = stage.credentials(theirs);
    let client = journal_nats::connect::connect(&platform.url(), &credentials, "curious").await;
    let client = client.map_err(|error| Error::unreachable(error, "tell the authors"))?;
    let bus = |error: &dyn std::fmt::Display| Error::unreachable(error, "tell the authors");
    let ask = |subject: String, payload: Vec<u8>| {
        let client = client.clone();
        async move { tokio::time::timeout(Duration::from_secs(2), client.request(subject, payload.into())).await }
    };
    let history = ask(format!("kl.{ours}.hist.get"), br#"{"from":1,"max":10}"#.to_vec()).await;
    stage.check("asking for the other's history on its own subject finds nobody", !matches!(history, Ok(Ok(_))))?;
    let captured = std::fs::read(stage.path("application-provider.json"))?;
    let sent = ask(format!("kl.{ours}.cmd.key.suspend"), captured.clone()).await;
    stage.check("a command sent as the other tenant reaches nobody", !matches!(sent, Ok(Ok(_))))?;
    let sent = ask("keylatch.cmd.key.suspend".to_owned(), captured).await;
    let refused = sent.ok().and_then(Result::ok).map(|answer| String::from_utf8_lossy(&answer.payload).into_owned());
    let wrong = refused.is_some_and(|answer| answer.contains("urn:keylatch:problem:wrong-tenant"));
    stage.check("the other's signed command, sent from here, is refused as wrong-tenant", wrong)?;
    let mut events = client.subscribe("keylatch.evt.>").await.map_err(|error| bus(&error))?;
    client.flush().await.map_err(|error| bus(&error))?;
    let reason = ["--reason-kind", "test", "--reason", "does the other tenant see this", "--yes"];
    stage.done(Some("olga"), &[&["key", "suspend", "prompt-cache"][..], &reason].concat()).await?;
    stage.done(Some("noor"), &[&["key", "suspend", "training-prompts"][..], &reason].concat()).await?;
    let first = tokio::time::timeout(Duration::from_secs(10), events.next()).await.ok().flatten();
    let own = first.is_some_and(|message| String::from_utf8_lossy(&message.payload).contains(&theirs.to_string()));
    stage.check("of two suspensions, one in each tenant, it hears of its own", own)?;
    stage.shown(Some("maren"), &["key", "list"]).await
}

/// Export, verify offline, check an approval with stock OpenSSH, and flip one byte.
async fn prove(stage: &mut Stage<'_>, platform: &Platform) -> Result<(), Error> {
    let root = platform.deployment().root.to_string();
    stage.heading(
        "Proof: a bundle of evidence, verified offline. Every signature, every link, every decision decided again",
    )?;
    stage.shown(Some("kemi"), &["export", "evidence"]).await?;
    stage.shown(None, &["verify", "evidence", "--root", &root]).await?;
    audited::look_back(stage, &root).await?;
    stage.heading("One approval, checked with stock ssh-keygen and nothing of ours")?;
    stage.check_approval("evidence", "dario").await?;
    stage.heading("One byte of a copy is changed, and the verifier names the event")?;
    stage.flip_a_byte("evidence", "tampered")?;
    stage.found_out(&["verify", "tampered", "--root", &root]).await
}

async fn timeline(stage: &mut Stage<'_>) -> Result<(), Error> {
    stage.heading("The story of one key")?;
    stage.shown(Some("kemi"), &["history", "--key", "prompt-archive"]).await?;
    stage.finish()
}
