//! `keylatch inbox`: what waits for the identity of the context, each with the command to type; and one of it in full, with
//! the exact bytes that would be signed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifecycle::state::{Hold, Request, TenantDeadline};
use lifecycle::{Governance, Key, Tenant, simulate};
use model::command::{ActivationApprove, LIFETIME_MAX};
use model::event::Deadline;
use model::policy::Policy;
use model::{Digest, EventHash, Fingerprint, KeyId, Principal, Span, Timestamp, dsse};
use serde::Serialize;
use serde_json::{Value, json};

use crate::command::approve::{self, Word};
use crate::command::controls;
use crate::error::Error;
use crate::explain;
use crate::layout::{BOLD, Cell, DIM, Fields, Table, relative, safe};
use crate::lookup;
use crate::reader::Known;
use crate::review::review;
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::submit;
use crate::words::{counted, name_of};

/// How long before a document's review is due it is in its owner's inbox: when the warning is recorded, too.
const DOCUMENT_REVIEW_BEFORE: Span = Span::from_secs(30 * 24 * 3600);

/// What to do with the inbox.
#[derive(Args, Clone, Debug, Default)]
pub struct InboxArgs {
    /// What to do; left out, it is listed.
    #[command(subcommand)]
    pub command: Option<InboxCommand>,
}

/// What to do with the inbox.
#[derive(Subcommand, Clone, Debug)]
pub enum InboxCommand {
    /// Show one thing in full: the request, the key, what others signed, gates and facts, and the exact bytes to be signed.
    Show(ShowArgs),
}

/// Which one.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Its number in `keylatch inbox`, or a request: the beginning of its hash, or its key.
    #[arg(value_name = "N|REQUEST")]
    pub which: String,
    /// Write the very command that is shown to this file, to be signed with `keylatch sign` and sent with `keylatch submit`.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Of a request for many keys: write the whole list to this file, as the log has it and the signature is over its root.
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
}

/// Runs `keylatch inbox`.
pub async fn run(args: InboxArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    session.refresh(screen).await?;
    match args.command {
        None => screen.show(&list(session)?),
        Some(InboxCommand::Show(args)) => screen.show(&show(session, &args)?),
    }
}

/// Something that waits for somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What is to be done.
    pub task: Task,
    /// What it is about, in words.
    pub about: String,
    /// By when.
    pub by: Option<Timestamp>,
    /// The command to type.
    pub command: String,
    /// The request, where it is about one.
    pub request: Option<EventHash>,
    /// The key, where it is about one.
    pub key_id: Option<KeyId>,
    /// Whose vote it is, where it was delegated.
    pub on_behalf_of: Option<Fingerprint>,
}

/// What can wait for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Vote on a request.
    Vote,
    /// Say, as a consumer, that a key's identity is known.
    Acknowledge,
    /// Review an emergency activation.
    ReviewActivation,
    /// Say that keys which wait are still wanted.
    Revalidate,
    /// Ask for the activation of keys that were adopted, or replace them.
    Rotate,
    /// Look at who may create and who may approve.
    AccessReview,
    /// Sign what the control tests came to.
    ControlEvaluation,
    /// Look at a document that one answers for, and have it adopted anew.
    DocumentReview,
    /// Declare a legal pack, or look at its declaration again.
    DeclarePack,
    /// A hold that could be lifted.
    LiftHold,
}

impl Item {
    fn new(task: Task, about: String, by: Option<Timestamp>, command: String) -> Self {
        Self { task, about, by, command, request: None, key_id: None, on_behalf_of: None }
    }

    fn of(self, request: Option<&Request>, key: Option<&Key>) -> Self {
        Self { request: request.map(|request| request.hash), key_id: key.map(|key| key.id), ..self }
    }
}

