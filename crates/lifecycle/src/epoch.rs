//! Which rules epoch brought what. A chain under an older epoch is judged as it was when that was the newest: what came
//! later is refused there, so that an older reader and this one reach the same verdict on every event.

use model::command::ActivationRequest;
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
    match input {
        Input::Generated { statement, .. } if statement.statement.sealing.is_some() => 4,
        Input::Command(signed) | Input::Founding { command: signed, .. } | Input::Generated { command: signed, .. } => {
            since_action(&signed.command.action, signed.command.key_id.is_some())
        }
        Input::Due(duty) => since_duty(*duty),
        Input::Authority(_) | Input::Applied(_) | Input::Used(_) | Input::Refused(_) | Input::Checkpoint(_) => 1,
        Input::Member { .. } => 2,
        Input::Adopted(_) => 4,
        Input::Reconciled(_) | Input::Drifted(_) | Input::Exported { .. } | Input::Probed { .. } => 3,
    }
}

fn since_duty(duty: Duty) -> u32 {
    match duty {
        Duty::Authorize(_)
        | Duty::Activate(_)
        | Duty::Lapse(_)
        | Duty::Expire(_)
        | Duty::Deactivate(_)
        | Duty::Destroy(_)
        | Duty::Apply(_)
        | Duty::Checkpoint => 1,
        Duty::AuthorizeRequest(_)
        | Duty::LapseRequest(_)
        | Duty::ActivateMembers(_)
        | Duty::Suspend(_)
        | Duty::SuspendChildren(_)
        | Duty::Warn(_)
        | Duty::Deadlines => 2,
        Duty::Adopt | Duty::Miss(_) => 4,
        Duty::Reconcile | Duty::Probe | Duty::Export | Duty::WarnLapse(_) | Duty::WarnLapseRequest(_) => 3,
    }
}

/// The rules epoch that an action came with, and everything that its parameters say.
fn since_action(action: &Action, names_key: bool) -> u32 {
    let second = |is_new: bool| if is_new { 2 } else { 1 };
    match action {
        Action::TenantCreate(params) => second(params.admins.iter().any(|admin| admin.is_beyond_v1())),
        Action::PrincipalEnroll(params) => second(params.principal.is_beyond_v1()),
        Action::PolicyAdopt(params) if params.policy.is_beyond_v3() => 4,
        Action::PolicyAdopt(params) if params.policy.is_beyond_v2() => 3,
        Action::PolicyAdopt(params) => second(params.policy.is_beyond_v1()),
        Action::KeyGenerate(params) if params.spec.algorithm.is_beyond_v3() => 4,
        Action::ActivationRequest(ActivationRequest { template: Some(template), .. })
            if template.algorithm.is_beyond_v3() =>
        {
            4
        }
        Action::KeyGenerate(params) => second(params.spec.is_beyond_v1()),
        Action::ActivationRequest(params) => second(
            !names_key
                || params.identity.is_none()
                || params.attestation.is_some()
                || params.template.is_some()
                || params.manifest.is_some()
                || params.standing.is_some()
                || params.break_glass
                || !params.consumers.is_empty(),
        ),
        Action::ActivationApprove(params) if params.share.is_some() => 4,
        Action::ActivationApprove(params) => second(!names_key || params.on_behalf_of.is_some()),
        Action::ActivationReject(_) | Action::ActivationCancel(_) => second(!names_key),
        Action::KeyActivate(params) => second(params.standing.is_some()),
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
        | Action::UseUnwrap(_) => 1,
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
        | Action::ParentAttest(_) => 2,
        Action::DocumentAdopt(_)
        | Action::StoreRegister(_)
        | Action::EvidenceExport(_)
        | Action::ControlEvaluate(_) => 3,
        Action::BaselineAdopt(_) | Action::PrincipalEquip(_) => 4,
    }
}
