//! Traces across gRPC calls (W3C Trace Context in metadata): the client's span is the parent of the
//! server's.
//!
//! Without an exporter no span has a context, and nothing is read or written.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::TraceContextExt,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

struct Fields<'a>(&'a HeaderMap);

impl Extractor for Fields<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct FieldsMut<'a>(&'a mut HeaderMap);

impl Injector for FieldsMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

/// Makes the caller's span the parent of this call's.
pub(crate) fn accept(span: &Span, headers: &HeaderMap) {
    if !headers.contains_key("traceparent") {
        return;
    }
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Fields(headers));
    // Fails where nothing is exported: there is nothing to join then.
    drop(span.set_parent(context));
}

/// Tells whoever is called of this call's span.
pub(crate) fn pass_on(span: &Span, headers: &mut HeaderMap) {
    let context = span.context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut FieldsMut(headers));
    }
}

/// The span of a call of `path` (`/package.Service/Method`) has its result.
pub(crate) fn ended(span: &Span, code: tonic::Code) {
    span.set_attribute("rpc.grpc.status_code", i64::from(i32::from(code)));
}

/// Names the rpc in the words of OpenTelemetry's conventions.
pub(crate) fn describe(span: &Span, path: &str) {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    span.set_attribute("rpc.system", "grpc");
    span.set_attribute("rpc.service", service.to_owned());
    span.set_attribute("rpc.method", method.to_owned());
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn nothing_is_told_where_nothing_is_exported() {
        let mut headers = HeaderMap::new();
        pass_on(&tracing::info_span!("grpc"), &mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn a_call_s_span_is_the_parent_of_what_it_calls() {
        let provider = SdkTracerProvider::builder().build();
        let subscriber = tracing_subscriber::registry()
            .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")));
        tracing::subscriber::with_default(subscriber, || {
            let mut headers = HeaderMap::new();
            headers.insert(
                "traceparent",
                HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            );
            let server = tracing::info_span!("server");
            accept(&server, &headers);
            let mut told = HeaderMap::new();
            server.in_scope(|| pass_on(&tracing::info_span!("client"), &mut told));
            let value =
                told.get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
            assert!(
                value.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && value.ends_with("-01"),
                "{value}"
            );
            assert!(
                !value.contains("b7ad6b7169203331"),
                "the client's own span, not its caller's: {value}"
            );
        });
    }
}
