//! Other caches that ask and are asked by datagrams: honest, silent, lying and forged ones.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cluster_config::document::{
    ProxyDocument,
    proxy::{Icp, Sibling, Siblings},
};
use proxy_node::{
    cache::key::Key,
    icp::{
        self, Counted, Face,
        packet::{self, Opcode, Packet},
    },
    node::Node,
    start::icp::is_stored,
};
use tokio::sync::watch;

use crate::support::{Origin, Proxy, Then, response, until};

const FRESH: &str = "Cache-Control: max-age=600\r\n";

/// What the process gives the protocol, in a test.
struct Served {
    node: Arc<Node>,
    bound: watch::Sender<Option<SocketAddr>>,
}

impl Face for Served {
    fn has(&self, key: &Key) -> bool {
        is_stored(&self.node, key)
    }
    fn now(&self) -> u64 {
        self.node.steady.millis()
    }
    fn count(&self, what: Counted) {
        icp::count(&self.node.metrics, what);
    }
    fn bound(&self, at: Option<SocketAddr>) {
        self.bound.send_replace(at);
    }
}

/// A node with these settings, and its ICP port.
fn speaking(change: impl FnOnce(&mut ProxyDocument)) -> (Proxy, SocketAddr) {
    let proxy = Proxy::named("node", change);
    let bound = watch::Sender::new(None);
    let told = bound.subscribe();
    let face = Arc::new(Served { node: proxy.node.clone(), bound });
    proxy.node.icp.follow(&proxy.node.current.load().document, &[]);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(icp::serve(face.node.icp.clone(), face));
    });
    let at = until("the port is open", || *told.borrow());
    (proxy, at)
}

fn answering(document: &mut ProxyDocument, allow: &str, max_rate: u32) {
    let allow = vec![allow.parse().unwrap()];
    document.icp = Some(Icp { bind: "127.0.0.1:0".parse().unwrap(), allow, max_rate });
}

