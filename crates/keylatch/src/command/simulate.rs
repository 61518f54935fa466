//! `keylatch simulate`: what an activation comes to, and what a draft would change, without anything being done. The
//! deciding code itself runs here, on the verified history.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use lifecycle::simulate::{self, Simulation, Standing};
use lifecycle::state::Request;
use lifecycle::{Key, Rejection, Tenant};
use model::{Fingerprint, KeyState, Timestamp};
use serde_json::{Value, json};

use crate::command::policy;
use crate::error::{Error, Exit};
use crate::explain::{self, Block};
use crate::layout::{BOLD, DIM, GREEN, RED, YELLOW, safe, state_style, styled, time, time_from};
use crate::lookup;
use crate::reader::Known;
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::words::counted;

/// What is simulated.
#[derive(Args, Clone, Debug, Default)]
pub struct SimulateArgs {
    /// A key (label, id, or the beginning of an id) or a request (the beginning of its hash).
    #[arg(value_name = "KEY|REQUEST", required_unless_present_any = ["policy", "pack"])]
    pub subject: Option<String>,
    /// A draft of a policy: what it would change for every pending and active key.
    #[arg(long, value_name = "FILE", conflicts_with = "subject")]
    pub policy: Option<PathBuf>,
    /// A draft of a legal pack, as if it were declared applied. With --policy, both at once.
    #[arg(long, value_name = "FILE", conflicts_with = "subject")]
    pub pack: Option<PathBuf>,
    /// Who would ask, where nobody has yet: a label or a fingerprint. Left out, you, or the first who may.
    #[arg(long = "as", value_name = "WHO")]
    pub asker: Option<String>,
}

/// Runs `keylatch simulate`. Exit code 1 where something beside signatures is in the way.
pub async fn run(args: SimulateArgs, session: &mut Session, screen: &mut Screen) -> Result<Exit, Error> {
    session.refresh(screen).await?;
    let (shown, clear) = simulate(session, &args)?;
    screen.show(&shown)?;
    Ok(if clear { Exit::Ok } else { Exit::Refused })
}

/// What is asked for, and whether nothing beside signatures is in the way (of a draft: whether it holds up nothing that
/// was not held up before).
pub fn simulate(session: &Session, args: &SimulateArgs) -> Result<(Shown, bool), Error> {
    let (known, now) = (session.known(), session.now());
    let asker = |key: &Key| asker(session, args.asker.as_deref(), key);
    let draft = Draft::load(args.policy.as_deref(), args.pack.as_deref())?;
    match &args.subject {
        Some(subject) => one(known, subject, asker, now),
        None => drafted(known.state(), draft, asker, now),
    }
}

/// Who would ask: whoever is named, or whoever signs here, where they may; else the first who may.
fn asker(session: &Session, named: Option<&str>, key: &Key) -> Result<Fingerprint, Error> {
    let state = session.state();
    if let Some(named) = named {
        return Ok(lookup::principal(state, named)?.principal.fingerprint());
    }
    let governance = session.governance()?;
    let rule = governance.policy()?.policy.rule_for(&key.spec.traits());
    let may = |principal: &&model::Principal| rule.is_some_and(|rule| !principal.roles.is_disjoint(&rule.requesters));
    let own = session.hand().ok().map(|hand| hand.public_key().fingerprint());
    let own = own.and_then(|own| governance.member(own).ok()).filter(may);
    let first = own.or_else(|| governance.members().find(may));
    Ok(first.map_or(key.created_by, model::Principal::fingerprint))
}

// === One key or request ===

/// What a name on the command line stands for here.
enum Subject<'a> {
    Key(&'a Key),
    Many(&'a Request),
}

fn subject<'a>(state: &'a Tenant, named: &str) -> Result<Subject<'a>, Error> {
    match lookup::key(state, named) {
        Ok(key) => Ok(Subject::Key(key)),
        Err(not_a_key) => match lookup::open_request(state, named) {
            Ok((Some(key), _)) => Ok(Subject::Key(key)),
            Ok((None, request)) => Ok(Subject::Many(request)),
            Err(_) => Err(not_a_key),
        },
    }
}

