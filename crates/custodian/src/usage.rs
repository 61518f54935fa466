//! Using keys: for those who may, while the verified chain says so, and reporting either way.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use journal::Journal;
use journal::command::SignedCommand;
use keystore::seal::{self, Purpose};
use keystore::{KeyStore, Output, Permit as StorePermit, Proof, Use};
use lifecycle::decide::usage::{Permit, may_prove, may_use};
use lifecycle::state::Activation;
use lifecycle::{Footprint, Input, Rejection};
use model::key::Operation;
use model::text::Base64;
use model::{Action, Digest, Fingerprint, KeyId, Problem, ProblemType, Span, TenantId};
use rand_core::OsRng;
use serde_json::{Value, json};
use service::command::Answer;
use zeroize::Zeroizing;

use crate::stores::Store;
use crate::{Custodian, blocking, problem};

/// Carries out a use. The result is sealed to the one-time key that the command names.
pub(crate) async fn use_key<J: Journal>(
    custodian: &Custodian<J>,
    tenant: TenantId,
    signed: &Arc<SignedCommand>,
) -> Answer {
    let node = &custodian.ports.node;
    let allowed = match allowed(custodian, tenant, signed).await {
        Ok(allowed) => allowed,
        Err(rejection) => {
            custodian.tally.refused(tenant, signed, &rejection, node.clock().now());
            return Err(rejection.into());
        }
    };
    let permit = if allowed.deactivated { StorePermit::OldDataToo } else { StorePermit::WhileActive };
    let (store, asked) = (allowed.store.clone(), signed.clone());
    let result = blocking(move || perform(&*store, tenant, &asked, permit)).await?;
    // However long that took, of a machine that was stopped meanwhile too: what the chain does not allow any more, and what
    // we have no fresh word on, is not handed out.
    if let Err(rejection) = standing(custodian, tenant, signed).await {
        custodian.tally.refused(tenant, signed, &rejection, node.clock().now());
        return Err(rejection.into());
    }
    if let Some(activation) = allowed.activation {
        custodian.tally.used(tenant, &allowed, activation.hash, node.clock().now());
    }
    Ok(json!({ "ok": true, "result": result }))
}

/// A use that may be carried out now.
pub(crate) struct Allowed {
    pub(crate) key: KeyId,
    pub(crate) operation: Operation,
    pub(crate) by: Fingerprint,
    pub(crate) command: Digest,
    store: Store,
    deactivated: bool,
    activation: Option<Activation>,
}

/// Whether the use may be carried out, which it then is: it is not allowed a second time.
async fn allowed<J: Journal>(
    custodian: &Custodian<J>,
    tenant: TenantId,
    signed: &Arc<SignedCommand>,
) -> Result<Allowed, Rejection> {
    let allowed = standing(custodian, tenant, signed).await?;
    custodian.replay_guard.accept(signed.command.id, custodian.ports.node.clock().now())?;
    Ok(allowed)
}

/// Whether the chain allows the use: first as if our word on it were fresh, so that nobody without standing has us ask for
/// it; then with the word, and with what came with it.
async fn standing<J: Journal>(
    custodian: &Custodian<J>,
    tenant: TenantId,
    signed: &Arc<SignedCommand>,
) -> Result<Allowed, Rejection> {
    let node = &custodian.ports.node;
    node.check_alarm(tenant)?;
    let footprint = Input::Command(signed.clone()).footprint();
    let wanted = |view: &lifecycle::View| {
        may_use(view, signed, node.clock().now(), Some(Span::ZERO)).map(|permit| permit.max_staleness)
    };
    let max_staleness = node.check(tenant, footprint.clone(), wanted).await?;
    let age = custodian.leases.age(&custodian.ports, tenant, max_staleness).await;
    let check = |view: &lifecycle::View| {
        let Permit { key, operation, by, deactivated, .. } = may_use(view, signed, node.clock().now(), age)?;
        let store = custodian.stores.of(key)?;
        let (command, activation) = (signed.digest, key.activation);
        Ok(Allowed { key: key.id, operation, by, command, store, deactivated, activation })
    };
    node.check(tenant, footprint, check).await
}

