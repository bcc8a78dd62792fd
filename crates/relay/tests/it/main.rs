//! The codec from outside: what is refused and why, what is accepted, that no split of the bytes
//! changes anything, and that what is forwarded means what was received.

mod accepted;
mod properties;
mod refusals;
mod rewriting;
mod speed;

use relay::head::{Limits, Progress, RequestHead, ResponseHead};
use relay::malformed::Malformed;

/// The verdict on a request head that comes in these pieces, and the head.
fn request_in(pieces: &[&[u8]], limits: &Limits) -> (Result<Progress, Malformed>, RequestHead) {
    let (mut head, mut bytes) = (RequestHead::new(), Vec::new());
    for piece in pieces {
        bytes.extend_from_slice(piece);
        match head.parse(&bytes, limits) {
            Ok(Progress::NeedMore) => {}
            verdict => return (verdict, head),
        }
    }
    (Ok(Progress::NeedMore), head)
}

fn response_in(pieces: &[&[u8]], limits: &Limits) -> (Result<Progress, Malformed>, ResponseHead) {
    let (mut head, mut bytes) = (ResponseHead::new(), Vec::new());
    for piece in pieces {
        bytes.extend_from_slice(piece);
        match head.parse(&bytes, limits) {
            Ok(Progress::NeedMore) => {}
            verdict => return (verdict, head),
        }
    }
    (Ok(Progress::NeedMore), head)
}

fn request(bytes: &[u8]) -> (Result<Progress, Malformed>, RequestHead) {
    request_in(&[bytes], &Limits::default())
}

fn response(bytes: &[u8]) -> (Result<Progress, Malformed>, ResponseHead) {
    response_in(&[bytes], &Limits::default())
}

fn byte_by_byte(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.chunks(1).collect()
}
