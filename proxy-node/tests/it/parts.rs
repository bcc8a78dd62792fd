//! Parts of what is stored: one, several, and only of what the client has.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::support::{Origin, Proxy, Then, response, until};

const FIELDS: &str = "ETag: \"a\"\r\nCache-Control: max-age=60\r\nContent-Type: text/plain\r\n";

/// A thousand bytes that all differ from their neighbours.
fn text() -> String {
    (0..250).map(|number| format!("{number:03}.")).collect()
}

#[test]
fn several_parts_are_one_answer() {
    let origin = Origin::answering(response(FIELDS, &text()), Then::Keep);
    let proxy = Proxy::start();
    let url = origin.url("/x");
    assert_eq!(proxy.get(&url).text(), text());
    let answer = proxy.ask("GET", &url, "Range: bytes=996-, 0-3\r\n");
    assert_eq!((answer.status, answer.complete), (206, true));
    let boundary = answer
        .field("content-type")
        .and_then(|value| value.strip_prefix("multipart/byteranges; boundary="))
        .expect("a boundary");
    let want = format!(
        "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-3/1000\r\n\r\n000.\
         \r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 996-999/1000\r\n\r\n\
         249.\r\n--{boundary}--\r\n"
    );
    assert_eq!(answer.text(), want);
    assert_eq!(answer.field("content-range"), None);
    for (range, status, length) in [
        (format!("bytes={}", vec!["0-0"; 10_000].join(",")), 200, 1000),
        (format!("bytes={}", vec!["0-0,900-900"; 16].join(",")), 206, 2),
        ("bytes=0-1,3-4".to_owned(), 206, 5),
        ("bytes=1000-,2000-".to_owned(), 416, 0),
    ] {
        let answer = proxy.ask("GET", &url, &format!("Range: {range}\r\n"));
        let shown = &range[..range.len().min(40)];
        assert_eq!(answer.status, status, "{shown}");
        match answer.field("content-type") {
            Some(multipart) if multipart.starts_with("multipart/") => {
                assert_eq!(answer.text().matches("Content-Range").count(), length, "{shown}");
            }
            _ => assert_eq!(answer.body.len(), length, "{shown}"),
        }
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_part_of_something_else_is_not_given() {
    let origin = Origin::answering(response(FIELDS, &text()), Then::Keep);
    let proxy = Proxy::start();
    let url = origin.url("/x");
    // What is not stored is fetched as a whole, and judged as if it had been there.
    for (if_range, status, length) in
        [("\"a\"", 206, 4), ("\"b\"", 200, 1000), ("W/\"a\"", 200, 1000), ("\"a\"", 206, 4)]
    {
        let fields = format!("Range: bytes=0-3\r\nIf-Range: {if_range}\r\n");
        let answer = proxy.ask("GET", &url, &fields);
        assert_eq!((answer.status, answer.body.len()), (status, length), "{if_range}");
    }
    assert_eq!(origin.requests().len(), 1);
    assert!(!origin.requests()[0].to_ascii_lowercase().contains("range"));
}

/// Two ends of a range, as they are asked for.
fn asked(request: &str) -> Option<(usize, usize)> {
    let range = request.lines().find_map(|line| line.strip_prefix("Range: bytes="))?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// An origin of parts, whose answers have these lines and these bytes; it keeps the whole to
/// itself. `{}` is the range and length of Content-Range.
fn origin_of_parts(
    lines: impl Fn(&str) -> String + Send + Sync + 'static,
    text: impl Fn() -> String + Send + Sync + 'static,
) -> Origin {
    Origin::start(move |stream, request| {
        let text = text();
        let answer = match asked(request) {
            None => response("Cache-Control: no-store\r\n", &text),
            Some((first, last)) => {
                let part = &text[first..=last];
                format!(
                    "HTTP/1.1 206 Partial Content\r\n{}\r\n{part}",
                    lines(&format!("{first}-{last}/1000"))
                )
            }
        };
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    })
}

/// What a good origin says of a part of 10 bytes.
fn good(range: &str) -> String {
    format!("{FIELDS}Content-Range: bytes {range}\r\nContent-Length: 10\r\n")
}

fn alone() -> Proxy {
    Proxy::with(|document| document.cache.range_offset_limit = 0)
}

fn range(proxy: &Proxy, url: &str, range: &str) -> (u16, String, String) {
    let answer = proxy.ask("GET", url, &format!("Range: bytes={range}\r\n"));
    let told = answer.field("content-range").unwrap_or_default().to_owned();
    (answer.status, answer.text(), told)
}

#[test]
fn parts_are_kept_and_put_together() {
    let origin = origin_of_parts(good, text);
    let proxy = alone();
    let url = origin.url("/x");
    let text = text();
    for (wanted, from, to, requests) in [
        ("0-9", 0, 10, 1),
        ("0-9", 0, 10, 1),
        ("3-5", 3, 6, 1),
        ("20-29", 20, 30, 2),
        ("10-19", 10, 20, 3),
        ("0-29", 0, 30, 3),
        ("25-29", 25, 30, 3),
    ] {
        let want = (206, text[from..to].to_owned(), format!("bytes {from}-{}/1000", to - 1));
        assert_eq!(range(&proxy, &url, wanted), want, "{wanted}");
        assert_eq!(origin.requests().len(), requests, "{wanted}");
    }
    let hit = proxy.ask("GET", &url, "Range: bytes=1-2\r\nIf-Range: \"a\"\r\n");
    assert_eq!((hit.status, hit.field("content-type")), (206, Some("text/plain")));
    assert!(hit.field("cache-status").is_some_and(|it| it.contains("hit")), "{}", hit.head);
    let unmodified = proxy.ask("GET", &url, "Range: bytes=1-2\r\nIf-None-Match: \"a\"\r\n");
    assert_eq!(unmodified.status, 304);
    let only = "Cache-Control: only-if-cached\r\n";
    for (wanted, status) in [("0-1", 206), ("29-30", 504), ("-5", 504), ("0-", 504)] {
        let answer = proxy.ask("GET", &url, &format!("{only}Range: bytes={wanted}\r\n"));
        assert_eq!(answer.status, status, "{wanted}");
    }
    assert_eq!(origin.requests().len(), 3);
    // What is asked for whole is not answered with a part.
    assert_eq!(proxy.get(&url).text(), text);
    assert_eq!(origin.requests().len(), 4);
    // What it had is void, as for everything else that is changed.
    proxy.ask("POST", &url, "Content-Length: 0\r\n");
    assert_eq!(range(&proxy, &url, "0-9").0, 206);
    assert_eq!(origin.requests().len(), 6);
}

#[test]
fn the_whole_comes_of_its_parts() {
    let origin = origin_of_parts(good, text);
    let proxy = alone();
    let url = origin.url("/x");
    for first in (0..1000).step_by(10).rev() {
        assert_eq!(range(&proxy, &url, &format!("{first}-{}", first + 9)).0, 206);
    }
    let whole = proxy.get(&url);
    assert_eq!((whole.status, whole.text(), whole.field("content-range")), (200, text(), None));
    assert_eq!(range(&proxy, &url, "-5").1, ".249.");
    assert_eq!(proxy.ask("HEAD", &url, "").field("content-length"), Some("1000"));
    assert_eq!((origin.requests().len(), proxy.node.store.objects()), (100, 1));
}

#[test]
fn what_is_uncertain_of_a_part_is_passed_on_and_not_kept() {
    let tag = "ETag: \"a\"\r\n";
    let lives = "Cache-Control: max-age=60\r\n";
    for lines in [
        format!("{lives}Content-Range: bytes 0-9/1000\r\nContent-Length: 10\r\n"),
        format!("{lives}ETag: W/\"a\"\r\nContent-Range: bytes 0-9/1000\r\nContent-Length: 10\r\n"),
        format!("{tag}Content-Range: bytes 0-9/1000\r\nContent-Length: 10\r\n"),
        format!("{lives}{tag}Content-Range: bytes 0-9/*\r\nContent-Length: 10\r\n"),
        format!("{lives}{tag}Content-Range: bytes 0-8/1000\r\nContent-Length: 10\r\n"),
        format!("{lives}{tag}Content-Range: bytes 10-19/1000\r\nContent-Length: 10\r\n"),
        format!("{lives}{tag}Content-Range: bytes 9-0/1000\r\nContent-Length: 10\r\n"),
        format!("{lives}{tag}Content-Range: bytes 0-9/9\r\nContent-Length: 10\r\n"),
        format!("{lives}{tag}Content-Range: bytes 0-9/9999999\r\nContent-Length: 10\r\n"),
        format!("{lives}{tag}Content-Range: lines 0-9/1000\r\nContent-Length: 10\r\n"),
        format!(
            "{lives}{tag}Content-Range: bytes 0-9/1000\r\nContent-Range: bytes 0-9/1000\r\n\
             Content-Length: 10\r\n"
        ),
        format!(
            "{lives}{tag}Content-Type: multipart/byteranges; boundary=a\r\nContent-Length: 10\r\n"
        ),
        format!("{lives}{tag}Vary: *\r\nContent-Range: bytes 0-9/1000\r\nContent-Length: 10\r\n"),
        format!(
            "{lives}{tag}Cache-Control: private\r\nContent-Range: bytes 0-9/1000\r\n\
             Content-Length: 10\r\n"
        ),
    ] {
        let sent = lines.clone();
        let origin = origin_of_parts(move |_| sent.clone(), text);
        let proxy = alone();
        for _ in 0..2 {
            let answer = proxy.ask("GET", &origin.url("/x"), "Range: bytes=0-9\r\n");
            assert_eq!((answer.status, answer.text()), (206, text()[..10].to_owned()), "{lines}");
        }
        assert_eq!((origin.requests().len(), proxy.node.store.objects()), (2, 0), "{lines}");
    }
}

#[test]
fn a_part_of_something_new_puts_an_end_to_what_is_old() {
    let version = Arc::new(AtomicUsize::new(0));
    let of = Arc::clone(&version);
    let lines = move |range: &str| {
        let tag = of.load(Ordering::SeqCst);
        format!(
            "Cache-Control: max-age=60\r\nETag: \"{tag}\"\r\nContent-Range: bytes {range}\r\n\
             Content-Length: 10\r\n"
        )
    };
    let of = Arc::clone(&version);
    let origin =
        origin_of_parts(lines, move || text().replace('.', &of.load(Ordering::SeqCst).to_string()));
    let proxy = alone();
    let url = origin.url("/x");
    assert_eq!(range(&proxy, &url, "0-9").1, "0000001000");
    version.store(7, Ordering::SeqCst);
    assert_eq!(range(&proxy, &url, "10-19").1, "2700370047");
    // What there was is gone, and the two are not put together.
    assert_eq!(range(&proxy, &url, "0-9").1, "0007001700");
    assert_eq!(range(&proxy, &url, "0-19").1, "00070017002700370047");
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn where_the_whole_is_not_to_be_had_the_part_is_kept() {
    let origin = origin_of_parts(good, text);
    let proxy = Proxy::start();
    let url = origin.url("/x");
    for _ in 0..3 {
        assert_eq!(range(&proxy, &url, "0-9").1, text()[..10]);
    }
    // The whole in vain, and the part.
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn an_answer_with_the_whole_to_a_request_for_a_part_is_kept() {
    let origin = Origin::answering(response(FIELDS, &text()), Then::Keep);
    let proxy = alone();
    let url = origin.url("/x");
    for _ in 0..2 {
        assert_eq!(
            range(&proxy, &url, "500-503"),
            (206, "125.".into(), "bytes 500-503/1000".into())
        );
    }
    assert_eq!(origin.requests().len(), 1);
    assert!(origin.requests()[0].contains("Range: bytes=500-503"));
}

#[test]
fn a_part_that_breaks_off_is_not_kept() {
    let origin = Origin::start(|stream, _| {
        let long = "x".repeat(100_000);
        let lines = "Content-Range: bytes 0-199999/500000\r\nContent-Length: 200000\r\n";
        let head = format!("HTTP/1.1 206 Partial Content\r\n{FIELDS}{lines}\r\n");
        drop(stream.write_all(format!("{head}{long}").as_bytes()));
        Then::Close
    });
    let proxy = alone();
    for _ in 0..2 {
        let answer = proxy.ask("GET", &origin.url("/x"), "Range: bytes=0-199999\r\n");
        assert_eq!((answer.status, answer.complete), (206, false));
    }
    assert_eq!(origin.requests().len(), 2);
    until("nothing is stored", || (proxy.node.store.objects() == 0).then_some(()));
}
