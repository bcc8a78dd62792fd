//! `shoal cache`: what the nodes' caches hold.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use cluster::{InstanceStatus, Service};
use proto::proxy::{
    CachedVariant, GetStatsRequest, GetStatsResponse, LookupCacheRequest, LookupCacheResponse,
    ParentStats, PurgeRequest,
};
use serde::Serialize;

use crate::{
    cluster::{Cluster, ask_all, call, one_of},
    context::Target,
    output::{self, Cell, Column, Format, View, column, sentences},
};

/// Look into the nodes' caches and remove things from them
#[derive(Args)]
#[command(after_help = "Examples:
  shoal cache stats
  shoal cache lookup http://example.com/logo.png
  shoal cache purge http://example.com/logo.png
  shoal cache purge --prefix http://example.com/static/")]
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
    /// Remove what is held for a URL
    Purge {
        /// Absolute URL
        url: String,
        /// Everything whose URL begins so
        #[arg(long)]
        prefix: bool,
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
        Action::Stats { format } => stats(&cluster, &nodes, format).await,
        Action::Lookup { url, format } => lookup(&cluster, &nodes, &url, format).await,
        Action::Purge { url, prefix, format } => {
            purge(&cluster, &nodes, PurgeRequest { url, prefix }, format).await
        }
    }
}

#[derive(Serialize)]
struct Stats {
    nodes: Vec<NodeStats>,
}

#[derive(Serialize)]
struct NodeStats {
    name: String,
    requests: u64,
    hits: u64,
    revalidated: u64,
    collapsed: u64,
    misses: u64,
    denied: u64,
    errors: u64,
    tunnels: u64,
    /// Hits, revalidated ones included, among what the cache was asked for; absent before the
    /// first.
    hit_ratio: Option<f64>,
    cache_objects: u64,
    cache_bytes: u64,
    cache_capacity_bytes: u64,
    parents: Vec<Parent>,
}

/// A parent proxy of a node.
#[derive(Serialize)]
struct Parent {
    address: String,
    alive: bool,
    requests: u64,
    failures: u64,
    last_failure: String,
    credentials_problem: String,
}

impl Parent {
    /// What is wrong with it, in one line.
    fn trouble(&self) -> Option<String> {
        if !self.alive {
            return Some(format!("parent {} is dead: {}", self.address, self.last_failure));
        }
        (!self.credentials_problem.is_empty()).then(|| {
            format!(
                "parent {} is asked without credentials: {}",
                self.address, self.credentials_problem
            )
        })
    }
}

impl From<&ParentStats> for Parent {
    fn from(told: &ParentStats) -> Self {
        Self {
            address: told.address.clone(),
            alive: told.alive,
            requests: told.requests,
            failures: told.failures,
            last_failure: told.last_failure.clone(),
            credentials_problem: told.credentials_problem.clone(),
        }
    }
}

async fn stats(cluster: &Cluster, nodes: &[InstanceStatus], format: Format) -> Result<()> {
    let ask = async |node: &InstanceStatus| {
        call(&node.instance.name, cluster.proxy_node(node)?.get_stats(GetStatsRequest {})).await
    };
    let answers = ask_all(nodes, ask).await?;
    cluster.show(
        &Stats {
            nodes: answers
                .given
                .into_iter()
                .map(|(name, stats)| NodeStats::new(name, &stats))
                .collect(),
        },
        format,
    )?;
    answers.verdict
}

impl NodeStats {
    fn new(name: String, stats: &GetStatsResponse) -> Self {
        let served = stats.hits + stats.revalidated + stats.collapsed;
        let asked = served + stats.misses;
        #[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
        let hit_ratio = (asked > 0).then(|| served as f64 / asked as f64);
        Self {
            name,
            requests: stats.requests,
            hits: stats.hits,
            revalidated: stats.revalidated,
            collapsed: stats.collapsed,
            misses: stats.misses,
            denied: stats.denied,
            errors: stats.errors,
            tunnels: stats.tunnels,
            hit_ratio,
            cache_objects: stats.cache_objects,
            cache_bytes: stats.cache_bytes,
            cache_capacity_bytes: stats.cache_capacity_bytes,
            parents: stats.parents.iter().map(Parent::from).collect(),
        }
    }
}

const STATS: &[Column] = &[
    column("NODE", 0),
    column("REQUESTS", 1),
    column("HITS", 2),
    column("MISSES", 3),
    column("HIT RATIO", 0),
    column("DENIED", 5),
    column("ERRORS", 2),
    column("TUNNELS", 6),
    column("OBJECTS", 4),
    column("HELD", 1),
    column("CAPACITY", 4),
];

