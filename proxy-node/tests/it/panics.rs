//! Handlers and fills that panic, in a whole node with real sockets. What panics is the sink of the
//! tracer, which the test brings and who connects to an origin calls: nothing in the node knows of
//! these tests.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use dataplane::trace::{
    Clients,
    span::{Options, Tracer},
};
use opentelemetry::trace::SpanKind;

use crate::support::{Gate, Origin, Proxy, Then, connect, read_reply, response, until};

/// Only a request with this field is traced.
const POISON: &str = "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";

/// A node that panics when it has connected for a traced request: of a GET, that is its fill, and
/// of another method its handler.
fn panicking() -> Proxy {
    let options = Options {
        trace_ratio: "0".parse().expect("a share"),
        trace_clients: Clients::Follow,
        trace_queries: false,
    };
    let sink = Arc::new(|span: opentelemetry_sdk::trace::SpanData| {
        assert!(span.span_kind == SpanKind::Server, "{} (expected by this test)", span.name);
    });
    Proxy::traced(|_| {}, HashMap::new(), Some(Tracer::new(options, sink)))
}

/// Sends a request for this path; the answer is not read.
fn send(proxy: &Proxy, origin: SocketAddr, method: &str, path: &str, fields: &str) -> TcpStream {
    let mut stream = connect(proxy.address);
    write!(stream, "{method} http://{origin}/{path} HTTP/1.1\r\nHost: {origin}\r\n{fields}\r\n")
        .expect("sent");
    stream
}

fn panics(proxy: &Proxy) -> u64 {
    proxy.workers.as_ref().expect("running").counts().panics
}

fn ends_without_a_byte(mut stream: TcpStream) {
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)), "an answer came");
}

fn drain(mut proxy: Proxy) {
    let workers = proxy.workers.take().expect("running");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    assert_eq!(runtime.block_on(workers.drain(Duration::from_secs(20))).aborted, 0);
}

#[test]
fn a_panicking_handler_loses_its_own_connection_and_no_other() {
    let gate = Gate::default();
    let waits = gate.clone();
    let origin = Origin::start(move |stream, head| {
        if head.contains("/slow") {
            waits.wait();
        }
        drop(stream.write_all(response("Cache-Control: no-store\r\n", "here").as_bytes()));
        Then::Keep
    });
    let proxy = panicking();
    let mut others: Vec<_> = (0..8)
        .map(|number| send(&proxy, origin.address, "GET", &format!("slow{number}"), ""))
        .collect();
    until("all of them are under way", || (origin.requests().len() == 8).then_some(()));
    for _ in 0..4 {
        ends_without_a_byte(send(&proxy, origin.address, "OPTIONS", "a-handler-panics", POISON));
    }
    until("the panics are counted", || (panics(&proxy) == 4).then_some(()));
    gate.open();
    for other in &mut others {
        let reply = read_reply(other, "GET");
        assert_eq!((reply.status, reply.text().as_str(), reply.complete), (200, "here", true));
    }
    assert_eq!(proxy.get(&origin.url("/after")).status, 200);
    drop(others);
    until("no connection is counted as open", || {
        (proxy.node.metrics.active_connections.get() == 0).then_some(())
    });
    drain(proxy);
}

/// The fill is a task of its own: who leads it gets an error, who waits for it asks for itself, and
/// the key can be filled afterwards.
#[test]
fn a_panicking_fill_leaves_nobody_waiting() {
    let origin = Origin::answering(response("Cache-Control: max-age=60\r\n", "here"), Then::Keep);
    let proxy = panicking();
    for _ in 0..3 {
        let mut leader = send(&proxy, origin.address, "GET", "a-fill-panics", POISON);
        let reply = read_reply(&mut leader, "GET");
        assert!(matches!(reply.status, 0 | 500..=599), "{reply:?}");
    }
    until("the panics are counted", || (panics(&proxy) == 3).then_some(()));
    assert_eq!(origin.requests().len(), 0);
    for _ in 0..2 {
        assert_eq!(proxy.get(&origin.url("/after")).text(), "here");
    }
    assert_eq!(origin.requests().len(), 1, "the second one is a hit");
    drain(proxy);
}
