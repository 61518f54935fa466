//! `keylatch access`: who may create keys and who may approve them; and the periodic look at it, which is signed.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use lifecycle::Governance;
use lifecycle::quorum::Vote;
use lifecycle::state::{Delegation, TenantDeadline};
use model::command::AccessReview;
use model::event::Deadline;
use model::people::{KeyType, PrincipalKind};
use model::policy::{Rule, Stage};
use model::{Action, Event, Fingerprint, Policy, Principal, Text, Timestamp};
use serde_json::{Value, json};

use crate::command::SigningArgs;
use crate::command::delegation::gone;
use crate::error::Error;
use crate::layout::{BOLD, Cell, DIM, GREEN, RED, Table, YELLOW, safe, styled, time, time_from};
use crate::lookup;
use crate::reader::Seen;
use crate::screen::{Screen, Show, Shown};
use crate::session::Session;
use crate::submit::{Needs, lifetime};

/// What to do with access.
#[derive(Subcommand, Debug)]
pub enum AccessCommand {
    /// Show who may create keys and who may approve them, since when, and with what they sign.
    Show,
    /// Look at who may create and who may approve, and sign that you did. Policy says who does so, and how often.
    ///
    /// What you look at is shown first. The signature is bound to it: where anything changes before it is recorded, the
    /// review is refused. A review that is missed is recorded as an exception.
    #[command(
        after_long_help = "Example:\n  keylatch access show\n  keylatch access review --findings 'sec-3 has left: revoked today (CHG-88)'"
    )]
    Review(ReviewArgs),
}

/// What was found, and who signs.
#[derive(Args, Debug)]
pub struct ReviewArgs {
    /// What was found, and what will be done about it: one line. It is recorded for good: no personal data.
    #[arg(long, value_name = "TEXT")]
    pub findings: Text,
    #[command(flatten)]
    /// Who signs.
    pub signing: SigningArgs,
}

/// Runs `keylatch access`.
pub async fn run(command: AccessCommand, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let access = look(session, screen).await?;
    match command {
        AccessCommand::Show => screen.show(&Shown { json: access.to_json(), people: access.to_people() }),
        AccessCommand::Review(args) => review(args, &access, session, screen).await,
    }
}

async fn review(args: ReviewArgs, access: &Access, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let governance = session.governance()?;
    let Some(rule) = &governance.policy()?.policy.people.access_review else {
        let advice = "add [people.access_review] to the policy, or look with `keylatch access show`";
        return Err(Error::usage("the policy asks for no access review", advice));
    };
    let signatures = rule.by.quorum;
    let params = AccessReview { against: governance.head, findings: args.findings };
    let signing = args.signing.into();
    if !screen.is_json() {
        screen.review(&access.to_people());
    }
    let command = session.command(Action::AccessReview(params), None, lifetime(&signing, signatures));
    let outcome = session.carry_out(screen, &command, &signing, Needs { signatures, review: true }).await?;
    screen.show(&outcome)
}

/// Who may do what.
pub struct Access {
    now: Timestamp,
    /// The roles that may create, in words.
    creating: String,
    creators: Vec<Person>,
    rules: Vec<OfRule>,
    /// When the next review is due, where the policy asks for one.
    next: Option<TenantDeadline>,
    /// Votes that are given to others now.
    delegated: Vec<String>,
}

struct OfRule {
    name: String,
    emergency: bool,
    stages: Vec<(String, Vec<Person>)>,
}

/// Somebody who may.
#[derive(Clone)]
struct Person {
    fingerprint: Fingerprint,
    /// The label, and who it is where that is another name.
    label: String,
    roles: Vec<String>,
    kind: PrincipalKind,
    since: Option<Timestamp>,
    hardware: bool,
}

