//! Bringing accounts and streams to the server.

use async_nats::Client;
use model::TenantId;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::connect::{self, connect_as};
use crate::operator::{self, Operator, Tenant};
use crate::permission::PlatformUser;
use crate::stream::{self, Difference};

/// JetStream's number for "there is no such stream".
const STREAM_NOT_FOUND: u64 = 10059;
/// JetStream's number for "there is such a stream, and it is set up otherwise".
const STREAM_EXISTS: u64 = 10058;

/// The two connections that it takes to make a tenant: the system account's, to bring accounts, and the provisioner's,
/// to create streams.
pub struct Provisioner {
    system: Client,
    platform: Client,
}

/// Why a tenant could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operator's credentials could not be had.
    #[error(transparent)]
    Operator(#[from] operator::Error),
    /// The server could not be reached.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// The server did not answer.
    #[error("no answer on `{subject}`: {source}")]
    NoAnswer {
        /// What was asked.
        subject: String,
        /// What the client says.
        source: async_nats::RequestError,
    },
    /// The server's answer does not read.
    #[error("the answer on `{subject}` does not read: {source}")]
    Malformed {
        /// What was asked.
        subject: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The server does not take an account.
    #[error("the server does not take the account: {0}")]
    AccountRefused(String),
    /// The server does not create the stream.
    #[error("the server does not create the stream of {tenant}: {description} ({code})")]
    StreamRefused {
        /// Whose stream.
        tenant: TenantId,
        /// JetStream's number for the reason.
        code: u64,
        /// The reason.
        description: String,
    },
    /// The stream is there and is not as it must be. Nobody in service can have done that.
    #[error(
        "the stream of {tenant} is not set up as it must be: {}; find out who changed it, and set it right with an \
         administrator's credentials of your own",
        differences.iter().map(Difference::to_string).collect::<Vec<_>>().join(", ")
    )]
    StreamDiffers {
        /// Whose stream.
        tenant: TenantId,
        /// In what it differs.
        differences: Vec<Difference>,
    },
}

impl Provisioner {
    /// Connects, as the operator's system user and provisioner.
    pub async fn connect(operator: &Operator, url: &str) -> Result<Self, Error> {
        let system = connect_as(url, &operator.system_credentials()?, "keylatch system").await?;
        let provisioner = operator.credentials(PlatformUser::PROVISIONER)?;
        let platform = connect_as(url, &provisioner, "keylatch provisioner").await?;
        Ok(Self { system, platform })
    }

    /// Sees to it that the server knows the tenant's account and has the tenant's stream. Can be repeated.
    pub async fn provision(&self, tenant: &Tenant) -> Result<(), Error> {
        self.push(tenant.jwt()).await?;
        self.ensure_stream(tenant.id()).await
    }

    /// Brings an account to the server, in place of an older JWT of the same account.
    ///
    /// A JWT that does not read, or is not signed by a signing key, is refused here. An import that an export
    /// does not grant is *not* refused here: the server takes the account and leaves the import out.
    pub async fn push(&self, account_jwt: &str) -> Result<(), Error> {
        let answer: PushAnswer = ask(&self.system, "$SYS.REQ.CLAIMS.UPDATE", account_jwt.to_owned()).await?;
        match answer {
            PushAnswer { error: Some(error), .. } => Err(Error::AccountRefused(error.description)),
            PushAnswer { data: Some(done), .. } if done.code == 200 => Ok(()),
            PushAnswer { data, .. } => Err(Error::AccountRefused(data.map(|data| data.message).unwrap_or_default())),
        }
    }

    async fn ensure_stream(&self, tenant: TenantId) -> Result<(), Error> {
        let wanted = stream::config(tenant);
        let mut answer: StreamAnswer = self.stream("INFO", tenant, String::new()).await?;
        if answer.error.as_ref().is_some_and(|error| error.err_code == STREAM_NOT_FOUND) {
            answer = self.stream("CREATE", tenant, Value::from(wanted.clone()).to_string()).await?;
        }
        if answer.error.as_ref().is_some_and(|error| error.err_code == STREAM_EXISTS) {
            // Somebody else made one in between.
            answer = self.stream("INFO", tenant, String::new()).await?;
        }
        if let Some(ApiError { err_code: code, description }) = answer.error {
            return Err(Error::StreamRefused { tenant, code, description });
        }
        let differences = stream::differences(&wanted, &answer.config);
        if differences.is_empty() { Ok(()) } else { Err(Error::StreamDiffers { tenant, differences }) }
    }

    async fn stream(&self, what: &str, tenant: TenantId, request: String) -> Result<StreamAnswer, Error> {
        ask(&self.platform, &format!("$JS.API.STREAM.{what}.{tenant}"), request).await
    }
}

async fn ask<T: serde::de::DeserializeOwned>(client: &Client, subject: &str, request: String) -> Result<T, Error> {
    let asked = || subject.to_owned();
    let answer =
        client.request(asked(), request.into()).await.map_err(|source| Error::NoAnswer { subject: asked(), source })?;
    serde_json::from_slice(&answer.payload).map_err(|source| Error::Malformed { subject: asked(), source })
}

#[derive(Deserialize)]
struct PushAnswer {
    data: Option<PushDone>,
    error: Option<PushError>,
}

#[derive(Deserialize)]
struct PushDone {
    code: u16,
    message: String,
}

#[derive(Deserialize)]
struct PushError {
    description: String,
}

#[derive(Deserialize)]
struct StreamAnswer {
    #[serde(default)]
    config: Map<String, Value>,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    err_code: u64,
    description: String,
}
