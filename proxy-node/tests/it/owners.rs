//! Nodes that ask each other for what they own, before the origin.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use proxy_node::{
    cache::purge::{Mode, Purge, Scope},
    owner::{Neighbour, Owners, SILENCE},
};
use relay::proof::{self, Key};

use crate::support::{Gate, KEY, Origin, Proxy, Then, read_head, response, until};

const FRESH: &str = "Cache-Control: max-age=600\r\n";

fn neighbour(name: &str, relay: SocketAddr) -> Neighbour {
    Neighbour { name: name.into(), relay: (relay.ip().to_string(), relay.port()), weight: 100 }
}

/// From now on these are the nodes among which a node knows the objects to be divided.
fn divide(proxy: &Proxy, nodes: &[Neighbour]) {
    proxy.node.owners.store(Arc::new(Owners::new(&proxy.node.name, nodes, &Owners::default())));
}

/// A node that owns nothing, and one that owns everything.
fn asker_and_owner() -> (Proxy, Proxy) {
    let (asker, owner) = (Proxy::named("asker", |_| {}), Proxy::named("owner", |_| {}));
    let all = [neighbour("owner", owner.relay)];
    divide(&asker, &all);
    divide(&owner, &all);
    (asker, owner)
}

/// A node that owns nothing, beside an owner at this address.
fn asker_of(relay: SocketAddr) -> Proxy {
    let asker = Proxy::named("asker", |_| {});
    divide(&asker, &[neighbour("owner", relay)]);
    asker
}

/// Outcome and hierarchy of each line of the log.
fn codes(proxy: &Proxy, count: usize) -> Vec<String> {
    let lines = proxy.log_lines(count);
    let code = |line: &String| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        format!("{} {}", columns[3], columns[8].split('/').next().unwrap_or_default())
    };
    lines.iter().map(code).collect()
}

#[test]
fn what_another_owns_is_asked_of_it_and_kept_there() {
    let origin = Origin::answering(response(FRESH, "owned"), Then::Keep);
    let (asker, owner) = asker_and_owner();
    let first = asker.get(&origin.url("/a"));
    assert_eq!((first.status, first.text().as_str()), (200, "owned"));
    assert_eq!(
        first.head.lines().filter(|it| it.starts_with("Cache-Status")).collect::<Vec<_>>(),
        [
            "Cache-Status: owner; fwd=uri-miss; stored",
            "Cache-Status: asker; fwd=uri-miss; detail=elsewhere"
        ]
    );
    until("it is there", || (owner.node.store.objects() == 1).then_some(()));
    until("it is not here", || (asker.node.store.objects() == 0).then_some(()));
    let second = asker.get(&origin.url("/a"));
    assert!(second.head.contains("Cache-Status: owner; hit"), "{}", second.head);
    assert_eq!(origin.requests().len(), 1);
    assert!(!origin.requests()[0].contains("Shoal-"), "{}", origin.requests()[0]);
    assert_eq!(codes(&asker, 2), ["TCP_MISS/200 OWNER_MISS", "TCP_MISS/200 OWNER_HIT"]);
    // Both have the request's id.
    assert_eq!(codes(&owner, 2), ["TCP_MISS/200 HIER_DIRECT", "TCP_MEM_HIT/200 HIER_NONE"]);
    let ids = |proxy: &Proxy| {
        let last = |line: &String| line.rsplit(' ').next().unwrap_or_default().to_owned();
        proxy.log_lines(2).iter().map(last).collect::<Vec<_>>()
    };
    assert_eq!(ids(&asker), ids(&owner));
    // A client's request counts where the client is.
    let (here, there) = (&asker.node.metrics, &owner.node.metrics);
    assert_eq!((here.requests.get(), here.owner_hits.get(), here.owner_misses.get()), (2, 1, 1));
    assert_eq!((there.requests.get(), there.hits.get(), there.owned.get()), (0, 0, 2));
}

#[test]
fn what_is_asked_for_often_is_kept_by_several_and_validated_with_its_owner() {
    let origin = Origin::start(|stream, head| {
        let answer = if head.to_ascii_lowercase().contains("if-none-match") {
            "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nCache-Control: max-age=600\r\n\r\n".into()
        } else {
            response("ETag: \"x\"\r\nCache-Control: max-age=600\r\n", "hot")
        };
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    });
    let (asker, owner) = asker_and_owner();
    let url = origin.url("/hot");
    let mut asked = 0;
    until("a copy is kept", || {
        asked += 1;
        assert_eq!(asker.get(&url).text(), "hot");
        (asker.node.store.objects() == 1).then_some(())
    });
    assert!((8..50).contains(&asked), "{asked}");
    let before = owner.node.metrics.owned.get();
    assert!(asker.get(&url).head.contains("asker; hit"));
    assert_eq!((owner.node.metrics.owned.get(), origin.requests().len()), (before, 1));
    // A client that wants to be sure has it validated along the whole way.
    let sure = asker.ask("GET", &url, "Cache-Control: max-age=0\r\n");
    assert_eq!((sure.status, sure.text().as_str()), (200, "hot"));
    assert_eq!((owner.node.metrics.owned.get(), origin.requests().len()), (before + 1, 2));
    assert_eq!(asker.node.store.objects(), 1);
}

