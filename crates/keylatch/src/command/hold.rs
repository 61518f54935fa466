//! `keylatch hold`: freezing a request, or every activation of the tenant.

use clap::{Args, Subcommand};
use lifecycle::state::{Hold, Request};
use model::command::{ActivationHold, ActivationRelease, HoldKind};
use model::policy::HoldRules;
use model::{Action, EventHash, KeyId, Text};
use serde_json::{Value, json};

use crate::command::delegation::already;
use crate::command::{ReasonArgs, SigningArgs};
use crate::error::Error;
use crate::layout::{Cell, RED, Table, time};
use crate::lookup;
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::submit::{Needs, lifetime};
use crate::words::{self, name_of};

/// What to do with holds.
#[derive(Subcommand, Debug)]
pub enum HoldCommand {
    /// Freeze a request, or every activation of the tenant, until it is lifted.
    ///
    /// Nothing that is held is approved or activated. A hold stops no clock: requests and approvals run out under it as
    /// they would have. What is active stays active; suspend it where that is meant. Policy says who may place and who may lift.
    #[command(
        after_long_help = "Example:\n  keylatch hold place --request weights-2026 --kind court-order --reference 'Az. 4 O 12/26'\n  keylatch hold place --all --kind incident --reference INC-77"
    )]
    Place(PlaceArgs),
    /// Lift a hold: only those whom the policy names for that.
    #[command(
        after_long_help = "Example:\n  keylatch hold list\n  keylatch hold lift 3f2a9c41d0 --reason-kind legal-order --reason 'the order was revoked'"
    )]
    Lift(LiftArgs),
    /// List the holds that stand.
    List,
}

/// What is frozen, and why.
#[derive(Args, Debug)]
pub struct PlaceArgs {
    /// The request: its key, or the beginning of its hash.
    #[arg(long, required_unless_present = "all", conflicts_with = "all")]
    pub request: Option<String>,
    /// Every activation of the tenant.
    #[arg(long)]
    pub all: bool,
    /// The kind of hold.
    #[arg(long, value_name = "KIND", value_parser = words::hold_kind())]
    pub kind: HoldKind,
    /// Where the order or the case is kept: a reference, not its words. It is recorded for good: no personal data.
    #[arg(long, value_name = "REF")]
    pub reference: Text,
    #[command(flatten)]
    /// Who signs.
    pub signing: SigningArgs,
}

/// Which, and why.
#[derive(Args, Debug)]
pub struct LiftArgs {
    /// The hold: the beginning of its hash, from `keylatch hold list`.
    pub hold: String,
    #[command(flatten)]
    /// Why.
    pub reason: ReasonArgs,
    #[command(flatten)]
    /// Who signs.
    pub signing: SigningArgs,
}

/// Runs `keylatch hold`.
pub async fn run(command: HoldCommand, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    session.refresh(screen).await?;
    match command {
        HoldCommand::Place(args) => place(args, session, screen).await,
        HoldCommand::Lift(args) => lift(args, session, screen).await,
        HoldCommand::List => screen.show(&list(session)?),
    }
}

fn rules(session: &Session) -> Result<&HoldRules, Error> {
    session.governance()?.policy()?.policy.holds.as_deref().ok_or_else(|| {
        let advice = "add [holds] with `place` and `lift` to the policy; a request can be rejected all the same";
        Error::usage("the policy names nobody who may place or lift holds", advice)
    })
}

/// Places one. The same one is not placed twice.
pub async fn place(args: PlaceArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let signatures = rules(session)?.place.quorum;
    let request = args.request.map(|named| lookup::open_request(session.state(), &named).map(|(_, request)| request));
    let request = request.transpose()?;
    let holds = request.map_or(&session.governance()?.holds, |request| &request.holds);
    let same = |hold: &Hold| hold.kind == args.kind && hold.reference == args.reference;
    if let Some((hash, _)) = holds.iter().find(|(_, hold)| same(hold)) {
        return screen.show(&already("it is held already", *hash));
    }
    let key_id = request.and_then(|request| request.key_id);
    let params =
        ActivationHold { request: request.map(|request| request.hash), kind: args.kind, reference: args.reference };
    carry_out(Action::ActivationHold(params), key_id, signatures, args.signing, session, screen).await
}

/// Lifts one.
pub async fn lift(args: LiftArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let signatures = rules(session)?.lift.quorum;
    let all = standing(session)?;
    let hashes = all.iter().map(|standing| standing.hash);
    let hold = lookup::hash(hashes, &args.hold, ("hold", "keylatch hold list"))?;
    let request = all.iter().find(|standing| standing.hash == hold).and_then(|standing| standing.request);
    let key_id = request.and_then(|request| request.key_id);
    let params = ActivationRelease { hold, request: request.map(|request| request.hash), reason: args.reason.into() };
    carry_out(Action::ActivationRelease(params), key_id, signatures, args.signing, session, screen).await
}

async fn carry_out(
    action: Action,
    key_id: Option<KeyId>,
    signatures: u8,
    signing: SigningArgs,
    session: &mut Session,
    screen: &mut Screen,
) -> Result<(), Error> {
    let signing = signing.into();
    let command = session.command(action, key_id, lifetime(&signing, signatures));
    let outcome = session.carry_out(screen, &command, &signing, Needs { signatures, review: true }).await?;
    screen.show(&outcome)
}

/// A hold that stands, and what is frozen.
struct Standing<'a> {
    hash: EventHash,
    hold: &'a Hold,
    /// The request; left out, every activation is.
    request: Option<&'a Request>,
}

fn standing(session: &Session) -> Result<Vec<Standing<'_>>, Error> {
    let of_tenant =
        session.governance()?.holds.iter().map(|(hash, hold)| Standing { hash: *hash, hold, request: None });
    let open = session.state().requests.values().filter(|request| request.closed.is_none());
    let of_requests = open.flat_map(|request| {
        request.holds.iter().map(|(hash, hold)| Standing { hash: *hash, hold, request: Some(request) })
    });
    Ok(of_tenant.chain(of_requests).collect())
}

/// Those that stand.
pub fn list(session: &Session) -> Result<Shown, Error> {
    let state = session.state();
    let mut table = Table::new(&["HOLD", "FREEZES", "KIND", "REFERENCE", "SINCE", "BY"]);
    let mut json: Vec<Value> = Vec::new();
    for Standing { hash, hold, request } in standing(session)? {
        let what = request.map_or_else(
            || Cell::styled(RED, "every activation"),
            |request| format!("{} ({})", lookup::what(state, request), lookup::short(request.hash)).into(),
        );
        let by = lookup::name(state, hold.by);
        table.row([
            Cell::from(lookup::short(hash)),
            what,
            name_of(&hold.kind).into(),
            hold.reference.as_str().into(),
            time(hold.at).into(),
            by.clone().into(),
        ]);
        json.push(json!({
            "hold": hash, "request": request.map(|request| request.hash),
            "key_id": request.and_then(|request| request.key_id), "kind": hold.kind, "reference": hold.reference,
            "at": hold.at, "by": { "fingerprint": hold.by, "label": by },
        }));
    }
    Ok(Shown { json: json!({ "ok": true, "holds": json }), people: table.to_people("nothing is held") })
}
