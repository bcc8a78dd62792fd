//! How long the codec takes for a usual exchange; printed, not asserted: `cargo test … --test it
//! -- --ignored --nocapture speed`.

use std::hint::black_box;

use relay::framing::BodyFraming;
use relay::head::{Limits, RequestHead, ResponseHead};
use relay::hygiene;
use relay::rewrite::{BodyFields, HeadWriter, LineForm, Persistence};

const REQUEST: &[u8] = b"GET http://origin.example:8000/some/path/file.bin?x=1 HTTP/1.1\r\nHost: \
    origin.example:8000\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 \
    Firefox/140.0\r\nAccept: \
    text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: \
    en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nProxy-Connection: \
    keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: \
    origin\r\nContent-Type: application/octet-stream\r\nContent-Length: 1024\r\nETag: \
    \"0123456789abcdef\"\r\nCache-Control: max-age=60\r\nShoal-Origin-Time: 3\r\nConnection: \
    keep-alive\r\n\r\n";

fn measure(what: &str, mut once: impl FnMut()) {
    const ROUNDS: u32 = 200_000;
    let best = (0..5)
        .map(|_| {
            let start = relay::clock::now();
            (0..ROUNDS).for_each(|_| once());
            relay::clock::since(start) / ROUNDS
        })
        .min();
    println!("{what}: {best:?}");
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    let (mut head, limits, mut out) =
        (RequestHead::new(), Limits::default(), Vec::with_capacity(4096));
    measure("parse a request", || {
        assert!(black_box(head.parse(black_box(REQUEST), &limits)).is_ok());
    });
    measure("rewrite a request", || {
        out.clear();
        let view = head.view(REQUEST);
        let mut writer = HeadWriter::request(
            &mut out,
            view,
            LineForm::AsReceived,
            hygiene::BALANCER_REQUEST,
            BodyFields::AsReceived,
        );
        writer.field("Shoal-Request-Id", b"0190a0a0-0000-7000-8000-000000000000");
        writer.forwarded_for(None, "127.0.0.1");
        writer.finish();
        black_box(&out);
    });
    let mut response = ResponseHead::new();
    measure("parse a response", || {
        assert!(black_box(response.parse(black_box(RESPONSE), &limits)).is_ok());
    });
    measure("rewrite a response", || {
        out.clear();
        let mut writer = HeadWriter::response(
            &mut out,
            response.view(RESPONSE),
            hygiene::BALANCER_RESPONSE,
            BodyFields::Set(BodyFraming::Length(1024)),
        );
        writer.connection(Persistence::Implied);
        writer.finish();
        black_box(&out);
    });
}
