//! Spans of requests: parent, child and what goes on to the node.

use std::sync::{Arc, Mutex};

use crate::support::{Cluster, Mode};
use dataplane::trace::{
    Clients,
    span::{Options, Tracer},
};
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use testkit::wait::until;

const CLIENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

type Spans = Arc<Mutex<Vec<SpanData>>>;

async fn traced(ratio: &str, clients: Clients) -> (Cluster, Spans) {
    let spans = Spans::default();
    let kept = Arc::clone(&spans);
    let options = Options {
        trace_ratio: ratio.parse().expect("a share"),
        trace_clients: clients,
        trace_queries: false,
    };
    let tracer = Tracer::new(options, Arc::new(move |span| kept.lock().expect("spans").push(span)));
    (Cluster::traced(2, serde_json::json!({}), Some(tracer)).await, spans)
}

async fn get(cluster: &Cluster, fields: &[(&str, &str)]) -> testkit::client::Answer {
    cluster
        .open()
        .await
        .request("GET", "http://origin.example/x?secret", fields, b"")
        .await
        .expect("an answer")
}

/// The span of the only request, and those of its attempts, once it is there.
async fn of_request(spans: &Spans) -> (SpanData, Vec<SpanData>) {
    let ended =
        || async { spans.lock().expect("spans").pop_if(|span| span.span_kind == SpanKind::Server) };
    let span = until("the request's span", ended).await;
    let attempts: Vec<_> = spans.lock().expect("spans").drain(..).collect();
    for attempt in &attempts {
        assert_eq!((&attempt.span_kind, attempt.parent_span_is_remote), (&SpanKind::Client, false));
        assert_eq!(attempt.span_context.trace_id(), span.span_context.trace_id());
        assert_eq!(attempt.parent_span_id, span.span_context.span_id());
        assert!(attempt.start_time <= attempt.end_time && attempt.end_time <= span.end_time);
    }
    (span, attempts)
}

