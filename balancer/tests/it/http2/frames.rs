//! What RFC 9113 says of frames that are wrong: the classes of h2spec, as far as they concern a
//! server. A stream's fault resets the stream or answers it, and leaves the connection; a
//! connection's fault ends it, with the code that says why.

use serde_json::{Value, json};
use testkit::wait::until;

use super::{
    peer::cluster,
    raw::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Heard, PADDED, PING,
        PREFACE, PRIORITIZED, PRIORITY, PUSH_PROMISE, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE,
        block, frame, get, head,
    },
};
use crate::support::records;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
/// For what cannot be decoded RFC 9113 §4.3 has COMPRESSION_ERROR (9), and `h2` says this.
const UNDECODABLE: u32 = PROTOCOL_ERROR;
const ENHANCE_YOUR_CALM: u32 = 11;

type Fields<'a> = Vec<(&'a [u8], &'a [u8])>;

/// A plain request with more fields.
fn with<'a>(more: &[(&'a [u8], &'a [u8])]) -> Fields<'a> {
    [get(), more.to_vec()].concat()
}

/// A plain request with another value, or without it.
fn but<'a>(name: &[u8], value: Option<&'a [u8]>) -> Fields<'a> {
    let fields = get().into_iter().filter_map(|(it, was)| {
        if it == name { value.map(|value| (it, value)) } else { Some((it, was)) }
    });
    fields.collect()
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_malformed_reset_their_stream_and_no_more() {
    let cluster = cluster(1, json!({})).await;
    let cases: Vec<(&str, Fields<'_>)> = vec![
        ("an upper case name", with(&[(b"X-A", b"1")])),
        ("a name that is no token", with(&[(b"x a", b"1")])),
        ("an empty name", with(&[(b"", b"1")])),
        ("CR in a name", with(&[(b"x\ra", b"1")])),
        ("LF in a name", with(&[(b"x\na", b"1")])),
        ("a colon in a name", with(&[(b"x:a", b"1")])),
        ("CR in a value", with(&[(b"x", b"1\r2")])),
        ("LF in a value", with(&[(b"x", b"1\n2")])),
        ("a request in a value", with(&[(b"x", b"1\r\n\r\nGET / HTTP/1.1\r\n\r\n")])),
        ("NUL in a value", with(&[(b"x", b"1\x002")])),
        ("a blank before a value", with(&[(b"x", b" 1")])),
        ("a blank behind a value", with(&[(b"x", b"1 ")])),
        ("an unknown pseudo field", with(&[(b":x", b"1")])),
        ("a pseudo field of answers", with(&[(b":status", b"200")])),
        ("a pseudo field behind others", {
            let mut fields = get();
            let path = fields.pop().expect("one");
            fields.extend([(&b"x"[..], &b"1"[..]), path]);
            fields
        }),
        ("connection", with(&[(b"connection", b"keep-alive")])),
        ("keep-alive", with(&[(b"keep-alive", b"1")])),
        ("proxy-connection", with(&[(b"proxy-connection", b"1")])),
        ("transfer-encoding", with(&[(b"transfer-encoding", b"chunked")])),
        ("upgrade", with(&[(b"upgrade", b"websocket")])),
        ("te", with(&[(b"te", b"trailers, deflate")])),
        ("no method", but(b":method", None)),
        ("no scheme", but(b":scheme", None)),
        ("no path", but(b":path", None)),
        ("an empty path", but(b":path", Some(b""))),
        ("a path that is none", but(b":path", Some(b"x"))),
        ("a blank in the path", but(b":path", Some(b"/ HTTP/1.1"))),
        ("CRLF in the path", but(b":path", Some(b"/\r\nx: y"))),
        ("CRLF in the method", but(b":method", Some(b"GET / HTTP/1.1\r\nx: y\r\n\r\nGET"))),
        ("a blank in the method", but(b":method", Some(b"GET /"))),
        ("CRLF in the authority", but(b":authority", Some(b"o.test\r\nx: y"))),
        ("an authority with a path", but(b":authority", Some(b"o.test/x"))),
        ("an empty authority", but(b":authority", Some(b""))),
        ("a scheme that is none", but(b":scheme", Some(b"http://x/ HTTP/1.1\r\n"))),
        ("two methods", [vec![(&b":method"[..], &b"GET"[..])], get()].concat()),
        ("two schemes", [vec![(&b":scheme"[..], &b"http"[..])], get()].concat()),
        ("two paths", [vec![(&b":path"[..], &b"/"[..])], get()].concat()),
        ("two authorities", [vec![(&b":authority"[..], &b"o.test"[..])], get()].concat()),
        ("another host", with(&[(b"host", b"p.test")])),
        ("two hosts", with(&[(b"host", b"o.test"), (b"host", b"o.test")])),
        ("CONNECT with scheme and path", but(b":method", Some(b"CONNECT"))),
        ("CONNECT to nowhere", vec![(b":method", b"CONNECT")]),
        ("a protocol", [vec![(&b":protocol"[..], &b"websocket"[..])], get()].concat()),
        ("content that was announced and is not there", with(&[(b"content-length", b"1")])),
        ("two lengths", with(&[(b"content-length", b"0"), (b"content-length", b"1")])),
        ("no length", with(&[(b"content-length", b"x")])),
    ];
    let mut resets = 0;
    for (what, fields) in &cases {
        let mut client = Raw::greeted(cluster.frontend).await;
        client.send(&head(1, fields, true)).await;
        let heard = client.hear(1).await;
        // A name or a value that is none, `h2` takes for what cannot be decoded, and the two sides
        // may have different tables from then on (RFC 7541 §2.3.3): the connection ends.
        let decoded = heard != Heard::GoAway(PROTOCOL_ERROR);
        assert!(!decoded || heard == Heard::Reset(PROTOCOL_ERROR), "{what}: {heard:?}");
        if decoded {
            resets += 1;
            client.send(&head(3, &get(), true)).await;
            assert_eq!(client.hear(3).await, Heard::Answer, "behind {what}");
        }
    }
    assert!(resets >= 30, "{resets} of {}", cases.len());
    // Those that have no place in HTTP/1.1 leave a record, and those that end the connection; what
    // `h2` resets by itself leaves none.
    let is_refused = |it: &Value| it["error"] == "http_request_error";
    let refused = until("what was refused is written down", || async {
        let lines = records(&cluster, 1).await;
        let refused: Vec<Value> = lines.into_iter().filter(is_refused).collect();
        (refused.len() >= 10).then_some(refused)
    });
    let refused = refused.await;
    assert!(refused.iter().any(|it| it["target"] == "http://o.test/" && it["method"] == "GET"));
    assert!(refused.iter().any(|it| it["target"] == ""), "{refused:?}");
    let plain = cluster.arrivals();
    assert!(plain.iter().all(|it| it.head.line == "GET http://o.test/ HTTP/1.1"), "{plain:?}");
    assert!(plain.iter().all(|it| it.head.field("x").is_none() && it.body.is_empty()));
}

