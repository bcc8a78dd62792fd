//! Purge.

use std::sync::Arc;

use chassis::audit;
use proto::proxy::{PurgeRequest, PurgeResponse};
use tonic::{Request, Status};

use crate::{
    cache::purge::{Mode, Purge, Scope},
    node::Node,
    purging::wire,
};

/// Purges in both tiers, and returns when that is on the disk.
pub(super) async fn purge(
    node: &Arc<Node>,
    request: &Request<PurgeRequest>,
) -> Result<PurgeResponse, Status> {
    let asked = request.get_ref();
    let purge = match &asked.purge {
        Some(purge) => wire::read(purge),
        // As earlier versions ask.
        None if asked.prefix => Scope::prefix(&asked.url).map(hard),
        None => Scope::url(&asked.url).map(hard),
    };
    let purge = Arc::new(purge.map_err(|problem| Status::invalid_argument(problem.to_string()))?);
    let purging = (node.clone(), purge.clone());
    let purged = tokio::task::spawn_blocking(move || {
        let (node, purge) = purging;
        node.purge(&purge)
    });
    let purged = purged.await.map_err(|_| Status::internal("the purge panicked: purge again"))?;
    let removed = purged.lasting().await.map_err(|reason| {
        Status::unavailable(format!(
            "it is purged from memory and not served from the disk, but that could not be written \
             to the disk cache ({reason}): after a restart it might be back. Purge again when the \
             disk is well"
        ))
    })?;
    let verb = if purge.mode == Mode::Soft { "marked" } else { "removed" };
    audit::note(request, format!("{purge}: {removed} {verb}"));
    Ok(PurgeResponse { removed })
}

const fn hard(scope: Scope) -> Purge {
    Purge { scope, mode: Mode::Hard }
}
