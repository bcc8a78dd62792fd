//! Connections that switch to another protocol.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::support::{Origin, Proxy, Then, connect, read_head, read_reply, response, until};

/// Switches when it is asked to, and sends back what it gets.
fn switching() -> Origin {
    Origin::start(|stream, head| {
        if !head.contains("Upgrade: websocket\r\n") || !head.contains("Connection: upgrade\r\n") {
            drop(
                stream.write_all(response("Cache-Control: max-age=60\r\n", "not asked").as_bytes()),
            );
            return Then::Keep;
        }
        // Its first words come with the head.
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: \
            Upgrade, X-Hop\r\nX-Hop: 1\r\nSec-WebSocket-Accept: yes\r\n\r\nwelcome";
        drop(stream.write_all(answer));
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            drop(stream.write_all(&bytes[..read]));
        }
        Then::Close
    })
}

fn upgrade(proxy: &Proxy, origin: &Origin, fields: &str, more: &str) -> TcpStream {
    upgrade_at(proxy, &origin.url("/chat"), fields, more)
}

fn upgrade_at(proxy: &Proxy, url: &str, fields: &str, more: &str) -> TcpStream {
    let mut stream = connect(proxy.address);
    let request =
        format!("GET {url} HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: k\r\n{fields}\r\n{more}");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

const WEBSOCKET: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";

#[test]
fn a_websocket_becomes_a_tunnel() {
    let (origin, proxy) = (switching(), Proxy::start());
    let mut stream = upgrade(&proxy, &origin, WEBSOCKET, "early");
    let head = read_head(&mut stream).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 101 ") && head.contains("Sec-WebSocket-Accept: yes\r\n"),
        "{head}"
    );
    assert!(
        head.contains("Upgrade: websocket\r\n")
            && head.contains("Connection: upgrade\r\n")
            && !head.contains("Hop"),
        "{head}"
    );
    let mut said = [0; 12];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"welcomeearly");
    stream.write_all(b"and so on").unwrap();
    let mut said = [0; 9];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"and so on");
    assert_eq!((proxy.node.metrics.tunnels.get(), proxy.node.metrics.active_tunnels.get()), (1, 1));
    drop(stream);
    let lines = proxy.log_lines(1);
    assert!(lines[0].contains("TCP_TUNNEL/101") && lines[0].contains("GET http://"), "{lines:?}");
    until("the tunnel has ended", || (proxy.node.metrics.active_tunnels.get() == 0).then_some(()));
    let seen = origin.requests().remove(0);
    assert!(
        seen.contains("Sec-WebSocket-Key: k\r\n") && seen.matches("Upgrade:").count() == 1,
        "{seen}"
    );
    assert_eq!(proxy.node.store.objects(), 0);
}

#[test]
fn an_idle_one_ends_like_every_tunnel() {
    let origin = switching();
    let proxy = Proxy::with(|document| {
        document.timeouts.tunnel_idle = std::time::Duration::from_millis(50)
    });
    let mut stream = upgrade(&proxy, &origin, WEBSOCKET, "");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert!(all.ends_with(b"welcome"));
}

/// What is not switched is an exchange like every other, and the connection goes on.
#[test]
fn an_answer_that_does_not_switch_is_an_answer() {
    let origin = Origin::start(|stream, head| {
        assert!(head.contains("Upgrade: websocket\r\n") != head.contains("GET /chat2 "), "{head}");
        drop(stream.write_all(response("Cache-Control: max-age=60\r\n", "no").as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    let mut stream = upgrade(&proxy, &origin, WEBSOCKET, "");
    let reply = read_reply(&mut stream, "GET");
    assert_eq!((reply.status, reply.text().as_str(), reply.field("upgrade")), (200, "no", None));
    stream
        .write_all(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.url("/chat2")).as_bytes())
        .unwrap();
    assert_eq!(read_reply(&mut stream, "GET").text(), "no");
    assert_eq!((origin.connections(), proxy.node.metrics.tunnels.get()), (1, 0));
}

/// Neither answered from memory, nor kept, nor shared.
#[test]
fn the_cache_has_no_part_in_it() {
    let (origin, proxy) = (switching(), Proxy::start());
    assert_eq!(proxy.get(&origin.url("/chat")).text(), "not asked");
    assert_eq!(proxy.node.store.objects(), 1);
    let mut first = upgrade(&proxy, &origin, WEBSOCKET, "");
    let mut second = upgrade(&proxy, &origin, WEBSOCKET, "");
    for stream in [&mut first, &mut second] {
        assert!(read_head(stream).unwrap().starts_with("HTTP/1.1 101 "));
    }
    assert_eq!(proxy.get(&origin.url("/chat")).text(), "not asked");
    assert_eq!(origin.requests().len(), 3);
}

/// h2c would carry requests past every rule; what is not asked for on the connection is not asked
/// for at all.
#[test]
fn what_does_not_go_on() {
    let (origin, proxy) = (switching(), Proxy::start());
    for (number, fields) in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        "Upgrade: websocket\r\n",
        "Connection: Upgrade\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = upgrade_at(&proxy, &origin.url(&format!("/{number}")), fields, "x");
        let reply = read_reply(&mut stream, "GET");
        assert_eq!((reply.status, reply.text().as_str()), (200, "not asked"), "{fields}");
    }
    assert_eq!(origin.requests().len(), 6);
    assert!(origin.requests().iter().all(|seen| !seen.to_lowercase().contains("upgrade")));
    // An origin that switches to something else, or unasked, is refused.
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
    ] {
        let other = Origin::answering(answer, Then::Keep);
        let mut stream = upgrade(&proxy, &other, WEBSOCKET, "");
        assert_eq!(read_reply(&mut stream, "GET").status, 502, "{answer}");
    }
}