fn told_of(span: &SpanData) -> String {
    format!("00-{}-{}-01", span.span_context.trace_id(), span.span_context.span_id())
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|it| it.key.as_str() == key).map(|it| it.value.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_s_trace_goes_on_through_the_balancer_s_span() {
    let (cluster, spans) = traced("0", Clients::Follow).await;
    let answer = get(&cluster, &[("TraceParent", CLIENT), ("tracestate", "vendor=kept")]).await;
    assert_eq!(answer.status(), 200);
    let (span, attempts) = of_request(&spans).await;
    assert_eq!(span.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
    let arrival = cluster.arrivals().remove(0);
    assert_eq!(attempts.len(), 1);
    let told = told_of(&attempts[0]);
    let fields: Vec<_> = arrival
        .head
        .fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("traceparent"))
        .collect();
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
    assert_eq!(
        attribute(&span, "shoal.request_id").as_deref(),
        answer.head.field("shoal-request-id")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sampled_goes_on_as_it_came() {
    let (cluster, spans) = traced("0", Clients::Follow).await;
    for field in [Some(UNSAMPLED), Some("nonsense"), None] {
        let fields: Vec<_> = field.iter().map(|value| ("traceparent", *value)).collect();
        assert_eq!(get(&cluster, &fields).await.status(), 200);
        let arrival =
            cluster.arrivals().into_iter().find(|it| it.head.field("traceparent") == field);
        assert!(arrival.is_some(), "{field:?}");
    }
    assert!(spans.lock().expect("spans").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_begins_here_has_the_request_s_id() {
    let (cluster, spans) = traced("1", Clients::Ignore).await;
    let answer = get(&cluster, &[("traceparent", UNSAMPLED)]).await;
    let id = answer.head.field("shoal-request-id").expect("an id").replace('-', "");
    let (first, attempts) = of_request(&spans).await;
    assert_eq!(first.span_context.trace_id().to_string(), id);
    assert_eq!(first.parent_span_id, opentelemetry::trace::SpanId::INVALID);
    assert_eq!(attempts.len(), 1);
    assert_eq!(
        cluster.arrivals()[0].head.field("traceparent"),
        Some(told_of(&attempts[0]).as_str())
    );

    // A failure is said.
    for node in &cluster.nodes {
        node.set(Mode::CloseUnanswered);
    }
    let failed = get(&cluster, &[]).await;
    assert_eq!(failed.status(), 502);
    let (second, _) = of_request(&spans).await;
    assert_eq!(attribute(&second, "error.type").as_deref(), Some("connection_terminated"));

    // What is no request leaves a span too, by the id that its answer carries.
    let mut client = cluster.open().await;
    client.send(b"nonsense\r\n\r\n").await.expect("sent");
    let refused = client.answer("GET").await.expect("an answer");
    let (third, attempts) = of_request(&spans).await;
    assert!(attempts.is_empty());
    assert_eq!(
        attribute(&third, "shoal.request_id").as_deref(),
        refused.head.field("shoal-request-id")
    );
    assert_eq!(attribute(&third, "http.response.status_code").as_deref(), Some("400"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_s_span_ends_with_it() {
    let (cluster, spans) = traced("1", Clients::Follow).await;
    let mut client = cluster.open().await;
    assert_eq!(client.connect("o.example:443", &[]).await.expect("a head").status(), Some(200));
    assert!(spans.lock().expect("spans").iter().all(|span| span.span_kind == SpanKind::Client));
    drop(client);
    let (span, attempts) = of_request(&spans).await;
    assert_eq!(
        (span.name.as_ref(), attribute(&span, "url.full").as_deref()),
        ("CONNECT", Some("o.example:443"))
    );
    assert_eq!(
        (attempts[0].name.as_ref(), attribute(&attempts[0], "shoal.attempt.outcome").as_deref()),
        ("CONNECT", Some("tunnel"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_has_a_span_that_says_whom_it_asked_and_why_another_was() {
    let (cluster, spans) = traced("1", Clients::Follow).await;
    // The first request leaves connections behind; the second finds one node dead, and is answered
    // by the other.
    assert_eq!(get(&cluster, &[]).await.status(), 200);
    of_request(&spans).await;
    assert_eq!(get(&cluster, &[]).await.status(), 200);
    let (_, attempts) = of_request(&spans).await;
    assert_eq!(attempts.len(), 1);
    cluster.nodes[0].set(Mode::CloseUnanswered);
    let mut attempts = Vec::new();
    // Both have their turn.
    for _ in 0..4 {
        assert_eq!(get(&cluster, &[]).await.status(), 200);
        let (span, made) = of_request(&spans).await;
        assert_eq!(attribute(&span, "shoal.attempts"), Some(made.len().to_string()));
        if made.len() > attempts.len() {
            attempts = made;
        }
    }
    let [failed, answered] = &attempts[..] else { panic!("two attempts: {attempts:?}") };
    for (span, key, value) in [
        (failed, "http.request.method", Some("GET")),
        (failed, "shoal.attempt.outcome", Some("failed")),
        (failed, "error.type", Some("connection_terminated")),
        (failed, "http.request.resend_count", None),
        (failed, "http.response.status_code", None),
        (answered, "shoal.attempt.outcome", Some("relayed")),
        (answered, "http.response.status_code", Some("200")),
        (answered, "error.type", None),
        (answered, "http.request.resend_count", Some("1")),
        (answered, "shoal.retry.reason", Some("connection_terminated")),
    ] {
        assert_eq!(attribute(span, key).as_deref(), value, "{key} of {span:?}");
    }
    assert!(matches!(failed.status, Status::Error { .. }) && answered.status == Status::Unset);
    assert_ne!(attribute(failed, "shoal.server"), attribute(answered, "shoal.server"));
    for span in [failed, answered] {
        assert_eq!(attribute(span, "network.peer.address").as_deref(), Some("127.0.0.1"));
    }
    for (span, node) in [failed, answered].into_iter().zip(&cluster.nodes) {
        assert_eq!(attribute(span, "network.peer.port"), Some(node.address.port().to_string()));
    }
    // Each was told of its own span.
    let told: Vec<_> = cluster
        .arrivals()
        .iter()
        .filter_map(|it| it.head.field("traceparent").map(str::to_owned))
        .collect();
    assert!(told.contains(&told_of(failed)) && told.contains(&told_of(answered)));
}
