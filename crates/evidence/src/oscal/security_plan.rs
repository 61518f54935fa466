//! `system-security-plan.json`: the services, key stores, policy and legal packs that a history has seen, who holds which
//! role, and which of them meets which point, with what the control tests make of it.

use std::collections::{BTreeMap, BTreeSet};

use model::evidence::DocumentKind;
use model::key::{Party, Responsibility};
use model::people::PrincipalKind;
use model::{Name, Role, ServiceRole};
use serde_json::{Value, json};

use super::points::{CONTROL, POINTS, Part, Point};
use super::{PROFILE, Sources, markup, prop};
use crate::controls::{ControlTest, Outcome};
use crate::history::{AdoptedDocument, DeclaredPack};
use crate::words;

pub(super) fn content(sources: Sources<'_>) -> Value {
    let title = format!("How the keys of {} are activated", sources.name());
    let party = sources.uuid("party tenant");
    let more = json!({
        "roles": roles(sources),
        "parties": [sources.party()],
        "responsible-parties": [{ "role-id": "system-owner", "party-uuids": [party] }],
    });
    json!({
        "uuid": sources.document_uuid("system-security-plan"),
        "metadata": sources.metadata(&title, "system-security-plan", PROFILE, more),
        "import-profile": { "href": PROFILE },
        "system-characteristics": characteristics(sources),
        "system-implementation": {
            "users": users(sources),
            "components": components(sources),
            "remarks": "What the history has seen: the services that signed events, the stores that hold keys. The \
                        keys themselves are in keys.csv.",
        },
        "control-implementation": {
            "description": "Each point is met by parts of the system; what the tests found is said by the system as a \
                            whole.",
            "implemented-requirements": requirements(sources),
        },
        "back-matter": { "resources": [sources.resource(PROFILE, "The profile")] },
    })
}

fn characteristics(sources: Sources<'_>) -> Value {
    let tenant = sources.tenant();
    let keys = sources.history.keys.len() as u64;
    json!({
        "system-ids": [{ "identifier-type": "https://keylatch.dev/tenant", "id": tenant }],
        "system-name": sources.name(),
        "description": "Control over when a cryptographic key may first be used: keys are born pre-active, and become \
                        active only when the people whom the policy names have signed for it.",
        "system-information": { "information-types": [{
            "uuid": sources.uuid("information keys"),
            "title": "Cryptographic keys and the record of their activation",
            "description": format!("{}, and the signed history of each. Which information they protect is in each \
                                    key's description.", words::count(keys, "key")),
        }] },
        "status": { "state": "operational", "remarks": "The history has events; whether the system is in service is \
            for its owner to say." },
        "authorization-boundary": {
            "description": "The services and key stores listed here, for this tenant alone. Of other tenants nothing \
                            is seen; keys in stores that the custodian does not reach are outside.",
        },
    })
}

/// The role in OSCAL of people who hold a role of the tenant's.
fn role_id(role: &Role) -> String {
    format!("role-{}", role.0)
}

fn held(sources: Sources<'_>) -> BTreeMap<&Role, (u64, u64)> {
    let mut held: BTreeMap<&Role, (u64, u64)> = BTreeMap::new();
    for person in sources.history.people.values().filter(|person| person.revoked.is_none()) {
        for role in &person.principal.roles {
            let (people, workloads) = held.entry(role).or_default();
            match person.principal.kind {
                PrincipalKind::Person => *people += 1,
                PrincipalKind::Workload => *workloads += 1,
            }
        }
    }
    held
}

fn roles(sources: Sources<'_>) -> Vec<Value> {
    let party = |party: Party| json!({ "id": party.name(), "title": words::party(party) });
    let mut roles = vec![json!({ "id": "system-owner", "title": "Owner of the system: the tenant" })];
    roles.extend([Party::Csp, Party::Mp, Party::Ap].map(party));
    roles.extend(
        held(sources).keys().map(|role| json!({ "id": role_id(role), "title": format!("`{}` of the tenant", role.0) })),
    );
    roles
}

