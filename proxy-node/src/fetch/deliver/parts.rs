//! Several parts of a stored body at once: multipart/byteranges (RFC 9110 §14.6).

use std::{ops::Range, pin::pin};

use bytes::Bytes;
use relay::{
    body::{BodyWriter, Rest},
    stream::Stream,
};

use super::body::{self, AT_ONCE, Sent};
use crate::{
    cache::{content::Next, object::Object},
    transaction::Transaction,
};

/// What is sent.
pub(super) struct Parts {
    boundary: String,
    /// Each with the lines in front of it.
    parts: Vec<(Bytes, Range<u64>)>,
    end: Bytes,
}

impl Parts {
    /// These ranges of an object of `length` bytes. `boundary`: what is in no body.
    pub(super) fn new(
        object: &Object,
        ranges: &[Range<u64>],
        length: u64,
        boundary: String,
    ) -> Self {
        let of = match &*object.media_type {
            "" => String::new(),
            media_type => format!("Content-Type: {media_type}\r\n"),
        };
        let parts = ranges.iter().map(|range| {
            let Range { start, end } = range;
            let last = end.saturating_sub(1);
            let head = format!(
                "\r\n--{boundary}\r\n{of}Content-Range: bytes {start}-{last}/{length}\r\n\r\n"
            );
            (Bytes::from(head), range.clone())
        });
        let parts = parts.collect();
        Self { parts, end: format!("\r\n--{boundary}--\r\n").into(), boundary }
    }

    /// Bytes of all of it.
    pub(super) fn length(&self) -> u64 {
        let parts = self.parts.iter();
        parts.map(|(head, range)| head.len() as u64 + (range.end - range.start)).sum::<u64>()
            + self.end.len() as u64
    }

    /// Content-Type of the answer.
    pub(super) fn media_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// Sends it behind the head in the transaction's buffer. The object is complete.
    pub(super) async fn send(
        &self,
        transaction: &Transaction,
        stream: &mut Stream,
        writer: &mut BodyWriter,
        object: &Object,
    ) -> Sent {
        let deadline = transaction.generation.document.timeouts.write;
        let mut head: &[u8] = &transaction.out;
        let broken = |head: &[u8]| if head.is_empty() { Sent::Cut } else { Sent::Nothing };
        for (lines, range) in &self.parts {
            // One of its own: a reader does not go back, and two parts may lie in one segment.
            let Some(mut reader) = object.content.reader() else { return broken(head) };
            reader.go_to(range.start);
            let (mut at, mut batch) = (range.start, vec![lines.clone()]);
            while at < range.end {
                let Next::Segment(mut segment) = reader.next().await else { return broken(head) };
                segment.truncate(usize::try_from(range.end - at).unwrap_or(usize::MAX));
                at += segment.len() as u64;
                batch.push(segment);
                if batch.len() < AT_ONCE && at < range.end {
                    continue;
                }
                let some = std::mem::take(&mut batch);
                let write = pin!(writer.write(stream, head, &some, Rest::Follows, deadline));
                if body::patiently(&transaction.local, object, write).await.is_err() {
                    return Sent::ClientGone;
                }
                head = &[];
            }
        }
        writer
            .write(stream, head, std::slice::from_ref(&self.end), Rest::None, deadline)
            .await
            .into()
    }
}
