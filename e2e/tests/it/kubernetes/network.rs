//! What the network policies let through, by the rules of NetworkPolicy: at the source and at the
//! destination, nothing but what some policy that chooses the pod allows.

use serde_json::Value;

use super::manifests::{Manifests, Template, labels, list, selects};

/// One end of a connection.
#[derive(Clone, Copy)]
pub enum End<'a> {
    /// A pod of ours.
    Pod(&'a Template<'a>),
    /// A pod of the namespace `monitoring`.
    Monitoring,
    /// Anybody outside of the cluster.
    Outside,
}

/// Every connection that is let through, as `source → destination:port`.
pub fn allowed(manifests: &[&Manifests]) -> Vec<String> {
    let policies: Vec<&Value> =
        manifests.iter().flat_map(|manifests| manifests.kind("NetworkPolicy")).collect();
    let pods: Vec<_> = manifests.iter().flat_map(|manifests| manifests.templates()).collect();
    let mut sources: Vec<_> = pods.iter().map(|pod| (pod.component, End::Pod(pod))).collect();
    sources.extend([("monitoring", End::Monitoring), ("outside", End::Outside)]);
    let mut found = Vec::new();
    for (from, source) in &sources {
        for pod in pods.iter().filter(|pod| pod.component != *from) {
            for (name, port) in pod.ports() {
                let leaves = match source {
                    End::Pod(source) => passes(&policies, "egress", source, End::Pod(pod), port),
                    End::Monitoring | End::Outside => true,
                };
                if leaves && passes(&policies, "ingress", pod, *source, port) {
                    found.push(format!("{from} → {}:{name}", pod.component));
                }
            }
        }
        if let End::Pod(source) = source {
            for port in [53, 80, 443, 6443]
                .into_iter()
                .filter(|port| passes(&policies, "egress", source, End::Outside, *port))
            {
                found.push(format!("{from} → outside:{port}"));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Whether the policies that choose `pod` let a connection with `other` pass in this direction.
fn passes(
    policies: &[&Value],
    direction: &str,
    pod: &Template<'_>,
    other: End<'_>,
    port: u64,
) -> bool {
    let (kind, peers) = if direction == "ingress" { ("Ingress", "from") } else { ("Egress", "to") };
    let chosen: Vec<_> = policies
        .iter()
        .filter(|policy| {
            list(&policy["spec"]["policyTypes"]).iter().any(|of| of == kind)
                && selects(&policy["spec"]["podSelector"], &pod.labels)
        })
        .collect();
    let rules = chosen.iter().flat_map(|policy| list(&policy["spec"][direction]));
    let mut rules = rules.filter(|rule| {
        rule.get("ports").is_none()
            || list(&rule["ports"]).iter().any(|entry| is_tcp(entry) && entry["port"] == port)
    });
    chosen.is_empty()
        || rules.any(|rule| {
            rule.get(peers).is_none() || list(&rule[peers]).iter().any(|peer| is_meant(peer, other))
        })
}

fn is_tcp(port: &Value) -> bool {
    port.get("protocol").is_none_or(|protocol| protocol == "TCP")
}

fn is_meant(peer: &Value, end: End<'_>) -> bool {
    match end {
        End::Pod(pod) => {
            peer.get("namespaceSelector").is_none()
                && peer.get("podSelector").is_some_and(|selector| selects(selector, &pod.labels))
        }
        End::Monitoring => peer.get("namespaceSelector").is_some_and(|selector| {
            labels(&selector["matchLabels"])
                .get("kubernetes.io/metadata.name")
                .is_some_and(|name| name == "monitoring")
        }),
        End::Outside => peer["ipBlock"]["cidr"] == "0.0.0.0/0",
    }
}
