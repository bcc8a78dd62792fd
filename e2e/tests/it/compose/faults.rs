//! What may happen to containers: a process dies, a node or the whole control plane is cut off the
//! network.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::{load::Load, wait};

use super::{
    BALANCERS, CONTROL_PLANE, NODES, REQUESTS,
    docker::inspect,
    everybody,
    project::{PATIENCE, Project},
};

const NODE_ADMIN: u16 = 7102;
const BALANCER_ADMIN: u16 = 7202;
const REGISTRY_ADMIN: u16 = 7002;

/// `kill -9` of a node's process, from the host: Docker takes a `docker kill` for an operator's
/// wish and would not start it again.
pub async fn a_process_is_killed(project: &Project) {
    let node = &project.containers(&["proxy-node"])[1];
    let pid = |all: &serde_json::Value| {
        i32::try_from(all["State"]["Pid"].as_i64().expect("a pid")).expect("a pid")
    };
    let before = inspect(node);
    kill(Pid::from_raw(pid(&before)), Signal::SIGKILL)
        .expect("kill a process of a container: this test runs as root");
    wait::within(PATIENCE, "the restart policy brings it back", || async {
        let now = inspect(node);
        (now["RestartCount"] == 1 && now["State"]["Running"] == true && pid(&now) != pid(&before))
            .then_some(())
    })
    .await;
    project.until_ready(std::slice::from_ref(node)).await;
    project.until_usable(&everybody(NODES)).await;
}

pub async fn a_node_is_cut_off(project: &Project) {
    let node = &project.containers(&["proxy-node"])[0];
    project.disconnect(node);
    wait::within(PATIENCE, "two nodes are usable", || async {
        let instances = project.instances();
        let usable = instances
            .iter()
            .filter(|instance| instance["service"] == "proxy-node" && instance["state"] == "usable")
            .count();
        (usable == 2).then_some(())
    })
    .await;
    project.connect(node);
    project.until_usable(&everybody(NODES)).await;
}

/// Nodes and balancers go on serving when they know that they are alone and their leases have
/// lapsed.
pub async fn the_control_plane_is_cut_off(project: &Project, load: &Load) {
    let [nodes, balancers] =
        [&["proxy-node"], BALANCERS].map(|services| project.containers(services));
    let (containers, registry) =
        (project.containers(CONTROL_PLANE), &project.containers(&["registry"])[0]);
    containers.iter().for_each(|container| project.disconnect(container));
    wait::within(PATIENCE, "nodes and balancers know that they are alone", || async {
        let nodes = nodes.iter().map(|container| project.metrics(container, NODE_ADMIN));
        let mut serving = nodes
            .chain(balancers.iter().map(|container| project.metrics(container, BALANCER_ADMIN)));
        let alone = ["shoal_registered 0", "shoal_membership_live 0", "shoal_configuration_live 0"];
        serving
            .all(|page| alone.iter().all(|line| page.lines().any(|said| said == *line)))
            .then_some(())
    })
    .await;
    // Whose loss it does not believe stay in use in its list.
    wait::within(PATIENCE, "the leases of all of them have lapsed", || async {
        let page = project.metrics(registry, REGISTRY_ADMIN);
        let value = |name: &str| {
            page.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse::<usize>().ok())
                .unwrap_or(0)
        };
        let lapsed = |service: &str| {
            value(&format!("shoal_registry_instances{{service=\"{service}\",state=\"lost\"}}"))
                + value(&format!("shoal_registry_guard_held{{service=\"{service}\"}}"))
        };
        (lapsed("proxy-node") == nodes.len() && lapsed("balancer") == balancers.len()).then_some(())
    })
    .await;
    assert_eq!(project.instances().len(), 0, "nobody reaches the registry");
    load.reach(load.succeeded() + REQUESTS / 4).await;
    containers.iter().for_each(|container| project.connect(container));
    project.until_usable(&everybody(NODES)).await;
}
