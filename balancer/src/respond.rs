//! Answers of the balancer's own: the only table from what went wrong to a status, a Proxy-Status error (RFC 9209) and a text for people.

use std::time::SystemTime;

use relay::{malformed::Malformed, method::Method, proxy_status, respond::Canned, rewrite::Persistence};
use uuid::Uuid;

use crate::attempt::Loss;

/// Why the balancer answers itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request has no single meaning, or is too large.
    Malformed(Malformed),
    /// Its head did not come in time.
    HeadTimeout,
    /// It has been here before.
    Loop,
    /// The frontend has no backend (any more), or nothing is configured yet.
    NoBackend,
    /// The backend has nobody who may get a request.
    NoServer,
    /// Everybody who could be tried failed; the last one like this.
    Failed {
        /// How the last attempt ended.
        loss: Loss,
        /// Who that was.
        server: String,
        /// How many were tried.
        attempts: u32,
        /// The request may have been carried out.
        uncertain: bool,
    },
}

/// Status, Proxy-Status error, text.
struct Row(u16, &'static str, String);

impl Refusal {
    /// The status that the client gets.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.row().0
    }

    /// The word for the access log.
    #[must_use]
    pub fn error(&self) -> &'static str {
        self.row().1
    }

    fn row(&self) -> Row {
        match self {
            Self::Malformed(malformed) => {
                Row(malformed.request_status(), "http_request_error", format!("The request cannot be understood: {malformed}."))
            }
            Self::HeadTimeout => Row(408, "http_request_error", "The request's head did not arrive in time.".to_owned()),
            Self::Loop => {
                Row(502, "proxy_loop_detected", "The request has passed this balancer before: the proxies form a loop.".to_owned())
            }
            Self::NoBackend => Row(503, "destination_not_found", "This frontend has no backend at the moment.".to_owned()),
            Self::NoServer => Row(503, "destination_unavailable", "No server of the backend may take requests at the moment.".to_owned()),
            Self::Failed { loss, server, attempts, uncertain } => failed(*loss, server, *attempts, *uncertain),
        }
    }

    /// Appends the answer, which closes the connection: what follows a refused request cannot be trusted, and a client that tries again
    /// had better come anew.
    pub fn write(&self, out: &mut Vec<u8>, balancer: &str, id: Uuid, method: Method, now: SystemTime) {
        let Row(status, error, text) = self.row();
        let proxy_status = proxy_status::entry(balancer, error, "");
        let mut buffer = Uuid::encode_buffer();
        let id = &*id.hyphenated().encode_lower(&mut buffer);
        let body = format!("{text}\nRequest {id}, balancer {balancer}\n");
        let answer = Canned {
            status,
            now,
            content_type: "text/plain; charset=utf-8",
            fields: &[("Proxy-Status", &proxy_status), ("Shoal-Request-Id", id), ("Cache-Control", "no-store")],
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

/// The word for how an attempt was lost.
#[must_use]
pub fn error_of(loss: Loss) -> &'static str {
    failed(loss, "", 0, false).1
}

fn failed(loss: Loss, server: &str, attempts: u32, uncertain: bool) -> Row {
    let (status, error, what) = match loss {
        Loss::Refused => (502, "connection_refused", "did not take the connection"),
        Loss::ConnectTimeout => (504, "connection_timeout", "did not take the connection in time"),
        Loss::Unreachable => (502, "destination_ip_unroutable", "cannot be reached"),
        Loss::Unproven => (502, "connection_refused", "did not prove that it belongs to this cluster"),
        Loss::Exhausted => (503, "proxy_internal_limit", "could not be asked, as this balancer is out of resources"),
        Loss::Closed => (502, "connection_terminated", "closed the connection before it had answered"),
        Loss::Silent => (504, "connection_timeout", "stopped answering"),
        Loss::Timeout => (504, "http_response_timeout", "did not answer in time"),
        Loss::Malformed => (502, "http_protocol_error", "gave an answer that cannot be understood"),
        Loss::AnswerCut => (502, "http_response_incomplete", "is well, and the origin's answer that it was passing on broke off"),
        Loss::Broken => (502, "connection_terminated", "broke the connection"),
    };
    let tried = match attempts {
        0 | 1 => "One server was tried".to_owned(),
        many => format!("{many} servers were tried"),
    };
    let doubt = if uncertain { " Whether the request was carried out is not known, so it was not sent again." } else { "" };
    Row(status, error, format!("{tried}; {server} {what}.{doubt}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let failed = |loss| Refusal::Failed { loss, server: "node-1".to_owned(), attempts: 3, uncertain: false };
        for (refusal, status) in [
            (Refusal::HeadTimeout, 408),
            (Refusal::NoServer, 503),
            (Refusal::Loop, 502),
            (failed(Loss::Refused), 502),
            (failed(Loss::Silent), 504),
            (failed(Loss::Timeout), 504),
            (failed(Loss::Exhausted), 503),
            (failed(Loss::AnswerCut), 502),
        ] {
            assert_eq!(refusal.status(), status, "{refusal:?}");
        }
    }

    #[test]
    fn an_answer_is_whole_and_says_who_and_why() {
        let mut out = Vec::new();
        let refusal = Refusal::Failed { loss: Loss::Silent, server: "node-2".to_owned(), attempts: 2, uncertain: true };
        refusal.write(&mut out, "balancer-1", Uuid::nil(), Method::Post, SystemTime::UNIX_EPOCH);
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
        refusal.write(&mut head, "balancer-1", Uuid::nil(), Method::Head, SystemTime::UNIX_EPOCH);
        assert!(head.ends_with(b"\r\n\r\n"));
    }
}
