//! Properties over generated heads: most well-formed, some with one thing wrong, some noise.

use proptest::prelude::*;
use relay::field::{Field, FieldSet};
use relay::head::{HeaderLine, Limits, Progress};
use relay::hygiene;
use relay::method::Method;
use relay::rewrite::{BodyFields, HeadWriter, LineForm};

use super::{byte_by_byte, request, request_in, response, response_in};

fn field_line() -> impl Strategy<Value = String> {
    let usual = prop_oneof![
        Just("Host: a.example:80"),
        Just("host: [::1]"),
        Just("Content-Length: 12"),
        Just("content-length:5 "),
        Just("Transfer-Encoding: chunked"),
        Just("transfer-encoding:  CHUNKED\t"),
        Just("Connection: close"),
        Just("Connection: x, keep-alive"),
        Just("Proxy-Connection: keep-alive"),
        Just("Via: 1.1 a, 1.0 b"),
        Just("X-Forwarded-For: 1.2.3.4"),
        Just("Expect: 100-continue"),
        Just("X: "),
        Just("x:y"),
    ]
    .prop_map(str::to_owned);
    let made = "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,40}:[ \t]{0,2}[ -~\t\u{80}-\u{ff}]{0,80}";
    let broken = prop_oneof![
        Just(" folded"),
        Just("\tand folded; as=it-is"),
        Just(" folded: or not"),
        Just("a : b"),
        Just("Content-Length: 012"),
        Just("Content-Length: 12, 12"),
        Just("Transfer-Encoding : chunked"),
        Just(": b"),
        Just("none"),
        Just("a: b\nc: d"),
        Just("a: b\rc"),
        Just("a: \0"),
        Just("a: \x7f"),
        Just("é: b"),
        Just("Content-Length: +1"),
        Just("Host: b"),
        Just("Transfer-Encoding: gzip"),
    ]
    .prop_map(str::to_owned);
    prop_oneof![6 => usual, 6 => made, 1 => broken]
}

fn lines(first: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    let ending =
        prop_oneof![20 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\r\n")];
    let fields = prop_oneof![
        6 => proptest::collection::vec((field_line(), ending), 0..12),
        1 => proptest::collection::vec((field_line(), Just("\n")), 0..12),
    ];
    (first, fields, prop_oneof![8 => Just("\r\n"), 1 => Just(""), 1 => Just("\n")], ".{0,10}")
        .prop_map(|(first, fields, end, rest)| {
            let fields: String = fields.into_iter().map(|(field, ending)| field + ending).collect();
            format!("{first}{fields}{end}{rest}").into_bytes()
        })
}

fn request_bytes() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => Just("GET http://a.example/x?y HTTP/1.1\r\nHost: a\r\n"),
        4 => Just("POST / HTTP/1.1\r\nHost: b\r\n"),
        2 => Just("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n"),
        2 => Just("\r\nOPTIONS http://a HTTP/1.1\r\n"),
        2 => Just("GET http://a?q HTTP/1.0\r\n"),
        1 => Just("GET / HTTP/1.1\n"),
        1 => Just("\r\n\r\nGET / HTTP/1.1\r\n"),
        1 => Just("GET /a#b HTTP/1.1\r\n"),
        1 => Just("GET / HTTP/2.0\r\n"),
        2 => Just("GET http://a:080/ HTTP/1.2\r\n"),
        1 => Just("CONNECT a:0443 HTTP/1.1\r\n"),
        1 => Just("GET  / HTTP/1.1\r\n"),
    ]
    .prop_map(str::to_owned);
    let noise = proptest::collection::vec(
        proptest::sample::select(b"GET / HTTP/1.1\r\n\r\n:: aA\t\0\xff".to_vec()),
        0..60,
    );
    prop_oneof![8 => lines(first), 1 => noise, 1 => proptest::collection::vec(any::<u8>(), 0..80)]
}

fn response_bytes() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => Just("HTTP/1.1 200 OK\r\n"),
        2 => Just("HTTP/1.1 304 Not Modified\r\n"),
        2 => Just("HTTP/1.1 204\r\n"),
        2 => Just("HTTP/1.0 404 \r\n"),
        2 => Just("HTTP/1.1 100 Continue\r\n"),
        1 => Just("HTTP/1.1 20 OK\r\n"),
        1 => Just("\r\nHTTP/1.1 200 OK\r\n"),
        2 => Just("HTTP/1.1 200 OK\n"),
        2 => Just("HTTP/1.3 200 OK\r\n"),
        1 => Just("HTTP/1.1 200 \u{e9}\r\n"),
        1 => Just("HTTP/1.1 200OK\r\n"),
    ]
    .prop_map(str::to_owned);
    let noise = proptest::collection::vec(
        proptest::sample::select(b"HTTP/1.1 200 OK\r\n\r\n:: aA\t\0\xff".to_vec()),
        0..60,
    );
    prop_oneof![8 => lines(first), 1 => noise, 1 => proptest::collection::vec(any::<u8>(), 0..80)]
}

