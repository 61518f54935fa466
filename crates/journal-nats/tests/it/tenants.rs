//! A tenant with valid credentials: its own subjects work, everybody else's are out of reach.

use async_nats::Subscriber;
use futures_util::StreamExt as _;
use journal_nats::{PlatformUser, connect};
use model::{EventType, ServiceRole, TenantId, subject};
use nats_jwt_rs::Claims;
use nats_jwt_rs::account::Account;
use nats_jwt_rs::types::{ExportType, Import, Permission, Permissions, SigningKey};
use nats_jwt_rs::user::User as UserClaims;
use nkeys::KeyPair;

use crate::bus::{Bus, User};

#[tokio::test]
async fn commands_and_questions_arrive_under_the_senders_tenant_and_are_answered() {
    let bus = Bus::start().await;
    let (one, two) = (bus.tenant("one").await, bus.tenant("two").await);
    let _services = Echo::start(&bus).await;
    for tenant in [&one, &two] {
        let (member, reader, id) = (bus.member(tenant).await, bus.reader(tenant).await, tenant.id());
        assert_eq!(member.ask("keylatch.cmd.key.generate", "").await, format!("kl.{id}.cmd.key.generate"));
        assert_eq!(member.ask("keylatch.cmd.use.sign", "").await, format!("kl.{id}.cmd.use.sign"));
        assert_eq!(member.ask("keylatch.hist.get", "").await, format!("kl.{id}.hist.get"));
        assert_eq!(reader.ask("keylatch.hist.get", "").await, format!("kl.{id}.hist.get"));
        assert!(member.nobody_listens("keylatch.cmd.no.such").await);
    }
}

#[tokio::test]
async fn events_reach_their_tenant_only() {
    let bus = Bus::start().await;
    let (one, two) = (bus.tenant("one").await, bus.tenant("two").await);
    let service = bus.platform(PlatformUser::AllInOne).await;
    let (mut member, mut reader, mut other) = (bus.member(&one).await, bus.reader(&one).await, bus.member(&two).await);
    let (mut to_member, mut to_reader, mut to_other) =
        (follow(&mut member).await, follow(&mut reader).await, follow(&mut other).await);
    record(&service, one.id(), EventType::KeyActivated).await;
    record(&service, two.id(), EventType::KeySuspended).await;
    for events in [&mut to_member, &mut to_reader] {
        assert_eq!(events.next().await.unwrap().subject.as_str(), "keylatch.evt.key.activated");
    }
    assert_eq!(to_other.next().await.unwrap().subject.as_str(), "keylatch.evt.key.suspended");
}

#[tokio::test]
async fn a_tenant_says_its_own_subjects_and_no_others() {
    let bus = Bus::start().await;
    let (tenant, other) = (bus.tenant("one").await, bus.tenant("two").await);
    let (mine, theirs) = (tenant.id(), other.id());
    let (mut member, mut reader) = (bus.member(&tenant).await, bus.reader(&tenant).await);
    let refused = [
        // Logs and events, its own and another's.
        format!("kl.{mine}.log.key.activated"),
        format!("kl.{mine}.evt.key.activated"),
        format!("kl.{theirs}.log.key.activated"),
        format!("kl.{theirs}.evt.key.activated"),
        "keylatch.evt.key.activated".to_owned(),
        "keylatch.log.key.activated".to_owned(),
        // Commands and questions under a name of its choice.
        format!("kl.{mine}.cmd.key.activate"),
        format!("kl.{theirs}.cmd.key.activate"),
        format!("kl.{theirs}.hist.get"),
        // Streams and consumers, the server, other services, others' answers.
        "$JS.API.INFO".to_owned(),
        "$JS.API.STREAM.NAMES".to_owned(),
        "$JS.API.STREAM.CREATE.mine".to_owned(),
        format!("$JS.API.STREAM.DELETE.{mine}"),
        format!("$JS.API.STREAM.MSG.GET.{theirs}"),
        format!("$JS.API.DIRECT.GET.{theirs}"),
        format!("$JS.API.CONSUMER.CREATE.{theirs}"),
        "$SYS.REQ.CLAIMS.UPDATE".to_owned(),
        "$SYS.REQ.USER.INFO".to_owned(),
        "$SRV.PING".to_owned(),
        format!("{}.one", reader.inbox),
        "_R_.one".to_owned(),
    ];
    for subject in &refused {
        assert!(!member.may_publish(subject).await, "{subject}");
        assert!(!reader.may_publish(subject).await, "{subject}");
    }
    assert!(member.may_publish("keylatch.cmd.key.activate").await);
    assert!(!reader.may_publish("keylatch.cmd.key.activate").await);
    for user in [&mut member, &mut reader] {
        assert!(user.may_publish("keylatch.hist.get").await);
    }
}

