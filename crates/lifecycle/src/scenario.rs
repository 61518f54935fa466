//! A whole tenant from a script: real keys, real signatures, real events, a clock that only the script turns.
//!
//! For tests and vectors, here and in the crates that build on the rules (feature `testing`). One line is one step and
//! what comes of it, such as `approve k1 by sam => activation.approved`. Every recorded event is also judged by a second
//! reader that has seen nothing but the bytes, and must agree.
#![expect(clippy::expect_used, clippy::panic, reason = "a script that makes no sense is a mistake in the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use journal::command::{Hand, KeyInHand, SignedCommand};
use journal::note::Checkpoint;
use journal::{Body, Record, ServiceKey, authority, statement};
use model::authority::{Service, Statement, Tenants};
use model::command::Sealed;
use model::event::{AuthorityChanged, CustodyDrifted, CustodyReconciled, Inventory, Place};
use model::evidence::{Drift, Probe, ProbeOutcome};
use model::key::{KeyIdentity, Reason, ReasonKind, Responsibility, Template, TenantClass};
use model::people::{KeyType, PrincipalKind, SealingKey};
use model::policy::{AlgorithmRule, KeyRules, Operations, ParentRules, PeopleRules, Permission, Rule, Stage};
use model::statement::{Generated, SealedShare, Sealing};
use model::text::Base64;
use model::{
    Action, Algorithm, Command, CommandId, Digest, Envelope, Event, EventHash, EventId, EventType, Fingerprint, KeyId,
    KeySpec, KeyState, Name, Policy, Principal, ProblemType, Role, Sequence, ServiceRole, Span, TenantId, Timestamp,
    command, dsse,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

use crate::baseline::{self, Line};
use crate::decide::{Adopting, Applied, Authorised, Duty, Exported, Probed, usage};
use crate::manifest::List;
use crate::sealing::{self, Plan};
use crate::{Due, Footprint, Input, Judgement, Prepared, Rejection, Tenant, decide, due};

/// When every script begins.
pub const BEGINNING: &str = "2026-01-01T00:00:00.000Z";

/// The tenant, its people and services, and everything recorded so far.
pub struct Scenario {
    /// The state, as the services that recorded it have it.
    pub tenant: Tenant,
    /// The state, as a reader has it who was given the bytes alone.
    pub reader: Tenant,
    /// Every record, in order.
    pub records: Vec<Record>,
    /// The time.
    pub now: Timestamp,
    /// Whether the two states are compared, whole, after every event; that the reader finds it lawful is checked in any case.
    /// Whoever makes a very long history turns it off.
    pub compares: bool,
    root: KeyInHand,
    services: BTreeMap<ServiceRole, ServiceKey>,
    rules: u32,
    made: u64,
    /// The lists that were put into the log.
    lists: Vec<List>,
}

/// A name in the script, as the type it stands for.
fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name in the script")
}

/// The key that belongs to a name, always the same.
fn key_of(name: &str) -> SigningKey {
    SigningKey::from_bytes(Digest::of(name.as_bytes()).as_bytes())
}

/// A UUIDv7 that belongs to a number.
fn uuid(kind: u8, number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[0] = 1;
    bytes[6] = 0x70;
    bytes[7] = kind;
    bytes[8..].copy_from_slice(&(number & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000).to_be_bytes());
    bytes
}

/// The key that a script calls `k<number>`.
pub fn key_id(label: &str) -> KeyId {
    let number = label.strip_prefix('k').and_then(|number| number.parse().ok()).expect("a key such as `k1`");
    KeyId::from_bytes(uuid(b'k', number)).expect("a UUIDv7")
}

/// The policy that every script starts with: two stages, `security` and `privacy`, one person each; an hour in
/// pre-activation, a request good for 30 minutes, an approval for 20, a day of use.
pub fn policy() -> Policy {
    let roles = |roles: &[&str]| roles.iter().map(|role| name(role)).collect::<BTreeSet<Role>>();
    let operator = || Permission { roles: roles(&["operator"]), quorum: 1 };
    let stage = |role: &str| Stage::of(name(role), 1);
    Policy {
        schema: 1,
        name: name("scenario"),
        admin_quorum: 2,
        max_staleness: Span::from_secs(30),
        keys: KeyRules::new(roles(&["owner"]), Span::from_secs(3600)),
        algorithms: Algorithm::FIRST
            .map(|algorithm| AlgorithmRule::new(algorithm, Span::from_secs(24 * 3600)))
            .to_vec(),
        operations: Operations {
            activate: operator(),
            suspend: operator(),
            resume: operator(),
            deactivate: operator(),
            compromise: operator(),
            destroy: Permission { roles: roles(&["operator", "security"]), quorum: 2 },
        },
        people: PeopleRules::default(),
        holds: None,
        parents: ParentRules::default(),
        stores: Box::default(),
        evidence: Box::default(),
        packs: BTreeSet::new(),
        facts: Vec::new(),
        rules: vec![Rule {
            request_valid_for: Span::from_secs(30 * 60),
            approval_valid_for: Span::from_secs(20 * 60),
            process_when_deactivated: true,
            ..Rule::new(
                name("every-key"),
                roles(&["owner"]),
                vec![stage("security"), stage("privacy")],
                roles(&["app"]),
            )
        }],
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self::new()
    }
}

impl Scenario {
    /// A tenant of its admins ann, bob and cid, and nothing else yet.
    pub fn bare() -> Self {
        Self::bare_under(crate::RULES)
    }

    /// The same under a rules epoch.
    pub fn bare_under(rules: u32) -> Self {
        let root = KeyInHand::new(key_of("root"));
        let instance = name::<Name>("1");
        let service = |role: ServiceRole| (role, ServiceKey::new(key_of(role.name()), role, &instance));
        let id = TenantId::from_bytes(*key_of("tenant").verifying_key().as_bytes());
        let pinned = root.public_key().fingerprint();
        let mut scenario = Self {
            tenant: Tenant::new(id, pinned),
            reader: Tenant::new(id, pinned),
            records: Vec::new(),
            now: name(BEGINNING),
            compares: true,
            root,
            services: ServiceRole::ALL.into_iter().map(service).collect(),
            rules,
            made: 0,
            lists: Vec::new(),
        };
        scenario.expect("found by ann,bob,cid", "tenant.created");
        scenario
    }

    /// A tenant with policy and people: rae and kim own keys; sam and sue are `security`, lou is `privacy`, dee is both;
    /// opa and oto operate; app is a workload; bot is a workload that was given `security`; ray is rae by another key.
    pub fn new() -> Self {
        Self::under(crate::RULES)
    }

