//! What `docker inspect` has to say of each container, and what a process in one sees.

use std::collections::BTreeSet;

use serde_json::json;

use super::{
    CONTROL_PLANE,
    docker::{docker, inspect_all},
    everybody,
    project::Project,
};

pub fn containers_are_confined(project: &Project) {
    let containers = inspect_all(&project.containers(&[]));
    assert_eq!(
        containers.len(),
        everybody(&["1", "2", "3"]).len(),
        "one container for each process"
    );
    for all in &containers {
        let (name, config, host) = (&all["Name"], &all["Config"], &all["HostConfig"]);
        assert_eq!(config["User"], "65532:65532", "{name}");
        assert_eq!(host["ReadonlyRootfs"], true, "{name}");
        assert_eq!(host["Privileged"], false, "{name}");
        assert_eq!(host["CapDrop"], json!(["ALL"]), "{name}");
        assert!(host["CapAdd"].is_null(), "{name}: {}", host["CapAdd"]);
        assert!(host["SecurityOpt"].to_string().contains("no-new-privileges"), "{name}");
        assert!(
            host["Memory"].as_u64().is_some_and(|bytes| (1 << 24..=1 << 30).contains(&bytes)),
            "{name}: {}",
            host["Memory"]
        );
        assert!(host["NanoCpus"].as_u64().is_some_and(|cpus| cpus > 0), "{name}");
        assert!(host["PidsLimit"].as_u64().is_some_and(|pids| pids > 0), "{name}");
        assert_eq!(host["RestartPolicy"]["Name"], "unless-stopped", "{name}");
        assert_eq!(
            config["Healthcheck"]["Test"],
            json!(["CMD", "/opt/shoal/shoal", "ready"]),
            "{name}"
        );
        assert_eq!(all["State"]["Health"]["Status"], "healthy", "{name}");
        let published: Vec<_> =
            host["PortBindings"].as_object().into_iter().flat_map(|ports| ports.values()).collect();
        assert!(
            published.iter().all(|to| to[0]["HostIp"] == "127.0.0.1"),
            "{name} is published beyond this host: {published:?}"
        );
        // The authority's key is where nobody runs.
        assert!(!all["Mounts"].to_string().contains("_authority"), "{name}: {}", all["Mounts"]);
    }
    keys_are_where_they_are_needed(project);
}

/// A process sees its own key only, and can neither replace it nor write anywhere but in its volume
/// and in /tmp.
fn keys_are_where_they_are_needed(project: &Project) {
    let look = "id -u; ls /etc/shoal; ls -A /pki/*; for f in /etc/shoal/x /x /opt/shoal/x; do \
        touch $f 2>&1 || true; done";
    for (service, has_cluster_key) in
        [("proxy-node", true), ("balancer-1", true), ("registry", false), ("console", false)]
    {
        let seen = docker(&["exec", &project.containers(&[service])[0], "sh", "-c", look]);
        for part in [
            "65532",
            "ca.crt",
            "tls.crt",
            "tls.key",
            "/etc/shoal/x': Read-only",
            "'/x': Read-only",
            "/opt/shoal/x': Read-only",
        ] {
            assert!(seen.contains(part), "{service}: {seen}");
        }
        assert_eq!(seen.contains("cluster.key"), has_cluster_key, "{service}: {seen}");
        assert!(
            !seen.contains("ca.key")
                && seen.matches(".key").count() == 1 + usize::from(has_cluster_key),
            "{service}: {seen}"
        );
    }
    // What is said once for all of them holds for each.
    let volumes: Vec<_> = CONTROL_PLANE.iter().map(|service| format!("{service}-pki")).collect();
    let volumes: Vec<_> = volumes.iter().map(String::as_str).collect();
    let sums = project.in_volumes(&volumes, "sha256sum /volumes/*/tls.key");
    let keys: BTreeSet<_> = sums.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(keys.len(), CONTROL_PLANE.len(), "everybody has a key of its own");
}
