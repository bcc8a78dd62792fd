//! Which backend, and who answers for itself.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use cluster_config::document::{
    DomainPattern, Limits as Shares, PortRange, Term,
    balancer::{
        Acl as Written, ClientTimeouts, Fields, Frontend, HeaderTest, Http2, Mode, UnixFiles,
        UseBackend,
    },
};
use relay::head::{Limits, RequestHead};

use super::*;

/// The routes of a frontend with these rules; their backends and its own are `b0`, `b1` and so on
/// in order, its own the last.
fn route(acls: &[(&str, Written)], rules: &[&[&str]], health_path: Option<&str>) -> Route {
    let term = |text: &&str| Term {
        acl: text.trim_start_matches('!').to_owned(),
        negated: text.starts_with('!'),
    };
    let rule = |(at, when): (usize, &&[&str])| UseBackend {
        when: when.iter().map(term).collect(),
        backend: format!("b{at}"),
    };
    let frontend = Frontend {
        name: "f".to_owned(),
        bind: vec!["127.0.0.1:0".parse().expect("an address")],
        unix: UnixFiles::default(),
        mode: Mode::Http,
        proxy_protocol: Vec::new(),
        proxy_protocol_unix: false,
        tls: None,
        http2: Http2::default(),
        use_backend: rules.iter().enumerate().map(rule).collect(),
        backend: format!("b{}", rules.len()),
        health_path: health_path.map(str::to_owned),
        stats: None,
        pac: None,
        request_header_max_size: 65_536,
        request_fields: Fields::default(),
        response_fields: Fields::default(),
        limits: Shares::default(),
        timeouts: ClientTimeouts {
            client: Duration::ZERO,
            client_idle: Duration::ZERO,
            request_head: Duration::ZERO,
        },
    };
    let acls = acls.iter().map(|(name, acl)| ((*name).to_owned(), acl.clone())).collect();
    let mut document = BalancerDocument {
        frontends: vec![frontend],
        backends: Vec::new(),
        acls,
        log_targets: Vec::new(),
        max_connections: None,
        vrrp: Vec::new(),
        workers: None,
    };
    let names = (0..=rules.len()).map(|at| format!("b{at}"));
    let backend = backend();
    document.backends = names
        .map(|name| {
            let mut it = backend.clone();
            it.name = name;
            it
        })
        .collect();
    build(&document, list).expect("good routes").remove(0)
}

fn backend() -> cluster_config::document::balancer::Backend {
    serde_json::from_value(serde_json::json!({
        "name": "b", "balance": "round_robin", "discover": null, "servers": [],
        "check": {"enabled": true, "inter": "1s", "timeout": "1s", "rise": 2, "fall": 3},
        "passive": {"max_fails": 2, "fail_timeout": "30s", "count": []},
        "suspicion": {"after": "500ms", "probe_timeout": "250ms", "probes": 2},
        "retry": {"attempts": 3, "budget": 20},
        "timeouts": {"connect": "5s", "server": "50s", "tunnel_idle": "1h"},
        "keepalive": 32, "keepalive_idle": "60s", "panic_threshold": 50
    }))
    .expect("a backend")
}

