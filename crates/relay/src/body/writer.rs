//! Writing a body that is in memory.

use std::time::Duration;

use bytes::Bytes;

use crate::chunked::{CHUNK_END, LAST_CHUNK, push_size_line};
use crate::fault::Fault;
use crate::framing::BodyFraming;
use crate::stream::Stream;

/// Segments put into one vectored write without an allocation.
const INLINE: usize = 5;

/// Whether more of the body follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// There is more to come.
    Follows,
    /// These are the last segments.
    None,
}

/// Sends a head and a body made of segments, in the framing that the head announces.
#[derive(Debug)]
pub struct BodyWriter {
    framing: BodyFraming,
}

impl BodyWriter {
    /// The segments have to add up to the length, where there is one; with `Empty` they are not
    /// written.
    pub fn new(framing: BodyFraming) -> Self {
        Self { framing }
    }

    /// Writes a head (or nothing) and segments together, with one system call if the kernel takes
    /// them.
    ///
    /// # Errors
    /// `Timeout(Write)` when the peer takes nothing for `deadline`, `Reset`, `Io`.
    pub async fn write(
        &mut self,
        stream: &mut Stream,
        head: &[u8],
        segments: &[Bytes],
        rest: Rest,
        deadline: Duration,
    ) -> Result<(), Fault> {
        let segments = if self.framing == BodyFraming::Empty { &[] } else { segments };
        let length: usize = segments.iter().map(Bytes::len).sum();
        let mut front = Vec::new();
        let mut back: Vec<u8> = Vec::new();
        if self.framing == BodyFraming::Chunked {
            if length > 0 {
                push_size_line(&mut front, length);
                back.extend_from_slice(CHUNK_END);
            }
            if rest == Rest::None {
                back.extend_from_slice(LAST_CHUNK);
            }
        }
        if segments.len() <= INLINE {
            let mut parts: [&[u8]; INLINE + 3] = [&[]; INLINE + 3];
            parts[0] = head;
            parts[1] = &front;
            for (part, segment) in parts[2..].iter_mut().zip(segments) {
                *part = segment;
            }
            parts[2 + segments.len()] = &back;
            stream.write_all(&parts[..3 + segments.len()], deadline).await
        } else {
            let mut parts: Vec<&[u8]> = vec![head, &front];
            parts.extend(segments.iter().map(|segment| &segment[..]));
            parts.push(&back);
            stream.write_all(&parts, deadline).await
        }
    }
}
