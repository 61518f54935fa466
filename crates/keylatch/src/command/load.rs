//! `keylatch load`: drives a platform through the bus with real signed commands, and measures what it answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use journal::command::{Hand, KeyInHand, SignedCommand};
use journal_nats::permission::TenantUser;
use load_tester::cast::{self, Part};
use load_tester::plan::{Mix, Pace, Plan, Step};
use load_tester::{Cast, Progress};
use model::command::{PolicyAdopt, PrincipalEnroll, TenantCreate};
use model::key::TenantClass;
use model::people::{PrincipalKind, PublicKey};
use model::{Action, Fingerprint, Name, Policy, Principal, Role, TenantId, command};
use serde_json::json;
use service::Clock;

use crate::command::tenant::of_registrar;
use crate::command::up::of_platform;
use crate::context::{Context, write_whole};
use crate::error::Error;
use crate::layout::{BOLD, GREEN, RED};
use crate::platform::{Deployment, registrar};
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::submit;

/// The policy of the tenants that are made.
const POLICY: &str = include_str!("../../../../deploy/load/policy.toml");

/// What to do.
#[derive(Subcommand, Debug)]
pub enum LoadCommand {
    /// Make tenants for a load test on a platform that is up, with people in each, and keep their keys in a folder.
    ///
    /// They are tenants like any others, under a policy of two stages. They stay: a platform that is to be clean
    /// afterwards is one of its own (`keylatch up --dir another`).
    #[command(
        after_long_help = "Example:\n  keylatch up --dir try-out &\n  keylatch load prepare --dir try-out --out cast --tenants 4\n  keylatch load run cast --at-once 64 --for 30s"
    )]
    Prepare(PrepareArgs),
    /// Drive a platform, as the tenants of a folder, and report latencies, rates and whether all stands that was
    /// acknowledged.
    ///
    /// Everything goes through the bus, with those tenants' own credentials; the platform may be anywhere. A closed loop
    /// (--at-once) begins a round when one has ended, and finds what a platform can do. An open loop (--rate) begins rounds
    /// when they are due, whatever became of those before, and finds what people would wait: latencies count from when
    /// something was due.
    #[command(
        after_long_help = "Scenarios: issue (a key made), lifecycle (made, requested, approved twice, active: eight events),\napprovals (open requests approved twice), suspend (suspended until a use is refused, and resumed),\nuse (a data key wrapped), read (a page of history), replay (how things stood).\n\nExamples:\n  keylatch load run cast --at-once 128 --for 30s\n  keylatch load run cast --mix lifecycle=8,use=20,read=4,suspend=1 --rate 100 --for 1m --report load.html\n  keylatch load run cast --rate 50..400 --for 2m            a ramp\n  keylatch load run cast --rate 50,100,200,400 --for 30s    steps of 30 s each"
    )]
    Run(RunArgs),
}

/// Which tenants.
#[derive(Args, Debug)]
pub struct PrepareArgs {
    /// The platform's folder.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The folder for the cast; made, and its owner's alone.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How many tenants.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub tenants: u32,
    /// How many people there are for each part: owners, first and second approvers, operators, workloads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub people: u32,
}

/// What is done.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The folder with the cast (`load.json`).
    pub cast: PathBuf,
    /// Scenarios and their shares.
    #[arg(long, default_value = "lifecycle", value_name = "NAME[=SHARE],…")]
    pub mix: Mix,
    /// A closed loop: so many rounds at once.
    #[arg(long, value_name = "N", default_value_t = 32, conflicts_with = "rate")]
    pub at_once: usize,
    /// An open loop: rounds a second; `50..400` goes up from the one to the other, `50,100,200` are steps.
    #[arg(long, value_name = "RATE", value_parser = rates)]
    pub rate: Option<Rates>,
    /// How long; with steps, how long each.
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = span)]
    pub lasts: Duration,
    /// How much of the beginning is not counted.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = span)]
    pub warm_up: Duration,
    /// Further users who follow the tenants' events.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub subscribers: usize,
    /// How many rounds of an open loop may be under way at once.
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub under_way_max: usize,
    /// Write the report as a page.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Do not look up in the log what was acknowledged.
    #[arg(long)]
    pub no_check: bool,
}

/// Rounds a second, one after the other.
#[derive(Clone, Debug)]
pub struct Rates(Vec<(f64, f64)>);

fn rates(text: &str) -> Result<Rates, String> {
    let rate = |text: &str| match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && (0.0..=1e6).contains(&rate) => Ok(rate),
        _ => Err(format!("`{text}` is no rate: write rounds a second, such as 100")),
    };
    let rates: Vec<(f64, f64)> = match text.split_once("..") {
        Some((from, to)) => vec![(rate(from)?, rate(to)?)],
        None => text.split(',').map(|one| rate(one).map(|rate| (rate, rate))).collect::<Result<_, _>>()?,
    };
    match rates.iter().all(|(from, to)| from + to > 0.0) {
        true => Ok(Rates(rates)),
        false => Err("a rate is more than nothing".to_owned()),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    let span: model::Span = text.parse().map_err(|error: model::id::Malformed| error.to_string())?;
    u64::try_from(span.as_millis()).map(Duration::from_millis).map_err(|error| error.to_string())
}

