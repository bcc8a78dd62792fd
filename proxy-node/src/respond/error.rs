//! Why a request is answered by the proxy itself, and what that means to its client.

use std::time::Duration;

use cluster_config::document::egress::EgressDenial;
use dataplane::limits::{self, Refused};
use relay::{clients::Limited, fault::Fault, malformed::Malformed, proxy_status::ErrorType, tls};

use crate::dns;

/// Why a request is answered by the proxy itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request has no meaning or more than one.
    #[error("the request cannot be understood: {0}")]
    Malformed(Malformed),
    /// Origin-form: somebody takes the proxy for a web server.
    #[error("this port is an HTTP proxy, not a web server")]
    NotForAProxy,
    /// TRACE shows request fields to whoever asks.
    #[error("TRACE is not offered here")]
    Trace,
    /// The head did not arrive in time.
    #[error("the request did not arrive in time")]
    RequestTimeout,
    /// The client, or its network, asks too fast.
    #[error("you, or others of your network, ask more than this proxy lets one client ask")]
    TooFast(Duration),
    /// The client, or its network, does not take what it has asked for.
    #[error("too many answers wait for you, or for others of your network, to be taken")]
    Full(Duration),
    /// A rule says no.
    #[error("access denied")]
    Denied,
    /// The address may not be connected to.
    #[error("the destination is {0}, and this proxy does not connect there")]
    Egress(EgressDenial),
    /// The name has no address.
    #[error("the name of the destination cannot be resolved: {0}")]
    Dns(dns::Error),
    /// A rule looks at the addresses of the destination, and nobody knows them.
    #[error(
        "an access rule asks for the addresses of the destination, and they cannot be found out: \
         {0}"
    )]
    Undecided(dns::Error),
    /// Nobody listens there.
    #[error("the destination refused the connection")]
    Refused,
    /// No answer to the connection attempt.
    #[error("the destination did not answer the connection attempt in time")]
    ConnectTimeout,
    /// No way there.
    #[error("there is no route to the destination")]
    Unroutable,
    /// TLS did not come to be, or broke.
    #[error("the destination could not be spoken to with TLS: {0}")]
    Tls(tls::Error),
    /// The TLS handshake did not end.
    #[error("the destination took the connection and did not complete the TLS handshake in time")]
    HandshakeTimeout,
    /// The connection ended during the TLS handshake.
    #[error("the destination closed the connection during the TLS handshake")]
    HandshakeCut,
    /// The connection ended before an answer.
    #[error("the destination closed the connection without an answer")]
    Terminated,
    /// The answer has no meaning or more than one.
    #[error("the answer of the destination cannot be understood: {0}")]
    BadResponse(Malformed),
    /// The answer did not come in time.
    #[error("the destination did not answer in time")]
    ResponseTimeout,
    /// The answer stopped in the middle.
    #[error("the answer of the destination is incomplete")]
    Incomplete,
    /// The parent proxy cannot be reached; nobody has tried the destination.
    #[error("the parent proxy of this node {0}")]
    Parent(Unreached),
    /// The parent proxy answered a CONNECT with something else than 2xx.
    #[error("the parent proxy refused the tunnel with status {0}")]
    ParentRefused(u16),
    /// The parent proxy wants a proof that this node has not, or another than it has.
    #[error(
        "the parent proxy of this node asks for credentials, and does not take what this node \
         sent, if anything"
    )]
    ParentAuthentication,
    /// The request has been here before.
    #[error("the request has passed this proxy already: a loop")]
    Loop,
    /// `only-if-cached`, and nothing is.
    #[error("nothing fit is cached, and the request asks for nothing else")]
    OnlyIfCached,
    /// Descriptors or memory ran out.
    #[error("this node has reached a limit")]
    Limit,
    /// A fault of ours.
    #[error("an internal error of this node")]
    Internal,
}

/// Why there is no connection to a parent proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreached {
    /// Its name has no address.
    #[error("has a name that cannot be resolved: {0}")]
    Dns(dns::Error),
    /// Nobody listens there.
    #[error("refused the connection")]
    Refused,
    /// No answer to the connection attempt.
    #[error("did not answer the connection attempt in time")]
    Timeout,
    /// No way there.
    #[error("is nowhere that a route leads to")]
    Unroutable,
    /// The connection ended, at once or before an answer.
    #[error("closed the connection without an answer")]
    Terminated,
    /// Its answer did not come in time: its doing, or that of what it asked.
    #[error("did not answer in time")]
    Silent,
    /// Its answer has no meaning or more than one.
    #[error("gave an answer that cannot be understood: {0}")]
    BadResponse(Malformed),
    /// Its answer stopped in the middle.
    #[error("gave an answer that is incomplete")]
    Incomplete,
    /// Another one could do what it answered with this status.
    #[error("answered {0} to what another parent could do")]
    Outdone(u16),
    /// It is a service of the cluster without an instance.
    #[error("is any of several nodes, none of which may serve or is known")]
    Nobody,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooLarge(malformed) => Self::Malformed(malformed),
            Refused::Limited(Limited::TooFast(after)) => Self::TooFast(after),
            Refused::Limited(Limited::Full(after)) => Self::Full(after),
        }
    }
}

impl Error {
    /// A failure, when it was a parent proxy that was tried: what its client asked for is not to
    /// blame.
    #[must_use]
    pub const fn of_parent(self) -> Self {
        match self {
            Self::Dns(problem) => Self::Parent(Unreached::Dns(problem)),
            Self::Refused => Self::Parent(Unreached::Refused),
            Self::ConnectTimeout => Self::Parent(Unreached::Timeout),
            Self::Unroutable => Self::Parent(Unreached::Unroutable),
            Self::Terminated => Self::Parent(Unreached::Terminated),
            Self::ResponseTimeout => Self::Parent(Unreached::Silent),
            Self::BadResponse(malformed) => Self::Parent(Unreached::BadResponse(malformed)),
            Self::Incomplete => Self::Parent(Unreached::Incomplete),
            other => other,
        }
    }

