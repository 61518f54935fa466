//! `keylatch key`: keys from their birth, pre-active, to their end.

pub mod acknowledge;
pub mod attest_parent;
pub mod generate;
pub mod list;
pub mod operate;
pub mod prove;
pub mod revalidate;
pub mod review;
pub mod show;

use clap::Subcommand;

use crate::command::as_of;
use crate::error::Error;
use crate::screen::Screen;
use crate::session::Session;

/// What to do with keys.
#[derive(Subcommand, Debug)]
pub enum KeyCommand {
    /// Have a key generated. It is born pre-active: nobody can use it before its activation is approved.
    #[command(
        after_long_help = "Example:\n  keylatch key generate weights-2026 --workload model-storage --responsibility model \\\n    --jurisdiction EU --classification secret --environment production \\\n    --asset 'weights of model M, release 4'\n\nThen: keylatch request weights-2026 --reason-kind new-service --reason 'release 4' --wait"
    )]
    Generate(Box<generate::GenerateArgs>),
    /// List keys.
    List(list::ListArgs),
    /// Show a key: its state, who made it, its open request and what that is missing, its custody.
    #[command(
        after_long_help = "A key is named by its label, its id, or the beginning of its id.\n\nExamples:\n  keylatch key show weights-2026\n  keylatch key show weights-2026 --at 2026-11-20T12:00Z   (as it stood then, and who could have approved it)"
    )]
    Show(show::ShowArgs),
    /// Have the custodian prove that it has a key: the one thing that a pre-active key can be asked.
    ///
    /// The challenge is random. A key pair's answer is a signature, which is verified here against the public key in the
    /// verified history. A secret key's answer can be checked by its holder only; its check value is compared.
    Prove {
        /// The key: label, id, or the beginning of an id.
        key: String,
    },
    /// Activate what is authorised, now. The platform does it by itself when the time comes.
    Activate(operate::ActivateArgs),
    /// Halt a key's use for the time being. Takes effect at once.
    #[command(
        after_long_help = "Example:\n  keylatch key suspend weights-2026 --reason-kind investigation --reason 'unusual reads'"
    )]
    Suspend(operate::OperateArgs),
    /// Lift a suspension.
    Resume(operate::OperateArgs),
    /// End a key's use for good. Old data can still be decrypted where the policy says so.
    Deactivate(operate::OperateArgs),
    /// Report that a key is or may be known to others. It can't be taken back.
    Compromise(operate::OperateArgs),
    /// Destroy a key. It can't be taken back.
    #[command(
        after_long_help = "Where the policy asks for several people:\n  keylatch key destroy old-key --reason-kind superseded --reason 'replaced' --out destroy.json\n  keylatch sign destroy.json       (somebody else)\n  keylatch submit destroy.json"
    )]
    Destroy(operate::OperateArgs),
    /// Say that keys which wait for their activation are still wanted. Policy may ask for it; a missed one expires the key.
    ///
    /// The keys are listed first, and signed for together: 500 in a command, several commands where there are more.
    #[command(
        after_long_help = "Examples:\n  keylatch key revalidate weights-2026 weights-2027\n  keylatch key revalidate --all --note 'release list of 24 November'"
    )]
    Revalidate(revalidate::RevalidateArgs),
    /// Sign that a key's emergency activation was looked at: nobody who asked for it or approved it.
    ///
    /// Policy says who reviews, and until when. A key whose review is missed is suspended.
    #[command(
        after_long_help = "Example:\n  keylatch key review weights-2026 --findings 'justified: INC-77, the outage is over'"
    )]
    Review(review::ReviewArgs),
    /// Say, as one who will use a key, that you know it; with --adopted, that you use it.
    ///
    /// A request can name consumers who must have said so before the key is activated. Give the identity as you have it
    /// from elsewhere: it is compared with the key's, and a wrong one is not signed.
    #[command(
        after_long_help = "Examples:\n  keylatch key acknowledge weights-2026 --key-identity kcv:1f2e3d\n  keylatch key acknowledge signer --key-identity signer.pem --adopted\n  keylatch key acknowledge --list keys.txt        (weights-1 kcv:1f2e3d, a line for each)"
    )]
    Acknowledge(acknowledge::AcknowledgeArgs),
    /// Bring the proof that the key which wraps this one, in another tenant, was activated.
    ///
    /// The other tenant exports its history; it is verified here, whole, under a root that the policy trusts. What is
    /// recorded is the parent's activation, its signature, and the proof that a signed checkpoint covers it.
    #[command(after_long_help = "Example:\n  keylatch key attest-parent weights-2026 --export their-evidence")]
    AttestParent(attest_parent::AttestParentArgs),
}

/// Runs `keylatch key`.
pub async fn run(command: KeyCommand, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    use operate::Operation;
    if let KeyCommand::Show(args) = &command
        && let Some(point) = args.point.point(session.now())?
    {
        let at = as_of::read(session, point, screen).await?;
        return screen.show(&show::show_at(session, &args.key, at)?);
    }
    session.refresh(screen).await?;
    match command {
        KeyCommand::Generate(args) => {
            let generated = {
                let spec = (*args).spec(session.state())?;
                generate::generate(session, screen, spec).await?
            };
            screen.show(&generated)
        }
        KeyCommand::List(args) => screen.show(&list::list(session.known(), &args, session.now())),
        KeyCommand::Show(args) => screen.show(&show::show(session.known(), &args.key, session.now())?),
        KeyCommand::Prove { key } => {
            let proved = prove::prove(session, &key).await?;
            screen.show(&proved)
        }
        KeyCommand::Activate(args) => operate::run_activate(session, screen, args).await,
        KeyCommand::Suspend(args) => operate::run(session, screen, Operation::Suspend, args).await,
        KeyCommand::Resume(args) => operate::run(session, screen, Operation::Resume, args).await,
        KeyCommand::Deactivate(args) => operate::run(session, screen, Operation::Deactivate, args).await,
        KeyCommand::Compromise(args) => operate::run(session, screen, Operation::Compromise, args).await,
        KeyCommand::Destroy(args) => operate::run(session, screen, Operation::Destroy, args).await,
        KeyCommand::Revalidate(args) => revalidate::revalidate(args, session, screen).await,
        KeyCommand::Review(args) => {
            let outcome = review::review(args, session, screen).await?;
            screen.show(&outcome)
        }
        KeyCommand::Acknowledge(args) => acknowledge::acknowledge(args, session, screen).await,
        KeyCommand::AttestParent(args) => {
            let outcome = attest_parent::attest(args, session, screen).await?;
            screen.show(&outcome)
        }
    }
}
