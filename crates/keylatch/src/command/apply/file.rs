//! The file that `keylatch apply` reads.

use std::collections::BTreeSet;
use std::path::Path;

use lifecycle::Tenant;
use model::key::{Attributes, Operation, Reason, ReasonKind, Responsibility, Template};
use model::{Algorithm, Digest, KeyId, KeySpec, Name, TenantId, Text};
use serde::Deserialize;
use sha2::Digest as _;
use toml::Table;

use crate::command::key::generate::parent;
use crate::command::request::{Said, SaidArgs};
use crate::error::Error;
use crate::lookup;
use crate::toml_text::explain;
use crate::words::When;

/// The most keys that one file is for.
const KEYS_MAX: usize = 100_000;
const ADVICE: &str = "see docs/apply.md, or `keylatch apply --help`, for what may stand there";

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    schema: u32,
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    key: Vec<Table>,
    #[serde(default)]
    request: Vec<Table>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Defaults {
    key: Table,
    request: Table,
}

/// One `[[key]]`, with the defaults under it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    label: Name,
    group: Option<Name>,
    count: Option<u32>,
    #[serde(default = "aes")]
    algorithm: Algorithm,
    workload: Name,
    responsibility: Responsibility,
    jurisdiction: Name,
    classification: Name,
    environment: Name,
    #[serde(default = "software")]
    backend: String,
    asset: Option<Text>,
    model_digest: Option<Digest>,
    endpoint: Option<Text>,
    owner: Option<Name>,
    #[serde(default)]
    usage: BTreeSet<Operation>,
    #[serde(default)]
    exportable: bool,
    #[serde(default = "yes")]
    deletable: bool,
    replaces: Option<String>,
    instance: Option<Name>,
    wrapped_by: Option<String>,
    session_scope: Option<Text>,
}

fn aes() -> Algorithm {
    Algorithm::Aes256Gcm
}

fn software() -> String {
    "software".to_owned()
}

fn yes() -> bool {
    true
}

/// One `[[request]]`, with the defaults under it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestEntry {
    #[serde(default)]
    groups: BTreeSet<Name>,
    #[serde(default)]
    keys: BTreeSet<Name>,
    #[serde(default)]
    each: bool,
    reason_kind: ReasonKind,
    reason: Text,
    change_ref: Option<Text>,
    #[serde(default)]
    legal_basis: Vec<Text>,
    #[serde(default)]
    systems: Vec<Text>,
    #[serde(default)]
    consumers: Vec<String>,
    not_before: Option<String>,
    until: Option<String>,
    #[serde(default)]
    break_glass: bool,
    #[serde(default = "yes")]
    attestation: bool,
}

/// What a file wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The keys, in the order of the file.
    pub keys: Vec<WantedKey>,
    /// The requests.
    pub requests: Vec<WantedRequest>,
}

/// A key that is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedKey {
    /// The id that it gets, where it is made by this: always the same for one label.
    pub id: KeyId,
    /// The group that requests name it by.
    pub group: Name,
    /// Its description.
    pub spec: KeySpec,
}

/// A request that is to be made for keys that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedRequest {
    /// The labels of its keys.
    pub labels: Vec<Name>,
    /// Whether each key is asked for by itself.
    pub each: bool,
    /// What it says.
    pub said: Said,
}

/// The id of a key that `keylatch apply` makes: drawn from the tenant and the label, so that a repeat, also one that nobody
/// can know of yet, is refused and never makes a second key. The bits of a UUIDv7 that stand for a time stand for none here.
pub fn key_id(tenant: TenantId, label: &Name) -> Option<KeyId> {
    let hash = sha2::Sha256::digest(format!("keylatch apply\n{tenant}\n{label}\n"));
    let mut bytes: [u8; 16] = hash.get(..16)?.try_into().ok()?;
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut bytes;
    *version = 0x70 | (*version & 0x0f);
    *variant = 0x80 | (*variant & 0x3f);
    KeyId::from_bytes(bytes)
}

/// Reads a file. Keys, people and times that it names are looked up.
pub fn read(path: &Path, state: &Tenant) -> Result<Wanted, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::file(path, error, ADVICE))?;
    let written: Written = toml::from_str(&text).map_err(|error| Error::file(path, explain(&text, &error), ADVICE))?;
    if written.schema != 1 {
        return Err(Error::file(path, format!("schema {} is not known", written.schema), "write `schema = 1`"));
    }
    let mut keys: Vec<WantedKey> = Vec::new();
    for (place, entry) in written.key.into_iter().enumerate() {
        let entry: KeyEntry = under(&written.defaults.key, entry)
            .map_err(|what| Error::file(path, format!("[[key]] {}: {what}", place + 1), ADVICE))?;
        keys.extend(numbered(path, state, &entry)?);
        if keys.len() > KEYS_MAX {
            return Err(Error::file(path, format!("more than {KEYS_MAX} keys"), "split the file"));
        }
    }
    let mut labels = BTreeSet::new();
    if let Some(twice) = keys.iter().find(|key| !labels.insert(&key.spec.label)) {
        let what = format!("label `{}` stands for two keys", twice.spec.label);
        return Err(Error::file(path, what, "give each key a label of its own"));
    }
    let mut requests = Vec::new();
    for (place, entry) in written.request.into_iter().enumerate() {
        let wrong = |what: String| Error::file(path, format!("[[request]] {}: {what}", place + 1), ADVICE);
        let entry: RequestEntry = under(&written.defaults.request, entry).map_err(wrong)?;
        requests.push(wanted(&entry, &keys, state, &wrong)?);
    }
    Ok(Wanted { keys, requests })
}

