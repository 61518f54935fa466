//! The child process: it starts, stops, comes back, and is never left behind.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use journal_nats::server::{Error, Server, Settings, SyncInterval};
use journal_nats::{Operator, PlatformUser, Tenant};

use crate::bus::{Bus, User, settings};

const DIR: &str = "KEYLATCH_TEST_PARENT_DIR";

#[tokio::test]
async fn restarts_on_the_same_streams_accounts_and_port() {
    let mut bus = Bus::start().await;
    let tenant = bus.tenant("acme").await;
    let service = bus.platform(PlatformUser::AllInOne).await;
    record(&service, &tenant).await;
    let settings = bus.server.settings();
    bus.server.stop().await;
    bus.server = Server::start(settings).await.unwrap();
    // The connection of before is made anew by itself, and the tenant's account is still known.
    assert_eq!(messages(&service, &tenant).await, 1);
    assert!(bus.member(&tenant).await.nobody_listens("keylatch.hist.get").await);
}

#[tokio::test]
async fn keeps_what_it_acknowledged_through_a_crash() {
    let mut bus = Bus::start().await;
    let tenant = bus.tenant("acme").await;
    let service = bus.platform(PlatformUser::AllInOne).await;
    for _ in 0..10 {
        record(&service, &tenant).await;
    }
    let settings = bus.server.settings();
    bus.server.kill().await;
    bus.server = Server::start(settings).await.unwrap();
    assert_eq!(messages(&service, &tenant).await, 10);
}

#[tokio::test]
async fn syncs_before_it_acknowledges_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let operator = Operator::open(&dir.path().join("operator")).unwrap();
    for (sync, always) in [(SyncInterval::Always, true), (SyncInterval::Every(Duration::from_secs(60)), false)] {
        let server = Server::start(Settings { sync, ..settings(dir.path(), &operator) }).await.unwrap();
        let system = operator.system_credentials().unwrap();
        let system = journal_nats::connect::connect_as(&server.url(), &system, "test").await.unwrap();
        let answer = system.request("$SYS.REQ.SERVER.PING.JSZ", "".into()).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(answer["data"]["config"]["sync_always"].as_bool().unwrap_or_default(), always, "{answer}");
        server.stop().await;
    }
}

#[tokio::test]
async fn tells_when_it_ends_by_itself() {
    let bus = Bus::start().await;
    let (server, _) = pids(&bus.dir.path().join("server"));
    kill(server);
    assert!(bus.server.ended().await.iter().any(|line| line.contains("Server is ready")));
}

#[tokio::test]
async fn is_killed_when_dropped() {
    let bus = Bus::start().await;
    let connection = TcpStream::connect(("127.0.0.1", bus.server.port())).unwrap();
    drop(bus.server);
    wait_for_the_end(&bus.dir.path().join("server"), connection);
}

#[test]
fn dies_with_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let mut parent = Parent::start(dir.path());
    let connection = TcpStream::connect(("127.0.0.1", parent.port)).unwrap();
    // SIGKILL: nothing of the parent's own can run any more.
    parent.process.kill().unwrap();
    parent.process.wait().unwrap();
    wait_for_the_end(&dir.path().join("server"), connection);
}

#[tokio::test]
async fn ends_one_that_was_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut parent = Parent::start(dir.path());
    let (server, supervisor) = pids(&dir.path().join("server"));
    kill(supervisor);
    parent.process.kill().unwrap();
    parent.process.wait().unwrap();
    assert!(runs(server), "the server is an orphan and lives");

    let operator = Operator::open(&dir.path().join("operator")).unwrap();
    let port = Some(parent.port);
    let ours = Server::start(Settings { port, ..settings(dir.path(), &operator) }).await.unwrap();
    assert_eq!(ours.port(), parent.port);
    assert!(!runs(server), "the orphan is gone");
}

#[tokio::test]
async fn rejects_a_directory_that_another_process_serves() {
    let dir = tempfile::tempdir().unwrap();
    let parent = Parent::start(dir.path());
    let operator = Operator::open(&dir.path().join("operator")).unwrap();
    let Err(Error::InUse { owner, .. }) = Server::start(settings(dir.path(), &operator)).await else {
        panic!("two servers on one store")
    };
    assert_eq!(owner, parent.process.id());
    assert!(TcpStream::connect(("127.0.0.1", parent.port)).is_ok(), "theirs goes on");
}

#[tokio::test]
async fn tells_why_it_did_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let operator = Operator::open(&dir.path().join("operator")).unwrap();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = Some(taken.local_addr().unwrap().port());
    let Err(Error::Ended { lines, status }) = Server::start(Settings { port, ..settings(dir.path(), &operator) }).await
    else {
        panic!("two listeners on one port")
    };
    assert!(!status.unwrap().success());
    assert!(lines.iter().any(|line| line.contains(&taken.local_addr().unwrap().to_string())), "{lines:#?}");

    let binary = dir.path().join("nothing-here");
    let Err(Error::Ended { lines, .. }) = Server::start(Settings { binary, ..settings(dir.path(), &operator) }).await
    else {
        panic!("nothing was run")
    };
    assert!(lines.iter().any(|line| line.contains("nothing-here")), "{lines:#?}");
}

/// The parent that the tests above kill: this test, run in a process of its own.
#[test]
#[ignore = "run by other tests"]
fn parent_of_a_server() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let operator = Operator::open(&dir.join("operator")).unwrap();
    let server = runtime.block_on(Server::start(settings(&dir, &operator))).unwrap();
    println!("\nserves {}", server.port());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// A process that runs a server. It ends with this handle.
struct Parent {
    process: Child,
    port: u16,
}

impl Parent {
    fn start(dir: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server::parent_of_a_server", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let port = lines.filter_map(|line| line.strip_prefix("serves ")?.parse().ok()).next();
        Self { process, port: port.expect("the child starts a server") }
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits, without looking twice, until a server and its supervisor are gone: the one closes its connections, and the
/// lock that both hold falls.
fn wait_for_the_end(dir: &Path, mut connection: TcpStream) {
    // The bound is for the case that it is not.
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let read = connection.read_to_end(&mut Vec::new());
    assert!(!read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "the server goes on");
    File::open(dir.join("lock")).unwrap().lock().unwrap();
}

/// A server's pid and its supervisor's.
fn pids(dir: &Path) -> (u32, u32) {
    let pids = std::fs::read_to_string(dir.join("nats.pid")).unwrap();
    let pids: Vec<u32> = pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    (pids[0], pids[1])
}

/// Whether a process runs. One that has ended and was not reaped has no command line.
fn runs(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-s", "KILL", &pid.to_string()]).status().unwrap().success());
}

async fn record(service: &User, tenant: &Tenant) {
    let answer = service.ask(&format!("kl.{}.log.key.generated", tenant.id()), "an event").await;
    assert!(answer.contains("\"seq\""), "{answer}");
}

async fn messages(service: &User, tenant: &Tenant) -> u64 {
    let answer = service.ask(&format!("$JS.API.STREAM.INFO.{}", tenant.id()), "").await;
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["state"]["messages"].as_u64().unwrap()
}
