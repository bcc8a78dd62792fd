//! Channels to other services: any live instance of a service, found among the seeds and the
//! membership, over mutual TLS with the server's role checked before a byte of a request is sent.
//!
//! The channel is tonic's own; what is ours is the connector beneath it, which is asked anew at
//! every (re)connection and takes the first candidate that answers, beginning with another one each
//! time.

use std::{
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use cluster::{Service, State};
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, TlsStream};
use tonic::{
    body::Body,
    transport::{Channel, Endpoint},
};
use tracing::Instrument;

use crate::{
    credentials::Credentials,
    membership::Membership,
    metrics, propagation,
    role::{Identity, Role},
    stream::Stream,
};

/// A tonic transport to any live instance of one service. Its calls are spans, which those who are
/// called hear of.
#[derive(Clone, Debug)]
pub struct ServiceChannel(Channel);

impl From<Channel> for ServiceChannel {
    fn from(channel: Channel) -> Self {
        Self(channel)
    }
}

impl tower::Service<http::Request<Body>> for ServiceChannel {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        tower::Service::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let span = tracing::info_span!(
            "call",
            otel.name = path.trim_start_matches('/'),
            otel.kind = "client"
        );
        propagation::describe(&span, path);
        propagation::pass_on(&span, request.headers_mut());
        let calling = tower::Service::call(&mut self.0, request);
        let called = span.clone();
        let calling = async move {
            let response = calling.await?;
            // A unary call's error may be in its trailers, which are not waited for.
            let status = tonic::Status::from_header_map(response.headers());
            propagation::ended(&called, status.map_or(tonic::Code::Ok, |status| status.code()));
            Ok(response)
        };
        Box::pin(calling.instrument(span))
    }
}

/// TCP connection and TLS handshake with one candidate.
const CANDIDATE_WITHIN: Duration = Duration::from_secs(2);
/// All candidates together.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// To the head of a response, unless the request says otherwise.
const RESPONSE_WITHIN: Duration = Duration::from_secs(30);
/// A peer that does not answer a ping for so long is gone.
const PING_EVERY: Duration = Duration::from_secs(5);

/// How this process speaks gRPC.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Without TLS, behind the explicit flag.
    Plaintext,
    /// Mutual TLS with this certificate.
    Mutual(Credentials),
}

/// Who is wanted at the other end.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Its role.
    pub service: Service,
    /// Its instance's name, when only one will do.
    pub name: Option<String>,
}

impl Expected {
    /// Whether somebody with this certificate is who is wanted.
    #[must_use]
    pub fn is(&self, identity: &Identity) -> bool {
        identity.role == Role::Service(self.service)
            && self.name.as_ref().is_none_or(|name| identity.may_be_named(name))
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing to try.
    #[error("no address of a {0} is known")]
    NoCandidate(Service),
    /// The last candidate's reason.
    #[error("{address}: {reason}")]
    Failed {
        /// Who was tried.
        address: String,
        /// What happened.
        reason: String,
        /// Which kind that was.
        kind: io::ErrorKind,
    },
}

/// Where somebody may be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Tried first, in turn.
    pub good: Vec<String>,
    /// Tried when no good one answers: lost, or not well.
    pub doubtful: Vec<String>,
}

impl Candidates {
    /// Those that the membership knows.
    #[must_use]
    pub fn among(membership: &Membership, expected: &Expected) -> Self {
        let mut found = Self::default();
        for status in membership.of(expected.service) {
            let Some(address) = status.instance.endpoints.get("grpc") else { continue };
            if expected.name.as_ref().is_some_and(|name| *name != status.instance.name) {
                continue;
            }
            let doubtful = matches!(status.state, State::Lost | State::Critical | State::Draining);
            if doubtful { &mut found.doubtful } else { &mut found.good }.push(address.clone());
        }
        found
    }

    /// Puts these before all others.
    pub fn prefer(&mut self, addresses: Vec<String>) {
        self.good.retain(|address| !addresses.contains(address));
        self.doubtful.retain(|address| !addresses.contains(address));
        self.good.splice(0..0, addresses);
    }

