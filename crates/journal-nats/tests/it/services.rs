//! Each service's user: what is its own to say and hear gets through, everything else is refused.

use futures_util::StreamExt as _;
use journal_nats::{PlatformUser, inbox_prefix};
use model::{Action, EventType, ServiceRole, TenantId, subject};
use serde_json::Value;

use crate::bus::{Bus, User};

/// The roles of each user, as people would say it; the table under test is not asked.
fn roles(user: PlatformUser) -> Vec<ServiceRole> {
    match user {
        PlatformUser::Service(role) => vec![role],
        PlatformUser::AllInOne => ServiceRole::SERVICES.to_vec(),
        PlatformUser::Monitor => Vec::new(),
    }
}

#[tokio::test]
async fn each_user_records_the_events_of_its_roles_and_no_others() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("acme").await.id();
    let mut recorded = 0;
    for user in PlatformUser::ALL {
        let mut client = bus.platform(user).await;
        for event in EventType::ALL {
            let subject = subject::log(tenant, *event);
            if event.signers().iter().any(|signer| roles(user).contains(signer)) {
                recorded += 1;
                let answer: Value = serde_json::from_str(&client.ask(&subject, "an event").await).unwrap();
                assert_eq!(answer["seq"], recorded, "{} {event}", user.name());
            } else {
                assert!(!client.may_publish(&subject).await, "{} {event}", user.name());
            }
        }
        assert_eq!(client.refused().await, [""; 0], "{}", user.name());
    }
    let monitor = bus.platform(PlatformUser::Monitor).await;
    assert_eq!(messages(&monitor, tenant).await, recorded, "nothing refused was stored");
}

#[tokio::test]
async fn nobody_puts_an_event_past_the_log() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("acme").await;
    let member = bus.member(&tenant).await;
    let mut events = member.client.subscribe("keylatch.evt.>").await.unwrap();
    assert!(member.nobody_listens("keylatch.hist.get").await, "subscribed by now");
    for user in PlatformUser::ALL {
        let mut client = bus.platform(user).await;
        assert!(!client.may_publish(&format!("kl.{}.evt.key.activated", tenant.id())).await, "{}", user.name());
    }
    let service = bus.platform(PlatformUser::AllInOne).await;
    service.ask(&subject::log(tenant.id(), EventType::KeySuspended), "an event").await;
    assert_eq!(events.next().await.unwrap().subject.as_str(), "keylatch.evt.key.suspended");
}

#[tokio::test]
async fn nobody_in_service_makes_alters_or_deletes_a_stream_or_makes_a_consumer() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("acme").await.id();
    let service = bus.platform(PlatformUser::AllInOne).await;
    service.ask(&subject::log(tenant, EventType::KeyGenerated), "an event").await;
    let refused = [
        "STREAM.UPDATE.<T>",
        "STREAM.DELETE.<T>",
        "STREAM.PURGE.<T>",
        "STREAM.MSG.DELETE.<T>",
        "STREAM.SNAPSHOT.<T>",
        "STREAM.RESTORE.<T>",
        "STREAM.PEER.REMOVE.<T>",
        "STREAM.LEADER.STEPDOWN.<T>",
        "CONSUMER.CREATE.<T>",
        "CONSUMER.CREATE.<T>.c",
        "CONSUMER.CREATE.<T>.c.kl.<T>.log.>",
        "CONSUMER.DURABLE.CREATE.<T>.c",
        "CONSUMER.DELETE.<T>.c",
        "CONSUMER.MSG.NEXT.<T>.c",
        "ACCOUNT.PURGE.acme",
        "META.LEADER.STEPDOWN",
    ];
    for user in PlatformUser::ALL {
        let mut client = bus.platform(user).await;
        for api in refused {
            let subject = format!("$JS.API.{}", api.replace("<T>", &tenant.to_string()));
            assert!(!client.may_publish(&subject).await, "{} {api}", user.name());
        }
        let may_create = user == PlatformUser::PROVISIONER;
        assert_eq!(client.may_publish("$JS.API.STREAM.CREATE.more").await, may_create, "{}", user.name());
        assert!(!client.may_publish("$JS.API.STREAM.CREATE.more.than.one").await);
    }
    let monitor = bus.platform(PlatformUser::Monitor).await;
    assert_eq!(messages(&monitor, tenant).await, 1);
}

#[tokio::test]
async fn creating_a_stream_again_does_not_alter_it() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("acme").await.id();
    let provisioner = bus.platform(PlatformUser::PROVISIONER).await;
    let info = || provisioner.ask("$JS.API.STREAM.LIST", "");
    let before: Value = serde_json::from_str(&info().await).unwrap();
    let other = serde_json::json!({ "name": tenant, "subjects": [subject::log_all(tenant)], "max_msgs": 1 });
    let answer = provisioner.ask(&format!("$JS.API.STREAM.CREATE.{tenant}"), &other.to_string()).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["error"]["err_code"], 10058);
    let after: Value = serde_json::from_str(&info().await).unwrap();
    assert_eq!(before["streams"][0]["config"], after["streams"][0]["config"]);
}

