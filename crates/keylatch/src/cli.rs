//! The command line: what there is to say, and which function it calls.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use model::Name;

use crate::command::{
    access, apply, approve, certificate, context, controls, custody, delegation, doctor, export, fact, history, hold,
    inbox, key, load, never_active, pack, policy, principal, probe, procedure, proof, request, requests, sample, sign,
    simulate, store, submit, tenant, up, usage, verify, watch,
};
use crate::context::{Context, Contexts};
use crate::demo;
use crate::error::{Error, Exit};
use crate::identity::Identity;
use crate::screen::{Screen, Shown};
use crate::session::{Session, SharedHand};

const AFTER_HELP: &str = "\
A first walk:
  keylatch context add prod --url nats://HOST:4222 --credentials me.creds \\
    --root SHA256:… --identity ~/.ssh/id_ed25519
  keylatch doctor
  keylatch key generate my-key --workload general --responsibility application \\
    --jurisdiction EU --classification internal --environment production
  keylatch request my-key --reason-kind new-service --reason 'why' --wait
  keylatch approve my-key          (somebody else)

Exit codes:
  0  done
  1  refused by the platform, declined, or checked and found false
  2  the command line, a file or the configuration won't do
  3  the platform does not answer

Output:
  Results go to stdout, everything else to stderr. With --json, stdout is one JSON
  document (a problem document where something went wrong), or JSON lines where it
  streams (history, watch, request --wait). There is no colour where no terminal is,
  or NO_COLOR is set.

Environment:
  KEYLATCH_CONTEXT, KEYLATCH_IDENTITY   as --context and --identity
  KEYLATCH_CONFIG_HOME                  the folder with the contexts; else
                                        $XDG_CONFIG_HOME/keylatch or ~/.config/keylatch
  KEYLATCH_SSH_KEYGEN                   the ssh-keygen to sign with; else the one on the path
  KEYLATCH_LOG                          what is logged to stderr, such as `debug`";

/// Keylatch: the gate between a key that was generated and a key that may be used.
///
/// Keys are born pre-active: nobody can use them until the people whom the tenant's policy names have signed for it. Every
/// step is an event in a signed, hash-chained history. This program signs what you ask for with your own SSH key, and
/// verifies everything it is told against that history, under the root that your context pins.
#[derive(Parser, Debug)]
#[command(name = "keylatch", version, after_long_help = AFTER_HELP, max_term_width = 120)]
pub struct Cli {
    #[command(flatten)]
    /// What every command takes.
    pub global: Global,
    #[command(subcommand)]
    /// What to do.
    pub command: Command,
}

/// What every command takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// The context to work with; left out, the one in use (`keylatch context use`).
    #[arg(long, global = true, env = "KEYLATCH_CONTEXT", value_name = "NAME", help_heading = "Everywhere")]
    pub context: Option<Name>,
    /// The SSH key that signs, in place of the context's: a private key, or a public one whose private half your agent or
    /// token has.
    #[arg(long, global = true, env = "KEYLATCH_IDENTITY", value_name = "FILE", help_heading = "Everywhere")]
    pub identity: Option<PathBuf>,
    /// Results for programs: JSON on stdout.
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
}

