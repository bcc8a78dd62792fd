//! Chunked bodies: no panic, the same payload, end and verdict in one piece and byte by byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relay::chunked::ChunkedDecoder;
use relay::malformed::Malformed;

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

fuzz_target!(|bytes: &[u8]| {
    let whole = decode(std::iter::once(bytes));
    assert_eq!(whole, decode(bytes.chunks(1)));
    let verbatim = ChunkedDecoder::new().advance(bytes).map(|advance| (advance.consumed, advance.done));
    assert_eq!(verbatim, whole.map(|(_, consumed, done)| (consumed, done)));
});
