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
        (Failure::Dns(dns::Error::NotFound), 502, ErrorType::DnsError),
        (Failure::Dns(dns::Error::Timeout), 504, ErrorType::DnsTimeout),
        (Failure::Dns(dns::Error::Busy), 503, ErrorType::DnsError),
        (Failure::Undecided(dns::Error::NotFound), 502, ErrorType::DnsError),
        (Failure::Undecided(dns::Error::Timeout), 503, ErrorType::DnsTimeout),
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
        (Failure::Dns(dns::Error::Timeout).of_parent(), 504, ErrorType::DnsTimeout),
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
        Failure::Dns(dns::Error::NotFound),
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
