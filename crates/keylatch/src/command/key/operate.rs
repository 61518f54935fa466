//! What happens to a key outside approval: activation on command, suspension, its end.

use clap::Args;
use lifecycle::Key;
use model::command::{KeyActivate, KeyCompromise, KeyDeactivate, KeyDestroy, KeyResume, KeySuspend};
use model::key::Reason;
use model::policy::{Operations, Permission};
use model::{Action, EventHash};

use crate::command::{ReasonArgs, SigningArgs};
use crate::error::Error;
use crate::lookup;
use crate::screen::Screen;
use crate::session::Session;
use crate::submit::{Needs, Outcome, Signing, lifetime};

/// Which key, why, and who signs.
#[derive(Args, Clone, Debug)]
pub struct OperateArgs {
    /// The key: label, id, or the beginning of an id.
    pub key: String,
    #[command(flatten)]
    /// Why.
    pub reason: ReasonArgs,
    #[command(flatten)]
    /// Who signs.
    pub signing: SigningArgs,
}

/// Which key, and who signs.
#[derive(Args, Clone, Debug)]
pub struct ActivateArgs {
    /// The key: label, id, or the beginning of an id.
    pub key: String,
    /// Draw on a standing authorisation: the beginning of its request's hash.
    #[arg(long, value_name = "REQUEST")]
    pub standing: Option<String>,
    #[command(flatten)]
    /// Who signs.
    pub signing: SigningArgs,
}

/// What is done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Halt its use.
    Suspend,
    /// Lift a suspension.
    Resume,
    /// End its use for good.
    Deactivate,
    /// Report its compromise.
    Compromise,
    /// Destroy it.
    Destroy,
}

impl Operation {
    fn action(self, against: EventHash, reason: Reason) -> Action {
        match self {
            Self::Suspend => Action::KeySuspend(KeySuspend { reason }),
            Self::Resume => Action::KeyResume(KeyResume { against, reason }),
            Self::Deactivate => Action::KeyDeactivate(KeyDeactivate { against, reason }),
            Self::Compromise => Action::KeyCompromise(KeyCompromise { reason }),
            Self::Destroy => Action::KeyDestroy(KeyDestroy { against, reason }),
        }
    }

    fn permission(self, operations: &Operations) -> &Permission {
        match self {
            Self::Suspend => &operations.suspend,
            Self::Resume => &operations.resume,
            Self::Deactivate => &operations.deactivate,
            Self::Compromise => &operations.compromise,
            Self::Destroy => &operations.destroy,
        }
    }

    /// Whether it can't be taken back, and is asked for therefore.
    fn is_final(self) -> bool {
        matches!(self, Self::Deactivate | Self::Compromise | Self::Destroy)
    }
}

/// Runs one of them.
pub async fn run(
    session: &mut Session,
    screen: &mut Screen,
    operation: Operation,
    args: OperateArgs,
) -> Result<(), Error> {
    let outcome = operate(session, screen, operation, &args.key, args.reason.into(), &args.signing.into()).await?;
    screen.show(&outcome)
}

/// Does it to the key that is named, on this state of the key.
pub async fn operate(
    session: &mut Session,
    screen: &mut Screen,
    operation: Operation,
    named: &str,
    reason: Reason,
    signing: &Signing,
) -> Result<Outcome, Error> {
    let key = lookup::key(session.state(), named)?.clone();
    let signatures = quorum(session, |operations| operation.permission(operations))?;
    let action = operation.action(key.head, reason);
    submit(session, screen, &key, action, signing, Needs { signatures, review: operation.is_final() }).await
}

/// Runs `keylatch key activate`.
pub async fn run_activate(session: &mut Session, screen: &mut Screen, args: ActivateArgs) -> Result<(), Error> {
    let outcome = activate(session, screen, &args.key, args.standing.as_deref(), &args.signing.into()).await?;
    screen.show(&outcome)
}

/// Activates a key whose activation is authorised: by its own request, or by the standing authorisation that is named.
pub async fn activate(
    session: &mut Session,
    screen: &mut Screen,
    named: &str,
    standing: Option<&str>,
    signing: &Signing,
) -> Result<Outcome, Error> {
    let key = lookup::key(session.state(), named)?.clone();
    let standing = standing.map(|named| lookup::open_request(session.state(), named)).transpose()?;
    let standing = standing.map(|(_, request)| request.hash);
    let signatures = match standing {
        Some(_) => 1,
        None => quorum(session, |operations| &operations.activate)?,
    };
    let action = Action::KeyActivate(KeyActivate { against: key.head, standing });
    submit(session, screen, &key, action, signing, Needs { signatures, review: false }).await
}

/// How many people the policy in force asks for.
fn quorum(session: &Session, permission: impl Fn(&Operations) -> &Permission) -> Result<u8, Error> {
    Ok(permission(&session.governance()?.policy()?.policy.operations).quorum)
}

async fn submit(
    session: &mut Session,
    screen: &mut Screen,
    key: &Key,
    action: Action,
    signing: &Signing,
    needs: Needs,
) -> Result<Outcome, Error> {
    // What others are to sign is shown to the first signer as well.
    let needs = Needs { review: needs.review || signing.out.is_some(), ..needs };
    let command = session.command(action, Some(key.id), lifetime(signing, needs.signatures));
    session.carry_out(screen, &command, signing, needs).await
}
