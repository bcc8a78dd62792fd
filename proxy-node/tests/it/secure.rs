//! `https://` in absolute form: the node speaks TLS with the origin, and believes nobody unseen.

use std::{
    collections::{BTreeMap, HashMap},
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    time::Duration,
};

use cluster_config::document::{
    Acl, Rule, Term, UrlPattern, Verdict,
    proxy::{Parent, Parents, Select},
};

use crate::{
    support::{Origin, Proxy, Reply, Then, connect, read_head, read_reply, response},
    tls_origin::{GOOD, Session, Shown, TlsOrigin, trusting},
};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const FRESH: &str = "Cache-Control: max-age=60\r\n";

fn names() -> HashMap<&'static str, Vec<IpAddr>> {
    ["a.test", "b.test", "other.test"].map(|name| (name, vec![HERE])).into()
}

fn node() -> Proxy {
    Proxy::with_names(trusting, names())
}

/// A client's connection: one worker, and so one pool.
struct Client(TcpStream);

impl Client {
    fn of(proxy: &Proxy) -> Self {
        Self(connect(proxy.address))
    }

    fn ask(&mut self, method: &str, url: &str, fields: &str) -> Reply {
        self.0
            .write_all(
                format!(
                    "{method} {url} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n",
                    url.split('/').nth(2).unwrap()
                )
                .as_bytes(),
            )
            .unwrap();
        read_reply(&mut self.0, method)
    }

    fn get(&mut self, url: &str) -> Reply {
        self.ask("GET", url, "")
    }
}

fn cache_status(reply: &Reply) -> &str {
    reply.field("cache-status").unwrap_or_default()
}

#[test]
fn it_is_fetched_kept_and_its_connection_used_again() {
    let origin = TlsOrigin::answering(GOOD, response(FRESH, "secret"));
    let proxy = node();
    let mut client = Client::of(&proxy);
    let url = origin.url("a.test", "/x");
    let miss = client.ask("GET", &url, "Proxy-Authorization: Basic x\r\n");
    assert_eq!(
        (miss.status, miss.text().as_str(), cache_status(&miss).contains("stored")),
        (200, "secret", true),
        "{}",
        miss.head
    );
    let spelt = url.replace("https://a.test", "HTTPS://A.Test.");
    let hit = client.get(&spelt);
    assert!(hit.text() == "secret" && cache_status(&hit).contains("; hit"), "{}", hit.head);
    assert_eq!(client.get(&origin.url("a.test", "/y")).text(), "secret");
    assert_eq!((origin.requests().len(), origin.connections()), (2, 1));
    let asked = origin.requests().remove(0);
    assert!(
        asked.starts_with("GET /x HTTP/1.1\r\n")
            && asked.contains(&format!("\r\nHost: a.test:{}\r\n", origin.address.port())),
        "{asked}"
    );
    assert!(asked.contains("\r\nVia: 1.1 ") && !asked.contains("Proxy-Authorization"), "{asked}");
    // As it was sent, and what answered.
    let lines = proxy.log_lines(3);
    assert!(
        lines[0].contains(&format!("GET {url} ")) && lines[0].contains("/127.0.0.1 "),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].contains(&format!("GET {spelt} ")) && lines[1].contains("HIT"),
        "{}",
        lines[1]
    );
    // Without TLS it is another resource.
    let plain = proxy.get(&url.replace("https://", "http://"));
    assert!(plain.status == 502 && !cache_status(&plain).contains("hit"), "{}", plain.head);
}

#[test]
fn an_address_is_a_name_too() {
    let origin = TlsOrigin::answering(GOOD, response("", "here"));
    assert_eq!(node().get(&origin.url("127.0.0.1", "/")).text(), "here");
}