/// On the wire behind the greeting, and what is heard on stream 1.
fn wrong_frames() -> Vec<(&'static str, Vec<u8>, Vec<Heard>)> {
    use Heard::{Answer, GoAway, Reset};
    let open = head(1, &get(), false);
    let ended = head(1, &get(), true);
    let block = block(&get());
    let go = |code| vec![GoAway(code)];
    let closed = || vec![GoAway(STREAM_CLOSED), Reset(STREAM_CLOSED), GoAway(PROTOCOL_ERROR)];
    let half = |kind, stream, payload: &[u8]| {
        [frame(HEADERS, END_STREAM, 1, &block), frame(kind, 0, stream, payload)].concat()
    };
    vec![
        ("DATA on stream 0", frame(DATA, 0, 0, b"x"), go(PROTOCOL_ERROR)),
        ("DATA on an idle stream", frame(DATA, 0, 1, b"x"), go(PROTOCOL_ERROR)),
        (
            "DATA of more padding than there is",
            [open.clone(), frame(DATA, PADDED, 1, &[9, 1, 2])].concat(),
            go(PROTOCOL_ERROR),
        ),
        ("DATA behind the end", [ended.clone(), frame(DATA, 0, 1, b"x")].concat(), closed()),
        ("HEADERS on stream 0", frame(HEADERS, END_HEADERS, 0, &block), go(PROTOCOL_ERROR)),
        (
            "HEADERS on a stream of the server's",
            frame(HEADERS, END_HEADERS, 2, &block),
            go(PROTOCOL_ERROR),
        ),
        (
            "HEADERS of more padding than there is",
            frame(HEADERS, END_HEADERS | PADDED, 1, &[255, 0]),
            go(PROTOCOL_ERROR),
        ),
        (
            "HEADERS on an earlier stream",
            [head(3, &get(), true), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)].concat(),
            closed(),
        ),
        (
            "HEADERS that depend on themselves",
            frame(
                HEADERS,
                END_HEADERS | END_STREAM | PRIORITIZED,
                1,
                &[&[0, 0, 0, 1, 9][..], &block].concat(),
            ),
            vec![Reset(PROTOCOL_ERROR), GoAway(PROTOCOL_ERROR)],
        ),
        (
            "HEADERS that cannot be decoded",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff]),
            go(UNDECODABLE),
        ),
        (
            "an index beyond the table",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0x80, 0x01]),
            go(UNDECODABLE),
        ),
        (
            "a table larger than was offered",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x3f, 0xe2, 0x1f, 0x82]),
            go(UNDECODABLE),
        ),
        (
            "trailers that do not end the stream",
            [open.clone(), frame(HEADERS, END_HEADERS, 1, &super::raw::block(&[(b"x", b"y")]))]
                .concat(),
            vec![GoAway(PROTOCOL_ERROR), Reset(PROTOCOL_ERROR)],
        ),
        (
            "a pseudo field in trailers",
            [
                open.clone(),
                frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    1,
                    &super::raw::block(&[(b":path", b"/")]),
                ),
            ]
            .concat(),
            // `h2` leaves it out, which is as well: nobody sees it.
            vec![Reset(PROTOCOL_ERROR), Answer],
        ),
        (
            "CONTINUATION of nothing",
            frame(CONTINUATION, END_HEADERS, 1, &block),
            go(PROTOCOL_ERROR),
        ),
        (
            "CONTINUATION of a head that has ended",
            [ended.clone(), frame(CONTINUATION, END_HEADERS, 1, &block)].concat(),
            go(PROTOCOL_ERROR),
        ),
        ("DATA in the middle of a head", half(DATA, 1, b"x"), go(PROTOCOL_ERROR)),
        ("PING in the middle of a head", half(PING, 0, &[0; 8]), go(PROTOCOL_ERROR)),
        ("CONTINUATION of another stream", half(CONTINUATION, 3, &[]), go(PROTOCOL_ERROR)),
        ("HEADERS in the middle of a head", half(HEADERS, 3, &block), go(PROTOCOL_ERROR)),
        ("an unknown frame in the middle of a head", half(0x42, 1, b"x"), go(PROTOCOL_ERROR)),
        ("PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0; 5]), go(PROTOCOL_ERROR)),
        (
            "PRIORITY of another size",
            frame(PRIORITY, 0, 1, &[0; 4]),
            vec![GoAway(FRAME_SIZE_ERROR), Reset(FRAME_SIZE_ERROR)],
        ),
        ("RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4]), go(PROTOCOL_ERROR)),
        ("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &[0; 4]), go(PROTOCOL_ERROR)),
        (
            "RST_STREAM of another size",
            [open.clone(), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            go(FRAME_SIZE_ERROR),
        ),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), go(PROTOCOL_ERROR)),
        (
            "SETTINGS that acknowledge and say",
            frame(SETTINGS, ACK, 0, &setting(4, 1)),
            go(FRAME_SIZE_ERROR),
        ),
        ("SETTINGS of another size", frame(SETTINGS, 0, 0, &[0; 5]), go(FRAME_SIZE_ERROR)),
        ("ENABLE_PUSH of 2", frame(SETTINGS, 0, 0, &setting(2, 2)), go(PROTOCOL_ERROR)),
        // RFC 9113 §6.5.2 has FLOW_CONTROL_ERROR, and `h2` says this.
        (
            "INITIAL_WINDOW_SIZE beyond 2^31-1",
            frame(SETTINGS, 0, 0, &setting(4, 1 << 31)),
            go(PROTOCOL_ERROR),
        ),
        (
            "MAX_FRAME_SIZE below 2^14",
            frame(SETTINGS, 0, 0, &setting(5, (1 << 14) - 1)),
            go(PROTOCOL_ERROR),
        ),
        ("MAX_FRAME_SIZE of 2^24", frame(SETTINGS, 0, 0, &setting(5, 1 << 24)), go(PROTOCOL_ERROR)),
        ("PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), go(PROTOCOL_ERROR)),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8]), go(PROTOCOL_ERROR)),
        ("PING of another size", frame(PING, 0, 0, &[0; 6]), go(FRAME_SIZE_ERROR)),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), go(PROTOCOL_ERROR)),
        ("WINDOW_UPDATE of 0", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), go(PROTOCOL_ERROR)),
        (
            "WINDOW_UPDATE of 0 on a stream",
            [open.clone(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            vec![Reset(PROTOCOL_ERROR), GoAway(PROTOCOL_ERROR)],
        ),
        (
            "WINDOW_UPDATE of another size",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
            go(FRAME_SIZE_ERROR),
        ),
        (
            "WINDOW_UPDATE on an idle stream",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            go(PROTOCOL_ERROR),
        ),
        (
            "a window beyond 2^31-1",
            [
                frame(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]),
                frame(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]),
            ]
            .concat(),
            go(FLOW_CONTROL_ERROR),
        ),
        (
            "a stream's window beyond 2^31-1",
            [open.clone(), frame(WINDOW_UPDATE, 0, 1, &[0x7f, 255, 255, 255])].concat(),
            vec![Reset(FLOW_CONTROL_ERROR)],
        ),
        (
            "a frame larger than was offered",
            [open.clone(), frame(DATA, 0, 1, &[0; (1 << 14) + 1])].concat(),
            go(FRAME_SIZE_ERROR),
        ),
        (
            "more content than was announced",
            [
                head(1, &with(&[(b"content-length", b"1")]), false),
                frame(DATA, END_STREAM, 1, b"xy"),
            ]
            .concat(),
            vec![Reset(PROTOCOL_ERROR)],
        ),
        (
            "less content than was announced",
            [
                head(1, &with(&[(b"content-length", b"3")]), false),
                frame(DATA, END_STREAM, 1, b"xy"),
            ]
            .concat(),
            vec![Reset(PROTOCOL_ERROR)],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_wrong_end_what_they_are_wrong_in() {
    let cluster = cluster(1, json!({})).await;
    let mut others = Vec::new();
    for (what, bytes, wanted) in wrong_frames() {
        let mut client = Raw::greeted(cluster.frontend).await;
        client.send(&bytes).await;
        let heard = client.hear(1).await;
        if !wanted.contains(&heard) {
            others.push(format!("{what}: {heard:?} is none of {wanted:?}"));
        }
        if matches!(heard, Heard::Reset(_) | Heard::Answer) {
            client.send(&head(5, &get(), true)).await;
            assert_eq!(client.hear(5).await, Heard::Answer, "behind {what}");
        } else {
            assert_eq!(client.hear(u32::MAX).await, Heard::Closed, "behind {what}");
        }
    }
    assert_eq!(others, Vec::<String>::new());
    // What is not wrong, and odd.
    for (what, bytes) in [
        ("an unknown frame", frame(0x42, 255, 0, b"x")),
        ("an unknown setting", frame(SETTINGS, 0, 0, &setting(0xffff, 1))),
        ("flags without meaning", frame(PING, 0xfe, 0, &[0; 8])),
        ("PRIORITY on an idle stream", frame(PRIORITY, 0, 7, &[0, 0, 0, 0, 1])),
        (
            "a window of nothing, opened again",
            [frame(SETTINGS, 0, 0, &setting(4, 0)), frame(SETTINGS, 0, 0, &setting(4, 65_535))]
                .concat(),
        ),
    ] {
        let mut client = Raw::greeted(cluster.frontend).await;
        client.send(&bytes).await;
        client.send(&head(1, &get(), true)).await;
        assert_eq!(client.hear(1).await, Heard::Answer, "behind {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_end_their_connection_and_say_why() {
    let cluster = cluster(1, json!({})).await;
    let rapid: Vec<u8> = (0..2000_u32)
        .flat_map(|it| {
            let stream = 2 * it + 1;
            [head(stream, &get(), true), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        })
        .collect();
    let pieces = frame(CONTINUATION, 0, 1, &block(&[(b"x", b"y")])).repeat(5000);
    let open = head(1, &get(), false);
    for (what, bytes) in [
        ("rapid resets", rapid),
        ("SETTINGS", frame(SETTINGS, 0, 0, &setting(4, 1)).repeat(5000)),
        ("PING", frame(PING, 0, 0, &[0; 8]).repeat(5000)),
        ("PRIORITY", frame(PRIORITY, 0, 9, &[0, 0, 0, 0, 1]).repeat(5000)),
        ("empty DATA", [open, frame(DATA, 0, 1, &[]).repeat(5000)].concat()),
        (
            "empty CONTINUATION",
            [
                frame(HEADERS, END_STREAM, 1, &block(&get())),
                frame(CONTINUATION, 0, 1, &[]).repeat(5000),
            ]
            .concat(),
        ),
        ("CONTINUATION", [frame(HEADERS, END_STREAM, 1, &block(&get())), pieces].concat()),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(5000)),
    ] {
        let mut client = Raw::greeted(cluster.frontend).await;
        client.send(&bytes).await;
        let heard = client.hear(u32::MAX).await;
        assert_eq!(heard, Heard::GoAway(ENHANCE_YOUR_CALM), "{what}");
        assert_eq!(client.hear(u32::MAX).await, Heard::Closed, "{what}");
    }
    assert!(cluster.view.stats().frontends[0].totals.http2.floods >= 6);
    let lines = records(&cluster, 6).await;
    assert!(lines.iter().filter(|it| it["error"] == "http2_flood").count() >= 6, "{lines:?}");
    assert_eq!(cluster.get("GET", b"").await.status(), 200, "nobody else noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_streams_than_were_offered() {
    let cluster = cluster(1, json!({"frontend": {"http2": {"max_concurrent_streams": 2}}})).await;
    cluster.nodes[0].set(crate::support::Mode::Deserted);
    let mut client = Raw::greeted(cluster.frontend).await;
    for stream in [1, 3, 5] {
        client.send(&head(stream, &get(), true)).await;
    }
    let heard = client.hear(5).await;
    assert!(matches!(heard, Heard::Reset(7 | PROTOCOL_ERROR)), "{heard:?}");
    testkit::wait::until("two are served", || async {
        (cluster.arrivals().len() == 2).then_some(())
    })
    .await;
    assert_eq!(cluster.view.stats().frontends[0].totals.http2.streams, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_begins_otherwise_is_no_client() {
    let cluster = cluster(1, json!({})).await;
    let mut client = Raw::open(cluster.frontend).await;
    client.send(PREFACE).await;
    // SETTINGS come first (§3.4).
    client.send(&frame(PING, 0, 0, &[0; 8])).await;
    let heard = client.hear(1).await;
    assert!(matches!(heard, Heard::GoAway(PROTOCOL_ERROR) | Heard::Closed), "{heard:?}");
}