/// Everything that waits for this identity: what is due first before the rest, each kind together.
pub fn items(known: &Known, me: Fingerprint, now: Timestamp) -> Vec<Item> {
    let state = known.state();
    let Some(governance) = state.governance.as_deref() else { return Vec::new() };
    let (Ok(principal), Ok(held)) = (governance.member(me), governance.policy()) else { return Vec::new() };
    let looks = Looks { known, state, governance, policy: &held.policy, principal, me, now };
    let mut items: Vec<Item> = [
        looks.votes(),
        looks.acknowledgements(),
        looks.reviews(),
        looks.adopted(),
        looks.revalidations(),
        looks.access_review(),
        looks.evaluation(),
        looks.documents(),
        looks.packs(),
        looks.holds(),
    ]
    .into_iter()
    .flatten()
    .collect();
    items.sort_by_key(|item| (item.task, item.by.unwrap_or(Timestamp::MAX), item.about.clone()));
    items
}

/// Somebody's look at the state.
struct Looks<'a> {
    known: &'a Known,
    state: &'a Tenant,
    governance: &'a Governance,
    policy: &'a Policy,
    principal: &'a Principal,
    me: Fingerprint,
    now: Timestamp,
}

impl Looks<'_> {
    fn open(&self) -> impl Iterator<Item = &Request> {
        self.state.requests.values().filter(|request| request.closed.is_none())
    }

    fn holds_one_of(&self, roles: &std::collections::BTreeSet<model::Role>) -> bool {
        lifecycle::standing::person(self.principal).is_ok() && !self.principal.roles.is_disjoint(roles)
    }

    fn votes(&self) -> Vec<Item> {
        let mut items = Vec::new();
        for request in self.open() {
            for whose in simulate::votes_that_count(self.state, request.hash, self.me, self.now) {
                let what = lookup::what(self.state, request);
                let by = lookup::name(self.state, request.requested_by);
                let named = named(self.state, request);
                let (about, command) = match whose.map(|whose| lookup::name(self.state, whose)) {
                    None => (format!("{what}, asked by {by}"), format!("keylatch approve {named}")),
                    Some(whose) => (
                        format!("{what}, asked by {by}: the vote of {whose}"),
                        format!("keylatch approve {named} --on-behalf-of {whose}"),
                    ),
                };
                let key = lookup::key_of(self.state, request);
                let item = Item::new(Task::Vote, about, request.ends_at(), command).of(Some(request), key);
                items.push(Item { on_behalf_of: whose, ..item });
            }
        }
        items
    }

    /// Keys of open requests that name this identity as a consumer; those of a list as one task.
    fn acknowledgements(&self) -> Vec<Item> {
        let mut items = Vec::new();
        for request in self.open().filter(|request| request.consumers.contains(&self.me)) {
            let waits = |key: &Key| key.is_waiting() && !key.acknowledged.contains_key(&self.me);
            if let Some(list) = self.known.list(request) {
                let left = list.keys().filter_map(|key| self.state.keys.get(&key)).filter(|key| waits(key)).count();
                let about = format!("{left} keys of {}", lookup::what(self.state, request));
                let command = "keylatch key acknowledge --list FILE".to_owned();
                let item = Item::new(Task::Acknowledge, about, request.ends_at(), command).of(Some(request), None);
                items.extend((left > 0).then_some(item));
            } else if let Some(key) = lookup::key_of(self.state, request).filter(|key| waits(key)) {
                let command = format!("keylatch key acknowledge {} --key-identity …", key.spec.label);
                let about = format!("{} {}", key.spec.label, key.identity);
                let item = Item::new(Task::Acknowledge, about, request.ends_at(), command);
                items.push(item.of(Some(request), Some(key)));
            }
        }
        items
    }

    /// Emergency activations that this identity may review: nobody who asked or approved.
    fn reviews(&self) -> Vec<Item> {
        // Also of a key that is suspended for want of its review, or whose short life is over.
        let waiting = self.state.keys.values().filter(|key| key.activation.is_some() && key.review_by.is_some());
        let mine = waiting.filter_map(|key| {
            let request = self.state.requests.get(&key.activation?.request)?;
            let rule = request.rule(self.policy, Some(key))?;
            let may = self.holds_one_of(&rule.break_glass.as_ref()?.reviewers.roles) && !self.was_involved(request);
            let command = format!("keylatch key review {} --findings …", key.spec.label);
            let late = if key.review_by.is_some_and(|by| by <= self.now) { ", missed" } else { "" };
            let about = format!("{}, {}{late}", key.spec.label, key.state);
            let item = Item::new(Task::ReviewActivation, about, key.review_by, command);
            may.then(|| item.of(Some(request), Some(key)))
        });
        mine.collect()
    }

    fn was_involved(&self, request: &Request) -> bool {
        let approvals = request.approvals.iter().chain(&request.lapsed);
        let voters = approvals.flat_map(|approval| std::iter::once(approval.by).chain(approval.on_behalf_of));
        let is_me = |who: Fingerprint| {
            self.governance.people.get(&who).is_some_and(|member| member.principal.person == self.principal.person)
        };
        std::iter::once(request.requested_by).chain(voters).any(is_me)
    }

    /// The keys whose time to be looked at is half over, as one task.
    fn revalidations(&self) -> Vec<Item> {
        let Some(rule) = self.policy.keys.revalidation.as_ref().filter(|rule| self.holds_one_of(&rule.roles)) else {
            return Vec::new();
        };
        let half = half(rule.every);
        let waiting = self.state.keys.values().filter(|key| key.is_waiting());
        let due: Vec<&Key> =
            waiting.filter(|key| key.revalidate_by.is_some_and(|by| by.before(half) <= self.now)).collect();
        let Some(by) = due.iter().filter_map(|key| key.revalidate_by).min() else { return Vec::new() };
        let labels: Vec<&str> = due.iter().take(3).map(|key| key.spec.label.as_str()).collect();
        let more = if due.len() > labels.len() { ", …" } else { "" };
        let about = format!("{} keys that wait: {}{more}", due.len(), labels.join(", "));
        let command =
            format!("keylatch key revalidate {}{}", labels.join(" "), if more.is_empty() { "" } else { " …" });
        let item = Item::new(Task::Revalidate, about, Some(by), command);
        vec![match due.as_slice() {
            [key] => item.of(None, Some(key)),
            _ => item,
        }]
    }

    /// The adopted keys for whose activation this identity may ask, as one task a store.
    fn adopted(&self) -> Vec<Item> {
        let mut stores: BTreeMap<&model::Name, Vec<&Key>> = BTreeMap::new();
        let open = self.state.keys.values().filter(|key| key.rotation().is_some() && key.open_request.is_none());
        let mine = open.filter(|key| {
            self.policy.rule_for(&key.spec.traits()).is_some_and(|rule| self.holds_one_of(&rule.requesters))
        });
        mine.for_each(|key| stores.entry(&key.store).or_default().push(key));
        let item = |(store, keys): (&model::Name, Vec<&Key>)| {
            let by = keys.iter().filter_map(|key| key.rotation()).map(|(at, _)| at).min();
            let late = if by.is_some_and(|by| by <= self.now) { ", missed" } else { "" };
            let about = format!("{} of {store}: adopted, activation not evidenced{late}", counted(keys.len(), "key"));
            let label = keys.first().map_or("…", |key| key.spec.label.as_str());
            Item::new(Task::Rotate, about, by, format!("keylatch request {label} …, or generate one that replaces it"))
        };
        stores.into_iter().map(item).collect()
    }

    /// The access review, from when it is warned of, or, where no warning is wanted, from when it is half over.
    fn access_review(&self) -> Vec<Item> {
        let Some(rule) = self.policy.people.access_review.as_ref().filter(|rule| self.holds_one_of(&rule.by.roles))
        else {
            return Vec::new();
        };
        let before = rule.warn_before.unwrap_or_else(|| half(rule.every));
        let is_due = |deadline: &&TenantDeadline| {
            deadline.deadline == Deadline::AccessReview && deadline.at.before(before) <= self.now
        };
        let due = self.governance.deadlines.iter().filter(is_due);
        due.map(|deadline| {
            let late = if deadline.missed { ", missed" } else { "" };
            let about = format!("who may create keys and who may approve{late}");
            Item::new(Task::AccessReview, about, Some(deadline.at), "keylatch access review --findings …".to_owned())
        })
        .collect()
    }

    /// The evaluation of the control, from when it is warned of, or from when it is half over.
    fn evaluation(&self) -> Vec<Item> {
        let rule = self.policy.evidence.evaluation.as_ref().filter(|rule| self.holds_one_of(&rule.by.roles));
        let Some(rule) = rule.filter(|rule| controls::is_near(Some(self.governance), rule, self.now)) else {
            return Vec::new();
        };
        let several = if rule.by.quorum > 1 { format!(", {} sign", rule.by.quorum) } else { String::new() };
        let due = self.governance.deadlines.iter().filter(|one| one.deadline == Deadline::ControlEvaluation);
        due.map(|deadline| {
            let late = if deadline.missed { ", missed" } else { "" };
            let about = format!("what the control tests came to{several}{late}");
            Item::new(Task::ControlEvaluation, about, Some(deadline.at), "keylatch controls evaluate".to_owned())
        })
        .collect()
    }

    /// The documents that this identity answers for and that are to be looked at, from when that is warned of.
    fn documents(&self) -> Vec<Item> {
        let mine = self.governance.documents.iter().filter(|(_, held)| held.owner == self.me);
        let due = mine.filter(|(_, held)| held.review_by.before(DOCUMENT_REVIEW_BEFORE) <= self.now);
        due.map(|(name, held)| {
            let late = if held.review_by <= self.now { ", missed" } else { "" };
            let about = format!("{name} {}: {}{late}", held.version, held.title);
            let command = format!("keylatch procedure adopt FILE --name {name} …");
            Item::new(Task::DocumentReview, about, Some(held.review_by), command)
        })
        .collect()
    }

    /// For admins: packs that the policy wants declared, and those to be looked at again, from when that is warned of.
    fn packs(&self) -> Vec<Item> {
        if !self.principal.roles.iter().any(model::Role::is_admin) {
            return Vec::new();
        }
        let item = |pack: &model::Name, what: &str, by| {
            let command = format!("keylatch pack declare {pack} … --out FILE");
            Item::new(Task::DeclarePack, format!("{pack}: {what}"), by, command)
        };
        let undeclared = lifecycle::conditions::undeclared(self.governance).into_iter();
        let undeclared = undeclared.map(|pack| item(&pack, "undeclared, no key can be activated", None));
        let of_pack = |one: &&TenantDeadline| matches!(one.deadline, Deadline::PackReview | Deadline::PackSource);
        // What was warned of has no warning ahead any more.
        let is_due = |one: &&TenantDeadline| one.missed || one.warn_at.is_none_or(|warn_at| warn_at <= self.now);
        let due = self.governance.deadlines.iter().filter(of_pack).filter(is_due).filter_map(|one| {
            let what = if one.deadline == Deadline::PackReview { "the declaration" } else { "a newer version" };
            let late = if one.missed { ", missed" } else { "" };
            Some(item(one.pack.as_ref()?, &format!("{what} is due{late}"), Some(one.at)))
        });
        undeclared.chain(due).collect()
    }

    fn holds(&self) -> Vec<Item> {
        if !self.policy.holds.as_ref().is_some_and(|rules| self.holds_one_of(&rules.lift.roles)) {
            return Vec::new();
        }
        let item = |hash: &EventHash, hold: &Hold, what: String| {
            let about = format!("{what}: {}, {}", name_of(&hold.kind), hold.reference);
            let command = format!("keylatch hold lift {} --reason-kind … --reason …", lookup::short(*hash));
            Item::new(Task::LiftHold, about, None, command)
        };
        let of_tenant = self.governance.holds.iter().map(|(hash, hold)| item(hash, hold, "all activations".to_owned()));
        let of_requests = self.open().flat_map(|request| {
            let what = lookup::what(self.state, request);
            let key = lookup::key_of(self.state, request);
            request.holds.iter().map(move |(hash, hold)| item(hash, hold, what.clone()).of(Some(request), key))
        });
        of_tenant.chain(of_requests).collect()
    }
}

