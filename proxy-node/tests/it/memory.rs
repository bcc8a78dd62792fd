//! What a node takes of memory, whatever its clients and origins do: what is configured and 64 MiB.
//! Measured in a process of its own, so that no other test's memory counts; clients and origins are
//! in it too.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use proxy_node::cache::{
    content::{Content, memory::Body},
    facts::ResponseFacts,
    key::Key,
    object::{Object, Parts},
    policy::{Freshness, Times},
    store::Store,
    vary,
};

use crate::support::{Origin, Proxy, Then, connect, read_head, response, until};

const CONFIGURED: u64 = 64 << 20;
const BESIDE: u64 = 64 << 20;

/// Resident memory of this process, in bytes: now, and the most that it ever was.
fn resident() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        value.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    };
    (line("VmRSS:"), line("VmHWM:"))
}

/// Sends without end, in chunks as the path says.
fn endless(stream: &mut TcpStream, head: &str) -> Then {
    let (chunk, fields) = match head {
        head if head.starts_with("GET /bytes") => ("1\r\nx\r\n".repeat(4096), ""),
        head if head.starts_with("GET /vary") => {
            (format!("4000\r\n{}\r\n", "v".repeat(0x4000)), "Vary: Accept, Cookie, X-Variant\r\n")
        }
        _ => (format!("10000\r\n{}\r\n", "z".repeat(0x10000)), ""),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n{fields}\r\n"
    );
    let mut written = stream.write_all(head.as_bytes());
    while written.is_ok() {
        written = stream.write_all(chunk.as_bytes());
    }
    Then::Close
}

/// A client that asks, reads the head, and nothing more.
fn stalled(proxy: &Proxy, url: &str, fields: &str) -> TcpStream {
    let mut stream = connect(proxy.address);
    stream.write_all(format!("GET {url} HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes()).unwrap();
    assert!(read_head(&mut stream).is_some());
    stream
}

fn check(proxy: &Proxy, most: &mut u64, doing: &str) {
    let (now, peak) = resident();
    *most = (*most).max(now);
    let store = &proxy.node.store;
    assert!(
        store.used() <= store.capacity(),
        "{doing}: {} held of {}",
        store.used(),
        store.capacity()
    );
    assert!(
        peak <= CONFIGURED + BESIDE,
        "{doing}: {} MiB resident, {} MiB held, {} MiB at work",
        peak >> 20,
        store.used() >> 20,
        store.budget().at_work() >> 20
    );
}

/// Objects of hardly any bytes cost what is charged for them.
fn small_objects_cost_what_they_count_for() {
    let before = resident().0;
    let store = Store::<()>::new(32 << 20);
    let mut number = 0u64;
    // Until it has been full for a while.
    while number < 40_000 {
        let key = Key::new(
            relay::target::Scheme::Http,
            "host.example",
            80,
            format!("/small/object/{number}").as_bytes(),
        );
        let head = format!(
            "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nETag: \
             \"{number}\"\r\nContent-Type: text/plain\r\n"
        );
        let fields: Vec<(&[u8], &[u8])> =
            proxy_node::cache::object::fields(head.as_bytes()).collect();
        let facts = ResponseFacts::new(200, fields.iter().copied());
        let freshness = Freshness::new(
            &facts,
            key.as_bytes(),
            None,
            Times { asked_at: 0, received_at: 0, wall: 0 },
        );
        let body = Body::new(store.budget());
        body.append(b"0123456789", Some(0), |bytes| store.budget().try_hold(bytes));
        body.complete();
        let selection = vary::select(&["accept".into()], fields.iter().copied());
        let parts = Parts {
            key: key.clone(),
            head: head.clone().into(),
            selection,
            from: None,
            freshness,
            declared: Some(10),
            content: Content::Memory(body),
        };
        let object = Object::new(&facts, parts);
        store.lead(&key).store(&Arc::new(object));
        number += 1;
    }
    assert!(store.objects() < number, "it has been full");
    let taken = resident().0.saturating_sub(before);
    println!("{} objects: {} bytes counted, {taken} taken", store.objects(), store.used());
    assert!(
        taken <= store.used() + (store.used() / 8),
        "{taken} taken for {} that count",
        store.used()
    );
}

#[test]
fn readers_that_stall_origins_that_drip_and_variants_stay_within_what_is_configured() {
    testkit::alone::in_its_own_process(
        "memory::readers_that_stall_origins_that_drip_and_variants_stay_within_what_is_configured",
        measured,
    );
}

fn measured() {
    small_objects_cost_what_they_count_for();
    let proxy = Arc::new(Proxy::with(|document| {
        document.cache.memory = CONFIGURED;
        document.cache.max_object_size = 50 << 20;
    }));
    let watched = proxy.node.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(proxy_node::memory::watch(watched));
    });
    let hostile = Origin::start(endless);
    let big = Origin::start(|stream, _| {
        drop(stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nCache-Control: max-age=60\r\n\r\n",
        ));
        drop(stream.write_all(&vec![b'b'; 1_000_000]));
        Then::Keep
    });
    let padding = "p".repeat(3000);
    let small = Origin::start(move |stream, _| {
        drop(
            stream.write_all(
                response(
                    &format!("Cache-Control: max-age=60\r\nX-Padding: {padding}\r\n"),
                    "small",
                )
                .as_bytes(),
            ),
        );
        Then::Keep
    });
    let mut most = 0;
    let mut clients = Vec::new();
    for number in 0..40 {
        clients.push(stalled(&proxy, &hostile.url(&format!("/large/{number}")), ""));
        clients.push(stalled(&proxy, &hostile.url(&format!("/bytes/{number}")), ""));
        clients.push(stalled(&proxy, &hostile.url("/vary"), &format!("X-Variant: {number}\r\n")));
        check(&proxy, &mut most, "readers stall");
    }
    until("fills have taken all that they may", || {
        check(&proxy, &mut most, "fills take what they may");
        (proxy.node.store.in_flight() > CONFIGURED / 2 - (1 << 20)).then_some(())
    });
    // Others are served meanwhile.
    for number in 0..300 {
        let reply = proxy.get(&big.url(&format!("/{number}")));
        assert!(reply.complete && reply.body.len() == 1_000_000);
        let mut stream = connect(proxy.address);
        for of in 0..10 {
            let url = small.url(&format!("/{number}/{of}"));
            stream.write_all(format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
            assert!(read_head(&mut stream).is_some());
            stream.read_exact(&mut [0; 5]).unwrap();
        }
        check(&proxy, &mut most, "others are served");
    }
    // What was stored before is still a hit, and stalled readers of hits hold no more than one
    // copy.
    for number in 0..60 {
        clients.push(stalled(&proxy, &big.url(&format!("/{}", 299 - number)), ""));
        check(&proxy, &mut most, "hits stall");
    }
    drop(clients);
    until("memory is given back", || {
        check(&proxy, &mut most, "clients have gone");
        (proxy.node.store.budget().at_work() == 0).then_some(())
    });
    println!("{} MiB resident at the most, {} MiB configured", most >> 20, CONFIGURED >> 20);
}