#[test]
fn three_nodes_ask_once_for_what_all_clients_want() {
    let gate = Gate::default();
    let waiting = gate.clone();
    let origin = Origin::start(move |stream, _| {
        waiting.wait();
        drop(stream.write_all(response(FRESH, "wanted").as_bytes()));
        Then::Keep
    });
    let names = ["one", "two", "three"];
    let nodes: Vec<Arc<Proxy>> =
        names.into_iter().map(|name| Arc::new(Proxy::named(name, |_| {}))).collect();
    let all: Vec<_> = nodes.iter().map(|it| neighbour(&it.node.name, it.relay)).collect();
    let mut sorted = all.clone();
    sorted.sort_by(|one, other| one.name.cmp(&other.name));
    nodes.iter().for_each(|it| divide(it, &sorted));
    let clients: Vec<_> = (0..90)
        .map(|number| {
            let (node, url) = (nodes[number % 3].clone(), origin.url("/wanted"));
            std::thread::spawn(move || node.get(&url).text())
        })
        .collect();
    until("all of them are there", || {
        let seen: u64 = nodes.iter().map(|it| it.node.metrics.requests.get()).sum();
        (seen == 90).then_some(())
    });
    until("two nodes have asked the third", || {
        let asked: u64 = nodes.iter().map(|it| it.node.metrics.owned.get()).sum();
        (asked == 2).then_some(())
    });
    gate.open();
    assert!(clients.into_iter().all(|it| it.join().unwrap() == "wanted"));
    assert_eq!(origin.requests().len(), 1);
    until("one of them keeps it", || {
        let kept: u64 = nodes.iter().map(|it| it.node.store.objects()).sum();
        (kept == 1).then_some(())
    });
}

/// A node that proves itself, and then does this on every connection.
fn odd_owner(then: impl Fn(TcpStream) + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let (counted, then) = (asked.clone(), Arc::new(then));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (counted, then) = (counted.clone(), then.clone());
            std::thread::spawn(move || {
                let mut header = vec![0; 16];
                stream.read_exact(&mut header).unwrap();
                let length = u16::from_be_bytes([header[14], header[15]]);
                let mut rest = vec![0; usize::from(length)];
                stream.read_exact(&mut rest).unwrap();
                header.extend(rest);
                let answer = proof::answer(&Key::new(&KEY), "owner", &[9; 32], &header);
                stream.write_all(&answer).unwrap();
                stream.read_exact(&mut [0; 32]).unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                then(stream);
            });
        }
    });
    (address, asked)
}

