//! The only table from error to status: what went wrong, whose fault it is, what the client reads,
//! and whether the connection survives.
//!
//! Statuses are RFC 9110's, error types RFC 9209's (Proxy-Status). A balancer reads the latter:
//! `proxy_internal_error` and `connection_limit_reached` speak against this node, everything else
//! against the origin or the request.

use std::time::SystemTime;

use cluster::text;
use cluster_config::{document::egress::EgressDenial, pages};
use relay::{
    fault::Fault,
    malformed::Malformed,
    proxy_status::{self, ErrorType},
    respond::{Canned, reason},
    rewrite::Persistence,
    tls,
};

use crate::dns::DnsProblem;

/// Why a request is answered by the proxy itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
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
    /// A rule says no.
    #[error("access denied")]
    Denied,
    /// The address may not be connected to.
    #[error("the destination is {0}, and this proxy does not connect there")]
    Egress(EgressDenial),
    /// The name has no address.
    #[error("the name of the destination cannot be resolved: {0}")]
    Dns(DnsProblem),
    /// A rule looks at the addresses of the destination, and nobody knows them.
    #[error(
        "an access rule asks for the addresses of the destination, and they cannot be found out: {0}"
    )]
    Undecided(DnsProblem),
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
    Dns(DnsProblem),
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

impl Failure {
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

    /// The status that the client gets.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed(malformed) => malformed.request_status(),
            Self::NotForAProxy => 400,
            Self::RequestTimeout => 408,
            Self::Denied | Self::Egress(_) => 403,
            Self::Internal => 500,
            Self::Trace => 501,
            Self::Dns(DnsProblem::Busy)
            | Self::Undecided(DnsProblem::Busy | DnsProblem::Timeout | DnsProblem::Failed) => 503,
            Self::Dns(DnsProblem::Timeout)
            | Self::Parent(
                Unreached::Timeout | Unreached::Silent | Unreached::Dns(DnsProblem::Timeout),
            )
            | Self::ConnectTimeout
            | Self::HandshakeTimeout
            | Self::ResponseTimeout
            | Self::OnlyIfCached => 504,
            Self::Dns(_)
            | Self::Undecided(DnsProblem::NotFound)
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
            Self::Limit => 503,
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
            Self::Trace | Self::OnlyIfCached | Self::Denied => ErrorType::HttpRequestDenied,
            Self::Egress(_) => ErrorType::DestinationIpProhibited,
            Self::Dns(DnsProblem::Timeout)
            | Self::Undecided(DnsProblem::Timeout)
            | Self::Parent(Unreached::Dns(DnsProblem::Timeout)) => ErrorType::DnsTimeout,
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

