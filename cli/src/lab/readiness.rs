//! When is a lab ready? Every process says so, the registry finds everybody usable, and every
//! balancer would use every node.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use cluster::{Service, State};
use proto::balancer::{GetStatsRequest, Standing};
use tokio::time::sleep;

use super::plan::Child;
use crate::{
    cluster::{Cluster, call},
    ready,
};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until the process says that it is ready.
pub async fn says_so(client: &reqwest::Client, child: &Child) {
    while ask(client, child).await.is_err() {
        sleep(PAUSE).await;
    }
}

/// Asks the process once.
///
/// # Errors
/// It is not ready: why.
pub async fn ask(client: &reqwest::Client, child: &Child) -> Result<()> {
    let url = format!("http://{}/readyz", child.endpoints.get("admin").map_or("", String::as_str))
        .parse()?;
    ready::ask(client, &url).await
}

/// Waits until the registry finds everybody usable.
pub async fn everybody_is_usable(cluster: &Cluster, names: &[&str]) {
    loop {
        if let Ok(listing) = cluster.listing().await {
            let usable = listing.instances.iter().filter(|status| status.state == State::Usable);
            let usable: BTreeSet<_> = usable.map(|status| status.instance.name.as_str()).collect();
            if names.iter().all(|name| usable.contains(name)) {
                return;
            }
        }
        sleep(PAUSE).await;
    }
}

/// Waits until every balancer would use every one of `nodes`.
pub async fn balancers_know(cluster: &Cluster, nodes: &[&str]) {
    while !all_balancers_know(cluster, nodes).await.unwrap_or(false) {
        sleep(PAUSE).await;
    }
}

async fn all_balancers_know(cluster: &Cluster, nodes: &[&str]) -> Result<bool> {
    for balancer in cluster.instances(Service::Balancer).await? {
        let name = balancer.instance.name.clone();
        let stats = call(&name, cluster.balancer(&balancer)?.get_stats(GetStatsRequest {}))
            .await?
            .stats
            .unwrap_or_default();
        let servers = stats.backends.iter().flat_map(|backend| &backend.servers);
        let usable: BTreeSet<_> = servers
            .filter(|server| server.standing() == Standing::Usable)
            .map(|server| server.name.as_str())
            .collect();
        if !nodes.iter().all(|node| usable.contains(node)) {
            return Ok(false);
        }
    }
    Ok(true)
}
