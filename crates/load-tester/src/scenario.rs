//! What a round does.

use std::sync::Mutex;
use std::time::Duration;

use journal::command::KeyInHand;
use model::command::{
    ActivationApprove, ActivationRequest, KeyGenerate, KeyResume, KeySuspend, LIFETIME_MAX, LIFETIME_MAX_USE, UseWrap,
};
use model::key::{KeyIdentity, Reason, ReasonKind, Responsibility, Template};
use model::{Action, Algorithm, EventHash, KeyId, KeySpec, KeyState, Name, subject};
use serde_json::json;
use service::clock;
use tokio::time::{Instant, timeout, timeout_at};

use crate::Error;
use crate::cast::Part;
use crate::client::{Acknowledged, Client, Outcome};
use crate::measure::{Begun, Measurement};
use crate::plan::{Mix, Scenario};
use crate::witness::{Watch, Witness, Word, lock, reply_to};

/// How long a round waits for what must follow by itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many events a `read` asks for.
const PAGE: u32 = 100;
/// How many keys are active, and how many requests open, before the measurement begins.
const PREPARED: usize = 32;

/// A tenant under load: its client, its witness, and what rounds need that was there before.
pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) witness: Witness,
    /// Keys that are active, each used by one round at a time.
    active: Mutex<Vec<KeyId>>,
    /// Requests that are open.
    open: Mutex<Vec<(KeyId, EventHash)>>,
    /// The newest event that is known of.
    newest: Mutex<(u64, Option<EventHash>)>,
    acknowledged: Mutex<Vec<Acknowledged>>,
}

impl Stage {
    pub(crate) fn new(client: Client, witness: Witness) -> Self {
        let newest = Mutex::new((1, None));
        Self {
            client,
            witness,
            active: Mutex::default(),
            open: Mutex::default(),
            newest,
            acknowledged: Mutex::default(),
        }
    }

    /// Prepares what the mix needs.
    pub(crate) async fn prepare(&self, mix: &Mix) -> Result<(), Error> {
        let bus = |problem: String| Error::Bus(format!("tenant `{}` can't be prepared: {problem}", self.client.name));
        if mix.has(Scenario::Approvals) {
            for _ in 0..PREPARED {
                let open = self.open_request().await.map_err(bus)?;
                lock(&self.open).push(open);
            }
        }
        if mix.has(Scenario::Suspend) || mix.has(Scenario::Use) {
            for _ in 0..PREPARED {
                let key = self.active_key().await.map_err(bus)?;
                lock(&self.active).push(key);
            }
        }
        Ok(())
    }

    /// Every command that was acknowledged so far.
    pub(crate) fn take_acknowledged(&self) -> Vec<Acknowledged> {
        std::mem::take(&mut *lock(&self.acknowledged))
    }

    /// One round.
    pub(crate) async fn round(&self, scenario: Scenario, due: Instant, measurement: &Measurement) {
        let whole = Begun::due(due);
        let outcome = match scenario {
            Scenario::Issue => self.issue(due, measurement).await,
            Scenario::Lifecycle => self.lifecycle(due, measurement).await,
            Scenario::Approvals => self.approvals(due, measurement).await,
            Scenario::Suspend => self.suspend(due, measurement).await,
            Scenario::Use => self.wrap(due, measurement).await,
            Scenario::Read => self.read(due, measurement).await,
            Scenario::Replay => self.replay(due, measurement).await,
        };
        measurement.done(scenario.name(), whole, &outcome);
    }

    // === Scenarios ===

    async fn issue(&self, due: Instant, measurement: &Measurement) -> Outcome<()> {
        let owner = self.somebody(Part::Owner)?;
        self.generate(&owner, clock::key_id(), due, Some(measurement)).await.map(drop)
    }

    async fn lifecycle(&self, due: Instant, measurement: &Measurement) -> Outcome<()> {
        let (key, request, mut watch) = self.requested(due, Some(measurement)).await?;
        self.approve_twice(key, request, Instant::now(), Some(measurement)).await?;
        let approved = Begun::now();
        let active = until_applied(&mut watch, KeyState::Active).await;
        measurement.done("approved to active", approved, &active);
        active
    }

    async fn approvals(&self, due: Instant, measurement: &Measurement) -> Outcome<()> {
        let prepared = lock(&self.open).pop();
        let (key, request) = match prepared {
            Some(prepared) => prepared,
            // What is prepared now is no part of what is measured: the round is due when it is there.
            None => {
                let prepared = self.open_request().await?;
                return self.approve_twice(prepared.0, prepared.1, Instant::now(), Some(measurement)).await;
            }
        };
        self.approve_twice(key, request, due, Some(measurement)).await
    }

