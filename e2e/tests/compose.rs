//! `docker-compose.yml` and its image: a cluster of containers from up to down, with its faults, through the real `docker-compose`.

#[path = "compose/docker.rs"]
mod docker;
#[path = "compose/project.rs"]
mod project;

use std::{collections::BTreeSet, process::Command};

use docker::{inspect, repository};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use project::{PATIENCE, Project, short};
use testkit::{
    client,
    load::{Kind, Load, Outcome, Plan},
    origin::Origin,
    wait,
};

const EVERYBODY: &[&str] = &[
    "registry",
    "config-service",
    "health-checker-1",
    "health-checker-2",
    "health-checker-3",
    "backup-service",
    "console",
    "proxy-node-1",
    "proxy-node-2",
    "proxy-node-3",
    "balancer-1",
    "balancer-2",
];
const CONTROL_PLANE: &[&str] =
    &["registry", "config-service", "health-checker-1", "health-checker-2", "health-checker-3", "backup-service", "console"];
/// What a load sends at least; it goes on until the fault is over.
const REQUESTS: u64 = 2_000;

fn load(project: &Project, origin: &Origin) -> Load {
    Load::open_ended(Plan {
        frontends: project.frontends(),
        origin: origin.address().to_string(),
        path: "/bytes/1024".into(),
        kind: Kind::Get,
        clients: 4,
        requests: REQUESTS,
    })
}