fn asking(document: &mut ProxyDocument, http: SocketAddr, icp: SocketAddr, proxy_only: bool) {
    document.siblings = Siblings {
        listed: vec![Sibling {
            host: http.ip().to_string(),
            port: http.port(),
            icp_port: icp.port(),
        }],
        nodes: false,
        proxy_only,
        max_timeout: Duration::from_millis(300),
    };
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

fn datagram(opcode: Opcode, number: u32, url: &str) -> Vec<u8> {
    let mut out = Vec::new();
    packet::write(&mut out, &Packet { opcode, number, url: url.as_bytes() });
    out
}

#[test]
fn who_may_ask_is_told_what_is_there_and_nobody_else_hears_anything() {
    let origin = Origin::start(|stream, head| {
        let fields = if head.contains("/varied") {
            "Vary: Accept-Language\r\nCache-Control: max-age=600\r\n"
        } else if head.contains("/stale") {
            "Cache-Control: max-age=0\r\nETag: \"x\"\r\n"
        } else {
            FRESH
        };
        drop(std::io::Write::write_all(stream, response(fields, "stored").as_bytes()));
        Then::Keep
    });
    let (proxy, at) = speaking(|document| answering(document, "127.0.0.1/32", 1000));
    for path in ["/fresh", "/varied", "/stale"] {
        assert_eq!(proxy.get(&origin.url(path)).status, 200);
    }
    let asker = socket();
    for (number, url, said) in [
        (1, origin.url("/fresh"), Opcode::Hit),
        (2, origin.url("/fresh").replace("http", "HTTP"), Opcode::Hit),
        (3, origin.url("/varied"), Opcode::Miss),
        (4, origin.url("/stale"), Opcode::Miss),
        (5, origin.url("/unknown"), Opcode::Miss),
        (6, "nonsense".to_owned(), Opcode::Error),
    ] {
        // What means nothing is answered by nothing, and ends nothing.
        for junk in [&b""[..], b"x", &[1; 20], &[0xFF; 3000], b"GET / HTTP/1.1\r\n\r\n"] {
            asker.send_to(junk, at).unwrap();
        }
        asker.send_to(&datagram(Opcode::Hit, number, &url), at).unwrap();
        asker.send_to(&datagram(Opcode::Query, number, &url), at).unwrap();
        let mut bytes = [0; 2000];
        let (length, from) = asker.recv_from(&mut bytes).unwrap();
        let answer = packet::parse(&bytes[..length]).unwrap();
        assert_eq!((from, answer.opcode, answer.number), (at, said, number), "{url}");
        assert_eq!(answer.url, url.as_bytes());
    }
    let metrics = &proxy.node.metrics;
    assert_eq!((metrics.icp_queries.get(), metrics.icp_hits.get()), (6, 2));
    assert_eq!((metrics.icp_ignored.get(), metrics.icp_refused.get()), (36, 0));

    let (stranger, at) = speaking(|document| answering(document, "192.0.2.0/24", 1000));
    asker.send_to(&datagram(Opcode::Query, 1, &origin.url("/fresh")), at).unwrap();
    until("it was refused", || (stranger.node.metrics.icp_refused.get() == 1).then_some(()));
    assert_eq!(stranger.node.metrics.icp_queries.get(), 0);
}

#[test]
fn a_flood_is_answered_at_the_rate_that_is_allowed() {
    let (proxy, at) = speaking(|document| answering(document, "127.0.0.0/8", 20));
    let asker = socket();
    let metrics = &proxy.node.metrics;
    for number in 0..400 {
        asker.send_to(&datagram(Opcode::Query, number, "http://a.test/"), at).unwrap();
        // The system drops what nobody has read.
        let handled = || metrics.icp_queries.get() + metrics.icp_refused.get();
        until("it was read", || (handled() == u64::from(number) + 1).then_some(()));
    }
    let answered = metrics.icp_queries.get();
    assert!((20..200).contains(&answered), "{answered} of 400");
}

/// A cache that says by datagram whatever `says` makes of a question, and how often it was asked.
fn sibling(
    says: impl Fn(&UdpSocket, SocketAddr, &Packet<'_>) + Send + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let (socket, asked) = (socket(), Arc::new(AtomicUsize::new(0)));
    socket.set_read_timeout(None).unwrap();
    let (address, counted) = (socket.local_addr().unwrap(), asked.clone());
    std::thread::spawn(move || {
        let mut bytes = [0; 8000];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            counted.fetch_add(1, Ordering::SeqCst);
            says(&socket, from, &packet::parse(&bytes[..length]).unwrap());
        }
    });
    (address, asked)
}

fn says(opcode: Opcode) -> (SocketAddr, Arc<AtomicUsize>) {
    sibling(move |socket, from, question| {
        let url = std::str::from_utf8(question.url).unwrap();
        socket.send_to(&datagram(opcode, question.number, url), from).unwrap();
    })
}

fn code(line: &str) -> String {
    let columns: Vec<&str> = line.split_whitespace().collect();
    format!("{} {}", columns[3], columns[8].split('/').next().unwrap_or_default())
}

#[test]
fn what_a_sibling_has_is_fetched_from_it_and_only_that() {
    let origin = Origin::answering(response(FRESH, "origin's"), Then::Keep);
    let cache = Origin::answering(response(FRESH, "sibling's"), Then::Keep);
    for proxy_only in [true, false] {
        let (icp, asked) = says(Opcode::Hit);
        let (proxy, _) = speaking(|document| asking(document, cache.address, icp, proxy_only));
        let before = cache.requests().len();
        let reply = proxy.get(&origin.url("/x"));
        assert_eq!((reply.status, reply.text().as_str()), (200, "sibling's"));
        assert_eq!((asked.load(Ordering::SeqCst), cache.requests().len()), (1, before + 1));
        let head = cache.requests()[before].to_ascii_lowercase();
        assert!(head.contains("cache-control: only-if-cached\r\n"), "{head}");
        assert!(head.starts_with(&format!("get {} http/1.1", origin.url("/x"))), "{head}");
        assert!(!head.contains("shoal-"), "{head}");
        until("it is kept, or not", || {
            (proxy.node.store.objects() == u64::from(!proxy_only)).then_some(())
        });
        assert_eq!(code(&proxy.log_lines(1)[0]), "TCP_MISS/200 SIBLING_HIT");
        // Whoever wants it from the origin gets it from there.
        for fields in ["Cache-Control: no-cache\r\n", "Authorization: Basic eDp5\r\n"] {
            assert_eq!(proxy.ask("GET", &origin.url("/y"), fields).text(), "origin's", "{fields}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn a_sibling_that_lies_costs_a_round_trip_and_is_left_alone() {
    let origin = Origin::answering(response(FRESH, "origin's"), Then::Keep);
    let late = "HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n";
    let cache = Origin::answering(late, Then::Keep);
    let (icp, asked) = says(Opcode::Hit);
    let (proxy, _) = speaking(|document| asking(document, cache.address, icp, true));
    for path in ["/x", "/y", "/z"] {
        assert_eq!(proxy.get(&origin.url(path)).text(), "origin's");
    }
    assert_eq!((asked.load(Ordering::SeqCst), cache.requests().len()), (1, 1));
    assert_eq!(proxy.node.metrics.sibling_lies.get(), 1);
    assert_eq!(code(&proxy.log_lines(1)[0]), "TCP_MISS/200 HIER_DIRECT");
    assert!(proxy.get(&origin.url("/x")).head.contains("; hit"), "the origin's is kept");
}

#[test]
fn misses_and_denials_are_not_waited_for_and_silence_only_a_few_times() {
    let origin = Origin::answering(response(FRESH, "origin's"), Then::Keep);
    for opcode in [Opcode::Miss, Opcode::MissNoFetch, Opcode::Denied, Opcode::Error] {
        let (icp, asked) = says(opcode);
        let (proxy, _) = speaking(|document| asking(document, origin.address, icp, true));
        for number in 0..3 {
            let url = origin.url(&format!("/{opcode:?}/{number}"));
            assert_eq!(proxy.get(&url).text(), "origin's");
        }
        let metrics = &proxy.node.metrics;
        assert_eq!(asked.load(Ordering::SeqCst), 3, "{opcode:?}");
        assert_eq!((metrics.sibling_queries.get(), metrics.sibling_timeouts.get()), (3, 0));
    }
    let (icp, asked) = sibling(|_, _, _| {});
    let (proxy, _) = speaking(|document| asking(document, origin.address, icp, true));
    for number in 0..8 {
        assert_eq!(proxy.get(&origin.url(&format!("/silent/{number}"))).text(), "origin's");
    }
    // It is asked all the same, as it may be there again.
    until("all were asked", || (asked.load(Ordering::SeqCst) == 8).then_some(()));
    let peer = proxy.node.icp.siblings.load().iter().next().unwrap().clone();
    assert!(peer.is_silent());
}

#[test]
fn what_nobody_was_asked_is_not_believed() {
    let origin = Origin::answering(response(FRESH, "origin's"), Then::Keep);
    let cache = Origin::answering(response(FRESH, "forged"), Then::Keep);
    let (icp, _) = sibling(|socket, from, question| {
        let url = std::str::from_utf8(question.url).unwrap();
        // From elsewhere, with another number, for another URL; and then the truth.
        let elsewhere = self::socket();
        elsewhere.send_to(&datagram(Opcode::Hit, question.number, url), from).unwrap();
        for (number, url) in [(question.number ^ 1, url), (question.number, "http://a.test/")] {
            socket.send_to(&datagram(Opcode::Hit, number, url), from).unwrap();
        }
        let half = datagram(Opcode::Hit, question.number, url);
        socket.send_to(&half[..half.len() - 1], from).unwrap();
        socket.send_to(&datagram(Opcode::Miss, question.number, url), from).unwrap();
    });
    let (proxy, _) = speaking(|document| asking(document, cache.address, icp, true));
    assert_eq!(proxy.get(&origin.url("/x")).text(), "origin's");
    assert_eq!((cache.requests().len(), proxy.node.metrics.icp_ignored.get()), (0, 4));
}
