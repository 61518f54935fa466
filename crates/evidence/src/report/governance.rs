//! Who asked, who approved, who is enrolled, and under which rules: requests, people, policies, legal packs, holds.

use std::cmp::Reverse;

use model::people::PrincipalKind;
use model::{EventType, Timestamp};

use super::html::{Html, html};
use super::words::{self, Counted};
use super::{REQUESTS_MAX, ROWS_MAX, View, end_table, left_out, section, table, time};
use crate::history::{AdoptedPolicy, Approval, At, DeclaredPack, Hold, Person, RequestLife, Standing};

// === Requests and approvals ===

/// Every request: who asked, who approved and when, and what became of it.
pub(super) fn requests(out: &mut Html, view: &View<'_>) {
    section(out, "requests");
    let mut requests: Vec<&RequestLife> = view.history().requests.values().collect();
    requests.sort_by_key(|request| Reverse(request.at.sequence));
    if requests.is_empty() {
        html! { out, "<p>Nobody has asked for an activation.</p>\n</section>\n" }
        return;
    }
    let columns = ["For", "Asked", "Approved", "What became of it"];
    table(out, "requests", &"Requests for activation, the newest first", &columns);
    for request in requests.iter().take(REQUESTS_MAX) {
        row(out, view, request);
    }
    end_table(out);
    left_out(out, REQUESTS_MAX, requests.len(), "requests", "the newest", "events.jsonl");
    html! { out, "</section>\n" }
}

fn row(out: &mut Html, view: &View<'_>, request: &RequestLife) {
    html! { out, "<tr><th scope='row'>" }
    match request.key_id {
        Some(key) => view.key(out, key),
        None => html! { out, (Counted(u64::from(request.keys), "key", "keys")) },
    }
    html! { out, "<br><span class='note'>rule " (request.rule) "</span>" }
    out.markup(if request.break_glass { "<br>emergency" } else { "" });
    html! { out, "</th><td>" { view.who(out, request.by) } ", " { view.moment(out, request.at) } "<br><span class='note'>"
    (words::named(&request.reason.kind)) ": <bdi>" (request.reason.text) "</bdi></span></td><td>"
    { approvals(out, view, request) } "</td><td>" { became(out, view, request) } "</td></tr>\n" }
}

fn approvals(out: &mut Html, view: &View<'_>, request: &RequestLife) {
    let mut approvals: Vec<&Approval> = request.approvals.values().collect();
    approvals.sort_by_key(|approval| approval.at.sequence);
    if approvals.is_empty() {
        html! { out, "by nobody" }
        return;
    }
    html! { out, "<ul class='plain'>" }
    for approval in approvals {
        html! { out, "<li>" { view.voter(out, approval) } ", " { view.moment(out, approval.at) } "</li>" }
    }
    html! { out, "</ul>" }
}

fn became(out: &mut Html, view: &View<'_>, request: &RequestLife) {
    if let Some(at) = request.authorized {
        html! { out, "authorised " { view.moment(out, at) } "<br>" }
    }
    let key = request.key_id.and_then(|key| view.history().keys.get(&key));
    let activation = key.and_then(|key| key.activations.iter().find(|made| made.request == request.at.hash));
    match (activation, request.ended) {
        (Some(activation), _) => html! { out, "activated " { view.moment(out, activation.at) } },
        (None, Some((event_type, at))) => ended(out, view, request, event_type, at),
        (None, None) if request.key_id.is_none() && request.authorized.is_some() => html! { out, "see each key" },
        (None, None) => html! { out, "open at the end" },
    }
}

fn ended(out: &mut Html, view: &View<'_>, request: &RequestLife, event_type: EventType, at: At) {
    let word = match event_type {
        EventType::ActivationRejected => "rejected",
        EventType::ActivationCancelled => "taken back",
        _ => "lapsed",
    };
    let Some((by, reason)) = &request.ended_by else {
        html! { out, "<strong>" (word) "</strong> " { view.moment(out, at) } }
        return;
    };
    html! { out, "<strong>" (word) "</strong> by " { view.who(out, *by) } ", " { view.moment(out, at) }
    "<br><span class='note'>" (words::named(&reason.kind)) ": <bdi>" (reason.text) "</bdi></span>" }
}

// === People ===

/// Everyone who is or was enrolled.
pub(super) fn people(out: &mut Html, view: &View<'_>) {
    section(out, "people");
    html! { out, "<p>People and workloads are known by their own keys. Who holds a key is for the tenant's own records to \
    show; two keys of one person are one vote.</p>\n" }
    let columns = ["Label", "Kind", "Roles", "Key", "Enrolled", "Revoked"];
    table(out, "people", &"Everyone who is or was enrolled, with the roles held last", &columns);
    let mut people: Vec<&Person> = view.history().people.values().collect();
    people.sort_by(|a, b| a.enrolled.cmp(&b.enrolled).then_with(|| a.principal.label.cmp(&b.principal.label)));
    for person in people.iter().take(ROWS_MAX) {
        one(out, view, person);
    }
    end_table(out);
    left_out(out, ROWS_MAX, people.len(), "people and workloads", "those enrolled first", "people.csv");
    html! { out, "<p>Access reviews that were signed: " { list(out, view, &view.history().access_reviews) }
    ".</p>\n</section>\n" }
}

