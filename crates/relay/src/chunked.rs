//! The chunked coding (RFC 9112 §7.1): a decoder that never buffers, and the few bytes that an encoder adds.
//!
//! The decoder sees every byte once and says which of them are payload. Whoever relays verbatim forwards everything it consumed; what is
//! malformed is found before the message's last byte was consumed, so that the next hop never takes a bad body for a complete one.

use std::ops::Range;

use crate::field::Field;
use crate::head::lines::{is_tchar, is_text};
use crate::hygiene;
use crate::malformed::Malformed;

/// Bytes of extensions in one body. They mean nothing to anybody we know, and cost the sender of tiny chunks nothing.
const MAX_EXTENSION_BYTES: u32 = 4096;
/// Bytes of a trailer section.
const MAX_TRAILER_BYTES: u32 = 8192;
/// Digits of a chunk size, padding included.
const MAX_SIZE_DIGITS: u8 = 16;
/// Names this long are not among the known ones.
const LONGEST_KNOWN_NAME: usize = 32;

/// Ends a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";
/// Ends a chunked body that has no trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Writes the line that begins a chunk of `len` bytes; `len` is not 0, which would end the body.
pub fn push_size_line(out: &mut Vec<u8>, len: usize) {
    debug_assert!(len > 0, "an empty chunk ends the body");
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[len >> (4 * place) & 0xf]);
    }
    out.extend_from_slice(CHUNK_END);
}

/// What a call of [`ChunkedDecoder::next`] consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// So many bytes of the slice are dealt with; at least one, unless the slice was empty or the body done.
    pub consumed: usize,
    /// Those of them that are payload; may be empty.
    pub payload: Range<usize>,
    /// The body ended with the last byte consumed.
    pub done: bool,
}

/// What a call of [`ChunkedDecoder::advance`] consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// So many bytes of the slice belong to the body; all of them unless it is done.
    pub consumed: usize,
    /// The body ended with the last byte consumed.
    pub done: bool,
}

/// Where the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    /// After the `;`: a name must begin.
    ExtensionStart,
    ExtensionName,
    /// After the `=`: a token or a quoted string must begin.
    ExtensionValueStart,
    ExtensionValue,
    Quoted,
    QuotedPair,
    QuotedEnd,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a line of the trailer section.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// Decodes one chunked body, whatever pieces it comes in. After an error it must not be used again.
#[derive(Debug, Clone)]
pub struct ChunkedDecoder {
    state: State,
    /// Digits of the size read so far.
    digits: u8,
    name_len: u8,
    /// Bytes of the chunk still to come, or its size as far as it was read.
    remaining: u64,
    extension_bytes: u32,
    trailer_bytes: u32,
    /// The beginning of the trailer field's name, which decides whether it may pass.
    name: [u8; LONGEST_KNOWN_NAME],
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedDecoder {
    /// At the beginning of a body.
    pub const fn new() -> Self {
        Self {
            state: State::Size,
            digits: 0,
            name_len: 0,
            remaining: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
            name: [0; LONGEST_KNOWN_NAME],
        }
    }

    /// Whether the whole body was consumed.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Consumes bytes up to the end of the first stretch of payload among them, or all of them, or up to the end of the body.
    /// Call it with what is left until nothing is, or the body is done.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, Malformed> {
        let mut at = 0;
        while self.state != State::Done && self.state != State::Data {
            let Some(byte) = bytes.get(at) else { return Ok(Piece { consumed: at, payload: at..at, done: false }) };
            self.step(*byte)?;
            at += 1;
        }
        let payload = if self.state == State::Data { at..at + self.take(bytes.len() - at) } else { at..at };
        Ok(Piece { consumed: payload.end, payload, done: self.is_done() })
    }