/// Reads who may do what, from the whole history.
pub async fn look(session: &mut Session, screen: &mut Screen) -> Result<Access, Error> {
    let mut since = BTreeMap::new();
    session.replay(screen, &mut |_, seen| seen.iter().for_each(|seen| remember(&mut since, seen))).await?;
    let (now, governance) = (session.now(), session.governance()?);
    let policy = &governance.policy()?.policy;
    let all = people(governance, &since);
    let stands = |held: &&Delegation| held.is_standing(now) && gone(session, held).is_none();
    let delegated = governance.delegations.values().filter(stands).map(|held| {
        let name = |who| lookup::name(session.state(), who);
        format!("{} may vote for {} until {}", name(held.to), name(held.from), time(held.not_after))
    });
    let is_review = |deadline: &&TenantDeadline| deadline.deadline == Deadline::AccessReview;
    Ok(Access {
        now,
        creating: policy.keys.creators.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        creators: creators(policy, &all),
        rules: policy.rules.iter().map(|rule| of_rule(rule, &all)).collect(),
        next: governance.deadlines.iter().find(is_review).cloned(),
        delegated: delegated.collect(),
    })
}

/// When somebody came to the roles that they hold.
fn remember(since: &mut BTreeMap<Fingerprint, Timestamp>, seen: &Seen) {
    let Some((event, at)) = seen.event().zip(seen.time()) else { return };
    match event {
        Event::TenantCreated(event) => {
            since.extend(event.admins.iter().map(|principal| (principal.fingerprint(), at)));
        }
        Event::PrincipalEnrolled(event) => drop(since.insert(event.fingerprint, at)),
        Event::PrincipalChanged(event) => drop(since.insert(event.principal, at)),
        Event::PrincipalRotated(event) => drop(since.insert(event.fingerprint, at)),
        _ => {}
    }
}

fn people<'a>(governance: &'a Governance, since: &BTreeMap<Fingerprint, Timestamp>) -> Vec<(&'a Principal, Person)> {
    let person = |principal: &'a Principal| {
        let fingerprint = principal.fingerprint();
        let person = Person {
            fingerprint,
            label: match principal.person == principal.label {
                true => principal.label.to_string(),
                false => format!("{} ({})", principal.label, principal.person),
            },
            roles: principal.roles.iter().map(ToString::to_string).collect(),
            kind: principal.kind,
            since: since.get(&fingerprint).copied(),
            hardware: matches!(principal.key.key_type(), KeyType::SkEd25519 | KeyType::SkEcdsaP256),
        };
        (principal, person)
    };
    let mut people: Vec<_> = governance.members().map(person).collect();
    people.sort_by(|(_, one), (_, other)| one.label.cmp(&other.label));
    people
}

/// Who may do what, in a few lines: what a review is about.
pub(crate) fn in_short(governance: &Governance) -> Vec<(String, String)> {
    let Some(held) = &governance.policy else { return Vec::new() };
    let all = people(governance, &BTreeMap::new());
    let names = |people: &[Person]| people.iter().map(|person| person.label.as_str()).collect::<Vec<_>>().join(", ");
    let creators: Vec<Person> = creators(&held.policy, &all);
    let mut lines = vec![("may create".to_owned(), names(&creators))];
    for rule in held.policy.rules.iter().map(|rule| of_rule(rule, &all)) {
        let stages = rule.stages.iter().map(|(takes, able)| format!("{takes}: {}", names(able)));
        lines.push((format!("rule {}", rule.name), stages.collect::<Vec<_>>().join("\n")));
    }
    lines
}

fn creators(policy: &Policy, all: &[(&Principal, Person)]) -> Vec<Person> {
    let may = all.iter().filter(|(principal, _)| !principal.roles.is_disjoint(&policy.keys.creators));
    may.map(|(_, person)| person.clone()).collect()
}

fn of_rule(rule: &Rule, all: &[(&Principal, Person)]) -> OfRule {
    let of_stage = |stage: &Stage| {
        let fits = |principal: &Principal| principal.kind == PrincipalKind::Person && Vote::by(principal).fits(stage);
        let able = all.iter().filter(|(principal, _)| fits(principal)).map(|(_, person)| person.clone()).collect();
        (stage_in_words(stage), able)
    };
    let stages = rule.stages.iter().map(of_stage).collect();
    OfRule { name: rule.name.to_string(), emergency: rule.break_glass.is_some(), stages }
}

