//! A platform in a folder of its own, and a tenant's people who sign with keys of their own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use futures_util::StreamExt as _;
use journal::command::{Hand, KeyInHand, SignedCommand};
use journal::{Body, Record};
use journal_nats::permission::TenantUser;
use journal_nats::server::SyncInterval;
use keylatch::platform::{Deployment, Options, Platform, registrar};
use keystore::seal::{self, Purpose, SecretKey};
use lifecycle::{Judgement, Tenant};
use model::command::{self, Action};
use model::history::{HistoryAnswer, HistoryRequest};
use model::key::{Reason, ReasonKind, Template, TenantClass};
use model::people::PrincipalKind;
use model::text::Base64;
use model::*;
use rand_core::OsRng;
use serde_json::Value;
use service::clock;

/// A platform that is stopped when it is dropped, at the latest.
pub struct World {
    pub dir: tempfile::TempDir,
    pub platform: Platform,
    options: Options,
}

pub fn options(dir: &Path) -> Options {
    let (dir, clock) = (dir.to_owned(), service::Clock::default());
    Options { dir, cache: cache(), sync: SyncInterval::Always, keep_exports: None, master_key: Vec::new(), clock }
}

/// Where the test command keeps what it has downloaded.
pub fn cache() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("KEYLATCH_CACHE").map(std::path::PathBuf::from);
    Some(named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache")))
}

impl World {
    pub async fn start() -> Self {
        Self::start_as(|options| options).await
    }

    /// With these to vouch for checkpoints.
    pub async fn start_with(exporter_toml: &str) -> Self {
        Self::start_as(|options| {
            service::secret::ensure_folder(&options.dir).unwrap();
            std::fs::write(options.dir.join("exporter.toml"), exporter_toml).unwrap();
            options
        })
        .await
    }

    /// With other options.
    pub async fn start_as(change: impl FnOnce(Options) -> Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = change(options(&dir.path().join("platform")));
        let platform = Platform::start(options.clone()).await.unwrap();
        Self { dir, platform, options }
    }

    /// Stops the platform, changes something, and starts it again on the same folder.
    pub async fn restart_after(self, change: impl FnOnce(&Path)) -> Self {
        let Self { dir, platform, options } = self;
        platform.stop().await.unwrap();
        change(&options.dir);
        let platform = Platform::start(options.clone()).await.unwrap();
        Self { dir, platform, options }
    }

    /// Stops the platform and starts it again on the same folder.
    pub async fn restart(self) -> Self {
        self.restart_after(|_| ()).await
    }

    /// The platform's folder.
    pub fn path(&self) -> &Path {
        &self.options.dir
    }

    /// A new tenant with the scenario's people and policy, and a connection as one of its members.
    pub async fn tenant(&self, name: &str) -> Member {
        founded(self.platform.deployment(), &self.platform.url(), name).await
    }
}

/// A new tenant with the scenario's people and policy, and a connection as one of its members.
pub async fn founded(deployment: &Deployment, url: &str, name: &str) -> Member {
    let id = registrar::reserve(deployment, &name.parse().unwrap()).unwrap();
    let action = command::TenantCreate {
        name: name.parse().unwrap(),
        class: TenantClass::Ap,
        admins: ["ann", "bob"].map(|who| principal(who, "admin")).to_vec(),
        admin_quorum: 2,
    };
    let founding = signed(id, Action::TenantCreate(action), None, "ann,bob");
    let hash = registrar::create(deployment, founding.clone()).await.unwrap();
    assert_eq!(registrar::create(deployment, founding).await.unwrap(), hash, "founding can be repeated");
    let mut member = Member::connect(deployment, id, url).await;
    for (who, roles) in [("rae", "owner"), ("sam", "security"), ("lou", "privacy"), ("opa", "operator"), ("app", "app")]
    {
        let against = member.governance().await;
        let action = command::PrincipalEnroll { against, principal: principal(who, roles) };
        member.done(Action::PrincipalEnroll(action), None, "ann,bob").await;
    }
    let against = member.governance().await;
    let policy = lifecycle::scenario::policy();
    member.done(Action::PolicyAdopt(command::PolicyAdopt { against, policy }), None, "ann,bob").await;
    member
}

pub fn key_of(name: &str) -> SigningKey {
    SigningKey::from_bytes(Digest::of(name.as_bytes()).as_bytes())
}

