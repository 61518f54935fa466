//! Finding what people name: a key by id or label, a request by hash or key, a principal by fingerprint or label.

use lifecycle::state::Request;
use lifecycle::{Key, Tenant};
use model::{EventHash, Fingerprint, KeyState, Principal, ProblemType};

use crate::error::Error;

/// The shortest beginning of an id or hash that is taken for the whole.
const PREFIX_MIN: usize = 8;

/// The key with this id, label, or unique beginning of an id.
pub fn key<'a>(state: &'a Tenant, named: &str) -> Result<&'a Key, Error> {
    if let Some(key) = named.parse().ok().and_then(|id| state.keys.get(&id)) {
        return Ok(key);
    }
    let labelled: Vec<&Key> = state.keys.values().filter(|key| key.spec.label.as_str() == named).collect();
    let begins = |key: &&Key| named.len() >= PREFIX_MIN && key.id.to_string().starts_with(named);
    let found = if labelled.is_empty() { state.keys.values().filter(begins).collect() } else { labelled };
    let living: Vec<&Key> = found.iter().copied().filter(|key| !is_gone(key.state)).collect();
    match (living.as_slice(), found.as_slice()) {
        ([key], _) | ([], [key]) => Ok(key),
        ([], []) => Err(refused(ProblemType::UnknownKey, &format!("there is no key `{named}` here"))),
        (several, all) => {
            let shown = if several.is_empty() { all } else { several };
            let ids: Vec<String> = shown.iter().take(10).map(|key| key.id.to_string()).collect();
            Err(Error::usage(format!("`{named}` stands for several keys"), format!("give one id: {}", ids.join(", "))))
        }
    }
}

fn is_gone(state: KeyState) -> bool {
    matches!(state, KeyState::Destroyed | KeyState::DestroyedCompromised)
}

/// The open request that is meant: by its hash (or the beginning of it), or by its key.
pub fn open_request<'a>(state: &'a Tenant, named: &str) -> Result<(Option<&'a Key>, &'a Request), Error> {
    let is_hex = named.len() >= PREFIX_MIN && named.bytes().all(|byte| byte.is_ascii_hexdigit());
    let begins = |request: &&Request| is_hex && request.hash.to_string().starts_with(&named.to_ascii_lowercase());
    let mut by_hash: Vec<&Request> = state.requests.values().filter(begins).collect();
    let request = match by_hash.len() {
        0 => of_key(state, named)?,
        1 => by_hash.remove(0),
        _ => {
            let what = format!("`{named}` begins the hashes of several requests");
            return Err(Error::usage(what, "give more of the hash; see `keylatch requests`"));
        }
    };
    if let Some(closed) = request.closed {
        let detail = format!("request {} ended: {}", request.hash.short(), crate::words::name_of(&closed.how));
        return Err(refused(ProblemType::RequestClosed, &detail));
    }
    Ok((key_of(state, request), request))
}

fn of_key<'a>(state: &'a Tenant, named: &str) -> Result<&'a Request, Error> {
    let key = key(state, named)?;
    let open = key.open_request.and_then(|request| state.requests.get(&request));
    open.ok_or_else(|| {
        let detail = format!("key `{}` is {} and has no open request", key.spec.label, key.state);
        refused(ProblemType::UnknownRequest, &detail)
    })
}

/// The principal with this fingerprint, or label among those who are not revoked.
pub fn principal<'a>(state: &'a Tenant, named: &str) -> Result<&'a lifecycle::state::Member, Error> {
    let governance = state.governance.as_ref();
    let people = governance.map(|governance| &governance.people);
    if let Some(member) = named.parse().ok().and_then(|fingerprint: Fingerprint| people?.get(&fingerprint)) {
        return Ok(member);
    }
    let labelled: Vec<_> =
        people.into_iter().flatten().map(|(_, member)| member).filter(|member| labelled(member, named)).collect();
    let standing: Vec<_> = labelled.iter().copied().filter(|member| member.revoked.is_none()).collect();
    match (standing.as_slice(), labelled.as_slice()) {
        ([member], _) | ([], [member]) => Ok(member),
        ([], []) => Err(refused(ProblemType::UnknownPrincipal, &format!("nobody here is `{named}`"))),
        (several, _) => {
            let prints: Vec<String> = several.iter().map(|member| member.principal.fingerprint().to_string()).collect();
            let advice = format!("give one fingerprint: {}", prints.join(", "));
            Err(Error::usage(format!("`{named}` stands for several principals"), advice))
        }
    }
}

