//! Response heads from origins, as the answer to several methods.

use relay::{
    field::Field,
    head::{HeaderLine, Limits, Progress, ResponseHead},
    hygiene,
    method::Method,
    proxy_status,
    rewrite::{BodyFields, HeadWriter},
};

use super::{HEAD_WORDS, SMALL};
use crate::{Target, oracle};

/// See the module.
pub const TARGET: Target =
    Target { name: "response_head", check, words: HEAD_WORDS, executions: 40_000 };

fn check(bytes: &[u8]) {
    for relaxed in [false, true] {
        check_as(bytes, &SMALL.relaxed(relaxed));
    }
}

fn check_as(bytes: &[u8], limits: &Limits) {
    let (mut head, mut dripped) = (ResponseHead::new(), ResponseHead::new());
    let whole = head.parse(bytes, limits);
    let mut drip = Ok(Progress::NeedMore);
    for len in 1..=bytes.len() {
        drip = dripped.parse(&bytes[..len], limits);
        if drip != Ok(Progress::NeedMore) {
            break;
        }
    }
    assert_eq!(whole, drip, "the same verdict byte by byte");
    let Ok(Progress::Complete(_)) = whole else { return };
    let view = head.view(bytes);
    assert!(view.fields().eq(dripped.view(bytes).fields()));
    if let Some(error) = proxy_status::error_of(view.lines(), "node") {
        let error = error.as_str().as_bytes();
        assert!(bytes.windows(error.len()).any(|part| part == error), "it is there");
    }

    let mut out = Vec::new();
    HeadWriter::response(&mut out, view, hygiene::NODE_RESPONSE, BodyFields::AsReceived).finish();
    let (_, fields) = oracle::read_head(&out);
    let plain = |line: HeaderLine<'_>| {
        (String::from_utf8_lossy(line.name).to_ascii_lowercase(), oracle::plain_value(line.value))
    };
    assert!(
        oracle::read_folded(&bytes[..head.len()]).into_iter().eq(view.fields().map(plain)),
        "folded lines are one value each"
    );
    let nominated = oracle::nominated(view.bytes());
    for (name, _) in &fields {
        let field = Field::classify(name.as_bytes());
        assert!(!hygiene::NODE_RESPONSE.contains(field), "{name} is not for the client");
        assert!(
            hygiene::NEVER_NOMINATED.contains(field) || !nominated.contains(name),
            "{name} was nominated in Connection"
        );
    }
    let mut forwarded = ResponseHead::new();
    // What goes on is plain, whatever came.
    assert_eq!(forwarded.parse(&out, &Limits::default()), Ok(Progress::Complete(out.len())));
    assert!(!forwarded.is_sloppy());
    assert_eq!((forwarded.status(), forwarded.view(&out).reason()), (head.status(), view.reason()));
    for method in [Method::Get, Method::Head, Method::Post, Method::Options, Method::Connect] {
        assert_eq!(
            forwarded.framing(method),
            head.framing(method),
            "the same body after {method:?}"
        );
    }
}
