//! Chunked bodies: the same payload, end and verdict in one piece and byte by byte; what is encoded
//! is decoded to what it was.

use relay::{
    body::Transfer,
    chunked::{ChunkedDecoder, ChunkedRelay, Dialect},
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
fn decode<'a>(
    dialect: Dialect,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, usize, bool), Malformed> {
    let (mut decoder, mut payload, mut consumed) = (ChunkedDecoder::new(dialect), Vec::new(), 0);
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

/// What goes on to the next hop, and how many bytes were consumed.
fn relay<'a>(
    dialect: Dialect,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, usize), Malformed> {
    let (mut relay, mut out, mut consumed) = (ChunkedRelay::new(dialect), Vec::new(), 0);
    for mut bytes in pieces {
        while !bytes.is_empty() && !relay.is_done() {
            let passed = relay.pass(bytes)?;
            out.extend_from_slice(&bytes[..passed]);
            let rewritten = relay.rewrite(&bytes[passed..], &mut out)?;
            assert!(passed + rewritten > 0);
            consumed += passed + rewritten;
            bytes = &bytes[passed + rewritten..];
        }
    }
    Ok((out, consumed))
}

fn check(bytes: &[u8]) {
    for dialect in [Dialect::Strict, Dialect::Response, Dialect::Relaxed, Dialect::BareLf] {
        let whole = decode(dialect, std::iter::once(bytes));
        assert_eq!(whole, decode(dialect, bytes.chunks(1)), "the same byte by byte");
        let relayed = relay(dialect, std::iter::once(bytes));
        let consumed = |relayed: &Result<(Vec<u8>, usize), Malformed>| {
            relayed.clone().map(|(_, consumed)| consumed)
        };
        assert_eq!(
            consumed(&relayed),
            whole.clone().map(|(_, consumed, _)| consumed),
            "what is relayed is what was decoded"
        );
        assert_eq!(consumed(&relayed), consumed(&relay(dialect, bytes.chunks(1))));
        if let (Ok((payload, _, true)), Ok((out, _))) = (&whole, &relayed) {
            plain(out, payload);
        }
        if let (Dialect::Strict, Ok((payload, consumed, true))) = (dialect, whole) {
            assert_eq!(
                oracle::read_chunked(bytes),
                Some((payload, consumed)),
                "the plain reading is the same"
            );
        }
    }
    encode(bytes);
}

/// What the next hop gets: the payload, in the plainest chunks.
fn plain(out: &[u8], payload: &[u8]) {
    assert_eq!(
        oracle::read_chunked(out),
        Some((payload.to_vec(), out.len())),
        "the plain reading is the same"
    );
    assert_eq!(
        decode(Dialect::Strict, std::iter::once(out)),
        Ok((payload.to_vec(), out.len(), true))
    );
    let mut again = ChunkedRelay::new(Dialect::Strict);
    assert_eq!(
        again.pass(out).map(|passed| passed == out.len() || out.ends_with(b"\r\n\r\n")),
        Ok(true),
        "nothing is left to write anew"
    );
    let mut written = Vec::new();
    let mut transfer = Transfer::new(Chunked, UntilClose, Dialect::Strict);
    assert_eq!(transfer.rewrite(out, &mut written), Ok(out.len()));
    assert!(transfer.is_done() && written == payload, "decoded on the way");
}

/// The bytes as a payload, sent in the pieces in which they happened to come: cut after every zero.
fn encode(payload: &[u8]) {
    if payload.is_empty() {
        return;
    }
    for incoming in [Length(payload.len() as u64), UntilClose] {
        let mut transfer = Transfer::new(incoming, Chunked, Dialect::Strict);
        let mut out = Vec::new();
        for piece in payload.split_inclusive(|byte| *byte == b'0') {
            assert_eq!(transfer.rewrite(piece, &mut out), Ok(piece.len()));
        }
        assert_eq!(transfer.end(&mut out), Ok(()));
        assert_eq!(
            decode(Dialect::Strict, std::iter::once(&out[..])),
            Ok((payload.to_vec(), out.len(), true)),
            "decoding undoes encoding"
        );
        assert_eq!(oracle::read_chunked(&out), Some((payload.to_vec(), out.len())));
    }
}
