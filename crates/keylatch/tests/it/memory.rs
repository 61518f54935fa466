//! A platform in memory: the rules and records of a scenario, a key store, history and live events, and faults on demand.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use journal::command::{KeyInHand, SignedCommand};
use journal::port::{Arrived, News};
use journal::statement;
use keylatch::bus::{Bus, NoAnswer};
use keylatch::{Clock, Screen, Session};
use keystore::memory::MemoryStore;
use keystore::seal::{self, Purpose};
use keystore::{KeyStore as _, Output, Permit, Proof, Use};
use lifecycle::decide::{Applied, usage};
use lifecycle::manifest::List;
use lifecycle::scenario::Scenario;
use lifecycle::{Duty, Footprint, Input, Rejection};
use model::history::{HistoryAnswer, HistoryEvent, HistoryRequest};
use model::statement::Generated;
use model::text::Base64;
use model::{Action, Digest, Envelope, EventHash, KeyId, Problem, ProblemType, Sequence, ServiceRole, Span, dsse};
use rand_core::OsRng;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// The platform, and the clock that everybody goes by.
pub(crate) struct Platform {
    inside: Mutex<Inside>,
    pub(crate) clock: Clock,
}

pub(crate) struct Inside {
    pub(crate) scenario: Scenario,
    pub(crate) faults: Faults,
    /// How often each command reached a service.
    pub(crate) asked: usize,
    store: MemoryStore,
    documents: HashMap<Digest, BTreeMap<u16, String>>,
    listeners: Vec<UnboundedSender<News>>,
    told: usize,
}

/// What goes wrong.
#[derive(Default)]
pub(crate) struct Faults {
    /// So many commands find nobody.
    pub(crate) nobody: usize,
    /// So many answers are lost after the command was carried out.
    pub(crate) lost_answers: usize,
    /// So many commands are answered with this problem.
    pub(crate) refusals: Vec<ProblemType>,
    /// Live events don't come.
    pub(crate) deaf: bool,
    /// Answers name another event than was recorded.
    pub(crate) lies: bool,
    /// The history changes a byte of each payload.
    pub(crate) history_lies: bool,
    /// The history does not answer.
    pub(crate) history_gone: bool,
    /// The custodian does not bring its store to the chain's state.
    pub(crate) custodian_sleeps: bool,
}

impl Platform {
    pub(crate) fn new() -> Arc<Self> {
        let scenario = Scenario::new();
        let clock = Clock::set_at(scenario.now);
        let store = MemoryStore::new("software".parse().unwrap(), Box::new(OsRng)).unwrap();
        let (listeners, faults, told) = (Vec::new(), Faults::default(), scenario.records.len());
        let documents = HashMap::new();
        let inside = Mutex::new(Inside { scenario, faults, asked: 0, store, documents, listeners, told });
        Arc::new(Self { inside, clock })
    }

    /// What is inside, to look at and to change.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Inside) -> T) -> T {
        look(&mut self.inside.lock().unwrap())
    }

    /// A session of one of the scenario's people.
    pub(crate) fn session(self: &Arc<Self>, who: &str) -> Session {
        self.reader().signing_with(Arc::new(KeyInHand::new(key_of(who))))
    }

    /// A session of nobody.
    pub(crate) fn reader(self: &Arc<Self>) -> Session {
        let (tenant, root) = self.with(|inside| {
            let tenant = &inside.scenario.tenant;
            (tenant.chain.tenant(), tenant.root)
        });
        Session::new(self.clone(), tenant, root).with_clock(self.clock.clone())
    }

    /// A session of one of the people, that has read everything.
    pub(crate) async fn ready(self: &Arc<Self>, who: &str) -> Session {
        let mut session = self.session(who);
        session.refresh(&mut Screen::silent()).await.unwrap();
        session
    }

    /// Lets time pass, and everything happen that is due.
    pub(crate) fn wait(&self, span: &str) {
        let now = self.clock.now() + span.parse::<Span>().unwrap();
        self.clock.turn(now);
        self.with(|inside| {
            inside.scenario.now = now;
            inside.settle();
        });
    }
}

/// The key of one of the scenario's people.
pub(crate) fn key_of(who: &str) -> SigningKey {
    SigningKey::from_bytes(Digest::of(who.as_bytes()).as_bytes())
}