    /// The same under a rules epoch.
    pub fn under(rules: u32) -> Self {
        let mut scenario = Self::bare_under(rules);
        for (who, roles) in [
            ("rae", "owner,security"),
            ("kim", "owner"),
            ("sam", "security"),
            ("sue", "security"),
            ("lou", "privacy"),
            ("dee", "security,privacy"),
            ("opa", "operator"),
            ("oto", "operator"),
            ("app", "app"),
            ("bot", "security"),
            ("ray", "security"),
        ] {
            scenario.expect(&format!("enroll {who} {roles} by ann,bob"), "principal.enrolled");
        }
        scenario.expect("adopt by ann,bob", "policy.adopted");
        scenario
    }

    /// Runs a script: `step => outcome` a line; blank lines and `#` comments are passed over.
    ///
    /// # Panics
    /// Where an outcome is another than the script says.
    pub fn run(&mut self, script: &str) {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.split_once("=>") {
                Some((step, outcome)) => self.expect(step.trim(), outcome.trim()),
                None => self.expect(line, ""),
            }
        }
    }

    fn expect(&mut self, step: &str, outcome: &str) {
        let came = self.perform(step);
        assert_eq!(came, outcome, "`{step}` at {}", self.now);
    }

    /// One step: what came of it, as the name of the event, or `refused <problem>`.
    pub fn perform(&mut self, step: &str) -> String {
        if step.contains('{') {
            let recorded = self.perform_json(step);
            return outcome(&recorded);
        }
        let words: Vec<&str> = step.split_whitespace().collect();
        let recorded = match words.as_slice() {
            ["wait", span] => {
                self.now = self.now + name::<Span>(span);
                return String::new();
            }
            ["back", span] => {
                self.set_back(self.now.before(name::<Span>(span)).max(name(BEGINNING)));
                return String::new();
            }
            ["due"] => return self.everything_due(),
            ["checkpoint"] => self.checkpoint(),
            ["export", from @ .., "by", who] => self.export(from, who),
            ["export"] => self.submit(ServiceRole::EvidenceExporter, self.exported(None, 1)),
            ["probe", key, what, outcome @ .., "by", who] => self.probe(key, what, outcome, who),
            ["apply", key] => self.apply(key),
            ["drift", key, drift] => self.drift(key, drift),
            ["reconcile", store, counts] => self.reconcile(store, counts),
            ["duty", duty, key] => self.submit(duty_role(duty), Input::Due(duty_of(duty, key))),
            ["member", key, "of", keys] => self.member(key, keys),
            ["store", keys, "by", who] => self.store(self.list(keys), who),
            ["inventory", keys, "by", who] => self.store(inventory(keys), who),
            ["take", key, "of", keys] => self.take(key, keys),
            ["use", key, operation, "by", who] => return self.use_key(key, operation, who),
            ["found", "by", who] => self.found(who),
            ["generate", key, "by", who] => self.generate(key, who, Algorithm::Aes256Gcm),
            [verb, rest @ .., "by", who] => self.command(verb, rest, who),
            _ => panic!("the script has no step `{step}`"),
        };
        outcome(&recorded)
    }

    // === Steps in JSON ===

    /// A step whose parameters stand in JSON, with names for what the script can't know ([`Scenario::filled`]):
    /// - `do <action> [<key>] {…} by <people>`: any command, its parameters as they are sent;
    /// - `adopt {…} by <people>`: the policy of [`policy`] in version 2, changed by a merge patch (RFC 7396), where an
    ///   object for `rule` changes the first rule;
    /// - `generate <key> {…} by <who>`: a key whose description is changed by a merge patch.
    ///
    /// And without: `store k1,k2 by <who>` puts a list of keys into the log; `member k1 of k1,k2` activates one of them;
    /// `inventory k1,k2 by <who>` and `take k1 of k1,k2` are the same of a baseline's list.
    fn perform_json(&mut self, step: &str) -> Result<EventType, Rejection> {
        let open = step.find('{').expect("JSON");
        let (before, rest) = step.split_at(open);
        let (json, who) = rest.rsplit_once(" by ").expect("by whom");
        let words: Vec<&str> = before.split_whitespace().collect();
        let key = words.iter().skip(1).find(|word| word.starts_with('k') && !word.contains('.')).map(|key| key_id(key));
        let json = self.filled(json, key);
        let json: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
        match words.as_slice() {
            ["do", action, ..] => self.do_json(action, key, &json, who),
            ["adopt"] => {
                let against = self.tenant.governance.as_ref().expect("a tenant").head;
                let policy = patched_policy(&json);
                let action = Action::PolicyAdopt(command::PolicyAdopt { against, policy });
                let signed = self.signed(action, None, who, command::LIFETIME_MAX_QUORUM);
                self.submit(ServiceRole::Approver, Input::Command(signed))
            }
            ["generate", label] => {
                let mut spec = serde_json::to_value(self.spec(label, Algorithm::Aes256Gcm)).expect("JSON");
                patch(&mut spec, &json);
                let spec = serde_json::from_value(spec).unwrap_or_else(|error| panic!("{error}: {json}"));
                let action = Action::KeyGenerate(command::KeyGenerate { spec });
                let command = self.signed(action, key, who, command::LIFETIME_MAX);
                self.generated(command)
            }
            _ => panic!("the script has no step `{step}`"),
        }
    }

    fn do_json(&mut self, action: &str, key: Option<KeyId>, params: &Value, who: &str) -> Result<EventType, Rejection> {
        let signed = self.signed_json(action, key, params, who);
        let role = match action {
            "key.revalidate" => ServiceRole::Issuer,
            _ if action.starts_with("key.") => ServiceRole::Activator,
            _ if action.starts_with("control.") => ServiceRole::EvidenceExporter,
            _ => ServiceRole::Approver,
        };
        self.submit(role, Input::Command(signed))
    }

    /// A command that these people sign, its parameters with the script's names for what it can't know
    /// ([`Scenario::filled`]).
    ///
    /// # Panics
    /// Where that is no command.
    pub fn command_of(&mut self, action: &str, key: Option<&str>, params: &str, who: &str) -> Arc<SignedCommand> {
        let key = key.map(key_id);
        let params = self.filled(params, key);
        let params = serde_json::from_str(&params).unwrap_or_else(|error| panic!("{error}: {params}"));
        self.signed_json(action, key, &params, who)
    }

    fn signed_json(&mut self, action: &str, key: Option<KeyId>, params: &Value, who: &str) -> Arc<SignedCommand> {
        let (now, tenant) = (self.now, self.tenant.chain.tenant());
        let id = CommandId::from_bytes(uuid(b'j', self.next())).expect("a UUIDv7");
        let several = who.contains(',');
        let life = match several {
            _ if action.starts_with("use.") => command::LIFETIME_MAX_USE,
            true => command::LIFETIME_MAX_QUORUM,
            false => command::LIFETIME_MAX,
        };
        let mut payload = json!({ "id": id, "tenant": tenant, "action": action, "params": params, "issued_at": now,
            "expires_at": now + life });
        if let (Some(key), Some(payload)) = (key, payload.as_object_mut()) {
            payload.insert("key_id".into(), json!(key));
        }
        let command =
            Command::parse(payload.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}: {payload}"));
        self.sign_command(&command, who)
    }

    /// `$head`: the governance's; `$at`: the key's; `$request`: the key's open request or its last, or, where the step
    /// names no key, the last one for many, which is always `$many`; `$event:<type>`: the hash of the last event of a type;
    /// `$identity`: every key's; `$now+<span>`: a time; `$key:<k>`: a key's id; `$who:<name>`: somebody's fingerprint;
    /// `$pub:<name>`: their public key; `$seal:<name>`: a sealing key of theirs; `$share`: bytes like a sealed share;
    /// `$list:k1+k2`: what stands for a list of keys; `$inventory:k1+k2`: for a baseline's; `$hash:<text>`: its SHA-256.
    /// Zeros stand for an event or request that there is not.
    ///
    /// # Panics
    /// Where there is none such.
    pub fn filled(&self, json: &str, key: Option<KeyId>) -> String {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '+' | '-');
        let (mut filled, mut rest) = (String::new(), json);
        while let Some((before, after)) = rest.split_once('$') {
            let end = after.find(|c| !is_word(c)).unwrap_or(after.len());
            let (word, left) = after.split_at(end);
            filled.push_str(before);
            filled.push_str(&self.word(word, key));
            rest = left;
        }
        filled + rest
    }

    fn word(&self, word: &str, key: Option<KeyId>) -> String {
        let governance = self.tenant.governance.as_ref().expect("a tenant");
        let known = key.and_then(|key| self.tenant.keys.get(&key));
        match word.split_once([':', '+']) {
            Some(("event", wanted)) => {
                let found = self.records.iter().rev().find(|record| {
                    let payload = String::from_utf8_lossy(&record.payload);
                    payload.contains(&format!("\"dev.keylatch.{wanted}.v1\""))
                });
                found.map_or(EventHash::ZERO, Record::hash).to_string()
            }
            Some(("now", span)) => (self.now + name::<Span>(span)).to_string(),
            Some(("list", keys)) => serde_json::to_string(&self.list(keys).manifest()).expect("JSON"),
            Some(("inventory", keys)) => serde_json::to_string(&inventory(keys).manifest()).expect("JSON"),
            Some(("hash", text)) => Digest::of(text.as_bytes()).to_string(),
            Some(("key", label)) => key_id(label).to_string(),
            Some(("who", who)) => public_key(who).fingerprint().to_string(),
            Some(("pub", who)) => public_key(who).to_string(),
            Some(("seal", who)) => sealing_key(who).to_string(),
            None if word == "share" => serde_json::to_string(&share(0)).expect("JSON"),
            None if word == "head" => governance.head.to_string(),
            None if word == "at" => known.expect("a key").head.to_string(),
            None if word == "attestation" => known.expect("a key").attestation.to_string(),
            None if word == "request" => {
                known.and_then(|key| key.open_request).or(self.last_request(key)).unwrap_or(EventHash::ZERO).to_string()
            }
            None if word == "many" => self.last_request(None).unwrap_or(EventHash::ZERO).to_string(),
            None if word == "identity" => serde_json::to_string(&identity()).expect("JSON"),
            None if word == "why" => serde_json::to_string(&reason()).expect("JSON"),
            None if word == "template" => {
                let spec = self.spec("k0", Algorithm::Aes256Gcm);
                serde_json::to_string(&Template::of(&spec)).expect("JSON")
            }
            _ => panic!("the script has no word `${word}`"),
        }
    }

    // === Recording ===

    /// Decides, signs and records, as a service of this role would; lets the reader judge the bytes.
    ///
    /// # Panics
    /// Where the reader does not come to the same state.
    pub fn submit(&mut self, role: ServiceRole, input: Input) -> Result<EventType, Rejection> {
        let view = self.tenant.view(input.footprint());
        let time = self.now.max(view.chain.time());
        let event = decide(&view, &input, time)?;
        let event_type = event.event_type();
        let (record, authentic) = self.sign(role, time, &event);
        let own = Prepared::own(record.clone(), authentic, event, input);
        assert_eq!(self.tenant.take(&own), Ok(Judgement::Lawful));
        assert_eq!(self.reader.take_record(record.clone()), Ok(Judgement::Lawful), "the reader of the bytes differs");
        if self.compares {
            self.compare();
        }
        self.records.push(record);
        Ok(event_type)
    }

    fn compare(&self) {
        assert_eq!(self.tenant.chain, self.reader.chain);
        assert_eq!(self.tenant.keys, self.reader.keys);
        assert_eq!(self.tenant.governance, self.reader.governance);
        assert_eq!(self.tenant.requests, self.reader.requests);
        assert_eq!(self.tenant.progress, self.reader.progress);
    }

    /// Records an event that nobody decided, signed by this role: what a service would do that breaks the rules. Answers
    /// with what readers make of it.
    pub fn forge(&mut self, role: ServiceRole, event: &Event) -> Judgement {
        self.forge_with(role, event, |_| ())
    }

    /// The same, with the envelope changed before it is signed.
    pub fn forge_with(&mut self, role: ServiceRole, event: &Event, change: impl FnOnce(&mut Body)) -> Judgement {
        let (_, mut authentic) = self.sign(role, self.now.max(self.tenant.chain.time()), event);
        change(&mut authentic.body);
        let record = self.service(role).sign_body(&authentic.body);
        self.inject(record)
    }

    /// Sets the time back, the log's and the script's: the root's newer word is recorded with an earlier time.
    ///
    /// # Panics
    /// Where readers do not take it.
    pub fn set_back(&mut self, to: Timestamp) {
        let epoch = self.tenant.ring().epoch() + 1;
        let authority = self.authority(epoch, self.rules).envelope;
        let event = Event::AuthorityChanged(AuthorityChanged { epoch, rules: self.rules, authority });
        self.now = to;
        assert_eq!(self.forge_with(ServiceRole::Registrar, &event, |body| body.time = to), Judgement::Lawful);
    }

    /// Puts a record into the log as it is. Answers with what readers make of it.
    ///
    /// # Panics
    /// Where it is under rules that this program does not know.
    pub fn inject(&mut self, record: Record) -> Judgement {
        let judgement = self.reader.take_record(record.clone()).expect("known rules");
        assert_eq!(self.tenant.take_record(record.clone()), Ok(judgement.clone()));
        self.records.push(record);
        judgement
    }

    fn sign(&mut self, role: ServiceRole, time: Timestamp, event: &Event) -> (Record, journal::Authentic) {
        let id = EventId::from_bytes(uuid(b'e', self.next())).expect("a UUIDv7");
        self.service(role).sign_event(&self.tenant.chain, id, time, event)
    }

    /// The key of a service.
    ///
    /// # Panics
    /// Never: there is one for each role.
    pub fn service(&self, role: ServiceRole) -> &ServiceKey {
        self.services.get(&role).expect("a service for each role")
    }

    fn next(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// The root's word on who serves this tenant.
    ///
    /// # Panics
    /// Never: the key is in memory.
    pub fn authority(&self, epoch: u64, rules: u32) -> Authorised {
        self.authority_with(epoch, |statement| statement.rules = rules)
    }

    /// The same, changed before the root signs it.
    pub fn authority_with(&self, epoch: u64, change: impl FnOnce(&mut Statement)) -> Authorised {
        let service = |key: &ServiceKey| Service {
            role: key.role(),
            public_key: key.public_key(),
            tenants: Tenants::ALL,
            not_before: Timestamp::MIN,
            not_after: Timestamp::MAX,
        };
        let serves = |key: &&ServiceKey| key.role() != ServiceRole::Registrar;
        let mut statement = Statement {
            root: self.root.public_key().fingerprint(),
            epoch,
            rules: self.rules,
            registrars: vec![self.service(ServiceRole::Registrar).public_key()],
            services: self.services.values().filter(serves).map(service).collect(),
            issued_at: name(BEGINNING),
        };
        change(&mut statement);
        let envelope = authority::sign(&statement, &self.root).expect("a key in memory signs");
        Authorised { statement, envelope }
    }

    // === Steps ===

    /// Everything that any entity calls for.
    pub fn dues(&self) -> BTreeSet<Due> {
        let tenant = &self.tenant;
        let keys = tenant.keys.keys().map(|key| Footprint::of_key(*key));
        let many = tenant.requests.values().filter(|request| request.key_id.is_none());
        let footprints = keys.chain(many.map(|request| Footprint::of_request(request.hash)));
        footprints.chain([Footprint::default()]).flat_map(|footprint| due(&tenant.view(footprint))).collect()
    }

    /// What answers a duty, as the service would whose it is; nothing where there is nothing to answer it with.
    fn answer(&self, duty: Duty) -> Option<Input> {
        match duty {
            Duty::Apply(_) | Duty::Checkpoint | Duty::Probe => None,
            Duty::Adopt => self.next_to_adopt(),
            Duty::Export => Some(self.exported(None, 1)).filter(|_| !self.tenant.checkpoints.is_empty()),
            Duty::SuspendChildren(parent) => {
                let child = self.tenant.keys.get(&parent)?.to_suspend.first()?;
                Some(Input::Due(Duty::Suspend(*child)))
            }
            Duty::ActivateMembers(request) => {
                let manifest = self.tenant.requests.get(&request)?.manifest?;
                let list = self.lists.iter().find(|list| list.manifest() == manifest)?;
                let waits = |key: &KeyId| self.tenant.keys.get(key).is_some_and(crate::Key::is_waiting);
                let (key_id, membership) = list.memberships().find(|(key, _)| waits(key))?;
                Some(Input::Member { key_id, request, membership })
            }
            Duty::Deadlines => {
                let governance = self.tenant.governance.as_ref()?;
                let ended = crate::decide::next_passed(governance, self.now).and_then(|passed| passed.algorithm);
                let in_use = |key: &&crate::Key| {
                    Some(key.spec.algorithm) == ended
                        && !key.is_unevidenced()
                        && matches!(key.state, KeyState::Active | KeyState::Suspended)
                };
                let next = self.tenant.keys.values().find(in_use).map(|key| Duty::Deactivate(key.id));
                Some(Input::Due(next.unwrap_or(duty)))
            }
            duty => Some(Input::Due(duty)),
        }
    }

    /// The first key of a baseline's list that is not taken in yet.
    fn next_to_adopt(&self) -> Option<Input> {
        let baselines = self.tenant.governance.as_ref()?.baselines.values();
        let mut lists = baselines.filter_map(|baseline| {
            Some((baseline.hash, self.lists.iter().find(|list| list.manifest() == baseline.manifest)?))
        });
        lists.find_map(|(baseline, list)| {
            let mut lines = list.lines().zip(list.memberships());
            let (line, (_, membership)) = lines.find(|(_, (key, _))| !self.tenant.keys.contains_key(key))?;
            Some(Input::Adopted(Adopting { baseline, line: Line::parse(line)?, membership }))
        })
    }

    fn everything_due(&mut self) -> String {
        let (mut recorded, mut refused) = (Vec::new(), BTreeSet::new());
        loop {
            let dues = self.dues();
            let mut waiting = dues.iter().filter(|due| due.at <= self.now && !refused.contains(&due.duty));
            let next = waiting.find_map(|due| Some((due.duty, self.answer(due.duty)?)));
            let Some((duty, input)) = next else { break };
            match self.submit(duty.role(), input) {
                Ok(event_type) => recorded.push(event_type.name().to_owned()),
                Err(rejection) => {
                    recorded.push(format!("refused {}", rejection.problem));
                    refused.insert(duty);
                }
            }
        }
        if recorded.is_empty() { "nothing".to_owned() } else { recorded.join(", ") }
    }

    /// The list of keys that a script calls `k1,k2`.
    fn list(&self, keys: &str) -> List {
        let keys: Vec<KeyId> = keys.split([',', '+']).map(key_id).collect();
        let known = |key: &KeyId| match self.tenant.keys.get(key) {
            Some(key) => (key.identity.clone(), key.attestation),
            None => (identity(), Digest::of(b"nobody's")),
        };
        let entries: Vec<(KeyIdentity, Digest)> = keys.iter().map(known).collect();
        List::new(keys.into_iter().zip(&entries).map(|(key, (identity, attestation))| (key, identity, *attestation)))
    }

    /// Puts a list into the log, part by part.
    ///
    /// # Panics
    /// Where it has too many parts.
    pub fn store(&mut self, list: List, who: &str) -> Result<EventType, Rejection> {
        let (texts, document) = (list.parts(), list.manifest().document);
        let parts = u16::try_from(texts.len()).expect("a list of few parts");
        self.lists.push(list);
        let mut last = Ok(EventType::DocumentStored);
        for (part, text) in (0..).zip(texts) {
            let action = Action::DocumentStore(command::DocumentStore { document, part, parts, text });
            let signed = self.signed(action, None, who, command::LIFETIME_MAX);
            last = self.submit(ServiceRole::Approver, Input::Command(signed));
        }
        last
    }

    /// One key of a list under the last request for many, proved by its place in that list (or by the first's, where it has
    /// none there).
    fn member(&mut self, key: &str, keys: &str) -> Result<EventType, Rejection> {
        let (key, all) = (key_id(key), self.list(keys));
        let found = all.memberships().find(|(listed, _)| *listed == key).or_else(|| all.memberships().next());
        let (_, membership) = found.expect("a list");
        let request = self.last_request(None).unwrap_or(EventHash::ZERO);
        self.submit(ServiceRole::Activator, Input::Member { key_id: key, request, membership })
    }

    /// One key of a baseline, proved by its place in this list (or by the first's, where it has none there).
    fn take(&mut self, key: &str, keys: &str) -> Result<EventType, Rejection> {
        let (line, all) = (line_of(key), inventory(keys));
        let found = all.memberships().find(|(listed, _)| *listed == line.key_id).or_else(|| all.memberships().next());
        let (_, membership) = found.expect("a list");
        let baselines = self.tenant.governance.iter().flat_map(|governance| governance.baselines.values());
        let baseline = baselines.last().map_or(EventHash::ZERO, |baseline| baseline.hash);
        self.submit(ServiceRole::Issuer, Input::Adopted(Adopting { baseline, line, membership }))
    }

    /// The last request for a key, or for many.
    fn last_request(&self, key: Option<KeyId>) -> Option<EventHash> {
        let hashes: Vec<EventHash> = self.records.iter().map(Record::hash).collect();
        let requests = self.tenant.requests.values().filter(|request| request.key_id == key);
        requests.max_by_key(|request| hashes.iter().position(|hash| *hash == request.hash)).map(|request| request.hash)
    }

    fn checkpoint(&mut self) -> Result<EventType, Rejection> {
        let checkpoint = Checkpoint::of(self.tenant.chain.tenant(), self.tenant.chain.tree());
        let note = checkpoint.sign(self.service(ServiceRole::EvidenceExporter).signing_key());
        self.submit(ServiceRole::EvidenceExporter, Input::Checkpoint(note))
    }

    /// `export by <who>`, or `export <first event> by <who>`.
    fn export(&mut self, from: &[&str], who: &str) -> Result<EventType, Rejection> {
        let from = from.first().map_or(1, |from| from.parse().expect("a number"));
        let action = Action::EvidenceExport(command::EvidenceExport { from });
        let signed = self.signed(action, None, who, command::LIFETIME_MAX);
        self.submit(ServiceRole::EvidenceExporter, self.exported(Some(signed), from))
    }

    /// What an exporter reports of a bundle over the newest checkpoint, which a digest of nothing in particular stands for.
    pub fn exported(&self, command: Option<Arc<SignedCommand>>, from: u64) -> Input {
        let newest = self.tenant.checkpoints.values().next_back();
        let (size, checkpoint) = newest.map_or((0, EventHash::ZERO), |newest| (newest.size, newest.hash));
        let root = newest.map_or(Base64(Vec::new()), |newest| newest.root.clone());
        let (manifest, checkpoints) = (Digest::of(b"manifest"), Digest::of(b"checkpoints.txt"));
        Input::Exported { command, exported: Exported { from, size, checkpoint, root, manifest, checkpoints } }
    }

    /// A custodian's report's own id.
    fn report_id(&mut self) -> CommandId {
        CommandId::from_bytes(uuid(b'r', self.next())).expect("a UUIDv7")
    }

    /// `drift <key> <in what>`: the custodian finds its store otherwise.
    fn drift(&mut self, key: &str, drift: &str) -> Result<EventType, Rejection> {
        let input = self.drifted(key, drift);
        self.submit(ServiceRole::Custodian, Input::Drifted(input))
    }

    /// The report of it.
    ///
    /// # Panics
    /// Where there is no such key or drift.
    pub fn drifted(&mut self, key: &str, drift: &str) -> CustodyDrifted {
        let known = self.tenant.keys.get(&key_id(key)).expect("a key");
        let (key_id, store, cause) = (known.id, known.store.clone(), known.transition);
        let drift = Drift::ALL.into_iter().find(|known| known.name() == drift).expect("a drift");
        let (report, found, seen_at) = (self.report_id(), name("as the test says"), self.now);
        CustodyDrifted { report, key_id, store, drift, found, set_back: false, seen_at, cause }
    }

    /// `reconcile <store> <seen>,<matched>,<drifted>,<unknown>,<missing>`: the custodian compares a store with the chain.
    fn reconcile(&mut self, store: &str, counts: &str) -> Result<EventType, Rejection> {
        let counts: Vec<u64> = counts.split(',').map(name).collect();
        let [seen, matched, drifted, unknown, missing] = counts.as_slice().try_into().expect("five counts");
        let (report, store, listing) = (self.report_id(), name(store), Digest::of(b"a listing"));
        let (from, to) = (self.now, self.now);
        let reconciled =
            CustodyReconciled { report, store, seen, matched, drifted, unknown, missing, listing, from, to };
        self.submit(ServiceRole::Custodian, Input::Reconciled(reconciled))
    }

    /// `probe <key> activate|use [<outcome> [<problem>]] by <who>`. Left out, the outcome is what deciding gives.
    fn probe(&mut self, key: &str, what: &str, outcome: &[&str], who: &str) -> Result<EventType, Rejection> {
        let input = self.probed(key, what, outcome, who);
        self.submit(ServiceRole::EvidenceExporter, input)
    }

    /// The report of such a probe.
    ///
    /// # Panics
    /// Where the script has no such probe.
    pub fn probed(&mut self, key: &str, what: &str, outcome: &[&str], who: &str) -> Input {
        let (probe, action, life) = match what {
            "activate" => (Probe::ActivateUnapproved, self.key_action("activate", key_id(key), &[]).2, 60),
            "use" => (Probe::UsePreActive, use_of("encrypt"), 30),
            other => panic!("the script has no probe `{other}`"),
        };
        let command = self.signed(action, Some(key_id(key)), who, Span::from_secs(life));
        let (outcome, problem) = match outcome {
            ["refused", problem] => (ProbeOutcome::Refused, Some(name(problem))),
            ["accepted"] => (ProbeOutcome::Accepted, None),
            ["unanswered"] => (ProbeOutcome::Unanswered, None),
            _ => (ProbeOutcome::Refused, self.refusal(&command).map(|problem| name(problem.name()))),
        };
        Input::Probed { command, probed: Probed { probe, outcome, problem } }
    }

    /// Why the platform would refuse this command now.
    fn refusal(&self, command: &Arc<SignedCommand>) -> Option<ProblemType> {
        let input = Input::Command(command.clone());
        let view = self.tenant.view(input.footprint());
        let refused = match command.command.action.operation() {
            Some(_) => usage::may_use(&view, command, self.now, Some(Span::ZERO)).map(|_| ()),
            None => decide(&view, &input, self.now).map(|_| ()),
        };
        refused.err().map(|rejection| rejection.problem)
    }

    fn apply(&mut self, key: &str) -> Result<EventType, Rejection> {
        let Some(key) = self.tenant.keys.get(&key_id(key)) else { panic!("there is no {key}") };
        let place = |inventory| Place { inventory, wrapping_key: name("w1") };
        let after = match key.state {
            KeyState::PreActive => Some(place(Inventory::PreActive)),
            KeyState::Compromised if key.activation.is_none() => Some(place(Inventory::PreActive)),
            KeyState::Destroyed | KeyState::DestroyedCompromised => None,
            _ => Some(place(Inventory::Active)),
        };
        let (store, cause) = (key.store.clone(), key.transition);
        let applied = Applied { key_id: key.id, state: key.state, store, before: None, after, cause };
        self.submit(ServiceRole::Custodian, Input::Applied(applied))
    }

    fn use_key(&mut self, key: &str, operation: &str, who: &str) -> String {
        let action = use_of(operation);
        let signed = self.signed(action, Some(key_id(key)), who, command::LIFETIME_MAX_USE);
        let view = self.tenant.view(Input::Command(signed.clone()).footprint());
        match usage::may_use(&view, &signed, self.now, Some(Span::ZERO)) {
            Ok(_) => "allowed".to_owned(),
            Err(rejection) => format!("refused {}", rejection.problem),
        }
    }

    fn found(&mut self, who: &str) -> Result<EventType, Rejection> {
        let admins = who.split(',').map(|who| self.principal(who, "admin")).collect();
        let action = command::TenantCreate { name: name("scenario"), class: TenantClass::Ap, admins, admin_quorum: 2 };
        let command = self.signed(Action::TenantCreate(action), None, who, command::LIFETIME_MAX_QUORUM);
        let authority = self.authority(1, self.rules);
        self.submit(ServiceRole::Registrar, Input::Founding { command, authority })
    }

    /// Somebody by this name.
    pub fn principal(&self, who: &str, roles: &str) -> Principal {
        let kind = if matches!(who, "app" | "bot") { PrincipalKind::Workload } else { PrincipalKind::Person };
        let person = name(if who == "ray" { "rae" } else { who });
        Principal::new(public_key(who), name(who), kind, person, roles.split(',').map(name).collect())
    }

    fn generate(&mut self, key: &str, who: &str, algorithm: Algorithm) -> Result<EventType, Rejection> {
        let spec = self.spec(key, algorithm);
        let action = Action::KeyGenerate(command::KeyGenerate { spec });
        let command = self.signed(action, Some(key_id(key)), who, command::LIFETIME_MAX);
        self.generated(command)
    }

    /// What keys are like here.
    pub fn spec(&self, key: &str, algorithm: Algorithm) -> KeySpec {
        KeySpec::new(
            name(key),
            Template {
                algorithm,
                workload: name("model-storage"),
                responsibility: Responsibility::Application,
                jurisdiction: name("EU"),
                classification: name("secret"),
                environment: name("production"),
                backend: name("software"),
            },
        )
    }

    /// A custodian's word on a key that it generated on this command, as signed by this role.
    ///
    /// # Panics
    /// Where the command names no key.
    pub fn statement(&self, command: &Arc<SignedCommand>, by: ServiceRole) -> Envelope {
        let algorithm = match &command.command.action {
            Action::KeyGenerate(params) => params.spec.algorithm,
            _ => Algorithm::Aes256Gcm,
        };
        let said = Generated {
            tenant: self.tenant.chain.tenant(),
            key_id: command.command.key_id.expect("a key"),
            algorithm,
            identity: identity_of(algorithm),
            store: name("software"),
            wrapping_key: name("w1"),
            command: command.digest,
            seal_key: Base64(vec![0; 32]),
            sealing: self.plan(command).map(|plan| sealing_of(&plan)),
            generated_at: self.now,
        };
        self.service(by).sign_statement(dsse::GENERATED, &said)
    }

    /// To whom the key that a command asks for is sealed.
    fn plan(&self, command: &Arc<SignedCommand>) -> Option<Plan> {
        let view = self.tenant.view(Input::Command(command.clone()).footprint());
        decide::may_generate(&view, command, self.now).ok().flatten()
    }

    fn generated(&mut self, command: Arc<SignedCommand>) -> Result<EventType, Rejection> {
        let envelope = self.statement(&command, ServiceRole::Custodian);
        let (ring, tenant) = (self.tenant.ring(), self.tenant.chain.tenant());
        let statement = statement::open(&envelope, dsse::GENERATED, ServiceRole::Custodian, &ring, tenant, self.now);
        self.submit(ServiceRole::Issuer, Input::Generated { command, statement: statement.expect("its own statement") })
    }

    fn command(&mut self, verb: &str, rest: &[&str], who: &str) -> Result<EventType, Rejection> {
        let (role, key, action) = self.action(verb, rest);
        let life =
            if key.is_none() || verb == "destroy" { command::LIFETIME_MAX_QUORUM } else { command::LIFETIME_MAX };
        let signed = self.signed(action, key, who, life);
        self.submit(role, Input::Command(signed))
    }

    /// The role, key and action of a step that is a command.
    ///
    /// # Panics
    /// Where it is not.
    pub fn action(&self, verb: &str, rest: &[&str]) -> (ServiceRole, Option<KeyId>, Action) {
        let governance = self.tenant.governance.as_ref().expect("a tenant");
        let against = governance.head;
        let fingerprint = |who: &str| self.principal(who, "admin").fingerprint();
        let approver = |action| (ServiceRole::Approver, None, action);
        match (verb, rest) {
            ("enroll", [who, roles]) => {
                let principal = self.principal(who, roles);
                approver(Action::PrincipalEnroll(command::PrincipalEnroll { against, principal }))
            }
            ("roles", [who, roles]) => {
                let (principal, roles) = (fingerprint(who), roles.split(',').map(name).collect());
                approver(Action::PrincipalChange(command::PrincipalChange { against, principal, roles }))
            }
            ("revoke", [who]) => {
                let (principal, reason) = (fingerprint(who), reason());
                approver(Action::PrincipalRevoke(command::PrincipalRevoke { against, principal, reason }))
            }
            ("adopt", change) => {
                let policy = changed_policy(change);
                approver(Action::PolicyAdopt(command::PolicyAdopt { against, policy }))
            }
            (verb, [key, times @ ..]) => self.key_action(verb, key_id(key), times),
            _ => panic!("the script has no step `{verb}`"),
        }
    }

    fn key_action(&self, verb: &str, key: KeyId, times: &[&str]) -> (ServiceRole, Option<KeyId>, Action) {
        let known = self.tenant.keys.get(&key);
        let against = known.map_or(model::EventHash::ZERO, |key| key.head);
        // A step on a request that has ended names that one, as somebody would who has not looked again.
        let of_key = |request: &&crate::Request| request.key_id == Some(key);
        let last = self.tenant.requests.values().filter(of_key).max_by_key(|request| request.requested_at);
        let request = known.and_then(|key| key.open_request).or(last.map(|request| request.hash)).unwrap_or(against);
        let reason = reason();
        let (role, action) = match verb {
            "request" => {
                let mut asked = self.request(times);
                // Where the script names no other key, it is this one, whatever its algorithm.
                if let Some(known) = known.filter(|_| asked.identity == Some(identity())) {
                    asked.identity = Some(known.identity.clone());
                }
                (ServiceRole::Approver, Action::ActivationRequest(asked))
            }
            "approve" => {
                let share = times.contains(&"share").then(|| share(0));
                let approve = command::ActivationApprove { share, ..command::ActivationApprove::new(request) };
                (ServiceRole::Approver, Action::ActivationApprove(approve))
            }
            "reject" => {
                (ServiceRole::Approver, Action::ActivationReject(command::ActivationReject { request, reason }))
            }
            "cancel" => {
                (ServiceRole::Approver, Action::ActivationCancel(command::ActivationCancel { request, reason }))
            }
            "activate" => (ServiceRole::Activator, Action::KeyActivate(command::KeyActivate::new(against))),
            "suspend" => (ServiceRole::Activator, Action::KeySuspend(command::KeySuspend { reason })),
            "resume" => (ServiceRole::Activator, Action::KeyResume(command::KeyResume { against, reason })),
            "deactivate" => (ServiceRole::Activator, Action::KeyDeactivate(command::KeyDeactivate { against, reason })),
            "compromise" => (ServiceRole::Activator, Action::KeyCompromise(command::KeyCompromise { reason })),
            "destroy" => (ServiceRole::Activator, Action::KeyDestroy(command::KeyDestroy { against, reason })),
            other => panic!("the script has no step `{other}`"),
        };
        (role, Some(key), action)
    }

    fn request(&self, times: &[&str]) -> command::ActivationRequest {
        let at = |word: &str| {
            let place = times.iter().position(|time| *time == word)?;
            times.get(place + 1).map(|span| self.now + name::<Span>(span))
        };
        let other = KeyIdentity::CheckValue(Base64(vec![9; 3]));
        let identity = if times.contains(&"other") { other } else { identity() };
        command::ActivationRequest {
            change_ref: Some(name("CHG-1")),
            legal_basis: vec![name("GDPR art. 32(1)(a)")],
            affected_systems: vec![name("inference endpoint")],
            not_before: at("after"),
            deactivate_at: at("until"),
            ..command::ActivationRequest::of_key(identity, reason())
        }
    }

    /// A command that these people sign now.
    ///
    /// # Panics
    /// Never: the keys are in memory.
    pub fn signed(&mut self, action: Action, key_id: Option<KeyId>, who: &str, life: Span) -> Arc<SignedCommand> {
        let command = Command {
            id: CommandId::from_bytes(uuid(b'c', self.next())).expect("a UUIDv7"),
            tenant: self.tenant.chain.tenant(),
            key_id,
            issued_at: self.now,
            expires_at: self.now + life,
            action,
        };
        self.sign_command(&command, who)
    }

    fn sign_command(&self, command: &Command, who: &str) -> Arc<SignedCommand> {
        let hands: Vec<Box<dyn Hand>> = who.split(',').map(hand_of).collect();
        let hands: Vec<&dyn Hand> = hands.iter().map(Box::as_ref).collect();
        let envelope = SignedCommand::sign(command, &hands).expect("keys in memory sign");
        Arc::new(SignedCommand::open(envelope).expect("its own signature"))
    }

    /// The state of a key.
    ///
    /// # Panics
    /// Where there is no such key.
    pub fn state(&self, key: &str) -> KeyState {
        self.tenant.keys.get(&key_id(key)).expect("a key").state
    }

    /// The record at a place.
    pub fn record(&self, sequence: Sequence) -> Option<&Record> {
        self.records.get(usize::try_from(sequence.0).ok()?.checked_sub(1)?)
    }
}

