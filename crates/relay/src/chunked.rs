//! The chunked coding (RFC 9112 §7.1): a decoder that never buffers, and the few bytes that an
//! encoder adds.
//!
//! The decoder sees every byte once and says which of them are payload. What goes on in chunks goes
//! on in our spelling ([`ChunkedRelay`]): what is in it already is not copied, and extensions,
//! padding and trailers that nobody may merge stay behind. What is malformed is found before the
//! message's last byte was consumed, so that the next hop never takes a bad body for a complete
//! one.

mod relayed;

use std::ops::Range;

use crate::field::Field;
use crate::head::lines::{is_tchar, is_text};
use crate::hygiene;
use crate::malformed::Malformed;

pub use relayed::ChunkedRelay;

/// Bytes of extensions in one body. They mean nothing to anybody we know, and cost the sender of
/// tiny chunks nothing.
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
    /// So many bytes of the slice are dealt with; at least one, unless the slice was empty or the
    /// body done.
    pub consumed: usize,
    /// Those of them that are payload; may be empty.
    pub payload: Range<usize>,
    /// The body ended with the last byte consumed.
    pub done: bool,
}

/// How the lines around the chunks may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// As the grammar says, without the leniencies that it allows: requests.
    #[default]
    Strict,
    /// Responses: blanks behind a size and around extensions, blanks before the colon of a trailer,
    /// trailers that are dropped.
    Response,
    /// The same, and control characters in trailers.
    Relaxed,
    /// The same of a server all of whose lines end with LF alone.
    BareLf,
}

/// Where the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    /// Blanks behind a size.
    SizeBlank,
    /// After the `;` in a response: up to the line's end.
    ExtensionText,
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
    /// Blanks behind a trailer's name.
    TrailerBlank,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// Decodes one chunked body, whatever pieces it comes in. After an error it must not be used again.
#[derive(Debug, Clone)]
pub struct ChunkedDecoder {
    state: State,
    dialect: Dialect,
    /// The trailer field that is being read stays behind.
    dropping: bool,
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

impl ChunkedDecoder {
    /// At the beginning of a body.
    pub const fn new(dialect: Dialect) -> Self {
        Self {
            state: State::Size,
            dialect,
            dropping: false,
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

    /// Consumes bytes up to the end of the first stretch of payload among them, or all of them, or
    /// up to the end of the body. Call it with what is left until nothing is, or the body is done.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, Malformed> {
        let mut at = 0;
        while self.state != State::Done && self.state != State::Data {
            let Some(byte) = bytes.get(at) else {
                return Ok(Piece { consumed: at, payload: at..at, done: false });
            };
            self.step(*byte)?;
            at += 1;
        }
        let payload =
            if self.state == State::Data { at..at + self.take(bytes.len() - at) } else { at..at };
        Ok(Piece { consumed: payload.end, payload, done: self.is_done() })
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
            State::Size | State::SizeBlank => self.size(byte)?,
            State::ExtensionText => self.extension_text(byte)?,
            State::ExtensionStart
            | State::ExtensionName
            | State::ExtensionValueStart
            | State::ExtensionValue
            | State::Quoted
            | State::QuotedPair
            | State::QuotedEnd => self.extension(byte)?,
            State::SizeLf if byte == b'\n' => self.begin_chunk(),
            State::DataCr if byte == b'\r' && !self.ends_with_bare_lf() => State::DataLf,
            State::DataCr if byte == b'\n' && self.ends_with_bare_lf() => State::Size,
            State::DataLf if byte == b'\n' => State::Size,
            State::DataCr | State::DataLf => return Err(Malformed::ChunkData),
            State::TrailerStart
            | State::TrailerName
            | State::TrailerBlank
            | State::TrailerValue => self.trailer(byte)?,
            State::TrailerLf if byte == b'\n' => State::TrailerStart,
            State::EndLf if byte == b'\n' => State::Done,
            State::SizeLf | State::TrailerLf | State::EndLf => return Err(Malformed::BareCr),
            state @ (State::Data | State::Done) => state,
        };
        Ok(())
    }

    fn ends_with_bare_lf(&self) -> bool {
        self.dialect == Dialect::BareLf
    }

