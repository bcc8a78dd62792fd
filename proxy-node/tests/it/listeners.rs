//! Who gets in, who is believed, and what the listeners themselves answer.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use cluster_config::document::{Acl, Egress, Limits, Rule, Term, Verdict, proxy::Listen};
use dataplane::answers::Totals;
use relay::{
    proof::{self, Challenge, Confirmation, Key},
    proxy_protocol::{Addresses, encode_local},
    worker::Phase,
};

use crate::support::{
    KEY, NAME, Origin, Proxy, Then, connect, listen_at, proved, read_reply, response, until,
};

fn echo_origin() -> Origin {
    Origin::start(|stream, head| {
        drop(stream.write_all(response("X-Seen: yes\r\n", head).as_bytes()));
        Then::Keep
    })
}

fn enter(listener: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = connect(listener);
    stream.write_all(header).unwrap();
    stream
}

/// What somebody sends who has this key and means the node of this name, once the node has
/// answered.
fn confirmation(
    stream: &mut TcpStream,
    challenge: &Challenge,
    key: [u8; 32],
    name: &str,
) -> Confirmation {
    let mut answer = [0; 64];
    stream.read_exact(&mut answer).unwrap();
    // Computed as the node would for that key and name: a stranger does not care whether the answer
    // convinces it.
    let nonce = answer.first_chunk::<32>().unwrap();
    let convincing = proof::answer(&Key::new(&key), name, nonce, challenge.header());
    challenge.confirm(&Key::new(&key), name, &convincing).unwrap()
}

#[test]
fn the_relay_door_opens_only_to_those_who_hold_the_key_for_this_node() {
    let proxy = Proxy::start();
    let origin = echo_origin();
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.url("/"));
    let mut without = Vec::new();
    encode_local(&mut without, None);
    for (what, header) in [
        ("no header", vec![]),
        ("no nonce", without),
        ("version 1", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n".to_vec()),
        ("garbage", b"\r\n\r\n\0\r\nQUIT\n\xff\xff".to_vec()),
    ] {
        let mut stream = enter(proxy.relay, &header);
        drop(stream.write_all(request.as_bytes()));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert_eq!(answer, b"", "{what}");
    }
    let challenge = Challenge::local(&[1; 32]);
    let mut first = enter(proxy.relay, challenge.header());
    let recorded = confirmation(&mut first, &challenge, KEY, NAME);
    first.write_all(&[&recorded, request.as_bytes()].concat()).unwrap();
    let reply = read_reply(&mut first, "GET");
    assert_eq!(reply.status, 200);
    for (what, key, name) in [
        ("another key", [8; 32], NAME),
        ("another node's proof", KEY, "proxy-node-2"),
        ("repeated", KEY, NAME),
    ] {
        let mut stream = enter(proxy.relay, challenge.header());
        let confirmation = if what == "repeated" {
            recorded
        } else {
            confirmation(&mut stream, &challenge, key, name)
        };
        drop(stream.write_all(&[&confirmation, request.as_bytes()].concat()));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert!(!answer.windows(4).any(|four| four == b"HTTP"), "{what}");
    }
    assert_eq!(origin.requests().len(), 1);
    assert!(reply.field("shoal-origin-time").unwrap().parse::<u64>().is_ok());
    assert_eq!(
        proxy.get(&origin.url("/")).field("shoal-origin-time"),
        None,
        "only balancers hear it"
    );
}

