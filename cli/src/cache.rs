//! `shoal cache`: what the nodes' caches hold.

mod lookup;
mod purge;
mod stats;
mod what;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use cluster::Service;
use proto::proxy::PurgeRequest;

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
  shoal cache purge --host .example.com")]
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
    Purge {
        #[command(flatten)]
        what: What,
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
        Action::Purge { what, format } => {
            let purge = Some(what.purge()?);
            let request = PurgeRequest { purge, ..PurgeRequest::default() };
            purge::purge(&cluster, &nodes, request, format).await
        }
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
