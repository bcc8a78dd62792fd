//! What is judged is what is fetched, kept and explained, however it is spelled; the log has what
//! was sent.

use std::collections::HashMap;

use cluster_config::document::{Acl, DomainPattern, Rule, Term, UrlPattern, Verdict};
use proto::proxy::{
    ExplainRequestRequest, LookupCacheRequest, PurgeRequest, proxy_node_server::ProxyNode,
};

use crate::{
    api::api,
    support::{Origin, Proxy, Then, connect, read_reply, response},
};

fn rule(verdict: Verdict, acl: &str) -> Rule {
    Rule { verdict, terms: vec![Term { acl: acl.into(), negated: false }], page: None }
}

/// A node on which every name leads to loopback. `verdict` for what `acl` matches, the other one
/// for all else.
fn ruled(verdict: Verdict, acl: Acl) -> Proxy {
    let other = if verdict == Verdict::Deny { Verdict::Allow } else { Verdict::Deny };
    let change = |document: &mut cluster_config::document::ProxyDocument| {
        document.access.acls.insert("it".into(), acl);
        document.access.rules = vec![rule(verdict, "it"), rule(other, "all")];
    };
    Proxy::with_lookup(change, |_| Ok([[127, 0, 0, 1].into()].into()))
}

fn status(proxy: &Proxy, asked: &str) -> u16 {
    match asked.strip_prefix("CONNECT ") {
        Some(target) => {
            let mut stream = connect(proxy.address);
            let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
            std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
            read_reply(&mut stream, "CONNECT").status
        }
        None => proxy.get(asked).status,
    }
}

fn regexes(list: &[&str]) -> Acl {
    Acl::UrlRegex(list.iter().map(|regex| UrlPattern { regex: (*regex).into() }).collect())
}

fn domain(name: &str, subdomains: bool) -> Acl {
    Acl::Dstdomain(vec![DomainPattern { name: name.into(), subdomains, only_below: false }])
}

/// A rule's values, what they match in many spellings, and what they do not.
type Case = (fn() -> Acl, &'static [&'static str], &'static [&'static str]);

const CASES: &[Case] = &[
    (
        || regexes(&["^http://host\\.test/ads", "^http://other\\.test/"]),
        &[
            "http://host.test/ads/1",
            "http://HOST.test/ads/1",
            "HTTP://host.test:80/ads/1",
            "http://host.test./ads/1",
            "http://host.test.:80/ads/1",
            "http://host.test/%61ds/1",
            "http://host.test/%61%64%73/1",
            "http://host.test/./ads/1",
            "http://host.test/x/../ads/1",
            "http://host.test/%2e/x/%2E./ads/1",
            "http://host.test/../../ads",
            "http://other.test",
            "http://OTHER.test:80/?q",
        ],
        &[
            "http://host.test/innocent",
            "http://third.test/ads",
            "http://host.test/ads/../innocent",
            "http://host.test:81/ads",
        ],
    ),
    (
        || regexes(&["^host\\.test:443$", "^127\\.0\\.0\\.9:443$"]),
        &[
            "CONNECT host.test:443",
            "CONNECT HOST.test:443",
            "CONNECT Host.Test.:443",
            "CONNECT [::ffff:127.0.0.9]:443",
        ],
        &["CONNECT other.test:443", "CONNECT host.test:444", "CONNECT [::1]:443"],
    ),
    (
        || domain("127.0.0.9", false),
        &[
            "http://127.0.0.9/",
            "http://127.0.0.9:80/",
            "http://[::ffff:127.0.0.9]/",
            "http://[::FFFF:7F00:9]/",
            "http://[0:0:0:0:0:ffff:127.0.0.9]:80/",
            "CONNECT 127.0.0.9:443",
            "CONNECT [::ffff:7f00:9]:443",
        ],
        &["http://127.0.0.10/", "http://[::1]/"],
    ),
    (
        || domain("host.test", true),
        &[
            "http://a.host.test/",
            "http://A.Host.TEST./",
            "CONNECT a.host.test.:443",
            "CONNECT HOST.TEST:443",
        ],
        &["http://ahost.test/", "CONNECT host.test.example:443"],
    ),
    (
        || Acl::Dst(vec!["127.0.0.9/32".parse().unwrap()]),
        &["http://127.0.0.9/", "http://[::ffff:127.0.0.9]/", "CONNECT [::ffff:7f00:9]:443"],
        &["http://127.0.0.10/", "http://name.test/"],
    ),
    (
        || Acl::Dst(vec!["::ffff:127.0.0.8/125".parse().unwrap()]),
        &["http://127.0.0.9/", "http://[::ffff:127.0.0.9]/", "CONNECT 127.0.0.9:443"],
        &["http://127.0.0.1/", "http://name.test/"],
    ),
    (|| Acl::Src(vec!["::ffff:127.0.0.0/104".parse().unwrap()]), &["http://name.test/"], &[]),
];