#[test]
fn a_balancer_s_connection_outlives_its_tunnels() {
    let proxy = Proxy::start();
    let origin = echo_origin();
    let get = format!("GET {} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n", "/");
    let connect = format!(
        "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\nX-Forwarded-For: 127.0.0.1\r\nShoal-Tunnel: \
         framed\r\n\r\n",
        origin.address
    );
    let frame = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let mut stream = proved(proxy.relay, &Challenge::local(&[1; 32]));
    for _ in 0..2 {
        stream.write_all(connect.as_bytes()).unwrap();
        let reply = read_reply(&mut stream, "CONNECT");
        assert_eq!((reply.status, reply.field("shoal-tunnel")), (200, Some("framed")));
        // The origin answers, and closes when it has been told that there is no more.
        stream.write_all(&[frame(get.as_bytes()), frame(b"")].concat()).unwrap();
        let mut came = Vec::new();
        loop {
            let mut header = [0; 4];
            stream.read_exact(&mut header).unwrap();
            let mut bytes = vec![0; u32::from_be_bytes(header) as usize];
            stream.read_exact(&mut bytes).unwrap();
            if bytes.is_empty() {
                break;
            }
            came.extend(bytes);
        }
        let text = String::from_utf8(came).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("GET / "), "{text}");
    }
    until("both have ended", || (proxy.node.metrics.active_tunnels.get() == 0).then_some(()));
    stream
        .write_all(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.url("/")).as_bytes())
        .unwrap();
    assert_eq!(read_reply(&mut stream, "GET").status, 200);
    assert_eq!(proxy.node.metrics.tunnels.get(), 2);
    // Nobody else is understood so: what it sends is the origin's, byte for byte.
    let addresses = Addresses {
        source: "127.0.0.1:5".parse().unwrap(),
        destination: "127.0.0.1:80".parse().unwrap(),
    };
    for mut stream in [
        proved(proxy.relay, &Challenge::of_client(&addresses, &[1; 32])),
        enter(proxy.address, b""),
    ] {
        stream.write_all(connect.as_bytes()).unwrap();
        let reply = read_reply(&mut stream, "CONNECT");
        assert_eq!((reply.status, reply.field("shoal-tunnel")), (200, None));
        stream.write_all(get.as_bytes()).unwrap();
        assert_eq!(read_reply(&mut stream, "GET").status, 200);
    }
}

#[test]
fn whom_a_request_belongs_to() {
    let proxy = Proxy::start();
    let origin = echo_origin();
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.7\r\nShoal-Request-Id: \
         {id}\r\n\r\n",
        origin.url("/")
    );
    // Pooled: each request says whose it is.
    let mut stream = proved(proxy.relay, &Challenge::local(&[1; 32]));
    for client in ["203.0.113.7", "203.0.113.8"] {
        stream.write_all(request.replace("203.0.113.7", client).as_bytes()).unwrap();
        let reply = read_reply(&mut stream, "GET");
        assert!(
            reply.text().contains(&format!("X-Forwarded-For: {client}\r\n")),
            "{client}: {reply:?}"
        );
        assert_eq!(reply.field("shoal-request-id"), Some(id));
    }
    // One client's: the connection says it.
    let addresses = Addresses {
        source: "198.51.100.9:5".parse().unwrap(),
        destination: "127.0.0.1:80".parse().unwrap(),
    };
    let mut stream = proved(proxy.relay, &Challenge::of_client(&addresses, &[1; 32]));
    stream.write_all(request.as_bytes()).unwrap();
    assert!(read_reply(&mut stream, "GET").text().contains("X-Forwarded-For: 198.51.100.9\r\n"));
    // A stranger's: nothing that it says is believed.
    let mut stream = enter(proxy.address, b"");
    stream.write_all(request.as_bytes()).unwrap();
    let reply = read_reply(&mut stream, "GET");
    assert!(
        reply.text().contains("X-Forwarded-For: 127.0.0.1\r\n")
            && !reply.text().contains("203.0.113")
    );
    assert_ne!(reply.field("shoal-request-id"), Some(id));
    assert!(!reply.text().contains("Shoal-"), "{}", reply.text());
    let mut clients: Vec<String> = proxy
        .log_lines(4)
        .iter()
        .map(|line| line.split_ascii_whitespace().nth(2).unwrap().to_owned())
        .collect();
    // Connections may be different workers', whose lines have no order.
    clients.sort();
    assert_eq!(clients, ["127.0.0.1", "198.51.100.9", "203.0.113.7", "203.0.113.8"]);
}

