//! Answers of the balancer's own: the only table from what went wrong to a status, a Proxy-Status
//! error (RFC 9209) and a text for people.

use std::time::{Duration, SystemTime};

use dataplane::limits::{self, Refused};
use relay::{
    clients::Limited,
    malformed::Malformed,
    method::Method,
    proxy_status::{self, ErrorType},
    respond::Canned,
    rewrite::Persistence,
};
use uuid::Uuid;

use crate::{attempt::Kind, record};

/// Why the balancer answers itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The request has no single meaning, or is too large.
    Malformed(Malformed),
    /// Its head did not come in time.
    HeadTimeout,
    /// Its client has its share for now.
    Limited(Limited),
    /// It has been here before.
    Loop,
    /// The frontend has no backend (any more), or nothing is configured yet.
    NoBackend,
    /// The backend has nobody who may get a request.
    NoServer,
    /// All servers have as much as they may have.
    NoRoom {
        /// It has waited for one for as long as it may; otherwise as many wait as may.
        waited: bool,
        /// Worth another try after this time.
        after: Duration,
    },
    /// Everybody who could be tried failed; the last one like this.
    Servers {
        /// How the last attempt ended.
        last: Kind,
        /// Who that was.
        server: String,
        /// How many were tried.
        attempts: u32,
        /// The request may have been carried out.
        uncertain: bool,
    },
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooLarge(malformed) => Self::Malformed(malformed),
            Refused::Limited(limited) => Self::Limited(limited),
        }
    }
}

/// Nobody is told to come back later than after so many seconds.
const LONGEST_RETRY_AFTER: u128 = 60;

/// Status, Proxy-Status error, text.
struct Row(u16, ErrorType, String);

impl Error {
    /// The status that the client gets.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.row().0
    }

    /// For the access log.
    #[must_use]
    pub fn kind(&self) -> record::Error {
        record::Error::Answered(self.row().1)
    }

    fn row(&self) -> Row {
        match self {
            Self::Malformed(malformed) => Row(
                malformed.request_status(),
                ErrorType::HttpRequestError,
                format!("The request cannot be understood: {malformed}."),
            ),
            Self::HeadTimeout => Row(
                408,
                ErrorType::HttpRequestError,
                "The request's head did not arrive in time.".to_owned(),
            ),
            Self::Limited(Limited::TooFast(_)) => Row(
                429,
                ErrorType::HttpRequestDenied,
                "You, or others of your network, ask more than this proxy lets one client ask."
                    .to_owned(),
            ),
            Self::Limited(Limited::Full(_)) => Row(
                503,
                ErrorType::HttpRequestDenied,
                "Too many answers wait for you, or for others of your network, to be taken."
                    .to_owned(),
            ),
            // RFC 5842 §7.2, as the nodes say it.
            Self::Loop => Row(
                508,
                ErrorType::ProxyLoopDetected,
                "The request has passed this balancer before: the proxies form a loop.".to_owned(),
            ),
            Self::NoBackend => Row(
                503,
                ErrorType::DestinationNotFound,
                "This frontend has no backend at the moment.".to_owned(),
            ),
            Self::NoServer => Row(
                503,
                ErrorType::DestinationUnavailable,
                "No server of the backend may take requests at the moment.".to_owned(),
            ),
            Self::NoRoom { waited, .. } => Row(
                503,
                ErrorType::ConnectionLimitReached,
                if *waited {
                    "All servers had as much to do as they may, for as long as a request waits."
                } else {
                    "All servers have as much to do as they may, and as many requests wait as may."
                }
                .to_owned(),
            ),
            Self::Servers { last, server, attempts, uncertain } => {
                failed(*last, server, *attempts, *uncertain)
            }
        }
    }

    /// Seconds after which another try is worth it, where that is known.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::NoRoom { after, .. } => {
                Some(after.as_millis().div_ceil(1000).clamp(1, LONGEST_RETRY_AFTER) as u64)
            }
            Self::Limited(limited) => Some(limits::retry_after(*limited)),
            _ => None,
        }
    }

    /// Appends the answer, which closes the connection: what follows a refused request cannot be
    /// trusted, and a client that tries again had better come anew.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        balancer: &str,
        id: Uuid,
        method: Method,
        now: SystemTime,
    ) {
        let Row(status, error, text) = self.row();
        let proxy_status = proxy_status::entry(balancer, error, "");
        let mut buffer = Uuid::encode_buffer();
        let id = &*id.hyphenated().encode_lower(&mut buffer);
        let body = format!("{text}\nRequest {id}, balancer {balancer}\n");
        let again = self.retry_after().map(|after| after.to_string());
        let mut fields = vec![
            ("Proxy-Status", proxy_status.as_str()),
            ("Shoal-Request-Id", id),
            ("Cache-Control", "no-store"),
        ];
        fields.extend(again.as_deref().map(|after| ("Retry-After", after)));
        let answer = Canned {
            status,
            now,
            content_type: "text/plain; charset=utf-8",
            fields: &fields,
            body: body.as_bytes(),
            persistence: Persistence::Close,
        };
        if method == Method::Head {
            answer.write_head(out);
        } else {
            answer.write(out);
        }
    }
}