/// Somebody's key to which shares are sealed, of which nobody has the private half.
///
/// # Panics
/// Never: the bytes are no point of low order.
pub fn sealing_key(who: &str) -> SealingKey {
    let mut bytes = *Digest::of(format!("seal {who}").as_bytes()).as_bytes();
    bytes[31] &= 0x3f;
    SealingKey::from_bytes(&bytes).expect("a key")
}

/// Bytes like a sealed share: the chain can't look into one.
fn share(number: u8) -> Sealed {
    Sealed { enc: Base64(vec![number; 32]), ciphertext: Base64(vec![number; sealing::SHARE_BYTES + 16]) }
}

/// What a custodian would say of a key's shares.
fn sealing_of(plan: &Plan) -> Sealing {
    let one = |(number, &(to, sealing_key)): (u8, &(Fingerprint, SealingKey))| {
        let commitment = Digest::of(&[number]);
        SealedShare { to, sealing_key, commitment, share: share(number) }
    };
    Sealing { threshold: plan.threshold, shares: (1..).zip(&plan.to).map(one).collect() }
}

/// Somebody's public key. Whose name begins with `tok` has it on a hardware token.
pub fn public_key(who: &str) -> model::PublicKey {
    hand_of(who).public_key().clone()
}

/// Somebody's hand. A token is touched; where the name ends with `!`, it also verifies who touches it.
fn hand_of(who: &str) -> Box<dyn Hand> {
    let (who, verified) = who.strip_suffix('!').map_or((who, false), |who| (who, true));
    let key = key_of(who);
    if !who.starts_with("tok") {
        return Box::new(KeyInHand::new(key));
    }
    let blob = ssh_strings(&[KeyType::SkEd25519.name().as_bytes(), key.verifying_key().as_bytes(), b"ssh:"]);
    let public = model::PublicKey::from_blob(&blob).expect("a token's key");
    Box::new(Token { key, public, verified })
}

