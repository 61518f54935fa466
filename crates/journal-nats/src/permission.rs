//! Permissions on the bus: the one table of who may publish and subscribe what.
//!
//! Every list is an allow list; the server refuses what stands in none. So nobody subscribes another's inbox or the
//! server's own reply subjects (`_R_.>`), and nobody alters or deletes a stream: no list has those subjects.
//! Permissions are hygiene at the bus. An event counts by its signature.

use model::ServiceRole::{self, Activator, Approver, Custodian, EvidenceExporter, Expirer, Issuer, Registrar};
use model::{EventType, subject};

/// The subjects that a user may publish and subscribe, besides its own inbox, which every user has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects it may publish to.
    pub publish: Vec<String>,
    /// Subjects it may subscribe.
    pub subscribe: Vec<String>,
    /// Whether it may answer a request that reached it, once.
    pub answers: bool,
}

/// The users of the platform's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlatformUser {
    /// The service with this role. For the registrar it is the tool that makes tenants.
    Service(ServiceRole),
    /// Every service in one process.
    AllInOne,
    /// Looks, and asks the services how they are.
    Monitor,
}

impl PlatformUser {
    /// Every platform user.
    pub const ALL: [Self; 9] = [
        Self::Service(Issuer),
        Self::Service(Approver),
        Self::Service(Activator),
        Self::Service(Expirer),
        Self::Service(EvidenceExporter),
        Self::Service(Custodian),
        Self::AllInOne,
        Self::PROVISIONER,
        Self::Monitor,
    ];

    /// The tool that makes tenants: it holds the registrar's key, and is the only one that can create a stream.
    pub const PROVISIONER: Self = Self::Service(Registrar);

    /// Its name, which is also that of its credentials file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service(Registrar) => "provisioner",
            Self::Service(role) => role.name(),
            Self::AllInOne => "all-in-one",
            Self::Monitor => "monitor",
        }
    }

    /// The roles that it plays.
    fn roles(self) -> &'static [ServiceRole] {
        match self {
            Self::Service(Issuer) => &[Issuer],
            Self::Service(Approver) => &[Approver],
            Self::Service(Activator) => &[Activator],
            Self::Service(Expirer) => &[Expirer],
            Self::Service(EvidenceExporter) => &[EvidenceExporter],
            Self::Service(Custodian) => &[Custodian],
            Self::Service(Registrar) => &[Registrar],
            Self::AllInOne => &ServiceRole::SERVICES,
            Self::Monitor => &[],
        }
    }

    /// Whether it may publish this event: whether one of its roles may sign it.
    pub fn may_publish(self, event: EventType) -> bool {
        event.signers().iter().any(|signer| self.roles().contains(signer))
    }

    /// What it may publish and subscribe.
    pub fn permissions(self) -> Permissions {
        let mut publish = strings(LOOK);
        let mut subscribe = Vec::new();
        let events = EventType::ALL.iter().filter(|event| self.may_publish(**event));
        publish.extend(events.map(|event| every_tenant("log", event.name())));
        for role in self.roles() {
            publish.extend(strings(READ));
            publish.extend(asks(*role));
            subscribe.push(subject::ALL_EVENTS.to_owned());
            subscribe.extend(answers(*role));
        }
        match self {
            Self::PROVISIONER => publish.push(CREATE_STREAM.to_owned()),
            Self::Service(_) | Self::AllInOne => subscribe.push(DISCOVERY.to_owned()),
            Self::Monitor => publish.push(DISCOVERY.to_owned()),
        }
        for list in [&mut publish, &mut subscribe] {
            list.sort();
            list.dedup();
        }
        Permissions { publish, subscribe, answers: !matches!(self, Self::PROVISIONER | Self::Monitor) }
    }
}

