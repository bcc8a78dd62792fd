//! Chunked bodies: the same payload, end and verdict in one piece and byte by byte; what is encoded is decoded to what it was.

use relay::{
    body::Transfer,
    chunked::ChunkedDecoder,
    framing::BodyFraming::{Chunked, Length, UntilClose},
    malformed::Malformed,
};

use crate::{Target, oracle};

/// See the module.
pub const TARGET: Target = Target {
    name: "chunked",
    check,
    words: &[
        b"\r\n",
        b"\n",
        b"\r",
        b"0\r\n",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n",
        b";a=b",
        b";a=\"b\\\"c\"",
        b";",
        b" ",
        b"\t",
        b"+",
        b"0x",
        b"-",
        b"A\r\n",
        b"ffffffffffffffff\r\n",
        b"10000000000000005\r\n",
        b"X: y\r\n",
        b"Content-Length: 1\r\n",
        b"Host: a\r\n",
        b" folded\r\n",
        b"\0",
    ],
    executions: 60_000,
};

/// Payload, bytes consumed, done.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<(Vec<u8>, usize, bool), Malformed> {
    let (mut decoder, mut payload, mut consumed) = (ChunkedDecoder::new(), Vec::new(), 0);
    for mut bytes in pieces {
        while !bytes.is_empty() && !decoder.is_done() {
            let piece = decoder.next(bytes)?;
            assert!(piece.consumed > 0);
            payload.extend_from_slice(&bytes[piece.payload]);
            consumed += piece.consumed;
            bytes = &bytes[piece.consumed..];
        }
    }
    Ok((payload, consumed, decoder.is_done()))
}

fn check(bytes: &[u8]) {
    let whole = decode(std::iter::once(bytes));
    assert_eq!(whole, decode(bytes.chunks(1)), "the same byte by byte");
    let verbatim = ChunkedDecoder::new().advance(bytes).map(|advance| (advance.consumed, advance.done));
    assert_eq!(verbatim, whole.clone().map(|(_, consumed, done)| (consumed, done)), "what is relayed is what was decoded");
    if let Ok((payload, consumed, true)) = whole {
        assert_eq!(oracle::read_chunked(bytes), Some((payload.clone(), consumed)), "the plain reading is the same");
        let mut written = Vec::new();
        let mut transfer = Transfer::new(Chunked, UntilClose);
        assert_eq!(transfer.rewrite(bytes, &mut written), Ok(consumed));
        assert!(transfer.is_done() && written == payload, "decoded on the way");
    }
    encode(bytes);
}

/// The bytes as a payload, sent in the pieces in which they happened to come: cut after every zero.
fn encode(payload: &[u8]) {
    if payload.is_empty() {
        return;
    }
    for incoming in [Length(payload.len() as u64), UntilClose] {
        let mut transfer = Transfer::new(incoming, Chunked);
        let mut out = Vec::new();
        for piece in payload.split_inclusive(|byte| *byte == b'0') {
            assert_eq!(transfer.rewrite(piece, &mut out), Ok(piece.len()));
        }
        assert_eq!(transfer.end(&mut out), Ok(()));
        assert_eq!(decode(std::iter::once(&out[..])), Ok((payload.to_vec(), out.len(), true)), "decoding undoes encoding");
        assert_eq!(oracle::read_chunked(&out), Some((payload.to_vec(), out.len())));
    }
}
