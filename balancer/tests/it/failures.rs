//! What clients notice when servers fail: as little as the table in `relay::retry` allows, and no
//! request twice where that could matter.

use std::sync::Arc;

use crate::support::{Cluster, Mode, by};
use proto::balancer::Standing;
use testkit::{client::Connection, wait::until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const URL: &str = "http://origin.example/x";

/// So many requests on one connection, all of which have to succeed; how many each node answered.
async fn all_succeed(cluster: &Cluster, method: &str, count: usize) -> Vec<usize> {
    let mut answered = vec![0; cluster.nodes.len()];
    let mut client = cluster.open().await;
    for number in 0..count {
        let answer = client
            .request(method, URL, &[], b"")
            .await
            .unwrap_or_else(|error| panic!("request {number}: {error}"));
        assert_eq!(
            answer.status(),
            200,
            "request {number}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        let index =
            cluster.nodes.iter().position(|node| by(&answer) == node.name()).expect("a node");
        answered[index] += 1;
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_costs_no_request_of_any_method() {
    let cluster = Cluster::start(3).await;
    all_succeed(&cluster, "GET", 30).await;
    cluster.nodes[1].kill().await;
    // Pooled connections to it are closed, new ones refused: nothing is written, so even a POST
    // goes elsewhere.
    assert_eq!(all_succeed(&cluster, "POST", 10).await[1], 0);
    assert_eq!(all_succeed(&cluster, "GET", 30).await[1], 0);
    for _ in 0..6 {
        assert_eq!(
            cluster.open().await.connect("o:443", &[]).await.expect("a head").status(),
            Some(200)
        );
    }
    cluster.until_standing("node-2", Standing::Unwell).await;
    assert_eq!(cluster.frontend_stats().failed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_is_used_again() {
    let mut cluster = Cluster::start(2).await;
    cluster.nodes[0].kill().await;
    cluster.until_standing("node-1", Standing::Unwell).await;
    let back = cluster.nodes[0].restart().await;
    cluster.nodes[0] = back;
    cluster.until_standing("node-1", Standing::Usable).await;
    assert_eq!(all_succeed(&cluster, "GET", 20).await, [10, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_that_a_node_dropped_is_asked_elsewhere_and_a_post_is_not() {
    let cluster = Cluster::start(2).await;
    cluster.nodes[0].set(Mode::CloseUnanswered);
    let mut refused = 0;
    for _ in 0..2 {
        let answer = cluster.get("POST", b"once").await;
        if answer.status() == 502 {
            refused += 1;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(
                text.contains("node-1 closed the connection") && text.contains("not known"),
                "{text}"
            );
        }
    }
    assert_eq!(refused, 1);
    let posts: Vec<_> = cluster
        .arrivals()
        .iter()
        .map(|it| it.head.field("shoal-request-id").unwrap_or_default().to_owned())
        .collect();
    assert_eq!(posts.len(), 2, "each POST arrived once: {posts:?}");
    all_succeed(&cluster, "GET", 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_response_that_broke_off_with_its_node_is_asked_elsewhere() {
    for mode in [Mode::ResetSmall, Mode::DieSmall] {
        let cluster = Cluster::start(2).await;
        cluster.nodes[0].set(mode);
        assert_eq!(all_succeed(&cluster, "GET", 10).await, [0, 10], "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_response_that_its_origin_cut_is_asked_for_once_and_is_no_evidence() {
    let cluster = Cluster::start(3).await;
    cluster.nodes.iter().for_each(|node| node.set(Mode::CutSmall));
    for _ in 0..6 {
        let answer = cluster.get("GET", b"").await;
        assert_eq!(answer.status(), 502);
        assert_eq!(
            answer.head.field("proxy-status"),
            Some("balancer-1; error=http_response_incomplete")
        );
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(
            text.contains("One server was tried") && text.contains("origin's answer"),
            "{text}"
        );
    }
    assert_eq!(cluster.arrivals().len(), 6, "each was asked for once");
    for node in &cluster.nodes {
        assert_eq!(
            cluster.server(node.name()).map(|it| it.standing),
            Some(Standing::Usable.into())
        );
        let counters = cluster.counters(node.name());
        assert_eq!((counters.failures, counters.retries_away), (0, 0));
    }
    assert_eq!(cluster.frontend_stats().failed, 0, "the backend did what it could");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_came_of_a_cut_response_is_passed_on() {
    let cluster = Cluster::start(1).await;
    cluster.nodes[0].set(Mode::CutLarge);
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("an option");
    let mut client = socket.connect(cluster.frontend).await.expect("the frontend");
    client
        .write_all(format!("GET {URL} HTTP/1.1\r\nHost: origin.example\r\n\r\n").as_bytes())
        .await
        .expect("sent");
    // Nothing is read before the balancer is through with it.
    let log =
        || std::fs::read_to_string(cluster.directory.path().join("access.log")).unwrap_or_default();
    until("the record", || async { log().contains("origin.example").then_some(()) }).await;
    let mut received = Vec::new();
    client
        .read_to_end(&mut received)
        .await
        .expect("an end in order: that something is missing shows");
    assert_eq!(received.iter().filter(|byte| **byte == b'x').count(), 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_tried_again_after_the_first_byte() {
    let cluster = Cluster::start(1).await;
    cluster.nodes[0].set(Mode::CutLarge);
    let mut client = cluster.open().await;
    assert!(
        client.request("GET", URL, &[], b"").await.is_err(),
        "what arrived is not whole, and the client can tell"
    );
    assert_eq!(cluster.arrivals().len(), 1);
    until("the record", || async {
        (cluster.frontend_stats().active_connections == 0).then_some(())
    })
    .await;
    assert_eq!(cluster.frontend_stats().cut_responses, 0, "the node lives: its origin broke off");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_is_tried_elsewhere_until_its_2xx() {
    let cluster = Cluster::start(2).await;
    cluster.nodes[0].set(Mode::CloseUnanswered);
    for _ in 0..6 {
        let mut client = cluster.open().await;
        assert_eq!(client.connect("o:443", &[]).await.expect("a head").status(), Some(200));
        client.send(b"GET /echo HTTP/1.1\r\n\r\n").await.expect("sent");
        assert_eq!(client.head().await.expect("the echo").line, "GET /echo HTTP/1.1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_is_ejected_and_its_requests_are_released() {
    let cluster = Cluster::start(2).await;
    all_succeed(&cluster, "GET", 4).await;
    cluster.nodes[0].set(Mode::Silent);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let frontend = cluster.frontend;
        tasks.spawn(async move {
            let mut client = Connection::open(frontend).await.expect("the frontend");
            if number % 4 == 0 {
                return client.connect("o:443", &[]).await.expect("a head").status();
            }
            Some(client.request("GET", URL, &[], b"").await.expect("an answer").status())
        });
    }
    assert!(tasks.join_all().await.into_iter().all(|status| status == Some(200)));
    let server = cluster.server("node-1").expect("listed");
    assert_eq!(server.standing, i32::from(Standing::Unwell), "{:?}", server.reasons);
    assert!(server.reasons[0].contains("did not answer a probe"), "{:?}", server.reasons);
    assert_eq!(cluster.counters("node-1").ejections, 1);
    assert!(cluster.nodes[0].probes() > 0);
    // It goes on: its checks bring it back.
    cluster.nodes[0].set(Mode::Serve);
    cluster.until_standing("node-1", Standing::Usable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_on_a_stopped_node_is_answered_and_not_sent_again() {
    let cluster = Cluster::start(2).await;
    cluster.nodes[0].set(Mode::Silent);
    let statuses =
        [cluster.get("POST", b"1").await.status(), cluster.get("POST", b"2").await.status()];
    assert!(statuses.contains(&200) && statuses.contains(&504), "{statuses:?}");
    assert_eq!(cluster.arrivals().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_origin_ejects_nobody_and_is_asked_once() {
    let cluster = Arc::new(Cluster::start(2).await);
    cluster.nodes.iter().for_each(|node| node.set(Mode::SlowOrigin));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let cluster = Arc::clone(&cluster);
        tasks.spawn(async move {
            cluster.get(if number % 2 == 0 { "GET" } else { "POST" }, b"").await.status()
        });
    }
    // Checks are 1 s apart: so many probes more mean that suspicion came up and was answered, again
    // and again.
    until("they were suspected and answered", || async {
        cluster
            .nodes
            .iter()
            .all(|node| node.probes() >= 8 && node.arrivals().len() == 4)
            .then_some(())
    })
    .await;
    for node in &cluster.nodes {
        let server = cluster.server(node.name()).expect("listed");
        assert_eq!(server.standing, i32::from(Standing::Usable), "{:?}", server.reasons);
        assert_eq!(server.counters.map(|it| (it.ejections, it.retries_away)), Some((0, 0)));
        node.open_gate();
    }
    assert!(tasks.join_all().await.into_iter().all(|status| status == 200));
    assert_eq!(cluster.arrivals().len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origins_failure_is_no_evidence_and_the_nodes_own_is() {
    let cluster = Cluster::start(2).await;
    cluster.nodes.iter().for_each(|node| node.set(Mode::OriginError));
    for _ in 0..10 {
        assert_eq!(cluster.get("GET", b"").await.status(), 502);
    }
    assert_eq!(cluster.arrivals().len(), 10, "each was asked once");
    assert_eq!(cluster.counters("node-1").failures, 0);
    cluster.nodes[1].set(Mode::Serve);
    cluster.nodes[0].set(Mode::OwnError);
    assert_eq!(all_succeed(&cluster, "GET", 8).await, [0, 8]);
    cluster.until_standing("node-1", Standing::Unwell).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_everybody_failed_the_client_reads_why_and_an_unwell_node_is_tried() {
    let mut cluster = Cluster::start(1).await;
    cluster.nodes[0].kill().await;
    let answer = cluster.get("GET", b"").await;
    assert_eq!(answer.status(), 502);
    assert!(
        answer
            .head
            .field("proxy-status")
            .is_some_and(|it| it.starts_with("balancer-1; error=connection_refused"))
    );
    assert!(String::from_utf8_lossy(&answer.body).contains("node-1 did not take the connection"));
    cluster.until_standing("node-1", Standing::Unwell).await;
    // The last resort is to try an unwell node, never to refuse: it need not have passed a check.
    let back = cluster.nodes[0].restart().await;
    cluster.nodes[0] = back;
    assert_eq!(cluster.get("GET", b"").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_that_a_death_cut_are_counted_and_others_are_not() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.open().await;
    assert_eq!(client.connect("o:443", &[]).await.expect("a head").status(), Some(200));
    cluster.nodes[0].kill().await;
    assert!(client.head().await.is_err(), "cut");
    drop(client);
    until("it is counted", || async { (cluster.frontend_stats().cut_tunnels == 1).then_some(()) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_it_waits_takes_its_request_with_it() {
    // Nothing but the client's leaving ends the wait.
    let servers = serde_json::json!({"connect": "5s", "server": "1h", "tunnel_idle": "1h"});
    let clients = serde_json::json!({"client": "1h", "client_idle": "60s", "request_head": "10s"});
    let cluster = Cluster::with(
        1,
        serde_json::json!({"timeouts": servers, "frontend": {"timeouts": clients}}),
    )
    .await;
    cluster.nodes[0].set(Mode::Deserted);
    for (number, reset) in [(1, true), (2, false)] {
        let mut client =
            tokio::net::TcpStream::connect(cluster.frontend).await.expect("the frontend");
        client
            .write_all(format!("GET {URL} HTTP/1.1\r\nHost: origin.example\r\n\r\n").as_bytes())
            .await
            .expect("sent");
        until("it is asked", || async { (cluster.arrivals().len() == number).then_some(()) }).await;
        if reset {
            client.set_zero_linger().expect("an option");
        }
        drop(client);
        until("the node is left", || async { (cluster.nodes[0].left() == number).then_some(()) })
            .await;
    }
    assert_eq!(cluster.counters("node-1").failures, 0);
}