    /// The order of the `turn`-th attempt.
    fn in_turn(mut self, turn: usize) -> Vec<String> {
        let first = turn.checked_rem(self.good.len()).unwrap_or(0);
        self.good.rotate_left(first);
        self.good.extend(self.doubtful);
        self.good
    }
}

impl From<Vec<String>> for Candidates {
    fn from(good: Vec<String>) -> Self {
        Self { good, doubtful: Vec::new() }
    }
}

/// Opens connections. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    transport: Transport,
    expected: Expected,
    candidates: Arc<dyn Fn() -> Candidates + Send + Sync>,
    turn: Arc<AtomicUsize>,
    local: Arc<Mutex<Option<IpAddr>>>,
}

impl Connector {
    /// `candidates` answers the addresses (`host:port`) to try, whenever a connection is needed.
    pub fn new(
        transport: Transport,
        expected: Expected,
        candidates: impl Fn() -> Candidates + Send + Sync + 'static,
    ) -> Self {
        Self {
            transport,
            expected,
            candidates: Arc::new(candidates),
            turn: Arc::default(),
            local: Arc::default(),
        }
    }

    /// The local address of the last connection.
    #[must_use]
    pub fn local_address(&self) -> Option<IpAddr> {
        *self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A channel that connects when it is used, and again when it has to.
    #[must_use]
    pub fn channel(self) -> ServiceChannel {
        self.endpoint().connect_with_connector_lazy(self).into()
    }

    /// A channel that is connected.
    ///
    /// # Errors
    /// No candidate could be reached.
    pub async fn connected(self) -> Result<ServiceChannel, tonic::transport::Error> {
        self.endpoint().connect_with_connector(self).await.map(ServiceChannel)
    }

    fn endpoint(&self) -> Endpoint {
        // The URI only fills :authority; the connector decides where the connection goes.
        Endpoint::from_static("http://shoal.internal")
            .connect_timeout(CONNECT_WITHIN)
            .timeout(RESPONSE_WITHIN)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_EVERY)
            .keep_alive_while_idle(true)
            .user_agent(concat!("shoal/", env!("CARGO_PKG_VERSION")))
            .unwrap_or_else(|_| Endpoint::from_static("http://shoal.internal"))
    }

    /// Tries every candidate once.
    ///
    /// # Errors
    /// The last candidate's reason.
    pub async fn connect(&self) -> Result<Stream, Error> {
        let candidates = (self.candidates)().in_turn(self.turn.fetch_add(1, Ordering::Relaxed));
        let mut last = Error::NoCandidate(self.expected.service);
        for address in candidates {
            match timeout(CANDIDATE_WITHIN, self.attempt(&address)).await {
                Ok(Ok(stream)) => {
                    let local = stream.tcp().local_addr().ok().map(|address| address.ip());
                    *self.local.lock().unwrap_or_else(PoisonError::into_inner) = local;
                    return Ok(stream);
                }
                Ok(Err(error)) => {
                    last = Error::Failed { address, reason: error.to_string(), kind: error.kind() }
                }
                Err(_) => {
                    last = Error::Failed {
                        address,
                        reason: "no answer in time".to_owned(),
                        kind: io::ErrorKind::TimedOut,
                    }
                }
            }
        }
        Err(last)
    }

    async fn attempt(&self, address: &str) -> io::Result<Stream> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let Transport::Mutual(credentials) = &self.transport else { return Ok(Stream::Plain(tcp)) };
        let connector = TlsConnector::from(credentials.current().client.clone());
        // Never sent as anything that matters: names of hosts are ignored, the role decides.
        let nobody = ServerName::IpAddress(tcp.peer_addr()?.ip().into());
        let tls = connector.connect(nobody, tcp).await.inspect_err(|_| failed_handshake())?;
        let identity = tls
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .and_then(|certificate| Identity::of_certificate(certificate).ok());
        match identity {
            Some(identity) if self.expected.is(&identity) => {
                Ok(Stream::Tls(Box::new(TlsStream::Client(tls))))
            }
            other => {
                failed_handshake();
                let found =
                    other.map_or_else(|| "nobody".to_owned(), |identity| identity.to_string());
                let wanted = self.expected.name.as_deref().unwrap_or_default();
                Err(io::Error::other(format!(
                    "{found} answers there, not {} {wanted}",
                    self.expected.service
                )))
            }
        }
    }
}