/// Half of it, to the second.
pub(crate) fn half(span: Span) -> Span {
    Span::from_secs(u32::try_from(span.to_std().as_secs() / 2).unwrap_or(u32::MAX))
}

/// How a request is named on a command line: by its key's label where that is one, else by its hash.
fn named(state: &Tenant, request: &Request) -> String {
    let label = lookup::key_of(state, request).map(|key| key.spec.label.as_str());
    let unique = label.filter(|label| lookup::key(state, label).is_ok());
    unique.map_or_else(|| lookup::short(request.hash), str::to_owned)
}

fn me(session: &Session) -> Result<Fingerprint, Error> {
    let me = session.hand()?.public_key().fingerprint();
    session.governance()?.member(me)?;
    Ok(me)
}

/// The list.
pub fn list(session: &Session) -> Result<Shown, Error> {
    let (me, now) = (me(session)?, session.now());
    let items = items(session.known(), me, now);
    let mut table = Table::new(&["N", "TASK", "ABOUT", "BY", "TYPE"]);
    for (place, item) in items.iter().enumerate() {
        table.row([
            (place + 1).to_string().into(),
            name_of(&item.task).into(),
            Cell::styled(BOLD, item.about.as_str()),
            item.by.map_or("-".to_owned(), |by| relative(by, now)).into(),
            item.command.as_str().into(),
        ]);
    }
    let people = table.to_people("nothing waits for you");
    let name = lookup::name(session.state(), me);
    Ok(Shown { json: json!({ "ok": true, "for": { "fingerprint": me, "label": name }, "items": items }), people })
}

