use http::{
    Request,
    uri::{self, Authority, PathAndQuery},
};
use proptest::prelude::*;
use relay::{
    field::Field,
    framing::BodyFraming,
    head::{Limits, Progress, RequestHead},
    malformed::Malformed,
};

use super::*;

/// Nobody's business but the origins'.
const NONE: Own<'static> = Own { name: None, address: None, secure: false };

/// What a stream begins with.
#[derive(Clone, Debug, Default)]
struct Pseudo<'a> {
    method: &'a str,
    scheme: &'a str,
    authority: &'a str,
    path: &'a str,
}

/// The head as the `h2` crate hands it over; none: it refuses it.
fn parts(pseudo: &Pseudo<'_>, fields: &[(&str, &[u8])]) -> Option<Parts> {
    let connect = pseudo.method == "CONNECT";
    if [pseudo.scheme, pseudo.path].iter().any(|it| it.is_empty() != connect) {
        return None;
    }
    let mut uri = uri::Parts::default();
    if !pseudo.authority.is_empty() {
        uri.authority = Some(Authority::try_from(pseudo.authority).ok()?);
        if !pseudo.scheme.is_empty() {
            uri.scheme = Some(pseudo.scheme.parse().ok()?);
        }
    }
    if !pseudo.path.is_empty() {
        uri.path_and_query = Some(PathAndQuery::try_from(pseudo.path).ok()?);
    }
    let mut request = Request::builder().method(pseudo.method).uri(uri);
    for (name, value) in fields {
        let name = HeaderName::from_lowercase(name.as_bytes()).ok()?;
        request = request.header(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(request.body(()).ok()?.into_parts().0)
}

fn get<'a>(path: &'a str) -> Pseudo<'a> {
    Pseudo { method: "GET", scheme: "http", authority: "a.test", path }
}

fn translated(pseudo: &Pseudo<'_>, fields: &[(&str, &[u8])], ends: bool) -> (String, Body) {
    let parts = parts(pseudo, fields).expect("a head");
    let head = translate(&parts, ends, NONE).expect("a request");
    (String::from_utf8(head.bytes).expect("text"), head.body)
}

/// None: the `h2` crate refuses it before.
fn refusal(pseudo: &Pseudo<'_>, fields: &[(&str, &[u8])]) -> Option<Refused> {
    let parts = parts(pseudo, fields)?;
    Some(translate(&parts, true, NONE).expect_err("a refusal"))
}

#[test]
fn one_spelling() {
    let post = Pseudo { method: "POST", ..get("/x?y=1") };
    for (pseudo, fields, ends, text, body) in [
        (
            get("/"),
            &[("accept", &b"*/*"[..]), ("te", b"trailers")][..],
            true,
            "GET http://a.test/ HTTP/1.1\r\nhost: a.test\r\naccept: */*\r\n",
            Body::None,
        ),
        (
            post.clone(),
            &[("content-length", b"3"), ("host", b"A.test:80")],
            false,
            "POST http://a.test/x?y=1 HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n",
            Body::Length,
        ),
        (
            post.clone(),
            &[],
            false,
            "POST http://a.test/x?y=1 HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n",
            Body::Chunked,
        ),
        (
            post,
            &[],
            true,
            "POST http://a.test/x?y=1 HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n",
            Body::None,
        ),
        (
            get("/"),
            &[("cookie", b"a=1"), ("x", b"1"), ("cookie", b"b=2"), ("x", b"")],
            true,
            "GET http://a.test/ HTTP/1.1\r\nhost: a.test\r\nx: 1\r\nx: \r\ncookie: a=1; b=2\r\n",
            Body::None,
        ),
        (
            Pseudo { method: "CONNECT", authority: "b.test:443", ..Pseudo::default() },
            &[],
            false,
            "CONNECT b.test:443 HTTP/1.1\r\nhost: b.test:443\r\n",
            Body::Tunnel,
        ),
        (
            Pseudo { method: "OPTIONS", ..get("*") },
            &[],
            true,
            "OPTIONS http://a.test HTTP/1.1\r\nhost: a.test\r\n",
            Body::None,
        ),
        // Without an authority it is for the balancer.
        (
            Pseudo { authority: "", ..get("/health") },
            &[("host", b"b")],
            true,
            "GET /health HTTP/1.1\r\nhost: b\r\n",
            Body::None,
        ),
    ] {
        let (got, framing) = translated(&pseudo, fields, ends);
        assert_eq!(got, format!("{text}connection: close\r\n\r\n"), "{pseudo:?} {fields:?}");
        assert_eq!(framing, body, "{pseudo:?}");
    }
}

