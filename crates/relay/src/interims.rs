//! How many interim (1xx) responses a server may send before its final one: they are bounded by
//! their bytes and by time, not by their number, as hints may come piece by piece and a slow origin
//! may say every few seconds that it is still at work (RFC 8297, RFC 2518 §10.1).

use std::time::{Duration, Instant};

use crate::head::ResponseHead;
use crate::malformed::Malformed;

/// Bytes of their heads, all together.
const MOST_BYTES: usize = 32 * 1024;
/// From the first one on, so many times as long as a server may be silent.
const MOST_WAITS: u32 = 5;
/// What another hop of ours has let through, with the fields that it adds to each, is let through
/// here.
const ROOM: u32 = 32;

/// The interim responses to one request.
#[derive(Debug, Clone, Copy)]
pub struct Interims {
    bytes: usize,
    most: usize,
    time: Duration,
    until: Option<Instant>,
}

impl Interims {
    /// None yet. `silence` is how long the server may take to say something.
    pub const fn new(silence: Duration) -> Self {
        Self { bytes: 0, most: MOST_BYTES, time: silence.saturating_mul(MOST_WAITS), until: None }
    }

    /// The same of another hop of ours, which bounds them itself: so much more that it is never at
    /// fault for what it let through.
    pub const fn with_room(self) -> Self {
        Self { most: self.most * ROOM as usize, time: self.time.saturating_mul(ROOM), ..self }
    }

    /// Whether there was any.
    pub const fn any(&self) -> bool {
        self.bytes > 0
    }

    /// Whether a head that was read is an interim one; the final one ends the loop that reads them.
    ///
    /// # Errors
    /// The server has gone on like this for too long: it is no honest one.
    pub(crate) fn takes(
        &mut self,
        head: &ResponseHead,
        bytes: &[u8],
        now: impl FnOnce() -> Instant,
    ) -> Result<bool, Malformed> {
        if !head.is_interim() {
            return Ok(false);
        }
        self.admit(bytes.len(), now()).map(|()| true)
    }

    /// One more, with a head of so many bytes.
    fn admit(&mut self, head: usize, now: Instant) -> Result<(), Malformed> {
        self.bytes = self.bytes.saturating_add(head);
        let until =
            *self.until.get_or_insert_with(|| now + self.time.min(Duration::from_secs(24 * 3600)));
        if self.bytes > self.most || now > until { Err(Malformed::TooManyInterims) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_by_bytes_and_time() {
        let begin = crate::clock::now();
        let mut many = Interims::new(Duration::from_secs(1));
        assert!((0..1000).all(|_| many.admit(30, begin).is_ok()));
        assert_eq!(
            (0..1000).find_map(|_| many.admit(30, begin).err()),
            Some(Malformed::TooManyInterims)
        );
        let mut long = Interims::new(Duration::from_secs(1));
        assert!((0..=5).all(|second| long.admit(30, begin + Duration::from_secs(second)).is_ok()));
        assert_eq!(long.admit(30, begin + Duration::from_secs(6)), Err(Malformed::TooManyInterims));
        assert!(Interims::new(Duration::MAX).admit(30, begin).is_ok());
    }
}
