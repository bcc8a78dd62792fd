//! What servers may have at a time, and who waits: over real sockets and two workers.

use std::sync::Arc;

use cluster::AdminState;
use proto::balancer::{self as pb, ExplainPickRequest, Standing, balancer_server::Balancer as _};
use serde_json::{Value, json};
use testkit::{client::Answer, wait::until};
use tokio::task::JoinSet;

use crate::support::{Cluster, Mode, Node, by, status};

/// Servers that may have so many, beside other settings.
fn maxconn(most: u32, extra: &Value) -> Value {
    let mut settings = json!({
        "discover": {"service": "proxy-node", "tags": [], "datacenter": null, "maxconn": most},
    });
    for (key, value) in extra.as_object().into_iter().flatten() {
        settings[key] = value.clone();
    }
    settings
}

async fn cluster(nodes: usize, most: u32, extra: Value) -> Arc<Cluster> {
    Arc::new(Cluster::with(nodes, maxconn(most, &extra)).await)
}

fn queue(cluster: &Cluster) -> pb::Queue {
    cluster.stats().backends.remove(0).queue.expect("a queue")
}

async fn until_waiting(cluster: &Cluster, count: u64) {
    until(format!("{count} wait"), || async { (queue(cluster).waiting == count).then_some(()) })
        .await;
}

async fn until_arrived(node: &Node, count: usize) {
    until(format!("{count} have arrived"), || async {
        (node.arrivals().len() == count).then_some(())
    })
    .await;
}

fn ask(cluster: &Arc<Cluster>, running: &mut JoinSet<Answer>) {
    let cluster = Arc::clone(cluster);
    running.spawn(async move { cluster.get("GET", b"").await });
}

