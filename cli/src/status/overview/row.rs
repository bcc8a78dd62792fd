//! One instance in the listing.

use crate::output::{self, Cell};
use cluster::{AdminState, Endpoints, InstanceStatus, Service, State};
use serde::Serialize;

/// One instance.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub service: Service,
    /// Where its users find it.
    pub address: String,
    /// As the registry says, or said last; of a registry that does not answer: `silent`.
    pub state: &'static str,
    /// Not `state` itself: it was so when the registry answered last.
    pub stale: bool,
    pub reasons: Vec<String>,
    /// Applied configuration; empty before the first.
    pub revision: String,
    pub weight: u32,
    pub version: String,
    pub endpoints: Endpoints,
    #[serde(skip)]
    pub(super) known: State,
    #[serde(skip)]
    pub(super) admin_state: AdminState,
}

/// The state of a registry that does not answer.
pub(super) const SILENT: &str = "silent";

impl Row {
    /// Its state for people: what it was is not what it is.
    #[must_use]
    pub fn state_cell(&self, shunned: bool) -> Cell {
        let state = if shunned { "unwell" } else { self.state };
        match self.stale && state != SILENT && !shunned {
            true => Cell::new(format!("was {state}")).toned(output::Tone::Doubtful),
            false => output::coloured(state),
        }
    }
}

/// The data plane comes first, in the order in which a request passes it.
pub(super) fn place(service: Service) -> usize {
    const FIRST: [Service; 5] = [
        Service::Balancer,
        Service::ProxyNode,
        Service::Registry,
        Service::ConfigService,
        Service::HealthChecker,
    ];
    FIRST.iter().position(|first| *first == service).unwrap_or(FIRST.len())
}

impl From<InstanceStatus> for Row {
    fn from(status: InstanceStatus) -> Self {
        let InstanceStatus { instance, admin_state, state, reasons, effective_weight, .. } = status;
        Self {
            address: main_address(&instance.endpoints),
            state: state_name(state),
            stale: false,
            reasons,
            revision: instance.applied_revision,
            weight: effective_weight,
            version: instance.version,
            name: instance.name,
            service: instance.service,
            endpoints: instance.endpoints,
            known: state,
            admin_state,
        }
    }
}

/// Where an instance's users find it: clients of the data plane before callers of the control
/// plane.
pub(super) fn main_address(endpoints: &Endpoints) -> String {
    let frontend = || {
        endpoints.iter().find(|(name, _)| {
            !matches!(name.as_str(), "grpc" | "admin" | "relay" | "icp" | "target")
        })
    };
    let known = ["proxy", "frontend", "console"].iter().find_map(|name| endpoints.get(*name));
    known
        .or_else(|| frontend().map(|(_, address)| address))
        .or_else(|| endpoints.get("grpc"))
        .cloned()
        .unwrap_or_default()
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