fn failed(last: Kind, server: &str, attempts: u32, uncertain: bool) -> Row {
    let (status, what) = match last {
        Kind::Refused => (502, "did not take the connection"),
        Kind::ConnectTimeout => (504, "did not take the connection in time"),
        Kind::Unreachable => (502, "cannot be reached"),
        Kind::Unproven => (502, "did not prove that it belongs to this cluster"),
        Kind::Exhausted => (503, "could not be asked, as this balancer is out of resources"),
        Kind::Closed => (502, "closed the connection before it had answered"),
        Kind::Silent => (504, "stopped answering"),
        Kind::Timeout => (504, "did not answer in time"),
        Kind::Malformed => (502, "gave an answer that cannot be understood"),
        Kind::AnswerCut => {
            (502, "is well, and the origin's answer that it was passing on broke off")
        }
        Kind::Broken => (502, "broke the connection"),
    };
    let tried = match attempts {
        0 | 1 => "One server was tried".to_owned(),
        many => format!("{many} servers were tried"),
    };
    let doubt = if uncertain {
        " Whether the request was carried out is not known, so it was not sent again."
    } else {
        ""
    };
    Row(status, last.error_type(), format!("{tried}; {server} {what}.{doubt}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let failed = |last| Error::Servers {
            last,
            server: "node-1".to_owned(),
            attempts: 3,
            uncertain: false,
        };
        for (error, status) in [
            (Error::HeadTimeout, 408),
            (Error::Limited(Limited::TooFast(Duration::from_secs(1))), 429),
            (Error::Limited(Limited::Full(Duration::from_secs(1))), 503),
            (Error::Malformed(Malformed::BodyTooLarge), 413),
            (Error::NoServer, 503),
            (Error::NoRoom { waited: false, after: Duration::ZERO }, 503),
            (Error::Loop, 508),
            (failed(Kind::Refused), 502),
            (failed(Kind::Silent), 504),
            (failed(Kind::Timeout), 504),
            (failed(Kind::Exhausted), 503),
            (failed(Kind::AnswerCut), 502),
        ] {
            assert_eq!(error.status(), status, "{error:?}");
        }
    }

    #[test]
    fn an_answer_is_whole_and_says_who_and_why() {
        let mut out = Vec::new();
        let error = Error::Servers {
            last: Kind::Silent,
            server: "node-2".to_owned(),
            attempts: 2,
            uncertain: true,
        };
        error.write(&mut out, "balancer-1", Uuid::nil(), Method::Post, SystemTime::UNIX_EPOCH);
        let text = String::from_utf8(out).expect("ASCII");
        for part in [
            "HTTP/1.1 504 ",
            "Proxy-Status: balancer-1; error=connection_timeout\r\n",
            "Connection: close\r\n",
            "node-2 stopped answering",
            "not known",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        let mut head = Vec::new();
        error.write(&mut head, "balancer-1", Uuid::nil(), Method::Head, SystemTime::UNIX_EPOCH);
        assert!(head.ends_with(b"\r\n\r\n"));
    }
}