impl View for Stats {
    fn text(&self) -> String {
        let rows = self.nodes.iter().map(|node| {
            let ratio =
                node.hit_ratio.map_or("-".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0));
            let hits = node.hits + node.revalidated + node.collapsed;
            let mut row = vec![
                Cell::new(&node.name),
                Cell::new(node.requests),
                Cell::new(hits),
                Cell::new(node.misses),
                Cell::new(ratio),
            ];
            row.extend([node.denied, node.errors, node.tunnels, node.cache_objects].map(Cell::new));
            row.extend(
                [node.cache_bytes, node.cache_capacity_bytes].map(|bytes| Cell::new(size(bytes))),
            );
            row
        });
        let mut text = output::table(STATS, rows);
        for node in &self.nodes {
            for trouble in node.parents.iter().filter_map(Parent::trouble) {
                text.push_str(&format!("\n{}: {trouble}", node.name));
            }
        }
        text
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

#[derive(Serialize)]
struct Lookup {
    url: String,
    nodes: Vec<NodeVariants>,
}

#[derive(Serialize)]
struct NodeVariants {
    name: String,
    variants: Vec<Variant>,
}

#[derive(Serialize)]
struct Variant {
    status: u32,
    vary: std::collections::BTreeMap<String, String>,
    bytes: u64,
    age_seconds: i64,
    freshness_lifetime_seconds: i64,
    fresh: bool,
    explanation: String,
}

impl From<CachedVariant> for Variant {
    fn from(held: CachedVariant) -> Self {
        Self {
            status: held.status,
            vary: held.vary.into_iter().collect(),
            bytes: held.bytes,
            age_seconds: held.age.unwrap_or_default().seconds,
            freshness_lifetime_seconds: held.freshness_lifetime.unwrap_or_default().seconds,
            fresh: held.fresh,
            explanation: held.explanation,
        }
    }
}

async fn lookup(
    cluster: &Cluster,
    nodes: &[InstanceStatus],
    url: &str,
    format: Format,
) -> Result<()> {
    let request = || LookupCacheRequest { url: url.to_owned() };
    let ask = async |node: &InstanceStatus| {
        call(&node.instance.name, cluster.proxy_node(node)?.lookup_cache(request())).await
    };
    let answers = ask_all(nodes, ask).await?;
    let held = |(name, answer): (String, LookupCacheResponse)| NodeVariants {
        name,
        variants: answer.variants.into_iter().map(Variant::from).collect(),
    };
    cluster.show(
        &Lookup { url: url.to_owned(), nodes: answers.given.into_iter().map(held).collect() },
        format,
    )?;
    answers.verdict
}

const LOOKUP: &[Column] = &[
    column("NODE", 0),
    column("STATUS", 0),
    column("SIZE", 2),
    column("AGE", 1),
    column("FRESH FOR", 1),
    column("VARIANT", 3),
    sentences("WHY"),
];

impl View for Lookup {
    fn text(&self) -> String {
        let mut rows = Vec::new();
        for node in &self.nodes {
            if node.variants.is_empty() {
                rows.push(vec![Cell::new(&node.name), Cell::new("not held")]);
            }
            for held in &node.variants {
                let vary: Vec<_> =
                    held.vary.iter().map(|(name, value)| format!("{name}: {value}")).collect();
                let mut row = vec![
                    Cell::new(&node.name),
                    Cell::new(held.status),
                    Cell::new(size(held.bytes)),
                ];
                row.extend(
                    [
                        format!("{} s", held.age_seconds),
                        format!("{} s", held.freshness_lifetime_seconds),
                    ]
                    .map(Cell::new),
                );
                row.extend([vary.join(", "), held.explanation.clone()].map(Cell::new));
                rows.push(row);
            }
        }
        output::table(LOOKUP, rows)
    }
}

#[derive(Serialize)]
struct Purged {
    nodes: Vec<NodePurged>,
}

#[derive(Serialize)]
struct NodePurged {
    name: String,
    removed: u64,
}

async fn purge(
    cluster: &Cluster,
    nodes: &[InstanceStatus],
    request: PurgeRequest,
    format: Format,
) -> Result<()> {
    let ask = async |node: &InstanceStatus| {
        call(&node.instance.name, cluster.proxy_node(node)?.purge(request.clone())).await
    };
    let answers = ask_all(nodes, ask).await?;
    let nodes = answers
        .given
        .into_iter()
        .map(|(name, answer)| NodePurged { name, removed: answer.removed })
        .collect();
    cluster.show(&Purged { nodes }, format)?;
    answers.verdict
}

impl View for Purged {
    fn text(&self) -> String {
        output::table(
            &[column("NODE", 0), column("REMOVED", 0)],
            self.nodes.iter().map(|node| vec![Cell::new(&node.name), Cell::new(node.removed)]),
        )
    }
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

    #[test]
    fn ratios() {
        let stats = GetStatsResponse { hits: 2, revalidated: 1, misses: 1, ..Default::default() };
        assert_eq!(NodeStats::new("n".into(), &stats).hit_ratio, Some(0.75));
        assert_eq!(NodeStats::new("n".into(), &GetStatsResponse::default()).hit_ratio, None);
    }
}