/// What to draw from the history.
#[derive(Subcommand, Debug)]
pub enum EvidenceCommand {
    /// Draw a sample that nobody picks (keys, activations, approvals, people), each item with its proof; or check one.
    #[command(after_long_help = sample::HELP)]
    Sample(sample::SampleArgs),
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the whole platform on this machine: a NATS server and all six roles, in one folder.
    #[command(
        after_long_help = "Example:\n  keylatch up --dir my-platform\n\nEverything is kept in the folder, and goes on from there after a stop or a kill. Stop with Ctrl-C or SIGTERM."
    )]
    Up(up::UpArgs),
    /// The software key store: check, back up, restore, rotate its master key and its wrapping keys: for whoever runs the
    /// platform.
    #[command(subcommand)]
    Custody(custody::CustodyCommand),
    /// Make tenants, and users of theirs: for whoever runs the platform.
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// Load: drive a platform through the bus with real signed commands, and measure what it answers.
    #[command(subcommand)]
    Load(load::LoadCommand),
    /// Watch the main job run, on a platform of its own that is gone afterwards.
    Demo(demo::DemoArgs),
    /// Contexts: which platform, which tenant, under which root, as whom.
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// Keys: generate, list, show, prove, suspend, resume, deactivate, destroy; revalidate, review, acknowledge.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Ask for a key's activation.
    #[command(
        after_long_help = "Example:\n  keylatch request weights-2026 --reason-kind new-service --reason 'release 4 goes live' \\\n    --change-ref CHG-1042 --legal-basis 'GDPR art. 32(1)(a)' --system 'inference endpoint EU' \\\n    --not-before 2026-12-01T08:00Z --until +365d --wait\n\nReasons, changes, provisions and systems are recorded for good, and are what the approvers sign for."
    )]
    Request(Box<request::RequestArgs>),
    /// List the open requests: who asks, what is missing, when they lapse.
    Requests,
    /// What waits for you: votes, reviews, keys to look at, each with the command to type.
    #[command(
        after_long_help = "Example:\n  keylatch inbox\n  keylatch inbox show 1\n  keylatch inbox show 1 --out approve.json   (the exact bytes, to be checked by hand and signed with\n                                              `keylatch sign approve.json`, also from ssh-agent)"
    )]
    Inbox(inbox::InboxArgs),
    /// Say what an activation comes to, or what a draft would change: who must still sign, what is in the way.
    #[command(
        after_long_help = "Nothing is done: the deciding code runs here, on the verified history. Exit code 1 where\nsomething beside signatures is in the way; of a draft, where it holds up what was not held up.\n\nExample:\n  keylatch simulate weights-2026\n  keylatch simulate --policy policy.toml\n  keylatch --json simulate --pack deploy/packs/gdpr-edpb-01-2020.toml | jq '.pending[].after.blocked'"
    )]
    Simulate(simulate::SimulateArgs),
    /// Make keys and requests as a file says. Shows a plan, asks, and does what is not there yet.
    #[command(after_long_help = apply::HELP)]
    Apply(apply::ApplyArgs),
    /// Approve a request. Shows exactly what you sign, and asks.
    #[command(
        after_long_help = "Your approval names the hash of the request: any change to what is asked is another\nrequest, and voids it. Who asks does not approve; one person is one vote, whatever keys and roles.\n\nExample:\n  keylatch requests\n  keylatch approve weights-2026 --note 'ticket checked'"
    )]
    Approve(approve::ApproveArgs),
    /// Reject a request, which closes it. Shows exactly what you sign, and asks.
    Reject(approve::RefuseArgs),
    /// Take a request back: who asked, or an admin. Shows exactly what you sign, and asks.
    Cancel(approve::RefuseArgs),
    /// People and workloads: enroll, change, rotate, revoke, list, show.
    #[command(subcommand)]
    Principal(principal::PrincipalCommand),
    /// Delegations: let somebody else vote in your place for a while.
    #[command(subcommand)]
    Delegation(delegation::DelegationCommand),
    /// Access: who may create keys and who may approve; sign that you looked at it.
    #[command(subcommand)]
    Access(access::AccessCommand),
    /// The policy: check a file, show, compare, adopt, and every one that there was.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Legal packs: list, show, check, declare.
    #[command(subcommand)]
    Pack(pack::PackCommand),
    /// Facts that legal packs rest on: assert, withdraw, list.
    #[command(subcommand)]
    Fact(fact::FactCommand),
    /// Holds: freeze a request or every activation, and lift that.
    #[command(subcommand)]
    Hold(hold::HoldCommand),
    /// Procedures, processes and statements: adopt, list, show.
    #[command(subcommand)]
    Procedure(procedure::ProcedureCommand),
    /// Key stores: register their servers and databases, list, show.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// The control tests: what each point of the control comes to over the history; and their evaluation, which is signed.
    #[command(after_long_help = controls::HELP)]
    Controls(Box<controls::ControlsArgs>),
    /// Evidence for whoever looks into it: samples that nobody picks.
    #[command(subcommand)]
    Evidence(EvidenceCommand),
    /// Say whether a key was never active between two times, with the events that bound it.
    #[command(
        after_long_help = "Exit code 1 where it was active, or where the history ends before that time: what followed is not\nknown from it.\n\nExamples:\n  keylatch never-active weights-2026 --between 2026-01-01 2026-07-01\n  keylatch --json never-active weights-2026 --between 2026-01-01 2026-07-01 \\\n    --export evidence-2026-q4 --root SHA256:… > never-active.json"
    )]
    NeverActive(never_active::NeverActiveArgs),
    /// Add your signature to a command that somebody else made (--out). Shows exactly what you sign, and asks.
    #[command(after_long_help = "Example:\n  keylatch sign enroll.json\n  keylatch submit enroll.json")]
    Sign(sign::SignArgs),
    /// Send a signed command from a file. Sent again, it gets the same answer.
    Submit(submit::SubmitArgs),
    /// Use an active key: encrypt and decrypt files, sign and verify.
    #[command(subcommand)]
    Use(usage::UseCommand),
    /// Follow the events as they come, each verified.
    #[command(
        after_long_help = "Void events (which break a rule, and change nothing) are shown with the reason.\n\nExample:\n  keylatch watch --key weights-2026\n  keylatch --json watch | jq -r 'select(.void) | .sequence'"
    )]
    Watch(watch::WatchArgs),
    /// Show what has happened, or how things stood at some point, verified from the first event on.
    #[command(
        after_long_help = "Examples:\n  keylatch history --key weights-2026\n  keylatch history --from 1 --max 20\n\nHow things stood, from a replay up to a point (which policy was in force, who could have approved):\n  keylatch history --at 2026-11-20T12:00Z\n  keylatch history --seq 118 --key weights-2026"
    )]
    History(history::HistoryArgs),
    /// Have a bundle of evidence made for an auditor, fetch it, and check it.
    #[command(after_long_help = export::HELP)]
    Export(export::ExportArgs),
    /// Make one small file that proves a key's activation on its own: for whoever relies on the key.
    ///
    /// It holds the activation, the request, every approval with its own signature, the policy, and who these people and
    /// services are, each as it stands in the history, with the proof that a signed checkpoint commits to it.
    #[command(
        after_long_help = "Whoever gets it needs the root's fingerprint, and nothing else of yours:\n  keylatch certificate weights-2026 --out weights.json\n  keylatch verify weights.json --root SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w\n  docs/certificate/verify_certificate.py weights.json SHA256:…     (with Python and openssl alone)"
    )]
    Certificate(certificate::CertificateArgs),
    /// Check evidence, offline, under a root that you know: a bundle, its events, or a certificate.
    #[command(after_long_help = verify::HELP)]
    Verify(verify::VerifyArgs),
    /// Live probes: what must be refused is tried by the platform, and its refusal recorded.
    #[command(subcommand)]
    Probe(probe::ProbeCommand),
    /// Proofs: that an event is in the history, that a history continues another; checked offline, also other people's.
    #[command(subcommand)]
    Proof(proof::ProofCommand),
    /// Say what is well and what is not: from here to the platform, or, with --dir, of the platform itself.
    #[command(
        after_long_help = "Exit code 1 where something needs attention; each line says what to do.\n\nExample, for a tenant's people:\n  keylatch doctor\n\nFor whoever runs the platform, beside it: its services, alarms, secrets and disk:\n  keylatch doctor --dir my-platform\n  keylatch --json doctor --dir my-platform | jq '.checks[] | select(.verdict == \"bad\")'"
    )]
    Doctor(doctor::DoctorArgs),
}