#[test]
fn nobody_is_believed_who_does_not_show_a_good_certificate() {
    let shows: [(Shown, &str, &str); 5] = [
        (Shown { names: &["other.test"], ..GOOD }, "tls_certificate_error", "for another name"),
        (Shown { names: &["*.a.test"], ..GOOD }, "tls_certificate_error", "for another name"),
        (Shown { foreign: true, ..GOOD }, "tls_certificate_error", "authority that is not trusted"),
        (Shown { valid: (2001, 2002), ..GOOD }, "tls_certificate_error", "has expired"),
        (Shown { valid: (2090, 2100), ..GOOD }, "tls_certificate_error", "not valid yet"),
    ];
    let proxy = node();
    for (shown, error, words) in shows {
        let origin = TlsOrigin::answering(shown, response(FRESH, "never"));
        for method in ["GET", "POST"] {
            let refused = proxy.ask(method, &origin.url("a.test", "/"), "Content-Length: 0\r\n");
            assert_eq!(refused.status, 502, "{words}: {}", refused.head);
            let status = refused.field("proxy-status").unwrap();
            assert!(
                status.contains(&format!("error={error}")) && status.contains(words),
                "{status}"
            );
            assert!(
                refused.text().contains(words)
                    && refused.text().contains("Nothing was sent to it."),
                "{}",
                refused.text()
            );
        }
        assert!(origin.requests().is_empty(), "{words}: it heard of the request");
    }
    // Nor is anybody without an authority of ours at all.
    let origin = TlsOrigin::answering(GOOD, response("", "never"));
    let unbelieving = Proxy::with_names(|document| document.origin_tls.system_ca = false, names());
    let refused = unbelieving.get(&origin.url("a.test", "/"));
    assert!(
        refused.status == 502 && refused.text().contains("ca_file") && origin.requests().is_empty(),
        "{}",
        refused.text()
    );
}

#[test]
fn what_speaks_no_tls_or_another_protocol_in_it_is_told_apart() {
    let proxy = node();
    let url = |port: u16| format!("https://a.test:{port}/");
    let error = |reply: &Reply| {
        (
            reply.status,
            reply
                .field("proxy-status")
                .unwrap()
                .split("error=")
                .nth(1)
                .unwrap()
                .split(';')
                .next()
                .unwrap()
                .to_owned(),
        )
    };
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = plain.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in plain.incoming().flatten() {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
            drop(stream.read_to_end(&mut Vec::new()));
        }
    });
    let reply = proxy.get(&url(port));
    assert_eq!(error(&reply), (502, "tls_protocol_error".to_owned()));
    assert!(
        reply.text().contains("does not speak TLS") && reply.text().contains("http://"),
        "{}",
        reply.text()
    );
    let other = TlsOrigin::answering(Shown { protocols: &[b"h2"], ..GOOD }, "");
    let reply = proxy.get(&other.url("a.test", "/"));
    assert_eq!(error(&reply), (502, "tls_alert_received".to_owned()));
    assert!(reply.text().contains("no HTTP/1.1"), "{}", reply.text());
    let closes = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closes.local_addr().unwrap().port();
    std::thread::spawn(move || closes.incoming().flatten().for_each(drop));
    assert_eq!(error(&proxy.get(&url(port))), (502, "connection_terminated".to_owned()));
    let proxy = Proxy::with_names(
        |document| {
            trusting(document);
            document.timeouts.connect = Duration::from_millis(200);
        },
        names(),
    );
    // The kernel takes the connection, and nobody says a word.
    let stalls = TcpListener::bind("127.0.0.1:0").unwrap();
    let reply = proxy.get(&url(stalls.local_addr().unwrap().port()));
    assert_eq!(error(&reply), (504, "connection_timeout".to_owned()));
    assert!(reply.text().contains("TLS handshake"), "{}", reply.text());
}

#[test]
fn an_answer_that_ends_with_tls_is_kept_if_tls_says_that_it_ends() {
    for (ends, kept) in [(Then::Close, true), (Then::Reset, false)] {
        let origin = TlsOrigin::start(GOOD, move |session, _| {
            drop(
                session
                    .write_all(format!("HTTP/1.1 200 OK\r\n{FRESH}\r\nup to the end").as_bytes()),
            );
            ends
        });
        let proxy = node();
        let url = origin.url("a.test", "/");
        let first = proxy.get(&url);
        assert_eq!(
            (first.text().as_str(), first.complete),
            ("up to the end", kept),
            "{}",
            first.head
        );
        let second = proxy.get(&url);
        assert_eq!(cache_status(&second).contains("; hit"), kept, "{}", second.head);
        assert_eq!(origin.requests().len(), if kept { 1 } else { 2 });
        // Past the cache it is told apart as well.
        let past = proxy.ask("POST", &url, "Content-Length: 0\r\n");
        assert_eq!((past.text().as_str(), past.complete), ("up to the end", kept), "{}", past.head);
    }
}