    /// What the client can do about it; empty where nothing.
    const fn advice(self) -> &'static str {
        match self {
            Self::NotForAProxy => {
                "To use it, set it as the proxy of your client: for example \
                 `http_proxy=http://HOST:PORT` and `https_proxy=http://HOST:PORT` in the \
                 environment, or `curl -x http://HOST:PORT URL`."
            }
            Self::Tls(tls::Error::Untrusted) => {
                "Nothing was sent to it. Where the authority is one to be trusted, whoever looks \
                 after this proxy adds its certificate (`ca_file` of proxy.origin_tls). A client \
                 that opens a tunnel (`https_proxy`, CONNECT) decides for itself whom it trusts."
            }
            Self::Tls(error) if error.is_certificate() => {
                "Nothing was sent to it. Check the name in the URL; where it is right, whoever \
                 looks after the destination has to mend its certificate."
            }
            Self::Tls(tls::Error::NotTls) => {
                "Check the port, or ask with http:// if the destination is meant to be spoken to \
                 without TLS."
            }
            Self::Tls(tls::Error::Alert(120)) => {
                "The destination speaks no HTTP/1.1 with TLS, and this proxy no other version: use \
                 a tunnel (`https_proxy`, CONNECT)."
            }
            Self::Tls(_) => {
                "A client that opens a tunnel (`https_proxy`, CONNECT) speaks TLS itself, and may \
                 have more in common with the destination."
            }
            Self::Dns(DnsProblem::Busy) => {
                "Try again in a moment: many names are being looked up for this client, or below \
                 this domain, and none of them is answered quickly."
            }
            Self::Undecided(_) => {
                "The destination was not asked. Try again in a moment; if it lasts, whoever looks \
                 after this proxy has to see why its resolver does not answer."
            }
            Self::Dns(_) => {
                "Check the spelling of the name. Where it is right, this node's resolver does not \
                 know it."
            }
            Self::Parent(Unreached::Silent | Unreached::BadResponse(_) | Unreached::Incomplete) => {
                "This node asks its parent, and cannot see whether the parent or what the parent \
                 asked is at fault."
            }
            Self::ParentAuthentication => {
                "Whoever looks after this proxy has to give it credentials for its parent (`login` \
                 of the parent in proxy.hierarchy.parents)."
            }
            Self::Parent(Unreached::Terminated) => {
                "Whoever looks after this proxy has to see why its parent closes connections."
            }
            Self::Parent(_) => {
                "The destination was not asked. Whoever looks after this proxy has to see why its \
                 parent cannot be reached."
            }
            Self::Loop => {
                "A proxy on the way names this cluster as its parent, or a name of this proxy \
                 resolves to itself."
            }
            _ => "",
        }
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

/// What a page says beside the failure.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The node's name.
    pub node: &'a str,
    /// What the operator calls it on pages.
    pub visible_hostname: &'a str,
    /// Revision in force.
    pub revision: &'a str,
    /// Id of the request.
    pub request_id: &'a str,
    /// Target as sent.
    pub url: &'a str,
    /// Method as sent.
    pub method: &'a str,
    /// The client, in words.
    pub client: &'a str,
    /// The rule that decided; empty: none did.
    pub rule: &'a str,
    /// A page of the bundle; `None`: the built-in one.
    pub page: Option<&'a str>,
}

/// Appends the whole answer to `out`. `head_only` for HEAD; `close`: the connection ends with it.
pub fn write(
    out: &mut Vec<u8>,
    failure: Failure,
    circumstances: &Circumstances<'_>,
    now: SystemTime,
    head_only: bool,
    close: bool,
) {
    let body = page(failure, circumstances);
    let details = if let Failure::Tls(error) = failure { error.to_string() } else { String::new() };
    let status = proxy_status::entry(circumstances.node, failure.error_type(), &details);
    let mut fields = vec![("Cache-Control", "no-store"), ("Proxy-Status", status.as_str())];
    if !circumstances.request_id.is_empty() {
        fields.push(("Shoal-Request-Id", circumstances.request_id));
    }
    let canned = Canned {
        status: failure.status(),
        now,
        content_type: "text/html; charset=utf-8",
        fields: &fields,
        body: body.as_bytes(),
        persistence: if close { Persistence::Close } else { Persistence::Implied },
    };
    if head_only { canned.write_head(out) } else { canned.write(out) }
}

const PAGE: &str = "<!DOCTYPE html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{{status}}</title></head><body>
<h1>{{status}}</h1>
<p>{{message}}</p>
{{advice}}{{denial}}<p><code>{{method}} {{url}}</code></p>
<hr><p><small>Shoal proxy {{node}}, revision {{revision}}, request {{request_id}}, client {{client}}</small></p>
</body></html>
";

fn page(failure: Failure, circumstances: &Circumstances<'_>) -> String {
    let explain = explain_command(circumstances);
    let value = |name: &str| {
        Some(match name {
            "url" => circumstances.url.to_owned(),
            "method" => circumstances.method.to_owned(),
            "client" => circumstances.client.to_owned(),
            "rule" => circumstances.rule.to_owned(),
            "revision" => circumstances.revision.to_owned(),
            "request_id" => circumstances.request_id.to_owned(),
            "node" => circumstances.visible_hostname.to_owned(),
            "explain" => explain.clone(),
            "status" => format!("{} {}", failure.status(), reason(failure.status())),
            "message" => failure.to_string(),
            _ => return None,
        })
    };
    if let Some(page) = circumstances.page {
        return pages::fill(page, value);
    }
    let advice = match failure.advice() {
        "" => String::new(),
        advice => format!("<p>{advice}</p>\n"),
    };
    let denial = if circumstances.rule.is_empty() {
        ""
    } else {
        "<p>The rule that decided: <code>{{rule}}</code>. To see why: <code>{{explain}}</code></p>\n"
    };
    pages::fill(&PAGE.replace("{{advice}}", &advice).replace("{{denial}}", denial), value)
}

