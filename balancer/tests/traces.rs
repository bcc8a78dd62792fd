//! Spans of requests: parent, child and what goes on to the node.

mod support;

use std::sync::{Arc, Mutex};

use dataplane::trace::{
    Clients,
    span::{Options, Tracer},
};
use opentelemetry_sdk::trace::SpanData;
use support::{Cluster, Mode};
use testkit::wait::until;

const CLIENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

type Spans = Arc<Mutex<Vec<SpanData>>>;

async fn traced(ratio: &str, clients: Clients) -> (Cluster, Spans) {
    let spans = Spans::default();
    let kept = Arc::clone(&spans);
    let options = Options { trace_ratio: ratio.parse().expect("a share"), trace_clients: clients, trace_queries: false };
    let tracer = Tracer::new(options, Arc::new(move |span| kept.lock().expect("spans").push(span)));
    (Cluster::traced(2, serde_json::json!({}), Some(tracer)).await, spans)
}

async fn get(cluster: &Cluster, fields: &[(&str, &str)]) -> testkit::client::Answer {
    cluster.open().await.request("GET", "http://origin.example/x?secret", fields, b"").await.expect("an answer")
}

/// The only span, once it is there.
async fn span(spans: &Spans) -> SpanData {
    let span = until("the request's span", || async { spans.lock().expect("spans").pop() }).await;
    assert!(spans.lock().expect("spans").is_empty());
    span
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|it| it.key.as_str() == key).map(|it| it.value.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_s_trace_goes_on_through_the_balancer_s_span() {
    let (cluster, spans) = traced("0", Clients::Follow).await;
    let answer = get(&cluster, &[("TraceParent", CLIENT), ("tracestate", "vendor=kept")]).await;
    assert_eq!(answer.status(), 200);
    let span = span(&spans).await;
    assert_eq!(span.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
    let arrival = cluster.arrivals().remove(0);
    let told = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", span.span_context.span_id());
    let fields: Vec<_> = arrival.head.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("traceparent")).collect();
    assert_eq!(fields.len(), 1, "{:?}", arrival.head);
    assert_eq!(arrival.head.field("traceparent"), Some(told.as_str()));
    assert_eq!(arrival.head.field("tracestate"), Some("vendor=kept"));
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.full", "http://origin.example/x?REDACTED"),
        ("server.address", "origin.example"),
        ("client.address", "127.0.0.1"),
        ("http.response.status_code", "200"),
        ("shoal.frontend", "proxy_frontend"),
        ("shoal.attempts", "1"),
    ] {
        assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(attribute(&span, "shoal.request_id").as_deref(), answer.head.field("shoal-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sampled_goes_on_as_it_came() {
    let (cluster, spans) = traced("0", Clients::Follow).await;
    for field in [Some(UNSAMPLED), Some("nonsense"), None] {
        let fields: Vec<_> = field.iter().map(|value| ("traceparent", *value)).collect();
        assert_eq!(get(&cluster, &fields).await.status(), 200);
        let arrival = cluster.arrivals().into_iter().find(|it| it.head.field("traceparent") == field);
        assert!(arrival.is_some(), "{field:?}");
    }
    assert!(spans.lock().expect("spans").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_begins_here_has_the_request_s_id() {
    let (cluster, spans) = traced("1", Clients::Ignore).await;
    let answer = get(&cluster, &[("traceparent", UNSAMPLED)]).await;
    let id = answer.head.field("shoal-request-id").expect("an id").replace('-', "");
    let first = span(&spans).await;
    assert_eq!(first.span_context.trace_id().to_string(), id);
    assert_eq!(first.parent_span_id, opentelemetry::trace::SpanId::INVALID);
    let told = format!("00-{id}-{}-01", first.span_context.span_id());
    assert_eq!(cluster.arrivals()[0].head.field("traceparent"), Some(told.as_str()));

    // A retry is told of the same span, and a failure is said.
    for node in &cluster.nodes {
        node.set(Mode::CloseUnanswered);
    }
    let failed = get(&cluster, &[]).await;
    assert_eq!(failed.status(), 502);
    let second = span(&spans).await;
    assert_eq!(attribute(&second, "error.type").as_deref(), Some("connection_terminated"));
    let told: std::collections::BTreeSet<_> =
        cluster.arrivals().iter().filter_map(|it| it.head.field("traceparent").map(str::to_owned)).collect();
    assert_eq!(told.len(), 2, "one for each request: {told:?}");

    // What is no request leaves a span too, by the id that its answer carries.
    let mut client = cluster.open().await;
    client.send(b"nonsense\r\n\r\n").await.expect("sent");
    let refused = client.answer("GET").await.expect("an answer");
    let third = span(&spans).await;
    assert_eq!(attribute(&third, "shoal.request_id").as_deref(), refused.head.field("shoal-request-id"));
    assert_eq!(attribute(&third, "http.response.status_code").as_deref(), Some("400"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_s_span_ends_with_it() {
    let (cluster, spans) = traced("1", Clients::Follow).await;
    let mut client = cluster.open().await;
    assert_eq!(client.connect("o.example:443", &[]).await.expect("a head").status(), Some(200));
    assert!(spans.lock().expect("spans").is_empty());
    drop(client);
    let span = span(&spans).await;
    assert_eq!((span.name.as_ref(), attribute(&span, "url.full").as_deref()), ("CONNECT", Some("o.example:443")));
}