/// The whole of `main`.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    init_log(&cli.command);
    let mut screen = Screen::terminal(cli.global.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(Err(Error::Output(error)), &mut screen),
    };
    let done = runtime.block_on(run(cli, &mut screen));
    end(done, &mut screen)
}

/// Logs where `KEYLATCH_LOG` asks for it; the platform always says how it is.
fn init_log(command: &Command) {
    let otherwise = match command {
        Command::Up(_) => Some(tracing_subscriber::EnvFilter::new("info")),
        _ => None,
    };
    if let Some(filter) = tracing_subscriber::EnvFilter::try_from_env("KEYLATCH_LOG").ok().or(otherwise) {
        let ansi = service::process::on_colour();
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(io::stderr).init();
    }
}

fn end(done: Result<Exit, Error>, screen: &mut Screen) -> ExitCode {
    let error = match done {
        Ok(exit) => return ExitCode::from(exit as u8),
        // Whoever read the output has gone, as `head` does.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    if screen.is_json() {
        let json = serde_json::to_value(error.to_problem()).unwrap_or_default();
        // There is nobody left to tell.
        let _ = screen.show(&Shown { json, people: String::new() });
    } else {
        screen.review(&error.to_people());
    }
    ExitCode::from(error.exit() as u8)
}

/// Does what the command line says.
pub async fn run(cli: Cli, screen: &mut Screen) -> Result<Exit, Error> {
    let Cli { global, command } = cli;
    match command {
        Command::Up(args) => up::run(args, screen).await?,
        Command::Custody(command) => custody::run(command, screen).await?,
        Command::Tenant(command) => tenant::run(command, &global, screen).await?,
        Command::Load(command) => load::run(command, screen).await?,
        Command::Demo(args) => demo::run(args, screen).await?,
        Command::Context(command) => {
            let contexts = Contexts::from_environment()?;
            context::run(command, &contexts, global.context.as_ref(), global.identity, screen)?;
        }
        Command::Policy(policy::PolicyCommand::Check(args)) => return policy::run_check(&args, &global, screen).await,
        Command::Pack(command) => {
            if let Some(done) = pack::run_offline(&command, screen) {
                return done;
            }
            return pack::run(command, &mut global.session().await?, screen).await;
        }
        Command::Proof(command) => {
            if let Some(done) = proof::run_offline(&command, screen) {
                return done;
            }
            return proof::run(command, &mut global.session().await?, screen).await;
        }
        Command::Principal(principal::PrincipalCommand::SubjectKey { file }) => {
            screen.show(&principal::subject::make_key(&file)?)?;
        }
        Command::Verify(args) => return verify::run(args, screen),
        Command::Probe(command) => match probe::run_offline(&command, screen) {
            Some(done) => done?,
            None => probe::run(command, &mut global.session().await?, screen).await?,
        },
        Command::Doctor(args) => return doctor::run(args, &global, screen).await,
        Command::Sign(args) if args.offline => sign_offline(&args, &global, screen)?,
        Command::Controls(args) if args.offline().is_some() => return controls::run_offline(&args, screen).await,
        Command::Evidence(EvidenceCommand::Sample(args)) if args.offline().is_some() => {
            return sample::run_offline(&args, screen).await;
        }
        Command::NeverActive(args) if args.offline().is_some() => {
            return never_active::run_offline(&args, screen).await;
        }
        Command::Store(command) => {
            if let Some(done) = store::run_here(&command, screen).await {
                return done;
            }
            let mut session = global.session().await?;
            store::run(command, &mut session, screen).await?;
        }
        command => {
            let mut session = global.session().await?;
            return with_session(command, &mut session, screen).await;
        }
    }
    Ok(Exit::Ok)
}

