//! Answers compressed for those who want it: what they get, what others get, and what it costs.

use std::{
    io::{Read, Write},
    process::Command,
};

use cluster_config::document::compression::{Coding, Compression};

use crate::support::{Gate, Origin, Proxy, Reply, Then, connect, read_head, response, until};

fn compression() -> Compression {
    Compression {
        codings: vec![Coding::Zstd, Coding::Br, Coding::Gzip],
        types: vec!["text/*".into()],
        min_size: 100,
        max_size: 1 << 20,
        gzip_level: 5,
        br_level: 4,
        zstd_level: 3,
    }
}

fn compressing() -> Proxy {
    Proxy::with(|document| document.compression = Some(compression()))
}

fn text(bytes: usize) -> String {
    let words =
        (0u32..).map(|number| format!("line {} of a text\n", number.wrapping_mul(2_654_435_761)));
    words.flat_map(String::into_bytes).take(bytes).map(char::from).collect()
}

fn decoded(reply: &Reply) -> String {
    let body = &reply.body[..];
    let mut out = Vec::new();
    match reply.field("content-encoding") {
        Some("gzip") => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut out).unwrap()),
        Some("br") => drop(brotli::Decompressor::new(body, 4096).read_to_end(&mut out).unwrap()),
        Some("zstd") => out = zstd::decode_all(body).unwrap(),
        None => out = body.to_vec(),
        Some(other) => panic!("{other}"),
    }
    String::from_utf8(out).unwrap()
}

fn wants(proxy: &Proxy, url: &str, coding: &str) -> Reply {
    proxy.ask("GET", url, &format!("Accept-Encoding: {coding}\r\n"))
}

const PLAIN: &str = "Cache-Control: max-age=60\r\nContent-Type: text/plain\r\nETag: \"a\"\r\n\
    Accept-Ranges: bytes\r\nContent-Digest: sha-256=:AA==:\r\n";

#[test]
fn small_and_large_ones_in_every_coding_and_each_once() {
    for size in [4_000, 300_000] {
        let origin = Origin::answering(response(PLAIN, &text(size)), Then::Keep);
        let proxy = compressing();
        let url = origin.url("/");
        for coding in ["gzip", "br", "zstd"] {
            let first = wants(&proxy, &url, coding);
            assert_eq!(first.field("content-encoding"), Some(coding));
            assert_eq!(decoded(&first), text(size), "{coding}");
            let work = proxy.node.metrics.compression_in.get();
            let again = until("it is whole", || {
                let again = wants(&proxy, &url, coding);
                again.field("content-length").is_some().then_some(again)
            });
            assert_eq!((again.body.len(), decoded(&again)), (first.body.len(), text(size)));
            assert!(again.body.len() < size / 2);
            assert_eq!(proxy.node.metrics.compression_in.get(), work, "compressed once");
            assert_eq!(again.field("etag"), Some("W/\"a\""));
            assert_eq!(again.field("vary"), Some("Accept-Encoding"));
            assert_eq!((again.field("content-digest"), again.field("accept-ranges")), (None, None));
            // HEAD says what GET says.
            let head = proxy.ask("HEAD", &url, &format!("Accept-Encoding: {coding}\r\n"));
            for name in ["content-encoding", "content-length", "etag", "vary", "content-type"] {
                assert_eq!(head.field(name), again.field(name), "{name}");
            }
        }
        assert_eq!(origin.requests().len(), 1);
        assert_eq!(proxy.node.metrics.compression_in.get(), 3 * size as u64);
        let store = &proxy.node.store;
        until("all of it is settled", || (store.in_flight() == 0).then_some(()));
        store.set_capacity(0);
        until("all of it goes", || (store.used() == 0).then_some(()));
    }
}

#[test]
fn others_get_it_as_it_is_and_are_told_that_it_depends() {
    let origin = Origin::answering(response(PLAIN, &text(4_000)), Then::Keep);
    let proxy = compressing();
    let url = origin.url("/");
    let fields = [
        "",
        "Accept-Encoding: deflate\r\n",
        "Accept-Encoding: gzip;q=0\r\n",
        "Accept-Encoding: identity, gzip;q=0.5\r\n",
        "Accept-Encoding: gzip\r\nCache-Control: no-transform\r\n",
        "Accept-Encoding: gzip\r\nRange: bytes=0-99\r\n",
    ];
    for fields in fields {
        let reply = proxy.ask("GET", &url, fields);
        assert_eq!(reply.field("content-encoding"), None, "{fields}");
        assert_eq!(reply.field("vary"), Some("Accept-Encoding"), "{fields}");
        assert_eq!(reply.field("etag"), Some("\"a\""));
        assert!(text(4_000).starts_with(&reply.text()) && !reply.body.is_empty());
    }
}