#[tokio::test]
async fn a_tenant_hears_its_own_events_and_answers_and_nothing_else() {
    let bus = Bus::start().await;
    let (tenant, other) = (bus.tenant("one").await, bus.tenant("two").await);
    let colleague = bus.member(&tenant).await;
    for mut user in [bus.member(&tenant).await, bus.reader(&tenant).await] {
        let refused = [
            ">".to_owned(),
            "*".to_owned(),
            "*.>".to_owned(),
            "_INBOX.>".to_owned(),
            "_INBOX.*.>".to_owned(),
            format!("{}.>", colleague.inbox),
            format!("{}.one", colleague.inbox),
            "_R_.>".to_owned(),
            // A colleague's commands and questions are not for it either.
            "keylatch.>".to_owned(),
            "keylatch.cmd.>".to_owned(),
            "keylatch.hist.get".to_owned(),
            "kl.>".to_owned(),
            subject::ALL_EVENTS.to_owned(),
            subject::events_all(tenant.id()),
            subject::events_all(other.id()),
            subject::log_all(other.id()),
            subject::history_all(other.id()),
            "$JS.>".to_owned(),
            "$SYS.>".to_owned(),
            "$SRV.>".to_owned(),
        ];
        for subject in &refused {
            assert!(!user.may_subscribe(subject).await, "{subject}");
        }
        let inbox = format!("{}.>", user.inbox);
        for subject in ["keylatch.evt.>", "keylatch.evt.key.>", "keylatch.evt.key.activated", &inbox] {
            assert!(user.may_subscribe(subject).await, "{subject}");
        }
    }
}

#[tokio::test]
async fn an_answer_reaches_who_asked_and_nobody_else() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("one").await;
    let _services = Echo::start(&bus).await;
    let (asker, mut colleague) = (bus.member(&tenant).await, bus.member(&tenant).await);
    let reply = format!("{}.one", asker.inbox);
    let mut answers = asker.client.subscribe(reply.clone()).await.unwrap();
    // Refused, and so they stay silent; the colleague's own inbox is the control.
    let mut spying = Vec::new();
    for subject in [reply.as_str(), "_INBOX.>", "_R_.>", ">"] {
        spying.push(colleague.client.subscribe(subject.to_owned()).await.unwrap());
    }
    let mut spied = futures_util::stream::select_all(spying);
    assert_eq!(colleague.refused().await.len(), 4);
    asker.client.publish_with_reply("keylatch.hist.get", reply, "".into()).await.unwrap();
    assert!(answers.next().await.is_some());
    // What the server had for the colleague came before this answer.
    assert_eq!(colleague.ask("keylatch.hist.get", "").await, format!("kl.{}.hist.get", tenant.id()));
    let nothing = futures_util::future::FutureExt::now_or_never(spied.next());
    assert!(nothing.is_none(), "{nothing:?}");
}

/// The known limit: who asks chooses where the answer goes, without having to be allowed to publish there. It stays in
/// the tenant's own account, and what is in it is the answer. This is why events are believed for their signatures.
#[tokio::test]
async fn an_answer_stays_in_the_account_of_who_asked() {
    let bus = Bus::start().await;
    let (tenant, other) = (bus.tenant("one").await, bus.tenant("two").await);
    let _services = Echo::start(&bus).await;
    let (mut member, mut victim) = (bus.member(&tenant).await, bus.member(&other).await);
    let (mut mine, mut theirs) = (follow(&mut member).await, follow(&mut victim).await);
    for reply in [
        format!("kl.{}.log.key.activated", other.id()),
        format!("kl.{}.log.key.activated", tenant.id()),
        format!("kl.{}.evt.key.activated", other.id()),
        "keylatch.evt.key.activated".to_owned(),
    ] {
        member.client.publish_with_reply("keylatch.hist.get", reply, "".into()).await.unwrap();
    }
    let answer = mine.next().await.unwrap();
    assert_eq!(answer.subject.as_str(), "keylatch.evt.key.activated");
    assert_eq!(answer.payload, format!("kl.{}.hist.get", tenant.id()));

    let service = bus.platform(PlatformUser::AllInOne).await;
    for id in [tenant.id(), other.id()] {
        assert_eq!(record(&service, id, EventType::KeySuspended).await, 1, "nothing was in the log before");
    }
    assert_eq!(theirs.next().await.unwrap().subject.as_str(), "keylatch.evt.key.suspended");
}

