//! What an operator has the cache do: keys of several URLs, digests, places, default lifetimes.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use cluster_config::document::{
    Acl, DomainPattern, ProxyDocument, Term, UrlPattern,
    caching::{Authorization, DefaultTtl, KeyRule, StoreRule, Where},
};
use proxy_node::{
    cache::{
        disk::Standing,
        purge::{Mode, Purge, Scope},
    },
    explain, start,
};

use crate::support::{Origin, Proxy, Reply, Then, response, until};

/// SHA-256 of "hello" (FIPS 180-4).
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn is_hit(reply: &Reply) -> bool {
    reply.field("cache-status").is_some_and(|status| status.contains("; hit;"))
}

/// An origin whose answers say what they were asked for.
fn telling(fields: &'static str) -> Origin {
    Origin::start(move |stream, head| {
        let target = head.split(' ').nth(1).unwrap_or_default();
        drop(stream.write_all(response(fields, target).as_bytes()));
        Then::Keep
    })
}

fn key(url_regex: &str) -> KeyRule {
    KeyRule { url_regex: url_regex.into(), ..KeyRule::default() }
}

fn explained(proxy: &Proxy, url: &str) -> explain::Explanation {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (client, now) = ("127.0.0.1".parse().unwrap(), proxy_node::clock::unix_millis());
    let fields = BTreeMap::new();
    let told = explain::explain(&proxy.node, url, "GET", client, &fields, now);
    runtime.block_on(told).unwrap()
}

#[test]
fn what_a_key_has_not_does_not_reach_the_origin() {
    let origin = telling("Cache-Control: max-age=60\r\n");
    let proxy = Proxy::with(|document| {
        document.cache.policy.keys =
            vec![KeyRule { drop_query: vec!["utm_*".into()], sort_query: true, ..key("/shop") }];
    });
    let first = proxy.get(&origin.url("/shop?utm_source=<evil>&b=2&a=1"));
    assert_eq!(first.text(), "/shop?a=1&b=2", "nothing of what was taken away");
    for same in ["/shop?a=1&b=2", "/shop?b=2&a=1&utm_x", "/shop?b=2&utm_medium=m&a=1"] {
        assert!(is_hit(&proxy.get(&origin.url(same))), "{same}");
    }
    assert!(!is_hit(&proxy.get(&origin.url("/shop?a=1&b=3"))));
    assert!(!is_hit(&proxy.get(&origin.url("/other?utm_x=1"))));
    assert_eq!(proxy.get(&origin.url("/other?utm_x=1")).text(), "/other?utm_x=1");
    let told = explained(&proxy, &origin.url("/shop?b=2&a=1&utm_x=9"));
    let says = |text: &str| told.steps.iter().any(|step| step.contains(text));
    assert_eq!(told.cache, "hit");
    assert!(says("key http://") && says("/shop?a=1&b=2, by key rule 1 (`/shop`)"), "{told:?}");
    assert!(says("the origin is asked for http://"), "{told:?}");
    // A change of any of them is a change of all.
    proxy.ask("POST", &origin.url("/shop?utm_z=1&b=2&a=1"), "Content-Length: 0\r\n");
    assert!(!is_hit(&proxy.get(&origin.url("/shop?a=1&b=2"))));
}

