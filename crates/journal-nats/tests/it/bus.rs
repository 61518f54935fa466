//! A bus for one test: an operator, a server, and clients that tell what the server refused them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{Client, Event, RequestErrorKind, ServerError};
use journal_nats::connect;
use journal_nats::server::{self, Server, Settings, SyncInterval};
use journal_nats::{Credentials, Operator, PlatformUser, Provisioner, Tenant, TenantUser};
use tokio::sync::mpsc;

/// The program to test with, or a panic with the finder's advice.
pub(crate) fn binary() -> PathBuf {
    let cache = std::env::var_os("KEYLATCH_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache"));
    server::find(Some(&cache)).unwrap_or_else(|error| panic!("{error}")).path
}

pub(crate) fn settings(dir: &Path, operator: &Operator) -> Settings {
    Settings {
        binary: binary(),
        dir: dir.join("server"),
        port: None,
        sync: SyncInterval::Always,
        accounts: operator.accounts(),
    }
}

/// A server with the platform's accounts on it.
pub(crate) struct Bus {
    pub(crate) operator: Operator,
    pub(crate) server: Server,
    pub(crate) provisioner: Provisioner,
    /// Removed last.
    pub(crate) dir: tempfile::TempDir,
}

impl Bus {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let operator = Operator::open(&dir.path().join("operator")).unwrap();
        let server = Server::start(settings(dir.path(), &operator)).await.unwrap_or_else(|error| panic!("{error}"));
        let provisioner = Provisioner::connect(&operator, &server.url()).await.unwrap();
        Self { operator, server, provisioner, dir }
    }

    pub(crate) async fn tenant(&self, name: &str) -> Tenant {
        let tenant = self.operator.create_tenant(&name.parse().unwrap()).unwrap();
        self.provisioner.provision(&tenant).await.unwrap();
        tenant
    }

    pub(crate) async fn platform(&self, user: PlatformUser) -> User {
        self.user(&self.operator.credentials(user).unwrap()).await
    }

    pub(crate) async fn member(&self, tenant: &Tenant) -> User {
        self.user(&tenant.user(TenantUser::Member, &"someone".parse().unwrap()).unwrap()).await
    }

    pub(crate) async fn reader(&self, tenant: &Tenant) -> User {
        self.user(&tenant.user(TenantUser::Reader, &"someone".parse().unwrap()).unwrap()).await
    }

    pub(crate) async fn user(&self, credentials: &Credentials) -> User {
        let (sender, refusals) = mpsc::unbounded_channel();
        let options = connect::options(credentials, "test").unwrap().event_callback(move |event| {
            if let Event::ServerError(ServerError::Other(error)) = event {
                let _ = sender.send(error);
            }
            std::future::ready(())
        });
        let client = options.connect(self.server.url()).await.unwrap();
        User { client, refusals, markers: 0, inbox: credentials.inbox_prefix() }
    }
}

/// A connection, and what the server refused it.
pub(crate) struct User {
    pub(crate) client: Client,
    pub(crate) inbox: String,
    refusals: mpsc::UnboundedReceiver<String>,
    markers: usize,
}

impl User {
    /// What the server has refused so far. It answers in order, so everything before a publish that it refuses for
    /// certain has been judged when that refusal comes.
    pub(crate) async fn refused(&mut self) -> Vec<String> {
        self.markers += 1;
        let marker = format!("nobody.may.say.this.{}", self.markers);
        self.client.publish(marker.clone(), "".into()).await.unwrap();
        let mut refused = Vec::new();
        loop {
            let refusal = self.refusal().await;
            if refusal.contains(&format!("\"{marker}\"")) {
                return refused;
            }
            refused.push(refusal);
        }
    }

    /// The next thing that the server refuses.
    pub(crate) async fn refusal(&mut self) -> String {
        let refusal = tokio::time::timeout(Duration::from_secs(60), self.refusals.recv()).await;
        refusal.expect("the server refuses something").expect("the client is there")
    }

    /// Whether the server lets this be published. It is, where it does.
    pub(crate) async fn may_publish(&mut self, subject: &str) -> bool {
        self.client.publish(subject.to_owned(), "a test".into()).await.unwrap();
        self.judged("Publish", subject).await
    }

    /// Whether the server lets this be subscribed.
    pub(crate) async fn may_subscribe(&mut self, subject: &str) -> bool {
        let _subscriber = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.judged("Subscription", subject).await
    }

    async fn judged(&mut self, what: &str, subject: &str) -> bool {
        match self.refused().await.as_slice() {
            [] => true,
            [refusal] => {
                assert!(refusal.contains(&format!("{what} to \"{subject}\"")), "{refusal}");
                false
            }
            more => panic!("{more:?}"),
        }
    }

    /// A request's answer, as text. Panics where nobody listens.
    pub(crate) async fn ask(&self, subject: &str, request: &str) -> String {
        let answer = self.client.request(subject.to_owned(), request.to_owned().into()).await.unwrap();
        String::from_utf8(answer.payload.to_vec()).unwrap()
    }

    /// Whether a request finds nobody who listens. The server says so at once.
    pub(crate) async fn nobody_listens(&self, subject: &str) -> bool {
        match self.client.request(subject.to_owned(), "".into()).await {
            Ok(answer) => panic!("{answer:?}"),
            Err(error) => error.kind() == RequestErrorKind::NoResponders,
        }
    }
}