/// Runs `keylatch load`.
pub async fn run(command: LoadCommand, screen: &mut Screen) -> Result<(), Error> {
    match command {
        LoadCommand::Prepare(args) => prepare(&args, screen).await,
        LoadCommand::Run(args) => drive(&args, screen).await,
    }
}

// === Run ===

async fn drive(args: &RunArgs, screen: &mut Screen) -> Result<(), Error> {
    let cast = Cast::load(&args.cast).map_err(of_load)?;
    let plan = plan(args);
    screen.note(&format!("{BOLD}{} tenants{BOLD:#} at {}", cast.tenants.len(), cast.url));
    let report = load_tester::run(&cast, &plan, |progress| screen.note(&line(progress))).await.map_err(of_load)?;
    if let Some(path) = &args.report {
        write_whole(path, &report.to_html())?;
        screen.note(&format!("the page is in {}", path.display()));
    }
    let holds = report.checked.as_ref().is_none_or(|checked| checked.missing.is_empty() && checked.twice.is_empty());
    let json = serde_json::to_value(&report).map_err(|error| Error::usage(error, "tell the authors"))?;
    screen.show(&Shown { json, people: report.to_text() })?;
    match holds {
        true => Ok(()),
        false => Err(Error::failed(
            format!("{RED}not everything that was acknowledged stands in the log{RED:#}"),
            "take the platform out of use, and find out why",
        )),
    }
}

fn plan(args: &RunArgs) -> Plan {
    let steps = args.rate.as_ref().map(|Rates(rates)| {
        rates.iter().map(|(from, to)| Step { from: *from, to: *to, lasts: args.lasts }).collect::<Vec<_>>()
    });
    let lasts = steps.as_ref().map_or(args.lasts, |steps| steps.iter().map(|step| step.lasts).sum());
    Plan {
        mix: args.mix.clone(),
        pace: steps.map_or(Pace::Closed { at_once: args.at_once }, |steps| Pace::Open { steps }),
        lasts,
        warm_up: args.warm_up,
        subscribers: args.subscribers,
        under_way_max: args.under_way_max,
        check: !args.no_check,
    }
}

fn line(progress: Progress) -> String {
    let Progress { elapsed, lasts, done, refused, under_way, events } = progress;
    let refused = if refused == 0 { String::new() } else { format!(", {RED}{refused} refused{RED:#}") };
    format!(
        "{:>4} of {} s: {done} done{refused}, {under_way} rounds under way, {events} events ({:.0}/s)",
        elapsed.as_secs(),
        lasts.as_secs(),
        events as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    )
}

fn of_load(error: load_tester::Error) -> Error {
    match error {
        load_tester::Error::Cast { .. } | load_tester::Error::Nobody { .. } => {
            Error::usage(error, "name a folder that `keylatch load prepare` made")
        }
        error => Error::unreachable(error, "see that the platform runs, and that the cast is of it"),
    }
}

// === Prepare ===

async fn prepare(args: &PrepareArgs, screen: &mut Screen) -> Result<(), Error> {
    let deployment = Deployment::open(&args.dir, &Clock::default()).map_err(of_platform)?;
    let file = args.out.join(cast::FILE);
    if file.exists() {
        return Err(Error::file(&file, "there is a cast already", "use it, or name another folder with --out"));
    }
    service::secret::ensure_folder(&args.out).map_err(of_platform)?;
    let policy: Policy = toml::from_str(POLICY).map_err(|error| Error::usage(error, "tell the authors"))?;
    let mut tenants = Vec::new();
    for number in 1..=args.tenants {
        screen.note(&format!("tenant {number} of {}", args.tenants));
        tenants.push(found(args, &deployment, number, &policy, screen).await?);
    }
    let cast = Cast { url: deployment.url().map_err(of_platform)?, root: deployment.root, tenants };
    let text = serde_json::to_string_pretty(&cast).map_err(|error| Error::usage(error, "tell the authors"))?;
    write_whole(&file, &format!("{text}\n"))?;
    let people = format!(
        "{GREEN}prepared{GREEN:#} {} tenants, the cast is in {}\n  drive them: keylatch load run {}\n",
        args.tenants,
        args.out.display(),
        args.out.display()
    );
    screen.show(&Shown { json: json!({ "ok": true, "tenants": args.tenants, "cast": args.out }), people })
}

