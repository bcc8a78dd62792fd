//! Purges of what is stored, of what is on its way there, and of what is on the disk.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use proxy_node::{
    cache::purge::{Mode, Purge, Scope},
    explain,
};

use crate::support::{Gate, Origin, Proxy, Reply, Then, response, until};

fn purge(proxy: &Proxy, scope: Scope, mode: Mode) -> u64 {
    proxy.node.purge(&Arc::new(Purge { scope, mode })).in_memory
}

fn tag(text: &str) -> Scope {
    Scope::tag(text).unwrap()
}

fn status(reply: &Reply) -> &str {
    reply.field("cache-status").unwrap_or_default()
}

fn is_hit(reply: &Reply) -> bool {
    status(reply).contains("; hit; ")
}

/// Tags by path, and 304 for who validates.
fn origin() -> Origin {
    Origin::start(|stream, head| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let tags = match path {
            "/a" => "Cache-Tag: news, sport\r\n",
            "/b" => "Surrogate-Key: sport x\r\n",
            _ => "",
        };
        let fields = format!(
            "Cache-Control: max-age=60, stale-while-revalidate=60\r\nETag: \"v\"\r\n{tags}"
        );
        let answer = if head.contains("If-None-Match: \"v\"") {
            format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n")
        } else {
            response(&fields, path)
        };
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    })
}

#[test]
fn gone_by_url_prefix_host_tag_pattern_or_all_of_it() {
    let origin = origin();
    let host = |port: bool| match port {
        true => Scope::host(&origin.address.to_string()).unwrap(),
        false => Scope::host("127.0.0.1").unwrap(),
    };
    for (scope, gone) in [
        (Scope::url(&origin.url("/a")).unwrap(), "/a"),
        (Scope::prefix(&origin.url("/")).unwrap(), "/a /b /c"),
        (host(true), "/a /b /c"),
        (host(false), "/a /b /c"),
        (Scope::host("localhost").unwrap(), ""),
        (tag("news"), "/a"),
        (tag("Sport"), "/a /b"),
        (tag("nobody"), ""),
        (Scope::regex("/[bc]$").unwrap(), "/b /c"),
        (Scope::Everything, "/a /b /c"),
    ] {
        let proxy = Proxy::start();
        let all = ["/a", "/b", "/c"];
        for path in all {
            proxy.get(&origin.url(path));
        }
        assert!(all.iter().all(|path| is_hit(&proxy.get(&origin.url(path)))));
        let found = purge(&proxy, scope.clone(), Mode::Hard);
        let gone: Vec<&str> = gone.split_whitespace().collect();
        assert_eq!(found, gone.len() as u64, "{scope}");
        for path in all {
            assert_eq!(
                is_hit(&proxy.get(&origin.url(path))),
                !gone.contains(&path),
                "{scope} {path}"
            );
        }
    }
}

#[test]
fn what_is_purged_softly_is_validated_and_then_as_good_as_before() {
    let (origin, proxy) = (origin(), Proxy::start());
    let (first, second) = (origin.url("/a"), origin.url("/b"));
    proxy.get(&first);
    proxy.get(&second);
    assert_eq!(purge(&proxy, tag("news"), Mode::Soft), 1);
    // It is not served first and validated behind the answer.
    let validated = proxy.get(&first);
    assert_eq!((validated.status, validated.text().as_str()), (200, "/a"));
    assert!(
        status(&validated).contains("fwd=stale; detail=purged; fwd-status=304; stored"),
        "{}",
        status(&validated)
    );
    let last = origin.requests().pop().unwrap();
    assert!(last.contains("If-None-Match: \"v\"\r\n"), "{last}");
    assert!(is_hit(&proxy.get(&first)) && is_hit(&proxy.get(&second)));
    assert_eq!(origin.requests().len(), 3);
    let only = proxy.ask("GET", &first, "Cache-Control: only-if-cached\r\n");
    assert_eq!(only.status, 200);
    purge(&proxy, Scope::url(&first).unwrap(), Mode::Soft);
    let only = proxy.ask("GET", &first, "Cache-Control: only-if-cached\r\n");
    assert_eq!(only.status, 504, "it would have to be validated");
}

#[test]
fn what_is_purged_softly_does_not_stand_in_for_an_error() {
    for purged in [false, true] {
        let count = AtomicUsize::new(0);
        let origin = Origin::start(move |stream, _| {
            let fields =
                "Age: 70\r\nCache-Control: max-age=60, stale-if-error=600\r\nETag: \"v\"\r\n";
            let first = count.fetch_add(1, Ordering::SeqCst) == 0;
            let answer = if first { response(fields, "old") } else { String::new() };
            drop(stream.write_all(answer.as_bytes()));
            Then::Close
        });
        let proxy = Proxy::start();
        let url = origin.url("/x");
        assert_eq!(proxy.get(&url).status, 200);
        if purged {
            assert_eq!(purge(&proxy, Scope::url(&url).unwrap(), Mode::Soft), 1);
        }
        assert_eq!(proxy.get(&url).status, if purged { 502 } else { 200 });
    }
}

