//! What one client sends never becomes what another one gets, unless the origin was asked for the
//! very same: spellings of a URL, fields that no key has, errors that one client provokes, answers
//! with a second one behind them.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::IpAddr,
    time::Duration,
};

use cluster_config::document::proxy::RefreshPattern;

use crate::support::{Origin, Proxy, Then, response};

const LIVES: &str = "Cache-Control: max-age=60\r\n";

/// An origin that says what it was asked, and has it kept.
fn echo() -> Origin {
    Origin::start(|stream, head| {
        drop(stream.write_all(response(LIVES, &said(head)).as_bytes()));
        Then::Keep
    })
}

/// Its request line and Host.
fn said(head: &str) -> String {
    let host = head.lines().find(|line| line.to_ascii_lowercase().starts_with("host:"));
    format!("{} {}", head.lines().next().unwrap_or_default(), host.unwrap_or_default())
}

fn named() -> Proxy {
    let here: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap()];
    let names = ["host.test", "other.test", "host.test.evil.test"].map(|it| (it, here.clone()));
    Proxy::with_names(|_| {}, HashMap::from(names))
}

#[test]
fn what_is_another_thing_at_the_origin_is_another_thing_in_the_cache() {
    let origin = echo();
    let port = origin.address.port();
    let proxy = named();
    let all = [
        "host.test:{}/x",
        "host.test:{}/X",
        "host.test:{}/x/",
        "host.test:{}//x",
        "host.test:{}/x?",
        "host.test:{}/x?a=1&b=2",
        "host.test:{}/x?b=2&a=1",
        "host.test:{}/x?A=1&b=2",
        "host.test:{}/x;a",
        "host.test:{}/x%3Fa=1&b=2",
        "host.test:{}/x%2Fy",
        "host.test:{}/x/y",
        "host.test:{}/x%5Cy",
        "host.test:{}/x%00",
        "host.test:{}/x%0D%0AHost:%20other.test",
        "host.test:{}/x%20",
        "host.test:{}/x%23a",
        "host.test:{}/x%252Fy",
        "other.test:{}/x",
        "host.test.evil.test:{}/x",
        "host.test:{}/http://other.test/x",
    ]
    .map(|url| format!("http://{}", url.replace("{}", &port.to_string())));
    // Whoever comes first, everybody gets what the origin says to him.
    for _ in 0..2 {
        for url in &all {
            let rest = &url["http://".len()..];
            let (host, path) = rest.split_once('/').unwrap();
            let answer = proxy.get(url);
            assert_eq!(answer.status, 200, "{url}");
            assert_eq!(answer.text(), format!("GET /{path} HTTP/1.1 Host: {host}"), "{url}");
        }
    }
    assert_eq!(origin.requests().len(), all.len(), "and each was kept");
}

#[test]
fn spellings_of_one_thing_are_one_thing_at_the_origin_too() {
    let origin = echo();
    let port = origin.address.port();
    let proxy = named();
    let mut answers = Vec::new();
    for (url, host) in [
        ("http://host.test:{}/x", "host.test"),
        ("HTTP://HOST.TEST:{}/x", "host.test"),
        ("http://host.test.:{}/x", "host.test"),
        ("http://host.test:{}/./y/../x", "host.test"),
        ("http://host.test:{}/%78", "host.test"),
        ("http://host.test:{}/x", "evil.test"),
    ] {
        let url = url.replace("{}", &port.to_string());
        let text = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        answers.push(proxy.raw(text.as_bytes(), "GET").text());
    }
    answers.dedup();
    assert_eq!(answers, [format!("GET /x HTTP/1.1 Host: host.test:{port}")]);
    assert_eq!(origin.requests().len(), 1);
    // Whose name is in front of the host, and what is no host, is refused and kept for nobody.
    for url in ["http://user@host.test:{}/x", "http://user:word@host.test:{}/x", "http://:{}/x"] {
        let url = url.replace("{}", &port.to_string());
        assert_eq!(proxy.get(&url).status, 400, "{url}");
    }
    assert_eq!((origin.requests().len(), proxy.node.store.objects()), (1, 1));
}

