use cluster_config::document::egress::EgressDenial;
use relay::{malformed::Malformed, proxy_status::ErrorType, respond::reason, tls};

use super::{page::explain_command, *};
use crate::dns;

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
        (Error::Malformed(Malformed::LengthAndCoding), 400, ErrorType::HttpRequestError),
        (Error::Malformed(Malformed::TargetTooLong), 414, ErrorType::HttpRequestError),
        (Error::Malformed(Malformed::HeadTooLarge), 431, ErrorType::HttpRequestError),
        (Error::Malformed(Malformed::Scheme), 501, ErrorType::HttpRequestError),
        (Error::NotForAProxy, 400, ErrorType::HttpRequestError),
        (Error::Trace, 501, ErrorType::HttpRequestDenied),
        (Error::Tls(tls::Error::Expired), 502, ErrorType::TlsCertificateError),
        (Error::Tls(tls::Error::Untrusted), 502, ErrorType::TlsCertificateError),
        (Error::Tls(tls::Error::WrongName), 502, ErrorType::TlsCertificateError),
        (Error::Tls(tls::Error::Alert(40)), 502, ErrorType::TlsAlertReceived),
        (Error::Tls(tls::Error::NotTls), 502, ErrorType::TlsProtocolError),
        (Error::HandshakeTimeout, 504, ErrorType::ConnectionTimeout),
        (Error::HandshakeCut, 502, ErrorType::ConnectionTerminated),
        (Error::RequestTimeout, 408, ErrorType::HttpRequestError),
        (Error::Denied, 403, ErrorType::HttpRequestDenied),
        (Error::Egress(EgressDenial::Metadata), 403, ErrorType::DestinationIpProhibited),
        (Error::Dns(dns::Error::NotFound), 502, ErrorType::DnsError),
        (Error::Dns(dns::Error::Timeout), 504, ErrorType::DnsTimeout),
        (Error::Dns(dns::Error::Busy), 503, ErrorType::DnsError),
        (Error::Undecided(dns::Error::NotFound), 502, ErrorType::DnsError),
        (Error::Undecided(dns::Error::Timeout), 503, ErrorType::DnsTimeout),
        (Error::Refused, 502, ErrorType::ConnectionRefused),
        (Error::ConnectTimeout, 504, ErrorType::ConnectionTimeout),
        (Error::Terminated, 502, ErrorType::ConnectionTerminated),
        (Error::BadResponse(Malformed::ContentLength), 502, ErrorType::HttpProtocolError),
        (Error::ResponseTimeout, 504, ErrorType::HttpResponseTimeout),
        (Error::Incomplete, 502, ErrorType::HttpResponseIncomplete),
        (Error::ParentRefused(403), 502, ErrorType::DestinationUnavailable),
        (Error::ParentAuthentication, 502, ErrorType::DestinationUnavailable),
        (Error::ResponseTimeout.of_parent(), 504, ErrorType::HttpResponseTimeout),
        (Error::Incomplete.of_parent(), 502, ErrorType::HttpResponseIncomplete),
        (Error::Refused.of_parent(), 502, ErrorType::ConnectionRefused),
        (Error::ConnectTimeout.of_parent(), 504, ErrorType::ConnectionTimeout),
        (Error::Dns(dns::Error::Timeout).of_parent(), 504, ErrorType::DnsTimeout),
        (Error::Limit.of_parent(), 503, ErrorType::ConnectionLimitReached),
        (Error::Loop, 508, ErrorType::ProxyLoopDetected),
        (Error::OnlyIfCached, 504, ErrorType::HttpRequestDenied),
        (Error::Limit, 503, ErrorType::ConnectionLimitReached),
        (Error::Internal, 500, ErrorType::ProxyInternalError),
    ] {
        assert_eq!((failure.status(), failure.error_type()), (status, error), "{failure:?}");
        assert!(!reason(failure.status()).is_empty(), "{failure:?}");
    }
}

fn answer(failure: Error, here: &Circumstances<'_>, close: bool) -> (String, String) {
    let mut out = Vec::new();
    write(&mut out, failure, here, SystemTime::UNIX_EPOCH, false, close);
    let text = String::from_utf8(out).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn an_answer_is_whole_and_escaped() {
    let (head, body) = answer(Error::Refused, &HERE, true);
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
        Error::Refused,
        Error::ConnectTimeout,
        Error::Unroutable,
        Error::Terminated,
        Error::Dns(dns::Error::NotFound),
        Error::ResponseTimeout,
        Error::Incomplete,
        Error::BadResponse(Malformed::ContentLength),
    ] {
        let said = failure.of_parent().to_string();
        assert!(
            said.starts_with("the parent proxy of this node ") && !said.contains("destination"),
            "{failure:?}: {said}"
        );
        assert_eq!(failure.of_parent().error_type(), failure.error_type());
    }
    assert!(
        answer(Error::Refused.of_parent(), &HERE, true)
            .1
            .contains("The destination was not asked.")
    );
    assert_eq!(Error::Internal.of_parent(), Error::Internal);
}

#[test]
fn the_command_is_harmless_in_a_shell() {
    for (url, method, command) in [
        ("http://x/y", "GET", "shoal explain 'http://x/y' --client 10.0.0.1"),
        ("http://x/'$(id)'", "GET", r"shoal explain 'http://x/'\''$(id)'\''' --client 10.0.0.1"),
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
    let body = answer(Error::Denied, &here, false).1;
    for part in [
        "deny: [blocked] (rule 2)",
        "r7",
        "0190-id",
        "shoal explain &#39;http://x/y&#39; --client 10.0.0.1",
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
    let own = Circumstances { page: Some("<b>{{rule}} {{nothing}}</b>"), ..here };
    assert_eq!(answer(Error::Denied, &own, false).1, "<b>deny: [blocked] (rule 2) {{nothing}}</b>");
}
