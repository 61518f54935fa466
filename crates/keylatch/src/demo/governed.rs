//! The demo's second act: the same tenant under the law's conditions, a file of keys, a hold, an emergency.

use std::path::Path;

use serde_json::Value;

use super::audited;
use super::stage::Stage;
use crate::error::Error;

/// The packs that this tenant declares not applicable, each with its reason.
const NOT_APPLICABLE: [(&str, &str); 5] = [
    ("dora-2024-1774", "no financial entity"),
    ("ear-740-17", "nothing is exported from the United States"),
    ("fips-140-3", "no federal information"),
    ("nis2-2024-2690", "below the size that the directive names"),
    ("pci-dss-4-0-1", "no account data"),
];

/// Plays it. `admins` govern; the others are the application provider's people.
pub(super) async fn play(stage: &mut Stage<'_>, admins: [&str; 2], input: &Path) -> Result<(), Error> {
    tighten(stage, admins, input).await?;
    audited::stand_by(stage, admins, input).await?;
    unknown_blocks(stage).await?;
    many(stage, input).await?;
    emergency(stage, admins).await
}

/// A stricter policy, and what it wants declared.
async fn tighten(stage: &mut Stage<'_>, [first, second]: [&str; 2], input: &Path) -> Result<(), Error> {
    stage.heading("The policy is tightened: legal packs, holds, emergencies. What would change is shown first")?;
    let policy = stage.input(&input.join("application-provider-policy-governed.toml"));
    stage.shown(Some(first), &["policy", "diff", &policy]).await?;
    stage.done(Some(first), &["policy", "adopt", &policy, "--cosign", second, "--yes"]).await?;
    for (pack, because) in NOT_APPLICABLE {
        let declare = ["pack", "declare", pack, "--not-applicable", because, "--review-by", "+180d"];
        stage.done(Some(first), &[&declare[..], &["--cosign", second, "--yes"]].concat()).await?;
    }
    let applied = ["pack", "declare", "gdpr-edpb-01-2020", "--applied", "customers in the EU", "--review-by", "+180d"];
    stage.done(Some(first), &[&applied[..], &["--cosign", second, "--yes"]].concat()).await?;
    stage.shown(Some(first), &["pack", "list"]).await
}

const WHY: [&str; 10] = [
    "--reason-kind",
    "new-service",
    "--reason",
    "the customer database moves",
    "--legal-basis",
    "GDPR art. 32(1)(a)",
    "--system",
    "customer database, EU",
    "--change-ref",
    "CHG-2061",
];

/// Everybody has signed, and the key is not activated: nobody knows yet whether the law's conditions hold.
async fn unknown_blocks(stage: &mut Stage<'_>) -> Result<(), Error> {
    stage.heading("Everybody has signed, and still the key is not activated: what is not known blocks")?;
    let requested = stage.done(Some("kemi"), &[&["request", "customer-database"][..], &WHY].concat()).await?;
    stage.done(Some("sofia"), &["approve", "customer-database", "--yes"]).await?;
    stage.done(Some("dario"), &["approve", "customer-database", "--yes"]).await?;
    stage.shown_to_be_no(Some("kemi"), &["simulate", "customer-database"]).await?;
    stage.heading("Whoever may say so asserts the facts, with their evidence; the key is activated at once")?;
    let facts: [&[&str]; 7] = [
        &["personal-data", "--flag", "true", "--key", "customer-database"],
        &["personal-data", "--flag", "false"],
        &["third-country-transfer", "--flag", "false"],
        &["allowed-jurisdictions", "--names", "EU,DE"],
        &["operator-jurisdiction", "--names", "DE", "--key", "customer-database"],
        &["processor-engaged", "--flag", "false", "--key", "customer-database"],
        &["residency", "--names", "DE", "--key", "customer-database"],
    ];
    for fact in facts {
        assert(stage, fact).await?;
    }
    stage.until("kemi", "customer-database", "active", &requested).await?;
    stage.shown(Some("kemi"), &["key", "show", "customer-database"]).await
}