fn stage_in_words(stage: &Stage) -> String {
    let roles: Vec<String> = stage.roles().map(|role| format!("`{role}`")).collect();
    let party = stage.party.map_or(String::new(), |party| format!(" of the {party}"));
    let key = if stage.verified { ", verified on a hardware key" } else { ", on a hardware key" };
    let key = if stage.touch || stage.verified { key } else { "" };
    format!("{} of {}{party}{key}", stage.quorum, roles.join(" or "))
}

impl Show for Access {
    fn to_json(&self) -> Value {
        let person = |person: &Person| {
            json!({
                "fingerprint": person.fingerprint, "label": person.label, "kind": person.kind, "roles": person.roles,
                "since": person.since, "hardware_key": person.hardware,
            })
        };
        let people = |people: &[Person]| people.iter().map(person).collect::<Vec<_>>();
        let rule = |rule: &OfRule| {
            let stage = |(takes, able): &(String, Vec<Person>)| json!({ "takes": takes, "able": people(able) });
            let stages: Vec<Value> = rule.stages.iter().map(stage).collect();
            json!({ "rule": rule.name, "emergency": rule.emergency, "stages": stages })
        };
        json!({
            "ok": true, "creators": people(&self.creators), "rules": self.rules.iter().map(rule).collect::<Vec<_>>(),
            "delegated": self.delegated,
            "review_due": self.next.as_ref().map(|next| next.at),
            "review_missed": self.next.as_ref().is_some_and(|next| next.missed || next.at <= self.now),
        })
    }

    fn to_people(&self) -> String {
        let mut text = format!("{BOLD}May create keys{BOLD:#} {DIM}({}){DIM:#}\n", safe(&self.creating));
        text.push_str(&table(&self.creators));
        for rule in &self.rules {
            let emergency = if rule.emergency { styled(YELLOW, " (for emergencies)") } else { String::new() };
            text.push_str(&format!("\n{BOLD}May approve under rule {}{BOLD:#}{emergency}\n", safe(&rule.name)));
            for (takes, able) in &rule.stages {
                text.push_str(&format!("{DIM}{}{DIM:#}\n{}", safe(takes), table(able)));
            }
        }
        for delegated in &self.delegated {
            text.push_str(&format!("\n{YELLOW}delegated:{YELLOW:#} {}\n", safe(delegated)));
        }
        text.push_str(&format!("\n{}\n", self.due()));
        text
    }
}

impl Access {
    fn due(&self) -> String {
        match &self.next {
            None => format!("{DIM}the policy asks for no review of this{DIM:#}"),
            Some(next) if next.missed || next.at <= self.now => {
                styled(RED, &format!("the review was due {}: an exception", time_from(next.at, self.now)))
            }
            Some(next) => format!("the next review is due {}", time_from(next.at, self.now)),
        }
    }
}

fn table(people: &[Person]) -> String {
    let mut table = Table::new(&["WHO", "ROLES", "SINCE", "SIGNS WITH", "FINGERPRINT"]);
    for person in people {
        let key = match (person.kind, person.hardware) {
            (PrincipalKind::Workload, _) => Cell::from("a key file (a program)"),
            (_, true) => Cell::styled(GREEN, "a hardware key"),
            (_, false) => Cell::from("a key file"),
        };
        table.row([
            Cell::styled(BOLD, person.label.clone()),
            person.roles.join(", ").into(),
            person.since.map_or_else(|| "not known".to_owned(), time).into(),
            key,
            person.fingerprint.to_string().into(),
        ]);
    }
    let text = table.to_people("nobody");
    text.lines().map(|line| format!("  {line}\n")).collect()
}