/// What streams there are, and how they stand.
const LOOK: &[&str] = &["$JS.API.INFO", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES"];

/// What is stored in them, by sequence or subject, one or many at a time. No consumers: a push consumer's deliver
/// subject would be a way to put a message anywhere.
const READ: &[&str] = &["$JS.API.DIRECT.GET.>", "$JS.API.STREAM.MSG.GET.*"];

/// The provisioner's alone. A stream that exists is left as it is by this call, or it is refused.
const CREATE_STREAM: &str = "$JS.API.STREAM.CREATE.*";

/// NATS service discovery: `$SRV.PING`, `$SRV.INFO`, `$SRV.STATS`.
const DISCOVERY: &str = "$SRV.>";

/// The subjects that a role answers: its commands, and the requests of other roles.
fn answers(role: ServiceRole) -> Vec<String> {
    let mut subjects: Vec<String> = commands(role).iter().map(|command| every_tenant("cmd", command)).collect();
    match role {
        Custodian => subjects.push(every_tenant("custody", "generate")),
        EvidenceExporter => subjects.extend([every_tenant("hist", ">"), every_tenant("lease", "get")]),
        Issuer | Approver | Activator | Expirer | Registrar => {}
    }
    subjects
}

/// The subjects on which a role asks other roles.
fn asks(role: ServiceRole) -> Vec<String> {
    match role {
        Issuer => vec![every_tenant("custody", "generate")],
        Custodian => vec![every_tenant("lease", "get")],
        EvidenceExporter => PROBED.iter().map(|command| every_tenant("cmd", command)).collect(),
        Approver | Activator | Expirer | Registrar => Vec::new(),
    }
}

/// The commands that the exporter sends itself, to see them refused: these, and no other.
pub const PROBED: [&str; 4] = ["key.activate", "use.encrypt", "use.sign", "use.wrap"];

/// The commands that a role answers, as the end of their subject. Every [`model::Action`] stands in one row, but
/// `tenant.create`, which goes to the registrar by hand and not over the bus.
pub fn commands(role: ServiceRole) -> &'static [&'static str] {
    match role {
        Issuer => &["key.generate", "key.revalidate"],
        Approver => &[
            "access.>",
            "activation.>",
            "baseline.>",
            "consumer.>",
            "delegation.>",
            "document.>",
            "fact.>",
            "pack.>",
            "parent.>",
            "policy.>",
            "principal.>",
            "store.>",
        ],
        Activator => &["key.activate", "key.compromise", "key.deactivate", "key.destroy", "key.resume", "key.suspend"],
        Custodian => &["key.prove", "use.>"],
        EvidenceExporter => &["control.>", "evidence.>"],
        Expirer | Registrar => &[],
    }
}

/// The users of a tenant's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TenantUser {
    /// Sends commands, asks for history, follows events.
    Member,
    /// Asks for history and follows events.
    Reader,
}

impl TenantUser {
    /// Every kind of tenant user.
    pub const ALL: [Self; 2] = [Self::Member, Self::Reader];

    /// Its name, which is also that of its signing key's file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Reader => "reader",
        }
    }

    /// What it may publish and subscribe, in the tenant's own account.
    pub fn permissions(self) -> Permissions {
        let publish = match self {
            Self::Member => strings(&[subject::tenant::COMMANDS, subject::tenant::HISTORY]),
            Self::Reader => strings(&[subject::tenant::HISTORY]),
        };
        Permissions { publish, subscribe: strings(&[subject::tenant::EVENTS]), answers: false }
    }
}

/// What the one user of the system account may do: bring accounts to the server, and ask how the server is set up.
pub(crate) fn system() -> Permissions {
    let publish = ["$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP"];
    let state = ["$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.SERVER.PING.JSZ"];
    Permissions { publish: strings(&[publish, state].concat()), subscribe: Vec::new(), answers: false }
}

fn every_tenant(channel: &str, rest: &str) -> String {
    subject::every_tenant(channel, rest)
}

fn strings(subjects: &[&str]) -> Vec<String> {
    subjects.iter().map(|subject| (*subject).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use model::Action;

    use super::*;

    #[test]
    fn every_command_has_one_role_that_answers_it() {
        for action in Action::NAMES {
            let covers = |pattern: &str| match pattern.strip_suffix('>') {
                Some(start) => action.starts_with(start),
                None => *action == pattern,
            };
            let roles = ServiceRole::ALL.into_iter().filter(|role| commands(*role).iter().any(|row| covers(row)));
            let wanted = usize::from(*action != "tenant.create");
            assert_eq!(roles.count(), wanted, "{action}");
        }
    }

    #[test]
    fn every_event_has_a_user_that_publishes_it() {
        for event in EventType::ALL {
            assert!(PlatformUser::ALL.iter().any(|user| user.may_publish(*event)), "{event}");
        }
    }

    #[test]
    fn nobody_alters_a_stream_and_no_list_is_empty() {
        // To the server an empty list means "everything".
        for user in PlatformUser::ALL {
            let Permissions { publish, .. } = user.permissions();
            assert!(!publish.is_empty(), "{}", user.name());
            for forbidden in ["UPDATE", "DELETE", "PURGE", "CONSUMER", "RESTORE", "SNAPSHOT"] {
                assert!(!publish.iter().any(|subject| subject.contains(forbidden)), "{}: {forbidden}", user.name());
            }
            let creates = publish.iter().any(|subject| subject == CREATE_STREAM);
            assert_eq!(creates, user == PlatformUser::PROVISIONER);
            assert!(!publish.iter().any(|subject| [">", "$JS.>", "$JS.API.>", "kl.>"].contains(&subject.as_str())));
        }
    }
}