#[test]
fn urls_become_one_on_one_host_and_on_several_only_by_name() {
    let origin = telling("Cache-Control: max-age=60\r\n");
    let port = origin.address.port();
    let domain =
        |name: &str| DomainPattern { name: name.into(), subdomains: true, only_below: false };
    let change = move |document: &mut ProxyDocument, merges: &[&str]| {
        document.cache.policy.keys = vec![
            KeyRule { to: Some("/$1".into()), ..key("/session-[0-9]+/(.*)$") },
            KeyRule {
                to: Some(format!("http://all.mirror.test:{port}/$1")),
                merge_hosts: merges.iter().map(|name| domain(name)).collect(),
                ..key("^http://[^/]+/pool/(.*)$")
            },
        ];
    };
    let names = ["a.mirror.test", "b.mirror.test", "evil.test"];
    let names = names.map(|name| (name, vec!["127.0.0.1".parse().unwrap()])).into();
    let mut proxy = Proxy::with_names(move |document| change(document, &[]), names);
    let at = |host: &str, path: &str| format!("http://{host}:{port}{path}");
    let session = proxy.get(&origin.url("/session-1/x"));
    assert_eq!(session.text(), "/session-1/x", "the origin is asked for what was asked");
    assert!(is_hit(&proxy.get(&origin.url("/session-2/x"))));
    assert!(!is_hit(&proxy.get(&at("a.mirror.test", "/pool/x"))));
    assert!(!is_hit(&proxy.get(&at("b.mirror.test", "/pool/x"))), "no host is named");
    proxy.change(|document| change(document, &["mirror.test"]));
    assert!(!is_hit(&proxy.get(&at("a.mirror.test", "/pool/y"))));
    assert!(is_hit(&proxy.get(&at("b.mirror.test", "/pool/y"))));
    assert!(!is_hit(&proxy.get(&at("evil.test", "/pool/y"))), "it is not named");
    let told = explained(&proxy, &at("evil.test", "/pool/y"));
    let why = "merge_hosts does not name both hosts";
    assert!(told.steps.iter().any(|step| step.contains(why)), "{told:?}");
}

#[test]
fn what_has_its_digest_in_its_url_is_kept_only_if_it_has_it() {
    let origin = Origin::answering(response("", "hello"), Then::Keep);
    let proxy = Proxy::with(|document| {
        document.cache.policy.keys =
            vec![KeyRule { immutable: true, ..key("/blobs/sha256:(?<sha256>[0-9a-f]{64})$") }];
    });
    let right = origin.url(&format!("/blobs/sha256:{HELLO}"));
    proxy.get(&right);
    let again = proxy.get(&right);
    assert!(is_hit(&again) && again.text() == "hello");
    let ttl = again.field("cache-status").unwrap().split("ttl=").nth(1).unwrap().to_owned();
    assert!(ttl.parse::<u64>().unwrap() > 300_000_000, "{ttl}");
    let wrong = origin.url(&format!("/blobs/sha256:{}", HELLO.replace('2', "3")));
    for number in 1..=2 {
        let reply = proxy.get(&wrong);
        assert!(!is_hit(&reply) && reply.text() == "hello");
        until("it is seen", || (proxy.node.metrics.wrong_digests.get() == number).then_some(()));
        until("it is gone", || (proxy.node.store.objects() == 1).then_some(()));
    }
    assert!(!is_hit(&proxy.get(&origin.url("/blobs/sha256:abc"))));
}

/// ACLs of paths, and what is kept where for them.
fn places(document: &mut ProxyDocument) {
    let places = [("never", Where::Never), ("ram", Where::Memory), ("disk", Where::Disk)];
    for (name, store) in places {
        let regex = format!("/{name}");
        document.access.acls.insert(name.into(), Acl::UrlRegex(vec![UrlPattern { regex }]));
        let terms = vec![Term { acl: name.into(), negated: false }];
        document.cache.policy.rules.push(StoreRule { store, terms });
    }
}

#[test]
fn answers_are_kept_where_the_first_rule_says() {
    let origin = telling("Cache-Control: max-age=60\r\nETag: \"a\"\r\n");
    let scratch = tempfile::tempdir().unwrap();
    let proxy = Proxy::with(|document| {
        document.cache.disk = 32 << 20;
        places(document);
    });
    start::disk::apply(&proxy.node, &scratch.path().join("disk"));
    let disk = proxy.node.store.disk().unwrap();
    until("the disk is loaded", || (disk.standing() == Standing::Ready).then_some(()));
    for path in ["/never", "/ram", "/disk", "/both", "/ram/disk"] {
        proxy.get(&origin.url(path));
    }
    until("two are written", || (disk.counts().written.load(Ordering::Relaxed) == 2).then_some(()));
    let held = |path: &str| {
        let key = proxy_node::cache::key::Key::parse(&origin.url(path)).unwrap();
        (proxy.node.store.variants(&key).len(), disk.contains(&key))
    };
    assert_eq!(held("/never"), (0, false));
    assert_eq!(held("/ram"), (1, false));
    assert_eq!(held("/both"), (1, true));
    assert_eq!(held("/ram/disk"), (1, false), "the first rule counts");
    until("it is on the disk alone", || (held("/disk") == (0, true)).then_some(()));
    for _ in 0..2 {
        assert!(is_hit(&proxy.get(&origin.url("/disk"))));
        assert_eq!(held("/disk"), (0, true), "it stays there");
    }
    let never = proxy.get(&origin.url("/never"));
    assert_eq!(never.field("cache-status"), Some("proxy-node-1; fwd=bypass"));
    let told = explained(&proxy, &origin.url("/never"));
    assert_eq!(told.cache, "bypass");
    let says = |text: &str| told.steps.iter().any(|step| step.contains(text));
    assert!(says("never: [never] (cache rule 1)"), "{told:?}");
}

