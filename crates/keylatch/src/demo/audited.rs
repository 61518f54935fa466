//! The demo's third act: the control's other verbs, *define* and *evaluate*, and what an auditor takes home.

use std::path::Path;

use super::stage::Stage;
use crate::error::Error;

/// What the tenant stands by: a procedure, the store, and a prober that holds nothing. `admins` sign.
pub(super) async fn stand_by(stage: &mut Stage<'_>, admins: [&str; 2], input: &Path) -> Result<(), Error> {
    let [first, second] = admins;
    let two = ["--cosign", second, "--yes"];
    stage.heading(
        "What the tenant stands by: a procedure with an owner, the store by name, and a prober for the gate",
    )?;
    let text = stage.input(&input.join("generating-keys.md"));
    let procedure = ["procedure", "adopt", &text, "--name", "generating", "--title", "Generating keys", "--kind"];
    let about = ["procedure", "--covers", "11,12,14", "--owner", "sofia", "--review-by", "+365d"];
    stage.done(Some(first), &[&procedure[..], &about, &two].concat()).await?;
    let store = ["store", "register", "--name", "software", "--kind", "software", "--server", "this machine"];
    let operator = ["--database", "custodian/store", "--operator", "whoever runs this demo"];
    stage.done(Some(first), &[&store[..], &operator, &two].concat()).await?;
    stage.kept(Some(first), &["probe", "key"], "prober.pub").await?;
    let enroll = ["principal", "enroll", "prober", "--kind", "workload", "--key", "prober.pub"];
    stage.done(Some(first), &[&enroll[..], &two].concat()).await?;
    stage.recorded(first, "probe.recorded").await?;
    stage.shown(Some(first), &["probe", "key"]).await
}

/// The control tests, and their evaluation by whom the policy names.
pub(super) async fn evaluate(stage: &mut Stage<'_>, [first, _]: [&str; 2]) -> Result<(), Error> {
    stage.heading(
        "The sixteen points of the control, tested over the history: exceptions first, and never a bare pass",
    )?;
    stage.shown_to_be_no(Some(first), &["controls"]).await?;
    stage.heading("Their owner signs what the tests came to")?;
    stage.done(Some(first), &["controls", "evaluate", "--yes"]).await.map(|_| ())
}

/// From the bundle, by somebody without an account.
pub(super) async fn look_back(stage: &mut Stage<'_>, root: &str) -> Result<(), Error> {
    stage
        .heading("An auditor without an account, with the bundle alone: a sample that nobody picked, and a question")?;
    let from = ["--export", "evidence", "--root", root];
    let sample = ["evidence", "sample", "--n", "3", "--of", "activations", "--nonce", "said by the auditor"];
    stage.shown(None, &[&sample[..], &from, &["--out", "sample"]].concat()).await?;
    stage.shown(None, &[&["evidence", "sample", "check", "sample"][..], &from].concat()).await?;
    let never = ["never-active", "prompt-archive", "--between", "2026-01-01", "2026-07-01"];
    stage.shown(None, &[&never[..], &from].concat()).await?;
    stage.heading("One small file proves one activation, to somebody who has nothing else")?;
    stage.done(Some("kemi"), &["certificate", "prompt-archive", "--out", "certificate.json"]).await?;
    stage.shown(None, &["verify", "certificate.json", "--root", root]).await
}
