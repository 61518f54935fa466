//! `keylatch doctor --dir`: how a platform is, for whoever runs it. Asks every service, as the user that may do nothing
//! else, and looks at the folder. Changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt as _;
use journal_nats::connect;
use journal_sled::{Alarm, AlarmKind};
use model::{ServiceRole, TenantId};
use serde::Deserialize;
use serde_json::{Value, json};
use service::health::{Alarmed, HEALTH, Health, Outsider, service_name};

use super::{Check, Diagnosis};
use crate::error::{Error, Exit};
use crate::screen::Screen;
use crate::words::name_of;

/// What is secret in the folder: these, and everything below them, are their owner's alone.
const SECRET: [&str; 5] = ["root", "registrar", "services", "operator", "keys"];
/// What is written to while the platform runs.
const WRITTEN: [&str; 3] = ["nats", "state", "keys"];
/// How many files are named that others can read.
const NAMED_MAX: usize = 5;
/// How much is written to see whether there is room.
const TRIED_BYTES: usize = 64 * 1024;
/// How long the first service has to answer, and each further one after that: nobody knows how many there are.
const FIRST_ANSWER: Duration = Duration::from_secs(3);
const NEXT_ANSWER: Duration = Duration::from_millis(500);

/// Runs `keylatch doctor --dir`.
pub(super) async fn run(dir: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    if !dir.join("root").is_dir() {
        let advice = "name the folder that `keylatch up --dir` runs on";
        return Err(Error::file(dir, "there is no platform in it", advice));
    }
    let mut diagnosis = Diagnosis::default();
    diagnosis.checks.push(secrets(dir));
    diagnosis.checks.push(disk(dir));
    match ask(dir).await {
        Ok((url, services)) => {
            diagnosis.checks.push(Check::good("server", url));
            examine(&services, &mut diagnosis);
        }
        Err(error) => diagnosis.add_error("server", &error),
    }
    screen.show(&diagnosis)?;
    Ok(diagnosis.exit())
}

// === The folder ===

fn secrets(dir: &Path) -> Check {
    let mut seen = Seen::default();
    let looked =
        look(dir, &mut seen).and_then(|()| SECRET.iter().try_for_each(|part| walk(&dir.join(part), &mut seen)));
    if let Err(error) = looked {
        return Check::bad("secrets", error.to_string(), "run this as the user that the platform runs as");
    }
    if seen.loose.is_empty() {
        return Check::good("secrets", format!("{} files and folders are their owner's alone", seen.count));
    }
    let named: Vec<&str> = seen.loose.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = match seen.loose.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let found = format!("open to others than their owner: {}{more}", named.join(", "));
    let advice = format!(
        "find out who may have read them; then `chmod -R go= {}`: until then the platform does not start again",
        dir.display()
    );
    Check::bad("secrets", found, advice)
}

/// What was looked at, and what of it others can get at.
#[derive(Default)]
struct Seen {
    count: usize,
    loose: Vec<String>,
}

fn look(path: &Path, seen: &mut Seen) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    seen.count += 1;
    if !metadata.is_symlink() && metadata.mode() & 0o077 != 0 {
        seen.loose.push(format!("{} (mode {:04o})", path.display(), metadata.mode() & 0o7777));
    }
    Ok(())
}

fn walk(path: &Path, seen: &mut Seen) -> io::Result<()> {
    match look(path, seen) {
        // Made and removed while we look.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        looked => looked?,
    }
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), seen)?;
        }
    }
    Ok(())
}

fn disk(dir: &Path) -> Check {
    // Where the roles run as processes of their own, not all of it is here.
    let parts = WRITTEN.map(|part| dir.join(part));
    let tried = parts.iter().filter(|part| part.is_dir()).try_for_each(|part| try_to_write(part));
    match tried {
        Ok(()) => Check::good("disk", "there is room, and it is written and synced"),
        Err((path, error)) => {
            let advice = "make room, or mend the mount: without it nothing is recorded";
            Check::bad("disk", format!("{}: {error}", path.display()), advice)
        }
    }
}

/// Writes a file without a name, which is gone when it is closed.
fn try_to_write(dir: &Path) -> Result<(), (PathBuf, io::Error)> {
    let write = || {
        let mut file = tempfile::tempfile_in(dir)?;
        file.write_all(&[0; TRIED_BYTES])?;
        file.sync_all()
    };
    write().map_err(|error| (dir.to_owned(), error))
}

