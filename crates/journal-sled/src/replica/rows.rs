//! What the rows of a replica look like. Keys begin with the tenant's 32 bytes (those of `due` with the role), so that
//! ten thousand tenants share a few trees; numbers are big-endian, so that rows lie in their order.

use journal::{Chain, Record};
use lifecycle::state::Progress;
use lifecycle::{Due, Duty};
use model::{Digest, EventHash, KeyId, Sequence, ServiceRole, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Table {
    /// tenant: [`Standing`], written with every group.
    Tenants,
    /// tenant: people, policy, authority.
    Governance,
    /// tenant, key id: a key.
    Keys,
    /// tenant, hash: a request.
    Requests,
    /// tenant, digest: a document, and where its parts are in the log.
    Documents,
    /// tenant, size: a checkpoint over so many events.
    Checkpoints,
    /// tenant, command id: what this command and those up to the next row led to.
    Commands,
    /// role, time, tenant, duty, key id or request's hash: nothing. What is due, in order of time.
    Due,
    /// tenant, sequence: an event's bytes.
    Tail,
    /// What the store is, its digest, unfinished forgetting.
    Meta,
}

impl Table {
    /// Every tree.
    pub(super) const ALL: [Self; 10] = [
        Self::Tenants,
        Self::Governance,
        Self::Keys,
        Self::Requests,
        Self::Documents,
        Self::Checkpoints,
        Self::Commands,
        Self::Due,
        Self::Tail,
        Self::Meta,
    ];

    /// Its name in sled.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tenants => "tenants",
            Self::Governance => "governance",
            Self::Keys => "keys",
            Self::Requests => "requests",
            Self::Documents => "documents",
            Self::Checkpoints => "checkpoints",
            Self::Commands => "commands",
            Self::Due => "due",
            Self::Tail => "tail",
            Self::Meta => "meta",
        }
    }

    /// Whether its rows are state, which the digest covers. Raw events check themselves: they are hashed and linked.
    pub(super) fn is_state(self) -> bool {
        !matches!(self, Self::Tail | Self::Meta)
    }
}

// === Values ===

/// A tenant's row: where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    pub(super) chain: Chain,
    pub(super) progress: Progress,
    /// The first sequence whose bytes are still in the tail.
    pub(super) kept_from: u64,
}

impl Standing {
    pub(super) fn empty(tenant: TenantId) -> Self {
        Self { chain: Chain::new(tenant), progress: Progress::default(), kept_from: 1 }
    }
}

/// The length of the signature header (4 bytes), the header, the payload.
pub(super) fn record(record: &Record) -> Vec<u8> {
    let signature = record.signature.as_bytes();
    let length = u32::try_from(signature.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), signature, &record.payload].concat()
}

pub(super) fn read_record(mut row: &[u8]) -> Option<Record> {
    let length = u32::from_be_bytes(take(&mut row)?);
    let (signature, payload) = row.split_at_checked(usize::try_from(length).ok()?)?;
    let signature = String::from_utf8(signature.to_vec()).ok()?;
    Some(Record { signature, payload: payload.to_vec().into() })
}

// === Keys ===

pub(super) fn key(tenant: TenantId, key: KeyId) -> Vec<u8> {
    [tenant.as_bytes().as_slice(), key.as_bytes()].concat()
}

pub(super) fn request(tenant: TenantId, request: EventHash) -> Vec<u8> {
    [tenant.as_bytes().as_slice(), request.as_bytes()].concat()
}

pub(super) fn document(tenant: TenantId, document: Digest) -> Vec<u8> {
    [tenant.as_bytes().as_slice(), document.as_bytes()].concat()
}

pub(super) fn checkpoint(tenant: TenantId, size: u64) -> Vec<u8> {
    [tenant.as_bytes().as_slice(), &size.to_be_bytes()].concat()
}

pub(super) fn event(tenant: TenantId, sequence: u64) -> Vec<u8> {
    [tenant.as_bytes().as_slice(), &sequence.to_be_bytes()].concat()
}

pub(super) fn read_sequence(row: &[u8]) -> Option<Sequence> {
    let mut rest = row.get(32..)?;
    let sequence = u64::from_be_bytes(take(&mut rest)?);
    rest.is_empty().then_some(Sequence(sequence))
}

pub(super) fn read_tenant(row: &[u8]) -> Option<TenantId> {
    Some(TenantId::from_bytes(row.try_into().ok()?))
}

/// Everything of a tenant lies from its 32 bytes up to this.
pub(super) fn end_of(tenant: TenantId) -> Option<Vec<u8>> {
    after(tenant.as_bytes())
}

/// The least bytes that are above everything with this prefix; nothing where there are none.
fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

pub(super) fn due(tenant: TenantId, due: Due) -> Vec<u8> {
    let mut row = due_at(due.duty.role(), due.at).to_vec();
    row.extend_from_slice(tenant.as_bytes());
    row.push(number_of(due.duty));
    row.extend(due.duty.key().iter().flat_map(KeyId::as_bytes));
    row.extend(due.duty.request().iter().flat_map(EventHash::as_bytes));
    row
}

/// Where the dues of a role at a time begin.
pub(super) fn due_at(role: ServiceRole, at: Timestamp) -> [u8; 9] {
    due_at_millis(role, at.unix_millis())
}

/// Where the dues of a role behind a time begin.
pub(super) fn due_behind(role: ServiceRole, at: Timestamp) -> [u8; 9] {
    // No timestamp is near the end of the numbers.
    due_at_millis(role, at.unix_millis().saturating_add(1))
}

