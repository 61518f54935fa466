//! `keylatch doctor`: what is well and what is not, from here to the platform; and, with its folder, of the platform
//! itself.

mod evidence;
mod platform;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use lifecycle::state::TenantDeadline;
use model::{Role, Sequence, Span};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::command::probe;
use crate::context::Contexts;
use crate::error::{Error, Exit};
use crate::layout::{BOLD, DIM, GREEN, RED, YELLOW, relative, safe, time};
use crate::lookup;
use crate::screen::{Screen, Show};
use crate::session::Session;
use crate::words::{counted, name_of};

/// How far the log may be ahead of the clock here.
const AHEAD_MAX: Span = Span::from_secs(5);

/// Of what.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// The folder of a platform that runs: asks its services, and looks at the folder, instead of at a context.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Well.
    Good,
    /// Worth a look.
    Doubtful,
    /// Not well.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; empty where nothing is to be done.
    pub advice: String,
}

impl Check {
    /// Well.
    pub fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Good, found: found.into(), advice: String::new() }
    }

    /// Worth a look.
    pub fn doubtful(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Doubtful, found: found.into(), advice: advice.into() }
    }

    /// Not well.
    pub fn bad(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Bad, found: found.into(), advice: advice.into() }
    }

    /// What an error says.
    pub fn of_error(name: &'static str, error: &Error) -> Self {
        Self::bad(name, error.to_string(), error.advice())
    }
}

/// Everything that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// In order.
    pub checks: Vec<Check>,
    /// What the platform's services say of themselves, where they were asked.
    pub services: Vec<Value>,
    /// Whether the platform could not be reached.
    pub unreachable: bool,
}

impl Diagnosis {
    /// How it ends the program.
    pub fn exit(&self) -> Exit {
        let worst = self.checks.iter().map(|check| check.verdict).max();
        match (self.unreachable, worst) {
            (true, _) => Exit::Unreachable,
            (false, Some(Verdict::Bad)) => Exit::Refused,
            _ => Exit::Ok,
        }
    }

    fn add_error(&mut self, name: &'static str, error: &Error) {
        self.unreachable |= error.exit() == Exit::Unreachable;
        self.checks.push(Check::of_error(name, error));
    }
}

impl Show for Diagnosis {
    fn to_json(&self) -> Value {
        let check = |check: &Check| {
            let verdict = match check.verdict {
                Verdict::Good => "good",
                Verdict::Doubtful => "doubtful",
                Verdict::Bad => "bad",
            };
            json!({ "check": check.name, "verdict": verdict, "found": check.found, "advice": check.advice })
        };
        let checks: Vec<Value> = self.checks.iter().map(check).collect();
        let mut json = json!({ "ok": self.exit() == Exit::Ok, "checks": checks });
        if let (false, Some(members)) = (self.services.is_empty(), json.as_object_mut()) {
            members.insert("services".to_owned(), json!(self.services));
        }
        json
    }

    fn to_people(&self) -> String {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
        let line = |check: &Check| {
            let mark = match check.verdict {
                Verdict::Good => format!("{GREEN}good{GREEN:#}    "),
                Verdict::Doubtful => format!("{YELLOW}doubtful{YELLOW:#}"),
                Verdict::Bad => format!("{RED}bad{RED:#}     "),
            };
            let mut line = format!("{mark}  {BOLD}{:<width$}{BOLD:#}  {}\n", check.name, safe(&check.found));
            if !check.advice.is_empty() {
                line.push_str(&format!("{:>indent$}{DIM}→{DIM:#} {}\n", "", safe(&check.advice), indent = width + 12));
            }
            line
        };
        self.checks.iter().map(line).collect()
    }
}

/// Runs `keylatch doctor`.
pub async fn run(args: DoctorArgs, global: &Global, screen: &mut Screen) -> Result<Exit, Error> {
    if let Some(dir) = args.dir {
        return platform::run(&dir, screen).await;
    }
    let contexts = Contexts::from_environment()?;
    run_here(global.context(&contexts), &contexts, screen).await
}