fn users(sources: Sources<'_>) -> Vec<Value> {
    let user = |(role, (people, workloads)): (&Role, (u64, u64))| {
        let who = (words::count(people, "person"), words::count(workloads, "workload"));
        json!({
            "uuid": sources.uuid(&format!("user {}", role.0)),
            "title": role.0,
            "description": format!("Held by {} and {}, each with a key of their own.", who.0, who.1),
            "props": [prop("people", people), prop("workloads", workloads)],
            "role-ids": [role_id(role)],
        })
    };
    held(sources).into_iter().map(user).collect()
}

// === Components ===

fn service_uuid(sources: Sources<'_>, role: ServiceRole) -> String {
    sources.uuid(&format!("component service {role}"))
}

fn store_uuid(sources: Sources<'_>, store: &Name) -> String {
    sources.uuid(&format!("component store {store}"))
}

fn system_uuid(sources: Sources<'_>) -> String {
    sources.uuid("component system")
}

fn policy_uuid(sources: Sources<'_>) -> String {
    sources.uuid("component policy")
}

fn pack_uuid(sources: Sources<'_>, pack: &Name) -> String {
    sources.uuid(&format!("component pack {pack}"))
}

fn document_uuid(sources: Sources<'_>, document: &Name) -> String {
    sources.uuid(&format!("component document {document}"))
}

/// The stores that hold keys, or have held some, and those that are registered.
fn stores(sources: Sources<'_>) -> BTreeSet<&Name> {
    let keys = sources.history.keys.values();
    let of_keys =
        keys.flat_map(|key| std::iter::once(&key.store).chain(key.custody.iter().map(|custody| &custody.store)));
    of_keys.chain(sources.history.stores.iter().map(|registered| &registered.store.name)).collect()
}

/// Each pack's last declaration.
fn packs(sources: Sources<'_>) -> BTreeMap<&Name, &DeclaredPack> {
    sources.history.packs.iter().map(|declared| (&declared.pack, declared)).collect()
}

/// The roles of services that have signed.
fn services(sources: Sources<'_>) -> BTreeSet<ServiceRole> {
    sources.history.signers.values().flat_map(|signer| signer.roles.iter().copied()).collect()
}

fn components(sources: Sources<'_>) -> Vec<Value> {
    let mut components = vec![component(
        system_uuid(sources),
        ("this-system", "Keylatch"),
        "The gate between a key's generation and its first use, with its signed, hash-chained history.",
        vec![],
    )];
    components.extend(services(sources).into_iter().map(|role| service(sources, role)));
    components.extend(stores(sources).into_iter().map(|store| key_store(sources, store)));
    if let Some(policy) = sources.history.policies.last() {
        let text = format!("The policy in force, version {}.", policy.version);
        let props = vec![
            prop("policy", &policy.name),
            prop("version", policy.version),
            prop("event", policy.at.hash),
            prop("fewest-approvals", policy.fewest_approvals),
        ];
        components.push(component(policy_uuid(sources), ("policy", "Policy"), &text, props));
    }
    components.extend(packs(sources).into_values().map(|pack| legal_pack(sources, pack)));
    components.extend(sources.history.documents_in_force().map(|document| adopted(sources, document)));
    components
}

fn component(uuid: String, (kind, title): (&str, &str), description: &str, props: Vec<Value>) -> Value {
    let status = json!({ "state": "operational" });
    json!({ "uuid": uuid, "type": kind, "title": title, "description": description, "props": props, "status": status })
}

fn service(sources: Sources<'_>, role: ServiceRole) -> Value {
    let signs = |signer: &&crate::history::Signer| signer.roles.contains(&role);
    let mut props = Vec::new();
    for (key, _) in sources.history.signers.iter().filter(|(_, signer)| signs(signer)) {
        props.push(prop("key", key));
    }
    let events: u64 = sources.history.signers.values().filter(signs).map(|signer| signer.events).sum();
    props.push(prop("events-signed", events));
    component(service_uuid(sources, role), ("service", role.name()), what_it_does(role), props)
}

fn what_it_does(role: ServiceRole) -> &'static str {
    match role {
        ServiceRole::Registrar => "Begins tenants and records the root's newer statements on who serves them.",
        ServiceRole::Issuer => "Records new keys, pre-active, and their revalidation.",
        ServiceRole::Approver => {
            "Records people, policy, legal packs and facts, requests, approvals and authorisations."
        }
        ServiceRole::Activator => {
            "Records activations, suspensions, resumptions, deactivations, compromises and destructions."
        }
        ServiceRole::Expirer => "Records what the passing of time brings about.",
        ServiceRole::EvidenceExporter => "Keeps every event, signs checkpoints, exports evidence.",
        ServiceRole::Custodian => {
            "The only process that reaches key material; verifies the history itself before it acts."
        }
    }
}