type Answer = Result<Value, Problem>;

impl Inside {
    fn answer(&mut self, subject: &str, payload: &[u8]) -> Answer {
        if subject == "keylatch.hist.get" {
            return Ok(self.history(&serde_json::from_slice(payload).unwrap()));
        }
        let malformed = |error: &dyn std::fmt::Display| Problem::new(ProblemType::Malformed, error);
        let envelope: Envelope = serde_json::from_slice(payload).map_err(|error| malformed(&error))?;
        let signed = Arc::new(SignedCommand::open(envelope).map_err(|error| malformed(&error))?);
        assert_eq!(subject, format!("keylatch.cmd.{}", signed.command.action.name()));
        let answer = match &signed.command.action {
            Action::KeyProve(params) => self.prove(&signed, &params.challenge.0),
            action if action.operation().is_some() => self.use_key(&signed),
            _ => self.record(&signed),
        };
        self.settle();
        answer
    }

    fn history(&self, request: &HistoryRequest) -> Value {
        let records = &self.scenario.records;
        let event = |(place, record): (usize, &journal::Record)| {
            let mut payload = record.payload.to_vec();
            if self.faults.history_lies {
                payload[100] ^= 1;
            }
            HistoryEvent {
                sequence: place as u64 + 1,
                payload: Base64(payload),
                signature: record.signature.clone(),
                hash: record.hash(),
            }
        };
        // Pages are small, so that there are several.
        let page = (request.max as usize).min(7);
        let events = records.iter().enumerate().skip(request.from as usize - 1).take(page).map(event).collect();
        json!(HistoryAnswer { events, last: records.len() as u64, checkpoint: None })
    }

    fn record(&mut self, signed: &Arc<SignedCommand>) -> Answer {
        if let Some(receipt) = self.scenario.tenant.receipts.get(&signed.command.id) {
            if receipt.digest != signed.digest {
                return Err(Problem::new(ProblemType::CommandIdReused, "other bytes"));
            }
            return Ok(json!({ "ok": true, "sequence": receipt.sequence.0, "hash": receipt.hash }));
        }
        let (role, input) = match &signed.command.action {
            Action::KeyGenerate(_) => (ServiceRole::Issuer, self.generate(signed)?),
            Action::KeyRevalidate(_) => (ServiceRole::Issuer, Input::Command(signed.clone())),
            Action::KeyActivate(_)
            | Action::KeySuspend(_)
            | Action::KeyResume(_)
            | Action::KeyDeactivate(_)
            | Action::KeyCompromise(_)
            | Action::KeyDestroy(_) => (ServiceRole::Activator, Input::Command(signed.clone())),
            Action::ControlEvaluate(_) => (ServiceRole::EvidenceExporter, Input::Command(signed.clone())),
            _ => (ServiceRole::Approver, Input::Command(signed.clone())),
        };
        self.scenario.submit(role, input)?;
        if let Action::DocumentStore(store) = &signed.command.action {
            self.documents.entry(store.document).or_default().insert(store.part, store.text.clone());
        }
        let head = self.scenario.tenant.chain.head();
        let hash = if self.faults.lies { model::EventHash::new([7; 32]) } else { head.hash };
        Ok(json!({ "ok": true, "sequence": head.sequence.0, "hash": hash }))
    }

    fn generate(&self, signed: &Arc<SignedCommand>) -> Result<Input, Problem> {
        let (Action::KeyGenerate(params), Some(key_id)) = (&signed.command.action, signed.command.key_id) else {
            panic!("not a birth");
        };
        let view = self.scenario.tenant.view(Input::Command(signed.clone()).footprint());
        lifecycle::decide::may_generate(&view, signed, self.scenario.now)?;
        let tenant = self.scenario.tenant.chain.tenant();
        let algorithm = params.spec.algorithm;
        let generated = self.store.generate(tenant, key_id, algorithm, signed.digest).unwrap();
        let said = Generated {
            tenant,
            key_id,
            algorithm,
            identity: generated.identity,
            store: "software".parse().unwrap(),
            wrapping_key: generated.wrapping_key,
            command: signed.digest,
            seal_key: Base64(self.store.seal_key().to_vec()),
            sealing: None,
            generated_at: self.scenario.now,
        };
        let custodian = self.scenario.service(ServiceRole::Custodian);
        let envelope = custodian.sign_statement(dsse::GENERATED, &said);
        let (ring, role) = (self.scenario.tenant.ring(), ServiceRole::Custodian);
        let statement = statement::open(&envelope, dsse::GENERATED, role, &ring, tenant, self.scenario.now).unwrap();
        Ok(Input::Generated { command: signed.clone(), statement })
    }