    /// Seconds after which another try is worth it, where that is known.
    #[must_use]
    pub fn retry_after(self) -> Option<u64> {
        match self {
            Self::TooFast(after) => Some(limits::retry_after(Limited::TooFast(after))),
            Self::Full(after) => Some(limits::retry_after(Limited::Full(after))),
            _ => None,
        }
    }

    /// The status that the client gets.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed(malformed) => malformed.request_status(),
            Self::NotForAProxy => 400,
            Self::RequestTimeout => 408,
            Self::TooFast(_) => 429,
            Self::Denied | Self::Egress(_) => 403,
            Self::Internal => 500,
            Self::Trace => 501,
            Self::Dns(dns::Error::Busy)
            | Self::Undecided(dns::Error::Busy | dns::Error::Timeout | dns::Error::Failed) => 503,
            Self::Dns(dns::Error::Timeout)
            | Self::Parent(
                Unreached::Timeout | Unreached::Silent | Unreached::Dns(dns::Error::Timeout),
            )
            | Self::ConnectTimeout
            | Self::HandshakeTimeout
            | Self::ResponseTimeout
            | Self::OnlyIfCached => 504,
            Self::Dns(_)
            | Self::Undecided(dns::Error::NotFound)
            | Self::Parent(_)
            | Self::Refused
            | Self::Unroutable
            | Self::Tls(_)
            | Self::HandshakeCut
            | Self::Terminated
            | Self::BadResponse(_)
            | Self::Incomplete
            | Self::ParentAuthentication
            | Self::ParentRefused(_) => 502,
            Self::Limit | Self::Full(_) => 503,
            Self::Loop => 508,
        }
    }

    /// The error type of RFC 9209 §2.3.
    #[must_use]
    pub const fn error_type(self) -> ErrorType {
        match self {
            Self::Malformed(_) | Self::NotForAProxy | Self::RequestTimeout => {
                ErrorType::HttpRequestError
            }
            Self::Trace | Self::OnlyIfCached | Self::Denied | Self::TooFast(_) | Self::Full(_) => {
                ErrorType::HttpRequestDenied
            }
            Self::Egress(_) => ErrorType::DestinationIpProhibited,
            Self::Dns(dns::Error::Timeout)
            | Self::Undecided(dns::Error::Timeout)
            | Self::Parent(Unreached::Dns(dns::Error::Timeout)) => ErrorType::DnsTimeout,
            Self::Dns(_) | Self::Undecided(_) | Self::Parent(Unreached::Dns(_)) => {
                ErrorType::DnsError
            }
            Self::Refused | Self::Parent(Unreached::Refused) => ErrorType::ConnectionRefused,
            Self::ConnectTimeout | Self::HandshakeTimeout | Self::Parent(Unreached::Timeout) => {
                ErrorType::ConnectionTimeout
            }
            Self::Unroutable | Self::Parent(Unreached::Unroutable) => {
                ErrorType::DestinationIpUnroutable
            }
            Self::Tls(error) if error.is_certificate() => ErrorType::TlsCertificateError,
            Self::Tls(tls::Error::Alert(_)) => ErrorType::TlsAlertReceived,
            Self::Tls(_) => ErrorType::TlsProtocolError,
            Self::Terminated | Self::HandshakeCut | Self::Parent(Unreached::Terminated) => {
                ErrorType::ConnectionTerminated
            }
            Self::BadResponse(_) | Self::Parent(Unreached::BadResponse(_)) => {
                ErrorType::HttpProtocolError
            }
            Self::ResponseTimeout | Self::Parent(Unreached::Silent) => {
                ErrorType::HttpResponseTimeout
            }
            Self::Incomplete | Self::Parent(Unreached::Incomplete) => {
                ErrorType::HttpResponseIncomplete
            }
            Self::ParentRefused(_)
            | Self::ParentAuthentication
            | Self::Parent(Unreached::Outdone(_) | Unreached::Nobody) => {
                ErrorType::DestinationUnavailable
            }
            Self::Loop => ErrorType::ProxyLoopDetected,
            Self::Limit => ErrorType::ConnectionLimitReached,
            Self::Internal => ErrorType::ProxyInternalError,
        }
    }

    /// Whether the client's connection must end with the answer whatever the client asked for:
    /// nobody knows where its next request begins.
    #[must_use]
    pub const fn closes(self) -> bool {
        matches!(
            self,
            Self::Malformed(_)
                | Self::BadResponse(_)
                | Self::Parent(Unreached::BadResponse(_))
                | Self::RequestTimeout
                | Self::Limit
                | Self::Internal
        )
    }

    /// The failure of a connection attempt.
    #[must_use]
    pub fn connecting(fault: &Fault) -> Self {
        match fault {
            Fault::Refused => Self::Refused,
            Fault::Timeout(_) => Self::ConnectTimeout,
            Fault::Exhausted => Self::Limit,
            Fault::Tls(error) => Self::Tls(*error),
            Fault::Unreachable => Self::Unroutable,
            _ => Self::Terminated,
        }
    }

    /// The failure of an exchange after the connection was made.
    #[must_use]
    pub fn exchanging(fault: &Fault) -> Self {
        match fault {
            Fault::Timeout(_) => Self::ResponseTimeout,
            Fault::Malformed(malformed) => Self::BadResponse(*malformed),
            Fault::Tls(error) => Self::Tls(*error),
            Fault::Exhausted => Self::Limit,
            _ => Self::Terminated,
        }
    }
}