fn key_store(sources: Sources<'_>, name: &Name) -> Value {
    let keys = sources.history.keys.values().filter(|key| key.store == *name).count();
    let mut props = vec![prop("keys", keys)];
    let Some(registered) = sources.history.registered(name) else {
        let text = "A key store that holds keys of the tenant, reached by the custodian alone. It is not registered: \
                    which server and database it is does not stand in the history.";
        return component(store_uuid(sources, name), ("system", name.as_str()), text, props);
    };
    let store = &registered.store;
    props.extend([prop("kind", &store.kind), prop("server", &store.server), prop("database", &store.database)]);
    let stated = [
        ("serial", &store.serial),
        ("firmware", &store.firmware),
        ("module-certificate", &store.module_certificate),
        ("region", &store.region),
        ("operator", &store.operator),
    ];
    props.extend(stated.into_iter().filter_map(|(name, value)| Some(prop(name, value.as_ref()?))));
    props.push(prop("event", registered.at.hash));
    let kind = match store.kind.as_str() {
        "software" => "software",
        "pkcs11" => "hardware",
        _ => "system",
    };
    let text = "A key store, as it is registered, reached by the custodian alone.";
    component(store_uuid(sources, name), (kind, name.as_str()), text, props)
}

fn adopted(sources: Sources<'_>, document: &AdoptedDocument) -> Value {
    let kind = match document.kind {
        DocumentKind::Procedure | DocumentKind::Process => "process-procedure",
        DocumentKind::Statement => "policy",
    };
    let covers: Vec<String> = document.covers.iter().map(ToString::to_string).collect();
    let text = format!("Version {}; about the points {}.", document.version, covers.join(", "));
    let props = vec![
        prop("document", &document.name),
        prop("version", document.version),
        prop("sha-256", document.document),
        prop("owner", sources.history.label(document.owner)),
        prop("review-by", document.review_by),
        prop("event", document.at.hash),
    ];
    let title = markup(document.title.as_str());
    component(document_uuid(sources, &document.name), (kind, &title), &text, props)
}

fn legal_pack(sources: Sources<'_>, pack: &DeclaredPack) -> Value {
    let title = pack.title.as_ref().map_or_else(|| pack.pack.to_string(), |title| markup(title.as_str()));
    let declared = if pack.applied { "applied" } else { "not applicable" };
    let cited: Vec<String> = pack.sources.iter().map(|source| markup(source.as_str())).collect();
    let text =
        format!("A legal pack, version {}, declared as {declared}. Sources: {}.", pack.version, cited.join("; "));
    let props = vec![
        prop("pack", &pack.pack),
        prop("version", pack.version),
        prop("declared", declared),
        prop("event", pack.at.hash),
        prop("review-by", pack.review_by),
    ];
    component(pack_uuid(sources, &pack.pack), ("standard", &title), &text, props)
}

// === What meets which point ===

fn requirements(sources: Sources<'_>) -> Vec<Value> {
    let tests: BTreeMap<&str, &ControlTest> =
        sources.controls.controls.iter().map(|test| (test.id.as_str(), test)).collect();
    let whole = json!({
        "uuid": sources.uuid(&format!("requirement {CONTROL}")),
        "control-id": CONTROL,
        "responsible-roles": responsible(sources),
        "by-components": [{
            "component-uuid": system_uuid(sources),
            "uuid": sources.uuid(&format!("by {CONTROL} system")),
            "description": "The sixteen points that follow say how, one by one. Whether the control is met is for \
                            people to judge.",
        }],
    });
    let point = |point: &Point| requirement(sources, point, tests.get(point.test_id().as_str()).copied());
    std::iter::once(whole).chain(POINTS.iter().map(point)).collect()
}