async fn assert(stage: &mut Stage<'_>, fact: &[&str]) -> Result<(), Error> {
    let why = ["--until", "+30d", "--evidence", "record of processing 12", "--yes"];
    stage.done(Some("dario"), &[&["fact", "assert"][..], fact, &why].concat()).await.map(|_| ())
}

/// A file of keys, one request for all of them, a court order in the way.
async fn many(stage: &mut Stage<'_>, input: &Path) -> Result<(), Error> {
    stage
        .heading("A dozen keys from a file, and one request for all of them. The second time there is nothing to do")?;
    let file = stage.input(&input.join("sessions.toml"));
    stage.shown(Some("kemi"), &["apply", "-f", &file, "--yes"]).await?;
    stage.shown(Some("kemi"), &["apply", "-f", &file, "--yes"]).await?;
    let requests = stage.done(Some("sofia"), &["requests"]).await?;
    let request = of_many(&requests).ok_or_else(|| Error::failed("no request is for many keys", "tell the authors"))?;
    stage.heading("A court order freezes every activation, until the one who may lifts it")?;
    let hold = ["hold", "place", "--all", "--kind", "court-order", "--reference", "case file 7/26", "--yes"];
    let held = stage.done(Some("sofia"), &hold).await?;
    stage.refused(Some("sofia"), &["approve", &request, "--yes"]).await?;
    let hash = held.get("hash").and_then(Value::as_str).unwrap_or_default().to_owned();
    let why = ["--reason-kind", "legal-order", "--reason", "the order was withdrawn", "--yes"];
    stage.refused(Some("sofia"), &[&["hold", "lift", &hash][..], &why].concat()).await?;
    stage.done(Some("dario"), &[&["hold", "lift", &hash][..], &why].concat()).await?;
    stage.heading(
        "Each signs once; each key is activated by an event of its own, with the proof that it is in the list",
    )?;
    stage.done(Some("sofia"), &["approve", &request, "--yes"]).await?;
    let approved = stage.done(Some("dario"), &["approve", &request, "--yes"]).await?;
    for shard in ["session-shard-1", "session-shard-12"] {
        stage.until("kemi", shard, "active", &approved).await?;
    }
    stage.shown(Some("kemi"), &["key", "list"]).await
}

/// The request that names no key.
fn of_many(requests: &Value) -> Option<String> {
    let all = requests.get("requests")?.as_array()?;
    let many = all.iter().find(|request| request.get("key_id").is_none_or(Value::is_null))?;
    ["hash", "request"].iter().find_map(|member| many.get(*member)?.as_str()).map(ToOwned::to_owned)
}

/// An emergency: a rule of its own, a short life, and a review by somebody else.
async fn emergency(stage: &mut Stage<'_>, [first, _]: [&str; 2]) -> Result<(), Error> {
    stage.heading("An emergency: a rule and a quorum of its own, a short life, and a review by somebody else")?;
    let place = ["--jurisdiction", "EU", "--classification", "secret", "--environment", "production"];
    let generate = ["key", "generate", "hotfix-signing", "--algorithm", "ed25519", "--workload", "general"];
    let layer = ["--responsibility", "application", "--asset", "the emergency release", "--owner", "olga"];
    stage.done(Some("olga"), &[&generate[..], &layer, &place].concat()).await?;
    let why = ["--reason-kind", "incident", "--reason", "a fix must be signed tonight"];
    let request = ["request", "hotfix-signing", "--break-glass"];
    let requested = stage.done(Some("olga"), &[&request[..], &why].concat()).await?;
    stage.done(Some("sofia"), &["approve", "hotfix-signing", "--yes"]).await?;
    stage.refused(Some("sofia"), &["approve", "hotfix-signing", "--yes"]).await?;
    stage.done(Some("dario"), &["approve", "hotfix-signing", "--yes"]).await?;
    stage.until("olga", "hotfix-signing", "active", &requested).await?;
    stage.shown(Some(first), &["inbox"]).await?;
    let review = ["key", "review", "hotfix-signing", "--findings", "justified; the fix is out", "--yes"];
    stage.done(Some(first), &review).await?;
    stage.shown(Some(first), &["history", "--key", "hotfix-signing"]).await
}