// === The services ===

/// What a service says on `$SRV.STATS`.
#[derive(Deserialize)]
struct Stats {
    name: String,
    id: String,
    version: String,
    started: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    name: String,
    data: Option<Value>,
}

impl Stats {
    fn health(&self) -> Option<Health> {
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.name == HEALTH)?;
        serde_json::from_value(endpoint.data.clone()?).ok()
    }
}

/// Asks every service how it is. Gives the server's address and what was answered.
async fn ask(dir: &Path) -> Result<(String, Vec<Stats>), Error> {
    let path = dir.join("port");
    let port = fs::read_to_string(&path).map_err(|error| Error::file(&path, error, "start `keylatch up` once"))?;
    let url = format!("nats://127.0.0.1:{}", port.trim());
    let credentials = dir.join("operator/platform/monitor.creds");
    let advice = "see that `keylatch up` runs on this folder; the server's own log is nats/nats.log in it";
    let unreachable = |error: connect::Error| Error::unreachable(error, advice);
    let client = connect::connect(&url, &credentials, "keylatch doctor").await.map_err(unreachable)?;
    let stats = gather(&client).await.map_err(|error| Error::unreachable(error, advice))?;
    Ok((url, stats))
}

/// Each role is asked by its name and answers to a subject of its own: a connection may answer each subject once, and
/// `keylatch up` has all six roles on one.
async fn gather(client: &Client) -> Result<Vec<Stats>, async_nats::Error> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(format!("{inbox}.*")).await?;
    for role in ServiceRole::SERVICES {
        let reply = format!("{inbox}.{role}");
        client.publish_with_reply(format!("$SRV.STATS.{}", service_name(role)), reply, "".into()).await?;
    }
    client.flush().await?;
    let mut stats: Vec<Stats> = Vec::new();
    let mut patience = FIRST_ANSWER;
    while let Ok(Some(answer)) = tokio::time::timeout(patience, answers.next()).await {
        patience = NEXT_ANSWER;
        // Where nobody has that name the server says so, with an empty message.
        stats.extend(serde_json::from_slice::<Stats>(&answer.payload).ok());
    }
    stats.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    Ok(stats)
}

