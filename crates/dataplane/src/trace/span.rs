//! What is exported of a sampled request, in the words of OpenTelemetry's semantic conventions for
//! HTTP.
//!
//! Only of sampled requests, when they have ended: nothing of this is on the way of the others.

use std::{
    borrow::Cow,
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use uuid::Uuid;

use super::{Clients, Context, Ratio, Sampler, Trace};
use crate::domain::domain;

/// Methods that conventions know; another one is `_OTHER`.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];
/// What is exported of a target, in bytes.
const LONGEST_TARGET: usize = 2048;

/// Options of processes that trace requests.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Options {
    /// Share of requests that begin a trace, 0 to 1, where --otlp-endpoint says where traces go;
    /// those that a traceparent decides are not counted
    #[arg(long, env = "SHOAL_TRACE_RATIO", default_value = "0.01", value_name = "SHARE")]
    pub trace_ratio: Ratio,
    /// Whether a client's traceparent is the parent of its request's span, and says whether it is
    /// sampled
    #[arg(
        long,
        env = "SHOAL_TRACE_CLIENTS",
        value_enum,
        default_value = "follow",
        value_name = "WHAT"
    )]
    pub trace_clients: Clients,
    /// Export queries of URLs, which may hold secrets; without it they are REDACTED
    #[arg(long, env = "SHOAL_TRACE_QUERIES")]
    pub trace_queries: bool,
}

/// Takes finished spans; never waits.
pub type Sink = Arc<dyn Fn(SpanData) + Send + Sync>;

/// Traces the requests of one process.
#[derive(Clone)]
pub struct Tracer {
    sampler: Sampler,
    queries: bool,
    scope: InstrumentationScope,
    sink: Sink,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tracer").field("sampler", &self.sampler).finish_non_exhaustive()
    }
}

/// A request that has ended.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Its id.
    pub id: Uuid,
    /// Empty: none could be read.
    pub method: &'a str,
    /// As sent; empty: none could be read.
    pub target: &'a str,
    /// Whose it is.
    pub client: Option<IpAddr>,
    /// 0: none was sent.
    pub status: u16,
    /// What went wrong, in a word; empty: nothing.
    pub error: &'a str,
    /// Sent to the client, heads included where they are counted.
    pub bytes: u64,
    /// When it ended.
    pub ended: SystemTime,
    /// How long it took.
    pub took: Duration,
}

/// A part of a request that has ended just now: an attempt, a look-up, a connection that was made.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// What it is called: few different words, as spans are grouped by them.
    pub name: &'static str,
    /// A request of ours to somebody, or something that only this process knows.
    pub kind: SpanKind,
    /// What went wrong, in a word; empty: nothing.
    pub error: &'a str,
    /// How long it took.
    pub took: Duration,
}

impl Tracer {
    /// Exports through `sink`.
    #[must_use]
    pub fn new(options: Options, sink: Sink) -> Self {
        let sampler = Sampler::new(options.trace_ratio, options.trace_clients);
        Self {
            sampler,
            queries: options.trace_queries,
            scope: InstrumentationScope::builder("shoal").build(),
            sink,
        }
    }

    /// The span of a request; none: it is not sampled.
    pub fn begin(
        &self,
        id: Uuid,
        carried: Option<Context>,
        believed: bool,
        span: impl FnOnce() -> u64,
    ) -> Option<Trace> {
        self.sampler.begin(id, carried, believed, span)
    }

    /// A part of a request has ended. `trace` is the part's own ([`Trace::part`]).
    pub fn end_part(&self, trace: &Trace, part: &Part<'_>, attributes: Vec<KeyValue>) {
        let ended = relay::clock::exact_wall();
        let mut span = self.span(trace, part.name, ended, part.took);
        // Its parent is this process's own.
        (span.span_kind, span.parent_span_is_remote, span.attributes) =
            (part.kind.clone(), false, attributes);
        if !part.error.is_empty() {
            span.attributes.push(KeyValue::new("error.type", part.error.to_owned()));
            span.status = Status::error(part.error.to_owned());
        }
        (self.sink)(span);
    }

    /// It has ended. `more` is what only this kind of process says.
    pub fn end(
        &self,
        trace: &Trace,
        request: &Request<'_>,
        more: impl IntoIterator<Item = KeyValue>,
    ) {
        let mut attributes = self.attributes(request);
        attributes.extend(more);
        let mut span = self.span(trace, name(request.method), request.ended, request.took);
        span.attributes = attributes;
        if request.status >= 500 || !request.error.is_empty() {
            span.status = Status::error(request.error.to_owned());
        }
        (self.sink)(span);
    }

