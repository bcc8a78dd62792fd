//! `shoal status`: who is there, who may serve, and why.

mod overview;

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Args;
use cluster::{InstanceStatus, Service, alarm::Severity};
use proto::{
    balancer::{GetStatsRequest, Server, Standing, Stats},
    proxy::GetStatsResponse,
};

use crate::{
    alarm,
    cluster::{Cluster, ask_together, block_on},
    context::Target,
    output::{self, Format},
};

pub use self::overview::{Overview, Row, alarm_text, state_name};

/// Show who is in the cluster, who may serve, and why
#[derive(Args)]
#[command(after_help = "Examples:
  shoal status
  shoal status --check || echo 'clients are not served as they should be'
  shoal status -o json | jq -r '.instances[] | select(.state != \"usable\") | .name'
  shoal status --registry 10.0.0.5:7001 --ca ca.crt --cert me.crt --key me.key

With --check the exit code is 0 when nothing needs to be done, 1 after a warning, 2 when something \
is critical: a backend
without a usable server, requests of the last minute that failed, a registry that does not answer. \
`shoal doctor` says more.")]
pub struct Options {
    /// Exit with 1 after a warning, and with 2 when something is critical
    #[arg(long, visible_alias = "exit-code")]
    check: bool,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    format: Format,
}

/// How long balancers and nodes are waited for: what they add is worth no more.
const ADDED: Duration = Duration::from_secs(1);

pub fn run(options: Options) -> ExitCode {
    let check = options.check;
    match block_on(look(options)) {
        Ok(worst) if check => ExitCode::from(match worst {
            None => 0,
            Some(Severity::Warning) => 1,
            Some(Severity::Critical) => 2,
        }),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            let failed = output::conclude(Err(error));
            // Who cannot even ask has something critical to mend.
            if check { ExitCode::from(2) } else { failed }
        }
    }
}

/// What all balancers tell of themselves, of those who answer soon.
pub async fn balancers(cluster: &Cluster, listed: &[InstanceStatus]) -> Vec<(String, Stats)> {
    let balancers: Vec<_> = listed
        .iter()
        .filter(|status| status.instance.service == Service::Balancer)
        .cloned()
        .collect();
    let told = ask_together(&balancers, ADDED, async |balancer| {
        Ok(cluster
            .balancer(balancer)?
            .max_decoding_message_size(64 << 20)
            .get_stats(GetStatsRequest {})
            .await)
    });
    // Who does not answer adds nothing: what the registry makes of it stands in its own row.
    told.await.into_iter().filter_map(|(name, answer)| Some((name, answer.ok()?.stats?))).collect()
}

async fn look(options: Options) -> Result<Option<Severity>> {
    let cluster = Cluster::open(&options.target)?;
    let listing = cluster.last_listing().await?;
    let nodes: Vec<_> = listing
        .instances
        .iter()
        .filter(|status| status.instance.service == Service::ProxyNode)
        .cloned()
        .collect();
    let (balancers, nodes) = tokio::join!(
        balancers(&cluster, &listing.instances),
        ask_together(&nodes, ADDED, async |node| Ok(cluster
            .proxy_node(node)?
            .get_stats(proto::proxy::GetStatsRequest {})
            .await)),
    );
    let nodes: Vec<(String, GetStatsResponse)> =
        nodes.into_iter().filter_map(|(name, answer)| Some((name, answer.ok()?))).collect();
    let served = alarm::served(
        balancers.iter().map(|(name, stats)| (name.as_str(), stats)),
        nodes.iter().map(|(name, stats)| (name.as_str(), stats)),
    );
    let mut overview = Overview::from(listing)
        .seen_by(balancers.iter().map(|(_, stats)| stats))
        .with_alarms(&served)
        .with_addresses(&balancers);
    if cluster.head().stale {
        overview = overview.remembered();
    }
    cluster.show(&overview, options.format)?;
    Ok(overview.worst())
}

/// What a balancer says of a node that all balancers find unwell, so that it gets no request; none
/// when one of them uses it, or nobody knows it.
pub fn shunned<'a>(balancers: impl Iterator<Item = &'a Stats>, node: &str) -> Option<&'a Server> {
    let seen = balancers.flat_map(|stats| &stats.backends).flat_map(|backend| &backend.servers);
    let mut seen = seen.filter(|server| server.discovered && server.name == node).peekable();
    let first = *seen.peek()?;
    seen.all(|server| server.standing() == Standing::Unwell).then_some(first)
}
