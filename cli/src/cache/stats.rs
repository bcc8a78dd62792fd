//! `shoal cache stats`.

use anyhow::Result;
use cluster::InstanceStatus;
use proto::proxy::{DiskStats, GetStatsRequest, GetStatsResponse, ParentStats};
use serde::Serialize;

use super::size;
use crate::{
    cluster::{Cluster, ask_all, call},
    output::{self, Cell, Column, Format, View, column},
};

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
    /// The disk tier; absent where there is none.
    disk: Option<Disk>,
    parents: Vec<Parent>,
}

/// The disk tier of a node.
#[derive(Serialize)]
struct Disk {
    /// Why the node serves from memory alone; empty: it does not.
    problem: String,
    objects: u64,
    bytes: u64,
    capacity_bytes: u64,
    hits: u64,
    written: u64,
    errors: u64,
    load_seconds: f64,
}

impl From<&DiskStats> for Disk {
    fn from(told: &DiskStats) -> Self {
        let load = told.load.unwrap_or_default();
        #[allow(clippy::cast_precision_loss, reason = "a time for people")]
        let load_seconds = load.seconds as f64 + f64::from(load.nanos) / 1e9;
        Self {
            problem: told.problem.clone(),
            objects: told.objects,
            bytes: told.bytes,
            capacity_bytes: told.capacity_bytes,
            hits: told.hits,
            written: told.written,
            errors: told.errors,
            load_seconds,
        }
    }
}

impl Disk {
    /// All of it in one line.
    fn line(&self) -> String {
        let (held, room) = (size(self.bytes), size(self.capacity_bytes));
        let mut line = format!("disk: {} objects, {held} of {room}", self.objects);
        line.push_str(&format!(", {} hits, {} written", self.hits, self.written));
        if self.errors > 0 {
            line.push_str(&format!(", {} errors", self.errors));
        }
        if !self.problem.is_empty() {
            line.push_str(&format!("; not in use: {}", self.problem));
        }
        line
    }
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

pub(super) async fn stats(
    cluster: &Cluster,
    nodes: &[InstanceStatus],
    format: Format,
) -> Result<()> {
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
            disk: stats.disk.as_ref().map(Disk::from),
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
            if let Some(disk) = &node.disk {
                text.push_str(&format!("\n{}: {}", node.name, disk.line()));
            }
            for trouble in node.parents.iter().filter_map(Parent::trouble) {
                text.push_str(&format!("\n{}: {trouble}", node.name));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios() {
        let stats = GetStatsResponse { hits: 2, revalidated: 1, misses: 1, ..Default::default() };
        assert_eq!(NodeStats::new("n".into(), &stats).hit_ratio, Some(0.75));
        assert_eq!(NodeStats::new("n".into(), &GetStatsResponse::default()).hit_ratio, None);
    }
}
