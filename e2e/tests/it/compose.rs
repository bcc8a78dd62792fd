//! `docker-compose.yml` and its image: a cluster of containers from up to down, with its faults,
//! through the real `docker-compose`.

mod bad_volumes;
mod changes;
mod confined;
mod docker;
mod faults;
mod page;
mod project;

use std::{collections::BTreeSet, process::Command};

use docker::{inspect_all, repository};
use project::Project;
use testkit::{
    client,
    load::{Kind, Load, Outcome, Plan},
    origin::Origin,
    wait,
};

const NODES: &[&str] = &["proxy-node-1", "proxy-node-2", "proxy-node-3"];
const CONTROL_PLANE: &[&str] = &[
    "registry",
    "config-service",
    "health-checker-1",
    "health-checker-2",
    "health-checker-3",
    "backup-service",
    "console",
];
const BALANCERS: &[&str] = &["balancer-1", "balancer-2"];
/// What a load sends at least; it goes on until the fault is over.
const REQUESTS: u64 = 2_000;

/// Names of the whole cluster, with these nodes.
fn everybody<'a>(nodes: &[&'a str]) -> Vec<&'a str> {
    [CONTROL_PLANE, nodes, BALANCERS].concat()
}

fn load(kind: Kind, path: &str, requests: u64, project: &Project, origin: &Origin) -> Load {
    let (frontends, origin) = (project.frontends(), origin.address().to_string());
    Load::open_ended(Plan { frontends, origin, path: path.into(), kind, clients: 4, requests })
}