    /// What follows at the end of a line: where the sender ends its lines with LF alone, it does so
    /// everywhere.
    fn line_end(&mut self, byte: u8, after_cr: State) -> Result<State, Malformed> {
        match (byte, self.ends_with_bare_lf()) {
            (b'\r', false) => Ok(after_cr),
            (b'\n', true) => Ok(match after_cr {
                State::SizeLf => self.begin_chunk(),
                State::TrailerLf => State::TrailerStart,
                _ => State::Done,
            }),
            (b'\r', true) => Err(Malformed::BareCr),
            _ => Err(Malformed::BareLf),
        }
    }

    fn size(&mut self, byte: u8) -> Result<State, Malformed> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' | b'\n' if self.digits > 0 => return self.line_end(byte, State::SizeLf),
            b';' if self.digits > 0 && self.dialect == Dialect::Strict => {
                return Ok(State::ExtensionStart);
            }
            b';' if self.digits > 0 => return Ok(State::ExtensionText),
            b' ' | b'\t' if self.digits > 0 && self.dialect != Dialect::Strict => {
                return self.extension_byte(State::SizeBlank);
            }
            _ => return Err(Malformed::ChunkSize),
        };
        self.digits += 1;
        if self.state == State::SizeBlank
            || self.digits > MAX_SIZE_DIGITS
            || self.remaining >= 1 << 59
        {
            return Err(Malformed::ChunkSize);
        }
        self.remaining = self.remaining << 4 | u64::from(digit);
        Ok(State::Size)
    }

    fn extension_byte(&mut self, next: State) -> Result<State, Malformed> {
        self.extension_bytes += 1;
        if self.extension_bytes > MAX_EXTENSION_BYTES {
            Err(Malformed::ChunkExtensionTooLong)
        } else {
            Ok(next)
        }
    }

    /// Of a response. It stays behind, and no recipient ends the line elsewhere: what it says does
    /// not matter.
    fn extension_text(&mut self, byte: u8) -> Result<State, Malformed> {
        match self.extension_byte(State::ExtensionText)? {
            next if is_text(byte) => Ok(next),
            _ if matches!(byte, b'\r' | b'\n') => self.line_end(byte, State::SizeLf),
            _ => Err(Malformed::ChunkExtension),
        }
    }

    /// `*( ";" token [ "=" ( token / quoted-string ) ] )`, without the "bad white space" that RFC
    /// 9112 §7.1.1 lets a recipient tolerate.
    fn extension(&mut self, byte: u8) -> Result<State, Malformed> {
        self.extension_byte(self.state)?;
        match (self.state, byte) {
            (State::ExtensionStart | State::ExtensionName, byte) if is_tchar(byte) => {
                Ok(State::ExtensionName)
            }
            (State::ExtensionValueStart | State::ExtensionValue, byte) if is_tchar(byte) => {
                Ok(State::ExtensionValue)
            }
            (State::ExtensionName, b'=') => Ok(State::ExtensionValueStart),
            (State::ExtensionValueStart, b'"') => Ok(State::Quoted),
            (State::Quoted, b'"') => Ok(State::QuotedEnd),
            (State::Quoted, b'\\') => Ok(State::QuotedPair),
            (State::Quoted | State::QuotedPair, byte) if is_text(byte) => Ok(State::Quoted),
            (State::ExtensionName | State::ExtensionValue | State::QuotedEnd, b';') => {
                Ok(State::ExtensionStart)
            }
            (State::ExtensionName | State::ExtensionValue | State::QuotedEnd, b'\r') => {
                Ok(State::SizeLf)
            }
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
        let strict = self.dialect == Dialect::Strict;
        match (self.state, byte) {
            (State::TrailerStart, b'\r' | b'\n') => self.line_end(byte, State::EndLf),
            (State::TrailerStart, b' ' | b'\t') => Err(Malformed::ObsFold),
            (State::TrailerStart, b':') => Err(Malformed::EmptyFieldName),
            (State::TrailerStart, byte) if is_tchar(byte) => {
                self.name_len = 0;
                self.name_byte(byte)
            }
            (State::TrailerName, byte) if is_tchar(byte) => self.name_byte(byte),
            (State::TrailerName | State::TrailerBlank, b':') => self.name_complete(),
            (State::TrailerName | State::TrailerBlank, b' ' | b'\t') if !strict => {
                Ok(State::TrailerBlank)
            }
            (State::TrailerName, b' ' | b'\t') => Err(Malformed::SpaceBeforeColon),
            (State::TrailerName | State::TrailerBlank, b'\r') => Err(Malformed::NoColon),
            (State::TrailerValue, byte) if is_text(byte) => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r' | b'\n') => self.line_end(byte, State::TrailerLf),
            (State::TrailerValue, _)
                if matches!(self.dialect, Dialect::Relaxed | Dialect::BareLf) =>
            {
                Ok(State::TrailerValue)
            }
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

    fn name_complete(&mut self) -> Result<State, Malformed> {
        let begin = &self.name[..usize::from(self.name_len).min(LONGEST_KNOWN_NAME)];
        // The beginning is enough: a name of this length is none that is known, whatever follows.
        self.dropping = self.dialect != Dialect::Strict && !hygiene::may_trail(begin);
        let known = if usize::from(self.name_len) <= LONGEST_KNOWN_NAME {
            Field::classify(begin)
        } else {
            Field::Other
        };
        let refused =
            self.dialect == Dialect::Strict && hygiene::FORBIDDEN_TRAILERS.contains(known);
        if refused { Err(Malformed::ForbiddenTrailer) } else { Ok(State::TrailerValue) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Payload, bytes consumed, done.
    type Decoded = Result<(Vec<u8>, usize, bool), Malformed>;

    fn decode_as<'a>(dialect: Dialect, pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
        let (mut decoder, mut payload, mut total) = (ChunkedDecoder::new(dialect), Vec::new(), 0);
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

    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
        decode_as(Dialect::Strict, pieces)
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
            assert_eq!(relay_as(Dialect::Strict, [*bytes]), Err(*reason), "{shown}, relayed");
            assert_eq!(
                relay_as(Dialect::Strict, bytes.chunks(1)),
                Err(*reason),
                "{shown}, relayed byte by byte"
            );
        }
    }

    /// What goes on, and how many bytes were consumed.
    fn relay_as<'a>(
        dialect: Dialect,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(Vec<u8>, usize), Malformed> {
        let (mut relay, mut out, mut total) = (ChunkedRelay::new(dialect), Vec::new(), 0);
        for bytes in pieces {
            let mut at = 0;
            while at < bytes.len() && !relay.is_done() {
                let passed = relay.pass(&bytes[at..])?;
                out.extend_from_slice(&bytes[at..at + passed]);
                at += passed;
                let rewritten = relay.rewrite(&bytes[at..], &mut out)?;
                assert!(passed + rewritten > 0 || at == bytes.len() || relay.is_done());
                at += rewritten;
            }
            total += at;
        }
        Ok((out, total))
    }

    /// What only a response may hold.
    #[test]
    fn accepted_of_responses() {
        use Dialect::{BareLf, Relaxed, Response};
        /// How it is read, what comes, its payload, what goes on.
        type Row = (Dialect, &'static [u8], &'static [u8], &'static [u8]);
        let cases: &[Row] = &[
            (Response, b"5  \r\nhello\r\n0\r\n\r\n", b"hello", b"5\r\nhello\r\n0\r\n\r\n"),
            (Response, b"5\t;a=b\r\nhello\r\n0 \r\n\r\n", b"hello", b"5\r\nhello\r\n0\r\n\r\n"),
            (
                Response,
                b"5;\r\nhello\r\n000 ; x = \"y\r\n\r\n",
                b"hello",
                b"5\r\nhello\r\n0\r\n\r\n",
            ),
            (
                Response,
                b"0005\r\nhello\r\n0\r\nExpires: 0\r\n\r\n",
                b"hello",
                b"5\r\nhello\r\n0\r\n\r\n",
            ),
            (
                Response,
                b"5\r\nhello\r\n0\r\nX-Sum : 1\r\nContent-Length: 3\r\nSet-Cookie: \
                    a\r\nContent-Disposition: x\r\nContent-Digest:y\r\n\r\n",
                b"hello",
                b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Digest: y\r\n\r\n",
            ),
            (
                Relaxed,
                b"1\r\nx\r\n0\r\nX: a\0b\x01\r\n\r\n",
                b"x",
                b"1\r\nx\r\n0\r\nX: a b \r\n\r\n",
            ),
            (
                BareLf,
                b"5\nhello\n1;a\nx\n0\nX: y\n\n",
                b"hellox",
                b"5\r\nhello\r\n1\r\nx\r\n0\r\nX: y\r\n\r\n",
            ),
        ];
        for (dialect, bytes, payload, relayed) in cases {
            let shown = String::from_utf8_lossy(bytes);
            for pieces in [vec![*bytes], bytes.chunks(1).collect()] {
                assert_eq!(
                    decode_as(*dialect, pieces.iter().copied()),
                    Ok((payload.to_vec(), bytes.len(), true)),
                    "{shown}"
                );
                let (out, consumed) = relay_as(*dialect, pieces).expect(&shown);
                assert_eq!(
                    (String::from_utf8_lossy(&out), consumed),
                    (String::from_utf8_lossy(relayed), bytes.len()),
                    "{shown}"
                );
            }
        }
    }

    #[test]
    fn refused_of_responses() {
        use Malformed as M;
        for (dialect, bytes, reason) in [
            (Dialect::Response, " 5\r\n", M::ChunkSize),
            (Dialect::Response, "5 5\r\n", M::ChunkSize),
            (Dialect::Response, "5 \nhello", M::BareLf),
            (Dialect::Relaxed, "5\nhello", M::BareLf),
            (Dialect::Relaxed, "5;a\nhello", M::BareLf),
            (Dialect::Relaxed, "5;a\0\r\n", M::ChunkExtension),
            (Dialect::Response, "0\r\nX: a\0\r\n", M::Nul),
            (Dialect::Relaxed, "0\r\nX: a\n\r\n", M::BareLf),
            (Dialect::Relaxed, "0\r\nX: a\r\n b\r\n", M::ObsFold),
            (Dialect::Relaxed, "0\r\nX\r\n", M::NoColon),
            (Dialect::BareLf, "5\r\nhello", M::BareCr),
            (Dialect::BareLf, "5\nhello\r\n", M::ChunkData),
            (Dialect::BareLf, "0\nX: a\r\n", M::BareCr),
            (Dialect::BareLf, "0\n\r\n", M::BareCr),
        ] {
            assert_eq!(
                decode_as(dialect, [bytes.as_bytes()]),
                Err(reason),
                "{dialect:?} {bytes:?}"
            );
            assert_eq!(
                relay_as(dialect, bytes.as_bytes().chunks(1)),
                Err(reason),
                "{dialect:?} {bytes:?}"
            );
        }
        let padded = format!("5{}\r\n", " ".repeat(5000));
        assert_eq!(
            decode_as(Dialect::Response, [padded.as_bytes()]),
            Err(M::ChunkExtensionTooLong)
        );
    }

    /// Chunked bodies, whole and damaged, and noise made of the characters that matter.
    fn wire() -> impl Strategy<Value = Vec<u8>> {
        let chunk = (
            proptest::collection::vec(any::<u8>(), 1..40),
            prop_oneof![Just(""), Just(";a"), Just(";a=\"b\\\"\""), Just(" ")],
        );
        let trailer =
            prop_oneof![Just(""), Just("X: y\r\n"), Just("Host: y\r\n"), Just("a: b\r\nc: d\r\n")];
        let body =
            (proptest::collection::vec(chunk, 0..6), trailer).prop_map(|(chunks, trailer)| {
                let mut wire = Vec::new();
                for (data, extension) in chunks {
                    wire.extend_from_slice(format!("{:X}{extension}\r\n", data.len()).as_bytes());
                    wire.extend_from_slice(&data);
                    wire.extend_from_slice(CHUNK_END);
                }
                wire.extend_from_slice(format!("0\r\n{trailer}\r\nrest").as_bytes());
                wire
            });
        let noise = proptest::collection::vec(
            proptest::sample::select(b"0015aF;=\"\\\r\n\r\n\n: x\0".to_vec()),
            0..40,
        );
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
            for dialect in [Dialect::Strict, Dialect::Response, Dialect::Relaxed, Dialect::BareLf] {
                let whole = decode_as(dialect, [&wire[..]]);
                let relayed = relay_as(dialect, pieces.iter().copied());
                prop_assert_eq!(relay_as(dialect, wire.chunks(1)).map(|(_, consumed)| consumed), relayed.clone().map(|(_, consumed)| consumed));
                prop_assert_eq!(relayed.clone().map(|(_, consumed)| consumed), whole.clone().map(|(_, consumed, _)| consumed));
                if let (Ok((out, _)), Ok((payload, _, true))) = (relayed, whole) {
                    // The next hop reads the same, without any leniency.
                    prop_assert_eq!(decode([&out[..]]), Ok((payload, out.len(), true)));
                }
            }
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