fn cut<'a>(bytes: &'a [u8], cuts: &[proptest::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// Small, so that the limits are met too.
const SMALL: Limits = Limits { head: 300, target: 20, fields: 6, relaxed: false };

/// The lines that are not about one hop or about framing: they must arrive as they are.
fn end_to_end<'a>(
    lines: impl Iterator<Item = HeaderLine<'a>>,
    dropped: FieldSet,
) -> Vec<(&'a [u8], &'a [u8])> {
    let replaced = FieldSet::of(&[
        Field::Host,
        Field::ContentLength,
        Field::TransferEncoding,
        Field::Trailer,
        Field::Expect,
    ]);
    lines
        .filter(|line| !line.nominated && !dropped.union(replaced).contains(line.field))
        .map(|line| (line.name, line.value))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn request_splits_change_nothing(
        bytes in request_bytes(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
    ) {
        for limits in [Limits::default(), SMALL] {
            let (whole, head) = request_in(&[&bytes], &limits);
            for pieces in [byte_by_byte(&bytes), cut(&bytes, &cuts)] {
                let (verdict, other) = request_in(&pieces, &limits);
                prop_assert_eq!(verdict, whole);
                if whole.is_ok_and(|progress| progress != Progress::NeedMore) {
                    prop_assert!(head.view(&bytes).fields().eq(other.view(&bytes).fields()));
                    prop_assert_eq!(head.framing(), other.framing());
                    prop_assert_eq!(head.persistent(), other.persistent());
                    prop_assert_eq!(head.method(), other.method());
                    prop_assert_eq!(head.view(&bytes).target(), other.view(&bytes).target());
                }
            }
        }
    }

    #[test]
    fn response_splits_change_nothing(
        bytes in response_bytes(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
    ) {
        let default = Limits::default();
        for limits in [default, SMALL, default.relaxed(true), SMALL.relaxed(true)] {
            let (whole, head) = response_in(&[&bytes], &limits);
            for pieces in [byte_by_byte(&bytes), cut(&bytes, &cuts)] {
                let (verdict, other) = response_in(&pieces, &limits);
                prop_assert_eq!(verdict, whole);
                if whole.is_ok_and(|progress| progress != Progress::NeedMore) {
                    prop_assert!(head.view(&bytes).fields().eq(other.view(&bytes).fields()));
                    prop_assert_eq!(head.status(), other.status());
                    prop_assert_eq!(head.framing(Method::Get), other.framing(Method::Get));
                    prop_assert_eq!(head.view(&bytes).reason(), other.view(&bytes).reason());
                    prop_assert_eq!(head.is_sloppy(), other.is_sloppy());
                    prop_assert_eq!(head.dialect(), other.dialect());
                }
            }
        }
    }

    #[test]
    fn a_forwarded_request_is_the_same_request(bytes in request_bytes(), origin in any::<bool>()) {
        let (Ok(Progress::Complete(_)), head) = request(&bytes) else { return Ok(()) };
        let view = head.view(&bytes);
        let form = if origin { LineForm::Origin } else { LineForm::AsReceived };
        let mut out = Vec::new();
        let drop = hygiene::NODE_REQUEST;
        HeadWriter::request(&mut out, view, form, drop, BodyFields::AsReceived).finish();
        let (verdict, forwarded) = request(&out);
        if verdict == Err(relay::malformed::Malformed::BadHost) {
            // 1.0 without any Host: the next hop gets an empty one, and says so.
            prop_assert!(view.authority().is_none());
            return Ok(());
        }
        prop_assert_eq!(verdict, Ok(Progress::Complete(out.len())));
        let copy = forwarded.view(&out);
        prop_assert_eq!((copy.method_text(), copy.framing()), (view.method_text(), view.framing()));
        prop_assert_eq!(
            copy.authority().map(|authority| authority.plainly()),
            view.authority().map(|authority| authority.plainly())
        );
        prop_assert!(copy.authority().is_none_or(|authority| authority.is_plain()));
        prop_assert!(!copy.fields().any(|line| line.nominated || drop.contains(line.field)));
        prop_assert_eq!(end_to_end(copy.fields(), drop), end_to_end(view.fields(), drop));
    }

    #[test]
    fn a_forwarded_response_is_the_same_response(bytes in response_bytes()) {
        let limits = Limits::default().relaxed(true);
        let (Ok(Progress::Complete(_)), head) = response_in(&[&bytes], &limits) else {
            return Ok(());
        };
        let view = head.view(&bytes);
        let mut out = Vec::new();
        let drop = hygiene::NODE_RESPONSE;
        HeadWriter::response(&mut out, view, drop, BodyFields::AsReceived).finish();
        // The next hop reads strictly, and finds nothing odd.
        let (verdict, forwarded) = response(&out);
        prop_assert_eq!(verdict, Ok(Progress::Complete(out.len())));
        prop_assert!(!forwarded.is_sloppy());
        let copy = forwarded.view(&out);
        prop_assert_eq!((copy.status(), copy.reason()), (view.status(), view.reason()));
        for method in [Method::Get, Method::Head, Method::Connect] {
            prop_assert_eq!(forwarded.framing(method), head.framing(method));
        }
        prop_assert_eq!(end_to_end(copy.fields(), drop), end_to_end(view.fields(), drop));
    }
}