/// A trace goes where a header says. The server asks whether the sender may publish there.
#[tokio::test]
async fn a_trace_goes_nowhere_that_its_sender_may_not_publish() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("one").await;
    let mut member = bus.member(&tenant).await;
    let mut events = follow(&mut member).await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Trace-Dest", "keylatch.evt.key.activated");
    member.client.publish_with_headers("keylatch.cmd.key.generate", headers, "".into()).await.unwrap();
    assert_eq!(member.refused().await.len(), 1);
    let service = bus.platform(PlatformUser::AllInOne).await;
    record(&service, tenant.id(), EventType::KeySuspended).await;
    assert_eq!(events.next().await.unwrap().subject.as_str(), "keylatch.evt.key.suspended");
}

/// Even the operator's own signature does not open another tenant: the server compares the tenant in the subject with
/// the account that imports it. The control is that the same account's own subjects work.
#[tokio::test]
async fn an_account_that_imports_anothers_subjects_gets_its_own_at_most() {
    let bus = Bus::start().await;
    let victim = bus.tenant("victim").await;
    let _services = Echo::start(&bus).await;
    let service = bus.platform(PlatformUser::AllInOne).await;
    let id = victim.id();
    for (theirs, kind) in [
        (subject::commands_all(id), ExportType::Service),
        (format!("kl.{id}.cmd.key.generate"), ExportType::Service),
        ("kl.*.cmd.>".to_owned(), ExportType::Service),
        (subject::history_all(id), ExportType::Service),
        (subject::log_all(id), ExportType::Service),
        (subject::events_all(id), ExportType::Stream),
        (format!("kl.{id}.evt.key.activated"), ExportType::Stream),
        ("kl.*.evt.>".to_owned(), ExportType::Stream),
        ("kl.>".to_owned(), ExportType::Stream),
        (subject::log_all(id), ExportType::Stream),
    ] {
        let thief = Thief::start(&bus, &theirs, kind.clone()).await;
        let user = &thief.user;
        let first = theirs.replace('>', "key.generate").replace('*', &id.to_string());
        for subject in [first.as_str(), "stolen.key.generate", "stolen"] {
            assert!(user.nobody_listens(subject).await, "{theirs}: {subject}");
        }
        let mut everything = user.client.subscribe(">").await.unwrap();
        // Its own are granted, and lead to itself.
        assert_eq!(user.ask("own.hist.get", "").await, format!("kl.{}.hist.get", thief.id), "{theirs}");

        record(&service, id, EventType::KeyActivated).await;
        thief.own_event(&bus).await;
        let heard = loop {
            let message = everything.next().await.unwrap();
            // It hears itself asking, and the answer.
            if message.subject.as_str() != "own.hist.get" && !message.subject.starts_with(&user.inbox) {
                break message;
            }
        };
        assert_eq!(heard.subject.as_str(), "own.evt.key.suspended", "{theirs}");
    }
}

/// What a signed user may do stands at the key that signed it.
#[tokio::test]
async fn a_users_jwt_cannot_ask_for_more_than_its_signing_key_grants() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("one").await;
    let dir = bus.dir.path().join("operator/tenants").join(tenant.id().to_string());
    let reader = KeyPair::from_seed(&std::fs::read_to_string(dir.join("reader.nk")).unwrap()).unwrap();
    let everything = Permission { allow: vec![">".to_owned()], deny: Vec::new() };
    for wanted in [None, Some(everything)] {
        let key = KeyPair::new_user();
        let mut claims = UserClaims::new_claims("someone".to_owned(), key.public_key());
        claims.nats.issuer_account = Some(tenant.id().to_string());
        claims.nats.permissions.limits = None;
        let granted = wanted.is_none();
        if let Some(permission) = wanted {
            claims.nats.permissions.permissions =
                Permissions { publish: permission.clone(), subscribe: permission, resp: None };
        }
        let credentials = credentials(&claims.encode(&reader).unwrap(), &key);
        let connected = connect::connect_as(&bus.server.url(), &credentials, "test").await;
        assert_eq!(connected.is_ok(), granted);
    }
}