    fn prove(&self, signed: &SignedCommand, challenge: &[u8]) -> Answer {
        let (tenant, key_id) = (signed.command.tenant, signed.command.key_id.unwrap());
        let proof = match self.store.prove(tenant, key_id, challenge).unwrap() {
            Proof::Signature(signature) if self.faults.lies => json!({ "signature": Base64(vec![0; signature.len()]) }),
            Proof::Signature(signature) => json!({ "signature": Base64(signature) }),
            Proof::Mac { mac, check_value } => {
                json!({ "mac": Base64(mac.to_vec()), "check_value": Base64(check_value.to_vec()) })
            }
        };
        Ok(json!({ "ok": true, "proof": proof }))
    }

    fn use_key(&self, signed: &Arc<SignedCommand>) -> Answer {
        let command = &signed.command;
        let (tenant, key_id) = (command.tenant, command.key_id.unwrap());
        let view = self.scenario.tenant.view(Input::Command(signed.clone()).footprint());
        let permit = usage::may_use(&view, signed, self.scenario.now, Some(Span::ZERO))?;
        let permit = if permit.deactivated { Permit::OldDataToo } else { Permit::WhileActive };
        let asked = match &command.action {
            Action::UseSign(params) => Use::Sign { digest: &params.digest.0 },
            Action::UseVerify(params) => Use::Verify { digest: &params.digest.0, signature: &params.signature.0 },
            Action::UseWrap(_) => Use::Wrap,
            Action::UseUnwrap(params) => Use::Unwrap { wrapped: &params.wrapped.0 },
            other => panic!("the tests don't {}", other.name()),
        };
        let output = self.store.perform(tenant, key_id, &asked, permit);
        let output = output.map_err(|error| Problem::new(ProblemType::CiphertextInvalid, error))?;
        let base64 = |bytes: &[u8]| Base64(bytes.to_vec());
        let result = match output {
            Output::Signature(bytes) => json!({ "signature": base64(&bytes) }),
            Output::Verified(valid) => json!({ "valid": valid != self.faults.lies }),
            Output::Wrapped { data_key, wrapped } => {
                json!({ "data_key": base64(&data_key[..]), "wrapped": base64(&wrapped) })
            }
            Output::DataKey(bytes) => json!({ "data_key": base64(&bytes[..]) }),
            other => panic!("the tests don't expect {other:?}"),
        };
        let info = seal::info(Purpose::Result, tenant, key_id, command.id);
        let reply_to = command.action.reply_to().unwrap();
        let sealed = seal::seal(&reply_to.0, &info, b"", result.to_string().as_bytes(), &mut OsRng).unwrap();
        Ok(json!({ "ok": true, "result": sealed }))
    }

    /// Everything that is due happens, the store follows, and listeners hear of it.
    pub(crate) fn settle(&mut self) {
        self.scenario.perform("due");
        self.settle_many();
        self.adopt();
        let behind: Vec<KeyId> =
            self.scenario.tenant.keys.values().filter(|key| !key.is_applied()).map(|key| key.id).collect();
        for key_id in behind.into_iter().filter(|_| !self.faults.custodian_sleeps) {
            let key = self.scenario.tenant.keys[&key_id].clone();
            // Keys that a script made are in no store.
            let Ok(done) = self.store.apply(self.scenario.tenant.chain.tenant(), key_id, key.state) else { continue };
            let (before, after) = (done.before, done.after);
            let applied = Applied { key_id, state: key.state, store: key.store, before, after, cause: key.transition };
            self.scenario.submit(ServiceRole::Custodian, Input::Applied(applied)).unwrap();
        }
        let tenant = self.scenario.tenant.chain.tenant();
        for (place, record) in self.scenario.records.iter().enumerate().skip(self.told) {
            let sequence = Sequence(place as u64 + 1);
            let news = News::Event(Arrived { tenant, sequence, record: record.clone() });
            if !self.faults.deaf {
                self.listeners.retain(|listener| listener.send(news.clone()).is_ok());
            }
        }
        self.told = self.scenario.records.len();
    }

