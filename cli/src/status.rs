//! `shoal status`: who is there, who may serve, and why.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use chassis::operator::Listing;
use clap::Args;
use cluster::{Endpoints, InstanceStatus, PoolGuard, Service, State};
use comfy_table::Cell;
use proto::balancer::{GetStatsRequest, Server, Standing, Stats};
use serde::Serialize;

use crate::{
    cluster::{Cluster, ask_together},
    context::Target,
    output::{self, Format, View},
};

/// Show who is in the cluster, who may serve, and why
#[derive(Args)]
#[command(after_help = "Examples:
  shoal status
  shoal status -o json | jq -r '.instances[] | select(.state != \"usable\") | .name'
  shoal status --registry 10.0.0.5:7001 --ca ca.crt --cert me.crt --key me.key")]
pub struct Options {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    format: Format,
}

/// How long balancers are waited for: what they add is worth no more.
const BALANCERS: Duration = Duration::from_secs(1);

pub async fn run(options: Options) -> Result<()> {
    let cluster = Cluster::open(&options.target)?;
    let listing = cluster.last_listing().await?;
    let balancers: Vec<_> = listing.instances.iter().filter(|status| status.instance.service == Service::Balancer).cloned().collect();
    let told = ask_together(&balancers, BALANCERS, async |balancer| {
        Ok(cluster.balancer(balancer)?.max_decoding_message_size(64 << 20).get_stats(GetStatsRequest {}).await)
    })
    .await;
    // Who does not answer adds nothing: what the registry makes of it stands in its own row.
    let stats: Vec<_> = told.into_iter().filter_map(|(_, answer)| answer.ok()?.stats).collect();
    output::show(&Overview::from(listing).seen_by(&stats), options.format)
}

/// What a balancer says of a node that all balancers find unwell, so that it gets no request; none when one of them uses it, or nobody
/// knows it.
pub fn shunned<'a>(balancers: impl Iterator<Item = &'a Stats>, node: &str) -> Option<&'a Server> {
    let seen = balancers.flat_map(|stats| &stats.backends).flat_map(|backend| &backend.servers);
    let mut seen = seen.filter(|server| server.discovered && server.name == node).peekable();
    let first = *seen.peek()?;
    seen.all(|server| server.standing() == Standing::Unwell).then_some(first)
}

/// What the registry lists.
#[derive(Debug, Serialize)]
pub struct Overview {
    /// Everybody, by service and name.
    pub instances: Vec<Row>,
    /// Pools whose losses are held back.
    pub guards: Vec<PoolGuard>,
    /// Names of nodes that every balancer finds unwell: they get no request, whatever the registry makes of them.
    pub shunned: BTreeSet<String>,
}

/// One instance.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub service: Service,
    /// Where its users find it.
    pub address: String,
    pub state: State,
    pub reasons: Vec<String>,
    /// Applied configuration; empty before the first.
    pub revision: String,
    pub weight: u32,
    pub version: String,
    pub endpoints: Endpoints,
}

impl From<Listing> for Overview {
    fn from(listing: Listing) -> Self {
        let mut instances: Vec<_> = listing.instances.into_iter().map(Row::from).collect();
        instances.sort_by(|one, other| (place(one.service), &one.name).cmp(&(place(other.service), &other.name)));
        Self { instances, guards: listing.guards, shunned: BTreeSet::new() }
    }
}

impl Overview {
    /// Adds what the balancers see: a node that the registry finds usable and that gets no request must not look well.
    fn seen_by(mut self, balancers: &[Stats]) -> Self {
        for row in self.instances.iter_mut().filter(|row| matches!(row.state, State::Usable | State::Suspect)) {
            let Some(server) = shunned(balancers.iter(), &row.name) else { continue };
            self.shunned.insert(row.name.clone());
            row.reasons.insert(0, format!("every balancer finds it unwell: {}", server.reasons.join("; ")));
        }
        self
    }
}

/// The data plane comes first, in the order in which a request passes it.
fn place(service: Service) -> usize {
    const FIRST: [Service; 5] = [Service::Balancer, Service::ProxyNode, Service::Registry, Service::ConfigService, Service::HealthChecker];
    FIRST.iter().position(|first| *first == service).unwrap_or(FIRST.len())
}

impl From<InstanceStatus> for Row {
    fn from(status: InstanceStatus) -> Self {
        let InstanceStatus { instance, state, reasons, effective_weight, .. } = status;
        Self {
            address: main_address(&instance.endpoints),
            state,
            reasons,
            revision: instance.applied_revision,
            weight: effective_weight,
            version: instance.version,
            name: instance.name,
            service: instance.service,
            endpoints: instance.endpoints,
        }
    }
}

/// Where an instance's users find it: clients of the data plane before callers of the control plane.
fn main_address(endpoints: &Endpoints) -> String {
    let frontend = || endpoints.iter().find(|(name, _)| !matches!(name.as_str(), "grpc" | "admin" | "relay" | "icp" | "target"));
    let known = ["proxy", "frontend", "console"].iter().find_map(|name| endpoints.get(*name));
    known.or_else(|| frontend().map(|(_, address)| address)).or_else(|| endpoints.get("grpc")).cloned().unwrap_or_default()
}