/// SSH strings: each with its length before it.
fn ssh_strings(strings: &[&[u8]]) -> Vec<u8> {
    let length = |text: &&[u8]| u32::try_from(text.len()).expect("a short text").to_be_bytes();
    strings.iter().flat_map(|text| [length(text).as_slice(), text].concat()).collect()
}

/// A FIDO token in memory (OpenSSH `PROTOCOL.u2f`).
struct Token {
    key: SigningKey,
    public: model::PublicKey,
    verified: bool,
}

impl Hand for Token {
    fn public_key(&self) -> &model::PublicKey {
        &self.public
    }

    fn sign(&self, namespace: &str, message: &[u8]) -> std::io::Result<Vec<u8>> {
        let hash = Sha512::digest(message);
        let parts: [&[u8]; 4] = [namespace.as_bytes(), b"", b"sha512", &hash];
        let data = [b"SSHSIG".as_slice(), &ssh_strings(&parts)].concat();
        let flags = if self.verified { 5 } else { 1 };
        let after = [flags, 0, 0, 0, 1];
        let signed = [Digest::of(b"ssh:").as_bytes(), after.as_slice(), Digest::of(&data).as_bytes()].concat();
        let signature = self.key.sign(&signed).to_bytes();
        let blob = [ssh_strings(&[KeyType::SkEd25519.name().as_bytes(), &signature]).as_slice(), &after].concat();
        let parts: [&[u8]; 5] = [self.public.blob(), namespace.as_bytes(), b"", b"sha512", &blob];
        Ok([b"SSHSIG\0\0\0\x01".as_slice(), &ssh_strings(&parts)].concat())
    }
}