fn one(
    known: &Known,
    named: &str,
    asker: impl Fn(&Key) -> Result<Fingerprint, Error>,
    now: Timestamp,
) -> Result<(Shown, bool), Error> {
    let state = known.state();
    match subject(state, named)? {
        Subject::Many(request) => many(known, request, now),
        Subject::Key(key) if key.activation.is_some() => active(state, key, now),
        Subject::Key(key) => match covering(known, key).filter(|_| key.open_request.is_none()) {
            Some((request, membership)) => {
                let simulation = simulate::of_member(state, request, key.id, &membership, now)?;
                Ok(pending(state, key, &simulation, now))
            }
            None => {
                let by = asker(key)?;
                let simulation = simulate::of_key(state, key.id, by, now)?;
                let (mut shown, clear) = pending(state, key, &simulation, now);
                if simulation.request.is_none() {
                    let who = safe(&lookup::name(state, by));
                    shown.people.push_str(&format!("  {DIM}as if {who} asked for it now, and said no more{DIM:#}\n"));
                }
                Ok((shown, clear))
            }
        },
    }
}

/// The open request whose list has this key, with the proof.
fn covering(known: &Known, key: &Key) -> Option<(model::EventHash, model::event::Membership)> {
    let open = known.state().requests.values().filter(|request| request.closed.is_none() && request.manifest.is_some());
    open.filter_map(|request| {
        let mut members = known.list(request)?.memberships().filter(|(id, _)| *id == key.id).collect::<Vec<_>>();
        members.pop().map(|(_, membership)| (request.hash, membership))
    })
    .next()
}

fn pending(state: &Tenant, key: &Key, simulation: &Simulation, now: Timestamp) -> (Shown, bool) {
    let clear = simulation.is_clear_but_for_approvals();
    let shown = styled(state_style(key.state), key.state.name());
    let request = simulation.request.map(|hash| format!("  {DIM}request {}{DIM:#}", lookup::short(hash)));
    let people = format!(
        "{BOLD}{}{BOLD:#}  {shown}{}\n{}",
        safe(key.spec.label.as_str()),
        request.unwrap_or_default(),
        explain::fields(simulation, state, now).to_people(2)
    );
    (Shown { json: json!({ "ok": true, "simulation": explain::to_json(simulation, state) }), people }, clear)
}

fn active(state: &Tenant, key: &Key, now: Timestamp) -> Result<(Shown, bool), Error> {
    let standing = simulate::of_active(state, key.id, now)?;
    let json = json!({ "ok": true, "standing": standing_json(state, &standing) });
    let mut fields = crate::layout::Fields::default();
    fields.add("ends", time_from(standing.ends, now));
    fields.text("may be used by", explain::names(state, &standing.users).join(", "));
    let blocks: Vec<String> = standing.blocked.iter().map(|block| Block::new(block, state, Some(key)).line()).collect();
    let nothing = format!("{GREEN}nothing: it could be activated again{GREEN:#}");
    fields.add("if activated now", if blocks.is_empty() { nothing } else { blocks.join("\n") });
    let shown = styled(state_style(key.state), key.state.name());
    let people = format!("{BOLD}{}{BOLD:#}  {shown}\n{}", safe(key.spec.label.as_str()), fields.to_people(2));
    Ok((Shown { json, people }, standing.blocked.is_empty()))
}

/// How many keys are shown of those that have the same in their way.
const SHOWN_MAX: usize = 5;

