//! Requests through a balancer, with nothing going wrong.

use crate::support::{Cluster, Mode, by, status};
use relay::proxy_protocol::Command;
use testkit::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_get_reaches_a_node_and_comes_back() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.open().await;
    let fields = [
        ("Proxy-Authorization", "Basic eDp5"),
        ("Proxy-Connection", "keep-alive"),
        ("Connection", "x-mine"),
        ("X-Mine", "1"),
        ("Upgrade", "websocket"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("Forwarded", "for=203.0.113.9"),
        ("Shoal-Request-Id", "forged"),
        ("Shoal-Origin-Time", "1"),
        ("X-Other", "kept"),
    ];
    let answer =
        client.request("GET", "http://origin.example/x?y", &fields, b"").await.expect("an answer");
    assert_eq!((answer.status(), answer.body.as_slice()), (200, b"node-1".as_slice()));
    let arrival = cluster.arrivals().remove(0);
    assert_eq!(arrival.head.line, "GET http://origin.example/x?y HTTP/1.1");
    assert_eq!(arrival.proxied.command, Command::Local);
    let field = |name: &str| arrival.head.field(name);
    assert_eq!(field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(field("proxy-authorization"), Some("Basic eDp5"));
    assert_eq!(field("x-other"), Some("kept"));
    assert_eq!(field("via"), Some("1.1 balancer-1.cluster-1"));
    for gone in
        ["proxy-connection", "connection", "x-mine", "upgrade", "shoal-origin-time", "forwarded"]
    {
        assert_eq!(field(gone), None, "{gone}");
    }
    let id = field("shoal-request-id").expect("an id").to_owned();
    assert_eq!(uuid::Uuid::parse_str(&id).expect("a UUID").get_version_num(), 7);
    assert_eq!(answer.head.field("shoal-request-id"), Some(id.as_str()));
    assert_eq!(answer.head.field("shoal-origin-time"), None);
    assert!(answer.head.field("via").is_some_and(|via| via.contains("balancer-1.cluster-1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_may_want_to_hear_what_the_client_said_of_itself() {
    let mut cluster = Cluster::start(1).await;
    let said = [("X-Forwarded-For", "203.0.113.9"), ("x-forwarded-for", "198.51.100.7")];
    let nominated = [("X-Forwarded-For", "203.0.113.9"), ("Connection", "x-forwarded-for")];
    let cases = [
        ("append", &said, "203.0.113.9, 198.51.100.7, 127.0.0.1"),
        // The field is not for one hop, whatever Connection says of it.
        ("append", &nominated, "203.0.113.9, 127.0.0.1"),
        ("replace", &said, "127.0.0.1"),
    ];
    // Many times, so that each worker gets its chance to be behind.
    for (settings, fields, told) in cases.into_iter().cycle().take(30) {
        cluster
            .apply(serde_json::json!({"forwarded_for": settings}))
            .expect("a good configuration");
        cluster.until_applied().await;
        // What is said to be in force is what every worker does: connections are spread over them.
        for _ in 0..8 {
            let fields = [&fields[..], &[("Forwarded", "for=203.0.113.9")]].concat();
            let answer = cluster
                .open()
                .await
                .request("GET", "http://origin.example/x", &fields, b"")
                .await
                .expect("an answer");
            assert_eq!(answer.status(), 200);
            let arrived = cluster.arrivals().pop().expect("a request");
            let forwarded = (settings == "append").then_some("for=203.0.113.9, for=127.0.0.1");
            assert_eq!(arrived.head.field("forwarded"), forwarded, "{settings}: {fields:?}");
            assert_eq!(arrived.head.field("x-forwarded-for"), Some(told), "{settings}: {fields:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_nodes_are_kept_and_pipelined_requests_answered_in_order() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.open().await;
    let mut batch = String::new();
    for number in 0..20 {
        batch.push_str(&format!(
            "GET http://origin.example/{number} HTTP/1.1\r\nHost: origin.example\r\n\r\n"
        ));
    }
    client.send(batch.as_bytes()).await.expect("sent");
    for _ in 0..20 {
        assert_eq!(client.answer("GET").await.expect("an answer").status(), 200);
    }
    let arrivals = cluster.arrivals();
    let targets: Vec<_> = arrivals.iter().map(|it| it.head.request().1.to_owned()).collect();
    assert_eq!(
        targets,
        (0..20).map(|number| format!("http://origin.example/{number}")).collect::<Vec<_>>()
    );
    assert_eq!(arrivals[19].before, 19, "all on one connection");
    let counters = cluster.counters("node-1");
    assert_eq!(
        (counters.connections_opened, counters.connections_reused, counters.requests),
        (1, 19, 20)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_go_through_both_ways() {
    let cluster = Cluster::start(1).await;
    let body = vec![b'b'; 300_000];
    let mut client = cluster.open().await;
    let answer =
        client.request("POST", "http://origin.example/x", &[], &body).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(cluster.arrivals()[0].body, body);
    let head =
        client.request("HEAD", "http://origin.example/x", &[], b"").await.expect("an answer");
    assert_eq!((head.status(), head.head.field("content-length")), (200, Some("6")));
    assert_eq!(
        client
            .request("GET", "http://origin.example/x", &[], b"")
            .await
            .expect("an answer")
            .status(),
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_is_refused_and_the_connection_closed() {
    let cluster = Cluster::start(1).await;
    for (request, status) in [
        (
            "GET http://o/ HTTP/1.1\r\nHost: o\r\nContent-Length: 1\r\nTransfer-Encoding: \
             chunked\r\n\r\n",
            400,
        ),
        ("GET  http://o/ HTTP/1.1\r\nHost: o\r\n\r\n", 400),
        ("POST http://o/ HTTP/1.1\r\nHost: o\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ] {
        let mut client = cluster.open().await;
        client.send(request.as_bytes()).await.expect("sent");
        let answer = client.answer("GET").await.expect("an answer");
        assert_eq!(answer.status(), status, "{request}");
        assert_eq!(answer.head.field("connection"), Some("close"));
        assert!(client.head().await.is_err(), "closed");
    }
    let mut chunked = cluster.open().await;
    chunked
        .send(b"POST http://o/ HTTP/1.1\r\nHost: o\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        .await
        .expect("sent");
    assert_eq!(chunked.answer("POST").await.expect("an answer").status(), 400);
    assert!(cluster.arrivals().is_empty());
    assert_eq!(cluster.frontend_stats().refused, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_round_again_is_stopped() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.open().await;
    let answer = client
        .request("GET", "http://o/", &[("Via", "1.1 balancer-1.cluster-1")], b"")
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 508);
    assert!(answer.head.field("proxy-status").is_some_and(|it| it.contains("proxy_loop_detected")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_carries_bytes_both_ways_and_early_ones_too() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.open().await;
    client
        .send(
            b"CONNECT origin.example:443 HTTP/1.1\r\nHost: origin.example:443\r\n\r\nGET \
        /early HTTP/1.1\r\n\r\n",
        )
        .await
        .expect("sent");
    assert_eq!(client.head().await.expect("a head").status(), Some(200));
    // What is echoed reads like a head.
    assert_eq!(client.head().await.expect("the echo").line, "GET /early HTTP/1.1");
    client.send(b"GET /late HTTP/1.1\r\n\r\n").await.expect("sent");
    assert_eq!(client.head().await.expect("the echo").line, "GET /late HTTP/1.1");
    let arrival = cluster.arrivals().remove(0);
    assert_eq!(arrival.proxied.command, Command::Local);
    assert_eq!(arrival.head.field("x-forwarded-for"), Some("127.0.0.1"));
    drop(client);
    until("the tunnel has ended", || async {
        (cluster.counters("node-1").active_tunnels == 0).then_some(())
    })
    .await;
    let stats = cluster.frontend_stats();
    assert_eq!((stats.tunnels, stats.cut_tunnels), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_a_node_outlives_its_tunnels() {
    let cluster = Cluster::start(1).await;
    cluster.nodes[0].set(Mode::KeepsConnections);
    for number in 0..3 {
        let mut client = cluster.open().await;
        // What a client says of frames is for nobody.
        let head = client.connect("o:443", &[("Shoal-Tunnel", "x")]).await.expect("a head");
        assert_eq!((head.status(), head.field("shoal-tunnel")), (Some(200), None));
        let echo = format!("GET /{number} HTTP/1.1");
        client.send(format!("{echo}\r\n\r\n").as_bytes()).await.expect("sent");
        assert_eq!(client.head().await.expect("the echo").line, echo);
        drop(client);
        until("the tunnel has ended", || async {
            (cluster.counters("node-1").active_tunnels == 0).then_some(())
        })
        .await;
    }
    let answer =
        cluster.open().await.request("GET", "http://o/", &[], b"").await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let arrivals = cluster.arrivals();
    // One connection a worker at the most.
    assert!(arrivals.iter().filter(|it| it.before == 0).count() <= 2, "{arrivals:?}");
    for tunnel in &arrivals[..3] {
        assert_eq!(tunnel.head.field("shoal-tunnel"), Some("framed"));
        assert_eq!(tunnel.head.field("x-forwarded-for"), Some("127.0.0.1"));
    }
    assert_eq!(arrivals[3].head.field("shoal-tunnel"), None);
    let stats = cluster.frontend_stats();
    assert_eq!((stats.tunnels, stats.cut_tunnels), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_tunnel_closes_the_connection() {
    let cluster = Cluster::start(1).await;
    cluster.nodes[0].set(Mode::OriginError);
    let mut client = cluster.open().await;
    let head = client.connect("origin.example:443", &[]).await.expect("a head");
    assert_eq!(head.status(), Some(502));
    assert_eq!(head.field("connection"), Some("close"));
    assert!(client.head().await.is_err(), "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_come_out_over_six_thousand_requests_on_two_workers() {
    let cluster = Cluster::start(3).await;
    let mut statuses: Vec<_> = cluster.nodes.iter().map(status).collect();
    for (status, weight) in statuses.iter_mut().zip([3, 2, 1]) {
        status.effective_weight = weight;
    }
    cluster.list(&statuses);
    until("the weights are known", || async {
        (cluster.server("node-1")?.weight == 3).then_some(())
    })
    .await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let mut client = cluster.open().await;
        clients.spawn(async move {
            for _ in 0..500 {
                assert_eq!(
                    client.request("GET", "http://o/", &[], b"").await.expect("an answer").status(),
                    200
                );
            }
        });
    }
    clients.join_all().await;
    let counts: Vec<_> = cluster.nodes.iter().map(|node| node.arrivals().len()).collect();
    for (count, expected) in counts.iter().zip([3_000_usize, 2_000, 1_000]) {
        assert!(count.abs_diff(expected) <= 12, "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_record_is_written_for_every_request() {
    let cluster = Cluster::start(1).await;
    let answer = cluster.get("GET", b"").await;
    let id = answer.head.field("shoal-request-id").expect("an id").to_owned();
    let path = cluster.directory.path().join("access.log");
    let line = until("the record is on disk", || async {
        std::fs::read_to_string(&path)
            .ok()?
            .lines()
            .find(|line| line.contains(&id))
            .map(str::to_owned)
    })
    .await;
    let record: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        (record["status"].as_u64(), record["server"].as_str(), record["method"].as_str()),
        (Some(200), Some("node-1"), Some("GET"))
    );
    assert_eq!(by(&answer), "node-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_may_go_no_further_are_answered_here() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.open().await;
    client.send(b"OPTIONS * HTTP/1.1\r\nHost: o\r\nMax-Forwards: 0\r\n\r\n").await.expect("sent");
    assert_eq!(client.answer("OPTIONS").await.expect("an answer").status(), 200);
    assert!(cluster.arrivals().is_empty());
    let mut client = cluster.open().await;
    let answer = client
        .request("OPTIONS", "http://o/", &[("Max-Forwards", "5")], b"")
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(cluster.arrivals()[0].head.field("max-forwards"), Some("4"));
    // RFC 9110 §7.6.2: digits, and nothing else.
    let answer = cluster
        .open()
        .await
        .request("OPTIONS", "http://o/", &[("Max-Forwards", "+0")], b"")
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(cluster.arrivals()[1].head.field("max-forwards"), Some("+0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_overtakes_its_request_ends_the_connection_in_words() {
    let cluster = Cluster::start(1).await;
    cluster.nodes[0].set(Mode::Overtake);
    let mut client = cluster.open().await;
    client
        .send(b"POST http://o/ HTTP/1.1\r\nHost: o\r\nContent-Length: 100\r\n\r\nhalf")
        .await
        .expect("sent");
    let answer = client.answer("POST").await.expect("an answer");
    assert_eq!((answer.status(), answer.head.field("connection")), (200, Some("close")));
    assert!(client.head().await.is_err(), "nothing more comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_body_comes_whole_and_its_connection_is_kept() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.open().await;
    for before in 0..3 {
        cluster.nodes[0].set(Mode::Large);
        let answer = client.request("GET", "http://o/", &[], b"").await.expect("an answer");
        assert!(answer.body.len() == 1_000_000 && answer.body.iter().all(|byte| *byte == b'x'));
        assert_eq!(cluster.arrivals().last().map(|it| it.before), Some(before));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_responses_come_to_an_end() {
    let cluster = Cluster::start(1).await;
    cluster.nodes[0].set(Mode::InterimsForEver);
    let mut client = cluster.open().await;
    client.send(b"GET http://o/ HTTP/1.1\r\nHost: o\r\n\r\n").await.expect("sent");
    // The client helper passes 1xx over: what ends this is the balancer, and it says so.
    assert_eq!(client.head().await.expect("a refusal").status(), Some(502));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_tunnel_has_no_framing() {
    let cluster = Cluster::start(1).await;
    cluster.nodes[0].set(Mode::FramedTunnel);
    let mut client = cluster.open().await;
    client.send(b"CONNECT o:443 HTTP/1.1\r\nHost: o:443\r\n\r\n").await.expect("sent");
    let head = client.head().await.expect("a head");
    assert_eq!(
        (head.status(), head.field("x-kept"), head.field("content-length")),
        (Some(200), Some("1"), None)
    );
    client.send(b"GET /through HTTP/1.1\r\n\r\n").await.expect("sent");
    assert_eq!(client.head().await.expect("the echo").line, "GET /through HTTP/1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_from_a_client_is_taken_by_a_node() {
    let cluster = Cluster::start(1).await;
    for (fields, status) in [(80, 200), (980, 200), (1100, 431)] {
        let fields = vec![("x", "y"); fields];
        let answer = cluster
            .open()
            .await
            .request("GET", "http://o/", &fields, b"")
            .await
            .expect("an answer");
        assert_eq!(answer.status(), status);
    }
}