/// One thing in full.
pub fn show(session: &Session, args: &ShowArgs) -> Result<Shown, Error> {
    let (me, now) = (me(session)?, session.now());
    let items = items(session.known(), me, now);
    let numbered = args.which.parse::<usize>().ok().filter(|number| *number <= items.len());
    let by_number = numbered.and_then(|number| items.get(number.checked_sub(1)?));
    let item = match by_number {
        Some(item) => item.clone(),
        None => {
            let (key, request) = lookup::open_request(session.state(), &args.which)?;
            let mine = items.iter().find(|item| item.request == Some(request.hash)).cloned();
            let command = format!("keylatch approve {}", named(session.state(), request));
            let item = Item::new(Task::Vote, lookup::what(session.state(), request), request.ends_at(), command);
            mine.unwrap_or(item.of(Some(request), key))
        }
    };
    if let Some(path) = &args.list {
        write_list(session, &item, path)?;
    }
    match item.request.filter(|_| item.task == Task::Vote) {
        Some(request) => vote(session, &item, request, args.out.as_deref()),
        None => Ok(other(session, &item)),
    }
}

/// The whole list of a request for many keys: what the signature is over is its root.
fn write_list(session: &Session, item: &Item, path: &std::path::Path) -> Result<(), Error> {
    let request = item.request.and_then(|request| session.state().requests.get(&request));
    let Some(request) = request.filter(|request| request.manifest.is_some()) else {
        return Err(Error::usage("this is no request for a list of keys", "leave out --list"));
    };
    let list = session.known().list(request).ok_or_else(|| {
        Error::failed("the log has no list with the digest, count and root of this request", "do not approve it")
    })?;
    if path.exists() {
        return Err(Error::file(path, "there is such a file", "take another name for --list"));
    }
    crate::context::write_whole(path, &list.text())
}