#[test]
fn what_is_not_for_compression_is_left_alone() {
    for (fields, size) in [
        ("Content-Type: image/png\r\n", 4_000),
        ("", 4_000),
        ("Content-Type: text/plain\r\n", 99),
        ("Content-Type: text/plain\r\n", (1 << 20) - 1),
        ("Content-Type: text/plain\r\nContent-Encoding: gzip\r\n", 4_000),
        ("Content-Type: text/plain\r\nCache-Control: no-transform\r\n", 4_000),
        ("Content-Type: text/plain\r\nCache-Control: private\r\n", 4_000),
    ] {
        let fields = format!("Cache-Control: max-age=60\r\n{fields}");
        let origin = Origin::answering(response(&fields, &"x".repeat(size)), Then::Keep);
        let proxy = Proxy::with(|document| {
            document.compression = Some(Compression { max_size: 1 << 19, ..compression() });
        });
        for _ in 0..2 {
            let reply = wants(&proxy, &origin.url("/"), "gzip, br, zstd");
            assert_eq!(reply.body.len(), size, "{fields}");
            assert_eq!(reply.field("vary"), None, "{fields}");
        }
        assert_eq!(proxy.node.metrics.compression_in.get(), 0, "{fields}");
    }
    let failing =
        response("Cache-Control: max-age=60\r\nContent-Type: text/plain\r\n", &text(4_000));
    let origin = Origin::answering(failing.replacen("200 OK", "404 No", 1), Then::Keep);
    let reply = wants(&compressing(), &origin.url("/"), "gzip");
    assert_eq!((reply.status, reply.field("content-encoding")), (404, None));
    let off = Proxy::start();
    let origin = Origin::answering(response(PLAIN, &text(4_000)), Then::Keep);
    let reply = wants(&off, &origin.url("/"), "gzip");
    assert_eq!((reply.field("content-encoding"), reply.field("vary")), (None, None), "off");
}

#[test]
fn conditions_are_judged_in_every_form_and_by_the_origin_too() {
    let origin = Origin::start(|stream, head| {
        let knows =
            head.contains("If-None-Match: \"a\"") || head.contains("If-None-Match: W/\"a\"");
        let answer = if knows {
            "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\n\r\n"
                .to_owned()
        } else {
            response(&PLAIN.replace("max-age=60", "max-age=0"), &text(4_000))
        };
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    });
    let proxy = compressing();
    let url = origin.url("/");
    let tag = wants(&proxy, &url, "gzip").field("etag").unwrap().to_owned();
    for (has, coding, want) in [
        (tag.as_str(), "gzip", 304),
        ("\"a\"", "gzip", 304),
        (&tag, "br", 304),
        (&tag, "identity", 304),
        ("\"b\"", "gzip", 200),
        ("W/\"b\"", "gzip", 200),
    ] {
        let fields = format!("Accept-Encoding: {coding}\r\nIf-None-Match: {has}\r\n");
        let reply = proxy.ask("GET", &url, &fields);
        assert_eq!(reply.status, want, "{has} {coding}");
        assert_eq!(reply.field("vary"), Some("Accept-Encoding"));
        let weak = coding != "identity";
        assert_eq!(reply.field("etag"), Some(if weak { "W/\"a\"" } else { "\"a\"" }));
    }
    // After a validation what was compressed is still there.
    let work = proxy.node.metrics.compression_in.get();
    assert_eq!(decoded(&wants(&proxy, &url, "gzip")), text(4_000));
    assert_eq!(proxy.node.metrics.compression_in.get(), work);
    // A part goes with the form that it is of, and with no other.
    let part = |has: &str| {
        let fields = format!("Accept-Encoding: gzip\r\nRange: bytes=0-9\r\nIf-Range: {has}\r\n");
        proxy.ask("GET", &url, &fields).status
    };
    assert_eq!((part("\"a\""), part(&tag)), (206, 200));
}

