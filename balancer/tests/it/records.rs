//! Every answer that carries a request id is found by that id, whoever gave it.

use crate::support::{Cluster, Mode};
use balancer::face::grpc::Face;
use futures::StreamExt;
use proto::balancer::{AccessRecord, TailAccessRequest, balancer_server::Balancer};
use testkit::{client::Answer, wait::until};
use tonic::{Code, Request};

async fn told(face: &Face, request: TailAccessRequest) -> Vec<AccessRecord> {
    let stream = face.tail_access(Request::new(request)).await.expect("records").into_inner();
    stream.map(|message| message.expect("a message").records).collect::<Vec<_>>().await.concat()
}

/// The one record of an answer, once it is kept.
async fn record_of(face: &Face, answer: &Answer) -> AccessRecord {
    let id = answer.head.field("shoal-request-id").expect("an id");
    until(format!("request {id} is kept"), || async {
        let found = told(
            face,
            TailAccessRequest { last: 9, request_id: id.to_owned(), ..Default::default() },
        )
        .await;
        assert!(found.len() < 2, "{found:?}");
        found.into_iter().next()
    })
    .await
}

async fn raw(cluster: &Cluster, text: &str) -> Answer {
    let mut client = cluster.open().await;
    client.send(text.as_bytes()).await.expect("sent");
    client.answer("GET").await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_records_like_any_other() {
    let cluster = Cluster::start(1).await;
    let face = cluster.face("");
    let long = "x".repeat(100_000);
    let looped = "GET http://o.example/loop HTTP/1.1\r\nHost: o.example\r\nVia: 1.1 \
        balancer-1.cluster-1\r\n\r\n";
    for (text, status, method, target) in [
        (
            "GET http://bad.example/x y HTTP/1.1\r\nHost: bad.example\r\n\r\n".to_owned(),
            400,
            "GET",
            "http://bad.example/x",
        ),
        ("nonsense\r\n\r\n".to_owned(), 400, "nonsense", ""),
        (
            format!("GET http://long.example/{long} HTTP/1.1\r\n\r\n"),
            414,
            "GET",
            "http://long.example/",
        ),
        (
            format!("GET http://wide.example/ HTTP/1.1\r\nHost: wide.example\r\nX: {long}\r\n\r\n"),
            431,
            "GET",
            "http://wide.example/",
        ),
        (
            "GET ftp://o.example/ HTTP/1.1\r\nHost: o.example\r\n\r\n".to_owned(),
            501,
            "GET",
            "ftp://o.example/",
        ),
        (looped.to_owned(), 508, "GET", "http://o.example/loop"),
        (
            "OPTIONS * HTTP/1.1\r\nHost: o.example\r\nMax-Forwards: 0\r\n\r\n".to_owned(),
            200,
            "OPTIONS",
            "*",
        ),
    ] {
        let answer = raw(&cluster, &text).await;
        assert_eq!(answer.status(), status, "{method} {target}");
        let record = record_of(&face, &answer).await;
        assert_eq!(
            (record.status, record.method.as_str(), record.client.as_str()),
            (status.into(), method, "127.0.0.1")
        );
        assert!(
            record.target.starts_with(target) && record.target.len() <= 4096,
            "{}",
            record.target
        );
        assert_eq!(
            (record.server.as_str(), record.attempts, record.frontend.as_str()),
            ("", 0, "proxy_frontend")
        );
        assert!(
            record.bytes > 0
                && record.ended_at.is_some()
                && (record.error.is_empty() == (status == 200)),
            "{record:?}"
        );
    }
    let mut statuses: Vec<_> = cluster.nodes.iter().map(crate::support::status).collect();
    statuses[0].admin_state = cluster::AdminState::Maintenance;
    cluster.list(&statuses);
    let unserved = until("nobody is left", || async {
        Some(cluster.get("GET", b"").await).filter(|it| it.status() == 503)
    })
    .await;
    let record = record_of(&face, &unserved).await;
    assert_eq!((record.status, record.error.as_str()), (503, "destination_unavailable"));
    let log =
        std::fs::read_to_string(cluster.directory.path().join("access.log")).expect("the log");
    assert!(
        log.contains(&record.request_id)
            && log.contains("bad.example")
            && log.contains("wide.example"),
        "{log:.2000}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_found_by_client_status_and_domain() {
    let cluster = Cluster::start(1).await;
    let face = cluster.face("");
    let relayed = cluster.get("GET", b"").await;
    let refused =
        raw(&cluster, "GET http://bad.example/x y HTTP/1.1\r\nHost: bad.example\r\n\r\n").await;
    cluster.nodes[0].set(Mode::CloseUnanswered);
    let failed = cluster.get("GET", b"").await;
    for answer in [&relayed, &refused, &failed] {
        record_of(&face, answer).await;
    }
    let id = |answer: &Answer| answer.head.field("shoal-request-id").expect("an id").to_owned();
    let all = TailAccessRequest { last: 99, ..Default::default() };
    for (request, expected) in [
        (TailAccessRequest { ..all.clone() }, vec![&relayed, &refused, &failed]),
        (TailAccessRequest { last: 1, ..all.clone() }, vec![&failed]),
        (TailAccessRequest { status: "4xx".into(), ..all.clone() }, vec![&refused]),
        (
            TailAccessRequest { status: "200".into(), client: "127.0.0.0/8".into(), ..all.clone() },
            vec![&relayed],
        ),
        (TailAccessRequest { client: "10.0.0.1".into(), ..all.clone() }, vec![]),
        (
            TailAccessRequest {
                domain: ".example".into(),
                status: "400-599".into(),
                ..all.clone()
            },
            vec![&refused, &failed],
        ),
        (
            TailAccessRequest { domain: "origin.example".into(), ..all.clone() },
            vec![&relayed, &failed],
        ),
        (TailAccessRequest { own: true, ..all.clone() }, vec![&refused, &failed]),
    ] {
        let mut found: Vec<_> = told(&face, request.clone())
            .await
            .into_iter()
            .map(|record| record.request_id)
            .collect();
        // Several workers' buffers come in any order.
        found.sort();
        let mut expected: Vec<_> = expected.into_iter().map(id).collect();
        expected.sort();
        assert!(
            found == expected || request.last == 1 && found.len() == 1,
            "{request:?}: {found:?}, not {expected:?}"
        );
    }
    let unreadable = TailAccessRequest { status: "teapot".into(), ..all };
    let refusal =
        face.tail_access(Request::new(unreadable)).await.map(|_| ()).expect_err("not a status");
    assert!(
        refusal.code() == Code::InvalidArgument && refusal.message().contains("give 404"),
        "{refusal}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_memory_has_forgotten_is_found_in_the_files() {
    let cluster = Cluster::start(1).await;
    let face = cluster.face("");
    let answer = cluster.get("GET", b"").await;
    let record = record_of(&face, &answer).await;
    let log = cluster.directory.path().join("access.log");
    let line = std::fs::read_to_string(&log).expect("the log");
    // What the process before this one wrote, and moved aside.
    let (id, then) = ("018bcfe5-687b-7000-8000-000000000000", "2023-11-14T22:13:21.5Z");
    let value: serde_json::Value = serde_json::from_str(line.trim()).expect("JSON");
    let time = value["time"].as_str().expect("a time").to_owned();
    let older = line.replace(&record.request_id, id).replace(&time, then);
    std::fs::write(cluster.directory.path().join("access.log.1"), older).expect("written");
    std::fs::write(cluster.directory.path().join("access.log.2.zst"), "x").expect("written");

    let by_id = TailAccessRequest { last: 9, request_id: id.to_owned(), ..Default::default() };
    assert_eq!(told(&face, by_id.clone()).await, [], "only memory");
    let stream = face
        .tail_access(Request::new(TailAccessRequest { search_files: true, ..by_id }))
        .await
        .expect("records")
        .into_inner();
    let messages: Vec<_> = stream.map(|message| message.expect("a message")).collect().await;
    let found: Vec<_> = messages.iter().flat_map(|message| &message.records).collect();
    assert!(
        matches!(found[..], [found] if found.request_id == id && found.target == record.target),
        "{found:?}"
    );
    let searched = messages.last().and_then(|message| message.searched.clone()).expect("how far");
    assert_eq!((searched.files, searched.stopped, searched.under_way), (2, 0, false));
    assert_eq!(searched.skipped, ["access.log.2.zst (compressed)"]);
    let all = TailAccessRequest {
        last: 9,
        status: "200".into(),
        search_files: true,
        ..Default::default()
    };
    let ids: Vec<_> = told(&face, all).await.into_iter().map(|record| record.request_id).collect();
    assert_eq!(ids, [record.request_id.as_str(), id], "each once, memory first");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_records_are_told_as_they_come() {
    let cluster = Cluster::start(1).await;
    let face = cluster.face("");
    let request =
        TailAccessRequest { last: 9, follow: true, status: "400".into(), ..Default::default() };
    let mut following =
        face.tail_access(Request::new(request)).await.expect("records").into_inner();
    let first = following.next().await.expect("a message").expect("a message");
    assert!(first.records.is_empty() && first.kept_since.is_none());
    cluster.get("GET", b"").await;
    let refused = raw(&cluster, "nonsense\r\n\r\n").await;
    let next = following.next().await.expect("a message").expect("a message");
    let ids: Vec<_> = next.records.iter().map(|record| record.request_id.as_str()).collect();
    assert_eq!(ids, [refused.head.field("shoal-request-id").expect("an id")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_counted_by_class_and_duration() {
    let cluster = Cluster::start(1).await;
    assert_eq!(cluster.get("GET", b"").await.status(), 200);
    assert_eq!(raw(&cluster, "nonsense\r\n\r\n").await.status(), 400);
    assert_eq!(
        cluster.open().await.connect("o.example:443", &[]).await.expect("a head").status(),
        Some(200)
    );
    let text = until("all three are counted", || async {
        let mut text = String::new();
        balancer::face::prometheus::write(&cluster.view, &mut text);
        text.contains("shoal_balancer_answers_total{frontend=\"proxy_frontend\",class=\"2xx\"} 2\n")
            .then_some(text)
    })
    .await;
    for line in [
        "shoal_balancer_answers_total{frontend=\"proxy_frontend\",class=\"4xx\"} 1",
        "shoal_balancer_answers_total{frontend=\"proxy_frontend\",class=\"none\"} 0",
        // How long a tunnel lasts, and what was no request, say nothing about latency.
        "shoal_balancer_request_duration_seconds_count{frontend=\"proxy_frontend\"} 1",
        "shoal_balancer_request_duration_seconds_bucket{frontend=\"proxy_frontend\",le=\"+Inf\"} 1",
        "shoal_balancer_server_answers_total{backend=\"squid_servers\",server=\"node-1\",\
         class=\"2xx\"} 2",
        "shoal_balancer_server_head_duration_seconds_count{backend=\"squid_servers\",\
         server=\"node-1\"} 2",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_lines_are_in_the_file_when_the_process_ends() {
    let cluster = Cluster::start(1).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        let answer = cluster.get("GET", b"").await;
        ids.push(answer.head.field("shoal-request-id").expect("an id").to_owned());
    }
    // No time to drain: what the workers have of the log is as young as it gets.
    cluster.running.drain(std::time::Duration::ZERO).await.expect("running");
    cluster.engine.finish_log().await;
    let file = std::fs::read_to_string(cluster.directory.path().join("access.log"))
        .expect("the access log");
    for id in ids {
        assert!(file.contains(&id), "{id} is missing in {file}");
    }
}

/// The next message at a log server, without its header, which has to be that of RFC 3164.
async fn logged(server: &tokio::net::UdpSocket) -> String {
    let mut buffer = [0; 16 * 1024];
    let length = tokio::time::timeout(testkit::wait::PATIENCE, server.recv(&mut buffer))
        .await
        .expect("a message")
        .expect("received");
    let text = String::from_utf8(buffer[..length].to_vec()).expect("text");
    let (header, message) = text.split_once("]: ").expect("a header");
    assert!(header.starts_with("<134>") && header.contains(" balancer-1 haproxy["), "{header}");
    message.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_go_to_syslog_as_haproxy_writes_them() {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let port = server.local_addr().expect("bound").port();
    let mut cluster = Cluster::with(
        1,
        serde_json::json!({"log_targets": [{
            "to": {"udp": ["127.0.0.1", port]}, "format": "httplog", "framing": "rfc3164",
            "facility": 16, "tag": "haproxy"
        }]}),
    )
    .await;
    let whole = |line: &str, end: &str| {
        let at = line.split(" [").next().expect("a client");
        assert!(at.starts_with("127.0.0.1:") && !at.ends_with(":0"), "{line}");
        assert!(line.ends_with(end), "{line}");
        line.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(cluster.get("GET", b"").await.status(), 200);
    let line = logged(&server).await;
    let fields = whole(&line, "\"GET http://origin.example/x HTTP/1.1\"");
    assert_eq!(fields[2..4], ["proxy_frontend", "squid_servers/node-1"], "{line}");
    let times: Vec<i64> = fields[4].split('/').map(|it| it.parse().expect("a number")).collect();
    assert!(times.len() == 5 && times.iter().all(|time| *time >= 0), "{line}");
    assert_eq!((fields[5].as_str(), fields[9].as_str()), ("200", "----"), "{line}");
    assert!(fields[10].starts_with("1/1/") && fields[10].ends_with("/0"), "{line}");

    let answer = raw(&cluster, "nonsense\r\n\r\n").await;
    assert_eq!(answer.status(), 400);
    let line = logged(&server).await;
    let fields = whole(&line, "\"<BADREQ>\"");
    assert_eq!(fields[3..5], ["proxy_frontend/<NOSRV>", "0/-1/-1/-1/0"], "{line}");
    assert_eq!((fields[5].as_str(), fields[9].as_str()), ("400", "PR--"), "{line}");

    cluster.nodes[0].kill().await;
    assert_eq!(cluster.get("GET", b"").await.status(), 502);
    let line = logged(&server).await;
    let fields = whole(&line, " HTTP/1.1\"");
    assert_eq!((fields[5].as_str(), fields[9].as_str()), ("502", "SC--"), "{line}");
    assert!(fields[4].starts_with("0/0/-1/-1/"), "{line}");

    // In a form of the bundle's own.
    cluster
        .apply(serde_json::json!({"log_targets": [{
            "to": {"udp": ["127.0.0.1", port]},
            "format": {"custom": "%f %b/%s %ST %{+Q}HU %H"}, "framing": "rfc3164",
            "facility": 16, "tag": "haproxy"
        }]}))
        .expect("a good configuration");
    cluster.until_applied().await;
    let line = until("a line in that form", || async {
        cluster.get("GET", b"").await;
        Some(logged(&server).await).filter(|line| !line.contains('['))
    })
    .await;
    let expected =
        "proxy_frontend squid_servers/<NOSRV> 502 \"http://origin.example/x\" balancer-1";
    assert!(line == expected || line == expected.replace("<NOSRV>", "node-1"), "{line}");

    // Without the target nothing comes any more.
    cluster.apply(serde_json::json!({})).expect("a good configuration");
    cluster.until_applied().await;
    until("it is gone", || async { cluster.targets().is_empty().then_some(()) }).await;
}
