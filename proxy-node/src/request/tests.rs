//! Targets, clients and ids, in tables.

use relay::head::{Limits, RequestHead};

use super::*;

fn with<T>(text: &str, use_it: impl FnOnce(Request<'_>) -> T) -> T {
    let mut head = RequestHead::new();
    head.parse(text.as_bytes(), &Limits::default()).unwrap();
    use_it(head.view(text.as_bytes()))
}

#[test]
fn what_is_asked() {
    let ask_for = |host: &str, port, path, tls| {
        Ok(Ask::Fetch {
            destination: Destination { host: host.into(), address: host.parse().ok(), port, tls },
            path,
        })
    };
    let fetch = |host: &str, port, path| ask_for(host, port, path, false);
    let secure = |host: &str, port, path| ask_for(host, port, path, true);
    for (line, sender, want) in [
        ("GET http://Example.COM./a?b", Sender::Client, fetch("example.com", 80, "/a?b")),
        ("GET http://example.com:81", Sender::BalancerPooled, fetch("example.com", 81, "")),
        ("GET http://[2001:DB8::1]/", Sender::Client, fetch("2001:db8::1", 80, "/")),
        ("GET https://example.com/", Sender::Client, secure("example.com", 443, "/")),
        ("GET https://example.com:80/", Sender::Client, secure("example.com", 80, "/")),
        ("GET /", Sender::Client, Ok(Ask::Health)),
        ("HEAD /?x", Sender::Client, Ok(Ask::Health)),
        ("OPTIONS /", Sender::Client, Ok(Ask::Health)),
        ("OPTIONS *", Sender::Client, Ok(Ask::Health)),
        ("OPTIONS /x", Sender::Client, Err(Error::NotForAProxy)),
        ("OPTIONS /", Sender::BalancerPooled, Err(Error::NotForAProxy)),
        ("POST /", Sender::Client, Err(Error::NotForAProxy)),
        ("GET /index.html", Sender::Client, Err(Error::NotForAProxy)),
        ("GET /", Sender::BalancerPooled, Err(Error::NotForAProxy)),
        ("OPTIONS *", Sender::BalancerPooled, Ok(Ask::Probe)),
        ("TRACE http://example.com/", Sender::Client, Err(Error::Trace)),
        (
            "CONNECT example.com:8443",
            Sender::Client,
            Ok(Ask::Tunnel(Destination {
                host: "example.com".into(),
                address: None,
                port: 8443,
                tls: false,
            })),
        ),
    ] {
        let text = format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n");
        with(&text, |request| assert_eq!(ask(request, sender, Some("/")), want, "{line}"));
    }
    with("GET / HTTP/1.1\r\nHost: h\r\n\r\n", |request| {
        assert_eq!(ask(request, Sender::Client, None), Err(Error::NotForAProxy))
    });
    with("OPTIONS http://e/ HTTP/1.1\r\nHost: e\r\nMax-Forwards: 0\r\n\r\n", |request| {
        assert_eq!(ask(request, Sender::Client, None), Ok(Ask::Probe));
    });
    with("OPTIONS * HTTP/1.1\r\nHost: e\r\nMax-Forwards: 0\r\n\r\n", |request| {
        assert_eq!(ask(request, Sender::Client, None), Ok(Ask::Probe))
    });
    with("OPTIONS * HTTP/1.0\r\n\r\n", |request| {
        assert_eq!(ask(request, Sender::Client, None), Ok(Ask::Health))
    });
    // RFC 9110 §7.6.2: digits, and nothing else.
    for other in ["1", "+0", "-0", "0x0", "0,0", ""] {
        with(
            &format!("OPTIONS http://e/ HTTP/1.1\r\nHost: e\r\nMax-Forwards: {other}\r\n\r\n"),
            |request| {
                assert!(
                    matches!(ask(request, Sender::Client, None), Ok(Ask::Fetch { .. })),
                    "{other}"
                );
            },
        );
    }
}

#[test]
fn who_asks() {
    let downstreams: Networks = ["10.0.0.0/8".parse().unwrap()].into_iter().collect();
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    use ForwardedFor::{Append, Delete, Replace};
    use Sender::{BalancerForOne, BalancerPooled, Client};
    for (sender, source, field, unbelieved, address, forwarded) in [
        (Client, "192.0.2.1", "1.1.1.1", Replace, "192.0.2.1", Forwarded::Set(ip("192.0.2.1"))),
        (Client, "192.0.2.1", "1.1.1.1", Append, "192.0.2.1", Forwarded::Append(ip("192.0.2.1"))),
        (Client, "192.0.2.1", "1.1.1.1", Delete, "192.0.2.1", Forwarded::Remove),
        (Client, "::ffff:192.0.2.1", "", Replace, "192.0.2.1", Forwarded::Set(ip("192.0.2.1"))),
        (
            Client,
            "10.0.0.1",
            "1.1.1.1, 2.2.2.2",
            Replace,
            "2.2.2.2",
            Forwarded::Append(ip("10.0.0.1")),
        ),
        (
            Client,
            "10.0.0.1",
            "1.1.1.1, 2.2.2.2, 10.0.0.9",
            Replace,
            "2.2.2.2",
            Forwarded::Append(ip("10.0.0.1")),
        ),
        (
            Client,
            "10.0.0.1",
            "1.1.1.1, junk",
            Replace,
            "10.0.0.1",
            Forwarded::Append(ip("10.0.0.1")),
        ),
        (
            Client,
            "10.0.0.1",
            "[2001:db8::1]:99",
            Replace,
            "2001:db8::1",
            Forwarded::Append(ip("10.0.0.1")),
        ),
        (BalancerPooled, "127.0.0.1", "1.1.1.1, 2.2.2.2", Replace, "2.2.2.2", Forwarded::Keep),
        (BalancerPooled, "127.0.0.1", "", Replace, "127.0.0.1", Forwarded::Keep),
        (BalancerForOne, "3.3.3.3", "1.1.1.1", Replace, "3.3.3.3", Forwarded::Set(ip("3.3.3.3"))),
    ] {
        let trust = Trust { downstreams: &downstreams, unbelieved };
        let line = if field.is_empty() {
            String::new()
        } else {
            format!("X-Forwarded-For: {field}\r\nForwarded: for=9.9.9.9\r\n")
        };
        let text = format!("GET http://h/ HTTP/1.1\r\nHost: h\r\n{line}\r\n");
        let found = with(&text, |request| client(request, sender, ip(source), &trust));
        assert_eq!(
            (found.address, found.forwarded),
            (ip(address), forwarded),
            "{sender:?} {source} {field:?} {unbelieved:?}"
        );
        assert_eq!(found.trusted, sender != Client || source.starts_with("10."));
    }
}

#[test]
fn forwarded_is_believed_where_x_forwarded_for_would_be() {
    let downstreams: Networks = ["10.0.0.0/8".parse().unwrap()].into_iter().collect();
    let trust = Trust { downstreams: &downstreams, unbelieved: ForwardedFor::Replace };
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    for (source, lines, want) in [
        ("10.0.0.1", "Forwarded: for=192.0.2.1;proto=http;by=10.0.0.1", "192.0.2.1"),
        ("10.0.0.1", "Forwarded: proto=http; For=\"[2001:db8::1]:4711\"", "2001:db8::1"),
        (
            "10.0.0.1",
            "Forwarded: for=192.0.2.1, for=192.0.2.2\r\nForwarded: for=10.0.0.9",
            "192.0.2.2",
        ),
        ("10.0.0.1", "Forwarded: for=\"::ffff:192.0.2.1\"", "192.0.2.1"),
        ("10.0.0.1", "Forwarded: for=192.0.2.1, for=_hidden", "10.0.0.1"),
        ("10.0.0.1", "Forwarded: for=unknown", "10.0.0.1"),
        ("10.0.0.1", "Forwarded: proto=http", "10.0.0.1"),
        ("198.51.100.1", "Forwarded: for=192.0.2.1", "198.51.100.1"),
    ] {
        let text = format!("GET http://h/ HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n");
        assert_eq!(
            with(&text, |request| client(request, Sender::Client, ip(source), &trust)).address,
            ip(want),
            "{source} {lines}"
        );
    }
}

#[test]
fn only_the_trusted_name_requests() {
    let text = "GET http://h/ HTTP/1.1\r\nHost: h\r\nShoal-Request-Id: \
        01890a5d-ac96-774b-bcce-b302099a8057\r\n\r\n";
    assert!(with(text, |request| carried_id(request, true)).is_some());
    assert!(with(text, |request| carried_id(request, false)).is_none());
    let text = "GET http://h/ HTTP/1.1\r\nHost: h\r\nShoal-Request-Id: x<y\r\n\r\n";
    assert!(with(text, |request| carried_id(request, true)).is_none());
}
