//! One key from issue to its end, on everything real.

use model::command::{self, Action};
use model::{Algorithm, KeyState, ProblemType};

use crate::world::{World, reason, urn};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_born_latched_signed_for_activated_used_suspended_and_destroyed() {
    let world = World::start().await;
    let mut tenant = world.tenant("one").await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    assert_eq!(tenant.wrap(key).await, Err(urn(ProblemType::KeyNotActive)));

    let request = tenant.request(key).await;
    let approve = || Action::ActivationApprove(command::ActivationApprove { request, note: None });
    tenant.refused(approve(), Some(key), "rae", ProblemType::RoleMissing).await;
    tenant.approve(key, request, "sam").await;
    assert_eq!(tenant.wrap(key).await, Err(urn(ProblemType::KeyNotActive)));
    tenant.approve(key, request, "lou").await;
    tenant.until(|state| state.keys[&key].state == KeyState::Active && state.keys[&key].is_applied()).await;

    let wrapped = tenant.wrap(key).await.unwrap();
    let wrapped_key: model::text::Base64 = wrapped["wrapped"].as_str().unwrap().parse().unwrap();
    let unwrap = |reply_to| Action::UseUnwrap(command::UseUnwrap { reply_to, wrapped: wrapped_key.clone() });
    assert_eq!(tenant.use_key(key, "app", unwrap).await.unwrap()["data_key"], wrapped["data_key"]);
    assert_eq!(tenant.use_key(key, "sam", unwrap).await, Err(urn(ProblemType::RoleMissing)));

    tenant.done(Action::KeySuspend(command::KeySuspend { reason: reason() }), Some(key), "opa").await;
    assert_eq!(tenant.use_key(key, "app", unwrap).await, Err(urn(ProblemType::KeyNotActive)));
    let against = tenant.key(key).head;
    tenant.done(Action::KeyResume(command::KeyResume { against, reason: reason() }), Some(key), "opa").await;
    tenant.until(|state| state.keys[&key].is_applied()).await;
    assert!(tenant.use_key(key, "app", unwrap).await.is_ok());

    let against = tenant.key(key).head;
    let destroy = command::KeyDestroy { against, reason: reason() };
    tenant.done(Action::KeyDestroy(destroy), Some(key), "opa,sam").await;
    tenant.until(|state| state.keys[&key].is_applied()).await;
    assert_eq!(tenant.use_key(key, "app", unwrap).await, Err(urn(ProblemType::KeyNotActive)));

    let world = world.restart().await;
    drop(world);
}