#[tokio::test]
async fn a_tenants_message_is_no_larger_than_an_event() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("one").await;
    let _services = Echo::start(&bus).await;
    let mut member = bus.member(&tenant).await;
    let largest = "x".repeat(64 * 1024);
    assert!(member.ask("keylatch.cmd.key.generate", &largest).await.starts_with("kl."));
    let larger = largest + "x";
    member.client.publish("keylatch.cmd.key.generate", larger.into()).await.unwrap();
    assert_eq!(member.refusal().await.to_lowercase(), "maximum payload violation");
}

/// Services that answer every command and question with the subject under which it came.
struct Echo(Vec<tokio::task::JoinHandle<()>>);

impl Echo {
    async fn start(bus: &Bus) -> Self {
        let mut tasks = Vec::new();
        for (role, subjects) in [
            (ServiceRole::Issuer, &["kl.*.cmd.key.generate"][..]),
            (ServiceRole::Custodian, &["kl.*.cmd.use.>"]),
            (ServiceRole::EvidenceExporter, &["kl.*.hist.>"]),
        ] {
            let mut service = bus.platform(PlatformUser::Service(role)).await;
            for subject in subjects {
                let mut requests = service.client.subscribe(*subject).await.unwrap();
                let client = service.client.clone();
                tasks.push(tokio::spawn(async move {
                    while let Some(request) = requests.next().await {
                        let Some(reply) = request.reply else { continue };
                        client.publish(reply, request.subject.as_str().to_owned().into()).await.unwrap();
                    }
                }));
            }
            assert_eq!(service.refused().await, [""; 0]);
        }
        Self(tasks)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// An account that the operator signed, with an import of somebody else's subject beside its own, and a user in it who
/// may do everything.
struct Thief {
    user: User,
    id: TenantId,
}

impl Thief {
    async fn start(bus: &Bus, theirs: &str, kind: ExportType) -> Self {
        let (account, signing, key) = (KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
        let id: TenantId = account.public_key().parse().unwrap();
        let platform = bus.operator.platform_account();
        let import = |subject: String, ours: &str, kind| Import {
            name: ours.to_owned(),
            account: platform.to_owned(),
            subject,
            local_subject: ours.to_owned(),
            export_type: Some(kind),
            ..Import::default()
        };
        let ours = if theirs.ends_with('>') { "stolen.>" } else { "stolen" };
        let ours = if theirs.contains('*') { "" } else { ours };
        let mut claims: Claims<Account> = Account::new_claims("thief".to_owned(), account.public_key());
        claims.nats.signing_keys = Some([SigningKey { key: signing.public_key(), scope: None }].into_iter().collect());
        claims.nats.imports = Some(vec![
            import(theirs.to_owned(), ours, kind),
            import(subject::history_all(id), "own.hist.>", ExportType::Service),
            import(subject::events_all(id), "own.evt.>", ExportType::Stream),
        ]);
        let operator = std::fs::read_to_string(bus.dir.path().join("operator/operator-signing.nk")).unwrap();
        bus.provisioner.push(&claims.encode(&KeyPair::from_seed(&operator).unwrap()).unwrap()).await.unwrap();
        let mut user = UserClaims::new_claims("thief".to_owned(), key.public_key());
        user.nats.issuer_account = Some(account.public_key());
        let user = bus.user(&credentials(&user.encode(&signing).unwrap(), &key)).await;
        Self { user, id }
    }

    /// Puts an event into the log of the thief's own tenant.
    async fn own_event(&self, bus: &Bus) {
        let config = serde_json::json!({
            "name": self.id,
            "subjects": [subject::log_all(self.id)],
            "republish": { "src": subject::log_all(self.id), "dest": subject::events_all(self.id) },
        });
        let provisioner = bus.platform(PlatformUser::PROVISIONER).await;
        provisioner.ask(&format!("$JS.API.STREAM.CREATE.{}", self.id), &config.to_string()).await;
        let service = bus.platform(PlatformUser::AllInOne).await;
        record(&service, self.id, EventType::KeySuspended).await;
    }
}

fn credentials(jwt: &str, key: &KeyPair) -> journal_nats::Credentials {
    let seed = key.seed().unwrap();
    journal_nats::Credentials::parse(&format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    ))
    .unwrap()
}

/// Follows a tenant's events, from now on.
async fn follow(user: &mut User) -> Subscriber {
    let events = user.client.subscribe("keylatch.evt.>").await.unwrap();
    assert_eq!(user.refused().await, [""; 0]);
    events
}

/// Puts an event into a tenant's log; gives its sequence.
async fn record(service: &User, tenant: TenantId, event: EventType) -> u64 {
    let answer = service.ask(&subject::log(tenant, event), "an event").await;
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["seq"].as_u64().unwrap()
}
