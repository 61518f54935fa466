//! One key from issue to its end, on everything real.

use std::time::{Duration, Instant};

use journal_nats::connect;
use keystore::Output;
use keystore::material::PublicKey;
use model::command::{self, Action};
use model::key::KeyIdentity;
use model::policy::AlgorithmRule;
use model::text::Base64;
use model::{Algorithm, KeySpec, KeyState, Policy, ProblemType, Span};
use serde_json::json;
use service::{Clock, clock};

use crate::world::{Member, World, reason, signed, spec, urn, use_wrap};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_born_latched_signed_for_activated_used_suspended_and_destroyed() {
    let world = World::start().await;
    let mut tenant = world.tenant("one").await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    assert_eq!(tenant.wrap(key).await, Err(urn(ProblemType::KeyNotActive)));

    let request = tenant.request(key).await;
    let approve = || Action::ActivationApprove(command::ActivationApprove::new(request));
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

/// A use is carried out once, also where the platform was stopped and started in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_use_is_not_repeated_across_a_restart() {
    let world = World::start().await;
    let mut tenant = world.tenant("one").await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    tenant.activate(key).await;
    let once = use_wrap(tenant.tenant, key, "app");
    assert_eq!(tenant.send(&once).await["ok"], true);
    let world = world.restart().await;
    let tenant = Member::connect(world.platform.deployment(), tenant.tenant, &world.platform.url()).await;
    let answer = tenant.send(&once).await;
    assert!(Clock::default().now() < once.command.expires_at, "the restart took too long for this test");
    assert_eq!(answer["type"], urn(ProblemType::UseRepeated));
    assert!(tenant.wrap(key).await.is_ok());
}

/// A policy that wants fresher word on the chain than custodians are content with by themselves gets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_stays_usable_under_a_policy_with_a_short_staleness() {
    let world = World::start().await;
    let mut tenant = world.tenant("one").await;
    let (against, limit) = (tenant.governance().await, Span::from_secs(1));
    let policy = Policy { max_staleness: limit, ..lifecycle::scenario::policy() };
    tenant.done(Action::PolicyAdopt(command::PolicyAdopt { against, policy }), None, "ann,bob").await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    tenant.activate(key).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(tenant.wrap(key).await.map(|_| ()), Ok(()), "after {:?}", began.elapsed());
    }
}

/// However often a command is sent, and however close together: each copy is answered as the first.
#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_command_sent_at_once_are_answered_alike() {
    let world = World::start().await;
    let (tenant, platform) = (world.tenant("one").await, &world.platform.ports().client);
    for _ in 0..40 {
        let action = Action::KeyGenerate(command::KeyGenerate { spec: spec(Algorithm::Aes256Gcm) });
        let (tenant, generate) = (&tenant, &signed(tenant.tenant, action, Some(clock::key_id()), "rae"));
        // One behind the other, so that some come while the first is being recorded, and some when it just was.
        let copies = (0..8).map(|place| async move {
            for _ in 0..3 * place {
                connect::round_trip(platform).await.unwrap();
            }
            tenant.send(generate).await
        });
        let answers = futures_util::future::join_all(copies).await;
        assert_eq!(answers[0]["ok"], true, "{:#}", answers[0]);
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    }
}

/// Every algorithm from birth to use, as a tenant's program sees it: signatures verify under the public key that people signed
/// for, and what anybody wraps with it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_algorithm_do_what_their_public_halves_say() {
    let world = World::start().await;
    let mut tenant = world.tenant("one").await;
    let against = tenant.governance().await;
    let algorithms = Algorithm::ALL.map(|algorithm| AlgorithmRule::new(algorithm, Span::from_secs(24 * 3600))).to_vec();
    let application = json!({ "schema": 4, "rule": { "when": { "responsibility": ["application"] } } });
    let policy = Policy { algorithms, ..lifecycle::scenario::patched_policy(&application) };
    tenant.done(Action::PolicyAdopt(command::PolicyAdopt { against, policy }), None, "ann,bob").await;
    for algorithm in Algorithm::ALL {
        let key = clock::key_id();
        let spec = KeySpec { asset: Some("weights".parse().unwrap()), ..spec(algorithm) };
        let generate = Action::KeyGenerate(command::KeyGenerate { spec });
        tenant.done(generate, Some(key), "rae").await;
        tenant.until(|state| state.keys[&key].is_applied()).await;
        tenant.activate(key).await;
        let public = match &tenant.key(key).identity {
            KeyIdentity::PublicKey(der) => Some(PublicKey::from_spki(&der.0).unwrap()),
            _ => None,
        };
        if let Some(bytes) = algorithm.digest_bytes() {
            let digest = Base64(vec![7; bytes]);
            let sign = |reply_to| Action::UseSign(command::UseSign { reply_to, digest: digest.clone() });
            let signed = tenant.use_key(key, "app", sign).await.unwrap();
            let signature: Base64 = signed["signature"].as_str().unwrap().parse().unwrap();
            assert!(public.unwrap().verifies(&digest.0, &signature.0), "{algorithm}");
            continue;
        }
        let ours = tenant.wrap(key).await.unwrap();
        let mut pairs = vec![(ours["wrapped"].clone(), ours["data_key"].clone())];
        if let Some(Output::Wrapped { data_key, wrapped }) =
            public.and_then(|public| public.wrap(&mut rand_core::OsRng).unwrap())
        {
            pairs.push((json!(Base64(wrapped)), json!(Base64(data_key.to_vec()))));
        }
        for (wrapped, data_key) in pairs {
            let wrapped: Base64 = wrapped.as_str().unwrap().parse().unwrap();
            let unwrap = |reply_to| Action::UseUnwrap(command::UseUnwrap { reply_to, wrapped: wrapped.clone() });
            assert_eq!(tenant.use_key(key, "app", unwrap).await.unwrap()["data_key"], data_key, "{algorithm}");
        }
    }
}
