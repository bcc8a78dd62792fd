//! The decoder: a machine with one state for each place in the grammar, which takes one byte at a
//! time outside of payload.

use super::{Dialect, Piece};
use crate::field::Field;
use crate::head::lines::{is_tchar, is_text};
use crate::hygiene;
use crate::malformed::Malformed;

/// Bytes of extensions in one body. They mean nothing to anybody we know, and cost the sender of
/// tiny chunks nothing.
const MAX_EXTENSION_BYTES: u32 = 4096;
/// Bytes of a trailer section.
const MAX_TRAILER_BYTES: u32 = 8192;
/// Digits of a chunk size, padding included.
pub(super) const MAX_SIZE_DIGITS: u8 = 16;
/// Names this long are not among the known ones.
const LONGEST_KNOWN_NAME: usize = 32;

/// Where the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
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
    pub(super) state: State,
    dialect: Dialect,
    /// A line ended in another way than the others.
    sloppy: bool,
    /// The payload of the chunk ends with a CR.
    ends_in_cr: bool,
    /// The trailer field that is being read stays behind.
    pub(super) dropping: bool,
    /// Digits of the size read so far.
    pub(super) digits: u8,
    name_len: u8,
    /// Bytes of the chunk still to come, or its size as far as it was read.
    pub(super) remaining: u64,
    extension_bytes: u32,
    trailer_bytes: u32,
    /// So many bytes of payload may still come.
    left: u64,
    /// The beginning of the trailer field's name, which decides whether it may pass.
    name: [u8; LONGEST_KNOWN_NAME],
}

impl ChunkedDecoder {
    /// At the beginning of a body.
    pub const fn new(dialect: Dialect) -> Self {
        Self {
            state: State::Size,
            dialect,
            sloppy: false,
            ends_in_cr: false,
            dropping: false,
            digits: 0,
            name_len: 0,
            remaining: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
            left: u64::MAX,
            name: [0; LONGEST_KNOWN_NAME],
        }
    }

    /// Refuses a body of more bytes than this.
    pub const fn at_most(&mut self, bytes: u64) {
        self.left = bytes;
    }

    /// Whether the whole body was consumed.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether lines ended so that only one reading is left, but another recipient might have
    /// refused them: nothing follows on the connection.
    pub fn is_sloppy(&self) -> bool {
        self.sloppy
    }

    /// Consumes bytes up to the end of the first stretch of payload among them, or all of them, or
    /// up to the end of the body. Call it with what is left until nothing is, or the body is done.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, Malformed> {
        self.next_telling(bytes, |_| {})
    }

    /// As [`next`](Self::next); what belongs to the trailer section is appended to `trailers`, with
    /// the empty line at its end. It is checked when the body is done, and not before.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn next_with_trailers(
        &mut self,
        bytes: &[u8],
        trailers: &mut Vec<u8>,
    ) -> Result<Piece, Malformed> {
        self.next_telling(bytes, |byte| trailers.push(byte))
    }

    fn next_telling(
        &mut self,
        bytes: &[u8],
        mut trailer: impl FnMut(u8),
    ) -> Result<Piece, Malformed> {
        let mut at = 0;
        while self.state != State::Done && self.state != State::Data {
            let Some(byte) = bytes.get(at) else {
                return Ok(Piece { consumed: at, payload: at..at, done: false });
            };
            if self.is_in_trailers() {
                trailer(*byte);
            }
            self.step(*byte)?;
            at += 1;
        }
        let payload =
            if self.state == State::Data { at..at + self.take(bytes.len() - at) } else { at..at };
        if !payload.is_empty() {
            self.ends_in_cr = bytes[payload.end - 1] == b'\r';
        }
        Ok(Piece { consumed: payload.end, payload, done: self.is_done() })
    }

    fn is_in_trailers(&self) -> bool {
        matches!(
            self.state,
            State::TrailerStart
                | State::TrailerName
                | State::TrailerBlank
                | State::TrailerValue
                | State::TrailerLf
                | State::EndLf
        )
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

    pub(super) fn step(&mut self, byte: u8) -> Result<(), Malformed> {
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
            State::SizeLf if byte == b'\n' => self.begin_chunk()?,
            State::DataCr => self.data_end(byte)?,
            State::DataLf if byte == b'\n' => State::Size,
            State::DataLf => return Err(Malformed::ChunkData),
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

    pub(super) fn ends_with_bare_lf(&self) -> bool {
        self.dialect == Dialect::BareLf
    }

    /// An LF among CRLFs or a CRLF among LFs, where a reader that wants the other finds no message
    /// at all: behind a size and nothing else, where the data end, and where the trailers would
    /// begin. Elsewhere it would read on, and find another one.
    fn takes_other_end(&mut self, byte: u8) -> bool {
        let other = match self.dialect {
            Dialect::Relaxed => b'\n',
            Dialect::BareLf => b'\r',
            Dialect::Strict | Dialect::Response => return false,
        };
        self.sloppy |= byte == other;
        byte == other
    }

    /// What follows at the end of a line: where the sender ends its lines with LF alone, it does so
    /// everywhere.
    fn line_end(&mut self, byte: u8, after_cr: State) -> Result<State, Malformed> {
        match (byte, self.ends_with_bare_lf()) {
            (b'\r', false) => Ok(after_cr),
            (b'\n', true) => Ok(match after_cr {
                State::SizeLf => self.begin_chunk()?,
                State::TrailerLf => State::TrailerStart,
                _ => State::Done,
            }),
            (b'\r', true) => Err(Malformed::BareCr),
            _ => Err(Malformed::BareLf),
        }
    }

    fn data_end(&mut self, byte: u8) -> Result<State, Malformed> {
        let usual = if self.ends_with_bare_lf() { b'\n' } else { b'\r' };
        match byte {
            // Whose line ends with CRLF has counted the CR to the payload: its sizes are wrong.
            b'\n' if byte != usual && self.ends_in_cr => Err(Malformed::ChunkData),
            b'\r' | b'\n' if byte == usual || self.takes_other_end(byte) => {
                Ok(if byte == b'\n' { State::Size } else { State::DataLf })
            }
            _ => Err(Malformed::ChunkData),
        }
    }

    fn size(&mut self, byte: u8) -> Result<State, Malformed> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if self.digits > 0 && self.takes_other_end(byte) => {
                return if byte == b'\n' { self.begin_chunk() } else { Ok(State::SizeLf) };
            }
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

    fn begin_chunk(&mut self) -> Result<State, Malformed> {
        self.digits = 0;
        self.left = self.left.checked_sub(self.remaining).ok_or(Malformed::BodyTooLarge)?;
        Ok(if self.remaining == 0 { State::TrailerStart } else { State::Data })
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Malformed> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > MAX_TRAILER_BYTES {
            return Err(Malformed::TrailerTooLarge);
        }
        let strict = self.dialect == Dialect::Strict;
        match (self.state, byte) {
            (State::TrailerStart, _) if self.takes_other_end(byte) => {
                Ok(if byte == b'\n' { State::Done } else { State::EndLf })
            }
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
