//! `shoal node`: what operators want of an instance, and how a host becomes one.

mod change;
mod enrol;
mod wait;

use anyhow::Result;
use clap::{Args, Subcommand};
use cluster::Service;
use serde::Serialize;

use crate::{
    cluster::Cluster,
    context::Target,
    output::{self, Cell, Column, Format, View, column, sentences},
    status::{Overview, Row},
};

/// Take instances out of service and back, weigh them, add hosts
#[derive(Args)]
#[command(after_help = "Examples:
  shoal node list
  shoal node drain proxy-node-2 --reason 'new disk'     finishes what it has, gets nothing new
  shoal node enable proxy-node-2
  shoal node disable proxy-node-2 --reason 'its disk'   it gets nothing at all
  shoal node weight proxy-node-1 3                      without a number: back to its own weight
  shoal node wait 3                                     until three proxy-nodes are usable; for \
  scripts
  shoal node remove proxy-node-7                        it is gone for good: off the list, and its \
  admin state with it
  shoal node accept-losses proxy-node                   losses held back as implausible are real
  shoal node enrol proxy-node proxy-node-4 --address 10.0.0.17 --registry 10.0.0.5:7001    what a \
  bare host needs to join")]
pub struct Options {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the proxy-nodes, or the instances of another service
    List {
        /// Whose instances
        #[arg(long, default_value = "proxy-node")]
        service: Service,
        #[command(flatten)]
        format: Format,
    },
    /// Let it finish what it has and give it nothing new
    Drain(change::Leaving),
    /// Let it serve again
    Enable(change::Named),
    /// Take it out: it gets nothing
    Disable(change::Leaving),
    /// Set its share of the load, 0 to 256; without a value: back to its own
    Weight {
        #[command(flatten)]
        leaving: change::Leaving,
        /// Share relative to the others; 0 gets no new requests
        #[arg(
            value_parser = clap::value_parser!(u32)
            .range(0..=i64::from(cluster::instance::MAX_WEIGHT)),
        )]
        value: Option<u32>,
    },
    /// Wait until so many proxy-nodes are usable, or instances of another service
    Wait(wait::Wait),
    /// Believe losses that are held back because they looked implausible
    AcceptLosses {
        /// Service whose losses are real
        service: Service,
        #[command(flatten)]
        format: Format,
    },
    /// Take an instance that is gone for good off the list, and forget what was wanted of its name
    Remove(change::Named),
    /// Make everything that a bare host needs to join: a certificate and settings, as an archive to
    /// unpack there
    Enrol(Box<enrol::Enrol>),
}

pub async fn run(options: Options) -> Result<()> {
    let target = &options.target;
    let changing = || Cluster::open_to_change(target);
    match options.action {
        Action::List { service, format } => list(&Cluster::open(target)?, service, format).await,
        Action::Wait(wait) => wait::run(&wait, &Cluster::open(target)?).await,
        Action::Drain(leaving) => change::drain(&changing()?, leaving).await,
        Action::Disable(leaving) => change::disable(&changing()?, leaving).await,
        Action::Enable(named) => change::enable(&changing()?, named).await,
        Action::Weight { leaving, value } => change::weigh(&changing()?, leaving, value).await,
        Action::AcceptLosses { service, format } => {
            change::accept_losses(&changing()?, service, format).await
        }
        Action::Remove(named) => change::remove(&changing()?, named).await,
        Action::Enrol(enrol) => enrol::run(&enrol, target),
    }
}

#[derive(Serialize)]
struct Nodes {
    instances: Vec<Row>,
}

async fn list(cluster: &Cluster, service: Service, format: Format) -> Result<()> {
    let mut overview = Overview::from(cluster.last_listing().await?);
    if cluster.head().stale {
        overview = overview.remembered();
    }
    overview.instances.retain(|row| row.service == service);
    cluster.show(&Nodes { instances: overview.instances }, format)
}

const COLUMNS: &[Column] = &[
    column("NAME", 0),
    column("ADDRESS", 2),
    column("STATE", 0),
    column("WEIGHT", 3),
    column("VERSION", 4),
    sentences("REASONS"),
];

impl View for Nodes {
    fn text(&self) -> String {
        let rows = self.instances.iter().map(|node| {
            let [name, address, version] =
                [&node.name, &node.address, &node.version].map(Cell::new);
            vec![
                name,
                address,
                node.state_cell(false),
                Cell::new(node.weight),
                version,
                Cell::new(node.reasons.join("; ")),
            ]
        });
        output::table(COLUMNS, rows)
    }
}
