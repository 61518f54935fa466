//! `ocsf.jsonl`: the history for those who watch many systems at once, in the Open Cybersecurity Schema Framework.
//!
//! An event is a line, in order; bookkeeping (`checkpoint.signed`, parts of documents) has none. What changes a key, or
//! what keys depend on, is Entity Management (3004), and its activities Activate, Deactivate, Suspend and Resume are about
//! keys only. Uses and refused uses are API Activity (6003), deadlines and probes Compliance Findings (2003), and an event that does
//! not stand is a Detection Finding (2004). `docs/views.md` says why each.
//!
//! A line is made as the history is read, with the state right after the event ([`line()`] takes what
//! [`History::take`](crate::history::History::take) does), and holds nothing that only a later event can say.

mod entity;
mod mapping;

use lifecycle::{Judgement, Prepared, Tenant};
use model::event::{CustodyDrifted, CustodyRefused, CustodyUsed, Deadline, ProbeRecorded};
use model::evidence::ProbeOutcome;
use model::text::Text;
use model::{Event, EventHash, Fingerprint, KeyId, Sequence, TenantId, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use entity::{Entity, Person, Policy, Resource};

/// The version of the schema that lines are valid under.
pub const VERSION: &str = "1.8.0";

/// The line of an event, without its line feed, from the state right after it; `None` where it is bookkeeping.
pub fn line(state: &Tenant, sequence: Sequence, prepared: &Prepared, judgement: &Judgement) -> Option<String> {
    let context = Context { state, sequence, prepared };
    let line = match (judgement, prepared.event()) {
        (Judgement::Lawful, Some(event)) => context.lawful(event)?,
        (Judgement::Lawful, None) => return None,
        (Judgement::Void(void), _) => context.void(void.to_string()),
    };
    serde_json::to_string(&line).ok()
}

/// An OCSF event, as far as we fill it.
#[derive(Serialize)]
struct Line<'a> {
    activity_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    activity_name: Option<&'static str>,
    category_uid: u32,
    class_uid: u32,
    class_name: &'static str,
    type_uid: u32,
    time: i64,
    severity_id: u8,
    status_id: u8,
    message: String,
    metadata: Metadata<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<Actor<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entity: Option<Entity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Policy<'a>>,
    #[serde(flatten)]
    api: Option<Api<'a>>,
    #[serde(flatten)]
    finding: Option<Finding<'a>>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    unmapped: Map<String, Value>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    version: &'static str,
    product: Product,
    /// The event's hash.
    uid: EventHash,
    /// Its place in the chain.
    sequence: u64,
    /// Its type.
    event_code: &'a str,
    /// The request that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_uid: Option<EventHash>,
    tenant_uid: TenantId,
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    profiles: &'static [&'static str],
}

#[derive(Serialize)]
struct Product {
    name: &'static str,
    vendor_name: &'static str,
}

/// Who did it: the first who signed the command, and the service that recorded it.
#[derive(Serialize)]
struct Actor<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Person<'a>>,
    app_name: &'a str,
    app_uid: Fingerprint,
}

/// What API Activity has beside.
#[derive(Serialize)]
struct Api<'a> {
    api: Operation,
    src_endpoint: Endpoint,
    resources: [Resource<'a>; 1],
    count: u64,
    start_time: i64,
    end_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    action_id: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disposition_id: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<&'a str>,
}

#[derive(Serialize)]
struct Operation {
    operation: String,
}

/// Where a use came from: the tenant's account on the bus, which the server vouches for. Addresses are not recorded.
#[derive(Serialize)]
struct Endpoint {
    name: TenantId,
    #[serde(rename = "type")]
    kind: &'static str,
    type_id: u8,
}

/// What findings have beside.
#[derive(Serialize)]
struct Finding<'a> {
    finding_info: FindingInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    compliance: Option<Compliance>,
    resources: [Resource<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    is_alert: Option<bool>,
}

