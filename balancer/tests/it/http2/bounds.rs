//! What a client may have, how long it may take, and how a connection ends.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::json;
use testkit::wait::until;

use super::{
    peer::{ask, cluster, connect, content, get},
    raw::{END_STREAM, HEADERS, Heard, PING, Raw, block, frame, get as fields, head},
};
use crate::support::{Cluster, Mode};

const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;

fn timeouts(client: &str, idle: &str, head: &str) -> serde_json::Value {
    json!({"frontend": {
        "timeouts": {"client": client, "client_idle": idle, "request_head": head}
    }})
}

/// Requests that are under way at the one node.
async fn until_arrived(cluster: &Cluster, count: usize) {
    until(format!("{count} have arrived"), || async {
        (cluster.arrivals().len() == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_one_more_connection_of_its_client() {
    let cluster = cluster(
        1,
        json!({"frontend": {"limits": {
            "connections_per_client": 4, "unfinished_per_client": 4_194_304,
            "network_ipv4": 24, "network_ipv6": 48, "network_share": 90,
            "connections_per_network": null, "unfinished_per_network": 16_777_216
        }}}),
    )
    .await;
    cluster.nodes[0].set(Mode::SlowOrigin);
    let mut client = Raw::greeted(cluster.frontend).await;
    for stream in [1, 3, 5] {
        client.send(&head(stream, &fields(), true)).await;
    }
    until_arrived(&cluster, 3).await;
    client.send(&head(7, &fields(), true)).await;
    assert_eq!(client.hear(7).await, Heard::Reset(REFUSED_STREAM));
    assert_eq!(cluster.running.clients().expect("running").closed().refused, 1);
    // One that has ended makes room.
    cluster.nodes[0].open_gate();
    let answered = async {
        loop {
            let (kind, flags, ..) = client.frame().await.expect("a frame");
            if kind <= HEADERS && flags & END_STREAM != 0 {
                return;
            }
        }
    };
    answered.await;
    cluster.nodes[0].set(Mode::Serve);
    client.send(&head(9, &fields(), true)).await;
    assert_eq!(client.hear(9).await, Heard::Answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_have_a_rate_and_a_size() {
    let cluster = cluster(
        1,
        json!({"frontend": {"limits": {
            "request_rate_per_client": {"per_second": 1, "burst": 3},
            "request_body_max_size": 10,
        }}}),
    )
    .await;
    let client = connect(cluster.frontend).await;
    let mut statuses = Vec::new();
    // All on one connection: each stream counts.
    for _ in 0..20 {
        let answer = ask(&client, get("http://o.test/")).await.expect("an answer");
        if answer.status() == 429 {
            assert_eq!(answer.headers()["retry-after"], "1");
            let why = answer.headers()["proxy-status"].to_str().expect("text");
            assert!(why.contains("http_request_denied"), "{why}");
        }
        statuses.push(answer.status().as_u16());
    }
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert!(statuses.starts_with(&[200; 3]) && (1..=17).contains(&refused), "{statuses:?}");
    assert_eq!(cluster.arrivals().len(), 20 - refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_413_and_its_stream_alone_ends() {
    let extra = json!({"frontend": {"limits": {"request_body_max_size": 10}}});
    let cluster = cluster(1, extra).await;
    let client = connect(cluster.frontend).await;
    let post = async |length: Option<&str>, body: &'static [u8]| {
        let mut client = client.clone().ready().await.expect("it goes on");
        let mut request = http::Request::post("http://o.test/");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let request = request.body(()).expect("a request");
        let (answer, mut sent) = client.send_request(request, false).expect("it is taken");
        sent.send_data(bytes::Bytes::from_static(body), true).expect("it is taken");
        answer.await.map(|it| it.status().as_u16())
    };
    assert_eq!(post(Some("10"), b"0123456789").await.expect("an answer"), 200);
    assert_eq!(post(Some("11"), b"0123456789x").await.expect("an answer"), 413);
    assert_eq!(post(None, b"0123456789x").await.expect("an answer"), 413);
    assert_eq!(post(None, b"0123456789").await.expect("an answer"), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_holds_back_its_own_stream() {
    let cluster = cluster(1, timeouts("1s", "60s", "10s")).await;
    let client = connect(cluster.frontend).await;
    cluster.nodes[0].set(Mode::Large);
    let answer = ask(&client, get("http://large.test/")).await.expect("a head");
    let mut body = answer.into_body();
    let first = body.data().await.expect("some of it").expect("no error");
    assert!(!first.is_empty());
    // The other streams have their own windows, and what is left of the connection's.
    body.flow_control().release_capacity(first.len()).expect("it was used");
    cluster.nodes[0].set(Mode::Serve);
    assert_eq!(ask(&client, get("http://o.test/")).await.expect("an answer").status(), 200);
    // What it does not take is not fetched: the node has a megabyte.
    let fetched = until("it has had its time", || async {
        let fetched = cluster.counters("node-1").bytes_in;
        (fetched > 10_000).then_some(fetched)
    })
    .await;
    assert!(fetched < 400_000, "{fetched}");
    let error = content(&mut body).await.expect_err("it took too long");
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
    assert_eq!(ask(&client, get("http://o.test/")).await.expect("an answer").status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_ends_its_stream_and_no_other() {
    let extra = json!({
        "timeouts": {"connect": "5s", "server": "300ms", "tunnel_idle": "1h"},
        "frontend": timeouts("300ms", "60s", "10s")["frontend"],
    });
    let cluster = cluster(1, extra).await;
    let client = connect(cluster.frontend).await;
    let request = Request::post("http://o.test/").body(()).expect("a request");
    let (answer, mut up) = client.clone().send_request(request, false).expect("sent");
    up.send_data(Bytes::from_static(b"half"), false).expect("sent");
    let late = answer.await.map(|it| it.status().as_u16());
    assert!(matches!(late, Ok(408) | Err(_)), "{late:?}");
    assert_eq!(ask(&client, get("http://o.test/")).await.expect("an answer").status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_nothing_or_half_is_told_to_go() {
    let idle = cluster(1, timeouts("50s", "300ms", "10s")).await;
    let mut client = Raw::greeted(idle.frontend).await;
    client.send(&head(1, &fields(), true)).await;
    assert_eq!(client.hear(1).await, Heard::Answer);
    // Pings are no requests: they do not put it off.
    let (mut heard, mut pings) = (Vec::new(), 0);
    loop {
        match tokio::time::timeout(Duration::from_millis(50), client.frame()).await {
            Ok(Some((PING, ..))) => {}
            Ok(Some((kind, flags, _, payload))) => heard.push((kind, flags, payload)),
            Ok(None) => break,
            Err(_) => pings += u32::from(client.send(&frame(PING, 0, 0, &[0; 8])).await),
        }
    }
    assert!((1..1000).contains(&pings) && heard.len() <= 2, "{pings}: {heard:?}");
    let (_, _, goodbye) = heard.pop().expect("a goodbye");
    assert_eq!(
        goodbye[..8],
        [0, 0, 0, 1, 0, 0, 0, NO_ERROR as u8],
        "the last stream, and no error"
    );
    // The preface, and half a head, have the time of a head.
    let half = cluster(1, timeouts("50s", "60s", "300ms")).await;
    let mut client = Raw::greeted(half.frontend).await;
    client.send(&frame(HEADERS, END_STREAM, 1, &block(&fields()))).await;
    assert_eq!(client.hear(1).await, Heard::GoAway(NO_ERROR));
    let mut client = Raw::open(half.frontend).await;
    client.send(&super::raw::PREFACE[..20]).await;
    // It has the beginning of a request, which is no request in any protocol.
    assert_eq!(client.hear(1).await, Heard::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_says_goodbye_and_lets_streams_end() {
    let cluster = cluster(1, json!({})).await;
    cluster.nodes[0].set(Mode::SlowOrigin);
    let mut busy = Raw::greeted(cluster.frontend).await;
    busy.send(&head(1, &fields(), true)).await;
    until_arrived(&cluster, 1).await;
    let mut idle = Raw::greeted(cluster.frontend).await;
    cluster.running.leave();
    assert_eq!(busy.hear(u32::MAX).await, Heard::GoAway(NO_ERROR), "no new streams");
    // Who has come a moment ago may ask once.
    cluster.nodes[0].open_gate();
    cluster.nodes[0].set(Mode::Serve);
    idle.send(&head(1, &fields(), true)).await;
    assert_eq!(idle.hear(u32::MAX).await, Heard::GoAway(NO_ERROR));
    let drained = cluster.running.drain(Duration::from_secs(30)).await.expect("running");
    assert_eq!(drained.aborted, 0);
    assert_eq!(busy.hear(1).await, Heard::Answer, "what was under way has ended in peace");
}