#[test]
fn no_spelling_walks_around_a_rule() {
    for (acl, same, others) in CASES {
        let (denies, allows) = (ruled(Verdict::Deny, acl()), ruled(Verdict::Allow, acl()));
        for asked in *same {
            assert_eq!(status(&denies, asked), 403, "{asked} is denied by {:?}", acl());
            assert_ne!(status(&allows, asked), 403, "{asked} is allowed by {:?}", acl());
        }
        for asked in *others {
            assert_ne!(status(&denies, asked), 403, "{asked} is not denied by {:?}", acl());
            assert_eq!(status(&allows, asked), 403, "{asked} is not allowed by {:?}", acl());
        }
    }
}

#[tokio::test]
async fn one_spelling_is_fetched_kept_and_explained_and_the_log_has_what_was_sent() {
    let origin = Origin::answering(response("Cache-Control: max-age=60\r\n", "kept"), Then::Keep);
    let names = HashMap::from([("host.test", vec![[127, 0, 0, 1].into()])]);
    let proxy = Proxy::with_names(|_| {}, names);
    let port = origin.address.port();
    let normal = format!("http://host.test:{port}/a/%C3~b?x=.%2F..");
    let spellings = [
        format!("HTTP://Host.TEST.:{port}/a/z/../%c3%7eb?x=.%2f.."),
        normal.clone(),
        format!("http://host.test.:{port}/./%61/%C3%7Eb?x=%2E%2f.%2e"),
    ];
    for url in &spellings {
        let raw = format!(
            "GET {url} HTTP/1.1\r\nHost: A-spelling-of-its-own\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(proxy.raw(raw.as_bytes(), "GET").text(), "kept", "{url}");
    }
    let seen = origin.requests();
    assert_eq!(seen.len(), 1, "one spelling's copy is everybody's: {seen:?}");
    assert!(seen[0].starts_with("GET /a/%C3~b?x=.%2F.. HTTP/1.1\r\n"), "{seen:?}");
    assert!(seen[0].contains(&format!("\r\nHost: host.test:{port}\r\n")), "{seen:?}");
    let lines = proxy.log_lines(3);
    assert!(
        spellings.iter().all(|url| lines.iter().any(|line| line.contains(&format!(" {url} ")))),
        "{lines:?}"
    );

    let api = api(&proxy);
    for url in spellings {
        let asked = ExplainRequestRequest { url: url.clone(), ..Default::default() };
        let told = api.explain_request(tonic::Request::new(asked)).await.unwrap().into_inner();
        assert_eq!(told.cache, "hit", "{url}: {told:?}");
        assert_eq!(told.explanation[0] == format!("taken as {normal}"), url != normal, "{told:?}");
        let looked = api
            .lookup_cache(tonic::Request::new(LookupCacheRequest { url: url.clone() }))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(looked.variants.len(), 1, "{url}");
    }
    let prefix = PurgeRequest {
        url: format!("http://HOST.test.:{port}/%61/"),
        prefix: true,
        ..Default::default()
    };
    assert_eq!(api.purge(tonic::Request::new(prefix)).await.unwrap().into_inner().removed, 1);
}

#[test]
fn forwarded_is_a_claim_like_x_forwarded_for() {
    use cluster_config::document::proxy::ForwardedFor;
    let origin = Origin::answering(response("Cache-Control: no-store\r\n", "x"), Then::Keep);
    let claim = "Forwarded: for=192.0.2.1;proto=http\r\n";
    for (how, believed, want) in [
        (ForwardedFor::Replace, false, None),
        (ForwardedFor::Delete, false, None),
        (ForwardedFor::Append, false, Some("for=192.0.2.1;proto=http, for=127.0.0.1")),
        (ForwardedFor::Replace, true, Some("for=192.0.2.1;proto=http, for=127.0.0.1")),
        (ForwardedFor::Delete, true, None),
    ] {
        let proxy = Proxy::with(|document| {
            document.forwarded_for = how;
            if believed {
                document.trusted_downstreams = vec!["127.0.0.0/8".parse().unwrap()];
            }
        });
        assert_eq!(proxy.ask("GET", &origin.url("/"), claim).status, 200);
        let seen = origin.requests().pop().unwrap();
        let field = seen.lines().find_map(|line| line.strip_prefix("Forwarded: "));
        assert_eq!(field, want, "{how:?}, believed: {believed}: {seen}");
        let line = proxy.log_lines(1).remove(0);
        assert_eq!(line.contains(" 192.0.2.1 "), believed, "{line}");
    }
}