#[derive(Serialize)]
struct FindingInfo {
    uid: EventHash,
    title: String,
    types: [&'static str; 1],
}

#[derive(Serialize)]
struct Compliance {
    standards: [&'static str; 2],
    control: &'static str,
    requirements: [&'static str; 1],
    status_id: u8,
    status: &'static str,
}

const STANDARDS: [&str; 2] = ["CSA AI Controls Matrix", "CSA Cloud Controls Matrix v4"];

/// What a finding says of a control, and how grave that is.
#[derive(Clone, Copy)]
struct Status {
    id: u8,
    name: &'static str,
    severity: u8,
}

const PASS: Status = Status { id: 1, name: "Pass", severity: INFORMATIONAL };
const WARNING: Status = Status { id: 2, name: "Warning", severity: LOW };
const FAIL: Status = Status { id: 3, name: "Fail", severity: MEDIUM };

/// A class of events.
#[derive(Clone, Copy)]
struct Class {
    uid: u32,
    category: u32,
    name: &'static str,
}

const ENTITY_MANAGEMENT: Class = Class { uid: 3004, category: 3, name: "Entity Management" };
const API_ACTIVITY: Class = Class { uid: 6003, category: 6, name: "API Activity" };
const COMPLIANCE_FINDING: Class = Class { uid: 2003, category: 2, name: "Compliance Finding" };
const DETECTION_FINDING: Class = Class { uid: 2004, category: 2, name: "Detection Finding" };

/// The profile that policies, actions and dispositions come with.
const SECURITY_CONTROL: &[&str] = &["security_control"];

/// What is not in OCSF's list of activities.
const OTHER: u32 = 99;

const INFORMATIONAL: u8 = 1;
const LOW: u8 = 2;
const MEDIUM: u8 = 3;
const HIGH: u8 = 4;

/// An event, with the state after it.
#[derive(Clone, Copy)]
struct Context<'a> {
    state: &'a Tenant,
    sequence: Sequence,
    prepared: &'a Prepared,
}

impl<'a> Context<'a> {
    fn lawful(self, event: &'a Event) -> Option<Line<'a>> {
        match event {
            Event::CustodyUsed(used) => Some(self.used(event, used)),
            Event::CustodyRefused(refused) => Some(self.refused(event, refused)),
            Event::DeadlineWarned(warned) => Some(self.deadline(event, warned.deadline, warned.at, WARNING)),
            Event::DeadlineMissed(missed) => Some(self.deadline(event, missed.deadline, missed.at, FAIL)),
            Event::ProbeRecorded(probed) => Some(self.probed(event, probed)),
            Event::CustodyDrifted(drifted) => Some(self.drifted(event, drifted)),
            event => self.entity_management(event),
        }
    }

    /// What every line has.
    fn line(self, class: Class, activity: u32, time: Timestamp, code: &'a str, message: String) -> Line<'a> {
        Line {
            activity_id: activity,
            activity_name: None,
            category_uid: class.category,
            class_uid: class.uid,
            class_name: class.name,
            type_uid: class.uid * 100 + activity,
            time: time.unix_millis(),
            severity_id: INFORMATIONAL,
            status_id: 1,
            message,
            metadata: Metadata {
                version: VERSION,
                product: Product { name: "Keylatch", vendor_name: "Keylatch" },
                uid: self.prepared.hash,
                sequence: self.sequence.0,
                event_code: code,
                correlation_uid: None,
                tenant_uid: self.state.chain.tenant(),
                profiles: &[],
            },
            actor: self.actor(),
            entity: None,
            comment: None,
            policy: None,
            api: None,
            finding: None,
            unmapped: Map::new(),
        }
    }

    /// The line of an event that stands.
    fn line_of(self, event: &Event, class: Class, activity: u32, message: String) -> Line<'a> {
        let time = self.prepared.body().map_or_else(|| self.state.chain.time(), |body| body.time);
        self.line(class, activity, time, event.event_type().name(), message)
    }

    fn actor(self) -> Option<Actor<'a>> {
        let body = self.prepared.body()?;
        let first = self.prepared.command().and_then(|signed| signed.signers.first());
        let user = first.map(|signer| self.person(signer.key.fingerprint()));
        Some(Actor { user, app_name: &body.source, app_uid: body.signer })
    }

    /// The second and further signers of a command.
    fn further_signers(self) -> Vec<Fingerprint> {
        let signers = self.prepared.command().map_or(&[][..], |signed| &signed.signers);
        signers.iter().skip(1).map(|signer| signer.key.fingerprint()).collect()
    }

    // === Uses ===

    fn used(self, event: &Event, used: &'a CustodyUsed) -> Line<'a> {
        let count = used.uses.values().sum();
        let message = format!("{} used {}", self.key(used.key_id).label(), crate::words::count(count, "time"));
        let mut line = self.line_of(event, API_ACTIVITY, OTHER, message);
        line.activity_name = Some("Use");
        line.actor = self.asked(&used.used_by);
        line.api = Some(self.api(used.key_id, operation(used.uses.keys()), count, (used.from, used.to)));
        line.unmapped.insert("uses".into(), json_of(&used.uses));
        line.unmapped.insert("used_by".into(), json_of(&used.used_by));
        line.unmapped.insert("activation".into(), json_of(&used.activation));
        line
    }

    fn refused(self, event: &Event, refused: &'a CustodyRefused) -> Line<'a> {
        let count = refused.refusals.values().sum();
        let (key, times) = (self.key(refused.key_id), crate::words::count(count, "time"));
        let message = format!("use of {} refused {times}: {} (it was {})", key.label(), refused.reason, refused.state);
        let mut line = self.line_of(event, API_ACTIVITY, OTHER, message);
        line.activity_name = Some("Use");
        line.severity_id = MEDIUM;
        line.status_id = 2;
        line.metadata.profiles = SECURITY_CONTROL;
        line.actor = self.asked(&refused.asked_by);
        let mut api = self.api(refused.key_id, operation(refused.refusals.keys()), count, (refused.from, refused.to));
        // Denied, blocked.
        (api.action_id, api.disposition_id) = (Some(2), Some(2));
        api.status_code = Some(refused.reason.as_str());
        line.api = Some(api);
        line.unmapped.insert("refusals".into(), json_of(&refused.refusals));
        line.unmapped.insert("asked_by".into(), json_of(&refused.asked_by));
        line
    }

    /// Those who had a key used: the first of them, all of whom stand beside.
    fn asked(self, who: &[Fingerprint]) -> Option<Actor<'a>> {
        let actor = self.actor()?;
        Some(Actor { user: who.first().map(|first| self.person(*first)), ..actor })
    }

    fn api(self, key: KeyId, operation: String, count: u64, (from, to): (Timestamp, Timestamp)) -> Api<'a> {
        Api {
            api: Operation { operation },
            src_endpoint: Endpoint { name: self.state.chain.tenant(), kind: "NATS account", type_id: 99 },
            resources: [self.key_resource(key)],
            count,
            start_time: from.unix_millis(),
            end_time: to.unix_millis(),
            action_id: None,
            disposition_id: None,
            status_code: None,
        }
    }