/// The policy in version 2, changed by a merge patch.
///
/// # Panics
/// Where that is no policy.
pub fn patched_policy(change: &Value) -> Policy {
    let mut change = change.clone();
    let of_rule = change.as_object_mut().filter(|change| change.get("rule").is_some_and(Value::is_object));
    let of_rule = of_rule.and_then(|change| change.remove("rule"));
    let mut policy = Policy { schema: 2, ..policy() };
    // Scripts' keys are the application's; the other parties' keys need rules of their own.
    let application = BTreeSet::from([Responsibility::Application]);
    policy.rules.iter_mut().for_each(|rule| rule.when.responsibility.clone_from(&application));
    let mut document = serde_json::to_value(policy).expect("JSON");
    patch(&mut document, &change);
    if let (Some(change), Some(rule)) = (of_rule, document.pointer_mut("/rule/0")) {
        patch(rule, &change);
    }
    serde_json::from_value(document).unwrap_or_else(|error| panic!("{error}: {change}"))
}

/// A merge patch (RFC 7396).
fn patch(document: &mut Value, change: &Value) {
    let Some(change) = change.as_object() else {
        *document = change.clone();
        return;
    };
    if !document.is_object() {
        *document = json!({});
    }
    let Some(members) = document.as_object_mut() else { return };
    for (member, value) in change {
        match value {
            Value::Null => drop(members.remove(member)),
            value => patch(members.entry(member).or_insert(Value::Null), value),
        }
    }
}

