//! Invariant 1: the data plane never needs the control plane to keep serving. Invariant 4: an
//! implausible loss is not believed.

use nix::sys::signal::Signal;
use testkit::{
    client,
    lab::{Lab, Options},
    load::{Kind, Load, Plan},
    origin::Origin,
    wait,
};

const REQUESTS: u64 = 10_000;

fn plan(lab: &Lab, origin: &Origin) -> Plan {
    Plan {
        frontends: lab.description.frontends.clone(),
        origin: origin.address().to_string(),
        path: "/bytes/1024".into(),
        kind: Kind::Get,
        clients: 8,
        requests: REQUESTS,
    }
}

async fn until_serves(frontend: std::net::SocketAddr, origin: &Origin) {
    let url = origin.url("/");
    wait::until(format!("{frontend} serves"), || async {
        client::once(frontend, "GET", &url, &[], b"")
            .await
            .ok()
            .filter(|answer| answer.status() == 200)
            .map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_flows_with_the_control_plane_dead() {
    let lab =
        Lab::start(Options { arguments: vec!["--no-restart".into()], ..Options::default() }).await;
    let origin = Origin::start().await;
    let load = Load::start(plan(&lab, &origin));
    load.reach(1_000).await;
    lab.kill_control_plane();
    load.reach(4_000).await;
    // A node dies and serves again from disk, with nobody to ask.
    lab.signal("proxy-node-1", Signal::SIGKILL);
    load.reach(6_000).await;
    let _node = lab.restart("proxy-node-1");
    load.reach(7_000).await;
    lab.signal("balancer-2", Signal::SIGKILL);
    let outcome = load.finish().await;
    outcome.print("traffic_flows_with_the_control_plane_dead");
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);

    let _balancer = lab.restart("balancer-2");
    until_serves(lab.description.frontends[1], &origin).await;
    // The node that came back takes its share again.
    let before = origin.requests_via("proxy-node-1");
    wait::until("proxy-node-1 takes requests again", || async {
        until_serves(lab.frontend(), &origin).await;
        (origin.requests_via("proxy-node-1") > before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_registry_loses_no_traffic() {
    let lab =
        Lab::start(Options { arguments: vec!["--no-restart".into()], ..Options::default() }).await;
    let origin = Origin::start().await;
    let load = Load::start(plan(&lab, &origin));
    load.reach(1_000).await;
    lab.signal("registry-1", Signal::SIGKILL);
    wipe(&lab);
    let _registry = lab.restart("registry-1");
    let outcome = load.finish().await;
    outcome.print("a_wiped_registry_loses_no_traffic");
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
    // Everybody registers again by itself.
    for node in ["proxy-node-1", "proxy-node-2", "proxy-node-3", "balancer-1", "balancer-2"] {
        lab.until_state(node, "usable").await;
    }
}

/// Removes every database file of the registry.
fn wipe(lab: &Lab) {
    let process = lab.process("registry-1");
    let place = process
        .argv
        .iter()
        .position(|argument| argument == "--data-dir")
        .expect("the registry has a data dir");
    let removed = std::fs::read_dir(&process.argv[place + 1])
        .expect("the registry's data dir")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains(".db"))
        .map(|path| std::fs::remove_file(path).expect("remove the database"))
        .count();
    assert!(removed > 0, "the registry had no database to wipe");
}