/// Founds a tenant, enrols its people and adopts the policy.
async fn found(
    args: &PrepareArgs,
    deployment: &Deployment,
    number: u32,
    policy: &Policy,
    screen: &mut Screen,
) -> Result<cast::Tenant, Error> {
    let tenant_name: Name = name(&format!("load-{number}"))?;
    let tenant = registrar::reserve(deployment, &tenant_name).map_err(of_registrar)?;
    let folder = args.out.join(tenant_name.as_str());
    service::secret::ensure_folder(&folder).map_err(of_platform)?;
    let admins = [somebody(&folder, "ann")?, somebody(&folder, "bob")?];
    let founding = founding(tenant, &tenant_name, &admins)?;
    registrar::create(deployment, Arc::new(submit::open(founding)?)).await.map_err(of_registrar)?;

    let account = deployment.operator.tenant(tenant).map_err(of_operator)?;
    let credentials = account.user(TenantUser::Member, &name("load")?).map_err(of_operator)?;
    let path = folder.join("load.creds");
    credentials.save(&path).map_err(|error| Error::usage(error, "name another folder with --out"))?;
    let mut session = connect(deployment, tenant, path).await?;
    let mut principals = Vec::new();
    for (part, role, kind) in PARTS {
        for place in 1..=args.people {
            let label = name(&format!("{role}-{place}"))?;
            let hand = somebody(&folder, label.as_str())?;
            let principal = principal(hand.public_key().clone(), label.clone(), kind, role)?;
            let against = head(&mut session, screen).await?;
            govern(&mut session, screen, &admins, Action::PrincipalEnroll(PrincipalEnroll { against, principal }))
                .await?;
            let key = PathBuf::from(tenant_name.as_str()).join(label.as_str());
            principals.push(cast::Principal { label, part, key });
        }
    }
    let against = head(&mut session, screen).await?;
    let adopt = Action::PolicyAdopt(PolicyAdopt { against, policy: policy.clone() });
    govern(&mut session, screen, &admins, adopt).await?;
    let credentials = PathBuf::from(tenant_name.as_str()).join("load.creds");
    Ok(cast::Tenant { tenant, name: tenant_name, credentials, principals })
}

/// Who there is, with the role of the policy.
const PARTS: [(Part, &str, PrincipalKind); 5] = [
    (Part::Owner, "owner", PrincipalKind::Person),
    (Part::FirstApprover, "first-approver", PrincipalKind::Person),
    (Part::SecondApprover, "second-approver", PrincipalKind::Person),
    (Part::Operator, "operator", PrincipalKind::Person),
    (Part::Workload, "workload", PrincipalKind::Workload),
];

/// Somebody with a new key in a file of that name.
fn somebody(folder: &Path, label: &str) -> Result<KeyInHand, Error> {
    service::secret::read_or_make_key(&folder.join(label), label).map(KeyInHand::new).map_err(of_platform)
}

fn principal(key: PublicKey, label: Name, kind: PrincipalKind, role: &str) -> Result<Principal, Error> {
    let role: Role = role.parse().map_err(|error| Error::usage(error, "tell the authors"))?;
    Ok(Principal { key, person: label.clone(), label, kind, roles: [role].into(), subject: None, party: None })
}

fn founding(tenant: TenantId, tenant_name: &Name, admins: &[KeyInHand; 2]) -> Result<model::Envelope, Error> {
    let [ann, bob] = admins;
    let admin = |hand: &KeyInHand, label: &str| {
        principal(hand.public_key().clone(), name(label)?, PrincipalKind::Person, Role::ADMIN)
    };
    let action = Action::TenantCreate(TenantCreate {
        name: tenant_name.clone(),
        class: TenantClass::Ap,
        admins: vec![admin(ann, "ann")?, admin(bob, "bob")?],
        admin_quorum: 2,
    });
    let issued_at = Clock::default().now();
    let expires_at = issued_at + command::LIFETIME_MAX_QUORUM;
    let id = service::clock::command_id();
    sign(&command::Command { id, tenant, key_id: None, issued_at, expires_at, action }, admins)
}

fn sign(command: &command::Command, admins: &[KeyInHand; 2]) -> Result<model::Envelope, Error> {
    let [ann, bob] = admins;
    SignedCommand::sign(command, &[ann, bob]).map_err(|error| Error::usage(error, "tell the authors"))
}

async fn connect(deployment: &Deployment, tenant: TenantId, credentials: PathBuf) -> Result<Session, Error> {
    let (url, root): (String, Fingerprint) = (deployment.url().map_err(of_platform)?, deployment.root);
    Session::connect(&Context { url, credentials, tenant, root, identity: None }).await
}

async fn head(session: &mut Session, screen: &mut Screen) -> Result<model::EventHash, Error> {
    session.refresh(screen).await?;
    Ok(session.governance()?.head)
}

async fn govern(
    session: &mut Session,
    screen: &mut Screen,
    admins: &[KeyInHand; 2],
    action: Action,
) -> Result<(), Error> {
    let command = session.command(action, None, command::LIFETIME_MAX_QUORUM);
    session.send(screen, sign(&command, admins)?).await.map(drop)
}

fn of_operator(error: journal_nats::operator::Error) -> Error {
    Error::usage(error, "name the platform's folder with --dir")
}

fn name(text: &str) -> Result<Name, Error> {
    text.parse().map_err(|error| Error::usage(error, "tell the authors"))
}