async fn end(load: Load, name: &str) {
    let so_far = load.succeeded();
    // The fault is over; what follows has to go well, too.
    load.reach(so_far + 200).await;
    let outcome: Outcome = load.enough().await;
    outcome.print(name);
    assert_eq!(outcome.failed, 0, "{name}: {:#?}", outcome.failures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_containers() {
    let project = Project::new();
    project.compose(&["up", "-d"]);
    project.until_healthy(&[]).await;
    project.until_usable(EVERYBODY).await;
    containers_are_confined(&project);
    names_resolve_across_containers(&project).await;
    the_page_shows_the_cluster(&project).await;

    let origin = Origin::on(project.gateway()).await;
    a_process_is_killed(&project, &origin).await;
    a_node_is_cut_off(&project, &origin).await;
    the_control_plane_is_cut_off(&project, &origin).await;
    two_nodes_join(&project, &origin).await;
    the_file_changes(&project, &origin).await;
    an_operator_applies_a_bundle_and_makes_a_backup(&project);
    it_stops_by_draining_and_comes_back(&project, &origin).await;

    project.compose(&["down", "--volumes"]);
    assert_eq!(project.remains(), [] as [String; 0], "down -v leaves nothing");
}

/// What `docker inspect` has to say of each container.
fn containers_are_confined(project: &Project) {
    let containers = project.containers(&[]);
    assert_eq!(containers.len(), EVERYBODY.len(), "one container for each process");
    for container in &containers {
        let all = inspect(container);
        let (name, config, host) = (&all["Name"], &all["Config"], &all["HostConfig"]);
        assert_eq!(config["User"], "65532:65532", "{name}");
        assert_eq!(host["ReadonlyRootfs"], true, "{name}");
        assert_eq!(host["Privileged"], false, "{name}");
        assert_eq!(host["CapDrop"], serde_json::json!(["ALL"]), "{name}");
        assert!(host["CapAdd"].is_null(), "{name}: {}", host["CapAdd"]);
        assert!(host["SecurityOpt"].to_string().contains("no-new-privileges"), "{name}");
        assert!(host["Memory"].as_u64().is_some_and(|bytes| (1 << 24..=1 << 30).contains(&bytes)), "{name}: {}", host["Memory"]);
        assert!(host["NanoCpus"].as_u64().is_some_and(|cpus| cpus > 0), "{name}");
        assert!(host["PidsLimit"].as_u64().is_some_and(|pids| pids > 0), "{name}");
        assert_eq!(host["RestartPolicy"]["Name"], "unless-stopped", "{name}");
        assert_eq!(all["State"]["Health"]["Status"], "healthy", "{name}");
        let published: Vec<_> = host["PortBindings"].as_object().into_iter().flat_map(|ports| ports.values()).collect();
        assert!(published.iter().all(|to| to[0]["HostIp"] == "127.0.0.1"), "{name} is published beyond this host: {published:?}");
    }
    // The authority's key is where nobody runs; a process sees its own key only, and cannot replace it.
    let holders = containers.iter().filter(|container| inspect(container)["Mounts"].to_string().contains("_authority"));
    assert_eq!(holders.count(), 0);
    let node = &project.containers(&["proxy-node"])[0];
    let seen = docker::docker(&["exec", node, "sh", "-c", "ls /etc/shoal; ls /pki/*; touch /etc/shoal/x /x 2>&1 || true"]);
    for part in ["ca.crt", "cluster.key", "tls.crt", "tls.key", "/etc/shoal/x': Read-only file system", "/x': Read-only file system"] {
        assert!(seen.contains(part), "{seen}");
    }
    assert!(!seen.contains("ca.key") && !seen.contains("operator.key"), "{seen}");
    let registry = docker::docker(&["exec", &project.containers(&["registry"])[0], "ls", "/etc/shoal"]);
    assert!(!registry.contains("cluster.key"), "a key is where it is needed: {registry}");
}

/// A client and an origin in containers of their own, found by name; another network's client is not let in.
async fn names_resolve_across_containers(project: &Project) {
    let page = "echo by name > /tmp/index.html; exec busybox httpd -f -p 8000 -h /tmp";
    let origin = project.peer(&["--detach", "--network-alias", "origin"], page);
    let fetch = "http_proxy=http://balancer-2:8080 busybox wget -q -O - http://origin:8000/";
    wait::until("a page by name", || async { (project.peer(&["--rm"], &format!("{fetch} || true")) == "by name").then_some(()) }).await;
    docker::docker(&["rm", "--force", &origin]);
    // The cluster's own ports are no origins.
    let registry = "http_proxy=http://balancer-1:8080 busybox wget -O - http://registry:7002/metrics 2>&1 || true";
    let denied = project.peer(&["--rm"], registry);
    assert!(denied.contains("403 Forbidden"), "{denied}");
}

/// The console, where only this host reaches it.
async fn the_page_shows_the_cluster(project: &Project) {
    let address: std::net::SocketAddr = project.compose(&["port", "console", "7000"]).parse().expect("an address");
    assert!(address.ip().is_loopback(), "{address}");
    wait::until("the page shows every node", || async {
        let page = client::once(address, "GET", &format!("http://{address}/"), &[], b"").await.ok()?;
        let text = String::from_utf8_lossy(&page.body).into_owned();
        ["proxy-node-1", "proxy-node-2", "proxy-node-3", "balancer-2"].iter().all(|name| text.contains(name)).then_some(())
    })
    .await;
}

/// `kill -9` of a node's process, from the host: Docker takes a `docker kill` for an operator's wish and would not start it again.
async fn a_process_is_killed(project: &Project, origin: &Origin) {
    let load = load(project, origin);
    load.reach(REQUESTS / 4).await;
    let node = &project.containers(&["proxy-node"])[1];
    let pid = |state: &serde_json::Value| i32::try_from(state["State"]["Pid"].as_i64().expect("a pid")).expect("a pid");
    let before = inspect(node);
    kill(Pid::from_raw(pid(&before)), Signal::SIGKILL).expect("kill a process of a container: this test runs as root");
    wait::within(PATIENCE, "the restart policy brings it back", || async {
        let now = inspect(node);
        let back = now["RestartCount"] == 1 && now["State"]["Health"]["Status"] == "healthy" && pid(&now) != pid(&before);
        back.then_some(())
    })
    .await;
    project.until_usable(EVERYBODY).await;
    end(load, "a_killed_process_of_a_container_fails_nothing").await;
}

async fn a_node_is_cut_off(project: &Project, origin: &Origin) {
    let load = load(project, origin);
    load.reach(REQUESTS / 4).await;
    let node = &project.containers(&["proxy-node"])[0];
    project.disconnect(node);
    wait::within(PATIENCE, "two nodes are usable", || async {
        let instances = project.instances();
        let usable = instances.iter().filter(|instance| instance["service"] == "proxy-node" && instance["state"] == "usable").count();
        (usable == 2).then_some(())
    })
    .await;
    project.connect(node);
    project.until_usable(EVERYBODY).await;
    end(load, "a_node_cut_off_the_network_fails_nothing").await;
}

async fn the_control_plane_is_cut_off(project: &Project, origin: &Origin) {
    let load = load(project, origin);
    load.reach(REQUESTS / 4).await;
    let containers = project.containers(CONTROL_PLANE);
    containers.iter().for_each(|container| project.disconnect(container));
    // Longer than leases last.
    let begun = std::time::Instant::now();
    wait::within(PATIENCE, "leases have lapsed", || async { (begun.elapsed().as_secs() > 15).then_some(()) }).await;
    assert_eq!(project.instances().len(), 0, "nobody reaches the registry");
    containers.iter().for_each(|container| project.connect(container));
    project.until_usable(EVERYBODY).await;
    end(load, "a_control_plane_cut_off_the_network_fails_nothing").await;
}

async fn two_nodes_join(project: &Project, origin: &Origin) {
    let load = load(project, origin);
    project.compose(&["up", "-d", "--scale", "proxy-node=5"]);
    project.until_healthy(&["proxy-node"]).await;
    project.until_usable(&[EVERYBODY, &["proxy-node-4", "proxy-node-5"]].concat()).await;
    let served = || (1..=5).map(|number| origin.requests_via(&format!("proxy-node-{number}"))).collect::<Vec<_>>();
    let before = served();
    wait::until("all five get traffic", || async { served().iter().zip(&before).all(|(now, before)| now > before).then_some(()) }).await;
    end(load, "five_containers_where_three_were_fail_nothing").await;
}

/// A second `up` after a change: what changed is made again, the scale is the file's, and nothing is issued or committed anew.
async fn the_file_changes(project: &Project, origin: &Origin) {
    let load = load(project, origin);
    let papers = || {
        let sums = ["registry-pki", "proxy-node-pki", "balancer-1-pki", "operator-pki"];
        sums.map(|volume| project.in_volume(volume, "cd /volume && sha256sum *"))
    };
    let (before, kept, made) = (papers(), project.containers(&["registry", "balancer-1"]), project.containers(&["health-checker-2"]));
    project.edit("  command: [serve, health-checker]", "  command: [serve, health-checker]\n  labels: {changed: \"yes\"}");
    project.compose(&["up", "-d"]);
    project.until_healthy(&[]).await;
    project.until_usable(EVERYBODY).await;
    end(load, "a_changed_compose_file_fails_nothing").await;
    assert_eq!(papers(), before, "certificates stay");
    assert_eq!(project.containers(&["registry", "balancer-1"]), kept, "what did not change stays");
    assert_ne!(project.containers(&["health-checker-2"]), made, "what changed is made again");
    let history: serde_json::Value = serde_json::from_str(&project.cli(&["config", "history", "-o", "json"])).expect("JSON");
    assert_eq!(history["revisions"].as_array().map(Vec::len), Some(1), "one revision, the first: {history}");
}

fn an_operator_applies_a_bundle_and_makes_a_backup(project: &Project) {
    let said = project.cli(&["config", "apply", "/bundle", "-m", "the same again"]);
    assert!(said.contains("committed revision"), "{said}");
    let explained = project.cli(&["explain", "http://blocked.example/", "--client", &project.gateway().to_string()]);
    assert!(explained.contains("blocked"), "{explained}");
    project.cli(&["backup", "create"]);
    let verified = project.cli(&["backup", "verify", "latest", "-o", "json"]);
    serde_json::from_str::<serde_json::Value>(&verified).unwrap_or_else(|error| panic!("{error}: {verified}"));
}

async fn it_stops_by_draining_and_comes_back(project: &Project, origin: &Origin) {
    project.compose(&["stop"]);
    for container in
        docker::docker(&["ps", "--all", "--quiet", "--filter", &format!("label=com.docker.compose.project={}", project.name)]).lines()
    {
        let state = inspect(container)["State"].take();
        assert_eq!(state["ExitCode"], 0, "{}: {state}", short(container));
        assert_eq!(state["OOMKilled"], false, "{}", short(container));
    }
    project.compose(&["up", "-d"]);
    project.until_healthy(&[]).await;
    project.until_usable(EVERYBODY).await;
    end(load(project, origin), "containers_that_were_stopped_serve_again").await;
}

/// One sentence in the container's log that says what is wrong with what, and what to do.
async fn until_said(project: &Project, service: &str, parts: &[&str]) {
    wait::within(PATIENCE, format!("{service} says {parts:?}"), || async {
        let logs = project.logs(service);
        logs.lines().any(|line| line.contains("error: ") && parts.iter().all(|part| line.contains(part))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_volumes_are_one_sentence_each() {
    let project = Project::new();
    // Without its PKI.
    project.compose(&["up", "-d", "--no-deps", "registry"]);
    until_said(&project, "registry", &["cannot read /etc/shoal/ca.crt", "shoal pki provision", "docker-compose up -d"]).await;
    assert_eq!(project.in_volume("registry", "ls -A /volume"), "", "nothing was made");

    // Mended by the usual command.
    project.compose(&["up", "-d", "registry"]);
    project.until_healthy(&["registry"]).await;

    // A certificate that is missing, and one that has expired: `up` mends both.
    project.in_volume("registry-pki", "rm /volume/tls.crt");
    project.compose(&["restart", "registry"]);
    until_said(&project, "registry", &["cannot read /etc/shoal/tls.crt", "docker-compose up -d"]).await;
    project.compose(&["run", "--rm", "init", "pki", "provision", "--validity=1s", "--dir=/pki/authority/pki", "/pki/registry"]);
    project.compose(&["restart", "registry"]);
    until_said(&project, "registry", &["/etc/shoal/tls.crt expired at", "shoal pki issue", "docker-compose up -d"]).await;
    project.compose(&["up", "-d", "registry"]);
    project.until_healthy(&["registry"]).await;

    // Certificates whose authority is gone.
    let state = || project.in_volume("registry", "cd /volume && find . -type f -name '*.json' -exec sha256sum {} + | sort");
    let papers = || project.in_volume("registry-pki", "cd /volume && sha256sum *");
    project.compose(&["rm", "--stop", "--force", "registry", "init"]);
    let before = (state(), papers());
    project.remove_volume("authority");
    let refused = project.try_compose(&["up", "-d", "registry"]);
    assert!(!refused.status.success());
    until_said(&project, "init", &["/pki/registry belongs to a cluster whose authority is not in", "docker-compose down -v"]).await;
    assert_eq!((state(), papers()), before, "nothing was changed");

    // State of another cluster than the certificates: their volumes are new, its own is not.
    project.compose(&["rm", "--stop", "--force", "registry", "init"]);
    project
        .volumes()
        .iter()
        .filter(|volume| *volume == "authority" || volume.ends_with("-pki"))
        .for_each(|volume| project.remove_volume(volume));
    project.compose(&["up", "-d", "registry"]);
    until_said(&project, "registry", &["/var/lib/shoal/registry belongs to another cluster", "--data-dir"]).await;
    assert_eq!(state(), before.0, "nothing was changed");
}

#[test]
fn the_bundle_is_valid_and_lets_the_network_in() {
    let root = repository();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (file, bundle) = (read("docker-compose.yml"), read("deploy/docker/bundle/cluster.yaml"));
    let subnet = file.split("SHOAL_SUBNET:-").nth(1).and_then(|rest| rest.split('}').next()).expect("a subnet in docker-compose.yml");
    assert!(bundle.contains(&format!("src: [{subnet}]")), "cluster.yaml lets {subnet} in");
    let mut validate = Command::new(testkit::lab::binary());
    docker::ok(validate.args(["config", "validate"]).arg(root.join("deploy/docker/bundle")));
    // What the image prepares for volumes is what the file mounts.
    let prepared = read("deploy/docker/Dockerfile");
    let prepared = prepared.split("ARG PROCESSES=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("ARG PROCESSES");
    let prepared: BTreeSet<_> = prepared.split(' ').collect();
    let mounted: BTreeSet<_> = file.lines().filter_map(|line| line.trim().strip_prefix("- /pki/")).collect();
    assert_eq!(prepared, mounted);
}
