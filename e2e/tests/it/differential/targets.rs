//! Which resource is meant: target forms, authorities and Host (RFC 9112 §3.2, RFC 9110 §4.2 and
//! §7.2).

use super::case::{Case, Meaning, forwarded, local, refused};

const TARGET: &str = "target";
const AUTHORITY: &str = "authority";
const HOST: &str = "host";

/// All cases.
pub fn cases() -> Vec<Case> {
    [forms(), authorities(), hosts()].into_iter().flatten().collect()
}

fn with_host(line: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: {{o}}\r\n\r\n")
}

fn forms() -> Vec<Case> {
    let mut cases = Vec::new();
    for target in [
        "t",
        "{o}",
        "{o}/t",
        "*",
        "?q",
        "#",
        "http:",
        "http:/",
        "http:/{o}/t",
        "http//{o}/t",
        "http:{o}/t",
        "://{o}/t",
        "ht_tp://{o}/t",
        "1http://{o}/t",
        "http:\\\\{o}\\t",
        "\\t",
        "http;//{o}/t",
        "http%3a//{o}/t",
        "http://",
        "http:///t",
        "http://?q",
        "@{o}/t",
        ".",
        "..",
        "%2ft",
    ] {
        cases.push(refused(TARGET, with_host(&format!("GET {target}")), &[400]));
    }
    for scheme in [
        "ftp",
        "gopher",
        "file",
        "unix",
        "ws",
        "wss",
        "httpx",
        "shttp",
        "javascript",
        "data",
        "h2c",
        "icap",
        "view-source",
    ] {
        cases.push(refused(TARGET, with_host(&format!("GET {scheme}://{{o}}/t")), &[501]));
    }
    for target in ["/t", "/", "//{o}/t", "/http://{o}/t", "/t?x=http://{o}/", "/./t", "/%2e%2e/t"] {
        for method in ["GET", "POST", "DELETE"] {
            let wanted: &'static [u16] =
                if target == "/" && method == "GET" { &[200, 400] } else { &[400] };
            cases.push(local(TARGET, with_host(&format!("{method} {target}")), wanted));
        }
    }
    cases.push(local(TARGET, with_host("OPTIONS *"), &[200]));
    cases.push(local(TARGET, with_host("TRACE http://{o}/t"), &[501]));
    cases.push(local(
        TARGET,
        "OPTIONS http://{o}/t HTTP/1.1\r\nHost: {o}\r\nMax-Forwards: 0\r\n\r\n",
        &[200],
    ));
    for (target, meant) in [
        ("http://{o}/t", "/t"),
        ("http://{o}", "/"),
        ("http://{o}/", "/"),
        ("http://{o}?q", "/?q"),
        ("http://{o}/?", "/?"),
        ("HTTP://{o}/t", "/t"),
        ("hTTp://{o}/t", "/t"),
        ("http://{o}//t", "//t"),
        ("http://{o}/a/../t", "/t"),
        ("http://{o}/./t", "/t"),
        ("http://{o}/%2e%2e/t", "/t"),
        ("http://{o}/%2E%2F", "/.%2F"),
        ("http://{o}/%74?%74=%7e", "/t?t=~"),
        ("http://{o}/%00", "/%00"),
        ("http://{o}/%0d%0aX:%20y", "/%0D%0AX:%20y"),
        ("http://{o}/t;a=b?c&d=e", "/t;a=b?c&d=e"),
        ("http://{o}/t\\..\\x", "/t\\..\\x"),
        ("http://{o}/\"<>^`|", "/\"<>^`|"),
        ("http://{o}/@evil/", "/@evil/"),
        ("http://{o}/http://x/", "/http://x/"),
        ("http://{o}/%", "/%"),
        ("http://{o}/%zz", "/%zz"),
        ("http://{o}/?x=/../../", "/?x=/../../"),
        ("http://{o}/*", "/*"),
        ("http://{o}/t,t", "/t,t"),
    ] {
        cases.push(forwarded(
            TARGET,
            with_host(&format!("GET {target}")),
            Meaning::of("GET", meant),
        ));
    }
    // Zeros before a port mean nothing.
    cases.push(forwarded(TARGET, with_host("GET http://{h}:0{p}/t"), Meaning::of("GET", "/t")));
    cases.push(forwarded(
        TARGET,
        "GET http://{h}:000{p}/t HTTP/1.1\r\nHost: {h}:000{p}\r\n\r\n",
        Meaning::of("GET", "/t"),
    ));
    cases.push(forwarded(TARGET, with_host("OPTIONS http://{o}"), Meaning::of("OPTIONS", "*")));
    cases.push(forwarded(TARGET, with_host("OPTIONS http://{o}/"), Meaning::of("OPTIONS", "/")));
    cases.push(forwarded(TARGET, with_host("HEAD http://{o}/t"), Meaning::of("HEAD", "/t")));
    cases
}

