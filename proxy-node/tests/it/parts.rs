//! Parts of what is stored: one, several, and only of what the client has.

use crate::support::{Origin, Proxy, Then, response};

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
