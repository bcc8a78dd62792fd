//! The span of an attempt: a child of its request's, and the parent of what the server does. Only
//! of requests that are sampled.

use std::time::Instant;

use dataplane::trace::{
    Context, Trace,
    span::{self, Part},
};
use opentelemetry::{KeyValue, trace::SpanKind};
use relay::proxy_status::ErrorType;

use super::{Attempt, Outcome};
use crate::{local::Local, request::Request};

/// An attempt whose request is sampled.
pub struct Span {
    trace: Trace,
    began: Instant,
}

impl Span {
    /// Begins, if the request is sampled.
    #[must_use]
    pub fn begin(local: &Local, request: &Request<'_>) -> Option<Self> {
        let trace = request.trace?;
        Some(Self { trace: trace.part(local.ids().span()), began: relay::clock::now() })
    }

    /// What the server hears.
    #[must_use]
    pub const fn context(&self) -> Context {
        self.trace.own
    }

    /// The attempt has ended; `reason` is why it was made where there was one before. Returns what
    /// went wrong: the reason for the next one.
    pub fn end(
        self,
        attempt: &Attempt<'_>,
        outcome: &Outcome,
        reason: &'static str,
    ) -> &'static str {
        let Told { outcome, status, error } = told(outcome);
        let (method, server) = (attempt.request.view(), &attempt.slot.server);
        let mut said = vec![
            KeyValue::new("http.request.method", span::name(method.method_text())),
            KeyValue::new("network.peer.address", server.address.ip().to_string()),
            KeyValue::new("network.peer.port", i64::from(server.address.port())),
            KeyValue::new("shoal.server", server.name.clone()),
            KeyValue::new("shoal.attempt.outcome", outcome),
            KeyValue::new("shoal.connection.reused", attempt.reused.get()),
        ];
        said.extend(
            status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))),
        );
        if attempt.number > 1 {
            said.push(KeyValue::new("http.request.resend_count", i64::from(attempt.number - 1)));
            said.push(KeyValue::new("shoal.retry.reason", reason));
        }
        let part = Part {
            name: span::name(method.method_text()),
            kind: SpanKind::Client,
            error,
            took: relay::clock::since(self.began),
        };
        if let Some(tracer) = &attempt.local.shared().tracer {
            tracer.end_part(&self.trace, &part, said);
        }
        error
    }
}

/// An outcome in words.
struct Told {
    outcome: &'static str,
    status: Option<u16>,
    /// Empty: nothing went wrong.
    error: &'static str,
}

fn told(outcome: &Outcome) -> Told {
    let (outcome, status, error) = match outcome {
        Outcome::Relayed { status, .. } => ("relayed", Some(*status), ""),
        Outcome::Tunnel { status, .. } => ("tunnel", Some(*status), ""),
        Outcome::Cut { status, kind, .. } => ("cut", Some(*status), kind.error_type().as_str()),
        Outcome::ClientFailed(_) => ("client_failed", None, "client_aborted"),
        Outcome::Failed(error) => ("failed", None, error.kind.error_type().as_str()),
        Outcome::Overtaken(_) => ("overtaken", None, ""),
        Outcome::OwnFailure => ("own_failure", None, ErrorType::ProxyInternalError.as_str()),
    };
    Told { outcome, status, error }
}