#[test]
fn ports_are_kept_apart() {
    let (one, other) = (echo(), echo());
    let proxy = named();
    for _ in 0..2 {
        for origin in [&one, &other] {
            let port = origin.address.port();
            let answer = proxy.get(&format!("http://host.test:{port}/x"));
            assert_eq!(answer.text(), format!("GET /x HTTP/1.1 Host: host.test:{port}"));
        }
    }
    assert_eq!((one.requests().len(), other.requests().len()), (1, 1));
}

#[test]
fn what_a_client_claims_in_our_fields_reaches_nobody_else() {
    // It shows what it gets, and says nothing of Vary.
    let origin = Origin::start(|stream, head| {
        drop(stream.write_all(response(LIVES, head).as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    for (number, field) in [
        "X-Forwarded-For: evil",
        "Forwarded: for=evil;host=evil",
        "X-Evil: evil\r\nConnection: X-Evil",
        "Proxy-Authorization: Basic evil",
        "TE: evil",
        "Keep-Alive: evil",
        "Proxy-Connection: evil",
        "Shoal-Request-Id: evil",
        "Trailer: evil",
    ]
    .iter()
    .enumerate()
    {
        let url = origin.url(&format!("/{number}"));
        proxy.ask("GET", &url, &format!("{field}\r\n"));
        let victim = proxy.get(&url);
        assert!(!victim.text().contains("evil"), "{field}: {}", victim.text());
    }
}

#[test]
fn a_get_with_a_body_or_in_the_name_of_another_method_is_kept_for_nobody() {
    let origin = Origin::start(|stream, head| {
        if head.to_ascii_lowercase().contains("content-length: 4") {
            stream.read_exact(&mut [0; 4]).unwrap();
        }
        let lower = head.to_ascii_lowercase();
        let evil = lower.contains("content-length") || lower.contains("method");
        drop(stream.write_all(response(LIVES, if evil { "evil" } else { "good" }).as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    for (number, more) in [
        "Content-Length: 4\r\n\r\nevil",
        "X-HTTP-Method-Override: POST\r\n\r\n",
        "X-HTTP-Method: DELETE\r\n\r\n",
        "x-method-override: PUT\r\n\r\n",
    ]
    .iter()
    .enumerate()
    {
        let url = origin.url(&format!("/{number}"));
        let host = origin.address;
        let ask = || {
            let text = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}");
            proxy.raw(text.as_bytes(), "GET").text()
        };
        assert_eq!((ask(), proxy.get(&url).text()), ("evil".into(), "good".into()), "{more}");
        // Nor does it get what was kept for others.
        assert_eq!((ask(), proxy.get(&url).text()), ("evil".into(), "good".into()), "{more}");
    }
}

#[test]
fn an_error_that_one_client_provokes_is_no_answer_for_others() {
    // Heads that are too large (HHO), characters that it does not take (HMC), and what says that
    // somebody asks too often: all of them with a lifetime that somebody configured for errors.
    let origin = Origin::start(|stream, head| {
        let status = head.lines().find_map(|line| line.strip_prefix("X-Provoke: "));
        let status = match status {
            Some(status) => status,
            None if head.len() > 8192 => "431 Too Large",
            None => "200 OK",
        };
        let text = response(LIVES, &status[..3]).replace("200 OK", status);
        drop(stream.write_all(text.as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    let large = format!("X-Large: {}\r\n", "x".repeat(9000));
    let provoke = |status: &str| format!("X-Provoke: {status}\r\n");
    for (number, (fields, status)) in [
        (large.clone(), 431),
        (large + &provoke("400 Bad"), 400),
        (provoke("408 Slow"), 408),
        (provoke("413 Large"), 413),
        (provoke("416 Range"), 416),
        (provoke("417 Expect"), 417),
        (provoke("421 Misdirected"), 421),
        (provoke("426 Upgrade"), 426),
        (provoke("428 Precondition"), 428),
        (provoke("429 Often"), 429),
        (provoke("431 Head"), 431),
        (provoke("511 Login"), 511),
    ]
    .into_iter()
    .enumerate()
    {
        let url = origin.url(&format!("/{number}"));
        assert_eq!(proxy.ask("GET", &url, &fields).status, status);
        let victim = proxy.get(&url);
        assert_eq!((victim.status, victim.text()), (200, "200".to_owned()), "{status}");
    }
    // What no field may have does not even reach the origin.
    let asked = origin.requests().len();
    for field in
        ["X-Meta: a\u{1}b", "X-Meta: a\rb", "X-Meta: a\0b", "X-Me ta: a", "X-Meta\u{7f}: a"]
    {
        let status = proxy.ask("GET", &origin.url("/meta"), &format!("{field}\r\n")).status;
        assert_eq!(status, 400, "{field:?}");
    }
    assert_eq!(origin.requests().len(), asked);
    assert_eq!(proxy.get(&origin.url("/meta")).status, 200);
}

#[test]
fn a_second_answer_behind_the_first_is_nobodys() {
    // As an origin sends it that puts what it is asked for into its head without looking.
    for evil in [
        "Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nCache-Control: max-age=999\r\n\
         Content-Length: 4\r\n\r\nevil",
        "Content-Length: 0\r\nContent-Length: 4\r\n\r\nevil",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\
         Content-Length: 4\r\n\r\nevil",
        "X: a\rCache-Control: max-age=999\r\nContent-Length: 4\r\n\r\nevil",
        "X: a\nSet-Cookie: evil=1\r\nContent-Length: 4\r\n\r\ngood",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{LIVES}{evil}");
        let origin = Origin::start(move |stream, head| {
            let text = if head.contains("/split") { text.clone() } else { response(LIVES, "good") };
            drop(stream.write_all(text.as_bytes()));
            Then::Keep
        });
        let proxy = Proxy::start();
        proxy.get(&origin.url("/split"));
        for path in ["/victim", "/victim", "/other"] {
            let answer = proxy.get(&origin.url(path));
            assert_eq!((answer.status, answer.text()), (200, "good".to_owned()), "{evil:?}");
            assert!(!answer.head.contains("evil"), "{evil:?}");
        }
    }
}

#[test]
fn a_personal_page_under_the_name_of_a_public_one_is_not_kept() {
    let origin = Origin::start(|stream, head| {
        let who = head.lines().find_map(|line| line.strip_prefix("Cookie: ")).unwrap_or("nobody");
        drop(stream.write_all(response("Content-Type: text/html\r\n", who).as_bytes()));
        Then::Keep
    });
    let day = Duration::from_secs(86_400);
    let proxy = Proxy::with(|document| {
        document.cache.refresh_patterns = vec![RefreshPattern {
            url_regex: r"\.(css|js|png)$".into(),
            min: day,
            percent: 50,
            max: day,
            ..RefreshPattern::default()
        }];
    });
    for path in ["/account/x.css", "/account;x.css", "/account%2Fx.css", "/account/..%2fx.png"] {
        let url = origin.url(path);
        assert_eq!(proxy.ask("GET", &url, "Cookie: alice\r\n").text(), "alice", "{path}");
        assert_eq!(proxy.ask("GET", &url, "Cookie: mallory\r\n").text(), "mallory", "{path}");
        assert_eq!(proxy.get(&url).text(), "nobody", "{path}");
    }
    // The end of a query is what somebody likes, and so is no name of a file.
    let url = origin.url("/account?x.css");
    assert_eq!(proxy.get(&url).text(), "nobody");
    assert_eq!(proxy.ask("GET", &url, "Cookie: alice\r\n").text(), "alice");
}