/// A purge of these comes between the request to the origin and its answer, or between its head and
/// the end of its body.
#[test]
fn what_began_to_be_fetched_before_a_purge_is_not_kept() {
    for (scope, mode) in [
        ("tag", Mode::Hard),
        ("tag", Mode::Soft),
        ("url", Mode::Hard),
        ("url", Mode::Soft),
        ("all", Mode::Hard),
    ] {
        for in_its_body in [false, true] {
            let (gate, count) = (Gate::default(), AtomicUsize::new(0));
            let waiting = gate.clone();
            let origin = Origin::start(move |stream, _| {
                let first = count.fetch_add(1, Ordering::SeqCst) == 0;
                let version = if first { "old" } else { "new" };
                let whole = response(
                    "Cache-Control: max-age=60\r\nCache-Tag: t\r\n",
                    &format!("{version}{}", "x".repeat(100_000)),
                );
                let (before, after) = whole.split_at(if in_its_body { 60_000 } else { 0 });
                drop(stream.write_all(before.as_bytes()));
                if first {
                    waiting.wait();
                }
                drop(stream.write_all(after.as_bytes()));
                Then::Keep
            });
            let proxy = Arc::new(Proxy::start());
            let url = origin.url("/x");
            let leader = {
                let (proxy, url) = (proxy.clone(), url.clone());
                std::thread::spawn(move || proxy.get(&url))
            };
            until("it is asked", || (origin.requests().len() == 1).then_some(()));
            if in_its_body {
                until("it is being kept", || (proxy.node.store.objects() == 1).then_some(()));
            }
            let scope = match scope {
                "tag" => tag("t"),
                "url" => Scope::url(&url).unwrap(),
                _ => Scope::Everything,
            };
            purge(&proxy, scope.clone(), mode);
            gate.open();
            let what = format!("{scope} {mode:?} {in_its_body}");
            assert!(leader.join().unwrap().text().starts_with("old"), "{what}");
            let next = proxy.get(&url);
            assert!(next.text().starts_with("new") && !is_hit(&next), "{what}");
            assert!(is_hit(&proxy.get(&url)), "{what}");
        }
    }
}

#[test]
fn a_validation_that_began_before_a_soft_purge_settles_nothing() {
    let (gate, count) = (Gate::default(), AtomicUsize::new(0));
    let waiting = gate.clone();
    let origin = Origin::start(move |stream, _| {
        let answer = match count.fetch_add(1, Ordering::SeqCst) {
            0 => response("Cache-Control: max-age=0\r\nETag: \"v\"\r\nCache-Tag: t\r\n", "old"),
            1 => {
                waiting.wait();
                "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nETag: \"v\"\r\n\r\n"
                    .into()
            }
            _ => response("Cache-Control: max-age=60\r\nETag: \"w\"\r\n", "new"),
        };
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    });
    let proxy = Arc::new(Proxy::start());
    let url = origin.url("/x");
    proxy.get(&url);
    let validating = {
        let (proxy, url) = (proxy.clone(), url.clone());
        std::thread::spawn(move || proxy.get(&url))
    };
    until("it is being validated", || (origin.requests().len() == 2).then_some(()));
    assert_eq!(purge(&proxy, tag("t"), Mode::Soft), 1);
    gate.open();
    assert_eq!(validating.join().unwrap().text(), "old");
    assert_eq!(proxy.get(&url).text(), "new");
}

#[test]
fn it_is_explained_and_looked_up() {
    let (origin, proxy) = (origin(), Proxy::start());
    let url = origin.url("/a");
    proxy.get(&url);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let headers = BTreeMap::new();
    let explain = || {
        let explained = explain::explain(
            &proxy.node,
            &url,
            "GET",
            [127, 0, 0, 1].into(),
            &headers,
            proxy_node::clock::unix_millis(),
        );
        runtime.block_on(explained).unwrap().steps.join("\n")
    };
    purge(&proxy, tag("news"), Mode::Soft);
    let said = explain();
    assert!(said.contains("soft-purged: it is validated before its next use"), "{said}");
    purge(&proxy, Scope::prefix(&origin.url("/")).unwrap(), Mode::Hard);
    let said = explain();
    assert!(said.contains(&format!("s ago: {}*)", origin.url("/"))), "{said}");
    assert_eq!((proxy.node.metrics.purges.get(), proxy.node.metrics.purged.get()), (2, 2));
}
