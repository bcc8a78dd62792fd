//! `shoal cache lookup`.

use anyhow::Result;
use cluster::InstanceStatus;
use proto::proxy::{CachedVariant, LookupCacheRequest, LookupCacheResponse, Tier};
use serde::Serialize;

use super::size;
use crate::{
    cluster::{Cluster, ask_all, call},
    output::{self, Cell, Column, Format, View, column, sentences},
};

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
    /// `memory` or `disk`; empty from an earlier node.
    tier: &'static str,
    /// Validators; empty: there is none.
    etag: String,
    last_modified: String,
    /// What the origin calls it.
    tags: Vec<String>,
    soft_purged: bool,
}

impl From<CachedVariant> for Variant {
    fn from(held: CachedVariant) -> Self {
        let tier = match held.tier() {
            Tier::Memory => "memory",
            Tier::Disk => "disk",
            Tier::Unspecified => "",
        };
        Self {
            tier,
            status: held.status,
            vary: held.vary.into_iter().collect(),
            bytes: held.bytes,
            age_seconds: held.age.unwrap_or_default().seconds,
            freshness_lifetime_seconds: held.freshness_lifetime.unwrap_or_default().seconds,
            fresh: held.fresh,
            explanation: held.explanation,
            etag: held.etag,
            last_modified: held.last_modified,
            tags: held.tags,
            soft_purged: held.soft_purged,
        }
    }
}

pub(super) async fn lookup(
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
    column("TIER", 3),
    column("STATUS", 0),
    column("SIZE", 2),
    column("AGE", 1),
    column("FRESH FOR", 1),
    column("VARIANT", 4),
    column("VALIDATOR", 5),
    column("TAGS", 6),
    sentences("WHY"),
];

impl View for Lookup {
    fn text(&self) -> String {
        let mut rows = Vec::new();
        for node in &self.nodes {
            if node.variants.is_empty() {
                rows.push(vec![Cell::new(&node.name), Cell::new(""), Cell::new("not held")]);
            }
            for held in &node.variants {
                let vary: Vec<_> =
                    held.vary.iter().map(|(name, value)| format!("{name}: {value}")).collect();
                let mut row = vec![
                    Cell::new(&node.name),
                    Cell::new(held.tier),
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
                let validator = if held.etag.is_empty() { &held.last_modified } else { &held.etag };
                let (tags, why) = (held.tags.join(" "), held.explanation.clone());
                row.extend([vary.join(", "), validator.clone(), tags, why].map(Cell::new));
                rows.push(row);
            }
        }
        output::table(LOOKUP, rows)
    }
}
