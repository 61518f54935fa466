//! A service's health: NATS knows the service by its role, and whoever asks is told which alarms stand with it.

use std::collections::HashMap;
use std::sync::Arc;

use async_nats::service::endpoint::Endpoint;
use async_nats::service::{Service, ServiceExt as _};
use journal::Journal;
use journal_sled::Alarm;
use model::{Name, ServiceRole, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::node::Node;
use crate::{Error, Ports};

/// A role as a NATS service: it answers `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`, the last with how it is, at the
/// endpoint [`HEALTH`]. The same on `$SRV.HEALTH.keylatch-<role>`, of one instance.
pub async fn announce<J: Journal>(ports: &Ports<J>, role: ServiceRole) -> Result<Announced, Error> {
    // Weakly held: the library lets go of the handler some time after the service has stopped.
    let (root, instance, node) = (ports.node.root().to_string(), ports.instance.clone(), ports.node.downgrade());
    let outsiders = ports.outsiders.clone();
    let how_it_is = move |endpoint: String, _| match node.upgrade() {
        Some(node) if endpoint == HEALTH => json!(health(&node, &instance, &outsiders)),
        _ => Value::Null,
    };
    let bus = |error: async_nats::Error| Error::Bus(error.to_string());
    let service = ports
        .client
        .service_builder()
        .description(format!("the {role} of Keylatch"))
        .queue_group(role.name())
        .metadata(HashMap::from([("root".to_owned(), root)]))
        .stats_handler(how_it_is)
        .start(service_name(role), env!("CARGO_PKG_VERSION"))
        .await
        .map_err(bus)?;
    let health = service.endpoint_builder().name(HEALTH).add(format!("$SRV.HEALTH.{}", service_name(role)));
    let health = health.await.map_err(bus)?;
    Ok(Announced { service, health })
}

/// A service that was announced and answers no commands yet.
pub struct Announced {
    pub(crate) service: Service,
    pub(crate) health: Endpoint,
}

/// The name of the endpoint whose statistics say how a service is.
pub const HEALTH: &str = "health";

/// The name by which a role is known to NATS.
pub fn service_name(role: ServiceRole) -> String {
    format!("keylatch-{role}")
}

/// A service's health: the data of its endpoint [`HEALTH`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Health {
    /// Which instance it is.
    pub instance: Name,
    /// How many tenants it follows; nothing where its replica can't be read.
    pub tenants: Option<usize>,
    /// The alarms that stand with it.
    pub alarms: Vec<Alarmed>,
    /// For how long it could not compare its replicas with the log, where that is too long: it writes for nobody.
    pub stale_seconds: Option<u64>,
    /// Of the exporter: how it fares with those outside the platform who vouch for checkpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<Outsider>,
}

/// Somebody outside the platform who vouches for checkpoints, and how that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outsider {
    /// A witness's name, or the address of a time-stamping authority.
    pub name: String,
    /// How many of its answers were kept since the start.
    pub kept: u64,
    /// When the last one was.
    pub last: Option<Timestamp>,
    /// How many tenants it is to be asked for.
    pub waiting: usize,
    /// What went wrong last, where it was not mended since.
    pub trouble: Option<Trouble>,
}

/// What went wrong with somebody outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Whose checkpoint it was about.
    pub tenant: TenantId,
    /// When it was seen last.
    pub at: Timestamp,
    /// What it was, and what to do.
    pub what: String,
}

/// How those outside fare, for whoever asks. It holds on to nothing that a role closes when it ends.
pub type Outsiders = Option<Arc<dyn Fn() -> Vec<Outsider> + Send + Sync>>;

/// An alarm of a tenant's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Alarmed {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub alarm: Alarm,
}

/// How this service is now.
pub(crate) fn health<J: Journal>(node: &Node<J>, instance: &Name, outsiders: &Outsiders) -> Health {
    let alarmed = |(tenant, alarm): (TenantId, Alarm)| Alarmed { tenant, alarm };
    Health {
        instance: instance.clone(),
        tenants: node.tenants().ok(),
        alarms: node.replica().alarms().into_iter().map(alarmed).collect(),
        stale_seconds: node.stale().map(|age| age.as_secs()),
        outside: outsiders.as_ref().map(|outsiders| outsiders()).unwrap_or_default(),
    }
}
