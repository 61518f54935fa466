//! Who recorded it and how that is tied down: services, checkpoints, void events, and what nobody has checked.

use std::collections::BTreeSet;

use model::authority::{Service, Statement, Tenants};
use model::{Fingerprint, Name, ServiceRole, Text, Timestamp};

use super::html::{Html, html};
use super::words::{self, Counted, Number};
use super::{ROWS_MAX, View, end_table, left_out, section, table, time};
use crate::deployment;
use crate::history::{RecordedCheckpoint, RegisteredStore, Signer};

/// How many checkpoints are listed.
const CHECKPOINTS_MAX: usize = 20;

/// The service keys that signed, and whom the root names.
pub(super) fn deployment(out: &mut Html, view: &View<'_>) {
    section(out, "deployment");
    let statement = in_force(view);
    if let Some(statement) = &statement {
        let statements = view.input.authority.len() as u64;
        html! { out, "<p>The root's statement in force is of epoch " (statement.epoch) ", rules epoch " (statement.rules)
        ", issued " { time(out, statement.issued_at) } "; the history has "
        (Counted(statements, "such statement", "such statements")) ".</p>\n" }
    }
    instances(out, view);
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
    left_out(out, ROWS_MAX, signers.len(), "service keys", "the first by role", "people.csv");
    stores(out, view);
    html! { out, "</section>\n" }
}

/// The newest authority statement. The root's signature on it was verified on the way.
fn in_force(view: &View<'_>) -> Option<Statement> {
    model::json::read(&view.input.authority.last()?.payload.0).ok()
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
fn instances(out: &mut Html, view: &View<'_>) {
    let instances = deployment::instances(view.history());
    let several: Vec<&String> =
        instances.iter().filter(|instance| instance.holds_several()).map(|instance| &instance.name).collect();
    html! { out, "<p>Events name " (Counted(instances.len() as u64, "instance", "instances")) " of services. " }
    if several.is_empty() {
        html! { out, "None of them signed in several of the roles that should be apart" }
    } else {
        html! { out, "<strong>In several of the roles that should be apart, as a single process does, signed: <bdi>"
        (words::list(several)) "</bdi>.</strong> Whoever controls such a process has the keys of all its roles: they \
        are then apart by key, and not by machine or operator. Apart should be" }
    }
    html! { out, ": " (words::list(deployment::APART)) ". Whether instances really run apart, and who operates them, \
    events can't show.</p>\n" }
}

/// The stores that were registered, as they were last.
fn stores(out: &mut Html, view: &View<'_>) {
    let names: BTreeSet<&Name> = view.history().stores.iter().map(|registered| &registered.store.name).collect();
    html! { out, "<h3>Key stores</h3>\n" }
    if names.is_empty() {
        html! { out, "<p>No store was registered: nothing says which server and database are behind the stores that keys \
        name.</p>\n" }
        return;
    }
    let columns = ["Store", "Server, database", "Module", "Where, by whom", "Registered"];
    table(out, "stores", &"Key stores, as they were registered last", &columns);
    for registered in names.iter().take(ROWS_MAX).filter_map(|name| view.history().registered(name)) {
        store(out, view, registered);
    }
    end_table(out);
    left_out(out, ROWS_MAX, names.len(), "stores", "the first by name", "stores.csv");
}

fn store(out: &mut Html, view: &View<'_>, registered: &RegisteredStore) {
    let store = &registered.store;
    let listed = |texts: &[&Option<Text>]| {
        let known: Vec<&Text> = texts.iter().filter_map(|text| text.as_ref()).collect();
        if known.is_empty() { "not said".to_owned() } else { words::list(known) }
    };
    html! { out, "<tr><th scope='row'>" (store.name) "<br><span class='note'>" (store.kind) "</span></th><td><bdi>"
    (store.server) "</bdi><br><bdi class='note'>" (store.database) "</bdi></td><td><bdi>"
    (listed(&[&store.serial, &store.firmware, &store.module_certificate])) "</bdi></td><td><bdi>"
    (listed(&[&store.region, &store.operator])) "</bdi><br><span class='note'>"
    (Counted(store.privileged_accounts.len() as u64, "privileged account", "privileged accounts"))
    "</span></td><td>" { view.moment(out, registered.at) } "</td></tr>\n" }
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
    files(out, view);
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
    let attempts = &view.history().attempts;
    html! { out, "<p>A void event changes nothing, and the chain goes on over it. But somebody wrote to the log who should \
    not have.</p>\n" }
    table(out, "voids", &"Void events", &["Event", "Type", "Why"]);
    for attempt in attempts.iter().take(ROWS_MAX) {
        html! { out, "<tr><th scope='row'>" { view.event(out, attempt.at) } "</th><td>" }
        match attempt.event_type {
            Some(event_type) => html! { out, (words::event(event_type)) },
            None => html! { out, "not known" },
        }
        html! { out, "</td><td><bdi>" (attempt.reason) "</bdi></td></tr>\n" }
    }
    end_table(out);
    let all = usize::try_from(view.input.verified.void).unwrap_or(usize::MAX);
    left_out(out, attempts.len().min(ROWS_MAX), all, "void events", "the first", "events.jsonl");
}

/// The other files, for who has them and this page on paper.
fn files(out: &mut Html, view: &View<'_>) {
    if view.input.files.is_empty() {
        return;
    }
    html! { out, "<h3>Files</h3>\n" }
    table(out, "files", &"The other files of the bundle that were made before this page", &["File", "SHA-256"]);
    for (name, digest) in view.input.files {
        html! { out, "<tr><th scope='row'>" (name) "</th><td><code class='break'>" (digest) "</code></td></tr>\n" }
    }
    end_table(out);
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