fn one(out: &mut Html, view: &View<'_>, person: &Person) {
    let principal = &person.principal;
    let kind = match principal.kind {
        PrincipalKind::Person => "person",
        PrincipalKind::Workload => "workload",
    };
    html! { out, "<tr><th scope='row'>" (principal.label) "</th><td>" (kind) }
    if principal.person != principal.label {
        html! { out, "<br><span class='note'>the same as " (principal.person) "</span>" }
    }
    if let Some(party) = principal.party {
        html! { out, "<br><span class='note'>for the " (party) "</span>" }
    }
    html! { out, "</td><td>" (words::list(&principal.roles)) "</td><td><code class='break'>" (principal.fingerprint())
    "</code><br><span class='note'>" (principal.key.key_type().name()) "</span></td><td>"
    { view.moment(out, person.enrolled) } "</td><td>" }
    match person.revoked {
        Some(at) => view.moment(out, at),
        None => html! { out, "no" },
    }
    html! { out, "</td></tr>\n" }
}

/// Events with their times, or that there are none. The newest, where there are many.
fn list(out: &mut Html, view: &View<'_>, events: &[At]) {
    const MAX: usize = 20;
    if events.is_empty() {
        html! { out, "none" }
    }
    for (place, at) in events.iter().rev().take(MAX).enumerate() {
        out.markup(if place > 0 { ", " } else { "" });
        view.moment(out, *at);
    }
    if events.len() > MAX {
        html! { out, ", and " (events.len() - MAX) " before" }
    }
}

// === Policies, packs, holds, deadlines ===

/// What was in force, and when.
pub(super) fn law(out: &mut Html, view: &View<'_>) {
    section(out, "law");
    policies(out, view);
    packs(out, view);
    holds(out, view);
    baselines(out, view);
    missed(out, view);
    html! { out, "</section>\n" }
}

/// Two cells: from when until when something was in force.
fn in_force(out: &mut Html, view: &View<'_>, from: At, until: Option<Timestamp>) {
    html! { out, "<td>" { view.moment(out, from) } "</td><td>" }
    match until {
        Some(until) => time(out, until),
        None => html! { out, "in force at the end" },
    }
    html! { out, "</td>" }
}

fn policies(out: &mut Html, view: &View<'_>) {
    let policies = &view.history().policies;
    html! { out, "<h3>Policies</h3>\n" }
    if policies.is_empty() {
        html! { out, "<p>No policy was adopted: without one, no key can be activated.</p>\n" }
        return;
    }
    table(out, "law", &"Policies, in the order of their adoption", &["Policy", "From", "Until", "What it asks for"]);
    for (place, policy) in policies.iter().enumerate().skip(policies.len().saturating_sub(ROWS_MAX)) {
        html! { out, "<tr><th scope='row'>" (policy.name) ", version " (policy.version) "</th>"
        { in_force(out, view, policy.at, policies.get(place + 1).map(|next| next.at.time)) } "<td>"
        { asks_for(out, policy) } "</td></tr>\n" }
    }
    end_table(out);
    left_out(out, ROWS_MAX, policies.len(), "policies", "the newest", "events.jsonl");
}

fn asks_for(out: &mut Html, policy: &AdoptedPolicy) {
    html! { out, "at least " (Counted(u64::from(policy.fewest_approvals), "approval", "approvals")) }
    out.markup(if policy.revalidates { "; waiting keys revalidated" } else { "; waiting keys not revalidated" });
    out.markup(if policy.reviews_access { "; access reviewed" } else { "; access not reviewed" });
    for gap in &policy.gaps {
        html! { out, "<br><span class='note'>gap: <bdi>" (gap) "</bdi></span>" }
    }
}

fn packs(out: &mut Html, view: &View<'_>) {
    let packs = &view.history().packs;
    html! { out, "<h3>Legal packs</h3>\n" }
    if packs.is_empty() {
        html! { out, "<p>No legal pack was declared.</p>\n" }
        return;
    }
    let columns = ["Pack", "Declared", "From", "Until", "To be looked at by"];
    table(out, "law", &"Legal packs, as they were declared", &columns);
    for (place, pack) in packs.iter().enumerate().skip(packs.len().saturating_sub(ROWS_MAX)) {
        let next = packs.iter().skip(place + 1).find(|next| next.pack == pack.pack);
        declared(out, view, pack, next.map(|next| next.at.time));
    }
    end_table(out);
    left_out(out, ROWS_MAX, packs.len(), "declarations", "the newest", "events.jsonl");
}

