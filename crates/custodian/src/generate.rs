//! Generating a key on a command that the custodian has judged itself, whoever brought it.

use std::sync::Arc;

use journal::Journal;
use journal::command::SignedCommand;
use keystore::SealTo;
use lifecycle::sealing::Plan;
use lifecycle::{Input, decide};
use model::statement::Generated;
use model::text::Base64;
use model::{Action, Problem, ProblemType, TenantId, dsse};
use serde_json::json;
use service::command::Answer;

use crate::{Custodian, ROLE, blocking};

/// Generates the key, pre-active, and states so. Asked again with the same command, the same key.
///
/// A key that was generated and never recorded can never be used: the chain does not know it.
pub(crate) async fn generate<J: Journal>(
    custodian: &Custodian<J>,
    tenant: TenantId,
    signed: &Arc<SignedCommand>,
) -> Answer {
    let node = &custodian.ports.node;
    let (Action::KeyGenerate(params), Some(key_id)) = (&signed.command.action, signed.command.key_id) else {
        return Err(Problem::new(ProblemType::UnknownAction, "that is not `key.generate`"));
    };
    let footprint = Input::Command(signed.clone()).footprint();
    node.check_alarm(tenant)?;
    let sealed = node.check(tenant, footprint, |view| decide::may_generate(view, signed, node.clock().now())).await?;
    let sealed = sealed.map(|Plan { threshold, to }| SealTo { threshold, to });
    let store = custodian.stores.named(&params.spec.backend)?;
    let (generating, algorithm, digest) = (store.clone(), params.spec.algorithm, signed.digest);
    let generated = blocking(move || match sealed {
        None => generating.generate(tenant, key_id, algorithm, digest).map(|generated| (generated, None)),
        Some(to) => {
            let (generated, sealing) = generating.generate_sealed(tenant, key_id, algorithm, digest, &to)?;
            Ok((generated, Some(sealing)))
        }
    });
    let (generated, sealing) = generated.await?;
    let said = Generated {
        tenant,
        key_id,
        algorithm,
        identity: generated.identity,
        store: store.name().clone(),
        wrapping_key: generated.wrapping_key,
        command: digest,
        seal_key: Base64(store.seal_key().to_vec()),
        sealing,
        generated_at: node.clock().now(),
    };
    let key = node.key(ROLE).map_err(|error| Problem::new(ProblemType::Unavailable, error))?;
    Ok(json!({ "ok": true, "statement": key.sign_statement(dsse::GENERATED, &said) }))
}