/// Performs the use and seals what comes of it.
fn perform(
    store: &dyn KeyStore,
    tenant: TenantId,
    signed: &SignedCommand,
    permit: StorePermit,
) -> Result<Value, keystore::Error> {
    let command = &signed.command;
    let (Some(key_id), Some(reply_to)) = (command.key_id, command.action.reply_to()) else {
        return Err(keystore::Error::InvalidInput("a use of a key"));
    };
    let input_info = seal::info(Purpose::Input, tenant, key_id, command.id);
    let opened;
    let asked = match &command.action {
        Action::UseEncrypt(params) => {
            opened = store.open(&params.plaintext, &input_info)?;
            Use::Encrypt { plaintext: &opened, aad: &params.aad.0 }
        }
        Action::UseDecrypt(params) => Use::Decrypt { ciphertext: &params.ciphertext.0, aad: &params.aad.0 },
        Action::UseSign(params) => Use::Sign { digest: &params.digest.0 },
        Action::UseVerify(params) => Use::Verify { digest: &params.digest.0, signature: &params.signature.0 },
        Action::UseWrap(_) => Use::Wrap,
        Action::UseUnwrap(params) => Use::Unwrap { wrapped: &params.wrapped.0 },
        _ => return Err(keystore::Error::InvalidInput("a use of a key")),
    };
    let output = to_json(&store.perform(tenant, key_id, &asked, permit)?);
    let result_info = seal::info(Purpose::Result, tenant, key_id, command.id);
    let sealed = seal::seal(&reply_to.0, &result_info, b"", &output, &mut OsRng)?;
    Ok(json!(sealed))
}

/// A result, as it is before it is sealed: a JSON object, written into one buffer that is wiped, with no copy elsewhere.
fn to_json(output: &Output) -> Zeroizing<Vec<u8>> {
    match output {
        Output::Ciphertext(bytes) => object(&[("ciphertext", bytes)]),
        Output::Plaintext(bytes) => object(&[("plaintext", bytes)]),
        Output::Signature(bytes) => object(&[("signature", bytes)]),
        Output::Verified(valid) => Zeroizing::new(json!({ "valid": valid }).to_string().into_bytes()),
        Output::Wrapped { data_key, wrapped } => object(&[("data_key", &data_key[..]), ("wrapped", wrapped)]),
        Output::DataKey(bytes) => object(&[("data_key", &bytes[..])]),
    }
}

/// A JSON object of bytes in base64. The names need no escaping.
fn object(members: &[(&str, &[u8])]) -> Zeroizing<Vec<u8>> {
    let room = |(name, bytes): &(&str, &[u8])| name.len() + bytes.len().div_ceil(3) * 4 + r#""":"","#.len();
    // A buffer that grew would leave what it held before behind.
    let mut json = Zeroizing::new(Vec::with_capacity("{}".len() + members.iter().map(room).sum::<usize>()));
    for (at, (name, bytes)) in members.iter().enumerate() {
        json.extend_from_slice(if at == 0 { b"{\"" } else { b",\"" });
        json.extend_from_slice(name.as_bytes());
        json.extend_from_slice(b"\":\"");
        let (start, length) = (json.len(), bytes.len().div_ceil(3) * 4);
        json.resize(start + length, 0);
        if let Some(place) = json.get_mut(start..) {
            // There is exactly as much room as it takes.
            let _ = BASE64_STANDARD.encode_slice(bytes, place);
        }
        json.push(b'"');
    }
    json.push(b'}');
    json
}

/// Proves that the store has the key, over the command's challenge.
pub(crate) async fn prove<J: Journal>(
    custodian: &Custodian<J>,
    tenant: TenantId,
    signed: &Arc<SignedCommand>,
) -> Answer {
    let node = &custodian.ports.node;
    let (Action::KeyProve(params), Some(key_id)) = (&signed.command.action, signed.command.key_id) else {
        return Err(Problem::new(ProblemType::UnknownAction, "that is not `key.prove`"));
    };
    let footprint = Footprint::of_key(key_id);
    let check = |view: &lifecycle::View| {
        let key = may_prove(view, signed, node.clock().now())?;
        Ok((key.identity.clone(), custodian.stores.of(key)?))
    };
    let (identity, store) = node.check(tenant, footprint, check).await?;
    let challenge = params.challenge.clone();
    let proof = tokio::task::spawn_blocking(move || store.prove(tenant, key_id, &challenge.0)).await;
    let proof =
        proof.map_err(|error| Problem::new(ProblemType::Unavailable, error))?.map_err(|error| problem(&error))?;
    let proof = match proof {
        Proof::Signature(signature) => json!({ "signature": Base64(signature) }),
        Proof::Mac { mac, check_value } => {
            json!({ "mac": Base64(mac.to_vec()), "check_value": Base64(check_value.to_vec()) })
        }
    };
    Ok(json!({ "ok": true, "identity": identity, "proof": proof }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_written_as_json_without_growing() {
        for (members, text) in [
            (&[("a", b"".as_slice())][..], r#"{"a":""}"#),
            (&[("data_key", &[1, 2, 3]), ("wrapped", &[0xff; 4])], r#"{"data_key":"AQID","wrapped":"/////w=="}"#),
        ] {
            let json = object(members);
            assert_eq!(std::str::from_utf8(&json).unwrap(), text);
            assert_eq!(serde_json::from_slice::<Value>(&json).unwrap().as_object().unwrap().len(), members.len());
            let room: usize = members.iter().map(|(name, bytes)| name.len() + bytes.len().div_ceil(3) * 4 + 6).sum();
            assert!(json.capacity() <= room + 2, "it has grown");
        }
    }
}