    // === Findings ===

    fn deadline(self, event: &Event, deadline: Deadline, at: Timestamp, status: Status) -> Line<'a> {
        let (what, point) = mapping::deadline(deadline);
        let entity = event.key_id().map_or_else(|| self.tenant(), |key| self.key(key));
        let how = if status.id == FAIL.id { "was missed" } else { "comes near" };
        let title = format!("{what} of {} {how}: {at}", entity.label());
        self.finding(event, title, "Deadline", (point, status))
    }

    /// What was tried on a key to see it refused.
    fn probed(self, event: &Event, probed: &'a ProbeRecorded) -> Line<'a> {
        let (status, answer) = match probed.outcome {
            ProbeOutcome::Refused => (PASS, "refused"),
            ProbeOutcome::Accepted => (Status { severity: HIGH, ..FAIL }, "accepted"),
            ProbeOutcome::Unanswered => (WARNING, "unanswered"),
        };
        let title = format!("Probe {} on {}: {answer}", probed.probe, self.key(probed.key_id).label());
        let mut line = self.finding(event, title, "Probe", (mapping::probe(probed.probe), status));
        line.unmapped.insert("problem".into(), json_of(&probed.problem));
        line
    }

    /// A store had a key otherwise than the chain says.
    fn drifted(self, event: &Event, drifted: &'a CustodyDrifted) -> Line<'a> {
        let key = self.key(drifted.key_id);
        let title = format!("Store {} has {} otherwise: {}", drifted.store, key.label(), drifted.drift);
        let status = Status { severity: HIGH, ..FAIL };
        let mut line = self.finding(event, title, "Drift", ("CEK-15.02", status));
        line.unmapped.insert("drift".into(), json_of(&drifted.drift));
        line.unmapped.insert("found".into(), json_of(&drifted.found));
        line.unmapped.insert("set_back".into(), json_of(&drifted.set_back));
        line
    }

    fn finding(
        self,
        event: &Event,
        title: String,
        kind: &'static str,
        (point, status): (&'static str, Status),
    ) -> Line<'a> {
        let mut line = self.line_of(event, COMPLIANCE_FINDING, 1, title.clone());
        line.actor = None;
        line.severity_id = status.severity;
        let resource = event.key_id().map_or_else(|| self.tenant_resource(), |key| self.key_resource(key));
        line.finding = Some(Finding {
            finding_info: FindingInfo { uid: self.prepared.hash, title, types: [kind] },
            compliance: Some(Compliance {
                standards: STANDARDS,
                control: "CEK-15",
                requirements: [point],
                status_id: status.id,
                status: status.name,
            }),
            resources: [resource],
            is_alert: None,
        });
        line
    }

    /// Somebody wrote to the log what does not stand. Its own words are not believed, its time least of all.
    fn void(self, reason: String) -> Line<'a> {
        let code = self.prepared.body().map_or("void", |body| body.event_type.as_str());
        let message = format!("event {} does not stand: {reason}", self.sequence.0);
        let time = self.state.chain.time();
        let mut line = self.line(DETECTION_FINDING, 1, time, code, message);
        line.actor = None;
        line.severity_id = HIGH;
        let title = "An event in the log that does not stand".to_owned();
        line.finding = Some(Finding {
            finding_info: FindingInfo { uid: self.prepared.hash, title, types: ["Void event"] },
            compliance: None,
            resources: [self.tenant_resource()],
            is_alert: Some(true),
        });
        line
    }
}

/// What was asked for, by one name: the operation's where it is one.
fn operation<'a>(mut operations: impl ExactSizeIterator<Item = &'a model::key::Operation>) -> String {
    match (operations.len(), operations.next()) {
        (1, Some(operation)) => format!("use.{operation}"),
        _ => "use".to_owned(),
    }
}

fn json_of(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
