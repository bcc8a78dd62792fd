//! What servers that are not Shoal's write oddly, whoever asks the balancer itself, and connections
//! that switch to another protocol.

use crate::support::{Cluster, NO_FILES, document};
use relay::proxy_protocol::Command;
use testkit::{odd, wait::until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A backend of one server by address, and no node.
fn only(address: std::net::SocketAddr, relaxed: bool) -> serde_json::Value {
    serde_json::json!({
        "discover": null,
        "servers": [{
            "name": "origin", "host": "127.0.0.1", "port": address.port(), "weight": 1,
            "backup": false,
        }],
        "check": {"enabled": false, "inter": "1s", "timeout": "1s", "rise": 1, "fall": 3},
        // Answers that are refused would put it aside.
        "passive": {"max_fails": 0, "fail_timeout": "30s", "count": []},
        "replies": {"max_size": 65536, "relaxed": relaxed}
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_answers_are_sent_on_plainly() {
    let mut cluster = Cluster::start(0).await;
    for relaxed in [true, false] {
        for answer in odd::ANSWERS {
            cluster.apply(only(odd::server(answer.bytes), relaxed)).expect("a good configuration");
            cluster.until_applied().await;
            let frontend = cluster.frontend;
            let got = tokio::task::spawn_blocking(move || {
                odd::ask(frontend, answer.method, "http://origin.example/x")
            })
            .await
            .expect("asked");
            assert_eq!(
                odd::wrong(answer, relaxed, &got),
                None,
                "{} (relaxed: {relaxed})",
                answer.name
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_as_large_as_the_configuration_says() {
    let head = format!("X: {}\r\n", "v".repeat(50_000)) + &"X-L: l\r\n".repeat(800);
    let mut cluster = Cluster::start(1).await;
    let fields: Vec<_> = (0..900).map(|_| ("X-L", "l")).collect();
    assert_eq!(
        cluster
            .open()
            .await
            .request("GET", "http://o/", &fields, b"")
            .await
            .expect("an answer")
            .status(),
        200
    );
    assert_eq!(cluster.arrivals()[0].head.line, "GET http://o/ HTTP/1.1");
    let large = "v".repeat(66_000);
    assert_eq!(
        cluster
            .open()
            .await
            .request("GET", "http://o/", &[("X", &large)], b"")
            .await
            .expect("an answer")
            .status(),
        431
    );
    let server = odd::server(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{head}\r\nok"));
    for (most, status) in [(65_536, 200), (8_192, 502)] {
        let mut settings = only(server, true);
        settings["replies"]["max_size"] = most.into();
        cluster.apply(settings).expect("a good configuration");
        cluster.until_applied().await;
        assert_eq!(cluster.get("GET", b"").await.status(), status);
    }
}

/// A connection to a tunnel needs no Host beside the authority, and what is in other spellings goes
/// on in ours.
#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_are_sent_on_plainly() {
    let cluster = Cluster::start(1).await;
    for (request, line, host) in [
        ("GET http://o:080/x HTTP/1.2\r\nHost: a:\r\n\r\n", "GET http://o:80/x HTTP/1.1", "o:80"),
        ("GET http://o:/x HTTP/1.1\r\nHost: o:\r\n\r\n", "GET http://o/x HTTP/1.1", "o"),
        ("GET /x HTTP/1.1\r\nHost: o:0081\r\n\r\n", "GET /x HTTP/1.1", "o:81"),
        ("CONNECT o:0443 HTTP/1.1\r\n\r\n", "CONNECT o:443 HTTP/1.1", "o:443"),
    ] {
        let mut client = cluster.open().await;
        client.send(request.as_bytes()).await.expect("sent");
        assert_eq!(client.head().await.expect("an answer").status(), Some(200), "{request}");
        let arrival = cluster.arrivals().pop().expect("it arrived");
        assert_eq!((arrival.head.line.as_str(), arrival.head.field("host")), (line, Some(host)));
    }
    let mut chunked = cluster.open().await;
    let body = "5;a=b\r\nhello\r\n0001\r\n!\r\n0;c\r\n\r\n";
    chunked
        .send(
            format!(
                "POST http://o/ HTTP/1.1\r\nHost: o\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
            )
            .as_bytes(),
        )
        .await
        .expect("sent");
    assert_eq!(chunked.answer("POST").await.expect("an answer").status(), 200);
    assert_eq!(cluster.arrivals().pop().expect("it arrived").body, b"hello!");
}

/// Whether it serves, as HAProxy and others ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_frontend_says_whether_it_serves() {
    let cluster = Cluster::start(1).await;
    let check = |line: &'static str| {
        let frontend = cluster.frontend;
        async move {
            let mut client = testkit::client::Connection::open(frontend).await.ok()?;
            client.send(format!("{line}\r\n\r\n").as_bytes()).await.ok()?;
            let answer = client.answer(line.split(' ').next().unwrap_or_default()).await.ok()?;
            Some((answer.status(), String::from_utf8_lossy(&answer.body).into_owned()))
        }
    };
    let lines = [
        "OPTIONS / HTTP/1.0",
        "OPTIONS * HTTP/1.0",
        "GET / HTTP/1.0",
        "GET /?x HTTP/1.1\r\nHost: b",
        "OPTIONS * HTTP/1.1\r\nHost: b",
    ];
    for line in lines {
        assert_eq!(check(line).await, Some((200, "ready\n".to_owned())), "{line}");
    }
    assert_eq!((cluster.arrivals().len(), cluster.frontend_stats().requests), (0, 0));
    // Two on one connection.
    let mut client = cluster.open().await;
    for _ in 0..2 {
        client.send(b"OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n").await.expect("sent");
        assert_eq!(client.answer("OPTIONS").await.expect("an answer").status(), 200);
    }
    // Other paths, and forms that name a host, are the servers'.
    assert_eq!(cluster.get("OPTIONS", b"").await.status(), 200);
    assert_eq!(check("GET /other HTTP/1.0").await.map(|it| it.0), Some(200));
    assert_eq!(cluster.arrivals().len(), 2);
    let mut drained = crate::support::status(&cluster.nodes[0]);
    drained.admin_state = cluster::AdminState::Drain;
    cluster.list(&[drained]);
    until("nobody is there to ask", || async {
        check(lines[0]).await.filter(|it| *it == (503, "no server\n".to_owned()))
    })
    .await;
    cluster.list_all();
    until("somebody is", || async { check(lines[0]).await.filter(|it| it.0 == 200) }).await;
    cluster.running.leave();
    until("it drains", || async {
        check(lines[1]).await.filter(|it| *it == (503, "draining\n".to_owned()))
    })
    .await;
}

/// Without a health path everything is the servers'.
#[tokio::test(flavor = "multi_thread")]
async fn a_frontend_without_a_health_path_asks_its_servers() {
    let cluster = Cluster::start(1).await;
    let mut settings: serde_json::Value =
        serde_json::from_slice(&document(&serde_json::json!({}))).expect("JSON");
    settings["frontends"][0]["health_path"] = serde_json::Value::Null;
    cluster
        .engine
        .apply("r2", &serde_json::to_vec(&settings).expect("JSON"), NO_FILES)
        .expect("a good configuration");
    until("it is in force", || async { (cluster.stats().revision == "r2").then_some(()) }).await;
    let mut client = cluster.open().await;
    client.send(b"GET / HTTP/1.0\r\n\r\n").await.expect("sent");
    assert_eq!(client.answer("GET").await.expect("an answer").body, b"node-1");
}

/// A server that switches when it is asked to, and says the head that it got.
async fn switching(answer: &'static str) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut bytes) = (0, vec![0; 8192]);
                while !bytes[..read].ends_with(b"\r\n\r\n") {
                    match stream.read(&mut bytes[read..]).await {
                        Ok(more @ 1..) => read += more,
                        _ => return,
                    }
                }
                let head = String::from_utf8_lossy(&bytes[..read]).into_owned();
                if stream.write_all(answer.as_bytes()).await.is_err()
                    || stream.write_all(head.as_bytes()).await.is_err()
                {
                    return;
                }
                let (mut from, mut to) = stream.split();
                drop(tokio::io::copy(&mut from, &mut to).await);
            });
        }
    });
    address
}

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: \
    Upgrade\r\nX-Kept: 1\r\n\r\n";
const ASK: &str = "GET http://o/chat HTTP/1.1\r\nHost: o\r\nConnection: Upgrade\r\nUpgrade: \
    websocket\r\nSec-WebSocket-Key: k\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_becomes_a_tunnel() {
    let mut cluster = Cluster::start(0).await;
    cluster.apply(only(switching(SWITCH).await, true)).expect("a good configuration");
    cluster.until_applied().await;
    let mut stream = tokio::net::TcpStream::connect(cluster.frontend).await.expect("the frontend");
    stream.write_all(format!("{ASK}early").as_bytes()).await.expect("sent");
    let mut said = String::new();
    let mut bytes = [0; 4096];
    while !said.ends_with("early") {
        let read = stream.read(&mut bytes).await.expect("more");
        assert!(read > 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    let (head, tunnelled) = said.split_once("\r\n\r\n").expect("a head");
    assert!(
        head.starts_with("HTTP/1.1 101 ")
            && head.contains("\r\nConnection: upgrade\r\nUpgrade: websocket"),
        "{head}"
    );
    assert!(head.contains("X-Kept: 1") && head.contains("Shoal-Request-Id: "), "{head}");
    for part in [
        "GET http://o/chat HTTP/1.1\r\n",
        "Connection: upgrade\r\n",
        "Upgrade: websocket\r\n",
        "Sec-WebSocket-Key: k\r\n",
    ] {
        assert_eq!(tunnelled.matches(part).count(), 1, "{part:?} in {tunnelled}");
    }
    stream.write_all(b"and so on").await.expect("sent");
    let mut said = [0; 9];
    stream.read_exact(&mut said).await.expect("the echo");
    assert_eq!(&said, b"and so on");
    until("it counts as a tunnel", || async {
        (cluster.frontend_stats().tunnels == 1).then_some(())
    })
    .await;
    drop(stream);
    let log = cluster.directory.path().join("access.log");
    let line = until("it is written down", || async {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines().find(|line| line.contains("/chat")).map(str::to_owned)
    })
    .await;
    assert!(line.contains("GET") && line.contains("101"), "{line}");
}

/// Towards a node it is a request like others: over a pooled connection, and with what names the
/// client.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_switch_keeps_its_connection() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.open().await;
    client.send(ASK.as_bytes()).await.expect("sent");
    assert_eq!(client.answer("GET").await.expect("an answer").body, b"node-1");
    assert_eq!(
        client.request("GET", "http://o/", &[], b"").await.expect("an answer").status(),
        200
    );
    let arrivals = cluster.arrivals();
    assert_eq!(arrivals[0].head.field("upgrade"), Some("websocket"));
    assert_eq!(arrivals[0].head.field("connection"), Some("upgrade"));
    assert_eq!(
        (arrivals[0].proxied.command, arrivals[0].head.field("x-forwarded-for")),
        (Command::Local, Some("127.0.0.1"))
    );
    assert_eq!((arrivals[1].before, arrivals[1].head.field("upgrade")), (1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_was_not_asked_for_is_refused() {
    let mut cluster = Cluster::start(0).await;
    for (answer, ask) in [
        (SWITCH, "GET http://o/ HTTP/1.1\r\nHost: o\r\nConnection: close\r\n\r\n"),
        (
            SWITCH,
            "GET http://o/ HTTP/1.1\r\nHost: o\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        ),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", ASK),
    ] {
        cluster.apply(only(switching(answer).await, true)).expect("a good configuration");
        cluster.until_applied().await;
        let mut client = cluster.open().await;
        client.send(ask.as_bytes()).await.expect("sent");
        assert_eq!(client.answer("GET").await.expect("an answer").status(), 502, "{ask}");
    }
}