fn list(file: &FileReference) -> io::Result<Vec<u8>> {
    match &*file.path {
        "lists/domains.txt" => Ok(b".downloads.example\nmirror.example\n".to_vec()),
        "lists/networks.txt" => Ok(b"10.0.0.0/8\n".to_vec()),
        "lists/bad.txt" => Ok(b"good.example\nno domain\n".to_vec()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn file(path: &str) -> FileReference {
    FileReference { path: path.to_owned(), sha256: String::new(), size: 0 }
}

/// The backend that a request from 10.1.2.3 gets.
fn of_request(route: &Route, head: &str) -> Destination {
    let (bytes, mut parsed) = (format!("{head}\r\n\r\n"), RequestHead::new());
    parsed.parse(bytes.as_bytes(), &Limits::default()).expect("a head");
    let client: Option<IpAddr> = "10.1.2.3".parse().ok();
    let request = Some(parsed.view(bytes.as_bytes()));
    route.choose(Question { client, request, sni: None })
}

#[test]
fn who_is_asked() {
    for (head, path, asked) in [
        ("OPTIONS * HTTP/1.0", Some("/"), true),
        ("OPTIONS / HTTP/1.0", Some("/"), true),
        ("OPTIONS / HTTP/1.0\r\nMax-Forwards: 1", Some("/"), true),
        ("OPTIONS / HTTP/1.0\r\nMax-Forwards: 0", Some("/"), false),
        ("GET / HTTP/1.0", Some("/"), true),
        ("HEAD /?x HTTP/1.0", Some("/"), true),
        ("GET /up HTTP/1.0", Some("/up"), true),
        ("GET / HTTP/1.0", Some("/up"), false),
        ("POST / HTTP/1.0", Some("/"), false),
        ("GET http://a/ HTTP/1.0", Some("/"), false),
        ("OPTIONS http://a HTTP/1.0", Some("/"), false),
        ("CONNECT a:1 HTTP/1.0", Some("/"), false),
        ("OPTIONS * HTTP/1.0", None, false),
        ("GET / HTTP/1.0", None, false),
    ] {
        let expected = if asked { Destination::Health } else { Destination::Backend(0) };
        assert_eq!(of_request(&route(&[], &[], path), head), expected, "{head} {path:?}");
    }
}

/// Whether a request matches one condition.
fn matches(acl: Written, head: &str) -> bool {
    of_request(&route(&[("x", acl)], &[&["x"]], None), head) == Destination::Backend(0)
}

#[test]
fn every_kind_of_condition() {
    let domains = |text: &str| {
        vec![DomainPattern {
            name: text.trim_start_matches('.').to_owned(),
            subdomains: text.starts_with('.'),
            only_below: false,
        }]
    };
    let texts = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let net = |text: &str| vec![text.parse().expect("a network")];
    let header = |values: &[&str], prefixes: &[&str], regexes: &[&str]| {
        Written::Header(HeaderTest {
            name: "X-User".to_owned(),
            values: texts(values),
            prefixes: texts(prefixes),
            regexes: texts(regexes),
        })
    };
    let get = |target: &str| format!("GET {target} HTTP/1.0");
    let user = |value: &str| format!("GET http://a/ HTTP/1.0\r\nx-user: {value}");
    for (acl, head, expected) in [
        (Written::All, get("http://a/"), true),
        (Written::Src(net("10.0.0.0/8")), get("http://a/"), true),
        (Written::Src(net("192.168.0.0/16")), get("http://a/"), false),
        (Written::SrcList(file("lists/networks.txt")), get("http://a/"), true),
        (Written::Dstdomain(domains("a.example")), get("http://A.Example./"), true),
        (Written::Dstdomain(domains("a.example")), get("http://b.a.example/"), false),
        (Written::Dstdomain(domains(".a.example")), get("http://b.a.example/"), true),
        (Written::Dstdomain(domains("10.0.0.1")), get("http://10.0.0.1:8080/"), true),
        (Written::Dstdomain(domains("2001:db8::1")), get("http://[2001:DB8::1]/"), true),
        (
            Written::Dstdomain(domains("a.example")),
            "GET / HTTP/1.1\r\nHost: a.example:80".to_owned(),
            true,
        ),
        (
            Written::DstdomainList(file("lists/domains.txt")),
            "CONNECT x.downloads.example:443 HTTP/1.0".to_owned(),
            true,
        ),
        (Written::DstdomainList(file("lists/domains.txt")), get("http://x.mirror.example/"), false),
        (Written::Port(vec![PortRange { first: 443, last: 444 }]), get("https://a/"), true),
        (Written::Port(vec![PortRange { first: 443, last: 444 }]), get("http://a:444/"), true),
        (Written::Port(vec![PortRange { first: 443, last: 444 }]), get("http://a/"), false),
        (Written::Method(texts(&["POST", "GET"])), get("http://a/"), true),
        (Written::Method(texts(&["get"])), get("http://a/"), false),
        (Written::Path(texts(&["/"])), get("http://a?x"), true),
        (Written::Path(texts(&["/a/b"])), get("http://a/x/../a/%62?q"), true),
        (Written::Path(texts(&["/a"])), get("http://a/a/"), false),
        (Written::PathPrefix(texts(&["/api/"])), get("http://a/api/x"), true),
        (Written::PathPrefix(texts(&["/api/"])), get("http://a/./api%2Fx"), false),
        (Written::PathPrefix(texts(&["/"])), "CONNECT a:1 HTTP/1.0".to_owned(), false),
        (Written::PathRegex(texts(&[r"\.(deb|rpm)$"])), get("http://a/x.rpm?y"), true),
        (Written::PathRegex(texts(&[r"\.(deb|rpm)$"])), get("http://a/x?y.rpm"), false),
        (header(&[], &[], &[]), user("anna"), true),
        (header(&[], &[], &[]), get("http://a/"), false),
        (header(&["anna"], &[], &[]), user("anna"), true),
        (header(&["anna"], &[], &[]), user("annabel"), false),
        (header(&["x"], &["ann"], &[]), user("annabel"), true),
        (header(&[], &[], &["^a.*l$"]), user("annabel"), true),
        (header(&[], &["b"], &["^b"]), user("annabel"), false),
        (Written::Sni(domains("a.example")), get("http://a.example/"), false),
    ] {
        let what = format!("{acl:?} {head}");
        assert_eq!(matches(acl, &head), expected, "{what}");
    }
}

#[test]
fn the_first_rule_that_matches_decides_and_says_so() {
    let acls = [
        ("inner", Written::Src(vec!["10.0.0.0/8".parse().expect("a network")])),
        ("big", Written::PathPrefix(vec!["/big".to_owned()])),
        ("get", Written::Method(vec!["GET".to_owned()])),
    ];
    let rules: [&[&str]; 3] = [&["inner", "!get"], &["big", "get"], &["get"]];
    let route = route(&acls, &rules, None);
    for (head, expected) in [
        ("POST http://a/big HTTP/1.0", 0),
        ("GET http://a/big HTTP/1.0", 1),
        ("GET http://a/ HTTP/1.0", 2),
    ] {
        assert_eq!(of_request(&route, head), Destination::Backend(expected), "{head}");
    }
    let nobody = Question { client: "192.0.2.1".parse().ok(), ..Question::default() };
    assert_eq!(route.choose(nobody), Destination::Backend(3));
    assert!(!route.looks_at_sni());
    assert_eq!(
        route.explain(nobody),
        [
            "use_backend rule 1, when: [inner, \"!get\"]: does not match, inner does not hold",
            "use_backend rule 2, when: [big, get]: does not match, big does not hold",
            "use_backend rule 3, when: [get]: does not match, get does not hold",
            "no rule of use_backend matches",
        ]
    );
}

#[test]
fn by_the_name_that_a_tls_client_asks_for() {
    let pattern = DomainPattern { name: "a.example".into(), subdomains: true, only_below: false };
    let acls =
        [("a", Written::Sni(vec![pattern])), ("list", Written::SniList(file("lists/domains.txt")))];
    let rules: [&[&str]; 2] = [&["a"], &["list"]];
    let route = route(&acls, &rules, None);
    assert!(route.looks_at_sni());
    for (sni, expected) in [
        (Some("a.example"), 0),
        (Some("b.a.example"), 0),
        (Some("mirror.example"), 1),
        (Some("other.example"), 2),
        (None, 2),
    ] {
        let question = Question { sni, ..Question::default() };
        assert_eq!(route.choose(question), Destination::Backend(expected), "{sni:?}");
    }
}

#[test]
fn what_nobody_has_said_is_said() {
    let header = HeaderTest {
        name: "X-User".into(),
        values: vec!["a".into()],
        prefixes: Vec::new(),
        regexes: Vec::new(),
    };
    let pattern = DomainPattern { name: "a.example".into(), subdomains: true, only_below: false };
    let acls = [
        ("user", Written::Header(header)),
        ("tls", Written::Sni(vec![pattern])),
        ("near", Written::Src(vec!["10.0.0.0/8".parse().expect("a network")])),
    ];
    let rules: [&[&str]; 4] = [&["user"], &["tls"], &["near"], &["!user"]];
    let route = route(&acls, &rules, None);
    let lines = route.explain(Question::default());
    for (line, said) in lines.iter().zip([
        "user looks at the field X-User, which nobody has said here",
        "tls looks at the name in the client's TLS handshake, which nobody",
        "near looks at the client's address, which nobody has said here",
        "matches, unless user holds: the field X-User is not known",
    ]) {
        assert!(line.contains(said), "{line}");
    }
    assert_eq!(lines.len(), 4);
}

#[test]
fn what_cannot_be_used_is_named() {
    let problems = |acls: &[(&str, Written)], document: &dyn Fn(&mut BalancerDocument)| {
        let acls: BTreeMap<_, _> =
            acls.iter().map(|(name, acl)| ((*name).to_owned(), acl.clone())).collect();
        let mut whole = BalancerDocument {
            frontends: Vec::new(),
            backends: Vec::new(),
            acls,
            log_targets: Vec::new(),
            max_connections: None,
            vrrp: Vec::new(),
            workers: None,
        };
        document(&mut whole);
        build(&whole, list).map(|routes| routes.len()).expect_err("unusable")
    };
    let lists = [
        ("a", Written::SrcList(file("lists/none.txt"))),
        ("b", Written::SniList(file("lists/bad.txt"))),
        ("c", Written::PathRegex(vec!["(".to_owned()])),
    ];
    let all = problems(&lists, &|_| ());
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all[0].starts_with("acl a: lists/none.txt cannot be read"), "{all:?}");
    assert!(all[1].starts_with("acl b: lists/bad.txt, line 2: "), "{all:?}");
    let frontend = |when: &str, backend: &str| {
        let mut it: Frontend = serde_json::from_value(serde_json::json!({
            "name": "f", "bind": "127.0.0.1:0", "backend": "b",
            "timeouts": {"client": "1s", "client_idle": "1s", "request_head": "1s"},
        }))
        .expect("a frontend of the version before");
        let when = vec![Term { acl: when.to_owned(), negated: true }];
        it.use_backend = vec![UseBackend { when, backend: backend.to_owned() }];
        it
    };
    let with = |when: &'static str, to: &'static str| {
        problems(&[("all", Written::All)], &move |document: &mut BalancerDocument| {
            document.frontends = vec![frontend(when, to)];
            document.backends = vec![backend()];
        })
    };
    assert_eq!(with("gone", "b"), ["frontend f: there is no acl \"gone\""]);
    assert_eq!(with("all", "c"), ["frontend f: there is no backend \"c\""]);
}

#[test]
fn whose_statistics_are_asked_for() {
    let mut route = route(&[], &[], None);
    route.stats = Some("/stats".to_owned());
    for (head, asked) in [
        ("GET /stats HTTP/1.0", true),
        ("HEAD /stats;csv HTTP/1.0", true),
        ("GET /stats?x HTTP/1.0", true),
        ("GET /statsx HTTP/1.0", false),
        ("GET /stat HTTP/1.0", false),
        ("POST /stats HTTP/1.0", false),
        ("GET http://a/stats HTTP/1.0", false),
    ] {
        let (bytes, mut parsed) = (format!("{head}\r\n\r\n"), RequestHead::new());
        parsed.parse(bytes.as_bytes(), &Limits::default()).expect("a head");
        let request = Some(parsed.view(bytes.as_bytes()));
        let question = Question { client: None, request, sni: None };
        let expected = if asked { Destination::Stats } else { Destination::Backend(0) };
        assert_eq!(route.choose(question), expected, "{head}");
    }
}