/// The commands that need the platform.
async fn with_session(command: Command, session: &mut Session, screen: &mut Screen) -> Result<Exit, Error> {
    match command {
        Command::Key(command) => key::run(command, session, screen).await?,
        Command::Request(args) => return request::run(*args, session, screen).await,
        Command::Inbox(args) => inbox::run(args, session, screen).await?,
        Command::Simulate(args) => return simulate::run(args, session, screen).await,
        Command::Apply(args) => return apply::run(args, session, screen).await,
        Command::Requests => requests::run(session, screen).await?,
        Command::Approve(args) => approve::run_approve(args, session, screen).await?,
        Command::Reject(args) => approve::run_reject(args, session, screen).await?,
        Command::Cancel(args) => approve::run_cancel(args, session, screen).await?,
        Command::Principal(command) => principal::run(command, session, screen).await?,
        Command::Delegation(command) => delegation::run(command, session, screen).await?,
        Command::Access(command) => access::run(command, session, screen).await?,
        Command::Policy(command) => return policy::run(command, session, screen).await,
        Command::Fact(command) => fact::run(command, session, screen).await?,
        Command::Hold(command) => hold::run(command, session, screen).await?,
        Command::Procedure(command) => return procedure::run(command, session, screen).await,
        Command::Controls(args) => return controls::run(*args, session, screen).await,
        Command::Evidence(EvidenceCommand::Sample(args)) => return sample::run(&args, session, screen).await,
        Command::NeverActive(args) => return never_active::run(args, session, screen).await,
        Command::Sign(args) => sign::run(args, session, screen).await?,
        Command::Submit(args) => submit::run(args, session, screen).await?,
        Command::Use(command) => return usage::run(command, session, screen).await,
        Command::Watch(args) => watch::run(args, session, screen).await?,
        Command::History(args) => history::run(args, session, screen).await?,
        Command::Export(args) => return export::run(args, session, screen).await,
        Command::Certificate(args) => certificate::run(args, session, screen).await?,
        Command::Up(_)
        | Command::Custody(_)
        | Command::Store(_)
        | Command::Tenant(_)
        | Command::Load(_)
        | Command::Demo(_)
        | Command::Context(_)
        | Command::Pack(_)
        | Command::Proof(_)
        | Command::Verify(_)
        | Command::Probe(_)
        | Command::Doctor(_) => {
            return Err(Error::usage("this command needs no session", "tell the authors"));
        }
    }
    Ok(Exit::Ok)
}