#[test]
fn an_owner_that_fails_is_passed_over_and_the_origin_asked() {
    let full = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\
        Proxy-Status: owner; error=connection_limit_reached\r\n\r\n";
    let gone = testkit::port::free();
    let (closing, _) = odd_owner(drop);
    let (full, _) = odd_owner(move |mut stream| {
        read_head(&mut stream);
        drop(stream.write_all(full.as_bytes()));
    });
    // It takes connections and says nothing, as a stopped process does.
    let (silent, _) = odd_owner(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    for (what, relay) in [
        ("gone", gone),
        ("closes", closing),
        ("full", full),
        ("silent", silent),
        ("mute", mute.local_addr().unwrap()),
    ] {
        let origin = Origin::answering(response(FRESH, "found"), Then::Keep);
        let asker = asker_of(relay);
        assert_eq!(asker.get(&origin.url("/x")).text(), "found", "{what}");
        assert_eq!(asker.node.metrics.owner_failures.get(), 1, "{what}");
        // Others that belong to it are asked of the origin at once, and kept here.
        assert_eq!(asker.get(&origin.url("/y")).text(), "found", "{what}");
        assert_eq!(asker.node.metrics.owner_failures.get(), 1, "{what}");
        assert!(asker.get(&origin.url("/x")).head.contains("asker; hit"), "{what}");
        assert_eq!(origin.requests().len(), 2, "{what}");
        // Several workers write them.
        let mut codes = codes(&asker, 3);
        codes.sort();
        assert_eq!(
            codes,
            ["TCP_MEM_HIT/200 HIER_NONE", "TCP_MISS/200 HIER_DIRECT", "TCP_MISS/200 HIER_DIRECT"],
            "{what}"
        );
    }
}

#[test]
fn an_owner_of_another_opinion_or_without_a_way_is_not_held_against_it() {
    for (status, error) in [
        ("403 Forbidden", "http_request_denied"),
        ("502 Bad Gateway", "connection_refused"),
        ("504 Gateway Timeout", "dns_timeout"),
    ] {
        let origin = Origin::answering(response(FRESH, "found"), Then::Keep);
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: 0\r\nProxy-Status: owner; error={error}\r\n\r\n"
        );
        let (relay, asked) = odd_owner(move |mut stream| {
            while read_head(&mut stream).is_some() {
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        let asker = asker_of(relay);
        for path in ["/x", "/y"] {
            assert_eq!(asker.get(&origin.url(path)).text(), "found", "{status}");
        }
        assert_eq!((asked.load(Ordering::SeqCst), origin.requests().len()), (2, 2), "{status}");
    }
}

#[test]
fn a_slow_origin_is_waited_for_by_both_and_asked_once() {
    let gate = Gate::default();
    let waiting = gate.clone();
    let origin = Origin::start(move |stream, _| {
        waiting.wait();
        drop(stream.write_all(response(FRESH, "late").as_bytes()));
        Then::Keep
    });
    let (asker, _owner) = asker_and_owner();
    let peer = asker.node.owners.load().of(7, 0).unwrap().clone();
    let (asking, url) = (Arc::new(asker), origin.url("/late"));
    let client = {
        let asker = asking.clone();
        std::thread::spawn(move || asker.get(&url).text())
    };
    until("the owner has been asked whether it lives", || {
        (peer.silent_for(asking.node.steady.millis()) < SILENCE).then_some(())
    });
    gate.open();
    assert_eq!(client.join().unwrap(), "late");
    assert_eq!((origin.requests().len(), asking.node.metrics.owner_failures.get()), (1, 0));
}

#[test]
fn there_is_one_hop_and_some_requests_go_past_the_owner() {
    let origin = Origin::answering(response(FRESH, "once"), Then::Keep);
    let (one, other) = (Proxy::named("one", |_| {}), Proxy::named("other", |_| {}));
    // Each believes that the other owns everything.
    divide(&one, &[neighbour("other", other.relay)]);
    divide(&other, &[neighbour("one", one.relay)]);
    assert_eq!(one.get(&origin.url("/x")).text(), "once");
    assert_eq!((one.node.metrics.owned.get(), other.node.metrics.owned.get()), (0, 1));
    assert_eq!(origin.requests().len(), 1);
    let via = |name: &str| origin.requests()[0].contains(&format!("Via: 1.1 {name}.test\r\n"));
    assert!(via("one") && via("other"), "{}", origin.requests()[0]);
    let asked = one.ask("GET", &origin.url("/y"), "Authorization: Basic eDp5\r\n");
    assert_eq!((asked.status, other.node.metrics.owned.get()), (200, 1));
    // What is for one request each is asked of the origin, once that is known.
    let private = Origin::answering(response("Cache-Control: private\r\n", "mine"), Then::Keep);
    for expected in [2, 2, 2] {
        assert_eq!(one.get(&private.url("/mine")).text(), "mine");
        assert_eq!(other.node.metrics.owned.get(), expected);
    }
    // Nobody who is no node has a way to say that it is one.
    let forged = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nShoal-Node: other\r\n\r\n",
        origin.url("/z")
    );
    assert_eq!(one.raw(forged.as_bytes(), "GET").status, 200);
    assert_eq!(other.node.metrics.owned.get(), 3);
}

#[test]
fn a_node_that_comes_back_is_asked_again() {
    let origin = Origin::answering(response(FRESH, "found"), Then::Keep);
    let owner = Proxy::named("owner", |_| {});
    let asker = asker_of(owner.relay);
    let peer = asker.node.owners.load().of(7, 0).unwrap().clone();
    peer.failed(asker.node.steady.millis(), "a test");
    let mut number = 0;
    until("it is asked again", || {
        number += 1;
        assert_eq!(asker.get(&origin.url(&format!("/{number}"))).text(), "found");
        (owner.node.metrics.owned.get() > 0).then_some(())
    });
    assert_eq!(asker.node.metrics.owner_failures.get(), 0);
}

#[test]
fn what_is_purged_here_is_not_had_from_an_owner_that_has_not_heard_of_it() {
    let fields = format!("{FRESH}Cache-Tag: t\r\n");
    let origin = Origin::answering(response(&fields, "owned"), Then::Keep);
    for scope in ["url", "tag", "other"] {
        let (asker, owner) = asker_and_owner();
        let url = origin.url("/a");
        asker.get(&url);
        until("it is there", || (owner.node.store.objects() == 1).then_some(()));
        assert!(asker.get(&url).head.contains("Cache-Status: owner; hit"));
        let asked = origin.requests().len();
        let purged = match scope {
            "url" => Scope::url(&url),
            "tag" => Scope::tag("t"),
            _ => Scope::host("other.example"),
        };
        let purge = Purge { scope: purged.unwrap(), mode: Mode::Hard };
        asker.node.purge(&Arc::new(purge));
        let again = asker.get(&url);
        let concerned = scope != "other";
        assert_eq!(again.head.contains("Cache-Status: owner; hit"), !concerned, "{}", again.head);
        assert_eq!(origin.requests().len(), asked + usize::from(concerned), "{scope}");
    }
}
