//! The head of an answer from the cache.

use relay::{
    framing::BodyFraming,
    rewrite::{HeadWriter, Persistence, Piece},
};

use super::{delivery::Delivery, parts::Parts};
use crate::{
    cache::{
        object::Object,
        serve::{self, Serving},
    },
    compress::eligible,
    transaction::Transaction,
};

/// What is written of it.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    pub(super) serving: &'a Serving,
    pub(super) parts: Option<&'a Parts>,
    pub(super) framing: BodyFraming,
    /// The connection stays.
    pub(super) keep: bool,
    /// Others get it compressed.
    pub(super) varies: bool,
}

/// Writes the head of a stored response into the transaction's buffer.
pub(super) fn write(transaction: &mut Transaction, delivery: &Delivery, shape: &Shape<'_>) {
    let Shape { serving, parts, framing, keep, varies } = *shape;
    let (object, age) = (&*delivery.object, delivery.age);
    let mut out = std::mem::take(&mut transaction.out);
    out.clear();
    begin(&mut out, object, serving);
    let mut head = HeadWriter::resume(&mut out);
    match serving {
        Serving::Part(part, length) => {
            head.field(
                "Content-Range",
                format!("bytes {}-{}/{length}", part.start, part.end - 1).as_bytes(),
            );
        }
        Serving::Unsatisfiable(length) => {
            head.field("Content-Range", format!("bytes */{length}").as_bytes())
        }
        Serving::Parts(..) | Serving::Whole | Serving::NotModified => {}
    }
    if let Some(parts) = parts {
        head.field("Content-Type", parts.media_type().as_bytes());
    }
    if varies && !eligible::names_accept_encoding(object) {
        head.field("Vary", b"Accept-Encoding");
    }
    // RFC 9111 §5.1: its presence says that the answer was not made for this request.
    if delivery.status.is_none() || age > 0 {
        head.number("Age", age);
    }
    match framing {
        BodyFraming::Length(length) if !matches!(object.status, 204 | 304) => {
            head.number("Content-Length", length)
        }
        BodyFraming::Chunked => head.field("Transfer-Encoding", b"chunked"),
        _ => {}
    }
    for line in delivery.cookies.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        head.field("Set-Cookie", line);
    }
    let name = Piece::Text(transaction.local.node.cache_name.as_bytes());
    match &delivery.status {
        Some(detail) => {
            head.pieces("Cache-Status", &[name, Piece::Text(b"; "), Piece::Text(detail.as_bytes())])
        }
        None => {
            let seconds = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            let left = seconds(object.freshness.lifetime).saturating_sub(seconds(age));
            // RFC 9211 §2.4: a stale one has none left.
            let stale: &[u8] = if left > 0 { b"" } else { b"; detail=stale" };
            head.pieces(
                "Cache-Status",
                &[name, Piece::Text(b"; hit; ttl="), Piece::Number(left), Piece::Text(stale)],
            );
        }
    }
    transaction.tell_origin(&mut head, object.from);
    transaction.common_fields(&mut head, delivery.took);
    head.connection(Persistence::of(keep, transaction.version));
    head.finish();
    transaction.out = out;
    if transaction.generation.logged {
        transaction.record.media_type = object.media_type.clone();
    }
}

/// Whether a field goes with an answer.
type Keeps = fn(&[u8]) -> bool;

/// Status line and fields of what is stored, as far as they go with what is served.
fn begin(out: &mut Vec<u8>, object: &Object, serving: &Serving) {
    let (line, keeps): (&[u8], Keeps) = match serving {
        Serving::Whole => return out.extend_from_slice(&object.head),
        Serving::NotModified => (b"HTTP/1.1 304 Not Modified\r\n", serve::goes_with_304),
        Serving::Part(..) => (b"HTTP/1.1 206 Partial Content\r\n", |_| true),
        // Each part has its own.
        Serving::Parts(..) => (b"HTTP/1.1 206 Partial Content\r\n", |name| {
            !name.eq_ignore_ascii_case(b"content-type")
        }),
        Serving::Unsatisfiable(_) => {
            (b"HTTP/1.1 416 Range Not Satisfiable\r\n", serve::goes_with_416)
        }
    };
    out.extend_from_slice(line);
    for (name, value) in object.fields().filter(|(name, _)| keeps(name)) {
        for part in [name, b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
}