fn many(known: &Known, request: &Request, now: Timestamp) -> Result<(Shown, bool), Error> {
    let state = known.state();
    let whole = simulate::of_request(state, request.hash, now)?;
    let list = known.list(request);
    let mut members: Vec<Simulation> = Vec::new();
    let (mut done, mut gone) = (0_usize, 0_usize);
    for (key, membership) in list.iter().flat_map(lifecycle::manifest::List::memberships) {
        match state.keys.get(&key) {
            Some(key) if key.can_be_activated() => {
                members.push(simulate::of_member(state, request.hash, key.id, &membership, now)?);
            }
            Some(key) if key.activation.is_some() => done += 1,
            _ => gone += 1,
        }
    }
    let clear = whole.is_clear_but_for_approvals() && members.iter().all(|member| member.besides.is_empty());
    let json = json!({
        "ok": true, "simulation": explain::to_json(&whole, state), "list_in_log": list.is_some(),
        "activated": done, "gone": gone,
        "keys": members.iter().map(|member| explain::to_json(member, state)).collect::<Vec<Value>>(),
    });
    let what = safe(&lookup::what(state, request));
    let mut people = format!("{BOLD}{what}{BOLD:#}  {DIM}request {}{DIM:#}\n", lookup::short(request.hash));
    people.push_str(&explain::fields(&whole, state, now).to_people(2));
    if request.manifest.is_some() && list.is_none() {
        people.push_str(&format!("  {RED}its list is not in the log, or is another than it says{RED:#}\n"));
    }
    people.push_str(&alike(state, &members));
    if done + gone > 0 {
        people.push_str(&format!("  {DIM}{done} activated already, {gone} gone{DIM:#}\n"));
    }
    Ok((Shown { json, people }, clear))
}

/// The members of a list, together where the same is in their way.
fn alike(state: &Tenant, members: &[Simulation]) -> String {
    let mut groups: BTreeMap<Vec<String>, Vec<&str>> = BTreeMap::new();
    for member in members {
        let Some(key) = member.key.and_then(|key| state.keys.get(&key)) else { continue };
        let generic = |block: &Rejection| Block::new(block, state, None).line();
        groups.entry(member.besides.iter().map(generic).collect()).or_default().push(key.spec.label.as_str());
    }
    let mut text = String::new();
    for (blocks, labels) in groups {
        let first: Vec<&str> = labels.iter().take(SHOWN_MAX).copied().collect();
        let more = labels.len().saturating_sub(first.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text.push_str(&format!("  {} ({}{more}): ", counted(labels.len(), "key"), safe(&first.join(", "))));
        match blocks.as_slice() {
            [] => text.push_str(&format!("{GREEN}nothing beside the signatures{GREEN:#}\n")),
            blocks => text.push_str(&format!("\n    {}\n", blocks.join("\n    "))),
        }
    }
    text
}

// === Drafts ===

/// What is to be put in force.
struct Draft {
    policy: Option<model::Policy>,
    pack: Option<model::pack::Pack>,
    name: String,
}

impl Draft {
    fn load(policy: Option<&Path>, pack: Option<&Path>) -> Result<Self, Error> {
        let names: Vec<String> = policy.iter().chain(pack.iter()).map(|path| path.display().to_string()).collect();
        let policy = policy.map(policy::load).transpose()?;
        let pack = pack.map(load_pack).transpose()?;
        Ok(Self { policy, pack, name: names.join(" and ") })
    }

    fn in_force(self, tenant: &Tenant) -> Result<Tenant, Rejection> {
        let tenant = match self.policy {
            Some(policy) => simulate::with_policy(tenant, policy)?,
            None => tenant.clone(),
        };
        match self.pack {
            Some(pack) => simulate::with_pack(&tenant, pack),
            None => Ok(tenant),
        }
    }
}

/// Reads a legal pack that holds together.
fn load_pack(file: &Path) -> Result<model::pack::Pack, Error> {
    let advice = "name a pack's TOML file, such as those in deploy/packs";
    let text = std::fs::read_to_string(file).map_err(|error| Error::file(file, error, advice))?;
    let pack: model::pack::Pack =
        toml::from_str(&text).map_err(|error| Error::file(file, crate::toml_text::explain(&text, &error), advice))?;
    match lifecycle::gate::check(&pack).first() {
        None => Ok(pack),
        Some(fault) => Err(Error::file(file, fault, "mend it")),
    }
}

/// What a draft changes for a key that waits.
struct Changed<'a> {
    key: &'a Key,
    before: Result<Simulation, Rejection>,
    after: Result<Simulation, Rejection>,
}

