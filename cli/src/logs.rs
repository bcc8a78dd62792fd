//! `shoal logs`: what the nodes' clients ask for: the last access records of all nodes, or who asks most.

mod line;
mod tail;
mod top;

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use cluster::{InstanceStatus, Service};
use proto::proxy::AccessKey;

use crate::{
    cluster::{Cluster, one_of},
    context::Target,
    output::Format,
};

/// Longest wait for one node's answer: a node that is frozen does not hold the others up for long.
const ANSWER: Duration = Duration::from_secs(5);

/// See what clients ask for: the last access records of all nodes, or who and what is asked most
#[derive(Args)]
#[command(after_help = "Examples:
  shoal logs                                   the last 20 requests on all nodes
  shoal logs -f                                and every new one
  shoal logs -f --node proxy-node-1 -o json    one JSON object a line
  shoal logs --top client --since 5m           who asks most
  shoal logs --top url -n 50
  shoal logs --top domain
  shoal logs --top status --since 1m

What is kept is bounded: the last 2048 records of every node, and an hour of counts. A count with ≤ is an upper bound.
The whole access log is access.log in each node's data dir.")]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Count instead of listing: by whom or what
    #[arg(long, value_enum, value_name = "KEY")]
    top: Option<Key>,
    /// How far back counts go, at most 1h
    #[arg(long, value_name = "TIME", value_parser = chassis::options::duration, default_value = "5m", requires = "top")]
    since: Duration,
    /// Only this proxy-node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// How many records or counts
    #[arg(short = 'n', long = "lines", default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    lines: u32,
    /// Go on with new records until interrupted
    #[arg(short, long, conflicts_with = "top")]
    follow: bool,
    #[command(flatten)]
    format: Format,
}

/// By what requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Key {
    /// Address of the client
    Client,
    /// URL; host:port of a tunnel
    Url,
    /// Status sent
    Status,
    /// Host of the URL
    Domain,
}

impl Key {
    const fn wire(self) -> AccessKey {
        match self {
            Self::Client => AccessKey::Client,
            Self::Url => AccessKey::Url,
            Self::Status => AccessKey::Status,
            Self::Domain => AccessKey::Domain,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Url => "url",
            Self::Status => "status",
            Self::Domain => "domain",
        }
    }
}

pub async fn run(options: Options) -> Result<()> {
    let cluster = Cluster::open(&options.target)?;
    let count = usize::try_from(options.lines).unwrap_or(usize::MAX);
    let nodes = nodes(&cluster, options.node.as_deref()).await?;
    match options.top {
        Some(key) => top::run(&cluster, &nodes, key, options.since, count, options.format).await,
        None if options.follow => tail::follow(&cluster, options.node.as_deref(), nodes, count, options.format).await,
        None => tail::last(&cluster, &nodes, count, options.format).await,
    }
}

async fn nodes(cluster: &Cluster, name: Option<&str>) -> Result<Vec<InstanceStatus>> {
    let nodes = cluster.last_instances(Service::ProxyNode).await?;
    if let Some(name) = name {
        return Ok(vec![one_of(nodes, Service::ProxyNode, name)?]);
    }
    if nodes.is_empty() {
        bail!("no proxy-node is registered: see `shoal status`");
    }
    Ok(nodes)
}
