//! `keylatch delegation`: one's own vote for another person to give, for a while.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use lifecycle::state::Delegation;
use model::command::{DelegationEnd, DelegationGrant, LIFETIME_MAX};
use model::{Action, EventHash, Role};
use serde_json::{Value, json};

use crate::command::{ConsentArgs, ReasonArgs};
use crate::error::Error;
use crate::layout::{Cell, DIM, GREEN, RED, Table, YELLOW, relative, time};
use crate::lookup;
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::submit::Needs;
use crate::words::When;

/// What to do with delegations.
#[derive(Subcommand, Debug)]
pub enum DelegationCommand {
    /// Let somebody else vote in your place for a while.
    ///
    /// A delegated vote is yours: whoever gives it has no vote of their own beside it on the same request, and whoever you
    /// delegate to can't approve what you ask for. Everybody sees it in the history. Policy says how long it may last.
    #[command(
        after_long_help = "Example:\n  keylatch delegation grant sec-2 --role security-officer --until +14d \\\n    --reason-kind maintenance --reason 'on leave'\n\nThe other one then votes for you: keylatch approve KEY --on-behalf-of YOU"
    )]
    Grant(GrantArgs),
    /// End a delegation before its time: whoever granted it, or has it, or an admin.
    End(EndArgs),
    /// List the delegations that stand, and those to come.
    List {
        /// Those that have ended, too.
        #[arg(long)]
        all: bool,
    },
}

/// To whom, for how long, and why.
#[derive(Args, Debug)]
pub struct GrantArgs {
    /// Who may vote in your place: label or fingerprint.
    pub to: String,
    /// One of your roles in which they may. Repeat it for further ones.
    #[arg(long, required = true)]
    pub role: Vec<Role>,
    /// From when on, such as 2026-12-24 or +2d; left out, from now on.
    #[arg(long, value_name = "WHEN")]
    pub from: Option<When>,
    /// Until when, such as 2027-01-06 or +14d.
    #[arg(long, value_name = "WHEN")]
    pub until: When,
    #[command(flatten)]
    /// Why.
    pub reason: ReasonArgs,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: ConsentArgs,
}

/// Which, and why.
#[derive(Args, Debug)]
pub struct EndArgs {
    /// The delegation: the beginning of its hash, from `keylatch delegation list`.
    pub delegation: String,
    #[command(flatten)]
    /// Why.
    pub reason: ReasonArgs,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: ConsentArgs,
}

/// Runs `keylatch delegation`.
pub async fn run(command: DelegationCommand, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    session.refresh(screen).await?;
    match command {
        DelegationCommand::Grant(args) => grant(args, session, screen).await,
        DelegationCommand::End(args) => end(args, session, screen).await,
        DelegationCommand::List { all } => screen.show(&list(session, all)?),
    }
}

/// Grants one.
pub async fn grant(args: GrantArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let now = session.now();
    let to = lookup::principal(session.state(), &args.to)?.principal.fingerprint();
    let roles: BTreeSet<Role> = args.role.into_iter().collect();
    let (from, until) = (args.from.map_or(now, |from| from.from(now)), args.until.from(now));
    let governance = session.governance()?;
    let own = session.hand()?.public_key().fingerprint();
    let same = |held: &Delegation| {
        held.ended.is_none() && (held.from, held.to, held.not_after) == (own, to, until) && held.roles == roles
    };
    if let Some((hash, _)) = governance.delegations.iter().find(|(_, held)| same(held)) {
        return screen.show(&already("it stands already", *hash));
    }
    let params = DelegationGrant {
        against: governance.head,
        to,
        roles,
        not_before: from,
        not_after: until,
        reason: args.reason.into(),
    };
    let command = session.command(Action::DelegationGrant(params), None, LIFETIME_MAX);
    let needs = Needs { signatures: 1, review: true };
    let outcome = session.carry_out(screen, &command, &args.consent.into(), needs).await?;
    screen.show(&outcome)
}

/// Ends one.
pub async fn end(args: EndArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let governance = session.governance()?;
    let what = ("delegation", "keylatch delegation list --all");
    let delegation = lookup::hash(governance.delegations.keys().copied(), &args.delegation, what)?;
    if let Some(ended) = governance.delegations.get(&delegation).and_then(|held| held.ended) {
        return screen.show(&already("it has ended already", ended));
    }
    let action = Action::DelegationEnd(DelegationEnd { delegation, reason: args.reason.into() });
    let command = session.command(action, None, LIFETIME_MAX);
    let needs = Needs { signatures: 1, review: true };
    let outcome = session.carry_out(screen, &command, &args.consent.into(), needs).await?;
    screen.show(&outcome)
}

/// That there is nothing left to do, and the event that did it.
pub(crate) fn already(what: &str, event: EventHash) -> Shown {
    let json = json!({ "ok": true, "already": true, "event": event });
    Shown { json, people: format!("{what} {DIM}{event}{DIM:#}\n") }
}

/// Those that stand or are to come; with `all`, every one.
pub fn list(session: &Session, all: bool) -> Result<Shown, Error> {
    let (state, now) = (session.state(), session.now());
    let mut table = Table::new(&["DELEGATION", "FROM", "TO", "ROLES", "BEGINS", "ENDS", "STANDS"]);
    let mut json = Vec::new();
    let over = |held: &Delegation| held.ended.is_some() || held.not_after <= now;
    for (hash, held) in session.governance()?.delegations.iter().filter(|(_, held)| all || !over(held)) {
        let standing = standing(session, held);
        let roles: Vec<String> = held.roles.iter().map(Role::to_string).collect();
        table.row([
            Cell::from(lookup::short(*hash)),
            lookup::name(state, held.from).into(),
            lookup::name(state, held.to).into(),
            roles.join(", ").into(),
            time(held.not_before).into(),
            time(held.not_after).into(),
            standing,
        ]);
        json.push(one(session, *hash, held));
    }
    let people = table.to_people("nobody has delegated anything");
    Ok(Shown { json: json!({ "ok": true, "delegations": json }), people })
}

/// How a delegation stands. With the key of either side gone, nobody can vote under it.
fn standing(session: &Session, held: &Delegation) -> Cell {
    let now = session.now();
    if held.ended.is_some() {
        return Cell::styled(DIM, "was ended");
    }
    if held.not_after <= now {
        return Cell::styled(DIM, "is over");
    }
    if let Some(gone) = gone(session, held) {
        return Cell::styled(RED, format!("void: {gone} is no longer enrolled with this key"));
    }
    if held.is_standing(now) {
        return Cell::styled(GREEN, format!("yes, ends {}", relative(held.not_after, now)));
    }
    Cell::styled(YELLOW, format!("begins {}", relative(held.not_before, now)))
}

/// Whoever of the two is revoked, or has another key by now.
pub(crate) fn gone(session: &Session, held: &Delegation) -> Option<String> {
    let governance = session.governance().ok()?;
    let gone = [held.from, held.to].into_iter().find(|who| governance.member(*who).is_err());
    gone.map(|who| lookup::name(session.state(), who))
}

fn one(session: &Session, hash: EventHash, held: &Delegation) -> Value {
    let who = |who| json!({ "fingerprint": who, "label": lookup::name(session.state(), who) });
    json!({
        "delegation": hash, "from": who(held.from), "to": who(held.to), "roles": held.roles,
        "not_before": held.not_before, "not_after": held.not_after, "ended": held.ended,
        "stands": held.is_standing(session.now()) && gone(session, held).is_none(),
    })
}