#[tokio::test]
async fn services_read_the_log_without_a_consumer() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("acme").await.id();
    let service = bus.platform(PlatformUser::AllInOne).await;
    for event in [EventType::KeyGenerated, EventType::KeyActivated, EventType::KeySuspended] {
        service.ask(&subject::log(tenant, event), event.name()).await;
    }
    let (direct, stored) = (format!("$JS.API.DIRECT.GET.{tenant}"), format!("$JS.API.STREAM.MSG.GET.{tenant}"));
    for user in PlatformUser::ALL {
        let mut client = bus.platform(user).await;
        assert_eq!(messages(&client, tenant).await, 3, "{}", user.name());
        assert!(client.ask("$JS.API.STREAM.NAMES", "").await.contains(&tenant.to_string()));
        if user == PlatformUser::Monitor {
            assert!(!client.may_publish(&direct).await);
            assert!(!client.may_publish(&stored).await);
            continue;
        }
        assert_eq!(client.ask(&direct, r#"{"seq":2}"#).await, "key.activated");
        let last = format!("{direct}.{}", subject::log(tenant, EventType::KeySuspended));
        assert_eq!(client.ask(&last, "").await, "key.suspended");
        assert!(client.ask(&stored, r#"{"seq":1}"#).await.contains("\"data\""));
        // Many at a time, which is what a consumer would otherwise be for.
        let inbox = client.client.new_inbox();
        let mut answers = client.client.subscribe(inbox.clone()).await.unwrap();
        let request = r#"{"seq":1,"batch":100}"#;
        client.client.publish_with_reply(direct.clone(), inbox, request.into()).await.unwrap();
        let first: Vec<_> = answers.by_ref().take(3).map(|answer| answer.payload).collect().await;
        assert_eq!(first, ["key.generated", "key.activated", "key.suspended"].map(bytes::Bytes::from));
        assert_eq!(answers.next().await.unwrap().status.unwrap().as_u16(), 204, "the end of the batch");
    }
}

#[tokio::test]
async fn each_user_hears_the_commands_of_its_roles_and_no_others() {
    let bus = Bus::start().await;
    let hears = |role, action: &str| match role {
        ServiceRole::Issuer => ["key.generate", "key.revalidate"].contains(&action),
        ServiceRole::Approver => {
            !["key", "use", "tenant", "evidence", "control"].contains(&action.split_once('.').unwrap().0)
        }
        ServiceRole::Activator => {
            action.starts_with("key.") && !["key.generate", "key.revalidate", "key.prove"].contains(&action)
        }
        ServiceRole::Custodian => action.starts_with("use.") || action == "key.prove",
        ServiceRole::EvidenceExporter => action.starts_with("evidence.") || action.starts_with("control."),
        ServiceRole::Expirer | ServiceRole::Registrar => false,
    };
    for user in PlatformUser::ALL {
        let mut client = bus.platform(user).await;
        for action in Action::NAMES {
            let wanted = roles(user).into_iter().any(|role| hears(role, action));
            let subject = format!("kl.*.cmd.{action}");
            assert_eq!(client.may_subscribe(&subject).await, wanted, "{} {action}", user.name());
        }
        for (subject, role) in [
            ("kl.*.hist.>", ServiceRole::EvidenceExporter),
            ("kl.*.lease.get", ServiceRole::EvidenceExporter),
            ("kl.*.custody.generate", ServiceRole::Custodian),
        ] {
            let wanted = roles(user).contains(&role);
            assert_eq!(client.may_subscribe(subject).await, wanted, "{} {subject}", user.name());
        }
        let follows = user != PlatformUser::Monitor;
        assert_eq!(client.may_subscribe(subject::ALL_EVENTS).await, follows, "{}", user.name());
    }
}

#[tokio::test]
async fn nobody_hears_what_is_meant_for_another() {
    let bus = Bus::start().await;
    for user in PlatformUser::ALL {
        let mut client = bus.platform(user).await;
        let inbox = client.inbox.clone();
        assert!(client.may_subscribe(&format!("{inbox}.>")).await, "{}", user.name());
        assert!(client.may_subscribe(&format!("{inbox}.one")).await, "{}", user.name());
        for other in PlatformUser::ALL.into_iter().filter(|other| *other != user) {
            let other = inbox_prefix(bus.operator.credentials(other).unwrap().user());
            assert!(!client.may_subscribe(&format!("{other}.>")).await, "{}", user.name());
            assert!(!client.may_publish(&format!("{other}.one")).await, "{}", user.name());
        }
        let wide = [">", "*", "*.>", "_INBOX.>", "_INBOX.*.>", "_R_.>", "kl.>", "kl.*.log.>", "kl.*.cmd.>", "$JS.>"];
        for subject in wide {
            assert!(!client.may_subscribe(subject).await, "{} {subject}", user.name());
        }
    }
}

#[tokio::test]
async fn services_ask_each_other_and_answer_once() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("acme").await.id();
    let service = |role| bus.platform(PlatformUser::Service(role));
    let (mut issuer, mut custodian) = (service(ServiceRole::Issuer).await, service(ServiceRole::Custodian).await);
    let generate = subject::custody_generate(tenant);
    let mut requests = custodian.client.subscribe("kl.*.custody.generate").await.unwrap();
    assert_eq!(custodian.refused().await, [""; 0]);

    let mut inbox = issuer.client.subscribe(format!("{}.answers", issuer.inbox)).await.unwrap();
    let reply = format!("{}.answers", issuer.inbox);
    assert!(!custodian.may_publish(&reply).await, "unasked");
    issuer.client.publish_with_reply(generate.clone(), reply.clone(), "please".into()).await.unwrap();
    assert_eq!(requests.next().await.unwrap().reply.unwrap().as_str(), reply);
    assert!(custodian.may_publish(&reply).await, "asked");
    assert!(!custodian.may_publish(&reply).await, "a second time");
    assert_eq!(inbox.next().await.unwrap().payload, "a test");

    assert_eq!(issuer.refused().await, [""; 0]);
    for user in PlatformUser::ALL {
        let mut client = bus.platform(user).await;
        let asks = |role| roles(user).contains(&role);
        assert_eq!(client.may_publish(&generate).await, asks(ServiceRole::Issuer), "{}", user.name());
        assert_eq!(client.may_publish(&subject::lease(tenant)).await, asks(ServiceRole::Custodian), "{}", user.name());
        // No service gives commands, but the exporter those that it probes with.
        let probes = ["key.activate", "use.encrypt", "use.sign", "use.wrap"].map(|action| (action, true));
        let others = ["activation.approve", "key.resume", "use.decrypt", "use.unwrap"].map(|action| (action, false));
        for (action, probe) in probes.into_iter().chain(others) {
            let wanted = probe && asks(ServiceRole::EvidenceExporter);
            assert_eq!(client.may_publish(&format!("kl.{tenant}.cmd.{action}")).await, wanted, "{}", user.name());
        }
    }
}

/// The known limit: a reply subject carries the server's own answer where who asked may not publish. What comes to stand
/// in the log is no signed event, and so is void to whoever reads it.
#[tokio::test]
async fn a_reply_subject_carries_an_answer_past_the_permissions() {
    let bus = Bus::start().await;
    let tenant = bus.tenant("acme").await.id();
    let mut issuer = bus.platform(PlatformUser::Service(ServiceRole::Issuer)).await;
    let activated = subject::log(tenant, EventType::KeyActivated);
    let mut events = issuer.client.subscribe(subject::ALL_EVENTS).await.unwrap();
    issuer.client.publish_with_reply("$JS.API.INFO", activated.clone(), "".into()).await.unwrap();
    assert_eq!(issuer.refused().await, [""; 0]);
    // The server answers in its own time; what is republished has been stored.
    events.next().await.unwrap();
    let last = format!("$JS.API.DIRECT.GET.{tenant}.{activated}");
    assert!(issuer.ask(&last, "").await.contains("account_info_response"));
}

#[tokio::test]
async fn services_can_be_discovered() {
    let bus = Bus::start().await;
    let mut monitor = bus.platform(PlatformUser::Monitor).await;
    let mut issuer = bus.platform(PlatformUser::Service(ServiceRole::Issuer)).await;
    let mut pings = issuer.client.subscribe("$SRV.PING").await.unwrap();
    assert_eq!(issuer.refused().await, [""; 0]);
    let (answer, _) = tokio::join!(monitor.ask("$SRV.PING", ""), async {
        let ping = pings.next().await.unwrap();
        issuer.client.publish(ping.reply.unwrap(), "here".into()).await.unwrap();
    });
    assert_eq!(answer, "here");
    assert!(!monitor.may_subscribe("$SRV.>").await);
    assert!(!issuer.may_publish("$SRV.PING").await);
    assert!(!bus.platform(PlatformUser::PROVISIONER).await.may_publish("$SRV.PING").await);
}

async fn messages(client: &User, tenant: TenantId) -> u64 {
    let answer = client.ask(&format!("$JS.API.STREAM.INFO.{tenant}"), "").await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["state"]["messages"].as_u64().unwrap()
}