#[test]
fn proxy_protocol_on_the_client_door_only_where_it_is_demanded() {
    let origin = echo_origin();
    let mut proxy = Proxy::start();
    proxy.change(|document| document.listen[0].proxy_protocol = true);
    let header = b"PROXY TCP4 198.51.100.9 127.0.0.1 1 2\r\n";
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.url("/"));
    let mut stream = enter(proxy.address, header);
    drop(stream.write_all(request.as_bytes()));
    assert_eq!(read_reply(&mut stream, "GET").status, 0, "nobody is trusted");
    proxy.change(|document| document.trusted_downstreams = vec!["127.0.0.1/32".parse().unwrap()]);
    let mut stream = enter(proxy.address, header);
    stream.write_all(request.as_bytes()).unwrap();
    assert!(read_reply(&mut stream, "GET").text().contains("X-Forwarded-For: 198.51.100.9\r\n"));
    proxy.change(|document| document.listen[0].proxy_protocol = false);
    let mut stream = enter(proxy.address, header);
    assert_eq!(read_reply(&mut stream, "GET").status, 400, "it is no request");
}

#[test]
fn what_the_doors_answer_themselves() {
    let proxy = Proxy::start();
    let health = proxy.raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "GET");
    assert_eq!((health.status, health.text().as_str()), (200, "ready\n"));
    // As HAProxy asks by default, and as it is told to by many.
    for line in [
        "OPTIONS / HTTP/1.0\r\n",
        "OPTIONS * HTTP/1.0\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n",
    ] {
        let check = proxy.raw(format!("{line}\r\n").as_bytes(), "OPTIONS");
        assert_eq!((check.status, check.text().as_str()), (200, "ready\n"), "{line}");
        proxy.node.serving.store(false, std::sync::atomic::Ordering::Release);
        let check = proxy.raw(format!("{line}\r\n").as_bytes(), "OPTIONS");
        assert_eq!((check.status, check.text().as_str()), (503, "draining\n"), "{line}");
        proxy.node.serving.store(true, std::sync::atomic::Ordering::Release);
    }
    let old = proxy.raw(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET");
    assert_eq!((old.status, old.field("connection")), (200, Some("keep-alive")));
    let lost = proxy.raw(b"GET /index.html HTTP/1.1\r\nHost: x\r\n\r\n", "GET");
    assert_eq!(lost.status, 400);
    assert!(
        lost.text().contains("HTTP proxy, not a web server") && lost.text().contains("http_proxy="),
        "{}",
        lost.text()
    );
    let mut stream = proved(proxy.relay, &Challenge::local(&[1; 32]));
    for _ in 0..2 {
        stream.write_all(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n").unwrap();
        assert_eq!(read_reply(&mut stream, "OPTIONS").status, 200);
    }
    assert_eq!(proxy.node.metrics.requests.get(), 1, "probes and health checks are not requests");
}

/// A client of an address of its own.
fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    socket.into()
}

#[test]
fn one_address_takes_not_all_of_a_node() {
    let origin = echo_origin();
    let mut proxy = Proxy::start();
    let limits = Limits { connections_per_client: Some(4), ..Limits::default() };
    proxy.listeners.reconcile(&[Listen { limits, ..listen_at(proxy.address) }]).unwrap();
    let address = proxy.address;
    let from = |last: u8| connect_from(last, address);
    let served = |stream: &mut TcpStream| {
        stream
            .write_all(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.url("/")).as_bytes())
            .unwrap();
        read_reply(stream, "GET").status
    };
    let clients = proxy.workers.as_ref().unwrap().clients();
    let mut many: Vec<TcpStream> = (0..40).map(|_| from(1)).collect();
    until("it has its share", || {
        let closed = clients.closed();
        (closed.displaced + closed.refused >= 36).then_some(())
    });
    assert_eq!(served(&mut from(2)), 200);
    let ended = |stream: &mut TcpStream| matches!(stream.read(&mut [0]), Ok(0) | Err(_));
    assert!(ended(&mut many[0]), "its oldest one");
    // Balancers are no clients, and neither is whoever is trusted to speak for others.
    let mut balancers: Vec<TcpStream> =
        (0..8).map(|_| proved(proxy.relay, &Challenge::local(&[1; 32]))).collect();
    balancers.iter_mut().for_each(|stream| assert_eq!(served(stream), 200));
    proxy.change(|document| document.trusted_downstreams = vec!["127.0.0.3/32".parse().unwrap()]);
    let mut downstreams = Vec::new();
    for _ in 0..8 {
        let mut stream = from(3);
        assert_eq!(served(&mut stream), 200);
        downstreams.push(stream);
    }
    downstreams.iter_mut().for_each(|stream| assert_eq!(served(stream), 200, "all of them stay"));
}

