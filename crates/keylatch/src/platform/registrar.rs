//! Making tenants while everything runs: the account, the stream, and the first event of the chain.

use std::sync::Arc;

use journal::command::SignedCommand;
use journal::{Append, Journal as _, Outgoing, Record};
use journal_nats::permission::PlatformUser;
use journal_nats::{NatsJournal, Provisioner, connect};
use lifecycle::{Input, Judgement, Tenant, View, decide};
use model::{EventHash, Name, Problem, ProblemType, Sequence, ServiceRole, TenantId};
use service::{Clock, Node, clock};

use super::Deployment;

/// Why a tenant was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The platform's own files or keys.
    #[error(transparent)]
    Platform(#[from] service::Error),
    /// The operator's files.
    #[error(transparent)]
    Operator(#[from] journal_nats::operator::Error),
    /// The server.
    #[error(transparent)]
    Provision(#[from] journal_nats::provision::Error),
    /// The connection.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// The log.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The rules refuse.
    #[error("{0}")]
    Refused(Box<Problem>),
}

/// Gives a new tenant its id: an account of its own. Nothing else is there yet.
pub fn reserve(deployment: &Deployment, name: &Name) -> Result<TenantId, Error> {
    Ok(deployment.operator.create_tenant(name)?.id())
}

/// Makes a tenant from its founding command, which every first admin has signed: brings the account to the server,
/// creates the stream, records `tenant.created`. Can be repeated; the same command gives the same event.
pub async fn create(deployment: &Deployment, signed: Arc<SignedCommand>) -> Result<EventHash, Error> {
    let id = signed.command.tenant;
    let tenant = deployment.operator.tenant(id)?;
    let url = deployment.url()?;
    // Decided before anything is made: a command that is refused leaves nothing behind.
    let mut state = Tenant::new(id, deployment.root);
    let input = Input::Founding { command: signed.clone(), authority: deployment.authority.clone() };
    let now = Clock::default().now();
    decide(&state.view(input.footprint()), &input, now)
        .map_err(|rejection| Error::Refused(Box::new(rejection.into())))?;

    Provisioner::connect(&deployment.operator, &url).await?.provision(&tenant).await?;
    let credentials = deployment.operator.credentials_path(PlatformUser::PROVISIONER);
    let connection = connect::watched(&url, &credentials, "keylatch registrar").await?;
    let journal = NatsJournal::new(&connection);
    if let Some(record) = journal.read(id, Sequence(1), 1).await?.into_iter().next() {
        return already(&mut state, record, &signed);
    }
    let now = Clock::default().now();
    let event = decide(&state.view(input.footprint()), &input, now)
        .map_err(|rejection| Error::Refused(Box::new(rejection.into())))?;
    let key = deployment.service_key(ServiceRole::Registrar)?;
    let (record, authentic) = key.sign_event(&state.chain, clock::event_id(), now, &event);
    let outgoing = Outgoing { event_type: event.event_type(), record };
    match journal.append(id, state.chain.head(), &[outgoing]).await? {
        Append::Recorded => Ok(authentic.hash),
        Append::HeadMoved { .. } => match journal.read(id, Sequence(1), 1).await?.into_iter().next() {
            Some(record) => already(&mut state, record, &signed),
            None => Err(Error::Journal(journal::Error::Unavailable("the log changed and shows nothing".into()))),
        },
    }
}

/// Brings the platform's newest authority statement into the chain of every tenant that has an older one: keys that were
/// replaced, or the rules epoch of a newer program. Answers with how many chains were brought forward.
pub async fn bring_authority(deployment: &Deployment, node: &Node<NatsJournal>) -> Result<usize, Error> {
    let credentials = deployment.operator.credentials_path(PlatformUser::PROVISIONER);
    let mut connection = None;
    let mut brought = 0;
    for tenant in deployment.operator.tenants()? {
        if !is_behind(deployment, &view(node, tenant)?) {
            continue;
        }
        if connection.is_none() {
            connection = Some(connect::watched(&deployment.url()?, &credentials, "keylatch registrar").await?);
        }
        if let Some(connection) = &connection {
            bring(deployment, node, &NatsJournal::new(connection), tenant).await?;
            brought += 1;
        }
    }
    Ok(brought)
}

fn view(node: &Node<NatsJournal>, tenant: TenantId) -> Result<View, Error> {
    Ok(node.view(tenant, lifecycle::Footprint::default())?)
}

fn is_behind(deployment: &Deployment, view: &View) -> bool {
    let newest = deployment.authority.statement.epoch;
    view.governance.as_ref().is_some_and(|governance| governance.authority.ring.epoch() < newest)
}

/// COMMIT POINT: the append. Before it nothing has happened, and the next start tries again; after it the chain is brought
/// forward, whether we live to see it or not.
async fn bring(
    deployment: &Deployment,
    node: &Node<NatsJournal>,
    journal: &NatsJournal,
    tenant: TenantId,
) -> Result<(), Error> {
    let key = deployment.service_key(ServiceRole::Registrar)?;
    loop {
        node.catch_up(tenant).await?;
        let view = view(node, tenant)?;
        if !is_behind(deployment, &view) {
            return Ok(());
        }
        let now = Clock::default().now().max(view.chain.time());
        let event = decide(&view, &Input::Authority(deployment.authority.clone()), now)
            .map_err(|rejection| Error::Refused(Box::new(rejection.into())))?;
        let (record, _) = key.sign_event(&view.chain, clock::event_id(), now, &event);
        let outgoing = Outgoing { event_type: event.event_type(), record };
        // Somebody else may have written first: then it is decided again, on what stands now.
        journal.append(tenant, view.chain.head(), &[outgoing]).await?;
    }
}

/// The tenant has begun already: by this command, or by another.
fn already(state: &mut Tenant, record: Record, signed: &SignedCommand) -> Result<EventHash, Error> {
    let hash = record.hash();
    let lawful = matches!(state.take_record(record), Ok(Judgement::Lawful));
    match state.receipts.get(&signed.command.id) {
        Some(receipt) if lawful && receipt.digest == signed.digest => Ok(hash),
        _ => {
            let problem = Problem::new(ProblemType::StateChanged, "the tenant was founded by another command");
            Err(Error::Refused(Box::new(problem)))
        }
    }
}