fn due_at_millis(role: ServiceRole, millis: i64) -> [u8; 9] {
    // The sign bit turned: the order of the bytes is the order of time, also before 1970.
    let [a, b, c, d, e, f, g, h] = (millis ^ i64::MIN).to_be_bytes();
    [number_of_role(role), a, b, c, d, e, f, g, h]
}

pub(super) fn read_due(mut row: &[u8]) -> Option<(TenantId, Due)> {
    let [_role] = take(&mut row)?;
    let millis = i64::from_be_bytes(take(&mut row)?) ^ i64::MIN;
    let tenant = TenantId::from_bytes(take(&mut row)?);
    let [duty] = take(&mut row)?;
    let about = match row.len() {
        0 => About::Tenant,
        16 => About::Key(KeyId::from_bytes(row.try_into().ok()?)?),
        _ => About::Request(EventHash::new(row.try_into().ok()?)),
    };
    let due = Due { at: Timestamp::from_unix_millis(millis), duty: duty_of(duty, about)? };
    Some((tenant, due))
}

/// The numbers are on disk: they are only ever added to.
fn number_of_role(role: ServiceRole) -> u8 {
    match role {
        ServiceRole::Issuer => 1,
        ServiceRole::Approver => 2,
        ServiceRole::Activator => 3,
        ServiceRole::Expirer => 4,
        ServiceRole::EvidenceExporter => 5,
        ServiceRole::Custodian => 6,
        ServiceRole::Registrar => 7,
    }
}

fn number_of(duty: Duty) -> u8 {
    match duty {
        Duty::Authorize(_) => 1,
        Duty::Activate(_) => 2,
        Duty::Lapse(_) => 3,
        Duty::Expire(_) => 4,
        Duty::Deactivate(_) => 5,
        Duty::Destroy(_) => 6,
        Duty::Apply(_) => 7,
        Duty::Checkpoint => 8,
        Duty::AuthorizeRequest(_) => 9,
        Duty::LapseRequest(_) => 10,
        Duty::ActivateMembers(_) => 11,
        Duty::Suspend(_) => 12,
        Duty::SuspendChildren(_) => 13,
        Duty::Warn(_) => 14,
        Duty::Deadlines => 15,
        Duty::Probe => 16,
        Duty::Export => 17,
        Duty::WarnLapse(_) => 18,
        Duty::WarnLapseRequest(_) => 19,
        Duty::Reconcile => 20,
        Duty::Adopt => 21,
        Duty::Miss(_) => 22,
    }
}

/// What a duty is about.
enum About {
    Tenant,
    Key(KeyId),
    Request(EventHash),
}

fn duty_of(number: u8, about: About) -> Option<Duty> {
    Some(match (number, about) {
        (1, About::Key(key)) => Duty::Authorize(key),
        (2, About::Key(key)) => Duty::Activate(key),
        (3, About::Key(key)) => Duty::Lapse(key),
        (4, About::Key(key)) => Duty::Expire(key),
        (5, About::Key(key)) => Duty::Deactivate(key),
        (6, About::Key(key)) => Duty::Destroy(key),
        (7, About::Key(key)) => Duty::Apply(key),
        (8, About::Tenant) => Duty::Checkpoint,
        (9, About::Request(request)) => Duty::AuthorizeRequest(request),
        (10, About::Request(request)) => Duty::LapseRequest(request),
        (11, About::Request(request)) => Duty::ActivateMembers(request),
        (12, About::Key(key)) => Duty::Suspend(key),
        (13, About::Key(key)) => Duty::SuspendChildren(key),
        (14, About::Key(key)) => Duty::Warn(key),
        (15, About::Tenant) => Duty::Deadlines,
        (16, About::Tenant) => Duty::Probe,
        (17, About::Tenant) => Duty::Export,
        (18, About::Key(key)) => Duty::WarnLapse(key),
        (19, About::Request(request)) => Duty::WarnLapseRequest(request),
        (20, About::Tenant) => Duty::Reconcile,
        (21, About::Tenant) => Duty::Adopt,
        (22, About::Key(key)) => Duty::Miss(key),
        _ => return None,
    })
}

/// Takes so many bytes off the front.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

// === The digest ===

/// A digest over a set of rows that a change of one row changes in one step: the exclusive or of a SHA-256 of each row.
///
/// It finds what a store lost or brought back. It is no protection against somebody who writes to the disk: who can do
/// that can also write a digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum(pub(super) [u8; 32]);

impl Sum {
    /// Takes a row in, or out again.
    pub(super) fn toggle(&mut self, table: Table, key: &[u8], value: &[u8]) {
        let length = (key.len() as u64).to_be_bytes();
        let row = Sha256::new().chain_update(table.name()).chain_update([0]).chain_update(length);
        let row: [u8; 32] = row.chain_update(key).chain_update(value).finalize().into();
        self.0.iter_mut().zip(row).for_each(|(sum, byte)| *sum ^= byte);
    }
}

/// The row that says what the state adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    /// How many groups were committed.
    pub(super) groups: u64,
    /// Over all rows of the trees that are state.
    pub(super) sum: Sum,
}

impl Total {
    pub(super) fn to_row(self) -> Vec<u8> {
        [self.groups.to_be_bytes().as_slice(), &self.sum.0].concat()
    }

    pub(super) fn read(mut row: &[u8]) -> Option<Self> {
        let groups = u64::from_be_bytes(take(&mut row)?);
        let sum = Sum(take(&mut row)?);
        row.is_empty().then_some(Self { groups, sum })
    }
}