/// Sends requests through both frontends from before `case` until some time after it; none may
/// fail.
async fn under_load(name: &str, project: &Project, origin: &Origin, case: impl AsyncFnOnce(&Load)) {
    let load = load(Kind::Get, "/bytes/1024", REQUESTS, project, origin);
    load.reach(REQUESTS / 4).await;
    case(&load).await;
    // What follows has to go well, too.
    load.reach(load.succeeded() + 200).await;
    let outcome: Outcome = load.enough().await;
    outcome.print(name);
    assert_eq!(outcome.failed, 0, "{name}: {:#?}", outcome.failures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_containers() {
    let project = Project::new();
    project.compose(&["up", "-d"]);
    project.until_healthy(&[]).await;
    project.until_usable(&everybody(NODES)).await;
    confined::containers_are_confined(&project);
    names_resolve_across_containers(&project).await;
    the_page_shows_the_cluster(&project).await;
    page::an_operator_logs_in_and_drains_a_node(&project).await;

    let (p, origin) = (&project, &Origin::on(project.gateway()).await);
    under_load("a_killed_process_of_a_container_fails_nothing", p, origin, async |_| {
        faults::a_process_is_killed(p).await
    })
    .await;
    under_load("a_node_cut_off_the_network_fails_nothing", p, origin, async |_| {
        faults::a_node_is_cut_off(p).await
    })
    .await;
    let cut_off = async |load: &Load| faults::the_control_plane_is_cut_off(p, load).await;
    under_load("a_control_plane_cut_off_the_network_fails_nothing", p, origin, cut_off).await;
    under_load("five_containers_where_three_were_fail_nothing", p, origin, async |_| {
        changes::two_nodes_join(p, origin).await
    })
    .await;
    under_load("a_changed_compose_file_fails_nothing", p, origin, async |_| {
        changes::the_file_changes(p).await
    })
    .await;
    under_load("replaced_nodes_and_balancers_fail_nothing", p, origin, async |_| {
        changes::the_data_plane_is_replaced(p, origin).await
    })
    .await;
    an_operator_applies_a_bundle_and_makes_a_backup(p);
    it_stops_by_draining(p);

    p.compose(&["up", "-d"]);
    p.until_usable(&everybody(NODES)).await;
    under_load("containers_that_were_stopped_serve_again", p, origin, async |_| ()).await;

    p.remove_peers();
    p.compose(&["down", "--volumes"]);
    assert_eq!(p.remains(), [] as [String; 0], "down -v leaves nothing");
}

/// A client and an origin in containers of their own, found by name; the cluster's own ports are no
/// origins.
async fn names_resolve_across_containers(project: &Project) {
    let page = "echo by name > /tmp/index.html; exec busybox httpd -f -p 8000 -h /tmp";
    let origin = project.peer(&["--detach", "--network-alias", "origin"], page);
    let fetch = "http_proxy=http://balancer-2:8080 busybox wget -q -O - http://origin:8000/";
    wait::until("a page by name", || async {
        (project.peer(&["--rm"], &format!("{fetch} || true")) == "by name").then_some(())
    })
    .await;
    docker::docker(&["rm", "--force", &origin]);
    let registry = "http_proxy=http://balancer-1:8080 busybox wget -O - \
        http://registry:7002/metrics 2>&1 || true";
    let denied = project.peer(&["--rm"], registry);
    assert!(denied.contains("403 Forbidden"), "{denied}");
}

/// The console, where only this host reaches it.
async fn the_page_shows_the_cluster(project: &Project) {
    let address: std::net::SocketAddr =
        project.compose(&["port", "console", "7000"]).parse().expect("an address");
    assert!(address.ip().is_loopback(), "{address}");
    wait::until("the page shows every node", || async {
        let page =
            client::once(address, "GET", &format!("http://{address}/"), &[], b"").await.ok()?;
        let text = String::from_utf8_lossy(&page.body).into_owned();
        ["proxy-node-1", "proxy-node-2", "proxy-node-3", "balancer-2"]
            .iter()
            .all(|name| text.contains(name))
            .then_some(())
    })
    .await;
}

fn an_operator_applies_a_bundle_and_makes_a_backup(project: &Project) {
    project.append("bundle/lists/blocked_sites.txt", "later.example\n");
    let said = project.cli(&["config", "apply", "/bundle", "-m", "one domain more"]);
    assert!(said.contains("committed revision 2"), "{said}");
    let ask = |arguments: &[&str]| {
        let output = project.ask(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let explained =
        ask(&["explain", "http://later.example/", "--client", &project.gateway().to_string()]);
    assert!(explained.contains("blocked"), "{explained}");
    ask(&["backup", "create"]);
    let verified = ask(&["backup", "verify", "latest", "-o", "json"]);
    serde_json::from_str::<serde_json::Value>(&verified)
        .unwrap_or_else(|error| panic!("{error}: {verified}"));
    // As README.md shows it.
    let status = project.cli(&["status"]);
    assert!(everybody(&[]).iter().all(|name| status.contains(name)), "{status}");
}

fn it_stops_by_draining(project: &Project) {
    project.compose(&["stop"]);
    for all in inspect_all(&project.containers(&[])) {
        let (name, state) = (&all["Name"], &all["State"]);
        assert_eq!(state["Running"], false, "{name}");
        assert_eq!(state["ExitCode"], 0, "{name}: {state}");
        assert_eq!(state["OOMKilled"], false, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_volumes_are_one_sentence_each() {
    bad_volumes::each_is_one_sentence(&Project::new()).await;
}

#[test]
fn the_bundle_is_valid_and_lets_the_network_in() {
    let root = repository();
    let read = |path: &str| {
        std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let (file, bundle) = (read("docker-compose.yml"), read("deploy/docker/bundle/cluster.yaml"));
    let subnet = file
        .split("SHOAL_SUBNET:-")
        .nth(1)
        .and_then(|rest| rest.split('}').next())
        .expect("a subnet in docker-compose.yml");
    assert!(bundle.contains(&format!("src: [{subnet}]")), "cluster.yaml lets {subnet} in");
    let mut validate = Command::new(testkit::lab::binary());
    docker::ok(validate.args(["config", "validate"]).arg(root.join("deploy/docker/bundle")));
    // What the image prepares for volumes is what the file mounts.
    let prepared = read("deploy/docker/Dockerfile");
    let prepared = prepared
        .split("ARG PROCESSES=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("ARG PROCESSES");
    let prepared: BTreeSet<_> = prepared.split(' ').collect();
    let mounted: BTreeSet<_> =
        file.lines().filter_map(|line| line.trim().strip_prefix("- /pki/")).collect();
    assert_eq!(prepared, mounted);
}
