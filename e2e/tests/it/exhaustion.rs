//! Running out of descriptors, of disk, of patience: what one part lacks, no client notices.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use testkit::{
    client::Connection,
    lab::{Lab, Options},
    load::{Kind, Load, Outcome, Plan},
    machine::{SmallDisk, allow_descriptors, limit_descriptors, lowest_free_descriptor},
    origin::Origin,
    wait,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

const REQUESTS: u64 = 10_000;
const NODES: [&str; 3] = ["proxy-node-1", "proxy-node-2", "proxy-node-3"];

fn load(lab: &Lab, origin: &Origin, kind: Kind, clients: usize, requests: u64) -> Load {
    let frontends = lab.description.frontends.clone();
    Load::open_ended(Plan {
        frontends,
        origin: origin.address().to_string(),
        path: "/bytes/1024".into(),
        kind,
        clients,
        requests,
    })
}

async fn further(load: &Load, requests: u64) {
    load.reach(load.succeeded() + requests).await;
}

fn assert_none_failed(test: &str, outcome: &Outcome) {
    outcome.print(test);
    assert!(outcome.sent >= REQUESTS, "{outcome:?}");
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
}

fn pids(lab: &Lab) -> BTreeMap<String, i32> {
    lab.now().processes.into_iter().map(|process| (process.name, process.pid)).collect()
}

