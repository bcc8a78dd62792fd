//! How an attempt ends.

use relay::{
    fault::Fault,
    framing::BodyFraming,
    proxy_status::ErrorType,
    retry::{Cause, Phase},
    stream::Stream,
    wheel,
};

use super::hedge::Hedged;

/// How a server failed an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It refused the connection.
    Refused,
    /// Connecting took too long.
    ConnectTimeout,
    /// There is no way to it.
    Unreachable,
    /// It is not the node that is meant, as far as it proved.
    Unproven,
    /// This process is out of descriptors or ports: nobody else's fault.
    Exhausted,
    /// It closed or reset the connection before it had answered.
    Closed,
    /// It was ejected while the request waited for it.
    Silent,
    /// It is alive and took too long.
    Timeout,
    /// Its answer was malformed.
    Malformed,
    /// Its answer broke off before anything of it was sent on, and it is well itself: what is
    /// behind it cut the answer.
    AnswerCut,
    /// Any other error of the connection.
    Broken,
}

impl From<Fault> for Kind {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused => Self::Refused,
            Fault::Timeout(wheel::Kind::Connect) => Self::ConnectTimeout,
            Fault::Unreachable => Self::Unreachable,
            Fault::Unproven => Self::Unproven,
            Fault::Exhausted => Self::Exhausted,
            Fault::Closed | Fault::Reset => Self::Closed,
            Fault::Released => Self::Silent,
            Fault::Timeout(_) => Self::Timeout,
            Fault::Malformed(_) => Self::Malformed,
            Fault::Tls(_) | Fault::Io(_) => Self::Broken,
        }
    }
}

impl Kind {
    /// The error type of Proxy-Status for it (RFC 9209).
    #[must_use]
    pub const fn error_type(self) -> ErrorType {
        match self {
            Self::Refused | Self::Unproven => ErrorType::ConnectionRefused,
            Self::ConnectTimeout | Self::Silent => ErrorType::ConnectionTimeout,
            Self::Unreachable => ErrorType::DestinationIpUnroutable,
            Self::Exhausted => ErrorType::ConnectionLimitReached,
            Self::Closed | Self::Broken => ErrorType::ConnectionTerminated,
            Self::Timeout => ErrorType::HttpResponseTimeout,
            Self::Malformed => ErrorType::HttpProtocolError,
            Self::AnswerCut => ErrorType::HttpResponseIncomplete,
        }
    }

    /// For the retry table.
    #[must_use]
    pub const fn cause(self) -> Cause {
        match self {
            Self::Timeout => Cause::Timeout,
            Self::Malformed => Cause::Malformed,
            Self::AnswerCut => Cause::AnswerCut,
            _ => Cause::NodeLost,
        }
    }
}

/// An attempt failed without harm to the client.
#[derive(Clone, Copy, Debug)]
pub struct Error {
    pub kind: Kind,
    /// How far it had come.
    pub phase: Phase,
    /// On a pooled connection, which the server may have been closing just then.
    pub pooled: bool,
}

/// How an attempt ended.
pub enum Outcome {
    /// The response went to the client as a whole.
    Relayed {
        status: u16,
        /// Whether another request may come on the client's connection.
        reusable: bool,
    },
    /// A 2xx to CONNECT, or a 101, went to the client: this is the other end of the tunnel.
    Tunnel {
        /// To the server.
        upstream: Box<Stream>,
        status: u16,
        /// It carries the tunnel in frames.
        framed: bool,
    },
    /// The response broke off after its first byte.
    Cut {
        status: u16,
        /// The server's doing.
        kind: Kind,
        /// How its body was framed for the client.
        framing: BodyFraming,
    },
    /// The client went away, or sent a malformed body.
    ClientFailed(Fault),
    /// It may be tried again, as far as the retry table allows.
    Failed(Error),
    /// The server answered with a failure that is tried again, and somebody else may be asked.
    OwnFailure,
    /// Another server, which was asked beside it, has answered before it.
    Overtaken(Box<Hedged>),
}