/// The context, the connection, and what is behind it.
async fn run_here(
    context: Result<crate::Context, Error>,
    contexts: &Contexts,
    screen: &mut Screen,
) -> Result<Exit, Error> {
    let mut diagnosis = Diagnosis::default();
    match context {
        Err(error) => diagnosis.add_error("context", &error),
        Ok(context) => {
            let home = contexts.home().display();
            diagnosis.checks.push(Check::good("context", format!("tenant {} ({home})", context.tenant)));
            match Session::connect(&context).await {
                Err(error) => diagnosis.add_error("connection", &error),
                Ok(mut session) => {
                    diagnosis.checks.push(Check::good("connection", context.url.clone()));
                    examine(&mut session, screen, &mut diagnosis).await;
                }
            }
        }
    }
    screen.show(&diagnosis)?;
    Ok(diagnosis.exit())
}

/// Looks at what is behind a connection.
pub async fn examine(session: &mut Session, screen: &mut Screen, diagnosis: &mut Diagnosis) {
    if let Err(error) = session.reader_mut().listen().await {
        diagnosis.add_error("live events", &error);
    }
    match session.refresh(screen).await {
        Err(error) => diagnosis.add_error("history", &error),
        Ok(()) => {
            diagnosis.checks.push(history(session));
            diagnosis.checks.push(head(session));
            diagnosis.checks.push(freshness(session));
            diagnosis.checks.push(policy(session));
            diagnosis.checks.extend(probes(session).await);
            diagnosis.checks.extend(evidence::checks(session));
            diagnosis.checks.extend(admins(session));
            diagnosis.checks.extend(missed(session));
            diagnosis.checks.extend(adopted(session));
        }
    }
    diagnosis.checks.push(identity(session));
}

fn history(session: &Session) -> Check {
    let report = session.known().verifier().report();
    let found = format!("{} events verified under {}, {} void", report.events, report.root, report.void);
    match report.first_bad() {
        None if report.events == 0 => {
            let advice = "see that the tenant was founded, and that the root is the right one";
            Check::bad("history", "there is no event that stands", advice)
        }
        None => Check::good("history", found),
        Some(first) => {
            let found = format!("{found}; the first: event {}: {}", first.sequence, first.reason);
            Check::doubtful("history", found, "find out who wrote them: `keylatch history --from`; they change nothing")
        }
    }
}

/// Whether everybody who spoke of the head speaks of the same.
fn head(session: &Session) -> Check {
    let (head, heard_of): (Sequence, Sequence) = (session.reader().head(), session.reader().heard_of());
    let hash = session.state().chain.head().hash;
    if heard_of > head {
        let found = format!("the history gives {} events, and {} were spoken of", head.0, heard_of.0);
        return Check::doubtful("head", found, "try again in a moment; if it lasts, the history service is behind");
    }
    Check::good("head", format!("event {} {}", head.0, lookup::short(hash)))
}

fn freshness(session: &Session) -> Check {
    let (last, now) = (session.state().chain.time(), session.now());
    let found = format!("last event {}", relative(last, now));
    if last - now > AHEAD_MAX {
        return Check::doubtful("clock", format!("the log is ahead: {found}"), "set this machine's clock right");
    }
    Check::good("clock", found)
}

fn policy(session: &Session) -> Check {
    let held = session.state().governance.as_ref().and_then(|governance| governance.policy.as_ref());
    match held {
        Some(held) => Check::good("policy", format!("`{}`, version {}", held.policy.name, held.version)),
        None => Check::doubtful("policy", "none was adopted", "adopt one: `keylatch policy adopt --help`"),
    }
}