    /// From the moment the suspension is sent until a use is refused: uses follow one another meanwhile.
    async fn suspend(&self, due: Instant, measurement: &Measurement) -> Outcome<()> {
        let key = match lock(&self.active).pop() {
            Some(key) => key,
            None => return Err("every key is in use".to_owned()),
        };
        let mut watch = self.witness.watch(key);
        let begun = Begun::due(due);
        let by = self.somebody(Part::Operator)?;
        let action = Action::KeySuspend(KeySuspend { reason: reason()? });
        let signed = self.client.sign(&by, action, Some(key), LIFETIME_MAX);
        let (suspended, refused) = tokio::join!(
            async {
                let suspended = self.acknowledge(self.client.record(&signed).await);
                measurement.done("key.suspend", begun, &suspended);
                suspended
            },
            self.used_until_refused(key),
        );
        measurement.done("suspend to refusal", begun, &refused);
        let (suspended, ()) = (suspended?, refused?);
        until_applied(&mut watch, KeyState::Suspended).await?;
        let resume = Begun::now();
        let by = self.somebody(Part::Operator)?;
        let action = Action::KeyResume(KeyResume { against: suspended.hash, reason: reason()? });
        let resumed =
            self.acknowledge(self.client.record(&self.client.sign(&by, action, Some(key), LIFETIME_MAX)).await);
        measurement.done("key.resume", resume, &resumed);
        resumed?;
        until_applied(&mut watch, KeyState::Active).await?;
        lock(&self.active).push(key);
        Ok(())
    }

    async fn wrap(&self, due: Instant, measurement: &Measurement) -> Outcome<()> {
        let key = lock(&self.active).pop().ok_or_else(|| "every key is in use".to_owned())?;
        let begun = Begun::due(due);
        let used = self.use_once(key).await;
        lock(&self.active).push(key);
        measurement.done("use.wrap", begun, &used);
        used
    }

    async fn read(&self, due: Instant, measurement: &Measurement) -> Outcome<()> {
        let begun = Begun::due(due);
        let from = lock(&self.newest).0.saturating_sub(u64::from(PAGE)).max(1);
        let read = self.client.history(from, PAGE).await;
        if let Ok(answer) = &read {
            let hash = answer.events.last().map(|event| event.hash);
            *lock(&self.newest) = (answer.last, hash);
        }
        let read = read.map(drop);
        measurement.done("hist.get", begun, &read);
        read
    }

    async fn replay(&self, due: Instant, measurement: &Measurement) -> Outcome<()> {
        let begun = Begun::due(due);
        let sequence = (lock(&self.newest).0 / 2).max(1);
        let asked = json!({ "sequence": sequence }).to_string();
        let answer = self.client.request(subject::tenant::HISTORY_AT.to_owned(), asked.into()).await;
        let answer = answer.and_then(|answer| match answer.starts_with(b"{\"type\"") {
            true => Err("refused".to_owned()),
            false => Ok(()),
        });
        measurement.done("hist.at", begun, &answer);
        answer
    }

    // === Parts of them ===

    /// A key that was made and whose activation is asked for.
    async fn requested(
        &self,
        due: Instant,
        measurement: Option<&Measurement>,
    ) -> Outcome<(KeyId, EventHash, Watch<'_>)> {
        let (owner, key) = (self.somebody(Part::Owner)?, clock::key_id());
        let mut watch = self.witness.watch(key);
        self.generate(&owner, key, due, measurement).await?;
        let generated = Begun::now();
        let identity = until_made(&mut watch).await;
        if let Some(measurement) = measurement {
            measurement.done("generated to kept", generated, &identity);
        }
        let request = ActivationRequest::of_key(identity?, reason()?);
        let begun = Begun::now();
        let signed = self.client.sign(&owner, Action::ActivationRequest(request), Some(key), LIFETIME_MAX);
        let requested = self.acknowledge(self.client.record(&signed).await);
        if let Some(measurement) = measurement {
            measurement.done("activation.request", begun, &requested);
        }
        Ok((key, requested?.hash, watch))
    }

    async fn open_request(&self) -> Outcome<(KeyId, EventHash)> {
        self.requested(Instant::now(), None).await.map(|(key, request, _)| (key, request))
    }

