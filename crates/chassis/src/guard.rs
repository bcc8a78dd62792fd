//! The layer around every rpc: asks the table, writes audit records, counts, traces.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::{Code, Status, body::Body};
use tracing::Instrument;

use crate::{
    audit::{Journal, Note, who},
    authorize::{Decision, Policy},
    connect::code,
    metrics, propagation,
    role::Peer,
};

/// Puts [`Guard`] around a service.
#[derive(Clone, Debug)]
pub(crate) struct GuardLayer {
    pub(crate) policy: &'static Policy,
    pub(crate) journal: Journal,
}

impl<S> tower::Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, policy: self.policy, journal: self.journal.clone() }
    }
}

/// Lets only allowed calls through.
#[derive(Clone, Debug)]
pub(crate) struct Guard<S> {
    inner: S,
    policy: &'static Policy,
    journal: Journal,
}

impl<S, B> tower::Service<Request<B>> for Guard<S>
where
    S: tower::Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Some(peer) = request.extensions().get::<Peer>().cloned() else {
            return refuse(Status::unauthenticated(
                "this call did not come through the chassis's acceptor",
            ));
        };
        let who = who(&peer, request.headers());
        match self.policy.decide(request.uri().path(), peer.role()) {
            Decision::Allowed { path, mutating } => {
                let note = Note::default();
                if mutating {
                    request.extensions_mut().insert(note.clone());
                }
                let record = mutating.then(|| CallRecord {
                    journal: self.journal.clone(),
                    who,
                    from: peer.address,
                    path,
                    note,
                    written: false,
                });
                let span = tracing::info_span!(
                    "grpc",
                    path,
                    %peer,
                    otel.name = path.trim_start_matches('/'),
                    otel.kind = "server",
                );
                propagation::accept(&span, request.headers());
                propagation::describe(&span, path);
                Box::pin(watch(self.inner.call(request), path, record).instrument(span))
            }
            Decision::Denied { path, mutating } => {
                let status = Status::permission_denied(format!("{peer} may not call {path}"));
                if mutating {
                    CallRecord {
                        journal: self.journal.clone(),
                        who,
                        from: peer.address,
                        path,
                        note: Note::default(),
                        written: false,
                    }
                    .write(&describe(&status));
                }
                count(path, status.code());
                refuse(status)
            }
            Decision::Unknown => {
                count("unknown", Code::Unimplemented);
                refuse(Status::unimplemented(format!(
                    "this service has no rpc {}",
                    request.uri().path()
                )))
            }
        }
    }
}

fn refuse<E: Send + 'static>(
    status: Status,
) -> Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>> {
    Box::pin(std::future::ready(Ok(status.into_http())))
}

/// A unary call's error is in the head of its response; a stream counts as done well once it has
/// begun.
async fn watch<E>(
    call: impl Future<Output = Result<Response<Body>, E>> + Send + 'static,
    path: &'static str,
    record: Option<CallRecord>,
) -> Result<Response<Body>, E> {
    let response = call.await?;
    let status = Status::from_header_map(response.headers());
    let result = status.as_ref().map_or(Code::Ok, Status::code);
    count(path, result);
    propagation::ended(&tracing::Span::current(), result);
    if let Some(record) = record {
        record.write(&status.as_ref().map_or_else(|| "ok".to_owned(), describe));
    }
    Ok(response)
}

fn describe(status: &Status) -> String {
    if status.code() == Code::Ok {
        "ok".to_owned()
    } else {
        format!("{}: {}", code(status.code()), status.message())
    }
}

fn count(path: &'static str, result: Code) {
    ::metrics::counter!(metrics::GRPC_CALLS, "path" => path, "result" => code(result)).increment(1);
}

/// The audit record of one call, written also when the caller goes away before the answer.
struct CallRecord {
    journal: Journal,
    who: String,
    from: SocketAddr,
    path: &'static str,
    note: Note,
    written: bool,
}

impl CallRecord {
    fn write(mut self, result: &str) {
        self.append(result);
    }

    fn append(&mut self, result: &str) {
        self.written = true;
        let (who, from) = (std::mem::take(&mut self.who), self.from.to_string());
        self.journal.append(&self.journal.entry(
            who,
            from,
            self.path,
            self.note.take(),
            result.to_owned(),
        ));
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        if !self.written {
            self.append("cancelled: the caller went away before the answer");
        }
    }
}