#[test]
fn what_would_not_survive_is_refused() {
    for (pseudo, fields, why) in [
        (get("x"), &[][..], Refused::Path),
        (get("*"), &[], Refused::Path),
        (get("?x"), &[], Refused::Path),
        (get("/"), &[("host", &b"b.test"[..])], Refused::Host),
        (get("/"), &[("host", b"a.test:81")], Refused::Host),
        (get("/"), &[("host", b"a.test"), ("host", b"a.test")], Refused::Host),
        (get("/"), &[("x", b" 1")], Refused::Blank),
        (get("/"), &[("x", b"1\t")], Refused::Blank),
        (get("/"), &[("cookie", b"a=1 ")], Refused::Blank),
        (get("/"), &[("content-length", b"1")], Refused::Length),
        (get("/"), &[("content-length", b"0"), ("content-length", b"x")], Refused::Length),
        (get("/"), &[("connection", b"close")], Refused::ConnectionSpecific),
        (get("/"), &[("transfer-encoding", b"chunked")], Refused::ConnectionSpecific),
        (get("/"), &[("keep-alive", b"x")], Refused::ConnectionSpecific),
        (get("/"), &[("proxy-connection", b"x")], Refused::ConnectionSpecific),
        (get("/"), &[("upgrade", b"x")], Refused::ConnectionSpecific),
        (get("/"), &[("http2-settings", b"x")], Refused::ConnectionSpecific),
    ] {
        let refused = refusal(&pseudo, fields);
        let by_h2 = why == Refused::Path && refused.is_none();
        assert!(by_h2 || refused == Some(why), "{pseudo:?} {fields:?}: {refused:?}");
    }
    let nowhere = parts(&Pseudo { method: "CONNECT", ..Pseudo::default() }, &[]);
    // Not even a URI.
    assert!(nowhere.is_none_or(|it| translate(&it, false, NONE) == Err(Refused::NoAuthority)));
}

#[test]
fn who_asks_the_balancer_itself() {
    let own = |secure| Own {
        name: Some("p.test"),
        address: Some("192.0.2.1:8443".parse().expect("an address")),
        secure,
    };
    for (scheme, authority, secure, ours) in [
        ("https", "P.test:8443", true, true),
        ("https", "192.0.2.1:8443", true, true),
        ("https", "p.test", true, false),
        ("http", "p.test:8443", true, false),
        ("https", "p.test:8443", false, false),
        ("http", "192.0.2.1:8443", false, true),
        ("https", "q.test:8443", true, false),
    ] {
        let asked = parts(&Pseudo { scheme, authority, ..get("/stats") }, &[]).expect("a head");
        let head = translate(&asked, true, own(secure)).expect("a request").bytes;
        assert_eq!(head.starts_with(b"GET /stats "), ours, "{scheme}://{authority} {secure}");
    }
}

#[test]
fn trailers_end_a_body_in_chunks() {
    let mut out = Vec::new();
    last_chunk(&mut out, None).expect("an end");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    last_chunk(&mut out, Some(&trailers)).expect("an end");
    assert_eq!(out, b"0\r\n\r\n0\r\nx-sum: 1\r\n\r\n");
    trailers.insert("x-sum", HeaderValue::from_static(" 1"));
    assert_eq!(last_chunk(&mut out, Some(&trailers)), Err(Refused::Blank));
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    trailers.insert("connection", HeaderValue::from_static("x"));
    assert_eq!(last_chunk(&mut out, Some(&trailers)), Err(Refused::ConnectionSpecific));
}

/// What the parser of all requests says of the translation.
fn judged(head: &Head) -> Result<RequestHead, Malformed> {
    let mut parsed = RequestHead::new();
    let progress = parsed.parse(&head.bytes, &Limits::default())?;
    assert_eq!(progress, Progress::Complete(head.bytes.len()), "one request, and all of it");
    Ok(parsed)
}