/// What was looked at, and in whose eyes an alarm stands.
type Alarms = BTreeMap<(TenantId, AlarmKind, u64), (Alarm, Vec<&'static str>)>;

fn examine(stats: &[Stats], diagnosis: &mut Diagnosis) {
    let mut alarms = Alarms::new();
    for role in ServiceRole::SERVICES {
        let name = service_name(role);
        let mut instances = stats.iter().filter(|stats| stats.name == name).peekable();
        if instances.peek().is_none() {
            diagnosis.checks.push(Check::bad(role.name(), "no instance answers", missing(role)));
        }
        for stats in instances {
            let health = stats.health();
            diagnosis.checks.push(instance(role, stats, health.as_ref()));
            diagnosis.services.push(to_json(role, stats, health.as_ref()));
            diagnosis.checks.extend(health.iter().flat_map(|health| &health.outside).map(outsider));
            for Alarmed { tenant, alarm } in health.into_iter().flat_map(|health| health.alarms) {
                let place = (tenant, alarm.kind, alarm.sequence.0);
                alarms.entry(place).or_insert_with(|| (alarm, Vec::new())).1.push(role.name());
            }
        }
    }
    if alarms.is_empty() && !stats.is_empty() {
        diagnosis.checks.push(Check::good("alarms", "none"));
    }
    diagnosis.checks.extend(alarms.into_iter().map(|((tenant, ..), (alarm, by))| alarm_check(tenant, &alarm, &by)));
}

fn instance(role: ServiceRole, stats: &Stats, health: Option<&Health>) -> Check {
    let Some(Health { instance, tenants, stale_seconds, .. }) = health else {
        let found = format!("{} answers, and does not say how it is (version {})", stats.id, stats.version);
        return Check::bad(role.name(), found, "start it anew, in the version of the others");
    };
    let since = stats.started.split(['.', 'Z']).next().unwrap_or_default();
    let said = format!("`{instance}`, version {}, since {since}Z", stats.version);
    let (meaning, advice) = words(AlarmKind::Stale);
    match (tenants, stale_seconds) {
        (_, Some(age)) => Check::bad(role.name(), format!("{said}; stale for {age} s: {meaning}"), advice),
        (None, None) => {
            let advice =
                "see its log; where the disk is sound, remove `replica/store` in its state folder and start it anew";
            Check::bad(role.name(), format!("{said}; its replica can't be read"), advice)
        }
        (Some(tenants), None) => Check::good(role.name(), format!("{said}, tenants: {tenants}")),
    }
}

/// How a witness or a time-stamping authority answers. What it has to object to may be the most important thing here.
fn outsider(outsider: &Outsider) -> Check {
    let Outsider { name, kept, last, waiting, trouble } = outsider;
    let last = last.map(|last| format!(", the last at {last}")).unwrap_or_default();
    let found = format!("{name}: vouched for {kept} checkpoints since the start{last}; {waiting} wait");
    match trouble {
        None => Check::good("outside", found),
        Some(trouble) => {
            let found = format!("{found}; at {} of tenant {}: {}", trouble.at, trouble.tenant, trouble.what);
            Check::doubtful("outside", found, "see docs/operating.md, Witnesses; it is asked again by itself")
        }
    }
}

fn alarm_check(tenant: TenantId, alarm: &Alarm, by: &[&str]) -> Check {
    let (meaning, advice) = words(alarm.kind);
    let found = format!(
        "tenant {tenant}: `{}` at event {} since {}: {meaning} ({}); noticed by {}",
        name_of(&alarm.kind),
        alarm.sequence.0,
        alarm.since,
        alarm.seen,
        by.join(", ")
    );
    Check::bad("alarm", found, advice)
}

fn to_json(role: ServiceRole, stats: &Stats, health: Option<&Health>) -> Value {
    let alarm = |Alarmed { tenant, alarm }: &Alarmed| {
        let (meaning, advice) = words(alarm.kind);
        json!({ "tenant": tenant, "alarm": alarm, "meaning": meaning, "advice": advice })
    };
    json!({
        "role": role,
        "id": stats.id,
        "version": stats.version,
        "started": stats.started,
        "instance": health.map(|health| &health.instance),
        "tenants": health.and_then(|health| health.tenants),
        "stale_seconds": health.and_then(|health| health.stale_seconds),
        "outside": health.map(|health| &health.outside),
        "alarms": health.map(|health| health.alarms.iter().map(alarm).collect::<Vec<_>>()),
    })
}

/// What does not happen without a role, and what to do.
fn missing(role: ServiceRole) -> String {
    let what = match role {
        ServiceRole::Issuer => "no key is generated",
        ServiceRole::Approver => "nothing is requested, approved or governed",
        ServiceRole::Activator => "no key is activated, suspended or destroyed",
        ServiceRole::Expirer => "nothing lapses or expires",
        ServiceRole::EvidenceExporter => "there is no history, and without its word no key can be used",
        ServiceRole::Custodian => "no key can be used",
        ServiceRole::Registrar => "no tenant is made",
    };
    format!("without it {what}; see that it runs, and its log")
}

/// What an alarm means, and what to do.
fn words(kind: AlarmKind) -> (&'static str, &'static str) {
    match kind {
        AlarmKind::Stale => (
            "the log could not be compared, so nothing is written for anybody",
            "see that the server runs and answers; it passes by itself",
        ),
        AlarmKind::UnknownRules => (
            "the chain is under rules that this program does not know",
            "install the version that the other services have, and start it anew; that takes the alarm back",
        ),
        AlarmKind::Behind => (
            "the log has less than was seen of it: an older copy was put back, or it was cut",
            "stop the platform, keep what is there, and put the newest copy of the server's store back; \
             see docs/operating.md, Alarms",
        ),
        AlarmKind::Hole => (
            "an event is missing inside the log",
            "stop the platform, keep what is there, and put a whole copy of the server's store back; \
             see docs/operating.md, Alarms",
        ),
        AlarmKind::Differs => (
            "the log has other bytes than were seen there before: somebody has changed it, or put another in its place",
            "find out who can write to the server's store, and what an export of before says; \
             see docs/operating.md, Alarms",
        ),
        AlarmKind::Fork => (
            "an authentic event does not fit into the chain: a service's key has signed two histories",
            "find out who has had that service's key, and stop whoever has it; see docs/operating.md, Alarms",
        ),
    }
}

#[cfg(test)]
mod tests {
    use model::Sequence;

    use super::super::Verdict;
    use super::*;

    fn stats(role: ServiceRole, data: Value) -> Stats {
        let endpoints = vec![Endpoint { name: HEALTH.into(), data: Some(data) }];
        let (id, version, started) = ("ID".to_owned(), "0.1.0".to_owned(), "2026-01-01T00:00:00Z".to_owned());
        Stats { name: service_name(role), id, version, started, endpoints }
    }

    fn well() -> Value {
        json!({ "instance": "one", "tenants": 2, "alarms": [], "stale_seconds": null })
    }

    /// How it is where one service says this and the others are well.
    fn check(said: Option<Value>, name: &str, verdict: Verdict, wanted: &str) {
        let mut all: Vec<Stats> = ServiceRole::SERVICES.map(|role| stats(role, well())).into();
        all.remove(0);
        all.extend(said.map(|said| stats(ServiceRole::Issuer, said)));
        let mut diagnosis = Diagnosis::default();
        examine(&all, &mut diagnosis);
        let found: Vec<&Check> = diagnosis.checks.iter().filter(|check| check.name == name).collect();
        assert_eq!(found.len(), 1, "{diagnosis:#?}");
        assert_eq!(found[0].verdict, verdict);
        assert!(found[0].found.contains(wanted), "{:?}", found[0]);
        assert_eq!(diagnosis.exit() == Exit::Ok, verdict == Verdict::Good);
    }

    #[test]
    fn services_are_well_stale_alarmed_missing_or_silent() {
        check(Some(well()), "issuer", Verdict::Good, "tenants: 2");
        check(Some(well()), "alarms", Verdict::Good, "none");
        check(None, "issuer", Verdict::Bad, "no instance");
        check(Some(Value::Null), "issuer", Verdict::Bad, "does not say");
        let stale = json!({ "instance": "one", "tenants": 2, "alarms": [], "stale_seconds": 75 });
        check(Some(stale), "issuer", Verdict::Bad, "stale for 75 s");
        let broken = json!({ "instance": "one", "tenants": null, "alarms": [], "stale_seconds": null });
        check(Some(broken), "issuer", Verdict::Bad, "can't be read");
    }

    #[test]
    fn those_outside_are_told_of_with_what_is_wrong() {
        let mut data = well();
        let trouble = json!({ "tenant": TenantId::from_bytes([7; 32]), "at": "2026-01-01T00:00:00.000Z", "what": "it answers 500" });
        data["outside"] = json!([
            { "name": "witness.example/w1", "kept": 7, "last": "2026-01-01T00:00:00.000Z", "waiting": 0, "trouble": null },
            { "name": "witness.example/w2", "kept": 0, "last": null, "waiting": 3, "trouble": trouble },
        ]);
        let mut diagnosis = Diagnosis::default();
        examine(
            &ServiceRole::SERVICES
                .map(|role| stats(role, if role == ServiceRole::EvidenceExporter { data.clone() } else { well() })),
            &mut diagnosis,
        );
        let outside: Vec<_> = diagnosis.checks.iter().filter(|check| check.name == "outside").collect();
        assert_eq!(outside.iter().map(|check| check.verdict).collect::<Vec<_>>(), [Verdict::Good, Verdict::Doubtful]);
        assert!(
            outside[0].found.contains("vouched for 7") && outside[1].found.contains("it answers 500"),
            "{outside:?}"
        );
        assert_eq!(diagnosis.exit(), Exit::Ok);
    }

    #[test]
    fn an_alarm_is_told_of_once_whoever_has_it() {
        let tenant = TenantId::from_bytes([7; 32]);
        let since = model::Timestamp::from_unix_millis(0);
        let alarm = Alarm { kind: AlarmKind::Hole, sequence: Sequence(7), seen: "gone".into(), since };
        let mut data = well();
        data["alarms"] = json!([Alarmed { tenant, alarm }]);
        let all = ServiceRole::SERVICES.map(|role| stats(role, data.clone()));
        let mut diagnosis = Diagnosis::default();
        examine(&all, &mut diagnosis);
        let [alarm] = &diagnosis.checks.iter().filter(|check| check.name == "alarm").collect::<Vec<_>>()[..] else {
            panic!("{diagnosis:#?}")
        };
        for wanted in [&tenant.to_string(), "`hole` at event 7", "issuer, approver"] {
            assert!(alarm.found.contains(wanted), "{alarm:?}");
        }
    }
}
