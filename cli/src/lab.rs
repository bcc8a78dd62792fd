//! `shoal lab`: a whole cluster of real processes on this machine.
//!
//! Reading order: [`up`] is the flow; it takes the directory ([`labs`](crate::labs)), [`ports`],
//! [`material`] (certificates and bundle) and [`plan`], starts an [`owner`] for every child, waits
//! with [`readiness`], writes the description, prints the [`announcement`], and ends them all in
//! order.

mod announcement;
mod material;
mod owner;
mod plan;
mod ports;
mod readiness;
mod spawn;
mod stop;
mod up;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::output::Format;

/// Run a whole cluster on this machine
///
/// Every process is real: a registry, a config-service, health-checkers, proxy-nodes and balancers,
/// with their own data directories, certificates and logs. Loopback clients may reach any origin
/// except the cluster's own ports. Ctrl-C drains and ends everything.
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  shoal lab
  curl -x http://127.0.0.1:8080 https://example.com/
  shoal lab --nodes 5 --data-dir /tmp/lab --base-port 9080
  shoal lab --parent http://proxy.corp.example:3128      behind a proxy that has to be used
  shoal lab stop
  shoal lab reset                                        forget everything the lab has stored"
)]
pub struct Options {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    up: Up,
}

#[derive(Subcommand)]
enum Action {
    /// End the running lab in good order
    Stop(Which),
    /// End the lab and remove all that it has stored
    Reset(Which),
}

/// Which lab.
#[derive(Args)]
struct Which {
    /// Data directory of the lab [default: the one that runs, else the usual place]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// How to start a lab.
#[derive(Args, Debug)]
struct Up {
    /// How many proxy-nodes
    #[arg(
        long,
        default_value_t = 3,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=64),
    )]
    nodes: u16,
    /// How many balancers
    #[arg(
        long,
        default_value_t = 2,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=16),
    )]
    balancers: u16,
    /// How many health-checkers
    #[arg(
        long,
        default_value_t = 3,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(0..=16),
        hide = true,
    )]
    checkers: u16,
    /// Where the lab keeps everything [default: $XDG_STATE_HOME/shoal/lab]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Begin with this bundle instead of the lab's own
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Port of the first balancer; the others follow [default: 8080, or the one used before]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    base_port: Option<u16>,
    /// Send everything through this proxy
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    parent: Option<String>,
    /// Leave dead processes dead
    #[arg(long)]
    no_restart: bool,
    /// Where all processes send traces (OTLP over gRPC) [default: what OTEL_EXPORTER_OTLP_ENDPOINT
    /// says]
    #[arg(long, env = plan::OTLP_ENDPOINT, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Share of requests that are traced, 0 to 1 [default: all, since a lab is for looking]
    #[arg(long, env = "SHOAL_TRACE_RATIO", value_name = "SHARE")]
    trace_ratio: Option<String>,
}

pub fn run(options: Options) -> Result<()> {
    match options.action {
        None => up::run(&options.up),
        Some(Action::Stop(which)) => stop::stop(which.data_dir, which.format),
        Some(Action::Reset(which)) => stop::reset(which.data_dir, which.format),
    }
}