#[test]
fn the_body_of_a_probe_is_nobodys_request() {
    let origin = echo_origin();
    let proxy = Proxy::start();
    let inner = format!("GET {} HTTP/1.1\r\nHost: smuggled\r\n\r\n", origin.url("/"));
    for (mut stream, line) in [
        (proved(proxy.relay, &Challenge::local(&[1; 32])), "OPTIONS *"),
        (connect(proxy.address), "GET /"),
    ] {
        let request = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\nContent-Length: {}\r\n\r\n{inner}",
            inner.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let reply = read_reply(&mut stream, "GET");
        assert_eq!((reply.status, reply.field("connection")), (200, Some("close")), "{line}");
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
        assert_eq!(rest, b"", "{line}");
    }
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn a_denial_says_which_rule_and_how_to_find_out_more() {
    let origin = echo_origin();
    let proxy = Proxy::with(|document| {
        document.access.acls.insert("here".into(), Acl::Dst(vec!["127.0.0.0/8".parse().unwrap()]));
        document.access.rules.insert(
            0,
            Rule {
                verdict: Verdict::Deny,
                terms: vec![Term { acl: "here".into(), negated: false }],
                page: None,
            },
        );
    });
    let reply = proxy.get(&origin.url("/<b>"));
    assert!(
        reply.status == 403 && !reply.text().contains("/<b>"),
        "what a client sends is escaped"
    );
    let reply = proxy.get(&origin.url("/x"));
    let id = reply.field("shoal-request-id").unwrap().to_owned();
    assert_eq!(reply.status, 403);
    for part in [
        "deny: [here] (rule 1)",
        "revision r1",
        id.as_str(),
        "shoal explain",
        "--client 127.0.0.1",
        "test-node",
    ] {
        assert!(reply.text().contains(part), "{part}: {}", reply.text());
    }
    assert_eq!(origin.requests().len(), 0);
    assert!(proxy.log_lines(2)[1].contains(" TCP_DENIED/403 "));
}

#[test]
fn addresses_are_checked_and_not_only_names() {
    let origin = echo_origin();
    let names = [
        ("innocent.example", vec!["127.0.0.1".parse().unwrap()]),
        ("half.example", vec!["169.254.169.254".parse().unwrap(), "127.0.0.1".parse().unwrap()]),
    ];
    let mut proxy = Proxy::with_names(|_| {}, names.into());
    let port = origin.address.port();
    assert_eq!(proxy.get(&format!("http://innocent.example:{port}/")).status, 200);
    assert_eq!(
        proxy.get(&format!("http://half.example:{port}/")).status,
        200,
        "the address that may be reached is"
    );
    assert_eq!(proxy.get(&format!("http://{}/", proxy.address)).status, 403, "our own port");
    assert_eq!(
        proxy.get(&format!("http://innocent.example:{}/", proxy.relay.port())).status,
        403,
        "our own port by another name"
    );
    proxy.change(|document| document.access.egress = Egress::default());
    for host in [
        "innocent.example",
        "half.example",
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "[fe80::1]",
    ] {
        let reply = proxy.get(&format!("http://{host}:{port}/"));
        assert_eq!(
            (reply.status, reply.field("proxy-status")),
            (403, Some("proxy-node-1; error=destination_ip_prohibited")),
            "{host}"
        );
    }
    // What was reached before the rules changed is in a pool; that opens nothing now.
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_loop_is_found() {
    let origin = echo_origin();
    let proxy = Proxy::start();
    let reply = proxy.ask("GET", &origin.url("/"), "Via: 1.1 somebody, 1.1 proxy-node-1.test\r\n");
    assert_eq!(
        (reply.status, reply.field("proxy-status")),
        (508, Some("proxy-node-1; error=proxy_loop_detected"))
    );
    assert_eq!(
        proxy.ask("GET", &origin.url("/"), "Via: 1.1 proxy-node-1.other\r\n").status,
        200,
        "another cluster's node of the same name"
    );
}

#[test]
fn a_drain_closes_in_band_and_leaves_pooled_connections_to_their_owner() {
    let origin = echo_origin();
    let mut proxy = Proxy::start();
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.url("/"));
    let mut pooled = proved(proxy.relay, &Challenge::local(&[1; 32]));
    let mut idle = connect(proxy.address);
    for stream in [&mut pooled, &mut idle] {
        stream.write_all(request.as_bytes()).unwrap();
        assert_eq!(read_reply(stream, "GET").field("connection"), None);
    }
    proxy.workers.as_ref().unwrap().advance(Phase::Leaving);
    let health = until("the health path says so", || {
        Some(proxy.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET"))
            .filter(|reply| reply.status == 503)
    });
    assert_eq!(health.text(), "draining\n");
    let reply = until("new connections are served, and told to close", || {
        let mut stream = connect(proxy.address);
        stream.write_all(request.as_bytes()).unwrap();
        Some(read_reply(&mut stream, "GET"))
            .filter(|reply| reply.field("connection") == Some("close"))
    });
    assert_eq!(reply.status, 200);
    let workers = proxy.workers.take().unwrap();
    let drained = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(workers.drain(std::time::Duration::from_secs(20)))
    });
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "an idle client is let go");
    // The pooled connection is still the balancer's: a request that is on its way is answered, and
    // told to close.
    pooled.write_all(request.as_bytes()).unwrap();
    let last = read_reply(&mut pooled, "GET");
    assert_eq!((last.status, last.field("connection")), (200, Some("close")));
    drop(pooled);
    assert_eq!(drained.join().unwrap().aborted, 0);
}