fn failed_handshake() {
    ::metrics::counter!(metrics::HANDSHAKES_FAILED, "side" => "client").increment(1);
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Connector")
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.connect().await.map(TokioIo::new) })
    }
}

/// What a failed rpc says to people, its causes included: `connect to registry: 127.0.0.1:7001:
/// connection refused`.
#[must_use]
pub fn explain(status: &tonic::Status) -> String {
    let mut text = format!("{}: {}", code(status.code()), status.message());
    for cause in causes(status) {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
    }
    // Of a process that was killed, the TLS library knows only that it did not say good-bye, and
    // cites its manual.
    if causes(status).any(broke_off) {
        format!("{}: the connection broke off", code(status.code()))
    } else {
        text
    }
}

type Cause<'e> = &'e (dyn std::error::Error + 'static);

/// What lies behind a failed rpc, outermost first.
fn causes(status: &tonic::Status) -> impl Iterator<Item = Cause<'_>> {
    std::iter::successors(std::error::Error::source(status), |cause| cause.source())
}

/// Whether a connection ended without a good-bye: its peer was killed, or cut off.
fn broke_off(cause: Cause<'_>) -> bool {
    cause
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}

/// A canonical code as it is written in metrics, logs and audit records.
#[must_use]
pub const fn code(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf};

    use super::*;

    /// An end of a connection whose peer goes without a good-bye, as TLS tells it.
    struct Cut(DuplexStream);

    impl tokio::io::AsyncRead for Cut {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let before = buffer.filled().len();
            match Pin::new(&mut self.0).poll_read(context, buffer) {
                Poll::Ready(Ok(())) if buffer.filled().len() == before => {
                    Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "see the manual")))
                }
                read => read,
            }
        }
    }

    impl tokio::io::AsyncWrite for Cut {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }

    /// Speaks HTTP/2 until a request has come, and goes.
    async fn killed_by_a_request(mut server: DuplexStream) {
        const PREFACE: usize = 24;
        const HEADERS: u8 = 1;
        // Empty settings.
        server.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        server.read_exact(&mut [0; PREFACE]).await.unwrap();
        let mut head = [0; 9];
        while head[3] != HEADERS {
            server.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            server.read_exact(&mut vec![0; length as usize]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_connection_that_broke_off_is_told_as_that() {
        let connect = tower::service_fn(async |_: Uri| {
            let (client, server) = tokio::io::duplex(64 << 10);
            tokio::spawn(killed_by_a_request(server));
            Ok::<_, io::Error>(TokioIo::new(Cut(client)))
        });
        let channel = Endpoint::from_static("http://shoal.internal")
            .connect_with_connector(connect)
            .await
            .unwrap();
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
        let status =
            health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap_err();
        assert_eq!(explain(&status), format!("{}: the connection broke off", code(status.code())));
        let denied = tonic::Status::permission_denied("close_notify is a word");
        assert_eq!(explain(&denied), "permission_denied: close_notify is a word");
    }

    #[test]
    fn good_ones_take_turns_and_doubtful_ones_come_last() {
        let text = |addresses: &[&str]| {
            addresses.iter().map(|address| (*address).to_owned()).collect::<Vec<_>>()
        };
        let mut candidates = Candidates { good: text(&["a", "b"]), doubtful: text(&["x", "s"]) };
        candidates.prefer(text(&["s"]));
        assert_eq!(candidates.clone().in_turn(0), text(&["s", "a", "b", "x"]));
        assert_eq!(candidates.clone().in_turn(4), text(&["a", "b", "s", "x"]));
        assert_eq!(Candidates { good: vec![], doubtful: text(&["x"]) }.in_turn(7), text(&["x"]));
        assert!(Candidates::default().in_turn(3).is_empty());
    }
}
