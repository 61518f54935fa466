//! Everything there is to know of one key.

mod more;

use clap::Args;
use lifecycle::Key;
use lifecycle::state::Request;
use model::{KeyState, Timestamp};
use serde_json::{Value, json};

use crate::command::as_of::{self, PointArgs};
use crate::error::Error;
use crate::layout::{BOLD, DIM, Fields, GREEN, RED, YELLOW, safe, state_style, styled, time, time_from};
use crate::lookup;
use crate::reader::Known;
use crate::review::request_fields;
use crate::screen::Shown;
use crate::session::Session;
use crate::words::name_of;

/// Which key, and when.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The key: label, id, or the beginning of an id.
    pub key: String,
    #[command(flatten)]
    /// As it stood then; left out, as it stands.
    pub point: PointArgs,
}

/// The key as it stood, in a session that has read up to there, with who could have approved it.
pub fn show_at(session: &Session, named: &str, at: Timestamp) -> Result<Shown, Error> {
    let now = show(session.known(), named, at)?;
    let then = as_of::show(session, Some(named), at)?;
    let (mut json, people) = (then.json, format!("{}\n{}", now.people, then.people));
    if let (Value::Object(members), Value::Object(more)) = (&mut json, now.json) {
        members.extend(more);
    }
    Ok(Shown { json, people })
}

/// The key that is named.
pub fn show(known: &Known, named: &str, now: Timestamp) -> Result<Shown, Error> {
    let key = lookup::key(known.state(), named)?;
    let json = json!({ "ok": true, "key": to_json(known, key, now) });
    Ok(Shown { json, people: to_people(known, key, now) })
}

/// Whether the key store has what the chain says, in words.
pub fn custody_word(key: &Key) -> &'static str {
    match (key.is_applied(), key.custody) {
        _ if key.adopted.is_some() => "as it was there before: no custodian reaches it",
        (true, _) => "the store has it so",
        (false, Some(_)) => "the store is being brought there",
        (false, None) => "the store has not said that it has it",
    }
}

/// What a key computes, by its store's word where it is one of another kind.
pub fn algorithm(key: &Key) -> &str {
    key.adopted.as_ref().map_or(key.spec.algorithm.name(), |adopted| adopted.algorithm.as_str())
}

/// A key for programs.
pub fn to_json(known: &Known, key: &Key, now: Timestamp) -> Value {
    let state = known.state();
    let request = key.open_request.and_then(|request| state.requests.get(&request));
    let mut json = json!({
        "key_id": key.id,
        "spec": key.spec,
        "identity": key.identity,
        "identity_text": key.identity.to_string(),
        "store": key.store,
        "state": key.state,
        "created_by": { "fingerprint": key.created_by, "label": lookup::name(state, key.created_by) },
        "created_at": key.created_at,
        "pre_active_until": key.pre_active_until,
        "expired": key.expired,
        "head": key.head,
        "transition": key.transition,
        "activation": key.activation.map(|activation| json!({
            "event": activation.hash,
            "at": activation.at,
            "deactivate_at": activation.deactivate_at,
            "request": activation.request,
        })),
        "adopted": key.adopted.as_ref().map(|adopted| json!({
            "baseline": adopted.baseline,
            "label": adopted.label,
            "algorithm": adopted.algorithm,
            "made_at": adopted.made_at,
            "rotate_by": adopted.rotate_by,
            "evidenced": !key.is_unevidenced(),
            "replaced": adopted.replaced,
            "open": key.rotation().is_some(),
        })),
        "custody": { "applied": key.is_applied(), "state": key.custody.map(|custody| custody.state) },
        "sealing": key.sealing.as_ref().map(|sealing| json!({
            "threshold": sealing.threshold,
            "shares": sealing.shares.iter().map(|share| json!({
                "to": { "fingerprint": share.to, "label": lookup::name(state, share.to) },
                "sealing_key": share.sealing_key,
                "commitment": share.commitment,
            })).collect::<Vec<_>>(),
        })),
        "open_request": request.map(|request| request_json(known, request, now)),
    });
    if let (Value::Object(members), Value::Object(more)) = (&mut json, more::to_json(state, key)) {
        members.extend(more);
    }
    json
}

/// A request for programs.
pub fn request_json(known: &Known, request: &Request, now: Timestamp) -> Value {
    let state = known.state();
    let who = |fingerprint| json!({ "fingerprint": fingerprint, "label": lookup::name(state, fingerprint) });
    let approval = |approval: &lifecycle::state::Approval| json!({ "event": approval.hash, "by": who(approval.by), "expires_at": approval.expires_at });
    let asked = known.asked(request.hash);
    json!({
        "request": request.hash,
        "key_id": request.key_id,
        "requested_by": who(request.requested_by),
        "requested_at": request.requested_at,
        "reason": asked.map(|asked| &asked.reason),
        "rule": asked.map(|asked| &asked.rule),
        "change_ref": request.change_ref,
        "legal_basis": request.legal_basis,
        "affected_systems": request.affected_systems,
        "not_before": request.not_before,
        "deactivate_at": request.deactivate_at,
        "expires_at": request.expires_at,
        "stages": lookup::rule_of(state, request).map(|(_, rule)| &rule.stages),
        "approvals": request.approvals.iter().map(approval).collect::<Vec<_>>(),
        "missing": lookup::missing(state, request, now),
        "authorized": request.authorized.map(|mark| mark.hash),
        "closed": request.closed.map(|closed| json!({ "how": closed.how, "event": closed.hash })),
    })
}