#[test]
fn what_comes_slowly_goes_on_as_it_comes() {
    let gate = Gate::default();
    let waiting = gate.clone();
    let first = text(20_000);
    let sent = first.clone();
    let origin = Origin::start(move |stream, _| {
        let fields =
            "Cache-Control: max-age=60\r\nContent-Type: text/plain\r\nContent-Length: 40000";
        drop(stream.write_all(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{sent}").as_bytes()));
        waiting.wait();
        drop(stream.write_all(sent.as_bytes()));
        Then::Keep
    });
    let proxy = compressing();
    let url = origin.url("/");
    for coding in ["gzip", "br", "zstd"] {
        let host = url.split('/').nth(2).unwrap();
        let mut client = connect(proxy.address);
        let asked =
            format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: {coding}\r\n\r\n");
        client.write_all(asked.as_bytes()).unwrap();
        let head = read_head(&mut client).unwrap();
        assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
        // Half of it can be read before the other half is there.
        let (mut raw, mut body) = (Vec::new(), Vec::new());
        let mut buffer = [0; 4096];
        until("the first half", || {
            let read = client.read(&mut buffer).unwrap();
            raw.extend_from_slice(&buffer[..read]);
            body = dechunked(&raw);
            let mut out = Vec::new();
            match coding {
                "gzip" => drop(flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut out)),
                "br" => drop(brotli::Decompressor::new(&body[..], 4096).read_to_end(&mut out)),
                _ => drop(zstd::Decoder::new(&body[..]).unwrap().read_to_end(&mut out)),
            }
            (out == first.as_bytes()).then_some(())
        });
    }
    gate.open();
    let whole = until("it is whole", || {
        let again = wants(&proxy, &url, "zstd");
        again.field("content-length").is_some().then_some(again)
    });
    assert_eq!(decoded(&whole), first.repeat(2));
    assert_eq!(origin.requests().len(), 1);
}

fn dechunked(raw: &[u8]) -> Vec<u8> {
    let (mut body, mut rest) = (Vec::new(), raw);
    while let Some(line) = rest.windows(2).position(|it| it == b"\r\n") {
        let length = std::str::from_utf8(&rest[..line]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        let end = (line + 2 + length).min(rest.len());
        body.extend_from_slice(&rest[line + 2..end]);
        rest = rest.get(end + 2..).unwrap_or_default();
    }
    body
}

#[test]
fn a_fill_that_breaks_off_is_no_whole_answer() {
    let origin = Origin::start(|stream, _| {
        let fields =
            "Cache-Control: max-age=60\r\nContent-Type: text/plain\r\nContent-Length: 90000";
        let begun = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{}", text(30_000));
        drop(stream.write_all(begun.as_bytes()));
        Then::Close
    });
    let proxy = compressing();
    let reply = wants(&proxy, &origin.url("/"), "gzip");
    assert!(!reply.complete || reply.status == 502, "{}", reply.head);
    assert_eq!(proxy.node.store.objects(), 0);
}

#[test]
fn beyond_what_is_kept_it_goes_through_and_beyond_what_is_compressed_at_a_time_as_it_is() {
    let origin = Origin::answering(response(PLAIN, &text(300_000)), Then::Keep);
    let proxy = compressing();
    proxy.get(&origin.url("/"));
    let permits: Vec<_> = std::iter::from_fn(|| proxy.node.compressor.permit()).collect();
    assert_eq!(permits.len(), 8);
    let plain = wants(&proxy, &origin.url("/"), "gzip");
    assert_eq!((plain.field("content-encoding"), plain.body.len()), (None, 300_000));
    assert_eq!(plain.field("vary"), Some("Accept-Encoding"));
    assert_eq!(proxy.node.metrics.compression_skipped.get(), 1);
    drop(permits);
    assert_eq!(decoded(&wants(&proxy, &origin.url("/"), "gzip")), text(300_000));
    until("all are given back", || {
        let permits: Vec<_> = std::iter::from_fn(|| proxy.node.compressor.permit()).collect();
        (permits.len() == 8).then_some(())
    });
}

#[test]
fn curl_reads_all_of_them() {
    let origin = Origin::answering(response(PLAIN, &text(300_000)), Then::Keep);
    let proxy = compressing();
    let known = Command::new("curl").arg("--version").output().unwrap().stdout;
    let known = String::from_utf8(known).unwrap();
    for coding in ["gzip", "br", "zstd"] {
        let name = match coding {
            "gzip" => "libz",
            "br" => "brotli",
            other => other,
        };
        if !known.contains(name) {
            continue;
        }
        let mut curl = Command::new("curl");
        curl.args(["-s", "--compressed", "-H", &format!("Accept-Encoding: {coding}"), "-x"]);
        let got = curl.args([&proxy.address.to_string(), &origin.url("/")]).output().unwrap();
        assert_eq!(String::from_utf8(got.stdout).unwrap(), text(300_000), "{coding}");
    }
    assert!(proxy.node.metrics.compression_in.get() >= 300_000);
}
