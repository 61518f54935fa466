//! Who recorded it and how that is tied down: services, checkpoints, void events, and what nobody has checked.

use std::collections::BTreeSet;

use model::authority::{Service, Statement, Tenants};
use model::{Fingerprint, ServiceRole, Timestamp};

use super::html::{Html, html};
use super::words::{self, Counted, Number};
use super::{ROWS_MAX, View, end_table, left_out, section, table, time};
use crate::history::{RecordedCheckpoint, Signer};
use crate::verify::VoidEvent;

/// How many checkpoints are listed.
const CHECKPOINTS_MAX: usize = 20;

/// The service keys that signed, and whom the root names.
pub(super) fn deployment(out: &mut Html, view: &View<'_>) {
    section(out, "deployment");
    let statement = in_force(view);
    if let Some(statement) = &statement {
        let statements = view.input.trust.authority.len() as u64;
        html! { out, "<p>The root's statement in force is of epoch " (statement.epoch) ", rules epoch " (statement.rules)
        ", issued " { time(out, statement.issued_at) } "; the history has "
        (Counted(statements, "such statement", "such statements")) ".</p>\n" }
    }
    for sentence in shape(view).iter().chain(view.input.deployment) {
        html! { out, "<p><bdi>" (sentence) "</bdi></p>\n" }
    }
    table(out, "services", &"Service keys that signed events", &["Role", "Key", "Instances", "#Events", "In force"]);
    let mut signers: Vec<(&Fingerprint, &Signer)> = view.history().signers.iter().collect();
    signers.sort_by(|(a, one), (b, other)| one.roles.cmp(&other.roles).then(a.cmp(b)));
    for (fingerprint, signer) in signers.iter().take(ROWS_MAX) {
        let named = statement.iter().flat_map(|statement| &statement.services);
        let named = named.into_iter().find(|service| service.public_key.fingerprint() == **fingerprint);
        html! { out, "<tr><th scope='row'>" (words::list(&signer.roles)) "</th><td><code class='break'>" (fingerprint)
        "</code></td><td>" (words::list(&signer.instances)) "</td><td class='count'>" (Number(signer.events))
        "</td><td>" { validity(out, named, signer) } "</td></tr>\n" }
    }
    end_table(out);
    left_out(out, ROWS_MAX, signers.len(), "service keys", "the first by role", "events.jsonl");
    html! { out, "</section>\n" }
}

/// The newest authority statement. The root's signature on it was verified on the way.
fn in_force(view: &View<'_>) -> Option<Statement> {
    model::json::read(&view.input.trust.authority.last()?.payload.0).ok()
}

fn validity(out: &mut Html, service: Option<&Service>, signer: &Signer) {
    let Some(service) = service else {
        let registrar = signer.roles.contains(&ServiceRole::Registrar);
        out.markup(if registrar { "as a registrar" } else { "no longer named" });
        return;
    };
    if service.not_before > Timestamp::MIN {
        html! { out, "from " { time(out, service.not_before) } " " }
    }
    match service.not_after < Timestamp::MAX {
        true => html! { out, "until " { time(out, service.not_after) } },
        false => html! { out, "without end" },
    }
    match &service.tenants {
        Tenants::All(_) => html! { out, ", in every tenant" },
        Tenants::Listed(tenants) => html! { out, ", in " (Counted(tenants.len() as u64, "tenant", "tenants")) },
    }
}

/// What the events show of the deployment's shape, and what they can't.
fn shape(view: &View<'_>) -> Vec<String> {
    let services = || view.history().signers.values().filter(|signer| !signer.roles.contains(&ServiceRole::Registrar));
    let roles: BTreeSet<ServiceRole> = services().flat_map(|signer| &signer.roles).copied().collect();
    let instances: BTreeSet<&String> = services().flat_map(|signer| &signer.instances).collect();
    let mut sentences = vec![format!(
        "{} signed, in {}. Their events name {}.",
        Counted(services().count() as u64, "service key", "service keys"),
        Counted(roles.len() as u64, "role", "roles"),
        Counted(instances.len() as u64, "instance", "instances"),
    )];
    if ServiceRole::SERVICES.iter().all(|role| roles.contains(role)) && instances.len() == 1 {
        let one = "All roles name the same instance, as a single process does. Whoever controls that process has every \
            role's key: roles are then apart by key, and not by machine or operator.";
        sentences.push(one.to_owned());
    }
    sentences.push("Whether roles really run apart, and who operates them, events can't show.".to_owned());
    sentences
}