    async fn active_key(&self) -> Outcome<KeyId> {
        let (key, request, mut watch) = self.requested(Instant::now(), None).await?;
        self.approve_twice(key, request, Instant::now(), None).await?;
        until_applied(&mut watch, KeyState::Active).await.map(|()| key)
    }

    async fn generate(
        &self,
        owner: &KeyInHand,
        key: KeyId,
        due: Instant,
        measurement: Option<&Measurement>,
    ) -> Outcome<Acknowledged> {
        let begun = Begun::due(due);
        let action = Action::KeyGenerate(KeyGenerate { spec: spec()? });
        let generated =
            self.acknowledge(self.client.record(&self.client.sign(owner, action, Some(key), LIFETIME_MAX)).await);
        if let Some(measurement) = measurement {
            measurement.done("key.generate", begun, &generated);
        }
        generated
    }

    /// Two people approve, at the same time, as people do who were both told.
    async fn approve_twice(
        &self,
        key: KeyId,
        request: EventHash,
        due: Instant,
        measurement: Option<&Measurement>,
    ) -> Outcome<()> {
        let approve = async |part| {
            let begun = Begun::due(due);
            let by = self.somebody(part)?;
            let action = Action::ActivationApprove(ActivationApprove::new(request));
            let signed = self.client.sign(&by, action, Some(key), LIFETIME_MAX);
            let approved = self.acknowledge(self.client.record(&signed).await);
            if let Some(measurement) = measurement {
                measurement.done("activation.approve", begun, &approved);
            }
            approved
        };
        let (first, second) = tokio::join!(approve(Part::FirstApprover), approve(Part::SecondApprover));
        first.and(second).map(drop)
    }

    async fn use_once(&self, key: KeyId) -> Outcome<()> {
        let by = self.somebody(Part::Workload)?;
        let action = Action::UseWrap(UseWrap { reply_to: reply_to() });
        self.client.ask(&self.client.sign(&by, action, Some(key), LIFETIME_MAX_USE)).await.map(drop)
    }

    async fn used_until_refused(&self, key: KeyId) -> Outcome<()> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.use_once(key).await {
                Ok(()) => {}
                Err(problem) if problem == "key-not-active" => return Ok(()),
                Err(problem) => return Err(problem),
            }
        }
        Err("never-refused".to_owned())
    }

    fn somebody(&self, part: Part) -> Outcome<std::sync::Arc<KeyInHand>> {
        self.client.somebody(part).map_err(|error| error.to_string())
    }

    fn acknowledge(&self, outcome: Outcome<Acknowledged>) -> Outcome<Acknowledged> {
        if let Ok(acknowledged) = &outcome {
            lock(&self.acknowledged).push(*acknowledged);
        }
        outcome
    }
}

/// Waits until a key was made and the custodian has it.
async fn until_made(watch: &mut Watch<'_>) -> Outcome<KeyIdentity> {
    let deadline = Instant::now() + PATIENCE;
    let mut made = None;
    while let Ok(Some(word)) = timeout_at(deadline, watch.next()).await {
        match (word, &made) {
            (Word::Generated { identity }, _) => made = Some(identity),
            (Word::Applied(KeyState::PreActive), Some(identity)) => return Ok(identity.clone()),
            _ => {}
        }
    }
    Err("no-word-of-the-key".to_owned())
}

async fn until_applied(watch: &mut Watch<'_>, state: KeyState) -> Outcome<()> {
    let applied = timeout(PATIENCE, async {
        while let Some(word) = watch.next().await {
            if matches!(word, Word::Applied(other) if other == state) {
                return true;
            }
        }
        false
    });
    if applied.await == Ok(true) { Ok(()) } else { Err(format!("no-word-of-{state}")) }
}

fn name(text: &str) -> Outcome<Name> {
    text.parse().map_err(|error: model::id::Malformed| error.to_string())
}

fn reason() -> Outcome<Reason> {
    let text = "a load test".parse().map_err(|error: model::id::Malformed| error.to_string())?;
    Ok(Reason { kind: ReasonKind::Test, text })
}

/// What the keys of a load test are: what the policy of its tenants has a rule for.
fn spec() -> Outcome<KeySpec> {
    let template = Template {
        algorithm: Algorithm::Aes256Gcm,
        workload: name("general")?,
        responsibility: Responsibility::Application,
        jurisdiction: name("EU")?,
        classification: name("internal")?,
        environment: name("load-test")?,
        backend: name("software")?,
    };
    Ok(KeySpec::new(name("load")?, template))
}
