//! What passes through, as it should.

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use proxy_node::explain;

use crate::support::{Origin, Proxy, Then, connect, read_head, read_reply, response};

#[test]
fn the_header_rules() {
    let origin = Origin::start(|stream, head| {
        drop(stream.write_all(response("", head).as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    let fields = "X-Mixed-Case: Kept\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic \
        x\r\nConnection: x-named\r\nX-Named: gone\r\nUpgrade: websocket\r\nTE: \
        trailers\r\nKeep-Alive: 5\r\n";
    let request =
        format!("GET {} HTTP/1.1\r\nHost: other.example\r\n{fields}\r\n", origin.url("/p?q=%7e"));
    let mut stream = connect(proxy.address);
    stream.write_all(request.as_bytes()).unwrap();
    let seen = read_reply(&mut stream, "GET").text();
    assert!(
        seen.starts_with(&format!(
            "GET /p?q=~ HTTP/1.1\r\nHost: {}\r\nX-Mixed-Case: Kept\r\n",
            origin.address
        )),
        "{seen}"
    );
    for gone in ["Proxy-", "X-Named", "Upgrade", "TE:", "Keep-Alive", "websocket"] {
        assert!(!seen.contains(gone), "{gone}: {seen}");
    }
    assert!(
        seen.contains("Via: 1.1 proxy-node-1.test\r\n")
            && seen.contains("X-Forwarded-For: 127.0.0.1\r\n"),
        "{seen}"
    );
}

#[test]
fn bodies_trailers_and_interim_responses() {
    let origin =
        Origin::start(|stream, head| {
            if head.contains("Expect: 100-continue") {
                drop(stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n"));
            }
            let body = if head.contains("chunked") {
                let mut body = Vec::new();
                let mut byte = [0];
                while !body.ends_with(b"\r\n\r\n") {
                    stream.read_exact(&mut byte).unwrap();
                    body.push(byte[0]);
                }
                body
            } else {
                let mut body = vec![0; 5];
                stream.read_exact(&mut body).unwrap();
                body
            };
            drop(stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"));
            drop(stream.write_all(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n",
            ));
            drop(write!(stream, "{:x}\r\n", body.len()));
            drop(stream.write_all(&body));
            drop(stream.write_all(b"\r\n0\r\nX-Sum: 9\r\n\r\n"));
            Then::Keep
        });
    let proxy = Proxy::start();
    let mut stream = connect(proxy.address);
    stream
        .write_all(
            format!(
                "POST {} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
                origin.url("/")
            )
            .as_bytes(),
        )
        .unwrap();
    assert!(read_head(&mut stream).unwrap().starts_with("HTTP/1.1 100 "));
    stream.write_all(b"hello").unwrap();
    let hints = read_head(&mut stream).unwrap();
    assert!(hints.starts_with("HTTP/1.1 103 ") && hints.contains("Link: </a>"), "{hints}");
    let reply = read_reply(&mut stream, "POST");
    assert_eq!((reply.status, reply.text().as_str()), (200, "helloX-Sum: 9"));
    // The same connection carries the next one, in chunks with trailers.
    stream
        .write_all(
            format!(
                "POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \
                chunked\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n",
                origin.url("/")
            )
            .as_bytes(),
        )
        .unwrap();
    assert!(read_head(&mut stream).unwrap().starts_with("HTTP/1.1 103 "));
    let reply = read_reply(&mut stream, "POST");
    assert!(reply.text().contains("2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n"), "{}", reply.text());
    // Interim responses are not for those who do not know them.
    let mut old = connect(proxy.address);
    old.write_all(
        format!("POST {} HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", origin.url("/")).as_bytes(),
    )
    .unwrap();
    let head = read_head(&mut old).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && !head.contains("chunked"), "{head}");
    let mut body = String::new();
    old.read_to_string(&mut body).unwrap();
    assert_eq!(body, "hello");
}

#[test]
fn a_body_without_length_passes_and_is_not_kept() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nConnection: close\r\n\r\nuntil the end",
        Then::Close,
    );
    let proxy = Proxy::start();
    let reply = proxy.get(&origin.url("/"));
    assert!(
        reply.complete
            && reply.text() == "until the end"
            && reply.field("transfer-encoding") == Some("chunked")
    );
    assert_eq!(proxy.node.store.objects(), 0);
}

#[test]
fn connections_are_pooled_and_a_dead_one_costs_no_request() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let origin = Origin::start(move |stream, _| {
        drop(stream.write_all(response("Cache-Control: no-store\r\n", "x").as_bytes()));
        // Every third request ends the connection without a word.
        if counted.fetch_add(1, Ordering::SeqCst) % 3 == 2 { Then::Close } else { Then::Keep }
    });
    let proxy = Proxy::start();
    let mut stream = connect(proxy.address);
    for _ in 0..30 {
        stream
            .write_all(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.url("/")).as_bytes())
            .unwrap();
        assert_eq!(read_reply(&mut stream, "GET").status, 200);
    }
    assert!(origin.connections() <= 12, "{} connections for 30 requests", origin.connections());
    assert!(proxy.node.metrics.upstream_reused.get() >= 18);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start(|stream, head| {
        drop(stream.write_all(response("", head.split(' ').nth(1).unwrap()).as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    let mut stream = connect(proxy.address);
    let requests: String = (0..10)
        .map(|number| {
            format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.url(&format!("/{number}")))
        })
        .collect();
    stream.write_all(requests.as_bytes()).unwrap();
    for number in 0..10 {
        assert_eq!(read_reply(&mut stream, "GET").text(), format!("/{number}"));
    }
}

#[test]
fn a_refused_request_with_a_body_ends_the_connection() {
    let proxy = Proxy::with(|document| document.access.rules.clear());
    let mut stream = connect(proxy.address);
    stream
        .write_all(
            b"POST http://a.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\nGET \
                http://b.example/ HTTP/1.1\r\nHost: b\r\n\r\n",
        )
        .unwrap();
    let reply = read_reply(&mut stream, "POST");
    assert_eq!((reply.status, reply.field("connection")), (403, Some("close")));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
    assert!(reply.text().contains("no rule matches"));
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn big_bodies_stream_in_little_memory() {
    const MIB: usize = 192;
    let origin = Origin::start(|stream, head| {
        if head.starts_with("POST") {
            let mut left = MIB << 20;
            let mut buffer = vec![0; 65_536];
            while left > 0 {
                left -= stream.read(&mut buffer).unwrap();
            }
            drop(stream.write_all(response("", "").as_bytes()));
            return Then::Keep;
        }
        let chunked = head.contains("/chunked");
        let framing = if chunked {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {}", MIB << 20)
        };
        drop(stream.write_all(
            format!("HTTP/1.1 200 OK\r\n{framing}\r\nCache-Control: max-age=60\r\n\r\n").as_bytes(),
        ));
        for _ in 0..MIB {
            let (begin, end): (&[u8], &[u8]) =
                if chunked { (b"100000\r\n", b"\r\n") } else { (b"", b"") };
            drop(stream.write_all(begin));
            drop(stream.write_all(&vec![b'm'; 1 << 20]));
            drop(stream.write_all(end));
        }
        if chunked {
            drop(stream.write_all(b"0\r\n\r\n"));
        }
        Then::Keep
    });
    let proxy = Proxy::start();
    let before = resident();
    let mut most = before;
    let mut buffer = vec![0; 1 << 20];
    for path in ["/length", "/chunked"] {
        let mut stream = connect(proxy.address);
        stream
            .write_all(
                format!(
                    "GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                    origin.url(path)
                )
                .as_bytes(),
            )
            .unwrap();
        let mut total = 0;
        loop {
            let read = stream.read(&mut buffer).unwrap();
            if read == 0 {
                break;
            }
            total += read;
            most = most.max(resident());
        }
        assert!(total >= MIB << 20, "{path}: {total}");
    }
    let mut stream = connect(proxy.address);
    stream
        .write_all(
            format!(
                "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
                origin.url("/"),
                MIB << 20
            )
            .as_bytes(),
        )
        .unwrap();
    for _ in 0..MIB {
        stream.write_all(&buffer).unwrap();
        most = most.max(resident());
    }
    assert_eq!(read_reply(&mut stream, "POST").status, 200);
    // Other tests run in this process too; a body held as a whole would not fit all the same.
    assert!(most - before < 128 << 10, "{} KiB more than before", most - before);
}

#[test]
fn what_is_explained_is_what_happens() {
    let origin = Origin::answering(response("Cache-Control: max-age=60\r\n", "x"), Then::Keep);
    let proxy = Proxy::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let explain = |url: &str, method: &str| {
        let now = proxy_node::clock::unix_millis();
        runtime.block_on(explain::explain(
            &proxy.node,
            url,
            method,
            "127.0.0.1".parse().unwrap(),
            &Default::default(),
            now,
        ))
    };
    let url = origin.url("/e");
    let before = explain(&url, "").unwrap();
    assert!(before.allowed);
    assert_eq!(
        (before.cache, before.rule.as_str(), before.revision.as_str()),
        ("miss", "allow: [all] (rule 1)", "r1")
    );
    assert_eq!(before.route, format!("origin {}", origin.address));
    assert_eq!(origin.requests().len(), 0, "nothing was sent");
    proxy.get(&url);
    assert_eq!(explain(&url, "GET").unwrap().cache, "hit");
    assert_eq!(explain(&url, "POST").unwrap().cache, "bypass");
    let tunnel = explain("127.0.0.1:443", "CONNECT").unwrap();
    assert!(tunnel.allowed && tunnel.cache.is_empty());
    let own = explain(&format!("http://{}/", proxy.address), "").unwrap();
    assert!(
        !own.allowed
            && own.steps.iter().any(|step| step.contains("one of the cluster's own ports")),
        "{own:?}"
    );
    assert_eq!(
        (own.rule.as_str(), own.route.as_str()),
        ("proxy.access.egress (one of the cluster's own ports)", "")
    );
    assert!(explain("not a url", "").is_err());
}

#[test]
fn what_passes_here_passes_at_the_next_hop() {
    // Whoever of us reads our answers takes 1024 fields, and some of them are ours.
    for (fields, status) in [(980, 200), (1010, 502), (1100, 502)] {
        for method in ["GET", "POST"] {
            let origin =
                Origin::answering(response(&"X: y\r\n".repeat(fields), "hello"), Then::Keep);
            let proxy = Proxy::start();
            let reply = proxy.ask(
                method,
                &origin.url("/"),
                if method == "POST" { "Content-Length: 0\r\n" } else { "" },
            );
            assert_eq!(reply.status, status, "{method} {fields}");
            assert!(reply.head.lines().count() < 1024, "{}", reply.head);
        }
    }
}

#[test]
fn an_answer_that_overtakes_its_request_ends_the_connection_in_words() {
    let origin = Origin::answering(response("", "early"), Then::Keep);
    let proxy = Proxy::start();
    let mut stream = connect(proxy.address);
    let head =
        format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", origin.url("/"));
    stream.write_all(head.as_bytes()).unwrap();
    let reply = read_reply(&mut stream, "POST");
    assert_eq!((reply.status, reply.field("connection")), (200, Some("close")));
}

#[test]
fn a_response_that_has_no_meaning_ends_the_connection_of_its_client() {
    for method in ["GET", "POST"] {
        let origin = Origin::answering(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx".to_vec(),
            Then::Keep,
        );
        let proxy = Proxy::start();
        let mut stream = connect(proxy.address);
        stream
            .write_all(
                format!(
                    "{method} {} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
                    origin.url("/")
                )
                .as_bytes(),
            )
            .unwrap();
        let reply = read_reply(&mut stream, method);
        assert_eq!((reply.status, reply.field("connection")), (502, Some("close")), "{method}");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{method}");
    }
}

#[test]
fn a_client_that_has_said_that_it_is_done_is_not_waited_for() {
    let origin = Origin::answering(response("", "hello"), Then::Keep);
    let proxy = Proxy::start();
    let mut stream = connect(proxy.address);
    stream
        .write_all(
            format!("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", origin.url("/"))
                .as_bytes(),
        )
        .unwrap();
    assert_eq!(read_reply(&mut stream, "GET").status, 200);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    // The node has closed both directions: what comes now is answered with a reset.
    while stream.write_all(b"x").is_ok() {
        std::thread::yield_now();
    }
}

#[test]
fn interim_responses_come_to_an_end() {
    for method in ["GET", "POST"] {
        let origin = Origin::start(|stream, _| {
            while stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").is_ok() {}
            Then::Close
        });
        let proxy = Proxy::start();
        let mut stream = connect(proxy.address);
        let head = format!(
            "{method} {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            origin.url("/")
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(all.len() < 200_000, "{method}: {} bytes", all.len());
        // What was sent before is no answer yet: there is one all the same.
        assert!(String::from_utf8_lossy(&all).contains("HTTP/1.1 502 "), "{method}");
    }
}

/// Parents could not reach it, or would tell of themselves instead of this node.
#[test]
fn the_target_of_a_health_checker_is_never_asked_of_a_parent() {
    let parent = cluster_config::document::proxy::Parent {
        host: "192.0.2.1".into(),
        port: 3128,
        login: None,
        select: Default::default(),
        weight: 1,
        tls: false,
    };
    let proxy = Proxy::with(|document| document.parents = vec![parent.into()]);
    let target: std::net::SocketAddr = "192.0.2.7:7409".parse().unwrap();
    proxy
        .node
        .probe_targets
        .store(std::sync::Arc::new(proxy_node::egress::ProbeTargets::new([(target, None)].into())));
    let generation = proxy.node.current.load_full();
    let at = |port| proxy_node::request::Destination {
        host: "192.0.2.7".into(),
        address: Some(target.ip()),
        port,
        tls: false,
    };
    for (port, direct) in [(7409, true), (80, false)] {
        let destination = at(port);
        assert_eq!(
            matches!(
                proxy.node.route(&generation, &destination, false),
                proxy_node::route::Route::Direct(_)
            ),
            direct,
            "{port}"
        );
    }
}