    /// What is due of requests for many keys.
    fn settle_many(&mut self) {
        loop {
            let (now, tenant) = (self.scenario.now, &self.scenario.tenant);
            let open = tenant.requests.values().filter(|request| request.key_id.is_none() && request.closed.is_none());
            let dues = open.flat_map(|request| lifecycle::due(&tenant.view(Footprint::of_request(request.hash))));
            let dues: Vec<Duty> =
                dues.filter(|due| due.at <= now && due.duty.request().is_some()).map(|due| due.duty).collect();
            let before = self.scenario.records.len();
            for duty in dues {
                match duty {
                    Duty::ActivateMembers(request) => self.activate_members(request),
                    duty => drop(self.scenario.submit(duty.role(), Input::Due(duty))),
                }
            }
            if self.scenario.records.len() == before {
                return;
            }
        }
    }

    /// Takes in what baselines list.
    fn adopt(&mut self) {
        let baselines = self.scenario.tenant.governance.as_ref().map(|governance| governance.baselines.clone());
        for baseline in baselines.unwrap_or_default().into_values() {
            let text: String = self.documents[&baseline.manifest.document].values().map(String::as_str).collect();
            let (list, lines) = lifecycle::baseline::parse(&text).unwrap();
            for (line, (key_id, membership)) in lines.into_iter().zip(list.memberships()) {
                if !self.scenario.tenant.keys.contains_key(&key_id) {
                    let adopting = lifecycle::decide::Adopting { baseline: baseline.hash, line, membership };
                    self.scenario.submit(ServiceRole::Issuer, Input::Adopted(adopting)).unwrap();
                }
            }
        }
    }

    fn activate_members(&mut self, request: EventHash) {
        let manifest = self.scenario.tenant.requests[&request].manifest.unwrap();
        let text: String = self.documents[&manifest.document].values().map(String::as_str).collect();
        for (key_id, membership) in List::parse(&text).unwrap().memberships() {
            if self.scenario.tenant.keys[&key_id].can_be_activated() {
                let member = Input::Member { key_id, request, membership };
                let _ = self.scenario.submit(ServiceRole::Activator, member);
            }
        }
    }

    /// Tells listeners something.
    pub(crate) fn tell(&mut self, news: &News) {
        self.listeners.retain(|listener| listener.send(news.clone()).is_ok());
    }

    fn commanded(&mut self, subject: &str, payload: &[u8]) -> Result<Answer, NoAnswer> {
        self.asked += 1;
        if self.faults.nobody > 0 {
            self.faults.nobody -= 1;
            return Err(NoAnswer::NobodyListens(subject.to_owned()));
        }
        if let Some(problem) = self.faults.refusals.pop() {
            return Ok(Err(Problem::from(Rejection::new(problem, "as the test wants it"))));
        }
        let answer = self.answer(subject, payload);
        if self.faults.lost_answers > 0 {
            self.faults.lost_answers -= 1;
            return Err(NoAnswer::TimedOut(subject.to_owned()));
        }
        Ok(answer)
    }
}

impl Bus for Platform {
    fn request(&self, subject: String, payload: Bytes, _: Duration) -> BoxFuture<'_, Result<Bytes, NoAnswer>> {
        let now = self.clock.now();
        let answer = self.with(|inside| {
            inside.scenario.now = now;
            match subject.as_str() {
                "keylatch.hist.get" if inside.faults.history_gone => Err(NoAnswer::TimedOut(subject)),
                "keylatch.hist.get" => Ok(inside.answer(&subject, &payload)),
                _ => inside.commanded(&subject, &payload),
            }
        });
        let bytes = answer.map(|answer| match answer {
            Ok(value) => Bytes::from(serde_json::to_vec(&value).unwrap()),
            Err(problem) => Bytes::from(serde_json::to_vec(&problem).unwrap()),
        });
        Box::pin(std::future::ready(bytes))
    }

    fn events(&self) -> BoxFuture<'_, Result<BoxStream<'static, News>, NoAnswer>> {
        let (sender, receiver) = unbounded_channel();
        self.with(|inside| inside.listeners.push(sender));
        let news = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
        Box::pin(std::future::ready(Ok(news.boxed())))
    }
}