/// The policy, with the change that the script names.
fn changed_policy(change: &[&str]) -> Policy {
    let mut policy = policy();
    let rule = policy.rules.first_mut().expect("a rule");
    match change {
        [] => {}
        ["two-security"] => rule.stages.iter_mut().take(1).for_each(|stage| stage.quorum = 2),
        ["no-stages"] => rule.stages.clear(),
        ["nobody"] => rule.stages.iter_mut().for_each(|stage| stage.quorum = 0),
        ["no-aes"] => policy.algorithms.retain(|rule| rule.name != Algorithm::Aes256Gcm),
        ["quorum", admins] => policy.admin_quorum = admins.parse().expect("a number"),
        other => panic!("the script has no policy {other:?}"),
    }
    policy
}

/// A use with nothing in it.
fn use_of(operation: &str) -> Action {
    let none = || Base64(Vec::new());
    let sealed = || command::Sealed { enc: none(), ciphertext: none() };
    match operation {
        "encrypt" => Action::UseEncrypt(command::UseEncrypt { reply_to: none(), plaintext: sealed(), aad: none() }),
        "decrypt" => Action::UseDecrypt(command::UseDecrypt { reply_to: none(), ciphertext: none(), aad: none() }),
        "sign" => Action::UseSign(command::UseSign { reply_to: none(), digest: none() }),
        other => panic!("the script can't {other}"),
    }
}

