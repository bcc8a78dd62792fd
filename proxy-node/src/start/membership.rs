//! What a node learns of the cluster: its own ports and names, and the nodes that may be parents.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use chassis::{
    Process,
    membership::{self, ControlEndpoints},
};
use cluster::{InstanceStatus, Service};
use futures::StreamExt;
use tokio::sync::Notify;

use crate::{
    egress::{self, ClusterPorts, ProbeTargets},
    listen::Listeners,
    node::Node,
    owner::{self, Owners},
    parent::{Member, Members},
};

/// How often host names of the cluster's own ports are resolved again.
const NAMES: Duration = Duration::from_secs(30);
/// How long one of them may take, and how many are asked for at once.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);
const RESOLVE_AT_ONCE: usize = 16;

/// Name + cluster id: no request passes the same node twice, and two clusters may chain.
pub(super) fn pseudonym(process: &Process) -> String {
    match process.network.cluster_id() {
        id if id.is_empty() => process.identity.name().to_owned(),
        id => format!("{}.{id}", process.identity.name()),
    }
}

/// Computes the cluster's own ports anew.
pub(super) fn refresh_ports(process: &Process, node: &Node, listeners: &Listeners) {
    let membership = process.network.membership().borrow();
    node.probe_targets.store(Arc::new(ProbeTargets::new(membership.probe_targets())));
    let ControlEndpoints { addresses, names } = membership.control_endpoints();
    let endpoints = addresses.into_iter().chain(node.cluster_names.load().endpoints(&names));
    let listeners = process.ports.listeners().into_values().chain(listeners.addresses());
    let others = membership
        .of(Service::ProxyNode)
        .filter(|status| status.instance.name != process.identity.name());
    let members = Members {
        own: process.options.tags.clone(),
        others: others.filter_map(Member::of).collect(),
    };
    node.current.rcu(|current| current.among(&members).map_or_else(|| current.clone(), Arc::new));
    let nodes: Vec<&InstanceStatus> = membership.of(Service::ProxyNode).collect();
    refresh_owners(process, node, &nodes);
    refresh_siblings(process, node, &nodes);
    node.ports.store(Arc::new(
        ClusterPorts::new(endpoints, listeners, egress::own_addresses()).with_names(names),
    ));
}

/// Finds out which other caches there are to ask.
fn refresh_siblings(process: &Process, node: &Node, nodes: &[&InstanceStatus]) {
    let others: Vec<&InstanceStatus> = nodes
        .iter()
        .copied()
        .filter(|status| status.instance.name != process.identity.name())
        .collect();
    node.icp.follow(&node.current.load().document, &others);
}

/// Finds out who owns what now.
fn refresh_owners(process: &Process, node: &Node, nodes: &[&InstanceStatus]) {
    let (generation, name) = (node.current.load(), process.identity.name());
    let parents: Vec<&[String]> = generation.parent_tags().collect();
    let place = owner::Place {
        name,
        datacenter: &process.options.datacenter,
        tags: &process.options.tags,
        parents: &parents,
    };
    let tier =
        if generation.document.cache.owners { owner::tier(&place, nodes) } else { Vec::new() };
    let before = node.owners.load();
    if !before.are(&tier) {
        let owners = Owners::new(name, &tier, &before);
        node.metrics.owners.set(owners.others() as u64);
        node.owners.store(Arc::new(owners));
    }
}

pub(super) async fn follow_membership(
    process: Process,
    mut membership: membership::Watch,
    node: Arc<Node>,
    listeners: Arc<Listeners>,
    resolved: Arc<Notify>,
) {
    loop {
        refresh_ports(&process, &node, &listeners);
        node.pseudonym.store(Arc::new(pseudonym(&process)));
        tokio::select! {
            () = membership.changed() => {}
            () = resolved.notified() => {}
        }
    }
}

/// Knows endpoints that are advertised by host name by their addresses too. The names themselves
/// are denied without this.
pub(super) async fn follow_names(
    mut membership: membership::Watch,
    node: Arc<Node>,
    resolved: Arc<Notify>,
) {
    loop {
        let names = membership.borrow().control_endpoints().names;
        if !names.is_empty() {
            let hosts: BTreeSet<String> = names.iter().map(|(host, _)| host.clone()).collect();
            let asking = hosts.into_iter().map(|host| async {
                let answer =
                    tokio::time::timeout(RESOLVE_WITHIN, node.resolver.resolve(&host)).await;
                let addresses = answer.ok().and_then(Result::ok).map(|found| found.to_vec());
                (host, addresses)
            });
            let answers =
                futures::stream::iter(asking).buffer_unordered(RESOLVE_AT_ONCE).collect().await;
            let known = node.cluster_names.load().as_ref().clone().resolved(answers);
            node.cluster_names.store(Arc::new(known));
            resolved.notify_one();
        }
        tokio::select! {
            () = tokio::time::sleep(NAMES) => {}
            () = other_names(&mut membership, &names) => {}
        }
    }
}

/// Returns once other names are advertised than these.
async fn other_names(membership: &mut membership::Watch, names: &HashSet<(String, u16)>) {
    while membership.borrow().control_endpoints().names == *names {
        membership.changed().await;
    }
}
