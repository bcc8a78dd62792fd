//! Spans of what a sampled request waits for on its way to the next hop: a name that is looked up,
//! a connection that is made, TLS that is begun.
//!
//! Whose they are goes with the task, since what waits is deep below what knows the request, and
//! hardly any request is sampled. Of one that is not, a look-up or a new connection costs a look at
//! a variable of its task; a request that needs neither pays nothing.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Instant,
};

use dataplane::trace::{Trace, span::Part};
use opentelemetry::{Array, KeyValue, StringValue, Value, trace::SpanKind};
use relay::{fault::Fault, stream::Stream};

use crate::{dns::Resolved, local::Local, respond::Error};

tokio::task_local! {
    static CURRENT: Steps;
}

/// Whose the steps of a task are.
#[derive(Clone)]
pub struct Steps {
    local: Rc<Local>,
    trace: Trace,
}

impl Steps {
    /// Of a request, if it is sampled.
    #[must_use]
    pub fn of(local: &Rc<Local>, trace: Option<Trace>) -> Option<Self> {
        Some(Self { local: Rc::clone(local), trace: trace? })
    }

    /// Those of this task.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Does some work, whose steps are these.
    pub async fn during<T>(self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, work).await
    }
}

/// A step that has begun.
pub struct Step {
    steps: Steps,
    began: Instant,
}

impl Step {
    /// Begins, where this task's request is sampled.
    #[must_use]
    pub fn begin() -> Option<Self> {
        Steps::current().map(|steps| Self { steps, began: relay::clock::now() })
    }

    /// A name was looked up.
    pub fn looked_up(self, host: &str, found: &Resolved) {
        let mut said = vec![KeyValue::new("dns.question.name", host.to_owned())];
        let error = match found {
            Ok(addresses) => {
                let addresses = addresses
                    .iter()
                    .map(|address| StringValue::from(address.to_string()))
                    .collect();
                said.push(KeyValue::new("dns.answers", Value::Array(Array::String(addresses))));
                ""
            }
            Err(problem) => Error::Dns(*problem).error_type().as_str(),
        };
        self.end("dns lookup", error, said);
    }

    /// A connection was made, or not.
    pub fn connected(self, to: SocketAddr, made: &Result<Stream, Fault>) {
        let family = if matches!(to.ip(), IpAddr::V4(_)) { "ipv4" } else { "ipv6" };
        let said = vec![
            KeyValue::new("network.peer.address", to.ip().to_string()),
            KeyValue::new("network.peer.port", i64::from(to.port())),
            KeyValue::new("network.transport", "tcp"),
            KeyValue::new("network.type", family),
        ];
        self.end(
            "tcp connect",
            made.as_ref().err().map_or("", |fault| Error::connecting(fault).error_type().as_str()),
            said,
        );
    }

    /// TLS was begun with a host, or was not.
    pub fn secured(self, host: &str, begun: &Result<Stream, Error>) {
        let said = vec![KeyValue::new("server.address", host.to_owned())];
        self.end(
            "tls handshake",
            begun.as_ref().err().map_or("", |failure| failure.error_type().as_str()),
            said,
        );
    }

    fn end(self, name: &'static str, error: &str, said: Vec<KeyValue>) {
        let Steps { local, trace } = &self.steps;
        if let Some(tracer) = &local.node.tracer {
            let span = local.ids.span();
            let part = Part {
                name,
                kind: SpanKind::Internal,
                error,
                took: relay::clock::since(self.began),
            };
            tracer.end_part(&trace.part(span), &part, said);
        }
    }
}
