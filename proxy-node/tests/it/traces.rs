//! Spans of requests on a node, and what origins hear of them.

use std::{
    collections::HashMap,
    io::Write,
    sync::{Arc, Mutex},
};

use dataplane::trace::{
    Clients,
    span::{Options, Tracer},
};
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;

use crate::support::{Origin, Proxy, Reply, Then, proved, read_reply, response, until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

type Spans = Arc<Mutex<Vec<SpanData>>>;

fn tracer(ratio: &str) -> (Tracer, Spans) {
    let spans = Spans::default();
    let kept = Arc::clone(&spans);
    let options = Options {
        trace_ratio: ratio.parse().unwrap(),
        trace_clients: Clients::Follow,
        trace_queries: false,
    };
    (Tracer::new(options, Arc::new(move |span| kept.lock().unwrap().push(span))), spans)
}

/// The span of a request, without those of its steps.
fn span(spans: &Spans) -> SpanData {
    with_steps(spans).0
}

/// The span of the only request, and those of its steps, once it is there.
fn with_steps(spans: &Spans) -> (SpanData, Vec<SpanData>) {
    let ended = || spans.lock().unwrap().pop_if(|span| span.span_kind == SpanKind::Server);
    let span = until("the request's span", ended);
    let steps: Vec<_> = spans.lock().unwrap().drain(..).collect();
    for step in &steps {
        assert_eq!((&step.span_kind, step.parent_span_is_remote), (&SpanKind::Internal, false));
        assert_eq!(
            (step.span_context.trace_id(), step.parent_span_id),
            (span.span_context.trace_id(), span.span_context.span_id())
        );
    }
    (span, steps)
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|it| it.key.as_str() == key).map(|it| it.value.to_string())
}

/// The traceparent that an origin got with its last request.
fn told(origin: &Origin) -> Option<String> {
    let request = origin.requests().pop().unwrap();
    let lines: Vec<_> = request
        .lines()
        .filter(|line| line.to_ascii_lowercase().starts_with("traceparent:"))
        .collect();
    assert!(lines.len() < 2, "{request}");
    lines.first().and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
}

/// A request as a balancer sends it.
fn from_balancer(proxy: &Proxy, url: &str, fields: &str) -> Reply {
    let mut stream = proved(proxy.relay, &relay::proof::Challenge::local(&[1; 32]));
    let host = url.split('/').nth(2).unwrap();
    let request =
        format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 10.0.0.9\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    read_reply(&mut stream, "GET")
}

#[test]
fn a_client_s_trace_reaches_the_origin_through_the_node_s_span() {
    let origin = Origin::answering(response("Cache-Control: max-age=60\r\n", "x"), Then::Keep);
    let (tracer, spans) = tracer("0");
    let proxy = Proxy::traced(|_| {}, HashMap::new(), Some(tracer));
    let fields = format!("traceparent: {CLIENT}\r\ntracestate: vendor=kept\r\n");
    let reply = proxy.ask("GET", &origin.url("/a?secret"), &fields);
    let miss = span(&spans);
    assert_eq!(
        (
            miss.span_context.trace_id().to_string().as_str(),
            miss.parent_span_id.to_string().as_str()
        ),
        (TRACE, "b7ad6b7169203331")
    );
    assert_eq!(told(&origin), Some(format!("00-{TRACE}-{}-01", miss.span_context.span_id())));
    assert!(origin.requests()[0].contains("tracestate: vendor=kept"));
    assert_eq!(attribute(&miss, "url.full"), Some(origin.url("/a?REDACTED")));
    assert_eq!(attribute(&miss, "shoal.outcome").as_deref(), Some("TCP_MISS"));
    assert_eq!(attribute(&miss, "shoal.upstream.address").as_deref(), Some("127.0.0.1"));
    assert_eq!(attribute(&miss, "shoal.request_id").as_deref(), reply.field("Shoal-Request-Id"));

    proxy.ask("GET", &origin.url("/a?secret"), &fields);
    let hit = span(&spans);
    assert_eq!(attribute(&hit, "shoal.outcome").as_deref(), Some("TCP_MEM_HIT"));
    assert_eq!(hit.parent_span_id.to_string(), "b7ad6b7169203331");
    assert_ne!(hit.span_context.span_id(), miss.span_context.span_id());

    // Past the cache, and refused.
    proxy.ask("POST", &origin.url("/b"), &format!("{fields}Content-Length: 0\r\n"));
    let posted = span(&spans);
    assert_eq!(told(&origin), Some(format!("00-{TRACE}-{}-01", posted.span_context.span_id())));
    proxy.ask("GET", &format!("http://{}/own", proxy.address), &fields);
    assert_eq!(attribute(&span(&spans), "http.response.status_code").as_deref(), Some("403"));

    // Without a decision of the client's there is none here: nothing is sampled, and nothing is
    // added.
    proxy.ask("GET", &origin.url("/c"), "");
    assert_eq!(told(&origin), None);
    let unsampled = CLIENT.replace("-01", "-00");
    proxy.ask("GET", &origin.url("/d"), &format!("traceparent: {unsampled}\r\n"));
    assert_eq!(told(&origin), Some(unsampled));
    assert!(spans.lock().unwrap().is_empty());
}