/// Whether the probes that the policy asks for can be made.
async fn probes(session: &Session) -> Option<Check> {
    let governance = session.state().governance.as_ref()?;
    governance.policy.as_ref()?.policy.evidence.probes.as_ref()?;
    Some(match probe::ask(session).await {
        Err(error) => Check::of_error("probes", &error),
        Ok(None) => {
            let advice = "have whoever runs the platform set `probe_key` of its exporter";
            Check::doubtful("probes", "the platform has no key to probe with", advice)
        }
        Ok(Some(key)) => match probe::Standing::of(governance, &key, session.now()).lacks {
            None => Check::good("probes", format!("made with {}, while a key waits", key.fingerprint())),
            Some(lacks) => {
                let advice = format!("enrol {}: see `keylatch probe key --help`", key.fingerprint());
                Check::doubtful("probes", format!("none are made: {lacks}"), advice)
            }
        },
    })
}

/// Whether the tenant could still be governed if an admin lost their key.
fn admins(session: &Session) -> Option<Check> {
    let governance = session.state().governance.as_ref()?;
    let admins = governance.members().filter(|principal| principal.roles.iter().any(Role::is_admin));
    let people = admins.map(|principal| &principal.person).collect::<BTreeSet<_>>().len();
    let found = format!("{}, of whom {} govern together", counted(people, "admin"), governance.admin_quorum);
    Some(match people > usize::from(governance.admin_quorum) {
        true => Check::good("admins", found),
        false => {
            let advice =
                "enrol one more: where one of them loses their key, nobody can enrol, revoke or adopt any more";
            Check::doubtful("admins", found, advice)
        }
    })
}

/// Keys that were adopted, and whose activation is still not evidenced.
fn adopted(session: &Session) -> Option<Check> {
    let open: Vec<_> = session.state().keys.values().filter_map(|key| key.rotation()).map(|(at, _)| at).collect();
    let by = open.iter().min()?;
    let found =
        format!("{}, activation not evidenced, the first due {}", counted(open.len(), "adopted key"), time(*by));
    let advice = "have them authorised anew (`keylatch request`), or generate keys that replace them";
    Some(match *by <= session.now() {
        true => Check::doubtful("adopted keys", format!("{found}: overdue"), advice),
        false => Check::good("adopted keys", found),
    })
}

/// What was to be done by the tenant and was not.
fn missed(session: &Session) -> Option<Check> {
    let governance = session.state().governance.as_ref()?;
    let missed = governance.deadlines.iter().filter(|deadline| deadline.missed && deadline.algorithm.is_none());
    let named = |deadline: &TenantDeadline| {
        let about = deadline.pack.as_ref().or(deadline.document.as_ref());
        let about = about.map_or_else(String::new, |name| format!(" of {name}"));
        format!("{}{about}, by {}", name_of(&deadline.deadline), time(deadline.at))
    };
    let missed: Vec<String> = missed.map(named).collect();
    let advice = "`keylatch inbox` of whoever is to do it says what to type";
    (!missed.is_empty()).then(|| Check::doubtful("deadlines", format!("missed: {}", missed.join("; ")), advice))
}

/// Whether whoever signs here is enrolled.
fn identity(session: &Session) -> Check {
    let hand = match session.hand() {
        Ok(hand) => hand,
        Err(error) => return Check::doubtful("identity", error.to_string(), error.advice()),
    };
    let who = hand.public_key().fingerprint();
    let Some(governance) = session.state().governance.as_ref() else {
        return Check::doubtful("identity", format!("{who}, not looked up"), "see the history first");
    };
    match governance.member(who) {
        Ok(principal) => {
            let roles: Vec<String> = principal.roles.iter().map(ToString::to_string).collect();
            Check::good("identity", format!("`{}` ({}), {who}", principal.label, roles.join(", ")))
        }
        Err(rejection) => {
            Check::doubtful("identity", rejection.detail, "have an admin quorum enrol it: `keylatch principal enroll`")
        }
    }
}