/// Whatever HTTP/1.1 refuses it refuses here.
#[test]
fn the_parser_judges_as_ever() {
    use Malformed::{Authority, ContentLength, Scheme, SeveralContentLengths, UnexpectedBody};
    let connect = Pseudo { method: "CONNECT", authority: "b:443", ..Pseudo::default() };
    for (pseudo, fields, ends, why) in [
        (get("/"), &[("content-length", &b"+1"[..])][..], false, ContentLength),
        (get("/"), &[("content-length", b"1, 1")], false, ContentLength),
        (
            get("/"),
            &[("content-length", b"1"), ("content-length", b"1")],
            false,
            SeveralContentLengths,
        ),
        (Pseudo { scheme: "ftp", ..get("/") }, &[], true, Scheme),
        (Pseudo { authority: "u@a.test", ..get("/") }, &[], true, Authority),
        (connect.clone(), &[("content-length", b"1")], false, UnexpectedBody),
    ] {
        let parts = parts(&pseudo, fields).expect("a head");
        let head = translate(&parts, ends, NONE).expect("a request");
        assert_eq!(judged(&head).map(|_| ()), Err(why), "{pseudo:?} {fields:?}");
    }
}

fn text(usual: &'static [&'static str], odd: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![6 => proptest::sample::select(usual).prop_map(str::to_owned), 1 => odd]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let usual: &[&[u8]] = &[b"", b"a", b"a.test", b"3", b"chunked", b"100-continue", b"trailers"];
    prop_oneof![
        4 => proptest::sample::select(usual).prop_map(<[u8]>::to_vec),
        2 => proptest::collection::vec(any::<u8>(), 0..12),
        2 => proptest::collection::vec(
            proptest::sample::select(b"\r\n\0\t :aGET/1.HTP".to_vec()), 0..24),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn one_request_of_the_same_meaning_or_none(
        method in text(&["GET", "POST", "CONNECT", "OPTIONS", "HEAD", "PRI", "get"], "\\PC{0,6}"),
        scheme in text(&["http", "https", ""], "[a-z+:/ ]{0,6}"),
        authority in text(
            &["a.test", "a.test:80", "[::1]:8", "", "a.test:443", "u@a"], "[ -~\r\n]{0,12}"),
        path in text(&["/", "/x?y", "*", "", "/a b", "x", "/%0d%0a", "#x"], "[ -~\r\n\t]{0,12}"),
        fields in proptest::collection::vec((text(
            &["host", "accept", "cookie", "te", "content-length", "transfer-encoding", "expect",
              "connection", "x-a", "upgrade", "proxy-connection", "http2-settings"],
            "[ -~\r\n]{0,8}"), value()), 0..6),
        ends: bool,
    ) {
        let (path, authority) = (&*path, &*authority);
        let pseudo = Pseudo { method: &method, scheme: &scheme, authority, path };
        let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let Some(parts) = parts(&pseudo, &fields) else { return Ok(()) };
        let Ok(head) = translate(&parts, ends, NONE) else { return Ok(()) };
        let Ok(parsed) = judged(&head) else { return Ok(()) };
        let view = parsed.view(&head.bytes);
        prop_assert_eq!(view.method_text(), &*method);
        // What follows `#` is no part of a target, and the `http` crate has cut it off; it has a
        // slash where nothing is left.
        let path = match path.split('#').next() {
            Some("") if !path.is_empty() => "/",
            before => before.unwrap_or_default(),
        };
        let asterisk = path == "*" && method == "OPTIONS";
        let target = match &*method {
            "CONNECT" => authority.to_owned(),
            _ if authority.is_empty() || scheme.is_empty() => path.to_owned(),
            _ => format!("{scheme}://{authority}{}", if asterisk { "" } else { path }),
        };
        prop_assert_eq!(view.target_text(), target);
        let framed = match head.body {
            Body::None | Body::Tunnel => parsed.framing().is_empty(),
            Body::Length => matches!(parsed.framing(), BodyFraming::Length(_)),
            Body::Chunked => parsed.framing() == BodyFraming::Chunked,
        };
        prop_assert!(framed, "{:?} {:?}", head.body, parsed.framing());
        prop_assert!(!parsed.persistent(), "nothing is read behind it");
        let written = [Field::Host, Field::Connection, Field::TransferEncoding, Field::Cookie];
        let got: Vec<_> = view.fields()
            .filter(|line| !written.contains(&line.field))
            .map(|line| (line.name.to_vec(), line.value.to_vec()))
            .collect();
        for (name, value) in &got {
            let said = fields.iter().any(|(it, said)| it.as_bytes() == name && *said == &**value);
            let ours = name == b"content-length" && value == b"0" && head.body == Body::None;
            prop_assert!(said || ours, "{name:?}: {value:?}");
        }
        let dropped = ["host", "te", "cookie"];
        let kept = fields.iter().filter(|(name, _)| !dropped.contains(name)).count();
        prop_assert!(got.len() >= kept, "{got:?} of {fields:?}");
    }
}