/// The name of a state, as every page and message has it.
pub const fn state_name(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Usable => "usable",
        State::Suspect => "suspect",
        State::Critical => "critical",
        State::Lost => "lost",
        State::Draining => "draining",
        State::Maintenance => "maintenance",
    }
}

impl View for Overview {
    fn text(&self) -> String {
        if self.instances.is_empty() {
            return "The registry lists nobody yet.".to_owned();
        }
        let rows = self.instances.iter().map(|row| {
            let [name, service, address] = [row.name.as_str(), row.service.as_str(), &row.address].map(Cell::new);
            let revision = if row.revision.is_empty() { "-" } else { &row.revision };
            vec![
                name,
                service,
                address,
                output::coloured(if self.shunned.contains(&row.name) { "unwell" } else { state_name(row.state) }),
                Cell::new(revision),
                Cell::new(row.weight),
                Cell::new(row.reasons.join("; ")),
            ]
        });
        let mut text = output::table(&["NAME", "SERVICE", "ADDRESS", "STATE", "REVISION", "WEIGHT", "REASONS"], rows);
        for guard in self.guards.iter().filter(|guard| guard.holding) {
            text.push_str(&format!(
                "\n\nLosses of {} are held back ({} of {} well; held: {}): {}",
                guard.service,
                guard.well,
                guard.members,
                guard.held.join(", "),
                guard.explanation
            ));
            text.push_str(&format!("\nIf they are real: shoal node accept-losses {}", guard.service));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proto::registry::{Instance, State as Wire};

    use super::*;

    fn status(service: &str, name: &str, endpoint: (&str, &str)) -> InstanceStatus {
        let instance = Instance {
            service: service.into(),
            name: name.into(),
            id: "019d0000-0000-7000-8000-000000000001".into(),
            endpoints: [(endpoint.0.into(), endpoint.1.into()), ("grpc".into(), "127.0.0.1:1".into())].into(),
            applied_revision: "4f2a".into(),
            ..Instance::default()
        };
        let now = Some(Default::default());
        let status = proto::registry::InstanceStatus {
            instance: Some(instance),
            admin_state: proto::registry::AdminState::Ready.into(),
            state: Wire::Usable.into(),
            registered_at: now,
            changed_at: now,
            lease_expires_at: now,
            effective_weight: 1,
            ..Default::default()
        };
        status.try_into().unwrap()
    }

    fn overview() -> Overview {
        Overview::from(Listing {
            instances: vec![
                status("registry", "registry-1", ("admin", "127.0.0.1:2")),
                status("proxy-node", "proxy-node-1", ("proxy", "127.0.0.1:3128")),
                status("balancer", "balancer-1", ("proxy_frontend", "127.0.0.1:8080")),
            ],
            guards: vec![PoolGuard {
                service: Service::ProxyNode,
                holding: true,
                held: vec!["proxy-node-1".into()],
                members: 1,
                well: 0,
                explanation: "all of them at once".into(),
            }],
            ..Listing::default()
        })
    }

    #[test]
    fn json_has_the_contract_s_fields() {
        let value = serde_json::to_value(overview()).unwrap();
        let first = &value["instances"][0];
        assert_eq!((first["name"].as_str(), first["address"].as_str()), (Some("balancer-1"), Some("127.0.0.1:8080")));
        assert_eq!((first["state"].as_str(), first["revision"].as_str()), (Some("usable"), Some("4f2a")));
        assert_eq!(first["service"], "balancer");
        assert!(first["reasons"].is_array());
        assert_eq!(value["instances"][1]["address"], "127.0.0.1:3128");
        assert_eq!(value["instances"][2]["address"], "127.0.0.1:1");
    }

    #[test]
    fn a_node_that_every_balancer_finds_unwell_does_not_look_well() {
        let server = |standing: Standing| Server {
            name: "proxy-node-1".into(),
            standing: standing.into(),
            discovered: true,
            reasons: vec!["check failed".into()],
            ..Server::default()
        };
        let stats = |standings: &[Standing]| {
            let servers = standings.iter().map(|standing| server(*standing)).collect();
            Stats { backends: vec![proto::balancer::Backend { servers, ..Default::default() }], ..Stats::default() }
        };
        let unwell = || stats(&[Standing::Unwell]);
        for (balancers, shunned) in [
            (vec![], false),
            (vec![stats(&[])], false),
            (vec![unwell(), stats(&[Standing::Usable])], false),
            (vec![unwell(), unwell()], true),
            (vec![unwell(), stats(&[])], true),
        ] {
            let overview = overview().seen_by(&balancers);
            let row = overview.instances.iter().find(|row| row.name == "proxy-node-1").unwrap();
            assert_eq!((overview.shunned.contains(&row.name), row.state), (shunned, State::Usable), "{balancers:?}");
            let text = overview.text();
            assert_eq!(text.contains("every balancer finds it unwell: check failed"), shunned, "{text}");
            assert_eq!(text.contains("  unwell  "), shunned, "{text}");
        }
    }

    #[test]
    fn text_shows_guards_with_their_remedy() {
        let text = overview().text();
        assert!(text.contains("balancer-1") && text.contains("shoal node accept-losses proxy-node"), "{text}");
    }
}