fn authorities() -> Vec<Case> {
    let mut cases = Vec::new();
    for authority in [
        "user@{o}",
        "user:secret@{o}",
        "@{o}",
        ":@{o}",
        "{o}@evil.test",
        "evil.test@{o}",
        "{o}\\@evil.test",
        "evil.test\\@{o}",
        "{o}:80",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:+80",
        "127.0.0.1:-80",
        "127.0.0.1: 80",
        "127.0.0.1:80a",
        "127.0.0.1:0x50",
        "127.0.0.1:{p}{p}",
        "127.0.0.1:{p}.0",
        "127.1:{p}",
        "127.0.1:{p}",
        "2130706433:{p}",
        "0x7f000001:{p}",
        "0x7f.0.0.1:{p}",
        "0177.0.0.1:{p}",
        "017700000001:{p}",
        "127.0.0.1.:{p}",
        "127.0.0.01:{p}",
        "127.0.0.256:{p}",
        "127.0.0.1.1:{p}",
        "1.2.3:{p}",
        "[::1:{p}",
        "::1:{p}",
        "::1]:{p}",
        "[::1]{p}",
        "[::1]x:{p}",
        "[]:{p}",
        "[127.0.0.1]:{p}",
        "[::ffff:127.0.0.1%25lo]:{p}",
        "[fe80::1%25lo]:{p}",
        "[fe80::1%lo]:{p}",
        "[v1.a]:{p}",
        "%3127.0.0.1:{p}",
        "127%2e0.0.1:{p}",
        "localhost%00.test:{p}",
        "local\"host:{p}",
        "a..b:{p}",
        ".a:{p}",
        "a b:{p}",
        "a,b:{p}",
        "{o},evil",
        "{o};evil",
        "a*:{p}",
        "*:{p}",
        "$(id):{p}",
        "a|b:{p}",
        "xn--\u{e9}:{p}",
        "<a>:{p}",
        "a`b:{p}",
    ] {
        cases.push(refused(AUTHORITY, with_host(&format!("GET http://{authority}/t")), &[400]));
    }
    let label = "a".repeat(64);
    let name = "a.".repeat(130);
    for authority in [label, name] {
        cases.push(refused(
            AUTHORITY,
            with_host(&format!("GET http://{authority}:{{p}}/t")),
            &[400],
        ));
    }
    cases
}

fn hosts() -> Vec<Case> {
    let mut cases = Vec::new();
    let with = |fields: &str| format!("GET http://{{o}}/t HTTP/1.1\r\n{fields}\r\n");
    for fields in [
        "",
        "X: y\r\n",
        "Host:\r\n",
        "Host: \r\n",
        "Host: {o}\r\nHost: {o}\r\n",
        "Host: {o}\r\nHost: evil.test\r\n",
        "Host: evil.test\r\nHOST: {o}\r\n",
        "Host: {o}\r\nhost:\r\n",
        "Host : {o}\r\n",
        "Host\t: {o}\r\n",
        "Host: {o}, evil.test\r\n",
        "Host: {o} evil.test\r\n",
        "Host: {o}\tevil.test\r\n",
        "Host: user@{o}\r\n",
        "Host: {o}@evil.test\r\n",
        "Host: {o}/t\r\n",
        "Host: {o}?x\r\n",
        "Host: http://{o}\r\n",
        "Host: {o}:80\r\n",
        "Host: a:0\r\n",
        "Host: a:x\r\n",
        "Host: a:99999\r\n",
        "Host: ::1\r\n",
        "Host: [::1\r\n",
        "Host: *\r\n",
        "Host: a..b\r\n",
        "Host: a%2eb\r\n",
        "Host: a\\b\r\n",
        "Host: \u{e9}\r\n",
        "Host: {o}\r\n evil.test\r\n",
        "Host:\r\n {o}\r\n",
        "Host: {o}\0\r\n",
        "Host: {o}\n\r\n",
        "Host: \"{o}\"\r\n",
        "Host: 127.1\r\n",
        "Host: 0x7f.1\r\n",
        "Host: {o};x\r\n",
        "Host: {o}#\r\n",
        "Host: \x0b{o}\r\n",
        "host: a\rb\r\n",
    ] {
        cases.push(refused(HOST, with(fields), &[400]));
    }
    // What the target says overrides Host (RFC 9112 §3.2.2).
    for fields in [
        "Host: {o}\r\n",
        "host:{o}\r\n",
        "HOST: \t{o} \r\n",
        "Host: evil.test\r\n",
        "Host: a:\r\n",
        "Host: a:0080\r\n",
        "Host: evil.test:1\r\n",
        "Host: [::1]:1\r\n",
        "X: y\r\nHost: evil.test\r\nZ: y\r\n",
        "Connection: Host\r\nHost: evil.test\r\n",
        "X-Forwarded-Host: evil.test\r\nHost: {o}\r\n",
        "Host: LOCALHOST\r\n",
        "Host: under_score.test\r\n",
    ] {
        cases.push(forwarded(HOST, with(fields), Meaning::of("GET", "/t")));
    }
    for fields in ["Host: a\r\nHost: b\r\n", "Host: a b\r\n", "Host: u@a\r\n"] {
        cases.push(refused(HOST, format!("GET http://{{o}}/t HTTP/1.0\r\n{fields}\r\n"), &[400]));
        cases.push(refused(HOST, format!("OPTIONS * HTTP/1.1\r\n{fields}\r\n"), &[400]));
        cases.push(refused(HOST, format!("GET /t HTTP/1.1\r\n{fields}\r\n"), &[400]));
    }
    cases
}