fn labelled(member: &lifecycle::state::Member, named: &str) -> bool {
    member.principal.label.as_str() == named
}

/// How somebody is called here: the label, or the fingerprint of who was never enrolled.
pub fn name(state: &Tenant, who: Fingerprint) -> String {
    principal_of(state, who).map_or_else(|| who.to_string(), |principal| principal.label.to_string())
}

/// Whoever is or was enrolled with this key.
pub fn principal_of(state: &Tenant, who: Fingerprint) -> Option<&Principal> {
    state.governance.as_ref()?.people.get(&who).map(|member| &member.principal)
}

/// What is still missing for a request to be authorised, as `1 of `security``; empty where nothing is.
pub fn missing(state: &Tenant, request: &Request, now: model::Timestamp) -> Vec<String> {
    let Some((governance, rule)) = rule_of(state, request) else { return vec!["a policy rule for the key".to_owned()] };
    lifecycle::quorum::of_request(governance, rule, request, now).missing_lines()
}

/// The key that a request is for, where it is for one.
pub fn key_of<'a>(state: &'a Tenant, request: &Request) -> Option<&'a Key> {
    state.keys.get(&request.key_id?)
}

/// What a request is for, in a few words: the key's label, or how many keys of which kind.
pub fn what(state: &Tenant, request: &Request) -> String {
    match (key_of(state, request), &request.template) {
        (Some(key), _) => key.spec.label.to_string(),
        (None, Some(template)) => format!("{} × {} {}", request.keys(), template.workload, template.algorithm),
        (None, None) => "a key that is gone".to_owned(),
    }
}

/// The policy's rule for a request's key, with the governance that holds it.
pub fn rule_of<'a>(
    state: &'a Tenant,
    request: &Request,
) -> Option<(&'a lifecycle::Governance, &'a model::policy::Rule)> {
    let governance = state.governance.as_deref()?;
    let rule = request.rule(&governance.policy.as_ref()?.policy, key_of(state, request))?;
    Some((governance, rule))
}

/// The hash among these that begins like this. `what` says what they are of, and where they are listed.
pub fn hash(
    mut among: impl Iterator<Item = EventHash>,
    named: &str,
    (what, see): (&str, &str),
) -> Result<EventHash, Error> {
    let named = named.to_ascii_lowercase();
    let is_hex = named.len() >= PREFIX_MIN && named.bytes().all(|byte| byte.is_ascii_hexdigit());
    let advice = format!("give at least {PREFIX_MIN} letters of its hash; see `{see}`");
    if !is_hex {
        return Err(Error::usage(format!("`{named}` is not the beginning of a hash"), advice));
    }
    let mut begins = |hash: &EventHash| hash.to_string().starts_with(&named);
    match (among.find(&mut begins), among.find(&mut begins)) {
        (Some(hash), None) => Ok(hash),
        (Some(_), Some(_)) => Err(Error::usage(format!("`{named}` begins several hashes"), advice)),
        (None, _) => Err(Error::usage(format!("there is no {what} `{named}` here"), advice)),
    }
}

/// A hash as people give it on: its beginning.
pub fn short(hash: EventHash) -> String {
    hash.to_string().chars().take(12).collect()
}

fn refused(problem: ProblemType, detail: &str) -> Error {
    lifecycle::Rejection::new(problem, detail).into()
}
