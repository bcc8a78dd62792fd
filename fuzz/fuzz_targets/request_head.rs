//! Request heads: no panic, the same verdict byte by byte, and a forwarded head that means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relay::head::{Limits, Progress, RequestHead};
use relay::hygiene;
use relay::rewrite::{BodyFields, HeadWriter, LineForm};

const LIMITS: Limits = Limits { head: 2048, target: 256, fields: 16 };

fuzz_target!(|bytes: &[u8]| {
    let (mut head, mut dripped) = (RequestHead::new(), RequestHead::new());
    let whole = head.parse(bytes, &LIMITS);
    let mut drip = Ok(Progress::NeedMore);
    for len in 1..=bytes.len() {
        drip = dripped.parse(&bytes[..len], &LIMITS);
        if drip != Ok(Progress::NeedMore) {
            break;
        }
    }
    assert_eq!(whole, drip);
    let Ok(Progress::Complete(len)) = whole else { return };
    let view = head.view(bytes);
    assert!(bytes[..len].ends_with(b"\r\n\r\n"));
    assert!(view.fields().eq(dripped.view(bytes).fields()));
    let mut out = Vec::new();
    HeadWriter::request(&mut out, view, LineForm::Origin, hygiene::NODE_REQUEST, BodyFields::AsReceived).finish();
    let mut forwarded = RequestHead::new();
    match forwarded.parse(&out, &Limits::default()) {
        Ok(Progress::Complete(len)) => {
            assert_eq!(len, out.len());
            assert_eq!(forwarded.framing(), head.framing());
            assert_eq!(forwarded.view(&out).method_text(), view.method_text());
            assert_eq!(forwarded.view(&out).authority(), view.authority());
        }
        // 1.0 without Host is the one request that has no authority to pass on.
        verdict => assert!(view.authority().is_none(), "{verdict:?}"),
    }
});