/// An identity of the form that keys of this algorithm have.
fn identity_of(algorithm: Algorithm) -> KeyIdentity {
    match algorithm.spki() {
        None => identity(),
        Some(spki) => KeyIdentity::PublicKey(Base64(spki.around(&vec![7; spki.bytes]))),
    }
}

/// A key that a store had before.
pub fn line_of(key: &str) -> Line {
    let (algorithm, made_at) = (name(Algorithm::Aes256Gcm.name()), Some(name("2025-01-01T00:00:00.000Z")));
    Line { key_id: key_id(key), algorithm, identity: identity(), label: name(key), made_at }
}

/// The list of keys that a script calls `k1,k2`, as a baseline has it.
pub fn inventory(keys: &str) -> List {
    baseline::list(keys.split([',', '+']).map(line_of))
}

fn identity() -> KeyIdentity {
    KeyIdentity::CheckValue(Base64(vec![1, 2, 3]))
}

fn reason() -> Reason {
    Reason { kind: ReasonKind::Test, text: name("because the script says so") }
}

fn duty_of(duty: &str, key: &str) -> Duty {
    let key = key_id(key);
    match duty {
        "authorize" => Duty::Authorize(key),
        "activate" => Duty::Activate(key),
        "lapse" => Duty::Lapse(key),
        "expire" => Duty::Expire(key),
        "deactivate" => Duty::Deactivate(key),
        "destroy" => Duty::Destroy(key),
        other => panic!("the script has no duty `{other}`"),
    }
}

fn duty_role(duty: &str) -> ServiceRole {
    duty_of(duty, "k1").role()
}

fn outcome(recorded: &Result<EventType, Rejection>) -> String {
    match recorded {
        Ok(event_type) => event_type.name().to_owned(),
        Err(rejection) => format!("refused {}", rejection.problem),
    }
}