    fn span(
        &self,
        trace: &Trace,
        name: &'static str,
        ended: SystemTime,
        took: Duration,
    ) -> SpanData {
        let context = |span: u64| {
            SpanContext::new(
                TraceId::from(trace.own.trace),
                SpanId::from(span),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            )
        };
        SpanData {
            span_context: context(trace.own.span),
            parent_span_id: trace.parent.map_or(SpanId::INVALID, SpanId::from),
            parent_span_is_remote: trace.parent.is_some(),
            span_kind: SpanKind::Server,
            name: Cow::Borrowed(name),
            start_time: ended.checked_sub(took).unwrap_or(ended),
            end_time: ended,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }

    fn attributes(&self, request: &Request<'_>) -> Vec<KeyValue> {
        let text = |key: &'static str, value: &str| KeyValue::new(key, value.to_owned());
        let mut all = vec![
            KeyValue::new("http.request.method", known(request.method).unwrap_or("_OTHER")),
            KeyValue::new(
                "http.response.body.size",
                i64::try_from(request.bytes).unwrap_or(i64::MAX),
            ),
            text("shoal.request_id", &request.id.to_string()),
        ];
        if known(request.method).is_none() && !request.method.is_empty() {
            all.push(text("http.request.method_original", request.method));
        }
        if !request.target.is_empty() {
            let scheme = if request.method == "CONNECT" {
                "https"
            } else {
                request.target.split_once("://").map_or("http", |(scheme, _)| scheme)
            };
            all.extend([
                text("url.full", &redacted(request.target, self.queries)),
                text("url.scheme", &scheme.to_ascii_lowercase()),
            ]);
            all.extend(
                Some(domain(request.target))
                    .filter(|host| host != "-")
                    .map(|host| text("server.address", &host)),
            );
        }
        all.extend(request.client.map(|client| text("client.address", &client.to_string())));
        if request.status > 0 {
            all.push(KeyValue::new("http.response.status_code", i64::from(request.status)));
        }
        if !request.error.is_empty() {
            all.push(text("error.type", request.error));
        } else if request.status >= 500 {
            all.push(text("error.type", &request.status.to_string()));
        }
        all
    }
}

/// What a span of a request is called.
#[must_use]
pub fn name(method: &str) -> &'static str {
    known(method).unwrap_or("HTTP")
}

fn known(method: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|known| *known == method)
}

/// A target without user information, and without its query unless that is wanted.
fn redacted(target: &str, queries: bool) -> Cow<'_, str> {
    let target = &target[..target.floor_char_boundary(LONGEST_TARGET)];
    let begin = target.find("://").map_or(0, |at| at + 3);
    let end = target[begin..].find(['/', '?', '#']).map_or(target.len(), |at| begin + at);
    let host = target[begin..end].rfind('@').map_or(begin, |at| begin + at + 1);
    let query = target.find('?').filter(|_| !queries);
    if host == begin && query.is_none() {
        return Cow::Borrowed(target);
    }
    let user = if host == begin { "" } else { "REDACTED@" };
    let rest = &target[host..query.unwrap_or(target.len())];
    Cow::Owned(format!(
        "{}{user}{rest}{}",
        &target[..begin],
        if query.is_some() { "?REDACTED" } else { "" }
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn secrets_of_a_target_stay_here() {
        for (target, queries, expected) in [
            ("http://a/b?token=1", false, "http://a/b?REDACTED"),
            ("http://a/b?token=1", true, "http://a/b?token=1"),
            ("http://user:secret@a/b", true, "http://REDACTED@a/b"),
            ("http://user@secret@a?x@y", false, "http://REDACTED@a?REDACTED"),
            ("http://a/b@c", false, "http://a/b@c"),
            ("a:443", false, "a:443"),
            ("/own?x", false, "/own?REDACTED"),
            ("*", false, "*"),
        ] {
            assert_eq!(redacted(target, queries), expected);
        }
        assert!(redacted(&"ü".repeat(5000), true).len() <= LONGEST_TARGET);
    }

    #[test]
    fn a_span_says_it_in_the_words_of_the_conventions() {
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = spans.clone();
        let options = Options {
            trace_ratio: "1".parse().expect("a share"),
            trace_clients: Clients::Follow,
            trace_queries: false,
        };
        let tracer =
            Tracer::new(options, Arc::new(move |span| kept.lock().expect("spans").push(span)));
        let id = Uuid::from_u128(9);
        let trace = tracer.begin(id, None, false, || 3).expect("all are sampled");
        let ended = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let request = Request {
            id,
            method: "BREW",
            target: "HTTP://A.example:81/x?y",
            client: "10.0.0.1".parse().ok(),
            status: 502,
            error: "",
            bytes: 7,
            ended,
            took: Duration::from_secs(4),
        };
        tracer.end(&trace, &request, [KeyValue::new("shoal.attempts", 2)]);
        let span = spans.lock().expect("spans").remove(0);
        assert_eq!((span.name.as_ref(), span.span_kind), ("HTTP", SpanKind::Server));
        assert_eq!(
            (span.start_time, span.end_time),
            (SystemTime::UNIX_EPOCH + Duration::from_secs(6), ended)
        );
        assert_eq!(
            (span.span_context.trace_id(), span.parent_span_id),
            (TraceId::from(9), SpanId::INVALID)
        );
        let said: Vec<_> =
            span.attributes.iter().map(|it| format!("{}={}", it.key, it.value)).collect();
        for expected in [
            "http.request.method=_OTHER",
            "http.request.method_original=BREW",
            "url.full=HTTP://A.example:81/x?REDACTED",
            "url.scheme=http",
            "server.address=a.example",
            "client.address=10.0.0.1",
            "http.response.status_code=502",
            "error.type=502",
            "shoal.attempts=2",
        ] {
            assert!(said.iter().any(|it| it == expected), "{expected} in {said:?}");
        }
    }
}