fn to_people(known: &Known, key: &Key, now: Timestamp) -> String {
    let state = known.state();
    let spec = &key.spec;
    let mut fields = Fields::default();
    fields.text("id", key.id.to_string());
    fields.text("identity", key.identity.to_string());
    fields.text("algorithm", algorithm(key));
    fields.text("workload", format!("{} ({} layer, {})", spec.workload, spec.responsibility, spec.environment));
    fields.text("data", format!("{}, {}", spec.jurisdiction, spec.classification));
    if let Some(asset) = &spec.asset {
        fields.text("protects", asset.as_str());
    }
    more::nature(state, key, &mut fields);
    fields.text("created", format!("{} by {}", time(key.created_at), lookup::name(state, key.created_by)));
    deadlines(key, now, &mut fields);
    adopted(key, now, &mut fields);
    more::deadlines(key, now, &mut fields);
    more::family(state, key, now, &mut fields);
    more::law(state, key, now, &mut fields);
    let custody = format!("{}: {}", key.store, custody_word(key));
    fields.add("custody", styled(if key.is_applied() { GREEN } else { YELLOW }, &safe(&custody)));
    if let Some(sealing) = &key.sealing {
        let held: Vec<String> = sealing.shares.iter().map(|share| lookup::name(state, share.to)).collect();
        let open = if key.activation.is_some() { "opened by" } else { "opens with" };
        fields.text("sealed", format!("{open} {} of {} shares: {}", sealing.threshold, held.len(), held.join(", ")));
    }
    fields.text("last event", key.head.to_string());
    let shown = styled(state_style(key.state), key.state.name());
    let mut text = format!("{BOLD}{}{BOLD:#}  {shown}\n{}", spec.label, fields.to_people(2));
    if let Some(request) = key.open_request.and_then(|request| state.requests.get(&request)) {
        text.push_str(&format!("\n{BOLD}open request{BOLD:#} {DIM}{}{DIM:#}\n", request.hash));
        text.push_str(&request_fields(request, known.asked(request.hash), state, now).to_people(2));
    }
    text.push_str(&earlier(known, key));
    text
}

fn deadlines(key: &Key, now: Timestamp, fields: &mut Fields) {
    match (key.state, key.expired, key.activation) {
        (KeyState::PreActive, Some(_), _) => fields.add("expired", styled(RED, "never activated in time")),
        (KeyState::PreActive, None, _) => {
            fields.add("expires", format!("{}, unless it is activated", time_from(key.pre_active_until, now)));
        }
        (_, _, Some(activation)) => {
            fields.add("activated", time_from(activation.at, now));
            fields.add("active until", time_from(activation.deactivate_at, now));
        }
        _ => {}
    }
}

/// Where the key was there before: that, and what is still to be done.
fn adopted(key: &Key, now: Timestamp, fields: &mut Fields) {
    let Some(adopted) = &key.adopted else { return };
    let made = adopted.made_at.map_or_else(String::new, |at| format!(", made {}", time(at)));
    fields
        .text("adopted", format!("as `{}`{made}, by the baseline {}", adopted.label, lookup::short(adopted.baseline)));
    let (style, said) = match (key.rotation(), key.is_unevidenced(), adopted.replaced) {
        (Some((by, _)), ..) => (YELLOW, format!("activation not evidenced, due {}", time_from(by, now))),
        (None, false, _) => (GREEN, "authorised anew".to_owned()),
        (None, true, Some(_)) => (GREEN, "activation not evidenced; replaced by another key".to_owned()),
        (None, true, None) => (GREEN, "activation not evidenced; its use has ended".to_owned()),
    };
    fields.add("evidence", styled(style, &said));
}

/// The requests that ended, newest last.
fn earlier(known: &Known, key: &Key) -> String {
    let state = known.state();
    let of_key = |request: &&Request| request.key_id == Some(key.id) && request.closed.is_some();
    let mut ended: Vec<&Request> = state.requests.values().filter(of_key).collect();
    ended.sort_by_key(|request| request.requested_at);
    let line = |request: &&Request| {
        let how = request.closed.map_or(String::new(), |closed| name_of(&closed.how));
        let who = safe(&lookup::name(state, request.requested_by));
        format!("  {} asked by {who}: {how} {DIM}{}{DIM:#}\n", time(request.requested_at), lookup::short(request.hash))
    };
    if ended.is_empty() {
        return String::new();
    }
    format!("\n{BOLD}earlier requests{BOLD:#}\n{}", ended.iter().map(line).collect::<String>())
}
