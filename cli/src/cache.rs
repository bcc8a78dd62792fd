//! `shoal cache`: what the nodes' caches hold.

mod lookup;
mod purge;
mod purges;
mod stats;
mod warm;
mod what;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use cluster::Service;

use self::what::What;
use crate::{
    cluster::{Cluster, one_of},
    context::Target,
    output::Format,
};

/// Look into the nodes' caches and remove things from them
#[derive(Args)]
#[command(after_help = "Examples:
  shoal cache stats
  shoal cache lookup http://example.com/logo.png
  shoal cache purge http://example.com/logo.png
  shoal cache purge --prefix http://example.com/static/
  shoal cache purge --soft --tag news
  shoal cache purge --host .example.com
  shoal cache purges
  shoal cache warm urls.txt")]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Only this proxy-node
    #[arg(long, global = true, value_name = "NAME")]
    node: Option<String>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Hits, misses and sizes, node by node
    Stats {
        #[command(flatten)]
        format: Format,
    },
    /// What is held for a URL, node by node
    Lookup {
        /// Absolute URL
        url: String,
        #[command(flatten)]
        format: Format,
    },
    /// Remove what is held, in memory and on disk, or have it validated before its next use
    ///
    /// The registry keeps it in its log, from which every node does it; a node that is away does it
    /// before it trusts what it has stored. Fails when a node has not done it in time.
    Purge {
        #[command(flatten)]
        what: What,
        /// Why, for the log and the audit record
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
        /// How long the nodes have for it
        #[arg(
            long,
            default_value = "10s",
            value_name = "DURATION",
            value_parser = chassis::options::duration,
        )]
        within: Duration,
        #[command(flatten)]
        format: Format,
    },
    /// Fetch a list of URLs, so that the caches have them before somebody asks
    Warm(warm::Options),
    /// The last purges, and how far each node has come with them
    Purges {
        /// The newest so many
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: u32,
        #[command(flatten)]
        format: Format,
    },
}

pub async fn run(options: Options) -> Result<()> {
    let cluster = match options.action {
        Action::Purge { .. } => Cluster::open_to_change(&options.target)?,
        _ => Cluster::open(&options.target)?,
    };
    // To purge at nodes that were known once would leave out those that have come since.
    let known = match options.action {
        Action::Purge { .. } => {
            cluster.instances(Service::ProxyNode).await.context("nothing was purged")?
        }
        _ => cluster.last_instances(Service::ProxyNode).await?,
    };
    let nodes = match &options.node {
        Some(name) => vec![one_of(known, Service::ProxyNode, name)?],
        None => known,
    };
    if nodes.is_empty() {
        bail!("no proxy-node is registered: see `shoal status`");
    }
    match options.action {
        Action::Stats { format } => stats::stats(&cluster, &nodes, format).await,
        Action::Lookup { url, format } => lookup::lookup(&cluster, &nodes, &url, format).await,
        Action::Purge { what, format, .. } if options.node.is_some() => {
            purge::at(&cluster, &nodes, what.purge()?, format).await
        }
        Action::Purge { what, reason, within, format } => {
            let order = purge::Order { purge: what.purge()?, reason, within };
            purge::everywhere(&cluster, &nodes, order, format).await
        }
        Action::Warm(how) => warm::warm(&cluster, &nodes, options.node.is_some(), how).await,
        Action::Purges { limit, format } => purges::list(&cluster, limit, format).await,
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scaled = bytes;
    while scaled >= 10 * 1024 && unit + 1 < UNITS.len() {
        scaled /= 1024;
        unit += 1;
    }
    format!("{scaled} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (10_239, "10239 B"),
            (10_240, "10 KiB"),
            (256 << 20, "256 MiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