pub fn principal(who: &str, roles: &str) -> Principal {
    let kind = if who == "app" { PrincipalKind::Workload } else { PrincipalKind::Person };
    let roles = roles.split(',').map(|role| role.parse().unwrap()).collect();
    let name: Name = who.parse().unwrap();
    Principal::new(KeyInHand::new(key_of(who)).public_key().clone(), name.clone(), kind, name, roles)
}

pub fn signed(tenant: TenantId, action: Action, key_id: Option<KeyId>, who: &str) -> Arc<SignedCommand> {
    signed_at(service::Clock::default().now(), tenant, action, key_id, who)
}

fn signed_at(now: Timestamp, tenant: TenantId, action: Action, key_id: Option<KeyId>, who: &str) -> Arc<SignedCommand> {
    let life = if action.operation().is_some() { command::LIFETIME_MAX_USE } else { command::LIFETIME_MAX };
    let command = Command { id: clock::command_id(), tenant, key_id, issued_at: now, expires_at: now + life, action };
    let hands: Vec<KeyInHand> = who.split(',').map(|who| KeyInHand::new(key_of(who))).collect();
    let hands: Vec<&dyn Hand> = hands.iter().map(|hand| hand as &dyn Hand).collect();
    Arc::new(SignedCommand::open(SignedCommand::sign(&command, &hands).unwrap()).unwrap())
}

/// A use of a key, to be sent as it is. Its result can't be opened.
pub fn use_wrap(tenant: TenantId, key: KeyId, who: &str) -> Arc<SignedCommand> {
    let reply_to = Base64(SecretKey::generate(&mut OsRng).public().to_vec());
    signed(tenant, Action::UseWrap(command::UseWrap { reply_to }), Some(key), who)
}

pub fn reason() -> Reason {
    Reason { kind: ReasonKind::Test, text: "a test".parse().unwrap() }
}

/// A connection with a tenant's credentials, and a reader that verifies what it hears.
pub struct Member {
    pub tenant: TenantId,
    pub client: async_nats::Client,
    pub state: Tenant,
    /// What everybody signs by.
    pub clock: service::Clock,
    events: async_nats::Subscriber,
}

impl Member {
    pub async fn connect(deployment: &Deployment, tenant: TenantId, url: &str) -> Self {
        Self::connect_as(TenantUser::Member, deployment, tenant, url).await
    }

    pub async fn connect_as(kind: TenantUser, deployment: &Deployment, tenant: TenantId, url: &str) -> Self {
        let user = deployment.operator.tenant(tenant).unwrap();
        let credentials = user.user(kind, &"tester".parse().unwrap()).unwrap();
        let client = journal_nats::connect::connect_as(url, &credentials, "tester").await.unwrap();
        let events = client.subscribe("keylatch.evt.>").await.unwrap();
        client.flush().await.unwrap();
        let clock = service::Clock::default();
        Self { tenant, client, state: Tenant::new(tenant, deployment.root), clock, events }
    }

    /// Sends a message on a subject and reads the answer.
    pub async fn ask(&self, subject: &str, payload: Vec<u8>) -> Value {
        let asked = self.client.request(subject.to_owned(), payload.into());
        let answer = tokio::time::timeout(Duration::from_secs(20), asked).await.expect("no answer").unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    }

    /// Sends a command as it is.
    pub async fn send(&self, signed: &SignedCommand) -> Value {
        let subject = model::subject::tenant::command(signed.command.action.name());
        self.ask(&subject, serde_json::to_vec(&signed.envelope).unwrap()).await
    }

    /// Signs and sends.
    pub async fn command(&self, action: Action, key: Option<KeyId>, who: &str) -> Value {
        self.send(&signed_at(self.clock.now(), self.tenant, action, key, who)).await
    }

    /// Signs, sends, and expects that it is done.
    pub async fn done(&mut self, action: Action, key: Option<KeyId>, who: &str) -> EventHash {
        let answer = self.command(action, key, who).await;
        assert_eq!(answer["ok"], true, "{answer:#}");
        self.until(|state| state.chain.head().sequence.0 >= answer["sequence"].as_u64().unwrap()).await;
        answer["hash"].as_str().unwrap().parse().unwrap()
    }

    /// Signs, sends, and expects this refusal.
    pub async fn refused(&self, action: Action, key: Option<KeyId>, who: &str, problem: ProblemType) {
        let answer = self.command(action, key, who).await;
        assert_eq!(answer["type"], problem.urn(), "{answer:#}");
        assert_eq!(answer["ok"], false);
    }

