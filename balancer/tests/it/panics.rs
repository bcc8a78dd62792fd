//! A handler that panics, in a whole balancer with real sockets. What panics is the sink of the
//! tracer, which the test brings and a handler calls when an attempt has ended: nothing in the
//! balancer knows of these tests.

use std::sync::Arc;

use dataplane::trace::{
    Clients,
    span::{Options, Tracer},
};
use opentelemetry::trace::SpanKind;
use testkit::wait::until;

use crate::{
    http2::peer as http2,
    support::{Cluster, Mode, Node},
};

const URL: &str = "http://origin.example/x";
/// Only a request with this field is traced.
const POISON: (&str, &str) =
    ("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");

/// A cluster in which the handler of a traced request panics after the first attempt.
async fn panicking() -> Cluster {
    panicking_with(serde_json::json!({})).await
}

async fn panicking_with(settings: serde_json::Value) -> Cluster {
    let options = Options {
        trace_ratio: "0".parse().expect("a share"),
        trace_clients: Clients::Follow,
        trace_queries: false,
    };
    let sink = Arc::new(|span: opentelemetry_sdk::trace::SpanData| {
        assert!(span.span_kind != SpanKind::Client, "a handler panics (expected by this test)");
    });
    Cluster::traced(2, settings, Some(Tracer::new(options, sink))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_handler_loses_its_own_connection_and_no_other() {
    let cluster = panicking().await;
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
    // Half an answer, which is held back and so is no answer yet; its origin is to blame for it.
    cluster.nodes.iter().for_each(|node| node.set(Mode::CutSmall));
    for _ in 0..4 {
        let mut victim = cluster.open().await;
        victim
            .request("GET", URL, &[POISON], b"")
            .await
            .expect_err("the connection ends without an answer");
    }
    until("the panics are counted", || async {
        cluster.running.counts().filter(|counts| counts.panics == 4)
    })
    .await;
    cluster.nodes.iter().for_each(Node::open_gate);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_stream_is_reset_and_the_others_of_its_connection_go_on() {
    let http2 = serde_json::json!({"frontend": {"http2": {
        "enabled": true, "prior_knowledge": true, "max_concurrent_streams": 100
    }}});
    let cluster = panicking_with(http2).await;
    let client = http2::connect(cluster.frontend).await;
    cluster.nodes.iter().for_each(|node| node.set(Mode::SlowOrigin));
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { http2::ask(&client, http2::get(URL)).await.map(|it| it.status()) }
    });
    until("it has arrived", || async { (cluster.arrivals().len() == 1).then_some(()) }).await;
    cluster.nodes.iter().for_each(|node| node.set(Mode::CutSmall));
    for _ in 0..4 {
        let mut victim = http2::get(URL);
        victim.headers_mut().insert("traceparent", POISON.1.parse().expect("a value"));
        let error = http2::ask(&client, victim).await.expect_err("it is reset");
        assert!(error.is_reset(), "{error}");
    }
    until("the panics are counted", || async {
        cluster.running.counts().filter(|counts| counts.panics == 4)
    })
    .await;
    cluster.nodes.iter().for_each(Node::open_gate);
    assert_eq!(waiting.await.expect("a task").expect("an answer"), 200);
    cluster.nodes.iter().for_each(|node| node.set(Mode::Serve));
    assert_eq!(http2::ask(&client, http2::get(URL)).await.expect("an answer").status(), 200);
    assert_eq!(cluster.frontend_stats().connections, 1);
}