fn sign_offline(args: &sign::SignArgs, global: &Global, screen: &mut Screen) -> Result<(), Error> {
    let hand = global.offline_hand()?;
    let outcome = sign::sign(&args.file, &*hand, None, args.yes, screen, crate::Clock::default().now())?;
    screen.show(&outcome)
}

impl Global {
    /// The context that is meant, with the identity that is meant.
    pub fn context(&self, contexts: &Contexts) -> Result<Context, Error> {
        let name = contexts.choose(self.context.as_ref())?;
        let context = contexts.load(&name)?;
        Ok(match &self.identity {
            Some(identity) => Context { identity: Some(identity.clone()), ..context },
            None => context,
        })
    }

    /// A session in the context that is meant.
    pub async fn session(&self) -> Result<Session, Error> {
        let contexts = Contexts::from_environment()?;
        let session = Session::connect(&self.context(&contexts)?).await?;
        Ok(session.keeping_unanswered_in(contexts.home().join("unanswered")))
    }

    /// Who signs, without a platform.
    fn offline_hand(&self) -> Result<SharedHand, Error> {
        let path = match &self.identity {
            Some(path) => path.clone(),
            None => {
                let named = self.context(&Contexts::from_environment()?)?.identity;
                named.ok_or_else(|| {
                    Error::usage("nobody is named who signs", "name your SSH key with --identity FILE")
                })?
            }
        };
        Ok(std::sync::Arc::new(Identity::load(&path)?))
    }
}
