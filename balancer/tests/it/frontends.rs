//! Frontends that move while clients use them, and what one client may have.

use std::{net::SocketAddr, time::Duration};

use proto::balancer::balancer_server::Balancer as _;
use relay::clients::Closed;
use testkit::{client::Connection, port::free, wait::until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::support::{Cluster, NO_FILES, by, document};

const URL: &str = "http://origin.example/x";

/// The document of a cluster with these frontends: name, address, limits.
fn with(frontends: &[(&str, SocketAddr, serde_json::Value)]) -> Vec<u8> {
    let mut all: serde_json::Value =
        serde_json::from_slice(&document(&serde_json::json!({}))).expect("JSON");
    let timeouts = all["frontends"][0]["timeouts"].take();
    let frontend = |(name, bind, limits): &(&str, SocketAddr, serde_json::Value)| {
        serde_json::json!({
            "name": name, "bind": bind, "backend": "squid_servers", "limits": limits,
            "timeouts": timeouts,
        })
    };
    all["frontends"] = frontends.iter().map(frontend).collect();
    serde_json::to_vec(&all).expect("JSON")
}

/// The same, and they answer checks.
fn answering_checks(frontends: &[(&str, SocketAddr, serde_json::Value)]) -> Vec<u8> {
    let mut all: serde_json::Value = serde_json::from_slice(&with(frontends)).expect("JSON");
    for frontend in all["frontends"].as_array_mut().expect("a list") {
        frontend["health_path"] = "/".into();
    }
    serde_json::to_vec(&all).expect("JSON")
}

/// Puts these frontends into force and waits until they are bound, and no others.
async fn apply(cluster: &Cluster, revision: &str, frontends: &[(&str, SocketAddr)]) {
    let frontends: Vec<_> =
        frontends.iter().map(|(name, bind)| (*name, *bind, serde_json::json!({}))).collect();
    cluster
        .engine
        .apply(revision, &with(&frontends), NO_FILES)
        .unwrap_or_else(|problems| panic!("{revision}: {problems:?}"));
    let mut wanted: Vec<_> =
        frontends.iter().map(|(name, bind, _)| ((*name).to_owned(), bind.to_string())).collect();
    wanted.sort();
    until(format!("{revision} is bound"), || async {
        let mut bound: Vec<_> =
            cluster.stats().frontends.into_iter().map(|it| (it.name, it.address)).collect();
        bound.sort();
        (bound == wanted).then_some(())
    })
    .await;
}

/// Asks without a pause on new connections and on one that is kept, until it is told to stop; how
/// many answers there were.
fn ask(
    address: SocketAddr,
    stop: tokio::sync::watch::Receiver<bool>,
) -> tokio::task::JoinHandle<usize> {
    tokio::spawn(async move {
        let (mut kept, mut answers) = (Connection::open(address).await.expect("a connection"), 0);
        while !*stop.borrow() {
            let mut fresh = Connection::open(address).await.expect("a new connection");
            for connection in [&mut kept, &mut fresh] {
                assert_eq!(
                    connection.request("GET", URL, &[], b"").await.expect("an answer").status(),
                    200
                );
                answers += 1;
            }
        }
        answers
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn frontends_are_renamed_and_swapped_and_widened_under_load() {
    let cluster = Cluster::start(2).await;
    let (one, two) = (free(), free());
    apply(&cluster, "first", &[("a", one), ("b", two)]).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let asking = [ask(one, stopped.clone()), ask(two, stopped)];
    apply(&cluster, "renamed", &[("c", one), ("b", two)]).await;
    apply(&cluster, "swapped", &[("c", two), ("b", one)]).await;
    let requests = |name: &str| {
        cluster
            .stats()
            .frontends
            .into_iter()
            .find(|it| it.name == name)
            .expect("a frontend")
            .requests
    };
    let before = requests("b");
    until("what comes there is counted for who is there now", || async {
        (requests("b") > before).then_some(())
    })
    .await;
    let wide = SocketAddr::from(([0, 0, 0, 0], one.port()));
    apply(&cluster, "widened", &[("c", two), ("b", wide)]).await;
    let elsewhere = SocketAddr::from(([127, 0, 0, 9], one.port()));
    let mut other =
        until("the whole host is listened on", || async { Connection::open(elsewhere).await.ok() })
            .await;
    assert_eq!(other.request("GET", URL, &[], b"").await.expect("an answer").status(), 200);
    apply(&cluster, "and back", &[("c", two), ("b", one)]).await;
    until("nothing else is", || async {
        TcpStream::connect(elsewhere).await.is_err().then_some(())
    })
    .await;
    stop.send(true).expect("they ask");
    for answers in asking {
        assert!(answers.await.expect("nobody was refused") > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_bound_leaves_everything_as_it_was() {
    let cluster = Cluster::start(1).await;
    let (one, two) = (free(), free());
    apply(&cluster, "first", &[("a", one), ("b", two)]).await;
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = stranger.local_addr().expect("bound");
    let wide = SocketAddr::from(([0, 0, 0, 0], one.port()));
    let frontends = [
        ("moved", two, serde_json::json!({})),
        ("wide", wide, serde_json::json!({})),
        ("c", taken, serde_json::json!({})),
    ];
    let problems =
        cluster.engine.apply("bad", &with(&frontends), NO_FILES).expect_err("it is taken");
    assert!(
        problems.len() == 1
            && problems[0].contains("frontend c")
            && problems[0].contains("another process"),
        "{problems:?}"
    );
    for address in [one, two] {
        let mut client = Connection::open(address).await.expect("still open");
        assert_eq!(by(&client.request("GET", URL, &[], b"").await.expect("an answer")), "node-1");
    }
    assert!(TcpStream::connect(SocketAddr::from(([127, 0, 0, 9], one.port()))).await.is_err());
}

async fn from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).expect("an address of loopback");
    socket.connect(to).await.expect("a connection")
}

async fn get(stream: &mut TcpStream) -> std::io::Result<String> {
    stream
        .write_all(format!("GET {URL} HTTP/1.1\r\nHost: origin.example\r\n\r\n").as_bytes())
        .await?;
    let mut answer = vec![0; 4096];
    let n = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..n]).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_with_half_heads_and_idle_connections_takes_nothing_from_others() {
    let cluster = Cluster::start(1).await;
    let at = free();
    let limits = serde_json::json!({"connections_per_client": 200, "unfinished_per_client": 65536});
    cluster
        .engine
        .apply("limited", &with(&[("limited", at, limits)]), NO_FILES)
        .expect("a good configuration");
    until("it is open", || async { TcpStream::connect(at).await.ok() }).await;
    let mut attack = Vec::new();
    let half = format!("GET {URL} HTTP/1.1\r\nHost: origin.example\r\nX: {}", "x".repeat(20_000));
    for number in 0..1_000 {
        let mut stream = from(1, at).await;
        if number % 2 == 0 {
            // The balancer may have closed it before all of it was sent.
            drop(stream.write_all(half.as_bytes()).await);
        }
        attack.push(stream);
    }
    let clients = cluster.running.clients().expect("running");
    until("it had its share", || async {
        let Closed { refused, displaced, unfinished, .. } = clients.closed();
        (unfinished > 0 && refused + displaced + unfinished >= 800).then_some(())
    })
    .await;
    let mut other = from(2, at).await;
    for _ in 0..3 {
        let answer = tokio::time::timeout(Duration::from_secs(20), get(&mut other))
            .await
            .expect("in time")
            .expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    // And the address itself is served: its oldest idle connection makes way.
    let mut newest = from(1, at).await;
    assert!(get(&mut newest).await.expect("an answer").starts_with("HTTP/1.1 200 "));
    until("no more are open than it may have", || async {
        (cluster.stats().frontends[0].active_connections <= 202).then_some(())
    })
    .await;
}

/// The document of one frontend of which so many workers accept.
fn of_workers(at: SocketAddr, path: &std::path::Path, workers: Option<u16>) -> Vec<u8> {
    let document = with(&[("a", at, serde_json::json!({}))]);
    let mut document: serde_json::Value = serde_json::from_slice(&document).expect("JSON");
    document["frontends"][0]["bind"] =
        serde_json::json!([at.to_string(), format!("unix:{}", path.display())]);
    document["workers"] = workers.into();
    serde_json::to_vec(&document).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_come_and_go_without_a_restart_and_without_a_failure() {
    let cluster = Cluster::start(1).await;
    let at = free();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("http.sock");
    let apply = |workers| {
        let document = of_workers(at, &path, workers);
        cluster.engine.apply("workers", &document, NO_FILES).expect("good");
    };
    apply(None);
    until("it is open", || async { TcpStream::connect(at).await.ok() }).await;
    let accepted = |worker: usize| {
        let frontends = cluster.view.frontends();
        let (_, counts) = frontends.iter().find(|(name, _)| name == "a").expect("a frontend");
        counts.of(worker).connections.get()
    };
    let connect = || async { Connection::open(at).await.expect("nobody is refused") };
    // Requests of clients that go on where they are told to come anew.
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let asking = tokio::spawn(async move {
        let (mut kept, mut answers) = (Connection::open(at).await.expect("open"), 0);
        while !*stopped.borrow() {
            let mut fresh = Connection::open(at).await.expect("nobody is refused");
            for connection in [&mut kept, &mut fresh] {
                let answer = connection.request("POST", URL, &[], b"x").await.expect("an answer");
                assert_eq!(answer.status(), 200);
                if answer.head.field("connection") == Some("close") {
                    *connection = Connection::open(at).await.expect("nobody is refused");
                }
                answers += 1;
            }
        }
        answers
    });
    // Connections and tunnels of both workers that stay open.
    let mut kept = Vec::new();
    for _ in 0..16 {
        let mut connection = connect().await;
        let answer = connection.request("GET", URL, &[], b"").await.expect("an answer");
        assert_eq!(answer.head.field("connection"), None);
        kept.push(connection);
    }
    let mut tunnels = Vec::new();
    for _ in 0..16 {
        let mut tunnel = TcpStream::connect(at).await.expect("nobody is refused");
        tunnel.write_all(b"CONNECT o:443 HTTP/1.1\r\nHost: o:443\r\n\r\n").await.expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tunnel.read_u8().await.expect("an answer"));
        }
        assert!(head.starts_with(b"HTTP/1.1 200 "));
        tunnels.push(tunnel);
    }

    apply(Some(1));
    until("the second worker accepts nobody", || async {
        let before = accepted(1);
        for _ in 0..20 {
            let mut connection = connect().await;
            connection.request("GET", URL, &[], b"").await.expect("an answer");
        }
        (accepted(1) == before).then_some(())
    })
    .await;
    // What it has goes on, and is asked to come anew.
    let mut asked = 0;
    for mut connection in kept {
        let answer = connection.request("GET", URL, &[], b"").await.expect("it goes on");
        assert_eq!(answer.status(), 200);
        asked += usize::from(answer.head.field("connection") == Some("close"));
    }
    assert!((1..16).contains(&asked), "{asked} of 16");
    tokio::net::UnixStream::connect(&path).await.expect("a file is the others' too");
    for tunnel in &mut tunnels {
        tunnel.write_all(b"still there").await.expect("the tunnel is open");
        let mut echo = [0; 11];
        tunnel.read_exact(&mut echo).await.expect("the tunnel is open");
        assert_eq!(&echo, b"still there");
    }

    apply(None);
    until("the second worker accepts again", || async {
        let before = accepted(1);
        drop(connect().await);
        (accepted(1) > before).then_some(())
    })
    .await;
    stop.send(true).expect("it asks");
    assert!(asking.await.expect("no request failed") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_have_a_rate_and_a_size() {
    let cluster = Cluster::start(1).await;
    let at = free();
    let limits = serde_json::json!({
        "request_rate_per_client": {"per_second": 1, "burst": 3},
        "request_body_max_size": 10,
    });
    cluster
        .engine
        .apply("limited", &answering_checks(&[("limited", at, limits)]), NO_FILES)
        .expect("a good configuration");
    until("it is open", || async { TcpStream::connect(at).await.ok() }).await;
    let ask = async |last: u8, body: &[u8]| {
        let mut client = Connection::over(from(last, at).await);
        client.request("POST", URL, &[], body).await.expect("an answer")
    };
    let mut statuses = Vec::new();
    for _ in 0..20 {
        let answer = ask(1, b"0123456789").await;
        if answer.status() == 429 {
            assert_eq!(answer.head.field("retry-after"), Some("1"));
            let why = answer.head.field("proxy-status").unwrap_or_default();
            assert!(why.contains("http_request_denied"), "{why}");
        }
        statuses.push(answer.status());
    }
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert!(statuses.starts_with(&[200; 3]) && (1..=17).contains(&refused), "{statuses:?}");
    assert_eq!(cluster.nodes[0].arrivals().len(), 20 - refused);
    let face = cluster.face("r1");
    let question = proto::balancer::ExplainPickRequest {
        frontend: "limited".to_owned(),
        client_address: "127.0.0.1".to_owned(),
        ..Default::default()
    };
    let told = face.explain_pick(tonic::Request::new(question)).await.expect("an explanation");
    let told = told.into_inner().explanation.remove(0);
    assert!(told.contains("1 requests a second of a client, 3 at once"), "{told}");
    // Another client; and what is too large.
    assert_eq!(ask(2, b"0123456789").await.status(), 200);
    assert_eq!(ask(3, b"0123456789x").await.status(), 413);
    let mut client = from(4, at).await;
    let chunks = format!(
        "POST {URL} HTTP/1.1\r\nHost: origin.example\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\n01234\r\n6\r\n56789x\r\n0\r\n\r\n"
    );
    client.write_all(chunks.as_bytes()).await.expect("it is taken");
    let mut answer = String::new();
    drop(client.read_to_string(&mut answer).await);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // Checks are no requests of clients.
    for _ in 0..10 {
        let mut check = from(1, at).await;
        check.write_all(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it is taken");
        let mut answer = [0; 12];
        check.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
}
