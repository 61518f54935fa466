//! Taking the keys of baselines into the inventory, each by an event of its own with the proof that it is one of them.

use journal::Journal;
use lifecycle::baseline::Line;
use lifecycle::decide::Adopting;
use lifecycle::state::Baseline;
use lifecycle::{Footprint, Input, Rejection};
use model::{ProblemType, ServiceRole, TenantId};
use service::{Node, Recorded, lists};
use tracing::{error, info};

/// How many adoptions are under way at once. The lane gathers them into batches.
const AT_ONCE: usize = 256;

/// Takes in every key of every baseline that is not in yet. It can be cut short anywhere: what is left stays due. A line that
/// can't be read, or that the rules refuse, is passed over: the evidence says that a key of the baseline is missing.
pub(crate) async fn keys<J: Journal>(node: &Node<J>, tenant: TenantId) -> Result<Recorded, Rejection> {
    let view = node.view(tenant, Footprint::default()).map_err(unavailable)?;
    let mut last = Rejection::new(ProblemType::NothingDue, "every key of every baseline is in").err();
    for baseline in view.governance()?.baselines.values() {
        let waiting = waiting(node, tenant, baseline).await?;
        if waiting.is_empty() {
            continue;
        }
        info!(%tenant, baseline = %baseline.hash, keys = waiting.len(), of = baseline.manifest.count, "adopting keys");
        for some in waiting.chunks(AT_ONCE) {
            let adopted =
                some.iter().map(|adopting| node.record(tenant, ServiceRole::Issuer, Input::Adopted(adopting.clone())));
            last = lists::last_of(futures_util::future::join_all(adopted).await);
        }
    }
    last
}

/// The lines of a baseline whose keys are not in the inventory.
async fn waiting<J: Journal>(
    node: &Node<J>,
    tenant: TenantId,
    baseline: &Baseline,
) -> Result<Vec<Adopting>, Rejection> {
    let list = lists::read(node, tenant, &baseline.manifest).await?;
    let mut waiting = Vec::new();
    for (text, (key, membership)) in list.lines().zip(list.memberships()) {
        if node.replica().key(tenant, key).map_err(unavailable)?.is_some() {
            continue;
        }
        match Line::parse(text) {
            Some(line) => waiting.push(Adopting { baseline: baseline.hash, line, membership }),
            None => {
                error!(%tenant, baseline = %baseline.hash, %key, "a line of a baseline can't be read; its key stays out")
            }
        }
    }
    Ok(waiting)
}

fn unavailable(error: impl std::fmt::Display) -> Rejection {
    Rejection::new(ProblemType::Unavailable, error)
}