/// A request that its node keeps until its gate opens, and `count` that wait behind it.
async fn busy(cluster: &Arc<Cluster>, count: u64) -> JoinSet<Answer> {
    let mut running = JoinSet::new();
    cluster.nodes[0].set(Mode::SlowOrigin);
    ask(cluster, &mut running);
    until_arrived(&cluster.nodes[0], 1).await;
    for waiting in 1..=count {
        ask(cluster, &mut running);
        until_waiting(cluster, waiting).await;
    }
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_a_server_full_waits_its_turn() {
    let cluster = cluster(1, 1, json!({})).await;
    let running = busy(&cluster, 6).await;
    let node = &cluster.nodes[0];
    assert_eq!(node.arrivals().len(), 1, "the others are not sent");
    let (face, question) = (cluster.face("r1"), ExplainPickRequest::default());
    let explained = face.explain_pick(tonic::Request::new(question));
    let explained = explained.await.expect("an explanation").into_inner().explanation.join("\n");
    assert!(
        explained.contains("node-1 has 1 of 1; what finds no room waits behind 6"),
        "{explained}"
    );
    node.open_gate();
    assert!(running.join_all().await.iter().all(|answer| answer.status() == 200));
    // The client has its answer a moment before the place is given back.
    let server = until("the last place is given back", || async {
        cluster.server("node-1").filter(|server| server.held == 0)
    })
    .await;
    let queue = queue(&cluster);
    assert_eq!((server.maxconn, server.peak_held), (Some(1), 1));
    assert_eq!((queue.waiting, queue.waited, queue.peak_waiting, queue.full), (0, 6, 6, 0));
    assert!(queue.waited_microseconds > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_full_or_takes_too_long_is_503_with_the_reason() {
    let settings = json!({
        "circuit_breaker": {"connections": null, "pending": 1, "retries": null},
        "timeouts": {"connect": "5s", "server": "50s", "tunnel_idle": "1h", "queue": "1500ms"},
    });
    let cluster = cluster(1, 1, settings).await;
    let mut running = busy(&cluster, 1).await;
    let refused = |answer: Answer| {
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.head.field("retry-after"), Some("2"));
        let told = answer.head.field("proxy-status").unwrap_or_default();
        assert_eq!(told, "balancer-1; error=connection_limit_reached");
        String::from_utf8_lossy(&answer.body).into_owned()
    };
    assert!(refused(cluster.get("GET", b"").await).contains("as many requests wait as may"));
    // The first to end is the one that waits: the server keeps the other.
    let late = running.join_next().await.expect("one").expect("an answer");
    assert!(refused(late).contains("as long as a request waits"));
    let queue = queue(&cluster);
    assert_eq!((queue.full, queue.late, queue.waiting), (1, 1, 0));
    assert_eq!(cluster.frontend_stats().failed, 2);
    cluster.nodes[0].open_gate();
    assert_eq!(running.join_next().await.expect("one").expect("an answer").status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_place_with_it() {
    let cluster = cluster(1, 1, json!({})).await;
    let mut running = busy(&cluster, 0).await;
    let mut impatient = cluster.open().await;
    impatient.send(b"GET http://o/gone HTTP/1.1\r\nHost: o\r\n\r\n").await.expect("sent");
    until_waiting(&cluster, 1).await;
    ask(&cluster, &mut running);
    until_waiting(&cluster, 2).await;
    drop(impatient);
    until_waiting(&cluster, 1).await;
    cluster.nodes[0].open_gate();
    assert!(running.join_all().await.iter().all(|answer| answer.status() == 200));
    assert!(cluster.arrivals().iter().all(|it| !it.head.line.contains("gone")));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_hears_of_servers_that_come_and_go() {
    let cluster = cluster(2, 1, json!({})).await;
    let mut statuses: Vec<_> = cluster.nodes.iter().map(status).collect();
    statuses[1].admin_state = AdminState::Maintenance;
    cluster.list(&statuses);
    cluster.until_standing("node-2", Standing::Excluded).await;
    let mut running = busy(&cluster, 1).await;
    cluster.list_all();
    let answer = running.join_next().await.expect("one").expect("an answer");
    assert_eq!((answer.status(), by(&answer)), (200, "node-2".to_owned()));
    // With nobody left to wait for, there is nothing to wait for.
    cluster.nodes[1].set(Mode::SlowOrigin);
    ask(&cluster, &mut running);
    until_arrived(&cluster.nodes[1], 2).await;
    ask(&cluster, &mut running);
    until_waiting(&cluster, 1).await;
    statuses.iter_mut().for_each(|it| it.admin_state = AdminState::Drain);
    cluster.list(&statuses);
    let answer = running.join_next().await.expect("one").expect("an answer");
    assert_eq!(
        answer.head.field("proxy-status"),
        Some("balancer-1; error=destination_unavailable")
    );
    cluster.nodes.iter().for_each(Node::open_gate);
    assert!(running.join_all().await.iter().all(|answer| answer.status() == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_has_its_place_until_it_ends() {
    let cluster = cluster(1, 1, json!({})).await;
    let mut tunnel = cluster.open().await;
    assert_eq!(tunnel.connect("o:443", &[]).await.expect("a tunnel").status(), Some(200));
    let mut running = JoinSet::new();
    ask(&cluster, &mut running);
    until_waiting(&cluster, 1).await;
    assert_eq!(cluster.server("node-1").map(|it| it.held), Some(1));
    drop(tunnel);
    assert_eq!(running.join_next().await.expect("one").expect("an answer").status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_waits_like_everybody() {
    let cluster = cluster(2, 1, json!({"balance": "first"})).await;
    let (broken, full) = (&cluster.nodes[0], &cluster.nodes[1]);
    broken.set(Mode::CloseUnanswered);
    full.set(Mode::SlowOrigin);
    let mut running = JoinSet::new();
    ask(&cluster, &mut running);
    until_arrived(full, 1).await;
    ask(&cluster, &mut running);
    until_arrived(broken, 2).await;
    until_waiting(&cluster, 1).await;
    full.open_gate();
    let answers = running.join_all().await;
    assert!(answers.iter().all(|it| it.status() == 200 && by(it) == "node-2"), "{answers:?}");
    assert_eq!(cluster.counters("node-1").retries_away, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_have_a_bound_of_their_own() {
    let bound = json!({
        "balance": "first",
        "circuit_breaker": {"connections": null, "pending": 9, "retries": 1},
    });
    let cluster = Arc::new(Cluster::with(2, bound).await);
    let (broken, slow) = (&cluster.nodes[0], &cluster.nodes[1]);
    broken.set(Mode::CloseUnanswered);
    slow.set(Mode::SlowOrigin);
    let mut running = JoinSet::new();
    ask(&cluster, &mut running);
    until_arrived(slow, 1).await;
    assert_eq!((queue(&cluster).retries, queue(&cluster).most_retries), (1, Some(1)));
    assert_eq!(cluster.get("GET", b"").await.status(), 502, "no second retry at a time");
    slow.open_gate();
    assert_eq!(running.join_next().await.expect("one").expect("an answer").status(), 200);
    until("it is given back", || async { (queue(&cluster).retries == 0).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_widen_and_narrow_it() {
    let cluster = cluster(1, 1, json!({})).await;
    let running = busy(&cluster, 2).await;
    let operator = cluster.operator();
    assert!(operator.set_maxconn("", "node-9", 1).await.is_err());
    let shown = operator.set_maxconn("", "node-1", 2).await.expect("set");
    assert_eq!(shown.listed().maxconn, Some(2));
    until_arrived(&cluster.nodes[0], 2).await;
    until_waiting(&cluster, 1).await;
    operator.set_maxconn("squid_servers", "node-1", 0).await.expect("set");
    until_arrived(&cluster.nodes[0], 3).await;
    cluster.nodes[0].open_gate();
    assert!(running.join_all().await.iter().all(|answer| answer.status() == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_as_a_whole_has_a_bound() {
    let bound = json!({"circuit_breaker": {"connections": 1, "pending": 9, "retries": null}});
    let cluster = Arc::new(Cluster::with(2, bound).await);
    cluster.nodes.iter().for_each(|node| node.set(Mode::SlowOrigin));
    let mut running = JoinSet::new();
    ask(&cluster, &mut running);
    until("one has arrived", || async { (cluster.arrivals().len() == 1).then_some(()) }).await;
    ask(&cluster, &mut running);
    until_waiting(&cluster, 1).await;
    assert_eq!((queue(&cluster).connections, cluster.arrivals().len()), (1, 1));
    cluster.nodes.iter().for_each(Node::open_gate);
    assert!(running.join_all().await.iter().all(|answer| answer.status() == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_server_of_its_own_waits_for_it_and_an_object_spills_over() {
    for (balance, waits) in [("ip_hash", true), ("uri_hash", false)] {
        let bound =
            json!({"balance": balance, "hash_bound": if waits { None } else { Some(1000) }});
        let cluster = cluster(2, 1, bound).await;
        cluster.nodes.iter().for_each(|node| node.set(Mode::SlowOrigin));
        let mut running = JoinSet::new();
        ask(&cluster, &mut running);
        until("one has arrived", || async { (cluster.arrivals().len() == 1).then_some(()) }).await;
        ask(&cluster, &mut running);
        if waits {
            until_waiting(&cluster, 1).await;
            assert_eq!(cluster.arrivals().len(), 1);
        } else {
            until("both have arrived", || async { (cluster.arrivals().len() == 2).then_some(()) })
                .await;
        }
        cluster.nodes.iter().for_each(Node::open_gate);
        let servers: std::collections::BTreeSet<_> =
            running.join_all().await.iter().map(by).collect();
        assert_eq!(servers.len(), if waits { 1 } else { 2 }, "{balance}");
    }
}