    /// Consumes as much as belongs to the body: for relaying it as it is.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Advance, Malformed> {
        let mut consumed = 0;
        while consumed < bytes.len() && !self.is_done() {
            consumed += self.next(&bytes[consumed..])?.consumed;
        }
        Ok(Advance { consumed, done: self.is_done() })
    }

    /// Takes up to `available` bytes of payload.
    fn take(&mut self, available: usize) -> usize {
        let taken = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(available);
        self.remaining -= taken as u64;
        if self.remaining == 0 {
            self.state = State::DataCr;
        }
        taken
    }

    fn step(&mut self, byte: u8) -> Result<(), Malformed> {
        self.state = match self.state {
            State::Size => self.size(byte)?,
            State::ExtensionStart
            | State::ExtensionName
            | State::ExtensionValueStart
            | State::ExtensionValue
            | State::Quoted
            | State::QuotedPair
            | State::QuotedEnd => self.extension(byte)?,
            State::SizeLf if byte == b'\n' => self.begin_chunk(),
            State::DataCr if byte == b'\r' => State::DataLf,
            State::DataLf if byte == b'\n' => State::Size,
            State::DataCr | State::DataLf => return Err(Malformed::ChunkData),
            State::TrailerStart | State::TrailerName | State::TrailerValue => self.trailer(byte)?,
            State::TrailerLf if byte == b'\n' => State::TrailerStart,
            State::EndLf if byte == b'\n' => State::Done,
            State::SizeLf | State::TrailerLf | State::EndLf => return Err(Malformed::BareCr),
            state @ (State::Data | State::Done) => state,
        };
        Ok(())
    }

    fn size(&mut self, byte: u8) -> Result<State, Malformed> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.digits > 0 => return Ok(State::SizeLf),
            b';' if self.digits > 0 => return Ok(State::ExtensionStart),
            b'\n' if self.digits > 0 => return Err(Malformed::BareLf),
            _ => return Err(Malformed::ChunkSize),
        };
        self.digits += 1;
        if self.digits > MAX_SIZE_DIGITS || self.remaining >= 1 << 59 {
            return Err(Malformed::ChunkSize);
        }
        self.remaining = self.remaining << 4 | u64::from(digit);
        Ok(State::Size)
    }

    /// `*( ";" token [ "=" ( token / quoted-string ) ] )`, without the "bad white space" that RFC 9112 §7.1.1 lets a recipient tolerate.
    fn extension(&mut self, byte: u8) -> Result<State, Malformed> {
        self.extension_bytes += 1;
        if self.extension_bytes > MAX_EXTENSION_BYTES {
            return Err(Malformed::ChunkExtensionTooLong);
        }
        match (self.state, byte) {
            (State::ExtensionStart | State::ExtensionName, byte) if is_tchar(byte) => Ok(State::ExtensionName),
            (State::ExtensionValueStart | State::ExtensionValue, byte) if is_tchar(byte) => Ok(State::ExtensionValue),
            (State::ExtensionName, b'=') => Ok(State::ExtensionValueStart),
            (State::ExtensionValueStart, b'"') => Ok(State::Quoted),
            (State::Quoted, b'"') => Ok(State::QuotedEnd),
            (State::Quoted, b'\\') => Ok(State::QuotedPair),
            (State::Quoted | State::QuotedPair, byte) if is_text(byte) => Ok(State::Quoted),
            (State::ExtensionName | State::ExtensionValue | State::QuotedEnd, b';') => Ok(State::ExtensionStart),
            (State::ExtensionName | State::ExtensionValue | State::QuotedEnd, b'\r') => Ok(State::SizeLf),
            (_, b'\n') => Err(Malformed::BareLf),
            _ => Err(Malformed::ChunkExtension),
        }
    }

    fn begin_chunk(&mut self) -> State {
        self.digits = 0;
        if self.remaining == 0 { State::TrailerStart } else { State::Data }
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Malformed> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > MAX_TRAILER_BYTES {
            return Err(Malformed::TrailerTooLarge);
        }
        match (self.state, byte) {
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::TrailerStart, b' ' | b'\t') => Err(Malformed::ObsFold),
            (State::TrailerStart, b':') => Err(Malformed::EmptyFieldName),
            (State::TrailerStart, byte) if is_tchar(byte) => {
                self.name_len = 0;
                self.name_byte(byte)
            }
            (State::TrailerName, byte) if is_tchar(byte) => self.name_byte(byte),
            (State::TrailerName, b':') => self.name_complete(),
            (State::TrailerName, b' ' | b'\t') => Err(Malformed::SpaceBeforeColon),
            (State::TrailerName, b'\r') => Err(Malformed::NoColon),
            (State::TrailerValue, byte) if is_text(byte) => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (_, b'\n') => Err(Malformed::BareLf),
            (_, 0) => Err(Malformed::Nul),
            (State::TrailerValue, _) => Err(Malformed::ControlCharacter),
            _ => Err(Malformed::FieldName),
        }
    }

    fn name_byte(&mut self, byte: u8) -> Result<State, Malformed> {
        if let Some(place) = self.name.get_mut(usize::from(self.name_len)) {
            *place = byte;
        }
        self.name_len = self.name_len.checked_add(1).ok_or(Malformed::FieldNameTooLong)?;
        Ok(State::TrailerName)
    }

    fn name_complete(&self) -> Result<State, Malformed> {
        let known = self.name.get(..usize::from(self.name_len)).map_or(Field::Other, Field::classify);
        if hygiene::FORBIDDEN_TRAILERS.contains(known) { Err(Malformed::ForbiddenTrailer) } else { Ok(State::TrailerValue) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Payload, bytes consumed, done.
    type Decoded = Result<(Vec<u8>, usize, bool), Malformed>;

    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
        let (mut decoder, mut payload, mut total) = (ChunkedDecoder::new(), Vec::new(), 0);
        for bytes in pieces {
            let mut at = 0;
            while at < bytes.len() && !decoder.is_done() {
                let piece = decoder.next(&bytes[at..])?;
                assert!(piece.consumed > 0 && piece.payload.end <= piece.consumed);
                assert_eq!(piece.done, decoder.is_done());
                payload.extend_from_slice(&bytes[at..][piece.payload]);
                at += piece.consumed;
            }
            total += at;
        }
        Ok((payload, total, decoder.is_done()))
    }

    fn advance<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(usize, bool), Malformed> {
        let (mut decoder, mut total) = (ChunkedDecoder::new(), 0);
        for bytes in pieces {
            total += decoder.advance(bytes)?.consumed;
        }
        Ok((total, decoder.is_done()))
    }

    #[test]
    fn accepted() {
        let long = format!("{}1\r\nx\r\n0\r\n\r\n", "0".repeat(15));
        let cases: &[(&[u8], &[u8])] = &[
            (b"0\r\n\r\n", b""),
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
            (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789"),
            (b"000\r\n\r\n", b""),
            (long.as_bytes(), b"x"),
            (b"1;a\r\nx\r\n0;b=c;d=\"e \\\" ;\\\\\"\r\n\r\n", b"x"),
            (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
            (b"0\r\nX-Sum: 1\r\nGrpc-Status:0\r\n\r\n", b""),
            (b"0\r\nX-A-Very-Long-Name-That-Is-Not-Known-To-Anybody-At-All: \xe9\t\r\n\r\n", b""),
        ];
        for (bytes, payload) in cases {
            let shown = String::from_utf8_lossy(bytes);
            assert_eq!(decode([*bytes]), Ok((payload.to_vec(), bytes.len(), true)), "{shown}");
            let more = [bytes, &b"GET / HTTP/1.1\r\n"[..]].concat();
            assert_eq!(decode([&more[..]]), Ok((payload.to_vec(), bytes.len(), true)), "{shown}");
        }
    }

    #[test]
    fn refused() {
        use Malformed as M;
        let huge_extension = format!("1;{}\r\n", "a".repeat(5000));
        let many_extensions = format!("1;{}\r\nx\r\n", "a".repeat(50)).repeat(100);
        let huge_trailer = format!("0\r\n{}", "a: b\r\n".repeat(2000));
        let long_name = format!("0\r\n{}: b\r\n", "a".repeat(256));
        let cases: &[(&[u8], Malformed)] = &[
            (b"\r\n", M::ChunkSize),
            (b";a\r\n", M::ChunkSize),
            (b" 5\r\n", M::ChunkSize),
            (b"5 \r\n", M::ChunkSize),
            (b"5\t;a\r\n", M::ChunkSize),
            (b"+5\r\n", M::ChunkSize),
            (b"-5\r\n", M::ChunkSize),
            (b"0x5\r\n", M::ChunkSize),
            (b"5_0\r\n", M::ChunkSize),
            (b"g\r\n", M::ChunkSize),
            (b"5,5\r\n", M::ChunkSize),
            (b"\x005\r\n", M::ChunkSize),
            (b"10000000000000000\r\n", M::ChunkSize),
            (b"8000000000000000\r\n", M::ChunkSize),
            (b"00000000000000001\r\n", M::ChunkSize),
            (b"ffffffffffffffff\r\n", M::ChunkSize),
            (b"5\nhello", M::BareLf),
            (b"\n", M::ChunkSize),
            (b"5\rhello", M::BareCr),
            (b"5;\r\n", M::ChunkExtension),
            (b"5;;a\r\n", M::ChunkExtension),
            (b"5; a\r\n", M::ChunkExtension),
            (b"5;a \r\n", M::ChunkExtension),
            (b"5;a =b\r\n", M::ChunkExtension),
            (b"5;a=\r\n", M::ChunkExtension),
            (b"5;a=b=c\r\n", M::ChunkExtension),
            (b"5;a=\"b\r\n", M::ChunkExtension),
            (b"5;a=\"b\"c\r\n", M::ChunkExtension),
            (b"5;a=\"\0\"\r\n", M::ChunkExtension),
            (b"5;a\0\r\n", M::ChunkExtension),
            (b"5;a\nhello", M::BareLf),
            (b"5;a=\"\n\"\r\n", M::BareLf),
            (b"5;a\rX", M::BareCr),
            (huge_extension.as_bytes(), M::ChunkExtensionTooLong),
            (many_extensions.as_bytes(), M::ChunkExtensionTooLong),
            (b"5\r\nhello0\r\n\r\n", M::ChunkData),
            (b"5\r\nhello\n0\r\n\r\n", M::ChunkData),
            (b"5\r\nhello\r0\r\n\r\n", M::ChunkData),
            (b"5\r\nhell\r\n0\r\n\r\n", M::ChunkData),
            (b"0\r\n\n", M::BareLf),
            (b"0\n\r\n", M::BareLf),
            (b"0\r\n\rX", M::BareCr),
            (b"0\r\n a: b\r\n\r\n", M::ObsFold),
            (b"0\r\na: b\r\n\tc\r\n\r\n", M::ObsFold),
            (b"0\r\n: b\r\n\r\n", M::EmptyFieldName),
            (b"0\r\na : b\r\n\r\n", M::SpaceBeforeColon),
            (b"0\r\na\r\n\r\n", M::NoColon),
            (b"0\r\na\n", M::BareLf),
            (b"0\r\na: b\n\r\n", M::BareLf),
            (b"0\r\na: b\rc\r\n\r\n", M::BareCr),
            (b"0\r\na: \0\r\n\r\n", M::Nul),
            (b"0\r\na: \x7f\r\n\r\n", M::ControlCharacter),
            (b"0\r\na(: b\r\n\r\n", M::FieldName),
            (b"0\r\nGET / HTTP/1.1\r\n\r\n", M::SpaceBeforeColon),
            (b"0\r\ncontent-LENGTH: 5\r\n\r\n", M::ForbiddenTrailer),
            (b"0\r\nTransfer-Encoding: chunked\r\n\r\n", M::ForbiddenTrailer),
            (b"0\r\na: b\r\nHost: c\r\n\r\n", M::ForbiddenTrailer),
            (b"0\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n", M::ForbiddenTrailer),
            (b"0\r\nProxy-Authorization: a\r\n\r\n", M::ForbiddenTrailer),
            (huge_trailer.as_bytes(), M::TrailerTooLarge),
            (long_name.as_bytes(), M::FieldNameTooLong),
        ];
        for (bytes, reason) in cases {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
            assert_eq!(decode([*bytes]), Err(*reason), "{shown}");
            assert_eq!(decode(bytes.chunks(1)), Err(*reason), "{shown}, byte by byte");
            assert_eq!(advance([*bytes]), Err(*reason), "{shown}, verbatim");
        }
    }

    /// Chunked bodies, whole and damaged, and noise made of the characters that matter.
    fn wire() -> impl Strategy<Value = Vec<u8>> {
        let chunk = (proptest::collection::vec(any::<u8>(), 1..40), prop_oneof![Just(""), Just(";a"), Just(";a=\"b\\\"\""), Just(" ")]);
        let trailer = prop_oneof![Just(""), Just("X: y\r\n"), Just("Host: y\r\n"), Just("a: b\r\nc: d\r\n")];
        let body = (proptest::collection::vec(chunk, 0..6), trailer).prop_map(|(chunks, trailer)| {
            let mut wire = Vec::new();
            for (data, extension) in chunks {
                wire.extend_from_slice(format!("{:X}{extension}\r\n", data.len()).as_bytes());
                wire.extend_from_slice(&data);
                wire.extend_from_slice(CHUNK_END);
            }
            wire.extend_from_slice(format!("0\r\n{trailer}\r\nrest").as_bytes());
            wire
        });
        let noise = proptest::collection::vec(proptest::sample::select(b"0015aF;=\"\\\r\n\r\n: x\0".to_vec()), 0..40);
        prop_oneof![body, noise]
    }

    proptest! {
        #[test]
        fn splits_change_nothing(wire in wire(), cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8)) {
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
            places.extend([0, wire.len()]);
            places.sort_unstable();
            let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect();
            let whole = decode([&wire[..]]);
            prop_assert_eq!(decode(pieces.iter().copied()), whole.clone());
            prop_assert_eq!(decode(wire.chunks(1)), whole.clone());
            prop_assert_eq!(advance(pieces), whole.map(|(_, consumed, done)| (consumed, done)));
        }

        #[test]
        fn what_is_encoded_is_decoded(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..600), 0..5)) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                push_size_line(&mut wire, chunk.len());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(CHUNK_END);
            }
            wire.extend_from_slice(LAST_CHUNK);
            prop_assert_eq!(decode([&wire[..]]), Ok((chunks.concat(), wire.len(), true)));
        }
    }
}
