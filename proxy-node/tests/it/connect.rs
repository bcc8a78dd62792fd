//! Tunnels.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
};

use cluster_config::document::{Acl, PortRange, Rule, Term, Verdict, proxy::Parent};

use crate::support::{Origin, Proxy, Then, connect, read_head, read_reply, response, until};

/// Accepts one connection and echoes until its end, then says goodbye.
fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut received = Vec::new();
                drop(stream.read_to_end(&mut received));
                // Only after the other direction was closed: a half-closed tunnel still carries
                // this.
                drop(stream.write_all(&received));
                drop(stream.write_all(b" goodbye"));
            });
        }
    });
    address
}

fn tunnel(proxy: &Proxy, target: &str) -> (TcpStream, String) {
    let mut stream = connect(proxy.address);
    // Bytes behind the head belong to the tunnel.
    stream
        .write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nearly ").as_bytes())
        .unwrap();
    let head = read_head(&mut stream).unwrap();
    (stream, head)
}

#[test]
fn bytes_go_both_ways_and_each_direction_closes_by_itself() {
    let proxy = Proxy::start();
    let (mut stream, head) = tunnel(&proxy, &echo().to_string());
    assert!(
        head.starts_with("HTTP/1.1 200 ") && !head.to_ascii_lowercase().contains("content-length"),
        "{head}"
    );
    stream.write_all(b"late").unwrap();
    until("the tunnel counts", || (proxy.node.metrics.active_tunnels.get() == 1).then_some(()));
    stream.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all, "early late goodbye");
    until("the tunnel has ended", || (proxy.node.metrics.active_tunnels.get() == 0).then_some(()));
    let line = proxy.log_lines(1).remove(0);
    assert!(
        line.contains(" TCP_TUNNEL/200 ")
            && line.contains(" CONNECT 127.0.0.1:")
            && line.contains(" HIER_DIRECT/127.0.0.1 -"),
        "{line}"
    );
}

#[test]
fn much_goes_through() {
    let proxy = Proxy::start();
    let (mut stream, _) = tunnel(&proxy, &echo().to_string());
    let mut sender = stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        for _ in 0..256 {
            sender.write_all(&[b'x'; 65_536]).unwrap();
        }
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    sending.join().unwrap();
    assert_eq!(all.len(), 6 + 256 * 65_536 + 8);
}

#[test]
fn what_is_not_opened_is_answered_and_closed() {
    let dead = testkit::port::free();
    let proxy = Proxy::with(|document| {
        document.access.acls.insert("connect".into(), Acl::Method(vec!["CONNECT".into()]));
        document
            .access
            .acls
            .insert("low".into(), Acl::Port(vec![PortRange { first: 1, last: 1023 }]));
        let terms = ["connect", "low"].map(|acl| Term { acl: acl.into(), negated: false }).to_vec();
        document.access.rules.insert(0, Rule { verdict: Verdict::Deny, terms, page: None });
    });
    for (target, status, error) in [
        (dead.to_string(), 502, "connection_refused"),
        ("127.0.0.1:25".to_owned(), 403, "http_request_denied"),
        (proxy.address.to_string(), 403, "destination_ip_prohibited"),
        (proxy.relay.to_string(), 403, "destination_ip_prohibited"),
        ("nowhere.example:8443".to_owned(), 502, "dns_error"),
        ("169.254.169.254:8080".to_owned(), 403, "destination_ip_prohibited"),
    ] {
        let mut stream = connect(proxy.address);
        stream
            .write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes())
            .unwrap();
        let reply = read_reply(&mut stream, "CONNECT");
        assert_eq!(reply.status, status, "{target}");
        assert_eq!(
            reply.field("proxy-status"),
            Some(format!("proxy-node-1; error={error}").as_str()),
            "{target}"
        );
        assert_eq!(reply.field("connection"), Some("close"));
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "closed");
    }
}

/// A parent that answers GETs itself and opens tunnels to where they lead.
fn parent(target: std::net::SocketAddr) -> Origin {
    Origin::start(move |stream, head| {
        if !head.starts_with("CONNECT") {
            drop(stream.write_all(response("", "by the parent").as_bytes()));
            return Then::Keep;
        }
        let upstream = TcpStream::connect(target).unwrap();
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
        let (mut from, mut to) = (stream.try_clone().unwrap(), upstream.try_clone().unwrap());
        let there = std::thread::spawn(move || {
            drop(std::io::copy(&mut from, &mut to));
            drop(to.shutdown(Shutdown::Write));
        });
        drop(std::io::copy(&mut &upstream, stream));
        drop(stream.shutdown(Shutdown::Write));
        there.join().unwrap();
        Then::Close
    })
}

#[test]
fn everything_goes_through_the_parent_when_there_is_one() {
    let parent = parent(echo());
    let at = Parent {
        host: "127.0.0.1".into(),
        port: parent.address.port(),
        login: None,
        select: Default::default(),
        weight: 1,
        tls: false,
    };
    // A dead one before it is passed over.
    let dead = Parent {
        host: "127.0.0.1".into(),
        port: testkit::port::free().port(),
        login: None,
        select: Default::default(),
        weight: 1,
        tls: false,
    };
    let proxy = Proxy::with(|document| document.parents = vec![dead.clone().into(), at.into()]);
    assert_eq!(proxy.get("http://inside.example/x").text(), "by the parent");
    let asked = parent.requests().remove(0);
    assert!(
        asked.starts_with("GET http://inside.example/x HTTP/1.1\r\nHost: inside.example\r\n"),
        "{asked}"
    );
    let (mut stream, _) = tunnel(&proxy, "inside.example:443");
    stream.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all, "early  goodbye");
    let lines = proxy.log_lines(2);
    assert!(lines.iter().all(|line| line.contains(" FIRSTUP_PARENT/127.0.0.1")), "{lines:?}");
    let proxy = Proxy::with(|document| document.parents = vec![dead.into()]);
    let reply = proxy.get("http://inside.example/x");
    assert_eq!(
        (reply.status, reply.field("proxy-status")),
        (502, Some("proxy-node-1; error=connection_refused"))
    );
}
