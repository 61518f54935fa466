//! The webhook in Python, against the real server and a receiver that is not always well.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use journal_nats::permission::TenantUser;
use model::Algorithm;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::subscriber::packages;
use crate::world::World;

/// What a post says, from its header's end on.
async fn read(stream: &mut TcpStream) -> Value {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.unwrap();
        assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
        });
        if body.len() >= length.unwrap() {
            assert!(head.to_ascii_lowercase().contains("idempotency-key: "), "{head}");
            return serde_json::from_str(body).unwrap();
        }
    }
}

/// Takes one post, and answers it like this.
async fn posted(receiver: &TcpListener, status: &str) -> Value {
    let accepted = tokio::time::timeout(Duration::from_secs(60), receiver.accept()).await;
    let (mut stream, _) = accepted.expect("nothing was posted").unwrap();
    let body = read(&mut stream).await;
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    body
}

/// The next post that is not one of `id`'s repeats.
async fn next(receiver: &TcpListener, id: &Value) -> Value {
    loop {
        let body = posted(receiver, "204 No Content").await;
        if body["id"] != *id {
            return body;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_posts_at_least_once_in_order_and_goes_on_where_it_was() {
    let world = World::start().await;
    let mut tenant = world.tenant("one").await;
    let (first, second) = (tenant.generate(Algorithm::Aes256Gcm).await, tenant.generate(Algorithm::Aes256Gcm).await);
    let deployment = world.platform.deployment();
    let user = deployment.operator.tenant(tenant.tenant).unwrap();
    let credentials = world.dir.path().join("reader.creds");
    user.user(TenantUser::Reader, &"webhook".parse().unwrap()).unwrap().save(&credentials).unwrap();
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}/hook", receiver.local_addr().unwrap());
    let state = world.dir.path().join("delivered.txt");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/subscribe/webhook.py");
    let start = || -> Child {
        Command::new("python3")
            .arg(&script)
            .args([&world.platform.url(), credentials.to_str().unwrap(), &deployment.root.to_string(), &target])
            .arg(&state)
            .env("PYTHONPATH", packages())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("http_proxy")
            .env("no_proxy", "127.0.0.1")
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };

    let mut running = start();
    tenant.request(first).await;
    let refused = posted(&receiver, "500 Not now").await;
    assert_eq!((&refused["type"], &refused["subject"]), (&"activation.requested".into(), &first.to_string().into()));
    assert!(refused["data"].get("command").is_none() && refused["data"]["reason"]["text"] == "a test", "{refused:#}");
    assert!(!state.exists(), "what was not taken is not delivered");
    let again = posted(&receiver, "200 OK").await;
    assert_eq!(again, refused, "the same, until it is taken");

    // Killed while the next one is on its way: it comes again, and nothing before it does.
    tenant.activate(second).await;
    let accepted = tokio::time::timeout(Duration::from_secs(60), receiver.accept()).await.unwrap().unwrap();
    let (mut unanswered, _) = accepted;
    let lost = read(&mut unanswered).await;
    assert_eq!((&lost["type"], &lost["subject"]), (&"activation.requested".into(), &second.to_string().into()));
    running.kill().await.unwrap();
    drop(unanswered);
    assert_eq!(std::fs::read_to_string(&state).unwrap().trim(), refused["sequence"].to_string());

    let mut running = start();
    let resumed = next(&receiver, &refused["id"]).await;
    assert_eq!(resumed, lost);
    let mut types = Vec::new();
    while types.last().is_none_or(|last| last != "key.activated") {
        types.push(next(&receiver, &lost["id"]).await["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(types, ["activation.authorized", "key.activated"]);
    running.kill().await.unwrap();
}
