//! A handler that panics, in a whole balancer with real sockets. The place that panics is compiled
//! into the tests only.

use testkit::wait::until;

#[path = "../tests/support/mod.rs"]
mod support;

use support::{Cluster, Mode};

const POISON: &str = "http://origin.example/a-handler-panics";
const URL: &str = "http://origin.example/x";

/// Panics when a test's request wants it.
pub(crate) fn when_asked(head: &[u8]) {
    let asked = head.windows(POISON.len()).any(|window| window == POISON.as_bytes());
    assert!(!asked, "a handler panics (expected by this test)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_handler_loses_its_own_connection_and_no_other() {
    let cluster = Cluster::start(2).await;
    let mut others = Vec::new();
    for _ in 0..8 {
        let mut other = cluster.open().await;
        assert_eq!(other.request("GET", URL, &[], b"").await.expect("an answer").status(), 200);
        others.push(other);
    }
    // Requests that are under way on both workers while handlers beside them panic.
    cluster.nodes.iter().for_each(|node| node.set(Mode::SlowOrigin));
    let waiting: Vec<_> = others
        .into_iter()
        .map(|mut other| {
            tokio::spawn(async move {
                other.request("GET", URL, &[], b"").await.map(|answer| answer.status())
            })
        })
        .collect();
    until("all of them have arrived", || async { (cluster.arrivals().len() == 16).then_some(()) })
        .await;
    for _ in 0..4 {
        let mut victim = cluster.open().await;
        victim
            .request("GET", POISON, &[], b"")
            .await
            .expect_err("the connection ends without an answer");
    }
    until("the panics are counted", || async {
        cluster.running.counts().filter(|counts| counts.panics == 4)
    })
    .await;
    cluster.nodes.iter().for_each(support::Node::open_gate);
    for other in waiting {
        assert_eq!(other.await.expect("a task").expect("an answer"), 200);
    }
    // The workers live: new connections are served, nothing leaks, no node is thought less of, and
    // the drain finds nobody left.
    assert_eq!(cluster.get("GET", b"").await.status(), 200);
    until("no connection is counted as open", || async {
        (cluster.frontend_stats().active_connections == 0).then_some(())
    })
    .await;
    for node in &cluster.nodes {
        let counters = cluster.counters(node.name());
        assert_eq!((counters.failures, counters.active_requests), (0, 0), "{}", node.name());
    }
    let drained = cluster.running.drain(std::time::Duration::from_secs(20)).await.expect("running");
    assert_eq!(drained.aborted, 0);
}