#[test]
fn a_cut_in_the_middle_is_a_cut() {
    let origin = TlsOrigin::start(GOOD, |session, _| {
        drop(session.write_all(
            format!("HTTP/1.1 200 OK\r\n{FRESH}Content-Length: 100000\r\n\r\n").as_bytes(),
        ));
        drop(session.write_all(&[b'x'; 40_000]));
        Then::Close
    });
    let proxy = node();
    let reply = proxy.get(&origin.url("a.test", "/"));
    assert!(
        reply.status == 200 && !reply.complete && reply.body.len() == 40_000,
        "{} {}",
        reply.body.len(),
        reply.head
    );
    assert!(!cache_status(&proxy.get(&origin.url("a.test", "/"))).contains("; hit"));
}

#[test]
fn every_kind_of_request_goes_through() {
    let body: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
    let origin = TlsOrigin::start(GOOD, {
        let body = body.clone();
        move |session, head| {
            let sent = head
                .to_ascii_lowercase()
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.split('\r').next().unwrap().parse().unwrap());
            let mut received = vec![0; sent];
            session.read_exact(&mut received).unwrap();
            let answer: &[u8] = if sent > 0 { &received } else { &body };
            drop(
                session.write_all(
                    format!("HTTP/1.1 200 OK\r\n{FRESH}Content-Length: {}\r\n\r\n", answer.len())
                        .as_bytes(),
                ),
            );
            if !head.starts_with("HEAD") {
                drop(session.write_all(answer));
            }
            Then::Keep
        }
    });
    let proxy = node();
    let mut client = Client::of(&proxy);
    let head = client.ask("HEAD", &origin.url("a.test", "/h"), "");
    assert_eq!((head.status, head.field("content-length")), (200, Some("200000")));
    let url = origin.url("a.test", "/post");
    client
        .0
        .write_all(
            format!(
                "POST {url} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )
            .as_bytes(),
        )
        .unwrap();
    client.0.write_all(&body).unwrap();
    assert!(read_reply(&mut client.0, "POST").body == body, "what was posted came back");
    assert!(client.get(&origin.url("a.test", "/long")).body == body);
    let part = client.ask("GET", &origin.url("a.test", "/long"), "Range: bytes=10-19\r\n");
    assert_eq!((part.status, part.body.as_slice()), (206, &body[10..20]), "{}", part.head);
    assert_eq!(origin.connections(), 1, "one connection for all of them");
}

#[test]
fn a_connection_is_used_for_nobody_else() {
    let origin = TlsOrigin::answering(GOOD, response("", "x"));
    let mut proxy = node();
    let mut client = Client::of(&proxy);
    for (name, connections) in
        [("a.test", 1), ("b.test", 2), ("a.test", 2), ("127.0.0.1", 3), ("b.test", 3)]
    {
        assert_eq!(client.get(&origin.url(name, "/")).status, 200);
        assert_eq!(origin.connections(), connections, "{name}");
    }
    // Who is not trusted any more is not spoken to on a connection from the time when it was.
    proxy.change(|document| {
        document.origin_tls =
            cluster_config::document::proxy::OriginTls { ca_file: None, system_ca: false }
    });
    assert_eq!(client.get(&origin.url("a.test", "/")).status, 502);
    assert_eq!(origin.requests().len(), 5);
}

#[test]
fn rules_judge_it_as_what_it_is() {
    let origin = TlsOrigin::answering(GOOD, response("", "x"));
    let proxy = Proxy::with_names(
        |document| {
            trusting(document);
            let pattern = UrlPattern { regex: "^https://a\\.test".into() };
            document.access.acls.insert("secure".into(), Acl::UrlRegex(vec![pattern]));
            let deny = Rule {
                verdict: Verdict::Deny,
                terms: vec![Term { acl: "secure".into(), negated: false }],
                page: None,
            };
            document.access.rules.insert(0, deny);
        },
        names(),
    );
    assert_eq!(proxy.get(&origin.url("a.test", "/")).status, 403);
    assert_eq!(proxy.get(&origin.url("b.test", "/")).status, 200);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let explain = |url: &str| {
        let fields = BTreeMap::new();
        runtime
            .block_on(proxy_node::explain::explain(&proxy.node, url, "GET", HERE, &fields, 0))
            .unwrap()
    };
    let told = explain(&origin.url("b.test", "/"));
    assert!(told.allowed && told.route == format!("origin {}", origin.address), "{told:?}");
    assert!(
        told.steps.iter().any(|step| step.starts_with("tls: ")
            && step.contains("a certificate for b.test by one of 1 authorities")),
        "{told:?}"
    );
    assert!(!explain(&origin.url("a.test", "/")).allowed);
}