fn requirement(sources: Sources<'_>, point: &Point, test: Option<&ControlTest>) -> Value {
    let id = point.control_id();
    let by = |component: String, what: &str| {
        json!({
            "component-uuid": component,
            "uuid": sources.uuid(&format!("by {id} {component}")),
            "description": what,
            "implementation-status": { "state": "implemented" },
        })
    };
    let mut parts = vec![by_system(sources, point, test)];
    for (part, what) in point.met_by {
        parts.extend(seen(sources, *part).into_iter().map(|component| by(component, what)));
    }
    json!({
        "uuid": sources.uuid(&format!("requirement {id}")),
        "control-id": id,
        "responsible-roles": responsible(sources),
        "statements": [{
            "statement-id": format!("{id}_smt"),
            "uuid": sources.uuid(&format!("statement {id}")),
            "by-components": parts,
        }],
    })
}

/// The system as a whole: what the test found, and what is left to customers.
fn by_system(sources: Sources<'_>, point: &Point, test: Option<&ControlTest>) -> Value {
    let id = point.control_id();
    let (state, found) = match test {
        Some(test) => (status(test.outcome), figures(test)),
        None => ("planned", "This point was not tested.".to_owned()),
    };
    let responsibility = |text: &str| {
        let uuid = sources.uuid(&format!("customer {id}"));
        json!({ "responsibilities": [{ "uuid": uuid, "description": text }] })
    };
    json!({
        "component-uuid": system_uuid(sources),
        "uuid": sources.uuid(&format!("by {id} system")),
        "description": found,
        "implementation-status": {
            "state": state,
            "remarks": "By the outcome of the test; see assessment-results.json.",
        },
        "export": point.customer.map(responsibility),
    })
}

/// Exceptions, and questions that the history can't answer, leave a point half met.
fn status(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NoExceptions => "implemented",
        Outcome::Exceptions | Outcome::InsufficientEvidence => "partial",
        Outcome::NotApplicable => "not-applicable",
    }
}

/// What a test found, in a sentence.
pub(super) fn figures(test: &ControlTest) -> String {
    let (count, of) = (test.population.count, markup(test.population.of));
    let exceptions = words::count(test.exceptions.len() as u64, "exception");
    let looked_at = format!("Population ({of}): {count}. Nothing against {}. {exceptions}.", test.passed);
    let mut text = match test.outcome {
        Outcome::NotApplicable => "There was nothing to look at.".to_owned(),
        Outcome::InsufficientEvidence => format!("The history can't answer it. {looked_at}"),
        Outcome::NoExceptions | Outcome::Exceptions => looked_at,
    };
    for remark in &test.remarks {
        text.push(' ');
        text.push_str(&markup(remark));
    }
    text
}

/// The components that are such a part, of those that the history has seen.
fn seen(sources: Sources<'_>, part: Part) -> Vec<String> {
    match part {
        Part::Service(role) => {
            services(sources).contains(&role).then(|| service_uuid(sources, role)).into_iter().collect()
        }
        Part::Stores => stores(sources).into_iter().map(|store| store_uuid(sources, store)).collect(),
        Part::Policy => sources.history.policies.last().map(|_| policy_uuid(sources)).into_iter().collect(),
        Part::Documents => {
            let documents = sources.history.documents_in_force();
            documents.map(|document| document_uuid(sources, &document.name)).collect()
        }
        Part::Packs => packs(sources).into_keys().map(|pack| pack_uuid(sources, pack)).collect(),
    }
}

/// Whose duty the keys are: the parties of the layers that there are keys of, else those that the tenant acts for.
fn responsible(sources: Sources<'_>) -> Vec<Value> {
    let layers: BTreeSet<Responsibility> = sources.history.keys.values().map(|key| key.spec.responsibility).collect();
    let own = sources.history.class.map_or(&[][..], words::parties);
    let own: BTreeSet<Party> = own.iter().copied().collect();
    let of_keys: BTreeSet<Party> = layers.iter().flat_map(|layer| layer.parties().iter().copied()).collect();
    let parties = if of_keys.is_empty() { &own } else { &of_keys };
    let tenant = sources.uuid("party tenant");
    let role = |party: &Party| {
        let acts = own.contains(party).then(|| vec![tenant.clone()]);
        json!({ "role-id": party.name(), "party-uuids": acts })
    };
    parties.iter().map(role).collect()
}
