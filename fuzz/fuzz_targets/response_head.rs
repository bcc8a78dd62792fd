//! Response heads: no panic, the same verdict byte by byte, and a forwarded head that means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relay::head::{Limits, Progress, ResponseHead};
use relay::hygiene;
use relay::method::Method;
use relay::proxy_status;
use relay::rewrite::{BodyFields, HeadWriter};

const LIMITS: Limits = Limits { head: 2048, target: 256, fields: 16 };

fuzz_target!(|bytes: &[u8]| {
    let (mut head, mut dripped) = (ResponseHead::new(), ResponseHead::new());
    let whole = head.parse(bytes, &LIMITS);
    let mut drip = Ok(Progress::NeedMore);
    for len in 1..=bytes.len() {
        drip = dripped.parse(&bytes[..len], &LIMITS);
        if drip != Ok(Progress::NeedMore) {
            break;
        }
    }
    assert_eq!(whole, drip);
    let Ok(Progress::Complete(_)) = whole else { return };
    let view = head.view(bytes);
    assert!(view.fields().eq(dripped.view(bytes).fields()));
    assert!(proxy_status::error_of(view.lines(), "node").is_none_or(|error| error.len() < bytes.len()));
    let mut out = Vec::new();
    HeadWriter::response(&mut out, view, hygiene::NODE_RESPONSE, BodyFields::AsReceived).finish();
    let mut forwarded = ResponseHead::new();
    assert_eq!(forwarded.parse(&out, &Limits::default()), Ok(Progress::Complete(out.len())));
    assert_eq!((forwarded.status(), forwarded.view(&out).reason()), (head.status(), view.reason()));
    for method in [Method::Get, Method::Head, Method::Connect] {
        assert_eq!(forwarded.framing(method), head.framing(method));
    }
});