/// The command that explains the decision. All of it is quoted for a shell: URL and method are the
/// client's, and a method may hold `$`, `` ` `` and `&` (RFC 9110 §5.6.2). The URL is always in
/// quotes, so that people keep them when they change it.
fn explain_command(circumstances: &Circumstances<'_>) -> String {
    let quoted = text::quoted(circumstances.url);
    let url = if quoted.starts_with('\'') { quoted } else { format!("'{quoted}'") };
    let method = match circumstances.method {
        "GET" => String::new(),
        method => format!(" --method={}", text::quoted(method)),
    };
    let client = text::quoted(circumstances.client);
    // What begins with a dash is no option.
    match url.starts_with("'-") {
        true => format!("shoal explain --client {client}{method} -- {url}"),
        false => format!("shoal explain {url} --client {client}{method}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Circumstances<'_> = Circumstances {
        node: "proxy-node-1",
        visible_hostname: "proxy-node-1",
        revision: "r7",
        request_id: "0190-id",
        url: "http://x/<script>'",
        method: "GET",
        client: "10.0.0.1",
        rule: "",
        page: None,
    };

    #[test]
    fn the_table() {
        for (failure, status, error) in [
            (Failure::Malformed(Malformed::LengthAndCoding), 400, ErrorType::HttpRequestError),
            (Failure::Malformed(Malformed::TargetTooLong), 414, ErrorType::HttpRequestError),
            (Failure::Malformed(Malformed::HeadTooLarge), 431, ErrorType::HttpRequestError),
            (Failure::Malformed(Malformed::Scheme), 501, ErrorType::HttpRequestError),
            (Failure::NotForAProxy, 400, ErrorType::HttpRequestError),
            (Failure::Trace, 501, ErrorType::HttpRequestDenied),
            (Failure::Tls(tls::Error::Expired), 502, ErrorType::TlsCertificateError),
            (Failure::Tls(tls::Error::Untrusted), 502, ErrorType::TlsCertificateError),
            (Failure::Tls(tls::Error::WrongName), 502, ErrorType::TlsCertificateError),
            (Failure::Tls(tls::Error::Alert(40)), 502, ErrorType::TlsAlertReceived),
            (Failure::Tls(tls::Error::NotTls), 502, ErrorType::TlsProtocolError),
            (Failure::HandshakeTimeout, 504, ErrorType::ConnectionTimeout),
            (Failure::HandshakeCut, 502, ErrorType::ConnectionTerminated),
            (Failure::RequestTimeout, 408, ErrorType::HttpRequestError),
            (Failure::Denied, 403, ErrorType::HttpRequestDenied),
            (Failure::Egress(EgressDenial::Metadata), 403, ErrorType::DestinationIpProhibited),
            (Failure::Dns(DnsProblem::NotFound), 502, ErrorType::DnsError),
            (Failure::Dns(DnsProblem::Timeout), 504, ErrorType::DnsTimeout),
            (Failure::Dns(DnsProblem::Busy), 503, ErrorType::DnsError),
            (Failure::Undecided(DnsProblem::NotFound), 502, ErrorType::DnsError),
            (Failure::Undecided(DnsProblem::Timeout), 503, ErrorType::DnsTimeout),
            (Failure::Refused, 502, ErrorType::ConnectionRefused),
            (Failure::ConnectTimeout, 504, ErrorType::ConnectionTimeout),
            (Failure::Terminated, 502, ErrorType::ConnectionTerminated),
            (Failure::BadResponse(Malformed::ContentLength), 502, ErrorType::HttpProtocolError),
            (Failure::ResponseTimeout, 504, ErrorType::HttpResponseTimeout),
            (Failure::Incomplete, 502, ErrorType::HttpResponseIncomplete),
            (Failure::ParentRefused(403), 502, ErrorType::DestinationUnavailable),
            (Failure::ParentAuthentication, 502, ErrorType::DestinationUnavailable),
            (Failure::ResponseTimeout.of_parent(), 504, ErrorType::HttpResponseTimeout),
            (Failure::Incomplete.of_parent(), 502, ErrorType::HttpResponseIncomplete),
            (Failure::Refused.of_parent(), 502, ErrorType::ConnectionRefused),
            (Failure::ConnectTimeout.of_parent(), 504, ErrorType::ConnectionTimeout),
            (Failure::Dns(DnsProblem::Timeout).of_parent(), 504, ErrorType::DnsTimeout),
            (Failure::Limit.of_parent(), 503, ErrorType::ConnectionLimitReached),
            (Failure::Loop, 508, ErrorType::ProxyLoopDetected),
            (Failure::OnlyIfCached, 504, ErrorType::HttpRequestDenied),
            (Failure::Limit, 503, ErrorType::ConnectionLimitReached),
            (Failure::Internal, 500, ErrorType::ProxyInternalError),
        ] {
            assert_eq!((failure.status(), failure.error_type()), (status, error), "{failure:?}");
            assert!(!reason(failure.status()).is_empty(), "{failure:?}");
        }
    }

    fn answer(failure: Failure, here: &Circumstances<'_>, close: bool) -> (String, String) {
        let mut out = Vec::new();
        write(&mut out, failure, here, SystemTime::UNIX_EPOCH, false, close);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    #[test]
    fn an_answer_is_whole_and_escaped() {
        let (head, body) = answer(Failure::Refused, &HERE, true);
        assert!(head.starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
        assert!(
            head.contains("\r\nProxy-Status: proxy-node-1; error=connection_refused\r\n"),
            "{head}"
        );
        assert!(
            head.contains(&format!("\r\nContent-Length: {}", body.len()))
                && head.contains("Connection: close"),
            "{head}"
        );
        assert!(
            body.contains("http://x/&lt;script&gt;&#39;")
                && !body.contains("<script>")
                && !body.contains("{{")
        );
    }

    #[test]
    fn a_parent_out_of_reach_is_not_called_the_destination() {
        for failure in [
            Failure::Refused,
            Failure::ConnectTimeout,
            Failure::Unroutable,
            Failure::Terminated,
            Failure::Dns(DnsProblem::NotFound),
            Failure::ResponseTimeout,
            Failure::Incomplete,
            Failure::BadResponse(Malformed::ContentLength),
        ] {
            let said = failure.of_parent().to_string();
            assert!(
                said.starts_with("the parent proxy of this node ") && !said.contains("destination"),
                "{failure:?}: {said}"
            );
            assert_eq!(failure.of_parent().error_type(), failure.error_type());
        }
        assert!(
            answer(Failure::Refused.of_parent(), &HERE, true)
                .1
                .contains("The destination was not asked.")
        );
        assert_eq!(Failure::Internal.of_parent(), Failure::Internal);
    }

    #[test]
    fn the_command_is_harmless_in_a_shell() {
        for (url, method, command) in [
            ("http://x/y", "GET", "shoal explain 'http://x/y' --client 10.0.0.1"),
            (
                "http://x/'$(id)'",
                "GET",
                r"shoal explain 'http://x/'\''$(id)'\''' --client 10.0.0.1",
            ),
            (
                "http://x/`id`;id&|\nid",
                "POST",
                "shoal explain 'http://x/`id`;id&|%0Aid' --client 10.0.0.1 --method=POST",
            ),
            (
                "-x:443",
                "A`id`&$b'",
                r"shoal explain --client 10.0.0.1 --method='A`id`&$b'\''' -- '-x:443'",
            ),
            (
                "http://x/\u{202e}\u{1b}[201~",
                "--x",
                "shoal explain 'http://x/%E2%80%AE%1B[201~' --client 10.0.0.1 --method=--x",
            ),
        ] {
            assert_eq!(explain_command(&Circumstances { url, method, ..HERE }), command);
        }
    }

    #[test]
    fn a_denial_names_rule_revision_request_and_command() {
        let here = Circumstances { rule: "deny: [blocked] (rule 2)", url: "http://x/y", ..HERE };
        let body = answer(Failure::Denied, &here, false).1;
        for part in [
            "deny: [blocked] (rule 2)",
            "r7",
            "0190-id",
            "shoal explain &#39;http://x/y&#39; --client 10.0.0.1",
        ] {
            assert!(body.contains(part), "{part} in {body}");
        }
        let own = Circumstances { page: Some("<b>{{rule}} {{nothing}}</b>"), ..here };
        assert_eq!(
            answer(Failure::Denied, &own, false).1,
            "<b>deny: [blocked] (rule 2) {{nothing}}</b>"
        );
    }
}