/// An entry with the defaults under it.
fn under<T: serde::de::DeserializeOwned>(defaults: &Table, entry: Table) -> Result<T, String> {
    let mut whole = defaults.clone();
    whole.extend(entry);
    whole.try_into().map_err(|error: toml::de::Error| error.message().replace('\n', ", "))
}

/// The keys of an entry: one, or `count` alike with numbered labels.
fn numbered(path: &Path, state: &Tenant, entry: &KeyEntry) -> Result<Vec<WantedKey>, Error> {
    let group = entry.group.clone().unwrap_or_else(|| entry.label.clone());
    let label = |text: String| text.parse::<Name>().map_err(|error| Error::file(path, error, ADVICE));
    let labels: Vec<Name> = match entry.count {
        None => vec![entry.label.clone()],
        Some(count) if usize::try_from(count).is_ok_and(|count| count <= KEYS_MAX) => {
            (1..=count).map(|number| label(format!("{}-{number}", entry.label))).collect::<Result<_, Error>>()?
        }
        Some(count) => return Err(Error::file(path, format!("count = {count}"), format!("at most {KEYS_MAX}"))),
    };
    let one = |label: Name| {
        let spec = spec(path, state, entry, label)?;
        let id = key_id(state.chain.tenant(), &spec.label)
            .ok_or_else(|| Error::failed("no id could be made", "tell the authors"))?;
        Ok(WantedKey { id, group: group.clone(), spec })
    };
    labels.into_iter().map(one).collect()
}

fn spec(path: &Path, state: &Tenant, entry: &KeyEntry, label: Name) -> Result<KeySpec, Error> {
    let KeyEntry { algorithm, workload, responsibility, jurisdiction, classification, environment, .. } = entry.clone();
    let backend = entry.backend.parse().map_err(|error| Error::file(path, error, ADVICE))?;
    let kind = Template { algorithm, workload, responsibility, jurisdiction, classification, environment, backend };
    let replaces = entry.replaces.as_deref().map(|named| here(state, named)).transpose()?.map(|parent| parent.key_id);
    let wrapped_by = entry.wrapped_by.as_deref().map(|named| here(state, named)).transpose()?;
    let (exportable, deletable) = (entry.exportable, entry.deletable);
    let attributes = Attributes { exportable, deletable, replaces, instance: entry.instance.clone() };
    Ok(KeySpec {
        asset: entry.asset.clone(),
        model_digest: entry.model_digest,
        endpoint: entry.endpoint.clone(),
        owner: entry.owner.clone(),
        usage: entry.usage.clone(),
        attributes: Some(attributes).filter(|attributes| *attributes != Attributes::default()),
        wrapped_by,
        inherited_scope: entry.session_scope.clone(),
        ..KeySpec::new(label, kind)
    })
}

/// A key that another names: one that is there, or one that this tool has made or will make under this label.
fn here(state: &Tenant, named: &str) -> Result<model::key::Parent, Error> {
    let is_there = state.keys.values().any(|key| key.spec.label.as_str() == named);
    let label = named.parse::<Name>().ok().filter(|_| !is_there && !named.contains(':'));
    let made = label.filter(|_| named.parse::<KeyId>().is_err()).and_then(|label| key_id(state.chain.tenant(), &label));
    match made {
        Some(key_id) => Ok(model::key::Parent { tenant: None, key_id }),
        None => parent(state, named),
    }
}

fn wanted(
    entry: &RequestEntry,
    keys: &[WantedKey],
    state: &Tenant,
    wrong: &impl Fn(String) -> Error,
) -> Result<WantedRequest, Error> {
    let is_meant = |key: &&WantedKey| entry.groups.contains(&key.group) || entry.keys.contains(&key.spec.label);
    let labels: Vec<Name> = keys.iter().filter(is_meant).map(|key| key.spec.label.clone()).collect();
    let unknown_group = entry.groups.iter().find(|group| !keys.iter().any(|key| key.group == **group));
    let unknown_key = entry.keys.iter().find(|label| !keys.iter().any(|key| key.spec.label == **label));
    if let Some(unknown) = unknown_group.or(unknown_key) {
        return Err(wrong(format!("`{unknown}` is no key or group of this file")));
    }
    if labels.is_empty() {
        return Err(wrong("it names neither `groups` nor `keys`".to_owned()));
    }
    let when = |time: &Option<String>| time.as_deref().map(str::parse::<When>).transpose().map_err(wrong);
    let (not_before, until) = (when(&entry.not_before)?, when(&entry.until)?);
    let consumers = entry.consumers.iter().map(|named| lookup::principal(state, named).map(|_| named.clone()));
    let args = SaidArgs {
        change_ref: entry.change_ref.clone(),
        legal_basis: entry.legal_basis.clone(),
        systems: entry.systems.clone(),
        consumers: consumers.collect::<Result<_, Error>>()?,
        not_before,
        until,
        break_glass: entry.break_glass,
        no_attestation: !entry.attestation,
    };
    let reason = Reason { kind: entry.reason_kind, text: entry.reason.clone() };
    // An emergency is asked for key by key.
    Ok(WantedRequest { labels, each: entry.each || entry.break_glass, said: Said::new(reason, args, state)? })
}
