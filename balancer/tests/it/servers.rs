//! Who gets requests: what operators, registry and bundle ask for, and what the balancer makes of
//! it.

use crate::support::{Cluster, Mode, Node, by, status};
use cluster::{AdminState, State};
use proto::balancer::{
    ExplainPickRequest, ServerState, SetServerStateRequest, SetServerWeightRequest, Standing,
    balancer_server::Balancer as _,
};
use testkit::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn counts(cluster: &Cluster, requests: usize) -> Vec<usize> {
    let before: Vec<_> = cluster.nodes.iter().map(|node| node.arrivals().len()).collect();
    let mut client = cluster.open().await;
    for _ in 0..requests {
        assert_eq!(
            client.request("GET", "http://o/", &[], b"").await.expect("an answer").status(),
            200
        );
    }
    cluster.nodes.iter().zip(before).map(|(node, before)| node.arrivals().len() - before).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_node_finishes_what_it_has_and_gets_nothing_new() {
    let cluster = std::sync::Arc::new(Cluster::start(2).await);
    counts(&cluster, 8).await;
    cluster.nodes.iter().for_each(|node| node.set(Mode::SlowOrigin));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let cluster = std::sync::Arc::clone(&cluster);
        running.spawn(async move { cluster.get("GET", b"").await.status() });
    }
    until("both nodes have one", || async {
        cluster.nodes.iter().all(|node| node.arrivals().len() == 5).then_some(())
    })
    .await;
    let mut statuses: Vec<_> = cluster.nodes.iter().map(status).collect();
    statuses[0].admin_state = AdminState::Drain;
    cluster.list(&statuses);
    cluster.until_standing("node-1", Standing::Excluded).await;
    cluster.nodes.iter().for_each(Node::open_gate);
    assert_eq!(running.join_all().await, [200, 200]);
    assert_eq!(counts(&cluster, 10).await, [0, 10]);
    cluster.list_all();
    cluster.until_standing("node-1", Standing::Usable).await;
    assert_eq!(counts(&cluster, 10).await, [5, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn weight_zero_gets_nothing_and_suspects_come_last() {
    let cluster = Cluster::start(3).await;
    let mut statuses: Vec<_> = cluster.nodes.iter().map(status).collect();
    statuses[0].effective_weight = 0;
    statuses[1].state = State::Suspect;
    cluster.list(&statuses);
    cluster.until_standing("node-1", Standing::Excluded).await;
    cluster.until_standing("node-2", Standing::Last).await;
    assert_eq!(counts(&cluster, 10).await, [0, 0, 10]);
    cluster.nodes[2].kill().await;
    assert_eq!(counts(&cluster, 10).await, [0, 10, 0].map(|count| count));
}

#[tokio::test(flavor = "multi_thread")]
async fn losses_that_own_evidence_contradicts_are_not_believed() {
    let cluster = Cluster::start(3).await;
    let mut statuses: Vec<_> = cluster.nodes.iter().map(status).collect();
    statuses.iter_mut().for_each(|status| status.state = State::Lost);
    cluster.list(&statuses);
    until("the registry was heard", || async {
        cluster.server("node-1")?.reasons.iter().any(|it| it.contains("lost")).then_some(())
    })
    .await;
    assert_eq!(counts(&cluster, 9).await, [3, 3, 3]);
    // Membership wiped: nobody said that it stops.
    cluster.list(&[]);
    until("the registry was heard", || async {
        cluster
            .server("node-1")?
            .reasons
            .iter()
            .any(|it| it.contains("does not list it any more"))
            .then_some(())
    })
    .await;
    assert_eq!(counts(&cluster, 9).await, [3, 3, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn critical_verdicts_below_the_panic_threshold_are_not_acted_on() {
    let cluster = Cluster::start(3).await;
    let mut statuses: Vec<_> = cluster.nodes.iter().map(status).collect();
    statuses[0].state = State::Critical;
    cluster.list(&statuses);
    cluster.until_standing("node-1", Standing::Last).await;
    assert_eq!(counts(&cluster, 10).await, [0, 5, 5]);
    statuses[1].state = State::Critical;
    cluster.list(&statuses);
    until("panic", || async { cluster.stats().backends[0].panic.then_some(()) }).await;
    assert_eq!(counts(&cluster, 9).await, [3, 3, 3]);
}

/// A proxy that is not Shoal's: no PROXY header, HTTP from the first byte.
async fn plain_proxy() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                    let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
                    assert!(text.starts_with("GET http://"), "{text:?}");
                    let body = if text.contains("X-Forwarded-For: 127.0.0.1\r\n") {
                        "plain"
                    } else {
                        "lacks"
                    };
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Node: plain\r\n\r\n{body}"
                    );
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_not_shoals_serves_when_nobody_else_is_left() {
    let address = plain_proxy().await;
    let servers = serde_json::json!([{
        "name": "old-squid", "host": "127.0.0.1", "port": address.port(), "weight": 1,
        "backup": true,
    }]);
    let cluster = Cluster::with(1, serde_json::json!({ "servers": servers })).await;
    cluster.until_standing("old-squid", Standing::Last).await;
    assert_eq!(by(&cluster.get("GET", b"").await), "node-1");
    cluster.nodes[0].kill().await;
    let answer = cluster.get("GET", b"").await;
    assert_eq!((by(&answer).as_str(), answer.body.as_slice()), ("plain", b"plain".as_slice()));
    let server = cluster.server("old-squid").expect("listed");
    assert!(server.backup && !server.discovered);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_configuration_keeps_the_frontend_and_a_bad_one_changes_nothing() {
    let mut cluster = Cluster::start(2).await;
    let mut client = cluster.open().await;
    assert_eq!(
        client.request("GET", "http://o/", &[], b"").await.expect("an answer").status(),
        200
    );
    cluster.apply(serde_json::json!({"keepalive": 0})).expect("applied");
    cluster.until_applied().await;
    assert_eq!(
        client.request("GET", "http://o/", &[], b"").await.expect("the same connection").status(),
        200
    );
    let problems =
        cluster.apply(serde_json::json!({"name": "another"})).expect_err("no such backend");
    assert!(problems[0].contains("squid_servers"), "{problems:?}");
    assert!(cluster.apply(serde_json::json!({"timeouts": 1})).is_err());
    assert_eq!(cluster.stats().revision, "r2");
    assert_eq!(
        client.request("GET", "http://o/", &[], b"").await.expect("an answer").status(),
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_under_way_gets_its_share() {
    let mut cluster = Cluster::start(1).await;
    counts(&cluster, 5).await;
    cluster.nodes.push(Node::start("node-2").await);
    cluster.list_all();
    cluster.until_standing("node-2", Standing::Usable).await;
    // Each of the two workers goes round on its own, so each may be one ahead.
    let got = counts(&cluster, 10).await;
    assert!(got.iter().all(|count| (4..=6).contains(count)), "{got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_asks_clients_to_come_anew_and_ends() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.open().await;
    client.request("GET", "http://o/", &[], b"").await.expect("an answer");
    cluster.running.leave();
    let closing = || async {
        let answer = cluster.open().await.request("GET", "http://o/", &[], b"").await.ok()?;
        (answer.head.field("connection") == Some("close")).then_some(())
    };
    until("answers say close", closing).await;
    cluster.nodes[0].set(Mode::SlowOrigin);
    let mut last = cluster.open().await;
    last.send(b"GET http://o/last HTTP/1.1\r\nHost: o\r\n\r\n").await.expect("sent");
    until("the node has it", || async {
        cluster.arrivals().iter().any(|it| it.head.line.contains("/last")).then_some(())
    })
    .await;
    let drained = tokio::join!(cluster.running.drain(std::time::Duration::from_secs(30)), async {
        assert!(client.head().await.is_err(), "an idle connection ends");
        cluster.nodes[0].open_gate();
        assert_eq!(last.answer("GET").await.expect("an answer").status(), 200);
    })
    .0
    .expect("drained once");
    assert_eq!(drained.aborted, 0);
    assert!(
        tokio::net::TcpStream::connect(cluster.frontend).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_set_is_kept_here_while_the_registry_is_out_of_reach() {
    let cluster = Cluster::start(2).await;
    let face = cluster.face("");
    let request = SetServerStateRequest {
        backend: String::new(),
        server: "node-1".to_owned(),
        state: ServerState::Drain.into(),
        force: false,
    };
    let server = face
        .set_server_state(tonic::Request::new(request))
        .await
        .expect("kept")
        .into_inner()
        .server
        .expect("a server");
    assert_eq!((server.admin_state, server.drift), (ServerState::Drain.into(), true));
    assert_eq!(counts(&cluster, 4).await, [0, 4]);
    let request = SetServerWeightRequest {
        backend: String::new(),
        server: "node-2".to_owned(),
        weight: 7,
        force: false,
    };
    let server = face
        .set_server_weight(tonic::Request::new(request))
        .await
        .expect("kept")
        .into_inner()
        .server
        .expect("a server");
    assert_eq!((server.weight, server.drift), (7, true));
    let unknown = SetServerStateRequest {
        backend: String::new(),
        server: "node-9".to_owned(),
        state: ServerState::Drain.into(),
        force: false,
    };
    let refused = face.set_server_state(tonic::Request::new(unknown)).await.expect_err("unknown");
    assert_eq!(refused.code(), tonic::Code::NotFound);
    assert!(refused.message().contains("node-1, node-2"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pick_is_explained_and_counts_nothing() {
    let cluster = Cluster::start(3).await;
    let mut statuses: Vec<_> = cluster.nodes.iter().map(status).collect();
    statuses[0].state = State::Suspect;
    statuses[1].admin_state = AdminState::Maintenance;
    cluster.list(&statuses);
    cluster.until_standing("node-1", Standing::Last).await;
    let request = tonic::Request::new(ExplainPickRequest {
        target: "http://o/".to_owned(),
        ..ExplainPickRequest::default()
    });
    let answer = cluster.face("").explain_pick(request).await.expect("explained").into_inner();
    assert_eq!((answer.server.as_str(), answer.backend.as_str()), ("node-3", "squid_servers"));
    let order: Vec<_> = answer.candidates.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(order, ["node-3", "node-1", "node-2"]);
    let text = answer.explanation.join("\n");
    for part in
        ["node-1 is last", "node-2 is excluded: operators took it out", "revision r1", "node-3 1/1"]
    {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert_eq!(cluster.counters("node-3").requests, 0);

    // What is for the balancer itself goes nowhere.
    let health = ExplainPickRequest {
        method: "OPTIONS".to_owned(),
        target: "*".to_owned(),
        ..ExplainPickRequest::default()
    };
    let answer = cluster
        .face("")
        .explain_pick(tonic::Request::new(health))
        .await
        .expect("explained")
        .into_inner();
    assert!(
        answer.server.is_empty() && answer.explanation[0].contains("answers it itself"),
        "{answer:?}"
    );

    // A revision that changes nothing here gives what is in force its name.
    let renamed = cluster.face("r7");
    let answer = renamed
        .explain_pick(tonic::Request::new(ExplainPickRequest::default()))
        .await
        .expect("explained")
        .into_inner();
    assert!(answer.explanation[0].contains("revision r7"), "{:?}", answer.explanation);
    let stats = renamed
        .get_stats(tonic::Request::new(proto::balancer::GetStatsRequest {}))
        .await
        .expect("stats")
        .into_inner();
    assert_eq!(stats.stats.expect("stats").revision, "r7");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_prove_to_be_a_node_is_told_nothing() {
    let cluster = Cluster::start(2).await;
    cluster.nodes[1].set(Mode::Impostor);
    // The double itself asserts that not a byte of a request comes before its proof.
    let answers = counts(&cluster, 20).await;
    assert_eq!(answers, [20, 0]);
    cluster.until_standing("node-2", Standing::Unwell).await;
    let why = cluster.server("node-2").expect("listed").reasons.join(", ");
    assert!(why.contains("did not prove"), "{why}");
    // Pooled connections were proved when they were made: these tunnels have them all.
    let mut tunnels = Vec::new();
    for _ in 0..40 {
        let mut tunnel = cluster.open().await;
        let head = tunnel.connect("origin.example:443", &[]).await.expect("a head");
        assert_eq!(head.status(), Some(200));
        tunnels.push(tunnel);
    }
    cluster.nodes[0].set(Mode::Impostor);
    let mut client = cluster.open().await;
    // A new one is not, and then there is nobody.
    client
        .send(b"CONNECT origin.example:443 HTTP/1.1\r\nHost: origin.example:443\r\n\r\n")
        .await
        .expect("sent");
    assert_eq!(client.answer("CONNECT").await.expect("an answer").status(), 502);
    let connects = cluster.arrivals().into_iter();
    let connects = connects.filter(|arrival| arrival.head.line.starts_with("CONNECT ")).count();
    assert_eq!(connects, tunnels.len());
}