impl Changed<'_> {
    /// Whether it is held up by what did not hold it up before.
    fn is_worse(&self) -> bool {
        let clear = |simulated: &Result<Simulation, Rejection>| {
            simulated.as_ref().is_ok_and(Simulation::is_clear_but_for_approvals)
        };
        clear(&self.before) && !clear(&self.after)
    }
}

fn drafted(
    state: &Tenant,
    draft: Draft,
    asker: impl Fn(&Key) -> Result<Fingerprint, Error>,
    now: Timestamp,
) -> Result<(Shown, bool), Error> {
    let name = draft.name.clone();
    let holes = match (&draft.policy, state.governance.as_deref()) {
        (Some(policy), Some(governance)) => lifecycle::policy::holes(policy, governance),
        _ => Vec::new(),
    };
    let drafted = draft.in_force(state)?;
    let mut waiting = Vec::new();
    let mut standing = Vec::new();
    for key in state.keys.values() {
        match key.state {
            KeyState::PreActive if key.is_waiting() => {
                let by = asker(key)?;
                let before = simulate::of_key(state, key.id, by, now);
                waiting.push(Changed { key, before, after: simulate::of_key(&drafted, key.id, by, now) });
            }
            // What was adopted and never authorised here rests on no policy.
            KeyState::Active | KeyState::Suspended if key.is_unevidenced() => {}
            KeyState::Active | KeyState::Suspended => standing.push(simulate::of_active(&drafted, key.id, now)?),
            _ => {}
        }
    }
    let clear = holes.is_empty() && !waiting.iter().any(Changed::is_worse) && !standing.iter().any(is_held_up);
    let json = json!({
        "ok": true, "draft": name,
        "holes": holes.iter().map(|fault| json!({ "at": fault.at, "what": fault.what, "advice": fault.advice })).collect::<Vec<Value>>(),
        "pending": waiting.iter().map(|changed| changed_json(changed, state, &drafted)).collect::<Vec<Value>>(),
        "active": standing.iter().map(|standing| standing_json(&drafted, standing)).collect::<Vec<Value>>(),
    });
    let mut people = format!("{BOLD}{}{BOLD:#} put in force now:\n", safe(&name));
    for fault in &holes {
        let (at, what, advice) = (safe(&fault.at), safe(&fault.what), fault.advice);
        people.push_str(&format!("  {RED}it can't be adopted:{RED:#} {at}: {what}; {advice}\n"));
    }
    people.push_str(&pending_people(state, &drafted, &waiting));
    people.push_str(&standing_people(&drafted, &standing, now));
    Ok((Shown { json, people }, clear))
}

fn is_held_up(standing: &Standing) -> bool {
    !standing.blocked.is_empty() || standing.would_end.is_err() || standing.users.is_empty()
}

fn changed_json(changed: &Changed<'_>, state: &Tenant, drafted: &Tenant) -> Value {
    let side = |simulated: &Result<Simulation, Rejection>, state: &Tenant| match simulated {
        Ok(simulation) => explain::to_json(simulation, state),
        Err(rejection) => json!({ "refused": Block::new(rejection, state, Some(changed.key)).to_json() }),
    };
    json!({
        "key_id": changed.key.id, "label": changed.key.spec.label,
        "before": side(&changed.before, state), "after": side(&changed.after, drafted),
    })
}