#[test]
fn whose_certificate_it_was_only_balancers_say() {
    let proxy = Proxy::start();
    let origin = echo_origin();
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nShoal-Client-Certificate: alice b\r\n\r\n",
        origin.url("/")
    );
    let mut balancer = proved(proxy.relay, &Challenge::local(&[1; 32]));
    let mut client = enter(proxy.address, b"");
    for (stream, user) in [(&mut balancer, "alice%20b"), (&mut client, "-")] {
        stream.write_all(request.as_bytes()).unwrap();
        let reply = read_reply(stream, "GET");
        assert!(!reply.text().contains("alice"), "no origin hears of it: {}", reply.text());
        let written = until("its record", || {
            let lines = proxy.log_lines(1);
            lines.into_iter().find(|it| it.split_ascii_whitespace().nth(7) == Some(user))
        });
        assert!(written.contains("TCP_MISS/200"), "{written}");
    }
}

#[test]
fn workers_come_and_go_without_a_restart() {
    let proxy = Proxy::start();
    let origin = echo_origin();
    let answered = |worker: usize| Totals::of(&[proxy.node.answers.of(worker)]).timed;
    let ask = || assert_eq!(proxy.get(&origin.url("/")).status, 200);
    until("the second worker answers", || {
        ask();
        (answered(1) > 0).then_some(())
    });
    proxy.listeners.employ(Some(1));
    until("it accepts nobody any more", || {
        let before = answered(1);
        (0..20).for_each(|_| ask());
        (answered(1) == before).then_some(())
    });
    proxy.listeners.employ(None);
    until("it accepts again", || {
        let before = answered(1);
        ask();
        (answered(1) > before).then_some(())
    });
}