#[test]
fn a_trace_of_our_own_goes_from_the_balancer_to_the_node_and_no_further() {
    let origin = Origin::answering(response("", "x"), Then::Keep);
    let (tracer, spans) = tracer("0");
    let proxy = Proxy::traced(|_| {}, HashMap::new(), Some(tracer));
    let id = "018bcfe5-687b-7123-8456-789abcdef012";
    let trace = id.replace('-', "");
    let begun =
        format!("Shoal-Request-Id: {id}\r\ntraceparent: 00-{trace}-00f067aa0ba902b7-01\r\n");
    let reply = from_balancer(&proxy, &origin.url("/a"), &begun);
    assert_eq!((reply.status, reply.field("Shoal-Request-Id")), (200, Some(id)));
    let child = span(&spans);
    assert_eq!(
        (child.span_context.trace_id().to_string(), child.parent_span_id.to_string()),
        (trace, "00f067aa0ba902b7".to_owned())
    );
    assert_eq!(attribute(&child, "client.address").as_deref(), Some("10.0.0.9"));
    assert_eq!(told(&origin), None, "who began no trace is not told of one");

    // A client's that came through the balancer goes on.
    from_balancer(
        &proxy,
        &origin.url("/b"),
        &format!("Shoal-Request-Id: {id}\r\ntraceparent: {CLIENT}\r\n"),
    );
    assert_eq!(
        told(&origin),
        Some(format!("00-{TRACE}-{}-01", span(&spans).span_context.span_id()))
    );

    // A node that traces nothing keeps what is ours to itself all the same.
    let silent = Proxy::start();
    from_balancer(&silent, &origin.url("/c"), &begun);
    assert_eq!(told(&origin), None);
    from_balancer(&silent, &origin.url("/d"), &format!("traceparent: {CLIENT}\r\n"));
    assert_eq!(told(&origin).as_deref(), Some(CLIENT));
}

#[test]
fn what_a_sampled_request_waits_for_has_spans_of_its_own() {
    let origin = Origin::answering(response("", "x"), Then::Keep);
    let (tracer, spans) = tracer("1");
    let proxy = Proxy::traced(
        |_| {},
        HashMap::from([("o.test", vec!["127.0.0.1".parse().unwrap()])]),
        Some(tracer),
    );
    let url = |host: &str| format!("http://{host}:{}/", origin.address.port());
    let said = |step: &SpanData| {
        let attributes: Vec<_> =
            step.attributes.iter().map(|it| format!("{}={}", it.key, it.value)).collect();
        format!("{}: {}", step.name, attributes.join(" "))
    };
    let port = origin.address.port();
    let connected = format!(
        "tcp connect: network.peer.address=127.0.0.1 network.peer.port={port} \
         network.transport=tcp network.type=ipv4"
    );
    // A fill is another task; its steps are the request's all the same.
    for (method, fields) in [("GET", ""), ("POST", "Content-Length: 0\r\nConnection: close\r\n")] {
        let proxy_client = proxy.ask(method, &url("o.test"), fields);
        assert_eq!(proxy_client.status, 200);
        let (_, steps) = with_steps(&spans);
        let steps: Vec<_> = steps.iter().map(said).collect();
        match method {
            "GET" => {
                let looked_up = "dns lookup: dns.question.name=o.test dns.answers=[\"127.0.0.1\"]";
                assert_eq!(steps, [looked_up.to_owned(), connected.clone()]);
            }
            // The name is known; the connection that is there may be another worker's.
            _ => assert!(steps.iter().all(|step| *step == connected), "{steps:?}"),
        }
    }
    // A tunnel has a connection of its own.
    let mut stream = std::net::TcpStream::connect(proxy.address).unwrap();
    stream
        .write_all(
            format!("CONNECT o.test:{port} HTTP/1.1\r\nHost: o.test:{port}\r\n\r\n").as_bytes(),
        )
        .unwrap();
    assert_eq!(read_reply(&mut stream, "CONNECT").status, 200);
    drop(stream);
    assert_eq!(with_steps(&spans).1.iter().map(said).collect::<Vec<_>>(), [connected]);
    // What fails says how.
    assert_eq!(proxy.ask("GET", &url("nowhere.test"), "").status, 502);
    let (_, steps) = with_steps(&spans);
    assert_eq!(steps.len(), 1);
    assert_eq!(
        (steps[0].name.as_ref(), attribute(&steps[0], "error.type").as_deref()),
        ("dns lookup", Some("dns_error"))
    );
    assert!(matches!(steps[0].status, Status::Error { .. }));
    assert_eq!(proxy.ask("GET", &format!("http://127.0.0.1:{}/", unused_port()), "").status, 502);
    let (_, steps) = with_steps(&spans);
    assert_eq!(
        (steps[0].name.as_ref(), attribute(&steps[0], "error.type").as_deref()),
        ("tcp connect", Some("connection_refused"))
    );
}

/// A port that nobody listens on.
fn unused_port() -> u16 {
    testkit::port::free().port()
}