#[test]
fn what_switches_to_another_protocol_becomes_a_tunnel() {
    let origin = TlsOrigin::start(GOOD, |session: &mut Session, _| {
        drop(session.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: \
            websocket\r\nConnection: Upgrade\r\n\r\n",
        ));
        let mut bytes = [0; 8192];
        while let Ok(read @ 1..) = session.read(&mut bytes) {
            drop(session.write_all(&bytes[..read]));
        }
        Then::Close
    });
    let proxy = node();
    let mut stream = connect(proxy.address);
    let url = origin.url("a.test", "/chat");
    stream
        .write_all(
            format!(
                "GET {url} HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: \
            websocket\r\n\r\n"
            )
            .as_bytes(),
        )
        .unwrap();
    assert!(read_head(&mut stream).unwrap().starts_with("HTTP/1.1 101 "));
    let sent = vec![7; 100_000];
    let mut writing = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        writing.write_all(&sent).unwrap();
        writing.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(received == vec![7; 100_000], "{}", received.len());
    writer.join().unwrap();
}

/// A parent that opens tunnels to this host, whatever it is asked for, and says what it was asked.
fn parent() -> Origin {
    Origin::start(|stream, head| {
        let port = head.split(':').nth(1).unwrap().split(' ').next().unwrap();
        let upstream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let (mut from, mut to) = (upstream.try_clone().unwrap(), stream.try_clone().unwrap());
        std::thread::spawn(move || {
            drop(std::io::copy(&mut from, &mut to));
            drop(to.shutdown(std::net::Shutdown::Both));
        });
        drop(std::io::copy(stream, &mut { upstream }));
        Then::Close
    })
}

#[test]
fn through_a_parent_it_goes_in_a_tunnel() {
    let origin = TlsOrigin::answering(GOOD, response(FRESH, "beyond"));
    let (first, second) = (parent(), parent());
    let proxy = Proxy::with_names(
        |document| {
            trusting(document);
            let at = |parent: &Origin| {
                Parents::from(Parent {
                    host: "127.0.0.1".into(),
                    port: parent.address.port(),
                    login: None,
                    select: Select::First,
                    weight: 1,
                    tls: false,
                })
            };
            document.parents = vec![at(&first), at(&second)];
        },
        names(),
    );
    let mut client = Client::of(&proxy);
    for path in ["/x", "/y", "/x"] {
        let reply = client.ask(
            "GET",
            &origin.url("a.test", path),
            "Proxy-Authorization: Basic x\r\nCookie: c\r\n",
        );
        assert_eq!(reply.text(), "beyond", "{}", reply.head);
    }
    let port = origin.address.port();
    assert_eq!(first.requests().len(), 1, "one tunnel for both");
    let asked = first.requests().remove(0);
    assert!(
        asked.starts_with(&format!("CONNECT a.test:{port} HTTP/1.1\r\nHost: a.test:{port}\r\n"))
            && !asked.contains("Cookie"),
        "{asked}"
    );
    let asked = origin.requests().remove(0);
    assert!(
        asked.starts_with("GET /x HTTP/1.1\r\n") && !asked.contains("Proxy-Authorization"),
        "{asked}"
    );
    // What the tunnel leads to has to show who it is, too, and it is no fault of the parent's.
    let foreign = TlsOrigin::answering(Shown { foreign: true, ..GOOD }, response("", "never"));
    let refused = proxy.get(&foreign.url("a.test", "/"));
    assert!(
        refused.status == 502
            && refused.field("proxy-status").unwrap().contains("tls_certificate_error"),
        "{}",
        refused.head
    );
    assert!(second.requests().is_empty() && foreign.requests().is_empty());
    // What the destination answers is its own word, though a parent that answered so would be
    // passed over.
    let busy =
        TlsOrigin::answering(GOOD, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(proxy.get(&busy.url("a.test", "/")).status, 503);
    assert!(busy.requests().len() == 1 && second.requests().is_empty());
    // A parent that opens none is its own word.
    let refusing =
        Origin::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", Then::Close);
    let proxy = Proxy::with_names(
        |document| {
            document.parents = vec![
                Parent {
                    host: "127.0.0.1".into(),
                    port: refusing.address.port(),
                    login: None,
                    select: Select::First,
                    weight: 1,
                    tls: false,
                }
                .into(),
            ]
        },
        names(),
    );
    let refused = proxy.get(&origin.url("a.test", "/"));
    assert!(
        refused.status == 502 && refused.text().contains("refused the tunnel with status 403"),
        "{}",
        refused.text()
    );
}
