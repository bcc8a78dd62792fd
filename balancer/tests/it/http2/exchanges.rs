//! Requests and tunnels.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::json;
use testkit::wait::until;

use super::peer::{ask, cluster, connect, content, get, in_front_of, scripted};
use crate::{
    secure::{Authority, connect as connect_tls},
    support::{Cluster, Mode},
};

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_a_tunnel_over_tls_on_one_connection() {
    let authority = Authority::new();
    let tls = json!({"certificates": [authority.write("a", "a.test")]});
    let cluster = Cluster::with(1, json!({"frontend": {"tls": tls}})).await;
    let mut config = authority.client();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = connect_tls(cluster.frontend, config, "a.test").await.expect("a session");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let client = super::peer::speak(stream).await;
    for _ in 0..3 {
        let answer = ask(&client, get("http://origin.test/x?y")).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-node"], "node-1");
        let (body, _) = content(&mut answer.into_body()).await.expect("its content");
        assert_eq!(body, b"node-1");
    }
    let arrival = cluster.arrivals().remove(0);
    assert_eq!(arrival.head.line, "GET http://origin.test/x?y HTTP/1.1");
    assert_eq!(arrival.head.field("host"), Some("origin.test"));
    assert_eq!(arrival.head.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(arrival.head.field("via").map(|it| it.split(' ').next()), Some(Some("2.0")));
    assert_eq!(cluster.frontend_stats().connections, 1);
    let request =
        Request::builder().method(Method::CONNECT).uri("b.test:443").body(()).expect("a request");
    let (answer, mut up) = client.clone().send_request(request, false).expect("sent");
    let answer = answer.await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    let sent = Bytes::from(bytes.clone());
    up.send_data(sent, true).expect("sent");
    let (back, _) = content(&mut answer.into_body()).await.expect("an end that is said");
    assert!(back == bytes, "{} of {} bytes", back.len(), bytes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_is_spoken_where_nobody_asks_for_more() {
    let cluster = cluster(1, json!({})).await;
    assert_eq!(cluster.get("GET", b"").await.status(), 200);
    // What begins as the preface does and is another request.
    let mut client = cluster.open().await;
    client.send(b"P").await.expect("sent");
    client.send(b"ROPFIND http://o.test/ HTTP/1.1\r\nHost: o.test\r\n\r\n").await.expect("sent");
    assert_eq!(client.answer("PROPFIND").await.expect("an answer").status(), 200);
    let plain = Cluster::start(1).await;
    let refused = h2::client::handshake(
        tokio::net::TcpStream::connect(plain.frontend).await.expect("the frontend"),
    )
    .await;
    let (client, connection) = refused.expect("nothing has been heard yet");
    tokio::spawn(async move { drop(connection.await) });
    assert!(ask(&client, get("http://o.test/")).await.is_err(), "it was not asked for here");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_do_not_wait_for_each_other() {
    let cluster = cluster(1, json!({})).await;
    let client = connect(cluster.frontend).await;
    cluster.nodes[0].set(Mode::SlowOrigin);
    let slow = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, get("http://slow.test/")).await.map(|it| it.status()) }
    });
    until("it has arrived", || async { (cluster.arrivals().len() == 1).then_some(()) }).await;
    cluster.nodes[0].set(Mode::Serve);
    for _ in 0..20 {
        assert_eq!(ask(&client, get("http://o.test/")).await.expect("an answer").status(), 200);
    }
    assert!(!slow.is_finished());
    cluster.nodes[0].open_gate();
    assert_eq!(slow.await.expect("no panic").expect("an answer"), 200);
    let stats = cluster.frontend_stats();
    assert_eq!((stats.connections, stats.requests), (1, 21));
}

