//! Which frames a client sends, by their headers alone, and whether it holds us up with them. Pure.
//!
//! Each frame costs us something, and some of them cost their sender next to nothing: streams that
//! are opened and reset at once (CVE-2023-44487), pings, settings, priorities, window updates,
//! header blocks without an end. The `h2` crate bounds the memory that they can take. What is
//! bounded here is the work: a client has a budget of frames that bring nothing about, which
//! refills with time and with what it really does. Who exceeds it is told to calm down, and leaves.

use std::time::Duration;

/// The preface of a client (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame's header.
const HEADER: usize = 9;
/// The type of the frame that comes first, and flags: RFC 9113 §6.
const SETTINGS: u8 = 4;
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// Frames that bring nothing about which a client may send at a stretch.
const IDLE_BURST: u32 = 1000;
/// And so many a second.
const IDLE_RATE: u32 = 100;
/// One more for so many bytes that it is sent: what it gets it acknowledges.
const BYTES: u64 = 512;
/// And so many for each request.
const PER_REQUEST: u32 = 4;
/// Streams that it may reset at a stretch: all the pictures of some pages.
const RESET_BURST: u32 = 400;
/// And so many a second.
const RESET_RATE: u32 = 20;

/// What is seen of a client's frames.
#[derive(Debug)]
pub struct Frames {
    /// Bytes of the preface to come.
    preface: usize,
    header: [u8; HEADER],
    /// Bytes of it that are there.
    have: usize,
    /// Bytes of the payload of the current frame to come.
    payload: u32,
    /// The current one carries a head.
    of_head: bool,
    /// There has been a frame.
    begun: bool,
    /// A head has begun and has not ended.
    open: bool,
    idle: Budget,
    resets: Budget,
    /// Sent to it, and not credited yet.
    sent: u64,
    /// Streams that it has reset, and nobody has asked for.
    reset: u64,
}

/// Why a client has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// Its first frame says no settings (RFC 9113 §3.4).
    NoSettings,
    /// A frame has not the size that all of its kind have (RFC 9113 §6).
    Size,
    /// It resets stream after stream.
    Resets,
    /// It sends frames that bring nothing about.
    Idle,
}

impl Frames {
    /// Of a client whose preface is still to come.
    #[must_use]
    pub const fn new(now: Duration) -> Self {
        Self {
            preface: PREFACE.len(),
            header: [0; HEADER],
            have: 0,
            payload: 0,
            of_head: false,
            begun: false,
            open: false,
            idle: Budget::new(IDLE_BURST, IDLE_RATE, now),
            resets: Budget::new(RESET_BURST, RESET_RATE, now),
            sent: 0,
            reset: 0,
        }
    }

    /// Whether a head has begun that is not whole.
    #[must_use]
    pub const fn is_in_head(&self) -> bool {
        self.preface > 0 || self.open || (self.of_head && self.payload > 0)
    }

    /// How many streams the client has reset since this was asked last.
    #[must_use]
    pub const fn take_resets(&mut self) -> u64 {
        std::mem::replace(&mut self.reset, 0)
    }

    /// The client has been sent so much.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        let frames = self.sent / BYTES;
        self.sent -= frames * BYTES;
        self.idle.give(u32::try_from(frames).unwrap_or(u32::MAX));
    }

    /// A stream was refused or reset for what its client did.
    ///
    /// # Errors
    /// It was one too many.
    pub fn offended(&mut self, now: Duration) -> Result<(), Offence> {
        self.resets.take(now).then_some(()).ok_or(Offence::Resets)
    }

    /// Looks at what has come.
    ///
    /// # Errors
    /// The client exceeds its budget, or begins otherwise than with its settings.
    pub fn received(&mut self, mut bytes: &[u8], now: Duration) -> Result<(), Offence> {
        let preface = self.preface.min(bytes.len());
        self.preface -= preface;
        bytes = &bytes[preface..];
        while !bytes.is_empty() {
            if self.payload > 0 {
                let n = bytes.len().min(self.payload as usize);
                self.payload -= n as u32;
                bytes = &bytes[n..];
                continue;
            }
            let n = bytes.len().min(HEADER - self.have);
            self.header[self.have..self.have + n].copy_from_slice(&bytes[..n]);
            self.have += n;
            bytes = &bytes[n..];
            if self.have == HEADER {
                self.have = 0;
                self.frame(now)?;
            }
        }
        Ok(())
    }

    /// A frame's header is there.
    fn frame(&mut self, now: Duration) -> Result<(), Offence> {
        let [a, b, c, kind, flags, ..] = self.header;
        if !std::mem::replace(&mut self.begun, true) && kind != SETTINGS {
            return Err(Offence::NoSettings);
        }
        self.payload = u32::from_be_bytes([0, a, b, c]);
        if !Kind::may_have(kind, flags, self.payload) {
            return Err(Offence::Size);
        }
        self.of_head = matches!(Kind::of(kind), Kind::Headers | Kind::Continuation);
        let within = match Kind::of(kind) {
            Kind::Headers => {
                self.open = flags & END_HEADERS == 0;
                self.idle.give(PER_REQUEST);
                true
            }
            Kind::Continuation => {
                self.open = flags & END_HEADERS == 0;
                self.idle.take(now)
            }
            Kind::Data if self.payload > 0 || flags & END_STREAM != 0 => true,
            Kind::Reset => {
                self.reset += 1;
                return self.offended(now);
            }
            Kind::Data | Kind::Other => self.idle.take(now),
        };
        within.then_some(()).ok_or(Offence::Idle)
    }
}

/// What a frame is to us.
enum Kind {
    Data,
    Headers,
    Reset,
    Continuation,
    Other,
}

impl Kind {
    /// Whether frames of this kind have so many bytes. Which is `FRAME_SIZE_ERROR` otherwise, where
    /// `h2` says PROTOCOL_ERROR.
    const fn may_have(kind: u8, flags: u8, bytes: u32) -> bool {
        match kind {
            2 => bytes == 5,
            3 | 8 => bytes == 4,
            SETTINGS if flags & ACK != 0 => bytes == 0,
            SETTINGS => bytes.is_multiple_of(6),
            6 => bytes == 8,
            _ => true,
        }
    }

    const fn of(kind: u8) -> Self {
        match kind {
            0 => Self::Data,
            1 => Self::Headers,
            3 => Self::Reset,
            9 => Self::Continuation,
            _ => Self::Other,
        }
    }
}

/// So many at a stretch, and so many a second.
#[derive(Debug)]
struct Budget {
    left: u32,
    burst: u32,
    rate: u32,
    /// Up to when it has been refilled.
    at: Duration,
}

impl Budget {
    const fn new(burst: u32, rate: u32, now: Duration) -> Self {
        Self { left: burst, burst, rate, at: now }
    }

    fn give(&mut self, more: u32) {
        self.left = self.left.saturating_add(more).min(self.burst);
    }

    /// False: there is none left.
    fn take(&mut self, now: Duration) -> bool {
        if self.left == 0 {
            let passed = now.saturating_sub(self.at).as_millis();
            let due = passed * u128::from(self.rate) / 1000;
            self.give(u32::try_from(due).unwrap_or(u32::MAX));
            if due > 0 {
                self.at = now;
            }
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

#[cfg(test)]
mod tests;
