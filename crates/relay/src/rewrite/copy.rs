//! Copies the lines of a head that stay, in stretches, and replaces Host and the framing fields at
//! their places.

use super::HeadWriter;
use crate::field::{Field, FieldSet};
use crate::framing::BodyFraming;
use crate::head::{HeaderLine, Lines};

impl HeadWriter<'_> {
    /// Copies the lines that stay, and replaces Host and the framing fields where they stood.
    pub(super) fn copy(
        &mut self,
        lines: Lines<'_>,
        (drop, others): (FieldSet, &[Box<[u8]>]),
        host: Option<&[u8]>,
        framing: BodyFraming,
    ) {
        let head = lines.head();
        let mut framed = false;
        // The stretch of lines that stay and were not copied yet.
        let (mut from, mut to) = (0, 0);
        for line in lines.iter() {
            let fate = match line.field {
                Field::Other if is_among(others, line.name) => Fate::Drop,
                Field::Other => Fate::Keep,
                Field::Host => host.map_or(Fate::Keep, |host| {
                    if host == line.value { Fate::Keep } else { Fate::Host(host) }
                }),
                Field::ContentLength | Field::TransferEncoding => {
                    frame(head, &line, framing, &mut framed)
                }
                Field::Trailer if framing != BodyFraming::Chunked => Fate::Drop,
                known if drop.contains(known) => Fate::Drop,
                _ => Fate::Keep,
            };
            match fate {
                _ if line.nominated => {}
                Fate::Drop => {}
                Fate::Keep if to == line.start => to = line.end,
                Fate::Keep => {
                    self.out.extend_from_slice(&head[from..to]);
                    (from, to) = (line.start, line.end);
                }
                Fate::Host(host) => {
                    self.out.extend_from_slice(&head[from..to]);
                    (from, to) = (line.end, line.end);
                    self.field("Host", host);
                }
                Fate::Framing => {
                    self.out.extend_from_slice(&head[from..to]);
                    (from, to) = (line.end, line.end);
                    self.framing(framing);
                }
            }
        }
        self.out.extend_from_slice(&head[from..to]);
        if !framed {
            self.framing(framing);
        }
    }
}

/// Whether a name is among these, whatever its case. Nearly always there are none.
#[inline]
fn is_among(names: &[Box<[u8]>], name: &[u8]) -> bool {
    !names.is_empty() && names.iter().any(|it| it.eq_ignore_ascii_case(name))
}

/// What becomes of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate<'a> {
    Keep,
    Drop,
    Host(&'a [u8]),
    Framing,
}

/// A framing field stays if it says what we would say, in the spelling in which we would say it.
fn frame(
    head: &[u8],
    line: &HeaderLine<'_>,
    framing: BodyFraming,
    framed: &mut bool,
) -> Fate<'static> {
    let wanted = match framing {
        BodyFraming::Length(_) => line.field == Field::ContentLength,
        BodyFraming::Chunked => line.field == Field::TransferEncoding,
        BodyFraming::Empty | BodyFraming::UntilClose => false,
    };
    if !wanted || *framed {
        return Fate::Drop;
    }
    *framed = true;
    let value_at = line.start + line.name.len() + 2;
    let padded = line.value.len() > 1 && line.value.first() == Some(&b'0');
    let plain = !padded
        && head.get(value_at - 2..value_at) == Some(b": ")
        && line.end == value_at + line.value.len() + 2;
    let same = match framing {
        BodyFraming::Length(length) => decimal(line.value) == Some(length),
        _ => line.value == b"chunked",
    };
    if plain && same { Fate::Keep } else { Fate::Framing }
}

/// The value of a Content-Length that was checked.
fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|it| *it < 10)?;
        value.checked_mul(10)?.checked_add(digit.into())
    })
}
