use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

#[test]
fn what_was_taken_apart_is_put_together_again() {
    for (text, method) in [
        ("http://a/", Method::Get),
        ("HTTPS://Example.COM.:8080?q=/x", Method::Get),
        ("http://1.2.3.4:080/a?b", Method::Post),
        ("http://[::1]:443", Method::Options),
        ("http://[2001:db8::1]/", Method::Get),
        ("http://a:", Method::Get),
        ("a:443", Method::Connect),
        ("1.2.3.4:1", Method::Connect),
        ("[::1]:65535", Method::Connect),
        ("/x?y", Method::Get),
        ("*", Method::Options),
    ] {
        let target = Target::parse(text, method).expect(text);
        assert_eq!(Parts::of(&target, text).join(text), target);
    }
}

#[test]
fn authorities() {
    let accepted = [
        ("a", Host::Name("a"), None),
        ("Example.COM.:8080", Host::Name("Example.COM."), Some(8080)),
        ("_srv.x-y.z:1", Host::Name("_srv.x-y.z"), Some(1)),
        ("1.2.3.4.example", Host::Name("1.2.3.4.example"), None),
        ("0xg", Host::Name("0xg"), None),
        ("127.0.0.1:65535", Host::V4(Ipv4Addr::LOCALHOST), Some(65535)),
        ("[::1]", Host::V6(Ipv6Addr::LOCALHOST), None),
        ("[::1]:443", Host::V6(Ipv6Addr::LOCALHOST), Some(443)),
        ("a:", Host::Name("a"), None),
        ("a:080", Host::Name("a"), Some(80)),
        ("1.2.3.4:", Host::V4(Ipv4Addr::new(1, 2, 3, 4)), None),
        ("[::1]:", Host::V6(Ipv6Addr::LOCALHOST), None),
        ("[::1]:000443", Host::V6(Ipv6Addr::LOCALHOST), Some(443)),
    ];
    for (text, host, port) in accepted {
        assert_eq!(Authority::parse(text), Some(Authority { host, port, text }), "{text}");
    }
    let refused = [
        "",
        ":",
        ":80",
        "a:0",
        "a:00",
        "a:+80",
        "a:-1",
        "a:65536",
        "a:99999999999",
        "a:b",
        "a:80:80",
        "a b",
        "user@a",
        "u:p@a",
        "a..b",
        ".a",
        ".",
        "..",
        "a,b",
        "a%2eb",
        "a/b",
        "a\\b",
        "a?b",
        "*",
        "a*",
        "é",
        "[::1",
        "::1",
        "::1]",
        "[::1]a",
        "[::1]80",
        "[]",
        "[1.2.3.4]",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]",
        "[v1.a]",
        "127.1",
        "127.0.0.1.",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "0x",
        "2130706433",
        "256.0.0.1",
        "1.2.3",
        "1.2.3.4.5",
        "a.1",
        "a.0x1",
        "127.0.0.01",
    ];
    for text in refused {
        assert_eq!(Authority::parse(text), None, "{text}");
    }
    assert_eq!(Authority::parse(&"a".repeat(64)), None);
    assert_eq!(Authority::parse(&"a.".repeat(128)), None);
    assert!(Authority::parse(&format!("{}a", "a.".repeat(126))).is_some());
}

#[test]
fn the_plain_spelling() {
    for (text, plain) in [
        ("a", "a"),
        ("a:80", "a:80"),
        ("a:", "a"),
        ("A:0065535", "A:65535"),
        ("[::1]", "[::1]"),
        ("[::1]:", "[::1]"),
        ("[::1]:01", "[::1]:1"),
        ("a:10", "a:10"),
        ("a:9", "a:9"),
    ] {
        let authority = Authority::parse(text).expect("an authority");
        assert_eq!(
            (authority.plainly().as_str(), authority.is_plain()),
            (plain, text == plain),
            "{text}"
        );
    }
}

#[test]
fn forms() {
    let authority = |text| Authority::parse(text).expect("an authority");
    let absolute =
        |scheme, host, path| Ok(Target::Absolute { scheme, authority: authority(host), path });
    let cases = [
        ("http://a/b?c", Method::Get, absolute(Scheme::Http, "a", "/b?c")),
        ("HTTP://a", Method::Get, absolute(Scheme::Http, "a", "")),
        ("http://a:80?x", Method::Get, absolute(Scheme::Http, "a:80", "?x")),
        ("https://[::1]:8/", Method::Post, absolute(Scheme::Https, "[::1]:8", "/")),
        ("http://a", Method::Options, absolute(Scheme::Http, "a", "")),
        ("/", Method::Get, Ok(Target::Origin("/"))),
        ("//a/b", Method::Get, Ok(Target::Origin("//a/b"))),
        ("*", Method::Options, Ok(Target::Asterisk)),
        ("a:443", Method::Connect, Ok(Target::Authority(authority("a:443")))),
        ("*", Method::Get, Err(Malformed::Target)),
        ("a:443", Method::Get, Err(Malformed::Target)),
        ("a/b", Method::Get, Err(Malformed::Target)),
        ("?q", Method::Get, Err(Malformed::Target)),
        ("://a/", Method::Get, Err(Malformed::Target)),
        ("ht_tp://a/", Method::Get, Err(Malformed::Target)),
        ("ftp://a/", Method::Get, Err(Malformed::Scheme)),
        ("http://", Method::Get, Err(Malformed::Authority)),
        ("http:///x", Method::Get, Err(Malformed::Authority)),
        ("http://u@a/", Method::Get, Err(Malformed::Authority)),
        ("http://a@b:80/", Method::Get, Err(Malformed::Authority)),
        ("http://a\\@b/", Method::Get, Err(Malformed::Authority)),
        ("a", Method::Connect, Err(Malformed::Authority)),
        ("/", Method::Connect, Err(Malformed::Authority)),
        ("*", Method::Connect, Err(Malformed::Authority)),
        ("http://a:1/", Method::Connect, Err(Malformed::Authority)),
    ];
    for (text, method, expected) in cases {
        assert_eq!(Target::parse(text, method), expected, "{method:?} {text}");
    }
}