#[test]
fn what_is_kept_already_is_not_served_where_a_rule_says_never() {
    let origin = telling("Cache-Control: max-age=60\r\n");
    let mut proxy = Proxy::start();
    proxy.get(&origin.url("/never"));
    assert!(is_hit(&proxy.get(&origin.url("/never"))));
    proxy.change(places);
    assert!(!is_hit(&proxy.get(&origin.url("/never"))));
}

#[test]
fn failures_live_for_as_long_as_the_configuration_says_and_no_longer() {
    let origin = Origin::start(|stream, head| {
        let status = head.split(['/', ' ']).nth(2).unwrap_or_default();
        let answer = response("", "no").replacen("200 OK", &format!("{status} No"), 1);
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::with(|document| {
        let ttl =
            |first, last, seconds| DefaultTtl { first, last, ttl: Duration::from_secs(seconds) };
        document.cache.policy.default_ttls = vec![ttl(404, 404, 3600), ttl(500, 599, 60)];
    });
    for (status, kept) in [(404, true), (503, true), (500, true), (410, false), (403, false)] {
        let url = origin.url(&format!("/{status}/x"));
        assert_eq!(proxy.get(&url).status, status);
        let again = proxy.get(&url);
        assert_eq!((again.status, is_hit(&again)), (status, kept));
    }
    let cookie = origin.url("/404/cookie");
    proxy.ask("GET", &cookie, "Cookie: a=b\r\n");
    assert!(!is_hit(&proxy.get(&cookie)));
}

#[test]
fn credentials_are_shared_only_where_the_answer_is_public() {
    let origin = Origin::start(|stream, head| {
        let said = head.split(['/', ' ']).nth(2).unwrap_or_default().replace(';', ", ");
        let field = format!("Cache-Control: {said}\r\n");
        drop(stream.write_all(response(&field, "mine").as_bytes()));
        Then::Keep
    });
    let mut proxy = Proxy::start();
    let (public, shared) = ("/max-age=60;public", "/s-maxage=60");
    for (authorization, path, kept) in [
        (Authorization::Rfc9111, public, true),
        (Authorization::Rfc9111, shared, true),
        (Authorization::Public, public, true),
        (Authorization::Public, shared, false),
        (Authorization::Never, public, false),
    ] {
        proxy.change(|document| document.cache.policy.authorization = authorization);
        let url = origin.url(&format!("{path}/{authorization:?}"));
        proxy.ask("GET", &url, "Authorization: Basic YTpi\r\n");
        assert_eq!(is_hit(&proxy.get(&url)), kept, "{authorization:?} {path}");
    }
}

#[test]
fn a_purge_of_any_of_the_urls_that_share_a_key_reaches_it() {
    let origin = telling("Cache-Control: max-age=60\r\n");
    let proxy = Proxy::with(|document| {
        document.cache.policy.keys =
            vec![KeyRule { drop_query: vec!["utm_*".into()], ..key("/shop") }];
    });
    proxy.get(&origin.url("/shop?a=1"));
    assert!(is_hit(&proxy.get(&origin.url("/shop?a=1"))));
    let scope = Scope::url(&origin.url("/shop?utm_x=1&a=1")).unwrap();
    let purged = proxy.node.purge(&Arc::new(Purge { scope, mode: Mode::Hard }));
    assert_eq!(purged.in_memory, 1);
    assert!(!is_hit(&proxy.get(&origin.url("/shop?a=1"))));
}