fn other(session: &Session, item: &Item) -> Shown {
    let now = session.now();
    let mut fields = Fields::default();
    fields.text("what", &item.about);
    if let Some(by) = item.by {
        fields.add("by", crate::layout::time_from(by, now));
    }
    if let Some(key) = item.key_id.and_then(|key| session.state().keys.get(&key)) {
        fields.text("key", key.id.to_string());
        fields.text("identity", key.identity.to_string());
        fields.text("state", key.state.name());
    }
    fields.text("type", &item.command);
    let people = format!("{BOLD}{}{BOLD:#}\n{}", name_of(&item.task), fields.to_people(2));
    Shown { json: json!({ "ok": true, "item": item }), people }
}

/// A vote: everything, and the exact bytes.
fn vote(session: &Session, item: &Item, request: EventHash, out: Option<&std::path::Path>) -> Result<Shown, Error> {
    let (state, now) = (session.state(), session.now());
    let word = match item.on_behalf_of {
        None => Word::Approve(None),
        Some(whose) => Word::ApproveFor(whose.to_string(), None),
    };
    // Who only looks need not have the secret sealing key at hand; what is kept to be signed is whole.
    let looked_at = |error| match (out, item.on_behalf_of) {
        (None, None) => Ok(model::Action::ActivationApprove(ActivationApprove::new(request))),
        _ => Err(error),
    };
    let action = approve::action(session, request, word).or_else(looked_at)?;
    let command = session.command(action, item.key_id, LIFETIME_MAX);
    let payload = command.to_json();
    let pae = dsse::pae(dsse::COMMAND, &payload);
    let mut people = review(&command, &payload, &[], Some(session.known()), now);
    people.push_str(&by_hand(&payload, &pae));
    if let Some(path) = out {
        let envelope = model::Envelope {
            payload_type: dsse::COMMAND.to_owned(),
            payload: model::text::Base64(payload.clone()),
            signatures: Vec::new(),
        };
        if path.exists() {
            return Err(Error::file(path, "there is such a file", "take another name for --out"));
        }
        submit::write_envelope(path, &envelope)?;
        let path = safe(&path.display().to_string());
        people
            .push_str(&format!("  kept in {BOLD}{path}{BOLD:#}: keylatch sign {path}, then keylatch submit {path}\n"));
    } else {
        let typed = safe(&item.command);
        people.push_str(&format!("  {BOLD}{typed}{BOLD:#} signs the same with its own id and times\n"));
    }
    let simulation = simulate::of_request(state, request, now).ok();
    let json = json!({
        "ok": true, "item": item,
        "simulation": simulation.map(|simulation| explain::to_json(&simulation, state)),
        "command": serde_json::from_slice::<Value>(&payload).unwrap_or_default(),
        "signed_bytes": {
            "hex": data_encoding::HEXLOWER.encode(&pae), "length": pae.len(), "sha256": Digest::of(&pae),
            "payload_sha256": Digest::of(&payload), "namespace": model::command::NAMESPACE, "hash": "sha512",
        },
    });
    Ok(Shown { json, people })
}

/// The bytes that a signature is over, and how to check them without this program.
fn by_hand(payload: &[u8], pae: &[u8]) -> String {
    let hex = data_encoding::HEXLOWER.encode(pae);
    let lines: Vec<&str> =
        (0..hex.len()).step_by(100).filter_map(|at| hex.get(at..(at + 100).min(hex.len()))).collect();
    let (length, digest) = (pae.len(), Digest::of(pae));
    let head = length - payload.len();
    format!(
        "  {DIM}what the signature is over: DSSE's pre-authentication encoding, {length} bytes, SHA-256 {digest}{DIM:#}\n    \
         {}\n  {DIM}by hand: put the hex into bytes.hex, then{DIM:#}\n    xxd -r -p bytes.hex | sha256sum        \
         {DIM}# {digest}{DIM:#}\n    xxd -r -p bytes.hex | tail -c +{}        {DIM}# the JSON above, {} bytes{DIM:#}\n    \
         xxd -r -p bytes.hex | ssh-keygen -Y sign -n {} -f KEY        {DIM}# what signing it is{DIM:#}\n",
        lines.join("\n    "),
        head + 1,
        payload.len(),
        model::command::NAMESPACE,
    )
}