    /// Reads and verifies history until this holds; waits for events, not for time.
    pub async fn until(&mut self, holds: impl Fn(&Tenant) -> bool) {
        self.catch_up().await;
        while !holds(&self.state) {
            let next = tokio::time::timeout(Duration::from_secs(20), self.events.next());
            next.await.expect("no event that was waited for").expect("a subscription");
            self.catch_up().await;
        }
    }

    pub async fn history(&self, from: u64, max: u32) -> HistoryAnswer {
        let request = serde_json::to_vec(&HistoryRequest { from, max }).unwrap();
        serde_json::from_value(self.ask("keylatch.hist.get", request).await).unwrap()
    }

    /// Every event, in order.
    pub async fn whole_history(&self) -> Vec<model::history::HistoryEvent> {
        let mut events = Vec::new();
        loop {
            let answer = self.history(events.len() as u64 + 1, 1000).await;
            if answer.events.is_empty() {
                return events;
            }
            events.extend(answer.events);
        }
    }

    async fn catch_up(&mut self) {
        loop {
            let answer = self.history(self.state.chain.head().sequence.0 + 1, 100).await;
            if answer.events.is_empty() {
                return;
            }
            for event in answer.events {
                let record = Record { signature: event.signature, payload: event.payload.0.into() };
                assert_eq!(record.hash(), event.hash);
                let judgement = self.state.take_record(record.clone()).unwrap();
                assert_eq!(judgement, Judgement::Lawful, "{:?}", Body::parse(&record.payload));
            }
        }
    }

    pub async fn governance(&mut self) -> EventHash {
        self.until(|state| state.governance.is_some()).await;
        self.state.governance.as_ref().unwrap().head
    }

    pub fn key(&self, key: KeyId) -> &lifecycle::Key {
        &self.state.keys[&key]
    }

    /// A new key, in its store.
    pub async fn generate(&mut self, algorithm: Algorithm) -> KeyId {
        let key = clock::key_id();
        let action = Action::KeyGenerate(command::KeyGenerate { spec: spec(algorithm) });
        self.done(action, Some(key), "rae").await;
        self.until(|state| state.keys[&key].is_applied()).await;
        key
    }

    pub async fn request(&mut self, key: KeyId) -> EventHash {
        let action = command::ActivationRequest {
            affected_systems: vec!["a test".parse().unwrap()],
            ..command::ActivationRequest::of_key(self.key(key).identity.clone(), reason())
        };
        self.done(Action::ActivationRequest(action), Some(key), "rae").await
    }

    pub async fn approve(&mut self, key: KeyId, request: EventHash, who: &str) {
        let action = command::ActivationApprove::new(request);
        self.done(Action::ActivationApprove(action), Some(key), who).await;
    }

    /// From request to active in its store.
    pub async fn activate(&mut self, key: KeyId) {
        let request = self.request(key).await;
        self.approve(key, request, "sam").await;
        self.approve(key, request, "lou").await;
        self.until(|state| state.keys[&key].state == KeyState::Active && state.keys[&key].is_applied()).await;
    }

    /// Uses a key and opens the result.
    pub async fn use_key(&self, key: KeyId, who: &str, action: impl FnOnce(Base64) -> Action) -> Result<Value, String> {
        let secret = SecretKey::generate(&mut OsRng);
        let command = signed(self.tenant, action(Base64(secret.public().to_vec())), Some(key), who);
        let answer = self.send(&command).await;
        let Some(result) = answer.get("result") else { return Err(answer["type"].as_str().unwrap_or("?").to_owned()) };
        let info = seal::info(Purpose::Result, self.tenant, key, command.command.id);
        let opened = seal::open(&secret, &info, b"", &serde_json::from_value(result.clone()).unwrap()).unwrap();
        Ok(serde_json::from_slice(&opened).unwrap())
    }

    pub async fn wrap(&self, key: KeyId) -> Result<Value, String> {
        self.use_key(key, "app", |reply_to| Action::UseWrap(command::UseWrap { reply_to })).await
    }
}

pub fn spec(algorithm: Algorithm) -> KeySpec {
    KeySpec::new(
        "test-key".parse().unwrap(),
        Template {
            algorithm,
            workload: "model-storage".parse().unwrap(),
            responsibility: model::key::Responsibility::Application,
            jurisdiction: "EU".parse().unwrap(),
            classification: "secret".parse().unwrap(),
            environment: "test".parse().unwrap(),
            backend: "software".parse().unwrap(),
        },
    )
}

pub fn urn(problem: ProblemType) -> String {
    problem.urn()
}