fn standing_json(state: &Tenant, standing: &Standing) -> Value {
    let key = state.keys.get(&standing.key);
    let blocks: Vec<Value> = standing.blocked.iter().map(|block| Block::new(block, state, key).to_json()).collect();
    json!({
        "key_id": standing.key,
        "label": key.map(|key| &key.spec.label),
        "rule": standing.rule,
        "could_be_activated": standing.blocked.is_empty(),
        "blocked": blocks,
        "ends": standing.ends,
        "would_end": standing.would_end.as_ref().ok(),
        "would_not_end": standing.would_end.as_ref().err().map(|block| Block::new(block, state, key).to_json()),
        "users": explain::names(state, &standing.users),
    })
}

/// What a simulation comes to, in lines.
fn verdict(simulated: &Result<Simulation, Rejection>, state: &Tenant) -> String {
    match simulated {
        Err(rejection) => Block::new(rejection, state, None).line(),
        Ok(simulation) => {
            let mut lines = vec![explain::still_to_sign(simulation, state)];
            lines.extend(simulation.besides.iter().map(|block| Block::new(block, state, None).line()));
            lines.join("\n")
        }
    }
}

/// Keys together of which the same is to be said, with that.
#[derive(Default)]
struct Groups(BTreeMap<String, Vec<String>>);

impl Groups {
    fn add(&mut self, said: String, label: &str) {
        self.0.entry(said).or_default().push(safe(label));
    }

    fn to_people(&self) -> String {
        let mut text = String::new();
        for (said, labels) in &self.0 {
            let first: Vec<&str> = labels.iter().take(SHOWN_MAX).map(String::as_str).collect();
            let more = labels.len().saturating_sub(first.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            text.push_str(&format!("  {BOLD}{}{BOLD:#}{more}\n{said}", first.join(", ")));
        }
        text
    }
}

fn pending_people(state: &Tenant, drafted: &Tenant, waiting: &[Changed<'_>]) -> String {
    let mut groups = Groups::default();
    let mut same = 0_usize;
    for changed in waiting {
        let (before, after) = (verdict(&changed.before, state), verdict(&changed.after, drafted));
        if before == after {
            same += 1;
            continue;
        }
        let mut fields = crate::layout::Fields::default();
        fields.add("before", before);
        fields.add("after", after);
        groups.add(fields.to_people(4), changed.key.spec.label.as_str());
    }
    let keys = counted(waiting.len(), "key");
    format!("  {YELLOW}pending:{YELLOW:#} {keys}, {same} as before\n{}", groups.to_people())
}

fn standing_people(drafted: &Tenant, standing: &[Standing], now: Timestamp) -> String {
    let mut groups = Groups::default();
    let mut same = 0_usize;
    for one in standing {
        let lines = of_standing(drafted, one, now);
        let key = drafted.keys.get(&one.key);
        let label = key.map_or_else(|| one.key.to_string(), |key| key.spec.label.to_string());
        match lines.is_empty() {
            true => same += 1,
            false => groups.add(format!("    {}\n", lines.join("\n    ")), &label),
        }
    }
    let groups = groups.to_people();
    format!(
        "  {YELLOW}active:{YELLOW:#} {}, {same} could be activated again as they are\n{groups}",
        counted(standing.len(), "key")
    )
}

/// What there is to say of a key that is active, a line each.
fn of_standing(drafted: &Tenant, one: &Standing, now: Timestamp) -> Vec<String> {
    let mut lines: Vec<String> = one.blocked.iter().map(|block| Block::new(block, drafted, None).line()).collect();
    match &one.would_end {
        Ok(end) if *end < one.ends => {
            let (then, ends) = (time_from(*end, now), time(one.ends));
            lines.push(format!("activated under it, its use would end {then}, not {ends}; it keeps its end"));
        }
        Ok(_) => {}
        Err(block) if one.blocked.contains(block) => {}
        Err(block) => lines.push(Block::new(block, drafted, None).line()),
    }
    if one.users.is_empty() {
        lines.push(format!("{RED}nobody who is enrolled may use it{RED:#}"));
    }
    lines
}