#[tokio::test(flavor = "multi_thread")]
async fn content_goes_up_in_every_framing() {
    let cluster = cluster(1, json!({})).await;
    let client = connect(cluster.frontend).await;
    let large: Vec<u8> = (0..400_000_u32).map(|at| (at % 253) as u8).collect();
    for (length, content) in [(Some(5), &b"hello"[..]), (None, b"hello"), (None, &large)] {
        let mut request = Request::post("http://o.test/up");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let request = request.body(()).expect("a request");
        let (answer, mut up) = client.clone().send_request(request, false).expect("sent");
        up.send_data(Bytes::copy_from_slice(content), length.is_some()).expect("sent");
        if length.is_none() {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "7".parse().expect("a value"));
            up.send_trailers(trailers).expect("sent");
        }
        assert_eq!(answer.await.expect("an answer").status(), 200);
        let arrival = cluster.arrivals().pop().expect("it");
        assert!(arrival.body == content, "{} of {}", arrival.body.len(), content.len());
        assert_eq!(arrival.head.field("content-length").is_some(), length.is_some());
    }
    let empty = Request::post("http://o.test/up").body(()).expect("a request");
    assert_eq!(ask(&client, empty).await.expect("an answer").status(), 200);
    let arrival = cluster.arrivals().pop().expect("it");
    assert_eq!(arrival.head.field("content-length"), Some("0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_answers_and_trailers_come_through() {
    let (server, mut told) = scripted(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\
          Transfer-Encoding: chunked\r\nTrailer: x-sum\r\nKeep-Alive: x\r\n\r\n\
          3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n",
    )
    .await;
    let cluster = in_front_of(server, json!({})).await;
    let client = connect(cluster.frontend).await;
    let request = Request::get("http://o.test/")
        .header("te", "trailers")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(())
        .expect("a request");
    let (mut answer, _) = client.clone().send_request(request, true).expect("sent");
    let interim = std::future::poll_fn(|cx| answer.poll_informational(cx)).await;
    let interim = interim.expect("an interim answer").expect("no error");
    assert_eq!(interim.status(), 103);
    assert_eq!(interim.headers()["link"], "</a>");
    let answer = answer.await.expect("an answer");
    assert_eq!(answer.headers().get("keep-alive"), None);
    assert_eq!(answer.headers().get("connection"), None);
    let (body, trailers) = content(&mut answer.into_body()).await.expect("its content");
    assert_eq!(body, b"abc");
    assert_eq!(trailers.expect("trailers")["x-sum"], "9");
    let head = told.recv().await.expect("a request");
    assert!(head.contains("cookie: a=1; b=2\r\n"), "{head}");
    assert!(!head.contains("\r\nte:") && !head.contains("onnection: close"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_a_100_gets_it() {
    let server = super::peer::server(|_, mut stream| async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.expect("it is open");
        let mut content = [0; 5];
        stream.read_exact(&mut content).await.expect("the content");
        drop(stream.write_all(b"HTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n").await);
    })
    .await;
    let cluster = in_front_of(server, json!({})).await;
    let client = connect(cluster.frontend).await;
    let request = Request::put("http://o.test/")
        .header("expect", "100-continue")
        .header("content-length", 5)
        .body(())
        .expect("a request");
    let (mut answer, mut up) = client.clone().send_request(request, false).expect("sent");
    let interim = std::future::poll_fn(|cx| answer.poll_informational(cx)).await;
    assert_eq!(interim.expect("one").expect("no error").status(), StatusCode::CONTINUE);
    up.send_data(Bytes::from_static(b"hello"), true).expect("sent");
    assert_eq!(answer.await.expect("an answer").status(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_half_of_a_tunnel_ends_for_itself() {
    let cluster = cluster(1, json!({})).await;
    let client = connect(cluster.frontend).await;
    let connect = || {
        Request::builder().method(Method::CONNECT).uri("b.test:443").body(()).expect("a request")
    };
    let (answer, mut up) = client.clone().send_request(connect(), false).expect("sent");
    let answer = answer.await.expect("an answer");
    assert_eq!(answer.headers().get("content-length"), None);
    let mut down = answer.into_body();
    for word in ["one", "two"] {
        up.send_data(word.into(), false).expect("sent");
        let back = down.data().await.expect("its echo").expect("no error");
        assert_eq!(back, word);
    }
    up.send_data(Bytes::from_static(b"last"), true).expect("sent");
    let (back, _) = content(&mut down).await.expect("its end is said");
    assert_eq!(back, b"last");
    // A reset ends it on the other side too.
    let (answer, mut up) = client.clone().send_request(connect(), false).expect("sent");
    assert_eq!(answer.await.expect("an answer").status(), 200);
    let tunnels =
        || cluster.server("node-1").and_then(|it| it.counters).map(|it| it.active_tunnels);
    until("it is open", || async { (tunnels() == Some(1)).then_some(()) }).await;
    up.send_reset(h2::Reason::CANCEL);
    until("it has ended", || async { (tunnels() == Some(0)).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_reset_ends_its_exchange_and_no_other() {
    let cluster = cluster(1, json!({})).await;
    let client = connect(cluster.frontend).await;
    cluster.nodes[0].set(Mode::Deserted);
    let (answer, mut up) = client.clone().send_request(get("http://o.test/"), true).expect("sent");
    until("it has arrived", || async { (cluster.arrivals().len() == 1).then_some(()) }).await;
    up.send_reset(h2::Reason::CANCEL);
    until("the node is told", || async { (cluster.nodes[0].left() == 1).then_some(()) }).await;
    drop(answer);
    cluster.nodes[0].set(Mode::Serve);
    assert_eq!(ask(&client, get("http://o.test/")).await.expect("an answer").status(), 200);
    // And a client that goes altogether.
    cluster.nodes[0].set(Mode::Deserted);
    let last = tokio::spawn(async move { ask(&client, get("http://o.test/")).await.map(drop) });
    until("it has arrived", || async { (cluster.arrivals().len() == 3).then_some(()) }).await;
    last.abort();
    until("the node is told", || async { (cluster.nodes[0].left() == 2).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_seen_to() {
    let cluster = cluster(1, json!({"retry": {"attempts": 1, "budget": 20}})).await;
    let client = connect(cluster.frontend).await;
    cluster.nodes[0].set(Mode::CutLarge);
    let answer = ask(&client, get("http://o.test/")).await.expect("a head");
    let error = content(&mut answer.into_body()).await.expect_err("not all of it");
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
    cluster.nodes[0].set(Mode::Serve);
    assert_eq!(ask(&client, get("http://o.test/")).await.expect("an answer").status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_those_of_http_1() {
    let cluster = cluster(1, json!({"frontend": {"request_header_max_size": 4096}})).await;
    let client = connect(cluster.frontend).await;
    let with = |name: &'static str, value: &str| {
        Request::get("http://o.test/").header(name, value).body(()).expect("a request")
    };
    for (request, status) in [
        (with("x-long", &"x".repeat(5000)), 431),
        (Request::get("ftp://o.test/").body(()).expect("a request"), 501),
        (Request::trace("http://o.test/").header("content-length", 1).body(()).expect("one"), 400),
    ] {
        let told = format!("{} {}", request.method(), request.uri());
        let mut client = client.clone().ready().await.expect("a stream");
        let (answer, mut up) = client.send_request(request, false).expect("sent");
        drop(up.send_data(Bytes::from_static(b"x"), true));
        assert_eq!(answer.await.expect("an answer").status(), status, "{told}");
    }
    // What has no answer in HTTP/1.1 is reset.
    for request in [with("host", "p.test"), with("x-a", "a\t")] {
        let error = ask(&client, request).await.expect_err("a reset");
        assert_eq!(error.reason(), Some(h2::Reason::PROTOCOL_ERROR));
    }
    assert_eq!(ask(&client, get("http://o.test/")).await.expect("an answer").status(), 200);
    assert_eq!(cluster.frontend_stats().refused, 5);
    assert_eq!(cluster.arrivals().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_and_metrics_tell_of_it() {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let port = server.local_addr().expect("bound").port();
    let targets = json!([{
        "to": {"udp": ["127.0.0.1", port]}, "format": "httplog", "framing": "rfc3164",
        "facility": 16, "tag": "haproxy"
    }]);
    let cluster = cluster(1, json!({"log_targets": targets})).await;
    let client = connect(cluster.frontend).await;
    let line = async || {
        let mut buffer = [0; 4096];
        let received = tokio::time::timeout(testkit::wait::PATIENCE, server.recv(&mut buffer));
        let length = received.await.expect("a message").expect("received");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    };
    assert_eq!(ask(&client, get("http://o.test/a")).await.expect("an answer").status(), 200);
    let told = line().await;
    assert!(told.ends_with("\"GET http://o.test/a HTTP/2.0\""), "{told}");
    let tunnel = Request::connect("b.test:443").body(()).expect("a request");
    let (answer, mut up) = client.clone().send_request(tunnel, false).expect("sent");
    assert_eq!(answer.await.expect("an answer").status(), 200);
    up.send_data(Bytes::new(), true).expect("sent");
    let told = line().await;
    assert!(told.ends_with("\"CONNECT b.test:443 HTTP/2.0\""), "{told}");
    let too_long = Request::get("http://o.test/").header("x", "y".repeat(70_000)).body(());
    assert_eq!(ask(&client, too_long.expect("one")).await.expect("an answer").status(), 431);
    let told = line().await;
    assert!(told.ends_with("\"<BADREQ>\""), "{told}");
    let totals = &cluster.view.stats().frontends[0].totals;
    assert_eq!((totals.http2.connections, totals.http2.streams), (1, 3));
}