/// What ties the history down, and what in it does not stand.
pub(super) fn checkpoints(out: &mut Html, view: &View<'_>) {
    section(out, "integrity");
    recorded(out, view, &view.history().checkpoints);
    html! { out, "<h3>Events that do not stand</h3>\n" }
    if view.input.verified.void == 0 {
        html! { out, "<p>None.</p>\n" }
    } else {
        voids(out, view);
    }
    html! { out, "</section>\n" }
}

fn recorded(out: &mut Html, view: &View<'_>, checkpoints: &[RecordedCheckpoint]) {
    html! { out, "<h3>Checkpoints</h3>\n" }
    if checkpoints.is_empty() {
        html! { out, "<p>No checkpoint is recorded: nothing but the head ties the history down.</p>\n" }
        return;
    }
    let columns = ["Recorded", "#Over the first", "Tree root, in base64"];
    table(out, "checkpoints", &"Recorded checkpoints, the newest first", &columns);
    for checkpoint in checkpoints.iter().rev().take(CHECKPOINTS_MAX) {
        let root = checkpoint.note.lines().nth(2).unwrap_or_default();
        html! { out, "<tr><th scope='row'>" { view.moment(out, checkpoint.at) } "</th><td class='count'>"
        (Number(checkpoint.size)) "</td><td><code class='break'>" (root) "</code></td></tr>\n" }
    }
    end_table(out);
    left_out(out, CHECKPOINTS_MAX, checkpoints.len(), "checkpoints", "the newest", "checkpoints.txt");
}

fn voids(out: &mut Html, view: &View<'_>) {
    html! { out, "<p>A void event changes nothing, and the chain goes on over it. But somebody wrote to the log who should \
    not have.</p>\n" }
    let verified = view.input.verified;
    table(out, "voids", &"Void events", &["Event", "Type", "Why"]);
    for VoidEvent { sequence, hash, event_type, reason } in &verified.voids {
        let event_type = event_type.as_deref().unwrap_or("not readable");
        html! { out, "<tr><th scope='row'><span class='at' data-seq='" (sequence) "' data-hash='" (hash) "'>#" (sequence)
        " <code>" (hash.short()) "</code></span></th><td><bdi>" (event_type) "</bdi></td><td><bdi>" (reason)
        "</bdi></td></tr>\n" }
    }
    end_table(out);
    let all = usize::try_from(verified.void).unwrap_or(usize::MAX);
    left_out(out, verified.voids.len(), all, "void events", "the first", "events.jsonl");
}

const NOT_CHECKED: [&str; 3] = [
    "That this is the whole history: an end that was cut off leaves a good shorter one. Compare the head, or a checkpoint, \
     with one that somebody else has kept.",
    "That the root's fingerprint is the right one: that you must know from somebody you trust.",
    "By the page alone: that each decision was right. Roles, quorums, policies and legal conditions were decided again when \
     this report was made, and are by keylatch verify.",
];

/// What nobody has checked, and how to check the rest.
pub(super) fn limits(out: &mut Html, view: &View<'_>) {
    section(out, "limits");
    html! { out, "<ul>\n" }
    for limit in NOT_CHECKED {
        html! { out, "<li>" (limit) "</li>\n" }
    }
    for limit in &view.input.controls.limits {
        html! { out, "<li><bdi>" (limit) "</bdi></li>\n" }
    }
    html! { out, "</ul>\n<p>To check the whole bundle without this page and without the platform that made it:</p>\n\
    <pre><code>keylatch verify BUNDLE --root " (view.input.verified.root) "</code></pre>\n<p class='note'>with the \
    fingerprint that you were given, not with the one that stands here.</p>\n</section>\n" }
}
