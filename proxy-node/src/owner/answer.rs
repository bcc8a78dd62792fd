//! What an owner says. Pure.

use relay::{
    field::Field,
    head::Response,
    proxy_status::{self, ErrorType},
};

/// What an owner had of what it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Had {
    /// It was there.
    Hit,
    /// It was fetched, or somebody fetched it already.
    Miss,
    /// It is no owner: a cache on the same level, which had it.
    Sibling,
}

/// What is done with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the answer.
    Good(Had),
    /// The owner cannot do what it should: the origin is asked.
    Unfit,
    /// It is full, or fails by itself: the origin is asked, and the owner passed over.
    Failing,
    /// The owner could not reach the origin. Whether that is its own doing would show.
    Unreached,
}

/// Judges the answer of the node of that name, which calls itself `cache_name` in Cache-Status.
#[must_use]
pub fn judge(answer: Response<'_>, name: &str, cache_name: &str) -> Verdict {
    use ErrorType as E;
    match proxy_status::error_of(answer.lines(), name) {
        None if answer.lines().all(Field::CacheStatus).any(|it| is_hit(it, cache_name)) => {
            Verdict::Good(Had::Hit)
        }
        None => Verdict::Good(Had::Miss),
        Some(E::ConnectionLimitReached | E::ProxyInternalError | E::ProxyConfigurationError) => {
            Verdict::Failing
        }
        // Its rules are of another revision, or the origin's answer is nothing that may go on.
        Some(
            E::HttpRequestDenied
            | E::HttpRequestError
            | E::DestinationIpProhibited
            | E::ProxyInternalResponse
            | E::ProxyLoopDetected,
        ) => Verdict::Unfit,
        Some(_) => Verdict::Unreached,
    }
}

/// Whether a cache says that it had what it sends (RFC 9211 §2.1): `name; hit; …` among the
/// members.
fn is_hit(value: &[u8], cache_name: &str) -> bool {
    let value = String::from_utf8_lossy(value);
    value.split(',').any(|member| {
        let mut parts = member.split(';').map(str::trim);
        parts.next() == Some(cache_name) && parts.any(|it| it == "hit")
    })
}

#[cfg(test)]
mod tests {
    use relay::head::{Limits, ResponseHead};

    use super::*;

    #[test]
    fn what_an_owner_says() {
        use Verdict::{Failing, Good, Unfit, Unreached};
        for (status, fields, verdict) in [
            ("200 OK", "Cache-Status: node-2; hit; ttl=10\r\n", Good(Had::Hit)),
            ("200 OK", "Cache-Status: cdn; hit, node-2; fwd=uri-miss; stored\r\n", Good(Had::Miss)),
            (
                "200 OK",
                "Cache-Status: cdn; fwd=miss\r\nCache-Status: node-2;hit\r\n",
                Good(Had::Hit),
            ),
            ("200 OK", "Cache-Status: node-22; hit\r\n", Good(Had::Miss)),
            ("404 Not Found", "", Good(Had::Miss)),
            (
                "503 Service Unavailable",
                "Proxy-Status: origin; error=dns_error\r\n",
                Good(Had::Miss),
            ),
            (
                "503 Service Unavailable",
                "Proxy-Status: node-2; error=connection_limit_reached\r\n",
                Failing,
            ),
            ("500 Internal", "Proxy-Status: node-2; error=proxy_internal_error\r\n", Failing),
            ("403 Forbidden", "Proxy-Status: node-2; error=http_request_denied\r\n", Unfit),
            ("508 Loop", "Proxy-Status: node-2; error=proxy_loop_detected\r\n", Unfit),
            ("502 Bad", "Proxy-Status: node-2; error=connection_refused\r\n", Unreached),
            ("504 Late", "Proxy-Status: node-2; error=dns_timeout\r\n", Unreached),
        ] {
            let bytes = format!("HTTP/1.1 {status}\r\n{fields}\r\n");
            let mut head = ResponseHead::new();
            head.parse(bytes.as_bytes(), &Limits::default()).expect("well-formed");
            let said = judge(head.view(bytes.as_bytes()), "node-2", "node-2");
            assert_eq!(said, verdict, "{status} {fields}");
        }
    }
}