/// GETs and new tunnels while a process may open no descriptor but in the place of one that it
/// closed, and after it may again.
async fn without_descriptors(test: &str, name: &str) -> (Lab, Origin) {
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    let before = pids(&lab);
    let gets = load(&lab, &origin, Kind::Get, 8, 8_000);
    let tunnels = load(&lab, &origin, Kind::Connect, 4, 2_000);
    further(&gets, 1_000).await;
    further(&tunnels, 100).await;
    let pid = lab.process(name).pid;
    limit_descriptors(pid, lowest_free_descriptor(pid));
    further(&gets, 3_000).await;
    further(&tunnels, 1_000).await;
    limit_descriptors(pid, 4_096);
    further(&gets, 1_000).await;
    let mut outcome = gets.enough().await;
    outcome.add(&tunnels.enough().await);
    assert_none_failed(test, &outcome);
    assert_eq!(outcome.cut_tunnels, 0);
    assert_eq!(pids(&lab), before, "a process died of it");
    lab.until_state(name, "usable").await;
    (lab, origin)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_descriptors_fails_nothing() {
    let (lab, origin) =
        without_descriptors("a_node_without_descriptors_fails_nothing", "proxy-node-2").await;
    let before = origin.requests_via("proxy-node-2");
    let load = load(&lab, &origin, Kind::Get, 4, 0);
    wait::until("the node takes requests again", || async {
        (origin.requests_via("proxy-node-2") > before).then_some(())
    })
    .await;
    assert_eq!(load.enough().await.failed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_without_descriptors_fails_nothing() {
    let (lab, origin) =
        without_descriptors("a_balancer_without_descriptors_fails_nothing", "balancer-1").await;
    let mut connection =
        Connection::open(lab.frontend()).await.expect("the balancer accepts again");
    assert_eq!(
        connection.request("GET", &origin.url("/"), &[], b"").await.expect("an answer").status(),
        200
    );
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copy a file");
        }
    }
}

/// The lab's bundle, with more of a comment than a full disk can take, outside of the lab's
/// directory.
fn larger_bundle(lab: &Lab, to: &Path) {
    copy(&lab.data_dir().join("bundle"), to);
    let file = to.join("cluster.yaml");
    let yaml = std::fs::read_to_string(&file).expect("cluster.yaml");
    std::fs::write(&file, format!("{yaml}\n{}", "# a comment that takes room\n".repeat(8_000)))
        .expect("write cluster.yaml");
}

async fn newest(lab: &Lab) -> String {
    lab.json(&["config", "history"]).await["revisions"][0]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_fails_no_request_and_loses_nothing_acknowledged() {
    let disk = SmallDisk::mount(64);
    let edited = tempfile::tempdir().expect("a directory");
    let lab =
        Lab::start(Options { place: Some(disk.path().to_owned()), ..Options::default() }).await;
    let origin = Origin::start().await;
    larger_bundle(&lab, edited.path());
    let bundle = edited.path().to_str().expect("a path in UTF-8");
    let (before, first) = (pids(&lab), newest(&lab).await);
    let load = load(&lab, &origin, Kind::Get, 8, REQUESTS);
    further(&load, 1_000).await;

    disk.fill();
    // Every data dir and every log is on it.
    further(&load, 3_000).await;
    let output = lab.shoal(&["config", "apply", bundle]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "a revision was acknowledged that no disk can hold: {said}");
    assert!(said.contains("full") || said.contains("space"), "nothing about the disk in: {said}");
    assert_eq!(newest(&lab).await, first);
    further(&load, 1_000).await;
    assert_eq!(pids(&lab), before, "a process died of a full disk");

    disk.release();
    lab.ok(&["config", "apply", bundle]).await;
    assert_ne!(newest(&lab).await, first);
    further(&load, 1_000).await;
    assert_none_failed(
        "a_full_disk_fails_no_request_and_loses_nothing_acknowledged",
        &load.enough().await,
    );
    assert_eq!(pids(&lab), before, "a process died of a full disk");
    for node in NODES {
        lab.until_state(node, "usable").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_disturb_nobody() {
    const IDLE: usize = 10_000;
    // Ours, and as many in the balancer, which inherits the limit.
    allow_descriptors(20_000);
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    let (frontend, url) = (lab.frontend(), origin.url("/bytes/10"));
    let mut opening = JoinSet::new();
    for share in 0..20 {
        let url = url.clone();
        opening.spawn(async move {
            let mut idle = Vec::new();
            for number in 0..IDLE / 20 {
                let mut connection = Connection::open(frontend).await.expect("a connection");
                // Half of them have asked for something before they idle, the others never say a
                // word.
                if (share + number) % 2 == 0 {
                    assert_eq!(
                        connection
                            .request("GET", &url, &[], b"")
                            .await
                            .expect("an answer")
                            .status(),
                        200
                    );
                }
                idle.push(connection);
            }
            idle
        });
    }
    let mut idle: Vec<_> = opening.join_all().await.into_iter().flatten().collect();
    assert_eq!(idle.len(), IDLE);

    let load = load(&lab, &origin, Kind::Get, 8, REQUESTS);
    further(&load, 3_000).await;
    // They are all still there: any of them may ask, at any time.
    for connection in idle.iter_mut().step_by(50) {
        assert_eq!(
            connection.request("GET", &url, &[], b"").await.expect("an answer").status(),
            200
        );
    }
    further(&load, 1_000).await;
    assert_none_failed("ten_thousand_idle_connections_disturb_nobody", &load.enough().await);
}

/// What a slow client sends, one byte at a time.
#[derive(Clone, Copy, Debug)]
enum Drip {
    Head,
    Body,
}

/// Drips until the balancer ends it; what the balancer said last.
async fn drip(frontend: SocketAddr, origin: String, what: Drip) -> String {
    let mut stream = TcpStream::connect(frontend).await.expect("a connection");
    let head = match what {
        Drip::Head => format!("GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nX-Slow: "),
        Drip::Body => format!(
            "POST http://{origin}/echo HTTP/1.1\r\nHost: {origin}\r\nContent-Length: 1000000\r\n\
             \r\n"
        ),
    };
    stream.write_all(head.as_bytes()).await.expect("the begin of a request");
    let (mut reading, mut writing) = stream.into_split();
    let dripping = tokio::spawn(async move {
        // The pace of the attack, not a wait for anything.
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let mut said = Vec::new();
    // Its end may be a reset: what counts is that it ends.
    drop(reading.read_to_end(&mut said).await);
    dripping.abort();
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_disturb_nobody() {
    const SLOW: usize = 400;
    allow_descriptors(8_192);
    let lab = Lab::start(Options::default()).await;
    let (origin, attacked) = (Origin::start().await, Arc::new(Origin::start().await));
    let bodies: JoinSet<_> = (0..SLOW)
        .map(|_| drip(lab.frontend(), attacked.address().to_string(), Drip::Body))
        .collect();
    let heads: JoinSet<_> = (0..SLOW)
        .map(|_| drip(lab.frontend(), attacked.address().to_string(), Drip::Head))
        .collect();
    let load = load(&lab, &origin, Kind::Get, 8, REQUESTS);
    further(&load, 3_000).await;
    // A head has to be whole within 30 s (`request_head`), however busily it drips.
    let answers = heads.join_all().await;
    assert_eq!(answers.len(), SLOW);
    for answer in &answers {
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    }
    assert_eq!(
        attacked.requests() as usize,
        SLOW,
        "only the dripping bodies have a request of theirs at the origin"
    );
    drop(bodies);
    further(&load, 1_000).await;
    assert_none_failed("slow_clients_disturb_nobody", &load.enough().await);
    for node in NODES {
        assert_eq!(lab.state(node).await.as_deref(), Some("usable"), "{node}");
    }
}
