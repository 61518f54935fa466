//! `keylatch key review`: the look at an emergency activation that must follow it.

use clap::Args;
use model::command::ActivationReview;
use model::{Action, Text};

use crate::command::SigningArgs;
use crate::error::Error;
use crate::lookup;
use crate::screen::Screen;
use crate::session::Session;
use crate::submit::{Needs, Outcome, lifetime};

/// Which key, what was found, and who signs.
#[derive(Args, Clone, Debug)]
pub struct ReviewArgs {
    /// The key: label, id, or the beginning of an id.
    pub key: String,
    /// What was found: one line. It is recorded for good: no personal data.
    #[arg(long, value_name = "TEXT")]
    pub findings: Text,
    #[command(flatten)]
    /// Who signs.
    pub signing: SigningArgs,
}

/// Signs that a key's emergency activation was looked at.
pub async fn review(args: ReviewArgs, session: &mut Session, screen: &mut Screen) -> Result<Outcome, Error> {
    let state = session.state();
    let key = lookup::key(state, &args.key)?;
    let Some(activation) = key.activation.filter(|_| key.review_by.is_some()) else {
        let what = format!("key `{}` has no emergency activation that waits for its review", key.spec.label);
        return Err(Error::usage(what, "see `keylatch key show`; a review is signed once"));
    };
    let policy = &session.governance()?.policy()?.policy;
    let request = state.requests.get(&activation.request);
    let rule = request.and_then(|request| request.rule(policy, Some(key)));
    let Some(break_glass) = rule.and_then(|rule| rule.break_glass.as_ref()) else {
        let what = "the policy has no rule for emergencies with keys like this any more";
        return Err(Error::usage(what, "adopt a policy that says who reviews, or deactivate the key"));
    };
    let signatures = break_glass.reviewers.quorum;
    let action = Action::ActivationReview(ActivationReview { activation: activation.hash, findings: args.findings });
    let (key_id, signing) = (key.id, args.signing.into());
    let command = session.command(action, Some(key_id), lifetime(&signing, signatures));
    session.carry_out(screen, &command, &signing, Needs { signatures, review: true }).await
}
