//! What of a request is hashed. Pure. How an object is, which has an owner among the nodes too, is
//! [`dataplane::object`]'s.

use std::net::IpAddr;

use cluster_config::document::balancer::Balance;
use dataplane::{
    hash::{Hasher, hash},
    object,
};
use relay::head::Request;

/// The key of a request for a policy that hashes. None: the request has nothing of that kind, or
/// the policy hashes nothing.
#[must_use]
pub fn of(balance: &Balance, request: Option<Request<'_>>, client: Option<IpAddr>) -> Option<u64> {
    match balance {
        Balance::IpHash => client.map(|client| match client.to_canonical() {
            IpAddr::V4(address) => hash(&address.octets()),
            IpAddr::V6(address) => hash(&address.octets()),
        }),
        Balance::UriHash => object::by_uri(request?),
        Balance::HostHash => object::by_host(request?),
        Balance::HeaderHash { header } => field(request?, header),
        _ => None,
    }
}

/// All values of a field: who repeats it means one list (RFC 9110 §5.3).
fn field(request: Request<'_>, name: &str) -> Option<u64> {
    let mut hasher = Hasher::default();
    let mut any = false;
    for value in request.lines().named(name).filter(|value| !value.is_empty()) {
        hasher.write(value);
        any = true;
    }
    any.then(|| hasher.finish())
}

#[cfg(test)]
mod tests {
    use relay::head::{Limits, RequestHead};

    use super::*;

    fn key(balance: &Balance, head: &str) -> Option<u64> {
        let (bytes, mut parsed) = (format!("{head}\r\n\r\n"), RequestHead::new());
        parsed.parse(bytes.as_bytes(), &Limits::default()).expect("a head");
        of(balance, Some(parsed.view(bytes.as_bytes())), "192.0.2.1".parse().ok())
    }

    #[test]
    fn one_object_has_one_key() {
        let key = |target: &str| key(&Balance::UriHash, &format!("GET {target} HTTP/1.0"));
        let plain = key("http://a.example/x?y");
        assert!(plain.is_some());
        for same in ["HTTP://A.Example/x?y", "http://a.example:80/x?y", "http://a.example./x?y"] {
            assert_eq!(key(same), plain, "{same}");
        }
        let by_host = "GET /x?y HTTP/1.1\r\nHost: a.example";
        assert_eq!(super::tests::key(&Balance::UriHash, by_host), plain);
        assert_eq!(key("http://a.example"), key("http://a.example/"));
        for other in [
            "http://a.example/X?y",
            "http://b.example/x?y",
            "http://a.example:81/x?y",
            "http://a.example/x",
        ] {
            assert_ne!(key(other), plain, "{other}");
        }
    }

    #[test]
    fn hosts_headers_and_clients() {
        let host = |target: &str| key(&Balance::HostHash, &format!("GET {target} HTTP/1.0"));
        assert_eq!(host("http://a.example/x"), host("http://A.example:81/y"));
        assert_eq!(
            host("http://a.example/x"),
            key(&Balance::HostHash, "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443")
        );
        let by_user = Balance::HeaderHash { header: "X-User".to_owned() };
        let user = |fields: &str| key(&by_user, &format!("GET http://a/ HTTP/1.0{fields}"));
        assert_eq!(user("\r\nx-user: anna"), user("\r\nX-User: anna\r\nOther: 1"));
        assert_ne!(user("\r\nx-user: anna"), user("\r\nx-user: bert"));
        assert_eq!((user(""), user("\r\nX-User:")), (None, None));
        let client = |address: &str| of(&Balance::IpHash, None, address.parse().ok());
        assert_eq!(client("192.0.2.1"), client("::ffff:192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!((client(""), key(&Balance::RoundRobin, "GET http://a/ HTTP/1.0")), (None, None));
    }
}
