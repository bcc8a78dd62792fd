//! `shoal cache warm`: fetches a list of URLs through the cluster, so that its caches have them
//! before somebody asks.

mod fetch;
mod list;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;
use cluster::{InstanceStatus, Service};
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::size;
use crate::{
    cluster::Cluster,
    output::{self, Cell, Format, View, column, sentences},
};
use fetch::{Fetched, fetch};

/// Failures that are told one by one.
const TOLD: usize = 1000;
/// Of those, for people.
const SHOWN: usize = 20;

/// How it is done.
#[derive(Args)]
pub(super) struct Options {
    /// File with one URL a line; `-` is stdin. Empty lines and those that begin with # are passed
    /// over
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Through this proxy (host:port) [default: a frontend of a balancer, or a node where there is
    /// no balancer]
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "every_node")]
    proxy: Option<String>,
    /// Through every proxy-node, so that each of them has everything
    #[arg(long)]
    every_node: bool,
    /// How many are fetched at the same time
    #[arg(
        long,
        default_value_t = 8,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=256),
    )]
    at_once: u16,
    /// How long one URL may take
    #[arg(
        long,
        default_value = "60s",
        value_name = "DURATION",
        value_parser = chassis::options::duration,
    )]
    within: Duration,
    #[command(flatten)]
    format: Format,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Warmed {
    /// URLs that were asked for, once for each proxy.
    asked: u64,
    /// Those that were stored already.
    hits: u64,
    /// Those that came from their origin, and are stored now.
    stored: u64,
    /// Those that came, and that the cache does not keep.
    not_stored: u64,
    failed: u64,
    bytes: u64,
    /// The first of those that failed.
    failures: Vec<Failure>,
}

#[derive(Debug, Serialize)]
struct Failure {
    url: String,
    problem: String,
}

/// Fetches all of them.
pub(super) async fn warm(
    cluster: &Cluster,
    nodes: &[InstanceStatus],
    one: bool,
    options: Options,
) -> Result<()> {
    let proxies = match &options.proxy {
        Some(proxy) => vec![proxy.clone()],
        None if options.every_node || one => of_nodes(nodes)?,
        None => vec![frontend(cluster, nodes).await?],
    };
    let urls = list::read(&options.file)?;
    let progress = ProgressBar::new_spinner()
        .with_style(ProgressStyle::with_template("{spinner} {pos} fetched, {msg}")?);
    let jobs = urls.flat_map(|line| {
        let proxies: Vec<_> = proxies.iter().map(|proxy| (proxy.clone(), line.clone())).collect();
        futures::stream::iter(proxies)
    });
    let within = options.within;
    let fetching = jobs.map(|(proxy, line)| async move {
        let fetched = match &line {
            Ok(url) => fetch(&proxy, url, within).await,
            Err(problem) => Err(problem.clone()),
        };
        (line.unwrap_or_default(), fetched)
    });
    let mut fetching = std::pin::pin!(fetching.buffer_unordered(options.at_once.into()));
    let mut warmed = Warmed::default();
    while let Some((url, fetched)) = fetching.next().await {
        warmed.note(url, fetched);
        progress.set_message(format!("{} failed", warmed.failed));
        progress.inc(1);
    }
    progress.finish_and_clear();
    cluster.show(&warmed, options.format)?;
    if warmed.failed > 0 {
        bail!("{} of {} could not be fetched", warmed.failed, warmed.asked);
    }
    Ok(())
}

fn of_nodes(nodes: &[InstanceStatus]) -> Result<Vec<String>> {
    let proxies = nodes.iter().filter_map(|node| node.instance.endpoints.get("proxy").cloned());
    let proxies: Vec<_> = proxies.collect();
    if proxies.is_empty() {
        bail!("no proxy-node has a listener for clients: see `shoal status`");
    }
    Ok(proxies)
}

/// A frontend that clients use.
async fn frontend(cluster: &Cluster, nodes: &[InstanceStatus]) -> Result<String> {
    let balancers = cluster.last_instances(Service::Balancer).await?;
    let own = ["grpc", "admin"];
    let found = balancers.iter().find_map(|balancer| {
        let endpoints = &balancer.instance.endpoints;
        endpoints.iter().find(|(name, _)| !own.contains(&name.as_str())).map(|(_, it)| it.clone())
    });
    match found {
        Some(frontend) => Ok(frontend),
        None => of_nodes(nodes)?.into_iter().next().context("there is no proxy"),
    }
}

impl Warmed {
    fn note(&mut self, url: String, fetched: Result<Fetched, String>) {
        self.asked += 1;
        match fetched {
            Ok(fetched) => {
                self.bytes += fetched.bytes;
                let count = match fetched.kept {
                    fetch::Kept::Before => &mut self.hits,
                    fetch::Kept::Now => &mut self.stored,
                    fetch::Kept::Not => &mut self.not_stored,
                };
                *count += 1;
            }
            Err(problem) => {
                self.failed += 1;
                if self.failures.len() < TOLD {
                    self.failures.push(Failure { url, problem });
                }
            }
        }
    }
}

impl View for Warmed {
    fn text(&self) -> String {
        let mut text = format!(
            "{} fetched, {}: {} are stored now, {} were already, {} are not kept; {} failed",
            self.asked - self.failed,
            size(self.bytes),
            self.stored,
            self.hits,
            self.not_stored,
            self.failed,
        );
        if !self.failures.is_empty() {
            let rows = self
                .failures
                .iter()
                .take(SHOWN)
                .map(|failure| vec![Cell::new(&failure.url), Cell::new(&failure.problem)]);
            text.push_str("\n\n");
            text.push_str(&output::table(&[column("FAILED", 0), sentences("PROBLEM")], rows));
        }
        let more = self.failed.saturating_sub(SHOWN as u64);
        if more > 0 {
            text.push_str(&format!("\n… and {more} more (`-o json` has the first {TOLD})"));
        }
        text
    }
}
