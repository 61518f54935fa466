//! Which rules epoch brought what. A chain under an older epoch is judged as it was when that was the newest: what came
//! later is refused there, so that an older reader and this one reach the same verdict on every event.

use model::{Action, ProblemType};

use crate::decide::{Duty, Input};
use crate::state::View;
use crate::{RULES, Rejection};

/// Refuses what the chain's rules epoch does not have.
pub(crate) fn known(view: &View, input: &Input) -> Result<(), Rejection> {
    let rules = match (input.authority(), &view.governance) {
        (Some(brought), _) => brought.statement.rules,
        (None, Some(governance)) => governance.authority.rules,
        (None, None) => RULES,
    };
    let since = since(input);
    if since <= rules {
        return Ok(());
    }
    let detail = format!("it came with rules epoch {since}, and the chain is under {rules}");
    Rejection::new(ProblemType::NotSupported, detail).with("rules", rules).err()
}

/// The rules epoch that an input came with.
fn since(input: &Input) -> u32 {
    let is_new = match input {
        Input::Command(signed) | Input::Founding { command: signed, .. } | Input::Generated { command: signed, .. } => {
            is_new(&signed.command.action, signed.command.key_id.is_some())
        }
        Input::Member { .. } => true,
        Input::Due(duty) => match duty {
            Duty::AuthorizeRequest(_)
            | Duty::LapseRequest(_)
            | Duty::ActivateMembers(_)
            | Duty::Suspend(_)
            | Duty::SuspendChildren(_)
            | Duty::Warn(_)
            | Duty::Deadlines => true,
            Duty::Authorize(_)
            | Duty::Activate(_)
            | Duty::Lapse(_)
            | Duty::Expire(_)
            | Duty::Deactivate(_)
            | Duty::Destroy(_)
            | Duty::Apply(_)
            | Duty::Checkpoint => false,
        },
        Input::Authority(_) | Input::Applied(_) | Input::Used(_) | Input::Refused(_) | Input::Checkpoint(_) => false,
    };
    if is_new { 2 } else { 1 }
}

/// Whether an action, or something that its parameters say, came with epoch 2.
fn is_new(action: &Action, names_key: bool) -> bool {
    match action {
        Action::TenantCreate(params) => params.admins.iter().any(|admin| admin.is_beyond_v1()),
        Action::PrincipalEnroll(params) => params.principal.is_beyond_v1(),
        Action::PolicyAdopt(params) => params.policy.is_beyond_v1(),
        Action::KeyGenerate(params) => params.spec.is_beyond_v1(),
        Action::ActivationRequest(params) => {
            !names_key
                || params.identity.is_none()
                || params.attestation.is_some()
                || params.template.is_some()
                || params.manifest.is_some()
                || params.standing.is_some()
                || params.break_glass
                || !params.consumers.is_empty()
        }
        Action::ActivationApprove(params) => !names_key || params.on_behalf_of.is_some(),
        Action::ActivationReject(_) | Action::ActivationCancel(_) => !names_key,
        Action::KeyActivate(params) => params.standing.is_some(),
        Action::PrincipalChange(_)
        | Action::PrincipalRevoke(_)
        | Action::KeySuspend(_)
        | Action::KeyResume(_)
        | Action::KeyDeactivate(_)
        | Action::KeyCompromise(_)
        | Action::KeyDestroy(_)
        | Action::KeyProve(_)
        | Action::UseEncrypt(_)
        | Action::UseDecrypt(_)
        | Action::UseSign(_)
        | Action::UseVerify(_)
        | Action::UseWrap(_)
        | Action::UseUnwrap(_) => false,
        Action::PrincipalRotate(_)
        | Action::DelegationGrant(_)
        | Action::DelegationEnd(_)
        | Action::AccessReview(_)
        | Action::PackDeclare(_)
        | Action::FactAssert(_)
        | Action::FactWithdraw(_)
        | Action::DocumentStore(_)
        | Action::KeyRevalidate(_)
        | Action::ActivationHold(_)
        | Action::ActivationRelease(_)
        | Action::ActivationReview(_)
        | Action::ConsumerAcknowledge(_)
        | Action::ParentAttest(_) => true,
    }
}