fn declared(out: &mut Html, view: &View<'_>, pack: &DeclaredPack, until: Option<Timestamp>) {
    html! { out, "<tr><th scope='row'>" (pack.pack) ", version " (pack.version) }
    if let Some(title) = &pack.title {
        html! { out, "<br><span class='note'><bdi>" (title) "</bdi></span>" }
    }
    if !pack.sources.is_empty() {
        html! { out, "<br><span class='note'><bdi>" (words::list(&pack.sources)) "</bdi></span>" }
    }
    html! { out, "</th><td>" }
    out.markup(if pack.applied { "applied" } else { "not applicable" });
    html! { out, "</td>" { in_force(out, view, pack.at, until) } "<td>" { time(out, pack.review_by) } "</td></tr>\n" }
}

fn holds(out: &mut Html, view: &View<'_>) {
    let holds = &view.history().holds;
    html! { out, "<h3>Holds</h3>\n" }
    if holds.is_empty() {
        html! { out, "<p>Nothing was held.</p>\n" }
        return;
    }
    table(out, "law", &"Holds: activations that were frozen, the newest first", &["Hold", "On", "Placed", "Lifted"]);
    for hold in holds.iter().rev().take(ROWS_MAX) {
        held(out, view, hold);
    }
    end_table(out);
    left_out(out, ROWS_MAX, holds.len(), "holds", "the newest", "events.jsonl");
}

fn held(out: &mut Html, view: &View<'_>, hold: &Hold) {
    html! { out, "<tr><th scope='row'>" (words::named(&hold.kind)) "<br><span class='note'><bdi>" (hold.reference)
    "</bdi></span></th><td>" }
    match (hold.request, hold.key_id) {
        (_, Some(key)) => view.key(out, key),
        (Some(_), None) => html! { out, "a request for many keys" },
        (None, None) => html! { out, "all activations of the tenant" },
    }
    html! { out, "</td><td>" { view.who(out, hold.by) } ", " { view.moment(out, hold.at) } "</td><td>" }
    match hold.released {
        Some((at, by)) => html! { out, { view.who(out, by) } ", " { view.moment(out, at) } },
        None => html! { out, "in force at the end" },
    }
    html! { out, "</td></tr>\n" }
}

/// What was there before Keylatch: how much of it is settled.
fn baselines(out: &mut Html, view: &View<'_>) {
    let baselines = &view.history().baselines;
    html! { out, "<h3>Keys that were there before</h3>\n" }
    if baselines.is_empty() {
        html! { out, "<p>None was adopted.</p>\n" }
        return;
    }
    html! { out, "<p>Adopted keys are active by a baseline that admins signed: that their activation was authorised is not \
    evidenced, until it is authorised anew. governance.csv lists each of them.</p>\n" }
    let columns = ["Store", "Adopted", "Keys", "To be settled by", "Since then"];
    table(out, "law", &"Baselines", &columns);
    for baseline in baselines {
        let of_baseline = view.history().adopted.values().filter(|key| key.baseline == baseline.at.hash);
        let standings: Vec<Standing> = of_baseline.map(|key| key.standing(view.until()).0).collect();
        html! { out, "<tr><th scope='row'>" (baseline.store) "</th><td>" { view.who(out, baseline.by) } ", "
        { view.moment(out, baseline.at) } "</td><td>" (u64::from(baseline.count)) "</td><td>" { time(out, baseline.rotate_by) }
        "</td><td>" }
        for standing in Standing::ALL {
            let count = standings.iter().filter(|one| **one == standing).count();
            if count > 0 {
                html! { out, (standing.name()) ": " (count as u64) "<br>" }
            }
        }
        html! { out, "</td></tr>\n" }
    }
    end_table(out);
}

fn missed(out: &mut Html, view: &View<'_>) {
    let missed = &view.history().missed;
    html! { out, "<h3>Deadlines that were missed</h3>\n" }
    if missed.is_empty() {
        html! { out, "<p>None.</p>\n" }
        return;
    }
    table(out, "law", &"Missed deadlines, the newest first", &["What", "Of", "Due", "Recorded"]);
    for missed in missed.iter().rev().take(ROWS_MAX) {
        html! { out, "<tr><th scope='row'>" (words::named(&missed.what.deadline)) "</th><td>" }
        match (missed.what.key_id, &missed.what.pack) {
            (Some(key), _) => view.key(out, key),
            (None, Some(pack)) => html! { out, "pack " (pack) },
            (None, None) => html! { out, "the tenant" },
        }
        html! { out, "</td><td>" { time(out, missed.what.at) } "</td><td>" { view.moment(out, missed.at) } "</td></tr>\n" }
    }
    end_table(out);
    left_out(out, ROWS_MAX, missed.len(), "missed deadlines", "the newest", "events.jsonl");
}
