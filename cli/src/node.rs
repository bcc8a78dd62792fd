//! `shoal node`: what operators want of an instance, and how a host becomes one.

mod enrol;
mod wait;

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use cluster::{InstanceStatus, Service, State};
use comfy_table::Cell;
use proto::registry::{AdminState, SetAdminStateRequest};
use serde::Serialize;
use tonic::{Code, Status};

use crate::{
    cluster::{ANSWER, Cluster, call, failed, silent, unknown},
    context::Target,
    output::{self, Format, View},
    status::{Overview, state_name},
};

/// Take instances out of service and back, weigh them, add hosts
#[derive(Args)]
#[command(after_help = "Examples:
  shoal node list
  shoal node drain proxy-node-2 --reason 'new disk'     finishes what it has, gets nothing new
  shoal node enable proxy-node-2
  shoal node disable proxy-node-2 --reason 'its disk'   it gets nothing at all
  shoal node weight proxy-node-1 3                      without a number: back to its own weight
  shoal node wait 3                                     until three proxy-nodes are usable; for scripts
  shoal node accept-losses proxy-node                   losses held back as implausible are real
  shoal node enrol proxy-node proxy-node-4 --address 10.0.0.17 --registry 10.0.0.5:7001    what a bare host needs to join")]
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
    Drain(Named),
    /// Let it serve again
    Enable(Named),
    /// Take it out: it gets nothing
    Disable(Named),
    /// Set its share of the load, 0 to 256; without a value: back to its own
    Weight {
        #[command(flatten)]
        named: Named,
        /// Share relative to the others; 0 gets no new requests
        #[arg(value_parser = clap::value_parser!(u32).range(0..=i64::from(cluster::instance::MAX_WEIGHT)))]
        value: Option<u32>,
    },
    /// Wait until so many proxy-nodes are usable, or instances of another service
    Wait(wait::Wait),
    /// Believe losses that are held back because they looked implausible
    AcceptLosses {
        /// Service whose losses are real
        service: Service,
    },
    /// Make everything that a bare host needs to join: a certificate and settings, as an archive to unpack there
    Enrol(Box<enrol::Enrol>),
}

#[derive(Args)]
struct Named {
    /// Name of the instance
    name: String,
    /// Why; goes into the audit record
    #[arg(long, default_value = "")]
    reason: String,
}

pub async fn run(options: Options) -> Result<()> {
    let cluster = || Cluster::open(&options.target);
    let request = |named: Named| SetAdminStateRequest { name: named.name, reason: named.reason, ..Default::default() };
    let set = |named, state: AdminState| SetAdminStateRequest { admin_state: state.into(), ..request(named) };
    match options.action {
        Action::List { service, format } => list(&cluster()?, service, format).await,
        Action::Drain(named) => change(&cluster()?, set(named, AdminState::Drain)).await,
        Action::Enable(named) => change(&cluster()?, set(named, AdminState::Ready)).await,
        Action::Disable(named) => change(&cluster()?, set(named, AdminState::Maintenance)).await,
        Action::Weight { named, value } => {
            change(&cluster()?, SetAdminStateRequest { weight: value, reset_weight: value.is_none(), ..request(named) }).await
        }
        Action::Wait(wait) => wait::run(&wait, &cluster()?).await,
        Action::AcceptLosses { service } => accept_losses(&cluster()?, service).await,
        Action::Enrol(enrol) => enrol::run(&enrol, &options.target),
    }
}

async fn accept_losses(cluster: &Cluster, service: Service) -> Result<()> {
    let request = SetAdminStateRequest { accept_losses: service.to_string(), ..Default::default() };
    call("the registry", cluster.registry().set_admin_state(request)).await?;
    output::print(&format!("losses of {service} are believed; see `shoal status`"))
}

async fn change(cluster: &Cluster, request: SetAdminStateRequest) -> Result<()> {
    let name = request.name.clone();
    let mut registry = cluster.registry();
    let answer = tokio::time::timeout(ANSWER, registry.set_admin_state(request)).await;
    let status = match answer.map_err(|_| unasked(&name, &silent("the registry")))? {
        Ok(answer) => answer.into_inner().status.unwrap_or_default(),
        Err(status) if status.code() == Code::NotFound => return Err(nobody(cluster, &name).await),
        Err(status) => match failed("the registry", &status) {
            error if is_away(&status) => return Err(unasked(&name, &error)),
            error => return Err(error),
        },
    };
    let status = InstanceStatus::try_from(status)?;
    let reasons = if status.reasons.is_empty() { String::new() } else { format!(" ({})", status.reasons.join("; ")) };
    output::print(&format!("{name} is {}{reasons}, weight {}", state_name(status.state), status.effective_weight))
}

/// Whether the registry was not asked at all, as far as can be known here: a refusal of its own, such as for a full disk, has details.
fn is_away(status: &Status) -> bool {
    let silent = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::DeadlineExceeded | Code::Cancelled);
    silent && status.details().is_empty()
}

/// The failure of a change that only the registry can make.
fn unasked(name: &str, why: &anyhow::Error) -> anyhow::Error {
    anyhow!(
        "nothing is known to have changed for {name}: {why:#}. Only the registry changes admin states and weights; start it again (traffic flows \
         without it) and repeat the command"
    )
}

async fn nobody(cluster: &Cluster, name: &str) -> anyhow::Error {
    let instances = cluster.listing().await.unwrap_or_default().instances;
    let known: Vec<_> = instances.iter().map(|status| status.instance.name.as_str()).collect();
    unknown("instance", name, &known)
}

#[derive(Serialize)]
struct Nodes {
    instances: Vec<Node>,
}

#[derive(Serialize)]
struct Node {
    name: String,
    address: String,
    state: State,
    weight: u32,
    version: String,
    reasons: Vec<String>,
}

async fn list(cluster: &Cluster, service: Service, format: Format) -> Result<()> {
    let rows = Overview::from(cluster.listing().await?).instances.into_iter().filter(|row| row.service == service);
    let nodes = rows.map(|row| Node {
        name: row.name,
        address: row.address,
        state: row.state,
        weight: row.weight,
        version: row.version,
        reasons: row.reasons,
    });
    output::show(&Nodes { instances: nodes.collect() }, format)
}

impl View for Nodes {
    fn text(&self) -> String {
        let rows = self.instances.iter().map(|node| {
            let [name, address, version] = [&node.name, &node.address, &node.version].map(Cell::new);
            vec![
                name,
                address,
                output::coloured(state_name(node.state)),
                Cell::new(node.weight),
                version,
                Cell::new(node.reasons.join("; ")),
            ]
        });
        output::table(&["NAME", "ADDRESS", "STATE", "WEIGHT", "VERSION", "REASONS"], rows)
    }
}
